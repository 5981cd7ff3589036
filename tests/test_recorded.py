"""Recorded answers: packed and unpacked without loss, read safely, and with the same verdicts as computed ones."""

import json
import math
import re

import pytest
import torch

from dl.checks import answers, course
from dl.checks.answers import to_text, unpack
from dl.checks.calls import collect
from dl.checks.judge import judge, plan
from dl.checks.library import Library
from dl.console import UsageError
from dl.student import recording
from dl.student.recording import Packer, to_bytes
from tests.variants import ROOT, write_lesson

SEEDS = (3, 4, 5)
VALUES = [
    torch.arange(6).reshape(2, 3),
    torch.tensor(1.5),
    torch.zeros(0, 4),
    torch.tensor([True, False]),
    torch.tensor([1.0, torch.nan, torch.inf]).double(),
    torch.tensor([0.5, -0.25]).bfloat16(),
    torch.ones(2, 3).mT,
    torch.ones(2, 2).double()[:1, 0],
]


def equal(a, b, rtol: float = 0) -> bool:
    """Whether types, shapes, order and values agree, tensors to a relative tolerance."""
    if isinstance(a, torch.Tensor):
        return (
            isinstance(b, torch.Tensor)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and torch.allclose(a.double(), b.double(), rtol=rtol, atol=0, equal_nan=True)
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[key], b[key], rtol) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(equal(x, y, rtol) for x, y in zip(a, b))
    return type(a) is type(b) and (a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)))


def through(value):
    packer = Packer()
    text = to_text(to_bytes(packer.add(value)))
    return unpack(json.loads(text), packer.tensors())


@pytest.mark.parametrize(
    "value",
    [
        *VALUES,
        {"a": VALUES, 3: ("x", None, True, 1, 1.0, -math.inf, math.nan)},
        [],
        {},
        (),
        {"tensor": [1], "dict": 2, "tuple": 0},
    ],
    ids=repr,
)
def test_packed_values_come_back(value):
    assert equal(through(value), value)


def test_unpacked_tensors_share_nothing():
    packer = Packer()
    kept = packer.add([torch.ones(3), torch.ones(3)])
    tensors = packer.tensors()
    assert len(tensors["float32"]) == 3, "equal tensors are kept once"
    first, second = unpack(kept, tensors)
    first += 1
    assert torch.equal(second, torch.ones(3)) and torch.equal(tensors["float32"], torch.ones(3))


@pytest.mark.parametrize("value", [object(), {"a": {1, 2}}, torch.nn.Linear(1, 1), [torch.float32]])
def test_what_is_no_plain_data_is_refused(value):
    with pytest.raises(TypeError, match="Packer: got a "):
        Packer().add(value)


def test_single_precision_keeps_seven_digits_and_the_dtype():
    packer = Packer()
    values = torch.tensor([math.pi, -1e-30, 0.0, torch.nan, torch.inf], dtype=torch.float64)
    extreme = torch.tensor([1e300, 1e-300], dtype=torch.float64)
    kept = packer.add([values, values * (1 + 1e-15), extreme, torch.tensor([7])], single=True)
    tensors = packer.tensors()
    assert [len(tensors[name]) for name in ("float32", "float64", "int64")] == [5, 2, 1]
    back = unpack(kept, tensors)
    assert [tensor.dtype for tensor in back] == [torch.float64] * 3 + [torch.int64]
    assert torch.allclose(back[0], values, rtol=1e-7, atol=0, equal_nan=True) and torch.equal(back[2], extreme)


def test_a_mistake_may_return_anything():
    assert Packer().add({"a": [torch.nn.Linear(1, 1)]}, strict=False) == {"dict": [["a", ["a Linear"]]]}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Recorded answers of the first two exercises of captioning, as read from their file."""
    file = tmp_path_factory.mktemp("recorded") / "captioning.pt"
    torch.save(recording.record("captioning", course.exercises("captioning")[:2], SEEDS), file)
    return answers.Recorded(file)


def test_recorded_answers_are_the_computed_ones(recorded):
    computed = answers.of("captioning")
    for exercise in course.exercises("captioning")[:2]:
        assert recorded.signature(exercise) == computed.signature(exercise)
        assert recorded.mistakes(exercise) == computed.mistakes(exercise)
        for case in exercise.cases:
            assert equal(recorded.inputs(exercise, case, 4), computed.inputs(exercise, case, 4))
            assert equal(recorded.right(exercise, case, 4).outputs, computed.right(exercise, case, 4).outputs, rtol=1e-6)
            for name in computed.mistakes(exercise):
                got, wanted = recorded.wrong(exercise, name, case, 4), computed.wrong(exercise, name, case, 4)
                if got is None:
                    continue
                assert equal(got.outputs, wanted.outputs, rtol=1e-6)
                assert (got.error and got.error["message"]) == (wanted.error and wanted.error["message"])


def test_seeds_are_recorded_ones(recorded):
    assert {seed for _ in range(200) for seed in recorded.seeds()} == set(SEEDS)
    assert [recorded.seeds(n) for n in range(3)] == [(3, 4), (4, 5), (5, 4)]  # 3 and 2 would be twins


@pytest.mark.parametrize(
    ("body", "diagnosis"),
    [(None, None), ("next_h = torch.tanh(x @ Wx + prev_h @ Wh)\nreturn next_h, (x, prev_h, Wx, Wh, next_h)", "no-bias")],
)
def test_verdicts_are_those_of_the_full_edition(recorded, tmp_path, body, diagnosis):
    exercise = course.find(["rnn_step_forward"])[0]
    root = write_lesson(tmp_path, "captioning", {"rnn_step_forward": body}) if body else ROOT
    verdicts = []
    for source in (recorded, answers.of("captioning")):
        calls = plan(exercise, source, recorded.seeds(0))
        checks = judge(exercise, source, calls, collect(Library(root, "captioning"), exercise, calls))
        verdicts.append([(check.name, check.status, check.message, check.diagnosis) for check in checks])
    assert verdicts[0] == verdicts[1]
    assert [d for *_, d in verdicts[0] if d] == ([diagnosis] if diagnosis else [])


def test_a_missing_file_is_said_in_words(tmp_path):
    with pytest.raises(UsageError, match=re.escape("recorded/captioning.pt are not there")):
        answers.Recorded(tmp_path / "captioning.pt")


def test_a_case_that_returns_no_plain_data_is_named(monkeypatch):
    exercise = course.find(["rnn_step_forward"])[0]
    draw = answers.Computed.inputs
    monkeypatch.setattr(answers.Computed, "inputs", lambda *args: {**draw(*args), "more": object()})
    with pytest.raises(TypeError, match="record: rnn_step_forward: Packer: got a object"):
        recording.record("captioning", [exercise], SEEDS)
