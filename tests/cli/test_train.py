import json
import re
from math import log
from pathlib import Path

import numpy as np
import pytest
from toys import TEXT, TOY, history_of

from minichar import load
from minichar.checkpoints.choosing import best_checkpoint
from minichar.checkpoints.naming import loss_in_name


@pytest.mark.usefixtures("text_cache")
def test_the_characters_of_the_text_are_counted_before_rare_ones_are_replaced(cli):
    for _ in ("counted", "cached"):
        said = cli("train", "--data", "input.txt", *TOY, "--max-epochs", 1, "--min-freq", 20).stderr
        assert f"characters, {len(set(TEXT))} distinct\n           replaced " in said


def test_several_texts_are_joined_as_in_a_directory_and_may_move_before_a_run_is_resumed(cli, refused, home):
    for name in ("texts/a.txt", "texts/b.txt"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(TEXT[len(name) :] + name)
    said = cli("train", "texts/a.txt", "texts/b.txt", *TOY, "--max-epochs", 1).stderr
    assert "text       texts/a.txt and 1 more: 2 files" in said
    assert "1 reset in the text" in said
    (home / "texts").rename(home / "moved")
    said = cli("train", "moved/a.txt", "moved/b.txt", "--resume", "--max-epochs", 2).stderr
    assert "           --data is now moved/a.txt and 1 more\n" in said
    assert cli("train", "moved", "--resume", "--max-epochs", 3)
    assert load("cv").title == "moved"
    error = refused("train", "moved/b.txt", "moved/a.txt", "--resume", "--max-epochs", 4)
    assert "moved/b.txt and 1 more is not the text that cv/lm_" in error


def test_output_of_a_run(cli):
    result = cli("train", "--data", "input.txt", *TOY, "--eval-val-every", 25, "--print-every", 10)
    path, said, V = Path(result.stdout.removesuffix("\n")), result.stderr, len(set(TEXT))
    assert path == best_checkpoint(Path("cv"))
    model = f"LSTM, 1 layer of 8, {load(path).parameters.size:,} parameters"
    for words in (
        f"text       input.txt: {len(TEXT)} characters, {V} distinct",
        model,
        f" (uniform baseline: {log(V):.3f})\n",
        f"generate   minichar sample {path} --temperature 0.8",
    ):
        assert words in said
    for count, pattern in (
        (1, r"split      94% training, 6% validation, in chunks of 4×6 characters"),
        (1, r"device     NumPy [\d.]+ with \S+ \S+, (?:up to \d+ threads|1 thread).*"),
        (3, r"epoch \d\.\d\d/1  loss \d\.\d{3}  [\d,]+ characters/s"),
        (2, r"epoch \d\.\d\d  train \d\.\d{4}  validation \d\.\d{4}(?:  \(best .*\))?"),
        (1, r"epoch 1\.00  train \d\.\d{4}  validation \d\.\d{4}(?:  \(best .*\))?"),
        (0, ".*saved .*"),
        (1, r"           sample: .{50,60}"),  # in five seconds
    ):
        assert len(re.findall(f"^{pattern}$", said, re.MULTILINE)) == count, pattern
    initial = re.search(r"initial    loss ([\d.]+) ", said)[1]
    assert float(initial) == pytest.approx(log(V), abs=0.1)
    assert max(map(len, said.splitlines())) <= 80
    assert not {"\r", "\x1b"} & {*said}


def test_warnings_about_other_checkpoints_and_few_steps(cli, home):
    arguments = ["train", "--data", "input.txt", *TOY, "--max-val-chunks", 1, "--checkpoint-dir", "my cv"]
    other = "\nwarning    my cv/ also contains another run, which is kept\n"
    other += "           from now on, `minichar sample 'my cv'` uses the best run on this text\n"
    other += "           to separate them, use --checkpoint-dir 'my cv-2'\n"
    few = r"^warning    only \d+ training steps: increase --max-epochs or reduce --batch-size$"
    first = cli(*arguments).stderr
    assert other not in first
    assert re.search(few, first, re.M)
    assert first.count("each evaluation uses 1 of 2 validation chunks\n") == 1
    assert "generate   minichar sample 'my cv/lm_lstm_epoch1.00_" in first
    assert "training steps: increase" not in cli("train", "--resume", "my cv", "--max-epochs", 1.1).stderr
    assert other in cli(*arguments).stderr
    (home / "other.txt").write_text("another text " * 100)
    new = cli(*("other.txt" if each == "input.txt" else each for each in arguments)).stderr
    assert "\nwarning    my cv/ also contains a run on another text, which is kept\n" in new
    assert "\n           from now on, `minichar sample 'my cv'` uses the new run\n" in new
    automatic = cli(*arguments, "--batch-size", "auto").stderr
    assert re.search(r"^warning    only \d+ training steps: increase --max-epochs$", automatic, re.M)


def test_samples_during_training(cli, monkeypatch):
    """Generating samples must not affect training."""
    monkeypatch.setattr("minichar.cli.report.SAMPLE_PAUSE", 0.0)
    arguments = ["--eval-val-every", 10, "--dropout", 0.2, "--start-ss", 0.9]
    never, often = (
        cli("train", "--data", "input.txt", *TOY, *arguments, "--sample-every", n) for n in (0, 2)
    )
    assert (never.stderr.count("sample: "), often.stderr.count("sample: ")) == (0, 2)
    assert never.stderr.count("  validation ") == 4
    assert never.stdout.replace(".npz", "-2.npz") == often.stdout


def test_log_has_one_json_object_per_line(train, home):
    (home / "log.jsonl").write_text('{"mine": 1}\n')
    path = train("--log", "log.jsonl", "--print-every", 10, "--eval-val-every", 15)
    lines = [json.loads(line) for line in (home / "log.jsonl").read_text().splitlines()]
    assert lines.pop(0) == {"mine": 1}
    steps = [line for line in lines if line["event"] == "step"]
    evaluations = [line for line in lines if line["event"] == "evaluation"]
    assert len(steps) + len(evaluations) == len(lines)
    assert [step["iteration"] for step in steps] == [10, 20, 30]
    assert all(step["loss"] > 0 and step["characters_per_second"] > 0 for step in steps)
    history = history_of(path)
    assert [row["val"]["loss"] for row in evaluations] == [row["val_loss"] for row in history]
    assert [row["fit"]["last"] for row in evaluations] == [row["fit_last"] for row in history]
    assert [row["iteration"] for row in evaluations] == [row["iteration"] for row in history] == [15, 30, 33]


def test_default_is_the_built_in_text(cli, home, monkeypatch, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MINICHAR_CACHE", str(cache))
    monkeypatch.setattr("minichar.text.datasets.pydocs_text", lambda: TEXT)
    (home / "input.txt").unlink()
    result = cli("train", *TOY)
    assert "text       data/pydocs/input.txt" in result.stderr
    files = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    assert files == {"data/pydocs/input.txt", result.stdout.strip()}
    assert (home / "data" / "pydocs" / "input.txt").read_text() == TEXT
    assert not (cache / "texts").exists()  # the text is small


def test_a_resumed_run_needs_only_the_options_that_change(cli, train, measure):
    path = train("--max-epochs", 1)
    measure(3.9)
    result = cli("train", "--resume", path, "--max-epochs", 2, "--learning-rate", 0.01)
    assert "--learning-rate is now 0.01" in result.stderr
    assert result.stdout.strip() == path, "the best checkpoint may precede the resumed run"
    assert f"  validation 3.9000  (best {Path(path).stem[-6:]})\n" in result.stderr


def test_failed_run(refused, train):
    """The error must name the parameter, and existing checkpoints must not change."""
    train()
    error = refused("train", "--data", "input.txt", *TOY, "--quiet", "--learning-rate", 1e10, introduced=True)
    assert re.fullmatch(r"Error: training failed: loss .*Parameter (layer1|readout)\.Wx? .*", error)


@pytest.mark.parametrize(("folder", "other"), [("a.5", "a.5-2"), (".", "cv-2"), ("..", "../cv-2")])
def test_another_directory_is_suggested_beside_that_of_another_run(
    train, cli, home, monkeypatch, folder, other
):
    (home / "here").mkdir()
    monkeypatch.chdir(home / "here")
    words = "train", "--data", "../input.txt", *TOY, "--checkpoint-dir", folder
    assert "to separate them" not in cli(*words).stderr
    assert f"to separate them, use --checkpoint-dir {other}\n" in cli(*words).stderr
    assert f" --checkpoint-dir {other}" in cli("inspect", folder).stdout


def test_a_better_checkpoint_than_the_resumed_one_is_named(cli, train):
    best = Path(train("--max-epochs", 1))
    cli("train", "--resume", "cv", "--max-epochs", 2)
    (newest,) = Path("cv").glob("*epoch2*")
    for factor, noted in ((1.005, False), (1.02, True)):
        loss = round(factor * loss_in_name(best), 4)
        newest = newest.rename(newest.with_name(f"lm_lstm_epoch2.00_{loss:.4f}.npz"))
        said = cli("train", "--resume", newest, "--max-epochs", 2.1).stderr
        losses = f"its loss is {loss:.3f}, but was {loss_in_name(best):.3f} before"
        note = f"           {losses}; to resume from there:\n  minichar train --resume {best}\n"
        assert (note in said) == noted
    stopped = newest.rename(newest.with_name("lm_lstm_epoch2.00_interrupted.npz"))
    assert "its loss is" not in cli("train", "--resume", stopped, "--max-epochs", 2.1).stderr


def test_directory_as_a_checkpoint(cli, train):
    """``--resume`` uses the newest checkpoint; all other commands use the best one."""
    train("--max-epochs", 1)
    assert "resumed    at epoch 1.00" in cli("train", "--resume", "cv", "--max-epochs", 2).stderr
    newest = max(Path("cv").glob("lm_*"), key=lambda path: path.stat().st_mtime)
    best = min(Path("cv").glob("lm_*"), key=loss_in_name)
    assert newest.name.startswith("lm_lstm_epoch2.00")
    assert f"checkpoint {best}\n" in (shown := cli("inspect").stdout)
    assert cli("inspect", "cv").stdout == cli("inspect", best).stdout == shown
    cli("convert", "cv", "small.npz")
    assert "small.npz, trained on 'input.txt', on cpu, " in cli("sample", "small.npz").stderr
    cli("train", "--data", "input.txt", "--init-from", "cv", "--max-epochs", 1, "--checkpoint-dir", "tuned")
    assert "resumed    at epoch 1.00" in cli("train", "--resume", "tuned", "--max-epochs", 2).stderr


def test_prints_the_best_checkpoint_instead_of_the_last(train, measure):
    measure(2.50001, 2.50002, 3.5)  # the first two are equal in file names, of which the newest is used
    assert train("--eval-val-every", 14) == "cv/lm_lstm_epoch0.85_2.5000.npz"
    assert len(list(Path("cv").iterdir())) == 3


# --init-from


def test_init_from_keeps_the_architecture(cli, train):
    options = ("--init-from", train("--model", "gru"), "--data", "input.txt", "--checkpoint-dir", "tuned")
    options += ("--max-epochs", 1)
    config = load(cli("train", *options).stdout.strip()).config
    assert (config.model, config.rnn_size) == ("gru-reset-before", 8)
    for repeated in (("--model", "gru-reset-before"), ("--recipe", "char-rnn", "--model", "gru")):
        assert "GRU (reset before" in cli("train", *options, *repeated).stderr
    error = cli("train", *options, "--model", "gru", status=1).stderr
    assert "--model gru does not match the --init-from model, which has gru-reset-before" in error


def test_init_from_reads_other_formats(cli, train):
    """The learning rate is too small to change the weights."""
    pytest.importorskip("safetensors")
    first = train("--learning-rate", 0.02)
    cli("convert", first, "model.safetensors")
    tuned = train("--init-from", "model.safetensors", "--learning-rate", 1e-30, "--checkpoint-dir", "tuned")
    np.testing.assert_array_equal(load(tuned).parameters.flat, load(first).parameters.flat)
