"""Checking exercises: one way, for the notebooks, pytest and the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dl import settings
from dl.checks import answers, course
from dl.checks.calls import collect
from dl.checks.exercise import MODULES, Exercise
from dl.checks.judge import ERROR, FAILED, MISSING, PASSED, SKIPPED, CheckResult, Plan, Result, judge, notes_on, plan
from dl.checks.library import Broken, Library, Source, Stopped

WAITING = {  # for an exercise: what is wrong with it
    MISSING: "which is not written yet",
    FAILED: "which is not right yet",
    ERROR: "which raises an error",
    SKIPPED: "which waits itself",
    "timeout": "which ran out of time",
    "memory": "which ran out of memory",
    "crashed": "which ended its process",
    "forbidden": "which tried what is not allowed",
}
Runner = Callable[[Path, Exercise, Plan, Sequence[str]], dict]


class Examiner:
    """Checks exercises of the code in one folder, each at most once, and those they build on first."""

    def __init__(
        self, root: Path | str | None = None, seed: int | None = None, run: Runner | None = None, replace: bool = True
    ) -> None:
        """Args:
        root: folder of the code (default: the project). seed: of the random inputs (default: a new one).
        run: makes the calls and returns what comes out (default: in this process, which is for code that is trusted).
        replace: whether what an exercise needs and is missing is replaced by its solution, where there is one.
        """
        self.root = Path(root) if root is not None else settings.project_root()
        self.seed, self.replace = seed, replace
        self.run = run or run_here
        self.results: dict[str, Result] = {}
        self._sources: dict[str, Source | Broken] = {}

    def check(self, exercise: Exercise) -> Result:
        """The verdict on an exercise."""
        if exercise.name not in self.results:
            start = time.perf_counter()
            result = self._check(exercise)
            result.seconds = time.perf_counter() - start
            self.results[exercise.name] = result
        return self.results[exercise.name]

    def source(self, topic: str) -> Source:
        """The texts of a topic. Raises: Broken: if they cannot be read, or are no Python."""
        if topic not in self._sources:
            try:
                self._sources[topic] = Source(self.root, topic)
            except Broken as error:
                self._sources[topic] = error
        source = self._sources[topic]
        if isinstance(source, Broken):
            raise source
        return source

    def is_missing(self, exercise: Exercise) -> bool:
        """Whether the exercise is still the stub."""
        return self.source(exercise.topic).stub_text(exercise.name) is not None

    def seed_of(self, exercise: Exercise) -> int | None:
        """From which the inputs of an exercise are drawn; None: from any."""
        return self.seed

    def _check(self, exercise: Exercise) -> Result:
        try:
            source = self.source(exercise.topic)
        except Broken as error:
            return single(exercise, "import", ERROR, f"{exercise.name}: {error}")
        module = source.module_of(exercise.name)
        stub = source.stub_text(exercise.name)
        if stub is not None:
            return single(exercise, "written", MISSING, stub, module)
        right = answers.of(exercise.topic)
        replaced: list[str] = []
        needs = [*exercise.needs, *([exercise.partner] if exercise.partner else [])]
        for need in course.find(needs) if needs else ():
            found = self.check(need)
            status = found.status
            if status == MISSING and self.replace and right.can_replace and need.name != exercise.partner:
                replaced += [need.name, *([need.partner] if need.partner else [])]
            elif status != PASSED:
                return single(exercise, "builds on", SKIPPED, f"{exercise.name}: waits for {need.name}, {_why(found)}", module)
        calls = plan(exercise, right, right.seeds(self.seed_of(exercise)))
        try:
            collected = self.run(self.root, exercise, calls, replaced)
        except Broken as error:
            return single(exercise, "import", ERROR, f"{exercise.name}: {error}", module)
        except Stopped as error:
            return single(exercise, "returns a result", ERROR, f"{exercise.name}: {error}", module, error.kind)
        return _judged(exercise, source, module, calls, collected)


def _why(result: Result) -> str:
    """Why the exercises that build on this one wait."""
    diagnosis = result.cause.diagnosis if result.cause and result.status == ERROR else None
    return WAITING.get(diagnosis or "", WAITING[result.status])


def run_here(root: Path, exercise: Exercise, calls: Plan, replaced: Sequence[str]) -> dict:
    """Load the code into this process and make the calls. Raises: Broken: if it cannot be loaded."""
    library = Library(root, exercise.topic)
    with library.patched(answers.of(exercise.topic).replacements(list(replaced))):
        return collect(library, exercise, calls)


def _judged(exercise: Exercise, source: Source, module: str, calls: Plan, collected: dict) -> Result:
    checks = judge(exercise, answers.of(exercise.topic), calls, {**collected, "sources": source.sources})
    cause = next((check for check in checks if check.status != PASSED), None)
    note = "; ".join(_notes(exercise, source, checks)) if cause is None else ""
    printed = "".join(record.printed for record in collected["records"])
    return Result(exercise.name, exercise.topic, module, cause.status if cause else PASSED, checks, note=note, printed=printed)


def single(exercise: Exercise, name: str, status: str, message: str, module: str = "", diagnosis: str | None = None) -> Result:
    """A verdict on an exercise of which nothing was compared."""
    check = CheckResult(name, SKIPPED if status == MISSING else status, message, diagnosis)
    return Result(exercise.name, exercise.topic, module or MODULES[exercise.topic][0], status, [check])


def _notes(exercise: Exercise, source: Source, checks: Sequence[CheckResult]) -> list[str]:
    """What to say about an exercise that passes."""
    called = notes_on(exercise, source.trees.values())
    return [*([called] if called else []), *(check.message.removeprefix("note: ") for check in checks if check.message)]


def hints(exercise: Exercise, result: Result | None = None) -> list[str]:
    """All steps: that of the recognised mistake first, the exercise's own, then the tensors of the failing check."""
    cause = result.cause if result else None
    steps = [cause.hint] if cause and cause.hint else []
    steps += exercise.hints or ("read the docstring once more, line by line, beside your code.",)
    if cause and cause.details:
        steps.append(f"these are the tensors.\n{cause.details}")
    return steps
