import inspect
import subprocess
import sys
from importlib.metadata import version

import pytest
from toys import ONE_THREAD

import minichar
import minichar.api


def test_dir_lists_the_public_names_and_the_version_and_each_exists():
    assert set(dir(minichar)) == {*minichar.__all__, "__version__"}
    assert minichar.__all__ == minichar.api.__all__
    assert all(getattr(minichar, name) is not None for name in dir(minichar))
    assert minichar.__version__ == version("minichar")
    with pytest.raises(AttributeError, match="lod"):
        minichar.lod


def test_names_and_version_do_not_import_numpy():
    code = "import sys, minichar; dir(minichar), minichar.__version__; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=ONE_THREAD).returncode == 0


def test_every_public_class_function_and_method_has_a_docstring():
    for name in minichar.__all__:
        public = getattr(minichar, name)
        assert inspect.getdoc(public), name
        if inspect.isclass(public):
            for member, value in vars(public).items():
                assert member.startswith("_") or not callable(value) or inspect.getdoc(value), (name, member)
