import pytest

from minichar.bench import compare, ours


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Generate less text, and skip importing PyTorch, which takes longer than everything else."""
    monkeypatch.setattr(ours, "PIECE", 5)
    monkeypatch.setattr(compare, "find_spec", lambda name: None)
