// What is shown at an address that no page has.

import { link, note } from "../dom.js";

export function page() {
    return {
        title: "There is no such page",
        node: note("What there is, ", link([""], "the list of functions"), " leads to."),
    };
}
