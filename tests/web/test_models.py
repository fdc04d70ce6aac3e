import pytest
from toys import toy_model

from minichar import generate
from minichar.checkpoints.checkpoint import save
from minichar.errors import MinicharError
from minichar.web.models import describe, load_models


def test_a_checkpoint_that_is_deleted_after_it_was_listed_is_skipped(tmp_path, monkeypatch):
    gone, kept = (tmp_path / f"lm_lstm_epoch1.00_{loss}.npz" for loss in ("1.0000", "2.0000"))
    save(kept, toy_model())
    monkeypatch.setattr("minichar.web.models.all_checkpoints", lambda directory: [gone, kept])
    assert [name[: len(kept.stem)] for name in load_models([tmp_path])] == [kept.stem]
    with pytest.raises(MinicharError, match="no such checkpoint"):
        load_models([gone])


def test_without_a_prompt_text_starts_at_the_beginning_of_a_document():
    pytest.importorskip("jsonschema")
    from minichar.web.queue import LocalQueue
    from minichar.web.request import Request

    model = toy_model("\nab", scale=40.0)
    model.details["settings"] = {"reset_on": "a"}
    queue = LocalQueue({"toy": model}, columns=2, queue=0, pace=0.0)
    try:
        data = {"prime": "", "length": 60, "seed": 5, "stop": []}
        job = queue.submit(Request.from_json(data))
        text = "".join(update.text for update in queue.follow(job, 0) if update is not None)
    finally:
        queue.close()
    assert text == "".join(generate(model.exact(), 60, seed=5))
    assert text != "".join(generate(model.exact(), 60, prime="\n", seed=5))


def test_a_model_with_a_damaged_separator_is_rejected_when_the_server_starts():
    model = toy_model("\nab", scale=40.0)
    model.details["settings"] = {"reset_on": 5}
    with pytest.raises(MinicharError, match=r"^reset_on is 5; it must be text$"):
        describe("toy", model)
