// Lesson 15: a network that reads some characters from the text, and some of its own predictions.

const { fixed, uniform, draw, range } = interactive;
const text = [..."the cat sat on the mat"];
const characters = [...new Set(text)].sort();
// A bigram model of the text replaces the network: the next character depends only on the last one.
const weights = characters.map((last) =>
  characters.map(
    (next) => 0.05 + text.filter((character, t) => character === next && text[t - 1] === last).length,
  ),
);

const makeMask = (ratio, u) => u.map((u_t) => u_t < ratio);

// Return the ids that the network reads; `v` are the random numbers of the predictions.
function read(inputs, mask, v) {
  const x = [inputs[0]];
  for (let t = 1; t < inputs.length; t++) x.push(mask[t] ? inputs[t] : draw(weights[x[t - 1]], v[t]));
  return x;
}

interactive.show("scheduled_sampling", { weights, makeMask, draw, read }, (figure) => {
  const inputs = text.map((character) => characters.indexOf(character));
  const next = uniform(7);
  const T = text.length;
  const shown = (character) => (character === " " ? "␣" : character);
  let [u, v] = [range(T, next), range(T, next)];
  const mask = () => makeMask(ratio.value, u).map((kept, t) => kept || t === 0);

  figure.picture(360, 194, (pen) => {
    const x = read(inputs, mask(), v);
    const [top, bottom] = [44, 144];
    const at = (t) => 14 + 15.8 * t;
    const line = bottom - (bottom - top) * ratio.value;
    pen.area(
      [
        [4, line],
        [356, line],
        [356, bottom],
        [4, bottom],
      ],
      "forward",
    );
    pen.segment(4, line, 356, line, "forward");
    pen.text(4, 12, "text", "small start forward");
    pen.text(4, 164, "the network reads", "small start");
    mask().forEach((kept, t) => {
      const style = kept ? "forward" : "other";
      pen.text(at(t), 32, shown(text[t]), `mono ${kept ? "forward" : "faint"}`);
      if (t > 0) pen.dot(at(t), bottom - (bottom - top) * u[t], style, 4);
      pen.text(at(t), 184, shown(characters[x[t]]), `mono strong ${style}`);
    });
  });

  const ratio = figure.slider("teacher-forcing ratio", { min: 0, max: 1, step: 0.01, value: 0.75 });
  figure.buttons({ "Draw again": () => ([u, v] = [range(T, next), range(T, next)]) });
  figure.readout(() => {
    const predicted = mask().filter((kept) => !kept).length;
    return [
      [
        { words: `${T - predicted} from the text`, style: "forward" },
        ", ",
        { words: `${predicted} predicted`, style: "other" },
      ],
    ];
  });
});
