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
from minichar.sampling.generate import generate

# inspect


def test_inspect_shows_the_contents_of_a_checkpoint(cli, train):
    path = train("--model", "gru", "--dropout", 0.25, "--eval-val-every", 25, "--test", "input.txt")
    shown = cli("inspect", path).stdout
    model = load(path)
    assert f"model      {model.summary()}" in shown
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
    history = history_of(path)
    assert len(history) >= 2
    rows = shown.split("teacher forcing\n")[1].splitlines()
    for row, line in zip(history, rows, strict=True):
        epoch, train_loss, val, rate, share = map(float, line.split())
        assert (epoch, train_loss, val) == pytest.approx(
            (row["epoch"], row["train_loss"], row["val_loss"]), abs=6e-3
        )
        assert (rate, share) == pytest.approx((row["learning_rate"], row["teacher_forcing_ratio"]), rel=1e-2)


def test_inspect_shows_the_title(cli, train):
    assert "title      input\n" in cli("inspect", train()).stdout
    assert "title      The cats\n" in cli("inspect", train("--title", "The cats")).stdout


def test_inspect_shows_the_time_spent_in_training(cli, home):
    for seconds, shown in ((3.4, "trained    3 s\n"), (5000.0, "trained    83 min\n")):
        model = toy_model("ab")
        model.details["seconds"] = seconds
        save("timed.npz", model)
        assert shown in cli("inspect", "timed.npz").stdout
    for unknown in (None, "90", -1.0, float("inf"), True):
        model.details["seconds"] = unknown
        save("timed.npz", model)
        assert "\ntrained " not in cli("inspect", "timed.npz").stdout


def test_inspect_run_without_validation(cli, train):
    shown = cli("inspect", train("--val-frac", 0, "--train-frac", 1)).stdout
    assert re.search(r"^     2\.00 +\d\.\d{4} +- ", shown, re.MULTILINE)


def test_inspect_model_without_training_state(cli, home):
    save("toy.npz", toy_model("\n\x1b☃", unknown=True))
    shown = cli("inspect", "toy.npz").stdout
    assert "resumable  no, inference only" in shown
    assert r"vocabulary '\n\x1b☃' and the unknown token" in shown
    assert "history" not in shown


def test_inspect_model_with_a_history_but_without_training_state(cli, train):
    load(train()).save("saved.npz")
    shown = cli("inspect", "saved.npz").stdout
    assert "resumable  no, inference only" in shown
    assert "history (nats per character)" in shown


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("training", 3),
        ("training", [1]),
        ("settings", 3),
        ("settings", [1]),
    ],
)
def test_inspect_corrupted_header(cli, checkpoint, where, value):
    header, arrays = parts(checkpoint)
    {"training": header, "settings": header["details"]}[where][where] = value
    result = cli("inspect", put_together("forged.npz", header, arrays), status=1)
    assert result.stderr.startswith("Error: forged.npz is not a checkpoint that minichar can read: its ")
    assert result.stdout == ""


def test_inspect_escapes_names_and_values(cli, home):
    model = toy_model()
    model.details["settings"] = {
        "\x1b[2J": "\x1b]0;title\x07",
        "seed": 10**300,
        "a\nb": [{"\x9b": float("nan")}],
    }
    save("toy.npz", model)
    shown = cli("inspect", "toy.npz").stdout
    assert re.search(r"^  '\\x1b\[2J' +'\\x1b\]0;title\\x07'$", shown, re.MULTILINE)
    assert re.search(rf"^  seed +{10**300}$", shown, re.MULTILINE)
    assert re.search(r"^  'a\\nb' +\[\{'\\x9b': nan\}\]$", shown, re.MULTILINE)


def test_long_names_and_values_are_truncated(cli, home):
    model = toy_model()
    model.details = {"origin": {"path": "x" * 10**5}, "settings": {"y" * 10**5: 1, "title": "z" * 10**5}}
    model.details["settings"]["-" * 10**5] = 1
    save("toy.npz", model)
    for command in ("inspect", "sample"):
        result = cli(command, "toy.npz")
        assert max(map(len, result.output.splitlines())) < LONGEST_PATH + 200


# convert


def test_convert_prints_the_path_and_sizes(cli, checkpoint, home):
    result = cli("convert", checkpoint)
    target = checkpoint.removesuffix(".npz") + ".inference.npz"
    assert result.stdout == f"{target}\n"
    before, after = (int(n.replace(",", "")) for n in re.findall(r"[\d,]+", result.stderr)[:2])
    assert before == (home / checkpoint).stat().st_size
    assert after == (home / target).stat().st_size
    assert cli("sample", target, "--seed", 5).stdout == cli("sample", checkpoint, "--seed", 5).stdout
    assert f"{checkpoint}: " in cli("sample").stderr, "sample ignores converted models in cv/"


def test_convert_to_half_precision(cli, checkpoint):
    assert cli("convert", checkpoint, "half.npz", "--dtype", "float16").stdout == "half.npz\n"
    weights = load("half.npz").parameters
    np.testing.assert_array_equal(weights.flat, load(checkpoint).parameters.flat.astype("float16"))
    assert "".join(generate(load("half.npz"), 20))


def test_convert_overwrites_a_file_only_with_force(cli, checkpoint, home):
    (home / "there.npz").write_text("mine")
    result = cli("convert", checkpoint, "there.npz", status=1)
    assert (
        result.stderr
        == "Error: there.npz already exists: choose another name, or use --force to overwrite it\n"
    )
    assert (home / "there.npz").read_text() == "mine"
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


@pytest.mark.parametrize(
    "arguments",
    [
        ["--num-layers", 1],
        ["--num-layers", 3],
        ["--dropout", 0],
        ["--weight-drop", 0],
        ["--layer-norm"],
        ["--embedding", 2],
        ["--tied"],
        ["--teacher-forcing-ratio", 1],
        ["--teacher-forcing-ratio", 0],
    ],
)
def test_gradcheck_options(cli, arguments):
    tiny = ["gradcheck", "--rnn-size", 3, "--vocab-size", 3, "--seq-length", 3, "--batch-size", 2]
    checked = cli(*tiny, *arguments).stdout
    rows = checked.splitlines()[1:]
    assert rows
    assert all(row.endswith("passed") for row in rows)
    assert checked != cli(*tiny).stdout


def test_gradcheck_is_reproducible(cli):
    options = ["gradcheck", "--rnn-size", 3, "--num-layers", 1]
    once, again, other = (cli(*options, "--seed", seed).stdout for seed in (1, 1, 2))
    assert once == again != other


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


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--rnn-size", 0], 1),
        (["--num-layers", -1], 1),
        (["--vocab-size", 1], 2),
        (["--dropout", 1], 1),
        (["--embedding", -1], 1),
        (["--tied", "--embedding", 4], 1),
        (["--seq-length", 0], 2),
        (["--batch-size", 0], 2),
        (["--teacher-forcing-ratio", 1.5], 2),
        (["--layer-norm", "--rnn-size", 2], 2),
        (["--seed", -1], 2),
        (["--model", "transformer"], 2),
    ],
)
def test_gradcheck_invalid_options(cli, arguments, status):
    result = cli("gradcheck", *arguments, status=status)
    assert result.stdout == ""
    assert result.stderr.count("Error: ") == 1
