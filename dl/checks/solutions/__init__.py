"""Right answers and known mistakes as code, one module a topic; the student edition does without this folder.

A solution is written another way than the lesson's own, with PyTorch's layers where there are any, so that the two watch
each other. A mistake is the solution with one thing wrong; its outputs are compared with a student's to name the mistake.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mistake:
    """A known mistake of an exercise.

    Args:
        name: short identifier, "gate-order". says: what is done and what should be, one sentence. hint: a further step.
    """

    name: str
    function: Callable
    says: str
    hint: str = ""


@dataclass
class Solutions:
    """What a topic's module fills with its decorators."""

    right: dict[str, Callable] = field(default_factory=dict)
    wrong: dict[str, list[Mistake]] = field(default_factory=dict)

    def solution(self, exercise: str) -> Callable[[Callable], Callable]:
        """Decorator: this function solves the exercise."""

        def keep(function: Callable) -> Callable:
            if exercise in self.right:
                raise ValueError(f"solution: {exercise} has two")
            self.right[exercise] = function
            return function

        return keep

    def mistake(self, exercise: str, name: str, says: str, hint: str = "") -> Callable[[Callable], Callable]:
        """Decorator: this function is the exercise with a known mistake."""

        def keep(function: Callable) -> Callable:
            known = self.wrong.setdefault(exercise, [])
            if any(mistake.name == name for mistake in known):
                raise ValueError(f"mistake: {exercise} has {name} twice")
            known.append(Mistake(name, function, says, hint))
            return function

        return keep


def of(topic: str) -> Solutions:
    """The solutions and mistakes of a topic."""
    return importlib.import_module(f"dl.checks.solutions.{topic}").SOLUTIONS
