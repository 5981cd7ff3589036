"""kill -9 at random moments, a disk that is full, a folder that takes nothing: what has its final name is whole.

Fetching and unpacking are killed in test_fetch.py. `KILLS=200 python -m pytest tests/test_kills.py tests/test_fetch.py
-k kill` kills each kind two hundred times.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
import submit_tree
import torch
from nbformat.v4 import new_code_cell, new_notebook
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import a2_helper
from dl import settings, submit
from dl.__main__ import main
from dl.commands import run
from dl.console import SUCCESS, WRONG_USE, NotWritten, UsageError, write_json, write_whole
from dl.data import arithmetic
from dl.simclr.batch_augment import BatchAugmentation
from dl.simclr.pretrain import Recipe, pretrain
from dl.submit import examine
from dl.world import export
from tests.no_network.sitecustomize import python_path
from transformers import CrossEntropyLoss, Transformer, position_encoding_simple

try:
    import resource
except ImportError:  # Windows
    resource = None

KILLS = int(os.environ.get("KILLS", 8))  # of each kind
ROOT = Path(__file__).resolve().parent.parent
forked = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")


def killed(work, longest: float, moments: random.Random) -> bool:
    """Let a forked process do some work and kill it after a random time up to `longest` seconds; whether it was killed."""
    process = multiprocessing.get_context("fork").Process(target=work, daemon=True)
    process.start()
    process.join(moments.uniform(0.0, longest))
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def timed(work) -> float:
    """Seconds that a forked process needs for it, and half as many again."""
    started = time.monotonic()
    process = multiprocessing.get_context("fork").Process(target=work, daemon=True)
    process.start()
    process.join(300)
    process.kill()  # does nothing to one that has ended
    process.join()
    assert process.exitcode == 0
    return 1.5 * (time.monotonic() - started)


def named(folder: Path) -> dict[str, bytes]:
    """Files below a folder that have their final names."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    files = [file for file in files if not any(part.endswith((".part", ".lock")) for part in file.parts)]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


# --- The sample world ---


SMALL = {
    "coco.pt": lambda path: export.write_coco_pt(path, {"train": 2, "val": 2}),
    "cifar-10-batches-py": lambda path: export.write_cifar(path, batch=2, test=2),
    "coco_captioning": lambda path: export.write_coco_captioning(path, {"train": 2, "val": 2}),
    "DAVIS": lambda path: export.write_davis(path, easy={"garden": 2}, hard={}),
}


@forked
@pytest.mark.parametrize("name, files", [("cifar-10-batches-py", 7), ("DAVIS", 6)])
def test_a_killed_making_of_the_sample_world_leaves_whole_data_or_none(name, files, tmp_path, monkeypatch):
    def build() -> None:
        export.sample_path(name)

    monkeypatch.setattr(export, "COCO_COUNTS", {"train": 20})
    monkeypatch.setitem(export.WRITERS, name, SMALL[name])
    monkeypatch.setattr(settings, "sample_home", lambda: tmp_path / "whole")
    longest, moments = timed(build), random.Random(1)
    whole = named(tmp_path / "whole")
    monkeypatch.setattr(settings, "sample_home", lambda: tmp_path / "killed")
    for _ in range(KILLS):
        killed(build, longest, moments)
        assert named(tmp_path / "killed") in ({}, whole)
    build()
    assert named(tmp_path / "killed") == whole and len(whole) == files


# --- A training with checkpoints ---


class TinyCaptioner(nn.Module):
    """As much of a captioner as a training needs; it draws random numbers, as dropout does."""

    word_to_idx = {"<NULL>": 0, "cat": 1}

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(12, 3)

    def forward(self, images, captions):
        scores = self.linear(images.flatten(1).float() + torch.rand(len(images), 12))
        return nn.functional.cross_entropy(scores, captions[:, 0])


def train(checkpoint: Path, num_epochs: int = 12):
    """Always the same training; it goes on from the checkpoint if there is one."""
    numbers = torch.Generator().manual_seed(2)
    images, captions = torch.rand(32, 3, 2, 2, generator=numbers), torch.randint(2, (32, 3), generator=numbers)
    torch.manual_seed(1)
    shuffle = torch.Generator().manual_seed(0)
    return a2_helper.train_captioner(
        TinyCaptioner(), images, captions, num_epochs, 8, 1e-2, shuffle=shuffle, checkpoint=checkpoint, plot=False
    )


def captioner(checkpoint: Path) -> dict:
    model, history = train(checkpoint)
    return {**model.state_dict(), "losses": torch.tensor(history)}


def transformer(checkpoint: Path) -> dict:
    rows = a2_helper.expression_dataset([(n, "add", 2 * n) for n in range(8)], 8, position_encoding_simple)
    torch.manual_seed(1)
    loader, history = DataLoader(rows, 4, shuffle=True, generator=torch.Generator().manual_seed(0)), []
    model = Transformer(1, 8, 16, 0.1, 1, 1, len(arithmetic.VOCABULARY))
    a2_helper.train(model, loader, loader, CrossEntropyLoss, 8, history=history, checkpoint=checkpoint)
    return {**model.state_dict(), "losses": torch.tensor([entry["train_loss"] for entry in history])}


def simclr(checkpoint: Path) -> dict:
    images = torch.randint(256, (8, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    recipe = Recipe(epochs=3, batch=4, feature_dim=4)
    data = TensorDataset(images, torch.zeros(8))
    return pretrain(data, recipe, checkpoint, torch.device("cpu"), BatchAugmentation(size=8)).state_dict()


@forked
@pytest.mark.parametrize("training", [captioner, transformer, simclr])
def test_a_killed_training_goes_on_to_the_same_weights(training, tmp_path, capsys):
    whole = training(tmp_path / "whole.pt")  # first: it imports what each forked process would import anew
    longest, moments = timed(lambda: training(tmp_path / "timed.pt")) / 1.5, random.Random(2)
    for kill in range(KILLS):
        stopped = killed(lambda: training(tmp_path / "killed.pt"), longest, moments)
        if not stopped or kill % 4 == 3 or kill == KILLS - 1:  # else killed again, from where the last one came to
            again = training(tmp_path / "killed.pt")
            assert again.keys() == whole.keys() and all(torch.equal(again[name], whole[name]) for name in whole)
            (tmp_path / "killed.pt").unlink()


# --- Commands ---


@forked
def test_a_killed_run_leaves_the_old_notebook_or_the_new_one_and_no_kernel(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(settings, "project_root", lambda: tmp_path)
    monkeypatch.setenv("PYTHONPATH", python_path(ROOT))
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "kernels"
    cells = [f"import os; print(os.getpid(), file=open({str(log)!r}, 'a'))", "print('ok: it runs')"]
    nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells]), tmp_path / "notebooks" / "short.ipynb")

    def execute() -> None:
        assert run.run(["short"], device="cpu") == SUCCESS

    longest, moments = timed(execute), random.Random(3)
    result = tmp_path / "build" / "notebooks" / "short.ipynb"
    whole = result.read_bytes()
    for _ in range(KILLS if "KILLS" in os.environ else 2):  # seconds each
        result.unlink(missing_ok=True)
        killed(execute, longest, moments)
        assert not result.exists() or result.read_bytes() == whole
    execute()
    assert result.read_bytes() == whole
    for pid in log.read_text().split():
        assert ends(int(pid)), f"kernel {pid} has outlived its command"


def ends(pid: int) -> bool:
    """Whether a process ends, given a while: a kernel looks for its parent once a second."""
    for _ in range(300):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").is_file() and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


@forked
def test_a_killed_submission_leaves_the_old_files_or_the_new_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(examine, "required_cells", submit_tree.required_of)
    project = submit_tree.golden(tmp_path / "project")

    def hand_in() -> None:
        assert submit.submit(project, pdf=False) == SUCCESS

    longest, moments = timed(hand_in), random.Random(4)
    target = project / submit.ZIP_NAME
    whole = target.read_bytes()
    for kill in range(KILLS):
        before = b"the old one" if kill % 2 else whole
        target.write_bytes(before)
        killed(hand_in, longest, moments)
        assert target.read_bytes() in (before, whole)
    hand_in()
    assert target.read_bytes() == whole


# --- A disk that is full, a folder that takes nothing ---


@contextmanager
def at_most(limit: int):
    """Within it, a file that grows beyond `limit` bytes fails as on a full disk, with EFBIG in the place of ENOSPC."""
    old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


limited = pytest.mark.skipif(resource is None, reason="needs limits of resources")


@limited
@pytest.mark.parametrize("limit", [0, 100, 1000])
def test_a_submission_that_does_not_fit_on_the_disk_is_told_and_the_old_one_stays(limit, tmp_path, monkeypatch):
    monkeypatch.setattr(examine, "required_cells", submit_tree.required_of)
    project = submit_tree.golden(tmp_path / "project")
    (project / submit.ZIP_NAME).write_bytes(b"the old one")
    with at_most(limit), pytest.raises(UsageError, match="cannot be written: File too large. Make room there"):
        submit.submit(project, pdf=False)
    assert (project / submit.ZIP_NAME).read_bytes() == b"the old one"
    assert not list(project.glob("*.part"))


@limited
def test_a_checkpoint_that_does_not_fit_is_told_and_the_old_one_stays(tmp_path):
    file = tmp_path / "checkpoint.pt"
    train(file, num_epochs=1)
    old = file.read_bytes()
    with at_most(500), pytest.raises(NotWritten, match="checkpoint.pt cannot be written: the disk is full, or takes no more"):
        train(file, num_epochs=2)
    assert file.read_bytes() == old and os.listdir(tmp_path) == [file.name]


@limited
@pytest.mark.parametrize("name", SMALL)
def test_a_sample_world_that_does_not_fit_is_told_and_leaves_nothing(name, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "COCO_COUNTS", {"train": 20})
    monkeypatch.setitem(export.WRITERS, name, SMALL[name])
    monkeypatch.setattr(settings, "sample_home", lambda: tmp_path)
    with at_most(1000), pytest.raises(OSError, match=f"{name} cannot be written"):
        export.sample_path(name)
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and not file.name.endswith(".lock")]


@limited
def test_results_that_do_not_fit_are_told_by_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "verdicts.json").write_text("the old ones")
    with at_most(20):
        status = main(["check", "sim", "--root", str(ROOT), "--json", "verdicts.json"])
    assert status == WRONG_USE
    assert "dl check: verdicts.json cannot be written: File too large. Make room there" in capsys.readouterr().err
    assert not (tmp_path / "verdicts.json").exists()  # old verdicts never stand for new ones


def test_a_folder_that_takes_nothing_is_named_with_what_to_do(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "results"))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)  # as in a read-only folder; root may write everywhere
    with pytest.raises(NotWritten, match="r.json cannot be written: Permission denied. Make room there, or choose a folder"):
        write_json(tmp_path / "results" / "r.json", {})
    monkeypatch.undo()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotWritten, match="cannot be written: (Not a directory|File exists)"):
        write_json(tmp_path / "file" / "r.json", {})


def test_a_source_that_cannot_be_read_is_not_called_a_target(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "new", lambda new: new.write_bytes((tmp_path.parent / "none").read_bytes()))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_and_folders_get_the_rights_that_the_user_wants(umask, tmp_path):
    old = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", {})
        write_whole(tmp_path / "folder", lambda new: new.mkdir())
    finally:
        os.umask(old)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~umask
