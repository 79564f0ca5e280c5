// The token of the control API: kept by this tab and for as long as it is open, and shown in a
// header, never in a cookie. So no other page can act with it.

const KEY = "sockhop-token";

// `sockhop dashboard` opens the page with its token behind the #, which browsers do not send. It
// leaves the address, so that it is in no bookmark.
export function takeFromAddress() {
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    if (token) {
        sessionStorage.setItem(KEY, token);
        history.replaceState(null, "", location.pathname + "#/");
    }
}

export const token = () => sessionStorage.getItem(KEY);

export function begin(token) {
    sessionStorage.setItem(KEY, token);
}

export function end() {
    sessionStorage.removeItem(KEY);
}
