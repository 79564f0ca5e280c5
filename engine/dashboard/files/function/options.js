// What the active version was deployed with. Options change by a deploy.

import { block, el, facts, note } from "../dom.js";
import { bytes, moment, printable } from "../text.js";

const asText = (value) => {
    if (value === null || value === undefined) {
        return undefined;
    }
    const isList = typeof value === "object";
    const isEmpty = isList && Object.keys(value).length === 0;
    return isEmpty
        ? undefined
        : isList
          ? block(JSON.stringify(value, undefined, 2))
          : printable(value);
};

// What is shown elsewhere, or in words of its own.
const OTHERS = [
    "name",
    "aliases",
    "versions",
    "reuse",
    "limits",
    "version",
    "number",
    "created_ms",
    "artefact",
    "artefact_bytes",
];

export function tab({ found }) {
    const shown = Object.entries(found).filter(([key]) => !OTHERS.includes(key));
    const words = (key) => key.replaceAll("_", " ");
    return {
        node: el(
            "div",
            {},
            note("Options change when a version is deployed."),
            facts([
                ["version", `v${found.number}, ${found.version}`],
                ["deployed", moment(found.created_ms)],
                ["file", `${bytes(found.artefact_bytes)}, SHA-256 ${found.artefact}`],
                ...shown.map(([key, value]) => [words(key), asText(value)]),
            ]),
            el("h2", {}, "Limits"),
            facts(Object.entries(found.limits).map(([key, value]) => [words(key), asText(value)])),
        ),
    };
}
