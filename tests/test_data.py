"""Fetching against a server on this machine that can cut, refuse, lie and stall; verification; the registry itself."""

import errno
import hashlib
import io
import json
import multiprocessing
import pickle
import stat
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from dl import settings
from dl.__main__ import main
from dl.commands import data as manage
from dl.console import UsageError
from dl.data import ENTRIES, Entry, content, fetch, registry, require
from dl.data.fetch import FetchError

ROOT = Path(__file__).resolve().parent.parent
BODY = bytes(range(256)) * 400


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files[path]`, a namespace: body, and how to misbehave."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        file = self.server.files.get(self.path)
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        if file is None or file.failures:
            if file:
                file.failures -= 1
            return self.send_error(404 if file is None else 503)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and file.ranges else 0
        if wanted and file.ranges and start >= len(file.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(file.body)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            end = len(file.body) - 1
            self.send_header("Content-Range", f"bytes {start + file.shift}-{end}/{len(file.body)}")
        self.send_header("Content-Type", file.kind)
        self.send_header("Content-Length", str(len(file.body) - start))
        self.end_headers()
        cut, file.cut = file.cut, None
        self.wfile.write(file.body[start:cut])
        self.wfile.flush()
        if cut is not None:
            time.sleep(file.stall)
            self.close_connection = True

    def log_message(self, *args):
        """Keep the test's output quiet."""


@pytest.fixture
def server(monkeypatch):
    """`server.give(path, body, …)` offers a file and returns its address; `server.requests` are those that came."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.files, server.requests = {}, []

    usual = dict(body=BODY, cut=None, ranges=True, shift=0, kind="application/octet-stream", failures=0, stall=0)

    def give(path="/file", **behaviour):
        server.files[path] = SimpleNamespace(**{**usual, **behaviour})
        return f"http://127.0.0.1:{server.server_port}{path}"

    server.give = give
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Real data live in a temporary folder."""
    monkeypatch.setenv("DL_HOME", str(tmp_path))
    monkeypatch.delenv("DL_OFFLINE", raising=False)
    return tmp_path / "datasets"


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
    """Names of what is in the data folder, the lock aside."""
    return sorted(path.name for path in home.iterdir() if not path.name.endswith(".lock")) if home.exists() else []


# --- Download ---


def test_a_file_is_fetched_once_and_then_recognised(server, home, capsys):
    thing = entry(server.give(), size=len(BODY), digest=sha256(BODY))
    assert fetch.fetch(thing)
    assert (home / "thing.bin").read_bytes() == BODY
    assert left_in(home) == ["thing.bin"]
    assert "thing: 0 MB from http://127.0.0.1" in capsys.readouterr().out
    assert not fetch.fetch(thing)
    assert len(server.requests) == 1


def test_a_cut_download_is_resumed_where_it_was_cut(server, home):
    thing = entry(server.give(cut=60_000), digest=sha256(BODY))
    assert fetch.fetch(thing)
    assert (home / "thing.bin").read_bytes() == BODY
    assert server.requests == [("/file", None), ("/file", "bytes=60000-")]


def test_what_a_failed_call_left_is_used_by_the_next(server, home, monkeypatch):
    thing = entry(server.give(cut=50_000), digest=sha256(BODY))
    monkeypatch.setattr(fetch, "ATTEMPTS", 1)
    with pytest.raises(FetchError, match=r"cut after 50,000 of 102,400 bytes, 1 times\n.*again. 0 MB are kept"):
        fetch.fetch(thing)
    assert left_in(home) == ["thing.bin.part"]
    assert fetch.fetch(thing)
    assert server.requests[-1] == ("/file", "bytes=50000-")
    assert (home / "thing.bin").read_bytes() == BODY


def test_a_server_without_range_starts_again(server, home):
    thing = entry(server.give(cut=60_000, ranges=False), digest=sha256(BODY))
    assert fetch.fetch(thing)
    assert (home / "thing.bin").read_bytes() == BODY


def test_a_server_that_resumes_at_another_place_is_not_believed(server, home):
    address = server.give(cut=60_000, shift=7)
    assert fetch.fetch(entry(address))
    assert (home / "thing.bin").read_bytes() == BODY
    assert server.requests[-1] == ("/file", None)


@pytest.mark.parametrize("extra, last", [(b"", "bytes=102400-"), (b"more", None)])
def test_a_whole_part_is_taken_and_one_too_long_is_not(server, home, extra, last):
    home.mkdir()
    (home / "thing.bin.part").write_bytes(BODY + extra)
    assert fetch.fetch(entry(server.give(), digest=sha256(BODY)))
    assert (home / "thing.bin").read_bytes() == BODY
    assert server.requests[-1] == ("/file", last)


def test_a_stalled_server_is_left_and_resumed(server, home, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.3)
    assert fetch.fetch(entry(server.give(cut=60_000, stall=1.0)))
    assert (home / "thing.bin").read_bytes() == BODY
    assert server.requests[-1] == ("/file", "bytes=60000-")


def test_a_server_in_trouble_is_asked_again(server, home):
    assert fetch.fetch(entry(server.give(failures=2)))
    assert len(server.requests) == 3


# --- Refusals: the next address is tried, nothing stays under the final name ---


@pytest.mark.parametrize(
    "bad, reason",
    [
        (dict(body=BODY[::-1]), "its sha256 begins with .* not"),
        (dict(body=BODY[:-1]), "it has a file of 102,399 bytes, not 102,400"),
        (dict(body=b"<html>log in</html>", kind="text/html; charset=utf-8"), "a web page instead of the file"),
        (dict(body=b"\n<!DOCTYPE html>" + BODY[:-16]), "a web page instead of the file"),
    ],
    ids=["hash", "size", "html-type", "html-body"],
)
def test_a_wrong_file_is_refused_and_the_mirror_used(server, home, bad, reason):
    address = server.give("/bad", **bad)
    thing = entry(address, size=len(BODY), digest=sha256(BODY))
    with pytest.raises(FetchError, match=f"thing could not be fetched:\n  {address}: .*{reason}"):
        fetch.fetch(thing)
    assert left_in(home) == []
    assert fetch.fetch(replace(thing, addresses=(address, server.give("/good"))))
    assert (home / "thing.bin").read_bytes() == BODY


def test_absent_files_and_hosts_are_all_named(server, home):
    addresses = (f"http://127.0.0.1:{server.server_port}/none", "http://127.0.0.1:1/none")
    with pytest.raises(FetchError) as error:
        fetch.fetch(entry(*addresses))
    first, second = str(error.value).splitlines()[1:3]
    assert first == f"  {addresses[0]}: the server answered 404 Not Found"
    assert second.startswith(f"  {addresses[1]}: no connection (")
    assert "put it at" in str(error.value) and "python -m dl data verify thing" in str(error.value)
    assert left_in(home) == []


def test_content_that_the_readers_would_not_understand_is_refused(server, home):
    thing = entry(server.give(), problems=lambda path: ["it lacks everything"])
    with pytest.raises(FetchError, match="it lacks everything"):
        fetch.fetch(thing)
    assert left_in(home) == []


def test_offline_asks_nothing_and_takes_what_is_there(server, home, monkeypatch):
    monkeypatch.setenv("DL_OFFLINE", "1")
    thing = entry(server.give())
    with pytest.raises(UsageError, match="DL_OFFLINE forbids the network. Unset DL_OFFLINE"):
        fetch.fetch(thing)
    assert server.requests == []
    home.mkdir()
    (home / "thing.bin").write_bytes(BODY)
    assert not fetch.fetch(thing)


def test_a_damaged_file_is_replaced(server, home):
    home.mkdir()
    (home / "thing.bin").write_bytes(BODY[:99])
    assert fetch.fetch(entry(server.give(), size=len(BODY)))
    assert (home / "thing.bin").read_bytes() == BODY


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_two_processes_fetch_once(server, home):
    address = server.give(cut=60_000, stall=0.5)
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=fetch.fetch, args=(entry(address),)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    assert (home / "thing.bin").read_bytes() == BODY
    assert server.requests == [("/file", None), ("/file", "bytes=60000-")]


# --- Disk ---


def test_too_little_space_is_told_before_the_download(server, home, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: SimpleNamespace(free=len(BODY) - 1))
    with pytest.raises(FetchError, match=r"the disk of .* is too full .* Delete something there, or set DL_HOME"):
        fetch.fetch(entry(server.give()))
    assert left_in(home) == []


def test_a_disk_that_fills_meanwhile_is_told(server, home, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "_copy", full)
    with pytest.raises(FetchError, match="is too full .* No space left"):
        fetch.fetch(entry(server.give()))
    assert "thing.bin" not in left_in(home)


def test_a_place_that_cannot_be_written_is_told(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DL_HOME", str(tmp_path / "file"))
    with pytest.raises(FetchError, match=r"cannot write to .*Set DL_HOME to a folder that you can write to"):
        fetch.fetch(entry(server.give()))


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
    thing = entry(server.give(body=body), path="folder", archive=True, problems=lacks_b)
    assert fetch.fetch(thing)
    assert (home / "folder" / "a" / "b.txt").read_text() == "hello"
    assert not (home / "folder" / "old").exists()
    assert left_in(home) == ["folder"]


def lacks_b(folder):
    return [] if (folder / "a" / "b.txt").is_file() else ["a/b.txt is missing"]


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
)
def test_an_archive_that_reaches_out_or_is_damaged_leaves_nothing(server, home, tmp_path, body, reason):
    with pytest.raises(FetchError, match=reason):
        fetch.fetch(entry(server.give(body=body), path="folder", archive=True, problems=lacks_b))
    assert left_in(home) == []
    assert not list(tmp_path.rglob("out.txt"))


def test_an_archive_wants_space_for_its_content_too(server, home, monkeypatch):
    body = zipped(("a/b.txt", "hello"))
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: SimpleNamespace(free=2 * len(body)))
    with pytest.raises(FetchError, match="too full"):
        fetch.fetch(entry(server.give(body=body), path="folder", archive=True, about=len(body)))


# --- Content ---


def coco_data():
    words = ["<NULL>", "<START>", "<END>", "<UNK>", "cat"]
    data = {"vocab": {"idx_to_token": words, "token_to_idx": {word: index for index, word in enumerate(words)}}}
    for split, count in (("train", 3), ("val", 2)):
        data[f"{split}_images"] = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
        data[f"{split}_captions"] = torch.ones(count, 17, dtype=torch.int64)
    return data


def test_coco_is_checked_for_keys_agreement_and_damage(tmp_path):
    path = tmp_path / "coco.pt"
    torch.save(coco_data(), path)
    assert content.coco(path) == []
    torch.save({**coco_data(), "val_captions": torch.ones(1, 17, dtype=torch.int64)}, path)
    assert content.coco(path) == ["val has 2 images but 1 captions"]
    torch.save(coco_data(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert content.coco(path)[0].startswith("torch cannot read it")
    at = whole.index(torch.ones(17, dtype=torch.int64).numpy().tobytes())
    path.write_bytes(whole[:at] + b"\7" + whole[at + 1 :])
    assert "is damaged" in content.coco(path)[0]


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"f.0.weight": Evil()}, protocol=2))
    assert content.state_dict(path, {})[0].startswith("torch cannot read it")
    torch.save({"f.0.weight": Evil()}, path)
    assert content.state_dict(path, {})[0].startswith("torch cannot read it")
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_model_are_told_by_their_shapes(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(2, 3), "b": torch.zeros(1)}, path)
    assert content.state_dict(path, {"a": (2, 3)}) == []
    problems = content.state_dict(path, {"a": (2, 4), "c": (1,)})
    assert problems == ["a has shape (2, 3), not (2, 4)", "it has no tensor c"]
    torch.save([1], path)
    assert content.state_dict(path, {"a": (1,)}) == ["it holds a list, not a dictionary of tensors"]
    torch.save({"a": torch.zeros(2, 3)}, path, _use_new_zipfile_serialization=False)
    assert content.state_dict(path, {"a": (2, 3)}) == []


def test_the_encoder_of_torchvision_is_recognised(tmp_path):
    from torchvision.models import regnet_x_400mf

    torch.save(regnet_x_400mf().state_dict(), tmp_path / "regnet.pth")
    assert ENTRIES["regnet"].problems(tmp_path / "regnet.pth") == []


def test_cifar_batches_are_checked_by_their_md5s_without_being_opened(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", hashlib.md5(b"one").hexdigest()]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", hashlib.md5(b"two").hexdigest()]])
    monkeypatch.setitem(CIFAR10.meta, "md5", hashlib.md5(b"meta").hexdigest())
    for name, body in (("data_batch_1", b"one"), ("test_batch", b"two"), ("batches.meta", b"meta")):
        (tmp_path / name).write_bytes(body)
    assert content.cifar10(tmp_path) == []
    (tmp_path / "data_batch_1").write_bytes(b"0ne")
    (tmp_path / "test_batch").unlink()
    assert content.cifar10(tmp_path) == ["data_batch_1 has another MD5 than published", "test_batch is missing"]


def test_captioning_folder_is_checked_across_its_files(tmp_path):
    words = ["<NULL>", "<START>", "<END>", "<UNK>"]
    vocab = {"idx_to_word": words, "word_to_idx": {word: index for index, word in enumerate(words)}}
    (tmp_path / "coco2014_vocab.json").write_text(json.dumps(vocab))
    with h5py.File(tmp_path / "coco2014_captions.h5", "w") as file:
        for split in ("train", "val"):
            file[f"{split}_captions"] = np.ones((4, 17), np.int32)
            file[f"{split}_image_idxs"] = np.array([0, 1, 1, 2], np.int32)
    for split in ("train", "val"):
        (tmp_path / f"{split}2014_urls.txt").write_text("http://a\nhttp://b\nhttp://c\n")
        for kind in ("", "_pca"):
            with h5py.File(tmp_path / f"{split}2014_vgg16_fc7{kind}.h5", "w") as file:
                file["features"] = np.zeros((3, 2), np.float32)
    assert content.coco_captioning(tmp_path) == []
    (tmp_path / "val2014_urls.txt").write_text("http://a\nhttp://b\n")
    (tmp_path / "coco2014_vocab.json").write_text(json.dumps({**vocab, "idx_to_word": words[::-1]}))
    assert content.coco_captioning(tmp_path) == [
        "coco2014_vocab.json: word_to_idx is not the inverse of idx_to_word",
        "val: picture 2 is named, but there are 2 addresses",
    ]
    captions = tmp_path / "coco2014_captions.h5"
    with h5py.File(captions, "a") as file:
        del file["train_image_idxs"]
        file["train_image_idxs"] = np.array([0, 1], np.int32)
    assert content.coco_captioning(tmp_path)[1] == "train: (4, 17) captions and (2,) picture indices"
    captions.write_bytes(captions.read_bytes()[:700])
    assert content.coco_captioning(tmp_path)[0].startswith("a file cannot be read")
    captions.unlink()
    assert content.coco_captioning(tmp_path) == ["coco2014_captions.h5 is missing"]


def test_davis_videos_have_as_many_masks_as_frames(tmp_path):
    for split, video in (("train", "bear"), ("val", "soapbox")):
        (tmp_path / "ImageSets" / "2017").mkdir(parents=True, exist_ok=True)
        (tmp_path / "ImageSets" / "2017" / f"{split}.txt").write_text(f"{video}\n")
        for kind, ending in (("JPEGImages", "jpg"), ("Annotations", "png")):
            folder = tmp_path / kind / "480p" / video
            folder.mkdir(parents=True)
            for frame in range(2):
                (folder / f"{frame:05d}.{ending}").touch()
    assert content.davis(tmp_path) == []
    (tmp_path / "Annotations" / "480p" / "soapbox" / "00001.png").unlink()
    (tmp_path / "ImageSets" / "2017" / "train.txt").unlink()
    assert content.davis(tmp_path) == ["ImageSets/2017/train.txt is missing", "soapbox has 2 frames and 1 masks"]


# --- Registry and commands ---


def test_places_are_those_that_the_readers_use():
    places = {name: f"{'datasets' if e.kind == 'data' else 'pretrained_model'}/{e.path}" for name, e in ENTRIES.items()}
    assert places == {
        "coco": "datasets/coco.pt",
        "cifar10": "datasets/cifar-10-batches-py",
        "davis": "datasets/DAVIS",
        "coco_captioning": "datasets/coco_captioning",
        "regnet": "pretrained_model/regnet_x_400mf-adf1edd5.pth",
        "simclr": "pretrained_model/pretrained_simclr_model.pth",
        "clip": "pretrained_model/ViT-B-32.pt",
        "dino_vits8": "pretrained_model/dino_deitsmall8_pretrain.pth",
        "dino_vits16": "pretrained_model/dino_deitsmall16_pretrain.pth",
    }
    for made in ENTRIES.values():
        assert all(address.startswith(("https://", "http://")) for address in made.addresses)
        if made.digest:
            kind, digits = made.digest.split(":")
            assert kind in ("sha256", "md5") and int(digits, 16)


def test_the_table_for_people_says_what_the_registry_says():
    rows = [line for line in (ROOT / "datasets" / "README.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0].lstrip("| ") for row in rows] == list(ENTRIES)
    for row, made in zip(rows, ENTRIES.values(), strict=True):
        size = f"{made.size:,} bytes" if made.size else made.megabytes
        for fact in (f"/{made.path}`", size, made.digest or "none published", made.licence, *made.addresses):
            assert fact in row, (made.name, fact)


def test_require_names_the_command_and_the_size(home, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r'coco.pt not found. Run "python -m dl data fetch coco" \(397 MB\)'):
        require("coco")
    home.mkdir()
    (home / "coco.pt").touch()
    assert require("coco") == home / "coco.pt"
    monkeypatch.delenv("DL_HOME")
    assert ENTRIES["coco"].shown_location == "datasets/coco.pt"
    assert ENTRIES["regnet"].location == settings.weights_home() / "regnet_x_400mf-adf1edd5.pth"


def test_commands_fetch_verify_and_list(server, home, monkeypatch, capsys):
    made = {
        "good": entry(server.give(), name="good", digest=sha256(BODY)),
        "bad": entry(f"http://127.0.0.1:{server.server_port}/none", name="bad", path="bad.bin"),
    }
    monkeypatch.setattr(manage, "ENTRIES", made)
    assert main(["data", "verify"]) == 0
    assert capsys.readouterr().out == "Nothing has been fetched yet.\n"
    assert main(["data", "fetch", "bad", "good"]) == 1
    assert capsys.readouterr().out.endswith("1 of 2 are there and verified. Failed: bad.\n")
    assert main(["data", "verify"]) == 0
    assert capsys.readouterr().out == "good: hash and content verified\n1 of 1 are as they should be.\n"
    (home / "thing.bin").write_bytes(BODY[1:])
    assert main(["data", "verify", "good", "bad"]) == 1
    out = capsys.readouterr().out
    assert "good: its sha256 begins with" in out and "bad: it is not there; fetch it with" in out
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert "good: data, about 0 MB, present, " in out and "bad: data, about 0 MB, not fetched, " in out
    assert main(["data", "fetch", "god"]) == 2
    assert "no entry called god; there are: good, bad." in capsys.readouterr().err
    monkeypatch.setenv("DL_OFFLINE", "1")
    assert main(["data", "fetch", "bad"]) == 2
    assert "DL_OFFLINE" in capsys.readouterr().err


def test_megabytes_are_exact_only_where_published():
    assert ENTRIES["coco"].megabytes == "397 MB"
    assert ENTRIES["clip"].megabytes == "about 338 MB"
    assert registry.MB == 10**6
