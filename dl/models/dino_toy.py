"""DINO in miniature, with its two safeguards as switches: what happens without centring, and without sharpening?

Caron et al. 2021 (arXiv:2104.14294), section 5.3 and figure 7. "Images" are vectors: eight kinds that have much in
common, each view of one with noise of its own. Student and teacher see two views and must agree, as in `dl.models.dino`.

Axes: N images of a batch, K scores of the head.
Notebook: notebooks/CLIP_DINO.ipynb
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dl.models.dino import (
    STUDENT_TEMPERATURE,
    TEACHER_TEMPERATURE,
    DINOHead,
    dino_loss,
    make_teacher,
    update_center,
    update_teacher,
)
from dl.utils import one_thread

KINDS, OUTPUTS, WIDTH = 8, 16, 32  # kinds of images, K, numbers in a "image"
PER_KIND, NOISE, COMMON = 8, 0.7, 1.5  # images of a kind in a batch; strength of the noise, and of what all share
RATE, TEACHER_MOMENTUM = 1e-3, 0.99


def entropies(
    centring: bool = True,
    sharpening: bool = True,
    steps: int = 300,
    seed: int = 1,
    new_center: Callable[[Tensor, Tensor], Tensor] = update_center,
) -> tuple[list, list]:
    """Train on the toy and look at the teacher's distributions at every step.

    Args:
        centring: subtract the moving mean of the scores. sharpening: a lower temperature than the student's.
        new_center: called with the centre (K,) and the teacher's scores (2, N, K) of a batch, returns the next centre.
    Returns:
        of one image: mean entropy of an image's distribution, a float each step, in nats: 0 is a clear decision, ln K
        none at all. of all: entropy of the mean distribution: 0 if all images get the same answer, ln 8 if the eight
        kinds get one each, ln K if all answers are used equally. Global random state is left as it was.
    """
    temperature = TEACHER_TEMPERATURE if sharpening else STUDENT_TEMPERATURE
    of_one, of_all = [], []
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kinds = torch.randn(KINDS, WIDTH) + COMMON * torch.randn(WIDTH)
        student = DINOHead(WIDTH, OUTPUTS)
        teacher, center = make_teacher(student), torch.zeros(OUTPUTS)
        optimizer = torch.optim.Adam(student.parameters(), lr=RATE)
        for _ in range(steps):
            images = kinds.repeat(PER_KIND, 1)  # (N, WIDTH)
            views = images + NOISE * torch.randn(2, *images.shape)  # (2, N, WIDTH)
            with torch.no_grad():
                teacher_scores = teacher(views)  # (2, N, K)
            loss = dino_loss(student(views), teacher_scores, center, teacher_temperature=temperature)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            shares = ((teacher_scores - center) / temperature).softmax(dim=-1).flatten(0, 1)  # (2N, K)
            of_one.append(_entropy(shares).mean().item())
            of_all.append(_entropy(shares.mean(dim=0)).item())
            if centring:
                center = new_center(center, teacher_scores)
            update_teacher(teacher, student, TEACHER_MOMENTUM)
    return of_one, of_all


def _entropy(shares: Tensor) -> Tensor:
    """Over the last axis, in nats."""
    return -torch.xlogy(shares, shares).sum(dim=-1)
