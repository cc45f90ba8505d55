"""What makes a page usable without a mouse and without eyes: checks that run in the page, as axe has them."""

from __future__ import annotations

from tests.helpers.browser import Browser

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
