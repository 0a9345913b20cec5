"use strict";
/* Images to ask about: samples, files that are chosen, dropped or pasted, and those opened before. */
const OdamImages = (() => {
  const { $, element, isolated } = OdamView;
  const bench = OdamBench;
  const opened = []; // in this page, the latest first

  async function openFile(file) {
    if (!bench.detector) return bench.complain("No detector is loaded, so no image can be asked about: start `odam serve --config-file NAME`.");
    if (!file) return bench.complain("That is no file: choose an image such as a JPEG or a PNG.");
    const { bytes } = bench.about.limits;
    if (file.size > bytes) return bench.complain(`The file has ${size(file.size)}; at most ${size(bytes)} are taken: make it smaller.`);
    bench.complain(null);
    bench.say(`Opening ${file.name || "the image"}…`, "wait");
    try {
      const found = await OdamApi.upload(file);
      await bench.openImage({ ...found, from: { id: found.image } });
    } catch ({ message }) {
      bench.complain(message);
      bench.tabs[bench.tab].tell?.();
      if (!bench.image) bench.say("");
    }
  }

  /** A name that may be broken behind its underscores. */
  const broken = (name) => name.replaceAll("_", "_\u200b");
  const size = (bytes) => bytes >= 1e6 ? `${Math.round(bytes / 1e6)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`;

  const sample = ({ name, image, size: shape }) => bench.openImage({ image, name, size: shape, from: { sample: name } });

  /** Keeps an image in the list. */
  function remember(image) {
    const known = [...opened, ...bench.about.samples ?? []].some((one) => one.image === image.image);
    if (image.from.id && !known) opened.unshift(image);
  }

  function drawList() {
    const own = [...opened.map((one) => [one, () => bench.openImage(one)]), ...(bench.about.samples ?? []).map((one) => [one, () => sample(one)])];
    const list = $("own-list");
    list.hidden = !bench.detector || !own.length || bench.tab === "run"; // a run's images need the room
    if (list.dataset.names !== own.map(([one]) => one.image).join()) {
      list.dataset.names = own.map(([one]) => one.image).join();
      list.replaceChildren(...own.map(([one, press]) => element("li", {}, element("button", { title: one.name, "data-image": one.image, onclick: press },
        element("img", { class: "thumb", alt: "", src: `/api/images/${one.image}?thumb=1` }), element("span", { class: "name" }, element("b", {}, isolated(broken(one.name))), element("small", { text: one.from ? "opened" : "sample" }))))));
    }
    for (const button of list.querySelectorAll("button")) {
      if (bench.tab !== "run" && button.dataset.image === bench.image?.image) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
    }
  }

  /** The previous or next image of those opened and the samples. */
  function step(by) {
    const buttons = [...$("own-list").querySelectorAll("button")], at = buttons.findIndex((one) => one.hasAttribute("aria-current"));
    buttons[(at + by + buttons.length) % buttons.length]?.click();
  }

  function fillWelcome() {
    const samples = (bench.about.samples ?? []).slice(0, 4);
    $("welcome-samples").replaceChildren(...samples.map((one) => element("button", { "aria-label": `Sample image ${one.name}`, onclick: () => sample(one) },
      element("img", { alt: "", src: `/api/images/${one.image}` }), element("span", {}, isolated(broken(one.name))))));
  }

  function listen() {
    const choose = () => $("file").click();
    for (const id of ["choose-file", "welcome-choose"]) $(id).addEventListener("click", choose);
    $("file").addEventListener("change", (e) => { if (e.target.files.length) openFile(e.target.files[0]); e.target.value = ""; });
    let depth = 0;
    const hint = (on) => { $("drop-hint").hidden = !on; };
    document.addEventListener("dragenter", (e) => { e.preventDefault(); depth++; hint(true); });
    document.addEventListener("dragover", (e) => e.preventDefault());
    document.addEventListener("dragleave", () => { if (--depth <= 0) { depth = 0; hint(false); } });
    document.addEventListener("drop", (e) => {
      e.preventDefault();
      depth = 0;
      hint(false);
      openFile(e.dataTransfer.files[0]);
    });
    document.addEventListener("paste", (e) => {
      const file = [...e.clipboardData?.files ?? []].find(({ type }) => type.startsWith("image/"));
      if (file) { e.preventDefault(); openFile(file); }
      else if (!e.target.matches("input, textarea")) bench.complain("What was pasted is no image: copy an image first.");
    });
    return choose;
  }

  return { listen, fillWelcome, drawList, remember, sample, step, openFile };
})();
