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
  say: setStatus,
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

// Return a duration in words.
export function duration(seconds) {
  if (seconds < 120) return t("seconds", { n: Math.max(1, Math.round(seconds)) });
  if (seconds < 7200) return t("minutes", { n: Math.round(seconds / 60) });
  return t("hours", { n: number(seconds / 3600, { maximumFractionDigits: 1 }) });
}

export function setStatus(key, values = {}, error = false) {
  state.status = { key, values, error };
  showStatus();
}

export const setError = (key, values = {}) => setStatus(key, values, true);

// Return the string that says why the server could not answer a request that the page sends again.
export function serverProblem(status, code) {
  if (code === "unavailable") return "unavailable";
  return { 429: "too_many", 503: "busy" }[status] ?? "server_error";
}

// Fields of the API whose label on the page has another name.
const LABELS = { top_k: "topk", top_p: "topp", stop: "until", unknown: "skip", branches: "alternatives" };

function labelOf(field) {
  const [name] = field.split(".");
  const label = words[state.language][LABELS[name] ?? name] ?? field;
  return label.replace(/ ?[(（].*/, "");
}

// Show the string of a status in an element.
export function showMessage(element, { key, values, error }, missing = false) {
  const shown = values.field ? { ...values, field: labelOf(values.field) } : values;
  const status = key ? t(key, shown) : "";
  const aboutText = /^(waiting|queued|generating|ended)/.test(key);
  const text = missing && aboutText ? t("missing_model", { status }) : status;
  if (element.textContent !== text) element.textContent = text; // screen readers announce each change
  element.classList.toggle("error", error);
}

export const showStatus = () => showMessage($("status"), state.status, state.missing);
