"""The engine of the checks: what it compares, what it says, how it treats what is missing, broken or waits."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from dl.__main__ import main
from dl.checks import answers, course
from dl.checks.calls import collect
from dl.checks.compare import compare
from dl.checks.examiner import Examiner, hints
from dl.checks.exercise import Case, Draw, Exercise, WrongReturn, unpack, with_gradients
from dl.checks.judge import ERROR, FAILED, MISSING, PASSED, SKIPPED, judge, loops_in, notes_on, plan
from dl.checks.library import Broken, Library
from dl.sandbox import verdicts
from dl.sandbox.verdicts import NotSolved
from tests.variants import ROOT, write_lesson

STUB = 'raise NotImplementedError("EXERCISE rnn_step_forward: about 3 lines.")'
NO_BIAS = "return torch.tanh(x @ Wx + prev_h @ Wh), (x, prev_h, Wx, Wh)"


@pytest.fixture
def lesson(tmp_path):
    """Writes the captioning lesson with other bodies; returns its folder."""
    return lambda **bodies: write_lesson(tmp_path, "captioning", bodies)


def fault(got, right, **options):
    return compare("y", got, right, 1e-6, 1e-8, **options)


# --- Comparing ---


@pytest.mark.parametrize(
    ("got", "right"),
    [
        (torch.ones(2, 3), torch.ones(2, 3)),
        (torch.tensor([1.0, torch.nan]), torch.tensor([1.0, torch.nan])),
        (2.0, torch.tensor(2.0)),
        (torch.tensor(2.0), 2.0),
        (["a", 1], ["a", 1]),
        ((torch.ones(1),), [torch.ones(1)]),
        ({"a": torch.ones(2)}, {"a": torch.ones(2)}),
        (None, None),
        (torch.ones(2) + 1e-9, torch.ones(2)),
    ],
)
def test_equal_outputs_agree(got, right):
    assert fault(got, right) is None


@pytest.mark.parametrize(
    ("got", "right", "words"),
    [
        (torch.ones(3, 2), torch.ones(2, 3), r"got shape \(3, 2\), expected \(2, 3\)"),
        (torch.ones(2), torch.ones(2).double(), "got dtype float32, expected float64"),
        (torch.tensor([1.0, torch.nan]), torch.tensor([1.0, 2.0]), r"worst at \[1\]: got nan, expected 2"),
        (
            torch.tensor([1.0, 5.0, 2.0]),
            torch.tensor([1.0, 2.0, 2.0]),
            r"1 of 3 elements differ.*expected 2\ngot \[1, >5<, 2\]",
        ),
        (None, torch.ones(2), "got None"),
        ("cat", "dog", "got 'cat', expected 'dog'"),
        (True, 1, "got True"),
        (1, True, "got 1, expected True"),
        (["a"], ["a", "b"], "a list of 1, expected a list of 2"),
        (["a", "c"], ["a", "b"], r"y\[1\]: got 'c'"),
        ({"b": 1}, {"a": 1}, "got {'b': 1}"),
        ({"a": 2}, {"a": 1}, r"y\['a'\]: "),
        (torch.ones(2) * (1 + 1e-4), torch.ones(2), "2 of 2"),
    ],
)
def test_differences_are_found_and_said(got, right, words):
    assert re.search(words, fault(got, right).text, re.DOTALL)


def test_another_dtype_is_accepted_where_the_case_allows_it():
    assert fault(torch.ones(2), torch.ones(2).double(), same_dtype=False) is None


def test_a_lost_gradient_has_a_name():
    assert compare("dx", None, torch.ones(2), 1e-6, 1e-8).diagnosis == "no-gradient"


def test_with_gradients_sends_a_random_sum_backwards():
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    unused = torch.ones(2, dtype=torch.float64, requires_grad=True)
    values = with_gradients({"y": 2 * x}, {"x": x, "unused": unused}, seed=1)
    weights = torch.randn(3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.equal(values["dx"], 2 * weights)
    assert values["dunused"] is None
    assert not values["y"].requires_grad


def test_unpack_says_how_many_values_came():
    assert unpack((1, 2), "a", "b") == {"a": 1, "b": 2}
    assert unpack(5, "a") == {"a": 5}
    with pytest.raises(WrongReturn, match="returned 3 values; wanted 2: a, b"):
        unpack((1, 2, 3), "a", "b")
    with pytest.raises(WrongReturn, match="returned None; wanted 2 values"):
        unpack(None, "a", "b")


def test_drawn_sizes_differ_and_follow_the_seed():
    assert len(set(Draw(3).sizes(4))) == 4
    assert torch.equal(Draw(3).normal(2, 2), Draw(3).normal(2, 2))
    assert not torch.equal(Draw(3).normal(2, 2), Draw(4).normal(2, 2))


# --- Loops and notes ---


@pytest.mark.parametrize(
    "body",
    [
        "for i in x:\n        pass",
        "while x:\n        pass",
        "return [a for a in x]",
        "return sum(a for a in x)",
        "return list(map(str, x))",
        "return numpy.vectorize(abs)(x)",
        "return torch.stack([a for a in x.chunk(n)])",
        "return helper(x)",
        "return f(x)",
    ],
)
def test_a_loop_is_found_also_in_a_helper_and_in_recursion(body):
    source = f"def f(x):\n    {body}\n\ndef helper(x):\n    return [a for a in x]\n"
    assert loops_in([source], "f") is not None


def test_no_loop_is_seen_where_there_is_none():
    for body in ("x @ x.T", "[a + 1 for a in (x, x.T)]", "sum(a for a in x.chunk(2))", "torch.vmap(abs)(x)"):
        source = f"def f(x):\n    return {body}\n\ndef other(x):\n    for a in x:\n        pass\n"
        assert loops_in([source], "f") is None


def test_a_library_call_that_does_it_all_gets_a_note():
    exercise = Exercise("LSTM.forward", "captioning", (), 1, 5, whole_calls={"nn.LSTM": "PyTorch's layer did the work"})
    whole = "class LSTM:\n    def forward(self, x):\n        return torch.nn.LSTM(3, 4)(x)\n"
    own = "class LSTM:\n    def forward(self, x):\n        return x\n\nclass B:\n    def forward(self):\n        nn.LSTM()\n"
    assert notes_on(exercise, [ast.parse(whole)]) == "PyTorch's layer did the work"
    assert notes_on(exercise, [ast.parse(own)]) == ""


# --- Verdicts ---


def test_statuses_of_solved_wrong_missing_and_waiting(lesson):
    root = lesson(rnn_step_forward=NO_BIAS)
    step, backward = (r.status for r in verdicts.check("rnn_step_forward", "rnn_step_backward", root=root))
    assert (step, backward) == (FAILED, SKIPPED)
    root = lesson(rnn_step_forward=STUB)
    step, backward = verdicts.check("rnn_step_forward", "rnn_step_backward", root=root)
    assert (step.status, backward.status) == (MISSING, SKIPPED)
    assert step.message == "EXERCISE rnn_step_forward: about 3 lines."
    assert "waits for rnn_step_forward" in backward.message


def test_what_is_missing_is_replaced_by_its_solution_for_those_that_build_on_it(lesson):
    root = lesson(
        rnn_step_forward=STUB,
        rnn_forward="""
        h, states = h0, []
        for t in range(x.shape[1]):
            h, _ = rnn_step_forward(x[:, t], h, Wx, Wh, b)
            states.append(h)
        return torch.stack(states, dim=1), None
    """,
    )
    assert [r.status for r in verdicts.check("rnn_step_forward", "rnn_forward", root=root)] == [MISSING, PASSED]


def test_code_that_raises_is_an_error_with_its_line(lesson):
    (result,) = verdicts.check("rnn_step_forward", root=lesson(rnn_step_forward="return x[99]"))
    assert result.status == ERROR
    assert "raised IndexError" in result.message and "rnn_lstm_captioning.py line" in result.message


def test_code_that_exits_does_not_end_the_check(lesson):
    (result,) = verdicts.check("rnn_step_forward", root=lesson(rnn_step_forward="raise SystemExit(3)"))
    assert result.status == ERROR


def test_a_wrong_number_of_values_is_a_failure_in_words(lesson):
    (result,) = verdicts.check("rnn_step_forward", root=lesson(rnn_step_forward="return x, x, x"))
    assert result.status == FAILED
    assert "returned 3 values; wanted 2: next_h, cache" in result.message


def test_a_file_that_is_no_python_is_said_with_its_line(tmp_path):
    (tmp_path / "rnn_lstm_captioning.py").write_text("def f(:\n")
    (result,) = verdicts.check("rnn_step_forward", root=tmp_path)
    assert result.status == ERROR
    assert "rnn_lstm_captioning.py line 1" in result.message
    with pytest.raises(Broken, match="cannot be read"):
        Library(tmp_path / "nowhere", "captioning")


def test_a_module_saved_with_a_byte_order_mark_or_other_line_ends_is_checked(tmp_path):
    text = (ROOT / "rnn_lstm_captioning.py").read_text(encoding="utf-8")
    (tmp_path / "rnn_lstm_captioning.py").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (result,) = verdicts.check("rnn_step_forward", root=tmp_path)
    assert result.status == PASSED


def test_a_changed_signature_is_told_first_and_extra_defaults_are_accepted(tmp_path):
    text = (ROOT / "rnn_lstm_captioning.py").read_text()
    place = "x: Tensor, prev_h: Tensor, Wx: Tensor, Wh: Tensor, b: Tensor"
    assert place in text
    lesson = tmp_path / "rnn_lstm_captioning.py"
    lesson.write_text(text.replace(place, place.replace("x: Tensor, prev_h", "prev_h: Tensor, x"), 1))
    (result,) = verdicts.check("rnn_step_forward", root=tmp_path)
    assert (result.cause.name, result.cause.diagnosis) == ("signature", "signature")
    lesson.write_text(text.replace(place, place + ", scale: float = 1.0", 1))
    assert verdicts.check("rnn_step_forward", root=tmp_path)[0].status == PASSED


def test_changed_inputs_and_kept_state_are_named(lesson):
    good = "return torch.tanh(x @ Wx + prev_h @ Wh + b), (x, prev_h, Wx, Wh)"
    (result,) = verdicts.check("rnn_step_forward", root=lesson(rnn_step_forward=f"old = x.clone(); x += 1; x = old\n{good}"))
    assert result.cause.diagnosis == "changes-input"
    kept = "h = torch.tanh(x @ Wx + prev_h @ Wh + b); kept = globals().setdefault('kept', []); kept.append(0)"
    kept += "; h = h + (len(kept) - 2) * (len(kept) > 4)\nreturn h, None"
    (result,) = verdicts.check("rnn_step_forward", root=lesson(rnn_step_forward=kept))
    assert result.cause.diagnosis == "keeps-state"


def test_random_inputs_differ_between_runs_so_that_pasted_numbers_fail():
    exercise = course.find(["rnn_step_forward"])[0]
    right = answers.of("captioning")
    drawn = [plan(exercise, right, right.seeds())[1][1]["x"] for _ in range(2)]
    assert drawn[0].shape != drawn[1].shape or not torch.equal(*drawn)


def test_a_case_whose_solution_fails_is_a_fault_of_the_checks():
    exercise = course.find(["rnn_step_forward"])[0]
    broken = replace(exercise, cases=(Case("broken", lambda draw: {}, lambda lesson, inputs: lesson.rnn_step_forward()),))
    right = answers.of("captioning")
    calls = plan(broken, right, (1, 2))
    collected = collect(Library(ROOT, "captioning"), broken, calls)
    with pytest.raises(RuntimeError, match="the solution of rnn_step_forward fails at broken"):
        judge(broken, right, calls, collected)


def test_a_case_that_asks_for_a_gradient_too_late_is_a_fault_of_the_checks():
    def run(lesson, inputs):
        y = lesson.rnn_step_forward(*inputs.values())[0]
        return with_gradients({"y": y}, {"x": inputs["x"].requires_grad_()})

    exercise = course.find(["rnn_step_forward"])[0]
    late = Case("late", exercise.cases[0].draw, run)
    with pytest.raises(RuntimeError, match="no gradient dx at late"):
        answers.of("captioning").right(exercise, late, 1)


def test_global_settings_of_a_student_are_put_back_for_the_next_call(lesson):
    settings = "torch.set_grad_enabled(False); torch.set_default_dtype(torch.float64)"
    root = lesson(rnn_step_forward=f"{settings}\nreturn torch.tanh(x @ Wx + prev_h @ Wh + b), None")
    verdicts.check("rnn_step_forward", root=root)
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


def test_an_error_in_the_first_call_only_is_told(lesson):
    body = "first = not globals().get('called'); globals()['called'] = True\nif first:\n    raise ValueError('cold')\n"
    body += "return torch.tanh(x @ Wx + prev_h @ Wh + b), None"
    (result,) = verdicts.check("rnn_step_forward", root=lesson(rnn_step_forward=body))
    assert result.cause.status == "error" and "cold" in result.message


def test_results_kept_for_inputs_of_the_same_sizes_are_noticed(lesson):
    kept = "h = globals().setdefault('kept', {}).setdefault(x.shape, torch.tanh(x @ Wx + prev_h @ Wh + b))\nreturn h, None"
    (result,) = verdicts.check("rnn_step_forward", root=lesson(rnn_step_forward=kept))
    assert (result.cause.name, result.cause.diagnosis) == ("no state between calls", "keeps-state")


def test_a_seed_and_the_next_give_other_tensors_of_the_same_sizes():
    one, twin = Draw(6), Draw(7)
    sizes = one.sizes(3)
    assert twin.sizes(3) == sizes and one.integer(0, 10**6) == twin.integer(0, 10**6)
    assert not torch.equal(one.normal(*sizes), twin.normal(*sizes))


def test_student_code_in_another_process_gets_the_same_verdict(lesson, tmp_path):
    """The three parts of a check are apart: only `collect` runs in the other process, and only plain data come back."""
    root = lesson(rnn_step_forward=NO_BIAS)
    program = f"""
import sys, torch
from pathlib import Path
from dataclasses import asdict
from dl.checks import course
from dl.checks.exercise import Case
from dl.checks.library import Library
from dl.checks.calls import collect
exercise = course.find(["rnn_step_forward"])[0]
inputs = torch.load({str(tmp_path / "inputs.pt")!r}, weights_only=True)
cases = {{case.name: case for case in exercise.cases}}
calls = [(cases[name], values, seed) for name, values, seed in inputs]
collected = collect(Library(Path({str(root)!r}), "captioning"), exercise, calls)
collected["records"] = [asdict(record) for record in collected["records"]]
torch.save(collected, {str(tmp_path / "collected.pt")!r})
"""
    from dl.checks.calls import Record

    exercise, right = course.find(["rnn_step_forward"])[0], answers.of("captioning")
    calls = plan(exercise, right, (5, 6))
    torch.save([(case.name, values, seed) for case, values, seed in calls], tmp_path / "inputs.pt")
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
    collected = torch.load(tmp_path / "collected.pt", weights_only=True)
    collected["records"] = [Record(**record) for record in collected["records"]]
    there = judge(exercise, right, calls, collected)
    assert there == Examiner(root, seed=5).check(exercise).checks
    assert any(check.diagnosis for check in there)


# --- Doors ---


def test_json_of_the_command(lesson, tmp_path, capsys):
    root = lesson(rnn_step_forward=NO_BIAS)
    file = tmp_path / "verdicts.json"
    assert main(["check", "rnn_step_forward", "rnn_step_backward", "--root", str(root), "--json", str(file)]) == 1
    report = json.loads(file.read_text())
    assert {key: report[key] for key in ("passed", "failed", "error", "missing", "skipped")} == {
        "passed": 0,
        "failed": 1,
        "error": 0,
        "missing": 0,
        "skipped": 1,
    }
    first = report["exercises"][0]
    assert {"exercise", "topic", "module", "status", "seconds", "checks"} <= set(first)
    assert (first["exercise"], first["topic"], first["module"]) == ("rnn_step_forward", "captioning", "rnn_lstm_captioning")
    failed = next(c for c in first["checks"] if c["status"] == "failed")
    assert set(failed) == {"name", "status", "message", "diagnosis"} and failed["diagnosis"] == "no-bias"
    assert "1 failed, 1 skipped of 2 exercises" in capsys.readouterr().out.splitlines()[-1]


def test_exit_code_of_the_command_when_all_pass():
    assert main(["check", "rnn_step_forward", "--root", str(ROOT)]) == 0


def test_list_shows_what_is_missing_and_runs_nothing(lesson, capsys):
    root = lesson(rnn_step_forward=STUB, rnn_step_backward="raise ZeroDivisionError")
    assert main(["check", "captioning", "--list", "--root", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["missing", "captioning", "rnn_step_forward"]
    assert lines[1].split()[:3] == ["written", "captioning", "rnn_step_backward"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["rnn_stp_forward"], "did you mean rnn_step_forward"), (["--root", "/nowhere/at/all"], "is not a folder")],
)
def test_wrong_use_of_the_command(arguments, words, capsys):
    assert main(["check", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_verbose_shows_the_tensors_and_hint_the_hints(lesson, capsys):
    root = lesson(rnn_step_forward=NO_BIAS)
    main(["check", "rnn_step_forward", "--root", str(root), "--verbose", "--hint"])
    out = capsys.readouterr().out
    assert "next_h, expected:" in out and "hint 1: " in out


def test_require_raises_with_the_message(lesson):
    with pytest.raises(NotSolved, match="the bias b is not added"):
        verdicts.require("rnn_step_forward", root=lesson(rnn_step_forward=NO_BIAS))


def test_hints_come_in_steps_mistake_first_tensors_last(lesson):
    verdicts.check("rnn_step_forward", root=lesson(rnn_step_forward=NO_BIAS))
    exercise, said = course.find(["rnn_step_forward"])[0], []
    steps = hints(exercise, verdicts._LAST["results"]["rnn_step_forward"])
    for _ in range(len(steps) + 1):
        verdicts.hint(say=said.append)
    assert len(steps) >= 3
    assert said[0].startswith(f"rnn_step_forward, hint 1 of {len(steps)}: ")
    assert "these are the tensors" in said[len(steps) - 1] and said[-1] == said[-2]


def test_needs_point_backwards_and_every_exercise_has_a_solution():
    seen = set()
    for exercise in course.find(()):
        needed = {*exercise.needs, *([exercise.partner] if exercise.partner else [])}
        assert needed <= seen, f"{exercise.name} needs {needed - seen}, which comes later"
        seen.add(exercise.name)
        assert exercise.name in answers.of(exercise.topic).replacements([exercise.name])


def test_a_check_on_another_device_does_not_load_the_compiler_of_torch():
    """It takes as long as all the rest of `python -m dl check NAME`; a "meta" tensor would load it."""
    code = (
        "import sys; from dl.checks import course; from dl.checks.examiner import Examiner\n"
        "exercise, = course.find(['rnn_step_forward'])\n"
        "assert any('device' in check.name for check in Examiner(seed=1).check(exercise).checks)\n"
        "print([name for name in ('torch._dynamo', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def device_fault(root):
    """What the case on another device finds in the exercise `rnn_step_forward` of the code in `root`."""
    (exercise,) = course.find(["rnn_step_forward"])
    case = next(case for case in exercise.cases if case.name == "device followed")
    outputs = case.run(Library(root, "captioning"), case.draw(Draw(3)))
    return case.judge({}, outputs, outputs)


@pytest.mark.parametrize(
    "body",
    [
        "return torch.tanh(x @ Wx + prev_h @ Wh + b.cpu()), ()",
        "return torch.tanh(x @ Wx + prev_h @ Wh + b + torch.zeros(len(b))), ()",
        "h = torch.zeros_like(prev_h, device='cpu'); h += torch.tanh(x @ Wx + prev_h @ Wh + b); return h, ()",
        "return torch.stack([torch.tanh(r @ Wx + p @ Wh + b) for r, p in zip(x, prev_h)]).to('cpu'), ()",
        "return torch.from_numpy(np.tanh((x @ Wx + prev_h @ Wh + b).detach().numpy())), ()",
        "s = torch.zeros(prev_h.shape); s[:] = x @ Wx + prev_h @ Wh + b; return torch.tanh(s), ()",
    ],
)
def test_a_tensor_that_leaves_its_device_is_found(lesson, body):
    assert device_fault(lesson(rnn_step_forward="import numpy as np; " + body)).diagnosis == "device-not-followed"


@pytest.mark.parametrize(
    "body",
    [
        "h = x.new_zeros(prev_h.shape); h += x @ Wx; h.add_(prev_h @ Wh); h += b; return h.tanh_(), ()",
        "z = torch.zeros(prev_h.shape, dtype=x.dtype, device=x.device)\nz[torch.arange(len(x))] = x @ Wx + prev_h @ Wh + b\n"
        "return torch.tanh(z), ()",
        "e = torch.exp(2 * (torch.einsum('nd,dh->nh', x, Wx) + prev_h @ Wh + b)); return (e - 1) / (e + torch.tensor(1.)), ()",
        "return F.linear(torch.cat((x, prev_h), 1), torch.cat((Wx, Wh)).T, b).tanh(), ()",
        "return torch.tanh(torch.addmm(b.expand(len(x), -1), x, Wx) + torch.ones_like(b) * (prev_h @ Wh)), ()",
    ],
)
def test_what_stays_on_its_device_is_left_alone(lesson, body):
    assert device_fault(lesson(rnn_step_forward="import torch.nn.functional as F; " + body)) is None
