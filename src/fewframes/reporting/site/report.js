"use strict";

// Sorting: a button in each heading, upwards, downwards, and as it was. Rows without a value stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const numeric = heads.map((_, i) => original.some((row) => row.cells[i].dataset.key !== undefined));

  const value = (row, i) => {
    const cell = row.cells[i];
    if (numeric[i]) return cell.dataset.key === undefined ? null : Number(cell.dataset.key);
    const text = cell.textContent.trim();
    return text === "" || text === "—" ? null : text;
  };
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));

  const sort = (i, direction) => {
    const rows = original.map((row) => [value(row, i), row]);
    if (direction !== "none") {
      const sign = direction === "ascending" ? 1 : -1;
      rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
    }
    body.append(...rows.map(([, row]) => row));
    heads.forEach((head, k) => head.setAttribute("aria-sort", k === i ? direction : "none"));
  };

  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    const next = { none: "ascending", ascending: "descending", descending: "none" };
    button.addEventListener("click", () => sort(i, next[head.getAttribute("aria-sort")]));
  });
}

// Figures at their full size, over the page.
const dialog = document.createElement("dialog");
dialog.setAttribute("aria-label", "Figure at full size");
const close = document.createElement("button");
close.type = "button";
close.className = "close";
close.textContent = "Close";
close.addEventListener("click", () => dialog.close());
const sheet = document.createElement("div");
sheet.tabIndex = 0;
dialog.append(close, sheet);
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
document.body.append(dialog);

for (const image of document.querySelectorAll(".drawn img")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "enlarge";
  image.replaceWith(button);
  button.append(image);
  button.title = "Enlarge";
  button.addEventListener("click", () => {
    sheet.replaceChildren(image.cloneNode());
    dialog.showModal();
  });
}

// Paper cannot open what is folded.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
