"""What all outputs are made of: verdicts, points and written answers of every submission; what changed since the last time."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from dl.console import UsageError
from dl.grading.intake import Submission
from dl.grading.points import Scheme
from dl.submit.cells import ANSWER_TITLE, read_notebook

WRITTEN = "written.csv"


def about(submission: Submission, verdict: str) -> dict:
    """All that is kept of a submission beside its verdicts. Args: verdict: name of the file that has these."""
    return {
        "submission": submission.label,
        "sha256": submission.sha256,
        "name": submission.name,
        "id": submission.id,
        "submitted": submission.submitted,
        "late": submission.late,
        "problem": submission.problem,
        "notes": submission.notes,
        "answers": answers_of(submission),
        "verdict": verdict,
    }


def answers_of(submission: Submission) -> dict[str, str]:
    """The written answers in its notebooks: "question 1": text."""
    found: dict[str, str] = {}
    for path, content in submission.contents.items():
        if not path.endswith(".ipynb"):
            continue
        for cell in read_notebook(path, content).cells:
            if cell.is_answer:
                title, _, text = cell.source.strip().removeprefix(ANSWER_TITLE).strip().partition("\n")
                name = title.strip("*() ") or cell.section
                found[name.lower()[:100]] = text.strip()[:20_000]
    return found


def assemble(abouts: Sequence[dict], out: Path, scheme: Scheme, version: str, seconds: float) -> dict:
    """The report of `grade --json`.

    Raises:
        UsageError: if verdicts are missing, or the file of written points cannot be read.
    """
    given = _written(out / WRITTEN, scheme)
    submissions: list[dict] = []
    sandbox: list[str] = []
    seeds: set[str] = set()
    for entry in abouts:
        verdict = {"exercises": [], "cpu_seconds": 0.0, "sandbox": [], "seed": ""}
        if not entry["problem"]:
            file = out / "verdicts" / entry["verdict"]
            if not file.is_file():
                raise UsageError(f"{file} is not there, so {entry['submission']} has no verdict. Grade it again.")
            verdict = json.loads(file.read_text(encoding="utf-8"))
            sandbox = [layer for layer in verdict["sandbox"] if layer in sandbox] if sandbox else verdict["sandbox"]
            seeds.add(verdict["seed"])
        submissions.append(_scored(entry, verdict, scheme, given.get(entry["submission"], {})))
    return {
        "grader": version,
        "seed": " ".join(sorted(seeds)),
        "sandbox": sandbox or ["limits"],
        "seconds": round(seconds, 1),
        "submissions": submissions,
    }


def _scored(entry: dict, verdict: dict, scheme: Scheme, written: dict[str, float]) -> dict:
    exercises = [
        {**exercise, "points": scheme.points(exercise), "max_points": scheme.exercises[exercise["exercise"]]}
        for exercise in verdict["exercises"]
    ]
    days = scheme.days_late(entry["submitted"])
    notes = list(entry["notes"])
    if entry["late"] and not entry["submitted"]:
        notes.append("the platform marks it late; the roster does not say by how much")
    total = sum(exercise["points"] for exercise in exercises) + sum(written.values())
    return {
        **{key: entry[key] for key in ("submission", "sha256", "name", "id", "submitted")},
        "status": "broken" if entry["problem"] else "graded",
        "message": entry["problem"],
        "notes": notes,
        "days_late": days,
        "score": round(total * scheme.kept_share(days), 4),
        "max_score": scheme.most,
        "cpu_seconds": verdict["cpu_seconds"],
        "written": {name: {"points": written.get(name), "max_points": most} for name, most in scheme.written.items()},
        "answers": entry["answers"],
        "exercises": exercises,
    }


def _written(path: Path, scheme: Scheme) -> dict[str, dict[str, float]]:
    """Points that people gave, by submission and question; an empty field is no points yet."""
    if not path.is_file():
        return {}
    found: dict[str, dict[str, float]] = {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            for name, most in scheme.written.items():
                text = (row.get(name) or "").strip()
                try:
                    value = float(text.replace(",", ".")) if text else None
                except ValueError:
                    value = -1.0
                if value is not None and not 0 <= value <= most:
                    raise UsageError(f"{path} gives {row.get('submission')} {text!r} for {name}; wanted 0 to {most:g}.")
                if value is not None:
                    found.setdefault(row["submission"], {})[name] = value
    return found


def differences(last: Path, graded: dict) -> list[str]:
    """A line for each submission whose score or verdicts are other ones than in the last report."""
    if not last.is_file():
        return []
    try:
        before = {entry["submission"]: entry for entry in json.loads(last.read_text(encoding="utf-8"))["submissions"]}
    except (ValueError, KeyError, TypeError):
        return [f"{last} is no report, and could not be compared"]
    lines = []
    for entry in graded["submissions"]:
        old = before.get(entry["submission"])
        if old is None or (old["score"], old["exercises"]) == (entry["score"], entry["exercises"]):
            continue
        was = {exercise["exercise"]: exercise["status"] for exercise in old["exercises"]}
        changed = [
            f"{exercise['exercise']} {was.get(exercise['exercise'], 'new')} -> {exercise['status']}"
            for exercise in entry["exercises"]
            if was.get(exercise["exercise"]) != exercise["status"]
        ]
        if changed or old["score"] != entry["score"]:
            lines.append(
                f"{entry['submission']}: {old['score']:g} -> {entry['score']:g}; {', '.join(changed) or 'other points'}"
            )
    return lines
