"""The loss on a chunk, measured without a backward pass."""

import numpy as np

from minichar.devices.backend import Array
from minichar.engine.network import Network


class Measurement:
    """Measures the loss on successive chunks.

    Chunks of T steps are copied to a preallocated array so that a backend can capture and replay the forward
    pass (`Backend.recorded`). The loss stays on the device, so that the host can prepare the next chunk. The
    network no longer keeps the caches of the backward pass.
    """

    def __init__(self, network: Network) -> None:
        network.keep_caches(False)
        self.network, self.backend = network, network.parameters.backend
        self.chunk = self.backend.zeros((2, network.T, network.B), np.intp)  # (2, T, B): inputs and targets
        self.loss = self.backend.zeros((), "float64")
        self.whole_chunk = self.backend.recorded(lambda: self._measure(*self.chunk))
        self.whole_input = self.backend.recorded(lambda: self._read(self.chunk[0]))

    def __call__(self, inputs: np.ndarray, targets: np.ndarray) -> Array:
        """Measure the loss on a chunk ``(n, B)``, n ≤ T, and carry the state over to the next chunk.

        Returns
        -------
        array, ()
            The mean loss, on the device. The next call overwrites it.
        """
        chunk = self.chunk[:, : len(inputs)]  # (2, n, B)
        chunk[...] = self.backend.to_device(np.stack([inputs, targets]))
        if len(inputs) == self.network.T:
            self.whole_chunk()
        else:
            self._measure(*chunk)
        return self.loss

    def read(self, inputs: np.ndarray) -> None:
        """Carry the state over a chunk of inputs ``(n, B)``, n ≤ T, without computing the loss."""
        ids = self.backend.to_device(inputs)  # (n, B)
        if len(inputs) == self.network.T:
            self.chunk[0] = ids
            self.whole_input()
        else:
            self._read(ids)

    def _read(self, inputs: Array) -> None:
        self.network.run(inputs, len(inputs))
        self.network.carry()

    def _measure(self, inputs: Array, targets: Array) -> None:
        self.loss[...] = self.network.measure(inputs, targets)
        self.network.carry()
