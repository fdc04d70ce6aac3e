"""Test ``--reset-on``, an option of ``train`` that other commands read from the checkpoint."""

import numpy as np
import pytest
from click import BadParameter
from toys import TEXT, parts

from minichar import load
from minichar.cli.options import Escaped
from minichar.pictures.activity import read_activity
from minichar.text.corpus import load_corpus
from minichar.training.evaluation import evaluate_blocks, evaluate_part, evaluate_whole
from minichar.training.start import settings_of
from minichar.training.text import lay_out


@pytest.fixture
def path(train):
    return train("--reset-on", r"\n")


def test_other_commands_use_the_separator_without_being_told(cli, path):
    model, corpus = load(path), load_corpus("input.txt")
    settings = settings_of(model, path)
    assert settings.reset_on == model.reset_on == "\n"
    laid_out = lay_out(corpus, settings)
    resets, ids = model.resets(corpus.ids), corpus.ids
    results = {
        (): evaluate_part(model, laid_out, "val", "zero"),
        ("--part", "train", "--block", 10): evaluate_blocks(
            model, laid_out.train.streams, 10, resets=laid_out.train.resets
        ),
        ("--split", "whole"): evaluate_whole(model, ids, resets=resets),
        ("--split", "whole", "--block", 16): evaluate_blocks(model, ids[None], 16, resets=resets),
    }
    for options, wanted in results.items():
        found = cli("eval", path, *options).stdout
        assert f"loss        {wanted.loss:.4f} nats per character" in found
        assert r", reset at '\n', " in found
    assert len({f"{result.loss:.4f}" for result in results.values()}) == 4
    text = "the quick fox looks at the moon.\na lazy dog runs from a river.\n"
    surprisal = model.surprisal(text)
    assert np.nanmean(surprisal) == pytest.approx(model.evaluate(text).loss, rel=1e-6)
    ids = model.vocabulary.encode(text)
    np.testing.assert_allclose(read_activity(model, ids).surprise, surprisal, rtol=1e-6)
    second = text.index("\n")
    np.testing.assert_allclose(model.surprisal(text[second:])[1:], surprisal[second + 1 :], rtol=1e-6)


def test_the_checkpoint_and_the_notes_name_the_separator(cli, path):
    assert parts(path)[0]["details"]["settings"]["reset_on"] == "\n"
    assert r"reset_on                   '\n'" in cli("inspect", path).stdout
    error = cli("train", "--resume", path, "--max-epochs", 3).stderr
    assert rf"the state is reset at '\n': {TEXT.count(chr(10))} resets in the text" in error
    error = cli("train", "--resume", path, "--max-epochs", 4, "--reset-on", "a", status=1).stderr
    assert rf"--reset-on a cannot be used to resume {path}, which has '\n'" in error
    converted = cli("convert", path, "small.npz")
    assert converted.exit_code == 0
    assert load("small.npz").reset_on == "\n"


def test_a_separator_is_not_required_in_another_text(cli, path, home):
    (home / "other.txt").write_text(TEXT.replace("\n", " "), encoding="utf-8")
    result = cli("eval", path, "--data", "other.txt", "--split", "whole")
    assert f"{load(path).evaluate(TEXT[:-1].replace(chr(10), ' ') + ' ').loss:.4f} nats" in result.stdout


def test_escape_sequences():
    for given, text in ((r".\n", ".\n"), (".\n", ".\n"), (r"e \\", "e \\"), ("", "")):
        assert Escaped().convert(given, None, None) == text
    for given in (r"\r", "\\", r"a\\\q", "\\\n"):
        with pytest.raises(BadParameter, match="is not an escape sequence: use one of "):
            Escaped().convert(given, None, None)
