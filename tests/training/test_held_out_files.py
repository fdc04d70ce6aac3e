"""Test runs whose validation and test texts are in files of their own."""

from itertools import count
from pathlib import Path

import numpy as np
import pytest
from text_helpers import text_of
from toys import TEXT, take, toy_settings

from minichar.checkpoints.checkpoint import load
from minichar.errors import MinicharError
from minichar.text.ngram import yardstick
from minichar.training.evaluation import Evaluation, evaluate_streams
from minichar.training.events import Measured
from minichar.training.final import measure_files
from minichar.training.start import begin, resume, with_yardstick
from minichar.training.text import read_corpus, resets_of

VAL = "a cat looks at the river; zebras run.\n" * 8
TEST = "a quick dog jumps over its tail!\n" * 5


@pytest.fixture
def settings_of(tmp_path):
    """Return a function that writes the texts to files, and returns settings that name these files."""

    def settings_of(val=VAL, test=TEST, text=TEXT, **changes):
        given = {}
        for name, content in (("val", val), ("test", test)):
            if content:
                (tmp_path / f"{name}.txt").write_bytes(content.encode())
                given[name] = tmp_path / f"{name}.txt"
        return toy_settings(tmp_path, text, **given | changes)

    return settings_of


@pytest.fixture
def stopped(settings_of):
    """Return the path of a checkpoint of a run that was stopped after 10 chunks."""
    trainer = begin(settings_of()).trainer
    take(trainer, 10)
    return trainer.saver.last


class TestReading:
    def test_the_vocabulary_is_that_of_all_texts(self, settings_of, monkeypatch):
        monkeypatch.setattr("minichar.text.mapping.BLOCK", 7)  # ids are converted in blocks
        corpus = read_corpus(settings_of())
        assert corpus.vocabulary.characters == "".join(sorted({*TEXT, *VAL, *TEST}))
        assert {*";!"}.isdisjoint(TEXT)
        texts = corpus, corpus.val, corpus.test
        assert [text_of(text) for text in texts] == [TEXT, VAL, TEST]
        assert {text.vocabulary for text in texts} == {corpus.vocabulary}
        assert {text.ids.dtype for text in texts} == {corpus.vocabulary.dtype}

    def test_frequent_characters_are_those_of_the_training_text(self, settings_of):
        corpus = read_corpus(settings_of(val="\ufeff" + VAL, min_freq=9))
        alone = read_corpus(settings_of(val="", test="", min_freq=9))
        assert corpus.vocabulary == alone.vocabulary == corpus.val.vocabulary
        known = "".join(c if c in alone.vocabulary else "\ufffd" for c in VAL)
        assert text_of(corpus.val) == known != VAL
        path = settings_of().val
        notes = [note for note in corpus.notes if note.startswith(f"{path}: ")]
        assert [note.split(": ")[1].split()[0] for note in notes] == ["removed", "replaced"]

    def test_cached_texts_are_not_encoded_again(self, settings_of, text_cache, monkeypatch):
        monkeypatch.setattr("minichar.text.mapping.IN_MEMORY", 0)
        read_corpus(settings_of(val=TEXT[::-1]))
        monkeypatch.delattr("minichar.text.joining.Text.encode")
        again = read_corpus(settings_of(val=TEXT[::-1]))
        assert [text_of(text) for text in again.texts.values()] == [TEXT, TEXT[::-1], TEST]
        assert isinstance(again.ids, np.memmap)
        corpus = read_corpus(settings_of(val=TEXT[::-1], test=""))  # the texts have the same characters
        assert {Path(text.ids.filename).parent for text in (corpus, corpus.val)} == {text_cache}


class TestChunks:
    def test_all_of_the_data_is_training_text(self, settings_of):
        run = begin(settings_of(max_val_chunks=2))
        split, corpus = run.trainer.split, run.corpus
        assert (split.how, len(split.test)) == ("files", 0)
        for text, chunks in ((corpus, split.train), (corpus.val, split.val)):
            n = (len(text.ids) - 1) // 24 * 6
            assert chunks.streams.shape == (4, n + 1)
            np.testing.assert_array_equal(chunks.streams.ravel()[: n + 1], text.ids[: n + 1])
        assert split.left_out == sum((len(text) - 1) % 24 for text in (TEXT, VAL))
        assert len(run.trainer.val) == 2 < len(split.val)
        measured, val = with_yardstick(run).trainer.yardstick, split.val.part(0, 2)
        assert measured == yardstick(split.train.streams, val.streams, len(corpus.vocabulary))

    def test_a_short_file_reduces_the_batch_size_of_both(self, settings_of, tmp_path):
        run = begin(settings_of(val=VAL[:20]))
        split = run.trainer.split
        assert (split.B, split.T, len(split.val)) == (2, 6, 1)
        assert len(split.train) == (len(TEXT) - 1) // 12
        (note,) = run.notes
        assert note.endswith("val.txt' has only 20 characters: reduced the batch size from 4 to 2")
        (tmp_path / "input.txt").write_text(TEXT[:20])
        split = begin(settings_of()).trainer.split
        assert (split.B, len(split.train), len(split.val.streams)) == (2, 1, 2)

    @pytest.mark.parametrize("name", ["val", "input"])
    def test_a_file_that_is_too_short(self, settings_of, name):
        texts = {"val": {"val": "a cat"}, "input": {"text": "a cat"}}[name]
        error = rf"{name}\.txt' has 5 characters, but one training chunk needs 7: use a longer text$"
        with pytest.raises(MinicharError, match=error):
            begin(settings_of(**texts))

    def test_the_state_is_reset_in_each_text(self, settings_of):
        split = begin(settings_of(reset_on="\n")).trainer.split
        for chunks, text in ((split.train, TEXT), (split.val, VAL)):
            inputs, _, state_mask = chunks[0]
            assert (state_mask == (inputs != split.train.resets.separator)).all()
            assert inputs[:, 0].tolist() == [sorted({*TEXT, *VAL, *TEST}).index(c) for c in text[:6]]

    def test_a_test_file_alone_replaces_the_test_split(self, settings_of):
        run = begin(settings_of(val="", train_frac=0.8, val_frac=0.2))
        assert (run.trainer.split.how, len(run.trainer.split.test)) == ("columns", 0)
        assert text_of(run.corpus.test) == TEST
        error = (
            "^train_frac=0.8 and val_frac=0.1 leave 10.00% of the text for testing, but test names another"
        )
        with pytest.raises(MinicharError, match=error):
            begin(settings_of(val="", train_frac=0.8, val_frac=0.1))


class TestResuming:
    @pytest.mark.parametrize(
        ("name", "use"), [("data", "was trained on"), ("val", "was validated on"), ("test", "is tested on")]
    )
    def test_a_file_that_was_moved_or_has_changed(self, stopped, tmp_path, name, use):
        path = tmp_path / {"data": "input.txt"}.get(name, f"{name}.txt")
        moved = path.rename(tmp_path / "moved.txt")
        error = rf"^{stopped} {use} '{path}', which does not exist: specify the text with {name}$"
        with pytest.raises(MinicharError, match=error):
            resume(stopped, {})
        again = resume(stopped, {name: moved}).trainer
        assert (again.iteration, again.model.text_digests.keys()) == (10, {"data", "val", "test"})
        path.write_text(moved.read_text() + "\u2603")
        original = f"specify the original text with {name}, or start a new run with init_from$"
        with pytest.raises(MinicharError, match=f"^{path} is not the text that {stopped} {use}: {original}"):
            resume(stopped, {})

    @pytest.mark.parametrize(("name", "kind"), [("val", "validation"), ("test", "test")])
    def test_a_file_that_the_run_did_not_have(self, settings_of, name, kind):
        trainer = begin(settings_of(val="", test="")).trainer
        take(trainer, 5)
        path = getattr(settings_of(), name)
        error = f"^{name}='{path}' cannot be used to resume .*, which has no {kind} file: omit the option, or"
        with pytest.raises(MinicharError, match=error):
            resume(trainer.saver.last, {name: path})

    def test_none_keeps_the_files_of_the_run(self, stopped):
        run = resume(stopped, {"val": None, "test": None})
        assert (run.changes, len(run.corpus.texts)) == ({}, 3)


class TestTheEnd:
    def run(self, settings):
        run = begin(settings)
        list(run.trainer.run())
        return run

    @pytest.mark.parametrize("reset_on", ["", "\n"])
    def test_the_best_checkpoint_is_measured_on_all_characters(self, settings_of, reset_on, monkeypatch):
        """Each evaluation during training has a higher loss than the one before."""
        losses = map(float, count(1))
        monkeypatch.setattr(
            "minichar.training.trainer.evaluate",
            lambda measure, chunks: Evaluation(next(losses), 1, 1, sum(chunk[0].size for chunk in chunks)),
        )
        settings = settings_of(reset_on=reset_on, eval_val_every=20)
        run = self.run(settings)
        model = load(run.trainer.saver.saved[0])
        assert run.trainer.model.parameters.flat.tolist() != model.parameters.flat.tolist()
        measured = [*measure_files(run)]
        assert [each.part for each in measured] == ["val", "test"]
        for each, text in zip(measured, (run.corpus.val, run.corpus.test), strict=True):
            assert each.result == evaluate_streams(model, text.ids[None], resets=resets_of(text, settings))
            assert each.result.characters == len(text.ids) - 1

    def test_only_files_are_measured(self, settings_of):
        run = self.run(settings_of(val=""))
        assert [each.part for each in measure_files(run)] == ["test"]

    @pytest.mark.parametrize("chunks", [1, 4, 6])
    def test_it_ends_before_the_time_limit(self, settings_of, clock, chunks):
        """Training takes no time, and each chunk of 100 characters takes 10 seconds at the end."""
        clock.step = lambda i: 0.0
        run = self.run(settings_of(max_time=(10 * chunks + 5) / 60))
        begun, clock.chunk = clock.now, 10.0
        results = {each.part: each.result for each in measure_files(run)}
        assert clock.now - begun == 10 * chunks
        assert [part for part in results if results[part]] == ["val", "test"][: (chunks >= 4) + (chunks >= 6)]

    def test_a_stop_ends_it(self, settings_of):
        run = self.run(settings_of())

        def stop(steps):
            run.trainer.stop()
            return steps

        assert [*measure_files(run, stop)] == [Measured("val", None), Measured("test", None)]
