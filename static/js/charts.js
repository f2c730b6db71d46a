// The page of a run: its curves, and what a page that refreshes itself owes its reader (focus, selection, scroll).
"use strict";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const probe = document.createElement("span"); // resolves light-dark() to a colour that a canvas understands
probe.hidden = true;
document.body.append(probe);

function ink(name) {
  probe.style.color = colour(name);
  return getComputedStyle(probe).color;
}

const short = (value) => (value == null ? "–" : Number(value.toPrecision(4)).toString());

class Chart {
  constructor(element) {
    this.element = element;
    this.metrics = element.dataset.metrics.split(" ");
    this.readout = element.parentElement.querySelector(".readout");
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(element);
  }

  size() {
    return { width: Math.max(this.element.clientWidth, 200), height: 220 };
  }

  draw(curves) {
    const known = this.metrics.filter((metric) => curves[metric]);
    if (!known.length) return;
    const data = uPlot.join(this.metrics.map((metric) => {
      const curve = curves[metric] ?? { steps: [], values: [] };
      return [curve.steps, curve.values];
    }));
    if (this.plot) {
      this.plot.setData(data);
      return;
    }
    this.element.replaceChildren();
    const axis = { stroke: () => ink("--muted"), grid: { stroke: () => ink("--line"), width: 1 }, ticks: { show: false }, font: `12px ${colour("--sans")}` };
    this.plot = new uPlot({
      ...this.size(),
      legend: { show: false },
      scales: { x: { time: false } },
      axes: [{ ...axis, size: 34, gap: 2, label: this.element.dataset.x, labelSize: 16, labelFont: axis.font, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] }, { ...axis, size: 46 }],
      series: [{}, ...this.metrics.map((metric, number) => ({
        stroke: () => ink(`--series-${number + 1}`),
        width: 2,
        dash: number ? [6, 4] : undefined, // colour alone tells nothing
        spanGaps: true,
        points: { show: (plot, index) => plot.data[index].filter((value) => value != null).length < 40, size: 5 },
      }))],
      cursor: { drag: { x: false, y: false } },
      hooks: { setCursor: [(plot) => this.tell(plot)] },
    }, data, this.element);
  }

  tell(plot) {
    const { idx } = plot.cursor;
    this.readout.textContent = idx == null ? "" : [`${plot.data[0][idx]}:`, ...this.metrics.map((metric, number) => `${metric} ${short(plot.data[number + 1][idx])}`)].join("  ");
  }

  redraw() {
    this.plot?.redraw();
  }
}

const holder = document.querySelector("[data-curves]");
const charts = [...document.querySelectorAll(".chart")].map((element) => new Chart(element));
let drawn = "";

async function refresh() {
  if (!holder) return;
  const response = await fetch(holder.dataset.curves, { cache: "no-cache" }).catch(() => null);
  if (!response?.ok) return;
  const text = await response.text();
  if (text === drawn) return;
  drawn = text;
  const curves = JSON.parse(text);
  for (const chart of charts) chart.draw(curves);
}

refresh();
const repaint = () => charts.forEach((chart) => chart.redraw());
new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["data-theme"] });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

// --- Refreshing without disturbing ---

const log = document.getElementById("log");
let followed = true; // the reader has not scrolled away from the log's end

function follow() {
  if (followed) log.scrollTop = log.scrollHeight;
}

log.addEventListener("scroll", () => { followed = log.scrollHeight - log.scrollTop - log.clientHeight < 24; });
log.closest("details").addEventListener("toggle", follow);

document.addEventListener("htmx:oobBeforeSwap", (event) => {
  // What has not changed stays: selected text stays selected, and nothing is announced again.
  const { target, fragment } = event.detail;
  const html = fragment.innerHTML ?? [...fragment.children].map((child) => child.outerHTML).join("");
  if (target.innerHTML === html) event.detail.shouldSwap = false;
});

document.addEventListener("htmx:oobAfterSwap", (event) => {
  if (event.detail.target === log) follow();
});

const away = document.getElementById("away");
for (const name of ["htmx:sendError", "htmx:responseError"]) {
  document.addEventListener(name, () => { away.hidden = false; });
}

document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.elt.id !== "standing") return;
  away.hidden = true;
  refresh();
});
