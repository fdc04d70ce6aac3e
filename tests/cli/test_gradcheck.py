import re
from dataclasses import replace

from toys import toy_model

from minichar.engine import lstm
from minichar.engine.cells import CELLS


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
