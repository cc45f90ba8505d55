// The question for the token. A link from elsewhere comes without the cookie, although the browser may have it.

const here = new URL(".", location.href);
const asked = location.pathname.endsWith("/login") || new URLSearchParams(location.search).has("token");

if (asked) {
  document.querySelector(".wrong").hidden = false;
} else if (!sessionStorage.getItem("looked")) {
  sessionStorage.setItem("looked", "1");
  const answer = await fetch(new URL("api/state", here)).catch(() => null);
  if (answer?.ok) location.replace(here);
}
