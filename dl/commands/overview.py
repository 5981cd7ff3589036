"""The map of the exercises: how hard each is, how long it takes, and how far the learner is.

One definition for the map in a notebook, `check --list` and `status`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dl import settings
from dl.checks.examiner import Examiner
from dl.checks.exercise import MODULES, Exercise
from dl.checks.judge import MISSING, PASSED

WRITTEN = "written"  # no longer the stub; not checked


@dataclass(frozen=True)
class Row:
    """An exercise in the map.

    Args:
        status: a verdict of `dl.checks.judge`, or WRITTEN; "" where nobody asked. shown: whether its solution was shown.
    """

    exercise: Exercise
    status: str = ""
    shown: bool = False

    @property
    def marks(self) -> str:
        """The difficulty as one to three dots."""
        return "●" * self.exercise.difficulty + "○" * (3 - self.exercise.difficulty)

    def __str__(self) -> str:
        exercise, said = self.exercise, "   solution shown" if self.shown else ""
        return f"{self.status:<8} {exercise.topic:<13} {exercise.name:<36} {self.marks} {exercise.minutes:>3} min{said}"


def rows(exercises: Sequence[Exercise]) -> list[Row]:
    """The map alone. Nothing is looked up."""
    return [Row(exercise) for exercise in exercises]


def written(examiner: Examiner, exercises: Sequence[Exercise]) -> list[Row]:
    """Which exercises are still stubs. Nothing is run. Raises: Broken: if a lesson cannot be read."""
    shown = settings.solutions_shown(settings.practice_copy(examiner.root))
    return [Row(e, MISSING if examiner.is_missing(e) else WRITTEN, e.name in shown) for e in exercises]


def verdicts(examiner: Examiner, exercises: Sequence[Exercise]) -> Iterator[Row]:
    """Check the exercises, one after the other."""
    shown = settings.solutions_shown(settings.practice_copy(examiner.root))
    for exercise in exercises:
        yield Row(exercise, examiner.check(exercise).status, exercise.name in shown)


def table(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Rows for a table: exercise, difficulty, minutes, and what is known besides."""
    known = any(row.status for row in rows)
    shown = any(row.shown for row in rows)
    return [
        {
            "exercise": row.exercise.name,
            "difficulty": row.marks,
            "minutes": row.exercise.minutes,
            **({"status": row.status} if known else {}),
            **({"solution": "shown" if row.shown else ""} if shown else {}),
        }
        for row in rows
    ]


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """How many exercises there are, how many pass, of how many the solution was shown, and the minutes that are left."""
    passed = [row for row in rows if row.status == PASSED]
    return {
        "exercises": len(rows),
        "passed": len(passed),
        "solutions_shown": sum(row.shown for row in rows),
        "minutes_left": sum(row.exercise.minutes for row in rows if row.status != PASSED),
    }


def by_topic(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each topic that has some, in the order of the course."""
    found = {topic: [row for row in rows if row.exercise.topic == topic] for topic in MODULES}
    return {topic: chosen for topic, chosen in found.items() if chosen}


def following(rows: Sequence[Row]) -> Row | None:
    """What to do next: the first exercise that does not pass, of a topic that was begun if there is one."""
    begun = {row.exercise.topic for row in rows if row.status != MISSING}
    still = [row for row in rows if row.status != PASSED]
    return next((row for row in still if row.exercise.topic in begun), still[0] if still else None)


def topic_lines(rows: Sequence[Row]) -> list[str]:
    """How far each topic is, in one line."""
    lines = []
    for topic, chosen in by_topic(rows).items():
        count = counts(chosen)
        left = f", about {duration(count['minutes_left'])} left" if count["minutes_left"] else ""
        lines.append(f"{topic:<13} {count['passed']:>2} of {count['exercises']} passed{left}")
    return lines


def closing(rows: Sequence[Row]) -> str:
    """All of it in one sentence, and what comes next."""
    count, then = counts(rows), following(rows)
    said = f"{count['passed']} of {count['exercises']} exercises pass"
    if count["solutions_shown"]:
        said += f", {count['solutions_shown']} of the solutions were shown"
    if then is None:
        return f"{said}. Nothing is left to do."
    left = f"about {duration(count['minutes_left'])} of work left"
    return f"{said}, {left}. Next: {then.exercise.name} ({then.exercise.topic}, {then.exercise.minutes} min)."


def duration(minutes: int) -> str:
    """Minutes as "35 min", "2 h" or "2 h 5 min"."""
    hours, rest = divmod(minutes, 60)
    return " ".join([*([f"{hours} h"] if hours else []), *([f"{rest} min"] if rest or not hours else [])])
