"""Captioning: right answers by PyTorch's own layers and autograd, and known mistakes.

Most mistakes of a group are one general form with one thing set otherwise.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from dl.checks.solutions import Solutions

SOLUTIONS = Solutions()
solution, mistake = SOLUTIONS.solution, SOLUTIONS.mistake


# --- rnn_step_forward ---


def rnn_cell(x, prev_h, Wx, Wh, b):
    return F.linear(torch.cat([x, prev_h], dim=1), torch.cat([Wx, Wh]).T, b).tanh()


@solution("rnn_step_forward")
def rnn_step_forward(x, prev_h, Wx, Wh, b):
    return rnn_cell(x, prev_h, Wx, Wh, b), (x, prev_h, Wx, Wh, b)


def step_mistake(name, says, hint, formula):
    mistake("rnn_step_forward", name, says, hint)(lambda x, prev_h, Wx, Wh, b: (formula(x, prev_h, Wx, Wh, b), None))


step_mistake(
    "no-tanh",
    "the sum is returned without the tanh",
    "What keeps the hidden state inside (-1, 1)?",
    lambda x, h, Wx, Wh, b: x @ Wx + h @ Wh + b,
)
step_mistake(
    "no-bias",
    "the bias b is not added",
    "Count the terms of the equation.",
    lambda x, h, Wx, Wh, b: torch.tanh(x @ Wx + h @ Wh),
)
step_mistake(
    "sigmoid-for-tanh",
    "a sigmoid stands where this course's RNN has a tanh",
    "In which range does next_h lie?",
    lambda x, h, Wx, Wh, b: torch.sigmoid(x @ Wx + h @ Wh + b),
)
step_mistake(
    "relu-for-tanh",
    "a relu stands where this course's RNN has a tanh",
    "In which range does next_h lie?",
    lambda x, h, Wx, Wh, b: torch.relu(x @ Wx + h @ Wh + b),
)
step_mistake(
    "no-state",
    "the state before the step, prev_h, does not take part",
    "Where does the step's memory come in?",
    lambda x, h, Wx, Wh, b: torch.tanh(x @ Wx + b),
)
step_mistake(
    "no-input",
    "the input x does not take part",
    "Where does the word of this step come in?",
    lambda x, h, Wx, Wh, b: torch.tanh(h @ Wh + b),
)
step_mistake(
    "transposed-Wh",
    "prev_h meets the transpose of Wh; weights are stored (in, out) here, so it is prev_h Wh",
    "The shape (H, H) fits both ways; which one is in the equation?",
    lambda x, h, Wx, Wh, b: torch.tanh(x @ Wx + h @ Wh.T + b),
)
step_mistake(
    "transposed-Wx",
    "x meets the transpose of Wx; weights are stored (in, out) here, so it is x Wx",
    "Wx has shape (D, H).",
    lambda x, h, Wx, Wh, b: torch.tanh(x @ Wx.T + h @ Wh + b),
)
step_mistake(
    "bias-outside",
    "b is added after the tanh; it belongs to the sum inside",
    "In which range does next_h lie?",
    lambda x, h, Wx, Wh, b: torch.tanh(x @ Wx + h @ Wh) + b,
)
step_mistake(
    "bias-subtracted",
    "b is subtracted; it is added",
    "Look at the signs.",
    lambda x, h, Wx, Wh, b: torch.tanh(x @ Wx + h @ Wh - b),
)
step_mistake(
    "bias-twice",
    "b is added twice, once with each product; it is added once",
    "Count the terms.",
    lambda x, h, Wx, Wh, b: torch.tanh(x @ Wx + h @ Wh + 2 * b),
)
step_mistake(
    "tanh-each",
    "each product goes through a tanh of its own; there is one tanh, of their sum",
    "What is added, and what is squeezed?",
    lambda x, h, Wx, Wh, b: torch.tanh(x @ Wx) + torch.tanh(h @ Wh + b),
)
step_mistake(
    "tanh-twice",
    "the tanh is taken twice",
    "Where is the tanh applied, and how often?",
    lambda x, h, Wx, Wh, b: torch.tanh(torch.tanh(x @ Wx + h @ Wh + b)),
)
step_mistake(
    "residual",
    "prev_h is added to the result; the new state is the tanh alone",
    "What is left of prev_h outside the tanh?",
    lambda x, h, Wx, Wh, b: h + torch.tanh(x @ Wx + h @ Wh + b),
)
step_mistake(
    "bias-per-row",
    "b is added along the batch axis; it has one number for each hidden unit",
    "b has shape (H,): which axis is that?",
    lambda x, h, Wx, Wh, b: torch.tanh(x @ Wx + h @ Wh + b.unsqueeze(1)),
)
step_mistake(
    "scaled-sum",
    "the sum is divided by the square root of the hidden size; this step has no scale",
    "Which symbols does the equation have?",
    lambda x, h, Wx, Wh, b: torch.tanh((x @ Wx + h @ Wh + b) / math.sqrt(h.shape[1])),
)


# --- rnn_step_backward ---


def step_gradients(cache, dnext_h):
    with torch.enable_grad():
        leaves = [value.detach().requires_grad_() for value in cache]
        return torch.autograd.grad(rnn_cell(*leaves), leaves, dnext_h)


@solution("rnn_step_backward")
def rnn_step_backward(dnext_h, cache):
    return step_gradients(cache, dnext_h)


def by_hand(cache, dnext_h, slope=lambda h: 1 - h * h):
    """(ds, x, prev_h, Wx, Wh, next_h)"""
    next_h = rnn_cell(*cache)
    return dnext_h * slope(next_h), *cache[:4], next_h


def hand_gradients(cache, dnext_h, slope=lambda h: 1 - h * h):
    ds, x, h, Wx, Wh, _ = by_hand(cache, dnext_h, slope)
    return ds @ Wx.T, ds @ Wh.T, x.T @ ds, h.T @ ds, ds.sum(0)


def slope_mistake(name, says, slope, hint="What is the derivative of tanh, written with the value of tanh?"):
    mistake("rnn_step_backward", name, says, hint)(lambda dnext_h, cache: hand_gradients(cache, dnext_h, slope))


slope_mistake("no-tanh-slope", "dnext_h goes on without the derivative of tanh", lambda h: torch.ones_like(h))
slope_mistake("slope-not-squared", "the derivative of tanh is written 1 - tanh; the tanh is squared there", lambda h: 1 - h)
slope_mistake(
    "slope-squared-outside",
    "the derivative of tanh is written (1 - tanh) squared; only the tanh is squared",
    lambda h: (1 - h) ** 2,
)
slope_mistake("sigmoid-slope", "the derivative of a sigmoid, s (1 - s), is used for that of tanh", lambda h: h * (1 - h))
slope_mistake("slope-sign", "the derivative of tanh has the wrong sign between its two terms", lambda h: 1 + h * h)
slope_mistake("slope-negative", "the derivative of tanh has the opposite sign", lambda h: h * h - 1)
slope_mistake(
    "slope-of-tanh-again",
    "the tanh is taken once more of next_h, which is the value of tanh already",
    lambda h: 1 - torch.tanh(h) ** 2,
)
slope_mistake("slope-square-only", "the derivative of tanh is taken to be tanh squared; it is 1 minus that", lambda h: h * h)
slope_mistake("slope-squared-whole", "the derivative of tanh is squared as a whole", lambda h: (1 - h * h) ** 2)


@mistake(
    "rnn_step_backward",
    "slope-of-prev-h",
    "the derivative of tanh is taken at prev_h; it belongs to next_h",
    "The tanh of this step has which value?",
)
def _(dnext_h, cache):
    h = cache[1]
    ds, x, _, Wx, Wh, _ = dnext_h * (1 - h * h), *cache
    return ds @ Wx.T, ds @ Wh.T, x.T @ ds, h.T @ ds, ds.sum(0)


def product_mistake(name, says, hint, change):
    """change: (ds, dnext_h, x, h, Wx, Wh, next_h, right) -> the five gradients; right holds them as they should be."""

    @mistake("rnn_step_backward", name, says, hint)
    def _(dnext_h, cache):
        ds, *rest = by_hand(cache, dnext_h)
        return change(ds, dnext_h, *rest, hand_gradients(cache, dnext_h))


def _put(values, **places):
    """A list with other values at places 0 dx, 1 dprev_h, 2 dWx, 3 dWh, 4 db."""
    names = ("dx", "dprev_h", "dWx", "dWh", "db")
    return tuple(places.get(name, value) for name, value in zip(names, values, strict=True))


product_mistake(
    "bias-mean",
    "the bias gradient is averaged over the batch; b was added to every row, so it is summed",
    "How does a small change of b reach the loss?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, db=ds.mean(0)),
)
product_mistake(
    "bias-not-summed",
    "the bias gradient still has a row for each picture; b has only H numbers",
    "What shape must the gradient of b have?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, db=ds),
)
product_mistake(
    "bias-kept-axis",
    "the bias gradient has the shape (1, H); b has the shape (H,)",
    "What shape must the gradient of b have?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, db=ds.sum(0, keepdim=True)),
)
product_mistake(
    "bias-summed-over-units",
    "the bias gradient is summed over the hidden units; it is summed over the batch",
    "What shape must the gradient of b have?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, db=ds.sum(1)),
)
product_mistake(
    "bias-summed-over-all",
    "the bias gradient is one number; each hidden unit has its own",
    "What shape must the gradient of b have?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, db=ds.sum()),
)
product_mistake(
    "bias-without-slope",
    "the bias gradient leaves the derivative of tanh out",
    "On its way to the loss b passes the tanh.",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, db=d.sum(0)),
)
product_mistake(
    "transposed-Wh",
    "the gradient of prev_h uses Wh; going backwards it is the transpose",
    "The shape (H, H) fits both ways: which index of Wh belongs to prev_h?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, dprev_h=ds @ Wh),
)
product_mistake(
    "transposed-Wx",
    "the gradient of x uses Wx; going backwards it is the transpose",
    "Which shapes do ds and Wx have?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, dx=ds @ Wx),
)
product_mistake(
    "state-gradient-without-slope",
    "the gradient of prev_h leaves the derivative of tanh out",
    "On its way to the loss prev_h passes the tanh.",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, dprev_h=d @ Wh.T),
)
product_mistake(
    "state-gradient-is-ds",
    "the gradient of prev_h does not pass Wh",
    "Which factor stands at prev_h?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, dprev_h=ds),
)
product_mistake(
    "dx-without-slope",
    "the gradient of x leaves the derivative of tanh out",
    "On its way to the loss x passes the tanh.",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, dx=d @ Wx.T),
)
product_mistake(
    "weights-without-slope",
    "the gradients of the weights leave the derivative of tanh out",
    "Which gradient arrives at the sum inside the tanh?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, dWx=x.T @ d, dWh=h.T @ d),
)
product_mistake(
    "weights-mean",
    "the gradients of the weights are averaged over the batch; every row adds to them",
    "dnext_h is the gradient of the whole loss: is there a division left to do?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, dWx=x.T @ ds / len(x), dWh=h.T @ ds / len(x), db=ds.mean(0)),
)
product_mistake(
    "products-mean",
    "the gradients of Wx and Wh are averaged over the batch; every row adds to them",
    "dnext_h is the gradient of the whole loss: is there a division left to do?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, dWx=x.T @ ds / len(x), dWh=h.T @ ds / len(x)),
)
product_mistake(
    "next-state-in-dWh",
    "the gradient of Wh is made with next_h; in the product stood prev_h",
    "Which state was multiplied by Wh in this step?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, dWh=n.T @ ds),
)
product_mistake(
    "dWh-transposed",
    "the gradient of Wh is transposed",
    "Which index of Wh belongs to prev_h?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, dWh=ds.T @ h),
)
product_mistake(
    "dWx-transposed",
    "the gradient of Wx is transposed: it must have the shape (D, H) of Wx",
    "Which index of Wx belongs to x?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, dWx=ds.T @ x),
)
product_mistake(
    "weights-transposed",
    "the gradients of both weights are transposed: they must have the shapes of the weights",
    "Which index of Wx belongs to x?",
    lambda ds, d, x, h, Wx, Wh, n, right: _put(right, dWx=ds.T @ x, dWh=ds.T @ h),
)
product_mistake(
    "order-of-inputs",
    "dx and dprev_h have changed places",
    "In which order are the gradients returned?",
    lambda ds, d, x, h, Wx, Wh, n, r: (r[1], r[0], r[2], r[3], r[4]),
)
product_mistake(
    "order-of-weights",
    "dWx and dWh have changed places",
    "In which order are the gradients returned?",
    lambda ds, d, x, h, Wx, Wh, n, r: (r[0], r[1], r[3], r[2], r[4]),
)
product_mistake(
    "order-by-kind",
    "the gradients are returned in another order; wanted dx, dprev_h, dWx, dWh, db",
    "In which order are the gradients returned?",
    lambda ds, d, x, h, Wx, Wh, n, r: (r[0], r[2], r[1], r[3], r[4]),
)


# --- rnn_forward ---


@solution("rnn_forward")
def rnn_forward(x, h0, Wx, Wh, b):
    flat = [Wx.T, Wh.T, b, torch.zeros_like(b)]
    h, _ = torch.rnn_tanh(x, h0.unsqueeze(0), flat, True, 1, 0.0, False, False, True)
    return h, (x, h0, Wx, Wh, b)


def rnn(x, h0, Wx, Wh, b, start=lambda h0: h0, carry=lambda h, h0: h, step=rnn_cell):
    h, states = start(h0), []
    for t in range(x.shape[1]):
        h = step(x[:, t], h, Wx, Wh, b)
        states.append(h)
        h = carry(h, h0)
    return torch.stack(states, 1)


def rnn_mistake(name, says, hint, formula):
    mistake("rnn_forward", name, says, hint)(lambda x, h0, Wx, Wh, b: (formula(x, h0, Wx, Wh, b), None))


rnn_mistake(
    "start-ignored",
    "the first step starts from zeros; it starts from h0",
    "What is h0 for?",
    lambda x, h0, *w: rnn(x, torch.zeros_like(h0), *w),
)
rnn_mistake(
    "state-not-carried",
    "every step starts from h0; it starts from the state after the step before",
    "Which state goes into step 1?",
    lambda x, h0, *w: rnn(x, h0, *w, carry=lambda h, h0: h0),
)
rnn_mistake(
    "state-detached",
    "the state is cut off from its history between the steps, so no gradient flows back through time",
    "How does the loss of the last step reach the first?",
    lambda x, h0, *w: rnn(x, h0, *w, carry=lambda h, h0: h.detach()),
)
rnn_mistake(
    "start-detached",
    "h0 is cut off (detach), so no gradient reaches the picture's features",
    "How does the encoder learn?",
    lambda x, h0, *w: rnn(x, h0.detach(), *w),
)
rnn_mistake(
    "start-included",
    "the result begins with h0; it holds the states after each step",
    "Is h0 a state after a step?",
    lambda x, h0, *w: torch.cat([h0.unsqueeze(1), rnn(x, h0, *w)[:, :-1]], 1),
)
rnn_mistake(
    "start-added",
    "the result holds h0 as well, T + 1 states; wanted are the T states after each step",
    "How many steps are there?",
    lambda x, h0, *w: torch.cat([h0.unsqueeze(1), rnn(x, h0, *w)], 1),
)
rnn_mistake(
    "last-state-only",
    "only the last state is returned; wanted are the states after each step",
    "Which shape has h?",
    lambda x, h0, *w: rnn(x, h0, *w)[:, -1],
)
rnn_mistake(
    "last-state-everywhere",
    "the last state stands at every step",
    "When is the state of step t written down?",
    lambda x, h0, *w: rnn(x, h0, *w)[:, -1:].expand(-1, x.shape[1], -1),
)
rnn_mistake(
    "time-first",
    "the result is (T, N, H); wanted (N, T, H)",
    "Along which axis are the states stacked?",
    lambda x, h0, *w: rnn(x, h0, *w).transpose(0, 1),
)
rnn_mistake(
    "states-reshaped",
    "stacked (T, N, H) states are reshaped to (N, T, H), which mixes pictures and steps",
    "What is the difference between reshaping and exchanging axes?",
    lambda x, h0, *w: rnn(x, h0, *w).transpose(0, 1).reshape(x.shape[0], x.shape[1], -1),
)
rnn_mistake(
    "hidden-last-stacked",
    "the states are stacked along the last axis, (N, H, T); wanted (N, T, H)",
    "Along which axis are the states stacked?",
    lambda x, h0, *w: rnn(x, h0, *w).transpose(1, 2),
)
rnn_mistake(
    "backwards-in-time",
    "the sequence is read from its end; it is read from its beginning",
    "Which input comes first?",
    lambda x, h0, *w: rnn(x.flip(1), h0, *w),
)
rnn_mistake(
    "backwards-put-back",
    "the sequence is read from its end, as in a bidirectional network; here it is read forwards",
    "What may the state of step 0 know?",
    lambda x, h0, *w: rnn(x.flip(1), h0, *w).flip(1),
)
rnn_mistake(
    "states-reversed",
    "the states stand in reverse order",
    "Which state belongs to step 0?",
    lambda x, h0, *w: rnn(x, h0, *w).flip(1),
)
rnn_mistake(
    "first-input-always",
    "every step reads the first input; step t reads x[:, t]",
    "What is the input of step t?",
    lambda x, h0, *w: rnn(x[:, :1].expand_as(x), h0, *w),
)
rnn_mistake(
    "last-step-missing",
    "one step too few is made; there are as many states as inputs",
    "How many steps are there?",
    lambda x, h0, *w: rnn(x[:, :-1], h0, *w) if x.shape[1] > 1 else x.new_zeros(len(x), 0, h0.shape[1]),
)
rnn_mistake(
    "last-state-zero",
    "the state of the last step is left at its initial zeros",
    "Where does the loop end?",
    lambda x, h0, *w: torch.cat([rnn(x, h0, *w)[:, :-1], torch.zeros_like(h0).unsqueeze(1)], 1),
)
rnn_mistake(
    "first-state-zero",
    "the state of the first step is left at its initial zeros",
    "Where does the loop begin?",
    lambda x, h0, *w: torch.cat([torch.zeros_like(h0).unsqueeze(1), rnn(x, h0, *w)[:, 1:]], 1),
)
rnn_mistake(
    "first-input-skipped",
    "the first input is skipped: the result begins with h0 and goes on from x[:, 1]",
    "What is the input of step 0?",
    lambda x, h0, *w: torch.cat([h0.unsqueeze(1), rnn(x[:, 1:], h0, *w)] if x.shape[1] > 1 else [h0.unsqueeze(1)], 1),
)
rnn_mistake(
    "no-tanh",
    "the steps are made without the tanh",
    "Which function makes one step?",
    lambda x, h0, *w: rnn(x, h0, *w, step=lambda x, h, Wx, Wh, b: x @ Wx + h @ Wh + b),
)
rnn_mistake(
    "no-bias",
    "the bias b does not take part",
    "Which function makes one step?",
    lambda x, h0, Wx, Wh, b: rnn(x, h0, Wx, Wh, torch.zeros_like(b)),
)
rnn_mistake(
    "transposed-Wh",
    "the states meet the transpose of Wh; weights are stored (in, out) here",
    "Which function makes one step?",
    lambda x, h0, Wx, Wh, b: rnn(x, h0, Wx, Wh.T, b),
)
rnn_mistake(
    "states-summed",
    "each state is added to the one before; the new state replaces the old one",
    "What goes into step t + 1?",
    lambda x, h0, *w: rnn(x, h0, *w, step=lambda x, h, *w: h + rnn_cell(x, h, *w)),
)


# --- rnn_backward ---


@solution("rnn_backward")
def rnn_backward(dh, cache):
    with torch.enable_grad():
        leaves = [value.detach().requires_grad_() for value in cache]
        return torch.autograd.grad(rnn_forward(*leaves)[0], leaves, dh)


def through_time(
    dh,
    cache,
    arriving=lambda direct, back, t: direct + back,
    keep=None,
    slope=lambda h: 1 - h * h,
    to_state=lambda ds, Wh: ds @ Wh.T,
    state=lambda before, after, h0, t: before,
    order=reversed,
):
    """Back-propagation by hand; keep: of the weight gradients' steps, in the order walked, which are summed."""
    x, h0, Wx, Wh, b = cache
    h = rnn_forward(*cache)[0]
    T = x.shape[1]
    back, dx, dWx, dWh, db = torch.zeros_like(h0), torch.zeros_like(x), [], [], []
    for t in order(range(T)):
        before = h0 if t == 0 else h[:, t - 1]
        ds = arriving(dh[:, t], back, t) * slope(h[:, t])
        dx[:, t] = ds @ Wx.T
        dWx.append(x[:, t].T @ ds)
        dWh.append(state(before, h[:, t], h0, t).T @ ds)
        db.append(ds.sum(0))
        back = to_state(ds, Wh)
    keep = keep or (lambda parts: sum(parts))
    return dx, back, keep(dWx), keep(dWh), keep(db)


def backward_mistake(name, says, hint, formula):
    mistake("rnn_backward", name, says, hint)(lambda dh, cache: formula(dh, cache))


backward_mistake(
    "no-flow-through-time",
    "only the direct gradient dh[:, t] is used; that which the later steps send back is lost",
    "On which two ways does a state reach the loss?",
    lambda dh, cache: through_time(dh, cache, lambda direct, back, t: direct),
)
backward_mistake(
    "direct-gradients-ignored",
    "only the last step's dh is used; every step's state reaches the loss directly too",
    "What is added to the gradient that the later step sends back?",
    lambda dh, cache: through_time(dh, cache, lambda d, back, t: d if t == dh.shape[1] - 1 else back),
)
backward_mistake(
    "flow-not-replaced",
    "what flows back is added up over the steps; each step sends back only its own share",
    "After step t, what does step t - 1 receive?",
    lambda dh, cache: accumulate_flow(dh, cache),
)
backward_mistake(
    "flow-without-Wh",
    "the gradient flows back to the earlier state without passing Wh",
    "Which factor stands at prev_h?",
    lambda dh, cache: through_time(dh, cache, to_state=lambda ds, Wh: ds),
)
backward_mistake(
    "transposed-Wh",
    "the gradient flows back through Wh; going backwards it is the transpose",
    "Which index of Wh belongs to prev_h?",
    lambda dh, cache: through_time(dh, cache, to_state=lambda ds, Wh: ds @ Wh),
)
backward_mistake(
    "forwards-in-time",
    "the steps are walked from the first to the last; the gradient flows from the last to the first",
    "Which step has nothing coming back from a later one?",
    lambda dh, cache: through_time(dh, cache, order=list),
)
backward_mistake(
    "weights-first-step-only",
    "the gradients of the weights are overwritten at each step: only the first step's are left",
    "The weights are the same at every step.",
    lambda dh, cache: through_time(dh, cache, keep=lambda p: p[-1]),
)
backward_mistake(
    "weights-last-step-only",
    "the gradients of the weights are those of the last step alone; they are summed over time",
    "The weights are the same at every step.",
    lambda dh, cache: through_time(dh, cache, keep=lambda p: p[0]),
)
backward_mistake(
    "weights-averaged-over-time",
    "the gradients of the weights are averaged over time; they are summed",
    "How does a change of Wx at one step add to that at another?",
    lambda dh, cache: through_time(dh, cache, keep=lambda p: sum(p) / len(p)),
)
backward_mistake(
    "weights-averaged-over-batch",
    "the gradients of the weights are averaged over the batch; they are summed",
    "dh is the gradient of the whole loss: is there a division left to do?",
    lambda dh, cache: through_time(dh, cache, keep=lambda p: sum(p) / len(dh)),
)
backward_mistake(
    "next-state-in-dWh",
    "the gradient of Wh at step t is made with h[:, t]; the step was made from the state before",
    "Which state was multiplied by Wh in step t?",
    lambda dh, cache: through_time(dh, cache, state=lambda before, after, h0, t: after),
)
backward_mistake(
    "start-state-as-zero",
    "the gradient of Wh takes the first step to start from zeros; it starts from h0",
    "Which state was multiplied by Wh in step 0?",
    lambda dh, cache: through_time(dh, cache, state=lambda before, after, h0, t: before * (t > 0)),
)
backward_mistake(
    "start-state-always",
    "the gradient of Wh is made with h0 at every step",
    "Which state was multiplied by Wh in step t?",
    lambda dh, cache: through_time(dh, cache, state=lambda before, after, h0, t: h0),
)
backward_mistake(
    "start-state-is-last",
    "the gradient of Wh takes the last state (index -1) for the one before the first step",
    "What does h[:, t - 1] mean for t = 0?",
    lambda dh, cache: wrap_around(dh, cache),
)
backward_mistake(
    "no-tanh-slope",
    "the derivative of tanh is left out",
    "Which function makes one step backwards?",
    lambda dh, cache: through_time(dh, cache, slope=torch.ones_like),
)
backward_mistake(
    "direct-gradient-after-slope",
    "the direct gradient does not pass the derivative of tanh, only that from the later step does",
    "dh[:, t] is the gradient at h[:, t]: is that before or after the tanh?",
    lambda dh, cache: slope_on_part(dh, cache, direct=False),
)
backward_mistake(
    "flow-after-slope",
    "what the later step sends back does not pass the derivative of tanh, only dh[:, t] does",
    "Both ways end at h[:, t]: is that before or after the tanh?",
    lambda dh, cache: slope_on_part(dh, cache, direct=True),
)
backward_mistake(
    "dx-reversed",
    "dx stands in the order in which the steps were walked, the last one first",
    "Which step does the first entry of your list belong to?",
    lambda dh, cache: change(dh, cache, 0, lambda dx: dx.flip(1)),
)
backward_mistake(
    "dx-time-first",
    "dx is (T, N, D); wanted (N, T, D)",
    "Along which axis are the gradients stacked?",
    lambda dh, cache: change(dh, cache, 0, lambda dx: dx.transpose(0, 1)),
)
backward_mistake(
    "dx-of-first-step",
    "dx is that of one step; wanted is one for each step",
    "Which shape has x?",
    lambda dh, cache: change(dh, cache, 0, lambda dx: dx[:, 0]),
)
backward_mistake(
    "dh0-is-zero",
    "dh0 is left at zeros; what flows back from the first step belongs there",
    "What is left over when the walk arrives at the start?",
    lambda dh, cache: change(dh, cache, 1, torch.zeros_like),
)
backward_mistake(
    "dh0-of-last-step",
    "dh0 is what the last step sends back; wanted is what the first step sends back",
    "Which step starts from h0?",
    lambda dh, cache: change(dh, cache, 1, lambda _: first_back(dh, cache)),
)
backward_mistake(
    "dh0-with-direct",
    "a direct gradient is added to dh0; h0 is not among the states of h",
    "Does h0 reach the loss directly?",
    lambda dh, cache: change(dh, cache, 1, lambda d: d + dh[:, 0]),
)
backward_mistake(
    "dh0-at-first-state",
    "dh0 is the gradient at the first state h[:, 0]; it has to go through the first step as well",
    "Which step lies between h0 and h[:, 0]?",
    lambda dh, cache: change(dh, cache, 1, lambda d: dh[:, 0] + second_back(dh, cache)),
)
backward_mistake(
    "bias-per-step",
    "the bias gradient still has a row for each step; it is summed over time",
    "What shape must the gradient of b have?",
    lambda dh, cache: bias_per_step(dh, cache),
)
backward_mistake(
    "first-step-left-out",
    "the walk ends before step 0; it is a step like the others",
    "Where does the loop end?",
    lambda dh, cache: leave_out(dh, cache, 0),
)
backward_mistake(
    "last-step-left-out",
    "the walk does not begin at the last step",
    "Where does the loop begin?",
    lambda dh, cache: leave_out(dh, cache, dh.shape[1] - 1),
)
backward_mistake(
    "order-of-weights",
    "dWx and dWh have changed places",
    "In which order are the gradients returned?",
    lambda dh, cache: [through_time(dh, cache)[i] for i in (0, 1, 3, 2, 4)],
)
backward_mistake(
    "dWh-transposed",
    "the gradient of Wh is transposed",
    "Which index of Wh belongs to the state before?",
    lambda dh, cache: change(dh, cache, 3, lambda d: d.T),
)


def change(dh, cache, place, how):
    values = list(through_time(dh, cache))
    values[place] = how(values[place])
    return tuple(values)


def accumulate_flow(dh, cache):
    flow = [torch.zeros_like(cache[1])]

    def to_state(ds, Wh):
        flow[0] = flow[0] + ds @ Wh.T
        return flow[0]

    return through_time(dh, cache, to_state=to_state)


def wrap_around(dh, cache):
    last = rnn_forward(*cache)[0][:, -1]
    return through_time(dh, cache, state=lambda before, after, h0, t: last if t == 0 else before)


def slope_on_part(dh, cache, direct):
    h = rnn_forward(*cache)[0]

    def arriving(d, back, t):
        slope = 1 - h[:, t] ** 2
        return d * slope + back if direct else d + back * slope

    return through_time(dh, cache, arriving, slope=torch.ones_like)


def backs(dh, cache):
    """What each step sends back, in the order walked."""
    sent = []

    def to_state(ds, Wh):
        sent.append(ds @ Wh.T)
        return sent[-1]

    through_time(dh, cache, to_state=to_state)
    return sent


def first_back(dh, cache):
    return backs(dh, cache)[0]


def second_back(dh, cache):
    sent = backs(dh, cache)
    return sent[-2] if len(sent) > 1 else torch.zeros_like(sent[0])


def bias_per_step(dh, cache):
    values = list(through_time(dh, cache))
    values[4] = torch.stack(through_time(dh, cache, keep=lambda parts: parts)[4][::-1])
    return tuple(values)


def leave_out(dh, cache, step):
    T = dh.shape[1]

    def order(steps):
        return [t for t in reversed(steps) if t != step]

    return (
        through_time(dh, cache, order=order, keep=lambda parts: sum(parts))
        if T > 1
        else tuple(torch.zeros_like(value) for value in cache)
    )


# --- WordEmbedding.forward ---


@solution("WordEmbedding.forward")
def word_embedding_forward(self, x):
    return self.W_embed.index_select(0, x.to(self.W_embed.device).reshape(-1)).view(*x.shape, -1)


def embedding_mistake(name, says, hint, formula):
    mistake("WordEmbedding.forward", name, says, hint)(lambda self, x: formula(x, self.W_embed))


embedding_mistake(
    "flat-words",
    "batch and time are one axis in the result; wanted (N, T, W)",
    "Which shape has the result?",
    lambda x, table: table[x.reshape(-1)],
)
embedding_mistake(
    "time-first",
    "the result is (T, N, W); wanted (N, T, W)",
    "Which shape has the result?",
    lambda x, table: table[x].transpose(0, 1),
)
embedding_mistake(
    "vector-axis-first",
    "the word vectors lie along the wrong axis, (N, W, T); wanted (N, T, W)",
    "Which shape has the result?",
    lambda x, table: table[x].transpose(1, 2),
)
embedding_mistake(
    "padding-row",
    "word 0 is treated as padding, so its row gets no gradient; every row of the table trains",
    "What does an option padding_idx do to the gradient?",
    lambda x, table: F.embedding(x, table, padding_idx=0),
)
embedding_mistake(
    "padding-zero",
    "word 0 gets a vector of zeros; it has a row in the table like every other word",
    "What is row 0 of the table?",
    lambda x, table: table[x] * (x != 0).unsqueeze(-1),
)
embedding_mistake(
    "off-by-one-down", "word i gets row i - 1; it is row i", "Which row is that of word 0?", lambda x, table: table[x - 1]
)
embedding_mistake(
    "off-by-one-up",
    "word i gets row i + 1; it is row i",
    "Which row is that of word 0?",
    lambda x, table: table[(x + 1) % len(table)],
)
embedding_mistake(
    "scaled",
    "the vectors are multiplied by the square root of their size, as in the Transformer; here they are not",
    "What is done to a row after it is looked up?",
    lambda x, table: table[x] * math.sqrt(table.shape[1]),
)
embedding_mistake(
    "normalised",
    "the vectors are brought to length 1; they are rows of the table as they are",
    "What is done to a row after it is looked up?",
    lambda x, table: F.normalize(table[x], dim=-1),
)
embedding_mistake(
    "norm-limited",
    "long vectors are shortened (max_norm); they are rows of the table as they are",
    "What is done to a row after it is looked up?",
    lambda x, table: F.embedding(x, table.clone(), max_norm=1.0),
)
embedding_mistake(
    "gradient-by-frequency",
    "the gradient of a row is divided by how often its word was read; it is the sum",
    "What does an option scale_grad_by_freq do?",
    lambda x, table: F.embedding(x, table, scale_grad_by_freq=True),
)
embedding_mistake(
    "summed-over-time",
    "the vectors of a caption are summed; wanted is one for each word",
    "Which shape has the result?",
    lambda x, table: table[x].sum(1),
)
embedding_mistake(
    "averaged-over-time",
    "the vectors of a caption are averaged; wanted is one for each word",
    "Which shape has the result?",
    lambda x, table: table[x].mean(1),
)
embedding_mistake(
    "columns",
    "columns of the table are read; word i is row i",
    "W_embed is (V, W): which axis counts the words?",
    lambda x, table: table[:, x],
)
embedding_mistake(
    "one-hot",
    "the words are returned as one-hot vectors; wanted are rows of W_embed",
    "What is W_embed for?",
    lambda x, table: F.one_hot(x, len(table)).to(table),
)
embedding_mistake(
    "squeezed",
    "axes of size one are dropped: a batch of one stays a batch",
    "What does squeeze do to (1, T, W)?",
    lambda x, table: table[x].squeeze(),
)
embedding_mistake(
    "squeezed-batch",
    "the batch axis is dropped for a batch of one",
    "What does squeeze do to (1, T, W)?",
    lambda x, table: table[x].squeeze(0),
)
embedding_mistake(
    "squashed",
    "the vectors go through a tanh; they are rows of the table as they are",
    "What is done to a row after it is looked up?",
    lambda x, table: table[x].tanh(),
)
embedding_mistake(
    "rectified",
    "the vectors go through a relu; they are rows of the table as they are",
    "What is done to a row after it is looked up?",
    lambda x, table: table[x].relu(),
)
embedding_mistake(
    "index-times-row",
    "the vectors are multiplied by the word's number",
    "What is done to a row after it is looked up?",
    lambda x, table: table[x] * x.unsqueeze(-1),
)


# --- temporal_softmax_loss ---


@solution("temporal_softmax_loss")
def temporal_softmax_loss(x, y, ignore_index=None):
    surprise = x.logsumexp(2) - x.gather(2, y.unsqueeze(2)).squeeze(2)
    counted = torch.ones_like(y, dtype=torch.bool) if ignore_index is None else y != ignore_index
    return torch.where(counted, surprise, torch.zeros_like(surprise)).sum() / len(x)


def surprises(x, y, ignored, axis=2):
    """(N, T) negative log probability of the right words, 0 where ignored; and which count."""
    logs = x.log_softmax(axis)
    counted = torch.ones_like(y, dtype=torch.bool) if ignored is None else y != ignored
    return -logs.gather(2, y.unsqueeze(2)).squeeze(2) * counted, counted


def loss_mistake(name, says, hint, formula):
    """formula: (x, y, ignored) -> loss."""
    mistake("temporal_softmax_loss", name, says, hint)(lambda x, y, ignore_index=None: formula(x, y, ignore_index))


loss_mistake(
    "mean-over-words",
    "the sum is divided by the number of words that count; it is divided by N, the number of captions",
    "A loss per caption, or per word?",
    lambda x, y, i: surprises(x, y, i)[0].sum() / surprises(x, y, i)[1].sum(),
)
loss_mistake(
    "mean-over-all",
    "the sum is divided by N T; it is divided by N, the number of captions",
    "A loss per caption, or per word?",
    lambda x, y, i: surprises(x, y, i)[0].mean(),
)
loss_mistake(
    "divided-by-time",
    "the sum is divided by T; it is divided by N, the number of captions",
    "A loss per caption, or per step?",
    lambda x, y, i: surprises(x, y, i)[0].sum() / x.shape[1],
)
loss_mistake(
    "not-divided",
    "the sum is not divided; it is divided by N, the number of captions",
    "Should a batch twice as large cost twice as much?",
    lambda x, y, i: surprises(x, y, i)[0].sum(),
)
loss_mistake(
    "divided-by-vocabulary",
    "the sum is divided by V; it is divided by N, the number of captions",
    "A loss per caption, or per word?",
    lambda x, y, i: surprises(x, y, i)[0].sum() / x.shape[2],
)
loss_mistake(
    "mean-of-captions-with-words",
    "the sum is divided by the captions that have a word that counts; it is divided by all N",
    "Does a caption without words still belong to the batch?",
    lambda x, y, i: surprises(x, y, i)[0].sum() / surprises(x, y, i)[1].any(1).sum().clamp(min=1),
)
loss_mistake(
    "mean-within-captions",
    "each caption's loss is averaged over its words, and then over captions; it is summed over the words",
    "Does a longer caption cost more?",
    lambda x, y, i: within_captions(x, y, i),
)
loss_mistake(
    "nothing-ignored",
    "ignore_index has no effect: targets with that value count",
    "Which targets count?",
    lambda x, y, i: surprises(x, y, None)[0].sum() / len(x),
)
loss_mistake(
    "zero-always-ignored",
    "targets of value 0 are always ignored; it is ignore_index that says which",
    "What if ignore_index is None, or 3?",
    lambda x, y, i: surprises(x, y, 0)[0].sum() / len(x),
)
loss_mistake(
    "none-means-zero",
    "without ignore_index word 0 is ignored; None counts every target",
    "What does None stand for?",
    lambda x, y, i: surprises(x, y, 0 if i is None else i)[0].sum() / len(x),
)
loss_mistake(
    "only-ignored",
    "only targets equal to ignore_index count; they are the ones that do not",
    "Is your mask True where a target counts?",
    lambda x, y, i: (surprises(x, y, None)[0] * (y == i if i is not None else 1)).sum() / len(x),
)
loss_mistake(
    "zero-is-no-index",
    "an ignore_index of 0 is taken for None (0 is false); it is a word like others",
    "What does `if ignore_index` do for 0?",
    lambda x, y, i: surprises(x, y, i or None)[0].sum() / len(x),
)
loss_mistake(
    "ignored-class-removed",
    "the ignored word is taken out of the softmax; only targets are ignored, not scores",
    "Which words compete at a step that counts?",
    lambda x, y, i: class_removed(x, y, i),
)
loss_mistake(
    "scores-zeroed",
    "scores of ignored steps are set to zero, so each still costs log V; they cost nothing",
    "What does the softmax of equal scores cost?",
    lambda x, y, i: scores_zeroed(x, y, i),
)
loss_mistake(
    "softmax-over-time",
    "the softmax runs over the steps; the words of the vocabulary compete",
    "Which axis of x is V?",
    lambda x, y, i: surprises(x, y, i, 1)[0].sum() / len(x),
)
loss_mistake(
    "softmax-over-batch",
    "the softmax runs over the batch; the words of the vocabulary compete",
    "Which axis of x is V?",
    lambda x, y, i: surprises(x, y, i, 0)[0].sum() / len(x),
)
loss_mistake(
    "softmax-twice",
    "the softmax is taken twice: cross entropy wants scores, not probabilities",
    "What does cross_entropy do with its input first?",
    lambda x, y, i: surprises(x.softmax(2), y, i)[0].sum() / len(x),
)
loss_mistake(
    "log-softmax-by-hand",
    "the log of the softmax is taken in two steps, which overflows for large scores",
    "What is the logarithm of a probability that is rounded to 0?",
    lambda x, y, i: -(x.softmax(2).log().gather(2, y.unsqueeze(2)).squeeze(2) * surprises(x, y, i)[1]).sum() / len(x),
)
loss_mistake(
    "exponential-overflow",
    "scores are put into exp as they are, which overflows for large ones",
    "What is exp(1000.0)?",
    lambda x, y, i: overflowing(x, y, i),
)
loss_mistake(
    "small-number-added",
    "a small number is added inside the logarithm, which caps the loss of unlikely words",
    "Which function has the logarithm of a softmax without rounding?",
    lambda x, y, i: -((x.softmax(2).gather(2, y.unsqueeze(2)).squeeze(2) + 1e-8).log() * surprises(x, y, i)[1]).sum() / len(x),
)
loss_mistake(
    "log-missing",
    "the probability of the right word is counted, not its logarithm",
    "What is cross entropy?",
    lambda x, y, i: -(x.softmax(2).gather(2, y.unsqueeze(2)).squeeze(2) * surprises(x, y, i)[1]).sum() / len(x),
)
loss_mistake(
    "softmax-missing",
    "scores are counted as they are; the logarithm of their softmax is meant",
    "What makes probabilities of scores?",
    lambda x, y, i: -(x.gather(2, y.unsqueeze(2)).squeeze(2) * surprises(x, y, i)[1]).sum() / len(x),
)
loss_mistake(
    "sign",
    "the loss has the wrong sign: it is the negative logarithm",
    "Is a loss of a likely word large or small?",
    lambda x, y, i: -surprises(x, y, i)[0].sum() / len(x),
)
loss_mistake(
    "last-step-only",
    "only the last step counts; all steps do",
    "Over which axes is summed?",
    lambda x, y, i: surprises(x, y, i)[0][:, -1].sum() / len(x),
)
loss_mistake(
    "last-step-left-out",
    "the last step is left out",
    "Over which steps is summed?",
    lambda x, y, i: surprises(x, y, i)[0][:, :-1].sum() / len(x),
)
loss_mistake(
    "first-step-left-out",
    "the first step is left out",
    "Over which steps is summed?",
    lambda x, y, i: surprises(x, y, i)[0][:, 1:].sum() / len(x),
)
loss_mistake(
    "one-per-caption",
    "a loss for each caption is returned; wanted is one number",
    "Over which axes is summed?",
    lambda x, y, i: surprises(x, y, i)[0].sum(1),
)
loss_mistake(
    "base-two",
    "the logarithm has the base 2; the loss is in nats",
    "Which logarithm has the unit nat?",
    lambda x, y, i: surprises(x, y, i)[0].sum() / len(x) / math.log(2),
)
loss_mistake(
    "axes-mixed",
    "x is reshaped so that words and steps are mixed up; the axes have to be exchanged instead",
    "What is the difference between reshaping and exchanging axes?",
    lambda x, y, i: surprises(x.reshape(x.shape[0], x.shape[2], x.shape[1]).transpose(1, 2), y, i)[0].sum() / len(x),
)


loss_mistake(
    "mean-of-nothing",
    "a mean is taken that has no words when all are ignored; the sum of nothing is 0",
    "What is 0 divided by 0?",
    lambda x, y, i: surprises(x, y, i)[0].sum() / len(x) + (torch.nan if not surprises(x, y, i)[1].any() else 0),
)


def within_captions(x, y, i):
    lost, counted = surprises(x, y, i)
    return (lost.sum(1) / counted.sum(1)).mean()


def class_removed(x, y, i):
    if i is None:
        return surprises(x, y, None)[0].sum() / len(x)
    counted = y != i
    hidden = torch.arange(x.shape[2], device=x.device) == i
    logs = x.masked_fill(hidden, -torch.inf).log_softmax(2).gather(2, y.unsqueeze(2)).squeeze(2)
    return -torch.where(counted, logs, torch.zeros_like(logs)).sum() / len(x)


def scores_zeroed(x, y, i):
    counted = surprises(x, y, i)[1]
    return surprises(x * counted.unsqueeze(2), y, None)[0].sum() / len(x)


def overflowing(x, y, i):
    exps = x.exp()
    p = (exps / exps.sum(2, keepdim=True)).gather(2, y.unsqueeze(2)).squeeze(2)
    return -(p.log() * surprises(x, y, i)[1]).sum() / len(x)


# --- LSTM.step_forward, AttentionLSTM.step_forward ---


def torch_order(weight):
    """Blocks i, f, o, g along the last axis -> PyTorch's i, f, g, o along the first."""
    i, f, o, g = weight.chunk(4, dim=-1)
    return torch.cat([i, f, g, o], dim=-1).T


def lstm_cell(x, h, c, Wx, Wh, b):
    return torch.lstm_cell(x, (h, c), torch_order(Wx), torch_order(Wh), torch_order(b), torch.zeros_like(b))


@solution("LSTM.step_forward")
def lstm_step_forward(self, x, prev_h, prev_c):
    return lstm_cell(x, prev_h, prev_c, self.Wx, self.Wh, self.b)


@solution("AttentionLSTM.step_forward")
def attention_lstm_step_forward(self, x, prev_h, prev_c, attn):
    return lstm_cell(torch.cat([x, attn], 1), prev_h, prev_c, torch.cat([self.Wx, self.Wattn]), self.Wh, self.b)


def gates(a, c, order="ifog", squash=None, update=None, output=None, cut=None):
    """One update of the states from a (N, 4H) by hand.

    order: of the blocks. squash: functions other than the usual, by gate. update: (i, f, o, g, c) -> next_c.
    output: (o, next_c) -> next_h. cut: a -> its four blocks.
    """
    functions = {"i": torch.sigmoid, "f": torch.sigmoid, "o": torch.sigmoid, "g": torch.tanh, **(squash or {})}
    blocks = dict(zip(order, (cut or (lambda a: a.chunk(4, dim=1)))(a), strict=True))
    i, f, o, g = (functions[name](blocks[name]) for name in "ifog")
    next_c = update(i, f, o, g, c) if update else f * c + i * g
    return (output(o, next_c) if output else o * next_c.tanh()), next_c


def total(layer, x, h, attn=None):
    a = x @ layer.Wx + h @ layer.Wh + layer.b
    return a if attn is None else a + attn @ layer.Wattn


def both_steps(name, says, hint, formula):
    """A mistake of both LSTMs; formula: (layer, a, x, h, c) -> next_h, next_c."""

    @mistake("LSTM.step_forward", name, says, hint)
    def _(self, x, prev_h, prev_c):
        return formula(self, total(self, x, prev_h), x, prev_h, prev_c)

    @mistake("AttentionLSTM.step_forward", name, says, hint)
    def _(self, x, prev_h, prev_c, attn):
        return formula(self, total(self, x, prev_h, attn), x, prev_h, prev_c)


for wrong_order in ("ifgo", "figo", "fgio", "igfo", "iofg", "iogf", "oifg", "ofig", "gifo", "goif"):
    both_steps(
        "gate-order" if wrong_order == "ifgo" else f"gate-order-{wrong_order}",
        f"the gates are read in the order {', '.join(wrong_order)}; this course stores i, f, o, g",
        "Compare the docstring of the class with your cuts.",
        lambda layer, a, x, h, c, order=wrong_order: gates(a, c, order),
    )
both_steps(
    "gates-interleaved",
    "every fourth number of a is taken for a gate; each gate is one block of H numbers that follow each other",
    "How does a reshape to (N, H, 4) cut a row?",
    lambda layer, a, x, h, c: gates(a, c, cut=lambda a: a.view(len(a), -1, 4).unbind(2)),
)
both_steps(
    "proposal-sigmoid",
    "g goes through a sigmoid; it is a tanh",
    "May the cell take in negative numbers?",
    lambda layer, a, x, h, c: gates(a, c, squash={"g": torch.sigmoid}),
)
both_steps(
    "output-gate-tanh",
    "the output gate goes through a tanh; it is a sigmoid",
    "Between which numbers does a gate lie?",
    lambda layer, a, x, h, c: gates(a, c, squash={"o": torch.tanh}),
)
both_steps(
    "forget-gate-tanh",
    "the forget gate goes through a tanh; it is a sigmoid",
    "Between which numbers does a gate lie?",
    lambda layer, a, x, h, c: gates(a, c, squash={"f": torch.tanh}),
)
both_steps(
    "input-gate-tanh",
    "the input gate goes through a tanh; it is a sigmoid",
    "Between which numbers does a gate lie?",
    lambda layer, a, x, h, c: gates(a, c, squash={"i": torch.tanh}),
)
both_steps(
    "gates-tanh",
    "the three gates go through a tanh; they are sigmoids",
    "Between which numbers does a gate lie?",
    lambda layer, a, x, h, c: gates(a, c, squash=dict.fromkeys("ifo", torch.tanh)),
)
both_steps(
    "gates-exchanged",
    "tanh and sigmoid have changed places: the gates are sigmoids, g is a tanh",
    "Between which numbers does a gate lie?",
    lambda layer, a, x, h, c: gates(a, c, squash={**dict.fromkeys("ifo", torch.tanh), "g": torch.sigmoid}),
)
both_steps(
    "gates-not-squashed",
    "the gates are used without their sigmoid",
    "Between which numbers does a gate lie?",
    lambda layer, a, x, h, c: gates(a, c, squash=dict.fromkeys("ifo", lambda v: v)),
)
both_steps(
    "proposal-not-squashed",
    "g is used without its tanh",
    "How much may the cell take in at one step?",
    lambda layer, a, x, h, c: gates(a, c, squash={"g": lambda v: v}),
)
both_steps(
    "cell-not-squashed",
    "the cell state leaves without its tanh: next_h is the output gate times tanh of the cell",
    "What is squeezed before the output gate?",
    lambda layer, a, x, h, c: gates(a, c, output=lambda o, n: o * n),
)
both_steps(
    "cell-sigmoid",
    "the cell state leaves through a sigmoid; it is a tanh",
    "What is squeezed before the output gate?",
    lambda layer, a, x, h, c: gates(a, c, output=lambda o, n: o * n.sigmoid()),
)
both_steps(
    "cell-kept-squashed",
    "the tanh of the cell state is carried on; the next cell state is taken before the tanh",
    "Which number goes into the next step?",
    lambda layer, a, x, h, c: (lambda n, s: (n, s.tanh()))(*gates(a, c)),
)
both_steps(
    "tanh-of-product",
    "next_h is the tanh of gate times cell; the gate stands outside the tanh",
    "What is squeezed before the output gate?",
    lambda layer, a, x, h, c: gates(a, c, output=lambda o, n: (o * n).tanh()),
)
both_steps(
    "old-cell-out",
    "next_h is made with the cell state before the step; it is made with the one after",
    "Which cell state leaves?",
    lambda layer, a, x, h, c: gates(a, c, output=lambda o, n: o * c.tanh()),
)
both_steps(
    "forget-and-input-exchanged",
    "the forget gate weighs g and the input gate the old cell state; it is the other way round",
    "Which gate keeps, which takes in?",
    lambda layer, a, x, h, c: gates(a, c, update=lambda i, f, o, g, c: i * c + f * g),
)
both_steps(
    "no-forget-gate",
    "the old cell state is kept whole; the forget gate says how much of it is kept",
    "What does the forget gate do?",
    lambda layer, a, x, h, c: gates(a, c, update=lambda i, f, o, g, c: c + i * g),
)
both_steps(
    "no-input-gate",
    "g is taken in whole; the input gate says how much of it",
    "What does the input gate do?",
    lambda layer, a, x, h, c: gates(a, c, update=lambda i, f, o, g, c: f * c + g),
)
both_steps(
    "coupled-gates",
    "the new share is 1 - f; this LSTM has an input gate of its own",
    "How many gates has a?",
    lambda layer, a, x, h, c: gates(a, c, update=lambda i, f, o, g, c: f * c + (1 - f) * g),
)
both_steps(
    "forget-inverted",
    "1 - f of the old cell state is kept; it is f",
    "What does an open forget gate do?",
    lambda layer, a, x, h, c: gates(a, c, update=lambda i, f, o, g, c: (1 - f) * c + i * g),
)
both_steps(
    "old-cell-ignored",
    "the cell state before the step does not take part",
    "What does the cell remember?",
    lambda layer, a, x, h, c: gates(a, c, update=lambda i, f, o, g, c: i * g),
)
both_steps(
    "hidden-for-cell",
    "the forget gate weighs prev_h; it weighs prev_c",
    "Which of the two states is the memory?",
    lambda layer, a, x, h, c: gates(a, h),
)
both_steps(
    "gates-after-sum",
    "the forget gate weighs the sum of old and new; it weighs the old cell state only",
    "Which gate belongs to which term?",
    lambda layer, a, x, h, c: gates(a, c, update=lambda i, f, o, g, c: f * (c + i * g)),
)
both_steps(
    "sum-for-product",
    "gates and values are added; a gate multiplies",
    "What does a gate of 0 do?",
    lambda layer, a, x, h, c: gates(a, c, update=lambda i, f, o, g, c: f * c + i + g),
)
both_steps(
    "new-share-subtracted",
    "what is taken in is subtracted from the cell; it is added",
    "Look at the signs.",
    lambda layer, a, x, h, c: gates(a, c, update=lambda i, f, o, g, c: f * c - i * g),
)
both_steps(
    "results-exchanged",
    "next_c is returned first; wanted next_h, next_c",
    "In which order are the states returned?",
    lambda layer, a, x, h, c: gates(a, c)[::-1],
)
both_steps(
    "no-output-gate",
    "the output gate has no effect: next_h is the output gate times tanh of the cell",
    "What does the output gate do?",
    lambda layer, a, x, h, c: gates(a, c, output=lambda o, n: n.tanh()),
)
both_steps("no-bias", "the bias b is not added", "Count the terms of a.", lambda layer, a, x, h, c: gates(a - layer.b, c))
both_steps(
    "bias-twice",
    "the bias is added twice (PyTorch's own layer has two, this one has one)",
    "Count the terms of a.",
    lambda layer, a, x, h, c: gates(a + layer.b, c),
)
both_steps(
    "forget-bias-one",
    "1 is added to the forget gate's block; this LSTM has no such constant",
    "Count the terms of a.",
    lambda layer, a, x, h, c: gates(
        torch.cat([a[:, : c.shape[1]], a[:, c.shape[1] : 2 * c.shape[1]] + 1, a[:, 2 * c.shape[1] :]], 1), c
    ),
)
both_steps(
    "no-state", "prev_h does not take part", "Count the terms of a.", lambda layer, a, x, h, c: gates(a - h @ layer.Wh, c)
)
both_steps("no-input", "x does not take part", "Count the terms of a.", lambda layer, a, x, h, c: gates(a - x @ layer.Wx, c))
both_steps(
    "cell-in-gates",
    "prev_c stands where prev_h meets Wh",
    "Which state do the gates look at?",
    lambda layer, a, x, h, c: gates(a - h @ layer.Wh + c @ layer.Wh, c),
)
both_steps(
    "cell-peeks",
    "the cell state is added to the output gate's argument (a peephole); this LSTM has none",
    "What does a consist of?",
    lambda layer, a, x, h, c: gates(a, c, output=lambda o, n: (a.chunk(4, 1)[2] + n).sigmoid() * n.tanh()),
)
both_steps(
    "cell-detached",
    "the cell state is cut off from its history (detach), so the gradient through it is lost",
    "How does an LSTM remember for so long?",
    lambda layer, a, x, h, c: gates(a, c.detach()),
)


def attention_step(name, says, hint, formula):
    """formula: (layer, a without attention, x, h, attn) -> a."""

    @mistake("AttentionLSTM.step_forward", name, says, hint)
    def _(self, x, prev_h, prev_c, attn):
        return gates(formula(self, total(self, x, prev_h), x, prev_h, attn), prev_c)


attention_step("no-attention", "attn does not take part", "Count the terms of a.", lambda m, a, x, h, attn: a)
attention_step(
    "attention-through-Wh",
    "attn meets Wh; it has a matrix of its own, Wattn",
    "Which matrix belongs to attn?",
    lambda m, a, x, h, attn: a + attn @ m.Wh,
)
attention_step(
    "state-through-Wattn",
    "prev_h meets Wattn, and attn is left out",
    "Which vector belongs to Wattn?",
    lambda m, a, x, h, attn: a + h @ m.Wattn,
)
attention_step(
    "state-and-attention-exchanged",
    "prev_h meets Wattn and attn meets Wh; it is the other way round",
    "Which vector belongs to which matrix?",
    lambda m, a, x, h, attn: x @ m.Wx + attn @ m.Wh + h @ m.Wattn + m.b,
)
attention_step(
    "attention-added-to-state",
    "attn is added to prev_h before Wh; it goes through Wattn",
    "Which matrix belongs to attn?",
    lambda m, a, x, h, attn: x @ m.Wx + (h + attn) @ m.Wh + m.b,
)
attention_step(
    "attention-twice",
    "the attention term is added twice",
    "Count the terms of a.",
    lambda m, a, x, h, attn: a + 2 * attn @ m.Wattn,
)
attention_step(
    "attention-subtracted",
    "the attention term is subtracted; it is added",
    "Look at the signs.",
    lambda m, a, x, h, attn: a - attn @ m.Wattn,
)
attention_step(
    "attention-squashed",
    "attn goes through a tanh first; it is used as it is",
    "What is done to attn before Wattn?",
    lambda m, a, x, h, attn: a + attn.tanh() @ m.Wattn,
)


# --- LSTM.forward ---


@solution("LSTM.forward")
def lstm_forward(self, x, h0):
    weights = [torch_order(self.Wx), torch_order(self.Wh), torch_order(self.b), torch.zeros_like(self.b)]
    start = h0.unsqueeze(0)
    return torch.lstm(x, (start, torch.zeros_like(start)), weights, True, 1, 0.0, False, False, True)[0]


def run_lstm(self, x, h, c, carry=None, kept=lambda h, c: h):
    """carry: (h, c, start h, start c) -> the two that go into the next step. kept: what is written down."""
    first_h, first_c, states = h, c, []
    for t in range(x.shape[1]):
        h, c = lstm_cell(x[:, t], h, c, self.Wx, self.Wh, self.b)
        states.append(kept(h, c))
        if carry:
            h, c = carry(h, c, first_h, first_c)
    return torch.stack(states, 1)


def lstm_mistake(name, says, hint, formula):
    mistake("LSTM.forward", name, says, hint)(lambda self, x, h0: formula(self, x, h0))


def zeros(h):
    return torch.zeros_like(h)


lstm_mistake(
    "cell-starts-at-h0",
    "the cell state starts as h0; it starts from zeros",
    "What does the docstring say of the cell state?",
    lambda m, x, h: run_lstm(m, x, h, h),
)
lstm_mistake(
    "cell-starts-at-one",
    "the cell state starts from ones; it starts from zeros",
    "What does the docstring say of the cell state?",
    lambda m, x, h: run_lstm(m, x, h, torch.ones_like(h)),
)
lstm_mistake(
    "cell-starts-random",
    "the cell state starts from random numbers; it starts from zeros",
    "What does the docstring say of the cell state?",
    lambda m, x, h: run_lstm(m, x, h, torch.randn_like(h)),
)
lstm_mistake(
    "start-ignored",
    "the hidden state starts from zeros; it starts from h0",
    "What is h0 for?",
    lambda m, x, h: run_lstm(m, x, zeros(h), zeros(h)),
)
lstm_mistake(
    "start-is-cell",
    "h0 is taken for the cell state, and the hidden state starts from zeros; it is the other way round",
    "Which of the two states is h0?",
    lambda m, x, h: run_lstm(m, x, zeros(h), h),
)
lstm_mistake(
    "cell-not-carried",
    "every step starts from an empty cell; the cell state is carried along",
    "Which two states go into the next step?",
    lambda m, x, h: run_lstm(m, x, h, zeros(h), lambda h, c, h0, c0: (h, c0)),
)
lstm_mistake(
    "hidden-not-carried",
    "every step starts from h0; the hidden state is carried along",
    "Which two states go into the next step?",
    lambda m, x, h: run_lstm(m, x, h, zeros(h), lambda h, c, h0, c0: (h0, c)),
)
lstm_mistake(
    "nothing-carried",
    "every step starts afresh; both states are carried along",
    "Which two states go into the next step?",
    lambda m, x, h: run_lstm(m, x, h, zeros(h), lambda h, c, h0, c0: (h0, c0)),
)
lstm_mistake(
    "states-exchanged",
    "hidden and cell state change places from step to step",
    "In which order does step_forward return them?",
    lambda m, x, h: exchanged(m, x, h),
)
lstm_mistake(
    "cell-detached",
    "the cell state is cut off (detach) between the steps, so no gradient flows back through it",
    "How does an LSTM remember for so long?",
    lambda m, x, h: run_lstm(m, x, h, zeros(h), lambda h, c, h0, c0: (h, c.detach())),
)
lstm_mistake(
    "hidden-detached",
    "the hidden state is cut off (detach) between the steps, so no gradient flows back through it",
    "How does the loss of the last step reach the first?",
    lambda m, x, h: run_lstm(m, x, h, zeros(h), lambda h, c, h0, c0: (h.detach(), c)),
)
lstm_mistake(
    "states-detached",
    "both states are cut off (detach) between the steps, so no gradient flows back through time",
    "How does the loss of the last step reach the first?",
    lambda m, x, h: run_lstm(m, x, h, zeros(h), lambda h, c, h0, c0: (h.detach(), c.detach())),
)
lstm_mistake(
    "cells-returned",
    "the cell states are returned; wanted are the hidden states",
    "Which state leaves the layer?",
    lambda m, x, h: run_lstm(m, x, h, zeros(h), kept=lambda h, c: c),
)
lstm_mistake(
    "start-included",
    "the result begins with h0; it holds the states after each step",
    "Is h0 a state after a step?",
    lambda m, x, h: torch.cat([h.unsqueeze(1), run_lstm(m, x, h, zeros(h))[:, :-1]], 1),
)
lstm_mistake(
    "start-added",
    "the result holds h0 as well, T + 1 states; wanted are the T states after each step",
    "How many steps are there?",
    lambda m, x, h: torch.cat([h.unsqueeze(1), run_lstm(m, x, h, zeros(h))], 1),
)
lstm_mistake(
    "last-state-only",
    "only the last state is returned; wanted are the states after each step",
    "Which shape has the result?",
    lambda m, x, h: run_lstm(m, x, h, zeros(h))[:, -1],
)
lstm_mistake(
    "last-state-everywhere",
    "the last state stands at every step",
    "When is the state of step t written down?",
    lambda m, x, h: run_lstm(m, x, h, zeros(h))[:, -1:].expand(-1, x.shape[1], -1),
)
lstm_mistake(
    "time-first",
    "the result is (T, N, H); wanted (N, T, H)",
    "Along which axis are the states stacked?",
    lambda m, x, h: run_lstm(m, x, h, zeros(h)).transpose(0, 1),
)
lstm_mistake(
    "states-reshaped",
    "stacked (T, N, H) states are reshaped to (N, T, H), which mixes pictures and steps",
    "What is the difference between reshaping and exchanging axes?",
    lambda m, x, h: run_lstm(m, x, h, zeros(h)).transpose(0, 1).reshape(len(x), x.shape[1], -1),
)
lstm_mistake(
    "hidden-last-stacked",
    "the states are stacked along the last axis, (N, H, T); wanted (N, T, H)",
    "Along which axis are the states stacked?",
    lambda m, x, h: run_lstm(m, x, h, zeros(h)).transpose(1, 2),
)
lstm_mistake(
    "backwards-in-time",
    "the sequence is read from its end; it is read from its beginning",
    "Which input comes first?",
    lambda m, x, h: run_lstm(m, x.flip(1), h, zeros(h)),
)
lstm_mistake(
    "backwards-put-back",
    "the sequence is read from its end, as in a bidirectional network; here it is read forwards",
    "What may the state of step 0 know?",
    lambda m, x, h: run_lstm(m, x.flip(1), h, zeros(h)).flip(1),
)
lstm_mistake(
    "states-reversed",
    "the states stand in reverse order",
    "Which state belongs to step 0?",
    lambda m, x, h: run_lstm(m, x, h, zeros(h)).flip(1),
)
lstm_mistake(
    "first-input-always",
    "every step reads the first input; step t reads x[:, t]",
    "What is the input of step t?",
    lambda m, x, h: run_lstm(m, x[:, :1].expand_as(x), h, zeros(h)),
)
lstm_mistake(
    "last-state-zero",
    "the state of the last step is left at its initial zeros",
    "Where does the loop end?",
    lambda m, x, h: torch.cat([run_lstm(m, x, h, zeros(h))[:, :-1], zeros(h).unsqueeze(1)], 1),
)
lstm_mistake(
    "first-state-zero",
    "the state of the first step is left at its initial zeros",
    "Where does the loop begin?",
    lambda m, x, h: torch.cat([zeros(h).unsqueeze(1), run_lstm(m, x, h, zeros(h))[:, 1:]], 1),
)
lstm_mistake(
    "last-step-missing",
    "one step too few is made; there are as many states as inputs",
    "How many steps are there?",
    lambda m, x, h: run_lstm(m, x[:, :-1], h, zeros(h)),
)
lstm_mistake(
    "gate-order",
    "the gates are read in the order i, f, g, o of PyTorch's layer; this course stores i, f, o, g",
    "How does step_forward cut its blocks?",
    lambda m, x, h: other_order(m, x, h),
)
lstm_mistake(
    "pair-returned",
    "a pair of states is returned; wanted are the hidden states alone",
    "What does the docstring say of the cell states?",
    lambda m, x, h: (lambda states: (states, states[:, -1]))(run_lstm(m, x, h, zeros(h))),
)
lstm_mistake(
    "no-bias",
    "the bias b does not take part",
    "Which method makes one step?",
    lambda m, x, h: by_gates(m, x, h, lambda a, c: gates(a - m.b, c)),
)
lstm_mistake(
    "cell-not-squashed",
    "the cell state leaves without its tanh",
    "Which method makes one step?",
    lambda m, x, h: by_gates(m, x, h, lambda a, c: gates(a, c, output=lambda o, n: o * n)),
)


def exchanged(self, x, h):
    c, states = zeros(h), []
    for t in range(x.shape[1]):
        c, h = lstm_cell(x[:, t], h, c, self.Wx, self.Wh, self.b)
        states.append(h)
    return torch.stack(states, 1)


def by_gates(self, x, h, step):
    c, states = zeros(h), []
    for t in range(x.shape[1]):
        h, c = step(total(self, x[:, t], h), c)
        states.append(h)
    return torch.stack(states, 1)


def other_order(self, x, h):
    return by_gates(self, x, h, lambda a, c: gates(a, c, "ifgo"))


@mistake(
    "LSTM.forward",
    "cell-kept-between-calls",
    "the cell state of one call is where the next begins; each call starts from zeros",
    "What is kept in self?",
)
def _(self, x, h0):
    h, c, states = h0, getattr(self, "kept", None), []
    c = zeros(h0) if c is None else c
    for t in range(x.shape[1]):
        h, c = lstm_cell(x[:, t], h, c, self.Wx, self.Wh, self.b)
        states.append(h)
    self.kept = c
    return torch.stack(states, 1)


@mistake(
    "LSTM.forward",
    "states-kept-between-calls",
    "the states of one call are where the next begins; each call starts from h0 and zeros",
    "What is kept in self?",
)
def _(self, x, h0):
    h, c = getattr(self, "kept", (h0, zeros(h0)))
    states = []
    for t in range(x.shape[1]):
        h, c = lstm_cell(x[:, t], h, c, self.Wx, self.Wh, self.b)
        states.append(h)
    self.kept = h, c
    return torch.stack(states, 1)


# --- dot_product_attention ---


@solution("dot_product_attention")
def dot_product_attention(prev_h, A):
    cells = A.flatten(2).transpose(1, 2)  # (N, K, H)
    scores = torch.einsum("nh,nkh->nk", prev_h, cells) / A.shape[1] ** 0.5
    attn = F.scaled_dot_product_attention(prev_h.unsqueeze(1), cells, cells).squeeze(1)
    return attn, scores.softmax(1).view(len(A), *A.shape[2:])


def attend(prev_h, A, scale=None, weigh=lambda scores: scores.softmax(1), grid=None, out=None):
    """scale: H -> divisor. weigh: scores (N, K) -> weights. grid: (weights, A) -> map. out: (weights, cells) -> attn."""
    N, H, h, w = A.shape
    cells = A.reshape(N, H, h * w)
    scores = (prev_h.unsqueeze(2) * cells).sum(1) / (scale(A) if scale else math.sqrt(H))
    weights = weigh(scores)
    attn = out(weights, cells) if out else (cells * weights.unsqueeze(1)).sum(2)
    return attn, (grid(weights, A) if grid else weights.reshape(N, h, w))


def attention_mistake(name, says, hint, formula):
    mistake("dot_product_attention", name, says, hint)(lambda prev_h, A: formula(prev_h, A))


attention_mistake(
    "no-scale",
    "the scores are not divided by the square root of H",
    "How do dot products grow with H?",
    lambda q, A: attend(q, A, lambda A: 1),
)
attention_mistake(
    "scale-without-root",
    "the scores are divided by H; it is the square root of H",
    "How do dot products grow with H?",
    lambda q, A: attend(q, A, lambda A: A.shape[1]),
)
attention_mistake(
    "scale-by-cells",
    "the scores are divided by the square root of the number of cells; it is that of H",
    "Over how many terms does a dot product sum?",
    lambda q, A: attend(q, A, lambda A: math.sqrt(A[0, 0].numel())),
)
attention_mistake(
    "scale-by-width",
    "the scores are divided by the square root of the grid's width; it is that of H",
    "Over how many terms does a dot product sum?",
    lambda q, A: attend(q, A, lambda A: math.sqrt(A.shape[-1])),
)
attention_mistake(
    "scale-by-batch",
    "the scores are divided by the square root of N; it is that of H",
    "Over how many terms does a dot product sum?",
    lambda q, A: attend(q, A, lambda A: math.sqrt(len(A))),
)
attention_mistake(
    "scale-inverted",
    "the scores are multiplied by the square root of H; they are divided by it",
    "How do dot products grow with H?",
    lambda q, A: attend(q, A, lambda A: A.shape[1] ** -0.5),
)
attention_mistake(
    "scale-after-softmax",
    "the weights are divided, after the softmax; the scores are divided, before it",
    "What do the weights sum to?",
    lambda q, A: attend(q, A, lambda A: 1, lambda s: s.softmax(1) / math.sqrt(A.shape[1])),
)
attention_mistake(
    "softmax-over-batch",
    "the softmax runs over the batch; each picture's cells compete",
    "Over which axis do the weights sum to 1?",
    lambda q, A: attend(q, A, weigh=lambda s: s.softmax(0)),
)
attention_mistake(
    "softmax-over-columns",
    "the softmax runs over each row of the grid; all cells of a picture compete",
    "What do the weights of a picture sum to?",
    lambda q, A: attend(q, A, weigh=lambda s: s.view(len(A), *A.shape[2:]).softmax(2).flatten(1)),
)
attention_mistake(
    "softmax-over-rows",
    "the softmax runs over each column of the grid; all cells of a picture compete",
    "What do the weights of a picture sum to?",
    lambda q, A: attend(q, A, weigh=lambda s: s.view(len(A), *A.shape[2:]).softmax(1).flatten(1)),
)
attention_mistake(
    "softmax-over-everything",
    "the softmax runs over the cells of the whole batch; each picture's weights sum to 1",
    "What do the weights of a picture sum to?",
    lambda q, A: attend(q, A, weigh=lambda s: s.flatten().softmax(0).view_as(s)),
)
attention_mistake(
    "no-softmax",
    "the scores are used as weights without the softmax",
    "What do the weights sum to?",
    lambda q, A: attend(q, A, weigh=lambda s: s),
)
attention_mistake(
    "sigmoid-for-softmax",
    "a sigmoid stands where a softmax should",
    "What do the weights sum to?",
    lambda q, A: attend(q, A, weigh=torch.sigmoid),
)
attention_mistake(
    "softmax-twice",
    "the softmax is taken twice",
    "How often are scores made into weights?",
    lambda q, A: attend(q, A, weigh=lambda s: s.softmax(1).softmax(1)),
)
attention_mistake(
    "log-softmax",
    "the logarithm of the weights is used",
    "What do the weights sum to?",
    lambda q, A: attend(q, A, weigh=lambda s: s.log_softmax(1)),
)
attention_mistake(
    "scores-negated",
    "the scores have the wrong sign",
    "Which cell gets the largest weight?",
    lambda q, A: attend(q, A, weigh=lambda s: (-s).softmax(1)),
)
attention_mistake(
    "exponential-overflow",
    "scores are put into exp as they are, which overflows for large ones",
    "What is exp(1000.0)?",
    lambda q, A: attend(q, A, weigh=lambda s: s.exp() / s.exp().sum(1, keepdim=True)),
)
attention_mistake(
    "hard-attention",
    "only the cell of the highest score is looked at; every cell counts with its weight",
    "Could a gradient reach the scores?",
    lambda q, A: attend(q, A, weigh=lambda s: F.one_hot(s.argmax(1), s.shape[1]).to(s)),
)
attention_mistake(
    "mean-of-cells",
    "the answer is the mean of the cells; each cell counts with its weight",
    "What are the weights for?",
    lambda q, A: attend(q, A, out=lambda w, c: c.mean(2)),
)
attention_mistake(
    "weighted-mean",
    "the weighted sum is divided by the number of cells; the weights sum to 1 already",
    "What do the weights sum to?",
    lambda q, A: attend(q, A, out=lambda w, c: (c * w.unsqueeze(1)).mean(2)),
)
attention_mistake(
    "scores-for-weights",
    "the cells are summed with the scores; they are summed with the weights",
    "What was the softmax for?",
    lambda q, A: (attend(q, A, weigh=lambda s: s)[0], attend(q, A)[1]),
)
attention_mistake(
    "scores-returned",
    "the scores are returned as the map; wanted are the weights",
    "What does the map sum to?",
    lambda q, A: (attend(q, A)[0], attend(q, A, weigh=lambda s: s)[1]),
)
attention_mistake(
    "weights-detached",
    "the weights are cut off (detach), so no gradient reaches the scores",
    "How does the model learn where to look?",
    lambda q, A: attend(q, A, weigh=lambda s: s.softmax(1).detach()),
)
attention_mistake(
    "map-detached",
    "the map is returned cut off from what it was made of (detach)",
    "May a loss be put on the map?",
    lambda q, A: attend(q, A, grid=lambda w, A: w.detach().view(len(A), *A.shape[2:])),
)
attention_mistake(
    "map-transposed",
    "rows and columns of the map are exchanged; wanted (N, h, w)",
    "Which of the two is h?",
    lambda q, A: attend(q, A, grid=lambda w, A: w.view(len(A), *A.shape[2:]).transpose(1, 2)),
)
attention_mistake(
    "map-reshaped",
    "the map is (N, w, h), filled row by row; wanted (N, h, w)",
    "Which of the two is h?",
    lambda q, A: attend(q, A, grid=lambda w, A: w.view(len(A), A.shape[3], A.shape[2])),
)
attention_mistake(
    "map-flat",
    "the map is (N, h w); wanted (N, h, w)",
    "Which shape has the map?",
    lambda q, A: attend(q, A, grid=lambda w, A: w),
)
attention_mistake(
    "map-with-extra-axis",
    "the map has an axis of size one too many; wanted (N, h, w)",
    "Which shape has the map?",
    lambda q, A: attend(q, A, grid=lambda w, A: w.view(len(A), 1, *A.shape[2:])),
)
attention_mistake(
    "results-exchanged",
    "the map is returned first; wanted attn, attn_weights",
    "In which order are they returned?",
    lambda q, A: attend(q, A)[::-1],
)
attention_mistake(
    "map-only", "one tensor is returned; wanted are two", "What does the docstring return?", lambda q, A: attend(q, A)[1]
)
attention_mistake(
    "attn-only", "one tensor is returned; wanted are two", "What does the docstring return?", lambda q, A: attend(q, A)[0]
)
attention_mistake(
    "attn-with-extra-axis",
    "attn has an axis of size one too many; wanted (N, H)",
    "Which shape has attn?",
    lambda q, A: (attend(q, A)[0].unsqueeze(2), attend(q, A)[1]),
)
attention_mistake(
    "attn-with-query-axis",
    "attn has an axis of size one too many; wanted (N, H)",
    "Which shape has attn?",
    lambda q, A: (attend(q, A)[0].unsqueeze(1), attend(q, A)[1]),
)
attention_mistake(
    "squeezed",
    "axes of size one are dropped: a batch of one stays a batch",
    "What does squeeze do to (1, H, 1)?",
    lambda q, A: (attend(q, A)[0].squeeze(), attend(q, A)[1]),
)
attention_mistake(
    "squeezed-both",
    "axes of size one are dropped in both results: a batch of one stays a batch",
    "What does squeeze do to (1, H, 1)?",
    lambda q, A: (attend(q, A)[0].squeeze(), attend(q, A)[1].squeeze()),
)
attention_mistake(
    "grid-reshaped",
    "the grid is reshaped to (N, K, H) where its axes have to be exchanged, which mixes cells and features",
    "What is the difference between reshaping and exchanging axes?",
    lambda q, A: attend(q, A.reshape(len(A), -1, A.shape[1]).transpose(1, 2).reshape(A.shape)),
)
attention_mistake(
    "cells-column-by-column",
    "the cells are numbered column by column when flattened, and row by row in the map",
    "Is the order of the cells the same there and back?",
    lambda q, A: attend(q, A, grid=lambda w, A: attend(q, A.transpose(2, 3))[1].reshape(len(A), *A.shape[2:])),
)
attention_mistake(
    "query-not-used",
    "prev_h does not take part: all cells get the same weight",
    "Who asks the question?",
    lambda q, A: attend(torch.zeros_like(q), A),
)
attention_mistake(
    "query-added",
    "prev_h is added to the answer; the answer is the weighted sum alone",
    "What does the docstring say of attn?",
    lambda q, A: (attend(q, A)[0] + q, attend(q, A)[1]),
)
attention_mistake(
    "weighted-query",
    "the weights multiply prev_h; they multiply the cells",
    "What is summed?",
    lambda q, A: attend(q, A, out=lambda w, c: q * w.sum(1, keepdim=True)),
)


# --- AttentionLSTM.forward ---


@solution("AttentionLSTM.forward")
def attention_lstm_forward(self, x, A):
    h = c = A.flatten(2).sum(2) / A[0, 0].numel()
    states = []
    for step in x.unbind(1):
        h, c = attention_lstm_step_forward(self, step, h, c, dot_product_attention(h, A)[0])
        states += [h]
    return torch.stack(states, 1)


def look(self, x, A, h=None, c=None, ask=None, carry=None, kept=lambda h, c: h, grid=None):
    """h, c: first states (default: mean of A). ask: (step, h, c, last answer) -> answer. grid: what is looked at."""
    h = A.mean((2, 3)) if h is None else h
    c = A.mean((2, 3)) if c is None else c
    grid = A if grid is None else grid
    first, states, attn = (h, c), [], None
    for t in range(x.shape[1]):
        attn = ask(t, h, c, attn) if ask else dot_product_attention(h, grid)[0]
        h, c = attention_lstm_step_forward(self, x[:, t], h, c, attn)
        states.append(kept(h, c))
        if carry:
            h, c = carry(h, c, *first)
    return torch.stack(states, 1)


def look_mistake(name, says, hint, formula):
    mistake("AttentionLSTM.forward", name, says, hint)(lambda self, x, A: formula(self, x, A, A.mean((2, 3))))


look_mistake(
    "cell-starts-at-zero",
    "the cell state starts from zeros; here both states start as the mean of A",
    "What does the docstring say of the two states?",
    lambda m, x, A, start: look(m, x, A, c=zeros(start)),
)
look_mistake(
    "hidden-starts-at-zero",
    "the hidden state starts from zeros; both states start as the mean of A",
    "What does the docstring say of the two states?",
    lambda m, x, A, start: look(m, x, A, h=zeros(start)),
)
look_mistake(
    "both-start-at-zero",
    "both states start from zeros; they start as the mean of A",
    "What does the docstring say of the two states?",
    lambda m, x, A, start: look(m, x, A, zeros(start), zeros(start)),
)
look_mistake(
    "start-summed",
    "the states start as the sum over the cells; it is the mean",
    "Sum or mean?",
    lambda m, x, A, start: look(m, x, A, A.sum((2, 3)), A.sum((2, 3))),
)
look_mistake(
    "start-maximum",
    "the states start as the maximum over the cells; it is the mean",
    "Maximum or mean?",
    lambda m, x, A, start: look(m, x, A, A.amax((2, 3)), A.amax((2, 3))),
)
look_mistake(
    "start-first-cell",
    "the states start as the first cell; it is the mean over all cells",
    "Over which axes is the mean?",
    lambda m, x, A, start: look(m, x, A, A[:, :, 0, 0], A[:, :, 0, 0]),
)
look_mistake(
    "start-first-row",
    "the states start as the mean over one row or column of the grid; it is the mean over all cells",
    "Over which axes is the mean?",
    lambda m, x, A, start: look(m, x, A, A.mean(2)[..., 0], A.mean(2)[..., 0]),
)
look_mistake(
    "start-attended",
    "the states start as an attention; they start as the mean of A",
    "What does the docstring say of the two states?",
    lambda m, x, A, start: look(m, x, A, *[dot_product_attention(start, A)[0]] * 2),
)
look_mistake(
    "start-squashed",
    "the first states go through a tanh; they are the mean of A as it is",
    "What does the docstring say of the two states?",
    lambda m, x, A, start: look(m, x, A, start.tanh(), start.tanh()),
)
look_mistake(
    "start-detached",
    "the first states are cut off (detach), so less gradient reaches the picture's features",
    "How does the encoder learn?",
    lambda m, x, A, start: look(m, x, A, start.detach(), start.detach()),
)
look_mistake(
    "attention-once",
    "the attention is computed once, before the first step; it is asked anew before every step",
    "Does the model look at another place for each word?",
    lambda m, x, A, start: look(
        m, x, A, ask=lambda t, h, c, last: dot_product_attention(start, A)[0] if last is None else last
    ),
)
look_mistake(
    "attention-one-late",
    "each step uses the attention of the step before, the first one none; it uses that of the state before it",
    "From which hidden state is the attention of step t asked?",
    lambda m, x, A, start: late(m, x, A, zeros(start)),
)
look_mistake(
    "attention-one-late-from-start",
    "each step uses the attention of the step before",
    "From which hidden state is the attention of step t asked?",
    lambda m, x, A, start: late(m, x, A, dot_product_attention(start, A)[0]),
)
look_mistake(
    "attention-after-step",
    "the step is made with the attention of its own result; the picture is asked before the step",
    "With which state is the picture asked?",
    lambda m, x, A, start: after_step(m, x, A, start),
)
look_mistake(
    "attention-by-cell",
    "the picture is asked with the cell state; it is asked with the hidden state",
    "Who asks the question?",
    lambda m, x, A, start: look(m, x, A, ask=lambda t, h, c, last: dot_product_attention(c, A)[0]),
)
look_mistake(
    "attention-missing",
    "the attention is zero; the picture is asked before every step",
    "What is attn for?",
    lambda m, x, A, start: look(m, x, A, ask=lambda t, h, c, last: zeros(start)),
)
look_mistake(
    "attention-uniform",
    "every step sees the mean of the picture; it sees what the attention picks",
    "What is attn for?",
    lambda m, x, A, start: look(m, x, A, ask=lambda t, h, c, last: start),
)
look_mistake(
    "attention-no-scale",
    "the attention's scores are not divided by the square root of H",
    "Which function attends?",
    lambda m, x, A, start: look(m, x, A, ask=lambda t, h, c, last: attend(h, A, lambda A: 1)[0]),
)
look_mistake(
    "attention-detached",
    "the attention is cut off (detach), so no gradient reaches where the model looks",
    "How does the model learn where to look?",
    lambda m, x, A, start: look(m, x, A, ask=lambda t, h, c, last: dot_product_attention(h, A)[0].detach()),
)
look_mistake(
    "question-detached",
    "the question is cut off (detach) before the attention",
    "How does the model learn what to ask?",
    lambda m, x, A, start: look(m, x, A, ask=lambda t, h, c, last: dot_product_attention(h.detach(), A)[0]),
)
look_mistake(
    "cell-not-carried",
    "every step starts from the first cell state; it is carried along",
    "Which two states go into the next step?",
    lambda m, x, A, start: look(m, x, A, carry=lambda h, c, h0, c0: (h, c0)),
)
look_mistake(
    "cell-emptied",
    "every step starts from an empty cell; the cell state is carried along",
    "Which two states go into the next step?",
    lambda m, x, A, start: look(m, x, A, c=zeros(start), carry=lambda h, c, h0, c0: (h, zeros(h))),
)
look_mistake(
    "hidden-not-carried",
    "every step starts from the first hidden state; it is carried along",
    "Which two states go into the next step?",
    lambda m, x, A, start: look(m, x, A, carry=lambda h, c, h0, c0: (h0, c)),
)
look_mistake(
    "nothing-carried",
    "every step starts afresh; both states are carried along",
    "Which two states go into the next step?",
    lambda m, x, A, start: look(m, x, A, carry=lambda h, c, h0, c0: (h0, c0)),
)
look_mistake(
    "cell-detached",
    "the cell state is cut off (detach) between the steps",
    "How does an LSTM remember for so long?",
    lambda m, x, A, start: look(m, x, A, carry=lambda h, c, h0, c0: (h, c.detach())),
)
look_mistake(
    "hidden-detached",
    "the hidden state is cut off (detach) between the steps",
    "How does the loss of the last step reach the first?",
    lambda m, x, A, start: look(m, x, A, carry=lambda h, c, h0, c0: (h.detach(), c)),
)
look_mistake(
    "states-detached",
    "both states are cut off (detach) between the steps",
    "How does the loss of the last step reach the first?",
    lambda m, x, A, start: look(m, x, A, carry=lambda h, c, h0, c0: (h.detach(), c.detach())),
)
look_mistake(
    "cells-returned",
    "the cell states are returned; wanted are the hidden states",
    "Which state leaves the layer?",
    lambda m, x, A, start: look(m, x, A, kept=lambda h, c: c),
)
look_mistake(
    "start-included",
    "the result begins with the first state; it holds the states after each step",
    "Is the start a state after a step?",
    lambda m, x, A, start: torch.cat([start.unsqueeze(1), look(m, x, A)[:, :-1]], 1),
)
look_mistake(
    "start-added",
    "the result holds the start as well, T + 1 states; wanted are the T states after each step",
    "How many steps are there?",
    lambda m, x, A, start: torch.cat([start.unsqueeze(1), look(m, x, A)], 1),
)
look_mistake(
    "last-state-only",
    "only the last state is returned; wanted are the states after each step",
    "Which shape has the result?",
    lambda m, x, A, start: look(m, x, A)[:, -1],
)
look_mistake(
    "time-first",
    "the result is (T, N, H); wanted (N, T, H)",
    "Along which axis are the states stacked?",
    lambda m, x, A, start: look(m, x, A).transpose(0, 1),
)
look_mistake(
    "states-reshaped",
    "stacked (T, N, H) states are reshaped to (N, T, H), which mixes pictures and steps",
    "What is the difference between reshaping and exchanging axes?",
    lambda m, x, A, start: look(m, x, A).transpose(0, 1).reshape(len(x), x.shape[1], -1),
)
look_mistake(
    "hidden-last-stacked",
    "the states are stacked along the last axis, (N, H, T); wanted (N, T, H)",
    "Along which axis are the states stacked?",
    lambda m, x, A, start: look(m, x, A).transpose(1, 2),
)
look_mistake(
    "backwards-in-time",
    "the sequence is read from its end; it is read from its beginning",
    "Which input comes first?",
    lambda m, x, A, start: look(m, x.flip(1), A),
)
look_mistake(
    "states-reversed",
    "the states stand in reverse order",
    "Which state belongs to step 0?",
    lambda m, x, A, start: look(m, x, A).flip(1),
)
look_mistake(
    "first-input-always",
    "every step reads the first input; step t reads x[:, t]",
    "What is the input of step t?",
    lambda m, x, A, start: look(m, x[:, :1].expand_as(x), A),
)
look_mistake(
    "last-state-zero",
    "the state of the last step is left at its initial zeros",
    "Where does the loop end?",
    lambda m, x, A, start: torch.cat([look(m, x, A)[:, :-1], zeros(start).unsqueeze(1)], 1),
)
look_mistake(
    "last-step-missing",
    "one step too few is made; there are as many states as inputs",
    "How many steps are there?",
    lambda m, x, A, start: look(m, x[:, :-1], A),
)
look_mistake(
    "maps-returned-too",
    "a pair is returned; wanted are the hidden states alone",
    "What does the docstring return?",
    lambda m, x, A, start: (look(m, x, A), start),
)
look_mistake(
    "gate-order",
    "the gates are read in the order i, f, g, o of PyTorch's layer; this course stores i, f, o, g",
    "How does step_forward cut its blocks?",
    lambda m, x, A, start: look_by_gates(m, x, A, start),
)


def late(self, x, A, attn):
    h = c = A.mean((2, 3))
    states = []
    for t in range(x.shape[1]):
        asked = dot_product_attention(h, A)[0]
        h, c = attention_lstm_step_forward(self, x[:, t], h, c, attn)
        attn = asked
        states.append(h)
    return torch.stack(states, 1)


def after_step(self, x, A, start):
    h = c = start
    states = []
    for t in range(x.shape[1]):
        first, _ = attention_lstm_step_forward(self, x[:, t], h, c, dot_product_attention(h, A)[0])
        h, c = attention_lstm_step_forward(self, x[:, t], h, c, dot_product_attention(first, A)[0])
        states.append(h)
    return torch.stack(states, 1)


def look_by_gates(self, x, A, start):
    h = c = start
    states = []
    for t in range(x.shape[1]):
        h, c = gates(total(self, x[:, t], h, dot_product_attention(h, A)[0]), c, "ifgo")
        states.append(h)
    return torch.stack(states, 1)


@mistake(
    "AttentionLSTM.forward",
    "states-kept-between-calls",
    "the states of one call are where the next begins; each call starts from A",
    "What is kept in self?",
)
def _(self, x, A):
    h, c = getattr(self, "kept", (A.mean((2, 3)),) * 2)
    states = []
    for t in range(x.shape[1]):
        h, c = attention_lstm_step_forward(self, x[:, t], h, c, dot_product_attention(h, A)[0])
        states.append(h)
    self.kept = h, c
    return torch.stack(states, 1)


@mistake(
    "AttentionLSTM.forward",
    "cell-kept-between-calls",
    "the cell state of one call is where the next begins; each call starts from A",
    "What is kept in self?",
)
def _(self, x, A):
    h, states = A.mean((2, 3)), []
    c = getattr(self, "kept", h)
    for t in range(x.shape[1]):
        h, c = attention_lstm_step_forward(self, x[:, t], h, c, dot_product_attention(h, A)[0])
        states.append(h)
    self.kept = c
    return torch.stack(states, 1)


# --- CaptioningRNN.__init__ ---


def lesson_of(model):
    """The names of the lesson that the model's class belongs to."""
    return type(model).encode.__globals__


def build(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index):
    """Everything that surrounds the exercise."""
    lesson = lesson_of(self)
    nn.Module.__init__(self)
    problems = [
        *([] if cell_type in ("rnn", "lstm", "attn") else [f"cell_type is {cell_type!r}"]),
        *([] if lesson["NULL"] in word_to_idx else ["no <NULL>"]),
        *([] if input_dim == lesson["FEATURE_CHANNELS"] else [f"input_dim is {input_dim}"]),
    ]
    if problems:
        raise ValueError(f"CaptioningRNN: {'; '.join(problems)}")
    self.cell_type, self.word_to_idx, self.ignore_index = cell_type, word_to_idx, ignore_index
    self.idx_to_word = {index: word for word, index in word_to_idx.items()}
    self.image_encoder = lesson["ImageEncoder"](pretrained=image_encoder_pretrained)


def fill_in(self, V, D, W, H, kind, feature_bias=True, output_bias=True):
    lesson = lesson_of(self)
    classes = {"rnn": lesson["RNN"], "lstm": lesson["LSTM"], "attn": lesson["AttentionLSTM"]}
    self.add_module("feature_projection", nn.Linear(D, H, bias=feature_bias))
    self.add_module("word_embedding", lesson["WordEmbedding"](V, W))
    self.add_module("recurrent", classes[kind](W, H))
    self.add_module("output_projection", nn.Linear(H, V, bias=output_bias))


@solution("CaptioningRNN.__init__")
def captioning_init(
    self,
    word_to_idx,
    input_dim=512,
    wordvec_dim=128,
    hidden_dim=128,
    cell_type="rnn",
    image_encoder_pretrained=True,
    ignore_index=None,
):
    build(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index)
    fill_in(self, len(word_to_idx), input_dim, wordvec_dim, hidden_dim, cell_type)


def init_mistake(name, says, hint, change=None, **settings):
    """change: (model, V, D, W, H, kind), called after the parts are there; settings: functions of the same for fill_in."""

    @mistake("CaptioningRNN.__init__", name, says, hint)
    def _(
        self,
        word_to_idx,
        input_dim=512,
        wordvec_dim=128,
        hidden_dim=128,
        cell_type="rnn",
        image_encoder_pretrained=True,
        ignore_index=None,
    ):
        build(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index)
        sizes = {"V": len(word_to_idx), "D": input_dim, "W": wordvec_dim, "H": hidden_dim, "kind": cell_type}
        fill_in(self, **{**sizes, **{key: make(self) if callable(make) else make for key, make in settings.items()}})
        if change:
            change(self, **sizes)


def put(name, make):
    """A change that puts another layer in a part's place."""

    def change(model, V, D, W, H, kind):
        delattr(model, name)
        setattr(model, name, make(V, D, W, H))

    return change


def several(*changes):
    def change(model, **sizes):
        for one in changes:
            one(model, **sizes)

    return change


def drop(name):
    return lambda model, V, D, W, H, kind: delattr(model, name)


def of_class(name, *sizes):
    """A change that puts a recurrent or embedding layer of the lesson in a part's place."""

    def change(model, V, D, W, H, kind):
        where = "word_embedding" if name == "WordEmbedding" else "recurrent"
        kinds = {"rnn": "RNN", "lstm": "LSTM", "attn": "AttentionLSTM"}
        delattr(model, where)
        known = {"V": V, "D": D, "W": W, "H": H}
        setattr(model, where, lesson_of(model)[name or kinds[kind]](*(known[size] for size in sizes)))

    return change


init_mistake(
    "largest-index",
    "V is the largest index + 1; it is the number of words, whatever their indices",
    "How many words are in {<NULL>: 0, cat: 2, dog: 3}?",
    V=lambda m: max(m.word_to_idx.values()) + 1,
)
init_mistake(
    "one-word-more",
    "V is one too large: it is the number of words",
    "What does len of a dictionary count?",
    V=lambda m: len(m.word_to_idx) + 1,
)
init_mistake(
    "one-word-less",
    "V is one too small: it is the number of words, <NULL> among them",
    "What does len of a dictionary count?",
    V=lambda m: len(m.word_to_idx) - 1,
)
init_mistake(
    "output-without-bias",
    "the map to the scores has no bias; it has one",
    "May some words be likelier than others from the start?",
    output_bias=False,
)
init_mistake(
    "features-without-bias",
    "the map of the features has no bias; it has one",
    "An affine map has how many parts?",
    feature_bias=False,
)
init_mistake(
    "both-without-bias",
    "the two maps have no bias; they have one",
    "An affine map has how many parts?",
    feature_bias=False,
    output_bias=False,
)
init_mistake(
    "features-to-words",
    "the features are mapped to the size of a word vector; they become the first hidden state",
    "What do rnn and lstm start from?",
    put("feature_projection", lambda V, D, W, H: nn.Linear(D, W)),
)
init_mistake(
    "features-mapped-backwards",
    "the map of the features has its sizes exchanged: it goes from the features to the hidden state",
    "What goes in, what comes out?",
    put("feature_projection", lambda V, D, W, H: nn.Linear(H, D)),
)
init_mistake(
    "features-by-convolution",
    "the map of the features is a convolution; `project` gives it vectors, so it is a linear layer",
    "What does `project` hand to it?",
    put("feature_projection", lambda V, D, W, H: nn.Conv2d(D, H, 1)),
)
init_mistake(
    "features-rectified",
    "the projected features go through a relu; the first state is the affine map alone",
    "What does the docstring say of the first hidden state?",
    put("feature_projection", lambda V, D, W, H: nn.Sequential(nn.Linear(D, H), nn.ReLU())),
)
init_mistake(
    "features-squashed",
    "the projected features go through a tanh; the first state is the affine map alone",
    "What does the docstring say of the first hidden state?",
    put("feature_projection", lambda V, D, W, H: nn.Sequential(nn.Linear(D, H), nn.Tanh())),
)
init_mistake(
    "features-normalised",
    "the projected features go through a layer norm; the first state is the affine map alone",
    "What does the docstring say of the first hidden state?",
    put("feature_projection", lambda V, D, W, H: nn.Sequential(nn.Linear(D, H), nn.LayerNorm(H))),
)
init_mistake(
    "scores-from-words",
    "the scores are made of a word vector; they are made of the hidden state",
    "What leaves the recurrent layer?",
    put("output_projection", lambda V, D, W, H: nn.Linear(W, V)),
)
init_mistake(
    "scores-mapped-backwards",
    "the map to the scores has its sizes exchanged: it goes from the hidden state to the words",
    "What goes in, what comes out?",
    put("output_projection", lambda V, D, W, H: nn.Linear(V, H)),
)
init_mistake(
    "scores-to-word-vectors",
    "the hidden state is mapped to the size of a word vector; it is mapped to scores, one a word",
    "How many scores has a step?",
    put("output_projection", lambda V, D, W, H: nn.Linear(H, W)),
)
init_mistake(
    "scores-with-softmax",
    "the map to the scores ends in a softmax; the loss wants scores before the softmax",
    "What does cross entropy do with its input first?",
    put("output_projection", lambda V, D, W, H: nn.Sequential(nn.Linear(H, V), nn.Softmax(-1))),
)
init_mistake(
    "scores-with-log-softmax",
    "the map to the scores ends in a log-softmax; the scores are the affine map alone",
    "What does cross entropy do with its input first?",
    put("output_projection", lambda V, D, W, H: nn.Sequential(nn.Linear(H, V), nn.LogSoftmax(-1))),
)
init_mistake(
    "recurrent-sizes-exchanged",
    "the recurrent layer has its sizes exchanged: word vectors go in, hidden states come out",
    "What does the recurrent layer read?",
    of_class(None, "H", "W"),
)
init_mistake(
    "recurrent-reads-features",
    "the recurrent layer reads features; it reads word vectors",
    "What does the recurrent layer read?",
    of_class(None, "D", "H"),
)
init_mistake(
    "recurrent-reads-states",
    "the recurrent layer reads vectors of size H; word vectors have the size W",
    "What does the recurrent layer read?",
    of_class(None, "H", "H"),
)
init_mistake(
    "embedding-sizes-exchanged",
    "the table of words has its sizes exchanged: one row a word",
    "W_embed is (V, W).",
    of_class("WordEmbedding", "W", "V"),
)
init_mistake(
    "embedding-of-hidden-size",
    "the word vectors have the size of the hidden state; they have wordvec_dim",
    "Which argument gives their size?",
    of_class("WordEmbedding", "V", "H"),
)
init_mistake("always-rnn", "the recurrent layer is an RNN whatever cell_type says", "What is cell_type for?", kind="rnn")
init_mistake("always-lstm", "the recurrent layer is an LSTM whatever cell_type says", "What is cell_type for?", kind="lstm")
init_mistake(
    "lstm-for-attention",
    'for "attn" the recurrent layer is an LSTM; it is an AttentionLSTM',
    "Which class attends?",
    kind=lambda m: "lstm" if m.cell_type == "attn" else m.cell_type,
)
init_mistake(
    "attention-and-lstm-exchanged",
    "LSTM and AttentionLSTM have changed places",
    "Which class attends?",
    kind=lambda m: {"rnn": "rnn", "lstm": "attn", "attn": "lstm"}[m.cell_type],
)
init_mistake(
    "hidden-parts",
    "the parts are kept in a list or dictionary, so their parameters are not registered and do not train",
    "What does named_parameters() list?",
    lambda model, V, D, W, H, kind: hide(model),
)
init_mistake(
    "frozen-features",
    "the map of the features does not train (requires_grad is off); all parts train",
    "What learns?",
    lambda model, V, D, W, H, kind: model.feature_projection.requires_grad_(False),
)
init_mistake(
    "frozen-encoder",
    "the encoder does not train (requires_grad is off); all parts train",
    "What learns?",
    lambda model, V, D, W, H, kind: model.image_encoder.requires_grad_(False),
)
init_mistake(
    "second-start",
    "Module.__init__ is called a second time, which throws away what was registered before",
    "What happened to image_encoder?",
    lambda model, V, D, W, H, kind: again(model, V, D, W, H, kind),
)
for part in ("feature_projection", "word_embedding", "recurrent", "output_projection"):
    init_mistake(
        f"no-{part.replace('_', '-')}",
        f"there is no layer called {part}",
        "Which four names do `project` and `scores` use?",
        drop(part),
    )
init_mistake(
    "two-layer-scores",
    "the scores are made by two layers; it is one affine map",
    "What does the docstring say of the scores?",
    put("output_projection", lambda V, D, W, H: nn.Sequential(nn.Linear(H, H), nn.ReLU(), nn.Linear(H, V))),
)
init_mistake(
    "scores-dropout",
    "a dropout stands in the map to the scores; the affine map stands alone",
    "What is done to the scores?",
    several(put("output_projection", lambda V, D, W, H: nn.Sequential(nn.Dropout(), nn.Linear(H, V)))),
)


def hide(model):
    parts = {name: getattr(model, name) for name in ("feature_projection", "word_embedding", "recurrent", "output_projection")}
    for name, part in parts.items():
        delattr(model, name)
        object.__setattr__(model, name, part)


def again(model, V, D, W, H, kind):
    nn.Module.__init__(model)
    fill_in(model, V, D, W, H, kind)


# --- CaptioningRNN.forward ---


def features_of(self, images):
    return self.image_encoder(images) if images.shape[1] == 3 else images


def first_state(self, features):
    """h0 (N, H), or the grid A (N, H, h, w) for "attn"."""
    weight, bias = list(self.feature_projection.parameters())
    grid = F.conv2d(features, weight[:, :, None, None], bias)
    return grid if self.cell_type == "attn" else grid.mean((2, 3))


def hidden_states(self, start, vectors):
    cell_of = {
        "rnn": lambda: rnn(vectors, start, self.recurrent.Wx, self.recurrent.Wh, self.recurrent.b),
        "lstm": lambda: lstm_forward(self.recurrent, vectors, start),
        "attn": lambda: attention_lstm_forward(self.recurrent, vectors, start),
    }
    return cell_of[self.cell_type]()


def word_scores(self, images, words, start=lambda start: start, states=lambda states: states):
    vectors = word_embedding_forward(self.word_embedding, words)
    hidden = hidden_states(self, start(first_state(self, features_of(self, images))), vectors)
    return self.output_projection(states(hidden))


@solution("CaptioningRNN.forward")
def captioning_forward(self, images, captions):
    captions = captions.to(self.output_projection.weight.device)
    scores = word_scores(self, images, captions[:, :-1])
    return temporal_softmax_loss(scores, captions[:, 1:], self.ignore_index)


def forward_mistake(name, says, hint, formula):
    mistake("CaptioningRNN.forward", name, says, hint)(lambda self, images, captions: formula(self, images, captions))


def predicted(self, images, read, wanted, ignore="own", loss=temporal_softmax_loss, **changes):
    return loss(word_scores(self, images, read, **changes), wanted, self.ignore_index if ignore == "own" else ignore)


forward_mistake(
    "targets-not-shifted",
    "each step is to predict the word it reads; it is to predict the next one",
    "Which word follows the one that is read?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, :-1]),
)
forward_mistake(
    "targets-not-shifted-late",
    "each step is to predict the word it reads; it is to predict the next one",
    "Which word follows the one that is read?",
    lambda m, x, c: predicted(m, x, c[:, 1:], c[:, 1:]),
)
forward_mistake(
    "read-and-predicted-exchanged",
    "the words after the first are read and those before the last predicted; it is the other way round",
    "Which word is known first?",
    lambda m, x, c: predicted(m, x, c[:, 1:], c[:, :-1]),
)
forward_mistake(
    "whole-captions",
    "the whole captions are read and predicted; T + 1 words make T steps",
    "Which word follows the last?",
    lambda m, x, c: predicted(m, x, c, c),
)
forward_mistake(
    "two-shifted",
    "the targets are shifted by two words; it is one",
    "Which word follows the one that is read?",
    lambda m, x, c: predicted(m, x, c[:, :-2], c[:, 2:]),
)
forward_mistake(
    "rolled",
    "the targets are the captions rolled around, so the last step is to predict the first word",
    "Which word follows the last?",
    lambda m, x, c: predicted(m, x, c, c.roll(-1, 1)),
)
forward_mistake(
    "last-word-left-out",
    "the last word is neither read nor predicted; the last but one is read to predict it",
    "How many steps do T + 1 words make?",
    lambda m, x, c: predicted(m, x, c[:, :-2], c[:, 1:-1]),
)
forward_mistake(
    "start-left-out",
    "the walk begins after <START>; <START> is read first",
    "Which word is the first read?",
    lambda m, x, c: predicted(m, x, c[:, 1:-1], c[:, 2:]),
)
forward_mistake(
    "nothing-ignored",
    "the model's ignore_index does not reach the loss",
    "Which targets count?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, 1:], None),
)
forward_mistake(
    "null-always-ignored",
    "<NULL> is ignored whatever the model's ignore_index says",
    "Which attribute says what is ignored?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, 1:], m.word_to_idx["<NULL>"]),
)
forward_mistake(
    "zero-is-no-index",
    "an ignore_index of 0 is taken for None (0 is false)",
    "What does `or` do with 0?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, 1:], m.ignore_index or None),
)
forward_mistake(
    "end-ignored",
    "<END> is ignored; it is the model's ignore_index that says what is",
    "Which attribute says what is ignored?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, 1:], m.word_to_idx.get("<END>")),
)
forward_mistake(
    "mean-over-words",
    "the loss is averaged over the words; it is a loss per caption",
    "Which function makes the loss?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, 1:], loss=per_word),
)
forward_mistake(
    "mean-over-all",
    "the loss is divided by N T; it is a loss per caption",
    "Which function makes the loss?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, 1:]) / (c.shape[1] - 1),
)
forward_mistake(
    "sum-over-batch",
    "the loss is the sum over the batch; it is a loss per caption",
    "Which function makes the loss?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, 1:]) * len(c),
)
forward_mistake(
    "start-ignored",
    "the recurrent layer starts from zeros; it starts from the picture",
    "Where does the picture come in?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, 1:], start=zeros),
)
forward_mistake(
    "start-squashed",
    "the projected features go through a tanh; the first state is the affine map alone",
    "What does `project` return?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, 1:], start=torch.tanh),
)
forward_mistake(
    "start-rectified",
    "the projected features go through a relu; the first state is the affine map alone",
    "What does `project` return?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, 1:], start=torch.relu),
)
forward_mistake(
    "states-squashed",
    "the hidden states go through a tanh before the scores",
    "What does `scores` do?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, 1:], states=torch.tanh),
)
forward_mistake(
    "states-rectified",
    "the hidden states go through a relu before the scores",
    "What does `scores` do?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, 1:], states=torch.relu),
)
forward_mistake(
    "softmax-twice",
    "the scores go through a softmax before the loss, which takes its own",
    "What does the loss want?",
    lambda m, x, c: temporal_softmax_loss(word_scores(m, x, c[:, :-1]).softmax(2), c[:, 1:], m.ignore_index),
)
forward_mistake(
    "scores-returned",
    "the scores are returned; wanted is the loss",
    "What does the docstring return?",
    lambda m, x, c: word_scores(m, x, c[:, :-1]),
)
forward_mistake(
    "scores-returned-too",
    "loss and scores are returned; wanted is the loss alone",
    "What does the docstring return?",
    lambda m, x, c: (captioning_forward(m, x, c), word_scores(m, x, c[:, :-1])),
)
forward_mistake(
    "only-images",
    "the encoder is asked for features as well; features that it made pass unchanged",
    "Which method tells images from features?",
    lambda m, x, c: only_images(m, x, c),
)
forward_mistake(
    "only-features",
    "images do not pass the encoder",
    "Which method tells images from features?",
    lambda m, x, c: m.feature_projection(x.mean((2, 3))) if x.shape[1] == 3 else captioning_forward(m, x, c),
)
forward_mistake(
    "encoder-cut-off",
    "the encoder's features are cut off (no_grad, detach); all its weights train",
    "What learns in this model?",
    lambda m, x, c: captioning_forward(m, features_of(m, x).detach(), c),
)
forward_mistake(
    "projection-cut-off",
    "the projected features are cut off (no_grad, detach); encoder and projection train",
    "What learns in this model?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, 1:], start=lambda s: s.detach()),
)
forward_mistake(
    "states-cut-off",
    "the hidden states are cut off (detach) before the scores",
    "What learns in this model?",
    lambda m, x, c: predicted(m, x, c[:, :-1], c[:, 1:], states=lambda s: s.detach()),
)
forward_mistake(
    "words-cut-off",
    "the word vectors are cut off (detach); they train",
    "What learns in this model?",
    lambda m, x, c: words_cut_off(m, x, c),
)
forward_mistake(
    "features-summed",
    "the features are summed over the grid; for rnn and lstm it is their mean",
    "What does `project` do?",
    lambda m, x, c: scaled_features(m, x, c),
)
forward_mistake(
    "first-cell-only",
    "only the first cell of the grid is used; it is the mean, or the whole grid",
    "What does `project` do?",
    lambda m, x, c: captioning_forward(m, features_of(m, x)[:, :, :1, :1], c),
)
forward_mistake(
    "attention-sees-mean",
    "the attention sees the mean of the picture only; it sees the grid",
    "What does `project` return for attn?",
    lambda m, x, c: captioning_forward(m, features_of(m, x).mean((2, 3), keepdim=True), c),
)
forward_mistake(
    "last-step-only",
    "only the last step's word is predicted; every step predicts one",
    "How many words are predicted?",
    lambda m, x, c: temporal_softmax_loss(word_scores(m, x, c[:, :-1])[:, -1:], c[:, -1:], m.ignore_index),
)
forward_mistake(
    "captions-shuffled",
    "pictures and captions are paired in reverse order",
    "Which caption belongs to which picture?",
    lambda m, x, c: predicted(m, x.flip(0), c[:, :-1], c[:, 1:]),
)
forward_mistake(
    "sign",
    "the loss has the wrong sign",
    "Is the loss of a likely caption large or small?",
    lambda m, x, c: -captioning_forward(m, x, c),
)
forward_mistake(
    "perplexity",
    "the exponential of the loss is returned",
    "What does the docstring return?",
    lambda m, x, c: captioning_forward(m, x, c).exp(),
)


def per_word(x, y, ignore_index):
    counted = torch.ones_like(y) if ignore_index is None else y != ignore_index
    return temporal_softmax_loss(x, y, ignore_index) * len(x) / counted.sum()


def only_images(self, images, captions):
    return captioning_forward(self, self.image_encoder(images), captions)


def scaled_features(self, images, captions):
    features = features_of(self, images)
    return captioning_forward(self, features if self.cell_type == "attn" else features * features[0, 0].numel(), captions)


def words_cut_off(self, images, captions):
    vectors = word_embedding_forward(self.word_embedding, captions[:, :-1]).detach()
    scores = self.output_projection(hidden_states(self, first_state(self, features_of(self, images)), vectors))
    return temporal_softmax_loss(scores, captions[:, 1:], self.ignore_index)


# --- CaptioningRNN.sample ---


@torch.no_grad()
def decode(
    self,
    images,
    max_length,
    first="<START>",
    start=lambda self, start: start,
    cell=None,
    choose=None,
    feed=None,
    carry=None,
    ask=None,
    look_after=False,
    stop=False,
):
    """Captions and maps by the naive loop.

    first: word that is read first, or its index. start, cell: the first states otherwise. choose: scores -> words.
    feed: (word, t, first word) -> the word that is read next. carry: (h, c, first h, first c) -> states of the next step.
    ask: (h, first h, grid) -> answer and map. look_after: the map is made after the step. stop: <NULL> follows <END>.
    """
    choose = choose or (lambda scores: scores.argmax(1))
    begin = first_state(self, features_of(self, images))
    grid = begin
    h = begin.mean((2, 3)) if self.cell_type == "attn" else begin
    c = h if self.cell_type == "attn" else zeros(h)
    h, c = start(self, h), (cell or (lambda self, h, c: c))(self, h, c)
    first_h, first_c = h, c
    index = self.word_to_idx[first] if isinstance(first, str) else first
    word = torch.full((len(images),), index, dtype=torch.int64, device=h.device)
    opening, ended = word, torch.zeros_like(word, dtype=torch.bool)
    words, maps, layer = [], [], self.recurrent
    for t in range(max_length):
        x = word_embedding_forward(self.word_embedding, word.unsqueeze(1)).squeeze(1)
        if self.cell_type == "rnn":
            h = rnn_cell(x, h, layer.Wx, layer.Wh, layer.b)
        elif self.cell_type == "lstm":
            h, c = lstm_cell(x, h, c, layer.Wx, layer.Wh, layer.b)
        else:
            attn, weights = (ask or (lambda h, first_h, c, grid: dot_product_attention(h, grid)))(h, first_h, c, grid)
            h, c = attention_lstm_step_forward(layer, x, h, c, attn)
            maps.append(dot_product_attention(h, grid)[1] if look_after else weights)
        word = choose(self.output_projection(h))
        if stop:
            word = torch.where(ended, torch.full_like(word, self.word_to_idx["<NULL>"]), word)
            ended = ended | (word == self.word_to_idx["<END>"])
        words.append(word)
        if feed:
            word = feed(word, t, opening)
        if carry:
            h, c = carry(h, c, first_h, first_c)
    captions = torch.stack(words, 1)
    return (captions, torch.stack(maps, 1).float().cpu()) if maps else captions


@solution("CaptioningRNN.sample")
def captioning_sample(self, images, max_length=15):
    return decode(self, images, max_length)


def sample_mistake(name, says, hint, formula):
    def sample(self, images, max_length=15):
        with torch.no_grad():
            return formula(self, images, max_length)

    mistake("CaptioningRNN.sample", name, says, hint)(sample)


def words_changed(returned, how):
    """The result with other captions."""
    return (how(returned[0]), returned[1]) if isinstance(returned, tuple) else how(returned)


def maps_changed(returned, how):
    return (returned[0], how(returned[1])) if isinstance(returned, tuple) else returned


sample_mistake(
    "begins-with-null",
    "the first word that is read is <NULL>; it is <START>",
    "Which word do captions begin with?",
    lambda m, x, n: decode(m, x, n, "<NULL>"),
)
sample_mistake(
    "begins-with-end",
    "the first word that is read is <END>; it is <START>",
    "Which word do captions begin with?",
    lambda m, x, n: decode(m, x, n, "<END>"),
)
sample_mistake(
    "begins-with-word-one",
    "the first word that is read is the one of index 1; word_to_idx says which index <START> has",
    "Which index has <START> in this vocabulary?",
    lambda m, x, n: decode(m, x, n, 1),
)
sample_mistake(
    "start-word-not-fed-back",
    "every step reads <START>; a step reads the word that the step before chose",
    "Which word is read at step 1?",
    lambda m, x, n: decode(m, x, n, feed=lambda word, t, opening: opening),
)
sample_mistake(
    "first-word-fed-back",
    "every step after the first reads the first chosen word; it reads the last one",
    "Which word is read at step 2?",
    lambda m, x, n: first_word_again(m, x, n),
)
sample_mistake(
    "words-of-first-picture",
    "all pictures read the word of the first picture",
    "Whose word is fed back?",
    lambda m, x, n: decode(m, x, n, feed=lambda word, t, opening: word[:1].expand_as(word)),
)
sample_mistake(
    "start-in-result",
    "the captions begin with <START>; the first column is the first word that was chosen",
    "Is <START> a chosen word?",
    lambda m, x, n: words_changed(
        decode(m, x, n), lambda c: torch.cat([torch.full_like(c[:, :1], m.word_to_idx["<START>"]), c[:, :-1]], 1)
    ),
)
sample_mistake(
    "start-added",
    "the captions hold <START> as well, max_length + 1 words; wanted are max_length chosen words",
    "Is <START> a chosen word?",
    lambda m, x, n: words_changed(
        decode(m, x, n), lambda c: torch.cat([torch.full_like(c[:, :1], m.word_to_idx["<START>"]), c], 1)
    ),
)
sample_mistake(
    "one-word-less",
    "max_length - 1 words are chosen; it is max_length",
    "How many columns has the result?",
    lambda m, x, n: one_less(m, x, n),
)
sample_mistake(
    "one-word-more",
    "max_length + 1 words are chosen; it is max_length",
    "How many columns has the result?",
    lambda m, x, n: decode(m, x, n + 1),
)
sample_mistake(
    "last-word-empty",
    "the last column is left at its initial zeros",
    "Where does the loop end?",
    lambda m, x, n: words_changed(decode(m, x, n), lambda c: torch.cat([c[:, :-1], zeros(c[:, :1])], 1)),
)
sample_mistake(
    "stops-at-end",
    "after <END> only <NULL> follows; here every caption has max_length words, whatever follows <END>",
    "What does the docstring say of <END>?",
    lambda m, x, n: decode(m, x, n, stop=True),
)
sample_mistake(
    "drawn-at-random",
    "words are drawn by their probabilities; the word of the highest score is taken",
    "Does a second call bring the same caption?",
    lambda m, x, n: decode(m, x, n, choose=lambda s: torch.multinomial(s.softmax(1), 1).squeeze(1)),
)
sample_mistake(
    "lowest-score",
    "the word of the lowest score is taken",
    "Which word is the likeliest?",
    lambda m, x, n: decode(m, x, n, choose=lambda s: s.argmin(1)),
)
sample_mistake(
    "best-picture-for-word",
    "the arg max runs over the batch; each picture takes the best word",
    "Over which axis do words compete?",
    lambda m, x, n: decode(m, x, n, choose=lambda s: s.argmax(0)),
)
sample_mistake(
    "second-best",
    "the second best word is taken",
    "Which word is the likeliest?",
    lambda m, x, n: decode(m, x, n, choose=lambda s: s.topk(2, 1).indices[:, 1]),
)
sample_mistake(
    "null-never-chosen",
    "<NULL> is never chosen; it competes like the others",
    "Which words compete?",
    lambda m, x, n: decode(m, x, n, choose=lambda s: without(s, m.word_to_idx["<NULL>"])),
)
sample_mistake(
    "start-never-chosen",
    "<START> is never chosen; it competes like the others",
    "Which words compete?",
    lambda m, x, n: decode(m, x, n, choose=lambda s: without(s, m.word_to_idx["<START>"])),
)
sample_mistake(
    "same-caption-for-all",
    "all pictures get the caption of the first",
    "Which axis is the batch?",
    lambda m, x, n: words_changed(decode(m, x, n), lambda c: c[:1].expand_as(c)),
)
sample_mistake(
    "start-ignored",
    "the hidden state starts from zeros; it starts from the picture",
    "Where does the picture come in?",
    lambda m, x, n: decode(m, x, n, start=lambda m, h: zeros(h)),
)
sample_mistake(
    "start-and-cell-ignored",
    "both states start from zeros; the hidden state starts from the picture",
    "Where does the picture come in?",
    lambda m, x, n: decode(m, x, n, start=lambda m, h: zeros(h), cell=lambda m, h, c: zeros(c)),
)
sample_mistake(
    "start-squashed",
    "the first hidden state goes through a tanh",
    "What does `project` return?",
    lambda m, x, n: decode(m, x, n, start=lambda m, h: h.tanh()),
)
sample_mistake(
    "lstm-cell-starts-at-h0",
    "the cell state of the LSTM starts as the hidden state; it starts from zeros",
    "From what does LSTM.forward start?",
    lambda m, x, n: decode(m, x, n, cell=lambda m, h, c: h),
)
sample_mistake(
    "attention-cell-starts-at-zero",
    "the cell state of the AttentionLSTM starts from zeros; it starts as the mean of the grid",
    "From what does AttentionLSTM.forward start?",
    lambda m, x, n: decode(m, x, n, cell=lambda m, h, c: zeros(h)),
)
sample_mistake(
    "hidden-not-carried",
    "every step starts from the first hidden state; it is carried along",
    "What does step t need from step t - 1?",
    lambda m, x, n: decode(m, x, n, carry=lambda h, c, h0, c0: (h0, c)),
)
sample_mistake(
    "cell-not-carried",
    "every step starts from the first cell state; it is carried along",
    "What does step t need from step t - 1?",
    lambda m, x, n: decode(m, x, n, carry=lambda h, c, h0, c0: (h, c0)),
)
sample_mistake(
    "nothing-carried",
    "every step starts from the first states; they are carried along",
    "What does step t need from step t - 1?",
    lambda m, x, n: decode(m, x, n, carry=lambda h, c, h0, c0: (h0, c0)),
)
sample_mistake(
    "states-exchanged",
    "hidden and cell state change places from step to step",
    "In which order does step_forward return them?",
    lambda m, x, n: decode(m, x, n, carry=lambda h, c, h0, c0: (c, h) if m.cell_type != "rnn" else (h, c)),
)
sample_mistake(
    "attention-of-start",
    "every step asks with the first state; step t asks with the state before it",
    "With which state is the picture asked?",
    lambda m, x, n: decode(m, x, n, ask=lambda h, h0, c, grid: dot_product_attention(h0, grid)),
)
sample_mistake(
    "attention-by-cell",
    "the picture is asked with the cell state; it is asked with the hidden state",
    "Who asks the question?",
    lambda m, x, n: decode(m, x, n, ask=lambda h, h0, c, grid: dot_product_attention(c, grid)),
)
sample_mistake(
    "attention-uniform",
    "every step sees the mean of the picture; it sees what the attention picks",
    "What is attn for?",
    lambda m, x, n: decode(m, x, n, ask=lambda h, h0, c, grid: (grid.mean((2, 3)), dot_product_attention(h, grid)[1])),
)
sample_mistake(
    "attention-missing",
    "the attention is zero; the picture is asked before every step",
    "What is attn for?",
    lambda m, x, n: decode(m, x, n, ask=lambda h, h0, c, grid: (zeros(h), dot_product_attention(h, grid)[1])),
)
sample_mistake(
    "map-after-step",
    "the map of a word is that of the state after its step; it is the one the step was made with",
    "Where did the model look to choose the word?",
    lambda m, x, n: decode(m, x, n, look_after=True),
)
sample_mistake(
    "maps-missing",
    'for "attn" only captions are returned; wanted are captions and maps',
    "What does the docstring return?",
    lambda m, x, n: (lambda r: r[0] if isinstance(r, tuple) else r)(decode(m, x, n)),
)
sample_mistake(
    "maps-for-all",
    'a pair is returned for rnn and lstm as well; only "attn" has maps',
    "What does the docstring return?",
    lambda m, x, n: (lambda r: r if isinstance(r, tuple) else (r, None))(decode(m, x, n)),
)
sample_mistake(
    "results-exchanged",
    "the maps are returned first; wanted captions, maps",
    "In which order are they returned?",
    lambda m, x, n: (lambda r: r[::-1] if isinstance(r, tuple) else r)(decode(m, x, n)),
)
sample_mistake(
    "maps-in-double",
    "the maps have the dtype of the model; wanted float32",
    "Which dtype has the attention?",
    lambda m, x, n: maps_in_double(m, x, n),
)
sample_mistake(
    "map-of-last-step",
    "every word has the map of the last step",
    "When is a map written down?",
    lambda m, x, n: maps_changed(decode(m, x, n), lambda a: a[:, -1:].expand_as(a).clone()),
)
sample_mistake(
    "map-of-first-step",
    "every word has the map of the first step",
    "When is a map made?",
    lambda m, x, n: maps_changed(decode(m, x, n), lambda a: a[:, :1].expand_as(a).clone()),
)
sample_mistake(
    "last-map-only",
    "only the last map is returned; every word has one",
    "Which shape have the maps?",
    lambda m, x, n: maps_changed(decode(m, x, n), lambda a: a[:, -1]),
)
sample_mistake(
    "maps-time-first",
    "the maps are (max_length, N, h, w); wanted (N, max_length, h, w)",
    "Along which axis are they stacked?",
    lambda m, x, n: maps_changed(decode(m, x, n), lambda a: a.transpose(0, 1)),
)
sample_mistake(
    "maps-transposed",
    "rows and columns of the maps are exchanged",
    "Which of the two is h?",
    lambda m, x, n: maps_changed(decode(m, x, n), lambda a: a.transpose(2, 3)),
)
sample_mistake(
    "maps-flat",
    "the maps are (N, max_length, h w); wanted (N, max_length, h, w)",
    "Which shape have the maps?",
    lambda m, x, n: maps_changed(decode(m, x, n), lambda a: a.flatten(2)),
)
sample_mistake(
    "words-time-first",
    "the captions are (max_length, N); wanted (N, max_length)",
    "Along which axis are they stacked?",
    lambda m, x, n: words_changed(decode(m, x, n), lambda c: c.T),
)
sample_mistake(
    "words-with-extra-axis",
    "the captions have an axis of size one too many; wanted (N, max_length)",
    "Which shape has the result?",
    lambda m, x, n: words_changed(decode(m, x, n), lambda c: c.unsqueeze(2)),
)
sample_mistake(
    "words-in-float",
    "the captions are floating point numbers; wanted int64",
    "Which dtype has the result?",
    lambda m, x, n: words_changed(decode(m, x, n), lambda c: c.to(torch.get_default_dtype())),
)
sample_mistake(
    "words-in-int32",
    "the captions are int32; wanted int64",
    "Which dtype has the result?",
    lambda m, x, n: words_changed(decode(m, x, n), lambda c: c.int()),
)
sample_mistake(
    "words-in-list",
    "a list is returned; wanted is a tensor",
    "What does the docstring return?",
    lambda m, x, n: words_changed(decode(m, x, n), lambda c: c.tolist()),
)
sample_mistake(
    "words-in-strings",
    "words are returned; wanted are their indices",
    "What does the docstring return?",
    lambda m, x, n: words_changed(decode(m, x, n), lambda c: [[m.idx_to_word[int(i)] for i in row] for row in c]),
)
sample_mistake(
    "squeezed",
    "axes of size one are dropped: a batch of one stays a batch",
    "What does squeeze do to (1, 9)?",
    lambda m, x, n: words_changed(decode(m, x, n), lambda c: c.squeeze()),
)
sample_mistake(
    "only-images",
    "the encoder is asked for features as well; features that it made pass unchanged",
    "Which method tells images from features?",
    lambda m, x, n: decode(m, m.image_encoder(x), n),
)
sample_mistake(
    "length-fixed", "15 words are chosen whatever max_length says", "What is max_length for?", lambda m, x, n: decode(m, x, 15)
)


def without(scores, index):
    hidden = torch.arange(scores.shape[1], device=scores.device) == index
    return scores.masked_fill(hidden, -torch.inf).argmax(1)


def first_word_again(self, images, max_length):
    first = {}

    def feed(word, t, opening):
        return first.setdefault("word", word)

    return decode(self, images, max_length, feed=feed)


def one_less(self, images, max_length):
    if max_length == 1:
        empty = torch.zeros(len(images), 0, dtype=torch.int64)
        return (empty, torch.zeros(len(images), 0, *images.shape[2:])) if self.cell_type == "attn" else empty
    return decode(self, images, max_length - 1)


def maps_in_double(self, images, max_length):
    kept = []

    def ask(h, first_h, c, grid):
        attn, weights = dot_product_attention(h, grid)
        kept.append(weights)
        return attn, weights

    returned = decode(self, images, max_length, ask=ask)
    return (returned[0], torch.stack(kept, 1)) if isinstance(returned, tuple) else returned


@mistake(
    "CaptioningRNN.sample",
    "states-kept-between-calls",
    "the states of one call are where the next begins; each call starts from its pictures",
    "What is kept in self?",
)
def _(self, images, max_length=15):
    kept = {}

    def carry(h, c, first_h, first_c):
        kept["states"] = h, c
        return h, c

    before = getattr(self, "kept", None)
    returned = decode(
        self,
        images,
        max_length,
        carry=carry,
        start=lambda m, h: before[0] if before else h,
        cell=lambda m, h, c: before[1] if before else c,
    )
    self.kept = kept["states"]
    return returned
