// Lesson 6: each element of a, dW and dx as the product of a row and a column.

const { fixed, range, sum } = interactive;
const W = [
  [0.5, -1, 2, 0.1],
  [1, 0.3, -0.6, 0.2],
  [-0.4, 0.8, 0.7, -0.3],
]; // (G, K+1), with the bias last
const s = [
  [0.9, -0.5],
  [0.2, 1.1],
  [-0.7, 0.4],
  [1, 1],
]; // [x; 1], (K+1, B)
const da = [
  [0.3, -0.2],
  [-0.8, 0.5],
  [0.6, 0.1],
]; // (G, B)

const transpose = (A) => A[0].map((_, k) => A.map((row) => row[k]));
const product = (A, B) =>
  A.map((row) => transpose(B).map((column) => sum(row.map((value, k) => value * column[k]))));

const forward = (W, s) => product(W, s);
const dWeights = (da, s) => product(da, transpose(s));
const withoutBias = (W) => W.map((row) => row.slice(0, -1));
const dInputs = (W, da) => product(transpose(withoutBias(W)), da);

interactive.show("linear_layer", { forward, dWeights, dInputs }, (figure) => {
  const show = fixed(2);
  const short = (value) => show(value).replace(/\.?0+$/, "") || "0";
  const equations = [
    { names: ["dW", "da", "sᵀ"], left: da, right: transpose(s), result: dWeights(da, s), style: "backward" },
    {
      names: ["dx", "W_xᵀ", "da"],
      left: transpose(withoutBias(W)),
      right: da,
      result: dInputs(W, da),
      style: "backward",
    },
    { names: ["a", "W", "s"], left: W, right: s, result: forward(W, s), style: "forward" },
  ];
  const chosen = () => {
    const { left, right, ...rest } = equations[choice.value];
    const [j, k] = [Math.min(row.value, left.length) - 1, Math.min(column.value, right[0].length) - 1];
    return { left, right, ...rest, j, k, terms: left[j].map((value, i) => [value, right[i][k]]) };
  };

  figure.picture(360, 170, (pen) => {
    const { names, left, right, result, style, j, k } = chosen();
    const sizes = [36, 28, 28]; // elements of the result have more digits
    const widths = [result, left, right].map((A, n) => sizes[n] * A[0].length);
    let x = (360 - sum(widths) - 44) / 2;
    [result, left, right].forEach((A, n) => {
      const [size, width, height] = [sizes[n], widths[n], 28 * A.length];
      const y = 90 - height / 2;
      pen.text(x + width / 2, 16, names[n], "strong");
      for (const [edge, turn] of [
        [x - 2, 5],
        [x + width + 2, -5],
      ]) {
        pen.segment(edge, y, edge, y + height);
        for (const end of [y, y + height]) pen.segment(edge, end, edge + turn, end);
      }
      A.forEach((values, r) =>
        values.forEach((value, c) => {
          const marked = [r === j && c === k, r === j, c === k][n];
          const cell = pen.box(x + size * c + 1, y + 28 * r + 1, size - 2, 26, marked ? style : "clear");
          pen.text(
            x + size * (c + 0.5),
            y + 28 * (r + 0.5) + 4,
            short(value),
            `small ${marked ? style : "faint"}`,
          );
          if (n === 0) figure.onClick(cell, () => ([row.value, column.value] = [r + 1, c + 1]));
        }),
      );
      x += width + 22;
      if (n < 2) pen.text(x - 11, 94, ["=", "@"][n]);
    });
  });

  const choice = figure.choice("product", ["dW = da @ sᵀ", "dx = Wₓᵀ @ da", "a = W @ s"]);
  const row = figure.slider("row", { min: 1, max: 3, step: 1, value: 2, show: String });
  const column = figure.slider("column", { min: 1, max: 4, step: 1, value: 1, show: () => String(chosen().k + 1) });
  figure.readout(() => {
    const { names, result, style, j, k, terms } = chosen();
    const factor = (value) => (value < 0 ? `(${short(value)})` : short(value));
    const written = terms.map((term) => term.map(factor).join(" · ")).join(" + ");
    return [[{ words: `${names[0]}_{${j + 1}${k + 1}} = `, style }, `${written} = ${show(result[j][k])}`]];
  });
});
