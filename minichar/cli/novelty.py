"""Report how much generated text shares with the training text."""

from collections.abc import Sequence
from dataclasses import replace

from minichar.errors import brief, counted
from minichar.text.corpus import Corpus
from minichar.text.novelty import LONG, measure_novelty

BETWEEN = "\0"
"""Separates samples. A training text never contains it, so no shared run extends over two samples."""


def report_novelty(samples: Sequence[str], corpus: Corpus) -> list[str]:
    """Return lines that report what the samples, taken together, share with a text.

    `corpus` must have been read with all its characters, without an unknown token.
    """
    text = BETWEEN.join(samples)
    # Here, the unknown token represents the characters that are not in the training text.
    ids = replace(corpus.vocabulary, unknown=True).encode(text, "unk")  # (M,)
    found = measure_novelty(ids, corpus.ids)
    run = text[found.start : found.start + found.length]
    share = found.copied / max(sum(map(len, samples)), 1)
    return [
        f"novelty     longest shared run: {counted(len(run), 'character')}{f', {brief(run)}' if run else ''}",
        f"            {share:.1%} of the text in shared runs of more than {LONG} characters",
    ]
