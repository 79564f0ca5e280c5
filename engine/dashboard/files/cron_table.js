// Schedules: what rings when, what came of the last run, and how that changes.

import { call } from "./api.js";
import { askingButton, attempt, onSubmit } from "./dialog.js";
import { badge, button, el, field, link } from "./dom.js";
import { AddCron, ListCron, RemoveCron, RunCron } from "./endpoints.js";
import { liveTable } from "./table.js";
import { micros, moment } from "./text.js";

const LIST_MS = 5000;

const OVERLAP = ["skip", "queue", "allow"];
const MISSED = ["skip", "run-once"];

// The schedules of the function `name`, or of all.
export function cronTable({ name, signal, repeat }) {
    const table = liveTable({
        label: "Schedules",
        key: (row) => row.id,
        empty: "There are no schedules.",
        columns: [
            {
                title: "Schedule",
                head: true,
                text: (row) => `${row.schedule}${row.time_zone ? ` (${row.time_zone})` : ""}`,
            },
            name === undefined && {
                title: "Function",
                node: (row) => link(["functions", row.function], row.function),
            },
            {
                title: "Path",
                wide: true,
                text: (row) => `${row.path}${row.alias ? ` @${row.alias}` : ""}`,
            },
            {
                title: "Next",
                wide: true,
                text: (row) => (row.error ? row.error : moment(row.next_ms)),
            },
            {
                title: "Last run",
                node: lastRun,
                stamp: (row) => JSON.stringify([row.last, row.running]),
            },
            {
                title: "Actions",
                act: true,
                node: (row) => el("span", { class: "actions" }, run(row), removal(row)),
            },
        ].filter(Boolean),
    });

    const load = async () => {
        const list = await call(ListCron, { signal });
        table.update(list.filter((row) => name === undefined || row.function === name));
    };

    function run({ id, schedule }) {
        const act = button(
            "Run now",
            () =>
                attempt(
                    act,
                    async () => {
                        const ran = await call(RunCron, { parameters: { id } });
                        await load();
                        return ran;
                    },
                    (ran) => `It was answered ${ran.status ?? ran.error}.`,
                ),
            { label: `Run now ${schedule}` },
        );
        return act;
    }

    function removal({ id, schedule, source }) {
        const project =
            source === "project"
                ? " Its sockhop.toml has it: the next deploy of that brings it back."
                : "";
        return askingButton(
            "Remove",
            `Remove the schedule ${schedule}?${project}`,
            async () => {
                await call(RemoveCron, { parameters: { id } });
                await load();
            },
            "It is removed.",
            `Remove ${schedule}`,
        );
    }

    const options = (values) => values.map((value) => el("option", { value }, value));
    const form = el(
        "form",
        {},
        name === undefined &&
            field(
                "Function",
                el("input", {
                    name: "function",
                    required: true,
                    autocomplete: "off",
                    spellcheck: "false",
                }),
            ),
        field(
            "Schedule",
            el("input", {
                name: "schedule",
                required: true,
                placeholder: "0 3 * * *",
                autocomplete: "off",
                spellcheck: "false",
            }),
            "Five fields, six with the second before them, @daily, or @every 90s.",
        ),
        field(
            "Path",
            el("input", {
                name: "path",
                placeholder: "/",
                autocomplete: "off",
                spellcheck: "false",
            }),
        ),
        field(
            "Time zone",
            el("input", {
                name: "time_zone",
                placeholder: "UTC",
                autocomplete: "off",
                spellcheck: "false",
            }),
        ),
        field("While it runs", el("select", { name: "overlap" }, options(OVERLAP))),
        field("Missed ticks", el("select", { name: "missed" }, options(MISSED))),
        el("button", { type: "submit", class: "primary" }, "Add"),
    );
    onSubmit(
        form,
        async ({ function: of, schedule, path, time_zone, overlap, missed }) => {
            const json = {
                schedule,
                path: path || undefined,
                time_zone: time_zone || undefined,
                overlap,
                missed,
            };
            await call(AddCron, { parameters: { name: name ?? of }, json });
            await load();
        },
        "It is added.",
    );
    repeat(LIST_MS, load);
    return el(
        "div",
        {},
        table.node,
        el("details", { class: "card" }, el("summary", {}, "Add a schedule"), form),
    );
}

function lastRun({ last, running }) {
    const now = running ? badge("running", "small") : "";
    if (!last) {
        return el("span", {}, now);
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
        now,
    );
}
