"""States of the model at regular positions in recent texts, from which jobs resume.

A reader who asks for a text from a late position on, for example after choosing another character there,
would otherwise wait until the model has generated all of the text before it again.
"""

from dataclasses import dataclass, field, replace

from minichar.sampling.streams import State
from minichar.web.job import Job
from minichar.web.request import Request

INTERVAL = 1000
"""Number of characters between two states."""
MEMORY = 4 * 2**20
"""Maximum memory for texts and their states, per model, in bytes."""


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
        """The approximate memory, in bytes."""
        return 4 * len(self.text) + sum(state.size for state in self.states.values())

    def last_position(self, branches: dict[int, str], limit: int) -> int:
        """Return the last position of a state that a request with these branches passes through, or 0."""
        differing = [position for position, _ in self.branches.items() ^ branches.items()]
        end = min([limit, *differing])
        return max((position for position in self.states if position <= end), default=0)


class Snapshots:
    """The states of the texts that were most recently generated, for one model."""

    def __init__(self) -> None:
        self._traces: dict[Request, Trace] = {}  # least recently used first
        self._size = 0

    def add(self, job: Job, state: State) -> None:
        """Add the current state of a job. If too much memory is then used, forget the oldest texts."""
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

        The job then contains the text before this state.
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
    """Return a request without the fields that do not affect the text before its end."""
    return replace(request, length=0, start=0, stop=(), alternatives=False)
