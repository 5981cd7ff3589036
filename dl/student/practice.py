"""A working copy for people who learn alone, and solutions one by one. `python -m dl practise`, `python -m dl solution`.

The copy holds what a learner edits: lessons with stubs, notebooks without outputs, the files they read. It is checked and
run by this installation (`dl.settings`), so neither the checks nor the answers are copied.
"""

from __future__ import annotations

import datetime
import re
import textwrap
import time
from functools import partial
from pathlib import Path

from dl import settings
from dl.checks import course
from dl.checks.examiner import Examiner
from dl.checks.exercise import MODULES
from dl.checks.library import Broken
from dl.console import SUCCESS, UsageError, say, write_whole
from dl.student import AGENTS, SOURCE_ENDING, handed_out, markers, project_files, unsolved_notebook

GIVEN = ("a2_helper.py", "datasets/two_digit_op.json", "benchmarks/ablation_arithmetic.json")  # read beside the lessons
DEFINED = re.compile(r"^(?:def |class )?(\w+)(?= =|\()", re.M)  # names of functions and variables at the margin
README = Path(__file__).with_name("PRACTICE.md")
PACKAGE = '''\
"""The lessons in this folder are yours; all else in `dl` comes from the course, whose folder practice.json names."""

import json
from pathlib import Path

_copy = Path(__file__).resolve().parent.parent
_course = Path(json.loads((_copy / "practice.json").read_text(encoding="utf-8"))["course"], "dl")
if not _course.is_dir():
    raise ImportError(f"{_course} is no longer there. Run python -m dl practise {_copy} where the course is now.")
__path__ = [str(_course)]
exec((_course / "__init__.py").read_text(encoding="utf-8"))

from dl.settings import use_lessons  # noqa: E402

use_lessons(_copy)
'''


def write(folder: str | Path) -> int:
    """The verb `practise`: make a practice copy, or complete one. A file that is there is never written over.

    Raises:
        UsageError: if the folder holds something else, or cannot be written.
    """
    start, copy, root = time.perf_counter(), Path(folder).resolve(), settings.project_root()
    _check_target(copy)
    again = (copy / settings.PRACTICE_NOTE).is_file()
    shown = settings.solutions_shown(copy) if again else {}
    new = 0
    try:
        for path, content in contents(root).items():
            if not (copy / path).exists():
                write_whole(copy / path, partial(Path.write_bytes, data=content))
                new += 1
        settings.note_practice(copy, root, shown)
    except OSError as error:
        raise UsageError(
            f"{copy} cannot be written: {error.strerror or error}. Make room there or name another folder."
        ) from error
    seconds = time.perf_counter() - start
    kept = "; what was there is as it was" if again else ""
    say(f"Written to {copy}: {new} files, {seconds:.0f} s{kept}. Next: cd {copy}, then open README.md.")
    return SUCCESS


def contents(root: Path) -> dict[str, bytes]:
    """All files of a practice copy but practice.json, by their paths."""
    lessons = {f"{name.replace('.', '/')}.py" for names in MODULES.values() for name in names}
    files = {"README.md": README.read_bytes(), "AGENTS.md": AGENTS.read_bytes(), "dl/__init__.py": PACKAGE.encode()}
    for path in sorted(project_files(root)):
        if path.endswith(SOURCE_ENDING):
            files[path.removesuffix(SOURCE_ENDING) + ".ipynb"] = unsolved_notebook(root / path)
        elif path in lessons or path in GIVEN:
            files[path] = handed_out(root, path)
    return files


def show_solution(name: str) -> int:
    """The verb `solution`: print the solution of an exercise of the practice copy around the working folder, and note that.

    The learner has tried when code of their own stands in the place of the stub, whether it passes or not.
    Raises:
        UsageError: outside a practice copy, for an unknown name, or before a try.
    """
    copy, root = settings.practice_copy(Path.cwd()), settings.project_root()
    if copy is None:
        raise UsageError(
            f"{Path.cwd()} is not in a practice copy. Make one with python -m dl practise and go there; "
            "in the course's own folder, the solutions are in the lessons themselves."
        )
    try:
        exercise = course.find([name])[0] if name not in MODULES else None
        untried = exercise is not None and Examiner(copy).is_missing(exercise)
    except (course.UnknownExercise, Broken) as error:
        raise UsageError(str(error)) from error
    if exercise is None:
        raise UsageError(f"{name} is a topic; solutions are shown one at a time. Give the name of an exercise.")
    if untried:
        raise UsageError(
            f"{exercise.name} is still the stub. Put a try of your own in its place first, even one that fails; "
            f"python -m dl check {exercise.name} --hint gives hints."
        )
    path, text = next((path, text) for path, text in _lessons(root) if exercise.name in markers.solutions(text, path))
    shown = settings.solutions_shown(copy)
    settings.note_practice(copy, root, {**shown, exercise.name: shown.get(exercise.name, datetime.date.today().isoformat())})
    for part in (*_helpers(text, path, exercise.name), markers.solutions(text, path)[exercise.name]):
        print(f"{part}\n")
    print(f"That is one solution of {exercise.name}, from {path}. {settings.PRACTICE_NOTE} now says that it was shown.")
    return SUCCESS


def _lessons(root: Path) -> list[tuple[str, str]]:
    """Path and text of each lesson, with its solutions."""
    paths = [f"{name.replace('.', '/')}.py" for names in MODULES.values() for name in names]
    return [(path, (root / path).read_text(encoding="utf-8")) for path in paths]


def _helpers(text: str, path: str, exercise: str) -> list[str]:
    """What only solutions need and this one uses, in the order of the lesson."""
    lines, used, found = text.splitlines(), markers.solutions(text, path)[exercise], []
    for block in markers.blocks(text, path):
        code = textwrap.dedent("\n".join(lines[block.first + 1 : block.last])).strip("\n")
        if block.name is None and any(re.search(rf"\b{name}\b", used) for name in DEFINED.findall(code)):
            found.append(code)
    return found


def _check_target(copy: Path) -> None:
    if copy.exists() and not copy.is_dir():
        raise UsageError(f"{copy} is a file. A practice copy is a folder: name one that is new or empty.")
    if copy.is_dir() and any(copy.iterdir()) and not (copy / settings.PRACTICE_NOTE).is_file():
        raise UsageError(
            f"{copy} holds other files, and a practice copy keeps to itself. Name a folder that is new, empty, "
            "or a practice copy made before."
        )
