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
from minichar.training.evaluation import PART_NAMES, evaluate_blocks, evaluate_part, evaluate_whole

NUMBERS = re.compile(
    r"model       (?P<path>\S+): LSTM, .*\n"
    r"text        (?P<text>\S+): (?P<what>.*), (?P<characters>[\d,]+) characters\n"
    r"loss        (?P<nats>[\d.]+) nats per character "
    r"\(first chunk (?P<first>[\d.]+), last (?P<last>[\d.]+)\)\n"
    r"            (?P<bits>[\d.]+) bits per character\n"
    r"perplexity  (?P<perplexity>[\d.]+|inf)\n"
    r"(result      (?P<result>(.*\n)+)|yardstick   .*\n)?"
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


def test_default_loss_matches_the_checkpoint_name(cli, checkpoint):
    found = numbers(cli("eval", checkpoint))
    assert found["nats"] in checkpoint
    assert found["path"] == checkpoint
    assert found["text"] == "input.txt"
    assert found["what"] == "validation split (columns), 4 streams from a zero state"
    split = split_of(load(checkpoint))
    V = len(set(TEXT))
    best = yardstick(split.train.streams, split.val.streams, V)
    result = evaluate_part(load(checkpoint), split, "val")
    lines = verdict(result.loss, result.characters, best, log(V))
    assert found["result"] == f"\n{' ' * 12}".join(lines) + "\n"
    assert numbers(cli("eval")) == found
    for options in (["--no-yardstick"], ["--part", "train"], ["--part", "whole"], ["--block", 4]):
        assert "yardstick" not in cli("eval", checkpoint, *options).stdout


def test_parts_are_split_as_in_training(cli, train):
    path = train("--split", "tail", "--train-frac", 0.6, "--val-frac", 0.2)
    model = load(path)
    for part, name in PART_NAMES.items():
        result = cli("eval", path, "--part", part)
        split = split_of(model, "tail", 0.6, 0.2)
        assert_agrees(numbers(result), evaluate_part(model, split, part))
        assert numbers(result)["what"] == f"{name} split (tail), 4 streams from a zero state"
        left_out = (
            f"{split.left_out} characters ({split.left_out / len(TEXT):.1%}) left out at the end of each"
        )
        assert left_out in result.stderr
        assert "left out" not in cli("eval", path, "--part", part, "--quiet").stderr


def test_another_text_is_evaluated_as_a_whole(cli, checkpoint, home):
    for length in (2, 250):
        (home / "other.txt").write_text(TEXT[5 : 5 + length])
        result = cli("eval", checkpoint, "--data", "other.txt")
        model = load(checkpoint)
        assert_agrees(numbers(result), evaluate_whole(model, model.vocabulary.encode(TEXT[5 : 5 + length])))
        assert numbers(result)["what"] == "whole text, one stream from a zero state"
        assert "left out" not in result.stderr


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
    result = cli("eval", checkpoint, "--part", "val")
    assert note in result.stderr
    best = r"yardstick   \d\.\d{3} \(\d-gram\), trained on this text; the model, on another\n"
    assert re.search(rf"^perplexity .*\n{best}\Z", result.stdout, re.MULTILINE)
    assert note == cli("eval", checkpoint, "--quiet").stderr
    assert note in cli("inspect", checkpoint, "--html", "a.html").stderr
    save("toy.npz", toy_model("".join(sorted(set(TEXT)))))
    error = cli("eval", "toy.npz", status=1).stderr
    assert "has no record of its training text: specify the text with --data" in error
    result = cli("eval", "toy.npz", "--data", "input.txt")
    assert "the text that" not in result.stderr
    assert "\nresult  " in result.stdout


def test_blocks_start_from_a_zero_state(cli, checkpoint):
    ids, zero = load_corpus("input.txt").ids, "each from a zero state, "
    result = cli("eval", checkpoint, "--part", "whole", "--block", 16)
    rest = (len(TEXT) - 1) % 16
    where = "after the last complete block of each stream"
    assert result.stderr.endswith(f"\nnot evaluated: {rest} characters {where}\n")
    assert f": whole text, blocks of 16 characters, {zero}" in result.stdout
    loss = evaluate_blocks(load(checkpoint), ids[None], 16).loss
    assert f"loss        {loss:.4f} nats per character\n" in result.stdout
    found = cli("eval", checkpoint, "--part", "train", "--block", 10).stdout
    assert f"training split (columns), blocks of 10 characters, {zero}" in found
    loss = evaluate_blocks(load(checkpoint), split_text(ids, 4, 6).train.streams, 10).loss
    assert f"{loss:.4f} nats" in found
    assert "blocks of 1 character, each" in cli("eval", checkpoint, "--block", 1).stdout


def test_all_chunks_are_evaluated_even_if_training_used_only_some(cli, train):
    path = train("--max-val-chunks", 2, "--train-frac", 0.8, "--val-frac", 0.2)
    result = cli("eval", path)
    model = load(path)
    split = split_of(model, train_frac=0.8, val_frac=0.2)
    assert_agrees(numbers(result), evaluate_part(model, split, "val"))
    note = "evaluating all 7 validation chunks; during training, only the first 2 were evaluated\n"
    assert note in result.stderr
    assert "the first 2" not in cli("eval", path, "--part", "train").stderr
    Path("other.txt").write_text(TEXT + TEXT[:3])
    assert "the first 2" not in cli("eval", path, "--data", "other.txt", "--part", "val").stderr


# Comparison with the training text


@pytest.mark.parametrize("name", ["text.txt", "-"])
def test_novelty_of_a_text(cli, checkpoint, home, name):
    """Both a byte-order mark and CR LF are removed, as from a training text."""
    text = "zzzzz\0" + TEXT[20:54] + "zzzz"
    (home / "text.txt").write_bytes(("\ufeff" + text.replace("\n", "\r\n")).encode())
    result = cli("eval", checkpoint, "--novelty", name, stdin=text)
    assert result.stdout == (
        f"model       {checkpoint}: {load(checkpoint).summary()}\n"
        f"text        {'standard input' if name == '-' else name}: 44 characters\n"
        f"training    input.txt: {len(TEXT)} characters\n"
        "novelty     longest shared run: 34 characters, 'over the moon.\\nthe quick fox jumps'\n"
        "            77.3% of the text in shared runs of more than 20 characters\n"
    )
    assert result.stderr == ""


def test_novelty_compares_all_characters_of_any_training_text(cli, train, home):
    """The model's unknown token represents both rare characters."""
    (home / "input.txt").write_text(f"{TEXT}\u2603{TEXT}\u2602", encoding="utf-8")
    path = train("--min-freq", 2)
    for character, length in (("\u2603", 51), ("\u2601", 25)):
        (home / "text.txt").write_text(TEXT[-25:] + character + TEXT[:25], encoding="utf-8")
        shown = cli("eval", path, "--novelty", "text.txt").stdout
        assert f"longest shared run: {length} characters" in shown
    (home / "other.txt").write_text("the caf\xe9\x1b\xfc" * 3, encoding="latin-1")
    (home / "text.txt").write_text("a caf\xe9\x1b\xfc", encoding="utf-8")
    result = cli("eval", path, "--novelty", "text.txt", "--data", "other.txt", "--encoding", "latin-1")
    assert "longest shared run: 7 characters, ' caf\xe9\\x1b\xfc'\n" in result.stdout
    assert result.stderr.startswith(f"other.txt is not the text that {path} was")
