// Card that lists the most likely characters at a position. Selecting one regenerates the text after it.

import { fillDetails, run } from "./generate.js";
import { $, state, t } from "./state.js";
import { elementOf, redraw, surprisal } from "./text.js";

let pinned = false; // opened by a click or key press, not by hovering

const percent = (p) => `${(100 * p).toFixed(p < 0.1 ? 2 : 1)}%`;
const visible = (character) => ({ "\n": "↵", " ": "␣", "\t": "⇥" })[character] ?? character;
const selected = () => $("text").querySelector(".selected");

function open(element, pin) {
  const i = Number(element.dataset.i);
  const detail = state.details[i];
  if (!detail) return;
  const [p, alternatives] = detail;
  selected()?.classList.remove("selected");
  element.classList.add("selected");
  const line = document.createElement("p");
  const description = t("probability", { nats: surprisal(p).toFixed(2), p: percent(p) });
  line.textContent = `${visible(state.text[i])} - ${description}`;
  $("card").replaceChildren(line, ...alternatives.map(([character, q]) => alternativeElement(i, character, q)));
  $("card").hidden = false;
  pinned = pin;
  place($("card"), element.getBoundingClientRect());
}

export function close() {
  $("card").hidden = true;
  pinned = false;
  selected()?.classList.remove("selected");
}

function alternativeElement(i, character, p) {
  const button = document.createElement("button");
  button.type = "button";
  const parts = [document.createElement("span"), document.createElement("meter"), document.createElement("span")];
  parts[0].className = "char";
  parts[0].textContent = visible(character);
  parts[1].value = p;
  parts[2].className = "percent";
  parts[2].textContent = percent(p);
  button.append(...parts);
  button.addEventListener("click", () => branch(i, character));
  return button;
}

// Place the card next to the character or, on a phone, in the half of the screen without the character.
function place(card, box) {
  const { width, height } = card.getBoundingClientRect();
  const screen = document.documentElement;
  if (getComputedStyle(card).position === "fixed") {
    card.style.left = card.style.top = "";
    card.classList.toggle("above", box.top > screen.clientHeight / 2);
    return;
  }
  const below = box.bottom + 6 + height <= screen.clientHeight;
  card.style.left = `${Math.max(8, Math.min(box.left, screen.clientWidth - width - 8)) + scrollX}px`;
  card.style.top = `${(below ? box.bottom + 4 : box.top - height - 4) + scrollY}px`;
}

// Replace the character at position i and regenerate the text after it.
function branch(i, character) {
  const { request } = state;
  const branches = [...request.branches.filter(([position]) => position < i), [i, character]];
  state.request = { ...request, branches, length: Math.max(request.length, i + 1) };
  state.text.length = i;
  state.details.length = i;
  redraw();
  close();
  $("text").focus();
  return run();
}

function toggle() {
  const on = $("surprisal").checked;
  $("text").classList.toggle("coloured", on);
  $("scale").hidden = !on;
  close();
  if (!on) return;
  if (state.running) run(); // restart with details; details for earlier characters are requested at the end
  else fillDetails();
}

function moveSelection(event) {
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 20, ArrowUp: -20 };
  if (event.key === "Escape") return close();
  if (!$("surprisal").checked || !state.text.length) return;
  const current = selected();
  if (event.key in steps) {
    event.preventDefault();
    const i = current ? Number(current.dataset.i) + steps[event.key] : 0;
    const element = elementOf(Math.max(0, Math.min(state.text.length - 1, i)));
    element.scrollIntoView({ block: "nearest" });
    open(element, true);
  } else if (event.key === "Enter" && current && !$("card").hidden) {
    event.preventDefault();
    $("card").querySelector("button")?.focus();
  }
}

function moveFocus(event) {
  const buttons = [...$("card").querySelectorAll("button")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length].focus();
  if (event.key === "Escape") {
    close();
    $("text").focus();
  }
  if (step || event.key === "Escape") event.preventDefault();
}

$("surprisal").addEventListener("change", toggle);
$("text").addEventListener("keydown", moveSelection);
$("card").addEventListener("keydown", moveFocus);
$("text").addEventListener("pointerover", ({ target, pointerType }) => {
  if (target.dataset.i && $("surprisal").checked && !pinned && pointerType === "mouse") open(target, false);
});
$("text").addEventListener("click", ({ target }) => {
  if (target.dataset.i && $("surprisal").checked) open(target, true);
});
document.addEventListener("pointerdown", ({ target }) => {
  if (!$("card").contains(target) && !$("text").contains(target)) close();
});
