"use strict";
// One episode at one turn: what is in view, the call, what came back, the objects; at the end, the answer beside the
// truth.

visenv.pane = (() => {
  const { el, quote, box, brief, number, many, visible } = visenv.text;
  const BUDGET = 2 ** 25; // pixels of masks that are decoded for one turn: a record can name more than a browser holds
  const SHOWN = 200; // rows of an object table, and truths named, before a button asks for more

  /** Makes the pane of an episode. shared: {show: toggles}. Returns {element, last, go(turn), redraw()}. */
  function make(episode, truth, title, shared) {
    const element = el("section.pane", { "aria-label": `Episode of ${visenv.text.name(episode.agent, 60)}` });
    let shapes = new Map(),
      purse = { left: BUDGET };
    const last = episode.turns.length + 1;
    const final = { answer: true, truth: true }; // what the last picture shows
    let views = [],
      rows = new Map(),
      at = -1;

    function shapeOf(place) {
      if (!shapes.has(place))
        shapes.set(place, visenv.view.shape(episode.objects[place].mask, episode.objects[place].box, purse));
      return shapes.get(place);
    }
    const known = !truth || truth.known; // false where a person asked something of their own: nothing is scored
    const truthShapes = truth && known ? truthShapesOf(truth) : [];
    const trouble = el("p.bad", { role: "alert", hidden: true });

    function go(turn) {
      at = Math.min(turn, last);
      views = [];
      rows = new Map();
      if (purse.left < BUDGET / 2) {
        // masks of other turns make room
        shapes = new Map();
        purse = { left: BUDGET };
      }
      trouble.hidden = true;
      try {
        element.replaceChildren(title, trouble, at === last ? ending() : step());
      } catch (error) {
        // a record that holds what no run writes: the place is kept, and what went wrong is said
        views = [];
        element.replaceChildren(title, trouble);
        tell(`This turn cannot be shown: ${brief(error.message, 200)}.`);
      }
      redraw();
    }

    function tell(text) {
      trouble.textContent = text;
      trouble.hidden = false;
    }

    function redraw() {
      try {
        for (const { view, items } of views) view.set(items(), shared.show);
      } catch (error) {
        tell(`What was found cannot be drawn: ${brief(error.message, 200)}.`);
        return;
      }
      const lost = [...shapes.values()].filter((s) => s.broken).length;
      if (lost && trouble.hidden !== false)
        tell(
          `${many(lost, "mask")} not drawn, only boxes: no mask, or together more than the ${(BUDGET / 1e6).toFixed(0)} million pixels that are drawn at a time.`,
        );
    }

    function point(id) {
      for (const { view } of views) view.point(id);
      for (const [key, row] of rows) row.classList.toggle("pointed", key === id);
    }

    function step() {
      const turn = at ? episode.turns[at - 1] : null;
      const visible_ = turn ? turn.visible : episode.start;
      const archived = episode.images
        .map((image, i) => [image, i])
        .filter(([image, i]) => image.born <= at && !visible_.includes(i));
      return el(
        "div.body",
        {},
        el(
          "div.seen",
          {},
          el("h3", {}, at ? "In view after this turn" : "In view at the start"),
          gallery(visible_, turn),
          el("h3", {}, "In the archive"),
          archived.length
            ? el(
                "ul.archive",
                {},
                archived
                  .slice(0, SHOWN)
                  .map(([image]) =>
                    el(
                      "li",
                      { title: visible(image.origin).slice(0, 300) },
                      el("bdi.name", {}, brief(image.name, 40)),
                      el("span.soft", {}, ` ${image.size.join("\u00d7")}, ${brief(image.origin, 60)}`),
                    ),
                  ),
                archived.length > SHOWN ? el("li.soft", {}, `and ${archived.length - SHOWN} more`) : null,
              )
            : el("p.soft", {}, "Nothing: every image so far is in view."),
        ),
        el(
          "div.told",
          {},
          turn
            ? call(turn)
            : el("p.soft", {}, "Before the first call. The agent has read the instruction and sees these images."),
          objects(turn ? turn.objects : []),
        ),
      );
    }

    function gallery(places, turn) {
      if (!episode.images.length)
        return el(
          "p.empty",
          {},
          episode.failed
            ? "No pictures: the episode failed before it was played, or nothing of it was kept."
            : "No images are recorded for this episode.",
        );
      if (!places.length) return el("p.empty", {}, "No image is in view: the memory policy archived them all.");
      const made = [...new Set(places)].filter((p) => episode.images[p]).map((place) => figure(place, turn));
      return el(`div.gallery.n${Math.min(made.length, 5)}`, {}, made);
    }

    function figure(place, turn, { items = null, notes = [] } = {}) {
      const image = episode.images[place];
      const origin = image.live ? episode.images[image.parent] || image : image; // a picture of results shows its parent
      const source = episode.images[image.source];
      const file = image.live ? origin.file : image.file;
      const said = [...notes];
      if (turn && turn.shown.includes(place)) said.push("new");
      if (image.live)
        said.push({
          text: "results drawn live",
          title: "The agent saw this picture with the results drawn in; they are drawn here from the record.",
        });
      if (!file && !(image.live ? origin : image).stored && source && source.file && !(image.overlay && !image.live))
        said.push({ text: "redrawn", title: "This view was not stored: it is drawn from its source." });
      const nothing = !file && !(source && source.file);
      if (nothing)
        said.push({
          text: `picture not available: ${brief((source && source.why) || image.why || "not stored", 160)}`,
        });
      else if (image.overlay && !image.live && !image.file) said.push({ text: `results not shown: ${image.why}` });
      const view = visenv.view.make(
        {
          name: image.name,
          size: image.size,
          to_source: image.to_source,
          file,
          source: source && source.file ? source : null,
          notes: said,
          alt: `${brief(image.name, 40)}: ${brief(image.origin, 80)}`,
        },
        { onpoint: point },
      );
      views.push({ view, items: items || (() => drawn(place, turn)) });
      view.figure.querySelector("figcaption").title = visible(image.origin).slice(0, 300);
      return view.figure;
    }

    /** What is drawn on an image: the objects of its source, and the truth if it lies there. */
    function drawn(place, turn) {
      const image = episode.images[place];
      let places = turn ? turn.objects : [];
      const now = new Set(places),
        items = [];
      if (image.overlay) {
        if (!image.live) return []; // it is shown as the agent saw it
        places = image.draws;
        if (image.origin.startsWith("patches of ")) {
          episode.images.forEach((other, i) => {
            if (other.parent === image.parent && !other.overlay && other.born === image.born && i < place)
              items.push(visenv.view.patch(other, shortName(other, episode.images[image.parent])));
          });
          if (items.length) places = [];
        }
      }
      for (const p of places) {
        const o = episode.objects[p];
        if (!o || o.image !== image.source) continue;
        const colour = visenv.view.colourOf(o.id);
        const id = !image.overlay || now.has(p) ? o.id : `${o.id} of ${place}`; // numbered anew on the picture: none of the table
        items.push({
          kind: "object",
          id,
          shape: shapeOf(p),
          colour,
          fill: 0.35,
          line: 1.5,
          tag: String(o.id),
          label: o.label,
          points: o.points.length ? o.points : null,
        });
      }
      if (image.source === 0)
        items.push(
          ...truthShapes.map((shape) => ({
            kind: "truth",
            shape,
            colour: visenv.view.TRUTH,
            line: 2,
            rim: truthShapes.length > 60 ? 0 : 4,
          })),
        );
      return items;
    }

    function call(turn) {
      const parts = [el("h3", {}, "Call")];
      if (turn.call) {
        const entries = Object.entries(turn.call.arguments || {});
        parts.push(
          el(
            turn.error ? "div.call.bad" : "div.call",
            {},
            el("bdi.verb", {}, brief(turn.call.name, 60)),
            turn.error ? el("span.bad", {}, brief(turn.error, 60).replaceAll("_", " "), " ") : null,
            entries.length
              ? el(
                  "dl",
                  {},
                  entries
                    .slice(0, 40)
                    .map(([key, value]) => [
                      el("dt", {}, brief(key, 40)),
                      el("dd", {}, box(visenv.answer.plainValue(value), { limit: 400, tag: "div.box.inline" })),
                    ]),
                )
              : el("span.soft", {}, "no arguments"),
          ),
        );
      } else {
        parts.push(
          el(
            "div.call.bad",
            {},
            el("bdi.verb", {}, "no valid call"),
            el("span.bad", {}, brief(turn.error || "", 60).replaceAll("_", " ")),
          ),
        );
      }
      if (turn.reply !== null && turn.reply !== undefined) {
        const wrote = box(turn.reply, { limit: 800 });
        parts.push(
          turn.call
            ? el(
                "details",
                {},
                el("summary", {}, `What the agent wrote, ${many(turn.reply.length, "character")}`),
                wrote,
              )
            : wrote,
        );
      }
      parts.push(
        el("h3", {}, turn.error ? "Told" : "Came back"),
        turn.feedback ? box(turn.feedback) : el("p.soft", {}, "Nothing."),
      );
      const terms = turn.terms.map(([name, value]) => `${brief(name, 24)} ${number(value, 3)}`).join(", ");
      parts.push(
        el(
          "p.soft.cost",
          {},
          `${turn.tokens.toLocaleString("en")} visual tokens in the prompt`,
          turn.reward || terms ? ` \u00b7 reward ${number(turn.reward, 3)}${terms ? ` (${terms})` : ""}` : "",
        ),
      );
      return parts;
    }

    function objects(places) {
      const found = places.map((p) => episode.objects[p]).filter(Boolean);
      if (!found.length) return [el("h3", {}, "Objects"), el("p.soft", {}, "None.")];
      const body = el("tbody");
      let limit = SHOWN;
      const sources = new Set(found.map((o) => o.image)).size > 1;
      const line = (o) => {
        const swatch = el("i.swatch");
        swatch.style.setProperty("--colour", `rgb(${visenv.view.colourOf(o.id)})`);
        const area = o.mask ? visenv.rle.area(o.mask) : (o.box[2] - o.box[0]) * (o.box[3] - o.box[1]);
        const row = el(
          "tr",
          {
            tabindex: "0",
            onpointerenter: () => point(o.id),
            onpointerleave: () => point(null),
            onfocus: () => point(o.id),
            onblur: () => point(null),
          },
          el("td.numeric", {}, swatch, String(o.id)),
          el("td", {}, quote(o.label, 60)),
          el("td.numeric", {}, number(o.score, 2)),
          el(
            "td.numeric",
            {},
            o.unfit
              ? "mask does not fit its image"
              : area === null
                ? "not readable"
                : Math.round(area).toLocaleString("en") + (o.mask ? "" : " (box)"),
          ),
          sources ? el("td", {}, episode.images[o.image] ? brief(episode.images[o.image].name, 30) : "") : null,
        );
        rows.set(o.id, row);
        return row;
      };
      const more = el("button.more", {
        type: "button",
        onclick: () => {
          limit = Infinity;
          fill();
        },
      });
      const fill = () => {
        body.replaceChildren(...found.slice(0, limit).map(line));
        more.hidden = found.length <= limit;
        more.textContent = `show all ${many(found.length, "object")}`;
      };
      fill();
      return [
        el("h3", {}, `Objects, ${found.length}`),
        el(
          "div.scroll.objects",
          { tabindex: "0", role: "region", "aria-label": "Objects" },
          el(
            "table",
            {},
            el(
              "thead",
              {},
              el(
                "tr",
                {},
                el("th.numeric", { scope: "col" }, "id"),
                el("th", { scope: "col" }, "label"),
                el("th.numeric", { scope: "col" }, "score"),
                el("th.numeric", { scope: "col" }, "area px"),
                sources ? el("th", { scope: "col" }, "on") : null,
              ),
            ),
            body,
          ),
        ),
        more,
      ];
    }

    function ending() {
      const { answer } = episode;
      const masks = answer ? answer.masks : [],
        boxes = answer ? answer.boxes_xyxy : [];
      const number_ = Math.max(masks.length, boxes.length);
      const answered = Array.from({ length: number_ }, (_, i) =>
        visenv.view.shape(masks[i] || null, masks[i] && known ? null : boxes[i] || null, purse),
      );
      const lost = answered.filter((s) => s.broken).length;
      const items = () => [
        ...(final.answer ? answered : []).map((shape, i) => ({
          kind: "answer",
          tag: known ? null : String(i + 1),
          shape,
          colour: visenv.view.ANSWER,
          fill: 0.45,
          line: 2,
          rim: 0,
        })),
        ...(final.truth ? truthShapes : []).map((shape) => ({
          kind: "final",
          shape,
          colour: visenv.view.TRUTH,
          line: 2.5,
          rim: truthShapes.length > 60 ? 0 : 4.5,
        })),
      ];
      const originals = episode.images
        .map((image, i) => [image, i])
        .filter(([image, i]) => image.source === i && !image.overlay);
      const drawnOn = (place) => (place === 0 ? { items } : { items: () => [] });
      const pictures = originals.length
        ? el(
            `div.gallery.n${Math.min(originals.length, 5)}`,
            {},
            originals.map(([, place]) => figure(place, null, drawnOn(place))),
          )
        : el("p.empty", {}, "No pictures: the episode failed before it was played.");
      const key = (name, some) =>
        some
          ? el(
              `label.key.${name}`,
              {},
              el("input", {
                type: "checkbox",
                checked: final[name],
                onchange: (e) => {
                  final[name] = e.target.checked;
                  redraw();
                },
              }),
              name,
            )
          : null;
      const legend = el("p.legend", {}, key("answer", number_), key("truth", truthShapes.length));
      return el(
        "div.body",
        {},
        el(
          "div.seen",
          {},
          el("div.finalhead", {}, el("h3", {}, known ? "Answer and truth" : number_ ? "What was submitted" : "What was asked about"), number_ || truthShapes.length ? legend : null),
          pictures,
        ),
        el(
          "div.told",
          {},
          el("h3", {}, "Answer"),
          el("p.big", {}, visenv.answer.words(answer, truth)),
          episode.unfit ? el("p.bad", {}, brief(episode.unfit, 200)) : null,
          lost
            ? el(
                "p.bad",
                {},
                `${many(lost, "mask")} of the answer not drawn: together more than the ${(BUDGET / 1e6).toFixed(0)} million pixels that are drawn at a time.`,
              )
            : null,
          known ? visenv.answer.scored(episode, truth) : visenv.answer.submitted(episode),
          episode.failure ? [el("h3", {}, "What failed"), box(episode.failure)] : null,
          episode.row ? [el("h3", {}, "The score as recorded"), visenv.answer.rowList(episode.row)] : null,
          episode.also
            .slice(0, 20)
            .map(([name, row]) => [el("h3", {}, `As recorded by ${brief(name, 60)}`), visenv.answer.rowList(row)]),
          visenv.answer.costs(episode, known),
        ),
      );
    }

    return {
      element,
      last,
      go,
      redraw,
      get at() {
        return at;
      },
    };
  }

  const truthShapesOf = (truth) =>
    truth.masks.length
      ? truth.masks.map((m, i) => visenv.view.shape(m, null))
      : truth.boxes.map((b) => visenv.view.shape(null, b));

  const shortName = (image, parent) =>
    parent && image.name.startsWith(`${parent.name}_`) ? image.name.slice(parent.name.length + 1) : image.name;

  return { make };
})();
