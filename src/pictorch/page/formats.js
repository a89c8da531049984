// How figures are printed, as in the rest of pictorch.

export const percent = (fraction, decimals = 1) => `${(fraction * 100).toFixed(decimals)}\u00a0%`;
export const count = (value) => value.toLocaleString("en");
export const milliseconds = (value) => `${value < 9.95 ? value.toFixed(1) : count(Math.round(value))}\u00a0ms`;
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export function size(bytes) {
  return bytes < 1e6 ? `${count(Math.ceil(bytes / 1e3))}\u00a0kB` : `${(bytes / 1e6).toFixed(1).replace(".0", "")}\u00a0MB`;
}
