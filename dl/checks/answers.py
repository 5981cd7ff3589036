"""Where the right answers come from.

The full edition computes them, from `dl.checks.solutions`, for inputs drawn anew. The student edition must not hold
solutions: it carries inputs, right outputs and the outputs of known mistakes for a number of seeds, as data in `recorded/`.
"""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch

from dl import settings
from dl.checks.exercise import Draw, Exercise, Probe, Values
from dl.checks.library import Library
from dl.checks.pack import Packer, to_bytes, to_text, unpack
from dl.checks.run import Record, call, signature
from dl.command import UsageError

RECORDED = Path(__file__).parent / "recorded"
SOLUTIONS = Path(__file__).parent / "solutions"  # looked for here: another edition may be installed beside this one
SEEDS = 2**31
TELLING = 2  # probes for which a mistake is recorded
LOOSE = 1e-6  # outputs of probes with such a relative tolerance or more are recorded in single precision


class Computed:
    """Answers of the full edition."""

    can_replace = True

    def __init__(self, topic: str) -> None:
        from dl.checks import solutions

        self.solutions = solutions.of(topic)
        self.library = Library(settings.project_root(), topic)  # trusted: the project's own, with every solution replaced
        self._replaced = self.library.patched(self.solutions.right)
        self._replaced.__enter__()

    def seeds(self, asked: int | None = None) -> tuple[int, int]:
        """A seed for fresh inputs, and its twin, which gives other tensors of the same sizes."""
        seed = secrets.randbelow(SEEDS) if asked is None else asked
        return seed, seed ^ 1

    def inputs(self, exercise: Exercise, probe: Probe, seed: int) -> Values:
        return probe.draw(Draw(seed))

    def right(self, exercise: Exercise, probe: Probe, seed: int) -> Record:
        record = call(self.library, probe, self.inputs(exercise, probe, seed), seed)
        if record.error is not None:  # a fault of the checks, not of the student
            raise RuntimeError(f"the solution of {exercise.name} fails at {probe.name}: {record.error}")
        lost = [name for name, value in record.outputs.items() if name.startswith("d") and value is None]
        if lost:  # such a probe would compare nothing with nothing
            raise RuntimeError(f"the solution of {exercise.name} has no gradient {', '.join(lost)} at {probe.name}")
        return record

    def signature(self, exercise: Exercise) -> list[tuple[str, bool]]:
        return signature(self.library, exercise.name)

    def mistakes(self, exercise: Exercise) -> dict[str, tuple[str, str]]:
        """Name of each known mistake: what is said, and the further hint."""
        return {m.name: (m.says, m.hint) for m in self.solutions.wrong.get(exercise.name, ())}

    def wrong(self, exercise: Exercise, mistake: str, probe: Probe, seed: int) -> Record:
        """What the known mistake brings."""
        function = next(m.function for m in self.solutions.wrong[exercise.name] if m.name == mistake)
        with self.library.patched({exercise.name: function}):
            return call(self.library, probe, self.inputs(exercise, probe, seed), seed)

    def replacements(self, names: list[str]) -> dict[str, Callable]:
        """Solutions to put in the place of exercises that are not solved yet."""
        return {name: self.solutions.right[name] for name in names}


class Recorded:
    """Answers of the student edition, from a file that `record` made."""

    can_replace = False

    def __init__(self, file: Path) -> None:
        """Args: file: `recorded/<topic>.pt`. Raises: UsageError: if it is not there."""
        if not file.is_file():
            raise UsageError(f"the recorded answers dl/checks/recorded/{file.name} are not there, and without them nothing "
                             "can be checked. Copy the folder dl/checks again from the course.")
        kept = torch.load(file, weights_only=True)
        self._seeds, self._exercises = kept["seeds"], kept["exercises"]
        self._about: dict[str, dict] = {}

    def seeds(self, asked: int | None = None) -> tuple[int, int]:
        """A recorded seed and its twin, or the next one where that is not recorded."""
        first = secrets.randbelow(len(self._seeds)) if asked is None else asked % len(self._seeds)
        seed, following = self._seeds[first], self._seeds[(first + 1) % len(self._seeds)]
        return seed, seed ^ 1 if seed ^ 1 in self._seeds else following

    def inputs(self, exercise: Exercise, probe: Probe, seed: int) -> Values:
        return self._value(exercise, self._cell(exercise, probe, seed)["inputs"])

    def right(self, exercise: Exercise, probe: Probe, seed: int) -> Record:
        return self._record(exercise, self._cell(exercise, probe, seed)["right"])

    def signature(self, exercise: Exercise) -> list[tuple[str, bool]]:
        return [(name, optional) for name, optional in self._of(exercise)["signature"]]

    def mistakes(self, exercise: Exercise) -> dict[str, tuple[str, str]]:
        return {name: (says, hint) for name, (says, hint) in self._of(exercise)["mistakes"].items()}

    def wrong(self, exercise: Exercise, mistake: str, probe: Probe, seed: int) -> Record | None:
        """What the known mistake brings; None if that is not recorded for this probe."""
        kept = self._cell(exercise, probe, seed)["wrong"].get(mistake)
        return kept and self._record(exercise, kept)

    def replacements(self, names: list[str]) -> dict[str, Callable]:
        return {}

    def _of(self, exercise: Exercise) -> dict:
        """All but the tensors."""
        if exercise.name not in self._about:
            self._about[exercise.name] = json.loads(to_text(self._exercises[exercise.name]["about"]))
        return self._about[exercise.name]

    def _cell(self, exercise: Exercise, probe: Probe, seed: int) -> dict:
        cells = self._of(exercise)["cells"][probe.name]
        return cells[str(self._seeds[0] if probe.published else seed)]  # published tensors are the same for every seed

    def _value(self, exercise: Exercise, kept: object):
        return unpack(kept, self._exercises[exercise.name]["tensors"])

    def _record(self, exercise: Exercise, kept: object) -> Record:
        outputs, error = self._value(exercise, kept)
        return Record(outputs, error)


@cache
def of(topic: str) -> Computed | Recorded:
    """The answers of a topic, as this edition has them."""
    return Computed(topic) if SOLUTIONS.is_dir() else Recorded(RECORDED / f"{topic}.pt")


def record(topic: str, exercises: Sequence[Exercise], seeds: Sequence[int]) -> dict:
    """What the student edition keeps in `recorded/<topic>.pt` in place of solutions, for `torch.save`: plain data.

    Args:
        seeds: at least two, for each of which inputs, right outputs and those of the known mistakes are kept.
    Raises:
        TypeError: if a probe takes or returns what is no plain data.
    """
    answers = Computed(topic)
    return {"seeds": list(seeds), "exercises": {exercise.name: _recorded(exercise, answers, seeds) for exercise in exercises}}


def _recorded(exercise: Exercise, answers: Computed, seeds: Sequence[int]) -> dict:
    packer, mistakes = Packer(), answers.mistakes(exercise)

    @cache
    def wrong(name: str, probe_name: str, seed: int) -> Record:
        return answers.wrong(exercise, name, probes[probe_name], seed)

    def kept(record: Record, probe: Probe, strict: bool) -> object:
        error = record.error and {**record.error, "place": ""}  # the place may show a line of the lesson
        return packer.add([record.outputs, error], strict, single=probe.rtol >= LOOSE)

    def cell(probe: Probe, seed: int) -> dict:
        return {
            "inputs": packer.add(answers.inputs(exercise, probe, seed)),
            "right": kept(answers.right(exercise, probe, seed), probe, strict=True),
            "wrong": {name: kept(wrong(name, probe.name, seed), probe, strict=False)
                      for name in mistakes if probe.name in telling[name]},
        }

    probes = {probe.name: probe for probe in exercise.probes}
    telling = _telling(exercise, answers, seeds[0], lambda name, probe: wrong(name, probe.name, seeds[0]))
    try:
        cells = {probe.name: {seed: cell(probe, seed) for seed in (seeds[:1] if probe.published else seeds)}
                 for probe in exercise.probes}
    except TypeError as error:
        raise TypeError(f"record: {exercise.name}: {error}") from error
    about = {"signature": answers.signature(exercise), "mistakes": mistakes, "cells": cells}
    return {"about": to_bytes(about), "tensors": packer.tensors()}


def _telling(
    exercise: Exercise, answers: Computed, seed: int, wrong: Callable[[str, Probe], Record]
) -> dict[str, set[str]]:
    """By which probes each mistake is known: the first `TELLING` in which it shows; all, where another looks alike there.

    A student's code is looked at where it first fails, so the others need not be kept.
    """
    from dl.checks.judge import alike, differs

    names = list(answers.mistakes(exercise))
    rights = [(probe, answers.inputs(exercise, probe, seed), answers.right(exercise, probe, seed))
              for probe in exercise.probes]
    telling = {}
    for name in names:
        shows = (probe for probe, inputs, right in rights if differs(probe, right, wrong(name, probe), inputs) is not None)
        shown = list(itertools.islice(shows, TELLING))
        is_ambiguous = any(alike(probe, wrong(other, probe), wrong(name, probe))
                           for probe in shown[:1] for other in names if other != name)
        telling[name] = {probe.name for probe in (exercise.probes if is_ambiguous else shown)}
    return telling
