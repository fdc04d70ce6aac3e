// Connects the parts of the page.

import { close } from "./card.js";
import { examplesFor, showExamples } from "./examples.js";
import { begin, compareBoth, continueText, fillDetails, leave, resume, run, stop } from "./generate.js";
import "./keyboard.js";
import { setLanguage } from "./language.js";
import { linkTo, readLink } from "./link.js";
import { chosenModel, describeModel, loadModels, modelNamed } from "./models.js";
import { savePicture } from "./picture.js";
import "./pointer.js";
import {
  describeHeat, describeTemperature, openSettings, readSettings, rememberSettings, restoreSettings, showSettings,
} from "./settings.js";
import { $, setError, setStatus, state } from "./state.js";
import { remember, remembered } from "./storage.js";
import { explain } from "./text.js";
import { onChooseText, takeText, textWithId } from "./texts.js";

function openLink({ request, invalid }) {
  if (invalid) {
    stop();
    state.missing = false;
    return setError("invalid", { field: invalid });
  }
  const missing = request.model !== "" && !modelNamed(request.model);
  if (missing || request.model === "") request.model = state.models[0].name;
  showSettings(request);
  $("seed").value = request.seed;
  showExamples(useExample);
  close();
  begin(request, { replace: true, address: location.href, missing });
}

function openText(text) {
  stop();
  close();
  takeText(text);
  showSettings(state.request);
  showExamples(useExample);
  return resume();
}

// Show what the current entry of the browser's history refers to. Return whether there was anything to show.
function openAddress() {
  if (!state.models.length) return false; // it is opened when the models have been loaded
  const text = textWithId(history.state?.text);
  const link = readLink(location.hash);
  if (text) openText(text);
  else if (link) openLink(link);
  return Boolean(text || link);
}

function useExample(prime) {
  $("prime").value = prime;
  close();
  begin(readSettings());
}

function toggleSurprisal() {
  explain();
  close();
  compareBoth();
  rememberSettings();
  if (!$("surprisal").checked) return;
  if (state.running) run(); // restart with details; details for earlier characters are requested at the end
  else fillDetails();
}

async function copy(text, success, failure) {
  try {
    await navigator.clipboard.writeText(text);
    setStatus(success);
  } catch {
    setStatus(failure);
  }
}

$("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  close();
  begin(readSettings());
});
$("settings").addEventListener("change", rememberSettings);
$("model").addEventListener("change", () => {
  describeModel();
  showExamples(useExample);
});
$("temperature").addEventListener("input", describeTemperature);
$("settings").addEventListener("invalid", openSettings, true);
$("stop").addEventListener("click", stop);
$("continue").addEventListener("click", continueText);
$("language").addEventListener("click", () => {
  setLanguage($("language").lang);
  remember({ language: state.language });
  showExamples(useExample);
});
$("compare").addEventListener("change", compareBoth);
for (const id of ["other-model", "other-temperature"]) $(id).addEventListener("change", compareBoth);
$("other-temperature").addEventListener("input", () => describeHeat("other-temperature", "other-heat"));
$("surprisal").addEventListener("change", toggleSurprisal);
$("copy").addEventListener("click", () => copy(state.request.prime + state.text.join(""), "copied", "copy_failed"));
$("picture").addEventListener("click", savePicture);
$("share").addEventListener("click", () => {
  const link = linkTo(state.request, state.text.length);
  history.replaceState(history.state, "", link);
  copy(link, "shared", "share_failed");
});
onChooseText((id) => {
  if (id === state.id && !state.status.error) return;
  history.pushState({ text: id }, "", location.pathname + location.search);
  openText(textWithId(id));
});
window.addEventListener("pagehide", leave);
window.addEventListener("pageshow", ({ persisted }) => {
  if (!persisted || !state.request) return;
  close();
  resume();
});
window.addEventListener("popstate", openAddress);

// On a phone, the settings fold away, so that the text is on the first screen.
const phone = matchMedia("(max-width: 50rem)");
const fold = () => ($("fold").open = !phone.matches);
phone.addEventListener("change", fold);
fold();

restoreSettings();
setLanguage(remembered().language ?? ((navigator.language ?? "en").startsWith("zh") ? "zh" : "en"));
await loadModels();
showExamples(useExample);
// The visitor may have started a text or written a prompt in the meantime.
if (!state.request && !openAddress() && state.models.length && !$("prime").value) {
  [$("prime").value] = examplesFor(chosenModel());
  begin(readSettings(), { replace: true });
}
