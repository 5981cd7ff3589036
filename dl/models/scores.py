"""How good CLIP's and DINO's weights are on scenes and videos of the sample world whose truth is known.

CLIP: `recall_at_1` (does each text find its image among others?) and `zero_shot_score` (is the right name the nearest
text?). DINO: `attention_scores`, `object_silhouette` and `one_shot_iou`, the last beside the hand-made features
`colour_and_position` and `oriented_edges`. The training scripts measure with these on scenes of their own, the
notebook again on others.

Axis key: N images or frames, h and w rows and columns of the patch grid, P = h*w patches, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl import settings
from dl.utils import one_thread


def recall_at_1(text_features: Tensor, image_features: Tensor, among: int, draws: int, rng: np.random.Generator) -> float:
    """Share of texts whose nearest image is their own, among `among` images drawn without repetition.

    Args:
        text_features, image_features: (N, D), row n of both from the same scene.
        among: images in a draw, at most N. draws: number of draws. rng: draws them.
    Returns:
        Mean over all texts of all draws, in [0, 1].
    """
    similarity = F.normalize(text_features, dim=1) @ F.normalize(image_features, dim=1).T  # (N, N)
    found = []
    for _ in range(draws):
        chosen = torch.from_numpy(rng.choice(len(similarity), size=among, replace=False))
        best = similarity[chosen][:, chosen].argmax(dim=1)  # (among,)
        found.append((best == torch.arange(among)).float().mean().item())
    return float(np.mean(found))


def zero_shot_score(text_features: Tensor, image_features: Tensor, answers: Sequence[int] | Tensor) -> float:
    """Share of images whose nearest text is the right one: texts (K, D), images (N, D), answers in [0, K)."""
    similarity = F.normalize(image_features, dim=1) @ F.normalize(text_features, dim=1).T  # (N, K)
    return (similarity.argmax(dim=1).cpu() == torch.as_tensor(answers)).float().mean().item()


def patch_coverage(masks: Tensor, patch_size: int) -> Tensor:
    """Share of each patch that an object covers: masks (N, H, W), above 0 on objects -> float (N, P) in [0, 1]."""
    on_object = (masks > 0).float()[:, None]  # (N, 1, H, W)
    return F.avg_pool2d(on_object, patch_size).flatten(1)


def attention_scores(attention: Tensor, coverage: Tensor) -> dict[str, Any]:
    """Whether the [CLS] token of some head looks at the objects.

    Args:
        attention: (N, heads, P), attention of [CLS] to the patches. coverage: (N, P) of `patch_coverage`; every image
            has a patch that is more than half covered.
    Returns:
        `gain`: attention on objects over their share of the area, mean over images, of the best head; 1 is chance.
        `iou`: overlap of the objects' n patches (those more than half covered) with the n patches of most attention,
        intersection over union, mean over images, of the best head. `gain_head`, `iou_head`: which head that is.
        `gains`, `ious`: of every head.
    """
    shares = attention / attention.sum(dim=2, keepdim=True)  # of what falls on patches, (N, heads, P)
    mass = (shares * coverage[:, None]).sum(dim=2)  # (N, heads)
    gains = (mass / coverage.mean(dim=1, keepdim=True)).mean(dim=0)  # (heads,)
    truth = coverage > 0.5  # (N, P)
    sizes = truth.sum(dim=1)  # (N,)
    both = (most_attended(shares, sizes[:, None]) & truth[:, None]).sum(dim=2)  # (N, heads)
    ious = (both / (2 * sizes[:, None] - both)).mean(dim=0)  # (heads,)
    return {
        "gain": gains.max().item(),
        "iou": ious.max().item(),
        "gain_head": int(gains.argmax()),
        "iou_head": int(ious.argmax()),
        "gains": gains.tolist(),
        "ious": ious.tolist(),
    }


def most_attended(attention: Tensor, counts: Tensor) -> Tensor:
    """Marks the patches of most attention: attention (..., P), counts (...) how many to mark -> bool (..., P)."""
    order = attention.argsort(dim=-1, descending=True)
    ranks = order.argsort(dim=-1)  # place of each patch in that order, 0 for the most attention
    return ranks < counts[..., None]


def principal_components(tokens: Tensor, count: int = 3) -> Tensor:
    """Coordinates of tokens (P, D) along their first principal components: (P, count), of arbitrary sign."""
    centred = tokens - tokens.mean(dim=0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    return centred @ directions[:count].T


def object_silhouette(tokens: Tensor, coverage: Tensor) -> float:
    """How well objects stand apart from the background in the first three principal components of the tokens.

    Rousseeuw's silhouette, in [-1, 1], of the patches more than half covered against those not covered at all; patches
    on an outline are left out. Mean over images.

    Args:
        tokens: (N, P, D) patch tokens. coverage: (N, P) of `patch_coverage`.
    """
    from sklearn.metrics import silhouette_score

    scores = []
    for each, covered in zip(tokens, coverage):
        clear = (covered > 0.5) | (covered == 0)
        scores.append(silhouette_score(principal_components(each)[clear].numpy(), (covered[clear] > 0.5).numpy()))
    return float(np.mean(scores))


def one_shot_iou(features: Tensor, labels: Tensor, train_frame: int, make_head: Callable | None = None) -> float:
    """Mean IoU of a head trained on the patches of one frame, on all OTHER frames, absent classes skipped.

    Args:
        features: (T, P, D) float, brought to mean 0 and deviation 1 by the training frame here, so that features of any
            scale are treated alike. labels: (T, P) int64, 0 background. train_frame: which frame is labelled.
        make_head: called with (num_classes, D); what it returns has `train(x, y)` and `inference(x)`. None takes
            `TwoLayerHead`.
    """
    num_classes = int(labels.max()) + 1
    shown = features[train_frame]
    features = (features - shown.mean(dim=0)) / (shown.std(dim=0) + 1e-6)
    head = (make_head or TwoLayerHead)(num_classes, features.shape[-1])
    with one_thread():
        head.train(features[train_frame], labels[train_frame])
    others = [frame for frame in range(len(features)) if frame != train_frame]
    return float(np.mean([iou_of_present(head.inference(features[t]).cpu(), labels[t], num_classes) for t in others]))


class TwoLayerHead:
    """A small classifier of single patches: with a hidden layer, so that hand-made features are not held back by a line.

    The global random state is left as it was.
    """

    def __init__(self, num_classes: int, inp_dim: int, hidden: int = 128, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = nn.Sequential(nn.Linear(inp_dim, hidden), nn.GELU(), nn.Linear(hidden, num_classes))
        self.adamw = torch.optim.AdamW(self.net.parameters(), lr=1e-3, weight_decay=0.1)

    def train(self, x: Tensor, y: Tensor, num_iters: int = 500) -> None:
        for _step in range(settings.shortened(num_iters, 20)):
            self.adamw.zero_grad()
            F.cross_entropy(self.net(x), y).backward()
            self.adamw.step()

    @torch.no_grad()
    def inference(self, x: Tensor) -> Tensor:
        return self.net(x).argmax(dim=1)


def iou_of_present(pred: Tensor, truth: Tensor, num_classes: int) -> float:
    """Intersection over union, mean over the classes that occur in `pred` or `truth`: both integer (P,)."""
    values = []
    for label in range(num_classes):
        p, t = pred == label, truth == label
        union = (p | t).sum().item()
        if union:
            values.append((p & t).sum().item() / union)
    return float(np.mean(values))


def colour_and_position(frames: Tensor, patch_size: int) -> Tensor:
    """Colour, contrast and position of each patch: uint8 (T, H, W, 3) -> float (T, P, 8).

    Features 0 to 2 are the mean of red, green and blue, 3 to 5 their deviation within the patch, 6 and 7 row and column
    from -1 to 1.
    """
    pixels = frames.permute(0, 3, 1, 2).float() / 255
    mean = F.avg_pool2d(pixels, patch_size)  # (T, 3, h, w)
    deviation = (F.avg_pool2d(pixels**2, patch_size) - mean**2).clamp(min=0).sqrt()
    T, _, h, w = mean.shape
    row = torch.linspace(-1, 1, h).view(1, 1, h, 1).expand(T, 1, h, w)
    column = torch.linspace(-1, 1, w).view(1, 1, 1, w).expand(T, 1, h, w)
    return torch.cat([mean, deviation, row, column], dim=1).flatten(2).transpose(1, 2)


def oriented_edges(frames: Tensor, patch_size: int, bins: int = 9) -> Tensor:
    """Histograms of gradient directions, in the manner of HOG: uint8 (T, H, W, 3) -> float (T, P, 9 * bins).

    Dalal and Triggs 2005: grey gradients, directions without sign in `bins` bins weighted by strength, summed over each
    patch; the histograms of the patch and its eight neighbours, scaled together to length 1.
    """
    grey = (frames.float() / 255) @ torch.tensor([0.299, 0.587, 0.114])  # (T, H, W)
    padded = F.pad(grey[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    dx, dy = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    strength = (dx**2 + dy**2).sqrt()
    direction = (torch.atan2(dy, dx) % torch.pi * (bins / torch.pi)).long().clamp(max=bins - 1)  # (T, H, W)
    layers = F.one_hot(direction, bins).permute(0, 3, 1, 2) * strength[:, None]  # (T, bins, H, W)
    histograms = F.avg_pool2d(layers, patch_size)  # (T, bins, h, w)
    blocks = F.unfold(histograms, kernel_size=3, padding=1)  # (T, 9 * bins, P)
    return F.normalize(blocks, dim=1).transpose(1, 2)
