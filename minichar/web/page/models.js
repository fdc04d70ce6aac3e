// The list of models, and their descriptions in the language of the page.

import { lettersOf } from "./characters.js";
import { $, duration, number, pause, serverProblem, setError, setStatus, state, t } from "./state.js";
import { remembered } from "./storage.js";

export const modelNamed = (name) => state.models.find((model) => model.name === name);
export const chosenModel = () => modelNamed($("model").value);

// A title in both languages, such as "Tang poems / 唐诗", is shown in the language of the page.
export function titleOf({ title }) {
  const chinese = (part) => lettersOf("Han", part) > 0;
  const parts = title.split(" / ");
  return parts.find((part) => chinese(part) === (state.language === "zh")) ?? title;
}

// Return the first model that writes in the language of the page, if there is one.
function modelInLanguage() {
  const language = ({ vocabulary }) => (lettersOf("Han", vocabulary) > lettersOf("Latin", vocabulary) ? "zh" : "en");
  return state.models.find((model) => language(model) === state.language);
}

function label(model) {
  const { cell, layers, units, loss } = model;
  const size = `${cell.toUpperCase()} ${layers}×${units}`;
  const measured = loss === null ? [] : [t("loss", { loss: loss.toFixed(3) })];
  return [titleOf(model), size, ...measured].filter(Boolean).join(t("comma"));
}

// Show each run of the same title in one group. The default model stays first.
export function showModels() {
  const chosen = $("model").value || remembered().model || modelInLanguage()?.name;
  const labels = state.models.map(label);
  const options = state.models.map(({ name }, i) => {
    const unique = labels.indexOf(labels[i]) === labels.lastIndexOf(labels[i]);
    return new Option(unique ? labels[i] : `${labels[i]} (${name})`, name);
  });
  const groups = Map.groupBy(options, (_, i) => titleOf(state.models[i]));
  const entries = [...groups].map(([title, runs]) => (title && runs.length > 1 ? groupOf(title, runs) : runs));
  $("model").replaceChildren(...entries.flat());
  if (modelNamed(chosen)) $("model").value = chosen;
  describeModel();
}

function groupOf(title, options) {
  const group = document.createElement("optgroup");
  group.label = title;
  group.append(...options);
  return group;
}

export function describeModel() {
  const model = chosenModel();
  if (!model) return;
  const { cell, layers, units, vocabulary, parameters, loss, seconds } = model;
  const title = titleOf(model);
  const trained = title ? "trained_on" : "trained";
  $("trained").textContent = seconds === null ? "" : t(trained, { title, time: duration(seconds) });
  const sizes = { layers, units, characters: number([...vocabulary].length), parameters: number(parameters) };
  const measured = loss === null ? "" : t("measured", { loss: loss.toFixed(3) });
  $("about").textContent = t("about", { cell: cell.toUpperCase(), ...sizes }) + measured;
}

function showProblem(response, body) {
  const { status } = response ?? {};
  if (response && !response.ok) setError(serverProblem(status, body?.code), { status });
  else if (body) setError("no_worker");
  else setError(navigator.onLine ? "unreachable" : "offline");
}

export async function loadModels() {
  for (;;) {
    const response = await fetch("api/models").catch(() => null);
    const body = await response?.json().catch(() => null);
    state.models = body?.models ?? [];
    if (state.models.length) break;
    if (response?.status === 401) return setError("key_required");
    if (!state.request) showProblem(response, body); // a text reports its own errors
    await pause(2);
  }
  showModels();
  if (!state.request) setStatus("");
}

// Return the characters of a request that its model does not know.
export function unknownCharacters({ model, prime, unknown, branches }) {
  const known = new Set(modelNamed(model)?.vocabulary ?? "");
  const used = [...(unknown === "skip" ? "" : prime), ...branches.map(([, character]) => character)];
  return [...new Set(used)].filter((character) => !known.has(character));
}
