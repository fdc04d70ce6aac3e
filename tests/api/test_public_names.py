import re
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


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda _: minichar.train(wibble=3), "train() has no option 'wibble'"),
        (lambda _: minichar.train(devise=3), "train() has no option 'devise'; {device}"),
        (lambda _: minichar.train(text=3), "train() has no option 'text'; {data}"),
        (lambda _: minichar.train(hidden_size=3), "train() has no option 'hidden_size'; {rnn_size}"),
        (lambda model: model.generate("a", lenght=5), "generate() has no option 'lenght'; {length}"),
        (lambda model: model.generate(prompt="a"), "generate() has no option 'prompt'; {prime}"),
        (lambda model: model.generate(primetext="a"), "generate() has no option 'primetext'; {prime}"),
        (lambda model: model.generate(max_tokens=9), "generate() has no option 'max_tokens'; {length}"),
        (lambda _: minichar.train(hidden=3), "train() has no option 'hidden'; {rnn_size}"),
        (lambda model: model.stream(text="a"), "stream() has no option 'text'; {prime}"),
        (lambda model: model.predict(prompt="a"), "predict() has no option 'prompt'; {text}"),
        (lambda model: model.evaluate(data="a"), "evaluate() has no option 'data'; {text}"),
        (lambda model: model.surprisal("ab", unknwon=1), "surprisal() has no option 'unknwon'; {unknown}"),
        (lambda _: minichar.load("cv", prompt="a"), "load() has no option 'prompt'"),
        (lambda _: minichar.save("a.npz", dtpye="float64"), "save() has no option 'dtpye'; {dtype}"),
        (lambda model: model.save("a.npz", selff=1), "save() has no option 'selff'"),
        (lambda model: model.create(None, clss=1), "create() has no option 'clss'"),
        (
            lambda model: minichar.generate_many(model, 2, minp=0.5),
            "generate_many() has no option 'minp'; {min_p}",
        ),
    ],
)
def test_a_misspelt_keyword_suggests_the_right_one(model, call, words):
    with pytest.raises(TypeError) as caught:
        call(model)
    assert str(caught.value) == re.sub(r"{(\w+)}", r"did you mean '\1'?", words)
