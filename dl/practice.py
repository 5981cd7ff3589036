"""A practice copy: a folder with the lessons as stubs, checked and run by the installation of the course that made it.

`python -m dl practise DIR` makes one (`dl.student.practice`). It holds what a learner edits and writes; all else stays in
the installation, whose folder the copy's `practice.json` names, with the solutions that were shown. This module is loaded
before everything else by the copy's own `dl/__init__.py`, and so imports nothing heavy.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path

from dl.console import UsageError, write_json

NOTE = "practice.json"


def around(folder: Path) -> Path | None:
    """The practice copy that a folder is, or lies in."""
    folder = folder.resolve()
    return next((place for place in (folder, *folder.parents) if (place / NOTE).is_file()), None)


def solutions_shown(copy: Path | None) -> dict[str, str]:
    """Exercises whose solutions were shown in a copy, with the day; none without a copy.

    Raises:
        UsageError: if practice.json cannot be read.
    """
    return dict(_read(copy)["shown"]) if copy else {}


def write_note(copy: Path, course: Path, shown: Mapping[str, str]) -> None:
    """Write practice.json: the folder of the course, and the solutions that were shown."""
    write_json(copy / NOTE, {"course": str(course), "shown": dict(shown)})


def use_lessons(copy: Path) -> None:
    """Make Python import the lessons inside `dl` from the copy, and the rest of `dl` from the installation."""
    packages = [path for path in (copy / "dl", *sorted((copy / "dl").iterdir())) if path.is_dir() and path.name[0] not in "_."]
    for folder in packages:
        places = importlib.import_module(folder.relative_to(copy).as_posix().replace("/", ".")).__path__
        places[:] = [str(folder), *(place for place in places if place != str(folder))]


def _read(copy: Path) -> dict:
    try:
        note = json.loads((copy / NOTE).read_text(encoding="utf-8"))
        return {"course": str(note["course"]), "shown": dict(note["shown"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{copy / NOTE} cannot be read ({error or type(error).__name__}); it names the course and the solutions shown. "
            f"Delete it, then run python -m dl practise {copy} in the course's folder; your work stays as it is."
        ) from error
