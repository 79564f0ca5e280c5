// What a function's names mean, and the form that sets one: a version, or several by weight.

import { call } from "../api.js";
import { attempt, confirmed, onSubmit } from "../dialog.js";
import { button, el, field } from "../dom.js";
import { RemoveAlias, SetAlias } from "../endpoints.js";
import { liveTable } from "../table.js";
import { moment } from "../text.js";

const meant = ({ targets }) => {
    const whole = targets.reduce((sum, target) => sum + target.weight, 0);
    return targets
        .map(
            ({ number, weight }) =>
                `v${number ?? "?"}${weight === whole ? "" : ` ${Math.round((weight * 100) / whole)} %`}`,
        )
        .join(", ");
};

const laid = ({ env, config }) => [...Object.keys(env), ...Object.keys(config)].join(", ");

export function aliases(name, refresh) {
    const table = liveTable({
        label: `Aliases of ${name}`,
        key: (row) => row.alias,
        empty: "There is no alias.",
        columns: [
            { title: "Alias", head: true, text: (row) => row.alias },
            { title: "Means", text: meant },
            { title: "Variables of its own", wide: true, text: laid },
            { title: "Set", wide: true, text: (row) => moment(row.changed_ms) },
            {
                title: "Actions",
                act: true,
                node: (row) => (row.alias === "active" ? "" : removal(row.alias)),
            },
        ],
    });

    function removal(alias) {
        const act = button(
            "Remove",
            async () => {
                if (
                    await confirmed(
                        `Remove the alias ${alias} of ${name}? The versions that it means stay.`,
                        "Remove",
                    )
                ) {
                    await attempt(
                        act,
                        () => call(RemoveAlias, { parameters: { name, alias } }),
                        `${alias} is removed.`,
                    );
                    refresh();
                }
            },
            { label: `Remove the alias ${alias}` },
        );
        return act;
    }

    const split = el("div", { class: "weights" });
    const another = button("Another version", () => split.append(weightRow(split.children.length)));
    const form = el(
        "form",
        { class: "alias" },
        field(
            "Alias",
            el("input", {
                name: "alias",
                required: true,
                value: "active",
                autocomplete: "off",
                spellcheck: "false",
            }),
            "active is what the bare name means.",
        ),
        split,
        el(
            "div",
            { class: "actions" },
            another,
            el("button", { type: "submit", class: "primary" }, "Set"),
        ),
    );
    onSubmit(
        form,
        async ({ alias }) => {
            const rows = [...split.children].map((row) =>
                [...row.querySelectorAll("input")].map((input) => input.value.trim()),
            );
            const targets = rows
                .filter(([version]) => version)
                .map(([version, weight]) => ({ version, weight: Number(weight) }));
            await call(SetAlias, { parameters: { name, alias: alias.trim() }, json: { targets } });
            await refresh();
            return alias;
        },
        (alias) => `${alias} is set.`,
    );
    split.append(weightRow(0));

    const update = ({ aliases }) => table.update(Object.values(aliases));
    const node = el(
        "section",
        {},
        el("h2", {}, "Aliases"),
        table.node,
        el("section", { class: "card" }, el("h2", {}, "Set an alias, or split by weight"), form),
    );
    return { node, update };
}

function weightRow(at) {
    return el(
        "div",
        { class: "weight" },
        field(
            "Version",
            el("input", {
                name: `version-${at}`,
                required: at === 0,
                placeholder: "v1",
                autocomplete: "off",
                spellcheck: "false",
            }),
        ),
        field(
            "Weight",
            el("input", { name: `weight-${at}`, type: "number", min: "0", value: "1" }),
        ),
    );
}
