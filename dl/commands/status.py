"""The verb `status`: which exercises pass, what comes next, how long it takes."""

from __future__ import annotations

import time
from pathlib import Path

from dl.checks import course
from dl.checks.examiner import Examiner
from dl.commands import overview
from dl.commands.check import place_of
from dl.console import SUCCESS, write_json
from dl.sandbox.confine import Limits
from dl.sandbox.processes import Children


def run(root: str = ".", json_file: str | None = None) -> int:
    """Check every exercise of the code in `root` and print the map, topic by topic; returns SUCCESS.

    Raises:
        UsageError: if `root` is no folder of the course.
    """
    start, place = time.perf_counter(), place_of(root)
    rows = []
    with Children(Limits(), fork=True) as children:
        for row in overview.verdicts(Examiner(place, run=children.ask), course.find(())):
            print(row, flush=True)
            rows.append(row)
    print("\n".join(overview.topic_lines(rows)))
    if json_file:
        write_json(json_file, report(place, time.perf_counter() - start, rows))
    print(f"{overview.closing(rows)} In {place.resolve()}" + (f"; written to {json_file}" if json_file else ""))
    return SUCCESS


def report(root: Path, seconds: float, rows: list[overview.Row]) -> dict:
    """The JSON of `status --json`."""
    then = overview.following(rows)
    return {
        "root": str(root),
        "seconds": round(seconds, 3),
        **overview.counts(rows),
        "next": then and then.exercise.name,
        "topics": {topic: overview.counts(chosen) for topic, chosen in overview.by_topic(rows).items()},
        "map": [
            {
                "exercise": row.exercise.name,
                "topic": row.exercise.topic,
                "difficulty": row.exercise.difficulty,
                "minutes": row.exercise.minutes,
                "status": row.status,
                "solution_shown": row.shown,
            }
            for row in rows
        ],
    }
