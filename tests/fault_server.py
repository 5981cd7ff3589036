"""A server on this machine that serves files rightly, or cuts, refuses, lies, stalls and drips as told."""

import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CERTIFICATE = Path(__file__).parent / "localhost.pem"  # for localhost, signed by itself, for a hundred years


@dataclass
class Served:
    """One file and how its requests are answered.

    Args:
        body: or, one for each request and the last for all further ones, a list of bodies.
        cuts: bytes after which each further request is cut, None for a whole answer; -1 cuts before the headers.
        statuses: answered in turn before the file is given.
        ranges: "yes"; "no" (always the whole file); "shifted", "headless", "multipart" (wrong answers); "short" (at most
            20,000 bytes an answer).
        headers: sent with every answer. stall: seconds of silence before the end, where cut. drip, pause: seconds a
            byte, seconds a piece of 4,000.
        chunked: no length is announced. location: redirects there.
    """

    body: bytes | list
    cuts: list = field(default_factory=list)
    statuses: list = field(default_factory=list)
    ranges: str = "yes"
    headers: dict = field(default_factory=dict)
    kind: str = "application/octet-stream"
    stall: float = 0.0
    drip: float = 0.0
    pause: float = 0.0
    chunked: bool = False
    location: str = ""

    def next_body(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return self.body.pop(0) if len(self.body) > 1 else self.body[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):  # noqa: N802
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        file = self.server.files.get(self.path)
        if file is None:
            return self.answer(404, {})
        cut = file.cuts.pop(0) if file.cuts else None
        if cut == -1:
            self.close_connection = True
            return None
        if file.statuses:
            return self.answer(file.statuses.pop(0), file.headers)
        if file.location:
            return self.answer(302, {"Location": file.location})
        body = file.next_body()
        unchanged = self.headers.get("If-Range") in (None, file.headers.get("ETag"), file.headers.get("Last-Modified"))
        start = int(wanted[len("bytes=") : -1]) if wanted and unchanged and file.ranges != "no" else 0
        if start >= len(body) and start:
            return self.answer(416, {"Content-Range": f"bytes */{len(body)}"})
        self.give(file, body, start, cut)

    def do_CONNECT(self):  # noqa: N802
        """As a proxy that opens no tunnel."""
        self.answer(self.server.tunnel_status, {})

    def give(self, file, body, start, cut):
        end = min(len(body), start + 20_000) if file.ranges == "short" else len(body)
        partial = start > 0 or end < len(body)
        headers = {"Content-Type": file.kind, **file.headers}
        if partial and file.ranges != "headless":
            first = start + 7 * (file.ranges == "shifted")
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(body)}"
        if partial and file.ranges == "multipart":
            headers |= {"Content-Type": "multipart/byteranges; boundary=x"}
            del headers["Content-Range"]
        headers |= {"Transfer-Encoding": "chunked"} if file.chunked else {"Content-Length": str(end - start)}
        self.send_response(206 if partial else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.send(file, body[start : end if cut is None else max(start, cut)])
        if cut is not None:
            self.wfile.flush()
            time.sleep(file.stall)
            self.close_connection = True
        elif file.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def send(self, file, content):
        step = 1 if file.drip else 30_000 if not file.pause else 4_000
        for at in range(0, len(content), step):
            piece = content[at : at + step]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if file.chunked else piece)
            self.wfile.flush()
            time.sleep(file.drip or file.pause)

    def answer(self, status, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        """Keep the tests' output quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    tunnel_status = 407  # of what it answers as a proxy

    def give(self, path: str, body, **behaviour) -> str:
        """Offer a file; returns its address."""
        self.files[path] = Served(body, **behaviour)
        return self.address + path

    def handle_error(self, request, client_address):
        """A client that hangs up is what some tests are about."""


@contextmanager
def serving(tls: bool = False):
    """A running server: `.give(path, body, …)`, `.requests` as (path, Range), `.address`."""
    server = Server(("127.0.0.1", 0), Handler)
    server.files, server.requests = {}, []
    server.address = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
