// Lesson 5: probabilities, loss and gradient of four logits.

const { compact, fixed, sum } = interactive;

function softmax(logits) {
  const largest = Math.max(...logits);
  const exponentials = logits.map((logit) => Math.exp(logit - largest));
  return exponentials.map((exponential) => exponential / sum(exponentials));
}

function forward(logits, target) {
  const p = softmax(logits);
  return { p, loss: -Math.log(p[target]) };
}

const backward = (p, target) => p.map((p_k, k) => p_k - (k === target ? 1 : 0));

const divided = (logits, temperature) => logits.map((logit) => logit / temperature);

interactive.show("softmax_cross_entropy", { softmax, forward, backward, divided }, (figure) => {
  const show = fixed(2);
  const characters = ["a", "e", "o", "t"];
  const values = () =>
    divided(
      sliders.map((slider) => slider.value),
      temperature.value,
    );

  figure.picture(360, 300, (pen) => {
    const { p } = forward(values(), target.value);
    const dlogits = backward(p, target.value);
    const [unit, above, below] = [84, 108, 220]; // the length of a probability of 1; the two zero lines
    pen.text(10, 16, "p", "forward start");
    pen.text(10, 154, "dlogits = p − onehot(target)", "backward start");
    for (const zero of [above, below]) pen.segment(10, zero, 350, zero, "faint");
    characters.forEach((character, k) => {
      const x = 52 + 85 * k;
      const sign = dlogits[k] < 0 ? -1 : 1;
      if (k === target.value) pen.box(x - 13, above + 4, 26, 21, "hollow");
      pen.text(x, above + 19, character, k === target.value ? "strong" : "");
      pen.bar(x - 22, above, 44, unit * p[k], "forward");
      pen.text(x, above - unit * p[k] - 5, show(p[k]), "small forward");
      pen.bar(x - 22, below, 44, 0.75 * unit * dlogits[k], "backward");
      pen.text(x, below + sign * 13 + 4, show(dlogits[k]), "small backward");
    });
  });

  const initial = [1, 2, 0.5, -1];
  const sliders = characters.map((character, k) =>
    figure.slider(`logit of ${character}`, { min: -4, max: 4, step: 0.1, value: initial[k] }),
  );
  const temperature = figure.slider("temperature", { min: 0.2, max: 4, step: 0.05, value: 1 });
  const target = figure.choice("target", characters);
  figure.readout(() => {
    const { p, loss } = forward(values(), target.value);
    return [`loss = −log p_target = −log ${compact(p[target.value])} = ${show(loss)} nats`];
  });
});
