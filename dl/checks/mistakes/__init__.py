"""Known mistakes of the exercises, one table per topic (`<topic>.toml`); the student edition does without this folder.

A mistake is a patch on the exercise's reference: one row with the edit, what is said, and a hint (which may be missing).

    ["rnn_step_forward"]
    no-bias = [" + b => ", "the bias b is not added", "Which three terms are added before the tanh?"]

The old text occurs exactly once in the reference; edits are joined by ` && `. Exercises that share rows share a header:
["SelfAttention.forward, MultiHeadAttention.forward"]. What a mistake returns is compared with what the student's code
returns, to name the mistake.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dl.checks.references import Reference, References

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Mistake:
    """A known mistake.

    Args:
        name: short identifier, "gate-order". patch: on the reference. says: what is done and what should be, one sentence.
        hint: a further step.
    """

    name: str
    reference: Reference
    patch: str
    says: str
    hint: str = ""

    @cached_property
    def function(self) -> Callable:
        """The exercise with this mistake."""
        return self.reference.edited(self.patch)


def of(topic: str, references: References) -> dict[str, list[Mistake]]:
    """The mistakes of a topic's exercises, by exercise, in the order of the table."""
    found: dict[str, list[Mistake]] = {}
    table = tomllib.loads((Path(__file__).parent / f"{topic}.toml").read_text(encoding="utf-8"))
    for header, rows in table.items():
        for exercise in header.split(", "):
            found.setdefault(exercise, []).extend(Mistake(name, references[exercise], *row) for name, row in rows.items())
    return found
