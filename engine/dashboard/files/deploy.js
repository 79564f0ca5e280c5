// The form that deploys a file, and how far that is.

import { address, call, failure, headers } from "./api.js";
import { onSubmit } from "./dialog.js";
import { check, el, field } from "./dom.js";
import { Deploy, GetDeploy } from "./endpoints.js";
import { bytes, printable } from "./text.js";

const ASKED_MS = 500;

const PHASES = {
    receiving: () => "Uploading",
    "waiting-for-compiler": ({ ahead }) => `Waiting for a compiler, ${ahead} before it`,
    compiling: () => "Compiling",
    "waiting-for-trial": () => "Waiting to be tried",
    trying: () => "Trying whether it answers",
    storing: () => "Storing",
    publishing: () => "Telling the workers",
};

// A UUID. Browsers make one only over TLS or for this machine.
function uuid() {
    const random = crypto.getRandomValues(new Uint8Array(16));
    random[6] = (random[6] & 15) | 64;
    random[8] = (random[8] & 63) | 128;
    const digits = [...random].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return digits.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}

// Sends the form; `progress` gets how many bytes have left. `fetch` would not tell that.
function send({ name, query, id, form }, progress) {
    return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        request.open(Deploy[0], address(Deploy, { name }, query));
        Object.entries({ ...headers(), "sockhop-deploy-id": id }).forEach(([header, value]) =>
            request.setRequestHeader(header, value),
        );
        request.upload.addEventListener("progress", ({ loaded, total }) => progress(loaded, total));
        request.addEventListener("error", () =>
            reject(
                failure(
                    0,
                    '{"error":"The connection to the node broke off. Whether the version was made, its list of versions says."}',
                ),
            ),
        );
        request.addEventListener("load", () => {
            if (request.status === 201) {
                resolve(JSON.parse(request.responseText));
            } else {
                reject(failure(request.status, request.responseText));
            }
        });
        request.send(form);
    });
}

// A form that deploys a version of the function `name`, or of one that it asks the name of. `done`
// gets what the node answers. `signal` ends with the page.
export function deployForm(name, signal, done) {
    const bar = el("progress", { max: "1", "aria-label": "Upload" });
    const phase = el("span", { role: "status" });
    const progress = el("div", { class: "deploying", hidden: true }, bar, phase);
    const form = el(
        "form",
        { class: "deploy" },
        name === undefined &&
            field(
                "Name",
                el("input", {
                    name: "name",
                    required: true,
                    autocomplete: "off",
                    spellcheck: "false",
                }),
            ),
        field(
            "File",
            el("input", { type: "file", name: "file", required: true }),
            "A component or module (.wasm), or a zip of a native program.",
        ),
        check("Make it active", { name: "activate", checked: true }),
        check("Try it first", { name: "trial", checked: true }),
        el(
            "details",
            {},
            el("summary", {}, "Options"),
            field(
                "Options as JSON",
                el("textarea", { name: "options", rows: "4", spellcheck: "false" }),
                'As in sockhop.toml, for example {"memory": "64MiB"}. What is left out stays as it is.',
            ),
        ),
        el("button", { type: "submit", class: "primary" }, "Deploy"),
        progress,
    );

    async function watch(id, ended) {
        while (!ended.aborted) {
            await new Promise((resolve) => setTimeout(resolve, ASKED_MS));
            // That none is under way any more is told by the answer of the deploy itself.
            const now = await call(GetDeploy, { parameters: { id }, signal: ended }).catch(
                () => undefined,
            );
            if (now && !ended.aborted) {
                phase.textContent = PHASES[now.phase]?.(now) ?? printable(now.phase);
            }
        }
    }

    async function deploy(values) {
        const body = new FormData();
        body.append(
            "options",
            JSON.stringify(values.options?.trim() ? JSON.parse(values.options) : {}),
        );
        body.append("artefact", values.file);
        const query = { activate: "activate" in values, trial: "trial" in values };
        const id = uuid();
        const ended = new AbortController();
        progress.hidden = false;
        phase.textContent = "Uploading";
        try {
            watch(id, AbortSignal.any([ended.signal, signal]));
            const answer = await send(
                { name: name ?? values.name, query, id, form: body },
                (sent, total) => {
                    bar.value = sent / total;
                    phase.textContent = `Uploading, ${bytes(sent)} of ${bytes(total)}`;
                },
            );
            form.reset();
            done(answer);
            return answer;
        } finally {
            ended.abort();
            progress.hidden = true;
            bar.removeAttribute("value");
        }
    }

    return onSubmit(form, deploy, ({ number, before, changed, notes }) => {
        const from = before ? ` after v${before.number}` : "";
        const options = changed
            .map(({ option, from, to }) => `; ${option}: ${from} → ${to}`)
            .join("");
        return `v${number} is deployed${from}${options}${notes.map((note) => `; ${note}`).join("")}.`;
    });
}
