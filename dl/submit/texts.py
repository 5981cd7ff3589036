"""Texts on their way to the PDF: what a terminal would show, cut and breakable, in characters that some font has."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, cached_property
from pathlib import Path

from dl.console import after_returns

MOST_LINES = 60  # of one output
MOST_CHARACTERS = 2000  # of one line
LONGEST_WORD = 40  # characters; longer ones may be broken

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
ZERO_WIDTH_SPACE = "\u200b"


def as_on_a_terminal(text: str) -> str:
    """Without colours, and each line as it stands after its carriage returns and backspaces."""
    lines = []
    for line in _ANSI.sub("", text).split("\n"):
        line = after_returns(line)
        lines.append(_backspaced(line) if "\b" in line else line)
    return "\n".join(lines).strip("\n")


def _backspaced(line: str) -> str:
    kept: list[str] = []
    for letter in line:
        if letter != "\b":
            kept.append(letter)
        elif kept:
            kept.pop()
    return "".join(kept)


def cut(text: str, most: int = MOST_LINES) -> str:
    """At most so many lines, and of each so many characters; what is left out is counted at its place."""
    lines = [
        line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]} … ({len(line) - MOST_CHARACTERS} more characters)"
        for line in text.split("\n")
    ]
    if len(lines) > most:
        lines[most:] = [f"… ({len(lines) - most} more lines)"]
    return "\n".join(lines)


def breakable(text: str, longest: int = LONGEST_WORD) -> str:
    """Words longer than `longest` get invisible places at which a line may end."""
    return re.sub(rf"[^\s{ZERO_WIDTH_SPACE}]{{{longest}}}(?=\S)", rf"\g<0>{ZERO_WIDTH_SPACE}", text)


def quoted(text: str) -> str:
    """A string literal of typst."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "    ")
    return f'"{_CONTROL.sub("", text)}"'


class Characters:
    """Knows which characters can be printed; the others are replaced by what they are called."""

    def __init__(self) -> None:
        self.replaced = False  # whether `printable` has replaced anything since this was last set to False

    def printable(self, text: str) -> str:
        """`text` without control characters; runs of characters that no font here has are named in brackets."""
        text = _CONTROL.sub("", text)
        if text.isascii() or not (strange := {ord(letter) for letter in set(text)} - self._ours):
            return text
        if not (strange := strange - self._of_this_machine):
            return text
        self.replaced = True
        runs = re.compile(f"[{''.join(re.escape(chr(code)) for code in sorted(strange))}]+")
        return runs.sub(lambda run: _described(run[0]), text)

    @cached_property
    def _ours(self) -> set[int]:
        return {0x0A, 0x09, 0x200B} | _covered(text_fonts() / "DejaVuSans.ttf")

    @cached_property
    def _of_this_machine(self) -> set[int]:
        """Characters of the fonts that the user has installed: read only when a text needs them."""
        from matplotlib import font_manager

        return set().union(*(_covered(Path(file)) for file in font_manager.findSystemFonts()))


@cache
def text_fonts() -> Path:
    """Folder of the fonts that come with matplotlib: the same on every machine."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def _covered(font: Path) -> set[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return set(FT2Font(str(font)).get_charmap())
    except (OSError, RuntimeError):  # a font that cannot be read shows nothing
        return set()


def _described(run: str) -> str:
    """Emoji and signs by name, letters of a script by their number; joiners and variation selectors disappear."""
    described: list[str] = []
    letters: dict[str, int] = {}
    for letter in run:
        name = unicodedata.name(letter, f"U+{ord(letter):04X}")
        category = unicodedata.category(letter)
        if category[0] == "L" or (category[0] == "M" and letters):
            script = name.split()[0].partition("-")[0]
            letters[script] = letters.get(script, 0) + 1
        elif category not in ("Mn", "Cf"):
            described.append(f"[{name.lower()}]")
    described += [f"[{count} {script} letters]" for script, count in letters.items()]
    return "".join(described)
