/* The widget: an image to draw a box on, a class, and the answer in a frame. Boxes are XYXY in pixels of the original
   image. The model holds what Python says: photo, size [w, h], labels, page, words, frame_height, and asked, the
   { box, label } of the latest question, {} if none. */
const SVG = "http://www.w3.org/2000/svg";
const LEAST = 2; // pixels of the original image, both ways: less is a click

/** Makes an element; text never becomes markup. */
function element(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "text") made.textContent = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** The box between two points, in whole pixels and inside the image. */
export function boxBetween([ax, ay], [bx, by], [width, height]) {
  const inside = (value, most) => Math.round(Math.min(Math.max(value, 0), most));
  return [
    inside(Math.min(ax, bx), width), inside(Math.min(ay, by), height),
    inside(Math.max(ax, bx), width), inside(Math.max(ay, by), height),
  ];
}

function render({ model, el }) {
  const labels = element("select", { "aria-label": "Class" });
  for (const name of model.get("labels")) labels.append(element("option", { value: name, text: name }));
  const sides = ["x1", "y1", "x2", "y2"].map((name) => element("input", { type: "number", "aria-label": name, placeholder: name }));
  const ask = element("button", { type: "button", text: "Ask" });
  const all = element("button", { type: "button", text: "Detections" });
  const words = element("p", { class: "words", role: "status", text: model.get("words") });
  const photo = element("img", { src: model.get("photo"), alt: "The image; draw a box on it", draggable: "false" });
  const [width, height] = model.get("size");
  const layer = document.createElementNS(SVG, "svg");
  layer.setAttribute("viewBox", `0 0 ${width} ${height}`);
  layer.setAttribute("preserveAspectRatio", "none");
  const rects = ["halo", "box"].map((name) => document.createElementNS(SVG, "rect"));
  rects[0].setAttribute("class", "halo");
  const area = element("div", { class: "area" }, photo, layer);
  const frame = element("iframe", { title: "The answer", sandbox: "allow-scripts" });
  const root = element("div", { class: "odam-explore" }, element("div", { class: "bar" }, labels, ...sides, ask, all, words), area, frame);
  let start = null, asked = 0, last = null; // where the pointer went down; questions; the box of the latest

  function draw([x1, y1, x2, y2]) {
    for (const rect of rects) {
      for (const [name, value] of Object.entries({ x: x1, y: y1, width: x2 - x1, height: y2 - y1 })) rect.setAttribute(name, value);
    }
    layer.replaceChildren(...rects);
    [x1, y1, x2, y2].forEach((value, k) => { sides[k].value = value; });
  }

  /** Shows the box that was asked about last, as before something else was drawn. */
  function restore() {
    if (last) return draw(last);
    layer.replaceChildren();
    for (const one of sides) one.value = "";
  }

  function say(text, isError = false) {
    words.textContent = text;
    words.classList.toggle("error", isError);
  }

  function send(message) {
    asked += 1;
    say("asking…");
    model.send({ ...message, id: asked });
  }

  function askBox() {
    if (sides.some((one) => one.value === "")) return say("Draw a box, or give its four sides.", true);
    const box = sides.map((one) => Number(one.value));
    draw(box);
    last = box;
    send({ ask: "box", box, label: labels.value });
  }

  function pointOf(event) {
    const place = area.getBoundingClientRect();
    return [(event.clientX - place.left) / place.width * width, (event.clientY - place.top) / place.height * height];
  }

  /** What was asked in Python, or by another view of the widget. */
  function showAsked() {
    const { box, label } = model.get("asked");
    if (start) return;
    last = box ?? null;
    if (label !== undefined) labels.value = label;
    restore();
  }

  function showPage() {
    frame.style.height = `${model.get("frame_height")}px`;
    if (frame.srcdoc !== model.get("page")) frame.srcdoc = model.get("page");
  }

  area.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    start = pointOf(event);
    try { area.setPointerCapture(event.pointerId); } catch { /* a made event has no pointer */ }
  });
  area.addEventListener("pointermove", (event) => {
    if (start) draw(boxBetween(start, pointOf(event), [width, height]));
  });
  area.addEventListener("pointerup", (event) => {
    if (!start) return;
    const box = boxBetween(start, pointOf(event), [width, height]);
    start = null;
    if (box[2] - box[0] < LEAST || box[3] - box[1] < LEAST) return restore();
    draw(box);
    askBox();
  });
  area.addEventListener("pointercancel", () => { start = null; restore(); });
  ask.addEventListener("click", askBox);
  all.addEventListener("click", () => {
    last = null;
    restore();
    send({ ask: "detections" });
  });
  labels.addEventListener("change", () => { if (last) askBox(); });

  const answered = (message) => {
    if (message.id !== asked) return; // an older question's
    say(message.error ?? message.words, message.error !== undefined);
  };
  const changed = () => say(model.get("words")); // asked in Python
  model.on("msg:custom", answered);
  model.on("change:page", showPage);
  model.on("change:asked", showAsked);
  model.on("change:words", changed);
  showPage();
  showAsked();
  el.append(root);
  return () => {
    model.off("msg:custom", answered);
    model.off("change:page", showPage);
    model.off("change:asked", showAsked);
    model.off("change:words", changed);
  };
}

export default { render };
