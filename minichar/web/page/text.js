// Renders the text with one element per character, coloured by surprisal.
//
// Rendering follows the text at one batch per frame. The elements are grouped in blocks that end with a line, so that
// the browser lays out only the last block when text is added, and skips the blocks that are out of view. A text
// without newlines is split where it wraps.

import { modelNamed } from "./models.js";
import { $, state, t } from "./state.js";

const LEVELS = [0.5, 1, 1.5, 2, 2.5]; // thresholds between colours, as multiples of the model's entropy
const BATCH = 1000; // characters per frame
const BLOCK = 200; // characters after which a new line begins a new block
const LONGEST = 1000; // characters after which a block is split although no new line begins

let elements = []; // of the characters rendered so far
let inBlock = 0; // characters in the last block
let width = 0; // of the text area
let frame = 0;
let editor = null; // the element in which the visitor writes, if it is in the text
let [from, to] = [0, 0]; // positions of the first character that is written in it, and of the one after the last

export const surprisal = (p) => -Math.log(Math.max(p, 1e-5));

// Surprisal of a typical character in nats. It is higher for Chinese, which has thousands of characters.
export const typical = (model = state.request.model) => modelNamed(model)?.entropy ?? 2;

// The colour of a character with a probability, from 0 to 5.
export const levelOf = (p, unit = typical()) => LEVELS.filter((multiple) => surprisal(p) >= multiple * unit).length;

// Explain the colours, or how to show them.
export function explain() {
  const coloured = $("surprisal").checked;
  $("text").classList.toggle("coloured", coloured);
  $("typical").textContent = state.request ? t("typical", { nats: typical().toFixed(1) }) : "";
  const writing = matchMedia("(hover: none)").matches ? "hint_touch" : "hint_writing"; // without a mouse, without Tab
  $("hint").textContent = t(editor ? writing : coloured ? "hint_coloured" : "hint_plain");
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
  const branch = state.request.branches.some(([position]) => position === i) ? ["branch"] : [];
  const line = state.text[i] === "\n" ? ["line"] : [];
  const chosen = element.classList.contains("selected") ? ["selected"] : [];
  element.className = [...(detail ? ["known", `s${levelOf(detail[0], unit)}`] : []), ...branch, ...line, ...chosen].join(" ");
}

function addBlock(...contents) {
  const block = document.createElement("div");
  block.append(...contents);
  $("text").append(block);
  inBlock = 0;
}

// Move the last line of the last block, which begins where the text wraps, to a new block.
function splitBlock() {
  const first = elements.length - inBlock;
  const top = (i) => elements[i].getBoundingClientRect().top;
  let start = elements.length - 1;
  const line = top(start);
  while (start > first && top(start - 1) === line) start--;
  inBlock = 0;
  if (start === first) return; // invisible characters may never wrap
  $("text").lastChild.className = "wrapped";
  addBlock(...elements.slice(start));
  $("text").lastChild.className = "wrapped";
  inBlock = elements.length - start;
}

// Undo the splits when the text wraps elsewhere, because they would be visible.
new ResizeObserver(([{ contentRect }]) => {
  if (contentRect.width === width) return;
  width = contentRect.width;
  const focused = document.activeElement; // an element that is moved loses the focus
  for (const block of $("text").querySelectorAll(".wrapped + .wrapped")) {
    block.previousSibling.append(...block.childNodes);
    block.remove();
  }
  focused.focus({ preventScroll: true });
}).observe($("text"));

// Render up to `limit` more characters. If the end was in view, scroll to the new end.
function render(limit) {
  const area = $("text");
  const atEnd = area.scrollHeight - area.scrollTop - area.clientHeight < 40;
  const unit = typical();
  const end = Math.min(state.text.length, elements.length + limit);
  let batch = document.createDocumentFragment();
  for (let i = elements.length; i < end; i++) {
    const lineEnded = state.text[i - 1] === "\n";
    if (inBlock >= (lineEnded ? BLOCK : LONGEST)) {
      area.lastChild.append(batch);
      batch = document.createDocumentFragment();
      if (lineEnded) addBlock();
      else splitBlock();
    }
    elements.push(characterElement(i, unit));
    if (editor && i < to) continue; // the editor shows it
    batch.append(elements[i]);
    inBlock++;
  }
  area.lastChild.append(batch);
  if (atEnd && state.running && !editor) area.scrollTop = area.scrollHeight;
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
  [elements, editor] = [[], null];
  addBlock(prime);
  render(BATCH);
  renderSoon();
  explain();
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

// Put an editor before the character at position i, or at the end.
export function openEditor(element, i) {
  renderAll();
  [editor, from, to] = [element, i, i];
  if (i < elements.length) elements[i].before(editor);
  else $("text").lastChild.append(editor);
}

// Render the text after the first `n` characters of the editor again.
export function redrawAfterEditor(n) {
  for (const part of [editor, editor.parentElement]) while (part.nextSibling) part.nextSibling.remove();
  elements.length = from;
  to = from + n;
  inBlock = 0;
  renderSoon();
}

// Show the characters that are written in the editor like all others.
export function closeEditor() {
  if (!editor) return;
  renderAll();
  editor.replaceWith(...elements.slice(from, to));
  editor = null;
}

// The element of the character at position i, if there is such a character.
export function elementOf(i) {
  if (i >= elements.length) render(Infinity);
  return elements[i];
}
