"""Where PyTorch comes from: decided by system, driver and reach, and shown with a local index of stand-in wheels. And what is
set before it is loaded."""

import functools
import html
import http.server
import os
import re
import shlex
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import nbformat
import pytest

from dl.commands import install
from tests.no_network.sitecustomize import python_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
CPU = "https://example.org/cpu"


@pytest.mark.parametrize(
    "choice, system, driver, reach, taken",
    [
        ("auto", "linux", False, True, CPU),
        ("auto", "linux", False, False, None),
        ("auto", "linux", True, True, None),
        ("cpu", "linux", True, True, CPU),
        ("cpu", "linux", False, False, None),
        ("registry", "linux", False, True, None),
        ("auto", "darwin", False, True, None),
        ("cpu", "win32", False, True, None),
    ],
)
def test_where_pytorch_comes_from(monkeypatch, choice, system, driver, reach, taken):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(install, "has_nvidia_driver", lambda: driver)
    monkeypatch.setattr(install, "answers", lambda index: reach)
    assert install.cpu_index(choice, CPU)[0] == taken


@pytest.mark.parametrize("uv, first", [(None, sys.executable), ("/opt/uv", "/opt/uv")])
def test_uv_is_used_where_it_is_and_keeps_to_the_same_constraints(monkeypatch, uv, first):
    monkeypatch.setattr("shutil.which", lambda name: uv)
    make, add = install.commands(Path("env"))
    assert make[0] == first and make[-1] == "env"
    assert add[-2:] == ["-c", "constraints.txt"] and ("uv" in add[0]) == (uv is not None)


def write_wheel(folder: Path, name: str, version: str) -> None:
    """A package of one file that says its version."""
    stem = f"{name}-{version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"__version__ = '{version}'\n")
        wheel.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        record = "".join(f"{file},,\n" for file in (*wheel.namelist(), f"{stem}.dist-info/RECORD"))
        wheel.writestr(f"{stem}.dist-info/RECORD", record)


BACKEND = """
import zipfile

def build_editable(folder, *_):
    name = "course-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("course-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: course\\nVersion: 1.0\\n"
                       "Requires-Dist: torch>=2.6\\nRequires-Dist: torchvision\\n")
        wheel.writestr("course-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("course-1.0.dist-info/RECORD", "")
    return name
"""


@pytest.fixture
def indexes(tmp_path):
    """Address of a server with two indexes, /registry and /cpu."""
    for index, suffix in (("registry", ""), ("cpu", "+cpu")):
        seeds = (("pip", "99"), ("setuptools", "99"), ("wheel", "99"))  # what uv puts into an environment
        for name, version in (("torch", "2.14.1"), ("torch", "2.15.0"), ("torchvision", "0.29.1"), *seeds):
            folder = tmp_path / "web" / index / name
            folder.mkdir(parents=True, exist_ok=True)
            write_wheel(folder, name, version + suffix)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    handler.func.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def course(tmp_path, indexes):
    """A project that needs torch, with the same constraints, and the environment in which the registry is a local one."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "backend.py").write_text(BACKEND)
    (project / "pyproject.toml").write_text(
        "[project]\nname = 'course'\nversion = '1.0'\ndependencies = ['torch>=2.6', 'torchvision']\n\n"
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    )
    (project / "constraints.txt").write_text("torch==2.14.1\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "TORCH_"))}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"{indexes}/registry", "PYTHONPATH": python_path(ROOT)}
    environment |= {"UV_INDEX_URL": f"{indexes}/registry", "UV_NO_CONFIG": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return project, environment


def version_of_torch(python: Path) -> str:
    """As a Python says that has the two stand-ins."""
    ask = "import torch, torchvision; print(torch.__version__)"
    plain = {**os.environ, "PYTHONPATH": python_path()}
    return subprocess.run([python, "-c", ask], env=plain, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the registry's wheels have no CUDA libraries")
def test_cpu_wheels_take_the_place_of_the_registrys_and_constraints_hold(indexes, course):
    project, environment = course

    def installed(choice: str, index: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "dl.commands.install", "--extras", "", "--torch", choice, "--index", index]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
        return done.returncode, version_of_torch(project / ".venv" / "bin" / "python"), done.stdout

    code, torch, _ = installed("auto", f"{indexes}/nothing")
    assert (code, torch) == (0, "2.14.1")
    code, torch, said = installed("cpu", f"{indexes}/cpu")
    assert (code, torch) == (0, "2.14.1+cpu") and f"CPU wheels of {indexes}/cpu" in said
    code, torch, said = installed("cpu", f"{indexes}/nothing")
    assert (code, torch) == (2, "2.14.1+cpu") and "nothing is out of reach" in said and "set TORCH_INDEX to a mirror" in said


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the registry's wheels have no CUDA libraries")
def test_the_line_for_pip_in_the_readme_takes_cpu_wheels_and_keeps_to_the_constraints(indexes, course):
    project, environment = course
    (line,) = re.findall(r"^    python -m (pip .*--extra-index-url.*)$", (ROOT / "README.md").read_text("utf-8"), re.M)
    assert f"--extra-index-url {install.CPU_INDEX} -c constraints.txt" in line
    subprocess.run([sys.executable, "-m", "venv", project / ".venv"], check=True)
    python = project / ".venv" / "bin" / "python"
    command = [python, "-m", *shlex.split(line.replace(install.CPU_INDEX, f"{indexes}/cpu"))]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert (done.returncode, version_of_torch(python)) == (0, "2.14.1+cpu"), done.stderr


def test_uv_sync_keeps_to_the_same_constraints():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pins = [line for line in lines if line and not line.startswith("#")]
    assert project["tool"]["uv"]["constraint-dependencies"] == pins, "copy the lines of constraints.txt to pyproject.toml"


LOOK = """
import os, runpy, sys

class Torch:
    def find_spec(name, *_):
        if name == "torch":
            print("waiting:", os.environ.get("OMP_WAIT_POLICY"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Torch)
sys.argv[:] = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("command", ["dl doctor", "dl run", "benchmarks captioning", "dl.simclr.pretrain", "a2_helper"])
def test_how_threads_wait_is_set_before_torch_is_loaded(command):
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    arguments = [sys.executable, "-c", LOOK, *command.split()]
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.endswith("waiting: PASSIVE\n"), done.stdout + done.stderr


def test_nbconvert_finds_the_template_of_the_setup(tmp_path):
    install.keep_descriptions(tmp_path)
    text = nbformat.v4.new_output(
        "display_data", {"image/png": "iVBORw0KGgo="}, metadata={"image/png": {"alt": "a <red> cat"}}
    )
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[text])]), tmp_path / "one.ipynb")
    paths = {"JUPYTER_PATH": str(tmp_path / "share/jupyter"), "JUPYTER_CONFIG_PATH": str(tmp_path / "etc/jupyter")}
    command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "html", str(tmp_path / "one.ipynb")]
    subprocess.run(command, env={**os.environ, **paths}, check=True, capture_output=True, cwd=tmp_path)
    page = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert [html.unescape(alt) for alt in re.findall(r'alt="([^"]*)"', page)] == ["a <red> cat"]
