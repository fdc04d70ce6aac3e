"""Lesson 18. It writes: the loop, a sample, a unit that detects quotes, and what comes next.

In lesson 0, tables of counts generated noise, words and copied phrases, but no sentence. Since
then, you have built a network with a memory, found its gradients, and learned to follow them
downhill. All that is missing is a loop.

[figure: train]

Training takes a chunk of T characters from each of B streams of text, and repeats five steps:

    forward     predict every next character of the chunk    lessons 5, 6, 7 and 11
    backward    sum the gradients over all paths             lesson 8
    clip        limit the size of the gradient               lesson 10
    update      move every weight downhill                   lesson 16
    carry       keep the state, but not its gradient         lesson 9

One pass over the text is an *epoch*; the next one starts again at the beginning. In this lesson's
file, the function `train` is this loop in fifteen lines. `Vocabulary` turns characters into ids,
`split_text` cuts the text into chunks, and `network.carry` is the last of the five steps. The
gradient is clipped by element. The loss is a mean over T · B characters (lesson 5), so clipping its
gradient at 5/T corresponds to clipping, at 5, the gradient of a loss that is summed over the T
steps and averaged only over the B streams.

Start small: an LSTM with 48 units and 4,500 characters of Python's help text. The loss is measured
on these characters, and on the 500 after them, which are never trained on. They are few, so their
loss is only a rough guide. On the 500, a bigram table of the 4,500 characters has a loss of 2.554,
and the 5-gram table, the best one, 1.763. These are the numbers to beat:

    epoch   training   new text
    1          2.986      2.770
    2          2.431      2.438
    4          1.910      2.125
    8          1.363      1.898
    12         1.060      1.983
    16         0.886      2.104

[figure: overfitting.svg]

The training loss is the mean over the epoch, and the loss on new text is measured after it, so
the training loss is higher at first. After two epochs, the network has overtaken the bigram table.
After eight or so, something else begins: the training loss keeps falling, but the loss on new text
rises. The network has started to memorise its text, like the long contexts in lesson 0. This is
*overfitting*. The remedies are a longer text, fewer units, dropout (lesson 14), or simply keeping
the weights from the best epoch, as minichar does. Here, that is 1.898: with so little text, the
best table wins. On another processor, rounding changes the last rows slightly.

Now with nine tenths of the help text, 128 units, layer normalisation (lesson 13) and three epochs,
and the prompt "The " of lessons 7, 11 and 15:

[output: it_writes]

Not every word exists, but most do. Here are the losses of this course, on the last tenth:

    model             loss
    uniform           4.62
    bigram table      2.49
    RNN, 64 units     2.22
    LSTM, 64 units    1.83
    5-gram table      1.40
    LSTM, 128 units   1.37

The network has won, if narrowly and in a single run. Nothing in the program says what a word is, or
a sentence, or a list. The network was only ever asked which character comes next. It has about
130,000 parameters, which started from random numbers, and all that it remembers while generating
are the 256 numbers in h and c.

What is in them? Karpathy, Johnson and Fei-Fei (2015, arXiv:1506.02078) watched individual units of
such networks as they read text. Most follow no recognisable feature, but some track the position in
a line, or whether text is inside quotes. In the network above, we chose the unit whose memory,
tanh(c), correlates best with being inside quotes in the training text. This is what it does on new
text, cut into pieces of 66 characters: the first eight pieces with at least two quotation marks.
Below each piece, # marks the characters at which tanh(c) is closer to its mean inside quotes than
to its mean outside. The new text begins where the training text ends, perhaps in the middle of a
word, and the network reads it from a zero state, so the first marks mean little:

[output: a_unit_that_knows_quotes]

The training code does not mention quotes; only our search for the unit does. A unit that remembers
them makes the loss smaller, and so gradient descent found one. Its c does what lesson 11 promised,
but imperfectly and late: a quotation mark moves it only part of the way. It crosses over at the
character after the opening mark, keeps its value, and changes back soon after the closing mark.

Where to go from here? Train on a text of your own (`minichar train --data my.txt`). Then, read
about attention. A recurrent network must compress everything it may need into one state. A
transformer lets each position look back at all earlier ones instead. Its loss and its softmax
(lesson 5), its chain rule (lesson 1) and its temperature (lesson 17) are those of this course.
"""

import re
from functools import cache
from math import log

import numpy as np

import minichar
from minichar import Model, RMSprop, Vocabulary, split_text
from minichar.pictures.activity import read_activity
from minichar.pictures.traits import correlations, traits
from minichar.text.pydocs import pydocs_text


def train(text, rnn_size, epochs, learning_rate, B, T, layer_norm=False):
    """Train an LSTM on nine tenths of a text. Return it with its losses (training, new) by epoch."""
    vocabulary = Vocabulary("".join(sorted({*text})))
    split = split_text(vocabulary.encode(text), B, T, train_frac=0.9, val_frac=0.1, how="tail")
    model = Model.create(vocabulary, rnn_size=rnn_size, num_layers=1, layer_norm=layer_norm, seed=1)
    network, held_out = model.network(T, split.B), model.network(T, split.B)
    optimiser, gradient, losses = RMSprop(model.parameters, decay=0.95), network.gradient.flat, []
    for _ in range(epochs):
        network.reset()
        training = []
        for inputs, targets in split.train:
            training.append(float(network.loss_and_gradient(inputs, targets)))  # forward and backward
            np.clip(gradient, -5 / T, 5 / T, out=gradient)
            optimiser.step(gradient, learning_rate)
            network.carry()
        losses.append((np.mean(training), measure(held_out, split.val)))
    return model, np.array(losses)


def measure(network, chunks):
    """Return the mean loss over chunks, without learning from them."""
    network.reset()
    losses = []
    for inputs, targets in chunks:
        losses.append(float(network.measure(inputs, targets)))
        network.carry()
    return np.mean(losses)


@cache
def small():
    """Return the losses (training, new) of the small network by epoch, and those of tables for n ≤ 8."""
    text = pydocs_text()[:5000]
    _, losses = train(text, rnn_size=48, epochs=16, learning_rate=0.015, B=4, T=25)
    return losses, {n: minichar.ngram_loss(text[:4500], text[4500:], n=n) for n in range(1, 9)}


@cache
def large():
    options = {"rnn_size": 128, "learning_rate": 0.01, "layer_norm": True}
    return train(pydocs_text(), epochs=3, B=20, T=50, **options)


def it_writes():
    model, _ = large()
    return "The " + model.generate("The ", length=500, temperature=0.7, seed=1)


def read(text):
    """Return tanh(c) of the large network ``(H, N)``, a mask of quoted text, and the correlations."""
    model, _ = large()
    (states,) = read_activity(model, model.vocabulary.encode(text)).states  # one layer
    quoted = traits(text)["inside quotes"]
    return states, quoted > 0, abs(correlations(states, quoted[None])[:, 0])


def quotes_unit(length=5000):
    """Find the unit most correlated with quotes in training text, and read new text with it.

    Return the new text, a mask of where the unit is closer to its mean inside quotes, and r.
    """
    text = pydocs_text()
    states, quoted, r = read(text[:length])
    best = r.argmax()
    inside, outside = states[best, quoted].mean(), states[best, ~quoted].mean()
    start = len(text) * 9 // 10
    new = text[start : start + length]
    states, _, r = read(new)
    return new, abs(states[best] - inside) < abs(states[best] - outside), r[best]


def a_unit_that_knows_quotes():
    text, like_quoted, r = quotes_unit()
    marks = np.where(like_quoted, "#", " ")
    flat, lines = text.replace("\n", " "), []
    for start in range(0, len(flat), 66):
        part = slice(start, start + 66)
        if flat[part].count('"') > 1:
            lines += [flat[part], "".join(marks[part]).rstrip()]
    return "\n".join(
        [*lines[:16], "", f"correlation with being inside quotes, on {len(text):,} new characters: {r:.2f}"]
    )


def test_the_numbers_in_the_text():
    losses, tables = small()
    story = " ".join(__doc__.split())
    shown = re.search(r"has a loss of ([\d.]+), and .*? the best one, ([\d.]+)\. .* that is ([\d.]+):", story)
    expected = tables[2], tables[5], losses[:, 1].min()
    np.testing.assert_allclose([float(number) for number in shown.groups()], expected, rtol=0.05)
    rows = [
        line.split() for line in __doc__.splitlines() if line.startswith("    ") and line.split()[0].isdigit()
    ]
    assert [int(epoch) for epoch, *_ in rows] == [1, 2, 4, 8, 12, 16]
    for epoch, *row in rows:
        np.testing.assert_allclose([float(word) for word in row], losses[int(epoch) - 1], rtol=0.1)


def test_it_starts_near_the_uniform_loss_and_falls_below_the_bigram_table():
    losses, tables = small()
    assert losses[0].max() < log(100)
    assert tables[5] < min(tables.values()) + 0.03
    assert tables[5] < losses[:, 1].min() < tables[2] - 0.3


def test_after_some_epochs_only_the_training_loss_still_falls():
    losses, _ = small()
    best = losses[:, 1].argmin()
    assert 3 < best < 13
    assert losses[-1, 1] > losses[best, 1] + 0.05
    assert losses[-1, 0] < losses[best, 0] - 0.2


EXERCISE = """
In tests/lessons/test_18_it_writes.py, in train, change

    training.append(float(network.loss_and_gradient(inputs, targets)))  # forward and backward

to

    training.append(float(network.loss_and_gradient(inputs, inputs)))  # forward and backward

Before you run the lesson, guess what happens to the training loss. What would this network
generate? `minichar lessons 18` also trains the larger network, which takes up to five minutes on
one core. The tests alone take less than a minute: run pytest on tests/lessons/test_18_it_writes.py.
"""

ANSWER = """
The target is now the character that the network has just read, so the training loss falls almost to 0:
its mean is about 1.5 in the first epoch, which the tests show, 0.1 in the second and 0.02 in the fourth.
The network would generate one character over and over. A loss that is too
good to be true is a classic sign that the target has leaked into the input. All three tests fail,
because the loss on new text is measured with the true targets: test_the_numbers_in_the_text,
test_it_starts_near_the_uniform_loss_and_falls_below_the_bigram_table and
test_after_some_epochs_only_the_training_loss_still_falls.
"""
