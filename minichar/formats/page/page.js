// The controls: the page reads the beginning as it is typed, and generates the text that follows it.

const PACE = 2; // generated characters per frame if the text is animated
const BUDGET = 12; // milliseconds of work per frame, so that the page responds

const model = JSON.parse($("model").textContent);
const V = model.characters.length; // without the unknown token, which has the last id
const idOf = new Map(model.characters.map((character, k) => [character, k]));
const network = new Network(model, model.weights);
const reading = new Reading(network, model.separator);

let shown = []; // { k, character, surprisal, element } of each character that has been read
let waiting = []; // { k, character } of each character of the beginning that has not been read
let remaining = 0; // characters to generate
let generated = 0, milliseconds = 0; // since generation started
let options = null, seed = null, random = null;
let note = ""; // about the beginning
let selected = null; // the position of the selected character
let pinned = false; // whether the character was selected by a click or a key, not by hovering
let frame = null;

// Return the beginning as { k, character }. If it is empty, the prime is read, but not shown: its characters are null.
function beginning() {
  const typed = Array.from($("beginning").value, (character) => {
    return { k: idOf.get(character) ?? (model.unknown ? V : null), character };
  });
  const unknown = [...new Set(typed.filter(({ k }) => k === null).map(({ character }) => visible(character)))];
  const listed = unknown.slice(0, 5).join(" ") + (unknown.length > 5 ? " …" : "");
  note = listed && `not in the vocabulary: ${listed}`;
  const known = typed.filter(({ k }) => k !== null);
  return known.length ? known : model.prime.map((k) => ({ k, character: null }));
}

// Read the beginning, except the characters at its start that have been read.
function begin() {
  const tokens = beginning();
  const n = tokens.findIndex(({ k, character }, t) => shown[t]?.k !== k || shown[t]?.character !== character);
  cut(n < 0 ? tokens.length : n);
  for (const { element } of shown) element?.classList.add("typed");
  waiting = tokens.slice(shown.length);
  remaining = generated = 0;
  random = null;
  $("status").textContent = note;
  run();
}

// Remove all but the first n characters.
function cut(n) {
  reading.cut(n);
  for (const { element } of shown.splice(n)) element?.remove();
  mark(null);
}

function generate() {
  begin();
  seed = $("seed").value === "" ? crypto.getRandomValues(new Uint32Array(1))[0] : Number($("seed").value);
  random = new Random(seed);
  proceed();
}

// Generate more text, with the random numbers that follow.
function proceed() {
  options = { temperature: Number($("temperature").value), top_p: Number($("top_p").value) };
  remaining = Number($("length").value);
  generated = milliseconds = 0;
  mark(null);
  run();
}

function run() {
  frame ??= requestAnimationFrame(work);
  showButtons();
}

// Read and generate characters for one frame.
function work() {
  const begun = performance.now(), before = generated;
  while (waiting.length || remaining) {
    next();
    if (performance.now() - begun > BUDGET || ($("animate").checked && generated - before >= PACE)) break;
  }
  if (generated > before) milliseconds += performance.now() - begun;
  $("text").scrollTop = $("text").scrollHeight;
  frame = null;
  if (waiting.length || remaining) run();
  else stop();
  describe();
}

// Read the next character of the beginning or, after the beginning, a generated one.
function next() {
  const typed = waiting.length > 0;
  const logits = reading.logits();
  const { k, character } = typed ? waiting.shift() : sample(logits);
  const surprisal = logits && -Math.log(softmax(logits)[k]);
  const element = character === null ? null : characterElement(shown.length, character, surprisal, typed);
  if (element) $("text").append(element);
  reading.read(k);
  shown.push({ k, character, surprisal, element });
}

// Sample a character. Without a beginning or a prime, all characters are equally likely.
function sample(logits) {
  remaining--;
  generated++;
  const k = choose(logits?.subarray(0, V) ?? new Float64Array(V), options, random.next());
  return { k, character: model.characters[k] };
}

function stop() {
  remaining = 0;
  showButtons();
  if (!generated) return;
  const rate = round((1000 * generated) / Math.max(milliseconds, 1));
  const result = `${round(generated)} characters, seed ${seed}, ${rate} characters/s`;
  $("status").textContent = note ? `${result}; ${note}` : result;
}

function showButtons() {
  $("generate").textContent = remaining ? "Stop" : "Generate";
  $("more").disabled = remaining > 0 || random === null;
}

// Describe the selected character or, if none is selected, the next one.
function describe() {
  const t = selected ?? shown.length, last = Math.min(t, shown.length - 1);
  showUnits(reading.h(last), network.L, shown[last]?.character);
  if (remaining) return $("detail").replaceChildren();
  const logits = reading.logits(t);
  $("detail").ariaLive = pinned ? "polite" : "off";
  showAlternatives(logits && softmax(logits), model.characters, shown[t], (character) => replace(t, character));
}

// Replace the character at position t, and generate the text after it.
function replace(t, character) {
  $("beginning").value = shown.slice(0, t).map((item) => item.character ?? "").join("") + character;
  $("text").focus({ preventScroll: true });
  generate();
}

// Mark the character at position t as selected. Without such a character, none is selected.
function mark(t, pin = false) {
  shown[selected]?.element.classList.remove("at");
  selected = shown[t]?.element ? t : null;
  pinned = pin && selected !== null;
  shown[selected]?.element.classList.add("at");
}

function select(t, pin) {
  mark(t, pin);
  describe();
}

// Select a character with a key. The position after the last character is that of the next one.
function press(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  const first = shown.findIndex(({ element }) => element), last = shown.length - 1;
  const t = selected ?? last + 1;
  const positions = { ArrowLeft: Math.max(first, t - 1), ArrowRight: t + 1, Home: first, End: last, Escape: null };
  if (!(event.key in positions) || remaining) return;
  event.preventDefault();
  select(positions[event.key], true);
  shown[selected]?.element.scrollIntoView({ block: "nearest" });
}

for (const name of ["beginning", "temperature", "top_p", "seed", "length"]) {
  const linked = new URLSearchParams(location.hash.slice(1)).get(name);
  if (linked !== null) $(name).value = linked;
}
for (const name of ["temperature", "top_p"]) {
  const show = () => ($(name).previousElementSibling.textContent = $(name).value);
  $(name).addEventListener("input", show);
  show();
}
$("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  if (remaining) stop();
  else generate();
});
$("more").addEventListener("click", () => {
  if ($("settings").reportValidity()) proceed();
});
$("beginning").addEventListener("input", begin);
$("beginning").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  stop();
  $("settings").requestSubmit();
});
$("text").addEventListener("keydown", press);
$("text").addEventListener("click", ({ target }) => {
  if (!remaining) select(Number(target.dataset.t ?? NaN), true);
});
$("text").addEventListener("pointerover", ({ target, pointerType }) => {
  if (pointerType === "mouse" && !pinned && !remaining) select(Number(target.dataset.t ?? NaN));
});

$("about").textContent = model.about;
$("animate").checked = !matchMedia("(prefers-reduced-motion: reduce)").matches;
if ($("settings").checkValidity()) generate();
