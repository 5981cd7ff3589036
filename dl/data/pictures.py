"""An image by its address: fetched once, then read from the disk."""

from __future__ import annotations

import hashlib
import io
import re
import urllib.parse
from pathlib import Path

import numpy as np

from dl import settings
from dl.console import say_once, write_whole
from dl.data.access import locate
from dl.data.download import DownloadError, Wanted, WebPage, download
from dl.files import rgb

TIMEOUT, ATTEMPTS = 15.0, 2  # seconds without an answer; connections to one address
LARGEST = 50_000_000  # bytes; images of COCO have less than one million
CACHE = "pictures_by_url"  # folder below `data_home()`


def image_from_url(url: str) -> np.ndarray:
    """An image by its address, http or https, or by its path within the sample world's folder of captioned images.

    What came from the network is kept below the data folder, under the SHA-256 of its address, and read from there
    the next time; where nothing can be kept, that is said once. DL_MIRROR is asked first, and for a photograph of
    Flickr also the host that serves all of them today.

    Args:
        url: such as "https://…/x.jpg", or "images/val/00000.png" with DL_DATA=sample.
    Returns:
        uint8 (H, W, 3), RGB: turned as its EXIF data say, on white where it is transparent.
    Raises:
        ConnectionError: if the server does not give it. FileNotFoundError: if it is in no file, and DL_OFFLINE forbids
        the network. ValueError: for another kind of address, or if what came is no image.
    """
    if not isinstance(url, str):
        raise TypeError(f"image_from_url: wanted an address as text, got {url!r:.60}. Pass an address from val_urls.")
    parts = urllib.parse.urlsplit(url)
    if not parts.scheme:
        return _decode(_local(url).read_bytes(), url)
    _want_http(url)
    kept = kept_file(url)
    if kept.is_file():
        try:
            return _decode(kept.read_bytes(), url)
        except ValueError as error:
            if settings.offline():
                raise ValueError(
                    f"image_from_url: {settings.shown(kept)}, which holds {url}, is cut or damaged, and DL_OFFLINE forbids "
                    "the network. Unset DL_OFFLINE and run this again, or python -m dl data fetch --again coco_examples."
                ) from error
    if settings.offline():
        raise FileNotFoundError(
            f"image_from_url: {url} was not fetched before, and DL_OFFLINE forbids the network. "
            "Unset DL_OFFLINE, or use another image."
        )
    content, image = _fetched(url)
    try:
        write_whole(kept, lambda file: file.write_bytes(content))
    except OSError as error:
        say_once(f"image_from_url: images cannot be kept in {settings.shown(kept.parent)} ({error.strerror}); going on.")
    return image


def fetch_image(url: str) -> None:
    """Fetch an image anew and keep it; what was kept before stays until the new one is there.

    Raises:
        GoneError, NoServerError, ConnectionError, ValueError: why it did not come. OSError: if it cannot be kept.
    """
    content, _ = _fetched(url)
    write_whole(kept_file(url), lambda file: file.write_bytes(content))


def kept_file(url: str) -> Path:
    """Where the image of an address is kept, whether or not it is there."""
    return settings.data_home() / CACHE / hashlib.sha256(str(url).encode()).hexdigest()


def addresses_of(url: str) -> list[str]:
    """Where an image may be: on the mirror, on Flickr's present host, at its own address."""
    mirror, name = settings.mirror(), urllib.parse.urlsplit(url).path.rpartition("/")[2]
    flickr = re.fullmatch(r"https?://(?:farm\d+|c\d+|live)\.static\.?flickr\.com/(?:\d+/)?(\d+/\d+_\w+\.jpg)", url)
    moved = f"https://live.staticflickr.com/{flickr[1]}" if flickr else None
    return [address for address in (mirror and f"{mirror}/{name}", moved, url) if address]


def _want_http(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(
            f"image_from_url: wanted an address that begins with http:// or https://, got {url!r}. "
            "Pass an address from val_urls."
        )


def _local(path: str) -> Path:
    folder = locate("coco_captioning").resolve()
    file = (folder / path).resolve()
    if not file.is_relative_to(folder):
        raise ValueError(
            f"image_from_url: {path!r} leads out of the folder of captioned images. Pass an address from val_urls."
        )
    if not file.is_file():
        raise FileNotFoundError(
            f"image_from_url: there is no image {path!r} among the captioned ones. "
            "Pass an address from val_urls, or one that begins with https://."
        )
    return file


def _in_ascii(url: str) -> str:
    """An address as it is sent: blanks and letters beyond ASCII as %xx, those of the server's name in Punycode (RFC 3490)."""
    parts = urllib.parse.urlsplit(re.sub("%(?![0-9a-fA-F]{2})", "%25", url))
    try:
        server = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    except UnicodeError as error:
        raise ValueError(f"image_from_url: {parts.netloc!r} is no server's name. Pass an address from val_urls.") from error
    rest = (urllib.parse.quote(part, safe="/%:@!$&'()*+,;=~?") for part in (parts.path, parts.query))
    return urllib.parse.urlunsplit((parts.scheme, server, *rest, ""))


def _fetched(url: str) -> tuple[bytes, np.ndarray]:
    content = _download(_in_ascii(str(url)))
    return content, _decode(content, url)


def _download(url: str) -> bytes:
    failures: list[DownloadError] = []
    for address in addresses_of(url):
        file = io.BytesIO()
        try:
            wanted = Wanted(name="image", address=address, limit=LARGEST, timeout=TIMEOUT, attempts=ATTEMPTS)
            came_from = download(wanted, file).address
            if "unavailable" in urllib.parse.urlsplit(came_from).path:  # Flickr's stand-in for what was removed
                raise DownloadError("it has been removed", gone=True)
            return file.getvalue()
        except DownloadError as error:
            failures.append(error)
    own = failures[1:] if settings.mirror() else failures  # what a mirror lacks may well be at its own address
    gone = any(failure.gone for failure in own) and all(failure.gone for failure in failures if failure.answered)
    last = next(failure for failure in reversed(failures) if failure.gone == gone)
    if isinstance(last, WebPage):
        raise ValueError(
            f"image_from_url: {url} gives a web page, wanted an image. Open the address in a browser to see "
            "what is there, or use another one."
        ) from last
    answered = any(failure.answered for failure in failures)
    kind = GoneError if gone else ConnectionError if answered else NoServerError
    raise kind(
        f"image_from_url: {url}: {last}, wanted its image. Check the network, or use another image: some have "
        "vanished from their site."
    ) from last


class GoneError(ConnectionError):
    """The server says that the image is no longer there."""


class NoServerError(ConnectionError):
    """No server answered: others there will not either."""


def _decode(content: bytes, url: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.array(rgb(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        page = content.lstrip()[:20].lower().startswith((b"<!doctype html", b"<html"))
        what = "a web page" if page else f"no image ({error})"
        raise ValueError(
            f"image_from_url: {url} gives {what}, wanted an image. Open the address in a browser to see "
            "what is there, or use another one."
        ) from error
