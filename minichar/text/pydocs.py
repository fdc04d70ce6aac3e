"""Extract the prose from Python's help topics, which is the default training text.

The topics are chapters of the language reference, formatted by Sphinx for terminals with 80 columns. Besides
prose, they contain tables, grammar, sample code, signatures and cross-references, and a small model spends
much of its capacity on drawing them. The rules below depend only on Sphinx's layout, which is the same in all
versions of Python.
"""

import re

from minichar.errors import MinicharError, Option

CROSS_REFERENCES = re.compile(r"^( *)See also:.*(?:\n(?:\1 .*)?)*", re.MULTILINE)
"""The line ``See also:`` and everything indented below it."""
TERM = re.compile(r"(?<=\n\n)( *)(?!\* |\w+\. )(\S.*)\n(?=\1   \S)")
"""A term directly above its definition. It is not part of the definition's first sentence."""
TITLE = re.compile(r"(.+)\n([*=~^-])\2+")
"""A title and its underline."""
HYPHEN = re.compile(r"(?<=\w-)\n *")
"""A line break inside a word."""
ITEM = re.compile(r"(\*|\w+\.) ")
"""The start of a list item. A list item can be a phrase instead of a sentence."""
SENTENCES = re.compile(r".*\S[^\s.][.!?][)\"”’*]*( \[\d+\])*(?=\s|$)")
"""Everything up to the end of the last sentence. Code, grammar and signatures have no sentences."""
SYMBOL = re.compile(r"[-|+=_<>\[\]{}#@\\^~%&]")
MAX_SYMBOLS = 0.04
"""Characters that are frequent in tables, grammar and code, and their largest proportion in prose."""


def pydocs_text() -> str:
    """Return the prose in Python's help topics, about 300,000 characters of English.

    Titles, paragraphs and list items are one line each, separated by blank lines. The text is the same in
    every installation of a given Python version. Raises a `MinicharError` if Python has no help topics.
    """
    return "\n\n".join(line for topic in _topics() for line in prose(topic)) + "\n"


def _topics() -> list[str]:
    """Return Python's help topics in the order of their names."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise MinicharError(
            "this Python installation has no help topics: choose a text file with ", Option("data")
        ) from None
    return [topics[name] for name in sorted(topics)]


def prose(topic: str) -> list[str]:
    """Return the titles, paragraphs and list items of a help topic as one line each."""
    lines: list[str] = []
    for block in TERM.sub(r"\1\2\n\n", CROSS_REFERENCES.sub("", topic)).split("\n\n"):
        if title := TITLE.fullmatch(block.strip("\n")):
            lines.append(title[1])
        elif line := _prose(" ".join(HYPHEN.sub("", block).split())):
            lines.append(line)
        elif lines and lines[-1].endswith(":"):  # it introduces what is left out
            lines[-1] = _sentences(lines[-1])
    return [line for line in lines if line]


def _prose(line: str) -> str:
    """Return the part of an unwrapped paragraph to keep."""
    if len(SYMBOL.findall(line)) > MAX_SYMBOLS * len(line):
        return ""
    return line if ITEM.match(line) or line.endswith(":") else _sentences(line)


def _sentences(line: str) -> str:
    complete = SENTENCES.match(line)
    return complete[0] if complete else ""
