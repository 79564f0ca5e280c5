// A function's page: its name, its addresses, and a tab for each of its sides.

import { call } from "../api.js";
import { attempt, confirmed } from "../dialog.js";
import { addressLink, badge, button, el, link } from "../dom.js";
import { GetFunction, GetStatus, RemoveFunction } from "../endpoints.js";

// Tabs by their part of the address. They are loaded when they are first shown.
const TABS = {
    "": { title: "Live", load: () => import("../function/live.js") },
    versions: { title: "Versions", load: () => import("../function/versions.js") },
    logs: { title: "Logs", load: () => import("../function/logs.js") },
    jobs: { title: "Jobs", load: () => import("../function/jobs.js") },
    keys: { title: "Keys", load: () => import("../function/keys.js") },
    secrets: { title: "Secrets", load: () => import("../function/secrets.js") },
    ways: { title: "Domains and cron", load: () => import("../function/ways.js") },
    options: { title: "Options", load: () => import("../function/options.js") },
};

export async function page(context) {
    const [name, tab = ""] = context.parameters;
    const read = () => call(GetFunction, { parameters: { name }, signal: context.signal });
    const [found, status] = await Promise.all([
        read(),
        call(GetStatus, { signal: context.signal }),
    ]);
    const { load } = TABS[tab] ?? TABS[""];
    const made = await (await load()).tab({ ...context, name, found, read });
    const tabs = Object.entries(TABS).map(([part, { title }]) => {
        const node = link(["functions", name, part].filter(Boolean), title);
        if (part === tab) {
            node.setAttribute("aria-current", "page");
        }
        return node;
    });
    const addresses = status.node.path_routes
        ? status.node.listeners.map((url) => addressLink(`${url.replace(/\?.*$/, "")}/${name}/`))
        : [];
    const head = el(
        "div",
        { class: "head" },
        badge(found.kind),
        found.isolation === "process" && badge("own worker"),
        found.description && el("span", { class: "description" }, found.description),
        el("span", { class: "addresses" }, addresses),
        removal(name),
    );
    return {
        title: name,
        node: el(
            "div",
            {},
            head,
            el("nav", { class: "tabs", "aria-label": name }, tabs),
            made.node,
        ),
        draw: made.draw,
    };
}

function removal(name) {
    const act = button(
        "Remove",
        async () => {
            if (
                await confirmed(
                    `Remove ${name} with all its versions and secrets? It can be restored for a day.`,
                    "Remove",
                )
            ) {
                const done = await attempt(
                    act,
                    () => call(RemoveFunction, { parameters: { name } }),
                    `${name} is removed.`,
                );
                if (done) {
                    location.hash = "#/";
                }
            }
        },
        { kind: "plain danger", label: `Remove ${name}` },
    );
    return act;
}
