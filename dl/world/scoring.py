"""How right captions are, and whether attention lies where it should, measured against the scenes' truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from dl.utils import nearest_cell
from dl.world.captions import content_right, read, relation_right
from dl.world.render import render
from dl.world.scenes import RELATIONS, Scene

SIDE = 112  # of the captioner's images


COUNTS = {"two_scenes": "two_both", "two_named": "two_bound", "two_claimed": "two_relation"}  # count -> its score


def score_captions(sentences: list[str], scenes: list[Scene], truths: list[str] | None = None) -> dict[str, float]:
    """Fractions of captions that are right, by what they are asked for.

    Args:
        sentences: one generated caption for each scene. truths: the scenes' own captions, for `exact`.
    Returns:
        fractions in [0, 1]. One-object scenes: `one_class`, `one_colour`, `one_pair` (both of the same pair), `one_content`
        (everything claimed is so). Two-object scenes: `two_first` (the first pair named is in the scene), `two_both`
        (both pairs are), `two_misbound` (the named colours and classes are the scene's, but paired wrongly), `two_bound`
        (of the captions that name all four words of a scene with two colours and two classes, those that pair them as they
        are; chance is one half), `two_relation` (of the captions that claim a relation and name both pairs, those in which it
        holds), `two_content`; and three counts: `two_scenes`, `two_named` and `two_claimed` (the captions behind
        `two_bound` and `two_relation`). All scenes: `content`, and `exact` word for word.
    Raises:
        ValueError: if the numbers of sentences and scenes differ.
    """
    if len(sentences) != len(scenes):
        raise ValueError(f"score_captions: got {len(sentences)} sentences for {len(scenes)} scenes. Pass one for each.")
    marks: dict[str, list[bool]] = {}

    def mark(name: str, right: bool) -> None:
        marks.setdefault(name, []).append(bool(right))

    for position, (sentence, scene) in enumerate(zip(sentences, scenes)):
        claims, content = read(sentence), content_right(sentence, scene)
        pairs = [(o.colour, o.category) for o in scene.objects]
        mark("content", content)
        if truths is not None:
            mark("exact", sentence == truths[position])
        if len(pairs) == 1:
            colour, category = claims.pairs[0] if claims.pairs else (None, None)
            mark("one_class", category == pairs[0][1])
            mark("one_colour", colour == pairs[0][0])
            mark("one_pair", claims.pairs == (pairs[0],))
            mark("one_content", content)
        elif len(pairs) == 2:
            both = len(claims.pairs) == 2 and set(claims.pairs) == set(pairs)
            mark("two_first", bool(claims.pairs) and claims.pairs[0] in pairs)
            mark("two_both", both)
            same_names = all(sorted(n) == sorted(m) for n, m in zip(zip(*claims.pairs), zip(*pairs)))
            mark("two_misbound", len(claims.pairs) == 2 and same_names and not both)
            mark("two_content", content)
            if len(claims.pairs) == 2 and same_names and all(len(set(words)) == 2 for words in zip(*pairs)):
                mark("two_bound", both)
            if both and claims.relation is not None:
                mark("two_relation", relation_right(claims, scene))
    counts = {count: float(len(marks.get(name, ()))) for count, name in COUNTS.items()}
    return {name: float(np.mean(values)) for name, values in marks.items()} | counts


def constant_relation(sentences: list[str], scenes: list[Scene]) -> tuple[str, float]:
    """What a captioner reaches that names the objects as these sentences do, and always claims the same relation.

    Returns:
        the relation that is right most often, and the share in [0, 1] of the captions with both pairs and a relation in
        which it is; 0 without such captions.
    """
    asked = [(read(sentence), scene) for sentence, scene in zip(sentences, scenes) if len(scene.objects) == 2]
    named = [(c, s) for c, s in asked if c.relation and set(c.pairs) == {(o.colour, o.category) for o in s.objects}]
    right = {name: sum(relation_right(replace(c, relation=name), s) for c, s in named) for name in RELATIONS}
    best = max(right, key=lambda name: right[name])
    return best, right[best] / max(len(named), 1)


def attention_gain(sentences: list[str], maps: Tensor, scenes: list[Scene], objects: int) -> float:
    """Attention on an object while its words are produced, over the object's share of the image's area.

    Mean over the colour and class words of rightly named objects, in scenes with so many objects. 1 is chance.

    Args:
        sentences: generated captions, word t of which was produced with maps[:, t].
        maps: (n, T, h, w), weights that sum to 1 over the grid. objects: 1, 2 or 3.
    """
    gains = []
    for sentence, grid, scene in zip(sentences, maps.numpy(), scenes):
        if len(scene.objects) != objects:
            continue
        mask = render(scene, SIDE)[1]
        claims, labels = read(sentence), {(o.colour, o.category): i for i, o in enumerate(scene.objects, start=1)}
        for pair, places in zip(claims.pairs, claims.places):
            if pair not in labels:
                continue
            named = mask == labels[pair]
            covered = covered_shares(named, grid.shape[1:])
            mass = np.mean([(grid[t] * covered).sum() for t in places])
            gains.append(mass / named.mean())
    return float(np.mean(gains)) if gains else float("nan")


def covered_shares(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Share of each cell that a mask (H, W) covers: a pixel belongs to the cell whose centre (0, 32, 64, …) is nearest."""
    rows, columns = (nearest_cell(pixels, cells) for pixels, cells in zip(mask.shape, grid))
    area, covered = np.zeros(grid), np.zeros(grid)
    np.add.at(area, (rows[:, None], columns[None, :]), 1)
    np.add.at(covered, (rows[:, None], columns[None, :]), mask)
    return covered / area
