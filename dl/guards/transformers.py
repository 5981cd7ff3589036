"""Checks of arguments of transformers.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import lru_cache

import torch
from torch import Tensor

from dl.guards import check_sizes, want_function, want_kind, want_numbers, want_tensors, want_words


def check_vocabulary(vocab: Sequence[str]) -> None:
    """No word twice."""
    want_words("generate_token_dict", "the vocabulary", vocab)
    if len(set(vocab)) != len(vocab):
        repeated = sorted({word for word in vocab if list(vocab).count(word) > 1})
        raise ValueError(
            f"generate_token_dict: {repeated} stand more than once in the vocabulary; every word needs one number. "
            "Remove the repetitions."
        )


def check_words(line: str, token_dict: Mapping[str, int], spc_tokens: Sequence[str]) -> None:
    """Every word of a line can be written with the vocabulary."""
    if not isinstance(line, str):
        raise TypeError(f"prepocess_input_sequence: wanted one line of text, got {type(line).__name__}. Pass a string.")
    want_kind("prepocess_input_sequence", "a dictionary", Mapping, token_dict=token_dict)
    want_kind("prepocess_input_sequence", "a list of words", (Sequence, Set, Mapping), spc_tokens=spc_tokens)
    try:
        known = _known_words(tuple(token_dict), tuple(spc_tokens))
    except TypeError:  # what they hold is no word
        want_words("prepocess_input_sequence", "token_dict", token_dict)
        want_words("prepocess_input_sequence", "spc_tokens", spc_tokens)
        raise
    unknown = [word for word in line.split() if word not in known and not known.issuperset(word)]
    if unknown:
        raise ValueError(
            f"prepocess_input_sequence: {unknown} in {line!r} not in the vocabulary; wanted the words "
            f"{list(spc_tokens)} and numbers of known digits. Spell the words as in this list, separated by blanks."
        )


@lru_cache
def _known_words(words: tuple[str, ...], special: tuple[str, ...]) -> frozenset[str]:
    """The special words and the characters of the others that have a token. Cached: a data set asks for every line."""
    want_words("prepocess_input_sequence", "spc_tokens", special)
    return frozenset({*special, *"".join(word for word in words if word not in special)} & {*words})


def check_attention(name: str, query: Tensor, key: Tensor, value: Tensor, ndim: int) -> None:
    """Shapes of query, key and value, (K, M) or (N, K, M), fit each other."""
    want_tensors(name, query=query, key=key, value=value)
    dtypes = [tensor.dtype for tensor in (query, key, value)]
    if len(set(dtypes)) > 1 and not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda"):
        raise TypeError(f"{name}: query, key and value must share one dtype, got {dtypes}. Convert them with .to(dtype).")
    axes = {2: "(K, M)", 3: "(N, K, M)"}[ndim]
    fits = (
        query.ndim == key.ndim == value.ndim == ndim
        and query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
        and query.shape[-1] == key.shape[-1]
        and key.shape[-2] == value.shape[-2]
    )
    if not fits or ndim == 2 and not len(query):
        raise ValueError(
            f"{name}: got query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}; wanted three "
            f"{axes} with one batch, query and key of equal features M, key and value of equal length K. "
            "Project query and key to one size, and take key and value from the same sequence."
        )


def check_features(name: str, size: int, weights: Iterator[Tensor], **tensors: Tensor) -> None:
    """Floating tensors whose last axis has the layer's features, and whose dtype is that of the first of its weights."""
    want_tensors(name, True, **tensors)
    dtype = next((weight.dtype for weight in weights), None)
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        dtype = None
    for which, tensor in tensors.items():
        if tensor.ndim == 0 or tensor.shape[-1] != size:
            raise ValueError(
                f"{name}: {which} has shape {tuple(tensor.shape)}, wanted (..., {size}), the features that the layer was made "
                "for. Make the layer for these features, or pass tokens of that size."
            )
        if dtype not in (None, tensor.dtype):
            raise TypeError(
                f"{name}: {which} is {tensor.dtype}, wanted {dtype}, the dtype of the layer's weights. "
                "Convert one of them with .to(dtype)."
            )


def check_mask(name: str, mask: Tensor, shape: tuple[int, int, int]) -> None:
    """A bool mask of that shape."""
    want_tensors(name, floating=False, mask=mask)
    if mask.dtype != torch.bool:
        raise TypeError(
            f"{name}: the mask is {mask.dtype}; wanted torch.bool, True where attention is forbidden. "
            "Convert a 0/1 mask with mask.bool(), after making sure that 1 means forbidden."
        )
    if mask.shape != shape:
        raise ValueError(
            f"{name}: the mask has shape {tuple(mask.shape)}; wanted (N, K_Q, K_K) = {shape}. "
            "Make it from the query's tokens with get_subsequent_mask."
        )


def check_block(name: str, num_heads: int, emb_dim: int, feedforward_dim: int, dropout: float) -> None:
    """Sizes of at least 1, heads that share the features evenly, a probability."""
    check_sizes(name, 1, num_heads=num_heads, emb_dim=emb_dim, feedforward_dim=feedforward_dim)
    want_numbers(name, dropout=dropout)
    if not 0 <= dropout < 1:
        raise ValueError(f"{name}: dropout is {dropout}, wanted a probability in [0, 1). Pass 0.0 for none.")
    if emb_dim % num_heads != 0:
        raise ValueError(
            f"{name}: emb_dim {emb_dim} is not a multiple of num_heads {num_heads}, so the heads cannot share it "
            "evenly. Choose an emb_dim that num_heads divides, for example 32 for 4 heads."
        )


def check_positions(name: str, which: str, tokens: Tensor, positions: Tensor, emb_dim: int) -> None:
    """Integer tokens, and as many positions of M features."""
    want_tensors(name, floating=False, **{f"{which}_b": tokens})
    want_tensors(name, True, **{f"{which}_pos": positions})
    if tokens.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"{name}: {which}_b must hold tokens as integers, got {tokens.dtype}. Convert them with .long().")
    if tokens.ndim != 2 or positions.ndim != 3 or positions.shape[0] not in (1, tokens.shape[0]):
        raise ValueError(
            f"{name}: got {which}_b {tuple(tokens.shape)} and {which}_pos {tuple(positions.shape)}; wanted tokens "
            "(N, K) and positions (N, K, M) or (1, K, M). Add a batch axis with tokens[None]."
        )
    if positions.shape[2] != emb_dim:
        raise ValueError(
            f"{name}: {which}_pos has {positions.shape[2]} features, wanted emb_dim = {emb_dim} of the model. Make the "
            "positions for this size, for example position_encoding_sinusoid(K, M)."
        )
    if tokens.shape[1] != positions.shape[1]:
        raise ValueError(
            f"{name}: {which}_b has {tokens.shape[1]} tokens but {which}_pos {positions.shape[1]} positions. "
            "Make the positions for this length, for example position_encoding_sinusoid(K, M)."
        )


def check_loss(name: str, pred: Tensor, ground: Tensor) -> None:
    """One class per row of logits."""
    want_tensors(name, pred=pred)
    want_tensors(name, floating=False, ground=ground)
    if ground.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"{name}: ground must hold classes as integers, got {ground.dtype}. Convert them with .long().")
    if pred.ndim != 2 or not pred.shape[1] or ground.ndim not in (1, 2) or ground.numel() != pred.shape[0]:
        raise ValueError(
            f"{name}: got pred {tuple(pred.shape)} and ground {tuple(ground.shape)}; wanted logits (T, V) and T "
            "classes, (T,) or (N, T / N). Take the targets without their first token, ans[:, 1:]."
        )


def check_token_sequences(seq: Tensor) -> None:
    """Two axes, (N, K)."""
    want_tensors("get_subsequent_mask", floating=False, seq=seq)
    if seq.ndim != 2:
        raise ValueError(
            f"get_subsequent_mask: wanted a batch of token sequences (N, K), got shape {tuple(seq.shape)}. "
            "Add a batch axis with seq[None], or pass tokens instead of embeddings."
        )


def check_pairs(inputs: Sequence[str], targets: Sequence[str], emb_dim: int, pos_encode: Callable) -> None:
    """As many inputs as targets, at least one, and a function for their positions."""
    want_words("AddSubDataset", "input_seqs", inputs)
    want_words("AddSubDataset", "target_seqs", targets)
    check_sizes("AddSubDataset", 1, emb_dim=emb_dim)
    want_function("AddSubDataset", "a function (K, M) -> (1, K, M)", pos_encode=pos_encode)
    if len(inputs) != len(targets) or len(inputs) == 0:
        raise ValueError(
            f"AddSubDataset: got {len(inputs)} inputs and {len(targets)} targets; wanted equally many, at "
            "least one. Take both from the same part of the split."
        )


def check_equal_lengths(name: str, rows: Sequence[Sequence[int]], lines: Sequence[str]) -> None:
    """All lines have as many tokens as the first."""
    odd = [number for number, row in enumerate(rows) if len(row) != len(rows[0])]
    if odd:
        raise ValueError(
            f"AddSubDataset: row {odd[0]} of {name}, {lines[odd[0]]!r}, has {len(rows[odd[0]])} tokens but row 0 has "
            f"{len(rows[0])} ({len(odd)} such rows); there is no padding, so all must be equally long. "
            "Write every number with the same number of digits, 07 and not 7."
        )
