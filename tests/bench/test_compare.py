import json
import os
import signal
import sys
from dataclasses import replace

import bench_worker
import pytest
from click.testing import CliRunner

from minichar.bench import compare as comparing
from minichar.bench import ours
from minichar.bench import worker as worker_process
from minichar.bench.compare import Result, compare, opponents, table
from minichar.bench.work import KINDS, Work
from minichar.bench.worker import Worker, threads_limited
from minichar.cli import main
from minichar.devices.choose import open_backend
from minichar.devices.threads import VARIABLES
from minichar.errors import MinicharError
from minichar.model import CharRNN

SMALL = Work(rnn_size=8, num_layers=1, vocab_size=11, seq_length=4, batch_size=3, threads=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(comparing, "UNITS", 2)
    monkeypatch.setattr(comparing, "TURN", 0)
    ask = Worker.ask  # the peak takes a second or two
    monkeypatch.setattr(
        Worker, "ask", lambda self, question: 100.0 if question == "peak" else ask(self, question)
    )


def result(ours, theirs, work=SMALL, against=SMALL):
    memory = {"work": 10**7, "against": 2 * 10**7}
    return Result(work, against, {"work": ours, "against": theirs}, 100.0, memory, {})


def test_ratios_and_speeds():
    """Background load slows both runs in the second round and one run in the third."""
    assert result([[1, 1], [9, 9], [1, 1]], [[2, 2], [18, 18], [50, 50]]).ratio == 2
    many = replace(SMALL, kind="sample-many")
    assert result([[2.0]], [[1.0]], many, replace(SMALL, kind="sample")).ratio == 32
    assert result([[1], [1], [1]], [[2], [3], [4.1]]).disturbed
    assert not result([[1], [1], [1]], [[2], [3], [3.9]]).disturbed
    one = result([[2.0, 4.0], [3.0, 3.0]], [[6.0], [6.0]])
    assert one.speed() == SMALL.characters / 3
    assert one.speed("against") == SMALL.characters / 6
    assert one.gigaflops == pytest.approx(SMALL.flop / 3 / 1e9)


GPU = replace(SMALL, device="gpu:0")


@pytest.mark.parametrize(
    ("work", "changes"),
    [
        (replace(SMALL, kind="dropout"), [{"kind": "train"}]),
        (replace(SMALL, kind="scheduled-sampling"), [{"kind": "train"}]),
        (replace(SMALL, kind="sample-many"), [{"kind": "sample"}]),
        (SMALL, [{"engine": "pytorch"}]),
        (replace(SMALL, device="opencl:0"), [{"engine": "pytorch"}]),
        (GPU, [{"engine": "pytorch"}, {"engine": "pytorch-graph"}]),
        (replace(GPU, kind="evaluate"), [{"engine": "pytorch"}, {"engine": "pytorch-graph"}]),
        (replace(GPU, kind="sample"), [{"engine": "pytorch"}]),
    ],
)
def test_baselines_of_each_benchmark(work, changes, monkeypatch):
    monkeypatch.setattr(comparing, "find_spec", lambda name: object())
    assert opponents(work) == [replace(work, **change) for change in changes]
    assert opponents(replace(SMALL, model="gru-reset-before")) == [None]


def test_benchmark_and_baseline_run_in_every_round():
    rounds = []
    measured = compare(replace(SMALL, kind="dropout"), SMALL, 2, lambda: rounds.append(1))
    assert measured.against == SMALL
    assert len(rounds) == 2
    assert [len(turns) for turns in measured.seconds.values()] == [2, 2]
    assert all(second > 0 for turns in measured.seconds.values() for turn in turns for second in turn)
    assert all(size > 10**7 for size in measured.memory.values())
    assert {*measured.hardware} == {"work", "against"}
    assert all("1 thread" in what for what in measured.hardware.values())
    assert json.loads(json.dumps(measured.describe()))["ratio"] == measured.ratio


def test_the_first_iteration_of_a_run_is_not_measured(monkeypatch):
    class FakeWorker(bench_worker.Worker):
        def ask(self, question):
            return [9.0] + [1.0] * (question - 1) if isinstance(question, int) else super().ask(question)

    monkeypatch.setattr(comparing, "Worker", FakeWorker)
    measured = compare(replace(SMALL, kind="dropout"), SMALL, rounds=2)
    assert measured.seconds == {"work": [[1.0], [1.0]], "against": [[1.0], [1.0]]}


@pytest.mark.parametrize("kind", KINDS)
def test_every_benchmark_runs(kind):
    unit = ours.prepare(replace(SMALL, kind=kind))
    assert unit() is unit() is None


def test_training_reduces_the_loss():
    model = CharRNN.new(SMALL.config(), ours.vocabulary(11), seed=1, backend=open_backend("cpu"))
    network, ids = model.network(SMALL.seq_length, SMALL.batch_size), SMALL.ids()

    def loss():
        network.reset()
        return float(network.measure(ids[:-1], ids[1:]))

    unit, first = ours.training(SMALL, model, model.parameters.backend), loss()
    for _ in range(60):
        unit()
    assert loss() < first - 0.1


def test_environment_applies_to_child_processes_only(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with threads_limited(3):
        assert {os.environ[name] for name in VARIABLES} == {"3"}
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert "OMP_NUM_THREADS" not in os.environ
    with threads_limited(0):
        assert os.environ["OPENBLAS_NUM_THREADS"] == "7"


def test_child_processes_ignore_the_interrupt_and_do_not_round_to_tf32(monkeypatch):
    """Otherwise, Ctrl-C before the first request would print a traceback."""
    monkeypatch.setenv("CUPY_TF32", "1")
    found = []

    def start(process):
        found.extend((signal.getsignal(signal.SIGINT), os.environ["CUPY_TF32"]))

    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", start)
    Worker(SMALL)
    assert found == [signal.SIG_IGN, "0"]
    assert os.environ["CUPY_TF32"] == "1"


@pytest.mark.parametrize("kind", ["train", "evaluate", "sample"])
def test_an_iteration_on_a_gpu_ends_when_the_current_stream_is_idle(kind, monkeypatch):
    from cupy_double import DoubleOfCuPy

    monkeypatch.setitem(sys.modules, "cupy", cupy := DoubleOfCuPy())
    unit, waited = ours.prepare(replace(GPU, kind=kind)), []
    monkeypatch.setattr(cupy.cuda.stream, "synchronize", lambda: waited.append(kind), raising=False)
    unit()
    assert waited == [kind]
    assert worker_process.answer("describe", None, GPU).endswith("on gpu:0: Double, 8 GB")


def test_failing_benchmark_error_is_one_line():
    with pytest.raises(MinicharError, match=r"^cannot run this benchmark: unknown device 'abacus'"):
        Worker(replace(SMALL, device="abacus")).__enter__()


def test_process_exits_with_its_context():
    """The process exits after its current request, or immediately if the caller was interrupted."""
    with Worker(SMALL) as worker:
        assert len(worker.ask(3)) == 3
    assert worker.process.exitcode == 0

    worker = Worker(SMALL).__enter__()
    worker.connection.send(10**9)  # iterations
    worker.__exit__(KeyboardInterrupt, None, None)
    assert worker.process.exitcode == -signal.SIGTERM
    with pytest.raises(MinicharError, match="died"):
        worker.ask(1)


def test_peak_is_the_speed_of_a_large_product_on_the_device(monkeypatch):
    monkeypatch.setattr(worker_process, "gigaflops", lambda backend, n: (backend.name, n))
    assert worker_process.answer("peak", None, SMALL) == ("cpu", worker_process.N)


def test_table_is_markdown():
    lines = [*table([result([[1.0]], [[2.0]])])]
    assert {line.count("|") for line in lines} == {10}
    assert len({len(line) for line in lines}) == 1
    assert "| 2.00  | 2.00 – 2.00 " in lines[2]
    assert "10 / 20 MB" in lines[2]


SIZES = "--rnn-size 8 --num-layers 1 --vocab-size 11 --seq-length 4 --batch-size 3"
BENCH = ["bench", "--device", "cpu", *SIZES.split(), "--rounds", "1"]


@pytest.fixture
def in_process(monkeypatch):
    monkeypatch.setattr(comparing, "Worker", bench_worker.Worker)


@pytest.mark.usefixtures("in_process")
def test_command_without_pytorch(monkeypatch):
    monkeypatch.setattr(comparing, "find_spec", lambda name: None)
    done = CliRunner().invoke(main, [*BENCH, "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert "PyTorch is not installed: run `pip install torch`" in done.stderr
    assert "\nNumPy " in done.stderr
    (row,) = done.stdout.splitlines()[2:]
    assert row.startswith("| train lstm 1×8 | ")
    done = CliRunner().invoke(main, [*BENCH, "--threads", "100000"])
    assert "--threads is 100000; it must be from 0 to" in done.stderr


def test_command_leaves_out_a_graph_that_cannot_be_captured(monkeypatch):
    def measured(work, against, rounds, after_round):
        if against.engine == broken:
            raise MinicharError("cannot run this benchmark: RuntimeError: capture failed")
        return result([[1.0]], [[2.0]], work, against)

    monkeypatch.setattr("minichar.cli.bench.compare", measured)
    rivals = [replace(SMALL, engine=engine) for engine in ("pytorch", "pytorch-graph")]
    monkeypatch.setattr("minichar.cli.bench.opponents", lambda work: rivals)
    for broken, shown in (
        ("", ["PyTorch", "PyTorch, CUDA graph"]),
        ("pytorch-graph", ["PyTorch"]),
        ("pytorch", []),
    ):
        done = CliRunner().invoke(main, BENCH)
        assert [line.split(" | ")[2].strip() for line in done.stdout.splitlines()[2:]] == shown
        assert done.exit_code == (broken == "pytorch")
        skipped = "skipped PyTorch in a CUDA graph: cannot run this benchmark: RuntimeError: capture failed\n"
        assert done.stderr.endswith(skipped) == (broken == "pytorch-graph")


@pytest.mark.usefixtures("in_process")
def test_command_with_pytorch_as_json():
    pytest.importorskip("torch")
    done = CliRunner().invoke(main, [*BENCH, "--threads", "1", "--what", "evaluate", "--json"])
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("NumPy ")
    (evaluate,) = json.loads(done.stdout)
    assert evaluate["work"]["kind"] == "evaluate"
    assert evaluate["against"]["engine"] == "pytorch"
    assert evaluate["ratio"] > 0
    assert evaluate["hardware"]["against"].startswith("PyTorch ")
    assert len(evaluate["seconds"]["against"][0]) >= 2
