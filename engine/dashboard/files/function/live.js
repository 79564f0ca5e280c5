// What a function does right now.

import { el, facts, note } from "../dom.js";
import { plot } from "../plot.js";
import { bytes, count, micros, percent, rate } from "../text.js";

export function tab({ name, found }) {
    const own = (now) => now.functions.get(name);
    const workers = (now) => now.workers.filter((worker) => worker.pool === name);
    const memory = (now) => workers(now).reduce((sum, worker) => sum + worker.memory_bytes, 0);
    const plots = [
        plot({ title: "Requests", series: [{ of: (now) => own(now)?.requestsPerS }], show: rate }),
        plot({
            title: "Errors",
            series: [{ of: (now) => own(now)?.errorsPercent, kind: "bad" }],
            show: percent,
            scale: { least: 100 },
        }),
        plot({
            title: "Latency",
            series: [
                { name: "p50", of: (now) => own(now)?.p50 },
                { name: "p99", of: (now) => own(now)?.p99, kind: "second" },
            ],
            show: micros,
        }),
        plot({
            title: "Running and waiting",
            series: [
                { name: "running", of: (now) => own(now)?.inFlight },
                { name: "waiting", of: (now) => own(now)?.queued, kind: "second" },
            ],
            show: count,
        }),
    ];
    const ownMemory = plot({
        title: "Memory of its workers",
        series: [{ of: memory }],
        show: bytes,
        scale: { binary: true },
    });
    const uncalled = note("It was not called since the node started.");
    const place = el(
        "div",
        { class: "plots" },
        plots.map((one) => one.node),
    );

    function draw(past) {
        const now = past.at(-1);
        uncalled.hidden = Boolean(own(now));
        if (workers(now).length && !ownMemory.node.isConnected) {
            place.append(ownMemory.node);
        }
        [...plots, ownMemory].forEach((one) => one.draw(past));
    }

    const reuse =
        found.reuse &&
        facts([
            ["kept for another request", count(found.reuse.kept)],
            ["had served all they may", count(found.reuse.served)],
            ["had grown too large", count(found.reuse.memory)],
            ["still held their request", count(found.reuse.request)],
            ["no room to keep them", count(found.reuse.room)],
        ]);
    const node = el(
        "div",
        {},
        uncalled,
        place,
        reuse && el("section", {}, el("h2", {}, "Instances that have served"), reuse),
    );
    return { node, draw };
}
