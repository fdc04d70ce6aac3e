// Shows a second text beside the first: another model or temperature, with the same prompt, seed and settings.

import { modelNamed, titleOf } from "./models.js";
import { describeHeat } from "./settings.js";
import { $, number, showMessage, state, t } from "./state.js";
import { cancel, follow } from "./stream.js";
import { levelOf, typical } from "./text.js";

export const other = {
  running: null,
  job: null,
  status: { key: "", values: {}, error: false },
  say(key, values = {}, error = false) {
    other.status = { key, values, error };
    showMessage($("other-status"), other.status);
  },
};

let shown = null; // the request of the second text
let n = 0; // characters of it

const same = (a, b) => JSON.stringify({ ...a, length: 0 }) === JSON.stringify({ ...b, length: 0 });

function add(text, unit, details = []) {
  const block = document.createDocumentFragment();
  Array.from(text).forEach((character, i) => {
    const element = document.createElement("span");
    element.textContent = character;
    if (details[i]) element.className = `s${levelOf(details[i][0], unit)}`;
    if (character === "\n") element.classList.add("line");
    block.append(element);
    n++;
  });
  $("other-text").append(block);
}

// Show what is compared, in the language of the page.
export function describeOther() {
  $("other").hidden = $("first").hidden = !$("compare").checked;
  $("panes").classList.toggle("two", $("compare").checked);
  const chosen = $("other-model").value;
  const options = Array.from($("model").querySelectorAll("option"), ({ text, value }) => new Option(text, value));
  $("other-model").replaceChildren(...options);
  $("other-model").value = chosen || $("model").value;
  describeHeat("other-temperature", "other-heat");
  $("other-text").classList.toggle("coloured", $("surprisal").checked);
  showMessage($("other-status"), other.status);
  if (!state.request) return;
  const temperature = number(state.request.temperature, { maximumFractionDigits: 2 });
  const title = titleOf(modelNamed(state.request.model) ?? { title: "" });
  $("first").textContent = [title, t("first", { temperature })].filter(Boolean).join(t("comma"));
}

// Generate the second text, or the rest of it, if it is shown.
export async function compare() {
  describeOther();
  if (!$("compare").checked || !state.request) {
    shown = null;
    return cancel(other);
  }
  const request = {
    ...state.request,
    model: $("other-model").value,
    temperature: Number($("other-temperature").value),
    alternatives: $("surprisal").checked,
  };
  const { length } = request;
  if (same(request, shown) && (n >= length || (other.running && shown.length === length))) return;
  if (!same(request, shown)) {
    const prime = document.createElement("span");
    prime.className = "prime";
    prime.textContent = request.prime;
    $("other-text").replaceChildren(prime);
    n = 0;
  }
  shown = request;
  const unit = typical(request.model);
  const end = await follow(other, request, n, (text, _, details) => {
    add(text, unit, details);
    other.say("generating");
  });
  if (!end) return;
  if (end.reason === "error") other.say("failed", {}, true);
  else other.say(`ended_${end.reason}`, { n, seed: request.seed });
}

export function stopOther() {
  if (!other.running) return;
  cancel(other);
  other.say("ended_cancelled", { n, seed: shown.seed });
}
