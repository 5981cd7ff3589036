"""Captioning: right answers by PyTorch's own layers and autograd, and known mistakes."""

from __future__ import annotations

import torch

from dl.checks.solutions import Solutions

SOLUTIONS = Solutions()
solution, mistake = SOLUTIONS.solution, SOLUTIONS.mistake


# --- rnn_step_forward, rnn_step_backward ---


@solution("rnn_step_forward")
def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = torch.nn.functional.linear(torch.cat([x, prev_h], dim=1), torch.cat([Wx, Wh]).T, b).tanh()
    return next_h, (x, prev_h, Wx, Wh, b)


@mistake("rnn_step_forward", "no-tanh", "the sum is returned without the tanh", "What keeps the hidden state inside (-1, 1)?")
def _(x, prev_h, Wx, Wh, b):
    return x @ Wx + prev_h @ Wh + b, None


@mistake("rnn_step_forward", "no-bias", "the bias b is not added", "Count the terms of the equation.")
def _(x, prev_h, Wx, Wh, b):
    return torch.tanh(x @ Wx + prev_h @ Wh), None


@solution("rnn_step_backward")
def rnn_step_backward(dnext_h, cache):
    with torch.enable_grad():
        leaves = [value.detach().requires_grad_() for value in cache]
        next_h, _ = rnn_step_forward(*leaves)
        return torch.autograd.grad(next_h, leaves, dnext_h)
