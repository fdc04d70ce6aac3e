"""Tests that the checks of ``first_hour.py`` detect errors. ``cpu_cuda`` tests that they pass on a GPU."""

from operator import neg
from types import SimpleNamespace

import gpu_checks
import numpy as np
import pytest
from first_hour import DRY

from minichar.devices.cpu import CPU, NumPyBackend
from minichar.engine import dropout
from minichar.engine.embedding import Embedding
from minichar.engine.gradcheck import Row
from minichar.engine.layer_norm import LayerNorm
from minichar.engine.tied_embedding import TiedEmbedding
from minichar.training.scheduled_sampling import ScheduledSampling

OPTIONS = {
    "layer normalisation": (LayerNorm, "forward", lambda a: [-one for one in a], "layer_norm"),
    "embedding": (Embedding, "forward", neg, "embedding"),
    "tied embedding": (TiedEmbedding, "forward", neg, "tied"),
    "resets": (gpu_checks.Case, "state_mask", lambda state_mask: [], "resets"),
    "dropout": (dropout, "forward", neg, "masks"),
    "scheduled sampling": (ScheduledSampling, "__call__", lambda ids: 0 * ids, "masks"),
}
"""For each option, a function, a change of its result, and the field of the cases whose losses change."""
KINDS = ["train", "dropout", "scheduled-sampling", "evaluate", "sample"]


class GPU(NumPyBackend):
    """A GPU that computes with NumPy, and captures all steps except the one with the given number."""

    def __init__(self, broken=None):
        super().__init__()
        self.name, self.broken, self.steps = "gpu:0", broken, 0

    def recorded(self, step, agree=bool):
        run = super().recorded(step)
        run.graph = None if self.steps == self.broken else step
        self.steps += 1
        return run


@pytest.fixture
def _no_pool(monkeypatch):
    monkeypatch.setattr(gpu_checks, "free_unused", lambda backend: None)


@pytest.mark.usefixtures("_no_pool")
def test_each_step_of_each_kind_must_be_captured():
    work, seen, k = DRY.work, [], 0
    whole = GPU()
    assert gpu_checks.graphs(whole, work)["passed"]
    for k in range(whole.steps):
        found = gpu_checks.graphs(GPU(broken=k), work)
        kinds = [kind for kind, captured in found["captured as a CUDA graph"].items() if not captured]
        assert found["passed"] == (not kinds)
        seen += kinds
    assert set(seen) == set(KINDS)
    # For both networks, evaluation has one step and sampling has two.
    assert [seen.count(kind) for kind in ("evaluate", "sample")] == [2, 4]


@pytest.mark.usefixtures("_no_pool")
@pytest.mark.parametrize(("broken", "passed"), [(None, True), (0, False)])
def test_the_losses_must_be_those_of_captured_steps(broken, passed):
    losses = gpu_checks.losses(GPU(broken), DRY.work, 1, [gpu_checks.PLAIN])
    assert losses["passed"] == passed
    sampling = gpu_checks.sampling(GPU(1 if broken == 0 else None), DRY.work, 2)
    assert sampling["passed"] == passed


@pytest.mark.parametrize("option", OPTIONS)
def test_the_losses_depend_on_each_option(option, monkeypatch):
    training_losses, cases = gpu_checks.training_losses, gpu_checks.CASES[:4]
    owner, name, change, field = OPTIONS[option]
    right = getattr(owner, name)

    def wrong(backend, *args):
        with monkeypatch.context() as patch:
            if backend is not CPU:
                patch.setattr(owner, name, lambda *args: change(right(*args)))
            return training_losses(backend, *args)

    monkeypatch.setattr(gpu_checks, "training_losses", wrong)
    found = gpu_checks.losses(NumPyBackend(), DRY.work, 4, cases)
    assert not found["passed"]
    differences = found["largest difference"]
    affected = [case.title for case in cases if getattr(case, field)]
    assert [title for title, error in differences.items() if error > gpu_checks.LIMIT] == affected


@pytest.mark.parametrize("loss", [float("nan"), 2e-4])
def test_a_loss_that_differs_is_found(loss, monkeypatch):
    def losses(backend, *chunk):
        return np.array([0.0, 0.0 if backend is CPU else loss]), SimpleNamespace(parts=[None])

    monkeypatch.setattr(gpu_checks, "training_losses", losses)
    assert not gpu_checks.losses(NumPyBackend(), DRY.work, 2)["passed"]


def test_a_wrong_gradient_is_found_and_each_option_is_checked(monkeypatch):
    networks, rows = [], [Row("layer1.W", (2, 3), error, 1e-9) for error in (1e-6, 1e-16)]
    monkeypatch.setattr(gpu_checks, "check_network", lambda network, *chunk: networks.append(network) or rows)
    found = gpu_checks.gradients(CPU)
    assert (found["passed"], {*found["errors"].values()}) == (False, {1e-6})
    configs = [network.config for network in networks]
    assert [config.model for config in configs] == ["lstm", "gru", "gru-reset-before", "rnn", "lstm", "gru"]
    assert [config.layer_norm for config in configs] == [False] * 4 + [True] * 2
    # Embeddings differ in size from H, so that a transposed matrix is an error, unless they are tied.
    assert [config.embedding for config in configs] == [0] * 4 + [5, 3]
    assert [network.state_mask is None for network in networks] == [True] * 5 + [False]


def test_a_run_that_is_not_resumed_exactly_or_did_not_go_on_is_found(monkeypatch):
    """If the stopped run already has the final weights, the check has not tested resuming."""
    resume, train = gpu_checks.resume, gpu_checks.train

    def wrong(*args):
        run = resume(*args)
        run.trainer.step.optimiser.mean_square[...] *= 1.001
        return run

    monkeypatch.setattr(gpu_checks, "resume", wrong)
    assert not gpu_checks.resuming(CPU, DRY.work, 4)["passed"]
    monkeypatch.setattr(gpu_checks, "resume", resume)
    monkeypatch.setattr(gpu_checks, "train", lambda one, steps: one if one.iteration else train(one, 2))
    found = gpu_checks.resuming(CPU, DRY.work, 4)
    assert found == {"passed": False, "bit for bit": True, "steps": (2, 2)}
