// Lets the visitor write inside the text. What they write replaces the rest of it, and what the model suggests after a
// pause is how the text continues: Tab accepts the suggestion, Escape dismisses it.

import { fillDetails, keepOnly, lengthened, replaceFrom, run, stop } from "./generate.js";
import { $, state, t } from "./state.js";
import { closeEditor, explain, openEditor, redrawAfterEditor } from "./text.js";
import { keepText, newText } from "./texts.js";

const PAUSE = 400; // milliseconds without a change until the model continues
const END = "\u200b"; // takes no space; without it, browsers would add a second newline to one at the end

const editor = document.createElement("span"); // it takes text from input methods too, unlike the text around it
editor.id = "writing";
editor.setAttribute("contenteditable", "plaintext-only"); // where it is unknown, the property would throw
editor.spellcheck = false;
editor.role = "textbox";
editor.ariaMultiLine = "true";
editor.setAttribute("aria-describedby", "hint");

let position = null; // of the first character that is written; null if the editor is closed
let length = 0; // of the text that is suggested
let changed = false;
let timer = null; // until the model continues

const written = () => Array.from(editor.textContent.replaceAll(END, ""));
const suggestion = () => state.text.slice(position + written().length);

// Open the editor before the character at position i, or at the end.
export function writeAt(i) {
  if (!state.request) return;
  finish();
  [position, changed] = [i, false];
  length = i < state.text.length ? state.request.length : lengthened();
  editor.textContent = END;
  editor.className = "";
  editor.ariaLabel = t("write");
  openEditor(editor, i);
  editor.focus({ preventScroll: true });
  getSelection().collapse(editor.firstChild, 0);
  editor.scrollIntoView({ block: "nearest" });
  explain();
}

async function suggest() {
  timer = null;
  await run();
  if (position !== null && timer === null && suggestion().length) {
    $("reading").textContent = t("suggestion", { text: suggestion().slice(0, 100).join("") });
  }
}

function change() {
  if (!changed) stop();
  const characters = written();
  replaceFrom(position, characters, length);
  state.text.push(...characters);
  if (!changed) newText();
  changed = true;
  editor.className = "changed";
  redrawAfterEditor(characters.length);
  clearTimeout(timer);
  timer = setTimeout(suggest, PAUSE);
}

function dismiss() {
  clearTimeout(timer);
  timer = null;
  keepOnly(position + written().length);
  redrawAfterEditor(written().length);
}

// Close the editor. What it suggests is accepted.
function finish() {
  if (position === null) return;
  position = null; // first, because an element that is removed loses the focus
  closeEditor();
  explain();
  if (!changed) return;
  keepText();
  clearTimeout(timer);
  if (timer !== null) suggest();
  else if (!state.running && $("surprisal").checked) fillDetails(); // of what is written
}

editor.addEventListener("input", ({ isComposing }) => isComposing || change());
editor.addEventListener("compositionend", change);
editor.addEventListener("blur", () => document.activeElement === editor || finish()); // not if the window loses the focus
editor.addEventListener("keydown", (event) => {
  event.stopPropagation();
  const suggested = changed && suggestion().length > 0;
  const key = event.isComposing || event.shiftKey ? "" : event.key;
  if (key === "Enter") document.execCommand("insertText", false, "\n");
  else if (key === "Escape" && (suggested || timer !== null)) dismiss();
  else if (key === "Escape" || (key === "Tab" && suggested)) $("text").focus({ preventScroll: true });
  else return;
  event.preventDefault();
});
