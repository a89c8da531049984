// The thread that computes: loads the model, replays its golden samples, decodes images and answers them.
import * as ort from "../runtime/ort.js";
import { fitted } from "./fit.js";

const MOST_NAMED = 5; // classes in an answer
const EXPORT_AGAIN = "Export it again with `pictorch export --to web` and copy the whole folder";

let model = null; // {facts, session}, once it is loaded
let last = Promise.resolve(); // one job after another

onmessage = ({ data: { number, file } }) => {
  last = last.then(async () => {
    try {
      postMessage({ number, result: await (file ? answer(file) : load()) });
    } catch (error) {
      const known = error instanceof Failure ? error : new Failure(`It failed (${firstLine(error)}). Reload the page.`, true);
      postMessage({ number, problem: { message: known.message, again: known.again } });
    }
  });
};

/** What the person is told; `again` where the same may succeed later. */
class Failure extends Error {
  constructor(message, again = false) {
    super(message);
    this.again = again;
  }
}

async function load() {
  if (!model) {
    const names = ["model.json", "golden.bin", "model.onnx", "runtime/ort.wasm"];
    const [facts, golden, graph, runtime] = await Promise.all(names.map(read));
    Object.assign(ort.env.wasm, { wasmBinary: runtime, numThreads: 1 });
    const opened = { facts: parsed(facts), session: await sessionOf(graph) };
    await replay(opened, golden);
    model = opened;
  }
  const { classes, ...facts } = model.facts;
  return { ...facts, classNames: classes };
}

async function read(path) {
  let response, bytes;
  try {
    response = await fetch(new URL(`../${path}`, import.meta.url), { cache: "no-cache" }); // not one of an older export
    bytes = await response.arrayBuffer();
  } catch {
    throw new Failure(`${path} did not arrive. See that you are connected, then try again.`, true);
  }
  if (!response.ok) {
    throw new Failure(`${path} is not where this page lies (code ${response.status}). ${EXPORT_AGAIN}.`);
  }
  return bytes;
}

function parsed(bytes) {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new Failure(`model.json is damaged. ${EXPORT_AGAIN}.`);
  }
}

async function sessionOf(graph) {
  try {
    const options = { executionProviders: ["wasm"], logSeverityLevel: 4 };
    return await ort.InferenceSession.create(new Uint8Array(graph), options);
  } catch (error) {
    throw new Failure(`The model cannot be opened (${firstLine(error)}). ${EXPORT_AGAIN}.`);
  }
}

/** Throws a Failure unless the model answers its golden samples as it did where it was made.
 *
 * golden.bin holds their probabilities, float32 of N × classes, and then their pixels. */
async function replay({ facts, session }, golden) {
  const { size, classes, tolerance, tie } = facts, pixelBytes = size * size * 3, rowBytes = classes.length * 4;
  const n = golden.byteLength / (rowBytes + pixelBytes);
  if (!Number.isInteger(n) || n < 1) throw new Failure(`golden.bin is damaged. ${EXPORT_AGAIN}.`);
  let largest = 0, others = 0;
  for (let one = 0; one < n; one++) {
    const expected = new Float32Array(golden, one * rowBytes, classes.length);
    const pixels = new Uint8Array(golden, n * rowBytes + one * pixelBytes, pixelBytes);
    const found = await probabilities(session, pixels, size);
    const difference = Math.max(...expected.map((value, place) => Math.abs(value - found[place])));
    largest = Math.max(largest, difference); // NaN stays NaN
    if (!(expected[top(expected)] - expected[top(found)] < tie)) others++;
  }
  if (!(largest <= tolerance) || others > 0) {
    throw new Failure("The model gives other answers here than where it was made (largest difference " +
      `${largest.toPrecision(3)}, allowed ${tolerance}; ${others} of ${n} top classes differ), so this page gives ` +
      `none. ${EXPORT_AGAIN}.`);
  }
}

const top = (row) => row.indexOf(Math.max(...row));

async function probabilities(session, pixels, size) {
  const images = new ort.Tensor("uint8", pixels, [1, size, size, 3]);
  return (await session.run({ images })).probabilities.data;
}

async function answer(file) {
  await load();
  const start = performance.now(), { facts, session } = model, { size, classes, fit } = facts;
  const pixels = await pixelsOf(file, size, fit);
  const row = await probabilities(session, pixels, size);
  const milliseconds = performance.now() - start;
  const order = [...row.keys()].sort((one, other) => row[other] - row[one]).slice(0, MOST_NAMED);
  const named = order.map((place) => ({ class: classes[place], probability: row[place] }));
  return { top: named, seen: await address(pixels, size), milliseconds };
}

/** Returns the image as the model is given it: upright by its EXIF, on white where it is transparent. */
async function pixelsOf(file, size, fit) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Failure("It is damaged, truncated, or too large for this browser; copy it again or make it smaller.");
  }
  try {
    return new Uint8Array(fitted(reader(bitmap), bitmap.width, bitmap.height, size, fit).buffer);
  } finally {
    bitmap.close();
  }
}

/** Returns a function that gives a part of a bitmap as RGBA. */
function reader(bitmap) {
  return (left, top, width, height) => {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, left, top, width, height, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  };
}

/** Returns pixels as the address of a picture. */
async function address(pixels, size) {
  const canvas = new OffscreenCanvas(size, size), context = canvas.getContext("2d");
  const picture = context.createImageData(size, size);
  for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) {
    picture.data.set(pixels.subarray(from, from + 3), to);
    picture.data[to + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  return new FileReaderSync().readAsDataURL(await canvas.convertToBlob({ type: "image/png" }));
}

const firstLine = (error) => String(error.message ?? error).split("\n")[0].slice(0, 120);
