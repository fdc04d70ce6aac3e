"""Test that a corrupted or forged training state is rejected, and that its paths are not trusted."""

import json
from pathlib import Path

import numpy as np
import pytest
from toys import WRONG, parts, places, put_together, set_at, take

from minichar.errors import LONGEST_PATH, MinicharError
from minichar.training.choose import CHOOSERS
from minichar.training.start import resume

CORRUPTED = [
    ("details.settings", None),
    ("details.settings", [1]),
    ("details.settings.rnn_size", "8"),
    ("details.settings.unheard_of", 1),
    ("details.settings.checkpoint_dir", None),
    ("details.settings.min_freq", 3),
    ("details.settings.batch_size", 3),
    *((f"details.settings.{name}", None) for name in CHOOSERS),
    ("details.origin", None),
    ("details.origin.digest", None),
    ("training.iteration", "ten"),
    ("training.iteration", -3),
    ("training.iteration", 10**400),
    ("training.first_loss", None),
    ("training.learned", -1),
    ("training.learned", 11),
    ("training.first_loss", -1.0),
    ("training.first_loss", 1e308),
    ("training.total", ["x"]),
    ("training.total", -1.0),
    ("training.total", float("nan")),
    ("training.device", ...),
    ("training.random", None),
    ("training.random", {}),
    ("training.random.bit_generator", "MT19937"),
    ("training.random.state", {"state": -1, "inc": 2**200}),
    ("training.random.state", 5),
    ("training.random.uinteger", "x"),
]


def test_a_corrupted_header_raises_a_minichar_error(stopped, tmp_path):
    for where, value in CORRUPTED:
        header, arrays = parts(stopped)
        set_at(header, where.split("."), value)
        path = put_together(tmp_path / "forged.npz", header, arrays)
        with pytest.raises(MinicharError):
            pytest.fail(f"{where}: {resume(path, {})}")


def test_every_wrong_value_in_the_header(stopped, tmp_path, monkeypatch):
    """Remove, replace or rename each value in turn. Resuming succeeds or raises a short `MinicharError`."""
    monkeypatch.chdir(tmp_path)
    header, arrays = parts(stopped)
    long, refused, messages = "\x1b" + "x" * 5000, 0, []
    for i, where in enumerate(places(header)):
        renamed = (*where[:-1], long)
        for there, wrong in ((where, ...), (where, WRONG[i % len(WRONG)]), (where, long), (renamed, long)):
            changed = json.loads(json.dumps(header))
            set_at(changed, where, ...)
            if wrong is not ...:
                set_at(changed, there, wrong)
            put_together(tmp_path / "forged.npz", changed, arrays)
            try:
                run = resume(Path("forged.npz"), {})
                run.trainer.learn()
                messages += run.notes
            except MinicharError as error:
                refused += 1
                messages.append(str(error))
    assert refused > 200
    assert max(map(len, messages)) < LONGEST_PATH + 200
    assert all(map(str.isprintable, messages))


def test_a_state_with_the_wrong_shape(stopped, tmp_path):
    header, arrays = parts(stopped)
    for shape in ((2, 2, 8, 5), (1, 2, 8, 4), (2, 1, 8, 4), (2, 2, 1, 1)):
        path = put_together(tmp_path / "forged.npz", header, arrays | {"state": np.zeros(shape)})
        with pytest.raises(MinicharError, match="cannot be resumed"):
            resume(path, {})


def test_a_forged_checkpoint_neither_deletes_nor_writes_elsewhere(stopped, tmp_path):
    """Paths in a checkpoint are not trusted."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    victims = [tmp_path / "lm_x_epoch1.00_9.0000.npz", elsewhere / "lm_mine_epoch1.00_9.0000.npz"]
    for victim in victims:
        victim.write_text("mine")
    header, arrays = parts(stopped)
    header["training"]["saved"] = [name for victim in victims for name in (str(victim), victim.name)]
    header["details"]["settings"] |= {"checkpoint_dir": str(elsewhere), "keep": 1}
    path = put_together(tmp_path / "forged.npz", header, arrays)
    run = resume(path, {"eval_val_every": 5})
    take(run.trainer, 30)
    assert all(victim.read_text() == "mine" for victim in victims)
    assert list(elsewhere.iterdir()) == victims[1:]
    assert {saved.parent for saved in run.trainer.saver.saved} == {tmp_path}
