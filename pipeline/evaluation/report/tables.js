const key = cell => {
  const text = cell.dataset.value;
  if (text === undefined) return cell.textContent;
  return text === "nan" ? NaN : text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text);
};
const compare = (a, b) => typeof a === "string" ? a.localeCompare(b, undefined, {numeric: true}) : a < b ? -1 : a > b ? 1 : 0;
document.querySelectorAll("table.sorts th button").forEach(button => button.addEventListener("click", () => {
  const heading = button.parentElement, table = heading.closest("table"), body = table.tBodies[0];
  const down = heading.getAttribute("aria-sort") === "ascending";
  table.querySelectorAll("th").forEach(th => th.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const undefinedLast = value => Number(Number.isNaN(value));
  body.append(...[...body.rows].map(row => [key(row.cells[heading.cellIndex]), row])
    .sort(([a], [b]) => undefinedLast(a) - undefinedLast(b) || (down ? -compare(a, b) : compare(a, b)))
    .map(([, row]) => row));
}));
document.querySelectorAll(".filter input").forEach(input => input.addEventListener("input", () => {
  const body = input.closest("section").querySelector("tbody"), rows = [...body.rows], sought = input.value.trim().toLowerCase();
  rows.forEach(row => { row.hidden = !row.textContent.toLowerCase().includes(sought); });
  input.parentElement.querySelector("output").textContent = sought ? `${rows.filter(row => !row.hidden).length} of ${rows.length}` : "";
}));
// Which columns are seen: the SDR of all targets, every figure of one, or all. On a phone what is no score gives way.
document.querySelectorAll(".columns").forEach((group, place) => {
  const section = group.closest("section"), table = section.querySelector("table"), style = section.appendChild(document.createElement("style"));
  const headings = [...table.tHead.rows[0].cells], buttons = [...group.children];
  table.id = `columns-${place}`;
  const hide = cells => cells.length ? `${cells.map(cell => `#${table.id} tr > :nth-child(${cell.cellIndex + 1})`).join()} { display: none; }` : "";
  const show = view => {
    const metric = cell => cell.dataset.metric, scores = headings.filter(cell => cell.dataset.target);
    const wide = view === "all" ? [] : scores.filter(cell => view === "SDR" ? !["SDR", "gain"].includes(metric(cell)) : cell.dataset.target !== view);
    const narrow = view === "all" ? [] : headings.filter(cell => metric(cell) === "metadata" || view === "SDR" && metric(cell) === "gain");
    const named = ["SDR", "all"].includes(view) ? "" : `#${table.id} th span { display: none; }`; // what the button says
    style.textContent = `${hide(wide)} @media (max-width: 48rem) { ${hide(narrow)} ${named} }`;
    buttons.forEach(button => button.setAttribute("aria-pressed", button.dataset.view === view));
  };
  buttons.forEach(button => button.addEventListener("click", () => show(button.dataset.view)));
  show(buttons.length > 4 || matchMedia("(max-width: 48rem)").matches ? "SDR" : "all");
});
