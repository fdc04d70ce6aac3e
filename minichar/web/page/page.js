// Settings, shared links and event handlers.

import { close as closeAlternatives } from "./alternatives.js";
import { begin, continueText, pause, stop } from "./generate.js";
import { $, setStatus, showStatus, state, t } from "./state.js";

const FIVE_BREAKS = "\n\n\n\n\n";

function setLanguage(language) {
  state.language = language;
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = t(element.dataset.word);
  for (const element of document.querySelectorAll("[data-placeholder]")) {
    element.placeholder = t(element.dataset.placeholder);
  }
  $("card").setAttribute("aria-label", t("alternatives"));
  const other = { en: ["中文", "zh"], zh: ["English", "en"] }[language];
  [$("language").textContent, $("language").lang] = other;
  describeModel();
  showStatus();
}

function describeModel() {
  const model = state.models.find(({ name }) => name === $("model").value);
  if (!model) return;
  const { summary, origin } = model;
  $("about").textContent = [summary, origin && t("trained_on", { origin })].filter(Boolean).join("; ");
}

function readSettings() {
  const seed = $("seed").value;
  const until = $("until").value.replaceAll("\\n", "\n");
  return {
    model: $("model").value,
    prime: $("prime").value,
    temperature: Number($("temperature").value),
    length: Number($("length").value),
    seed: seed === "" ? crypto.getRandomValues(new Uint32Array(1))[0] : Number(seed),
    top_k: Number($("topk").value),
    stop: [until || FIVE_BREAKS],
    branches: [],
  };
}

function showSettings(request) {
  const until = request.stop[0] ?? "";
  $("model").value = request.model;
  $("prime").value = request.prime;
  $("temperature").value = request.temperature;
  $("length").value = request.length;
  $("seed").value = request.seed;
  $("topk").value = request.top_k;
  $("until").value = until === FIVE_BREAKS ? "" : until.replaceAll("\n", "\\n");
  describeModel();
}

function linkTo({ model, prime, temperature, length, seed, top_k, stop, branches }) {
  const short = { m: model, p: prime, t: temperature, n: Math.max(length, state.text.length), s: seed, k: top_k };
  const all = new URLSearchParams({ ...short, u: JSON.stringify(stop), b: JSON.stringify(branches) });
  return `${location.origin}${location.pathname}#${all}`;
}

// Return the request encoded in the address bar, or null.
function linkedRequest() {
  const link = new URLSearchParams(location.hash.slice(1));
  if (!link.has("s")) return null;
  try {
    return {
      model: link.get("m") ?? "",
      prime: link.get("p") ?? "",
      temperature: Number(link.get("t") ?? 1),
      length: Number(link.get("n") ?? 500),
      seed: Number(link.get("s")),
      top_k: Number(link.get("k") ?? 0),
      stop: JSON.parse(link.get("u") ?? "[]"),
      branches: JSON.parse(link.get("b") ?? "[]"),
    };
  } catch {
    return null;
  }
}

async function openLink() {
  const request = linkedRequest();
  if (!request) return;
  showSettings(request);
  const missing = request.model !== "" && !state.models.some(({ name }) => name === request.model);
  if (missing || request.model === "") request.model = $("model").value = state.models[0].name;
  describeModel();
  closeAlternatives();
  await begin(request);
  if (missing && state.reason) setStatus("missing_model");
}

async function copy(text, success, failure) {
  try {
    await navigator.clipboard.writeText(text);
    setStatus(success);
  } catch {
    setStatus(failure);
  }
}

async function loadModels() {
  for (;;) {
    const response = await fetch("api/models").catch(() => null);
    state.models = response?.ok ? (await response.json()).models : [];
    if (state.models.length) break;
    setStatus("no_models");
    await pause(2);
  }
  $("model").replaceChildren(...state.models.map(({ name }) => new Option(name, name)));
  describeModel();
  setStatus("");
}

$("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  stop();
  closeAlternatives();
  history.replaceState(null, "", location.pathname);
  begin(readSettings());
});
$("stop").addEventListener("click", stop);
$("continue").addEventListener("click", continueText);
$("language").addEventListener("click", () => setLanguage($("language").lang));
$("model").addEventListener("change", describeModel);
$("copy").addEventListener("click", () => copy(state.request.prime + state.text.join(""), "copied", "copy_failed"));
$("share").addEventListener("click", () => {
  const link = linkTo(state.request);
  history.replaceState(null, "", link);
  copy(link, "shared", "share_failed");
});
window.addEventListener("pagehide", stop);
window.addEventListener("hashchange", openLink);

setLanguage((navigator.language ?? "en").startsWith("zh") ? "zh" : "en");
loadModels().then(openLink);
