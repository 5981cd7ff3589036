"""The cases of the modules of `transformers.py`: attention, layer normalisation, feed-forward block, blocks, the model.

A module's parameters are filled with numbers of our own before its forward is looked at. They are found by what they
are (the shape of a matrix, a scale of ones, a shift of zeros), so that names which no docstring fixes stay free.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dl.checks.calls import Record
from dl.checks.compare import differs
from dl.checks.devices import device_case
from dl.checks.exercise import Case, Draw, Values, track, with_gradients
from dl.checks.published import expected, fill_with_ramp, load_case
from dl.models.transformer_roles import DECODER, ENCODER, ROLES, Roles, block_parts, listed_heads, owners
from dl.utils import dropout_as

TOPIC = "transformers"
SINGLE = (1e-4, 1e-5)  # rtol and atol in float32
COARSE = (0.1, 1e-6)  # how near the largest of some hundred uniform draws of one spread are to each other
MOST_TOKENS = 16  # of a sequence in a case
FOREIGN = (nn.Dropout, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)  # to a feed-forward block
PARTS = [-1.0]  # in place of dropout rates
MANY_ROWS = 4000  # of a batch, over which dropout is averaged
CHOSEN = {"Transformer": ("embedding", "encoder0.feed.in.weight", "decoder0.norm1.scale", "vocabulary.bias")}
Maker = Callable[..., Values]  # draws inputs, or runs a lesson on them


# --- Cases ---


def case(name: str, draw: Maker, run: Maker, near: float | tuple = 1e-6, note: str = "", dtype=None, **own) -> Case:
    """A case with the inputs `draw(draw, **own)`; near: rtol and atol, or one number for both. dtype: of floating inputs."""

    def drawn(numbers: Draw) -> Values:
        inputs = draw(numbers, **own)
        floats = [name for name, value in inputs.items() if isinstance(value, Tensor) and value.is_floating_point()]
        return {**inputs, **{name: inputs[name].to(dtype or inputs[name].dtype) for name in floats}}

    rtol, atol = near if isinstance(near, tuple) else (near, near)
    return Case(name, drawn, run, rtol, atol, note=note)


def sizes_of(draw: Draw, names: str, own: Mapping[str, int], low: int = 2, high: int = 7) -> list[int]:
    """A different size for each name, but for those with a size of their own."""
    wanted = names.split()
    return [own.get(name, size) for name, size in zip(wanted, draw.sizes(len(wanted), low, high), strict=True)]


def recorded(check: str, run: Maker, name: str = "values of the course", **options) -> Case:
    """A case on recorded tensors; `dy`, the masks of dropout and the constructor's sizes come along."""
    kept, record = expected(TOPIC)[check], load_case(TOPIC, check)
    inputs: Values = dict(record.inputs)
    if "construct" in kept:
        inputs["sizes"] = list(kept["construct"].values())
    if "dy" in kept:
        inputs["dy"] = torch.tensor(kept["dy"], dtype=torch.float64)
    if "dropout_calls" in kept:
        inputs["masks"] = [torch.tensor(call["keep_mask"]) for call in kept["dropout_calls"]]
    limits = {key: kept["tolerance"] for key in record.expected}
    return published(name, inputs, run, record.expected, limits, "on the tensors of the notebook", **options)


def published(
    name: str, inputs: Values, run: Maker, wanted: Values, limits: Values | None = None, about: str = "", **options
) -> Case:
    """A case on inputs of the course; limits: none are needed for whole numbers."""
    limits = limits or dict.fromkeys(wanted, 0.0)
    return Case(name, lambda draw: inputs, run, published=wanted, limits=limits, about=about, **options)


def forbidding(draw: Draw, N: int, queries: int, keys: int) -> Tensor:
    """A mask, another one for each sequence; every query keeps a key, and is forbidden one where there are two."""
    free = draw.integers(0, keys, N, queries)
    forbidden = (free + draw.integers(1, max(keys, 2), N, queries)) % keys
    mask = draw.uniform(N, queries, keys) < 0.4
    mask = mask.scatter(2, forbidden[..., None], True)
    return mask.scatter(2, free[..., None], False)


# --- Modules with parameters of our own ---


def _new(lesson, kind: str, inputs: Values) -> tuple[nn.Module, Roles]:
    module = getattr(lesson, kind)(*inputs["sizes"])
    return module, ROLES[kind](module, inputs["sizes"])


@lru_cache(2000)
def _drawn(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Normal numbers, float64, from a stream that never changes. Cached: every mistake takes the same ones."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape))


def _made(lesson, kind: str, inputs: Values) -> tuple[nn.Module, Roles]:
    """A module in eval mode, its parameters drawn from inputs["parameters"], a seed, each by its role."""
    module = getattr(lesson, kind)(*inputs["sizes"])
    module.to(next(value.dtype for value in _arguments(inputs) if value.is_floating_point())).eval()
    roles = ROLES[kind](module, inputs["sizes"])
    for role, parameter in roles.items():
        values = _drawn((inputs["parameters"] + zlib.crc32(role.encode())) % 2**32, tuple(parameter.shape))
        scale = 1.3 / math.sqrt(parameter.shape[1]) if parameter.ndim == 2 and role != "embedding" else 0.4
        parameter.data.copy_(values * scale + (1.0 if role.endswith(".scale") else 0.0))
    return module, roles


# --- Running a module: `inputs` has its sizes, the seed of its parameters, then the arguments of its forward in order ---


def _arguments(inputs: Values) -> list[Tensor]:
    return [value for name, value in inputs.items() if name not in ("sizes", "parameters")]


def _values(kind: str, lesson, inputs: Values) -> Values:
    module, _ = _made(lesson, kind, inputs)
    return {"y": module(*_arguments(inputs)).detach()}


def _gradients(kind: str, lesson, inputs: Values) -> Values:
    """Gradients at the inputs, and at the parameters, or at some of them."""
    module, roles = _made(lesson, kind, inputs)
    wanted = {**track(inputs), **{role: p for role, p in roles.items() if role in CHOSEN.get(kind, roles)}}
    return with_gradients({"y": module(*_arguments(inputs))}, wanted)


def _second_call(kind: str, lesson, inputs: Values) -> Values:
    """The same module called before with other tokens, fewer without a mask, as many in train mode; and once more without."""
    module, _ = _made(lesson, kind, inputs)
    others = [value * 2 - 1 if value.is_floating_point() else value.flip(0, 1) for value in _arguments(inputs)]
    tokens = [value for value in _arguments(inputs) if value.dtype != torch.bool]
    module(*(value[:1, :2] for value in others[: len(tokens)]))
    module.train()(*others)
    outputs = {"y": module.eval()(*_arguments(inputs)).detach()}
    return outputs if len(tokens) == len(others) else {**outputs, "then without a mask": module(*tokens).detach()}


@contextmanager
def _drops(masks: Callable[[int, Tensor], Tensor], batch: int) -> Iterator[list[float]]:
    """Dropout keeps what `masks` (call number, tensor) keeps.

    Yields the rates asked for; in the end `PARTS`, where it was asked for parts of the batch, whose masks nobody knows.
    """
    rates: list[float] = []
    parts: list[Tensor] = []

    def dropped(input: Tensor, rate: float) -> Tensor:
        rates.append(rate)
        if input.ndim < 3 or len(input) < batch:
            parts.append(input)
            return input
        return input * masks(len(rates) - 1, input).to(input) / (1 - rate)

    with dropout_as(dropped):
        yield rates
    rates[:] = PARTS if parts else rates


def _training(kind: str, lesson, inputs: Values) -> Values:
    """The output in train mode, with masks from a seed, and the dropout rates in the order of the calls.

    A token's mask does not depend on how many tokens follow it: a decoder may read one more, and cut off the result.
    """

    def keep(call: int, x: Tensor) -> Tensor:
        random = np.random.RandomState((inputs["parameters"] + call) % 2**32)
        tokens, features = x.shape[-2:]
        numbers = random.random_sample((max(tokens, MOST_TOKENS), *x.shape[:-2], features))[:tokens]
        return torch.from_numpy(np.moveaxis(numbers, 0, -2) < 0.7)

    module, _ = _made(lesson, kind, inputs)
    module.train()
    with _drops(keep, len(_arguments(inputs)[0])) as rates:
        out = module(*_arguments(inputs))
    return {"out": out.detach(), "dropout_rates": rates}


def _averages(kind: str, lesson, inputs: Values) -> Values:
    """What dropout leaves on average, whoever draws its masks."""
    module, _ = _made(lesson, kind, inputs)
    module.train()
    rows = [value[:1].expand(MANY_ROWS, *value.shape[1:]) for value in _arguments(inputs)]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(inputs["parameters"])
        out = module(*rows)
    tenths = 10 * float((out == 0).double().mean())
    return {"zeros in ten": tenths, "mean": out.mean(0), "root of the mean square": out.square().mean(0).sqrt()}


def _unless_by_hand(wanted: Case) -> Case:
    """The case, but dropout by hand, or sequence by sequence, cannot take its masks; its averages are judged."""

    def judge(inputs: Values, got: Values, right: Values):
        by_hand = right["dropout_rates"] and got["dropout_rates"] in ([], PARTS)
        return None if by_hand else differs(wanted, Record(right), Record(got), inputs)

    return replace(wanted, judge=judge)


def _course_module(kind: str, wanted: str) -> Case:
    """A recorded module: output, and the gradient at the input `wanted`."""
    check = re.sub("(?<=[a-z])(?=[A-Z])", "_", kind.removesuffix("Block")).lower()

    def run(lesson, inputs: Values) -> Values:
        module = getattr(lesson, kind)(*inputs.pop("sizes")).double()
        if expected(TOPIC)[check]["setup"]:
            fill_with_ramp(module)
        dy = inputs.pop("dy")
        inputs[wanted].requires_grad_()
        y = module(*inputs.values())
        (gradient,) = torch.autograd.grad((y * dy).sum(), inputs[wanted], allow_unused=True) if y.requires_grad else (None,)
        return {"y": y.detach(), f"grad_{wanted}": gradient}

    return recorded(check, run)


def _course_block(kind: str, check: str, what: str) -> Case:
    """A recorded block in train mode; dropout keeps what the recorded masks keep."""

    def run(lesson, inputs: Values) -> Values:
        block = fill_with_ramp(getattr(lesson, kind)(*inputs.pop("sizes")).double()).train()
        masks = inputs.pop("masks")
        with _drops(lambda call, x: masks[min(call, len(masks) - 1)], len(masks[0])) as rates:
            out = block(*inputs.values()).detach()
        return {"out": out, "dropout_rates": rates}

    return _unless_by_hand(recorded(check, run, f"values of the course, {what}"))


# --- What a new module is made of ---


def _learnt(module: nn.Module) -> int:
    """How many numbers are learnt."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _counted(parameters: Iterator[nn.Parameter]) -> dict[str, int]:
    """How many parameters have which shape."""
    return dict(sorted(Counter(str(tuple(p.shape)) for p in parameters).items()))


def _rates(module: nn.Module) -> str:
    return ", ".join(sorted({f"{part.p:g}" for part in module.modules() if isinstance(part, nn.Dropout)})) or "none"


def _first_size(module: nn.Module, matrices: Sequence[nn.Module], size: int) -> str:
    """How many features the first map takes: the first one made, unless the module is seen to take `size`."""
    sizes = [p.shape[1] for part in matrices for p in part.parameters(recurse=False) if p.ndim == 2]
    if sizes[:1] != [size]:
        try:
            module(torch.zeros(1, size))
        except (NotImplementedError, AttributeError):  # its forward is not written yet
            pass
        except Exception:
            return f"{sizes[0] if sizes else 0} features"
    return f"{size} features"


def _spreads(kind: str, names: Sequence[str], lesson, inputs: Values, alone: bool = False) -> Values:
    """Which of the named linear layers begin alike, and unless that is asked `alone` the span of their first weights."""
    _, roles = _new(lesson, kind, inputs)
    outputs: Values = {f"first weights of {name}": "not there" for name in names}
    weights = {name: roles[f"{name}.weight"] for name in names if f"{name}.weight" in roles}
    outputs |= {f"first weights of {name}": [float(w.min()), float(w.max())] for name, w in weights.items()}
    pairs = combinations(weights.items(), 2)
    alike = {"maps that begin alike": [f"{a} and {b}" for (a, first), (b, second) in pairs if torch.equal(first, second)]}
    return alike if alone else outputs | alike


def _layers(kind: str, lesson, inputs: Values) -> Values:
    """The shape of each parameter, by its role, and what else the docstring names."""
    module, roles = _new(lesson, kind, inputs)
    outputs: Values = {"heads": len(listed_heads(module))} if kind == "MultiHeadAttention" else {}
    outputs |= {role: str(tuple(roles[role].shape)) for role in sorted(roles)}
    if kind == "SelfAttention":
        outputs["weights_softmax"] = module.weights_softmax
    if kind == "FeedForwardBlock":
        outputs["takes"] = _first_size(module, [part for _, part in owners(module)], inputs["sizes"][0])
        outputs["not part of it"] = sorted({type(part).__name__ for part in module.modules() if isinstance(part, FOREIGN)})
    return {**outputs, "learnt_numbers": _learnt(module)}


def _layers_of_norm(lesson, inputs: Values) -> Values:
    norm = lesson.LayerNormalization(*inputs["sizes"])
    own = sorted((str(tuple(p.shape)), float(p.min()), float(p.max())) for p in norm.parameters())
    spans = [f"{shape}, " + (f"all {low:g}" if low == high else f"{low:.2f} … {high:.2f}") for shape, low, high in own]
    dtypes = sorted({str(p.dtype) for p in norm.parameters()})
    return {"learnt_numbers": _learnt(norm), "dtypes": dtypes, "parameters": spans, "epsilon": norm.epsilon}


def _norm_at_first(lesson, inputs: Values) -> Values:
    """Whether a new layer tells two tokens apart; it is taken to do so where its forward cannot be asked yet."""
    try:
        first, second = lesson.LayerNormalization(*inputs["sizes"])(inputs["x"].clone()).detach()
    except Exception:
        return {"tokens told apart": True}
    return {"tokens told apart": not torch.equal(first, second)}


def _layers_of_block(kind: str, attentions: Sequence[str], lesson, inputs: Values) -> Values:
    block, size = getattr(lesson, kind)(*inputs["sizes"]), inputs["sizes"][1]
    outputs: Values = {}
    for name in attentions:
        attention = getattr(block, name, None)
        outputs[f"heads of {name}"] = len(listed_heads(attention)) or "not there"
        if isinstance(attention, nn.Module):
            outputs[f"shapes in {name}"] = _counted(attention.parameters())
    matrices, norms = block_parts(block, attentions)
    beside = (p for _, part in owners(block, attentions) for p in part.parameters(recurse=False))
    outputs["shapes beside the attention"] = _counted(beside)
    feed = next((child for child in block.children() if any(part in matrices for part in child.modules())), block)
    outputs["feed-forward block takes"] = _first_size(feed, matrices, size)
    outputs["learnt_numbers"] = _learnt(block)
    outputs["dropout"] = _rates(block)
    named = isinstance(getattr(block, "dropout", None), nn.Dropout)  # the notebook puts another in its place
    outputs["nn.Dropout named dropout"] = "there" if named else "not there"
    row = torch.arange(size, dtype=torch.float32)
    row = 0.5 + 0.005 * (row - row.mean()) / row.std(correction=0)  # of so small a variance that 1e-6 shows beside it
    rows = [norm(row[None])[0].detach() for norm in norms if norm is not block]
    outputs["mean and spread of a normalised row"] = [f"{y.mean():.2f}, {y.std(correction=0):.2f}" for y in rows]
    return outputs


def _layers_of_model(lesson, inputs: Values) -> Values:
    model = lesson.Transformer(*inputs["sizes"])
    embedding = getattr(model, "emb_layer", None)
    outputs: Values = {
        "emb_layer": _counted(embedding.parameters()) if isinstance(embedding, nn.Module) else "not there",
        "row that is not learnt": str(getattr(embedding, "padding_idx", None)),
        "longest row": str(getattr(embedding, "max_norm", None)),
        "gradient divided by how often a row is read": getattr(embedding, "scale_grad_by_freq", False),
    }
    for name in ("encoder", "decoder"):
        part = getattr(model, name, None)
        if not isinstance(part, nn.Module):
            return {**outputs, name: "not there"}
        layers: Any = part.layers
        outputs |= {f"layers of the {name}": len(layers), f"dropout of the {name}": _rates(part)}
        outputs[f"shapes in the {name}"] = _counted(part.parameters())
    outputs["heads"] = len(model.encoder.layers[0].MultiHeadBlock.heads)
    return {**outputs, "vocabulary": list(model.decoder.proj_to_vocab.weight.shape), "learnt_numbers": _learnt(model)}


# --- Inputs ---


def _given(draw: Draw, sizes: list, **arguments: Tensor) -> Values:
    return {"sizes": sizes, "parameters": draw.integer(0, 2**31), **arguments}


def _tokens(draw: Draw, N: int, queries: int, keys: int, size: int, masked: bool) -> Values:
    tokens = {name: draw.normal(N, K, size) for name, K in (("query", queries), ("key", keys), ("value", keys))}
    return {**tokens, "mask": forbidding(draw, N, queries, keys)} if masked else tokens


def _for_head(draw: Draw, masked: bool = True, equal: bool = False, **own: int) -> Values:
    N, queries, keys, dim_in, dim_q, dim_v = sizes_of(draw, "N queries keys dim_in dim_q dim_v", own, 2, 8)
    if equal:
        queries = keys = dim_q = dim_v = dim_in
    return _given(draw, [dim_in, dim_q, dim_v], **_tokens(draw, N, queries, keys, dim_in, masked))


def _for_heads(draw: Draw, heads: int = 0, masked: bool = True, **own: int) -> Values:
    N, queries, keys, dim_in, dim_out = sizes_of(draw, "N queries keys dim_in dim_out", own)
    sizes = [heads or draw.integer(2, 4), dim_in, dim_out]
    return _given(draw, sizes, **_tokens(draw, N, queries, keys, dim_in, masked))


def _sizes_of_heads(draw: Draw) -> list[int]:
    """The number of heads divides neither size."""
    heads = draw.integer(2, 5)
    return [heads, *(heads * times + 1 for times in draw.sizes(2, 1, 4))]


def _for_norm(
    draw: Draw,
    leading: Sequence[int] = (),
    size: int = 0,
    epsilon: float | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    flat: bool = False,
    outlier: float = 0.0,
) -> Values:
    """flat: rows of equal numbers, whole ones but for the offset. outlier: is added to one feature of each."""
    *axes, M = draw.sizes(3)
    M = size or M + 2
    x = draw.normal(*(leading or axes), M, scale=scale)
    x = (x[..., :1].expand_as(x).round() if flat else x) + offset
    x[..., 1] += outlier
    return _given(draw, [M] if epsilon is None else [M, epsilon], x=x)


def _for_feed(draw: Draw, leading: Sequence[int] = (), scale: float = 1.0) -> Values:
    *axes, M, H = draw.sizes(4)
    return _given(draw, [M, H], x=draw.normal(*(leading or axes), M, scale=scale))


def _sizes_of_block(draw: Draw, heads: int = 0) -> list:
    heads = heads or draw.integer(2, 4)
    emb_dim = heads * draw.choice([2, 3])
    return [heads, emb_dim, emb_dim + draw.integer(1, 4), round(float(draw.uniform(low=0.15, high=0.6)), 2)]


def _for_encoder(draw: Draw, **own: int) -> Values:
    sizes = _sizes_of_block(draw)
    N, K = sizes_of(draw, "N K", own, 2, 6)
    return _given(draw, sizes, x=draw.normal(N, K, sizes[1]))


def _for_decoder(draw: Draw, masked: bool = True, equal: bool = False, **own: int) -> Values:
    """equal: decoder and encoder are of equal lengths."""
    sizes = _sizes_of_block(draw)
    N, queries, keys = sizes_of(draw, "N queries keys", own, 2, 6)
    if equal:
        keys = queries = draw.integer(3, 6)
    tokens = {"dec_inp": draw.normal(N, queries, sizes[1]), "enc_inp": draw.normal(N, keys, sizes[1])}
    return _given(draw, sizes, **tokens, **({"mask": forbidding(draw, N, queries, queries)} if masked else {}))


def _sizes_of_model(draw: Draw) -> list:
    layers = draw.permutation(3).tolist()
    return [*_sizes_of_block(draw), layers[0] + 2, layers[1] + 2, draw.integer(11, 15)]


def _for_model(draw: Draw, shared: bool = False, equal: bool = False, layers: int = 1, **own: int) -> Values:
    """shared: the positions have no batch. equal: the decoder reads as many tokens as the encoder."""
    sizes = _sizes_of_model(draw)
    sizes[4:] = layers, 1, own.get("V", sizes[6])
    N, K, answer = draw.sizes(3, 2, 6)
    N, K = own.get("N", N), own.get("question", K)
    answer = own.get("answer", K + 1 if equal else answer + 1)
    rows, ans_b = 1 if shared else N, draw.integers(0, sizes[6], N, answer)
    ans_b[0, 0], ans_b[-1, 0] = 0, sizes[6] - 1  # no token is special to the model
    return _given(
        draw,
        sizes,
        ques_b=draw.integers(0, sizes[6], N, K),
        ques_pos=draw.normal(rows, K, sizes[1]),
        ans_b=ans_b,
        ans_pos=draw.normal(rows, answer, sizes[1]),
    )


def _shares(lesson, inputs: Values) -> Values:
    """`weights_softmax` after a second call."""
    head, _ = _made(lesson, "SelfAttention", inputs)
    head(*(inputs[name].flip(-1) for name in ("query", "key", "value")))
    head(*_arguments(inputs))
    shares = head.weights_softmax
    kept = shares.detach() if isinstance(shares, Tensor) else shares
    return {"weights_softmax": kept, "still attached to the graph": bool(getattr(shares, "requires_grad", False))}


def _shares_in_training(lesson, inputs: Values) -> Values:
    """Output and `weights_softmax` of a head in train mode, which has no dropout."""
    head, _ = _made(lesson, "SelfAttention", inputs)
    y = head.train()(*_arguments(inputs))
    return {"y": y.detach(), "weights_softmax": head.weights_softmax}


def _embedding(lesson, inputs: Values) -> Values:
    return {"spread of the embedding": float(lesson.Transformer(*inputs["sizes"]).emb_layer.weight.std())}


def _elsewhere(kind: str, lesson, inputs: Values) -> Tensor:
    arguments = _arguments(inputs)
    return getattr(lesson, kind)(*inputs["sizes"]).double().to(arguments[0].device)(*arguments)


def _course_shape() -> Case:
    def run(lesson, inputs: Values) -> Values:
        return {"shape": list(lesson.Transformer(*inputs["sizes"])(*_arguments(inputs)).shape)}

    check = expected(TOPIC)["transformer_output_shape"]
    shapes = {name: recipe["shape"] for name, recipe in check["inputs"].items()}
    inputs: Values = {"sizes": list(check["construct"].values())}
    for name, fill in (("ques", torch.zeros), ("ans", torch.ones)):
        inputs[f"{name}_b"] = fill(shapes[f"{name}_b"], dtype=torch.int64)
        inputs[f"{name}_pos"] = torch.zeros(1, *shapes[f"{name}_pos"][1:])
    wanted = {"shape": torch.tensor(check["expected"]["shape"])}
    return published("shape of the course", inputs, run, wanted, about="on the sizes of the notebook")


# --- The cases, by exercise ---


def _new_module(name: str, sizes: Sequence | Callable[[Draw], list], how: Maker, near: float | tuple = 1e-6) -> Case:
    """A case on a new module of these sizes."""
    return case(name, lambda draw: {"sizes": sizes(draw) if callable(sizes) else list(sizes)}, how, near)


def _on(kind: str, draw: Maker) -> Callable[..., Case]:
    """`case` for the forward of a module."""
    return lambda name, how=_values, *near_and_note, **own: case(name, draw, partial(how, kind), *near_and_note, **own)


HEAD, HEADS = _on("SelfAttention", _for_head), _on("MultiHeadAttention", _for_heads)
NORM, FEED = _on("LayerNormalization", _for_norm), _on("FeedForwardBlock", _for_feed)
BLOCKS = {"EncoderBlock": _on("EncoderBlock", _for_encoder), "DecoderBlock": _on("DecoderBlock", _for_decoder)}
MODEL = _on("Transformer", _for_model)


def _of_attention(kind: str, draw: Maker, on: Callable[..., Case], *more: Case) -> tuple[Case, ...]:
    return (
        on("values on random inputs", masked=False),
        _course_module(kind, "query"),
        on("values with a mask"),
        *more,
        on("gradients", _gradients),
        on("a second call", _second_call),
        on("batch of one", masked=False, N=1),
        on("one query", masked=False, queries=1),
        device_case(draw, partial(_elsewhere, kind)),
        device_case(partial(draw, masked=False), partial(_elsewhere, kind), "device followed without a mask"),
        on("float32", _values, SINGLE, dtype=torch.float32),
    )


def _of_tokens(kind: str, draw: Maker, on: Callable[..., Case], *more: Case) -> tuple[Case, ...]:
    """Of a module that looks at every token alone."""
    return (
        on("values on random inputs"),
        _course_module(kind, "x"),
        on("gradients", _gradients),
        on("a second call", _second_call),
        on("two axes", leading=(3,)),
        on("four axes", leading=(2, 3, 2)),
        on("one token", leading=(1, 1)),
        on("large values", scale=1e3),
        device_case(draw, partial(_elsewhere, kind)),
        on("float32", _values, SINGLE, dtype=torch.float32),
        *more,
    )


def _of_new_block(kind: str, attentions: Sequence[str]) -> tuple[Case, ...]:
    layers, merges = partial(_layers_of_block, kind, attentions), [f"{name}.merge" for name in attentions]
    maps = (merges[0], "feed.in", "feed.out")
    return (
        _new_module("layers", _sizes_of_block, layers),
        _new_module("one head", partial(_sizes_of_block, heads=1), layers),
        _new_module("first weights", (2, 24, 16, 0.1), partial(_spreads, kind, maps), COARSE),
        replace(_new_module("copies", _sizes_of_block, partial(_spreads, kind, merges, alone=True)), note=COPIED),
    )


def _of_block(kind: str, tokens: str, of: Sequence[str], *more: Case) -> tuple[Case, ...]:
    """tokens: how their number is called. of: what the two recorded blocks are."""
    on, check = BLOCKS[kind], kind.removesuffix("Block").lower()
    return (
        *more,
        on("values without dropout"),
        _unless_by_hand(on("train mode", _training)),
        *(_course_block(kind, f"{check}_block_{number}", what) for number, what in enumerate(of, 1)),
        on("dropout on average", _averages, (1e-6, 0.3), N=1),
        on("gradients", _gradients),
        on("a second call", _second_call),
        on("batch of one", N=1),
        on("one token", **{tokens: 1}),
        device_case(_for_encoder if kind == "EncoderBlock" else _for_decoder, partial(_elsewhere, kind)),
        on("float32", _values, 1e-4, dtype=torch.float32),
    )


MAPS, QUERIES = ("head0.q", "head1.v", "merge"), ("head0.q", "head1.q")  # of two heads
COPIED = "parts begin as copies of one another; made one by one, each begins with weights of its own, as it should"
FAR_ROW = "in float32, with a mean far from 0, digits are lost: E[x²] - E[x]² loses them there, (x - mean)² does not"
FLAT_ROW = "in float32 a row of equal numbers goes wrong: E[x²] - E[x]² loses its digits there, (x - mean)² does not"
CASES: Mapping[str, tuple[Case, ...]] = {
    "SelfAttention.__init__": (
        _new_module("layers", lambda draw: draw.sizes(3), partial(_layers, "SelfAttention")),
        _new_module("first weights", (24, 16, 40), partial(_spreads, "SelfAttention", "qkv"), COARSE),
    ),
    "SelfAttention.forward": _of_attention(
        "SelfAttention",
        _for_head,
        HEAD,
        HEAD("all sizes equal", equal=True),
        case("weights_softmax", _for_head, _shares),
        case("weights_softmax, batch of one", _for_head, _shares, N=1),
        case("train mode", _for_head, _shares_in_training),
    ),
    "MultiHeadAttention.__init__": (
        _new_module("layers", _sizes_of_heads, partial(_layers, "MultiHeadAttention")),
        _new_module("one head", lambda draw: [1, *draw.sizes(2)], partial(_layers, "MultiHeadAttention")),
        _new_module("first weights", (2, 24, 16), partial(_spreads, "MultiHeadAttention", MAPS), COARSE),
        replace(_new_module("copies", (2, 5, 3), partial(_spreads, "MultiHeadAttention", QUERIES, alone=True)), note=COPIED),
    ),
    "MultiHeadAttention.forward": _of_attention(
        "MultiHeadAttention", _for_heads, HEADS, HEADS("one head", heads=1), HEADS("train mode, with a mask", _training)
    ),
    "LayerNormalization.__init__": (
        _new_module("parameters", lambda draw: [draw.integer(3, 9)], _layers_of_norm),
        _new_module("one feature", (1,), _layers_of_norm),
        case("a new layer", _for_norm, _norm_at_first, leading=(2,), dtype=torch.float32),
    ),
    "LayerNormalization.forward": _of_tokens(
        "LayerNormalization",
        _for_norm,
        NORM,
        NORM("a large epsilon", epsilon=0.4),
        NORM("rows of equal numbers", _gradients, (1e-5, 1e-6), flat=True),
        NORM("all sizes equal", leading=(5, 5), size=5),
        NORM("values far from 0", scale=1e3, offset=1e3),
        NORM("one feature far from the others", leading=(4,), size=24, outlier=40.0),
        NORM("values far from 0 in float32", _values, 2e-4, FAR_ROW, offset=100.0, dtype=torch.float32),
        NORM("rows of equal numbers in float32", _values, 0.1, FLAT_ROW, flat=True, offset=0.1, size=7, dtype=torch.float32),
    ),
    "FeedForwardBlock.__init__": (
        _new_module("layers", lambda draw: draw.sizes(2), partial(_layers, "FeedForwardBlock")),
        _new_module("first weights", (24, 16), partial(_spreads, "FeedForwardBlock", ("feed.in", "feed.out")), COARSE),
    ),
    "FeedForwardBlock.forward": _of_tokens("FeedForwardBlock", _for_feed, FEED, FEED("train mode", _training)),
    "EncoderBlock.__init__": _of_new_block("EncoderBlock", ENCODER),
    "EncoderBlock.forward": _of_block("EncoderBlock", "K", ("two heads", "one head")),
    "DecoderBlock.__init__": _of_new_block("DecoderBlock", DECODER),
    "DecoderBlock.forward": _of_block(
        "DecoderBlock",
        "queries",
        ("other lengths", "equal lengths"),
        BLOCKS["DecoderBlock"]("as many tokens in both, without dropout", equal=True),
        BLOCKS["DecoderBlock"]("values without a mask", masked=False),
    ),
    "Transformer.__init__": (
        _new_module("layers", _sizes_of_model, _layers_of_model),
        _new_module("first weights", (1, 12, 8, 0.1, 1, 1, 120), _embedding, (0.2, 1e-6)),
    ),
    "Transformer.forward": (
        MODEL("values on equal lengths", equal=True),
        MODEL("values on random inputs"),
        _course_shape(),
        MODEL("two layers", layers=2),
        MODEL("gradients", _gradients),
        MODEL("a second call", _second_call),
        device_case(_for_model, partial(_elsewhere, "Transformer")),
        _unless_by_hand(MODEL("train mode", _training)),
        MODEL("positions without a batch", shared=True),
        MODEL("batch of one", N=1),
        MODEL("an answer of two tokens", answer=2),
        MODEL("one answer of two tokens", N=1, answer=2),
        MODEL("a short question and a long answer", question=2, answer=6, V=16),
        MODEL("float32", _values, 1e-3, dtype=torch.float32),
    ),
}
