"""Create a self-contained HTML page that shows a model's states, surprisal and gates.

The page loads nothing from the network: its Content-Security-Policy blocks all requests. Text is passed to
the page only as JSON and inserted only as text nodes, so it is never interpreted as markup.
"""

from base64 import b64encode
from importlib.resources import files

import numpy as np

from minichar.formats.html import as_script
from minichar.model import CharRNN
from minichar.pictures.activity import read_activity
from minichar.pictures.traits import correlations, traits

MAX_UNITS = 256
"""Maximum number of units, to limit the page size. The units with the strongest correlations are kept."""


def make_page(model: CharRNN, ids: np.ndarray, about: str) -> str:
    """Return the HTML page for a model and an encoded text ``(N,)``. `about`, its heading, identifies both.

    If the model's weights are corrupted, this raises a `MinicharError`.
    """
    activity = read_activity(model, ids)
    text = model.vocabulary.decode(ids)
    states = activity.states.reshape(-1, len(ids))  # (L·H, N)
    names = traits(text)
    r = correlations(states, np.stack(list(names.values())))  # (L·H, K)
    strongest = abs(r).argmax(axis=1)  # (L·H,)
    order = np.argsort(-abs(r).max(axis=1), kind="stable")[:MAX_UNITS]
    data = {
        "about": about,
        "model": model.summary(),
        "text": text,
        "characters": [*model.vocabulary.characters, *["\ufffd"] * model.vocabulary.unknown],
        "surprise": [None, *np.round(activity.surprise[1:], 3).tolist()],
        "likeliest": activity.likeliest.tolist(),
        "probability": np.round(activity.probability, 4).tolist(),
        "total_units": len(states),
        "units": [
            {
                "layer": int(u // model.config.rnn_size) + 1,
                "unit": int(u % model.config.rnn_size) + 1,
                "trait": list(names)[strongest[u]],
                "r": round(float(r[u, strongest[u]]), 3),
            }
            for u in order
        ],
        # One signed byte per state, grouped by unit; 127 represents 1.
        "states": b64encode(np.round(states[order] * 127).astype(np.int8).tobytes()).decode(),
        "gates": [{**vars(gate), "shares": np.round(gate.shares, 5).tolist()} for gate in activity.gates],
    }
    template = files("minichar.pictures").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("@DATA@", as_script(data))
