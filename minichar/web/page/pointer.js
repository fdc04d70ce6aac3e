// Opens the card for the character under the mouse, or for a character that is clicked or tapped.

import { close, isOpen, isPinned, open } from "./card.js";
import { moveTo } from "./keyboard.js";
import { $, state } from "./state.js";
import { writeAt } from "./write.js";

const REST = 120; // milliseconds; on the way to the card, the mouse crosses other characters without resting
const LEAVE = 250; // milliseconds to reach the card across the gap between it and the text

let timer;

function later(delay, action) {
  clearTimeout(timer);
  timer = setTimeout(action, delay);
}

const hovers = ({ pointerType }) => pointerType === "mouse" && $("surprisal").checked && !isPinned();
const positionOf = ({ target }) => (target.dataset.i === undefined ? null : Number(target.dataset.i));

// Return the position of the character nearest to a point in the text, or the end.
function positionAt(x, y) {
  const { offsetNode, offset } = document.caretPositionFromPoint?.(x, y) ?? {};
  const { i } = offsetNode?.parentElement?.dataset ?? {};
  if (i === undefined) return state.text.length;
  return Number(i) + (offset > 0 && offsetNode.data !== "\n" ? 1 : 0);
}

$("text").addEventListener("pointermove", (event) => {
  const i = positionOf(event);
  if (!hovers(event)) return;
  if (i !== null) later(isOpen() ? REST : 0, () => open(i, false));
  else if (isOpen()) later(LEAVE, close);
});
for (const id of ["text", "card"]) {
  $(id).addEventListener("pointerleave", (event) => {
    if (hovers(event)) later(LEAVE, close);
  });
}
$("card").addEventListener("pointerenter", () => clearTimeout(timer));
$("text").addEventListener("click", (event) => {
  const i = positionOf(event);
  clearTimeout(timer);
  if (i !== null && $("surprisal").checked) return moveTo(i);
  if (!getSelection().isCollapsed || event.target.closest(".prime, #writing")) return;
  close();
  writeAt(i ?? positionAt(event.clientX, event.clientY));
});
$("text").addEventListener("scroll", () => isOpen() && !isPinned() && close());
document.addEventListener("pointerdown", ({ target }) => {
  if (!$("card").contains(target) && !$("text").contains(target)) close();
});
