"""Convert the files downloaded by `minichar.text.datasets` to plain text."""

import hashlib
import json


def poems_text(sources: list[bytes]) -> str:
    """Convert poems from JSON to text: one title or paragraph per line, with a blank line between poems."""
    poems = [poem for source in sources for poem in json.loads(source)]
    return "\n\n".join("\n".join([poem["title"], *poem["paragraphs"]]) for poem in poems) + "\n"


def names_text(sources: list[bytes]) -> str:
    """Convert tables with upper-case names in the first column to plain text, with one name per line.

    The tables are sorted by frequency. Sorting the names by hash shuffles them reproducibly. Without
    shuffling, the end of the text would be harder to predict than the rest.
    """
    rows = [line.split() for source in sources for line in source.decode().splitlines()]
    names = {row[0].capitalize() for row in rows}
    shuffled = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return "".join(f"{name}\n" for name in shuffled)


def joined_text(sources: list[bytes]) -> str:
    """Join text files with newlines."""
    return "\n".join(source.decode() for source in sources)
