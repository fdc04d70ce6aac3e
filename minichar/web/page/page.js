// The page: asks for a text, shows it as it comes, and asks again where it was interrupted.
//
// A text is decided by its request. So whatever interrupts it - a lost connection, a server that was
// restarted, "stop" - it goes on by asking for the same text from the characters on that are here.

import { words } from "./words.js";

const $ = (id) => document.getElementById(id);
const SURPRISE = [0.5, 1, 2, 3.5, 5]; // nats, where the colours change
const MAX = 20000;
const FIVE_BREAKS = "\n\n\n\n\n";

const state = {
  language: "en",
  models: [],
  asked: null, // the request, as it would be sent for the whole text
  text: [], // its characters
  details: [], // [probability, [[character, probability], …]] of each, where known
  job: null,
  running: null, // what aborts the connection
  message: ["", ""],
};

// Words

const say = (key) => words[state.language][key] ?? key;

function speak(language) {
  state.language = language;
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = say(element.dataset.word);
  $("card").setAttribute("aria-label", say("alternatives"));
  $("language").textContent = language === "en" ? "中文" : "English";
  $("language").lang = language === "en" ? "zh" : "en";
  describe();
  tell(...state.message);
}

function tell(key, extra = "") {
  state.message = [key, extra];
  $("status").textContent = [key && say(key), extra].filter(Boolean).join(" ");
  $("status").classList.toggle("wrong", key === "" && extra !== "");
}

// The settings

function describe() {
  const model = state.models.find((one) => one.name === $("model").value);
  if (!model) return;
  $("about").textContent = [model.summary, model.origin && `${say("learned")} ${model.origin}`].filter(Boolean).join("; ");
}

function settings() {
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

function show(asked) {
  const until = asked.stop[0] ?? "";
  $("model").value = asked.model;
  $("prime").value = asked.prime;
  $("temperature").value = asked.temperature;
  $("length").value = asked.length;
  $("seed").value = asked.seed;
  $("topk").value = asked.top_k;
  $("until").value = until === FIVE_BREAKS ? "" : until.replaceAll("\n", "\\n");
  describe();
}

// The text

function surpriseOf(i) {
  const detail = state.details[i];
  if (!detail) return "";
  const nats = -Math.log(Math.max(detail[0], 1e-5));
  return "known s" + SURPRISE.filter((limit) => nats >= limit).length;
}

function characterElement(i) {
  const element = document.createElement("span");
  element.textContent = state.text[i]; // never as HTML: a model may have learned tags
  element.dataset.i = i;
  dress(element, i);
  return element;
}

function dress(element, i) {
  const branch = state.asked.branches.some(([place]) => place === i) ? " branch" : "";
  const line = state.text[i] === "\n" ? " line" : "";
  element.className = surpriseOf(i) + branch + line;
}

function redraw() {
  const prime = document.createElement("span");
  prime.className = "prime";
  prime.textContent = state.asked?.prime ?? "";
  $("text").replaceChildren(prime, ...state.text.map((_, i) => characterElement(i)));
  closeCard();
}

function add(text, details) {
  const area = $("text");
  const atEnd = area.scrollHeight - area.scrollTop - area.clientHeight < 40;
  const start = state.text.length;
  const fresh = Array.from(text);
  state.text.push(...fresh);
  if (details) details.forEach((detail, i) => (state.details[start + i] = detail));
  const fragment = document.createDocumentFragment();
  for (let i = start; i < state.text.length; i++) fragment.append(characterElement(i));
  area.append(fragment);
  if (atEnd) area.scrollTop = area.scrollHeight;
}

// Asking, and asking again

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const parts = buffer.split("\n\n");
    buffer = parts.pop();
    for (const part of parts) {
      const fields = Object.fromEntries(part.split("\n").map((line) => line.split(/: (.*)/s)));
      if (fields.event) yield { name: fields.event, id: Number(fields.id), data: JSON.parse(fields.data) };
    }
  }
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

// Write on from the characters that are here, until the text ends.
async function run() {
  state.reason = undefined;
  const end = await follow(state.asked, state.text.length, (text, start, details) => {
    add(text, details);
    if (state.message[0] !== "restarted") tell("writing");
  });
  if (!end) return;
  state.reason = end.reason;
  report(end.error);
  if ($("surprise").checked) fillDetails();
}

function report(error) {
  const key = { length: "length_reached", stop: "stopped_at", cancelled: "cancelled" }[state.reason] ?? "";
  tell(key, error ?? `${state.text.length} ${say("characters")}, ${say("seed_was")} ${state.asked.seed}`);
}

// Ask for the same text once more, now with its details, where there are characters without.
async function fillDetails() {
  const { text, details, asked } = state;
  if (!text.length || text.every((_, i) => details[i])) return;
  const message = state.message;
  await follow({ ...asked, length: text.length, stop: [] }, 0, (_, start, fresh) => recolour(start, fresh));
  tell(...message);
}

// Follow a text from its first `have` characters on, whatever comes between; return its end, or
// nothing where it was refused, or another took its place.
async function follow(asked, have, take) {
  state.running?.abort();
  const running = (state.running = new AbortController());
  let job = null;
  let failures = 0;
  buttons();
  tell("waiting");
  while (state.running === running) {
    try {
      const response = await ask(asked, job, have, running.signal);
      if (response.status === 404 && job) {
        job = null; // the server does not know it any more: ask for the rest of the same text
        continue;
      }
      if (response.status === 429 || response.status === 503 || response.status >= 500) {
        tell("", (await response.json().catch(() => ({}))).error ?? String(response.status));
        await pause(Number(response.headers.get("Retry-After") ?? 2));
        continue;
      }
      if (!response.ok) {
        tell("", (await response.json()).error);
        break;
      }
      for await (const { name, id, data } of eventsOf(response)) {
        if (state.running !== running) return null;
        failures = 0;
        if (name === "begin") state.job = job = data.job;
        if (name === "notice") tell(data.what);
        if (name === "text") {
          take(data.text, have, data.details);
          have = id;
        }
        if (name === "end" && data.reason !== "closing") {
          state.running = null;
          buttons();
          return data;
        }
      }
    } catch (error) {
      if (error.name === "AbortError") return null;
    }
    if (state.running !== running) return null; // else the connection ended before the text
    tell("lost");
    await pause(Math.min(5, 0.3 * 2 ** failures++));
  }
  if (state.running === running) state.running = null;
  buttons();
  return null;
}

function ask(asked, job, have, signal) {
  if (job) return fetch(`api/generate/${encodeURIComponent(job)}`, { headers: { "Last-Event-ID": String(have) }, signal });
  const body = JSON.stringify({ ...asked, from: have, alternatives: $("surprise").checked });
  return fetch("api/generate", { method: "POST", headers: { "Content-Type": "application/json" }, body, signal });
}

function buttons() {
  const running = state.running !== null;
  const any = state.text.length > 0;
  $("stop").disabled = !running;
  $("continue").disabled = running || !any || state.text.length >= MAX;
  $("copy").disabled = $("share").disabled = !any && !running;
  $("text").setAttribute("aria-busy", String(running));
}

function begin(asked) {
  state.asked = asked;
  state.text = [];
  state.details = [];
  redraw();
  if (matchMedia("(max-width: 50rem)").matches) $("heading").scrollIntoView({ behavior: "smooth" });
  return run();
}

function stop() {
  if (!state.running) return;
  state.running.abort();
  state.running = null;
  if (state.job) fetch(`api/generate/${encodeURIComponent(state.job)}`, { method: "DELETE", keepalive: true }).catch(() => {});
  tell("cancelled", `${state.text.length} ${say("characters")}`);
  buttons();
}

function writeOn() {
  const more = Number($("length").value) || 500;
  if (state.reason === "stop") state.asked.stop = [];
  if (state.text.length >= state.asked.length) state.asked.length = Math.min(MAX, state.text.length + more);
  return run();
}

// Surprise, alternatives, branches

function recolour(start, details) {
  details.forEach((detail, j) => {
    const i = start + j;
    if (i >= state.text.length) return;
    state.details[i] = detail;
    dress($("text").children[i + 1], i);
  });
}

function toggleSurprise() {
  const on = $("surprise").checked;
  $("text").classList.toggle("coloured", on);
  $("scale").hidden = !on;
  closeCard();
  if (!on) return;
  if (state.running) run(); // the rest of the text with details; those of its beginning when it has ended
  else fillDetails();
}

let pinned = false;

function openCard(element, pin) {
  const i = Number(element.dataset.i);
  const detail = state.details[i];
  if (!detail) return;
  const [p, likeliest] = detail;
  for (const old of document.querySelectorAll("#text .at")) old.classList.remove("at");
  element.classList.add("at");
  const line = document.createElement("p");
  const nats = (-Math.log(Math.max(p, 1e-5))).toFixed(2);
  line.textContent = `${visible(state.text[i])} - ${say("of_surprise").replace("{s}", nats).replace("{p}", percent(p))}`;
  $("card").replaceChildren(line, ...likeliest.map(([character, q]) => choiceElement(i, character, q)));
  $("card").hidden = false;
  pinned = pin;
  place($("card"), element.getBoundingClientRect());
}

// Put the card beside the character; on a phone, in the other half of the screen.
function place(card, box) {
  const { width, height } = card.getBoundingClientRect();
  const screen = document.documentElement;
  if (getComputedStyle(card).position === "fixed") {
    card.style.left = card.style.top = "";
    card.classList.toggle("above", box.top > screen.clientHeight / 2);
    return;
  }
  const below = box.bottom + 6 + height <= screen.clientHeight;
  card.style.left = `${Math.max(8, Math.min(box.left, screen.clientWidth - width - 8)) + scrollX}px`;
  card.style.top = `${(below ? box.bottom + 4 : box.top - height - 4) + scrollY}px`;
}

const percent = (p) => `${(100 * p).toFixed(p < 0.1 ? 2 : 1)} %`;
const visible = (character) => ({ "\n": "↵", " ": "␣", "\t": "⇥" })[character] ?? character;

function choiceElement(i, character, p) {
  const button = document.createElement("button");
  button.type = "button";
  const parts = [document.createElement("span"), document.createElement("meter"), document.createElement("span")];
  parts[0].className = "char";
  parts[0].textContent = visible(character);
  parts[1].value = p;
  parts[2].className = "percent";
  parts[2].textContent = percent(p);
  button.append(...parts);
  button.addEventListener("click", () => branch(i, character));
  return button;
}

function closeCard() {
  $("card").hidden = true;
  pinned = false;
  for (const old of document.querySelectorAll("#text .at")) old.classList.remove("at");
}

// Write another character at place i, and what follows from it.
function branch(i, character) {
  const branches = state.asked.branches.filter(([place]) => place < i);
  state.asked = { ...state.asked, branches: [...branches, [i, character]], length: Math.max(state.asked.length, i + 1) };
  state.text.length = i;
  state.details.length = i;
  redraw();
  $("text").focus();
  return run();
}

function move(event) {
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 20, ArrowUp: -20 };
  if (event.key === "Escape") return closeCard();
  if (!$("surprise").checked || !state.text.length) return;
  const characters = $("text").children; // the first is the prime
  const here = $("text").querySelector(".at");
  if (event.key in steps) {
    event.preventDefault();
    const i = here ? Number(here.dataset.i) + steps[event.key] : 0;
    const element = characters[Math.max(0, Math.min(state.text.length - 1, i)) + 1];
    element.scrollIntoView({ block: "nearest" });
    openCard(element, true);
  } else if (event.key === "Enter" && here && !$("card").hidden) {
    event.preventDefault();
    $("card").querySelector("button")?.focus();
  }
}

// Links

function link() {
  const { model, prime, temperature, length, seed, top_k, stop, branches } = state.asked;
  const short = { m: model, p: prime, t: temperature, n: Math.max(length, state.text.length), s: seed, k: top_k };
  const all = new URLSearchParams({ ...short, u: JSON.stringify(stop), b: JSON.stringify(branches) });
  return `${location.origin}${location.pathname}#${all}`;
}

function linked() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (!given.has("s")) return null;
  try {
    return {
      model: given.get("m") ?? "",
      prime: given.get("p") ?? "",
      temperature: Number(given.get("t") ?? 1),
      length: Number(given.get("n") ?? 500),
      seed: Number(given.get("s")),
      top_k: Number(given.get("k") ?? 0),
      stop: JSON.parse(given.get("u") ?? "[]"),
      branches: JSON.parse(given.get("b") ?? "[]"),
    };
  } catch {
    return null; // no link of ours
  }
}

async function toClipboard(text, done, otherwise) {
  try {
    await navigator.clipboard.writeText(text);
    tell(done);
  } catch {
    tell(otherwise);
  }
}

// Beginning

async function loadModels() {
  for (;;) {
    const response = await fetch("api/models").catch(() => null);
    state.models = response?.ok ? (await response.json()).models : [];
    if (state.models.length) break;
    tell("none");
    await pause(2);
  }
  $("model").replaceChildren(...state.models.map(({ name }) => new Option(name, name)));
  describe();
  tell("");
}

$("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  stop();
  history.replaceState(null, "", location.pathname);
  begin(settings());
});
$("stop").addEventListener("click", stop);
$("continue").addEventListener("click", writeOn);
$("language").addEventListener("click", () => speak(state.language === "en" ? "zh" : "en"));
$("model").addEventListener("change", describe);
$("surprise").addEventListener("change", toggleSurprise);
$("copy").addEventListener("click", () => toClipboard(state.asked.prime + state.text.join(""), "copied", ""));
$("share").addEventListener("click", () => {
  history.replaceState(null, "", link());
  toClipboard(link(), "shared", "shared_here");
});
$("text").addEventListener("pointerover", (event) => {
  if (event.target.dataset.i && $("surprise").checked && !pinned && event.pointerType === "mouse") openCard(event.target, false);
});
$("text").addEventListener("click", (event) => {
  if (event.target.dataset.i && $("surprise").checked) openCard(event.target, true);
});
$("text").addEventListener("keydown", move);
$("card").addEventListener("keydown", (event) => {
  const choices = [...$("card").querySelectorAll("button")];
  const at = choices.indexOf(document.activeElement);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) choices[(at + step + choices.length) % choices.length].focus();
  if (event.key === "Escape") {
    closeCard();
    $("text").focus();
  }
  if (step || event.key === "Escape") event.preventDefault();
});
document.addEventListener("pointerdown", (event) => {
  if (!$("card").contains(event.target) && !$("text").contains(event.target)) closeCard();
});
window.addEventListener("pagehide", stop);
window.addEventListener("hashchange", () => open());

async function open() {
  const asked = linked();
  if (!asked) return;
  show(asked);
  const named = asked.model !== "";
  const known = state.models.some(({ name }) => name === asked.model);
  if (!known) asked.model = $("model").value = state.models[0].name;
  await begin(asked);
  if (named && !known && state.reason) tell("old_model");
}

speak((navigator.language ?? "en").startsWith("zh") ? "zh" : "en");
loadModels().then(open);
