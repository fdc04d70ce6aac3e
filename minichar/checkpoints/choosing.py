"""Choose a checkpoint in a directory: the best one, or the newest one.

The best checkpoint has the lowest validation loss, which is part of its file name, on the text that was
trained on last: losses on different texts are not comparable. The newest one is chosen by the `Record` in
each checkpoint, because copying a directory, restoring a backup or changing the clock changes the
modification times of files. Files without a record come last, by name. Functions that search a directory
raise a `MinicharError` if it cannot be read or contains no checkpoint.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from minichar.checkpoints.checkpoint import load_details
from minichar.checkpoints.naming import is_checkpoint, loss_in_name
from minichar.checks import between, check
from minichar.errors import MinicharError
from minichar.history import LARGEST

Loaded = TypeVar("Loaded")
SHOWN = 3
"""Maximum number of directories to suggest."""


@dataclass(frozen=True)
class Record:
    """Which run saved a checkpoint, and when. Stored in a model's details under ``run``."""

    id: str  # random; kept when the run is resumed from its last checkpoint
    iteration: Annotated[int, between(0, LARGEST)]  # number of completed training steps
    saved: Annotated[float, between(0, LARGEST)]  # time in seconds since 1970

    def __post_init__(self) -> None:
        check(self)


def record_of(details: dict[str, Any]) -> Record | None:
    """Return the record in a model's details, or None if they have no valid one."""
    try:
        return Record(**details["run"])
    except (KeyError, TypeError, MinicharError):
        return None


@dataclass(frozen=True)
class Found:
    """A checkpoint file.

    `record` and `text`, the digest of the training text, are None if the file does not contain them. `error`
    is the error in reading it, if any.
    """

    path: Path
    record: Record | None = None
    text: Any = None
    error: str = ""


def newest_first(paths: Iterable[Path]) -> list[Found]:
    """Sort checkpoints from newest to oldest.

    The most recently saved run comes first, and in each run the checkpoint with the most training steps.
    Checkpoints without a record follow, in reverse order of their names, so that a later epoch comes first.
    """
    files = [_find(path) for path in sorted(paths, reverse=True)]
    last_saved: dict[str, float] = {}
    for record in (file.record for file in files if file.record):
        last_saved[record.id] = max(record.saved, last_saved.get(record.id, 0.0))

    def age(file: Found) -> tuple[Any, ...]:
        if record := file.record:
            return 0, -last_saved[record.id], record.id, -record.iteration, -record.saved
        return (1,)

    return sorted(files, key=age)


def _find(path: Path) -> Found:
    try:
        details = load_details(path)
        origin = details.get("origin")
        text = origin.get("digest") if isinstance(origin, dict) else None
        return Found(path, record_of(details), text)
    except MinicharError as error:
        return Found(path, error=str(error))


def newest_in(folder: Path) -> list[Found]:
    """Return the checkpoints in `folder`, newest first."""
    return newest_first(checkpoints_in(folder))


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, in no particular order."""
    try:
        paths = list(filter(is_checkpoint, folder.iterdir()))
    except (FileNotFoundError, NotADirectoryError):
        paths = []
    except OSError as error:
        raise MinicharError(f"cannot read {folder}/: {error.strerror}") from error
    if files := [path for path in paths if os.path.isfile(path)]:  # unlike `Path.is_file`, this never raises
        return files
    below = sorted(filter(is_checkpoint, folder.glob("*/*.npz")))
    beside = [] if folder.exists() else filter(is_checkpoint, folder.parent.glob("*/*.npz"))
    others = sorted({path.parent for path in beside})
    advice = "train one with `minichar train`, or change to the directory where you trained one"
    # With other names, such as those of converted models.
    if models := sorted(filter(os.path.isfile, folder.glob("*.npz"))):
        advice = f"choose a file, such as {models[0]}"
    elif below:  # for example, in a sweep directory, which has one subdirectory per trial
        advice = f"choose one of its subdirectories, such as {min(below, key=loss_in_name).parent}"
    elif others:
        advice = f"choose another directory, such as {' or '.join(map(str, others[:SHOWN]))}"
    raise MinicharError(f"no checkpoint in {folder}/: {advice}")


def all_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, best first: by validation loss, and then from newest to oldest.

    Those of other texts than the one trained on last follow. An unreadable one is not skipped.
    """
    files = newest_first(checkpoints_in(folder))
    text = next((file.text for file in files if not file.error), None)
    of_other_text = {file.path: not file.error and file.text != text for file in files}
    return sorted(of_other_text, key=lambda path: (of_other_text[path], loss_in_name(path)))


def best_checkpoint(folder: Path) -> Path:
    """Return the best checkpoint in `folder`; ties go to the newest."""
    return all_checkpoints(folder)[0]


def find_checkpoint(given: Path | None, newest: bool = False) -> Path:
    """Return the best checkpoint in `given` if it is a directory; otherwise, return `given`.

    The default directory is ``cv``. With `newest`, the newest checkpoint is chosen, which has the longest
    history.
    """
    path = Path("cv") if given is None else given
    if given is not None and not os.path.isdir(path):  # unlike `Path.is_dir`, this never raises
        return path
    return newest_in(path)[0].path if newest else best_checkpoint(path)


def open_checkpoint(
    given: Path | None, load: Callable[[Path], Loaded], newest: bool = False
) -> tuple[Path, Loaded]:
    """Choose a checkpoint as `find_checkpoint` does, and return its path and the result of ``load(path)``.

    If the chosen checkpoint is deleted before it is loaded, as can happen with ``minichar train --keep``,
    another one is chosen.
    """
    while True:
        path = find_checkpoint(given, newest)
        try:
            return path, load(path)
        except MinicharError:
            if path == given or path.exists():
                raise
