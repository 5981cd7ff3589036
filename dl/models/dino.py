"""DINO's recipe in short: a student learns, without labels, to say of any crop what a teacher says of another.

Caron et al. 2021, "Emerging properties in self-supervised vision transformers" (arXiv:2104.14294). Student and teacher
are the same network. Both end in a head that gives K scores; the student is trained by gradient to match the teacher's
distribution for ANOTHER crop of the same image (Eqs. 1-3), the teacher is a moving average of the student. Two
opposite means keep all outputs from becoming equal: centring (Eq. 4) forbids that one score wins always, sharpening
(a low teacher temperature) forbids that all are equally likely.

Axis key: N images, V crops of each, K scores of the head, D width of the network.
Notebook: notebooks/CLIP_DINO.ipynb; `dl/training/dino.py` trains the project's small weights with it.
"""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.04  # paper, section 3 and appendix D
CENTER_MOMENTUM = 0.9  # m in Eq. 4
FIRST_MOMENTUM = 0.996  # of the teacher, at the first step; 1 at the last

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class DINOHead(nn.Module):
    """Projection head (section 3.1): an MLP, a unit-length bottleneck, then K directions of unit length.

    Args:
        width: D of the tokens. outputs: K. hidden: features inside the MLP. bottleneck: features before the last layer.
    """

    def __init__(self, width: int, outputs: int, hidden: int = 256, bottleneck: int = 64) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.directions = nn.Parameter(torch.randn(outputs, bottleneck))

    def project(self, tokens: Tensor) -> Tensor:
        """(…, D) -> (…, bottleneck), each of length 1."""
        return F.normalize(self.mlp(tokens), dim=-1)

    def score(self, projected: Tensor) -> Tensor:
        """(…, bottleneck) -> K cosines (…, K)."""
        return projected @ F.normalize(self.directions, dim=-1).T

    def forward(self, tokens: Tensor) -> Tensor:
        return self.score(self.project(tokens))


def dino_loss(
    student_scores: Tensor,
    teacher_scores: Tensor,
    center: Tensor,
    student_temperature: float = STUDENT_TEMPERATURE,
    teacher_temperature: float = TEACHER_TEMPERATURE,
) -> Tensor:
    """Cross entropy between the teacher's and the student's view of different crops (Eq. 3).

    P_t = softmax((g_t - C) / tau_t) is centred and sharpened, P_s = softmax(g_s / tau_s); the loss is the mean of
    -sum_k P_t[k] log P_s[k] over the images and over all pairs of a teacher's and another crop of the student's.

    Args:
        student_scores: (Vs, N, K), the teacher's crops first, in the same order. teacher_scores: (Vt, N, K), Vt <= Vs;
            no gradient flows into them. center: (K,), C of Eq. 4.
    Returns:
        0-d tensor, nats.
    """
    teacher = ((teacher_scores.detach() - center) / teacher_temperature).softmax(dim=-1)  # (Vt, N, K)
    student = (student_scores / student_temperature).log_softmax(dim=-1)  # (Vs, N, K)
    entropies = -torch.einsum("tnk,snk->ts", teacher, student) / teacher.shape[1]  # (Vt, Vs), mean over N
    other = ~torch.eye(len(teacher), len(student), dtype=torch.bool, device=student.device)  # never the same crop
    return entropies[other].mean()


@torch.no_grad()
def update_center(center: Tensor, teacher_scores: Tensor, momentum: float = CENTER_MOMENTUM) -> Tensor:
    """C <- m C + (1 - m) mean of the teacher's scores over the batch (Eq. 4): (K,), (…, K) -> (K,)."""
    return momentum * center + (1 - momentum) * teacher_scores.flatten(0, -2).mean(dim=0)


def make_teacher(student: ModuleT) -> ModuleT:
    """A copy of the student that takes no gradient."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """theta_t <- lambda theta_t + (1 - lambda) theta_s (section 3.1); the teacher is changed in place."""
    for held, new in zip(teacher.parameters(), student.parameters()):
        held.lerp_(new, 1 - momentum)


def teacher_momentum(step: int, steps: int, first: float = FIRST_MOMENTUM) -> float:
    """lambda at a step: from `first` up to 1 along half a cosine (section 3.1)."""
    return 1 - (1 - first) * 0.5 * (1 + math.cos(math.pi * step / steps))
