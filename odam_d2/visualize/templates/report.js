"use strict";
/* What is chosen, and the lists, switches, keys and links that change it. */
(() => {
  const { $, element, isolated } = OdamView;
  const { plural } = OdamWords;
  const { facts } = OdamRun;
  const filters = OdamChoose.noFilters(), listing = { sort: "place", descending: false, group: "", scope: "image", images: "place" };
  // In a frame of another page (a notebook's cell) there is no address bar to write to.
  const framed = window.parent !== window, linked = location.protocol !== "about:";
  const asked = { image: false, box: false }; // whether the link names them
  const LINK_PAUSE = 300, linking = { last: -Infinity, later: null };
  let record = null; // of the image that is shown
  let columns = null, images = null, starts = null, ranks = null; // once they are loaded
  let selected = null, order = null, sortKeys = null, items = new Int32Array(0), groups = [], imageItems = [];

  const viewer = OdamViewer.make(facts, { record: shown, rows: rowsHere, chooseRow, draw }), { state } = viewer;

  /** The record that is shown; null while another one is on its way. */
  function shown() {
    return record !== null && (record.missing || OdamRun.peek(state.number) === record) ? record : null;
  }

  const place = (number, row) => starts === null || row < 0 ? -1 : starts[number] + row;

  /** The rows of the chosen image that pass the filters. */
  function rowsHere() {
    if (!selected) return record.detections.map((_, k) => k);
    const found = [];
    if (selected.perImage[state.number]) for (const k of selected.rows) if (columns.image[k] === state.number) found.push(columns.row[k]);
    return found.sort((a, b) => a - b);
  }

  /* ---- changing what is chosen ---- */

  /** Shows an image, and a row of it: the first that passes where it is null. `keep`: with the attribute that is chosen. */
  async function choose(number, row = null, keep = false) {
    const other = number !== state.number;
    Object.assign(state, { number, row: row ?? -1, role: "", hover: null });
    if (other && listing.scope === "image") list();
    let found = OdamRun.peek(number), problem = null;
    if (!found) {
      try { found = await OdamRun.record(number); } catch (error) { problem = error.message; }
    }
    if (state.number !== number) return; // another one was chosen meanwhile
    record = found ?? { name: "", error: problem, detections: [], annotations: null, size: null, missing: true };
    if ((state.row < 0 && row === null) || state.row >= record.detections.length) state.row = rowsHere()[0] ?? -1;
    if (!keep) state.attribute = viewer.tellingAttribute();
    draw();
  }

  function chooseRow(row) {
    Object.assign(state, { row, role: "" });
    state.attribute = viewer.tellingAttribute();
    draw();
  }

  function stepImage(by) {
    if (!imageItems.length) return;
    const at = imageItems.indexOf(state.number), count = imageItems.length;
    choose(imageItems[at < 0 ? 0 : (at + by + count) % count]);
  }

  function step(by) {
    const count = items.length;
    if (!selected || groups.length === count) return;
    let at = items.indexOf(place(state.number, state.row));
    if (at < 0 && by < 0) at = 0;
    do at = (at + by + count) % count; while (items[at] < 0);
    open(items[at]);
  }

  /** Shows a box by its place among all. */
  function open(k) {
    if (columns.image[k] === state.number) chooseRow(columns.row[k]);
    else choose(columns.image[k], columns.row[k]);
  }

  function chooseScope(scope) {
    listing.scope = scope;
    list();
    draw();
  }

  /* ---- filters and lists ---- */

  const hasNumber = (name) => columns[name].some((value) => !Number.isNaN(value));

  /** After a change of "filters", "verdict", "groups" or "order". */
  function refilter(what) {
    if (what === "verdict" && filters.verdict.size) listing.scope = "all";
    if (!columns) return;
    select(what === "order");
    settle(what);
  }

  /** Finds what passes, and the order if that has changed. */
  function select(ordered) {
    if (ordered) {
      sortKeys = listing.sort === "place" ? null : OdamChoose.keysOf(columns, listing.sort, ranks);
      order = sortKeys ? OdamChoose.sorted(sortKeys, listing.descending)
        : listing.descending ? Uint32Array.from(columns.row, (_, k) => columns.count - 1 - k) : null;
    }
    const sizes = Object.fromEntries(OdamChoose.WORDS.map((name) => [name, facts.tables[name].length]));
    selected = OdamChoose.select(columns, filters, order, OdamChoose.namesWith(images, filters.name), sizes, facts.end);
  }

  /** Shows what passes, and a box of it. */
  function settle(what) {
    list();
    listImages();
    controls.draw(selected.counts);
    if (!record) return;
    const listed = items.indexOf(place(state.number, state.row)) >= 0, first = items.find((item) => item >= 0);
    const fromTop = listing.scope === "all" && first !== undefined && !(what === "link" && asked.image);
    if (what === "link" && asked.box) draw(); // what a link names is shown whether it passes or not
    else if (fromTop && (what === "order" || what === "link" || !listed)) open(first);
    else if (!listed) chooseRow(rowsHere()[0] ?? -1);
    else draw();
  }

  /** Fills the list of boxes. */
  function list() {
    if (!selected) return;
    const here = listing.scope === "image", { rows } = selected;
    const listed = here ? rows.filter((k) => columns.image[k] === state.number) : rows;
    const codes = columns[listing.group];
    if (codes && !(here && listing.group === "image")) ({ items, groups } = OdamChoose.grouped(listed, codes, ranks[listing.group]));
    else [items, groups] = [listed, []];
    const all = here ? images.boxes[state.number] ?? 0 : columns.count;
    $("count").textContent = listed.length === all ? plural(all, facts.noun) : `${listed.length.toLocaleString("en")} of ${plural(all, facts.noun)}`;
    boxes.set(items.length);
    let none = null;
    if (!items.length) none = all ? "None passes the filters." : here && images.failures.has(state.number) ? "This image failed." : here ? "None in this image." : "None in this run.";
    $("detection-list").dataset.none = none ?? "";
    for (const button of $("scope").children) {
      const on = button.dataset.scope === listing.scope;
      button.setAttribute("aria-checked", on);
      button.tabIndex = on ? 0 : -1;
    }
  }

  function listImages() {
    if (!images) return;
    const named = OdamChoose.namesWith(images, filters.name);
    const narrowed = selected && OdamChoose.active({ ...filters, name: "" }) > 0;
    imageItems = images.numbers.filter((n) => (!named || named[n]) && (!narrowed || selected.perImage[n]));
    const compare = {
      name: (a, b) => images.names[a].localeCompare(images.names[b], "en", { numeric: true }),
      boxes: (a, b) => selected ? selected.perImage[b] - selected.perImage[a] || a - b : a - b,
      failed: (a, b) => images.failures.has(b) - images.failures.has(a) || a - b,
    }[listing.images];
    if (compare) imageItems.sort(compare);
    thumbs.set(imageItems.length);
    $("image-list").dataset.none = imageItems.length ? "" : filters.name && !narrowed ? "No image has this in its name." : "No image passes the filters.";
  }

  function fillImage(item, index) {
    const number = imageItems[index], failed = images.failures.has(number), name = images.names[number];
    item.parts ??= { button: element("button"), thumb: element("img", { alt: "", class: "thumb", decoding: "async" }), broken: element("span", { class: "thumb broken", text: "!" }), name: element("b"), about: element("small") };
    const { parts } = item, thumb = images.thumbs[number];
    if (!item.firstChild) {
      parts.button.append(parts.broken, parts.thumb, element("span", { class: "name" }, parts.name, parts.about));
      parts.button.addEventListener("click", () => choose(item.number));
      item.append(parts.button);
    }
    item.number = number;
    parts.button.title = name;
    parts.broken.hidden = !failed;
    parts.thumb.hidden = failed;
    if (thumb) { if (parts.thumb.getAttribute("src") !== thumb) parts.thumb.src = thumb; } else parts.thumb.removeAttribute("src");
    parts.name.replaceChildren(isolated(name));
    const all = images.boxes[number], passing = selected ? selected.perImage[number] : all;
    parts.about.className = failed ? "alarm" : "";
    parts.about.textContent = failed ? "failed" : passing === all ? plural(all, facts.noun) : `${passing} of ${plural(all, facts.noun)}`;
  }

  const colourOf = (row) => `hsl(${360 * ((0.33 + row * 0.618034) % 1)} 100% 57.5%)`;

  function fillBox(item, index) {
    const k = items[index];
    item.className = k < 0 ? "group" : "";
    if (k < 0) return fillHeading(item, groups[-1 - k]);
    if (!item.parts) {
      const parts = item.parts = { button: element("button") };
      for (const name of ["number", "label", "score", "box", "verdict"]) parts.button.append(parts[name] = element("span", { class: name }));
      parts.button.addEventListener("click", () => open(item.place));
      parts.button.addEventListener("pointerenter", () => { if (columns.image[item.place] === state.number) viewer.hover(columns.row[item.place]); });
      parts.button.addEventListener("pointerleave", () => viewer.hover(null));
    }
    const { parts } = item, verdict = facts.tables.verdict[columns.verdict[k]], iou = columns.iou[k], score = columns.score[k];
    if (item.firstChild !== parts.button) item.replaceChildren(parts.button);
    item.place = k;
    parts.number.textContent = columns.row[k];
    parts.number.style.setProperty("--colour", colourOf(columns.row[k]));
    parts.label.replaceChildren(isolated(facts.tables.label[columns.label[k]]));
    parts.score.textContent = OdamView.scoreText(score, 3);
    parts.score.style.setProperty("--share", `${100 * (score || 0)}%`);
    const sides = ["x1", "y1", "x2", "y2"].map((side) => Math.round(columns[side][k])).join(", ");
    parts.box.replaceChildren(listing.scope === "all" ? isolated(images.names[columns.image[k]]) : sides);
    parts.box.title = listing.scope === "all" ? images.names[columns.image[k]] : "x1, y1, x2, y2 in pixels of the image";
    parts.verdict.className = `verdict ${OdamWords.toneOf(verdict)}`;
    parts.verdict.textContent = !verdict ? "" : Number.isNaN(iou) ? OdamWords.spaced(verdict) : `${OdamWords.spaced(verdict)} ${iou.toFixed(2)}`;
    parts.verdict.title = OdamWords.VERDICTS[verdict] ?? "";
    if (listing.sort.startsWith("figure ") && !Number.isNaN(sortKeys[k])) parts.verdict.textContent = `${listing.sort.slice(7)} ${OdamWords.shown(sortKeys[k])}`;
    else if (listing.sort === "outside" && !Number.isNaN(columns.outside[k])) parts.verdict.textContent = `${OdamWords.percent(columns.outside[k])} outside`;
  }

  function fillHeading(item, group) {
    const word = listing.group === "image" ? images.names[group.code] : facts.tables[listing.group][group.code] ?? "none";
    item.replaceChildren(element("b", {}, isolated(word)), element("span", { text: group.count.toLocaleString("en") }));
  }

  /* ---- drawing ---- */

  function draw() {
    if (!shown()) return;
    thumbs.choose(imageItems.indexOf(state.number));
    boxes.choose(items.indexOf(place(state.number, state.row)));
    for (const [id, word] of [["previous", "Previous"], ["next", "Next"]]) $(id).setAttribute("aria-label", `${word} ${facts.noun}`);
    viewer.draw();
    writeLink();
  }

  /* ---- the link ---- */

  function writeLink() {
    if (!linked || record.missing) return;
    const link = new URLSearchParams({ image: state.number });
    if (state.row >= 0) link.set("det", state.row);
    if (viewer.attribute()) link.set("attr", viewer.attribute());
    if (facts.methods.length > 1) link.set("method", state.method);
    if (state.all) link.set("view", "all");
    if (!state.pair) link.set("pair", 0);
    for (const name of ["zoom", "truth"]) if (state[name]) link.set(name, 1);
    for (const name of OdamChoose.WORDS) for (const one of filters[name]) link.append(name, facts.tables[name][one]);
    for (const name of OdamChoose.RANGES) if (filters[name].some((bound) => bound !== null)) link.set(name, filters[name].map((bound) => bound ?? "").join(".."));
    for (const name of ["judged", "name"]) if (filters[name]) link.set(name, filters[name]);
    if (listing.sort !== "place" || listing.descending) link.set("sort", `${listing.descending ? "-" : ""}${listing.sort}`);
    if (listing.group) link.set("group", listing.group);
    if (listing.scope === "all") link.set("list", "all");
    if (location.hash.slice(1) !== link.toString()) setLink(`#${link}`);
  }

  /** Changes the address, at most every LINK_PAUSE milliseconds: browsers refuse more. */
  function setLink(link) {
    clearTimeout(linking.later);
    const wait = linking.last + LINK_PAUSE - performance.now();
    if (wait > 0) linking.later = setTimeout(setLink, wait, link);
    else {
      history.replaceState(null, "", link);
      linking.last = performance.now();
    }
  }

  function readLink() {
    const link = new URLSearchParams(location.hash.slice(1));
    const whole = (text) => /^\d{1,9}$/.test(text ?? "") ? Number(text) : null;
    Object.assign(filters, OdamChoose.noFilters());
    for (const name of OdamChoose.WORDS) {
      filters[name] = new Set(link.getAll(name).map((word) => facts.tables[name].indexOf(word)).filter((one) => one > 0));
    }
    for (const name of OdamChoose.RANGES) {
      const bounds = (link.get(name) ?? "").split("..");
      filters[name] = [0, 1].map((end) => bounds[end] && Number.isFinite(Number(bounds[end])) ? Number(bounds[end]) : null);
    }
    filters.judged = ["with", "without"].includes(link.get("judged")) ? link.get("judged") : "";
    $("image-filter").value = filters.name = link.get("name") ?? "";
    const [, minus, sort] = /^(-?)(.*)$/.exec(link.get("sort") ?? "place");
    Object.assign(listing, { sort: sort || "place", descending: minus === "-", group: link.get("group") ?? "", scope: link.get("list") === "all" ? "all" : "image" });
    if (facts.methods.includes(link.get("method"))) state.method = link.get("method");
    state.attribute = state.byHand = Math.max(0, facts.names.indexOf(link.get("attr")));
    state.all = link.get("view") === "all";
    state.pair = link.get("pair") !== "0";
    for (const name of ["zoom", "truth"]) state[name] = link.get(name) === "1";
    const number = whole(link.get("image"));
    Object.assign(asked, { image: number !== null && number < facts.end, box: link.has("det") });
    return [asked.image ? number : facts.first, whole(link.get("det")), link.has("attr")];
  }

  /** Follows the link of the address bar. */
  async function follow() {
    clearTimeout(linking.later);
    const where = readLink();
    if (columns) {
      controls.offer(hasNumber);
      select(true);
    }
    await choose(...where);
    if (columns) settle("link");
  }

  /* ---- events ---- */

  function listen() {
    for (const [value, text] of [["place", "run order"], ["name", "by name"], ["boxes", "most boxes first"], ...facts.failed ? [["failed", "failed first"]] : []]) {
      $("image-order").append(element("option", { value, text }));
    }
    $("image-order").addEventListener("change", (e) => { listing.images = e.target.value; listImages(); draw(); });
    $("previous").addEventListener("click", () => step(-1));
    $("next").addEventListener("click", () => step(1));
    $("image-filter").addEventListener("input", (e) => { filters.name = e.target.value.trim(); refilter("filters"); });
    for (const button of $("scope").children) button.addEventListener("click", () => chooseScope(button.dataset.scope));
    for (const id of ["open-run", "open-failures"]) $(id).addEventListener("click", () => $("run").showModal());
    $("layers").addEventListener("pointermove", (e) => viewer.hover(viewer.under(e)[0] ?? null));
    $("layers").addEventListener("pointerleave", () => viewer.hover(null));
    $("layers").addEventListener("click", viewer.pick);
    window.addEventListener("hashchange", follow);
    window.addEventListener("keydown", press);
  }

  const KEYS = {
    ...viewer.KEYS, ArrowLeft: () => step(-1), ArrowRight: () => step(1), n: () => stepImage(1), p: () => stepImage(-1),
    l: () => { if (!facts.single) chooseScope(listing.scope === "all" ? "image" : "all"); },
    f: () => { if (!facts.single) $("more").open = !$("more").open; }, "/": () => { if (!facts.single) $("image-filter").focus(); },
  };

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches("input, select") || !(event.key in KEYS)) return;
    event.preventDefault();
    const group = event.target.closest("[role=radiogroup]"), by = event.key === "ArrowLeft" || event.key === "ArrowUp" ? -1 : 1;
    if (group && event.key.startsWith("Arrow")) {
      if (group.id === "scope") KEYS.l(); else viewer.chooseAttribute(state.attribute + by);
      group.querySelector("[aria-checked=true]").focus();
    } else KEYS[event.key]();
  }

  /* ---- the beginning ---- */

  function tell(message) {
    $("notice").hidden = !message;
    $("notice").textContent = message ?? "";
  }

  function fillRun() {
    const failures = [...images?.failures ?? []].map(([number, why]) => [images.names[number], why]);
    $("run-body").replaceChildren(...OdamWords.aboutRun(facts, { count: failures.length, listed: failures }));
    $("summary").textContent = [facts.single ? "" : plural(facts.images, "image"), plural(facts.boxes, facts.noun), facts.run.method].filter(Boolean).join(" · ");
    $("open-failures").hidden = !facts.failed;
    $("open-failures").textContent = `${facts.failed.toLocaleString("en")} failed`;
  }

  /** Ranks of words for sorting: by column and place, in the order of the alphabet. */
  function rankWords() {
    const rank = (words) => {
      const sorted = words.map((word, k) => [word, k]).filter(([word]) => word !== null).sort(([a], [b]) => a.localeCompare(b, "en"));
      const found = new Float32Array(words.length).fill(words.length);
      sorted.forEach(([, k], position) => { found[k] = position; });
      return found;
    };
    return Object.fromEntries(OdamChoose.WORDS.map((name) => [name, rank(facts.tables[name])]));
  }

  async function loadLists() {
    [images, columns] = [await OdamRun.loadImages(), await OdamRun.loadColumns()];
    starts = new Uint32Array(facts.end + 1);
    for (const number of images.numbers) starts[number + 1] = images.boxes[number];
    for (let k = 0; k < facts.end; k++) starts[k + 1] += starts[k];
    ranks = rankWords();
    fillRun();
    controls.offer(hasNumber);
    select(true);
    await beginning; // so that a record is there to be drawn, or why there is none
    settle("link");
  }

  document.body.classList.toggle("framed", framed);
  $("about-links").hidden = !linked;
  fillRun();
  tell(facts.boxes ? null : facts.images ? facts.empty : "No images in this run.");
  if (!facts.images) {
    document.querySelector("main").hidden = true;
    return;
  }
  const boxes = new OdamList.List($("detection-scroller"), $("detection-list"), fillBox);
  const thumbs = new OdamList.List($("image-scroller"), $("image-list"), fillImage);
  const controls = OdamFilters.make(facts, filters, listing, refilter);
  listen();
  controls.draw(null);
  const beginning = choose(...readLink());
  loadLists().catch((error) => tell(error.message));
})();
