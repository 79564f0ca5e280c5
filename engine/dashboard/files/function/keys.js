// What a function keeps: the keys of its bucket, and the value of one.

import { call, request } from "../api.js";
import { askingButton, attempt, onSubmit } from "../dialog.js";
import { block, button, el, field, note } from "../dom.js";
import { ListStateKeys, GetStateValue, RemoveStateKey, SetStateValue } from "../endpoints.js";
import { liveTable } from "../table.js";
import { bytes, counted } from "../text.js";

// Of a longer value, this is shown.
const SHOWN_BYTES = 16 * 1024;

export async function tab({ name, found, signal }) {
    const bucket = el(
        "select",
        { name: "bucket" },
        el("option", { value: "" }, "its own"),
        Object.keys(found.kv).map((shared) => el("option", { value: shared }, shared)),
    );
    const parameters = { name };
    const value = el("div");
    const total = note();
    let keys = [];
    let next;

    const table = liveTable({
        label: `Keys of ${name}`,
        key: (row) => row,
        empty: "It keeps nothing here.",
        columns: [
            {
                title: "Key",
                head: true,
                node: (row) => button(row, () => open(row), { kind: "link" }),
            },
            { title: "Actions", act: true, node: (row) => removal(row) },
        ],
    });

    async function load(after) {
        const page = await call(ListStateKeys, {
            parameters,
            query: { bucket: bucket.value, after },
            signal,
        });
        keys = after ? [...keys, ...page.keys] : page.keys;
        next = page.next;
        more.hidden = !next;
        total.textContent = `${counted(page.keys_in_all, "key")}, ${bytes(page.bytes_in_all)}`;
        table.update(keys);
    }

    const more = button("More", () => attempt(more, () => load(next)));

    async function open(key) {
        const response = await request(GetStateValue, {
            parameters,
            query: { key, bucket: bucket.value },
            signal,
        });
        const kept = new Uint8Array(await response.arrayBuffer());
        const text = new TextDecoder().decode(kept.slice(0, SHOWN_BYTES));
        const size = `${bytes(kept.length)}${kept.length > SHOWN_BYTES ? `, of which ${bytes(SHOWN_BYTES)} are shown` : ""}`;
        value.replaceChildren(
            el("section", { class: "card" }, el("h2", {}, key), note(size), block(text)),
        );
        value.scrollIntoView({ block: "nearest" });
    }

    function removal(key) {
        return askingButton(
            "Remove",
            `Remove the key ${key}? Its value is lost.`,
            async () => {
                await call(RemoveStateKey, { parameters, query: { key, bucket: bucket.value } });
                await load();
                value.replaceChildren();
            },
            "It is removed.",
            `Remove ${key}`,
        );
    }

    const form = el(
        "form",
        {},
        field(
            "Key",
            el("input", { name: "key", required: true, autocomplete: "off", spellcheck: "false" }),
        ),
        field("Value", el("textarea", { name: "value", rows: "3", spellcheck: "false" })),
        el("button", { type: "submit", class: "primary" }, "Set"),
    );
    onSubmit(
        form,
        async ({ key, value }) => {
            await call(SetStateValue, {
                parameters,
                query: { key, bucket: bucket.value },
                body: value.replaceAll("\r\n", "\n"),
            });
            await load();
        },
        "It is set.",
    );

    bucket.addEventListener("change", () => attempt(bucket, () => load()));
    await load();
    const buckets = bucket.options.length > 1 && field("Bucket", bucket);
    return {
        node: el(
            "div",
            {},
            buckets,
            total,
            table.node,
            more,
            value,
            el("section", { class: "card" }, el("h2", {}, "Set a key"), form),
        ),
    };
}
