"""Files for gradebooks and platforms, each in the form that the platform documents."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dl import settings
from dl.checks.exercise import MODULES
from dl.console import UsageError, say, write_json, write_whole
from dl.grading.intake import read_table, squeezed
from dl.grading.points import Scheme, read_time
from dl.grading.report import WRITTEN

if TYPE_CHECKING:
    from dl.grading import Options

FORMATS = ("table", "csv", "gradescope", "classroom50", "prairielearn")
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")  # a spreadsheet runs a cell that begins so
IDENTITY = ("ID", "Identifier", "SIS User ID", "SIS Login ID", "Email address", "ID number", "Student", "Full name")
POSSIBLE, EXCUSED = "Points Possible", "EX"  # Canvas: the row that tells of the columns; a student who need not hand in
MOST_TEXT = 4000  # characters of a message where a platform bounds the whole file
SETUP = """#!/usr/bin/env bash
# Runs once, when the image is built. Python 3.10 or newer.
set -e
apt-get update && apt-get install -y python3 python3-venv python3-pip
python3 -m venv /autograder/venv
/autograder/venv/bin/pip install --extra-index-url https://download.pytorch.org/whl/cpu \\
    -c /autograder/source/constraints.txt -e /autograder/source
"""
RUN = """#!/usr/bin/env bash
# Runs once for each submission, and writes results/results.json.
cd /autograder/source
rm -rf /tmp/graded
/autograder/venv/bin/python -m dl grade /autograder/submission --out /tmp/graded --format gradescope
cp /tmp/graded/gradescope/*/results.json /autograder/results/results.json
"""


def table(graded: dict) -> str:
    """A line for each submission, for the terminal."""
    lines = []
    for entry in graded["submissions"]:
        counts = Counter(exercise["status"] for exercise in entry["exercises"])
        said = ", ".join(f"{count} {status}" for status, count in counts.most_common())
        who = " ".join(filter(None, (entry["name"], entry["id"])))
        lines.append(f"{entry['score']:7.2f} / {entry['max_score']:g}  {plain(entry['submission'])[:40]:<40} {plain(who)}")
        lines.append(f"{'':<15} {plain(entry['message'] or said)}")
        lines += [f"{'':<15} note: {plain(note)}" for note in entry["notes"]]
    return "\n".join(lines)


def write(graded: dict, scheme: Scheme, options: Options) -> None:
    """All files that were asked for; grades.json, grades.csv and the table for written questions always."""
    out = options.out
    write_json(out / "grades.json", graded)
    if options.json_file:
        write_json(options.json_file, graded)
    _write_csv(out / "grades.csv", _grades(graded))
    if scheme.written:
        _write_csv(out / WRITTEN, _questions(graded, scheme))
    if options.gradebook:
        rows, separator = fill_gradebook(Path(options.gradebook), options.column, graded)
        _write_csv(out / Path(options.gradebook).name, rows, own=False, separator=separator)
    whole = partial(classroom50, factor=1 if scheme.is_whole else 100)
    makers: dict[str, Callable[[dict], dict]] = {"gradescope": gradescope, "classroom50": whole, "prairielearn": prairielearn}
    if maker := makers.get(options.format):
        name = "result.json" if options.format == "classroom50" else "results.json"
        for entry in graded["submissions"]:
            write_json(out / options.format / file_name(entry) / name, maker(entry))
    if options.format == "gradescope":
        write_whole(out / "gradescope" / "autograder.zip", lambda file: file.write_bytes(autograder()))


def file_name(entry: dict) -> str:
    """A name for the files of one submission, safe on every system, and its own."""
    return f"{re.sub(r'[^A-Za-z0-9-]+', '-', entry['submission'])[:40].strip('-')}-{entry['sha256'][:8]}"


def _grades(graded: dict) -> list[list]:
    rows: list[list] = [["submission", "name", "id", "score", "max_score", "status", "days_late", *MODULES]]
    for entry in graded["submissions"]:
        topics: Counter[str] = Counter()
        for exercise in entry["exercises"]:
            topics[exercise["topic"]] += exercise["points"]
        keys = ("submission", "name", "id", "score", "max_score", "status", "days_late")
        rows.append([*(entry[key] for key in keys), *(round(topics[topic], 4) for topic in MODULES)])
    return rows


def _questions(graded: dict, scheme: Scheme) -> list[list]:
    rows: list[list] = [["submission", "name", "id", *scheme.written]]
    for entry in graded["submissions"]:
        given = [entry["written"][name]["points"] for name in scheme.written]
        rows.append([entry["submission"], entry["name"], entry["id"], *("" if value is None else value for value in given)])
    return rows


def fill_gradebook(path: Path, column: str | None, graded: dict) -> tuple[list[list[str]], str]:
    """The rows of a gradebook that Canvas or Moodle exported, with the scores in one of its columns; nothing else changes.

    Args:
        column: its name or the beginning of it; None: "Grade", as in Moodle's worksheet.
    Returns:
        The rows, header first, and what separates their fields.
    Raises:
        UsageError: if the file, the column or all students cannot be found, or the platform would not take the scores.
    """
    try:
        (header, *rows), separator = read_table(path)
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"the gradebook {path} cannot be read: {error}. Export it anew as CSV.") from error
    wanted = column or "Grade"
    places = [i for i, name in enumerate(header) if name == wanted] or [
        i for i, name in enumerate(header) if name.startswith(wanted)
    ]
    if len(places) != 1:
        raise UsageError(f"{path} has {len(places)} columns {wanted!r}. Name one with --column: {', '.join(header)}.")
    by = [i for key in IDENTITY for i, name in enumerate(header) if name == key]
    scores = _scores_by_identity(graded)
    filled: set[str] = set()
    for row in rows:
        row += [""] * (len(header) - len(row))
        known = next((squeezed(row[i]) for i in by if squeezed(row[i]) in scores), None)
        if POSSIBLE in row[0]:
            if "read only" in row[places[0]]:
                raise UsageError(f"Canvas takes no scores in {header[places[0]]!r}. Name another column with --column.")
        elif known is not None and row[places[0]].strip().upper() != EXCUSED:
            _within(dict(zip(header, row)), scores[known], path)
            row[places[0]] = f"{scores[known]:g}"
            filled.add(known)
    if not filled:
        raise UsageError(f"nobody in {path} has the name or id of a submission. Give a --roster with both.")
    left = [e["submission"] for e in graded["submissions"] if not filled & {squeezed(e["id"]), squeezed(e["name"])}]
    if left:
        say(f"{path.name} has no row for {plain(', '.join(left))}, or its name and id are also those of another submission.")
    return [header, *rows], separator


def _scores_by_identity(graded: dict) -> dict[str, float]:
    """Scores by id and by name; none by what several submissions say of themselves, which is nobody's."""
    claims: dict[str, set[str]] = defaultdict(set)
    scores: dict[str, float] = {}
    for entry in graded["submissions"]:
        for identity in filter(None, map(squeezed, (entry["name"], entry["id"]))):
            claims[identity].add(entry["submission"])
            scores[identity] = entry["score"]
    return {identity: score for identity, score in scores.items() if len(claims[identity]) == 1}


def _within(row: Mapping[str, str], score: float, path: Path) -> None:
    """Moodle passes over a grade above the most of an assignment without a word. Raises: UsageError: if this is one."""
    most = row.get("Maximum Grade") or row.get("Maximum grade") or ""
    with contextlib.suppress(ValueError):  # a scale of words
        if score > float(most.replace(",", ".")):
            raise UsageError(
                f"{path} gives at most {most} points, and a submission has {score:g}: Moodle would leave it out. "
                "Set the maximum grade of the assignment, or give a table of --points that fits."
            )


def gradescope(entry: dict) -> dict:
    """`results.json` as Gradescope's autograder specification has it."""
    return {
        "score": entry["score"],
        "output": entry["message"] or "; ".join(entry["notes"]) or "Each exercise is a test below.",
        "output_format": "text",
        "tests": [
            {
                "name": exercise["exercise"],
                "number": str(number),
                "score": exercise["points"],
                "max_score": exercise["max_points"],
                "status": "passed" if exercise["status"] == "passed" else "failed",
                "output": exercise["message"] or exercise["note"],
                "output_format": "text",
            }
            for number, exercise in enumerate(entry["exercises"], start=1)
        ],
    }


def classroom50(entry: dict, factor: int = 100) -> dict:
    """`result.json` of Classroom 50, version 1.

    Its points are whole, and the score is their sum: each test has the points that are left after late days, times
    `factor`, which is the same for a whole class. What only its runner knows (links, the classroom) comes from the
    runner's variables.
    """
    earned = [(e["exercise"], e["points"], e["max_points"], e["message"]) for e in entry["exercises"]]
    earned += [(name, given["points"] or 0.0, given["max_points"], "") for name, given in entry["written"].items()]
    total = sum(points for _, points, _, _ in earned)
    share = entry["score"] / total if total else 0.0
    tests = [
        {
            "test-name": name,
            "passed": points == most,
            "score": round(points * share * factor),
            "max-score": round(most * factor),
            "message": message,
        }
        for name, points, most, message in earned
    ]
    now = datetime.now(timezone.utc)
    return {
        "schema": "classroom50/result/v1",
        **_of_runner(entry),
        "datetime": _utc(read_time(entry["submitted"], "the roster") if entry["submitted"] else now),
        "graded_at": _utc(now),
        "score": sum(test["score"] for test in tests),
        "max-score": sum(test["max-score"] for test in tests),
        "tests": tests,
    }


def _of_runner(entry: dict) -> dict[str, str]:
    """What Classroom 50's runner says of a submission in its variables, else what is known here."""
    known = {
        "classroom": ("CLASSROOM", "dl"),
        "assignment": ("ASSIGNMENT", "a2"),
        "assignment_type": ("ASSIGNMENT_TYPE", "individual"),
        "owner": ("OWNER", entry["id"] or entry["name"] or entry["submission"]),
        "submission": ("SUBMISSION_TAG", f"submit/{entry['sha256'][:12]}"),
        **{key: (f"{key.upper()}_URL", "unknown") for key in ("commit", "release", "review")},
    }
    return {key: os.environ.get(name) or default for key, (name, default) in known.items()}


def _utc(time: datetime) -> str:
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def prairielearn(entry: dict) -> dict:
    """`results.json` of a PrairieLearn external grader; its score is a share, and the file has at most 1 MB.

    A submission that cannot be read is "not gradable", which costs the student no attempt.
    """
    if entry["status"] != "graded":
        return {"gradable": False, "format_errors": [entry["message"], *entry["notes"]]}
    return {
        "gradable": True,
        "score": round(min(1.0, entry["score"] / entry["max_score"]), 6) if entry["max_score"] else 0.0,
        "message": entry["message"],
        "output": "; ".join(entry["notes"]),
        "tests": [
            {
                "name": exercise["exercise"],
                "description": exercise["topic"],
                "points": exercise["points"],
                "max_points": exercise["max_points"],
                "message": exercise["note"][:MOST_TEXT],
                "output": exercise["message"][:MOST_TEXT],
            }
            for exercise in entry["exercises"]
        ],
    }


def autograder() -> bytes:
    """A zip for Gradescope: `setup.sh`, `run_autograder`, and the project with its answers, which students never see."""
    from dl.student import tracked_files

    root, buffer = settings.project_root(), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (("setup.sh", SETUP), ("run_autograder", RUN)):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o755 << 16
            archive.writestr(entry, text)
        for path in tracked_files(root):
            if (path.startswith("dl/") or "/" not in path) and not path.endswith(".safetensors"):
                entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
                entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
                archive.writestr(entry, (root / path).read_bytes())
    return buffer.getvalue()


def plain(text: str) -> str:
    """A text of a submission for a terminal: in one line, without characters that steer it."""
    return "".join(character if character.isprintable() else " " for character in " ".join(text.split()))[:300]


def _write_csv(path: Path, rows: Sequence[Sequence], own: bool = True, separator: str = ",") -> None:
    """Write a table; in one that is not our `own`, every cell stays as the platform wrote it."""

    def save(file: Path) -> None:
        with open(file, "w", newline="", encoding="utf-8") as target:
            csv.writer(target, delimiter=separator).writerows(
                [[_cell(value) for value in row] for row in rows] if own else rows
            )

    write_whole(path, save)


def _cell(value: object) -> object:
    """A value that no spreadsheet takes for a formula."""
    if isinstance(value, str) and value.startswith(FORMULA) and not re.fullmatch(r"[+-]?\d+(\.\d+)?", value):
        return f"'{value}"
    return value
