"use strict";
/* What the page says in words: of attributes, of verdicts, of the chosen box, of the run. */
const OdamWords = (() => {
  const { element, isolated } = OdamView;
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
    correct: "it finds an annotated object of its class",
    classification: "it lies on an annotated object of another class",
    localisation: "it lies beside an annotated object of its class, with too little overlap",
    both: "it lies beside an annotated object of another class, with too little overlap",
    duplicate: "its annotated object is already taken by a better detection",
    background: "it overlaps no annotated object",
    missed: "no detection finds this annotated object",
    unmatched: "it has no annotated object of its class with an IoU of .5 or more",
    not_counted: "its image has as many better ones as count",
    ignored: "it lies in an area that is not to be judged, such as a crowd",
  };
  const ALARMING = new Set(["classification", "localisation", "both", "duplicate", "background", "missed", "unmatched"]);

  const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : word.endsWith("x") ? "es" : "s"}`;
  const spaced = (name) => name.replaceAll("_", " ");
  const shown = (number) => number === 0 ? "0" : Math.abs(number) >= 0.01 && Math.abs(number) < 1000 ? String(Number(number.toPrecision(3))) : number.toExponential(1);
  const percent = (share) => `${Math.round(100 * share)} %`;

  /** "good", "bad" or "" for a verdict. */
  const toneOf = (verdict) => verdict === "correct" ? "good" : ALARMING.has(verdict) ? "bad" : "";

  /** Sentences on a row, as nodes: what it was judged to be, and where its heat lies. */
  function tell(record, detection) {
    const told = [];
    if (detection.sentence) told.push(isolated(detection.sentence));
    else if (detection.verdict) {
      const meaning = VERDICTS[detection.verdict];
      const word = detection.verdict[0].toUpperCase() + spaced(detection.verdict.slice(1));
      told.push(isolated(meaning ? `${word}: ${meaning}.` : `${word}.`));
      if (detection.mechanism) told.push(" Why: ", isolated(`${spaced(detection.mechanism)}.`));
    }
    return told;
  }

  function valueOf(value) {
    if (typeof value === "number") return Number.isInteger(value) ? String(value) : shown(value);
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (Array.isArray(value)) return value.map(valueOf).join(", ");
    if (value !== null && typeof value === "object") return Object.entries(value).map(([name, one]) => `${spaced(name)} ${valueOf(one)}`).join(", ");
    return value === null || value === "" ? "–" : String(value);
  }

  /** What a row is judged by, as pairs of a name and a text. */
  function figuresOf(record, detection) {
    const pairs = [], truth = detection.annotation == null ? null : record.annotations?.[detection.annotation];
    if (truth) pairs.push(["judged against", `annotated ${truth.label}`]);
    if (detection.iou !== null) pairs.push(["IoU", detection.iou.toFixed(2)]);
    if (detection.mechanism && detection.sentence) pairs.push(["mechanism", spaced(detection.mechanism)]);
    if (detection.occlusion !== null) pairs.push(["occlusion of the object", percent(detection.occlusion)]);
    if (detection.outside !== null) pairs.push(["heat outside the box", percent(detection.outside)]);
    return pairs;
  }

  /** The other figures of a row, likewise. */
  const furtherFigures = (detection) => Object.entries(detection.figures).map(([name, value]) => [name, valueOf(value)]);

  /* ---- about the run ---- */

  function rows(value) {
    return element("table", {}, ...Object.entries(value).map(([name, content]) => element("tr", {},
      element("th", { scope: "row", text: spaced(name) }), cell(content))));
  }

  // Sentences are a list; names and numbers are not.
  function cell(content) {
    if (!Array.isArray(content)) return element("td", { text: valueOf(content) });
    if (!content.some((one) => String(one).includes(" "))) return element("td", { text: content.join(", ") });
    return element("td", {}, element("ul", {}, ...content.map((one) => element("li", { text: one }))));
  }

  /** The nodes that say what is known of a run: images that failed, facts, sections. failed: { count, listed: [[name, why]] }, or null. */
  function aboutRun(facts, failed) {
    const MOST = 200, nodes = [], entries = Object.entries(facts.run);
    const isSection = ([, value]) => value !== null && typeof value === "object" && !Array.isArray(value);
    if (failed?.count) {
      const listed = failed.listed.slice(0, MOST);
      nodes.push(element("h3", { class: "alarm", text: `${plural(failed.count, "image")} failed` }),
        element("ul", {}, ...listed.map(([name, why]) => element("li", {}, element("b", {}, isolated(name)), `: ${why}`))));
      if (failed.count > listed.length) nodes.push(element("p", { text: `and ${plural(failed.count - listed.length, "image")} more, which the list of images shows.` }));
    }
    nodes.push(rows(Object.fromEntries(entries.filter((entry) => !isSection(entry)))));
    for (const [title, value] of entries.filter(isSection)) nodes.push(element("h3", { text: spaced(title) }), rows(value));
    return nodes;
  }

  return { WHY, VERDICTS, plural, spaced, shown, percent, toneOf, tell, figuresOf, furtherFigures, aboutRun };
})();
