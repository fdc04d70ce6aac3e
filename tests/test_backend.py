import numpy as np
import pytest

from minichar.backend import CPU


@pytest.mark.parametrize(
    ("blas", "words"),
    [
        ({"name": "scipy-openblas", "version": "0.3.31"}, "with scipy-openblas 0.3.31, up to"),
        ({"name": "accelerate"}, "with accelerate, up to"),
        ({}, "with an unknown BLAS, up to"),
        (None, "with an unknown BLAS, up to"),
    ],
)
def test_what_computes_is_described_whatever_numpy_knows_of_it(monkeypatch, blas, words):
    """NumPy leaves out of its build information what it does not know."""
    dependencies = {} if blas is None else {"blas": blas}
    monkeypatch.setattr(np, "show_config", lambda mode: {"Build Dependencies": dependencies})
    assert words in CPU.describe()


def test_the_threads_are_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    assert CPU.describe().endswith("up to 7 threads")
