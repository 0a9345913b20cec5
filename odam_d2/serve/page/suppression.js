"use strict";
/* NMS: what plain NMS and Odam-NMS keep of the candidates, and for each removed one what it was removed for. */
const OdamSuppression = (() => {
  const { $, element, isolated } = OdamView;
  const bench = OdamBench;
  const tab = { record: null, key: null, row: -1, pair: null, kind: "differ" };
  let found = null, of = null;

  async function enter() {
    if (!bench.image || !bench.detector) return;
    if (!bench.detector.odam_nms) return bench.say(`${bench.detector.name} has no candidates that NMS removes, so there is nothing to compare.`);
    const now = JSON.stringify([bench.image.image, bench.detector.name, bench.threshold]);
    if (now === of) return;
    of = now;
    Object.assign(tab, { record: null, pair: null, row: -1 });
    bench.say("Comparing NMS with Odam-NMS…", "wait");
    const results = await bench.ask({ ask: "suppression", detector: bench.detector.name, image: bench.image.image, threshold: bench.threshold });
    if (!results) { of = null; return bench.draw(); }
    [found] = results;
    Object.assign(tab, { record: found.record, key: bench.fresh() });
    tab.kind = found.pairs.some(differs) ? "differ" : "all";
    const linked = tab.linked ? found.pairs.find(({ kept, removed }) => kept === tab.linked[0] && removed === tab.linked[1]) : aboutSubject();
    if (linked && !differs(linked)) tab.kind = "all";
    choosePair(linked ?? listed()[0] ?? null);
    tab.linked = null;
  }

  /** The pair whose removed box is the one nearest to the box that was asked about, if any is near. */
  function aboutSubject() {
    if (!bench.subject) return undefined;
    const { label, box } = bench.subject, rows = tab.record.detections;
    const near = found.pairs.map((pair) => [rows[pair.removed].label === label ? bench.iou(rows[pair.removed].box, box) : 0, Number(differs(pair)), pair]);
    return near.filter(([overlap]) => overlap >= 0.5).sort((a, b) => b[0] - a[0] || b[1] - a[1])[0]?.[2];
  }

  /** Whether one of the two rules alone keeps the box that a pair removes. */
  const differs = ({ removed }) => found.nms.kept.includes(removed) !== found.odam_nms.kept.includes(removed);
  const listed = () => (found?.pairs ?? []).filter((pair) => tab.kind === "all" || differs(pair));

  function choosePair(pair) {
    Object.assign(tab, { pair, row: pair ? pair.removed : -1 });
    tell();
    bench.draw();
  }

  function tell() {
    if (!found || !tab.record) return;
    const { pair } = tab, name = (row) => `${tab.record.detections[row].label} ${bench.score(tab.record.detections[row].score)}`;
    if (!pair) {
      const differ = found.pairs.some(differs);
      return bench.say(!found.pairs.length ? "Neither removes a box: no two candidates of one class overlap enough." : differ ? "Choose a pair to see its maps." : "Both remove the same boxes.");
    }
    const overlap = `overlap with an IoU of ${bench.score(pair.iou)}`, likeness = `their maps are alike by ${bench.score(pair.similarity)}`;
    const kept = name(pair.kept), removed = name(pair.removed);
    const [rule, other] = pair.by === "odam_nms" ? ["Odam-NMS", "NMS"] : ["NMS", "Odam-NMS"];
    const who = pair.by === "both" ? `Both remove ${removed} for ${kept}` : `${rule} removes ${removed} for ${kept}; ${other} ${differs(pair) ? "keeps it" : "removes it for another box"}`;
    bench.say(`${who}. They ${overlap}, and ${likeness}.`);
  }

  function panels() {
    const { pair, record } = tab;
    if (!pair) return null;
    const scene = bench.viewer.scene();
    return [["kept", pair.kept], ["removed", pair.removed]].map(([word, row]) => {
      const own = { ...scene, row, role: "" }, one = record.detections[row], maps = OdamView.mapsOf(one, scene.method, "");
      const name = [scene.attribute, maps?.attributes[0]].find((each) => each && OdamView.hasMap(scene.facts, maps, each));
      const other = record.detections[row === pair.kept ? pair.removed : pair.kept];
      return { scene: own, role: "", name, title: `${word}: ${one.label} ${bench.score(one.score)}`, boxes: [[other.box, "#fff6"], [one.box, word === "kept" ? "#7dff9b" : "#ff8a80"]], label: `Heat map of the box that is ${word}`, chosen: false };
    });
  }

  function draw() {
    bench.drawRadios("pair-kind", "kind", tab.kind);
    const rows = tab.record ? [["Candidates", tab.record.detections.length], ["NMS keeps", found.nms.kept.length], ["Odam-NMS keeps", found.odam_nms.kept.length]] : [];
    $("nms-figures").replaceChildren(...rows.map(([title, value]) => element("tr", {}, element("th", { scope: "row", text: title }), element("td", { text: value }))));
    const shown = tab.record ? listed() : [];
    $("pair-count").textContent = tab.record ? OdamWords.plural(shown.length, "pair") : "";
    const words = { nms: "only NMS", odam_nms: "only Odam-NMS", both: "both" };
    bench.fillList("pair-list", shown.map((pair) => {
      const kept = tab.record.detections[pair.kept], removed = tab.record.detections[pair.removed];
      return {
        chosen: pair === tab.pair, colour: kept.color, press: () => choosePair(pair),
        parts: [element("span", { class: "number", text: "" }), element("b", {}, isolated(removed.label), ` ${bench.score(removed.score)}`), element("span", { class: "value", text: words[pair.by] }),
          element("small", { text: `by ${bench.score(kept.score)} · IoU ${bench.score(pair.iou)} · alike ${bench.score(pair.similarity)}` })],
      };
    }), tab.record ? tab.kind === "differ" ? "They remove the same boxes here." : "No box is removed." : null);
  }

  return Object.assign(tab, {
    needs: "detector", enter, draw, panels, tell, pressed: () => false, tool: () => null, linked: null,
    back: () => { if (!tab.pair) return false; choosePair(null); return true; },
    press: () => choosePair(null), chooseRow: (row) => { const pair = (found?.pairs ?? []).find((one) => one.removed === row || one.kept === row); if (pair) choosePair(pair); },
    facts: () => ({ ...bench.factsOf(bench.detector), names: tab.record ? namesOf(tab.record) : [] }),
    rows: () => tab.record.detections.map((_, k) => k),
    listen: () => bench.listenRadios("pair-kind", "kind", (kind) => { tab.kind = kind; choosePair(listed()[0] ?? null); }),
  });

  function namesOf(record) {
    const maps = record.detections.flatMap((one) => Object.values(one.maps).map((roles) => roles[""])).find(Boolean);
    return maps?.attributes ?? [];
  }
})();
