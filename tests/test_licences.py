"""LICENSES.md names every package of constraints.txt, and every data set and weights of the registry, with its licence."""

import re
from pathlib import Path

from dl.data import ENTRIES

ROOT = Path(__file__).resolve().parent.parent
TABLE = dict(re.findall(r"^\| ([\w.-]+) \| (.+) \|$", (ROOT / "LICENSES.md").read_text(encoding="utf-8"), re.M))


def test_every_package_has_a_licence():
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    packages = set(re.findall(r"^([\w.-]+)==", constraints, re.M))
    assert packages == set(TABLE) - set(ENTRIES) - {"name", "package"}
    assert not [name for name in packages if TABLE[name] in ("", "None", "UNKNOWN")]


def test_every_entry_of_the_registry_has_its_licence():
    assert {name: TABLE[name] for name in ENTRIES} == {name: entry.licence for name, entry in ENTRIES.items()}
