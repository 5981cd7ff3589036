"""Grading on a Dask cluster, through joblib: python -m pip install "dask[distributed]"."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import pytest

from dl.__main__ import main
from dl.checks.exercise import MODULES
from dl.grading.intake import LESSONS
from dl.student import markers
from tests.variants import ROOT

distributed = pytest.importorskip("distributed")
joblib = pytest.importorskip("joblib")
FILE = f"{MODULES['captioning'][0]}.py"


@contextlib.contextmanager
def cluster(folder):
    """Two workers, each a process that a nanny starts again."""
    options = {"threads_per_worker": 1, "dashboard_address": None, "local_directory": str(folder)}
    with distributed.LocalCluster(2, processes=True, **options) as two, distributed.Client(two) as client:
        yield client


def write_class(folder, count):
    """The hand-out with one exercise solved, and in every other submission a second one."""
    given = {path: markers.hand_out((ROOT / path).read_text(encoding="utf-8"), path, helpers=True) for path in LESSONS}
    solved = markers.solutions((ROOT / FILE).read_text(encoding="utf-8"), FILE)
    for number in range(count):
        names = ("rnn_step_forward", "temporal_softmax_loss")[: 1 + number % 2]
        text = markers.fill(given[FILE], {name: solved[name] for name in names})
        for path, content in {**given, FILE: f"# {number}\n{text}"}.items():
            target = folder / f"student{number}_{number}_1_a2" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")


def kill_one_worker(client, verdicts, count):
    """Kill a worker with all its work as soon as so many verdicts are there; returns the thread and who was killed."""
    killed = []

    def wait_and_kill():
        workers = client.run(os.getpid)
        while len(list(verdicts.glob("*.json"))) < count:
            time.sleep(0.05)
        busy = [address for address, tasks in client.processing().items() if tasks]
        killed.append(workers[busy[0]])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=wait_and_kill, daemon=True)
    thread.start()
    return thread, killed


def outputs(out):
    return {path.name: path.read_bytes() for path in [out / "grades.csv", *(out / "pages").iterdir()]}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_worker_that_is_killed_half_way_changes_no_byte(tmp_path):
    write_class(tmp_path / "in", 6)
    command = ["grade", str(tmp_path / "in"), "--seed", "secret", "--timeout", "60", "--out"]
    with cluster(tmp_path / "dask") as client, joblib.parallel_config(backend="dask"):
        thread, killed = kill_one_worker(client, tmp_path / "spread" / "verdicts", 2)
        assert main([*command, str(tmp_path / "spread"), "--jobs", "2"]) == 0
        thread.join(timeout=10)
    assert killed
    assert main([*command, str(tmp_path / "alone")]) == 0
    assert outputs(tmp_path / "spread") == outputs(tmp_path / "alone")
    rows = (tmp_path / "spread" / "grades.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.split(",")[3] for row in rows] == ["1.0", "2.0"] * 3
