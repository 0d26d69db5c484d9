"use strict";
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children); // strings become text, never markup
    return element;
  };
  const root = document.documentElement;
  let run = 0;

  // ---- Light and dark -------------------------------------------------------------------------------

  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = find("theme");
  const theme = (name) => {
    root.dataset.theme = name;
    const dark = name === "dark";
    button.textContent = dark ? "Light" : "Dark";
    button.setAttribute("aria-pressed", dark);
    for (const plot of document.querySelectorAll(".js-plotly-plot")) Plotly.relayout(plot, colors());
  };
  const colors = () => {
    const style = getComputedStyle(root);
    const text = style.getPropertyValue("--text").trim();
    const line = style.getPropertyValue("--line").trim();
    const card = style.getPropertyValue("--card").trim();
    const changed = { "font.color": text, "hoverlabel.bgcolor": card, "hoverlabel.font.color": text };
    for (const axis of ["xaxis", "yaxis"]) {
      for (const part of ["gridcolor", "zerolinecolor", "linecolor"]) changed[`${axis}.${part}`] = line;
    }
    return changed;
  };
  theme(system.matches ? "dark" : "light");
  system.addEventListener("change", () => theme(system.matches ? "dark" : "light"));
  button.addEventListener("click", () => theme(root.dataset.theme === "dark" ? "light" : "dark"));
  let before = root.dataset.theme;
  addEventListener("beforeprint", () => { before = root.dataset.theme; theme("light"); });
  addEventListener("afterprint", () => theme(before));

  // ---- Figures ----------------------------------------------------------------------------------------

  const table = (plot) => {
    const cell = (name, text, scope) => make(name, scope ? { scope } : {}, String(text));
    const head = make("thead", {}, make("tr", {}, ...plot.head.map((text) => cell("th", text, "col"))));
    const rows = plot.rows.map(([first, ...others]) =>
      make("tr", {}, cell("th", first, "row"), ...others.map((text) => cell("td", text))));
    const box = make("div", { tabindex: "0", role: "region", "aria-label": plot.title },
      make("table", {}, head, make("tbody", {}, ...rows)));
    return make("details", {}, make("summary", {}, "As a table"), box);
  };
  const draw = (box, choice) => {
    box.querySelectorAll(".js-plotly-plot").forEach((plot) => Plotly.purge(plot));
    box.replaceChildren();
    const plots = make("div", { class: "plots" });
    box.append(plots);
    for (const plot of choice.plots) {
      const drawing = make("div", { role: "img", "aria-label": plot.alt });
      plots.append(make("figure", {}, make("figcaption", {}, plot.title), drawing, table(plot)));
      const layout = {
        height: 380, margin: { l: 56, r: 12, t: 12, b: 48 }, autosize: true,
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: getComputedStyle(document.body).fontFamily, size: 13 },
        legend: { traceorder: "normal", orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, ...structuredClone(plot.layout),
      };
      // A drag zooms and a double click goes back, so there is no need for buttons over the legend.
      const options = { responsive: true, displayModeBar: false };
      Plotly.newPlot(drawing, structuredClone(plot.data), layout, options).then(() => Plotly.relayout(drawing, colors()));
    }
    if (choice.notes.length) {
      box.append(make("ul", { class: "notes" }, ...choice.notes.map((note) => make("li", {}, note))));
    }
  };
  const runSelect = () => {
    const select = make("select", { class: "run" });
    select.append(...DATA.runs.map(({ title }, number) => make("option", { value: number }, title)));
    select.value = run;
    return select;
  };
  const show = (group) => {
    const name = group.dataset.section;
    const section = name ? DATA.runs[run].sections[name] : DATA.shared[group.dataset.shared];
    group.replaceChildren();
    const controls = make("div", { class: "controls" });
    if (name && DATA.runs.length > 1) controls.append(make("label", {}, "Run ", runSelect()));
    const box = make("div");
    if (section.choices.length > 1) {
      const select = make("select", { "data-choice": name });
      select.append(...section.choices.map(({ label }, number) => make("option", { value: number }, label)));
      select.addEventListener("change", () => draw(box, section.choices[select.value]));
      controls.append(make("label", {}, "Stage ", select));
    }
    if (controls.childElementCount) group.append(controls);
    group.append(box);
    if (section.choices.length) draw(box, section.choices[0]);
    else box.append(make("p", { class: "missing" }, section.missing ?? ""));
  };
  const groups = [...document.querySelectorAll(".group")];
  groups.forEach(show);
  document.addEventListener("change", ({ target }) => {
    if (!target.matches("select.run")) return;
    run = Number(target.value);
    const section = target.closest("section").id;
    groups.filter((group) => group.dataset.section).forEach(show);
    document.querySelectorAll("select.run").forEach((select) => { select.value = run; });
    if (DATA.images.length) browser.changeRun();
    document.querySelector(`#${section} select.run`)?.focus();
  });

  // ---- Frames -----------------------------------------------------------------------------------------

  const WRONG = [230, 120, 0];
  const decoded = new Map();

  const inflate = async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  const key = (layer) => `${run}/${layer}`;
  /** The labels of a layer, a number a pixel; null for the image itself. */
  const labelsOf = (frame, layer) => {
    if (layer === "image") return null;
    const text = layer === "label" ? frame.label : frame.masks[key(layer)];
    if (!decoded.has(text)) decoded.set(text, inflate(text));
    return decoded.get(text);
  };
  const photographs = new Map();
  const photograph = async (frame) => {
    if (!photographs.has(frame.image)) {
      const image = new Image();
      image.src = frame.image;
      photographs.set(frame.image, image.decode().then(() => image));
    }
    return photographs.get(frame.image);
  };

  const browser = {
    shown: [], place: 0, drawing: 0,

    start() {
      find("class").append(make("option", { value: "" }, "all"),
        ...DATA.classes.map((name, number) => make("option", { value: number }, name)));
      const runs = document.querySelector("#browser .runs");
      if (DATA.runs.length > 1) runs.querySelector("select").replaceWith(runSelect());
      else runs.remove();
      for (const id of ["left", "right", "class", "order"]) find(id).addEventListener("change", () => this.list());
      for (const id of ["wipe", "opacity"]) find(id).addEventListener("input", () => this.paint());
      find("previous").addEventListener("click", () => this.go(this.place - 1));
      find("next").addEventListener("click", () => this.go(this.place + 1));
      const viewer = find("viewer");
      viewer.addEventListener("pointermove", (event) => {
        if (event.buttons) this.drag(event);
        this.read(event);
      });
      viewer.addEventListener("pointerdown", (event) => { this.drag(event); this.read(event); });
      viewer.addEventListener("pointerleave", () => { find("reading").textContent = ""; });
      this.changeRun();
    },
    changeRun() {
      const networks = DATA.runs[run].networks;
      const layers = ["image", "label", ...networks];
      for (const [id, layer] of [["left", "label"], ["right", networks.at(-1) ?? "label"]]) {
        find(id).replaceChildren(...layers.map((name) => make("option", { value: name }, name)));
        find(id).value = layer;
      }
      this.list();
    },
    /** The network that frames are ordered by. */
    judged() {
      const networks = DATA.runs[run].networks;
      return [find("right").value, find("left").value].find((layer) => networks.includes(layer)) ?? networks.at(-1);
    },
    score(frame) {
      const chosen = find("class").value;
      const scores = frame.iou[key(this.judged())];
      return scores ? scores[chosen === "" ? 0 : Number(chosen) + 1] : null;
    },
    list() {
      const current = this.shown[this.place]?.name;
      const order = find("order").value;
      const frames = DATA.images.filter((frame) => find("class").value === "" || this.score(frame) !== null);
      const sign = order === "best" ? -1 : 1;
      frames.sort((a, b) => order === "name" ? a.name.localeCompare(b.name) : sign * (this.score(a) - this.score(b)));
      this.shown = frames;
      find("thumbs").replaceChildren(...frames.map((frame, place) => {
        const percent = this.score(frame) === null ? "" : `${(100 * this.score(frame)).toFixed(1)} %`;
        const thumb = make("button", { type: "button", "aria-pressed": "false", "data-name": frame.name },
          make("img", { src: frame.image, alt: "" }), make("span", {}, frame.name), make("b", {}, percent));
        thumb.addEventListener("click", () => this.go(place));
        return make("li", {}, thumb);
      }));
      const kept = frames.findIndex((frame) => frame.name === current);
      // Asked for another order, people want to see its first.
      this.go(document.activeElement?.id === "order" || document.activeElement?.id === "class" ? 0 : Math.max(kept, 0));
    },
    go(place) {
      if (!this.shown.length) {
        find("which").textContent = "No image has this class.";
        return;
      }
      this.place = (place + this.shown.length) % this.shown.length;
      const frame = this.shown[this.place];
      find("which").textContent = `${this.place + 1} of ${this.shown.length}: ${frame.name}`;
      [...find("thumbs").querySelectorAll("button")].forEach((thumb, number) => {
        thumb.setAttribute("aria-pressed", number === this.place);
        if (number === this.place) {
          const list = find("thumbs");
          list.scrollLeft = thumb.offsetLeft - list.offsetLeft - (list.clientWidth - thumb.clientWidth) / 2;
        }
      });
      this.panels(frame);
      this.paint();
    },
    panels(frame) {
      const networks = DATA.runs[run].networks;
      const percent = (layer) => {
        const scores = frame.iou[key(layer)];
        return scores ? ` · ${(100 * scores[0]).toFixed(1)} %` : "";
      };
      find("panels").replaceChildren(...["image", "label", ...networks, "difference"].map((layer) => {
        const canvas = make("canvas", { role: "img", width: frame.width, height: frame.height, "data-layer": layer });
        const text = layer === "difference" ? "left ≠ right" : `${layer}${percent(layer)}`;
        canvas.setAttribute("aria-label", `${frame.name}: ${text}`);
        const panel = make("button", { type: "button", title: "Show on the right" }, canvas, make("span", {}, text));
        panel.setAttribute("aria-pressed", layer === find("right").value);
        if (layer === "difference") panel.disabled = true;
        panel.addEventListener("click", () => {
          find("right").value = layer;
          this.list();
          find("panels").querySelector(`canvas[data-layer="${CSS.escape(layer)}"]`).parentElement.focus();
        });
        return make("li", {}, panel);
      }));
      this.legend(frame);
    },
    legend(frame) {
      const scores = frame.iou[key(this.judged())];
      find("legend").replaceChildren(...DATA.classes.flatMap((name, number) => {
        if (!scores || scores[number + 1] === null) return [];
        const swatch = make("i");
        swatch.style.background = `rgb(${DATA.palette[number].join()})`;
        return [make("li", {}, swatch, `${name} ${(100 * scores[number + 1]).toFixed(0)} %`)];
      }));
    },
    async paint() {
      const frame = this.shown[this.place];
      if (!frame) return;
      const mine = ++this.drawing;
      const [left, right] = [find("left").value, find("right").value];
      const layers = ["label", ...DATA.runs[run].networks];
      const [photo, ...found] = await Promise.all([photograph(frame), ...layers.map((layer) => labelsOf(frame, layer))]);
      if (mine !== this.drawing) return; // another frame was asked for meanwhile
      this.labels = Object.fromEntries(layers.map((layer, number) => [layer, found[number]]));
      const viewer = find("viewer");
      [viewer.width, viewer.height] = [frame.width, frame.height];
      const border = Math.round(frame.width * find("wipe").value / 100);
      this.layer(viewer, frame, photo, left, 0, border);
      this.layer(viewer, frame, photo, right, border, frame.width);
      const context = viewer.getContext("2d");
      context.fillStyle = "#fff";
      if (border > 0 && border < frame.width) context.fillRect(border - 1, 0, 2, frame.height);
      viewer.setAttribute("aria-label", `${frame.name}: ${left} up to ${find("wipe").value} %, ${right} beyond`);
      for (const canvas of find("panels").querySelectorAll("canvas")) {
        if (canvas.dataset.layer === "difference") this.difference(canvas, frame, photo, left, right);
        else this.layer(canvas, frame, photo, canvas.dataset.layer, 0, frame.width);
      }
      viewer.dataset.painted = `${frame.name}|${left}|${right}|${border}`;
    },
    /** Draws columns from…to of a layer: the photograph, and the colors of the labels over it. */
    layer(canvas, frame, photo, layer, from, to) {
      if (to <= from) return;
      const context = canvas.getContext("2d");
      context.save();
      context.beginPath();
      context.rect(from, 0, to - from, frame.height);
      context.clip();
      context.drawImage(photo, 0, 0, frame.width, frame.height);
      const labels = this.labels[layer];
      if (labels) {
        const chosen = find("class").value;
        this.tint(context, frame, (pixel) => {
          const label = labels[pixel];
          if (label === DATA.ignore_label || (chosen !== "" && label !== Number(chosen))) return null;
          return DATA.palette[label];
        }, find("opacity").value / 100);
      }
      context.restore();
    },
    difference(canvas, frame, photo, left, right) {
      const context = canvas.getContext("2d");
      context.filter = "grayscale(1) brightness(0.75)";
      context.drawImage(photo, 0, 0, frame.width, frame.height);
      context.filter = "none";
      const [one, other] = [this.labels[left], this.labels[right]];
      if (!one || !other) return;
      let [differing, counted] = [0, 0];
      this.tint(context, frame, (pixel) => {
        if (one[pixel] === DATA.ignore_label || other[pixel] === DATA.ignore_label) return null;
        counted += 1;
        if (one[pixel] === other[pixel]) return null;
        differing += 1;
        return WRONG;
      }, 0.85);
      const text = `${left} ≠ ${right} · ${(100 * differing / Math.max(counted, 1)).toFixed(1)} %`;
      canvas.nextSibling.textContent = text;
      canvas.setAttribute("aria-label", `${frame.name}: ${text}`);
    },
    tint(context, { width, height }, colorOf, opacity) {
      const pixels = new ImageData(width, height);
      for (let pixel = 0; pixel < width * height; pixel += 1) {
        const color = colorOf(pixel);
        if (color) pixels.data.set([...color, 255], 4 * pixel);
      }
      const sheet = make("canvas", { width, height });
      sheet.getContext("2d").putImageData(pixels, 0, 0);
      context.globalAlpha = opacity;
      context.drawImage(sheet, 0, 0);
      context.globalAlpha = 1;
    },
    drag(event) {
      const box = find("viewer").getBoundingClientRect();
      find("wipe").value = Math.round(100 * (event.clientX - box.left) / box.width);
      this.paint();
    },
    read(event) {
      const frame = this.shown[this.place];
      const box = find("viewer").getBoundingClientRect();
      const x = Math.floor((event.clientX - box.left) / box.width * frame.width);
      const y = Math.floor((event.clientY - box.top) / box.height * frame.height);
      if (!this.labels || x < 0 || y < 0 || x >= frame.width || y >= frame.height) return;
      const layers = [...new Set(["label", find("left").value, find("right").value])].filter((layer) => this.labels[layer]);
      find("reading").textContent = layers.map((layer) => {
        const label = this.labels[layer][y * frame.width + x];
        return `${layer}: ${label === DATA.ignore_label ? "void" : DATA.classes[label]}`;
      }).join("   ·   ");
    },
  };
  if (DATA.images.length) browser.start();
})();
