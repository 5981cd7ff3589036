"""Sentences about scenes: writing them, reading them back, and scoring what they claim.

Every caption has 5 to 15 words. Colour always stands before its class ("a red striped star"), so a
caption can be read back word by word; that makes content measurable, whatever the phrasing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from dl.world.scenes import CLASSES, COLOURS, RELATIONS, TEXTURES, Scene, SceneObject

PLACES = {
    "sky": "in the sky",
    "sea": "on the sea",
    "grass": "in the grass",
    "sand": "on the sand",
    "snow": "in the snow",
    "bricks": "on a brick wall",
    "wood": "on a wooden board",
    "night": "in the night",
}
RARE_WORDS = (  # each too rare for the vocabulary: they become <UNK>
    "lovely",
    "curious",
    "old",
    "brave",
    "quiet",
    "shiny",
    "funny",
    "famous",
    "gentle",
    "proud",
    "sleepy",
    "fancy",
    "humble",
    "jolly",
    "lonely",
    "modern",
    "noble",
    "plump",
    "rusty",
    "silly",
    "tidy",
    "vivid",
    "wobbly",
    "zesty",
)
RARE_SHARE = 0.06  # of the captions of one object carry a rare word
MAX_WORDS = 15


@dataclass(frozen=True)
class Claims:
    """What a sentence says: (colour, class) pairs in order, where their two words stand (counted from 0), sizes and
    textures beside them, relation and background."""

    pairs: tuple[tuple[str, str], ...]
    places: tuple[tuple[int, int], ...]
    sizes: tuple[str | None, ...]
    textures: tuple[str | None, ...]
    relation: str | None
    background: str | None


def describe(scene: Scene, rng: np.random.Generator) -> str:
    """One sentence of 5 to 15 words about the scene, in one of five phrasings for its number of objects."""
    place = PLACES[scene.background]
    choice = int(rng.integers(5))
    short = [f"{o.colour} {o.category}" for o in scene.objects]
    if len(scene.objects) == 1:
        (item,) = scene.objects
        full = _full_name(item)
        sentence = (
            f"a {full} {place}",
            f"there is a {item.size} {short[0]} {place}",
            f"a photo of a {full} {place}",
            f"{place} there is a {full}",
            f"a {short[0]} is shown {place}",
        )[choice]
        if rng.random() < RARE_SHARE:
            words = sentence.split()
            words.insert(words.index(item.colour), RARE_WORDS[rng.integers(len(RARE_WORDS))])
            sentence = " ".join(words)
    elif len(scene.objects) == 2:
        relation = scene.relation()
        first, second = [_full_name(o) for o in scene.objects]
        sentence = (
            f"a {first} {relation} a {second}",
            f"there is a {short[0]} {relation} a {short[1]}",
            f"a photo of a {short[0]} and a {short[1]}",
            f"a {short[0]} is {relation} a {short[1]} {place}",
            f"a {short[0]} and a {short[1]} {place}",
        )[choice]
    else:
        listed = f"a {short[0]} a {short[1]} and a {short[2]}"
        sentence = (listed, f"there are {listed}", f"a photo of {listed}", f"three things {listed}", f"{listed} {place}")[
            choice
        ]
    sentence = re.sub(r"\ba (?=[aeiou])", "an ", sentence)
    assert 5 <= len(sentence.split()) <= MAX_WORDS, sentence
    return sentence


def read(sentence: str) -> Claims:
    """What a sentence claims. Unknown words, `<UNK>` and special tokens are passed over; a colour without a class
    behind it (or a class without a colour) makes no pair."""
    words = sentence.split()
    pairs, places, sizes, textures = [], [], [], []
    size = colour = texture = None
    colour_place = 0
    for place, word in enumerate(words):
        if word in ("large", "small"):
            size = word
        elif word in COLOURS:
            colour, colour_place = word, place
        elif word in TEXTURES:
            texture = word
        elif word in CLASSES:
            if colour is not None:
                pairs.append((colour, word))
                places.append((colour_place, place))
                sizes.append(size)
                textures.append(texture)
            size = colour = texture = None
    padded = f" {' '.join(word for word in words if not word.startswith('<'))} "
    relation = next((r for r in RELATIONS if f" {r} " in padded), None)
    background = next((b for b, phrase in PLACES.items() if f" {phrase} " in padded), None)
    return Claims(tuple(pairs), tuple(places), tuple(sizes), tuple(textures), relation, background)


def content_right(sentence: str, scene: Scene) -> bool:
    """True if the sentence names at least one object and everything that it claims is so.

    Every pair, size and texture must be that of an object of the scene, no object named twice, the background right,
    and the relation that of the first named object to the second.
    """
    claims = read(sentence)
    by_pair = {(o.colour, o.category): o for o in scene.objects}
    if not claims.pairs or len(set(claims.pairs)) < len(claims.pairs) or any(p not in by_pair for p in claims.pairs):
        return False
    named = [by_pair[pair] for pair in claims.pairs]
    if any(size not in (None, o.size) for size, o in zip(claims.sizes, named)):
        return False
    if any(texture not in (None, o.texture) for texture, o in zip(claims.textures, named)):
        return False
    if claims.background not in (None, scene.background):
        return False
    return claims.relation is None or relation_right(claims, scene)


def relation_right(claims: Claims, scene: Scene) -> bool:
    """True if the claimed relation holds between the first two named objects, both of which must be in the scene."""
    order = {(o.colour, o.category): position for position, o in enumerate(scene.objects)}
    if len(claims.pairs) < 2 or scene.relation() is None or any(pair not in order for pair in claims.pairs[:2]):
        return False
    truth: str = scene.relation() or ""
    if order[claims.pairs[0]] > order[claims.pairs[1]]:
        truth = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}[truth]
    return claims.relation == truth


def _full_name(item: SceneObject) -> str:
    texture = "" if item.texture == "plain" else f"{item.texture} "
    return f"{item.size} {item.colour} {texture}{item.category}"
