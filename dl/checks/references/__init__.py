"""Right answers as plain code, one module per topic; the student edition does without this folder.

A reference is written independently of the lesson, so that the two watch each other, and plainly, so that a known mistake
is a small edit of its text (`dl.checks.mistakes`).
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """The right answer of an exercise, and the helpers whose text may be edited along with it."""

    function: Callable
    helpers: tuple[Callable, ...] = ()

    @property
    def source(self) -> str:
        """The text of the helpers and the function, without decorators."""
        return "\n\n".join(_source(part) for part in (*self.helpers, self.function))

    def edited(self, patch: str) -> Callable:
        """The function with another text: `old => new`, several edits joined by ` && `, in order.

        Raises:
            ValueError: if an old text does not occur exactly once.
        """
        source = edit(self.source, patch, self.function.__name__)
        scope = dict(vars(sys.modules[self.function.__module__]))
        exec(compile(source, f"<{self.function.__name__}: {patch}>", "exec"), scope)
        return scope[self.function.__name__]


class References(dict[str, Reference]):
    """The references of a topic, by exercise."""

    def add(self, *exercises: str, helpers: tuple[Callable, ...] = ()) -> Callable[[Callable], Callable]:
        """Decorator: this function solves the exercises."""

        def keep(function: Callable) -> Callable:
            for exercise in exercises:
                if exercise in self:
                    raise ValueError(f"References.add: {exercise} has two")
                self[exercise] = Reference(function, helpers)
            return function

        return keep


def edit(source: str, patch: str, name: str) -> str:
    """A text with the edits of a patch made: `old => new`, joined by ` && `. Raises: ValueError: see `Reference.edited`."""
    for step in patch.split(" && "):
        old, arrow, new = step.partition(" => ") if " => " in step else (step.removesuffix(" =>"), " =>", "")
        if source.count(old) != 1:
            raise ValueError(f"{name}: {old!r} occurs {source.count(old)} times; wanted once, in\n{source}")
        source = source.replace(old, new)
    return source


def of(topic: str) -> References:
    """The references of a topic."""
    return importlib.import_module(f"dl.checks.references.{topic}").REFERENCES


def _source(function: Callable) -> str:
    text = textwrap.dedent(inspect.getsource(function))
    node = ast.parse(text).body[0]
    return "\n".join(text.splitlines()[node.lineno - 1 :])
