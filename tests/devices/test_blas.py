import numpy as np
import pytest

from minichar.devices.cpu import CPU, THREAD_VARIABLES


@pytest.mark.parametrize("variable", THREAD_VARIABLES)
@pytest.mark.parametrize(("value", "words"), [("1", "1 thread"), ("3", "up to 3 threads")])
def test_the_thread_count_is_read_from_the_environment(variable, value, words, monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    assert CPU.describe().endswith(f", {words}")


@pytest.mark.parametrize(
    ("blas", "words"),
    [
        ({"blas": {"name": "scipy-openblas", "version": "0.3.31"}}, "with scipy-openblas 0.3.31, "),
        ({"blas": {"name": "accelerate"}}, "with accelerate, "),
        ({}, "with an unknown BLAS, "),
    ],
)
def test_the_description_names_the_blas_if_numpy_reports_it(monkeypatch, blas, words):
    monkeypatch.setattr(np, "show_config", lambda mode: {"Build Dependencies": blas})
    assert words in CPU.describe()
