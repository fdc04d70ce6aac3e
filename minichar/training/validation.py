"""Evaluate the model that is being trained."""

from collections.abc import Callable, Iterator

from minichar.model import CharRNN
from minichar.text.batches import Chunks
from minichar.training.evaluation import Chunk, Evaluation, evaluate
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

    def evaluate(self, chunks: Chunks, is_late: Callable[[], bool]) -> tuple[Evaluation, bool]:
        """Evaluate the model from a zero state, and combine the results of all processes.

        Returns
        -------
        Evaluation
            The result on the chunks up to the first one after which ``is_late()`` is true. At least one chunk
            is evaluated.
        bool
            Whether these are all chunks.
        """
        complete = True

        def until_late() -> Iterator[Chunk]:
            nonlocal complete
            for k, chunk in enumerate(chunks):
                if k > 0 and is_late():
                    complete = False
                    return
                yield chunk

        self.measure.network.reset()
        own = evaluate(self.measure, until_late())
        loss, first, last = self.team.mean(self.share, own.loss, own.first, own.last)
        return Evaluation(loss, first, last, round(own.characters / self.share)), complete
