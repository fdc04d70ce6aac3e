"""Test that a long history takes no more memory than its array: there is no Python object per evaluation."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from toys import parts, put_together

ROWS = 20_000


@pytest.fixture
def long(checkpoint):
    """Return a checkpoint with many evaluations. Its recurrent state and weights take a few kilobytes."""
    header, arrays = parts(checkpoint)
    history = np.repeat(arrays["history"][-1:], ROWS, axis=0)
    history[:, 0] = header["training"]["iteration"] + np.arange(ROWS)
    history[:, 3] = 3.0 + np.arange(ROWS) % 7
    header["training"]["iteration"] += ROWS
    return put_together(Path("long.npz"), header, arrays | {"history": history})


@pytest.mark.parametrize("command", ["plot", "inspect", "train --max-epochs 9999 --max-time 1e-9 --resume"])
def test_a_command_needs_little_memory(cli, checkpoint, long, command):
    peaks = []
    for path in (checkpoint, checkpoint, long):  # the first run also imports modules
        tracemalloc.start()
        cli(*command.split(), path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 3 * long.stat().st_size
