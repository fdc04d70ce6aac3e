import importlib.metadata
import subprocess
import sys

import pytest

from minichar.extras import install_command, one_line


def test_the_command_without_an_installed_package(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert install_command("x") == 'pip install ".[x]"'


def test_pip_uses_the_installed_package(tmp_path):
    """It needs no index for it."""
    pytest.importorskip("pip")
    assert install_command("test") == 'pip install "minichar[test]"'
    words = ["-m", "pip", "install", "--dry-run", "--no-index", "minichar[test]"]
    assert subprocess.run([sys.executable, *words], cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0


def test_a_message_that_starts_with_an_empty_line_is_replaced_by_its_cause():
    banner = ImportError("\n=====\nFailed to import.\n=====")
    assert one_line(banner) == "ImportError"
    banner.__cause__ = OSError("libcuda.so.1: not found\nmore")
    assert one_line(banner) == "OSError: libcuda.so.1: not found"
    plain = ImportError("not found")
    plain.__cause__ = OSError("other")
    assert one_line(plain) == "ImportError: not found"
