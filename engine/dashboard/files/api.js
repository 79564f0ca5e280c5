// Requests to the control API. What is sent has the token; what is refused becomes an `ApiError`
// with the node's own sentence. That the token is no longer right is told to who asked for it.

import * as session from "./session.js";

export class ApiError extends Error {
    constructor(status, message) {
        super(message);
        this.status = status;
    }
}

let refused = () => {};

// Has `listener` be called when the node does not take the token.
export function onRefused(listener) {
    refused = listener;
}

// The path of an endpoint with its parameters filled in, and a query of what is not empty.
export function address([, path], parameters = {}, query = {}) {
    const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(parameters[name]));
    const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
    return pairs.length ? `${filled}?${new URLSearchParams(pairs)}` : filled;
}

export const headers = () => ({ "sockhop-authorization": `Bearer ${session.token() ?? ""}` });

// Asks for `endpoint`, and returns the response, whose status is good.
export async function request(endpoint, { parameters, query, json, body, accept, signal } = {}) {
    const sent = headers();
    if (json !== undefined) {
        sent["content-type"] = "application/json";
        body = JSON.stringify(json);
    }
    if (accept) {
        sent.accept = accept;
    }
    const target = address(endpoint, parameters, query);
    let response;
    try {
        response = await fetch(target, { method: endpoint[0], headers: sent, body, signal });
    } catch (error) {
        if (signal?.aborted) {
            throw error;
        }
        throw new ApiError(0, "The node does not answer. Is it running?");
    }
    if (!response.ok) {
        throw failure(response.status, await response.text());
    }
    return response;
}

// The same, and returns the JSON that was answered, or nothing.
export async function call(endpoint, options) {
    const response = await request(endpoint, options);
    return response.status === 204 ? undefined : response.json();
}

// Why the node answered `status` with `text`.
export function failure(status, text) {
    if (status === 401) {
        refused();
    }
    let reason;
    try {
        reason = JSON.parse(text).error;
    } catch {
        // Something between here and the node has answered.
    }
    return new ApiError(status, reason ?? `The node answered ${status}.`);
}
