"use strict";
// Putting text on the page. All text of agents, experts and data sets goes through here, and only ever becomes text
// nodes.

const visenv = {};

visenv.text = (() => {
  const CHUNK = 20000; // characters per block of a long text, so that the browser lays out only what is in view

  // Characters that change how others look or that cannot be seen. What belongs to an emoji is left alone.
  const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Default_Ignorable_Code_Point}\u2028\u2029\u2800]/gu;
  const SPACES = /(?![ \u2028\u2029])\p{Zs}/gu; // look like a space and are none: told apart in names

  function mark(found) {
    const code = found.codePointAt(0);
    if (found === "\n" || found === "\t") return found;
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    if (code === 0x7f) return "\u2421";
    return `\u2039U+${code.toString(16).toUpperCase().padStart(4, "0")}\u203a`;
  }

  /** Returns a text with every control, format and half character shown as a visible mark. */
  function visible(text) {
    return String(text).replace(HIDDEN, (found, at, whole) => {
      if (found === "\u200d" && isEmojiJoiner(whole, at)) return found;
      if (found === "\ufe0f" && (/\p{Extended_Pictographic}/u.test(before(whole, at)) || whole[at + 1] === "\u20e3"))
        return found; // shown as a picture
      return mark(found);
    });
  }

  function isEmojiJoiner(whole, at) {
    const after = String.fromCodePoint(whole.codePointAt(at + 1) || 0);
    return (
      /\p{Extended_Pictographic}/u.test(after) && /[\p{Extended_Pictographic}\p{EMod}\uFE0F]/u.test(before(whole, at))
    );
  }

  /** Returns the character before a place, surrogates paired. */
  function before(whole, at) {
    const low = whole.charCodeAt(at - 1);
    const start = low >= 0xdc00 && low <= 0xdfff ? at - 2 : at - 1;
    return String.fromCodePoint(whole.codePointAt(Math.max(0, start)) || 0);
  }

  /** Returns a short text on one line. */
  function brief(text, limit = 80) {
    const line = visible(String(text).slice(0, 4 * limit))
      .replace(/\s+/g, " ")
      .trim();
    const letters = Array.from(line);
    return letters.length <= limit && String(text).length <= 4 * limit
      ? line
      : letters.slice(0, limit - 1).join("") + "\u2026";
  }

  /** Returns a short text on one line, cut in the middle: names with options differ at their ends. */
  function shorten(text, limit = 60) {
    const whole = String(text);
    const ends = whole.length > 8 * limit ? whole.slice(0, 4 * limit) + whole.slice(-4 * limit) : whole;
    const letters = Array.from(brief(ends, 100 * limit));
    if (letters.length <= limit && ends === whole) return letters.join("");
    const tail = Math.floor((limit - 1) / 2);
    return letters.slice(0, limit - 1 - tail).join("") + "\u2026" + letters.slice(-tail).join("");
  }

  /** Returns a name on one line; whatever tells it from another name can be seen, spaces at its ends too. */
  function name(text, limit = 60) {
    const shown = visible(String(text).slice(0, 4 * limit))
      .replace(SPACES, mark)
      .replace(/[\u200d\ufe0f]/g, mark)
      .replace(/[\n\t]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)));
    return brief(
      shown.replace(/^ +| +$| {2,}/g, (spaces) => "\u2423".repeat(spaces.length)),
      limit,
    );
  }

  /** Makes an element for a name. */
  function named(text, limit = 60) {
    const made = el("bdi.quote", { dir: "auto" }, name(text, limit));
    if (String(text).length > limit) made.title = name(String(text).slice(0, 600), 600);
    return made;
  }

  /** Makes an element. Attributes are set as such, `on…` as listeners; children are nodes or text, never markup. */
  function el(tag, attributes = {}, ...children) {
    const [name, ...classes] = tag.split(".");
    const made = document.createElement(name || "div");
    if (classes.length) made.className = classes.join(" ");
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (typeof value === "function") made.addEventListener(key.slice(2), value);
      else made.setAttribute(key, value === true ? "" : String(value));
    }
    made.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
    return made;
  }

  /** Makes an element for a short text of somebody else: one line, isolated from the direction of what is around it. */
  function quote(text, limit = 80, tag = "bdi.quote") {
    const made = el(tag, { dir: "auto" }, brief(text, limit));
    if (String(text).length > limit) made.title = visible(String(text).slice(0, 600));
    return made;
  }

  /** Makes a box for a text of any length: the beginning, and a button that shows the rest in place. */
  function box(text, { limit = 1200, tag = "div.box" } = {}) {
    const whole = String(text);
    const made = el(tag, { dir: "auto" });
    const body = el("span.said", {}, visible(cutAt(whole, limit)));
    made.append(body);
    if (whole.length <= limit) return made;
    const button = el(
      "button.more",
      { type: "button", "aria-expanded": "false" },
      `show all ${whole.length.toLocaleString("en")} characters`,
    );
    let open = false;
    button.addEventListener("click", () => {
      open = !open;
      button.textContent = open ? "show less" : `show all ${whole.length.toLocaleString("en")} characters`;
      button.setAttribute("aria-expanded", String(open));
      body.replaceChildren();
      made.classList.toggle("long", open);
      if (open) append(body, whole, 0, () => open);
      else body.append(visible(cutAt(whole, limit)));
    });
    made.append(button);
    return made;
  }

  function append(body, whole, from, wanted) {
    if (from >= whole.length || !wanted()) return;
    const piece = cutAt(whole.slice(from, from + CHUNK + 1), CHUNK);
    body.append(el("span.piece", {}, visible(piece)));
    requestAnimationFrame(() => append(body, whole, from + piece.length, wanted));
  }

  /** Cuts a text without tearing a pair of surrogates. */
  function cutAt(text, limit) {
    if (text.length <= limit) return text;
    const cut = text.slice(0, limit);
    return /[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut;
  }

  const number = (value, digits) =>
    value === null || value === undefined
      ? "\u2013"
      : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const many = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;

  /** Marks a box whose content scrolls sideways with the sides on which there is more of it. */
  function edges(frame, scroller) {
    const tell = () => {
      frame.classList.toggle("moreleft", scroller.scrollLeft > 2);
      frame.classList.toggle("moreright", scroller.scrollLeft + scroller.clientWidth < scroller.scrollWidth - 2);
    };
    scroller.addEventListener("scroll", tell, { passive: true });
    const watch = new ResizeObserver(tell);
    watch.observe(scroller);
    if (scroller.firstElementChild) watch.observe(scroller.firstElementChild);
  }

  return { visible, brief, shorten, name, named, el, quote, box, number, many, edges };
})();
