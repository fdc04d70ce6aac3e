"""Test what `minichar train` reports about a run: duration, samples, unused text and early termination."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from toys import TEXT, TOY

from minichar.cli import advice, report, speed
from minichar.cli.log import is_foreign
from minichar.cli.speed import duration
from minichar.text.batches import split_text


def test_the_estimated_duration_and_an_early_sample(cli, monkeypatch):
    monkeypatch.setattr(report, "ESTIMATE_AFTER", 0.0)
    monkeypatch.setattr(report, "SAMPLE_AFTER", 0.0)
    said = cli("train", "--data", "input.txt", *TOY, "--eval-val-every", 1000).stderr
    assert len(re.findall(r"^time       about \d+ s in total$", said, re.MULTILINE)) == 1
    samples = [match.start() for match in re.finditer("sample: ", said)]
    assert len(samples) == 2  # one after the first step and one at the evaluation
    assert samples[0] < said.index("  validation ") < samples[1]
    quiet = cli("train", "--data", "input.txt", *TOY, "--sample-every", 0).stderr
    assert "sample: " not in quiet


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--patience", 10, "--eval-val-every", 1000], "about 60 s"),
        (["--patience", 10, "--eval-val-every", 2], "up to about 60 s"),
        (["--patience", "auto", "--train-frac", 1, "--val-frac", 0], "about 60 s"),
        (["--patience", 0, "--max-epochs", 1], "about 33 s"),
    ],
)
def test_the_estimate_respects_the_time_limit(options, words, cli, clock):
    """Each chunk takes a second."""
    said = cli("train", "--data", "input.txt", *TOY, "--max-epochs", 1e6, "--max-time", 1, *options).stderr
    assert f"\ntime       {words} in total\n" in said


def test_the_time_is_not_estimated_if_the_plan_states_it(cli, clock):
    said = cli("train", "--data", "input.txt", *TOY, "--max-epochs", "auto", "--max-time", 1).stderr
    assert "\nplan       1 min: " in said
    assert "\ntime  " not in said


def test_the_estimate_does_not_extrapolate_the_first_chunk(cli, clock):
    """Each chunk takes a second, except that the first takes 20 seconds."""
    clock.step, begun = lambda i: 20.0 if i == 1 else 1.0, clock.now
    said = cli("train", "--data", "input.txt", *TOY, "--max-epochs", 1, "--sample-every", 0).stderr
    assert f"time       about {speed.duration(clock.now - begun)} in total" in said


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


def test_the_first_sample_does_not_wait_for_an_evaluation(cli, clock, monkeypatch):
    """Each chunk takes a second."""
    begun, shown = clock.now, []

    def generate(*arguments, **options):
        shown.append(clock.now - begun)
        return "sample"

    monkeypatch.setattr(report, "generate", generate)
    cli("train", "--data", "input.txt", *TOY, "--eval-val-every", 60, "--max-epochs", 3)
    assert len(shown) == 3
    assert 5 <= shown[0] <= 20, "late enough to show some progress, soon enough for a first impression"
    assert shown[1] == 60


def test_the_characters_that_are_left_out_are_counted(cli, monkeypatch):
    said = cli("train", "--data", "input.txt", *TOY).stderr
    n = len(TEXT) - (len(TEXT) - 1) // 24 * 24 - 1
    assert f"{n} characters ({n / len(TEXT):.1%}) left out at the end of the text" in said
    n = split_text(np.arange(len(TEXT)), 4, 6, how="tail").left_out
    said = cli("train", "--data", "input.txt", *TOY, "--split", "tail").stderr
    assert f"{n} characters ({n / len(TEXT):.1%}) left out at the end of each split" in said
    monkeypatch.setattr(report, "LITTLE", n / len(TEXT))
    assert "left out" not in cli("train", "--data", "input.txt", *TOY, "--split", "tail").stderr


def test_a_run_that_ends_early_says_why(cli):
    said = cli("train", "--data", "input.txt", *TOY, "--max-time", 1e-6).stderr
    ended = r"^ended      at epoch 0\.\d\d: reached the time limit of 1e-06 minutes\nresume with:\n"
    path = re.search(rf"{ended}  minichar train --resume (\S+)$", said, re.M)[1]
    kept = "\n           time limit: 1e-06 min from now, as in the original run; change it with --max-time\n"
    assert kept in cli("train", "--resume", path).stderr
    said = cli("train", "--resume", path, "--max-time", 2e-6).stderr
    assert "time limit:" not in said
    assert "\nplan  " not in said
    assert re.search(r"\n {11}--max-time is now 2e-06\n {11}ends at epoch [\d.]+\n", said)
    assert "\n           --max-epochs is now 3\n" in cli("train", "--resume", path, "--max-epochs", 3).stderr


def test_a_run_that_patience_ended_cannot_be_resumed_without_changes(cli, measure):
    measure(2.0, 3.0, 3.0)
    said = cli("train", "--data", "input.txt", *TOY, "--eval-val-every", 5, "--patience", 2).stderr
    assert "ended      at epoch 0.45: the validation loss has not improved in 2 evaluations\n" in said
    assert "resume with" not in said


def test_a_run_ends_at_the_time_limit_counted_from_the_start_of_the_command(cli, clock):
    """Each chunk takes a second, reading the text 20, and 3 are reserved for the evaluation."""
    clock.reading = 20.0
    arguments = ["--data", "input.txt", *TOY, "--max-epochs", 1e6, "--max-time", 1]
    said = cli("train", *arguments, obj=clock.now - 10).stderr
    assert f"ended      at epoch {(60 - 10 - 20 - 3) / 33:.2f}: reached the time limit of 1 minute" in said


def test_a_shortened_evaluation_is_reported(cli, clock):
    """Training ends 8 seconds before the limit, so there is time for two of the seven chunks."""
    clock.chunk = 3.0
    arguments = ["--data", "input.txt", *TOY, "--max-epochs", 1e6, "--max-time", 1]
    result = cli("train", *arguments, "--train-frac", 0.8, "--val-frac", 0.2, "--log", "log.jsonl")
    assert "  validation " not in result.stderr
    found = re.search(
        r"time limit was reached after 29% of the validation chunks \(loss (.*)\)$", result.stderr, re.M
    )
    *_, last = map(json.loads, Path("log.jsonl").read_text().splitlines())
    assert found[1] == f"{last['shortened']['loss']:.4f}"
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


def test_the_result_is_compared_with_the_yardstick(cli, home):
    stderr = cli("train", "--data", "input.txt", *TOY, "--max-epochs", 1).stderr
    n, loss = re.search(r"^yardstick  (\d\.\d{3}) \((\d)-gram\); uniform 3\.296$", stderr, re.M).group(2, 1)
    (best,) = re.findall(r"  validation (\d\.\d{4})  best so far$", stderr, re.M)
    gap = float(best) - float(loss)
    result = f"loss {float(best):.3f}, {gap:.3f} above the yardstick of {loss} ({n}-gram)"
    assert f"\nresult     not good yet: {result}\n           for a lower loss, train on more" in stderr
    assert "resumed" in (again := cli("train", "--resume", "--max-epochs", 2, "--no-yardstick").stderr)
    assert f"yardstick  {loss} ({n}-gram)" in again, "the checkpoint has it"


def test_after_the_time_limit_the_last_lines_say_how_to_lower_the_loss(cli, clock):
    options = "--max-epochs", 1e6, "--max-time", 1, "--eval-val-every", 2
    said = cli("train", "--data", "input.txt", *TOY, *options).stderr
    longer = "\n           for a lower loss, train longer:\n  minichar train --resume cv --max-time 3\n"
    assert re.search(f"reached the time limit.*\nresult .*{longer}", said)
    assert "resume with" not in said


def test_a_larger_model_or_more_time_or_text_is_recommended(cli, home, clock, monkeypatch):
    def recommended(*options, directory="a b"):
        run = ["train", "--data", "input.txt", *TOY, "--max-epochs", 0.2, "--eval-val-every", 1, *options]
        stderr = cli(*run, "--checkpoint-dir", directory).stderr
        return re.search("\n           for a lower loss, train (.*)\ngenerate", stderr, re.DOTALL)[1]

    monkeypatch.setattr(advice, "SHORT", len(TEXT))
    text = ["--encoding", "latin-1", "--min-freq", 2, "--reset-on", "\\n", "--split", "tail"]
    text += ["--train-frac", 0.8, "--val-frac", 0.1]
    data = "minichar train --data input.txt --encoding latin-1 --min-freq 2 --reset-on '\\n' --split tail "
    larger = f"{data}--train-frac 0.8 --val-frac 0.1 --max-time 1 --checkpoint-dir 'a b-1min'"
    for directory in ("a b", "a b-16min"):
        assert recommended("--rnn-size", 40, *text, directory=directory) == f"a larger model:\n  {larger}"
    longer = "longer:\n  minichar train --resume 'a b' --max-time 1"
    rising, level = ("--learning-rate", 1e-6), ("--learning-rate", 1e-12)
    assert recommended("--rnn-size", 320, "--num-layers", 2, *rising) == longer
    assert recommended("--rnn-size", 320, "--num-layers", 2, *level) == "on more text"
    small = "--batch-size", 1, "--seq-length", 2, "--train-frac", 0.9, "--val-frac", 0.004
    assert recommended(*small, *level) == "on more text"  # minichar's chunks would be too long for the text
    cli("train", "--data", "input.txt", *TOY, "--max-epochs", 0.2)
    assert recommended("--init-from", "cv", *level) == "on more text"
    monkeypatch.setattr(advice, "SHORT", len(TEXT) + 1)
    assert recommended("--rnn-size", 40) == "on more text"


def test_nothing_is_recommended_if_the_loss_is_almost_0(cli, measure):
    measure(0.009)
    said = cli("train", "--data", "input.txt", *TOY, "--max-epochs", 0.2).stderr
    assert re.search("^result     good: loss 0.009, .*\ngenerate", said, re.MULTILINE)


def test_a_larger_model_fits_the_speed_of_the_machine(cli, home, clock, monkeypatch):
    """Each chunk takes a second, so in a few minutes, no large model can be trained."""
    monkeypatch.setattr(advice, "SHORT", 0)
    run = ["train", "--data", "input.txt", *TOY, "--max-epochs", 1, "--rnn-size", 64]
    assert "larger" not in cli(*run).stderr


def test_the_yardstick_can_be_omitted_or_be_that_of_a_part_of_a_long_text(cli, home):
    run = ["train", "--data", "input.txt", *TOY, "--max-epochs", 0.1]
    for options in (["--no-yardstick"], ["--val-frac", 0]):
        assert "yardstick" not in cli(*run, *options).stderr
    stderr = cli(*run, "--max-time", 0.0001).stderr
    assert re.search(r"^yardstick  \d\.\d{3} \(\d-gram of \d+ characters\); uniform", stderr, re.M)


def test_durations():
    assert [duration(seconds) for seconds in (89.4, 90, 5399, 5400)] == ["89 s", "2 min", "90 min", "1.5 h"]
