import importlib.metadata

from minichar.extras import install_command


def test_the_command_installs_the_packages_of_the_extra(monkeypatch):
    required = ["numpy>=1.26", 'a[b]>=2,<3; extra == "x"', 'c; extra == "x"', 'd; extra == "xy"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: required)
    assert install_command("x") == 'pip install "a[b]>=2,<3" "c"'


def test_the_command_without_an_installed_package(monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    assert install_command("x") == 'pip install ".[x]"'
