"""All exercises in the order of the course, and how they are found by name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from functools import cache

from dl.checks.exercise import MODULES, Exercise


class UnknownExercise(ValueError):
    """A name that is neither an exercise nor a topic."""


@cache
def exercises(topic: str) -> tuple[Exercise, ...]:
    """The exercises of a topic, in course order: each needs only earlier ones."""
    return importlib.import_module(f"dl.checks.{topic}").EXERCISES


def find(names: Sequence[str]) -> list[Exercise]:
    """The exercises of these names or topics, in course order; all for no name.

    Raises:
        UnknownExercise: if a name is neither; close ones are offered.
    """
    every = [exercise for topic in MODULES for exercise in exercises(topic)]
    known = {name: exercise for exercise in every for name in (exercise.name, *exercise.aliases)}
    unknown = [name for name in names if name not in known and name not in MODULES]
    if unknown:
        close = difflib.get_close_matches(unknown[0], [*known, *MODULES], n=3, cutoff=0.4)
        offer = f"did you mean {' or '.join(close)}?" if close else f"topics are {', '.join(MODULES)}."
        raise UnknownExercise(f'no exercise called {", ".join(unknown)}; {offer} "python -m dl check --list" shows all.')
    wanted = {known[name].name for name in names if name in known}
    return [e for e in every if not names or e.name in wanted or e.topic in names]
