// The forward pass of a minichar network, one character at a time. The letters are those of docs/notation.md.
//
//     x_1 = onehot(k), E[:, k] or W[k, :-1]    the character k; the readout's W[k, :-1] if tied
//     h_l = cell(a, h_prev)                    a = W @ [h_prev; x_l; 1],  l = 1 … L
//     x_{l+1} = h_l
//     logits = W @ [h_L; 1]
//
// Only IEEE 754 arithmetic is used, because Math.exp and Math.tanh differ between browsers. The same weights and
// characters therefore give the same logits, to the last bit, in every browser.

const EPSILON = 1e-5; // of layer normalisation
const NONE = new Float64Array(0);

// A weight matrix (rows, columns), stored row by row. The bias is in its last column.
class Matrix {
  constructor(values, rows, columns) {
    this.values = new Float32Array(Math.ceil(rows / 8) * 8 * columns); // with rows of zeros for `times`
    this.values.set(values);
    Object.assign(this, { rows, columns });
  }

  // Return W @ s. Eight sums at once are three times as fast as one, because each addition waits for the last.
  times(s) {
    const { values: W, rows, columns: K } = this;
    const a = new Float64Array(W.length / K);
    for (let row = 0; row < rows; row += 8) {
      let a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0, a6 = 0, a7 = 0;
      for (let j = 0, w = row * K; j < K; j++, w++) {
        const s_j = s[j];
        a0 += W[w] * s_j;
        a1 += W[w + K] * s_j;
        a2 += W[w + 2 * K] * s_j;
        a3 += W[w + 3 * K] * s_j;
        a4 += W[w + 4 * K] * s_j;
        a5 += W[w + 5 * K] * s_j;
        a6 += W[w + 6 * K] * s_j;
        a7 += W[w + 7 * K] * s_j;
      }
      a.set([a0, a1, a2, a3, a4, a5, a6, a7], row);
    }
    return a.subarray(0, rows);
  }

  // Return `count` entries of column k, from row `first`.
  column(k, first = 0, count = this.rows) {
    const { values, columns } = this;
    return new Float64Array(count).map((_, j) => values[(first + j) * columns + k]);
  }

  // Return the first `count` entries of row k.
  row(k, count) {
    return this.values.subarray(k * this.columns, k * this.columns + count);
  }
}

// Return [h; x; 1].
function stack(h, x = NONE) {
  const s = new Float64Array(h.length + x.length + 1);
  s.set(h);
  s.set(x, h.length);
  s[s.length - 1] = 1;
  return s;
}

const POWERS = [1]; // of two, which are exact
while (POWERS.length < 1024) POWERS.push(2 * POWERS[POWERS.length - 1]);
const SERIES = [3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2, 1, 1].map((factorial) => 1 / factorial);

// e^a = 2^n e^r with |r| ≤ ½ ln 2, where eleven terms of the Taylor series of e^r are enough.
function exp(a) {
  a = Math.max(-700, Math.min(700, a));
  const n = Math.round(a / Math.LN2);
  const r = a - n * Math.LN2;
  let y = 0;
  for (let j = 0; j < SERIES.length; j++) y = y * r + SERIES[j];
  return n < 0 ? y / POWERS[-n] : y * POWERS[n];
}

const tanh = (a) => a.map((a_j) => 1 - 2 / (exp(2 * a_j) + 1));
const sigmoid = (a) => a.map((a_j) => 1 / (1 + exp(-a_j)));

// â = (a - μ) / √(mean((a - μ)²) + ε): layer normalisation of one gate
function normalise(a) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const μ = mean(a);
  const centred = a.map((a_j) => a_j - μ);
  const r = 1 / Math.sqrt(mean(centred.map((value) => value * value)) + EPSILON);
  return centred.map((value) => r * value);
}

// h = (1 - z) ∘ n + z ∘ h_prev
const update = (z, n, h_prev) => z.map((z_j, j) => (1 - z_j) * n[j] + z_j * h_prev[j]);

// The cells, as in minichar/engine. product(name, h, row) returns the pre-activations of each gate; row is the
// product's first row in Wx, and is left out if the product does not read x.
const CELLS = {
  rnn(product, { h: h_prev }) {
    const [a] = product("W", h_prev, 0);
    return { h: tanh(a) };
  },

  lstm(product, { h: h_prev, c: c_prev }) {
    const [a_i, a_f, a_o, a_g] = product("W", h_prev, 0);
    const i = sigmoid(a_i), f = sigmoid(a_f), o = sigmoid(a_o), g = tanh(a_g);
    const c = f.map((f_j, j) => f_j * c_prev[j] + i[j] * g[j]);
    const tanh_c = tanh(c);
    return { h: o.map((o_j, j) => o_j * tanh_c[j]), c };
  },

  // The reset gate is applied after the matrix product.
  gru(product, { h: h_prev }) {
    const [u_r, u_z, u_n] = product("U", h_prev);
    const [a_r, a_z, a_n] = product("W", NONE, 0);
    const r = sigmoid(a_r.map((a, j) => a + u_r[j]));
    const z = sigmoid(a_z.map((a, j) => a + u_z[j]));
    const n = tanh(a_n.map((a, j) => a + r[j] * u_n[j]));
    return { h: update(z, n, h_prev) };
  },

  // The reset gate is applied before the matrix product.
  "gru-reset-before"(product, { h: h_prev }) {
    const [a_r, a_z] = product("W", h_prev, 0);
    const r = sigmoid(a_r), z = sigmoid(a_z);
    const [a_n] = product("Wn", r.map((r_j, j) => r_j * h_prev[j]), 2 * h_prev.length);
    return { h: update(z, tanh(a_n), h_prev) };
  },
};

// A network, which reads one character at a time. The states are an array with { h } or { h, c } for each layer.
class Network {
  // `shapes` are the [name, rows, columns] of the matrices in `weights`, which are float16 values in base64.
  constructor({ cell, H, L, layer_norm, tied, shapes }, weights) {
    Object.assign(this, { cell: CELLS[cell], H, L, layer_norm, tied });
    const values = decode(weights);
    let start = 0;
    for (const [name, rows, columns] of shapes) {
      const size = rows * columns;
      this[name] = new Matrix(values.subarray(start, start + size), rows, columns);
      start += size;
    }
  }

  // Return the states at the start of a text, which are zero.
  start() {
    const zero = () => new Float64Array(this.H);
    return Array.from({ length: this.L }, () => ({ h: zero(), c: zero() }));
  }

  // Return the states after the character k.
  step(k, states) {
    let x = this.tied ? this["readout.W"].row(k, this.H) : this["embedding.E"]?.column(k) ?? NONE;
    return states.map((state, l) => {
      const after = this.cell((name, h, row) => this.product(`layer${l + 1}.`, name, h, x, k, row), state);
      x = after.h;
      return after;
    });
  }

  // a = W @ [h; x; 1] (+ Wx[:, k] in a first layer without an embedding), split into gates.
  product(layer, name, h, x, k, row) {
    const { H } = this;
    const a = this[layer + name].times(stack(h, row === undefined ? NONE : x));
    const Wx = this[`${layer}Wx`];
    if (Wx && row !== undefined) Wx.column(k, row, a.length).forEach((w, j) => (a[j] += w));
    const gates = Array.from({ length: a.length / H }, (_, gate) => a.subarray(gate * H, (gate + 1) * H));
    return this.layer_norm ? gates.map(normalise) : gates;
  }

  // Return the logits of the next character.
  logits(states) {
    return this["readout.W"].times(stack(states[this.L - 1].h));
  }
}

// Return the float16 values encoded in base64 as float32 values, which represent them exactly.
function decode(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 2 }, (_, j) => {
    const bits = view.getUint16(2 * j, true);
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent ? (1024 + fraction) * POWERS[exponent - 1] : fraction; // in units of 2^-24
    return (bits & 0x8000 ? -size : size) / POWERS[24];
  });
}
