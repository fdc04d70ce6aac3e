"""Sample on a GPU and copy the ids to the host in blocks.

    step j    ids[j] ~ softmax(logits / temperature), filtered, with the random number u[j]
              logits ← network(ids[j])

If the host sampled each id, it would have to wait for the logits, and the GPU would have to wait for the id.
Instead, the GPU samples with `Choice.ids`, which the host also uses (`minichar.sampling.streams`). The host
generates the random numbers for a block of steps and copies them to the GPU. The sampled ids are copied back
at the end of the block. Block lengths double from 1 to 64 steps, so the first characters appear promptly. The
generated text is the same as on the CPU, unless a rounding difference changes a sampled id.

All arrays, including j, have fixed addresses, so one recorded step can be replayed for every character
(`Backend.recorded`). With OpenCL, sampling runs on the host, because OpenCL devices cannot record steps. On
an OpenCL CPU device, launching the sampling operations would also take longer than copying the logits.
"""

from collections.abc import Iterator, Sequence
from math import inf

import numpy as np

from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.sampling.choice import NOT_FINITE, Choice

BLOCK = 64
"""Maximum number of steps in a block."""
INVALID = -1
"""Value of all sampled ids if any logit is not finite. As an index, -1 selects the last character."""


def sample_blocks(
    model: CharRNN,
    prime: np.ndarray,
    choice: Choice,
    generators: Sequence[np.random.Generator],
    length: int,
) -> Iterator[np.ndarray]:
    """Yield the ids of the next characters, ``(B,)``. For the parameters, see `sample_ids`.

    Logits that are not finite raise a `MinicharError`, after the ids sampled up to that point.
    """
    sampler = BlockSampler(model, choice, len(generators))
    sampler.feed_prime(prime)
    for n in block_lengths(length):
        u = np.stack([generator.random(n) for generator in generators], axis=1)  # (n, B)
        for ids in sampler.sample(u):
            if ids[0] == INVALID:
                raise MinicharError(NOT_FINITE)
            yield ids


def block_lengths(length: int) -> Iterator[int]:
    """Yield the number of steps in each block, for `length` steps in total; 0 means no limit."""
    n, left = 1, length or inf
    while left > 0:
        yield int(min(n, left))
        n, left = min(2 * n, BLOCK), left - n


class BlockSampler:
    """Sampler for B streams with the same sampling options, which start from a zero state and equal logits.

    `feed` runs the network on the ids in `fed` ``(B,)``. `step` samples new ids into `fed`, then runs the
    network. Both functions are recorded (`Backend.recorded`).
    """

    def __init__(self, model: CharRNN, choice: Choice, B: int) -> None:
        self.backend, self.choice = model.parameters.backend, choice
        self.unknown_id = model.vocabulary.unknown_id
        self.network = model.network(1, B)
        self.logits = self.backend.zeros((len(model.vocabulary), B), model.parameters.dtype)  # (V, B)
        self.u = self.backend.zeros((BLOCK, B), "float64")  # (BLOCK, B)
        self.ids = self.backend.zeros((BLOCK, B), "int64")  # (BLOCK, B)
        self.j = self.backend.zeros((1,), "int64")  # (1,)
        self.fed = self.backend.zeros((B,), "int64")  # (B,)
        separator = model.vocabulary.encode(model.reset_on).astype("int64")[:, None]  # (m, 1)
        if len(separator):
            self.separator = self.backend.to_device(separator)
            self.recent = self.backend.zeros((len(separator), B), "int64")  # (m, B), the last input ids
            self.recent[...] = INVALID  # not an id, so at least m inputs are needed to complete a separator
            self.network.set_state_mask(np.ones((1, B), bool))
        self.feed = self.backend.recorded(self._feed)
        self.step = self.backend.recorded(self._step)

    def feed_prime(self, prime: np.ndarray) -> None:
        """Feed the ids of the prompt, ``(N,)``, to every stream."""
        for k in prime.tolist():
            self.fed[...] = k
            self.feed()

    def sample(self, u: np.ndarray) -> np.ndarray:
        """Return n ≤ `BLOCK` ids per stream, ``(n, B)``, sampled with random numbers `u` ``(n, B)``."""
        n = len(u)
        self.u[:n] = self.backend.to_device(u)
        self.j[...] = 0
        self.step(n)
        return self.backend.to_host(self.ids[:n])

    def _step(self) -> None:
        xp = self.backend.xp
        scores = self.logits.astype("float64")  # (V, B)
        finite = xp.isfinite(scores).all()
        if self.unknown_id is not None:
            scores[self.unknown_id] = -np.inf
        sampled = self.choice.ids(scores, self.u.take(self.j, axis=0)[0], xp=xp)  # (B,)
        self.fed[...] = xp.where(finite, sampled, INVALID)
        self.ids[self.j] = self.fed
        self.j += 1
        self._feed()

    def _feed(self) -> None:
        if self.network.state_mask is not None:  # reset streams that are about to complete a separator
            xp = self.backend.xp
            self.recent[...] = xp.concatenate([self.recent[1:], self.fed[None]])
            self.network.state_mask[0] = (self.recent != self.separator).any(axis=0)
        self.logits[...] = self.network.step(0, self.fed)
        self.network.carry()
