"""The submission: a zip of code and results, and a PDF of the notebooks with their outputs.

    from dl.submit import make_assignment2_submission
    make_assignment2_submission("./")            # last cell of a notebook; in the shell: python -m dl submit

`files` has the one list of what is handed in and reads it; that snapshot is examined (`examine`), written to the zip
(`archive`) and printed (`pdf`), in this order: findings never stop the zip, and it never depends on the PDF.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from pathlib import Path

from dl import __version__, settings
from dl.console import FAILURE, SUCCESS, UsageError, say, to_json, write_whole
from dl.files import decode
from dl.submit import archive
from dl.submit.cells import Notebook
from dl.submit.examine import Finding, Result, findings_in, read_notebooks, read_results
from dl.submit.files import Snapshot, collect, find_project

ZIP_NAME, PDF_NAME = "a2_code_submission.zip", "a2_inline_submission.pdf"
IDENTITY_FILE = "student.txt"
PACKAGES = ("torch", "torchvision", "numpy", "matplotlib", "opencv-python", "clip-anytorch", "pypandoc_binary", "typst")


def make_assignment2_submission(assignment_path: str | Path) -> None:
    """Write the zip and the PDF into the project folder and print what they hold; what is missing is said, not fatal.

    With DL_QUICK only the zip: results of a few training steps are nothing to hand in.

    Args:
        assignment_path: the project folder, or a folder in it: a notebook in `notebooks/` passes "./".
    Raises:
        UsageError: if that leads to no project, or the zip cannot be written.
    """
    if settings.quick():
        say("Quick mode (DL_QUICK): the PDF is left out; python -m dl submit makes it.")
    submit(assignment_path, partial=True, pdf=not settings.quick())


def submit(
    root: str | Path,
    out: str | Path | None = None,
    notebooks: str | Path | None = None,
    pdf: bool = True,
    partial: bool = False,
) -> int:
    """The verb `submit`.

    Args:
        root: the project, or a folder in it. out: folder for the two files (default: the project).
        notebooks: folder to take the notebooks from (default: the project's `notebooks/`).
        pdf: whether to make the PDF. partial: write what there is, even if files are missing.
    Returns:
        SUCCESS, also with findings; FAILURE if the zip was written but the PDF could not be.
    Raises:
        UsageError: if files are missing and `partial` is not set, or the zip cannot be written.
    """
    project = find_project(Path(root))
    folder = Path(out) if out else project
    snapshot = collect(project, Path(notebooks) if notebooks else project / "notebooks")
    missing = [f"{path}: {maker}" for path, maker in snapshot.missing.items()]
    if missing and not partial:
        raise _incomplete(missing)
    identity, findings = read_identity(project / IDENTITY_FILE)
    results = read_results(snapshot.contents)
    read = read_notebooks(snapshot.notebooks)
    findings += findings_in(read, results, snapshot.contents)

    size = _write_zip(folder / ZIP_NAME, snapshot, identity, results, findings)
    say(
        f"{ZIP_NAME}: {len(snapshot.contents) + 1} files, {size / 1e6:.2f} MB (limit {archive.LIMIT / 1e6:.0f} MB), "
        "opened again and compared"
    )
    made, notes, status = [ZIP_NAME], [], SUCCESS
    if pdf:
        try:
            cover = (identity, versions(), results, findings, list(snapshot.missing))
            notes = _write_pdf(folder / PDF_NAME, project, read, cover)
            made.append(PDF_NAME)
        except Exception as error:  # whatever a notebook does to pandoc or typst: the zip is there
            older = " (an older one is there, and does not belong to this zip)" if (folder / PDF_NAME).exists() else ""
            say(f"{PDF_NAME}: not made{older}: {error or type(error).__name__}")
            status = FAILURE
    _say_list("Missing, handed in without", missing)
    _say_list("Left out of dl/, as it is no code", snapshot.left_out)
    _say_list("Not shown in the PDF as in the notebook", notes)
    _say_list("Findings (the submission was made all the same)", findings)
    say(
        f"Written to {_shown(folder)}: {', '.join(made)}; {_count(len(findings), 'finding')}, "
        f"{_count(len(missing), 'file')} missing."
    )
    return status


def _incomplete(missing: list[str]) -> UsageError:
    title = f"{_count(len(missing), 'file')} to hand in missing, so nothing was written:"
    return UsageError("\n  ".join([title, *missing, "Make them, or hand in what there is with --partial."]))


def read_identity(path: Path) -> tuple[dict[str, str], list[Finding]]:
    """Name and id from the lines `name: …` and `id: …` of `student.txt`; one without a value is a finding."""
    content = path.read_bytes() if path.is_file() else b""
    findings = []
    try:
        text = decode(content, path.name)
    except ValueError as error:
        text = content.decode("utf-8", errors="replace")
        findings.append(Finding(IDENTITY_FILE, f"its letters cannot be told: {error}"))
    identity = identity_in(text)
    empty = [key for key in identity if not identity[key]]
    lines = " and ".join(f'"{key}: …"' for key in empty)
    if empty:
        findings.append(Finding(IDENTITY_FILE, f"does not say whose submission this is: write {lines} in it"))
    return identity, findings


def identity_in(text: str) -> dict[str, str]:
    """Name and id in the text of a `student.txt`, "" where they are not said."""
    identity = {"name": "", "id": ""}
    for line in text.split("\n"):
        key, _, value = (part.strip() for part in line.replace("\uff1a", ":").partition(":"))  # typed in Chinese, too
        if key.lower() in identity:
            identity[key.lower()] = value
    return identity


def describe(snapshot: Snapshot, identity: dict[str, str], results: dict[str, Result], findings: list[Finding]) -> bytes:
    """`submission.json`: who, made with what, which files, which check results. Nothing in it changes by itself."""
    files = {
        path: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in snapshot.contents.items()
    }
    report = {
        "format": 1,
        **identity,
        "versions": versions(),
        "results": {
            name: {
                "sha256": files[f"results/{name}.json"]["sha256"],
                "scores": result.scores,
                "checks": result.checks,
                "data": result.data,
                "device": result.device,
            }
            for name, result in results.items()
        },
        "findings": [vars(finding) for finding in findings],
        "missing": list(snapshot.missing),
        "files": files,
    }
    return to_json(report, ascii_only=False).encode("utf-8", errors="replace")


def versions() -> dict[str, str]:
    """Versions of this project, of Python and of the packages that results depend on, without importing them."""
    found = {"dl": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _write_zip(target: Path, snapshot: Snapshot, identity, results, findings) -> int:
    record = describe(snapshot, identity, results, findings)
    try:
        return archive.write(target, {"submission.json": record, **snapshot.contents})
    except archive.TooLarge as error:
        raise UsageError(f"{error} Nothing was written.") from error
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror or error}. Make room there or choose another folder with "
            "--out DIR; an older zip is still as it was."
        ) from error


def _write_pdf(target: Path, project: Path, read: list[Notebook], cover: tuple) -> list[str]:
    """Make the PDF; returns what it does not show as the notebooks do. `cover` has the fields of `pdf.Cover`."""
    try:
        from dl.submit import pdf
    except ImportError as error:
        raise UsageError(
            f"the PDF needs more: {error}. Run pip install -e '.[pdf]', or leave it out with --no-pdf."
        ) from error

    say(f"{PDF_NAME}: being made …")
    content, notes = pdf.make(read, pdf.Cover(*cover), project)
    write_whole(target, lambda file: file.write_bytes(content))
    say(f"{PDF_NAME}: {len(content) / 1e6:.2f} MB")
    return notes


def _say_list(title: str, lines: list) -> None:
    if lines:
        say("\n  ".join([f"{title}:", *map(str, lines)]))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _shown(folder: Path) -> str:
    """A folder as the user would type it: relative to the working folder where it lies below it."""
    folder = folder.resolve()
    return folder.relative_to(Path.cwd()).as_posix() if folder.is_relative_to(Path.cwd()) else str(folder)
