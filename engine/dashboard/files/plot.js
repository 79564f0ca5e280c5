// Plots of the last minutes: lines in an SVG, whose colours are the style sheet's. A figure has
// its value of now in large type, and what the pointer is at instead.

import { el, svg } from "./dom.js";
import { KEPT_MS } from "./samples.js";

const WIDTH = 300;
const HEIGHT = 72;
// Lines do not touch the edges.
const MARGIN = 3;

// At first less than all that is kept fills a plot, but no less than this.
const SPAN_MIN_MS = 30 * 1000;

// The highest value that is drawn: the next of 1, 2 or 5 above the values, so that it seldom changes;
// of bytes, the next power of two.
export function ceiling(values, { least = 1, binary = false } = {}) {
    const highest = Math.max(least, ...values);
    if (binary) {
        return 2 ** Math.ceil(Math.log2(highest));
    }
    const power = 10 ** Math.floor(Math.log10(highest));
    return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= highest * 0.999);
}

// How much time a plot of these `times` shows.
const span = (times) => Math.min(KEPT_MS, Math.max(SPAN_MIN_MS, times.at(-1) - times[0]));

const across = (times, at) => WIDTH * (1 - (times.at(-1) - times[at]) / span(times));

// Points of `values`, which are at `times` up to now, as a path; what is missing is a gap.
function path(times, values, top) {
    let drawing = false;
    const steps = values.map((value, at) => {
        if (value === undefined) {
            drawing = false;
            return "";
        }
        const x = across(times, at);
        const y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * Math.min(1, value / top);
        const step = `${drawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
        drawing = true;
        return step;
    });
    return steps.join("");
}

const frame = (...children) =>
    svg(
        "svg",
        { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
        ...children,
    );

// A plot with a title. `series` are `{name, of(figures), kind}`; `show` writes a value; `scale` is as
// for `ceiling`.
export function plot({ title, series, show, scale }) {
    const lines = series.map(({ kind }) => svg("path", { class: `line ${kind ?? ""}` }));
    const cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT });
    const drawing = frame(
        svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: MARGIN, y2: MARGIN }),
        ...lines,
        cursor,
    );
    const value = el("span", { class: "value" });
    const when = el("span", { class: "when" });
    const chart = el("div", { class: "chart" }, drawing);
    const node = el(
        "figure",
        { class: "plot" },
        el("figcaption", {}, el("span", { class: "title" }, title), when, value),
        chart,
    );
    let times = [];
    let drawn = series.map(() => []);
    let top;
    let pointed;

    function tell() {
        const at = pointed ?? times.length - 1;
        value.replaceChildren(
            ...series.map(({ name, kind }, one) =>
                el(
                    "span",
                    {},
                    name && el("span", { class: `name ${kind ?? ""}` }, name),
                    ` ${show(drawn[one][at])}`,
                ),
            ),
        );
        const ago = Math.round((times.at(-1) - times[at]) / 1000);
        const range = top === undefined ? "" : `up to ${show(top)}`;
        when.textContent = pointed === undefined ? range : `${ago} s ago`;
        cursor.setAttribute("visibility", pointed === undefined ? "hidden" : "visible");
        ["x1", "x2"].forEach((end) =>
            cursor.setAttribute(end, times.length ? across(times, at) : 0),
        );
    }

    chart.addEventListener("pointermove", (event) => {
        const box = chart.getBoundingClientRect();
        const wanted = times.at(-1) - (1 - (event.clientX - box.left) / box.width) * span(times);
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
        const known = drawn.flat().filter((one) => one !== undefined);
        top = known.length ? ceiling(known, scale) : undefined;
        lines.forEach((line, one) => line.setAttribute("d", path(times, drawn[one], top)));
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
        const top = ceiling(values.filter((one) => one !== undefined));
        line.setAttribute(
            "d",
            path(
                past.map((figures) => figures.atMs),
                values,
                top,
            ),
        );
    }
    return { node, draw };
}
