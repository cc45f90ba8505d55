// The events in words.

import { clock, colour, duration, mark, percent, say, timeOfDay } from "./words.js";

const SHOWN = 25; // before somebody asks for all
const REASONS = {
  gap: "cut off by a gap",
  stop: "cut off by the end",
  lost: "cut off: source lost",
  swap: "cut off by another model",
};

/** What goes on stands above what ended, the latest first. */
function before(a, b) {
  return (a.ended_s !== null) - (b.ended_s !== null) || b.began_s - a.began_s;
}

export class Log {
  /** onPlay(address, title): called when a clip is to be shown. */
  constructor(section, template, onPlay) {
    this.onPlay = onPlay;
    this.list = section.querySelector(".entries");
    this.empty = section.querySelector(".empty");
    this.count = section.querySelector(".count");
    this.known = section.querySelector(".labels");
    this.template = template;
    this.items = new Map();
    this.labels = [];
    this.shown = SHOWN;
    this.all = section.querySelector(".all");
    this.all.addEventListener("click", () => {
      this.shown = Infinity;
      this.all.hidden = true;
    });
  }

  update(names, labels, entries, now) {
    if (JSON.stringify(labels) !== JSON.stringify(this.labels)) this.tell(labels);
    const newest = [...entries.values()].sort(before).slice(0, this.shown);
    const gone = new Set(this.items.keys());
    let above = null;
    for (const entry of newest) {
      gone.delete(entry.id);
      let item = this.items.get(entry.id);
      if (!item) {
        item = this.template.content.firstElementChild.cloneNode(true);
        this.items.set(entry.id, item);
      }
      this.fill(item, entry, names.length > 1, now);
      const place = above ? above.nextElementSibling : this.list.firstElementChild;
      if (place !== item) this.list.insertBefore(item, place);
      above = item;
    }
    for (const id of gone) {
      this.items.get(id).remove();
      this.items.delete(id);
    }
    this.list.hidden = newest.length === 0;
    this.all.hidden = entries.size <= this.shown;
    this.empty.hidden = newest.length > 0;
    const events = [...entries.values()].filter((entry) => entry.label !== null).length;
    say(this.count, events ? `${events} in the last hour` : "");
  }

  fill(item, entry, several, now) {
    const away = entry.label === null;
    const goesOn = entry.ended_s === null;
    const classes = `entry ${away ? "away" : colour(entry.label, this.labels)} ${goesOn ? "ongoing" : ""}`.trim();
    if (item.className !== classes) item.className = classes;
    say(item.querySelector(".label"), entry.label ?? (goesOn ? "Source lost" : "Source was lost"));
    say(item.querySelector(".score"), percent(entry.score));
    say(item.querySelector(".where"), several || away ? entry.source : "");
    const seconds = entry.lasted_s ?? (entry.ended_s ?? now) - entry.began_s;
    const reason = REASONS[entry.reason] ? `, ${REASONS[entry.reason]}` : "";
    say(item.querySelector(".lasted"), goesOn ? `now, for ${duration(seconds)}` : `${duration(seconds)}${reason}`);
    say(item.querySelector(".why"), away ? (entry.reason ?? "") : "");
    const time = item.querySelector("time");
    if (!time.dateTime) {
      const began = clock(now - entry.began_s);
      time.dateTime = began.toISOString();
      say(time, timeOfDay(began));
    }
    this.clip(item.querySelector(".clip"), entry, time.textContent);
  }

  /** A link to the event's clip: it opens in the page where browsers can play it, else it is saved. */
  clip(link, entry, began) {
    if (!entry.clip || !link.hidden) return;
    link.hidden = false;
    link.href = entry.clip.path;
    say(link, entry.clip.plays ? "Play clip" : "Save clip");
    mark(link, "aria-label", `${link.textContent}: ${entry.label}, ${began}`);
    if (!entry.clip.plays) {
      link.download = "";
      return;
    }
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // in a tab of its own
      event.preventDefault();
      this.onPlay(link.href, `${entry.label}, ${entry.source}, ${began}`);
    });
  }

  tell(labels) {
    this.labels = labels;
    this.known.replaceChildren(
      ...labels.map((label) => {
        const item = document.createElement("li");
        item.className = colour(label, labels);
        item.textContent = label;
        return item;
      }),
    );
  }
}
