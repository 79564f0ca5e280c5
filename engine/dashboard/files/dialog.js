// What is said and asked beside the page: notices that go by themselves, and questions before what
// cannot be undone.

import { button, el } from "./dom.js";
import { printableLines } from "./text.js";

const SHOWN_MS = 6000;

// Says something; a failure stays until it is read.
export function notice(text, kind = "good") {
    const close = button("✕", () => shown.remove(), { kind: "plain", label: "Close" });
    const words = el("span");
    words.textContent = printableLines(text);
    const shown = el(
        "div",
        { class: `notice ${kind}`, role: kind === "bad" ? "alert" : undefined },
        words,
        close,
    );
    document.getElementById("notices").append(shown);
    if (kind !== "bad") {
        setTimeout(() => shown.remove(), SHOWN_MS);
    }
}

export const failed = (error) => notice(error.message, "bad");

// Asks whether to do it. Escape, and whatever else closes the question, is no.
export function confirmed(question, yes) {
    return new Promise((resolve) => {
        const no = button("Cancel", () => dialog.close());
        const act = button(yes, () => dialog.close("yes"), { kind: "danger" });
        const dialog = el(
            "dialog",
            { "aria-label": "Please confirm" },
            el("p", {}, question),
            el("div", { class: "actions" }, no, act),
        );
        dialog.addEventListener("close", () => {
            dialog.remove();
            resolve(dialog.returnValue === "yes");
        });
        document.body.append(dialog);
        dialog.showModal();
    });
}

// Does `act`, says `done`, or what that makes of its answer, or why it failed. Returns whether it did.
// Meanwhile `control` cannot be used.
export async function attempt(control, act, done) {
    control.disabled = true;
    try {
        const answer = await act();
        const said = typeof done === "function" ? done(answer) : done;
        if (said) {
            notice(said);
        }
        return true;
    } catch (error) {
        failed(error);
        return false;
    } finally {
        control.disabled = false;
    }
}

// A button for what cannot be undone: with `word` on it, which is also how `question` is answered.
export function askingButton(word, question, act, done, label) {
    const asking = button(
        word,
        async () => {
            if (await confirmed(question, word)) {
                await attempt(asking, act, done);
            }
        },
        { label },
    );
    return asking;
}

// Has `form` do `act` when it is sent, with its values by their names.
export function onSubmit(form, act, done) {
    form.addEventListener("submit", async (event) => {
        event.preventDefault();
        const values = Object.fromEntries(new FormData(form));
        await attempt(form.querySelector("button[type=submit]"), () => act(values), done);
    });
    return form;
}
