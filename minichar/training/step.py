"""One training step.

    gradient    forward pass, loss, backward pass
    all-reduce  the mean of the gradients and losses of all processes (`minichar.training.team`)
    update      clipping, RMSprop, averaging of the weights

All arrays used in a step are allocated once, on the device, so that a backend can capture and replay the step
(`Backend.recorded`). If the all-reduce runs on the host, only the gradient and update parts are captured.
Apart from the all-reduce, each chunk requires one copy to the device, or two if states are reset, and nothing
is copied to the host until the loss is read.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from minichar.devices.random import Uniform
from minichar.engine.network import Feed
from minichar.model import CharRNN
from minichar.training.optimiser import RMSprop, clip_elements, clip_norm, follow
from minichar.training.scheduled_sampling import ScheduledSampling
from minichar.training.settings import Settings
from minichar.training.team import ALONE, Team


class TrainingStep:
    """A training step for one model, which is trained in place.

    A chunk has T time steps of B sequences, including those of all processes in `team`. With `Settings.ema`,
    the model's weights are a running average of `theta`, the weights being trained.
    """

    def __init__(self, model: CharRNN, T: int, B: int, settings: Settings, team: Team = ALONE) -> None:
        self.team, self.streams = team, team.streams(B)  # the sequences that this process trains on
        own = self.streams.stop - self.streams.start
        self.share = own / B
        self.theta, self.theta_bar, self.averages = model.parameters, model.parameters.flat, settings.ema > 0
        if self.averages:
            self.theta = model.parameters.twin()
            self.theta.flat[...] = self.theta_bar
        parameters = self.theta
        self.backend, self.settings = parameters.backend, settings
        self.network = replace(model, parameters=parameters).network(T, own)
        self.optimiser = RMSprop(parameters, settings.decay_rate, settings.weight_decay)
        self.chunk = self.backend.zeros((2, T, own), np.intp)  # (2, T, own): inputs and targets
        # char-rnn clips the gradient summed over time; this one is averaged, so the limit is divided by T.
        clips = [(clip_elements, settings.grad_clip / T), (clip_norm, settings.clip_norm)]
        self.clips = [(clip, limit) for clip, limit in clips if limit]
        self.learning_rate = self.backend.zeros((), parameters.dtype)
        self.decay = self.backend.zeros((), parameters.dtype)
        self.follow = self.backend.fuse(follow)
        self.loss = self.backend.zeros((), "float64")  # of the last chunk before its update, per character
        self.total = self.backend.zeros((), "float64")  # sum of the losses since the last evaluation
        self.worst = self.backend.zeros((), parameters.dtype)  # largest loss so far
        # If the loss exceeds the limit or is NaN, the parameters are not updated, so that the first invalid
        # parameter can still be identified.
        self.limit = self.backend.zeros((), parameters.dtype)
        self.limit[...] = float(np.finfo(parameters.dtype).max)
        self.mixed = ScheduledSampling(self.chunk[0], settings.ss_feed, self.backend)
        self.forced_parts = self._parts(self.chunk[0])
        self.mixed_parts = self._parts(self.mixed)
        self.drops = self.network.config.dropout > 0 or self.network.config.weight_drop > 0
        self.last_rate = 0.0
        self.set_rates(settings.learning_rate)

    @np.errstate(over="ignore")  # a learning rate that overflows becomes inf, which the loss check detects
    def set_rates(self, learning_rate: float, teacher_forcing_ratio: float = 1.0, decay: float = 0.0) -> None:
        """Set the learning rate, the teacher-forcing ratio and the decay rate of the weights' average.

        A ratio of 1 disables scheduled sampling.
        """
        if learning_rate != self.last_rate:  # a copy to the device
            self.learning_rate[...] = self.last_rate = learning_rate
        if self.averages:
            self.decay[...] = decay
        self.teacher_forcing_ratio = teacher_forcing_ratio
        self.parts = self.mixed_parts if teacher_forcing_ratio < 1.0 else self.forced_parts

    def learn(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        generator: Uniform,
        state_mask: np.ndarray | None = None,
    ) -> None:
        """Train on one chunk. Each process passes only its own sequences.

        The inputs, the targets and `state_mask`, each ``(T, B)``, are on the host. `state_mask` is False
        where the states are reset before a step; pass it for all chunks of a run, or for none. `generator`
        draws the masks for scheduled sampling and dropout. With multiple processes, it is a `ColumnsOf`.
        """
        self.chunk[...] = self.backend.to_device(np.stack([inputs, targets]))
        if state_mask is not None:
            self.network.set_state_mask(state_mask)
        if self.teacher_forcing_ratio < 1.0:
            self.mixed.draw_mask(self.teacher_forcing_ratio, generator, self.network.state_mask)
        if self.drops:
            self.network.draw_masks(generator)
        for part in self.parts:
            part()

    def _parts(self, feed: Feed) -> list[Callable[[], None]]:
        """Return the parts of a step, merged into one if all of them can be captured."""
        team, recorded = self.team, self.backend.recorded
        if not team.on_device(self.backend):
            return [recorded(partial(self._gradient, feed)), self._all_reduce, recorded(self._update)]
        whole = partial(self._whole, feed)
        return [recorded(whole, lambda captured: not any(team.largest(not captured)))]

    def _whole(self, feed: Feed) -> None:
        self._gradient(feed)
        if self.team.size > 1:
            self._all_reduce()
        self._update()

    def _all_reduce(self) -> None:
        self.team.average(self.share, self.backend, self.network.gradient.flat, self.loss)

    def _gradient(self, feed: Feed) -> None:
        self.loss[...] = self.network.loss_and_gradient(feed, self.chunk[1])
        self.network.carry()

    def _update(self) -> None:
        settings, xp = self.settings, self.backend.xp
        self.total += self.loss
        self.worst[...] = xp.maximum(self.worst, self.loss)  # NaN propagates
        g = self.network.gradient.flat  # (P,)
        for clip, limit in self.clips:
            clip(xp, g, limit)
        valid = self.loss <= self.limit  # False for NaN
        xp.copyto(g, 0.0, where=xp.logical_not(valid))
        # A zero gradient leaves the parameters unchanged, unless they decay.
        rate = self.learning_rate * valid if settings.weight_decay else self.learning_rate
        self.optimiser.step(g, rate)
        if self.averages:
            self.follow(self.theta_bar, self.theta.flat, self.decay)
