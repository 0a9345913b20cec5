"use strict";
/* What is shown of an image's record: the chosen box with its map, alone or beside others, in words and figures, with the
   switches and keys for it. Where the record comes from, and which boxes there are to choose, is its page's business. */
const OdamViewer = (() => {
  const { $, element, isolated } = OdamView;

  /**
   * Makes the viewer of a page.
   * facts: { names, methods, luts, combined, opaque_from, annotated }; where they change, call `offer`.
   * page: { record(): what is shown, or null while it is on its way; rows(): those of its boxes that can be chosen;
   * chooseRow(row); draw(): of the whole page, which calls `draw` here; panels() (may be missing): other panels to
   * show in place of the chosen box, as OdamPanels.draw takes them, and null for none; press(panel): one is clicked }.
   */
  function make(facts, page) {
    const state = {
      number: null, row: -1, attribute: 0, byHand: 0, method: facts.methods[0], role: "", hover: null, all: false, pair: true,
      heat: true, boxes: true, truth: false, zoom: false, panelZoom: true, opacity: 0.65, colormap: Object.keys(facts.luts)[0],
    };
    let lostImage = null; // the address of one that can't be loaded
    const chosen = () => page.record()?.detections[state.row];
    const attribute = () => facts.names[state.attribute];
    const scene = () => ({ ...state, facts, record: page.record(), rows: page.rows(), attribute: attribute() });
    const others = () => page.panels?.() ?? null;

    /** What the stage shows: "single", "all" attributes, a "pair" of maps that are compared, or "others" of the page. */
    function mode() {
      if (others()) return "others";
      if (!chosen() || page.record().error) return "single";
      if (state.all) return "all";
      return state.pair && OdamPanels.rolesOf(chosen(), state.method).length ? "pair" : "single";
    }

    /** The attribute that the comparison of the chosen box is about, if it is about one; else what was chosen by hand. */
    function tellingAttribute() {
      const told = state.pair ? Object.values(chosen()?.roles ?? {}).map((role) => facts.names.indexOf(role?.attribute)) : [];
      return told.find((index) => index >= 0) ?? state.byHand;
    }

    function chooseAttribute(index) {
      const count = facts.names.length;
      state.attribute = state.byHand = count ? (index + count) % count : 0;
      page.draw();
    }

    function flip(name) {
      state[name] = !state[name];
      page.draw();
    }

    /** Maps side by side are small, so they have a zoom of their own, which is on at first. */
    const flipZoom = () => flip(mode() === "single" ? "zoom" : "panelZoom");

    function fade(by) {
      state.opacity = Math.min(1, Math.max(0, Math.round((state.opacity + by) * 20) / 20));
      page.draw();
    }

    function hover(row) {
      if (state.hover === row) return;
      state.hover = row;
      const record = page.record();
      if (record && !record.error && mode() === "single") OdamView.drawStage(scene());
    }

    function drawWords() {
      const record = page.record(), d = chosen(), name = attribute(), usable = Boolean(d);
      const maps = OdamView.mapsOf(d, state.method, state.role), known = OdamView.hasMap(facts, maps, name);
      $("what").replaceChildren(...usable
        ? [`${name ? `${name} of ` : ""}${state.row} `, isolated(d.label), ` ${OdamView.scoreText(d.score, 3)}`]
        : [record.error ? "This image failed." : "Nothing to explain here."]);
      const told = usable ? OdamWords.tell(record, d) : [];
      $("told").hidden = !told.length;
      $("told").replaceChildren(...told);
      const lay = (list, box, pairs) => {
        box.hidden = !pairs.length;
        list.replaceChildren(...pairs.map(([title, text]) => element("div", {}, element("dt", { text: title }), element("dd", {}, isolated(text)))));
      };
      lay($("figures"), $("figures"), usable ? OdamWords.figuresOf(record, d) : []);
      lay($("further"), $("more-figures"), usable ? OdamWords.furtherFigures(d) : []);
      const peak = usable && known && name !== "combined" ? maps.peaks[maps.attributes.indexOf(name)] : null;
      $("why").textContent = !usable ? "" : !known ? "There is no map of it." : peak === 0
        ? "This map is empty: no feature speaks for it." : OdamWords.WHY[name] ? `Warm: ${OdamWords.WHY[name]}.` : "";
      $("peak").textContent = peak === null ? "1" : OdamWords.shown(peak);
      $("peak").title = peak === null ? "maximum of normalised maps" : "highest value of the raw map, in units of the attribute per cell";
      const lut = facts.luts[state.colormap], stops = [];
      for (let k = 0; k <= 16; k++) {
        const at = 3 * Math.min(255, 16 * k);
        stops.push(`rgb(${lut[at]} ${lut[at + 1]} ${lut[at + 2]} / ${Math.min(1, k / 16 / facts.opaque_from)})`);
      }
      $("gradient").style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    }

    /** Draws what is shown of the record, which is there. */
    function draw() {
      const record = page.record(), shown = mode(), usable = !record.error, d = chosen();
      drawWords();
      for (const name of ["heat", "boxes", "truth", "pair", "all"]) $(`switch-${name}`).setAttribute("aria-pressed", state[name]);
      $("switch-zoom").setAttribute("aria-pressed", shown === "single" ? state.zoom : state.panelZoom);
      $("switch-truth").hidden = !facts.annotated;
      $("switch-all").hidden = facts.names.length < 2 || shown === "others";
      $("switch-pair").hidden = !OdamPanels.rolesOf(d, state.method).length || shown === "others";
      $("attributes").querySelectorAll("button").forEach((button, k) => {
        button.setAttribute("aria-checked", k === state.attribute);
        button.tabIndex = k === state.attribute ? 0 : -1;
      });
      $("opacity").value = Math.round(100 * state.opacity);
      $("frame").hidden = !usable || shown !== "single";
      $("multiples").hidden = shown === "single";
      $("message").hidden = usable;
      $("message").replaceChildren(...usable ? [] : record.missing ? [record.error] : [isolated(record.name), ` could not be explained: ${record.error}`]);
      tellGone();
      $("stage").setAttribute("aria-label", `Image ${record.name}`);
      if (shown === "all") OdamPanels.draw(scene(), OdamPanels.ofAttributes(scene()), ({ name }) => { state.all = false; chooseAttribute(facts.names.indexOf(name)); });
      else if (shown === "pair") OdamPanels.draw(scene(), OdamPanels.ofRoles(scene()), ({ role }) => { Object.assign(state, { pair: false, role }); page.draw(); });
      else if (shown === "others") OdamPanels.draw(scene(), others(), page.press);
      else if (usable) OdamView.drawStage(scene());
    }

    /** Says why the image itself can't be shown, if that is so. */
    function tellGone() {
      const record = page.record(), lost = record.image !== null && record.image === lostImage;
      const why = record.error ? null : lost ? `The image can't be shown: ${record.image.startsWith("data:") ? "it" : record.image} can't be loaded.` : record.gone;
      $("gone").hidden = !why;
      $("gone").textContent = why ?? "";
    }

    /** Fills the choices of attributes and methods anew. */
    function offer() {
      $("attributes").replaceChildren(...facts.names.map((name, k) => (
        element("button", { role: "radio", text: name, title: OdamWords.WHY[name] ?? name, onclick: () => chooseAttribute(k) }))));
      $("method").replaceChildren(...facts.methods.map((name) => element("option", { value: name, text: name })));
      $("method").hidden = facts.methods.length < 2;
      if (!facts.methods.includes(state.method)) state.method = facts.methods[0];
      if (state.attribute >= facts.names.length) state.attribute = state.byHand = 0;
    }

    /** The boxes under a pointer, the smallest first. */
    const under = (event) => OdamView.boxesAt(page.record(), page.rows(), OdamView.pointAt(page.record(), event));

    /** Chooses the box under the pointer; again, the next larger one. */
    function pick(event) {
      const found = under(event);
      if (found.length) page.chooseRow(found[(found.indexOf(state.row) + 1) % found.length]);
    }

    function listen() {
      Object.keys(facts.luts).forEach((name) => $("colormap").append(element("option", { value: name, text: name })));
      $("method").addEventListener("change", (e) => { Object.assign(state, { method: e.target.value, role: "" }); page.draw(); });
      for (const name of ["heat", "boxes", "truth", "pair", "all"]) $(`switch-${name}`).addEventListener("click", () => flip(name));
      $("switch-zoom").addEventListener("click", flipZoom);
      $("opacity").addEventListener("input", (e) => { state.opacity = e.target.value / 100; page.draw(); });
      $("colormap").addEventListener("change", (e) => { state.colormap = e.target.value; page.draw(); });
      $("photo").addEventListener("error", () => { lostImage = $("photo").getAttribute("src"); if (page.record()) tellGone(); });
      $("open-help").addEventListener("click", () => $("help").showModal());
      // Without a form: a sandboxed frame may not submit one, not even to close its dialog.
      for (const dialog of document.querySelectorAll("dialog")) {
        dialog.addEventListener("click", (e) => { if (e.target === dialog || e.target.matches(".close")) dialog.close(); });
      }
      const measure = () => Object.assign(OdamView.room, { width: $("stage").clientWidth, height: $("stage").clientHeight });
      new ResizeObserver(() => { measure(); page.draw(); }).observe($("stage"));
      measure();
    }

    const KEYS = {
      ArrowUp: () => chooseAttribute(state.attribute - 1), ArrowDown: () => chooseAttribute(state.attribute + 1),
      "[": () => chooseAttribute(state.attribute - 1), "]": () => chooseAttribute(state.attribute + 1),
      "+": () => fade(0.05), "=": () => fade(0.05), "-": () => fade(-0.05),
      h: () => flip("heat"), b: () => flip("boxes"), z: flipZoom, a: () => flip("all"), c: () => flip("pair"),
      g: () => { if (facts.annotated) flip("truth"); }, "?": () => $("help").showModal(),
    };

    offer();
    listen();
    return { state, chosen, attribute, scene, mode, tellingAttribute, chooseAttribute, hover, draw, offer, under, pick, KEYS };
  }

  return { make };
})();
