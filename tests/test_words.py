"""What people read speaks the field's language: prose of notebooks, Markdown files, docstrings, messages, hints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dl.checks.exercise import MODULES
from dl.checks.mistakes import tomllib

ROOT = Path(__file__).resolve().parents[1]
UNIT = (
    "batch|caption|cell|channel|class|column|epoch|exercise|feature|frame|image|layer|line|question|row|second|step|test|token"
)
COUNTED = r"bytes|colour|entry|files?|images?|index|lines?|masks?|numbers?|one|rows?|seconds|tests?|times|values?|vectors?"
TERMS = {  # what is not to be written -> what the field says
    r"pictures?": "image",
    r"(learn\w*|knows?|known) .{0,20}by heart": "memorise",
    r"attention shares?|shares? of (the )?attention|(the|row of) shares": "attention weights",
    r"blindfold(ed)?|in another dress|in all honesty": "plain words",
    r"likeness(es)?": "similarity",
    r"seldomer": "fewer times than",
    r"hand-ins?": "submission",
    r"whole results? (that are )?right": "exact match",
    r"part batch": "last partial batch",
    r"(training|validation) part": "training split, validation split",
    r"merges? the heads": "concatenate and project",
    r"published (notebook|settings?|recipe)|course's (own )?(settings?|recipe)": "reference setting, target",
    r"scene's truth": "ground truth",
    r"remarks?": "note",
    r"twins?": "second input of the same shape",
    r"wrong (pictures|images)": "mismatched images",
    r"(?<!learning )(?<!learning-)(peak|common|constant|own best) rate": "learning rate",
    r"Linear maps?|output map|last map": "linear layer, projection",
    r"doors? to": "way to",
    r"brings|wants": "returns, expects, needs",
    rf"({COUNTED}) an? ({UNIT})": "per, such as: one number per feature",
}
ALLOWED = {  # what a file may have, and why
    "CHANGELOG.md": ".*",  # history
    "dl/training/clip.py": "a picture of a",  # texts on which the shipped weights were trained
}


def prose() -> dict[str, list[tuple[int, str]]]:
    """Lines that people read, with their numbers, by file."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("datasets/*.md"), *ROOT.glob("notebooks/answers/*.md"), *ROOT.glob("*.py")]
    files += [path for path in (ROOT / "dl").rglob("*") if path.suffix in (".md", ".py", ".toml")]
    files += ROOT.glob("notebooks/*.nb.py")
    return {path.relative_to(ROOT).as_posix(): list(lines_of(path)) for path in sorted(files)}


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield from enumerate(re.sub(r"`[^`\n]*`", "``", text).splitlines(), start=1)
    elif path.suffix == ".toml":
        if path.parent.name == "mistakes":
            for entries in tomllib.loads(text).values():
                for number, name in enumerate(entries):
                    yield from ((number, words) for words in entries[name][1:])
    else:
        if path.name.endswith(".nb.py"):
            yield from ((n, line) for n, line in enumerate(text.splitlines(), start=1) if line.startswith("# "))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                yield from ((node.lineno + n, line) for n, line in enumerate(node.value.splitlines()))


def found_in(file: str, lines: list[tuple[int, str]]) -> list[str]:
    """Where a line says what the field says otherwise."""
    found = []
    for number, line in lines:
        kept = re.sub(ALLOWED[file], "", line) if file in ALLOWED else line
        for term, right in TERMS.items():
            if match := re.search(rf"(?<![\w/.-])({term})(?![\w/]|-\w|\.\w)", kept, re.I):
                found.append(f'{file}:{number}: "{match[0]}" in "{line.strip()[:100]}"; say: {right}')
    return found


PROSE = prose()


@pytest.mark.parametrize("file", PROSE)
def test_the_words_are_the_fields(file):
    found = found_in(file, PROSE[file])
    assert not found, "\n".join(found)


def test_what_people_read_is_looked_at():
    lessons = {f"{name.replace('.', '/')}.py" for names in MODULES.values() for name in names}
    assert lessons | {"README.md", "dl/student/AGENTS.md", "dl/checks/mistakes/simclr.toml"} < set(PROSE)
    assert all(PROSE[file] for file in lessons)


@pytest.mark.parametrize(
    "line",
    [
        "A picture.",
        "it has learnt four rows by heart",
        "the shares of one query",
        "Write the hand-in",
        "one number a feature for the scale",
        "a constant rate",
        "two Linear maps",
        "it wants the mask",
    ],
)
def test_forbidden_words_are_found(line):
    assert len(found_in("x.md", [(1, line)])) == 1
    assert not found_in("CHANGELOG.md", [(1, line)])


@pytest.mark.parametrize(
    "line",
    ["an image per row", "`dl/data/pictures.py`", "a constant learning rate", "one number per feature", "one at a step of 5"],
)
def test_the_fields_words_are_not(line):
    assert found_in("x.md", [(1, line)]) == []
