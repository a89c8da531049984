// The answer to one image: what it is, or that the model is not sure, and the likeliest classes as bars.
import { byId, make } from "./dom.js";
import { milliseconds, percent } from "./formats.js";

const LONG_NAME = 14, LONGER_NAME = 40; // characters, from which on the headline is set smaller

/** Compares as printed, so that no one reads that 50.0 % is less than 50 %. */
export const isSure = ({ top: [best] }, threshold) => Math.round(best.probability * 1000) >= Math.round(threshold * 1000);

/** Returns the answer in a few words, for a screen reader. */
export function inWords({ top: [best], ...answer }, threshold) {
  const told = `${best.class}, ${percent(best.probability)}`;
  return isSure({ top: [best], ...answer }, threshold) ? told : `not sure; most likely ${told}`;
}

/** Shows an answer; null shows what will stand here. */
export function showAnswer(answer, threshold, numClasses) {
  const verdict = byId("verdict");
  verdict.classList.toggle("unsure", answer !== null && !isSure(answer, threshold));
  if (answer === null) {
    const among = numClasses ? ` of its ${numClasses}` : "";
    return verdict.replaceChildren(make("p", { class: "facts" }, `The likeliest${among} classes will stand here.`));
  }
  verdict.replaceChildren(
    ...headline(answer.top[0], isSure(answer, threshold), threshold),
    make("ol", { class: "bars", role: "list", "aria-label": "The likeliest classes" },
      ...answer.top.map((one, place) => bar(one, threshold, place === 0))),
    make("p", { class: "note" }, `${milliseconds(answer.milliseconds)} ${answer.spent}`),
  );
}

function headline(best, sure, threshold) {
  const name = make("bdi", {}, best.class), length = best.class.length;
  const size = !sure || length < LONG_NAME ? "" : length < LONGER_NAME ? " long" : " longer";
  if (sure) {
    return [make("p", { class: `value${size}` }, name), make("p", { class: "sure" }, percent(best.probability))];
  }
  return [
    make("p", { class: "value" }, "Not sure"),
    make("p", { class: "sure" }, "Most likely ", name,
      `, with ${percent(best.probability)}. That is less than ${percent(threshold, 0)}.`),
  ];
}

function bar({ class: name, probability }, threshold, isFirst) {
  const fill = make("i", { class: "fill" }), tick = make("i", { class: "tick" });
  fill.style.setProperty("--at", probability);
  tick.style.setProperty("--at", threshold);
  return make("li", isFirst ? { class: "first" } : {},
    make("bdi", {}, name), make("b", {}, percent(probability)),
    make("div", { class: "scale", "aria-hidden": "true" }, fill, tick));
}
