"""The verb `data`: list, fetch and verify what the registry names."""

from __future__ import annotations

from dl.console import FAILURE, SUCCESS, UsageError
from dl.data.fetch import FetchError, fetch, problems_of
from dl.data.registry import ENTRIES, Entry


def show_list() -> int:
    """Print every entry: what it is, how big, whether it is there, where, on what terms, from where."""
    for entry in ENTRIES.values():
        presence = "present" if entry.present else "not fetched"
        print(f"{entry.name}: {entry.kind}, {entry.megabytes}, {presence}, {entry.shown_location}")
        print(f"  hash: {entry.digest or 'none published'} · licence: {entry.licence}")
        for address in entry.addresses:
            print(f"  {address}")
    present = sum(entry.present for entry in ENTRIES.values())
    print(f"{present} of {len(ENTRIES)} are there. Fetch one, for DL_DATA=real, with: python -m dl data fetch NAME")
    return SUCCESS


def fetch_entries(names: list[str]) -> int:
    """Fetch entries one after the other; one that fails does not keep the next from being tried."""
    failed = []
    for entry in _chosen(names):
        try:
            fetched = fetch(entry)
            print(f"{entry.name}: {'fetched to' if fetched else 'was already at'} {entry.shown_location}, verified.")
        except FetchError as error:
            failed.append(entry.name)
            print(f"fetch: {error}")
    done = f"{len(names) - len(failed)} of {len(names)} are there and verified."
    print(done + (f" Failed: {', '.join(failed)}." if failed else ""))
    return FAILURE if failed else SUCCESS


def verify_entries(names: list[str]) -> int:
    """Check entries, by default all that are there."""
    entries = _chosen(names) if names else [entry for entry in ENTRIES.values() if entry.present]
    bad = []
    for entry in entries:
        problems = problems_of(entry)
        if problems:
            bad.append(entry.name)
        print(f"{entry.name}: {'; '.join(problems) or _verified(entry)}")
    if bad:
        again = f"python -m dl data fetch {' '.join(bad)}"
        print(f"{len(bad)} of {len(entries)} are not as they should be. Fetch again: {again}")
        return FAILURE
    print(f"{len(entries)} of {len(entries)} are as they should be." if entries else "Nothing has been fetched yet.")
    return SUCCESS


def _verified(entry: Entry) -> str:
    if entry.archive:
        return "content verified"
    published = [what for what, known in (("size", entry.size), ("hash", entry.digest)) if known]
    return " and ".join([*published, "content"]) + " verified"


def _chosen(names: list[str]) -> list[Entry]:
    unknown = [name for name in names if name not in ENTRIES]
    if unknown:
        raise UsageError(f"no entry called {', '.join(unknown)}; there are: {', '.join(ENTRIES)}.")
    return [ENTRIES[name] for name in names]
