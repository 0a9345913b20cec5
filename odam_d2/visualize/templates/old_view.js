/* What is drawn: the image or a part of it, the heat over it, boxes with their tags, all maps side by side.
   Boxes and view rectangles are in pixels of the original image. */
const OdamView = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const HEAT_SIDE = 960; // longest side of a drawn heat map; the browser scales it to the stage
  const CACHE = 16; // drawn heat maps kept
  const SIDES = { left: [0, 1, 0, 3], top: [0, 1, 2, 1], right: [2, 1, 2, 3], bottom: [0, 3, 2, 3] };
  const $ = (id) => document.getElementById(id);
  const FROM_RIGHT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]|[\u{10800}-\u{10fff}\u{1e800}-\u{1eeff}]/u; // scripts
  const drawn = new Map(), photos = new WeakMap();
  const laid = { key: null, pairs: new Map(), raised: [], side: null }; // the boxes on the stage, and those on top

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

  /** The normalised map as Float32Array, height x width. */
  function heatOf(data, image, detection, name, height, width) {
    if (name === "combined" && data.combined) {
      return OdamHeat.maximum(data.combined.map((part) => heatOf(data, image, detection, part, height, width)));
    }
    const bytes = OdamHeat.decode(detection.maps[data.attributes.indexOf(name)]);
    return OdamHeat.normalise(OdamHeat.render(detection, bytes, image.input, height, width));
  }

  /** A canvas over the whole image with the coloured map; cached. */
  function heatCanvas(data, state, name) {
    const key = [state.image, state.detection, name, state.colormap].join("/");
    if (drawn.has(key)) return drawn.get(key);
    const image = data.images[state.image], [width, height] = image.size;
    const scale = HEAT_SIDE / Math.max(width, height);
    const canvas = element("canvas", {
      width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)),
    });
    const heat = heatOf(data, image, image.detections[state.detection], name, canvas.height, canvas.width);
    const context = canvas.getContext("2d"), pixels = context.createImageData(canvas.width, canvas.height);
    OdamHeat.colour(heat, data.luts[state.colormap], data.opaque_from, pixels.data);
    context.putImageData(pixels, 0, 0);
    drawn.set(key, canvas);
    if (drawn.size > CACHE) drawn.delete(drawn.keys().next().value);
    return canvas;
  }

  /** The photograph as an image element that is decoded once. */
  function photoOf(image) {
    if (!photos.has(image)) photos.set(image, element("img", { src: image.image, alt: "" }));
    return photos.get(image);
  }

  /** The part of the image to show, [x, y, w, h]: all, or the detection with its map and some air; its aspect if one is given. */
  function viewOf(image, detection, zoom, aspect) {
    const [width, height] = image.size;
    if (!zoom || !detection) return [0, 0, width, height];
    const [top, left, rows, columns] = detection.window, [y, x] = detection.stride;
    const fx = width / image.input[1] * x, fy = height / image.input[0] * y, box = detection.box;
    let x1 = Math.min(box[0], (left - 0.5) * fx), x2 = Math.max(box[2], (left + columns + 0.5) * fx);
    let y1 = Math.min(box[1], (top - 0.5) * fy), y2 = Math.max(box[3], (top + rows + 0.5) * fy);
    let w = 1.2 * (x2 - x1) + 16, h = 1.2 * (y2 - y1) + 16;
    const wanted = aspect ?? Math.min(1.7, Math.max(0.6, w / h));
    if (w < h * wanted) w = h * wanted; else h = w / wanted;
    w = Math.min(w, width); h = Math.min(h, height);
    x1 = Math.min(Math.max((x1 + x2 - w) / 2, 0), width - w);
    y1 = Math.min(Math.max((y1 + y2 - h) / 2, 0), height - h);
    return [x1, y1, w, h];
  }

  /** Fits the frame into the stage and moves its layers so that just the view is seen. */
  function placeLayers(image, view) {
    const stage = $("stage"), scale = Math.min(stage.clientWidth / view[2], stage.clientHeight / view[3]);
    const [width, height] = image.size;
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
  function layBoxes(image, state, visible) {
    const svg = $("boxes"), key = [state.image, state.truth, state.boxes, visible.join()].join("/");
    if (key === laid.key) return;
    Object.assign(laid, { key, pairs: new Map(), raised: [] });
    svg.setAttribute("viewBox", `0 0 ${image.size[0]} ${image.size[1]}`);
    svg.replaceChildren();
    for (const truth of state.truth ? image.annotations || [] : []) {
      svg.append(boxShape(truth.box, { class: "halo" }), boxShape(truth.box, { class: truth.crowd ? "truth crowd" : "truth" }));
    }
    for (const k of state.boxes ? visible : []) {
      const { box, color } = image.detections[k];
      laid.pairs.set(k, [boxShape(box, { class: "halo" }), boxShape(box, { class: "box", stroke: color })]);
      svg.append(...laid.pairs.get(k));
    }
  }

  /** Draws the boxes; the selected one on top, in white, with the side thick that the attribute is about. */
  function drawBoxes(image, state, visible, attribute) {
    layBoxes(image, state, visible);
    for (const node of laid.raised) node.classList.remove("hover", "selected");
    laid.side?.remove();
    laid.raised = [];
    for (const [k, kind] of [[state.hover, "hover"], [state.detection, "selected"]]) {
      const pair = laid.pairs.get(k);
      if (!pair || (kind === "hover" && k === state.detection)) continue;
      for (const node of pair) node.classList.add(kind);
      $("boxes").append(...pair);
      laid.raised.push(...pair);
    }
    if (laid.pairs.has(state.detection) && attribute in SIDES) {
      const [a, b, c, d] = SIDES[attribute], { box } = image.detections[state.detection];
      laid.side = shape("line", { class: "side", x1: box[a], y1: box[b], x2: box[c], y2: box[d] });
      $("boxes").append(laid.side);
    }
  }

  /** A word that keeps its direction to itself: what stands beside one from right to left stays where it is. */
  function isolated(word) {
    return FROM_RIGHT.test(word) ? element("bdi", { text: word }) : word;
  }

  /** A detection's score as text; boxes that somebody named may have none. */
  function scoreOf(detection, digits) {
    return detection.score === null ? "" : detection.score.toFixed(digits);
  }

  /** Puts a tag above its box, or inside where there is no room. */
  function placeTag(tag, detection, number, view, scale) {
    tag.hidden = !detection;
    if (!detection) return;
    tag.replaceChildren(`${number} `, isolated(detection.label), ` ${scoreOf(detection, 2)}`);
    tag.style.setProperty("--colour", detection.color);
    const x = (detection.box[0] - view[0]) * scale, y = (detection.box[1] - view[1]) * scale;
    const right = view[2] * scale - tag.offsetWidth, below = view[3] * scale - tag.offsetHeight;
    tag.style.left = `${Math.max(0, Math.min(x, right))}px`;
    tag.style.top = `${Math.max(0, Math.min(y >= tag.offsetHeight + 2 ? y - tag.offsetHeight - 2 : y + 2, below))}px`;
  }

  /** One detection on the stage. */
  function drawStage(data, state, visible, attribute) {
    const image = data.images[state.image], stage = $("stage");
    stage.style.setProperty("--aspect", image.size[0] / image.size[1]);
    const detection = image.detections[state.detection];
    const view = viewOf(image, detection, state.zoom, stage.clientWidth / stage.clientHeight);
    const photo = $("photo"), heat = $("heat");
    photo.alt = image.name;
    if (photo.getAttribute("src") !== image.image) photo.src = image.image;
    const scale = placeLayers(image, view);
    heat.hidden = !state.heat || !detection;
    if (!heat.hidden) {
      const source = heatCanvas(data, state, attribute);
      heat.width = source.width;
      heat.height = source.height;
      heat.getContext("2d").drawImage(source, 0, 0);
      heat.style.opacity = state.opacity;
      heat.setAttribute("aria-label", `Heat map of ${attribute} for detection ${state.detection}, ${detection.label}`);
    }
    drawBoxes(image, state, visible, attribute);
    const hover = state.hover === state.detection ? null : state.hover;
    placeTag($("tag-hover"), state.boxes && visible.includes(hover) ? image.detections[hover] : null, hover, view, scale);
    placeTag($("tag-selected"), state.boxes ? detection : null, state.detection, view, scale);
  }

  /** The image coordinates under a pointer. */
  function pointAt(image, event) {
    const area = $("layers").getBoundingClientRect();
    return [(event.clientX - area.left) / area.width * image.size[0], (event.clientY - area.top) / area.height * image.size[1]];
  }

  /** The visible detections around a point, the smallest box first. */
  function boxesAt(image, visible, [x, y]) {
    const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
    return visible
      .filter((k) => { const b = image.detections[k].box; return x >= b[0] && x <= b[2] && y >= b[1] && y <= b[3]; })
      .sort((a, b) => area(image.detections[a]) - area(image.detections[b]));
  }

  /** All maps of one detection side by side, as large as the stage lets them be. */
  function drawMultiples(data, state, attribute, choose) {
    const image = data.images[state.image], detection = image.detections[state.detection];
    const room = $("multiples"), gap = 10, caption = 24, names = data.names;
    const view = viewOf(image, detection, state.zoom);
    let best = { scale: 0, columns: 1 };
    for (let columns = 1; columns <= names.length; columns++) {
      const rows = Math.ceil(names.length / columns);
      const w = (room.clientWidth - gap * (columns + 1)) / columns, h = (room.clientHeight - gap * (rows + 1)) / rows - caption;
      const scale = Math.min(w / view[2], h / view[3]);
      if (scale > best.scale) best = { scale, columns };
    }
    const width = Math.max(40, Math.floor(best.scale * view[2])), height = Math.max(20, Math.floor(best.scale * view[3]));
    room.style.gridTemplateColumns = `repeat(${best.columns}, ${width}px)`;
    const figures = names.map((name) => {
      const ratio = Math.min(2, window.devicePixelRatio || 1);
      const canvas = element("canvas", { width: width * ratio, height: height * ratio, "aria-hidden": "true" });
      Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
      const paint = () => paintMultiple(canvas, data, state, name, view);
      const photo = photoOf(image);
      if (photo.complete) paint(); else photo.addEventListener("load", paint, { once: true });
      return element("button", {
        class: name === attribute ? "multiple chosen" : "multiple", "aria-label": `Heat map of ${name}`, onclick: () => choose(name),
      }, canvas, element("span", { text: name }));
    });
    room.replaceChildren(...figures);
  }

  function paintMultiple(canvas, data, state, name, view) {
    const image = data.images[state.image], context = canvas.getContext("2d"), photo = photoOf(image);
    const part = (source) => {
      const fx = source.width / image.size[0], fy = source.height / image.size[1];
      return [source, view[0] * fx, view[1] * fy, view[2] * fx, view[3] * fy, 0, 0, canvas.width, canvas.height];
    };
    context.drawImage(...part(photo));
    if (state.heat) {
      context.globalAlpha = state.opacity;
      context.drawImage(...part(heatCanvas(data, state, name)));
      context.globalAlpha = 1;
    }
    if (!state.boxes) return;
    const box = image.detections[state.detection].box, scale = canvas.width / view[2];
    for (const [ink, thick] of [["#000a", 4], ["#fff", 2]]) {
      context.strokeStyle = ink;
      context.lineWidth = thick;
      context.strokeRect((box[0] - view[0]) * scale, (box[1] - view[1]) * scale, (box[2] - box[0]) * scale, (box[3] - box[1]) * scale);
    }
  }

  return { $, element, drawStage, drawMultiples, pointAt, boxesAt, scoreOf, isolated };
})();
