/* What is chosen, and the lists, switches, keys and links that change it. */
(() => {
  const { $, element } = OdamView;
  const data = JSON.parse($("data").textContent);
  for (const name of Object.keys(data.luts)) data.luts[name] = OdamHeat.decode(data.luts[name]);
  const images = data.images;
  const state = {
    image: 0, detection: -1, attribute: 0, hover: null, minScore: 0, label: "", filter: "",
    heat: true, boxes: true, truth: false, zoom: false, all: false, opacity: 0.65, colormap: Object.keys(data.luts)[0],
  };
  // In a frame of another page (a notebook's cell) there is no address bar to write to.
  const framed = window.parent !== window, linked = location.protocol !== "about:";
  let zoomBefore = false;
  let listed = null; // which detections the list holds
  const buttons = new Map(); // detection -> its button there
  const WHY = {
    score: "what makes the detector this sure of the class",
    logit: "what raises the raw score of the class",
    left: "what pushes the left side of the box outward, to the left",
    top: "what pushes the top side of the box outward, upward",
    right: "what pushes the right side of the box outward, to the right",
    bottom: "what pushes the bottom side of the box outward, downward",
    x1: "what moves the left side to the right", x2: "what moves the right side to the right",
    y1: "what moves the top side down", y2: "what moves the bottom side down",
    objectness: "what makes the proposal stage see an object", centerness: "what makes this place count as the object's centre",
    mask: "what fills the predicted mask", combined: "the maximum of the maps of the score and the four sides, each normalised",
  };
  const VERDICTS = {
    match: ["match", "the annotated object that this detection finds"],
    duplicate: ["duplicate", "its annotated object is already taken by a detection with a higher score"],
    crowd: ["crowd", "inside an area annotated as a crowd"],
    miss: ["no match", "no annotated object of this class with an IoU of .5 or more"],
  };

  const here = () => images[state.image];
  const chosen = () => here()?.detections[state.detection];
  const attribute = () => data.names[state.attribute];
  const visible = () => here().detections.map((_, k) => k).filter((k) => {
    const d = here().detections[k];
    return (d.score ?? 1) >= state.minScore && (!state.label || d.label === state.label);
  });
  const annotated = images.some((p) => p.annotations);
  const plural = (n, word) => `${n} ${word}${n === 1 ? "" : word.endsWith("x") ? "es" : "s"}`;
  const shown = (number) => number === 0 ? "0" : number >= 0.01 && number < 1000 ? number.toPrecision(3) : number.toExponential(1);

  /* ---- changing what is chosen ---- */

  function chooseImage(index, detection) {
    state.image = index;
    state.hover = null;
    state.detection = detection ?? (visible()[0] ?? -1);
    $("detection-list").scrollTop = 0;
    drawImages();
    draw();
  }

  function chooseDetection(index) {
    state.detection = index;
    draw();
  }

  function chooseAttribute(index) {
    state.attribute = (index + data.names.length) % data.names.length;
    draw();
  }

  function stepImage(by) {
    const listed = images.map((_, k) => k).filter(isListed);
    if (!listed.length) return;
    const at = listed.indexOf(state.image);
    chooseImage(listed[at < 0 ? 0 : (at + by + listed.length) % listed.length]);
  }

  function stepDetection(by) {
    const list = visible();
    if (!list.length) return;
    const at = list.indexOf(state.detection);
    chooseDetection(list[at < 0 ? 0 : (at + by + list.length) % list.length]);
  }

  function flip(name) {
    state[name] = !state[name];
    draw();
  }

  /** All maps side by side are small, so they start zoomed; back on the stage the zoom is as before. */
  function flipAll() {
    state.all = !state.all;
    [state.zoom, zoomBefore] = state.all ? [true, state.zoom] : [zoomBefore, false];
    draw();
  }

  function fade(by) {
    state.opacity = Math.min(1, Math.max(0, Math.round((state.opacity + by) * 20) / 20));
    draw();
  }

  /** After a filter: keep the choice if it is still visible. */
  function refilter() {
    const list = visible();
    if (!list.includes(state.detection)) state.detection = list[0] ?? -1;
    draw();
  }

  /* ---- drawing ---- */

  const isListed = (k) => images[k].name.toLowerCase().includes(state.filter);

  /** Scrolls a list, and nothing but it, to what is chosen. */
  function reveal(list) {
    const item = list.querySelector("[aria-current]")?.parentElement;
    if (!item) return;
    const outer = list.getBoundingClientRect(), inner = item.getBoundingClientRect();
    list.scrollTop += Math.min(0, inner.top - outer.top) + Math.max(0, inner.bottom - outer.bottom);
    list.scrollLeft += Math.min(0, inner.left - outer.left) + Math.max(0, inner.right - outer.right);
  }

  function drawImages() {
    const items = images.map((image, k) => k).filter(isListed).map((k) => {
      const image = images[k], failed = Boolean(image.error);
      const about = failed ? "failed" : plural(image.detections.length, data.noun);
      const button = element("button", { title: image.name, onclick: () => chooseImage(k) },
        failed ? element("span", { class: "thumb broken", text: "!" }) : element("img", { class: "thumb", src: image.thumb, alt: "" }),
        element("span", { class: "name" }, element("b", {}, OdamView.isolated(image.name)), element("small", { class: failed ? "alarm" : "", text: about })));
      if (k === state.image) button.setAttribute("aria-current", "true");
      return element("li", {}, button);
    });
    $("image-list").replaceChildren(...items);
    if (!items.length) $("image-list").append(element("li", { class: "none", text: "No image has this in its name." }));
    reveal($("image-list"));
  }

  function drawDetections() {
    const image = here(), list = visible(), all = image.detections.length;
    $("count").textContent = list.length === all ? plural(all, data.noun) : `${list.length} of ${plural(all, data.noun)}`;
    const focused = $("detection-list").contains(document.activeElement);
    listDetections(image, list, all);
    $("detection-list").querySelector("[aria-current]")?.removeAttribute("aria-current");
    buttons.get(state.detection)?.setAttribute("aria-current", "true");
    reveal($("detection-list"));
    if (focused) $("detection-list").querySelector("[aria-current]")?.focus();
  }

  /** Makes the list anew where others are in it: there may be a thousand, and a step changes two. */
  function listDetections(image, list, all) {
    const key = [state.image, list.join()].join("/");
    if (key === listed) return;
    listed = key;
    buttons.clear();
    $("detection-list").replaceChildren(...list.map((k) => {
      const d = image.detections[k];
      const button = element("button", {
        onclick: () => chooseDetection(k), onpointerenter: () => hover(k), onpointerleave: () => hover(null),
      },
      element("span", { class: "number", text: k, style: `--colour: ${d.color}` }),
      element("span", { class: "label" }, OdamView.isolated(d.label)),
      element("span", { class: "score", text: OdamView.scoreOf(d, 3), style: `--share: ${100 * (d.score ?? 0)}%` }),
      element("span", { class: "box", text: d.box.map((v) => Math.round(v)).join(", "), title: "x1, y1, x2, y2 in pixels of the image" }));
      if (d.truth) {
        const [word, meaning] = VERDICTS[d.truth.verdict];
        button.append(element("span", { class: `verdict ${d.truth.verdict}`, title: `IoU ${d.truth.iou.toFixed(3)}: ${meaning}`, text: d.truth.verdict === "crowd" ? word : `${word} ${d.truth.iou.toFixed(2)}` }));
      }
      buttons.set(k, button);
      return element("li", {}, button);
    }));
    if (!list.length) {
      const why = image.error ? "This image failed." : all ? "None passes the filters." : "None in this image.";
      $("detection-list").append(element("li", { class: "none", text: why }));
    }
  }

  function hover(k) {
    if (state.hover === k) return;
    state.hover = k;
    if (!here().error && !state.all) OdamView.drawStage(data, state, visible(), attribute());
  }

  function drawFilters() {
    const labels = [...new Set(here().detections.map((d) => d.label))].sort();
    if (state.label && !labels.includes(state.label)) state.label = "";
    $("class-filter").replaceChildren(
      element("option", { value: "", text: "All classes" }), ...labels.map((label) => element("option", { value: label, text: label })));
    $("class-filter").value = state.label;
    $("score-filter").value = state.minScore;
    $("score-value").textContent = state.minScore.toFixed(2);
  }

  function drawWords() {
    const d = chosen(), name = attribute(), image = here();
    const usable = Boolean(d);
    $("what").replaceChildren(...usable
      ? [`${name} of ${state.detection} `, OdamView.isolated(d.label), ` ${OdamView.scoreOf(d, 3)}`]
      : [image.error ? "This image failed." : "Nothing to explain here."]);
    const peak = usable && name !== "combined" ? d.peaks[data.attributes.indexOf(name)] : null;
    $("why").textContent = !usable ? "" : peak === 0
      ? "This map is empty: no feature speaks for it." : WHY[name] ? `Warm: ${WHY[name]}.` : "";
    $("peak").textContent = peak === null ? "1" : shown(peak);
    $("peak").title = peak === null ? "maximum of normalised maps" : "highest value of the raw map, in units of the attribute per cell";
    const lut = data.luts[state.colormap], stops = [];
    for (let k = 0; k <= 16; k++) {
      const at = 3 * Math.min(255, 16 * k);
      stops.push(`rgb(${lut[at]} ${lut[at + 1]} ${lut[at + 2]} / ${Math.min(1, k / 16 / data.opaque_from)})`);
    }
    $("gradient").style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  }

  function draw() {
    const image = here();
    drawFilters();
    drawDetections();
    drawWords();
    for (const name of ["heat", "boxes", "truth", "zoom", "all"]) $(`switch-${name}`).setAttribute("aria-pressed", state[name]);
    $("switch-truth").hidden = !annotated;
    $("switch-all").hidden = data.names.length < 2;
    $("attributes").querySelectorAll("button").forEach((button, k) => {
      button.setAttribute("aria-checked", k === state.attribute);
      button.tabIndex = k === state.attribute ? 0 : -1;
    });
    $("opacity").value = Math.round(100 * state.opacity);
    const usable = !image.error, multiples = usable && state.all && Boolean(chosen());
    $("frame").hidden = !usable || multiples;
    $("multiples").hidden = !multiples;
    $("message").hidden = usable;
    $("message").replaceChildren(...image.error ? [OdamView.isolated(image.name), ` could not be explained: ${image.error}`] : []);
    $("stage").setAttribute("aria-label", `Image ${image.name}`);
    if (multiples) OdamView.drawMultiples(data, state, attribute(), (name) => { chooseAttribute(data.names.indexOf(name)); flipAll(); });
    else if (usable) OdamView.drawStage(data, state, visible(), attribute());
    writeLink();
  }

  /* ---- the link ---- */

  function writeLink() {
    if (!linked) return;
    const link = new URLSearchParams({ image: state.image });
    if (state.detection >= 0) link.set("det", state.detection);
    link.set("attr", attribute());
    if (state.all) link.set("view", "all");
    for (const name of ["zoom", "truth"]) if (state[name]) link.set(name, 1);
    if (location.hash.slice(1) !== link.toString()) history.replaceState(null, "", `#${link}`);
  }

  function readLink() {
    const link = new URLSearchParams(location.hash.slice(1));
    const within = (text, end) => /^\d+$/.test(text ?? "") && Number(text) < end ? Number(text) : null;
    state.attribute = Math.max(0, data.names.indexOf(link.get("attr")));
    state.all = link.get("view") === "all";
    for (const name of ["zoom", "truth"]) state[name] = link.get(name) === "1";
    const first = within(link.get("image"), images.length) ?? Math.max(0, images.findIndex((p) => p.detections.length));
    chooseImage(first, within(link.get("det"), images[first].detections.length) ?? undefined);
  }

  /* ---- about the run ---- */

  function rows(value) {
    return element("table", {}, ...Object.entries(value).map(([name, content]) => element("tr", {},
      element("th", { scope: "row", text: name.replaceAll("_", " ") }),
      cell(content))));
  }

  // Sentences are a list; names and numbers are not.
  function cell(content) {
    if (!Array.isArray(content)) return element("td", { text: content === null || content === "" ? "–" : String(content) });
    if (!content.some((one) => String(one).includes(" "))) return element("td", { text: content.join(", ") });
    return element("td", {}, element("ul", {}, ...content.map((one) => element("li", { text: one }))));
  }

  function fillRun() {
    const body = $("run-body"), failed = images.filter((p) => p.error), entries = Object.entries(data.run);
    const isSection = ([, v]) => v !== null && typeof v === "object" && !Array.isArray(v);
    if (failed.length) {
      body.append(element("h3", { class: "alarm", text: `${plural(failed.length, "image")} failed` }),
        element("ul", {}, ...failed.map((p) => element("li", {}, element("b", {}, OdamView.isolated(p.name)), `: ${p.error}`))));
    }
    body.append(rows(Object.fromEntries(entries.filter((entry) => !isSection(entry)))));
    for (const [title, value] of entries.filter(isSection)) body.append(element("h3", { text: title }), rows(value));
    const total = images.reduce((sum, p) => sum + p.detections.length, 0);
    $("summary").textContent = [data.single ? "" : plural(images.length, "image"), plural(total, data.noun), data.run.method].filter(Boolean).join(" · ");
    $("open-failures").hidden = !failed.length;
    $("open-failures").textContent = `${failed.length} failed`;
    $("notice").hidden = total > 0;
    $("notice").textContent = images.length ? data.empty : "No images in this run.";
  }

  /* ---- events ---- */

  function listen() {
    data.names.forEach((name, k) => $("attributes").append(
      element("button", { role: "radio", text: name, title: WHY[name] ?? name, onclick: () => chooseAttribute(k) })));
    Object.keys(data.luts).forEach((name) => $("colormap").append(element("option", { value: name, text: name })));
    for (const name of ["heat", "boxes", "truth", "zoom"]) $(`switch-${name}`).addEventListener("click", () => flip(name));
    $("switch-all").addEventListener("click", flipAll);
    $("previous").addEventListener("click", () => stepDetection(-1));
    $("next").addEventListener("click", () => stepDetection(1));
    $("opacity").addEventListener("input", (e) => { state.opacity = e.target.value / 100; draw(); });
    $("colormap").addEventListener("change", (e) => { state.colormap = e.target.value; draw(); });
    $("class-filter").addEventListener("change", (e) => { state.label = e.target.value; refilter(); });
    $("score-filter").addEventListener("input", (e) => { state.minScore = Number(e.target.value); refilter(); });
    $("image-filter").addEventListener("input", (e) => { state.filter = e.target.value.trim().toLowerCase(); drawImages(); });
    $("open-run").addEventListener("click", () => $("run").showModal());
    $("open-failures").addEventListener("click", () => $("run").showModal());
    $("open-help").addEventListener("click", () => $("help").showModal());
    // Without a form: a sandboxed frame may not submit one, not even to close its dialog.
    for (const id of ["run", "help"]) {
      $(id).addEventListener("click", (e) => { if (e.target.id === id || e.target.matches(".close")) $(id).close(); });
    }

    const under = (event) => OdamView.boxesAt(here(), visible(), OdamView.pointAt(here(), event));
    $("layers").addEventListener("pointermove", (e) => hover(under(e)[0] ?? null));
    $("layers").addEventListener("pointerleave", () => hover(null));
    $("layers").addEventListener("click", (e) => {
      const found = under(e);
      if (found.length) chooseDetection(found[(found.indexOf(state.detection) + 1) % found.length]);
    });
    new ResizeObserver(() => draw()).observe($("stage"));
    window.addEventListener("hashchange", readLink);
    window.addEventListener("keydown", press);
  }

  const KEYS = {
    ArrowLeft: () => stepDetection(-1), ArrowRight: () => stepDetection(1),
    ArrowUp: () => chooseAttribute(state.attribute - 1), ArrowDown: () => chooseAttribute(state.attribute + 1),
    "[": () => chooseAttribute(state.attribute - 1), "]": () => chooseAttribute(state.attribute + 1),
    n: () => stepImage(1), p: () => stepImage(-1), "+": () => fade(0.05), "=": () => fade(0.05), "-": () => fade(-0.05),
    h: () => flip("heat"), b: () => flip("boxes"), z: () => flip("zoom"), a: flipAll,
    g: () => { if (annotated) flip("truth"); }, "?": () => $("help").showModal(),
  };

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches("input, select") || !(event.key in KEYS)) return;
    event.preventDefault();
    const attributes = event.target.closest("#attributes");
    if (attributes && event.key.startsWith("Arrow")) {
      chooseAttribute(state.attribute + (event.key === "ArrowLeft" || event.key === "ArrowUp" ? -1 : 1));
      attributes.querySelector("[aria-checked=true]").focus();
    } else KEYS[event.key]();
  }

  document.body.classList.toggle("framed", framed);
  $("about-links").hidden = !linked;
  fillRun();
  if (!images.length) {
    document.querySelector("main").hidden = true;
    return;
  }
  listen();
  readLink();
})();
