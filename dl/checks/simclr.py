"""The cases of the exercises of `dl/simclr/`."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor

from dl.checks.devices import device_case, named_device_case
from dl.checks.exercise import Case, Draw, Exercise, Values, WrongReturn, track, unpack, with_gradients
from dl.checks.published import expected

TOPIC = "simclr"
EXACT = {"rtol": 1e-5, "atol": 1e-7}  # in float64; leaves room for an epsilon of 1e-6 in a denominator, not for 1e-4
GRADIENT = {"rtol": 1e-4, "atol": 1e-5}  # in float64; an epsilon shows more there, where terms cancel
SINGLE = {"rtol": 1e-4, "atol": 1e-5}
TIGHT = {"rtol": 1e-9, "atol": 1e-10}  # for long vectors in float64, where no epsilon shows, but single precision does
SHORT = {"rtol": 1e-3, "atol": 1e-4}  # for short vectors: an epsilon of 1e-6 may show, a floor of 0.1 may not
TAUS = (5.0, 1.0, 0.5, 0.05, 0.01)
COSINE = "torch's cosine_similarity does the whole exercise, and does it well; write the formula once yourself as well."
OVERFLOW = ("in float32 exp(cosine / tau) overflows where tau is below 0.011, unless the largest exponent is taken out first: "
            "what does torch offer for the logarithm of a sum of exponentials?")

SUBTRACTED = ("at a small tau the term of k = i is by far the largest. Added and subtracted again, it leaves nothing but "
              "rounding errors of the others: leave it out from the start.")


# --- Augmentation ---


def _picture(draw: Draw, height: int, width: int) -> Tensor:
    """uint8 (height, width, 3): a few colours with soft borders, so that crops and changes of colour can be told apart."""
    coarse = draw.uniform(1, 3, 4, 5, high=255.0, dtype=torch.float32)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)[0]
    return fine.permute(1, 2, 0).to(torch.uint8)


def _transform_inputs(draw: Draw, height: int = 30, width: int = 44, count: int = 16) -> Values:
    return {"picture": _picture(draw, height, width), "seed": draw.integer(1, 10**6), "count": count}


def _views(lesson, inputs: Values) -> Values:
    """Twelve numbers of each of many views of one picture."""
    from PIL import Image

    picture = Image.fromarray(inputs["picture"].numpy())
    transform = lesson.compute_train_transform(inputs["seed"])
    views = [transform(picture) for _ in range(inputs["count"])]
    return {"shape": [list(view.shape) for view in views[:3]],
            "views": torch.stack([view[:, 6::18, 9::18] for view in views])}


def _many_views(lesson, inputs: Values) -> Values:
    """One pixel of so many views that a probability that is off by a tenth shows."""
    from PIL import Image

    picture = Image.fromarray(inputs["picture"].numpy())
    transform = lesson.compute_train_transform(inputs["seed"])
    return {"pixels": torch.stack([transform(picture)[:, 9, 6] for _ in range(inputs["count"])])}


def _default_seed(lesson, inputs: Values) -> Values:
    from PIL import Image

    torch.manual_seed(inputs["seed"])
    transform = lesson.compute_train_transform()
    return {"views": torch.stack([transform(Image.fromarray(inputs["picture"].numpy()))[:, 6::18, 9::18] for _ in range(5)])}


# --- Pairs ---


class _Noisy:
    """A random transform: pixels of a PIL picture plus one random number."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, picture) -> Tensor:
        import numpy as np

        self.calls += 1
        pixels = torch.from_numpy(np.asarray(picture.convert("RGB"), dtype=np.float64))  # a PIL picture has `convert`
        return (pixels.permute(2, 0, 1) / 255 + 10 * torch.rand((), dtype=torch.float64)).float()


def _data_inputs(draw: Draw) -> Values:
    index = draw.integer(1, 4)
    first = draw.integer(0, 10)
    return {"data": draw.integers(0, 256, 5, 4, 6, 3).to(torch.uint8),
            "targets": [first, (first + 3) % 10, first, (first + 3) % 10, first], "index": index}


def _dataset(lesson, inputs: Values, transform, target_transform=None):
    """A `CIFAR10Pair` on drawn pictures, without files."""
    dataset = lesson.CIFAR10Pair.__new__(lesson.CIFAR10Pair)
    dataset.data, dataset.targets = inputs["data"].numpy(), list(inputs["targets"])
    dataset.transform, dataset.target_transform, dataset.train = transform, target_transform, True
    return dataset


def _plain(view: object) -> object:
    return view if view is None or isinstance(view, Tensor) else f"a {type(view).__name__}"


def _pair(lesson, inputs: Values) -> Values:
    return _views_of(_dataset(lesson, inputs, _Noisy())[inputs["index"]])


def _views_of(pair: tuple) -> Values:
    """The two views, the one with the smaller random number first: which of them is drawn first is left open."""
    item = unpack(pair, "x_i", "x_j", "target")
    views = [_plain(item["x_i"]), _plain(item["x_j"])]
    if all(isinstance(view, Tensor) for view in views):
        views.sort(key=lambda view: float(view.mean()))
    return {"view": views[0], "other view": views[1], "target": item["target"]}


def _pair_twice(lesson, inputs: Values) -> Values:
    """The same index again, as in the next epoch, and the random number that comes after both."""
    dataset = _dataset(lesson, inputs, _Noisy())
    first, again = (_views_of(dataset[inputs["index"]]) for _ in range(2))
    return {**first, **{f"{name}, asked again": value for name, value in again.items()}, "next random number": torch.rand(())}


def _pair_of_every_index(lesson, inputs: Values) -> Values:
    dataset = _dataset(lesson, inputs, lambda picture: torch.tensor(list(picture.convert("RGB").getpixel((2, 1)))))
    items = [unpack(dataset[index], "x_i", "x_j", "target") for index in range(len(inputs["targets"]))]
    return {name: [_plain(item[name]) for item in items] for name in ("x_i", "x_j")} | {
        "target": [item["target"] for item in items]}


def _pair_without_transform(lesson, inputs: Values) -> Values:
    item = unpack(_dataset(lesson, inputs, None)[inputs["index"]], "x_i", "x_j", "target")
    return {"x_i": _plain(item["x_i"]), "x_j": _plain(item["x_j"]), "target": item["target"]}


def _pair_with_target_transform(lesson, inputs: Values) -> Values:
    item = unpack(_dataset(lesson, inputs, _Noisy(), lambda target: 10 * target + 3)[inputs["index"]], "x_i", "x_j", "target")
    return {"target": item["target"]}


# --- Cosines and losses: published tensors ---


def _case(name: str) -> tuple[Values, dict]:
    record = expected(TOPIC)[name]
    return {key: torch.tensor(value, dtype=torch.float64) for key, value in record["inputs"].items()}, record["expected"]


def _published(case: str, run, outputs) -> Case:
    """A case on the project's recorded tensors. outputs: what is expected, by name, from the record."""
    inputs, record = _case(case)
    wanted = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in outputs(record).items()}
    return Case("values of the course", lambda draw: inputs, run, published=wanted, limits=dict.fromkeys(wanted, 1e-6),
                 about="on the tensors of the notebook", **EXACT)


def _losses_at(record: dict) -> dict:
    values = {**record["loss"]["value_by_tau"], **record["loss_overflow_guard"]["value_by_tau"]}
    return {"losses": [values[str(tau)] for tau in TAUS]}


# --- sim ---


def _of_length(draw: Draw, N: int, D: int) -> Tensor:
    """(N, D) rows of any direction, their lengths between 0.7 and 4: none so short that an epsilon would show."""
    return torch.nn.functional.normalize(draw.normal(N, D)) * draw.uniform(N, 1, low=0.7, high=4.0)


LONG_ROWS, SHORT_ROWS = 1e5, 0.02  # factors of these lengths


def _vectors(draw: Draw, scale: float = 1.0, dtype=torch.float64, D: int | None = None) -> Values:
    D = draw.integer(3, 8) if D is None else D
    z_i, z_j = (_of_length(draw, 2, D) * scale).to(dtype)
    return {"z_i": z_i, "z_j": z_j}


def _sim(lesson, inputs: Values) -> Values:
    return unpack(lesson.sim(inputs["z_i"], inputs["z_j"]), "similarity")


def _sim_of_rows(lesson, inputs: Values) -> Values:
    return unpack(lesson.sim(inputs["z_i"][None], inputs["z_j"][None]), "similarity")


def _some_pairs(draw: Draw, scale: float = 1.0) -> Values:
    return {side: _of_length(draw, 6, 3) * scale for side in ("left", "right")}


def _sim_of_pairs(lesson, inputs: Values) -> Values:
    return {"similarities": [lesson.sim(a, b) for a, b in zip(inputs["left"], inputs["right"], strict=True)]}


def _sim_of_published(lesson, inputs: Values) -> Values:
    values = [lesson.sim(a, b) for a, b in zip(inputs["left"], inputs["right"], strict=True)]
    return {"similarities": torch.stack([_tensor(value) for value in values])}


def _tensor(value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise WrongReturn(f"it returned a {type(value).__name__}; wanted a tensor, through which a gradient can come back")
    return value


def _sim_gradients(lesson, inputs: Values) -> Values:
    wanted = track(inputs, "z_i", "z_j")
    return with_gradients(_sim(lesson, inputs), wanted)


# --- batches ---


def _branches(draw: Draw, N: int | None = None, D: int | None = None, scale: float = 1.0, dtype=torch.float64) -> Values:
    """Two branches of unequal sizes, N at least 3."""
    size, width = draw.sizes(2, 3, 8)
    N, D = size if N is None else N, width if D is None else D
    return {name: (_of_length(draw, N, D) * scale).to(dtype) for name in ("out_left", "out_right")}


def _square(draw: Draw) -> Values:
    size = draw.integer(3, 6)
    return _branches(draw, size, size)


def _rows(draw: Draw, **options) -> Values:
    branches = _branches(draw, **options)
    return {"out": torch.cat([branches["out_left"], branches["out_right"]])}


def _square_rows(draw: Draw) -> Values:
    pairs = draw.integer(2, 4)
    return _rows(draw, N=pairs, D=2 * pairs)


def _opposite(draw: Draw) -> Values:
    """Views that are equal up to their length, and views that point the other way."""
    inputs = _branches(draw, D=5)
    left = inputs["out_left"]
    signs = torch.tensor([1.0, -1.0, 1.0], dtype=left.dtype).repeat(len(left))[: len(left), None]
    return {"out_left": left, "out_right": left * signs * 2}


def _one_opposite_pair(draw: Draw) -> Values:
    left = _of_length(draw, 1, 4)
    return {"out_left": left, "out_right": -2 * left}


def _pairs(lesson, inputs: Values) -> Values:
    return unpack(lesson.sim_positive_pairs(inputs["out_left"], inputs["out_right"]), "similarities")


def _published_pairs(lesson, inputs: Values) -> Values:
    return unpack(lesson.sim_positive_pairs(inputs["left"], inputs["right"]), "similarities")


def _pairs_gradients(lesson, inputs: Values) -> Values:
    wanted = track(inputs, "out_left", "out_right")
    return with_gradients(_pairs(lesson, inputs), wanted)


def _matrix(lesson, inputs: Values) -> Values:
    return unpack(lesson.compute_sim_matrix(inputs["out"]), "similarities")


def _published_matrix(lesson, inputs: Values) -> Values:
    return unpack(lesson.compute_sim_matrix(torch.cat([inputs["left"], inputs["right"]])), "similarities")


def _matrix_gradients(lesson, inputs: Values) -> Values:
    wanted = track(inputs, "out")
    return with_gradients(_matrix(lesson, inputs), wanted)


def _with_tau(draw_branches, low: float = 0.2, high: float = 0.8, **options):
    def draw_inputs(draw: Draw) -> Values:
        tau = round(float(draw.uniform(low=low, high=high)), 3)
        return {**draw_branches(draw, **options), "tau": tau}

    return draw_inputs


def _loss_cases(name: str) -> tuple[Case, ...]:
    """The cases that both forms of the loss share."""

    def loss(lesson, inputs: Values) -> Values:
        return unpack(getattr(lesson, name)(inputs["out_left"], inputs["out_right"], inputs["tau"]), "loss")

    def gradients(lesson, inputs: Values) -> Values:
        wanted = track(inputs, "out_left", "out_right")
        return with_gradients(loss(lesson, inputs), wanted)

    def published(lesson, inputs: Values) -> Values:
        losses = [getattr(lesson, name)(inputs["left"], inputs["right"], tau) for tau in TAUS]
        return {"losses": torch.stack([_tensor(value) for value in losses])}

    return (
        _published("simclr_n4_d8", published, _losses_at),
        Case("values on random inputs", _with_tau(_branches), loss, **EXACT),
        Case("gradients", _with_tau(_branches), gradients, **GRADIENT),
        Case("small temperature", _with_tau(_branches, 0.06, 0.09), loss, **EXACT),
        Case("large temperature", _with_tau(_branches, 3.0, 9.0), loss, **EXACT),
        Case("equal and opposite views", _with_tau(_opposite), loss, **EXACT),
        Case("one pair", _with_tau(_branches, N=1), gradients, rtol=1e-7, atol=1e-7),
        Case("as many pairs as features", _with_tau(_square), loss, **EXACT),
        Case("many pairs", _with_tau(_branches, N=40, D=6), loss, **EXACT),
        Case("large values", _with_tau(_branches, scale=LONG_ROWS), loss, **TIGHT),
        Case("short rows", _with_tau(_branches, scale=SHORT_ROWS), loss, **SHORT),
        Case("very small temperature", _with_tau(_branches, 0.004, 0.009), loss, **EXACT),
        Case("one pair of opposite views", _with_tau(_one_opposite_pair, 0.004, 0.009), loss, **EXACT),
        Case("float32", _with_tau(_branches, dtype=torch.float32), loss, **SINGLE),
        Case("float32, small temperature", _with_tau(_branches, 0.045, 0.055, dtype=torch.float32), loss, **SINGLE),
        device_case(_with_tau(_branches), lambda lesson, inputs: loss(lesson, inputs)["loss"]),
    )


def _loss_on_named_device(lesson, inputs: Values) -> Values:
    call, device = lesson.simclr_loss_vectorized, inputs["out_left"].device
    arguments = inputs["out_left"], inputs["out_right"], inputs["tau"]
    return {"loss": call(*arguments, device=device), "named": call(*arguments, "cpu")}


# --- train ---


class _Network(torch.nn.Module):
    """Pictures (B, 3, h, w) -> (feature, projection), with batch norm; keeps a list of what passes."""

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.f = torch.nn.Parameter(parameters["f"].clone())
        self.g = torch.nn.Parameter(parameters["g"].clone())
        self.norm = torch.nn.BatchNorm1d(len(self.f.T), affine=False, dtype=self.f.dtype)
        self.passes: list[tuple[int, bool]] = []

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.passes.append((len(x), self.training))
        feature = self.norm(x.flatten(1) @ self.f)
        return torch.nn.functional.normalize(feature), torch.nn.functional.normalize(feature.tanh() @ self.g)


def _train_inputs(draw: Draw, sizes=(4, 4, 3), temperature: float | None = None) -> Values:
    tau = round(float(draw.uniform(low=0.15, high=0.4)), 3) if temperature is None else temperature
    batches = [[draw.normal(size, 3, 2, 1), draw.normal(size, 3, 2, 1), draw.integers(0, 10, size)] for size in sizes]
    return {"batches": batches, "f": draw.normal(6, 4), "g": draw.normal(4, 5), "temperature": tau, "rate": 0.3}


class _Watched(torch.optim.SGD):
    """Notes for each step whether there were gradients."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.steps: list[bool] = []

    def step(self, closure=None):
        result = super().step(closure)
        self.steps.append(any(p.grad is not None for group in self.param_groups for p in group["params"]))
        return result


def _optimiser(network: torch.nn.Module, inputs: Values) -> _Watched:
    return _Watched(network.parameters(), lr=inputs["rate"], momentum=0.5)


def _train(lesson, inputs: Values, **options) -> Values:
    network = _Network(inputs)
    optimiser = _optimiser(network, inputs)
    loss = lesson.train(network, inputs["batches"], optimiser, 1, 2, temperature=inputs["temperature"], device="cpu",
                        **options)
    return {"mean loss": loss, "f": network.f.detach(), "g": network.g.detach(),
            "pictures in each pass": [size for size, _ in network.passes], "steps with a gradient": optimiser.steps,
            "train mode": all(training for _, training in network.passes), "train mode afterwards": network.training,
            "averages of the batch norm moved": bool(network.norm.running_mean.any())}


def _train_with_old_gradients(lesson, inputs: Values) -> Values:
    """Something before the epoch has left gradients in the model, and the model in eval mode."""
    network = _Network(inputs).eval()
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser = _optimiser(network, inputs)
    loss = lesson.train(network, inputs["batches"], optimiser, 1, 2, temperature=inputs["temperature"], device="cpu")
    return {"mean loss": loss, "f": network.f.detach(), "g": network.g.detach()}


def _train_with_frozen_part(lesson, inputs: Values) -> Values:
    """The optimiser holds one of the two weights only."""
    network = _Network(inputs)
    optimiser = torch.optim.SGD([network.f], lr=inputs["rate"])
    lesson.train(network, inputs["batches"], optimiser, 1, 2, temperature=inputs["temperature"], device="cpu")
    return {"f": network.f.detach(), "g": network.g.detach()}


def _train_with_default_temperature(lesson, inputs: Values) -> Values:
    network = _Network(inputs)
    loss = lesson.train(network, inputs["batches"], _optimiser(network, inputs), 1, 2, device="cpu")
    return {"mean loss": loss, "f": network.f.detach()}


def _train_with_own_loss(lesson, inputs: Values) -> Values:
    """Whether the loss that is handed in is the one used, and each step reported once, where the function takes these."""
    count = len(inputs["batches"])
    temperatures, steps = [], []

    def own_loss(out_left: Tensor, out_right: Tensor, tau: float, device=None) -> Tensor:
        temperatures.append(round(float(tau), 6))
        return lesson.simclr_loss_vectorized(out_left, out_right, tau)

    if {"loss_function", "on_batch"} <= set(inspect.signature(lesson.train).parameters):
        _train(lesson, inputs, loss_function=own_loss, on_batch=lambda step, _: steps.append(step))
    else:
        temperatures, steps = [inputs["temperature"]] * count, list(range(1, count + 1))
    return {"temperatures given to loss_function": temperatures, "calls of on_batch": steps}


def _inputs_with_nan(draw: Draw) -> Values:
    inputs = _train_inputs(draw)
    inputs["batches"][1][0][0] = torch.nan
    return inputs


def _train_on_nan(lesson, inputs: Values) -> Values:
    """A picture that is no number must end the epoch, in the words of the docstring."""
    try:
        _train(lesson, inputs)
    except ValueError:
        return {"error at a loss that is not finite": "ValueError"}
    return {"error at a loss that is not finite": "none"}


EXERCISES = (
    Exercise(
        "compute_train_transform", TOPIC, seeds=True,
        cases=(
            Case("stream of random views", _transform_inputs, _views, rtol=1e-5, atol=1e-5, about="16 views of one picture"),
            Case("picture of 32 x 32", lambda draw: _transform_inputs(draw, 32, 32), _views, rtol=1e-5, atol=1e-5),
            Case("many views", lambda draw: _transform_inputs(draw, 20, 24, 200), _many_views, rtol=1e-5, atol=1e-5),
            Case("seed of the course", lambda draw: _transform_inputs(draw, 24, 32), _default_seed, rtol=1e-5, atol=1e-5),
        ),
        hints=(
            "which four things may happen to a picture, and in which order does the docstring name them?",
            "three of the four happen only with some probability. Which one has that as an argument, and which needs a "
            "transform around it?",
            "the colour jitter is ready in `colour_jitter`; it should be applied to about 8 of 10 pictures, grey to 2 of 10.",
        ),
    ),
    Exercise(
        "CIFAR10Pair.__getitem__", TOPIC,
        cases=(
            Case("two random views", _data_inputs, _pair),
            Case("every index", _data_inputs, _pair_of_every_index),
            Case("asked twice", _data_inputs, _pair_twice, about="as in two epochs"),
            Case("without a transform", _data_inputs, _pair_without_transform),
            Case("with a target transform", _data_inputs, _pair_with_target_transform),
        ),
        hints=(
            "how often must the random transform be called to give two different views?",
            "both calls start from the same PIL picture; a data set without a transform keeps None for both.",
        ),
    ),
    Exercise(
        "sim", TOPIC,
        cases=(
            _published("simclr_n2_d3", _sim_of_published,
                       lambda record: {"similarities": [row[0] for row in record["sim_positive_pairs"]["value"]]}),
            Case("values on random inputs", _vectors, _sim, **EXACT),
            Case("rows (1, D)", _vectors, _sim_of_rows, **EXACT),
            Case("gradients", _vectors, _sim_gradients, **GRADIENT),
            Case("many pairs", _some_pairs, _sim_of_pairs, **EXACT),
            Case("many features", lambda draw: _vectors(draw, D=300), _sim, **EXACT),
            Case("large values", lambda draw: _some_pairs(draw, LONG_ROWS), _sim_of_pairs, **TIGHT),
            Case("short vectors", lambda draw: _vectors(draw, scale=SHORT_ROWS), _sim, **SHORT),
            Case("float32", lambda draw: _vectors(draw, dtype=torch.float32), _sim, **SINGLE),
            device_case(_vectors, lambda lesson, inputs: lesson.sim(inputs["z_i"], inputs["z_j"])),
        ),
        hints=(
            "what is left of a dot product once the lengths of both vectors are taken out?",
            "the docstring also allows vectors that lie in a row, (1, D); the result has no axis in either case.",
        ),
        whole_calls={"cosine_similarity": COSINE},
    ),
    Exercise(
        "simclr_loss_naive", TOPIC, needs=("sim",), cases=_loss_cases("simclr_loss_naive"),
        hints=(
            "take one row i of the 2N. Which row is its positive partner, and which rows are in the sum under the logarithm?",
            "only i itself is left out of the sum; the partner stays in. Each of the 2N rows is the anchor once.",
            "l(i, j) has two parts: minus the partner's cosine over tau, and the logarithm of the sum; the loss is the mean.",
            SUBTRACTED,
        ),
        whole_calls={"exp": OVERFLOW},
    ),
    Exercise(
        "sim_positive_pairs", TOPIC, needs=("sim",),
        cases=(
            _published("simclr_n3_d6_signed", _published_pairs,
                       lambda record: {"similarities": record["sim_positive_pairs"]["value"]}),
            Case("values on random inputs", _branches, _pairs, **EXACT),
            Case("gradients", _branches, _pairs_gradients, **GRADIENT),
            Case("equal and opposite views", _opposite, _pairs, **EXACT),
            Case("as many pairs as features", _square, _pairs, **EXACT),
            Case("one pair", lambda draw: _branches(draw, N=1), _pairs, **EXACT),
            Case("large values", lambda draw: _branches(draw, scale=LONG_ROWS), _pairs, **TIGHT),
            Case("short rows", lambda draw: _branches(draw, scale=SHORT_ROWS), _pairs, **SHORT),
            Case("float32", lambda draw: _branches(draw, dtype=torch.float32), _pairs, **SINGLE),
            device_case(_branches, lambda lesson, inputs: lesson.sim_positive_pairs(inputs["out_left"], inputs["out_right"])),
        ),
        hints=(
            "row k of one branch meets row k of the other, and no other row. Along which axis do you sum?",
            "each row is divided by its own length; the result keeps an axis of size 1: (N, 1).",
        ),
        whole_calls={"cosine_similarity": COSINE},
    ),
    Exercise(
        "compute_sim_matrix", TOPIC, needs=("sim", "sim_positive_pairs"),
        cases=(
            _published("simclr_n3_d6_signed", _published_matrix,
                       lambda record: {"similarities": record["compute_sim_matrix"]["value"]}),
            Case("values on random inputs", _rows, _matrix, **EXACT),
            Case("gradients", _rows, _matrix_gradients, **GRADIENT),
            Case("as many rows as features", _square_rows, _matrix, **EXACT),
            Case("one pair", lambda draw: _rows(draw, N=1), _matrix, **EXACT),
            Case("large values", lambda draw: _rows(draw, scale=LONG_ROWS), _matrix, **TIGHT),
            Case("short rows", lambda draw: _rows(draw, scale=SHORT_ROWS), _matrix, **SHORT),
            Case("float32", lambda draw: _rows(draw, dtype=torch.float32), _matrix, **SINGLE),
            device_case(_rows, lambda lesson, inputs: lesson.compute_sim_matrix(inputs["out"])),
        ),
        hints=(
            "if every row had length 1, what would the product of the matrix with its transpose hold at (i, k)?",
            "the length of a row is taken along the axis of the features, with the axis kept, so that it divides row by row.",
        ),
        whole_calls={"cosine_similarity": COSINE},
    ),
    Exercise(
        "simclr_loss_vectorized", TOPIC, needs=("sim", "sim_positive_pairs", "compute_sim_matrix"), no_loop=True,
        cases=(
            *_loss_cases("simclr_loss_vectorized"),
            Case("a device by name", _with_tau(_branches), _loss_on_named_device, **EXACT),
            named_device_case(_with_tau(_branches), lambda lesson, inputs, device: lesson.simclr_loss_vectorized(
                inputs["out_left"], inputs["out_right"], inputs["tau"], device=device)),
        ),
        hints=(
            "the matrix of all cosines over tau has one row for each anchor. Which entry of row i must not take part?",
            "the partner of row i is N rows further, and for the lower half N rows back.",
            "of row i two numbers are needed: the partner's entry, and the logarithm of the sum of the exponentials of all "
            "entries but one. The loss is a mean over all 2N rows.",
            SUBTRACTED,
        ),
        whole_calls={"exp": OVERFLOW},
    ),
    Exercise(
        "train", TOPIC, needs=("simclr_loss_vectorized",),
        cases=(
            Case("an epoch of three batches", _train_inputs, _train, **EXACT),
            Case("one batch", lambda draw: _train_inputs(draw, sizes=(5,)), _train, **EXACT),
            Case("gradients left from before", _train_inputs, _train_with_old_gradients, **EXACT),
            Case("optimiser of one part", _train_inputs, _train_with_frozen_part, **EXACT),
            Case("temperature by default", _train_inputs, _train_with_default_temperature, **EXACT),
            Case("loss_function used", _train_inputs, _train_with_own_loss),
            Case("a large batch", lambda draw: _train_inputs(draw, sizes=(37, 3)), _train, **EXACT),
            Case("a picture of NaN", _inputs_with_nan, _train_on_nan),
        ),
        hints=(
            "the model returns two things for a batch. Which of them is the projection?",
            "each view passes through the model by itself: two calls a batch.",
            "a step of training: gradients of the last step away, gradients of this loss, one step of the optimiser. What "
            "happens if one of the three is missing?",
        ),
    ),
)
