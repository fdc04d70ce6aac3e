import pytest
from toys import TEXT

from minichar.devices.cpu import CPU
from minichar.sweep.study import Plan
from minichar.sweep.trials import Sweep

SMALL = {"num_layers": 1, "batch_size": 4, "seq_length": 6, "max_epochs": 2.0, "data": "input.txt"}


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Return a function that opens a sweep of toy models, as another process would."""
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_text(TEXT, encoding="utf-8")

    def sweep(*search, folder="sweep", **given):
        plan = Plan(SMALL | given, [*(search or ("learning_rate=1e-3..1e-1:log", "rnn_size=4,8"))])
        return Sweep(tmp_path / folder, plan, [CPU])

    return sweep
