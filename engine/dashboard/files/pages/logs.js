// What all functions have logged, and log.

import { logView } from "../log_view.js";

export function page({ signal }) {
    return { title: "Logs", node: logView({ signal }) };
}
