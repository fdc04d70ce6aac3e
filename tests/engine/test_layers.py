"""Each layer alone, against the equation at the head of its file, on every device."""

import numpy as np
import pytest
from minichar.engine.onehot import OneHot

from minichar.devices.cpu import CPU
from minichar.engine.dropout import Dropout
from minichar.engine.functions import sigmoid, sigmoid_slope, tanh_slope
from minichar.engine.linear import Linear
from minichar.engine.loss import SoftmaxCrossEntropy

T, B, V, H = 5, 2, 8, 3


class TestFunctions:
    a = np.linspace(-6, 6, 25)

    def test_the_sigmoid_is_its_textbook_formula(self, backend, host):
        a = backend.to_device(self.a)
        y = backend.xp.empty_like(a)
        sigmoid(backend.xp, a, out=y)
        np.testing.assert_allclose(host(y), 1 / (1 + np.exp(-self.a)), rtol=1e-13)

    def test_the_sigmoid_cannot_overflow(self, backend, host):
        a = backend.to_device(np.array([-1000.0, 0.0, 1000.0]))
        sigmoid(backend.xp, a, out=a)  # in place
        np.testing.assert_array_equal(host(a), [0.0, 0.5, 1.0])

    def test_slopes_agree_with_the_complex_step(self, backend, host):
        h = 1e-30
        moved = backend.to_device(self.a + 1j * h)
        y, slope = backend.xp.empty_like(moved), backend.zeros(self.a.shape, "float64")

        sigmoid(backend.xp, moved, out=y)
        sigmoid_slope(backend.xp, y.real, out=slope)
        np.testing.assert_allclose(host(slope), host(y).imag / h, rtol=0, atol=1e-15)

        backend.xp.tanh(moved, out=y)
        tanh_slope(backend.xp, y.real, out=slope)
        np.testing.assert_allclose(host(slope), host(y).imag / h, rtol=0, atol=1e-15)

    def test_an_element_wise_function_may_work_in_place(self, backend, host):
        """As one fused call, as the cells make it."""
        a, out = backend.to_device(self.a.copy()), backend.zeros(self.a.shape, "float64")

        def gate(xp, a, out):
            sigmoid(xp, a, out=a)
            sigmoid_slope(xp, a, out=out)

        backend.elementwise(gate)(a, out)
        s = 1 / (1 + np.exp(-self.a))
        np.testing.assert_allclose(host(a), s, rtol=1e-13)
        np.testing.assert_allclose(host(out), s * (1 - s), rtol=1e-11)


class TestLinear:
    G, K, recurrent = 4, 5, 2

    @pytest.fixture
    def linear(self, generator, backend):
        W = generator.normal(size=(self.G, self.K + 1))
        dW = np.full_like(W, 7.0)
        layer = Linear(backend.to_device(W), backend.to_device(dW), T, B, backend, recurrent=self.recurrent)
        layer.x[...] = backend.to_device(generator.normal(size=(T + 1, self.K, B)))
        return layer

    @pytest.fixture
    def da(self, generator):
        return generator.normal(size=(T, self.G, B))

    @pytest.fixture
    def ds(self, linear, da, backend, host):
        """Walk back through all steps; the gradients of the states."""
        found = np.zeros((T, self.recurrent, B))
        for t in reversed(range(T)):
            linear.da[...] = backend.to_device(da[t])
            found[t] = host(linear.step_backward(t))
        return found

    def test_forward_is_the_product_plus_the_bias(self, linear, host):
        W, x = host(linear.W), host(linear.x)
        for t in range(T):
            np.testing.assert_allclose(host(linear.step(t)), W[:, :-1] @ x[t] + W[:, -1:], rtol=1e-13)

    @pytest.mark.parametrize("n", [T, 2])
    def test_backward_is_the_transposed_product_without_the_bias(self, linear, da, ds, n, host):
        dx = np.concatenate([ds[:n], host(linear.input_gradient(n))], axis=1)  # (n, K, B)
        np.testing.assert_allclose(dx, host(linear.W)[:, :-1].T @ da[:n], rtol=1e-13)

    @pytest.mark.usefixtures("ds")
    def test_where_all_inputs_are_states_no_other_has_a_gradient(self, linear):
        linear.recurrent = self.K
        assert linear.input_gradient(2).shape == (2, 0, B)

    def test_what_only_the_way_back_needs_is_not_made_before(self, linear):
        linear.step(0)
        assert not {"da", "kept_da"} & vars(linear).keys()

    @pytest.mark.parametrize("n", [T, 2])
    @pytest.mark.usefixtures("ds")
    def test_the_weight_gradient_sums_the_outer_products_of_n_steps(self, linear, da, n, host):
        x = host(linear.x)
        expected = np.zeros((self.G, self.K + 1))
        for t in range(n):
            for b in range(B):
                expected += np.outer(da[t, :, b], [*x[t, :, b], 1.0])
        linear.weight_gradient(n)
        np.testing.assert_allclose(host(linear.dW), expected, rtol=1e-12)

    def test_a_character_adds_its_column(self, linear, backend, host, generator):
        Wx = generator.normal(size=(self.G, V))
        onehot = OneHot(backend.to_device(Wx), backend.to_device(np.zeros_like(Wx)), B, backend)
        reader = Linear(linear.W, linear.dW, T, B, backend, onehot)
        reader.x[...] = linear.x
        ids = np.array([5, 2])
        np.testing.assert_allclose(
            host(reader.step(1, backend.to_device(ids))), host(linear.step(1)) + Wx[:, ids], rtol=1e-13
        )


class TestOneHot:
    G = 4

    @pytest.fixture
    def onehot(self, generator, backend):
        Wx = generator.normal(size=(self.G, V))
        return OneHot(backend.to_device(Wx), backend.to_device(np.full_like(Wx, 7.0)), B, backend)

    @pytest.fixture
    def weight_gradient(self, onehot, backend, host):
        """Run it from and to the host."""

        def run(ids, da):
            onehot.weight_gradient(backend.to_device(ids), backend.to_device(da))
            return host(onehot.dWx)

        return run

    def test_pick_is_the_product_with_explicit_one_hot_vectors(self, onehot, backend, host):
        ids = np.array([6, 0])
        picked = onehot.pick(backend.to_device(ids))
        np.testing.assert_array_equal(host(picked), host(onehot.Wx) @ np.eye(V)[:, ids])

    def test_the_gradients_of_a_repeated_character_add_up(self, weight_gradient):
        ids = np.array([[1, 6], [6, 6]])
        da = np.array([[1.0, 2.0, 4.0, 8.0]] * self.G)  # (G, 2·B), a column a character: 1, 6, 6, 6
        expected = np.zeros((self.G, V))
        expected[:, 1], expected[:, 6] = 1, 2 + 4 + 8
        np.testing.assert_array_equal(weight_gradient(ids, da), expected)

    def test_the_gradient_is_the_product_with_explicit_one_hot_vectors(self, weight_gradient, generator):
        ids = generator.integers(V, size=(T, B))
        da = generator.normal(size=(self.G, T * B))
        np.testing.assert_allclose(weight_gradient(ids, da), da @ np.eye(V)[ids.reshape(-1)], rtol=1e-12)

    def test_a_character_of_the_chunk_before_gets_no_gradient_now(self, weight_gradient):
        weight_gradient(np.array([[3, 4]]), np.ones((self.G, B)))
        dWx = weight_gradient(np.array([[4, 5]]), np.ones((self.G, B)))
        np.testing.assert_array_equal(dWx.any(axis=0), np.isin(np.arange(V), [4, 5]))


class TestDropout:
    p = 0.4

    @pytest.fixture
    def dropout(self, backend):
        return lambda p=self.p, T=T, H=H, B=B: Dropout(p, H, T, B, "float64", backend)

    @pytest.fixture
    def uniform(self, backend):
        return backend.uniform(123)

    def test_a_mask_is_zero_or_one_over_the_share_that_is_kept(self, dropout, uniform, host):
        dropout = dropout(T=100, H=20)
        dropout.draw(uniform)
        mask = host(dropout.mask)
        assert mask.shape == (100, 20, B)
        np.testing.assert_allclose(np.unique(mask), [0.0, 1 / 0.6], rtol=1e-15)
        # 4000 coins; the standard deviation of the share is √(0.6 · 0.4 / 4000) = 0.0077
        assert (mask > 0).mean() == pytest.approx(0.6, abs=0.03)

    def test_the_mean_over_masks_is_h_itself(self, dropout, uniform, backend, host, generator):
        N = 500 if backend.kind == "opencl" else 10_000
        h = backend.to_device(generator.normal(size=(H, B)))
        dropout = dropout(T=N)
        dropout.draw(uniform)
        y = backend.zeros((N, H, B), "float64")
        for t in range(N):
            dropout.step(t, h, out=y[t])
        # The standard deviation of the mean of m is √(0.4 / 0.6 / N), 0.008 for 10000.
        np.testing.assert_allclose(host(y).mean(axis=0), host(h), rtol=4.9 * np.sqrt(0.4 / 0.6 / N))

    def test_each_step_and_each_chunk_has_a_mask_of_its_own(self, dropout, uniform, host):
        dropout = dropout(H=20)
        dropout.draw(uniform)
        first, there = host(dropout.mask).copy(), dropout.mask
        assert not any((first[t] == first[t + 1]).all() for t in range(T - 1))
        dropout.draw(uniform)
        assert (host(dropout.mask) != first).any()
        assert dropout.mask is there  # a recorded step reads it where it is

    @pytest.mark.parametrize("n", [T, 2])
    def test_backward_uses_the_mask_of_the_forward_pass(self, n, dropout, uniform, backend, host, generator):
        dropout = dropout()
        dropout.draw(uniform)
        h, dy = generator.normal(size=(2, n, H, B))
        y = backend.zeros((n, H, B), "float64")
        for t in range(n):
            dropout.step(t, backend.to_device(h[t]), out=y[t])
        dh = dropout.backward(backend.to_device(dy))
        np.testing.assert_allclose(host(dh), dy * (host(y) / h), rtol=1e-13)

    def test_it_is_off_until_a_mask_is_drawn(self, dropout, backend, host, generator):
        dropout = dropout()
        h = backend.to_device(generator.normal(size=(H, B)))
        y = backend.xp.empty_like(h)
        dropout.step(0, h, out=y)
        np.testing.assert_array_equal(host(y), host(h))
        np.testing.assert_array_equal(host(dropout.backward(h[None])), host(h[None]))

    def test_at_probability_zero_it_draws_nothing(self, dropout, uniform):
        dropout = dropout(p=0.0)
        before = uniform.state
        dropout.draw(uniform)
        assert uniform.state == before
        assert dropout.mask is None


class TestLoss:
    @pytest.fixture
    def loss(self, backend):
        """The loss with its two passes from and to the host."""

        class OnTheHost(SoftmaxCrossEntropy):
            def forward(self, logits, targets):
                return float(
                    backend.to_host(super().forward(backend.to_device(logits), backend.to_device(targets)))
                )

            def backward(self):
                return backend.to_host(super().backward())

        return lambda dtype="float64": OnTheHost(V, T, B, dtype, backend)

    @pytest.mark.parametrize("n", [T, 2])
    def test_it_is_the_mean_of_the_naive_log_softmax(self, n, loss, generator):
        logits, targets = generator.normal(size=(n, V, B)), generator.integers(V, size=(n, B))
        total = 0.0
        for t in range(n):
            for b in range(B):
                p = np.exp(logits[t, :, b]) / np.exp(logits[t, :, b]).sum()  # (V,)
                total -= np.log(p[targets[t, b]])
        assert loss().forward(logits, targets) == pytest.approx(total / (n * B), rel=1e-13)

    def test_uniform_logits_give_ln_V(self, loss):
        logits, targets = np.full((T, V, B), 3.0), np.arange(T * B).reshape(T, B) % V
        assert loss().forward(logits, targets) == pytest.approx(np.log(V), rel=1e-15)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_huge_logits_do_no_harm(self, dtype, loss):
        logits = np.zeros((T, V, B), dtype=dtype)
        logits[:, 0] = 1e4  # certain of character 0
        logits[:, 1] = -1e4
        for target, nats in ((0, 0.0), (1, 2e4), (2, 1e4)):
            there = loss(dtype)
            assert there.forward(logits, np.full((T, B), target)) == nats
            assert np.isfinite(there.backward()).all()

    @pytest.mark.parametrize("n", [T, 2])
    def test_the_gradient_is_p_minus_one_hot_over_the_number_of_characters(self, n, loss, generator):
        logits, targets = generator.normal(size=(n, V, B)), generator.integers(V, size=(n, B))
        there = loss()
        there.forward(logits, targets)
        dlogits = there.backward()
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        onehot = np.eye(V)[targets].transpose(0, 2, 1)  # (n, V, B)
        np.testing.assert_allclose(dlogits, (p - onehot) / (n * B), rtol=1e-13)
        np.testing.assert_allclose(dlogits.sum(axis=1), 0, atol=1e-15)

    def test_logits_and_targets_stay_as_they_are(self, generator):
        logits, targets = generator.normal(size=(T, V, B)), generator.integers(V, size=(T, B))
        copies = logits.copy(), targets.copy()
        loss = SoftmaxCrossEntropy(V, T, B, "float64", CPU)
        loss.forward(logits, targets)
        loss.backward()
        np.testing.assert_array_equal(logits, copies[0])
        np.testing.assert_array_equal(targets, copies[1])
