// Makes elements. Whatever comes from elsewhere goes through here, and is only ever text: nothing
// in this program reads HTML, and the policy that it is served with forbids that.

import { printable, printableLines } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes; a function is a listener, `true` an attribute without a value, and
// what is `undefined`, `null` or `false` is left out. Children are nodes, or texts.
export function el(tag, attributes = {}, ...children) {
    return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
    return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
        if (typeof value === "function") {
            element.addEventListener(name, value);
        } else if (value === true) {
            element.setAttribute(name, "");
        } else if (value !== undefined && value !== null && value !== false) {
            element.setAttribute(name, printable(value));
        }
    }
    element.append(...children.flat().filter(isShown).map(asNode));
    return element;
}

const isShown = (child) => child !== undefined && child !== null && child !== false;
const asNode = (child) => (child instanceof Node ? child : printable(child));

// A link to a page of the dashboard. Each part of its path is one, whatever characters it has.
export function link(parts, ...children) {
    return el("a", { href: `#/${parts.map(encodeURIComponent).join("/")}` }, ...children);
}

// A link to a function's address: only what surely is one.
export function addressLink(url) {
    return /^https?:\/\//.test(url)
        ? el("a", { href: url, rel: "noreferrer" }, url)
        : el("code", {}, url);
}

// Several lines as they are.
export function block(text) {
    const element = el("pre", { tabindex: "0" });
    element.textContent = printableLines(text);
    return element;
}

export function button(text, click, { kind = "", label } = {}) {
    return el("button", { type: "button", class: kind, "aria-label": label, click }, text);
}

let fields = 0;

// A field of a form with its label, and a hint that belongs to it.
export function field(label, input, hint) {
    fields += 1;
    const [id, about] = [`field-${fields}`, `hint-${fields}`];
    input.id = id;
    if (hint) {
        input.setAttribute("aria-describedby", about);
    }
    return el(
        "div",
        { class: "field" },
        el("label", { for: id }, label),
        input,
        hint && el("small", { id: about }, hint),
    );
}

export function check(label, attributes = {}) {
    return el("label", { class: "check" }, el("input", { type: "checkbox", ...attributes }), label);
}

// What has no rows, no answer, or no sense here.
export const note = (...children) => el("p", { class: "note" }, ...children);

// A list of names and what stands for them.
export function facts(pairs) {
    const shown = pairs.filter(([, value]) => isShown(value));
    return el(
        "dl",
        { class: "facts" },
        shown.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]).flat(),
    );
}

export const badge = (text, kind = "") => el("span", { class: `badge ${kind}` }, text);
