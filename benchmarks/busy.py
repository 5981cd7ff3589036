"""A busy machine: training steps with OpenMP's active and passive waiting, then each notebook, shortened by DL_QUICK.

    python -m benchmarks busy        about a quarter of an hour

OpenMP reads its settings once, so each kind of waiting is a process of its own. All of them live at the same time and
take turns, five steps each, while the others are suspended: other work on the machine then disturbs every kind alike.
Beside them run no, or two, endless loops, as a browser and a call would. What is printed is the wall time of a step
(median), its ratio to OpenMP's own waiting (median over the turns), and the wall time of `python -m dl run NAME`.
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
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from dl import settings
from dl.notebook_files import find_notebooks

STEPS = """
import sys, time, torch
from rnn_lstm_captioning import LSTM
torch.set_num_threads({threads})
torch.manual_seed(0)
model, x, h0 = LSTM(256, 256), torch.randn(64, 16, 256), torch.zeros(64, 256)
optimizer = torch.optim.AdamW(model.parameters())
for turn in sys.stdin:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        loss = model(x, h0).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    print(*seconds, flush=True)
"""
ROUNDS, LOOPS = 40, 2
LEFT_OUT = shutil.ignore_patterns(".*", "build", "results", "submissions", "artifacts", "pretrained_model")
SPIN = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "5000"}  # as `dl` sets it
KINDS = {  # name -> environment, threads
    "OpenMP's own waiting, 2 threads": ({}, 2),
    "active waiting, 2 threads": ({"OMP_WAIT_POLICY": "ACTIVE"}, 2),
    "passive waiting, 2 threads": ({"OMP_WAIT_POLICY": "PASSIVE"}, 2),
    "a moment's spinning, then passive, 2 threads": (SPIN, 2),
    "1 thread": (SPIN, 1),
}


def main() -> None:
    for loops in (0, LOOPS):
        print(f"A step beside {loops} loops:")
        turns = _step_seconds(loops)
        own = next(iter(turns.values()))
        for name, seconds in turns.items():
            ratio = statistics.median(one / other for one, other in zip(seconds, own, strict=True))
            line = f"  {name}: median {1e3 * statistics.median(seconds):.0f} ms, slowest turn {1e3 * max(seconds):.0f} ms"
            print(f"{line}, {ratio:.2f} of the first line", flush=True)

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


def _step_seconds(loops: int) -> dict[str, list[float]]:
    """Wall time of a step (median of a turn's) for each kind and each turn, beside so many endless loops."""
    unset = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    plain = {name: value for name, value in os.environ.items() if name not in unset}
    seconds: dict[str, list[float]] = {name: [] for name in KINDS}
    with ExitStack() as stack:
        workers = {}
        for name, (waiting, threads) in KINDS.items():
            command = [sys.executable, "-c", STEPS.format(threads=threads)]
            worker = subprocess.Popen(command, env=plain | waiting, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            workers[name] = stack.enter_context(worker)
            stack.callback(worker.kill)
            _turn(worker)  # the first steps are slower
        stack.enter_context(_loops(loops))
        for _ in range(ROUNDS):
            for name, worker in workers.items():
                seconds[name].append(_turn(worker))
    return seconds


def _turn(worker: subprocess.Popen[str]) -> float:
    """Five steps of a worker, which is suspended before and after them; the median of their wall times in seconds."""
    process = psutil.Process(worker.pid)
    process.resume()
    assert worker.stdin and worker.stdout
    worker.stdin.write("\n")
    worker.stdin.flush()
    seconds = [float(word) for word in worker.stdout.readline().split()]
    process.suspend()
    return statistics.median(seconds)


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
