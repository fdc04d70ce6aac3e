"""Lesson 11. The LSTM, gate by gate: three gates around a cell state, and their gradients.

In an RNN, the state passes through a matrix and a tanh at every step, so the gradient is a product
with two factors per step, and it vanishes (lesson 10). Why change the whole memory at every step,
if most of it should stay? Replace the product with a sum. Only *add* to a state c:

    c = c_prev + …
        dc_prev = dc

Whatever the text is, the factor is exactly 1, and the gradient arrives undiminished after any
number of steps. But such a memory can never forget. So let the network choose the factor itself, at
every step and for every unit, with a gate f between 0 and 1:

    c = f ∘ c_prev + …
        dc_prev = dc ∘ f

There is no matrix and no tanh along c: the gradient is multiplied by f alone. With f = 0.99,
0.99¹⁰⁰ = 0.37 of the gradient is left after 100 steps, and with f = 0, the memory is cleared.

[figure: lstm]

That is the heart of an LSTM. It has two states: the cell state c, which is this memory, and the
hidden state h, which is its output (Hochreiter & Schmidhuber 1997; Gers et al. 2000 added the
forget gate). The candidate g, between -1 and 1, is the new content. Three gates, between 0 and 1,
control the two states: the forget gate f sets how much of the old content is kept, the input gate i
how much of the candidate is written, and the output gate o how much of the content is output. One
matrix product computes four *pre-activations* with H rows each, to which σ or tanh is applied:

    a = W @ [h_prev; x; 1]           rows i, f, o, g
    i, f, o = σ(a_i), σ(a_f), σ(a_o)
    g = tanh(a_g)
    c = f ∘ c_prev + i ∘ g
    h = o ∘ tanh(c)

[figure: lstm_step]

The backward pass starts from dh and dc, the gradients with respect to the two states, and
differentiates the last line first. In a product like f ∘ c_prev, each factor's gradient is the
product's gradient times the *other* factor. c affects the loss in two ways, through h and through
the next step, so its gradient is a sum:

    h = o ∘ tanh(c)
        do = dh ∘ tanh_c                            with tanh(c) from the forward pass
        dc ← dc + dh ∘ o ∘ (1 - tanh_c ∘ tanh_c)    the dc on the right is from the next step

    c = f ∘ c_prev + i ∘ g
        df, dc_prev = dc ∘ c_prev, dc ∘ f
        di, dg = dc ∘ g, dc ∘ i

    i, f, o = σ(a_i), σ(a_f), σ(a_o);  g = tanh(a_g)
        da_i, da_f, da_o = di ∘ i ∘ (1 - i), df ∘ f ∘ (1 - f), do ∘ o ∘ (1 - o)
        da_g = dg ∘ (1 - g ∘ g)

That is the whole cell. The matrix product is differentiated as in lesson 7:

    dh_prev, dx, dW = W_hᵀ @ da, W_xᵀ @ da, da @ [h_prev; x; 1]ᵀ

dh_prev and dc_prev are passed to the previous step, where dh_prev is added to dh, and dc_prev is
the dc "from the next step".

How much does the path along c matter? The forget bias starts at 1, so that f starts near
σ(1) = 0.73. This keeps content for a few steps; to keep it longer, training has to open the gate.
As in lesson 10, take 64 units with small initial weights and a loss at the last step only, and
divide the norm of dx ten steps earlier by its norm at the last step:

    network                                   ratio
    LSTM                                    5.2e-02
    LSTM, along c alone                     3.4e-02
    LSTM, without dc from the next step     1.3e-11
    RNN                                     1.5e-05

Along c alone, it is near 0.73¹⁰ = 0.04; paths that go through h in a few steps add the rest.
Without the dc from the next step, only the path through h in every step is left. It passes through
g's rows of W, which resemble the RNN's matrix, and through the output gate and the input gate, both
about 1/2, so ten steps leave about 1.5e-05 · (1/4)¹⁰ = 1.4e-11.

Here are both passes for a single unit with h_prev = 0.5, c_prev = 0.6 and x = 1, rounded to four
decimal places. First, each row's pre-activation is w_h h_prev + w_x x + bias:

    row     w_h    w_x   bias        a    value
    i       0.8    0.3    0.0   0.7000   0.6682
    f       0.3    0.5    1.0   1.6500   0.8389
    o      -0.5    0.4    0.0   0.1500   0.5374
    g      -0.7    0.9    0.0   0.5500   0.5005

    c = f c_prev + i g = 0.8378
    h = o tanh(c) = 0.3679

Then, with dh = 1, and dc = 0.2 from the next step:

    do = dh tanh(c) = 0.6846
    dc = 0.2 + dh o (1 - tanh²(c)) = 0.4855
    dc_prev = dc f = 0.4073

    row    gradient       da    w_h da   w_x da
    i        0.2430   0.0539    0.0431   0.0162
    f        0.2913   0.0394    0.0118   0.0197
    o        0.6846   0.1702   -0.0851   0.0681
    g        0.3244   0.2431   -0.1702   0.2188

The last two columns add up to dh_prev = -0.2004 and dx = 0.3228.

In text such as `abba(cadbcab…dbcca)dbca`, a bracket is closed only if one is open, so a network has
to remember the opening bracket. `docs/figures/bracket.py` trains an LSTM with four units on this,
starting at f = 0.99 and i = 0.01; in three of the units, c follows whether a bracket is open. In
the unit below, a new value is written to c at a bracket, where i opens. At a letter, i is almost
closed and f close to 1, so c only drifts upwards. Even at the closing bracket, f stays far from 0:
c returns to 0 because the new content i g, which is negative, cancels what f keeps. In the backward
pass, about half of dc is left after 30 letters: enough to train the gates at the opening bracket.

[figure: bracket.svg]

Here is generated text again. As in lesson 7, the network has 64 units and reads the text twice, but
it is an LSTM:

[output: it_writes]

Its loss on the last tenth of the text is 1.83, compared with 2.22 for the RNN. The 5-gram table of
lesson 0 still has a lower loss, 1.40; lesson 18 changes that.
"""

from math import exp, tanh

import numpy as np

import minichar
from minichar.devices.cpu import CPU
from minichar.engine import lstm, rnn
from minichar.engine.gradcheck import complex_step
from minichar.engine.layer import Layer

H, D, B = 3, 4, 2
generator = np.random.default_rng(11)
W = generator.normal(size=(4 * H, H + D + 1)) * 0.7
h_prev, c_prev, dh, dc = generator.normal(size=(4, H, B))
x = generator.normal(size=(D, B))


def step(W, h_prev, c_prev, x):
    """Run one step: the matrix product, then the engine's cell."""
    s = np.concatenate([h_prev, x, np.ones((1, B))])
    a = (W @ s).reshape(4, H, B)
    h, c, cache = lstm.forward(np, a, c_prev)
    return h, c, cache, s


def step_backward(W, s, dh, dc, cache):
    """Return dh_prev, dc_prev, dx and dW from W, s, dh, dc and the cell's cache, with s = [h_prev; x; 1].

    It calls the cell's backward pass. The four da, stacked in the order of W's rows, are da (4H, B).
    """
    da, dc_prev = lstm.backward(np, dh, dc, cache)
    da = np.concatenate(da)
    dh_prev = W[:, :H].T @ da
    dx = W[:, H:-1].T @ da
    dW = da @ s.T
    return dh_prev, dc_prev, dx, dW


def sigmoid(a):
    return 1 / (1 + exp(-a))


def one_unit(a_i, a_f, a_o, a_g, c_prev):
    """Run the cell for one unit and one sequence, using scalars."""
    i, f, o, g = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o), tanh(a_g)
    c = f * c_prev + i * g
    return o * tanh(c), c


def one_unit_backward(a_i, a_f, a_o, a_g, c_prev, dh, dc):
    """Return the gradients of `one_unit` with respect to its five inputs, by central differences."""
    inputs, small = [a_i, a_f, a_o, a_g, c_prev], 1e-6

    def loss(inputs):
        h, c = one_unit(*inputs)
        return dh * h + dc * c

    gradients = []
    for k in range(5):
        above, below = inputs.copy(), inputs.copy()
        above[k] += small
        below[k] -= small
        gradients.append((loss(above) - loss(below)) / (2 * small))
    return tuple(gradients)


h, c, cache, s = step(W, h_prev, c_prev, x)
da, dc_prev = lstm.backward(np, dh, dc, cache)
a = (W @ s).reshape(4, H, B)
# np.vectorize loops over units and sequences; each result has shape (H, B).
measured_i, measured_f, measured_o, measured_g, measured_c_prev = np.vectorize(one_unit_backward)(
    *a, c_prev, dh, dc
)


def left_after_10_steps(cell, gates, forget_bias=0.0, from_next_step=True, through_h=True):
    """Return the norm of dx 10 steps before the loss relative to its norm at the loss (lesson 10)."""
    H, T, B = 64, 11, 4
    generator = np.random.default_rng(10)
    W = generator.uniform(-0.08, 0.08, size=(gates * H, 2 * H + 1))
    W[H : 2 * H, -1] = forget_bias  # no rows in an RNN
    layer = Layer(cell, {"W": W}, {"W": np.zeros_like(W)}, H, T, B, CPU)
    layer.linears[0].x[:] = generator.normal(size=(T, H, B))
    for t in range(T):
        layer.step(t)
    dh_above = np.zeros((T, H, B))
    dh_above[-1] = generator.normal(size=(H, B))
    if not through_h:
        layer.recurrent.add_state_gradient = lambda *ignored: None
    for t in reversed(range(T)):
        layer.backward(slice(t, t + 1), dh_above)
        if not from_next_step:  # as after the exercise
            layer.dstates = [np.zeros_like(dstate) for dstate in layer.dstates]
    layer.gradients(slice(0, T), T, ids=None)
    first, *_, last = np.linalg.norm(layer.linears[0].dx, axis=(1, 2))
    return first / last


def machine():
    split = {"split": "tail", "train_frac": 0.9, "val_frac": 0.1}
    options = {"rnn_size": 64, "num_layers": 1, **split}
    return minichar.train(model="lstm", max_epochs=2, seed=1, progress=False, **options)


def it_writes():
    return "The " + machine().generate("The ", length=300, temperature=0.7, seed=1)


def close(found, expected, atol=1e-14):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=atol)


def test_the_worked_example_matches_the_engine():
    W = np.array([[0.8, 0.3, 0.0], [0.3, 0.5, 1.0], [-0.5, 0.4, 0.0], [-0.7, 0.9, 0.0]])
    a = W @ [0.5, 1.0, 1.0]  # (4,)
    h, c, (*gates, c_prev, tanh_c) = lstm.forward(np, a, 0.6)
    da, dc_prev = lstm.backward(np, 1.0, 0.2, (*gates, c_prev, tanh_c))
    i, f, o, g = gates
    dc = dc_prev / f
    above = below = ""
    for name, w, *forward in zip("ifog", W, a, gates, strict=True):
        above += "    {}      {:4}   {:4}    {:3}   {:.4f}   {:.4f}\n".format(name, *w, *forward)
    for name, w, *backward in zip("ifog", W, (dc * g, dc * c_prev, tanh_c, dc * i), da, strict=True):
        numbers = *backward, *(w[:2] * backward[-1])
        below += "    {}        {:.4f}   {:.4f}   {:7.4f}   {:.4f}\n".format(name, *numbers)
    for words in (
        above,
        below,
        f"c = f c_prev + i g = {c:.4f}\n    h = o tanh(c) = {h:.4f}\n",
        f"do = dh tanh(c) = {tanh_c:.4f}\n    dc = 0.2 + dh o (1 - tanh²(c)) = {dc:.4f}\n",
        f"dc_prev = dc f = {dc_prev:.4f}\n",
        f"dh_prev = {W[:, 0] @ da:.4f} and dx = {W[:, 1] @ da:.4f}.\n",
    ):
        assert words in __doc__


def test_the_gradients_in_the_text_are_those_of_the_engine():
    numbers = [float(word.strip(",:.")) for word in __doc__.split() if "e-" in word and word[0].isdigit()]
    whole, cut = (left_after_10_steps(lstm.LSTM, 4, 1.0, given) for given in (True, False))
    along_c = left_after_10_steps(lstm.LSTM, 4, 1.0, through_h=False)
    in_rnn = left_after_10_steps(rnn.RNN, 1)
    np.testing.assert_allclose(numbers, [whole, along_c, cut, in_rnn, in_rnn, in_rnn / 4**10], rtol=0.03)
    assert f"0.73¹⁰ = {0.73**10:.2f}" in __doc__
    assert abs((cut / in_rnn) ** 0.1 - 1 / 4) < 0.02
    assert f"σ(1) = {sigmoid(1):.2f}" in " ".join(__doc__.split())


def test_without_the_gradient_from_the_next_step_it_vanishes_faster_than_in_an_rnn():
    cut = left_after_10_steps(lstm.LSTM, 4, 1.0, from_next_step=False)
    assert cut < 1e-3 * left_after_10_steps(rnn.RNN, 1) < 1e-5 * left_after_10_steps(lstm.LSTM, 4, 1.0)


def test_each_unit_computes_the_equations_above():
    by_hand_h, by_hand_c = np.vectorize(one_unit)(*a, c_prev)
    close(h, by_hand_h)
    close(c, by_hand_c)


def test_the_gradient_of_the_input_gate():
    close(da[0], measured_i, atol=1e-8)


def test_the_gradient_of_the_forget_gate():
    close(da[1], measured_f, atol=1e-8)


def test_the_gradient_of_the_output_gate():
    close(da[2], measured_o, atol=1e-8)


def test_the_gradient_of_the_candidate():
    close(da[3], measured_g, atol=1e-8)


def test_the_gradient_of_the_previous_cell_state():
    close(dc_prev, measured_c_prev, atol=1e-8)


def test_the_complex_step_agrees_on_every_gradient():
    """For the loss Σ dh ∘ h + dc ∘ c, the gradients with respect to h and c are dh and dc."""

    def gradient(f, at):
        def loss(theta):
            h, c, *_ = f(theta.reshape(at.shape))
            return (dh * h + dc * c).sum()

        return complex_step(loss, at.reshape(-1)).reshape(at.shape)

    dh_prev, dc_prev, dx, dW = step_backward(W, s, dh, dc, cache)
    close(dh_prev, gradient(lambda h_prev: step(W, h_prev, c_prev, x), h_prev))
    close(dc_prev, gradient(lambda c_prev: step(W, h_prev, c_prev, x), c_prev))
    close(dx, gradient(lambda x: step(W, h_prev, c_prev, x), x))
    close(dW, gradient(lambda W: step(W, h_prev, c_prev, x), W))


WRITE = ("lstm.forward", "lstm.backward", "step_backward")

EXERCISE = """
In minichar/engine/lstm.py, in backward, change

    dc = dc + dh * o * (1.0 - tanh_c * tanh_c)

to

    dc = dh * o * (1.0 - tanh_c * tanh_c)

This discards the gradient from the next step. Before you run the lesson, guess which gate still has
the correct gradient in a single step, given dh and dc, and why.
"""

ANSWER = """
The output gate, because its gradient depends only on dh. Every gradient that passes through c is
wrong, so test_the_gradient_of_the_input_gate, test_the_gradient_of_the_forget_gate,
test_the_gradient_of_the_candidate, test_the_gradient_of_the_previous_cell_state,
test_the_complex_step_agrees_on_every_gradient and test_the_worked_example_matches_the_engine fail.
This mistake cuts the path along the cell state, and only the path through h remains, as in the last
two tests that fail: test_the_gradients_in_the_text_are_those_of_the_engine and
test_without_the_gradient_from_the_next_step_it_vanishes_faster_than_in_an_rnn.
"""
