"""What waiting threads cost on a busy machine: the same training steps with OpenMP's active and passive waiting.

    python -m benchmarks busy

Each measurement is a process of its own, since OpenMP reads its settings once. Beside it run no, or two, endless loops,
as a browser and a call would. Wall time of a step (median); the ratio is that to the same process on an idle machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from contextlib import ExitStack

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
COUNT, LOOPS = 20, 2
KINDS = (("active", 2), ("passive", 2), ("passive", 1))  # waiting, threads


def main() -> None:
    idle = {kind: _step_seconds(*kind, loops=0) for kind in KINDS}
    busy = {kind: _step_seconds(*kind, loops=LOOPS) for kind in KINDS}
    base = idle[KINDS[0]]
    for kind in KINDS:
        waiting, threads = kind
        print(
            f"{waiting} waiting, {threads} threads: "
            f"idle {1e3 * idle[kind]:.0f} ms ({idle[kind] / base:.2f} of the first line), "
            f"beside {LOOPS} loops {1e3 * busy[kind]:.0f} ms, {busy[kind] / idle[kind]:.1f} times as long"
        )


def _step_seconds(waiting: str, threads: int, loops: int) -> float:
    """Median wall time of a step in a fresh process, beside so many endless loops."""
    environment = {**os.environ, "OMP_WAIT_POLICY": waiting.upper()}
    environment.pop("OMP_NUM_THREADS", None)
    with ExitStack() as stack:
        for _ in range(loops):
            loop = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(loop.kill)
        command = [sys.executable, "-c", STEPS.format(threads=threads, count=COUNT)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return statistics.median(map(float, run.stdout.split()))
