"""Every package that the project requires is imported by code that a user reaches, and every file of a platform agrees."""

import ast
import importlib.metadata
import itertools
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = {  # distribution -> what it is imported as, where that differs
    "scikit-learn": {"sklearn"},
    "opencv-python": {"cv2"},
    "decord2": {"decord"},
    "clip-anytorch": {"clip"},
    "pypandoc_binary": {"pypandoc"},
    "jupyter": {"nbclient", "nbformat", "jupyter_client", "ipywidgets"},
}
IMPORTED_BY_OTHERS = {"setuptools"}  # clip needs its pkg_resources
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
TOOLS = ("dev", "browser")  # the extras whose packages are run, not imported


def imported() -> set[str]:
    """Top-level names that the library, the lessons and the notebooks import."""
    names = set()
    for file in [*ROOT.glob("*.py"), *ROOT.glob("dl/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    for file in ROOT.glob("notebooks/*.nb.py"):
        names |= set(re.findall(r"^\s*(?:import|from) (\w+)", file.read_text(encoding="utf-8"), re.M))
    return names


def required() -> dict[str, set[str]]:
    """Each required package, and the names that it may be imported as."""
    groups = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for name, group in groups.items() if name not in TOOLS for line in group)]
    names = {Requirement(line).name for line in lines}
    return {name: MODULES.get(name, {name.replace("-", "_")}) for name in names}


def test_every_required_package_is_imported():
    seen = imported()
    assert {name for name, modules in required().items() if not modules & seen} == IMPORTED_BY_OTHERS


def test_every_required_package_has_a_version_that_works():
    constrained = {re.split("[= ]", line)[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    on_windows_or_old_pythons = {"tomli"}
    wanted = {name.lower().replace("_", "-") for name in required()}
    assert wanted - constrained - on_windows_or_old_pythons == set()


def test_every_pin_admits_each_python_that_it_is_for():
    """As far as the packages installed here tell; make setup fails on a Python that a single pin refuses."""
    refused = []
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pin = Requirement(line)
        try:
            metadata = importlib.metadata.metadata(pin.name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if not pin.specifier.contains(metadata["Version"]):
            continue
        admitted = SpecifierSet(metadata.get("Requires-Python", ""))
        for python, release in itertools.product(PYTHONS, ("0", "99")):
            full = f"{python}.{release}"
            system = {"python_version": python, "python_full_version": full}
            if (pin.marker is None or pin.marker.evaluate(system)) and not admitted.contains(full):
                refused.append(f"{line} on {full}")
    assert refused == []


@pytest.mark.parametrize("package", ["pypandoc_binary", "typst", "decord2", "pytest"])
def test_students_do_not_need(package):
    assert not any(Requirement(line).name == package for line in PROJECT["dependencies"])
