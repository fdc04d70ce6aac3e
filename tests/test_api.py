import numpy as np
import pytest
from toys import TEXT, toy_model

import minichar
from minichar.training.trainer import Evaluated, Saved, Step

TOY = {"rnn_size": 8, "num_layers": 1, "batch_size": 4, "seq_length": 6, "max_epochs": 1}


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_text(TEXT)
    return tmp_path


def test_the_public_names():
    assert set(minichar.__all__) >= {
        "load",
        "save",
        "CharRNN",
        "Vocabulary",
        "generate",
        "train",
        "MinicharError",
    }
    assert all(hasattr(minichar, name) for name in minichar.__all__)


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_train_load_generate(text, kind):
    events = []
    model = minichar.train(kind(text), events.append, checkpoint_dir=kind(text / "out"), **TOY)
    assert [type(event) for event in events[-3:]] == [Step, Evaluated, Saved]
    assert isinstance(model, minichar.CharRNN)
    back = minichar.load(events[-1].path)
    np.testing.assert_array_equal(back.parameters.flat, model.parameters.flat)
    assert back.vocabulary == model.vocabulary == minichar.Vocabulary("".join(sorted(set(TEXT))))
    written = "".join(minichar.generate(back, length=50, prime="the "))
    assert len(written) == 50
    assert written == "".join(minichar.generate(model, length=50, prime="the "))


def test_train_is_what_the_command_line_does(text):
    assert minichar.train("input.txt", **TOY).details["settings"]["checkpoint_dir"] == "cv"
    assert len(list((text / "cv").iterdir())) == 1


def test_a_model_of_ones_own(tmp_path):
    model = toy_model()
    minichar.save(tmp_path / "own.npz", model)
    np.testing.assert_array_equal(minichar.load(tmp_path / "own.npz").parameters.flat, model.parameters.flat)


def test_a_mistake_is_one_kind_of_error(text):
    for data, settings in (("nothing", {}), (text, {"rnn_size": 0}), (text, {"learning_rate": "fast"})):
        with pytest.raises(minichar.MinicharError):
            minichar.train(data, **settings)
    assert not (text / "cv").exists()


def test_a_setting_that_does_not_exist_is_a_fault_of_the_program(text):
    with pytest.raises(TypeError, match="rnnsize"):
        minichar.train(text, rnnsize=3)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"num_layers": 1}, "LSTM, 1 layer of 4, 6 characters, "),
        ({"model": "gru", "gru_reset": "before"}, "GRU (reset before the product), 2 layers of 4, "),
        ({"model": "rnn", "dropout": 0.25}, "RNN, 2 layers of 4, dropout 0.25, 6 characters"),
    ],
)
def test_a_model_says_what_it_is(config, words):
    model = toy_model(**config)
    assert model.summary().startswith(words)
    assert model.summary().endswith(f" {sum(view.size for _, view in model.parameters.items())} parameters")
