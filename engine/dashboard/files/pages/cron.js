// All schedules.

import { call } from "../api.js";
import { cronTable } from "../cron_table.js";
import { el, note } from "../dom.js";
import { GetStatus } from "../endpoints.js";

export async function page({ signal, repeat }) {
    const {
        node: { cron },
    } = await call(GetStatus, { signal });
    const rings = cron.rings
        ? "This node rings by schedules."
        : "This node does not ring: see --cron.";
    const others = cron.nodes.length ? ` Nodes that do: ${cron.nodes.join(", ")}.` : "";
    return {
        title: "Cron",
        node: el("div", {}, note(rings + others), cronTable({ signal, repeat })),
    };
}
