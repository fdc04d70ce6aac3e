"""Tests that the table of devices in the documentation is up to date."""

import re
import tomllib
from pathlib import Path

import pytest

from minichar.devices.choose import open_backend
from minichar.extras import install_command

ROOT = Path(__file__).parents[2]


@pytest.fixture
def rows():
    lines = (ROOT / "docs" / "devices.md").read_text("utf-8").splitlines()
    return [line.split("|")[1:-1] for line in lines if re.match(r"\| `(cpu|gpu|opencl|auto)`", line)]


def kind(row):
    return re.search(r"`(\w+)", row[0])[1]


@pytest.mark.usefixtures("nothing_installed")
def test_names_and_requirements_match_the_error_message_and_pyproject(rows, error_of):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    names = [re.findall("`([^`]+)`", row[0]) for row in rows]
    assert names == [["cpu"], ["gpu", "gpu:N"], ["opencl", "opencl:N"], ["auto"]]
    for row in rows:
        name, needs = kind(row), row[2]
        if name in ("cpu", "auto"):
            assert needs.strip() == "no extra packages"
            open_backend(name)
        else:
            (command,) = re.findall("`(pip install [^`]+)`", needs)
            assert f"'.[{name}]'" in command
            assert error_of(name).endswith(install_command(name))
            assert extras[name]
