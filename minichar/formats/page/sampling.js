// Sampling the next character, as in minichar/sampling/choice.py.

// The random number generator sfc32 of PractRand (Chris Doty-Humphrey). It needs only 32-bit integers, so a seed
// gives the same numbers in every browser.
class Random {
  constructor(seed) {
    Object.assign(this, { a: 0, b: seed % 2 ** 32 | 0, c: Math.floor(seed / 2 ** 32) | 0, counter: 1 });
    for (let round = 0; round < 12; round++) this.next();
  }

  // Return a number in [0, 1).
  next() {
    const { a, b, c } = this;
    const result = a + b + this.counter | 0;
    this.counter = this.counter + 1 | 0;
    this.a = b ^ b >>> 9;
    this.b = c + (c << 3) | 0;
    this.c = (c << 21 | c >>> 11) + result | 0;
    return (result >>> 0) / 2 ** 32;
  }
}

// Return softmax(logits / temperature).
function softmax(logits, temperature = 1) {
  const highest = logits.reduce((x, y) => Math.max(x, y));
  const weights = logits.map((logit) => exp((logit - highest) / temperature));
  const total = weights.reduce((x, y) => x + y);
  return weights.map((weight) => weight / total);
}

// Return the characters from the likeliest to the least likely; of equally likely ones, the first comes first.
const ranked = (p) => Array.from(p.keys()).sort((j, k) => p[k] - p[j]);

// Set all probabilities to 0 except those of the likeliest characters, up to a total of at least top_p.
function nucleus(p, top_p) {
  const kept = new Float64Array(p.length);
  let total = 0;
  for (const k of ranked(p)) {
    if (total >= top_p) break;
    kept[k] = p[k];
    total += p[k];
  }
  return kept;
}

// Return a character sampled with the random number u in [0, 1). At temperature 0, it is the likeliest.
function choose(logits, { temperature, top_p }, u) {
  if (temperature === 0) return logits.indexOf(logits.reduce((x, y) => Math.max(x, y)));
  let p = softmax(logits, temperature);
  if (top_p < 1) p = nucleus(p, top_p);
  const threshold = u * p.reduce((x, y) => x + y);
  let cumulative = 0;
  return p.findIndex((p_k) => (cumulative += p_k) > threshold);
}
