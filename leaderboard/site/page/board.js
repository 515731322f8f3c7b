"use strict";
// The first page: what was run, a plot of all scores, and one table a task.

visenv.board = (() => {
  const { el, quote, named, name, number, many, visible, brief, shorten, edges } = visenv.text;

  const several = () => visenv.index.runs.length > 1;
  const runLabel = (i) => visenv.index.runs[i].label;
  const runName = (i, limit = 60) => named(runLabel(i), limit);

  /** What a verification found of a run, in a word or two. */
  function seal(i, onlyBad = false) {
    const { state, verdict, rescored, reaggregated, num_problems: problems } = visenv.index.runs[i].check;
    if (onlyBad && state !== "different") return null;
    const words = {
      verified: `verified: ${many(rescored, "record")} re-scored`,
      unfinished: `unfinished: ${many(rescored, "record")} re-scored`,
      different: onlyBad ? "NOT equal" : `NOT equal: ${many(problems, "problem")}`,
      unchecked: rescored
        ? `${rescored} re-scored, ${reaggregated} not checked`
        : reaggregated
          ? `re-aggregated only: ${many(reaggregated, "answer")} not checked`
          : "nothing to verify",
    }[state];
    return el(`span.seal.${state}`, { title: visible(verdict) }, words);
  }
  const blockTitle = (block) => {
    const twins = visenv.index.blocks.filter(
      (b) => b.task === block.task && b.split === block.split && b.level === block.level,
    );
    return (
      `${block.task}, ${block.split}, level ${block.level}` + (twins.length > 1 ? `, version ${block.version}` : "")
    );
  };

  function render() {
    const { runs, blocks, overall } = visenv.index;
    const filter = { agent: "", block: "" };
    const parts = [];
    const ranking = overall.some((row) => row.mean !== null) ? overall : []; // nobody has a mean: runs of other tasks
    const draw = () => parts.forEach((part) => part(filter));
    const agents = new Set(runs.flatMap((r) => r.agents));
    const episodes = blocks.reduce((sum, b) => sum + b.num_episodes, 0);

    const header = el(
      "header.top",
      {},
      el("p.eyebrow", {}, "visenv report"),
      el(
        "h1",
        {},
        runs.map((r, i) => el("span.runtitle", {}, runName(i), seal(i))),
      ),
      el(
        "p.lead",
        {},
        `${many(agents.size, "agent")} on ${many(blocks.length, "task")}, ${many(episodes, "episode")}. `,
        setup(runs),
      ),
      details(runs),
    );
    const tables = blocks.map((block) => {
      const made = blockTable(block);
      parts.push(made.update);
      return made.element;
    });
    const plotted = plot(blocks, ranking);
    parts.push(plotted.update);
    const all = ranking.length ? overallTable(ranking) : null;
    if (all) parts.push(all.update);
    const page = el(
      "main.board",
      {},
      header,
      filters(filter, blocks, draw),
      plotted.element,
      all && all.element,
      tables,
      notes(blocks),
    );
    draw();
    document.title = `${brief(runs.map((r) => name(r.label)).join(", "), 60)} \u2013 visenv report`;
    return page;
  }

  function setup(runs) {
    const said = (name, word) => {
      const values = [...new Set(runs.map((r) => String(r[name])))];
      return `${word} ${values.map((v) => brief(v, 60)).join(" / ")}`;
    };
    const version = [...new Set(runs.map((r) => (r.versions.find(([n]) => n === "visenv") || ["", "?"])[1]))].join(
      " / ",
    );
    return [
      said("toolset", "Tools"),
      said("experts", "experts"),
      said("memory", "memory"),
      said("seed", "seed"),
      `visenv ${brief(version, 30)}`,
    ].join(" \u00b7 ");
  }

  function details(runs) {
    const pairs = (run) => [
      ["agents", run.agents.map((a) => name(a, 200)).join(", ")],
      ["tools", run.toolset],
      ["memory", run.memory],
      ["experts", run.experts],
      ["standing behind the tools", run.identities.map((p) => p.join(" ")).join(", ") || "none"],
      ["reward", run.reward],
      ["grammar", run.grammar],
      ["seed", run.seed],
      [
        "samples",
        run.samples !== null
          ? `${run.samples} named ones`
          : run.limit === null
            ? "all"
            : `${run.limit} of each task, drawn by the seed`,
      ],
      ["turn limit", run.max_turns === null ? "each task's own" : run.max_turns],
      ["pictures stored for", `${run.keep_images} samples of each task`],
      ["episodes recorded", run.records],
      ["every episode has a score", run.complete ? "yes" : "no"],
      ["verification", run.check.verdict],
      ...(run.check.problems.length ? [["first problems", run.check.problems.join("\n")]] : []),
      ...(run.check.notes.length ? [["notes of the verification", run.check.notes.join("\n")]] : []),
      ["versions", run.versions.map((p) => p.join(" ")).join(", ")],
      ["records, SHA-256", run.sha256],
    ];
    return el(
      "details.settings",
      {},
      el("summary", {}, "Everything that was set"),
      runs.map((run) =>
        el(
          "section",
          {},
          several() ? el("h3", {}, named(run.label)) : null,
          el(
            "dl",
            {},
            pairs(run).map(([key, value]) => [
              el("dt", {}, key),
              el("dd", { dir: "auto" }, visible(String(value).slice(0, 3000))),
            ]),
          ),
        ),
      ),
    );
  }

  function filters(filter, blocks, draw) {
    const text = el("input", {
      type: "search",
      id: "agent-filter",
      placeholder: "any agent",
      autocomplete: "off",
      oninput: () => {
        filter.agent = text.value.toLowerCase();
        draw();
      },
    });
    const task = el(
      "select",
      {
        id: "task-filter",
        onchange: () => {
          filter.block = task.value;
          draw();
        },
      },
      el("option", { value: "" }, "all tasks"),
      blocks.map((b, i) => el("option", { value: i }, shorten(blockTitle(b), 60))),
    );
    return el(
      "form.filters",
      { onsubmit: (e) => e.preventDefault(), role: "search" },
      el("label", { for: "agent-filter" }, "Agent"),
      text,
      blocks.length > 1 ? [el("label", { for: "task-filter" }, "Task"), task] : null,
    );
  }

  const forged = (row) => visenv.index.runs[row.run].check.state === "different";
  const matches = (filter, row) =>
    !filter.agent ||
    row.agent.toLowerCase().includes(filter.agent) ||
    name(row.agent, 200).toLowerCase().includes(filter.agent);

  /** A line from 0 to 1 with the interval and the score on it. */
  function track(row) {
    const score = row.score === undefined ? row.mean : row.score;
    const made = el("span.track", {
      role: "img",
      "aria-label":
        score === null
          ? "no score"
          : `score ${number(score, 3)}${row.low === null || row.low === undefined ? "" : `, interval ${number(row.low, 3)} to ${number(row.high, 3)}`}`,
    });
    if (score === null) return made;
    made.style.setProperty("--at", String(Math.max(0, Math.min(1, score))));
    if (row.low !== null && row.low !== undefined) {
      made.style.setProperty("--low", String(row.low));
      made.style.setProperty("--high", String(row.high));
      made.append(el("i.interval"));
    }
    made.append(el("i.dot"));
    return made;
  }

  /** A task's name in the plot, with what tells it from others of the name. */
  const shortTitle = (block) =>
    visenv.index.blocks.some((b) => b !== block && b.task === block.task)
      ? `${block.task} ${block.split} ${block.level}`
      : block.task;

  /** Scores of all agents on all tasks, agents aligned, best first. */
  function plot(blocks, overall) {
    const lanes = new Map();
    blocks.forEach((block, i) =>
      block.rows.forEach((row) => {
        const key = JSON.stringify([row.run, row.agent]);
        if (!lanes.has(key)) lanes.set(key, { run: row.run, agent: row.agent, privileged: row.privileged, rows: [] });
        lanes.get(key).rows[i] = row;
      }),
    );
    const order = new Map(overall.map((row, i) => [JSON.stringify([row.run, row.agent]), i]));
    const sorted = [...lanes.entries()]
      .sort(([a], [b]) => (order.get(a) ?? 0) - (order.get(b) ?? 0))
      .map(([, lane]) => lane);
    const mean = (one) => overall.find((r) => r.run === one.run && r.agent === one.agent) || { mean: null };
    const grid = el("div.lanes");
    const element = el(
      "section.plot",
      { "aria-label": "Scores of all agents" },
      el(
        "div.sectionhead",
        {},
        el("h2", {}, "Scores"),
        el(
          "p.soft",
          {},
          "Primary score of each agent from 0 to 1 with its 95\u00a0% interval. Hollow: knows the truth, or incomplete. Red: its records do not give it.",
        ),
      ),
      grid,
    );
    function update(filter) {
      const wanted = blocks.map((b, i) => i).filter((i) => !filter.block || String(i) === filter.block);
      grid.style.setProperty("--tasks", String(wanted.length + (overall.length ? 1 : 0)));
      const head = el(
        "div.lane.head",
        {},
        el("span.who"),
        overall.length ? el("span.task", {}, "mean of all") : null,
        wanted.map((i) =>
          el(
            "a.task",
            { href: taskLink(blocks[i]), title: brief(blockTitle(blocks[i]), 600) },
            shorten(shortTitle(blocks[i]), 32),
          ),
        ),
      );
      grid.replaceChildren(
        head,
        ...sorted
          .filter((one) => matches(filter, one))
          .map((lane) =>
            el(
              `div.lane${lane.privileged ? ".privileged" : ""}${forged(lane) ? ".forged" : ""}`,
              {},
              el(
                "span.who",
                {},
                named(lane.agent, 40),
                lane.privileged ? el("span.star", { title: "knows the truth: a bound, not ranked" }, "*") : null,
                several() ? el("span.run", {}, runName(lane.run, 24)) : null,
                forged(lane)
                  ? el("span.star.bad", { title: "NOT equal: its scores are not those of its records" }, "!")
                  : null,
              ),
              overall.length
                ? el(
                    "span.cell.mean",
                    {},
                    el("span.small", {}, "mean of all"),
                    track(mean(lane)),
                    el("span.value", {}, number(mean(lane).mean, 3)),
                  )
                : null,
              wanted.map((i) => {
                const row = lane.rows[i];
                const cell = el(
                  `span.cell${row && row.n < row.of ? ".partial" : ""}`,
                  {},
                  el("span.small", {}, shorten(shortTitle(blocks[i]), 24)),
                );
                cell.append(
                  row ? track(row) : el("span.track.none"),
                  el("span.value", {}, row ? number(row.score, 3) : ""),
                );
                return cell;
              }),
            ),
          ),
        el(
          "div.lane.axis",
          { "aria-hidden": "true" },
          el("span.who"),
          [...wanted, ...(overall.length ? [0] : [])].map(() =>
            el("span.scale", {}, el("i", {}, "0"), el("i", {}, "0.5"), el("i", {}, "1")),
          ),
        ),
      );
    }
    return { element, update };
  }

  const who = (row) =>
    el(
      "span.who",
      {},
      named(row.agent, 60),
      row.privileged ? el("span.star", { title: "knows the truth: a bound, not ranked" }, "*") : null,
      seal(row.run, true),
    );
  const taskLink = (block, row) => {
    const base = `#/task/${visenv.route.blockKey(block)}`;
    return row ? `${base}/agent/${visenv.route.encode(runLabel(row.run))}/${visenv.route.encode(row.agent)}` : base;
  };
  const placeColumn = {
    title: "#",
    hint: "Place: * knows the truth, - incomplete, ! its scores are not those of its records",
    kind: "place",
    numeric: true,
    first: "ascending",
    value: (r) => r.order,
    cell: (r) => r.place,
  };
  const runColumn = () =>
    several() ? [{ title: "run", value: (r) => runLabel(r.run), cell: (r) => runName(r.run, 30) }] : [];

  const interval = {
    title: "95\u00a0% interval",
    numeric: true,
    hint: "Clustered standard error; cut to [0, 1]",
    value: (r) => r.low,
    cell: (r) => (r.low === null ? "\u2013" : `${number(r.low, 3)}\u2009\u2013\u2009${number(r.high, 3)}`),
  };
  const rowClass = (r) => (forged(r) ? "forged" : r.privileged ? "privileged" : r.n < r.of ? "partial" : "");

  function overallTable(overall) {
    const rows = overall.map((row, order) => ({ ...row, order }));
    const table = visenv.table.make(
      [
        placeColumn,
        { title: "agent", kind: "agent", value: (r) => r.agent, cell: who },
        ...runColumn(),
        {
          title: "mean score",
          kind: "score",
          numeric: true,
          value: (r) => r.mean,
          cell: (r) => el("span.scored", {}, el("b", {}, number(r.mean, 3)), track(r)),
        },
        interval,
        { title: "tasks", numeric: true, value: (r) => r.scored, cell: (r) => `${r.scored}/${r.of}` },
        {
          title: "failed",
          numeric: true,
          hint: "Episodes that failed for our reasons",
          value: (r) => r.failures,
          cell: (r) => failed(r.failures),
        },
      ],
      { caption: "All tasks: mean of the tasks' primary scores", rowClass },
    );
    return {
      element: el(
        "section.block.overall",
        {},
        el(
          "div.sectionhead",
          {},
          el("h2", {}, "All tasks"),
          el(
            "p.soft",
            {},
            "Mean of the tasks' primary scores, each task counting the same; the interval follows from the tasks' own.",
          ),
        ),
        table.element,
      ),
      update: (filter) => table.set(rows.filter((r) => matches(filter, r))),
    };
  }

  const failed = (count) => (count ? el("span.bad", {}, String(count)) : "0");

  function blockTable(block) {
    const rows = block.rows.map((row, order) => ({ ...row, order }));
    const profile = block.profiles.length === 1 ? block.profiles[0] : null;
    const scored = profile ? `scored by ${brief(profile[0], 60)}` : "score";
    const costs = "mean of an episode";
    const cost = (title, key, digits, hint, group = costs) => ({
      title,
      group,
      hint,
      numeric: true,
      first: "ascending",
      value: (r) => r[key],
      cell: (r) => number(r[key], digits),
    });
    const group = profile ? "metrics of the profile" : "metrics";
    const table = visenv.table.make(
      [
        placeColumn,
        {
          title: "agent",
          kind: "agent",
          value: (r) => r.agent,
          cell: (r) => el("a.rowlink", { href: taskLink(block, r), title: "its episodes" }, who(r)),
        },
        ...runColumn(),
        {
          title: "score",
          unit: "0\u20131",
          group: scored,
          kind: "score",
          hint: profile ? brief(profile[1], 300) : null,
          numeric: true,
          value: (r) => r.score,
          cell: (r) => el("span.scored", {}, el("b", {}, number(r.score, 3)), track(r)),
        },
        { ...interval, group: scored },
        ...(profile ? [] : [{ title: "profile", value: (r) => r.profile, cell: (r) => quote(r.profile, 40) }]),
        {
          title: "n",
          group: "episodes",
          hint: "Episodes with a score, of those asked",
          numeric: true,
          value: (r) => r.n,
          cell: (r) => el(r.n < r.of ? "span.bad" : "span", {}, `${r.n}/${r.of}`),
        },
        {
          title: "failed",
          group: "episodes",
          hint: "Failed for our reasons: no score, in no mean",
          numeric: true,
          value: (r) => r.failures,
          cell: (r) => failed(r.failures),
        },
        cost("turns", "turns", 1),
        cost("tokens", "visual_tokens", 0, "Visual tokens, summed over the prompts of an episode"),
        ...block.metrics.map((named, i) => visenv.metrics.column(named, (r) => r.metrics[i], { group })),
        cost("calls", "tool_calls", 1, "Valid tool calls that were not final"),
        cost("invalid", "invalid_calls", 1, "Calls the agent got wrong"),
        cost("seconds", "seconds", 2, "Wall clock, among neighbours"),
        cost("tokens", "max_visual_tokens", 0, "Visual tokens of the largest prompt", "peak"),
        cost("MiB", "memory_mib", 0, "Peak memory of a process", "peak"),
        ...["prompt_tokens", "completion_tokens", "cost_usd"]
          .filter((key) => block.rows.some((r) => r[key] !== null))
          .map((key) => cost(key.replaceAll("_", " "), key, key === "cost_usd" ? 4 : 0, "As the model's server says")),
        {
          title: "ended",
          kind: "ended",
          cell: (r) =>
            r.reasons.map(([reason, count]) =>
              el("span.reason", {}, `${brief(reason, 30).replaceAll("_", " ")} ${count}`),
            ),
        },
      ],
      {
        caption: blockTitle(block),
        rowClass,
        empty: block.rows.length ? "No agent of that name." : "No agent was asked.",
      },
    );
    const lead = [
      placeColumn,
      { title: "agent", kind: "agent", value: (r) => r.agent, cell: who },
      ...runColumn(),
      {
        title: "score",
        unit: "0\u20131",
        group: scored,
        kind: "start",
        numeric: true,
        value: (r) => r.score,
        cell: (r) => number(r.score, 3),
      },
    ];
    const beside = block.also.length ? visenv.metrics.beside(block, lead, { title: blockTitle(block), rowClass }) : null;
    const link = block.num_episodes
      ? el("a", { href: taskLink(block) }, `${many(block.num_episodes, "episode")} to look at \u2192`)
      : el("span.soft", {}, "No episode is recorded yet.");
    const element = el(
      "section.block",
      {},
      el(
        "div.sectionhead",
        {},
        el("h2", { title: brief(block.task, 600) }, shorten(block.task, 80)),
        el("p.soft", {}, `${brief(block.split, 30)}, level ${block.level}, version ${brief(block.version, 20)}`),
        link,
      ),
      table.element,
      beside && beside.element,
      el(
        "p.footnote",
        {},
        [...block.profiles, ...block.also.map(({ name, source }) => [name, source])].map(([name, source], i) =>
          el(
            "bdi",
            { dir: "auto" },
            `${i < block.profiles.length ? "Scored" : "Beside it"} by ${brief(name, 60)}: ${brief(source, 400)}. `,
          ),
        ),
        block.differ ? "The runs were asked different samples of this task: their places compare only roughly." : "",
      ),
    );
    const number_ = visenv.index.blocks.indexOf(block);
    return {
      element,
      update(filter) {
        element.hidden = Boolean(filter.block) && filter.block !== String(number_);
        const wanted = rows.filter((r) => matches(filter, r));
        table.set(wanted);
        if (beside) beside.set(wanted);
      },
    };
  }

  function notes(blocks) {
    const lines = [];
    if (blocks.some((b) => b.rows.some((r) => r.privileged))) lines.push("* knows the truth: a bound, not ranked.");
    if (blocks.some((b) => b.rows.some((r) => r.n < r.of)))
      lines.push("- incomplete: some episodes have no score (see n and failed), so it has no place.");
    if (visenv.index.runs.some((r) => r.check.state === "different"))
      lines.push(
        "! NOT equal: what the run states does not follow from its records, or its answers do not give its scores. It has no place; see \u201cEverything that was set\u201d.",
      );
    if (visenv.index.runs.some((r) => r.check.state === "unchecked"))
      lines.push(
        "Not checked: the task or its data were not at hand when this page was made, so scores are those that the records state.",
      );
    lines.push(
      "Everything here is computed from the records of the runs. Whatever an agent, an expert or a data set said is shown as plain text; characters that cannot be seen are written out, as \u2039U+202E\u203a.",
    );
    return el(
      "footer",
      {},
      lines.map((line) => el("p", {}, line)),
    );
  }

  return { render, blockTitle, track, taskLink, seal, runName };
})();
