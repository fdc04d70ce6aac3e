// What the page shows: characters coloured by surprisal, the likeliest characters, and the units of the last layer.

const ALTERNATIVES = 5;
const MAX_SURPRISAL = 6; // nats, shown in the strongest colour
const MAX_UNITS = 512;
const COLUMNS = 64;
const SIGNS = { "\n": "↵", "\t": "⇥", " ": "␣", "\u3000": "␣" };

const $ = (id) => document.getElementById(id);
const round = (n) => n.toLocaleString("en", { maximumFractionDigits: 0 });
const percent = (p) => (p < 0.01 ? "<1%" : `${Math.round(100 * p)}%`);

// Text is never set as HTML, because the characters of a model can form tags.
function make(name, className, text = "") {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  return element;
}

const isControl = (character) => /\p{C}/u.test(character);

// Return a visible sign for an invisible character; otherwise, the character.
function visible(character) {
  if (character in SIGNS) return SIGNS[character];
  if (!isControl(character)) return character;
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

// Return the element for the character at position t. `surprisal` is null if the character is not predicted.
function characterElement(t, character, surprisal, typed) {
  const element = make("span", typed ? "typed" : "", character);
  element.dataset.t = t;
  if (isControl(character)) element.dataset.sign = visible(character);
  element.style.background = `rgb(var(--surprise) / ${0.7 * Math.min((surprisal ?? 0) / MAX_SURPRISAL, 1)})`;
  return element;
}

// Show the likeliest characters given their probabilities p, which are null if the character is not predicted.
// `item` is the character in that position, if any; `choose` is called with the character of a button.
function showAlternatives(p, characters, item, choose) {
  const heading = make("p", "", p ? "Likeliest next characters:" : "");
  if (item) {
    const surprisal = p && `surprisal ${item.surprisal.toFixed(2)} nats. Likeliest characters:`;
    const words = surprisal ?? "not predicted, because it is the first character.";
    heading.replaceChildren(make("b", "character", visible(item.character)), `: ${words}`);
  }
  const best = p ? ranked(p).filter((k) => k < characters.length).slice(0, ALTERNATIVES) : [];
  const buttons = best.map((k) => {
    const button = make("button", characters[k] === item?.character ? "true" : "", ` ${percent(p[k])}`);
    button.type = "button";
    button.title = "Continue with this character";
    button.prepend(make("b", "character", visible(characters[k])));
    button.addEventListener("click", () => choose(characters[k]));
    return button;
  });
  $("detail").replaceChildren(heading, ...buttons);
}

// Show h of the last layer: each unit from blue (-1) to orange (+1).
function showUnits(h, layer, character) {
  const strip = $("units");
  const n = Math.min(h.length, MAX_UNITS);
  if (strip.children.length === 0) {
    strip.style.gridTemplateColumns = `repeat(${Math.min(n, COLUMNS)}, 1fr)`;
    strip.append(...Array.from({ length: n }, () => make("i", "")));
  }
  for (let unit = 0; unit < n; unit++) {
    const colour = h[unit] < 0 ? "--minus" : "--plus";
    strip.children[unit].style.background = `rgb(var(${colour}) / ${Math.abs(h[unit]).toFixed(2)})`;
  }
  const which = n < h.length ? `, units 1 to ${n} of ${round(h.length)}` : "";
  const after = character ? ` after “${visible(character)}”` : "";
  $("units-about").textContent = `Hidden state of layer ${layer}${after}${which}: −1 (blue) to +1 (orange)`;
}
