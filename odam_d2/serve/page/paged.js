"use strict";
/* Rows of a list that the server holds: pages are fetched when one of their rows is looked at, and the latest are kept. */
const OdamPaged = (() => {
  const SIZE = 200, KEPT = 20; // rows of a page, pages

  class Paged {
    /** load(offset, limit, signal): a promise of { count, rows, ... }; came(answer): called after each page. */
    constructor(load, came, failed) {
      Object.assign(this, { load, came, failed, count: 0, pages: new Map() });
    }

    /** Forgets all rows; resolves when the first page of the new ones is there. */
    reset() {
      this.stopping?.abort();
      this.stopping = new AbortController();
      this.pages = new Map();
      return this.page(0);
    }

    page(number) {
      const known = this.pages.get(number);
      if (known) {
        this.pages.delete(number);
        this.pages.set(number, known);
        return known.coming;
      }
      const page = { rows: null }, { pages } = this;
      page.coming = this.load(number * SIZE, SIZE, this.stopping?.signal).then((answer) => {
        if (this.pages !== pages) return null; // of a list that is no longer shown
        page.rows = answer.rows;
        this.count = answer.count;
        this.came(answer);
        return answer;
      }, (error) => {
        pages.delete(number);
        if (error.name !== "AbortError") this.failed(error);
        return null;
      });
      pages.set(number, page);
      while (pages.size > KEPT) pages.delete(pages.keys().next().value);
      return page.coming;
    }

    /** The row of an index if it is here; otherwise null, and it is fetched. */
    peek(index) {
      if (index < 0) return null; // that of no row, as `find` says
      const page = this.pages.get(Math.floor(index / SIZE));
      if (page?.rows) return page.rows[index % SIZE] ?? null;
      this.page(Math.floor(index / SIZE));
      return null;
    }

    /** A promise of the row of an index. */
    async row(index) {
      await this.page(Math.floor(index / SIZE));
      return this.peek(index);
    }

    /** The index of the first row among those here that passes a test; -1 if there is none. */
    find(passes) {
      for (const [number, { rows }] of [...this.pages].sort(([a], [b]) => a - b)) {
        const at = rows?.findIndex(passes) ?? -1;
        if (at >= 0) return number * SIZE + at;
      }
      return -1;
    }
  }

  return { Paged };
})();
