import json
import re
from itertools import product
from math import log
from pathlib import Path

import pytest
from toys import TEXT, TOY, history_of, listing

from minichar import load
from minichar.checkpoints.choosing import best_checkpoint
from minichar.checkpoints.naming import loss_in_name


@pytest.mark.usefixtures("text_cache")
def test_the_characters_of_the_text_are_counted_before_rare_ones_are_replaced(cli):
    for _ in ("counted", "cached"):
        said = cli("train", "--data", "input.txt", *TOY, "--max-epochs", 1, "--min-freq", 20).stderr
        assert f"characters, {len(set(TEXT))} distinct\n           replaced " in said


def test_output_of_a_run(cli):
    result = cli("train", "--data", "input.txt", *TOY, "--eval-val-every", 25, "--print-every", 10)
    V = len(set(TEXT))
    said = result.stderr
    path = Path(result.stdout.strip())
    assert result.stdout == f"{path}\n"
    assert path == best_checkpoint(Path("cv"))
    parameters = load(path).parameters.size
    assert f"text       input.txt: {len(TEXT)} characters, {V} distinct" in said
    assert re.search(r"split      columns: 3\d training, 2 validation chunks of 4×6\n", said)
    assert f"LSTM, 1 layer of 8, {V} characters, {parameters:,} parameters" in said
    assert re.search(r"device     NumPy [\d.]+ with \S+ \S+, (up to \d+ threads|1 thread)", said)
    first = re.search(r"initial    loss ([\d.]+)\n", said)
    assert float(first[1]) == pytest.approx(log(V), abs=0.1)
    assert f"; uniform {log(V):.3f}\n" in said
    assert (
        len(re.findall(r"^epoch \d\.\d\d/2  loss \d\.\d{3}  [\d,]+ characters/s$", said, re.MULTILINE)) == 6
    )
    measured = re.findall(
        r"^epoch (\d\.\d\d)  train \d\.\d{4}  validation \d\.\d{4}(?:  best so far)?$", said, re.M
    )
    assert len(measured) == 3
    assert measured[-1] == "2.00"
    assert len(re.findall(r"^           sample: .{60}$", said, re.MULTILINE)) == 3
    (best,) = re.findall(rf"^epoch (\S+)  .*  validation {path.stem[-6:]}  best so far$", said, re.M)
    assert f"epoch{best}_" in path.name
    assert "saved" not in said
    assert f"generate   minichar sample {path} --temperature 0.5" in said
    assert max(map(len, said.splitlines())) <= 80
    assert "\r" not in said
    assert "\x1b" not in said


def test_warnings_about_other_checkpoints_and_few_steps(cli):
    arguments = ["train", "--data", "input.txt", *TOY, "--max-val-chunks", 1, "--checkpoint-dir", "my cv"]
    first = cli(*arguments).stderr
    assert "another run" not in first
    assert re.search(
        r"^warning    only \d+ training steps: increase --max-epochs or reduce --batch-size$", first, re.M
    )
    assert first.count("each evaluation uses 1 of 2 validation chunks\n") == 1
    assert "generate   minichar sample 'my cv/lm_lstm_epoch2.00_" in first
    assert "training steps: increase" not in cli("train", "--resume", "my cv", "--max-epochs", 2.1).stderr
    again = cli(*arguments).stderr
    assert (
        "\nwarning    my cv/ contains another run, and `minichar sample` uses the best checkpoint.\n" in again
    )


def test_samples_during_training(cli):
    """Generating samples must not affect training."""
    arguments = ["--eval-val-every", 10, "--dropout", 0.2, "--start-ss", 0.9]
    results = [cli("train", "--data", "input.txt", *TOY, *arguments, "--sample-every", n) for n in (0, 2)]
    assert [result.stderr.count("sample: ") for result in results] == [0, 3]
    assert {result.stderr.count("  validation ") for result in results} == {7}
    assert len({result.stdout for result in results}) == 1


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


def test_default_is_the_built_in_text(cli, home, monkeypatch, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MINICHAR_CACHE", str(cache))
    monkeypatch.setattr("minichar.text.corpus.pydocs_text", lambda: TEXT)
    (home / "input.txt").unlink()
    result = cli("train", *TOY)
    assert "text       data/pydocs/input.txt" in result.stderr
    files = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    assert files == {"data/pydocs/input.txt", result.stdout.strip()}
    assert (home / "data" / "pydocs" / "input.txt").read_text() == TEXT
    assert not (cache / "texts").exists()  # the text is small


def test_resuming_needs_no_options_and_rejects_conflicting_ones(cli, train, measure):
    path = train("--max-epochs", 1)
    error = cli("train", "--resume", path, "--max-epochs", 0.5, status=1).stderr
    assert f"{path} is at epoch 1.00, and --max-epochs is 0.5: set a larger value to continue" in error
    error = cli("train", "--resume", path, "--recipe", "quick", status=1).stderr
    assert f"--recipe quick cannot be used to resume {path}, which has char-rnn" in error
    measure(3.9)
    result = cli("train", "--resume", path, "--max-epochs", 2, "--learning-rate", 0.01)
    assert "--learning-rate is now 0.01" in result.stderr
    assert result.stdout.strip() == path, "the best checkpoint may precede the resumed run"
    assert "best so far" not in result.stderr


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


def test_prints_the_best_checkpoint_instead_of_the_last(train, measure):
    measure(2.50001, 2.50002, 3.5)  # the first two are equal in file names, of which the newest is used
    assert train("--eval-val-every", 25) == "cv/lm_lstm_epoch1.52_2.5000.npz"
    assert len(list(Path("cv").iterdir())) == 3
