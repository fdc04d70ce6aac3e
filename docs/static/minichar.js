// Browsers block the requests for the text of search results on file:// pages.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

const DARK = "(prefers-color-scheme: dark)", LIGHT = "(prefers-color-scheme: light)";

// Show an embedded page in the theme of this page. Browsers do not allow this on file:// pages.
function paint(frame) {
  const { theme } = document.body.dataset;
  const dark = theme === "auto" ? matchMedia(DARK).matches : theme === "dark";
  if (!frame.contentDocument?.documentElement) return; // still loading: the load event repaints it
  frame.contentDocument.documentElement.style.colorScheme = dark ? "dark" : "light";
  for (const { cssRules } of frame.contentDocument.styleSheets)
    for (const { media } of cssRules)
      if (media?.mediaText.includes(DARK)) media.mediaText = dark ? `${DARK}, ${LIGHT}` : `${DARK} and ${LIGHT}`;
}

// Show the words around a phrase such as "forget gate". Sphinx shows the first occurrence of its last word.
function quotePhrases() {
  const summary = Search.makeSearchSummary;
  Search.makeSearchSummary = (html, words, anchor) => {
    const phrase = new URLSearchParams(location.search).get("q").trim();
    const found = Search.htmlToText(html, "").toLowerCase().includes(phrase.toLowerCase());
    return found ? summary(html, [phrase], "") : summary(html, words, anchor?.startsWith("#index-") ? "" : anchor);
  };
}

// Let readers scroll wide blocks with the keyboard.
function focusScrollable() {
  for (const block of document.querySelectorAll(".highlight pre, div.math, div.equations, .table-wrapper")) {
    if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;
    else block.removeAttribute("tabindex");
  }
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelector(".sidebar-drawer").ariaLabel = "Pages";
  document.querySelector(".toc-drawer").ariaLabel = "This page";
  document.fonts.ready.then(focusScrollable);
  addEventListener("resize", focusScrollable);
  // Comments are not copied with commands, because zsh, the default on macOS, would pass them as arguments.
  for (const comment of document.querySelectorAll(".highlight-sh .c1")) comment.classList.add("shell-comment");
  const frames = document.querySelectorAll("iframe.page"), repaint = () => frames.forEach(paint);
  for (const frame of frames) frame.addEventListener("load", repaint);
  new MutationObserver(repaint).observe(document.body, { attributeFilter: ["data-theme"] });
  matchMedia(DARK).addEventListener("change", repaint);
  if (typeof Search !== "undefined") quotePhrases();
});
