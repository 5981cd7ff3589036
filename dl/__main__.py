"""The commands: `python -m dl VERB …`. Arguments are described here, the work is done in the module of each verb.

Modules of the verbs are imported only when their verb runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import atexit
import codecs
import contextlib
import importlib
import io
import os
import sys
from pathlib import Path

from dl.console import SUCCESS, WRONG_USE, UsageError, trainable

PACKAGE = Path(__file__).parent
INTERRUPTED = 130  # what shells report for Ctrl-C


def program() -> None:
    """The program: `main`, then the end; after Ctrl-C at once, as Python takes seconds to dismantle torch."""
    code = main()
    if code == INTERRUPTED:
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError):  # whoever read the output may have been stopped, too
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    codecs.register_error("dl.replace", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="dl.replace")
    try:
        return args.command(args)
    except UsageError as error:
        print(f"dl {args.verb}: {error}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt as stop:  # its text says what is kept and how to go on
        print(f"\ndl {args.verb}: stopped. {str(stop) or 'Begin again with the same command.'}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SUCCESS


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """What a terminal without our letters gets: question marks, not a traceback; difficulties stay readable."""
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    return "".join({"●": "*", "○": "o"}.get(letter, "?") for letter in letters), error.end


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="dl",
        description="Run, check and prepare the four notebooks of this course.",
        epilog='Example: python -m dl run Transformers. "python -m dl VERB --help" explains a verb.',
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_doctor(verbs)
    _add_run(verbs)
    _add_build(verbs)
    _add_check(verbs)
    _add_status(verbs)
    if (PACKAGE / "student").is_dir():  # the student edition neither makes itself nor shows solutions
        _add_practise(verbs)
        _add_solution(verbs)
        _add_student(verbs)
    if (PACKAGE / "grading").is_dir():  # nor does it grade
        _add_grade(verbs)
        _add_similar(verbs)
    _add_submit(verbs)
    _add_data(verbs)
    _add_train_weights(verbs)
    return top


def _add_doctor(verbs) -> None:
    doctor = _verb(verbs, "doctor", "what is installed, present and missing here, and what to do about it", "doctor")
    doctor.set_defaults(command=_doctor)


def _add_run(verbs) -> None:
    run = _verb(
        verbs, "run", "execute notebooks top to bottom on a fresh kernel", "run Transformers --data sample --device cpu"
    )
    run.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="name or path of a notebook (default: all)")
    run.add_argument("--data", choices=("sample", "real"), help="data and weights (default: DL_DATA, else sample)")
    run.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: DL_DEVICE, else CUDA, MPS, CPU")
    run.add_argument("--out", metavar="DIR", help="folder for the executed notebooks (default: build/notebooks)")
    run.add_argument("--jobs", type=int, metavar="N", help="notebooks at once (default: as cores and memory allow)")
    run.add_argument("--json", metavar="FILE", help="write the table to FILE, for machines")
    run.set_defaults(command=_run)


def _add_build(verbs) -> None:
    build = _verb(
        verbs, "build", "make notebooks/NAME.ipynb from its source NAME.nb.py: executed, outputs cleaned", "build CLIP_DINO"
    )
    build.add_argument("notebooks", nargs="*", metavar="NAME", help="name of a notebook (default: all)")
    build.set_defaults(command=_build)


def _add_check(verbs) -> None:
    check = _verb(
        verbs,
        "check",
        "check exercises; without a name, all of them (exit code 1 unless all pass)",
        "check LSTM.step_forward transformers",
    )
    check.add_argument("names", nargs="*", metavar="EXERCISE", help="an exercise, named as in the code, or a topic")
    check.add_argument("--root", metavar="DIR", default=".", help="folder of the code to check (default: here)")
    check.add_argument("--json", metavar="FILE", help="write the verdicts to FILE, for machines")
    check.add_argument("--list", action="store_true", help="only list the exercises: how hard, how long, which are missing")
    check.add_argument("--verbose", action="store_true", help="every check, and the tensors of one that fails")
    check.add_argument("--hint", action="store_true", help="all hints for exercises that do not pass")
    check.add_argument("--seed", type=int, metavar="N", help="seed of the random inputs (default: a new one)")
    check.add_argument(
        "--timeout", type=int, default=20, metavar="S", help="seconds that an exercise may compute (default: 20)"
    )
    check.set_defaults(command=_check)


def _add_status(verbs) -> None:
    status = _verb(
        verbs,
        "status",
        "which exercises pass, per topic, what comes next, and how long it will take",
        "status --root practice",
    )
    status.add_argument("--root", metavar="DIR", default=".", help="folder of the code to check (default: here)")
    status.add_argument("--json", metavar="FILE", help="write the same to FILE, for machines")
    status.set_defaults(command=_status)


def _add_practise(verbs) -> None:
    practise = _verb(
        verbs, "practise", "make a working copy without solutions for learning alone, checked from here", "practise practice"
    )
    practise.add_argument(
        "folder",
        nargs="?",
        metavar="DIR",
        default="practice",
        help="new, empty, or a copy made before, in which every file stays as it is (default: practice)",
    )
    practise.set_defaults(command=_practise)


def _add_solution(verbs) -> None:
    solution = _verb(
        verbs, "solution", "show the solution of one exercise of a practice copy, after a try", "solution rnn_step_forward"
    )
    solution.add_argument("exercise", metavar="EXERCISE", help="an exercise, named as in the code")
    solution.set_defaults(command=_solution)


def _add_student(verbs) -> None:
    student = _verb(
        verbs,
        "student",
        "write the student edition: a stub in the place of each solution, no outputs, no answers",
        "student ../assignment",
    )
    student.add_argument("folder", metavar="DIR", help="a folder that is new or empty")
    student.add_argument(
        "--seeds",
        type=int,
        default=4,
        metavar="N",
        help="number of seeds for whose random inputs answers are recorded (default: 4)",
    )
    student.set_defaults(command=_student)


def _add_grade(verbs) -> None:
    grade = _verb(
        verbs,
        "grade",
        "grade submissions (zips, folders, or a folder of them), each exercise in a confined process",
        "grade downloads/ --roster roster.csv --out graded --jobs 2",
    )
    grade.add_argument("paths", nargs="*", metavar="SUBMISSION", help="a zip, a folder, or a folder of them")
    grade.add_argument("--out", metavar="DIR", default="graded", help="folder for the results (default: graded)")
    grade.add_argument("--json", metavar="FILE", help="write the report to FILE, too")
    grade.add_argument("--jobs", type=int, default=1, metavar="N", help="submissions at a time (default: 1)")
    grade.add_argument("--shard", default="1/1", metavar="I/N", help="grade only the I-th of N parts; see --merge")
    grade.add_argument("--merge", metavar="DIR", help="grade nothing; put the parts in DIR together")
    grade.add_argument(
        "--timeout", type=int, default=20, metavar="S", help="seconds that an exercise may compute (default: 20)"
    )
    grade.add_argument("--seed", metavar="S", help="a secret text, from which inputs are drawn (default: a new one)")
    grade.add_argument("--points", metavar="FILE", help="a table of points (default: dl/grading/grading.toml)")
    grade.add_argument("--roster", metavar="FILE", help="CSV with columns id and name, and perhaps submitted")
    grade.add_argument(
        "--gradebook", metavar="FILE", help="CSV exported from Canvas or Moodle, of which a filled copy is made"
    )
    grade.add_argument("--column", metavar="NAME", help="the column of the gradebook to fill (default: Grade)")
    grade.add_argument("--require-sandbox", action="store_true", help="refuse to run with less than full confinement")
    formats = ("table", "csv", "gradescope", "classroom50", "prairielearn")
    grade.add_argument("--format", choices=formats, default="table", help="also write files for a platform (default: table)")
    grade.set_defaults(command=_grade)


def _add_similar(verbs) -> None:
    similar = _verb(
        verbs, "similar", "pairs of submissions whose code is alike beyond the hand-out, by exercise", "similar downloads/"
    )
    similar.add_argument("paths", nargs="+", metavar="SUBMISSION", help="a zip, a folder, or a folder of them")
    similar.add_argument("--roster", metavar="FILE", help="CSV with columns id and name")
    similar.set_defaults(command=_similar)


def _add_submit(verbs) -> None:
    submit = _verb(
        verbs,
        "submit",
        "write the submission: a zip of code, notebooks and results, and a PDF of the notebooks",
        "submit --partial --out build",
    )
    submit.add_argument("--root", metavar="DIR", default=".", help="the project, or a folder in it (default: here)")
    submit.add_argument("--out", metavar="DIR", help="folder for the two files (default: the project)")
    submit.add_argument("--notebooks", metavar="DIR", help="take the notebooks from DIR (default: notebooks/)")
    submit.add_argument("--no-pdf", action="store_true", help="write only the zip")
    submit.add_argument("--partial", action="store_true", help="write what there is, even if files are missing")
    submit.set_defaults(command=_submit)


def _add_data(verbs) -> None:
    data = _verb(verbs, "data", "list, fetch, adopt and verify the real data sets and weights", "data fetch coco regnet")
    actions = data.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = _verb(actions, "list", "every entry: address, size, licence, place, what is there", "data list")
    listing.set_defaults(command=_data_list)
    fetch = _verb(actions, "fetch", "fetch entries; an interrupted download is resumed", "data fetch coco clip_dino")
    fetch.add_argument("names", nargs="*", metavar="NAME", help='an entry of "data list", a topic, or a notebook')
    fetch.add_argument("--all", action="store_true", help="everything: no network is needed afterwards")
    fetch.add_argument("--again", action="store_true", help="fetch anew what is there, to repair it")
    fetch.set_defaults(command=_data_fetch)
    adopt = _verb(
        actions,
        "adopt",
        "copy to their places, verified, archives, weights and unpacked data from another folder",
        "data adopt ~/cs231n/datasets",
    )
    adopt.add_argument("path", metavar="PATH", help="a file, or a folder that holds such things")
    adopt.set_defaults(command=_data_adopt)
    verify = _verb(actions, "verify", "check size, hash and content of fetched entries", "data verify coco")
    verify.add_argument("names", nargs="*", metavar="NAME", help="default: every entry that is there")
    verify.set_defaults(command=_data_verify)


def _add_train_weights(verbs) -> None:
    train = _verb(
        verbs,
        "train-weights",
        "train the small weights that the project ships; resumes where it stopped",
        "train-weights regnet",
    )
    train.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(trainable())} (default: all, in turn)")
    train.set_defaults(command=_train_weights)


def _verb(verbs, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    return verbs.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=f"Example: python -m dl {example}"
    )


def _doctor(args: argparse.Namespace) -> int:
    from dl.commands import doctor

    return doctor.examine()


def _run(args: argparse.Namespace) -> int:
    from dl.commands import run

    return run.run(args.notebooks, args.data, args.device, args.out, args.json, args.jobs)


def _build(args: argparse.Namespace) -> int:
    from dl.commands import run

    return run.build(args.notebooks)


def _check(args: argparse.Namespace) -> int:
    from dl.commands import check as command

    if args.list:
        return command.show_list(args.names, args.root)
    return command.run(args.names, args.root, args.json, args.verbose, args.hint, args.seed, args.timeout)


def _status(args: argparse.Namespace) -> int:
    from dl.commands import status

    return status.run(args.root, args.json)


def _practise(args: argparse.Namespace) -> int:
    from dl.student import practice

    return practice.write(args.folder)


def _solution(args: argparse.Namespace) -> int:
    from dl.student import practice

    return practice.show_solution(args.exercise)


def _student(args: argparse.Namespace) -> int:
    from dl import student

    try:
        return student.write(args.folder, args.seeds)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Nothing was written. Begin again with the same command.") from None


def _grade(args: argparse.Namespace) -> int:
    from dl import grading

    try:
        number, count = map(int, args.shard.split("/"))
    except ValueError:
        number, count = 0, 0
    if not 1 <= number <= count:
        raise UsageError(f"--shard is {args.shard!r}; give the number of the part and how many there are, such as 2/8.")
    if args.jobs < 1 or args.timeout < 1:
        raise UsageError(f"--jobs is {args.jobs} and --timeout {args.timeout}; both are 1 or more.")
    options = grading.Options(
        Path(args.merge or args.out),
        args.jobs,
        (number, count),
        args.timeout,
        args.seed,
        args.points,
        args.roster,
        args.gradebook,
        args.column,
        args.format,
        args.json,
        args.require_sandbox,
    )
    if args.merge:
        return grading.merge(options)
    if not args.paths:
        raise UsageError("no submissions. Give zips, folders, or a folder of them.")
    try:
        return grading.grade(args.paths, options)
    except KeyboardInterrupt:
        kept = f"Submissions graded so far are kept in {options.out}."
        raise KeyboardInterrupt(f"{kept} Go on with the same command; it grades only the others.") from None


def _similar(args: argparse.Namespace) -> int:
    from dl.grading.similar import compare

    return compare(args.paths, args.roster)


def _submit(args: argparse.Namespace) -> int:
    from dl.submit import submit

    return submit(args.root, out=args.out, notebooks=args.notebooks, pdf=not args.no_pdf, partial=args.partial)


def _data_list(args: argparse.Namespace) -> int:
    from dl.commands import data as manage

    return manage.show_list()


def _data_fetch(args: argparse.Namespace) -> int:
    from dl.commands import data as manage

    return manage.fetch_entries(args.names, args.all, args.again)


def _data_adopt(args: argparse.Namespace) -> int:
    from dl.commands import data as manage

    return manage.adopt_entries(args.path)


def _data_verify(args: argparse.Namespace) -> int:
    from dl.commands import data as manage

    return manage.verify_entries(args.names)


def _train_weights(args: argparse.Namespace) -> int:
    unknown = [name for name in args.names if name not in trainable()]
    if unknown:
        raise UsageError(f"no weights called {', '.join(unknown)}; there are {', '.join(trainable())}.")
    names = args.names or trainable()
    for number, name in enumerate(names):
        try:
            importlib.import_module(f"dl.training.{name}").train()
        except KeyboardInterrupt:
            left = " ".join(names[number:])
            raise KeyboardInterrupt(
                f"What {name} had learned at its last checkpoint is in build/train/. "
                f"Go on with: python -m dl train-weights {left}"
            ) from None
    print(f"Trained {', '.join(names)}; weights and cards are in dl/weights/files/.")
    return SUCCESS


if __name__ == "__main__":
    program()
