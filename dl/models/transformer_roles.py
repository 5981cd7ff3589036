"""Which parameter of a student's Transformer plays which role.

An exercise leaves the names of its parts free. They are found by what they are: the order and the shape of a matrix, a
scale near one, a shift near zero. So shipped weights fit a model whose parts have other names, and the checks can fill it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

LISTS = (nn.ModuleList, nn.Sequential, list, tuple)  # what `heads` may be
SHIPPED = (  # names in `dl/weights/files/transformer.safetensors` -> roles
    (r"^(encoder|decoder)\.layers\.(\d+)\.", r"\1\2."),
    (r"heads\.(\d+)\.", r"head\1."),
    (r"feed_forward\.expand", "feed.in"),
    (r"feed_forward\.contract", "feed.out"),
    (r"norm(\d)\.", lambda found: f"norm{int(found[1]) - 1}."),
    (r"gamma$", "scale"),
    (r"beta$", "shift"),
    (r"^emb_layer\.weight$", "embedding"),
    (r"^decoder\.proj_to_vocab", "vocabulary"),
)
Roles = dict[str, nn.Parameter]


def load_shipped(model: Any, state: Mapping[str, Tensor]) -> None:
    """Copy the shipped weights into a Transformer of the course, whatever its parts are called.

    Args:
        model: a `transformers.Transformer` of the shipped sizes. state: of `dl.weights.load("transformer")`.
    Raises:
        ValueError: if a part is not found or has another shape; then nothing is changed.
    """
    roles = of_transformer(model, model.emb_layer.weight.shape[1])
    wanted = {}
    for name, value in state.items():
        for pattern, role in SHIPPED:
            name = re.sub(pattern, role, name)
        wanted[name] = value
    odd = sorted(
        name
        for name in {*wanted, *roles}
        if name not in wanted or name not in roles or wanted[name].shape != roles[name].shape
    )
    if odd:
        raise ValueError(
            f"load_shipped: {len(odd)} of {len(wanted)} parts do not fit the shipped weights, the first is {odd[0]}. "
            "Build the model with the sizes that the notebook gives, and let every exercise of transformers.py pass its "
            "check: python -m dl check transformers"
        )
    with torch.no_grad():
        for name, parameter in roles.items():
            parameter.copy_(wanted[name])


def owners(module: Any, without: Sequence[str] = ()) -> list[tuple[str, nn.Module]]:
    """Every part with parameters of its own, by name, in order, but for those inside the named children."""
    return [
        (name, part)
        for name, part in module.named_modules()
        if name.partition(".")[0] not in without and list(part.parameters(recurse=False))
    ]


def of_linear(role: str, part: Any) -> Roles:
    own = list(part.parameters(recurse=False)) if isinstance(part, nn.Module) else []
    return {f"{role}.{'weight' if p.ndim == 2 else 'bias'}": p for p in own}


def of_norm(role: str, module: Any) -> Roles:
    own = sorted(module.parameters(), key=lambda p: float((p.detach() - 1).abs().mean()))  # the scale is near one
    return {f"{role}.{name}": p for name, p in zip(("scale", "shift"), own, strict=False)}


def of_feed_forward(role: str, parts: Sequence[nn.Module], size: int) -> Roles:
    roles: Roles = {}
    for part in parts:  # two layers, or one part that holds the parameters of both
        own = list(part.parameters(recurse=False))
        for matrix in (p for p in own if p.ndim == 2):
            name = f"{role}.{'in' if matrix.shape[1] == size else 'out'}"
            bias = next((p for p in own if p.shape == matrix.shape[:1]), None)
            roles |= {f"{name}.weight": matrix} | ({} if bias is None else {f"{name}.bias": bias})
    return roles


def of_head(role: str, head: Any) -> Roles:
    named = [getattr(head, name, None) for name in "qkv"]
    parts = named if all(isinstance(part, nn.Module) for part in named) else [part for _, part in owners(head)]
    return {name: p for letter, part in zip("qkv", parts, strict=False) for name, p in of_linear(role + letter, part).items()}


def of_heads(role: str, module: Any) -> Roles:
    roles: Roles = {}
    for number, head in enumerate(listed_heads(module)):
        roles |= of_head(f"{role}head{number}.", head)
    for _, part in owners(module, ("heads",)):
        roles |= of_linear(f"{role}merge", part)
    return roles


def listed_heads(module: Any) -> Any:
    """The heads of a multi-head attention; none where they are no list."""
    heads = getattr(module, "heads", ())
    return heads if isinstance(heads, LISTS) else ()


def block_parts(block: Any, attentions: Sequence[str]) -> tuple[list[nn.Module], list[nn.Module]]:
    """The parts with matrices and those with vectors alone, outside the attentions, in their order."""
    parts = owners(block, attentions)
    matrices = [part for _, part in parts if any(p.ndim == 2 for p in part.parameters(recurse=False))]
    vectors = [(name, part) for name, part in parts if part not in matrices]
    if len({re.sub(r"\d+", "", name) for name, _ in vectors}) == 1:  # norm1, norm2 in whatever order they were made
        vectors.sort(key=lambda pair: pair[0])
    return matrices, [part for _, part in vectors]


def of_block(role: str, block: Any, attentions: Sequence[str], size: int) -> Roles:
    roles: Roles = {}
    for name in attentions:
        roles |= of_heads(f"{role}{name}.", getattr(block, name))
    matrices, norms = block_parts(block, attentions)
    roles |= of_feed_forward(f"{role}feed", matrices, size)
    for number, norm in enumerate(norms):
        roles |= of_norm(f"{role}norm{number}", norm)
    return roles


ENCODER, DECODER = ("MultiHeadBlock",), ("attention_self", "attention_cross")


def of_transformer(model: Any, size: int) -> Roles:
    roles: Roles = {"embedding": model.emb_layer.weight}
    for part, attentions in (("encoder", ENCODER), ("decoder", DECODER)):
        for number, layer in enumerate(getattr(model, part).layers):
            roles |= of_block(f"{part}{number}.", layer, attentions, size)
    return roles | of_linear("vocabulary", model.decoder.proj_to_vocab)


ROLES: Mapping[str, Callable[[nn.Module, Sequence], Roles]] = {
    "SelfAttention": lambda module, sizes: of_head("", module),
    "MultiHeadAttention": lambda module, sizes: of_heads("", module),
    "LayerNormalization": lambda module, sizes: of_norm("norm", module),
    "FeedForwardBlock": lambda module, sizes: of_feed_forward("feed", [part for _, part in owners(module)], sizes[0]),
    "EncoderBlock": lambda module, sizes: of_block("", module, ENCODER, sizes[1]),
    "DecoderBlock": lambda module, sizes: of_block("", module, DECODER, sizes[1]),
    "Transformer": lambda module, sizes: of_transformer(module, sizes[1]),
}
