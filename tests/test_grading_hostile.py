"""Hostile submissions get their verdict in words, the rest of the same submission its points, and the host stays as it was."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dl.grading import points
from dl.grading.engine import FORBIDDEN, LAYERS, Desk, Order
from dl.grading.intake import LESSONS
from tests.variants import ROOT, write_lesson

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="students' code is confined on Linux")
LESSON = "rnn_lstm_captioning.py"
CONTROL = "temporal_softmax_loss"
HOSTILE = tomllib.loads((Path(__file__).parent / "hostile.toml").read_text(encoding="utf-8"))
MODULES = [
    *HOSTILE["module"],
    {"name": "brackets", "outcome": "error", "body": "x = " + "(" * 5000},
    {"name": "minus signs", "outcome": "error", "body": "x = " + "-" * 200_000 + "1"},
    {"name": "zero bytes", "outcome": "error", "body": "x = '\0'"},
]
PARTIAL = replace(points.load(), share=1.0)
WORDS = {
    "WRONG": "torch.zeros(len(x), len(Wh), dtype=x.dtype), None",
    "RIGHT": "torch.tanh(x @ Wx + prev_h @ Wh + b), (x, prev_h, Wx, Wh)",
    "PROJECT": repr(str(ROOT)),
}


@pytest.fixture(scope="module")
def desk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # without tests/no_network: the sandbox itself must refuse
        made = Desk(Order("a secret for the tests", timeout=1, memory=2**29, hidden=(str(ROOT / "tests"),)))
        yield made
        made.close()


@pytest.fixture(scope="module")
def confined(desk):
    missing = [layer for layer in LAYERS if layer not in desk.children.layers]
    if missing:
        pytest.skip(f"this kernel has no {', '.join(missing)}")
    return desk


def entries(desk, text, *names):
    graded = desk.grade({LESSON: text if isinstance(text, bytes) else text.encode()}, names)
    return {entry["exercise"]: entry for entry in graded["exercises"]}


@pytest.mark.parametrize("attack", HOSTILE["function"], ids=lambda attack: attack["name"])
def test_a_hostile_function_gets_its_verdict_and_all_others_theirs(attack, confined, tmp_path):
    canary, later = tmp_path / "canary", tmp_path / "later"
    canary.write_text("untouched")
    body = attack["body"]
    for word, text in {**WORDS, "CANARY": repr(str(canary)), "LATER": repr(str(later))}.items():
        body = body.replace(word, text)
    lesson = write_lesson(tmp_path, "captioning", {"rnn_step_forward": body}) / LESSON
    found = entries(confined, lesson.read_text(), "rnn_step_forward", CONTROL)
    got = found["rnn_step_forward"]
    assert got["status"] in attack["outcome"].split(), got["message"]
    assert attack.get("words", "") in got["message"]
    assert (got["diagnosis"] == FORBIDDEN) == ("[Errno 1]" in got["message"] or "[Errno 13]" in got["message"])
    assert PARTIAL.points(got) == 0 or got["status"] == "failed" or "passed" in attack["outcome"]
    assert found[CONTROL]["status"] == "passed"
    assert canary.read_text() == "untouched" and not later.exists()
    assert (confined.code / LESSON).read_text() == lesson.read_text()


@pytest.mark.parametrize("attack", MODULES, ids=lambda attack: attack["name"])
def test_a_hostile_module_costs_its_own_exercises_only(attack, confined):
    contents = {path: (ROOT / path).read_bytes() for path in (LESSON, "transformers.py")}
    contents[LESSON] += f"\n{attack['body']}\n".encode()
    bad, good = confined.grade(contents, ["rnn_step_forward", "generate_token_dict"])["exercises"]
    assert bad["status"] in attack["outcome"].split(), bad["message"]
    assert attack.get("words", "") in bad["message"]
    assert good["status"] == "passed"


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda text: b"\xef\xbb\xbf" + text, "passed", ""),
        (lambda text: text.replace(b"\n", b"\r\n"), "passed", ""),
        (lambda text: b"# -*- coding: latin-1 -*-\n# \xe9t\xe9\n" + text, "passed", ""),
        (lambda text: text + b"# \xe9t\xe9\n", "error", "cannot be read"),
        (lambda text: text.replace(b"def rnn_step_forward", b"def rnn_step"), "error failed", ""),
        (lambda text: b"", "error failed", ""),
    ],
    ids=["BOM", "CRLF", "latin-1, said", "latin-1, not said", "function gone", "empty file"],
)
def test_texts_as_editors_leave_them(desk, change, status, words):
    found = entries(desk, change((ROOT / LESSON).read_bytes()), "rnn_step_forward")["rnn_step_forward"]
    assert found["status"] in status.split() and words in found["message"]


def test_a_file_that_is_not_there_is_said(desk):
    (entry,) = desk.grade({}, ["rnn_step_forward"])["exercises"]
    assert entry["status"] == "missing" and f"{LESSON} is not in the submission" in entry["message"]


def test_nothing_that_a_submission_started_is_left(confined):
    """One server and the process that waits for it; whatever was forked, detached or adopted is gone."""
    time.sleep(0.2)
    mine = str(confined.code.parent)  # the server's arguments name its folders; other tests have servers of their own
    assert len([pid for pid in _descendants(os.getpid()) if mine in _command(pid)]) == 2


def test_no_answer_can_be_reached_from_the_confined_process(confined):
    """What the process imports and may read holds no solution, reference or known mistake."""
    trusted = confined.children.package
    assert not any((trusted / "dl" / "checks" / name).exists() for name in ("references", "mistakes", "recorded"))
    assert not any("BEGIN SOLUTION" in path.read_text() for path in map(trusted.joinpath, LESSONS))
    assert not any(
        Path(path).is_relative_to(ROOT) and not Path(path).is_relative_to(sys.prefix)  # an environment inside the project
        for path in confined.children.sandbox.readable
    )


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")


def _descendants(pid: int) -> list[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]
