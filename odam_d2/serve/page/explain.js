"use strict";
/* Explain: what the detector finds in the image, and of a box and a class why here, or why not here. */
const OdamExplain = (() => {
  const { $, element, isolated } = OdamView;
  const bench = OdamBench;
  const BUTTONS = 10; // classes that have a button each; more are a list
  const tab = { record: null, key: null, row: -1, draft: null, compared: null };
  let found = null, of = null, asked = []; // the detector's record, what it was asked with, and boxes that were asked about

  const words = new Map(); // by asked row: { words, tone }
  const setting = () => [bench.image?.image, bench.detector?.name, bench.viewer.state.method];
  const start = () => found?.detections.length ?? 0;

  /** Puts what was found and what was asked about into one record. */
  function merge() {
    tab.record = found && { ...found, detections: [...found.detections, ...asked.map((one, k) => ({ ...one, color: "#ffffff", kind: "missed", asked: k }))] };
    tab.key = bench.fresh();
  }

  let entering = Promise.resolve();
  const enter = (row) => (entering = entered(row));

  /** Asks for the detections, if they aren't those of the image, detector, method and threshold that are chosen. */
  async function entered(row = null) {
    if (!bench.image || !bench.detector) return;
    const now = JSON.stringify([...setting(), bench.threshold]);
    if (now === of) return;
    const [image, detector, method] = setting();
    if (JSON.stringify(setting()) !== JSON.stringify(JSON.parse(of ?? "[]").slice(0, 3))) forget();
    bench.say("Looking at the image…", "wait");
    of = now;
    const results = await bench.ask({ ask: "detections", detector, image, method, threshold: bench.threshold });
    if (!results) {
      if (of === now) of = null; // to be asked again
      return bench.draw();
    }
    const chosen = tab.row >= start() && start() ? tab.row - start() : -1;
    found = results[0].record;
    merge();
    tab.row = chosen >= 0 ? start() + chosen : row ?? -1;
    if (tab.row >= tab.record.detections.length) tab.row = -1;
    take();
    if (bench.tab === "explain") tell();
    bench.draw();
  }

  function forget() {
    [found, asked] = [null, []];
    words.clear();
    Object.assign(tab, { record: null, row: -1, draft: null, compared: null });
  }

  /** Makes the chosen box the subject. */
  function take() {
    const one = tab.record?.detections[tab.row];
    if (one) bench.subject = { box: one.box, label: one.label };
  }

  /** Says what is known of the chosen box, or what to do. */
  function tell() {
    const one = tab.record?.detections[tab.row], count = start();
    if (tab.draft) return bench.say("What should be in the box? Choose its class.", "wait");
    if (one?.asked !== undefined) {
      const { words: sentence, tone } = words.get(one.asked);
      return bench.say(sentence, tone);
    }
    if (one) {
      const next = (one.classes ?? []).find(({ label }) => label !== one.label);
      return bench.say(`Found: ${one.label}, with a score of ${bench.score(one.score)}.${next ? ` The next class would be ${next.label}, with ${bench.score(next.score)}.` : ""}`, "good");
    }
    if (!tab.record) return bench.say("");
    const none = bench.detector.misses ? "" : " This detector can't say why a box is missing, but it tells the score of any box.";
    bench.say(count ? `${count === 1 ? "One object is" : `${count} objects are`} found. Is something missing? Draw a box around it.${none}` : `Nothing is found with a score of ${bench.score(bench.threshold)} or more. Draw a box around what is missing, or lower the threshold.${none}`);
  }

  function chooseRow(row) {
    Object.assign(tab, { row, draft: null, compared: null });
    bench.viewer.state.role = "";
    take();
    tell();
    bench.draw();
  }

  /** A box was drawn: its class is asked for. */
  function drawn(box) {
    Object.assign(tab, { draft: box, row: -1, compared: null });
    tell();
    bench.draw();
  }

  function dropBox() {
    tab.draft = null;
    tell();
    bench.draw();
    $("stage").focus({ preventScroll: true });
  }

  /** Asks why the draft is, or isn't, found as a class. */
  async function askWhy(label, box = tab.draft) {
    if (!box) return bench.say("No box is drawn yet: draw one around what is missing.", "wait");
    const [image, detector, method] = setting();
    bench.say(`Why ${label} here, why not?`, "wait");
    await entering; // the detections are shown beside the answer
    const results = await bench.ask({ ask: "box", detector, image, boxes: [box], label, method, threshold: bench.threshold });
    if (!results) return tell();
    const [{ record, why, words: sentence }] = results, [one] = record.detections;
    found ??= { ...record, detections: [] };
    asked.push({ ...one, sentence: null, verdict: null, mechanism: null, why, key: record.key });
    const tone = !why || why.iou !== undefined && why.mechanism !== "found" ? "" : why.mechanism === "found" ? "good" : "bad";
    words.set(asked.length - 1, { words: sentence, tone });
    tab.draft = null;
    merge();
    tab.row = tab.record.detections.length - 1;
    take();
    tell();
    bench.draw();
    if (document.activeElement === document.body) $("stage").focus({ preventScroll: true });
  }

  /** Shows the map of the chosen box beside that of the same box as another class. */
  async function compare(label) {
    const one = tab.record.detections[tab.row], row = tab.row, [image, detector, method] = setting();
    const own = one.asked === undefined;
    const results = await bench.ask(own
      ? { ask: "class", detector, image, row, threshold: bench.threshold, label, method }
      : { ask: "box", detector, image, boxes: [one.box], label, method, threshold: bench.threshold });
    if (!results || tab.row !== row) return;
    const [{ record, other }] = results;
    const score = other?.score ?? (own ? null : record.detections[0].score);
    tab.compared = { record, key: bench.fresh(), own, label, score };
    bench.say(`As ${one.label} the box scores ${bench.score(one.score)}, as ${label} ${bench.score(score)}. What speaks for each:`);
    bench.draw();
  }

  function panels() {
    const { compared } = tab;
    if (!compared) return null;
    const scene = bench.viewer.scene(), there = { ...scene, record: compared.record, number: compared.key, row: 0 };
    const one = tab.record.detections[tab.row];
    const panel = (own, role, label, score) => {
      const maps = OdamView.mapsOf(own.record.detections[own.row], own.method, role);
      const name = [scene.attribute, maps?.attributes[0]].find((each) => each && OdamView.hasMap(own.facts, maps, each));
      return { scene: own, role, name, title: `${label} ${bench.score(score)}`, boxes: [[one.box, "#fff"]], label: `Heat map of ${name} as ${label}`, chosen: label === one.label };
    };
    const role = compared.own ? Object.keys(compared.record.detections[0].maps[scene.method] ?? {}).find((each) => each) ?? "" : "";
    return [panel(scene, "", one.label, one.score), panel(there, role, compared.label, compared.score)];
  }

  function back() {
    if (!tab.compared) return false;
    tab.compared = null;
    tell();
    bench.draw();
    return true;
  }

  /* ---- the side ---- */

  function fillClasses() {
    const { classes } = bench.detector, few = classes.length <= BUTTONS;
    $("class-buttons").replaceChildren(...few ? classes.map((name) => element("button", { onclick: () => askWhy(name) }, isolated(name))) : []);
    $("class-select").hidden = few;
    $("class-select").replaceChildren(element("option", { value: "", text: "Choose a class…" }), ...few ? [] : [...classes].sort((a, b) => a.localeCompare(b, "en")).map((name) => element("option", { value: name, text: name })));
  }

  function draw() {
    const { record, draft } = tab;
    $("choose-class").hidden = !draft;
    if (draft) [0, 1, 2, 3].forEach((k) => { if (document.activeElement !== $(`side-${k}`)) $(`side-${k}`).value = Math.round(draft[k]); });
    if (record && !tab.compared) OdamDrawing.show({ box: draft });
    const items = (record?.detections ?? []).map((one, row) => ({
      chosen: row === tab.row, colour: one.asked === undefined ? one.color : "var(--ink)", press: () => chooseRow(row),
      parts: [element("span", { class: "number", text: one.asked === undefined ? row : "?" }), element("b", {}, isolated(one.label)), element("span", { class: "value", text: bench.score(one.score) })],
    }));
    $("explain-count").textContent = record ? `${OdamWords.plural(start(), "detection")}${asked.length ? `, ${asked.length} asked about` : ""}` : "";
    bench.fillList("explain-list", items, record ? "Nothing is found." : null);
    drawNearly(record?.detections[tab.row]);
  }

  function drawNearly(one) {
    $("nearly").hidden = !one;
    if (!one) return;
    const preferred = one.why?.preferred, other = preferred && !bench.detector.classes.includes(preferred.label); // background
    const known = (one.classes ?? (preferred?.label ? [preferred] : [])).filter(({ label }) => label !== one.label && bench.detector.classes.includes(label));
    const listed = new Set([one.label, ...known.map(({ label }) => label)]), rest = bench.detector.classes.filter((name) => !listed.has(name));
    const choice = element("select", { "aria-label": "Compare with another class", onchange: (e) => compare(e.target.value) },
      element("option", { value: "", text: "another class…" }), ...rest.map((name) => element("option", { value: name, text: name })));
    $("nearly-list").replaceChildren(...other ? [element("p", {}, element("b", { text: preferred.label }), element("span", { text: bench.score(preferred.score) }))] : [], ...known.map(({ label, score }) => {
      const button = element("button", { title: "Maps side by side", onclick: () => compare(label) }, isolated(label), element("span", { text: score == null ? "" : score < 0.005 ? "0.00" : bench.score(score) }));
      button.style.setProperty("--share", `${100 * (score ?? 0)}%`);
      return button;
    }), ...rest.length ? [choice] : []);
  }

  function pressed(event) {
    const { draft, record } = tab;
    if (!record?.size) return false;
    if (event.key === "d") {
      drawn(OdamDrawing.middle(record.size));
      $("stage").focus({ preventScroll: true });
    } else if (draft && event.key.startsWith("Arrow") && document.activeElement === $("stage")) {
      tab.draft = OdamDrawing.nudged(draft, event.key, event.shiftKey, record.size);
      bench.draw();
    } else if (draft && event.key === "Enter" && document.activeElement === $("stage")) {
      ($("class-buttons").querySelector("button") ?? $("class-select")).focus();
    } else if (draft && event.key === "Escape") dropBox();
    else return false;
    return true;
  }

  function listen() {
    $("class-select").addEventListener("change", (e) => { if (e.target.value) askWhy(e.target.value); e.target.value = ""; });
    $("drop-box").addEventListener("click", dropBox);
    $("use-numbers").addEventListener("click", () => {
      const box = [0, 1, 2, 3].map((k) => Number($(`side-${k}`).value)), size = tab.record?.size;
      if (!size) return bench.complain("Choose an image first.");
      const [x1, y1, x2, y2] = box.map((side, k) => Math.min(Math.max(side, 0), size[k % 2]));
      if (!(x2 - x1 >= 2 && y2 - y1 >= 2)) return bench.complain(`The box must be at least 2 pixels wide and high within the image of ${size.join(" x ")} pixels: mend its numbers.`);
      bench.complain(null);
      drawn([x1, y1, x2, y2]);
    });
  }

  return Object.assign(tab, {
    needs: "detector", enter, draw, chooseRow, drawn, askWhy, panels, back, pressed, listen, fillClasses, tell, press: () => back(),
    tool: () => "box", facts: () => bench.factsOf(bench.detector),
    rows: () => tab.record.detections.map((_, k) => k),
    asked: () => { const one = tab.record?.detections[tab.row]; return one?.asked === undefined ? null : one; },
  });
})();
