"use strict";
/* What the page knows of the run: facts it has from the beginning, columns of all boxes and the list of images, which are
   loaded once, and records of single images, of which the latest are kept. In a page that is one file all of it is inside;
   otherwise script files call `odamReport(key, content)`. */
const OdamRun = (() => {
  const KEPT = 24; // records of images
  const facts = JSON.parse(document.getElementById("data").textContent);
  if (facts.tables.kind.length > 2) facts.noun = "box"; // detections, and missed objects beside them
  for (const name of Object.keys(facts.luts)) facts.luts[name] = OdamHeat.decode(facts.luts[name]);
  const came = new Map(), records = new Map();
  const NUMBERS = {
    image: Uint32Array, row: Uint32Array, kind: Uint32Array, label: Uint32Array, verdict: Uint32Array, mechanism: Uint32Array,
    judged: Uint8Array, score: Float32Array, iou: Float32Array, occlusion: Float32Array, outside: Float32Array,
    x1: Float32Array, y1: Float32Array, x2: Float32Array, y2: Float32Array,
  };
  globalThis.odamReport = (key, content) => came.set(key, content);

  /** The content of a key: from inside the page, or of the script file of that name. */
  function load(key, address) {
    if (facts.inline) return Promise.resolve(facts.inline[key]);
    return new Promise((resolve, reject) => {
      const script = document.createElement("script"), file = `${facts.folder}/${address}.js`;
      const fail = () => reject(new Error(`${file} can't be loaded: it must lie beside this page.`));
      script.src = file;
      script.onerror = () => { script.remove(); fail(); };
      script.onload = () => {
        script.remove();
        if (!came.has(key)) return fail();
        resolve(came.get(key));
        came.delete(key);
      };
      document.head.append(script);
    });
  }

  /** The record of an image if it is here. */
  function peek(number) {
    const record = records.get(number);
    return record instanceof Promise ? null : record ?? null;
  }

  /** A promise of the record of an image; the one that was used least recently is dropped for it. */
  function record(number) {
    const known = records.get(number);
    if (known) {
      records.delete(number);
      records.set(number, known);
      return Promise.resolve(known);
    }
    const coming = load(`image-${number}`, `${Math.floor(number / 1000)}/${number}`).then((found) => {
      records.set(number, found);
      return found;
    }, (error) => {
      records.delete(number);
      throw error;
    });
    records.set(number, coming);
    while (records.size > KEPT) records.delete(records.keys().next().value);
    return coming;
  }

  function filled(Type, base64) {
    const bytes = OdamHeat.decode(base64);
    return new Type(bytes.buffer);
  }

  /** All boxes: a typed array for each fact; of each figure the rows that have it, since most have it not. */
  async function loadColumns() {
    const columns = { count: facts.boxes, figures: {} };
    for (const [name, Type] of Object.entries(NUMBERS)) columns[name] = new Type(facts.boxes);
    for (const name of facts.figures) columns.figures[name] = []; // of each chunk { rows, values }
    for (let k = 0; k < facts.chunks.rows; k++) {
      const chunk = await load(`rows-${k}`, `rows-${k}`);
      for (const [name, Type] of Object.entries(NUMBERS)) columns[name].set(filled(Type, chunk.columns[name]), chunk.start);
      for (const [name, [rows, values]] of Object.entries(chunk.figures)) {
        columns.figures[name].push({ rows: filled(Uint32Array, rows).map((row) => row + chunk.start), values: filled(Float32Array, values) });
      }
    }
    const { x1, y1, x2, y2 } = columns;
    columns.area = Float32Array.from(x1, (_, k) => (x2[k] - x1[k]) * (y2[k] - y1[k]));
    return columns;
  }

  /** All images: their numbers in order, and by number the name, thumbnail, count of boxes and why it failed. */
  async function loadImages() {
    const images = { numbers: [], names: new Array(facts.end), thumbs: new Array(facts.end), boxes: new Uint32Array(facts.end), failures: new Map() };
    for (let k = 0; k < facts.chunks.images; k++) {
      const chunk = await load(`images-${k}`, `images-${k}`);
      chunk.numbers.forEach((number, place) => {
        images.numbers.push(number);
        images.names[number] = chunk.names[place];
        images.thumbs[number] = chunk.thumbs[place];
        images.boxes[number] = chunk.boxes[place];
      });
      for (const [number, why] of Object.entries(chunk.failures)) images.failures.set(Number(number), why);
    }
    return images;
  }

  return { facts, peek, record, loadColumns, loadImages };
})();
