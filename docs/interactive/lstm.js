// Lesson 11: the cell state of one LSTM unit over 50 steps, and its gradient.

const { fixed, compact, sigmoid, range } = interactive;
const T = 50;

function forward([a_i, a_f, a_o, a_g], c_prev) {
  const [i, f, o, g] = [sigmoid(a_i), sigmoid(a_f), sigmoid(a_o), Math.tanh(a_g)];
  const c = f * c_prev + i * g;
  const tanh_c = Math.tanh(c);
  return { h: o * tanh_c, c, cache: { i, f, o, g, c_prev, tanh_c } };
}

function backward(dh, dc, { i, f, o, g, c_prev, tanh_c }) {
  const do_ = dh * tanh_c; // h = o tanh(c)
  dc = dc + dh * o * (1 - tanh_c * tanh_c);
  const [df, dc_prev] = [dc * c_prev, dc * f]; // c = f c_prev + i g
  const [di, dg] = [dc * g, dc * i];
  const da = [di * i * (1 - i), df * f * (1 - f), do_ * o * (1 - o), dg * (1 - g * g)];
  return { da, dc_prev };
}

// Write g = 1 in the first step. Afterwards, the input gate is σ(a_i), and g varies.
function run(a_f, a_i) {
  const [c, steps] = [[0], []];
  for (let t = 1; t <= T; t++) {
    steps.push(forward(t === 1 ? [9, a_f, 0, 9] : [a_i, a_f, 0, 3 * Math.sin(1.9 * t)], c.at(-1)));
    c.push(steps.at(-1).c);
  }
  const dc = [1]; // the gradient of c_50, from the last step to the first
  for (const { cache } of steps.reverse()) dc.push(backward(0, dc.at(-1), cache).dc_prev);
  return { c, dc: dc.reverse() };
}

interactive.show("lstm", { forward, backward, run }, (figure) => {
  figure.picture(360, 346, (pen) => {
    const { c, dc } = run(a_f.value, a_i.value);
    const x = { from: 0, to: T, ticks: [1, 10, 20, 30, 40, 50] };
    const y = { from: -1.5, to: 1.5, ticks: [-1, 0, 1], show: fixed(0) };
    const panels = [
      { top: 24, name: "c_t, the content", values: c, style: "state", y, label: "" },
      {
        top: 194,
        name: "dc_t, the gradient",
        values: dc,
        style: "backward",
        y: { ...y, from: 0, to: 1 },
        label: "step t",
      },
    ];
    for (const { top, name, values, style, y, label } of panels) {
      const [X, Y] = pen.axes([34, top, 350, top + 118], { ...x, label }, { ...y, label: name });
      const inside = pen.within([34, top - 4, 354, top + 118]);
      pen.segment(X(0), Y(0), X(T), Y(0), "faint");
      range(T, (k) => k + 1).forEach((t) => {
        inside.bar(X(t) - 2, Y(0), 4, Y(0) - Y(values[t]), style);
      });
    }
  });

  const gate = (name) => (a) => `${name} = ${fixed(2)(sigmoid(a))}`;
  const a_f = figure.slider("a_f", { min: -2, max: 7, step: 0.1, value: 1, show: gate("f") });
  const a_i = figure.slider("a_i", { min: -9, max: 3, step: 0.1, value: -4, show: gate("i") });
  figure.readout(() => {
    const { dc } = run(a_f.value, a_i.value);
    return [
      {
        words: `dc_1 = dc_50 · f⁴⁹ = ${fixed(6)(sigmoid(a_f.value))}⁴⁹ = ${compact(dc[1])}`,
        style: "backward",
      },
    ];
  });
});
