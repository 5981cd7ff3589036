"""Grading: from a folder of submissions to a gradebook. `python -m dl grade`.

intake    what is taken from a zip, a folder, a platform's export
engine    verdicts: the student's code in a confined process, the judgement in this one
points    `grading.toml`: what is worth how much
report    verdicts and points of all submissions; written questions; what changed since the last time
formats   files for gradebooks and platforms
pages     a page for each student, and one for the class
similar   pairs of submissions whose code is alike

Verdicts are kept in OUT/verdicts, by the digest of what was taken and the grader's version: a run that was interrupted goes on
where it stopped, and other points need no new run.
"""

from __future__ import annotations

import itertools
import json
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dl.console import SUCCESS, UsageError, say, write_json
from dl.grading import engine, formats, intake, pages, points, report
from dl.grading.engine import LAYERS, Order
from dl.grading.intake import Submission

ROUND = 16  # submissions at once where verdicts do not come one by one: those that an interrupted run may lose


@dataclass(frozen=True)
class Options:
    """Of the verb `grade`; see its --help."""

    out: Path
    jobs: int = 1
    shard: tuple[int, int] = (1, 1)
    timeout: int = 20
    seed: str | None = None
    points: str | None = None
    roster: str | None = None
    gradebook: str | None = None
    column: str | None = None
    format: str = "table"
    json_file: str | None = None
    require_sandbox: bool = False


def grade(paths: Sequence[str], options: Options) -> int:
    """Grade submissions and write table, files and pages.

    Returns:
        SUCCESS when every submission has its verdict, whatever that is.
    Raises:
        UsageError: for wrong use, or if --require-sandbox asks for more than this machine has.
    """
    start = time.perf_counter()
    scheme = points.load(options.points)
    submissions = intake.find(paths, options.roster)
    number, count = options.shard
    submissions = submissions[number - 1 :: count]
    hidden = tuple(str(Path(path).resolve()) for path in [*paths, str(options.out)])
    order = Order(options.seed or secrets.token_hex(16), options.timeout, hidden=hidden)
    verdicts = options.out / "verdicts"
    readable = [submission for submission in submissions if not submission.problem]
    waiting = {s.sha256: s for s in readable if not _file(verdicts, s).exists()}  # equal ones are graded once
    if kept := sum(submission.sha256 not in waiting for submission in readable):
        say(f"{kept} of {len(submissions)} were graded before, by this version of the grader")
    sandbox = _tried(order, options.require_sandbox) if waiting or options.require_sandbox else []
    for submission, verdict in _graded(list(waiting.values()), order, options.jobs):
        write_json(_file(verdicts, submission), verdict | {"sandbox": sandbox, "seed": order.seed})
    about = [report.about(submission, _file(verdicts, submission).name) for submission in submissions]
    if count > 1:
        write_json(options.out / "shards" / f"{number}-of-{count}.json", {"submissions": about})
        say(
            f"Graded {len(submissions)} submissions, shard {number} of {count}, in {time.perf_counter() - start:.0f} s; "
            f"when all are done: python -m dl grade --merge {options.out}"
        )
        return SUCCESS
    return finish(about, scheme, options, time.perf_counter() - start)


def merge(options: Options) -> int:
    """Put the shards in the folder `out` together. Raises: UsageError: if one is not there."""
    files = sorted((options.out / "shards").glob("*-of-*.json"))
    counts = {int(file.stem.split("-of-")[1]) for file in files}
    if len(counts) != 1 or len(files) != max(counts):
        there = ", ".join(file.stem for file in files) or "none"
        raise UsageError(f"{options.out}/shards holds {there}; all of one grading are wanted. Run the missing ones first.")
    about = [entry for file in files for entry in json.loads(file.read_text(encoding="utf-8"))["submissions"]]
    about.sort(key=lambda entry: intake.in_order(entry["submission"]))
    return finish(about, points.load(options.points), options, 0.0)


def finish(about: list[dict], scheme: points.Scheme, options: Options, seconds: float) -> int:
    """Points, files and pages from the verdicts that are kept in the folder `out`."""
    graded = report.assemble(about, options.out, scheme, engine.version(), seconds)
    changed = report.differences(options.out / "grades.json", graded)
    formats.write(graded, scheme, options)
    pages.write(graded, scheme, options.out / "pages")
    print(formats.table(graded))
    if changed:
        say("\n  ".join(["Changed since the last time:", *map(formats.plain, changed)]))
    broken = sum(entry["status"] == "broken" for entry in graded["submissions"])
    say(
        f"{len(graded['submissions'])} submissions in {seconds:.0f} s, of which {broken} could not be read; the code was "
        f"confined by {', '.join(graded['sandbox'])}. Written to {options.out}: grades.csv, grades.json, pages/index.html"
    )
    return SUCCESS


def _tried(order: Order, required: bool) -> list[str]:
    """The layers of confinement that hold here, said at once. Raises: UsageError: if all are required and some do not."""
    held = engine.desk(order).children.layers
    missing = [layer for layer in LAYERS if layer not in held]
    if missing:
        say(f"Confinement: limits, {', '.join(held) or 'nothing else'}; NOT held here: {', '.join(missing)}.")
        if required:
            raise UsageError(
                f"--require-sandbox: {', '.join(missing)} cannot be had on this machine. Grade on a Linux that "
                "allows user namespaces, or without --require-sandbox in a machine that holds nothing of value."
            )
    else:
        say(f"Confinement: limits, {', '.join(held)}.")
    return ["limits", *held]


def _graded(submissions: list[Submission], order: Order, jobs: int) -> Iterator[tuple[Submission, dict]]:
    """Verdicts as they come, with a line each: who, how many, how long the rest takes."""
    if not submissions:
        return
    found: Iterator[tuple[int, dict]]
    if jobs == 1:
        found = (_one(number, submission.contents, order) for number, submission in enumerate(submissions))
    else:
        found = _in_parallel(submissions, order, jobs)
    start = time.perf_counter()
    for done, (number, verdict) in enumerate(found, start=1):
        submission, passed = submissions[number], sum(entry["status"] == "passed" for entry in verdict["exercises"])
        rest = (time.perf_counter() - start) / done * (len(submissions) - done)
        who, of = formats.plain(submission.label), len(verdict["exercises"])
        say(f"{done} of {len(submissions)}: {who}: {passed} of {of}, {rest:.0f} s to go")
        yield submission, verdict


def _in_parallel(submissions: list[Submission], order: Order, jobs: int) -> Iterator[tuple[int, dict]]:
    """Number and verdict of each submission, from joblib's workers: as they come, or in rounds where its backend gives all
    results at once (Ray's)."""
    from joblib import Parallel, delayed

    tasks = (delayed(_one)(number, submission.contents, order) for number, submission in enumerate(submissions))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # workers inherit it: Ctrl-C is for this process, which ends them
    try:
        return Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks)
    except ValueError:  # said before any task is begun
        rounds = iter(lambda: list(itertools.islice(tasks, ROUND)), [])
        return itertools.chain.from_iterable(map(Parallel(n_jobs=jobs), rounds))
    finally:
        signal.signal(signal.SIGINT, before)


def _one(number: int, contents: dict[str, bytes], order: Order) -> tuple[int, dict]:
    """What a worker does: plain data in, plain data out."""
    import torch

    torch.set_num_threads(1)
    return number, engine.desk(order).grade(contents)


def _file(verdicts: Path, submission: Submission) -> Path:
    return verdicts / f"{submission.sha256[:32]}.{engine.version()}.json"
