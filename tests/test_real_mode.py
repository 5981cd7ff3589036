"""All notebooks with DL_DATA=real, from an empty folder to the last cell, on stand-ins in the formats of the real data.

A server on this machine gives every entry of the registry: the sample world's data, packed as the real ones are, and
weights with the names that their networks have. Every line of code is the real one: fetching, verification, readers, the
real branches of the notebooks; what is fetched needs no network afterwards. DL_QUICK shortens data and trainings; the large
networks are tiny ones, of which the kernels learn by a start-up file of IPython. Targets that they miss stop nothing.
The captions are as many as COCO's, so that the ten photographs of the CLIP notebook are named, fetched and judged.
The processes that share a run of the tests share what was fetched. Measured by `time`, a notebook alone takes 54 to 65 CPU
seconds, with one thread; 18 of them go to the stand-ins and their fetching.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import stand_ins
import torch
from fault_server import Server, serving
from filelock import FileLock

from dl.commands.data import fetch_entries, verify_entries
from dl.console import SUCCESS
from dl.data import ENTRIES, download, examples
from dl.data.davis import in_course_order
from dl.notebook_files import SOURCE_ENDING, find_sources, read_notebook, read_source, write_notebook
from dl.training import networks
from dl.world.export import EASY_VIDEOS, HARD_VIDEOS, sample_path, write_cifar, write_coco_captioning, write_davis
from tests import student_tree

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("dl", "benchmarks", "a2_helper.py", "rnn_lstm_captioning.py", "transformers.py", "student.txt")
NOTEBOOKS = ("rnn_lstm_captioning", "Transformers", "Self_Supervised_Learning", "CLIP_DINO")
ROWS = {"train": 52, "val": 16}  # captioned images: the notebook overfits 50 and shows the first twelve
VAL_CAPTIONS = 195_954  # of COCO; ten of them, the first at 6,931, are those of the photographs
IMAGES = {"batch": 60, "test": 200}  # in each of CIFAR-10's six files
FRAMES = 42  # of the eighth video; the notebook learns from frame 40
JUDGED = {"CLIP_DINO": ('"sports" finds its two', '"black and white" finds its two', " of 10)")}  # only photographs are
START_UP = """
from pytest import MonkeyPatch
from tests import stand_ins
from dl.data import ENTRIES
stand_ins.shrink_networks(MonkeyPatch())
stand_ins.publish_cifar(MonkeyPatch(), ENTRIES["cifar10"].location)
stand_ins.stand_in(MonkeyPatch(), "clip", ENTRIES["clip"].location.read_bytes())
"""


def coco_rows() -> dict:
    whole = torch.load(sample_path("coco.pt"), weights_only=True)
    names = {f"{split}_{kind}": rows for split, rows in ROWS.items() for kind in ("images", "captions")}
    return {**{name: whole[name][:rows].clone() for name, rows in names.items()}, "vocab": whole["vocab"]}


def write_data(name: str, place: Path, server: Server) -> None:
    """The folder of an entry, as its archive has it."""
    if name == "cifar10":
        write_cifar(place, **IMAGES)
    elif name == "coco_captioning":
        write_coco_captioning(place, {"train": 2, "val": 10})
        name_photographs(place, server)
    else:
        eighth = in_course_order([*EASY_VIDEOS, *HARD_VIDEOS])[:8]
        write_davis(place, easy={video: FRAMES if video == eighth[7] else 1 for video in eighth}, hard={})


def name_photographs(place: Path, server: Server) -> None:
    """As many captions as COCO has; those of the ten photographs name ten addresses at the server, which gives the images."""
    chosen = [index for index, _ in examples._published()]
    with h5py.File(place / "coco2014_captions.h5", "a") as file:
        captions, images = np.tile(file["val_captions"][0], (VAL_CAPTIONS, 1)), np.zeros(VAL_CAPTIONS, np.int32)
        captions[chosen], images[chosen] = file["val_captions"][()], range(10)
        for name, values in (("val_captions", captions), ("val_image_idxs", images)):
            del file[name]
            file[name] = values
    urls = place / "val2014_urls.txt"
    addresses = [server.give(f"/{path}", (place / path).read_bytes()) for path in urls.read_text().split()]
    urls.write_text("".join(f"{address}\n" for address in addresses))


def download_of(name: str, folder: Path, server: Server) -> bytes:
    """What the entry's address gives: long enough for the notebooks, weights as networks begin with."""
    if name in stand_ins.ARCHIVES:
        place = folder / ENTRIES[name].path
        write_data(name, place, server)
        return stand_ins.packed(place, "tar" if name == "cifar10" else "zip")
    if name == "clip":
        return stand_ins.download_of(name, folder)
    file = io.BytesIO()
    torch.save(coco_rows() if name == "coco" else networks.state_of(name), file)
    return file.getvalue()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """DL_HOME after `data fetch --all` from an empty folder, once for all processes that share a run of the tests."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "real"
    with FileLock(f"{folder}.lock"):
        if not (folder / "fetched").exists():
            fetch_all(folder)
            (folder / "fetched").touch()
    return folder / "home"


def fetch_all(folder: Path) -> None:
    """Stand-ins of all entries, served, fetched and verified; what is printed is not looked at."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch, serving() as server:
        stand_ins.shrink_networks(patch)
        for variable, value in {"DL_HOME": folder / "home", "TORCH_HOME": folder / "torch", "HOME": folder / "user"}.items():
            patch.setenv(variable, str(value))
        patch.setattr(download, "PAUSE", 0.0)
        patch.setenv("NO_PROXY", "127.0.0.1")
        torch.manual_seed(0)
        for name in stand_ins.READERS:
            body = download_of(name, folder, server)
            stand_ins.stand_in(patch, name, body, server.give(f"/{name}", body))
        stand_ins.publish_cifar(patch, folder / ENTRIES["cifar10"].path)
        assert fetch_entries([], everything=True) == SUCCESS
        assert verify_entries([]) == SUCCESS


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, in which results are written; its notebooks are those of the sources."""
    folder = tmp_path_factory.mktemp("project")
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    for source in find_sources([]):
        write_notebook(read_source(source), folder / "notebooks" / f"{source.name.removesuffix(SOURCE_ENDING)}.ipynb")
    (folder / "datasets").mkdir()
    shutil.copy(ROOT / "datasets" / "two_digit_op.json", folder / "datasets")
    sample_path("DAVIS")
    (folder / "datasets" / "sample").symlink_to(ROOT / "datasets" / "sample")
    return folder


def run_notebook(name: str, project: Path, home: Path) -> dict:
    """Its row of the report."""
    start_up = project / "ipython" / "profile_default" / "startup" / "stand_ins.py"
    start_up.parent.mkdir(parents=True, exist_ok=True)
    start_up.write_text(START_UP)
    environment = {"DL_HOME": str(home), "DL_OFFLINE": "1", "DL_QUICK": "1", "IPYTHONDIR": str(project / "ipython")}
    arguments = ("dl", "run", name, "--data", "real", "--device", "cpu", "--json", "report.json")
    done = student_tree.run(*arguments, cwd=project, PYTHONPATH=str(ROOT), **environment)
    (outcome,) = json.loads((project / "report.json").read_text(encoding="utf-8"))["notebooks"]
    assert outcome["problem"] == "" and done.returncode == SUCCESS, outcome["problem"] + done.stderr[-2000:]
    return outcome


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_to_its_end(name, project, home):
    outcome = run_notebook(name, project, home)
    results = json.loads((project / "results" / f"{name}.json").read_text(encoding="utf-8"))
    assert results["data"] == "real" and results["checks"] and outcome["checks"]
    judged = "\n".join([*results["checks"], *results["missed"]])
    assert all(words in judged for words in JUDGED.get(name, ())), judged
    executed = read_notebook(project / "build" / "notebooks" / f"{name}.ipynb")
    streams = [output for cell in executed.cells for output in cell.get("outputs", ()) if output.output_type == "stream"]
    stderr = "".join(output.text for output in streams if output.name == "stderr")
    assert "Traceback" not in stderr and "can only test a child process" not in stderr, stderr
