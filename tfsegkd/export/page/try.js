"use strict";

const byId = (id) => document.getElementById(id);
const facts = JSON.parse(byId("facts").textContent);
const [height, width] = facts.size;
const MOST_SHOWN = 1280; // the longer side of what is shown; larger photos are shrunk before anything else
const LEAST_EQUAL = 0.98;
const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;

const view = byId("view"), viewed = view.getContext("2d");
const frame = canvas(), framed = frame.getContext("2d"); // the picture as shown, without colors
const input = canvas(width, height), fed = input.getContext("2d", { willReadFrequently: true });
const overlay = canvas(width, height), colored = overlay.getContext("2d");
const scratch = [canvas(), canvas()];
const video = document.createElement("video");
video.muted = video.playsInline = true;

let worker, pending, stream, picture, labels, shares, chosen = null, frozen = false, frames = 0, last = 0, told = 0, asked = 0;
let pace = [];

function canvas(w = 1, h = 1) {
  return Object.assign(document.createElement("canvas"), { width: w, height: h });
}

function say(text) {
  byId("status").textContent = text;
}

function complain(title, text) {
  const alert = byId("alert"), strong = document.createElement("b");
  strong.textContent = title;
  alert.replaceChildren(strong, text);
  alert.hidden = false;
}

function fail(title, text) {
  complain(title, text);
  byId("veil").hidden = true;
  document.documentElement.dataset.state = "failed";
}

// ---- What the page is made of: parts that are inside, or that the browser loads and checks.

async function unpacked(part) {
  const text = atob(byId(`part-${part}`).textContent), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function runtimePart(part) {
  if (facts.runtime.offline) return unpacked(part);
  const { url, integrity } = facts.runtime.files[part];
  const answer = await fetch(url, { integrity, mode: "cors", credentials: "omit", referrerPolicy: "no-referrer" });
  return new Uint8Array(await answer.arrayBuffer());
}

function lacking() {
  const simd = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
  if (!self.WebAssembly || !WebAssembly.validate(new Uint8Array(simd))) return "WebAssembly with SIMD";
  if (!self.DecompressionStream) return "DecompressionStream";
  return self.Worker ? "" : "workers";
}

async function open() {
  document.documentElement.dataset.state = "loading";
  const missing = lacking();
  if (missing) {
    fail(`This browser has no ${missing}.`, "The network cannot run in it. Chrome and Edge from version 91, Firefox from 113 and " +
      "Safari from 16.4 have all that is needed; with WebAssembly switched off, none has.");
    return;
  }
  let parts;
  try {
    parts = await Promise.all(["loader", "core", "wasm"].map(runtimePart));
  } catch (error) {
    fail(`${facts.runtime.name} ${facts.runtime.version} could not be loaded.`, facts.runtime.offline
      ? `The page is damaged: ${error.message}. Get it again.`
      : `This page holds the network and not its runtime, which it asks of ${new URL(facts.runtime.files.core.url).host}, and which must have the ` +
        `right checksum. Open it again with an internet connection, or make it again with npm on the path or with --web_runtime=DIR: then it ` +
        `needs none. (${error.message})`);
    return;
  }
  const [loader, core] = parts.slice(0, 2).map((bytes) => new TextDecoder().decode(bytes));
  // A module becomes a plain script: nothing is imported, and only what is used gets out.
  const module = core
    .replace(/^import .* from "@litertjs\/wasm-utils";$/m, "")
    .replace(/^export \{[^}]*\};$/m, "return { LiteRt, Environment, Tensor, setGlobalLiteRt };")
    .replace(/^\/\/# sourceMappingURL.*$/m, "");
  const source = [loader, `\nconst LiteRT = (() => {\n${module}\n})();\n`, byId("worker").textContent];
  worker = new Worker(URL.createObjectURL(new Blob(source, { type: "text/javascript" })));
  worker.onerror = (event) => fail("The network could not be run.", event.message || "The browser does not say why.");
  worker.onmessage = ({ data }) => {
    if (data.error) {
      fail("The network could not be run.", data.error);
    } else if (data.loaded) {
      begin().catch((error) => fail("The network could not be run.", error.message));
    } else {
      pending.resolve(data);
      pending = null;
    }
  };
  const tflite = await unpacked("network"), wasm = parts[2];
  worker.postMessage({ wasm, tflite, facts }, [wasm.buffer, tflite.buffer]);
}

async function begin() {
  const golden = byId("golden-picture");
  await golden.decode();
  const bytes = await unpacked("golden-labels"), want = new Uint16Array(bytes.buffer);
  picture = golden;
  // Twice, for the first time is slower.
  for (let run = 0; run < 2; run++) await show(golden, golden.naturalWidth, golden.naturalHeight);
  let equal = 0;
  for (let i = 0; i < want.length; i++) equal += want[i] === labels[i];
  const share = equal / want.length, good = share >= LEAST_EQUAL, tile = byId("check");
  // 99.96 % is not said to be all of it.
  tile.querySelector("b").textContent = `${(Math.floor(1000 * share) / 10).toFixed(1)} %`;
  tile.dataset.verdict = good ? "good" : "bad";
  tile.querySelector("span").textContent = good ? "equal to golden_mask.png: as it should be"
    : "equal to golden_mask.png. Expected 98 % and more: this browser computes, or shows pictures, in another way";
  document.documentElement.dataset.golden = share;
  document.documentElement.dataset.state = "ready";
  byId("veil").hidden = true;
  for (const id of ["camera", "photo", "golden", "save"]) byId(id).disabled = false;
  say(`Ready. The golden picture is ${percent(share, 1)} equal to golden_mask.png.`);
}

// ---- One picture: shown, shrunk to the network's size, segmented, colored.

function segment(pixels) {
  return new Promise((resolve) => {
    pending = { resolve };
    worker.postMessage({ id: ++frames, pixels }, [pixels.buffer]);
  });
}

async function show(source, w, h) {
  let [x, y, cw, ch] = [0, 0, w, h];
  if (byId("crop").checked) {
    const scale = Math.min(w / width, h / height);
    [cw, ch] = [width * scale, height * scale];
    [x, y] = [(w - cw) / 2, (h - ch) / 2];
  }
  const fit = Math.min(1, MOST_SHOWN / Math.max(cw, ch));
  Object.assign(frame, { width: Math.max(1, Math.round(cw * fit)), height: Math.max(1, Math.round(ch * fit)) });
  // Transparent pictures lie on white.
  framed.fillStyle = "#fff";
  framed.fillRect(0, 0, frame.width, frame.height);
  framed.imageSmoothingQuality = "high";
  framed.drawImage(source, x, y, cw, ch, 0, 0, frame.width, frame.height);
  shrink();
  const pixels = fed.getImageData(0, 0, width, height).data;
  const seen = self.keepsInput ? pixels.slice() : null;
  const answer = await segment(pixels);
  labels = answer.labels;
  if (seen) self.lastRun = { pixels: seen, labels };
  byId("ms").textContent = answer.ms < 10 ? answer.ms.toFixed(1) : Math.round(answer.ms);
  color();
  paint();
  listClasses();
}

// Halves until less than a factor of two is left, so that no pixel is passed over.
function shrink() {
  let from = frame, turn = 0;
  while (from.width > 2 * width || from.height > 2 * height) {
    const to = scratch[turn++ % 2];
    to.width = Math.max(Math.min(width, from.width), Math.ceil(from.width / 2));
    to.height = Math.max(Math.min(height, from.height), Math.ceil(from.height / 2));
    to.getContext("2d").drawImage(from, 0, 0, to.width, to.height);
    from = to;
  }
  fed.imageSmoothingQuality = "high";
  fed.drawImage(from, 0, 0, width, height);
}

function color() {
  const image = colored.createImageData(width, height), data = image.data;
  const counts = new Uint32Array(facts.classes.length);
  for (let pixel = 0; pixel < labels.length; pixel++) {
    const label = labels[pixel], [r, g, b] = facts.palette[label];
    counts[label]++;
    data[4 * pixel] = r;
    data[4 * pixel + 1] = g;
    data[4 * pixel + 2] = b;
    data[4 * pixel + 3] = chosen === null || chosen === label ? 255 : 0;
  }
  colored.putImageData(image, 0, 0);
  shares = Array.from(counts, (count) => count / labels.length);
}

function paint() {
  if (view.width !== frame.width || view.height !== frame.height) Object.assign(view, { width: frame.width, height: frame.height });
  viewed.globalAlpha = 1;
  viewed.drawImage(frame, 0, 0);
  viewed.globalAlpha = byId("opacity").value / 100;
  viewed.imageSmoothingEnabled = true;
  viewed.drawImage(overlay, 0, 0, view.width, view.height);
}

// ---- The classes, those in the picture first.

const rows = facts.classes.map((name, label) => {
  const row = document.createElement("li"), button = document.createElement("button");
  button.type = "button";
  button.className = "class";
  button.title = name;
  button.setAttribute("aria-pressed", "false");
  const [swatch, text, share] = ["i", "span", "em"].map((tag) => document.createElement(tag));
  swatch.style.background = `rgb(${facts.palette[label].join(" ")})`;
  text.textContent = name;
  button.append(swatch, text, share);
  button.addEventListener("click", () => {
    chosen = chosen === label ? null : label;
    rows.forEach((other, index) => other.button.setAttribute("aria-pressed", String(index === chosen)));
    say(chosen === null ? "All classes are shown." : `Only ${name} is shown.`);
    if (labels) {
      color();
      paint();
    }
  });
  row.append(button);
  return { row, button, share };
});

function listClasses(always = false) {
  const now = performance.now();
  if (stream && !always && now - told < 500) return;
  told = now;
  const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a] || a - b);
  const present = order.filter((label) => shares[label] >= 0.001), absent = order.filter((label) => shares[label] < 0.001);
  for (const label of order) {
    rows[label].share.textContent = shareText(shares[label]);
    rows[label].button.style.setProperty("--share", percent(shares[label], 1).replace(" ", ""));
  }
  place(byId("legend"), present);
  place(byId("others"), absent);
  byId("absent").hidden = !absent.length;
  const most = present.slice(0, 4).map((label) => `${facts.classes[label]} ${percent(shares[label])}`);
  view.setAttribute("aria-label", `The picture with the classes in color: ${most.join(", ")}`);
}

function shareText(share) {
  if (!share) return "";
  return share < 0.001 ? "< 0.1 %" : percent(share, share < 0.1 ? 1 : 0);
}

// Moves nothing that stands right already, so that the keyboard's focus stays where it is.
function place(list, order) {
  order.forEach((label, index) => {
    const row = rows[label].row;
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] || null);
  });
  while (list.children.length > order.length) list.lastChild.remove();
}

view.addEventListener("pointermove", read);
view.addEventListener("pointerdown", read);
view.addEventListener("pointerleave", () => (byId("reading").textContent = "\u00a0"));
function read(event) {
  if (!labels) return;
  const box = view.getBoundingClientRect(), scale = Math.min(box.width / view.width, box.height / view.height);
  const x = (event.clientX - box.left - (box.width - view.width * scale) / 2) / (view.width * scale);
  const y = (event.clientY - box.top - (box.height - view.height * scale) / 2) / (view.height * scale);
  const inside = x >= 0 && x < 1 && y >= 0 && y < 1;
  byId("reading").textContent = inside ? facts.classes[labels[Math.floor(y * height) * width + Math.floor(x * width)]] : "\u00a0";
}

// ---- The camera.

const REFUSED = {
  NotAllowedError: ["The camera was not allowed.", "Allow it for this page, at the left of the address or in the browser's settings, and press Camera again."],
  NotFoundError: ["There is no camera.", "None is connected, or the system gives none to this browser. A photo works without one."],
  NotReadableError: ["The camera is busy.", "Another program holds it. Close that, and press Camera again."],
};
REFUSED.SecurityError = REFUSED.NotAllowedError;

async function startCamera() {
  const turn = ++asked;
  byId("alert").hidden = true;
  if (!navigator.mediaDevices || !navigator.mediaDevices.getUserMedia) {
    complain("The browser gives this page no camera.", "It does so for https and localhost only. The last lines of this page say how a phone " +
      "gets it by cable. A photo works here, too.");
    return;
  }
  stopCamera();
  byId("camera").disabled = true;
  const id = byId("which").value, wanted = id ? { deviceId: { exact: id } } : { facingMode: { ideal: "environment" } };
  let given;
  try {
    const size = { width: { ideal: 1280 }, height: { ideal: 720 } };
    given = await navigator.mediaDevices.getUserMedia({ audio: false, video: { ...wanted, ...size } });
    video.srcObject = given;
    await video.play();
  } catch (error) {
    if (given) given.getTracks().forEach((track) => track.stop());
    complain(...(REFUSED[error.name] || ["The camera could not be started.", `${error.name}: ${error.message}`]));
    return;
  } finally {
    byId("camera").disabled = false;
  }
  if (turn !== asked) { // something else was chosen meanwhile
    given.getTracks().forEach((track) => track.stop());
    return;
  }
  stream = given;
  stream.getVideoTracks()[0].addEventListener("ended", () => {
    stopCamera();
    complain("The camera has stopped.", "It was unplugged, or taken away from the page. Press Camera to go on.");
  });
  pace = [];
  byId("freeze").disabled = false;
  pressed("camera", true);
  byId("camera").textContent = "Stop camera";
  say("The camera is on.");
  listCameras();
  loop(turn);
}

async function listCameras() {
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
  const select = byId("which"), current = stream && stream.getVideoTracks()[0].getSettings().deviceId;
  select.replaceChildren(...devices.map((device, index) => new Option(device.label || `Camera ${index + 1}`, device.deviceId)));
  if (current) select.value = current;
  byId("cameras").hidden = devices.length < 2;
}

function stopCamera() {
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = video.srcObject = null;
  freeze(false);
  byId("freeze").disabled = true;
  pressed("camera", false);
  byId("camera").textContent = "Camera";
  byId("fps").textContent = "–";
}

async function loop(turn) {
  let count = 0;
  while (stream && turn === asked) {
    if (!frozen && video.videoWidth && !pending) {
      await show(video, video.videoWidth, video.videoHeight);
      document.documentElement.dataset.frames = ++count;
      pace.push(performance.now());
      pace = pace.slice(-20);
      if (pace.length > 4) {
        const rate = (1000 * (pace.length - 1)) / (pace[pace.length - 1] - pace[0]);
        byId("fps").textContent = rate < 10 ? rate.toFixed(1) : Math.round(rate);
      }
    }
    await nextFrame();
  }
}

// A new picture of the camera, or a moment later if it sends none; also where the tab is hidden.
function nextFrame() {
  return new Promise((resolve) => {
    if (!frozen && video.requestVideoFrameCallback) video.requestVideoFrameCallback(resolve);
    setTimeout(resolve, 100);
  });
}

function pressed(id, on) {
  byId(id).setAttribute("aria-pressed", String(on));
}

function freeze(on) {
  frozen = on;
  pressed("freeze", on);
  byId("freeze").textContent = on ? "Go on" : "Freeze";
  pace = [];
}

// ---- Photos.

async function still(image) {
  const turn = ++asked;
  stopCamera();
  byId("alert").hidden = true;
  picture = image;
  while (pending) await pause(20);
  if (turn === asked) await show(image, image.naturalWidth, image.naturalHeight);
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function openPhoto(file) {
  if (!file || document.documentElement.dataset.state !== "ready") return;
  const image = new Image(), url = URL.createObjectURL(file);
  byId("waiting").textContent = "Opening the photo …";
  byId("veil").hidden = false;
  image.src = url;
  try {
    await image.decode();
    if (!image.naturalWidth || !image.naturalHeight) throw new Error("It has no size.");
    await still(await small(image));
    say(`${file.name} is shown.`);
  } catch (error) {
    complain("The photo could not be opened.", `${file.name}: this browser cannot read it as a picture. Try a JPEG or PNG.`);
  } finally {
    URL.revokeObjectURL(url);
    byId("veil").hidden = true;
  }
}

// What is kept of a photo: enough to show and to crop it, whatever the size of the file.
async function small(image) {
  const [w, h] = [image.naturalWidth, image.naturalHeight], fit = Math.min(1, (2 * MOST_SHOWN) / Math.max(w, h));
  if (fit === 1) return image;
  const kept = canvas(Math.round(w * fit), Math.round(h * fit)), context = kept.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, kept.width, kept.height);
  return Object.assign(kept, { naturalWidth: kept.width, naturalHeight: kept.height });
}

// ---- Buttons.

byId("camera").addEventListener("click", () => {
  if (stream) {
    ++asked;
    stopCamera();
    say("The camera is off.");
  } else {
    startCamera();
  }
});
byId("which").addEventListener("change", startCamera);
byId("photo").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", (event) => {
  openPhoto(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});
byId("golden").addEventListener("click", () => still(byId("golden-picture")));
byId("freeze").addEventListener("click", () => {
  freeze(!frozen);
  if (frozen) listClasses(true);
  say(frozen ? "The picture stands still." : "The picture goes on.");
});
byId("opacity").addEventListener("input", () => labels && paint());
byId("crop").addEventListener("change", () => {
  if (!stream && picture) still(picture);
});
byId("save").addEventListener("click", () => {
  view.toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "segmented.png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }, "image/png");
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("stage").classList.add("over");
});
addEventListener("dragleave", () => byId("stage").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  byId("stage").classList.remove("over");
  openPhoto(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => openPhoto(event.clipboardData.files[0]));
addEventListener("pagehide", stopCamera);

function theme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  pressed("theme", dark);
}
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
theme(prefersDark.matches);
prefersDark.addEventListener("change", (event) => theme(event.matches));
byId("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme !== "dark"));

// ---- Words.

const size = facts.bytes < 1e6 ? `${(facts.bytes / 1e3).toFixed(0)} KB` : `${(facts.bytes / 1e6).toFixed(1)} MB`;
byId("lead").textContent = `${facts.file}, ${size}: ${facts.classes.length} classes, pictures of ${width} × ${height} pixels.`;
byId("promise").textContent = facts.runtime.offline
  ? "Nothing leaves this device: the page holds the network and its runtime, and makes no request."
  : `Pictures stay on this device. The page loads ${facts.runtime.name} ${facts.runtime.version} from ${new URL(facts.runtime.files.core.url).host} ` +
    "when it opens, checks it, and makes no other request.";
open().catch((error) => fail("The page could not be opened.", error.message));
