import numpy as np
import pytest

from minichar.devices.cpu import CPU


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
