// What the guest page does, down to the byte; a template literal is what people use here.
const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;", "/": "&#x2f;" };
const escape = (text) => String(text).replace(/[&<>"'\/]/g, (character) => escapes[character]);

function rows() {
  const rows = [];
  for (let number = 1; number <= 400; number++) {
    rows.push({
      number,
      name: `Nuts & bolts <M${(number % 20) + 2}>`,
      price: `${((number * 7) % 90) + 1}.${String((number * 13) % 100).padStart(2, "0")}`,
      stock: (number * 31) % 500,
    });
  }
  return rows;
}

const row = (row) =>
  `<tr class="${row.stock < 50 ? "low" : "enough"}"><td>${row.number}</td><td><a href="/item/${row.number}">${escape(row.name)}</a></td><td>${escape(row.price)}</td><td>${row.stock}</td></tr>\n`;

export default {
  fetch() {
    const page = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>${escape("Hardware")}</title></head>
<body>
<h1>${escape("Hardware")}</h1>
<table>
<tr><th>No</th><th>Name</th><th>Price</th><th>Stock</th></tr>
${rows().map(row).join("")}</table>
</body>
</html>`;
    return new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } });
  },
};
