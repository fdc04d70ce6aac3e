"""Read the texts of a training run and split them into chunks."""

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from minichar.engine.config import MAX_SIZE
from minichar.errors import LONGEST_PATH, MinicharError, Option, brief, counted
from minichar.text.batches import Layout, Split, layout, split_text
from minichar.text.corpus import Corpus, load_corpus
from minichar.text.datasets import is_dataset_folder, save_pydocs
from minichar.text.resets import Resets, count_separators, find_resets, separator_ids
from minichar.text.vocabulary import Vocabulary
from minichar.training.settings import HELD_OUT, Settings
from minichar.training.team import ALONE, Team

LITTLE = 0.01
"""Fraction of the text that can be left out of the chunks without being reported."""


def read_corpus(settings: Settings, team: Team = ALONE) -> Corpus:
    """Read the texts specified by the settings. The default text is saved first.

    The vocabulary contains the characters of all texts. With `min_freq`, it contains those that are frequent
    in the training text, and the unknown token replaces all others. Raises a `MinicharError` if a text cannot
    be read (see `load_corpus`), if the texts have too many distinct characters, or if the ranks read
    different texts, for example because each rank reads from its own disk.
    """
    if not settings.data:
        team.lead(save_pydocs)
    corpus = _read(team, settings.data, settings.encoding, settings.min_freq)
    frequent = corpus.vocabulary if settings.min_freq else None
    held_out = {
        name: _read(team, path, settings.encoding, 0, frequent)
        for name in HELD_OUT
        if (path := getattr(settings, name)) is not None
    }
    if held_out and not frequent:
        texts = [corpus, *held_out.values()]
        characters = {*chain.from_iterable(text.vocabulary.characters for text in texts)}
        vocabulary = Vocabulary("".join(sorted(characters)))
        corpus, *others = (text.recoded(vocabulary) for text in texts)
        held_out = dict(zip(held_out, others, strict=True))
    notes = [f"{text.path}: {note}" for text in held_out.values() for note in text.notes]
    notes = [*corpus.notes, *notes]
    corpus = replace(corpus, notes=tuple(notes), val=held_out.get("val"), test=held_out.get("test"))
    if (V := len(corpus.vocabulary)) > MAX_SIZE:
        raise MinicharError(
            f"{corpus.path!r} has {V:,} distinct characters, but a model can have at most {MAX_SIZE:,}: ",
            "keep only frequent characters with ",
            Option("min_freq"),
        )
    if V > 1:
        return corpus
    note = "the text has only one distinct character: there is nothing to learn"
    return replace(corpus, notes=(*corpus.notes, note))


def _read(
    team: Team,
    path: Path | tuple[Path, ...],
    encoding: str,
    min_freq: int,
    vocabulary: Vocabulary | None = None,
) -> Corpus:
    """Return the same text on all ranks (see `load_corpus`). The other ranks can use the cache of rank 0."""
    corpus = team.in_turn(
        lambda: load_corpus(path, encoding=encoding, min_freq=min_freq, vocabulary=vocabulary)
    )
    digest = team.lead(lambda: corpus.digest)
    if any(team.largest(corpus.digest != digest)):
        raise MinicharError(f"the processes read different texts from {corpus.path}: use the same text")
    return corpus


USED = {"data": "was trained on", "val": "was validated on", "test": "is tested on"}
"""How messages relate a model to one of its texts."""
SPECIFY = ("specify the text with ", Option("data"))
"""What to do if a training text is not found."""


def check_text(settings: Settings, path: Path, remedy: Sequence[str | Option], name: str = "data") -> None:
    """Raise a `MinicharError` if a text of the model in `path`, by default the training text, does not exist.

    `remedy` is the part of the message that says how to fix the error.
    """
    texts = settings.data if name == "data" else (getattr(settings, name),)
    for text in texts:
        if text is not None and not os.path.exists(text):
            problem = f"{path} {USED[name]} {brief(str(text), LONGEST_PATH)}, which does not exist: "
            download = f", or get it with `minichar data get {text.name}`" if is_dataset_folder(text) else ""
            raise MinicharError(problem, *remedy, download)


def note_on_change(corpus: Corpus, digest: str | None, path: Path, name: str = "data") -> list[str]:
    """Return a note if `digest`, from the model in `path`, is not the digest of `corpus`.

    `digest` is that of the text `name`, by default the training text; None means that it is unknown.
    """
    if digest in (None, corpus.digest):
        return []
    return [f"{corpus.path} is not the text that {path} {USED[name]}"]


def layout_of(corpus: Corpus, settings: Settings) -> Layout:
    """Return the sizes of the chunks into which `lay_out` splits the text."""

    def sizes(text: Corpus, B: int, T: int) -> Layout:
        return layout(len(text.ids), B, T, *settings.fractions, settings.split, repr(text.path))

    whole = sizes(corpus, settings.batch_size, settings.seq_length)
    if corpus.val is None:
        return whole
    val = sizes(corpus.val, whole.B, whole.T)
    train = sizes(corpus, val.B, val.T)
    left_out, notes = train.left_out + val.left_out, whole.notes + val.notes
    parts = train.parts[0], val.parts[0], 0
    return Layout(val.B, val.T, "files", parts, left_out, notes)


def lay_out(corpus: Corpus, settings: Settings) -> Split:
    """Split the text into chunks according to the settings, with state resets.

    A validation text in its own file is laid out with the same B and T, which are reduced if it is short.
    Raises a `MinicharError` if a text is too short.
    """
    sizes = layout_of(corpus, settings)

    def split(text: Corpus) -> Split:
        resets = resets_of(text, settings)
        return split_text(text.ids, sizes.B, sizes.T, *settings.fractions, settings.split, resets)

    laid_out = split(corpus)
    val = laid_out.val if corpus.val is None else split(corpus.val).train
    return Split(**vars(sizes), train=laid_out.train, val=val, test=laid_out.test)


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
    """Return a phrase that states how much of the text is not in any chunk, or "" if it is little."""
    share = split.left_out / sum(len(text.ids) for text in (corpus, corpus.val) if text)
    if share <= LITTLE:
        return ""
    where = {"columns": "the text", "tail": "each split", "files": "each text"}[split.how]
    return f"{counted(split.left_out, 'character')} ({share:.1%}) left out at the end of {where}"


def lay_out_to_train(corpus: Corpus, settings: Settings) -> Split:
    """Like `lay_out`, but check that the settings suit the text.

    Raises a `MinicharError` if `reset_on` does not occur in the training text, or if there would be two test
    texts: a file, and a part of the training text.
    """
    if settings.test and (rest := round(1 - sum(settings.fractions), 6)) > 0:
        raise MinicharError(
            Option("train_frac", settings.train_frac),
            " and ",
            Option("val_frac", settings.val_frac),
            f" leave {rest:.2%} of the text for testing, but ",
            Option("test"),
            " names another test text: use fractions whose sum is 1",
        )
    separator = separator_ids(settings.reset_on, corpus.vocabulary)  # (m,)
    if len(separator) and not any(count_separators(corpus.ids, separator)):
        raise MinicharError(
            Option("reset_on"),
            f" is {brief(settings.reset_on)}, which does not occur in {corpus.path}: "
            "choose a string that separates its documents",
        )
    return lay_out(corpus, settings)
