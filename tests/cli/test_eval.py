import re
import shutil
from math import exp, log
from pathlib import Path

import pytest
from toys import TEXT, parts, put_together, toy_model

from minichar import load
from minichar.checkpoints.checkpoint import save
from minichar.cli.advice import verdict
from minichar.text.batches import split_text
from minichar.text.corpus import load_corpus
from minichar.text.ngram import yardstick
from minichar.training.evaluation import evaluate_blocks, evaluate_streams

NUMBERS = re.compile(
    r"model       (?P<path>\S+): LSTM, .*\n"
    r"text        (?P<text>\S+): (?P<what>.*), (?P<characters>[\d,]+) characters\n"
    r"loss        (?P<nats>[\d.]+) nats per character "
    r"\(first chunk (?P<first>[\d.]+), last (?P<last>[\d.]+)\)\n"
    r"            (?P<bits>[\d.]+) bits per character\n"
    r"perplexity  (?P<perplexity>[\d.]+|inf)\n"
    r"(result      (?P<result>(.*\n)+))?"
)


def numbers(result):
    match = NUMBERS.fullmatch(result.stdout)
    assert match, result.stdout
    return match.groupdict()


def assert_agrees(found, expected):
    loss = expected.loss
    values = {"nats": loss, "first": expected.first, "last": expected.last, "bits": loss / log(2)}
    assert {name: float(found[name]) for name in values} == pytest.approx(values, abs=6e-5)
    assert float(found["perplexity"]) == pytest.approx(exp(loss), abs=6e-4)
    assert int(found["characters"].replace(",", "")) == expected.characters


def split_of(model, how="columns", train_frac=0.95, val_frac=0.05):
    corpus = load_corpus("input.txt", vocabulary=model.vocabulary)
    return split_text(corpus.ids, 4, 6, train_frac, val_frac, how)


def evaluation_of(model, split, part):
    return evaluate_streams(model, getattr(split, part).streams, split.T)


def test_default_loss_matches_the_checkpoint_name(cli, checkpoint):
    found = numbers(cli("eval", checkpoint))
    assert found["nats"] in checkpoint
    assert found["path"] == checkpoint
    assert found["text"] == "input.txt"
    assert found["what"] == "validation split (columns), 4 streams from a zero state"
    split = split_of(load(checkpoint))
    V = len(set(TEXT))
    best = yardstick(split.train.streams, split.val.streams, V)
    result = evaluation_of(load(checkpoint), split, "val")
    lines = verdict(result.loss, result.characters, best, log(V))
    assert found["result"] == f"\n{' ' * 12}".join(lines) + "\n"
    assert numbers(cli("eval")) == found
    for options in (["--part", "train"], ["--part", "whole"], ["--block", 4]):
        assert "result" not in cli("eval", checkpoint, *options).stdout


def test_parts_are_split_as_in_training(cli, train):
    path = train("--split", "tail", "--train-frac", 0.6, "--val-frac", 0.2)
    model = load(path)
    for part, name in {"train": "training", "val": "validation", "test": "test"}.items():
        result = cli("eval", path, "--part", part)
        split = split_of(model, "tail", 0.6, 0.2)
        assert_agrees(numbers(result), evaluation_of(model, split, part))
        assert numbers(result)["what"] == f"{name} split (tail), 4 streams from a zero state"


def test_another_text_is_evaluated_as_a_whole(cli, checkpoint, home):
    for length in (2, 250):
        (home / "other.txt").write_text(TEXT[5 : 5 + length])
        result = cli("eval", checkpoint, "--data", "other.txt")
        model = load(checkpoint)
        ids = model.vocabulary.encode(TEXT[5 : 5 + length])
        assert_agrees(numbers(result), evaluate_streams(model, ids[None], 6))
        assert numbers(result)["what"] == "whole text, 1 stream from a zero state"


def test_notes_are_printed_to_standard_error(cli, checkpoint, home):
    (home / "other.txt").write_bytes(b"\xef\xbb\xbf" + b"the moon " * 2)
    result = cli("eval", checkpoint, "--data", "other.txt", "--part", "val")
    assert "removed a byte-order mark" in result.stderr
    assert "only 18 characters: reduced the batch size from 4 to " in result.stderr
    assert "validation split (columns), " in numbers(result)["what"]


@pytest.mark.parametrize("settings", [None, {"unheard_of": 1}], ids=str)
def test_corrupted_settings(cli, checkpoint, settings):
    header, arrays = parts(checkpoint)
    header["details"]["settings"] = settings
    result = cli("eval", put_together("forged.npz", header, arrays), status=1)
    assert "forged.npz cannot be used: its training settings are missing or corrupted" in result.stderr


def test_note_if_the_text_is_not_or_includes_the_training_text(cli, checkpoint, home):
    shutil.copy("input.txt", "copy.txt")
    for options in ([], ["--data", "copy.txt"]):
        result = cli("eval", checkpoint, *options)
        assert "is not the text" not in result.stderr
        assert "validation split" in result.stdout
    assert "includes the training text" in cli("eval", checkpoint, "--part", "whole").stderr
    (home / "input.txt").write_text(TEXT + TEXT[:50])
    note = f"input.txt is not the text that {checkpoint} was trained on\n"
    result = cli("eval", checkpoint)
    assert note in result.stderr
    assert "validation split" in result.stdout
    assert "result" not in result.stdout
    assert note == cli("eval", checkpoint, "--quiet").stderr
    assert note in cli("inspect", checkpoint, "--html", "a.html").stderr
    save("toy.npz", toy_model("".join(sorted(set(TEXT)))))
    error = cli("eval", "toy.npz", status=1).stderr
    assert "has no record of its training text: specify the text with --data" in error
    result = cli("eval", "toy.npz", "--data", "input.txt")
    assert "the text that" not in result.stderr
    assert "whole text" in result.stdout
    assert "validation split" in cli("eval", "toy.npz", "--data", "input.txt", "--part", "val").stdout


def test_blocks_start_from_a_zero_state(cli, checkpoint):
    ids, model = load_corpus("input.txt").ids, load(checkpoint)
    for part, what, streams in (
        ("whole", "whole text", ids[None]),
        ("train", r"training split \(columns\)", split_text(ids, 4, 6).train.streams),
    ):
        found = cli("eval", checkpoint, "--part", part, "--block", 16).stdout
        assert re.search(f": {what}, blocks of 16 characters from a zero state, ", found)
        loss = evaluate_blocks(model, streams, 16).loss
        assert f"loss        {loss:.4f} nats per character" in found


def test_the_encoding_is_that_of_training(cli, train, home):
    """Also of the training text, which the yardstick for a validation file needs."""
    (home / "input.txt").write_text(TEXT + "\xe9", encoding="latin-1")
    (home / "val.txt").write_text("the caf\xe9\n" * 40, encoding="latin-1")
    path = train("--encoding", "latin-1", "--val", "val.txt")
    assert "\nresult      " in cli("eval", path).stdout
    assert "is not utf-8 text" in cli("eval", path, "--encoding", "utf-8", status=1).stderr


def test_all_chunks_are_evaluated_even_if_training_used_only_some(cli, train):
    path = train("--max-val-chunks", 2, "--train-frac", 0.8, "--val-frac", 0.2)
    result = cli("eval", path)
    model = load(path)
    split = split_of(model, train_frac=0.8, val_frac=0.2)
    assert_agrees(numbers(result), evaluation_of(model, split, "val"))
    note = "evaluating all 7 validation chunks; during training, only the first 2 were evaluated\n"
    assert note in result.stderr
    assert "the first 2" not in cli("eval", path, "--part", "train").stderr
    Path("other.txt").write_text(TEXT + TEXT[:3])
    assert "the first 2" not in cli("eval", path, "--data", "other.txt", "--part", "val").stderr
