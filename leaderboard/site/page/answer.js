"use strict";
// The answer of an episode in words and numbers, beside the truth and the score, or by itself where nobody knows the truth.

visenv.answer = (() => {
  const { el, quote, box, brief, number, many } = visenv.text;
  const SHOWN = 200; // objects that are listed one by one

  /** The truth and the score, as far as they are known. */
  function scored(episode, truth) {
    return [
      el("h3", {}, "Truth"),
      el("p.big", {}, truth ? truthWords(truth) : "not available"),
      truth
        ? null
        : el(
            "p.soft",
            {},
            episode.same_truth
              ? brief(episode.why || "the sample could not be made again", 200)
              : "the episode was played on another truth than the one the task gives now",
          ),
      el("h3", {}, "Score"),
      episode.score === null ? el("p.big.bad", {}, "none") : el("p.big", {}, number(episode.score, 3)),
      el("p.soft", {}, `by ${brief(episode.profile, 60)}; ended: ${brief(episode.reason, 40).replaceAll("_", " ")}`),
    ];
  }

  /** What was submitted, object by object: nobody knows the truth, so there is nothing to set it against. */
  function submitted({ answer, reason }) {
    const ended = answer ? null : el("p.soft", {}, `ended: ${brief(reason, 40).replaceAll("_", " ")}`);
    const boxes = answer ? answer.boxes_xyxy : [];
    if (!boxes.length) return [ended];
    const line = (corners, i) => {
      const area = answer.masks[i] ? visenv.rle.area(answer.masks[i]) : null;
      return el(
        "tr",
        {},
        el("td.numeric", {}, String(i + 1)),
        el("td", {}, quote(answer.labels[i] || "object", 60)),
        el("td", {}, corners.map((v) => Math.round(v)).join(", ")),
        el("td.numeric", {}, area === null ? "" : area.toLocaleString("en")),
      );
    };
    const heads = [
      ["th.numeric", "no."],
      ["th", "label"],
      ["th", "box, px"],
      ["th.numeric", "mask px"],
    ];
    return [
      el(
        "div.scroll.objects",
        { tabindex: "0", role: "region", "aria-label": "Submitted objects" },
        el(
          "table",
          {},
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              heads.map(([tag, text]) => el(tag, { scope: "col" }, text)),
            ),
          ),
          el("tbody", {}, boxes.slice(0, SHOWN).map(line)),
        ),
      ),
      boxes.length > SHOWN ? el("p.soft", {}, `and ${boxes.length - SHOWN} more`) : null,
    ];
  }

  const rowList = (row) =>
    el(
      "dl.row",
      {},
      Object.entries(row)
        .slice(0, 60)
        .map(([key, value]) => [
          el("dt", {}, brief(key, 40)),
          el("dd", {}, box(plainValue(value), { limit: 160, tag: "div.box.inline" })),
        ]),
    );

  function costs({ costs: c, measured, reward, seed, attempts }, known) {
    const lines = [
      ["turns", c.turns],
      ["tool calls", c.tool_calls],
      ["invalid calls", c.invalid_calls],
      ["visual tokens", c.visual_tokens],
      ["largest prompt", c.max_visual_tokens],
      ["reward", known ? reward : null],
      ["seconds", measured.seconds],
      ["peak memory, MiB", measured.peak_memory_mib],
      ["seed", seed],
      ["attempts", known ? attempts : null],
      ...Object.entries(measured)
        .filter(([key]) => key !== "seconds" && key !== "peak_memory_mib")
        .slice(0, 20)
        .map(([key, value]) => [brief(key, 40).replaceAll("_", " "), value]),
    ];
    return [
      el("h3", {}, "Costs"),
      el(
        "dl.row",
        {},
        lines
          .filter(([, v]) => v !== undefined && v !== null)
          .map(([k, v]) => [
            el("dt", {}, k),
            el("dd", {}, k === "seed" ? String(v) : number(v, Number.isInteger(v) ? 0 : 3)),
          ]),
      ),
    ];
  }

  function words(answer, truth) {
    if (!answer) return "none given";
    if (answer.no_target) return "nothing matches";
    if (answer.choice !== null) return quote(answer.choice, 200);
    const count = answer.count !== null ? answer.count : answer.boxes_xyxy.length || answer.masks.length;
    return truth && truth.kind === "count" ? String(count) : many(count, "object");
  }

  function truthWords(truth) {
    if (truth.kind === "choice") return quote(truth.choice || "", 200);
    if (truth.no_target) return "nothing matches";
    const count = truth.boxes.length || truth.masks.length;
    return truth.kind === "count" ? String(count) : many(count, "object");
  }

  function plainValue(value) {
    if (typeof value === "string") return value;
    if (Array.isArray(value) && value.every((v) => typeof v !== "object"))
      return value.map(String).join(", ") || "none";
    return JSON.stringify(value);
  }

  return { scored, submitted, rowList, costs, words, plainValue };
})();
