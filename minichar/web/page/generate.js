// Generates, stops and continues the current text.

import { $, MAX_LENGTH, setError, setStatus, state } from "./state.js";
import { follow, jobUrl } from "./stream.js";
import { append, redraw, renderAll, setDetails } from "./text.js";
import { keepText, newText } from "./texts.js";

async function followed(...parameters) {
  const following = follow(...parameters);
  updateButtons();
  const end = await following;
  updateButtons();
  return end;
}

// Generate the rest of the current text.
export async function run() {
  state.reason = undefined;
  const id = state.id;
  const request = { ...state.request, alternatives: $("surprisal").checked };
  const end = await followed(request, state.text.length, (text, start, details) => {
    append(text, details);
    if (state.status.key !== "restarted") setStatus("generating");
  });
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
  const { text, details, request, status } = state;
  if (!text.length || text.every((_, i) => details[i])) return;
  const same = { ...request, length: text.length, stop: [], alternatives: true };
  const end = await followed(same, 0, (_, start, more) => setDetails(start, more));
  if (!end) return; // another text or an error is shown
  if (state.reason) showEnd();
  else setStatus(status.key, status.values, status.error);
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

// Generate the text again from position i, with another character there.
export function branch(i, character) {
  const { request, text, details } = state;
  stop();
  const branches = [...request.branches.filter(([position]) => position < i), [i, character]];
  Object.assign(state, { missing: false, text: text.slice(0, i), details: details.slice(0, i), reason: undefined });
  state.request = { ...request, branches, length: Math.max(request.length, i + 1) };
  newText();
  redraw();
  return run();
}

function abort() {
  state.running.abort();
  state.running = null;
  if (state.job) fetch(jobUrl(state.job), { method: "DELETE", keepalive: true }).catch(() => {});
}

export function stop() {
  if (!state.running) return;
  abort();
  state.reason ??= "cancelled"; // it has ended if only details were being requested
  renderAll();
  showEnd();
  keepText();
  updateButtons();
}

// Stop because the page is being left. The text goes on when the visitor returns.
export function leave() {
  if (state.running) abort();
  keepText();
}

// Show the current text, and generate the rest of it if it is unfinished.
export async function resume() {
  redraw();
  updateButtons();
  if (!state.reason) return run();
  showEnd();
  if ($("surprisal").checked) await fillDetails();
}

export function continueText() {
  if (!$("length").reportValidity()) return;
  const { request, text, reason } = state;
  if (reason === "stop") request.stop = [];
  const more = Number($("length").value) || 500;
  if (text.length >= request.length) request.length = Math.min(MAX_LENGTH, text.length + more);
  run();
}

function updateButtons() {
  const running = state.running !== null;
  const empty = state.text.length === 0;
  $("stop").disabled = !running;
  $("continue").disabled = running || empty || state.text.length >= MAX_LENGTH;
  $("copy").disabled = $("share").disabled = empty && !running;
  $("text").setAttribute("aria-busy", String(running));
}
