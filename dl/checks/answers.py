"""Where the right answers come from.

The full edition computes them, from `dl.checks.references`, for inputs drawn anew. The student edition must not hold
solutions: it carries inputs, right outputs and the outputs of known mistakes for a number of seeds, as data in `recorded/`.
"""

from __future__ import annotations

import json
import secrets
import zlib
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from dl import settings
from dl.checks.calls import Record, call, signature
from dl.checks.exercise import Case, Draw, Exercise, Values
from dl.checks.library import Library
from dl.console import UsageError

RECORDED = Path(__file__).parent / "recorded"
REFERENCES = Path(__file__).parent / "references"  # looked for here: another edition may be installed beside this one
SEEDS = 2**62
KEPT = 4000  # records of calls, right and wrong, that are kept in memory


class Computed:
    """Answers of the full edition."""

    can_replace = True

    def __init__(self, topic: str) -> None:
        from dl.checks import mistakes, references

        right = references.of(topic)
        self._right = {name: reference.function for name, reference in right.items()}
        self._mistakes = mistakes.of(topic, right)
        self.library = Library(settings.project_root(), topic)  # trusted: the project's own, with every solution replaced
        self._replaced = self.library.patched(self._right)
        self._replaced.__enter__()
        self._records: OrderedDict[tuple, tuple[Case, Record]] = OrderedDict()

    def seeds(self, asked: int | None = None) -> tuple[int, int]:
        """A seed for fresh inputs, and a second one, which gives other tensors of the same sizes."""
        seed = secrets.randbelow(SEEDS) if asked is None else asked
        return seed, seed ^ 1

    def inputs(self, exercise: Exercise, case: Case, seed: int) -> Values:
        return case.draw(Draw(seed))

    def right(self, exercise: Exercise, case: Case, seed: int) -> Record:
        return self._kept(("", id(case), seed), case, lambda: self._solved(exercise, case, seed))

    def _kept(self, key: tuple, case: Case, make: Callable[[], Record]) -> Record:
        """A record of the last `KEPT`: graders ask for the same ones for each submission. The case is kept with its id."""
        if key not in self._records:
            self._records[key] = case, make()
            if len(self._records) > KEPT:
                self._records.popitem(last=False)
        return self._records[key][1]

    def _solved(self, exercise: Exercise, case: Case, seed: int) -> Record:
        record = call(self.library, case, self.inputs(exercise, case, seed), seed)
        if record.error is not None:  # a fault of the checks, not of the student
            raise RuntimeError(f"the solution of {exercise.name} fails at {case.name}: {record.error}")
        assert record.outputs is not None  # a record without an error has outputs
        lost = [name for name, value in record.outputs.items() if name.startswith("d") and value is None]
        if lost:  # such a case would compare nothing with nothing
            raise RuntimeError(f"the solution of {exercise.name} has no gradient {', '.join(lost)} at {case.name}")
        return record

    def signature(self, exercise: Exercise) -> list[tuple[str, bool]]:
        return signature(self.library, exercise.name)

    def mistakes(self, exercise: Exercise) -> dict[str, tuple[str, str]]:
        """Name of each known mistake: what is said, and the further hint."""
        return {m.name: (m.says, m.hint) for m in self._mistakes.get(exercise.name, ())}

    def wrong(self, exercise: Exercise, mistake: str, case: Case, seed: int) -> Record:
        """What the known mistake returns."""
        return self._kept((mistake, id(case), seed), case, lambda: self._mistaken(exercise, mistake, case, seed))

    def _mistaken(self, exercise: Exercise, mistake: str, case: Case, seed: int) -> Record:
        function = next(m.function for m in self._mistakes[exercise.name] if m.name == mistake)
        with self.library.patched({exercise.name: function}):
            return call(self.library, case, self.inputs(exercise, case, seed), seed)

    def replacements(self, names: list[str]) -> dict[str, Callable]:
        """Solutions to put in the place of exercises that are not solved yet."""
        return {name: self._right[name] for name in names}


class Recorded:
    """Answers of the student edition, from a file that `dl.student.recording` made."""

    can_replace = False

    def __init__(self, file: Path) -> None:
        """Args: file: `recorded/<topic>.pt`. Raises: UsageError: if it is not there."""
        if not file.is_file():
            raise UsageError(
                f"the recorded answers dl/checks/recorded/{file.name} are not there, and without them nothing "
                "can be checked. Copy the folder dl/checks again from the course."
            )
        kept = torch.load(file, weights_only=True)
        self._seeds, self._exercises = kept["seeds"], kept["exercises"]
        self._about: dict[str, dict] = {}

    def seeds(self, asked: int | None = None) -> tuple[int, int]:
        """A recorded seed and that of other tensors of the same sizes, or the next one where that is not recorded."""
        first = secrets.randbelow(len(self._seeds)) if asked is None else asked % len(self._seeds)
        seed, following = self._seeds[first], self._seeds[(first + 1) % len(self._seeds)]
        return seed, seed ^ 1 if seed ^ 1 in self._seeds else following

    def inputs(self, exercise: Exercise, case: Case, seed: int) -> Values:
        return self._value(exercise, self._cell(exercise, case, seed)["inputs"])

    def right(self, exercise: Exercise, case: Case, seed: int) -> Record:
        return self._record(exercise, self._cell(exercise, case, seed)["right"])

    def signature(self, exercise: Exercise) -> list[tuple[str, bool]]:
        return [(name, optional) for name, optional in self._of(exercise)["signature"]]

    def mistakes(self, exercise: Exercise) -> dict[str, tuple[str, str]]:
        return {name: (says, hint) for name, (says, hint) in self._of(exercise)["mistakes"].items()}

    def wrong(self, exercise: Exercise, mistake: str, case: Case, seed: int) -> Record | None:
        """What the known mistake returns; None if that is not recorded for this case."""
        kept = self._cell(exercise, case, seed)["wrong"].get(mistake)
        return kept and self._record(exercise, kept)

    def replacements(self, names: list[str]) -> dict[str, Callable]:
        return {}

    def _of(self, exercise: Exercise) -> dict:
        """All but the tensors."""
        if exercise.name not in self._about:
            self._about[exercise.name] = json.loads(to_text(self._exercises[exercise.name]["about"]))
        return self._about[exercise.name]

    def _cell(self, exercise: Exercise, case: Case, seed: int) -> dict:
        cells = self._of(exercise)["cells"][case.name]
        return cells[str(self._seeds[0] if case.published else seed)]  # published tensors are the same for every seed

    def _value(self, exercise: Exercise, kept: object):
        return unpack(kept, self._exercises[exercise.name]["tensors"])

    def _record(self, exercise: Exercise, kept: object) -> Record:
        outputs, error = self._value(exercise, kept)
        return Record(outputs, error)


@cache
def of(topic: str) -> Computed | Recorded:
    """The answers of a topic, as this edition has them."""
    return Computed(topic) if REFERENCES.is_dir() else Recorded(RECORDED / f"{topic}.pt")


def unpack(kept: object, tensors: dict[str, Tensor]) -> object:
    """The value that `dl.student.recording.Packer.add` took, with tensors of its own."""
    if isinstance(kept, list):
        return [unpack(part, tensors) for part in kept]
    if not isinstance(kept, dict):
        return kept
    if "dict" in kept:
        return {unpack(key, tensors): unpack(value, tensors) for key, value in kept["dict"]}
    if "tuple" in kept:
        return tuple(unpack(part, tensors) for part in kept["tuple"])
    dtype, start = kept["tensor"]
    shape = torch.Size(kept["shape"])
    return tensors[dtype][start : start + shape.numel()].to(getattr(torch, kept.get("as", dtype)), copy=True).reshape(shape)


def to_text(kept: Tensor) -> str:
    """The JSON of `dl.student.recording.to_bytes`."""
    return zlib.decompress(kept.numpy().tobytes()).decode()
