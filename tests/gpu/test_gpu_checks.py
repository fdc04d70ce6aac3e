"""Tests that the checks of ``first_hour.py`` pass on the CuPy test double and detect errors."""

from operator import neg

import gpu_checks
import pytest
from first_hour import DRY

from minichar.devices.cpu import CPU
from minichar.engine import dropout
from minichar.engine.embedding import Embedding
from minichar.engine.gradcheck import Row
from minichar.engine.layer import Layer
from minichar.engine.layer_norm import LayerNorm
from minichar.engine.network import Network
from minichar.engine.tied_embedding import TiedEmbedding
from minichar.sampling.choice import Choice
from minichar.training.evaluation import Measurement
from minichar.training.scheduled_sampling import ScheduledSampling

FAULTS = {
    "train": (Network, "learn"),
    "dropout": (dropout, "backward"),
    "scheduled-sampling": (ScheduledSampling, "__call__"),
    "evaluate": (Measurement, "_read"),
    "sample": (Choice, "ids"),
}
"""For each kind of step in `gpu_checks.graphs`, a function that its graph contains."""

OPTIONS = {
    "layer normalisation": (LayerNorm, "forward", neg, lambda case: case.layer_norm),
    "embedding": (Embedding, "forward", neg, lambda case: case.embedding),
    "tied embedding": (TiedEmbedding, "forward", neg, lambda case: case.tied),
    "resets": (gpu_checks.Case, "keep", lambda keep: [], lambda case: case.resets),
    "dropout": (dropout, "forward", neg, lambda case: case.masks),
    "scheduled sampling": (ScheduledSampling, "__call__", lambda ids: 0 * ids, lambda case: case.masks),
}
"""For each option, a function, a change of its result, and the cases whose losses change."""


class TestChecks:
    """Run the checks on the CuPy test double, and with errors that they must detect."""

    def test_pass_on_another_device(self):
        from cupy_double import open_double  # skips the test if CuPy is not installed

        gpu = open_double()
        losses = gpu_checks.losses(gpu, DRY.work, 3)
        assert losses["passed"]
        assert [*losses["captured as a CUDA graph"].values()] == [True] * len(gpu_checks.CASES)
        graphs = gpu_checks.graphs(gpu, DRY.work)
        assert graphs["passed"]
        assert [*graphs["captured as a CUDA graph"]] == [*FAULTS]
        assert gpu_checks.resuming(gpu, DRY.work, 4) == {"passed": True, "bit for bit": True, "steps": (2, 4)}

    def test_a_step_that_is_not_captured_is_a_failure(self, monkeypatch):
        from cupy_double import open_double

        gpu = open_double()
        monkeypatch.setattr(gpu, "recorded", lambda step, agree=bool: step)
        losses = gpu_checks.losses(gpu, DRY.work, 3)
        assert max(losses["largest difference"].values()) < gpu_checks.LIMIT
        assert not losses["passed"]

    @pytest.mark.parametrize("kind", ["dropout", "scheduled-sampling", "evaluate", "sample"])
    def test_one_kind_of_step_that_is_not_captured_is_a_failure(self, kind, monkeypatch):
        from cupy_double import open_double

        gpu, (module, name) = open_double(), FAULTS[kind]
        right = getattr(module, name)

        def waiting(*args, **kwargs):
            gpu.xp.cuda.get_current_stream().synchronize()
            return right(*args, **kwargs)

        monkeypatch.setattr(module, name, waiting)
        with pytest.warns(RuntimeWarning, match="cannot be captured"):
            found = gpu_checks.graphs(gpu, DRY.work)
        assert not found["passed"]
        assert [
            other for other, is_captured in found["captured as a CUDA graph"].items() if not is_captured
        ] == [kind]

    def test_a_step_with_resets_that_is_not_captured_is_a_failure(self, monkeypatch):
        from cupy_double import open_double

        gpu, right = open_double(), Layer.step

        def waiting(layer, t):
            if layer.keep is not None:
                gpu.xp.cuda.get_current_stream().synchronize()
            return right(layer, t)

        monkeypatch.setattr(Layer, "step", waiting)
        with pytest.warns(RuntimeWarning, match="cannot be captured"):
            found = gpu_checks.graphs(gpu, DRY.work)
        assert not found["passed"]
        assert found["captured as a CUDA graph"] == {
            kind: kind not in ("evaluate", "sample") for kind in FAULTS
        }

    @pytest.mark.parametrize("option", OPTIONS)
    def test_the_losses_depend_on_each_option(self, option, monkeypatch):
        training_losses = gpu_checks.training_losses
        owner, name, change, affects = OPTIONS[option]
        right = getattr(owner, name)

        def wrong(backend, *args):
            with monkeypatch.context() as patch:
                if backend is not CPU:
                    patch.setattr(owner, name, lambda *args: change(right(*args)))
                return training_losses(backend, *args)

        monkeypatch.setattr(gpu_checks, "training_losses", wrong)
        found = gpu_checks.losses(type(CPU)(), DRY.work, 4)
        assert not found["passed"]
        differences = found["largest difference"]
        affected = [case.title for case in gpu_checks.CASES if affects(case)]
        assert [title for title, error in differences.items() if error > gpu_checks.LIMIT] == affected

    def test_the_gradients_with_each_option_are_checked(self, monkeypatch):
        networks, row = [], Row("layer1.W", (2, 3), 0.0, 0.0)
        monkeypatch.setattr(
            gpu_checks, "check_network", lambda network, *chunk: networks.append(network) or [row]
        )
        gpu_checks.gradients(CPU)
        *plain, embedded, tied = networks
        assert not any(network.config.layer_norm or network.config.embedding for network in plain)
        assert embedded.config.layer_norm
        assert embedded.config.embedding == 5  # differs from H, so that a transposed matrix is an error
        assert tied.config.layer_norm
        assert tied.config.tied
        assert {*tied.keep[1:].flat} == {0, 1}
        assert all(network.keep is None for network in [*plain, embedded])

    @pytest.mark.parametrize("error", [1e-3, float("nan")])
    def test_different_losses_are_found(self, error, monkeypatch):
        training_losses = gpu_checks.training_losses

        def wrong(backend, work, steps, case):
            losses, step = training_losses(backend, work, steps, case)
            if case.model == "rnn" and backend is not CPU:
                losses[-1] += error
            return losses, step

        monkeypatch.setattr(gpu_checks, "training_losses", wrong)
        assert not gpu_checks.losses(type(CPU)(), DRY.work, 2)["passed"]

    def test_a_wrong_gradient_is_found(self, monkeypatch):
        rows = [Row("layer1.W", (2, 3), 1e-6, 1e-9), Row("layer2.W", (2, 3), 1e-16, 1e-9)]
        monkeypatch.setattr(gpu_checks, "check_network", lambda network, *chunk: rows)
        result = gpu_checks.gradients(CPU)
        assert not result["passed"]
        assert {*result["errors"].values()} == {1e-6}

    def test_a_run_that_is_not_resumed_exactly_is_found(self, monkeypatch):
        resume = gpu_checks.resume

        def wrong(*args):
            run = resume(*args)
            run.trainer.step.optimiser.mean_square[...] *= 1.001
            return run

        monkeypatch.setattr(gpu_checks, "resume", wrong)
        assert not gpu_checks.resuming(CPU, DRY.work, 4)["passed"]

    def test_a_run_that_did_not_go_on_is_found(self, monkeypatch):
        """If the stopped run already has the final weights, the check has not tested resuming."""
        train = gpu_checks.train
        monkeypatch.setattr(
            gpu_checks, "train", lambda trainer, steps: trainer if trainer.iteration else train(trainer, 2)
        )
        assert gpu_checks.resuming(CPU, DRY.work, 4) == {
            "passed": False,
            "bit for bit": True,
            "steps": (2, 2),
        }
