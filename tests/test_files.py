"""Files as editors, cameras and systems leave them."""

import codecs
import os

import numpy as np
import pytest
from PIL import Image

from dl import files

TEXT = "name: José 张三\nid: 1\n\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.replace("\n", "\r\n").encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
    ],
    ids=[
        *("plain", "mark", "crlf", "cr", "utf-16", "utf-16-be-crlf", "utf-16-le-unmarked", "utf-16-be-unmarked"),
        *("utf-32", "utf-32-be"),
    ],
)
def test_every_unicode_text_is_read(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert files.read_text(path) == TEXT
    assert files.read_lines(str(path)) == ["name: José 张三", "id: 1"]


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "koi8-r"])
def test_other_encodings_are_refused_in_words(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes({"cp1252": "José", "gbk": "张三", "koi8-r": "Иван"}[encoding].encode(encoding))
    with pytest.raises(ValueError, match="a.txt is not written in UTF-8 .byte .*save it again with the encoding UTF-8"):
        files.read_text(path)


@pytest.mark.parametrize("content", ["name: José".encode("utf-32-le"), b"name: Jos\0 Ali\nid: 12\n", b"name:\0"])
def test_what_is_no_text_is_refused_in_words(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a.txt holds zero bytes, as no text does. Write it anew in an editor"):
        files.read_text(path)


def test_empty_lines_are_kept_but_for_the_end(tmp_path):
    (tmp_path / "a").write_text("\n a b \n\nc\n\n")
    (tmp_path / "b").write_text("\n\n")
    assert files.read_lines(tmp_path / "a") == ["", "a b", "", "c"] and files.read_lines(tmp_path / "b") == []


def test_numbered_files_come_in_the_order_of_their_numbers_without_companions(tmp_path):
    for name in ("10.jpg", "2.jpg", "1.JPG", "._1.jpg", ".3.jpg", "Thumbs.db", ".DS_Store", "4.jpg.part", "00011.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert [p.name for p in files.numbered_files(tmp_path, ".jpg")] == ["1.JPG", "2.jpg", "10.jpg", "00011.jpg"]
    assert files.numbered_files(tmp_path / "absent", ".jpg") == []


def test_a_users_path_may_be_text_and_begin_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("USERPROFILE" if os.name == "nt" else "HOME", str(tmp_path))
    assert files.user_path("~/a.pt") == tmp_path / "a.pt" and files.user_path("b") == files.user_path(files.Path("b"))


RED, WHITE, GREY = [255, 0, 0], [255, 255, 255], [128, 128, 128]


def palette():
    picture = Image.new("P", (2, 1), 1)
    picture.putpalette([0, 0, 0, *RED])
    picture.putpixel((0, 0), 0)
    picture.info["transparency"] = 0
    return picture


@pytest.mark.parametrize(
    "picture, left, right",
    [
        (lambda: Image.new("RGBA", (2, 1), (0, 0, 0, 0)), WHITE, WHITE),
        (lambda: Image.new("RGBA", (2, 1), (0, 0, 0, 127)), GREY, GREY),
        (lambda: Image.new("LA", (2, 1), (0, 0)), WHITE, WHITE),
        (palette, WHITE, RED),
        (lambda: Image.new("CMYK", (2, 1), (0, 255, 255, 0)), RED, RED),
        (lambda: Image.fromarray(np.array([[0, 65535]], np.uint16)), [0, 0, 0], WHITE),
        (lambda: Image.fromarray(np.array([[128 * 257, 65535]], np.int32)), GREY, WHITE),
        (lambda: Image.fromarray(np.array([[128, 255]], np.int32)), GREY, WHITE),
        (lambda: Image.fromarray(np.array([[0.5, 1]], np.float32)), GREY, WHITE),
        (lambda: Image.new("1", (2, 1), 1), WHITE, WHITE),
    ],
    ids=["clear", "half-clear", "grey-clear", "palette", "cmyk", "16-bit", "32-bit", "32-bit-dark", "float", "1-bit"],
)
def test_pictures_come_as_a_person_sees_them(picture, left, right):
    seen = files.rgb(picture())
    assert seen.mode == "RGB" and np.array(seen).tolist() == [[left, right]]


def test_pictures_are_turned_as_their_camera_says():
    picture = Image.new("RGB", (2, 1))
    picture.putpixel((1, 0), tuple(RED))
    picture.getexif()[0x0112] = 6  # the right-hand side of what is stored is the bottom
    assert np.array(files.rgb(picture)).tolist() == [[[0, 0, 0]], [RED]]
