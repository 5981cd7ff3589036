"""Learning alone: a practice copy, solutions after a try, and the map of the exercises with what is done and what is next."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import nbformat
import pytest

from dl import notebook, settings
from dl.__main__ import main
from dl.checks import course
from dl.checks.exercise import MODULES
from dl.checks.judge import FAILED, MISSING, PASSED
from dl.commands import overview
from dl.console import SUCCESS, WRONG_USE
from dl.student import leaks, markers, practice
from tests.student_tree import LESSONS, PLACE, fill, run
from tests.variants import ROOT

EXERCISES = course.find(())
TOTALS = {"captioning": 8, "transformers": 7, "simclr": 3, "clip_dino": 4}  # hours of a student


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    return practice.contents(ROOT)


@pytest.fixture
def copy(tmp_path, contents, monkeypatch) -> Path:
    """A practice copy to work in."""
    monkeypatch.setattr(practice, "contents", lambda root: contents)
    assert practice.write(tmp_path / "practice") == SUCCESS
    return tmp_path / "practice"


# --- The map ---


@pytest.mark.parametrize("topic", MODULES)
def test_difficulty_and_minutes_are_plausible(topic):
    exercises = course.exercises(topic)
    assert {exercise.difficulty for exercise in exercises} == {1, 2, 3}
    assert all(exercise.minutes % 5 == 0 < exercise.minutes for exercise in exercises)
    assert abs(sum(exercise.minutes for exercise in exercises) / 60 - TOTALS[topic]) <= 0.5
    hard = [e.minutes for e in exercises if e.difficulty == 3]
    assert min(hard) > max(e.minutes for e in exercises if e.difficulty == 1)


def test_the_map_counts_and_says_what_is_next():
    first, second, third = course.exercises("simclr")[:3]
    other = course.exercises("captioning")[0]
    rows = [overview.Row(other, MISSING), overview.Row(first, PASSED, shown=True), overview.Row(second, FAILED)]
    assert overview.counts(rows) == {
        "exercises": 3,
        "passed": 1,
        "solutions_shown": 1,
        "minutes_left": other.minutes + second.minutes,
    }
    assert overview.following(rows).exercise is second  # of the topic that was begun
    assert overview.following(rows[:1]).exercise is other
    assert overview.following(rows[1:2]) is None and "Nothing is left to do" in overview.closing(rows[1:2])
    assert overview.topic_lines(rows) == [
        "captioning     0 of 1 passed, about 20 min left",
        f"simclr         1 of 2 passed, about {second.minutes} min left",
    ]
    assert overview.closing(rows) == (
        f"1 of 3 exercises pass, 1 of the solutions were shown, about {overview.duration(other.minutes + second.minutes)} of "
        f"work left. Next: {second.name} (simclr, {second.minutes} min)."
    )
    assert overview.table(rows)[1] == {
        "exercise": first.name,
        "difficulty": "●○○",
        "minutes": first.minutes,
        "status": PASSED,
        "solution": "shown",
    }
    assert [overview.duration(minutes) for minutes in (0, 35, 60, 125)] == ["0 min", "35 min", "1 h", "2 h 5 min"]


def test_the_map_is_the_same_in_the_notebook_and_in_the_list(tmp_path, capsys):
    session = notebook.Session("Self_Supervised_Learning", tmp_path, notebook.torch.device("cpu"), "sample", {})
    shown = session.exercises().frame
    assert main(["check", "simclr", "--list", "--root", str(ROOT)]) == SUCCESS
    *lines, last = capsys.readouterr().out.splitlines()
    listed = [line.split() for line in lines]
    assert [(name, marks, int(minutes)) for _, _, name, marks, minutes, _ in listed] == list(
        zip(shown.exercise, shown.difficulty, shown.minutes)
    )
    assert last.startswith("8 exercises, about 3 h in all, 0 missing")


# --- The practice copy ---


def test_it_holds_stubs_and_notebooks_and_no_solutions(contents):
    assert set(LESSONS) < set(contents)
    for path, text in LESSONS.items():
        assert contents[path].decode() == markers.hand_out(text, path)
    assert [path for path in contents if "answers" in path or "checks" in path] == []
    names = {path for path in contents if path.endswith(".ipynb")}
    assert len(names) == 4
    for name in names:
        cells = nbformat.reads(contents[name].decode(), as_version=4).cells
        assert not [cell for cell in cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]
    assert leaks.find(contents, LESSONS) == []
    planted = contents["AGENTS.md"] + markers.solutions(*_lesson("rnn_backward"))["rnn_backward"].encode()
    assert leaks.find({"AGENTS.md": planted}, LESSONS)


def _lesson(name: str) -> tuple[str, str]:
    return LESSONS[PLACE[name]], PLACE[name]


def test_making_it_again_keeps_all_work_and_restores_what_was_deleted(copy, capsys):
    (copy / "transformers.py").write_text("mine")
    (copy / "README.md").unlink()
    settings.note_practice(copy, Path("/moved/away"), {"sim": "2026-01-01"})
    capsys.readouterr()
    assert main(["practise", str(copy)]) == SUCCESS
    assert "1 files" in (said := capsys.readouterr().out) and "what was there is as it was" in said
    assert (copy / "transformers.py").read_text() == "mine" and (copy / "README.md").is_file()
    note = json.loads((copy / settings.PRACTICE_NOTE).read_text())
    assert note == {"course": str(ROOT), "shown": {"sim": "2026-01-01"}}


def test_it_does_not_go_where_something_else_is(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["practise", str(tmp_path)]) == WRONG_USE
    assert "holds other files" in capsys.readouterr().err
    assert main(["practise", str(tmp_path / "mine.txt")]) == WRONG_USE
    assert "mine.txt is a file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_python_finds_the_copys_lessons_and_the_courses_rest(copy):
    """In the copy's own folder, also when another copy of the course is installed, without loading torch."""
    code = (
        "import sys, importlib.util as u\n"
        "for name in ('dl.clip_dino', 'dl.simclr.utils', 'dl.simclr.model', 'dl.checks'): print(u.find_spec(name).origin)\n"
        "import dl; print(dl.__version__, 'torch' in sys.modules)"
    )
    done = run(cwd=copy, code=code)
    assert done.returncode == 0, done.stderr
    *places, last = done.stdout.splitlines()
    expected = [
        copy / "dl/clip_dino.py",
        copy / "dl/simclr/utils.py",
        ROOT / "dl/simclr/model.py",
        ROOT / "dl/checks/__init__.py",
    ]
    assert [Path(place) for place in places] == expected
    assert last.endswith(" False")


def test_a_notebook_of_the_copy_runs_the_learners_code_and_writes_there(copy):
    code = (
        "from dl.notebook import setup\nimport importlib.util as u\nsession = setup('Self_Supervised_Learning')\n"
        "for name in ('dl.simclr.contrastive_loss', 'a2_helper', 'transformers'): print(u.find_spec(name).origin)\n"
        "session.save_results()"
    )
    done = run(cwd=copy / "notebooks", code=code, PYTHONPATH=str(ROOT))
    assert done.returncode == 0 and "Note:" not in done.stdout, done.stdout + done.stderr
    places = [str(copy / path) for path in ("dl/simclr/contrastive_loss.py", "a2_helper.py", "transformers.py")]
    assert done.stdout.splitlines()[-4:-1] == places
    assert (copy / "results" / "Self_Supervised_Learning.json").is_file()


def test_a_notebook_shows_how_far_the_learner_is(copy, capsys):
    fill(copy, {"sim_positive_pairs": "return F.cosine_similarity(out_left, out_right, dim=1)[:, None]"})
    table = notebook.Session("Self_Supervised_Learning", copy, notebook.torch.device("cpu"), "sample", {}).status().frame
    said = capsys.readouterr().out.splitlines()
    assert "simclr         1 of 8 passed, about 2 h 50 min left" in said and said[-1].startswith("1 of 55 exercises pass")
    assert dict(zip(table.exercise, table.status))["sim_positive_pairs"] == PASSED and list(table.status).count(MISSING) == 7


def test_solutions_are_shown_after_a_try_and_that_is_noted(copy, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(copy / "notebooks")
    assert main(["solution", "sim"]) == WRONG_USE
    assert "sim is still the stub. Put a try of your own in its place first" in capsys.readouterr().err
    assert main(["solution", "simclr"]) == WRONG_USE and "one at a time" in capsys.readouterr().err
    assert main(["solution", "simm"]) == WRONG_USE and "did you mean sim" in capsys.readouterr().err
    fill(copy, {"sim": "return z_i"})
    assert main(["solution", "sim"]) == SUCCESS
    said = capsys.readouterr().out
    assert markers.solutions(*_lesson("sim"))["sim"] in said and "def _unit_rows(" in said  # with the helper that it calls
    assert "compute_sim_matrix" not in said
    assert list(settings.solutions_shown(copy)) == ["sim"]
    assert main(["status", "--root", str(copy), "--json", str(tmp_path / "status.json")]) == SUCCESS
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith("solution shown")] == [line for line in lines if " sim  " in line]
    report = json.loads((tmp_path / "status.json").read_text())
    assert (report["exercises"], report["passed"], report["solutions_shown"]) == (len(EXERCISES), 0, 1)
    assert report["next"] == "compute_train_transform" and report["topics"]["simclr"]["solutions_shown"] == 1
    assert lines[-1].startswith("0 of 55 exercises pass, 1 of the solutions were shown, about 22 h of work left. Next: ")
    states = {row["exercise"]: row["status"] for row in report["map"]}
    assert states.pop("sim") in (FAILED, "error") and set(states.values()) == {MISSING}


def test_outside_a_copy_no_solution_is_shown(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["solution", "sim"]) == WRONG_USE
    assert "is not in a practice copy. Make one with python -m dl practise" in capsys.readouterr().err


def test_a_broken_note_is_said(copy, monkeypatch, capsys):
    (copy / settings.PRACTICE_NOTE).write_text("[]")
    monkeypatch.chdir(copy)
    assert main(["status"]) == WRONG_USE
    assert "practice.json cannot be read" in capsys.readouterr().err


def test_model_answers_stay_in_the_course_and_are_read_from_there(copy, monkeypatch, capsys, tmp_path):
    """They are tracked in `notebooks/answers`; neither a practice copy nor the student edition has them."""
    from dl import student

    made = tmp_path / "course"
    (made / "notebooks" / "answers").mkdir(parents=True)
    (made / "notebooks" / "answers" / "demo.md").write_text("## Q1\n\nBecause.\n", encoding="utf-8")
    (made / "notebooks" / "demo.txt").write_text("")
    subprocess.run(["git", "init", "-q"], cwd=made, check=True)
    subprocess.run(["git", "add", "."], cwd=made, check=True)
    assert list(student.project_files(made)) == ["notebooks/demo.txt"]
    monkeypatch.setattr(settings, "project_root", lambda: made)
    notebook.Session("demo", copy, notebook.torch.device("cpu"), "sample", {}).answer("Q1")
    assert capsys.readouterr().out == "Because.\n"
