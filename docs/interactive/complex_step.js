// Lesson 4: the errors of the complex step and of a central difference as functions of the step size h.

const { fixed, exponent, power, range, clamp } = interactive;
const w = 0.4;
const x = 1.2;
const target = 0.6;

// A complex number is [real part, imaginary part].
const square = ([a, b]) => [a * a - b * b, 2 * a * b];

function tanh([a, b]) {
  const denominator = Math.cosh(2 * a) + Math.cos(2 * b);
  return [Math.sinh(2 * a) / denominator, Math.sin(2 * b) / denominator];
}

function f([a, b]) {
  const [re, im] = tanh([a * x, b * x]);
  return square([re - target, im]);
}

function slope() {
  const y = Math.tanh(w * x);
  return 2 * (y - target) * (1 - y * y) * x;
}

const complexStep = (h) => f([w, h])[1] / h;
const central = (h) => (f([w + h, 0])[0] - f([w - h, 0])[0]) / (2 * h);
const error = (approximation) => Math.abs(approximation - slope()) / Math.abs(slope());

interactive.show("complex_step", { f, slope, complexStep, central, error }, (figure) => {
  figure.picture(360, 316, (pen) => {
    const [X, Y] = pen.axes(
      [44, 26, 350, 210],
      { from: -30, to: 0, ticks: [-30, -20, -10, 0], label: "step size h", show: exponent },
      { from: -17, to: 0, ticks: [-16, -12, -8, -4, 0], label: "relative error", show: exponent },
    );
    // The error of a correctly rounded result is 0, whose logarithm is not finite.
    const height = (method, exponent) => Y(clamp(Math.log10(error(method(10 ** exponent))), -16, 0));
    const curve = (method) => range(301, (k) => [X(k / 10 - 30), height(method, k / 10 - 30)]);
    pen.line(curve(central), "another");
    pen.line(curve(complexStep), "other");
    pen.text(X(-29), Y(0) + 16, "central difference", "small another start");
    pen.text(X(-29), Y(-14.4), "complex step", "small other start");
    pen.dot(X(log.value), height(central, log.value), "another");
    pen.dot(X(log.value), height(complexStep, log.value), "other");

    const h = 10 ** log.value;
    const [re, im] = f([w, h]);
    const rows = [
      ["Re f(w + ih)", fixed(17)(re)],
      ["Im f(w + ih)", im.toExponential(15).replaceAll("-", "−")],
      ["Im f(w + ih) / h", fixed(17)(im / h)],
      ["by hand", fixed(17)(slope())],
    ];
    rows.forEach(([name, digits], k) => {
      pen.text(126, 262 + 16 * k, name, "small end");
      pen.text(136, 262 + 16 * k, digits, `mono start ${k < 2 ? "forward" : k < 3 ? "other" : ""}`);
    });
  });

  const log = figure.slider("h", { min: -30, max: 0, step: 0.1, value: -1, show: (k) => power(10 ** k) });
  figure.readout(() => {
    const h = 10 ** log.value;
    return [
      { words: `error of the complex step: ${power(error(complexStep(h)))}`, style: "other" },
      { words: `error of the central difference: ${power(error(central(h)))}`, style: "another" },
    ];
  });
});
