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


def split_of(model, how="columns", train_frac=0.95, val_frac=0.05, B=4, T=6, path="input.txt"):
    corpus = load_corpus(path, vocabulary=model.vocabulary)
    return split_text(corpus.ids, B, T, train_frac, val_frac, how)


def test_default_loss_matches_the_checkpoint_name(cli, checkpoint):
    found = numbers(cli("eval", checkpoint))
    assert found["nats"] in checkpoint
    assert found["path"] == checkpoint
    assert found["text"] == "input.txt"
    assert found["what"] == "validation split (columns), 4 streams from a zero state"
    split = split_of(load(checkpoint))
    V = len(set(TEXT))
    best = yardstick(split.train.streams, split.val.streams, V)
    result = evaluate_part(load(checkpoint), split, "val", "zero")
    lines = verdict(result.loss, result.characters, best, log(V))
    assert found["result"] == f"\n{' ' * 12}".join(lines) + "\n"
    assert numbers(cli("eval")) == found
    for options in (["--no-yardstick"], ["--part", "train"], ["--split", "whole"], ["--block", 4]):
        assert "yardstick" not in cli("eval", checkpoint, *options).stdout


@pytest.mark.parametrize(
    ("part", "split", "start", "begun"),
    [
        ("val", "columns", "zero", "from a zero state"),
        ("val", "columns", "carried", "with the state carried over"),
        ("test", "tail", "zero", "from a zero state"),
    ],
)
def test_parts_and_splits(cli, checkpoint, part, split, start, begun):
    model = load(checkpoint)
    fractions = ["--train-frac", 0.6, "--val-frac", 0.2]
    options = ["--split", split, "--part", part, "--start", start]
    found = numbers(cli("eval", checkpoint, *options, *fractions))
    assert_agrees(found, evaluate_part(model, split_of(model, split, 0.6, 0.2), part, start))
    assert found["what"] == f"{PART_NAMES[part]} split ({split}), 4 streams {begun}"


def test_prints_how_much_of_the_text_is_in_no_chunk(cli, checkpoint):
    left_out = split_of(load(checkpoint), B=7, T=9).left_out
    note = f"{left_out} characters ({left_out / len(TEXT):.1%}) left out at the end of the text\n"
    result = cli("eval", checkpoint, "--batch-size", 7, "--seq-length", 9)
    assert note in result.stderr
    assert "left out" not in cli("eval", checkpoint, "--quiet").stderr
    assert "left out" not in cli("eval", checkpoint, "--split", "whole").stderr


def test_whole_text(cli, checkpoint, home):
    for length in (2, 250):
        (home / "other.txt").write_text(TEXT[5 : 5 + length])
        found = numbers(cli("eval", checkpoint, "--data", "other.txt", "--split", "whole"))
        model = load(checkpoint)
        assert_agrees(found, evaluate_whole(model, model.vocabulary.encode(TEXT[5 : 5 + length])))
        assert found["what"] == "whole text, one stream from a zero state"


def test_notes_are_printed_to_standard_error(cli, checkpoint, home):
    (home / "other.txt").write_bytes(b"\xef\xbb\xbf" + b"the moon " * 2)
    result = cli("eval", checkpoint, "--data", "other.txt", "--batch-size", 50)
    assert "removed a byte-order mark" in result.stderr
    assert "only 18 characters: reduced the batch size from 50 to 1" in result.stderr
    assert "validation split (columns), 1 stream from" in numbers(result)["what"]


@pytest.mark.parametrize("settings", [None, {"unheard_of": 1}], ids=str)
def test_corrupted_settings(cli, checkpoint, settings):
    header, arrays = parts(checkpoint)
    header["details"]["settings"] = settings
    result = cli("eval", put_together("forged.npz", header, arrays), status=1)
    assert "forged.npz cannot be used: its training settings are missing or corrupted" in result.stderr


def test_note_if_the_text_is_not_or_includes_the_training_text(cli, checkpoint, home):
    shutil.copy("input.txt", "copy.txt")
    for options in ([], ["--data", "copy.txt"]):
        assert "is not the text" not in cli("eval", checkpoint, *options).stderr
    assert "includes the training text" in cli("eval", checkpoint, "--split", "whole").stderr
    (home / "input.txt").write_text(TEXT + TEXT[:50])
    note = f"input.txt is not the text that {checkpoint} was trained on\n"
    result = cli("eval", checkpoint, "--split", "tail")
    assert note in result.stderr
    only = "only the validation split is evaluated; for the whole text, add --split whole\n"
    assert only not in result.stderr
    assert only in cli("eval", checkpoint).stderr
    assert "only the" not in cli("eval", checkpoint, "--quiet").stderr
    assert "only the" not in cli("eval", checkpoint, "--data", "copy.txt").stderr
    best = r"yardstick   \d\.\d{3} \(\d-gram\), trained on this text; the model, on another\n"
    assert re.search(rf"^perplexity .*\n{best}\Z", result.stdout, re.MULTILINE)
    assert note == cli("eval", checkpoint, "--split", "whole", "--quiet").stderr
    assert note in cli("inspect", checkpoint, "--html", "a.html").stderr
    save("toy.npz", toy_model("".join(sorted(set(TEXT)))))
    error = cli("eval", "toy.npz", status=1).stderr
    assert "has no record of its training text: specify the text with --data" in error
    assert "the text that" not in cli("eval", "toy.npz", "--data", "input.txt", "--split", "whole").stderr
    assert "\nresult  " in cli("eval", "toy.npz", "--data", "input.txt").stdout


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        (["--batch-size", 1], "--batch-size"),
        (["--split", "tail"], "--split"),
        (["--train-frac", 0.85], "--train-frac"),
        (["--train-frac", 0.97, "--val-frac", 0.01], "--train-frac and --val-frac"),  # B is reduced
        (["--train-frac", 0.96, "--val-frac", 0.04], ""),
        (["--train-frac", 0.9, "--val-frac", 0.06, "--part", "test"], ""),  # which was used for validation
        (["--batch-size", 1, "--part", "train"], ""),
    ],
)
def test_warns_if_the_split_overlaps_the_training_text(options, changed, cli, checkpoint):
    stderr = cli("eval", checkpoint, *options).stderr
    warnings = re.findall("warning: (.*) changed since training, so this split overlaps the", stderr)
    assert warnings == [changed] * bool(changed)


def test_the_tail_does_not_overlap_the_training_text_with_another_batch_size(cli, train):
    path = train("--split", "tail")
    assert "warning" not in cli("eval", path, "--batch-size", 1, "--seq-length", 7).stderr
    result = cli("eval", path, "--batch-size", 2, "--split", "columns")
    assert "warning: --split and --batch-size changed since training" in result.stderr


def test_blocks_start_from_a_zero_state(cli, checkpoint):
    ids, zero = load_corpus("input.txt").ids, "each from a zero state, "
    result = cli("eval", checkpoint, "--split", "whole", "--block", 16)
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
    assert_agrees(numbers(result), evaluate_part(model, split, "val", "zero"))
    note = "evaluating all 7 validation chunks; during training, only the first 2 were evaluated\n"
    assert note in result.stderr
    assert "the first 2" not in cli("eval", path, "--part", "train").stderr
    assert "the first 2" not in cli("eval", path, "--batch-size", 2).stderr  # the chunks are not the same
    Path("other.txt").write_text(TEXT + TEXT[:3])
    assert "the first 2" not in cli("eval", path, "--data", "other.txt").stderr


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
