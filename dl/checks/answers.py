"""Where the right answers come from.

The full edition computes them, from `dl.checks.solutions`, for inputs drawn anew. The student edition must not hold
solutions: it carries inputs, right outputs and the outputs of known mistakes for a number of seeds, as data in `recorded/`.
"""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch

from dl import settings
from dl.checks.exercise import Draw, Exercise, Probe, Values
from dl.checks.library import Library
from dl.checks.run import Record, call, signature

RECORDED = Path(__file__).parent / "recorded"
SEEDS = 2**31
ALWAYS = -1  # in the place of a seed: what is the same for every seed


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
        """A seed for fresh inputs, and another one."""
        seed = secrets.randbelow(SEEDS) if asked is None else asked
        return seed, seed + 1

    def inputs(self, exercise: Exercise, probe: Probe, seed: int) -> Values:
        return probe.draw(Draw(seed))

    def right(self, exercise: Exercise, probe: Probe, seed: int) -> Record:
        record = call(self.library, probe, self.inputs(exercise, probe, seed), seed)
        if record.error is not None:  # a fault of the checks, not of the student
            raise RuntimeError(f"the solution of {exercise.name} fails at {probe.name}: {record.error}")
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
    """Answers of the student edition."""

    can_replace = False

    def __init__(self, topic: str) -> None:
        self.data = torch.load(RECORDED / f"{topic}.pt", weights_only=True)

    def seeds(self, asked: int | None = None) -> tuple[int, int]:
        """Two of the recorded seeds."""
        seeds = self.data["seeds"]
        first = secrets.randbelow(len(seeds)) if asked is None else asked % len(seeds)
        return seeds[first], seeds[(first + 1) % len(seeds)]

    def inputs(self, exercise: Exercise, probe: Probe, seed: int) -> Values:
        return self._cell(exercise, probe, seed)["inputs"]

    def right(self, exercise: Exercise, probe: Probe, seed: int) -> Record:
        return Record(**self._cell(exercise, probe, seed)["right"])

    def signature(self, exercise: Exercise) -> list[tuple[str, bool]]:
        return self.data["exercises"][exercise.name]["signature"]

    def mistakes(self, exercise: Exercise) -> dict[str, tuple[str, str]]:
        return self.data["exercises"][exercise.name]["mistakes"]

    def wrong(self, exercise: Exercise, mistake: str, probe: Probe, seed: int) -> Record:
        return Record(**self._cell(exercise, probe, seed)["wrong"][mistake])

    def replacements(self, names: list[str]) -> dict[str, Callable]:
        return {}

    def _cell(self, exercise: Exercise, probe: Probe, seed: int) -> dict:
        cells = self.data["exercises"][exercise.name]["probes"][probe.name]
        return cells[seed] if seed in cells else cells[ALWAYS]


@cache
def of(topic: str) -> Computed | Recorded:
    """The answers of a topic, as this edition has them."""
    return Computed(topic) if importlib.util.find_spec("dl.checks.solutions") else Recorded(topic)


def record(topic: str, exercises: list[Exercise], seeds: list[int]) -> dict:
    """What the student edition keeps in `recorded/<topic>.pt` in place of solutions: plain data."""
    answers = Computed(topic)

    def cell(exercise: Exercise, probe: Probe, seed: int) -> dict:
        return {
            "inputs": answers.inputs(exercise, probe, seed),
            "right": asdict(answers.right(exercise, probe, seed)),
            "wrong": {name: asdict(answers.wrong(exercise, name, probe, seed)) for name in answers.mistakes(exercise)},
        }

    return {
        "seeds": seeds,
        "exercises": {
            exercise.name: {
                "signature": answers.signature(exercise),
                "mistakes": answers.mistakes(exercise),
                "probes": {
                    probe.name: {seed: cell(exercise, probe, seed) for seed in ([ALWAYS] if probe.published else seeds)}
                    for probe in exercise.probes
                },
            }
            for exercise in exercises
        },
    }
