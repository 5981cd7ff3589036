"""What the training scripts share: going on after a stop, and the card of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dl import weights
from dl.weights.checkpoint import Checkpoint


def resumed(name: str, saved: Checkpoint) -> dict[str, Any]:
    """What the checkpoint says of the run so far, at least step and seconds; the parts are put back."""
    progress = {"step": 0, "seconds": 0.0} | saved.resume()
    if progress["step"]:
        print(f"{name}: resumed at step {progress['step']}", flush=True)
    return progress


def write_card(path: Path, template: str, seconds: float, facts: Mapping[str, Any]) -> None:
    """Fill a card's template: upper-case names are constants of the script, the others what was measured.

    Args:
        path: the weights that were written. seconds: CPU time of the training. facts: value of each name.
    """
    size, minutes = path.stat().st_size / 1e6, seconds / 60
    weights.write_card(path.stem, template.format(**facts, megabytes=size, minutes=minutes, torch=torch.__version__))
    print(f"{path.stem}: wrote {path.name} and its card")
