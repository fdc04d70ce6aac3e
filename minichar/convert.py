"""Checkpoints to and from other forms; for now, to a small ``.npz`` for inference."""

from pathlib import Path

from minichar.errors import MinicharError
from minichar.training.checkpoint import load, save

INFERENCE_DTYPES = ("float32", "float16")


def convert(source: str, target: str | None = None, dtype: str = "float32", force: bool = False) -> Path:
    """Write the weights, vocabulary and configuration of a checkpoint, without the state of its training.

    Parameters
    ----------
    source : str
        Any minichar checkpoint.
    target : str, optional
        By default the source's name with ``.inference.npz`` at its end.
    dtype : {"float32", "float16"}
        Of the weights in the file. float16 is half the size and good to three digits.
    force : bool
        Write over an existing file.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    MinicharError
        If `source` cannot be read, or `target` exists or cannot be written.
    """
    model = load(source)
    path = Path(target) if target else Path(source.removesuffix(".npz") + ".inference.npz")
    if path.exists() and not force:
        raise MinicharError(f"{path} exists already: give another name, or --force to write over it")
    save(path, model, dtype=dtype)
    return path
