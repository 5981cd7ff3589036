"""The student's side of a check: call the code, collect what comes out. Nothing is compared here."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
import io
import random
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from dl.checks.exercise import Case, Exercise, Values, WrongReturn
from dl.checks.library import Library
from dl.utils import full_float32, one_thread

APART = 2**40  # the global seed is none that a student would set
PRINTED = 20_000  # characters of a call's prints are kept


@dataclass
class Record:
    """What one call brought: outputs or an error, both plain data, and the inputs as the call left them.

    Args:
        error: kind (class name), message and place ("transformers.py line 112: …").
        reseeded: whether the global seed of torch was set in the call. printed: the first of what it printed.
    """

    outputs: Values | None = None
    error: dict[str, str] | None = None
    after: Values = field(default_factory=dict)
    seconds: float = 0.0
    reseeded: bool = False
    printed: str = ""


class Prints(io.TextIOBase):
    """A text file that keeps the first `PRINTED` characters, so that endless prints fill no memory."""

    def __init__(self) -> None:
        self.text = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text[: PRINTED - len(self.text)]
        return len(text)


def generator_seed(seed: int) -> int:
    """What random generators start from in a call whose inputs were drawn from `seed`: it does not tell that one."""
    return int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:7], "big")


def call(library: Library, case: Case, inputs: Values, seed: int) -> Record:
    """Run a case on a library, with the generators that belong to inputs drawn from `seed`; see `perform`."""
    return perform(library, case, inputs, generator_seed(seed))


def perform(library: Library, case: Case, inputs: Values, start: int, caught: tuple = (Exception, SystemExit)) -> Record:
    """Run a case on a library. Random generators start from `start` and are put back; prints are kept.

    Args:
        caught: what the code may raise without ending this process.
    """
    own = copy.deepcopy(inputs)
    began = time.perf_counter()
    record = Record(after=own)
    with _quiet(start) as prints:
        try:
            record.outputs = case.run(library, own)
        except WrongReturn as error:
            record.error = {"kind": "WrongReturn", "message": str(error), "place": ""}
        except caught as error:
            record.error = {"kind": type(error).__name__, "message": _words(error), "place": _place(error, library)}
        record.reseeded = torch.initial_seed() != APART + start
    record.seconds, record.printed = time.perf_counter() - began, prints.text
    return record


def signature(library: Library, exercise: str) -> list[tuple[str, bool]]:
    """Parameter names of an exercise and whether each may be left out; [] if there is no such function."""
    function = library.find(exercise)
    if not callable(function):
        return []
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.default is not p.empty or p.kind in kinds) for p in parameters]


def collect(library: Library, exercise: Exercise, calls: Sequence[tuple[Case, Values, int]]) -> dict:
    """Everything that the judge has to know about an exercise: plain data, fit to be sent between processes.

    Args:
        calls: (case, inputs, seed), in the order in which they are to be made.
    """
    return {
        "signature": signature(library, exercise.name),
        "sources": library.sources,
        "records": [call(library, case, inputs, seed) for case, inputs, seed in calls],
    }


@contextlib.contextmanager
def _quiet(start: int) -> Iterator[Prints]:
    prints = Prints()
    python_state, numpy_state = random.getstate(), np.random.get_state()
    gradients, dtype, device = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()
    with (
        one_thread(),
        full_float32(),
        torch.random.fork_rng(devices=[]),
        contextlib.redirect_stdout(prints),
        contextlib.redirect_stderr(prints),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(APART + start)  # torch.manual_seed also keeps a traceback for an unused GPU
        random.seed(start)
        np.random.seed(start % 2**32)
        try:
            yield prints
        finally:
            if torch.get_default_device() != device:
                torch.set_default_device(device)  # not None, after which torch 2.6 can no longer be asked
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            torch.set_grad_enabled(gradients)
            torch.set_default_dtype(dtype)


def _words(error: BaseException) -> str:
    """What an error says; its own `__str__` may fail."""
    try:
        return str(error).strip() or "(no message)"
    except Exception:
        return "(no message)"


def _place(error: BaseException, library: Library) -> str:
    """The last line of the lesson's own code that the error passed through."""
    files = {module.__file__ for module in library.modules}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in files:
            return f"{Path(frame.filename).name} line {frame.lineno}: {frame.line}"
    return ""
