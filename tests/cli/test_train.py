import json
import os
import pty
import re
import signal
import sys
from codecs import getincrementaldecoder
from dataclasses import asdict
from itertools import product
from math import log
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from toys import TEXT, TOY, history_of, listing, parts, put_together

import minichar.cli.train as train_module
import minichar.training.recipes as recipes_module
import minichar.training.validation as validation_module
from minichar import MinicharError, load
from minichar.checkpoints.naming import best_checkpoint, loss_in_name
from minichar.cli import advice
from minichar.cli.report import apparent_start
from minichar.cli.train import command
from minichar.training.evaluation import Evaluation
from minichar.training.settings import Settings
from minichar.training.trainer import Trainer

OTHER = {
    "recipe": "laptop",
    "data": Path("other.txt"),
    "encoding": "gb18030",
    "min_freq": 2,
    "reset_on": ".\n",
    "split": "tail",
    "train_frac": 0.8,
    "val_frac": 0.1,
    "model": "gru",
    "rnn_size": 7,
    "num_layers": 3,
    "dropout": 0.5,
    "gru_reset": "before",
    "weight_drop": 0.4,
    "embedding": 6,
    "layer_norm": True,
    "seq_length": 9,
    "batch_size": 11,
    "max_epochs": 4.5,
    "patience": 3,
    "max_time": 1.5,
    "learning_rate": 0.01,
    "learning_rate_schedule": "cosine",
    "warmup": 0.2,
    "learning_rate_decay": 0.5,
    "learning_rate_decay_after": 3,
    "decay_rate": 0.9,
    "ema": 0.99,
    "grad_clip": 1.0,
    "clip_norm": 2.0,
    "use_ss": True,
    "start_ss": 0.7,
    "decay_ss": 0.1,
    "min_ss": 0.2,
    "ss_schedule": "inverse-sigmoid",
    "ss_feed": "argmax",
    "seed": 9,
    "dtype": "float64",
    "eval_val_every": 5,
    "max_val_chunks": 7,
    "sample_every": 2,
    "checkpoint_dir": Path("out"),
    "savefile": "mine",
    "title": "Mine, 2nd edition",
    "keep": 1,
    "checkpoint_every": 7.5,
}
"""A non-default value for every option."""


def arguments_for(values, joined):
    """Convert option values to command-line arguments. `joined` separates the words in option names."""
    arguments = []
    for name, value in values.items():
        option = name.replace("_", joined)
        arguments += [f"--{option}"] if value is True else [f"--{option}", str(value)]
    return arguments


@pytest.fixture
def begun(monkeypatch):
    """Patch `begin` so that no training takes place, and return a list of the settings passed to it."""
    caught = []

    def begin(settings, backend, team):
        caught.append(settings)
        raise MinicharError("caught")

    monkeypatch.setattr(train_module, "begin", begin)
    return caught


def test_other_has_a_non_default_value_for_every_setting():
    defaults = asdict(Settings())
    assert OTHER.keys() == defaults.keys()
    assert not [name for name, value in OTHER.items() if value == defaults[name]]


@pytest.mark.parametrize("joined", ["-", "_"])
def test_options_accept_hyphens_and_underscores(cli, begun, joined, monkeypatch):
    monkeypatch.setattr(
        recipes_module, "check_effect", lambda *_: None
    )  # OTHER sets step-decay options, which its cosine schedule does not use
    cli("train", *arguments_for(OTHER, joined), status=1)
    assert begun == [Settings(**OTHER)]
    assert {name: type(value) for name, value in asdict(begun[0]).items()} == {
        name: type(value) for name, value in OTHER.items()
    }


def test_options_that_are_not_settings(cli, begun):
    for joined in "-_":
        cli(
            "train",
            f"--print{joined}every",
            7,
            f"--sample{joined}every",
            3,
            "--quiet",
            "--log",
            "x",
            status=1,
        )
        assert "no such checkpoint: a.npz" in cli("train", f"--init{joined}from", "a.npz", status=1).stderr
    assert "no such checkpoint: a.npz" in cli("train", "--resume", "a.npz", status=1).stderr


def test_defaults_match_the_settings(cli, begun):
    cli("train", status=1)
    assert begun == [Settings()]
    assert begun[0].rnn_size == 128
    defaults = {parameter.name: parameter.default for parameter in command.params}
    assert defaults["print_every"] == 100


def test_help_lists_every_option_under_a_heading(cli):
    text = cli("train", "--help").stdout
    headings = [
        "Text:",
        "Model:",
        "Training:",
        "Scheduled sampling:",
        "Evaluation and checkpoints:",
        "Output:",
    ]
    places = [text.index(heading) for heading in headings]
    assert places == sorted(places)
    for parameter in (parameter for parameter in command.params if isinstance(parameter, click.Option)):
        assert parameter.help, parameter.name
        assert f"--{parameter.opts[0].removeprefix('--')}" in text
    shown = " ".join(text.split())
    for option, default in (
        ("--rnn-size", "128"),
        ("--learning-rate", "0.008"),
        ("--val-frac", "0.05"),
        ("--use-ss / --no-use-ss", "no-use-ss"),
        ("--checkpoint-dir", "cv"),
        ("--print-every", "100"),
        ("--eval-val-every", "0"),
    ):
        assert re.search(rf"{option} .*?\[default: {default}", shown), option


def test_output_of_a_run(cli):
    result = cli("train", "--data", "input.txt", *TOY, "--eval-val-every", 25, "--print-every", 10)
    V = len(set(TEXT))
    said = result.stderr
    path = Path(result.stdout.strip())
    assert result.stdout == f"{path}\n"
    assert path == best_checkpoint(Path("cv"))
    parameters = load(path).parameters.size
    assert f"text       input.txt: {len(TEXT)} characters, {V} distinct" in said
    assert re.search(r"split      columns: 3\d training, 2 validation, 0 test chunks of 4×6\n", said)
    assert f"LSTM, 1 layer of 8, {V} characters, {parameters:,} parameters" in said
    assert "           a reasonable size to start with for this text\n" in said
    assert re.search(r"device     NumPy [\d.]+ with \S+ \S+, (up to \d+ threads|1 thread)", said)
    first = re.search(r"initial    loss ([\d.]+) \(uniform baseline: ln V = ([\d.]+)\)", said)
    assert float(first[1]) == pytest.approx(log(V), abs=0.1)
    assert first[2] == f"{log(V):.3f}"
    assert (
        len(re.findall(r"^epoch \d\.\d\d/2  loss \d\.\d{3}  [\d,]+ characters/s$", said, re.MULTILINE)) == 6
    )
    measured = re.findall(
        r"^epoch (\d\.\d\d)  train \d\.\d{4}  validation (\d\.\d{4}) nats = (\d\.\d{3}) bits per character\n"
        r"           validation: first chunk \d\.\d{3}, last \d\.\d{3}$",
        said,
        re.MULTILINE,
    )
    assert len(measured) == 3
    assert measured[-1][0] == "2.00"
    for _, nats, bits in measured:
        assert float(bits) == pytest.approx(float(nats) / log(2), abs=2e-3)
    assert len(re.findall(r"^           sample: .{60}$", said, re.MULTILINE)) == 3
    assert said.count("(best so far)") >= 1
    assert f"saved {path} (best so far)" in said
    assert f"generate text: minichar sample {path}" in said
    assert max(map(len, said.splitlines())) <= 80
    assert "\r" not in said
    assert "\x1b" not in said


def test_warnings_about_other_checkpoints_and_few_steps(cli):
    arguments = ["train", "--data", "input.txt", *TOY]
    first = cli(*arguments).stderr
    assert "other checkpoints" not in first
    assert re.search(r"only \d+ training steps: increase --max-epochs or reduce --batch-size", first)
    again = cli(*arguments).stderr
    assert "cv/ contains other checkpoints; `minichar sample` uses the best one" in again


def test_a_limit_on_validation_chunks_is_reported_once(cli):
    arguments = ["train", "--data", "input.txt", *TOY, "--train-frac", 0.8, "--val-frac", 0.2]
    said = cli(*arguments, "--eval-val-every", 10, "--max-val-chunks", 2).stderr
    assert said.count("each evaluation uses 2 of 7 validation chunks\n") == 1
    assert said.count("validation: first chunk") > 3


def test_text_without_the_data_option(cli):
    assert "minichar train --data input.txt" in cli("train", "input.txt", status=2).stderr


def test_advice_on_overfitting_and_underfitting(cli, monkeypatch):
    monkeypatch.setattr(advice, "FEW_UPDATES", 0)
    arguments = ["train", "--data", "input.txt", *TOY, "--eval-val-every", 15]
    falling, level = [4.0, 3.9, 3.8, 3.7, 3.6], [4.0] * 5
    for losses, fit, word in (
        (falling, 4.0, "underfitting: train longer"),
        (level, 4.0, "plateau: stop"),
        (level, 3.0, "overfitting (gap 1.00): "),
    ):
        measure(monkeypatch, *losses, fit=fit)
        said = cli(*arguments).stderr
        before, after = said.split("epoch 1.3", 1)
        assert word not in before  # no advice in the first epoch
        assert after.count(word) == 3


def test_advice_depends_on_the_size_of_the_model_and_on_the_number_of_steps(cli, monkeypatch):
    arguments = ["train", "--data", "input.txt", *TOY, "--eval-val-every", 30]
    for few, size, said in (
        (0, 8, "plateau: stop, or try a larger --rnn-size"),
        (0, 40, "plateau: stop, or try another learning rate"),
        (500, 8, "underfitting: train longer\n"),
    ):
        monkeypatch.setattr(advice, "FEW_UPDATES", few)
        measure(monkeypatch, *[4.0] * 5, fit=4.0)
        assert said in cli(*arguments, "--rnn-size", size).stderr


LEARNED = "the cat sat on the mat and the dog ate the rat " * 8 + "zebras jump vexed quick foxes"


@pytest.mark.parametrize("options", [["--dropout", 0.5], ["--use-ss", "--start-ss", 0.5, "--min-ss", 0.5]])
def test_dropout_and_scheduled_sampling_do_not_hide_overfitting(cli, home, options):
    """Both options raise the training loss, but the advice compares losses measured without them."""
    (home / "learned.txt").write_text(LEARNED)
    arguments = [
        "--data",
        "learned.txt",
        "--rnn-size",
        40,
        "--num-layers",
        1,
        "--batch-size",
        2,
        "--seq-length",
        16,
    ]
    arguments += ["--learning-rate", 0.01, "--max-epochs", 25, "--patience", 0]
    said = cli("train", *arguments, *options).stderr
    losses = re.search(r"epoch 25.00  train (\S+)  validation (\S+) nats", said)
    assert float(losses[1]) < float(losses[2])
    assert "overfitting (gap " in said.split("epoch 25.00  train")[1]


def measure(monkeypatch, *losses, fit=1.0):
    """Make successive evaluations return the validation losses `losses` and the training loss `fit`."""
    found = iter(x for loss in losses for x in (loss, fit))
    monkeypatch.setattr(validation_module, "evaluate", lambda *_: Evaluation(next(found), 1, 1, 48))


def test_advice_on_a_model_that_is_too_large(cli):
    said = cli("train", "--data", "input.txt", *TOY, "--rnn-size", 40, "--max-epochs", 1).stderr
    assert "large for this text: try --dropout" in said


def test_notes_on_the_text_and_its_size_are_printed(cli, home):
    (home / "short.txt").write_bytes("\ufeffone\r\ntwo\r\nthree ".encode() * 5)
    said = cli("train", "--data", "short.txt", "--rnn-size", 4, "--max-epochs", 1, "--batch-size", 50).stderr
    assert "removed a byte-order mark" in said
    assert "converted 10 CR LF line endings to LF" in said
    assert "are too few: reduced the batch size from 50 to" in said


def test_advice_on_a_run_with_few_steps_because_of_long_sequences(cli):
    said = cli("train", "--data", "input.txt", *TOY, "--seq-length", 60, "--max-epochs", 1).stderr
    assert "training steps: increase --max-epochs or reduce --seq-length" in said


@pytest.mark.parametrize("every", [0, 1, 2])
def test_samples_during_training(cli, every):
    """Generating samples must not affect training."""
    arguments = ["--eval-val-every", 10, "--dropout", 0.2, "--start-ss", 0.9]
    with_samples = cli("train", "--data", "input.txt", *TOY, *arguments, "--sample-every", every)
    writes = with_samples.stderr.count("sample: ")
    measured = with_samples.stderr.count("  validation ")
    assert measured == 7
    assert writes == (measured // every if every else 0)
    without = cli("train", "--data", "input.txt", *TOY, *arguments, "--sample-every", 0)
    assert with_samples.stdout == without.stdout


def test_log_has_one_json_object_per_line(cli, train, home):
    (home / "log.jsonl").write_text('{"mine": 1}\n')
    path = train("--log", "log.jsonl", "--print-every", 20, "--eval-val-every", 25)
    lines = [json.loads(line) for line in (home / "log.jsonl").read_text().splitlines()]
    assert lines.pop(0) == {"mine": 1}
    steps = [line for line in lines if line["event"] == "step"]
    evaluations = [line for line in lines if line["event"] == "evaluation"]
    assert len(steps) + len(evaluations) == len(lines)
    assert [step["iteration"] for step in steps] == [20, 40, 60]
    assert all(step["loss"] > 0 and step["characters_per_second"] > 0 for step in steps)
    for row, line in zip(history_of(path), evaluations, strict=True):
        for name in ("iteration", "epoch", "train_loss", "learning_rate"):
            assert line[name] == row[name]
        for part, name in product(("val", "fit"), ("loss", "first", "last")):
            assert line[part][name] == row[f"{part}_{name}"]
        assert line["true_share"] == row["teacher_forcing_ratio"]
    assert len(evaluations) == 3


def test_default_is_the_built_in_text(cli, home, monkeypatch):
    monkeypatch.setattr("minichar.text.corpus.pydocs_text", lambda: TEXT)
    result = cli("train", *TOY)
    assert "text       data/pydocs/input.txt" in result.stderr
    assert (home / "data" / "pydocs" / "input.txt").read_text() == TEXT


def test_init_from_keeps_the_architecture_and_matches_characters(cli, train, home):
    first = train("--model", "gru")
    (home / "new.txt").write_text(TEXT.upper() + TEXT)
    options = [*TOY[-6:], "--max-epochs", 1, "--savefile", "second"]  # without --rnn-size
    result = cli("train", "--data", "new.txt", *options, "--init-from", first)
    assert load(result.stdout.strip()).config.model == "gru"
    assert load(result.stdout.strip()).config.rnn_size == 8
    assert re.search(r"characters new to the model, initialised randomly \(\d+\): 'A'", result.stderr)
    wrong = cli("train", "--data", "new.txt", *TOY, "--init-from", first, "--rnn-size", 9, status=1)
    assert "Error: --rnn-size 9 does not match the --init-from model" in wrong.stderr


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_init_from_reads_every_format(cli, train, suffix):
    """The learning rate is too small to change the weights."""
    pytest.importorskip({".safetensors": "safetensors", ".pt": "torch"}.get(suffix, "numpy"))
    first = train("--learning-rate", 0.02)
    cli("convert", first, f"model{suffix}", "--inference")
    tuned = cli(
        *("train", "--data", "input.txt", "--init-from", f"model{suffix}", "--learning-rate", 1e-30),
        *("--batch-size", 4, "--seq-length", 6, "--max-epochs", 1, "--checkpoint-dir", "tuned"),
    ).stdout.strip()
    np.testing.assert_array_equal(load(tuned).parameters.flat, load(first).parameters.flat)


def test_init_from_an_invalid_file(cli, home):
    (home / "x.safetensors").write_bytes(b"no")
    result = cli("train", "--data", "input.txt", *TOY, "--init-from", "x.safetensors", status=1)
    assert "x.safetensors" in result.stderr


@pytest.mark.parametrize("model", ["rnn", "gru"])
def test_checkpoints_are_named_after_the_model(train, model):
    assert re.fullmatch(rf"cv/lm_{model}_epoch2\.00_\d\.\d{{4}}\.npz", train("--model", model))


def test_resuming_keeps_the_savefile_of_an_old_checkpoint(cli, train, home):
    """In old versions, ``--savefile`` defaulted to lstm for every model."""
    header, arrays = parts(train("--model", "gru", "--max-epochs", 1))
    header["details"]["settings"]["savefile"] = "lstm"
    put_together(home / "old.npz", header, arrays)
    resumed = cli("train", "--resume", "old.npz", "--max-epochs", 2, "--checkpoint-dir", "new").stdout
    assert re.fullmatch(r"new/lm_lstm_epoch2\.00_\d\.\d{4}\.npz\n", resumed)


def test_checkpoints_store_paths_as_strings(train):
    settings = parts(train("--checkpoint-dir", "out/deep"))[0]["details"]["settings"]
    assert (settings["data"], settings["checkpoint_dir"]) == ("input.txt", "out/deep")


def test_init_from_and_resume_together(cli):
    result = cli("train", "--resume", "a.npz", "--init-from", "b.npz", status=2)
    assert "--resume and --init-from are mutually exclusive" in result.stderr


# Interruptions


def interrupt_at(monkeypatch, iteration, number):
    """Send a signal to this process during a training step."""
    learn = Trainer.learn

    def interrupted(self):
        if self.iteration == iteration:
            os.kill(os.getpid(), number)
        return learn(self)

    monkeypatch.setattr(Trainer, "learn", interrupted)


@pytest.fixture
def handlers():
    """Make an uncaught signal fail the test instead of ending the test session."""

    def uncaught(number, frame):
        raise AssertionError("uncaught signal")

    before = {number: signal.signal(number, uncaught) for number in (signal.SIGINT, signal.SIGTERM)}
    yield uncaught
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_prints_how_to_resume(cli, home, monkeypatch, number, handlers):
    interrupt_at(monkeypatch, 9, number)
    result = cli("train", "--data", "input.txt", *TOY, status=128 + number)
    (path,) = (home / "cv").iterdir()
    assert path.name == "lm_lstm_epoch0.30_interrupted.npz"
    assert "stopped at epoch 0.30; resume with:\n  minichar train --resume cv/" + path.name in result.stderr
    assert result.stdout == f"cv/{path.name}\n"
    assert parts(path)[0]["training"]["iteration"] == 10
    assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is handlers


def test_interrupted_run_prints_the_best_checkpoint(cli, home, monkeypatch):
    interrupt_at(monkeypatch, 25, signal.SIGINT)
    result = cli("train", "--data", "input.txt", *TOY, "--eval-val-every", 10, status=130)
    assert Path(result.stdout.strip()) == best_checkpoint(Path("cv"))
    assert re.search(r"--resume cv/lm_lstm_epoch0\.\d\d_interrupted\.npz", result.stderr)


@pytest.mark.parametrize("patience", [0, 60])
def test_second_signal_exits_at_once_after_the_patience(cli, home, monkeypatch, patience):
    monkeypatch.setattr("minichar.cli.stopping.PATIENCE", patience)
    learn = Trainer.learn

    def impatient(self):
        if self.iteration == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return learn(self)

    monkeypatch.setattr(Trainer, "learn", impatient)
    stderr = cli("train", "--data", "input.txt", *TOY, status=130).stderr
    assert ("Aborted!" in stderr) == (patience == 0)
    assert len(list((home / "cv").iterdir())) == (patience > 0)


def test_the_progress_bar_of_a_resumed_run_begins_where_the_run_stopped(train, cli, monkeypatch):
    path = train("--max-epochs", 3)
    with CliRunner().isolation():
        monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)
    stderr = cli("train", "--resume", path, "--max-epochs", 4).stderr
    shown = [int(percent) for percent in re.findall(r"\] +(\d+)%", stderr)]
    assert shown[0] == 75
    assert shown[-1] == 100


def test_the_time_left_is_estimated_from_the_steps_since_the_run_was_resumed():
    """The resumed run took 20 s for 10 steps, so all 60 steps would have taken 120 s."""
    assert apparent_start(1000.0, 20.0, iteration=60, first=50) == 880.0


def test_interrupted_and_resumed_run_equals_an_uninterrupted_run(process, cli, home):
    options = ["--dropout", 0.3, "--start-ss", 0.8, "--quiet"]
    child = process("train", "--data", "input.txt", *TOY, *options, "--max-epochs", 100_000)
    for line in child.stderr:
        if line.startswith("initial"):
            break
    child.send_signal(signal.SIGINT)
    stdout, stderr = child.communicate(timeout=600)
    assert child.returncode == 130
    assert "Traceback" not in stderr
    path = stdout.strip()
    assert f"minichar train --resume {path}" in stderr

    epochs = int(parts(path)[0]["details"]["epoch"]) + 2
    resumed = cli("train", "--resume", path, "--max-epochs", epochs, "--quiet")
    assert f"--max-epochs is now {epochs}\n" in resumed.stderr
    assert re.search(r"resumed    at epoch \d+\.\d\d", resumed.stderr)
    assert "initial" not in resumed.stderr
    whole = cli(
        "train", "--data", "input.txt", *TOY, *options, "--max-epochs", epochs, "--checkpoint-dir", "cv2"
    )
    header, arrays = parts(resumed.stdout.strip())
    other_header, other_arrays = parts(whole.stdout.strip())
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, other_arrays[name], err_msg=name)
    assert header["training"]["random"] == other_header["training"]["random"]


def test_resuming_needs_no_options_and_rejects_conflicting_ones(cli, train, home):
    path = train("--max-epochs", 1)
    error = cli("train", "--resume", path, status=1).stderr
    assert f"{path} is at epoch 1.00, and --max-epochs is 1: set a larger value to continue" in error
    assert "--seed 4 cannot be used to resume" in cli("train", "--resume", path, "--seed", 4, status=1).stderr
    result = cli("train", "--resume", path, "--max-epochs", 2, "--learning-rate", 0.01)
    assert "--learning-rate is now 0.01" in result.stderr
    (home / "input.txt").write_text(TEXT + "x")
    result = cli("train", "--resume", path, "--max-epochs", 2, status=1)
    assert "is not the text that" in result.stderr


def test_best_checkpoint_may_precede_the_resumed_run(cli, train, monkeypatch):
    best = train("--max-epochs", 1)
    measure(monkeypatch, 3.9)
    result = cli("train", "--resume", best, "--max-epochs", 2)
    assert sorted(map(str, Path("cv").iterdir())) == [best, "cv/lm_lstm_epoch2.00_3.9000.npz"]
    assert result.stdout.strip() == best
    assert "(best so far)" not in result.stderr


def test_prints_the_best_checkpoint_instead_of_the_last(train, monkeypatch):
    measure(monkeypatch, 3.0, 2.5, 3.5)
    assert train("--eval-val-every", 25) == "cv/lm_lstm_epoch1.52_2.5000.npz"
    assert len(list(Path("cv").iterdir())) == 3


def test_failed_run(cli, home):
    """The error must name the parameter, and existing checkpoints must not change."""
    arguments = ["train", "--data", "input.txt", *TOY, "--quiet"]
    cli(*arguments)
    before = listing(home)
    result = cli(*arguments, "--learning-rate", 1e10, status=1)
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: training failed: loss ")
    assert re.search(r"Parameter (layer1|readout)\.Wx? ", last)
    assert result.stderr.count("Error") == 1
    assert listing(home) == before


# The progress bar


def on_a_terminal(process, *arguments, until=lambda shown: False):
    """Run a command with standard error on a pseudo-terminal, and interrupt it once ``until(shown)`` is true.

    Return ``(stderr, stdout, exit status)``.
    """
    ours, theirs = pty.openpty()
    child = process(*arguments, stderr=theirs)
    os.close(theirs)
    shown, stopped = "", False
    decoder = getincrementaldecoder("utf-8")()  # a read may end within a character
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:  # the process has closed its end
            break
        if not block:
            break
        shown += decoder.decode(block)
        if not stopped and until(shown):
            child.send_signal(signal.SIGINT)
            stopped = True
    os.close(ours)
    stdout = child.stdout.read()
    return shown, stdout, child.wait()


def test_progress_bar_on_a_terminal(process):
    arguments = ["train", "--data", "input.txt", *TOY, "--max-epochs", 400, "--eval-val-every", 50]
    bar = r"epoch \d+\.\d\d/400  loss \d\.\d{3}  [\d,]+ characters/s \[[#-]{10}\] +\d+%"
    time_left = r"  \d\d:\d\d:\d\d"

    def until(shown):
        return "epoch 1.52  train" in shown and len(re.findall(bar + time_left, shown)) > 5

    shown, stdout, status = on_a_terminal(process, *arguments, until=until)
    assert status == 130
    assert len(re.findall(bar, shown)) > 5
    assert max(map(len, re.findall(bar + time_left, shown))) < 80, "longer lines wrap and cannot be redrawn"
    assert re.search(r"\r\x1b\[Kepoch 1\.52  train .* validation ", shown), "lines are printed above the bar"
    assert re.search(r"resume with:\s+minichar train --resume cv/", shown)
    assert len(stdout.splitlines()) == 1


def test_no_progress_bar_when_quiet(process):
    arguments = ["train", "--data", "input.txt", *TOY, "--quiet", "--print-every", 20]
    shown, stdout, status = on_a_terminal(process, *arguments)
    assert status == 0
    assert "[#" not in shown
    assert "\x1b" not in shown
    assert re.search(r"epoch 0\.61/2  loss", shown)
    assert len(stdout.splitlines()) == 1


def test_directory_as_a_checkpoint(cli, train):
    """``--resume`` uses the newest checkpoint; all other commands use the best one."""
    train("--max-epochs", 1)
    assert "resumed    at epoch 1.00" in cli("train", "--resume", "cv", "--max-epochs", 2).stderr
    newest = max(Path("cv").glob("lm_*"), key=lambda path: path.stat().st_mtime)
    best = min(Path("cv").glob("lm_*"), key=loss_in_name)
    assert newest.name.startswith("lm_lstm_epoch2.00")
    assert f"checkpoint {best}\n" in cli("inspect").stdout
    assert cli("inspect", "cv").stdout == cli("inspect", best).stdout
    cli("convert", "cv", "small.npz")
    assert (
        f"small.npz: {load('small.npz').summary()}, trained on 'input.txt'"
        in cli("sample", "small.npz").stderr
    )
    cli("train", "--data", "input.txt", "--init-from", "cv", "--max-epochs", 1, "--checkpoint-dir", "tuned")
    assert "resumed    at epoch 1.00" in cli("train", "--resume", "tuned", "--max-epochs", 2).stderr


def test_a_recipe_is_used_and_stored(cli, begun):
    cli("train", "--data", "input.txt", "--recipe", "QUICK", "--rnn-size", 9, status=1)
    (settings,) = begun
    assert (settings.recipe, settings.rnn_size, settings.learning_rate) == ("quick", 9, 8e-3)


def test_recipes_are_listed(cli):
    listed = cli("train", "--recipe", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed[:4]] == ["quick", "laptop", "best", "char-rnn"]


def test_a_run_is_not_resumed_with_another_recipe(train, cli):
    path = train("--recipe", "char-rnn")
    error = cli("train", "--resume", path, "--recipe", "quick", status=1).stderr
    assert f"--recipe quick cannot be used to resume {path}, which has char-rnn" in error


def test_text_from_standard_input(cli, home):
    said = cli("train", "--data", "-", *TOY, "--max-epochs", 1, stdin=TEXT)
    assert f"text       cv/input.txt: {len(TEXT):,} characters" in said.stderr
    assert (home / "cv" / "input.txt").read_text() == TEXT
    assert "validation split" in cli("eval", said.stdout.strip()).stdout
    resumed = cli("train", "--resume", "--data", "-", "--max-epochs", 2, stdin=TEXT)
    assert "resumed    at epoch 1.00" in resumed.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "standard input is empty"), (TEXT + "x", "cv/input.txt contains a different text")],
)
def test_standard_input_that_is_empty_or_would_replace_another_text(cli, home, text, words):
    (home / "cv").mkdir()
    (home / "cv" / "input.txt").write_text(TEXT)
    assert words in cli("train", "--data", "-", *TOY, stdin=text, status=1).stderr
    assert (home / "cv" / "input.txt").read_text() == TEXT
    assert os.listdir(home / "cv") == ["input.txt"]


def test_standard_input_is_saved_beside_the_checkpoint_to_resume(cli, home):
    cli("train", "--data", "-", *TOY, "--max-epochs", 1, "--checkpoint-dir", "mine", stdin=TEXT)
    cli("train", "--data", "-", "--resume", "mine", "--max-epochs", 2, stdin=TEXT)
    error = cli("train", "--data", "-", "--resume", "absent", status=1, stdin=TEXT).stderr
    assert "no such checkpoint: absent" in error or "no checkpoint in absent" in error
    (home / "empty").mkdir()
    assert "no checkpoint in empty/" in cli("train", "--data", "-", "--resume", "empty", status=1).stderr
    assert sorted(os.listdir(home)) == ["empty", "input.txt", "mine"]
    assert os.listdir(home / "empty") == []


def test_suggested_commands_are_quoted(cli, home):
    said = cli(
        "train", "--data", "input.txt", *TOY, "--max-epochs", 1, "--checkpoint-dir", "my models"
    ).stderr
    assert "generate text: minichar sample 'my models/lm_lstm_epoch1.00_" in said


def test_several_files_are_not_accepted(cli):
    error = cli("train", "--data", "a.txt", "b.txt", status=2).stderr
    assert "unexpected argument 'b.txt': for several files, put them in a directory" in error
    assert "use `minichar train --data 'b c.txt'`" in cli("train", "b c.txt", status=2).stderr


def test_the_reset_gate_of_the_initial_model_can_be_repeated(cli, train):
    path = train("--model", "gru", "--gru-reset", "before", "--max-epochs", 1)
    options = ("--data", "input.txt", "--max-epochs", 1, "--checkpoint-dir", "tuned")
    assert "GRU" in cli("train", "--init-from", path, "--gru-reset", "before", *options).stderr
    error = cli("train", "--init-from", path, "--gru-reset", "after", *options, status=1).stderr
    assert "--gru-reset after does not match the --init-from model, which has before" in error
