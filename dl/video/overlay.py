"""Labels drawn over an image, and integer maps resized by nearest neighbour."""

from __future__ import annotations

import numpy as np

from dl.guards import check_sizes, want_numbers
from dl.guards.images import check_images

COLOURS = (  # of classes 0, 1, …: black dims the background; the others are far, in CIELAB, from every colour that an object
    (0, 0, 0),  # of the sample world has, from the grey of a dimmed background, and from each other
    (255, 0, 255),
    (0, 255, 255),
    (110, 255, 0),
    (119, 102, 0),
    (119, 0, 51),
    (170, 170, 255),
    (0, 0, 68),
)

LARGEST_CLASS = 254  # 255 marks undecided pixels


def create_segmentation_overlay(
    segmentation_mask: np.ndarray, image: np.ndarray, alpha: float = 0.5, clear_background: bool = False
) -> np.ndarray:
    """An image under a colour for each class: image * (1 - alpha) + colour * alpha.

    The colours are the same in every call. Class 0, the background, is black: it dims the image.

    Args:
        segmentation_mask: integer (H, W), classes from 0. image: uint8 (H, W, 3), RGB; not changed.
        alpha: weight of the colour, 0 to 1. clear_background: leave class 0 as it is.
    Returns:
        uint8 (H, W, 3).
    Raises:
        ValueError: if sizes differ. TypeError: if the image is not uint8 or the mask holds no integers.
    """
    (image,) = check_images("create_segmentation_overlay", [image], grey=False)
    want_numbers("create_segmentation_overlay", alpha=alpha)
    if not 0 <= alpha <= 1:
        raise ValueError(f"create_segmentation_overlay: got alpha {alpha}, wanted a weight from 0 to 1. Leave it out for 0.5.")
    segmentation_mask = _checked_mask("create_segmentation_overlay", segmentation_mask, image)
    colours = class_colours(int(segmentation_mask.max()) + 1)[segmentation_mask]  # (H, W, 3)
    blended = (image * (1 - alpha) + colours * alpha).round().astype(np.uint8)
    if clear_background:
        blended[segmentation_mask == 0] = image[segmentation_mask == 0]
    return blended


def outline_objects(segmentation_mask: np.ndarray, image: np.ndarray, width: int | None = None) -> np.ndarray:
    """An image in which objects keep their own colours: each has an outline in the colour of its class, between two dark
    lines so that it touches no other colour, and what is labelled as background is grey and dim.

    Args:
        segmentation_mask: integer (H, W), classes from 0 to 254. image: uint8 (H, W, 3), RGB; not changed.
        width: of the outline in pixels; it lies inside the object. The dark lines have half that width. None takes 1/160 of
            the image's width, at least 2 pixels.
    Returns:
        uint8 (H, W, 3).
    Raises:
        ValueError: if sizes differ. TypeError: if the image is not uint8 or the mask holds no integers.
    """
    import cv2

    (image,) = check_images("outline_objects", [image], grey=False)
    labels = _checked_mask("outline_objects", segmentation_mask, image).astype(np.uint8)
    if width is not None:
        check_sizes("outline_objects", 1, width=width)
    width = max(2, image.shape[1] // 160) if width is None else width
    dark = max(1, width // 2)
    grey = (image @ np.array([0.299, 0.587, 0.114]) * 0.55).round()  # (H, W)
    drawn = np.where(labels[..., None] > 0, image, grey[..., None]).astype(np.uint8)

    def near_another(pixels: int) -> np.ndarray:
        window = np.ones((2 * pixels + 1,) * 2, np.uint8)
        return cv2.dilate(labels, window) != cv2.erode(labels, window)  # (H, W) bool

    drawn[near_another(dark) & (labels == 0)] = 0
    drawn[near_another(width + dark) & (labels > 0)] = 0
    edge = near_another(width) & (labels > 0)
    drawn[edge] = class_colours(int(labels.max()) + 1)[labels[edge]]
    return drawn


def class_colours(count: int) -> np.ndarray:
    """uint8 (count, 3), RGB: `COLOURS`, then more from a fixed random stream of their own."""
    check_sizes("class_colours", count=count)
    more = np.random.default_rng(0).integers(40, 256, size=(max(0, count - len(COLOURS)), 3))
    return np.array([*COLOURS, *more.tolist()], dtype=np.uint8)[:count]


def resize_nearest(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An integer map (H, W) at another size by nearest neighbour: (row, column) takes (row H / height, …), floored."""
    rows, columns = (np.arange(new) * old // new for old, new in zip(image.shape, (height, width)))
    return image[rows[:, None], columns]


def _checked_mask(caller: str, segmentation_mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    mask = np.asarray(segmentation_mask)
    if mask.shape != image.shape[:2]:
        raise ValueError(
            f"{caller}: wanted a mask of the image's size {image.shape[:2]}, got {mask.shape}. "
            "Resize the mask by nearest neighbour."
        )
    if mask.dtype.kind not in "iu":
        raise TypeError(f"{caller}: wanted classes as integers, got {mask.dtype}. Pass class numbers, not scores.")
    if mask.min() < 0 or mask.max() > LARGEST_CLASS:
        raise ValueError(
            f"{caller}: wanted classes from 0 to {LARGEST_CLASS}, got {mask.min()} to {mask.max()}. Set undecided pixels to 0."
        )
    return mask
