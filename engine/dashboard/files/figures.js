// From two samples of the node's counters to rates, shares and quantiles of the time between them,
// as `sockhop top` makes them. Pure.

// The upper ends of the ranges of latency that are counted, in microseconds; the last has none.
export const LATENCY_BOUNDS_US = [
    50,
    100,
    200,
    500,
    1000,
    2000,
    5000,
    10000,
    20000,
    50000,
    100000,
    200000,
    500000,
    1000000,
    2000000,
    5000000,
    10000000,
    Infinity,
];
// Which of the outcomes are replies of 5xx.
const FAILED = 4;

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

// What happened from `before`, which may be missing, to `now`.
export function between(before, now) {
    if (before && (before.node.pid !== now.node.pid || before.at_us >= now.at_us)) {
        before = undefined;
    }
    const seconds = before && (now.at_us - before.at_us) / 1e6;
    const perSecond = (more) => (seconds ? more / seconds : undefined);
    const old = new Map(before?.functions.map((one) => [one.name, one]));
    const differences = now.functions.map((one) => difference(old.get(one.name), one));
    const all = {
        requests: sum(differences.map((one) => one.requests)),
        errors: sum(differences.map((one) => one.errors)),
        latency: LATENCY_BOUNDS_US.map((_, at) => sum(differences.map((one) => one.latency[at]))),
    };
    const functions = now.functions.map((one, at) => ({
        name: one.name,
        inFlight: one.in_flight,
        queued: one.queued,
        ...shown(differences[at], perSecond),
    }));
    const workers = now.workers.map((worker) => {
        const same = (one) => one.index === worker.index && one.pool === worker.pool;
        const more = Math.max(0, worker.requests - (before?.workers.find(same)?.requests ?? 0));
        return { ...worker, requestsPerS: perSecond(more) };
    });
    return {
        atMs: now.at_us / 1000,
        node: now.node,
        workers,
        functions: new Map(functions.map((one) => [one.name, one])),
        all: shown(all, perSecond),
        connections: sum(workers.map((worker) => worker.connections)),
        inFlight: sum(workers.map((worker) => worker.in_flight)),
        queued: sum(functions.map((one) => one.queued)),
        memoryBytes: now.node.memory_bytes + sum(workers.map((worker) => worker.memory_bytes)),
    };
}

// What has ended of one function. Counters that fell are those of another one with its name.
function difference(before, now) {
    const fell = (at) => before.latency.some((count, range) => count > at.latency[range]);
    const base =
        before && !fell(now) && sum(before.outcomes) <= sum(now.outcomes) ? before : undefined;
    return {
        requests: sum(now.outcomes) - (base ? sum(base.outcomes) : 0),
        errors: Math.max(0, now.outcomes[FAILED] - (base?.outcomes[FAILED] ?? 0)),
        latency: now.latency.map((count, at) => count - (base?.latency[at] ?? 0)),
    };
}

function shown({ requests, errors, latency }, perSecond) {
    const requestsPerS = perSecond(requests);
    const measured = requestsPerS !== undefined;
    return {
        requestsPerS,
        errorsPerS: perSecond(errors),
        errorsPercent: measured && requests ? (errors * 100) / requests : undefined,
        p50: measured ? quantile(latency, 50) : undefined,
        p99: measured ? quantile(latency, 99) : undefined,
    };
}

// What so many percent took no longer than: evenly spread within a range; of the last, its beginning.
function quantile(counts, percent) {
    const wanted = Math.ceil((sum(counts) * percent) / 100);
    let below = 0;
    let lower = 0;
    for (const [at, count] of counts.entries()) {
        if (count > 0 && below + count >= wanted) {
            const upper = Number.isFinite(LATENCY_BOUNDS_US[at]) ? LATENCY_BOUNDS_US[at] : lower;
            return lower + ((upper - lower) * (wanted - below)) / count;
        }
        below += count;
        lower = LATENCY_BOUNDS_US[at];
    }
    return undefined;
}
