// Lesson 8: backpropagation through time over three steps, with the numbers of the worked example.

const { fixed, range } = interactive;
const [w_h, w_x, h_0] = [0.8, 0.5, 0.3];
const x = [0.9, -0.4, 0.7]; // x_1 … x_T
const dh_above = [0.7, -0.2, 1]; // dL_t/dh_t
const T = x.length;

function forward() {
  const h = [h_0];
  for (const x_t of x) h.push(Math.tanh(w_h * h.at(-1) + w_x * x_t));
  return h;
}

function backward(h) {
  const [dh, da] = [Array(T + 2).fill(0), Array(T + 2).fill(0)]; // da_{T+1} is 0
  const [dw_h, dw_x] = [Array(T + 2).fill(0), Array(T + 2).fill(0)]; // the sums over steps t … T
  for (let t = T; t > 0; t--) {
    dh[t] = dh_above[t - 1] + w_h * da[t + 1];
    da[t] = dh[t] * (1 - h[t] ** 2);
    dw_h[t] = dw_h[t + 1] + da[t] * h[t - 1];
    dw_x[t] = dw_x[t + 1] + da[t] * x[t - 1];
  }
  return { dh, da, dw_h, dw_x };
}

interactive.show("through_time", { forward, backward }, (figure) => {
  const [given, show] = [fixed(1), fixed(4)];
  const h = forward();
  const { dh, da, dw_h, dw_x } = backward(h);
  const at = (t) => 32 + 98 * t;

  figure.picture(360, 300, (pen) => {
    const n = step.value;
    const now = n > T ? 2 * T + 1 - n : n; // the step shown in bold
    range(T, (k) => k + 1).forEach((t) => {
      const [read, passed] = [n >= t, n >= 2 * T + 1 - t];
      const bold = t === now ? "thick" : "";
      pen.text(at(t), 136, `x_${t}`, "small");
      pen.text(at(t), 120, given(x[t - 1]));
      if (read) {
        pen.arrow(at(t), 106, at(t), 76, "forward");
        pen.text(at(t) + 5, 95, "× w_x", "small forward start");
        pen.arrow(at(t - 1) + 31, 62, at(t) - 30, 62, "state");
        pen.text((at(t - 1) + at(t)) / 2, 48, "× w_h", "small state");
        pen.node(at(t), 62, show(h[t]), `state ${n === t ? "strong" : ""}`, 58, 24);
      } else pen.node(at(t), 62, "", "faint hollow", 58, 24);
      pen.text(at(t), 44, `h_${t}`, "small");
      pen.text(at(t), 176, given(dh_above[t - 1]), passed ? "backward" : "faint");
      if (passed) {
        pen.arrow(at(t), 181, at(t), 201, "backward");
        pen.node(at(t), 214, show(dh[t]), `backward ${t === now ? "strong" : ""}`, 58, 24);
        pen.arrow(at(t), 227, at(t), 253, "backward");
        pen.node(at(t), 266, show(da[t]), `backward ${t === now ? "strong" : ""}`, 58, 24);
        if (t < T) {
          pen.arrow(at(t + 1) - 28, 253, at(t) + 29, 226, "backward");
          pen.text((at(t) + at(t + 1)) / 2 + 2, 234, "× w_h", "small backward start");
        }
      } else for (const y of [214, 266]) pen.node(at(t), y, "", "faint hollow", 58, 24);
    });
    pen.text(at(0), 44, "h_0", "small");
    pen.node(at(0), 62, given(h_0), "state", 58, 24);
    pen.text(6, 176, "dL_t/dh_t", "small start");
    pen.text(6, 218, "dh_t", "small start");
    pen.text(6, 270, "da_t", "small start");
    pen.text(6, 16, "forward →", "forward start");
    pen.text(354, 16, `w_h = ${given(w_h)}, w_x = ${given(w_x)}`, "end");
    pen.text(354, 296, "← backward", "backward end");
  });

  const step = figure.slider("step", {
    min: 0,
    max: 2 * T,
    step: 1,
    value: 0,
    show: (n) => `${n} of ${2 * T}`,
  });
  figure.buttons({ Back: () => (step.value -= 1), Next: () => (step.value += 1) });
  figure.readout(() => {
    const [n, t] = [step.value, 2 * T + 1 - step.value];
    if (n === 0) return ["Press Next for the first step.", "", "", ""];
    if (n <= T)
      return [
        { words: `h_${n} = tanh(w_h h_${n - 1} + w_x x_${n}) = ${show(h[n])}`, style: "state" },
        "",
        "",
        "",
      ];
    const terms = [`dL_${t}/dh_${t}`, given(dh_above[t - 1])];
    if (t < T) [` + w_h da_${t + 1}`, ` + ${show(w_h * da[t + 1])}`].forEach((term, k) => (terms[k] += term));
    return [
      `dh_${t} = ${terms.join(" = ")}${t < T ? ` = ${show(dh[t])}` : ""}`,
      `da_${t} = dh_${t} (1 − h_${t}²) = ${show(da[t])}`,
      `dw_h = ${show(dw_h[t + 1])} + da_${t} h_${t - 1} = ${show(dw_h[t])}`,
      `dw_x = ${show(dw_x[t + 1])} + da_${t} x_${t} = ${show(dw_x[t])}`,
    ].map((words) => ({ words, style: "backward" }));
  });
});
