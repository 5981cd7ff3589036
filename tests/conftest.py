"""Shared by all tests: one thread, so that neighbours on the machine do not change the timing of the suite."""

import pytest
import torch

torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="of what the checks of the exercises draw (default: 0)")


@pytest.fixture
def seed(request):
    return request.config.getoption("--seed")
