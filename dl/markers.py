"""The markers around solutions in lesson code, read in one place.

    # EXERCISE rnn_step_forward, about 3 lines. Hint: …
    # BEGIN SOLUTION rnn_step_forward
    …
    # END SOLUTION rnn_step_forward

What only a solution needs (a helper that two solutions share) stands between `# BEGIN SOLUTION-ONLY` and
`# END SOLUTION-ONLY`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

MARK = re.compile(r"^(?P<indent> *)# (?P<kind>BEGIN|END) SOLUTION(?P<only>-ONLY)?(?: (?P<name>\S+))?\s*$")
EXERCISE = re.compile(r"^(?P<indent> *)# EXERCISE (?P<name>[\w.]+)(?P<text>.*)$")


class MarkerError(ValueError):
    """Markers that do not fit together; the message names file and line."""


@dataclass(frozen=True)
class Block:
    """A solution in a text.

    Args:
        name: of the exercise; None for what only solutions need.
        first, last: line numbers of its BEGIN and END markers, from 0. indent: of the markers, in blanks.
        hint: the words of the exercise's comment, joined: "about 3 lines. Hint: …".
    """

    name: str | None
    first: int
    last: int
    indent: int
    hint: str = ""


def blocks(text: str, file: str = "text") -> list[Block]:
    """The solutions of a text, in order.

    Raises:
        MarkerError: for markers without their pair, nested, repeated, without an exercise, or malformed.
    """
    found: list[Block] = []
    hints: dict[str, str] = {}
    opened: tuple[str | None, int, int] | None = None
    lines = text.splitlines()

    def fail(line: int, words: str) -> MarkerError:
        return MarkerError(f"{file} line {line + 1}: {words}")

    for number, line in enumerate(lines):
        exercise, mark = EXERCISE.match(line), MARK.match(line)
        if exercise:
            if exercise["name"] in hints:
                raise fail(number, f"EXERCISE {exercise['name']} stands there twice. Each exercise has one place.")
            hints[exercise["name"]] = _comment(lines, number, exercise["text"])
        if mark is None:
            if re.search(r"#\s*(BEGIN|END)\s*SOLUTION", line):
                raise fail(number, f"a marker that cannot be read: {line.strip()!r}. Write # BEGIN SOLUTION name.")
            continue
        name = mark["name"]
        if (name is None) != bool(mark["only"]):
            raise fail(number, "SOLUTION takes the name of its exercise, SOLUTION-ONLY takes none.")
        if mark["kind"] == "BEGIN":
            if opened is not None:
                raise fail(number, f"a solution begins inside that of {opened[0]}. End that one first.")
            if name is not None and any(block.name == name for block in found):
                raise fail(number, f"SOLUTION {name} stands there twice. Each exercise has one solution.")
            if name is not None and name not in hints:
                raise fail(number, f"SOLUTION {name} has no # EXERCISE {name} before it.")
            opened = name, number, len(mark["indent"])
        else:
            if opened is None or opened[0] != name:
                raise fail(number, f"END without its BEGIN: {line.strip()!r}.")
            found.append(Block(name, opened[1], number, opened[2], hints.get(name or "", "")))
            opened = None
    if opened is not None:
        raise fail(opened[1], f"the solution of {opened[0]} never ends.")
    unsolved = set(hints) - {block.name for block in found}
    if unsolved:
        raise MarkerError(f"{file}: EXERCISE {', '.join(sorted(unsolved))} without a solution.")
    return found


def solutions(text: str, file: str = "text") -> dict[str, str]:
    """The code of each exercise's solution, without indentation."""
    lines = text.splitlines()
    return {b.name: textwrap.dedent("\n".join(lines[b.first + 1 : b.last])) for b in blocks(text, file) if b.name}


def replace(text: str, bodies: Mapping[str, str], file: str = "text") -> str:
    """The text with other code between the markers of the named exercises; the markers stay.

    Raises:
        KeyError: if there is no such exercise.
    """
    lines = text.splitlines()
    places = {block.name: block for block in blocks(text, file)}
    for name in sorted(bodies, key=lambda name: -places[name].first):
        block = places[name]
        body = textwrap.indent(textwrap.dedent(bodies[name]).strip("\n"), " " * block.indent).splitlines()
        lines[block.first + 1 : block.last] = body
    return "\n".join(lines) + "\n"


def _comment(lines: list[str], number: int, text: str) -> str:
    words = [text.lstrip(" ,")]
    for line in lines[number + 1 :]:
        if not line.strip().startswith("# ") or MARK.match(line):
            break
        words.append(line.strip().removeprefix("# "))
    return " ".join(words)
