"""One submission after another through `dl.checks`: the student's code in a confined process, the judgement here.

The confined process imports a trusted copy of what students are given: no solutions, no references, no mistakes. Inputs are
drawn from a secret seed, the same for every submission of a run, and only inputs are sent.
"""

from __future__ import annotations

import atexit
import hashlib
import hmac
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dl import __version__, settings
from dl.checks import answers, course
from dl.checks.compare import cut
from dl.checks.examiner import Examiner, hints, single
from dl.checks.exercise import Exercise
from dl.checks.judge import ERROR, MISSING, PASSED, Plan, Result
from dl.checks.library import Stopped
from dl.grading.intake import LESSONS
from dl.sandbox.child import Sandbox
from dl.sandbox.confine import LAYERS, Limits
from dl.sandbox.processes import Children

ENDS = ("timeout", "crashed", "memory")
FORBIDDEN = "forbidden"  # diagnosis of an exercise that the sandbox refused something
SYSTEM = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/urandom", "/dev/zero", "/sys/devices/system/cpu")


@dataclass(frozen=True)
class Order:
    """How submissions are graded; all that a worker has to know.

    Args:
        seed: secret; inputs are drawn from it. timeout: seconds that an exercise may compute. memory: bytes it may take.
        hidden: files and folders that no submission may see, beside the project itself.
    """

    seed: str
    timeout: int
    memory: int = 4 * 2**30
    hidden: tuple[str, ...] = ()


class Desk:
    """A place to grade at: the trusted copy, the confined process, and the folder in which one submission lies at a time."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._folder = tempfile.TemporaryDirectory(prefix="dl-grade-", ignore_cleanup_errors=True)
        place = Path(self._folder.name).resolve()
        self.code, trusted, home = place / "code", place / "handout", place / "home"
        for folder in (self.code, trusted, home):
            folder.mkdir()
        self.stubs = hand_out(trusted)
        readable = (str(trusted), str(self.code), *_readable())
        sandbox = Sandbox(LAYERS, str(home), readable, tuple(_hidden([*order.hidden, *_parts_of_the_project()], place)))
        limits = Limits(order.timeout, max(60.0, 4.0 * order.timeout), order.memory)
        self.children = Children(limits, sandbox, package=trusted)
        self.children.start()

    def close(self) -> None:
        """End the process, remove the folder."""
        self.children.close()
        self._folder.cleanup()

    def grade(self, contents: Mapping[str, bytes], names: Sequence[str] = ()) -> dict:
        """Verdicts on the exercises of one submission.

        Args:
            contents: the student's files, by path; the trusted stub takes the place of a lesson that is not there.
            names: of exercises or topics (default: all).
        Returns:
            "exercises": one entry each, as in `grade --json` without points; "cpu_seconds".
        """
        start = time.process_time() + self.children.cpu_seconds
        if not self.children.forks:
            self.children.close()  # where all exercises share a process, at least submissions do not
        for lesson in LESSONS:
            path = self.code / lesson
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents.get(lesson, self.stubs[lesson]))
        examiner = _Examiner(self)
        entries = [_entry(exercise, _checked(examiner, exercise), contents) for exercise in course.find(names)]
        spent = time.process_time() + self.children.cpu_seconds - start
        return {"exercises": entries, "cpu_seconds": round(spent, 2)}


class _Examiner(Examiner):
    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.code, run=self._ask, replace=False)
        self._secret, self._children = desk.order.seed.encode(), desk.children

    def _ask(self, root: Path, exercise: Exercise, calls: Plan, replaced: Sequence[str]) -> dict:
        """What the calls bring. Raises: Stopped: also where one was refused something, whatever the others bring."""
        collected = self._children.ask(root, exercise, calls, replaced)
        for record in collected["records"]:
            if record.error and record.error["kind"] == "PermissionError":
                place = f" ({record.error['place']})" if record.error["place"] else ""
                raise Stopped(FORBIDDEN, f"it tried what no submission may do: {cut(record.error['message'])}{place}")
        return collected

    def seed_of(self, exercise: Exercise) -> int:
        """From the secret seed, another for each exercise."""
        digest = hmac.new(self._secret, exercise.name.encode(), hashlib.sha256).digest()
        return int.from_bytes(digest[:8], "big") % answers.SEEDS


def _checked(examiner: Examiner, exercise: Exercise) -> Result:
    try:
        with warnings.catch_warnings():  # torch warns of odd values; who grades has the verdict
            warnings.simplefilter("ignore")
            return examiner.check(exercise)
    except Exception as error:  # values that no code of the checks expects: a submission never stops the others
        words = f"what it brought cannot be judged ({type(error).__name__})"
        result = single(exercise, "returns a result", ERROR, f"{exercise.name}: {words}")
        examiner.results[exercise.name] = result
        return result


def _entry(exercise: Exercise, result: Result, contents: Mapping[str, bytes]) -> dict:
    cause = result.cause
    status = cause.diagnosis if cause and result.status == ERROR and cause.diagnosis in ENDS else result.status
    message = result.message
    module = result.module.replace(".", "/") + ".py"
    run = [check for check in result.checks if check.name != "signature"]  # for which the code has run
    if result.status == MISSING and module not in contents:
        message = f"{exercise.name}: {module} is not in the submission"
    return {
        "exercise": exercise.name,
        "topic": exercise.topic,
        "status": status,
        "message": message,
        "diagnosis": cause.diagnosis if cause else None,
        "note": result.note,
        "hints": [] if result.status == PASSED else [step for step in hints(exercise, result) if "the tensors" not in step],
        "checks": len(run),
        "passed_checks": sum(check.status == PASSED for check in run),
    }


@cache
def desk(order: Order) -> Desk:
    """The desk of this process for an order; it is closed with the process."""
    made = Desk(order)
    atexit.register(made.close)
    return made


def hand_out(target: Path) -> dict[str, bytes]:
    """Write what students are given, without what their code does not need, into a folder; returns the lessons' stubs."""
    from dl.student import markers, project_files

    root = settings.project_root()
    stubs: dict[str, bytes] = {}
    for path in project_files(root):
        if not path.endswith((".py", ".json", ".toml")) or path.startswith(("notebooks/", "tests/", "datasets/")):
            continue
        content = (root / path).read_bytes()
        if path.endswith(".py") and markers.blocks(text := content.decode(), path):
            content = markers.hand_out(text, path).encode()
        if path in LESSONS:
            stubs[path] = content
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(content)
    return stubs


@cache
def version() -> str:
    """Version of the grader: of the package, and a digest of all that decides a verdict."""
    root, digest = settings.project_root(), hashlib.sha256()
    deciding = (root / path for path in ("dl/grading/engine.py", "dl/grading/intake.py", *LESSONS))
    for path in sorted([*root.glob("dl/checks/**/*"), *root.glob("dl/sandbox/*"), *deciding]):
        if path.suffix in (".py", ".toml", ".json"):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"


def _readable() -> list[str]:
    """What Python itself needs to read: its own folders, installed packages, the system's libraries."""
    root, python = settings.project_root(), (sys.prefix, sys.base_prefix)
    packages = [
        path
        for path in map(Path, filter(None, sys.path))
        if path.exists() and not (path / "a2_helper.py").exists() and not root.is_relative_to(path.resolve())
    ]
    packages = [path for path in packages if not path.is_relative_to(root) or any(map(path.is_relative_to, python))]
    return [*python, *map(str, packages), *SYSTEM]


def _parts_of_the_project() -> list[str]:
    """All that lies in the project, with its solutions and answers."""
    return [str(path) for path in settings.project_root().iterdir()]


def _hidden(paths: Iterable[str], place: Path) -> list[str]:
    """Of these paths those that can be hidden: not what the process works with, or what that lies in."""
    needed = [place, *(Path(path).resolve() for path in _readable() if not path.startswith("/dev"))]
    return [path for path in paths if not os.path.islink(path) and not any(kept.is_relative_to(path) for kept in needed)]
