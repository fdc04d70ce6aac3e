// Beginnings to try: some for the title of the model, and words in its script that occur in texts of any kind.

import { lettersOf } from "./characters.js";
import { chosenModel } from "./models.js";
import { $, t } from "./state.js";

const SHOWN = 4;
const BY_TITLE = [
  [/shakespeare/i, ["ROMEO:\n", "JULIET:\n", "To be, or ", "My lord, "]],
  [/pydocs|python help/i, ["The class ", "If the ", "An object ", "A function "]],
  [/pystdlib/i, ["def ", "import ", "class ", "if "]],
];
const BY_SCRIPT = [
  ["Han", ["山中", "今日", "人", "一", "山", "夜"]],
  ["Hiragana", ["わたしは", "そして"]],
  ["Hangul", ["그는 ", "나는 "]],
  ["Cyrillic", ["В начале ", "Я не ", "Она "]],
  ["Greek", ["Και ", "Στην ", "Ο "]],
  ["Latin", ["The ", "if ", "for ", "the ", "in "]],
];

// Return beginnings that the model can continue, the most suitable ones first.
export function examplesFor({ title, vocabulary }) {
  const known = new Set(vocabulary);
  const titled = BY_TITLE.filter(([pattern]) => pattern.test(title)).flatMap(([, texts]) => texts);
  const letters = (script) => lettersOf(script, vocabulary);
  const scripts = BY_SCRIPT.toSorted(([a], [b]) => letters(b) - letters(a)).filter(([script]) => letters(script));
  const candidates = [...titled, ...scripts.flatMap(([, texts]) => texts)];
  const found = candidates.filter((text) => [...text].every((character) => known.has(character)));
  return [...found.slice(0, SHOWN - 1), ""];
}

// Show a button for each beginning. `onChoose` is called with the beginning.
export function showExamples(onChoose) {
  const model = chosenModel();
  if (!model) return;
  const buttons = examplesFor(model).map((text) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text.trim() || t("no_prompt");
    button.addEventListener("click", () => onChoose(text));
    return button;
  });
  $("examples").replaceChildren(...buttons);
}
