"""The judgement: right answers beside what the student's code brought, the mistake named, a message of at most five lines."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dl.checks.answers import Computed, Recorded
from dl.checks.calls import Record
from dl.checks.compare import WIDTH, alike, compare, cut, differs
from dl.checks.exercise import Case, Exercise, Fault, Values

PASSED, FAILED, ERROR, MISSING, SKIPPED = "passed", "failed", "error", "missing", "skipped"
UNLIKE = 0.25  # a mistake is named if the student's outputs are not its in at most this share of the calls, rounded up


@dataclass
class CheckResult:
    """The verdict on one check of an exercise."""

    name: str
    status: str
    message: str = ""
    diagnosis: str | None = None
    hint: str = ""
    details: str = ""


@dataclass
class Result:
    """The verdict on an exercise; the first check that did not pass says why."""

    exercise: str
    topic: str
    module: str
    status: str
    checks: list[CheckResult] = field(default_factory=list)
    seconds: float = 0.0
    note: str = ""
    printed: str = ""

    @property
    def cause(self) -> CheckResult | None:
        return next((check for check in self.checks if check.status in (FAILED, ERROR)), None)

    @property
    def message(self) -> str:
        cause = self.cause or next((check for check in self.checks if check.message), None)
        return cause.message if cause else ""


Plan = list[tuple[Case, Values, int]]


def plan(exercise: Exercise, answers: Computed | Recorded, seeds: tuple[int, int]) -> Plan:
    """The calls to make: every case once; for a pure exercise the first on random inputs again, after other ones."""
    seed, other = seeds
    calls = [(case, seed) for case in exercise.cases]
    again = _repeated(exercise)
    if again is not None:
        calls += [(again, other), (again, seed)]
    return [(case, answers.inputs(exercise, case, seed), seed) for case, seed in calls]


def judge(exercise: Exercise, answers: Computed | Recorded, calls: Plan, collected: dict) -> list[CheckResult]:
    """Verdicts on what `calls.collect` brought, in order; after the first that is not passed, the rest is skipped."""
    comparison = _Comparison(exercise, answers, calls, collected["records"])
    results: list[CheckResult] = []
    for name, fault, position in _faults(comparison, collected):
        if any(result.status != PASSED for result in results):
            results.append(CheckResult(name, SKIPPED))
        elif fault is None:
            results.append(CheckResult(name, PASSED))
        elif position is not None and calls[position][0].note:
            results.append(CheckResult(name, PASSED, f"note: {calls[position][0].note}"))
        else:
            results.append(_failure(comparison, name, fault, position))
    return results


@dataclass
class _Comparison:
    """One exercise on the comparison: what was asked, what the student's code brought, and what else could have come."""

    exercise: Exercise
    answers: Computed | Recorded
    calls: Plan
    records: list[Record]
    _cache: dict[tuple[str, int], Record | None] = field(default_factory=dict)

    def expected(self, position: int, mistake: str = "") -> Record | None:
        """What the solution, or a known mistake, returns for a call; None if that is not recorded."""
        if (mistake, position) not in self._cache:
            case, _, seed = self.calls[position]
            self._cache[mistake, position] = (
                self.answers.wrong(self.exercise, mistake, case, seed)
                if mistake
                else self.answers.right(self.exercise, case, seed)
            )
        return self._cache[mistake, position]

    def fault(self, position: int, mistake: str = "") -> Fault | None:
        """What is wrong with the student's record of a call, or with that of a known mistake."""
        case, inputs, _ = self.calls[position]
        got = self.expected(position, mistake) if mistake else self.records[position]
        right = self.expected(position) if case.compares else Record(outputs={})
        assert got is not None and right is not None  # only of a mistake a record may be missing, and this one is there
        fault = differs(case, right, got, inputs)
        if fault is None and got.reseeded and not self.exercise.seeds:
            fault = Fault(
                "the global seed of torch is another one after the call",
                "seed-set-inside",
                "your code sets the seed; seeds are the caller's",
            )
        if fault is None and self.exercise.pure and not mistake and not case.published:
            fault = _changed(inputs, got.after)
        return fault

    def looks_like(self, mistake: str, position: int) -> bool:
        """Whether the student's record of a call is that of a known mistake."""
        return alike(self.calls[position][0], self.expected(position, mistake), self.records[position])

    def recognise(self, position: int) -> str | None:
        """The known mistake that has the student's outputs to a failing call; of several, the one alike most often.

        One that is unlike in too many other calls is another mistake, which only looks the same here.
        """
        likeness = {
            name: self.likeness(name)
            for name in self.answers.mistakes(self.exercise)
            if self.looks_like(name, position) and self.fault(position, name) is not None
        }
        best = max(likeness, key=likeness.__getitem__, default=None)
        return best if best is not None and likeness[best] > 0 else None

    def likeness(self, mistake: str) -> float:
        """Share of the calls, of those for which the mistake's result is known, in which the student's record is its, or 0."""
        known = [position for position in range(len(self.exercise.cases)) if self.expected(position, mistake) is not None]
        same = [self.looks_like(mistake, position) or self._both_raise(mistake, position) for position in known]
        return sum(same) / len(known) if len(same) - sum(same) <= math.ceil(UNLIKE * len(known)) else 0.0

    def _both_raise(self, mistake: str, position: int) -> bool:
        wrong = self.expected(position, mistake)
        assert wrong is not None  # the position is one of those known
        return None not in (wrong.error, self.records[position].error)


def loops_in(sources: Iterable[str], exercise: str) -> str | None:
    """The first Python loop in a function, or in one of the lesson that it calls; None if there is none.

    Loops over what is written out one by one do not count, since they do not grow with the data.
    """
    functions: dict[str, ast.AST] = {}
    for source in sources:
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                functions[node.name] = node
            elif isinstance(node, ast.ClassDef):
                functions.update({f"{node.name}.{m.name}": m for m in node.body if isinstance(m, ast.FunctionDef)})
    loops = (ast.For, ast.While, ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp)
    mappers = {"map", "vectorize", "apply_along_axis", "reduce", "starmap", "accumulate"}
    seen, waiting = set(), [exercise]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for part in ast.walk(functions[name]):
            if isinstance(part, loops) and not _is_over_a_few(part):
                return f"{name}, line {part.lineno}"
            if isinstance(part, ast.Call):
                called = part.func.attr if isinstance(part.func, ast.Attribute) else getattr(part.func, "id", "")
                if called in mappers or called == exercise:
                    return f"{name}, line {part.lineno}"
                waiting.append(called)
    return None


def _is_over_a_few(loop: ast.AST) -> bool:
    """Whether a loop only runs over things written out one by one: `for z in (left, right)`, or over `.chunk(2)`."""
    over = [loop.iter] if isinstance(loop, ast.For) else [part.iter for part in getattr(loop, "generators", ())]
    return bool(over) and all(isinstance(source, (ast.Tuple, ast.List)) or _is_chunk(source) for source in over)


def _is_chunk(source: ast.AST) -> bool:
    """Whether this is `something.chunk(2)`."""
    return (
        isinstance(source, ast.Call)
        and ast.unparse(source.func).endswith(".chunk")
        and (len(source.args) > 0 and isinstance(source.args[0], ast.Constant))
    )


def notes_on(exercise: Exercise, trees: Iterable[ast.Module]) -> str:
    """What is said of library calls that do the whole exercise."""
    owner, _, method = exercise.name.partition(".")
    for tree in trees:
        for node in tree.body:
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef)) or node.name != owner:
                continue
            parts: Sequence[ast.stmt] = [m for m in node.body if getattr(m, "name", None) == method] if method else [node]
            called = {ast.unparse(n.func) for part in parts for n in ast.walk(part) if isinstance(n, ast.Call)}
            for name, text in (exercise.whole_calls or {}).items():
                if any(call == name or call.endswith(f".{name.rpartition('.')[2]}") for call in called):
                    return text
    return ""


def _faults(comparison: _Comparison, collected: dict) -> Iterator[tuple[str, Fault | None, int | None]]:
    """(check, what is wrong or None, the call it is about) for every check, simplest first."""
    exercise = comparison.exercise
    yield "signature", _signature_fault(comparison.answers.signature(exercise), collected["signature"]), None
    repeated = _repeated(exercise)
    for position, case in enumerate(exercise.cases):
        yield case.name, comparison.fault(position), position
        if case is repeated:
            fault, place = _state_fault(comparison, position)
            kept = fault is None or fault.diagnosis == "keeps-state"
            yield "no state between calls" if kept else f"{case.name}, other numbers", fault, place
            if exercise.no_loop:
                yield "no Python loop", _loop_fault(collected["sources"].values(), exercise.name), None


def _failure(comparison: _Comparison, name: str, fault: Fault, position: int | None) -> CheckResult:
    """The result of a check that found a fault: the mistake named if it is known, and said in at most five lines."""
    diagnosis, says, hint = fault.diagnosis, fault.says, ""
    about, given, status = "", "", FAILED
    inputs: Values = {}
    if position is not None:
        case, inputs, _ = comparison.calls[position]
        about = f", {case.about}" if case.about else ""
        shapes = ", ".join(f"{key} {tuple(value.shape)}" for key, value in inputs.items() if isinstance(value, Tensor))
        given = f" (given {shapes})" if shapes else ""
        if diagnosis is None:
            diagnosis = comparison.recognise(position)
            says, hint = comparison.answers.mistakes(comparison.exercise)[diagnosis] if diagnosis else (None, "")
        error = comparison.records[position].error
        status = ERROR if error is not None and error["kind"] != "WrongReturn" else FAILED
    lines = [cut(f"{comparison.exercise.name}: {name} not right{about}{given}"), *fault.text.splitlines()[:2]]
    if says:
        lines.append(cut(f"Likely: {says}.", 2 * WIDTH))
    lines.append(f'Next: hint("{comparison.exercise.name}"), or python -m dl check {comparison.exercise.name} --verbose')
    details = "\n".join(f"{key}, given:\n{value}" for key, value in inputs.items())
    return CheckResult(name, status, "\n".join(lines), diagnosis, hint, f"{details}\n{fault.details()}".strip())


def _signature_fault(wanted: list, got: list) -> Fault | None:
    names = [name for name, _ in wanted]
    if [name for name, _ in got[: len(wanted)]] == names and all(optional for _, optional in got[len(wanted) :]):
        return None
    said = ", ".join(name for name, _ in got) or "no such function"
    return Fault(
        f"parameters: got ({said}), expected ({', '.join(names)}); further ones need a default",
        "signature",
        "the names or the order of the parameters were changed",
    )


def _changed(before: Values, after: Values) -> Fault | None:
    for name, value in before.items():
        if _is_other(value, after.get(name)):
            return Fault(
                f"{name} is not what it was before the call",
                "changes-input",
                f"your code writes into its input {name} (x += …, masked_fill_, x[…] = …): make a new tensor",
            )
    return None


def _is_other(before: object, after: Any) -> bool:
    if isinstance(before, Tensor):
        return not (
            isinstance(after, Tensor)
            and before.shape == after.shape
            and torch.equal(before.detach().nan_to_num(), after.detach().nan_to_num())
        )
    if isinstance(before, dict):
        return not isinstance(after, dict) or any(_is_other(value, after.get(name)) for name, value in before.items())
    if isinstance(before, (list, tuple)):
        return (
            not isinstance(after, (list, tuple))
            or len(before) != len(after)
            or any(_is_other(b, a) for b, a in zip(before, after, strict=True))
        )
    return isinstance(before, (int, float, str)) and before != after


def _state_fault(comparison: _Comparison, position: int) -> tuple[Fault | None, int]:
    """What is wrong with the third call, on the inputs of the first again, or with the second, on other ones; and where."""
    says = "something is kept from one call to the next (a cache, a global, an attribute, a default argument)"
    first, other, again = comparison.records[position], comparison.records[-2], comparison.records[-1]
    if first.error is not None:
        return None, position  # the case itself has said so
    if again.error is not None:
        text = "the same inputs, given a second time, raise " + cut(again.error["message"])
        return Fault(text, "keeps-state", says), position
    fault = _unlike(again, first)
    if fault is not None:
        return Fault(
            f"the same inputs, given a second time, give another result\n{fault.text.splitlines()[0]}", "keeps-state", says
        ), position
    position = len(comparison.records) - 2
    fault = comparison.fault(position)
    if fault is not None and other.error is None and _unlike(other, first) is None:
        fault = Fault(f"other inputs of the same sizes, given next: {fault.text.splitlines()[0]}", "keeps-state", says)
    return fault, position


def _unlike(record: Record, first: Record) -> Fault | None:
    assert record.outputs is not None and first.outputs is not None  # asked of calls that gave something
    faults = (compare(name, record.outputs.get(name), value, 1e-9, 1e-12) for name, value in first.outputs.items())
    return next((fault for fault in faults if fault), None)


def _loop_fault(sources: Iterable[str], exercise: str) -> Fault | None:
    place = loops_in(sources, exercise)
    if place is None:
        return None
    return Fault(
        f"{place} loops in Python; this exercise is to be done without a loop",
        "python-loop",
        "a Python loop stands where one operation on whole tensors should",
    )


def _repeated(exercise: Exercise) -> Case | None:
    """The case that is made twice, to see whether something is kept from one call to the next."""
    return next((case for case in exercise.cases if case.published is None), None) if exercise.pure else None
