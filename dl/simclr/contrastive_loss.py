"""The contrastive loss of SimCLR, from one pair of vectors to the whole matrix.

Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations" (arXiv:2002.05709), Eq. 1.
With s the cosine similarity and tau the temperature, the loss of a positive pair (i, j) among 2N vectors is

    l(i, j) = -s(z_i, z_j) / tau + log sum over k != i of exp(s(z_i, z_k) / tau)

and the batch's loss is the mean of l over all N pairs in both directions. Only k = i is left out of the sum: the
positive itself stays in it.

Axes: N pairs (each branch holds one view of every image), D features. Row k of `out_left` and row k of `out_right`
are a positive pair; stacked as [left; right] the pairs are (k, k + N).
Notebook: notebooks/Self_Supervised_Learning.ipynb
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from dl.guards import check_tensors, want_device, want_tensors

HOTTEST = 1e18  # temperature; beyond it, all similarities are the same in any case


def sim(z_i: Tensor, z_j: Tensor) -> Tensor:
    """Cosine similarity of two vectors: z_i . z_j / (|z_i| |z_j|).

    Args:
        z_i, z_j: float vectors, (D,) or (1, D).
    Returns:
        0-d tensor in [-1, 1]; 0 if one of the vectors is zero (the formula alone gives NaN there; that is accepted, too).
    Raises:
        ValueError: if they are no two vectors of one size.
    """
    want_tensors("sim", z_i=z_i, z_j=z_j)
    if z_i.dtype != z_j.dtype:
        raise TypeError(
            f"sim: both vectors must share one dtype, got {z_i.dtype} and {z_j.dtype}. Convert one with .to(dtype)."
        )
    if z_i.numel() != z_j.numel() or any(z.ndim not in (1, 2) or z.numel() != z.shape[-1] for z in (z_i, z_j)):
        raise ValueError(
            f"sim: wanted two vectors of one size, (D,) or (1, D), got {tuple(z_i.shape)} and {tuple(z_j.shape)}. "
            "Pass one row of each branch; sim_positive_pairs takes whole batches."
        )
    # EXERCISE sim, about 2 lines. Hint: a cosine does not change if you bring each vector to length 1 first.
    # BEGIN SOLUTION sim
    return _unit_rows(z_i.flatten()) @ _unit_rows(z_j.flatten())
    # END SOLUTION sim


def simclr_loss_naive(out_left: Tensor, out_right: Tensor, tau: float) -> Tensor:
    """NT-Xent loss with one loop over the anchors: slow, easy to compare with Eq. 1, and differentiable.

    Args:
        out_left, out_right: (N, D) float, one view of each image in either; rows need not have unit length.
        tau: temperature > 0.
    Returns:
        0-d tensor >= 0, in nats: the mean of l(i, j) over 2N anchors. It is 0 for N = 1.
    Raises:
        ValueError: for unequal or empty branches, or tau <= 0. TypeError: if the branches differ in dtype.
    """
    N = _check_branches("simclr_loss_naive", out_left, out_right, tau)
    # BEGIN SOLUTION-ONLY
    z = _unit_rows(torch.cat([out_left, out_right]))  # (2N, D)
    # END SOLUTION-ONLY
    # EXERCISE simclr_loss_naive, about 8 lines. Hint: for anchor i, which row is its positive, which one is missing
    # from the denominator, and what does log(sum(exp(...))) do when tau is 0.005?
    # BEGIN SOLUTION simclr_loss_naive
    total = z.new_zeros(())
    for i in range(2 * N):
        j = (i + N) % (2 * N)
        logits = z @ z[i] / tau  # (2N,), s(z_i, z_k) / tau for every k
        others = torch.cat([logits[:i], logits[i + 1 :]])  # (2N - 1,), without k = i
        total = total - logits[j] + others.logsumexp(dim=0)
    return total / (2 * N)
    # END SOLUTION simclr_loss_naive


def sim_positive_pairs(out_left: Tensor, out_right: Tensor) -> Tensor:
    """Cosine similarity of each positive pair, row by row.

    Args:
        out_left, out_right: (N, D) float.
    Returns:
        (N, 1), in [-1, 1].
    Raises:
        ValueError: if the shapes differ.
    """
    check_tensors("sim_positive_pairs", out_left=(out_left, "N D"), out_right=(out_right, "N D"))
    # EXERCISE sim_positive_pairs, about 1 line. Hint: a product of matching elements, summed along one axis.
    # BEGIN SOLUTION sim_positive_pairs
    return (_unit_rows(out_left) * _unit_rows(out_right)).sum(dim=1, keepdim=True)  # (N, 1)
    # END SOLUTION sim_positive_pairs


def compute_sim_matrix(out: Tensor) -> Tensor:
    """Cosine similarity of every row with every row.

    Args:
        out: (2N, D) float, both branches stacked.
    Returns:
        (2N, 2N), symmetric, ones on the diagonal.
    Raises:
        ValueError: if `out` is not a matrix.
    """
    want_tensors("compute_sim_matrix", out=out)
    if out.ndim != 2:
        raise ValueError(
            f"compute_sim_matrix: wanted stacked rows (2N, D), got {tuple(out.shape)}. "
            "Stack both branches with torch.cat([left, right])."
        )
    # EXERCISE compute_sim_matrix, about 2 lines. Hint: what is the product of a matrix of unit rows with its transpose?
    # BEGIN SOLUTION compute_sim_matrix
    z = _unit_rows(out)  # (2N, D)
    return z @ z.T  # (2N, 2N)
    # END SOLUTION compute_sim_matrix


def simclr_loss_vectorized(
    out_left: Tensor, out_right: Tensor, tau: float, device: torch.device | str | None = None
) -> Tensor:
    """The same loss as `simclr_loss_naive` without a loop.

    Args:
        out_left, out_right: (N, D) float. tau: temperature > 0.
        device: where to compute; None means where the inputs are.
    Returns:
        0-d tensor >= 0 on that device, differentiable in both branches.
    Raises:
        ValueError: for unequal or empty branches, or tau <= 0. TypeError: if the branches differ in dtype.
    """
    N = _check_branches("simclr_loss_vectorized", out_left, out_right, tau)
    device = None if device is None else want_device("simclr_loss_vectorized", device)
    out = torch.cat([out_left, out_right]).to(device)  # (2N, D)
    # EXERCISE simclr_loss_vectorized, about 5 lines. Hint: l(i, j) is the cross-entropy of a choice among 2N - 1 rows.
    # Which choice is the right one for row i, and what must the logit of a choice be that is not allowed?
    # BEGIN SOLUTION simclr_loss_vectorized
    logits = compute_sim_matrix(out) / tau  # (2N, 2N)
    is_self = torch.eye(2 * N, dtype=torch.bool, device=out.device)
    logits = logits.masked_fill(is_self, -torch.inf)
    partner = torch.arange(2 * N, device=out.device).roll(N)  # of row i: i + N, or i - N
    return F.cross_entropy(logits, partner)  # through logsumexp: finite at any tau
    # END SOLUTION simclr_loss_vectorized


def rel_error(x: ArrayLike | Tensor, y: ArrayLike | Tensor) -> float:
    """Largest relative difference of two arrays: max |x - y| / max(1e-8, |x| + |y|), element by element.

    Args:
        x, y: numbers, numpy arrays or tensors of one shape, in any mix, on any devices.
    Returns:
        a Python float; nan if an element is nan.
    Raises:
        ValueError: if the shapes differ, since broadcasting would hide a wrong shape.
    """
    try:
        x, y = (np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, np.float64) for value in (x, y))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"rel_error: wanted arrays of numbers, got {x!r:.60} and {y!r:.60}. Pass numbers or tensors."
        ) from error
    if x.shape != y.shape:
        raise ValueError(f"rel_error: shapes differ, got {x.shape} and {y.shape}. Compare arrays of one shape.")
    if not x.size:
        return 0.0
    with np.errstate(invalid="ignore"):  # two infinite elements give nan
        return float(np.max(np.abs(x - y) / np.maximum(1e-8, np.abs(x) + np.abs(y))))


# BEGIN SOLUTION-ONLY
def _unit_rows(z: Tensor) -> Tensor:
    """Vectors along the last axis at length 1; a zero vector stays zero, also in half precision."""
    return F.normalize(z, dim=-1, eps=max(1e-12, torch.finfo(z.dtype).tiny))


# END SOLUTION-ONLY


def _check_branches(function: str, out_left: Tensor, out_right: Tensor, tau: float) -> int:
    """N; raises ValueError or TypeError with an explanation otherwise. Valid inputs skip the detailed checks, for speed."""
    want_tensors(function, out_left=out_left, out_right=out_right)
    if out_left.ndim != 2 or out_left.shape != out_right.shape or out_left.dtype != out_right.dtype:
        check_tensors(function, out_left=(out_left, "N D"), out_right=(out_right, "N D"))  # finds the words
    N = len(out_left)
    if not isinstance(tau, (int, float, np.number, Tensor)) or isinstance(tau, Tensor) and tau.numel() != 1:
        raise TypeError(
            f"{function}: wanted a number for the temperature tau, got {tau!r:.60}. The paper uses 0.5 on CIFAR-10."
        )
    if N == 0 or not 0 < tau < HOTTEST:
        raise ValueError(
            f"{function}: wanted at least one pair and a temperature tau > 0, got N = {N}, tau = {tau}. "
            "The paper uses tau 0.5 on CIFAR-10; drop an empty last batch."
        )
    return N
