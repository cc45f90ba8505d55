// The live page: one WebSocket feeds the cards of the sources, the timeline and the list of events.

import { ClipWindow } from "./clip.js";
import { Link } from "./link.js";
import { Log } from "./log.js";
import { News } from "./news.js";
import { Sources } from "./sources.js";
import { Timeline } from "./timeline.js";
import { duration, mark, say } from "./words.js";

const LINK_WORDS = { connecting: "Connecting…", live: "Connected", lost: "Connection lost", over: "Run ended" };
const STOPPED = "The run has ended on the device.";
const ALL_ENDED = "All sources have come to their end, and the run with them.";
const NEXT = "This page shows the next run when it begins.";
const find = (selector) => document.querySelector(selector);

// The token of an address that was opened with one must not stay in the browser's history.
if (new URLSearchParams(location.search).has("token")) {
  history.replaceState(null, "", location.pathname + location.hash);
}

const entries = new Map();
let state = null;
let zero = Infinity; // of this browser's clock, seconds, when the device's clock was 0: the least that was seen
let began = null; // the run whose events these are
let link = null;
let slowed = "";

const sources = new Sources(find(".sources"), find("#source"), (names) => link?.watch(names));
const timeline = new Timeline(find(".timeline"), find("#lane"));
const clip = new ClipWindow(find("#clip"));
const log = new Log(find(".log"), find("#entry"), (address, title) => clip.open(address, title));
const news = new News(find("#news"));

function now() {
  return performance.now() / 1000 - zero;
}

function take(message) {
  if (message.first) entries.clear(), (zero = Infinity);
  state = message.state;
  zero = Math.min(zero, performance.now() / 1000 - state.now_s);
  news.update(message.events, message.first);
  for (const entry of message.events) entries.set(entry.id, entry);
  show();
}

function show() {
  const names = state.sources.map((source) => source.name);
  const ongoing = new Map();
  for (const [id, entry] of entries) {
    if (entry.ended_s === null && entry.label !== null) ongoing.set(entry.source, entry.label);
    if (entry.ended_s !== null && now() - entry.ended_s > 3600) entries.delete(id);
  }
  sources.update(state, ongoing);
  timeline.update(names, state.labels, entries, now());
  log.update(names, state.labels, entries, now());
  head();
  foot();
}

function head() {
  const model = find(".model");
  model.hidden = false;
  say(model, state.model);
  const active = [...entries.values()].filter((entry) => entry.ended_s === null && entry.label !== null);
  document.title = active.length ? `${active.map((entry) => entry.label).join(", ")} · edge_har` : "edge_har";
  const throttled = state.machine.throttled ?? [];
  slowed = throttled.length ? `This device is slowed down: ${throttled.join(", ").replaceAll("-", " ")}.` : "";
  notice(slowed);
}

function foot() {
  const { hottest_c: celsius, memory_bytes: bytes } = state.machine;
  const facts = [
    ["Running for", duration(state.now_s)],
    ["Temperature", celsius === null ? null : `${Math.round(celsius)} °C`],
    ["Memory", bytes === null ? null : `${Math.round(bytes / 1e6)} MB`],
    ...state.sinks.map((sink) => [sink.name, delivery(sink), sink.dropped || (sink.queued && sink.last_error)]),
    ["Version", state.version],
  ].filter(([, value]) => value !== null);
  const list = find(".machine");
  while (list.children.length > facts.length) list.lastElementChild.remove();
  facts.forEach(([name, value, wrong], at) => {
    const item = list.children[at] ?? list.appendChild(fact());
    say(item.firstElementChild, name);
    say(item.lastElementChild, value);
    item.classList.toggle("wrong", Boolean(wrong));
  });
}

function fact() {
  const item = document.createElement("p");
  item.append(document.createElement("span"), " ", document.createElement("strong"));
  return item;
}

function delivery(sink) {
  const parts = [`${sink.delivered.toLocaleString()} sent`];
  if (sink.queued) parts.push(`${sink.queued.toLocaleString()} waiting`);
  if (sink.dropped) parts.push(`${sink.dropped.toLocaleString()} dropped`);
  if (sink.queued && sink.last_error) parts.push(sink.last_error);
  return parts.join(", ");
}

function notice(text) {
  const element = find(".notice");
  element.hidden = !text;
  say(element, text);
}

function changed(to, reason) {
  if (to === "lost" && state?.over) to = "over"; // the end was reported before the connection closed
  const status = find(".link");
  mark(status, "data-link", to);
  say(status.querySelector(".text"), LINK_WORDS[to]);
  document.body.classList.toggle("unlinked", to !== "live");
  if (to === "over") {
    notice(`${state.sources.every((source) => source.state === "ended") ? ALL_ENDED : STOPPED} ${NEXT}`);
    sources.unlink(true);
  } else if (to === "lost") {
    notice(reason || "The device cannot be reached. Trying again…");
    sources.unlink(false);
  } else {
    notice(slowed);
  }
}

const pause = find("#pause");
pause.addEventListener("click", () => {
  const paused = pause.getAttribute("aria-pressed") !== "true";
  mark(pause, "aria-pressed", String(paused));
  say(pause.querySelector(".text"), paused ? "Play" : "Pause");
  sources.pause(paused);
});

link = new Link({ message: take, picture: (header, blob) => sources.picture(header, blob), change: changed });
