// Comfort for the reader: values under the pointer or the arrow keys, orders, light and dark.
// Without it everything stays readable; it loads nothing and sends nothing.
"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const tip = document.getElementById("tip");
const dark = matchMedia("(prefers-color-scheme: dark)");

const theme = document.getElementById("theme");
const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
theme.onclick = () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); };
dark.addEventListener("change", nameTheme);
theme.hidden = false;
nameTheme();

function showTip(lines, x, y) {
  tip.replaceChildren(...lines.map((parts) => {
    const line = document.createElement("div");
    line.append(...parts.map((part) => Object.assign(document.createElement("bdi"), { textContent: part })));
    return line;
  }));
  tip.hidden = false;
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = `${Math.max(8, Math.min(x + 14, room)) + scrollX}px`;
  tip.style.top = `${Math.max(8, y - tip.offsetHeight - 14) + scrollY}px`;
}

function draw(name, parent, attributes) {
  const shape = parent.appendChild(document.createElementNS("http://www.w3.org/2000/svg", name));
  for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
}

for (const plot of all(".plot")) {
  const svg = plot.querySelector("svg"), box = svg.viewBox.baseVal;
  const lines = all("path[data-x]", svg).map((path) => {
    const at = path.getAttribute("d").slice(1).split("L").map((pair) => pair.split(" ").map(Number));
    const values = path.dataset.y.split("|");
    const points = path.dataset.x.split("|").map((x, i) => ({ x, value: values[i], left: at[i][0], top: at[i][1] }));
    return { name: path.dataset.name, style: path.parentNode.getAttribute("class"), points };
  });
  const main = lines.reduce((one, other) => (other.style.includes("faint") ? one : other), lines[0]).points;
  const near = (points, left) =>
    points.reduce((one, other) => (Math.abs(other.left - left) < Math.abs(one.left - left) ? other : one));
  all("title", svg).forEach((title) => title.remove());
  let place = main.length - 1, cursor = null;

  const hide = () => { if (cursor) cursor.remove(); cursor = null; tip.hidden = true; };
  const tell = () => lines.map((line) => [line.name, near(line.points, main[place].left)]);
  function speak() {
    plot.setAttribute("aria-valuenow", place);
    plot.setAttribute("aria-valuetext", `${plot.dataset.x} ${main[place].x}: ` +
      tell().map(([name, point]) => `${name} ${point.value}`).join(", "));
  }
  function show() {
    hide();
    const left = main[place].left, told = tell();
    cursor = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "g"));
    draw("line", cursor, { class: "cursor", x1: left, x2: left, y1: 8, y2: box.height - (box.height > 150 ? 40 : 18) });
    for (const [, point] of told) draw("circle", cursor, { class: "cursor dot", cx: point.left, cy: point.top, r: 3.5 });
    const rect = svg.getBoundingClientRect(), factor = rect.width / box.width;
    showTip([[`${plot.dataset.x} ${main[place].x}`], ...told.map(([name, point]) => [name, point.value])],
      rect.left + left * factor, rect.top + Math.min(...told.map(([, point]) => point.top)) * factor);
    speak();
  }
  const follow = (event) => {
    const rect = svg.getBoundingClientRect();
    place = main.indexOf(near(main, (event.clientX - rect.left) / rect.width * box.width));
    show();
  };
  plot.onpointermove = plot.onpointerdown = follow;
  plot.onpointerleave = plot.onblur = hide;
  plot.onfocus = () => { if (plot.matches(":focus-visible")) show(); };
  plot.onkeydown = (event) => {
    const moves = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: main.length - 1 };
    if (event.key === "Escape") return hide();
    if (!(event.key in moves)) return;
    event.preventDefault();
    place = Math.max(0, Math.min(main.length - 1, moves[event.key]));
    show();
  };
  const role = { role: "slider", tabindex: 0, "aria-label": `${plot.dataset.title}, values`, "aria-valuemin": 0, "aria-valuemax": main.length - 1 };
  for (const [key, value] of Object.entries(role)) plot.setAttribute(key, value);
  speak();
}

const byText = new Intl.Collator(undefined, { numeric: true }).compare;
const number = (cell) => parseFloat(cell.textContent.replaceAll(",", ""));

for (const table of all("table.sortable")) {
  const heads = all("thead th", table), body = table.tBodies[0];
  heads.forEach((head, column) => {
    if (!body.rows[0].cells[column].textContent) return;
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const up = head.ariaSort ? head.ariaSort !== "ascending" : !head.classList.contains("number");
      const order = ([a], [b]) => column && !isNaN(number(a) + number(b)) ? number(a) - number(b) : byText(a.textContent, b.textContent);
      const rows = [...body.rows].map((row) => [row.cells[column], row]).sort(order).map(([, row]) => row);
      body.append(...(up ? rows : rows.reverse()));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
    };
  });
}

for (const view of all(".matrix-view")) {
  const table = view.querySelector("table"), said = view.querySelector(".said");
  const rows = [...table.tBodies[0].rows], grid = [table.tHead.rows[0], ...rows].map((row) => [...row.cells]);
  const name = (i) => grid[i + 1][0].textContent;
  const count = (i, j) => Number(grid[i + 1][j + 1].firstElementChild?.textContent ?? 0);
  const recall = (i) => count(i, i) / Math.max(1, rows[i].dataset.n);
  const orders = {
    stored: () => 0,
    name: (a, b) => byText(name(a), name(b)),
    worst: (a, b) => recall(a) - recall(b),
    best: (a, b) => recall(b) - recall(a),
  };
  const choice = view.querySelector(".order");
  choice.hidden = false;
  choice.onchange = (event) => {
    const order = rows.map((_, i) => i).sort(orders[event.target.value]);
    order.forEach((i) => table.tBodies[0].append(rows[i]));
    grid.forEach((cells) => cells[0].parentNode.append(cells[0], ...order.map((j) => cells[j + 1])));
  };
  table.onpointerover = (event) => {
    const cell = event.target.closest("td"), i = cell ? rows.indexOf(cell.parentNode) : -1;
    if (i < 0) return;
    const j = grid[i + 1].indexOf(cell) - 1, n = rows[i].dataset.n;
    said.textContent = `\u2068${name(i)}\u2069 called \u2068${name(j)}\u2069: ${count(i, j)} of ${n}, ` +
      `${(100 * count(i, j) / Math.max(1, n)).toFixed(1)} %`;
  };
}
