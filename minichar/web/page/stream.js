// Sends a generation request and reads the streamed text, across lost connections and server restarts.
//
// The output of a request is reproducible. After an interruption, the page asks for the same job or, if the
// server no longer has it, sends the same request again, and skips the characters it already has.
//
// A reader is {running, job, say}: the AbortController of its connection or null, the id of its job, and a function
// that is called with the key and the values of a string, and whether the string is about an error.

import { named } from "./characters.js";
import { unknownCharacters } from "./models.js";
import { openSettings } from "./settings.js";
import { $, pause, serverProblem } from "./state.js";

const SILENCE = 10; // seconds; the server sends at least a comment every second

async function* readEvents(response, onData) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    onData();
    buffer += value;
    const blocks = buffer.split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s)));
      if (fields.event) yield { name: fields.event, id: Number(fields.id), data: JSON.parse(fields.data) };
    }
  }
}

const jobUrl = (job) => `api/generate/${encodeURIComponent(job)}`;

function send(request, job, have, signal) {
  if (job) return fetch(jobUrl(job), { headers: { "Last-Event-ID": String(have) }, signal });
  const body = JSON.stringify({ ...request, from: have });
  return fetch("api/generate", { method: "POST", headers: { "Content-Type": "application/json" }, body, signal });
}

// Return a signal that is aborted by another one, or if the returned function is not called for a while.
function silenceSignal(signal) {
  const silence = new AbortController();
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), 1000 * SILENCE);
  };
  heard();
  return [AbortSignal.any([signal, silence.signal]), heard, () => clearTimeout(timer)];
}

// Show why the server rejected a request. Return the time after which to try again in seconds, or null.
async function showRejection(say, response, request, signal) {
  const { code, field } = await response.json().catch(() => ({}));
  if (signal.aborted) return null; // the page shows something else by now
  const again = Number(response.headers.get("Retry-After")) || 2;
  const { status } = response;
  if (status === 429 || status >= 500) {
    say(serverProblem(status, code), { status }, true);
    return again;
  }
  const unknown = status === 409 ? unknownCharacters(request).map(named).join(" ") : "";
  if (unknown) {
    say("not_in_vocabulary", { unknown }, true);
    openSettings(); // they contain the switch that skips the characters
    $("status").scrollIntoView({ block: "nearest" });
  } else if (code === "model_not_found") say("model_gone", {}, true);
  else if (status === 401) say("key_required", {}, true);
  else say("invalid", { field: field ?? `HTTP ${status}` }, true);
  return null;
}

function showNotice(say, { what, position }) {
  if (what === "restarted") say("restarted");
  if (what === "waiting") say("queued", { position });
  if (what === "no_worker") say("no_worker", {}, true);
}

// Give up what a reader is reading.
export function cancel(reader) {
  reader.running?.abort();
  reader.running = null;
  if (reader.job) fetch(jobUrl(reader.job), { method: "DELETE", keepalive: true }).catch(() => {});
  reader.job = null;
}

// Stream the text after the first `have` characters. Return the data of the end event, or null if the
// request was rejected or superseded.
export async function follow(reader, request, have, onText) {
  cancel(reader);
  const running = (reader.running = new AbortController());
  let job = null;
  let failures = 0;
  reader.say("waiting");
  while (reader.running === running) {
    const [signal, heard, done] = silenceSignal(running.signal);
    try {
      const response = await send(request, job, have, signal);
      heard();
      if (response.status === 404 && job) {
        job = null; // the job has expired or the server has been restarted: submit the request again
        continue;
      }
      if (!response.ok) {
        const again = await showRejection(reader.say, response, request, running.signal);
        if (again === null) break;
        await pause(again);
        continue;
      }
      for await (const { name, id, data } of readEvents(response, heard)) {
        if (reader.running !== running) return null;
        failures = 0;
        if (name === "begin") reader.job = job = data.job;
        if (name === "notice") showNotice(reader.say, data);
        if (name === "text") {
          onText(data.text, have, data.details);
          have = id;
        }
        if (name === "end" && data.reason === "cancelled") job = null; // the server missed its reader: again
        else if (name === "end" && data.reason !== "closing") {
          reader.running = reader.job = null;
          return data;
        }
      }
    } catch {
      // The connection was lost or silent, or the request was superseded.
    } finally {
      done();
    }
    if (reader.running !== running) return null;
    if (navigator.onLine) reader.say("lost");
    else reader.say("offline", {}, true);
    await pause(Math.min(5, 0.3 * 2 ** failures++));
  }
  if (reader.running === running) reader.running = reader.job = null;
  return null;
}
