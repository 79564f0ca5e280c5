// Server-Sent Events over `fetch`, since what browsers have for them sends no token.

// Calls `heard(event, data)` for each event of `response`, until that ends.
export async function events(response, heard) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
        const { value, done } = await reader.read();
        if (done) {
            return;
        }
        const parts = (rest + value).split(/\r?\n\r?\n/);
        rest = parts.pop();
        for (const part of parts) {
            one(part, heard);
        }
    }
}

function one(text, heard) {
    let event = "message";
    const data = [];
    for (const line of text.split(/\r?\n/)) {
        const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
        if (field === "event") {
            event = value;
        } else if (field === "data") {
            data.push(value);
        }
    }
    if (data.length) {
        heard(event, data.join("\n"));
    }
}
