"""What makes a page usable without a mouse and without eyes: checks that run in the page, as axe has them."""

from __future__ import annotations

from tests.helpers.browser import Browser

# Text whose contrast to what is behind it is too low (WCAG 2, AA); pictures have a shade of their own.
FAINT = """(() => {
  const numbers = (colour) => {
    const n = colour.match(/[\\d.]+/g).map(Number);
    return n.length > 3 ? n : [...n, 1];
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      layers.push(colour);
      if (colour[3] === 1) break;
    }
    const blend = (under, over) => under.map((c, i) => c * (1 - over[3]) + over[i] * over[3]);
    return layers.reverse().reduce(blend, [255, 255, 255]);
  };
  const texts = [...document.body.querySelectorAll("*")]
    .filter((e) => e.checkVisibility() && !e.closest(".picture"))
    .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
    .filter((e) => e.getBoundingClientRect().width > 1);
  return texts.map((element) => {
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const [a, b] = [light(numbers(style.color)), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    return [element.textContent.trim().slice(0, 30), element.className, ratio, large ? 3 : 4.5];
  }).filter(([, , ratio, least]) => ratio < least);
})()"""
# Headings that skip a level (WCAG 1.3.1).
SKIPPED = """[...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter((e) => e.checkVisibility())
  .map((e) => [Number(e.tagName[1]), e.textContent])
  .filter(([level], at, all) => level > (at ? all[at - 1][0] : 0) + 1)"""
# Controls whose name for a screen reader lacks the text that is seen (WCAG 2.5.3).
MISLABELLED = """[...document.querySelectorAll("button, a, summary, [role=region]")]
  .filter((e) => e.checkVisibility() && e.matches("button, a, summary"))
  .filter((e) => e.hasAttribute("aria-label") && e.innerText.trim()
    && !e.getAttribute("aria-label").includes(e.innerText.trim().replace(/\\s+/g, " ")))
  .map((e) => e.outerHTML)"""
# Places that scroll and cannot be reached by the keyboard (WCAG 2.1.1), or have no name once they are.
UNREACHABLE = """[...document.querySelectorAll("body *")].filter((e) => {
  const style = getComputedStyle(e);
  const along = (how, whole, seen) => /auto|scroll/.test(how) && whole > seen + 1;
  const scrolls = along(style.overflowX, e.scrollWidth, e.clientWidth)
    || along(style.overflowY, e.scrollHeight, e.clientHeight);
  const named = e.getAttribute("aria-label") || e.getAttribute("aria-labelledby");
  return e.checkVisibility() && scrolls && !(e.tabIndex >= 0 && named);
}).map((e) => e.outerHTML.slice(0, 120))"""
SCROLLING = """[...document.querySelectorAll("body *")].filter((e) =>
  /auto|scroll/.test(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 1).length"""


def barriers(browser: Browser) -> list[object]:
    """What in the page that is open keeps people out; empty where nothing does."""
    return [found for check in (SKIPPED, MISLABELLED, UNREACHABLE) for found in browser.run(check)]
