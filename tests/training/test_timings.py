"""Tests for the cache of training-step timings. A corrupted or unwritable cache is never an error."""

import json
import os
from dataclasses import replace

import pytest

from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.text.batches import split_text
from minichar.text.resets import find_resets
from minichar.text.vocabulary import Vocabulary
from minichar.training import timings
from minichar.training.settings import Settings
from minichar.training.timings import (
    Timing,
    describe_modes,
    describe_platforms,
    describe_size,
    find,
    find_all,
    find_in_any_mode,
    load,
    save,
)

ONE = Timing("small", describe_platforms([CPU]), describe_modes([CPU]), {"cpu": 12.34})
SLOW = {"cpu": "no CUDA graphs"}


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("MINICHAR_CACHE", str(tmp_path / "some" / "folder"))
    return tmp_path / "some" / "folder" / "timings.json"


def test_text_of_a_timing():
    assert str(ONE) == "cpu, 12.3 ms per step"
    modes = {"cpu": "", "gpu:0": "TF32", "gpu:1": "no CUDA graphs"}
    three = Timing("", {}, modes, {"cpu": 18.0, "gpu:0": 12.34, "gpu:1": 20.0})
    assert three.fastest == "gpu:0"
    assert str(three) == (
        "gpu:0 (TF32), 12.3 ms per step; cpu takes 18.0 ms; gpu:1 (no CUDA graphs) takes 20.0 ms"
    )


def test_saved_timings_are_found(path):
    assert load() == []
    other = replace(ONE, size="large")
    save(ONE)
    save(other)
    assert load() == [ONE, other]
    assert find("small", [CPU]) == ONE
    assert find("medium", [CPU]) is None
    assert [*path.parent.iterdir()] == [path]  # no temporary files


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    "change",
    [
        {"devices": {"cpu": "an older NumPy"}},
        {"modes": SLOW},
        {"machine": "another one"},
        {"size": "other"},
    ],
)
def test_a_timing_is_used_only_for_the_same_size_devices_modes_and_machine(change):
    other = replace(ONE, milliseconds={"cpu": 1.0}, **change)
    save(other)
    assert find("small", [CPU]) is None
    save(ONE)
    assert find("small", [CPU]) == ONE
    assert load() == [other, ONE]  # the other timing is kept


@pytest.mark.usefixtures("path")
def test_a_new_timing_replaces_the_old_one():
    new = replace(ONE, milliseconds={"cpu": 1.0})
    save(ONE)
    save(new)
    assert load() == [new]


@pytest.mark.usefixtures("path")
def test_timings_in_other_modes_are_listed_and_used_if_there_is_no_other():
    """The newest one is used."""
    old, slow = replace(ONE, modes={"cpu": "TF32"}), replace(ONE, modes=SLOW)
    for timing in (old, slow, replace(old, size="large"), replace(old, machine="another one")):
        save(timing)
    assert find_all([CPU]) == [old, slow, replace(old, size="large")]
    assert find_in_any_mode("small", [CPU]) == slow
    assert find_in_any_mode("medium", [CPU]) is None
    save(ONE)
    save(old)
    assert find_in_any_mode("small", [CPU]) == ONE


@pytest.mark.usefixtures("path")
def test_the_oldest_timings_are_deleted(monkeypatch):
    monkeypatch.setattr(timings, "MOST", 3)
    for size in "abcde":
        save(replace(ONE, size=size))
    assert [timing.size for timing in load()] == ["c", "d", "e"]


GOOD = vars(ONE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 10**5,
        b"3",
        b"[3]",
        b"[{}]",
        *(
            json.dumps([GOOD | change]).encode()
            for change in (
                {"size": 3},
                {"machine": None},
                {"devices": []},
                {"devices": {"cpu": 1}},
                {"modes": None},
                {"modes": {"cpu": None}},
                {"modes": {}},
                {"devices": {"gpu:0": "x"}},
                {"devices": {"gpu:0": "x"}, "modes": {"gpu:0": ""}},
                {"devices": {}, "modes": {}, "milliseconds": {}},
                {"milliseconds": None},
                {"milliseconds": {"cpu": 0}},
                {"milliseconds": {"cpu": "1"}},
                {"milliseconds": {"cpu": float("nan")}},
                {"milliseconds": {"cpu": float("inf")}},
                {"more": 1},
            )
        ),
    ],
)
def test_a_corrupted_cache_is_empty_and_can_be_written(path, content):
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert load() == []
    save(ONE)
    assert load() == [ONE]


def test_a_cache_that_is_too_large_is_not_read(path, monkeypatch):
    save(ONE)
    monkeypatch.setattr(timings, "LARGEST", path.stat().st_size - 1)
    assert load() == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="requires named pipes")
def test_a_pipe_is_not_read(path):
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert load() == []


@pytest.mark.parametrize("given", ["file", "file/folder", "x" * 300])
def test_an_unwritable_cache_is_ignored(tmp_path, monkeypatch, given):
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("MINICHAR_CACHE", str(tmp_path / given))
    save(ONE)
    assert load() == []


def test_no_cache_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINICHAR_CACHE", "")
    save(ONE)
    assert load() == []
    assert list(tmp_path.iterdir()) == []


def test_the_size_contains_everything_that_affects_the_time():
    """Change one option at a time, and check that all resulting sizes are different."""
    settings, config = Settings(), Config(65)
    split = split_text(Vocabulary("ab").encode("ab" * 99), 5, 7, 0.9, 0.1, "columns")
    assert describe_size(config, settings, split) == (
        "LSTM, 2 layers of 128, 65 characters, chunks of 5×7, float32"
    )
    changes = [
        *({"model": "rnn"}, {"model": "gru"}, {"model": "gru-reset-before"}, {"rnn_size": 9}),
        *({"num_layers": 1}, {"vocab_size": 66}, {"dropout": 0.5}, {"weight_drop": 0.5}),
        *({"embedding": 128}, {"embedding": 128, "tied": True}, {"layer_norm": True}),
        {"dropout": 0.4, "embedding": 8},
    ]
    sizes = [describe_size(replace(config, **change), settings, split) for change in ({}, *changes)]
    changed = {"dtype": "float64"}, {"use_ss": True}, {"use_ss": True, "ss_feed": "argmax"}
    sizes += [describe_size(config, replace(settings, **c), split) for c in changed]
    ids = Vocabulary("ab").encode("ab" * 99)
    reset = split_text(ids, 5, 7, 0.9, 0.1, "columns", find_resets(ids, ids[:1]))
    changed = {"B": 6}, {"T": 6}, {"train": reset.train}
    sizes += [describe_size(config, settings, replace(split, **c)) for c in changed]
    assert len({*sizes}) == len(sizes) == 1 + len(changes) + 6
    assert "dropout" in describe_size(replace(config, dropout=0.1), settings, split)
    assert describe_size(replace(config, dropout=0.1), settings, split) == sizes[7]
