"""Write ``.html`` pages that contain a model and run it in a browser, without a server.

    model.js       the forward pass, in the notation of the documentation
    sampling.js    sampling of characters from logits
    reading.js     the text processed so far, with its states
    view.js        the display
    page.js        the controls

The weights are base64-encoded float16 values. A page makes no requests. The Content-Security-Policy allows
only the page's own scripts and style sheet, identified by their hashes. The model is embedded as JSON. Its
data is displayed only as text, never interpreted as markup.
"""

import json
import re
from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.sampling.generate import prime_ids

MAX_BYTES = 1 << 28
"""Maximum size of the weights. Their base64 must fit in a string; browsers allow 2^29 characters or more."""
JAVASCRIPT = {"rnn", "lstm", "gru", "gru-reset-before"}
"""The cells that model.js implements, by name."""
SCRIPTS = ("model.js", "sampling.js", "reading.js", "view.js", "page.js")


def to_bytes(model: CharRNN, weights: dict[str, np.ndarray], path: Path) -> bytes:
    """Return the contents of an ``.html`` page that runs a model.

    Raises a `MinicharError` if model.js does not implement the cell, or the model is too large.
    """
    cell = model.config.cell
    if model.config.model not in JAVASCRIPT:
        raise MinicharError(f"cannot convert {path}: {cell.title} has no JavaScript counterpart; use .npz")
    if sum(array.nbytes for array in weights.values()) > MAX_BYTES:
        raise MinicharError(f"cannot write {path}: the model is too large for a web page; use .onnx")
    style, script = _file("page.css"), "\n".join(['"use strict";', *map(_file, SCRIPTS)])
    policy = (
        f"default-src 'none'; img-src data:; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "POLICY": policy,
        "TITLE": escape(f"{model.title} · minichar" if model.title else "minichar: a model in one file"),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": as_script(_data(model, weights)),
    }
    # Insert all of them at once, because the title and the data could contain a placeholder.
    return re.sub("@([A-Z]+)@", lambda placeholder: parts[placeholder[1]], _file("page.html")).encode()


def as_script(data: Any) -> str:
    """Return `data` as JSON that is safe in a ``<script>`` element: ASCII without ``<``."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _data(model: CharRNN, weights: dict[str, np.ndarray]) -> dict[str, Any]:
    config, vocabulary = model.config, model.vocabulary
    stored = b"".join(array.astype("<f2").tobytes() for array in weights.values())
    writes = f"writes like “{model.title}”" if model.title else "writes text"
    return {
        "about": f"A small neural network that {writes}: {model.summary()}",
        "cell": config.cell.name,
        "H": config.rnn_size,
        "L": config.num_layers,
        "layer_norm": config.layer_norm,
        "tied": config.tied,
        "characters": list(vocabulary.characters),
        "unknown": vocabulary.unknown,
        "prime": prime_ids(vocabulary, "", reset_on=model.reset_on).tolist(),
        "separator": vocabulary.encode(model.reset_on).tolist(),
        "shapes": [[name, *array.shape] for name, array in weights.items()],
        "weights": b64encode(stored).decode(),
    }


def _file(name: str) -> str:
    return files("minichar.formats").joinpath("page", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the Content-Security-Policy source for an inline script or style sheet."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
