"use strict";
// Tables that sort by a click on a heading, or by Enter on it.

visenv.table = (() => {
  const { el, edges } = visenv.text;

  const unit = (column) => (column.unit ? el("span.unit", {}, ` ${column.unit}`) : null);

  /**
   * Makes a table.
   * columns: [{title, unit, group, groupHint, hint, numeric, value(row) to sort by, cell(row) -> node or text,
   *   first: "ascending"|"descending"}]
   * Returns {element, set(rows)}; rows keep their order until a heading is used.
   */
  function make(
    columns,
    { caption, sorted = null, rowClass = () => "", page = Infinity, empty = "Nothing to show." } = {},
  ) {
    let rows = [],
      by = sorted,
      shown = page;
    const body = el("tbody");
    const heads = columns.map((column, i) => {
      const label = column.value
        ? el(
            "button",
            { type: "button", title: column.hint, onclick: () => sort(i) },
            column.numeric
              ? [el("span.arrow", { "aria-hidden": "true" }), column.title, unit(column)]
              : [column.title, el("span.arrow", { "aria-hidden": "true" })],
          )
        : el("span", { title: column.hint }, column.title);
      return el(
        "th" + (column.numeric ? ".numeric" : "") + (column.kind ? `.${column.kind}` : ""),
        { scope: "col", "aria-sort": column.value ? "none" : null },
        label,
      );
    });
    const groups = [];
    for (const column of columns) {
      const last = groups[groups.length - 1];
      if (last && last.name === (column.group || "")) last.span++;
      else groups.push({ name: column.group || "", hint: column.groupHint, span: 1 });
    }
    const head = el(
      "thead",
      {},
      groups.length > 1
        ? el(
            "tr.groups",
            {},
            groups.map((g) =>
              g.name
                ? el("th", { colspan: g.span, scope: "colgroup", title: g.hint }, el("span.name", {}, g.name))
                : el("td", { colspan: g.span }),
            ),
          )
        : null,
      el("tr", {}, heads),
    );
    const more = el("button.more", {
      type: "button",
      hidden: true,
      onclick: () => {
        shown += page;
        draw();
      },
    });
    const scroller = el(
      "div.scroll",
      { tabindex: "0", role: "region", "aria-label": caption },
      el("table", {}, el("caption", {}, caption), head, body),
    );
    const element = el("div.tablebox", {}, scroller, more);
    edges(element, scroller);

    function sort(i) {
      const first = columns[i].first || (columns[i].numeric ? "descending" : "ascending");
      const other = first === "ascending" ? "descending" : "ascending";
      by =
        by && by.column === i && by.direction === first
          ? { column: i, direction: other }
          : { column: i, direction: first };
      shown = page;
      draw();
    }

    function ordered() {
      if (!by) return rows;
      const { value } = columns[by.column];
      const sign = by.direction === "ascending" ? 1 : -1;
      const missing = (v) => v === null || v === undefined || Number.isNaN(v);
      return rows
        .map((row, i) => [value(row), i, row])
        .sort(([a, i], [b, j]) => {
          if (missing(a) || missing(b)) return missing(a) - missing(b) || i - j; // what is missing comes last either way
          return (a < b ? -1 : a > b ? 1 : 0) * sign || i - j;
        })
        .map(([, , row]) => row);
    }

    function draw() {
      heads.forEach(
        (th, i) => columns[i].value && th.setAttribute("aria-sort", by && by.column === i ? by.direction : "none"),
      );
      const all = ordered();
      body.replaceChildren(
        ...all.slice(0, shown).map((row) =>
          el(
            "tr",
            { class: rowClass(row) || null },
            columns.map((column) =>
              el(
                "td" + (column.numeric ? ".numeric" : "") + (column.kind ? `.${column.kind}` : ""),
                {},
                column.cell(row),
              ),
            ),
          ),
        ),
      );
      if (!all.length) body.append(el("tr", {}, el("td.empty", { colspan: columns.length }, empty)));
      more.hidden = all.length <= shown;
      more.textContent = `show more (${Math.min(shown, all.length).toLocaleString("en")} of ${all.length.toLocaleString("en")} shown)`;
    }

    return {
      element,
      set(newRows) {
        rows = newRows;
        shown = page;
        draw();
      },
    };
  }

  return { make };
})();
