"""The cells that a submitted notebook must have: `required.json`, which `dl.submit.derive` makes from the sources."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

BEGINNING = 60
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
    lines = [line.rstrip() for line in source.replace("\r\n", "\n").split("\n")]  # editors change what nobody sees
    source = "\n".join(lines).strip("\n")
    return hashlib.sha256(f"{kind}\n{source}".encode()).hexdigest()[:12]


def beginning(source: str) -> str:
    """A cell's first line, or the first `BEGINNING` characters of it, to tell which cell it is."""
    line = source.strip().splitlines()[0].rstrip()
    return line if len(line) <= BEGINNING else line[:BEGINNING] + "…"


@cache
def _all() -> dict[str, dict[str, Required]]:
    kept = json.loads(LIST.read_text(encoding="utf-8"))
    return {name: {key: Required(**cell) for key, cell in cells.items()} for name, cells in kept.items()}
