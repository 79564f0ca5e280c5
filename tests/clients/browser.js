// A headless Chromium for one site. It fails if a page asks anything of another one, breaks its
// policy, meets an error that nobody handles, or shows a dialog of the browser's own.

const { mkdtempSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { chromium } = require("playwright-core");

const OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];
const PATIENCE_MS = 20000;

// Has `act` do its work with a context of the browser, whose pages may only ask things of `origin`.
exports.browse = async (origin, act) => {
    const profile = mkdtempSync(join(tmpdir(), "sockhop-browser-"));
    const context = await chromium.launchPersistentContext(profile, {
        executablePath: process.env.CHROMIUM,
        headless: true,
        args: OPTIONS,
        viewport: { width: 1280, height: 900 },
    });
    const faults = [];
    const watch = (page) => {
        page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
        page.on(
            "dialog",
            (dialog) => faults.push(`dialog: ${dialog.message()}`) && dialog.dismiss(),
        );
        page.on("console", (line) => line.type() === "violation" && faults.push(line.text()));
    };
    context.on("request", (request) => {
        if (new URL(request.url()).origin !== origin && !request.url().startsWith("about:")) {
            faults.push(`a request to ${request.url()}`);
        }
    });
    await context.exposeBinding("tellViolation", (_, what) => faults.push(`policy: ${what}`));
    await context.addInitScript(() =>
        addEventListener("securitypolicyviolation", (event) => {
            window.tellViolation(`${event.violatedDirective} ${event.blockedURI}`);
        }),
    );
    context.setDefaultTimeout(PATIENCE_MS);
    context.pages().forEach(watch);
    context.on("page", watch);
    try {
        await act(context);
        if (faults.length) {
            throw new Error(faults.join("\n"));
        }
    } catch (error) {
        const page = context.pages().at(-1);
        console.error(
            `faults: ${faults.join("; ")}\n${page.url()}\n${await page.innerText("body").catch(() => "")}`,
        );
        throw error;
    } finally {
        await context.close();
        rmSync(profile, { recursive: true, force: true });
    }
};

// Returns once `look` has found something, and that.
exports.until = async (what, look) => {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
        const found = await look();
        if (found) {
            return found;
        }
        if (Date.now() > end) {
            throw new Error(`${what}: not in ${PATIENCE_MS} ms`);
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
};
