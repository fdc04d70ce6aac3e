// Renders the text with one element per character, coloured by surprisal.

import { $, state } from "./state.js";

const LEVELS = [0.5, 1, 2, 3.5, 5]; // surprisal thresholds between colours, in nats

export const surprisal = (p) => -Math.log(Math.max(p, 1e-5));

function characterElement(i) {
  const element = document.createElement("span");
  element.textContent = state.text[i]; // not innerHTML, because generated text may contain tags
  element.dataset.i = i;
  setClasses(element, i);
  return element;
}

function setClasses(element, i) {
  const detail = state.details[i];
  const level = detail ? ["known", `s${LEVELS.filter((nats) => surprisal(detail[0]) >= nats).length}`] : [];
  const branch = state.request.branches.some(([position]) => position === i) ? ["branch"] : [];
  const line = state.text[i] === "\n" ? ["line"] : [];
  element.className = [...level, ...branch, ...line].join(" ");
}

// Render the whole text.
export function redraw() {
  const prime = document.createElement("span");
  prime.className = "prime";
  prime.textContent = state.request.prime;
  $("text").replaceChildren(prime, ...state.text.map((_, i) => characterElement(i)));
}

// Append text. If the end was in view, scroll to the new end.
export function append(text, details) {
  const area = $("text");
  const atEnd = area.scrollHeight - area.scrollTop - area.clientHeight < 40;
  const start = state.text.length;
  state.text.push(...Array.from(text));
  if (details) details.forEach((detail, i) => (state.details[start + i] = detail));
  const fragment = document.createDocumentFragment();
  for (let i = start; i < state.text.length; i++) fragment.append(characterElement(i));
  area.append(fragment);
  if (atEnd) area.scrollTop = area.scrollHeight;
}

// Set the details of the characters starting at `start`.
export function setDetails(start, details) {
  details.slice(0, state.text.length - start).forEach((detail, j) => {
    state.details[start + j] = detail;
    setClasses(elementOf(start + j), start + j);
  });
}

export const elementOf = (i) => $("text").children[i + 1]; // the first child is the prompt
