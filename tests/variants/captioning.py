"""Captioning: wrong and right bodies."""

import torch

from tests.variants import Variants

VARIANTS = Variants()
wrong, right = VARIANTS.wrong, VARIANTS.right


@right("rnn_step_forward")
def _(x, prev_h, Wx, Wh, b):
    next_h = torch.tanh(torch.einsum("nd,dh->nh", x, Wx) + prev_h.matmul(Wh) + b[None])
    return next_h, {"everything": (x, prev_h, Wx, Wh, next_h)}


@wrong("rnn_step_forward", "no-tanh")
def _(x, prev_h, Wx, Wh, b):
    next_h = x @ Wx + prev_h @ Wh + b
    return next_h, (x, prev_h, Wx, Wh, next_h)
