// Earlier images, the newest first, in memory only; radio buttons, so that the arrow keys walk through them.
import { byId, make } from "./dom.js";
import { isSure } from "./answer.js";
import { percent } from "./formats.js";

const MOST_KEPT = 60; // the oldest is forgotten then

export class Strip {
  /** Calls `choose(entry)` when an earlier image is chosen. */
  constructor(choose) {
    this.entries = [];
    this.choose = choose;
  }

  /** Puts an entry {file, label, answer} in front. */
  add(entry) {
    const radio = make("input", { type: "radio", name: "earlier" });
    entry.said = make("span");
    entry.item = make("label", {}, radio, make("img", { src: entry.answer.seen, alt: "" }),
      make("bdi", {}, entry.answer.top[0].class), entry.said, make("span", { class: "unseen" }, ` ${entry.label}`));
    radio.onchange = () => this.choose(entry);
    this.entries.unshift(entry);
    byId("strip").prepend(entry.item);
    for (const old of this.entries.splice(MOST_KEPT)) old.item.remove();
    this.changed();
  }

  /** Marks the entry that is on show. */
  mark(entry) {
    for (const radio of byId("strip").querySelectorAll("input")) radio.checked = false;
    const radio = entry.item?.querySelector("input"); // the camera's passing images have none
    if (radio) radio.checked = true;
  }

  /** Says anew of which images the model is not sure. */
  judge(threshold) {
    for (const { item, said, answer } of this.entries) {
      const sure = isSure(answer, threshold);
      said.textContent = sure ? percent(answer.top[0].probability) : "not sure";
      item.classList.toggle("unsure", !sure);
    }
  }

  forget() {
    this.entries = [];
    byId("strip").replaceChildren();
    this.changed();
  }

  changed() {
    byId("earlier").hidden = this.entries.length === 0;
  }
}
