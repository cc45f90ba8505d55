// The WebSocket to the device: opened again for ever, asked for the pictures that are looked at, and no others.

const SILENT_MS = 6000; // the device tells its state twice a second
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
const decoder = new TextDecoder();

export class Link {
  /** on: {message(object), picture(header, blob), change(state, reason)}; state: connecting, live or lost. */
  constructor(on) {
    this.on = on;
    this.wanted = "[]";
    this.waitMs = FIRST_WAIT_MS;
    this.socket = null;
    this.open();
    setInterval(() => this.check(), 1000);
    addEventListener("online", () => this.again(0));
    addEventListener("pagehide", () => this.socket?.close());
    addEventListener("pageshow", (event) => event.persisted && this.again(0));
  }

  open() {
    clearTimeout(this.timer);
    const address = new URL("events", location.href.replace(/[?#].*$/, ""));
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.heardMs = performance.now();
    socket.onopen = () => {
      this.waitMs = FIRST_WAIT_MS;
      socket.send(`{"watch":${this.wanted}}`);
    };
    socket.onmessage = (event) => {
      if (this.socket !== socket) return;
      this.heardMs = performance.now();
      if (typeof event.data === "string") {
        this.on.change("live", "");
        this.on.message(JSON.parse(event.data));
      } else {
        this.unpack(event.data);
      }
    };
    socket.onclose = () => this.socket === socket && this.lost();
  }

  unpack(data) {
    const length = new DataView(data).getUint32(0);
    const header = JSON.parse(decoder.decode(new Uint8Array(data, 4, length)));
    this.on.picture(header, new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
  }

  /** Look at these sources. */
  watch(names) {
    const wanted = JSON.stringify(names);
    if (wanted === this.wanted) return;
    this.wanted = wanted;
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(`{"watch":${wanted}}`);
  }

  check() {
    if (this.socket && performance.now() - this.heardMs > SILENT_MS) {
      const silent = this.socket;
      this.lost();
      silent.close();
    }
  }

  lost() {
    this.socket = null;
    this.on.change("lost", "");
    this.again(this.waitMs * (0.5 + Math.random()));
    this.waitMs = Math.min(LONGEST_WAIT_MS, 1.7 * this.waitMs);
    this.ask();
  }

  again(ms) {
    clearTimeout(this.timer);
    if (!this.socket) this.timer = setTimeout(() => this.open(), ms);
  }

  /** A WebSocket does not say why it was refused; a plain request does. */
  async ask() {
    const answer = await fetch("healthz").catch(() => null);
    if (answer?.status === 401) location.reload();
    else if (answer?.ok && !this.socket) this.on.change("lost", "The device answers, but the page is not served now.");
  }
}
