import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.model import CharRNN
from minichar.text.batches import split_text
from minichar.text.vocabulary import Vocabulary
from minichar.training.optimiser import clip_elements, clip_norm
from minichar.training.settings import Settings
from minichar.training.trainer import Trainer

NUMBERS = st.floats(-1e3, 1e3, allow_subnormal=False)
GRADIENTS = st.lists(NUMBERS, min_size=1, max_size=6).map(np.array)
LIMITS = st.floats(1e-3, 1e3)


def clipped(clip, g, limit, backend=CPU):
    """Return a clipped copy, from and to the host."""
    g = backend.to_device(np.array(g, dtype="float64"))
    clip(backend.xp, g, limit)
    return backend.to_host(g)


def test_elements_are_cut_off_at_the_limit(backend):
    result = clipped(clip_elements, [0.5, -2.0, 7.0, -0.1], 1.0, backend)
    np.testing.assert_array_equal(result, [0.5, -1.0, 1.0, -0.1])


def test_a_long_gradient_is_shortened(backend):
    # ‖(3, -4)‖ = √(9 + 16) = 5;  (3, -4) · 2/5 = (1.2, -1.6)
    np.testing.assert_allclose(clipped(clip_norm, [3.0, -4.0], 2.0, backend), [1.2, -1.6], rtol=1e-15)


def test_a_short_gradient_stays(backend):
    np.testing.assert_array_equal(clipped(clip_norm, [3.0, -4.0], 6.0, backend), [3.0, -4.0])


@pytest.mark.parametrize("clip", [clip_elements, clip_norm])
def test_a_zero_gradient_stays_zero(clip, backend):
    np.testing.assert_array_equal(clipped(clip, np.zeros(3), 1.0, backend), np.zeros(3))


@pytest.mark.parametrize("clip", [clip_elements, clip_norm])
def test_float32_stays_float32_and_in_place(clip, backend, host):
    g = backend.to_device(np.array([3.0, -4.0], dtype="float32"))
    view = g[:]
    clip(backend.xp, g, 1.0)
    assert view.dtype == "float32"
    assert abs(host(view)).max() <= 1


@given(g=GRADIENTS, limit=LIMITS)
def test_no_element_passes_its_limit_and_the_others_stay(g, limit):
    result = clipped(clip_elements, g, limit)
    assert (abs(result) <= limit).all()
    inside = abs(g) <= limit
    np.testing.assert_array_equal(result[inside], g[inside])
    np.testing.assert_array_equal(np.sign(result), np.sign(g))


@given(g=GRADIENTS, limit=LIMITS)
def test_the_norm_never_passes_its_limit_and_the_direction_stays(g, limit):
    result, norm = clipped(clip_norm, g, limit), np.sqrt((g * g).sum())
    assert np.linalg.norm(result) <= limit * (1 + 1e-12)
    if norm <= limit:
        np.testing.assert_array_equal(result, g)
    else:
        assert np.linalg.norm(result) == pytest.approx(limit, rel=1e-12)
        np.testing.assert_allclose(result * (norm / limit), g, rtol=1e-12, atol=1e-300)


class TestInTheTrainer:
    """The gradient of the mean loss is clipped, before RMSprop sees it."""

    T, DECAY = 10, 0.95

    def first_gradient(self, **settings):
        """Return the absolute gradient of the first step as RMSprop saw it, from m = (1 - α) g∘g."""
        vocabulary = Vocabulary("abc")
        model = CharRNN.new(Config(3, rnn_size=8, num_layers=1), vocabulary, seed=1, dtype="float64")
        split = split_text(vocabulary.encode("abcacb" * 40), B=4, T=self.T)
        trainer = Trainer(model, split, Settings(decay_rate=self.DECAY, use_ss=False, **settings), {})
        trainer.learn()
        return np.sqrt(trainer.step.optimiser.mean_square / (1 - self.DECAY))

    def test_grad_clip_is_on_the_scale_of_the_sum_over_time(self):
        free = self.first_gradient(grad_clip=0)
        limit = 0.05 / self.T
        assert (free > limit).any()
        assert (free < limit).any()
        np.testing.assert_allclose(self.first_gradient(grad_clip=0.05), np.minimum(free, limit), rtol=1e-9)

    def test_clip_norm_is_on_the_scale_of_the_mean_loss(self):
        free = self.first_gradient(grad_clip=0)
        assert np.linalg.norm(free) > 0.01
        np.testing.assert_allclose(
            self.first_gradient(grad_clip=0, clip_norm=0.01), free * (0.01 / np.linalg.norm(free)), rtol=1e-9
        )

    def test_zero_means_off(self):
        free = self.first_gradient(grad_clip=0, clip_norm=0)
        np.testing.assert_allclose(self.first_gradient(grad_clip=1e6, clip_norm=1e6), free, rtol=1e-12)
