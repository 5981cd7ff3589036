"""Shared by all tests: one thread per process, also in those that a test starts; `make test` runs one process per core."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="of what the checks of the exercises draw (default: 0)")


@pytest.fixture
def seed(request):
    return request.config.getoption("--seed")
