"""Read a training text, split it into chunks, and choose settings that suit it."""

import os
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

from minichar.engine.config import MAX_SIZE
from minichar.engine.registry import AUTO
from minichar.errors import LONGEST_PATH, MinicharError, Option, brief, counted
from minichar.text.batches import Split, split_text
from minichar.text.corpus import Corpus, Reader
from minichar.text.datasets import is_dataset_folder
from minichar.text.resets import Resets, count_separators, find_resets, separator_ids
from minichar.text.sizes import (
    LARGE_H,
    choose_dropout,
    choose_embedding,
    choose_learning_rate,
    choose_max_val_chunks,
    choose_patience,
    choose_rnn_size,
    choose_sizes,
    choose_steps,
    choose_tied,
    choose_warmup,
    choose_weight_decay,
    has_rare_characters,
)
from minichar.training.settings import AUTOMATIC, Settings
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
    same = digest in (None, corpus.digest)
    return [] if same else [f"{corpus.path} is not the text that {path} was trained on"]


def choose(settings: Settings, corpus: Corpus, from_scratch: bool = True) -> Settings:
    """Return the settings with automatic values and zeros replaced by values that suit the text.

    `choose_sizes` replaces a `batch_size` or `seq_length` of 0, and `split_text` reduces the new value if the
    text is short. If `max_epochs` is 0, it becomes the number of epochs in `choose_steps` training steps,
    rounded up unless it is below 1. The value chosen for `max_val_chunks` depends on step counts, not on
    measured times, so runs are reproducible: if `eval_val_every` is 0, it is chosen as if there were one
    evaluation per epoch or, if an epoch has more than `choose_steps` steps, one every `choose_steps` steps.
    """
    rare = has_rare_characters(len(corpus.ids), len(corpus.vocabulary))
    if settings.layer_norm is None:
        settings = replace(settings, layer_norm=rare and settings.model == AUTO)
    if settings.model == AUTO:
        settings = replace(settings, model="gru" if rare and settings.layer_norm else "lstm")
    if settings.dropout == AUTOMATIC:
        settings = replace(settings, dropout=choose_dropout(len(corpus.ids)))
    if settings.rnn_size == AUTOMATIC:
        settings = replace(settings, rnn_size=choose_rnn_size(len(corpus.ids), settings.dropout, rare))
    if settings.weight_decay == AUTOMATIC:
        weight_decay = choose_weight_decay(len(corpus.ids), rare, from_scratch)
        settings = replace(settings, weight_decay=weight_decay)
    if settings.warmup == AUTOMATIC:
        warmup = choose_warmup(len(corpus.ids), settings.model, from_scratch)
        settings = replace(settings, warmup=warmup)
    if settings.patience == AUTOMATIC:
        settings = replace(settings, patience=choose_patience(len(corpus.ids)))
    if settings.tied is None:
        settings = replace(settings, tied=choose_tied(len(corpus.ids)) and settings.embedding == AUTOMATIC)
    if settings.embedding == AUTOMATIC:
        embedding = choose_embedding(len(corpus.vocabulary), settings.rnn_size, bool(settings.tied))
        settings = replace(settings, embedding=embedding)

    def split(B: int, T: int) -> Split:
        return _split(corpus, replace(settings, batch_size=B, seq_length=T))

    B, T = settings.batch_size, settings.seq_length
    sizes = choose_sizes(len(corpus.ids), B, T, lambda B, T: split(B, T).left_out)
    fitting = split(*sizes)  # B and T are reduced if the text is short
    settings = replace(settings, batch_size=B or fitting.B, seq_length=T or fitting.T)
    if settings.learning_rate == AUTOMATIC:
        small = settings.num_layers <= 2 and settings.rnn_size <= LARGE_H
        plain = small and not settings.layer_norm and from_scratch
        rate = choose_learning_rate(len(corpus.ids), fitting.B, settings.model, plain)
        settings = replace(settings, learning_rate=rate)
    steps, epoch = choose_steps(len(corpus.ids)), len(_split(corpus, settings).train)
    if settings.max_val_chunks == AUTOMATIC:
        most = choose_max_val_chunks(settings.eval_val_every or min(steps, epoch))
        settings = replace(settings, max_val_chunks=most)
    if not settings.max_epochs:
        epochs = steps / epoch
        settings = replace(settings, max_epochs=float(ceil(epochs)) if epochs > 1 else epochs)
    return settings


def keep_chosen(settings: Settings, saved: Settings) -> Settings:
    """Return the settings of a resumed run, with automatic values replaced by those in `saved`."""
    automatic = {"model", "rnn_size", "learning_rate", "warmup", "weight_decay", "embedding", "layer_norm"}
    automatic |= {"tied", "max_val_chunks", "batch_size", "seq_length"}
    requested = [name for name in automatic if getattr(settings, name) == getattr(Settings, name)]
    return replace(settings, **{name: getattr(saved, name) for name in requested})


def lay_out(corpus: Corpus, settings: Settings) -> Split:
    """Split the text into chunks according to the settings, including state resets."""
    return _split(corpus, settings, resets_of(corpus, settings))


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


def _split(corpus: Corpus, settings: Settings, resets: Resets | None = None) -> Split:
    return split_text(
        corpus.ids,
        settings.batch_size,
        settings.seq_length,
        settings.train_frac,
        settings.val_frac,
        settings.split,
        resets,
        repr(corpus.path),
    )
