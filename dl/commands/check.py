"""The verb `check`: a table, the messages, one closing line; the same for machines as JSON."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dl.checks import course
from dl.checks.examiner import Examiner, Runner, hints
from dl.checks.exercise import MODULES
from dl.checks.judge import ERROR, FAILED, MISSING, PASSED, SKIPPED, Result
from dl.checks.library import Broken
from dl.commands import overview
from dl.console import FAILURE, SUCCESS, UsageError, write_json
from dl.sandbox.confine import Limits
from dl.sandbox.processes import Children
from dl.submit.files import find_project

STATUSES = (PASSED, FAILED, ERROR, MISSING, SKIPPED)


def run(
    names: Sequence[str],
    root: str = ".",
    json_file: str | None = None,
    verbose: bool = False,
    hinted: bool = False,
    seed: int | None = None,
    timeout: int = Limits.cpu,
) -> int:
    """Check exercises of the code in `root`, each in a process of its own; returns the exit code: 0 if all of them pass.

    Args:
        timeout: seconds that an exercise may compute; on the clock it has four times as long, and at least 60 s.
    """
    if json_file:
        Path(json_file).unlink(missing_ok=True)  # an old verdict is none on this code, whatever happens next
    if timeout < 1:
        raise UsageError(f"--timeout is {timeout}; it is the seconds that an exercise may compute. Give 1 or more.")
    start = time.perf_counter()
    with Children(Limits(timeout, max(60.0, 4.0 * timeout)), fork=True) as children:
        wanted, examiner = _prepare(names, root, seed, children.ask)
        topic = None
        for exercise in wanted:
            if exercise.topic != topic:
                topic = exercise.topic
                print(f"{topic}")
            result = examiner.check(exercise)
            print(_lines(result, verbose), flush=True)
            if hinted and result.status != PASSED:
                print("\n".join(f"    hint {i}: {step}" for i, step in enumerate(hints(exercise, result), start=1)))
    results = [examiner.results[exercise.name] for exercise in wanted]
    seconds = time.perf_counter() - start
    counts = Counter(result.status for result in results)
    if json_file:
        write_json(json_file, report(examiner.root, seconds, results))
    said = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
    print(
        f"{said} of {len(results)} exercises in {examiner.root.resolve()}, {seconds:.1f} s"
        + (f"; written to {json_file}" if json_file else "")
    )
    return SUCCESS if counts[PASSED] == len(results) else FAILURE


def show_list(names: Sequence[str], root: str = ".") -> int:
    """One line per exercise: written or still missing, how hard, how long. Nothing is run."""
    wanted, examiner = _prepare(names, root, None)
    try:
        rows = overview.written(examiner, wanted)
    except Broken as error:
        raise UsageError(str(error)) from error
    print("\n".join(map(str, rows)))
    missing = sum(row.status == MISSING for row in rows)
    time_needed = overview.duration(sum(row.exercise.minutes for row in rows))
    print(f"{len(rows)} exercises, about {time_needed} in all, {missing} missing, in {examiner.root.resolve()}")
    return SUCCESS


def report(root: Path, seconds: float, results: Sequence[Result]) -> dict:
    """The JSON of `check --json`."""
    counts = Counter(result.status for result in results)
    return {
        "root": str(root),
        "seconds": round(seconds, 3),
        **{status: counts[status] for status in STATUSES},
        "exercises": [
            {
                **{key: value for key, value in asdict(result).items() if key != "printed"},
                "seconds": round(result.seconds, 4),
                "checks": [
                    {key: getattr(check, key) for key in ("name", "status", "message", "diagnosis")} for check in result.checks
                ],
            }
            for result in results
        ],
    }


def place_of(root: str) -> Path:
    """The folder of the code to check: `root`, or the project around it. Raises: UsageError: if it is no folder of one."""
    if not Path(root).is_dir():
        raise UsageError(f"{root} is not a folder. Give the folder that holds the lesson modules.")
    lessons = (name.replace(".", "/") + ".py" for names in MODULES.values() for name in names)
    return Path(root) if any(Path(root, lesson).exists() for lesson in lessons) else find_project(Path(root))


def _prepare(names: Sequence[str], root: str, seed: int | None, run: Runner | None = None):
    place = place_of(root)
    try:
        return course.find(names), Examiner(place, seed, run)
    except course.UnknownExercise as error:
        raise UsageError(str(error)) from error


def _lines(result: Result, verbose: bool) -> str:
    count = len(result.checks)
    end = f"{count} checks" if result.status == PASSED else ""
    lines = [f"  {result.status:<8} {result.exercise:<40} {end}".rstrip()]
    if result.note:
        lines.append(f"    note: {result.note}")
    if result.status != PASSED:
        lines += [f"    {line}" for line in result.message.splitlines()]
    if verbose:
        lines += [f"    printed: {line}" for line in result.printed.splitlines()]
        lines += [f"    {check.status:<8} {check.name}" for check in result.checks]
        if result.cause and result.cause.details:
            lines += [f"    {line}" for line in result.cause.details.splitlines()]
    return "\n".join(lines)
