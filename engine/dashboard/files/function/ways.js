// The ways to a function besides its address: domains, and schedules that ring it.

import { el } from "../dom.js";
import { cronTable } from "../cron_table.js";
import { domainTable } from "../domain_table.js";

export function tab({ name, signal, repeat }) {
    const domains = domainTable({ name, signal, repeat });
    const schedules = cronTable({ name, signal, repeat });
    return {
        node: el("div", {}, el("h2", {}, "Domains"), domains, el("h2", {}, "Cron"), schedules),
    };
}
