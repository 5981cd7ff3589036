"""Pairs of submissions whose code is alike beyond the hand-out, by exercise. `python -m dl similar`.

Fingerprints of each exercise's tokens are compared by copydetect (Schleimer et al. 2003, winnowing): names and comments do not
count. What the hand-out has is taken out first. A short answer has few forms, so equal ones prove nothing.
"""

from __future__ import annotations

import ast
import io
import itertools
from collections.abc import Mapping, Sequence

from dl import settings
from dl.checks import course
from dl.console import SUCCESS, UsageError, say
from dl.grading import intake
from dl.grading.formats import plain
from dl.grading.intake import LESSONS, Submission
from dl.student import markers

TOKENS, WINDOW = 20, 5  # characters of a fingerprint; of how many neighbours one is kept
ALIKE = 0.8  # share of the smaller answer that is in the other
LONG = 200  # characters, without blanks, of an answer that few people write alike


def compare(paths: Sequence[str], roster: str | None = None) -> int:
    """Print the pairs, those with the most in common first; returns SUCCESS.

    Raises:
        UsageError: if copydetect is not installed, or the submissions cannot be found.
    """
    try:
        import copydetect
    except ImportError as error:
        raise UsageError("similar needs copydetect: pip install 'dl-assignment[similar]'.") from error
    submissions = [submission for submission in intake.find(paths, roster) if not submission.problem]
    root = settings.project_root()
    given = {path: markers.hand_out((root / path).read_text(encoding="utf-8"), path) for path in LESSONS}
    lines = {line for text in given.values() for body in bodies(text).values() for line in body.splitlines()}
    own = [_own(submission, lines) for submission in submissions]
    found: dict[tuple[str, str], list[tuple[str, float, int]]] = {}
    for exercise in course.find(()):
        prints = [
            (submission, body, copydetect.CodeFingerprint("answer.py", TOKENS, WINDOW, fp=io.StringIO(body)))
            for submission, answers in zip(submissions, own)
            if (body := answers.get(exercise.name, ""))
        ]
        for (a, text_a, print_a), (b, text_b, print_b) in itertools.combinations(prints, 2):
            share = max(copydetect.compare_files(print_a, print_b)[1])
            if share >= ALIKE:
                size = min(len("".join(text.split())) for text in (text_a, text_b))
                found.setdefault((_who(a), _who(b)), []).append((exercise.name, share, size))
    _say(found, len(submissions))
    return SUCCESS


def bodies(text: str) -> dict[str, str]:
    """The body of each function and method, by its name, in one form, without comments and docstrings.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: if the text is no Python.
    """
    found = {}
    for node in ast.parse(text).body:
        parts = [(node.name, node)] if isinstance(node, ast.FunctionDef) else []
        if isinstance(node, ast.ClassDef):
            parts = [(f"{node.name}.{part.name}", part) for part in node.body if isinstance(part, ast.FunctionDef)]
        for name, function in parts:
            body = function.body[1:] if ast.get_docstring(function) is not None else function.body
            found[name] = "\n".join(ast.unparse(statement) for statement in body)
    return found


def _own(submission: Submission, given: set[str]) -> Mapping[str, str]:
    """What of each function is the student's own: all lines that are not in the hand-out."""
    own: dict[str, str] = {}
    for path in LESSONS:
        try:
            found = bodies(submission.contents.get(path, b"").decode("utf-8-sig"))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        own |= {name: "\n".join(line for line in body.splitlines() if line not in given) for name, body in found.items()}
    return own


def _who(submission: Submission) -> str:
    identity = " ".join(filter(None, (submission.name, submission.id)))
    return plain(f"{submission.label} ({identity})" if identity else submission.label)


def _say(found: Mapping[tuple[str, str], list[tuple[str, float, int]]], count: int) -> None:
    def weight(pair: tuple[str, str]) -> int:
        return sum(size for _, _, size in found[pair])

    for pair in sorted(found, key=weight, reverse=True):
        long = [f"{name} {share:.0%}" for name, share, size in found[pair] if size >= LONG]
        short = sum(size < LONG for _, _, size in found[pair])
        if long:
            say(f"{pair[0]} and {pair[1]}: {', '.join(long)}" + (f", and {short} short answers" if short else ""))
    alike, pairs = sum(any(size >= LONG for *_, size in pair) for pair in found.values()), count * (count - 1) // 2
    say(
        f"{alike} of {pairs} pairs of {count} submissions are alike in an answer of some length. Short answers collide by "
        "chance; look at the code before you speak."
    )
