"""Pages to look at, offline: one for each student, without solutions, and one for the class, with a guide for teaching."""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from dl.checks import answers, course
from dl.console import UsageError, write_whole
from dl.grading.engine import FORBIDDEN
from dl.grading.formats import file_name
from dl.grading.points import Scheme

if TYPE_CHECKING:
    from markupsafe import Markup

COMMON = 12  # mistakes in the guide
TITLES = {"captioning": "Captioning", "transformers": "Transformers", "simclr": "SimCLR", "clip_dino": "CLIP and DINO"}


def write(graded: dict, scheme: Scheme, folder: Path) -> None:
    """Write `index.html` for the class and a page for each submission. Raises: UsageError: if jinja2 is not installed."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise UsageError("pages need jinja2: pip install 'dl-assignment[grade]', then the same command again.") from error
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"points": rounded, "sentence": sentence, "breakable": breakable, "code": code}
    entries = [{**entry, "page": f"{file_name(entry)}.html"} for entry in graded["submissions"]]
    student = environment.get_template("student.html")
    for entry in entries:
        _save(folder / entry["page"], student.render(entry=entry, topics=_by_topic(entry), open=_ungraded(entry)))
    shared = {"exercises": exercise_table(entries), "guide": guide(entries), "scores": _spread(entries)}
    _save(folder / "index.html", environment.get_template("class.html").render(entries=entries, graded=graded, **shared))


def exercise_table(entries: list[dict]) -> list[dict]:
    """For each exercise how many submissions passed it, and how often each other verdict came; the hardest first."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for entry in entries:
        for exercise in entry["exercises"]:
            counts[exercise["exercise"]][exercise["status"]] += 1
    rows = [
        {
            "exercise": name,
            "passed": found["passed"],
            "of": found.total(),
            "others": ", ".join(f"{count} {status}" for status, count in found.most_common() if status != "passed"),
        }
        for name, found in counts.items()
    ]
    return sorted(rows, key=lambda row: row["passed"] / row["of"])


def guide(entries: list[dict]) -> list[dict]:
    """The most common mistakes: what goes wrong, how often, what to say in class; from the tables of known mistakes."""
    found: Counter[tuple[str, str]] = Counter()
    likely: dict[tuple[str, str], str] = {}
    for entry in entries:
        for exercise in entry["exercises"]:
            if exercise["status"] in ("failed", "error") and exercise["diagnosis"] not in (None, FORBIDDEN):
                key = exercise["exercise"], exercise["diagnosis"]
                found[key] += 1
                said = [line for line in exercise["message"].splitlines() if line.startswith("Likely: ")]
                likely.setdefault(key, said[0].removeprefix("Likely: ") if said else "")
    lines = []
    for (name, diagnosis), count in found.most_common(COMMON):
        (exercise,) = course.find([name])
        known = answers.of(exercise.topic).mistakes(exercise)
        says, hint = known.get(diagnosis, (likely[name, diagnosis], ""))
        ask = [step for step in (hint, *exercise.hints) if step]
        lines.append({"exercise": name, "diagnosis": diagnosis, "count": count, "says": says.removesuffix("."), "ask": ask})
    return lines


def rounded(points: float) -> str:
    """Points with at most two decimals."""
    return f"{round(points, 2):g}"


def sentence(text: str) -> str:
    """With a capital at its beginning, unless that is code."""
    return text[0].upper() + text[1:] if re.match(r"(a|[a-z]{2,})[ ,:;]", text) else text


def breakable(name: str) -> Markup:
    """A long name as HTML that may be broken after "_" and "."."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([_.]+)", r"\1<wbr>", str(escape(name))))


def code(text: str) -> Markup:
    """A text as HTML, with what stands between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _by_topic(entry: dict) -> dict[str, list[dict]]:
    """The exercises under the titles of their topics; messages without the name that stands beside them."""
    topics: dict[str, list[dict]] = {}
    for exercise in entry["exercises"]:
        said = exercise["message"].removeprefix("EXERCISE ").removeprefix(f"{exercise['exercise']}: ")
        topics.setdefault(TITLES[exercise["topic"]], []).append({**exercise, "message": sentence(said)})
    return topics


def _ungraded(entry: dict) -> float:
    """The most points that people can still give for written questions."""
    return sum(question["max_points"] for question in entry["written"].values() if question["points"] is None)


def _spread(entries: list[dict]) -> dict[str, float]:
    scores = [entry["score"] for entry in entries]
    return {"lowest": min(scores), "median": statistics.median(scores), "highest": max(scores)}


def _save(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write_text(text, encoding="utf-8"))
