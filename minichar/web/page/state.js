// Page state and status line.

import { words } from "./words.js";

export const $ = (id) => document.getElementById(id);

export const MAX_LENGTH = 20000; // maximum text length, as in openapi.json

export const state = {
  language: "en",
  models: [],
  id: null, // the id of the text in the history of this session
  request: null, // the request that produces the complete text
  missing: false, // whether it uses the default model because that of its link is not available
  text: [], // the characters received so far
  details: [], // [probability, [[character, probability], …]] for each character, if known
  job: null, // the job id on the server
  reason: undefined, // why generation ended
  running: null, // AbortController of the current connection
  status: { key: "", values: {}, error: false },
};

export function t(key, values = {}) {
  const word = words[state.language][key];
  const form = (_, name, one, other) => (String(values[name]) === "1" ? one : other);
  return word.replace(/\{(\w+):(\w+)\|(\w+)\}/g, form).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

export const number = (value, options) => new Intl.NumberFormat(state.language, options).format(value);

export function setStatus(key, values = {}, error = false) {
  state.status = { key, values, error };
  showStatus();
}

export const setError = (key, values = {}) => setStatus(key, values, true);

// Show why the server could not answer a request that the page sends again.
export function setServerError(status, code) {
  if (code === "unavailable") setError("unavailable");
  else if (status === 429) setError("too_many");
  else if (status === 503) setError("busy");
  else setError("server_error", { status });
}

// Fields of the API whose label on the page has another name.
const LABELS = { top_k: "topk", top_p: "topp", stop: "until", unknown: "skip", branches: "alternatives" };

function labelOf(field) {
  const [name] = field.split(".");
  const label = words[state.language][LABELS[name] ?? name] ?? field;
  return label.replace(/ ?[(（].*/, "");
}

export function showStatus() {
  const { key, values, error } = state.status;
  const shown = values.field ? { ...values, field: labelOf(values.field) } : values;
  const status = key ? t(key, shown) : "";
  const aboutText = /^(waiting|queued|generating|ended)/.test(key);
  const text = state.missing && aboutText ? t("missing_model", { status }) : status;
  if ($("status").textContent !== text) $("status").textContent = text; // screen readers announce each change
  $("status").classList.toggle("error", error);
}
