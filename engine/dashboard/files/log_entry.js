// An entry of the log as a line.

import { badge, el, link } from "./dom.js";
import { bytes, count, micros, timeOfDay } from "./text.js";

// `withFunction` says whether its function is named. Its time leads to its invocation.
export function entryLine(entry, withFunction) {
    const [kind, ...parts] = LINES[entry.kind]?.(entry) ?? [
        "gap",
        "an entry that this build does not know",
    ];
    const time = el("time", { datetime: entry.time, title: entry.time }, timeOfDay(entry.time));
    return el(
        "li",
        { class: `entry ${kind}` },
        entry.invocation ? link(["invocations", entry.invocation], time) : time,
        withFunction && entry.function && link(["functions", entry.function], entry.function),
        el("span", { class: "text" }, ...parts),
    );
}

const LINES = {
    line: ({ stream, text }) => [
        stream === "stdout" ? "out" : stream,
        badge(stream, "small"),
        ` ${text}`,
    ],
    invocation: (one) => [
        "invocation",
        statusBadge(one),
        ` ${one.method ?? ""} ${one.path ?? ""} `,
        el(
            "span",
            { class: "aside" },
            `${micros(one.duration_us)}, ${bytes(one.memory_bytes)}${one.outcome === "ok" ? "" : `, ${one.outcome}`}`,
        ),
    ],
    after: (one) => [
        "invocation",
        badge("after", "small"),
        ` went on for ${micros(one.after_us)} after its reply: ${one.outcome}`,
    ],
    gap: ({ records, reason }) => ["gap", `${count(records)} entries are missing: ${reason}`],
};

// The status of an invocation's reply.
export function statusBadge({ status, outcome }) {
    const kind = !status || status >= 500 ? "bad" : status >= 400 ? "warn" : "good";
    return badge(status ? String(status) : outcome, `small ${kind}`);
}
