import re
from dataclasses import replace

import numpy as np
import pytest
from toys import history_of, parts, put_together, toy_model

from minichar import load
from minichar.checkpoints.checkpoint import save
from minichar.engine import lstm
from minichar.engine.cells import CELLS
from minichar.errors import LONGEST_PATH

# inspect


def test_inspect_shows_the_contents_of_a_checkpoint(cli, train):
    path = train("--model", "gru", "--dropout", 0.25, "--eval-val-every", 25, "--test", "input.txt")
    shown = cli("inspect", path).stdout
    model = load(path)
    assert f"title      input\nmodel      {model.summary()}" in shown
    assert "dropout 0.25" in shown
    assert f"vocabulary {model.vocabulary.characters!r}\n" in shown
    assert "resumable  yes, with `minichar train --resume`" in shown
    for name, view in model.parameters.items():
        size = " × ".join(map(str, view.shape))
        assert re.search(rf"  {name} +{size} +{view.size:,}  max \|w\| {abs(view).max():.3g}\n", shown)
    settings = model.details["settings"]
    assert settings.pop("val") is None
    assert "  val " not in shown
    for name, value in settings.items():
        assert re.search(rf"^  {name} +{re.escape(repr(value))}$", shown, re.MULTILINE), name
    rows = [line.split() for line in shown.split("teacher forcing\n")[1].splitlines()]
    assert len(rows) >= 2
    columns = {"epoch": ".2f", "train_loss": ".4f", "val_loss": ".4f"}
    columns |= {"learning_rate": ".3g", "teacher_forcing_ratio": ".3g"}
    assert rows == [[format(row[name], form) for name, form in columns.items()] for row in history_of(path)]


def test_inspect_shows_the_time_spent_in_training(cli, home):
    model = toy_model("ab")
    for seconds, shown in ((5000.0, ["trained    83 min"]), ("90", []), (-1.0, []), (float("inf"), [])):
        model.details["seconds"] = seconds
        save("timed.npz", model)
        assert re.findall("^trained .*", cli("inspect", "timed.npz").stdout, re.MULTILINE) == shown


def test_inspect_model_without_training_state(cli, home):
    model = toy_model("\n\x1b☃", unknown=True)
    model.details = {"origin": {"path": "x" * 10**5}}
    save("toy.npz", model)
    shown = cli("inspect", "toy.npz").stdout
    assert "resumable  no, inference only" in shown
    assert r"vocabulary '\n\x1b☃' and the unknown token" in shown
    assert "history" not in shown
    assert max(map(len, cli("sample", "toy.npz").stderr.splitlines())) < LONGEST_PATH + 200


@pytest.mark.parametrize(("where", "value"), [("training", [1]), ("settings", 3)])
def test_inspect_corrupted_header(refused, checkpoint, where, value):
    header, arrays = parts(checkpoint)
    {"training": header, "settings": header["details"]}[where][where] = value
    put_together("forged.npz", header, arrays)
    error = refused("inspect", "forged.npz")
    assert error.startswith("Error: forged.npz is not a checkpoint that minichar can read: its ")


def test_inspect_escapes_names_and_values(cli, home):
    model = toy_model()
    model.details["settings"] = {
        "\x1b[2J": "\x1b]0;title\x07",
        "seed": 10**300,
        "a\nb": [{"\x9b": float("nan")}],
        "y" * 10**5: "z" * 10**5,
    }
    save("toy.npz", model)
    shown = cli("inspect", "toy.npz").stdout
    assert re.search(r"^  '\\x1b\[2J' +'\\x1b\]0;title\\x07'$", shown, re.MULTILINE)
    assert re.search(rf"^  seed +{10**300}$", shown, re.MULTILINE)
    assert max(map(len, shown.splitlines())) < LONGEST_PATH + 200
    assert re.search(r"^  'a\\nb' +\[\{'\\x9b': nan\}\]$", shown, re.MULTILINE)


# convert


def test_convert_prints_the_path_and_sizes(cli, checkpoint, home):
    cli("convert", checkpoint, "half.npz", "--dtype", "float16")
    weights = load("half.npz").parameters
    np.testing.assert_array_equal(weights.flat, load(checkpoint).parameters.flat.astype("float16"))
    result = cli("convert", checkpoint)
    target = checkpoint.removesuffix(".npz") + ".inference.npz"
    assert result.stdout == f"{target}\n"
    before, after = (int(n.replace(",", "")) for n in re.findall(r"[\d,]+", result.stderr)[:2])
    assert before == (home / checkpoint).stat().st_size
    assert after == (home / target).stat().st_size
    options = ("--seed", 5, "--length", 50)
    assert cli("sample", target, *options).stdout == cli("sample", checkpoint, *options).stdout
    assert f"{checkpoint}: " in cli("sample", "--length", 1).stderr, "sample ignores converted models in cv/"


def test_convert_overwrites_a_file_only_with_force(cli, refused, checkpoint, home):
    (home / "there.npz").write_text("mine")
    advice = "choose another name, or use --force to overwrite it"
    assert refused("convert", checkpoint, "there.npz") == f"Error: there.npz already exists: {advice}"
    cli("convert", checkpoint, "there.npz", "--force")
    assert load("there.npz").config == load(checkpoint).config


# gradcheck


@pytest.mark.parametrize("model", CELLS)
def test_gradcheck_passes_for_every_parameter(cli, model):
    result = cli("gradcheck", "--model", model, "--rnn-size", 3, "--vocab-size", 4, "--seq-length", 5)
    heading, *rows = result.stdout.splitlines()
    assert heading.split() == ["parameter", "shape", "complex", "step", "central", "difference", "verdict"]
    shapes = toy_model("abcd", model=model, rnn_size=3, num_layers=2).parameters.shapes
    for (name, shape), row in zip(shapes.items(), rows, strict=True):
        match = re.fullmatch(rf"{name} +{' × '.join(map(str, shape))} +(\S+) +(\S+)  passed", row)
        assert match, row
        assert float(match[1]) <= 1e-12
        assert 1e-16 < float(match[2]) <= 1e-6
    assert "limits: complex step 1e-12, central difference 1e-06" in result.stderr


def test_gradcheck_options(cli):
    options = [], ["--num-layers", 3], ["--seed", 2], ["--dropout", 0], ["--weight-drop", 0], ["--layer-norm"]
    options += ["--embedding", 2], ["--tied"], ["--teacher-forcing-ratio", 0]
    tiny = ["gradcheck", "--rnn-size", 3, "--vocab-size", 3, "--seq-length", 3, "--batch-size", 2]
    results = [cli(*tiny, *each).stdout for each in options]
    assert len(set(results)) == 9
    for shown in results:
        assert all(row.endswith("passed") for row in shown.splitlines()[1:])


def test_gradcheck_finds_a_broken_backward_pass(cli, monkeypatch):
    def broken(xp, dh, dc, cache):
        da, dc_prev = lstm.backward(xp, dh, dc, cache)
        return da, dc_prev * (1 + 1e-6)

    (stage,) = lstm.LSTM.stages
    wrong = replace(lstm.LSTM, stages=(replace(stage, backward=broken),))
    monkeypatch.setitem(CELLS, "lstm", wrong)
    result = cli("gradcheck", "--rnn-size", 3, status=1)
    verdicts = {row.split()[0]: row.split()[-1] for row in result.stdout.splitlines()[1:]}
    assert verdicts["layer1.W"] == "FAILED"
    assert verdicts["readout.W"] == "passed"
