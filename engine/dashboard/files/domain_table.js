// Domains: which hosts, and paths below them, are for which function, and their certificates.

import { call } from "./api.js";
import { askingButton, onSubmit } from "./dialog.js";
import { badge, el, field, link } from "./dom.js";
import { ListDomains, RemoveDomain, SetDomain } from "./endpoints.js";
import { liveTable } from "./table.js";
import { moment } from "./text.js";

const LIST_MS = 10000;

// The domains of the function `name`, or of all.
export function domainTable({ name, signal, repeat }) {
    const table = liveTable({
        label: "Domains",
        key: (row) => row.domain,
        empty: "There are no domains.",
        columns: [
            { title: "Domain", head: true, text: (row) => row.domain },
            name === undefined && {
                title: "Function",
                node: (row) => link(["functions", row.function], row.function),
                stamp: (row) => row.function,
            },
            { title: "Alias", wide: true, text: (row) => row.alias ?? "" },
            { title: "Certificate", node: certificate, stamp: (row) => JSON.stringify(row) },
            { title: "Added", wide: true, text: (row) => moment(row.added_ms) },
            { title: "Actions", act: true, node: (row) => removal(row) },
        ].filter(Boolean),
    });

    const load = async () => {
        const list = await call(ListDomains, { signal });
        table.update(list.filter((row) => name === undefined || row.function === name));
    };

    function removal({ domain, host, prefix }) {
        return askingButton(
            "Remove",
            `Remove the domain ${domain}? Requests to it are answered 404 then.`,
            async () => {
                await call(RemoveDomain, { parameters: { host }, query: { prefix } });
                await load();
            },
            `${domain} is removed.`,
            `Remove ${domain}`,
        );
    }

    const form = el(
        "form",
        {},
        field(
            "Host",
            el("input", {
                name: "host",
                required: true,
                placeholder: "example.com",
                autocomplete: "off",
                spellcheck: "false",
            }),
        ),
        field(
            "Paths below",
            el("input", {
                name: "prefix",
                placeholder: "/",
                autocomplete: "off",
                spellcheck: "false",
            }),
        ),
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
        field("Alias", el("input", { name: "alias", autocomplete: "off", spellcheck: "false" })),
        el("button", { type: "submit", class: "primary" }, "Set"),
    );
    onSubmit(
        form,
        async ({ host, prefix, function: of, alias }) => {
            const path = prefix === "/" ? "" : prefix;
            await call(SetDomain, {
                parameters: { host: host.trim() },
                query: { prefix: path },
                json: { function: name ?? of, alias: alias || undefined },
            });
            await load();
        },
        "It is set.",
    );
    repeat(LIST_MS, load);
    return el(
        "div",
        {},
        table.node,
        el("details", { class: "card" }, el("summary", {}, "Set a domain"), form),
    );
}

function certificate({ certificate_until_ms: until, certificate_error: wrong, error }) {
    return el(
        "span",
        {},
        until && badge(`until ${moment(until)}`, "small good"),
        wrong && badge(wrong, "small bad"),
        error && badge(error, "small bad"),
        !until && !wrong && !error && "–",
    );
}
