"""The student edition: nothing leaks, everything is missing at first, and solving turns one check after the other green."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import zipfile
from pathlib import Path

import nbformat
import pytest
import torch

from dl import student
from dl.__main__ import main
from dl.checks import course
from dl.checks.exercise import MODULES
from dl.console import FAILURE, SUCCESS, WRONG_USE, UsageError
from dl.notebook_files import find_sources, read_source
from dl.student import leaks, markers
from dl.student.recording import to_bytes
from tests.student_tree import LESSONS, PLACE, copied_tree, fill, fresh_tree, run
from tests.variants import ROOT, variants_of

EXERCISES = course.find(())
MOST_LINES = 5  # of a message
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """A student tree, not to be changed."""
    return fresh_tree(tmp_path_factory)


@pytest.fixture
def tree(fresh, tmp_path) -> Path:
    """A student tree to work in."""
    return copied_tree(fresh, tmp_path / "assignment")


def paths(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def solve(folder: Path, bodies: dict[str, str]) -> None:
    """Put code in the places of exercises, and what only solutions need in its own."""
    for path in {PLACE[name] for name in bodies}:
        if (folder / path).read_text() == markers.hand_out(LESSONS[path], path):
            (folder / path).write_text(markers.hand_out(LESSONS[path], path, helpers=True))
    fill(folder, bodies)


def solution(name: str) -> str:
    return markers.solutions(LESSONS[PLACE[name]], PLACE[name])[name]


# --- Writing ---


def test_every_exercise_has_a_place_and_the_other_way_round():
    assert sorted(PLACE) == sorted(exercise.name for exercise in EXERCISES)


def test_a_folder_that_is_not_empty_is_refused(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["student", str(tmp_path)]) == WRONG_USE
    assert "is not empty, and nothing in it is to be lost. Name a folder that is new" in capsys.readouterr().err
    assert main(["student", str(tmp_path / "mine.txt")]) == WRONG_USE
    assert "mine.txt is a file. The student edition goes to a folder" in capsys.readouterr().err
    assert main(["student", str(tmp_path / "new"), "--seeds", "1"]) == WRONG_USE
    assert "--seeds is 1; a check takes two" in capsys.readouterr().err
    assert paths(tmp_path) == ["mine.txt"]


def test_it_is_written_whole_into_an_empty_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(student, "edition", lambda root, seeds: ({"a/b.txt": b"1", "c": b"2"}, {}))
    (tmp_path / "there").mkdir()
    assert student.write(tmp_path / "there") == student.write(tmp_path / "deep" / "new") == SUCCESS
    assert paths(tmp_path) == ["deep/new/a/b.txt", "deep/new/c", "there/a/b.txt", "there/c"]
    assert f"Written to {tmp_path / 'there'}: 2 files" in capsys.readouterr().out


def test_nothing_is_left_of_one_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(student, "edition", lambda root, seeds: ({"a/b.txt": b"1", "a/b.txt/c": b"2"}, {}))
    with pytest.raises(UsageError, match="cannot be written: .*nothing was written"):
        student.write(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_one_that_leaks_is_not_written(tmp_path, monkeypatch, capsys):
    lessons = {"lesson.py": "# EXERCISE a\n# BEGIN SOLUTION a\nh = tanh(x @ Wx)\n# END SOLUTION a\n"}
    monkeypatch.setattr(student, "edition", lambda root, seeds: ({"a.py": b"h = tanh(x\n  @ Wx)"}, lessons))
    assert main(["student", str(tmp_path / "new")]) == FAILURE
    assert "a.py has 'h = tanh(x @ Wx)', which is a solution's in lesson.py line 3" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_clone_whose_files_git_cannot_list_is_refused(tmp_path, monkeypatch):
    """Untracked files, such as drafts of an exam, would go to the students."""
    (tmp_path / "dl").mkdir()
    (tmp_path / "dl" / "exam_draft.md").write_text("questions")
    assert list(student.project_files(tmp_path)) == ["dl/exam_draft.md"]  # no clone: an unpacked archive
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".git" / "HEAD").write_text("broken")
    with pytest.raises(UsageError, match=r"is a clone, but git cannot list its files \(fatal: .*without its folder .git"):
        student.project_files(tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="git cannot be run"):
        student.project_files(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_a_clone_of_another_owner_is_listed(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "student.txt").write_text("")
    subprocess.run(["git", "add", "student.txt"], cwd=tmp_path, check=True)
    (tmp_path / "LICENSE").write_text("untracked")
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 12345, 12345)
    assert list(student.project_files(tmp_path)) == ["student.txt"]


def test_without_git_the_same_files_go_in(monkeypatch):
    with_git = student.project_files(ROOT)
    monkeypatch.setattr(student, "_tracked", lambda root: set())
    without = student.project_files(ROOT)
    assert set(with_git) <= set(without) and len(with_git) > 80
    assert not [path for path in without if re.search(r"pycache|\.pyc$|solutions|student/|datasets/sample/|\.part$", path)]


def test_an_exercise_with_two_places_is_an_error():
    text = "# EXERCISE a\n# BEGIN SOLUTION a\nx = 1\n# END SOLUTION a\n"
    with pytest.raises(markers.MarkerError, match="SOLUTION a is in one.py and in two.py"):
        student._check_names({"one.py": text, "two.py": text})


def test_edits_of_files_must_still_fit():
    with pytest.raises(UsageError, match="pyproject.toml should have this once"):
        student._edited("pyproject.toml", b"nothing like it")


# --- Nothing leaks ---


def solution_lines() -> dict[str, str]:
    """Found here once more, line by line: what stands between the markers and says something, and where."""
    inside, outside = {}, set()
    for path, text in LESSONS.items():
        within = False
        for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
            if re.match(r"# (BEGIN|END) SOLUTION", line):
                within = line.startswith("# BEGIN")
            elif within:
                inside |= {part.strip(): f"{path} line {number}" for part in (line, *line.split("  # ")) if len(part) >= 12}
            else:
                outside.add(line)
    handed_out = "\n".join(outside)
    return {line: place for line, place in inside.items() if line not in handed_out}


def readable(path: Path) -> str:
    """All texts of a file."""
    return "\n".join(leaks.texts(path.name, path.read_bytes()))


def test_no_solution_line_is_anywhere(fresh):
    lines = solution_lines()
    assert len(lines) > 200
    found = [
        f"{path}: {line!r} of {place}"
        for path in paths(fresh)
        for text in [readable(fresh / path)]
        for line, place in lines.items()
        if line in text
    ]
    assert found == []


@pytest.mark.parametrize("path", ["a2_helper.py", "README.md", "notebooks/A.ipynb", "dl/data.json", "x.pt", "x.bin"])
def test_a_planted_leak_is_found_and_placed(path):
    line, place = "h, states = h0, []", PLACE["rnn_forward"]
    text = f"    {line}"
    content = {
        ".ipynb": lambda: json.dumps({"cells": [{"outputs": [{"text": ["h, states = ", "h0, []\n"]}]}]}).encode(),
        ".json": lambda: json.dumps({"a": [1, {"b": f'"{line}"'}]}).encode(),
        ".pt": lambda: _saved({"exercises": {"a": {"about": to_bytes({"mistakes": {"m": [line, ""]}})}}}),
    }.get(Path(path).suffix, lambda: f"# some comment: {text}\n".encode())()
    (found, *more) = leaks.find({"clean.py": b"h = 0", path: content}, LESSONS)
    assert not more and found.path == path and found.text == line and found.origin.startswith(f"{place} line ")


def _saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def handed_out(**texts: str) -> dict[str, bytes]:
    """The lesson modules of the edition and what they import, some texts put in the places of others."""
    files = {path: (ROOT / path).read_text() for path in student.project_files(ROOT) if path.endswith(".py")}
    return {path: text.encode() for path, text in {**files, **_stubs(), **texts}.items()}


def _stubs() -> dict[str, str]:
    return {path: markers.hand_out(text, path) for path, text in LESSONS.items()}


GUARD = "if not all(part in token_dict for word in input_str.split() for part in ([word] if word in special else word)): pass"


@pytest.mark.parametrize(
    ("path", "before", "planted", "exercise"),
    [
        (
            "transformers.py",
            "    # EXERCISE prepocess_input_sequence,",
            f"    special = set(spc_tokens)\n    {GUARD}\n",
            "prepocess",
        ),
        (
            "rnn_lstm_captioning.py",
            "class RNN(",
            "def slope(arriving, state):\n    return arriving * (1 - state**2)\n",
            "rnn_step_backward",
        ),
        (
            "dl/guards/__init__.py",
            "import re",
            "def united(table, both):\n    return table.sum(0) + table.sum(1) - both\n",
            "compute_iou",
        ),
    ],
)
def test_what_gives_a_solution_away_beside_its_stub_is_found(path, before, planted, exercise):
    """In the same module and in one that it imports; variables have other names, and no line is the solution's."""
    clean = handed_out()
    assert leaks.find(clean, LESSONS) == []
    found = leaks.find(handed_out(**{path: clean[path].decode().replace(before, planted + before, 1)}), LESSONS)
    assert found and all(leak.path.startswith(f"{path} line ") for leak in found)
    assert any(exercise in leak.origin for leak in found), found


def test_a_helper_that_a_solution_calls_is_hidden_or_announced():
    """Without a word on it in an exercise's comment, a helper that stands there is a part of the solution."""
    lesson = (
        "def unit(x):\n    return x / x.norm(dim=1)\n\n\n"
        "def sim(a, b):\n    # EXERCISE sim, 1 line. Hint: HINT.\n"
        "    # BEGIN SOLUTION sim\n    return unit(a) @ unit(b)\n    # END SOLUTION sim\n"
    )
    told, silent = ({"a.py": lesson.replace("HINT", hint)} for hint in ("`unit` gives unit length", "think"))
    for lessons, wanted in ((told, []), (silent, ["x / x.norm(dim=1)"])):
        seen = {path: markers.hand_out(text, path).encode() for path, text in lessons.items()}
        assert [leak.text for leak in leaks.find(seen, lessons)] == wanted


def test_lines_shared_with_the_hand_out_and_short_ones_do_not_count():
    lesson = (
        "y = one_two_three(x)\n# EXERCISE a\n# BEGIN SOLUTION a\ny = one_two_three(x)\nz = 1\n"
        "secret = x + y  # because of the chain rule\n# END SOLUTION a\n"
    )
    assert [text for text, _ in leaks.solution_lines({"a.py": lesson}).values()] == [
        "secret = x + y  # because of the chain rule",
        "secret = x + y",
        "because of the chain rule",
    ]


def test_what_reveals_or_is_compiled_is_left_out(fresh):
    left = [
        path
        for path in paths(fresh)
        if re.search(
            r"pycache|\.pyc$|\.nb\.py$|/solutions/|/references/|/mistakes/|variants|^benchmarks/(?!ablation_arithmetic\.json)|^\.ci|CHANGELOG|dl/student|notebooks/answers|\.git/",
            path,
        )
    ]
    assert left == []
    assert (fresh / "AGENTS.md").read_bytes() == student.AGENTS.read_bytes()
    assert [path for path in paths(fresh) if path.startswith("tests/")] == [
        "tests/conftest.py",
        "tests/no_network/sitecustomize.py",
        "tests/test_exercises.py",
    ]
    assert sum(path.stat().st_size for path in (fresh / "dl/checks/recorded").iterdir()) < 5e6  # two seeds


def test_every_file_that_a_notebook_reads_is_there(fresh):
    """A path is written `session.root / "folder" / "file"` in the notebooks."""
    read = set()
    for source in (ROOT / "notebooks").glob("*.nb.py"):
        for parts in re.findall(r'session\.root((?: / "[^"]+")+)', source.read_text()):
            read.add("/".join(re.findall(r'"([^"]+)"', parts)))
    tracked = [path for path in read if (ROOT / path).is_file() and path in TRACKED]
    assert "benchmarks/ablation_arithmetic.json" in tracked
    assert [path for path in tracked if not (fresh / path).is_file()] == []


def test_notebooks_have_their_cells_and_no_outputs_or_answers(fresh):
    for source in find_sources([]):
        notebook = nbformat.read(fresh / "notebooks" / source.name.replace(".nb.py", ".ipynb"), as_version=4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert code and all(cell.outputs == [] and cell.execution_count is None for cell in code)
        assert [cell.id for cell in notebook.cells] == [cell.id for cell in read_source(source).cells]


def test_answers_are_emptied(tmp_path):
    (tmp_path / "A.nb.py").write_text(
        '# %% [markdown] tags=["answer"]\n# **Your answer:** it is 42, I think.\n\n# %% [markdown]\n# Why?\n\n# %%\n1 + 1\n'
    )
    cells = json.loads(student.unsolved_notebook(tmp_path / "A.nb.py"))["cells"]
    assert ["".join(cell["source"]) for cell in cells] == ["**Your answer:**", "Why?", "1 + 1"]
    assert cells[0]["metadata"] == {"tags": ["answer"]}


# --- A fresh tree ---


def test_everything_imports(fresh):
    modules = [
        path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in paths(fresh)
        if path.endswith(".py") and not path.startswith("tests/") and not path.endswith("__main__.py")
    ]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nimport dl\nprint(dl.__file__)"
    done = run(*modules, cwd=fresh, code=code)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1]) == fresh / "dl" / "__init__.py"


def test_all_exercises_are_missing_at_first(fresh, tmp_path):
    listed = run("dl", "check", "--list", cwd=fresh)
    assert listed.returncode == SUCCESS
    assert [line.split()[0] for line in listed.stdout.splitlines()[:-1]] == ["missing"] * len(EXERCISES)
    done = run("dl", "check", "--json", str(tmp_path / "report.json"), cwd=fresh)
    assert done.returncode == FAILURE, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["missing"] == len(EXERCISES) and report["passed"] == report["skipped"] == 0
    for result in report["exercises"]:
        ((message,), name) = [check["message"] for check in result["checks"]], result["exercise"]
        assert result["status"] == "missing" and message.startswith(f"EXERCISE {name}: to be written in")
        assert len(message.splitlines()) <= MOST_LINES


def test_notebooks_stop_at_the_first_missing_exercise_with_a_few_words(tree):
    done = run("dl", "run", "--json", "report.json", cwd=tree)
    assert done.returncode == FAILURE, done.stderr
    for outcome in json.loads((tree / "report.json").read_text())["notebooks"]:
        assert "EXERCISE " in outcome["problem"], outcome
        notebook = nbformat.read(tree / "build" / "notebooks" / f"{outcome['notebook']}.ipynb", as_version=4)
        (error,) = [o for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "error"]
        assert len(error.traceback) <= MOST_LINES and error.traceback[0].startswith("EXERCISE ")
        assert "Traceback" not in "".join(error.traceback)


def test_pytest_skips_what_is_missing_and_says_so(fresh):
    done = run("pytest", "-p", "no:cacheprovider", cwd=fresh)
    assert done.returncode == 0, done.stdout
    assert f"{len(EXERCISES)} skipped" in done.stdout.splitlines()[-1]
    for exercise in EXERCISES:
        assert f"EXERCISE {exercise.name}: to be written in" in done.stdout


def test_a_submission_of_a_fresh_tree_misses_no_cell(tree):
    done = run("dl", "submit", "--partial", "--no-pdf", cwd=tree)
    assert done.returncode == SUCCESS, done.stderr
    assert "required cell" not in done.stdout and "none of the course's cells" not in done.stdout
    assert "Left out" not in done.stdout and "no cell was executed" in done.stdout
    with zipfile.ZipFile(tree / "a2_code_submission.zip") as archived:
        assert "rnn_lstm_captioning.py" in archived.namelist() and "dl/checks/judge.py" in archived.namelist()


def test_makefile_and_readme_speak_of_what_is_there(fresh):
    readme, makefile = (fresh / "README.md").read_text(), (fresh / "Makefile").read_text()
    assert "{" not in readme.replace("{topics}", "{")
    links = re.findall(r"\]\(([^)\s]+)\)", readme)
    assert len(links) > 8 and [link for link in links if not (fresh / link).exists()] == []
    targets = set(re.findall(r"make (\w+)", readme))
    assert targets == set(re.findall(r"^(\w+): ", makefile, re.M)) == set(re.search(r"PHONY: (.*)", makefile)[1].split())
    verbs = set(re.findall(r"python -m dl ([a-z-]+)", readme))
    known = run("dl", "--help", cwd=fresh).stdout
    assert verbs >= {"check", "submit"} and all(re.search(rf"^    {verb} ", known, re.M) for verb in verbs)
    assert not re.search(r"^    student ", known, re.M)
    for name in ("SOLUTION", "variants", "nb.py", "ruff check"):
        assert name not in readme + makefile + (fresh / "pyproject.toml").read_text()


# --- Solving ---

ONE_BY_ONE = """
import json, pathlib, sys
from dl.checks import answers, course
from dl.checks.examiner import Examiner
from dl.checks.judge import MISSING, PASSED, SKIPPED
assert isinstance(answers.of("captioning"), answers.Recorded)
passed, report = {}, []
for name, path, text in json.load(open(sys.argv[1])):
    exercise = course.find([name])[0]
    before = Examiner(".", seed=0).check(exercise).status
    pathlib.Path(path).write_text(text)
    examiner = Examiner(".", seed=0)
    examiner.results.update(passed)
    result = examiner.check(exercise)
    passed[name] = result
    topic = course.exercises(exercise.topic)
    later = {examiner.is_missing(other) for other in topic[topic.index(exercise) + 1:]}
    report.append([name, before, result.status, result.message, sorted(later)])
print(json.dumps(report))
"""


def test_solving_in_course_order_turns_each_check_green(tree, tmp_path):
    steps = []
    for exercise in EXERCISES:
        solve(tree, {exercise.name: solution(exercise.name)})
        steps.append([exercise.name, PLACE[exercise.name], (tree / PLACE[exercise.name]).read_text()])
    (tmp_path / "steps.json").write_text(json.dumps(steps))
    for path in LESSONS:
        (tree / path).write_text(markers.hand_out(LESSONS[path], path))
    done = run(str(tmp_path / "steps.json"), cwd=tree, code=ONE_BY_ONE)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert [(name, before, status) for name, before, status, _, _ in report] == [
        (exercise.name, "missing", "passed") for exercise in EXERCISES
    ], report
    assert all(later in ([True], []) for *_, later in report)


WRONG_ONES = """
import json, pathlib, sys
from dl.checks import course
from dl.checks.examiner import Examiner
passed, report = {}, []  # what an exercise builds on is right in every case, and checked once
for name, path, text in json.load(open(sys.argv[1])):
    exercise = course.find([name])[0]
    whole = pathlib.Path(path).read_text()
    pathlib.Path(path).write_text(text)
    examiner = Examiner(".", seed=0)
    examiner.results.update({need: passed[need] for need in exercise.needs if need in passed})
    result = examiner.check(exercise)
    passed |= {need: examiner.results[need] for need in exercise.needs if need in examiner.results}
    report.append([name, result.status, result.message, result.cause and result.cause.diagnosis])
    pathlib.Path(path).write_text(whole)
print(json.dumps(report))
"""


def wrong_ones(each: int) -> list:
    """For each exercise some wrong implementations that the full edition knows by name."""
    chosen = []
    for topic in MODULES:
        named = [variant for variant in variants_of(topic) if variant.diagnosis]
        for exercise in course.exercises(topic):
            chosen += [variant for variant in named if variant.exercise == exercise.name][:each]
    return chosen


def test_wrong_code_is_refused_and_named_as_in_the_full_edition(tree, tmp_path):
    solve(tree, {name: solution(name) for name in PLACE})
    chosen = wrong_ones(each=1)
    cases = [
        [
            variant.exercise,
            path := PLACE[variant.exercise],
            markers.fill((tree / path).read_text(), {variant.exercise: variant.body}),
        ]
        for variant in chosen
    ]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    done = run(str(tmp_path / "cases.json"), cwd=tree, code=WRONG_ONES)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert [(name, diagnosis) for name, _, _, diagnosis in report] == [(v.exercise, v.diagnosis) for v in chosen], report
    for _, status, message, _ in report:
        assert status in ("failed", "error") and len(message.splitlines()) <= MOST_LINES and "Next: hint(" in message


def test_pytest_passes_what_is_solved_and_fails_what_is_wrong_with_the_message(tree):
    (wrong,) = [v for v in variants_of("captioning") if v.exercise == "rnn_step_forward" and v.diagnosis == "no-bias"][:1]
    solve(tree, {"rnn_step_forward": wrong.body, "generate_token_dict": solution("generate_token_dict")})
    done = run("pytest", "-p", "no:cacheprovider", "-k", "rnn_step_forward or generate_token_dict or rnn_backward", cwd=tree)
    assert done.returncode == 1
    assert re.search(r"1 failed, 1 passed, 1 skipped", done.stdout), done.stdout
    assert re.search(r"^Likely: .*bias", done.stdout, re.M) and "Traceback" not in done.stdout
    assert "EXERCISE rnn_backward: to be written in" in done.stdout
    assert len(done.stdout.splitlines()) < 25
