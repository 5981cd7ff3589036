"""The markers around solutions in lesson code, read in one place.

    # EXERCISE rnn_step_forward, about 3 lines. Hint: …
    # BEGIN SOLUTION rnn_step_forward
    …
    # END SOLUTION rnn_step_forward

What only solutions need (a helper that two of them share, a line before one that would show how another is solved) stands
between `# BEGIN SOLUTION-ONLY` and `# END SOLUTION-ONLY`.

In the student edition, `hand_out`, the block is

    # EXERCISE rnn_step_forward, about 3 lines. Hint: …
    # YOUR CODE rnn_step_forward
    raise NotImplementedError("EXERCISE rnn_step_forward: …")
    # END OF YOUR CODE rnn_step_forward

and `fill` puts code between these lines.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

MARK = re.compile(r"^(?P<indent> *)# (?P<kind>BEGIN|END) SOLUTION(?P<only>-ONLY)?(?: (?P<name>\S+))?\s*$")
EXERCISE = re.compile(r"^(?P<indent> *)# EXERCISE (?P<name>\w[\w.]*)(?P<text>\b.*)$")
NEARLY = re.compile(r"#\s*(BEGIN|END)[\s_-]*SOLUTION|^\s*#\s*EXERCISE\b")  # looks like a marker
WIDTH = 127  # of a line


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
        MarkerError: for markers without their pair, nested, repeated, without an exercise, malformed, or around nothing.
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
            if opened is not None:
                raise fail(number, f"EXERCISE {exercise['name']} stands inside the solution of {opened[0]}. End that first.")
            if exercise["name"] in hints:
                raise fail(number, f"EXERCISE {exercise['name']} stands there twice. Each exercise has one place.")
            hints[exercise["name"]] = _comment(lines, number, exercise["text"])
        if mark is None:
            if not exercise and NEARLY.search(line):
                raise fail(
                    number,
                    f"a marker that cannot be read: {line.strip()!r}. Write # EXERCISE name, … or "
                    "# BEGIN SOLUTION name, indented by blanks and alone on the line.",
                )
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
            body = [code for code in lines[opened[1] + 1 : number] if code.strip()]
            if not body:
                raise fail(number, f"there is nothing in the solution of {name}.")
            if len(mark["indent"]) != opened[2] or any(code[: opened[2]].strip() for code in body):
                raise fail(number, f"the solution of {name} is not indented as its BEGIN in line {opened[1] + 1}.")
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


def hand_out(text: str, file: str = "text", helpers: bool = False) -> str:
    """The text as students get it: each solution is a stub that raises, and what only solutions need is gone.

    Args:
        file: path in the project, said by the stubs. helpers: keep what only solutions need, to fill them in again.
    """
    lines = text.splitlines()
    for block in reversed(blocks(text, file)):
        stub = _stub(block, file) if block.name else []
        left = lines[block.first + 1 : block.last] if helpers and not block.name else []
        lines[block.first : block.last + 1] = left or textwrap.indent("\n".join(stub), " " * block.indent).splitlines()
        while not (stub or left) and block.first < len(lines) and not lines[block.first].strip():
            del lines[block.first]  # the empty lines before it stay
    return "\n".join(lines).rstrip() + "\n"


def fill(text: str, bodies: Mapping[str, str]) -> str:
    """A text of the student edition with code put in the places of the named exercises.

    Raises:
        KeyError: if one of them has no place in it.
    """
    for name, body in bodies.items():
        place = re.compile(rf"^( *)# YOUR CODE {re.escape(name)}\n(.*?)^ *# END OF YOUR CODE {re.escape(name)}\n", re.M | re.S)
        found = place.search(text)
        if found is None:
            raise KeyError(name)
        code = textwrap.indent(textwrap.dedent(body).strip("\n") + "\n", found[1])
        text = text[: found.start(2)] + code + text[found.end(2) :]
    return text


def _stub(block: Block, file: str) -> list[str]:
    """Lines of a stub, not indented."""
    size, _, hint = block.hint.partition("Hint: ")
    said = [
        " ".join(f"EXERCISE {block.name}: to be written in {file}, {size}".split()).rstrip(" ,.:") + ".",
        *([f"Hint: {hint}"] if hint else []),
        f'Check: session.exercise("{block.name}") in the notebook, or python -m dl check {block.name}',
    ]
    room = WIDTH - block.indent - len('    "\\n" ')
    literals = []
    for number, line in enumerate(said, start=1):
        parts = textwrap.wrap(line, room, drop_whitespace=False, break_long_words=False)
        parts[-1] += "\n" if number < len(said) else ""
        literals += [_quoted(part) for part in parts]
    return [
        f"# YOUR CODE {block.name}",
        "raise NotImplementedError(",
        *(f"    {literal}" for literal in literals),
        ")",
        f"# END OF YOUR CODE {block.name}",
    ]


def _quoted(text: str) -> str:
    """A string literal, with the quotes that need no backslash where possible."""
    double = json.dumps(text, ensure_ascii=False)
    return double if '\\"' not in double or "'" in text else repr(text)


def _comment(lines: list[str], number: int, text: str) -> str:
    words = [text.lstrip(" ,")]
    for line in lines[number + 1 :]:
        if not line.strip().startswith("# ") or MARK.match(line):
            break
        words.append(line.strip().removeprefix("# "))
    return " ".join(words)
