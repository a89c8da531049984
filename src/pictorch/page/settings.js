// What is remembered from visit to visit, where the browser allows it: the threshold, light or dark.
import { byId } from "./dom.js";

const DEFAULT_THRESHOLD_PERCENT = 50;

function recall(key) {
  try { return localStorage.getItem(`pictorch.${key}`); } catch { return null; }
}

function keep(key, value) {
  try { localStorage.setItem(`pictorch.${key}`, value); } catch { /* then it holds until the page is closed */ }
}

/** Calls `changed` whenever the slider moves; returns a function that gives its value, from 0 to 1. */
export function threshold(changed) {
  const slider = byId("threshold");
  const show = () => {
    byId("threshold-shown").textContent = `${slider.value}\u00a0%`;
    slider.setAttribute("aria-valuetext", `${slider.value} %`);
  };
  slider.value = recall("threshold") ?? DEFAULT_THRESHOLD_PERCENT;
  show();
  slider.oninput = () => { show(); keep("threshold", slider.value); changed(); };
  return () => slider.valueAsNumber / 100;
}

/** Makes the button that changes light and dark, which otherwise follow the system. */
export function theme() {
  const button = byId("theme"), root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  const kept = recall("theme");
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  button.onclick = () => { root.dataset.theme = isDark() ? "light" : "dark"; keep("theme", root.dataset.theme); name(); };
  dark.addEventListener("change", name);
  button.hidden = false;
  name();
}
