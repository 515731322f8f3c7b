"use strict";
// The replay: the question, the agents that were asked it, the turns, and one or two episodes side by side. It is the
// whole site where a person asked something of their own: there is no truth then, and no score.

visenv.replay = (() => {
  const { el, named, name, box, brief, shorten, number, many, visible } = visenv.text;
  const shared = { show: { masks: true, boxes: true, labels: true, truth: false } };
  let current = null; // what is on the page: {key, go(turn)}

  const find = (block, list, wanted) =>
    list.rows
      .map(([player, sample, score, reason, turns, failed, file]) => ({
        player,
        sample,
        score,
        reason,
        turns,
        failed,
        file,
      }))
      .find((r) => {
        const [run, name] = list.players[r.player];
        return (
          visenv.route.same(visenv.index.runs[run].label, wanted.run) &&
          list.samples[r.sample].index === wanted.index &&
          visenv.route.same(name, wanted.agent)
        );
      });

  /** Renders an episode, or only moves to another turn when it is on the page already. */
  async function render(block, wanted) {
    const key = JSON.stringify([wanted.run, wanted.block, wanted.index, wanted.agent, wanted.other]);
    if (current && current.key === key && current.page.isConnected) {
      current.go(wanted.turn);
      return current.page;
    }
    const list = await visenv.load(block.list);
    const row = find(block, list, wanted),
      other = wanted.other && find(block, list, wanted.other);
    if (!row) throw new Error("no such episode in this site");
    const sample = list.samples[row.sample];
    const [episode, question, compared] = await Promise.all([
      visenv.load(row.file),
      sample.file ? visenv.load(sample.file) : null,
      other ? visenv.load(other.file) : null,
    ]);
    // The truth is the task's own; an episode that was played on another one is not laid over it.
    const truthFor = (e) => (question && e.same_truth ? question : null);
    const truth = question && question.known && episode.same_truth;
    const { asked } = visenv.index;
    const panes = [[row, episode], ...(other ? [[other, compared]] : [])].map(([r, e]) =>
      visenv.pane.make({ ...e, why: sample.why }, truthFor(e), heading(list, r, e), shared),
    );
    const last = Math.max(...panes.map((p) => p.last));

    const slider = el("input", {
      type: "range",
      min: "0",
      max: String(last),
      step: "1",
      "aria-label": "Turn",
      oninput: () => move(Number(slider.value)),
    });
    const where = el("output.where");
    const button = (text, label, step) =>
      el("button", { type: "button", "aria-label": label, title: label, onclick: () => move(step()) }, text);
    const previous = button("\u2190", "Previous turn (left arrow)", () => at - 1),
      next = button("\u2192", "Next turn (right arrow)", () => at + 1),
      end = button("End", "Jump to the answer (End)", () => last);
    let at = -1;

    function move(turn) {
      const to = Math.max(0, Math.min(last, turn));
      go(to);
      location.replace(visenv.episodes.link(block, list, row, to === last ? "end" : to, other));
    }

    function go(turn) {
      const to = turn === "end" ? last : Math.max(0, Math.min(last, Number(turn) || 0));
      if (to === at) return; // the address follows a step that was taken already
      at = to;
      slider.value = String(at);
      const said = at === 0 ? "start" : at === last ? "answer" : `turn ${at} of ${last - 1}`;
      slider.setAttribute("aria-valuetext", said);
      where.textContent = said;
      page.classList.toggle("ended", at === last);
      previous.disabled = at === 0;
      next.disabled = end.disabled = at === last;
      // A shorter episode beside a longer one waits at its answer.
      panes.forEach((pane) => pane.go(at === last ? pane.last : at));
    }

    const toggle = (what, label, possible = true) =>
      possible
        ? el(
            "label.toggle.turnsonly",
            {},
            el("input", {
              type: "checkbox",
              checked: shared.show[what],
              onchange: (e) => {
                shared.show[what] = e.target.checked;
                panes.forEach((p) => p.redraw());
              },
            }),
            label,
          )
        : null;
    const same = list.rows
      .map(([player, s, score, reason, turns, failed, file]) => ({
        player,
        sample: s,
        score,
        reason,
        turns,
        failed,
        file,
      }))
      .filter((r) => r.sample === row.sample);
    const chooser = el(
      "select",
      {
        "aria-label": "compare with",
        onchange: () => {
          const picked = same.find((r) => String(r.player) === chooser.value) || null;
          location.hash = visenv.episodes.link(block, list, row, at === last ? "end" : at, picked);
        },
      },
      el("option", { value: "" }, "nobody"),
      same
        .filter((r) => r !== row && r.player !== row.player)
        .map((r) =>
          el(
            "option",
            { value: r.player, selected: Boolean(other) && other.player === r.player },
            visenv.episodes.playerName(list, r.player),
          ),
        ),
    );

    const page = el(
      "main.replay",
      {},
      asked
        ? el("p.eyebrow", {}, "visenv ask")
        : el(
            "nav.crumbs",
            { "aria-label": "Where this is" },
            el("a", { href: "#/" }, "All tasks"),
            " / ",
            el("a", { href: visenv.board.taskLink(block) }, shorten(visenv.board.blockTitle(block), 60)),
            " / ",
            el("bdi", {}, brief(episode.sample, 80)),
            neighbours(block, list, row),
          ),
      el(
        "header.question",
        {},
        question ? instruction(question.instruction) : el("h1.soft", {}, "The question is not available"),
        sample.file
          ? null
          : el(
              "p.soft",
              {},
              `${brief(sample.why || "", 200)}. The run holds what the agent did, not what it was asked.`,
            ),
      ),
      asked
        ? null
        : el(
            "div.agents",
            { role: "group", "aria-label": "The agents on this sample" },
            same.map((r) =>
              el(
                "a.chip",
                {
                  href: visenv.episodes.link(block, list, r, at === last ? "end" : 0),
                  "aria-current": r.player === row.player ? "true" : null,
                },
                named(list.players[r.player][1], 28),
                visenv.index.runs.length > 1
                  ? el("span.run", {}, visenv.board.runName(list.players[r.player][0], 20))
                  : null,
                el("b", {}, r.failed ? "failed" : number(r.score, 2)),
              ),
            ),
          ),
      el(
        "div.controls",
        {},
        el("div.turns", {}, previous, slider, next, end, where),
        el(
          "div.toggles",
          {},
          toggle("masks", "masks"),
          toggle("boxes", "boxes"),
          toggle("labels", "labels"),
          toggle("truth", "truth", Boolean(truth) && question.masks.length + question.boxes.length > 0),
          same.length > 1 ? el("label.toggle", {}, "compare with", chooser) : null,
        ),
      ),
      el(
        `div.panes${other ? ".two" : ""}`,
        {},
        panes.map((p) => p.element),
      ),
      asked ? settings(asked.settings) : null,
    );
    current = { key, page, go, move: (by) => move(by === "start" ? 0 : by === "end" ? last : at + by) };
    go(wanted.turn);
    document.title = asked
      ? `${brief(question.instruction, 60)} \u2013 visenv ask`
      : `${name(episode.agent, 40)} on ${brief(episode.sample, 60)} \u2013 visenv report`;
    return page;
  }

  /** The first line as a title, the others (the options, mostly) below it. */
  function instruction(text) {
    const [first, ...others] = text.split("\n");
    return [
      box(first, { limit: 400, tag: "h1.box" }),
      others.length ? box(others.join("\n"), { limit: 800, tag: "div.box.inline.options" }) : null,
    ];
  }

  /** Links to the same agent's episodes on the samples before and after. */
  function neighbours(block, list, row) {
    const mine = list.rows.map(([player, sample]) => ({ player, sample })).filter((r) => r.player === row.player);
    const i = mine.findIndex((r) => r.sample === row.sample);
    const to = (r, text, label) =>
      r
        ? el("a", { href: visenv.episodes.link(block, list, r), "aria-label": label, title: label }, text)
        : el("span.soft", { "aria-hidden": "true" }, text);
    return el(
      "span.neighbours",
      {},
      to(mine[i - 1], "\u2039 previous sample", "The same agent on the previous sample"),
      to(mine[i + 1], "next sample \u203a", "The same agent on the next sample"),
    );
  }

  function heading(list, row, episode) {
    const { costs: c } = episode;
    const run = list.players[row.player][0];
    return el(
      "div.title",
      {},
      el("h2", {}, named(episode.agent, 60)),
      visenv.index.runs.length > 1 ? el("span.run", {}, visenv.board.runName(run, 30)) : null,
      visenv.index.asked ? null : visenv.board.seal(run),
      episode.failed
        ? el("b.bad", {}, "failed")
        : visenv.index.asked
          ? null
          : el("b.scorevalue", { title: `by ${brief(episode.profile, 60)}` }, number(episode.score, 3)),
      el(
        "span.soft",
        {},
        `${brief(episode.reason, 40).replaceAll("_", " ")} \u00b7 ${many(c.turns, "turn")} \u00b7 ${c.visual_tokens.toLocaleString("en")} visual tokens`,
      ),
    );
  }

  function settings(pairs) {
    return el(
      "details.settings",
      {},
      el("summary", {}, "Everything that was set"),
      el(
        "dl",
        {},
        pairs.map(([key, value]) => [
          el("dt", {}, brief(key, 60)),
          el("dd", { dir: "auto" }, visible(String(value).slice(0, 3000))),
        ]),
      ),
    );
  }

  document.addEventListener("keydown", (event) => {
    if (!current || !current.page.isConnected || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest && event.target.closest("input:not([type=checkbox]), select, .scroll")) return;
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: "start", End: "end" }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    current.move(by);
  });

  return { render };
})();
