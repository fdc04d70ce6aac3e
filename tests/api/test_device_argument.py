import sys

import numpy as np
import pytest
from api_helpers import TOY, train
from devices import Other
from toys import TEXT

import minichar
from minichar.devices.cpu import CPU
from minichar.devices.cupy import CuPyBackend


def test_unknown_device_raises(text, model):
    for call in (
        lambda: minichar.load("cv", device="tpu"),
        lambda: train(text, device="tpu"),
        lambda: minichar.Model.create(model.vocabulary, device="tpu"),
    ):
        with pytest.raises(minichar.MinicharError, match="unknown device 'tpu'"):
            call()


@pytest.mark.parametrize("device", ["cupy-double"], indirect=True)
def test_models_compute_on_the_requested_device(text, device, monkeypatch):
    known = {device.name: device, "cpu": CPU}
    monkeypatch.setattr("minichar.api.loading.open_backend", known.__getitem__)
    monkeypatch.setattr("minichar.api.training.open_devices", lambda name, tf32: (known[name],))
    model = minichar.train(text, device=device.name, progress=False, **TOY)
    assert model.device == model.parameters.backend.name == device.name
    loaded = minichar.load("cv", device=device.name)
    assert loaded.parameters.backend.name == device.name
    np.testing.assert_allclose(loaded.surprisal(TEXT), minichar.load("cv").surprisal(TEXT), rtol=1e-4)
    assert repr(loaded).endswith(f"on {device.name}, float32")
    tuned = minichar.train(text, init_from="cv", device=device.name, progress=False, **TOY)
    assert tuned.parameters.backend.name == device.name


def test_auto_chooses_a_device_for_a_run_but_keeps_the_device_of_a_model(text, monkeypatch, capsys):
    other = Other()
    monkeypatch.setattr(
        "minichar.api.training.open_devices", lambda name, tf32: (CPU, other) if name == "auto" else (CPU,)
    )
    monkeypatch.setattr("minichar.training.device.LARGE_STEP", 0)
    run = {"device": "auto", **TOY}
    assert minichar.train(text, **run).parameters.backend is other
    assert minichar.load("cv").parameters.backend is CPU
    note = "note: device auto: gpu:0, because each step is large enough for a GPU, and gpu:0 agrees with "
    assert note in capsys.readouterr().err
    minichar.train(text, init_from="cv", **run)
    assert "note: device auto: gpu:0" in capsys.readouterr().err
    minichar.train(text, init_from=minichar.load("cv"), **run)
    assert "device auto" not in capsys.readouterr().err


def test_tf32_is_used_in_training_on_a_gpu_only(text, monkeypatch, capsys):
    """Two notices on a GPU: the first step compiles kernels, and float64 products have no TF32."""
    from cupy_double import DoubleOfCuPy

    monkeypatch.setitem(sys.modules, "cupy", cupy := DoubleOfCuPy())
    monkeypatch.setenv("CUPY_CACHE_DIR", str(text / "kernels"))
    modes, (strict, tf32) = cupy.cublas.modes, (0, 3)
    first = minichar.train(text, device="gpu", tf32=True, **TOY)
    assert modes == {tf32, strict}  # opening a GPU tests a product, here also for the trained model
    assert not first.parameters.backend.tf32
    err = capsys.readouterr().err
    assert err.startswith("note: compiling GPU kernels;")
    assert "TF32" not in err
    modes.clear()
    minichar.train(text, init_from=first, tf32=True, dtype="float64", **TOY)
    assert modes == {tf32, strict}
    assert "note: TF32 has no effect on float64 matrix products\n" in capsys.readouterr().err
    modes.clear()
    assert minichar.train(text, init_from=first, progress=False, **TOY).parameters.backend.name == "gpu:0"
    assert modes == {strict}
    assert capsys.readouterr().err == ""
    minichar.train(text, tf32=True, **TOY)
    assert "note: TF32 has no effect on device cpu: it requires" in capsys.readouterr().err


@pytest.mark.parametrize("requested", [True, False])
def test_the_chunk_kernel_is_used_in_training_only(requested, text, monkeypatch, capsys):
    """The double has no kernel for this size, but is asked for it."""
    from cupy_double import DoubleOfCuPy

    monkeypatch.setitem(sys.modules, "cupy", DoubleOfCuPy())
    asked = []
    monkeypatch.setattr(CuPyBackend, "chunk_kernel", lambda gpu, *layer: asked.append(gpu.uses_chunk_kernel))
    model = minichar.train(text, device="gpu", chunk_kernel=requested, **TOY)
    assert set(asked) == {requested}
    assert not model.parameters.backend.uses_chunk_kernel
    assert ("chunk kernel is not used on device gpu:0" in capsys.readouterr().err) == requested
