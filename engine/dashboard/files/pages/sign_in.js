// The form that asks for the node's token.

import { ApiError } from "../api.js";
import { el, field } from "../dom.js";

// `why` is said above it; `enter` gets the token, and fails if it is not the node's.
export function form(why, enter) {
    const said = el("p", { class: "note bad", role: "alert" }, why ?? "");
    const input = el("input", {
        type: "password",
        name: "token",
        required: true,
        autocomplete: "current-password",
        spellcheck: "false",
    });
    const submit = el("button", { type: "submit", class: "primary" }, "Sign in");
    const made = el(
        "form",
        { class: "card sign-in" },
        el("h1", {}, "Sign in"),
        field(
            "Token",
            input,
            "That of the node is in admin.token in its data folder. This tab keeps it until it is closed.",
        ),
        submit,
        said,
    );
    made.addEventListener("submit", async (event) => {
        event.preventDefault();
        submit.disabled = true;
        said.textContent = "";
        try {
            await enter(input.value.trim());
        } catch (error) {
            // A wrong token asks again, by itself.
            if (!(error instanceof ApiError) || error.status !== 401) {
                said.textContent = error.message;
            }
        } finally {
            submit.disabled = false;
        }
    });
    return made;
}
