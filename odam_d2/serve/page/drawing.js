"use strict";
/* Drawing on the image, by pointer and by keys: boxes, and strokes of a brush. Everything in pixels of the image. */
const OdamDrawing = (() => {
  const { $ } = OdamView;
  const SVG = "http://www.w3.org/2000/svg", SLOP = 5; // screen pixels that a click may move
  const drag = { from: null, start: null, points: null, moved: false };
  let page = null;

  function shape(tag, options) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(options)) made.setAttribute(name, value);
    return made;
  }

  const clipped = ([x, y]) => {
    const [width, height] = page.record().size;
    return [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)];
  };
  const pointOf = (event) => clipped(OdamView.pointAt(page.record(), event));
  const boxOf = ([ax, ay], [bx, by]) => [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)].map((side) => Math.round(side * 10) / 10);

  /** Shows what is being drawn: a box, strokes, and the brush where the keys have put it; all may be missing. */
  function show({ box = null, strokes = [], brush = null }) {
    const svg = $("drawing"), { size } = page.record();
    svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
    const nodes = strokes.map(({ points, radius, how }) => shape("polyline", {
      class: `stroke ${how}`, points: (points.length > 1 ? points : [points[0], points[0]]).map((point) => point.join()).join(" "), "stroke-width": 2 * radius,
    }));
    if (box) {
      const place = { x: box[0], y: box[1], width: box[2] - box[0], height: box[3] - box[1] };
      nodes.push(shape("rect", { class: "halo", ...place }), shape("rect", { class: "draft", ...place }));
    }
    if (brush) nodes.push(shape("circle", { class: "halo", cx: brush[0], cy: brush[1], r: brush[2] }), shape("circle", { class: "draft", cx: brush[0], cy: brush[1], r: brush[2] }));
    svg.replaceChildren(...nodes);
  }

  function begin(event) {
    if (event.button !== 0 || !page.tool()) return;
    event.preventDefault(); // no selection, and no dragging of the photograph
    $("stage").focus({ preventScroll: true });
    const point = pointOf(event);
    Object.assign(drag, { from: point, start: [event.clientX, event.clientY], points: [point], moved: false });
    $("layers").setPointerCapture(event.pointerId);
    if (page.tool() === "brush") page.painting(drag.points);
  }

  function move(event) {
    if (!drag.from) return page.hovered(event);
    if (Math.hypot(event.clientX - drag.start[0], event.clientY - drag.start[1]) > SLOP) drag.moved = true;
    const point = pointOf(event);
    if (page.tool() === "brush") {
      drag.points.push(point.map(Math.round));
      page.painting(drag.points);
    } else if (drag.moved) show({ box: boxOf(drag.from, point) });
  }

  function end(event) {
    if (!drag.from) return;
    const { from, points, moved } = drag, to = pointOf(event);
    drag.from = null;
    if (page.tool() === "brush") page.painted(points.map((point) => point.map(Math.round)));
    else if (!moved) page.clicked(event);
    else {
      const box = boxOf(from, to);
      if (box[2] - box[0] >= 2 && box[3] - box[1] >= 2) page.drawn(box);
      else page.tooSmall();
    }
  }

  /** Drops what is being drawn; whether anything was. */
  function cancel() {
    const any = drag.from !== null;
    drag.from = null;
    if (any) page.cancelled();
    return any;
  }

  /** A box in the middle of the image. */
  function middle([width, height]) {
    return [0.375, 0.375, 0.625, 0.625].map((share, k) => Math.round(share * (k % 2 ? height : width)));
  }

  /** A box moved by an arrow key, or its lower right corner if `corner`. */
  function nudged(box, key, corner, [width, height]) {
    const step = Math.max(2, Math.round(Math.max(width, height) / 100));
    const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[key];
    const [x1, y1, x2, y2] = box;
    if (corner) return [x1, y1, Math.min(width, Math.max(x1 + 2, x2 + dx)), Math.min(height, Math.max(y1 + 2, y2 + dy))];
    const mx = Math.min(Math.max(dx, -x1), width - x2), my = Math.min(Math.max(dy, -y1), height - y2);
    return [x1 + mx, y1 + my, x2 + mx, y2 + my];
  }

  /**
   * Listens on the stage. asked: { record(), tool(): "box", "brush" or null, hovered(event), left(), clicked(event), drawn(box),
   * tooSmall(), painting(points), painted(points), cancelled() }.
   */
  function listen(asked) {
    page = asked;
    const layers = $("layers");
    layers.addEventListener("pointerdown", begin);
    layers.addEventListener("pointermove", move);
    layers.addEventListener("pointerup", end);
    layers.addEventListener("pointercancel", cancel);
    layers.addEventListener("pointerleave", () => page.left());
    layers.addEventListener("click", (event) => { if (!page.tool()) page.clicked(event); });
  }

  return { show, listen, cancel, middle, nudged };
})();
