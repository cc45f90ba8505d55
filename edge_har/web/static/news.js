// What happens, in sentences for screen readers: beginnings of events, and sources that go away and come back.

const PAUSE_MS = 3000; // between two messages: a reader needs time for each
const MOST = 3; // sentences of one message; of more only the latest

export class News {
  /** element: a live region. */
  constructor(element) {
    this.element = element;
    this.known = new Set();
    this.waiting = [];
    this.timer = null;
  }

  /** entries: what changed; first: it is all that was there before the page was opened. */
  update(entries, first) {
    for (const { id, source, label, reason, ended_s: ended } of entries) {
      const key = `${id} ${label === null && ended !== null}`;
      if (this.known.has(key)) continue;
      this.known.add(key);
      if (first) continue;
      if (label !== null) this.waiting.push(`${source}: ${label}.`);
      else if (ended === null) this.waiting.push(`${source}: source lost${reason ? `, ${reason}` : ""}.`);
      else this.waiting.push(`${source}: source is back.`);
    }
    if (this.timer === null && this.waiting.length) this.read();
  }

  read() {
    this.element.textContent = this.waiting.splice(0).slice(-MOST).join(" ");
    this.timer = setTimeout(() => {
      this.timer = null;
      if (this.waiting.length) this.read();
    }, PAUSE_MS);
  }
}
