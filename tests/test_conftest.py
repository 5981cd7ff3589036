"""What the tests forbid themselves holds: no other machine, no warning that nobody reads."""

import os
import socket
import subprocess
import sys
import urllib.request
import warnings

import pytest

FAR = "192.0.2.1"  # for documentation; no machine has it (RFC 5737)


def test_no_test_reaches_another_machine():
    with socket.socket() as reached, pytest.raises(RuntimeError, match="a test reached for '192.0.2.1'"):
        reached.connect((FAR, 80))
    with socket.socket(type=socket.SOCK_DGRAM) as sent, pytest.raises(RuntimeError, match="use no network"):
        sent.sendto(b"x", (FAR, 53))
    with pytest.raises(RuntimeError, match="a test reached for 'example.org'"):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open("http://example.org/")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


def test_no_child_of_a_test_reaches_another_machine():
    code = f"import urllib.request; urllib.request.urlopen('http://{FAR}/', timeout=60)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 1 and "Connection refused" in done.stderr  # by a proxy that is not there


def test_a_warning_is_an_error():
    with pytest.raises(UserWarning):
        warnings.warn("look here", stacklevel=1)
