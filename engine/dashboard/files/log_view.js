// The log as it grows: the newest entries, and what comes while it is followed.

import { call, request } from "./api.js";
import { failed } from "./dialog.js";
import { check, el, field } from "./dom.js";
import { GetLogs } from "./endpoints.js";
import { events } from "./events.js";
import { entryLine } from "./log_entry.js";
import { printable } from "./text.js";

// So many of the newest are asked for at first, and so many lines are kept.
const FIRST = 200;
const KEPT = 1000;
const SINCE = "1day";
// After this a stream that has ended is begun again.
const AGAIN_MS = 2000;

const STATUSES = [
    ["", "everything"],
    ["2xx", "2xx"],
    ["3xx", "3xx"],
    ["4xx", "4xx"],
    ["5xx", "5xx"],
    ["none", "no reply"],
];

// The log of the function `name`, or of all.
export function logView({ name, signal }) {
    const list = el("ol", {
        class: "log",
        tabindex: "0",
        "aria-label": name ? `Log of ${name}` : "Log",
    });
    const missed = el("p", { class: "note" });
    const wanted = el("input", {
        type: "search",
        name: "function",
        placeholder: "all functions",
        autocomplete: "off",
        spellcheck: "false",
    });
    const status = el(
        "select",
        { name: "status" },
        STATUSES.map(([value, text]) => el("option", { value }, text)),
    );
    const follow = check("Follow", { checked: true });
    const box = follow.querySelector("input");
    let reading = new AbortController();
    let waiting = [];
    let lost = 0;

    // Shows what has come since the last frame. Who looks at the end stays there.
    function show() {
        const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 24;
        list.append(
            ...waiting
                .splice(0)
                .slice(-KEPT)
                .map((entry) => entryLine(entry, !name)),
        );
        while (list.children.length > KEPT) {
            list.firstChild.remove();
        }
        if (atEnd) {
            list.scrollTop = list.scrollHeight;
        }
    }

    function add(entries) {
        if (!waiting.length) {
            requestAnimationFrame(show);
        }
        waiting.push(...entries);
        // A page that is not seen draws nothing.
        waiting = waiting.slice(-2 * KEPT);
    }

    function tellMissed(more) {
        lost += more;
        missed.textContent = lost ? `${lost} entries came faster than they could be shown.` : "";
    }

    const query = () => ({ function: name ?? wanted.value.trim(), status: status.value });

    async function page(until, reads) {
        const asked = { ...query(), since: SINCE, until, newest: true, limit: FIRST };
        const answer = await call(GetLogs, { query: asked, signal: reads });
        add(answer.entries);
        answer.notes.forEach((note) => failed({ message: printable(note) }));
    }

    // Listens first and reads what there is then, so that nothing is between.
    async function stream(reads) {
        const asked = { ...query(), follow: true };
        const response = await request(GetLogs, {
            query: asked,
            accept: "text/event-stream",
            signal: reads,
        });
        const early = [];
        let first = true;
        await events(response, async (event, data) => {
            if (event === "from") {
                await page(data, reads).catch((error) => reads.aborted || failed(error));
                first = false;
                add(early.splice(0));
            } else if (event === "missed") {
                tellMissed(Number(data));
            } else if (event === "message") {
                early.push(JSON.parse(data));
                if (!first) {
                    add(early.splice(0));
                }
            }
        });
    }

    async function begin() {
        reading.abort();
        reading = new AbortController();
        const reads = AbortSignal.any([reading.signal, signal]);
        [waiting, lost] = [[], 0];
        list.replaceChildren();
        tellMissed(0);
        while (!reads.aborted) {
            try {
                await (box.checked ? stream(reads) : page(undefined, reads));
            } catch (error) {
                reads.aborted || failed(error);
                return;
            }
            if (!box.checked) {
                return;
            }
            await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
            reads.aborted || list.replaceChildren();
        }
    }

    [wanted, status, box].forEach((input) => input.addEventListener("change", begin));
    begin();
    const filters = el(
        "form",
        { class: "filters" },
        name === undefined && field("Function", wanted),
        field("Replies", status),
        follow,
    );
    filters.addEventListener("submit", (event) => event.preventDefault());
    return el("div", {}, filters, missed, list);
}
