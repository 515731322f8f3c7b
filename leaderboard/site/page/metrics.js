"use strict";
// Columns of published metrics: those of the profile that makes a task's score, and those of the profiles beside it.

visenv.metrics = (() => {
  const { el, number, brief } = visenv.text;

  const DIGITS = { "%": 1, "0-1": 3, "": 2 };

  /** Makes a column. given(row) is a number, null, or a text that says why there is none. */
  function column([title, unit], given, more) {
    const value = (row) => (typeof given(row) === "number" ? given(row) : null);
    const why = (row) => (typeof given(row) === "string" ? given(row) : null);
    return {
      title: brief(title, 24),
      unit: unit === "0-1" ? "0\u20131" : unit,
      numeric: true,
      value,
      cell: (row) =>
        why(row) === null
          ? number(value(row), DIGITS[unit])
          : el("span.why", { title: brief(why(row), 200) }, brief(why(row), 28)),
      ...more,
    };
  }

  /**
   * Makes the table of a task's further profiles, a group of columns for each.
   * lead: the columns before them. Returns {element, set(rows)}; rows say by `order` which of the task's they are.
   */
  function beside(block, lead, { title, rowClass }) {
    const columns = block.also.flatMap(({ name, source, metrics, rows }) =>
      metrics.map((named, i) =>
        column(named, (row) => rows[row.order][i], {
          group: brief(name, 60),
          groupHint: brief(source, 300),
          kind: i ? "" : "start",
        }),
      ),
    );
    const what = "The same answers by other profiles";
    const table = visenv.table.make([...lead, ...columns], {
      caption: `${title}: ${what.toLowerCase()}`,
      rowClass,
      empty: "No agent of that name.",
    });
    return { element: el("div.beside", {}, el("h3", {}, what), table.element), set: table.set };
  }

  return { column, beside };
})();
