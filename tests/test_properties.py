"""Whatever a public function is given: a right call gives a result, a wrong one is explained, and inputs stay as they are.

A call that fits is changed in one or two arguments: another type, shape or dtype, nothing in it, NaN, huge numbers. What
comes is a result, or a ValueError or TypeError of ours: raised in our own code, beginning with a name, with what was given,
what was wanted, and how to put it right.
"""

from __future__ import annotations

import contextlib
import io
import re
import traceback
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rnn_lstm_captioning as captioning
import transformers
from dl import clip_dino, coco_utils, grad, image_utils, utils
from dl.__main__ import main
from dl.simclr import contrastive_loss as simclr

ROOT = Path(__file__).resolve().parent.parent
THREE_PARTS = re.compile(r"^[\w.]+: .{8,}[^.]\. \S.{5,}[.)]$", re.S)  # "name: given and wanted. What to do."
DTYPES = (torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool)
often = settings(max_examples=10, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


def f(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def i(high: int, *shape: int) -> torch.Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(0))


WORDS = ["<NULL>", "<START>", "<END>", "<UNK>", "cat", "dog"]
TOKENS = {word: number for number, word in enumerate(["0", "1", "add", "BOS", "EOS"])}
CALLS = {
    "rnn_step_forward": (captioning.rnn_step_forward, (f(3, 4), f(3, 5), f(4, 5), f(5, 5), f(5))),
    "rnn_forward": (captioning.rnn_forward, (f(3, 2, 4), f(3, 5), f(4, 5), f(5, 5), f(5))),
    "RNN.forward": (captioning.RNN(4, 5), (f(3, 2, 4), f(3, 5))),
    "LSTM.step_forward": (captioning.LSTM(4, 5).step_forward, (f(3, 4), f(3, 5), f(3, 5))),
    "LSTM.forward": (captioning.LSTM(4, 5), (f(3, 2, 4), f(3, 5))),
    "AttentionLSTM.forward": (captioning.AttentionLSTM(4, 5), (f(3, 2, 4), f(3, 5, 4, 4))),
    "dot_product_attention": (captioning.dot_product_attention, (f(2, 3), f(2, 3, 4, 4))),
    "WordEmbedding": (captioning.WordEmbedding(5, 3), (i(5, 2, 3),)),
    "temporal_softmax_loss": (partial(captioning.temporal_softmax_loss, ignore_index=0), (f(2, 3, 4), i(4, 2, 3))),
    "two_loop_single": (transformers.scaled_dot_product_two_loop_single, (f(3, 4), f(3, 4), f(3, 4))),
    "two_loop_batch": (transformers.scaled_dot_product_two_loop_batch, (f(2, 3, 4), f(2, 3, 4), f(2, 3, 4))),
    "no_loop_batch": (
        transformers.scaled_dot_product_no_loop_batch,
        (f(2, 3, 4), f(2, 3, 4), f(2, 3, 4), torch.ones(2, 3, 3).triu(1).bool()),
    ),
    "SelfAttention": (transformers.SelfAttention(4, 2, 3), (f(2, 3, 4), f(2, 3, 4), f(2, 3, 4))),
    "MultiHeadAttention": (transformers.MultiHeadAttention(2, 4, 2), (f(2, 3, 4), f(2, 3, 4), f(2, 3, 4))),
    "LayerNormalization": (transformers.LayerNormalization(4), (f(2, 3, 4),)),
    "FeedForwardBlock": (transformers.FeedForwardBlock(4, 6), (f(2, 3, 4),)),
    "EncoderBlock": (transformers.EncoderBlock(2, 4, 6, 0.0), (f(2, 3, 4),)),
    "DecoderBlock": (transformers.DecoderBlock(2, 4, 6, 0.0), (f(2, 3, 4), f(2, 3, 4))),
    "get_subsequent_mask": (transformers.get_subsequent_mask, (i(4, 2, 3),)),
    "position_encoding_simple": (transformers.position_encoding_simple, (3, 4)),
    "position_encoding_sinusoid": (transformers.position_encoding_sinusoid, (3, 4)),
    "LabelSmoothingLoss": (transformers.LabelSmoothingLoss, (f(6, 5), i(5, 6))),
    "CrossEntropyLoss": (transformers.CrossEntropyLoss, (f(6, 5), i(5, 6))),
    "generate_token_dict": (transformers.generate_token_dict, (["0", "1", "add"],)),
    "prepocess_input_sequence": (transformers.prepocess_input_sequence, ("BOS 01 add 11 EOS", TOKENS, ["add", "BOS", "EOS"])),
    "sim": (simclr.sim, (f(4), f(4))),
    "sim_positive_pairs": (simclr.sim_positive_pairs, (f(3, 4), f(3, 4))),
    "compute_sim_matrix": (simclr.compute_sim_matrix, (f(3, 4),)),
    "simclr_loss_naive": (simclr.simclr_loss_naive, (f(3, 4), f(3, 4), 0.5)),
    "simclr_loss_vectorized": (simclr.simclr_loss_vectorized, (f(3, 4), f(3, 4), 0.5)),
    "get_similarity_no_loop": (clip_dino.get_similarity_no_loop, (f(3, 4), f(2, 4))),
    "compute_iou": (clip_dino.compute_iou, (i(3, 5), i(3, 5), 3)),
    "DINOSegmentation.inference": (clip_dino.DINOSegmentation("cpu", 2, 4).inference, (f(3, 4),)),
    "DINOSegmentation.train": (partial(clip_dino.DINOSegmentation("cpu", 2, 4).train, num_iters=1), (f(3, 4), i(2, 3))),
    "decode_captions": (coco_utils.decode_captions, (i(6, 2, 3), WORDS)),
    "grad.rel_error": (grad.rel_error, (f(3, 4), f(3, 4))),
    "compute_numeric_gradient": (partial(grad.compute_numeric_gradient, torch.sin), (f(3).double(), f(3).double())),
    "tensor_to_image": (utils.tensor_to_image, (f(3, 4, 4),)),
    "image_from_url": (image_utils.image_from_url, ("images/none.png",)),
}


def other_tensors(like) -> st.SearchStrategy:
    """Tensors of other shapes and dtypes, of nothing, NaN and huge numbers."""
    shapes = st.lists(st.integers(0, 5), max_size=4)
    made = st.builds(lambda shape, dtype: f(*shape).mul(3).to(dtype), shapes, st.sampled_from(DTYPES))
    if not isinstance(like, torch.Tensor):
        return made
    same = [like.to(dtype) for dtype in DTYPES]
    values = [torch.full_like(like.double(), value) for value in (float("nan"), float("inf"), 1e300)]
    if like.is_floating_point():  # indices outside their range are the business of readers and helpers
        values += [like.roll(1).neg(), torch.full_like(like, 127)]
    views = [like[:0], like[..., :0], like[None], like.flatten(), like.t() if like.ndim == 2 else like[..., 0]]
    return st.one_of(made, st.sampled_from([*same, *values, *views]))


def anything(like) -> st.SearchStrategy:
    plain = [
        None,
        True,
        -1,
        0,
        10**30,
        1.5,
        float("nan"),
        "",
        "x",
        b"x",
        [],
        [1, "a"],
        {},
        object(),
        np.zeros(3),
        np.array("a"),
    ]
    return st.one_of(st.sampled_from(plain), other_tensors(like))


def copied(value):
    return value.clone() if isinstance(value, torch.Tensor) else value.copy() if isinstance(value, np.ndarray) else value


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(7), b.nan_to_num(7))
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a is b


def explained(error: Exception) -> str:
    """ "" if an error is one of ours, else what is wrong with it."""
    place = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    if not place.is_relative_to(ROOT) or place.is_relative_to(ROOT / "tests"):
        return f"raised in {place}"
    return "" if THREE_PARTS.search(str(error)) else "not in three parts"


@pytest.mark.parametrize("name", CALLS)
@often
@given(data=st.data())
def test_a_result_or_an_explanation(name, data):
    function, right = CALLS[name]
    changed = data.draw(st.sets(st.integers(0, len(right) - 1), min_size=1, max_size=2), "changed")
    arguments = [data.draw(anything(value)) if n in changed else value for n, value in enumerate(right)]
    before = [copied(value) for value in arguments]
    try:
        function(*arguments)
    except (ValueError, TypeError, FileNotFoundError) as error:
        assert not explained(error), f"{explained(error)}: {type(error).__name__}: {error}"
    assert all(same(a, b) for a, b in zip(arguments, before, strict=True)), "an input was changed"


@pytest.mark.parametrize("name", CALLS)
def test_a_right_call_gives_a_result(name):
    function, right = CALLS[name]
    if name == "image_from_url":
        with pytest.raises(FileNotFoundError):
            function(*right)
    else:
        function(*right)


VERBS = ["run", "build", "check", "data", "data fetch", "data adopt", "grade", "similar", "train-weights"]


@often
@given(
    verb=st.sampled_from(VERBS),
    words=st.lists(st.text(max_size=8) | st.sampled_from(["--jobs", "--bad", "-1"]), min_size=1, max_size=3),
)
def test_commands_refuse_nonsense_in_words(verb, words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    words = [f"no-such-{word}" if not word.startswith("-") else word for word in words]
    said = io.StringIO()
    with contextlib.chdir(folder) if hasattr(contextlib, "chdir") else contextlib.nullcontext():
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                status = main([*verb.split(), *words])
            except SystemExit as end:
                status = end.code
    assert status == 2 and said.getvalue().strip(), (verb, words)
