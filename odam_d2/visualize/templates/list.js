"use strict";
/* A list of any length of which only the items in view exist. They are as high as the custom property --item of their
   scroller says, or as wide as --item-wide where that is set, and the list then runs from left to right. */
const OdamList = (() => {
  const LONGEST = 8e6; // pixels; browsers know no much longer elements, so that a longer list scrolls in larger steps
  const BEYOND = 6; // items that exist before and behind those in view

  class List {
    /** scroller: what scrolls; list: inside it; fill(item, index): gives an <li> its content. */
    constructor(scroller, list, fill) {
      Object.assign(this, { scroller, list, fill, count: 0, current: -1, shown: new Map(), spare: [], at: 0, room: 0, item: 40 });
      scroller.addEventListener("scroll", () => { this.at = this.across ? scroller.scrollLeft : scroller.scrollTop; this.ask(); }, { passive: true });
      new ResizeObserver(() => { this.measure(); this.refresh(); }).observe(scroller);
      this.measure();
    }

    ask() {
      this.asked ??= requestAnimationFrame(() => { this.asked = null; this.draw(); });
    }

    /** Asks the browser for sizes; it then has to lay the page out, so that this is done where they change alone. */
    measure() {
      const style = getComputedStyle(this.scroller), wide = parseFloat(style.getPropertyValue("--item-wide"));
      this.across = wide > 0;
      this.item = this.across ? wide : parseFloat(style.getPropertyValue("--item")) || 40;
      this.room = this.across ? this.scroller.clientWidth : this.scroller.clientHeight;
    }

    /** Gives the list its length for `count` items. */
    stretch() {
      this.whole = this.count * this.item;
      this.length = Math.min(this.whole, LONGEST);
      this.list.style.height = this.across ? "100%" : `${this.length}px`;
      this.list.style.width = this.across ? `${this.length}px` : "auto";
      this.at = Math.min(this.at, Math.max(0, this.length - this.room)); // as the browser does
    }

    /** Where the view begins, in pixels of the whole list. */
    get begin() {
      return this.length <= this.room ? 0 : this.at * (this.whole - this.room) / (this.length - this.room);
    }

    scrollTo(begin) {
      const end = Math.max(0, this.whole - this.room), wanted = Math.min(Math.max(begin, 0), end);
      this.at = end ? wanted * (this.length - this.room) / end : 0;
      this.scroller.scrollTo({ [this.across ? "left" : "top"]: this.at, behavior: "instant" });
    }

    /** Other content: `count` items. */
    set(count) {
      this.count = count;
      this.refresh();
    }

    /** The same number of items, drawn anew. */
    refresh() {
      this.stretch();
      this.drawn = null;
      this.draw();
    }

    /** Marks an item as the chosen one, scrolls to it if `reveal`, and keeps the focus where it was in the list. */
    choose(index, reveal = true) {
      this.current = index;
      if (reveal && index >= 0) {
        const begin = this.begin, start = index * this.item;
        if (start < begin) this.scrollTo(start);
        else if (start + this.item > begin + this.room) this.scrollTo(start + this.item - this.room);
      }
      const focused = this.list.contains(document.activeElement);
      this.draw();
      this.mark();
      if (focused) this.shown.get(index)?.querySelector("button")?.focus({ preventScroll: true });
    }

    /** One button of those in view can be reached by the tab key: the chosen one, else the first. */
    mark() {
      const reachable = this.shown.has(this.current) ? this.current : Math.min(...this.shown.keys());
      for (const [index, item] of this.shown) {
        const button = item.querySelector("button");
        if (!button) continue;
        if (index === this.current) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
        button.tabIndex = index === reachable ? 0 : -1;
      }
    }

    draw() {
      const { begin } = this;
      const first = Math.max(0, Math.floor(begin / this.item) - BEYOND);
      const end = Math.min(this.count, Math.ceil((begin + this.room) / this.item) + BEYOND);
      const key = `${first}/${end}`, again = this.drawn === null;
      if (key !== this.drawn) {
        for (const [index, item] of this.shown) {
          if (index >= first && index < end) continue;
          this.shown.delete(index);
          if (item.contains(document.activeElement)) this.scroller.focus({ preventScroll: true });
          item.remove();
          this.spare.push(item);
        }
        for (let index = first; index < end; index++) {
          const known = this.shown.get(index);
          if (known && !again) continue;
          const item = known ?? this.spare.pop() ?? document.createElement("li");
          this.fill(item, index);
          item.setAttribute("aria-setsize", this.count);
          item.setAttribute("aria-posinset", index + 1);
          if (!known) {
            this.shown.set(index, item);
            this.place(item, index);
          }
        }
        this.spare.length = Math.min(this.spare.length, 40);
        this.drawn = key;
        this.mark();
      }
      // Where the list is longer than its element, items move against the scrolling.
      const shift = this.at - begin, axis = this.across ? "X" : "Y";
      for (const [index, item] of this.shown) item.style.transform = `translate${axis}(${index * this.item + shift}px)`;
    }

    /** Puts an item among its neighbours, so that the order of elements is that of the list. */
    place(item, index) {
      let before = null;
      for (const [other, node] of this.shown) if (other > index && (before === null || other < before[0])) before = [other, node];
      this.list.insertBefore(item, before ? before[1] : null);
    }
  }

  return { List };
})();
