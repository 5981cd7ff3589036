"""Looks for solutions in the student edition: in code, notebooks, recorded data, metadata, everything.

Lines are compared without blanks and line ends, so that one that was wrapped or indented otherwise is found as well. What
gives a solution away in other words, beside its stub, is found by `expressions`.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dl.student import expressions, markers

LEAST = 12  # characters that say something

Lines = dict[str, tuple[str, str]]  # without blanks: (as written, "file line n")


@dataclass(frozen=True)
class Leak:
    """A line or an expression of a solution (or a comment in it) found in a file of the edition."""

    path: str
    text: str
    origin: str

    def __str__(self) -> str:
        return f"{self.path} has {self.text!r}, which is a solution's in {self.origin}"


def solution_lines(lessons: Mapping[str, str]) -> Lines:
    """What may not be found: lines, code and comments of all solutions, unless the hand-out of the lessons has them too.

    Args:
        lessons: texts with solutions, by path.
    """
    handed_out = _squeezed("\n".join(markers.hand_out(text, path) for path, text in lessons.items()))
    found: Lines = {}
    for path, text in lessons.items():
        lines = text.splitlines()
        for block in markers.blocks(text, path):
            for number in range(block.first + 1, block.last):
                line = lines[number].strip()
                code, _, comment = line.partition("  # ")
                for part in (line, code, comment.strip(), line.removeprefix("# ")):
                    if len(part) >= LEAST and _squeezed(part) not in handed_out:
                        found.setdefault(_squeezed(part), (part, f"{path} line {number + 1}"))
    return found


def find(contents: Mapping[str, bytes], lessons: Mapping[str, str]) -> list[Leak]:
    """Every solution line in every file, by the files' order; then expressions of solutions beside their stubs.

    Args:
        contents: the edition's files, by path. lessons: texts with solutions; those that are in the edition are looked at.
    """
    found, lines = [], solution_lines(lessons)
    for path, content in contents.items():
        text = _squeezed("\n".join([path, *texts(path, content)]))
        found += [Leak(path, *origin) for line, origin in lines.items() if line in text]
    seen = {path: content.decode() for path, content in contents.items() if path.endswith(".py")}
    matches = expressions.find({path: text for path, text in lessons.items() if path in seen}, seen)
    return found + [Leak(f"{match.path} line {match.line}", match.text, match.exercise) for match in matches]


def texts(path: str, content: bytes) -> Iterator[str]:
    """A file as text, and besides what is written in it in another way: strings of JSON, of recorded data."""
    try:
        yield content.decode()
    except UnicodeDecodeError:  # an image, weights: only what can be read in it, since millions of signs take long
        yield "\n".join(part.decode() for part in re.findall(rb"[\t\n\r -~]{%d,}" % LEAST, content))
    if path.endswith((".ipynb", ".json")):
        yield from _strings(json.loads(content))
    elif path.endswith((".pt", ".pth")):
        import torch

        from dl.checks.answers import to_text

        kept = torch.load(io.BytesIO(content), weights_only=True)
        yield from _strings(kept)
        for exercise in kept.get("exercises", {}).values() if isinstance(kept, dict) else ():
            yield from _strings(json.loads(to_text(exercise["about"])))


def _strings(value: object) -> Iterator[str]:
    """All texts in nested data; those that are JSON themselves are opened."""
    if isinstance(value, str):
        yield value
        if value[:1] in ("{", "["):
            try:
                yield from _strings(json.loads(value))
            except ValueError:
                pass
    elif isinstance(value, dict):
        for key, kept in value.items():
            yield from _strings(key)
            yield from _strings(kept)
    elif isinstance(value, (list, tuple)):
        if value and all(isinstance(part, str) for part in value):
            yield "".join(value)  # how notebooks keep texts of several lines
        for part in value:
            yield from _strings(part)


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)
