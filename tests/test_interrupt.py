"""Ctrl-C, sent to commands at work: each ends with one line that says how to go on, and leaves no process behind."""

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 300  # seconds until a command works, and until it has ended


def copied(folder: Path) -> Path:
    """What the training of the Transformer needs of the project: a checkpoint of the project itself is not touched."""
    shutil.copytree(ROOT / "dl", folder / "dl", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "datasets").mkdir()
    for path in (*ROOT.glob("*.py"), ROOT / "datasets" / "two_digit_op.json"):
        shutil.copy(path, folder / path.relative_to(ROOT))
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="signals a group of processes")
@pytest.mark.parametrize(
    "command, works, said",
    [
        (
            "run {0}/slow.ipynb --out {0}/executed",
            "the cell runs",
            "dl run: stopped. 0 of 1 notebooks are executed, in {0}/executed. Go on with: python -m dl run {0}/slow.ipynb",
        ),
        (
            "train-weights transformer",
            "learning rate",
            "dl train-weights: stopped. What transformer had learned at its last checkpoint is in build/train/. "
            "Go on with: python -m dl train-weights transformer",
        ),
        (
            "student {0}/edition",
            "recording the answers",
            "dl student: stopped. Nothing was written. Begin again with the same command.",
        ),
    ],
    ids=["run", "train-weights", "student"],
)
def test_ctrl_c_ends_a_command_at_work_with_one_line_that_says_how_to_go_on(tmp_path, command, works, said):
    cell = new_code_cell(f"import time\nprint('the cell runs', file=open({str(tmp_path / 'log')!r}, 'a'))\ntime.sleep(600)")
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "slow.ipynb")
    started = subprocess.Popen(
        [sys.executable, "-m", "dl", *command.format(tmp_path).split()],
        cwd=copied(tmp_path / "copy") if command.startswith("train") else ROOT,
        stdout=(tmp_path / "log").open("a"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores Ctrl-C
    )
    deadline = time.monotonic() + PATIENCE
    while works not in (tmp_path / "log").read_text():
        assert started.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.05)
    others = psutil.Process(started.pid).children(recursive=True)
    sent = time.monotonic()
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does
    printed = started.communicate(timeout=PATIENCE)[1].splitlines()
    lines = [line for line in printed if line.strip() and "%|" not in line]  # without progress bars
    what = f"{time.monotonic() - sent:.1f} s after the signal, exit code {started.returncode}: {lines}"
    assert lines == [said.format(tmp_path)] and started.returncode == 130, what
    assert not [other for other in others if other.is_running()], what
    assert not (tmp_path / "edition").exists() and not list(tmp_path.glob("executed/*")), what
