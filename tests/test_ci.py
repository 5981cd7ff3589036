"""`.ci/run` calls `make check`, `make run` and `make test`, always all of them, and shows pytest's closing line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")


@pytest.mark.parametrize(
    "check_code, run_code, test_code, closing",
    [
        (0, 0, 0, "3 passed, 1 warning in 0.10s"),
        (1, 0, 0, "3 passed in 0.10s"),
        (0, 2, 0, "3 passed in 0.10s"),
        (0, 0, 2, "no tests ran in 0.01s"),
        (0, 0, 2, ""),
        (0, 0, 2, "1 failed, 2 passed in 61.00s (0:01:01)"),
    ],
)
def test_all_targets_are_run_and_reported(tmp_path, check_code, run_code, test_code, closing):
    make = tmp_path / "make"
    make.write_text(
        f'#!/bin/sh\necho "called: $*"\n[ $1 = check ] && exit {check_code}\n[ $1 = run ] && exit {run_code}\n'
        f"echo '...  [100%]'\necho '{closing}'\nexit {test_code}\n"
    )
    make.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([ROOT / ".ci" / "run"], env=environment, capture_output=True, text=True, cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("called")] == ["called: check", "called: run", "called: test"]
    assert lines[-2:] == [
        f"make check: exit code {check_code}; make run: exit code {run_code}; make test: exit code {test_code}",
        closing or "pytest did not reach its closing line",
    ]
    assert done.returncode == (0 if check_code == run_code == test_code == 0 else 1)
