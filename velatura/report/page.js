"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const narrow = () => window.innerWidth < 560;

// Colours are names of the style sheet: "@keep" is --keep, in whichever scheme is on.
function paint(value, style = getComputedStyle(document.documentElement)) {
  if (typeof value === "string" && value.startsWith("@"))
    return style.getPropertyValue("--" + value.slice(1)).trim() || value;
  if (Array.isArray(value)) return value.map((v) => paint(v, style));
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, paint(v, style)]));
  return value;
}

function layoutOf(spec, more = {}) {
  const axis = {
    gridcolor: "@line", linecolor: "@line2", tickcolor: "@line2", zeroline: false,
    fixedrange: true, automargin: true, title: { font: { size: 13, color: "@soft" } },
  };
  const merge = (a, b) => {
    const result = { ...a };
    for (const [k, v] of Object.entries(b || {}))
      result[k] = v && typeof v === "object" && !Array.isArray(v) ? merge(a[k] || {}, v) : v;
    return result;
  };
  const base = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false,
    hovermode: "closest", margin: { l: 52, r: 16, t: 12, b: 48 },
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: "@ink" },
    hoverlabel: { bgcolor: "@card", bordercolor: "@line2", font: { color: "@ink" }, align: "left" },
    legend: { orientation: "h", x: 0, y: -0.16, yanchor: "top", font: { color: "@soft" } },
    xaxis: axis, yaxis: axis,
  };
  return paint(merge(merge(base, spec.layout), more));
}

// The size is always that of the box: on a turned phone or a narrowed window all is drawn again.
function draw(box, spec, more) {
  const size = { width: box.clientWidth, height: box.clientHeight, autosize: false };
  Plotly.react(box, paint(spec.data), layoutOf(spec, { ...more, ...size }), { displayModeBar: false });
}

// Names beside the points of the trade-off: near their own point, nearer to it than to any
// other, free of marks, bars and names; with a thin line where that takes some distance.
function namesBeside(box, spec) {
  const size = box._fullLayout._size, wide = Math.max(size.w, 50), high = Math.max(size.h, 50);
  const [x0, x1] = spec.layout.xaxis.range, [y0, y1] = spec.layout.yaxis.range;
  const at = (x, y) => [((x - x0) / (x1 - x0)) * wide, ((y1 - y) / (y1 - y0)) * high];
  const points = spec.meta.labels.map((p) => at(p.x, p.y));
  const taken = spec.meta.labels.flatMap((p, i) => {
    const [x, y] = points[i], around = [[x - 8, y - 8, x + 8, y + 8]];
    if (p.across) around.push([at(p.across[0], p.y)[0], y - 3, at(p.across[1], p.y)[0], y + 3]);
    if (p.up) around.push([x - 3, at(p.x, p.up[1])[1], x + 3, at(p.x, p.up[0])[1]]);
    return around;
  });
  const meet = (a, b) => Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) *
    Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  const gap = (b, [x, y]) => Math.hypot(Math.max(b[0] - x, 0, x - b[2]), Math.max(b[1] - y, 0, y - b[3]));
  return spec.meta.labels.map((p, i) => {
    const [x, y] = points[i], w = p.text.length * 7.4 + 6, h = 17;
    let found = null;
    for (const far of [18, 26, 36, 50, 68, 90, 115, 145])
      for (let turn = 0; turn < 24; turn++) {
        const angle = (turn % 2 ? -1 : 1) * Math.ceil(turn / 2) * (Math.PI / 12);
        const dx = Math.cos(angle) * (far + w / 2 - 6), dy = -Math.sin(angle) * far;
        const place = [x + dx - w / 2, y + dy - h / 2, x + dx + w / 2, y + dy + h / 2];
        const own = gap(place, points[i]);
        let cost = 2 * own + turn * 0.3, rival = Infinity;
        for (const other of taken) cost += 4 * meet(place, other);
        points.forEach((q, j) => {
          if (j === i || Math.hypot(q[0] - x, q[1] - y) < 10) return;
          rival = Math.min(rival, gap(place, q));
        });
        if (rival < own + 6) cost += 3 * (own + 6 - rival);
        for (const over of [-place[0], place[2] - wide, -place[1], place[3] - high])
          if (over > 0) cost += 400 * over;
        if (!found || cost < found.cost) found = { cost, dx, dy, place, line: own > 16 || rival < own + 10 };
      }
    taken.push(found.place);
    return {
      x: p.x, y: p.y, ax: found.dx, ay: found.dy, text: p.bold ? `<b>${p.text}</b>` : p.text,
      font: { size: narrow() ? 11.5 : 12.5, color: p.colour }, showarrow: true, arrowhead: 0, standoff: 8,
      arrowwidth: 0.8, arrowcolor: found.line ? p.colour : "rgba(0,0,0,0)", borderpad: 1,
    };
  });
}

function tradeOff() {
  const box = document.getElementById("trade-off");
  if (!box) return;
  const more = narrow() ? { margin: { l: 40, r: 6, t: 8, b: 40 } } : {};
  let spec = data.trade_off;
  if (document.getElementById("published").ariaPressed === "true")
    spec = { ...spec, data: [...spec.data, data.published.trace],
      meta: { ...spec.meta, labels: [...spec.meta.labels, ...(narrow() ? [] : data.published.labels)] } };
  draw(box, spec, more);
  const notes = namesBeside(box, spec);
  notes.push({ x: 1, xref: "paper", y: 0, text: "chance", showarrow: false, xanchor: "right",
    yanchor: "bottom", font: { size: 11.5, color: "@soft" } });
  const floor = spec.meta.floor;
  if (floor !== null && floor !== undefined)
    notes.push({ x: floor, y: 0.5, yref: "paper", text: "what the action alone reveals", showarrow: false,
      textangle: -90, xanchor: "left", yanchor: "middle", font: { size: 11.5, color: "@leak" } });
  Plotly.relayout(box, { annotations: paint(notes) });
}

function attributes() {
  const box = document.getElementById("attributes");
  if (!box) return;
  const on = [...document.querySelectorAll("#attribute-rows button")].map((b) => b.ariaPressed === "true");
  const count = Math.max(1, on.filter(Boolean).length);
  const traces = data.attributes.data, marks = traces.length - 1;
  const shown = traces.filter((_, i) => i === marks || on[i])
    .map((t) => t.type === "bar" ? t : { ...t, marker: { ...t.marker, size: 12 + 8 * count } });
  const many = traces[marks].y.length;
  box.style.height = `${many * (18 + 13 * count) + 70}px`;
  draw(box, { data: shown, layout: data.attributes.layout }, narrow() ? { margin: { l: 8, r: 8 }, xaxis: { dtick: 20 } } : {});
}

// Small figures beside each other: as many of the cards as there are panels.
function panels(id, list, more) {
  document.querySelectorAll(`#${id} .card`).forEach((card, i) => {
    card.hidden = i >= list.length;
    if (i >= list.length) return;
    const { title, summary } = list[i], box = card.querySelector(".plot");
    card.querySelector("h3").textContent = title;
    box.ariaLabel = summary || title;
    draw(box, list[i], more);
  });
}
const LEGEND = {
  margin: { l: 44, r: 10, t: 30, b: 40 }, legend: { y: 1.02, yanchor: "bottom", font: { size: 12 } },
};

function curves() {
  const chosen = document.querySelector("#curve-rows button[aria-pressed='true']");
  if (chosen) panels("panels", data.curves[Number(chosen.dataset.index)], LEGEND);
}

// Of texts that are there for every row, the one of the row that a select names.
function showOf(select) {
  document.querySelectorAll(`[data-of="${select.id}"] > *`)
    .forEach((shown) => { shown.hidden = shown.dataset.index !== select.value; });
}

function ladder() {
  const row = document.getElementById("ladder-row");
  if (!row) return;
  panels("ladder-panels", data.ladder[row.value], { margin: { l: 8, r: 12, t: 4, b: 26 } });
  showOf(row);
}

function effort() {
  const row = document.getElementById("effort-row");
  if (!row) return;
  panels("effort-panels", data.effort[row.value], LEGEND);
  showOf(row);
}

function drawAll() { tradeOff(); ladder(); attributes(); effort(); curves(); }

// Buttons: one of a group ("one"), or any of them ("any").
function buttons(id, kind, then) {
  const group = document.getElementById(id);
  if (!group) return;
  group.addEventListener("click", (event) => {
    const button = event.target.closest("button[aria-pressed]");
    if (!button) return;
    if (kind === "one") group.querySelectorAll("button[aria-pressed]").forEach((b) => { b.ariaPressed = "false"; });
    button.ariaPressed = kind === "one" || button.ariaPressed !== "true" ? "true" : "false";
    then(button);
  });
}

buttons("examples", "one", (button) => {
  document.querySelectorAll("[data-row]").forEach((picture) => {
    picture.className = picture.className.replace(/\bs\d+-\d+\b/, `s${picture.dataset.row}-${button.dataset.index}`);
  });
});
buttons("attribute-rows", "any", attributes);
buttons("curve-rows", "one", curves);

document.getElementById("ladder-row")?.addEventListener("change", ladder);
document.getElementById("effort-row")?.addEventListener("change", effort);

document.getElementById("published")?.addEventListener("click", (event) => {
  const button = event.currentTarget, on = button.ariaPressed !== "true";
  button.ariaPressed = String(on);
  document.getElementById("published-points").hidden = !on;
  document.querySelector(".legend .published").hidden = !on;
  tradeOff();
});

// Tables: a heading sorts upwards, then downwards, then as it was. What is given stays on top, and
// what is not known goes to the end.
const say = (text) => { document.getElementById("said").textContent = text; };
document.querySelectorAll("table.sortable").forEach((table) => {
  const body = table.tBodies[0], rows = [...body.querySelectorAll("tr:not(.given)")];
  const keyOf = (row, column) =>
    column === 0 ? row.cells[0].textContent.trim() : row.cells[column].dataset.key;
  const compare = (a, b) => {
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  };
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("button")?.parentElement;
    if (!head) return;
    const way = { ascending: "descending", descending: "none" }[head.ariaSort] || "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    if (way !== "none") head.ariaSort = way;
    const column = head.cellIndex, sign = way === "descending" ? -1 : 1;
    const known = rows.filter((row) => keyOf(row, column));
    known.sort((a, b) => sign * compare(keyOf(a, column), keyOf(b, column)));
    const unknown = rows.filter((row) => !known.includes(row));
    body.append(...(way === "none" ? rows : [...known, ...unknown]));
    say(way === "none" ? "as it was" : `sorted by ${head.textContent}, ${way}`);
  });
});

document.getElementById("filter")?.addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  document.querySelectorAll("table.methods tbody tr:not(.given)").forEach((row) => {
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
  });
  const rows = [...document.querySelectorAll("#table tbody tr:not(.given)")];
  say(`${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`);
});

const play = document.getElementById("play");
if (play) {
  const set = (running) => {
    document.body.classList.toggle("paused", !running);
    document.body.classList.toggle("playing", running);
    play.textContent = running ? "Pause" : "Play";
  };
  set(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  play.addEventListener("click", () => set(document.body.classList.contains("paused")));
}

drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let width = document.body.clientWidth, waiting;
new ResizeObserver(() => {
  if (document.body.clientWidth === width) return;
  width = document.body.clientWidth;
  clearTimeout(waiting);
  waiting = setTimeout(drawAll, 100);
}).observe(document.body);
// On paper all figures are drawn once more, as wide as the sheet and in the light scheme.
for (const [event, on] of [["beforeprint", true], ["afterprint", false]])
  addEventListener(event, () => {
    document.documentElement.classList.toggle("printing", on);
    drawAll();
  });
document.documentElement.dataset.ready = "yes";
