"""The probes of the exercises of `dl/simclr/`."""

from __future__ import annotations

from dl.checks.exercise import Exercise

TOPIC = "simclr"

EXERCISES: tuple[Exercise, ...] = ()
