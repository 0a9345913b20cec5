"use strict";
/* Which boxes pass the filters, in which order and groups. Works on the columns alone. */
const OdamChoose = (() => {
  const WORDS = ["verdict", "mechanism", "label", "kind"]; // filtered by a word, counted by it
  const RANGES = ["score", "iou", "occlusion", "outside", "area"];

  /** Filters that let everything pass: sets of words' places (empty for all), ranges with null for no bound. */
  function noFilters() {
    return {
      verdict: new Set(), mechanism: new Set(), label: new Set(), kind: new Set(), judged: "", name: "",
      ...Object.fromEntries(RANGES.map((name) => [name, [null, null]])),
    };
  }

  /** How many filters are set. */
  function active(filters) {
    return WORDS.filter((name) => filters[name].size).length + Number(filters.judged !== "") + Number(filters.name !== "")
      + RANGES.filter((name) => filters[name].some((bound) => bound !== null)).length;
  }

  /** The values that a sort key stands for, as Float32Array; null for the order of the run. */
  function keysOf(columns, key, ranks) {
    if (key in ranks) return Float32Array.from(columns[key], (place) => place === 0 ? NaN : ranks[key][place]);
    if (RANGES.includes(key)) return columns[key];
    const parts = columns.figures[key.replace(/^figure /, "")];
    if (!parts) return null;
    const values = new Float32Array(columns.count).fill(NaN);
    for (const part of parts) part.rows.forEach((row, k) => { values[row] = part.values[k]; });
    return values;
  }

  /** All rows by rising or falling key, equals in the order of the run, NaN last: radix sort of the floats' bits. */
  function sorted(keys, descending) {
    const count = keys.length, bits = new Uint32Array(keys.length);
    const raw = new Uint32Array(Float32Array.from(keys, (key) => key === 0 ? 0 : key).buffer); // -0 equals 0
    for (let k = 0; k < count; k++) {
      if (Number.isNaN(keys[k])) bits[k] = 0xffffffff;
      else {
        const rising = raw[k] & 0x80000000 ? ~raw[k] >>> 0 : raw[k] | 0x80000000;
        bits[k] = descending ? ~rising >>> 0 : rising >>> 0;
      }
    }
    let from = Uint32Array.from(bits, (_, k) => k), to = new Uint32Array(count);
    for (const shift of [0, 16]) {
      const starts = new Uint32Array(65537);
      for (let k = 0; k < count; k++) starts[(bits[k] >>> shift & 0xffff) + 1]++;
      for (let k = 0; k < 65536; k++) starts[k + 1] += starts[k];
      for (let k = 0; k < count; k++) to[starts[bits[from[k]] >>> shift & 0xffff]++] = from[k];
      [from, to] = [to, from];
    }
    return from;
  }

  /** For each image by number, whether its name holds a text; null for all. */
  function namesWith(images, text) {
    if (!text) return null;
    const found = new Uint8Array(images.names.length), wanted = text.toLowerCase();
    for (const number of images.numbers) found[number] = images.names[number].toLowerCase().includes(wanted);
    return found;
  }

  /**
   * The rows that pass.
   * order: rows in the order to list them, or null for that of the run; sizes: how many words each table has.
   * Returns rows, `counts` (by word's place, of rows that pass all other filters), and `perImage` (by number).
   */
  function select(columns, filters, order, named, sizes, images) {
    const { count } = columns, rows = new Uint32Array(count), perImage = new Uint32Array(images);
    const counts = {}, allowed = {};
    for (const name of WORDS) {
      counts[name] = new Uint32Array(sizes[name]);
      allowed[name] = new Uint8Array(sizes[name]).fill(filters[name].size ? 0 : 1);
      for (const place of filters[name]) allowed[name][place] = 1;
    }
    const bounds = RANGES.filter((name) => filters[name].some((bound) => bound !== null)).map((name) => {
      const [low, high] = filters[name]; // bounds are compared as the column holds its values
      return [columns[name], low === null ? -Infinity : Math.fround(low), high === null ? Infinity : Math.fround(high)];
    });
    const judged = filters.judged === "" ? -1 : Number(filters.judged === "with");
    const { verdict, mechanism, label, kind } = columns;
    let passed = 0;
    next: for (let k = 0; k < count; k++) {
      const row = order ? order[k] : k;
      if (named && !named[columns.image[row]]) continue;
      if (judged >= 0 && columns.judged[row] !== judged) continue;
      for (const [values, low, high] of bounds) if (!(values[row] >= low && values[row] <= high)) continue next;
      const v = allowed.verdict[verdict[row]], m = allowed.mechanism[mechanism[row]];
      const l = allowed.label[label[row]], d = allowed.kind[kind[row]], sum = v + m + l + d;
      if (sum < 3) continue;
      if (sum === 4 || !v) counts.verdict[verdict[row]]++;
      if (sum === 4 || !m) counts.mechanism[mechanism[row]]++;
      if (sum === 4 || !l) counts.label[label[row]]++;
      if (sum === 4 || !d) counts.kind[kind[row]]++;
      if (sum < 4) continue;
      perImage[columns.image[row]]++;
      rows[passed++] = row;
    }
    return { rows: rows.subarray(0, passed), counts, perImage };
  }

  /**
   * Rows in groups, each under a heading: items >= 0 are rows, -1 - g is the heading of group g.
   * codes: a column; rank: order of its values (by value; null for rising).
   */
  function grouped(rows, codes, rank) {
    const members = new Map();
    for (const row of rows) {
      const code = codes[row], group = members.get(code);
      if (group) group.push(row); else members.set(code, [row]);
    }
    const order = [...members.keys()].sort((a, b) => rank ? rank[a] - rank[b] : a - b);
    const items = new Int32Array(rows.length + order.length), groups = [];
    let place = 0;
    order.forEach((code, number) => {
      const own = members.get(code);
      groups.push({ code, count: own.length });
      items[place++] = -1 - number;
      for (const row of own) items[place++] = row;
    });
    return { items, groups };
  }

  return { WORDS, RANGES, noFilters, active, keysOf, sorted, namesWith, select, grouped };
})();
