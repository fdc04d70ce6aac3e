// Lesson 2: the error of a numerical derivative as a function of the step size h.

const { fixed, exponent, power, range, clamp } = interactive;
const x = 1.2;
const target = 0.6;

const f = (w) => (Math.tanh(w * x) - target) ** 2;

function slope(w) {
  const y = Math.tanh(w * x);
  return 2 * (y - target) * (1 - y * y) * x;
}

const central = (w, h) => (f(w + h) - f(w - h)) / (2 * h);
const oneSided = (w, h) => (f(w + h) - f(w)) / h;
const error = (w, approximation) => Math.abs(approximation - slope(w)) / Math.abs(slope(w));

// Split the digits of `value` after those that it shares with `other`.
function split(value, other) {
  const [digits, others] = [value, other].map((number) => fixed(17)(number));
  const n = range(digits.length).find((k) => digits[k] !== others[k]) ?? digits.length;
  return [digits.slice(0, n), digits.slice(n)];
}

interactive.show("gradient_check", { slope, central, oneSided, error }, (figure) => {
  const methods = [central, oneSided];

  figure.picture(360, 320, (pen) => {
    const [X, Y] = pen.axes(
      [44, 26, 350, 210],
      {
        from: -15,
        to: 0,
        ticks: [-15, -12, -9, -6, -3, 0],
        label: "step size h",
        show: exponent,
      },
      {
        from: -13,
        to: 0,
        ticks: [-12, -9, -6, -3, 0],
        label: "relative error",
        show: exponent,
      },
    );
    const w = weight.value;
    const height = (method, exponent) => Y(clamp(Math.log10(error(w, method(w, 10 ** exponent))), -13, 0));
    methods.forEach((method, k) => {
      const style = k === choice.value ? "backward" : "faint";
      pen.line(
        range(301, (k) => [X(k / 20 - 15), height(method, k / 20 - 15)]),
        style,
      );
    });
    pen.text(X(-13.2), Y(-9), "round-off", "small");
    pen.text(X(-1.6), Y(-9), "truncation", "small");
    pen.dot(X(log.value), height(methods[choice.value], log.value), "backward");

    const h = 10 ** log.value;
    const [above, below] = [f(w + h), f(choice.value ? w : w - h)];
    const measured = methods[choice.value](w, h);
    const rows = [
      ["f(w + h)", ...split(above, below)],
      [choice.value ? "f(w)" : "f(w − h)", ...split(below, above)],
      ["measured", ...split(measured, slope(w))],
      ["by hand", fixed(17)(slope(w)), ""],
    ];
    rows.forEach(([name, same, rest], k) => {
      const y = 262 + 17 * k;
      pen.text(96, y, name, "small end");
      pen.text(
        106,
        y,
        [
          { words: same, style: k < 2 ? "faint" : "strong" },
          { words: rest, style: "backward" },
        ],
        "mono start",
      );
    });
  });

  const weight = figure.slider("w", { min: -1, max: 2, step: 0.05, value: 0.4 });
  const log = figure.slider("h", { min: -15, max: 0, step: 0.05, value: -2, show: (k) => power(10 ** k) });
  const choice = figure.choice("method", ["central difference", "one-sided difference"]);
  figure.readout(() => {
    const w = weight.value;
    return [`error = ${power(error(w, methods[choice.value](w, 10 ** log.value)))}`];
  });
});
