// Sends generation requests and reads the streamed text.
//
// The output of a request is reproducible. After an interruption (a lost connection, a server restart
// or the Stop button), the page sends the same request again and skips the characters it already has.

import { $, MAX_LENGTH, setError, setStatus, state } from "./state.js";
import { append, redraw, setDetails } from "./text.js";

export const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const blocks = buffer.split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s)));
      if (fields.event) yield { name: fields.event, id: Number(fields.id), data: JSON.parse(fields.data) };
    }
  }
}

function send(request, job, have, signal) {
  if (job) return fetch(jobUrl(job), { headers: { "Last-Event-ID": String(have) }, signal });
  const body = JSON.stringify({ ...request, from: have, alternatives: $("surprisal").checked });
  return fetch("api/generate", { method: "POST", headers: { "Content-Type": "application/json" }, body, signal });
}

const jobUrl = (job) => `api/generate/${encodeURIComponent(job)}`;

// Stream the text after the first `have` characters, reconnecting when necessary. Return the data of
// the end event, or null if the request was rejected or superseded.
async function follow(request, have, onText) {
  state.running?.abort();
  const running = (state.running = new AbortController());
  let job = null;
  let failures = 0;
  updateButtons();
  setStatus("waiting");
  while (state.running === running) {
    try {
      const response = await send(request, job, have, running.signal);
      if (response.status === 404 && job) {
        job = null; // the job has expired or the server has been restarted: submit the request again
        continue;
      }
      if (!response.ok) {
        setError((await response.json().catch(() => ({}))).error ?? `HTTP ${response.status}`);
        if (response.status !== 429 && response.status < 500) break;
        await pause(Number(response.headers.get("Retry-After") ?? 2));
        continue;
      }
      for await (const { name, id, data } of readEvents(response)) {
        if (state.running !== running) return null;
        failures = 0;
        if (name === "begin") state.job = job = data.job;
        if (name === "notice" && data.what === "restarted") setStatus("restarted");
        if (name === "text") {
          onText(data.text, have, data.details);
          have = id;
        }
        if (name === "end" && data.reason !== "closing") {
          state.running = null;
          updateButtons();
          return data;
        }
      }
    } catch (error) {
      if (error.name === "AbortError") return null;
    }
    if (state.running !== running) return null;
    setStatus("lost");
    await pause(Math.min(5, 0.3 * 2 ** failures++));
  }
  if (state.running === running) state.running = null;
  updateButtons();
  return null;
}

// Continue the current text.
export async function run() {
  state.reason = undefined;
  const end = await follow(state.request, state.text.length, (text, start, details) => {
    append(text, details);
    if (state.status.key !== "restarted") setStatus("generating");
  });
  if (!end) return;
  state.reason = end.reason;
  if (end.error) setError(end.error);
  else showEnd(end.reason);
  if ($("surprisal").checked) await fillDetails();
}

function showEnd(reason) {
  setStatus(`ended_${reason}`, { n: state.text.length, seed: state.request.seed });
}

// Request details for the current text if any are missing.
export async function fillDetails() {
  const { text, details, request, status } = state;
  if (!text.length || text.every((_, i) => details[i])) return;
  await follow({ ...request, length: text.length, stop: [] }, 0, (_, start, more) => setDetails(start, more));
  if (status.error) setError(status.error);
  else setStatus(status.key, status.values);
}

export function begin(request) {
  Object.assign(state, { request, text: [], details: [] });
  redraw();
  if (matchMedia("(max-width: 50rem)").matches) $("heading").scrollIntoView({ behavior: "smooth" });
  return run();
}

export function stop() {
  if (!state.running) return;
  state.running.abort();
  state.running = null;
  if (state.job) fetch(jobUrl(state.job), { method: "DELETE", keepalive: true }).catch(() => {});
  showEnd("cancelled");
  updateButtons();
}

export function continueText() {
  const { request, text, reason } = state;
  if (reason === "stop") request.stop = [];
  const more = Number($("length").value) || 500;
  if (text.length >= request.length) request.length = Math.min(MAX_LENGTH, text.length + more);
  return run();
}

function updateButtons() {
  const running = state.running !== null;
  const empty = state.text.length === 0;
  $("stop").disabled = !running;
  $("continue").disabled = running || empty || state.text.length >= MAX_LENGTH;
  $("copy").disabled = $("share").disabled = empty && !running;
  $("text").setAttribute("aria-busy", String(running));
}
