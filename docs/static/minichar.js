// Browsers block the requests for the text of search results on file:// pages.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

document.addEventListener("DOMContentLoaded", () => {
  // Comments are not copied with commands, because zsh, the default on macOS, would pass them as arguments.
  for (const comment of document.querySelectorAll(".highlight-sh .c1")) comment.classList.add("shell-comment");

  // Show the words around a phrase such as "forget gate". Sphinx shows the first occurrence of its last word.
  if (typeof Search === "undefined") return;
  const summary = Search.makeSearchSummary;
  Search.makeSearchSummary = (html, words, anchor) => {
    const phrase = new URLSearchParams(location.search).get("q").trim();
    const found = Search.htmlToText(html, "").toLowerCase().includes(phrase.toLowerCase());
    return found ? summary(html, [phrase], "") : summary(html, words, anchor?.startsWith("#index-") ? "" : anchor);
  };
});
