"""The cases of the exercises of `transformers.py`.

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

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl.checks.devices import device_case
from dl.checks.exercise import Case, Draw, Exercise, Values, track, unpack, with_gradients
from dl.checks.published import expected, fill_with_ramp, load_case

TOPIC = "transformers"
COARSE = 0.1  # how near the largest of some hundred uniform draws of one spread are to each other
MOST_TOKENS = 16  # of a sequence in a case
LISTS = (nn.ModuleList, nn.Sequential, list, tuple)  # what `heads` may be
Roles = dict[str, nn.Parameter]


# --- Modules with parameters of our own ---


def _owners(module: nn.Module, without: Sequence[str] = ()) -> list[tuple[str, nn.Module]]:
    """Every part with parameters of its own, by name, in order, but for those inside the named children."""
    return [
        (name, part)
        for name, part in module.named_modules()
        if name.partition(".")[0] not in without and list(part.parameters(recurse=False))
    ]


def _of_linear(role: str, part: nn.Module | None) -> Roles:
    own = list(part.parameters(recurse=False)) if isinstance(part, nn.Module) else []
    return {f"{role}.{'weight' if p.ndim == 2 else 'bias'}": p for p in own}


def _of_norm(role: str, module: nn.Module) -> Roles:
    own = sorted(module.parameters(), key=lambda p: not bool((p == 1).all()))  # the scale begins as ones
    return {f"{role}.{name}": p for name, p in zip(("scale", "shift"), own, strict=False)}


def _of_feed_forward(role: str, parts: Sequence[nn.Module], size: int) -> Roles:
    roles: Roles = {}
    for part in parts:
        matrix = next(p for p in part.parameters(recurse=False) if p.ndim == 2)
        roles |= _of_linear(f"{role}.{'in' if matrix.shape[1] == size else 'out'}", part)
    return roles


def _of_head(role: str, head: nn.Module) -> Roles:
    named = [getattr(head, name, None) for name in "qkv"]
    parts = named if all(isinstance(part, nn.Module) for part in named) else [part for _, part in _owners(head)]
    return {name: p for letter, part in zip("qkv", parts, strict=False) for name, p in _of_linear(role + letter, part).items()}


def _of_heads(role: str, module: nn.Module) -> Roles:
    roles: Roles = {}
    heads = getattr(module, "heads", ())
    for number, head in enumerate(heads if isinstance(heads, LISTS) else ()):
        roles |= _of_head(f"{role}head{number}.", head)
    for _, part in _owners(module, ("heads",)):
        roles |= _of_linear(f"{role}merge", part)
    return roles


def _block_parts(block: nn.Module, attentions: Sequence[str]) -> tuple[list[nn.Module], list[nn.Module]]:
    """The parts with matrices and those with vectors alone, outside the attentions, in their order."""
    owners = _owners(block, attentions)
    matrices = [part for _, part in owners if any(p.ndim == 2 for p in part.parameters(recurse=False))]
    vectors = [(name, part) for name, part in owners if part not in matrices]
    if len({re.sub(r"\d+", "", name) for name, _ in vectors}) == 1:  # norm1, norm2 in whatever order they were made
        vectors.sort(key=lambda pair: pair[0])
    return matrices, [part for _, part in vectors]


def _of_block(role: str, block: nn.Module, attentions: Sequence[str], size: int) -> Roles:
    roles: Roles = {}
    for name in attentions:
        roles |= _of_heads(f"{role}{name}.", getattr(block, name))
    matrices, norms = _block_parts(block, attentions)
    roles |= _of_feed_forward(f"{role}feed", matrices, size)
    for number, norm in enumerate(norms):
        roles |= _of_norm(f"{role}norm{number}", norm)
    return roles


ENCODER, DECODER = ("MultiHeadBlock",), ("attention_self", "attention_cross")


def _of_transformer(model: nn.Module, size: int) -> Roles:
    roles: Roles = {"embedding": model.emb_layer.weight}
    for number, layer in enumerate(model.encoder.layers):
        roles |= _of_block(f"encoder{number}.", layer, ENCODER, size)
    for number, layer in enumerate(model.decoder.layers):
        roles |= _of_block(f"decoder{number}.", layer, DECODER, size)
    return roles | _of_linear("vocabulary", model.decoder.proj_to_vocab)


ROLES: Mapping[str, Callable[[nn.Module, Sequence], Roles]] = {
    "SelfAttention": lambda module, sizes: _of_head("", module),
    "MultiHeadAttention": lambda module, sizes: _of_heads("", module),
    "LayerNormalization": lambda module, sizes: _of_norm("norm", module),
    "FeedForwardBlock": lambda module, sizes: _of_feed_forward("feed", [part for _, part in _owners(module)], sizes[0]),
    "EncoderBlock": lambda module, sizes: _of_block("", module, ENCODER, sizes[1]),
    "DecoderBlock": lambda module, sizes: _of_block("", module, DECODER, sizes[1]),
    "Transformer": lambda module, sizes: _of_transformer(module, sizes[1]),
}


def _made(lesson, kind: str, inputs: Values, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Roles]:
    """A module in eval mode, its parameters drawn from inputs["parameters"], a seed, each by its role."""
    module = getattr(lesson, kind)(*inputs["sizes"]).to(dtype).eval()
    roles = ROLES[kind](module, inputs["sizes"])
    for role, parameter in roles.items():
        draw = np.random.RandomState((inputs["parameters"] + zlib.crc32(role.encode())) % 2**32)  # a stream that never changes
        values = torch.from_numpy(draw.standard_normal(tuple(parameter.shape)))
        scale = 1.3 / math.sqrt(parameter.shape[1]) if parameter.ndim == 2 and role != "embedding" else 0.4
        parameter.data.copy_(values * scale + (1.0 if role.endswith(".scale") else 0.0))
    return module, roles


@contextmanager
def _drops(masks: Callable[[int, Tensor], Tensor]) -> Iterator[list[float]]:
    """Dropout, as module or as function, keeps what `masks` (call number, tensor) keeps; yields the rates asked for."""
    rates: list[float] = []
    original = F.dropout

    def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training:
            return input
        rates.append(float(p))
        return input * masks(len(rates) - 1, input).to(input) / (1 - p)

    F.dropout = dropout
    try:
        yield rates
    finally:
        F.dropout = original


def _in_training(module: nn.Module, seed: int, forward: Callable[[], Tensor]) -> Values:
    """The module's output in train mode, with masks from a seed, and the dropout rates in the order of the calls.

    A token's mask does not depend on how many tokens follow it: a decoder may read one more, and cut off the result.
    """

    def keep(call: int, x: Tensor) -> Tensor:
        random = np.random.RandomState((seed + call) % 2**32)
        if x.ndim < 3:
            return torch.from_numpy(random.random_sample(tuple(x.shape)) < 0.7)
        tokens, features = x.shape[-2:]
        numbers = random.random_sample((max(tokens, MOST_TOKENS), *x.shape[:-2], features))[:tokens]
        return torch.from_numpy(np.moveaxis(numbers, 0, -2) < 0.7)

    module.train()
    with _drops(keep) as rates:
        out = forward()
    return {"out": out.detach(), "dropout_rates": rates}


# --- Recorded tensors of the course ---


def _course(case: str, run: Callable[..., Values], name: str = "values of the course", **options) -> Case:
    """A case on the recorded tensors of a case; `dy`, the masks of dropout and the constructor's sizes come along."""
    check = expected(TOPIC)[case]
    record = load_case(TOPIC, case)
    inputs: Values = dict(record.inputs)
    if "construct" in check:
        inputs["sizes"] = list(check["construct"].values())
    if "dy" in check:
        inputs["dy"] = torch.tensor(check["dy"], dtype=torch.float64)
    if "dropout_calls" in check:
        inputs["masks"] = [torch.tensor(call["keep_mask"]) for call in check["dropout_calls"]]
    limits = {key: check["tolerance"] for key in record.expected}
    return Case(
        name,
        lambda draw: inputs,
        run,
        published=record.expected,
        limits=limits,
        about="on the tensors of the notebook",
        **options,
    )


def _course_module(kind: str, case: str, wanted: str, name: str = "values of the course") -> Case:
    """A recorded module: output, and the gradient at the input `wanted`."""

    def run(lesson, inputs: Values) -> Values:
        module = getattr(lesson, kind)(*inputs.pop("sizes")).double()
        if expected(TOPIC)[case]["setup"]:
            fill_with_ramp(module)
        dy = inputs.pop("dy")
        inputs[wanted].requires_grad_()
        y = module(*inputs.values())
        (gradient,) = torch.autograd.grad(y, inputs[wanted], dy) if y.requires_grad else (None,)
        return {"y": y.detach(), f"grad_{wanted}": gradient}

    return _course(case, run, name)


def _course_block(kind: str, case: str, name: str) -> Case:
    """A recorded block in train mode; dropout keeps what the recorded masks keep."""

    def run(lesson, inputs: Values) -> Values:
        block = fill_with_ramp(getattr(lesson, kind)(*inputs.pop("sizes")).double()).train()
        masks = inputs.pop("masks")
        with _drops(lambda call, x: masks[min(call, len(masks) - 1)]):
            return {"out": block(*inputs.values()).detach()}

    return _course(case, run, name)


# --- From words to numbers ---

WORDS = ("plus", "minus", "times", "over", "START", "END", "left", "right", "équilibre")


def _vocabulary(draw: Draw, digits: int = 10, words: int = 6) -> list[str]:
    every = [str(digit) for digit in range(digits)] + [WORDS[i] for i in draw.permutation(len(WORDS)).tolist()[:words]]
    return [every[i] for i in draw.permutation(len(every)).tolist()]


def _numbered(lesson, inputs: Values) -> Values:
    tokens = lesson.generate_token_dict(inputs["vocab"])
    if not isinstance(tokens, dict):
        return {"token_dict": tokens}
    kinds = sorted({type(value).__name__ for value in tokens.values()})
    return {"token_dict": dict(tokens), "kinds_of_numbers": ", ".join(kinds)}


def _numbered_course(lesson, inputs: Values) -> Values:
    outputs = _numbered(lesson, inputs)
    tokens = outputs["token_dict"]
    numbers = [tokens.get("0", -1), tokens.get("EOS", -1), len(tokens)] if isinstance(tokens, dict) else [-1, -1, -1]
    return {**outputs, "chosen": [n if isinstance(n, int) else -1 for n in numbers]}


def _token_dict_case() -> Case:
    case = expected(TOPIC)["token_dict"]
    inputs = {"vocab": case["inputs"]["vocab"]}
    chosen = torch.tensor([case["expected"][key] for key in ("0", "EOS", "len")])
    return Case(
        "the notebook's vocabulary",
        lambda draw: inputs,
        _numbered_course,
        published={"chosen": chosen},
        limits={"chosen": 0.0},
        about="on the vocabulary of the notebook",
    )


def _line(draw: Draw, vocab: Sequence[str], special: Sequence[str], words: int) -> str:
    digits = [word for word in vocab if word not in special]

    def number() -> str:
        return "".join(draw.choice(digits) for _ in range(draw.integer(2, 6)))

    return " ".join(draw.choice(special) if place % 2 == 0 else number() for place in range(words))


def _line_inputs(draw: Draw, words: int | None = None, kind: type = list) -> Values:
    vocab = _vocabulary(draw)
    special = [word for word in vocab if not word.isdigit()]
    line = _line(draw, vocab, special, draw.integer(6, 10) if words is None else words)
    tokens = {word: number + 3 for number, word in enumerate(vocab)}
    return {"input_str": line, "token_dict": tokens, "spc_tokens": kind(special)}


def _line_tokens(lesson, inputs: Values) -> Values:
    values = [inputs[name] for name in ("input_str", "token_dict", "spc_tokens")]
    return {"tokens": lesson.prepocess_input_sequence(*values)}


def _line_case(case: str) -> Case:
    check = expected(TOPIC)[case]
    given = check["inputs"]
    inputs = {
        "input_str": given["input_str"],
        "token_dict": {word: number for number, word in enumerate(given["vocab"])},
        "spc_tokens": given["spc_tokens"],
    }
    return Case(
        f"a line of the notebook, {case.removeprefix('tokens_')}",
        lambda draw: inputs,
        _line_tokens,
        published={"tokens": torch.tensor(check["expected"]["out"])},
        limits={"tokens": 0.0},
        about=f"on {given['input_str']!r}",
    )


def _one_word(draw: Draw, special: bool) -> Values:
    inputs = _line_inputs(draw)
    word = draw.choice(inputs["spc_tokens"]) if special else str(draw.integer(0, 10)) * 3
    return {**inputs, "input_str": word}


# --- Attention ---


def _triple(
    draw: Draw,
    N: int | None = None,
    K: int | None = None,
    M: int | None = None,
    scale: float = 1.0,
    batch: bool = True,
    dtype: torch.dtype = torch.float64,
) -> Values:
    """Query, key and value of one shape, (N, K, M) or (K, M)."""
    sizes = [own if own is not None else drawn for own, drawn in zip((N, K, M), draw.sizes(3), strict=True)]
    shape = sizes if batch else sizes[1:]
    return {name: draw.normal(*shape, scale=scale, dtype=dtype) for name in ("query", "key", "value")}


def _same_size(draw: Draw, batch: bool) -> Values:
    size = draw.integer(3, 6)
    return _triple(draw, size, size, size, batch=batch)


def _looped(function: str) -> Callable[..., Values]:
    def run(lesson, inputs: Values) -> Values:
        return {"y": getattr(lesson, function)(inputs["query"], inputs["key"], inputs["value"])}

    return run


def _looped_gradients(function: str) -> Callable[..., Values]:
    def run(lesson, inputs: Values) -> Values:
        wanted = track(inputs, "query", "key", "value")
        return with_gradients(_looped(function)(lesson, inputs), wanted)

    return run


def _looped_cases(function: str, case: str, batch: bool) -> tuple[Case, ...]:
    run = _looped(function)
    return (
        _course(case, run),
        Case("values on random inputs", lambda draw: _triple(draw, batch=batch), run),
        Case("gradients", lambda draw: _triple(draw, batch=batch), _looped_gradients(function)),
        *([Case("batch of one", lambda draw: _triple(draw, N=1), run)] if batch else []),
        Case("one token", lambda draw: _triple(draw, K=1, batch=batch), run),
        Case("one feature", lambda draw: _triple(draw, M=1, batch=batch), run),
        Case("as many tokens as features", lambda draw: _same_size(draw, batch), run),
        Case("large scores", lambda draw: _triple(draw, scale=8.0, batch=batch), run),
        device_case(lambda draw: _triple(draw, batch=batch), lambda lesson, inputs: run(lesson, inputs)["y"]),
        Case("float32", lambda draw: _triple(draw, batch=batch, dtype=torch.float32), run, rtol=1e-4, atol=1e-5),
    )


def _mask(draw: Draw, N: int, queries: int, keys: int) -> Tensor:
    """Random, another one for each sequence; every query keeps a key, and is forbidden one where there are two."""
    free = draw.integers(0, keys, N, queries)
    forbidden = (free + draw.integers(1, max(keys, 2), N, queries)) % keys
    mask = draw.uniform(N, queries, keys) < 0.4
    mask = mask.scatter(2, forbidden[..., None], True)
    return mask.scatter(2, free[..., None], False)


def _attention_inputs(
    draw: Draw,
    N: int | None = None,
    queries: int | None = None,
    keys: int | None = None,
    scale: float = 1.0,
    masked: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Values:
    sizes = draw.sizes(5)
    N, queries, keys, M, MV = (own or drawn for own, drawn in zip((N, queries, keys, None, None), sizes, strict=True))
    inputs = {
        "query": draw.normal(N, queries, M, scale=scale, dtype=dtype),
        "key": draw.normal(N, keys, M, scale=scale, dtype=dtype),
        "value": draw.normal(N, keys, MV, dtype=dtype),
    }
    return {**inputs, "mask": _mask(draw, N, queries, keys)} if masked else inputs


def _square_inputs(draw: Draw) -> Values:
    inputs = _same_size(draw, batch=True)
    N, K, _ = inputs["query"].shape
    return {**inputs, "mask": _mask(draw, N, K, K)}


def _nothing_left(draw: Draw) -> Values:
    """One query has every key forbidden. In float32 a score minus 1e9 is just -1e9: to subtract gives an even row, too."""
    inputs = _attention_inputs(draw, masked=True, dtype=torch.float32)
    row = draw.integer(0, inputs["mask"].shape[1])
    mask = inputs["mask"].clone()
    mask[:, row] = True
    return {**inputs, "mask": mask}


def _very_low(draw: Draw) -> Values:
    """All scores are below -1e4, so that a forbidden key wins unless its score is lower still."""
    inputs = _attention_inputs(draw, masked=True)
    query, key = (draw.uniform(*inputs[name].shape, low=120.0, high=180.0) for name in ("query", "key"))
    return {**inputs, "query": query, "key": -key}


def _attention(lesson, inputs: Values) -> Values:
    return unpack(lesson.scaled_dot_product_no_loop_batch(*inputs.values()), "y", "weights")


def _attention_gradients(lesson, inputs: Values) -> Values:
    wanted = track(inputs, "query", "key", "value")
    return with_gradients({"y": _attention(lesson, inputs)["y"]}, wanted)


def _attention_course(lesson, inputs: Values) -> Values:
    return {"y": _attention(lesson, inputs)["y"]}


def _masked_course() -> Case:
    check = expected(TOPIC)["sdp_no_loop_batch_masked"]
    recipes = {key: check["inputs"][key] for key in ("query", "key", "value")}
    inputs = {
        key: torch.linspace(*recipe["linspace"], math.prod(recipe["shape"]), dtype=torch.float64).reshape(recipe["shape"])
        for key, recipe in recipes.items()
    }
    inputs["mask"] = torch.tensor(check["inputs"]["mask"]["bool"])
    return Case(
        "masked values of the course",
        lambda draw: inputs,
        _attention_course,
        limits={"y": check["tolerance"]},
        published={"y": torch.tensor(check["expected"]["y"])},
        about="on the tensors of the notebook",
    )


WHOLE_ATTENTION = {
    "scaled_dot_product_attention": "right; PyTorch's own function does the whole exercise here. Write it by hand "
    "once as well, to see how it comes about."
}


# --- Attention as a module ---


def _text(roles: Roles, role: str) -> str:
    """The shapes of a Linear map's parameters in words."""
    shapes = [f"{part} {tuple(roles[f'{role}.{part}'].shape)}" for part in ("weight", "bias") if f"{role}.{part}" in roles]
    return ", ".join(shapes) or "not there"


def _learnt(module: nn.Module) -> int:
    """How many numbers are learnt."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _spreads(roles: Roles, *names: str) -> Values:
    """The largest and the smallest first weight of each named Linear map."""
    weights = {name: roles[f"{name}.weight"] for name in names if f"{name}.weight" in roles}
    return {
        **{f"largest weight of {name}": float(weight.max()) for name, weight in weights.items()},
        **{f"smallest weight of {name}": float(weight.min()) for name, weight in weights.items()},
    }


def _head_layers(lesson, inputs: Values) -> Values:
    head = lesson.SelfAttention(*inputs["sizes"])
    roles = _of_head("", head)
    return {
        **{letter: _text(roles, letter) for letter in "qkv"},
        "learnt_numbers": _learnt(head),
        "weights_softmax": head.weights_softmax,
    }


def _head_spreads(lesson, inputs: Values) -> Values:
    roles = _of_head("", lesson.SelfAttention(*inputs["sizes"]))
    queries, keys = roles.get("q.weight"), roles.get("k.weight")
    alike = None not in (queries, keys) and torch.equal(queries, keys)
    return {**_spreads(roles, "q", "k", "v"), "q and k begin alike": alike}


def _head_inputs(
    draw: Draw, masked: bool = False, dtype: torch.dtype = torch.float64, equal: bool = False, **own: int
) -> Values:
    N, queries, keys, dim_in, dim_q, dim_v = draw.sizes(6, 2, 8)
    N, queries, keys = (own.get(name, size) for name, size in (("N", N), ("queries", queries), ("keys", keys)))
    if equal:
        queries = keys = dim_q = dim_v = dim_in
    inputs: Values = {"sizes": [dim_in, dim_q, dim_v], "parameters": draw.integer(0, 2**31)}
    return {**inputs, **_tokens(draw, N, queries, keys, dim_in, masked, dtype)}


def _tokens(draw: Draw, N: int, queries: int, keys: int, size: int, masked: bool, dtype: torch.dtype) -> Values:
    inputs: Values = {
        "query": draw.normal(N, queries, size, dtype=dtype),
        "key": draw.normal(N, keys, size, dtype=dtype),
        "value": draw.normal(N, keys, size, dtype=dtype),
    }
    return {**inputs, "mask": _mask(draw, N, queries, keys)} if masked else inputs


def _arguments(inputs: Values) -> list:
    return [inputs[name] for name in ("query", "key", "value", "mask") if name in inputs]


def _attend(kind: str) -> Callable[..., Values]:
    def run(lesson, inputs: Values) -> Values:
        module, _ = _made(lesson, kind, inputs, inputs["query"].dtype)
        return {"y": module(*_arguments(inputs)).detach()}

    return run


def _attend_gradients(kind: str) -> Callable[..., Values]:
    def run(lesson, inputs: Values) -> Values:
        module, roles = _made(lesson, kind, inputs)
        wanted = track(inputs, "query", "key", "value")
        return with_gradients({"y": module(*_arguments(inputs))}, {**wanted, **roles})

    return run


def _attend_twice(kind: str) -> Callable[..., Values]:
    """The same module called with other tokens first, another number of them and without a mask."""

    def run(lesson, inputs: Values) -> Values:
        module, _ = _made(lesson, kind, inputs)
        module(*(inputs[name][:1, :1].clone() for name in ("query", "key", "value")))
        return {"y": module(*_arguments(inputs)).detach()}

    return run


def _head_shares(lesson, inputs: Values) -> Values:
    head, _ = _made(lesson, "SelfAttention", inputs)
    head(*(inputs[name].flip(-1) for name in ("query", "key", "value")))
    head(*_arguments(inputs))
    shares = head.weights_softmax
    return {
        "weights_softmax": shares.detach() if isinstance(shares, Tensor) else shares,
        "still attached to the graph": bool(getattr(shares, "requires_grad", False)),
    }


def _heads_layers(lesson, inputs: Values) -> Values:
    module = lesson.MultiHeadAttention(*inputs["sizes"])
    roles = _of_heads("", module)
    heads = getattr(module, "heads", None)
    count = len(heads) if isinstance(heads, LISTS) else 0
    return {
        "heads": count,
        **{f"{letter} of head {i}": _text(roles, f"head{i}.{letter}") for i in range(inputs["sizes"][0]) for letter in "qkv"},
        "last_map": _text(roles, "merge"),
        "learnt_numbers": _learnt(module),
    }


def _heads_spreads(lesson, inputs: Values) -> Values:
    return _spreads(_of_heads("", lesson.MultiHeadAttention(*inputs["sizes"])), "head0.q", "head1.v", "merge")


def _heads_sizes(draw: Draw) -> Values:
    """The number of heads divides neither size."""
    heads = draw.integer(2, 5)
    dim_in, dim_out = (heads * times + 1 for times in draw.sizes(2, 1, 4))
    return {"sizes": [heads, dim_in, dim_out]}


def _heads_inputs(
    draw: Draw, heads: int | None = None, masked: bool = False, dtype: torch.dtype = torch.float64, **own: int
) -> Values:
    N, queries, keys, dim_in, dim_out = draw.sizes(5)
    N, queries, keys = (own.get(name, size) for name, size in (("N", N), ("queries", queries), ("keys", keys)))
    inputs: Values = {"sizes": [heads or draw.integer(2, 4), dim_in, dim_out], "parameters": draw.integer(0, 2**31)}
    return {**inputs, **_tokens(draw, N, queries, keys, dim_in, masked, dtype)}


# --- Layer normalisation and feed-forward block ---


def _norm_layers(lesson, inputs: Values) -> Values:
    norm = lesson.LayerNormalization(*inputs["sizes"])
    own = sorted((p.numel(), float(p.min()), float(p.max())) for p in norm.parameters())
    spans = [f"{count} numbers, " + (f"all {low:g}" if low == high else f"{low:.2f} … {high:.2f}") for count, low, high in own]
    return {"learnt_numbers": _learnt(norm), "dtypes": sorted({str(p.dtype) for p in norm.parameters()}), "parameters": spans}


def _norm_at_first(lesson, inputs: Values) -> Values:
    """Whether a new layer tells two tokens apart; it is taken to do so where its forward cannot be asked yet."""
    try:
        first, second = lesson.LayerNormalization(*inputs["sizes"])(inputs["x"].clone()).detach()
    except Exception:
        return {"tokens told apart": True}
    return {"tokens told apart": not torch.equal(first, second)}


def _norm_inputs(
    draw: Draw,
    *leading: int,
    size: int | None = None,
    epsilon: float | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    dtype: torch.dtype = torch.float64,
) -> Values:
    *axes, M = draw.sizes(3)
    M = size or M + 2
    sizes: list = [M] if epsilon is None else [M, epsilon]
    x = draw.normal(*(leading or axes), M, scale=scale) + offset
    return {"sizes": sizes, "parameters": draw.integer(0, 2**31), "x": x.to(dtype)}


def _flat_rows(draw: Draw) -> Values:
    inputs = _norm_inputs(draw)
    return {**inputs, "x": inputs["x"][..., :1].expand_as(inputs["x"]).clone().round()}


def _alone(kind: str) -> Callable[..., Values]:
    """A module of one input."""

    def run(lesson, inputs: Values) -> Values:
        module, _ = _made(lesson, kind, inputs, inputs["x"].dtype)
        return {"y": module(inputs["x"]).detach()}

    return run


def _alone_gradients(kind: str) -> Callable[..., Values]:
    def run(lesson, inputs: Values) -> Values:
        module, roles = _made(lesson, kind, inputs)
        wanted = {**track(inputs, "x"), **roles}
        return with_gradients({"y": module(inputs["x"])}, wanted)

    return run


def _alone_twice(kind: str) -> Callable[..., Values]:
    """The same module called with other tokens first, and fewer of them."""

    def run(lesson, inputs: Values) -> Values:
        module, _ = _made(lesson, kind, inputs)
        module(inputs["x"][:1, :1] * 2 - 1)
        return {"y": module(inputs["x"]).detach()}

    return run


def _alone_training(kind: str) -> Callable[..., Values]:
    def run(lesson, inputs: Values) -> Values:
        module, _ = _made(lesson, kind, inputs)
        return _in_training(module, inputs["parameters"], lambda: module(inputs["x"]))

    return run


def _feed_layers(lesson, inputs: Values) -> Values:
    block = lesson.FeedForwardBlock(*inputs["sizes"])
    roles = ROLES["FeedForwardBlock"](block, inputs["sizes"])
    takes = _first_size(block, [part for _, part in _owners(block)], inputs["sizes"][0])
    return {
        "first": _text(roles, "feed.in"),
        "second": _text(roles, "feed.out"),
        "takes": takes,
        "learnt_numbers": _learnt(block),
    }


def _feed_spreads(lesson, inputs: Values) -> Values:
    block = lesson.FeedForwardBlock(*inputs["sizes"])
    return _spreads(ROLES["FeedForwardBlock"](block, inputs["sizes"]), "feed.in", "feed.out")


def _feed_inputs(draw: Draw, *leading: int, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> Values:
    *axes, M, H = draw.sizes(4)
    return {
        "sizes": [M, H],
        "parameters": draw.integer(0, 2**31),
        "x": draw.normal(*(leading or axes), M, scale=scale, dtype=dtype),
    }


# --- Encoder and decoder blocks, the whole model ---


def _block_sizes(draw: Draw, heads: int | None = None) -> list:
    heads = heads or draw.integer(2, 4)
    emb_dim = heads * draw.choice([2, 3])
    return [heads, emb_dim, emb_dim + draw.integer(1, 4), round(float(draw.uniform(low=0.15, high=0.6)), 2)]


def _block_structure(block: nn.Module, attentions: Sequence[str], size: int) -> Values:
    outputs: Values = {}
    for name in attentions:
        attention = getattr(block, name, None)
        heads = getattr(attention, "heads", None)
        outputs[f"heads of {name}"] = len(heads) if isinstance(heads, LISTS) else "not there"
        if isinstance(attention, nn.Module):
            outputs[f"shapes in {name}"] = _counted(attention)
    matrices, norms = _block_parts(block, attentions)
    outputs["shapes beside the attention"] = dict(
        sorted(
            Counter(
                str(tuple(p.shape)) for name, part in _owners(block, attentions) for p in part.parameters(recurse=False)
            ).items()
        )
    )
    feed = next((child for child in block.children() if any(part in matrices for part in child.modules())), block)
    outputs["feed-forward block takes"] = _first_size(feed, matrices, size)
    outputs["learnt_numbers"] = _learnt(block)
    outputs["dropout"] = _rates(block)
    named = isinstance(getattr(block, "dropout", None), nn.Dropout)  # the notebook puts another in its place
    outputs["nn.Dropout named dropout"] = "there" if named else "not there"
    row = torch.arange(size, dtype=torch.float32) / 500  # of so small a variance that a larger epsilon shows
    outputs["normalised row"] = [norm(row[None])[0].detach() for norm in norms if norm is not block]
    return outputs


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


def _rates(module: nn.Module) -> str:
    return ", ".join(sorted({f"{part.p:g}" for part in module.modules() if isinstance(part, nn.Dropout)})) or "none"


def _counted(module: nn.Module) -> dict[str, int]:
    """How many parameters have which shape."""
    return dict(sorted(Counter(str(tuple(p.shape)) for p in module.parameters()).items()))


def _block_layers(kind: str, attentions: Sequence[str]) -> Callable[..., Values]:
    def run(lesson, inputs: Values) -> Values:
        return _block_structure(getattr(lesson, kind)(*inputs["sizes"]), attentions, inputs["sizes"][1])

    return run


def _block_spreads(kind: str, attentions: Sequence[str]) -> Callable[..., Values]:
    def run(lesson, inputs: Values) -> Values:
        block = getattr(lesson, kind)(*inputs["sizes"])
        return _spreads(_of_block("", block, attentions, inputs["sizes"][1]), f"{attentions[0]}.merge", "feed.in", "feed.out")

    return run


def _encoder_inputs(
    draw: Draw, heads: int | None = None, dtype: torch.dtype = torch.float64, scale: float = 1.0, **own: int
) -> Values:
    sizes = _block_sizes(draw, heads)
    N, K = draw.sizes(2, 2, 6)
    x = draw.normal(own.get("N", N), own.get("K", K), sizes[1], scale=scale, dtype=dtype)
    return {"sizes": sizes, "parameters": draw.integer(0, 2**31), "x": x}


def _decoder_inputs(
    draw: Draw,
    heads: int | None = None,
    masked: bool = True,
    dtype: torch.dtype = torch.float64,
    scale: float = 1.0,
    **own: int,
) -> Values:
    sizes = _block_sizes(draw, heads)
    N, queries, keys = draw.sizes(3, 2, 6)
    N, queries = own.get("N", N), own.get("queries", queries)
    inputs: Values = {
        "sizes": sizes,
        "parameters": draw.integer(0, 2**31),
        "dec_inp": draw.normal(N, queries, sizes[1], scale=scale, dtype=dtype),
        "enc_inp": draw.normal(N, own.get("keys", keys), sizes[1], scale=scale, dtype=dtype),
    }
    return {**inputs, "mask": _mask(draw, N, queries, queries)} if masked else inputs


def _as_long(draw: Draw) -> Values:
    """Decoder and encoder of equal lengths."""
    K = draw.integer(3, 6)
    return _decoder_inputs(draw, queries=K, keys=K)


def _decode(lesson, inputs: Values) -> Values:
    block, _ = _made(lesson, "DecoderBlock", inputs, inputs["dec_inp"].dtype)
    return {"y": _decoded(block, inputs).detach()}


def _decoded(block: nn.Module, inputs: Values) -> Tensor:
    return block(*(inputs[name] for name in ("dec_inp", "enc_inp", "mask") if name in inputs))


def _decode_twice(lesson, inputs: Values) -> Values:
    block, _ = _made(lesson, "DecoderBlock", inputs)
    block(inputs["dec_inp"][:1, :1] * 2 - 1, inputs["enc_inp"][:1, :1] * 2 - 1)
    return {"y": _decoded(block, inputs).detach()}


def _decode_gradients(lesson, inputs: Values) -> Values:
    block, roles = _made(lesson, "DecoderBlock", inputs)
    wanted = {**track(inputs, "dec_inp", "enc_inp"), **roles}
    return with_gradients({"y": _decoded(block, inputs)}, wanted)


def _decode_training(lesson, inputs: Values) -> Values:
    block, _ = _made(lesson, "DecoderBlock", inputs)
    return _in_training(block, inputs["parameters"], lambda: _decoded(block, inputs))


def _sequences(draw: Draw, *shape: int, dtype: torch.dtype = torch.float64) -> Values:
    return {"seq": draw.integers(0, 9, *shape) if dtype == torch.int64 else draw.normal(*shape, dtype=dtype)}


def _causal(lesson, inputs: Values) -> Values:
    return {"mask": lesson.get_subsequent_mask(inputs["seq"])}


def _model_sizes(draw: Draw) -> list:
    heads, emb_dim, feedforward_dim, dropout = _block_sizes(draw)
    layers = draw.permutation(3).tolist()
    return [heads, emb_dim, feedforward_dim, dropout, layers[0] + 2, layers[1] + 2, draw.integer(11, 15)]


def _model_layers(lesson, inputs: Values) -> Values:
    model = lesson.Transformer(*inputs["sizes"])
    embedding = getattr(model, "emb_layer", None)
    outputs: Values = {
        "emb_layer": _counted(embedding) if isinstance(embedding, nn.Module) else "not there",
        "row that is not learnt": str(getattr(embedding, "padding_idx", None)),
        "longest row": str(getattr(embedding, "max_norm", None)),
    }
    for name in ("encoder", "decoder"):
        part = getattr(model, name, None)
        if not isinstance(part, nn.Module):
            return {**outputs, name: "not there"}
        outputs |= {
            f"layers of the {name}": len(part.layers),
            f"dropout of the {name}": _rates(part),
            f"shapes in the {name}": _counted(part),
        }
    return {
        **outputs,
        "heads": len(model.encoder.layers[0].MultiHeadBlock.heads),
        "vocabulary": list(model.decoder.proj_to_vocab.weight.shape),
        "learnt_numbers": _learnt(model),
    }


def _model_spreads(lesson, inputs: Values) -> Values:
    model = lesson.Transformer(*inputs["sizes"])
    return {"spread of the embedding": float(model.emb_layer.weight.std())}


def _model_inputs(
    draw: Draw, dtype: torch.dtype = torch.float64, shared: bool = False, as_long: bool = False, **own: int
) -> Values:
    """as_long: the decoder reads as many tokens as the encoder."""
    sizes = _model_sizes(draw)
    sizes[4], sizes[5] = own.get("layers", 1), 1
    N, K, answer = draw.sizes(3, 2, 6)
    N, answer = own.get("N", N), own.get("answer", K + 1 if as_long else answer + 1)
    rows = 1 if shared else N
    return {
        "sizes": sizes,
        "parameters": draw.integer(0, 2**31),
        "ques_b": draw.integers(0, sizes[6], N, K),
        "ques_pos": draw.normal(rows, K, sizes[1], dtype=dtype),
        "ans_b": draw.integers(0, sizes[6], N, answer),
        "ans_pos": draw.normal(rows, answer, sizes[1], dtype=dtype),
    }


def _guess(model: nn.Module, inputs: Values) -> Tensor:
    return model(*(inputs[name] for name in ("ques_b", "ques_pos", "ans_b", "ans_pos")))


def _guesses(lesson, inputs: Values) -> Values:
    model, _ = _made(lesson, "Transformer", inputs, inputs["ques_pos"].dtype)
    return {"logits": _guess(model, inputs).detach()}


def _guesses_twice(lesson, inputs: Values) -> Values:
    model, _ = _made(lesson, "Transformer", inputs)
    _guess(model, {name: value[:1, :2] for name, value in inputs.items() if isinstance(value, Tensor)})
    return {"logits": _guess(model, inputs).detach()}


def _guessed_elsewhere(lesson, inputs: Values) -> Tensor:
    model = lesson.Transformer(*inputs["sizes"]).double()
    return _guess(model.to(inputs["ques_b"].device), inputs)


def _guess_gradients(lesson, inputs: Values) -> Values:
    model, roles = _made(lesson, "Transformer", inputs)
    chosen = {
        role: roles[role] for role in ("embedding", "encoder0.feed.in.weight", "decoder0.norm1.scale", "vocabulary.bias")
    }
    wanted = {**track(inputs, "ques_pos", "ans_pos"), **chosen}
    return with_gradients({"logits": _guess(model, inputs)}, wanted)


def _guess_training(lesson, inputs: Values) -> Values:
    model, _ = _made(lesson, "Transformer", inputs)
    return _in_training(model, inputs["parameters"], lambda: _guess(model, inputs))


def _guess_shape(lesson, inputs: Values) -> Values:
    model = lesson.Transformer(*inputs["sizes"])
    return {"shape": list(_guess(model, inputs).shape)}


def _guess_shape_case() -> Case:
    check = expected(TOPIC)["transformer_output_shape"]
    shapes = {name: recipe["shape"] for name, recipe in check["inputs"].items()}
    inputs: Values = {
        "sizes": list(check["construct"].values()),
        "ques_b": torch.zeros(shapes["ques_b"], dtype=torch.int64),
        "ques_pos": torch.zeros(1, *shapes["ques_pos"][1:]),
        "ans_b": torch.ones(shapes["ans_b"], dtype=torch.int64),
        "ans_pos": torch.zeros(1, *shapes["ans_pos"][1:]),
    }
    return Case(
        "shape of the course",
        lambda draw: inputs,
        _guess_shape,
        limits={"shape": 0.0},
        published={"shape": torch.tensor(check["expected"]["shape"])},
        about="on the sizes of the notebook",
    )


# --- Positions, data, losses ---


def _position(function: str) -> Callable[..., Values]:
    def run(lesson, inputs: Values) -> Values:
        return {"y": getattr(lesson, function)(inputs["K"], inputs["M"])}

    return run


def _position_sizes(draw: Draw, **own: int) -> Values:
    K, M = draw.sizes(2, 4, 12)
    return {"K": own.get("K", K), "M": own.get("M", M)}


def _position_cases(function: str, kind: str) -> tuple[Case, ...]:
    run, near = _position(function), {"rtol": 1e-5, "atol": 1e-6}

    def course(K: int, M: int) -> Case:
        check = expected(TOPIC)[f"position_{kind}_{K}_{M}"]
        return Case(
            f"{K} positions, {M} features",
            lambda draw: {"K": K, "M": M},
            run,
            limits={"y": max(check["tolerance"], 1e-7)},
            published={"y": torch.tensor(check["expected"]["y"])},
            about=f"of the notebook, K = {K}, M = {M}",
            **near,
        )

    return (
        course(4, 4),
        course(5, 3),
        Case("other sizes", _position_sizes, run, **near),
        Case("more features than positions", lambda draw: {"K": draw.integer(2, 5), "M": draw.integer(8, 13)}, run, **near),
        Case("many positions", lambda draw: {"K": draw.integer(60, 90), "M": 4}, run, rtol=1e-4, atol=1e-5),
        Case("one position", lambda draw: _position_sizes(draw, K=1), run, **near),
        Case("one feature", lambda draw: _position_sizes(draw, M=1), run, **near),
    )


def _rows_inputs(draw: Draw, equal: bool = False) -> Values:
    """Lines of equal token counts, though of other words."""
    vocab = _vocabulary(draw)
    special = [word for word in vocab if not word.isdigit()]
    asked, answered = draw.sizes(2, 3, 7)

    def line(words: int) -> str:
        return " ".join(draw.choice(special) if place % 2 else f"{draw.integer(10, 100)}" for place in range(words))

    rows = draw.integer(4, 7)
    return {
        "input_seqs": [line(asked) for _ in range(rows)],
        "target_seqs": [line(asked if equal else answered) for _ in range(rows)],
        "token_dict": {word: number for number, word in enumerate(vocab)},
        "special": special,
        "emb_dim": draw.integer(2, 6),
        "idx": draw.integer(1, rows),
    }


def _table(K: int, M: int) -> Tensor:
    """Stands for a position function: other numbers for each length and each size."""
    return (torch.arange(K * M, dtype=torch.float32).sqrt() + K).reshape(1, K, M)


def _rows(lesson, inputs: Values):
    return lesson.AddSubDataset(
        *(inputs[name] for name in ("input_seqs", "target_seqs", "token_dict", "special", "emb_dim")), _table
    )


ROW = ("input", "input_positions", "target", "target_positions")


def _row(lesson, inputs: Values) -> Values:
    return unpack(_rows(lesson, inputs)[inputs["idx"]], *ROW)


def _row_batch(lesson, inputs: Values) -> Values:
    """As a DataLoader stacks the rows."""
    return unpack(next(iter(torch.utils.data.DataLoader(_rows(lesson, inputs), batch_size=3))), *ROW)


def _loss_inputs(
    draw: Draw, T: int | None = None, V: int | None = None, scale: float = 1.0, dtype: torch.dtype = torch.float64
) -> Values:
    sizes = draw.sizes(2, 3, 9)
    T, V = T or sizes[0], V or sizes[1]
    return {"pred": draw.normal(T, V, scale=scale, dtype=dtype), "ground": draw.integers(0, V, T)}


def _loss(function: str) -> Callable[..., Values]:
    def run(lesson, inputs: Values) -> Values:
        return {"loss": getattr(lesson, function)(inputs["pred"], inputs["ground"])}

    return run


def _loss_gradients(function: str) -> Callable[..., Values]:
    def run(lesson, inputs: Values) -> Values:
        wanted = track(inputs, "pred")
        return with_gradients(_loss(function)(lesson, inputs), wanted)

    return run


def _loss_even(draw: Draw) -> Values:
    inputs = _loss_inputs(draw)
    return {**inputs, "pred": torch.zeros_like(inputs["pred"])}


def _loss_far_off(draw: Draw) -> Values:
    """Large logits, the lowest of each token that of the true class: its probability is too small for a float."""
    inputs = _loss_inputs(draw, scale=1e3)
    return {**inputs, "pred": inputs["pred"].scatter(1, inputs["ground"][:, None], -1e4)}


def _loss_square(draw: Draw) -> Values:
    size = draw.integer(3, 7)
    return _loss_inputs(draw, T=size, V=size)


def _loss_cases(function: str) -> tuple[Case, ...]:
    run = _loss(function)
    return (
        Case("an even guess", _loss_even, run),
        Case("values on random inputs", _loss_inputs, run),
        Case("gradient", _loss_inputs, _loss_gradients(function)),
        Case("one token", lambda draw: _loss_inputs(draw, T=1), run),
        Case("two classes", lambda draw: _loss_inputs(draw, V=2), run),
        Case("as many tokens as classes", _loss_square, run),
        Case("the notebook's vocabulary", lambda draw: _loss_inputs(draw, T=20, V=16), run),
        Case("large logits", _loss_far_off, run),
        device_case(_loss_inputs, lambda lesson, inputs: run(lesson, inputs)["loss"]),
        Case("float32", lambda draw: _loss_inputs(draw, dtype=torch.float32), run, rtol=1e-4, atol=1e-5),
    )


# --- The exercises, in course order; each lists whatever its body may reach ---

HEAD = ("scaled_dot_product_no_loop_batch", "SelfAttention.__init__", "SelfAttention.forward")
HEADS = (*HEAD, "MultiHeadAttention.__init__", "MultiHeadAttention.forward")
NORM = ("LayerNormalization.__init__", "LayerNormalization.forward")
FEED = ("FeedForwardBlock.__init__", "FeedForwardBlock.forward")
BLOCK = (*HEADS, *NORM, *FEED)
MODEL = (
    *BLOCK,
    "EncoderBlock.__init__",
    "EncoderBlock.forward",
    "get_subsequent_mask",
    "DecoderBlock.__init__",
    "DecoderBlock.forward",
)

EXERCISES = (
    Exercise(
        "generate_token_dict",
        TOPIC,
        cases=(
            _token_dict_case(),
            Case("another vocabulary", lambda draw: {"vocab": _vocabulary(draw)}, _numbered),
            Case("words without digits", lambda draw: {"vocab": _vocabulary(draw, digits=0)}, _numbered),
            Case("one word", lambda draw: {"vocab": [draw.choice(WORDS)]}, _numbered),
            Case("a tuple of words", lambda draw: {"vocab": tuple(_vocabulary(draw))}, _numbered),
            Case("many words", lambda draw: {"vocab": [f"w{i}" for i in draw.permutation(120).tolist()]}, _numbered),
        ),
        hints=(
            "what is looked up, and what is found: the word or its number?",
            "the first word of the list has number 0, the next one 1, whatever the words are.",
        ),
    ),
    Exercise(
        "prepocess_input_sequence",
        TOPIC,
        aliases=("preprocess_input_sequence",),
        cases=(
            *(_line_case(f"tokens_{which}_{number}") for which in ("in", "out") for number in (1, 2, 3, 4)),
            Case("other words and another vocabulary", _line_inputs, _line_tokens),
            Case("a special word alone", lambda draw: _one_word(draw, special=True), _line_tokens),
            Case("a number alone", lambda draw: _one_word(draw, special=False), _line_tokens),
            Case("a long line", lambda draw: _line_inputs(draw, words=40), _line_tokens),
            Case("special words as a tuple", lambda draw: _line_inputs(draw, kind=tuple), _line_tokens),
        ),
        hints=(
            "into which words do blanks cut the line, and which of them are in spc_tokens?",
            "a number is looked up digit by digit, a special word once and whole; all in one flat list, in their order.",
        ),
    ),
    Exercise(
        "scaled_dot_product_two_loop_single",
        TOPIC,
        cases=_looped_cases("scaled_dot_product_two_loop_single", "sdp_two_loop_single", batch=False),
        whole_calls=WHOLE_ATTENTION,
        hints=(
            "one query meets every key: how many scores does it get, and what must they sum to after the softmax?",
            "each score is divided by the square root of the number of features before the softmax.",
            "the row of shares weighs the values: which of them belongs to key j?",
        ),
    ),
    Exercise(
        "scaled_dot_product_two_loop_batch",
        TOPIC,
        cases=_looped_cases("scaled_dot_product_two_loop_batch", "sdp_two_loop_batch", batch=True),
        whole_calls=WHOLE_ATTENTION,
        hints=(
            "which part is the same as for one sequence, and which loop is new?",
            "a query looks only at keys and values of its own sequence.",
            "compare your result for sequence 0 with scaled_dot_product_two_loop_single of that sequence.",
        ),
    ),
    Exercise(
        "scaled_dot_product_no_loop_batch",
        TOPIC,
        no_loop=True,
        cases=(
            _course("sdp_no_loop_batch", _attention_course),
            Case("values on random inputs", _attention_inputs, _attention),
            Case("values with a mask", lambda draw: _attention_inputs(draw, masked=True), _attention),
            _masked_course(),
            Case("all sizes equal, with a mask", _square_inputs, _attention),
            Case("gradients", lambda draw: _attention_inputs(draw, masked=True), _attention_gradients),
            device_case(
                lambda draw: _attention_inputs(draw, masked=True), lambda lesson, inputs: _attention(lesson, inputs)["y"]
            ),
            Case("all keys forbidden", _nothing_left, _attention, rtol=1e-4, atol=1e-5),
            Case("very low scores", _very_low, _attention, rtol=1e-3, atol=1e-3),
            Case("batch of one", lambda draw: _attention_inputs(draw, N=1, masked=True), _attention),
            Case("one query", lambda draw: _attention_inputs(draw, queries=1, masked=True), _attention),
            Case("one key", lambda draw: _attention_inputs(draw, keys=1), _attention),
            Case("all sizes equal", lambda draw: _same_size(draw, batch=True), _attention),
            Case(
                "large values",
                lambda draw: _attention_inputs(draw, scale=1e2, masked=True),
                _attention,
                rtol=1e-3,
                atol=1e-3,
            ),
            Case(
                "float32",
                lambda draw: _attention_inputs(draw, masked=True, dtype=torch.float32),
                _attention,
                rtol=1e-4,
                atol=1e-5,
            ),
        ),
        whole_calls=WHOLE_ATTENTION,
        hints=(
            "which product of a batch of matrices has the shape (N, K_Q, K_K)?",
            "along which axis do the shares of one query lie? They sum to 1 there, also under a mask.",
            "True in the mask means forbidden: what must its score be so that the softmax gives it nothing?",
        ),
    ),
    Exercise(
        "SelfAttention.__init__",
        TOPIC,
        cases=(
            Case("layers", lambda draw: {"sizes": draw.sizes(3)}, _head_layers),
            Case("first weights", lambda draw: {"sizes": [24, 16, 40]}, _head_spreads, rtol=COARSE),
        ),
        hints=(
            "how many Linear maps are there, and what goes into each?",
            "queries and keys are multiplied with each other, values are not: who needs dim_q, who dim_v?",
            "`xavier_linear` makes the layers; its weights begin with another spread than those of nn.Linear.",
        ),
    ),
    Exercise(
        "SelfAttention.forward",
        TOPIC,
        needs=("scaled_dot_product_no_loop_batch", "SelfAttention.__init__"),
        cases=(
            Case("values on random inputs", _head_inputs, _attend("SelfAttention")),
            _course_module("SelfAttention", "self_attention", "query"),
            Case("values with a mask", lambda draw: _head_inputs(draw, masked=True), _attend("SelfAttention")),
            Case("all sizes equal", lambda draw: _head_inputs(draw, masked=True, equal=True), _attend("SelfAttention")),
            Case("weights_softmax", lambda draw: _head_inputs(draw, masked=True), _head_shares),
            Case("gradients", lambda draw: _head_inputs(draw, masked=True), _attend_gradients("SelfAttention")),
            Case("a second call", lambda draw: _head_inputs(draw, masked=True), _attend_twice("SelfAttention")),
            Case("batch of one", lambda draw: _head_inputs(draw, N=1), _attend("SelfAttention")),
            Case("one query", lambda draw: _head_inputs(draw, queries=1), _attend("SelfAttention")),
            Case(
                "float32",
                lambda draw: _head_inputs(draw, masked=True, dtype=torch.float32),
                _attend("SelfAttention"),
                rtol=1e-4,
                atol=1e-5,
            ),
        ),
        hints=(
            "what goes through q, what through k, what through v?",
            "the function of the last exercise does the rest; it wants the mask as well.",
            "it returns two things: the output, and what the notebook's pictures need; that is kept, cut off from the graph.",
        ),
    ),
    Exercise(
        "MultiHeadAttention.__init__",
        TOPIC,
        needs=("SelfAttention.__init__",),
        cases=(
            Case("layers", _heads_sizes, _heads_layers),
            Case("one head", lambda draw: {"sizes": [1, *draw.sizes(2)]}, _heads_layers),
            Case("first weights", lambda draw: {"sizes": [2, 24, 16]}, _heads_spreads, rtol=COARSE),
        ),
        hints=(
            "how does a module learn of the modules in a list, so that the optimiser sees their weights?",
            "dim_out is the size of each head's output; how wide are num_heads of them side by side?",
            "the last map leads from there back to dim_in.",
        ),
    ),
    Exercise(
        "MultiHeadAttention.forward",
        TOPIC,
        needs=(*HEAD, "MultiHeadAttention.__init__"),
        cases=(
            Case("values on random inputs", _heads_inputs, _attend("MultiHeadAttention")),
            _course_module("MultiHeadAttention", "multi_head_attention", "query"),
            Case("values with a mask", lambda draw: _heads_inputs(draw, masked=True), _attend("MultiHeadAttention")),
            Case("gradients", lambda draw: _heads_inputs(draw, masked=True), _attend_gradients("MultiHeadAttention")),
            Case("a second call", lambda draw: _heads_inputs(draw, masked=True), _attend_twice("MultiHeadAttention")),
            Case("one head", lambda draw: _heads_inputs(draw, heads=1, masked=True), _attend("MultiHeadAttention")),
            Case("batch of one", lambda draw: _heads_inputs(draw, N=1), _attend("MultiHeadAttention")),
            Case("one query", lambda draw: _heads_inputs(draw, queries=1), _attend("MultiHeadAttention")),
            Case(
                "float32",
                lambda draw: _heads_inputs(draw, masked=True, dtype=torch.float32),
                _attend("MultiHeadAttention"),
                rtol=1e-4,
                atol=1e-5,
            ),
        ),
        hints=(
            "what does every head get, and what does it give?",
            "the heads' outputs stand side by side: head 0 first, along the features.",
            "the last map mixes the heads and leads back to dim_in.",
        ),
    ),
    Exercise(
        "LayerNormalization.__init__",
        TOPIC,
        cases=(
            Case("parameters", lambda draw: {"sizes": [draw.integer(3, 9)]}, _norm_layers),
            Case("one feature", lambda draw: {"sizes": [1]}, _norm_layers),
            Case("a new layer", lambda draw: _norm_inputs(draw, 2, dtype=torch.float32), _norm_at_first),
        ),
        whole_calls={"LayerNorm": "right; PyTorch's own layer holds both parameters here. Two nn.Parameter would do."},
        hints=(
            "what does a tensor have to be so that an optimiser finds it?",
            "one number a feature for the scale, one for the shift; at first they change nothing.",
        ),
    ),
    Exercise(
        "LayerNormalization.forward",
        TOPIC,
        needs=("LayerNormalization.__init__",),
        cases=(
            Case("values on random inputs", _norm_inputs, _alone("LayerNormalization")),
            _course_module("LayerNormalization", "layer_normalization", "x"),
            Case("a large epsilon", lambda draw: _norm_inputs(draw, epsilon=0.4), _alone("LayerNormalization")),
            Case("gradients", _norm_inputs, _alone_gradients("LayerNormalization")),
            Case("a second call", _norm_inputs, _alone_twice("LayerNormalization")),
            Case("rows of equal numbers", _flat_rows, _alone_gradients("LayerNormalization"), rtol=1e-5),
            Case("two axes", lambda draw: _norm_inputs(draw, 3), _alone("LayerNormalization")),
            Case("four axes", lambda draw: _norm_inputs(draw, 2, 3, 4), _alone("LayerNormalization")),
            Case("one token", lambda draw: _norm_inputs(draw, 1, 1), _alone("LayerNormalization")),
            Case("all sizes equal", lambda draw: _norm_inputs(draw, 5, 5, size=5), _alone("LayerNormalization")),
            Case("large values", lambda draw: _norm_inputs(draw, scale=1e3, offset=1e3), _alone("LayerNormalization")),
            Case(
                "float32",
                lambda draw: _norm_inputs(draw, dtype=torch.float32),
                _alone("LayerNormalization"),
                rtol=1e-4,
                atol=1e-5,
            ),
        ),
        whole_calls={
            "layer_norm": "right; PyTorch's own function does it all here. Write mean and variance by hand once as well."
        },
        hints=(
            "over which axis are mean and variance taken, and which shape must they keep to be subtracted?",
            "what is the variance divided by, M or M - 1? And does epsilon stand inside or outside the square root?",
            "scale and shift come last.",
        ),
    ),
    Exercise(
        "FeedForwardBlock.__init__",
        TOPIC,
        cases=(
            Case("layers", lambda draw: {"sizes": draw.sizes(2)}, _feed_layers),
            Case("first weights", lambda draw: {"sizes": [24, 16]}, _feed_spreads, rtol=COARSE),
        ),
        hints=("two maps: from which size to which does each lead?", "`xavier_linear` makes them; both have a bias."),
    ),
    Exercise(
        "FeedForwardBlock.forward",
        TOPIC,
        needs=("FeedForwardBlock.__init__",),
        cases=(
            Case("values on random inputs", _feed_inputs, _alone("FeedForwardBlock")),
            _course_module("FeedForwardBlock", "feed_forward", "x"),
            Case("gradients", _feed_inputs, _alone_gradients("FeedForwardBlock")),
            Case("a second call", _feed_inputs, _alone_twice("FeedForwardBlock")),
            Case("train mode", _feed_inputs, _alone_training("FeedForwardBlock")),
            Case("two axes", lambda draw: _feed_inputs(draw, 3), _alone("FeedForwardBlock")),
            Case("four axes", lambda draw: _feed_inputs(draw, 2, 3, 2), _alone("FeedForwardBlock")),
            Case("one token", lambda draw: _feed_inputs(draw, 1, 1), _alone("FeedForwardBlock")),
            Case("large values", lambda draw: _feed_inputs(draw, scale=1e3), _alone("FeedForwardBlock")),
            Case(
                "float32",
                lambda draw: _feed_inputs(draw, dtype=torch.float32),
                _alone("FeedForwardBlock"),
                rtol=1e-4,
                atol=1e-5,
            ),
        ),
        hints=(
            "where does the ReLU stand, and how often?",
            "nothing is added to the result here: the block around does that.",
        ),
    ),
    Exercise(
        "EncoderBlock.__init__",
        TOPIC,
        needs=("SelfAttention.__init__", "MultiHeadAttention.__init__", *NORM, *FEED),
        cases=(
            Case("layers", lambda draw: {"sizes": _block_sizes(draw)}, _block_layers("EncoderBlock", ENCODER)),
            Case("one head", lambda draw: {"sizes": _block_sizes(draw, heads=1)}, _block_layers("EncoderBlock", ENCODER)),
            Case(
                "first weights", lambda draw: {"sizes": [2, 24, 16, 0.1]}, _block_spreads("EncoderBlock", ENCODER), rtol=COARSE
            ),
        ),
        hints=(
            "which layers does the block need, and which of them have weights of their own?",
            "all heads together are as wide as the tokens; how wide is one?",
            "the notebook looks for the names MultiHeadBlock and dropout.",
        ),
    ),
    Exercise(
        "EncoderBlock.forward",
        TOPIC,
        needs=(*BLOCK, "EncoderBlock.__init__"),
        cases=(
            Case("values without dropout", _encoder_inputs, _alone("EncoderBlock")),
            Case("train mode", _encoder_inputs, _alone_training("EncoderBlock")),
            _course_block("EncoderBlock", "encoder_block_1", "values of the course, two heads"),
            _course_block("EncoderBlock", "encoder_block_2", "values of the course, one head"),
            Case("gradients", _encoder_inputs, _alone_gradients("EncoderBlock")),
            Case("a second call", _encoder_inputs, _alone_twice("EncoderBlock")),
            Case("batch of one", lambda draw: _encoder_inputs(draw, N=1), _alone("EncoderBlock")),
            Case("one token", lambda draw: _encoder_inputs(draw, K=1), _alone("EncoderBlock")),
            Case(
                "float32",
                lambda draw: _encoder_inputs(draw, dtype=torch.float32),
                _alone("EncoderBlock"),
                rtol=1e-4,
                atol=1e-4,
            ),
        ),
        hints=(
            "two halves alike: attention, then feed-forward block. What is added to the result of each?",
            "the order in each half: add, normalise, drop.",
            "from which tensor does the second half start: x, or what the first half made of it?",
        ),
    ),
    Exercise(
        "get_subsequent_mask",
        TOPIC,
        cases=(
            _course("subsequent_mask", _causal),
            Case("other sizes", lambda draw: _sequences(draw, *draw.sizes(2)), _causal),
            Case("tokens instead of floats", lambda draw: _sequences(draw, *draw.sizes(2), dtype=torch.int64), _causal),
            Case("as many sequences as tokens", lambda draw: _sequences(draw, 4, 4), _causal),
            Case("one sequence", lambda draw: _sequences(draw, 1, draw.integer(2, 6)), _causal),
            Case("one token", lambda draw: _sequences(draw, draw.integer(2, 5), 1), _causal),
            Case("a long sequence", lambda draw: _sequences(draw, 2, draw.integer(20, 30)), _causal),
            device_case(
                lambda draw: _sequences(draw, *draw.sizes(2)), lambda lesson, inputs: _causal(lesson, inputs)["mask"]
            ),
        ),
        hints=(
            "which keys may query t see: those before t, t itself, those after?",
            "True means forbidden: on which side of the diagonal, and on the diagonal itself?",
            "the same (K, K) square for each of the N sequences, bool, on seq's device.",
        ),
    ),
    Exercise(
        "DecoderBlock.__init__",
        TOPIC,
        needs=("SelfAttention.__init__", "MultiHeadAttention.__init__", *NORM, *FEED),
        cases=(
            Case("layers", lambda draw: {"sizes": _block_sizes(draw)}, _block_layers("DecoderBlock", DECODER)),
            Case("one head", lambda draw: {"sizes": _block_sizes(draw, heads=1)}, _block_layers("DecoderBlock", DECODER)),
            Case(
                "first weights", lambda draw: {"sizes": [2, 24, 16, 0.1]}, _block_spreads("DecoderBlock", DECODER), rtol=COARSE
            ),
        ),
        hints=(
            "an encoder block has two halves; what are the three parts here?",
            "each attention has weights of its own, and so has each normalisation.",
            "the notebook looks for the names attention_self and attention_cross, and for dropout.",
        ),
    ),
    Exercise(
        "DecoderBlock.forward",
        TOPIC,
        needs=(*BLOCK, "DecoderBlock.__init__"),
        cases=(
            Case("as many tokens in both, without dropout", _as_long, _decode),
            Case("values without dropout", _decoder_inputs, _decode),
            Case("values without a mask", lambda draw: _decoder_inputs(draw, masked=False), _decode),
            Case("train mode", _decoder_inputs, _decode_training),
            _course_block("DecoderBlock", "decoder_block_1", "values of the course"),
            _course_block("DecoderBlock", "decoder_block_2", "values of the course, equal lengths"),
            Case("gradients", _decoder_inputs, _decode_gradients),
            Case("a second call", _decoder_inputs, _decode_twice),
            Case("batch of one", lambda draw: _decoder_inputs(draw, N=1), _decode),
            Case("one token", lambda draw: _decoder_inputs(draw, queries=1), _decode),
            Case("float32", lambda draw: _decoder_inputs(draw, dtype=torch.float32), _decode, rtol=1e-4, atol=1e-4),
        ),
        hints=(
            "three parts, each: add, normalise, drop. Which tensor does each start from?",
            "in the second attention the decoder asks; who is asked?",
            "the mask hides later tokens of the answer; has the question any that must be hidden?",
        ),
    ),
    Exercise(
        "position_encoding_simple",
        TOPIC,
        cases=_position_cases("position_encoding_simple", "simple"),
        hints=(
            "which number does position n get, and what is it divided by?",
            "all features of a row hold the same number; the first axis has size 1.",
        ),
    ),
    Exercise(
        "position_encoding_sinusoid",
        TOPIC,
        cases=_position_cases("position_encoding_sinusoid", "sinusoid"),
        hints=(
            "which columns hold sines, which cosines: halves, or in turn?",
            "2 i is the column, an even number below M: what is the floor of 2 i / M?",
            "then the power of 10000 is 1: of which number are sine and cosine taken?",
        ),
    ),
    Exercise(
        "AddSubDataset.__getitem__",
        TOPIC,
        needs=("prepocess_input_sequence",),
        cases=(
            Case("a row", _rows_inputs, _row),
            Case("a row of equal lengths", lambda draw: _rows_inputs(draw, equal=True), _row),
            Case("the first row", lambda draw: {**_rows_inputs(draw), "idx": 0}, _row),
            Case("a batch of rows", _rows_inputs, _row_batch),
        ),
        hints=("which four things belong to a row, and in which order?", "tokens differ from row to row; do positions?"),
    ),
    Exercise(
        "Transformer.__init__",
        TOPIC,
        needs=MODEL,
        cases=(
            Case("layers", lambda draw: {"sizes": _model_sizes(draw)}, _model_layers),
            Case("first weights", lambda draw: {"sizes": [1, 12, 8, 0.1, 1, 1, 120]}, _model_spreads, rtol=2 * COARSE),
        ),
        hints=(
            "one embedding serves question and answer: how many rows has it?",
            "`Encoder` and `Decoder` take the number of layers before dropout.",
            "which of the two takes num_enc_layers, and which also needs the vocabulary?",
        ),
    ),
    Exercise(
        "Transformer.forward",
        TOPIC,
        needs=(*MODEL, "Transformer.__init__"),
        cases=(
            Case("values on equal lengths", lambda draw: _model_inputs(draw, as_long=True), _guesses),
            Case("values on random inputs", _model_inputs, _guesses),
            _guess_shape_case(),
            Case("two layers", lambda draw: _model_inputs(draw, layers=2), _guesses),
            Case("gradients", _model_inputs, _guess_gradients),
            Case("a second call", _model_inputs, _guesses_twice),
            device_case(_model_inputs, _guessed_elsewhere),
            Case("train mode", _model_inputs, _guess_training),
            Case("positions without a batch", lambda draw: _model_inputs(draw, shared=True), _guesses),
            Case("batch of one", lambda draw: _model_inputs(draw, N=1), _guesses),
            Case("an answer of two tokens", lambda draw: _model_inputs(draw, answer=2), _guesses),
            Case("float32", lambda draw: _model_inputs(draw, dtype=torch.float32), _guesses, rtol=1e-3, atol=1e-3),
        ),
        hints=(
            "what does the encoder read, and what is added to the embeddings first?",
            "the decoder guesses the next token: which token of the answer has none after it?",
            "tokens, positions and mask of the answer have one length; the logits of all tokens stand below each other.",
        ),
    ),
    Exercise(
        "LabelSmoothingLoss",
        TOPIC,
        cases=_loss_cases("LabelSmoothingLoss"),
        hints=(
            "which probability should the true class have, and what do all the others share?",
            "how many other classes are there? Read it from pred.",
            "each class counts with its wanted probability times minus its log-probability; all tokens are summed.",
        ),
    ),
    Exercise(
        "CrossEntropyLoss",
        TOPIC,
        cases=_loss_cases("CrossEntropyLoss"),
        hints=(
            "what is the loss of one token for an even guess among V classes?",
            "pred holds logits: does your function still do the softmax, and only once?",
            "the sum over the tokens is wanted; the training loop divides.",
        ),
    ),
)
