"""Train the captioners' image encoder, RegNetX-400MF, on scenes of the sample world.

Radosavovic et al. 2020 (arXiv:2003.13678) for the network. Supervision comes from the world's truth, in two ways:
the averaged features must tell which classes, colours, colour-class pairs and which background a scene has, and each
cell of the 4x4 grid must tell what stands at its centre. The heads that do so are thrown away afterwards.

    python -m dl train-weights regnet        about 35 minutes on one core; stops and resumes at any time
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl import settings, weights
from dl.training.common import resumed, write_card
from dl.weights.checkpoint import Checkpoint
from dl.world.render import render
from dl.world.scenes import BACKGROUNDS, CLASSES, COLOURS, EXTENTS, TEXTURES, Scene, generator, sample_scene

if TYPE_CHECKING:
    from rnn_lstm_captioning import ImageEncoder

NAME = "regnet"
SEED = 7  # names the training scenes; the data sets of the world use other keys
STEPS, BATCH, PEAK_RATE, WARM_UP, WEIGHT_DECAY = 8000, 32, 2e-3, 200, 0.02
SIDE, GRID, STRIDE, CHANNELS = 112, 4, 32, 400
COUNT_SHARES = (0.4, 0.4, 0.2)  # scenes with one, two, three objects
VALIDATION = 500

_COLOURS, _SIZES = list(COLOURS), list(EXTENTS)
PAIRS = [(colour, category) for colour in COLOURS for category in CLASSES]


class Heads(nn.Module):
    """Linear readers of the features: what is in the scene (from the mean) and what is in each cell."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = nn.Linear(CHANNELS, len(CLASSES) + len(COLOURS) + len(PAIRS))
        self.background = nn.Linear(CHANNELS, len(BACKGROUNDS))
        self.cell = nn.Conv2d(CHANNELS, 1 + len(CLASSES) + len(COLOURS) + len(TEXTURES) + len(_SIZES), 1)


def train(steps: int = STEPS) -> None:
    """Train from nothing (or from the checkpoint in `build/`), save the weights and write the card."""
    checkpoint = settings.project_root() / "build" / "train" / f"{NAME}.pt"
    torch.manual_seed(SEED)
    encoder, heads = make_encoder(), Heads()
    parameters = [*encoder.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=WARM_UP / steps)
    saved = Checkpoint(checkpoint, {}, encoder=encoder, heads=heads, optimizer=optimizer, schedule=schedule)
    progress = resumed(NAME, saved)
    step, seconds = progress["step"], progress["seconds"]
    started = time.process_time() - seconds
    while step < steps:
        images, targets = batch(range(step * BATCH, (step + 1) * BATCH))
        with torch.autocast("cpu", torch.bfloat16):
            features = encoder(images)
        loss = heads_loss(heads, features.float(), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        step += 1
        if step % 100 == 0:
            print(f"{NAME}: step {step}/{steps} loss {loss.item():.3f} {time.process_time() - started:.0f} s", flush=True)
        if step % 250 == 0 or step == steps:
            saved.save(step=step, seconds=time.process_time() - started)
        if step % 1000 == 0:
            print(f"{NAME}: {evaluate(encoder, heads)}", flush=True)
    finish(encoder, heads, steps, time.process_time() - started)


def make_encoder() -> ImageEncoder:
    """The lesson's own encoder with random weights; uint8 images (N, 3, 112, 112) -> (N, 400, 4, 4)."""
    from rnn_lstm_captioning import ImageEncoder

    return ImageEncoder(pretrained=False, verbose=False).to(memory_format=torch.channels_last)


def batch(indices: range) -> tuple[Tensor, dict[str, Tensor]]:
    """Render the scenes of these indices: uint8 images (N, 3, 112, 112), channels last in memory, and their targets."""
    scenes = [training_scene(index) for index in indices]
    pictures = torch.from_numpy(np.stack([render(scene, SIDE)[0] for scene in scenes]))
    return pictures.permute(0, 3, 1, 2), scene_targets(scenes)


def training_scene(index: int) -> Scene:
    rng = generator(SEED, index)
    return sample_scene(rng, count=int(rng.choice(3, p=COUNT_SHARES)) + 1)


def scene_targets(scenes: list[Scene]) -> dict[str, Tensor]:
    """Targets: `scene` (N, 98) 0/1, `background` (N,), and one row (scene, row, column, class, colour, texture, size)
    per object in `cells`."""
    N = len(scenes)
    present = torch.zeros(N, len(CLASSES) + len(COLOURS) + len(PAIRS))
    background = torch.tensor([BACKGROUNDS.index(scene.background) for scene in scenes])
    cells = []
    for n, scene in enumerate(scenes):
        for o in scene.objects:
            category, colour = CLASSES.index(o.category), _COLOURS.index(o.colour)
            present[n, category] = present[n, len(CLASSES) + colour] = 1
            present[n, len(CLASSES) + len(COLOURS) + PAIRS.index((o.colour, o.category))] = 1
            row, column = (min(GRID - 1, round(place * SIDE / STRIDE)) for place in (o.y, o.x))
            cells.append((n, row, column, category, colour, TEXTURES.index(o.texture), _SIZES.index(o.size)))
    return {"scene": present, "background": background, "cells": torch.tensor(cells)}


def heads_loss(heads: Heads, features: Tensor, targets: dict[str, Tensor]) -> Tensor:
    """Binary cross entropies of the scene's contents plus cross entropies of the background and of each object's cell."""
    pooled = features.mean(dim=(2, 3))  # (N, 400)
    scene_loss = F.binary_cross_entropy_with_logits(heads.scene(pooled), targets["scene"]) * 20
    background_loss = F.cross_entropy(heads.background(pooled), targets["background"])
    grid = heads.cell(features)  # (N, 24, 4, 4)
    n, row, column, *labels = targets["cells"].unbind(dim=1)
    occupied = torch.zeros_like(grid[:, 0])
    occupied[n, row, column] = 1
    loss = scene_loss + 0.5 * background_loss + 3 * F.binary_cross_entropy_with_logits(grid[:, 0], occupied)
    for logits, label in zip(split_cell(grid[n, 1:, row, column]), labels):
        loss = loss + F.cross_entropy(logits, label)
    return loss


def split_cell(logits: Tensor) -> tuple[Tensor, ...]:
    """(M, 23) -> class (M, 10), colour (M, 8), texture (M, 3), size (M, 2)."""
    return logits.split((len(CLASSES), len(COLOURS), len(TEXTURES), len(_SIZES)), dim=1)


@torch.no_grad()
def evaluate(encoder: ImageEncoder, heads: Heads, count: int = VALIDATION) -> dict[str, float]:
    """Shares right on scenes never trained on: names read at each object's cell, background, and whole pairs."""
    encoder.eval()
    right: dict[str, list] = {name: [] for name in ("category", "colour", "texture", "size", "pair", "background")}
    for start in range(0, count, 50):
        images, targets = batch(range(10**8 + start, 10**8 + start + 50))
        features = encoder(images)
        grid = heads.cell(features)
        n, row, column, *labels = targets["cells"].unbind(dim=1)
        hits = [logits.argmax(1) == y for logits, y in zip(split_cell(grid[n, 1:, row, column]), labels)]
        for name, hit in zip(("category", "colour", "texture", "size"), hits):
            right[name].append(hit)
        right["pair"].append(hits[0] & hits[1])
        right["background"].append(heads.background(features.mean(dim=(2, 3))).argmax(1) == targets["background"])
    encoder.train()
    return {name: round(torch.cat(hits).float().mean().item(), 4) for name, hits in right.items()}


def finish(encoder: ImageEncoder, heads: Heads, steps: int, seconds: float) -> Path:
    scores = evaluate(encoder, heads, count=2000)
    facts = {"architecture": "regnet_x_400mf", "steps": str(steps), "seed": str(SEED), "scores": str(scores)}
    path = weights.save(NAME, encoder.backbone.state_dict(), facts)
    print(f"{NAME}: {scores}", flush=True)
    write_card(path, CARD, seconds, globals() | scores | {"steps": steps, "scenes": steps * BATCH})
    return path


CARD = """
# regnet: image encoder of the captioners

RegNetX-400MF (torchvision's `regnet_x_400mf` up to its last stage), trained from nothing by
`python -m dl train-weights regnet`. Half precision, {megabytes:.1f} MB.

| | |
|---|---|
| data | {scenes:,} scenes of the sample world, each seen once, 112x112; colour-class pairs kept out of training never occur |
| targets | the scene's classes, colours, pairs and background from the mean of the features; class, colour, texture and size of each object from its cell of the 4x4 grid |
| settings | AdamW, peak learning rate {PEAK_RATE}, weight decay {WEIGHT_DECAY}, {steps} steps of {BATCH}, one cycle, gradient norm clipped at 1, bfloat16 |
| seed | {SEED} |
| time | {minutes:.0f} minutes of CPU time, one thread, torch {torch} |
| scores on 2,000 scenes never trained on | class {category}, colour {colour}, texture {texture}, size {size}, class and colour both {pair}, background {background} |

Limits: it knows the ten classes and eight colours of the sample world and nothing else. Cells of the 4x4 map are
centred at pixels 0, 32, 64 and 96. It is no substitute for ImageNet weights on photographs.
"""
