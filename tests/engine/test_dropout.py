from dataclasses import replace

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.engine.dropout import draw_mask
from minichar.engine.gradcheck import toy_network
from minichar.engine.network import Network

T, H, B = 100, 20, 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mask_values_are_zero_and_one_over_the_keep_probability(dtype, backend, host):
    mask = backend.zeros((T, H, B), dtype)
    draw_mask(0.4, backend.uniform(123), mask)
    mask = host(mask)
    np.testing.assert_allclose(np.unique(mask), [0.0, 1 / 0.6], rtol=np.finfo(dtype).eps)
    # The fraction of 6000 units kept has a standard deviation of √(0.6 · 0.4 / 6000) = 0.0063.
    assert (mask > 0).mean() == pytest.approx(0.6, abs=0.025)


def test_masks_differ_between_layers_and_chunks_and_are_drawn_in_place(backend, host, generator):
    """A replayed CUDA graph reads each mask from its captured address."""
    network = toy_network(Config(5, "rnn", 4, 2, dropout=0.4), 3, 2, generator, backend)
    first, second = network.masks
    before = host(first).copy()
    assert (before != host(second)).any()
    network.draw_masks(backend.uniform(1))
    assert network.masks[0] is first
    assert (host(first) != before).any()


def test_without_dropout_there_are_no_masks_and_no_random_numbers_are_drawn(generator):
    network, uniform = toy_network(Config(5, "rnn", 4, 2), 3, 2, generator), CPU.uniform(1)
    before = uniform.state
    network.draw_masks(uniform)
    assert network.masks == [None, None]
    assert uniform.state == before


class TestDropConnect:
    @pytest.fixture
    def network(self, cell, generator, backend):
        config = Config(5, cell, rnn_size=4, num_layers=2, weight_drop=0.4)
        return toy_network(config, 3, 2, generator, backend)

    def test_the_loss_is_that_of_masked_recurrent_weights(self, network, generator, backend, host):
        """Change all weights first, including biases, so that a stale masked copy would be detected."""
        network.parameters.flat[...] *= 2.0
        masked = network.parameters.twin()
        masked.flat[...] = network.parameters.flat
        recurrent = [product.name for product in network.config.cell.products if product.reads_state]
        names = [f"layer{layer}.{name}" for layer in (1, 2) for name in recurrent]
        for name, linear in zip(names, network.recurrent, strict=True):
            mask = host(linear.mask)
            assert set(np.unique(mask.round(6))) == {0.0, 1.666667}
            masked[name][:, :4] *= linear.mask
        plain = Network(replace(network.config, weight_drop=0.0), masked, 3, 2)
        plain.state = network.state
        inputs, targets = backend.to_device(generator.integers(5, size=(2, 3, 2)))  # (T, B) each
        losses = [float(host(each.loss_and_gradient(inputs, targets))) for each in (network, plain)]
        assert losses[0] == losses[1]

    def test_masks_differ_between_layers_and_chunks_and_are_drawn_in_place(self, network, backend, host):
        first, *_, last = (linear.mask for linear in network.recurrent)
        before, used = host(first).copy(), network.recurrent[0].used
        assert first.shape != last.shape or (before != host(last)).any()
        network.draw_masks(backend.uniform(1))
        assert network.recurrent[0].mask is first
        assert network.recurrent[0].used is used
        assert (host(first) != before).any()
