"""What the student edition keeps in place of solutions: inputs, right outputs and those of known mistakes, for some seeds.

Tens of thousands of small tensors become one text and one long tensor per dtype: a file of `torch.save` spends some 400
bytes and 30 microseconds on each tensor. `dl.checks.answers.Recorded` reads it.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from dl.checks.answers import Computed
from dl.checks.calls import Record
from dl.checks.compare import alike, differs
from dl.checks.exercise import Case, Exercise, describe

DISTINGUISHING = 2  # cases for which a mistake is recorded
LOOSE = 1e-6  # outputs of cases with such a relative tolerance or more are recorded in single precision
PLAIN = (str, int, float, bool, type(None))


def record(topic: str, exercises: Sequence[Exercise], seeds: Sequence[int]) -> dict:
    """What the student edition keeps in `recorded/<topic>.pt` in place of solutions, for `torch.save`: plain data.

    Args:
        seeds: at least two, for each of which inputs, right outputs and those of the known mistakes are kept.
    Raises:
        TypeError: if a case takes or returns what is no plain data.
    """
    answers = Computed(topic)
    return {"seeds": list(seeds), "exercises": {exercise.name: _recorded(exercise, answers, seeds) for exercise in exercises}}


def _recorded(exercise: Exercise, answers: Computed, seeds: Sequence[int]) -> dict:
    packer, mistakes = Packer(), answers.mistakes(exercise)

    @cache
    def wrong(name: str, case_name: str, seed: int) -> Record:
        return answers.wrong(exercise, name, cases[case_name], seed)

    def kept(record: Record, case: Case, strict: bool) -> object:
        error = record.error and {**record.error, "place": ""}  # the place may show a line of the lesson
        return packer.add([record.outputs, error], strict, single=case.rtol >= LOOSE)

    def cell(case: Case, seed: int) -> dict:
        return {
            "inputs": packer.add(answers.inputs(exercise, case, seed)),
            "right": kept(answers.right(exercise, case, seed), case, strict=True),
            "wrong": {
                name: kept(wrong(name, case.name, seed), case, strict=False)
                for name in mistakes
                if case.name in shown_by[name]
            },
        }

    cases = {case.name: case for case in exercise.cases}
    shown_by = _distinguishing(exercise, answers, seeds[0], lambda name, case: wrong(name, case.name, seeds[0]))
    try:
        cells = {
            case.name: {seed: cell(case, seed) for seed in (seeds[:1] if case.published else seeds)} for case in exercise.cases
        }
    except TypeError as error:
        raise TypeError(f"record: {exercise.name}: {error}") from error
    about = {"signature": answers.signature(exercise), "mistakes": mistakes, "cells": cells}
    return {"about": to_bytes(about), "tensors": packer.tensors()}


def _distinguishing(
    exercise: Exercise, answers: Computed, seed: int, wrong: Callable[[str, Case], Record]
) -> dict[str, set[str]]:
    """By which cases each mistake is known: the first `DISTINGUISHING` in which it shows; all, if another looks alike.

    A student's code is looked at where it first fails, so the others need not be kept.
    """
    names = list(answers.mistakes(exercise))
    rights = [(case, answers.inputs(exercise, case, seed), answers.right(exercise, case, seed)) for case in exercise.cases]
    shown_by = {}
    for name in names:
        shows = (case for case, inputs, right in rights if differs(case, right, wrong(name, case), inputs) is not None)
        shown = list(itertools.islice(shows, DISTINGUISHING))
        is_ambiguous = any(
            alike(case, wrong(other, case), wrong(name, case)) for case in shown[:1] for other in names if other != name
        )
        shown_by[name] = {case.name for case in (exercise.cases if is_ambiguous else shown)}
    return shown_by


class Packer:
    """Collects data; equal tensors are kept once."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}
        self._ends: dict[str, int] = {}
        self._known: dict[tuple[str, bytes], int] = {}

    def add(self, value: object, strict: bool = True, single: bool = False) -> object:
        """What stands for a value in JSON.

        Args:
            strict: whether other things are an error; else their kind is kept, as a text.
            single: whether float64 may be kept in single precision, to 1 in 10 million. It takes half the space, and
                tensors that differ only by the order of their operations become one.
        Raises:
            TypeError: for what is neither a tensor, number, text or None, nor a list, tuple or dict of them.
        """
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            kept = _single(value) if single and value.dtype == torch.float64 else value
            also = {} if kept.dtype == value.dtype else {"as": _name(value.dtype)}
            return {"tensor": self._place(kept), "shape": list(value.shape), **also}
        if isinstance(value, dict):
            return {"dict": [[self.add(key), self.add(kept, strict, single)] for key, kept in value.items()]}
        if isinstance(value, (list, tuple)):
            parts = [self.add(part, strict, single) for part in value]
            return parts if isinstance(value, list) else {"tuple": parts}
        if type(value) in PLAIN:
            return value
        if not strict:
            return describe(value)
        raise TypeError(
            f"Packer: got a {type(value).__name__}; wanted tensors, numbers, texts, None, and lists, tuples or "
            "dicts of them. Let the case return such plain data."
        )

    def tensors(self) -> dict[str, Tensor]:
        """All elements, one tensor a dtype, by its name."""
        return {dtype: torch.cat(parts) for dtype, parts in self._parts.items()}

    def _place(self, tensor: Tensor) -> list:
        dtype = _name(tensor.dtype)
        flat = tensor.reshape(-1).clone(memory_format=torch.contiguous_format)
        key = dtype, flat.view(torch.uint8).numpy().tobytes()
        if key not in self._known:
            self._known[key] = self._ends.get(dtype, 0)
            self._ends[dtype] = self._known[key] + len(flat)
            self._parts.setdefault(dtype, []).append(flat)
        return [dtype, self._known[key]]


def to_bytes(value: object) -> Tensor:
    """JSON, compressed, as a tensor of bytes: what `torch.load` reads safely. NaN and infinities are kept."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return torch.frombuffer(bytearray(zlib.compress(text.encode(), 9)), dtype=torch.uint8)


def _single(value: Tensor) -> Tensor:
    """In single precision, unless that loses more than its rounding: too large, too small."""
    single = value.float()
    return single if torch.allclose(single.double(), value, rtol=1e-7, atol=0, equal_nan=True) else value


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
