import re
from dataclasses import replace

import numpy as np
from toys import toy_model

from minichar import load
from minichar.engine import lstm
from minichar.engine.cells import CELLS

# convert


def test_convert_prints_the_path_and_sizes(cli, checkpoint, home):
    cli("convert", checkpoint, "half.npz", "--dtype", "float16")
    weights = load("half.npz").parameters
    np.testing.assert_array_equal(weights.flat, load(checkpoint).parameters.flat.astype("float16"))
    result = cli("convert", checkpoint)
    target = checkpoint.removesuffix(".npz") + ".inference.npz"
    assert result.stdout == f"{target}\n"
    before, after = (int(n.replace(",", "")) for n in re.findall(r"[\d,]+", result.stderr)[:2])
    assert before == (home / checkpoint).stat().st_size
    assert after == (home / target).stat().st_size
    options = ("--seed", 5, "--length", 50)
    assert cli("sample", target, *options).stdout == cli("sample", checkpoint, *options).stdout
    assert f"{checkpoint}: " in cli("sample", "--length", 1).stderr, "sample ignores converted models in cv/"


def test_convert_overwrites_a_file_only_with_force(cli, refused, checkpoint, home):
    (home / "there.npz").write_text("mine")
    advice = "choose another name, or use --force to overwrite it"
    assert refused("convert", checkpoint, "there.npz") == f"Error: there.npz already exists: {advice}"
    cli("convert", checkpoint, "there.npz", "--force")
    assert load("there.npz").config == load(checkpoint).config


# gradcheck


def test_gradcheck_passes_for_every_parameter(cli):
    result = cli("gradcheck", "--model", "gru", "--rnn-size", 3, "--vocab-size", 4, "--seq-length", 5)
    _, *rows = result.stdout.splitlines()
    shapes = toy_model("abcd", model="gru", rnn_size=3, num_layers=2).parameters.shapes
    for (name, shape), row in zip(shapes.items(), rows, strict=True):
        match = re.fullmatch(rf"{name} +{' × '.join(map(str, shape))} +(\S+) +(\S+)  passed", row)
        assert match, row
        assert float(match[1]) <= 1e-12
        assert 1e-16 < float(match[2]) <= 1e-6
    assert "limits: complex step 1e-12, central difference 1e-06" in result.stderr


def test_gradcheck_options(cli):
    options = [], ["--num-layers", 2], ["--seed", 2], ["--dropout", 0], ["--weight-drop", 0], ["--layer-norm"]
    options += ["--embedding", 2], ["--tied"], ["--teacher-forcing-ratio", 0]
    tiny = ["gradcheck", "--num-layers", 1, "--rnn-size", 3, "--vocab-size", 3, "--seq-length", 3]
    results = [cli(*tiny, *each).stdout for each in options]
    assert len(set(results)) == 9
    for shown in results:
        assert all(row.endswith("passed") for row in shown.splitlines()[1:])


def test_gradcheck_finds_a_broken_backward_pass(cli, monkeypatch):
    def broken(xp, dh, dc, cache):
        da, dc_prev = lstm.backward(xp, dh, dc, cache)
        return da, dc_prev * (1 + 1e-6)

    (stage,) = lstm.LSTM.stages
    wrong = replace(lstm.LSTM, stages=(replace(stage, backward=broken),))
    monkeypatch.setitem(CELLS, "lstm", wrong)
    result = cli("gradcheck", "--rnn-size", 3, status=1)
    verdicts = {row.split()[0]: row.split()[-1] for row in result.stdout.splitlines()[1:]}
    assert verdicts["layer1.W"] == "FAILED"
    assert verdicts["readout.W"] == "passed"
