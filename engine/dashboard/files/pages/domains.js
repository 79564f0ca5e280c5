// All domains.

import { domainTable } from "../domain_table.js";

export function page({ signal, repeat }) {
    return { title: "Domains", node: domainTable({ signal, repeat }) };
}
