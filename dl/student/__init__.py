"""The student edition: the project without solutions. `python -m dl student DIR`.

One source, solved; this package takes out what solves. `KEPT` and `LEFT_OUT` say what of the project is copied. In lessons
each solution becomes a stub (`dl.student.markers`). Notebooks are made anew from their sources, so they have no outputs;
the sources stay behind, or `dl build` would write over a learner's answers. In place of references and mistakes the checks
get their outputs as data, for a number of seeds (`dl.student.recording`). Before anything is written, `leaks` looks for
solutions in all of it.
"""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from dl import settings
from dl.console import FAILURE, SUCCESS, UsageError, say, write_whole
from dl.notebook_files import SOURCE_ENDING, read_source
from dl.student import leaks, markers

KEPT = (
    "dl/*",
    "notebooks/*",
    "a2_helper.py",
    "rnn_lstm_captioning.py",
    "transformers.py",
    "tests/conftest.py",
    "tests/no_network/sitecustomize.py",
    "tests/test_exercises.py",
    "datasets/README.md",
    "datasets/two_digit_op.json",
    "datasets/sample_world.jpg",
    "benchmarks/ablation_arithmetic.json",
    "pyproject.toml",
    "constraints.txt",
    "Makefile",
    "LICENSE",
    "student.txt",
    ".gitignore",
)
LEFT_OUT = {  # of what is kept, and why
    "dl/checks/references/*": "right answers",
    "dl/checks/mistakes/*": "known mistakes, as patches on right answers",
    "dl/checks/recorded/*": "made anew",
    "dl/student/*": "makes this edition",
    "dl/grading/*": "needs right answers",
    "dl/student/markers.py": "reads solutions",
    "dl/submit/derive.py": "needs the notebooks' sources",
    "notebooks/answers/*": "model answers to the questions",
    "notebooks/*.ipynb": "made anew, from the sources",
    "notebooks/*.[0-9].nb.py": "goes on in a source, and is read with it",
    "*/.*": "hidden files",
    "*/__pycache__/*": "compiled",
    "*.part": "unfinished",
}
LIST_FILES = (  # also in a folder of another owner (Docker, WSL, shared drives), and starting no program that it names
    "git",
    *("-c", "safe.directory=*", "-c", "core.fsmonitor=false"),
    *("ls-files", "-z"),
)
FIRST_SEED = 1000  # of the recorded inputs
README = Path(__file__).with_name("README.md")
AGENTS = Path(__file__).with_name("AGENTS.md")  # for coding assistants, in every copy that people learn from
TOPICS = {  # in the README: notebook, what it is about, the code to fill in
    "rnn_lstm_captioning": ("RNN, LSTM, attention, captions", "[rnn_lstm_captioning.py](rnn_lstm_captioning.py)"),
    "Transformers": ("Transformer, arithmetic", "[transformers.py](transformers.py)"),
    "Self_Supervised_Learning": ("SimCLR, linear probe", "[dl/simclr/](dl/simclr)"),
    "CLIP_DINO": ("CLIP, DINO", "[dl/clip_dino.py](dl/clip_dino.py)"),
}
EDITS = {  # of files that differ a little: what is there once, and what stands in its place
    "pyproject.toml": {
        ', "*.nb.py"]  # notebooks read as pages, not as modules': "]",
        "-q --strict-markers -m 'not browser'\"": '-q -rs --strict-markers"  # -rs: say what is missing',
    },
    "Makefile": {
        ".PHONY: run test check notebooks test-browser": ".PHONY: run test check",
        "test: $(INSTALLED)  ## the tests": "test: $(INSTALLED)  ## one test per exercise; those that are missing are skipped",
        "check: $(INSTALLED)  ## format, lint, spelling, types": "check: $(INSTALLED)  ## what is missing, wrong and right",
        "\t$(IN_VENV) -m ruff format --check .\n": "\t$(IN_VENV) -m dl check\n",
        "\t$(IN_VENV) -m ruff check .\n": "",
        "\t$(IN_VENV) -m codespell_lib\n": "",
        "\t$(IN_VENV) -m mypy\n": "",
    },
}


def write(folder: str | Path, seeds: int = 4) -> int:
    """The verb `student`: write the edition to a new or empty folder, whole or not at all.

    Args:
        seeds: for how many drawings of the random inputs answers are recorded, at least 2.
    Returns:
        SUCCESS, or FAILURE if solutions would leak; then nothing is written, and what leaks is said.
    Raises:
        UsageError: if the folder holds something or cannot be written, or for fewer seeds.
        MarkerError: for markers that do not fit together.
    """
    start, target = time.perf_counter(), Path(folder)
    _check_target(target)
    if seeds < 2:
        raise UsageError(f"--seeds is {seeds}; a check takes two, one for the inputs of its second call. Give 2 or more.")
    contents, lessons = edition(settings.project_root(), seeds)
    found = leaks.find(contents, lessons)
    if found:
        say("\n  ".join(["These would give solutions away:", *map(str, found)]))
        say(f"Nothing was written: {len(found)} leaks.")
        return FAILURE
    _write_edition(target, contents)
    size, seconds = sum(map(len, contents.values())) / 1e6, time.perf_counter() - start
    say(f"Written to {target}: {len(contents)} files, {size:.0f} MB, {seconds:.0f} s. Its README.md says how to start.")
    return SUCCESS


def edition(root: Path, seeds: int) -> tuple[dict[str, bytes], dict[str, str]]:
    """All files of the edition by their paths, and the texts of the lessons, with the solutions that are not in it."""
    contents: dict[str, bytes] = {}
    lessons: dict[str, str] = {}
    notebooks = []
    for path in sorted(project_files(root)):
        name = Path(path).name
        if name.endswith(SOURCE_ENDING):
            notebooks.append(name.removesuffix(SOURCE_ENDING))
            contents[f"notebooks/{notebooks[-1]}.ipynb"] = unsolved_notebook(root / path)
            continue
        contents[path] = _edited(path, handed_out(root, path))
        if path.endswith(".py") and markers.blocks(text := (root / path).read_text(encoding="utf-8"), path):
            lessons[path] = text
    _check_names(lessons)
    contents["README.md"], contents["AGENTS.md"] = _readme(notebooks).encode(), AGENTS.read_bytes()
    contents |= _recorded(seeds)
    return dict(sorted(contents.items())), lessons


def handed_out(root: Path, path: str) -> bytes:
    """A file of the project as students get it: in a lesson, each solution is a stub."""
    content = (root / path).read_bytes()
    if path.endswith(".py") and markers.blocks(text := content.decode(), path):
        return markers.hand_out(text, path).encode()
    return content


def project_files(root: Path) -> Iterable[str]:
    """Paths of the files that go into the edition: those that git tracks, or all where there is no git."""
    every = {
        path.relative_to(root).as_posix()
        for top in {pattern.partition("/")[0] for pattern in KEPT}
        for path in ([root / top] if (root / top).is_file() else (root / top).rglob("*"))
        if path.is_file()
    }
    tracked = _tracked(root)
    return [
        path
        for path in every
        if any(fnmatch(path, pattern) for pattern in KEPT)
        and not any(fnmatch(path, pattern) for pattern in LEFT_OUT)
        and (not tracked or path in tracked)
    ]


def unsolved_notebook(source: Path) -> bytes:
    """The notebook of a source: no outputs, no counts, answers empty; its cells keep their ids.

    Raises:
        UsageError: if jupytext is not installed.
    """
    import nbformat

    from dl.submit.cells import ANSWER_TAG, ANSWER_TITLE

    notebook = read_source(source)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        elif ANSWER_TAG in cell.metadata.get("tags", ()) or cell.source.lstrip().startswith(ANSWER_TITLE):
            cell.source = ANSWER_TITLE
    return (nbformat.writes(notebook).rstrip("\n") + "\n").encode()


def tracked_files(root: Path) -> list[str]:
    """Paths of all files of the project that git tracks, or of all its code where there is no git."""
    code = (path.relative_to(root).as_posix() for path in (*root.glob("*.*"), *root.glob("dl/**/*")) if path.is_file())
    return sorted(_tracked(root) or (path for path in code if "__pycache__" not in path))


def _recorded(seeds: int) -> dict[str, bytes]:
    import torch

    from dl.checks import course
    from dl.checks.exercise import MODULES
    from dl.student import recording

    torch.set_num_threads(1)  # the tensors are tiny
    contents = {}
    for topic in MODULES:
        exercises = course.exercises(topic)
        say(f"{topic}: recording the answers to {len(exercises)} exercises …")
        buffer = io.BytesIO()
        torch.save(recording.record(topic, exercises, range(FIRST_SEED, FIRST_SEED + seeds)), buffer)
        contents[f"dl/checks/recorded/{topic}.pt"] = buffer.getvalue()
    return contents


def _readme(notebooks: list[str]) -> str:
    rows = [
        f"| {about} | {code} | [{name}](notebooks/{name}.ipynb) |"
        for name, (about, code) in TOPICS.items()
        if name in notebooks
    ]
    return README.read_text(encoding="utf-8").replace("{topics}", "\n".join(rows))


def _edited(path: str, content: bytes) -> bytes:
    """A file with its EDITS; without the parts of pyproject.toml and Makefile that speak of what is left out."""
    if path not in EDITS:
        return content
    text = content.decode()
    for old, new in EDITS[path].items():
        if text.count(old) != 1:
            raise UsageError(f"{path} should have this once: {old!r}. Bring EDITS in dl/student up to date with it.")
        text = text.replace(old, new)
    if path == "Makefile":
        for target in ("notebooks", "test-browser", "$(VENV)/installed-browser"):
            text = _without_rule(text, target)
    return "".join(
        line for line in text.splitlines(keepends=True) if not line.startswith(('"notebooks/*.nb.py"', '"tests/variants/'))
    ).encode()


def _without_rule(text: str, target: str) -> str:
    """A Makefile without one rule and the empty line after it."""
    rules = text.split("\n\n")
    return "\n\n".join(rule for rule in rules if not rule.startswith(f"{target}:"))


def _tracked(root: Path) -> set[str]:
    """What git tracks below the project, empty for a folder that is no clone, such as an unpacked archive.

    Raises:
        UsageError: for a clone whose files git cannot list: untracked ones, such as drafts of an exam, would go along.
    """
    try:
        done = subprocess.run(LIST_FILES, cwd=root, capture_output=True)
        reason = os.fsdecode(done.stderr).strip().partition("\n")[0] if done.returncode else ""
    except OSError as error:
        reason = f"git cannot be run: {error.strerror or error}"
    if not reason:
        return set(filter(None, os.fsdecode(done.stdout).split("\0")))
    if any((folder / ".git").exists() for folder in (root, *root.resolve().parents)):
        raise UsageError(
            f"{root} is a clone, but git cannot list its files ({reason}). Make git work there, or copy the project without "
            "its folder .git."
        )
    return set()


def _check_names(lessons: dict[str, str]) -> None:
    """Each exercise has one place in the project."""
    places: dict[str, str] = {}
    for path, text in lessons.items():
        for name in markers.solutions(text, path):
            if name in places:
                raise markers.MarkerError(f"SOLUTION {name} is in {places[name]} and in {path}. Each exercise has one place.")
            places[name] = path


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file. The student edition goes to a folder: name one that is new or empty.")
    if target.is_dir() and any(target.iterdir()):
        raise UsageError(f"{target} is not empty, and nothing in it is to be lost. Name a folder that is new or empty.")


def _write_edition(target: Path, contents: dict[str, bytes]) -> None:
    """Write all files into the folder, or none."""

    def write(folder: Path) -> None:
        for path, content in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)

    try:
        write_whole(target.resolve(), write)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror or error}. Make room there or name another folder; "
            "nothing was written."
        ) from error
