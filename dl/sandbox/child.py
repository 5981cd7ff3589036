"""The process in which a student's code runs. It is asked to call an exercise and answers with what came out.

`dl.sandbox.processes` starts it, asks, and judges; this side knows neither right answers nor seeds. Where processes can be
forked, each exercise has one of its own, which is gone, with all that it started, before the next begins.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import sys
import time
import warnings
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from dl.sandbox import confine
from dl.sandbox.confine import Limits

FORKS = sys.platform.startswith(("linux", "freebsd"))  # elsewhere a process with torch loaded cannot be forked safely
MOST_DESCRIPTORS = 4096  # open files of a server that are closed in a child
UNANSWERED = 70  # exit code of a child
GRACE = 2.0  # seconds between the end of a child's pipe and that of the child
PREPARED = {  # what the lessons of a topic import, but no lesson
    "captioning": ("dl.image_utils",),
    "transformers": ("dl.guards.transformers",),
    "simclr": ("torchvision.datasets", "torchvision.transforms", "tqdm.auto", "numpy.typing", "dl.data"),
    "clip_dino": ("clip", "dl.guards.clip_dino", "dl.models.small_clip", "dl.video", "dl.weights"),
}


@dataclass(frozen=True)
class Sandbox:
    """What holds the student's code, beyond its limits; empty for one's own code.

    Args:
        layers: of `dl.sandbox.confine`, those wanted, then those that hold.
        temporary: its only writable folder, and its home. readable: what it may read. hidden: what must not be seen.
    """

    layers: tuple[str, ...] = ()
    temporary: str = ""
    readable: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


@dataclass
class Ended:
    """How the process of an exercise ended: its answer, or "timeout", "crashed" or "memory" and why."""

    kind: str = "answered"
    words: str = ""
    cpu_seconds: float = 0.0
    frame: bytes = field(default=b"", repr=False)


def main(arguments: list[str]) -> None:
    """Serve on standard input and output, in the sandbox that the first argument describes."""
    wanted = Sandbox(**json.loads(arguments[0]))
    sys.argv[1:], sys.orig_argv[1:] = [], []  # names of other submissions are not the student's business
    receive, send = os.dup(0), os.dup(1)
    _silence(1)
    sandbox = _namespaced(wanted)
    if sandbox.layers:  # an installation of another copy of the project may lie on the path
        sys.path[:] = [path for path in sys.path if path == sys.path[0] or not Path(path, "a2_helper.py").exists()]
    serve(receive, send, sandbox)


def serve(receive: int, send: int, sandbox: Sandbox) -> None:
    """Answer requests until there are no more; then this process ends.

    Args:
        receive, send: file descriptors of frames (`dl.sandbox.wire`).
    """
    import torch

    from dl.sandbox.wire import from_frame, to_frame

    torch.set_num_threads(1)
    if FORKS:
        confine.adopt_orphans()
    sys.breakpointhook = _no_breakpoint
    sandbox = _tried(sandbox)
    write_all(send, to_frame({"layers": list(sandbox.layers)}))
    while frame := read_frame(receive):
        request = from_frame(frame)
        prepare(request["topic"])
        ended = _in_a_child(request, sandbox, receive) if request["fork"] else Ended(frame=_answer(request))
        about = {"kind": ended.kind, "words": ended.words, "cpu_seconds": ended.cpu_seconds}
        write_all(send, to_frame(about) + ended.frame)
    os._exit(0)


def prepare(topic: str) -> None:
    """Import, before forking, what every child would have to import."""
    from dl.checks import course

    course.exercises(topic)
    for name in PREPARED.get(topic, ()):
        with contextlib.suppress(ImportError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)


def _namespaced(sandbox: Sandbox) -> Sandbox:
    """Move into namespaces if wanted and allowed; this process then waits for the server, which goes on."""
    if "namespaces" not in sandbox.layers:
        return sandbox
    if not confine.LINUX or not confine.holds(lambda: confine.enter_namespaces(sandbox.temporary, sandbox.hidden)):
        return _without(sandbox, "namespaces")
    confine.enter_namespaces(sandbox.temporary, sandbox.hidden)
    server = os.fork()
    if server:
        os.closerange(0, MOST_DESCRIPTORS)
        os.waitpid(server, 0)
        os._exit(0)
    confine.die_with_parent()
    confine.fresh_processes()
    return sandbox


def _tried(sandbox: Sandbox) -> Sandbox:
    """The sandbox with those layers that hold here."""
    for layer, enter in (("landlock", partial(_enter_landlock, sandbox)), ("seccomp", confine.restrict_calls)):
        if layer in sandbox.layers and not (FORKS and confine.holds(enter)):
            sandbox = _without(sandbox, layer)
    if "seatbelt" in sandbox.layers and not confine.network_is_refused():
        sandbox = _without(sandbox, "seatbelt")
    return sandbox


def _without(sandbox: Sandbox, layer: str) -> Sandbox:
    return replace(sandbox, layers=tuple(kept for kept in sandbox.layers if kept != layer))


def _enter_landlock(sandbox: Sandbox) -> None:
    confine.restrict_paths(sandbox.readable, [sandbox.temporary, os.devnull])


def _in_a_child(request: dict, sandbox: Sandbox, control: int) -> Ended:
    limits = Limits(**request["limits"])
    reading, writing = os.pipe()
    gc.freeze()
    process = os.fork()
    if process == 0:
        try:
            _become_a_child(limits, sandbox, writing)
            write_all(writing, _answer(request))
        finally:
            os._exit(UNANSWERED)
    os.close(writing)
    frame, why = _listen(reading, control, limits)
    os.close(reading)
    ended = _end(process, why, frame, limits)
    _end_the_rest(sandbox)
    return ended


def _become_a_child(limits: Limits, sandbox: Sandbox, writing: int) -> None:
    """Leave everything of the server behind but the one end of a pipe."""
    os.setsid()
    confine.die_with_parent()
    _silence(2)
    os.closerange(3, writing)
    os.closerange(writing + 1, MOST_DESCRIPTORS)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sandbox.temporary:
        os.chdir(sandbox.temporary)
        os.environ.clear()
        os.environ.update(HOME=sandbox.temporary, TMPDIR=sandbox.temporary, PATH=os.defpath, LANG="C.UTF-8")
    confine.limit(limits, strict=bool(sandbox.temporary))
    if "landlock" in sandbox.layers:
        _enter_landlock(sandbox)
    if sandbox.temporary and confine.LINUX:
        confine.drop_privileges()
    if "seccomp" in sandbox.layers:
        confine.restrict_calls()


def _no_breakpoint(*arguments: object, **named: object) -> None:
    raise RuntimeError("breakpoint() has nobody to talk to in a check: take it out, or call your function in a notebook")


def _answer(request: dict) -> bytes:
    """Load the code, make the calls, collect what comes out, each result at once: what is changed later is not seen."""
    from dl.checks import answers, course
    from dl.checks.calls import perform, signature
    from dl.checks.library import Broken, Library
    from dl.sandbox.wire import Outgoing

    outgoing, topic, name = Outgoing(), request["topic"], request["exercise"]
    cases = {case.name: case for exercise in course.exercises(topic) if exercise.name == name for case in exercise.cases}
    try:
        library = Library(Path(request["root"]), topic)
    except Broken as error:
        return outgoing.frame(outgoing.put({"broken": str(error)}))
    except BaseException as error:
        return outgoing.frame(outgoing.put({"broken": f"the file ends its import with {type(error).__name__}"}))
    replacements = answers.of(topic).replacements(request["replaced"]) if request["replaced"] else {}
    records = []
    with library.patched(replacements):
        names = outgoing.put([list(pair) for pair in signature(library, name)])
        for case, inputs, start in zip(request["cases"], request["inputs"], request["starts"]):
            record = perform(library, cases[case], inputs, start, caught=(BaseException,))
            records.append(outgoing.put(vars(record)))
            if record.error and record.error["kind"] == "MemoryError":  # the other calls would take as long
                break
    return outgoing.frame({"dict": [["signature", names], ["records", records]]})


def _listen(reading: int, control: int, limits: Limits) -> tuple[bytes, str]:
    """What the child sends, and why it was not heard to the end: "", "timeout", or what is wrong with its answer."""
    from dl.sandbox.wire import size_of

    data, deadline = bytearray(), time.monotonic() + limits.wall
    while True:
        ready, _, _ = select.select([reading, control], [], [], max(0.0, deadline - time.monotonic()))
        if control in ready:  # nobody waits for the answer any more
            return b"", "crashed"
        if not ready:
            return b"", "timeout"
        chunk = os.read(reading, 2**20)
        data += chunk
        try:
            size = size_of(data)
        except ValueError as error:
            return b"", str(error)
        if size is not None and len(data) >= size:
            return bytes(data[:size]), ""
        if not chunk:
            return b"", "ended"


def _end(process: int, why: str, frame: bytes, limits: Limits) -> Ended:
    """End the child, and say in words how it ended."""
    if why == "ended" and not _has_ended(process):
        why = "nothing: it closed the pipe for its answer, and went on"
    if why != "ended":
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    _, status, usage = os.wait4(process, 0)
    seconds = usage.ru_utime + usage.ru_stime
    if frame:
        return Ended(cpu_seconds=seconds, frame=frame)
    if why == "timeout":
        return Ended("timeout", f"it was stopped after {limits.wall:.0f} seconds on the clock", seconds)
    if why != "ended":
        return Ended("crashed", f"it sent {why}", seconds)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        if name in ("SIGKILL", "SIGXCPU") and seconds >= limits.cpu - 1:
            return Ended("timeout", f"it was stopped after {limits.cpu} seconds of computing", seconds)
        return Ended("crashed", f"it ended the process that ran it, by {name}", seconds)
    code = os.waitstatus_to_exitcode(status)
    said = "" if code == UNANSWERED else f" with exit code {code} (os._exit, or something like it)"
    return Ended("crashed", f"it ended the process that ran it{said}, before it gave a result", seconds)


def _has_ended(process: int) -> bool:
    """Whether a child that has closed its pipe ends within a few seconds, which is not waited out where it is not needed."""
    deadline = time.monotonic() + GRACE
    while not (ended := os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(ended)


def _end_the_rest(sandbox: Sandbox) -> None:
    """End all that the child left behind, and empty its folder."""
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        confine.fresh_folder(sandbox.temporary, again=True)
        return
    while children := _children():
        for child in children:  # theirs become children of this process: of the next round
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
    if sandbox.temporary:
        for path in Path(sandbox.temporary).iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _children() -> list[int]:
    """Processes whose parent this one is, or has become (Linux)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(stat.parent.name))
    return found


def _silence(last: int) -> None:
    """Put nothing in the place of the standard files up to this one."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(last + 1):
        os.dup2(nothing, number)
    os.close(nothing)


def read_frame(source: int) -> bytes:
    """The next frame of a file descriptor; empty at its end, also within a frame."""
    from dl.sandbox.wire import HEAD, size_of

    data = bytearray()
    while len(data) < (wanted := size_of(data) or HEAD.size):
        chunk = os.read(source, min(wanted - len(data), 2**20))
        if not chunk:
            return b""
        data += chunk
    return bytes(data)


def write_all(target: int, data: bytes) -> None:
    """Write all of the bytes."""
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


if __name__ == "__main__":
    main(sys.argv[1:])
