"""Hosted notebooks and containers: the first cell in an empty runtime, and the files of each platform."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dl.console import UsageError
from dl.notebook_files import COURSE_ORDER, FETCH_CELL, add_hosting, read_source, repository
from tests.no_network.sitecustomize import python_path

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = "https://github.com/a/course"
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
    return {**os.environ, "PYTHONPATH": python_path(tmp_path / "site"), "DL_REPOSITORY": project.as_uri()}


def run_cell(folder: Path, environment: dict[str, str]) -> str:
    """Run the cell, and then ask where the runtime is; with the Python below this environment, which has no `dl`."""
    code = f"{FETCH_CELL.format(repository=ADDRESS)}\nimport dl\nprint(os.getcwd(), dl.__file__)"
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


@pytest.mark.parametrize("name", COURSE_ORDER)
def test_a_notebook_has_badge_and_first_cell_as_soon_as_the_project_has_an_address(name, tmp_path):
    source = read_source(ROOT / "notebooks" / f"{name}.nb.py")
    (tmp_path / "pyproject.toml").write_text(f'[project]\nurls.repository = "{ADDRESS}"\n', encoding="utf-8")
    notebook = read_source(ROOT / "notebooks" / f"{name}.nb.py")
    add_hosting(notebook, name, repository(tmp_path))
    title, badge = notebook.cells[:2]
    assert title.source.startswith("# ") and badge.cell_type == "markdown"
    assert badge.source.endswith(f"](https://colab.research.google.com/github/a/course/blob/main/notebooks/{name}.ipynb)")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].source == FETCH_CELL.format(repository=ADDRESS) and "setup(" in code[1].source
    notebook.cells = [cell for cell in notebook.cells if cell is not badge and cell is not code[0]]
    assert notebook == source


def test_without_an_address_a_notebook_stays_as_it_is_and_a_wrong_one_is_told(tmp_path):
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text("[project]\n", encoding="utf-8")
    notebook = read_source(ROOT / "notebooks" / "CLIP_DINO.nb.py")
    add_hosting(notebook, "CLIP_DINO", repository(tmp_path))
    assert notebook == read_source(ROOT / "notebooks" / "CLIP_DINO.nb.py")
    pyproject.write_text('[project]\nurls.repository = "https://example.com/course"\n', encoding="utf-8")
    with pytest.raises(UsageError, match="repository in pyproject.toml is 'https://example.com/course'; Colab opens"):
        repository(tmp_path)


def test_containers_install_what_pyproject_says():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert container["postCreateCommand"].endswith("make setup")
    assert "\nsetup:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    binder = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    conda = [line.strip("- ") for line in (ROOT / "environment.yml").read_text(encoding="utf-8").splitlines()]
    assert "-e ." in binder and "e .[pdf,video]" in conda
    assert (ROOT / "binder" / binder[2].split()[1]).resolve() == ROOT / "constraints.txt"
