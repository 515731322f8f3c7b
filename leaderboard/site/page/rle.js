"use strict";
// Masks: COCO run lengths, column by column, as text.

visenv.rle = (() => {
  const SIDE = 32768,
    PIXELS = 2 ** 26; // larger masks are not decoded: no picture of a run is, and the page must not freeze
  const RUNS = 2 ** 20,
    PIECES = 2 ** 21,
    EDGES = 60000; // nor more broken ones, nor are longer outlines drawn

  /** Returns the run lengths of a compressed code, background first, or null when it is not one. */
  function runs(counts) {
    const found = [];
    let value = 0,
      shift = 0;
    for (let i = 0; i < counts.length; i++) {
      const chunk = counts.charCodeAt(i) - 48;
      if (chunk < 0 || chunk > 63 || shift > 35) return null;
      value += (chunk & 0x1f) * 2 ** shift;
      shift += 5;
      if (chunk & 0x20) continue;
      if (chunk & 0x10) value -= 2 ** shift;
      if (found.length > 2) value += found[found.length - 2];
      if (value < 0) return null;
      found.push(value);
      if (found.length > RUNS) return null;
      value = shift = 0;
    }
    return shift ? null : found;
  }

  /**
   * Decodes {size: [height, width], counts} into {x, y, w, h, bits, area}: the mask inside its own box, row by row.
   * Returns null for what is no mask; a mask without pixels has no width. `allows(w * h)` is asked before memory is
   * taken.
   */
  function decode(mask, allows = () => true) {
    if (!mask || !Array.isArray(mask.size) || typeof mask.counts !== "string") return null;
    const [height, width] = mask.size;
    if (!Number.isInteger(height) || !Number.isInteger(width) || height < 1 || width < 1) return null;
    if (height > SIDE || width > SIDE || height * width > PIXELS) return null;
    const lengths = runs(mask.counts);
    if (!lengths || lengths.reduce((a, b) => a + b, 0) !== height * width) return null;
    const pieces = []; // column, first row, end row
    let at = 0,
      area = 0,
      x1 = width,
      y1 = height,
      x2 = 0,
      y2 = 0;
    lengths.forEach((length, i) => {
      const end = at + length;
      if (i % 2) {
        area += length;
        for (let p = at; p < end;) {
          const x = Math.floor(p / height),
            top = p - x * height;
          const bottom = Math.min(height, top + end - p);
          pieces.push(x, top, bottom);
          if (pieces.length > 3 * PIECES) return;
          if (x < x1) x1 = x;
          if (x >= x2) x2 = x + 1;
          if (top < y1) y1 = top;
          if (bottom > y2) y2 = bottom;
          p += bottom - top;
        }
      }
      at = end;
    });
    if (!area) return { x: 0, y: 0, w: 0, h: 0, bits: new Uint8Array(0), area: 0 };
    const w = x2 - x1,
      h = y2 - y1;
    if (pieces.length > 3 * PIECES || !allows(w * h)) return null;
    const bits = new Uint8Array(w * h);
    for (let i = 0; i < pieces.length; i += 3) {
      for (let y = pieces[i + 1] - y1, p = y * w + pieces[i] - x1; y < pieces[i + 2] - y1; y++, p += w) bits[p] = 1;
    }
    return { x: x1, y: y1, w, h, bits, area };
  }

  /** Returns the outline of a decoded mask along the edges of its pixels, in pixels of its picture, as far as it is drawn. */
  function outline({ x, y, w, h, bits }) {
    const path = new Path2D();
    let edges = 0;
    const on = (cx, cy) => cx >= 0 && cy >= 0 && cx < w && cy < h && bits[cy * w + cx] === 1;
    for (let cy = 0; cy <= h; cy++) {
      for (let cx = 0; cx < w;) {
        const start = cx;
        while (cx < w && on(cx, cy - 1) !== on(cx, cy)) cx++;
        if (cx > start) {
          if (++edges > EDGES) return path;
          path.moveTo(x + start, y + cy);
          path.lineTo(x + cx, y + cy);
        } else cx++;
      }
    }
    for (let cx = 0; cx <= w; cx++) {
      for (let cy = 0; cy < h;) {
        const start = cy;
        while (cy < h && on(cx - 1, cy) !== on(cx, cy)) cy++;
        if (cy > start) {
          if (++edges > EDGES) return path;
          path.moveTo(x + cx, y + start);
          path.lineTo(x + cx, y + cy);
        } else cy++;
      }
    }
    return path;
  }

  /** Returns the number of pixels of a mask without decoding it. */
  function area(mask) {
    const lengths = mask && typeof mask.counts === "string" ? runs(mask.counts) : null;
    return lengths ? lengths.reduce((sum, length, i) => sum + (i % 2 ? length : 0), 0) : null;
  }

  return { runs, decode, outline, area };
})();
