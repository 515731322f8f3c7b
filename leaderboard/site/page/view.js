"use strict";
// One picture with what was found on it: the picture, a canvas of masks, boxes and names, and a canvas for what is
// pointed at.

visenv.view = (() => {
  const { el, brief } = visenv.text;
  const COLOURS = [
    "230 25 75",
    "0 130 200",
    "245 130 48",
    "145 30 180",
    "0 150 110",
    "240 50 230",
    "128 100 0",
    "0 0 160",
    "170 20 20",
    "0 110 110",
  ];
  const TRUTH = "34 160 72",
    ANSWER = "219 39 119";
  const FEW = 12; // objects on a picture up to which their names are written, not only their numbers

  const colourOf = (id) => COLOURS[((id % COLOURS.length) + COLOURS.length) % COLOURS.length];

  /**
   * What is drawn for a mask or box: decoded once, in pixels of its source picture.
   * purse: {left}, the pixels that may still be decoded; what it does not pay for is drawn as its box.
   */
  function shape(mask, box, purse = { left: Infinity }) {
    const decoded = mask
      ? visenv.rle.decode(mask, (pixels) => {
          if (pixels > purse.left) return false;
          purse.left -= pixels;
          return true;
        })
      : null;
    return {
      box,
      decoded,
      broken: Boolean(mask) && !decoded,
      tints: new Map(),
      get path() {
        return decoded && (this._path ??= visenv.rle.outline(decoded));
      },
    };
  }

  /** Returns a mask's pixels as a small picture of one colour. */
  function tint(found, colour) {
    if (!found.tints.has(colour)) {
      const { w, h, bits } = found.decoded;
      const canvas = document.createElement("canvas");
      canvas.width = w;
      canvas.height = h;
      const pixels = new ImageData(w, h);
      const [r, g, b] = colour.split(" ").map(Number);
      const words = new Uint32Array(pixels.data.buffer);
      const colouredPixel = new Uint32Array(new Uint8Array([r, g, b, 255]).buffer)[0];
      for (let i = 0; i < bits.length; i++) if (bits[i]) words[i] = colouredPixel;
      canvas.getContext("2d").putImageData(pixels, 0, 0);
      found.tints.set(colour, canvas);
    }
    return found.tints.get(colour);
  }

  /** Inverts a 2x3 affine map given row by row; null when it cannot be. */
  function invert([a, b, c, d, e, f]) {
    const det = a * e - b * d;
    if (!Number.isFinite(det) || Math.abs(det) < 1e-12) return null;
    return [e / det, -b / det, (b * f - c * e) / det, -d / det, a / det, (c * d - a * f) / det];
  }
  const map = ([a, b, c, d, e, f], x, y) => [a * x + b * y + c, d * x + e * y + f];
  const transform = ([a, b, c, d, e, f], scale) => [a * scale, d * scale, b * scale, e * scale, c * scale, f * scale];

  /**
   * Makes a figure.
   * image: {name, size: [w, h], to_source, file, source: {file, size} of the picture it is redrawn from, notes: [text], alt}
   */
  function make(image, { onpoint } = {}) {
    const [width, height] = image.size;
    const fromSource = invert(image.to_source) || [1, 0, 0, 0, 1, 0];
    const frame = el("div.frame");
    const ratio_ = width / height;
    frame.style.setProperty("--ratio", String(ratio_ > 0.05 && ratio_ < 20 ? ratio_ : 1)); // somebody's numbers
    const marks = el("canvas.marks"),
      pointed = el("canvas.pointed");
    const base = image.file
      ? el("img", {
          src: `images/${image.file}.jpg`,
          alt: image.alt,
          width,
          height,
          decoding: "async",
          draggable: "false",
        })
      : el("canvas.base", { role: "img", "aria-label": image.alt });
    let picture = null;
    if (!image.file && image.source && image.source.file) {
      picture = new Image();
      picture.onload = () => paint();
      picture.src = `images/${image.source.file}.jpg`;
    }
    frame.append(base, marks, pointed);
    const lost = () => {
      // somebody took the file away
      frame.classList.add("blank");
      base.classList.add("lost");
    };
    if (image.file) base.addEventListener("error", lost);
    if (picture) picture.onerror = lost;
    if (!image.file && !picture) frame.classList.add("blank");
    const figure = el(
      "figure",
      {},
      frame,
      el(
        "figcaption",
        {},
        el("bdi.name", {}, brief(image.name, 60)),
        el("span.size", {}, `${width}\u00d7${height}`),
        image.source ? inset(image) : null,
        image.notes.map((n) => el("span.note", n.title ? { title: n.title } : {}, n.text || n)),
      ),
    );
    let items = [],
      show = {},
      hot = null;

    function ready(canvas) {
      const ratio = Math.min(2, window.devicePixelRatio || 1);
      const w = Math.round(frame.clientWidth * ratio),
        h = Math.round(frame.clientHeight * ratio);
      if (canvas.width !== w) canvas.width = w;
      if (canvas.height !== h) canvas.height = h;
      const context = canvas.getContext("2d");
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, w, h);
      return [context, w / width, ratio];
    }

    function paint() {
      if (!frame.clientWidth) return;
      if (picture && picture.naturalWidth) {
        const [context, scale] = ready(base);
        context.imageSmoothingQuality = "high";
        context.setTransform(...transform(fromSource, scale));
        context.drawImage(picture, 0, 0, ...image.source.size);
      }
      const [context, scale, ratio] = ready(marks);
      const on = { context, fromSource, scale, ratio };
      for (const item of items) if (item.kind === "cell") cell(on, item);
      for (const item of items) if (item.kind !== "cell" && wanted(item)) draw(on, item);
      if (show.labels) for (const item of items) if (item.tag && wanted(item)) tag(on, item, items.length <= FEW);
      for (const item of items) if (item.points && wanted(item)) clicks(on, item);
      paintPointed();
    }

    function wanted(item) {
      return item.kind !== "truth" || show.truth;
    }

    function paintPointed() {
      const [context, scale, ratio] = ready(pointed);
      const item = items.find((i) => hot !== null && i.id === hot);
      if (!item) return;
      const on = { context, fromSource, scale, ratio };
      frameOf(on, item, "255 255 255", 5);
      frameOf(on, item, item.colour, 2.5);
      tag(on, item, true);
    }

    function draw(on, item) {
      const masks = item.kind === "object" ? show.masks : true;
      const { decoded } = item.shape;
      if (decoded && decoded.w && masks) {
        const { context } = on;
        if (item.fill) {
          context.setTransform(...transform(on.fromSource, on.scale));
          context.imageSmoothingEnabled = on.scale * Math.hypot(on.fromSource[0], on.fromSource[3]) < 1;
          context.globalAlpha = item.fill;
          context.drawImage(tint(item.shape, item.colour), decoded.x, decoded.y);
          context.globalAlpha = 1;
        }
        if (item.rim) stroke(on, item.shape.path, "255 255 255", item.rim);
        stroke(on, item.shape.path, item.colour, item.line);
      }
      if (item.shape.box && (item.kind === "object" ? show.boxes && !(decoded && masks) : !decoded)) {
        if (item.rim !== 0) stroke(on, corners(item.shape.box), "255 255 255", item.line + 2);
        stroke(on, corners(item.shape.box), item.colour, item.line);
      }
    }

    function frameOf(on, item, colour, line) {
      const { decoded, box, path } = item.shape;
      if (decoded && decoded.w) stroke(on, path, colour, line);
      else if (box) stroke(on, corners(box), colour, line);
    }

    // The figure's own state: what is drawn, and which object is pointed at.
    frame.addEventListener("pointermove", (event) => {
      if (!onpoint) return;
      const bounds = frame.getBoundingClientRect();
      const [x, y] = map(
        image.to_source,
        ((event.clientX - bounds.left) / bounds.width) * width,
        ((event.clientY - bounds.top) / bounds.height) * height,
      );
      onpoint(
        hit(
          items.filter((i) => i.kind === "object"),
          x,
          y,
        ),
      );
    });
    frame.addEventListener("pointerleave", () => onpoint && onpoint(null));
    new ResizeObserver(paint).observe(frame);

    return {
      figure,
      set(newItems, newShow) {
        items = newItems;
        show = newShow;
        paint();
      },
      point(id) {
        if (hot !== id) {
          hot = id;
          if (frame.clientWidth) paintPointed();
        }
      },
    };
  }

  /** A small map of where a view lies in the picture it was cut from; null when it shows all of it, or lies askew. */
  function inset({ size: [w, h], to_source, source }) {
    const [W, H] = source.size;
    const [a, b, , d, e] = to_source;
    if (((b || d) && (a || e)) || !source.file) return null;
    const [x1, y1] = map(to_source, 0, 0),
      [x2, y2] = map(to_source, w, h);
    const left = Math.min(x1, x2),
      right = Math.max(x1, x2),
      top = Math.min(y1, y2),
      bottom = Math.max(y1, y2);
    const area = (right - left) * (bottom - top);
    if (!(area > 0) || area > 0.9 * W * H) return null;
    const cut = (v) => `${Math.max(0, Math.min(100, 100 * v)).toFixed(2)}%`;
    const where = el("i.where"),
      made = el(
        "span.inset",
        {
          role: "img",
          "aria-label": "where it lies in its source",
          title: `where it lies in ${brief(source.name, 40)}`,
        },
        el("img", { src: `images/${source.file}.jpg`, alt: "" }),
        where,
      );
    made.style.setProperty("--ratio", String(Math.max(0.3, Math.min(4, W / H || 1))));
    for (const [side, v] of [
      ["left", left / W],
      ["top", top / H],
      ["right", 1 - right / W],
      ["bottom", 1 - bottom / H],
    ])
      where.style.setProperty(side, cut(v));
    return made;
  }

  function corners([x1, y1, x2, y2]) {
    const path = new Path2D();
    path.rect(x1, y1, x2 - x1, y2 - y1);
    return path;
  }

  function stroke({ context, fromSource, scale, ratio }, path, colour, line) {
    const moved = new Path2D();
    const [a, b, c, d, e, f] = transform(fromSource, scale);
    moved.addPath(path, { a, b, c, d, e, f });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.lineWidth = line * ratio;
    context.lineCap = "square";
    context.lineJoin = "miter";
    context.strokeStyle = `rgb(${colour})`;
    context.stroke(moved);
  }

  function extent({ fromSource, scale }, [x1, y1, x2, y2]) {
    const found = [
      [x1, y1],
      [x2, y1],
      [x1, y2],
      [x2, y2],
    ].map(([x, y]) => map(fromSource, x, y).map((v) => v * scale));
    const xs = found.map((p) => p[0]),
      ys = found.map((p) => p[1]);
    return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  }

  function tag(on, item, names) {
    if (!item.shape.box) return;
    const { context, ratio } = on;
    const text = names && item.label ? `${item.tag} ${brief(item.label, 24)}` : item.tag;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.font = `600 ${11 * ratio}px system-ui, sans-serif`;
    context.textBaseline = "top";
    const w = context.measureText(text).width + 6 * ratio,
      h = 15 * ratio;
    let [x, y, right, bottom] = extent(on, item.shape.box);
    if (right < 0 || bottom < 0 || x > context.canvas.width || y > context.canvas.height) return; // it is not on this view
    x = Math.min(Math.max(0, x), Math.max(0, context.canvas.width - w));
    y = Math.min(Math.max(0, y - h), Math.max(0, context.canvas.height - h));
    context.fillStyle = `rgb(${item.colour})`;
    context.fillRect(x, y, w, h);
    context.fillStyle = "#fff";
    context.fillText(text, x + 3 * ratio, y + 2.5 * ratio);
  }

  function clicks({ context, fromSource, scale, ratio }, item) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    for (const [px, py, positive] of item.points) {
      const [x, y] = map(fromSource, px, py).map((v) => v * scale);
      const r = 7 * ratio,
        arm = 3.5 * ratio;
      context.beginPath();
      context.arc(x, y, r, 0, 2 * Math.PI);
      context.fillStyle = positive ? "rgb(20 140 60)" : "rgb(200 30 40)";
      context.fill();
      context.lineWidth = 1.8 * ratio;
      context.strokeStyle = "#fff";
      context.stroke();
      context.beginPath();
      context.moveTo(x - arm, y);
      context.lineTo(x + arm, y);
      if (positive) {
        context.moveTo(x, y - arm);
        context.lineTo(x, y + arm);
      }
      context.stroke();
    }
  }

  function cell(on, item) {
    on.context.setLineDash([6 * on.ratio, 4 * on.ratio]);
    stroke(on, item.shape.path4, "255 255 255", 3);
    stroke(on, item.shape.path4, "210 30 40", 1.5);
    on.context.setLineDash([]);
    tag(on, item, false);
  }

  /** A patch of a picture, outlined on the picture it was cut from. */
  function patch(image, label) {
    const [w, h] = image.size;
    const points = [
      [0, 0],
      [w, 0],
      [w, h],
      [0, h],
    ].map(([x, y]) => map(image.to_source, x, y));
    const path4 = new Path2D();
    points.forEach(([x, y], i) => (i ? path4.lineTo(x, y) : path4.moveTo(x, y)));
    path4.closePath();
    const xs = points.map((p) => p[0]),
      ys = points.map((p) => p[1]);
    const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
    return { kind: "cell", shape: { box, path4, decoded: null }, colour: "180 25 35", tag: brief(label, 16) };
  }

  /** Returns the id of the smallest object at a place of the source picture. */
  function hit(items, x, y) {
    let best = null,
      smallest = Infinity;
    for (const item of items) {
      const { decoded, box } = item.shape;
      let inside, area;
      if (decoded && decoded.w) {
        const cx = Math.floor(x) - decoded.x,
          cy = Math.floor(y) - decoded.y;
        inside = cx >= 0 && cy >= 0 && cx < decoded.w && cy < decoded.h && decoded.bits[cy * decoded.w + cx] === 1;
        area = decoded.area;
      } else if (box) {
        inside = x >= box[0] && y >= box[1] && x < box[2] && y < box[3];
        area = (box[2] - box[0]) * (box[3] - box[1]);
      }
      if (inside && area < smallest) {
        best = item.id;
        smallest = area;
      }
    }
    return best;
  }

  return { make, shape, patch, colourOf, invert, map, TRUTH, ANSWER };
})();
