// What the page shows, and its status line.

import { words } from "./words.js";

export const $ = (id) => document.getElementById(id);

export const MAX_LENGTH = 20000; // of a text, as in openapi.json

export const state = {
  language: "en",
  models: [],
  request: null, // the request for the whole text
  text: [], // its characters so far
  details: [], // [probability, [[character, probability], …]] per character, where known
  job: null, // the id of its job on the server
  reason: undefined, // why it ended
  running: null, // AbortController of the connection
  status: { key: "", values: {}, error: "" },
};

export function t(key, values = {}) {
  const word = words[state.language][key];
  return word.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export function setStatus(key, values = {}) {
  state.status = { key, values, error: "" };
  showStatus();
}

export function setError(error) {
  state.status = { key: "", values: {}, error };
  showStatus();
}

export function showStatus() {
  const { key, values, error } = state.status;
  $("status").textContent = key ? t(key, values) : error;
  $("status").classList.toggle("error", error !== "");
}
