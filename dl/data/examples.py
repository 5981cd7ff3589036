"""The ten captioned images of the CLIP notebook: photographs named by address, each with a substitute that is stated.

Photographs vanish from their site. One that has vanished, or is not fetched yet, is replaced by a drawing of the sample
world, with the drawing's own caption and answer, so that no dead address stops the notebook.
"""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dl import settings
from dl.console import say_once, write_whole
from dl.data.access import require
from dl.data.coco import read_folder
from dl.data.content import picture_problem
from dl.data.pictures import CACHE, GoneError, NoServerError, fetch_image, image_from_url, kept_file

PUBLISHED = Path(__file__).parent.parent / "checks" / "expected" / "clip_dino.json"
VANISHED = "vanished.json"  # addresses whose server says that the image is gone, with its words: asked by --again only
DRAWN = ("star", "heart", "boat", "car", "cup", "umbrella", "flower", "house", "fish", "tree")  # one for each image
ANSWERS = {"fish": "an animal", "tree": "a landscape"}  # of the drawings; all others are "other"
SIDE = 240  # pixels of a drawing
DRAWING_SEED = 20


@dataclass(frozen=True)
class Example:
    """An image uint8 (H, W, 3), its caption, and which of the notebook's classes it is; a photograph or a drawing."""

    image: np.ndarray
    caption: str
    answer: str
    is_photograph: bool


def coco_examples(data: dict) -> list[Example]:
    """The ten images, fetched now if they are not kept and the network is allowed; prints which are substituted.

    Args:
        data: from `load_coco_data`.
    """
    examples, asking = [], not settings.offline()
    for position, (caption_index, answer) in enumerate(_published()):
        image, why, answered = _photograph(data, caption_index, asking)
        asking = asking and answered
        if image is None:
            examples.append(drawing(position))
            say_once(f"Image {position} {why}; in its place: {examples[-1].caption}.")
        else:
            examples.append(Example(image, _caption(data, caption_index), answer, True))
    return examples


def drawing(position: int) -> Example:
    """The substitute of an image, drawn by the sample world: always the same, 240 x 240."""
    from dl.world.render import render
    from dl.world.scenes import generator, sample_scene

    wanted, rng = DRAWN[position], generator(DRAWING_SEED, position)
    scene = sample_scene(rng, close_up=True)
    while scene.objects[0].category != wanted:
        scene = sample_scene(rng, close_up=True)
    item = scene.objects[0]
    article = "an" if item.colour[0] in "aeiou" else "a"
    caption = f"a drawing of {article} {item.colour} {item.category}"
    return Example(render(scene, SIDE)[0], caption, ANSWERS.get(wanted, "other"), False)


def collect(again: bool) -> tuple[list[str], list[str]]:
    """Fetch the photographs into the cache of `image_from_url`.

    Args:
        again: also what is kept, which stays until the new one is there, and what had vanished.
    Returns:
        what is to be told of those that have vanished; why others could not be fetched, which the next call tries again.
    Raises:
        FileNotFoundError: if the captions, which name the addresses, have not been fetched. OSError: if nothing can be kept.
    """
    folder, urls = _folder(), _addresses()
    folder.mkdir(parents=True, exist_ok=True)
    vanished = {url: why for url, why in _vanished().items() if url in urls}
    notes, failures = [], []
    for url in urls:
        kept = kept_file(url)
        is_whole = not picture_problem(kept)
        if not again and (is_whole if kept.is_file() else url in vanished):
            continue
        try:
            fetch_image(url)
            vanished.pop(url, None)
        except GoneError as error:
            if is_whole:
                notes.append(f"{_reason(error)}; the one that was fetched before stays")
            else:
                kept.unlink(missing_ok=True)
                vanished[url] = _reason(error)
        except (ConnectionError, ValueError) as error:
            failures.append(_reason(error))
            if isinstance(error, NoServerError):
                break
    _note_vanished(vanished)
    return [*notes, *(f"{url} is replaced by a drawing: {why}" for url, why in vanished.items())], failures


def adopt(folder: Path) -> list[str]:
    """Copy what is kept in another such folder and not here, and take over what vanished there; returns what is missing."""
    try:
        urls = _addresses()
    except (FileNotFoundError, ValueError) as error:
        return [str(error)]
    vanished = {**_vanished(folder), **_vanished()}
    for url in urls:
        kept = kept_file(url)
        source = folder / kept.name
        if picture_problem(kept) and not picture_problem(source):
            write_whole(kept, functools.partial(shutil.copyfile, source))
    _note_vanished({url: vanished[url] for url in urls if url in vanished and not kept_file(url).is_file()})
    return missing(folder)


def missing(folder: Path) -> list[str]:
    """How many of the ten were neither fetched nor found vanished."""
    try:
        absent = [url for url in _addresses() if not kept_file(url).is_file() and url not in _vanished()]
    except (FileNotFoundError, ValueError) as error:
        return [str(error)]
    return [f"{len(absent)} of {len(DRAWN)} are not fetched yet"] if absent else []


# --- Helpers ---


@functools.cache
def _published() -> tuple[tuple[int, str], ...]:
    """(caption index, class) of each image."""
    expected = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return tuple(zip(expected["coco_examples"]["val_caption_indices"], expected["clip"]["expected_predictions"]))


def _photograph(data: dict, caption_index: int, asking: bool) -> tuple[np.ndarray | None, str, bool]:
    """The photograph, or None and what is the matter with it; and whether there is a network."""
    if caption_index >= len(data["val_captions"]):
        return None, "cannot be had (the data are shorter than COCO's)", True
    url = str(data["val_urls"][data["val_image_idxs"][caption_index]])
    if not kept_file(url).is_file():
        if url in _vanished():
            return None, f"has vanished ({_vanished()[url]})", True
        if not asking and "://" in url:
            return None, "is not fetched yet (no network)", False
    try:
        return image_from_url(url), "", True
    except GoneError as error:
        return None, f"has vanished ({_reason(error)})", True
    except (ConnectionError, FileNotFoundError, ValueError) as error:
        return None, f"is not fetched yet ({_reason(error)})", not isinstance(error, NoServerError)


def _caption(data: dict, index: int) -> str:
    words = (data["idx_to_word"][int(word)] for word in data["val_captions"][index])
    return " ".join("" if word == "<UNK>" else word for word in words if word not in ("<NULL>", "<START>", "<END>"))


def _addresses() -> list[str]:
    """Of the ten, as the captions of this machine name them; shorter captions name fewer."""
    data = read_folder(require("coco_captioning"))
    pictures, urls = data["val_image_idxs"], data["val_urls"]
    return [str(urls[pictures[index]]) for index, _ in _published() if index < len(pictures)]


def _folder() -> Path:
    return settings.data_home() / CACHE


def _note_vanished(vanished: dict[str, str]) -> None:
    content = json.dumps(vanished, indent=1)
    write_whole(_folder() / VANISHED, lambda file: file.write_text(content, encoding="utf-8"))


def _vanished(folder: Path | None = None) -> dict[str, str]:
    try:
        kept = json.loads(((folder or _folder()) / VANISHED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _reason(error: Exception) -> str:
    return str(error).removeprefix("image_from_url: ").split(", wanted")[0]
