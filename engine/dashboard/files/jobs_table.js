// Asynchronous invocations: what each is at, and what became of its last attempt.

import { call } from "./api.js";
import { askingButton, attempt } from "./dialog.js";
import { badge, button, el, field, link } from "./dom.js";
import { CancelJob, ListJobs, RetryJob } from "./endpoints.js";
import { liveTable } from "./table.js";
import { bytes, micros, moment } from "./text.js";

const LIST_MS = 2000;
// So many of the newest are shown.
const LIMIT = 200;

const STATES = [
    ["", "all"],
    ["queued", "queued"],
    ["running", "running"],
    ["dead", "dead letters"],
    ["done", "done"],
];
const KINDS = { running: "warn", dead: "bad", done: "good" };

// Those of the function `name`, or of all.
export function jobsTable({ name, signal, repeat }) {
    const table = liveTable({
        label: "Jobs",
        key: (row) => row.id,
        empty: "There are no jobs.",
        columns: [
            {
                title: "Job",
                head: true,
                node: (row) => el("code", { title: row.id }, row.id.slice(-8)),
            },
            name === undefined && { title: "Function", node: target, stamp: (row) => row.function },
            {
                title: "State",
                node: stateOf,
                stamp: (row) => JSON.stringify([row.state, row.reason]),
            },
            { title: "Submitted", wide: true, text: (row) => moment(row.enqueued_ms) },
            { title: "Not before", wide: true, text: (row) => moment(row.next_ms) },
            { title: "Attempts", wide: true, number: true, text: (row) => String(row.attempts) },
            { title: "Last attempt", node: lastAttempt, stamp: (row) => JSON.stringify(row.last) },
            { title: "Size", wide: true, number: true, text: (row) => bytes(row.bytes) },
            { title: "Actions", act: true, node: actions, stamp: (row) => row.state },
        ].filter(Boolean),
    });
    const state = el(
        "select",
        { name: "state" },
        STATES.map(([value, text]) => el("option", { value }, text)),
    );

    async function load() {
        const query = { function: name, state: state.value, limit: LIMIT };
        table.update((await call(ListJobs, { query, signal })).toReversed());
    }

    // What a job can still be told: one that runs, nothing.
    function actions(row) {
        const waits = row.state === "queued" || row.state === "dead";
        return waits ? el("span", { class: "actions" }, retry(row), removal(row)) : "";
    }

    function retry({ id }) {
        const act = button(
            "Retry",
            () =>
                attempt(
                    act,
                    async () => {
                        await call(RetryJob, { parameters: { id } });
                        await load();
                    },
                    "It is tried again now.",
                ),
            { label: `Retry ${id}` },
        );
        return act;
    }

    function removal({ id, state }) {
        const word = state === "dead" ? "Drop" : "Cancel";
        return askingButton(
            word,
            `${word} the job ${id}? It is never tried again.`,
            async () => {
                await call(CancelJob, { parameters: { id } });
                await load();
            },
            "It is gone.",
            `${word} ${id}`,
        );
    }

    state.addEventListener("change", () => attempt(state, load));
    repeat(LIST_MS, load);
    return el("div", {}, el("div", { class: "filters" }, field("State", state)), table.node);
}

function target({ function: name, reference, callback_to: url }) {
    return url
        ? el("span", {}, `callback to ${url}`)
        : el("span", {}, link(["functions", name], name), reference && ` @${reference}`);
}

function stateOf({ state, reason }) {
    return el("span", {}, badge(state, `small ${KINDS[state] ?? ""}`), reason && ` ${reason}`);
}

function lastAttempt({ last }) {
    if (!last) {
        return "–";
    }
    const kind = last.error || last.status >= 400 ? "bad" : "good";
    const text = `${moment(last.began_ms)}, ${micros(last.duration_ms * 1000)}`;
    return el(
        "span",
        {},
        badge(last.status ?? "failed", `small ${kind}`),
        " ",
        last.invocation ? link(["invocations", last.invocation], text) : text,
        last.error && ` ${last.error}`,
    );
}
