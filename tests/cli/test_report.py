"""Test what `minichar train` reports about a run: duration, samples, unused text and early termination."""

import json
import math
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from toys import TEXT, TOY

from minichar.cli import advice, report, speed
from minichar.cli.log import is_foreign
from minichar.cli.speed import duration
from minichar.text.batches import split_text


@pytest.fixture
def said(cli):
    """Return a function that trains a toy model, and returns what is printed to standard error."""
    return lambda *options, **more: cli("train", "--data", "input.txt", *TOY, *options, **more).stderr


def test_a_sample_is_one_line(monkeypatch):
    monkeypatch.setattr(report, "generate", lambda *_, **__: iter("\na \n\n\tb" + "c" * 60))
    assert report.sample_line(None, 1) == "a ↵ b" + "c" * 55


@pytest.mark.usefixtures("terminal")
def test_the_progress_bar_replaces_the_estimated_duration(said, monkeypatch):
    monkeypatch.setattr(report, "ESTIMATE_AFTER", 0.0)
    shown = said()
    assert "[#" in shown
    assert "time   " not in shown


def test_quiet_hides_the_lines_of_steps(said):
    assert "characters/s" in said("--print-every", 10)
    assert "characters/s" not in said("--print-every", 10, "--quiet")


def test_samples_are_not_printed_in_quick_succession(said, monkeypatch):
    monkeypatch.setattr(report, "SAMPLE_PAUSE", math.inf)
    assert said("--eval-val-every", 4).count("sample: ") == 1


def test_the_estimated_duration_and_an_early_sample(said, monkeypatch):
    monkeypatch.setattr(report, "ESTIMATE_AFTER", 0.0)
    monkeypatch.setattr(report, "SAMPLE_AFTER", 0.0)
    monkeypatch.setattr(report, "SAMPLE_PAUSE", 0.0)
    shown = said("--eval-val-every", 1000)
    assert len(re.findall(r"^time       about \d+ s in total$", shown, re.MULTILINE)) == 1
    samples = [match.start() for match in re.finditer("sample: ", shown)]
    assert len(samples) == 2  # one after the first step and one at the evaluation
    assert samples[0] < shown.index("  validation ") < samples[1]
    assert "sample: " not in said("--sample-every", 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--patience", 10, "--eval-val-every", 1000], "\ntime       about 60 s in total\n"),
        (["--patience", 10, "--eval-val-every", 2], "\ntime       up to about 60 s in total\n"),
        (["--patience", "auto", "--train-frac", 1, "--val-frac", 0], "\ntime       about 60 s in total\n"),
        (["--patience", 0, "--max-epochs", 1], "\ntime       about 33 s in total\n"),
        (["--max-epochs", "auto"], "\nplan       at most "),
    ],
)
def test_the_estimate_respects_the_time_limit_and_is_omitted_if_the_plan_states_it(
    said, clock, options, words
):
    """Each chunk takes a second."""
    shown = said("--max-epochs", 1e6, "--max-time", 1, *options)
    assert words in shown
    assert ("\ntime " in shown) == ("time" in words)


def test_a_run_that_is_resumed_for_a_time_does_not_estimate_its_duration(said, cli, clock):
    """Each chunk takes a second."""
    said("--max-epochs", 1)
    resumed = cli("train", "--resume", "cv", "--max-epochs", 2).stderr
    assert re.search(r"^time       about \d+ s$", resumed, re.MULTILINE)
    assert "\ntime " not in cli("train", "--resume", "cv", "--max-time", 1).stderr


def test_the_estimate_does_not_extrapolate_the_first_chunk(said, clock):
    """Each chunk takes a second, except that the first takes 20 seconds."""
    clock.step, begun = lambda i: 20.0 if i == 1 else 1.0, clock.now
    shown = said("--max-epochs", 1, "--sample-every", 0)
    assert f"time       about {speed.duration(clock.now - begun)} in total" in shown


def test_a_new_run_says_why_it_uses_fewer_threads(cli, monkeypatch):
    monkeypatch.setattr(report.CPU, "threads", 0)  # restored after the test
    monkeypatch.setattr("minichar.devices.cpu.clearly_faster", lambda M, K, N: 2)
    monkeypatch.setattr("minichar.devices.cpu.limit", lambda threads: threads)
    why = "           more threads were slower, probably because the cores are busy\n"
    said = cli("train", "--data", "input.txt", *TOY, "--max-epochs", 1)
    assert f", up to 2 threads\n{why}" in said.stderr
    resumed = cli("train", "--resume", said.stdout.strip(), "--max-epochs", 2).stderr
    assert ", up to 2 threads\n" in resumed
    assert why not in resumed


def test_the_first_sample_does_not_wait_for_an_evaluation(said, clock, monkeypatch):
    """Each chunk takes a second."""
    begun, shown = clock.now, []
    monkeypatch.setattr(report, "generate", lambda *_, **__: shown.append(clock.now - begun) or "sample")
    said("--eval-val-every", 60, "--max-epochs", 3)
    assert len(shown) == 3
    assert 5 <= shown[0] <= 20, "late enough to show some progress, soon enough for a first impression"
    assert shown[1] == 60


def test_the_characters_that_are_left_out_are_counted(said, monkeypatch):
    n = split_text(np.arange(len(TEXT)), 4, 6, how="tail").left_out
    shown = said("--split", "tail")
    assert f"{n} characters ({n / len(TEXT):.1%}) left out at the end of each split" in shown
    monkeypatch.setattr("minichar.training.text.LITTLE", n / len(TEXT))
    assert "left out" not in said("--split", "tail")


def test_a_run_that_ends_early_says_why(said, cli):
    ended = r"^ended      at epoch 0\.\d\d: reached the time limit of 1e-06 minutes\nresume with:\n"
    (command,) = re.findall(rf"{ended}  minichar (train --resume \S+)$", said("--max-time", 1e-6), re.M)
    resume = shlex.split(command)
    kept = "\n           time limit: 1e-06 min from now; change it with --max-time\n"
    assert kept in cli(*resume).stderr
    changed = cli(*resume, "--max-time", 2e-6).stderr
    assert "\nplan  " not in changed
    assert re.search(r"\n {11}time limit: 2e-06 min from now\n {11}until about epoch \d+\.\d\d\n", changed)
    assert "\n           --max-epochs is now 3\n" in cli(*resume, "--max-epochs", 3).stderr


def test_the_lowest_validation_loss_is_shown_and_a_run_that_patience_ended_cannot_be_resumed(said, measure):
    measure(3.0, 2.0, 2.5, 2.0)
    shown = said("--eval-val-every", 5, "--patience", 2)
    losses = ["3.0000", "2.0000", "2.5000  (best 2.0000)", "2.0000  (best 2.0000)"]
    assert re.findall(r"  validation (.*)$", shown, re.M) == losses
    assert "ended      at epoch 0.61: the validation loss has not improved in 2 evaluations\n" in shown
    assert "for a lower loss, train on more text" in shown


def test_a_run_ends_at_the_time_limit_counted_from_the_start_of_the_command(said, cli, clock):
    """Each chunk takes a second, reading the text 20, and 3 are reserved for the evaluation."""
    clock.reading = 20.0
    shown = said("--max-epochs", 1e6, "--max-time", 1, obj=clock.now - 10)
    assert f"ended      at epoch {(60 - 10 - 20 - 3) / 33:.2f}: reached the time limit of 1 minute" in shown
    longer = "for a lower loss, continue training for 3 min:\n  minichar train --resume cv --max-time 3m\n"
    assert re.search(f"\nresult .*\n.*\n           {longer}", shown)
    assert "resume with" not in shown
    assert "train --resume cv --max-time 6m\n" in cli("train", "--resume").stderr, "3 times both processes"


def test_a_shortened_evaluation_is_reported(cli, clock):
    """Training ends 8 seconds before the limit, so there is time for two of the seven chunks."""
    clock.chunk = 3.0
    arguments = ["--data", "input.txt", *TOY, "--max-epochs", 1e6, "--max-time", 1]
    result = cli("train", *arguments, "--train-frac", 0.8, "--val-frac", 0.2, "--log", "log.jsonl")
    *_, last = map(json.loads, Path("log.jsonl").read_text().splitlines())
    reached = "the time limit was reached after 29% of the validation chunks"
    assert f"{reached} (loss {last['shortened']['loss']:.4f})\n" in result.stderr
    assert "  validation " not in result.stderr
    assert last["val"] is None
    assert result.stdout.endswith("_unmeasured.npz\n")
    assert result.stderr.count("sample: ") == 1, "only the one after ten seconds"


def test_only_an_existing_regular_file_that_is_not_a_log_is_foreign(tmp_path):
    path = tmp_path / "log.jsonl"
    assert not is_foreign(path)
    for content, foreign in ((b"", False), (b'{"event": "step"}\n', False), (b"the river\n", True)):
        path.write_bytes(content)
        assert is_foreign(path) == foreign
    with open(path, "rb") as file:  # standard error may be redirected to any file
        assert not is_foreign(Path(f"/dev/fd/{file.fileno()}"))
    os.mkfifo(tmp_path / "pipe")  # reading it would block
    assert not is_foreign(tmp_path / "pipe")


def test_the_speed_excludes_pauses_and_is_updated_after_each_second_of_training(clock):
    measured, values = speed.Speed(), []
    for seconds in (0.8, 0.4, 0.4, 0.4, 0.4):  # the first step is slower than the others
        clock.now += seconds
        measured.count(100)
        values.append(measured.value)
        clock.now += 30  # an evaluation
        measured.resume()
    assert values == pytest.approx([125, 200 / 1.2, 200 / 1.2, 200 / 1.2, 300 / 1.2])


def test_the_result_is_compared_with_the_yardstick(said, cli):
    shown = said("--max-epochs", 1)
    n, loss = re.search(r"^yardstick  (\d\.\d{3}) \((\d)-gram\)$", shown, re.M).group(2, 1)
    assert re.search(r"^initial    loss 3\.\d{3} \(uniform baseline: 3\.296\)$", shown, re.M)
    best = float(re.search(r"  validation (\d\.\d{4})$", shown, re.M)[1])
    result = f"loss {best:.3f}, {best - float(loss):.3f} above the yardstick of {loss} ({n}-gram)"
    more = r" {11}measured on only \d\d held-out characters\n {11}for a lower loss, train on more text\n"
    assert re.search(f"\nresult     unclear: {re.escape(result)}\n{more}", shown)
    assert "resumed" in (again := cli("train", "--resume", "--max-epochs", 2, "--no-yardstick").stderr)
    assert f"yardstick  {loss} ({n}-gram)" in again, "the checkpoint has it"


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        (["--train-frac", 0.8, "--val-frac", 0.1], "80% training, 10% validation, 10% test, in"),
        (["--split", "tail"], "95% training, 5% validation, --split tail, in"),
        (["--val", "val.txt"], ">99% training, <1% validation, in"),
    ],
)
def test_the_shares_of_the_text(said, home, options, shares):
    (home / "input.txt").write_text(TEXT * 20)
    (home / "val.txt").write_text(TEXT[:40])
    assert f"\nsplit      {shares} chunks" in said("--max-epochs", 0.01, *options)


def test_the_number_of_held_out_characters_decides_whether_the_result_is_clear(said, home):
    for repeats, clear in ((1, False), (20, True)):
        (home / "input.txt").write_text(TEXT * repeats)
        assert ("\nresult     unclear: " not in said("--max-epochs", 0.05, "--seed", repeats)) == clear


def test_the_resumed_checkpoint_can_be_the_best(said, cli, home, measure):
    """Its loss, which was measured when the run was stopped, is not in the history."""
    measure(3.0)
    said("--max-epochs", 1)
    (home / "cv/lm_lstm_epoch1.00_3.0000.npz").rename(home / "cv/lm_lstm_epoch1.00_2.2500.npz")
    measure(2.5, 2.0)
    shown = cli("train", "--resume", "cv", "--max-epochs", 3, "--eval-val-every", 33).stderr
    assert re.findall(r"  validation (.*)$", shown, re.M) == ["2.5000  (best 2.2500)", "2.0000"]
    measure(2.0, 2.0)
    said("--max-epochs", 1, "--checkpoint-dir", "two")
    (home / "two/lm_lstm_epoch1.00_2.0000.npz").rename(home / "two/lm_lstm_epoch1.00_1.0000.npz")
    assert "loss 1.000, " in cli("train", "--resume", "two", "--max-epochs", 2).stderr


def test_a_larger_model_or_more_time_or_text_is_recommended(said, clock, monkeypatch):
    def recommended(*options, directory="a b"):
        few = "--max-epochs", 0.2, "--eval-val-every", 3, "--sample-every", 0
        shown = said(*few, *options, "--checkpoint-dir", directory)
        return re.search("\n           for a lower loss, (.*)\ngenerate", shown, re.DOTALL)[1]

    monkeypatch.setattr(advice, "TOO_SHORT", len(TEXT))
    text = "--encoding latin-1 --min-freq 2 --reset-on '\\n' --split tail --train-frac 0.8 --val-frac 0.1"
    larger = "train a larger model for 1 min instead of resuming:\n  minichar train input.txt"
    shown = recommended("--rnn-size", 40, *shlex.split(text), directory="a b-16min")
    assert shown == f"{larger} {text} --max-time 1m --checkpoint-dir 'a b-1min'"
    largest, level = ("--rnn-size", 48, "--num-layers", 2), ("--learning-rate", 1e-12)
    longer = "continue training for 1 min:\n  minichar train --resume 'a b' --max-time 1m"
    assert recommended(*largest, "--learning-rate", 1e-6) == longer
    cut_off = "--max-epochs", 10, "--max-time", 2
    shown = recommended("--rnn-size", 40, *cut_off)
    assert shown == f"{larger} --max-time 6m --checkpoint-dir 'a b-6min'".replace("1 min", "6 min")
    for length in ((), cut_off):
        assert recommended(*largest, *level, *length) == "train on more text"
    small = "--batch-size", 1, "--seq-length", 2, "--train-frac", 0.9, "--val-frac", 0.004
    shown = recommended(*small, *level, "--eval-val-every", 50)
    assert shown == "train on more text"  # minichar's chunks would be too long for the text
    said("--max-epochs", 0.2)
    assert recommended("--init-from", "cv", *level) == "train on more text"
    monkeypatch.setattr(advice, "TOO_SHORT", len(TEXT) + 1)
    assert recommended("--rnn-size", 40) == "train on more text"


def test_a_larger_model_fits_the_speed_of_the_machine(said, clock, monkeypatch):
    """Each chunk takes a second, so in a few minutes, no large model can be trained."""
    monkeypatch.setattr(advice, "TOO_SHORT", 0)
    assert "larger" not in said("--max-epochs", 1, "--rnn-size", 64)


def test_nothing_is_recommended_if_the_loss_is_almost_0(said, measure):
    measure(0.009)
    assert re.search(
        "^result     good: loss 0.009, almost zero\ngenerate", said("--max-epochs", 0.2), re.MULTILINE
    )


def test_the_yardstick_can_be_omitted_or_be_that_of_a_part_of_a_long_text(said, monkeypatch):
    for options in (["--no-yardstick"], ["--val-frac", 0]):
        assert "yardstick" not in said("--max-epochs", 0.1, *options)
    monkeypatch.setattr("minichar.training.start.COUNTED_PER_SECOND", 400)
    shown = said("--max-epochs", 0.1, "--max-time", 0.0001)
    assert re.search(r"^yardstick  \d\.\d{3} \(\d-gram, on (?:<1|\d+)% of the text\)$", shown, re.M)


def test_durations():
    assert [duration(seconds) for seconds in (89.4, 90, 5399, 5400)] == ["89 s", "2 min", "90 min", "1.5 h"]
