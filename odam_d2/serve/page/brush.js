"use strict";
/* Brush: fill or blur parts of the image, and see what becomes of the score and of the map of the chosen box. */
const OdamBrush = (() => {
  const { $ } = OdamView;
  const bench = OdamBench;
  const tab = { record: null, key: null, row: 0, strokes: [], how: "erase", radius: 12, cursor: null };
  let before = null, after = null, of = null, still = null; // records with keys; what they are of; the box as it is found now
  let painting = null, edited = null;

  const settings = () => JSON.stringify([bench.image?.image, bench.detector?.name, bench.viewer.state.method, bench.subject]);
  const bodyOf = (image) => ({ ask: "box", detector: bench.detector.name, image, boxes: [bench.subject.box], label: bench.subject.label, method: bench.viewer.state.method, threshold: bench.threshold });
  const shown = (results) => ({ record: results.record, key: bench.fresh(), score: results.record.detections[0].score });

  async function enter() {
    if (!bench.image || !bench.detector) return;
    if (!bench.subject) return bench.say("Choose a box under Explain first: the brush shows what its score depends on.");
    const now = settings();
    if (now === of) return;
    if (JSON.parse(of ?? "[]")[0] !== bench.image.image) tab.strokes = tab.linked ?? [];
    tab.linked = null;
    [before, after, still] = [null, null, null];
    tab.record = null;
    of = now;
    bench.say(`Asking for the score of ${bench.subject.label}…`, "wait");
    const results = await bench.ask(bodyOf(bench.image.image));
    if (!results) { of = null; return bench.draw(); }
    before = after = shown(results[0]);
    show();
    if (tab.strokes.length) await apply();
  }

  function show() {
    Object.assign(tab, { record: after.record, key: after.key });
    tell();
    bench.draw();
  }

  function tell() {
    if (!bench.subject || !before) return;
    const { label } = bench.subject;
    if (!tab.strokes.length) return bench.say(`${label} scores ${bench.score(before.score)} here. Paint over a part of the image to see whether it matters.`);
    const change = after.score - before.score, much = Math.abs(change) >= 0.05;
    const found = still === null ? "" : still === false ? ` It is no longer found at ${bench.score(bench.threshold)}.` : ` It is still found, with ${bench.score(still)}.`;
    bench.say(`${label}: ${bench.score(before.score)} before, ${bench.score(after.score)} now (${change >= 0 ? "+" : "−"}${Math.abs(change).toFixed(2)}). ${much ? change < 0 ? "The detector used what you painted over." : "What you painted over spoke against it." : "What you painted over hardly matters."}${found}`, much ? change < 0 ? "bad" : "good" : "");
  }

  /** Paints the strokes on the server, and asks again. */
  async function apply() {
    const now = of, strokes = [...tab.strokes];
    bench.draw();
    if (!strokes.length) {
      bench.stop();
      after = before;
      still = null;
      return show();
    }
    bench.say("Asking again…", "wait");
    try { edited = await OdamApi.post("/api/edits", { image: bench.image.image, detector: bench.detector.name, strokes }); } catch (error) {
      bench.complain(error.message);
      return tell();
    }
    if (now !== of || tab.strokes.length !== strokes.length) return;
    const results = await bench.ask(bodyOf(edited.image), { ask: "detections", detector: bench.detector.name, image: edited.image, method: bench.viewer.state.method, threshold: bench.threshold });
    if (!results || now !== of) return;
    after = shown(results[0]);
    const same = results[1].record.detections.filter(({ label, box }) => label === bench.subject.label && bench.iou(box, bench.subject.box) >= 0.5);
    still = same.length ? Math.max(...same.map(({ score }) => score)) : false;
    show();
  }

  function painted(points) {
    painting = null;
    if (!before) return;
    const kept = points.filter((point, k) => k === 0 || Math.hypot(point[0] - points[k - 1][0], point[1] - points[k - 1][1]) > 0);
    tab.strokes = [...tab.strokes, { points: thinned(kept), radius: tab.radius, how: tab.how }];
    apply();
  }

  /** Fewer points of a stroke: those farther apart than a third of the radius, and the last. */
  function thinned(points) {
    const found = [points[0]];
    for (const point of points) if (Math.hypot(point[0] - found.at(-1)[0], point[1] - found.at(-1)[1]) >= tab.radius / 3) found.push(point);
    return found.length > 1 || points.length === 1 ? found : [points[0], points.at(-1)];
  }

  function undo() {
    if (!tab.strokes.length) return;
    tab.strokes = tab.strokes.slice(0, -1);
    apply();
  }

  function reset() {
    if (!tab.strokes.length) return;
    tab.strokes = [];
    apply();
  }

  function draw() {
    const { mean } = bench.detector;
    if (!mean && tab.how === "mean") tab.how = "erase";
    bench.drawRadios("brush-how", "how", tab.how);
    $("brush-how").querySelector("[data-how=mean]").disabled = !mean;
    $("drawing").style.setProperty("--mean", mean ? `rgb(${mean.join()})` : "");
    $("radius").value = tab.radius;
    $("radius-value").textContent = `${tab.radius} px`;
    for (const id of ["undo", "reset"]) $(id).disabled = !tab.strokes.length;
    $("strokes").textContent = tab.strokes.length ? OdamWords.plural(tab.strokes.length, "stroke") : "";
    for (const [id, one, word] of [["before", before, "Before"], ["after", after, "Now"]]) {
      $(`${id}-words`).textContent = one ? `${word}: ${bench.subject.label} ${bench.score(one.score)}` : word;
      $(id).hidden = !one;
      if (one) paint($(id), one);
    }
    if (tab.record) drawInk();
  }

  /** What is painted but not yet in the photograph, and the brush of the keys. */
  function drawInk() {
    const waiting = after?.record.image === tab.record.image && tab.strokes.length && edited && after === before ? tab.strokes : [];
    const strokes = [...waiting, ...painting ? [{ points: painting, radius: tab.radius, how: tab.how }] : []];
    OdamDrawing.show({ strokes, brush: tab.cursor && [...tab.cursor, tab.radius] });
  }

  /** A small view of the chosen box with its map. */
  function paint(canvas, one) {
    const scene = { ...bench.viewer.scene(), record: one.record, number: one.key, row: 0, role: "" };
    const maps = OdamView.mapsOf(one.record.detections[0], scene.method, ""), [x1, y1, x2, y2] = bench.subject.box, tall = y2 - y1 > x2 - x1;
    const view = OdamView.viewOf(one.record, [bench.subject.box], maps ? [maps] : [], tall ? 0.7 : 1.6);
    $("minis").classList.toggle("tall", tall);
    Object.assign(canvas, { width: 480, height: Math.round(480 * view[3] / view[2]) });
    const name = [scene.attribute, maps?.attributes[0]].find((each) => each && OdamView.hasMap(scene.facts, maps, each));
    const panel = { role: "", name, boxes: [[bench.subject.box, "#fff"]] };
    const photo = OdamPanels.photoOf(one.record), now = () => OdamPanels.paintPanel(canvas, scene, panel, view);
    now();
    if (photo && !photo.complete) photo.addEventListener("load", now, { once: true });
  }

  function pressed(event) {
    if (!tab.record) return false;
    if (event.key === "u") undo();
    else if (document.activeElement === $("stage") && (event.key.startsWith("Arrow") || event.key === " ")) {
      const [width, height] = tab.record.size, step = Math.max(2, Math.round(Math.max(width, height) / 100));
      const { box } = bench.subject;
      tab.cursor ??= [Math.round((box[0] + box[2]) / 2), Math.round((box[1] + box[3]) / 2)];
      if (event.key === " ") painted([tab.cursor]);
      else {
        const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
        tab.cursor = [Math.min(width, Math.max(0, tab.cursor[0] + dx)), Math.min(height, Math.max(0, tab.cursor[1] + dy))];
        drawInk();
      }
    } else return false;
    return true;
  }

  function listen() {
    bench.listenRadios("brush-how", "how", (how) => { if (how !== "mean" || bench.detector.mean) tab.how = how; bench.draw(); });
    $("radius").addEventListener("input", (e) => { tab.radius = Number(e.target.value); draw(); });
    $("undo").addEventListener("click", undo);
    $("reset").addEventListener("click", reset);
  }

  return Object.assign(tab, {
    needs: "detector", enter, draw, listen, pressed, painted, undo, tell, back: () => false, chooseRow: () => {},
    tool: () => "brush", facts: () => bench.factsOf(bench.detector), rows: () => [0],
    painting: (points) => { painting = [...points]; tab.cursor = null; if (tab.record) drawInk(); },
    cancelled: () => { painting = null; if (tab.record) drawInk(); },
  });
})();
