"use strict";
// Rows by one column: numbers as numbers, text as text; what is missing stays below either way.
function compare(a, b) {
  if (a === b) return 0;
  if (a === "" || b === "") return null;
  const x = Number(a), y = Number(b);
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, undefined, { numeric: true }) : x - y;
}
function valueOf(row, column) {
  const cell = row.cells[column];
  return cell.dataset.sort ?? cell.textContent.trim();
}
function sort(header) {
  const table = header.closest("table"), body = table.tBodies[0], column = header.cellIndex;
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
  rows.sort(([a], [b]) => {
    const order = compare(a, b);
    return order === null ? (a === "" ? 1 : -1) : descending ? -order : order;
  });
  body.append(...rows.map(([, row]) => row));
}
for (const button of document.querySelectorAll("table.sortable thead button"))
  button.addEventListener("click", () => sort(button.closest("th")));
// On a phone the rules would stand before everything else.
if (matchMedia("(max-width: 40rem)").matches) document.querySelector("details.rules").open = false;
// On paper nothing can be opened.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
