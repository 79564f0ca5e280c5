// The names of a function's secrets. Their values are never shown: the node does not tell them.

import { call } from "../api.js";
import { askingButton, onSubmit } from "../dialog.js";
import { el, field } from "../dom.js";
import { ListSecrets, RemoveSecret, SetSecret } from "../endpoints.js";
import { liveTable } from "../table.js";
import { moment, text } from "../text.js";

export async function tab({ name, signal }) {
    const table = liveTable({
        label: `Secrets of ${name}`,
        key: (row) => row.key,
        empty: "It has no secrets.",
        columns: [
            { title: "Name", head: true, text: (row) => row.key },
            { title: "Set", text: (row) => moment(row.set_ms) },
            { title: "Trouble", text: (row) => text(row.error) },
            { title: "Actions", act: true, node: (row) => removal(row.key) },
        ],
    });

    const load = async () =>
        table.update(await call(ListSecrets, { parameters: { name }, signal }));

    function removal(key) {
        return askingButton(
            "Remove",
            `Remove the secret ${key} of ${name}?`,
            async () => {
                await call(RemoveSecret, { parameters: { name, key } });
                await load();
            },
            `${key} is removed.`,
            `Remove the secret ${key}`,
        );
    }

    const form = el(
        "form",
        { autocomplete: "off" },
        field(
            "Name",
            el("input", { name: "key", required: true, autocomplete: "off", spellcheck: "false" }),
            "The variable that the function finds it by.",
        ),
        field(
            "Value",
            el("input", {
                name: "value",
                type: "password",
                required: true,
                autocomplete: "new-password",
            }),
        ),
        el("button", { type: "submit", class: "primary" }, "Set"),
    );
    onSubmit(
        form,
        async ({ key, value }) => {
            await call(SetSecret, { parameters: { name, key: key.trim() }, body: value });
            form.reset();
            await load();
        },
        "It is set; what starts from now on has it.",
    );
    await load();
    return {
        node: el(
            "div",
            {},
            table.node,
            el("section", { class: "card" }, el("h2", {}, "Set a secret"), form),
        ),
    };
}
