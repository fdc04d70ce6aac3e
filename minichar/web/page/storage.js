// Values that outlive the page. A browser may refuse to store them; the page then works without.

function read(storage, key) {
  try {
    return JSON.parse(window[storage].getItem(key));
  } catch {
    return null;
  }
}

// Return whether the value has been stored.
function write(storage, key, value) {
  try {
    window[storage].setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

const SETTINGS = "minichar.settings";
const TEXTS = "minichar.texts";
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

// Settings, for all later visits.
export function remembered() {
  const found = read("localStorage", SETTINGS);
  return isObject(found) ? found : {};
}
export const remember = (changes) => write("localStorage", SETTINGS, { ...remembered(), ...changes });

// Texts, for this tab.
export function storedTexts() {
  const found = read("sessionStorage", TEXTS);
  return Array.isArray(found) ? found.filter(isObject) : [];
}
export const storeTexts = (texts) => write("sessionStorage", TEXTS, texts);
