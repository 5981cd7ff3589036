"""The student edition for tests: built once, copied for each test, solved, and used as a student would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from dl.checks.exercise import MODULES
from dl.student import markers
from tests.no_network.sitecustomize import python_path
from tests.variants import ROOT

TIMEOUT = 900  # seconds for one command; four notebooks take less than 200 on two idle cores
LESSONS = {
    path: text
    for path in sorted(f"{module.replace('.', '/')}.py" for names in MODULES.values() for module in names)
    if markers.blocks(text := (ROOT / path).read_text(encoding="utf-8"), path)
}
PLACE = {name: path for path, text in LESSONS.items() for name in markers.solutions(text, path)}


def run(*command: str, cwd: Path, code: str = "", **environment: str) -> subprocess.CompletedProcess:
    """A Python process in the student's tree, whose `dl` it must find although another one is installed."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("DL_", "PYTHONPATH"))}
    own |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200", **environment}
    own["PYTHONPATH"] = python_path(environment.get("PYTHONPATH"))
    arguments = [sys.executable, *(["-c", code, *command] if code else ["-m", *command])]
    process = subprocess.Popen(arguments, cwd=cwd, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        for started in (*psutil.Process(process.pid).children(recursive=True), process):  # a kernel holds its pipes too
            started.kill()
        out, err = process.communicate()
        raise AssertionError(f"{' '.join(command)} was not done after {TIMEOUT} s: {out[-2000:]} {err[-2000:]}") from None
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def fresh_tree(factory: pytest.TempPathFactory) -> Path:
    """A student tree, not to be changed; the processes that share a run of the tests share it."""
    shared = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    with FileLock(shared / "student.lock"):
        if not (shared / "student").exists():
            done = run("dl", "student", str(shared / "student_new"), "--seeds", "2", cwd=ROOT)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Its README.md says how to start" in done.stdout.splitlines()[-1]
            (shared / "student_new").rename(shared / "student")
    return shared / "student"


def copied_tree(fresh: Path, folder: Path) -> Path:
    """A student tree to work in, in a new folder, with the sample world if it is made already."""
    shutil.copytree(fresh, folder)
    sample = ROOT / "datasets" / "sample"
    if sample.is_dir():
        (folder / "datasets" / "sample").symlink_to(sample)
    return folder


def fill(folder: Path, bodies: dict[str, str]) -> None:
    """Put code in the places of exercises."""
    for path in {PLACE[name] for name in bodies}:
        text = (folder / path).read_text(encoding="utf-8")
        text = markers.fill(text, {name: body for name, body in bodies.items() if PLACE[name] == path})
        (folder / path).write_text(text, encoding="utf-8")
