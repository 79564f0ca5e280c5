// The first page: the node at a glance, and all functions with what they do right now.

import { call } from "../api.js";
import { attempt } from "../dialog.js";
import { badge, button, el, link } from "../dom.js";
import { ListFunctions, ListRemoved, RestoreFunction } from "../endpoints.js";
import { plot, spark } from "../plot.js";
import { liveTable } from "../table.js";
import { bytes, count, counted, micros, moment, percent, rate } from "../text.js";

const LIST_MS = 5000;

const PLOTS = () => [
    plot({ title: "Requests", series: [{ of: (now) => now.all.requestsPerS }], show: rate }),
    plot({
        title: "Errors",
        series: [{ of: (now) => now.all.errorsPerS, kind: "bad" }],
        show: rate,
    }),
    plot({
        title: "Latency",
        series: [
            { name: "p50", of: (now) => now.all.p50 },
            { name: "p99", of: (now) => now.all.p99, kind: "second" },
        ],
        show: micros,
    }),
    plot({
        title: "Memory",
        series: [{ of: (now) => now.memoryBytes }],
        show: bytes,
        scale: { binary: true },
    }),
];

const COLUMNS = (sparkOf) => [
    {
        title: "Function",
        head: true,
        node: (row) => link(["functions", row.name], row.name),
        stamp: (row) => row.name,
    },
    { title: "Kind", wide: true, text: (row) => row.kind },
    { title: "Version", wide: true, text: (row) => versionOf(row) },
    { title: "Last minutes", wide: true, node: (row) => sparkOf(row.name).node, stamp: () => "" },
    { title: "Requests", number: true, text: (row) => rate(row.now?.requestsPerS) },
    { title: "Errors", number: true, text: (row) => percent(row.now?.errorsPercent) },
    { title: "p50", number: true, wide: true, text: (row) => micros(row.now?.p50) },
    { title: "p99", number: true, text: (row) => micros(row.now?.p99) },
    { title: "Running", number: true, wide: true, text: (row) => running(row.now) },
];

const running = (now) =>
    now
        ? now.queued
            ? `${count(now.inFlight)} + ${count(now.queued)} waiting`
            : count(now.inFlight)
        : "–";

// What the bare name means.
function versionOf({ number, aliases }) {
    const targets = aliases.active?.targets;
    const named = targets?.map(
        (target) => `v${target.number ?? "?"}${targets.length > 1 ? ` ×${target.weight}` : ""}`,
    );
    return named ? named.join(", ") : `v${number} (not active)`;
}

export function page({ repeat, signal }) {
    const plots = PLOTS();
    const sparks = new Map();
    const sparkOf = (name) => {
        if (!sparks.has(name)) {
            sparks.set(
                name,
                spark((now) => now.functions.get(name)?.requestsPerS),
            );
        }
        return sparks.get(name);
    };
    const table = liveTable({
        label: "Functions",
        columns: COLUMNS(sparkOf),
        key: (row) => row.name,
        empty: "No function is deployed yet.",
    });
    const summary = el("p", { class: "note" });
    const removed = el("div");
    const deploying = el("details", { class: "card" }, el("summary", {}, "Deploy a new function"));
    deploying.addEventListener("toggle", async () => {
        if (deploying.open && deploying.children.length === 1) {
            const { deployForm } = await import("../deploy.js");
            deploying.append(
                deployForm(undefined, signal, ({ name }) => {
                    location.hash = `#/functions/${encodeURIComponent(name)}`;
                }),
            );
        }
    });
    let functions = [];
    let past = [];

    function draw(figures) {
        past = figures;
        const now = past.at(-1);
        plots.forEach((one) => one.draw(past));
        table.update(functions.map((one) => ({ ...one, now: now?.functions.get(one.name) })));
        sparks.forEach((one) => one.draw(past));
        if (now) {
            summary.textContent = [
                counted(functions.length, "function"),
                counted(now.workers.length, "worker"),
                counted(now.connections, "connection"),
                `${counted(now.inFlight, "request")} running`,
            ].join(", ");
        }
    }

    async function refresh() {
        functions = await call(ListFunctions, { signal });
        draw(past);
        showRemoved(removed, await call(ListRemoved, { signal }), refresh);
    }

    repeat(LIST_MS, refresh);
    const node = el(
        "div",
        {},
        el(
            "div",
            { class: "plots" },
            plots.map((one) => one.node),
        ),
        summary,
        table.node,
        deploying,
        removed,
    );
    return { title: "Functions", node, draw };
}

// Removed functions that can be restored, each with the way back. What is shown already stays, and
// the focus with it.
function showRemoved(place, list, refresh) {
    const ids = list.map((one) => one.id).join();
    if (place.dataset.ids === ids) {
        return;
    }
    place.dataset.ids = ids;
    const rows = list.map((one) => {
        const act = button(
            "Restore",
            () =>
                attempt(
                    act,
                    async () => {
                        await call(RestoreFunction, {
                            parameters: { name: one.name },
                            json: { id: one.id },
                        });
                        await refresh();
                    },
                    `${one.name} is restored.`,
                ),
            { label: `Restore ${one.name}` },
        );
        return el(
            "li",
            {},
            badge(one.name),
            ` ${one.version}, removed ${moment(one.removed_ms)}, can be restored until ${moment(one.restorable_until_ms)} `,
            act,
        );
    });
    place.replaceChildren(
        ...(list.length ? [el("h2", {}, "Removed"), el("ul", { class: "plain" }, rows)] : []),
    );
}
