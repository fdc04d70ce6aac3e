"""Test training and evaluation with validation and test texts in files of their own, as benchmarks have."""

import json
import re
from math import exp, log
from pathlib import Path

import pytest
from toys import TEXT, TOY

from minichar import load
from minichar.cli.advice import verdict
from minichar.text.corpus import load_corpus
from minichar.text.ngram import yardstick
from minichar.training.evaluation import evaluate_blocks, evaluate_streams

VAL = "a cat looks at the river; zebras run.\n" * 8
TEST = "a quick dog jumps over its tail!\n" * 5
FILES = ("--val", "val.txt", "--test", "test.txt")


@pytest.fixture
def files(home):
    """Write the validation and test texts to files."""
    (home / "val.txt").write_text(VAL, encoding="utf-8")
    (home / "test.txt").write_text(TEST, encoding="utf-8")


@pytest.fixture
def trained(cli, files):
    return cli("train", "--data", "input.txt", *FILES, *TOY, "--log", "log.jsonl")


def evaluation(model, name):
    return evaluate_streams(model, load_corpus(name, vocabulary=model.vocabulary).ids[None])


def test_training_describes_the_texts_and_ends_with_the_losses_on_all_characters(trained):
    lines, path = trained.stderr.splitlines(), trained.stdout.strip()
    assert lines[0].startswith(f"text       input.txt: {len(TEXT)} characters, ")
    assert lines[1:3] == ["validation val.txt: 304 characters", "test       test.txt: 165 characters"]
    assert re.fullmatch(r"split      \d\d% training, \d\d% validation, in chunks of 4×6 characters", lines[4])
    n = sum((len(text) - 1) % 24 for text in (TEXT, VAL))
    share = n / (len(TEXT) + len(VAL))
    assert lines[5] == f"           {n} characters ({share:.1%}) left out at the end of each text"
    model, (_, after) = load(path), trained.stderr.split("\nresult ")
    records = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()][-2:]
    for (name, label), record in zip((("val", "validation"), ("test", "test")), records, strict=True):
        found = evaluation(model, f"{name}.txt")
        losses = f"{label:11}{found.loss:.4f} nats = {found.loss / log(2):.4f} bits per character\n"
        assert (
            f"{losses}           perplexity {exp(found.loss):.3f}, {found.characters} characters\n" in after
        )
        assert record == {"event": "final", "part": name, **vars(found)}
    assert after.endswith(f"\ngenerate   minichar sample {path} --temperature 0.8\n")


@pytest.mark.parametrize(
    ("part", "label", "options"), [("val", "validation", []), ("test", "test", ["--part", "test"])]
)
def test_eval_measures_the_same(cli, trained, part, label, options):
    model = load(trained.stdout.strip())
    expected = evaluation(model, f"{part}.txt")
    result = cli("eval", trained.stdout.strip(), *options)
    what = f"{part}.txt: whole {label} text, 1 stream from a zero state, {expected.characters} characters"
    assert f"\ntext        {what}\nloss        {expected.loss:.4f} nats" in result.stdout
    training, held_out = (
        load_corpus(name, vocabulary=model.vocabulary).ids[None] for name in ("input.txt", f"{part}.txt")
    )
    V = len(model.vocabulary)
    best = yardstick(training, held_out, V)
    lines = verdict(expected.loss, expected.characters, best, log(V))
    assert result.stdout.split("\nresult      ")[1] == f"\n{' ' * 12}".join(lines) + "\n"
    assert not re.search("not the text|warning", result.stderr)


def test_eval_of_the_training_text_and_in_blocks(cli, trained):
    model = load(trained.stdout.strip())
    ids = load_corpus("val.txt", vocabulary=model.vocabulary).ids
    found = evaluate_blocks(model, ids[None], 10)
    shown = cli("eval", "--block", 10).stdout
    assert "val.txt: whole validation text, blocks of 10 characters" in shown
    assert f"{found.loss:.4f} nats" in shown
    result = cli("eval", "--part", "train")
    assert "text        input.txt: training split (columns), 4 streams" in result.stdout
    assert result.stdout.splitlines()[1].endswith(f" {(len(TEXT) - 1) // 24 * 24:,} characters")
    result = cli("eval", "--part", "whole")
    assert "warning: the whole text includes the training text" in result.stderr


def test_eval_reads_another_text_as_a_whole(cli, trained, home):
    (home / "other.txt").write_text(VAL[:250])
    expected = evaluation(load(trained.stdout.strip()), "other.txt")
    result = cli("eval", "--data", "other.txt")
    assert "other.txt: whole text, 1 stream from a zero state, 249 characters" in result.stdout
    assert f"{expected.loss:.4f} nats" in result.stdout
    error = cli("eval", "--data", "other.txt", "--part", "val", status=1).stderr
    assert "the validation split is empty: choose another --part\n" in error


def test_eval_of_a_file_that_was_moved_or_changed(cli, trained, home):
    path = trained.stdout.strip()
    (home / "test.txt").write_text(TEST[1:])
    note = f"test.txt is not the text that {path} is tested on\n"
    assert cli("eval", "--part", "test").stderr.startswith(note)
    (home / "test.txt").unlink()
    assert cli("eval", "--part", "test", status=1).stderr == (
        f"Error: {path} is tested on 'test.txt', which does not exist: evaluate another file with --data\n"
    )


def test_without_time_the_commands_are_printed(cli, files):
    options = ("--max-time", 1e-6)
    result = cli("train", "--data", "input.txt", *FILES, *TOY, *options)
    path = result.stdout.strip()
    assert result.stderr.endswith(
        f"validation not measured; measure it with:\n  minichar eval {path} --part val\n"
        f"test       not measured; measure it with:\n  minichar eval {path} --part test\n"
        f"generate   minichar sample {path} --temperature 0.8\n"
    )
