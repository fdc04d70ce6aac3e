"""One training step: forward, loss, backward, clip, RMSprop, and the state carried on.

Everything it reads and writes lies in arrays that stay where they are, on the device. Per
chunk the characters go in; nothing comes out, until somebody asks for the loss. That is
what lets a backend record the whole step and replay it (`Backend.recorded`).
"""

import numpy as np

from minichar.devices.backend import Array
from minichar.devices.random import Uniform
from minichar.engine.network import Feed, teacher_forcing
from minichar.model import CharRNN
from minichar.training.optimiser import RMSprop, clip_elements, clip_norm
from minichar.training.scheduled_sampling import ScheduledSampling
from minichar.training.settings import Settings


class TrainingStep:
    """Learns one chunk after another.

    Parameters
    ----------
    model : CharRNN
        Trained in place.
    T, B : int
    settings : Settings

    Attributes
    ----------
    loss : array, ()
        Of the last chunk, before its update, in nats per character; on the device.
    total, worst : array, ()
        Sum and maximum of the losses since they were last set to zero.
    limit : array, ()
        A loss above it, or none at all, changes no parameter, so that whoever looks later can
        still see which one went bad.
    """

    def __init__(self, model: CharRNN, T: int, B: int, settings: Settings) -> None:
        parameters = model.parameters
        self.backend, self.settings, self.T = parameters.backend, settings, T
        self.network = model.network(T, B)
        self.optimiser = RMSprop(parameters, settings.decay_rate)
        self.chunk = self.backend.zeros((2, T, B), "int64")  # (2, T, B): inputs and targets
        self.learning_rate = self.backend.zeros((), parameters.dtype)
        self.loss = self.backend.zeros((), parameters.dtype)
        self.total = self.backend.zeros((), "float64")  # many are added up
        self.worst = self.backend.zeros((), parameters.dtype)
        self.limit = self.backend.zeros((), parameters.dtype)
        self.limit[...] = float(np.finfo(parameters.dtype).max)
        self.mixed = ScheduledSampling(self.chunk[0], settings.ss_feed, self.backend)
        forced = teacher_forcing(self.chunk[0])
        self.learn_forced = self.backend.recorded(lambda: self._learn(forced))
        self.learn_mixed = self.backend.recorded(lambda: self._learn(self.mixed))

    def learn(
        self, inputs: np.ndarray, targets: np.ndarray, share: float, learning_rate: float, generator: Uniform
    ) -> None:
        """Learn one chunk.

        Parameters
        ----------
        inputs, targets : array of int, (T, B), on the host
        share : float
            The share of true input; at 1 scheduled sampling costs nothing.
        learning_rate : float
        generator : Uniform
            For dropout masks and coins.
        """
        self.chunk[...] = self.backend.to_device(np.stack([inputs, targets]))
        self.learning_rate[...] = learning_rate
        if share < 1.0:
            self.mixed.flip(share, generator)
        self.network.draw_masks(generator)
        if share < 1.0:
            self.learn_mixed()
        else:
            self.learn_forced()

    def _learn(self, feed: Feed) -> None:
        network, settings, xp = self.network, self.settings, self.backend.xp
        self.loss[...] = network.learn(feed, self.chunk[1])
        self.total += self.loss
        self.worst[...] = xp.maximum(self.worst, self.loss)  # a NaN stays
        g: Array = network.gradient.flat
        if settings.grad_clip:
            # char-rnn clips the gradient summed over time; ours is that of the mean over time.
            clip_elements(xp, g, settings.grad_clip / self.T)
        if settings.clip_norm:
            clip_norm(xp, g, settings.clip_norm)
        xp.copyto(g, 0.0, where=xp.logical_not(self.loss <= self.limit))  # a NaN compares as False
        self.optimiser.step(g, self.learning_rate)
        network.carry()
