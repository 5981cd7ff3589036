"""clip_dino: right answers and known mistakes."""

from __future__ import annotations

from dl.checks.solutions import Solutions

SOLUTIONS = Solutions()
solution, mistake = SOLUTIONS.solution, SOLUTIONS.mistake
