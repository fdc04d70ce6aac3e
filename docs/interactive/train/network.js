// The LSTM of docs/char_rnn.py, with the same functions in the same letters. It runs in a worker.
//
// T, B, V, H    time steps and sequences per chunk, distinct characters, hidden units
// s             [h; 1]: the ones make the last column of W and R the biases
// dq            the gradient of the loss with respect to q, with the shape of q
//
// Matrices are flat arrays. States and pre-activations are stored column by column, because a column is one
// sequence, and the weights W and R are stored row by row. Every matrix product is then a table of dot products.
"use strict";

const network = (() => {
  const ROOT = 1e-8; // ε of RMSprop
  const DECAY = 0.95;

  // Return p · q for each of the vectors of n numbers in P and in Q, those of one q together. Eight sums at once
  // are several times as fast as one. At the end of P or Q, some of the eight are the same.
  function dots(P, Q, n) {
    const [rows, columns] = [P.length / n, Q.length / n];
    const out = new Float64Array(rows * columns);
    for (let j = 0; j < columns; j += 2) {
      const j1 = Math.min(j + 1, columns - 1);
      for (let i = 0; i < rows; i += 4) {
        const [i1, i2, i3] = [Math.min(i + 1, rows - 1), Math.min(i + 2, rows - 1), Math.min(i + 3, rows - 1)];
        let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
        for (let k = 0, p0 = i * n, p1 = i1 * n, p2 = i2 * n, p3 = i3 * n, q0 = j * n, q1 = j1 * n; k < n; k++) {
          const x0 = P[p0 + k], x1 = P[p1 + k], x2 = P[p2 + k], x3 = P[p3 + k], y0 = Q[q0 + k], y1 = Q[q1 + k];
          a0 += x0 * y0;
          a1 += x1 * y0;
          a2 += x2 * y0;
          a3 += x3 * y0;
          b0 += x0 * y1;
          b1 += x1 * y1;
          b2 += x2 * y1;
          b3 += x3 * y1;
        }
        out[j * rows + i] = a0;
        out[j * rows + i1] = a1;
        out[j * rows + i2] = a2;
        out[j * rows + i3] = a3;
        out[j1 * rows + i] = b0;
        out[j1 * rows + i1] = b1;
        out[j1 * rows + i2] = b2;
        out[j1 * rows + i3] = b3;
      }
    }
    return out;
  }

  // Return the first `kept` numbers of each of the vectors of n numbers in X, as `kept` vectors.
  function transposed(X, n, kept = n) {
    const m = X.length / n;
    const out = new Float64Array(m * kept);
    for (let j = 0; j < m; j++) for (let k = 0; k < kept; k++) out[k * m + j] = X[j * n + k];
    return out;
  }

  // Return the LSTM's weights W (H rows each for i, f, o and g), its input weights Wx, stored column by column,
  // and the readout weights R.
  function initialWeights(V, H, random, forgetBias = 1) {
    const uniform = (size) => new Float64Array(size).map(() => 0.16 * random() - 0.08);
    const [W, Wx, R] = [uniform(4 * H * (H + 1)), uniform(4 * H * V), uniform(V * (H + 1))];
    for (let row = H; row < 2 * H; row++) W[row * (H + 1) + H] = forgetBias;
    return { W, Wx, R };
  }

  const { sigmoid } = interactive;

  // Run the cell: a, c_prev → h, c. Each column of `a` has H rows for each gate.
  function lstm(a, c_prev, H) {
    const [i, f, o, g, tanh_c, h, c] = Array.from({ length: 7 }, () => new Float64Array(c_prev.length));
    for (let n = 0, at = 0; n < c.length; n++, at++) {
      if (n && n % H === 0) at += 3 * H; // the next column
      i[n] = sigmoid(a[at]);
      f[n] = sigmoid(a[at + H]);
      o[n] = sigmoid(a[at + 2 * H]);
      g[n] = Math.tanh(a[at + 3 * H]);
      c[n] = f[n] * c_prev[n] + i[n] * g[n];
      tanh_c[n] = Math.tanh(c[n]);
      h[n] = o[n] * tanh_c[n];
    }
    return { h, c, cache: { i, f, o, g, c_prev, tanh_c } };
  }

  // Backpropagate through the cell, from its last line to its first: dh, dc → da, dc_prev.
  function lstmBackward(dh, dc, { i, f, o, g, c_prev, tanh_c }, H) {
    const [da, dc_prev] = [new Float64Array(4 * dh.length), new Float64Array(dh.length)];
    for (let n = 0, at = 0; n < dh.length; n++, at++) {
      if (n && n % H === 0) at += 3 * H;
      // h = o tanh(c)
      const do_ = dh[n] * tanh_c[n];
      const dc_n = dc[n] + dh[n] * o[n] * (1 - tanh_c[n] * tanh_c[n]);
      // c = f c_prev + i g
      const df = dc_n * c_prev[n], di = dc_n * g[n], dg = dc_n * i[n];
      dc_prev[n] = dc_n * f[n];
      // i, f, o = σ(a_i), σ(a_f), σ(a_o);  g = tanh(a_g)
      da[at] = di * i[n] * (1 - i[n]);
      da[at + H] = df * f[n] * (1 - f[n]);
      da[at + 2 * H] = do_ * o[n] * (1 - o[n]);
      da[at + 3 * H] = dg * (1 - g[n] * g[n]);
    }
    return { da, dc_prev };
  }

  // Return the probabilities of the next character: p = softmax(R @ s), and the loss, -1/N Σ log p[target].
  function readout(R, s, targets, H) {
    const p = dots(R, s, H + 1);
    const V = p.length / targets.length;
    let loss = 0;
    targets.forEach((target, n) => {
      const column = p.subarray(n * V, (n + 1) * V);
      softmax(column);
      loss -= Math.log(column[target]) / targets.length;
    });
    return { p, loss };
  }

  // Backpropagate from the loss: p, targets → dR, dh.
  function readoutBackward(R, p, s, targets, H) {
    const [N, V] = [targets.length, p.length / targets.length];
    const dlogits = p.map((p_k) => p_k / N);
    targets.forEach((target, n) => (dlogits[n * V + target] -= 1 / N));
    const dR = dots(transposed(s, H + 1), transposed(dlogits, V), N);
    return { dR, dh: dots(transposed(R, H + 1, H), dlogits, V) };
  }

  // Replace logits with their softmax.
  function softmax(column) {
    let [most, total] = [-Infinity, 0];
    for (let k = 0; k < column.length; k++) most = Math.max(most, column[k]);
    for (let k = 0; k < column.length; k++) total += column[k] = Math.exp(column[k] - most);
    for (let k = 0; k < column.length; k++) column[k] /= total;
  }

  // Run the forward and backward passes over a chunk of T·B ids. `cut` drops the gradients from the next step.
  function learn({ W, Wx, R }, inputs, targets, h, c, { B, H, cut = false }) {
    const [K, N] = [H + 1, inputs.length];
    const T = N / B;
    const s = new Float64Array((T + 1) * B * K).fill(1); // before each step, and after the last
    const keep = (t, h) => {
      for (let b = 0; b < B; b++) s.set(h.subarray(b * H, (b + 1) * H), (t * B + b) * K);
    };
    const caches = [];
    keep(0, h);
    for (let t = 0; t < T; t++) {
      const a = dots(W, s.subarray(t * B * K, (t + 1) * B * K), K);
      for (let b = 0; b < B; b++) {
        const column = 4 * H * inputs[t * B + b]; // of Wx: the product of Wx and a one-hot vector
        for (let row = 0; row < 4 * H; row++) a[4 * H * b + row] += Wx[column + row];
      }
      let cache;
      ({ h, c, cache } = lstm(a, c, H));
      caches.push(cache);
      keep(t + 1, h);
    }
    const after = s.subarray(B * K);
    const { p, loss } = readout(R, after, targets, H);

    // Truncation: h and c come from the previous chunk, but no gradient flows back from the next one.
    const { dR, dh: dh_above } = readoutBackward(R, p, after, targets, H);
    const [dA, dWx, W_h] = [new Float64Array(4 * H * N), new Float64Array(Wx.length), transposed(W, K, H)];
    let [dh_next, dc] = [new Float64Array(h.length), new Float64Array(h.length)];
    for (let t = T - 1; t >= 0; t--) {
      const dh = dh_above.subarray(t * B * H, (t + 1) * B * H).map((dh_n, n) => dh_n + dh_next[n]);
      const { da, dc_prev } = lstmBackward(dh, dc, caches[t], H);
      dA.set(da, 4 * H * B * t);
      if (cut) continue;
      [dh_next, dc] = [dots(W_h, da, 4 * H), dc_prev];
    }
    const dW = dots(transposed(s.subarray(0, N * K), K), transposed(dA, 4 * H), N);
    for (let n = 0; n < N; n++)
      for (let row = 0; row < 4 * H; row++) dWx[4 * H * inputs[n] + row] += dA[4 * H * n + row];
    return { loss, gradients: { W: dW, Wx: dWx, R: dR }, h, c };
  }

  // Run one step on one sequence: k, h, c → the probabilities of the next character, h, c.
  function predict({ W, Wx, R }, k, h, c, temperature) {
    const H = h.length;
    const a = dots(W, Float64Array.of(...h, 1), H + 1).map((a_n, row) => a_n + Wx[4 * H * k + row]);
    ({ h, c } = lstm(a, c, H));
    const p = dots(R, Float64Array.of(...h, 1), H + 1).map((logit) => logit / temperature);
    softmax(p);
    return { p, h, c };
  }

  // Clip the gradients by their norm, and update the parameters in place with one step of RMSprop.
  function update(parameters, gradients, meanSquares, { eta, limit }) {
    let squares = 0;
    for (const g of Object.values(gradients)) for (let n = 0; n < g.length; n++) squares += g[n] * g[n];
    const scale = Math.min(1, limit / Math.sqrt(squares));
    for (const [name, theta] of Object.entries(parameters)) {
      const [g, m] = [gradients[name], meanSquares[name]];
      for (let n = 0; n < theta.length; n++) {
        const g_n = scale * g[n];
        m[n] = DECAY * m[n] + (1 - DECAY) * g_n * g_n;
        theta[n] -= (eta * g_n) / (Math.sqrt(m[n]) + ROOT);
      }
    }
    return Math.sqrt(squares);
  }

  return { initialWeights, lstm, lstmBackward, learn, predict, update };
})();
