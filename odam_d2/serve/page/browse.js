"use strict";
/* Run: the images and boxes of a run, filtered, sorted and paged by the server, with their maps, as in its report. */
const OdamBrowse = (() => {
  const { $, element, isolated } = OdamView;
  const bench = OdamBench;
  const KEPT = 24; // records of images
  const tab = { record: null, key: null, row: -1, number: null };
  const filters = OdamChoose.noFilters(), listing = { sort: "place", descending: false, group: "", scope: "image", images: "place" };
  const records = new Map();
  let run = null, facts = null, controls = null, boxes = null, thumbs = null, list = null, images = null, rows = null, at = -1, started = false;

  const colourOf = (row) => `hsl(${360 * ((0.33 + row * 0.618034) % 1)} 100% 57.5%)`;

  /** The query of the filters; `more` adds to it. */
  function query(more) {
    const asked = new URLSearchParams(more);
    for (const name of OdamChoose.WORDS) for (const place of filters[name]) asked.append(name, facts.tables[name][place]);
    for (const name of OdamChoose.RANGES) ["min", "max"].forEach((end, k) => { if (filters[name][k] !== null) asked.set(`${name}_${end}`, filters[name][k]); });
    for (const name of ["judged", "name"]) if (filters[name]) asked.set(name, filters[name]);
    return asked;
  }

  const boxesOf = (more) => OdamApi.get(`/api/run/boxes?${query(more)}`);
  const order = () => listing.sort === "place" && !listing.descending ? {} : { order_by: listing.sort, descending: listing.descending };
  // Boxes of one image are one group.
  const grouping = () => !listing.group || (listing.group === "image" && listing.scope === "image") ? {} : { group_by: listing.group };

  /** How many boxes each word would leave, by its place, as the controls take them: those that pass all other filters. */
  async function countWords() {
    const { choices } = await boxesOf({ limit: 0, offset: 0 });
    return Object.fromEntries(OdamChoose.WORDS.map((name) => [name, facts.tables[name].map((word) => choices[name][word ?? ""] ?? 0)]));
  }

  /** Offers what there is to sort and group by. Figures are read while the page is shown already; a link may ask for one of them. */
  async function offer() {
    const { sort } = listing, known = (name) => run.figures.includes(name);
    controls.offer(known);
    const { figures } = await OdamApi.get("/api/run/figures").catch(() => ({ figures: [] }));
    if (sort.startsWith("figure ")) listing.sort = sort;
    facts.figures = figures;
    controls.offer(known);
    $("sort").value = listing.sort;
  }

  function setUp() {
    run = { ...bench.about.run };
    if ((run.names.kind ?? []).length > 1) run.noun = "box"; // detections, and missed objects beside them
    facts = {
      tables: Object.fromEntries(OdamChoose.WORDS.map((name) => [name, [null, ...run.names[name]]])),
      annotated: run.annotated, figures: [], single: false, noun: run.noun,
    };
    controls = OdamFilters.make(facts, filters, listing, changed);
    list = new OdamPaged.Paged(async (offset, limit) => {
      const here = listing.scope === "image" ? { image: tab.number } : {};
      const answer = await boxesOf({ offset, limit, ...order(), ...grouping(), ...here });
      return { ...answer, boxes: answer.count, count: answer.items, rows: answer.boxes };
    }, () => boxes.set(list.count), ({ message }) => bench.complain(message));
    images = new OdamPaged.Paged(async (offset, limit) => {
      const answer = await OdamApi.get(`/api/run/images?${query({ offset, limit, order_by: listing.images })}`);
      return { ...answer, rows: answer.images };
    }, () => {
      thumbs.set(images.count);
      $("image-list").dataset.none = images.count ? "" : filters.name && !OdamChoose.active({ ...filters, name: "" }) ? "No image has this in its name." : "No image passes the filters.";
    }, ({ message }) => bench.complain(message));
    boxes = new OdamList.List($("detection-scroller"), $("detection-list"), fillBox);
    thumbs = new OdamList.List($("image-scroller"), $("image-list"), fillImage);
    $("image-filter").addEventListener("input", (e) => { filters.name = e.target.value.trim(); changed("filters"); });
    bench.listenRadios("scope", "scope", chooseScope);
    for (const [value, text] of [["place", "run order"], ["name", "by name"], ["boxes", "most boxes first"], ...run.failed ? [["failed", "failed first"]] : []]) {
      $("image-order").append(element("option", { value, text }));
    }
    $("image-order").addEventListener("change", (e) => { listing.images = e.target.value; images.reset(); });
    $("open-failures").hidden = !run.failed;
    $("open-failures").textContent = `${run.failed.toLocaleString("en")} failed`;
    $("open-failures").addEventListener("click", () => $("run").showModal());
    const summary = [OdamWords.plural(run.images, "image"), OdamWords.plural(run.boxes, run.noun), run.facts.method].filter(Boolean).join(" · ");
    $("run-body").replaceChildren(element("p", { id: "summary", text: summary }), ...OdamWords.aboutRun({ run: run.facts }, { count: run.failed, listed: run.failures }));
    $("ask-about").addEventListener("click", askAbout);
  }

  async function enter() {
    if (!run || started) return;
    started = true;
    const offered = offer();
    if (listing.sort.startsWith("figure ")) await offered;
    await images.reset();
    const first = tab.number ?? run.first;
    if (first === null) return bench.say("No images in this run.");
    await choose(first, tab.row >= 0 ? tab.row : null);
    await relist();
  }

  /** After a change of the controls: see OdamFilters. */
  async function changed(what) {
    if (what === "verdict" && filters.verdict.size) listing.scope = "all";
    if (what !== "order") images.reset();
    await relist();
    await loadRows();
    const first = await firstBox();
    if ((at < 0 || what === "order") && first >= 0 && listing.scope === "all") open(first);
    else if (!rows.includes(tab.row)) chooseRow(rows[0] ?? -1);
    else bench.draw();
  }

  /** Fills the list of boxes anew, and the controls with what each choice would leave. */
  async function relist() {
    const here = listing.scope === "image";
    at = -1; // its place in the new list isn't known yet
    boxes.choose(at);
    const [answer, counts] = await Promise.all([list.reset(), countWords().catch(() => null)]);
    if (!answer || !counts) return;
    controls.draw(counts);
    const whole = here ? tab.record?.detections.length ?? 0 : answer.total;
    $("count").textContent = answer.boxes === whole ? OdamWords.plural(whole, run.noun) : `${answer.boxes.toLocaleString("en")} of ${OdamWords.plural(whole, run.noun)}`;
    $("detection-list").dataset.none = list.count ? "" : whole ? "None passes the filters." : here && tab.record?.error ? "This image failed." : here ? "None in this image." : "None in this run.";
    locate();
  }

  /** Finds the chosen box in the part of the list that is here. */
  const locate = () => { at = list.find((one) => one.image === tab.number && one.row === tab.row); };

  async function recordOf(number) {
    if (!records.has(number)) {
      records.set(number, OdamApi.get(`/api/run/image/${number}`));
      records.get(number).catch(() => records.delete(number));
      if (records.size > KEPT) records.delete(records.keys().next().value);
    }
    return records.get(number);
  }

  /** The rows of the chosen image that pass the filters. */
  async function loadRows() {
    const { number } = tab, answer = await OdamApi.get(`/api/run/rows/${number}?${query()}`).catch(() => null);
    if (answer && tab.number === number) ({ rows } = answer);
  }

  async function choose(number, row = null) {
    const other = number !== tab.number;
    Object.assign(tab, { number, row: row ?? -1 });
    Object.assign(bench.viewer.state, { role: "", hover: null });
    let record;
    try { record = await recordOf(number); } catch ({ message }) {
      record = { name: "", error: message, detections: [], annotations: null, size: null, image: null, missing: true };
    }
    if (tab.number !== number) return;
    if (other || !rows) await loadRows();
    if (tab.number !== number) return;
    rows ??= record.detections.map((_, k) => k);
    if (row === null) tab.row = rows[0] ?? -1;
    Object.assign(tab, { record, key: `run ${number}` });
    if (other && started && listing.scope === "image") await relist();
    shown();
  }

  function chooseRow(row) {
    tab.row = row;
    bench.viewer.state.role = "";
    shown();
  }

  /** The chosen box is the subject of the other tabs only where their image is this one. */
  function shown() {
    const { state } = bench.viewer;
    if (bench.tab === "run") {
      Object.assign(state, { number: tab.key, row: tab.row });
      state.attribute = bench.viewer.tellingAttribute();
    }
    locate();
    tell();
    bench.draw();
  }

  function open(index) {
    const one = list.peek(index);
    if (!one || "group" in one) return;
    if (one.image === tab.number) chooseRow(one.row); else choose(one.image, one.row);
  }

  async function step(by) {
    if (!list.count) return;
    let next = at < 0 && by < 0 ? 0 : at;
    do { next = (next + by + list.count) % list.count; } while ("group" in (await list.row(next) ?? {}));
    open(next);
  }

  /** The place of the first box in the list, behind the heading of its group; -1 if there is none. */
  async function firstBox() {
    const first = list.count ? await list.row(0) : null;
    return !first ? -1 : "group" in first ? 1 : 0;
  }

  async function stepImage(by) {
    if (!images.count) return;
    const now = images.find(({ number }) => number === tab.number), next = now < 0 ? 0 : (now + by + images.count) % images.count;
    const one = await images.row(next);
    if (one) choose(one.number);
  }

  function chooseScope(scope) {
    listing.scope = scope;
    relist().then(bench.draw);
    bench.draw();
  }

  function tell() {
    if (bench.tab !== "run") return;
    const one = tab.record?.detections[tab.row];
    if (!tab.record) return bench.say("");
    if (tab.record.error) return bench.say("This image failed.", "bad");
    const told = one ? OdamWords.tell(tab.record, one).map((node) => node.textContent ?? node).join("") : "";
    bench.say(told || (one ? `${one.label}${one.score === null ? "" : `, with a score of ${bench.score(one.score)}`}.` : "No box of this image is chosen."), one ? OdamWords.toneOf(one.verdict) : "");
  }

  /** Opens the image of the run for the detector, and asks about the chosen box. */
  async function askAbout() {
    if (!bench.detector) return bench.complain("No detector is loaded, so nothing can be asked: start `odam serve RUN --config-file NAME`.");
    const one = tab.record?.detections[tab.row];
    const label = one && bench.detector.classes.includes(one.label) ? one.label : null;
    const opened = await openImage(tab.number);
    if (!opened || !one) return;
    const { explain } = bench.tabs, same = explain.record?.detections.findIndex((each) => each.label === one.label && bench.iou(each.box, one.box) >= 0.5) ?? -1;
    if (one.kind !== "missed" && one.score !== null && same >= 0) explain.chooseRow(same);
    else if (label) await explain.askWhy(label, one.box);
    else explain.drawn(one.box);
  }

  async function openImage(number) {
    try {
      const found = await OdamApi.post(`/api/run/open/${number}`, {});
      return await bench.openImage({ ...found, from: { run: number } });
    } catch ({ message }) {
      bench.complain(message);
      return false;
    }
  }

  /* ---- lists ---- */

  function fillImage(item, index) {
    const one = images.peek(index);
    item.parts ??= { button: element("button"), thumb: element("img", { alt: "", class: "thumb", loading: "lazy", decoding: "async" }), broken: element("span", { class: "thumb broken", text: "!" }), name: element("b"), about: element("small") };
    const { parts } = item;
    if (!item.firstChild) {
      parts.button.append(parts.broken, parts.thumb, element("span", { class: "name" }, parts.name, parts.about));
      parts.button.addEventListener("click", () => { if (item.number !== null) pressImage(item.number); });
      item.append(parts.button);
    }
    item.number = one?.number ?? null;
    parts.button.title = one?.name ?? "";
    parts.broken.hidden = !one?.error;
    parts.thumb.hidden = Boolean(one?.error);
    const source = one && !one.error ? `/api/run/photo/${one.number}?thumb=1` : null;
    if (!source) parts.thumb.removeAttribute("src"); else if (parts.thumb.getAttribute("src") !== source) parts.thumb.src = source;
    parts.name.replaceChildren(one ? isolated(one.name) : "…");
    parts.about.className = one?.error ? "alarm" : "";
    parts.about.textContent = !one ? "" : one.error ? "failed" : one.passing === one.boxes ? OdamWords.plural(one.boxes, run.noun) : `${one.passing} of ${OdamWords.plural(one.boxes, run.noun)}`;
  }

  /** In Run an image is shown; elsewhere it is opened for the detector. */
  const pressImage = (number) => bench.tab === "run" || !bench.detector ? (bench.chooseTab("run"), choose(number)) : openImage(number);

  function fillBox(item, index) {
    const one = list.peek(index);
    item.className = one && "group" in one ? "group" : "";
    if (item.className) {
      item.replaceChildren(element("b", {}, isolated(one.group ?? "none")), element("span", { text: one.count.toLocaleString("en") }));
      return;
    }
    if (!item.parts) {
      const parts = item.parts = { button: element("button") };
      for (const name of ["number", "label", "score", "box", "verdict"]) parts.button.append(parts[name] = element("span", { class: name }));
      parts.button.addEventListener("click", () => open(item.index));
      parts.button.addEventListener("pointerenter", () => { if (item.one?.image === tab.number) bench.viewer.hover(item.one.row); });
      parts.button.addEventListener("pointerleave", () => bench.viewer.hover(null));
    }
    const { parts } = item;
    if (item.firstChild !== parts.button) item.replaceChildren(parts.button);
    item.one = one;
    item.index = index;
    parts.number.textContent = one?.row ?? "…";
    parts.number.style.setProperty("--colour", one ? colourOf(one.row) : "transparent");
    parts.label.replaceChildren(one ? isolated(one.label) : "");
    parts.score.textContent = one ? OdamView.scoreText(one.score, 3) : "";
    parts.score.style.setProperty("--share", `${100 * (one?.score || 0)}%`);
    parts.box.replaceChildren(!one ? "" : listing.scope === "all" ? isolated(one.name) : one.box.map(Math.round).join(", "));
    parts.box.title = !one ? "" : listing.scope === "all" ? one.name : "x1, y1, x2, y2 in pixels of the image";
    parts.verdict.className = `verdict ${OdamWords.toneOf(one?.verdict)}`;
    parts.verdict.textContent = !one?.verdict ? "" : one.iou === null ? OdamWords.spaced(one.verdict) : `${OdamWords.spaced(one.verdict)} ${one.iou.toFixed(2)}`;
    parts.verdict.title = OdamWords.VERDICTS[one?.verdict] ?? "";
    if (one && one.value !== null) parts.verdict.textContent = `${listing.sort.slice(7)} ${OdamWords.shown(one.value)}`;
    else if (one && listing.sort === "outside" && one.outside !== null) parts.verdict.textContent = `${OdamWords.percent(one.outside)} outside`;
  }

  function draw() {
    bench.drawRadios("scope", "scope", listing.scope);
    if (tab.number !== null) boxes.choose(at);
    $("ask-about").hidden = !bench.detector;
    $("ask-about").disabled = !tab.record || tab.record.error !== null;
  }

  /** Marks the image that is shown, in any tab. */
  function drawImages() {
    if (!run) return;
    const number = bench.tab === "run" ? tab.number : bench.image?.from.run ?? null;
    thumbs.choose(number === null ? -1 : images.find((one) => one.number === number), bench.tab === "run");
  }

  const KEYS = {
    ArrowLeft: () => step(-1), ArrowRight: () => step(1), n: () => stepImage(1), p: () => stepImage(-1),
    l: () => chooseScope(listing.scope === "all" ? "image" : "all"), f: () => { $("more").open = !$("more").open; },
  };

  function pressed(event) {
    if (!(event.key in KEYS) || !run) return false;
    KEYS[event.key]();
    return true;
  }

  return Object.assign(tab, {
    needs: "run", setUp, enter, draw, drawImages, choose, chooseRow, tell, pressed, step, openImage, back: () => false, tool: () => null, listen: () => {},
    facts: () => ({
      names: run.combined ? [...run.attributes, "combined"] : run.attributes, methods: run.methods, combined: run.combined, annotated: run.annotated, noun: run.noun,
    }),
    rows: () => rows ?? [], groups: [...OdamChoose.WORDS, "image"], filters, listing, tables: () => facts.tables, press: () => {},
    showImages: () => { if (run && !started) images.reset(); },
  });
})();
