"""Read a training text and split it into chunks."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minichar.engine.config import MAX_SIZE
from minichar.errors import LONGEST_PATH, MinicharError, Option, brief, counted
from minichar.text.batches import Split, split_text
from minichar.text.corpus import Corpus, Reader
from minichar.text.datasets import is_dataset_folder, older_pydocs
from minichar.text.resets import Resets, count_separators, find_resets, separator_ids
from minichar.training.settings import Settings
from minichar.training.team import ALONE, Team


def read_corpus(settings: Settings, team: Team = ALONE) -> Corpus:
    """Read the text specified by the settings.

    If every rank has a cache of the text, all ranks read their caches at the same time. Otherwise, rank 0
    reads the text first, and the other ranks can then use its cache.

    Raises
    ------
    MinicharError
        If the text cannot be read (see `load_corpus`) or has too many distinct characters, or if the ranks
        read different texts, for example because each rank reads from its own disk.
    """
    reader = team.in_turn(lambda: Reader(settings.data, settings.encoding, settings.min_freq))
    possible = not any(team.largest(not reader.may_be_cached()))
    cached = reader.cached(team.lead(lambda: reader.digest)) if possible else None
    everywhere = not any(team.largest(cached is None))
    corpus = cached if cached and everywhere else team.in_turn(reader.load)
    digest = team.lead(lambda: corpus.digest)
    if any(team.largest(corpus.digest != digest)):
        raise MinicharError(f"the processes read different texts from {corpus.path}: use the same text")
    if (V := len(corpus.vocabulary)) > MAX_SIZE:
        raise MinicharError(
            f"{corpus.path!r} has {V:,} distinct characters, and a model can have at most {MAX_SIZE:,}: ",
            "keep only frequent characters with ",
            Option("min_freq"),
        )
    if V > 1:
        return corpus
    note = "the text has only one distinct character: there is nothing to learn"
    return replace(corpus, notes=(*corpus.notes, note))


SPECIFY = ("specify the text with ", Option("data"))
"""What to do if a training text is not found."""


def check_text(settings: Settings, path: Path, remedy: Sequence[str | Option] = SPECIFY) -> None:
    """Raise a `MinicharError` if the training text of the model in `path` does not exist.

    `remedy` is the part of the message that says how to fix the error.
    """
    data = settings.data
    if data is not None and not os.path.exists(data):
        text = brief(str(data), LONGEST_PATH)
        problem = f"{path} was trained on {text}, which does not exist: "
        download = f", or get it with `minichar data get {data.name}`" if is_dataset_folder(data) else ""
        raise MinicharError(problem, *remedy, download)


def note_on_change(corpus: Corpus, digest: str | None, path: Path) -> list[str]:
    """Return a note if the training text of the model in `path` has a digest other than that of `corpus`.

    If the digest of the training text is None, it is unknown.
    """
    if digest in (None, corpus.digest):
        return []
    older = older_pydocs(digest)
    where = f": use {older}" if older else ""
    return [f"{corpus.path} is not the text that {path} was trained on{where}"]


def lay_out(corpus: Corpus, settings: Settings, with_resets: bool = True) -> Split:
    """Split the text into chunks according to the settings, by default with state resets.

    Raises
    ------
    MinicharError
        If the text is too short.
    """
    return split_text(
        corpus.ids,
        settings.batch_size,
        settings.seq_length,
        settings.train_frac,
        settings.val_frac,
        settings.split,
        resets_of(corpus, settings) if with_resets else None,
        repr(corpus.path),
    )


def resets_of(corpus: Corpus, settings: Settings) -> Resets | None:
    """Return the positions where the state is reset: at separators and at the start of each file."""
    separator = separator_ids(settings.reset_on, corpus.vocabulary)
    return find_resets(corpus.ids, separator, corpus.starts[1:])


def where_reset(corpus: Corpus, settings: Settings) -> str:
    """Return a phrase that describes where the state is reset in the text, or an empty string."""
    places = [f"at {brief(settings.reset_on)}"] if settings.reset_on else []
    if len(corpus.starts) > 1:
        places.append("at the start of each file")
    return " and ".join(places)


def what_is_left_out(corpus: Corpus, split: Split) -> str:
    """Return a phrase that states how much of the text is in no chunk."""
    share = split.left_out / len(corpus.ids)
    where = "the text" if split.how == "columns" else "each split"
    return f"{counted(split.left_out, 'character')} ({share:.1%}) left out at the end of {where}"


def lay_out_to_train(corpus: Corpus, settings: Settings) -> Split:
    """Like `lay_out`, but raise a `MinicharError` if `reset_on` is set and does not occur in the text."""
    separator = separator_ids(settings.reset_on, corpus.vocabulary)  # (m,)
    if len(separator) and not any(count_separators(corpus.ids, separator)):
        raise MinicharError(
            Option("reset_on"),
            f" is {brief(settings.reset_on)}, which does not occur in {corpus.path}: "
            "choose a string that separates its documents",
        )
    return lay_out(corpus, settings)
