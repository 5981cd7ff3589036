"""Signed sums as text: the generator of `datasets/two_digit_op.json`, and the set of all expressions it draws from.

An expression is (a, op, b) with a and b integers from -49 to 49 and op "add" or "subtract": 99 * 99 * 2 = 19,602 of
them, each with one spelling. The limit keeps every result within two digits. The file is a generated counterpart of the
course's published one: same format, same first six rows, same ranges and distribution, other draws.

    python -m dl.data.arithmetic        # writes the file anew, byte for byte the same
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

LIMIT = 49  # largest operand: 50 + 50 would need three digits
ROWS = 5000
OPERATIONS = ("add", "subtract")
VOCABULARY = (*"0123456789", "POSITIVE", "NEGATIVE", "add", "subtract", "BOS", "EOS")
SPECIAL_WORDS = VOCABULARY[10:]

Expression = tuple[int, str, int]

FIRST_ROWS: tuple[Expression, ...] = (  # as in the published file; the notebook talks about the first two
    (-30, "subtract", -34),
    (-34, "add", -15),
    (-28, "add", -36),
    (0, "subtract", 17),
    (16, "add", 9),
    (23, "add", 15),
)
_NUMBER = r"(POSITIVE|NEGATIVE) (\d\d)"
_INPUT = re.compile(rf"BOS {_NUMBER} (add|subtract) {_NUMBER} EOS")


def input_text(expression: Expression) -> str:
    """(2, "subtract", 15) as "BOS POSITIVE 02 subtract POSITIVE 15 EOS"."""
    a, op, b = expression
    return f"BOS {_number_text(a)} {op} {_number_text(b)} EOS"


def output_text(expression: Expression) -> str:
    """The exact result of (2, "subtract", 15) as "BOS NEGATIVE 13 EOS"; zero is always "POSITIVE 00"."""
    a, op, b = expression
    return f"BOS {_number_text(a + b if op == 'add' else a - b)} EOS"


def parse(line: str) -> Expression:
    """The expression that a line of input spells; a ValueError says what is wrong with the line."""
    match = _INPUT.fullmatch(line)
    if match is None:
        raise ValueError(
            f"parse: {line!r} is not an expression; wanted 'BOS SIGN dd OP SIGN dd EOS' with SIGN POSITIVE or "
            "NEGATIVE, OP add or subtract and dd two digits, single blanks between. Write 7 as 07."
        )
    sign_a, digits_a, op, sign_b, digits_b = match.groups()
    return _value(sign_a, digits_a), op, _value(sign_b, digits_b)


def all_expressions() -> list[Expression]:
    """All 19,602 expressions, in a fixed order."""
    operands = range(-LIMIT, LIMIT + 1)
    return [(a, op, b) for a in operands for op in OPERATIONS for b in operands]


def unseen(seen: Iterable[Expression]) -> list[Expression]:
    """The expressions of the 19,602 that are not in `seen`."""
    seen = set(seen)
    return [expression for expression in all_expressions() if expression not in seen]


def unrelated(seen: Iterable[Expression]) -> list[Expression]:
    """The unseen expressions that are not even the same sum as a seen one written another way.

    a - b is taken as a + (-b), and a + b as b + a: a model may know these by exchanging two words.
    """
    sums = {_as_sum(expression) for expression in seen}
    return [expression for expression in all_expressions() if _as_sum(expression) not in sums]


def digit_work(expression: Expression) -> str:
    """What its digits have to do on paper: "adds" or "subtracts" the two magnitudes, with or without a carry or borrow.

    -30 - (-34) is 34 - 30, "subtracts, no borrow"; 27 + 15 is "adds, carry", since 7 + 5 is more than 9.
    """
    a, op, b = expression
    b = b if op == "add" else -b
    large, small = max(abs(a), abs(b)), min(abs(a), abs(b))
    if a * b >= 0:
        return "adds, carry" if large % 10 + small % 10 > 9 else "adds, no carry"
    return "subtracts, borrow" if large % 10 < small % 10 else "subtracts, no borrow"


def mistakes_by_kind(expressions: Iterable[Expression], right: Iterable[Sequence[bool]]) -> list[dict]:
    """Wrong results sorted by the digits' work and by the result's sign, most frequent first.

    Args:
        right: of each expression which tokens of the result are right: BOS, sign, tens, ones, EOS.
    Returns:
        a dict per kind: "digits", "result", "questions", "wrong results" (a fraction of all), and the fraction of these whose
        "sign", "tens" and "ones" are wrong (or several); NaN where no result is wrong.
    """
    groups: dict[tuple[str, str], list[Sequence[bool]]] = {}
    for expression, tokens in zip(expressions, right, strict=False):
        groups.setdefault((digit_work(expression), output_text(expression).split()[1]), []).append(tokens)
    rows = []
    for (digits, sign), answers in groups.items():
        wrong = [tokens for tokens in answers if not all(tokens)]
        row = {"digits": digits, "result": sign, "questions": len(answers), "wrong results": len(wrong) / len(answers)}
        for position, name in enumerate(("sign", "tens", "ones"), start=1):
            row[f"{name} wrong"] = sum(not tokens[position] for tokens in wrong) / len(wrong) if wrong else math.nan
        rows.append(row)
    return sorted(rows, key=lambda row: -row["wrong results"])


def generate(rows: int = ROWS, seed: int = 0) -> dict[str, list[str]]:
    """Rows in the file's format: the six published first ones, then a, op, b drawn evenly, with replacement.

    Returns:
        {"inp_expression": [...], "out_expression": [...]}, lists of `rows` lines.
    """
    draw = random.Random(seed)
    expressions = list(FIRST_ROWS[:rows])
    while len(expressions) < rows:
        expressions.append((draw.randint(-LIMIT, LIMIT), draw.choice(OPERATIONS), draw.randint(-LIMIT, LIMIT)))
    return {
        "inp_expression": [input_text(expression) for expression in expressions],
        "out_expression": [output_text(expression) for expression in expressions],
    }


def write(path: Path) -> Path:
    """Write the generated file: one line, no final newline, as the published one."""
    path.write_text(json.dumps(generate()), encoding="utf-8")
    return path


def _number_text(value: int) -> str:
    return f"{'POSITIVE' if value >= 0 else 'NEGATIVE'} {abs(value):02d}"


def _value(sign: str, digits: str) -> int:
    return int(digits) if sign == "POSITIVE" else -int(digits)


def _as_sum(expression: Expression) -> tuple[int, int]:
    a, op, b = expression
    b = b if op == "add" else -b
    return min(a, b), max(a, b)


if __name__ == "__main__":
    from dl.settings import project_root

    print(f"Written: {write(project_root() / 'datasets' / 'two_digit_op.json')}")
