"""Hosted notebooks and containers: the first cell in an empty runtime, and the files of each platform."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dl.notebook_files import COURSE_ORDER, FETCH_CELL, colab_badges

ROOT = Path(__file__).resolve().parent.parent
PIP = "import sys; print('pip', *sys.argv[1:], flush=True)"  # in the place of pip, which would install


@pytest.fixture
def published(tmp_path):
    """A repository of the course in small; returns the environment of an empty runtime."""
    project = tmp_path / "published"
    for file, text in (("dl/__init__.py", "course = 1"), ("notebooks/a.ipynb", "{}"), ("pyproject.toml", "")):
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_text(text)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *arguments], cwd=project, check=True)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "pip.py").write_text(PIP)
    return {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "DL_REPOSITORY": project.as_uri()}


def run_cell(folder: Path, environment: dict[str, str]) -> str:
    """Run the cell, and then ask where the runtime is; with the Python below this environment, which has no `dl`."""
    code = f"{FETCH_CELL}\nimport dl\nprint(os.getcwd(), dl.__file__)"
    python = [getattr(sys, "_base_executable", sys.executable), "-c", code]
    return subprocess.run(python, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("git") is None or sys.prefix == sys.base_prefix, reason="needs git and an environment")
def test_the_first_cell_fetches_the_course_into_an_empty_runtime_and_does_nothing_at_home(tmp_path, published):
    empty = tmp_path / "content"
    empty.mkdir()
    said = run_cell(empty, published).splitlines()
    there = (empty / "assignment").resolve()
    assert said == ["pip install --quiet -e ..", f"{there / 'notebooks'} {there / 'dl' / '__init__.py'}"]
    home = there / "notebooks"
    at_home = {**published, "PYTHONPATH": os.pathsep.join([published["PYTHONPATH"], str(there)])}
    assert run_cell(home, at_home).splitlines() == [f"{home} {there / 'dl' / '__init__.py'}"]
    assert not (home / "assignment").exists()


def test_there_is_a_badge_for_each_notebook():
    lines = colab_badges().splitlines()
    assert [re.search(r"/blob/main/notebooks/(\w+)\.ipynb\) ", line)[1] for line in lines] == list(COURSE_ORDER)
    assert all((ROOT / "notebooks" / f"{name}.nb.py").is_file() for name in COURSE_ORDER)


def test_containers_install_what_pyproject_says():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert container["postCreateCommand"].endswith("make setup")
    assert "\nsetup:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    binder = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    conda = [line.strip("- ") for line in (ROOT / "environment.yml").read_text(encoding="utf-8").splitlines()]
    assert "-e ." in binder and "e .[pdf,video]" in conda
    assert (ROOT / "binder" / binder[2].split()[1]).resolve() == ROOT / "constraints.txt"
