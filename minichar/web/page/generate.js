// Generates, stops and continues the current text.

import { compare, other, stopOther } from "./compare.js";
import { $, MAX_LENGTH, setError, setStatus, state } from "./state.js";
import { cancel, follow } from "./stream.js";
import { append, redraw, renderAll, setDetails } from "./text.js";
import { keepText, newText } from "./texts.js";

// Reads the details of a text that is complete. Only errors are shown.
const detailsReader = {
  running: null,
  job: null,
  say: (key, values, error) => error && setStatus(key, values, error),
};

// Generate the rest of the current text.
export async function run() {
  cancel(detailsReader);
  compareBoth();
  state.reason = undefined;
  const id = state.id;
  const request = { ...state.request, alternatives: $("surprisal").checked };
  const following = follow(state, request, state.text.length, (text, start, more) => {
    append(text, more);
    if (state.status.key !== "restarted") setStatus("generating");
  });
  updateButtons();
  const end = await following;
  updateButtons();
  if (!end || id !== state.id) return;
  state.reason = end.reason;
  renderAll();
  showEnd();
  keepText();
  if ($("surprisal").checked) await fillDetails();
}

export function showEnd() {
  if (state.reason === "error") setError("failed");
  else setStatus(`ended_${state.reason}`, { n: state.text.length, seed: state.request.seed });
}

// Request details for the current text if any are missing.
export async function fillDetails() {
  const { text, request } = state;
  if (!text.length || text.every((_, i) => state.details[i])) return;
  const same = { ...request, length: text.length, stop: [], alternatives: true };
  const end = await follow(detailsReader, same, 0, (_, start, more) => setDetails(start, more));
  if (end && state.status.error) showEnd();
}

export function compareBoth() {
  compare().then(updateButtons);
  updateButtons();
}

// Start a new text. `replace`: it replaces the current entry of the browser's history. `missing`: see `state`.
export function begin(request, { replace = false, address, missing = false } = {}) {
  stop();
  Object.assign(state, { request, missing, text: [], details: [], reason: undefined });
  newText(replace, address);
  redraw();
  $("text").scrollIntoView({ block: "nearest" });
  return run();
}

// End the text before position i, and change its request so that it continues with characters.
export function replaceFrom(i, characters, length) {
  const { request, text, details } = state;
  cancel(state);
  cancel(detailsReader);
  const kept = request.branches.filter(([position]) => position < i);
  const branches = [...kept, ...characters.map((character, j) => [i + j, character])];
  Object.assign(state, { missing: false, text: text.slice(0, i), details: details.slice(0, i), reason: undefined });
  state.request = { ...request, branches, length: Math.min(MAX_LENGTH, Math.max(length, i + characters.length)) };
  setStatus("");
  updateButtons();
}

// Generate the text again from position i, with another character there.
export function branch(i, character) {
  stop();
  replaceFrom(i, [character], state.request.length);
  newText();
  redraw();
  return run();
}

export function stop() {
  stopOther();
  cancel(detailsReader);
  if (!state.running) return;
  keepOnly(state.text.length);
  renderAll();
}

// End the text after `n` characters.
export function keepOnly(n) {
  cancel(state);
  Object.assign(state, { text: state.text.slice(0, n), details: state.details.slice(0, n), reason: "cancelled" });
  showEnd();
  keepText();
  updateButtons();
}

// Stop because the page is being left. Generation resumes when the visitor returns.
export function leave() {
  for (const reader of [detailsReader, state, other]) cancel(reader);
  keepText();
}

// Show the current text, and generate the rest of it if it is unfinished.
export async function resume() {
  redraw();
  updateButtons();
  if (!state.reason) return run();
  compareBoth();
  showEnd();
  if ($("surprisal").checked) await fillDetails();
}

// The length of the text if it is continued.
export const lengthened = () => Math.min(MAX_LENGTH, state.text.length + (Number($("length").value) || 500));

export function continueText() {
  if (!$("length").reportValidity()) return;
  const { request, text, reason } = state;
  if (reason === "stop") request.stop = [];
  if (text.length >= request.length) request.length = lengthened();
  run();
}

function updateButtons() {
  const running = state.running !== null;
  const empty = state.text.length === 0;
  $("stop").disabled = !running && !other.running;
  $("continue").disabled = running || empty || state.text.length >= MAX_LENGTH;
  $("copy").disabled = $("share").disabled = $("picture").disabled = empty && !running;
  $("text").setAttribute("aria-busy", String(running));
}
