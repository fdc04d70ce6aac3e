"""States of the model at regular intervals in recent texts, from which jobs can resume.

Without them, a reader who requests a text from a late position, for example after choosing a different
character there, would have to wait until all of the preceding text has been generated again.
"""

from dataclasses import dataclass, field, replace

from minichar.sampling.streams import State
from minichar.web.job import Job
from minichar.web.request import Request

INTERVAL = 1000
"""Number of characters between consecutive states."""
MEMORY = 4 * 2**20
"""Maximum memory use of the texts and their states, per model, in bytes."""


@dataclass
class Trace:
    """A text and the states from which it can be continued.

    Attributes
    ----------
    branches : dict of int to str
        The branches of the request.
    text : str
        The generated text, up to the last state.
    states : dict of int to State
        States by number of generated characters.
    """

    branches: dict[int, str]
    text: str = ""
    states: dict[int, State] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Approximate memory use, in bytes."""
        return 4 * len(self.text) + sum(state.size for state in self.states.values())

    def last_position(self, branches: dict[int, str], limit: int) -> int:
        """Return the last position up to `limit` of a state from which these branches can resume, or 0."""
        differing = [position for position, _ in self.branches.items() ^ branches.items()]
        end = min([limit, *differing])
        return max((position for position in self.states if position <= end), default=0)


class Snapshots:
    """States of the most recently generated texts of one model."""

    def __init__(self) -> None:
        self._traces: dict[Request, Trace] = {}  # least recently used first
        self._size = 0

    def add(self, job: Job, state: State) -> None:
        """Add the current state of a job, and remove the least recently used texts if memory runs out."""
        key = normalised(job.request)
        trace = self._traces.pop(key, None) or Trace(dict(key.branches))
        self._traces[key] = trace
        self._size -= trace.size
        trace.text = max(trace.text, job.generated, key=len)
        trace.states[state.length] = state
        self._size += trace.size
        while self._size > MEMORY:
            self._size -= self._traces.pop(next(iter(self._traces))).size

    def resume(self, job: Job) -> State | None:
        """Return the last state before the text that the readers of a new job need, if there is one.

        The text before this state is appended to the job.
        """
        limit = min(job.known, job.request.length - 1)
        if limit < INTERVAL:
            return None
        wanted = normalised(job.request)
        origin, branches = replace(wanted, branches=()), dict(wanted.branches)
        found = [
            (trace.last_position(branches, limit), key)
            for key, trace in self._traces.items()
            if replace(key, branches=()) == origin
        ]
        position, key = max(found, key=lambda pair: pair[0], default=(0, wanted))
        if not position:
            return None
        trace = self._traces[key] = self._traces.pop(key)
        job.replay(trace.text[:position])
        return trace.states[position]


def normalised(request: Request) -> Request:
    """Return a request without the fields that do not affect which characters are generated."""
    return replace(request, length=0, start=0, stop=(), alternatives=False)
