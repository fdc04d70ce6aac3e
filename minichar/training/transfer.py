"""Copy the weights of a trained model to a model with a different vocabulary."""

from minichar.errors import listed
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary

SHOWN = 20
"""Maximum number of characters listed in a note."""


def copy_weights(old: CharRNN, new: CharRNN) -> None:
    """Copy the weights of `old` to `new`, which may have a different vocabulary.

    A character's weights are its row in ``readout.W`` and, if present, its column in ``layer1.Wx`` or
    ``embedding.E``. Weights are matched by character, not by id. In `new`, characters not in `old` keep their
    weights.
    """
    shared = [character for character in new.vocabulary.characters if character in old.vocabulary]
    text = "".join(shared)
    old_ids, new_ids = list(old.vocabulary.encode(text)), list(new.vocabulary.encode(text))
    if old.vocabulary.unknown_id is not None and new.vocabulary.unknown_id is not None:
        old_ids.append(old.vocabulary.unknown_id)
        new_ids.append(new.vocabulary.unknown_id)
    backend = new.parameters.backend
    for name, view in new.parameters.items():
        source = old.parameters.backend.to_host(old.parameters[name])
        values = backend.to_host(view).copy()
        if name in ("layer1.Wx", "embedding.E"):
            values[:, new_ids] = source[:, old_ids]
        elif name == "readout.W":
            values[new_ids] = source[old_ids]
        else:
            values[...] = source
        view[...] = backend.to_device(values)


def vocabulary_notes(old: Vocabulary, new: Vocabulary) -> list[str]:
    """Return notes on the characters added to and removed from a model's vocabulary."""

    def shown(characters: list[str]) -> str:
        return listed([*map(repr, characters[:SHOWN])], len(characters))

    notes = []
    fresh = [character for character in new.characters if character not in old]
    gone = [character for character in old.characters if character not in new]
    if fresh:
        notes.append(f"characters new to the model, initialised randomly ({len(fresh)}): {shown(fresh)}")
    if new.unknown and not old.unknown:
        notes.append("the unknown token is new to the model and is initialised randomly")
    if gone:
        notes.append(f"characters removed because they are not in the text ({len(gone)}): {shown(gone)}")
    return notes
