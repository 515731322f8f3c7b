"use strict";
// Addresses: #/ the tables, #/task/… the episodes of a task, #/episode/RUN/KEY/TURN a replay.

visenv.route = (() => {
  const { el, brief } = visenv.text;
  const page = document.getElementById("page");
  let latest = 0;

  // A name as part of an address. What no address can hold, half surrogates, is replaced.
  const whole = (text) =>
    String(text).toWellFormed ? String(text).toWellFormed() : String(text).replace(/\p{Cs}/gu, "\ufffd");
  const encode = (text) => encodeURIComponent(whole(text)).replaceAll("~", "%7E");
  const same = (name, wanted) => whole(name) === wanted;
  const blockKey = (b) => [b.task, b.version, b.split, b.level].map(encode).join("~");
  const findBlock = (key) => visenv.index.blocks.find((b) => blockKey(b) === key);

  function episodeOf(run, key) {
    const parts = key.split("~");
    if (parts.length !== 6) throw new Error("not the address of an episode");
    return {
      run: decodeURIComponent(run),
      block: parts.slice(0, 4).join("~"),
      index: Number(parts[4]),
      agent: decodeURIComponent(parts[5]),
    };
  }

  async function content() {
    const parts = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean);
    if (parts[0] === "task" && parts[1] && !visenv.index.asked) {
      const block = findBlock(parts[1]);
      if (!block) throw new Error("no such task in this site");
      const chosen =
        parts[2] === "agent"
          ? { run: decodeURIComponent(parts[3] || ""), agent: decodeURIComponent(parts[4] || "") }
          : null;
      return visenv.episodes.render(block, chosen);
    }
    if (parts[0] === "episode" && parts[2]) {
      const wanted = episodeOf(parts[1], parts[2]);
      wanted.turn = parts[3] === "end" ? "end" : Number(parts[3]) || 0;
      wanted.other = parts[4] === "with" && parts[6] ? episodeOf(parts[5], parts[6]) : null;
      const block = findBlock(wanted.block);
      if (!block) throw new Error("no such task in this site");
      return visenv.replay.render(block, wanted);
    }
    if (visenv.index.asked) return visenv.replay.render(visenv.index.blocks[0], visenv.index.asked.episode);
    return visenv.board.render();
  }

  async function go() {
    const mine = ++latest;
    let made;
    try {
      if (!visenv.index) throw new Error("the data of this site are missing");
      made = await content();
    } catch (error) {
      made = el(
        "main",
        {},
        el("nav.crumbs", {}, el("a", { href: "#/" }, visenv.index && visenv.index.asked ? "The answer" : "All tasks")),
        el("p.empty", { role: "alert" }, `This cannot be shown: ${brief(error.message, 200)}.`),
      );
    }
    if (mine !== latest || made === page.firstChild) return;
    const first = !page.firstChild;
    page.replaceChildren(made);
    if (!first) {
      window.scrollTo(0, 0);
      page.focus({ preventScroll: true });
    }
  }

  window.addEventListener("hashchange", go);
  queueMicrotask(go);
  return { encode, same, blockKey };
})();
