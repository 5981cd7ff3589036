"""SimCLR's augmentation for whole batches of tensors: each image with random parameters of its own.

Chen et al. 2020 (arXiv:2002.05709), appendix A. The same four random steps as `data_utils.compute_train_transform`,
from the same distributions, on (B, 3, h, w) tensors and any device: crop and resize, flip, colour jitter, grey. A few
dozen calls for the whole batch take the place of a dozen for each image: it keeps up with a GPU, and is several times
faster on one CPU core.

The resize is two matrix products: every output row (column) is a weighted mean of input rows (columns), with the
triangle filter that PIL calls bilinear. The colour steps follow PIL too, without its rounding to 8 bits in between.

Axes: B images, h and w their height and width, S side of the result.
Notebook: notebooks/Self_Supervised_Learning.ipynb
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from dl.guards import want_device, want_iterable, want_kind, want_tensors
from dl.guards.simclr import parts_of
from dl.simclr.data_utils import normalise

LUMINANCE = (0.299, 0.587, 0.114)  # red, green, blue in a grey value, as PIL's "L" (ITU-R 601)
CROP_TRIES = 10  # torchvision's RandomResizedCrop takes the whole image after so many boxes that do not fit


@dataclass(frozen=True)
class BatchAugmentation:
    """Samples a random view of every image of a batch; the defaults are those of `compute_train_transform`."""

    size: int = 32
    scale: tuple[float, float] = (0.08, 1.0)  # area of the crop as a share of the image's
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width : height of the crop
    flip: float = 0.5  # probability of each of the steps
    jitter: float = 0.8
    grey: float = 0.2
    strength: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)  # of brightness, contrast, saturation, hue

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw one view of each image.

        Args:
            images: (B, 3, h, w) uint8. generator: on the images' device; None samples with torch's global one.
        Returns:
            (B, 3, S, S) float32, normalised with CIFAR-10's mean and standard deviation.
        Raises:
            TypeError: unless `images` is uint8. ValueError: unless it is (B, 3, h, w).
        """
        want_tensors("BatchAugmentation", floating=False, images=images)
        if images.dtype != torch.uint8:
            raise TypeError(
                f"BatchAugmentation: wanted uint8 images in 0..255, got {images.dtype}. "
                "Pass the raw images; the augmentation normalises them itself."
            )
        if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
            raise ValueError(
                f"BatchAugmentation: wanted images (B, 3, h, w), got {tuple(images.shape)}. "
                "Move channels first with permute(0, 3, 1, 2)."
            )
        B = len(images)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=images.device, dtype=torch.float32)

        H, W = images.shape[2:]
        boxes = crop_boxes(uniform(4, CROP_TRIES, B), H, W, self.scale, self.ratio)
        views = crop_and_resize(images.float() / 255, boxes, self.size, flipped=uniform(B) < self.flip)
        factors = 1 + (2 * uniform(4, B) - 1) * views.new_tensor(self.strength)[:, None]  # (4, B), centred on 1
        order = uniform(4, B).argsort(dim=0)  # (4, B): which adjustment comes first, second, …
        order[:, uniform(B) >= self.jitter] = -1
        jitter_colours(views, factors, order)
        grey = uniform(B) < self.grey
        views[grey] = luminance(views[grey]).expand(-1, 3, -1, -1)
        return normalise(views)


def crop_boxes(
    u: Tensor, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random boxes as torchvision's RandomResizedCrop draws them: the first of `CROP_TRIES` that fits.

    Args:
        u: (4, tries, B) uniform in [0, 1): area, ratio, and position of each try.
    Returns:
        top, left, box height, box width: (B,) int64 each, inside the image.
    """
    area = height * width * (scale[0] + u[0] * (scale[1] - scale[0]))  # (tries, B)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = (low + u[1] * (high - low)).exp()
    box_w, box_h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (box_w > 0) & (box_w <= width) & (box_h > 0) & (box_h <= height)
    first = fits.int().argmax(dim=0, keepdim=True)  # (1, B)
    box_w, box_h, up, along = (value.gather(0, first)[0] for value in (box_w, box_h, u[2], u[3]))
    none_fits = ~fits.any(dim=0)  # then a box in the middle, as large as the ratio allows
    box_w = box_w.masked_fill(none_fits, min(width, round(height * ratio[1])))
    box_h = box_h.masked_fill(none_fits, min(height, round(width / ratio[0])))
    free_h, free_w = height - box_h, width - box_w
    top = torch.where(none_fits, free_h // 2, (up * (free_h + 1)).floor())
    left = torch.where(none_fits, free_w // 2, (along * (free_w + 1)).floor())
    return top.long(), left.long(), box_h.long(), box_w.long()


def crop_and_resize(images: Tensor, boxes: tuple[Tensor, ...], size: int, flipped: Tensor) -> Tensor:
    """Cut a box out of every image and resize it, as PIL's bilinear resize of the cut-out part.

    Args:
        images: (B, 3, h, w) float. boxes: top, left, height, width, (B,) each. flipped: (B,) bool, mirror the result.
    Returns:
        (B, 3, size, size).
    """
    top, left, box_h, box_w = boxes
    rows = _resize_weights(top, box_h, images.shape[2], size)  # (B, S, h)
    columns = _resize_weights(left, box_w, images.shape[3], size)  # (B, S, w)
    columns = torch.where(flipped[:, None, None], columns.flip(1), columns)
    return rows[:, None] @ images @ columns.transpose(1, 2)[:, None]  # (B, 3, S, S)


def _resize_weights(start: Tensor, length: Tensor, size: int, out: int) -> Tensor:
    """Weights (B, out, size) with which each of `out` pixels averages the input's `length` pixels from `start` on."""
    position = torch.arange(size, device=start.device)  # (size,)
    start, length = start[:, None, None], length[:, None, None]
    step = length / out  # input pixels per output pixel
    centre = start + (torch.arange(out, device=start.device)[:, None] + 0.5) * step  # (B, out, 1)
    weights = (1 - (position + 0.5 - centre).abs() / step.clamp(min=1)).clamp(min=0)
    weights = weights * ((position >= start) & (position < start + length))
    return (weights / weights.sum(dim=2, keepdim=True)).float()  # whatever dtype is the default


def jitter_colours(views: Tensor, factors: Tensor, order: Tensor) -> None:
    """Brightness, contrast, saturation and hue of each image, in an order of its own; `views` is changed in place.

    Args:
        views: (B, 3, S, S) float in [0, 1].
        factors: (4, B), 1 changes nothing; of the hue, factor - 1 is the turn, in circles.
        order: (4, B), the adjustment (0 to 3) that is made first, second, third, fourth; negative for none.
    """
    for step in order:
        for number, adjust in enumerate((adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)):
            chosen = (step == number).nonzero()[:, 0]
            views[chosen] = adjust(views[chosen], factors[number, chosen, None, None, None])


def adjust_brightness(views: Tensor, factor: Tensor) -> Tensor:
    return (views * factor).clamp(0, 1)


def adjust_contrast(views: Tensor, factor: Tensor) -> Tensor:
    mean = luminance(views).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, views, factor).clamp(0, 1)


def adjust_saturation(views: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(luminance(views), views, factor).clamp(0, 1)


def adjust_hue(views: Tensor, factor: Tensor) -> Tensor:
    """Turn the hue by factor - 1 circles, at unchanged value and chroma of the HSV model."""
    value, minimum = views.amax(dim=1, keepdim=True), views.amin(dim=1, keepdim=True)
    chroma = value - minimum
    red, green, blue = views.split(1, dim=1)
    sector = torch.where(
        value == red, (green - blue), torch.where(value == green, (blue - red) + 2 * chroma, (red - green) + 4 * chroma)
    ) / chroma.clamp(min=1e-8)  # hue in sixths of the circle, (B, 1, S, S)
    offsets = views.new_tensor((5, 3, 1))[:, None, None]
    k = (sector + 6 * (factor - 1) + offsets) % 6  # (B, 3, S, S)
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


def luminance(views: Tensor) -> Tensor:
    """Grey value of every pixel: (B, 3, S, S) -> (B, 1, S, S)."""
    return (views * views.new_tensor(LUMINANCE)[:, None, None]).sum(dim=1, keepdim=True)


class PairBatches:
    """Two views of every batch of a loader: takes the place of a DataLoader over `CIFAR10Pair`.

    Args:
        loader: yields (images uint8 (B, 3, h, w), targets (B,)).
        augmentation: makes the views. device: where to make them; None leaves the images where they are.
        generator: on that device; None samples with torch's global one.
    """

    def __init__(
        self,
        loader: DataLoader,
        augmentation: BatchAugmentation,
        device: torch.device | str | None = None,
        generator: Generator | None = None,
    ) -> None:
        want_iterable("PairBatches", "a DataLoader", loader=loader)
        want_kind("PairBatches", "a BatchAugmentation", BatchAugmentation, augmentation=augmentation)
        device = None if device is None else want_device("PairBatches", device)
        self.loader, self.augmentation, self.device, self.generator = loader, augmentation, device, generator

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for batch in self.loader:
            images, targets = parts_of("PairBatches", batch, 2, 2)
            images = images.to(self.device, non_blocking=True)
            yield self.augmentation(images, self.generator), self.augmentation(images, self.generator), targets
