from math import inf, log

import numpy as np
import pytest
from naive import read_chunk

from minichar.devices.cpu import CPU
from minichar.devices.graph import CudaGraph
from minichar.engine.config import Config
from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.text.batches import split_text
from minichar.text.vocabulary import Vocabulary
from minichar.training.evaluation import (
    Evaluation,
    Measurement,
    evaluate,
    evaluate_blocks,
    evaluate_streams,
)

T, B, V, H = 5, 2, 8, 3
VOCABULARY = Vocabulary("abcdefgh")


def model_on(backend, cell, generator):
    """Return a model whose loss depends on its state, with dropout that evaluation must not apply."""
    config = Config(V, cell, rnn_size=H, num_layers=2, dropout=0.4)
    model = CharRNN.new(config, VOCABULARY, seed=1, dtype="float64", backend=backend)
    model.parameters.flat[...] = backend.to_device(generator.uniform(-0.7, 0.7, model.parameters.size))
    return model


@pytest.fixture
def model(generator):
    return model_on(CPU, "lstm", generator)


@pytest.fixture
def ids(generator):
    return generator.integers(V, size=151).astype("uint8")  # 150 targets


def naive_loss(model, inputs, targets, state=None):
    """Return ``(loss, state)``: the mean loss over one continuous sequence, and the final state."""
    state = np.zeros(model.config.state_shape(inputs.shape[1])) if state is None else state
    return read_chunk(model.config, model.parameters, inputs, targets, state)


def test_bits_and_perplexity():
    """The model is as uncertain as between four equally likely characters."""
    result = Evaluation(loss=2 * log(2), first=0.0, last=0.0, characters=1234)
    assert (result.bits, result.perplexity) == (pytest.approx(2.0, rel=1e-15), pytest.approx(4.0, rel=1e-15))
    loss = "loss 1.3863 nats = 2.0000 bits per character"
    assert repr(result) == f"Evaluation: {loss}, perplexity 4.000, 1,234 characters"
    assert Evaluation(1e6, 0.0, 0.0, 1).perplexity == inf


def test_corrupted_weights_are_named_as_the_cause_of_a_loss_that_is_not_finite(model, ids):
    """Finite weights can still be so large that the logits overflow."""
    readout, largest = model.parameters["readout.W"], np.finfo("float64").max
    readout[::2, -1], readout[1::2, -1] = largest, -largest
    with pytest.raises(MinicharError, match=r"loss .* is not finite: its weights are corrupted; use another"):
        evaluate_streams(model, ids[None])


class TestEvaluate:
    def test_chunks_are_weighted_by_their_number_of_characters(self, model, generator):
        inputs, targets = generator.integers(V, size=(2, 12, B))  # each (12, B)
        cuts = [(0, 5), (5, 7), (7, 12)]
        network = model.network(T, B)
        result = evaluate(Measurement(network), [(inputs[i:j], targets[i:j]) for i, j in cuts])

        losses, state = [], None
        for i, j in cuts:
            loss, state = naive_loss(model, inputs[i:j], targets[i:j], state)
            losses.append(loss)
        first, middle, last = losses
        assert result.loss == pytest.approx((5 * first + 2 * middle + 5 * last) / 12, rel=1e-12)
        assert result.first == pytest.approx(first, rel=1e-12)
        assert result.last == pytest.approx(last, rel=1e-12)
        assert result.characters == 12 * B
        np.testing.assert_allclose(network.state, state, atol=1e-12)  # so that the caller can continue

    def test_losses_of_models_in_single_precision_have_double_precision(self, model, generator):
        inputs, targets = generator.integers(V, size=(2, T, 16))  # each (T, 16)
        model = CharRNN.new(model.config, VOCABULARY, seed=1, dtype="float32")
        together = Measurement(model.network(T, 16))(inputs, targets)
        alone = Measurement(model.network(T, 1))
        losses = []
        for k in range(16):
            alone.network.reset()
            losses.append(float(alone(inputs[:, k : k + 1], targets[:, k : k + 1])))
        assert together == pytest.approx(np.mean(losses), rel=0, abs=1e-8)


def test_the_watch_function_receives_one_item_per_chunk_and_the_text_is_released(model, ids, monkeypatch):
    seen, released = [], []
    monkeypatch.setattr("minichar.training.evaluation.release", released.append)
    evaluate_streams(model, ids[None], 40, lambda chunks: seen.append(len(chunks)) or chunks)
    assert seen == [4], "a progress bar needs the length"
    assert len(released) == 4


def test_blocks_are_watched_in_groups_and_must_fit_into_a_stream(model, ids, monkeypatch):
    seen, released = [], []
    monkeypatch.setattr("minichar.training.evaluation.BLOCKS", 2)
    monkeypatch.setattr("minichar.training.evaluation.release", released.append)
    streams = ids[:16].reshape(2, 8)
    result = evaluate_blocks(model, streams, 2, lambda groups: seen.append(len(groups)) or groups)
    assert (seen, result.characters) == ([3], 12)
    assert sum(each is streams for each in released) == 3, "of the text, not only of the copies"
    assert evaluate_blocks(model, streams, 7).characters == 14
    with pytest.raises(MinicharError, match="block=8 is too long: the streams have 8 characters each"):
        evaluate_blocks(model, streams, 8)


def test_a_chunk_longer_than_the_text_needs_no_more_memory(model, ids):
    assert evaluate_streams(model, ids[None], 10**15).loss == evaluate_streams(model, ids[None], 150).loss


def test_no_caches_are_stored(model, ids, monkeypatch):
    networks, build = [], model.network
    monkeypatch.setattr(model, "network", lambda T, B: networks.append(build(T, B)) or networks[-1])
    evaluate_streams(model, ids[None], 40)
    (network,) = networks
    assert not any(any(layer.caches) for layer in network.layers)


class TestOnADevice:
    """Tests that evaluation on a device gives the same losses as on the CPU."""

    @pytest.fixture
    def there(self, device):
        """Return a model on the device."""
        return model_on(device, "lstm", np.random.default_rng(123))

    @pytest.fixture
    def here(self):
        return model_on(CPU, "lstm", np.random.default_rng(123))

    @pytest.fixture
    def ids(self):
        return np.random.default_rng(5).integers(V, size=61).astype("uint8")

    def test_a_whole_text_with_a_short_last_chunk(self, there, here, ids):
        wanted = evaluate_streams(here, ids[None], 50)
        assert evaluate_streams(there, ids[None], 25).loss == pytest.approx(wanted.loss, rel=1e-12)

    @pytest.mark.parametrize(("read", "copies"), [(3, 1), (2, 2)])
    def test_each_chunk_is_copied_once_and_a_block_of_losses_at_once(
        self, read, copies, there, here, device, ids, monkeypatch, count_copies
    ):
        monkeypatch.setattr("minichar.training.evaluation.READ", read)
        split = split_text(ids, B, T, train_frac=0.6, val_frac=0.2)
        wanted = evaluate(Measurement(here.network(T, B)), split.train)
        measure, crossed = Measurement(there.network(T, B)), count_copies(device)
        found = evaluate(measure, split.train)
        assert crossed == {"to_device": len(split.train), "to_host": copies}
        for name in ("loss", "first", "last", "characters"):
            assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-12)

    def test_full_chunks_are_replayed_on_a_gpu(self, there, device, ids, monkeypatch):
        """Replayed and separately launched operations give bitwise identical losses."""
        inputs, targets = np.stack([ids[:60].reshape(4, 5, 3), ids[1:].reshape(4, 5, 3)])  # (4, T, B) each
        measure, network = Measurement(there.network(5, 3)), there.network(5, 3)
        for k in range(4):
            loss = network.measure(device.to_device(inputs[k]), device.to_device(targets[k]))
            network.carry()
            assert device.to_host(measure(inputs[k], targets[k])) == device.to_host(loss)
        assert isinstance(measure.whole_chunk, CudaGraph) == (device.kind == "gpu")
        if device.kind == "gpu":
            assert measure.whole_chunk.graph is not None
        short = inputs[0][:2], targets[0][:2]
        feed, wanted = device.to_device(short[0]), device.to_device(short[1])
        assert measure(*short) == float(device.to_host(network.measure(feed, wanted)))
