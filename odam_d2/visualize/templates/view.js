"use strict";
/* What is drawn on the stage: the image or a part of it, the heat over it, boxes with their tags. A scene is what is
   chosen: { facts, record, number, row, hover, rows, attribute, method, role, ... switches }. Boxes and view rectangles
   are in pixels of the original image. */
const OdamView = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const HEAT_SIDE = 960; // longest side of a drawn heat map; the browser scales it to the stage
  const CACHE = 16; // drawn heat maps kept
  const SIDES = { left: [0, 1, 0, 3], top: [0, 1, 2, 1], right: [2, 1, 2, 3], bottom: [0, 3, 2, 3] };
  const $ = (id) => document.getElementById(id);
  const FROM_RIGHT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]|[\u{10800}-\u{10fff}\u{1e800}-\u{1eeff}]/u; // scripts
  const drawn = new Map(), room = { width: 0, height: 0 }; // of the stage
  const laid = { key: null, pairs: new Map(), raised: [], extra: [], heat: null }; // what is on the stage

  /** Makes an element; text never becomes markup. */
  function element(tag, options = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) {
      if (name === "text") made.textContent = value;
      else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  function shape(tag, options) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(options)) made.setAttribute(name, value);
    return made;
  }

  /** The maps of a row by a method in a role; undefined if there are none. */
  const mapsOf = (detection, method, role) => detection?.maps[method]?.[role];

  /** Whether maps have an attribute. */
  function hasMap(facts, maps, name) {
    if (!maps) return false;
    if (name === "combined") return (facts.combined ?? [null]).every((part) => maps.attributes.includes(part));
    return maps.attributes.includes(name);
  }

  /** The normalised map of an image of height x width, see OdamHeat.render. */
  function heatOf(facts, record, maps, name, height, width) {
    if (name === "combined" && facts.combined) {
      return OdamHeat.maximum(facts.combined.map((part) => heatOf(facts, record, maps, part, height, width)));
    }
    const bytes = OdamHeat.decode(maps.maps[maps.attributes.indexOf(name)]);
    return OdamHeat.normalise(OdamHeat.render(maps, bytes, record.input, height, width));
  }

  /** A canvas over the whole image with the coloured map; cached. */
  function heatCanvas(scene, role, name) {
    const key = JSON.stringify([scene.number, scene.row, scene.method, role, name, scene.colormap]);
    if (drawn.has(key)) return drawn.get(key);
    const [width, height] = scene.record.size, scale = HEAT_SIDE / Math.max(width, height);
    const canvas = element("canvas", {
      width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)),
    });
    const maps = mapsOf(scene.record.detections[scene.row], scene.method, role);
    const heat = heatOf(scene.facts, scene.record, maps, name, canvas.height, canvas.width);
    if (heat.values.length) {
      const context = canvas.getContext("2d"), pixels = context.createImageData(heat.width, heat.height);
      OdamHeat.colour(heat.values, scene.facts.luts[scene.colormap], scene.facts.opaque_from, pixels.data);
      context.putImageData(pixels, heat.left, heat.top);
    }
    drawn.set(key, canvas);
    if (drawn.size > CACHE) drawn.delete(drawn.keys().next().value);
    return canvas;
  }

  /**
   * The part of an image to show, [x, y, w, h]: all of it, or boxes with the windows of their maps and some air.
   * aspect: that of the view, if one is given.
   */
  function viewOf(record, boxes, windows, aspect) {
    const [width, height] = record.size;
    if (!boxes.length) return [0, 0, width, height];
    let [x1, y1, x2, y2] = [Infinity, Infinity, -Infinity, -Infinity];
    const cover = (a, b, c, d) => { x1 = Math.min(x1, a); y1 = Math.min(y1, b); x2 = Math.max(x2, c); y2 = Math.max(y2, d); };
    for (const box of boxes) cover(...box);
    for (const { window: [top, left, rows, columns], grid, stride: [y, x] } of windows) {
      if (rows * columns > 0.8 * grid[0] * grid[1]) continue; // of a map that is everywhere, and would hide where the box is
      const fx = width / record.input[1] * x, fy = height / record.input[0] * y;
      cover((left - 0.5) * fx, (top - 0.5) * fy, (left + columns + 0.5) * fx, (top + rows + 0.5) * fy);
    }
    let w = 1.2 * (x2 - x1) + 16, h = 1.2 * (y2 - y1) + 16;
    const wanted = aspect ?? Math.min(1.7, Math.max(0.6, w / h));
    if (w < h * wanted) w = h * wanted; else h = w / wanted;
    w = Math.min(w, width); h = Math.min(h, height);
    x1 = Math.min(Math.max((x1 + x2 - w) / 2, 0), width - w);
    y1 = Math.min(Math.max((y1 + y2 - h) / 2, 0), height - h);
    return [x1, y1, w, h];
  }

  /** Fits the frame into the stage and moves its layers so that just the view is seen. */
  function placeLayers(record, view) {
    const scale = Math.min(room.width / view[2], room.height / view[3]);
    const [width, height] = record.size;
    Object.assign($("frame").style, { width: `${view[2] * scale}px`, height: `${view[3] * scale}px` });
    Object.assign($("layers").style, {
      width: `${width * scale}px`, height: `${height * scale}px`,
      left: `${-view[0] * scale}px`, top: `${-view[1] * scale}px`,
    });
    return scale;
  }

  function boxShape(box, options) {
    return shape("rect", { x: box[0], y: box[1], width: box[2] - box[0], height: box[3] - box[1], ...options });
  }

  /** Draws the boxes anew where others are shown: there may be a thousand, and a step changes two. */
  function layBoxes(scene) {
    const svg = $("boxes"), { record } = scene, key = [scene.number, scene.truth, scene.boxes, scene.rows.join()].join("/");
    if (key === laid.key) return;
    Object.assign(laid, { key, pairs: new Map(), raised: [] });
    svg.setAttribute("viewBox", `0 0 ${record.size[0]} ${record.size[1]}`);
    svg.replaceChildren();
    for (const truth of scene.truth ? record.annotations ?? [] : []) svg.append(...truthShapes(truth));
    for (const k of scene.boxes ? scene.rows : []) {
      const { box, color, kind } = record.detections[k];
      laid.pairs.set(k, [boxShape(box, { class: "halo" }), boxShape(box, { class: `box ${kind}`, stroke: color })]);
      svg.append(...laid.pairs.get(k));
    }
  }

  function truthShapes(truth) {
    return [boxShape(truth.box, { class: "halo" }), boxShape(truth.box, { class: truth.crowd ? "truth crowd" : "truth" })];
  }

  /** The annotated object that an error is about; null for what is right, or isn't judged. */
  function judgedBy(record, detection) {
    if (detection?.annotation == null || detection.verdict === "correct") return null;
    return record.annotations?.[detection.annotation] ?? null;
  }

  /** Draws the boxes; the chosen one on top, in white, with the side thick that the attribute is about. */
  function drawBoxes(scene) {
    layBoxes(scene);
    for (const node of laid.raised) node.classList.remove("hover", "selected");
    for (const node of laid.extra) node.remove();
    Object.assign(laid, { raised: [], extra: [] });
    const chosen = scene.record.detections[scene.row], truth = scene.boxes && judgedBy(scene.record, chosen);
    if (truth) laid.extra.push(...truthShapes(truth));
    $("boxes").append(...laid.extra);
    for (const [k, kind] of [[scene.hover, "hover"], [scene.row, "selected"]]) {
      const pair = laid.pairs.get(k);
      if (!pair || (kind === "hover" && k === scene.row)) continue;
      for (const node of pair) node.classList.add(kind);
      $("boxes").append(...pair);
      laid.raised.push(...pair);
    }
    if (laid.pairs.has(scene.row) && scene.attribute in SIDES) {
      const [a, b, c, d] = SIDES[scene.attribute], { box } = chosen;
      const side = shape("line", { class: "side", x1: box[a], y1: box[b], x2: box[c], y2: box[d] });
      laid.extra.push(side);
      $("boxes").append(side);
    }
  }

  /** A word that keeps its direction to itself: what stands beside one from right to left stays where it is. */
  function isolated(word) {
    return FROM_RIGHT.test(word) ? element("bdi", { text: word }) : word;
  }

  /** A score as text; boxes that somebody named may have none. */
  function scoreText(score, digits) {
    return score === null || Number.isNaN(score) ? "" : score.toFixed(digits);
  }

  // Sizes of tags come from the browser when it has laid them out; asking for them would make it do so at once.
  const tags = new ResizeObserver((entries) => {
    for (const { target, borderBoxSize: [{ inlineSize: width, blockSize: height }] } of entries) {
      Object.assign(target, { width, height });
      moveTag(target);
    }
  });
  for (const id of ["tag-hover", "tag-selected"]) tags.observe(Object.assign($(id), { width: 0, height: 0 }), { box: "border-box" });

  /** Puts a tag above its box, or inside where there is no room. */
  function placeTag(tag, detection, number, view, scale) {
    tag.hidden = !detection;
    if (!detection) return;
    tag.replaceChildren(`${number} `, isolated(detection.label), ` ${scoreText(detection.score, 2)}`);
    tag.style.setProperty("--colour", detection.color);
    tag.corner = [(detection.box[0] - view[0]) * scale, (detection.box[1] - view[1]) * scale];
    tag.frame = [view[2] * scale, view[3] * scale];
    moveTag(tag);
  }

  function moveTag({ corner: [x, y] = [0, 0], frame: [right, below] = [0, 0], width, height, style }) {
    style.left = `${Math.max(0, Math.min(x, right - width))}px`;
    style.top = `${Math.max(0, Math.min(y >= height + 2 ? y - height - 2 : y + 2, below - height))}px`;
  }

  /** The image with the chosen box. */
  function drawStage(scene) {
    const { record } = scene, detection = record.detections[scene.row];
    $("stage").style.setProperty("--aspect", record.size[0] / record.size[1]);
    const maps = mapsOf(detection, scene.method, scene.role), truth = judgedBy(record, detection);
    const boxes = scene.zoom && detection ? [detection.box, ...truth ? [truth.box] : []] : [];
    const view = viewOf(record, boxes, maps ? [maps] : [], room.width / room.height);
    const photo = $("photo"), heat = $("heat");
    photo.alt = record.name;
    photo.hidden = !record.image;
    if (record.image && photo.getAttribute("src") !== record.image) photo.src = record.image;
    const scale = placeLayers(record, view);
    heat.hidden = !scene.heat || !hasMap(scene.facts, maps, scene.attribute);
    if (!heat.hidden) {
      const source = heatCanvas(scene, scene.role, scene.attribute);
      if (laid.heat !== source) {
        heat.width = source.width;
        heat.height = source.height;
        heat.getContext("2d").drawImage(source, 0, 0);
        laid.heat = source;
      }
      heat.style.opacity = scene.opacity;
      heat.setAttribute("aria-label", `Heat map of ${scene.attribute} for ${scene.row}, ${detection.label}`);
    }
    drawBoxes(scene);
    const hover = scene.hover === scene.row ? null : scene.hover;
    placeTag($("tag-hover"), scene.boxes && scene.rows.includes(hover) ? record.detections[hover] : null, hover, view, scale);
    placeTag($("tag-selected"), scene.boxes ? detection : null, scene.row, view, scale);
  }

  /** The image coordinates under a pointer. */
  function pointAt(record, event) {
    const area = $("layers").getBoundingClientRect();
    return [(event.clientX - area.left) / area.width * record.size[0], (event.clientY - area.top) / area.height * record.size[1]];
  }

  /** The rows of an image whose boxes are around a point, the smallest box first. */
  function boxesAt(record, rows, [x, y]) {
    const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
    return rows
      .filter((k) => { const b = record.detections[k].box; return x >= b[0] && x <= b[2] && y >= b[1] && y <= b[3]; })
      .sort((a, b) => area(record.detections[a]) - area(record.detections[b]));
  }

  return { $, element, room, drawStage, pointAt, boxesAt, scoreText, isolated, mapsOf, hasMap, heatCanvas, viewOf };
})();
