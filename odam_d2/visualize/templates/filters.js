"use strict";
/* The controls by which boxes are filtered, sorted and grouped; what they say is in `filters` and `listing`. */
const OdamFilters = (() => {
  const { $, element } = OdamView;
  const { spaced } = OdamWords; // for words of the project, whose parts are joined by underscores
  const SORTS = { place: "run order", score: "score", iou: "IoU", occlusion: "occlusion", outside: "heat outside", area: "area of the box", label: "class", verdict: "error type", mechanism: "mechanism" };
  const GROUPS = { "": "no groups", verdict: "error type", mechanism: "mechanism", label: "class", kind: "kind", image: "image" };
  const RANGE_NAMES = { score: "score", iou: "IoU", occlusion: "occlusion", outside: "heat outside", area: "area of the box" };
  const ALL = { area: [0, Infinity] }; // between which a range lies, where that is not 0 and 1
  const NAMES = { mechanism: "mechanism", kind: "kind" };
  const option = (value, text) => element("option", { value, text });

  /**
   * Makes the controls. facts: of the run; filters: see OdamChoose.noFilters; listing: { sort, descending, group }, where
   * group is null if there are none to choose; changed(what): called after "filters", "order" or "groups" have changed.
   * Returns { draw(counts), offer(known) }.
   */
  function make(facts, filters, listing, changed) {
    const { tables } = facts, more = $("more-filters"), ranges = {}, selects = {};
    const places = (name) => tables[name].map((_, place) => place).filter((place) => place > 0)
      .sort((a, b) => tables[name][a].localeCompare(tables[name][b], "en"));

    function labelled(text, control) {
      const label = element("label", { for: control.id, text });
      more.append(label, control);
    }

    function wordFilter(name, select, all) {
      selects[name] = { select, all };
      select.addEventListener("change", () => {
        filters[name] = new Set(select.value === "" ? [] : [Number(select.value)]);
        changed("filters");
      });
    }

    function rangeFilter(name) {
      const bounds = [0, 1].map((end) => element("input", {
        type: "number", min: 0, ...(name in ALL ? { step: "any", placeholder: end ? "any" : 0 } : { max: 1, step: 0.05, placeholder: end }), "aria-label": `${RANGE_NAMES[name]} at ${end ? "most" : "least"}`,
        onchange: (event) => { setBound(name, end, event.target.value); changed("filters"); },
      }));
      bounds[0].id = `least-${name}`;
      ranges[name] = bounds;
      const pair = element("span", { class: name in ALL ? "range long" : "range" }, bounds[0], "to", bounds[1]);
      more.append(element("label", { for: bounds[0].id, text: RANGE_NAMES[name] }), pair);
    }

    function setBound(name, end, text) {
      const value = text === "" ? NaN : Number(text);
      filters[name][end] = Number.isNaN(value) || value === (ALL[name] ?? [0, 1])[end] ? null : value;
    }

    wordFilter("label", $("class-filter"), "All classes");
    for (const name of ["mechanism", "kind"]) {
      if (tables[name].length < (name === "kind" ? 3 : 2)) continue;
      const select = element("select", { id: `${name}-filter` });
      labelled(NAMES[name], select);
      wordFilter(name, select, "all");
    }
    const judged = element("select", { id: "judged-filter", onchange: (event) => { filters.judged = event.target.value; changed("filters"); } },
      option("", "all"), option("with", "with one"), option("without", "without"));
    if (facts.annotated) labelled("annotated object", judged);
    for (const name of OdamChoose.RANGES) rangeFilter(name);
    const group = element("select", { id: "group", onchange: (event) => { listing.group = event.target.value; changed("groups"); } });
    if (listing.group !== null) labelled("grouped by", group);
    more.append(element("button", { class: "clear", text: "Clear all filters", onclick: () => { Object.assign(filters, OdamChoose.noFilters()); $("image-filter").value = ""; changed("filters"); } }));

    $("score-filter").addEventListener("input", (event) => { setBound("score", 0, event.target.value); changed("filters"); });
    $("sort").addEventListener("change", (event) => {
      listing.sort = event.target.value;
      listing.descending = !["place", "label", "verdict", "mechanism"].includes(listing.sort);
      changed("order");
    });
    $("direction").addEventListener("click", () => { listing.descending = !listing.descending; changed("order"); });

    /** Offers what there is to sort and group by; known(name): whether any box has this number. */
    function offer(known) {
      const sorts = Object.keys(SORTS).filter((name) => name === "place" || (tables[name] ? tables[name].length > 1 : known(name)));
      $("sort").replaceChildren(...sorts.map((name) => option(name, SORTS[name])),
        ...facts.figures.length ? [element("optgroup", { label: "figures" }, ...[...facts.figures].sort().map((name) => option(`figure ${name}`, name)))] : []);
      if (![...$("sort").options].some((one) => one.value === listing.sort)) listing.sort = "place";
      group.replaceChildren(...Object.keys(GROUPS).filter((name) => !tables[name] || tables[name].length > 1).map((name) => option(name, GROUPS[name])));
      if (listing.group !== null && ![...group.options].some((one) => one.value === listing.group)) listing.group = "";
      for (const name of OdamChoose.RANGES) {
        if (known(name)) continue;
        const [low] = ranges[name];
        low.parentElement.hidden = true;
        more.querySelector(`label[for="${low.id}"]`).hidden = true;
      }
    }

    function drawVerdicts(counts) {
      const bar = $("verdicts"), order = Object.keys(OdamWords.VERDICTS);
      const rank = (place) => { const at = order.indexOf(tables.verdict[place]); return at < 0 ? order.length : at; };
      bar.hidden = facts.single || tables.verdict.length < 2;
      if (bar.hidden) return;
      if (!bar.childElementCount) {
        bar.append(...places("verdict").sort((a, b) => rank(a) - rank(b)).map((place) => element("button", {
          "data-place": place, class: OdamWords.toneOf(tables.verdict[place]), title: OdamWords.VERDICTS[tables.verdict[place]] ?? "",
          onclick: () => {
            if (!filters.verdict.delete(place)) filters.verdict.add(place);
            changed("verdict");
          },
        }, element("span", { text: spaced(tables.verdict[place]) }), element("b", {}))));
      }
      for (const button of bar.children) {
        const place = Number(button.dataset.place);
        button.setAttribute("aria-pressed", filters.verdict.has(place));
        button.querySelector("b").textContent = counts ? counts.verdict[place].toLocaleString("en") : "";
      }
    }

    /** Shows what the filters are, and how many boxes each choice would leave. */
    function draw(counts) {
      drawVerdicts(counts);
      for (const [name, { select, all }] of Object.entries(selects)) {
        const chosen = filters[name].size ? [...filters[name]][0] : "";
        const offered = places(name).filter((place) => !counts || counts[name][place] || place === chosen);
        select.replaceChildren(option("", all), ...offered.map((place) => option(place, counts && !facts.single ? `${tables[name][place]} (${counts[name][place].toLocaleString("en")})` : tables[name][place])));
        select.value = chosen;
      }
      judged.value = filters.judged;
      for (const name of Object.keys(ranges)) ranges[name].forEach((input, end) => { input.value = filters[name][end] ?? ""; });
      $("score-filter").value = filters.score[0] ?? 0;
      $("score-value").textContent = (filters.score[0] ?? 0).toFixed(2);
      $("sort").value = listing.sort;
      group.value = listing.group ?? "";
      $("direction").textContent = listing.descending ? "↓" : "↑";
      $("direction").title = listing.descending ? "greatest first" : "least first";
      $("direction").setAttribute("aria-label", `Order: ${$("direction").title}`);
      const active = OdamChoose.active(filters) - Number(filters.verdict.size > 0) - Number(filters.label.size > 0) - Number(filters.name !== "");
      $("active").textContent = [active ? `(${active})` : "", listing.group ? `by ${GROUPS[listing.group]}` : ""].filter(Boolean).join(" ");
    }

    return { draw, offer };
  }

  return { make };
})();
