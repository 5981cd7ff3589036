"""The student's side of a check: call the code, collect what comes out. Nothing is compared here."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import random
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from dl.checks.exercise import Case, Exercise, Values, WrongReturn
from dl.checks.library import Library
from dl.utils import one_thread

APART = 2**40  # the global seed is none that a student would set


@dataclass
class Record:
    """What one call brought: outputs or an error, both plain data, and the inputs as the call left them.

    Args:
        error: kind (class name), message and place ("transformers.py line 112: …").
        reseeded: whether the global seed of torch was set in the call.
    """

    outputs: Values | None = None
    error: dict[str, str] | None = None
    after: Values = field(default_factory=dict)
    seconds: float = 0.0
    reseeded: bool = False


def call(library: Library, case: Case, inputs: Values, seed: int) -> Record:
    """Run a case on a library. Random generators start from `seed` and are put back; prints are swallowed."""
    own = copy.deepcopy(inputs)
    start = time.perf_counter()
    record = Record(after=own)
    with _quiet(seed):
        try:
            record.outputs = case.run(library, own)
        except WrongReturn as error:
            record.error = {"kind": "WrongReturn", "message": str(error), "place": ""}
        except (Exception, SystemExit) as error:
            message = str(error).strip() or "(no message)"
            record.error = {"kind": type(error).__name__, "message": message, "place": _place(error, library)}
        record.reseeded = torch.initial_seed() != APART + seed
    record.seconds = time.perf_counter() - start
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
    """Everything that the judge wants to know about an exercise: plain data, fit to be sent between processes.

    Args:
        calls: (case, inputs, seed), in the order in which they are to be made.
    """
    return {
        "signature": signature(library, exercise.name),
        "sources": library.sources,
        "records": [call(library, case, inputs, seed) for case, inputs, seed in calls],
    }


@contextlib.contextmanager
def _quiet(seed: int):
    python_state, numpy_state = random.getstate(), np.random.get_state()
    gradients, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    with (
        one_thread(),
        torch.random.fork_rng(devices=[]),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(APART + seed)  # torch.manual_seed also keeps a traceback for an unused GPU
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            torch.set_grad_enabled(gradients)
            torch.set_default_dtype(dtype)


def _place(error: BaseException, library: Library) -> str:
    """The last line of the lesson's own code that the error passed through."""
    files = {module.__file__ for module in library.modules}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in files:
            return f"{Path(frame.filename).name} line {frame.lineno}: {frame.line}"
    return ""
