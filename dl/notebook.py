"""The first cell of every notebook, and the one way in which a notebook checks and records.

from dl.notebook import setup
session = setup("Transformers")
"""

from __future__ import annotations

import platform
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from dl import settings
from dl.console import write_json
from dl.grad import rel_error

NOT_SO = "not so: "  # begins the message of a check that does not pass
ANSWERS = "notebooks/answers"  # folder of the model answers; the student edition has none

TOPIC_OF_NOTEBOOK = {  # as `dl.checks` calls them
    "rnn_lstm_captioning": "captioning",
    "Transformers": "transformers",
    "Self_Supervised_Learning": "simclr",
    "CLIP_DINO": "clip_dino",
}


@dataclass
class Prediction:
    """A guess before a result. Made by `Session.predict`; `reveal` shows the result beside it."""

    question: str
    guess: str = ""
    result: str = ""

    def reveal(self, result: object, note: str = "") -> None:
        """Show the result beside the guess, and below it what there is to say about it."""
        self.result = f"{result:.3g}" if isinstance(result, float) else str(result)
        said = [("Your prediction", self.guess), ("Result", self.result), ("Note", note)]
        said = [(title, text) for title, text in said if text]
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(a)}</th><td style='text-align:left'>{escape(b)}</td></tr>"
            for a, b in said
        )
        _display(f"<table>{rows}</table>", "\n".join(f"{a}: {b}" for a, b in said))


@dataclass
class Session:
    """What a notebook knows about its run. Made by `setup`; everything measured goes through it."""

    name: str
    root: Path
    device: torch.device
    data: str
    versions: dict[str, str]
    scores: dict[str, float] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)  # claim -> what was printed, of those that hold now
    missed: dict[str, str] = field(default_factory=dict)  # the same of targets that were not reached, and stopped nothing
    predictions: dict[str, Prediction] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    _said: list[str] = field(default_factory=list)  # checks of the running cell

    @property
    def to_float(self) -> dict:
        return settings.float_kwargs(self.device)

    @property
    def to_double(self) -> dict:
        return settings.double_kwargs(self.device)

    def shortened(self, count: int, few: int) -> int:
        """`count`, or at most `few` with DL_QUICK: of what a cell repeats."""
        return settings.shortened(count, few)

    def checkpoint(self, training: str) -> Path | None:
        """File that keeps a training with real data, which takes hours, from epoch to epoch; None with the sample data."""
        if self.data == settings.SAMPLE:
            return None
        return self.root / "build" / "train" / f"{self.name}-{training}{'-quick' if settings.quick() else ''}.pt"

    def check(self, claim: str, passed: bool, detail: str = "") -> None:
        """Assert a claim; on success say `ok: claim (detail)`, on failure raise AssertionError with the same words.

        The checks of one cell are summed up below its outputs: one line, the details behind it.
        """
        text = f"{claim} ({detail})" if detail else claim
        self.checks.pop(claim, None)  # a cell run again counts once, as it is now
        self.missed.pop(claim, None)
        if not passed:
            raise AssertionError(f"{NOT_SO}{text}")
        self.checks[claim] = text
        self._said.append(f"ok: {text}")
        if _shell() is None:
            self.sum_up()

    def target(self, claim: str, passed: bool, detail: str = "") -> None:
        """A check of what a training should reach: with real data or DL_QUICK, a miss is reported and stops nothing."""
        if passed or (self.data == settings.SAMPLE and not settings.quick()):
            return self.check(claim, passed, detail)
        self.checks.pop(claim, None)
        self.missed[claim] = f"{claim} ({detail})" if detail else claim
        print(f"target missed: {self.missed[claim]}")

    def check_error(self, name: str, got: Tensor, expected: Tensor, tolerance: float) -> None:
        """Assert that `rel_error(got, expected)` is below the tolerance."""
        error = rel_error(got, torch.as_tensor(expected))
        self.check(f"{name} agrees", error < tolerance, f"error {error:.1e}, limit {tolerance:.0e}")

    def exercise(self, *names: str) -> None:
        """Check exercises as they are on disk now; say `ok: NAME (N checks)` for each, or raise at the first that fails.

        Raises:
            NotSolved: with a message of at most five lines. `hint()` says more.
        """
        from dl.sandbox.verdicts import require

        for name in names:
            self.checks.pop(name, None)
            for result in require(name, root=self.root):
                self.check(result.exercise, True, f"{len(result.checks)} checks")
                if result.note:
                    print(f"note: {result.note}")

    def record(self, **scores: float) -> None:
        """Keep measured scores; `save_results` writes them to `results/`."""
        self.scores.update({name: float(value) for name, value in scores.items()})

    def predict(self, question: str, answers: Sequence[str] | None = None, guess: str | float | None = None) -> Prediction:
        """Ask for a guess before a result is seen; never waits for one.

        Args:
            answers: what to choose from; None asks for a number or a few words.
            guess: given in the cell, where no widget can be shown.
        Returns:
            the prediction; its `reveal` shows the result beside the guess. Both go into `results/`.
        """
        made = self.predictions[question] = Prediction(question, "" if guess is None else str(guess))
        if guess is None and _shell() is not None and not settings.unattended():
            _ask(made, answers)
        else:
            options = " / ".join(answers or ("a number",))
            html = f"<p><b>Predict:</b> {escape(question)}<br><i>{escape(options)}</i></p>"
            _display(html, f"Predict: {question}\n  {options}")
        return made

    def answer(self, name: str) -> None:
        """Show the model answer to a question of this notebook, "Q1" or the title of a "To think about".

        A practice copy has none of its own: it reads those of the installation that made it.
        """
        places = (root / ANSWERS / f"{self.name}.md" for root in (self.root, settings.project_root()))
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            print("This copy of the course has no model answers; your instructor has them.")
            return
        parts = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.M)[1:]
        known = {title.strip(): text.strip() for title, _, text in (part.partition("\n") for part in parts)}
        if name not in known:
            raise ValueError(f"answer: no question called {name!r} in this notebook. There are: {', '.join(known)}.")
        self.say(known[name])

    def say(self, markdown: str) -> None:
        """Show a text with numbers of this run in it."""
        _display(None, markdown, markdown)

    def exercises(self):
        """Table of this notebook's exercises: what to fill in, how hard, how long."""
        from dl.checks import course
        from dl.commands import overview
        from dl.figures.tables import Table

        return Table(overview.table(overview.rows(course.exercises(TOPIC_OF_NOTEBOOK[self.name]))))

    def status(self):
        """Table of this notebook's exercises with their verdicts; above it, how far you are in each topic, and what is next.

        Checks all exercises that are no longer stubs, so it may take half a minute.
        """
        from dl.checks import course
        from dl.checks.examiner import Examiner
        from dl.commands import overview
        from dl.figures.tables import Table
        from dl.sandbox.processes import shared

        rows = list(overview.verdicts(Examiner(self.root, run=shared().ask), course.find(())))
        print("\n".join(overview.topic_lines(rows)), overview.closing(rows), sep="\n")
        return Table(overview.table([row for row in rows if row.exercise.topic == TOPIC_OF_NOTEBOOK[self.name]]))

    def sum_up(self, *_: object) -> None:
        """Say which checks the cell passed: one as a line, more behind a summary. Runs after each cell."""
        said, self._said = self._said, []
        if len(said) < 2:
            print(*said, sep="\n", end="\n" if said else "")
            return
        items = "".join(f"<li>{escape(line.removeprefix('ok: '))}</li>" for line in said)
        html = f"<details><summary>&#10003; {len(said)} checks passed</summary><ul>{items}</ul></details>"
        _display(html, "\n".join(said))

    def save_results(self) -> None:
        """Write scores and checks with data, device, versions and seconds to `results/<name>.json`; prints the path."""
        from dl.submit.files import code_of

        path = self.root / "results" / f"{self.name}.json"
        report = {
            "notebook": self.name,
            "data": self.data,
            "device": str(self.device),
            "versions": self.versions,
            "seconds": round(time.time() - self.started, 1),
            "scores": self.scores,
            "checks": list(self.checks.values()),
            "missed": list(self.missed.values()),
            "predictions": [{"question": p.question, "guess": p.guess, "result": p.result} for p in self.predictions.values()],
            "code": code_of(self.name, self.root),
        }
        write_json(path, report)
        print(f"Saved to: {path.relative_to(self.root).as_posix()}")


def setup(name: str, seed: int = 0) -> Session:
    """Prepare a notebook: project root first on the path, plot look, seed; prints what it runs on.

    Args:
        name: the notebook's file name without its ending; results are saved under it.
        seed: passed to `dl.utils.reset_seed`.
    Raises:
        ImportError: if another package called `transformers` is already loaded in this kernel.
    """
    from dl.figures.look import use_look
    from dl.utils import reset_seed

    root = settings.work_root()
    use_project_modules(root)
    if root != settings.project_root():
        settings.use_lessons(root)
    elif (other := settings.other_copy()) is not None:
        print(
            f"Note: this notebook lies in {other}, but Python takes the course's code from {root}: changes in the first "
            f'are not used. Run "python -m pip install -e ." in {other} and restart the kernel.'
        )
    show_unsolved_briefly()
    use_look()
    device = settings.get_device()
    data = settings.data_mode()
    versions = {"python": platform.python_version(), "torch": torch.__version__, "torchvision": version("torchvision")}
    reset_seed(seed)
    print(" · ".join(f"{package} {version}" for package, version in versions.items()))
    print({"cuda": "Using CUDA GPU", "mps": "Using Apple Silicon GPU (MPS)", "cpu": "Using CPU"}[device.type])
    if settings.quick():
        print("Quick mode (DL_QUICK): trainings take a few steps, and targets that they miss stop nothing.")
    if data == settings.SAMPLE:
        print("Data: the embedded sample world (set DL_DATA=real before starting the kernel for the real data)")
    else:
        print(f"Data: the real data sets, kept in {settings.data_home()}")
    session = Session(name=name, root=root, device=device, data=data, versions=versions)
    if (shell := _shell()) is not None:
        shell.events.register("post_run_cell", session.sum_up)
    return session


def hint(name: str | None = None) -> None:
    """Print the next hint on an exercise (default: the last one that did not pass); again for more."""
    from dl.sandbox.verdicts import hint as next_hint

    next_hint(name)


def show_unsolved_briefly() -> None:
    """In a notebook, an exercise or a check that does not pass ends the cell with its message, without a traceback."""
    shell = _shell()
    if shell is None:
        return
    from dl.sandbox.verdicts import NotSolved

    def show(shell, kind, error, traceback, tb_offset=None):
        if kind is not NotSolved and not str(error).startswith(("EXERCISE ", NOT_SO)):
            return shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)
        lines = str(error).splitlines()
        shell._showtraceback(kind, error, lines)
        return lines

    shell.set_custom_exc((NotSolved, NotImplementedError, AssertionError), show)


def use_project_modules(root: Path) -> None:
    """Put `root` first on `sys.path` and make sure that `transformers` means this project's module."""
    sys.path[:] = [str(root)] + [entry for entry in sys.path if entry != str(root)]
    loaded = sys.modules.get("transformers")
    if loaded is not None and Path(loaded.__file__ or "").resolve() != (root / "transformers.py").resolve():
        raise ImportError(
            f"setup: a package called 'transformers' is already loaded from {loaded.__file__}, and would hide this "
            "course's transformers.py. Restart the kernel and run this cell first."
        )


def _shell():
    """IPython's shell, None outside of it."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def _display(html: str | None, text: str, markdown: str | None = None) -> None:
    """Show HTML or Markdown in a notebook, the text elsewhere."""
    if _shell() is None:
        print(text)
        return
    from IPython.display import display

    forms = {"text/plain": text, "text/html": html, "text/markdown": markdown}
    display({kind: form for kind, form in forms.items() if form is not None}, raw=True)


def _ask(prediction: Prediction, answers: Sequence[str] | None) -> None:
    """A widget that keeps the reader's choice in `prediction.guess`."""
    import ipywidgets
    from IPython.display import display

    label = ipywidgets.HTML(f"<b>Predict:</b> {escape(prediction.question)}")
    box = ipywidgets.RadioButtons(options=list(answers), value=None) if answers else ipywidgets.Text(placeholder="your guess")
    box.observe(lambda change: setattr(prediction, "guess", str(change["new"])), names="value")
    display(ipywidgets.VBox([label, box]))
