// Lesson 10: the gradient over 50 steps of an RNN with 16 units, and clipping.

const { exponent, compact, uniform, range, sum, clamp } = interactive;
const [H, T, limit] = [16, 51, 1];
const next = uniform(10);
// Approximately normal random numbers: the sum of twelve uniform ones has a variance of 1.
const normal = () => sum(range(12, next)) - 6;
const Z = range(H, () => range(H, normal));
const inputs = range(T, () => range(H, normal)); // W_x is the identity matrix
const dh_last = range(H, normal); // the loss is at the last step only

const norm = (g) => Math.sqrt(sum(g.map((value) => value * value)));
const clipNorm = (g, limit) => g.map((value) => value * Math.min(1, limit / norm(g)));
const clipElements = (g, limit) => g.map((value) => clamp(value, -limit, limit));

// Return the norm of dx at 0 … T-1 steps back, and dW_h, row by row. W_h multiplies a vector's norm by about
// `recurrent`.
function gradients(recurrent) {
  const W_h = Z.map((row) => row.map((value) => (value * recurrent) / Math.sqrt(H)));
  const h = [Array(H).fill(0)];
  for (const x of inputs)
    h.push(W_h.map((row, j) => Math.tanh(sum(row.map((w, k) => w * h.at(-1)[k])) + x[j])));
  const dW_h = Array(H * H).fill(0);
  let dh = dh_last;
  const norms = range(T, (n) => {
    const [now, before] = [h[T - n], h[T - n - 1]];
    const da = dh.map((value, j) => value * (1 - now[j] ** 2)); // and dx = da
    dh = range(H, (k) => sum(da.map((value, j) => W_h[j][k] * value)));
    da.forEach((value, j) => before.forEach((h_k, k) => (dW_h[j * H + k] += value * h_k)));
    return norm(da);
  });
  return { norms, dW_h };
}

interactive.show(
  "vanishing_and_exploding",
  { Z, inputs, dh_last, gradients, clipNorm, clipElements },
  (figure) => {
    const clips = [(g) => g, (g) => clipNorm(g, limit), (g) => clipElements(g, limit)];

    figure.picture(360, 220, (pen) => {
      const { norms } = gradients(recurrent.value);
      const [X, Y] = pen.axes(
        [44, 24, 350, 184],
        { from: 0, to: 50, ticks: [0, 10, 20, 30, 40, 50], label: "steps back" },
        {
          from: -24,
          to: 12,
          ticks: [-24, -12, 0, 12],
          label: "‖dx‖, relative to 0 steps back",
          show: exponent,
        },
      );
      pen.segment(X(0), Y(0), X(50), Y(0), "faint dotted");
      const heights = norms.map((value) => Math.log10(value / norms[0])).filter((height) => height > -24);
      pen.line(
        heights.map((height, n) => [X(n), Y(height)]),
        "backward thick",
      );
    });

    figure.picture(360, 176, (pen) => {
      const { dW_h } = gradients(recurrent.value);
      const g = [dW_h[2], dW_h[5]];
      const clipped = clips[choice.value](g);
      const [cx, cy, half, unit] = [94, 88, 80, 42];
      pen.box(cx - half, cy - half, 2 * half, 2 * half, "faint hollow");
      if (choice.value === 1) pen.dot(cx, cy, "ring", unit * limit);
      if (choice.value === 2) pen.box(cx - unit, cy - unit, 2 * unit * limit, 2 * unit * limit, "hollow");

      function draw([g1, g2], style) {
        const scale = Math.min(unit, half / Math.max(Math.abs(g1), Math.abs(g2))); // a long arrow is cut off
        pen.arrow(cx, cy, cx + scale * g1, cy - scale * g2, style);
      }

      draw(g, "faint");
      draw(clipped, "backward thick");
      pen.text(192, 50, "g, two elements of dW_h:", "start");
      pen.text(192, 74, `(${g.map(compact).join(", ")})`, "start faint");
      pen.text(192, 98, "after clipping:", "start");
      pen.text(192, 122, `(${clipped.map(compact).join(", ")})`, "start backward");
    });

    const recurrent = figure.slider("scale of W_h", { min: 0.2, max: 5, step: 0.05, value: 1 });
    const choice = figure.choice(`clip g to ${limit}`, ["no", "by norm", "by element"]);
    figure.readout(() => {
      const { norms } = gradients(recurrent.value);
      return [`50 steps back, ‖dx‖ is ${compact(norms[50] / norms[0])} times as large.`];
    });
  },
);
