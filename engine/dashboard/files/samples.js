// The loop that reads the node's counters once a second while the page is seen, and what it has
// read of the last minutes. Nothing of it is kept elsewhere.

import { call } from "./api.js";
import { GetTop } from "./endpoints.js";
import { between } from "./figures.js";

const INTERVAL_MS = 1000;
export const KEPT_MS = 180 * 1000;

let last;
let history = [];
let listener = () => {};
let running;

// The figures of the last minutes, the oldest first.
export const past = () => history;

// Has `heard` get each reading, or the error that was met instead.
export function listen(heard) {
    listener = heard;
}

export function begin() {
    if (!running) {
        running = new AbortController();
        loop(running.signal);
    }
}

// Ends the loop and forgets what it has read.
export function end() {
    running?.abort();
    [running, last, history] = [undefined, undefined, []];
}

async function loop(signal) {
    while (!signal.aborted) {
        const began = performance.now();
        if (!document.hidden) {
            await read(signal);
        }
        await pause(Math.max(0, INTERVAL_MS - (performance.now() - began)));
    }
}

async function read(signal) {
    let figures, error;
    try {
        const sample = await call(GetTop, { signal });
        figures = between(last, sample);
        last = sample;
        if (history.at(-1)?.node.pid !== figures.node.pid) {
            history = [];
        }
        history.push(figures);
        history = history.filter((one) => one.atMs > figures.atMs - KEPT_MS);
    } catch (caught) {
        error = caught;
    }
    if (!signal.aborted) {
        listener(figures, error);
    }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
