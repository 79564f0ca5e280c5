// A function's asynchronous invocations.

import { jobsTable } from "../jobs_table.js";

export function tab({ name, signal, repeat }) {
    return { node: jobsTable({ name, signal, repeat }) };
}
