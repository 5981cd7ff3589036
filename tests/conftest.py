"""Shared by all tests: one thread per process, and no network but this machine's own, also in processes that a test starts.

`make test` runs one process per core.
"""

import contextlib
import os
import runpy
import threading
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["http_proxy"] = os.environ["HTTP_PROXY"] = "http://127.0.0.1:9"  # of other programs: a proxy that is not there
os.environ["https_proxy"] = os.environ["HTTPS_PROXY"] = "http://127.0.0.1:9"
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"

import pytest
import torch
from tqdm import tqdm

no_network = runpy.run_path(str(Path(__file__).with_name("no_network") / "sitecustomize.py"))  # holds from here on
os.environ["PYTHONPATH"] = no_network["python_path"](os.environ.get("PYTHONPATH"))
torch.set_num_threads(1)
tqdm.set_lock(threading.RLock())  # its own is shared with forked processes: one that is killed may hold it for ever
LONGEST = ("test_two_styles.py", "test_real_mode.py")


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="of what the checks of the exercises draw (default: 0)")
    parser.addoption("--device", choices=("cpu", "cuda", "mps"), help="of tests that take one (default: each that is present)")


def pytest_configure(config):
    if config.getoption("--device") not in (None, *devices_present()):
        raise pytest.UsageError(
            f"--device {config.getoption('--device')}: torch {torch.__version__} finds none on this machine. "
            f"There is: {', '.join(devices_present())}. Leave the option out to take each of them."
        )


def pytest_generate_tests(metafunc):
    """A test with an argument `device` runs on each that is present, or on that of `--device` alone."""
    if "device" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--device")
        names = [chosen] if chosen else devices_present()
        marks = {name: [pytest.mark.gpu] if name != "cpu" else [] for name in names}
        metafunc.parametrize("device", [pytest.param(torch.device(name), id=name, marks=marks[name]) for name in names])


def devices_present() -> list[str]:
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [name for name in present if present[name]]


@pytest.fixture
def seed(request):
    return request.config.getoption("--seed")


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory):
    """A folder with a small sample in CIFAR-10's format: 5 x 20 training and 40 test images."""
    from dl.world.export import write_cifar

    root = tmp_path_factory.mktemp("cifar")
    write_cifar(root / "cifar-10-batches-py", batch=20, test=40)
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no process works on alone at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """After Ctrl-C: end at once, with all that the tests started, and say how to go on. pytest-xdist would wait for torch."""
    if exitstatus != pytest.ExitCode.INTERRUPTED or not session.config.pluginmanager.hasplugin("dsession"):
        return
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    passed, failed = (reporter.stats.get(outcome, []) for outcome in ("passed", "failed"))
    reporter.write_line("")
    for report in failed:
        reporter.write_line(f"FAILED {report.nodeid}")
    reporter.write_line(
        f"Stopped: {len(passed)} passed, {len(failed)} failed. make test begins anew; pytest tests/test_NAME.py runs one file."
    )
    reporter.flush()
    os._exit(exitstatus)
