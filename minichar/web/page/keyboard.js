// Moves through the characters with the keyboard, and reads each one to users of a screen reader.

import { close, describe, isOpen, isPinned, open, percent, select, selected } from "./card.js";
import { spoken } from "./characters.js";
import { $, state, t } from "./state.js";
import { elementOf } from "./text.js";
import { writeAt } from "./write.js";

// Move to the character at position i: focus it, open its card and read it.
export function moveTo(i) {
  const element = elementOf(i);
  element.tabIndex = -1;
  element.focus({ preventScroll: true });
  element.scrollIntoView({ block: "nearest" });
  open(i, true);
  select(i);
  const [p, alternatives] = state.details[i] ?? [];
  const others = (alternatives ?? []).map(([character, q]) => `${spoken(character)} ${percent(q)}`);
  const about = p === undefined ? [] : [describe(p), t("alternatives") + t("colon") + others.join(t("comma"))];
  $("reading").textContent = [spoken(state.text[i]), ...about].join(t("full_stop"));
}

// Return the position nearest to that of i in the next line in a direction.
function inNextLine(i, step) {
  const { left, top } = elementOf(i).getBoundingClientRect();
  let best = i;
  let nearest = Infinity;
  let line = null;
  for (let j = i + step; j >= 0 && j < state.text.length; j += step) {
    const box = elementOf(j).getBoundingClientRect();
    if (Math.abs(box.top - top) < box.height / 2) continue;
    line ??= box.top;
    if (Math.abs(box.top - line) >= box.height / 2) break;
    const distance = Math.abs(box.left - left);
    if (distance < nearest) [best, nearest] = [j, distance];
  }
  return best;
}

const MOVES = {
  ArrowRight: (i) => i + 1,
  ArrowLeft: (i) => i - 1,
  ArrowDown: (i) => inNextLine(i, 1),
  ArrowUp: (i) => inNextLine(i, -1),
  Home: () => 0,
  End: () => state.text.length - 1,
};

$("text").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const current = selected() && Number(selected().dataset.i);
  if ([...event.key].length === 1 && (current !== null || event.key !== " ")) {
    close();
    return writeAt(current ?? state.text.length); // it receives the key press
  }
  if (event.shiftKey) return;
  if (event.key === "Escape") return close();
  if (!$("surprisal").checked || !state.text.length) return;
  if (event.key in MOVES) {
    event.preventDefault();
    const i = current === null ? 0 : MOVES[event.key](current);
    moveTo(Math.max(0, Math.min(state.text.length - 1, i)));
  } else if (event.key === "Enter" && current !== null) {
    event.preventDefault();
    if (!isOpen()) open(current, true);
    $("card").querySelector("button")?.focus();
  }
});

$("card").addEventListener("keydown", (event) => {
  const buttons = [...$("card").querySelectorAll("button")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length].focus();
  if (event.key === "Escape") {
    close();
    selected()?.focus({ preventScroll: true });
  }
  if (step || event.key === "Escape") event.preventDefault();
});

// An open card could cover the control that is focused next. Without such a control, the window has lost the focus.
for (const id of ["text", "card"]) {
  $(id).addEventListener("focusout", ({ relatedTarget }) => {
    if (isPinned() && relatedTarget && !relatedTarget.closest("#text, #card")) close();
  });
}
