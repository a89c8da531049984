// The page: brings images from the person to the answerer, a server or this browser, and answers to the screen.
import { inWords, showAnswer } from "./answer.js";
import { describe, predict } from "./answerer.js";
import { closeCamera, openCamera, takeFrame } from "./camera.js";
import { byId, make } from "./dom.js";
import { count, percent, plural } from "./formats.js";
import { clearProblems, Problem, showProblem } from "./problems.js";
import { theme, threshold } from "./settings.js";
import { Strip } from "./strip.js";

const MOST_CLASSES_UNFOLDED = 24;
const SMALL_PIXELS = 64; // such pictures are shown pixel by pixel, as in the report
const LIVE_PAUSE_MS = 250;
const PRODUCT = document.title;

const photo = byId("photo"), video = byId("video"), whole = photo.parentNode;
let model = { classNames: [] };
let opening = false; // the camera, for which the person may be being asked
let rounds = 0; // of answering the camera all the time
let shown = null; // the entry {file, label, answer} on the screen
const strip = new Strip((entry) => { show(entry); stopCamera(); tellShown(); });
const notSureBelow = threshold(() => { strip.judge(notSureBelow()); judgeShown(); });

const say = (seen, heard = "") => byId("said").replaceChildren(seen, make("span", { class: "unseen" }, heard));
const sayUnheard = (seen) => byId("said").replaceChildren(make("span", { "aria-hidden": "true" }, seen));
const tellShown = (seen = "") => say(seen, ` ${shown.label}: ${inWords(shown.answer, notSureBelow())}`);
const judgeShown = () => showAnswer(shown && shown.answer, notSureBelow(), model.classNames.length);

/** Asks about files and shows each answer as it comes, unless the person has meanwhile chosen another. */
async function ask(files) {
  let number = 0, answered = 0, latest = shown;
  const waiting = (seconds) => say(`The server is busy; trying again in ${Math.ceil(seconds)} s.`);
  const tally = () => (files.length > 1 ? `${count(answered)} of ${plural(files.length, "image")} answered` : "");
  say(files.length > 1 ? `Asking about ${count(files.length)} images…` : "Asking…");
  for await (const { answer, problem } of predict(files, waiting)) {
    const file = files[number++];
    if (problem) {
      showProblem(problem, file.name, () => ask([file]));
    } else {
      answered++;
      const entry = { file, label: file.name, answer };
      strip.add(entry);
      strip.judge(notSureBelow());
      if (shown === latest) show(latest = entry);
    }
    sayUnheard(tally());
  }
  if (answered && shown === latest) tellShown(tally());
  else say(tally());
}

/** Puts an entry on the screen; while the camera is open, its picture stays where the original would be. */
function show(entry) {
  shown = entry;
  byId("seen").src = entry.answer.seen;
  byId("seen").alt = `${entry.label} as the model sees it`;
  if (!video.srcObject) showOriginal(entry);
  showStage();
  strip.mark(entry);
  judgeShown();
}

function showOriginal({ file, label }) {
  URL.revokeObjectURL(photo.src);
  photo.onload = () => {
    if (!video.srcObject) shape(photo.naturalWidth, photo.naturalHeight);
    photo.classList.toggle("small", Math.max(photo.naturalWidth, photo.naturalHeight) <= SMALL_PIXELS);
  };
  photo.onerror = () => { photo.hidden = true; byId("original-name").append(" (the browser cannot show this kind of file)"); };
  photo.hidden = false;
  photo.src = URL.createObjectURL(file);
  photo.alt = label;
  byId("original-name").replaceChildren(make("bdi", {}, label));
}

/** Fits the original into its square, and marks the part of it that the model is given. */
function shape(width, height) {
  whole.classList.toggle("cut", model.fit === "crop");
  const shares = { "--width": width / height, "--height": height / width };
  for (const [name, share] of Object.entries(shares)) whole.style.setProperty(name, Math.min(1, share));
}

function showStage() {
  const isOpen = video.srcObject !== null;
  byId("pair").hidden = !isOpen && !shown;
  byId("invitation").hidden = isOpen || shown !== null;
  byId("seen").hidden = shown === null;
  photo.hidden ||= isOpen;
  video.hidden = !isOpen;
  byId("camera").hidden = !isOpen;
  byId("open-camera").hidden = isOpen;
}

async function startCamera() {
  if (opening) return;
  clearProblems();
  // Over plain http a phone still opens its own camera, and hands the picture over as a file.
  if (!navigator.mediaDevices && matchMedia("(pointer: coarse)").matches) return byId("snapshot").click();
  try {
    opening = true;
    await openCamera(video, stopCamera);
  } catch (problem) {
    return showProblem(problem);
  } finally {
    opening = false;
  }
  shape(video.videoWidth, video.videoHeight);
  byId("original-name").replaceChildren("The camera");
  showStage();
  byId("take").focus();
}

function stopCamera() {
  if (!video.srcObject) return;
  const hadFocus = byId("camera").contains(document.activeElement);
  closeCamera(video);
  byId("live").checked = false;
  if (shown) showOriginal(shown);
  showStage();
  if (hadFocus) byId("open-camera").focus();
}

/** Answers what the camera sees again and again; such images are not kept. */
async function live() {
  const round = ++rounds;
  while (round === rounds && video.srcObject && byId("live").checked) {
    if (!document.hidden) {
      const file = await takeFrame(video);
      for await (const { answer, problem } of predict([file])) {
        if (!byId("live").checked) return;
        if (problem) { byId("live").checked = false; return showProblem(problem, "", () => byId("live").click()); }
        show({ file, label: file.name, answer });
      }
    }
    await new Promise((wake) => setTimeout(wake, LIVE_PAUSE_MS));
  }
}

function receive(files, otherwise) {
  if (files.length === 0) {
    clearProblems();
    return showProblem(new Problem(otherwise));
  }
  stopCamera();
  clearProblems();
  ask([...files]);
}

function showModel() {
  const { classNames, metrics, name, version } = model, side = count(model.size);
  const [split, scores] = metrics.test ? ["test", metrics.test] : ["validation", metrics.val];
  const range = scores?.accuracy_interval.map((end) => (end * 100).toFixed(2)).join("–");
  const facts = [
    plural(classNames.length, "class", "classes"),
    `${side} × ${side} pixels`,
    scores && `${split} accuracy ${percent(scores.accuracy, 2)} (95 % interval ${range} %, n = ${count(scores.n)})`,
  ];
  document.title = `${name} · ${PRODUCT}`;
  byId("name").textContent = name;
  byId("facts").textContent = facts.filter(Boolean).join(" · ");
  byId("seen-size").textContent = `, ${side} × ${side} pixels`;
  byId("limit").textContent = model.limit;
  byId("class-count").textContent = `What it can say: ${facts[0]}`;
  byId("classes").replaceChildren(...classNames.map((one) => make("li", {}, make("bdi", {}, one))));
  byId("classes").parentNode.open = classNames.length <= MOST_CLASSES_UNFOLDED;
  byId("program").hidden = !model.example;
  byId("curl").textContent = model.example;
  byId("privacy").textContent = `${model.privacy} Version ${version}.`;
  byId("model").hidden = false;
}

async function meet() {
  byId("facts").textContent = "Loading the model…";
  try {
    model = await describe();
    showModel();
    judgeShown();
  } catch (problem) {
    byId("facts").textContent = "";
    showProblem(problem, "", meet);
  }
}

const dragging = (is) => document.body.classList.toggle("dragging", is);
addEventListener("dragover", (event) => { event.preventDefault(); dragging(true); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) dragging(false); });
addEventListener("drop", (event) => {
  event.preventDefault();
  dragging(false);
  receive(event.dataTransfer.files, "What you dropped is not a file. Save the image first, then drop the file.");
});
addEventListener("paste", (event) =>
  receive(event.clipboardData.files, "There is no image on the clipboard. Copy one, then paste again."));
addEventListener("keydown", (event) => { if (event.key === "Escape") stopCamera(); });
for (const name of ["files", "snapshot"]) {
  byId(name).onchange = ({ target }) => { const files = [...target.files]; target.value = ""; if (files.length) receive(files); };
}
byId("open-camera").onclick = startCamera;
byId("close-camera").onclick = stopCamera;
byId("take").onclick = async () => { clearProblems(); ask([await takeFrame(video)]); };
byId("live").onchange = live;
byId("forget").onclick = () => {
  strip.forget();
  shown = null;
  URL.revokeObjectURL(photo.src);
  photo.removeAttribute("src");
  clearProblems();
  showStage();
  judgeShown();
  say("Forgotten.");
  byId("files").focus();
};
theme();
judgeShown();
meet();
