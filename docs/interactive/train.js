// Train an LSTM in the page: its loss, a sample of it, and its hidden states, while a worker trains.

const { append, fixed, power, range } = interactive;
const LEAST = 200; // characters in the text

interactive.show("train", { network, training }, (figure) => {
  const source = (name) => document.getElementById(`script-${name}`).textContent;
  const scripts = [...["shared", "network", "training"].map(source), "training.serve(self);"];
  const worker = new Worker(URL.createObjectURL(new Blob(scripts, { type: "text/javascript" })));
  let report = { read: 0, norm: 0, characters: [], units: [] };
  let [lines, points, running, note] = [null, [], false, ""];
  let best = []; // the points of the run that ended with the lowest loss
  let trainedOn = "";
  let started = [0, 0]; // when training last started, and the seconds before

  figure.picture(360, 200, (pen) => {
    const to = 2 ** Math.ceil(Math.log2(Math.max(report.read, best.at(-1)?.[0] ?? 0, 5e4) / 5e4)) * 5e4;
    const thousands = (value) => `${value / 1e3}k`;
    const top = Math.ceil(lines?.uniform ?? 4);
    const frame = [30, 22, 340, 160];
    const x = { from: 0, to, ticks: [0, to / 2, to], label: "characters read", show: thousands };
    const y = { from: 0, to: top, ticks: range(top + 1), label: "loss in nats per character" };
    const [X, Y] = pen.axes(frame, x, y);
    for (const [name, loss] of Object.entries(lines ?? {})) {
      pen.segment(X(0), Y(loss), X(to), Y(loss), "faint dotted");
      pen.text(338, Y(loss) - 4, `${name} ${fixed(2)(loss)}`, "small faint end");
    }
    const inFrame = ([read, loss]) => [X(read), Y(Math.min(loss, top))];
    if (best.length) {
      pen.line(best.map(inFrame), "faint");
      const [right, bottom] = inFrame(best.at(-1));
      const below = Math.min(bottom + 32, 156); // the label of the other curve
      pen.text(right, below, `best run ${fixed(2)(best.at(-1)[1])}`, "small faint end");
    }
    if (!points.length) return;
    pen.line(points.map(inFrame), "forward thick");
    const [right, bottom] = inFrame(points.at(-1));
    pen.text(Math.min(right + 4, 310), bottom + 16, fixed(2)(points.at(-1)[1]), "forward start strong");
  }, "The loss while training, with the losses of bigrams and of the uniform baseline");

  const sample = append(figure.pictures, "div", { class: "sample", role: "group", "aria-label": "Sample" });
  const [train] = figure.buttons({ Train: () => run(!running), "Start again": () => restart(true) });
  figure.pictures.prepend(train.parentElement); // above the pictures, because they are high
  const inside = append(figure.pictures, "details");
  append(inside, "summary", {}, "States, settings and text");
  inside.addEventListener("toggle", () => figure.update());
  const canvas = append(inside, "canvas", { role: "img", class: "clickable" });
  const units = append(inside, "p", { class: "note" });
  inside.append(figure.controls, figure.lines);
  figure.painters.push(() => {
    const [{ characters, units: h }, j] = [report, unit.value - 1];
    sample.replaceChildren(...characters.map((character, n) => {
      const element = document.createElement("span");
      element.append(character === "\n" ? "↵" : character); // blank lines would be empty space
      if (inside.open && n < h.length) element.style = tint(h[n][j]);
      return element;
    }));
    canvas.ariaLabel = `State h of ${training.H} units (rows) after each character of the sample (columns)`;
    units.textContent = `${canvas.ariaLabel}: above 0 green, below 0 grey. The sample shows unit ${j + 1}.`;
    drawUnits(canvas, h, j);
  });

  const eta = figure.slider("learning rate η", {
    min: -3, max: -0.5, step: 0.1, value: -1.7, show: (value) => power(10 ** value),
  });
  const temperature = figure.slider("temperature", { min: 0.1, max: 1.5, step: 0.1, value: 0.6, show: fixed(1) });
  const unit = figure.slider("unit", { min: 1, max: training.H, step: 1, value: 1, show: fixed(0) });
  const [noClip, cut, noBias] = figure.checks("no clipping", "no gradient through time", "forget bias 0");
  const box = append(figure.controls, "details", { class: "wide" });
  append(box, "summary", {}, "The text: paste your own");
  const area = append(box, "textarea", { rows: 8, spellcheck: "false", "aria-label": "Text to train on" });
  area.value = source("text").trim();
  figure.readout(() => [note, `norm of the gradient: ${fixed(2)(report.norm)} before clipping, ${fixed(0)(seconds())} s of training`]);

  const options = () => ({
    eta: 10 ** eta.value,
    temperature: temperature.value,
    clip: !noClip.value,
    cut: Boolean(cut.value),
    forgetBias: noBias.value ? 0 : 1,
  });
  const seconds = () => started[1] + (running ? (performance.now() - started[0]) / 1e3 : 0);

  function run(now, message = {}) {
    started = [performance.now(), seconds()];
    running = now;
    train.textContent = running ? "Pause" : "Train";
    worker.postMessage({ ...message, running, options: options() });
  }

  function restart(now) {
    const text = area.value;
    const enough = Array.from(text).length >= LEAST;
    note = enough ? "" : `Paste at least ${LEAST} characters.`;
    if (!enough) return;
    const final = (points) => points.at(-1)?.[1] ?? Infinity;
    if (final(points) < final(best)) best = points;
    if (text !== trainedOn) best = []; // losses on different texts cannot be compared
    trainedOn = text;
    [points, started, running] = [[], [0, 0], false];
    run(now, { text });
  }

  worker.onmessage = ({ data }) => {
    if (data.start) {
      lines = data.start;
      [points, note] = [[], ""]; // a report of the run before may have come after the click
    } else {
      report = data;
      points.push(...data.points);
      if (data.broken) note = "The weights are no longer finite. Lower η and start again.";
    }
    figure.update();
  };
  figure.controls.addEventListener("change", ({ target }) => {
    if (target === noBias.element) restart(running); // it is an initial value
    else if (target !== area) worker.postMessage({ options: options() });
  });
  canvas.addEventListener("click", ({ offsetY }) => {
    unit.value = 1 + Math.floor((offsetY / canvas.clientHeight) * training.H);
    figure.update();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && running) run(false);
  });
  restart(false);
});

function tint(h) {
  return `background: color-mix(in srgb, ${h < 0 ? "currentColor" : "var(--state)"} ${Math.round(60 * Math.abs(h))}%, transparent)`;
}

// Draw h as an image of one pixel per unit and character, with a mark to the left of the selected unit.
function drawUnits(canvas, h, selected) {
  const margin = 2;
  [canvas.width, canvas.height] = [margin + h.length, training.H];
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  pen.fillStyle = style.color;
  pen.fillRect(0, selected, margin, 1);
  h.forEach((column, n) =>
    column.forEach((h_j, j) => {
      pen.globalAlpha = Math.abs(h_j);
      pen.fillStyle = h_j < 0 ? style.color : style.getPropertyValue("--state");
      pen.fillRect(margin + n, j, 1, 1);
    }),
  );
}
