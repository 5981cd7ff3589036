"""The cases of the exercises of `dl/clip_dino.py`. CLIP is played by a small fake model, DINO by drawn tokens."""

from __future__ import annotations

import copy
import json
import numbers
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl.checks.devices import move_case
from dl.checks.exercise import Case, Draw, Exercise, Fault, Values, track, unpack, with_gradients
from dl.checks.judge import compare
from dl.checks.published import EXPECTED

TOPIC = "clip_dino"
EXACT = {"rtol": 1e-5, "atol": 1e-7}  # in float64; leaves room for an epsilon of 1e-6 in a denominator, not for 1e-4
GRADIENT = {"rtol": 1e-4, "atol": 1e-5}  # in float64; an epsilon shows more there, where terms cancel
SINGLE = {"rtol": 1e-4, "atol": 1e-5}
WIDTH = 7  # of the fake model's features
LOSS_LEFT = 0.6  # most that a head may keep of its loss; 0.35 is the most seen of slow ones, 0.91 the least of idle ones
COSINE = "torch's cosine_similarity does the whole exercise, and does it well; write the formula once yourself as well."
TEXTS = (
    "a dog",
    "a red bus on a street",
    "two people playing tennis",
    "food",
    "a landscape with mountains",
    "an animal",
    "other",
    "a person riding a wave",
    "a bathroom in black and white",
    "zebras",
    "a plate of pasta",
    "a kite in the sky",
)


# --- A fake CLIP ---


class _Clip(nn.Module):
    """Features of any direction and length, made from tokens and pixels; notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.logit_scale = nn.Parameter(torch.tensor(3.0))
        self.pictures, self.devices, self.gradient = 0, [], []
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
        features = waves.sum(dim=1)
        length = 0.2 + 8 * torch.sin(tokens.double().sum(dim=1, keepdim=True) * 0.7).square()
        return (F.normalize(features) * length).float() * self.gain

    def encode_image(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"encode_image: wanted pictures (N, 3, h, w), got {tuple(images.shape)}")
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
    """PIL picture -> (3, 4, 4); what is no PIL picture has no `convert`."""
    small = np.asarray(picture.convert("RGB").resize((4, 4)), dtype=np.float32)
    return torch.from_numpy(small / 255 - 0.5).permute(2, 0, 1)


def _pictures(draw: Draw, count: int) -> list[Tensor]:
    """uint8 pictures of several sizes, the second one grey (H, W)."""
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


def _similarity(lesson, inputs: Values) -> Values:
    return unpack(lesson.get_similarity_no_loop(inputs["text_features"], inputs["image_features"]), "similarity")


def _similarity_gradients(lesson, inputs: Values) -> Values:
    wanted = track(inputs, "text_features", "image_features")
    return with_gradients(_similarity(lesson, inputs), wanted)


def _record(section: str) -> dict:
    return json.loads((EXPECTED / "clip_dino.json").read_text())[section]


def _published_table() -> Case:
    record = _record("similarity_check")
    inputs = {f"{name}_features": torch.tensor(record[f"{name}_features_float32"]) for name in ("text", "image")}
    return Case(
        "values of the course",
        lambda draw: inputs,
        _similarity,
        rtol=1e-5,
        atol=1e-6,
        limits={"similarity": 1e-5},
        published={"similarity": torch.tensor(record["expected_out_float32"])},
        about="on the tensors of the notebook",
    )


# --- clip_zero_shot_classifier ---


def _zero_shot_inputs(draw: Draw, pictures: int = 6, texts: int = 4) -> Values:
    return {"pictures": _pictures(draw, pictures), "texts": _texts(draw, texts)}


def _zero_shot(lesson, inputs: Values) -> Values:
    names = lesson.clip_zero_shot_classifier(_Clip(), _preprocess, _arrays(inputs["pictures"]), inputs["texts"], "cpu")
    return {"names": _listed(names)}


def _zero_shot_on_device(lesson, inputs: Values) -> Values:
    """Where the model's inputs lie, and whether gradients are recorded while it works."""
    model = _Clip().to("meta")
    try:
        lesson.clip_zero_shot_classifier(model, _preprocess, _arrays(inputs["pictures"]), inputs["texts"], "meta")
    except (RuntimeError, NotImplementedError):  # after the model: its features are no numbers there
        pass
    return {"devices": sorted(set(model.devices)), "gradient": any(model.gradient)}


def _listed(result: object) -> object:
    """Lists as they are; of anything else what it is."""
    if isinstance(result, list) and all(isinstance(item, (str, int, float)) for item in result):
        return result
    if isinstance(result, Tensor):
        return result.detach()
    if isinstance(result, (list, tuple)):
        return f"a {type(result).__name__} of {', '.join(sorted({type(item).__name__ for item in result})) or 'nothing'}"
    return f"a {type(result).__name__}"


# --- CLIPImageRetriever ---


def _retriever_inputs(draw: Draw, pictures: int | None = None) -> Values:
    count = draw.integer(4, 7) if pictures is None else pictures
    return {"pictures": _pictures(draw, count), "queries": _texts(draw, 4)}


def _made(lesson, inputs: Values, device: str = "cpu"):
    model = _Clip().eval().to(device)
    return lesson.CLIPImageRetriever(model, _preprocess, _arrays(inputs["pictures"]), device), model


def _kept_features(lesson, inputs: Values) -> Values:
    """What the retriever keeps of its pictures, in whatever form: the rows' directions, one row a picture."""
    retriever, model = _made(lesson, inputs)
    kept = _find_features(vars(retriever), len(inputs["pictures"]))
    if kept is None:
        return {"pictures encoded": model.pictures, "features": None, "gradient": False}
    return {
        "pictures encoded": model.pictures,
        "gradient": kept.requires_grad,
        "features": F.normalize(kept.detach().float(), dim=1),
    }


def _find_features(attributes: dict, count: int) -> Tensor | None:
    """The first attribute that holds `count` rows (or columns, or vectors in a list) of the features' width."""
    for value in attributes.values():
        if isinstance(value, (list, tuple)) and len(value) == count and all(isinstance(v, Tensor) for v in value):
            if all(v.numel() == WIDTH for v in value):
                value = torch.stack([v.flatten() for v in value])
        if type(value).__module__ == "numpy" and getattr(value, "ndim", 0) == 2:
            value = torch.from_numpy(value)
        if isinstance(value, Tensor):
            value = value.squeeze() if value.ndim > 2 else value
            if value.shape == (count, WIDTH):
                return value
            if value.shape == (WIDTH, count):
                return value.T
    return None


def _judge_kept(inputs: Values, got: Values, right: Values) -> Fault | None:
    if got["features"] is None and got["pictures encoded"] == right["pictures encoded"]:
        return Fault(
            "the pictures were encoded, but no attribute holds their features, one row a picture",
            "features-not-kept",
            "what was computed for the pictures is not kept in the object",
        )
    for name in ("pictures encoded", "features", "gradient"):
        fault = compare(name, got[name], right[name], 1e-4, 1e-5)
        if fault is not None:
            return fault
    return None


def _retriever_devices(lesson, inputs: Values) -> Values:
    """Where the model's inputs lie, in `__init__`."""
    model = _Clip().to("meta")
    try:
        lesson.CLIPImageRetriever(model, _preprocess, _arrays(inputs["pictures"]), "meta")
    except (RuntimeError, NotImplementedError):
        pass
    return {"devices": sorted(set(model.devices))}


def _retrieve(lesson, inputs: Values) -> Values:
    retriever, _ = _made(lesson, inputs)
    return _found(retriever.retrieve(inputs["queries"][0]))


def _found(result: object) -> Values:
    """The indices, and whether each is an int."""
    if isinstance(result, (list, tuple)):
        ints = all(isinstance(i, numbers.Integral) and not isinstance(i, bool) for i in result)
        return {"indices": [int(i) if isinstance(i, numbers.Integral) else _listed(i) for i in result], "ints": ints}
    return {"indices": _listed(result), "ints": False}


def _retrieve_any_k(lesson, inputs: Values) -> Values:
    retriever, _ = _made(lesson, inputs)
    count = len(inputs["pictures"])
    return {
        f"{name} (k = {k})": _found(retriever.retrieve(inputs["queries"][1], k))["indices"]
        for name, k in (("best", 1), ("three", 3), ("all", count))
    }


def _retrieve_too_many(lesson, inputs: Values) -> Values:
    retriever, _ = _made(lesson, inputs)
    return _found(retriever.retrieve(inputs["queries"][2], k=len(inputs["pictures"]) + 5))


def _retrieve_often(lesson, inputs: Values) -> Values:
    """Several queries on one retriever, and how many pictures the model has seen in all."""
    retriever, model = _made(lesson, inputs)
    found = [_found(retriever.retrieve(query, k=3))["indices"] for query in inputs["queries"]]
    return {"indices": found, "pictures encoded": model.pictures, "model in train mode": model.training}


def _retrieve_doubled(lesson, inputs: Values) -> Values:
    """All pictures, of which two are equal; the order of those two is left open here."""
    pictures = [*inputs["pictures"], inputs["pictures"][0]]
    retriever, _ = _made(lesson, {"pictures": pictures})
    found = _found(retriever.retrieve(inputs["queries"][0], len(pictures)))["indices"]
    return {"indices, sorted": sorted(found) if isinstance(found, list) else found}


def _retrieve_too_long(lesson, inputs: Values) -> Values:
    """A query of more than 77 tokens must be an error, not a query cut off."""
    retriever, _ = _made(lesson, inputs)
    try:
        retriever.retrieve(" ".join(["a dog"] * 60))
    except Exception as error:
        if isinstance(error, NotImplementedError):
            raise
        return {"of 120 words": "an error"}
    return {"of 120 words": "no error"}


def _query_device(lesson, inputs: Values) -> Values:
    """Where the query's tokens lie."""
    retriever, model = _made(lesson, inputs, "meta")
    model.devices.clear()
    try:
        retriever.retrieve(inputs["queries"][0])
    except (RuntimeError, NotImplementedError):
        pass
    return {"devices": sorted(set(model.devices))}


# --- compute_iou ---


def _labels(draw: Draw, *shape: int, classes: int = 4, present: tuple[int, ...] | None = None) -> Values:
    """A labelling and a second one that agrees with it at about half of the places."""
    gt, other = draw.integers(0, classes, *shape), draw.integers(0, classes, *shape)
    pred = torch.where(draw.uniform(*shape) < 0.5, gt, other)
    if present is not None:
        table = torch.tensor(present).repeat(classes)[:classes]
        pred, gt = table[pred], table[gt]
    return {"pred": pred, "gt": gt, "num_classes": classes}


def _iou(lesson, inputs: Values) -> Values:
    return _number(lesson.compute_iou(inputs["pred"], inputs["gt"], inputs["num_classes"]))


def _number(value: object) -> Values:
    return {
        "iou": float(value)
        if isinstance(value, Tensor) and value.numel() == 1 and not value.ndim
        else value
        if isinstance(value, (int, float))
        else _listed(value)
    }


def _published_ious(lesson, inputs: Values) -> Values:
    """Each of the recorded labellings, as one tensor."""
    values = [
        lesson.compute_iou(pred, gt, count)
        for pred, gt, count in zip(inputs["pred"], inputs["gt"], inputs["num_classes"], strict=True)
    ]
    return {"iou": torch.stack([torch.as_tensor(value, dtype=torch.float64) for value in values])}


def _published_iou_case() -> Case:
    facts = _record("segmentation")["iou_facts"]
    sharp, pred, gt = facts["sharp_example"], facts["pred"], facts["gt"]
    inputs = {
        "pred": [torch.tensor(p) for p in (pred, pred, gt, sharp["pred"])],
        "gt": [torch.tensor(g) for g in (gt, gt, gt, sharp["gt"])],
        "num_classes": [3, 4, 4, sharp["num_classes"]],
    }
    values = [
        facts["3_classes"],
        facts["4_classes_one_absent"],
        facts["gt_against_itself_4_classes_one_absent"],
        sharp["value"],
    ]
    return Case(
        "values of the course",
        lambda draw: inputs,
        _published_ious,
        rtol=1e-5,
        atol=1e-6,
        limits={"iou": 2e-6},
        published={"iou": torch.tensor(values, dtype=torch.float64)},
        about="on recorded labellings",
    )


def _lopsided(draw: Draw) -> Values:
    """Class 1 only in the truth, classes 2 and 4 only in the prediction, class 3 in neither."""
    gt = draw.integers(0, 2, 30)
    pred = torch.where(draw.uniform(30) < 0.6, torch.zeros(30, dtype=torch.int64), 2 * draw.integers(1, 3, 30))
    return {"pred": pred, "gt": gt, "num_classes": 5}


def _frame(draw: Draw) -> Values:
    """More places of one class than 16 bits can count, half of them found."""
    pred = draw.integers(0, 2, 200, 200).to(torch.uint8)
    return {"pred": pred, "gt": torch.zeros_like(pred), "num_classes": 2}


def _bytes(draw: Draw) -> Values:
    labels = _labels(draw, 400, classes=20)
    return {**labels, "pred": labels["pred"].to(torch.uint8), "gt": labels["gt"].to(torch.uint8)}


def _disjoint(draw: Draw) -> Values:
    gt = draw.integers(0, 2, 20)
    return {"pred": gt + 2, "gt": gt, "num_classes": 5}


def _equal(draw: Draw) -> Values:
    gt = draw.integers(0, 3, 20)
    return {"pred": gt.clone(), "gt": gt, "num_classes": 4}


def _iou_of_present_classes(lesson, inputs: Values) -> Values:
    try:
        return _number(lesson.compute_iou(inputs["pred"], inputs["gt"], inputs["num_classes"], skip_absent=True))
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            return {"iou": None}
        raise


def _judge_present(inputs: Values, got: Values, right: Values) -> Fault | None:
    """The option is this project's own; a function without it is not judged by it."""
    return None if got["iou"] is None else compare("iou", got["iou"], right["iou"], 1e-5, 1e-6)


# --- DINOSegmentation: what can be said of any head ---


def _tokens(draw: Draw, N: int = 40, D: int = 48, classes: int = 4, present=(0, 1, 3), dtype=torch.float32) -> Values:
    """Tokens of a few well separated classes, one of which may be absent; and further tokens of the same."""
    centres = draw.normal(classes, D, scale=2.0)
    labels = torch.tensor(present)[draw.integers(0, len(present), 2 * N)]
    labels[: len(present)] = torch.tensor(present)
    tokens = centres[labels] + draw.normal(2 * N, D, scale=0.5)
    tokens = tokens.to(dtype)
    return {"X_train": tokens[:N], "Y_train": labels[:N], "X_test": tokens[N:], "Y_test": labels[N:], "num_classes": classes}


def _attributes(model: object) -> list[object]:
    values = list(vars(model).values())
    return values + (list(model._modules.values()) if isinstance(model, nn.Module) else [])


def _head(model: object, width: int, classes: int) -> nn.Module | None:
    """The module that makes scores from tokens; None if that is not a single attribute."""
    modules = [m for m in _attributes(model) if isinstance(m, nn.Module) and next(m.parameters(), None) is not None]
    if len(modules) == 1:
        return modules[0]
    fitting = []
    for module in modules:
        try:
            with torch.no_grad():
                if module(torch.zeros(3, width)).shape == (3, classes):
                    fitting.append(module)
        except (RuntimeError, ValueError, TypeError, NotImplementedError):
            continue
    return fitting[0] if len(fitting) == 1 else None


def _parameters(model: object) -> list[Tensor]:
    """All tensors that can be trained."""
    found = [v for v in _attributes(model) if isinstance(v, nn.Parameter)]
    for module in _attributes(model):
        found += list(module.parameters()) if isinstance(module, nn.Module) else []
    return list({id(p): p for p in found}.values())


def _optimiser(model: object) -> torch.optim.Optimizer | None:
    return next((v for v in _attributes(model) if isinstance(v, torch.optim.Optimizer)), None)


def _new(lesson, inputs: Values, device: str = "cpu"):
    return lesson.DINOSegmentation(device, inputs["num_classes"], inputs["X_train"].shape[1])


def _scores(head: nn.Module, X: Tensor) -> Tensor:
    """In eval mode, without gradient; the mode is put back."""
    mode = head.training
    head.eval()
    with torch.no_grad():
        scores = head(X.float())
    head.train(mode)
    return scores


def _classes(model: object, X: Tensor, classes: int) -> Tensor:
    """By the head if it can be found, else by the student's own `inference`."""
    head = _head(model, X.shape[1], classes)
    return model.inference(X) if head is None else _scores(head, X).max(dim=1)[1]


def _loss(head: nn.Module, X: Tensor, Y: Tensor) -> float:
    return float(F.cross_entropy(_scores(head, X), Y))


def _share(labels: object, wanted: Tensor) -> float:
    return float((torch.as_tensor(labels).flatten() == wanted).double().mean()) if len(labels) == len(wanted) else 0.0


# --- DINOSegmentation.__init__ ---


@torch.enable_grad()
def _init(lesson, inputs: Values) -> Values:
    model = _new(lesson, inputs)
    width, classes = inputs["X_train"].shape[1], inputs["num_classes"]
    parameters, optimiser, head = _parameters(model), _optimiser(model), _head(model, width, classes)
    facts: Values = {
        "trainable": any(p.requires_grad for p in parameters),
        "dtypes": sorted({str(p.dtype) for p in parameters}),
        "optimised": "unknown",
        "scores": "unknown",
        "lowest": -1.0,
        "highest": 1.0,
        "loss left": 0.0,
        "alone": True,
        "spread": 1.0,
        "unheard": _unheard_classes(model, classes),
    }
    if optimiser is not None:
        held = {id(p) for group in optimiser.param_groups for p in group["params"]}
        own = {id(p) for p in parameters if p.requires_grad}
        facts["optimised"] = "all" if own <= held else "some" if own & held else "none"
    if head is not None:
        X = inputs["X_train"]
        scores = _scores(head, X * 3)
        facts["scores"] = list(scores.shape)
        if optimiser is not None and facts["scores"] == [len(X), classes]:
            new = inputs["X_test"], inputs["Y_test"]
            before = _loss(head, *new)
            _learn(head, optimiser, X, inputs["Y_train"])
            facts["loss left"] = _loss(head, *new) / before
        if facts["scores"] == [len(X), classes]:
            in_pairs = torch.cat([_scores(head, pair) for pair in X.split(2)])
            facts["alone"] = torch.allclose(_scores(head, X), in_pairs, atol=1e-3)
        scores = torch.cat([scores, _scores(head, torch.cat([X, -X]) * 3)])  # of a linear head some are surely negative
        facts["lowest"], facts["highest"] = float(scores.min()), float(scores.max())
        facts["spread"] = float(scores.std(dim=0).max())  # 0 if all tokens have the same scores
    return facts


def _unheard_classes(model: object, classes: int) -> list[int]:
    """Classes whose tokens cost nothing, however wrong their scores; [] without a cross entropy among the attributes."""
    unheard = []
    for loss in (value for value in _attributes(model) if isinstance(value, nn.CrossEntropyLoss)):
        for c in range(classes if classes > 1 else 0):
            scores, target = torch.zeros(1, classes), torch.tensor([c])
            scores[0, c] = -9.0
            if not float(loss(scores, target).mean()) > 0.1:
                unheard.append(c)
    return unheard


def _learn(head: nn.Module, optimiser: torch.optim.Optimizer, X: Tensor, Y: Tensor, steps: int = 300) -> None:
    """The training loop, with the student's head and optimiser."""
    head.train()
    with torch.enable_grad():
        for _ in range(steps):
            loss = F.cross_entropy(head(X.float()), Y)
            if not loss.requires_grad:
                break
            for group in optimiser.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
            loss.backward()
            optimiser.step()


def _judge_init(inputs: Values, got: Values, right: Values) -> Fault | None:
    N, classes = len(inputs["X_train"]), inputs["num_classes"]
    if not got["trainable"]:
        return Fault(
            "no attribute holds weights that can be trained",
            "nothing-to-train",
            "the object holds no layer with trainable weights",
        )
    if got["scores"] not in ("unknown", [N, classes]):
        return Fault(
            f"scores: got shape {got['scores']}, expected {[N, classes]}",
            "head-of-another-size",
            "the head does not give one score for each class",
        )
    if got["dtypes"] != ["torch.float32"]:
        return Fault(f"weights: got {', '.join(got['dtypes'])}, expected torch.float32")
    if got["lowest"] >= 0 and got["highest"] > 0 and got["spread"] > 1e-3:
        return Fault(
            "no score is ever negative",
            "activation-at-the-end",
            "an activation or softmax follows the last layer; the loss wants the plain scores",
        )
    if got["optimised"] not in ("all", "unknown"):
        return Fault(
            f"of the head's weights, the optimiser holds {got['optimised']}",
            "optimiser-of-other-weights",
            "the optimiser was not given all weights of the head that is kept",
        )
    if got["unheard"]:
        return Fault(
            f"tokens of the classes {got['unheard']} cost nothing, however wrong their scores are",
            "classes-unheard",
            "the loss leaves out some classes (ignore_index, or a weight of 0)",
        )
    if not got["alone"]:
        return Fault(
            "in eval mode, two tokens among others get other scores than the two alone",
            "tokens-not-alone",
            "the head lets tokens act on each other (batch statistics, attention, a mean), or draws at random",
        )
    if not got["loss left"] <= LOSS_LEFT:
        return Fault(
            f"300 steps on separable tokens leave {got['loss left']:.0%} of the loss on new ones, expected at most "
            f"{LOSS_LEFT:.0%}",
            "does-not-learn",
            "with this head and this optimiser hardly anything is learned (rate, start values?)",
        )
    return None


def _init_by_default(lesson, inputs: Values) -> Values:
    """The width of the published tokens, 384, is the default."""
    model = lesson.DINOSegmentation("cpu", 3)
    head = _head(model, 384, 3)
    return {"scores": "unknown" if head is None else list(_scores(head, torch.ones(2, 384)).shape)}


def _judge_default(inputs: Values, got: Values, right: Values) -> Fault | None:
    if got["scores"] in ("unknown", right["scores"]):
        return None
    return Fault(f"scores of two tokens, 384 wide: got shape {got['scores']}, expected {right['scores']}")


def _init_device(lesson, inputs: Values) -> Values:
    return {"devices": sorted({p.device.type for p in _parameters(_new(lesson, inputs, "meta"))})}


def _judge_devices(inputs: Values, got: Values, right: Values) -> Fault | None:
    if got["devices"] == ["meta"] and not got.get("gradient"):
        return None
    if got.get("gradient"):
        return Fault(
            "gradients are recorded while the model works",
            "gradient-recorded",
            "nothing is trained here, yet a graph for gradients is built",
        )
    if not got["devices"]:
        return Fault("nothing was put on the device: the model is never asked, or there are no weights")
    return Fault(
        f"device: got {', '.join(got['devices'])}, expected the one that was given",
        "device-not-followed",
        "something is left on the CPU, or on another device than the one that is given",
    )


# --- DINOSegmentation.train ---


@contextmanager
def _watched(model: object) -> Iterator[Values]:
    """Notes what happens in training, whatever the head: steps, whether their gradients are fresh, what a loss is given."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    notes: Values = {
        "steps": 0,
        "steps without gradients": 0,
        "freshness": [],
        "rows": [0],
        "probabilities": False,
        "raw scores": False,
        "modes": [],
    }
    parameters = [p for p in _parameters(model) if p.requires_grad]
    fresh: dict[int, Tensor] = {}

    def keep(parameter: Tensor):
        return lambda gradient: fresh.__setitem__(id(parameter), gradient.detach() + fresh.get(id(parameter), 0))

    handles = [p.register_hook(keep(p)) for p in parameters]

    def before_step(optimiser, args, kwargs) -> None:
        notes["steps"] += 1
        notes["rows"].append(0)
        if len(args) > 1 or kwargs.get("closure") is not None:
            return  # the gradients come in the step
        used = [p for group in optimiser.param_groups for p in group["params"]]
        if all(p.grad is None or not bool(p.grad.any()) for p in used):
            notes["steps without gradients"] += 1
        if notes["freshness"] and not fresh:
            notes["steps without gradients"] += 1  # those of an earlier step are still there, and no others have come
        known = [p for p in used if id(p) in fresh and p.grad is not None]
        if known and notes["steps"] <= 6:
            got, wanted = (
                torch.cat([t.double().flatten() for t in tensors])
                for tensors in ([p.grad for p in known], [fresh[id(p)] for p in known])
            )
            notes["freshness"].append(float(F.cosine_similarity(got, wanted, dim=0)))
        fresh.clear()

    def mode(module, args) -> None:
        if torch.is_grad_enabled():
            notes["modes"].append(module.training)

    for attribute in _attributes(model):
        if isinstance(attribute, nn.Module):
            depends = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)
            handles += [m.register_forward_pre_hook(mode) for m in attribute.modules() if isinstance(m, depends)]
    handles.append(register_optimizer_step_pre_hook(before_step))
    cross_entropy, nll_loss = F.cross_entropy, F.nll_loss

    def watched_cross_entropy(input, target, *args, **kwargs):
        rows = input.detach()
        notes["rows"][-1] += len(rows)
        notes["probabilities"] |= bool((rows >= 0).all()) and bool(((rows.sum(dim=-1) - 1).abs() < 1e-4).all())
        return cross_entropy(input, target, *args, **kwargs)

    def watched_nll(input, target, *args, **kwargs):
        rows = input.detach()
        notes["rows"][-1] += len(rows)
        notes["raw scores"] |= not bool((rows.logsumexp(dim=-1).abs() < 1e-3).all())
        return nll_loss(input, target, *args, **kwargs)

    F.cross_entropy, F.nll_loss = watched_cross_entropy, watched_nll
    try:
        yield notes
    finally:
        F.cross_entropy, F.nll_loss = cross_entropy, nll_loss
        for handle in handles:
            handle.remove()


class _Start:
    """A model before it is trained, to see what the same steps would have brought."""

    def __init__(self, model: object, width: int, classes: int) -> None:
        self.head, self.optimiser = _head(model, width, classes), _optimiser(model)
        self._states = [copy.deepcopy(part.state_dict()) for part in (self.head, self.optimiser) if part is not None]

    def loss_within_reach(self, X: Tensor, Y: Tensor, steps: int) -> float | None:
        """Of the same head with the same optimiser, trained here; None if one of the two is unknown. The model is reset."""
        if len(self._states) < 2:
            return None
        for part, state in zip((self.head, self.optimiser), self._states, strict=True):
            part.load_state_dict(state)
        _learn(self.head, self.optimiser, X, Y, steps)
        return _loss(self.head, X, Y)


def _is_slow(got: Values) -> bool:
    """Whether head and optimiser, not the loop, are why tokens do not get their class yet."""
    after, within_reach = got["loss after"], got["loss within reach"]
    return None not in (after, within_reach) and after <= 1.2 * within_reach


@torch.enable_grad()
def _train(lesson, inputs: Values, num_iters: int | None = 300, before=None) -> Values:
    model = _new(lesson, inputs)
    if before is not None:
        before(model)
    X, Y, classes = inputs["X_train"], inputs["Y_train"], inputs["num_classes"]
    start = _Start(model, X.shape[1], classes)
    head = start.head
    first = None if head is None else _loss(head, X, Y)
    with _watched(model) as notes:
        model.train(X, Y) if num_iters is None else model.train(X, Y, num_iters)
    head = _head(model, X.shape[1], classes)
    last = None if head is None else _loss(head, X, Y)
    facts: Values = {
        "gradients on afterwards": torch.is_grad_enabled(),
        "steps": notes["steps"],
        "wanted steps": 500 if num_iters is None else num_iters,
        "steps without gradients": notes["steps without gradients"],
        "freshness": min(notes["freshness"], default=1.0),
        "rows": min(filter(None, notes["rows"]), default=len(X)),
        "probabilities": notes["probabilities"],
        "raw scores": notes["raw scores"],
        "train mode": all(notes["modes"]),
        "loss before": first,
        "loss after": last,
        "old tokens": _share(_classes(model, X, classes), Y),
        "new tokens": _share(_classes(model, inputs["X_test"], classes), inputs["Y_test"]),
    }
    if min(facts["old tokens"], facts["new tokens"]) < 0.9:
        facts["loss within reach"] = start.loss_within_reach(X, Y, facts["wanted steps"])
    return facts


def _train_shortly(lesson, inputs: Values) -> Values:
    return _train(lesson, inputs, 7)


def _judge_train(inputs: Values, got: Values, right: Values) -> Fault | None:
    fault = _judge_training_steps(inputs, got)
    if fault is not None:
        return fault
    if got["loss before"] is not None and not got["loss after"] < got["loss before"]:
        return Fault(
            f"loss: {got['loss before']:.4g} before, {got['loss after']:.4g} after training",
            "loss-does-not-fall",
            "training leaves the loss as it was, or raises it",
        )
    if min(got["old tokens"], got["new tokens"]) < 0.9 and not _is_slow(got):
        return Fault(
            f"of separable tokens, {got['old tokens']:.0%} of those trained on and {got['new tokens']:.0%} of new "
            "ones get their class, expected at least 90 %"
        )
    return None


def _judge_training_steps(inputs: Values, got: Values, right: Values | None = None) -> Fault | None:
    """How the steps are made, however well they do; where no optimiser of torch is used, little is known."""
    if not got["gradients on afterwards"]:
        return Fault(
            "after the call torch records no gradients any more",
            "gradients-left-off",
            "gradients are switched off and not switched on again",
        )
    if got["probabilities"]:
        return Fault(
            "the rows that the cross entropy is given sum to 1",
            "softmax-before-loss",
            "a softmax is taken before the cross entropy, which takes one itself",
        )
    if got["raw scores"]:
        return Fault(
            "the loss is given numbers that are no logarithms of probabilities",
            "no-logarithm-before-loss",
            "this loss wants logarithms of probabilities, and is given something else",
        )
    steps, wanted = got["steps"], got["wanted steps"]
    if steps == 0 and got["loss before"] is not None and got["loss before"] == got["loss after"]:
        return Fault(
            f"steps of the optimiser: 0, expected {wanted}; the weights have not moved",
            "no-step",
            "the optimiser makes no step",
        )
    if got["steps without gradients"]:
        return Fault(
            f"{got['steps without gradients']} of {steps} steps are made without gradients",
            "step-without-gradients",
            "the optimiser steps while the gradients of this loss are not there: not computed yet, or cleared again",
        )
    if got["rows"] != len(inputs["X_train"]):
        return Fault(
            f"a step sees {got['rows']} tokens, expected {len(inputs['X_train'])}",
            "part-of-the-tokens",
            "a step sees a part of the tokens; here every step sees all of them",
        )
    if got["freshness"] < 0.999:
        return Fault(
            f"gradients at a step and those of its loss: cosine {got['freshness']:.3f}, expected 1",
            "no-zero-grad",
            "gradients of earlier steps are still there: each step adds to them",
        )
    if steps not in (0, wanted):
        return Fault(
            f"steps of the optimiser: {steps}, expected {wanted}", "number-of-steps", "the number of steps is not num_iters"
        )
    if not got["train mode"]:
        return Fault("dropout or batch norm is in eval mode during training", "eval-mode", "the head is trained in eval mode")
    return None


def _after_inference(lesson, inputs: Values) -> Values:
    """Training of an object that has been in eval mode before."""

    def in_eval_mode(model: object) -> None:
        for attribute in _attributes(model):
            if isinstance(attribute, nn.Module):
                attribute.eval()

    return _train(lesson, inputs, before=in_eval_mode)


def _train_twice(lesson, inputs: Values) -> Values:
    """A second call on the same object, with other classes at the same tokens."""
    model = _new(lesson, inputs)
    X, Y, classes = inputs["X_train"], inputs["Y_train"], inputs["num_classes"]
    other = (Y + 1) % classes
    with torch.enable_grad():
        model.train(X, Y, 30)
        start = _Start(model, X.shape[1], classes)
        with _watched(model) as notes:
            model.train(X, other, 300)
        facts: Values = {"steps": notes["steps"], "old tokens": _share(_classes(model, X, classes), other)}
        if facts["old tokens"] < 0.9:
            facts["loss after"] = None if start.head is None else _loss(start.head, X, other)
            facts["loss within reach"] = start.loss_within_reach(X, other, 300)
        return facts


def _judge_twice(inputs: Values, got: Values, right: Values) -> Fault | None:
    if got["steps"] not in (0, 300):
        return Fault(
            f"steps of the optimiser in a second call: {got['steps']}, expected 300",
            "number-of-steps",
            "the number of steps is not num_iters",
        )
    if got["old tokens"] < 0.9 and not _is_slow(got):
        return Fault(f"after a second call with other classes {got['old tokens']:.0%} of the tokens get theirs, expected 90 %")
    return None


# --- DINOSegmentation.inference ---


def _inference_inputs(draw: Draw, N: int = 11, D: int = 6, classes: int = 4, dtype=torch.float32) -> Values:
    return {
        "X_train": draw.normal(N, D, scale=2.0, dtype=dtype),
        "weight": draw.normal(classes, D, dtype=torch.float32),
        "bias": draw.normal(classes, scale=4.0, dtype=torch.float32),
        "num_classes": classes,
    }


def _far_tokens(draw: Draw) -> Values:
    inputs = _inference_inputs(draw)
    return {**inputs, "X_train": inputs["X_train"] * 300}


def _prepared(lesson, inputs: Values):
    """An object with known weights if its head is linear, otherwise with what its batch norms saw of other tokens."""
    model = _new(lesson, inputs)
    width, classes = inputs["X_train"].shape[1], inputs["num_classes"]
    head = _head(model, width, classes)
    linear = False
    if head is not None:
        shapes = [tuple(p.shape) for p in head.parameters()]
        linear = shapes in ([(classes, width)], [(classes, width), (classes,)]) and all(
            isinstance(m, (nn.Linear, nn.Sequential, nn.Dropout, nn.Identity)) for m in head.modules()
        )
        if linear:
            for parameter in head.parameters():
                parameter.data.copy_(inputs["weight"] if parameter.ndim == 2 else inputs["bias"])
        else:
            head.train()
            for _ in range(20):
                head(3 * torch.randn(16, width) + 1)
    return model, head, linear


@torch.enable_grad()
def _inference(lesson, inputs: Values) -> Values:
    X = inputs["X_train"]
    model, head, linear = _prepared(lesson, inputs)
    if head is not None:
        head.train()
    result = model.inference(X)
    on = torch.is_grad_enabled()
    result = result.detach() if isinstance(result, Tensor) else _listed(result)
    scores = None if head is None else _scores(head, X)
    return {"classes": result, "scores": scores, "linear": linear, "gradients on afterwards": on}


def _judge_inference(inputs: Values, got: Values, right: Values) -> Fault | None:
    classes, scores = got["classes"], got["scores"]
    if got["linear"] or scores is None or not isinstance(classes, Tensor) or classes.shape != right["classes"].shape:
        if got["linear"] or not isinstance(classes, Tensor) or classes.shape != right["classes"].shape:
            fault = compare("classes", classes, right["classes"], 0, 0)
            if fault is not None:
                return fault
    elif classes.dtype != torch.int64:
        return compare("classes", classes, right["classes"], 0, 0)
    elif bool((classes < 0).any()) or bool((classes >= scores.shape[1]).any()):
        return Fault(f"classes run from {int(classes.min())} to {int(classes.max())}, expected 0 to {scores.shape[1] - 1}")
    else:
        chosen = scores.gather(1, classes[:, None])[:, 0]
        missed = int((chosen < scores.amax(dim=1) - 1e-4).sum())
        if missed:
            return Fault(
                f"{missed} of {len(classes)} tokens do not get the class that their own scores make the most likely",
                "not-the-best-class",
                "another class than the most likely one is returned, or the head is in train "
                "mode, where batch norm and dropout mix the tokens",
            )
    if not got["gradients on afterwards"]:
        return Fault(
            "after the call torch records no gradients any more",
            "gradients-left-off",
            "gradients are switched off and not switched on again",
        )
    return None


@torch.enable_grad()
def _row_by_row(lesson, inputs: Values) -> Values:
    """All tokens together, and each one alone."""
    X = inputs["X_train"]
    model, head, _ = _prepared(lesson, inputs)
    if head is not None:
        head.train()
    together = model.inference(X)
    try:
        alone = torch.cat([torch.as_tensor(model.inference(X[n : n + 1])) for n in range(len(X))])
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):  # the words of a batch norm in train mode
            raise
        alone = torch.full((len(X),), -1)
    return {"together": torch.as_tensor(together).detach(), "alone": alone.detach()}


def _judge_rows(inputs: Values, got: Values, right: Values) -> Fault | None:
    if got["together"].shape == got["alone"].shape and torch.equal(got["together"], got["alone"]):
        return None
    return Fault(
        "a token gets one class among others and another class alone\n"
        f"together {got['together'].flatten().tolist()}, alone {got['alone'].flatten().tolist()}",
        "tokens-not-alone",
        "the class of a token depends on the other tokens, as with batch norm or dropout in train mode",
    )


EXERCISES = (
    Exercise(
        "get_similarity_no_loop",
        TOPIC,
        no_loop=True,
        cases=(
            _published_table(),
            Case("values on random inputs", _features, _similarity, **EXACT),
            Case("gradients", _features, _similarity_gradients, **GRADIENT),
            Case("square sizes", lambda draw: _features(draw, sizes=(4, 4, 4)), _similarity, **EXACT),
            Case("one text", lambda draw: _features(draw, sizes=(1, 4, 3)), _similarity, **EXACT),
            Case("one picture", lambda draw: _features(draw, sizes=(5, 1, 3)), _similarity, **EXACT),
            Case("as wide as ViT-L's", lambda draw: _features(draw, sizes=(3, 2, 768)), _similarity, **EXACT),
            Case("large values", lambda draw: _features(draw, scale=1e3), _similarity, **EXACT),
            Case("short rows", lambda draw: _features(draw, scale=0.02), _similarity, rtol=1e-3, atol=1e-4),
            Case("float32", lambda draw: _features(draw, dtype=torch.float32), _similarity, **SINGLE),
            move_case(_features, lambda lesson, inputs: _similarity(lesson, inputs)["similarity"]),
        ),
        hints=(
            "which product of two matrices holds the dot product of every row of one with every row of the other?",
            "texts lie along the rows of the result, pictures along its columns. Which of the two is transposed?",
            "to make a dot product a cosine, bring each row of both inputs to length 1: along which axis is the length taken?",
        ),
        whole_calls={"cosine_similarity": COSINE},
    ),
    Exercise(
        "clip_zero_shot_classifier",
        TOPIC,
        needs=("get_similarity_no_loop",),
        cases=(
            Case("values on random inputs", _zero_shot_inputs, _zero_shot, about="a fake CLIP, 6 pictures, 4 texts"),
            Case("as many texts as pictures", lambda draw: _zero_shot_inputs(draw, 5, 5), _zero_shot, about="a fake CLIP"),
            Case("more texts than pictures", lambda draw: _zero_shot_inputs(draw, 3, 9), _zero_shot, about="a fake CLIP"),
            Case("one picture", lambda draw: _zero_shot_inputs(draw, 1, 6), _zero_shot, about="a fake CLIP"),
            Case("many pictures", lambda draw: _zero_shot_inputs(draw, 13, 4), _zero_shot, about="a fake CLIP"),
            Case("one text", lambda draw: _zero_shot_inputs(draw, 4, 1), _zero_shot, about="a fake CLIP"),
            Case("device followed, no gradient", _zero_shot_inputs, _zero_shot_on_device, judge=_judge_devices),
        ),
        hints=(
            "the model gives features of texts and of pictures. Which exercise compares them all?",
            "for one picture, the choice is among the texts: along which axis of the similarities do they lie?",
            "the result is a list with one of the class texts for each picture, in the pictures' order.",
        ),
    ),
    Exercise(
        "CLIPImageRetriever.__init__",
        TOPIC,
        needs=("get_similarity_no_loop",),
        cases=(
            Case("features kept", _retriever_inputs, _kept_features, judge=_judge_kept, about="a fake CLIP"),
            Case("one picture", lambda draw: _retriever_inputs(draw, 1), _kept_features, judge=_judge_kept),
            Case("many pictures", lambda draw: _retriever_inputs(draw, 13), _kept_features, judge=_judge_kept),
            Case("device followed", _retriever_inputs, _retriever_devices, judge=_judge_devices),
        ),
        hints=(
            "a query will be compared with all pictures. What of the pictures is the same for every query?",
            "each picture passes through the preprocessing and the model once, here; the features are kept, one row a "
            "picture, and so is what `retrieve` needs to encode a query.",
        ),
    ),
    Exercise(
        "CLIPImageRetriever.retrieve",
        TOPIC,
        needs=("get_similarity_no_loop",),
        partner="CLIPImageRetriever.__init__",
        cases=(
            Case("two best", _retriever_inputs, _retrieve, about="a fake CLIP"),
            Case("any number", _retriever_inputs, _retrieve_any_k, about="a fake CLIP"),
            Case("more than there are", _retriever_inputs, _retrieve_too_many, about="a fake CLIP"),
            Case("one picture", lambda draw: _retriever_inputs(draw, 1), _retrieve, about="a fake CLIP"),
            Case("several queries", _retriever_inputs, _retrieve_often, about="a fake CLIP"),
            Case("one picture twice", _retriever_inputs, _retrieve_doubled, about="a fake CLIP"),
            Case("a query that is too long", _retriever_inputs, _retrieve_too_long),
            Case("device followed", _retriever_inputs, _query_device, judge=_judge_devices),
        ),
        hints=(
            "one text, all pictures: what is the shape of their similarities?",
            "which pictures come first, those with the highest or those with the lowest similarity?",
            "the result is a list of ints, at most k and at most as many as there are pictures.",
        ),
    ),
    Exercise(
        "compute_iou",
        TOPIC,
        cases=(
            _published_iou_case(),
            Case("values on random inputs", lambda draw: _labels(draw, 30), _iou, rtol=1e-5, atol=1e-6),
            Case(
                "classes in neither", lambda draw: _labels(draw, 30, classes=6, present=(0, 2, 3)), _iou, rtol=1e-5, atol=1e-6
            ),
            Case("classes in one of the two", _lopsided, _iou, rtol=1e-5, atol=1e-6),
            Case("nothing in common", _disjoint, _iou, rtol=1e-5, atol=1e-6),
            Case("truth against itself", _equal, _iou, rtol=1e-5, atol=1e-6),
            Case("one class", lambda draw: _labels(draw, 9, classes=1), _iou, rtol=1e-5, atol=1e-6),
            Case("one patch", lambda draw: _labels(draw, 1, classes=3), _iou, rtol=1e-5, atol=1e-6),
            Case("masks (H, W)", lambda draw: _labels(draw, 5, 6, classes=3), _iou, rtol=1e-5, atol=1e-6),
            Case(
                "absent classes left out",
                lambda draw: _labels(draw, 30, classes=6, present=(1, 2, 4)),
                _iou_of_present_classes,
                judge=_judge_present,
            ),
            Case(
                "absent classes left out, others in one of the two", _lopsided, _iou_of_present_classes, judge=_judge_present
            ),
            Case("a whole frame", _frame, _iou, rtol=1e-5, atol=1e-6, about="uint8, all of it background"),
            Case("labels of one byte", _bytes, _iou, rtol=1e-5, atol=1e-6, about="uint8, 20 classes"),
        ),
        hints=(
            "take one class. In how many places do both labellings have it? In how many has at least one of them?",
            "the places of a union are counted once, also where both have the class.",
            "the mean runs over all num_classes classes; one that neither labelling has counts as 0, unless it is skipped.",
        ),
    ),
    Exercise(
        "DINOSegmentation.__init__",
        TOPIC,
        cases=(
            Case("head and optimiser", _tokens, _init, judge=_judge_init),
            Case("two classes", lambda draw: _tokens(draw, classes=2, present=(0, 1)), _init, judge=_judge_init),
            Case("width by default", lambda draw: {"classes": 3}, _init_by_default, judge=_judge_default),
            Case("device followed", _tokens, _init_device, judge=_judge_devices),
        ),
        hints=(
            "what goes in is a token, `inp_dim` numbers; what comes out is a score for each class.",
            "who moves the weights of the head, and does it know them? What compares scores with classes?",
        ),
    ),
    Exercise(
        "DINOSegmentation.train",
        TOPIC,
        partner="DINOSegmentation.__init__",
        cases=(
            Case(
                "separable tokens",
                lambda draw: _tokens(draw, N=150),
                _train,
                judge=_judge_train,
                about="tokens of three classes, far apart",
            ),
            Case("seven steps", _tokens, _train_shortly, judge=_judge_training_steps),
            Case(
                "number of steps by default", _tokens, lambda lesson, inputs: _train(lesson, inputs, None), judge=_judge_train
            ),
            Case("after inference", _tokens, _after_inference, judge=_judge_train),
            Case("a second call", _tokens, _train_twice, judge=_judge_twice),
            Case(
                "float64 tokens", lambda draw: _tokens(draw, dtype=torch.float64), _train_shortly, judge=_judge_training_steps
            ),
            Case(
                "float16 tokens", lambda draw: _tokens(draw, dtype=torch.float16), _train_shortly, judge=_judge_training_steps
            ),
        ),
        hints=(
            "what does a step of training need, in which order: scores, a loss, gradients, something that moves the weights?",
            "gradients add up unless something clears them. How many steps are to be made, and on how many tokens each?",
        ),
    ),
    Exercise(
        "DINOSegmentation.inference",
        TOPIC,
        partner="DINOSegmentation.__init__",
        cases=(
            Case("most likely class", _inference_inputs, _inference, judge=_judge_inference),
            Case("as many tokens as classes", lambda draw: _inference_inputs(draw, 4), _inference, judge=_judge_inference),
            Case("one token", lambda draw: _inference_inputs(draw, 1), _inference, judge=_judge_inference),
            Case("each token by itself", _inference_inputs, _row_by_row, judge=_judge_rows),
            Case(
                "float64 tokens", lambda draw: _inference_inputs(draw, dtype=torch.float64), _inference, judge=_judge_inference
            ),
            Case("tokens of a large frame", lambda draw: _inference_inputs(draw, 3700), _inference, judge=_judge_inference),
            Case("large tokens", _far_tokens, _inference, judge=_judge_inference),
        ),
        hints=(
            "the head gives a score for each class. Which axis do the classes lie on?",
            "what do dropout and batch norm do in train mode, and would that suit a patch that is looked at alone?",
        ),
    ),
)
