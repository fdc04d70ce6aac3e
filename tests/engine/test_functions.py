from types import SimpleNamespace

import numpy as np
import pytest

from minichar.engine import functions
from minichar.engine.functions import sigmoid


@np.errstate(over="ignore")
def test_the_sigmoid_is_its_textbook_formula(backend, host):
    a = np.array([-1000.0, *np.linspace(-6, 6, 25), 1000.0])
    found = host(sigmoid(backend.xp, backend.to_device(a)))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-a)), rtol=1e-13)


@pytest.mark.parametrize("faster", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tanh_is_used_only_if_it_is_faster_and_only_in_float32(dtype, faster, monkeypatch):
    called = []
    for name in ("tanh", "exp"):
        function = getattr(np, name)
        monkeypatch.setattr(
            np, name, lambda a, name=name, function=function: called.append(name) or function(a)
        )
    monkeypatch.setattr(functions, "TANH_IS_FASTER", faster)
    a = np.linspace(-6, 6, 25)
    result = sigmoid(np, a.astype(dtype))
    assert called == ["tanh" if faster and dtype == "float32" else "exp"]
    assert result.dtype == dtype
    np.testing.assert_allclose(result, 1 / (1 + np.exp(-a)), rtol=0, atol=1.2e-7)
    sigmoid(SimpleNamespace(exp=np.exp), np.zeros(3, dtype))  # only NumPy's own tanh is known to be faster
