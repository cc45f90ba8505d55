// The last minutes: a lane for each source, a bar for each event, hatched where the source was away.

import { clock, colour, duration, mark, percent, say, timeOfDay } from "./words.js";

const YOUNG_S = 180; // a run that began so lately has no more to show than its last 2 minutes
const SHORTEST_PERCENT = 0.4; // a bar that can be seen

export class Timeline {
  constructor(section, template) {
    this.lanes = section.querySelector(".lanes");
    this.ends = section.querySelectorAll(".axis span");
    this.count = section.querySelector(".count");
    this.legend = section.querySelector(".legend");
    this.buttons = section.querySelectorAll(".ranges button");
    this.template = template;
    this.tracks = new Map();
    this.bars = new Map();
    this.minutes = null;
    this.latest = null;
    for (const button of this.buttons) {
      button.addEventListener("click", () => this.range(Number(button.dataset.minutes)));
    }
  }

  range(minutes) {
    this.minutes = minutes;
    for (const button of this.buttons) {
      mark(button, "aria-pressed", String(Number(button.dataset.minutes) === minutes));
    }
    const ago = (m) => (m >= 60 ? `${m / 60} h ago` : `${m} min ago`);
    say(this.ends[0], ago(minutes));
    say(this.ends[1], ago(minutes / 2));
    if (this.latest) this.update(...this.latest);
  }

  /** names: of the sources. entries: Map of id to event. now: on the device's clock, seconds. */
  update(names, labels, entries, now) {
    this.latest = [names, labels, entries, now];
    if (this.minutes === null) return this.range(now < YOUNG_S ? 2 : 10);
    if (JSON.stringify(names) !== JSON.stringify([...this.tracks.keys()])) this.build(names);
    const begin = now - 60 * this.minutes;
    const gone = new Set(this.bars.keys());
    const seen = new Set();
    let shown = 0;
    for (const entry of entries.values()) {
      if ((entry.ended_s ?? now) < begin || !this.tracks.has(entry.source)) continue;
      gone.delete(entry.id);
      seen.add(entry.label);
      shown += entry.label === null ? 0 : 1;
      this.place(entry, labels, begin, now);
    }
    for (const id of gone) {
      this.bars.get(id).remove();
      this.bars.delete(id);
    }
    this.explain(seen, labels);
    const range = this.minutes >= 60 ? "hour" : `${this.minutes} minutes`;
    const events = shown === 1 ? "1 event" : `${shown || "no"} events`;
    say(this.count, events);
    mark(this.lanes, "aria-label", `The last ${range}: ${events}. They are listed under Events.`);
  }

  place(entry, labels, begin, now) {
    let bar = this.bars.get(entry.id);
    if (!bar) {
      bar = document.createElement("span");
      const text = bar.appendChild(document.createElement("b"));
      say(text, entry.label ?? "");
      this.bars.set(entry.id, bar);
      this.tracks.get(entry.source).append(bar);
    }
    const classes = `bar ${entry.label === null ? "away" : colour(entry.label, labels)} ${entry.ended_s === null ? "ongoing" : ""}`.trim();
    if (bar.className !== classes) bar.className = classes;
    const share = (s) => (100 * (Math.max(begin, s) - begin)) / (now - begin);
    const from = share(entry.began_s);
    const to = share(entry.ended_s ?? now);
    const width = Math.max(SHORTEST_PERCENT, to - from);
    bar.style.insetInlineStart = `${Math.min(from, 100 - width).toFixed(3)}%`;
    bar.style.inlineSize = `${width.toFixed(3)}%`;
    const lasted = duration(entry.lasted_s ?? (entry.ended_s ?? now) - entry.began_s);
    const what = entry.label === null ? "Source lost" : `${entry.label}, ${percent(entry.score)}`;
    bar.title = `${what}, ${lasted}, from ${timeOfDay(clock(now - entry.began_s))}`;
  }

  /** What the colours mean: the labels that are shown, in the order of the model; null: a source was lost. */
  explain(seen, labels) {
    const shown = labels.filter((label) => seen.has(label));
    for (const label of seen) if (label !== null && !labels.includes(label)) shown.push(label);
    if (seen.has(null)) shown.push(null);
    if (this.explained === JSON.stringify([shown, labels])) return;
    this.explained = JSON.stringify([shown, labels]);
    this.legend.replaceChildren(
      ...shown.map((label) => {
        const item = document.createElement("li");
        item.className = label === null ? "away" : colour(label, labels);
        item.textContent = label ?? "Source lost";
        return item;
      }),
    );
  }

  build(names) {
    this.tracks.clear();
    this.bars.clear();
    this.lanes.replaceChildren();
    this.lanes.classList.toggle("single", names.length === 1);
    for (const name of names) {
      const lane = this.template.content.firstElementChild.cloneNode(true);
      const title = lane.querySelector(".name");
      say(title, name);
      title.title = name;
      this.tracks.set(name, lane.querySelector(".track"));
      this.lanes.append(lane);
    }
  }
}
