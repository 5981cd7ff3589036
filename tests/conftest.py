"""Shared by all tests: one thread per process, also in those that a test starts; `make test` runs one process per core."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

torch.set_num_threads(1)
LONGEST = ("test_two_styles.py",)


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="of what the checks of the exercises draw (default: 0)")


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
