// Draws the beginning of the text as a picture to share, in the colours of the page.

import { chosenModel, modelNamed, titleOf } from "./models.js";
import { $, number, setStatus, state, t } from "./state.js";
import { levelOf } from "./text.js";

const [WIDTH, HEIGHT, MARGIN] = [1200, 630, 60]; // the size of a link preview
const LINE = 38;
const TEXT = 26; // size of the characters
const SMALL = 22;

// Return the characters with the width and the colours of each.
function glyphs(context, colour) {
  const coloured = $("surprisal").checked;
  const glyph = (character, ink, back) => ({ character, ink, back, width: context.measureText(character).width });
  const prime = Array.from(state.request.prime, (character) => glyph(character, colour("accent")));
  const text = state.text.map((character, i) => {
    const level = coloured && state.details[i] ? levelOf(state.details[i][0]) : 0;
    return glyph(character, colour("ink"), level && colour(`s${level}`));
  });
  return [...prime, ...text];
}

// Break into lines at newlines and, where a line is full, after the last space, unless it is in the first half.
function broken(all, width, most) {
  const lines = [];
  let line = [];
  for (const glyph of all) {
    const end = glyph.character === "\n";
    const full = line.reduce((sum, each) => sum + each.width, glyph.width) > width;
    const space = full && !end ? line.findLastIndex(({ character }) => character === " ") : -1;
    const rest = space < line.length / 2 ? [] : line.splice(space + 1);
    if (end || full) {
      lines.push(line);
      line = rest;
    }
    if (!end) line.push(glyph);
  }
  return [...lines, line].slice(0, most);
}

function draw(canvas) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`);
  const context = canvas.getContext("2d");
  const [mono, sans] = [getComputedStyle($("text")).fontFamily, getComputedStyle(document.body).fontFamily];
  const write = (words, x, y, ink, font) => {
    Object.assign(context, { font, fillStyle: colour(ink) });
    context.fillText(words, x, y);
  };
  context.fillStyle = colour("paper");
  context.fillRect(0, 0, WIDTH, HEIGHT);
  write("minichar", MARGIN, MARGIN + 22, "accent", `700 36px ${sans}`);
  write(t("tagline"), MARGIN + 190, MARGIN + 20, "soft", `${SMALL}px ${sans}`);
  const { model, temperature, seed } = state.request;
  const about = [
    titleOf(modelNamed(model) ?? chosenModel()),
    `${t("temperature")} ${number(temperature, { maximumFractionDigits: 2 })}`,
    `${t("seed")} ${seed}`,
    $("surprisal").checked && t("orange"),
  ];
  write(about.filter(Boolean).join(" · "), MARGIN, HEIGHT - MARGIN + 10, "soft", `${SMALL}px ${sans}`);
  context.font = `${TEXT}px ${mono}`;
  const most = Math.floor((HEIGHT - 2 * MARGIN - 76) / LINE);
  broken(glyphs(context, colour), WIDTH - 2 * MARGIN, most).forEach((line, row) => {
    let x = MARGIN;
    const y = MARGIN + 56 + row * LINE;
    for (const { character, ink, back, width } of line) {
      if (back) {
        context.fillStyle = back;
        context.fillRect(x, y, width, LINE - 2);
      }
      context.fillStyle = ink;
      context.fillText(character, x, y + 0.72 * LINE);
      x += width;
    }
  });
}

export async function savePicture() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [WIDTH, HEIGHT];
  draw(canvas);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve));
  const link = document.createElement("a");
  [link.href, link.download] = [URL.createObjectURL(blob), "minichar.png"];
  link.click();
  URL.revokeObjectURL(link.href);
  setStatus("picture_saved");
}
