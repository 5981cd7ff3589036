"""The harness of the benchmarks: it compares before it times, and its verdict follows the bound."""

import pytest
import torch

import benchmarks
from benchmarks import Comparison, compare

X = torch.linspace(-1, 1, 2000)


def test_different_outputs_are_refused_before_timing():
    with pytest.raises(AssertionError, match="compare: doubled"):
        compare("doubled", lambda: 2 * X, lambda: X)


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_ratio_tells_slow_from_fast_and_threads_are_put_back(capsys, monkeypatch, two_threads):
    monkeypatch.setattr(benchmarks, "ROUND_SECONDS", 0.002)
    monkeypatch.setattr(benchmarks, "comparisons", [])
    ratio = compare("20 times", lambda: sum(range(20_000)), lambda: sum(range(1000)), 2.0, check=False, repeats=5)
    assert 5 < ratio < 80
    assert torch.get_num_threads() == 2
    line = capsys.readouterr().out
    assert line.startswith("20 times: ") and line.endswith("bound 2.00: MISSED\n")
    assert [comparison.ratio for comparison in benchmarks.comparisons] == [ratio]


@pytest.mark.parametrize("ratio, low, verdict", [(1.0, 0.9, ": met"), (1.2, 1.05, "met within noise"), (1.3, 1.2, "MISSED")])
def test_verdict_allows_for_noise_and_no_more(ratio, low, verdict):
    comparison = Comparison("x", ratio, 1.0, ratio, low, 1.4, bound=1.1)
    assert str(comparison).endswith(verdict)
    assert comparison.missed == (verdict == "MISSED")


def test_kernels_are_counted_but_not_views():
    from benchmarks.real import Kernels

    with Kernels() as kernels:
        (X.reshape(40, 50).T + 1).sum()
    assert kernels.count == 2
