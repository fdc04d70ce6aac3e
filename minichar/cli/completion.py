"""Shell completion for arguments that name a model."""

import os
from contextlib import suppress
from pathlib import Path

from minichar.checkpoints.choosing import all_checkpoints
from minichar.errors import MinicharError

SUFFIXES = (".npz", ".safetensors", ".pt")


def complete_model(incomplete: str) -> list[str]:
    """Return the models whose paths start with `incomplete`.

    The list contains model files, checkpoint directories, and the checkpoints in each directory, best first.
    """
    folder, _ = os.path.split(incomplete)
    found: list[str] = []
    with suppress(OSError):  # the directory does not exist
        for entry in sorted(os.listdir(os.path.expanduser(folder) or ".")):
            name = os.path.join(folder, entry)
            path = Path(name).expanduser()
            if not name.startswith(incomplete):
                continue
            if path.is_dir():
                with suppress(MinicharError):  # no checkpoint
                    found += [name, *(os.path.join(name, best.name) for best in all_checkpoints(path))]
            elif entry.endswith(SUFFIXES):
                found.append(name)
    return found
