"""Checks of images that a function is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dl.guards import want_iterable


def check_images(function: str, images: np.ndarray | Sequence[np.ndarray], grey: bool = True) -> list[np.ndarray]:
    """Images as a list of uint8 arrays (H, W, 3), or (H, W) where `grey`; an error lists all that do not fit."""
    wanted = "uint8 arrays (H, W, 3)" + (" or (H, W)" if grey else "")
    if isinstance(images, np.ndarray) and images.ndim == 3 and images.shape[-1] == 3:
        raise ValueError(f"{function}: wanted a list of {wanted}, got one image {images.shape}. Put it in a list.")
    want_iterable(function, f"a list of {wanted}", images=images)
    images = list(images)
    if not images:
        raise ValueError(f"{function}: got no images, wanted at least one: {wanted}. Pass a list with images in it.")
    shapes, types = [], []
    for number, image in enumerate(images):
        if not isinstance(image, np.ndarray):
            types.append(f"number {number} is a {type(image).__name__}")
        elif image.dtype != np.uint8:
            types.append(f"number {number} is {image.dtype}")
        elif not (image.ndim == 3 and image.shape[2] == 3 or grey and image.ndim == 2) or not image.size:
            shapes.append(f"number {number} has shape {image.shape}")
    if types or shapes:
        raise (TypeError if types else ValueError)(
            f"{function}: wanted {wanted}, RGB, in 0..255; {'; '.join((types + shapes)[:5])}. "
            "Convert with np.asarray(Image.open(file).convert('RGB'))."
        )
    return images
