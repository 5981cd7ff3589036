"""The doctor tells what is missing and what to do, and its exit code says whether that is serious."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from stand_ins import coco_data

from dl import console as command
from dl import settings, weights
from dl.__main__ import main
from dl.commands import doctor
from dl.commands.doctor import Finding
from dl.data import ENTRIES


@pytest.fixture
def wanted(monkeypatch):
    """Sets the project's requirements and the installed versions."""

    def want(requirements, **versions):
        monkeypatch.setattr(doctor, "requirements", lambda: requirements)
        monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name.replace("-", "_")))

    return want


def told(findings):
    """The findings after the first, which is about Python."""
    return list(findings)[1:]


def test_a_package_in_its_range_is_named_with_its_version(wanted):
    wanted(["torch>=2.6"], torch="2.14.1+cu130")
    assert told(doctor.packages()) == [Finding("torch 2.14.1+cu130")]


def test_a_package_that_is_missing_or_outside_its_range_is_needed(wanted):
    wanted(["seaborn>=0.13", "setuptools<82,>=77.0.3"], setuptools="84.0")
    missing, outside = told(doctor.packages())
    assert missing == Finding("seaborn is missing", 'pip install "seaborn>=0.13"', needed=True)
    assert outside.says.startswith("setuptools 84.0 is outside <82,>=77.0.3: import clip needs its pkg_resources")
    assert outside.remedy == 'pip install "setuptools<82,>=77.0.3"' and outside.needed


def test_packages_for_developers_or_other_systems_are_not_needed(wanted):
    wanted(['pytest>=8; extra == "dev"', 'decord; sys_platform == "no-such-system"'])
    assert told(doctor.packages()) == [
        Finding("pytest is missing (for tests and for building notebooks)", 'pip install "pytest>=8"', needed=False)
    ]


def test_what_the_pdf_needs_is_told_and_not_needed(wanted, monkeypatch):
    wanted(['pypandoc_binary>=1; extra == "pdf"'])
    missing = Finding("pypandoc_binary is missing (for the PDF of the submission)", 'pip install "pypandoc_binary>=1"')
    assert told(doctor.packages()) == [missing]
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    pdf = list(doctor.imports())[-1]
    assert pdf.says == "the PDF of the submission cannot be made, the zip can" and not pdf.needed
    assert pdf.remedy == 'pip install -c constraints.txt -e ".[pdf]"'


def test_the_headless_opencv_serves_too(wanted):
    wanted(["opencv-python>=4.9"], opencv_python_headless="5.0.0")
    assert told(doctor.packages()) == [Finding("opencv-python 5.0.0")]


def test_a_project_that_is_not_installed_is_told_how(wanted):
    wanted(None)
    assert told(doctor.packages())[0].remedy == 'pip install -c constraints.txt -e ".[dev]"'


def test_opencv_without_its_libraries_names_the_headless_build(monkeypatch):
    def no_library(name):
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr("dl.video.reader.has_decord", lambda: False)
    monkeypatch.setattr(doctor.importlib, "import_module", no_library)
    opencv, reader = doctor.video_readers()
    assert opencv.says == "import cv2 fails: libGL.so.1: cannot open shared object file"
    assert "opencv-python-headless" in opencv.remedy and opencv.needed
    assert reader == Finding("videos are read by OpenCV (no decord here)")


def test_both_builds_of_opencv_are_too_many(wanted):
    wanted([], opencv_python="5.0", opencv_python_headless="5.0")
    assert [finding.needed for finding in doctor.video_readers()] == [False, True, False]


def test_another_package_called_clip_is_recognised(monkeypatch):
    monkeypatch.setitem(sys.modules, "clip", ModuleType("clip"))
    finding = doctor.clip_package()
    assert "another package" in finding.says and "clip-anytorch" in finding.remedy and finding.needed
    monkeypatch.setitem(sys.modules, "clip", SimpleNamespace(tokenize=None))
    assert not doctor.clip_package().needed


def test_a_foreign_transformers_is_named(tmp_path, monkeypatch):
    root = settings.project_root()
    here = [path for path in sys.path if Path(path).resolve() == root or not Path(path, "transformers.py").exists()]
    monkeypatch.setattr(sys, "path", here)  # PYTHONPATH may name another copy of the course
    assert len(list(doctor.modules())) == 2
    (tmp_path / "transformers.py").touch()
    monkeypatch.setattr(sys, "path", [*here, str(tmp_path)])
    ours, foreign = list(doctor.modules())[1:]
    assert f"to {root / 'transformers.py'} in the notebooks" in ours.says
    assert str(tmp_path / "transformers.py") in foreign.says and "run that cell first" in foreign.says


@pytest.mark.parametrize(("chosen", "set_to"), [({}, "PASSIVE 5000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None")])
def test_waiting_threads_sleep_unless_the_user_chose_otherwise(chosen, set_to):
    ask = "import dl, os; print(os.environ['OMP_WAIT_POLICY'], os.environ.get('GOMP_SPINCOUNT'))"
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    run = partial(subprocess.run, capture_output=True, text=True, cwd=settings.project_root(), env=environment | chosen)
    assert run([sys.executable, "-c", ask]).stdout.strip() == set_to
    if shutil.which("make"):
        assert ("GOMP_SPINCOUNT" in run(["make", "--dry-run", "--print-data-base", "check"]).stdout) == (not chosen)


def test_how_threads_wait_is_told():
    assert any(f"OMP_WAIT_POLICY={os.environ['OMP_WAIT_POLICY']}" in finding.says for finding in doctor.device())


def test_a_device_that_is_absent_or_unknown_is_serious(monkeypatch):
    monkeypatch.setenv("DL_DEVICE", "abacus")
    assert [finding.remedy for finding in doctor.device() if finding.needed] == ["unset DL_DEVICE"]


def test_only_real_mode_needs_real_data_and_only_sample_mode_the_shipped_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("DL_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "FILES", tmp_path)
    needed = [finding.remedy for finding in doctor.data_and_weights() if finding.needed]
    assert needed == [f"python -m dl train-weights {name}" for name in command.trainable()]
    monkeypatch.setenv("DL_DATA", "real")
    needed = {finding.remedy for finding in doctor.data_and_weights() if finding.needed}
    assert needed == {f"python -m dl data fetch {name}" for name in ENTRIES if name not in ("dino_vits16", "coco_examples")}
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "coco.pt").touch()
    (damaged,) = [finding for finding in doctor.data_and_weights() if finding.says.startswith("real data coco: ")]
    assert "damaged: it is cut or damaged" in damaged.says and damaged.needed
    assert damaged.remedy == "python -m dl data fetch --again coco"
    torch.save(coco_data(), tmp_path / "datasets" / "coco.pt")
    assert not [finding for finding in doctor.data_and_weights() if finding.needed and "coco.pt" in finding.says]
    monkeypatch.setenv("DL_DATA", "rael")
    assert [finding.remedy for finding in doctor.data_and_weights()] == ["unset DL_DATA"]


def test_the_mirror_is_named_and_must_be_an_address(monkeypatch):
    monkeypatch.delenv("DL_MIRROR", raising=False)
    assert "not set" in doctor.mirror().says
    monkeypatch.setenv("DL_MIRROR", "https://course.example/dl/")
    assert doctor.mirror().says == "DL_MIRROR is https://course.example/dl, asked first"
    monkeypatch.setenv("DL_MIRROR", "course.example")
    assert doctor.mirror().needed and doctor.mirror().remedy == "unset DL_MIRROR"


def test_space_is_asked_where_the_real_data_go(monkeypatch, tmp_path):
    monkeypatch.setenv("DL_DATA", "real")
    monkeypatch.setenv("DL_HOME", str(tmp_path / "new" / "disk"))
    free = {settings.project_root(): 2e9, tmp_path: 1e9}
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=free[path]))
    here, there = doctor.disk()
    assert not here.needed and there.needed and "new/disk" in there.says.replace("\\", "/")
    assert there.remedy == "free at least 6.1 GB there"


def test_a_full_disk_is_serious(monkeypatch):
    assert [finding.needed for finding in doctor.disk()] == [False]
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**8))
    assert [finding.says[:11] for finding in doctor.disk() if finding.needed] == ["0.1 GB free"]


def test_exit_code_and_last_line_follow_the_findings(monkeypatch, capsys):
    def examinations(*findings):
        monkeypatch.setattr(doctor, "EXAMINATIONS", (("Things", lambda: iter(findings)),))

    examinations(Finding("a thing"), Finding("a toy is missing", "buy it"))
    assert main(["doctor"]) == 0
    lines = ["Things", "  a thing", "  a toy is missing", "    -> buy it", "Everything needed is here."]
    assert capsys.readouterr().out.splitlines() == lines
    examinations(Finding("water is missing", "pour it", needed=True))
    assert main(["doctor"]) == 2
    assert capsys.readouterr().out.endswith("    -> pour it\n1 needed: pour it\n")


def test_without_torch_it_stops_after_the_packages(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_torch_is_there", lambda: False)
    first = Finding("torch is missing", "pip install torch", needed=True)
    monkeypatch.setattr(doctor, "EXAMINATIONS", (("Packages", lambda: iter([first])), ("Device", doctor.device)))
    assert main(["doctor"]) == 2
    assert "Device" not in capsys.readouterr().out
