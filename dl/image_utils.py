"""What the lessons use of images: one by its address, and how ImageNet's are normalised."""

from __future__ import annotations

from dl.data.pictures import image_from_url

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "image_from_url"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # per channel, RGB, of images in [0, 1]
