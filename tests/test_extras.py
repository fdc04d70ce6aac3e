import importlib.metadata

import pytest

from minichar.extras import install_command, one_line


@pytest.mark.parametrize("quote", ['"', "'"])  # build tools differ
def test_the_command_installs_the_packages_of_the_extra(monkeypatch, quote):
    required = ["numpy>=1.26", *(f"{name}; extra == 'x'" for name in ("a[b]>=2,<3", "c")), "d; extra == 'xy'"]
    required = [line.replace("'", quote) for line in required]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: required)
    assert install_command("x") == 'pip install "a[b]>=2,<3" "c"'


def test_the_command_without_an_installed_package(monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    assert install_command("x") == 'pip install ".[x]"'


def test_a_message_that_starts_with_an_empty_line_is_replaced_by_its_cause():
    banner = ImportError("\n=====\nFailed to import.\n=====")
    assert one_line(banner) == "ImportError"
    banner.__cause__ = OSError("libcuda.so.1: not found\nmore")
    assert one_line(banner) == "OSError: libcuda.so.1: not found"
    plain = ImportError("not found")
    plain.__cause__ = OSError("other")
    assert one_line(plain) == "ImportError: not found"
