"""Regression tests for the losses of short training runs.

Any change that affects training changes the expected values. If you update them, give the reason in
the commit message.
"""

import pytest
from toys import losses_of

from minichar.engine.config import Config
from minichar.model import CharRNN
from minichar.text.batches import split_text
from minichar.text.vocabulary import Vocabulary
from minichar.training.recipes import settings_from
from minichar.training.trainer import Trainer

LINE = "the sea and of stars were cold upon a hill where no man before"
WORDS = LINE.split()
TEXT = " ".join(WORDS[(k * k + k // 3) % len(WORDS)] for k in range(80))

SETTINGS = settings_from(
    {
        "recipe": "char-rnn",
        "epoch_reset": True,
        "use_ss": True,
        "dtype": "float64",
        "seed": 5,
        "seq_length": 10,
        "batch_size": 4,
        "learning_rate": 0.01,
        "learning_rate_decay": 0.5,
        "learning_rate_decay_after": 1,
        "grad_clip": 0.1,
        "start_ss": 0.8,
        "decay_ss": 0.1,
        "min_ss": 0.5,
    }
)
# The losses of the first, seventh and tenth chunk with all options enabled. An epoch has six chunks. Before
# the seventh chunk, the learning rate is halved and the teacher-forcing ratio is lowered. Before four chunks
# of an epoch, the state of a stream is reset. Some gradient elements are clipped.
EXPECTED = {
    "rnn": (2.7831192151826256, 2.608037229018504, 2.4347537758840625),
    "lstm": (2.7779460778846756, 2.5902893544059395, 2.5083551022852113),
    "gru": (2.7912217127437318, 2.564504369059537, 2.448674171136427),
    "gru-reset-before": (2.786649236828046, 2.60695835700312, 2.491023193022676),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_losses_of_ten_chunks(name):
    vocabulary = Vocabulary("".join(sorted(set(TEXT))))
    config = Config(len(vocabulary), name, rnn_size=16, num_layers=2, dropout=0.2)
    model = CharRNN.new(config, vocabulary, SETTINGS.seed, SETTINGS.dtype)
    split = split_text(vocabulary.encode(TEXT), 4, 10, train_frac=0.75, val_frac=0.25)
    trainer = Trainer(model, split, SETTINGS, {}, "")
    assert len(trainer.split.train) == 6
    losses = losses_of(trainer, 10)
    assert (losses[0], losses[6], losses[9]) == pytest.approx(EXPECTED[name], rel=1e-9)
