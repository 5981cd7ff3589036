"""The cases of the exercises of `dl/clip_dino.py`. CLIP is played by a small fake model, DINO by drawn tokens."""

from __future__ import annotations

import json
import numbers
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl.checks import segmentation
from dl.checks.compare import compare, cut
from dl.checks.devices import device_case
from dl.checks.exercise import COSINE, EXACT, GRADIENT, SINGLE, Case, Draw, Exercise, Fault, Values, gradients_of, unpack
from dl.checks.published import EXPECTED
from dl.checks.segmentation import judge_devices, kept_in

TOPIC = "clip_dino"
IOU: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}
FAKE = "a fake CLIP"
WIDTH = 7  # of the fake model's features
MOVED = "the result is not on the device of the inputs, as the docstring promises: on a GPU it comes back on the CPU"
SHORT = "where rows are much shorter than CLIP's, the number added to the denominator shows in the result"
IN_PLACE = "no gradient can be taken through this: a tensor that the backward pass needs is changed in place"
ZEROS = "a row of zeros gives NaN; the docstring promises 0"
TURNED = (
    "labellings whose memory lies in another order (after transpose) are refused by .view; .reshape and .flatten take them"
)
ONE_BYTE = "with one-byte labels (uint8) and many classes this overflows or fails; the notebook's labels are int64"
NO_FLOAT = "the result is no float, as the docstring promises, so that it cannot be written to a JSON file as it is"
TIES = "of images that fit equally, the first in the list does not come first, as the docstring promises"
MANY = "with more places of one class than the notebook's frames have, the counts overflow"
TEXTS = (
    *("a dog", "a red bus on a street", "two people playing tennis", "food", "a landscape with mountains", "an animal"),
    *("other", "a person riding a wave", "a bathroom in black and white", "zebras", "a plate of pasta", "a kite in the sky"),
)


def _recorded(section: str) -> dict:
    return json.loads((EXPECTED / "clip_dino.json").read_text(encoding="utf-8"))[section]


def _published(inputs: Values, run: Callable, limit: float, right: Values, about: str) -> Case:
    limits = {name: limit for name in right}
    return Case("values of the course", lambda draw: inputs, run, published=right, limits=limits, about=about, **IOU)


# --- A fake CLIP ---


class _Clip(nn.Module):
    """Features of any direction and length, made from tokens and pixels; notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.logit_scale = nn.Parameter(torch.tensor(3.0))
        self.pictures = 0
        self.devices: list[str] = []
        self.gradient: list[bool] = []
        self.mixing = torch.randn(48, WIDTH, generator=torch.Generator().manual_seed(5))

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def encode_text(self, tokens: Tensor) -> Tensor:
        if tokens.ndim != 2 or tokens.is_floating_point():
            raise ValueError(f"encode_text: wanted tokens (N, 77), got {tuple(tokens.shape)}")
        self._note(tokens)
        if tokens.device.type == "meta":
            return torch.ones(len(tokens), WIDTH, device="meta")
        ids, place = tokens.double()[..., None], torch.arange(1.0, tokens.shape[1] + 1, dtype=torch.float64)[:, None]
        waves = torch.sin(ids * torch.arange(1, WIDTH + 1) * 0.37 + place) * (ids > 0)  # (N, 77, D)
        length = 0.2 + 8 * torch.sin(tokens.double().sum(dim=1, keepdim=True) * 0.7).square()
        return (F.normalize(waves.sum(dim=1)) * length).float() * self.gain

    def encode_image(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"encode_image: wanted images (N, 3, h, w), got {tuple(images.shape)}")
        self._note(images)
        self.pictures += len(images)
        if images.device.type == "meta":
            return torch.ones(len(images), WIDTH, device="meta")
        features = images.float().flatten(1) @ self.mixing  # (N, D)
        return features * features[:, :1].abs().add(0.1) * self.gain

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        text, image = F.normalize(self.encode_text(tokens)), F.normalize(self.encode_image(images))
        logits = self.logit_scale.exp() * image @ text.T
        return logits, logits.T

    def _note(self, given: Tensor) -> None:
        self.devices.append(given.device.type)
        self.gradient.append(torch.is_grad_enabled())


def _preprocess(picture) -> Tensor:
    """PIL image -> (3, 4, 4); what is no PIL image has no `convert`."""
    small = np.asarray(picture.convert("RGB").resize((4, 4)), dtype=np.float32)
    return torch.from_numpy(small / 255 - 0.5).permute(2, 0, 1)


def _pictures(draw: Draw, count: int) -> list[Tensor]:
    """uint8 images of several sizes, the second one grey (H, W)."""
    sizes = [(5 + n % 3, 9 - n % 2) for n in range(count)]
    coarse = [draw.integers(0, 256, 4, 4, 3).float().permute(2, 0, 1)[None] for _ in sizes]
    fine = [F.interpolate(c, size)[0].permute(1, 2, 0).to(torch.uint8) for c, size in zip(coarse, sizes, strict=True)]
    return [p[..., 0].contiguous() if n == 1 else p.contiguous() for n, p in enumerate(fine)]


def _arrays(pictures: list[Tensor]) -> list:
    return [picture.numpy() for picture in pictures]


def _texts(draw: Draw, count: int) -> list[str]:
    """The half of them in capitals."""
    chosen = [TEXTS[i] for i in draw.permutation(len(TEXTS))[:count].tolist()]
    return [text.title() if n % 2 else text for n, text in enumerate(chosen)]


# --- get_similarity_no_loop ---


def _features(draw: Draw, scale: float = 1.0, dtype=torch.float64, sizes=None) -> Values:
    N, M, D = draw.sizes(3, 2, 8) if sizes is None else sizes
    rows = {"text_features": N, "image_features": M}  # none so short that an epsilon would show
    return {
        name: (F.normalize(draw.normal(count, D)) * draw.uniform(count, 1, low=0.7, high=4.0) * scale).to(dtype)
        for name, count in rows.items()
    }


def _with_zeros(draw: Draw) -> Values:
    inputs = _features(draw, dtype=torch.float32)
    for features in inputs.values():
        features[-1] = 0
    return inputs


def _similarity(lesson, inputs: Values) -> Values:
    return unpack(lesson.get_similarity_no_loop(inputs["text_features"], inputs["image_features"]), "similarity")


def _similarity_gradients(lesson, inputs: Values, in_place: bool = False) -> Values:
    """Without `in_place`, nothing is said of a function that changes a tensor of its own which the backward pass needs."""
    try:
        return gradients_of(_similarity)(lesson, inputs)
    except RuntimeError as error:
        if in_place or "modified by an inplace operation" not in str(error):
            raise
        return {}


def _judge_gradients(inputs: Values, got: Values, right: Values) -> Fault | None:
    return _first_fault(got, {name: right[name] for name in right if got}, **GRADIENT)


def _first_fault(got: Values, right: Values, rtol: float, atol: float) -> Fault | None:
    return next(filter(None, (compare(name, got[name], right[name], rtol, atol) for name in right)), None)


def _published_table() -> Case:
    record = _recorded("similarity_check")
    inputs = {f"{name}_features": torch.tensor(record[f"{name}_features_float32"]) for name in ("text", "image")}
    right = {"similarity": torch.tensor(record["expected_out_float32"])}
    return _published(inputs, _similarity, 1e-5, right, "on the tensors of the notebook")


# --- clip_zero_shot_classifier ---


def _zero_shot_inputs(draw: Draw, pictures: int = 6, texts: int = 4) -> Values:
    return {"images": _pictures(draw, pictures), "texts": _texts(draw, texts)}


def _zero_shot(lesson, inputs: Values, model: nn.Module | None = None, device: str = "cpu") -> Values:
    pictures, texts, model = _arrays(inputs["images"]), inputs["texts"], (model or _Clip()).eval()
    names = lesson.clip_zero_shot_classifier(model, _preprocess, pictures, texts, device)
    return {"names": _plain(names), "model in train mode": model.training}


def _on_meta(lesson, inputs: Values, call: Callable[..., object], gradient: bool = False) -> Values:
    """Where the model's inputs lie while (lesson, inputs, model, device) is called, and whether gradients are recorded."""
    model = _Clip().eval().to("meta")
    with suppress(RuntimeError):  # after the model: its features are no numbers there
        call(lesson, inputs, model, "meta")
    return {"devices": sorted(set(model.devices)), "gradient": gradient and any(model.gradient)}


def _plain(result: object) -> object:
    """Lists and tuples of texts and numbers as lists, tensors without history; of anything else what it is."""
    if isinstance(result, (list, tuple)):
        if all(isinstance(item, (str, int, float)) for item in result):
            return [str(item) if isinstance(item, str) else item for item in result]
        return f"a {type(result).__name__} of {', '.join(sorted({type(item).__name__ for item in result}))}"
    return result.detach() if isinstance(result, Tensor) else f"a {type(result).__name__}"


# --- CLIPImageRetriever ---


def _retriever_inputs(draw: Draw, pictures: int | None = None) -> Values:
    count = draw.integer(4, 7) if pictures is None else pictures
    return {"images": _pictures(draw, count), "queries": _texts(draw, 4)}


def _made(lesson, inputs: Values, model: nn.Module | None = None, device: str = "cpu"):
    model = (model or _Clip()).eval().to(device)
    return lesson.CLIPImageRetriever(model, _preprocess, _arrays(inputs["images"]), device), model


def _kept_features(lesson, inputs: Values) -> Values:
    """What the retriever keeps of its images, in whatever form: the rows' directions, one row for each image."""
    retriever, model = _made(lesson, inputs)
    kept = _find_features(vars(retriever), len(inputs["images"]))
    directions = None if kept is None else F.normalize(kept.detach().float(), dim=1)
    facts = {"gradient": kept is not None and kept.requires_grad, "model in train mode": model.training}
    return {"images encoded": model.pictures, "features": directions, **facts}


def _find_features(attributes: dict, count: int) -> Tensor | None:
    """The first thing kept, however deep, that holds `count` rows (or columns, or vectors) of the features' width."""
    for value in kept_in(attributes):
        vectors = list(value.values()) if isinstance(value, dict) else value
        if isinstance(vectors, (list, tuple)) and len(vectors) == count:
            if all(isinstance(v, Tensor) and v.numel() == WIDTH for v in vectors):
                value = torch.stack([v.flatten() for v in vectors])
        if isinstance(value, np.ndarray) and value.ndim == 2:
            value = torch.from_numpy(value)
        if isinstance(value, Tensor):
            if value.ndim > 2 and value.numel() == count * WIDTH:
                value = value.reshape(count, WIDTH)
            if value.shape in ((count, WIDTH), (WIDTH, count)):
                return value if value.shape == (count, WIDTH) else value.T
    return None


def _judge_kept(inputs: Values, got: Values, right: Values) -> Fault | None:
    if got["features"] is None and got["images encoded"] == right["images encoded"]:
        return Fault(
            "the images were encoded, but no attribute holds their features, one row for each image",
            "features-not-kept",
            "what was computed for the images is not kept in the object",
        )
    return _first_fault(got, right, **SINGLE)


def _query(lesson, inputs: Values, model: _Clip, device: str) -> None:
    retriever, _ = _made(lesson, inputs, model, device)
    model.devices.clear()
    retriever.retrieve(inputs["queries"][0])


def _found(result: object) -> Values:
    """The indices, and whether each is an int."""
    if not isinstance(result, (list, tuple)):
        return {"indices": _plain(result), "ints": False}
    ints = [isinstance(i, numbers.Integral) and not isinstance(i, bool) for i in result]
    return {"indices": [int(i) if whole else _plain(i) for i, whole in zip(result, ints, strict=True)], "ints": all(ints)}


def _retrieve(lesson, inputs: Values, query: int = 0, more: int | None = None) -> Values:
    """By default two; otherwise `more` than there are."""
    k = () if more is None else (len(inputs["images"]) + more,)
    return _found(_made(lesson, inputs)[0].retrieve(inputs["queries"][query], *k))


def _retrieve_any_k(lesson, inputs: Values) -> Values:
    retriever, _ = _made(lesson, inputs)
    wanted = {"best": 1, "three": 3, "all": len(inputs["images"])}
    query = inputs["queries"][1]
    return {f"{name} (k = {k})": _found(retriever.retrieve(query, k))["indices"] for name, k in wanted.items()}


def _retrieve_often(lesson, inputs: Values) -> Values:
    """Several queries on one retriever, and how many images the model has seen in all."""
    retriever, model = _made(lesson, inputs)
    found = [_found(retriever.retrieve(query, k=3))["indices"] for query in inputs["queries"]]
    return {"indices": found, "images encoded": model.pictures, "model in train mode": model.training}


def _retrieve_doubled(lesson, inputs: Values) -> Values:
    """All images, of which two are equal; the order of those two is left open here."""
    pictures = [*inputs["images"], inputs["images"][0]]
    found = _retrieve(lesson, {**inputs, "images": pictures}, more=0)["indices"]
    return {"indices, sorted": sorted(found) if isinstance(found, list) else found}


def _ties(draw: Draw) -> Values:
    """Images of one shade each, several of the same."""
    shades = draw.integers(0, WIDTH, 12).tolist()
    return {"images": [torch.full((6, 8, 3), shade, dtype=torch.uint8) for shade in shades], "queries": _texts(draw, 1)}


class _Shades(_Clip):
    """The feature of an image of shade n is 1 at place n and 0 elsewhere, so that equal images have equal cosines."""

    def encode_image(self, images: Tensor) -> Tensor:
        self.pictures += len(images)
        shades = ((images.float().mean(dim=(1, 2, 3)) + 0.5) * 255).round().long()
        return F.one_hot(shades, WIDTH).float() * self.gain


def _retrieve_ties(lesson, inputs: Values) -> Values:
    retriever, _ = _made(lesson, inputs, _Shades())
    return {"indices": _found(retriever.retrieve(inputs["queries"][0], len(inputs["images"])))["indices"]}


def _judge_each_once(inputs: Values, got: Values, right: Values) -> Fault | None:
    """In whatever order."""
    found, wanted = got["indices"], sorted(right["indices"])
    same = isinstance(found, list) and all(isinstance(i, int) for i in found) and sorted(found) == wanted
    return None if same else Fault(f"of images that fit equally: got {cut(repr(found))}, expected each of {wanted} once")


def _retrieve_too_long(lesson, inputs: Values) -> Values:
    """A query of more than 77 tokens must be an error, not a query cut off."""
    retriever, _ = _made(lesson, inputs)
    try:
        retriever.retrieve(" ".join(["a dog"] * 60))
    except NotImplementedError:
        raise
    except Exception:
        return {"of 120 words": "an error"}
    return {"of 120 words": "no error"}


# --- compute_iou ---


def _labels(draw: Draw, shape: tuple[int, ...] = (30,), classes: int = 4, present: tuple[int, ...] | None = None) -> Values:
    """A labelling and a second one that agrees with it at about half of the places."""
    gt, other = draw.integers(0, classes, *shape), draw.integers(0, classes, *shape)
    pred = torch.where(draw.uniform(*shape) < 0.5, gt, other)
    if present is not None:
        table = torch.tensor(present).repeat(classes)[:classes]
        pred, gt = table[pred], table[gt]
    return {"pred": pred, "gt": gt, "num_classes": classes}


def _lopsided(draw: Draw) -> Values:
    """Class 1 only in the truth, classes 2 and 4 only in the prediction, class 3 in neither."""
    gt = draw.integers(0, 2, 30)
    pred = torch.where(draw.uniform(30) < 0.6, torch.zeros(30, dtype=torch.int64), 2 * draw.integers(1, 3, 30))
    return {"pred": pred, "gt": gt, "num_classes": 5}


def _background(draw: Draw, shape: tuple[int, ...]) -> Values:
    """All of it background, half of it found."""
    pred = draw.integers(0, 2, *shape)
    return {"pred": pred, "gt": torch.zeros_like(pred), "num_classes": 2}


def _turned(draw: Draw) -> Values:
    labels = _labels(draw, (5, 6))
    return {**labels, "pred": labels["pred"].T, "gt": labels["gt"].T}


def _bytes(draw: Draw) -> Values:
    labels = _labels(draw, (400,), classes=20)
    return {**labels, "pred": labels["pred"].to(torch.uint8), "gt": labels["gt"].to(torch.uint8)}


def _shifted(draw: Draw, by: int, classes: int) -> Values:
    gt = draw.integers(0, classes, 20)
    return {"pred": gt + by, "gt": gt, "num_classes": classes + by + 1}


def _number(value: object) -> object:
    """A number of Python, numpy or torch as a float."""
    if isinstance(value, numbers.Real) or (isinstance(value, (Tensor, np.ndarray)) and not value.ndim):
        return float(value)
    return _plain(value)


def _iou(lesson, inputs: Values, **option: bool) -> Values:
    return {"iou": _number(lesson.compute_iou(inputs["pred"], inputs["gt"], inputs["num_classes"], **option))}


def _is_float(lesson, inputs: Values) -> Values:
    return {"a float": isinstance(lesson.compute_iou(*inputs.values()), float)}


def _published_ious(lesson, inputs: Values) -> Values:
    """Each of the recorded labellings, as one tensor."""
    labellings = zip(inputs["pred"], inputs["gt"], inputs["num_classes"], strict=True)
    return {"iou": torch.stack([torch.as_tensor(lesson.compute_iou(*each), dtype=torch.float64) for each in labellings])}


def _published_iou_case() -> Case:
    facts = _recorded("segmentation")["iou_facts"]
    sharp, pred, gt = facts["sharp_example"], facts["pred"], facts["gt"]
    recorded = (
        (pred, gt, 3, facts["3_classes"]),
        (pred, gt, 4, facts["4_classes_one_absent"]),
        (gt, gt, 4, facts["gt_against_itself_4_classes_one_absent"]),
        (sharp["pred"], sharp["gt"], sharp["num_classes"], sharp["value"]),
    )
    preds, gts, classes, values = (list(column) for column in zip(*recorded, strict=True))
    inputs = {"pred": [torch.tensor(p) for p in preds], "gt": [torch.tensor(g) for g in gts], "num_classes": classes}
    right = {"iou": torch.tensor(values, dtype=torch.float64)}
    return _published(inputs, _published_ious, 2e-6, right, "on recorded labellings")


def _skipping(lesson, inputs: Values) -> Values:
    """The option is this project's own; a function without it is not judged by it."""
    try:
        return _iou(lesson, inputs, skip_absent=True)
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            return {"iou": None}
        raise


def _judge_present(inputs: Values, got: Values, right: Values) -> Fault | None:
    return None if got["iou"] is None else compare("iou", got["iou"], right["iou"], **IOU)


def _cases(draws: Callable, run: Callable, *rows: tuple[str, dict], **options) -> list[Case]:
    """Cases that differ in what `draws` is told."""
    return [Case(name, partial(draws, **told), run, **options) for name, told in rows]


_exercise = partial(Exercise, topic=TOPIC)
EXERCISES = (
    _exercise(
        "get_similarity_no_loop",
        difficulty=1,
        minutes=15,
        no_loop=True,
        cases=(
            _published_table(),
            Case("values on random inputs", _features, _similarity, **EXACT),
            Case("gradients", _features, _similarity_gradients, judge=_judge_gradients),
            *_cases(
                _features,
                _similarity,
                ("square sizes", {"sizes": (4, 4, 4)}),
                ("one text", {"sizes": (1, 4, 3)}),
                ("one image", {"sizes": (5, 1, 3)}),
                ("as wide as ViT-L's", {"sizes": (3, 2, 768)}),
                ("large values", {"scale": 1e3}),
                **EXACT,
            ),
            Case("float32", partial(_features, dtype=torch.float32), _similarity, **SINGLE),
            Case("short rows", partial(_features, scale=0.02), _similarity, rtol=1e-3, atol=1e-4, note=SHORT),
            Case("in-place steps", _features, partial(_similarity_gradients, in_place=True), note=IN_PLACE, **GRADIENT),
            Case("rows of zeros", _with_zeros, _similarity, note=ZEROS, **SINGLE),
            replace(device_case(_features, lambda lesson, inputs: _similarity(lesson, inputs)["similarity"]), note=MOVED),
        ),
        hints=(
            "which product of two matrices holds the dot product of every row of one with every row of the other?",
            "texts lie along the rows of the result, images along its columns. Which of the two is transposed?",
            "to make a dot product a cosine, bring each row of both inputs to length 1: along which axis is the length taken?",
        ),
        whole_calls={"cosine_similarity": COSINE},
    ),
    _exercise(
        "clip_zero_shot_classifier",
        difficulty=2,
        minutes=40,
        needs=("get_similarity_no_loop",),
        cases=(
            *_cases(
                _zero_shot_inputs,
                _zero_shot,
                ("values on random inputs", {}),
                ("as many texts as images", {"pictures": 5, "texts": 5}),
                ("more texts than images", {"pictures": 3, "texts": 9}),
                ("one image", {"pictures": 1, "texts": 6}),
                ("many images", {"pictures": 130}),
                ("one text", {"pictures": 4, "texts": 1}),
                about=FAKE,
            ),
            Case(
                "device followed, no gradient",
                _zero_shot_inputs,
                partial(_on_meta, call=_zero_shot, gradient=True),
                judge=judge_devices,
            ),
        ),
        hints=(
            "the model gives features of texts and of images. Which exercise compares them all?",
            "for one image, the choice is among the texts: along which axis of the similarities do they lie?",
            "the result is a list with one of the class texts for each image, in the images' order.",
        ),
    ),
    _exercise(
        "CLIPImageRetriever.__init__",
        difficulty=1,
        minutes=20,
        needs=("get_similarity_no_loop",),
        cases=(
            *_cases(
                _retriever_inputs,
                _kept_features,
                ("features kept", {}),
                ("one image", {"pictures": 1}),
                ("many images", {"pictures": 13}),
                judge=_judge_kept,
                about=FAKE,
            ),
            Case("device followed", _retriever_inputs, partial(_on_meta, call=_made), judge=judge_devices),
        ),
        hints=(
            "a query will be compared with all images. What of the images is the same for every query?",
            "each image passes through the preprocessing and the model once, here; the features are kept, one row for each "
            "image, and so is what `retrieve` needs to encode a query.",
        ),
    ),
    _exercise(
        "CLIPImageRetriever.retrieve",
        difficulty=2,
        minutes=35,
        needs=("get_similarity_no_loop",),
        partner="CLIPImageRetriever.__init__",
        cases=(
            Case("two best", _retriever_inputs, _retrieve, about=FAKE),
            Case("any number", _retriever_inputs, _retrieve_any_k, about=FAKE),
            Case("more than there are", _retriever_inputs, partial(_retrieve, query=2, more=5), about=FAKE),
            Case("one image", partial(_retriever_inputs, pictures=1), _retrieve, about=FAKE),
            Case("several queries", _retriever_inputs, _retrieve_often, about=FAKE),
            Case("all of many images", partial(_retriever_inputs, pictures=40), partial(_retrieve, more=0), about=FAKE),
            Case("one image twice", _retriever_inputs, _retrieve_doubled, about=FAKE),
            Case("a query that is too long", _retriever_inputs, _retrieve_too_long),
            Case("device followed", _retriever_inputs, partial(_on_meta, call=_query), judge=judge_devices),
            Case("images that fit equally, each once", _ties, _retrieve_ties, judge=_judge_each_once),
            Case("images that fit equally", _ties, _retrieve_ties, note=TIES),
        ),
        hints=(
            "one text, all images: what is the shape of their similarities?",
            "which images come first, those with the highest or those with the lowest similarity?",
            "the result is a list of ints, at most k and at most as many as there are images.",
        ),
    ),
    _exercise(
        "compute_iou",
        difficulty=3,
        minutes=45,
        cases=(
            _published_iou_case(),
            *_cases(
                _labels,
                _iou,
                ("values on random inputs", {}),
                ("classes in neither", {"classes": 6, "present": (0, 2, 3)}),
                ("one class", {"shape": (9,), "classes": 1}),
                ("one patch", {"shape": (1,), "classes": 3}),
                ("masks (H, W)", {"shape": (5, 6), "classes": 3}),
                **IOU,
            ),
            Case("classes in one of the two", _lopsided, _iou, **IOU),
            Case("nothing in common", partial(_shifted, by=2, classes=2), _iou, **IOU),
            Case("truth against itself", partial(_shifted, by=0, classes=3), _iou, **IOU),
            Case("patches of a frame", partial(_background, shape=(3600,)), _iou, **IOU),
            Case("absent classes left out", partial(_labels, classes=6, present=(1, 2, 4)), _skipping, judge=_judge_present),
            Case("absent classes left out, others in one of the two", _lopsided, _skipping, judge=_judge_present),
            Case("pixels of a frame", partial(_background, shape=(200, 200)), _iou, note=MANY, **IOU),
            Case("a number of Python", _labels, _is_float, note=NO_FLOAT),
            Case("turned masks", _turned, _iou, note=TURNED, **IOU),
            Case("labels of one byte", _bytes, _iou, note=ONE_BYTE, about="uint8, 20 classes", **IOU),
        ),
        hints=(
            "take one class. In how many places do both labellings have it? In how many has at least one of them?",
            "the places of a union are counted once, also where both have the class.",
            "the mean runs over all num_classes classes; one that neither labelling has counts as 0, unless it is skipped.",
        ),
    ),
    _exercise(
        "DINOSegmentation.__init__",
        difficulty=1,
        minutes=20,
        cases=segmentation.INIT,
        hints=(
            "what goes in is a token, `inp_dim` numbers; what comes out is a score for each class.",
            "who moves the weights of the head, and does it know them? What compares scores with classes?",
        ),
    ),
    _exercise(
        "DINOSegmentation.train",
        difficulty=2,
        minutes=40,
        partner="DINOSegmentation.__init__",
        cases=segmentation.TRAIN,
        hints=(
            "what does a step of training need, in which order: scores, a loss, gradients, something that moves the weights?",
            "gradients add up unless something clears them. How many steps are to be made, and on how many tokens each?",
        ),
    ),
    _exercise(
        "DINOSegmentation.inference",
        difficulty=1,
        minutes=25,
        partner="DINOSegmentation.__init__",
        cases=segmentation.INFERENCE,
        hints=(
            "the head gives a score for each class. Which axis do the classes lie on?",
            "what do dropout and batch norm do in train mode, and would that suit a patch that is looked at alone?",
        ),
    ),
)
