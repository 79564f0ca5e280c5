// From values to what people read. Pure.

// Characters that a terminal or the direction of text would obey: they are shown by their number.
const OBEYED =
    /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;
const NAMED = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

const escape = (character) => NAMED[character] ?? `\\u{${character.codePointAt(0).toString(16)}}`;

// `text` with characters that are not seen in a form that is.
export const printable = (text) => String(text).replace(OBEYED, escape);

// The same of several lines, which stay so.
export const printableLines = (text) =>
    String(text).replace(OBEYED, (one) => (one === "\n" || one === "\t" ? one : escape(one)));

const scaled = (value, step, units) => {
    let at = 0;
    while (value >= step * 0.9995 && at + 1 < units.length) {
        value /= step;
        at += 1;
    }
    return [digits(value), units[at]];
};

// Three digits, or all of a whole number.
export function digits(value) {
    const places = value >= 99.95 || Number.isInteger(value) ? 0 : value >= 9.995 ? 1 : 2;
    return value.toLocaleString("en", { maximumFractionDigits: places });
}

const NONE = "–";
const some = (write) => (value) => (value === undefined || value === null ? NONE : write(value));

export const bytes = some((value) =>
    scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]).join(" "),
);
export const micros = some((value) => scaled(value, 1000, ["µs", "ms", "s"]).join(" "));
export const rate = some((value) => scaled(value, 1000, ["/s", "k/s", "M/s"]).join(""));
export const percent = some((value) => `${digits(value)} %`);
export const count = some((value) => value.toLocaleString("en"));
export const text = some(printable);

// So many of what is called so.
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

const two = (value) => String(value).padStart(2, "0");

// A moment, in milliseconds since 1970, as the reader's clock has it.
export const moment = some((ms) => {
    const at = new Date(ms);
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
});

// The time of day of what the API writes, with its milliseconds.
export function timeOfDay(rfc3339) {
    const at = new Date(rfc3339);
    const ms = String(at.getMilliseconds()).padStart(3, "0");
    return Number.isNaN(at.getTime())
        ? printable(rfc3339)
        : `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${ms}`;
}

// So many seconds, in one or two units.
export function duration(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    const parts = [
        [86400, "d"],
        [3600, "h"],
        [60, "min"],
        [1, "s"],
    ].map(([size, unit], at, all) => {
        const left = at ? whole % all[at - 1][0] : whole;
        return [Math.floor(left / size), unit];
    });
    const first = parts.findIndex(([amount]) => amount > 0);
    const shown = first < 0 ? parts.slice(-1) : parts.slice(first, first + 2);
    return shown
        .filter(([amount], at) => amount > 0 || !at)
        .map((part) => part.join(" "))
        .join(" ");
}
