// A model of `tubelet export` in the browser: what its file says of itself, the frames of a video element, its logits.
//
//   T  frames of a clip   H, W  pixels   K  classes

import * as ort from "./ort.wasm.min.mjs";
import { frameRate, pixelsOf, viewPlans } from "./frames.js";

ort.env.wasm.numThreads = 1; // more need a page that is isolated from other origins

/** The model in the bytes of an ONNX file. Throws an Error of one line where it is none of `tubelet export`. */
export async function openModel(bytes) {
  const texts = metadataOf(bytes);
  if (!("tubelet.record" in texts)) throw new Error("this file carries no protocol; expected one of tubelet export");
  if (JSON.parse(texts["tubelet.stage"] ?? "null") !== null) {
    throw new Error("this is one of two files; export the model without --two-files");
  }
  const record = JSON.parse(texts["tubelet.record"]);
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  const { protocol, calibration } = record;
  return { session, protocol, calibration, name: record.model_name, taken: JSON.parse(texts["tubelet.clips"]) };
}

/** The texts of an ONNX file (metadata_props, field 14 of ModelProto), which the runtime does not show. */
export function metadataOf(bytes) {
  const found = {};
  for (const [field, value] of fields(bytes)) {
    if (field !== 14) continue;
    const [key, text] = [1, 2].map((wanted) => {
      const entry = [...fields(value)].find(([number]) => number === wanted);
      return entry === undefined ? "" : new TextDecoder().decode(entry[1]);
    });
    found[key] = text;
  }
  return found;
}

/** Numbers and contents of the fields of a protobuf message that have a length. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0, scale = 1, byte;
    do {
      if (at >= bytes.length) throw new Error("no ONNX file, or a damaged one");
      byte = bytes[at++];
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte > 127);
    return value;
  };
  while (at < bytes.length) {
    const key = varint(), kind = key % 8;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const length = varint();
      yield [Math.floor(key / 8), bytes.subarray(at, at + length)];
      at += length;
    } else throw new Error("no ONNX file, or a damaged one");
  }
}

/** Logits, a Float32Array [K], of RGB frames: a Uint8Array [T, H, W, 3]. `numbers` are those of the frames. */
export async function logitsOf(model, frames, [t, h, w], numbers = null) {
  const { mean, std, channel_order: order } = model.protocol;
  const clip = new Float32Array(3 * t * h * w);
  for (let c = 0; c < 3; c++) {
    const source = order === "bgr" ? 2 - c : c;
    for (let i = 0; i < t * h * w; i++) clip[c * t * h * w + i] = (frames[3 * i + source] / 255 - mean[c]) / std[c];
  }
  const inputs = { clip: new ort.Tensor("float32", clip, [1, 3, t, h, w]) };
  if (model.session.inputNames.length > 1) {
    const taken = numbers ?? Array.from({ length: t }, (_, i) => i * model.taken.frame_numbers);
    inputs.position = new ort.Tensor("int64", BigInt64Array.from(taken, BigInt), [1, t]);
  }
  return (await model.session.run(inputs)).logits.data;
}

/** Classes with their probabilities, by head and best first, of the video that an element shows. */
export async function classify(model, video, report = () => {}) {
  const started = performance.now(), { protocol } = model;
  report("Finding the frame rate …");
  const fps = await frameRate(video);
  const plans = viewPlans(Math.max(1, Math.round(video.duration * fps)), fps, protocol);
  const scored = [];
  for (const [i, plan] of plans.entries()) {
    report(`Clip ${i + 1} of ${plans.length}`);
    const first = Math.min(...plan), numbers = plan.map((n) => n - first);
    for (const crop of await pixelsOf(video, plan, fps, protocol)) {
      scored.push(await logitsOf(model, crop, [plan.length, ...protocol.crop_size], numbers));
    }
  }
  const mean = scored[0].map((_, k) => scored.reduce((sum, logits) => sum + logits[k], 0) / scored.length);
  const heads = probabilities(protocol, model.calibration, protocol.averaging === "probs" ? scored : [mean]);
  return { heads, logits: [...mean], numViews: scored.length, fps, seconds: (performance.now() - started) / 1000 };
}

function probabilities(protocol, calibration, scored) {
  const heads = {};
  let start = 0;
  for (const [i, [head, names]] of Object.entries(protocol.labels).entries()) {
    const temperature = calibration.temperatures[i] ?? 1;
    const each = scored.map((logits) => {
      const part = [...logits.slice(start, start + names.length)].map((x) => x / temperature);
      if (protocol.multi_label) return part.map((x) => 1 / (1 + Math.exp(-x)));
      const largest = Math.max(...part), e = part.map((x) => Math.exp(x - largest));
      const sum = e.reduce((a, b) => a + b);
      return e.map((x) => x / sum);
    });
    const probs = names.map((_, k) => each.reduce((sum, p) => sum + p[k], 0) / each.length);
    heads[head] = names.map((label, k) => ({ label, prob: probs[k] })).sort((a, b) => b.prob - a.prob);
    start += names.length;
  }
  return heads;
}
