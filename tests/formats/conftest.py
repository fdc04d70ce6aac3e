"""Fixtures for small random models and for pickles.

B, T, V, H and L of the models all differ, so transposed arrays fail the tests.
"""

import pickle
import sys
import types
import warnings

import numpy as np
import pytest
from cells import IN_PYTORCH
from click.testing import CliRunner
from toys import toy_training

from minichar.checkpoints.checkpoint import save
from minichar.cli import main
from minichar.engine.config import Config
from minichar.errors import MinicharError
from minichar.formats.arrays import read_pickled
from minichar.formats.convert import load_model
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary

T, B, V, H = 6, 2, 7, 3
CHARACTERS = "\nabcdé詩"


@pytest.fixture(params=IN_PYTORCH)
def in_pytorch(request):
    """`Config` arguments for a cell that PyTorch implements. Tests using this fixture run once per cell."""
    return {"model": request.param}


@pytest.fixture
def make():
    """Return a function that creates a model with weights large enough to make the gates nonlinear."""

    def make(layers=2, dtype="float32", unknown=False, details=None, **config):
        vocabulary = Vocabulary(CHARACTERS[: V - unknown], unknown)
        model = CharRNN.new(Config(V, rnn_size=H, num_layers=layers, **config), vocabulary, 1, dtype)
        values = np.random.default_rng(layers).normal(0, 0.7, model.parameters.size)
        model.parameters.flat[...] = values
        model.details = details or {"val_loss": 1.5}
        return model

    return make


@pytest.fixture
def saved(make, tmp_path):
    """Return a function that creates and saves a model and returns ``(model, path)``."""

    def saved(name="model.npz", **options):
        model = make(**options)
        save(tmp_path / name, model)
        return model, tmp_path / name

    return saved


@pytest.fixture
def trained(make, tmp_path):
    """Return a function that saves a resumable checkpoint and returns ``(model, training, path)``."""

    def trained(dtype="float32", **options):
        model = make(dtype=dtype, **options)
        training = toy_training(model)
        path = tmp_path / "lm_lstm_epoch1.00_2.0000.npz"
        save(path, model, training)
        return model, training, path

    return trained


@pytest.fixture
def ids():
    """Return a chunk of random ids, ``(T, B)``."""
    return np.random.default_rng(2).integers(V, size=(T, B))  # (T, B)


@pytest.fixture
def state():
    """Return a function that creates an initial state, ``(L, states, H, B)``."""
    return lambda model: np.random.default_rng(3).normal(0, 0.5, model.config.state_shape(B))


@pytest.fixture
def run():
    """Return a function that runs the engine and returns ``(logits, state)``; logits are ``(T, V, B)``."""

    def run(model, ids, state):
        network = model.network(T, B)
        network.state = state
        logits = network.forward(ids)
        network.carry()
        return logits, network.state

    return run


@pytest.fixture
def package():
    """Return a function that imports an optional package, or skips the test if it is missing."""

    def package(name):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some packages emit warnings on import
            return pytest.importorskip(name, reason=f"requires {name} (pip install '.[formats-test]')")

    return package


@pytest.fixture
def check_refused(tmp_path):
    """Return a function that checks that a file is refused with a one-line error."""

    def check_refused(name, data, message):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(MinicharError, match=message) as caught:
            load_model(path)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300
        assert str(caught.value).startswith(f"{path} is not a {path.suffix} file that minichar can read: ")

    return check_refused


@pytest.fixture
def check_damaged(tmp_path, generator):
    """Return a function that checks that a file that is truncated, or has one wrong byte, is refused."""

    def check_damaged(name, data):
        for at in range(generator.integers(4), len(data), 4):
            changed = bytearray(data)
            changed[at] ^= generator.integers(1, 256)
            for bad in (data[:at], bytes(changed)):
                (tmp_path / name).write_bytes(bad)
                with pytest.raises(MinicharError, match=r"^[^\n]{1,300}$"):
                    load_model(tmp_path / name)
        assert [path.name for path in tmp_path.iterdir()] == [name]

    return check_damaged


@pytest.fixture
def cli():
    """Return a function that runs ``minichar`` with the given arguments."""
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def on_gpu(request, monkeypatch):
    """Return a class whose instances are pickled as a call to ``array``, like CuPy arrays."""
    module = getattr(request, "param", "cupy._core.core")
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(parts[end - 1]))

    def array(host):
        raise AssertionError("CuPy was called")

    array.__module__, array.__qualname__ = module, "array"
    sys.modules[module].array = array

    class OnGPU:
        def __init__(self, host):
            self.host = host

        def __reduce__(self):
            return array, (self.host,)

    return OnGPU


@pytest.fixture
def read_pickle(tmp_path, monkeypatch):
    """Return a function that saves pickle data and reads it with the `pickle` module disabled."""

    def forbidden(*args, **kwargs):
        raise AssertionError("the pickle was unpickled")

    def read_pickle(data):
        path = tmp_path / "weights.pkl"
        path.write_bytes(data)
        with monkeypatch.context() as patched:
            patched.setattr(pickle, "loads", forbidden)
            patched.setattr(pickle, "load", forbidden)
            patched.setattr(pickle, "Unpickler", forbidden)
            return read_pickled(path)

    return read_pickle
