// A function's versions: which are there, which its names mean, and how that changes.

import { call } from "../api.js";
import { deployForm } from "../deploy.js";
import { attempt } from "../dialog.js";
import { badge, button, el } from "../dom.js";
import { RollBack } from "../endpoints.js";
import { liveTable } from "../table.js";
import { bytes, moment } from "../text.js";
import { aliases } from "./aliases.js";

const LIST_MS = 5000;

export function tab({ name, found, read, signal, repeat }) {
    const names = aliases(name, refresh);
    const table = liveTable({
        label: `Versions of ${name}`,
        key: (row) => row.version,
        empty: "There is no version.",
        columns: [
            { title: "Version", head: true, text: (row) => `v${row.number}` },
            {
                title: "Names",
                node: (row) => el("span", {}, row.aliases.map(shareBadge)),
                stamp: (row) => JSON.stringify(row.aliases),
            },
            { title: "Deployed", wide: true, text: (row) => moment(row.created_ms) },
            { title: "Kind", wide: true, text: (row) => row.kind },
            { title: "Size", wide: true, number: true, text: (row) => bytes(row.artefact_bytes) },
            {
                title: "Digest",
                wide: true,
                node: (row) => el("code", { title: row.artefact }, row.artefact.slice(0, 12)),
            },
            {
                title: "Actions",
                act: true,
                node: (row) => activation(row),
                stamp: (row) => JSON.stringify(row.aliases),
            },
        ],
    });

    // Makes a version the only active one: a way back, or forth.
    function activation(row) {
        const whole = row.aliases.some(
            (share) => share.alias === "active" && share.weight === share.of,
        );
        if (whole) {
            return "";
        }
        const act = button(
            "Make active",
            () =>
                attempt(
                    act,
                    async () => {
                        await call(RollBack, {
                            parameters: { name },
                            json: { version: row.version },
                        });
                        await refresh();
                    },
                    `v${row.number} is active.`,
                ),
            { label: `Make active v${row.number}` },
        );
        return act;
    }

    const back = button("Roll back", () =>
        attempt(
            back,
            async () => {
                const { targets } = await call(RollBack, { parameters: { name }, json: {} });
                await refresh();
                return targets;
            },
            (targets) =>
                `Active again: ${targets.map((target) => `v${target.number ?? "?"}`).join(", ")}.`,
        ),
    );

    function show(now) {
        table.update(now.versions);
        names.update(now);
        const active = now.aliases.active;
        const before = active?.previous.map((target) => `v${target.number ?? "?"}`).join(", ");
        back.hidden = !before;
        back.textContent = `Roll back to ${before}`;
    }

    async function refresh() {
        show(await read());
    }

    show(found);
    repeat(LIST_MS, refresh);
    const deploying = el(
        "section",
        { class: "card" },
        el("h2", {}, "Deploy a version"),
        deployForm(name, signal, () => refresh()),
    );
    return {
        node: el(
            "div",
            {},
            el("div", { class: "actions" }, back),
            table.node,
            deploying,
            names.node,
        ),
    };
}

function shareBadge({ alias, weight, of }) {
    const share = weight === of ? "" : ` ${Math.round((weight * 100) / of)} %`;
    return badge(`${alias}${share}`, `small ${alias === "active" ? "good" : ""}`);
}
