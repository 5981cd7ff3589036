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

import dataclasses
import json
import re
import textwrap
from collections.abc import Mapping

MARK = re.compile(r"^(?P<indent> *)# (?P<kind>BEGIN|END) SOLUTION(?P<only>-ONLY)?(?: (?P<name>\S+))?\s*$")
EXERCISE = re.compile(r"^(?P<indent> *)# EXERCISE (?P<name>\w[\w.]*)(?P<text>\b.*)$")
NEARLY = re.compile(r"#\s*(BEGIN|END)[\s_-]*SOLUTION|^\s*#\s*EXERCISE\b")  # looks like a marker
WIDTH = 127  # of a line


class MarkerError(ValueError):
    """Markers that do not fit together; the message names file and line."""


@dataclasses.dataclass(frozen=True)
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
    reader = _Reader(text.splitlines(), file)
    for number, line in enumerate(reader.lines):
        if exercise := EXERCISE.match(line):
            reader.exercise(number, exercise)
        if mark := MARK.match(line):
            reader.mark(number, mark)
        elif not exercise and NEARLY.search(line):
            raise reader.error(
                number,
                f"a marker that cannot be read: {line.strip()!r}. Write # EXERCISE name, … or "
                "# BEGIN SOLUTION name, indented by blanks and alone on the line.",
            )
    return reader.end()


class _Reader:
    """Takes the markers of a text in order; raises MarkerError for the first that does not fit."""

    def __init__(self, lines: list[str], file: str) -> None:
        self.lines, self.file = lines, file
        self.found: list[Block] = []
        self.hints: dict[str, str] = {}
        self.opened: Block | None = None  # its last line not known yet

    def error(self, number: int, words: str) -> MarkerError:
        return MarkerError(f"{self.file} line {number + 1}: {words}")

    def exercise(self, number: int, found: re.Match) -> None:
        name = found["name"]
        if self.opened is not None:
            raise self.error(number, f"EXERCISE {name} stands inside the solution of {self.opened.name}. End that first.")
        if name in self.hints:
            raise self.error(number, f"EXERCISE {name} stands there twice. Each exercise has one place.")
        self.hints[name] = _comment(self.lines, number, found["text"])

    def mark(self, number: int, found: re.Match) -> None:
        name, indent = found["name"], len(found["indent"])
        if (name is None) != bool(found["only"]):
            raise self.error(number, "SOLUTION takes the name of its exercise, SOLUTION-ONLY takes none.")
        if found["kind"] == "END":
            self._close(number, name, indent)
            return
        if self.opened is not None:
            raise self.error(number, f"a solution begins inside that of {self.opened.name}. End that one first.")
        if name is not None and any(block.name == name for block in self.found):
            raise self.error(number, f"SOLUTION {name} stands there twice. Each exercise has one solution.")
        if name is not None and name not in self.hints:
            raise self.error(number, f"SOLUTION {name} has no # EXERCISE {name} before it.")
        self.opened = Block(name, number, number, indent, self.hints.get(name or "", ""))

    def _close(self, number: int, name: str | None, indent: int) -> None:
        block = self.opened
        if block is None or block.name != name:
            raise self.error(number, f"END without its BEGIN: {self.lines[number].strip()!r}.")
        body = [code for code in self.lines[block.first + 1 : number] if code.strip()]
        if not body:
            raise self.error(number, f"there is nothing in the solution of {name}.")
        if indent != block.indent or any(code[:indent].strip() for code in body):
            raise self.error(number, f"the solution of {name} is not indented as its BEGIN in line {block.first + 1}.")
        self.found.append(dataclasses.replace(block, last=number))
        self.opened = None

    def end(self) -> list[Block]:
        if self.opened is not None:
            raise self.error(self.opened.first, f"the solution of {self.opened.name} never ends.")
        unsolved = set(self.hints) - {block.name for block in self.found}
        if unsolved:
            raise MarkerError(f"{self.file}: EXERCISE {', '.join(sorted(unsolved))} without a solution.")
        return self.found


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
