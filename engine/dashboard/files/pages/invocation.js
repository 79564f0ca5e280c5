// One invocation: how it went, where its time went, and what it has logged.

import { call } from "../api.js";
import { el, facts, link, note } from "../dom.js";
import { GetInvocation } from "../endpoints.js";
import { entryLine, statusBadge } from "../log_entry.js";
import { bytes, micros, moment } from "../text.js";

export async function page({ parameters: [id], signal }) {
    const { record, after, lines, notes } = await call(GetInvocation, {
        parameters: { id },
        signal,
    });
    const list = lines.length
        ? el(
              "ol",
              { class: "log", tabindex: "0", "aria-label": "Its log" },
              lines.map((line) =>
                  entryLine({ kind: "line", ...line, invocation: undefined, function: undefined }),
              ),
          )
        : note("It has logged nothing.");
    const node = el(
        "div",
        {},
        record
            ? [outcome(record), spans(record)]
            : note("It has no end in the log: it still runs, or its worker died over it."),
        after &&
            note(`After its reply it went on for ${micros(after.after_us)}: ${after.outcome}.`),
        el("h2", {}, "Log"),
        list,
        notes.map((text) => note(text)),
    );
    return { title: `Invocation ${id}`, node };
}

function outcome(record) {
    return facts([
        ["Function", link(["functions", record.function], record.function)],
        [
            "Version",
            record.number
                ? `v${record.number}${record.alias ? ` by ${record.alias}` : ""}`
                : record.version,
        ],
        ["Request", record.method && el("code", {}, `${record.method} ${record.path}`)],
        [
            "Reply",
            el(
                "span",
                {},
                statusBadge(record),
                record.outcome === "ok" ? "" : ` ${record.outcome}`,
            ),
        ],
        ["Began", moment(Date.parse(record.started))],
        ["Took", micros(record.duration_us)],
        ["Processor time", micros(record.cpu_us)],
        ["Memory", bytes(record.memory_bytes)],
        ["Received", bytes(record.received_bytes)],
        ["Sent", bytes(record.sent_bytes)],
    ]);
}

// Where the time went, as bars one after another.
function spans(record) {
    const other = Math.max(
        0,
        record.duration_us - record.queue_us - record.instantiate_us - record.run_us,
    );
    const parts = [
        ["Waited for its turn", record.queue_us],
        ["Made its instance", record.instantiate_us],
        ["Its guest ran", record.run_us],
        ["Reading and sending", other],
    ];
    const whole = Math.max(
        1,
        parts.reduce((sum, [, part]) => sum + part, 0),
    );
    const rows = parts.map(([name, part]) => {
        const bar = el("span", { class: "bar" });
        bar.style.width = `${Math.max(0.5, (part * 100) / whole)}%`;
        return el(
            "li",
            {},
            el("span", { class: "name" }, name),
            el("span", { class: "track" }, bar),
            el("span", { class: "amount" }, micros(part)),
        );
    });
    return el("ul", { class: "spans", "aria-label": "Where its time went" }, rows);
}
