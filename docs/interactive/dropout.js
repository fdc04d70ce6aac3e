// Lesson 14: a dropout mask on ten units, forward and backward, and the mean over many masks.

const { fixed, uniform, range, sum } = interactive;
const H = 10;
const h = range(H, (k) => 0.9 * Math.sin(2.3 * k + 1));
const dy = range(H, (k) => 0.8 * Math.cos(1.7 * k));

const makeMask = (p, u) => u.map((u_k) => (u_k >= p ? 1 / (1 - p) : 0));
const forward = (h, mask) => h.map((h_k, k) => mask[k] * h_k);
const backward = (dy, mask) => dy.map((dy_k, k) => mask[k] * dy_k);

interactive.show("dropout", { makeMask, forward, backward }, (figure) => {
  const next = uniform(13);
  const draw = (n) => range(n, () => range(H, next));
  let draws = draw(1); // the random numbers of each mask

  figure.picture(360, 388, (pen) => {
    const masks = draws.map((u) => makeMask(p.value, u));
    const mask = masks.at(-1);
    const x = (k) => 30 + 33 * k;

    function bars(zero, name, values, style) {
      pen.text(2, zero - 32, name, `small start ${style}`);
      pen.segment(2, zero, 358, zero, "faint");
      values.forEach((value, k) => pen.bar(x(k) - 9, zero, 18, 17 * value, style));
    }

    function cells(y) {
      pen.text(2, y + 4, "×", "small start");
      mask.forEach((value, k) =>
        pen.node(x(k), y, value ? fixed(2)(value) : "0", value ? "small" : "small faint hollow", 31, 20),
      );
    }

    bars(46, "h", h, "forward");
    cells(84);
    bars(142, "y", forward(h, mask), "forward");
    bars(240, "dy", dy, "backward");
    cells(278);
    bars(336, "dh", backward(dy, mask), "backward");
    h.forEach((h_k, k) => {
      const mean = sum(masks.map((mask) => forward([h_k], [mask[k]])[0])) / masks.length;
      pen.dot(x(k), 46 - 17 * mean, "", 3.5);
    });
  });

  const p = figure.slider("p", { min: 0, max: 0.6, step: 0.05, value: 0.3 });
  figure.buttons({
    "New mask": () => draws.push(...draw(1)),
    "1000 masks": () => draws.push(...draw(1000)),
    Reset: () => (draws = draw(1)),
  });
  figure.readout(() => [`● mean of y over ${draws.length} ${draws.length === 1 ? "mask" : "masks"}`]);
});
