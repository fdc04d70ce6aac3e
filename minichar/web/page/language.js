// The language of the page.

import { describeOther } from "./compare.js";
import { showModels } from "./models.js";
import { describeTemperature } from "./settings.js";
import { $, showStatus, state, t } from "./state.js";
import { explain } from "./text.js";
import { showTexts } from "./texts.js";
import { words } from "./words.js";

const OTHER = { en: ["中文", "zh"], zh: ["English", "en"] };

export function setLanguage(language) {
  state.language = language in words ? language : "en";
  document.documentElement.lang = state.language;
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = t(element.dataset.word);
  for (const element of document.querySelectorAll("[data-placeholder]")) {
    element.placeholder = t(element.dataset.placeholder);
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", t(element.dataset.label));
  }
  $("card").setAttribute("aria-label", t("alternatives"));
  [$("language").textContent, $("language").lang] = OTHER[state.language];
  showModels();
  describeTemperature();
  explain();
  showTexts();
  showStatus();
  describeOther();
}
