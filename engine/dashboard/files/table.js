// A table whose rows are known by a key, so that what changes is changed in place: where the
// reader is, by focus or by selection, they stay.
//
// A column is `{title, text(row)}`, or `{title, node(row), stamp(row)}`, whose node is made again
// when the stamp is another. `wide` ones are left out on a narrow screen; `number`s stand right, and so
// do buttons, in a column that is called `act`.

import { el, note } from "./dom.js";
import { printable } from "./text.js";

export function liveTable({ label, columns, key, empty }) {
    const kind = (column) =>
        [column.wide && "wide", column.number && "number", column.act && "act"]
            .filter(Boolean)
            .join(" ") || undefined;
    const head = columns.map((column) =>
        el(
            "th",
            { scope: "col", class: kind(column) },
            el("span", { class: column.act && "hidden" }, column.title),
        ),
    );
    const body = el("tbody");
    const table = el(
        "table",
        {},
        el("caption", { class: "hidden" }, label),
        el("thead", {}, el("tr", {}, ...head)),
        body,
    );
    const scroll = el(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
        table,
    );
    const nothing = note(empty);
    const node = el("div", {}, nothing);
    const rows = new Map();

    function made(row) {
        const cells = columns.map((column) =>
            el(column.head ? "th" : "td", { class: kind(column), scope: column.head && "row" }),
        );
        return {
            element: el("tr", {}, ...cells),
            cells,
            stamps: columns.map(() => undefined),
            row,
        };
    }

    function refresh(line, row) {
        columns.forEach((column, at) => {
            const stamp = column.text ? column.text(row) : (column.stamp?.(row) ?? "");
            if (line.stamps[at] !== stamp) {
                line.stamps[at] = stamp;
                line.cells[at].replaceChildren(column.text ? printable(stamp) : column.node(row));
            }
        });
    }

    // Shows these rows, in this order.
    function update(list) {
        const focused = document.activeElement;
        const keys = new Set(list.map(key));
        for (const [name, line] of rows) {
            if (!keys.has(name)) {
                line.element.remove();
                rows.delete(name);
            }
        }
        list.forEach((row, at) => {
            const name = key(row);
            if (!rows.has(name)) {
                rows.set(name, made(row));
            }
            const line = rows.get(name);
            refresh(line, row);
            if (body.children[at] !== line.element) {
                body.insertBefore(line.element, body.children[at] ?? null);
            }
        });
        const shown = list.length ? scroll : nothing;
        if (node.firstChild !== shown) {
            node.replaceChildren(shown);
        }
        if (focused !== document.activeElement && node.contains(focused)) {
            focused.focus();
        }
    }

    return { node, update };
}
