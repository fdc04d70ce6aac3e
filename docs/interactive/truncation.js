// Lesson 9: the terms of dw_h that truncation keeps, for a single unit over twelve steps.

const { fixed, range, sum } = interactive;
const N = 12;
const x = range(N, (k) => 0.3 + 0.2 * Math.cos(k)); // x_1 … x_N
const dh_above = range(N, (k) => 0.7 + 0.3 * Math.cos(2 * k));
const [w_x, h_0] = [0.5, 0.3];

function states(w_h) {
  const h = [h_0];
  for (const x_t of x) h.push(Math.tanh(w_h * h.at(-1) + w_x * x_t));
  return h;
}

// Return the gradient of the loss at step t with respect to the use of w_h at step s, for all s ≤ t.
function paths(w_h) {
  const h = states(w_h);
  return range(N, (k) => k + 1).map((t) => {
    const terms = [];
    let da = dh_above[t - 1] * (1 - h[t] ** 2);
    for (let s = t; s > 0; s--) {
      terms[s - 1] = da * h[s - 1];
      da *= w_h * (1 - h[s - 1] ** 2);
    }
    return terms;
  });
}

const sameChunk = (t, s, T) => Math.floor((t - 1) / T) === Math.floor((s - 1) / T);

// Return the sum of all terms, and the sum and number of terms within a chunk of T steps.
function gradients(w_h, T) {
  const terms = paths(w_h);
  const kept = terms.map((row, k) => row.filter((_, j) => sameChunk(k + 1, j + 1, T)));
  return { full: sum(terms.flat()), kept: sum(kept.flat()), n: kept.flat().length };
}

interactive.show("truncation", { x, dh_above, gradients }, (figure) => {
  const size = 24;
  const [left, top] = [54, 10];

  figure.picture(360, 336, (pen) => {
    const terms = paths(w_h.value);
    const largest = Math.max(...terms.flat());
    terms.forEach((row, k) =>
      row.forEach((term, j) => {
        const [cx, cy] = [left + size * (j + 0.5), top + size * (k + 0.5)];
        const style = sameChunk(k + 1, j + 1, T.value) ? "backward" : "faint";
        pen.box(cx - size / 2 + 1, cy - size / 2 + 1, size - 2, size - 2, `hollow ${style}`);
        pen.dot(cx, cy, style, (size / 2 - 2) * Math.sqrt(term / largest));
      }),
    );
    range(N, (k) => k + 1).forEach((n) => {
      pen.text(left - 8, top + size * (n - 0.5) + 4, `L_{${n}}`, "small end");
      pen.text(left + size * (n - 0.5), top + size * N + 15, String(n), "small");
      if ((n - 1) % T.value === 0 && n > 1) {
        const edge = left + size * (n - 1);
        pen.segment(edge, top + size * (n - 1), edge, top + size * N, "thick");
        pen.segment(left, top + size * (n - 1), edge, top + size * (n - 1), "dotted");
      }
    });
    pen.text(left + (size * N) / 2, top + size * N + 32, "step s that uses w_h", "small");
    pen.text(350, 26, "● kept", "backward end");
    pen.text(350, 44, "● dropped", "faint end");
  });

  const T = figure.slider("T", { min: 1, max: N, step: 1, value: 4, show: String });
  const w_h = figure.slider("w_h", { min: 0.1, max: 1.5, step: 0.05, value: 0.9 });
  figure.readout(() => {
    const { full, kept, n } = gradients(w_h.value, T.value);
    return [
      { words: `kept: ${n} of ${(N * (N + 1)) / 2} terms, dw_h = ${fixed(3)(kept)}`, style: "backward" },
      `all terms: dw_h = ${fixed(3)(full)}, of which ${fixed(0)((100 * kept) / full)}% is kept`,
    ];
  });
});
