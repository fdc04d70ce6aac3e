// Browsers block the requests for the text of search results on file:// pages.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// Comments are not copied with commands, because zsh, the default on macOS, would pass them as arguments.
document.addEventListener("DOMContentLoaded", () => {
  for (const comment of document.querySelectorAll(".highlight-sh .c1")) comment.classList.add("shell-comment");
});
