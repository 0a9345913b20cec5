"use strict";
/* The address bar holds a link to what is shown; a link brings it back. */
const OdamLink = (() => {
  const bench = OdamBench;
  const PAUSE = 300, LONGEST = 4000; // milliseconds between changes, of which browsers refuse more; characters of strokes
  const linking = { last: -Infinity, later: null, held: true };

  /* ---- writing ---- */

  const numbers = (values) => values.map((value) => Math.round(value * 10) / 10).join(",");

  /** Strokes in short: e, m or b and the radius, then the points. */
  const short = (strokes) => strokes.map(({ how, radius, points }) => `${how[0]}${radius}:${points.map(numbers).join(",")}`).join(";");

  function ofRun(link) {
    const { run } = bench.tabs, { filters, listing } = run;
    link.set("number", run.number);
    if (run.row >= 0) link.set("det", run.row);
    for (const name of OdamChoose.WORDS) for (const place of filters[name]) link.append(name, run.tables()[name][place]);
    for (const name of OdamChoose.RANGES) if (filters[name].some((bound) => bound !== null)) link.set(name, filters[name].map((bound) => bound ?? "").join(".."));
    for (const name of ["judged", "name"]) if (filters[name]) link.set(name, filters[name]);
    if (listing.sort !== "place" || listing.descending) link.set("sort", `${listing.descending ? "-" : ""}${listing.sort}`);
    if (listing.group) link.set("group", listing.group);
    if (listing.scope === "all") link.set("list", "all");
  }

  function ofImage(link) {
    const { image, subject, tabs, tab } = bench, { explain, brush, methods, nms, two } = tabs;
    if (!image) return;
    const [[kind, value]] = Object.entries(image.from);
    link.set("image", `${kind}:${value}`);
    if (kind === "id") link.set("name", image.name);
    if (bench.about.detectors.length > 1) link.set("detector", bench.detector.name);
    link.set("score", bench.threshold);
    if (tab === "explain" && explain.draft) link.set("box", numbers(explain.draft));
    else if (tab === "explain" && explain.row >= 0 && !explain.asked()) link.set("det", explain.row);
    else if (subject && (tab !== "explain" || explain.asked())) {
      link.set("box", numbers(subject.box));
      link.set("class", subject.label);
    }
    if (tab === "explain" && explain.compared) link.set("as", explain.compared.label);
    if (tab === "brush" && brush.strokes.length && short(brush.strokes).length <= LONGEST) link.set("strokes", short(brush.strokes));
    if (tab === "methods" && methods.names) link.set("methods", methods.names.join());
    if (tab === "nms" && nms.pair) link.set("pair", `${nms.pair.kept},${nms.pair.removed}`);
    if (tab === "two" && two.other) {
      link.set("other", two.other.name);
      if (two.place() >= 0) link.set("item", two.place());
      if (!two.asFirst()) link.set("methods", two.names.join());
    }
  }

  /** Writes the link; `now` doesn't wait. */
  function write(now = false) {
    if (linking.held) return;
    const { viewer, facts, tab, tabs } = bench, link = new URLSearchParams({ tab });
    if (tab === "run") { if (tabs.run.number !== null) ofRun(link); } else ofImage(link);
    if (viewer.attribute()) link.set("attr", viewer.attribute());
    if (facts.methods.length > 1 && viewer.state.method) link.set("method", viewer.state.method);
    for (const name of ["zoom", "truth"]) if (viewer.state[name]) link.set(name, 1);
    if (viewer.state.all) link.set("view", "all");
    if (viewer.state.pair !== (tab === "run")) link.set("pairs", Number(viewer.state.pair));
    if (location.hash.slice(1) !== link.toString()) set(`#${link}`, now);
  }

  function set(link, now = false) {
    clearTimeout(linking.later);
    const wait = linking.last + PAUSE - performance.now();
    if (wait > 0 && !now) linking.later = setTimeout(set, wait, link);
    else {
      history.replaceState(null, "", link);
      linking.last = performance.now();
    }
  }

  /* ---- reading ---- */

  const boxOf = (text) => {
    const box = (text ?? "").split(",").map(Number);
    return box.length === 4 && box.every(Number.isFinite) && box[2] > box[0] && box[3] > box[1] ? box : null;
  };
  const whole = (text) => /^\d{1,9}$/.test(text ?? "") ? Number(text) : null;

  const HOW = { e: "erase", m: "mean", b: "blur" };

  function strokesOf(text) {
    return (text ?? "").split(";").map((one) => /^([emb])([\d.]+):([\d.,]+)$/.exec(one)).filter(Boolean).map(([, how, radius, flat]) => {
      const values = flat.split(",").map(Number), points = [];
      for (let k = 0; k + 1 < values.length; k += 2) points.push([values[k], values[k + 1]]);
      return { how: HOW[how], radius: Number(radius), points };
    }).filter(({ points }) => points.length);
  }

  /** The image that a link names, as bench.openImage takes it; null if it names none. Throws in words if it is gone. */
  async function imageOf(link) {
    const named = /^(sample|run|id):(.*)$/s.exec(link.get("image") ?? "");
    if (!named) return null;
    const [, kind, value] = named;
    if (kind === "run") {
      if (!bench.about.run) throw new Error("The link names an image of a run, and no run is loaded: start `odam serve RUN`.");
      return { ...await OdamApi.post(`/api/run/open/${encodeURIComponent(value)}`, {}), from: { run: Number(value) } };
    }
    const sample = (bench.about.samples ?? []).find(({ name }) => name === value);
    if (kind === "sample" && !sample) throw new Error(`The link names the sample ${value}, which isn't here: choose another image.`);
    const id = kind === "sample" ? sample.image : value, size = await sizeOf(id);
    if (!size) throw new Error("The image of this link is no longer held by the server: choose it again.");
    return { image: id, name: kind === "sample" ? value : link.get("name") ?? "image", size, from: { [kind]: value } };
  }

  async function sizeOf(id) {
    const image = new Image();
    image.src = `/api/images/${encodeURIComponent(id)}`;
    try { await image.decode(); } catch { return null; }
    return [image.naturalWidth, image.naturalHeight];
  }

  function readRun(link) {
    const { run } = bench.tabs, { filters, listing } = run;
    for (const name of OdamChoose.WORDS) filters[name] = new Set(link.getAll(name).map((word) => run.tables()[name].indexOf(word)).filter((place) => place > 0));
    for (const name of OdamChoose.RANGES) {
      const bounds = (link.get(name) ?? "").split("..");
      filters[name] = [0, 1].map((end) => bounds.length === 2 && bounds[end] && Number.isFinite(Number(bounds[end])) ? Number(bounds[end]) : null);
    }
    filters.judged = ["with", "without"].includes(link.get("judged")) ? link.get("judged") : "";
    document.getElementById("image-filter").value = filters.name = link.get("name") ?? "";
    const [, minus, sort] = /^(-?)(.*)$/.exec(link.get("sort") ?? "place");
    Object.assign(listing, { sort: sort || "place", descending: minus === "-", group: run.groups.includes(link.get("group")) ? link.get("group") : "", scope: link.get("list") === "all" ? "all" : "image" });
    Object.assign(run, { number: whole(link.get("number")), row: whole(link.get("det")) ?? -1 });
  }

  /** Shows what the link of the address bar says. */
  async function follow() {
    clearTimeout(linking.later);
    linking.held = true;
    try { await shown(new URLSearchParams(location.hash.slice(1))); } catch ({ message }) { bench.complain(message); }
    linking.held = false;
    bench.draw();
  }

  async function shown(link) {
    const { tabs, viewer, about } = bench, { state } = viewer, { explain, brush, methods, nms, two } = tabs;
    const tab = Object.hasOwn(tabs, link.get("tab")) ? link.get("tab") : about.run && !link.has("image") ? "run" : "explain";
    for (const name of ["zoom", "truth"]) state[name] = link.get(name) === "1";
    Object.assign(state, { all: link.get("view") === "all", pair: link.has("pairs") ? link.get("pairs") === "1" : tab === "run" });
    bench.wished = { attribute: link.get("attr"), method: link.get("method") };
    if (tab === "run") {
      if (about.run) readRun(link);
      return bench.chooseTab("run", "linked");
    }
    if (!bench.detector) return bench.chooseTab(tab);
    bench.useDetector(about.detectors.find(({ name }) => name === link.get("detector")) ?? bench.detector);
    const threshold = Number(link.get("score"));
    if (threshold > 0 && threshold < 1) bench.threshold = threshold;
    bench.chooseTab(tab, false);
    const image = await imageOf(link);
    if (!image) return bench.chooseTab(tab);
    const box = boxOf(link.get("box")), label = bench.detector.classes.includes(link.get("class")) ? link.get("class") : null;
    brush.linked = strokesOf(link.get("strokes"));
    const named = link.has("methods") ? link.get("methods").split(",") : null;
    [methods.linked, two.linkedMethods] = [tab === "methods" ? named : null, tab === "two" ? named : null];
    nms.linked = link.get("pair")?.split(",").map(Number) ?? null;
    [two.linkedName, two.linked] = [link.get("other"), whole(link.get("item"))];
    await bench.openImage(image, box && label ? { box, label } : null);
    if (tab !== "explain" || !explain.record) return undefined;
    const row = whole(link.get("det"));
    if (row !== null && row < explain.record.detections.length) explain.chooseRow(row);
    else if (box && label) await explain.askWhy(label, box);
    else if (box) explain.drawn(box);
    if (bench.detector.classes.includes(link.get("as")) && explain.row >= 0) await explain.compare(link.get("as"));
    return undefined;
  }

  return { write, follow };
})();
