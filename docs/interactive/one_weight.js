// Lesson 1: forward values and backward gradients of one weight, and its loss curve.

const { fixed, range } = interactive;
const x = 1.2;
const target = 0.6;
const eta = 0.5;

function forward(w) {
  const a = w * x;
  const y = Math.tanh(a);
  const loss = (y - target) ** 2;
  return { a, y, loss };
}

function backward(w) {
  const { y } = forward(w);
  const dy = 2 * (y - target); // loss = (y - target)²
  const da = dy * (1 - y * y); // y = tanh(a)
  const dw = da * x; // a = w x
  return { dy, da, dw };
}

interactive.show("one_weight", { forward, backward }, (figure) => {
  const show = fixed(4);
  let w = 0.4; // the slider rounds it

  figure.picture(360, 332, (pen) => {
    const { a, y, loss } = forward(w);
    const { dy, da, dw } = backward(w);
    const columns = [
      { at: 30, name: "w", value: w, gradient: dw, line: "× x", local: "x", slope: x },
      { at: 122, name: "a", value: a, gradient: da, line: "tanh", local: "1 − y²", slope: 1 - y * y },
      {
        at: 214,
        name: "y",
        value: y,
        gradient: dy,
        line: "(y − target)²",
        local: "2 (y − target)",
        slope: dy,
      },
      { at: 329, name: "loss", value: loss, gradient: 1 },
    ];
    columns.forEach(({ at, name, value, gradient, line, local, slope }, k) => {
      pen.text(at, 17, name);
      pen.node(at, 36, show(value), "forward", 58);
      pen.node(at, 88, show(gradient), "backward", 58);
      pen.text(at, 114, `d${name}`);
      if (!line) return;
      const [from, to] = [at + 31, columns[k + 1].at - 31];
      pen.text((from + to) / 2, 17, line, "small forward");
      pen.arrow(from, 36, to, 36, "forward");
      pen.arrow(to, 88, from, 88, "backward");
      pen.text((from + to) / 2, 66, `× ${show(slope)}`, "small backward");
      pen.text((from + to) / 2, 130, local, "small backward");
    });

    const frame = [34, 174, 350, 296];
    const [X, Y] = pen.axes(
      frame,
      { from: -2, to: 2, ticks: [-2, -1, 0, 1, 2], label: "w", show: fixed(0) },
      { from: 0, to: 2.6, ticks: [0, 1, 2], label: "loss" },
    );
    pen.line(
      range(101, (k) => [X(k / 25 - 2), Y(forward(k / 25 - 2).loss)]),
      "forward",
    );
    const reach = Math.min(0.6, 0.7 / Math.abs(dw));
    const along = (step) => [X(w + step), Y(loss + dw * step)];
    pen.within(frame).line([along(-reach), along(reach)], "backward thick");
    pen.dot(X(w), Y(loss), "backward");
  });

  const slider = figure.slider("w", { min: -2, max: 2, step: 0.001, value: w, show: () => show(w) });
  slider.element.addEventListener("input", () => (w = slider.value));
  const step = () => (slider.value = w -= eta * backward(w).dw);
  figure.buttons({ [`Take a step: w ← w − ${eta} dw`]: step });
  figure.readout(() => {
    const { dw } = backward(w);
    return [`dw = da · x = ${show(dw / x)} · ${x} = ${show(dw)}, the slope of the loss at w.`];
  });
});
