// Lesson 7: one step of a single unit, forward and backward.

const { fixed } = interactive;
const [W_h, W_x, bias] = [0.8, 1.5, 0.1];

function forward(h_prev, x) {
  const a = W_h * h_prev + W_x * x + bias;
  const h = Math.tanh(a);
  return { a, h };
}

function backward(h_prev, x, dh) {
  const { h } = forward(h_prev, x);
  const da = dh * (1 - h * h); // h = tanh(a)
  const dh_prev = W_h * da; // a = W_h h_prev + W_x x + bias
  const dx = W_x * da;
  const dW = [da * h_prev, da * x, da];
  return { da, dh_prev, dx, dW };
}

interactive.show("rnn_step", { forward, backward }, (figure) => {
  const show = fixed(2);
  const step = () => ({
    ...forward(h_prev.value, x.value),
    ...backward(h_prev.value, x.value, dh.value),
  });

  figure.picture(360, 232, (pen) => {
    const { a, h, da, dh_prev, dx } = step();
    const nodes = [
      { at: [40, 50], name: "h_prev", value: h_prev.value, gradient: dh_prev },
      { at: [186, 50], name: "a", value: a, gradient: da },
      { at: [322, 50], name: "h", value: h, gradient: dh.value },
      { at: [186, 180], name: "x", value: x.value, gradient: dx },
    ];
    for (const {
      at: [x, y],
      name,
      value,
      gradient,
    } of nodes) {
      pen.text(x, y - 29, name);
      pen.node(x, y - 12, show(value), name.startsWith("h") ? "state" : "forward", 56, 22);
      pen.node(x, y + 12, show(gradient), "backward", 56, 22);
      pen.text(x, y + 38, `d${name}`);
    }
    pen.arrow(71, 38, 155, 38, "state");
    pen.text(113, 30, `× ${W_h}`, "small forward");
    pen.arrow(155, 62, 71, 62, "backward");
    pen.text(113, 78, `× ${W_h}`, "small backward");
    pen.arrow(217, 38, 291, 38, "forward");
    pen.text(254, 30, "tanh", "small forward");
    pen.arrow(291, 62, 217, 62, "backward");
    pen.text(254, 78, `× ${show(1 - h * h)}`, "small backward");
    pen.text(254, 92, "1 − h²", "small backward");
    pen.arrow(166, 154, 166, 76, "forward");
    pen.text(160, 122, `× ${W_x}`, "small forward end");
    pen.arrow(206, 76, 206, 154, "backward");
    pen.text(212, 122, `× ${W_x}`, "small backward start");
  });

  const h_prev = figure.slider("h_prev", { min: -1, max: 1, step: 0.05, value: 0.6 });
  const x = figure.slider("x", { min: -3, max: 3, step: 0.1, value: 0.4 });
  const dh = figure.slider("dh", { min: -1, max: 1, step: 0.05, value: 0.5 });
  figure.readout(() => {
    const { dW } = step();
    return [{ words: `dW = da · [h_prev, x, 1] = [${dW.map(show).join(", ")}]`, style: "backward" }];
  });
});
