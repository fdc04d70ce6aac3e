"""Test that a long history takes no more memory than its array: there is no Python object per evaluation."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from toys import parts, put_together

ROWS = 50_000


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
    cli(*command.split(), checkpoint)  # imports
    tracemalloc.start()
    cli(*command.split(), long)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * long.stat().st_size
