"""Test that minichar runs on a 32-bit platform, where not every integer array can be used as an index.

On such a platform, `intp` has 32 bits, and uint32 and int64 arrays cannot be converted to it safely. Before
NumPy 2.2, `numpy.take` and `numpy.bincount` reject them.
"""

import shutil
from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner
from toys import TEXT, losses_of, toy_settings

from minichar import Model
from minichar.cli import main
from minichar.devices.cpu import CPU
from minichar.training.start import begin

LARGE = "".join(map(chr, range(0x20000, 0x30010)))  # more than 65,536 characters, so that ids are uint32
take, bincount, empty, zeros = np.take, np.bincount, np.empty, CPU.zeros


def index(array):
    """Return an array that is used as an index, or raise an error if it cannot be converted safely."""
    return np.asarray(array).astype(np.int32, casting="safe")


class Narrow(np.ndarray):
    """An array that rejects the same indices as on a 32-bit platform."""

    def take(self, indices, *args, **kwargs):
        return super().take(index(indices), *args, **kwargs)


@pytest.fixture
def narrow(monkeypatch):
    """Simulate a 32-bit platform."""
    monkeypatch.setattr(np, "intp", np.int32)
    monkeypatch.setattr(np, "arange", partial(np.arange, dtype=np.int32))
    monkeypatch.setattr(np, "take", lambda a, indices, **kwargs: take(a, index(indices), **kwargs))
    monkeypatch.setattr(np, "bincount", lambda x: bincount(index(x)))
    monkeypatch.setattr(np, "empty", lambda *args, **kwargs: empty(*args, **kwargs).view(Narrow))
    monkeypatch.setattr(CPU, "zeros", lambda *args: zeros(*args).view(Narrow))


def results(folder, text, options):
    """Train for a few steps, and return the losses, an evaluation, surprisal values and generated text."""
    run = begin(toy_settings(folder, text, **options))
    losses, trained = losses_of(run.trainer, 3).tolist(), run.trainer.model
    model = Model(trained.config, trained.vocabulary, trained.parameters, {"settings": options})
    measured = model.evaluate(text[:50]), model.surprisal(text[:50])[1:].tolist()
    return losses, *measured, model.generate(text[:3], length=5), model.vocabulary.decode(run.corpus.ids)


OPTIONS = {
    "one-hot": {"reset_on": ".\n"},
    "embedding": {"embedding": 3, "dropout": 0.2},
    "tied": {"embedding": 8, "tied": True},
    "uint32": {"embedding": 3},
}


@pytest.mark.parametrize("options", OPTIONS)
def test_training_and_using_a_model(options, tmp_path, text_cache, request):
    text = LARGE if options == "uint32" else TEXT
    expected = results(tmp_path, text, OPTIONS[options])
    request.getfixturevalue("narrow")
    if options == "one-hot":  # the others use the cached ids
        shutil.rmtree(text_cache)
    assert results(tmp_path, text, OPTIONS[options]) == expected
    assert expected[-1] == text


def test_the_gradient_check(narrow):
    arguments = ["gradcheck", "--rnn-size", "2", "--num-layers", "1", "--seq-length", "2", "--embedding", "3"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
