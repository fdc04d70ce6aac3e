"""Two ranks with one GPU each sum their gradients with CuPy's NCCL module."""

import pytest
from ranks import Communicator, on_ranks
from toys import losses_of, toy_settings

from minichar.devices.choose import open_backend
from minichar.devices.graph import WARM_UP
from minichar.training.start import begin

STEPS = 8


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_summed_in_the_graph_without_copies_to_the_host(cuda, tmp_path, dtype, monkeypatch):
    def refuse(*arrays):
        raise AssertionError("an array was summed on the host")

    monkeypatch.setattr(Communicator, "Allreduce", refuse)
    settings = toy_settings(tmp_path, use_ss=False, dtype=dtype, batch_size=5, ema=0.9)
    alone = losses_of(begin(settings).trainer, STEPS)
    cuda.operations()

    def run(team):
        trainer = begin(settings, open_backend(f"gpu:{team.rank}"), team=team).trainer
        losses = []
        for _ in range(STEPS):
            trainer.set_rates()
            losses.append(trainer.learn())
        return [float(loss) for loss in losses], trainer.step.parts[0].graph is not None

    for losses, captured in on_ranks(2, run):
        assert losses == pytest.approx(alone, abs=1e-5 if dtype == "float32" else 1e-9)
        assert captured
    assert cuda.operations()["all-reduce"] == 2 * (WARM_UP + 1)  # the others are in the graph
