// Lesson 3: the slope of tanh and of the sigmoid, computed from the function's value.

const { fixed, sigmoid, range } = interactive;

const tanh = (a) => Math.tanh(a);
const slopeOfTanh = (y) => 1 - y * y;
const slopeOfSigmoid = (s) => s * (1 - s);

interactive.show("tanh_and_sigmoid", { tanh, sigmoid, slopeOfTanh, slopeOfSigmoid }, (figure) => {
  const show = fixed(3);
  const functions = [
    { name: "y", f: tanh, slope: slopeOfTanh, formula: "(1 − y²)", low: -1 },
    { name: "s", f: sigmoid, slope: slopeOfSigmoid, formula: "s (1 − s)", low: 0 },
  ];

  figure.picture(360, 258, (pen) => {
    const { name, f, slope, formula, low } = functions[choice.value];
    const [value, local] = [f(a.value), slope(f(a.value))];
    const [X, Y] = pen.axes(
      [34, 24, 350, 222],
      { from: -6, to: 6, ticks: [-6, -4, -2, 0, 2, 4, 6], label: "a", show: fixed(0) },
      { from: -1.1, to: 1.1, ticks: [-1, -0.5, 0, 0.5, 1], label: "", show: fixed(1) },
    );
    pen.segment(X(-6), Y(0), X(6), Y(0), "faint");
    const over = (g) => range(121, (k) => [X(k / 10 - 6), Y(g(k / 10 - 6))]);
    const slopes = over((a) => slope(f(a)));
    pen.area([[X(-6), Y(0)], ...slopes, [X(6), Y(0)]], "backward");
    pen.line(slopes, "backward");
    pen.segment(X(-6), Y(low), X(6), Y(low), "faint dotted");
    pen.segment(X(-6), Y(1), X(6), Y(1), "faint dotted");
    pen.line(over(f), "forward");
    const reach = 1.6 / Math.hypot(1, 3.4 * local); // the line has the same length for every slope
    const along = (step) => [X(a.value + step), Y(value + local * step)];
    pen.line([along(-reach), along(reach)], "thick");
    pen.dot(X(a.value), Y(value), "forward");
    pen.dot(X(a.value), Y(local), "backward");
    pen.text(X(5.9), Y(f(4)) + 20, name, "forward end");
    pen.text(X(2.4), Y(slope(f(1.4))) - 4, formula, "backward start");
  });

  const a = figure.slider("a", { min: -6, max: 6, step: 0.05, value: 0.5 });
  const choice = figure.choice("function", ["tanh", "sigmoid σ"]);
  figure.readout(() => {
    const { name, f, slope, formula } = functions[choice.value];
    const value = f(a.value);
    return [
      { words: `${name} = ${show(value)}`, style: "forward" },
      { words: `da = d${name} · ${formula} = d${name} · ${show(slope(value))}`, style: "backward" },
    ];
  });
});
