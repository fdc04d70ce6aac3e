import pytest
from toys import TEXT, toy_model

import minichar


@pytest.fixture
def text(tmp_path, monkeypatch):
    """Change to a directory with a short ``input.txt``, and return the directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_text(TEXT)
    return tmp_path


@pytest.fixture
def model():
    """Model with random weights whose predictions are far from uniform."""
    loaded = toy_model(scale=40.0)
    return minichar.Model(loaded.config, loaded.vocabulary, loaded.parameters)
