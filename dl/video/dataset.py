"""DAVIS 2017 as the lesson sees it: whole videos, DINO tokens of their frames, and labels per patch."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dl import settings
from dl.files import user_path
from dl.guards import check_sizes, want_device
from dl.guards.images import check_images
from dl.video.overlay import create_segmentation_overlay, outline_objects, resize_nearest
from dl.video.tokens import FRAME_SIZE, PATCH, stream_tokens


class DavisDataset:
    """Validation videos of DAVIS 2017, or those of the sample world, as DL_DATA says; and their frames as DINO tokens.

    Args:
        root: a folder in DAVIS's layout; None takes the fetched one, or the sample world's.
        download: with DL_DATA=real and no root, fetch the videos (about 800 MB) if they are absent; otherwise their
            absence is an error that names the command.
    Raises:
        FileNotFoundError: if there are no videos.
    """

    def __init__(self, root: str | Path | None = None, download: bool = False) -> None:
        from dl.data import locate
        from dl.data.davis import video_names

        if download and root is None and settings.data_mode() == settings.REAL:
            from dl.data.fetch import fetch
            from dl.data.registry import ENTRIES

            fetch(ENTRIES["davis"])
        self.root = locate("davis") if root is None else user_path(root)
        self.names = video_names(self.root)

    def __len__(self) -> int:
        return len(self.names)

    def get_sample(self, index: int | str) -> tuple[np.ndarray, np.ndarray]:
        """One whole video; prints its name and length.

        Args:
            index: position in the course's order (`names`), 0 <= index < len(self), or a video's name.
        Returns:
            frames: uint8 (T, H, W, 3), RGB. masks: uint8 (T, H, W, 1), object ids, 0 background.
        Raises:
            IndexError, KeyError: if there is no such video. ValueError: if a file of it is damaged.
        """
        name = self._name(index)
        frames, masks = (np.stack(column) for column in zip(*self.stream_sample(name)))
        print(f"video {name}  {len(frames)} frames")
        return frames, masks

    def stream_sample(self, index: int | str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same video frame by frame, one in memory at a time: frame (H, W, 3) and mask (H, W, 1), uint8."""
        from dl.data.davis import read_moments

        return read_moments(self.root, self._name(index))

    def process_frames(
        self,
        frames: np.ndarray | Sequence[np.ndarray],
        dino_model: nn.Module,
        device: torch.device | str,
        size: int = FRAME_SIZE,
    ) -> Tensor:
        """Patch tokens of every frame: the output of the ViT's last block behind its layer norm, without [CLS].

        A frame that this model has seen before costs no pass: its tokens are kept, up to `dl.video.tokens.CACHE_BYTES`.

        Args:
            frames: uint8 (T, H, W, 3), RGB, or a list of such frames.
            dino_model: has get_intermediate_layers, as `dl.models.vit.VisionTransformer`. It is not changed; put it in
                eval mode.
            device: where the model is. size: frames are resized to size x size, a multiple of the patch.
        Returns:
            (T, P, D) on that device, without gradient; P = (size / 8)^2 for patches of 8 pixels, row by row.
        Raises:
            ValueError: without frames, for frames of other shapes or a size that patches do not divide.
            TypeError: for frames that are not uint8.
        """
        frames = check_images("process_frames", frames, grey=False)
        stream = stream_tokens(frames, dino_model, device, size)
        first = next(stream)  # (P, D)
        of_all = first.new_empty(len(frames), *first.shape)
        of_all[0] = first
        for number, of_frame in enumerate(stream, start=1):
            of_all[number] = of_frame
        return of_all

    def stream_tokens(
        self,
        frames: Iterable[np.ndarray],
        dino_model: nn.Module,
        device: torch.device | str,
        size: int = FRAME_SIZE,
        folder: str | Path | None = None,
    ) -> Iterator[Tensor]:
        """The same tokens, (P, D) of one frame after another, in constant memory: `frames` may be a generator.

        Args:
            folder: keeps the tokens of each frame, so that a killed run goes on; None keeps nothing.
        """
        return stream_tokens(frames, dino_model, device, size, folder)

    def process_masks(
        self, masks: np.ndarray, device: torch.device | str, size: int = FRAME_SIZE, patch_size: int = PATCH
    ) -> Tensor:
        """Masks at one label per patch, by nearest neighbour: no label is made up between two others.

        Args:
            masks: integer (T, H, W, 1) or (T, H, W), object ids. device: where the result goes.
            size: that of the frames in `process_frames`. patch_size: of the model.
        Returns:
            int64 (T, P), P = (size / patch_size)^2, row by row.
        Raises:
            ValueError: without masks, for other shapes, or if a mask holds 255. TypeError: for floats.
        """
        device = want_device("process_masks", device)
        check_sizes("process_masks", 1, size=size, patch_size=patch_size)
        masks = np.asarray(masks)
        if masks.ndim == 4 and masks.shape[-1] == 1:
            masks = masks[..., 0]
        if masks.ndim != 3 or 0 in masks.shape:
            raise ValueError(
                f"process_masks: wanted at least one mask, (T, H, W, 1), got shape {masks.shape}. "
                "Pass a slice such as masks[40:41], not one mask."
            )
        if masks.dtype.kind not in "iu":
            raise TypeError(f"process_masks: wanted object ids as integers, got {masks.dtype}. Read the palette's indices.")
        if masks.max() >= 255 or masks.min() < 0:
            raise ValueError(
                f"process_masks: wanted object ids from 0 to 254, got {masks.min()} to {masks.max()}. "
                "255 marks undecided pixels in some data sets: set them to 0."
            )
        if size < patch_size:
            raise ValueError(f"process_masks: got size {size} for patches of {patch_size}. The course uses {FRAME_SIZE}.")
        side = size // patch_size
        labels = np.stack([resize_nearest(mask, side, side) for mask in masks])  # (T, side, side)
        return torch.from_numpy(labels.reshape(len(labels), -1).astype(np.int64)).to(device)  # (T, P)

    def mask_frame_overlay(
        self, processed_mask: Tensor | np.ndarray, frame: np.ndarray, clear_background: bool = False
    ) -> np.ndarray:
        """A frame under the labels of its patches, blended half and half; the frame itself stays as it is.

        Args:
            processed_mask: integer (P,), labels of a square grid of patches, row by row.
            frame: uint8 (H, W, 3), RGB. clear_background: leave class 0 as it is.
        Returns:
            uint8 (H, W, 3).
        Raises:
            ValueError: if P is no square, or the frame has another shape. TypeError: for other dtypes.
        """
        (frame,) = check_images("mask_frame_overlay", [frame], grey=False)
        mask = _mask_of_patches("mask_frame_overlay", processed_mask, frame)
        return create_segmentation_overlay(mask, frame, clear_background=clear_background)

    def outline_frame(self, processed_mask: Tensor | np.ndarray, frame: np.ndarray) -> np.ndarray:
        """The same labels as outlines: objects keep their own colours. Arguments, result and errors as above."""
        (frame,) = check_images("outline_frame", [frame], grey=False)
        return outline_objects(_mask_of_patches("outline_frame", processed_mask, frame), frame)

    def _name(self, index: int | str) -> str:
        if isinstance(index, str):
            if index not in self.names:
                raise KeyError(
                    f"get_sample: there is no video {index!r}; there are {', '.join(self.names)}. "
                    "Pass one of these names, or a position."
                )
            return index
        if isinstance(index, bool) or not hasattr(index, "__index__"):
            raise TypeError(f"get_sample: wanted a video's position or name, got {index!r}. Pass an int or a string.")
        try:
            index = operator.index(index)
        except TypeError as error:  # arrays have the method, too
            raise TypeError(f"get_sample: wanted a position or name, got {index!r:.60}. Pass an int or a string.") from error
        if not 0 <= index < len(self.names):
            raise IndexError(
                f"get_sample: got position {index}, wanted 0 to {len(self.names) - 1}. "
                "`names` lists the videos in their order."
            )
        return self.names[index]


def _mask_of_patches(caller: str, processed_mask: Tensor | np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Labels of a square grid of patches (P,) at the frame's size, (H, W)."""
    labels = np.asarray(processed_mask.cpu() if isinstance(processed_mask, Tensor) else processed_mask)
    side = round(labels.size**0.5)
    if labels.ndim != 1 or side * side != labels.size or not labels.size:
        raise ValueError(
            f"{caller}: wanted the labels of a square grid, (P,), got shape {labels.shape}. "
            "Pass one row of process_masks, or the result of DINOSegmentation.inference."
        )
    return resize_nearest(labels.reshape(side, side), *frame.shape[:2])
