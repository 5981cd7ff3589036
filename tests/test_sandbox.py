"""Students' code in a process of its own: whatever it does to that process, every exercise gets its verdict."""

from __future__ import annotations

import json
import math
import os
import re
import sys

import pytest
import torch

from dl.__main__ import main
from dl.checks import course
from dl.checks.examiner import Examiner
from dl.checks.judge import ERROR, FAILED, PASSED
from dl.sandbox import child, confine, processes, wire
from dl.sandbox.child import Sandbox
from dl.sandbox.confine import Limits
from dl.sandbox.processes import Children
from tests.variants import write_lesson

GOOD = "return torch.tanh(x @ Wx + prev_h @ Wh + b), (x, prev_h, Wx, Wh)"
forks = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="each exercise has a process of its own on Linux only")


@pytest.fixture(scope="module")
def children():
    with Children(Limits(cpu=2, wall=20.0, memory=2**30)) as children:
        yield children


def verdicts(tmp_path, children, body, *names):
    examiner = Examiner(write_lesson(tmp_path, "captioning", {"rnn_step_forward": body}), 5, children.ask)
    return [examiner.check(exercise) for exercise in course.find(names)]


@forks
@pytest.mark.parametrize(
    ("body", "diagnosis", "words"),
    [
        ("while True: pass", "timeout", "stopped after 2 seconds of computing"),
        ("import time; time.sleep(1000)", "timeout", "seconds on the clock"),
        ("import os; os._exit(0)", "crashed", r"exit code 0 \(os._exit"),
        ("import os; os.abort()", "crashed", "by SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "crashed", "by SIGSEGV"),
        ("torch.ones(32 * 2**27, dtype=torch.float64)", "memory", "more memory than a check has"),
        ("raise KeyboardInterrupt", None, "raised KeyboardInterrupt"),
        ("class Own(BaseException): pass\nraise Own('mine')", None, "raised Own: mine"),
        ("import sys; sys.exit(0)", None, "raised SystemExit"),
        ("breakpoint()", None, "has nobody to talk to"),
        ("input()", None, "raised EOFError"),
        ("torch.set_default_device('meta'); " + GOOD, None, "rnn_step_forward: "),
    ],
    ids=lambda value: str(value)[:24],
)
def test_an_end_of_the_process_is_one_exercises_verdict_in_words(tmp_path, children, body, diagnosis, words):
    children.limits = Limits(2 if "while" in body else 10, 4.0 if "sleep" in body else 20.0, 2**30)
    bad, good = verdicts(tmp_path, children, body, "rnn_step_forward", "temporal_softmax_loss")
    assert (bad.status, good.status) == (ERROR, PASSED)
    assert bad.cause.diagnosis == diagnosis
    assert re.search(words, bad.message)


def test_settings_left_behind_are_gone_in_the_next_exercise(tmp_path, children):
    body = "torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False); torch.manual_seed(3)\n" + GOOD
    bad, good = verdicts(tmp_path, children, body, "rnn_step_forward", "LSTM.forward")
    assert (bad.status, good.status) == (FAILED, PASSED)


@forks
def test_the_child_cannot_tell_from_which_seed_its_inputs_were_drawn(tmp_path, children):
    body = f"print('starts from', torch.initial_seed() - 2**40)\n{GOOD}"
    (result,) = verdicts(tmp_path, children, body, "rnn_step_forward")
    assert result.status == PASSED
    starts = {int(line.split()[-1]) for line in result.printed.splitlines()}
    assert not starts & {5, 4} and len(starts) > 1


@pytest.mark.parametrize("code", ["while True: pass", "import os; os._exit(0)"])
def test_the_command_never_ends_well_without_verdicts(tmp_path, capsys, code):
    root = write_lesson(tmp_path, "captioning", {"rnn_step_forward": code})
    old = tmp_path / "verdicts.json"
    old.write_text('{"passed": 55}')
    names = ["rnn_step_forward", "temporal_softmax_loss"]
    assert main(["check", *names, "--root", str(root), "--json", str(old), "--timeout", "2"]) == 1
    kept = {entry["exercise"]: entry["status"] for entry in json.loads(old.read_text())["exercises"]}
    assert kept == {"rnn_step_forward": "error", "temporal_softmax_loss": "passed"}


def test_prints_are_shown_when_asked_for_and_only_so_many(tmp_path, capsys):
    root = write_lesson(tmp_path, "captioning", {"rnn_step_forward": f"print('x is', tuple(x.shape), '!' * 10**6)\n{GOOD}"})
    command = ["check", "rnn_step_forward", "--root", str(root), "--seed", "3"]
    assert main(command) == 0
    assert "x is" not in capsys.readouterr().out
    assert main([*command, "--verbose"]) == 0
    assert "printed: x is (" in (said := capsys.readouterr().out) and len(said) < 10**6


def test_an_old_verdict_is_removed_before_anything_is_run(tmp_path, monkeypatch):
    old = tmp_path / "verdicts.json"
    old.write_text('{"passed": 55}')
    monkeypatch.setattr("dl.commands.check.Children", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["check", "sim", "--json", str(old)]) == 130
    assert not old.exists()
    old.write_text('{"passed": 55}')
    assert main(["check", "sim", "--json", str(old), "--timeout", "0"]) == 2
    assert not old.exists()


def test_check_finds_the_project_from_a_folder_in_it(monkeypatch, capsys):
    monkeypatch.chdir("notebooks")
    assert main(["check", "rnn_step_forward", "--list"]) == 0
    assert "written" in capsys.readouterr().out


def test_an_answer_that_was_not_waited_for_is_not_taken_for_the_next_one(tmp_path, children, monkeypatch):
    read = child.read_frame

    def interrupted(source):
        monkeypatch.setattr(child, "read_frame", read)
        raise KeyboardInterrupt

    assert children.layers == []
    monkeypatch.setattr(child, "read_frame", interrupted)
    with pytest.raises(KeyboardInterrupt):
        verdicts(tmp_path, children, GOOD, "rnn_step_forward")
    (good,) = verdicts(tmp_path, children, GOOD, "temporal_softmax_loss")
    assert (good.exercise, good.status) == ("temporal_softmax_loss", PASSED)


@forks
def test_on_macos_the_process_starts_under_sandbox_exec_and_is_believed_only_if_it_holds(tmp_path, monkeypatch):
    """Tried with a stand-in that confines nothing, since sandbox-exec is macOS's own."""
    program, folder = tmp_path / "bin" / "sandbox-exec", tmp_path / 'its "own" folder'
    program.parent.mkdir()
    folder.mkdir()
    program.write_text(f'#!/bin/sh\nprintf %s "$2" > {tmp_path}/profile\nshift 2\nexec "$@"\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    with Children(sandbox=Sandbox(("seatbelt",), str(folder), hidden=("/root",))) as children:
        assert children.layers == []
    profile = (tmp_path / "profile").read_text()
    assert "(deny network*)" in profile and '(deny file-read* (subpath "/root"))' in profile
    assert f'(subpath "{str(folder).replace(chr(34), chr(92) + chr(34))}")' in profile
    monkeypatch.setenv("PATH", "")
    assert confine.seatbelt(str(folder), ()) == []
    assert confine.holds(lambda: refused(confine.restrict_calls)) and not confine.holds(lambda: refused(lambda: None))


def refused(confined):
    confined()
    assert confine.network_is_refused()


# --- Bytes between the processes ---

VALUES = {
    "transposed": torch.arange(6.0).reshape(2, 3).mT,
    "one of many": torch.arange(9.0)[::3][:1],
    "empty": torch.zeros(0, 3),
    "number": torch.tensor(2, dtype=torch.int16),
    "truth": torch.tensor([True, False]),
    "small": torch.tensor([0.1, math.nan]).bfloat16(),
    "complex": torch.tensor([1 + 2j]).conj(),
    "lists": [1, (2.5, None, True, "x", -math.inf), {3: "y"}],
}


def test_values_arrive_as_they_were_sent():
    got = wire.from_frame(wire.to_frame(VALUES))
    assert list(got) == list(VALUES) and got["lists"] == VALUES["lists"]
    for name, value in VALUES.items():
        if isinstance(value, torch.Tensor):
            assert (got[name].dtype, got[name].shape) == (value.dtype, value.shape)
            assert torch.allclose(got[name], value, rtol=0, atol=0, equal_nan=True)
    assert got["transposed"].stride() == VALUES["transposed"].stride()


def test_a_thing_that_is_no_plain_data_arrives_as_its_kind_without_its_behaviour():
    class Liar:
        def __eq__(self, other):
            return True

    got = wire.from_frame(wire.to_frame({"y": Liar(), "meta": torch.ones(2, device="meta")}))
    assert type(got["y"]).__name__ == "Liar" and got["y"] != 1
    assert got["meta"].device.type == "meta"


@pytest.mark.parametrize(
    "header",
    [
        "{",
        "[" * 100 + "]" * 100,
        '{"tensor": {"dtype": "float32", "shape": [4], "order": [0], "start": 0}}',
        '{"tensor": {"dtype": "float32", "shape": [-1], "order": [0], "start": 0}}',
        '{"tensor": {"dtype": "float32", "shape": [1], "order": [1], "start": 0}}',
        '{"tensor": {"dtype": "object", "shape": [1], "order": [0], "start": 0}}',
        '{"meta": {"dtype": "float32", "shape": [4611686018427387904, 8]}}',
        '{"dict": [[[1], 2]]}',
        '{"dict": 3}',
        '{"tensor": {}, "meta": {}}',
    ],
)
def test_a_frame_that_does_not_fit_together_is_refused(header):
    frame = wire.HEAD.pack(len(header), 8) + header.encode() + bytes(8)
    with pytest.raises(ValueError):
        wire.from_frame(frame)


def test_frames_too_long_or_cut_are_refused():
    with pytest.raises(ValueError, match="at most"):
        wire.size_of(wire.HEAD.pack(2**30, 0))
    with pytest.raises(ValueError, match="no whole frame"):
        wire.from_frame(wire.to_frame([1])[:-1])


def test_a_process_that_cannot_be_forked_serves_all_the_same(tmp_path):
    """As on macOS and Windows: one process for all exercises, started again when it was lost."""
    with Children(Limits(2, 20.0)) as children:
        children.forks = False
        bad, good = verdicts(tmp_path, children, "import os; os._exit(0)", "rnn_step_forward", "temporal_softmax_loss")
    assert (bad.status, bad.cause.diagnosis, good.status) == (ERROR, "crashed", PASSED)


@forks
def test_what_a_child_of_an_exercise_has_started_in_turn_is_ended_too(tmp_path, children):
    """It becomes a child of the serving process only when its own parent is ended."""
    children.limits = Limits(2, 20.0)
    note = tmp_path / "pid"
    start = f"open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    body = f"import os, time\nif os.fork() == 0:\n    if os.fork() == 0:\n        {start}\n    time.sleep(600)\n"
    body += f"while not os.path.exists({str(note)!r}): time.sleep(0.01)\n{GOOD}"
    first, second = verdicts(tmp_path, children, body, "rnn_step_forward", "temporal_softmax_loss")
    assert (first.status, second.status) == (PASSED, PASSED)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_a_process_that_does_not_start_is_given_up_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "STARTING", 3.0)
    room = tmp_path / "dl" / "sandbox"
    room.mkdir(parents=True)
    for file in (room.parent / "__init__.py", room / "__init__.py"):
        file.touch()  # else Python takes the installed package
    (room / "child.py").write_text("import time; open('begun', 'w').close(); time.sleep(600)")
    with Children(package=tmp_path) as children, pytest.raises(RuntimeError, match="did not start. Try python -c"):
        _ = children.layers
    assert (tmp_path / "begun").exists()
