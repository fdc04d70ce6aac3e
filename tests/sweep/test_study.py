import json
import sqlite3
from contextlib import closing

import pytest
from toys import TEXT

from minichar.devices.cpu import CPU
from minichar.errors import LONGEST_PATH, MinicharError
from minichar.files import locking
from minichar.sweep.study import MAX_PLAN, open_storage, open_study, read_plan
from minichar.sweep.trials import Ended, Sweep
from minichar.training.events import Saved


def edited(path, **changes):
    """Change the plan in a file."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_errors_are_found_before_anything_is_written(sweep, tmp_path):
    for search, given, message in (
        ("rnn_size=0,8", {}, "rnn_size is 0"),
        ("rnn_size=4,8", {"val_frac": 1e-7}, "val_frac=1e-07 is too small"),
        ("rnn_size=4,8", {"data": "absent.txt"}, "absent.txt"),
    ):
        with pytest.raises(MinicharError, match=message):
            sweep(search, **given)
    assert not (tmp_path / "sweep").exists()


def test_a_fixed_option_may_need_the_value_of_a_searched_one(sweep):
    assert sweep("use_ss=true,true", min_ss=0.5).plan.given["min_ss"] == 0.5


def test_the_database_is_opened_while_the_directory_is_locked(sweep, tmp_path, monkeypatch):
    """Otherwise, processes that start together create the tables at the same time, and SQLite fails."""
    locked = []

    def opened(*arguments):
        with locking(tmp_path / "sweep" / "sweep.lock", wait=False) as free:
            locked.append(not free)
        return open_storage(*arguments)

    monkeypatch.setattr("minichar.sweep.study.open_storage", opened)
    sweep()  # a new one
    sweep()
    assert locked == [True] * 2


def test_a_directory_belongs_to_one_sweep(sweep, tmp_path):
    (tmp_path / "cv").mkdir()
    (tmp_path / "cv" / "lm_lstm_epoch1.00_2.0000.npz").touch()
    with pytest.raises(MinicharError, match="contains the checkpoints of a training run"):
        sweep(folder="cv")
    sweep()
    for search, given in (("rnn_size=4,8", {}), ("rnn_size=4,16", {"seed": 1})):
        with pytest.raises(MinicharError, match="contains a sweep with different options"):
            sweep(search, **given)
    (tmp_path / "sweep" / "sweep.json").write_text("{")
    with pytest.raises(MinicharError, match=r"cannot read the sweep's plan"):
        sweep()
    (tmp_path / "sweep" / "sweep.json").unlink()
    (tmp_path / "sweep" / "trial-0000").mkdir()
    with pytest.raises(MinicharError, match="contains trials of another sweep"):
        sweep()


@pytest.mark.parametrize("name", ["data", "test"])
def test_texts_of_a_sweep_can_be_moved_but_not_changed(sweep, tmp_path, name):
    text = tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    started = sweep(**{name: "text.txt"})
    for event in started.run(1):
        if isinstance(event, Saved):
            started.stop()
    text.rename(tmp_path / "moved.txt")
    (tmp_path / "below").mkdir()
    moved = sweep(**{name: "below/../moved.txt"})
    moved_to = str(tmp_path / "moved.txt")
    assert moved.plan.given[name] == ([moved_to] if name == "data" else moved_to)
    assert [event.state for event in moved.run(2) if isinstance(event, Ended)] == ["complete"] * 2
    assert read_plan(tmp_path / "sweep") == started.plan
    text.write_text(f"{TEXT}x" if name == "data" else TEXT[:300], encoding="utf-8")
    for plan in (None, read_plan(tmp_path / "sweep")):
        with pytest.raises(MinicharError, match=r"text\.txt is not the text that the sweep .* was started"):
            Sweep(tmp_path / "sweep", plan, [CPU])


def test_an_old_plan_has_a_relative_path_and_no_digest(sweep, tmp_path):
    given = sweep().plan.given
    edited(tmp_path / "sweep" / "sweep.json", given=given | {"data": "input.txt"}, digest="")
    (tmp_path / "input.txt").write_text(TEXT[:-30], encoding="utf-8")
    assert [event.state for event in sweep().run(1) if isinstance(event, Ended)] == ["complete"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"given": {"rnn_sise": 1}}, "there is no option 'rnn_sise'; did you mean 'rnn_size'?"),
        ({"given": {"data": 5}}, ""),
        ({"given": None}, "given is None; it must be a dict"),
        ({"search": [5]}, "search is [5]; it must be a list of text"),
        ({"search": ["rnn_size=x"]}, "rnn_size is 'x'; it must be an integer"),
        ({"x" * 10**5: 1}, "unexpected keyword argument 'xxxxx"),
        (b"[" * 200_000, "maximum recursion depth exceeded"),
        (b" " * MAX_PLAN + b"{}", "it has more than 1,048,576 characters"),
        (b"[]", "argument after ** must be a mapping"),
        (b"\xff", "can't decode byte 0xff"),
    ],
)
def test_a_corrupted_plan_is_reported(tmp_path, content, message):
    plan = {"given": {}, "search": ["rnn_size=4,8"], "study": "x"}
    raw = json.dumps(plan | content).encode() if isinstance(content, dict) else content
    (tmp_path / "sweep.json").write_bytes(raw)
    with pytest.raises(MinicharError, match=r"^cannot read the sweep's plan .*sweep\.json: ") as raised:
        read_plan(tmp_path)
    assert message in str(raised.value)
    assert len(str(raised.value)) < len(str(tmp_path)) + LONGEST_PATH + 100


def test_long_values_in_a_plan_are_truncated(sweep, tmp_path):
    sweep()
    edited(tmp_path / "sweep" / "sweep.json", given={"data": "x" * 10**5})
    with pytest.raises(MinicharError, match=r"cannot read '.*/xxxxx") as raised:
        Sweep(tmp_path / "sweep", None, [CPU])
    assert len(str(raised.value)) < len(str(tmp_path)) + LONGEST_PATH + 300


DAMAGE = {
    "DELETE FROM studies": r"it does not contain the study 'sweep-\w+'",
    "UPDATE trials SET number = 0": "its trials are not numbered consecutively",
    "DELETE FROM trial_params WHERE param_name = 'rnn_size'": "trial 0 has no value for rnn_size",
    "DELETE FROM trial_values": "TypeError: must be real number, not NoneType",
    "UPDATE trial_values SET value = NULL": "AssertionError;",
    "UPDATE trial_values SET value = 9e999": "trial 0 has the loss inf",
    "UPDATE OR REPLACE trial_intermediate_values SET step = 'x'": "TypeError",
    "UPDATE trial_params SET param_value = 7 WHERE param_name = 'rnn_size'": "IndexError",
    "UPDATE trial_params SET param_value = 1 WHERE param_name = 'learning_rate'": (
        r"trial 0 has the value 1\.0 for learning_rate=0\.001\.\.0\.1:log"
    ),
    "UPDATE trial_params SET param_value = '' WHERE param_name = 'learning_rate'": (
        "trial 0 has the value '' for learning_rate="
    ),
    "UPDATE trial_params SET distribution_json = replace(distribution_json, '[4, 8]', '[8, 4]')": (
        "trial 0 is not a trial of this search space"
    ),
    "UPDATE trials SET state = 'done'": "LookupError: 'done' is not among the defined enum values",
    "UPDATE trials SET datetime_start = 'yesterday'": "ValueError",
    "UPDATE study_directions SET direction = 'MAXIMIZE'": "its study does not minimise the loss",
    """INSERT INTO trial_system_attributes (trial_id, key, value_json)
    VALUES (1, 'fixed_params', '{"rnn_size": 5}')""": "trial 0 has the value 5 for rnn_size=4,8",
    """INSERT INTO trial_system_attributes (trial_id, key, value_json)
    VALUES (1, 'fixed_params', '5')""": "TypeError",
}


def test_a_damaged_database_is_reported(sweep, tmp_path):
    for _ in sweep().run(2):
        pass
    path = tmp_path / "sweep" / "sweep.db"
    intact, plan = path.read_bytes(), (tmp_path / "sweep" / "sweep.json").read_bytes()
    for statement, reason in DAMAGE.items():
        path.write_bytes(intact)
        with closing(sqlite3.connect(path)) as database, database:
            assert database.execute(statement).rowcount, statement
        advice = "restore a backup of it, or start a new sweep in another directory"
        with pytest.raises(
            MinicharError, match=rf"^the sweep's database .*sweep\.db is damaged: {reason}.*{advice}$"
        ):
            open_study(tmp_path / "sweep")
    path.write_bytes(b"")
    with pytest.raises(MinicharError, match=r"is damaged: it does not contain the study 'sweep-\w+'"):
        sweep()
    edited(tmp_path / "sweep" / "sweep.json", study="x" * 1000)
    with pytest.raises(MinicharError, match=r"is damaged: it does not contain the study 'x{1,99}\.\.\.x+';"):
        sweep()
    path.write_bytes(b"x" * 100)
    with pytest.raises(MinicharError, match=r"cannot use the sweep's database: .*file is not a database"):
        sweep()
    path.write_bytes(intact)
    (tmp_path / "sweep" / "sweep.json").write_bytes(plan)
    assert [trial.state.name for trial in sweep().study.trials] == ["COMPLETE"] * 2


def test_names_with_special_characters(sweep, tmp_path):
    name = "a ?#%20{x} 山"
    assert len([*sweep(folder=name).run(1)]) > 1
    assert (tmp_path / name / "sweep.db").is_file()
