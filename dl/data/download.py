"""One file over http or https: resumed where it was cut, compared with what was announced, failures named by their cause.

On urllib, because it asks the system's proxies and its certificates (a university's own among them); `certifi` is added
for Pythons that come without any. No common library resumes a download.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from pathlib import Path
from typing import BinaryIO, NoReturn
from urllib.parse import quote, urlsplit, urlunsplit

from dl.console import progress, say, say_unless_terminal, write_whole

MB = 1_000_000
TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 5  # connections in a row that bring nothing new
PAUSE = 1.0  # seconds before the second attempt, doubled before each further one
PATIENCE = 1800.0  # seconds that a server may let us wait, all its requests together
SLOW_SECONDS, SLOW_BYTES = 60.0, 60_000  # less in such a time is no transfer
OVERLAP = 4096  # bytes asked for once more where nothing else tells whether the file is still the same
CHUNK = 1 << 18
LOG_EVERY = 10.0  # seconds between two lines where there is no terminal

CERTIFICATES = (
    "A wrong clock, a login page of this network, or a network that reads along can be the cause: log in with a browser, "
    "or name your organisation's certificate in SSL_CERT_FILE. On macOS, open 'Install Certificates.command' in the "
    "folder of Python under Applications, or run: pip install --upgrade certifi"
)
REASONS = {
    403: "access is forbidden; this network or country may be blocked there",
    404: "the file is no longer there",
    407: "the proxy of this network asks for a name and a password: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT",
    410: "the file has been removed",
    511: "this network asks for a login (captive portal): open any page in a browser and log in",
}
GONE = (404, 410)
TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class DownloadError(Exception):
    """This address does not give the file; the next one may.

    `answered`: whether there was a server at all. `gone`: it says that the file is no longer there.
    """

    def __init__(self, reason: str, answered: bool = True, gone: bool = False) -> None:
        super().__init__(reason)
        self.answered, self.gone = answered, gone


class WebPage(DownloadError):
    """A page for people came in the place of the file."""


class _Cut(Exception):
    """The connection ended early; the next attempt may go on. `wait`: seconds that the server asked for."""

    def __init__(self, reason: str, wait: float | None = None, slow: bool = False, answered: bool = True) -> None:
        super().__init__(reason)
        self.wait, self.slow, self.answered = wait, slow, answered


@dataclass(frozen=True)
class Wanted:
    """What is to be fetched.

    Args:
        name: for messages. address: http or https. size: exact bytes, or None.
        limit: bytes that it must not exceed, or None. hashed: a published hash will be compared afterwards.
        notes: file that keeps what the server said of a part, so that another process can resume it; None: nowhere.
        timeout, attempts: other than TIMEOUT and ATTEMPTS.
    """

    name: str
    address: str
    size: int | None = None
    limit: int | None = None
    hashed: bool = False
    notes: Path | None = None
    timeout: float | None = None
    attempts: int | None = None


@dataclass(frozen=True)
class Transfer:
    """Which address gave the file in the end, and whether it is pieced together from several connections."""

    address: str
    pieced: bool


def download(wanted: Wanted, file: BinaryIO) -> Transfer:
    """Append to `file`, open for reading and writing, what is missing of `wanted`.

    Raises:
        DownloadError: naming the cause. OSError: if `file` cannot be written.
    """
    fruitless, waited, longest = 0, 0.0, file.seek(0, os.SEEK_END)
    while True:
        try:
            return _one_connection(wanted, file)
        except _Cut as cut:
            have = file.seek(0, os.SEEK_END)
            if cut.wait is not None:
                waited += max(1.0, cut.wait)
                if waited > PATIENCE:
                    raise DownloadError(f"{cut}; it lets us wait {waited:.0f} s. Run this again then") from cut
                say(f"{wanted.name}: {cut}; waiting {cut.wait:.0f} s as asked.")
                time.sleep(max(PAUSE, cut.wait))
                continue
            fruitless = 0 if have > longest and not cut.slow else fruitless + 1
            longest = max(longest, have)
            if fruitless >= (wanted.attempts or ATTEMPTS):
                raise DownloadError(f"{cut}, {fruitless} times in a row", cut.answered) from cut
            time.sleep(PAUSE * 2 ** max(0, fruitless - 1) if fruitless else 0)


def tidy(address: str) -> str:
    """An address with blanks and letters as servers want it; one that already is stays as it is."""
    parts = urlsplit(address.strip())
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    path, query = (quote(text, safe="%/:=&?~+!$,;'@()*[]") for text in (parts.path, parts.query))
    return urlunsplit((parts.scheme, host, path, query, ""))


def is_web_page(beginning: bytes) -> bool:
    """Whether bytes are the beginning of an HTML page."""
    return beginning.lstrip(b"\xef\xbb\xbf \t\r\n")[:20].lower().startswith((b"<!doctype html", b"<html", b"<head"))


# --- One connection ---


def _one_connection(wanted: Wanted, file: BinaryIO) -> Transfer:
    have = file.seek(0, os.SEEK_END)
    if wanted.size is not None and have >= wanted.size:
        if have == wanted.size:
            return Transfer(wanted.address, pieced=True)
        have = file.truncate(0)
    known = _recall(wanted)
    overlap = 0 if known.get("validator") or wanted.hashed else min(have, OVERLAP)
    request = urllib.request.Request(tidy(wanted.address), headers={"User-Agent": "dl-assignment"})
    if have:
        request.add_header("Range", f"bytes={have - overlap}-")
        if known.get("validator"):
            request.add_header("If-Range", known["validator"])
    try:
        response = _opener().open(request, timeout=wanted.timeout or TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
                if error.headers.get("Content-Range", "") == f"bytes */{have}" and not overlap:
                    return Transfer(wanted.address, pieced=True)  # all of it was there
                _start_anew(file, "what was there could not be resumed")
            raise _refusal(error, wanted) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise _no_connection(error, wanted.address) from error
    with response:
        pieced = _receive(wanted, response, file, have, overlap, known)
        return Transfer(response.geturl(), pieced)


def _receive(wanted: Wanted, response: http.client.HTTPResponse, file: BinaryIO, have: int, overlap: int, known: dict) -> bool:
    """Append the body of a response to `file`, or write it anew where the server does not resume; whether it was resumed."""
    validator = _validator(response)
    length = response.headers.get("Content-Length")
    partial = response.status == http.client.PARTIAL_CONTENT
    if partial:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != have - overlap:
            _start_anew(file, "the server resumed at another place")
        total = None if found[3] == "*" else int(found[3])
        if have and _differs(known, validator=validator, total=total):
            _start_anew(file, "the file has changed on the server meanwhile")
    else:
        total = int(length) if length else None
    first = _first_bytes(response, wanted, from_beginning=not partial)
    if wanted.size is not None and total not in (None, wanted.size):
        raise DownloadError(f"it has a file of {total:,} bytes, not {wanted.size:,}")
    if wanted.limit is not None and total is not None and total > wanted.limit:
        raise DownloadError(f"it has a file of {total:,} bytes, no more than {wanted.limit:,} are wanted")
    if not partial:  # only now that it is the file: a login page must not cost what was there
        have, overlap = file.truncate(0), 0
    if not have:
        _remember(wanted, validator, total)
    if overlap:
        first = _same_overlap(response, first, file, have, overlap)
    file.seek(0, os.SEEK_END)
    end = have + _copy(wanted, response, first, file, have, total)
    whole = total if total is not None else wanted.size
    if whole is not None and end < whole:
        raise _Cut(f"cut after {end:,} of {whole:,} bytes")
    return have > 0


def _first_bytes(response: http.client.HTTPResponse, wanted: Wanted, from_beginning: bool) -> bytes:
    first = _read(response)
    if "text/html" in response.headers.get("Content-Type", "") or (from_beginning and is_web_page(first)):
        asked, came = urlsplit(wanted.address).netloc, urlsplit(response.geturl()).netloc
        portal = f" from {came}: a login page of this network (captive portal)? Open a browser and log in"
        raise WebPage("it sends a web page instead of the file" + (portal if came != asked else " (a login or a notice?)"))
    return first


def _same_overlap(response: http.client.HTTPResponse, first: bytes, file: BinaryIO, have: int, overlap: int) -> bytes:
    """Compare the end of what is there with the beginning of what comes; returns what lies beyond it."""
    while len(first) < overlap and (more := _read(response)):
        first += more
    file.seek(have - overlap)
    if file.read(overlap) != first[:overlap]:
        _start_anew(file, "the file has changed on the server meanwhile")
    return first[overlap:] or _read(response)


def _copy(
    wanted: Wanted, response: http.client.HTTPResponse, chunk: bytes, file: BinaryIO, have: int, total: int | None
) -> int:
    """Write `chunk` and the rest of the response; a bar on a terminal, else a line now and then. Returns the bytes."""
    received, in_window = 0, 0
    logged = window = time.monotonic()
    with progress(desc=wanted.name, total=total, initial=have, unit="B", unit_scale=True) as bar:
        while chunk:
            file.write(chunk)
            received, in_window = received + len(chunk), in_window + len(chunk)
            bar.update(len(chunk))
            if have + received > (wanted.size or wanted.limit or have + received):
                raise DownloadError(f"it sends more than {wanted.size or wanted.limit:,} bytes")
            now = time.monotonic()
            if now - logged > LOG_EVERY:
                logged = now
                of_total = f" of {total / MB:.0f}" if total else ""
                say_unless_terminal(f"{wanted.name}: {(have + received) / MB:.0f}{of_total} MB")
            if now - window > SLOW_SECONDS:
                if in_window < SLOW_BYTES:
                    raise _Cut(f"only {in_window:,} bytes came in {now - window:.0f} s", slow=True)
                window, in_window = now, 0
            chunk = _read(response)
    return received


def _read(response: http.client.HTTPResponse) -> bytes:
    """Some bytes of the body, b"" at its end."""
    try:
        return response.read1(CHUNK)
    except TimeoutError as error:
        raise _Cut("nothing came for a long time") from error
    except (http.client.HTTPException, OSError, ValueError) as error:  # ValueError: a chunk without a size
        raise _Cut(f"the connection broke ({error or type(error).__name__})") from error


def _start_anew(file: BinaryIO, why: str) -> NoReturn:
    file.truncate(0)
    raise _Cut(why)


# --- What the server said of a part ---


def _validator(response: http.client.HTTPResponse) -> str | None:
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _remember(wanted: Wanted, validator: str | None, total: int | None) -> None:
    if wanted.notes is not None:
        known = {"address": wanted.address, "validator": validator, "total": total}
        write_whole(wanted.notes, lambda file: file.write_text(json.dumps(known), encoding="utf-8"))


def _differs(known: dict, **now: object) -> bool:
    return any(value is not None and value != known.get(name, value) for name, value in now.items())


def _recall(wanted: Wanted) -> dict:
    """Of the same address only; what is not known is left out."""
    if wanted.notes is None:
        return {}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known = json.loads(wanted.notes.read_text(encoding="utf-8"))
        if known.get("address") == wanted.address:
            return {key: value for key, value in known.items() if value is not None}
    return {}


# --- Causes ---


def _refusal(error: urllib.error.HTTPError, wanted: Wanted) -> Exception:
    answer = f"the server answered {error.code} {error.reason}"
    if error.code in TRY_AGAIN:
        return _Cut(answer, wait=_retry_after(error.headers.get("Retry-After")))
    return DownloadError(answer + (f": {REASONS[error.code]}" if error.code in REASONS else ""), gone=error.code in GONE)


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which has seconds or a date; None without one."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    date = parsedate_tz(value)
    return None if date is None else max(0.0, mktime_tz(date) - time.time())


def _no_connection(error: Exception, address: str) -> Exception:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DownloadError(f"its certificate is not accepted ({reason.verify_message}). {CERTIFICATES}")
    proxy = _proxy_of(address)
    if "Tunnel connection failed: 407" in str(reason):
        return DownloadError(f"no connection: {REASONS[407]}", answered=False)
    if proxy and isinstance(reason, OSError) and not isinstance(reason, ssl.SSLError):
        return DownloadError(
            f"no connection through the proxy {proxy} ({reason}). Correct HTTP_PROXY and HTTPS_PROXY, or unset them; "
            "NO_PROXY names hosts to be reached without it",
            answered=False,
        )
    host = urlsplit(address).hostname
    if isinstance(reason, socket.gaierror):
        return DownloadError(f"no connection (the name {host} is not known: no network, or none that knows it)", False)
    if isinstance(reason, ConnectionRefusedError):
        return DownloadError(f"no connection ({reason})", False)
    if isinstance(reason, TimeoutError):
        return _Cut("no answer for a long time", answered=False)
    return _Cut(f"no answer ({reason or type(reason).__name__})")


def _proxy_of(address: str) -> str | None:
    """Host and port of the proxy that an address goes through, without name and password."""
    parts = urlsplit(address)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urlsplit(proxy if "//" in proxy else f"//{proxy}").netloc.rpartition("@")[2]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, 308 too (Python 3.10 does not), but never from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise DownloadError(f"it leads from https to {newurl}, which is not encrypted and not followed")
        return super().redirect_request(req, fp, 302 if code == 308 else code, msg, headers, newurl)

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(
        _Redirects, urllib.request.HTTPSHandler(context=_certificates(os.environ.get("SSL_CERT_FILE", "")))
    )


@functools.cache
def _certificates(named: str) -> ssl.SSLContext:
    """The system's certificates, those `named` in SSL_CERT_FILE, and certifi's."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
