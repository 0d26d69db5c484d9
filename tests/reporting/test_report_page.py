"""The page as a browser shows it: complete, quiet, and driven by its controls."""

import json
import re
import shutil
from pathlib import Path

import pytest
from browser import needs_browser, opened_chromium, requested, wait

from tfsegkd.reporting import write_report

pytest.importorskip("plotly", reason="reports need the extra tfsegkd[report]")
pytest.importorskip("jinja2", reason="reports need the extra tfsegkd[report]")


@pytest.fixture(scope="module")
def page(finished, source, tmp_path_factory):
    other = tmp_path_factory.mktemp("others") / "other"
    shutil.copytree(finished, other)
    (other / "report.json").unlink()
    state = json.loads((other / "state.json").read_text())
    state["student"]["result"] = None
    (other / "state.json").write_text(json.dumps(state))
    return write_report(
        [finished, other], tmp_path_factory.mktemp("page") / "report.html", source, num_images=8
    )


@pytest.fixture(scope="module")
def chrome():
    with opened_chromium() as driver:
        yield driver


@pytest.fixture
def opened(chrome, page):
    chrome.get(page.as_uri())
    wait(lambda: chrome.find_elements("css selector", "#viewer[data-painted]"))
    return chrome


def choose(chrome, css, text):
    from selenium.webdriver.support.ui import Select

    Select(chrome.find_element("css selector", css)).select_by_visible_text(text)


def thumbs(chrome):
    """Name and percentage of the frames, as they are listed."""
    found = chrome.find_elements("css selector", "#thumbs button")
    return [(thumb.get_attribute("data-name"), thumb.text.splitlines()[-1]) for thumb in found]


def painted(chrome):
    return chrome.find_element("id", "viewer").get_attribute("data-painted").split("|")


def test_the_script_reads_nothing_that_the_page_lacks(page):
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    read = set(re.findall(r"\bDATA\.(\w+)", text))
    assert {"runs", "classes"} <= read <= json.loads(found[1]).keys()


@needs_browser
def test_no_error_and_no_request(opened):
    assert [entry for entry in opened.get_log("browser") if entry["level"] != "INFO"] == []
    urls = requested(opened)
    assert urls and all(url.startswith(("file://", "data:", "blob:")) for url in urls)
    assert len([url for url in urls if url.startswith("file://")]) == 1


@needs_browser
def test_every_figure_is_drawn_and_has_words_and_a_table(opened):
    drawn = opened.find_elements("css selector", ".js-plotly-plot")
    sections = {
        "trade": 3,
        "search": 2,
        "classes": 1,
        "confusion": 1,
        "int8": 1,
        "training": 2,
        "channels": 1,
        "ops": 1,
    }
    for section, count in sections.items():
        figures = opened.find_elements("css selector", f"#{section} .js-plotly-plot[role=img]")
        assert len(figures) == count, section
        assert all(figure.get_attribute("aria-label") for figure in figures)
        assert len(opened.find_elements("css selector", f"#{section} figure details table")) == count
    assert len(drawn) == sum(sections.values())


@needs_browser
def test_markup_in_a_class_name_is_text(opened):
    assert not opened.find_elements("css selector", "img[onerror], img[src=x]")
    legend = opened.find_element("id", "legend").text
    assert "<img src=x onerror=alert(1)>" in legend
    # And Plotly, which reads a little markup, shows it, too.
    labels = [tick.text for tick in opened.find_elements("css selector", "#classes .ytick text")]
    assert sorted(labels) == ["<img src=x onerror=alert(1)>", "road", "sky"]


@needs_browser
def test_the_worst_come_first_and_the_order_can_be_changed(opened):
    worst = [float(percent.rstrip(" %")) for _, percent in thumbs(opened)]
    assert worst == sorted(worst) and len(worst) == 8
    choose(opened, "#order", "best first")
    best = [float(percent.rstrip(" %")) for _, percent in thumbs(opened)]
    assert best == sorted(worst, reverse=True)
    choose(opened, "#order", "by name")
    names = [name for name, _ in thumbs(opened)]
    assert names == sorted(names)
    wait(lambda: painted(opened)[0] == names[0])


@needs_browser
def test_a_class_filters_the_frames_that_have_it(opened):
    every = {name for name, _ in thumbs(opened)}
    choose(opened, "#class", "sky")
    having = {name for name, _ in thumbs(opened)}
    # It is labelled in the odd ones; where noise is strong it is predicted in even ones, too.
    odd = {name for name in every if int(name[6:8]) % 2}
    assert odd <= having and len(having) <= len(every)
    data = json.loads(opened.execute_script("return document.getElementById('data').textContent"))
    want = {f["name"] for f in data["images"] if f["iou"]["0/int8"][3] is not None}
    assert having == want


@needs_browser
def test_the_slider_moves_the_border(opened):
    def pixel(x):
        context = "document.getElementById('viewer').getContext('2d')"
        script = f"return [...{context}.getImageData(arguments[0], 20, 1, 1).data]"
        return opened.execute_script(script, x)

    choose(opened, "#left", "image")
    slider = opened.find_element("id", "wipe")
    slider.send_keys("\ue011")  # Home: all of the right picture
    wait(lambda: painted(opened)[3] == "0")
    right = pixel(24)
    slider.send_keys("\ue010")  # End: all of the left one
    wait(lambda: painted(opened)[3] == "48")
    left = pixel(24)
    # The photograph is grey, a tinted one is not.
    assert max(left[:3]) - min(left[:3]) < 25 < max(right[:3]) - min(right[:3])
    slider.send_keys("\ue012" * 10)  # the left arrow, a hundredth each
    wait(lambda: painted(opened)[3] == "43")


@needs_browser
def test_panels_show_on_the_right_and_steps_go_on(opened):
    first = painted(opened)[0]
    opened.find_element("id", "next").send_keys("\ue007")  # Enter: no mouse is needed
    wait(lambda: painted(opened)[0] != first)
    assert opened.find_element("id", "which").text.startswith("2 of 8")
    panel = opened.find_element("css selector", "#panels canvas[data-layer=teacher]")
    opened.execute_script("arguments[0].parentElement.click()", panel)
    wait(lambda: painted(opened)[2] == "teacher")
    assert "≠ teacher" in opened.find_element("id", "panels").text


@needs_browser
def test_another_run_has_its_own_figures(opened):
    assert "is not finished" in opened.find_element("css selector", ".warning").text
    names = [o.text for o in opened.find_elements("css selector", "#int8 select.run option")]
    choose(opened, "#int8 select.run", names[1])
    assert "no int8 file" in opened.find_element("css selector", "#int8 .missing").text
    wait(lambda: painted(opened)[2] == "teacher")
    layers = [o.text for o in opened.find_elements("css selector", "#right option")]
    assert layers == ["image", "label", "teacher"]


@needs_browser
def test_dark_and_narrow(opened):
    def color(css, what):
        script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
        return opened.execute_script(script, css, what)

    before = color("body", "backgroundColor")
    opened.find_element("id", "theme").click()
    assert color("body", "backgroundColor") != before
    wait(lambda: color("#trade .xtick text", "fill") == color("body", "color"))
    opened.set_window_size(500, 900)
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True},
    )
    wait(lambda: opened.execute_script("return document.documentElement.scrollWidth") <= 390)
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_without_the_data_the_page_says_so(finished, tmp_path):
    path = write_report([finished], tmp_path / "report.html", None, "the disk is elsewhere")
    text = path.read_text(encoding="utf-8")
    assert "No images: the disk is elsewhere." in text
    assert "4.0 × smaller" not in text and "40 × smaller, 8.0 × faster, 11.0 points below its teacher" in text
    assert text.count("<img src=x") == 0 and path.stat().st_size < 8e6


def test_each_of_several_teachers_has_a_row_and_a_mark(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    report = json.loads((run / "report.json").read_text())
    teacher = next(row for row in report["stages"] if row["name"] == "teacher")
    teacher["members"] = [
        {"name": "<own>", "mean_iou": teacher["mean_iou"] - 0.0125, "iou": dict(teacher["iou"])},
        {"name": "city", "mean_iou": 0.3333, "iou": dict(teacher["iou"])},
    ]
    (run / "report.json").write_text(json.dumps(report))
    state = json.loads((run / "state.json").read_text())
    state.pop("teacher", None)
    (run / "state.json").write_text(json.dumps(state))
    text = write_report([run], tmp_path / "report.html", None).read_text(encoding="utf-8")
    assert "teacher: &lt;own&gt; alone" in text and "teacher: <own>" not in text
    assert "33.33" in text and "-1.25" in text
    assert "for teacher: " in text and "teacher: city, teacher" in text


def test_a_run_that_died_shows_what_there_is_and_its_command(finished, tmp_path):
    died = tmp_path / "died"
    shutil.copytree(finished, died)
    report = json.loads((died / "report.json").read_text())
    (died / "flags.json").write_text(json.dumps({**report["flags"], "student": "unet(width=<b>8</b>)"}))
    (died / "report.json").unlink()
    state = json.loads((died / "state.json").read_text())
    state["student"]["result"] = None
    (died / "state.json").write_text(json.dumps(state))
    text = write_report([died], tmp_path / "report.html", None).read_text(encoding="utf-8")
    assert "is not finished" in text and "student (after epoch 3 of 3)" in text
    assert "--dataset=folder" in text and "--data_dir=DIRECTORY" in text
    assert "<b>8</b>" not in text and "unet(width=&lt;b&gt;8&lt;/b&gt;)" in text


def test_runs_of_different_classes_make_no_page(finished, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(finished, other)
    for name in ("report.json", "state.json"):
        text = (other / name).read_text()
        (other / name).write_text(text.replace('"sky"', '"<script>alert(1)</script>"'))
    with pytest.raises(ValueError, match=r"different data cannot be compared: the classes.*script"):
        write_report([finished, other], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
    text = write_report([other], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text and "alert(1)" in text


def test_images_of_another_split_are_refused(finished, source, tmp_path):
    from tfsegkd.data.statistics import Subset

    with pytest.raises(ValueError, match=r"'finished' was measured on 12 images.*Received: 3 images"):
        write_report([finished], tmp_path / "report.html", Subset(source, [0, 1, 2]))
    assert not Path(tmp_path / "report.html").exists()
