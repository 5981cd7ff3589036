"""What is handed in: `WANTED` is the one list; `collect` reads it once, so that what is examined is what is sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from dl.console import UsageError

NOTEBOOKS = {  # in the order of the course, each with the code that its outputs come from
    "rnn_lstm_captioning": ("rnn_lstm_captioning.py", "a2_helper.py"),
    "Transformers": ("transformers.py", "a2_helper.py"),
    "Self_Supervised_Learning": ("dl/simclr/",),
    "CLIP_DINO": ("dl/clip_dino.py", "dl/models/vit.py"),
}
PACKAGE = "dl/"
CODE_ENDINGS = (".py", ".json", ".md", ".txt")  # what of dl/ is handed in …
SHIPPED = (  # what comes with the course: weights, recorded answers, tables and pages
    "*.safetensors",
    "*/checks/recorded",
    "dl/checks/mistakes/*.toml",
    "dl/grading/*.toml",
    "dl/grading/*.html",
)
NOT_CODE = ("__pycache__", "datasets", "venv", "env", "node_modules", "site-packages")  # … and its folders that are not


@dataclass(frozen=True)
class Wanted:
    """A file that is handed in, and what makes it when it is missing."""

    path: str
    maker: str


_COURSE = "comes with the course: copy it again from there"
_RUN = '"python -m dl run {0}", or running notebooks/{0}.ipynb to its end, makes it'
WANTED = (
    *(Wanted(f"notebooks/{name}.ipynb", f'{_COURSE}; "python -m dl build {name}" makes it') for name in NOTEBOOKS),
    Wanted(PACKAGE, _COURSE),
    *(Wanted(path, _COURSE) for path in ("a2_helper.py", "rnn_lstm_captioning.py", "transformers.py")),
    Wanted("datasets/two_digit_op.json", f'{_COURSE}; "python -m dl.data.arithmetic" makes it'),
    # the Transformer's is the one weight file: SimCLR's 98 MB stay at home, its scores are in results/
    Wanted("artifacts/transformer.pt", _RUN.format("Transformers")),
    Wanted("submissions/rnn_lstm_attention_submission.pt", _RUN.format("rnn_lstm_captioning")),
    Wanted("dino_res.mp4", _RUN.format("CLIP_DINO")),
    *(Wanted(f"results/{name}.json", _RUN.format(name)) for name in NOTEBOOKS),
)
MODULES = tuple(wanted.path for wanted in WANTED if wanted.path.endswith(".py"))


@dataclass
class Snapshot:
    """The wanted files of one project as they were at one moment."""

    contents: dict[str, bytes] = field(default_factory=dict)  # by path in the zip, in its order
    missing: dict[str, str] = field(default_factory=dict)  # path: what makes it
    left_out: list[str] = field(default_factory=list)  # files of dl/ that are not code

    @property
    def notebooks(self) -> dict[str, bytes]:
        """Contents of the notebooks that are there, by name, in the order of the course."""
        return {name: self.contents[path] for name in NOTEBOOKS if (path := f"notebooks/{name}.ipynb") in self.contents}


def find_project(start: Path) -> Path:
    """The nearest folder, from `start` upward, that holds one of the course's modules.

    "./" outside every project means the project that this package belongs to, as it does in a notebook's set-up cell.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        if any((folder / module).is_file() for module in MODULES):
            return folder
    if start == Path.cwd():
        from dl import settings

        return settings.project_root()
    raise UsageError(
        f"{start} is no folder of the course, nor in one: it has none of {', '.join(MODULES)}. "
        "Give the project's folder, for example --root path/to/project."
    )


def collect(project: Path, notebooks: Path) -> Snapshot:
    """Read every wanted file, the notebooks from the folder `notebooks`. Links are not followed."""
    snapshot = Snapshot()
    for wanted in WANTED:
        if wanted.path == PACKAGE:
            found = _package_files(project, snapshot.left_out)
        elif wanted.path.startswith("notebooks/"):
            found = {wanted.path: notebooks / Path(wanted.path).name}
        else:
            found = {wanted.path: project / wanted.path}
        for name, path in found.items():
            if path.is_symlink():
                snapshot.missing[name] = "is a link, and links are not handed in: put the file itself there"
            elif path.is_file():
                snapshot.contents[name] = path.read_bytes()
            else:
                snapshot.missing[name] = wanted.maker
    return snapshot


def code_of(notebook: str, project: Path) -> dict[str, str]:
    """Digests of the code that a notebook's outputs come from, as it is now, by path; empty for a foreign notebook."""
    places = [project / place for place in NOTEBOOKS.get(notebook, ())]
    files = [file for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    return {file.relative_to(project).as_posix(): code_digest(file.read_bytes()) for file in files if file.is_file()}


def code_digest(content: bytes) -> str:
    """A digest of a text file that does not change with its line ends, which git may change."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()[:16]


def _package_files(project: Path, left_out: list[str]) -> dict[str, Path]:
    """Code and texts of dl/, folder by folder in the order of their names; `left_out` gets what else lies there."""
    found = {}
    folders = [project / PACKAGE]
    for folder in folders:
        for path in sorted(folder.iterdir() if folder.is_dir() else []):
            name = path.relative_to(project).as_posix()
            if path.name.startswith(".") or path.name == "__pycache__" or any(map(path.match, SHIPPED)):
                continue
            if path.is_symlink() or path.name in NOT_CODE or path.is_file() and path.suffix not in CODE_ENDINGS:
                left_out.append(name)
            elif path.is_dir():
                folders.append(path)
            else:
                found[name] = path
    return found or {PACKAGE: project / PACKAGE / "__init__.py"}
