// Lesson 10: the gradient over 50 steps of an RNN with 16 units, and clipping on a loss surface.

const { fixed, exponent, compact, uniform, range, sum, clamp } = interactive;
const [H, T, limit, eta] = [16, 51, 1, 0.3];
const next = uniform(10);
// Approximately normal random numbers: the sum of twelve uniform ones has a variance of 1.
const normal = () => sum(range(12, next)) - 6;
const Z = range(H, () => range(H, normal));
const inputs = range(T, () => range(H, normal)); // W_x is the identity matrix
const dh_last = range(H, normal); // the loss is at the last step only

const norm = (g) => Math.sqrt(sum(g.map((value) => value * value)));
const clipNorm = (g) => g.map((value) => value * Math.min(1, limit / norm(g)));
const clipElements = (g) => g.map((value) => clamp(value, -limit, limit));

// Return the norm of dx at 0 … T-1 steps back. W_h multiplies a vector's norm by about `recurrent`.
function gradients(recurrent) {
  const W_h = Z.map((row) => row.map((value) => (value * recurrent) / Math.sqrt(H)));
  const h = [Array(H).fill(0)];
  for (const x of inputs)
    h.push(W_h.map((row, j) => Math.tanh(sum(row.map((w, k) => w * h.at(-1)[k])) + x[j])));
  let dh = dh_last;
  return range(T, (n) => {
    const da = dh.map((value, j) => value * (1 - h[T - n][j] ** 2)); // dx = da, as W_x is the identity
    dh = range(H, (k) => sum(da.map((value, j) => W_h[j][k] * value)));
    return norm(da);
  });
}

const clips = [(g) => g, clipNorm, clipElements];

// Run h_t = tanh(w h_{t−1} + b) for 20 steps. Return the loss (h_20 + 0.5)² and its gradient (dw, db).
function surface([w, b]) {
  const h = [0.5];
  for (let t = 1; t <= 20; t += 1) h.push(Math.tanh(w * h[t - 1] + b));
  const difference = h[20] + 0.5;
  let [dh, dw, db] = [2 * difference, 0, 0];
  for (let t = 20; t >= 1; t -= 1) {
    const da = dh * (1 - h[t] ** 2);
    dw += da * h[t - 1];
    db += da;
    dh = w * da;
  }
  return { loss: difference ** 2, g: [dw, db] };
}

// Return the point after a step of gradient descent.
function step(point, clip) {
  const g = clips[clip](surface(point).g);
  return point.map((value, k) => value - eta * g[k]);
}

const cells = range(72).flatMap((k) => range(40, (j) => [0.05 * k, 0.05 * j - 1.2])); // lower left corners
const losses = cells.map(([w, b]) => surface([w + 0.025, b + 0.025]).loss);

interactive.show(
  "vanishing_and_exploding",
  { Z, inputs, dh_last, gradients, surface, step },
  (figure) => {
    figure.picture(360, 220, (pen) => {
      const norms = gradients(recurrent.value);
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

    figure.picture(360, 230, (pen) => {
      const frame = [44, 24, 350, 194];
      const [X, Y] = pen.axes(
        frame,
        { from: 0, to: 3.6, ticks: [0, 1, 2, 3], label: "w" },
        { from: -1.2, to: 0.8, ticks: [-1, 0], label: "b", show: fixed(0) },
      );
      const size = X(0.05) - X(0); // both axes have the same scale
      cells.forEach(([w, b], n) => pen.cell(X(w), Y(b) - size, size, losses[n] / 4));

      const point = [w.value, b.value];
      const [x, y] = [X(point[0]), Y(point[1])];
      const reach = X(eta * limit) - X(0);
      const inside = pen.within(frame);
      if (choice.value === 1) inside.dot(x, y, "ring", reach);
      if (choice.value === 2) inside.box(x - reach, y - reach, 2 * reach, 2 * reach, "hollow");
      const [w_next, b_next] = step(point, choice.value);
      inside.arrow(x, y, X(w_next), Y(b_next), "backward thick");
      inside.dot(x, y, "backward");
    });

    const recurrent = figure.slider("scale of W_h", { min: 0.2, max: 5, step: 0.05, value: 1 });
    const w = figure.slider("w", { min: 0, max: 3.6, step: 0.01, value: 1.7 });
    const b = figure.slider("b", { min: -1.2, max: 0.8, step: 0.01, value: -0.3 });
    const choice = figure.choice(`clip g = (dw, db) to ${limit}`, ["no", "by norm", "by element"]);
    figure.readout(() => {
      const norms = gradients(recurrent.value);
      const pair = (values) => `(${values.map(compact).join(", ")})`;
      const describe = ({ loss, g }) => `loss = ${fixed(2)(loss)}, g = ${pair(g)}`;
      const point = [w.value, b.value];
      const next = step(point, choice.value);
      return [
        `50 steps back, ‖dx‖ is ${compact(norms[50] / norms[0])} times as large.`,
        `before: ${describe(surface(point))}`,
        `step to (w, b) = ${pair(next)}`,
        `after: ${describe(surface(next))}`,
      ];
    });
  },
);
