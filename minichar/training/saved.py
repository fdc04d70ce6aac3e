"""What a checkpoint tells about its run: which checkpoint to resume, its settings and its texts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from minichar.checkpoints.choosing import checkpoints_in, newest_first, newest_in, record_of
from minichar.checkpoints.naming import is_latest, latest_path
from minichar.checks import AUTO
from minichar.errors import MinicharError, Option, brief, listed, plain, quoted
from minichar.model import CharRNN
from minichar.text.corpus import Corpus
from minichar.training.choose import ARCHITECTURE, automatic_in, masking
from minichar.training.recipes import check_effect
from minichar.training.settings import HELD_OUT, READING, TEXTS, Settings
from minichar.training.text import SPECIFY, USED, check_text

FIXED = (
    "recipe",
    *ARCHITECTURE,
    *READING,
    "max_val_chunks",
    "seq_length",
    "batch_size",
    "seed",
    "dtype",
)
"""Settings that cannot be changed when a run is resumed."""


def choose_checkpoint(path: Path, load: Callable[[Path], Any]) -> tuple[Path, list[str], bool]:
    """Choose the checkpoint to resume: the newest one in a directory that ``load(path)`` can read.

    Returns its path, notes about other checkpoints in its directory, and whether the user specified a
    checkpoint whose run has saved later ones.
    """
    if not path.is_dir():
        return path, [], _has_later(path)
    skipped: list[str] = []
    files = newest_in(path)
    for i, file in enumerate(files):
        try:
            load(file.path)
        except MinicharError as error:
            skipped.append(str(error))
            continue
        skipped += [other.error for other in files[i:] if other.error]
        notes = [f"skipped: {error}" for error in skipped]
        this = file.record and file.record.id
        readable = [each for each in reversed(files) if not each.error]
        others = {each.record and each.record.id: each.path.name for each in readable}
        if names := [name for run, name in others.items() if run != this]:
            named = listed([*map(repr, names[:3])], len(names))
            one = quoted(path / names[0])
            notes.append(f"other runs in {path}/: {named}; to resume one: minichar train --resume {one}")
        return file.path, notes, False
    raise MinicharError(f"no checkpoint in {path}/ can be resumed: {skipped[0]}")


def _has_later(path: Path) -> bool:
    """Return whether the directory of a checkpoint contains a later checkpoint of the same run."""
    try:
        (this,), files = newest_first([path]), newest_first(checkpoints_in(path.parent))
    except MinicharError:  # the file has been renamed, so that no name is that of a checkpoint
        return False
    records = [file.record for file in files if file.record]
    run = this.record
    return run is not None and any(each.id == run.id and each.iteration > run.iteration for each in records)


def obsolete_latest(path: Path, model: CharRNN, settings: Settings, iteration: int) -> Path | None:
    """Return the checkpoint saved between evaluations that the next one saved by the run replaces, if any.

    It is the resumed one, `path`, or one that the same run saved after at most `iteration` steps.
    """
    latest = path if is_latest(path) else latest_path(settings.checkpoint_dir, settings.run_name)
    if latest.parent != settings.checkpoint_dir:
        return None
    (file,) = newest_first([latest])
    this = file.record
    earlier = this is not None and this.id == id_of(model) and this.iteration <= iteration
    return latest if latest == path or earlier else None


def id_of(model: CharRNN) -> str | None:
    """Return the identifier of the run that saved the model, or None if it is unknown."""
    record = record_of(model.details)
    return record.id if record else None


def settings_of(model: CharRNN, path: Path) -> Settings:
    """Return the training settings of the model in the checkpoint `path`.

    Missing or corrupted settings raise a `MinicharError`.
    """
    try:
        stored = dict(model.details["settings"])
        if wrong := stored.keys() ^ vars(Settings()).keys():
            raise MinicharError(f"{brief(min(wrong))} is missing or unknown")
        settings = Settings(**stored)
        if unchosen := automatic_in(settings):
            raise MinicharError(f"{', '.join(unchosen)} has no value")
        return settings
    except (KeyError, TypeError, ValueError, MinicharError) as error:
        reason = f"its training settings are missing or corrupted ({error})"
        raise MinicharError(f"{path} cannot be used: {reason}") from error


def settings_with_text(model: CharRNN, path: Path, remedy: Sequence[str | Option] = SPECIFY) -> Settings:
    """Like `settings_of`, but also raise a `MinicharError` if the training text is unknown or does not exist.

    `remedy` is the part of the message that says how to fix the error.
    """
    if "settings" not in model.details:
        raise MinicharError(f"{path} has no record of its training text: ", *remedy)
    settings = settings_of(model, path)
    check_text(settings, path, remedy)
    return settings


def changed_settings(saved: Settings, changes: dict[str, Any], path: Path) -> Settings:
    """Return the settings of the run saved in `path`, with `changes`. Automatic ones keep their values.

    Raises a `MinicharError` if a change is not possible or has no effect, or if a text does not exist.
    """
    settings = replace(saved, **{"checkpoint_dir": path.parent} | changes)
    automatic = [*automatic_in(settings), *(name for name in HELD_OUT if getattr(settings, name) is AUTO)]
    settings = replace(settings, **{name: getattr(saved, name) for name in automatic})
    for name in FIXED:
        if name in changes and (value := getattr(settings, name)) != (has := getattr(saved, name)):
            # A model can be fine-tuned with other settings, but not with another architecture.
            fine_tune = ("start a new run with ", Option("init_from"))
            raise MinicharError(
                Option(name, value),
                f" cannot be used to resume {path}, which has ",
                Option(name, has) if isinstance(has, bool) else plain(has),
                ": omit the option, or ",
                *(("train a new model",) if name in ARCHITECTURE else fine_tune),
            )
    check_effect(settings, changes)
    for name in TEXTS:
        if name not in changes:
            check_text(settings, path, ("specify the text with ", Option(name)), name)
    return settings


def check_same_texts(corpus: Corpus, model: CharRNN, path: Path) -> None:
    """Raise a `MinicharError` if the texts are not those that the model in `path` was trained with."""
    originals = model.text_digests
    changed = [name for name, digest in corpus.digests.items() if digest != originals.get(name)]
    if corpus.vocabulary != model.vocabulary:
        changed.append("data")
    if not changed:
        return
    text, original = corpus.texts[name := changed[0]], originals.get(name)
    problem: tuple[str | Option, ...]
    if name in HELD_OUT and original is None:
        fixed = f" cannot be used to resume {path}, which has no {HELD_OUT[name]} file: omit the option"
        problem = Option(name, text.path), fixed
    else:
        other = f"{text.path} is not the text that {path} {USED[name]}: specify the original text with "
        problem = other, Option(name)
    raise MinicharError(*problem, ", or start a new run with ", Option("init_from"))


def differences(saved_on: str, device: str, settings: Settings) -> list[str]:
    """Return a note if a run continues on another type of device than its checkpoint was saved on."""
    if saved_on == device:
        return []
    drawn = "; dropout, DropConnect and scheduled sampling will draw different random numbers"
    draws = any(masking(settings).values()) or settings.use_ss
    return [f"the checkpoint was saved on {plain(saved_on)}: rounding will differ{drawn if draws else ''}"]
