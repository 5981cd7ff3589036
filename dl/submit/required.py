"""The cells that a submitted notebook must have: `required.json`, which `dl.submit.derive` makes from the sources."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LIST = Path(__file__).with_name("required.json")


@dataclass(frozen=True)
class Required:
    """One required cell as it stands in the course's notebook."""

    kind: str
    section: str
    label: str
    begins: str
    answer: bool


def required_cells(name: str) -> dict[str, Required]:
    """Required cells of a notebook by their ids, in its order; empty for a notebook that the course does not know."""
    return _all().get(name, {})


def cell_digest(kind: str, source: str) -> str:
    """The id that `dl build` gives to a cell with this content: it tells an untouched cell whatever its id is now."""
    return hashlib.sha256(f"{kind}\n{source}".encode()).hexdigest()[:12]


@cache
def _all() -> dict[str, dict[str, Required]]:
    kept = json.loads(LIST.read_text(encoding="utf-8"))
    return {name: {key: Required(**cell) for key, cell in cells.items()} for name, cells in kept.items()}
