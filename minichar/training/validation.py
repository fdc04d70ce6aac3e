"""Evaluate the model that is being trained."""

from minichar.model import CharRNN
from minichar.text.batches import Chunks
from minichar.training.evaluation import Evaluation, evaluate
from minichar.training.measurement import Measurement
from minichar.training.team import Team


class Validation:
    """Evaluates a model without changing the training state. Each process evaluates its own streams.

    Parameters
    ----------
    model : CharRNN
    T, own : int
        Number of time steps per chunk, and number of streams in this process.
    share : float
        `own` as a fraction of all streams.
    team : Team
    """

    def __init__(self, model: CharRNN, T: int, own: int, share: float, team: Team) -> None:
        self.measure, self.share, self.team = Measurement(model.network(T, own)), share, team

    def evaluate(self, chunks: Chunks) -> Evaluation:
        """Evaluate the model from a zero state, and combine the results of all processes."""
        self.measure.network.reset()
        own = evaluate(self.measure, chunks)
        loss, first, last = self.team.mean(self.share, own.loss, own.first, own.last)
        return Evaluation(loss, first, last, round(own.characters / self.share))
