"""Train the small DINO of the CLIP_DINO notebook on images of the sample world, without labels and without masks.

DINO's own recipe is in `dl/models/dino.py`: student and teacher, centring and sharpening, multi-crop. On small images, with
minutes in place of days, it does not get far alone. What is added here, and is not in the paper:

- a stem of convolutions in place of the one large linear layer per patch;
- positions that are fixed sines, a window of a larger table drawn at random for every view;
- views that are also rotated by any angle and may change to any hue;
- after a first part, still scenes that come as a pair, the same objects before two backgrounds, and InfoNCE on [CLS] too;
- two losses on patches that show the same position of the image in two views: contrastive (InfoNCE; van den Oord et al.
  2018, arXiv:1807.03748, Eq. 4), and DINO's with balanced targets (Sinkhorn-Knopp; Caron et al. 2020, arXiv:2006.09882).

    python -m dl train-weights dino        about 40 minutes on one core; stops and resumes at any time
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from dl import settings, weights
from dl.clip_dino import DINOSegmentation, compute_iou
from dl.image_utils import IMAGENET_MEAN, IMAGENET_STD
from dl.models.dino import (
    CENTER_MOMENTUM,
    STUDENT_TEMPERATURE,
    TEACHER_TEMPERATURE,
    DINOHead,
    dino_loss,
    make_teacher,
    teacher_momentum,
    update_center,
    update_teacher,
)
from dl.models.scores import (
    attention_scores,
    colour_and_position,
    object_silhouette,
    one_shot_iou,
    oriented_edges,
    patch_coverage,
)
from dl.models.vit import VisionTransformer, untrained_like
from dl.training.common import resumed, write_card
from dl.utils import cosine_schedule
from dl.video import frame_tensor
from dl.weights.checkpoint import Checkpoint
from dl.world.export import EASY_VIDEOS, SPLIT_KEYS, VIDEO_SIZE
from dl.world.render import render
from dl.world.scenes import BACKGROUNDS, generator, sample_scene
from dl.world.videos import Video, easy_video, hard_video

NAME = "dino"
SEED, EVALUATION_SEED = 32, 34  # name the images; the data sets of the world and the other weights use other keys
STEPS, BATCH, PEAK_RATE, WARM_UP, WEIGHT_DECAY = 2500, 32, 1e-3, 100, 0.05
FIRST_MOMENTUM = 0.99  # of the teacher: a short training cannot wait for the paper's 0.996
CONFIGURATION: dict[str, Any] = {
    "patch_size": 8,
    "width": 128,
    "depth": 4,
    "num_heads": 4,
    "image_size": 160,
    "stem": "conv",
    "fixed_positions": True,
}
CLS_OUTPUTS, PATCH_OUTPUTS = 512, 512  # K of the two heads
WEIGHTS = {"cls": 0.3, "patch": 0.3, "contrast": 1.0, "cls_contrast": 1.0}  # of the losses; the last only with pairs
CONTRAST_TEMPERATURE, CONTRASTED = 0.1, 1024  # and how many patches of a batch are told apart

SOURCE = 128  # side of the images that views are taken from; videos are squeezed to a square, as the notebook does
SHARES = {"hard": 0.6, "easy": 0.1, "scene": 0.3}  # of the images, before there are pairs
SHARES_WITH_PAIRS = {"hard": 0.4, "easy": 0.05, "scene": 0.55}
PAIRS_FROM, PAIRED = 500, 0.85  # step from which this share of the scenes is drawn twice, before different backgrounds
GENTLE = 0.08  # of all turns of hue, for the views of pairs
GLOBAL_SIDE, LOCAL_SIDE = 80, 40  # of the two global and the two local views, in pixels
GLOBAL_SPAN, LOCAL_SPAN = (0.4, 0.8), (0.2, 0.4)  # side of a view as a share of the image's
SIDE = 160  # of the images that are scored, in pixels
SCENES, HARD_VIDEOS, FRAMES, TRAIN_FRAME, UNTRAINED = 200, 16, 20, 30, 3  # of the scores; how many untrained networks


class Networks(nn.Module):
    """The transformer with its two heads, for [CLS] and for patches; the student and the teacher are one each."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = VisionTransformer(**CONFIGURATION)
        self.cls_head = DINOHead(CONFIGURATION["width"], CLS_OUTPUTS)
        self.patch_head = DINOHead(CONFIGURATION["width"], PATCH_OUTPUTS)


def train(steps: int = STEPS) -> None:
    """Train from nothing (or from the checkpoint in `build/`), save the weights and write the card."""
    checkpoint = settings.project_root() / "build" / "train" / f"{NAME}.pt"
    torch.manual_seed(SEED)
    student = Networks()
    teacher = make_teacher(student)
    center = torch.zeros(CLS_OUTPUTS)
    trained = [p for p in student.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE)
    saved = Checkpoint(checkpoint, {}, student=student, teacher=teacher, optimizer=optimizer)
    rate = cosine_schedule(PEAK_RATE, WARM_UP, steps)
    progress = resumed(NAME, saved)
    step, seconds, center = progress["step"], progress["seconds"], progress.get("center", center)
    started = time.process_time() - seconds
    while step < steps:
        losses, center = step_losses(student, teacher, center, step)
        loss = sum(weight * losses[name] for name, weight in WEIGHTS.items() if name in losses)
        assert isinstance(loss, Tensor)  # of one loss or more
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 3.0)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()
        update_teacher(teacher, student, teacher_momentum(step, steps, FIRST_MOMENTUM))
        step += 1
        if step % 100 == 0:
            shown = " ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
            print(f"{NAME}: step {step}/{steps} {shown} {time.process_time() - started:.0f} s", flush=True)
        if step % 250 == 0 or step == steps:
            saved.save(step=step, seconds=time.process_time() - started, center=center)
    finish(teacher.backbone, steps, time.process_time() - started)


def step_losses(student: Networks, teacher: Networks, center: Tensor, step: int) -> tuple[dict[str, Tensor], Tensor]:
    """The losses on the images of a step, and the new centre."""
    drawn = draw_pictures(range(step * BATCH, (step + 1) * BATCH), PAIRS_FROM <= step)
    rng = torch.Generator().manual_seed(SEED * 10**6 + step)
    views, places, local_views = multi_crop(drawn, rng)  # (2N, 3, G, G), two maps, (2N, 3, L, L)
    positions, local_positions = (random_windows(student.backbone, x, rng) for x in (views, local_views))
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            taught = teacher.backbone.tokens(views, positions)
        seen = student.backbone.tokens(views, positions)  # (2N, 1 + P, D)
        seen_locally = student.backbone(local_views, local_positions)  # (2N, D)
    taught, seen, seen_locally = taught.float(), seen.float(), seen_locally.float()

    N = len(drawn.first)
    with torch.no_grad():
        told = teacher.cls_head.project(taught[:, 0]).view(2, N, -1)[:, drawn.for_cls]  # (2, n, B)
        teacher_scores = teacher.cls_head.score(told)  # (2, n, K)
    said = student.cls_head.project(torch.cat([seen[:, 0], seen_locally])).view(4, N, -1)[:, drawn.for_cls]  # (4, n, B)
    losses = {"cls": dino_loss(student.cls_head.score(said), teacher_scores, center)}
    if step >= PAIRS_FROM:
        losses["cls_contrast"] = contrast_views(said, told)
    center = update_center(center, teacher_scores, CENTER_MOMENTUM)

    anchors, targets = matching_patches(seen[:, 1:], taught[:, 1:], places, drawn.one_picture, rng)  # (M, D) each
    with torch.no_grad():
        target_projections = teacher.patch_head.project(targets)  # (M, B)
        target_shares = sinkhorn(teacher.patch_head.score(target_projections) / TEACHER_TEMPERATURE)  # (M, K)
    projections = student.patch_head.project(anchors)  # (M, B)
    logits = projections @ target_projections.T / CONTRAST_TEMPERATURE  # (M, M)
    losses["contrast"] = F.cross_entropy(logits, torch.arange(len(logits)))
    scores = student.patch_head.score(projections) / STUDENT_TEMPERATURE
    losses["patch"] = -(target_shares * scores.log_softmax(dim=1)).sum(dim=1).mean()
    return losses, center


def contrast_views(student: Tensor, teacher: Tensor) -> Tensor:
    """InfoNCE on [CLS]: which of the batch's images is a view of? (Vs, n, B) and (Vt, n, B) of length 1 -> mean, nats.

    As in `dino_loss`, over all pairs of a teacher's and another view of the student's.
    """
    own = torch.arange(student.shape[1])
    terms = [
        F.cross_entropy(said @ told.T / CONTRAST_TEMPERATURE, own)
        for t, told in enumerate(teacher)
        for s, said in enumerate(student)
        if s != t
    ]
    return torch.stack(terms).mean()


@dataclass(frozen=True)
class Drawn:
    """What views are taken from: the first half of them from `first`, the second from `second`, the same image or a pair."""

    first: Tensor  # (N, 3, SOURCE, SOURCE) float in [0, 1]
    second: Tensor
    middle: Tensor  # (N, 2), around which views are taken, in [-1, 1]; nan to draw it
    one_picture: Tensor  # bool (N,): both are the same image, so their patches can be matched
    for_cls: Tensor  # bool (N,): takes part in the [CLS] loss


def draw_pictures(indices: range, pairs: bool = False) -> Drawn:
    """Images of these indices: frames of hard and easy videos, and still scenes.

    With `pairs`, most scenes come twice, with the same objects before different backgrounds, and views are taken around
    one of the objects. Otherwise the [CLS] token would describe the background, by which two views of a scene are told
    most easily; the scenes that still come once are then left out of its loss.
    """
    rows, kinds = [], SHARES_WITH_PAIRS if pairs else SHARES
    for index in indices:
        rng = generator(SEED, index)
        kind = rng.choice(list(kinds), p=list(kinds.values()))
        middle, paired = (np.nan, np.nan), False
        if kind == "scene":
            scene = sample_scene(rng)
            first = second = render(scene, SOURCE)[0]
            paired = pairs and rng.random() < PAIRED
            if paired:
                other = [background for background in BACKGROUNDS if background != scene.background]
                scene = replace(scene, background=other[rng.integers(len(other))], appearance=int(rng.integers(2**31)))
                second = render(scene, SOURCE)[0]
                item = scene.objects[rng.integers(len(scene.objects))]
                middle = (2 * item.x - 1, 2 * item.y - 1)
        else:
            video = (hard_video if kind == "hard" else easy_video)(rng, SOURCE - 16, (SOURCE - 16) * 16 // 9)
            frame = video.frame(rng.uniform(-1, 1))[0]
            first = second = cv2.resize(frame, (SOURCE, SOURCE), interpolation=cv2.INTER_AREA)
        rows.append((first, second, middle, not paired, paired or kind != "scene" or not pairs))
    firsts, seconds, middles, one_picture, for_cls = zip(*rows)
    one, another = (torch.from_numpy(np.stack(p)).permute(0, 3, 1, 2).float() / 255 for p in (firsts, seconds))
    return Drawn(one, another, torch.tensor(middles, dtype=torch.float32), torch.tensor(one_picture), torch.tensor(for_cls))


def multi_crop(drawn: Drawn, rng: torch.Generator) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """Two global and two local views of each image, each with colours, angle, size and place of its own.

    Returns:
        views (2N, 3, G, G), the first views of all images before the second ones; their maps (matrix (2N, 2, 2),
        offset (2N, 2)) from view to image, both with coordinates in [-1, 1]; local views (2N, 3, L, L).
    """
    middle = uniform(rng, drawn.middle.shape, -0.7, 0.7)
    middle = torch.where(drawn.middle.isnan(), middle, drawn.middle)
    both = torch.cat([drawn.first, drawn.second])
    places = random_map(torch.cat([middle, middle]), GLOBAL_SPAN, 0.2, rng)
    local_places = random_map(torch.cat([middle, middle]), LOCAL_SPAN, 0.35, rng)
    gentle = ~drawn.one_picture.repeat(2)
    views = [
        recolour(take_view(both, *at, side), gentle, rng) for at, side in ((places, GLOBAL_SIDE), (local_places, LOCAL_SIDE))
    ]
    return views[0], places, views[1]


def random_map(middle: Tensor, span: tuple[float, float], shift: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Affine maps from view to image: any angle, mirrored or not, widened or squeezed along the image's x axis."""
    M = len(middle)
    size = torch.exp(uniform(rng, (M,), *np.log(span)))
    angle = uniform(rng, (M,), 0, 2 * np.pi)
    mirror = torch.where(uniform(rng, (M,), 0, 1) < 0.5, -1.0, 1.0)
    width = torch.exp(uniform(rng, (M,), np.log(0.6), np.log(1.2)))
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos * mirror, -sin], dim=1), torch.stack([sin * mirror, cos], dim=1)], dim=1)
    stretch = torch.stack([width, torch.ones(M)], dim=1)  # of x and y
    return size[:, None, None] * stretch[:, :, None] * turn, middle + uniform(rng, (M, 2), -shift, shift)


def take_view(pictures: Tensor, matrix: Tensor, offset: Tensor, side: int) -> Tensor:
    grid = patch_centres(side) @ matrix.transpose(1, 2) + offset[:, None]  # (M, side*side, 2), in the image
    grid = grid.view(len(pictures), side, side, 2)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def patch_centres(cells: int) -> Tensor:
    """Centres (x, y) of the cells of a square grid over [-1, 1], row by row: (cells*cells, 2)."""
    axis = (torch.arange(cells) + 0.5) * 2 / cells - 1
    return torch.stack([axis.repeat(cells), axis.repeat_interleave(cells)], dim=1)


def recolour(views: Tensor, gentle: Tensor, rng: torch.Generator) -> Tensor:
    """Any hue, more or less colour, light and contrast, now and then grey or solarised, some noise; then normalised.

    Views for which `gentle`, bool (M,), is set nearly keep their hue and are never grey: the colour of an object is what
    stays when the background is exchanged.
    """
    M = len(views)
    hue = uniform(rng, (M,), 0, 2 * np.pi)
    hue = torch.where(gentle, GENTLE * (hue - np.pi), hue)
    saturation = uniform(rng, (M,), 0.4, 1.5) * ((uniform(rng, (M,), 0, 1) > 0.2) | gentle)
    to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    turn = torch.zeros(M, 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = saturation * hue.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -saturation * hue.sin(), saturation * hue.sin()
    matrix = torch.linalg.inv(to_yiq) @ turn @ to_yiq  # (M, 3, 3)
    views = torch.einsum("mij,mjhw->mihw", matrix, views).clamp(0, 1)
    mean = views.mean(dim=(1, 2, 3), keepdim=True)
    contrast, light = uniform(rng, (M, 1, 1, 1), 0.6, 1.4), uniform(rng, (M, 1, 1, 1), 0.7, 1.3)
    views = ((views - mean) * contrast + mean * light).clamp(0, 1)
    solarised = (uniform(rng, (M, 1, 1, 1), 0, 1) < 0.1) & ~gentle.view(M, 1, 1, 1)
    views = torch.where(solarised & (views > 0.5), 1 - views, views)
    views = views + 0.03 * uniform(rng, (M, 1, 1, 1), 0, 1) * torch.randn(views.shape, generator=rng)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (views - mean) / std


def random_windows(model: VisionTransformer, views: Tensor, rng: torch.Generator) -> Tensor:
    """Positions for each view: a random window of the table, so that no place in an image means anything: (M, P, D)."""
    cells = views.shape[-1] // model.patch_size
    side = int(model.pos_embed.shape[1] ** 0.5)
    top, left = torch.randint(side - cells + 1, (2, len(views)), generator=rng)
    steps = torch.arange(cells)
    rows, columns = top[:, None] + steps, left[:, None] + steps  # (M, cells)
    index = rows[:, :, None] * side + columns[:, None, :]  # (M, cells, cells)
    return model.pos_embed[0, 1:][index.flatten(1)]


def matching_patches(
    seen: Tensor, taught: Tensor, places: tuple[Tensor, Tensor], one_picture: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The student's patches of one view and the teacher's features of the other, at the same place of the image.

    Args:
        seen, taught: (2N, P, D). places: the views' maps. one_picture: bool (N,), whose views can be matched at all.
    Returns:
        Two (M, D) tensors, rows matched; M at most CONTRASTED, drawn from all patches whose place both views show.
    """
    N, P, D = len(seen) // 2, seen.shape[1], seen.shape[2]
    cells = int(P**0.5)
    matrix, offset = places
    other = torch.arange(2 * N).roll(N)
    in_picture = patch_centres(cells) @ matrix.transpose(1, 2) + offset[:, None]  # (2N, P, 2)
    in_other = (in_picture - offset[other][:, None]) @ torch.linalg.inv(matrix[other]).transpose(1, 2)  # (2N, P, 2)
    shown = (in_other.abs() < 1).all(dim=2) & (in_picture.abs() < 1).all(dim=2)  # (2N, P)
    shown &= one_picture.repeat(2)[:, None]
    maps = taught[other].transpose(1, 2).reshape(2 * N, D, cells, cells)
    targets = F.grid_sample(maps, in_other[:, :, None], padding_mode="border", align_corners=False)  # (2N, D, P, 1)
    targets = targets[..., 0].transpose(1, 2)  # (2N, P, D)
    chosen = shown.flatten().nonzero()[:, 0]
    chosen = chosen[torch.randperm(len(chosen), generator=rng)[:CONTRASTED]]
    return seen.reshape(-1, D)[chosen], targets.reshape(-1, D)[chosen]


def sinkhorn(scores: Tensor, rounds: int = 3) -> Tensor:
    """Shares (M, K) that sum to 1 for each patch and are used equally by all, from scores (M, K) (arXiv:2006.09882)."""
    shares = (scores - scores.max()).exp()
    for _ in range(rounds):
        shares = shares / shares.sum(dim=0, keepdim=True) / shares.shape[1]
        shares = shares / shares.sum(dim=1, keepdim=True) / shares.shape[0]
    return shares * shares.shape[0]


def uniform(rng: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=rng)


@torch.no_grad()
def look(model: VisionTransformer, pictures: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """[CLS] attention of the last block (N, heads, P) and patch tokens (N, P, D) of uint8 images (H, W, 3)."""
    attention, tokens = [], []
    for start in range(0, len(pictures), 25):
        x = frame_tensor(pictures[start : start + 25], SIDE)
        attention.append(model.get_last_selfattention(x)[:, :, 0, 1:])
        tokens.append(model.get_intermediate_layers(x)[0][:, 1:])
    return torch.cat(attention), torch.cat(tokens)


def scene_scores(model: VisionTransformer) -> dict[str, float]:
    """Attention on objects, and how they stand apart in the principal components, on scenes never trained on."""
    pictures, masks = zip(*[render(sample_scene(generator(EVALUATION_SEED, 0, n)), SIDE) for n in range(SCENES)])
    coverage = patch_coverage(torch.from_numpy(np.stack(masks)), model.patch_size)
    attention, tokens = look(model, pictures)
    scores = attention_scores(attention, coverage)
    return {"gain": scores["gain"], "iou": scores["iou"], "silhouette": object_silhouette(tokens, coverage)}


def filmed(video: Video, frames: int) -> tuple[list[np.ndarray], Tensor]:
    """Frames, uint8 (SIDE, SIDE, 3), and the label of each patch (frames, P), nearest neighbour, as in the notebook."""
    pictures, labels = [], []
    cells = SIDE // CONFIGURATION["patch_size"]
    for moment in np.linspace(-1, 1, frames):
        frame, mask = video.frame(float(moment))
        rows, columns = (np.arange(cells) * size // cells for size in mask.shape)
        pictures.append(np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
        labels.append(mask[rows[:, None], columns].reshape(-1))
    return pictures, torch.from_numpy(np.stack(labels).astype(np.int64))


def hard_scores(models: dict[str, list[VisionTransformer]], videos: int = HARD_VIDEOS) -> dict[str, float]:
    """Mean IoU over hard videos never trained on, of a head trained on the middle frame; for several sorts of features."""
    scores: dict[str, list[float]] = {}
    for number in range(videos):
        pictures, labels = filmed(hard_video(generator(EVALUATION_SEED, 1, number), *VIDEO_SIZE), FRAMES)
        raw = torch.from_numpy(np.stack(pictures))
        features = {name: [look(model, pictures)[1] for model in group] for name, group in models.items()}
        seen = colour_and_position(raw, CONFIGURATION["patch_size"])
        features["colour"], features["contrast"] = [seen[..., [0, 1, 2, 6, 7]]], [seen]
        features["edges"] = [oriented_edges(raw, CONFIGURATION["patch_size"])]
        for name, group in features.items():
            scores.setdefault(name, []).append(float(np.mean([one_shot_iou(each, labels, FRAMES // 2) for each in group])))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def main_video_scores(model: VisionTransformer) -> dict[str, float]:
    """The graded IoU (absent classes count 0) on the first frame, the last and all of the notebook's main video."""
    frames = EASY_VIDEOS["playground"]
    pictures, labels = filmed(easy_video(generator(SPLIT_KEYS["easy"], 0), *VIDEO_SIZE), frames)
    tokens, num_classes = look(model, pictures)[1], int(labels.max()) + 1
    torch.manual_seed(231)
    head = DINOSegmentation("cpu", num_classes, tokens.shape[-1])
    head.train(tokens[TRAIN_FRAME], labels[TRAIN_FRAME])
    ious = [compute_iou(head.inference(each), truth, num_classes) for each, truth in zip(tokens, labels)]
    return {"first": ious[0], "last": ious[-1], "all": float(np.mean(ious))}


def finish(model: VisionTransformer, steps: int, seconds: float) -> Path:
    facts = {"configuration": json.dumps(CONFIGURATION), "steps": str(steps), "seed": str(SEED)}
    path = weights.save(NAME, model.state_dict(), facts)
    shipped = VisionTransformer(**CONFIGURATION).eval().requires_grad_(False)
    shipped.load_state_dict(weights.load(NAME))  # what is shipped is what is scored, after rounding to half precision
    untrained = [untrained_like(shipped, seed) for seed in range(UNTRAINED)]
    scenes = {"learnt": scene_scores(shipped)}
    scenes["fresh"] = {key: float(np.mean([each[key] for each in map(scene_scores, untrained)])) for key in scenes["learnt"]}
    hard = hard_scores({"learnt": [shipped], "fresh": untrained})
    main = main_video_scores(shipped)
    print(f"{NAME}: {scenes} {hard} {main}", flush=True)
    mixes = {
        name: ", ".join(f"{share:.0%} {kind}" for kind, share in shares.items())
        for name, shares in (("shares", SHARES), ("shares_with_pairs", SHARES_WITH_PAIRS))
    }
    scores = {
        f"{what}_{key}": value
        for what, values in {"hard": hard, "main": main, **scenes}.items()
        for key, value in values.items()
    }
    counts = {
        "steps": steps,
        "images": steps * BATCH,
        "cells": SIDE // 8,
        "parameters": sum(p.numel() for p in model.parameters()) / 1e6,
    }
    write_card(path, CARD, seconds, globals() | CONFIGURATION | mixes | scores | counts)
    return path


CARD = """
# dino: small vision transformer, trained without labels

`dl.models.vit.VisionTransformer`: patches of {patch_size} pixels, width {width}, {depth} blocks, {num_heads} heads, a stem of
convolutions, fixed sine positions; {parameters:.2f} M parameters, trained from nothing by `python -m dl train-weights dino`.
Half precision, {megabytes:.1f} MB. These are the teacher's weights, as in DINO. Made for images of {SIDE}x{SIDE}
pixels, {cells}x{cells} patches, into which video frames are squeezed; for others its positions are resized.

**This is not pure DINO.** The published checkpoints are. What is added here is in the list below, from "stem" to
"patch losses"; without it, DINO's loss on so few small images stayed at the level of random weights.

| | |
|---|---|
| data | {images:,} images of the sample world, each seen once, {SOURCE}x{SOURCE} pixels: frames of hard and of easy videos and still scenes ({shares}; with pairs {shares_with_pairs}); no labels, no masks, and no scene or video of the exported data sets |
| DINO's recipe (`dl/models/dino.py`) | teacher = moving average of the student, momentum {FIRST_MOMENTUM} rising to 1; centring; temperatures {STUDENT_TEMPERATURE} (student) and {TEACHER_TEMPERATURE} (teacher); two global views ({GLOBAL_SIDE} pixels) and two local ones ({LOCAL_SIDE} pixels), the student sees all, the teacher the global ones; K = {CLS_OUTPUTS} |
| views | global ones span {GLOBAL_SPAN[0]} to {GLOBAL_SPAN[1]} of the image's side, local ones {LOCAL_SPAN[0]} to {LOCAL_SPAN[1]}; any angle, mirrored, squeezed; any hue, more or less saturation, contrast, light, sometimes grey or solarised, noise |
| stem | three 3x3 convolutions of stride 2 instead of one 8x8 patch map |
| positions | fixed sines; each view takes a random window of the table, so that position means nothing |
| patch losses | for patches of two views that show the same position: InfoNCE (temperature {CONTRAST_TEMPERATURE}, weight {WEIGHTS[contrast]}) and DINO's loss with Sinkhorn-balanced targets (weight {WEIGHTS[patch]}); DINO's [CLS] loss has weight {WEIGHTS[cls]} |
| pairs | from step {PAIRS_FROM} on, {PAIRED:.0%} of the still scenes come as two images with the same objects before different backgrounds, views are taken around an object and nearly keep their hue, and only the [CLS] losses use them: DINO's, and InfoNCE between the views of a batch (weight {WEIGHTS[cls_contrast]}). Scenes that come once are left out of both. Before that, attention lay on grass and bricks, by which two views of one image are told most easily |
| settings | AdamW, peak learning rate {PEAK_RATE}, warm-up of {WARM_UP} steps, then cosine; weight decay {WEIGHT_DECAY}; {steps:,} steps of {BATCH} images; gradient norm clipped at 3; bfloat16 |
| seed | {SEED} |
| time | {minutes:.0f} minutes of CPU time, one thread, torch {torch} |

Scores on scenes and videos never trained on, at {SIDE}x{SIDE} pixels; "untrained": the same network with fresh random
weights, mean of {UNTRAINED} seeds.

| | learnt | untrained |
|---|---|---|
| [CLS] attention on objects over their share of the area, best head, {SCENES} scenes | {learnt_gain:.1f} | {fresh_gain:.1f} |
| IoU of the most attended patches with the objects', best head | {learnt_iou:.2f} | {fresh_iou:.2f} |
| silhouette of objects in the first three principal components | {learnt_silhouette:.2f} | {fresh_silhouette:.2f} |
| one-shot segmentation of {HARD_VIDEOS} hard videos of {FRAMES} frames: two-layer head trained on the middle frame, mean IoU over the others, absent classes skipped | {hard_learnt:.3f} | {hard_fresh:.3f} |

The same head on other features of the hard videos: colour and position {hard_colour:.3f}, these and the contrast
within the patch {hard_contrast:.3f}, oriented edges (in the manner of HOG) {hard_edges:.3f}. The notebook's main video, an easy one, with the lesson's head and the graded IoU: first frame
{main_first:.2f}, last {main_last:.2f}, all {main_all:.2f}; on easy videos untrained weights and plain colours do about as well.

Limits: it knows the outlines and patterns of the sample world's drawings. It was made not to see colour, so objects that
differ in colour alone look alike to it. It is no substitute for the published weights on photographs.
"""
