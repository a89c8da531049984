// What went wrong, in plain words with what to do; it stands until the next images are asked for.
import { byId, make } from "./dom.js";

/** Why there is no answer, in words for the person; `again` where the same request may succeed later. */
export class Problem extends Error {
  constructor(message, { again = false, request = "" } = {}) {
    super(message);
    Object.assign(this, { again, request });
  }
}

/** Shows a Problem; `retry` is offered where the same request may succeed later. */
export function showProblem(problem, label = "", retry = null) {
  const item = make("div", { class: "problem" });
  if (label) item.append(make("strong", {}, make("bdi", {}, label)), " ");
  item.append(problem.message);
  if (problem.request) item.append(" ", make("span", { class: "note" }, `Request ${problem.request}.`));
  if (retry && problem.again) {
    const button = make("button", { type: "button" }, "Try again");
    button.onclick = () => { item.remove(); retry(); };
    item.append(button);
  }
  byId("problems").append(item);
}

export const clearProblems = () => byId("problems").replaceChildren();
