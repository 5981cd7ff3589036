"""The verb `data`: list, fetch, adopt and verify what the registry names."""

from __future__ import annotations

from pathlib import Path

from dl import settings
from dl.console import FAILURE, SUCCESS, UsageError
from dl.data import manifest
from dl.data.access import is_converted
from dl.data.fetch import FetchError, adopt, fetch
from dl.data.registry import ENTRIES, TOPICS, Entry
from dl.data.verify import problems_of


def show_list() -> int:
    """Print every entry: what it is, how big, whether it is there, where, on what terms, from where."""
    for entry in ENTRIES.values():
        presence = "present" if entry.present else "not fetched"
        print(f"{entry.name}: {entry.kind}, {entry.megabytes}, {presence}, {entry.shown_location}")
        print(f"  hash: {entry.digest or 'none published'} · licence: {entry.licence}")
        for address in entry.addresses or ("the addresses that coco_captioning names",):
            print(f"  {address}")
    present = sum(entry.present for entry in ENTRIES.values())
    if settings.mirror():
        print(f"DL_MIRROR is asked first: {settings.mirror()}")
    print(f"{present} of {len(ENTRIES)} are there. Fetch one, for DL_DATA=real, with: python -m dl data fetch NAME")
    return SUCCESS


def fetch_entries(names: list[str], everything: bool = False, again: bool = False) -> int:
    """Fetch entries one after the other; one that fails does not keep the next from being tried."""
    if not names and not everything:
        raise UsageError("name what to fetch: an entry, a topic, or --all for everything that a machine needs offline.")
    entries = list(ENTRIES.values()) if everything else _chosen(names)
    failed = []
    for entry in entries:
        try:
            fetched = fetch(entry, again)
            print(f"{entry.name}: {'fetched to' if fetched else 'was already at'} {entry.shown_location}, verified.")
        except FetchError as error:
            failed.append(entry.name)
            print(f"fetch: {error}")
    done = f"{len(entries) - len(failed)} of {len(entries)} are there and verified."
    print(done + (f" Failed: {', '.join(failed)}." if failed else ""))
    return FAILURE if failed else SUCCESS


def adopt_entries(path: str) -> int:
    """Copy what torchvision, another course or a browser left on this disk to its place, verified."""
    try:
        found = adopt(Path(path).expanduser())
    except FetchError as error:
        print(f"adopt: {error}")
        return FAILURE
    if not found:
        names = ", ".join(name for entry in ENTRIES.values() for name in {*entry.filenames, entry.location.name})
        raise UsageError(f"nothing of the registry is in {path}. Looked for: {names}.")
    for name, problems in found.items():
        print(f"{name}: {'; '.join(problems) or f'adopted to {ENTRIES[name].shown_location}, verified.'}")
    good = sum(not problems for problems in found.values())
    print(f"{good} of {len(found)} found are there and verified.")
    return SUCCESS if good == len(found) else FAILURE


def verify_entries(names: list[str]) -> int:
    """Check entries, by default all that are there; what is good and has no manifest gets one."""
    entries = _chosen(names) if names else [entry for entry in ENTRIES.values() if entry.present]
    bad = []
    for entry in entries:
        problems = problems_of(entry)
        if problems:
            bad.append(entry.name)
        elif not entry.collection and manifest.differences(entry) is None:
            manifest.record(entry)
        print(f"{entry.name}: {'; '.join(problems) or _verified(entry)}")
    if bad:
        again = f"python -m dl data fetch --again {' '.join(bad)}"
        print(f"{len(bad)} of {len(entries)} are not as they should be. Fetch again: {again}")
        return FAILURE
    print(f"{len(entries)} of {len(entries)} are as they should be." if entries else "Nothing has been fetched yet.")
    return SUCCESS


def _verified(entry: Entry) -> str:
    if entry.is_folder:
        return "every file and content verified"
    saved_anew = is_converted(entry, entry.location)
    published = [what for what, known in (("size", entry.size), ("hash", entry.digest)) if known and not saved_anew]
    return " and ".join([*published, "content"]) + " verified"


def _chosen(names: list[str]) -> list[Entry]:
    """Entries by their names; the name of a topic or its notebook stands for all that it reads, an entry's own comes first."""
    chosen: dict[str, Entry] = {}
    for name in names:
        topics = [topic for topic, notebook in TOPICS.items() if name.lower() in (topic, notebook.lower())]
        if name in ENTRIES:
            chosen[name] = ENTRIES[name]
        elif topics:
            chosen |= {entry.name: entry for entry in ENTRIES.values() if entry.topic == topics[0]}
        else:
            topics = [*TOPICS, *TOPICS.values()]
            raise UsageError(f"no entry called {name}; there are: {', '.join(ENTRIES)}; and the topics {', '.join(topics)}.")
    return list(chosen.values())
