// Lesson 16: gradient descent and RMSprop in a ravine, loss = ½ (100 θ₁² + θ₂²).

const { fixed, exponent, compact, range } = interactive;
const slopes = [100, 1];
const start = [1, 1];

const lossAt = (theta) => (slopes[0] * theta[0] ** 2 + slopes[1] * theta[1] ** 2) / 2;
const gradient = (theta) => theta.map((value, j) => slopes[j] * value);

function descent(steps, eta) {
  const path = [start];
  for (let k = 0; k < steps; k++) {
    const [theta, g] = [path[k], gradient(path[k])];
    path.push(theta.map((value, j) => value - eta * g[j]));
  }
  return path;
}

function rmsprop(steps, eta, alpha = 0.95, epsilon = 1e-8) {
  const path = [start];
  let m = [0, 0];
  for (let k = 0; k < steps; k++) {
    const [theta, g] = [path[k], gradient(path[k])];
    m = m.map((m_j, j) => alpha * m_j + (1 - alpha) * g[j] ** 2);
    path.push(theta.map((value, j) => value - (eta * g[j]) / (Math.sqrt(m[j]) + epsilon)));
  }
  return path;
}

interactive.show("rmsprop", { lossAt, gradient, descent, rmsprop }, (figure) => {
  const highest = 1e9;
  const paths = () => {
    const [n, eta] = [steps.value, 10 ** log.value];
    return [
      { name: "gradient descent", path: descent(n, eta), style: "another" },
      { name: "RMSprop", path: rmsprop(n, eta), style: "other" },
    ].map(({ path, ...rest }) => ({ ...rest, path: path.filter((theta) => lossAt(theta) < highest), n }));
  };

  figure.picture(360, 250, (pen) => {
    const frame = [34, 24, 350, 214];
    const inside = pen.within(frame);
    const [X, Y] = pen.axes(
      frame,
      { from: -1.2, to: 1.2, ticks: [-1, 0, 1], label: "θ_2, the flat direction", show: fixed(0) },
      { from: -1.2, to: 1.2, ticks: [-1, 0, 1], label: "θ_1, the steep direction", show: fixed(0) },
    );
    for (const loss of [0.02, 0.2, 1, 4, 12, 30, 60]) {
      const [a, b] = slopes.map((slope) => Math.sqrt((2 * loss) / slope));
      inside.line(
        range(73, (k) => [X(b * Math.cos((k * Math.PI) / 36)), Y(a * Math.sin((k * Math.PI) / 36))]),
        "faint thin",
      );
    }
    for (const { path, style } of paths()) {
      const points = path.map(([t1, t2]) => [X(t2), Y(t1)]);
      inside.line(points, style);
      for (const [x, y] of points) inside.dot(x, y, style, 2.5);
    }
  });

  figure.picture(360, 190, (pen) => {
    const frame = [44, 24, 350, 154];
    const [X, Y] = pen.axes(
      frame,
      { from: 0, to: 500, ticks: [0, 100, 200, 300, 400, 500], label: "steps" },
      { from: -12, to: 4, ticks: [-12, -8, -4, 0, 4], label: "loss", show: exponent },
    );
    const inside = pen.within(frame);
    for (const { path, style } of paths())
      inside.line(
        path.map((theta, k) => [X(k), Y(Math.log10(lossAt(theta)))]),
        style,
      );
  });

  const log = figure.slider("η", {
    min: -3,
    max: -1,
    step: 0.02,
    value: -1.72,
    show: (k) => fixed(4)(10 ** k),
  });
  const steps = figure.slider("steps", { min: 1, max: 500, step: 1, value: 100, show: String });
  figure.readout(() =>
    paths().map(({ name, path, style, n }) => ({
      words: `${name}: ${path.length > n ? `loss ${compact(lossAt(path.at(-1)))}` : "diverged"}`,
      style,
    })),
  );
});
