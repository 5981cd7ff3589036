"""Captioned pictures: reading the folder, decoding captions, minibatches, and pictures by their address."""

import http.server
import io
import json
import threading
import time

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from dl.coco_utils import decode_captions, load_coco_data, sample_coco_minibatch
from dl.data import download, pictures
from dl.image_utils import image_from_url
from dl.world.export import write_coco_captioning

WORDS = ["<NULL>", "<START>", "<END>", "<UNK>", "a", "dog"]
KEYS = [
    "train_captions",
    "train_image_idxs",
    "val_captions",
    "val_image_idxs",
    "train_features",
    "val_features",
    "idx_to_word",
    "word_to_idx",
    "train_urls",
    "val_urls",
]


@pytest.fixture
def folder(tmp_path):
    """A folder as the course's, with 6 training and 4 validation captions of 3 and 2 pictures."""
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "coco2014_captions.h5", "w") as file:
        for split, captions, pictures in (("train", 6, 3), ("val", 4, 2)):
            file[f"{split}_captions"] = rng.integers(0, 6, (captions, 17), dtype=np.int32)
            file[f"{split}_image_idxs"] = np.arange(captions, dtype=np.int32)[::-1] // 2 % pictures
    for split, pictures in (("train", 3), ("val", 2)):
        (tmp_path / f"{split}2014_urls.txt").write_text("".join(f"http://x/{split}{n}.jpg\n" for n in range(pictures)))
        for kind, values in (("", 4096), ("_pca", 512)):
            with h5py.File(tmp_path / f"{split}2014_vgg16_fc7{kind}.h5", "w") as file:
                file["features"] = rng.random((pictures, values), dtype=np.float32)
    vocab = {"idx_to_word": WORDS, "word_to_idx": {word: index for index, word in enumerate(WORDS)}}
    (tmp_path / "coco2014_vocab.json").write_text(json.dumps(vocab))
    return tmp_path


def test_all_parts_are_read_in_the_courses_order(folder, capsys):
    data = load_coco_data(folder)
    assert list(data) == KEYS
    assert capsys.readouterr().out == f"base dir  {folder.as_posix()}\n"
    for name, shape, dtype in (
        ("train_captions", (6, 17), np.int32),
        ("train_image_idxs", (6,), np.int32),
        ("val_captions", (4, 17), np.int32),
        ("val_image_idxs", (4,), np.int32),
        ("train_features", (3, 512), np.float32),
        ("val_features", (2, 512), np.float32),
    ):
        assert data[name].shape == shape and data[name].dtype == dtype
    assert data["idx_to_word"] == WORDS and data["word_to_idx"]["dog"] == 5
    assert data["train_urls"].shape == (3,) and data["val_urls"][1] == "http://x/val1.jpg"
    assert data["val_urls"].dtype.kind == "U"


def test_features_can_be_wide_or_left_out(folder):
    assert load_coco_data(str(folder), pca_features=False)["val_features"].shape == (2, 4096)
    for file in folder.glob("*fc7*"):
        file.unlink()
    assert list(load_coco_data(folder, features=False)) == [key for key in KEYS if "features" not in key]


def test_fewer_training_captions_are_drawn_with_replacement_from_numpys_stream(folder):
    whole = load_coco_data(folder)
    np.random.seed(3)
    drawn = load_coco_data(folder, max_train=50)
    np.random.seed(3)
    chosen = np.random.randint(6, size=50)
    assert np.array_equal(drawn["train_captions"], whole["train_captions"][chosen])
    assert np.array_equal(drawn["train_image_idxs"], whole["train_image_idxs"][chosen])
    assert len(drawn["train_features"]) == 3 and len(drawn["val_captions"]) == 4


def test_every_missing_file_is_named(folder, monkeypatch):
    for name in ("coco2014_vocab.json", "val2014_urls.txt", "train2014_vgg16_fc7_pca.h5"):
        (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match="lacks coco2014_vocab.json, train2014_vgg16_fc7_pca.h5, val2014_urls.txt"):
        load_coco_data(folder)
    monkeypatch.setenv("DL_DATA", "real")
    monkeypatch.setenv("DL_HOME", str(folder))
    with pytest.raises(FileNotFoundError, match='Run "python -m dl data fetch coco_captioning"'):
        load_coco_data()


def test_damaged_files_are_named(folder):
    def fails(words):
        with pytest.raises(ValueError, match=f"load_coco_data: .*{words}"):
            load_coco_data(folder)

    vocab, captions, urls = (folder / n for n in ("coco2014_vocab.json", "coco2014_captions.h5", "val2014_urls.txt"))
    kept = captions.read_bytes()
    captions.write_bytes(kept[:500])
    fails("coco2014_captions.h5 cannot be read")
    captions.write_bytes(kept)
    with h5py.File(captions, "a") as file:
        del file["val_image_idxs"]
    fails("wanted HDF5 with train_captions, .*val_image_idxs")
    captions.write_bytes(kept)
    urls.write_text("http://x/val0.jpg\n")
    with h5py.File(captions, "a") as file:
        file["train_captions"][2, 3] = 6
    fails("train_captions hold indices outside the vocabulary of 6 words; val names image 1, but there are 1 addresses")
    vocab.write_text("<html>")
    fails("coco2014_vocab.json is no vocabulary")


@pytest.mark.parametrize("change", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n"), lambda t: t + "\n\n"])
def test_texts_saved_by_an_editor_are_read(folder, change):
    for name in ("coco2014_vocab.json", "train2014_urls.txt", "val2014_urls.txt"):
        (folder / name).write_bytes(change((folder / name).read_text()).encode())
    data = load_coco_data(folder)
    assert data["idx_to_word"] == WORDS and data["val_urls"].tolist() == ["http://x/val0.jpg", "http://x/val1.jpg"]


def test_an_address_is_a_line_whatever_is_in_it(folder):
    (folder / "train2014_urls.txt").write_text("images/my picture.png\nhttp://x/b.jpg\nhttp://x/c.jpg\n")
    assert load_coco_data(folder)["train_urls"].tolist() == ["images/my picture.png", "http://x/b.jpg", "http://x/c.jpg"]
    (folder / "train2014_urls.txt").write_text("http://x/a.jpg\n\nhttp://x/c.jpg\n")
    with pytest.raises(ValueError, match="train2014_urls.txt has no address in line 2, wanted one in every line"):
        load_coco_data(folder)


def test_captions_are_decoded():
    assert decode_captions(np.array([1, 4, 5, 0, 2]), WORDS) == "<START> a dog <END>"
    assert decode_captions([[1, 4, 3, 2, 5], [0, 0, 0, 0, 0], [5, 0, 4, 5, 0]], WORDS) == [
        "<START> a <UNK> <END>",
        "",
        "dog a dog",
    ]
    assert decode_captions(np.zeros((0, 17), int), WORDS) == []


def test_captions_are_decoded_from_tensors_and_with_a_vocabulary_that_was_json():
    for through in (WORDS, dict(enumerate(WORDS)), {str(index): word for index, word in enumerate(WORDS)}):
        assert decode_captions(torch.tensor([1, 4, 5, 0, 2, 4, 4], dtype=torch.int32), through) == "<START> a dog <END>"
    assert decode_captions(torch.zeros(2, 5).long(), WORDS) == ["", ""]


def test_what_is_no_caption_is_refused():
    for captions, words in (
        (np.array([0, 6]), "index 6 has no word among 6"),
        (np.array([-1]), "index -1 has no word"),
        (np.array([0.0]), r"got float64 \(1,\)"),
        (torch.tensor([True]), "got bool"),
        (torch.zeros(1, 1, 2).long(), r"got int64 \(1, 1, 2\)"),
    ):
        with pytest.raises(ValueError, match=f"decode_captions: .*{words}"):
            decode_captions(captions, WORDS)
    with pytest.raises(ValueError, match="the keys of idx_to_word must be indices, got '<NULL>'. Pass idx_to_word, not"):
        decode_captions(torch.tensor([1]), {word: index for index, word in enumerate(WORDS)})


def test_minibatches_keep_captions_features_and_addresses_together(folder):
    data = load_coco_data(folder)
    np.random.seed(0)
    captions, features, urls = sample_coco_minibatch(data, batch_size=40, split="val")
    assert captions.shape == (40, 17) and features.shape == (40, 512) and urls.shape == (40,)
    for caption, feature, url in zip(captions, features, urls, strict=True):
        (index,) = np.flatnonzero((data["val_captions"] == caption).all(axis=1))
        picture = data["val_image_idxs"][index]
        assert np.array_equal(feature, data["val_features"][picture]) and url == data["val_urls"][picture]
    with pytest.raises(ValueError, match="wanted the split 'train' or 'val' of data with features, got 'test'"):
        sample_coco_minibatch(data, split="test")
    with pytest.raises(ValueError, match="Call load_coco_data with features=True"):
        sample_coco_minibatch(load_coco_data(folder, features=False))


# --- Pictures by their address ---


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def encoded(kind="PNG", mode="RGB", size=(6, 4), **options):
    file = io.BytesIO()
    Image.new(mode, size, 128 if mode == "L" else (250, 10, 20) if mode == "RGB" else (250, 10, 20, 90)).save(
        file, kind, **options
    )
    return file.getvalue()


class Server(http.server.BaseHTTPRequestHandler):
    """Answers by the path; counts the questions."""

    asked: list = []

    def do_GET(self):  # noqa: N802
        self.asked.append(self.path)
        if self.path == "/moved.jpg":
            self.send_response(302)
            self.send_header("Location", "/photo_unavailable.png")
            self.end_headers()
            return
        if self.path == "/slow.png":
            time.sleep(1)
        status, kind, body = {
            "/a.png": (200, "image/png", encoded()),
            "/gato_%C3%B1.png": (200, "image/png", encoded()),
            "/my%20cat.png?q=%C3%B1&100%25": (200, "image/png", encoded()),
            "/upright.jpg": (200, "image/jpeg", encoded(kind="JPEG", exif=turned())),
            "/grey.png": (200, "image/png", encoded(mode="L")),
            "/alpha.png": (200, "image/png", encoded(mode="RGBA")),
            "/page.jpg": (200, "text/html", b"<!DOCTYPE html><p>no"),
            "/cut.png": (200, "image/png", encoded(size=(90, 90))[:60]),
            "/short.png": (200, "image/png", encoded()),
            "/photo_unavailable.png": (200, "image/png", encoded()),
            "/slow.png": (200, "image/png", encoded()),
        }.get(self.path, (404, "text/plain", b"no"))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) + 9 * (self.path == "/short.png")))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("DL_HOME", str(tmp_path))
    monkeypatch.delenv("DL_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Server.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def cached(tmp_path):
    folder = tmp_path / "datasets" / pictures.CACHE
    return list(folder.iterdir()) if folder.exists() else []


def test_a_picture_is_fetched_once_and_then_read_from_the_disk(site, tmp_path, monkeypatch):
    picture = image_from_url(f"{site}/a.png")
    assert picture.shape == (4, 6, 3) and picture.dtype == np.uint8 and tuple(picture[0, 0]) == (250, 10, 20)
    assert len(cached(tmp_path)) == 1
    monkeypatch.setenv("DL_OFFLINE", "1")
    assert np.array_equal(image_from_url(f"{site}/a.png"), picture) and Server.asked == ["/a.png"]
    with pytest.raises(FileNotFoundError, match="was not fetched before, and DL_OFFLINE forbids the network"):
        image_from_url(f"{site}/grey.png")


def test_every_picture_comes_as_rgb(site):
    assert image_from_url(f"{site}/grey.png").tolist() == np.full((4, 6, 3), 128).tolist()
    assert image_from_url(f"{site}/alpha.png")[0, 0].tolist() == [253, 169, 172]  # on white
    assert image_from_url(f"{site}/upright.jpg").shape == (6, 4, 3)


def test_addresses_may_have_blanks_and_letters(site, tmp_path):
    for path in ("/gato_ñ.png", "/gato_%C3%B1.png", "/my cat.png?q=ñ&100%"):
        assert image_from_url(site + path).shape == (4, 6, 3)
    assert pictures._in_ascii("http://bücher.example/ä#b") == "http://xn--bcher-kva.example/%C3%A4"
    with pytest.raises(ValueError, match="is no server's name"):
        image_from_url("http://ü..x/a.png")


def test_what_fails_is_an_error_and_leaves_no_file(site, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "TIMEOUT", 0.3)
    monkeypatch.setattr(download, "PAUSE", 0.0)
    for path, error, words in (
        ("/gone.png", ConnectionError, "the server answered 404 Not Found: the file is no longer there, wanted its image"),
        ("/page.jpg", ValueError, "gives a web page, wanted an image"),
        ("/cut.png", ValueError, r"gives no image \("),
        ("/short.png", ConnectionError, "cut after .* bytes"),
        ("/moved.jpg", ConnectionError, "has been removed"),
        ("/slow.png", ConnectionError, "no answer"),
    ):
        with pytest.raises(error, match=f"image_from_url: {site}{path}:? ?.*({words})"):
            image_from_url(site + path)
    monkeypatch.setattr(pictures, "LARGEST", 20)
    with pytest.raises(ConnectionError, match="no more than 20"):
        image_from_url(f"{site}/a.png")
    with pytest.raises(ConnectionError, match="image_from_url: http://127.0.0.1:9/a.png: no connection"):
        image_from_url("http://127.0.0.1:9/a.png")
    assert cached(tmp_path) == []


def test_other_addresses_are_refused():
    for url in ("ftp://x/a.png", "file:///a.png", "http:///a.png"):
        with pytest.raises(ValueError, match="wanted an address that begins with http:// or https://"):
            image_from_url(url)


@pytest.fixture
def captioned(tmp_path, monkeypatch):
    folder = tmp_path / "coco_captioning"
    write_coco_captioning(folder, {"train": 1, "val": 2})
    monkeypatch.setattr("dl.coco_utils.locate", lambda name: folder)
    return folder


def test_pictures_of_the_sample_world_are_read_by_their_paths(captioned):
    data = load_coco_data()
    picture = image_from_url(data["val_urls"][1])
    assert picture.shape == (112, 112, 3)
    assert np.array_equal(picture, np.array(Image.open(captioned / "images/val/00001.png")))


def test_paths_stay_inside_the_folder(captioned, tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.png")
    for path in ("../secret.png", str(tmp_path / "secret.png"), "images/../../secret.png"):
        with pytest.raises(ValueError, match="leads out of the folder of captioned images"):
            image_from_url(path)
    with pytest.raises(FileNotFoundError, match="there is no image 'images/val/7.png'"):
        image_from_url("images/val/7.png")
