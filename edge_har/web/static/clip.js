// The recorded clip of an event, in a window of the page.

import { say } from "./words.js";

export class ClipWindow {
  constructor(dialog) {
    this.dialog = dialog;
    this.title = dialog.querySelector("h2");
    this.video = dialog.querySelector("video");
    this.failed = dialog.querySelector(".failed");
    dialog.querySelector("button").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
    dialog.addEventListener("close", () => dialog.open || this.empty()); // it may be open again by now
    this.video.addEventListener("error", () => {
      if (!this.video.hasAttribute("src")) return;
      this.video.hidden = true;
      this.failed.hidden = false;
    });
  }

  open(address, title) {
    say(this.title, title);
    this.video.hidden = false;
    this.failed.hidden = true;
    this.video.src = address;
    this.dialog.showModal();
    this.video.play().catch(() => {}); // a browser that does not start it by itself shows its button
  }

  empty() {
    this.video.removeAttribute("src");
    this.video.load();
  }
}
