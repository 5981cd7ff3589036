"""LICENSES.md names every package of constraints.txt, and every data set and weights of the registry, with its licence."""

import re
from importlib import metadata
from pathlib import Path

import pytest

from dl.data import ENTRIES

ROOT = Path(__file__).resolve().parent.parent
TABLE = dict(re.findall(r"^\| ([\w.-]+) \| (.+) \|$", (ROOT / "LICENSES.md").read_text(encoding="utf-8"), re.M))
VERSIONS = dict(re.findall(r"^([\w.-]+)==([\w.+!-]+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M))
STATES = {  # how metadata without an SPDX expression state these licences
    "MIT": r"\bMIT\b",
    "BSD-2-Clause": r"\bBSD\b(?!.3)",
    "BSD-3-Clause": r"\bBSD\b(?!.2)",
    "Apache-2.0": r"\bApache\b",
    "MPL-2.0": r"\bMPL-2\.0\b|\bMozilla Public License 2\.0\b",
    "PSF-2.0": r"\bPython Software Foundation\b",
    "ISC": r"\bISC\b",
}


def installed() -> list[str]:
    """Packages of constraints.txt that are installed in the version named there: others may have other licences."""
    found = {re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower(): each.version for each in metadata.distributions()}
    return [name for name, version in VERSIONS.items() if found.get(name, "").partition("+")[0] == version]


def text_of(distribution: metadata.Distribution) -> str:
    """Its licence files, in one line."""
    names = [file for file in distribution.files or [] if re.search(r"dist-info/(.*/)?(licen[sc]e|copying)", str(file), re.I)]
    return " ".join(" ".join(Path(str(file.locate())).read_text("utf-8", "replace") for file in names).split())


def test_every_package_has_a_licence():
    assert set(VERSIONS) == set(TABLE) - set(ENTRIES) - {"name", "package"}
    assert not [name for name in VERSIONS if TABLE[name] in ("", "None", "UNKNOWN")]


@pytest.mark.parametrize("name", installed())
def test_the_licence_is_what_the_installed_package_states(name):
    told = TABLE[name].partition(";")[0]  # what is in it beside its own code follows
    distribution = metadata.distribution(name)
    about = distribution.metadata
    if expression := about.get("License-Expression"):
        assert told == expression
        return
    field, text = about.get("License", ""), text_of(distribution)
    classifiers = [line for line in about.get_all("Classifier", []) if line.startswith("License ::")]
    words = " ".join([*classifiers, *[field] * ("\n" not in field and field != "UNKNOWN")]).strip() or text[:100]
    stated = {licence for licence, pattern in STATES.items() if re.search(pattern, words)}
    assert set(told.split(" AND ")) <= stated, words
    assert {licence.partition("-")[0] for licence in stated} == {part.partition("-")[0] for part in told.split(" AND ")}
    if told.startswith("BSD") and text:  # the third clause tells them apart
        assert ("endorse or promote" in text) == (told == "BSD-3-Clause")


def test_every_entry_of_the_registry_has_its_licence():
    assert {name: TABLE[name] for name in ENTRIES} == {name: entry.licence for name, entry in ENTRIES.items()}
