"""Three ways to begin: from nothing, from the weights of another model, or where a run was stopped."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minichar.checkpoints.checkpoint import TrainingState, load, load_training
from minichar.checkpoints.naming import is_checkpoint
from minichar.devices.backend import Backend
from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.text.batches import Split, split_text
from minichar.text.corpus import Corpus, load_corpus
from minichar.text.vocabulary import Vocabulary
from minichar.training.settings import Settings, flag
from minichar.training.trainer import Trainer

ARCHITECTURE = ("model", "rnn_size", "num_layers", "gru_reset")
FIXED = (
    *ARCHITECTURE,
    *("encoding", "min_freq", "split", "train_frac", "val_frac"),
    *("seq_length", "batch_size", "seed", "dtype"),
)
"""What a resumed run cannot change and still be the same run."""


@dataclass(frozen=True)
class Run:
    """A trainer ready to go, the text it learns, and what the user should know of both."""

    trainer: Trainer
    corpus: Corpus
    notes: tuple[str, ...]
    untrained: bool = False


def begin(settings: Settings, backend: Backend = CPU) -> Run:
    """Begin from random weights, the same on every device."""
    corpus = read_corpus(settings)
    config = Config(
        len(corpus.vocabulary),
        settings.model,
        settings.rnn_size,
        settings.num_layers,
        settings.dropout,
        settings.gru_reset,
    )
    model = CharRNN.new(config, corpus.vocabulary, settings.seed, settings.dtype, backend)
    return replace(_run(model, settings, corpus, crowded(settings.checkpoint_dir)), untrained=True)


def crowded(folder: str) -> list[str]:
    """Say if a new run's folder has checkpoints already, of which `minichar sample` may take one."""
    if not any(map(is_checkpoint, Path(folder).glob("*.npz"))):
        return []
    return [
        f"{folder}/ holds other checkpoints, and minichar sample takes the lowest loss of all: "
        "--checkpoint-dir gives this run a folder of its own"
    ]


def begin_from(settings: Settings, path: str, given: Iterable[str] = (), backend: Backend = CPU) -> Run:
    """Begin from the weights in a checkpoint, matched to the new text character by character.

    Parameters
    ----------
    settings : Settings
        The checkpoint's architecture takes the place of theirs.
    path : str
    given : iterable of str
        The settings that the user named: one that contradicts the checkpoint is an error.
    """
    old = load(path, backend)
    corpus = read_corpus(settings)
    for name in ARCHITECTURE:
        if name in given and getattr(settings, name) != getattr(old.config, name):
            raise MinicharError(
                f"{flag(name)} {getattr(settings, name)} contradicts {path}, which has "
                f"{getattr(old.config, name)}: leave the option out to train that model further"
            )
    architecture = {name: getattr(old.config, name) for name in ARCHITECTURE}
    settings = replace(settings, **architecture)
    config = replace(old.config, vocab_size=len(corpus.vocabulary), dropout=settings.dropout)
    model = CharRNN.new(config, corpus.vocabulary, settings.seed, settings.dtype, backend)
    copy_weights(old, model)
    return _run(model, settings, corpus, vocabulary_notes(old.vocabulary, corpus.vocabulary))


def resume(path: str, changes: dict[str, Any], backend: Backend = CPU) -> Run:
    """Go on with a run exactly where its checkpoint left it.

    Parameters
    ----------
    path : str
    changes : dict
        Settings to change. Those that would make it another run are refused. Checkpoints go to the
        folder of `path` unless it is among them, and only this process's own are ever deleted.
    """
    model, state = load_training(path, backend)
    saved = settings_of(model, path)
    for name in FIXED:
        if name in changes and changes[name] != getattr(saved, name):
            raise MinicharError(
                f"{flag(name)} {changes[name]} would make it another run than {path}, which has "
                f"{getattr(saved, name)}: leave it out, or begin a new run with --init-from"
            )
    settings = replace(saved, **{"checkpoint_dir": str(Path(path).parent)} | changes)
    # No cache: a checkpoint from elsewhere must not choose where a file is written.
    corpus = read_corpus(settings, cache="data" in changes)
    origin = model.details.get("origin")
    same_text = isinstance(origin, dict) and origin.get("digest") == corpus.digest
    if not same_text or corpus.vocabulary != model.vocabulary:
        raise MinicharError(
            f"{corpus.path} is not the text that {path} was trained on: "
            "give that one with --data, or begin a new run with --init-from"
        )
    model.config = replace(model.config, dropout=settings.dropout)
    notes = [
        f"{flag(name)} is now {value}" for name, value in changes.items() if value != getattr(saved, name)
    ]
    device = state.progress.get("device")
    if device != backend.kind:
        drawn = "; dropout and scheduled sampling draw other numbers from here on"
        draws = settings.dropout or settings.use_ss
        notes.append(f"it ran on {device} before: sums are rounded otherwise{drawn if draws else ''}")
    run = _run(model, settings, corpus, notes, state)
    if run.trainer.iteration >= run.trainer.iterations:
        raise MinicharError(
            f"{path} has done its {settings.max_epochs} epochs: give a larger --max-epochs to go on"
        )
    return run


def settings_of(model: CharRNN, path: str) -> Settings:
    """Return the settings that the model of the checkpoint `path` was trained with."""
    try:
        return Settings(**model.details["settings"])
    except (KeyError, TypeError, MinicharError) as error:
        raise MinicharError(
            f"{path} does not say how it was trained: its settings are missing or damaged ({error})"
        ) from error


def read_corpus(settings: Settings, cache: bool = True) -> Corpus:
    """Read the text that the settings name, with a cache beside it or without."""
    return load_corpus(settings.data, encoding=settings.encoding, min_freq=settings.min_freq, cache=cache)


def lay_out(corpus: Corpus, settings: Settings) -> Split:
    """Cut the text into chunks as the settings say."""
    return split_text(
        corpus.ids,
        settings.batch_size,
        settings.seq_length,
        settings.train_frac,
        settings.val_frac,
        settings.split,
    )


def copy_weights(old: CharRNN, new: CharRNN) -> None:
    """Copy every weight of `old` into `new`, whose vocabulary may differ.

    A character's weights are its column of ``layer1.Wx`` and its row of ``readout.W``. They
    are found by the character, never by its id; a character `old` does not know keeps its
    fresh values.
    """
    shared = [character for character in new.vocabulary.characters if character in old.vocabulary]
    text = "".join(shared)
    old_ids, new_ids = list(old.vocabulary.encode(text)), list(new.vocabulary.encode(text))
    if old.vocabulary.unknown_id is not None and new.vocabulary.unknown_id is not None:
        old_ids.append(old.vocabulary.unknown_id)
        new_ids.append(new.vocabulary.unknown_id)
    backend = new.parameters.backend
    for name, view in new.parameters.items():
        source, values = backend.to_host(old.parameters[name]), backend.to_host(view).copy()
        if name == "layer1.Wx":
            values[:, new_ids] = source[:, old_ids]
        elif name == "readout.W":
            values[new_ids] = source[old_ids]
        else:
            values[...] = source
        view[...] = backend.to_device(values)


def vocabulary_notes(old: Vocabulary, new: Vocabulary) -> list[str]:
    """Say which characters a model meets for the first time, and which it will not meet again."""
    notes = []
    fresh = [character for character in new.characters if character not in old]
    gone = [character for character in old.characters if character not in new]
    if fresh:
        notes.append(
            f"{len(fresh)} characters are new to the model and start from random weights: {listed(fresh)}"
        )
    if new.unknown and not old.unknown:
        notes.append("the id for unknown characters is new to the model and starts from random weights")
    if gone:
        notes.append(
            f"{len(gone)} characters of the model are not in this text and are dropped: {listed(gone)}"
        )
    return notes


def listed(characters: list[str], most: int = 20) -> str:
    """Return the characters as people can read them, at most `most` of them."""
    more = f" and {len(characters) - most} more" if len(characters) > most else ""
    return " ".join(repr(character) for character in characters[:most]) + more


def _run(
    model: CharRNN,
    settings: Settings,
    corpus: Corpus,
    notes: Iterable[str] = (),
    resumed: TrainingState | None = None,
) -> Run:
    split = lay_out(corpus, settings)
    origin = {"path": corpus.path, "digest": corpus.digest}
    trainer = Trainer(model, split, settings, origin, resumed)
    return Run(trainer, corpus, (*corpus.notes, *split.notes, *notes))
