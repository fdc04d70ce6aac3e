"""Evaluate the model that is being trained."""

import numpy as np

from minichar.devices.cpu import CPU
from minichar.model import CharRNN
from minichar.text.batches import Chunks
from minichar.training.evaluation import Evaluation, evaluate
from minichar.training.measurement import Measurement
from minichar.training.team import Team


class Validation:
    """Evaluates a model on chunks divided among all processes, without changing the training state.

    Parameters
    ----------
    model : CharRNN
    T, own : int
        Number of time steps in a chunk, and number of streams of this process.
    share : float
        `own` as a fraction of all streams.
    team : Team
    """

    def __init__(self, model: CharRNN, T: int, own: int, share: float, team: Team) -> None:
        self.measure, self.share, self.team = Measurement(model.network(T, own)), share, team

    def evaluate(self, chunks: Chunks) -> Evaluation:
        """Evaluate on the chunks of all processes, starting from a zero state."""
        self.measure.network.reset()
        own = evaluate(self.measure, chunks)
        losses = np.array([own.loss, own.first, own.last])
        self.team.average(self.share, CPU, losses)
        loss, first, last = losses.tolist()
        return Evaluation(loss, first, last, round(own.characters / self.share))
