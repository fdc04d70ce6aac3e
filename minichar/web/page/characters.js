// Visible signs and spoken names of characters.

import { t } from "./state.js";

const SIGNS = { "\n": "↵", "\t": "⇥", " ": "␣", "\u3000": "␣" };
const NAMES = { "\n": "newline", "\t": "tab", " ": "space", "\u3000": "wide_space" };
const INVISIBLE = /[\p{C}\p{Z}]/u; // controls, zero-width characters, spaces

const codeOf = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

// Return a visible sign for an invisible character; otherwise, the character.
export const visible = (character) => SIGNS[character] ?? (INVISIBLE.test(character) ? codeOf(character) : character);

// Return the number of letters of a script in a text.
export const lettersOf = (script, text) => text.match(new RegExp(`\\p{Script=${script}}`, "gu"))?.length ?? 0;

export const spoken = (character) => (character in NAMES ? t(NAMES[character]) : visible(character));

// Return the visible sign with the code point, if the sign is not the code point itself.
export function named(character) {
  const [sign, code] = [visible(character), codeOf(character)];
  return sign === code ? code : `${sign} (${code})`;
}
