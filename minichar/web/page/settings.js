// The form: reads a request from it, shows a request in it, and remembers it for the next visit.

import { describeModel, modelNamed } from "./models.js";
import { $, number, t } from "./state.js";
import { remember, remembered } from "./storage.js";

const FIVE_BREAKS = "\n\n\n\n\n";
const WIDEST = 10; // maximum temperature, as in openapi.json
const HEATS = [["cautious", 0.4], ["steady", 0.75], ["balanced", 1.05], ["daring", 1.35], ["wild", Infinity]];

export function readSettings() {
  const seed = $("seed").value;
  const until = $("until").value.replaceAll("\\n", "\n");
  return {
    model: $("model").value,
    prime: $("prime").value,
    temperature: Number($("temperature").value),
    length: Number($("length").value),
    seed: seed === "" ? crypto.getRandomValues(new Uint32Array(1))[0] : Number(seed),
    top_k: Number($("topk").value),
    top_p: Number($("topp").value),
    stop: [until || FIVE_BREAKS],
    unknown: $("skip").checked ? "skip" : "error",
    branches: [],
  };
}

export function openSettings() {
  $("fold").open = $("more").open = true;
}

export function showSettings(request) {
  const until = request.stop[0] ?? "";
  if (modelNamed(request.model)) $("model").value = request.model;
  $("prime").value = request.prime;
  setTemperature(request.temperature);
  $("length").value = request.length;
  $("topk").value = request.top_k;
  $("topp").value = request.top_p;
  $("skip").checked = request.unknown === "skip";
  $("until").value = until === FIVE_BREAKS ? "" : until.replaceAll("\n", "\\n");
  describeModel();
}

// The slider covers useful temperatures; a link may contain a higher one.
function setTemperature(temperature) {
  if (temperature > Number($("temperature").max)) $("temperature").max = WIDEST;
  $("temperature").value = temperature;
  describeTemperature();
}

// Say what a slider is set to.
export function describeHeat(slider, output) {
  const temperature = Number($(slider).value);
  const heat = HEATS.find(([, limit]) => temperature < limit)[0];
  const words = `${number(temperature, { maximumFractionDigits: 2 })}${t("comma")}${t(heat)}`;
  $(output).textContent = words;
  $(slider).setAttribute("aria-valuetext", words);
}

export const describeTemperature = () => describeHeat("temperature", "heat");

// The prompt and the seed belong to one text, and are not remembered.
export function rememberSettings() {
  const { prime, seed, branches, model, ...kept } = readSettings();
  const chosen = model && { model }; // none while the models are loading
  remember({ ...kept, ...chosen, surprisal: $("surprisal").checked });
}

// Restore all settings but the model, which is chosen when the models have been loaded.
export function restoreSettings() {
  const { temperature, length, top_k, top_p, stop, unknown, surprisal } = remembered();
  const valid = (value, low, high) => Number.isFinite(value) && value >= low && value <= high;
  if (valid(temperature, 0.05, WIDEST)) setTemperature(temperature);
  if (valid(length, 1, $("length").max)) $("length").value = length;
  if (valid(top_k, 0, $("topk").max)) $("topk").value = top_k;
  if (valid(top_p, 0.01, 1)) $("topp").value = top_p;
  if (typeof stop?.[0] === "string" && stop[0] !== FIVE_BREAKS) $("until").value = stop[0].replaceAll("\n", "\\n");
  $("skip").checked = unknown === "skip";
  $("surprisal").checked = surprisal !== false;
  describeTemperature();
}
