// Numbers, times and colours as people read them.

const COLOURS = 10;

/** "4.2 s", "1 min 05 s", "3 h 12 min" */
export function duration(seconds) {
  const s = Math.max(0, seconds);
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  const whole = Math.round(s);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

/** "93 %"; an empty string for null */
export function percent(score) {
  return score === null || score === undefined ? "" : `${Math.round(100 * score)} %`;
}

/** "8.4 ms", "41 ms", "1.20 s"; "–" for null */
export function milliseconds(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  return ms < 9.95 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

/** 1234567 as the reader's language writes it */
export function count(number) {
  return number.toLocaleString();
}

/** The wall clock of whoever looks, `ageSeconds` ago. */
export function clock(ageSeconds) {
  return new Date(Date.now() - 1000 * ageSeconds);
}

export function timeOfDay(date) {
  return date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** A class for a label's colour: by its place among the model's labels, so that neighbours differ. */
export function colour(label, labels) {
  if (label === null) return "";
  let place = labels.indexOf(label);
  if (place < 0) place = [...label].reduce((sum, letter) => (31 * sum + letter.codePointAt(0)) % 997, 7);
  return `colour-${place % COLOURS}`;
}

/** Set a text only where it changed: what did not change is neither drawn nor read out again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set `attribute` only where it changed. */
export function mark(element, attribute, value) {
  if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
}
