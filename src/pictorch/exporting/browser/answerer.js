// The page's only way to a model, here in this browser: `describe` says what it is, `predict` answers images.
import { checkFile, LIMIT } from "./files.js";
import { keepOffline } from "./offline.js";
import { Problem } from "./problems.js";

// A module of one function whose result is a vector of 128 bits.
const SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11);

const PRIVACY = "The model runs in this browser: no image leaves this device. The page keeps them in memory until it is closed.";

const waiting = new Map(); // what asked the worker, by number: [resolve, reject]
let worker = null;
let number = 0; // of the latest message to it
let asked = 0; // images

/** Returns what the model is, once it has been loaded and has answered its golden samples as it did where it
 * was made: {name, classNames, size (side in pixels), fit, metrics, version}, and in words for the person:
 * {limit, privacy}. Throws a Problem. */
export async function describe() {
  const loaded = load();
  keepOffline(loaded, () => asked === 0);
  return { ...await loaded, limit: LIMIT, privacy: PRIVACY };
}

/** Yields for each file, in their order, {answer} or {problem}, see the server's answerer. */
export async function* predict(files) {
  for (const file of files) {
    asked++;
    try {
      await checkFile(file);
      await load();
      yield { answer: { ...await tell({ file }), spent: "on this device" } };
    } catch (problem) {
      yield { problem };
    }
  }
}

async function load() {
  if (!globalThis.WebAssembly?.validate(SIMD)) {
    throw new Problem("This browser lacks WebAssembly SIMD, with which the model computes. Open the page in a " +
      "current Firefox, Chrome, Edge or Safari (16.4 or newer).");
  }
  return tell({});
}

/** Starts the thread that computes, so that the page stays free meanwhile. */
function start() {
  const made = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  made.onmessage = ({ data: { number, result, problem } }) => {
    const [resolve, reject] = waiting.get(number);
    waiting.delete(number);
    if (problem) reject(new Problem(problem.message, problem));
    else resolve(result);
  };
  made.onerror = () => {
    worker = null;
    for (const [, reject] of waiting.values()) {
      reject(new Problem("A script of this page did not load, or the browser stopped it. See that you are connected, " +
        "then try again.", { again: true }));
    }
    waiting.clear();
  };
  return made;
}

function tell(message) {
  return new Promise((resolve, reject) => {
    worker ??= start();
    waiting.set(++number, [resolve, reject]);
    worker.postMessage({ number, ...message });
  });
}
