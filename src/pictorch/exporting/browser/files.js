// Which files are taken: what their first bytes say, their size in bytes and pixels; each refusal in a sentence.
import { count, size } from "./formats.js";
import { Problem } from "./problems.js";

const MAX_BYTES = 50_000_000, MAX_PIXELS = 50_000_000, MAX_SIDE = 16_384; // pixels; larger canvases fail
const BEGINNING_BYTES = 64;

const READ = { JPEG: /^\xff\xd8\xff/, PNG: /^\x89PNG/, WEBP: /^RIFF.{4}WEBP/s, GIF: /^GIF8/, BMP: /^BM/ };
const NOT_READ = {
  "a TIFF": /^(II\*\0|MM\0\*)/,
  "a PPM": /^P[1-7]\s/,
  "an AVIF, HEIC or MP4 file": /^.{4}ftyp/s,
  "an SVG drawing": /^\s*(<\?xml.*)?<svg/is,
  "an HTML page": /^\s*<(!doctype html|html)/i,
  "a PDF": /^%PDF/,
  "a zip archive": /^PK\x03\x04/,
};
const REMEDY = `use one of ${Object.keys(READ).join(", ")}`;

export const LIMIT = `Up to ${size(MAX_BYTES)} and ${MAX_PIXELS / 1e6} megapixels each`;

/** Throws a Problem unless the file is an image that browsers read, and small enough. */
export async function checkFile(file) {
  const beginning = await file.slice(0, BEGINNING_BYTES).arrayBuffer().catch(() => {
    throw new Problem("It cannot be read. If it is a folder, choose the images in it; if it was changed, choose it " +
      "again.");
  });
  if (file.size === 0) throw new Problem("The file is empty; copy it again.");
  const start = String.fromCharCode(...new Uint8Array(beginning));
  const kind = nameOf(READ, start);
  if (!kind) {
    const thing = nameOf(NOT_READ, start);
    const what = thing ? `It is ${thing}, which browsers do not give to this page` : "It is not an image";
    throw new Problem(`${what}; ${REMEDY}.`);
  }
  if (file.size > MAX_BYTES) {
    throw new Problem(`It is too large (${size(file.size)} of at most ${size(MAX_BYTES)}). Make it smaller.`);
  }
  const [width, height] = await sidesOf(file, kind);
  if (width * height > MAX_PIXELS || Math.max(width, height) > MAX_SIDE) {
    throw new Problem(`It has ${count(width)} × ${count(height)} pixels; make it smaller, to ` +
      `${MAX_PIXELS / 1e6} megapixels and ${count(MAX_SIDE)} pixels a side.`);
  }
}

const nameOf = (kinds, start) => Object.keys(kinds).find((name) => kinds[name].test(start));

/** Returns width and height, for which a browser reads the header and does not lay out the pixels. */
async function sidesOf(file, kind) {
  const image = new Image(), address = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => Object.assign(image, { onload: resolve, onerror: reject, src: address }));
  } catch {
    throw damaged(kind);
  } finally {
    URL.revokeObjectURL(address);
  }
  return [image.naturalWidth, image.naturalHeight];
}

const damaged = (kind) => new Problem(`It is a damaged or truncated ${kind}; copy it again.`);
