"""The other side of `dl.sandbox.child`: starts that process, asks it to call an exercise, reads what came out.

What comes back was written by a process that ran a student's code. It is taken for outputs, never for a verdict.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from dl.checks.calls import Record, generator_seed
from dl.checks.exercise import Case, Exercise, Values
from dl.checks.library import Broken, Stopped
from dl.sandbox import child, confine
from dl.sandbox.child import Sandbox
from dl.sandbox.confine import Limits
from dl.sandbox.wire import from_frame, to_frame

SLACK = 60.0  # seconds on the clock that the serving process may be late, before it is given up
STARTING = 300.0  # seconds that it has to start: on a busy machine loading torch takes a minute
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "cannot allocate memory")
GENEROUS, ONES_OWN = Limits(), Sandbox()
PACKAGE = Path(__file__).resolve().parents[2]


class Children:
    """A process that calls exercises, each in a child of its own, where that is possible.

    It is started at the first question, and again after it was lost. `with` ends it.
    """

    def __init__(
        self, limits: Limits = GENEROUS, sandbox: Sandbox = ONES_OWN, package: Path = PACKAGE, fork: bool = False
    ) -> None:
        """Args:
        limits: of one exercise. sandbox: what else holds the student's code (default: nothing; it is one's own).
        package: folder of the copy of the project that the process imports.
        fork: whether to fork this process, which must have one thread, instead of starting Python anew: quicker.
        """
        self.forks = child.FORKS
        self.limits, self.sandbox, self.package = limits, sandbox, package
        self.fork = fork and self.forks
        self.cpu_seconds = 0.0
        self._process: subprocess.Popen | None = None
        self._pid = 0
        self._pipes: tuple[int, int] | None = None  # to read from, to write to
        self._layers: list[str] | None = None

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def layers(self) -> list[str]:
        """The layers of the sandbox that hold, tried. Waits until the process is ready."""
        self.start()
        if self._layers is None:
            assert self._pipes is not None
            with self._ended_after(STARTING):
                frame = child.read_frame(self._pipes[0])
            if not frame:
                self.close()
                raise RuntimeError("the process that calls exercises did not start. Try python -c 'import dl.sandbox.child'.")
            self._layers = from_frame(frame)["layers"]
        return self._layers

    def start(self) -> None:
        """Start the process if there is none, without waiting for it."""
        if self._pipes is None:
            (self._start_forked if self.fork else self._start_anew)()

    def ask(
        self, root: Path, exercise: Exercise, calls: Sequence[tuple[Case, Values, int]], replaced: Sequence[str] = ()
    ) -> dict:
        """What `dl.checks.calls.collect` returns, without the sources, from the code in `root`.

        Args:
            replaced: exercises to be replaced by their solutions, which the process then has to have.
        Raises:
            Broken: if the code cannot be loaded. Stopped: if it brought nothing.
        """
        request = {
            "root": str(root.resolve()),
            "topic": exercise.topic,
            "exercise": exercise.name,
            "cases": [case.name for case, _, _ in calls],
            "inputs": [inputs for _, inputs, _ in calls],
            "starts": [generator_seed(seed) for _, _, seed in calls],
            "replaced": list(replaced),
            "limits": asdict(self.limits),
            "fork": self.forks,
        }
        try:
            collected = from_frame(self._exchange(to_frame(request)))
            if "broken" in collected:
                raise Broken(str(collected["broken"]))
            return _checked(collected, len(calls))
        except (ValueError, TypeError, KeyError) as error:
            raise Stopped("crashed", "what it sent back is no result of a call") from error

    def close(self) -> None:
        """End the process and all that runs in it."""
        if self._pipes is not None:
            for pipe in self._pipes:
                os.close(pipe)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        elif self._pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._pid, 9)
                os.waitpid(self._pid, 0)
        self._process, self._pid, self._pipes, self._layers = None, 0, None, None

    def _exchange(self, request: bytes) -> bytes:
        """Send a request, return the answer of the student's process. Raises: Stopped."""
        assert self.layers is not None and self._pipes is not None
        with self._ended_after(self.limits.wall + (SLACK if self.forks else 0)) as late:
            try:
                child.write_all(self._pipes[1], request)
                about = from_frame(child.read_frame(self._pipes[0]))
                self.cpu_seconds += about["cpu_seconds"]
                if about["kind"] != "answered":
                    raise Stopped(about["kind"], about["words"])
                return child.read_frame(self._pipes[0])
            except (ValueError, OSError) as error:
                self.close()
                if late.is_set():
                    raise Stopped("timeout", f"it was stopped after {self.limits.wall:.0f} seconds on the clock") from error
                raise Stopped("crashed", "it ended the process that ran it") from error
            except KeyboardInterrupt:  # the answer would be taken for that of the next question
                self.close()
                raise

    @contextlib.contextmanager
    def _ended_after(self, seconds: float) -> Iterator[threading.Event]:
        """Within it, the process is killed after so many seconds on the clock; the event says whether it was."""
        late = threading.Event()

        def end() -> None:
            late.set()
            if self._process is not None:
                self._process.kill()
            elif self._pid:
                os.kill(self._pid, 9)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()

    def _start_forked(self) -> None:
        requests, answers = os.pipe(), os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # BLAS has threads, which do nothing meanwhile
            self._pid = os.fork()
        if self._pid == 0:
            try:
                os.setsid()
                child.confine.die_with_parent()
                os.close(requests[1])
                os.close(answers[0])
                child.serve(requests[0], answers[1], self.sandbox)
            finally:
                os._exit(1)
        os.close(requests[0])
        os.close(answers[1])
        self._pipes = answers[0], requests[1]

    def _start_anew(self) -> None:
        environment = dict(os.environ)
        if self.sandbox.layers:
            environment = {key: os.environ[key] for key in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if key in os.environ}
            environment |= {"HOME": self.sandbox.temporary, "TMPDIR": self.sandbox.temporary, "LANG": "C.UTF-8"}
        path = [str(self.package), *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])]
        environment |= {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        environment["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"  # a fork copies an entry for each page: fewer, larger ones
        command = [sys.executable, "-m", "dl.sandbox.child", json.dumps(asdict(self.sandbox))]
        if "seatbelt" in self.sandbox.layers:
            command = confine.seatbelt(self.sandbox.temporary, self.sandbox.hidden) + command
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self.package, env=environment, start_new_session=True
        )
        assert self._process.stdout is not None and self._process.stdin is not None
        self._pipes = os.dup(self._process.stdout.fileno()), os.dup(self._process.stdin.fileno())
        self._process.stdout.close()
        self._process.stdin.close()


@cache
def shared() -> Children:
    """The process that the notebooks and tests of this Python ask; it ends with it."""
    children = Children()
    atexit.register(children.close)
    return children


def _checked(collected: Mapping, count: int) -> dict:
    """A hostile process may have sent anything: the form that the judge relies on. Raises: ValueError, TypeError, KeyError."""
    records = [_record(kept) for kept in collected["records"]]
    for record in records:
        if record.error and (
            record.error["kind"] == "MemoryError" or any(words in record.error["message"].lower() for words in OUT_OF_MEMORY)
        ):
            raise Stopped("memory", f"it asked for more memory than a check has ({record.error['message'][:80]})")
    if len(records) != count:
        raise ValueError(f"{len(records)} records of {count} calls")
    return {"signature": [(str(name), bool(optional)) for name, optional in collected["signature"]], "records": records}


def _record(kept: Mapping) -> Record:
    outputs, error, after = kept["outputs"], kept["error"], kept["after"]
    if error is not None:
        error = {key: str(error[key]) for key in ("kind", "message", "place")}
    elif not isinstance(outputs, dict):
        raise ValueError("neither outputs nor an error")
    if not isinstance(after, dict):
        raise ValueError("no inputs after the call")
    return Record(outputs, error, after, float(kept["seconds"]), bool(kept["reseeded"]), str(kept["printed"]))
