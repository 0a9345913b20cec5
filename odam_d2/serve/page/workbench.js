"use strict";
/* The page as a whole: its tabs, detectors and images, what is drawn when, and the keys. */
(async () => {
  const { $, element } = OdamView;
  const bench = OdamBench;
  const TABS = { run: OdamBrowse, explain: OdamExplain, brush: OdamBrush, methods: OdamMethods, nms: OdamSuppression, two: OdamTwo };
  const WANT = {
    run: "No run is loaded. To browse one, start `odam serve RUN`, where RUN is a folder that `odam explain` wrote.",
    detector: "No detector is loaded, so nothing can be asked. Start `odam serve RUN --config-file NAME`, for example with synthetic/faster_rcnn_compact_FPN.",
  };
  const current = () => TABS[bench.tab];
  const wanting = () => current().needs === "run" ? !bench.about.run : !bench.detector;
  let offered = "";

  /** The record that is shown: that of the tab, or the bare image until there is one. */
  function record() {
    if (wanting()) return null;
    if (current().record) return current().record;
    const { image } = bench;
    if (!image || bench.tab === "run") return null;
    return { name: image.name, size: image.size, input: [image.size[1], image.size[0]], image: `/api/images/${image.image}`, gone: null, error: null, annotations: null, detections: [] };
  }

  bench.factsOf = ({ attributes, combined, methods }) => {
    const names = attributes.filter((name) => name !== "combined");
    return { names: combined ? [...names, "combined"] : names, combined, methods: methods.map(({ name }) => name), annotated: false, noun: "detection" };
  };

  /** Gives the viewer the facts of the tab, and keeps the attribute and the method by their names. */
  function useFacts() {
    const { viewer, facts, wished } = bench, { state } = viewer, before = facts.names[state.attribute];
    if (wanting()) return;
    Object.assign(facts, current().facts());
    const key = JSON.stringify([facts.names, facts.methods]);
    if (key !== offered) viewer.offer();
    const name = wished?.attribute ?? before;
    if (key !== offered || wished) state.attribute = state.byHand = Math.max(0, facts.names.indexOf(name));
    if (wished?.method && facts.methods.includes(wished.method)) state.method = wished.method;
    bench.wished = null;
    offered = key;
    $("method").value = state.method;
  }

  /* ---- changing what is chosen ---- */

  bench.chooseTab = (name, ask = true) => {
    bench.stop();
    bench.complain(null);
    bench.tab = name;
    // A run's boxes show what they are compared with, as in its report; here the image comes first.
    Object.assign(bench.viewer.state, { role: "", hover: null, ...ask === true ? { pair: name === "run", all: false } : {} });
    useFacts();
    if (wanting()) bench.say(WANT[current().needs]);
    else if (current().needs === "detector" && !bench.image) bench.say("");
    else {
      current().tell();
      if (ask) current().enter();
    }
    draw();
  };

  bench.useDetector = (detector) => {
    bench.detector = detector;
    if (bench.subject && !detector.classes.includes(bench.subject.label)) bench.subject = null;
    TABS.explain.fillClasses();
    useFacts();
  };

  /** Opens an image for the detector: { image, name, size, from }, and asks what the tab asks. */
  bench.openImage = async (image, subject = null) => {
    bench.complain(null);
    Object.assign(bench, { image, subject });
    OdamImages.remember(image);
    if (bench.tab === "run") {
      bench.tab = "explain";
      Object.assign(bench.viewer.state, { pair: false, all: false });
    }
    useFacts();
    bench.say("");
    draw();
    await current().enter();
    draw();
    return true;
  };

  function step(by) {
    const tab = current(), list = document.querySelector(`[data-side="${bench.tab}"] .plain`);
    if (!list) return;
    const buttons = [...list.querySelectorAll("button")], at = buttons.findIndex((one) => one.hasAttribute("aria-current"));
    if (buttons.length) buttons[at < 0 && by < 0 ? buttons.length - 1 : (at + by + buttons.length) % buttons.length].click();
    else tab.tell();
  }

  /* ---- drawing ---- */

  function draw() {
    useFacts(); // those of some tabs come with their record
    const { viewer } = bench, tab = current(), shown = record(), want = wanting();
    document.body.dataset.tab = bench.tab;
    for (const button of $("tabs").children) {
      const on = button.dataset.tab === bench.tab;
      button.setAttribute("aria-selected", on);
      button.tabIndex = on ? 0 : -1;
    }
    const empty = tab.needs === "detector" && !bench.image;
    for (const side of document.querySelectorAll("[data-side]")) side.hidden = want || empty || side.dataset.side !== bench.tab;
    const detects = bench.detector && tab.needs === "detector";
    $("with").hidden = !detects;
    $("detector-row").hidden = bench.about.detectors.length < 2;
    $("threshold-row").hidden = !["explain", "nms", "two"].includes(bench.tab);
    if (bench.detector) $("detector").value = bench.detector.name;
    $("threshold").value = bench.threshold;
    $("threshold-value").textContent = bench.threshold.toFixed(2);
    $("verdicts").hidden ||= bench.tab !== "run";
    if (bench.tab === "run" && !want) $("verdicts").hidden = !$("verdicts").childElementCount;
    $("welcome").hidden = !detects || Boolean(bench.image);
    $("choose-class").hidden = true;
    $("bar").hidden = $("caption").hidden = !shown;
    $("answer-box").hidden = !$("answer").textContent && $("working").hidden;
    $("stage").classList.toggle("draws", Boolean(shown && tab.tool()));
    if (shown) {
      Object.assign(viewer.state, { number: tab.record ? tab.key : `bare ${bench.image.image}`, row: tab.record ? tab.row : -1 });
      viewer.draw();
    } else for (const id of ["frame", "multiples", "message", "gone"]) $(id).hidden = true;
    $("back").hidden = !shown || !(viewer.mode() === "all" || viewer.mode() === "pair" || (viewer.mode() === "others" && bench.tab !== "methods" && !(bench.tab === "two" && !tab.chosen)));
    if (shown && !tab.tool()) $("drawing").replaceChildren();
    if (!want && (bench.image || bench.tab === "run")) tab.draw();
    OdamImages.drawList();
    TABS.run.drawImages();
    OdamLink.write();
  }

  bench.draw = draw;
  bench.writeLink = (now) => OdamLink.write(now);

  /** Back from maps side by side to the image; whether there were any. */
  function back() {
    const { state } = bench.viewer, mode = bench.viewer.mode();
    if (current().back()) return true;
    if (mode !== "all" && mode !== "pair") return false;
    Object.assign(state, mode === "all" ? { all: false } : { pair: false });
    draw();
    return true;
  }

  /* ---- events ---- */

  function listen() {
    const chooseFile = OdamImages.listen();
    for (const tab of Object.values(TABS)) tab.listen();
    OdamSave.listen();
    for (const button of $("tabs").children) button.addEventListener("click", () => bench.chooseTab(button.dataset.tab));
    $("tabs").addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key], names = Object.keys(TABS);
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      bench.chooseTab(names[(names.indexOf(bench.tab) + by + names.length) % names.length]);
      $(`tab-${bench.tab}`).focus();
    });
    $("detector").addEventListener("change", (e) => {
      bench.useDetector(bench.about.detectors.find(({ name }) => name === e.target.value));
      bench.chooseTab(bench.tab);
    });
    let pause = null;
    $("threshold").addEventListener("input", (e) => {
      bench.threshold = Number(e.target.value);
      $("threshold-value").textContent = bench.threshold.toFixed(2);
      clearTimeout(pause);
      pause = setTimeout(() => { if (!wanting() && bench.image) current().enter(); }, 250);
    });
    // The viewer hears of it first, and has changed its state.
    $("method").addEventListener("change", () => { if (current().needs === "detector" && bench.image) current().enter(); });
    $("stop").addEventListener("click", bench.stop);
    $("back").addEventListener("click", () => { back(); $("stage").focus({ preventScroll: true }); });
    $("open-run").addEventListener("click", () => $("run").showModal());
    $("previous").addEventListener("click", () => stepBox(-1));
    $("next").addEventListener("click", () => stepBox(1));
    OdamDrawing.listen({
      record, tool: () => record() && !record().error ? current().tool() : null,
      hovered: (event) => { if (current().record && bench.tab !== "brush") bench.viewer.hover(bench.viewer.under(event)[0] ?? null); },
      left: () => bench.viewer.hover(null),
      clicked: (event) => { if (current().record) bench.viewer.pick(event); },
      drawn: (box) => TABS.explain.drawn(box),
      tooSmall: () => { bench.say("The box is too small: draw it larger.", "wait"); draw(); },
      painting: (points) => TABS.brush.painting(points), painted: (points) => TABS.brush.painted(points),
      cancelled: () => { current().cancelled?.(); draw(); },
    });
    window.addEventListener("hashchange", OdamLink.follow);
    window.addEventListener("keydown", (event) => press(event, chooseFile));
  }

  const stepBox = (by) => bench.tab === "run" ? TABS.run.step(by) : step(by);

  function press(event, chooseFile) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      if (OdamDrawing.cancel() || (bench.tab === "explain" && TABS.explain.pressed(event)) || back() || bench.stop()) event.preventDefault();
      return;
    }
    if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
    if (event.target.matches("button, summary, input") && [" ", "Enter"].includes(event.key)) return;
    const names = Object.keys(TABS), step = { n: 1, p: -1 }[event.key];
    const group = event.target.closest("[role=radiogroup]");
    if (group?.id === "attributes" && event.key.startsWith("Arrow")) {
      bench.viewer.chooseAttribute(bench.viewer.state.attribute + (["ArrowLeft", "ArrowUp"].includes(event.key) ? -1 : 1));
      group.querySelector("[aria-checked=true]").focus();
    } else if (/^[1-6]$/.test(event.key)) bench.chooseTab(names[event.key - 1]);
    else if (event.key === "?") $("help").showModal();
    else if (event.key === "s") OdamSave.open();
    else if (event.key === "o") chooseFile();
    else if (event.key === "/" && bench.about.run) $("image-filter").focus();
    else if (!record()) return;
    else if (current().pressed(event)) { /* it was for the tab */ }
    else if (step) OdamImages.step(step);
    else if (event.key === "ArrowLeft" || event.key === "ArrowRight") stepBox(event.key === "ArrowLeft" ? -1 : 1);
    else if (Object.hasOwn(bench.viewer.KEYS, event.key)) bench.viewer.KEYS[event.key]();
    else return;
    event.preventDefault();
  }

  /* ---- the beginning ---- */

  try { bench.about = await OdamApi.get("/api/about"); } catch ({ message }) {
    bench.complain(message);
    for (const id of ["main", "tabs", "open-save"]) $(id).hidden = true;
    return;
  }
  const { about } = bench;
  document.title = about.title || document.title;
  bench.tabs = TABS;
  bench.detector = about.detectors[0] ?? null;
  bench.threshold = bench.detector?.threshold ?? 0.5;
  for (const [name, lut] of Object.entries(about.luts)) bench.facts.luts[name] = OdamHeat.decode(lut);
  bench.facts.opaque_from = about.opaque_from;
  bench.viewer = OdamViewer.make(bench.facts, {
    record, draw, rows: () => current().record ? current().rows() : [], chooseRow: (row) => current().chooseRow(row),
    panels: () => current().record && current().panels ? current().panels() : null, press: (panel) => current().press(panel),
  });
  $("detector").replaceChildren(...about.detectors.map(({ name }) => element("option", { value: name, text: name })));
  $("open-run").hidden = $("run-images").hidden = !about.run;
  $("choose-file").hidden = !bench.detector;
  if (about.run) {
    TABS.run.setUp();
    TABS.run.showImages();
  }
  if (bench.detector) bench.useDetector(bench.detector);
  OdamImages.fillWelcome();
  listen();
  await OdamLink.follow();
  document.body.dataset.ready = "true";
})();
