"""A rehearsal of grading: thirty made-up submissions as Canvas exports them, with roster, gradebook and table of points.

    python -m tests.tabletop FOLDER

Right, partly right, wrong in known ways, hostile, and broken. FOLDER/expected.json says for each submission which exercises
must pass and which must not. FOLDER must not exist.
"""

from __future__ import annotations

import csv
import io
import json
import random
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from dl.checks import course
from dl.checks.exercise import MODULES
from dl.checks.mistakes import tomllib
from dl.grading.intake import LESSONS
from dl.student import markers
from tests.variants import ROOT, Variant, variants_of

SOLVED = {path: (ROOT / path).read_text(encoding="utf-8") for path in LESSONS}
NAMES = (
    "Abe, Yuki|Baker, Tom|Čapková, Jana|Diaz, Ana María|Eze, Ngozi|Fischer, Jörg|García, Luz|Haddad, Rana|Ito, Ken|Jones, Amy|"
    "Khan, Zara|Lee, Ann|Müller-Lüdenscheidt, Maximilian|Nguyen, Anh|O'Brien, Sean|Papadopoulos, Eleni|Quinn, Max|Rossi, Sara|"
    "Singh, Arjun|Tanaka, Mei|Usman, Ali|Vargas, Leo|Wang, Wei|Xu, Lin|Yilmaz, Ece|Zhang, Bo|Adams, Joe|Brown, Eve|Costa, Rui|"
    "=HYPERLINK(x), Bobby"
).split("|")
POINTS = """[exercises]
"DINOSegmentation.train" = 2
[partial]
share = 0.5
[written]
"question 1" = 4
[late]
due = "2026-11-20T23:59:00+01:00"
free_days = 1
"""
ATTACKS = ("os._exit", "endless loop", "fork bomb", "lying equality", "patched torch")
HOSTILE = {e["name"]: e["body"] for e in tomllib.loads((ROOT / "tests/hostile.toml").read_text(encoding="utf-8"))["function"]}


def write(folder: Path) -> None:
    """Write submissions/, roster.csv, gradebook.csv, points.toml and expected.json. Raises: FileExistsError."""
    folder.mkdir(parents=True)
    (folder / "submissions").mkdir()
    expected, roster = {}, []
    for number, (name, work) in enumerate(zip(NAMES, _works(random.Random(3)))):
        files, passed, failed = work
        late = number % 7 == 3
        label = f"{''.join(filter(str.isalnum, name)).lower()}_{1001 + number}"
        stem = f"{label.replace('_', '_LATE_' if late else '_')}_{55000 + number}"
        for path, content in _packed(files, number).items():
            (folder / "submissions" / f"{stem}_{path}").write_bytes(content)
        expected[label] = {"passed": passed, "not passed": failed}
        roster.append([name, 1001 + number, f"2026-11-{22 if late else 19}T20:00:00+01:00"])
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False), encoding="utf-8")
    (folder / "points.toml").write_text(POINTS, encoding="utf-8")
    book = [["Student", "ID", "SIS Login ID", "Section", "Assignment 2 (77)"], ["    Points Possible", "", "", "", "60"]]
    book += [[name, str(number), f"s{number}", "L1", ""] for name, number, _ in roster]
    for file, rows in {"roster.csv": [["Name", "ID", "Submitted"], *roster[:-1]], "gradebook.csv": book}.items():
        with open(folder / file, "w", newline="", encoding="utf-8") as target:
            csv.writer(target).writerows(rows)


def _works(chance: random.Random) -> Iterator[tuple[dict[str, str], list[str], list[str]]]:
    """Files of each submission, the exercises that must pass, and those that must not."""
    names = [exercise.name for exercise in course.find(())]
    wrong = [v for topic in MODULES for v in variants_of(topic) if v.diagnosis]
    right = [v for topic in MODULES for v in variants_of(topic) if v.diagnosis is None and "__init__" not in v.exercise]
    for number in range(7):
        yield _with(chance.sample(right, 4) if number else []), names, []
    for share in (0.1, 0.25, 0.4, 0.6, 0.75, 0.9):
        some = names[: int(share * len(names))]
        yield _solved_only(some), some, names[len(some) :]
    for number in range(8):
        made = chance.sample([v for v in wrong if v.exercise in names[: 55 - 4 * number]], 1 + number // 2)
        mistaken = {v.exercise for v in made}
        yield _with(made), _unharmed(mistaken), sorted(mistaken)
    for attack in ATTACKS:
        body = HOSTILE[attack].replace("WRONG", "torch.zeros(len(x), len(Wh)), None")
        first = Variant("rnn_step_forward", "", body, 0)
        yield _with([first]), _unharmed({first.exercise}), [first.exercise]
    yield _solved_only([]), [], names
    yield {**SOLVED, "transformers.py": "def broken(:\n"}, _of("captioning", "simclr", "clip_dino"), _of("transformers")
    yield {"readme.md": "I could not finish, sorry."}, [], []
    yield {path: SOLVED[path] for path in LESSONS[1:2]}, _of("transformers"), _of("captioning")


def _with(bodies: list[Variant]) -> dict[str, str]:
    """The solved lessons, with these bodies in their places, one for an exercise."""
    left = {variant.exercise: variant.body for variant in bodies}
    return {
        path: markers.replace(text, {name: left[name] for name in left if name in markers.solutions(text, path)}, path)
        for path, text in SOLVED.items()
    }


def _solved_only(names: list[str]) -> dict[str, str]:
    """The hand-out, with the solutions of these exercises filled in."""
    bodies = {path: markers.solutions(text, path) for path, text in SOLVED.items()}
    return {
        path: markers.fill(markers.hand_out(text, path, helpers=True), {n: b for n, b in bodies[path].items() if n in names})
        for path, text in SOLVED.items()
    }


def _unharmed(wrong: set[str]) -> list[str]:
    """The exercises that neither are among the wrong ones nor, over others, build on one: those are skipped."""
    harmed = set(wrong)
    for exercise in course.find(()):  # each needs only earlier ones
        if harmed & {*exercise.needs, exercise.partner}:
            harmed.add(exercise.name)
    return [exercise.name for exercise in course.find(()) if exercise.name not in harmed]


def _of(*topics: str) -> list[str]:
    return [exercise.name for exercise in course.find(topics)]


def _packed(files: dict[str, str], number: int) -> dict[str, bytes]:
    """As students do it: a zip, a zip of a folder, handed in again, or, where it is one file, alone."""
    if len(files) == 1 and number % 2:
        return {f"{Path(path).name}": text.encode() for path, text in files.items()}
    notebook = {
        "cell_type": "markdown",
        "metadata": {},
        "source": f"**Your answer:** *(question 1)*\n\nBecause {number} < 99.",
    }
    files = {**files, "notebooks/Transformers.ipynb": json.dumps({"cells": [notebook], "nbformat": 4, "nbformat_minor": 5})}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr("a2/" * (number % 3 == 1) + path, text)
    return {f"a2_code_submission{'-1' * (number % 4 == 2)}.zip": buffer.getvalue()}


if __name__ == "__main__":
    write(Path(sys.argv[1]))
