"""The first cell of every notebook, and the one way in which a notebook checks and records.

from dl.notebook import setup
session = setup("Transformers")
"""

from __future__ import annotations

import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dl import settings
from dl.console import write_json
from dl.grad import rel_error

LEARNT = (  # beginnings of the claims that a training of a few steps cannot meet
    "the RNN learns",
    "final loss",
    "at 1e-3 the LSTM uses",
    "the attention LSTM uses",
    "rnn: ",
    "lstm: ",
    "attn: ",
    "attention is not worse",
    "attention on the named object",
    "learnt features win",
    "and against colour and place",
    "four rows by heart",
    "it knows the rule",
    "neighbours name the class",
    "batched views give",
    "the probe with SimCLR",
    "SimCLR gains",
)
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


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
    not_asked: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.time)

    @property
    def to_float(self) -> dict:
        return settings.float_kwargs(self.device)

    @property
    def to_double(self) -> dict:
        return settings.double_kwargs(self.device)

    def shortened(self, count: int, few: int) -> int:
        """`count`, or at most `few` with DL_QUICK: of what a cell repeats."""
        return settings.shortened(count, few)

    def check(self, claim: str, passed: bool, detail: str = "") -> None:
        """Assert a claim; on success print `ok: claim (detail)`, on failure raise AssertionError with the same words.

        With DL_QUICK, a claim on what a training has learnt is no failure: it is said that it was not asked.
        """
        text = f"{claim} ({detail})" if detail else claim
        self.checks.pop(claim, None)  # a cell run again counts once, as it is now
        if not passed and settings.quick() and claim.startswith(LEARNT):
            self.not_asked.append(text)
            print(f"not asked in quick mode: {text}")
            return
        if not passed:
            raise AssertionError(f"not so: {text}")
        self.checks[claim] = text
        print(f"ok: {text}")

    def check_error(self, name: str, got: Tensor, expected: Tensor, tolerance: float) -> None:
        """Assert that `rel_error(got, expected)` is below the tolerance."""
        error = rel_error(got, torch.as_tensor(expected))
        self.check(f"{name} agrees", error < tolerance, f"error {error:.1e}, limit {tolerance:.0e}")

    def exercise(self, *names: str) -> None:
        """Check exercises as they are on disk now; print `ok: NAME (N checks)` for each, or raise at the first that fails.

        Raises:
            NotSolved: with a message of at most five lines. `hint()` says more.
        """
        from dl.checks.examiner import require

        for name in names:
            self.checks.pop(name, None)
            for result in require(name, root=self.root):
                self.check(result.exercise, True, f"{len(result.checks)} checks")
                if result.note:
                    print(f"note: {result.note}")

    def record(self, **scores: float) -> None:
        """Keep measured scores; `save_results` writes them to `results/`."""
        self.scores.update({name: float(value) for name, value in scores.items()})

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
            "not_asked": self.not_asked,
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
    from dl.utils import reset_seed

    root = settings.project_root()
    use_project_modules(root)
    if (other := settings.other_copy()) is not None:
        print(
            f"Note: this notebook lies in {other}, but Python takes the course's code from {root}: changes in the first "
            f'are not used. Run "python -m pip install -e ." in {other} and restart the kernel.'
        )
    show_unsolved_briefly()
    set_plot_look()
    device = settings.get_device()
    data = settings.data_mode()
    import torchvision

    versions = {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__}
    reset_seed(seed)
    print(" · ".join(f"{package} {version}" for package, version in versions.items()))
    print({"cuda": "Using CUDA GPU", "mps": "Using Apple Silicon GPU (MPS)", "cpu": "Using CPU"}[device.type])
    if settings.quick():
        print("Quick mode (DL_QUICK): trainings take a few steps, and what they should learn is not asked.")
    if data == settings.SAMPLE:
        print("Data: the embedded sample world (set DL_DATA=real before starting the kernel for the real data)")
    else:
        print(f"Data: the real data sets, kept in {settings.data_home()}")
    return Session(name=name, root=root, device=device, data=data, versions=versions)


def hint(name: str | None = None) -> None:
    """Print the next hint on an exercise (default: the last one that did not pass); again for more."""
    from dl.checks.examiner import hint as next_hint

    next_hint(name)


def show_unsolved_briefly() -> None:
    """In a notebook, an exercise that is missing or not right ends the cell with its message, without a traceback."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    from dl.checks.examiner import NotSolved

    def show(shell, kind, error, traceback, tb_offset=None):
        if kind is NotImplementedError and not str(error).startswith("EXERCISE "):
            return shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)
        lines = str(error).splitlines()
        shell._showtraceback(kind, error, lines)
        return lines

    shell.set_custom_exc((NotSolved, NotImplementedError), show)


def use_project_modules(root: Path) -> None:
    """Put `root` first on `sys.path` and make sure that `transformers` means this project's module."""
    sys.path[:] = [str(root)] + [entry for entry in sys.path if entry != str(root)]
    loaded = sys.modules.get("transformers")
    if loaded is not None and Path(loaded.__file__ or "").resolve() != (root / "transformers.py").resolve():
        raise ImportError(
            f"setup: a package called 'transformers' is already loaded from {loaded.__file__}, and would hide this "
            "course's transformers.py. Restart the kernel and run this cell first."
        )


def set_plot_look() -> None:
    """One look for every figure: seaborn's grid, colours that colour-blind readers can tell apart, sharp pixels."""
    from cycler import cycler
    from matplotlib import pyplot as plt

    style = "seaborn-v0_8"
    if style in plt.style.available:
        plt.style.use(style)
    plt.rcParams.update(
        {
            "figure.figsize": (7.0, 4.0),
            "figure.dpi": 90,
            "font.size": 11,
            "axes.titlesize": 12,
            "image.interpolation": "nearest",
            "image.cmap": "gray",
            "axes.prop_cycle": cycler(color=OKABE_ITO),
        }
    )
