"use strict";
// The list of a task's episodes: filtered, sorted, a page of rows at a time.

visenv.episodes = (() => {
  const { el, quote, named, name, brief, shorten, number, many } = visenv.text;
  const PAGE = 100;

  async function render(block, chosen) {
    const list = await visenv.load(block.list);
    const agents = [...new Set(list.rows.map((r) => r[0]))];
    const rows = list.rows.map(([player, sample, score, reason, turns, failed, file]) => ({
      player,
      sample,
      score,
      reason,
      turns,
      failed,
      file,
    }));
    const table = visenv.table.make(
      [
        {
          title: "sample",
          kind: "agent",
          value: (r) => list.samples[r.sample].index,
          cell: (r) => el("a.rowlink", { href: link(block, list, r) }, question(list.samples[r.sample])),
        },
        {
          title: "agent",
          kind: "player",
          value: (r) => list.players[r.player][1],
          cell: (r) => [named(list.players[r.player][1], 48), visenv.board.seal(list.players[r.player][0], true)],
        },
        ...(visenv.index.runs.length > 1
          ? [
              {
                title: "run",
                value: (r) => list.players[r.player][0],
                cell: (r) => visenv.board.runName(list.players[r.player][0], 30),
              },
            ]
          : []),
        {
          title: "score",
          kind: "score",
          numeric: true,
          value: (r) => r.score,
          cell: (r) =>
            r.failed
              ? el("span.bad", {}, "failed")
              : el("span.scored", {}, el("b", {}, number(r.score, 3)), visenv.board.track({ score: r.score })),
        },
        {
          title: "ended",
          kind: "ended",
          value: (r) => list.reasons[r.reason],
          cell: (r) => brief(list.reasons[r.reason], 40).replaceAll("_", " "),
        },
        { title: "turns", numeric: true, value: (r) => r.turns, cell: (r) => String(r.turns) },
      ],
      {
        caption: `Episodes of ${visenv.board.blockTitle(block)}`,
        page: PAGE,
        empty: rows.length
          ? "No episode fits the filters."
          : "No episode of this task is recorded yet. Continue the run with the command that began it.",
      },
    );

    const count = el("p.soft.count", { role: "status" });
    const field = (label, input) => {
      input.setAttribute("aria-label", label); // a label around a list of choices would be named after them too
      return el("label.field", {}, el("span", {}, label), input);
    };
    const agent = el(
      "select",
      { onchange: update },
      el("option", { value: "" }, "all"),
      agents.map((p) => el("option", { value: p }, playerName(list, p))),
    );
    const reason = el(
      "select",
      { onchange: update },
      el("option", { value: "" }, "any"),
      list.reasons.map((r, i) => el("option", { value: i }, brief(r, 40).replaceAll("_", " "))),
    );
    const low = el("input", { type: "number", min: "0", max: "1", step: "0.05", placeholder: "0", oninput: update });
    const high = el("input", { type: "number", min: "0", max: "1", step: "0.05", placeholder: "1", oninput: update });
    const failed = el(
      "select",
      { onchange: update },
      ["any", "scored", "failed"].map((v) => el("option", { value: v }, v)),
    );
    const text = el("input", {
      type: "search",
      placeholder: "words of the instruction",
      autocomplete: "off",
      oninput: update,
    });
    if (chosen)
      agent.value = String(
        list.players.findIndex(
          ([run, agent]) =>
            visenv.route.same(visenv.index.runs[run].label, chosen.run) && visenv.route.same(agent, chosen.agent),
        ),
      );
    const texts = list.samples.map((s) => `${s.text || ""} ${s.id}`.toLowerCase());

    function update() {
      const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = rows.filter(
        (r) =>
          (agent.value === "" || r.player === Number(agent.value)) &&
          (reason.value === "" || r.reason === Number(reason.value)) &&
          (low.value === "" || (r.score !== null && r.score >= Number(low.value))) &&
          (high.value === "" || (r.score !== null && r.score <= Number(high.value))) &&
          (failed.value === "any" || Boolean(r.failed) === (failed.value === "failed")) &&
          words.every((w) => texts[r.sample].includes(w)),
      );
      count.textContent = `${wanted.length.toLocaleString("en")} of ${many(rows.length, "episode")}`;
      table.set(wanted);
    }
    update();
    document.title = `${shorten(block.task, 40)}: episodes \u2013 visenv report`;
    return el(
      "main.list",
      {},
      el("nav.crumbs", { "aria-label": "Where this is" }, el("a", { href: "#/" }, "All tasks")),
      el(
        "header.top",
        {},
        el("h1", { title: brief(block.task, 600) }, shorten(block.task, 80)),
        el(
          "p.lead",
          {},
          `${brief(block.split, 30)}, level ${block.level}. ${many(list.samples.length, "sample")}, ${many(agents.length, "player")}.`,
        ),
      ),
      el(
        "form.filters",
        { onsubmit: (e) => e.preventDefault(), role: "search" },
        field("agent", agent),
        field("ended", reason),
        field("score from", low),
        field("to", high),
        field("outcome", failed),
        field("text", text),
      ),
      count,
      table.element,
    );
  }

  function question(sample) {
    return el(
      "span.question",
      {},
      el("span.index", {}, `#${sample.index}`),
      sample.text === null ? el("span.soft", {}, brief(sample.id, 60)) : quote(sample.text, 110),
    );
  }

  const playerName = (list, p) => {
    const [run, agent] = list.players[p];
    return name(agent, 60) + (visenv.index.runs.length > 1 ? ` (${name(visenv.index.runs[run].label, 30)})` : "");
  };

  /** The address of an episode: its run, its key, the turn, and whom it is compared with. */
  function link(block, list, row, turn = 0, other = null) {
    const part = (r) => {
      const [run, agent] = list.players[r.player];
      return `${visenv.route.encode(visenv.index.runs[run].label)}/${visenv.route.blockKey(block)}~${list.samples[r.sample].index}~${visenv.route.encode(agent)}`;
    };
    return `#/episode/${part(row)}/${turn}` + (other ? `/with/${part(other)}` : "");
  }

  return { render, link, playerName };
})();
