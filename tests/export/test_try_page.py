"""try.html: what is refused, and what the page does in a browser, with a camera that is not there."""

import html
import http.server
import json
import re
import ssl
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from browser import needs_browser, opened_chromium, requested, wait
from PIL import Image

from tfsegkd import runtime
from tfsegkd._keras import keras
from tfsegkd.data.source import DatasetInfo
from tfsegkd.export import try_page, web_runtime, write_try_page
from tfsegkd.metrics import labels_at

MARKUP = "<img src=x onerror=alert(1)></script><!--"
ENTER = "\ue007"


@pytest.fixture(scope="module")
def files():
    """The real runtime."""
    try:
        return web_runtime.web_runtime_files()
    except web_runtime.RuntimeUnavailableError as error:
        pytest.skip(f"LiteRT.js cannot be had: {error}")


@pytest.fixture(scope="module")
def names(info):
    return DatasetInfo(
        "toy", (MARKUP, *info.class_names[1:]), tuple((50 * n, 255 - 50 * n, 99) for n in range(5))
    )


def golden(network, image):
    return labels_at(runtime.Network(network).predict(image[None])[0], image.shape[:2])


@pytest.fixture(scope="module")
def page(exported_float_io, names, images, files, tmp_path_factory):
    path, network = tmp_path_factory.mktemp("try") / "try.html", exported_float_io[0]
    written = write_try_page(path, network, names, images[0], golden(network, images[0]), title=MARKUP)
    assert written.offline and written.file_bytes == path.stat().st_size < 6e6
    return path


# ---- Without a browser.


def test_what_litert_js_does_not_run_is_refused(exported, exported_float_io, info, images, tmp_path):
    mask = np.zeros(images[0].shape[:2], np.uint8)

    def refuse(message, network=exported_float_io[0], info=info, image=images[0], mask=mask, **options):
        with pytest.raises(ValueError, match=message):
            write_try_page(tmp_path / "try.html", network, info, image, mask, **options)

    refuse("does not run.*Received: uint8 in, int8 out. Use model_float_io", network=exported[0])
    refuse("No network file", network=tmp_path / "none.tflite")
    (tmp_path / "damaged.tflite").write_bytes(b"TFL3")
    refuse("cannot load", network=tmp_path / "damaged.tflite")
    refuse("2 class names.*predicts 5", info=DatasetInfo("two", ("a", "b"), ()))
    refuse("1 colors and 5 classes", info=DatasetInfo("toy", info.class_names, ((0, 0, 0),)))
    refuse(r"test image must be uint8 \(64, 96, 3\)", image=images[0, :32])
    refuse("test image must be uint8", image=images[0].astype(np.float32))
    refuse("its mask", mask=mask[:8])
    refuse("No npm package", web_runtime=tmp_path)
    assert not (tmp_path / "try.html").exists()


def test_without_the_runtime_the_page_asks_for_it_by_checksum(page_of_cdn):
    text = page_of_cdn.read_text(encoding="utf-8")
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', text)[1])
    assert not facts["runtime"]["offline"] and 'id="part-network"' in text and 'id="part-wasm"' not in text
    assert facts["runtime"]["files"]["wasm"]["url"].startswith(f"{web_runtime.CDN}/wasm/")
    assert f"connect-src https://{web_runtime.HOST};" in text


def test_text_from_outside_is_text(page):
    text = page.read_text(encoding="utf-8")
    assert MARKUP not in text and html.escape(MARKUP) in text
    assert json.loads(re.search(r'id="facts">(.*?)</script>', text)[1])["classes"][0] == MARKUP
    assert "connect-src 'none'" in text


def test_the_license_is_the_one_of_the_runtime(page):
    text = html.unescape(page.read_text(encoding="utf-8"))
    assert "END OF TERMS AND CONDITIONS" in text and "Apache License" in text
    assert (Path(try_page.__file__).parent / "page" / "apache-2.0.txt").read_text() == (
        Path(__file__).parents[2] / "LICENSE"
    ).read_text()


# ---- In a browser.


class _Cdn:
    """Answers for the CDN on this machine, and counts."""

    def __init__(self, directory):
        self.asked, self.files = [], {}
        cdn = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                cdn.asked.append(f"https://{self.headers['Host']}{self.path}")
                content = cdn.files.get(self.path.split("@2.5.3/")[-1])
                self.send_response(200 if content else 404)
                self.send_header("Access-Control-Allow-Origin", "*")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *arguments):
                pass

        key, certificate = directory / "key.pem", directory / "certificate.pem"
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test",
        ]
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def cdn(tmp_path_factory):
    served = _Cdn(tmp_path_factory.mktemp("cdn"))
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture(scope="module")
def page_of_cdn(exported_float_io, names, images, tmp_path_factory):
    def unavailable(directory):
        raise web_runtime.RuntimeUnavailableError("npm is not on the path")

    path, network = tmp_path_factory.mktemp("cdn_page") / "try.html", exported_float_io[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web_runtime, "web_runtime_files", unavailable)
        written = write_try_page(path, network, names, images[0], golden(network, images[0]))
    assert (
        not written.offline and "npm is not on the path" in written.note and web_runtime.HOST in written.note
    )
    return path


@pytest.fixture(scope="module")
def chrome(cdn):
    arguments = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        "--disable-background-networking",
        # Whatever the browser asks for, it asks of this machine.
        f"--host-resolver-rules=MAP * 127.0.0.1:{cdn.server.server_port}",
        "--ignore-certificate-errors",
    )
    with opened_chromium(*arguments) as driver:
        driver.set_script_timeout(30)
        yield driver


def state(driver, key="state"):
    return driver.execute_script("return document.documentElement.dataset[arguments[0]]", key)


def open_page(driver, path, state_then="ready"):
    driver.get("about:blank")
    requested(driver)
    driver.get_log("browser")
    driver.get(path.as_uri())
    wait(lambda: state(driver) in ("ready", "failed"))
    assert state(driver) == state_then, driver.find_element("id", "alert").text
    return driver


@pytest.fixture
def opened(chrome, page):
    return open_page(chrome, page)


def choose_photo(driver, path):
    """Opens a photo; returns the network's input as RGB, and the labels that the page gives it."""
    driver.execute_script("self.keepsInput = true; self.lastRun = null")
    driver.find_element("id", "file").send_keys(str(path))
    wait(lambda: driver.execute_script("return self.lastRun !== null && byId('veil').hidden"))
    pixels, labels = driver.execute_script("return [[...lastRun.pixels], [...lastRun.labels]]")
    size = driver.execute_script("return facts.size")
    return np.reshape(pixels, (*size, 4))[..., :3].astype(np.uint8), np.reshape(labels, size)


@needs_browser
def test_the_golden_picture_is_checked_and_nothing_is_asked_for(opened, cdn):
    assert float(state(opened, "golden")) >= 0.98
    tile = opened.find_element("id", "check")
    assert tile.get_attribute("data-verdict") == "good" and "equal to golden_mask.png" in tile.text
    opened.find_element("id", "camera").send_keys(ENTER)
    wait(lambda: int(state(opened, "frames")) >= 30)
    assert (
        float(opened.find_element("id", "fps").text) > 0 and float(opened.find_element("id", "ms").text) > 0
    )
    urls = requested(opened)
    assert len([url for url in urls if url.startswith("file://")]) == 1
    assert all(url.startswith(("file://", "data:", "blob:")) for url in urls)
    assert [entry for entry in opened.get_log("browser") if entry["level"] != "INFO"] == []
    # Nor could it: the browser has been told to refuse.
    ask = "fetch(arguments[0]).then(() => arguments[1]('answered'), () => arguments[1]('refused'))"
    assert opened.execute_async_script(ask, f"{web_runtime.CDN}/dist/index.js") == "refused"
    assert not [url for url in cdn.asked if web_runtime.HOST in url]


@needs_browser
def test_the_labels_of_a_photo_are_those_of_litert_in_python(opened, exported_float_io, images, tmp_path):
    photo = Image.fromarray(images[2]).resize((960, 640), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.png")
    pixels, labels = choose_photo(opened, tmp_path / "photo.png")
    want = runtime.Network(exported_float_io[0]).predict(pixels[None])[0].argmax(-1)
    assert len(np.unique(want)) >= 3 and (labels == want).mean() >= 0.99
    # And the pixels are the photo's: the right way round, red where it is red.
    resized = np.asarray(photo.resize((96, 64), Image.Resampling.BOX), np.int32)
    assert np.abs(pixels - resized).mean() < 3 < np.abs(pixels[:, ::-1] - resized).mean()
    assert np.abs(pixels[..., ::-1] - resized).mean() > 10


@needs_browser
def test_a_photo_of_40_megapixels_that_stands_on_its_side(opened, tmp_path):
    # Red above and blue below, once the camera's note on how it was held is obeyed.
    pixels = np.zeros((5200, 7800, 3), np.uint8)
    pixels[:, :3900, 0] = pixels[:, 3900:, 2] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "large.jpg", exif=exif, quality=60)
    opened.execute_script("if (byId('crop').checked) byId('crop').click()")
    seen, labels = choose_photo(opened, tmp_path / "large.jpg")
    top, bottom = seen[:28].mean((0, 1)), seen[36:].mean((0, 1))
    assert (top[0] > 200, top[2] < 60) == (bottom[2] > 200, bottom[0] < 60) == (True, True)
    view = opened.find_element("id", "view")
    size = [int(view.get_attribute(side)) for side in ("width", "height")]
    assert size[0] < size[1] <= 1280 and labels.shape == (64, 96)
    opened.find_element("id", "crop").click()
    wait(lambda: int(view.get_attribute("width")) > int(view.get_attribute("height")))


@needs_browser
def test_what_is_no_picture_is_told(opened, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    opened.find_element("id", "file").send_keys(str(tmp_path / "notes.png"))
    wait(lambda: "could not be opened" in opened.find_element("id", "alert").text)
    assert state(opened) == "ready" and not opened.find_element("id", "veil").is_displayed()


@needs_browser
def test_the_picture_can_be_frozen_and_the_camera_stopped(opened):
    button = opened.find_element("id", "freeze")
    assert not button.is_enabled()
    opened.find_element("id", "camera").click()
    wait(lambda: int(state(opened, "frames")) >= 3 and button.is_enabled())
    button.send_keys(ENTER)
    assert button.get_attribute("aria-pressed") == "true"
    opened.execute_async_script("setTimeout(arguments[0], 300)")
    count = int(state(opened, "frames"))
    opened.execute_async_script("setTimeout(arguments[0], 300)")
    assert int(state(opened, "frames")) == count
    button.send_keys(ENTER)
    wait(lambda: int(state(opened, "frames")) > count)
    opened.find_element("id", "golden").click()
    wait(lambda: opened.execute_script("return stream === null && !pending"))
    assert not button.is_enabled() and opened.find_element("id", "camera").text == "Camera"


@needs_browser
def test_opacity_and_one_class_alone(opened, names):
    def pixel(label):
        """The color on screen of the first pixel, of 96 × 64, with a label."""
        script = """
            const at = labels.indexOf(arguments[0]), size = view.width / width;
            const [x, y] = [((at % width) + 0.5) * size, (Math.floor(at / width) + 0.5) * size];
            return [...viewed.getImageData(x, y, 1, 1).data].slice(0, 3)"""
        return opened.execute_script(script, label)

    def slide(value):
        script = "byId('opacity').value = arguments[0]; byId('opacity').dispatchEvent(new Event('input'))"
        opened.execute_script(script, value)

    label, other = opened.execute_script("return [...shares.keys()].sort((a, b) => shares[b] - shares[a])")[
        :2
    ]
    slide(0)
    bare = pixel(label), pixel(other)
    slide(100)
    assert pixel(label) == list(names.palette[label]) and pixel(other) == list(names.palette[other])
    legend = opened.find_elements("css selector", "#legend button")
    assert [b.get_attribute("title") for b in legend][:2] == [names.class_names[n] for n in (label, other)]
    legend[0].send_keys(ENTER)
    assert (pixel(label), pixel(other)) == (list(names.palette[label]), bare[1]) and bare[0] != pixel(label)
    assert legend[0].get_attribute("aria-pressed") == "true"
    legend[0].send_keys(ENTER)
    assert pixel(other) == list(names.palette[other])


@needs_browser
def test_markup_in_names_is_shown_as_text(opened):
    assert opened.find_element("css selector", "h1").text == MARKUP
    assert MARKUP in {b.get_attribute("title") for b in opened.find_elements("css selector", ".class")}
    assert not opened.find_elements("css selector", "[onerror], img[src=x]")


@needs_browser
@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("NotAllowedError", "not allowed"),
        ("NotFoundError", "There is no camera"),
        ("NotReadableError", "busy"),
        ("AbortError", "could not be started"),
        (None, "https and localhost"),
    ],
)
def test_a_camera_that_cannot_be_had_is_explained(opened, error, words):
    fake = (
        "{getUserMedia: () => Promise.reject(new DOMException('', arguments[0]))}" if error else "undefined"
    )
    fake = fake.replace("arguments[0]", json.dumps(error))
    opened.execute_script(f"Object.defineProperty(navigator, 'mediaDevices', {{value: {fake}}})")
    opened.find_element("id", "camera").click()
    alert = opened.find_element("id", "alert")
    wait(lambda: words in alert.text)
    assert alert.get_attribute("role") == "alert"
    # A photo and the golden picture work as before.
    assert (
        opened.find_element("id", "camera").is_enabled() and opened.find_element("id", "photo").is_enabled()
    )
    opened.find_element("id", "golden").click()
    wait(lambda: not alert.is_displayed())


@needs_browser
@pytest.mark.parametrize(
    ("lack", "words"),
    [
        ("WebAssembly.validate = () => false", "WebAssembly with SIMD"),
        ("delete self.WebAssembly", "WebAssembly with SIMD"),
        ("delete self.DecompressionStream", "DecompressionStream"),
    ],
)
def test_a_browser_that_cannot_is_told(chrome, page, lack, words):
    added = chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": lack})
    try:
        open_page(chrome, page, "failed")
    finally:
        chrome.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    text = chrome.find_element("id", "alert").text
    assert words in text and "Safari" in text and not chrome.find_element("id", "camera").is_enabled()


@needs_browser
def test_the_runtime_comes_from_the_cdn_with_its_checksums(chrome, page_of_cdn, cdn, files):
    cdn.files, before = files, len(cdn.asked)
    open_page(chrome, page_of_cdn)
    asked = [url for url in cdn.asked[before:] if web_runtime.HOST in url]
    assert sorted(asked) == sorted(f"{web_runtime.CDN}/{name}" for name in files)
    assert float(state(chrome, "golden")) >= 0.98
    assert web_runtime.HOST in chrome.find_element("id", "promise").text
    # One byte more, and it is not run.
    cdn.files = {**files, web_runtime.LOADER: files[web_runtime.LOADER] + b"\n"}
    open_page(chrome, page_of_cdn, "failed")
    assert "could not be loaded" in chrome.find_element("id", "alert").text
    cdn.files = {}
    open_page(chrome, page_of_cdn, "failed")
    assert "internet connection" in chrome.find_element("id", "alert").text


@needs_browser
def test_dark_and_narrow_and_every_control_has_a_name(opened):
    color = "return getComputedStyle(document.body).backgroundColor"
    before = opened.execute_script(color)
    opened.find_element("id", "theme").click()
    assert opened.execute_script(color) != before
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        wait(lambda: opened.execute_script("return document.documentElement.scrollWidth") <= 360)
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    tree = opened.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = [
        (node["role"]["value"], node["name"]["value"])
        for node in tree
        if not node["ignored"]
        and node["role"]["value"] in ("button", "slider", "checkbox", "combobox", "image")
    ]
    assert len(controls) >= 10 and all(name.strip() for _, name in controls)
    assert any(role == "image" and "classes in color" in name and "%" in name for role, name in controls)


def _network(classes, strides, kernel, bias):
    image = keras.Input((32, 48, 3), name="image")
    model = keras.Model(image, keras.layers.Conv2D(classes, 1, strides=strides, name="logits")(image))
    model.get_layer("logits").set_weights([np.float32(kernel)[None, None], np.float32(bias)])
    return runtime.convert(model, "float32", "float32")


@needs_browser
def test_255_classes_whose_logits_are_smaller_than_the_picture(chrome, files, tmp_path):
    # Class n is nearest to a brightness of n.
    levels = np.arange(255.0)
    path = tmp_path / "many.tflite"
    path.write_bytes(_network(255, 4, np.tile(2 * levels / 3, (3, 1)) / 255, -(levels**2) / 255))
    ramp = np.linspace(0, 254, 48).astype(np.uint8)
    image = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (32, 48, 3)))
    info = DatasetInfo("many", tuple(f"class {n}" for n in range(255)), ())
    mask = golden(path, image)
    assert runtime.Network(path).output_shape == (8, 12, 255) and len(np.unique(mask)) > 20
    write_try_page(tmp_path / "try.html", path, info, image, mask)
    open_page(chrome, tmp_path / "try.html")
    assert float(state(chrome, "golden")) >= 0.99
    assert len(chrome.find_elements("css selector", ".class")) == 255
    # Nearest neighbours, or corners that are laid on corners, would give other labels.
    nearest = runtime.Network(path).predict(image[None])[0].argmax(-1).repeat(4, 0).repeat(4, 1)
    assert (nearest == mask).mean() < 0.9


@needs_browser
def test_one_logit_tells_two_classes_apart(chrome, files, tmp_path):
    path = tmp_path / "one.tflite"
    path.write_bytes(_network(1, 1, np.full((3, 1), 1 / 3), [-128]))
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, 12:] = 250
    mask = np.uint8(image[..., 0] > 128)
    write_try_page(tmp_path / "try.html", path, DatasetInfo("two", ("dark", "light"), ()), image, mask)
    open_page(chrome, tmp_path / "try.html")
    assert state(chrome, "golden") == "1"
    shown = chrome.find_element("id", "legend").text
    assert "light" in shown and "75 %" in shown and "25 %" in shown


@needs_browser
def test_a_golden_mask_that_differs_is_said_to(chrome, exported_float_io, names, images, files, tmp_path):
    mask = golden(exported_float_io[0], images[0])
    mask[:8] = (mask[:8] + 1) % 5
    write_try_page(tmp_path / "try.html", exported_float_io[0], names, images[0], mask)
    open_page(chrome, tmp_path / "try.html")
    tile = chrome.find_element("id", "check")
    assert (
        tile.get_attribute("data-verdict") == "bad" and "87.5 %" in tile.text and "Expected 98 %" in tile.text
    )
