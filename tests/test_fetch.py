"""Fetching against a server that can cut, refuse, lie and stall: resumed byte-identical, or refused by its cause."""

import email.utils
import errno
import hashlib
import io
import multiprocessing
import os
import random
import shutil
import socket
import stat
import tarfile
import time
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fault_server import CERTIFICATE, serving

from dl.console import UsageError
from dl.data import Entry, content, download, fetch, manifest, verify
from dl.data.fetch import FetchError

BODY = os.urandom(1) + bytes(range(256)) * 400 + b"end"
OTHER = BODY[::-1]
KILLS = int(os.environ.get("KILLS", 15))  # of each kind
PLACES = sorted({round(n * (len(BODY) - 1) / 17) for n in range(18)} | {1, len(BODY) - 1, -1})  # 20 and before the headers


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0.0)
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Real data live in a temporary folder; torch's cache is another, empty one."""
    monkeypatch.setenv("DL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for name in ("DL_OFFLINE", "DL_MIRROR", "SSL_CERT_FILE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home" / "datasets"


def entry(*addresses, **changes):
    made = Entry(
        name="thing",
        kind="data",
        addresses=addresses,
        path="thing.bin",
        about=len(BODY),
        licence="none",
        problems=content.hash_only,
    )
    return replace(made, **changes)


def sha256(body):
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def left_in(home):
    """Names of what is in the data folder, lock and manifest aside."""
    names = (path.name for path in home.iterdir()) if home.exists() else ()
    return sorted(name for name in names if not name.endswith((".lock", ".manifest.json")))


def ranges(server):
    return [wanted for _, wanted in server.requests]


# --- Cut, resumed, identical ---


def test_a_file_is_fetched_once_and_then_recognised(server, home, capsys):
    thing = entry(server.give("/file", BODY), size=len(BODY), digest=sha256(BODY))
    assert fetch.fetch(thing)
    assert (home / "thing.bin").read_bytes() == BODY and left_in(home) == ["thing.bin"]
    assert "thing: 0 MB from http://127.0.0.1" in capsys.readouterr().out
    assert not fetch.fetch(thing)
    assert len(server.requests) == 1


@pytest.mark.parametrize("ranges_", ["yes", "no", "shifted", "headless", "multipart", "short"])
@pytest.mark.parametrize("hashed", [True, False])
def test_a_transfer_cut_at_any_place_ends_identical(server, home, ranges_, hashed):
    for place in PLACES:
        address = server.give("/file", BODY, cuts=[place], ranges=ranges_)
        assert fetch.fetch(entry(address, digest=sha256(BODY) if hashed else None), again=True)
        assert (home / "thing.bin").read_bytes() == BODY, place
        assert left_in(home) == ["thing.bin"]


@pytest.mark.parametrize("headers", [{}, {"ETag": '"1"'}, {"Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"}])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_transfer_cut_at_twenty_places_in_turn_ends_identical(server, home, headers, chunked):
    address = server.give("/file", BODY, cuts=list(PLACES), headers=headers, chunked=chunked)
    assert fetch.fetch(entry(address))
    assert (home / "thing.bin").read_bytes() == BODY


def test_it_is_resumed_where_it_was_cut(server, home):
    thing = entry(server.give("/file", BODY, cuts=[60_000]), digest=sha256(BODY))
    assert fetch.fetch(thing)
    assert ranges(server) == [None, "bytes=60000-"]


def test_without_hash_and_validator_the_joint_is_compared(server, home):
    assert fetch.fetch(entry(server.give("/file", BODY, cuts=[60_000])))
    assert ranges(server) == [None, f"bytes={60_000 - download.OVERLAP}-"]
    assert (home / "thing.bin").read_bytes() == BODY


def test_what_a_failed_call_left_is_used_by_the_next(server, home):
    thing = entry(server.give("/file", BODY, cuts=[50_000] * 9, headers={"ETag": '"1"'}))
    with pytest.raises(FetchError, match=r"cut after 50,000 of 102,404 bytes, 5 times in a row\n.* 0 MB are kept"):
        fetch.fetch(thing)
    assert left_in(home) == ["thing.bin.part", "thing.bin.part.json"]
    server.give("/file", BODY, headers={"ETag": '"1"'})
    assert fetch.fetch(thing)
    assert ranges(server)[-1] == "bytes=50000-"
    assert (home / "thing.bin").read_bytes() == BODY and left_in(home) == ["thing.bin"]


@pytest.mark.parametrize("headers", [{}, {"ETag": '"1"'}])
@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("new", [OTHER, OTHER[:-5], OTHER[:40_000]], ids=["same-length", "shorter", "shorter-than-the-part"])
def test_a_file_that_changes_between_two_parts_is_never_mixed(server, home, headers, hashed, new):
    address = server.give("/file", BODY, cuts=[60_000] * 9, headers=headers)
    thing = entry(address, digest=sha256(new) if hashed else None)
    with pytest.raises(FetchError):
        fetch.fetch(thing)
    server.give("/file", new, headers={"ETag": '"2"'} if headers else {})
    assert fetch.fetch(thing)
    assert (home / "thing.bin").read_bytes() == new


def test_a_file_that_changes_while_it_is_fetched_is_never_mixed(server, home):
    for digest in (None, sha256(OTHER)):
        address = server.give("/file", [BODY, OTHER], cuts=[60_000])
        assert fetch.fetch(entry(address, digest=digest), again=True)
        assert (home / "thing.bin").read_bytes() == OTHER


@pytest.mark.parametrize("extra, last", [(b"", "bytes=102404-"), (b"more", None)])
def test_a_whole_part_is_taken_and_one_too_long_is_not(server, home, extra, last):
    home.mkdir(parents=True)
    (home / "thing.bin.part").write_bytes(BODY + extra)
    assert fetch.fetch(entry(server.give("/file", BODY), digest=sha256(BODY)))
    assert (home / "thing.bin").read_bytes() == BODY
    assert ranges(server)[-1] == last


def test_a_stalled_server_is_left_and_resumed(server, home, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    assert fetch.fetch(entry(server.give("/file", BODY, cuts=[60_000], stall=1.0), digest=sha256(BODY)))
    assert (home / "thing.bin").read_bytes() == BODY
    assert ranges(server)[-1] == "bytes=60000-"


def test_a_server_that_drips_is_given_up_and_the_next_used(server, home, monkeypatch):
    monkeypatch.setattr(download, "SLOW_SECONDS", 0.05)
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    dripping = server.give("/drip", BODY, drip=0.02)
    thing = entry(dripping, digest=sha256(BODY))
    with pytest.raises(FetchError, match=r"only \d+ bytes came in .* 2 times in a row"):
        fetch.fetch(thing)
    assert fetch.fetch(replace(thing, addresses=(dripping, server.give("/file", BODY))))
    assert (home / "thing.bin").read_bytes() == BODY


def test_three_errors_of_the_server_are_sat_out(server, home):
    assert fetch.fetch(entry(server.give("/file", BODY, statuses=[500, 502, 503])))
    assert len(server.requests) == 4


@pytest.mark.parametrize("date", [False, True])
def test_a_server_that_asks_to_wait_is_waited_for(server, home, monkeypatch, capsys, date):
    waits = []
    monkeypatch.setattr(download.time, "sleep", lambda seconds: waits.append(seconds) if seconds > 1 else None)
    after = email.utils.formatdate(time.time() + 20, usegmt=True) if date else "20"
    address = server.give("/file", BODY, statuses=[429, 429, 503], headers={"Retry-After": after})
    assert fetch.fetch(entry(address))
    assert len(waits) == 3 and all(17 < wait <= 20 for wait in waits)
    assert "thing: the server answered 429 Too Many Requests; waiting" in capsys.readouterr().out
    address = server.give("/file", BODY, statuses=[429], headers={"Retry-After": "86400"})
    with pytest.raises(FetchError, match="429 .* it lets us wait 86400 s. Run this again then"):
        fetch.fetch(entry(address), again=True)


def test_redirects_are_followed_but_not_from_https_to_http(server, home, monkeypatch):
    target = server.give("/file", BODY)
    assert fetch.fetch(entry(server.give("/old", b"", location="/file")))
    moved = {"statuses": [308] * 2, "headers": {"Location": "/file"}}
    assert fetch.fetch(entry(server.give("/for-good", b"", **moved), digest=sha256(BODY)), again=True)
    with serving(tls=True) as secure:
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        assert fetch.fetch(entry(secure.give("/old", b"", location=secure.give("/file", BODY))), again=True)
        server.requests.clear()
        with pytest.raises(FetchError, match=f"it leads from https to {target}, which is not encrypted and not followed"):
            fetch.fetch(entry(secure.give("/down", b"", location=target)), again=True)
        with pytest.raises(FetchError, match="which is not encrypted and not followed"):
            fetch.fetch(entry(secure.give("/for-good", b"", statuses=[308], headers={"Location": target})), again=True)
    assert server.requests == []


def test_going_on_without_encryption_is_said(server, home, capsys):
    assert fetch.fetch(entry("https://127.0.0.1:9/file", server.give("/file", BODY), digest=sha256(BODY)))
    assert f"thing: going on without encryption, at {server.address}/file" in capsys.readouterr().out


# --- Refusals: named by cause, the next address is tried, nothing stays under the final name ---


@pytest.mark.parametrize(
    "bad, reason",
    [
        (dict(body=OTHER), "its sha256 begins with .* not"),
        (dict(body=BODY[:-1]), "it has a file of 102,403 bytes, not 102,404"),
        (dict(body=BODY[:-1], chunked=True), "it has 102,403 bytes, not 102,404"),
        (dict(body=BODY + b"x", chunked=True), "sends more than 102,404 bytes"),
        (dict(body=b"<html>log in</html>", kind="text/html; charset=utf-8"), "a web page instead of the file"),
        (dict(body=b"\xef\xbb\xbf\n<!DOCTYPE html>" + BODY[:-19]), "a web page instead of the file"),
        (dict(body=BODY, statuses=[403] * 2), "answered 403 Forbidden: access is forbidden; this network or country"),
        (dict(body=BODY, statuses=[404] * 2), "answered 404 Not Found: the file is no longer there"),
        (dict(body=BODY, statuses=[407] * 2), "answered 407 .*: the proxy of this network asks for a name and a password"),
        (dict(body=BODY, statuses=[511] * 2), "answered 511 .*: this network asks for a login .captive portal."),
        (dict(body=BODY, statuses=[500] * 10), "answered 500 Internal Server Error, 5 times in a row"),
    ],
    ids=["hash", "size", "short", "long", "html-type", "html-body", "403", "404", "407", "511", "500"],
)
def test_a_wrong_answer_is_refused_by_its_cause_and_the_next_address_used(server, home, bad, reason):
    address = server.give("/bad", **bad)
    thing = entry(address, size=len(BODY), digest=sha256(BODY))
    with pytest.raises(FetchError, match=f"thing could not be fetched:\n  {address}: .*{reason}"):
        fetch.fetch(thing)
    assert not (home / "thing.bin").exists()
    assert fetch.fetch(replace(thing, addresses=(address, server.give("/good", BODY))))
    assert (home / "thing.bin").read_bytes() == BODY


def test_a_captive_portal_is_told_by_its_redirect(server, home):
    with serving() as portal:
        login = portal.give("/login", b"<html>welcome", kind="text/html", ranges="no")
        address = server.give("/file", b"", location=login)
        with pytest.raises(FetchError, match=rf"a web page .* from {portal.address[7:]}: a login page of this network"):
            fetch.fetch(entry(address))
        (home / "thing.bin.part").write_bytes(BODY[:60_000])  # and it does not cost what was there
        with pytest.raises(FetchError, match="0 MB are kept and will be used"):
            fetch.fetch(entry(address))
        assert (home / "thing.bin.part").read_bytes() == BODY[:60_000]


def test_an_unknown_certificate_is_named_and_what_to_do(home, monkeypatch, server):
    with serving(tls=True) as secure:
        thing = entry(secure.give("/file", BODY))
        with pytest.raises(FetchError, match=r"certificate is not accepted \(self.signed.*macOS, open 'Install Certificates"):
            fetch.fetch(thing)
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        assert fetch.fetch(thing)


def test_a_dead_proxy_is_named_without_its_password(home, monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://me:secret@127.0.0.1:9")
        with pytest.raises(FetchError, match=r"through the proxy 127.0.0.1:9 \(.*Correct HTTP_PROXY and HTTPS_PROXY") as error:
            fetch.fetch(entry(f"{scheme}://example.invalid/file"))
        assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "status, words",
    [
        (407, r"no connection: the proxy of this network asks for a name and a password: HTTPS_PROXY=http://NAME:PASSWORD@"),
        (403, r"no connection through the proxy 127.0.0.1:\d+ \(Tunnel connection failed: 403 Forbidden\). Correct HTTP"),
    ],
)
def test_a_proxy_that_opens_no_tunnel_is_named_by_its_cause(server, home, monkeypatch, status, words):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server, "tunnel_status", status)
    monkeypatch.setenv("https_proxy", server.address)
    with pytest.raises(FetchError, match=words):
        fetch.fetch(entry("https://example.invalid/file"))
    assert left_in(home) == []


def test_absent_hosts_are_told_and_what_can_be_done_by_hand(server, home, monkeypatch):
    real = socket.getaddrinfo

    def no_such_name(host, *args, **options):
        if host.endswith(".invalid"):
            raise socket.gaierror(-2, "Name or service not known")
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    addresses = ("http://127.0.0.1:9/thing.zip", "http://no-such-host.invalid/x")
    with pytest.raises(FetchError) as error:
        fetch.fetch(entry(*addresses))
    first, second = str(error.value).splitlines()[1:3]
    assert first.startswith(f"  {addresses[0]}: no connection (")
    assert "the name no-such-host.invalid is not known" in second
    assert "put thing.zip into" in str(error.value) and "DL_MIRROR" in str(error.value)
    assert left_in(home) == []


def test_content_that_the_readers_would_not_understand_is_refused(server, home):
    thing = entry(server.give("/file", BODY), problems=lambda path: ["it lacks everything"])
    with pytest.raises(FetchError, match="it lacks everything"):
        fetch.fetch(thing)
    assert left_in(home) == []


def test_addresses_may_have_blanks_and_letters():
    assert download.tidy(" http://exämple.org/my file ñ.bin?q=ü b#top") == (
        "http://xn--exmple-cua.org/my%20file%20%C3%B1.bin?q=%C3%BC%20b"
    )
    assert download.tidy("https://h.org/a%20b/c_(1).jpg?x=1&y=%C3") == "https://h.org/a%20b/c_(1).jpg?x=1&y=%C3"


# --- What is on this disk already ---


def test_offline_asks_nothing_and_takes_what_is_there(server, home, monkeypatch):
    monkeypatch.setenv("DL_OFFLINE", "1")
    thing = entry(server.give("/file", BODY), digest=sha256(BODY))
    with pytest.raises(UsageError, match="DL_OFFLINE forbids the network. Unset DL_OFFLINE .*put file into"):
        fetch.fetch(thing)
    home.mkdir(parents=True, exist_ok=True)
    (home / "thing.bin.part").write_bytes(BODY[:-1])
    with pytest.raises(UsageError):
        fetch.fetch(thing)
    assert (home / "thing.bin.part").read_bytes() == BODY[:-1]  # it may be completed one day
    (home / "thing.bin.part").write_bytes(BODY)
    assert fetch.fetch(thing) and not fetch.fetch(thing)
    assert left_in(home) == ["thing.bin"] and (home / "thing.bin").read_bytes() == BODY and server.requests == []


@pytest.mark.parametrize("body", ["zip", "tar"])
def test_offline_the_whole_part_of_an_archive_becomes_its_folder_and_a_cut_one_stays(home, monkeypatch, capsys, body):
    monkeypatch.setenv("DL_OFFLINE", "1")
    whole = {"zip": zipped(("folder/a/b.txt", "hello" * 99)), "tar": tarred(("folder/a/b.txt", "hello" * 99))}[body]
    for digest in (None, sha256(whole)):
        thing = entry("http://127.0.0.1:9/x", path="folder", archive=True, problems=lacks_b, digest=digest)
        home.mkdir(parents=True, exist_ok=True)
        part = home / "folder.part"
        part.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UsageError, match="folder, and DL_OFFLINE forbids the network"):
            fetch.fetch(thing)
        assert "folder.part is not used: " in capsys.readouterr().out
        assert left_in(home) == ["folder.part"] and part.read_bytes() == whole[: len(whole) // 2]
        part.write_bytes(whole)
        assert fetch.fetch(thing) and not fetch.fetch(thing)
        assert left_in(home) == ["folder"] and (home / "folder" / "a" / "b.txt").read_text() == "hello" * 99
        shutil.rmtree(home)


@pytest.mark.parametrize("where", ["beside", "torch", "clip"])
def test_an_archive_put_there_by_hand_or_kept_by_torch_is_taken(server, home, tmp_path, where):
    folder = {
        "beside": home,
        "torch": tmp_path / "torch" / "hub" / "checkpoints",
        "clip": tmp_path / "user" / ".cache" / "clip",
    }[where]
    folder.mkdir(parents=True)
    body = zipped(("folder/a/b.txt", "hello"))
    (folder / "data.zip").write_bytes(body)
    thing = entry(server.address + "/data.zip", path="folder", archive=True, problems=lacks_b, digest=sha256(body))
    assert fetch.fetch(thing) and server.requests == []
    assert (home / "folder" / "a" / "b.txt").read_text() == "hello" and (folder / "data.zip").read_bytes() == body


def test_a_bad_archive_put_there_by_hand_is_told_and_left_alone(server, home, capsys):
    home.mkdir(parents=True)
    (home / "data.zip").write_bytes(b"cut")
    body = zipped(("folder/a/b.txt", "hello"))
    thing = entry(server.give("/data.zip", body), path="folder", archive=True, problems=lacks_b)
    assert fetch.fetch(thing)
    assert "data.zip is not used: the archive is damaged" in capsys.readouterr().out
    assert (home / "data.zip").read_bytes() == b"cut"


def test_a_mirror_is_asked_first_and_believed_no_more_than_others(server, home, monkeypatch):
    with serving() as mirror:
        monkeypatch.setenv("DL_MIRROR", f"{mirror.address}/course/")
        mirror.give("/course/file", BODY)
        thing = entry(server.give("/path/to/file", BODY), digest=sha256(BODY))
        assert fetch.fetch(thing) and server.requests == []
        mirror.give("/course/file", OTHER)
        assert fetch.fetch(thing, again=True) and len(server.requests) == 1
        assert (home / "thing.bin").read_bytes() == BODY
    monkeypatch.setenv("DL_MIRROR", "/mnt/usb")
    with pytest.raises(UsageError, match="DL_MIRROR is '/mnt/usb'; it must begin with http"):
        fetch.fetch(thing, again=True)


def test_a_damaged_file_is_replaced_and_again_replaces_any(server, home):
    home.mkdir(parents=True)
    (home / "thing.bin").write_bytes(BODY[:99])
    thing = entry(server.give("/file", BODY), size=len(BODY))
    assert fetch.fetch(thing)
    (home / "thing.bin").write_bytes(OTHER)  # the size alone is published; the manifest knows better
    assert "another content than when it was verified" in verify.problems_of(thing)[0]
    assert fetch.fetch(thing) and (home / "thing.bin").read_bytes() == BODY
    server.give("/file", OTHER)
    assert not fetch.fetch(thing)
    assert fetch.fetch(thing, again=True) and (home / "thing.bin").read_bytes() == OTHER
    server.give("/file", OTHER, statuses=[404])
    with pytest.raises(FetchError):
        fetch.fetch(thing, again=True)
    assert (home / "thing.bin").read_bytes() == OTHER  # the old one stays


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_fifty_processes_fetch_once(server, home):
    address = server.give("/file", BODY, cuts=[60_000], stall=0.3)
    context = multiprocessing.get_context("fork")
    thing = entry(address, digest=sha256(BODY))
    all_of_them = [context.Process(target=fetch.fetch, args=(thing,), daemon=True) for _ in range(50)]
    for process in all_of_them:
        process.start()
    for process in all_of_them:
        process.join(60)
    assert [process.exitcode for process in all_of_them] == [0] * 50
    assert (home / "thing.bin").read_bytes() == BODY and left_in(home) == ["thing.bin"]
    assert ranges(server) == [None, "bytes=60000-"]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.parametrize("kind", ["file", "archive"])
def test_killed_at_any_moment_the_same_call_finishes_and_nothing_partial_has_the_final_name(server, home, kind):
    members = {f"folder/{n}.txt": os.urandom(3_000) for n in range(40)}
    if kind == "file":
        body, changes, final = BODY, {}, home / "thing.bin"
    else:
        body = zipped(*members.items())
        changes = {"path": "folder", "archive": True, "problems": lambda folder: []}
        final = home / "folder"
    address = server.give("/file", body, headers={"ETag": '"1"'}, pause=0.002)
    thing = entry(address, digest=sha256(body), **changes)
    context, moments = multiprocessing.get_context("fork"), random.Random(1)
    for _ in range(KILLS):
        process = context.Process(target=fetch.fetch, args=(thing,), daemon=True)
        process.start()
        process.join(moments.uniform(0.0, 0.06))
        process.kill()
        process.join()
        if final.exists():  # whole, or not there
            if kind == "file":
                assert final.read_bytes() == BODY
                final.unlink()
            else:
                assert {f"folder/{file.name}": file.read_bytes() for file in final.iterdir()} == members
                shutil.rmtree(final)
    fetch.fetch(thing)
    assert final.exists() and left_in(home) == [final.name]
    assert not verify.problems_of(thing)


# --- Disk ---


def test_too_little_space_is_told_before_the_download(server, home, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: SimpleNamespace(free=len(BODY) - 1))
    with pytest.raises(FetchError, match=r"the disk of .* is too full .* Delete something there, or set DL_HOME"):
        fetch.fetch(entry(server.give("/file", BODY)))
    assert left_in(home) == [] and server.requests == []


def test_a_disk_that_fills_meanwhile_is_told(server, home, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_copy", full)
    with pytest.raises(FetchError, match="is too full .* No space left"):
        fetch.fetch(entry(server.give("/file", BODY)))
    assert "thing.bin" not in left_in(home)


def test_a_place_that_cannot_be_written_is_told(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DL_HOME", str(tmp_path / "file"))
    with pytest.raises(FetchError, match=r"cannot write to .*Set DL_HOME to a folder that you can write to"):
        fetch.fetch(entry(server.give("/file", BODY)))


def test_what_is_good_is_used_where_nothing_can_be_written(server, home, monkeypatch, capsys):
    home.mkdir(parents=True)
    (home / "thing.bin").write_bytes(BODY)

    def read_only(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(manifest, "write_whole", read_only)
    manifest.say_once.cache_clear()
    assert not fetch.fetch(entry("http://127.0.0.1:9/file", digest=sha256(BODY)))
    assert not fetch.fetch(entry("http://127.0.0.1:9/file", digest=sha256(BODY)))
    assert (
        capsys.readouterr().out == "thing: thing.bin.manifest.json cannot be kept (Permission denied); going on without it.\n"
    )


# --- Archives ---


def zipped(*members):
    """Members are (name, text) or (name, text, file mode)."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as file:
        for name, text, *mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode[0] if mode else stat.S_IFREG | 0o644) << 16
            file.writestr(info, text)
    return body.getvalue()


def tarred(*members):
    """Members are (name, text) or (name, target, type of link)."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as file:
        for name, text, *kind in members:
            info = tarfile.TarInfo(name)
            if kind:
                info.type, info.linkname = kind[0], text
            else:
                info.size = len(text)
            file.addfile(info, io.BytesIO(b"" if kind else text.encode()))
    return body.getvalue()


def lacks_b(folder):
    return [] if (folder / "a" / "b.txt").is_file() else ["a/b.txt is missing"]


@pytest.mark.parametrize(
    "body",
    [
        zipped(("folder/", ""), ("folder/a/b.txt", "hello"), ("__MACOSX/x", "")),
        zipped(("a/b.txt", "hello")),
        tarred(("folder/a/b.txt", "hello")),
    ],
    ids=["zip", "zip-without-its-folder", "tar"],
)
def test_an_archive_becomes_its_folder(server, home, body):
    (home / "folder").mkdir(parents=True)  # a damaged one, which must give way
    (home / "folder" / "old").touch()
    (home / ".folder-killed.part").mkdir()  # of a process that was killed
    thing = entry(server.give("/file", body), path="folder", archive=True, problems=lacks_b)
    assert fetch.fetch(thing)
    assert (home / "folder" / "a" / "b.txt").read_text() == "hello"
    assert not (home / "folder" / "old").exists()
    assert left_in(home) == ["folder"]


@pytest.mark.parametrize(
    "body, reason",
    [
        (zipped(("../out.txt", "x")), r"\.\./out.txt \(leads out\)"),
        (zipped(("a/../../out.txt", "x")), "leads out"),
        (zipped(("/out.txt", "x")), "absolute"),
        (zipped(("a\\..\\..\\out.txt", "x")), "absolute|leads out"),
        (zipped(("C:/out.txt", "x")), "absolute"),
        (zipped(("a", "/etc", stat.S_IFLNK | 0o777)), "a link or device"),
        (tarred(("../out.txt", "x")), "leads out"),
        (tarred(("/out.txt", "x")), "absolute"),
        (tarred(("a", "..", tarfile.SYMTYPE), ("a/out.txt", "x")), "a link or device"),
        (tarred(("a", "/etc/passwd", tarfile.LNKTYPE)), "a link or device"),
        (zipped(("a/b.txt", "hello" * 99))[:300], "damaged"),
        (tarred(("a/b.txt", "".join(map(str, range(3000)))))[:-200], "damaged"),
        (zipped(("other/c.txt", "hello")), "a/b.txt is missing"),
    ],
    ids=range(13),
)
def test_an_archive_that_reaches_out_or_is_damaged_leaves_nothing(server, home, tmp_path, body, reason):
    with pytest.raises(FetchError, match=reason):
        fetch.fetch(entry(server.give("/file", body), path="folder", archive=True, problems=lacks_b))
    assert left_in(home) == []
    assert not list(tmp_path.rglob("out.txt"))


def test_an_archive_wants_space_for_its_content_too(server, home, monkeypatch):
    body = zipped(("a/b.txt", "hello"))
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: SimpleNamespace(free=2 * len(body)))
    with pytest.raises(FetchError, match="too full"):
        fetch.fetch(entry(server.give("/file", body), path="folder", archive=True, about=len(body)))
