// All asynchronous invocations.

import { jobsTable } from "../jobs_table.js";

export function page({ signal, repeat }) {
    return { title: "Jobs", node: jobsTable({ signal, repeat }) };
}
