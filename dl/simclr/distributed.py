"""What SimCLR needs to give the same step on many devices as on one: negatives and batch norm over the global batch.

Chen et al. 2020 (arXiv:2002.05709), section 2.2: batch norm aggregates over all devices, else a device could tell the
positive by its own statistics; and every device's images are negatives for every other's.

Each of W ranks computes the same global loss L from the gathered projections. The gradient of a gather is a sum over
ranks, so the ranks' gradients add up to W times that of L; DistributedDataParallel takes their mean, which leaves L's.

Every function here takes it that all ranks hold the same number of rows, and does nothing without a process group.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function

from dl.guards import want_kind
from dl.simclr.contrastive_loss import simclr_loss_vectorized


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def gather_rows(x: Tensor) -> Tensor:
    """Rows of all ranks, in the order of the ranks: (N, D) -> (W N, D), with a gradient for each rank's own rows."""
    return _GatherRows.apply(x) if is_distributed() else x


def global_loss(out_left: Tensor, out_right: Tensor, tau: float) -> Tensor:
    """SimCLR's loss of the global batch, equal on every rank; arguments as for `simclr_loss_vectorized`."""
    return simclr_loss_vectorized(gather_rows(out_left), gather_rows(out_right), tau)


def synchronise_batch_norm(module: nn.Module) -> None:
    """Replace every batch norm inside `module` by a `SyncBatchNorm`; parameters, buffers and their names stay."""
    want_kind("synchronise_batch_norm", "a torch module", nn.Module, module=module)
    for name, child in module.named_children():
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            layer = SyncBatchNorm(child.num_features, child.eps, child.momentum).to(child.weight)
            layer.load_state_dict(child.state_dict())
            setattr(module, name, layer)
        else:
            synchronise_batch_norm(child)


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the global batch (Ioffe and Szegedy 2015, arXiv:1502.03167, Algorithm 1), on any backend.

    PyTorch's own layer of this name refuses the CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, …) of this rank -> the same shape, normalised by the statistics of all ranks while training."""
        if not (self.training and is_distributed()):
            return super().forward(x)
        W = dist.get_world_size()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        full = x if x.dtype == torch.float64 else x.float()
        mean = _SumOverRanks.apply(full.mean(axes)) / W  # (C,)
        centred = full - mean.view(shape)
        variance = _SumOverRanks.apply(centred.square().mean(axes)) / W  # (C,)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            count = W * x.numel() / x.shape[1]
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    def _check_input_dim(self, x: Tensor) -> None:
        pass  # (N, C), (N, C, L), (N, C, H, W): all are fine


class _SumOverRanks(Function):
    """Sum over ranks; since every rank's result depends on every rank's input, so does the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _SumOverRanks.forward(ctx, gradient)


class _GatherRows(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
