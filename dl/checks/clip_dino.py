"""The probes of the exercises of `dl/clip_dino.py`."""

from __future__ import annotations

from dl.checks.exercise import Exercise

TOPIC = "clip_dino"

EXERCISES: tuple[Exercise, ...] = ()
