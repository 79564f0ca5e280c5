// Plots of the last minutes: lines in an SVG, whose colours are the style sheet's. A figure has
// its value of now in large type, and what the pointer is at instead.

import { el, svg } from "./dom.js";
import { KEPT_MS } from "./samples.js";

const WIDTH = 300;
const HEIGHT = 72;
// Lines do not touch the edges.
const MARGIN = 3;

// The highest value that is drawn: the next of 1, 2 or 5 above the values, so that it seldom changes.
function ceiling(values, least) {
    const highest = Math.max(least, ...values);
    const power = 10 ** Math.floor(Math.log10(highest));
    return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= highest * 0.999);
}

// Points of `values`, which are at `times` up to now, as a path; what is missing is a gap.
function path(times, values, top) {
    const now = times.at(-1);
    let drawing = false;
    const steps = values.map((value, at) => {
        if (value === undefined) {
            drawing = false;
            return "";
        }
        const x = WIDTH * (1 - (now - times[at]) / KEPT_MS);
        const y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * Math.min(1, value / top);
        const step = `${drawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
        drawing = true;
        return step;
    });
    return steps.join("");
}

const frame = (...children) =>
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...children);

// A plot with a title. `series` are `{name, of(figures), kind}`; `show` writes a value.
export function plot({ title, series, show, least = 1 }) {
    const lines = series.map(({ kind }) => svg("path", { class: `line ${kind ?? ""}` }));
    const cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT });
    const drawing = frame(svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: MARGIN, y2: MARGIN }), ...lines, cursor);
    const value = el("span", { class: "value" });
    const when = el("span", { class: "when" });
    const scale = el("span", { class: "scale", "aria-hidden": "true" });
    const chart = el("div", { class: "chart" }, drawing, scale);
    const node = el("figure", { class: "plot" }, el("figcaption", {}, el("span", { class: "title" }, title), when, value), chart);
    let times = [];
    let drawn = series.map(() => []);
    let pointed;

    function tell() {
        const at = pointed ?? times.length - 1;
        const several = series.length > 1;
        const texts = series.map(({ name }, one) => `${several ? `${name} ` : ""}${show(drawn[one][at])}`);
        value.textContent = texts.join(" · ");
        const ago = pointed === undefined ? 0 : Math.round((times.at(-1) - times[at]) / 1000);
        when.textContent = ago > 0 ? `${ago} s ago` : "";
        const x = pointed === undefined ? -10 : WIDTH * (1 - (times.at(-1) - times[at]) / KEPT_MS);
        cursor.setAttribute("x1", x);
        cursor.setAttribute("x2", x);
    }

    chart.addEventListener("pointermove", (event) => {
        const box = chart.getBoundingClientRect();
        const wanted = times.at(-1) - (1 - (event.clientX - box.left) / box.width) * KEPT_MS;
        const distances = times.map((time) => Math.abs(time - wanted));
        pointed = times.length ? distances.indexOf(Math.min(...distances)) : undefined;
        tell();
    });
    chart.addEventListener("pointerleave", () => {
        pointed = undefined;
        tell();
    });

    // Draws the figures of `past`.
    function draw(past) {
        times = past.map((figures) => figures.atMs);
        drawn = series.map(({ of }) => past.map((figures) => of(figures)));
        const top = ceiling(drawn.flat().filter((one) => one !== undefined), least);
        lines.forEach((line, one) => line.setAttribute("d", path(times, drawn[one], top)));
        scale.textContent = show(top);
        tell();
    }
    return { node, draw };
}

// A small line without words, for a row of a table.
export function spark(of) {
    const line = svg("path", { class: "line" });
    const node = frame(line);
    node.classList.add("spark");
    function draw(past) {
        const values = past.map(of);
        const top = ceiling(values.filter((one) => one !== undefined), 1);
        line.setAttribute("d", path(past.map((figures) => figures.atMs), values, top));
    }
    return { node, draw };
}
