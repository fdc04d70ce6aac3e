"""Test the load test, tests/stress/load.py."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from optional import free_port
from toys import toy_model
from web_helpers import CHARACTERS, local_queue, server_in_thread

load = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "stress" / "load.py")))


def test_clients_measure_what_they_receive():
    model = toy_model("".join(sorted(set(CHARACTERS + "The "))), rnn_size=12)
    with server_in_thread(local_queue({"toy": model}, pace=0)) as port:
        measured = load.measure(port, 2, 1, load.Load(40, True))
    texts = len(measured.first)
    assert measured.dropped == []
    assert texts >= 2
    # The last request of each client may finish too late to be counted.
    assert 40 * (texts - 2) <= measured.characters <= 40 * texts
    assert all(0 < seconds < 60 for seconds in measured.first + measured.gaps)


def test_failed_requests_are_reported():
    measured = load.measure(free_port(), 1, 1, load.Load(40, False))
    assert measured.characters == 0
    assert "refused" in measured.dropped[0]


def test_table_row():
    measured = load.Measurement(6000, [0.001 * i for i in range(1, 101)], [0.05], ["closing"])
    assert load.row(8, measured, seconds=2, single=1000) == "| 8 | 3,000 | 3.0× | 51, 100 | 50 | 1 |"
    assert str(load.percentile([], 0.5)) == "nan"


@pytest.mark.parametrize(("fraction", "value"), [(0, 1), (0.5, 6), (0.99, 10), (1, 10)])
def test_percentiles(fraction, value):
    assert load.percentile([10, *range(1, 10)], fraction) == value
