"""A busy machine: training steps with OpenMP's active and passive waiting, then each notebook, shortened by DL_QUICK.

    python -m benchmarks busy        about a quarter of an hour

Each measurement is a process of its own, since OpenMP reads its settings once. Beside it run no, or two, endless loops,
as a browser and a call would. Wall time of a step (median) or of `python -m dl run NAME`; the ratio is that to the same
process on an idle machine.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dl import settings
from dl.notebook_files import find_notebooks

STEPS = """
import time, torch
from rnn_lstm_captioning import LSTM
torch.set_num_threads({threads})
torch.manual_seed(0)
model, x, h0 = LSTM(256, 256), torch.randn(64, 16, 256), torch.zeros(64, 256)
optimizer = torch.optim.AdamW(model.parameters())
for step in range({count} + 3):
    start = time.perf_counter()
    loss = model(x, h0).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step >= 3:
        print(time.perf_counter() - start)
"""
COUNT, ROUNDS, LOOPS = 20, 3, 2
LEFT_OUT = shutil.ignore_patterns(".*", "build", "results", "submissions", "artifacts", "pretrained_model")
SPIN = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}  # as `dl` sets it
KINDS = {  # name -> environment, threads
    "active waiting, 2 threads": ({"OMP_WAIT_POLICY": "ACTIVE"}, 2),
    "passive waiting, 2 threads": ({"OMP_WAIT_POLICY": "PASSIVE"}, 2),
    "a moment's spinning, then passive, 2 threads": (SPIN, 2),
    "1 thread": (SPIN, 1),
}


def main() -> None:
    idle, busy = (_step_seconds(loops) for loops in (0, LOOPS))
    base = idle[next(iter(KINDS))]
    for name in KINDS:
        print(
            f"{name}: idle {1e3 * idle[name]:.0f} ms ({idle[name] / base:.2f} of the first line), "
            f"beside {LOOPS} loops {1e3 * busy[name]:.0f} ms, {busy[name] / idle[name]:.1f} times as long"
        )

    for path in find_notebooks([]):
        alone, beside = (_notebook_seconds(path.stem, loops) for loops in (0, LOOPS))
        times = f"idle {alone:.0f} s, beside {LOOPS} loops {beside:.0f} s, {beside / alone:.1f} times as long"
        print(f"{path.stem}: {times}", flush=True)


@contextmanager
def _loops(count: int) -> Iterator[None]:
    """So many endless loops, one thread each."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in running:
            loop.kill()
            loop.wait()


def _step_seconds(loops: int) -> dict[str, float]:
    """Median wall time of a step for each kind, beside so many endless loops; all kinds in turn, for other work is about."""
    unset = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    plain = {name: value for name, value in os.environ.items() if name not in unset}
    seconds: dict[str, list[float]] = {name: [] for name in KINDS}
    with _loops(loops):
        for _ in range(ROUNDS):
            for name, (waiting, threads) in KINDS.items():
                command = [sys.executable, "-c", STEPS.format(threads=threads, count=COUNT)]
                run = subprocess.run(command, env=plain | waiting, capture_output=True, text=True, check=True)
                seconds[name] += map(float, run.stdout.split())
    return {name: statistics.median(values) for name, values in seconds.items()}


def _notebook_seconds(name: str, loops: int) -> float:
    """Wall time of a shortened run of a notebook, beside so many endless loops, in a copy that keeps its results."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(settings.project_root(), Path(folder, "copy"), ignore=LEFT_OUT)
        environment = {**os.environ, "DL_QUICK": "1", "PYTHONPATH": str(copy)}
        with _loops(loops):
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "dl", "run", name], cwd=copy, env=environment, capture_output=True, check=True
            )
            return time.perf_counter() - start
