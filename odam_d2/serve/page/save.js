"use strict";
/* Saves what is seen: as an image, as a page, as a link. */
const OdamSave = (() => {
  const { $, element } = OdamView;
  const bench = OdamBench;
  const SIDE = 1600, LINE = 26, MARGIN = 14; // pixels

  function download(blob, name) {
    const address = URL.createObjectURL(blob), link = element("a", { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }

  const fileName = (end) => `${(record().name || "image").replace(/\.[a-z]+$/i, "").replace(/[^\w-]+/g, "_")}_${bench.tab}.${end}`;
  const record = () => bench.tabs[bench.tab].record;

  /** The key by which the server knows what is shown: a box that was asked about is an answer of its own. */
  const keyOf = () => bench.tabs.explain.compared?.record.key ?? (bench.tab === "explain" ? bench.tabs.explain.asked()?.key : null) ?? record().key;

  /** The stage as a canvas: the image with heat and boxes, or the maps side by side. */
  function stage() {
    if (!$("multiples").hidden) return panels();
    const scene = bench.viewer.scene(), { size, detections } = scene.record, scale = Math.min(2, SIDE / Math.max(...size)), one = detections[scene.row];
    const canvas = element("canvas", { width: Math.round(size[0] * scale), height: Math.round(size[1] * scale) });
    const maps = OdamView.mapsOf(one, scene.method, scene.role);
    const boxes = scene.rows.filter((row) => row !== scene.row).map((row) => [detections[row].box, detections[row].color]);
    const panel = { role: scene.role, name: OdamView.hasMap(scene.facts, maps, scene.attribute) ? scene.attribute : undefined, boxes: one ? [...boxes, [one.box, "#fff"]] : boxes };
    OdamPanels.paintPanel(canvas, scene, panel, [0, 0, ...size]);
    return canvas;
  }

  function panels() {
    const outer = $("multiples").getBoundingClientRect(), shown = [...$("multiples").children], ratio = Math.min(2, window.devicePixelRatio || 1) * 1.5;
    const places = shown.map((one) => one.getBoundingClientRect()), left = Math.min(...places.map((p) => p.left), outer.right), top = Math.min(...places.map((p) => p.top), outer.bottom);
    const right = Math.max(...places.map((p) => p.right)), bottom = Math.max(...places.map((p) => p.bottom));
    const canvas = element("canvas", { width: Math.ceil((right - left) * ratio), height: Math.ceil((bottom - top) * ratio) }), context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.scale(ratio, ratio);
    context.fillStyle = "#1d1c1a";
    context.font = "14px system-ui, sans-serif";
    shown.forEach((one, k) => {
      const inner = one.querySelector("canvas").getBoundingClientRect(), x = places[k].left - left;
      context.drawImage(one.querySelector("canvas"), inner.left - left, inner.top - top, inner.width, inner.height);
      context.fillText(one.textContent, x + 5, inner.bottom - top + 17, inner.width - 8);
    });
    return canvas;
  }

  /** Writes the answer beneath the image. */
  function captioned(source) {
    const canvas = element("canvas", { width: Math.max(source.width, 480), height: 10 }), context = canvas.getContext("2d"), font = "18px system-ui, sans-serif";
    context.font = font;
    const lines = [""];
    for (const word of $("answer").textContent.split(" ")) {
      const longer = `${lines.at(-1)} ${word}`.trim();
      if (context.measureText(longer).width > canvas.width - 2 * MARGIN && lines.at(-1)) lines.push(word); else lines[lines.length - 1] = longer;
    }
    canvas.height = source.height + (lines[0] ? lines.length * LINE + MARGIN : 0);
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(source, 0, 0);
    context.fillStyle = "#1d1c1a";
    context.font = font;
    lines.forEach((line, k) => context.fillText(line, MARGIN, source.height + LINE * (k + 1)));
    return canvas;
  }

  async function savePng() {
    const blob = await new Promise((resolve) => captioned(stage()).toBlob(resolve, "image/png"));
    download(blob, fileName("png"));
    tell("The image is saved.");
  }

  async function savePage() {
    tell("Writing the page…");
    try {
      const answer = await OdamApi.send("/api/page", { record: { key: keyOf() }, title: `${record().name}: ${$("answer").textContent}`.slice(0, 200) });
      download(await answer.blob(), fileName("html"));
      tell("The page is saved.");
    } catch ({ message }) { tell(message); }
  }

  async function copyLink() {
    bench.writeLink(true);
    try {
      await navigator.clipboard.writeText(location.href);
      tell("The link is copied.");
    } catch { tell(`The browser doesn't let the page copy: take the link from the address bar.`); }
  }

  const tell = (words) => { $("saved").textContent = words; };

  function open() {
    if (!record()) return bench.complain("There is nothing to save yet: choose an image first.");
    tell("");
    $("save").showModal();
  }

  function listen() {
    $("open-save").addEventListener("click", open);
    $("save-png").addEventListener("click", savePng);
    $("save-page").addEventListener("click", savePage);
    $("save-link").addEventListener("click", copyLink);
  }

  return { listen, open };
})();
