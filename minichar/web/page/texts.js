// The texts of this session: a list on the page, and the entries of the browser's history.

import { $, number, state, t } from "./state.js";
import { storedTexts, storeTexts } from "./storage.js";

const KEPT = 20;
const PREVIEW = 48;

let texts = storedTexts(); // oldest first

export const textWithId = (id) => texts.find((text) => text.id === id);

function store() {
  texts = texts.slice(-KEPT);
  while (texts.length && !storeTexts(texts)) texts = texts.slice(1); // too large for the browser
}

// Give the current text a place in the list and in the browser's history.
export function newText(replace = false, address = location.pathname + location.search) {
  state.id = crypto.getRandomValues(new Uint32Array(2)).join("-");
  history[replace ? "replaceState" : "pushState"]({ text: state.id }, "", address);
  keepText();
}

// Store the current text.
export function keepText() {
  if (!state.request) return;
  const { id, request, text, reason } = state;
  const entry = { id, request, text: text.join(""), reason, time: textWithId(id)?.time ?? Date.now() };
  if (textWithId(id)) texts = texts.map((other) => (other.id === id ? entry : other));
  else texts.push(entry);
  store();
  showTexts();
}

// Make a stored text the current one.
export function takeText({ id, request, text, reason }) {
  Object.assign(state, { id, request, missing: false, text: Array.from(text), details: [], reason });
  showTexts();
}

// `onChoose` is called with the id of the text that is selected.
export function onChooseText(onChoose) {
  $("texts").addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button) onChoose(button.dataset.id);
  });
}

export function showTexts() {
  const shown = texts.filter(({ id, text }) => text || id === state.id);
  $("history").hidden = shown.length < 2;
  $("texts").replaceChildren(...shown.toReversed().map(textElement));
}

function textElement({ id, request, text, time }) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.id = id;
  if (id === state.id) button.setAttribute("aria-current", "true");
  const beginning = document.createElement("span");
  beginning.className = "char";
  beginning.textContent = (request.prime + text).trim().replace(/\s+/g, " ").slice(0, PREVIEW) || "…";
  const about = document.createElement("small");
  const clock = new Intl.DateTimeFormat(state.language, { timeStyle: "short" }).format(time);
  about.textContent = t("text_about", { clock, n: number(Array.from(text).length) });
  button.append(beginning, about);
  const item = document.createElement("li");
  item.append(button);
  return item;
}
