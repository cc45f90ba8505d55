// A card for each source: its picture, what is seen in it, how it does.

import { colour, count, duration, mark, milliseconds, percent, say } from "./words.js";

const WORDS = { opening: "Opening", live: "Live", lost: "Lost", ended: "Ended", failed: "Failed" };
const GAP_PX = 16;
const LEAST_PX = 190; // how wide a picture among several must be where there is room
const COUNTS = ["frames", "ticks", "skipped", "repeated", "damaged", "reconnects"];

class Card {
  /** onShape(): called when its pictures have another shape. */
  constructor(name, root, onShape) {
    this.name = name;
    this.root = root;
    this.onShape = onShape;
    this.ratio = null;
    this.labels = [];
    this.source = null;
    this.drawn = false;
    this.busy = false;
    this.linked = false;
    this.over = false;
    this.paused = false;
    this.ongoing = null;
    this.parts = new Proxy({}, { get: (known, part) => (known[part] ??= root.querySelector(`.${part}`)) });
    this.canvas = root.querySelector("canvas");
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.stateText = root.querySelector(".state .text");
    say(this.parts.name, name);
    say(this.parts.whose, `${name}: `);
    this.parts.name.title = name;
  }

  update(source, labels, ongoing) {
    if (this.source && source.state !== "live" && this.source.state === "live") this.drawn = false;
    this.source = source;
    this.labels = labels;
    this.ongoing = ongoing;
    mark(this.root, "data-state", source.state);
    say(this.stateText, WORDS[source.state] ?? source.state);
    this.because(source.reason);
    const live = source.state === "live";
    say(this.parts.rate, live ? `${source.rate_hz.toFixed(1)} fps` : "–");
    say(this.parts.age, milliseconds(live ? source.age_ms : null));
    say(this.parts.cost, milliseconds(live ? source.tick_ms : null));
    for (const name of COUNTS) say(this.parts[name], count(source[name]));
    if (!this.fresh()) this.see(source.label, source.score);
    this.veil();
  }

  /** Whether pictures come, and bring their own label. */
  fresh() {
    return this.drawn && performance.now() - this.drawnMs < 1500;
  }

  /** over: whether the run has ended; else the device cannot be reached. */
  unlink(over) {
    this.linked = this.drawn = false;
    this.over = over;
    if (over && this.source?.state !== "ended" && this.source?.state !== "failed") {
      mark(this.root, "data-state", "ended");
      say(this.stateText, "Stopped");
    } else if (!over) {
      mark(this.root, "data-state", "unknown");
      say(this.stateText, "Unknown");
      this.because(null);
    }
    this.parts.seen.hidden = true;
    this.veil();
  }

  /** Why the source gives nothing, below its name; null: it gives pictures. */
  because(reason) {
    this.parts.reason.hidden = !reason;
    say(this.parts.reason, reason ?? "");
  }

  async draw(header, blob) {
    if (this.busy) return; // this browser is slower than the pictures: skip some
    this.busy = true;
    try {
      const bitmap = await createImageBitmap(blob);
      if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
        this.canvas.width = bitmap.width;
        this.canvas.height = bitmap.height;
        this.ratio = `${bitmap.width} / ${bitmap.height}`;
        this.root.style.setProperty("--ratio", this.ratio);
        this.onShape();
      }
      this.context.drawImage(bitmap, 0, 0);
      bitmap.close();
      this.drawn = true;
      this.canvas.classList.add("drawn");
      this.drawnMs = performance.now();
      this.see(header.label, header.score);
      this.veil();
    } catch {
      // A picture that cannot be decoded is followed by another.
    } finally {
      this.busy = false;
    }
  }

  see(label, score) {
    const { seen, fill } = this.parts;
    const live = this.source?.state === "live";
    seen.hidden = !live;
    if (!live) return;
    const certain = this.ongoing !== null && this.ongoing === label;
    const kind = label === null ? "nothing" : certain ? "certain" : "";
    const classes = `seen ${colour(label, this.labels)} ${kind}`.trim();
    if (seen.className !== classes) seen.className = classes;
    say(seen.querySelector(".label"), label ?? "Nothing");
    say(seen.querySelector(".score"), percent(score));
    fill.style.inlineSize = `${100 * (score ?? 0)}%`;
  }

  veil() {
    const [kind, what, why] = this.message();
    mark(this.parts.veil, "data-kind", kind);
    say(this.parts.what, what);
    say(this.parts.why, why);
  }

  message() {
    const source = this.source;
    const silent = source?.silent_s === null || !source ? "" : `Nothing came for ${duration(source.silent_s)}. `;
    if (!this.linked && !this.over) return ["wait", "No connection", ""];
    if (source?.state === "ended") return ["stop", "Ended", "This source has come to its end."];
    if (source?.state === "failed") return ["stop", "Failed", "This source cannot be used."];
    if (this.over) return ["stop", "Stopped", "The run has ended."];
    if (!source || source.state === "opening") return ["wait", "Opening the source…", ""];
    if (source.state === "lost") return ["wait", "Source lost", `${silent}Reconnecting.`];
    if (this.paused) return ["pause", "Paused", ""];
    return this.drawn ? ["none", "", ""] : ["wait", "Waiting for a picture…", ""];
  }
}

export class Sources {
  /** onWatch(names): called when other pictures are looked at. */
  constructor(section, template, onWatch) {
    this.section = section;
    this.template = template;
    this.onWatch = onWatch;
    this.cards = new Map();
    this.visible = new Set();
    this.paused = false;
    this.observer = new IntersectionObserver((changes) => this.seen(changes), { rootMargin: "100px" });
    new ResizeObserver(() => this.spread()).observe(section);
    document.addEventListener("visibilitychange", () => this.watch());
    addEventListener("hashchange", () => this.arrange());
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.enlarged() && !document.querySelector("dialog[open]")) this.enlarge(null);
    });
  }

  update(state, ongoing) {
    const names = state.sources.map((source) => source.name);
    if (JSON.stringify(names) !== JSON.stringify([...this.cards.keys()])) this.build(names);
    for (const source of state.sources) {
      const card = this.cards.get(source.name);
      card.linked = true;
      card.over = false;
      card.update(source, state.labels, ongoing.get(source.name) ?? null);
    }
  }

  picture(header, blob) {
    this.cards.get(header.source)?.draw(header, blob);
  }

  unlink(over) {
    for (const card of this.cards.values()) card.unlink(over);
  }

  pause(paused) {
    this.paused = paused;
    for (const card of this.cards.values()) {
      card.paused = paused;
      card.veil();
    }
    this.watch();
  }

  build(names) {
    this.observer.disconnect();
    this.visible.clear();
    this.cards.clear();
    this.section.replaceChildren();
    for (const name of names) {
      const root = this.template.content.firstElementChild.cloneNode(true);
      const card = new Card(name, root, () => this.shape());
      card.paused = this.paused;
      card.parts.picture.addEventListener("click", () => this.enlarge(this.enlarged() === name ? null : name));
      this.cards.set(name, card);
      this.section.append(root);
      this.observer.observe(root);
    }
    this.arrange();
  }

  enlarged() {
    let name = "";
    try {
      name = decodeURIComponent(location.hash.slice(1));
    } catch {
      // An address that somebody typed.
    }
    return this.cards.size > 1 && this.cards.has(name) ? name : null;
  }

  enlarge(name) {
    if (this.cards.size < 2) return;
    if (name !== null) {
      location.hash = encodeURIComponent(name);
    } else {
      history.pushState(null, "", location.pathname);
      this.arrange();
    }
  }

  arrange() {
    const enlarged = this.enlarged();
    const single = this.cards.size === 1;
    this.section.classList.toggle("single", single);
    for (const card of this.cards.values()) {
      const large = single || card.name === enlarged;
      card.root.classList.toggle("large", large);
      card.parts.picture.disabled = single;
      mark(card.parts.picture, "aria-pressed", String(large));
      card.parts.picture.title = single ? "" : large ? "Back to all sources" : "Enlarge";
      if (large && !single) card.root.scrollIntoView({ block: "nearest" });
    }
    this.spread();
  }

  /** Pictures side by side have one shape, the commonest; others get bars. */
  shape() {
    const times = new Map();
    for (const { ratio } of this.cards.values()) if (ratio) times.set(ratio, (times.get(ratio) ?? 0) + 1);
    const [commonest] = [...times].sort((a, b) => b[1] - a[1])[0];
    this.section.style.setProperty("--common-ratio", commonest);
  }

  /** Choose how many cards are in a row: as many as there are rows, so four are two by two, or one more where
      that leaves fewer holes; never so many that they are too narrow. */
  spread() {
    const beside = this.cards.size - (this.enlarged() === null ? 0 : 1);
    const width = this.section.clientWidth;
    const least = Math.min(LEAST_PX, width / 2.2);
    const most = Math.floor((width + GAP_PX) / (least + GAP_PX));
    const square = Math.ceil(Math.sqrt(beside));
    const holes = (columns) => (columns - (beside % columns)) % columns;
    const chosen = Math.min(most, holes(square + 1) < holes(square) ? square + 1 : square);
    const fewest = this.enlarged() === null ? 1 : width > 700 ? 3 : 2; // none beside is larger than the enlarged one
    const columns = Math.max(chosen, fewest);
    this.section.style.setProperty("--columns", columns);
    this.section.classList.toggle("two-rows", beside === this.cards.size && Math.ceil(beside / columns) === 2);
    const roomy = matchMedia("(min-width: 64rem)").matches;
    for (const card of this.cards.values()) card.root.querySelector("details").open ||= roomy;
  }

  seen(changes) {
    const names = new Map([...this.cards].map(([name, card]) => [card.root, name]));
    for (const change of changes) {
      if (change.isIntersecting) this.visible.add(names.get(change.target));
      else this.visible.delete(names.get(change.target));
    }
    this.watch();
  }

  watch() {
    const looked = document.visibilityState === "visible" && !this.paused;
    this.onWatch(looked ? [...this.cards.keys()].filter((name) => this.visible.has(name)) : []);
  }
}
