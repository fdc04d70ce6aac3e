import bench_minichar
import bench_work
import pytest


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Generate less text, and skip importing PyTorch, which takes longer than everything else."""
    monkeypatch.setattr(bench_minichar, "PIECE", 5)
    monkeypatch.setattr(bench_work, "find_spec", lambda name: None)
