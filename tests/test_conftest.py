"""What the tests forbid themselves holds: no other machine, no warning that nobody reads."""

import contextlib
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from pathlib import Path

import psutil
import pytest

from tests import student_tree

CONFTEST = Path(__file__).with_name("conftest.py")
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


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        (f"import urllib.request; urllib.request.urlopen('http://{FAR}/', timeout=60)", "Connection refused"),  # by no proxy
        (f"import socket; socket.create_connection(('{FAR}', 80), 9)", f"a test reached for '{FAR}'"),
        (f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('{FAR}', 53))", "a test reached for"),
        ("import socket; socket.getaddrinfo(socket.gethostname(), 80); raise SystemExit('here')", "here"),
    ],
)
def test_no_child_of_a_test_reaches_another_machine(code, refusal):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and refusal in done.stderr


def test_a_child_with_a_path_of_its_own_reaches_no_other_machine_either():
    done = student_tree.run("far", cwd=Path.cwd(), code=f"import socket; socket.create_connection(('{FAR}', 80), 9)")
    assert f"a test reached for '{FAR}'" in done.stderr


def test_a_warning_is_an_error():
    with pytest.raises(UserWarning):
        warnings.warn("look here", stacklevel=1)


@pytest.mark.parametrize(
    ("option", "found"), [([], "cpu cuda"), (["--device=cpu"], "cpu"), (["--device=cuda"], "cuda"), (["--device=mps"], "")]
)
def test_a_test_that_takes_a_device_runs_on_each_that_is_present_or_on_the_chosen_one(option, found, tmp_path):
    pretend = "\ntorch.cuda.is_available, torch.backends.mps.is_available = lambda: True, lambda: False\n"
    shutil.copytree(CONFTEST.with_name("no_network"), tmp_path / "no_network")
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text() + pretend)
    (tmp_path / "test_some.py").write_text("def test_one(device): pass\n")
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    done = subprocess.run([*command, "--rootdir", ".", *option], cwd=tmp_path, capture_output=True, text=True)
    assert " ".join(re.findall(r"test_one\[(\w+)\]", done.stdout)) == found
    assert found or "--device mps: torch" in done.stderr and "There is: cpu, cuda. Leave" in done.stderr


def alive_in_group(group):
    found = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.skipif(os.name == "nt", reason="signals a group of processes")
def test_an_interrupted_run_ends_with_one_line_and_leaves_nothing_behind(tmp_path):
    shutil.copytree(CONFTEST.with_name("no_network"), tmp_path / "no_network")
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    body = "import time\ndef test_quick(): pass\ndef test_slow():\n    open('begun', 'w').close()\n    time.sleep(600)\n"
    (tmp_path / "test_some.py").write_text(body)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."]
    listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job in the background ignores Ctrl-C
    options = {"start_new_session": True, "preexec_fn": listen}
    started = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, **options)
    while not (tmp_path / "begun").exists():
        assert started.poll() is None
        time.sleep(0.1)
    os.killpg(started.pid, signal.SIGINT)
    said = started.communicate(timeout=60)[0].splitlines()
    assert started.returncode == pytest.ExitCode.INTERRUPTED
    assert said[-1].startswith("Stopped: 1 passed, 0 failed. make test begins anew") and "Traceback" not in "".join(said)
    assert not alive_in_group(started.pid)
