// The page's only way to a model: `describe` says what it is, `predict` answers images.
// This one asks the server that the page came from; that of exporting/browser computes in the browser.
import { size } from "./formats.js";
import { Problem } from "./problems.js";

const AT_ONCE = 4;
const TRIES = 5;
const LONGEST_PAUSE_SECONDS = 20;
const PATIENCE_MS = 120_000;
const FORM_BYTES = 1024; // what a form adds to the image that it carries

const STATUS_WORDS = {
  401: "The server asks for a login first; open this page anew.",
  403: "The server, or a proxy before it, does not allow this.",
  404: "Nothing answers at this address; open this page anew.",
  413: "The image is larger than the server, or a proxy before it, takes; make it smaller.",
  503: "The server is still busy; wait a little, then try again.",
};

let maxBytes = Infinity; // of a request; known once the model has been described

/** Returns what the model is: {name, classNames, size (side in pixels), fit, metrics, version}, and in words for
 * the person: {limit, privacy, and, where there is one, example}. Throws a Problem. */
export async function describe() {
  const model = await json(await send("model"));
  maxBytes = model.limits.max_body_bytes;
  return {
    name: model.title, classNames: model.classes, size: model.image_size, fit: model.fit,
    metrics: model.metrics, version: model.version,
    limit: `Up to ${size(maxBytes)} and ${model.limits.max_pixels / 1e6} megapixels each`,
    privacy: "Images are sent to this server and nowhere else. The page keeps them in memory until it is closed.",
    example: `curl -F image=@photo.jpg ${address("predict")}`,
  };
}

/** Yields for each file, in their order, {answer} or {problem}.
 *
 * An answer is {top: [{class, probability}], most likely first, seen: the address of the image as the
 * model saw it, milliseconds, and in words what they were spent on}. `waiting(seconds)` is called before each pause for a busy model. */
export async function* predict(files, waiting = () => {}) {
  const begun = [];
  let next = 0;
  while (next < files.length || begun.length) {
    while (next < files.length && begun.length < AT_ONCE) {
      const asking = answerTo(files[next++], waiting);
      begun.push(asking.then((answer) => ({ answer }), (problem) => ({ problem })));
    }
    yield await begun.shift();
  }
}

async function answerTo(file, waiting) {
  if (file.size + FORM_BYTES > maxBytes) {
    throw new Problem(`It is larger than this server takes (${size(file.size)} of at most ` +
      `${size(maxBytes)}), so it was not sent. Make it smaller.`);
  }
  for (let tried = 1; ; tried++) {
    const body = new FormData(), start = performance.now();
    body.append("image", file, file.name);
    const response = await send("predict?with_input=true", { method: "POST", body }, file);
    if (response.status !== 503 || tried === TRIES) {
      const answer = await json(response);
      return { top: answer.top, seen: answer.input, milliseconds: performance.now() - start, spent: "from sending to answer" };
    }
    // Spread, so that pages that were sent away together do not come back together.
    const asked = Math.min(Number(response.headers.get("Retry-After")) || 1, LONGEST_PAUSE_SECONDS);
    const seconds = asked * (1 + Math.random() / 4);
    waiting(seconds);
    await new Promise((wake) => setTimeout(wake, 1000 * seconds));
  }
}

async function send(path, options = {}, file = null) {
  try {
    return await fetch(address(path), { ...options, signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch (error) {
    if (error.name === "TimeoutError") {
      throw new Problem("No answer came within two minutes; try again.", { again: true });
    }
    if (file && !(await isReadable(file))) {
      throw new Problem("It cannot be read. If it is a folder, choose the images in it; if it was changed, choose it again.");
    }
    throw new Problem("The server does not answer. See that `pictorch serve` runs and that you are connected, then try again.",
      { again: true });
  }
}

async function json(response) {
  const record = await response.json().catch(() => null);
  if (response.ok && record) return record;
  const { message, request_id: request } = record?.error ?? {};
  const words = (message && sentence(message)) ?? STATUS_WORDS[response.status] ??
    `The server answered with code ${response.status}; try again, and look into its log for the reason.`;
  throw new Problem(words, { again: response.status >= 500 || response.status === 408, request });
}

/** Makes a sentence of the server's line, whose name for the image the page knows better. */
function sentence(line) {
  const words = line.replace(/^image: (the file )?/, "");
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}

const isReadable = (file) => file.slice(0, 1).arrayBuffer().then(() => true, () => false);

/** Addresses are relative to this file, so that the page works under any path of a proxy. */
const address = (path) => new URL(`../${path}`, import.meta.url).href;
