"""From verdicts to points: the table `grading.toml`, partial credit, written questions, late days."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dl.checks import course
from dl.console import UsageError
from dl.grading.engine import FORBIDDEN

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = Path(__file__).with_name("grading.toml")
PARTIAL = ("failed", "error")  # verdicts on code that ran


@dataclass(frozen=True)
class Scheme:
    """What is worth how much.

    Args:
        exercises, written: the most points of each. share: of an exercise's points that passed checks are worth.
        due: when a submission is late, or None. free_days, per_day, most_days: see `grading.toml`.
    """

    exercises: dict[str, float]
    written: dict[str, float]
    share: float
    due: datetime | None
    free_days: int
    per_day: float
    most_days: int

    def points(self, entry: Mapping) -> float:
        """Of one exercise, from its status and how many of its checks passed."""
        most = self.exercises[entry["exercise"]]
        if entry["status"] == "passed":
            return most
        if entry["status"] in PARTIAL and entry["diagnosis"] != FORBIDDEN and entry["checks"]:
            return round(most * self.share * entry["passed_checks"] / entry["checks"], 4)
        return 0.0

    @property
    def most(self) -> float:
        """Points of all exercises and written questions together."""
        return sum(self.exercises.values()) + sum(self.written.values())

    @property
    def is_whole(self) -> bool:
        """Whether no score can have a part of a point."""
        parts = self.share or self.due or self.written
        return not parts and all(most.is_integer() for most in self.exercises.values())

    def days_late(self, submitted: str) -> int:
        """Begun days after the due time; 0 where either is not known.

        Raises:
            UsageError: if the time is in no form that can be read.
        """
        if self.due is None or not submitted:
            return 0
        time = read_time(submitted, "the roster")
        if (time.tzinfo is None) != (self.due.tzinfo is None):
            time, due = time.replace(tzinfo=None), self.due.replace(tzinfo=None)
        else:
            due = self.due
        return max(0, math.ceil((time - due).total_seconds() / 86_400))

    def kept_share(self, days: int) -> float:
        """The share of the score that is left after so many late days."""
        if days > self.most_days:
            return 0.0
        return max(0.0, 1 - self.per_day * max(0, days - self.free_days))


def load(path: str | Path | None = None) -> Scheme:
    """The scheme of a file, completed by the shipped one.

    Raises:
        UsageError: if it cannot be read, names an exercise or key that is not known, or has values out of range.
    """
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    if path is not None:
        try:
            own = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read: {error}. It is a table like {TABLE}.") from error
        for section, values in own.items():
            _known(section, table, path)
            for key in values if section not in ("exercises", "written") else ():
                _known(key, table[section], path)
            table[section] |= values
    default = table["exercises"].pop("default")
    names = [exercise.name for exercise in course.find(())]
    for name in table["exercises"]:
        _known(name, [*names, "default"], path)
    scheme = Scheme(
        {name: float(table["exercises"].get(name, default)) for name in names},
        {name: float(most) for name, most in table["written"].items() if most},
        float(table["partial"]["share"]),
        read_time(table["late"]["due"], str(path)) if table["late"]["due"] else None,
        int(table["late"]["free_days"]),
        float(table["late"]["per_day"]),
        int(table["late"]["most_days"]),
    )
    if min(*scheme.exercises.values(), *scheme.written.values(), scheme.per_day) < 0 or not 0 <= scheme.share <= 1:
        raise UsageError(f"{path}: points and per_day must be 0 or more, and share from 0 to 1.")
    return scheme


def _known(key: str, known, path: object) -> None:
    if key not in known:
        raise UsageError(f"{path} says {key!r}, which is not known; there are {', '.join(known)}.")


def read_time(text: object, where: str) -> datetime:
    """A time in ISO form, or as Moodle writes it. Args: where: what gives it. Raises: UsageError: if it is in neither."""
    if isinstance(text, datetime):
        return text
    for form in ("%A, %d %B %Y, %I:%M %p", "%A, %d %B %Y, %H:%M"):  # as Moodle writes it
        try:
            return datetime.strptime(str(text), form)
        except ValueError:
            continue
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError as error:
        raise UsageError(f"{where} gives the time {text!r}. Write it as 2026-11-20T23:59:00+01:00.") from error
