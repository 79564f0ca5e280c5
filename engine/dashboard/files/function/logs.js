// What a function has logged, and logs.

import { logView } from "../log_view.js";

export function tab({ name, signal }) {
    return { node: logView({ name, signal }) };
}
