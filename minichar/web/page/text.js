// Renders the text with one element per character, coloured by surprisal.
//
// Rendering follows the text at one batch per frame. The elements are grouped in blocks that end with a line, so that
// the browser lays out only the last block when text is added, and skips the blocks that are out of view.

import { modelNamed } from "./models.js";
import { $, state, t } from "./state.js";

const LEVELS = [0.5, 1, 1.5, 2, 2.5]; // thresholds between colours, as multiples of the model's entropy
const BATCH = 1000; // characters per frame
const BLOCK = 200; // characters after which a new line begins a new block

let elements = []; // of the characters rendered so far
let inBlock = 0; // characters in the last block
let frame = 0;

export const surprisal = (p) => -Math.log(Math.max(p, 1e-5));

// Surprisal of a typical character in nats. It is higher for Chinese, which has thousands of characters.
const typical = () => modelNamed(state.request.model)?.entropy ?? 2;

export function describeScale() {
  $("typical").textContent = state.request ? t("typical", { nats: typical().toFixed(1) }) : "";
}

function characterElement(i, unit) {
  const element = document.createElement("span");
  element.textContent = state.text[i]; // not innerHTML, because generated text may contain tags
  element.dataset.i = i;
  setClasses(element, i, unit);
  return element;
}

function setClasses(element, i, unit) {
  const detail = state.details[i];
  const level = detail ? LEVELS.filter((multiple) => surprisal(detail[0]) >= multiple * unit).length : null;
  const branch = state.request.branches.some(([position]) => position === i) ? ["branch"] : [];
  const line = state.text[i] === "\n" ? ["line"] : [];
  const chosen = element.classList.contains("selected") ? ["selected"] : [];
  element.className = [...(detail ? ["known", `s${level}`] : []), ...branch, ...line, ...chosen].join(" ");
}

function addBlock(...contents) {
  const block = document.createElement("div");
  block.append(...contents);
  $("text").append(block);
  inBlock = 0;
}

// Render up to `limit` more characters. If the end was in view, scroll to the new end.
function render(limit) {
  const area = $("text");
  const atEnd = area.scrollHeight - area.scrollTop - area.clientHeight < 40;
  const unit = typical();
  const end = Math.min(state.text.length, elements.length + limit);
  let batch = document.createDocumentFragment();
  for (let i = elements.length; i < end; i++) {
    if (inBlock >= BLOCK && state.text[i - 1] === "\n") {
      area.lastChild.append(batch);
      batch = document.createDocumentFragment();
      addBlock();
    }
    elements.push(characterElement(i, unit));
    batch.append(elements[i]);
    inBlock++;
  }
  area.lastChild.append(batch);
  if (atEnd && state.running) area.scrollTop = area.scrollHeight;
}

function renderSoon() {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(() => {
    render(BATCH);
    if (elements.length < state.text.length) renderSoon();
  });
}

export const renderAll = () => state.request && render(Infinity);

// Render the text from its beginning.
export function redraw() {
  const prime = document.createElement("span");
  prime.className = "prime";
  prime.textContent = state.request.prime;
  $("text").replaceChildren();
  elements = [];
  addBlock(prime);
  render(BATCH);
  renderSoon();
  describeScale();
}

// Append text.
export function append(text, details) {
  const start = state.text.length;
  state.text.push(...Array.from(text));
  if (details) details.forEach((detail, i) => (state.details[start + i] = detail));
  renderSoon();
}

// Set the details of the characters starting at `start`.
export function setDetails(start, details) {
  const unit = typical();
  details.slice(0, state.text.length - start).forEach((detail, j) => {
    state.details[start + j] = detail;
    if (elements[start + j]) setClasses(elements[start + j], start + j, unit);
  });
}

// The element of the character at position i, if there is such a character.
export function elementOf(i) {
  if (i >= elements.length) render(Infinity);
  return elements[i];
}
