import os
import re
from pathlib import Path

import pytest
from toys import put_together, set_at

from minichar.checkpoints.checkpoint import load_details
from minichar.checkpoints.choosing import (
    all_checkpoints,
    best_checkpoint,
    find_checkpoint,
    newest_first,
    newest_in,
    open_checkpoint,
)
from minichar.checkpoints.naming import (
    checkpoint_name,
    is_checkpoint,
    is_latest,
    loss_in_name,
    to_delete,
)
from minichar.errors import MinicharError


def touch(folder, *names):
    """Create empty files with increasing modification times."""
    for second, name in enumerate(names):
        (folder / name).touch()
        os.utime(folder / name, (second, second))


def recorded(path, *run, **details):
    """Write a file with the record ``(id, iteration, saved)``."""
    record = dict(zip(("id", "iteration", "saved"), run, strict=True))
    return put_together(path, {"details": {"run": record, **details}}, {})


RUNS = {
    "lm_a_epoch1.00_1.5000.npz": ("b", 10, 100.0),
    "lm_a_epoch2.00_1.5000.npz": ("b", 20, 40.0),  # the clock was set back
    "lm_a_latest.npz": ("b", 15, 45.0),
    "lm_b_epoch9.00_1.5000.npz": ("a", 90, 50.0),
    "lm_b_epoch8.00_1.0000.npz": ("a", 80, 49.0),
}
ORDER = ["lm_a_epoch2.00_1.5000.npz", "lm_a_latest.npz", "lm_a_epoch1.00_1.5000.npz"]
ORDER += ["lm_b_epoch9.00_1.5000.npz", "lm_b_epoch8.00_1.0000.npz"]


class TestNewest:
    """The newest checkpoint is chosen by the records in the files."""

    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "cv"
        folder.mkdir()
        for second, (name, run) in enumerate(RUNS.items()):
            os.utime(recorded(folder / name, *run), (second, second))
        return folder

    def test_the_run_saved_last_comes_first_and_in_it_the_largest_step(self, folder, tmp_path):
        for name in (None, *RUNS):
            if name:
                os.utime(folder / name, (10**9, 10**9))
            assert [file.path.name for file in newest_in(folder)] == ORDER
        assert [file.path.name for file in newest_first(folder / name for name in RUNS)] == ORDER
        assert find_checkpoint(folder, newest=True).name == ORDER[0]

    def test_the_newest_checkpoint_wins_if_losses_are_equal(self, folder):
        (folder / "lm_b_epoch8.00_1.0000.npz").unlink()
        assert best_checkpoint(folder).name == "lm_a_epoch2.00_1.5000.npz"
        assert [path.name for path in all_checkpoints(folder)][:2] == [ORDER[0], ORDER[2]]

    def test_the_best_one_is_that_of_the_text_that_was_trained_on_last(self, folder):
        """Losses on different texts are not comparable. An unreadable file is not skipped."""
        for name, text in (("c_epoch1.00_3.0000", "new"), ("d_epoch1.00_2.0000", "new")):
            recorded(folder / f"lm_{name}.npz", name, 1, 60.0, origin={"digest": text})
        assert best_checkpoint(folder).name == "lm_b_epoch8.00_1.0000.npz"
        recorded(folder / "lm_e_epoch1.00_4.0000.npz", "e", 1, 200.0, origin={"digest": "new"})
        assert best_checkpoint(folder).name == "lm_d_epoch1.00_2.0000.npz"
        assert [loss_in_name(path) for path in all_checkpoints(folder)[:4]] == [2.0, 3.0, 4.0, 1.0]
        recorded(folder / "lm_e_epoch1.00_4.0000.npz", "e", 1, 200.0, origin=["digest"])
        assert best_checkpoint(folder).name == "lm_b_epoch8.00_1.0000.npz"
        (folder / "lm_bad_epoch1.00_0.5000.npz").write_bytes(b"PK")
        recorded(folder / "lm_e_epoch1.00_4.0000.npz", "e", 1, 200.0, origin={"digest": "new"})
        assert best_checkpoint(folder).name == "lm_bad_epoch1.00_0.5000.npz"

    def test_files_without_a_record_come_last_by_name(self, folder):
        """Their modification times do not matter. A file that has been deleted is one of them."""
        for name in ("b", "a"):
            path = put_together(folder / f"lm_{name}_epoch1.00_9.0000.npz", {"details": {}}, {})
            os.utime(path, (1, 1))
        (folder / "lm_bad_epoch1.00_9.0000.npz").write_bytes(b"PK")
        *files, gone, bad, b, a = newest_first([*folder.iterdir(), folder / "lm_gone_epoch1.00_9.0000.npz"])
        assert files == newest_first(folder / name for name in RUNS)
        assert [file.path.name[:5] for file in (a, b, bad, gone)] == ["lm_a_", "lm_b_", "lm_ba", "lm_go"]
        assert {file.record for file in (a, b, bad, gone)} == {None}
        assert (a.error, "not a checkpoint" in bad.error, "no such" in gone.error) == ("", True, True)

    @pytest.mark.parametrize(
        ("where", "value"),
        [
            *[("", None), ("run", None), ("run", [1]), ("run.id", 5), ("run.iteration", -1)],
            *[("run.iteration", 1.5), ("run.iteration", 10**16), ("run.iteration", ...)],
            *[("run.saved", -1.0), ("run.saved", float("nan")), ("run.saved", 1e16), ("run.saved", ...)],
            *[("run.more", 1)],
        ],
    )
    def test_an_invalid_record_is_ignored(self, tmp_path, where, value):
        header = {"details": {"run": {"id": "a", "iteration": 1, "saved": 1.5}}}
        set_at(header, ["details", *where.split(".")] if where else ["details"], value)
        (file,) = newest_first([put_together(tmp_path / "lm_lstm_epoch1.00_1.0000.npz", header, {})])
        assert (file.record, file.error) == (None, "")


def test_the_best_checkpoint_has_the_lowest_loss(tmp_path):
    touch(
        tmp_path,
        "lm_lstm_epoch1.00_2.0000.npz",
        "lm_lstm_epoch2.00_1.5000.npz",
        "lm_gru_epoch3.00_10.0000.npz",
        "lm_lstm_epoch3.50_interrupted.npz",
        "README.md",
        "other_0.1000.npz",
        "lm_lstm_epoch4.00_0.5000.inference.npz",
        ".lm_lstm_epoch9.00_0.1000.npz.ab12cd34.tmp",
    )
    assert best_checkpoint(tmp_path).name == "lm_lstm_epoch2.00_1.5000.npz"


def test_find_checkpoint_accepts_a_file_or_directory_and_defaults_to_cv(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MinicharError, match="no checkpoint in cv/"):
        find_checkpoint(None)
    for folder in ("cv", "other"):
        Path(folder).mkdir()
        touch(Path(folder), "lm_lstm_epoch1.00_1.5000.npz", f"lm_{folder}_epoch2.00_1.2500.npz")
    assert find_checkpoint(None) == Path("cv/lm_cv_epoch2.00_1.2500.npz")
    assert find_checkpoint(Path("other")) == Path("other/lm_other_epoch2.00_1.2500.npz")
    assert find_checkpoint(Path("other/any.npz")) == Path("other/any.npz")

    touch(Path("cv"), "lm_cv_epoch2.00_1.2500.npz", "lm_cv_epoch3.00_1.7500.npz")
    assert find_checkpoint(Path("cv")) == find_checkpoint(None) == Path("cv/lm_cv_epoch2.00_1.2500.npz")
    assert find_checkpoint(Path("cv"), newest=True) == Path("cv/lm_lstm_epoch1.00_1.5000.npz")


def test_directories_and_links_to_nothing_are_ignored(tmp_path):
    (tmp_path / "a file").touch()
    (tmp_path / "lm_lstm_epoch1.00_1.0000.npz").symlink_to(tmp_path / "missing.npz")
    (tmp_path / "lm_lstm_epoch3.00_0.0002.npz").mkdir()
    for folder in (tmp_path, tmp_path / "a file", tmp_path / "missing"):
        with pytest.raises(
            MinicharError, match=f"no checkpoint in {folder}/: train one with `minichar train`"
        ):
            best_checkpoint(folder)
    (tmp_path / "converted.npz").touch()
    with pytest.raises(MinicharError, match=rf"choose a file, such as {tmp_path}/converted\.npz$"):
        best_checkpoint(tmp_path)
    (tmp_path / "lm_lstm_epoch2.00_2.0000.npz").touch()
    assert best_checkpoint(tmp_path).name == "lm_lstm_epoch2.00_2.0000.npz"


class TestOpening:
    """Tests for opening a checkpoint that is deleted after it has been chosen."""

    @pytest.fixture
    def directory(self, tmp_path):
        for loss in ("1.0000", "2.0000"):
            (tmp_path / f"lm_lstm_epoch1.00_{loss}.npz").touch()
        return tmp_path

    def test_another_one_is_chosen(self, directory):
        def load(path):
            if "1.0000" in path.name:
                path.unlink()
                raise MinicharError("no such checkpoint")
            return "loaded"

        path, loaded = open_checkpoint(directory, load)
        assert (path.name, loaded) == ("lm_lstm_epoch1.00_2.0000.npz", "loaded")

    def test_a_corrupted_checkpoint_is_not_skipped(self, directory):
        """A user who asks for the best model must not silently get a different one."""
        with pytest.raises(MinicharError, match=r"1\.0000\.npz is corrupted"):
            open_checkpoint(directory, refuse)

    def test_a_file_in_an_unreadable_directory_is_not_a_directory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Path, "stat", forbid)
        with pytest.raises(MinicharError, match=r"lm\.npz: Permission denied"):
            open_checkpoint(tmp_path / "lm.npz", load_details)

    def test_an_unreadable_directory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Path, "iterdir", forbid)
        with pytest.raises(
            MinicharError, match=rf"^cannot read {re.escape(str(tmp_path))}/: Permission denied$"
        ):
            open_checkpoint(tmp_path, refuse)


def forbid(path, **options):
    raise PermissionError(13, "Permission denied", str(path))


def refuse(path):
    raise MinicharError(f"{path} is corrupted")


# File names


@pytest.mark.parametrize(
    ("name", "kind", "run"),
    [
        ("lm_lstm_epoch0.95_2.0681.npz", 2.0681, ("lstm", 0.95, 2.06814, False)),
        ("lm_my_own_epoch12.00_10.5000.npz", 10.5, ("my_own", 12, 10.5, True)),
        ("lm_lstm_epoch0.31_interrupted.npz", "unmeasured", ("lstm", 0.3149, None, True)),
        ("lm_lstm_epoch2.00_unmeasured.npz", "unmeasured", ("lstm", 2, None, False)),
        ("lm_lstm_epoch0.31_unmeasured-2.npz", "unmeasured", None),
        ("lm_my_run_latest.npz", "latest", None),
        ("lm_my_run_latest-2.npz", "latest", None),
        ("lm_latest.npz", "other", None),
        ("lm_lstm_epoch0.95_2.0681.inference.npz", "other", None),
        ("notes_1.0000.npz", "other", None),
    ],
)
def test_the_name_tells_the_kind_of_checkpoint_and_its_loss(name, kind, run):
    path = Path("cv", name)
    assert run is None or checkpoint_name(*run) == name
    assert loss_in_name(path) == (kind if isinstance(kind, float) else float("inf"))
    assert is_latest(path) == (kind == "latest")
    assert is_checkpoint(path) == (kind != "other")


def run(*losses):
    """Return the checkpoint paths of a run with the given losses, oldest first."""
    return [Path("cv", checkpoint_name("lstm", e, loss, True)) for e, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("losses", "keep", "deleted"),
    [
        ([3.0], 1, []),
        ([3.0, 2.0], 1, [0]),
        ([2.0, 3.0], 1, []),
        ([2.0, 3.0, 4.0], 1, [1]),
        ([4.0, 3.0, 2.0, 1.0], 2, [0, 1]),
        ([1.0, 4.0, 2.0, 3.0], 2, [1]),
        ([None, 2.0, 3.0], 2, [0]),
        ([2.0, 3.0, None], 1, [1]),
        ([2.0, 2.0, 2.0], 1, [0, 1]),
    ],
)
def test_the_best_and_the_newest_are_kept(losses, keep, deleted):
    paths = run(*losses)
    assert sorted(to_delete(paths, keep)) == [paths[i] for i in deleted]
