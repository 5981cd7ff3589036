"""Make a virtual environment and install the project into it. `make` calls this; it needs nothing but Python.

    python -m dl.commands.install --torch cpu

On Linux, PyTorch comes from the package registry with more than 4 GB of CUDA libraries. Where there is no NVIDIA driver, its
CPU wheels are taken from PyTorch's own index instead, if that answers within seconds. uv does the work where it is
installed, else pip; both keep to constraints.txt.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
ANSWER_SECONDS = 3  # an index that does not answer within them counts as out of reach
DRIVER = ("/proc/driver/nvidia/version", "/usr/lib/wsl/lib/libcuda.so.1")
CHOICES = ("auto", "cpu", "registry")
SUCCESS, FAILURE, WRONG_USE = 0, 1, 2  # as in dl.console, which needs packages
TEMPLATES = "share/jupyter/nbconvert/templates/described"
DESCRIBED = {  # nbconvert's own page, which leaves out the descriptions of figures, with them
    f"{TEMPLATES}/conf.json": '{"base_template": "lab", "mimetypes": {"text/html": true}}\n',
    f"{TEMPLATES}/index.html.j2": """{%- extends "lab/index.html.j2" -%}
{%- block data_png scoped -%}
{%- set alt = output | get_metadata("alt", "image/png") -%}
{{ super() | replace("<img ", '<img alt="%s" ' % (alt | escape_html)) if alt else super() }}
{%- endblock data_png -%}
""",
    "etc/jupyter/jupyter_nbconvert_config.json": """{
  "HTMLExporter": {"template_name": "described"},
  "SlidesExporter": {"template_name": "reveal"}
}
""",
}


def main(arguments: list[str] | None = None) -> int:
    """Install; returns the exit code: FAILURE if pip or uv failed, WRONG_USE if the CPU wheels asked for cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m dl.commands.install", description="Set up this project.")
    parser.add_argument("--into", metavar="DIR", default=".venv", help="the virtual environment (default: .venv)")
    parser.add_argument("--extras", default="dev", help="parts of pyproject.toml, with commas between them (default: dev)")
    parser.add_argument("--torch", choices=CHOICES, default="auto", help="where PyTorch comes from (default: auto)")
    parser.add_argument("--index", default=os.environ.get("TORCH_INDEX") or CPU_INDEX, help="of the CPU wheels (TORCH_INDEX)")
    options = parser.parse_args(arguments)
    index, reason = cpu_index(options.torch, options.index)
    print(f"Setting up {options.into}, once, some minutes. PyTorch: {reason}.", flush=True)
    if index is None and options.torch == "cpu" and sys.platform == "linux":
        print("install: TORCH=cpu was asked for. Connect to the internet, set TORCH_INDEX to a mirror, or leave TORCH out.")
        return WRONG_USE
    make, install = commands(Path(options.into))
    if subprocess.run(make).returncode:
        return FAILURE
    if index is not None and subprocess.run([*install, "--upgrade", "--no-deps", "--index-url", index, *_TORCH]).returncode:
        if options.torch == "cpu":
            return FAILURE
        print(f"install: {index} has no PyTorch that suits this Python; the package registry's is taken.", flush=True)
    extras = f"[{options.extras}]" if options.extras else ""
    if subprocess.run([*install, "-e", f".{extras}"]).returncode:
        return FAILURE
    keep_descriptions(Path(options.into))
    return SUCCESS


_TORCH = ("torch", "torchvision")


def keep_descriptions(into: Path) -> None:
    """Let `jupyter nbconvert` of this environment give every figure its alt text."""
    for name, text in DESCRIBED.items():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).write_text(text, encoding="utf-8")


def cpu_index(choice: str, index: str) -> tuple[str | None, str]:
    """The index of the CPU wheels if they are to be taken from there, else None; and why, in words."""
    if choice == "registry":
        return None, "from the package registry, as asked for"
    if sys.platform != "linux":
        return None, "from the package registry, whose wheels for this system have no CUDA libraries"
    if choice == "auto" and has_nvidia_driver():
        return None, "from the package registry, with CUDA for the NVIDIA GPU found here"
    if answers(index):
        return index, f"CPU wheels of {index}"
    return None, f"{index} is out of reach, so from the package registry, up to 3.4 GB to download"


def has_nvidia_driver() -> bool:
    return shutil.which("nvidia-smi") is not None or any(Path(file).exists() for file in DRIVER)


def answers(index: str) -> bool:
    """Whether an index can be read now. Looking up a name may take long, so a thread does it, which may be left behind."""
    found = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(f"{index}/torch/", timeout=ANSWER_SECONDS):
                found.append(True)
        except (OSError, ValueError):  # ValueError: no address
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    return bool(found)


def commands(into: Path) -> tuple[list[str], list[str]]:
    """What makes the environment, and what installs into it (to be followed by packages)."""
    python = str(into / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
    if (uv := shutil.which("uv")) is not None:
        make = [uv, "venv", "--quiet", "--seed", "--allow-existing", "--python", sys.executable, str(into)]
        install = [uv, "pip", "install", "--python", python]
    else:
        make = [sys.executable, "-m", "venv", str(into)]
        install = [python, "-m", "pip", "install"]
    return make, [*install, "-c", "constraints.txt"]


if __name__ == "__main__":
    sys.exit(main())
