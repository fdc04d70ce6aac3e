// Card that lists the most likely characters at a position. Selecting one regenerates the text after it.

import { visible } from "./characters.js";
import { branch } from "./generate.js";
import { $, state, t } from "./state.js";
import { elementOf, surprisal } from "./text.js";
import { writeAt } from "./write.js";

export const percent = (p) => (p < 0.0001 ? "<0.01%" : `${(100 * p).toFixed(p < 0.1 ? 2 : 1)}%`);
export const describe = (p) => t("probability", { nats: surprisal(p).toFixed(2), p: percent(p) });

let pinned = false; // opened by a click or key press, not by hovering

export const isOpen = () => !$("card").hidden;
export const isPinned = () => isOpen() && pinned;
export const selected = () => $("text").querySelector(".selected");

export function select(i) {
  selected()?.classList.remove("selected");
  elementOf(i)?.classList.add("selected");
}

// Open the card for the character at position i, if its probability is known.
export function open(i, pin) {
  const detail = state.details[i];
  if (!detail || !elementOf(i)) return close();
  const [p, alternatives] = detail;
  select(i);
  const line = document.createElement("p");
  line.textContent = `${visible(state.text[i])} - ${describe(p)}`;
  const buttons = alternatives.map(([character, q]) => alternativeElement(i, character, q));
  $("card").replaceChildren(line, ...buttons, writeElement(i));
  $("card").hidden = false;
  pinned = pin;
  place($("card"), elementOf(i).getBoundingClientRect());
}

// Close the card. The position stays selected unless the card was opened by hovering.
export function close() {
  if (isOpen() && !pinned) selected()?.classList.remove("selected");
  $("card").hidden = true;
  pinned = false;
}

function alternativeElement(i, character, p) {
  const button = document.createElement("button");
  button.type = "button";
  const parts = ["span", "i", "span"].map((name) => document.createElement(name));
  parts[0].className = "char";
  parts[0].textContent = visible(character);
  parts[1].className = "part";
  parts[1].style.setProperty("--part", p);
  parts[2].className = "percent";
  parts[2].textContent = percent(p);
  button.append(...parts);
  button.addEventListener("click", () => {
    close();
    branch(i, character);
    $("text").focus({ preventScroll: true });
  });
  return button;
}

function writeElement(i) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "write";
  button.textContent = t("write");
  button.addEventListener("click", () => {
    close();
    writeAt(i);
  });
  return button;
}

// Place the card below or above the character, or beside it if neither fits, so that a click still reaches the character.
// On a phone, it is at the bottom of the screen, and the page scrolls until the character is above it.
function place(card, box) {
  const { width, height } = card.getBoundingClientRect();
  const screen = document.documentElement;
  if (getComputedStyle(card).position === "fixed") {
    card.style.left = card.style.top = "";
    scrollBy(0, Math.max(0, box.bottom + 8 - card.getBoundingClientRect().top));
    return;
  }
  const right = screen.clientWidth - width - 8;
  const bottom = screen.clientHeight - height - 8;
  let left = Math.max(8, Math.min(box.left, right));
  let top = box.bottom + 4 <= bottom ? box.bottom + 4 : box.top - height - 4;
  if (top < 8) {
    left = box.right + 4 <= right ? box.right + 4 : box.left - width - 4;
    top = Math.max(8, Math.min(box.top, bottom));
  }
  card.style.left = `${left + scrollX}px`;
  card.style.top = `${top + scrollY}px`;
}
