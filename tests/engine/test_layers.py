"""Each layer alone, against the equation at the head of its file."""

import numpy as np
import pytest

from minichar.backend import CPU
from minichar.engine.dropout import Dropout
from minichar.engine.functions import sigmoid, sigmoid_slope, tanh_slope
from minichar.engine.linear import Linear
from minichar.engine.loss import SoftmaxCrossEntropy
from minichar.engine.onehot import OneHot

T, B, V, H = 5, 2, 8, 3


class TestFunctions:
    a = np.linspace(-6, 6, 25)

    def test_the_sigmoid_is_its_textbook_formula(self):
        y = np.empty_like(self.a)
        sigmoid(np, self.a, out=y)
        np.testing.assert_allclose(y, 1 / (1 + np.exp(-self.a)), rtol=1e-13)

    def test_the_sigmoid_cannot_overflow(self):
        a = np.array([-1000.0, 0.0, 1000.0])
        sigmoid(np, a, out=a)  # in place
        np.testing.assert_array_equal(a, [0.0, 0.5, 1.0])

    def test_slopes_agree_with_the_complex_step(self):
        h = 1e-30
        moved = self.a + 1j * h
        y, slope = np.empty_like(moved), np.empty_like(self.a)

        sigmoid(np, moved, out=y)
        sigmoid_slope(np, y.real, out=slope)
        np.testing.assert_allclose(slope, y.imag / h, rtol=0, atol=1e-15)

        np.tanh(moved, out=y)
        tanh_slope(np, y.real, out=slope)
        np.testing.assert_allclose(slope, y.imag / h, rtol=0, atol=1e-15)


class TestLinear:
    G, K = 4, 3

    @pytest.fixture
    def linear(self, generator):
        W = generator.normal(size=(self.G, self.K + 1))
        layer = Linear(W, np.full_like(W, 7.0), T, B, CPU)
        layer.x[...] = generator.normal(size=(T + 1, self.K, B))
        layer.da[...] = generator.normal(size=(T, self.G, B))
        return layer

    def test_forward_is_the_product_plus_the_bias(self, linear):
        weights, bias = linear.W[:, :-1], linear.W[:, -1:]
        for t in range(T):
            np.testing.assert_allclose(linear.step(t), weights @ linear.x[t] + bias, rtol=1e-13)

    def test_backward_is_the_transposed_product_without_the_bias(self, linear):
        for t in range(T):
            np.testing.assert_allclose(linear.step_backward(t), linear.W[:, :-1].T @ linear.da[t], rtol=1e-13)

    @pytest.mark.parametrize("n", [T, 2])
    def test_the_weight_gradient_sums_the_outer_products_of_n_steps(self, linear, n):
        expected = np.zeros_like(linear.W)
        for t in range(n):
            for b in range(B):
                expected += np.outer(linear.da[t, :, b], [*linear.x[t, :, b], 1.0])
        linear.weight_gradient(n)
        np.testing.assert_allclose(linear.dW, expected, rtol=1e-12)

    def test_a_character_adds_its_column(self, linear, generator):
        Wx = generator.normal(size=(self.G, V))
        reader = Linear(linear.W, linear.dW, T, B, CPU, OneHot(Wx, np.zeros_like(Wx), B, CPU))
        reader.x[...] = linear.x
        ids = np.array([5, 2])
        np.testing.assert_allclose(reader.step(1, ids), linear.step(1) + Wx[:, ids], rtol=1e-13)


class TestOneHot:
    G = 4

    @pytest.fixture
    def onehot(self, generator):
        Wx = generator.normal(size=(self.G, V))
        return OneHot(Wx, np.full_like(Wx, 7.0), B, CPU)

    def test_pick_is_the_product_with_explicit_one_hot_vectors(self, onehot):
        ids = np.array([6, 0])
        np.testing.assert_array_equal(onehot.pick(ids), onehot.Wx @ np.eye(V)[:, ids])

    def test_the_gradients_of_a_repeated_character_add_up(self, onehot):
        ids = np.array([[1, 6], [6, 6]])
        da = np.array([[1.0, 2.0, 4.0, 8.0]] * self.G)  # (G, 2·B), a column a character: 1, 6, 6, 6
        onehot.weight_gradient(ids, da)
        expected = np.zeros((self.G, V))
        expected[:, 1], expected[:, 6] = 1, 2 + 4 + 8
        np.testing.assert_array_equal(onehot.dWx, expected)

    def test_the_gradient_is_the_product_with_explicit_one_hot_vectors(self, onehot, generator):
        ids = generator.integers(V, size=(T, B))
        da = generator.normal(size=(self.G, T * B))
        onehot.weight_gradient(ids, da)
        np.testing.assert_allclose(onehot.dWx, da @ np.eye(V)[ids.reshape(-1)], rtol=1e-12)

    def test_a_character_of_the_chunk_before_gets_no_gradient_now(self, onehot):
        onehot.weight_gradient(np.array([[3, 4]]), np.ones((self.G, B)))
        onehot.weight_gradient(np.array([[4, 5]]), np.ones((self.G, B)))
        np.testing.assert_array_equal(onehot.dWx.any(axis=0), np.isin(np.arange(V), [4, 5]))


class TestDropout:
    p = 0.4

    def dropout(self, p=p, T=T, H=H, B=B):
        return Dropout(p, H, T, B, "float64", CPU)

    def test_a_mask_is_zero_or_one_over_the_share_that_is_kept(self, generator):
        dropout = self.dropout(T=100, H=20)
        dropout.draw(generator)
        assert dropout.mask.shape == (100, 20, B)
        np.testing.assert_allclose(np.unique(dropout.mask), [0.0, 1 / 0.6], rtol=1e-15)
        # 4000 coins; the standard deviation of the share is √(0.6 · 0.4 / 4000) = 0.0077
        assert (dropout.mask > 0).mean() == pytest.approx(0.6, abs=0.03)

    def test_the_mean_over_masks_is_h_itself(self, generator):
        h = generator.normal(size=(H, B))
        dropout = self.dropout(T=10_000)
        dropout.draw(generator)
        y = np.empty((10_000, H, B))
        for t in range(len(y)):
            dropout.step(t, h, out=y[t])
        # The standard deviation of the mean of m is √(0.4 / 0.6 / 10000) = 0.008
        np.testing.assert_allclose(y.mean(axis=0), h, rtol=0.04)

    def test_each_step_and_each_chunk_has_a_mask_of_its_own(self, generator):
        dropout = self.dropout(H=20)
        dropout.draw(generator)
        first = dropout.mask
        assert not any((first[t] == first[t + 1]).all() for t in range(T - 1))
        dropout.draw(generator)
        assert (dropout.mask != first).any()

    @pytest.mark.parametrize("n", [T, 2])
    def test_backward_uses_the_mask_of_the_forward_pass(self, n, generator):
        dropout = self.dropout()
        dropout.draw(generator)
        h, dy = generator.normal(size=(2, n, H, B))
        y = np.empty_like(h)
        for t in range(n):
            dropout.step(t, h[t], out=y[t])
        np.testing.assert_allclose(dropout.backward(dy), dy * (y / h), rtol=1e-13)

    def test_it_is_off_until_a_mask_is_drawn(self, generator):
        dropout = self.dropout()
        h = generator.normal(size=(H, B))
        y = np.empty_like(h)
        dropout.step(0, h, out=y)
        np.testing.assert_array_equal(y, h)
        np.testing.assert_array_equal(dropout.backward(h[None]), h[None])

    def test_at_probability_zero_it_draws_nothing(self, generator):
        dropout = self.dropout(p=0.0)
        before = generator.bit_generator.state
        dropout.draw(generator)
        assert generator.bit_generator.state == before
        assert dropout.mask is None


class TestLoss:
    def loss(self, dtype="float64"):
        return SoftmaxCrossEntropy(V, T, B, dtype, CPU)

    @pytest.mark.parametrize("n", [T, 2])
    def test_it_is_the_mean_of_the_naive_log_softmax(self, n, generator):
        logits, targets = generator.normal(size=(n, V, B)), generator.integers(V, size=(n, B))
        total = 0.0
        for t in range(n):
            for b in range(B):
                p = np.exp(logits[t, :, b]) / np.exp(logits[t, :, b]).sum()  # (V,)
                total -= np.log(p[targets[t, b]])
        assert float(self.loss().forward(logits, targets)) == pytest.approx(total / (n * B), rel=1e-13)

    def test_uniform_logits_give_ln_V(self):
        logits, targets = np.full((T, V, B), 3.0), np.arange(T * B).reshape(T, B) % V
        assert float(self.loss().forward(logits, targets)) == pytest.approx(np.log(V), rel=1e-15)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_huge_logits_do_no_harm(self, dtype):
        logits = np.zeros((T, V, B), dtype=dtype)
        logits[:, 0] = 1e4  # certain of character 0
        logits[:, 1] = -1e4
        for target, nats in ((0, 0.0), (1, 2e4), (2, 1e4)):
            loss = self.loss(dtype)
            assert float(loss.forward(logits, np.full((T, B), target))) == nats
            assert np.isfinite(loss.backward()).all()

    @pytest.mark.parametrize("n", [T, 2])
    def test_the_gradient_is_p_minus_one_hot_over_the_number_of_characters(self, n, generator):
        logits, targets = generator.normal(size=(n, V, B)), generator.integers(V, size=(n, B))
        loss = self.loss()
        loss.forward(logits, targets)
        dlogits = loss.backward()
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        onehot = np.eye(V)[targets].transpose(0, 2, 1)  # (n, V, B)
        np.testing.assert_allclose(dlogits, (p - onehot) / (n * B), rtol=1e-13)
        np.testing.assert_allclose(dlogits.sum(axis=1), 0, atol=1e-15)

    def test_logits_and_targets_stay_as_they_are(self, generator):
        logits, targets = generator.normal(size=(T, V, B)), generator.integers(V, size=(T, B))
        copies = logits.copy(), targets.copy()
        loss = self.loss()
        loss.forward(logits, targets)
        loss.backward()
        np.testing.assert_array_equal(logits, copies[0])
        np.testing.assert_array_equal(targets, copies[1])
