"use strict";
/* Two detectors on one image: what both find, what one alone finds, and why the other doesn't. */
const OdamTwo = (() => {
  const { $, element, isolated } = OdamView;
  const bench = OdamBench;
  const SAME = 0.5; // IoU from which two boxes of a class count as the same
  const tab = { record: null, key: null, row: -1, other: null, chosen: null, names: [] }; // names of methods; none for each detector's own
  let sides = null, of = null, rows = [], seen = null; // of either detector its records by method; what either finds; the chosen one in both
  let filled = null; // the detectors whose methods are listed

  const ownMethod = (detector) => detector.methods[0].name;
  const methodsOf = (detector) => tab.names.length ? tab.names : [ownMethod(detector)];
  const common = () => tab.other ? bench.detector.methods.filter(({ name }) => tab.other.methods.some((one) => one.name === name)) : [];
  const firstNames = () => common().map(({ name }) => name).filter((name) => name === ownMethod(bench.detector) && name === ownMethod(tab.other));

  /** Lists the methods that both detectors have. */
  function fillMethods() {
    const key = `${bench.detector.name}\n${tab.other.name}`;
    if (key === filled) return;
    filled = key;
    const linked = tab.linkedMethods?.filter((name) => common().some((one) => one.name === name));
    tab.names = linked?.length ? linked : firstNames();
    tab.linkedMethods = null;
    OdamMethods.fillChecks("two-methods", common(), ({ name }) => tab.names.includes(name));
  }

  async function compare() {
    const names = OdamMethods.checked("two-methods");
    if (!sides) return enter();
    if (!names.length) return bench.say("Choose at least one method.", "wait");
    tab.names = names;
    if (tab.chosen) return choose(tab.chosen);
    tell();
    return bench.draw();
  }

  async function enter() {
    if (!bench.image || !bench.detector) return;
    const rest = bench.about.detectors.filter((one) => one !== bench.detector);
    if (!rest.length) return bench.say("One detector is loaded. To compare two, start `odam serve --config-file A B`.");
    if (!rest.includes(tab.other)) tab.other = rest.find(({ name }) => name === tab.linkedName) ?? rest[0];
    fillMethods();
    const now = JSON.stringify([bench.image.image, bench.detector.name, tab.other.name, bench.threshold]);
    if (now === of) return;
    of = now;
    [sides, seen, rows] = [null, null, []];
    Object.assign(tab, { record: null, chosen: null });
    bench.say("Asking both detectors…", "wait");
    const both = [bench.detector, tab.other];
    const results = await bench.ask(...both.map(({ name, methods }) => ({ ask: "detections", detector: name, image: bench.image.image, method: methods[0].name, threshold: bench.threshold })));
    if (!results) { of = null; return bench.draw(); }
    sides = results.map(({ record }, k) => ({ record, by: { [ownMethod(both[k])]: { record, key: bench.fresh() } }, detector: both[k] }));
    Object.assign(tab, { record: sides[0].record, key: bench.fresh() });
    rows = paired(...sides.map(({ record }) => record.detections));
    const linked = rows[tab.linked];
    tab.linked = null;
    tell();
    bench.draw();
    if (linked) await choose(linked);
  }

  /** What either finds: [row of the first or null, of the second or null], one to one by falling overlap. */
  function paired(first, second) {
    const close = [];
    first.forEach((a, i) => second.forEach((b, j) => {
      const overlap = a.label === b.label ? bench.iou(a.box, b.box) : 0;
      if (overlap >= SAME) close.push([overlap, i, j]);
    }));
    const taken = [new Map(), new Map()];
    for (const [, i, j] of close.sort((a, b) => b[0] - a[0])) {
      if (taken[0].has(i) || taken[1].has(j)) continue;
      taken[0].set(i, j);
      taken[1].set(j, i);
    }
    const alone = second.map((_, j) => [null, j]).filter(([, j]) => !taken[1].has(j));
    const mine = first.map((_, i) => [i, taken[0].get(i) ?? null]);
    return [...mine.filter(([, j]) => j === null), ...alone, ...mine.filter(([, j]) => j !== null)];
  }

  const ofRow = ([i, j]) => i !== null ? sides[0].record.detections[i] : sides[1].record.detections[j];

  /** Shows one of them in both; a detector that doesn't find it is asked why. */
  async function choose(row) {
    tab.chosen = row;
    const one = ofRow(row), missing = row.indexOf(null);
    tab.why = null;
    seen = sides.map((side, k) => row[k] === null ? null : { ...side, row: row[k], score: side.record.detections[row[k]].score });
    bench.subject = { box: one.box, label: one.label };
    if (missing >= 0) {
      const { detector } = sides[missing], finder = sides[1 - missing].detector.name;
      if (!detector.classes.includes(one.label)) bench.say(`${finder} finds this ${one.label}. ${detector.name} doesn't know this class.`, "bad");
      else {
        bench.say(`Asking ${detector.name} why it doesn't find this ${one.label}…`, "wait");
        bench.draw();
        const results = await bench.ask({ ask: "box", detector: detector.name, image: bench.image.image, boxes: [one.box], label: one.label, method: detector.methods[0].name, threshold: bench.threshold });
        if (tab.chosen !== row) return;
        if (results) {
          const [{ record, words, why }] = results;
          seen[missing] = { found: why?.mechanism === "found", record, by: { [ownMethod(detector)]: { record, key: bench.fresh() } }, detector, row: 0, given: true, score: record.detections[0].score };
          tab.why = words;
        }
      }
    }
    if (!await askMaps(row)) return bench.draw();
    tell();
    bench.draw();
  }

  /** Asks for maps of the chosen object by the chosen methods, where the answers so far lack them; whether they are there. */
  async function askMaps(row) {
    const wanted = seen.flatMap((one) => one ? methodsOf(one.detector).filter((name) => !one.by[name]).map((name) => [one, name]) : []);
    if (!wanted.length) return tab.chosen === row;
    bench.say(`Asking for maps by ${OdamWords.plural(tab.names.length, "method")}…`, "wait");
    bench.draw();
    const results = await bench.ask(...wanted.map(([{ detector, record, given }, method]) => {
      const body = { detector: detector.name, image: bench.image.image, threshold: bench.threshold };
      if (!given) return { ask: "detections", method, ...body };
      const [{ box, label }] = record.detections;
      return { ask: "methods", boxes: [box], label, methods: [method], ...body };
    }));
    if (!results) return false;
    // Those of detections are kept for the other objects.
    results.forEach(({ record }, k) => { const [{ by }, name] = wanted[k]; by[name] = { record, key: bench.fresh() }; });
    return tab.chosen === row;
  }

  function tell() {
    if (!sides) return;
    const [a, b] = sides.map(({ detector }) => detector.name);
    if (!tab.chosen) {
      const both = rows.filter((row) => !row.includes(null)).length, alone = [0, 1].map((k) => rows.filter((row) => row[1 - k] === null).length);
      return bench.say(`Both find ${OdamWords.plural(both, "object")}; ${a} alone ${alone[0]}, ${b} alone ${alone[1]}. Choose one to see its maps.`);
    }
    const one = ofRow(tab.chosen), missing = tab.chosen.indexOf(null);
    if (missing < 0) return bench.say(`Both find this ${one.label}: ${a} with ${bench.score(seen[0].score)}, ${b} with ${bench.score(seen[1].score)}.`, "good");
    if (seen[missing]?.found) bench.say(`${sides[1 - missing].detector.name} finds this ${one.label} with ${bench.score(one.score)}. ${sides[missing].detector.name} has a detection there too, which goes with another one.`);
    else if (seen[missing]) bench.say(`Only ${sides[1 - missing].detector.name} finds this ${one.label}, with ${bench.score(one.score)}. ${sides[missing].detector.name}: ${tab.why}`, "bad");
  }

  function panels() {
    if (!sides) return null;
    const scene = bench.viewer.scene();
    const panel = (k, method) => {
      const side = sides[k], { detector } = side, at = tab.chosen && seen[k], facts = { ...bench.facts, ...bench.factsOf(detector) };
      const { by } = at || side, { record, key } = by[method] ?? by[ownMethod(detector)], row = at ? at.row : -1;
      const own = { ...scene, record, number: key, row, facts, method, role: "" }, one = record.detections[row], maps = OdamView.mapsOf(one, method, "");
      const name = [scene.attribute, maps?.attributes[0]].find((each) => each && OdamView.hasMap(facts, maps, each));
      const boxes = tab.chosen ? [[ofRow(tab.chosen).box, "#fff6"], ...one ? [[one.box, "#fff"]] : []] : record.detections.map(({ box, color }) => [box, color]);
      const title = `${!tab.chosen ? OdamWords.plural(record.detections.length, "detection") : tab.chosen[k] === null ? `not found${at ? ` (${bench.score(at.score)})` : ""}` : `${one.label} ${bench.score(at.score)}`}: ${detector.name}${tab.chosen && tab.names.join() !== firstNames().join() ? `, ${method}` : ""}${at && name === undefined ? ": no map" : ""}`;
      return { scene: own, role: "", name, title, boxes, label: title, chosen: false };
    };
    const count = tab.chosen ? Math.max(1, tab.names.length) : 1;
    return Array.from({ length: 2 * count }, (_, n) => panel(n % 2, methodsOf(sides[n % 2].detector)[n >> 1]));
  }

  function draw() {
    const rest = bench.about.detectors.filter((one) => one !== bench.detector);
    $("other-detector").replaceChildren(...rest.map(({ name }) => element("option", { value: name, text: name })));
    $("other-detector").disabled = !rest.length;
    if (tab.other) $("other-detector").value = tab.other.name;
    $("two-by").hidden = !sides || !common().length;
    $("two-names").textContent = tab.names.join(", ") || "each detector's own method";
    $("two-count").textContent = sides ? `${OdamWords.plural(rows.length, "object")}; scores of the one and the other` : "";
    bench.fillList("two-list", rows.map((row) => {
      const one = ofRow(row), score = (k) => row[k] === null ? "–" : bench.score(sides[k].record.detections[row[k]].score);
      return { chosen: row === tab.chosen, colour: one.color, press: () => choose(row),
        parts: [element("span", { class: "number", text: "" }), element("b", {}, isolated(one.label)), element("span", { class: "value", text: `${score(0)} | ${score(1)}` })] };
    }), sides ? "Neither finds anything." : null);
  }

  function back() {
    if (!tab.chosen) return false;
    tab.chosen = null;
    tell();
    bench.draw();
    return true;
  }

  return Object.assign(tab, {
    needs: "detector", enter, draw, panels, tell, back, press: () => back(), pressed: () => false, tool: () => null, chooseRow: () => {},
    facts: () => bench.factsOf(bench.detector), rows: () => [], place: () => rows.indexOf(tab.chosen), linked: null, linkedMethods: null,
    asFirst: () => tab.names.join() === firstNames().join(), // so that links needn't name the methods
    listen: () => {
      $("other-detector").addEventListener("change", (e) => { tab.other = bench.about.detectors.find(({ name }) => name === e.target.value); enter(); });
      $("compare-two").addEventListener("click", compare);
    },
  });
})();
