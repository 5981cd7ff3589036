"""Speed measured against PyTorch's own layers: `python -m benchmarks TOPIC`, one file a topic.

    from benchmarks import compare
    compare("LSTM forward", ours=lambda: lstm(x, h0), reference=lambda: reference(x)[0], bound=1.25)

One process, one thread, CPU time. Outputs are compared before anything is timed. The two are timed in turns, so that a
change of the machine's speed meets both; medians of the rounds are reported, and the middle half of the rounds' ratios
is the noise.
"""

from __future__ import annotations

# Before torch, which loads OpenMP: it says how threads wait.
import dl as dl  # isort: split

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dl.utils import one_thread

ROUND_SECONDS = 0.05  # within a round each is called until the faster one takes this: far above the clock's step


@dataclass(frozen=True)
class Comparison:
    """One printed line: seconds a call (medians), their ratio, and the quartiles of the rounds' ratios."""

    label: str
    ours: float
    reference: float
    ratio: float
    low: float
    high: float
    bound: float | None

    @property
    def missed(self) -> bool:
        """True when even the lower quartile lies above the bound: more than noise."""
        return self.bound is not None and self.low > self.bound

    def __str__(self) -> str:
        line = (
            f"{self.label}: {1e3 * self.ours:.3f} ms, reference {1e3 * self.reference:.3f} ms, "
            f"ratio {self.ratio:.3f} (rounds {self.low:.3f} to {self.high:.3f})"
        )
        if self.bound is None:
            return line
        verdict = "MISSED" if self.missed else "met" if self.ratio <= self.bound else "met within noise"
        return f"{line}, bound {self.bound:.2f}: {verdict}"


comparisons: list[Comparison] = []  # every comparison of this process, for the exit code of `python -m benchmarks`


def compare(
    label: str,
    ours: Callable[[], object],
    reference: Callable[[], object],
    bound: float | None = None,
    check: bool = True,
    repeats: int = 15,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> float:
    """Time two calls that compute the same, print one line, return the ratio ours / reference.

    Args:
        label: what is timed, with its sizes.
        ours, reference: calls without arguments; they return a tensor, or tuples, lists, dicts of tensors.
        bound: largest ratio promised; the line says whether it is met.
        check: compare the two results first. False only where they cannot agree (say so beside the call).
        repeats: rounds; each times both, in alternating order.
        rtol, atol: tolerances of that comparison, as in `torch.testing.assert_close`.
    Raises:
        AssertionError: if the results differ; nothing is timed then.
    """
    with one_thread():
        got, wanted = ours(), reference()  # also the warm-up
        if check:
            torch.testing.assert_close(got, wanted, rtol=rtol, atol=atol, msg=lambda text: f"compare: {label}: {text}")
        calls = _calls_a_round(ours, reference)
        rounds = [_round(ours, reference, calls, ours_first=index % 2 == 0) for index in range(repeats)]
    our_seconds, reference_seconds = (statistics.median(column) for column in zip(*rounds, strict=True))
    low, _, high = statistics.quantiles([mine / theirs for mine, theirs in rounds], n=4)
    comparison = Comparison(label, our_seconds, reference_seconds, our_seconds / reference_seconds, low, high, bound)
    comparisons.append(comparison)
    print(comparison, flush=True)
    return comparison.ratio


def _calls_a_round(ours: Callable[[], object], reference: Callable[[], object]) -> int:
    """How often each is called within a round so that the faster one takes `ROUND_SECONDS`."""
    fastest = min(_cpu_seconds(ours, 1), _cpu_seconds(reference, 1))
    return max(1, round(ROUND_SECONDS / max(fastest, 1e-7)))


def _round(ours: Callable[[], object], reference: Callable[[], object], calls: int, ours_first: bool) -> tuple[float, float]:
    """CPU seconds a call of ours and of the reference, measured next to each other."""
    if ours_first:
        return _cpu_seconds(ours, calls), _cpu_seconds(reference, calls)
    theirs = _cpu_seconds(reference, calls)
    return _cpu_seconds(ours, calls), theirs


def _cpu_seconds(call: Callable[[], object], calls: int) -> float:
    """CPU seconds a call, the garbage collector held off meanwhile."""
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        for _ in range(calls):
            call()
        return (time.process_time() - start) / calls
    finally:
        gc.enable()
