import pytest
from toys import toy_model

from minichar.checkpoints.checkpoint import save
from minichar.errors import MinicharError
from minichar.web.models import load_models


def test_a_checkpoint_that_is_deleted_after_it_was_listed_is_skipped(tmp_path, monkeypatch):
    gone, kept = (tmp_path / f"lm_lstm_epoch1.00_{loss}.npz" for loss in ("1.0000", "2.0000"))
    save(kept, toy_model())
    monkeypatch.setattr("minichar.web.models.all_checkpoints", lambda directory: [gone, kept])
    assert [name[: len(kept.stem)] for name in load_models([tmp_path])] == [kept.stem]
    with pytest.raises(MinicharError, match="no such checkpoint"):
        load_models([gone])
