"""The probes of the exercises of `transformers.py`."""

from __future__ import annotations

from dl.checks import ReplayedDropout, fill_with_ramp  # noqa: F401
from dl.checks.exercise import Exercise

TOPIC = "transformers"

EXERCISES: tuple[Exercise, ...] = ()
