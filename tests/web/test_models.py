from math import log

import pytest
from toys import generation, toy_model

from minichar.checkpoints.checkpoint import save
from minichar.errors import MinicharError
from minichar.sampling.generate import generate
from minichar.web.models import describe, load_models


def test_a_checkpoint_that_is_deleted_after_it_was_listed_is_skipped(tmp_path, monkeypatch):
    gone, kept = (tmp_path / f"lm_lstm_epoch1.00_{loss}.npz" for loss in ("1.0000", "2.0000"))
    save(kept, toy_model())
    monkeypatch.setattr("minichar.web.models.all_checkpoints", lambda directory: [gone, kept])
    assert [name[: len(kept.stem)] for name in load_models([tmp_path])] == [kept.stem]
    with pytest.raises(MinicharError, match="no such checkpoint"):
        load_models([gone])


def test_only_the_best_checkpoint_of_each_run_in_a_directory_is_loaded(tmp_path):
    runs = {run: {"run": {"id": run, "iteration": 1, "saved": 1.0}} for run in "ab"} | {"c": {}}
    for run, details in runs.items():
        for loss in ("2.0000", "1.0000"):
            model = toy_model()
            model.details |= details
            if run != "c":
                model.details["run"] = details["run"] | {"iteration": int(float(loss))}
            model.parameters.flat[0] = float(loss) + ord(run)
            save(tmp_path / f"lm_{run}_epoch1.00_{loss}.npz", model)
    names = [name[:21] for name in load_models([tmp_path])]
    assert sorted(names) == [f"lm_{run}_epoch1.00_1.0000" for run in runs]
    worse = tmp_path / "lm_a_epoch1.00_2.0000.npz"
    assert len(load_models([worse, tmp_path])) == 4  # a file that is named is always loaded


def test_the_description_of_a_model_contains_no_path_of_the_server():
    model = toy_model("\nab", model="gru", num_layers=3)
    model.details |= {"val_loss": 1.5, "origin": {"path": "/home/ann/secret/poems.txt", "digest": "x"}}
    info = describe("toy", model)
    assert "ann" not in repr(info)
    public = info.public()
    named = {"title": "poems", "cell": "gru", "layers": 3, "units": 4, "loss": 1.5, "entropy": 1.5}
    assert named.items() <= public.items()
    model.details["val_loss"] = None
    assert describe("toy", model).public()["entropy"] == pytest.approx(log(3) / 2)


def test_without_a_prompt_text_starts_at_the_beginning_of_a_document():
    pytest.importorskip("jsonschema")
    from web_helpers import client_of, events_of, local_queue

    model = toy_model("\nab", scale=40.0)
    model.details["settings"] = {"reset_on": "a"}
    with client_of(local_queue({"toy": model}, pace=0)) as client:
        data = {"prime": "", "length": 60, "seed": 5, "stop": []}
        text = events_of(client.post("/api/generate", json=data)).text
    assert text == "".join(generate(model.exact(), generation(60, seed=5)))
    assert text != "".join(generate(model.exact(), generation(60, "\n", seed=5)))


def test_a_model_with_a_damaged_separator_is_rejected_when_the_server_starts():
    model = toy_model("\nab", scale=40.0)
    model.details["settings"] = {"reset_on": 5}
    with pytest.raises(MinicharError, match=r"^reset_on is 5; it must be text$"):
        describe("toy", model)
