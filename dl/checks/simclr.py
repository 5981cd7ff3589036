"""The cases of the exercises of `dl/simclr/`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dl.checks.devices import device_case, named_device_case
from dl.checks.exercise import COSINE, EXACT, GRADIENT, SINGLE, Case, Draw, Exercise, Values, WrongReturn, gradients_of, unpack
from dl.checks.published import expected

TOPIC = "simclr"
# TIGHT is for long vectors in float64, where no epsilon shows, but single precision does.
TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-10}
SHORT: dict[str, Any] = {"rtol": 2e-2, "atol": 2e-2}  # for short vectors: an epsilon of 1e-6 may show, a floor of 0.1 may not
PIXELS: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
LONG_ROWS, SHORT_ROWS = 1e5, 0.02  # factors of ordinary lengths
TAUS = (5.0, 1.0, 0.5, 0.05)  # at which the notebook asks for the loss
ONE_NUMBER = "for vectors in a row, (1, D), the result keeps an axis; the docstring has a tensor of shape () there as well"
OVERFLOW = (
    "in float32 this is not right at temperatures below about 0.05, where exp(cosine / tau) grows too large (below 0.011 it "
    "overflows): take the largest exponent out first. What does torch offer for the logarithm of a sum of exponentials?"
)
LEFT_OUT = (
    "at temperatures of 0.01 and below this is no longer right: there the term of k = i is by far the largest, and added and "
    "subtracted again it leaves nothing but rounding errors of the others. Leave it out from the start"
)
LEFT_BEHIND = (
    "gradients that someone else left in the model before the epoch go into its first step: clear them before backward(), "
    "not after step()"
)
NAMED = "this computes where the inputs are, not on the device that is named; the course always names the inputs' own"


# --- Augmentation ---


def _transform_inputs(draw: Draw, height: int = 30, width: int = 44, count: int = 16, seeded: bool = True) -> Values:
    """An image of a few colours with soft borders, so that crops and changes of colour can be told apart."""
    coarse = draw.uniform(1, 3, 4, 5, high=255.0, dtype=torch.float32)
    fine = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)[0]
    seed = [draw.integer(1, 10**6)] if seeded else []
    return {"image": fine.permute(1, 2, 0).to(torch.uint8), "seed, if given": seed, "count": count}


def _views(lesson, inputs: Values, part: tuple = np.s_[:, 6::18, 9::18]) -> Values:
    """A few numbers of each of many views of one image."""
    picture = Image.fromarray(inputs["image"].numpy())
    transform = lesson.compute_train_transform(*inputs["seed, if given"])
    views = [transform(picture) for _ in range(inputs["count"])]
    return {"shape": [list(view.shape) for view in views[:3]], "views": torch.stack([view[part] for view in views])}


def _one_pixel_of_views(lesson, inputs: Values) -> Values:
    """Of so many views that a probability that is off by a tenth shows."""
    return _views(lesson, inputs, np.s_[:, 9, 6])


# --- Pairs ---


def _noisy(picture) -> Tensor:
    """A random transform: pixels of a PIL image plus one random number."""
    pixels = torch.from_numpy(np.asarray(picture.convert("RGB"), dtype=np.float64))  # a PIL image has `convert`
    return (pixels.permute(2, 0, 1) / 255 + 10 * torch.rand((), dtype=torch.float64)).float()


def _one_pixel(picture) -> Tensor:
    return torch.tensor(list(picture.convert("RGB").getpixel((2, 1))))


def _data_inputs(draw: Draw) -> Values:
    index, first = draw.integer(1, 4), draw.integer(0, 10)
    targets = [first, (first + 3) % 10, first, (first + 3) % 10, first]
    return {"data": draw.integers(0, 256, 5, 4, 6, 3).to(torch.uint8), "targets": targets, "index": index}


def _dataset(lesson, inputs: Values, transform, target_transform=None):
    """A `CIFAR10Pair` on drawn images, without files."""
    dataset = lesson.CIFAR10Pair.__new__(lesson.CIFAR10Pair)
    dataset.data, dataset.targets = inputs["data"].numpy(), list(inputs["targets"])
    dataset.transform, dataset.target_transform, dataset.train = transform, target_transform, True
    return dataset


def _item(dataset, index: int) -> Values:
    item = unpack(dataset[index], "x_i", "x_j", "target")
    for name in ("x_i", "x_j"):
        if not isinstance(item[name], Tensor | None):
            item[name] = f"a {type(item[name]).__name__}"
    return item


def _views_of(dataset, index: int) -> Values:
    """The two views, the one with the smaller random number first: which of them is drawn first is left open."""
    item = _item(dataset, index)
    views = [item["x_i"], item["x_j"]]
    if all(isinstance(view, Tensor) for view in views):
        views.sort(key=lambda view: float(view.mean()))
    return {"view": views[0], "other view": views[1], "target": item["target"]}


def _pair(lesson, inputs: Values) -> Values:
    return _views_of(_dataset(lesson, inputs, _noisy), inputs["index"])


def _pair_twice(lesson, inputs: Values) -> Values:
    """The same index again, as in the next epoch, and the random number that comes after both."""
    dataset = _dataset(lesson, inputs, _noisy)
    first, again = (_views_of(dataset, inputs["index"]) for _ in range(2))
    again = {f"{name}, asked again": value for name, value in again.items()}
    return {**first, **again, "next random number": torch.rand(())}


def _pair_of_every_index(lesson, inputs: Values) -> Values:
    dataset = _dataset(lesson, inputs, _one_pixel)
    items = [_item(dataset, index) for index in range(len(inputs["targets"]))]
    return {name: [item[name] for item in items] for name in ("x_i", "x_j", "target")}


def _pair_without_transform(lesson, inputs: Values) -> Values:
    return _item(_dataset(lesson, inputs, None), inputs["index"])


def _pair_with_target_transform(lesson, inputs: Values) -> Values:
    return {"target": _item(_dataset(lesson, inputs, _noisy, lambda target: 10 * target + 3), inputs["index"])["target"]}


# --- Cosines and losses: inputs ---


def _of_length(draw: Draw, N: int, D: int) -> Tensor:
    """(N, D) rows of any direction, their lengths between 0.7 and 4: none so short that an epsilon would show."""
    return F.normalize(draw.normal(N, D)) * draw.uniform(N, 1, low=0.7, high=4.0)


def _vectors(draw: Draw, D: int | None = None) -> Values:
    z_i, z_j = _of_length(draw, 2, draw.integer(3, 8) if D is None else D)
    return {"z_i": z_i, "z_j": z_j}


def _branches(draw: Draw, N: int | None = None, D: int | None = None, scale: float = 1.0, dtype=torch.float64) -> Values:
    """Two branches of unequal sizes, N at least 3."""
    size, width = draw.sizes(2, 3, 8)
    N, D = size if N is None else N, width if D is None else D
    return {name: (_of_length(draw, N, D) * scale).to(dtype) for name in ("out_left", "out_right")}


def _rows(draw: Draw, **options) -> Values:
    return {"out": torch.cat(list(_branches(draw, **options).values()))}


def _opposite(draw: Draw) -> Values:
    """Views that are equal up to their length, and views that point the other way."""
    left = _branches(draw, D=5)["out_left"]
    signs = torch.tensor([1.0, -1.0, 1.0], dtype=left.dtype).repeat(len(left))[: len(left), None]
    return {"out_left": left, "out_right": left * signs * 2}


def _temperatures(draw: Draw, low: float = 0.2, high: float = 0.8, branches: Callable = _branches, **options) -> Values:
    tau = round(float(draw.uniform(low=low, high=high)), 3)
    return {**branches(draw, **options), "tau": tau}


def _low_temperatures(draw: Draw, taus: tuple[float, ...], dtype: torch.dtype) -> Values:
    """Beyond the course's: two branches, and one pair of opposite views."""
    left = _of_length(draw, 1, 4).to(dtype)
    return {**_branches(draw, dtype=dtype), "left": left, "opposite": -2 * left, "taus": list(taus)}


# --- Cosines and losses: cases ---


def _tensor(value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise WrongReturn(f"it returned a {type(value).__name__}; wanted a tensor, through which a gradient can come back")
    return value


def _published(case: str, run: Callable, outputs: Callable) -> Case:
    """A case on the project's recorded tensors. outputs: what is expected, by name, from the record."""
    record = expected(TOPIC)[case]
    inputs = {key: torch.tensor(value, dtype=torch.float64) for key, value in record["inputs"].items()}
    wanted = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in outputs(record["expected"]).items()}
    limits, about = dict.fromkeys(wanted, 1e-6), "on the tensors of the notebook"
    return Case("values of the course", lambda _: inputs, run, published=wanted, limits=limits, about=about, **EXACT)


def _device(draw: Callable[[Draw], Values], run: Callable) -> Case:
    """The inputs on another device. Whether the result comes back to the CPU is left open."""

    def call(lesson, inputs: Values) -> Tensor:
        try:
            return next(iter(run(lesson, inputs).values()))
        except NotImplementedError as error:
            if "Cannot copy out of meta tensor" in str(error):
                return next(value for value in inputs.values() if isinstance(value, Tensor))
            raise

    return device_case(draw, call)


def _common(
    draw: Callable, run: Callable, special: Mapping[str, Callable], scaled: tuple[Callable, Callable] | None = None
) -> list[Case]:
    """Values and gradients; further draws, by name; large and small numbers and float32, on `scaled` (draw, run) if given."""
    many, run_many = scaled or (draw, run)
    return [
        Case("values on random inputs", draw, run, **EXACT),
        Case("gradients", draw, gradients_of(run), **GRADIENT),
        *(Case(name, its_draw, run, **EXACT) for name, its_draw in special.items()),
        Case("large values", partial(many, scale=LONG_ROWS), run_many, **TIGHT),
        Case("short rows", partial(many, scale=SHORT_ROWS), run_many, **SHORT),
        Case("float32", partial(many, dtype=torch.float32), run_many, **SINGLE),
        _device(draw, run),
    ]


def _sim(lesson, inputs: Values) -> Values:
    return unpack(lesson.sim(inputs["z_i"], inputs["z_j"]), "similarity")


def _sim_of_rows(lesson, inputs: Values) -> Values:
    return unpack(lesson.sim(inputs["z_i"][None], inputs["z_j"][None]), "similarity")


def _sim_of_rows_as_number(lesson, inputs: Values) -> Values:
    value = _tensor(_sim_of_rows(lesson, inputs)["similarity"])
    return {"similarity": value.reshape(()) if value.numel() == 1 else value}


def _sim_of_pairs(lesson, inputs: Values) -> Values:
    return {"similarities": torch.stack([_tensor(lesson.sim(a, b)) for a, b in zip(*inputs.values())])}


def _pairs(lesson, inputs: Values) -> Values:
    return unpack(lesson.sim_positive_pairs(*inputs.values()), "similarities")


def _matrix(lesson, inputs: Values) -> Values:
    return unpack(lesson.compute_sim_matrix(inputs["out"]), "similarities")


def _published_matrix(lesson, inputs: Values) -> Values:
    return _matrix(lesson, {"out": torch.cat([inputs["left"], inputs["right"]])})


def _loss_cases(name: str, *further: Case) -> tuple[Case, ...]:
    """The cases of one form of the loss; the notes come last."""

    def loss(lesson, inputs: Values) -> Values:
        return unpack(getattr(lesson, name)(inputs["out_left"], inputs["out_right"], inputs["tau"]), "loss")

    def at_each_tau(lesson, inputs: Values) -> Values:
        tensors, taus = [v for v in inputs.values() if isinstance(v, Tensor)], inputs.get("taus", TAUS)
        branches, function = list(zip(tensors[::2], tensors[1::2])), getattr(lesson, name)
        return {"losses": torch.stack([_tensor(function(*both, tau)) for both in branches for tau in taus])}

    def lower(title: str, taus: tuple[float, ...], dtype: torch.dtype, note: str, limits: dict) -> Case:
        return Case(title, partial(_low_temperatures, taus=taus, dtype=dtype), at_each_tau, note=note, **limits)

    special = {
        "small temperature": partial(_temperatures, low=0.06, high=0.09),
        "large temperature": partial(_temperatures, low=3.0, high=9.0),
        "equal and opposite views": partial(_temperatures, branches=_opposite),
        "as many pairs as features": partial(_temperatures, N=5, D=5),
        "many pairs": partial(_temperatures, N=40, D=6),
    }
    return (
        _published("simclr_n4_d8", at_each_tau, lambda r: {"losses": [r["loss"]["value_by_tau"][str(tau)] for tau in TAUS]}),
        *_common(_temperatures, loss, special),
        Case("one pair", partial(_temperatures, N=1), gradients_of(loss), rtol=1e-7, atol=1e-7),
        *further,
        lower("very small temperature", (0.01, 0.007, 0.004), torch.float64, LEFT_OUT, EXACT),
        lower("float32, small temperature", (0.05, 0.02, 0.006), torch.float32, OVERFLOW, {**SINGLE, "atol": 1e-3}),
    )


def _loss_on(lesson, inputs: Values, device: torch.device | str) -> Tensor:
    return lesson.simclr_loss_vectorized(inputs["out_left"], inputs["out_right"], inputs["tau"], device=device)


def _loss_on_named_device(lesson, inputs: Values) -> Values:
    return {"loss": _loss_on(lesson, inputs, inputs["out_left"].device), "named": _loss_on(lesson, inputs, "cpu")}


# --- train ---


class _Network(torch.nn.Module):
    """Images (B, 3, h, w) -> (feature, projection), with batch norm; keeps a list of what passes."""

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.f = torch.nn.Parameter(parameters["f"].clone())
        self.g = torch.nn.Parameter(parameters["g"].clone())
        self.norm = torch.nn.BatchNorm1d(len(self.f.T), affine=False, dtype=self.f.dtype)
        self.passes: list[tuple[int, bool]] = []

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.passes.append((len(x), self.training))
        feature = self.norm(x.flatten(1) @ self.f)
        return F.normalize(feature), F.normalize(feature.tanh() @ self.g)


class _Watched(torch.optim.SGD):
    """Notes for each step whether there were gradients."""

    def __init__(self, parameters, rate: float) -> None:
        super().__init__(parameters, lr=rate, momentum=0.5)
        self.steps: list[bool] = []

    def step(self, closure=None):
        result = super().step(closure)
        self.steps.append(any(p.grad is not None for group in self.param_groups for p in group["params"]))
        return result


def _train_inputs(draw: Draw, sizes=(4, 4, 3)) -> Values:
    tau = round(float(draw.uniform(low=0.15, high=0.4)), 3)
    batches = [[draw.normal(size, 3, 2, 1), draw.normal(size, 3, 2, 1), draw.integers(0, 10, size)] for size in sizes]
    return {"batches": batches, "f": draw.normal(6, 4), "g": draw.normal(4, 5), "temperature": tau, "rate": 0.3}


def _epoch(lesson, inputs: Values, network=None, optimiser=None, **options) -> Values:
    """Mean loss and weights after an epoch."""
    network = network or _Network(inputs)
    optimiser = optimiser or _Watched(network.parameters(), inputs["rate"])
    loss = lesson.train(network, inputs["batches"], optimiser, 1, 2, device="cpu", **options)
    return {"mean loss": loss, "f": network.f.detach(), "g": network.g.detach()}


def _train(lesson, inputs: Values, **options) -> Values:
    network = _Network(inputs)
    optimiser = _Watched(network.parameters(), inputs["rate"])
    averages = network.norm.running_mean
    assert averages is not None  # this layer keeps them
    return {
        **_epoch(lesson, inputs, network, optimiser, temperature=inputs["temperature"], **options),
        "images in each pass": [size for size, _ in network.passes],
        "steps with a gradient": optimiser.steps,
        "train mode": all(training for _, training in network.passes),
        "train mode afterwards": network.training,
        "averages of the batch norm moved": bool(averages.any()),
    }


def _train_after_use(lesson, inputs: Values, gradients: bool = False) -> Values:
    """What came before the epoch has left the model in eval mode, or with gradients."""
    network = _Network(inputs).train(gradients)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter) if gradients else None
    return _epoch(lesson, inputs, network, temperature=inputs["temperature"])


def _train_with_frozen_part(lesson, inputs: Values) -> Values:
    """The optimiser holds one of the two weights only."""
    network = _Network(inputs)
    return _epoch(lesson, inputs, network, _Watched([network.f], inputs["rate"]), temperature=inputs["temperature"])


def _train_with_own_loss(lesson, inputs: Values) -> Values:
    """Whether the loss that is handed in is the one used, and each step reported once, where the function takes these."""
    temperatures, steps = [], []

    def own_loss(out_left: Tensor, out_right: Tensor, tau: float, device=None) -> Tensor:
        temperatures.append(round(float(tau), 6))
        return lesson.simclr_loss_vectorized(out_left, out_right, tau)

    if {"loss_function", "on_batch"} <= set(inspect.signature(lesson.train).parameters):
        _train(lesson, inputs, loss_function=own_loss, on_batch=lambda step, _: steps.append(step))
    else:
        steps = list(range(1, len(inputs["batches"]) + 1))
        temperatures = [inputs["temperature"]] * len(steps)
    return {"temperatures given to loss_function": temperatures, "calls of on_batch": steps}


def _inputs_with_nan(draw: Draw) -> Values:
    inputs = _train_inputs(draw)
    inputs["batches"][1][0][0] = torch.nan
    return inputs


def _train_on_nan(lesson, inputs: Values) -> Values:
    """An image that is no number must end the epoch, in the words of the docstring."""
    try:
        _train(lesson, inputs)
    except ValueError:
        return {"error at a loss that is not finite": "ValueError"}
    return {"error at a loss that is not finite": "none"}


_exercise = partial(Exercise, topic=TOPIC)
EXERCISES = (
    _exercise(
        "compute_train_transform",
        difficulty=1,
        minutes=20,
        seeds=True,
        cases=(
            Case("stream of random views", _transform_inputs, _views, **PIXELS, about="16 views of one image"),
            Case("image of 32 x 32", partial(_transform_inputs, height=32, width=32), _views, **PIXELS),
            Case("many views", partial(_transform_inputs, height=20, width=24, count=200), _one_pixel_of_views, **PIXELS),
            Case(
                "seed of the course", partial(_transform_inputs, height=24, width=32, count=5, seeded=False), _views, **PIXELS
            ),
        ),
        hints=(
            "which four things may happen to an image, and in which order does the docstring name them?",
            "three of the four happen only with some probability. Which one has that as an argument, and which needs a "
            "transform around it?",
            "the colour jitter is ready in `colour_jitter`; it should be applied to about 8 of 10 images, grey to 2 of 10.",
        ),
    ),
    _exercise(
        "CIFAR10Pair.__getitem__",
        difficulty=1,
        minutes=15,
        cases=(
            Case("two random views", _data_inputs, _pair),
            Case("every index", _data_inputs, _pair_of_every_index),
            Case("asked twice", _data_inputs, _pair_twice, about="as in two epochs"),
            Case("without a transform", _data_inputs, _pair_without_transform),
            Case("with a target transform", _data_inputs, _pair_with_target_transform),
        ),
        hints=(
            "how often must the random transform be called to give two different views?",
            "both calls start from the same PIL image; a data set without a transform keeps None for both.",
        ),
    ),
    _exercise(
        "sim",
        difficulty=1,
        minutes=10,
        cases=(
            _published(
                "simclr_n2_d3", _sim_of_pairs, lambda r: {"similarities": [row[0] for row in r["sim_positive_pairs"]["value"]]}
            ),
            *_common(
                _vectors,
                _sim,
                {"many features": partial(_vectors, D=300)},
                scaled=(partial(_branches, N=6, D=3), _sim_of_pairs),
            ),
            Case("many pairs", partial(_branches, N=6, D=3), _sim_of_pairs, **EXACT),
            Case("rows (1, D)", _vectors, _sim_of_rows_as_number, **EXACT),
            Case("shape for rows (1, D)", _vectors, _sim_of_rows, note=ONE_NUMBER, **EXACT),
        ),
        hints=(
            "what is left of a dot product once the lengths of both vectors are taken out?",
            "the docstring also allows vectors that lie in a row, (1, D); the result has no axis in either case.",
        ),
        whole_calls={"cosine_similarity": COSINE},
    ),
    _exercise(
        "simclr_loss_naive",
        difficulty=2,
        minutes=40,
        needs=("sim",),
        cases=_loss_cases("simclr_loss_naive"),
        hints=(
            "take one row i of the 2N. Which row is its positive partner, and which rows are in the sum under the logarithm?",
            "only i itself is left out of the sum; the partner stays in. Each of the 2N rows is the anchor once.",
            "l(i, j) has two parts: minus the partner's cosine over tau, and the logarithm of the sum; the loss is the mean.",
        ),
    ),
    _exercise(
        "sim_positive_pairs",
        difficulty=1,
        minutes=10,
        needs=("sim",),
        cases=(
            _published("simclr_n3_d6_signed", _pairs, lambda r: {"similarities": r["sim_positive_pairs"]["value"]}),
            *_common(
                _branches,
                _pairs,
                {
                    "equal and opposite views": _opposite,
                    "as many pairs as features": partial(_branches, N=5, D=5),
                    "one pair": partial(_branches, N=1),
                },
            ),
        ),
        hints=(
            "row k of one branch meets row k of the other, and no other row. Along which axis do you sum?",
            "each row is divided by its own length; the result keeps an axis of size 1: (N, 1).",
        ),
        whole_calls={"cosine_similarity": COSINE},
    ),
    _exercise(
        "compute_sim_matrix",
        difficulty=1,
        minutes=15,
        needs=("sim", "sim_positive_pairs"),
        cases=(
            _published("simclr_n3_d6_signed", _published_matrix, lambda r: {"similarities": r["compute_sim_matrix"]["value"]}),
            *_common(_rows, _matrix, {"as many rows as features": partial(_rows, N=3, D=6), "one pair": partial(_rows, N=1)}),
        ),
        hints=(
            "if every row had length 1, what would the product of the matrix with its transpose hold at (i, k)?",
            "the length of a row is taken along the axis of the features, with the axis kept, so that it divides row by row.",
        ),
        whole_calls={"cosine_similarity": COSINE},
    ),
    _exercise(
        "simclr_loss_vectorized",
        difficulty=3,
        minutes=35,
        needs=("sim", "sim_positive_pairs", "compute_sim_matrix"),
        no_loop=True,
        cases=(
            *_loss_cases("simclr_loss_vectorized", Case("a device by name", _temperatures, _loss_on_named_device, **EXACT)),
            replace(named_device_case(_temperatures, _loss_on), note=NAMED),
        ),
        hints=(
            "the matrix of all cosines over tau has one row for each anchor. Which entry of row i must not take part?",
            "the partner of row i is N rows further, and for the lower half N rows back.",
            "of row i two numbers are needed: the partner's entry, and the logarithm of the sum of the exponentials of all "
            "entries but one. The loss is a mean over all 2N rows.",
        ),
    ),
    _exercise(
        "train",
        difficulty=2,
        minutes=35,
        needs=("simclr_loss_vectorized",),
        cases=(
            Case("an epoch of three batches", _train_inputs, _train, **GRADIENT),
            Case("one batch", partial(_train_inputs, sizes=(5,)), _train, **GRADIENT),
            Case("a model in eval mode", _train_inputs, _train_after_use, **GRADIENT),
            Case("optimiser of one part", _train_inputs, _train_with_frozen_part, **GRADIENT),
            Case("temperature by default", _train_inputs, _epoch, **GRADIENT),
            Case("loss_function used", _train_inputs, _train_with_own_loss),
            Case("a large batch", partial(_train_inputs, sizes=(37, 3)), _train, **GRADIENT),
            Case("an image of NaN", _inputs_with_nan, _train_on_nan),
            Case(
                "gradients left from before",
                _train_inputs,
                partial(_train_after_use, gradients=True),
                note=LEFT_BEHIND,
                **GRADIENT,
            ),
        ),
        hints=(
            "the model returns two things for a batch. Which of them is the projection?",
            "each view passes through the model by itself: two calls a batch.",
            "a step of training: gradients of the last step away, gradients of this loss, one step of the optimiser. What "
            "happens if one of the three is missing?",
        ),
    ),
)
