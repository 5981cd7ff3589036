"""What must be in fetched files: verification, manifest, the readers' quick checks; the registry; the commands."""

import errno
import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import stand_ins
import torch
from fault_server import serving
from stand_ins import READERS, coco_data, stand_in

from dl import settings
from dl.__main__ import main
from dl.data import ENTRIES, content, download, fetch, manifest, registry, require, verify
from dl.training import networks

ROOT = Path(__file__).resolve().parent.parent
FILES = [name for name in READERS if name not in stand_ins.ARCHIVES]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Real data live in a temporary folder."""
    monkeypatch.setenv("DL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DL_DATA", "real")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0.0)
    for name in ("DL_OFFLINE", "DL_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def bodies(tmp_path_factory):
    """The download of each entry, made once while the networks are small."""
    made = {}

    def body(name):
        if name not in made:
            made[name] = stand_ins.download_of(name, tmp_path_factory.mktemp(name))
        return made[name]

    return body


@pytest.fixture
def offered(monkeypatch, bodies, tmp_path):
    """`offered(name)` lets the registry want a small stand-in, which a server on this machine gives; returns the entry."""
    stand_ins.shrink_networks(monkeypatch)
    with serving() as server:

        def offer(name):
            body = bodies(name)
            stand_in(monkeypatch, name, body, server.give(f"/{name}", body))
            if name == "cifar10":
                fetch.unpack(write(tmp_path / "cifar.tar.gz", body), tmp_path / "cifar", name)
                stand_ins.publish_cifar(monkeypatch, tmp_path / "cifar" / ENTRIES[name].path)
            return ENTRIES[name]

        yield offer


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def flip(file):
    """One byte in the middle is another; size and time are the same."""
    before, whole = file.stat(), bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 0x55
    file.write_bytes(whole)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])


def page(file):
    file.write_bytes(b"<!DOCTYPE html><title>Not found</title>")


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def hostile(file):
    torch.save({"weight": Evil(file.with_name("ran"))}, file)


def hostile_pickle(file):
    file.write_bytes(pickle.dumps({"weight": Evil(file.with_name("ran"))}, protocol=2))


def check_refused(entry, *words):
    """The reader gives a three-part error that names file and command; `verify` does not say "verified"."""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        READERS[entry.name]()
    message = str(error.value)
    assert entry.location.name in message and f"dl data fetch --again {entry.name}" in message, message
    assert "weights_only" not in message and "arbitrary code" not in message
    assert all(word in message for word in words), message
    assert main(["data", "verify", entry.name]) == 1
    assert not list(entry.location.parent.rglob("ran"))


# --- Fetched, read, damaged, refused, repaired: every entry ---


@pytest.mark.parametrize("name", READERS)
def test_every_entry_is_fetched_verified_and_read(offered, name, capsys):
    entry = offered(name)
    assert main(["data", "fetch", name]) == 0
    assert main(["data", "verify", name]) == 0
    assert "1 of 1 are as they should be" in capsys.readouterr().out
    assert READERS[name]()
    record = json.loads(entry.location.with_name(f"{entry.location.name}.manifest.json").read_text())
    recorded = {file: facts[2] for file, facts in record["files"].items()}
    found = [file for file in entry.location.rglob("*") if file.is_file()] or [entry.location]
    assert len(recorded) == len(found)
    for file in found:
        relative = file.relative_to(entry.location).as_posix() if file != entry.location else ""
        assert recorded[relative] == hashlib.sha256(file.read_bytes()).hexdigest()


CHILD = """
import sys
import torch
torch.set_default_dtype(getattr(torch, sys.argv[1]))
from pytest import MonkeyPatch
import a2_helper, rnn_lstm_captioning, stand_ins
from dl.data import ENTRIES
stand_ins.publish_cifar(MonkeyPatch(), ENTRIES["cifar10"].location)
read = {name: stand_ins.READERS[name]() for name in sys.argv[2:]}
assert all(read.values()) and read["coco_captioning"]["val_features"].dtype.name == "float32"
images, captions = (read["coco"][f"train_{kind}"] for kind in ("images", "captions"))
words = read["coco"]["vocab"]["token_to_idx"]
model = rnn_lstm_captioning.CaptioningRNN(words, 400, 8, 8, "attn", image_encoder_pretrained=False)
losses = a2_helper.train_captioner(model, images, captions, 2, 3, 1e-2, plot=False)[1]
assert len(losses) == 2 and next(model.parameters()).dtype == torch.get_default_dtype()
"""


@pytest.mark.parametrize(
    "dtype, environment",
    [("float32", {"LC_ALL": "C", "PYTHONUTF8": "0"}), ("float64", {})],  # else Python takes UTF-8 where the locale is C
    ids=["LC_ALL=C", "float64"],
)
def test_readers_and_a_training_need_no_locale_and_no_default_dtype(offered, tmp_path, monkeypatch, dtype, environment):
    monkeypatch.setenv("DL_HOME", str(tmp_path / "Bücher"))
    names = ("coco", "cifar10", "coco_captioning", "davis", "regnet")
    for name in names:
        fetch.fetch(offered(name))
    environment = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [sys.executable, "-c", CHILD, dtype, *names]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("damage", [flip, cut, page, hostile, hostile_pickle])
@pytest.mark.parametrize("fetched", [True, False], ids=["fetched", "by-hand"])
@pytest.mark.parametrize("name", ["coco", "regnet", "simclr", "clip", "dino_vits8"])
def test_a_damaged_file_is_refused_by_its_reader_and_by_verify(offered, bodies, name, damage, fetched):
    entry = offered(name)
    if fetched:
        fetch.fetch(entry)
    else:
        write(entry.location, bodies(name))
    damage(entry.location)
    check_refused(entry)


@pytest.mark.parametrize("name", FILES)
def test_again_repairs_a_file(offered, bodies, name):
    entry = offered(name)
    fetch.fetch(entry)
    flip(entry.location)
    assert verify.problems_of(entry)
    assert main(["data", "fetch", "--again", name]) == 0
    assert entry.location.read_bytes() == bodies(name) and READERS[name]()


@pytest.mark.parametrize("name", stand_ins.ARCHIVES)
def test_every_file_of_a_folder_counts_and_again_repairs(offered, name):
    entry = offered(name)
    fetch.fetch(entry)
    files = [file for file in sorted(entry.location.rglob("*")) if file.is_file() and file.suffix != ".txt"]
    for damage in (flip, cut, Path.unlink):
        for file in files[:: max(1, len(files) // 4)]:
            damage(file)
            check_refused(entry)
            assert file.name in verify.problems_of(entry)[0]
            assert main(["data", "fetch", "--again", name]) == 0 and READERS[name]()


def test_a_cut_jpeg_put_there_by_hand_is_named(offered):
    entry = offered("davis")
    fetch.fetch(entry)
    entry.location.with_name("DAVIS.manifest.json").unlink()
    frame = entry.location / "JPEGImages" / "480p" / "garden" / "00001.jpg"
    cut(frame)
    check_refused(entry, "00001.jpg cannot be read")
    assert "JPEGImages/480p/garden/00001.jpg cannot be read" in verify.problems_of(entry)[0]


def test_other_weights_of_the_same_network_are_told_by_hash_or_manifest(offered):
    for name in ("regnet", "simclr"):  # a published hash; none
        entry = offered(name)
        fetch.fetch(entry)
        other = io.BytesIO()  # a file's name goes into its bytes
        torch.save({key: value + 1 for key, value in stand_ins.state_dict(name).items()}, other)
        entry.location.write_bytes(other.getvalue())
        check_refused(entry, "another content than when it was verified")
        manifest._path(entry).unlink()
    with pytest.raises(ValueError, match="its sha256 begins with"):
        READERS["regnet"]()


def test_clip_of_another_network_is_refused_and_a_plain_state_dict_of_its_own_is_not(offered, monkeypatch):
    entry = offered("clip")
    write(entry.location, b"")
    torch.save(stand_ins.state_dict("clip"), entry.location)
    assert READERS["clip"]() and main(["data", "verify", "clip"]) == 0
    torch.save({**stand_ins.state_dict("clip"), "visual.proj": torch.ones(64, 9)}, entry.location)
    check_refused(entry, "not the clip")
    manifest._path(entry).unlink()
    check_refused(entry, "visual.proj has shape (64, 9), not (64, 8)")


def test_verify_never_praises_what_only_looks_right(offered):
    entry = offered("simclr")
    good = stand_ins.state_dict("simclr")
    name = "f.0.weight"
    for bad, words in (
        ({**good, name: good[name].half()}, "f.0.weight is torch.float16, not torch.float32"),
        ({**good, name: good[name][:8]}, "f.0.weight has shape (8, 3, 3, 3), not (32, 3, 3, 3)"),
        ({key: value for key, value in good.items() if key != name}, "it has no tensor f.0.weight"),
        ({**good, "extra": good[name]}, "its tensor extra is none of the network's"),
        ({**good, name: good[name] * float("nan")}, "f.0.weight holds numbers that are not finite"),
        ([good], "not a dictionary of tensors"),
    ):
        torch.save(bad, write(entry.location, b""))
        assert words in "; ".join(verify.problems_of(entry))
        check_refused(entry, words)
    counters = {"total_ops": torch.zeros(1), "f.1.total_params": torch.zeros(1)}
    torch.save({**good, **counters}, entry.location)
    assert verify.problems_of(entry) == []


def test_networks_have_the_published_shapes():
    shapes = {
        "regnet": {"stem.0.weight": (32, 3, 3, 3), "fc.weight": (1000, 400)},
        "simclr": {"f.0.weight": (64, 3, 3, 3), "g.3.weight": (128, 512)},
        "dino_vits8": {"pos_embed": (1, 785, 384), "patch_embed.proj.weight": (384, 3, 8, 8)},
        "dino_vits16": {"pos_embed": (1, 197, 384), "patch_embed.proj.weight": (384, 3, 16, 16)},
        "clip": {"visual.conv1.weight": (768, 3, 32, 32), "text_projection": (512, 512), "positional_embedding": (77, 512)},
    }
    for network, some in shapes.items():
        found = content.network_tensors(network)
        assert {name: tuple(found[name].shape) for name in some} == some


def test_the_list_of_tensors_is_that_of_the_networks():
    torch.manual_seed(0)
    assert networks.derive() == content.TENSORS.read_text(), "run python -m dl.training.networks"
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))


def test_torchvisions_own_network_is_recognised_in_both_formats(tmp_path):
    from torchvision.models import regnet_x_400mf

    for zipped in (True, False):
        torch.save(regnet_x_400mf().state_dict(), tmp_path / "regnet.pth", _use_new_zipfile_serialization=zipped)
        assert ENTRIES["regnet"].problems(tmp_path / "regnet.pth") == []


# --- Manifest ---


def test_readers_hash_only_what_may_have_changed(offered, monkeypatch):
    entry = offered("davis")
    fetch.fetch(entry)
    hashed = []
    real = manifest.digest
    monkeypatch.setattr(manifest, "digest", lambda path, kind: hashed.append(Path(path).name) or real(path, kind))
    require("davis")
    assert hashed  # unpacked a moment ago: a change within the clock's grain would show no other time
    record = json.loads(manifest._path(entry).read_text())
    record["checked"] += 10 * manifest.GRAIN
    manifest._path(entry).write_text(json.dumps(record))
    hashed.clear()
    require("davis")
    assert hashed == []
    touched = entry.location / "JPEGImages" / "480p" / "garden" / "00000.jpg"
    os.utime(touched)
    require("davis")
    assert hashed == ["00000.jpg"]
    assert verify.problems_of(entry) == [] and len(hashed) > 10


def test_a_manifest_that_cannot_be_read_is_none_and_files_of_systems_are_no_matter(offered):
    entry = offered("davis")
    fetch.fetch(entry)
    for name in ("Thumbs.db", "._00000.jpg", ".DS_Store"):
        write(entry.location / "JPEGImages" / "480p" / "garden" / name, b"x")
    assert verify.problems_of(entry) == []
    for broken in (b"", b"{}", b"[1]", b'{"files": {"a": 1}, "checked": 2}', b"\xff\xfe"):
        write(manifest._path(entry), broken)
        assert manifest.differences(entry) is None
    assert verify.problems_of(entry) == []


def test_what_is_put_there_by_hand_and_good_is_recorded_where_that_is_possible(offered, bodies, monkeypatch, capsys):
    entry = offered("regnet")
    write(entry.location, bodies("regnet"))

    def read_only(*args):
        raise PermissionError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write_whole", read_only)
        manifest.say_once.cache_clear()
        assert READERS["regnet"]() and READERS["regnet"]()
        assert capsys.readouterr().out.count("cannot be kept (Read-only file system); going on") == 1
    assert READERS["regnet"]() and manifest._path(entry).is_file()


# --- Adopt ---


def test_what_others_unpacked_or_downloaded_is_adopted(offered, bodies, tmp_path, capsys):
    wanted = {name: offered(name) for name in ("cifar10", "davis", "regnet", "coco")}
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "cifar", other / "data")  # torchvision's root
    write(other / "downloads" / "davis", bodies("davis"))  # the archive, under the name that the address gives it
    write(other / "models" / wanted["regnet"].path, bodies("regnet"))
    write(other / "coco.pt", b"<html>")
    assert main(["data", "adopt", str(other)]) == 1
    out = capsys.readouterr().out
    assert "cifar10: adopted to" in out and "davis: adopted to" in out and "regnet: adopted to" in out
    assert "coco.pt: it is a web page" in out and "3 of 4 found are there and verified." in out
    for name in ("cifar10", "davis", "regnet"):
        assert READERS[name]() and manifest.differences(wanted[name]) == []
    assert (other / "data" / wanted["cifar10"].path / "test_batch").is_file()  # copied, not moved
    assert not wanted["coco"].location.exists()


def test_a_folder_of_another_name_is_adopted_and_nothing_is_said_to_be_nothing(offered, tmp_path, bodies, capsys):
    entry = offered("davis")
    fetch.unpack(write(tmp_path / "davis.zip", bodies("davis")), tmp_path / "all", "davis")
    (tmp_path / "all" / "DAVIS").rename(tmp_path / "davis2017")
    assert main(["data", "adopt", str(tmp_path / "davis2017")]) == 0 and READERS["davis"]()
    assert main(["data", "adopt", str(entry.location)]) == 0  # where it is already
    (tmp_path / "empty").mkdir()
    assert main(["data", "adopt", str(tmp_path / "empty")]) == 2
    assert "nothing of the registry is in" in capsys.readouterr().err
    assert main(["data", "adopt", str(tmp_path / "none")]) == 2


# --- Content ---


def test_coco_is_checked_for_keys_agreement_damage_and_holes(tmp_path):
    path = tmp_path / "coco.pt"
    torch.save(coco_data(), path)
    assert content.coco(path) == []
    one = torch.ones(1, 17, dtype=torch.int64)
    for changes, problem in (
        ({"val_captions": one}, "val has 2 images but 1 captions"),
        ({"val_captions": one.repeat(2, 1) * 7}, "val_captions hold indices outside the vocabulary of 5 words"),
        ({"train_captions": torch.cat([one, one * 0, one])}, "train_captions has 1 without a word"),
        ({"train_images": torch.zeros(3, 3, 112, 112, dtype=torch.uint8)}, "train_images has 3 black ones"),
    ):
        torch.save({**coco_data(), **changes}, path)
        assert problem in content.coco(path)
    torch.save(coco_data(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert content.coco(path)[0].startswith("it is cut or damaged")
    path.write_bytes(whole[:50_000] + bytes(9_000) + whole[59_000:])
    assert "is damaged" in content.coco(path)[0]


@pytest.mark.parametrize(
    "holes, words",
    [
        ({"train_images": torch.zeros(3, 3, 112, 112, dtype=torch.uint8)}, "train_images has 3 black ones"),
        ({"val_captions": torch.zeros(2, 17, dtype=torch.int64)}, "val_captions has 2 without a word"),
    ],
    ids=["images", "captions"],
)
def test_zeros_in_coco_are_refused_by_its_reader_and_by_verify(offered, bodies, capsys, holes, words):
    entry = offered("coco")
    file = io.BytesIO()
    torch.save({**coco_data(), **holes}, file)
    assert len(file.getvalue()) == len(bodies("coco")) == entry.size  # nothing but the content tells
    write(entry.location, file.getvalue())
    check_refused(entry, words)
    assert f"coco: {words}" in capsys.readouterr().out
    assert main(["data", "fetch", "coco"]) == 0 and READERS["coco"]()


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
    assert content.coco_captioning(tmp_path) == [] == verify.coco_features(tmp_path)
    (tmp_path / "val2014_urls.txt").write_text("http://a\nhttp://b\n")
    (tmp_path / "coco2014_vocab.json").write_text(json.dumps({**vocab, "idx_to_word": words[::-1][:1]}))
    (found,) = content.coco_captioning(tmp_path)
    assert "word_to_idx is not the inverse of idx_to_word" in found
    assert "val names image 2, but there are 2 addresses" in found
    assert "val_captions hold indices outside the vocabulary of 1 words" in found
    assert [problem.split(" has")[0] for problem in verify.coco_features(tmp_path)] == [
        "val2014_vgg16_fc7.h5",
        "val2014_vgg16_fc7_pca.h5",
    ]
    with h5py.File(tmp_path / "train2014_vgg16_fc7.h5", "a") as file:
        file["features"][1, 1] = np.nan
    assert verify.coco_features(tmp_path)[0] == "train2014_vgg16_fc7.h5 holds numbers that are not finite"
    cut(tmp_path / "coco2014_captions.h5")
    assert "coco2014_captions.h5 cannot be read" in content.coco_captioning(tmp_path)[0]
    (tmp_path / "coco2014_captions.h5").unlink()
    (tmp_path / "val2014_vgg16_fc7.h5").unlink()
    assert content.coco_captioning(tmp_path) == ["val2014_vgg16_fc7.h5 is missing"]


def test_cifar_batches_are_checked_by_their_md5s_without_being_opened(offered):
    entry = offered("cifar10")
    fetch.fetch(entry)
    hostile_pickle(entry.location / "data_batch_1")
    (entry.location / "test_batch").unlink()
    assert content.cifar10(entry.location) == ["data_batch_1 has another MD5 than published", "test_batch is missing"]
    assert not list(entry.location.rglob("ran"))


# --- Registry and commands ---


def test_places_are_those_that_the_readers_use():
    places = {name: f"{'datasets' if e.kind == 'data' else 'pretrained_model'}/{e.path}" for name, e in ENTRIES.items()}
    assert places == {
        "coco": "datasets/coco.pt",
        "cifar10": "datasets/cifar-10-batches-py",
        "davis": "datasets/DAVIS",
        "coco_captioning": "datasets/coco_captioning",
        "coco_examples": "datasets/pictures_by_url",
        "regnet": "pretrained_model/regnet_x_400mf-adf1edd5.pth",
        "simclr": "pretrained_model/pretrained_simclr_model.pth",
        "clip": "pretrained_model/ViT-B-32.pt",
        "dino_vits8": "pretrained_model/dino_deitsmall8_pretrain.pth",
        "dino_vits16": "pretrained_model/dino_deitsmall16_pretrain.pth",
    }
    for made in ENTRIES.values():
        schemes = [address.partition("://")[0] for address in made.addresses]
        assert set(schemes) <= {"https", "http"} and schemes == sorted(schemes, reverse=True)  # encrypted ones first
        if made.digest:
            kind, digits = made.digest.split(":")
            assert kind in ("sha256", "md5") and int(digits, 16)


def test_published_sizes_and_hashes_are_those_that_were_found():
    facts = {name: (entry.size, (entry.digest or "")[-6:]) for name, entry in ENTRIES.items() if entry.size}
    assert facts == {
        "coco": (396_583_632, ""),
        "cifar10": (170_498_071, "74349a"),
        "davis": (832_766_765, "a2aa492"[-6:]),
        "clip": (353_976_522, "8eba950af"[-6:]),
        "dino_vits8": (86_728_949, "bb6d75e"[-6:]),
    }
    assert ENTRIES["regnet"].about == 22_300_000 and len(ENTRIES["clip"].addresses) == 2


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
    write(home / "datasets" / "coco.pt", b"")
    with pytest.raises(ValueError, match=r'it is cut or damaged.* Run "python -m dl data fetch --again coco", or leave'):
        require("coco")
    monkeypatch.delenv("DL_HOME")
    assert ENTRIES["coco"].shown_location == "datasets/coco.pt"
    assert ENTRIES["regnet"].location == settings.weights_home() / "regnet_x_400mf-adf1edd5.pth"


def test_a_relative_home_is_within_the_project_wherever_one_is(monkeypatch, tmp_path):
    monkeypatch.setenv("DL_HOME", "bigdisk")
    monkeypatch.chdir(tmp_path)
    assert settings.data_home() == ROOT / "bigdisk" / "datasets"
    monkeypatch.setenv("DL_HOME", "~/big")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.weights_home() == tmp_path / "big" / "pretrained_model"


@pytest.fixture
def small_registry(monkeypatch):
    """Entries that need nothing but a few bytes, from a server on this machine."""
    with serving() as server:
        for name, made in list(ENTRIES.items()):
            address = server.give(f"/{name}", name.encode())
            changed = dict(addresses=(address,), size=None, digest=None, archive=False, problems=content.hash_only)
            small = replace(made, **changed, collection=False, convertible=False, about=9, path=f"{name}.bin")
            monkeypatch.setitem(ENTRIES, name, small)
        yield server


def test_all_topics_and_notebooks_are_fetched_by_name(small_registry, home, capsys, monkeypatch):
    assert main(["data", "fetch", "clip_dino"]) == 0
    assert [path for path, _ in small_registry.requests] == [
        "/coco_captioning",
        "/coco_examples",
        "/davis",
        "/clip",
        "/dino_vits8",
    ]
    small_registry.requests.clear()
    assert main(["data", "fetch", "simclr", "rnn_lstm_captioning"]) == 0  # the entry, not the topic of that name
    assert [path for path, _ in small_registry.requests] == ["/simclr", "/coco", "/regnet"]
    assert main(["data", "fetch", "Self_Supervised_Learning"]) == 0
    assert main(["data", "fetch", "--all"]) == 0
    assert len(list(home.rglob("*.bin"))) == len(ENTRIES) == 10
    monkeypatch.setenv("DL_OFFLINE", "1")
    assert main(["data", "fetch", "--all"]) == 0  # a prepared machine needs no network
    assert capsys.readouterr().out.endswith("10 of 10 are there and verified.\n")
    assert main(["data", "fetch"]) == 2 and main(["data", "fetch", "god"]) == 2
    err = capsys.readouterr().err
    assert "name what to fetch" in err and "no entry called god; there are: coco, " in err and "CLIP_DINO" in err


def test_commands_fetch_verify_and_list(small_registry, home, monkeypatch, capsys):
    assert main(["data", "verify"]) == 0
    assert capsys.readouterr().out == "Nothing has been fetched yet.\n"
    del small_registry.files["/regnet"]
    assert main(["data", "fetch", "regnet", "coco"]) == 1
    assert capsys.readouterr().out.endswith("1 of 2 are there and verified. Failed: regnet.\n")
    assert main(["data", "verify"]) == 0
    assert capsys.readouterr().out == "coco: content verified\n1 of 1 are as they should be.\n"
    (home / "datasets" / "coco.bin").write_bytes(b"xxxx")
    assert main(["data", "verify", "coco", "regnet"]) == 1
    out = capsys.readouterr().out
    assert "coco: it has the right size but another content" in out and "regnet: it is not there; fetch it with" in out
    assert out.endswith("Fetch again: python -m dl data fetch --again coco regnet\n")
    monkeypatch.setenv("DL_MIRROR", "http://m.example/")
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert "coco: data, about 0 MB, present, " in out and "regnet: weights, about 0 MB, not fetched, " in out
    assert "DL_MIRROR is asked first: http://m.example\n" in out
    monkeypatch.delenv("DL_MIRROR")
    monkeypatch.setenv("DL_OFFLINE", "1")
    assert main(["data", "fetch", "regnet"]) == 2
    assert "DL_OFFLINE" in capsys.readouterr().err


def test_megabytes_are_exact_only_where_published():
    assert ENTRIES["coco"].megabytes == "397 MB" and ENTRIES["clip"].megabytes == "354 MB"
    assert ENTRIES["regnet"].megabytes == "about 22 MB"
    assert registry.MB == 10**6
