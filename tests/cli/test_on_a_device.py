"""Test that commands compute on the device that ``--device`` opens, for every file format."""

from pathlib import Path

import pytest
from toys import TEXT, TOY, toy_model

from minichar.checkpoints.checkpoint import load_training, save
from minichar.devices.cpu import NumPyBackend

TRAIN = ("train", "--data", "input.txt", *TOY)
COMMANDS = {
    "train": TRAIN,
    "init": (*TRAIN, "--init-from", "toy.npz"),
    "resume": ("train", "--resume", "stopped.npz", "--max-epochs", "3"),
    "sample": ("sample", "toy.npz", "--length", "20"),
    "eval": ("eval", "toy.npz", "--data", "input.txt", "--batch-size", "4", "--seq-length", "6"),
    "whole": ("eval", "toy.npz", "--data", "input.txt", "--split", "whole"),
    "gradcheck": ("gradcheck", "--rnn-size", "2", "--num-layers", "1", "--seq-length", "2"),
}


@pytest.fixture(params=COMMANDS)
def arguments(request, cli):
    """Return arguments for a command, and create the checkpoints that they name."""
    save("toy.npz", toy_model("".join(sorted(set(TEXT))), rnn_size=8, num_layers=1))
    if request.param == "resume":
        path = cli(*TRAIN, "--device", "cpu").stdout.strip()
        save("stopped.npz", *load_training(Path(path)))
    return COMMANDS[request.param]


@pytest.fixture
def opened(monkeypatch):
    """Return a function that makes ``--device`` open `backend` and returns a list of the names requested."""

    def opened(backend):
        asked = []

        def open_backend(name, tf32=False):
            asked.append(name)
            return backend

        for module in ("sample", "gradcheck"):
            monkeypatch.setattr(f"minichar.cli.{module}.open_backend", open_backend)
        monkeypatch.setattr("minichar.cli.options.open_devices", lambda *name: (open_backend(*name),))
        return asked

    return opened


def test_computes_on_the_opened_device(cli, arguments, opened, count_copies):
    backend = NumPyBackend()
    asked, copies = opened(backend), count_copies(backend)
    cli(*arguments, "--device", "the best")
    assert asked == ["the best"]
    assert copies["to_device"]
    assert copies["to_host"]


@pytest.mark.parametrize("device", ["cupy-double"], indirect=True)
def test_model_in_another_format_is_moved_to_the_device(cli, toy, opened, device):
    pytest.importorskip("safetensors")
    cli("convert", toy, "toy.safetensors", "--dtype", "float64")
    opened(device)
    on_device = cli("sample", "toy.safetensors", "--length", 30, "--seed", 5)
    assert f", on {device.name}, seed 5\n" in on_device.stderr
    opened(NumPyBackend())
    assert on_device.stdout == cli("sample", toy, "--length", 30, "--seed", 5).stdout
