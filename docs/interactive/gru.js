// Lesson 12: one step of a GRU unit with the reset gate applied after the matrix product.

const { fixed, sigmoid } = interactive;
const [U_h, a_n] = [1.5, -1]; // of the candidate; the gates do not read h_prev

function forward([u_r, u_z, u_n], [a_r, a_z, a_n], h_prev) {
  const [r, z] = [sigmoid(a_r + u_r), sigmoid(a_z + u_z)];
  const n = Math.tanh(a_n + r * u_n);
  const h = (1 - z) * n + z * h_prev;
  return { h, cache: { r, z, n, u_n, h_prev } };
}

function backward(dh, { r, z, n, u_n, h_prev }) {
  const [dn, dz, dh_prev] = [dh * (1 - z), dh * (h_prev - n), dh * z]; // h = (1 - z) n + z h_prev
  const da_n = dn * (1 - n * n); // n = tanh(a_n + r u_n)
  const [dr, du_n] = [da_n * u_n, da_n * r];
  const [da_r, da_z] = [dr * r * (1 - r), dz * z * (1 - z)];
  return { du: [da_r, da_z, du_n], da: [da_r, da_z, da_n], dh_prev, dn, dz };
}

interactive.show("gru", { forward, backward, U_h, a_n }, (figure) => {
  const show = fixed(2);
  const step = () => {
    const { h, cache } = forward([0, 0, U_h * h_prev.value], [a_r.value, a_z.value, a_n], h_prev.value);
    return { h, ...cache, gradients: backward(1, cache) };
  };

  figure.picture(360, 236, (pen) => {
    const { h, z, n, gradients } = step();
    const X = (value) => 180 + 150 * value;
    pen.segment(X(-1), 60, X(1), 60, "faint");
    for (const value of [-1, 0, 1]) {
      pen.segment(X(value), 56, X(value), 64, "faint");
      if (value) pen.text(X(value) + 14 * value, 64, fixed(0)(value), "small faint");
    }
    pen.segment(X(n), 60, X(h), 60, "forward thick");
    pen.dot(X(n), 60, "forward");
    pen.dot(X(h_prev.value), 60, "state");
    pen.dot(X(h), 60, "state", 7);
    pen.text(X(n), 45, `n ${show(n)}`, "small forward");
    pen.text(X(h_prev.value), 28, `h_prev ${show(h_prev.value)}`, "small state");
    pen.text(X(h), 86, `h ${show(h)}`, "strong state");

    const [left, width] = [20, 320];
    const split = left + width * z;
    pen.text(left, 142, "dh = 1 is split in the same proportion:", "small start");
    pen.bar(left, 186, width * z, 34, "backward");
    pen.box(split, 152, width * gradients.dn, 34, "backward hollow");
    pen.bar(split, 186, width * gradients.da[2], 34, "backward");
    pen.text(left, 206, `dh ∘ z = ${show(gradients.dh_prev)}, to h_prev`, "small start backward");
    pen.text(left + width, 206, `dn = ${show(gradients.dn)}`, "small end");
    pen.text(left + width, 222, `of which da_n = ${show(gradients.da[2])}`, "small end backward");
  });

  const gate = (name) => (a) => `${name} = ${show(sigmoid(a))}`;
  const a_z = figure.slider("a_z", { min: -6, max: 6, step: 0.1, value: 1, show: gate("z") });
  const a_r = figure.slider("a_r", { min: -6, max: 6, step: 0.1, value: 2, show: gate("r") });
  const h_prev = figure.slider("h_prev", { min: -1, max: 1, step: 0.02, value: 0.8 });
  figure.readout(() => {
    const { gradients } = step();
    const terms = [gradients.dh_prev, U_h * gradients.du[2]];
    return [
      `dh_prev = dh ∘ z + ${U_h} du_n = ${terms.map(fixed(3)).join(" + ")} = ${fixed(3)(terms[0] + terms[1])}`,
      `dz = dh ∘ (h_prev − n) = ${show(gradients.dz)}`,
    ].map((words) => ({ words, style: "backward" }));
  });
});
