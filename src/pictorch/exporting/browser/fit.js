// Brings an image to the model's size as images.py does: cut, pad or stretch, and Pillow's bicubic filter.
//
// The filter is R. G. Keys's cubic convolution (1981) with a = -1/2, widened by the factor of shrinking.
// As in Pillow, weights are whole numbers of 22 bits and each pass rounds to 8 bits, so that equal
// pixels give equal pixels.

const A = -0.5;
const SUPPORT = 2; // pixels to each side
const BITS = 22, HALF = 1 << (BITS - 1);
const STRIP_PIXELS = 1 << 20; // of the original, that are held at a time
const GREY = 128; // what pad puts beside an image

/** Returns RGB pixels as a Uint8ClampedArray of size × size × 3.
 *
 * `read(left, top, width, height)` gives a part of the image as RGBA, whose A is not looked at; `fit` is crop,
 * pad or stretch. */
export function fitted(read, width, height, size, fit) {
  let part = { left: 0, top: 0, width, height }, target = [size, size];
  if (fit === "crop") {
    const side = Math.min(width, height);
    part = { left: Math.floor((width - side) / 2), top: Math.floor((height - side) / 2), width: side, height: side };
  } else if (fit === "pad") {
    target = [width, height].map((side) => Math.max(1, halfToEven((side * size) / Math.max(width, height))));
  }
  const pixels = shrunk(read, part, target);
  return target[0] === target[1] ? pixels : padded(pixels, target, size);
}

/** Rounds as Python does. */
function halfToEven(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below % 2) : Math.round(value);
}

function shrunk(read, { left, top, width, height }, [outWidth, outHeight]) {
  const columns = weightsOf(width, outWidth), rows = weightsOf(height, outHeight);
  const strip = (side) => Math.max(1, Math.floor(STRIP_PIXELS / side));
  const out = new Uint8ClampedArray(outWidth * outHeight * 3);
  // Pillow's order since its version 13; before, columns always came first.
  if (outHeight < height && height - outHeight > 2 * (width - outWidth)) {
    const between = new Uint8ClampedArray(width * outHeight * 3);
    for (let x = 0; x < width; x += strip(height)) {
      const count = Math.min(strip(height), width - x);
      acrossRows(read(left + x, top, count, height), 4, count, rows, between, width, x);
    }
    acrossColumns(between, 3, width, columns, out);
  } else {
    const between = new Uint8ClampedArray(outWidth * height * 3);
    for (let y = 0; y < height; y += strip(width)) {
      const count = Math.min(strip(width), height - y);
      acrossColumns(read(left, top + y, width, count), 4, width, columns, between.subarray(y * outWidth * 3));
    }
    acrossRows(between, 3, outWidth, rows, out, outWidth, 0);
  }
  return out;
}

/** Returns for each place of the output the first place of the input and the weights from there on.
 *
 * Where the sizes are equal, each place is the input's own: the one weight is a whole, and its neighbours' none. */
function weightsOf(inSize, outSize) {
  const scale = inSize / outSize, stretch = Math.max(1, scale), support = SUPPORT * stretch;
  return Array.from({ length: outSize }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(inSize, Math.trunc(center + support + 0.5));
    const values = Array.from({ length: end - first }, (_, k) => keys((k + first - center + 0.5) * (1 / stretch)));
    let sum = 0;
    for (const value of values) sum += value;
    return { first, weights: Int32Array.from(values, (value) => wholeNumber(value / sum)) };
  });
}

function keys(distance) {
  const x = Math.abs(distance);
  if (x < 1) return ((A + 2) * x - (A + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * A : 0;
}

const wholeNumber = (weight) => Math.trunc(weight * (1 << BITS) + (weight < 0 ? -0.5 : 0.5));

/** Fills `out` from rows of `width` pixels of `stride` bytes, made as wide as there are `columns`. */
function acrossColumns(pixels, stride, width, columns, out) {
  let at = 0;
  for (let row = 0; row < pixels.length; row += width * stride) {
    for (const { first, weights } of columns) {
      let from = row + first * stride, red = HALF, green = HALF, blue = HALF;
      for (let k = 0; k < weights.length; k++, from += stride) {
        red += pixels[from] * weights[k];
        green += pixels[from + 1] * weights[k];
        blue += pixels[from + 2] * weights[k];
      }
      out[at++] = red >> BITS;
      out[at++] = green >> BITS;
      out[at++] = blue >> BITS;
    }
  }
}

/** Fills the columns of `out` from `left` on, `outWidth` pixels wide, with such rows made as many as `places`. */
function acrossRows(pixels, stride, width, places, out, outWidth, left) {
  places.forEach(({ first, weights }, y) => {
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = HALF, from = (first * width + x) * stride + channel;
        for (let k = 0; k < weights.length; k++, from += width * stride) sum += pixels[from] * weights[k];
        out[(y * outWidth + left + x) * 3 + channel] = sum >> BITS;
      }
    }
  });
}

function padded(pixels, [width, height], size) {
  const out = new Uint8ClampedArray(size * size * 3).fill(GREY);
  const left = Math.floor((size - width) / 2), top = Math.floor((size - height) / 2);
  for (let y = 0; y < height; y++) {
    out.set(pixels.subarray(y * width * 3, (y + 1) * width * 3), ((top + y) * size + left) * 3);
  }
  return out;
}
