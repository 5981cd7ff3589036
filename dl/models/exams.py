"""What the sample world can ask CLIP and DINO, because it knows the truth of everything that it draws.

CLIP: single objects with their colour, class and texture; pairs of scenes in which only the colours are swapped.
DINO: several kinds of features of one video, to compare with the learnt tokens.

Axis key: T frames, P patches of a frame, D features.
Notebook: notebooks/CLIP_DINO.ipynb.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from dl import settings
from dl.models import scores
from dl.models.vit import VisionTransformer
from dl.video import DavisDataset, frame_tensor
from dl.world.export import SPLIT_KEYS
from dl.world.render import render
from dl.world.scenes import (
    BACKGROUNDS,
    CLASSES,
    COLOURS,
    HELD_OUT_PAIRS,
    TEXTURES,
    Scene,
    SceneObject,
    generator,
    sample_scene,
)

CLIP_SIDE, VIDEO_SIDE = 112, 160  # pixels per side of scenes for CLIP, and of video frames for the small DINO
FIRST_SINGLE = 1000  # index of the first single-object scene: the smaller ones belong to the exported data


def article(name: str) -> str:
    """ "star" -> "a star", "orange car" -> "an orange car"."""
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


PROPERTY_TEXTS = {  # property of an object -> the texts among which CLIP chooses
    "colour": [f"something {colour}" for colour in COLOURS],
    "category": [article(category) for category in CLASSES],
    "texture": [f"something {texture}" for texture in TEXTURES],
}


def single_objects(split: str, count: int) -> tuple[list[SceneObject], list[np.ndarray]]:
    """Scenes of one object each: the objects, and the images, uint8 (112, 112, 3). split: "val" or "held_out"."""
    numbers = range(FIRST_SINGLE, FIRST_SINGLE + count)
    drawn = [sample_scene(generator(SPLIT_KEYS[split], n), count=1, held_out=split == "held_out") for n in numbers]
    return [scene.objects[0] for scene in drawn], [render(scene, CLIP_SIDE)[0] for scene in drawn]


def named_rightly(texts: Sequence[str], objects: Sequence[SceneObject], asked: str) -> np.ndarray:
    """Per object, whether the text chosen for it ends with the property that it has: bool (N,)."""
    return np.array([text.endswith(" " + getattr(thing, asked)) for text, thing in zip(texts, objects)])


def right_by_pair(right: np.ndarray, objects: Sequence[SceneObject]) -> list[dict[str, object]]:
    """Rows of a table: for every pair of colour and class, how many objects were named rightly, of how many."""
    pairs = [(thing.colour, thing.category) for thing in objects]
    rows = []
    for pair in sorted(set(pairs)):
        of_pair = right[[other == pair for other in pairs]]
        rows.append({"pair": " ".join(pair), "class right": int(of_pair.sum()), "of": len(of_pair)})
    return rows


def shows(scene: Scene, colour: str, category: str) -> bool:
    """Whether an object of this colour and class is in the scene."""
    return any((thing.colour, thing.category) == (colour, category) for thing in scene.objects)


def swap(
    colours: Sequence[str], categories: Sequence[str], background: str = "sand", appearance: int = 0
) -> tuple[list[np.ndarray], list[str]]:
    """Two posed scenes that differ in nothing but which object has which colour.

    Returns:
        images: two, uint8 (112, 112, 3): the colours as given, and exchanged. texts: what each of them shows.
    """
    images, texts = [], []
    for order in (colours, colours[::-1]):
        posed = tuple(
            SceneObject(category, colour, "plain", "large", x, 0.5, 0.42, 0.0, False)
            for category, colour, x in zip(categories, order, (0.28, 0.72))
        )
        images.append(render(Scene(posed, background, appearance), CLIP_SIDE)[0])
        texts.append(" and ".join(article(f"{colour} {category}") for colour, category in zip(order, categories)))
    return images, texts


def random_swaps(count: int, seed: int = 0) -> Iterator[tuple[list[np.ndarray], list[str]]]:
    """`count` such pairs of random colours, classes and backgrounds; no pair of colour and class is a held-out one."""
    rng = np.random.default_rng(seed)
    while count:
        colours = rng.choice(list(COLOURS), 2, replace=False).tolist()
        categories = rng.choice(CLASSES, 2, replace=False).tolist()
        background, appearance = BACKGROUNDS[rng.integers(len(BACKGROUNDS))], int(rng.integers(2**31))
        if HELD_OUT_PAIRS.isdisjoint((colour, category) for colour in colours for category in categories):
            count -= 1
            yield swap(colours, categories, background, appearance)


@torch.no_grad()
def last_layer(
    network: VisionTransformer, frames: Sequence[np.ndarray], device: torch.device | str, at_once: int = 20
) -> tuple[Tensor, Tensor]:
    """Attention of [CLS] to patches (N, heads, P) and patch tokens (N, P, D), of images at 160 x 160 pixels, on the CPU."""
    attention, tokens = [], []
    for start in range(0, len(frames), at_once):
        batch = frame_tensor(frames[start : start + at_once], VIDEO_SIDE).to(device)
        attention.append(network.get_last_selfattention(batch)[:, :, 0, 1:].cpu())
        tokens.append(network.get_intermediate_layers(batch)[0][:, 1:].cpu())
    return torch.cat(attention), torch.cat(tokens)


def hand_made_features(frames: Sequence[np.ndarray], patch_size: int) -> dict[str, Tensor]:
    """Three descriptions of the patches of a video that nobody trained, each (T, P, D), at 160 x 160 pixels."""
    import cv2

    resized = [cv2.resize(frame, (VIDEO_SIDE, VIDEO_SIDE), interpolation=cv2.INTER_AREA) for frame in frames]
    small = torch.from_numpy(np.stack(resized))
    colour = scores.colour_and_position(small, patch_size)  # mean of red, green, blue; contrast of each; row, column
    return {
        "colour and position": colour[..., [0, 1, 2, 6, 7]],
        "colour, contrast and position": colour,
        "edges (HOG)": scores.oriented_edges(small, patch_size),
    }


def feature_ious(
    videos: DavisDataset, name: str, networks: Mapping[str, VisionTransformer], device: torch.device | str
) -> dict[str, float]:
    """Mean IoU of a two-layer head, trained on the middle frame of a video, on each kind of features of its patches.

    Args:
        networks: name -> network; the hand-made features come after them. With DL_QUICK, the first 8 frames are taken.
    """
    frames, masks = zip(*islice(videos.stream_sample(name), settings.shortened(sys.maxsize, 8)))
    patch = next(iter(networks.values())).patch_size
    labels = videos.process_masks(np.stack(masks), "cpu", size=VIDEO_SIDE, patch_size=patch)
    features = {
        kind: videos.process_frames(frames, network, device, size=VIDEO_SIDE).cpu() for kind, network in networks.items()
    }
    features |= hand_made_features(frames, patch)
    return {kind: scores.one_shot_iou(rows, labels, len(labels) // 2) for kind, rows in features.items()}
