// The dashboard's frame: who is signed in, which page is shown, and the bar above it.
//
// A page is a module whose `page(context)` returns `{title, node}`, and with `draw` what becomes of
// new figures. `context` has the `parameters` of its address, a `signal` that ends with it, and
// `repeat(ms, act)`, which does that at once and again while the page is seen.

import { call, onRefused } from "./api.js";
import { failed } from "./dialog.js";
import { button, el, link } from "./dom.js";
import { GetStatus } from "./endpoints.js";
import * as samples from "./samples.js";
import * as session from "./session.js";
import { duration } from "./text.js";

// Pages by what their addresses begin with: `#/NAME/...`. They are loaded when they are first shown.
const PAGES = {
    "": { load: () => import("./pages/functions.js"), title: "Functions" },
    functions: { load: () => import("./pages/function.js") },
    logs: { load: () => import("./pages/logs.js"), title: "Logs" },
    invocations: { load: () => import("./pages/invocation.js") },
    jobs: { load: () => import("./pages/jobs.js"), title: "Jobs" },
    cron: { load: () => import("./pages/cron.js"), title: "Cron" },
    domains: { load: () => import("./pages/domains.js"), title: "Domains" },
    node: { load: () => import("./pages/node.js"), title: "Node" },
};

const bar = document.getElementById("bar");
const content = document.getElementById("content");
let shown = new AbortController();
let draw = () => {};

// The bar: what there is to see, and how the node is.
const state = el("span", { class: "state" });
const links = Object.entries(PAGES)
    .filter(([, page]) => page.title)
    .map(([name, page]) => [name, link([name], page.title)]);
const menu = [
    el("nav", { "aria-label": "Pages" }, ...links.map(([, node]) => node)),
    state,
    button("Sign out", () => leave(), { kind: "plain" }),
];

function showBar(isSignedIn) {
    bar.replaceChildren(
        el("a", { class: "brand", href: "#/" }, "sockhop"),
        ...(isSignedIn ? menu : []),
    );
}

function tellState(figures, error) {
    const kind = error ? "bad" : figures.node.draining ? "warn" : "good";
    const up = () => `up ${duration(Date.now() / 1000 - figures.node.started_s)}`;
    state.className = `state ${kind}`;
    state.textContent = error ? "no answer" : figures.node.draining ? "stopping" : up();
    state.title = error ? error.message : "";
}

samples.listen((figures, error) => {
    tellState(figures, error);
    if (figures) {
        draw(samples.past());
    }
});

const readAddress = () => {
    const parts = location.hash.replace(/^#\/?/, "").split("/");
    try {
        return parts.map(decodeURIComponent);
    } catch {
        return ["none"];
    }
};

function contextOf(parameters, signal) {
    async function repeat(ms, act) {
        while (!signal.aborted) {
            if (!document.hidden) {
                await act().catch((error) => signal.aborted || failed(error));
            }
            await new Promise((resolve) => setTimeout(resolve, ms));
        }
    }
    return { parameters, signal, repeat };
}

// Shows the page of the address. Focus goes to its heading, which tells screen readers where they are.
async function show({ focus } = { focus: true }) {
    shown.abort();
    shown = new AbortController();
    const { signal } = shown;
    const [name, ...parameters] = readAddress();
    draw = () => {};
    links.forEach(([of, node]) =>
        setCurrent(node, of === name || (of === "" && name === "functions")),
    );
    let made;
    try {
        const page = PAGES[name] ?? { load: () => import("./pages/missing.js") };
        made = await (await page.load()).page(contextOf(parameters, signal));
    } catch (error) {
        made = {
            title: "This cannot be shown",
            node: el("p", { class: "note bad" }, error.message),
        };
    }
    if (signal.aborted) {
        return;
    }
    const heading = el("h1", { tabindex: "-1" }, made.title);
    content.replaceChildren(heading, made.node);
    document.title = `${heading.textContent} – sockhop`;
    draw = made.draw ?? draw;
    if (samples.past().length) {
        draw(samples.past());
    }
    if (focus) {
        heading.focus({ preventScroll: true });
        scrollTo(0, 0);
    }
}

function setCurrent(node, isCurrent) {
    if (isCurrent) {
        node.setAttribute("aria-current", "page");
    } else {
        node.removeAttribute("aria-current");
    }
}

// Asks for the token, and goes on when the node takes it.
async function signIn(why) {
    shown.abort();
    samples.end();
    showBar(false);
    const { form } = await import("./pages/sign_in.js");
    content.replaceChildren(form(why, enter));
    content.querySelector("input").focus();
    document.title = "Sign in – sockhop";
}

// Goes on with `token`, if it is the node's.
async function enter(token) {
    session.begin(token);
    await call(GetStatus);
    start();
}

function leave(why) {
    session.end();
    signIn(why);
}

function start() {
    showBar(true);
    samples.begin();
    show({ focus: false });
}

onRefused(() => leave("The node does not take this token."));
addEventListener("hashchange", () => session.token() && show());
session.takeFromAddress();
if (session.token()) {
    start();
} else {
    signIn();
}
