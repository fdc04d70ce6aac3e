// Training on a text, one chunk at a time, and the worker that does so while the page stays responsive.
"use strict";

const training = (() => {
  const [T, H] = [25, 64];
  const MOST = 16; // sequences per chunk
  const LIMIT = 1; // of the gradient's norm
  const PERIOD = 100; // milliseconds of training between two reports
  const EACH = 10; // steps per point of the loss curve

  // Return the loss of the best predictor that knows only the previous character, and that knows the counts of
  // all pairs in the text: Σ count(j, k) log(count(j) / count(j, k)) / Σ count(j, k).
  function bigramLoss(ids) {
    const [pairs, singles] = [new Map(), new Map()];
    const count = (map, key) => map.set(key, (map.get(key) ?? 0) + 1);
    for (let n = 0; n + 1 < ids.length; n++) {
      count(pairs, `${ids[n]} ${ids[n + 1]}`);
      count(singles, `${ids[n]}`);
    }
    let loss = 0;
    for (const [pair, n] of pairs) loss += n * Math.log(singles.get(pair.split(" ")[0]) / n);
    return loss / (ids.length - 1);
  }

  class Training {
    // `text` must have at least T + 1 characters.
    constructor(text, { seed = 1, forgetBias = 1 } = {}) {
      const characters = Array.from(text);
      this.characters = [...new Set(characters)].sort();
      this.V = this.characters.length;
      const idOf = new Map(this.characters.map((character, k) => [character, k]));
      this.ids = Int32Array.from(characters, (character) => idOf.get(character));
      this.B = Math.min(MOST, Math.floor((this.ids.length - 1) / T));
      this.length = Math.floor((this.ids.length - 1) / (this.B * T)) * T; // of each sequence
      this.parameters = network.initialWeights(this.V, H, interactive.uniform(seed), forgetBias);
      this.meanSquares = {};
      for (const [name, theta] of Object.entries(this.parameters))
        this.meanSquares[name] = new Float64Array(theta.length);
      this.read = 0; // characters
      this.restart();
    }

    restart() {
      this.position = 0;
      [this.h, this.c] = [new Float64Array(this.B * H), new Float64Array(this.B * H)];
    }

    // Train on the next chunk. Return its loss before the update, and the norm of its gradient.
    step({ eta, clip = true, cut = false }) {
      const { B, ids, length, position } = this;
      const [inputs, targets] = [0, 1].map((ahead) =>
        Int32Array.from({ length: T * B }, (_, n) => ids[(n % B) * length + position + Math.floor(n / B) + ahead]),
      );
      const learned = network.learn(this.parameters, inputs, targets, this.h, this.c, { B, H, cut });
      [this.h, this.c] = [learned.h, learned.c];
      const options = { eta, limit: clip ? LIMIT : Infinity };
      const norm = network.update(this.parameters, learned.gradients, this.meanSquares, options);
      this.read += T * B;
      this.position += T;
      if (this.position === length) this.restart();
      return { loss: learned.loss, norm };
    }

    // Sample a text that starts with the first character of the text, with the same random numbers every time.
    sample(length, temperature) {
      const [random, { parameters }] = [interactive.uniform(7), this];
      let [k, h, c] = [this.ids[0], new Float64Array(H), new Float64Array(H)];
      const [characters, units] = [[], []];
      for (let n = 0; n < length; n++) {
        let p;
        ({ p, h, c } = network.predict(parameters, k, h, c, temperature));
        characters.push(this.characters[k]);
        units.push(h); // after this character
        k = interactive.draw(p, random());
      }
      return { characters, units };
    }
  }

  // Train in a worker. A message sets some of { text, running, options }. A report follows, and one every 100 ms.
  function serve(worker) {
    const [length, points] = [160, []];
    let [run, running, options, timer, sum, steps, norm] = [null, false, {}, null, 0, 0, 0];

    function work() {
      const begun = performance.now();
      while (performance.now() - begun < PERIOD) {
        const step = run.step(options);
        [sum, norm, steps] = [sum + step.loss, step.norm, steps + 1];
        if (steps % EACH) continue;
        points.push([run.read, sum / EACH]);
        sum = 0;
      }
      report();
      timer = setTimeout(work);
    }

    function report() {
      const { read, parameters } = run;
      const broken = !parameters.R.every(Number.isFinite);
      worker.postMessage({ read, norm, broken, points: points.splice(0), ...run.sample(length, options.temperature) });
    }

    worker.onmessage = ({ data }) => {
      options = { ...options, ...data.options };
      if (data.text !== undefined) {
        run = new Training(data.text, options);
        [sum, steps, norm] = [0, 0, 0];
        worker.postMessage({ start: { bigram: bigramLoss(run.ids), uniform: Math.log(run.V) } });
      }
      running = data.running ?? running;
      clearTimeout(timer);
      if (running) timer = setTimeout(work);
      else report();
    };
  }

  return { Training, bigramLoss, serve, T, H };
})();
