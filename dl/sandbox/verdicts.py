"""Checks asked for in a notebook or a test: each exercise in a process of its own, and hints on the last that did not pass."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

from dl.checks import course
from dl.checks.examiner import Examiner, hints
from dl.checks.judge import ERROR, FAILED, MISSING, PASSED, Result
from dl.sandbox.processes import shared

HINT_WIDTH = 95  # characters


class NotSolved(AssertionError):
    """An exercise that is missing or not right; the message says what to do."""


def check(*names: str, root: Path | str | None = None, seed: int | None = None) -> list[Result]:
    """Check exercises, named as in the code, or whole topics, as the files are on disk now.

    Raises:
        UnknownExercise: if a name is neither.
    """
    wanted = course.find(names)
    examiner = Examiner(root, seed, shared().ask)
    results = [examiner.check(exercise) for exercise in wanted]
    _remember(results)
    return results


def require(*names: str, root: Path | str | None = None) -> list[Result]:
    """As `check`, and raise at the first exercise that does not pass.

    Raises:
        NotSolved: with the message of the first one that is missing or wrong.
    """
    results = check(*names, root=root)
    for result in results:
        if result.status != PASSED:
            raise NotSolved(result.message)
    return results


def hint(name: str | None = None, say: Callable[[str], None] = print) -> None:
    """Say the next hint on an exercise (default: the last one that did not pass), and at the end show its tensors."""
    name = name or _LAST.get("name")
    if name is None:
        say('No exercise has failed yet. hint("NAME") gives hints on one, python -m dl check --list shows all.')
        return
    exercise = course.find([name])[0]
    steps = hints(exercise, _LAST["results"].get(exercise.name))
    shown = _LAST["shown"].get(exercise.name, 0)
    text = f"{exercise.name}, hint {min(shown + 1, len(steps))} of {len(steps)}: {steps[min(shown, len(steps) - 1)]}"
    say("\n".join(textwrap.fill(line, HINT_WIDTH) for line in text.splitlines()))  # JupyterLab breaks long lines within words
    _LAST["shown"][exercise.name] = shown + 1


_LAST: dict = {"name": None, "results": {}, "shown": {}}  # what `hint` speaks of


def _remember(results: Iterable[Result]) -> None:
    for result in results:
        if result.status == PASSED:
            _LAST["shown"].pop(result.exercise, None)
        elif result.status in (FAILED, ERROR, MISSING):
            _LAST["name"] = result.exercise
        _LAST["results"][result.exercise] = result
