"use strict";
/* What the tabs share: the image, the detector, the subject (a box and a class), what is being asked, and the answer. */
const OdamBench = (() => {
  const { $, element } = OdamView;
  const bench = {
    about: null, tab: "explain", tabs: {}, viewer: null,
    image: null, // { image: id, name, size, from: { sample | run | id } }
    detector: null, threshold: 0.5, // one of about.detectors
    subject: null, // { box, label } that Brush, Methods and Two detectors are about
    facts: { names: [], methods: [], luts: {}, combined: null, opaque_from: 1, annotated: false, noun: "box" },
    draw: () => {}, // of the whole page
  };
  let asked = null, serial = 0;

  /** A key for a record that no other one has: by it, drawn maps are kept. */
  const fresh = () => `ask ${++serial}`;

  /** A sentence without the characters, of names in it, that would turn the direction of all that follows. */
  const straight = (words) => words.replace(/[\u202a-\u202e\u2066-\u2069]/g, "");

  /** Says the answer, or what to do next. tone: "", "good", "bad" or "wait". */
  function say(sentence, tone = "") {
    const words = straight(sentence);
    if ($("answer").textContent !== words) $("answer").textContent = words;
    $("answer-box").dataset.tone = tone;
  }

  /** Shows a fault in words; null takes it away. */
  function complain(words) {
    $("notice").hidden = !words;
    $("notice").textContent = straight(words ?? "");
  }

  function work(shown) {
    $("working").hidden = !shown;
    $("progress").removeAttribute("value");
    $("working-words").textContent = "";
  }

  /** Asks, with a bar and a Stop button; what was asked before is stopped. Null if it was stopped or failed: that is told. */
  async function ask(...bodies) {
    asked?.abort();
    const mine = asked = new AbortController(), start = performance.now();
    const later = setTimeout(() => work(true), 250); // a quick answer needs no bar
    complain(null);
    const told = ({ queued, progress }) => {
      if (mine !== asked) return;
      if (queued !== undefined) $("working-words").textContent = queued > 0 ? `waiting: ${queued} before` : "working";
      if (!progress) return;
      const [done, total] = progress, left = done ? (performance.now() - start) / done * (total - done) / 1000 : null;
      Object.assign($("progress"), { max: total, value: done });
      $("working-words").textContent = `${done} of ${total}${left === null || left < 2 ? "" : `, about ${Math.ceil(left)} s left`}`;
    };
    try {
      const found = [];
      for (const body of bodies) found.push(await OdamApi.ask(body, told, mine.signal));
      return mine === asked ? found : null;
    } catch (error) {
      if (mine !== asked) return null;
      if (error.name === "AbortError") say("Stopped.");
      else complain(error.message);
      return null;
    } finally {
      clearTimeout(later);
      if (mine === asked) {
        asked = null;
        work(false);
      }
    }
  }

  /** Stops what is being asked; whether anything was. */
  function stop() {
    const any = asked !== null;
    asked?.abort();
    return any;
  }

  /** Fills a group of radio buttons' states. */
  function drawRadios(group, key, value) {
    for (const button of $(group).querySelectorAll("[role=radio]")) {
      const on = button.dataset[key] === value;
      button.setAttribute("aria-checked", on);
      button.tabIndex = on ? 0 : -1;
    }
  }

  function listenRadios(group, key, choose) {
    const buttons = [...$(group).querySelectorAll("[role=radio]")];
    for (const button of buttons) button.addEventListener("click", () => choose(button.dataset[key]));
    $(group).addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      const at = buttons.findIndex((one) => one.getAttribute("aria-checked") === "true");
      const next = buttons[(at + by + buttons.length) % buttons.length];
      choose(next.dataset[key]);
      next.focus();
    });
  }

  /** A list with a button an item. items: [{ parts: nodes, chosen, colour, label, press }]. The focus stays on its place. */
  function fillList(id, items, none) {
    const list = $(id), held = [...list.children].findIndex((one) => one.contains(document.activeElement));
    list.replaceChildren(...items.map(({ parts, chosen, colour, press }) => {
      const button = element("button", { onclick: press }, ...parts);
      if (chosen) button.setAttribute("aria-current", "true");
      if (colour) button.style.setProperty("--colour", colour);
      return element("li", {}, button);
    }));
    if (!items.length && none) list.append(element("li", { class: "none", text: none }));
    if (held >= 0) list.children[Math.min(held, list.children.length - 1)]?.querySelector("button")?.focus({ preventScroll: true });
    const current = list.querySelector("[aria-current]");
    if (current) for (const outer of [list, list.closest("aside")]) keepInView(outer, current);
  }

  /** Scrolls a list or the side, and never the page, so that an item is seen. */
  function keepInView(side, item) {
    const outer = side.getBoundingClientRect(), inner = item.getBoundingClientRect();
    if (side.scrollHeight <= side.clientHeight) return;
    if (inner.bottom > outer.bottom) side.scrollTop += inner.bottom - outer.bottom + 8;
    else if (inner.top < outer.top) side.scrollTop -= outer.top - inner.top + 8;
  }

  const iou = (a, b) => {
    const w = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), h = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
    const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
    return w > 0 && h > 0 ? w * h / (area(a) + area(b) - w * h) : 0;
  };
  const score = (value) => value === null || value === undefined ? "–" : value.toFixed(2);

  return Object.assign(bench, { fresh, say, complain, ask, stop, drawRadios, listenRadios, fillList, iou, score });
})();
