"""Shared by all tests: one thread, so that neighbours on the machine do not change the timing of the suite."""

import torch

torch.set_num_threads(1)
