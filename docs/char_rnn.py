"""A character-level language model: an LSTM in NumPy, with its gradients derived by hand.

T, B, V, H    time steps and sequences per chunk, distinct characters, hidden units
x, target     one-hot input and next character (V, B): each column is one sequence
h, c          hidden state and cell state (H, B)
[h; x; 1]     arrays stacked vertically; the row of ones makes the last column of W the bias
dq            the gradient of the loss with respect to q, with the shape of q
"""

import sys
from pathlib import Path

import numpy as np

T, B, H = 50, 50, 128
EPOCHS, TEMPERATURE = 10, 0.7
LEARNING_RATE, DECAY, EPSILON, LIMIT = 5e-3, 0.95, 1e-8, 5 / T  # the loss is a mean over T steps


def initial_weights(V, H, generator):
    """Return the LSTM weights W (H rows each for i, f, o and g) and the readout weights R."""
    W = generator.uniform(-0.08, 0.08, (4 * H, H + V + 1)).astype("float32")
    R = generator.uniform(-0.08, 0.08, (V, H + 1)).astype("float32")
    W[H : 2 * H, -1] = 1.0  # a forget-gate bias of 1 keeps the gate mostly open at first
    return W, R


def lstm(W, h_prev, c_prev, x):
    """Run one step: h_prev, c_prev, x → h, c, cache."""
    s = np.vstack([h_prev, x, np.ones_like(h_prev[:1])])  # (H+V+1, B)
    a_i, a_f, a_o, a_g = np.split(W @ s, 4)  # each (H, B)
    i, f, o = (1.0 / (1.0 + np.exp(-a)) for a in (a_i, a_f, a_o))
    g = np.tanh(a_g)
    c = f * c_prev + i * g
    tanh_c = np.tanh(c)
    h = o * tanh_c
    return h, c, (s, i, f, o, g, c_prev, tanh_c)


def lstm_backward(W, dh, dc, cache):
    """Backpropagate through one step, from its last line to its first: dh, dc → dW, dh_prev, dc_prev."""
    s, i, f, o, g, c_prev, tanh_c = cache
    # h = o ∘ tanh(c)
    do = dh * tanh_c
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    # c = f ∘ c_prev + i ∘ g
    df, dc_prev = dc * c_prev, dc * f
    di, dg = dc * g, dc * i
    # i, f, o = σ(a_i), σ(a_f), σ(a_o);  g = tanh(a_g)
    da = np.vstack([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g * g)])
    # a = W @ [h_prev; x; 1]
    return da @ s.T, W[:, : len(dh)].T @ da, dc_prev


def readout(R, h):
    """Return the probabilities of the next character: h → p, s."""
    s = np.vstack([h, np.ones_like(h[:1])])  # (H+1, B)
    logits = R @ s  # (V, B)
    p = np.exp(logits - logits.max(axis=0))  # subtract the maximum so that exp cannot overflow
    return p / p.sum(axis=0), s


def readout_backward(R, p, target, N, s):
    """Backpropagate from the loss, the mean cross-entropy over N characters: p, target → dR, dh."""
    # loss = -1/N Σ log p[target];  p = softmax(logits)
    dlogits = (p - target) / N
    # logits = R @ [h; 1]
    return dlogits @ s.T, R[:, :-1].T @ dlogits


def loss_and_gradient(W, R, inputs, targets, h, c):
    """Run the forward and backward passes over a chunk. Return the loss, (dW, dR), and the new h and c."""
    N, loss, steps = int(targets.sum()), 0.0, []
    for x, target in zip(inputs, targets, strict=True):
        h, c, cache = lstm(W, h, c, x)
        p, s = readout(R, h)
        loss -= np.log(p[target]).sum() / N
        steps.append((cache, p, target, s))
    # Truncation: h and c come from the previous chunk, but no gradient flows back from the next one.
    dW, dR, dh, dc = (np.zeros_like(q) for q in (W, R, h, c))
    for cache, p, target, s in reversed(steps):
        dR_t, dh_above = readout_backward(R, p, target, N, s)
        dW_t, dh, dc = lstm_backward(W, dh + dh_above, dc, cache)
        dW += dW_t
        dR += dR_t
    return loss, (dW, dR), h, c


def gradient_error(W, R, inputs, targets, generator):
    """Compare the slope of the loss in a random direction by backpropagation and by a central difference."""
    W, R = W.astype("float64"), R.astype("float64")
    h = c = np.zeros((len(W) // 4, inputs.shape[2]))
    dW, dR = loss_and_gradient(W, R, inputs, targets, h, c)[1]
    vW, vR = generator.normal(size=W.shape), generator.normal(size=R.shape)
    slope = (dW * vW).sum() + (dR * vR).sum()
    up, down = (loss_and_gradient(W + d * vW, R + d * vR, inputs, targets, h, c)[0] for d in (1e-5, -1e-5))
    return abs((up - down) / 2e-5 - slope) / abs(slope)


def update(parameters, gradients, mean_squares):
    """Clip the gradients and update the parameters in place with one step of RMSprop."""
    for theta, g, m in zip(parameters, gradients, mean_squares, strict=True):
        g = np.clip(g, -LIMIT, LIMIT)
        m[...] = DECAY * m + (1 - DECAY) * g * g
        theta -= LEARNING_RATE * g / (np.sqrt(m) + EPSILON)


def chunks(ids, V, T, B):
    """Split a text into B streams, and yield T steps at a time: inputs and targets, each (T, V, B)."""
    onehot, n = np.eye(V, dtype=bool), (len(ids) - 1) // (T * B) * T  # n characters per stream
    inputs, targets = ids[: n * B].reshape(B, n), ids[1 : n * B + 1].reshape(B, n)  # one character ahead
    for t in range(0, n, T):
        yield [onehot[part[:, t : t + T]].transpose(1, 2, 0) for part in (inputs, targets)]


def sample(W, R, x, length, generator):
    """Yield sampled character ids, feeding each one back as the next input."""
    h = c = np.zeros((R.shape[1] - 1, 1), W.dtype)  # (H, 1)
    for _ in range(length):
        h, c, _ = lstm(W, h, c, x)
        p = readout(R, h)[0][:, 0] ** (1 / TEMPERATURE)  # softmax(logits / TEMPERATURE) up to a factor
        k = generator.choice(len(p), p=p / p.sum())
        x = np.arange(len(p))[:, None] == k  # (V, 1)
        yield k


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        sys.exit("usage: python char_rnn.py input.txt")
    characters, ids = np.unique(list(Path(sys.argv[1]).read_text("utf-8")), return_inverse=True)
    V, B = len(characters), min(B, (len(ids) - 1) // T)  # use fewer streams for a short text
    generator = np.random.default_rng(123)
    parameters = W, R = initial_weights(V, H, generator)
    mean_squares = np.zeros_like(W), np.zeros_like(R)
    error = gradient_error(W, R, *next(chunks(ids, V, T, B)), np.random.default_rng(1))
    print(f"relative error of the gradient: {error:.0e}")
    losses = []
    for epoch in range(EPOCHS):
        h = c = np.zeros((H, B), W.dtype)
        for chunk, (inputs, targets) in enumerate(chunks(ids, V, T, B)):
            loss, gradients, h, c = loss_and_gradient(W, R, inputs, targets, h, c)
            update(parameters, gradients, mean_squares)
            losses.append(loss)
            if chunk % 100 == 0:
                print(f"--- epoch {epoch + 1}, chunk {chunk}, loss {np.mean(losses):.3f}")
                print("".join(characters[list(sample(W, R, inputs[0, :, :1], 200, generator))]))
                losses.clear()
