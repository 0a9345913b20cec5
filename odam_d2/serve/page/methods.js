"use strict";
/* Methods: maps of the chosen box by several methods, side by side. Slow ones say how far they are. */
const OdamMethods = (() => {
  const { $, element } = OdamView;
  const bench = OdamBench;
  const tab = { record: null, key: null, row: 0, names: null };
  let of = null, filled = null;

  /** Fills a list of methods to check. */
  function fillChecks(list, methods, isChecked) {
    $(list).replaceChildren($(list).querySelector("legend"), ...methods.map((one) => {
      const box = element("input", { type: "checkbox", value: one.name });
      box.checked = isChecked(one);
      return element("label", {}, box, one.name, ...one.slow ? [element("small", { text: "slow" })] : []);
    }));
  }

  const checked = (list) => [...$(list).querySelectorAll("input:checked")].map((one) => one.value);
  const wanted = () => checked("methods-list");
  const setting = (names) => JSON.stringify([bench.image?.image, bench.detector?.name, bench.subject, names]);

  function fill() {
    if (filled === bench.detector) return;
    filled = bench.detector;
    const linked = tab.linked;
    fillChecks("methods-list", bench.detector.methods, ({ name, slow }) => linked ? linked.includes(name) : !slow && name !== "random");
    tab.linked = null;
  }

  async function enter() {
    if (!bench.image || !bench.detector) return;
    fill();
    if (!bench.subject) return bench.say("Choose a box under Explain first: its maps by several methods are then side by side.");
    if (setting(wanted()) !== of) await compare();
  }

  async function compare() {
    const names = wanted(), now = setting(names);
    if (!bench.subject) return enter();
    if (!names.length) return bench.say("Choose at least one method.", "wait");
    bench.say(`Asking ${OdamWords.plural(names.length, "method")} about ${bench.subject.label}…`, "wait");
    const results = await bench.ask({ ask: "methods", detector: bench.detector.name, image: bench.image.image, boxes: [bench.subject.box], label: bench.subject.label, methods: names });
    if (!results) return bench.draw();
    of = now;
    Object.assign(tab, { record: results[0].record, key: bench.fresh(), names, seconds: results[0].seconds });
    tell();
    bench.draw();
  }

  function tell() {
    if (!tab.record || !bench.subject) return;
    const with_ = tab.names.length === 1 ? "By one method" : `By ${tab.names.length} methods`;
    bench.say(`${with_}: what speaks for ${bench.subject.label} in this box. Where they agree, the detector most likely looks.`);
  }

  function panels() {
    if (!tab.record) return null;
    const scene = bench.viewer.scene(), [one] = tab.record.detections;
    return tab.names.map((method) => {
      const own = { ...scene, method, row: 0 }, maps = OdamView.mapsOf(one, method, "");
      const name = [scene.attribute, maps?.attributes[0]].find((each) => each && OdamView.hasMap(scene.facts, maps, each));
      const title = name === undefined ? `${method}: no map` : name === scene.attribute ? method : `${method} (${name})`;
      return { scene: own, role: "", name, title, boxes: [[one.box, "#fff"]], label: `Heat map of ${name} by ${method}`, chosen: method === scene.method };
    });
  }

  function draw() {
    fill();
    $("methods-about").textContent = bench.subject ? `${bench.subject.label}, box ${bench.subject.box.map(Math.round).join(", ")}` : "No box is chosen.";
    $("compare-methods").disabled = !bench.subject;
  }

  return Object.assign(tab, {
    needs: "detector", fillChecks, checked, enter, draw, panels, tell, back: () => false, pressed: () => false, chooseRow: () => {}, tool: () => null,
    facts: () => bench.factsOf(bench.detector), rows: () => [0],
    press: ({ scene }) => { bench.viewer.state.method = scene.method; bench.draw(); },
    listen: () => $("compare-methods").addEventListener("click", compare),
  });
})();
