// The node: what it is, and its workers with what each does.

import { call } from "../api.js";
import { addressLink, badge, el, facts, link, note } from "../dom.js";
import { GetStatus } from "../endpoints.js";
import { liveTable } from "../table.js";
import { bytes, count, counted, moment, rate, text } from "../text.js";

const STATUS_MS = 2000;
const KINDS = { ready: "good", dormant: "", starting: "warn", restarting: "bad", silent: "bad" };

const pool = (name) =>
    name === "shared" || name === "edge" ? name : link(["functions", name], name);

export function page({ signal, repeat }) {
    const place = el("div");
    const table = liveTable({
        label: "Workers",
        key: (row) => `${row.pool}/${row.index}`,
        empty: "There are no workers.",
        columns: [
            {
                title: "Serves",
                head: true,
                node: (row) => el("span", {}, pool(row.pool)),
                stamp: (row) => row.pool,
            },
            {
                title: "State",
                node: (row) => badge(row.state, `small ${KINDS[row.state] ?? ""}`),
                stamp: (row) => row.state,
            },
            { title: "Process", wide: true, number: true, text: (row) => text(row.pid) },
            { title: "Core", wide: true, number: true, text: (row) => String(row.core) },
            { title: "Requests", number: true, text: (row) => rate(row.now?.requestsPerS) },
            { title: "Running", wide: true, number: true, text: (row) => count(row.in_flight) },
            {
                title: "Connections",
                wide: true,
                number: true,
                text: (row) => count(row.connections_open),
            },
            { title: "Modules", wide: true, number: true, text: (row) => count(row.modules) },
            { title: "Memory", number: true, text: (row) => bytes(row.memory_bytes) },
            { title: "Restarts", wide: true, number: true, text: (row) => count(row.restarts) },
        ],
    });
    const words = el("div");
    let status;
    let now;

    function draw(past) {
        now = past.at(-1);
        const rates = new Map(
            now?.workers.map((worker) => [`${worker.pool}/${worker.index}`, worker]),
        );
        table.update(
            (status?.workers ?? []).map((row) => ({
                ...row,
                now: rates.get(`${row.pool}/${row.index}`),
            })),
        );
    }

    repeat(STATUS_MS, async () => {
        status = await call(GetStatus, { signal });
        place.replaceChildren(about(status));
        const failed = status.workers.filter((worker) => worker.last_words);
        words.replaceChildren(
            ...failed.map((worker) =>
                note(`A worker for ${worker.pool} ended before it served: ${worker.last_words}`),
            ),
        );
        draw(now ? [now] : []);
    });
    return {
        title: "Node",
        node: el("div", {}, place, el("h2", {}, "Workers"), table.node, words),
        draw,
    };
}

function about({ node, state }) {
    const away = node.store_away;
    return el(
        "div",
        {},
        away &&
            el(
                "p",
                { class: "note bad" },
                `The store ${away.store} is away since ${moment(away.since_s * 1000)}: ${away.reason}`,
            ),
        state?.error && el("p", { class: "note bad" }, state.error),
        node.native_limits.map((text) => note(text)),
        facts([
            ["Build", node.version],
            ["Started", `${moment(node.started_s * 1000)}, process ${node.pid}`],
            [
                "Functions",
                el("span", {}, node.listeners.map((url) => [addressLink(url), " "]).flat()),
            ],
            ["Control API", node.admin && addressLink(node.admin)],
            ["Lambda API", node.lambda_api && addressLink(node.lambda_api)],
            [
                "Deployed",
                `${counted(node.functions, "function")}, generation ${count(node.generation)}, ${counted(node.compilations, "compilation")}`,
            ],
            [
                "State",
                state &&
                    !state.error &&
                    `${counted(state.keys, "key")} in ${counted(state.buckets, "bucket")}, ${bytes(state.bytes)}`,
            ],
            [
                "Cron",
                `${counted(node.cron.schedules, "schedule")}; this node ${node.cron.rings ? "rings" : "does not ring"}`,
            ],
        ]),
    );
}
