// Runs the network beside the page, so that buttons answer while it computes. The page puts LiteRT.js before this.
"use strict";

let lite, network, facts;
const heard = [];

onmessage = async ({ data }) => {
  try {
    if (data.wasm) await load(data);
    else await segment(data);
  } catch (error) {
    postMessage({ error: [String((error && error.message) || error), ...heard.slice(-3)].join(" · ") });
  }
};

// What the runtime says of its own workings is told only with an error.
function hear(line) {
  if (!line.startsWith("INFO")) heard.push(line);
}

async function load({ wasm, tflite, facts: given }) {
  facts = given;
  lite = new LiteRT.LiteRt(await ModuleFactory({ wasmBinary: wasm, printErr: hear, print: hear }));
  LiteRT.setGlobalLiteRt(lite);
  // No GPU: the int8 kernels are on the processor.
  lite.setDefaultEnvironment(await LiteRT.Environment.create({ webGpuDevice: null }));
  network = await lite.loadAndCompile(tflite, { accelerator: "wasm" });
  postMessage({ loaded: true });
}

async function segment({ id, pixels }) {
  const [height, width] = facts.size;
  const input = new (facts.input === "uint8" ? Uint8Array : Float32Array)(height * width * 3);
  for (let from = 0, to = 0; to < input.length; from += 4) {
    input[to++] = pixels[from];
    input[to++] = pixels[from + 1];
    input[to++] = pixels[from + 2];
  }
  const began = performance.now();
  const tensor = new LiteRT.Tensor(input, [1, height, width, 3]);
  const outputs = await network.run([tensor]);
  const logits = outputs[0].toTypedArray();
  const ms = performance.now() - began;
  tensor.delete();
  outputs.forEach((output) => output.delete());
  const labels = labelsOf(logits);
  postMessage({ id, ms, labels }, [labels.buffer]);
}

function labelsOf(logits) {
  const [height, width] = facts.size, [rows, columns, classes] = facts.logits;
  const labels = new Uint16Array(height * width);
  if (rows === height && columns === width) {
    for (let pixel = 0, from = 0; pixel < labels.length; pixel++, from += classes) {
      labels[pixel] = largest(logits, from, classes);
    }
    return labels;
  }
  // Smaller logits are enlarged bilinearly before the largest is looked for, as when accuracy is measured.
  const down = steps(rows, height), right = steps(columns, width);
  const line = new Float32Array(columns * classes), mixed = new Float32Array(classes);
  for (let y = 0; y < height; y++) {
    const upper = down.before[y] * line.length, lower = down.after[y] * line.length, share = down.share[y];
    for (let i = 0; i < line.length; i++) {
      line[i] = logits[upper + i] + (logits[lower + i] - logits[upper + i]) * share;
    }
    for (let x = 0; x < width; x++) {
      const left = right.before[x] * classes, next = right.after[x] * classes, part = right.share[x];
      for (let c = 0; c < classes; c++) mixed[c] = line[left + c] + (line[next + c] - line[left + c]) * part;
      labels[y * width + x] = largest(mixed, 0, classes);
    }
  }
  return labels;
}

function largest(logits, from, classes) {
  if (classes === 1) return logits[from] > facts.threshold ? 1 : 0;
  let best = 0;
  for (let c = 1; c < classes; c++) if (logits[from + c] > logits[from + best]) best = c;
  return best;
}

// Which two of `few` samples lie around each of `many`, and how far it is to the second; pixels have centers.
function steps(few, many) {
  const before = new Int32Array(many), after = new Int32Array(many), share = new Float32Array(many);
  for (let i = 0; i < many; i++) {
    const at = ((i + 0.5) * few) / many - 0.5, low = Math.floor(at);
    before[i] = Math.max(low, 0);
    after[i] = Math.min(low + 1, few - 1);
    share[i] = at - low;
  }
  return { before, after, share };
}
