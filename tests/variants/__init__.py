"""Wrong implementations that the checks must refuse and name, and right ones, written differently, that they must accept.

Most wrong ones are patches of the lesson's own text (`<topic>.toml`, in the form of `dl.checks.mistakes`: diagnosis = patch,
or a list of patches; `unnamed` for what is refused without a name). The others, and the right ones, are functions in
`<topic>.py`: their bodies are put between the markers of the exercise in a copy of the lesson. A function's name does not
matter; its parameters are those of the exercise, for the reader only. A right body with a comment `# note: words` passes
with a note that has these words.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dl.checks.exercise import MODULES
from dl.checks.mistakes import tomllib
from dl.checks.references import edit
from dl.student import markers

ROOT = Path(__file__).parents[2]
TOPICS = tuple(MODULES)


@dataclass(frozen=True)
class Variant:
    """One body for an exercise. diagnosis: None for a right one; "" for a wrong one that is refused without a name."""

    exercise: str
    diagnosis: str | None
    body: str
    line: int

    def __str__(self) -> str:
        kind = "right" if self.diagnosis is None else self.diagnosis or "unnamed"
        return f"{self.exercise}-{kind}-{self.line}"


class Variants(list[Variant]):
    """The variants of a topic, collected by decorators."""

    def wrong(self, exercise: str, diagnosis: str) -> Callable[[Callable], Callable]:
        """Decorator: a wrong body, and the name by which the check must know it ("" if it need not)."""
        return lambda function: self._keep(exercise, diagnosis, function)

    def right(self, exercise: str) -> Callable[[Callable], Callable]:
        """Decorator: a right body."""
        return lambda function: self._keep(exercise, None, function)

    def _keep(self, exercise: str, diagnosis: str | None, function: Callable) -> Callable:
        lines, first = inspect.getsourcelines(function)
        node = ast.parse(textwrap.dedent("".join(lines))).body[0]
        body = textwrap.dedent("".join(lines[node.body[0].lineno - 1 :]))
        self.append(Variant(exercise, diagnosis, body, first))
        return function


def variants_of(topic: str) -> list[Variant]:
    return [*_patches_of(topic), *importlib.import_module(f"tests.variants.{topic}").VARIANTS]


def _patches_of(topic: str) -> list[Variant]:
    bodies: dict[str, str] = {}
    for module in MODULES[topic]:
        bodies |= markers.solutions((ROOT / (module.replace(".", "/") + ".py")).read_text())
    table = tomllib.loads((Path(__file__).parent / f"{topic}.toml").read_text())
    patches = [
        (exercise, diagnosis, patch)
        for exercise, rows in table.items()
        for diagnosis, kept in rows.items()
        for patch in ([kept] if isinstance(kept, str) else kept)
    ]
    return [
        Variant(exercise, "" if diagnosis == "unnamed" else diagnosis, edit(bodies[exercise], patch, exercise), number)
        for number, (exercise, diagnosis, patch) in enumerate(patches)
    ]


def write_lesson(folder: Path, topic: str, bodies: dict[str, str]) -> Path:
    """Write the lesson modules of a topic with other bodies for some exercises into a folder; returns it."""
    left = dict(bodies)
    for module in MODULES[topic]:
        path = Path(module.replace(".", "/") + ".py")
        text = (ROOT / path).read_text()
        here = {name: left.pop(name) for name in list(left) if name in markers.solutions(text, path.name)}
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(markers.replace(text, here, path.name))
    assert not left, f"no such exercise: {list(left)}"
    return folder
