"""The ten pictures of the CLIP notebook: fetched, kept, replaced where they have vanished, whatever the network does."""

import io
import json

import numpy as np
import pytest
from fault_server import serving
from PIL import Image

from dl import coco_utils
from dl.__main__ import main
from dl.data import ENTRIES, download, examples, pictures, require
from dl.data.pictures import addresses_of
from dl.image_utils import image_from_url
from dl.world.export import write_coco_captioning

INDICES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)


def picture(shade):
    file = io.BytesIO()
    Image.new("RGB", (16, 12), (shade, 20, 30)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def captioned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioned") / "coco_captioning"
    write_coco_captioning(folder, {"train": 1, "val": 10})
    return folder


@pytest.fixture
def site(tmp_path, monkeypatch, captioned):
    """A site with ten photographs, and captions whose addresses name them; real data in an empty folder."""
    monkeypatch.setenv("DL_HOME", str(tmp_path))
    monkeypatch.setenv("DL_DATA", "real")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("DL_OFFLINE", "DL_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "PAUSE", 0.0)
    answers = tuple(answer for _, answer in examples._published())
    monkeypatch.setattr(examples, "_published", lambda: tuple(zip(INDICES, answers)))
    examples.say_once.cache_clear()
    with serving() as server:
        place = tmp_path / "datasets" / "coco_captioning"
        place.parent.mkdir()
        place.symlink_to(captioned)
        urls = [server.give(f"/{n}.jpg", picture(20 * n)) for n in INDICES]
        real = coco_utils.read_folder
        for module in (coco_utils, examples):
            monkeypatch.setattr(module, "read_folder", lambda *args: {**real(*args), "val_urls": np.array(urls)})
        yield server


def shades(found):
    return [round(int(example.image[0, 0, 0]) / 20) if example.is_photograph else None for example in found]


def read():
    return examples.coco_examples(coco_utils.read_folder(require("coco_captioning")))


def test_all_are_fetched_once_and_then_need_no_network(site, monkeypatch, capsys):
    assert main(["data", "fetch", "coco_examples"]) == 0
    assert main(["data", "verify", "coco_examples"]) == 0
    site.requests.clear()
    monkeypatch.setenv("DL_OFFLINE", "1")
    found = read()
    assert shades(found) == list(INDICES) and site.requests == []
    assert [example.answer for example in found][:3] == ["a person", "an animal", "an animal"]
    assert all(example.caption and "<" not in example.caption for example in found)
    assert main(["data", "fetch", "coco_examples"]) == 0 and "was already at" in capsys.readouterr().out


def test_a_vanished_picture_is_replaced_with_caption_and_answer_of_its_own(site, capsys):
    del site.files["/3.jpg"]
    site.give("/8.jpg", b"", statuses=[410] * 2)
    site.give("/5.jpg", b"", location=site.give("/photo_unavailable.png", picture(9)))
    assert main(["data", "fetch", "coco_examples"]) == 0
    out = capsys.readouterr().out
    assert out.count("is replaced by a drawing") == 3 and "/3.jpg is replaced by a drawing: " in out
    assert main(["data", "verify", "coco_examples"]) == 0
    site.requests.clear()
    found = read()
    assert shades(found) == [0, 1, 2, None, 4, None, 6, 7, None, 9] and site.requests == []
    assert "Image 3 has vanished (http" in capsys.readouterr().out
    assert found[8].caption.split()[-1] == "fish" and found[8].answer == "an animal"
    assert found[3].caption.startswith("a drawing of a") and found[3].answer == "other"
    site.give("/3.jpg", picture(60))
    assert main(["data", "fetch", "--again", "coco_examples"]) == 0  # it has come back
    assert shades(read())[3] == 3


TROUBLES = {
    "403 Forbidden": dict(body=b"", statuses=[403] * 9),
    "407 Proxy Authentication Required": dict(body=b"", statuses=[407] * 9),
    "429 Too Many Requests": dict(body=b"", statuses=[429] * 9),
    "500 Internal Server Error": dict(body=b"", statuses=[500] * 9),
    "511 Network Authentication Required": dict(body=b"", statuses=[511] * 9),
    "gives a web page": dict(body=b"<html>log in", kind="text/html"),
    "gives no image": dict(body=b"cut"),
    "its certificate is not accepted": dict(body=b"", location="https"),
}


@pytest.mark.parametrize("cause", TROUBLES)
def test_what_the_server_does_not_call_gone_is_not_fetched_yet_and_the_next_call_fetches_it(site, capsys, cause):
    with serving(tls=True) as unknown:
        trouble = TROUBLES[cause]
        site.give("/3.jpg", **{**trouble, "location": unknown.address} if "location" in trouble else trouble)
        assert main(["data", "fetch", "coco_examples"]) == 1
        out = capsys.readouterr().out
        assert f"{site.address}/3.jpg" in out and cause in out and "1 of 10 are not fetched yet\nCheck the network" in out
        assert "verified." not in out.splitlines()[-2] and "drawing" not in out
        found = read()
        assert shades(found) == [0, 1, 2, None, *INDICES[4:]]  # and no notebook stops
        assert f"Image 3 is not fetched yet ({site.address}/3.jpg" in capsys.readouterr().out
    site.give("/3.jpg", picture(60))
    assert main(["data", "fetch", "coco_examples"]) == 0 and shades(read()) == list(INDICES)


@pytest.mark.parametrize("cause", TROUBLES)
def test_again_keeps_a_photograph_until_the_new_one_is_there(site, capsys, cause):
    assert main(["data", "fetch", "coco_examples"]) == 0
    with serving(tls=True) as unknown:
        trouble = TROUBLES[cause]
        site.give("/3.jpg", **{**trouble, "location": unknown.address} if "location" in trouble else trouble)
        site.give("/4.jpg", picture(240))
        assert main(["data", "fetch", "--again", "coco_examples"]) == 1
        assert cause in capsys.readouterr().out and shades(read()) == [0, 1, 2, 3, 12, *INDICES[5:]]
    del site.files["/3.jpg"]
    assert main(["data", "fetch", "--again", "coco_examples"]) == 0
    assert "longer there; the one that was fetched before stays" in capsys.readouterr().out
    assert shades(read())[3] == 3 and main(["data", "verify", "coco_examples"]) == 0
    pictures.kept_file(f"{site.address}/3.jpg").write_bytes(b"cut")
    assert main(["data", "fetch", "coco_examples"]) == 0 and shades(read())[3] is None


def test_photographs_of_another_folder_are_adopted_with_the_captions_that_name_them(site, tmp_path, monkeypatch, capsys):
    del site.files["/3.jpg"]
    assert main(["data", "fetch", "coco_examples"]) == 0
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "datasets" / examples.CACHE).rename(other / examples.CACHE)
    site.requests.clear()
    monkeypatch.setenv("DL_OFFLINE", "1")
    assert main(["data", "adopt", str(other)]) == 0
    assert "coco_examples: adopted to" in capsys.readouterr().out
    assert shades(read()) == [0, 1, 2, None, *INDICES[4:]] and main(["data", "verify", "coco_examples"]) == 0
    assert main(["data", "adopt", str(tmp_path / "datasets" / examples.CACHE)]) == 0  # where it is already
    pictures.kept_file(f"{site.address}/5.jpg").unlink()
    (other / examples.CACHE / pictures.kept_file(f"{site.address}/5.jpg").name).write_bytes(b"cut")
    assert main(["data", "adopt", str(other)]) == 1
    assert f"{other / examples.CACHE}: 1 of 10 are not fetched yet" in capsys.readouterr().out and site.requests == []
    (tmp_path / "datasets" / "coco_captioning").unlink()
    assert main(["data", "adopt", str(other)]) == 1 and "coco_captioning not found. Run" in capsys.readouterr().out


def test_a_dead_proxy_is_named_once_and_no_picture_counts_as_vanished(site, monkeypatch, capsys):
    del site.files["/3.jpg"]
    assert main(["data", "fetch", "coco_examples"]) == 0
    pictures.kept_file(f"{site.address}/4.jpg").unlink()
    capsys.readouterr()
    with monkeypatch.context() as patch:
        for name in ("NO_PROXY", "no_proxy"):
            patch.delenv(name, raising=False)
        patch.setenv("http_proxy", "http://127.0.0.1:9")
        for arguments in ((), ("--again",)):
            assert main(["data", "fetch", *arguments, "coco_examples"]) == 1
            out = capsys.readouterr().out
            assert out.count("no connection through the proxy 127.0.0.1:9") == 1 and "1 of 10 are not fetched yet" in out
        assert shades(read()) == [0, 1, 2, None, None, *INDICES[5:]]
        assert "Image 4 is not fetched yet (http" in capsys.readouterr().out
    assert main(["data", "fetch", "coco_examples"]) == 0 and shades(read()) == [0, 1, 2, None, *INDICES[4:]]


def test_a_mirror_without_a_picture_does_not_make_it_vanish(site, monkeypatch, capsys):
    site.give("/3.jpg", b"", statuses=[500] * 4)
    with serving() as mirror:
        monkeypatch.setenv("DL_MIRROR", mirror.address)
        assert main(["data", "fetch", "coco_examples"]) == 1
        assert "3.jpg: the server answered 500" in capsys.readouterr().out
        site.give("/3.jpg", picture(60))
        assert main(["data", "fetch", "coco_examples"]) == 0 and shades(read()) == list(INDICES)
        monkeypatch.setattr(pictures, "addresses_of", lambda url: [f"{mirror.address}/x.jpg", "http://127.0.0.1:9/x.jpg"])
        with pytest.raises(ConnectionError, match="x.jpg: no connection") as error:
            image_from_url(f"{site.address}/x.jpg")
        assert not isinstance(error.value, pictures.GoneError)
    monkeypatch.setenv("DL_MIRROR", "/mnt/usb")
    assert main(["data", "fetch", "--again", "coco_examples"]) == 2
    assert "DL_MIRROR is '/mnt/usb'" in capsys.readouterr().err


def test_the_drawings_are_always_the_same_and_differ():
    drawn = [examples.drawing(n) for n in INDICES]
    assert all(np.array_equal(examples.drawing(n).image, drawn[n].image) for n in (0, 9))
    assert len({example.caption for example in drawn}) == 10
    assert [example.caption.split()[-1] for example in drawn] == list(examples.DRAWN)
    assert all(example.image.shape == (240, 240, 3) and example.image.dtype == np.uint8 for example in drawn)


def test_the_notebook_reaches_its_end_without_a_network_and_asks_no_dead_host_ten_times(site, monkeypatch, capsys):
    asked = []

    def dead(wanted, file):
        asked.append(wanted.address)
        raise download.DownloadError("no connection", answered=False)

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "download", dead)
        assert shades(read()) == [None] * 10 and len(asked) == 1
        assert main(["data", "fetch", "coco_examples"]) == 1
        assert "10 of 10 are not fetched yet" in capsys.readouterr().out
    assert shades(read()) == list(INDICES)


def test_shorter_captions_than_cocos_are_no_error(site, monkeypatch):
    monkeypatch.setattr(examples, "_published", lambda: tuple(zip((1, 10**6), ("food", "food"))))
    assert shades(read()) == [1, None]
    assert main(["data", "fetch", "coco_examples"]) == 0


def test_a_cut_kept_picture_is_fetched_again_or_named(site, monkeypatch, capsys):
    assert main(["data", "fetch", "coco_examples"]) == 0
    url = f"{site.address}/4.jpg"
    kept = pictures.kept_file(url)
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    assert main(["data", "verify", "coco_examples"]) == 1
    assert f"{kept.name} cannot be read" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setenv("DL_OFFLINE", "1")
        with pytest.raises(ValueError, match=f"{kept.name}, which holds {url}, is cut or damaged.*fetch --again coco_ex"):
            image_from_url(url)
    assert image_from_url(url).shape == (12, 16, 3) and kept.read_bytes() == whole
    kept.write_bytes(b"")
    assert main(["data", "fetch", "coco_examples"]) == 0 and kept.read_bytes() == whole


def test_captions_come_first(site, tmp_path, capsys):
    (tmp_path / "datasets" / "coco_captioning").unlink()
    assert main(["data", "fetch", "coco_examples"]) == 1
    assert 'Run "python -m dl data fetch coco_captioning"' in capsys.readouterr().out
    assert list(ENTRIES).index("coco_captioning") < list(ENTRIES).index("coco_examples")  # so --all fetches both


def test_a_picture_has_second_addresses(monkeypatch, site):
    assert addresses_of("http://farm8.staticflickr.com/7018/6611_ab_z.jpg") == [
        "https://live.staticflickr.com/7018/6611_ab_z.jpg",
        "http://farm8.staticflickr.com/7018/6611_ab_z.jpg",
    ]
    assert addresses_of("http://x.org/a.jpg") == ["http://x.org/a.jpg"]
    with serving() as mirror:
        mirror.give("/course/4.jpg", picture(200))
        monkeypatch.setenv("DL_MIRROR", f"{mirror.address}/course")
        assert image_from_url(f"{site.address}/4.jpg")[0, 0, 0] > 190 and site.requests == []
        assert image_from_url(f"{site.address}/5.jpg")[0, 0, 0] < 120  # the mirror lacks it


def test_where_nothing_can_be_kept_it_is_said_once(site, monkeypatch, capsys):
    def read_only(path, write):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(pictures, "write_whole", read_only)
    for n in (1, 2):
        assert image_from_url(f"{site.address}/{n}.jpg").shape == (12, 16, 3)
    assert capsys.readouterr().out.count("cannot be kept") == 1


def test_what_vanished_is_written_for_people_too(site):
    del site.files["/0.jpg"]
    assert main(["data", "fetch", "coco_examples"]) == 0
    record = json.loads((ENTRIES["coco_examples"].location / examples.VANISHED).read_text())
    assert list(record) == [f"{site.address}/0.jpg"] and "404" in record[f"{site.address}/0.jpg"]
