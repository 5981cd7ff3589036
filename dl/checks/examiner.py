"""Checking exercises: one way, for the notebooks, pytest and the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dl import settings
from dl.checks import answers, course
from dl.checks.calls import collect
from dl.checks.exercise import Exercise
from dl.checks.judge import ERROR, FAILED, MISSING, PASSED, SKIPPED, CheckResult, Result, judge, notes_on, plan
from dl.checks.library import Broken, Library


class NotSolved(AssertionError):
    """An exercise that is missing or not right; the message says what to do."""


class Examiner:
    """Checks exercises of the code in one folder, each at most once, and those they build on first."""

    def __init__(self, root: Path | str | None = None, seed: int | None = None) -> None:
        """Args: root: folder of the code (default: the project). seed: of the random inputs (default: a new one)."""
        self.root = Path(root) if root is not None else settings.project_root()
        self.seed = seed
        self.results: dict[str, Result] = {}
        self._libraries: dict[str, Library | Broken] = {}

    def check(self, exercise: Exercise) -> Result:
        """The verdict on an exercise."""
        if exercise.name not in self.results:
            start = time.perf_counter()
            result = self._check(exercise)
            result.seconds = time.perf_counter() - start
            self.results[exercise.name] = result
        return self.results[exercise.name]

    def library(self, topic: str) -> Library:
        """The code of a topic. Raises: Broken: if it cannot be loaded."""
        if topic not in self._libraries:
            try:
                self._libraries[topic] = Library(self.root, topic)
            except Broken as error:
                self._libraries[topic] = error
        library = self._libraries[topic]
        if isinstance(library, Broken):
            raise library
        return library

    def is_missing(self, exercise: Exercise) -> bool:
        """Whether the exercise is still the stub."""
        return self.library(exercise.topic).stub_text(exercise.name) is not None

    def _check(self, exercise: Exercise) -> Result:
        try:
            library = self.library(exercise.topic)
        except Broken as error:
            return self._single(exercise, "import", ERROR, f"{exercise.name}: {error}")
        stub = library.stub_text(exercise.name)
        if stub is not None:
            return self._single(exercise, "written", MISSING, stub)
        right = answers.of(exercise.topic)
        replaced: list[str] = []
        needs = [*exercise.needs, *([exercise.partner] if exercise.partner else [])]
        for need in course.find(needs) if needs else ():
            status = self.check(need).status
            if status == MISSING and right.can_replace and need.name != exercise.partner:
                replaced += [need.name, *([need.partner] if need.partner else [])]
            elif status != PASSED:
                return self._single(exercise, "builds on", SKIPPED, f"{exercise.name}: waits for {need.name} ({status})")
        calls = plan(exercise, right, right.seeds(self.seed))
        with library.patched(right.replacements(replaced)):
            collected = collect(library, exercise, calls)
        checks = judge(exercise, right, calls, collected)
        cause = next((check for check in checks if check.status != PASSED), None)
        return Result(
            exercise.name,
            exercise.topic,
            _module(exercise, library),
            cause.status if cause else PASSED,
            checks,
            note="; ".join(_notes(exercise, library, checks)) if cause is None else "",
        )

    def _single(self, exercise: Exercise, name: str, status: str, message: str) -> Result:
        check = CheckResult(name, SKIPPED if status == MISSING else status, message)
        return Result(exercise.name, exercise.topic, _module(exercise, self._libraries.get(exercise.topic)), status, [check])


def _notes(exercise: Exercise, library: Library, checks: Sequence[CheckResult]) -> list[str]:
    """What to say about an exercise that passes."""
    called = notes_on(exercise, library.sources.values())
    return [*([called] if called else []), *(check.message.removeprefix("note: ") for check in checks if check.message)]


def check(*names: str, root: Path | str | None = None, seed: int | None = None) -> list[Result]:
    """Check exercises, named as in the code, or whole topics, as the files are on disk now.

    Raises:
        UnknownExercise: if a name is neither.
    """
    wanted = course.find(names)
    examiner = Examiner(root, seed)
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
    say(f"{exercise.name}, hint {min(shown + 1, len(steps))} of {len(steps)}: {steps[min(shown, len(steps) - 1)]}")
    _LAST["shown"][exercise.name] = shown + 1


def hints(exercise: Exercise, result: Result | None = None) -> list[str]:
    """All steps: that of the recognised mistake first, the exercise's own, then the tensors of the failing check."""
    cause = result.cause if result else None
    steps = [cause.hint] if cause and cause.hint else []
    steps += exercise.hints or ("read the docstring once more, line by line, beside your code.",)
    if cause and cause.details:
        steps.append(f"these are the tensors.\n{cause.details}")
    return steps


_LAST: dict = {"name": None, "results": {}, "shown": {}}  # what `hint` speaks of


def _remember(results: Iterable[Result]) -> None:
    for result in results:
        if result.status == PASSED:
            _LAST["shown"].pop(result.exercise, None)
        elif result.status in (FAILED, ERROR, MISSING):
            _LAST["name"] = result.exercise
        _LAST["results"][result.exercise] = result


def _module(exercise: Exercise, library: Library | Broken | None) -> str:
    from dl.checks.exercise import MODULES

    names: Sequence[str] = MODULES[exercise.topic]
    if isinstance(library, Library):
        owner = exercise.name.partition(".")[0]
        for name, module in zip(names, library.modules, strict=True):
            value = vars(module).get(owner)
            if value is not None and getattr(value, "__module__", name) == name:
                return name
    return names[0]
