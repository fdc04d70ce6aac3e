"""Regression tests for the losses of short training runs.

Any change that affects training changes the expected values. If you update them, give the reason in
the commit message.
"""

import pytest

from minichar.engine.config import Config
from minichar.model import CharRNN
from minichar.text.batches import split_text
from minichar.text.vocabulary import Vocabulary
from minichar.training.recipes import settings_from
from minichar.training.trainer import Trainer

LINE = "the sea and of stars were cold upon a hill where no man before"
WORDS = LINE.split()
TEXT = " ".join(WORDS[(k * k + k // 3) % len(WORDS)] for k in range(80))


def trainer_of(text, cell, *, H=16, L=2, dropout=0.0, **settings):
    """Return a trainer for a new float64 model that trains on three quarters of `text`."""
    vocabulary = Vocabulary("".join(sorted(set(text))))
    settings = settings_from(
        {"recipe": "char-rnn", "epoch_reset": True, "use_ss": True, "dtype": "float64", "seed": 5, **settings}
    )
    config = Config(len(vocabulary), cell, rnn_size=H, num_layers=L, dropout=dropout)
    model = CharRNN.new(config, vocabulary, settings.seed, settings.dtype)
    split = split_text(
        vocabulary.encode(text), settings.batch_size, settings.seq_length, train_frac=0.75, val_frac=0.25
    )
    return Trainer(model, split, settings, {}, "")


# The losses of ten chunks with all options enabled. An epoch has six chunks. Before the seventh chunk, the
# state is reset, the learning rate is halved and the teacher-forcing ratio is lowered. Some gradient
# elements are clipped.
EXPECTED = {
    "rnn": [
        *(2.7831192151826256, 2.732858084286961, 2.60527938913026, 2.567451666607314),
        *(2.440625770992968, 2.351492020548341, 2.5987467089964436, 2.4374083639929967),
        *(2.42270806689327, 2.4314624818835604),
    ],
    "lstm": [
        *(2.7779460778846756, 2.737100312896621, 2.6091353156817867, 2.5744521745604856),
        *(2.4437141065324486, 2.3966077558727163, 2.614057408900391, 2.4689046290523793),
        *(2.4896668671503797, 2.4883202561367996),
    ],
    "gru": [
        *(2.7912217127437318, 2.7131810431998185, 2.562994820616881, 2.6099995799738247),
        *(2.4339924512046376, 2.437967477792874, 2.563586002880398, 2.4700612743564774),
        *(2.5058997532709997, 2.4355432366901013),
    ],
    "gru-reset-before": [
        *(2.786649236828046, 2.7208272322791474, 2.5771419598793184, 2.613231196898654),
        *(2.4580039801410423, 2.3861933878026527, 2.5841524726584915, 2.4679573273761966),
        *(2.4987222974625993, 2.471963701068119),
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_first_ten_losses(name):
    trainer = trainer_of(
        TEXT,
        name,
        dropout=0.2,
        seq_length=10,
        batch_size=4,
        learning_rate=0.01,
        learning_rate_decay=0.5,
        learning_rate_decay_after=1,
        grad_clip=0.1,
        start_ss=0.8,
        decay_ss=0.1,
        min_ss=0.5,
    )

    assert len(trainer.split.train) == 6
    losses = []
    for _ in range(10):
        trainer.set_rates()
        losses.append(float(trainer.learn()))
    assert losses == pytest.approx(EXPECTED[name], rel=1e-9)


def test_a_short_repeated_phrase_is_memorised(cell):
    """Memorising the text requires the state because different words can follow a space."""
    text = "one by one two by two "
    trainer = trainer_of(text * 20, cell, H=24, L=1, seq_length=22, batch_size=2, learning_rate=0.01)
    losses = [float(trainer.learn()) for _ in range(250)]
    assert max(losses[-5:]) < 0.05
