"""Run every command and every Python block in README and the docs.

The commands and blocks run as written, with a few exceptions. Training runs are small and short, benchmarks
run one iteration in this process, the CPU replaces other devices, and local text replaces downloads.
``.ci/run`` runs the two commands that set up an environment.
"""

import csv
import os
import re
import shlex
import shutil
import string
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from math import log
from pathlib import Path

import bench_compare
import click
import pytest
from click.testing import CliRunner
from measured.terminal import COMMANDS as RECORDED
from optional import free_port
from pages.examples import GROUPS
from run import main as run_benchmarks

import minichar
from minichar.cli import COMMANDS, main
from minichar.cli.examples import EXAMPLES
from minichar.cli.usage import options_of
from minichar.text import datasets

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
GENERATED = ("course", "commands", "api", "static")
"""Directories of pages that the documentation build generates or installs."""
DOCUMENTS = [
    *(ROOT / name for name in READMES),
    *sorted(
        path
        for path in (ROOT / "docs").rglob("*.md")
        if path.relative_to(ROOT / "docs").parts[0] not in GENERATED
    ),
]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETUP = ("git clone", "python3 -m venv .venv", ". .venv/bin/activate", "pip install", "sphinx-build")
TRAIN = re.compile(r"([A-Z_]+=\S+ |cat \S+ \| |mpiexec -n \d+ )?(minichar|python mgu\.py) train")
SMALL = " --rnn-size 8 --max-epochs 2"
BENCH = "tests/bench/run.py"
QUICK = " --rounds 1 --seq-length 8 --rnn-size 8"
ELSEWHERE = ("python docs/char_rnn.py", "python tests/gpu/first_hour.py")
"""Commands that `test_one_file` and ``.ci/run`` run."""
STRESS = {
    "clients": 20,
    "documents": 2,
    "slow": 2,
    "jobs": 2,
    "kills": 1,
    "pause": 1,
    "trials": 2,
    "chains": 1,
    "seconds": 2,
    "sample": 2000,
    "length": 2000,
    "position": 1000,
    "within": 60,
    "frame": 10000,
    "megabytes": 1,
    "rounds": 1,
    "eval-val-every": 10,
}
"""Values of the options of stress tests, which make them short."""
STRESS_DEFAULTS = {
    "large_files.py": " --rows 20000 --gigabytes 0.5",
    "large_text.py": " --rounds 1",
}
"""Options that are added to commands that do not contain them."""
LINE = string.ascii_letters + string.digits + string.punctuation + " \n"
POEM = "山中一夜雨，樹杪百重泉。\n\n"


def blocks(language: str, documents: list[Path] = DOCUMENTS) -> list[str]:
    found = [match for path in documents for match in FENCE.finditer(path.read_text(encoding="utf-8"))]
    return [match[2] for match in found if match[1] == language]


def commands() -> list[str]:
    """Return the lines of all ``sh`` blocks, followed by the commands in tables and in ``--help``."""
    text = "".join(blocks("sh")).replace("\\\n", " ")
    for path in DOCUMENTS:
        rows = re.findall(r"^\|.*$", path.read_text(encoding="utf-8"), re.MULTILINE)
        text += "".join(f"{command}\n" for command in re.findall(r"`(minichar [^`]+)`", "".join(rows)))
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in text.splitlines()]
    examples = [line for name in COMMANDS for line in EXAMPLES[name] if line not in lines]
    return [line for line in [*lines, *examples] if line]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Change to a directory with short versions of all datasets and the cell from the how-to guide."""
    for name, line in (("pydocs", LINE), ("tinyshakespeare", LINE), ("quantangshi", POEM), ("tang300", POEM)):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        (folder / "input.txt").write_text(line * 40, encoding="utf-8")
    penn_treebank = [f"ptb.{part}.txt" for part in ("train", "valid", "test")]
    for name in ("my.txt", "valid.txt", "test.txt", "text8", *penn_treebank):
        (tmp_path / name).write_text(LINE * 40, encoding="utf-8")
    (tmp_path / "novels").mkdir()
    (tmp_path / "novels" / "first.txt").write_text(LINE * 40, encoding="utf-8")
    (tmp_path / "novel.txt").write_text(POEM * 40, encoding="gb18030")
    mgu, _ = blocks("py", [ROOT / "docs" / "howto" / "own-cell.md"])
    (tmp_path / "mgu.py").write_text(mgu, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.setattr(datasets, "_holds", lambda path, sha256: True)
    monkeypatch.setattr(bench_compare, "new_process", lambda: ThreadPoolExecutor(1))
    for name, value in {"WARM_UP": 0, "PAUSE": 0, "UNITS": 1, "TURN": 0, "N": 64}.items():
        monkeypatch.setattr(bench_compare, name, value)
    return tmp_path


READY = {
    "minichar serve": "serving at",
    "minichar worker": "waiting for requests",
    "redis-server": "Ready to accept",
}
"""Commands that keep running, and the output that each prints once it is ready."""


class Servers:
    """Commands that run on free ports until the end of the test."""

    def __init__(self) -> None:
        self.children: list[subprocess.Popen] = []
        self.ports: dict[str, int] = {}

    def translate(self, command: str) -> str:
        """Replace the ports in the docs with the ports in use."""
        return re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda m: str(self.ports.get(m[0], m[0])), command)

    def start(self, command: str) -> None:
        """Start a command and wait until it is ready."""
        if not command.startswith("minichar worker"):
            named = re.search(r" --port (\d+)", command)
            port = self.ports[named[1] if named else "8080"] = free_port()
            command = f"{re.sub(r' --port [0-9]+', '', command)} --port {port}"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
        self.children.append(subprocess.Popen(f"exec {command}", shell=True, **pipes))
        ready = next(words for start, words in READY.items() if command.startswith(start))
        printed = []
        for line in self.children[-1].stdout:
            printed.append(line)
            if ready in line:
                return
        pytest.fail(f"{command}: ended before it was ready\n{''.join(printed)}")

    def stop(self) -> None:
        for child in reversed(self.children):
            child.terminate()
            child.communicate(timeout=600)


@pytest.fixture
def servers():
    servers = Servers()
    yield servers
    servers.stop()


def shortened(command: str) -> str:
    """Return a version of a command that takes little time."""
    command = re.sub(r" --device (cpu|gpu|opencl)$", "", command)  # other devices are tested separately
    command = command.replace('cv-mine --primetext "山中"', 'cv-mine --primetext "The "')  # my.txt is English
    if match := re.search(r"tests/stress/(\S+)", command):
        command = re.sub(rf"--({'|'.join(STRESS)}) \d+", lambda m: f"--{m[1]} {STRESS[m[1]]}", command)
        options = STRESS_DEFAULTS.get(match[1], "")
        command += "" if options in command else options
    if command.startswith("python tests/stress/load.py"):
        command = "python tests/stress/load.py cv --pace 0 --seconds 1 --clients 1 2"
    if TRAIN.match(command) and "--resume" in command:  # the run is finished and must be extended
        command = re.sub(r" --max-epochs \d+", "", command) + " --max-epochs 3"
    elif TRAIN.match(command):
        command += SMALL
    if command.startswith("minichar sweep"):
        command = re.sub(r" --trials \d+", "", command) + " --trials 2"
        command += " --max-epochs 1" if "--search" in command else ""
        command += " --rnn-size 8" if "--search" in command and "rnn_size" not in command else ""
    if " --html " in command:
        command += " --length 200"
    if BENCH in command:  # environment variables would have no effect in this process
        command = re.sub(rf"^.*{BENCH}", f"python {BENCH}", command) + QUICK
    return re.sub(r"--block \d+", "--block 8", command)


def run(command: str) -> None:
    """Run one command line. Simple ``minichar`` commands run in this process, which is faster."""
    command = command.replace("tests/stress", shlex.quote(str(ROOT / "tests" / "stress")))
    alone, _, target = command.partition(" > ")
    program, *words = shlex.split(alone)
    if program == "minichar" and "|" not in words and words[0] != "lessons":  # `minichar lessons` runs pytest
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, f"{alone}\n{result.output}{result.exception!r}"
        if target:
            Path(target).write_text(result.stdout, encoding="utf-8")
    elif words[0] == BENCH:
        assert run_benchmarks(words[1:]) == 0
    else:
        options = {"shell": True, "capture_output": True, "encoding": "utf-8", "timeout": 600}
        if command.startswith("eval "):  # a line for ~/.bashrc, which enables completion
            command += " && complete -p minichar"
            options["executable"] = shutil.which("bash")
        done = subprocess.run(command, **options)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_readme_starts_with_the_setup_commands():
    """Check the two README lines that ``.ci/run`` executes: one tries minichar, and one runs its tests."""
    first, *_, last = blocks("sh", [ROOT / "README.md"])
    clone, trial = first.splitlines()
    assert clone.startswith("git clone")
    commands = [line for line in (first + last).splitlines() if line.startswith("python3 -m venv")]
    assert commands == [trial, last.strip()]
    assert last.strip().endswith("pytest -q -n auto")


IN_CI = pytest.mark.skipif(
    "CI" not in os.environ, reason="takes two minutes and requires Redis and all extras: set CI=true"
)


COMMANDS_TO_RUN = list(dict.fromkeys(map(shortened, commands())))


@IN_CI
@pytest.mark.parametrize("command", [command for command in COMMANDS_TO_RUN if "tests/stress" in command])
def test_stress_commands_run(command, home):
    if " cv" in command:
        run("minichar train" + SMALL)
    run(command)


@IN_CI
def test_other_commands_and_python_blocks_run(home, servers):
    """Python blocks run last because they read files written by the commands."""
    # The first setup command trains a model, and some pages suppose that a server is running.
    for command in ["minichar train" + SMALL, "minichar serve", *COMMANDS_TO_RUN]:
        if command.startswith(SETUP) or "tests/stress" in command:
            continue
        if command.startswith(ELSEWHERE):
            assert (ROOT / command.split()[1]).exists()
            continue
        for name in re.findall(r"cv/\S*\.npz", command):
            if not Path(name).exists():
                # The checkpoint names in the docs contain the epoch and loss of a longer run.
                newest = max(Path("cv").glob("lm_*.npz"), key=lambda path: path.stat().st_mtime)
                shutil.copy(newest, name)
        command = servers.translate(command)
        if command.startswith(tuple(READY)):
            servers.start(command)
        else:
            run(command)
    examples = [group.example for group in GROUPS]
    assert blocks("python")
    for block in [*blocks("python"), *examples]:
        names = {}
        exec(compile(block, "a Python block of the docs", "exec"), names)
        if "optimiser" in names:
            assert float(names["loss"]) < log(len(names["corpus"].vocabulary))  # the uniform baseline


def test_each_public_name_is_in_one_example():
    named = [name for group in GROUPS for name in group.names]
    assert sorted(named) == sorted(minichar.__all__)
    for group in GROUPS:
        assert all(re.search(rf"minichar\.{name}\b", group.example) for name in group.names), group.title


def test_help_ends_with_examples():
    for name in COMMANDS:
        helped = CliRunner().invoke(main, [name, "--help"]).output.splitlines()
        assert helped[-len(EXAMPLES[name]) :] == [f"    {line}" for line in EXAMPLES[name]]
        assert max(map(len, EXAMPLES[name])) <= 76, name


def test_quoted_errors_are_printed(tmp_path, monkeypatch):
    """Check the messages in the guide for users of other programs. There is no text to train on."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cv").mkdir()
    (tmp_path / "cv" / "lm_lstm_epoch1.00_1.0000.npz").touch()
    (shown,) = blocks("text", [ROOT / "docs" / "howto" / "coming-from.md"])
    for command, messages in re.findall(r"^\$ minichar (.*)\n((?:[^$].*\n)+)", shown, re.MULTILINE):
        result = CliRunner().invoke(main, shlex.split(command), prog_name="minichar")
        assert result.exit_code != 0
        assert messages in result.stderr


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_rounded_numbers_are_those_of_the_measurements():
    bench, results = (
        list(csv.DictReader(read(f"docs/measured/{name}.csv").splitlines())) for name in ("bench", "results")
    )
    speeds = {row["benchmark"]: f"{round(int(row['characters_per_second']), -3):,}" for row in bench}
    training, generation = speeds["train LSTM 128"], speeds["sample LSTM 128, one stream"]
    (row,) = (row for row in results if row["options"] == "plan")
    readme, chinese = (" ".join(read(name).split()) for name in READMES)
    assert f"at {training} characters/s and generates {generation} characters/s in one stream" in readme
    assert f"训练速度为每秒 {training} 个字符；单路生成的速度为每秒 {generation} 个字符" in chinese
    assert f"| LSTM {row['model']}, chosen by minichar | 3 min (planned) | {row['loss']} |" in readme
    assert f"| {row['loss']} (LSTM {row['model']}, the default) |" in read("docs/quality.md")
    assert f"**{training}**\n\ncharacters/s" in read("docs/index.md")
    assert f"**{row['loss']}**" in read("docs/index.md")


def test_the_regret_of_each_plan_is_that_of_its_trials():
    """A plan's loss, minus that of the best change of its options, each the mean over two seeds."""
    page = read("docs/measured/trials/README.md")
    rows = csv.DictReader(
        line for line in read("docs/measured/trials/regret.csv").splitlines() if line[0] != "#"
    )
    ends: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        ends.setdefault((row["text"], row["N"]), {})[row["changed"]] = float(row["end"])
    regrets = []
    for (text, N), losses in ends.items():
        best = min((change for change in losses if "seed" not in change), key=losses.__getitem__)
        plan, lowest = (
            (losses[change] + losses[f"{change} seed=2".removeprefix("plan ")]) / 2
            for change in ("plan", best)
        )
        regrets.append(plan - lowest)
        options = [f"--{change.replace('_', '-').replace('=', ' ')}" for change in best.split()]
        name = "none" if best == "plan" else f"`{' '.join(options)}`"
        assert f"| {text} | {int(N):,} | {name} | {regrets[-1]:.3f} |" in page
    assert f"Its mean is {sum(regrets) / len(regrets):.3f}:" in page


TRANSLATED = {
    "README.md": "README.zh-CN.md",
    "docs/start.md": "docs/zh/start.md",
    "docs/howto/chinese.md": "docs/zh/chinese.md",
}
"""The pages that are also in Chinese."""
FIGURE = re.compile(r"\d[\d,.]*\d")
ONLY_IN_CHINESE = {
    "README.md": {"10", "250", "2,000", "18030", "73.6"},
    "docs/start.md": {"1.1", "4.6", "30"},
    "docs/howto/chinese.md": {"0.4", "0.5", "8.5", "40", "145", "256"},
}
"""Figures of the Chinese pages that are rounded, are part of a name, or are explained only there."""


@pytest.mark.parametrize("pages", TRANSLATED.items())
def test_chinese_pages_have_the_commands_samples_and_numbers_of_the_english_ones(pages):
    for page, other in (pages, pages[::-1]):  # a link to the other page is at the top of each
        first = re.search(r"^\[(?:English|中文)\]\((.*)\)$", read(page), re.MULTILINE)
        assert (ROOT / page).parent.joinpath(first[1]).resolve() == ROOT / other
    for language in ("sh", "console", "powershell", "text"):
        english, chinese = (
            [re.sub('"(The |山中)"', "PROMPT", block) for block in blocks(language, [ROOT / page])]
            for page in pages
        )
        if language == "text":  # the Chinese pages have no output of commands
            english = [block for block in english if block in chinese]
        assert chinese == english
    if pages[0] == "README.md":
        numbers = ([re.findall(r"\d+\.\d{3}", line) for line in read(page).splitlines()] for page in pages)
        english, chinese = ([row for row in rows if row] for rows in numbers)
        assert chinese == english
    english, chinese = ({*FIGURE.findall(read(page))} for page in pages)
    assert chinese - english == ONLY_IN_CHINESE[pages[0]]


@pytest.mark.parametrize("page", READMES)
def test_readme_has_at_most_100_lines(page):
    assert len(read(page).splitlines()) <= 100


def test_the_recording_shows_the_commands_of_its_script_and_the_result_in_the_quick_start():
    recording = unescape(read("docs/measured/terminal.svg"))
    (result,) = re.findall("^result .*", read("docs/start.md"), re.MULTILINE)
    for line in (*(f"$ {command}" for command in RECORDED), result):
        assert line in recording


def test_linked_and_named_files_exist():
    """Check Markdown links, and paths in backticks such as ``minichar/engine/lstm.py``.

    Only the landing page links to chapters of the course. On GitHub, where other pages are also read, there
    are only the lessons.
    """
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        names = {*GENERATED} if path.name == "index.md" else {*GENERATED} - {"course"}
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            generated = any(f"/{name}/" in f"/{link}" for name in names)
            assert generated or (path.parent / link).exists(), f"{path.name}: no such link target: {link}"
        for name in re.findall(r"`((?:minichar|tests|docs)/[\w/]+(?:\.\w+|/))`", text):
            assert (ROOT / name).exists(), f"{path.name}: no such file: {name}"


def test_only_platforms_that_have_run_minichar_are_claimed():
    """Extend this test once the workflows have run the tests on macOS or Windows."""
    claim = re.compile(r"\b(tested|works?|runs?|supports?|supported)\b")
    for path in DOCUMENTS:
        for sentence in re.findall(r"[^.:]*\b(?:macOS|Windows)\b[^.:]*", path.read_text(encoding="utf-8")):
            assert " not " in sentence or not claim.search(sentence), f"{path.name}: {sentence}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    systems = [each for each in project["classifiers"] if each.startswith("Operating System")]
    assert systems == ["Operating System :: POSIX :: Linux"]


def test_pages_that_are_also_read_on_github_have_no_directives():
    """A directive in an HTML comment is hidden on GitHub. Only the site shows what it inserts."""
    hidden = 0
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        hidden += len(re.findall(r"^<!--\{[\w-]+\}", text, re.MULTILINE))
        visible = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
        if path.relative_to(ROOT).as_posix() not in ("docs/index.md", "docs/chunk-kernel.md"):
            assert not re.search(r"^[`:]{3,}\{", visible, re.MULTILINE), path.name
        assert "-->" not in visible, path.name
    assert hidden > 10


def test_excerpts_of_files_are_found():
    """Without these lines, Sphinx would include nothing."""
    found = 0
    for path in DOCUMENTS:
        block = r"^```\{literalinclude\} (\S+)\n(.*?)^```"
        for name, options in re.findall(block, path.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            lines = (path.parent / name).read_text("utf-8").splitlines()
            for given in re.findall(r"^:(?:start|end)-\w+: (.*)", options, re.MULTILINE):
                text = given.strip("'") if given.startswith("'") else given.strip('"')
                assert any(text in line for line in lines), f"{path.name}: {text} is not in {name}"
                found += 1
    assert found > 5


def test_options_in_the_docs_exist():
    context = click.Context(main, **main.context_settings)
    commands = [main, *(main.get_command(context, name) for name in COMMANDS)]
    commands += [below for command in commands[1:] for below in getattr(command, "commands", {}).values()]
    contexts = [click.Context(command, parent=context) for command in commands]
    options = " ".join(name for context in contexts for name in options_of(context))
    for path in DOCUMENTS:
        text = re.sub(
            r"^.*(?:pip|uvx|pytest|redis-server|tests/stress|tests/gpu|tests/bench|twine|podman|systemctl|#SBATCH).*$"
            r"|srun --mpi|--kill-on-bad-exit",
            "",
            path.read_text(encoding="utf-8"),
            flags=re.MULTILINE,
        )
        assert not re.search(r"@[A-Z]+@", text), f"{path.name} contains an unfilled placeholder"
        for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)):
            assert option in options, f"{path.name}: no such option: {option}"
