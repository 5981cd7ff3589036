"""Captioning: wrong and right bodies."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from tests.variants import Variants

VARIANTS = Variants()
wrong, right = VARIANTS.wrong, VARIANTS.right


# --- rnn_step_forward ---


@right("rnn_step_forward")
def _(x, prev_h, Wx, Wh, b):
    next_h = torch.tanh(torch.einsum("nd,dh->nh", x, Wx) + prev_h.matmul(Wh) + b[None])
    return next_h, {"everything": (x, prev_h, Wx, Wh, next_h)}


@right("rnn_step_forward")
def _(x, prev_h, Wx, Wh, b):
    a = torch.addmm(torch.addmm(b, x, Wx), prev_h, Wh)
    next_h = 2 * torch.sigmoid(2 * a) - 1  # tanh, written with a sigmoid
    return [next_h, (x.clone(), prev_h.clone(), Wx, Wh, b, next_h)]


@right("rnn_step_forward")
def _(x, prev_h, Wx, Wh, b):
    rows = []
    for n in range(len(x)):
        rows.append(torch.tanh(Wx.T.mv(x[n]) + Wh.T.mv(prev_h[n]) + b))
    next_h = torch.stack(rows)
    return next_h, (x, prev_h, Wx, Wh, next_h)


@wrong("rnn_step_forward", "no-tanh")
def _(x, prev_h, Wx, Wh, b):
    next_h = x @ Wx + prev_h @ Wh + b
    return next_h, (x, prev_h, Wx, Wh, next_h)


@wrong("rnn_step_forward", "no-bias")
def _(x, prev_h, Wx, Wh, b):
    next_h = (torch.mm(x, Wx) + torch.mm(prev_h, Wh)).tanh()
    return next_h, (x, prev_h, Wx, Wh, next_h)


@wrong("rnn_step_forward", "transposed-Wh")
def _(x, prev_h, Wx, Wh, b):
    next_h = torch.tanh(x @ Wx + F.linear(prev_h, Wh) + b)
    return next_h, (x, prev_h, Wx, Wh, next_h)


@wrong("rnn_step_forward", "sigmoid-for-tanh")
def _(x, prev_h, Wx, Wh, b):
    next_h = 1 / (1 + torch.exp(-(x @ Wx + prev_h @ Wh + b)))
    return next_h, (x, prev_h, Wx, Wh, next_h)


@wrong("rnn_step_forward", "bias-outside")
def _(x, prev_h, Wx, Wh, b):
    next_h = torch.tanh(x @ Wx + prev_h @ Wh)
    next_h = next_h + b
    return next_h, (x, prev_h, Wx, Wh, next_h)


@wrong("rnn_step_forward", "no-state")
def _(x, prev_h, Wx, Wh, b):
    next_h = torch.tanh(torch.addmm(b, x, Wx))
    return next_h, (x, prev_h, Wx, Wh, next_h)


@wrong("rnn_step_forward", "no-gradient")
def _(x, prev_h, Wx, Wh, b):
    next_h = torch.tanh(x @ Wx + prev_h.detach() @ Wh + b)
    return next_h, (x, prev_h, Wx, Wh, next_h)


@wrong("rnn_step_forward", "changes-input")
def _(x, prev_h, Wx, Wh, b):
    a = x @ Wx
    prev_h.copy_(torch.tanh(a + prev_h @ Wh + b))
    return prev_h, (x, prev_h, Wx, Wh, prev_h)


@wrong("rnn_step_forward", "dtype-not-followed")
def _(x, prev_h, Wx, Wh, b):
    next_h = torch.tanh(x.float() @ Wx.float() + prev_h.float() @ Wh.float() + b.float())
    return next_h, (x, prev_h, Wx, Wh, next_h)


@wrong("rnn_step_forward", "")
def _(x, prev_h, Wx, Wh, b):
    next_h = torch.tanh(x @ Wx + prev_h @ Wh + b)
    return next_h


@wrong("rnn_step_forward", "device-not-followed")
def _(x, prev_h, Wx, Wh, b):
    next_h = torch.zeros(x.shape[0], Wh.shape[0], dtype=x.dtype)
    next_h[:] = torch.tanh(x @ Wx + prev_h @ Wh + b)
    return next_h, (x, prev_h, Wx, Wh, next_h)


# --- rnn_step_backward ---


@right("rnn_step_backward")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    da = dnext_h - dnext_h * next_h.square()
    dx = torch.einsum("nh,dh->nd", da, Wx)
    dprev_h = torch.einsum("nh,kh->nk", da, Wh)
    dWx = torch.einsum("nd,nh->dh", x, da)
    dWh = torch.einsum("nk,nh->kh", prev_h, da)
    return [dx, dprev_h, dWx, dWh, torch.ones(len(x), dtype=x.dtype, device=x.device) @ da]


@right("rnn_step_backward")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, _ = cache
    next_h = cache[4]
    da = (1 + next_h) * (1 - next_h) * dnext_h
    dWx, dWh, db = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(da[0])
    for n in range(x.shape[0]):
        dWx += torch.outer(x[n], da[n])
        dWh += torch.outer(prev_h[n], da[n])
        db += da[n]
    return F.linear(da, Wx), F.linear(da, Wh), dWx, dWh, db


@right("rnn_step_backward")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    a = torch.atanh(next_h.double().clamp(-1 + 1e-16, 1 - 1e-16)).to(next_h)
    slope = 1 / torch.cosh(a) ** 2
    ds = dnext_h * torch.where(slope.isfinite() & (next_h.abs() < 0.9), slope, 1 - next_h**2)
    return ds @ Wx.t(), ds @ Wh.t(), x.t() @ ds, prev_h.t() @ ds, torch.sum(ds, 0)


@wrong("rnn_step_backward", "no-tanh-slope")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    return dnext_h @ Wx.T, dnext_h @ Wh.T, x.T @ dnext_h, prev_h.T @ dnext_h, dnext_h.sum(0)


@wrong("rnn_step_backward", "slope-not-squared")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    ds = dnext_h - dnext_h * next_h
    return ds @ Wx.T, ds @ Wh.T, x.T @ ds, prev_h.T @ ds, ds.sum(0)


@wrong("rnn_step_backward", "sigmoid-slope")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    ds = dnext_h * next_h * (1 - next_h)
    return ds @ Wx.T, ds @ Wh.T, x.T @ ds, prev_h.T @ ds, ds.sum(0)


@wrong("rnn_step_backward", "transposed-Wh")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    ds = dnext_h * (1 - next_h**2)
    dprev_h = torch.mm(ds, Wh)
    return torch.mm(ds, Wx.T), dprev_h, torch.mm(x.T, ds), torch.mm(prev_h.T, ds), ds.sum(dim=0)


@wrong("rnn_step_backward", "bias-mean")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    ds = dnext_h * (1 - next_h**2)
    return ds @ Wx.T, ds @ Wh.T, x.T @ ds, prev_h.T @ ds, ds.sum(0) / len(ds)


@wrong("rnn_step_backward", "bias-not-summed")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    db = ds = dnext_h * (1 - next_h * next_h)
    return ds @ Wx.T, ds @ Wh.T, x.T @ ds, prev_h.T @ ds, db


@wrong("rnn_step_backward", "next-state-in-dWh")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    ds = dnext_h * (1 - next_h**2)
    return ds @ Wx.T, ds @ Wh.T, x.T @ ds, next_h.T @ ds, ds.sum(0)


@wrong("rnn_step_backward", "order-of-weights")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    ds = dnext_h * (1 - next_h**2)
    dWx, dWh = x.T @ ds, prev_h.T @ ds
    return ds @ Wx.T, ds @ Wh.T, dWh, dWx, ds.sum(0)


@wrong("rnn_step_backward", "slope-of-tanh-again")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    ds = dnext_h * (1 - torch.tanh(next_h).pow(2))
    return ds @ Wx.T, ds @ Wh.T, x.T @ ds, prev_h.T @ ds, ds.sum(0)


@wrong("rnn_step_backward", "weights-mean")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    N = x.shape[0]
    ds = dnext_h * (1 - next_h**2)
    return ds @ Wx.T, ds @ Wh.T, x.T @ ds / N, prev_h.T @ ds / N, ds.mean(0)


@wrong("rnn_step_backward", "changes-input")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    dnext_h *= 1 - next_h**2
    return dnext_h @ Wx.T, dnext_h @ Wh.T, x.T @ dnext_h, prev_h.T @ dnext_h, dnext_h.sum(0)


@wrong("rnn_step_backward", "")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    ds = dnext_h * (1 - next_h**2)
    return ds @ Wx.T, ds @ Wh.T, x.T @ ds, prev_h.T @ ds


# --- rnn_forward ---


@right("rnn_forward")
def _(x, h0, Wx, Wh, b):
    h, caches = [], []
    prev = h0
    for t in range(x.shape[1]):
        prev, cache = rnn_step_forward(x[:, t, :], prev, Wx, Wh, b)
        h.append(prev)
        caches.append(cache)
    return torch.stack(h, dim=1), (x, h0, Wx, Wh, torch.stack(h, dim=1))


@right("rnn_forward")
def _(x, h0, Wx, Wh, b):
    N, T, D = x.shape
    h = x.new_zeros(N, T, h0.shape[1])
    for t in range(T):
        before = h0 if t == 0 else h[:, t - 1].clone()
        h[:, t] = torch.tanh(x[:, t] @ Wx + before @ Wh + b)
    return h, (x, h0, Wx, Wh, h)


@right("rnn_forward")
def _(x, h0, Wx, Wh, b):
    cell = nn.RNN(x.shape[2], h0.shape[1], batch_first=True).to(x)
    weights = {"weight_ih_l0": Wx.T, "weight_hh_l0": Wh.T, "bias_ih_l0": b, "bias_hh_l0": torch.zeros_like(b)}
    h, _ = torch.func.functional_call(cell, weights, (x, h0[None].contiguous()))
    return h, (x, h0, Wx, Wh, h)


@wrong("rnn_forward", "state-not-carried")
def _(x, h0, Wx, Wh, b):
    h = [rnn_step_forward(x[:, t], h0, Wx, Wh, b)[0] for t in range(x.shape[1])]
    h = torch.stack(h, 1)
    return h, (x, h0, Wx, Wh, h)


@wrong("rnn_forward", "start-ignored")
def _(x, h0, Wx, Wh, b):
    h, out = torch.zeros_like(h0), []
    for t in range(x.shape[1]):
        h, _ = rnn_step_forward(x[:, t], h, Wx, Wh, b)
        out.append(h)
    out = torch.stack(out, 1)
    return out, (x, h0, Wx, Wh, out)


@wrong("rnn_forward", "state-detached")
def _(x, h0, Wx, Wh, b):
    h, out = h0, []
    for t in range(x.shape[1]):
        h, _ = rnn_step_forward(x[:, t], h if t == 0 else h.data, Wx, Wh, b)
        out.append(h)
    out = torch.stack(out, 1)
    return out, (x, h0, Wx, Wh, out)


@wrong("rnn_forward", "start-included")
def _(x, h0, Wx, Wh, b):
    N, T, _ = x.shape
    out, h = [h0], h0
    for t in range(T - 1):
        h, _ = rnn_step_forward(x[:, t], h, Wx, Wh, b)
        out.append(h)
    out = torch.stack(out, 1)
    return out, (x, h0, Wx, Wh, out)


@wrong("rnn_forward", "time-first")
def _(x, h0, Wx, Wh, b):
    h, out = h0, []
    for step in x.unbind(1):
        h, _ = rnn_step_forward(step, h, Wx, Wh, b)
        out.append(h)
    out = torch.stack(out)
    return out, (x, h0, Wx, Wh, out)


@wrong("rnn_forward", "states-reshaped")
def _(x, h0, Wx, Wh, b):
    h, out = h0, []
    for step in x.unbind(1):
        h, _ = rnn_step_forward(step, h, Wx, Wh, b)
        out.append(h)
    out = torch.cat(out).view(x.shape[0], x.shape[1], -1)
    return out, (x, h0, Wx, Wh, out)


@wrong("rnn_forward", "last-state-only")
def _(x, h0, Wx, Wh, b):
    h = h0
    for t in range(x.shape[1]):
        h, _ = rnn_step_forward(x[:, t], h, Wx, Wh, b)
    return h, (x, h0, Wx, Wh, h)


@wrong("rnn_forward", "last-state-zero")
def _(x, h0, Wx, Wh, b):
    N, T, _ = x.shape
    out, h = x.new_zeros(N, T, h0.shape[1]), h0
    for t in range(T - 1):
        h, _ = rnn_step_forward(x[:, t], h, Wx, Wh, b)
        out[:, t] = h
    return out, (x, h0, Wx, Wh, out)


@wrong("rnn_forward", "backwards-in-time")
def _(x, h0, Wx, Wh, b):
    h, out = h0, []
    for t in reversed(range(x.shape[1])):
        h = torch.tanh(x[:, t] @ Wx + h @ Wh + b)
        out.append(h)
    out = torch.stack(out, 1)
    return out, (x, h0, Wx, Wh, out)


@wrong("rnn_forward", "dtype-not-followed")
def _(x, h0, Wx, Wh, b):
    N, T, _ = x.shape
    out, h = torch.zeros(N, T, h0.shape[1]), h0
    for t in range(T):
        h, _ = rnn_step_forward(x[:, t], h, Wx, Wh, b)
        out[:, t] = h
    return out, (x, h0, Wx, Wh, out)


@wrong("rnn_forward", "changes-input")
def _(x, h0, Wx, Wh, b):
    out = []
    for t in range(x.shape[1]):
        h0[:] = torch.tanh(x[:, t] @ Wx + h0 @ Wh + b)
        out.append(h0.clone())
    out = torch.stack(out, 1)
    return out, (x, h0, Wx, Wh, out)


# --- rnn_backward ---


@right("rnn_backward")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    T = x.shape[1]
    dx = torch.empty_like(x)
    dWx, dWh, db, dprev = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(h0[0]), torch.zeros_like(h0)
    for t in range(T - 1, -1, -1):
        before = h[:, t - 1] if t > 0 else h0
        step = (*rnn_step_forward(x[:, t], before, Wx, Wh, Wx[0] * 0)[1][:4], h[:, t])
        dx[:, t], dprev, a, c, e = rnn_step_backward(dh[:, t] + dprev, step)
        dWx, dWh, db = dWx + a, dWh + c, db + e
    return dx, dprev, dWx, dWh, db


@right("rnn_backward")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    grads = []
    flow = 0
    for t in reversed(range(dh.size(1))):
        ds = (dh[:, t] + flow) * (1 - h[:, t] ** 2)
        flow = ds @ Wh.T
        grads.insert(0, ds)
    ds = torch.stack(grads, 1)
    shifted = torch.cat((h0[:, None], h), 1)[:, :-1]
    return (
        torch.einsum("nth,dh->ntd", ds, Wx),
        flow,
        torch.einsum("ntd,nth->dh", x, ds),
        torch.einsum("ntk,nth->kh", shifted, ds),
        ds.sum((0, 1)),
    )


@right("rnn_backward")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    N, T, H = dh.shape
    state = torch.zeros(N, H, dtype=dh.dtype, device=dh.device)
    total = [torch.zeros_like(x), None, torch.zeros_like(Wx), torch.zeros_like(Wh), dh.new_zeros(H)]
    for t in list(range(T))[::-1]:
        state = state + dh[:, t]
        before = h[:, t - 1] if t else h0
        total[0][:, t], state, a, c, e = rnn_step_backward(state, (x[:, t], before, Wx, Wh, h[:, t]))
        total[2] += a
        total[3] += c
        total[4] += e
    total[1] = state
    return total


@wrong("rnn_backward", "no-flow-through-time")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    N, T, H = dh.shape
    before = torch.cat([h0.unsqueeze(1), h[:, :-1]], 1)
    ds = dh * (1 - h**2)
    flat = ds.reshape(N * T, H)
    return (ds @ Wx.T, ds[:, 0] @ Wh.T, x.reshape(N * T, -1).T @ flat, before.reshape(N * T, H).T @ flat, flat.sum(0))


@wrong("rnn_backward", "direct-gradients-ignored")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    T = x.shape[1]
    dx, dWx, dWh, db = torch.zeros_like(x), torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(h0[0])
    dprev = dh[:, -1]
    for t in reversed(range(T)):
        step = (x[:, t], h[:, t - 1] if t else h0, Wx, Wh, h[:, t])
        dx[:, t], dprev, a, c, e = rnn_step_backward(dprev, step)
        dWx, dWh, db = dWx + a, dWh + c, db + e
    return dx, dprev, dWx, dWh, db


@wrong("rnn_backward", "weights-first-step-only")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    dx, dprev = torch.zeros_like(x), torch.zeros_like(h0)
    for t in reversed(range(x.shape[1])):
        step = (x[:, t], h[:, t - 1] if t else h0, Wx, Wh, h[:, t])
        dx[:, t], dprev, dWx, dWh, db = rnn_step_backward(dh[:, t] + dprev, step)
    return dx, dprev, dWx, dWh, db


@wrong("rnn_backward", "start-state-is-last")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    dx, dprev = torch.zeros_like(x), torch.zeros_like(h0)
    dWx, dWh, db = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(h0[0])
    for t in reversed(range(x.shape[1])):
        dx[:, t], dprev, a, c, e = rnn_step_backward(dh[:, t] + dprev, (x[:, t], h[:, t - 1], Wx, Wh, h[:, t]))
        dWx, dWh, db = dWx + a, dWh + c, db + e
    return dx, dprev, dWx, dWh, db


@wrong("rnn_backward", "next-state-in-dWh")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    N, T, H = dh.shape
    flow, ds = torch.zeros_like(h0), []
    for t in reversed(range(T)):
        ds.append((dh[:, t] + flow) * (1 - h[:, t] ** 2))
        flow = ds[-1] @ Wh.T
    ds = torch.stack(ds[::-1], 1)
    return ds @ Wx.T, flow, torch.einsum("ntd,nth->dh", x, ds), torch.einsum("ntk,nth->kh", h, ds), ds.sum((0, 1))


@wrong("rnn_backward", "dx-reversed")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    dx, dprev = [], torch.zeros_like(h0)
    dWx, dWh, db = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(h0[0])
    for t in reversed(range(x.shape[1])):
        step = (x[:, t], h[:, t - 1] if t else h0, Wx, Wh, h[:, t])
        dxt, dprev, a, c, e = rnn_step_backward(dh[:, t] + dprev, step)
        dx.append(dxt)
        dWx, dWh, db = dWx + a, dWh + c, db + e
    return torch.stack(dx, 1), dprev, dWx, dWh, db


@wrong("rnn_backward", "forwards-in-time")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    dx, dprev = torch.zeros_like(x), torch.zeros_like(h0)
    dWx, dWh, db = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(h0[0])
    for t in range(x.shape[1]):
        step = (x[:, t], h[:, t - 1] if t else h0, Wx, Wh, h[:, t])
        dx[:, t], dprev, a, c, e = rnn_step_backward(dh[:, t] + dprev, step)
        dWx += a
        dWh += c
        db += e
    return dx, dprev, dWx, dWh, db


@wrong("rnn_backward", "changes-input")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    T = x.shape[1]
    dx, dWx, dWh, db = torch.zeros_like(x), torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(h0[0])
    for t in reversed(range(T)):
        step = (x[:, t], h[:, t - 1] if t else h0, Wx, Wh, h[:, t])
        dx[:, t], dprev, a, c, e = rnn_step_backward(dh[:, t], step)
        if t > 0:
            dh[:, t - 1] += dprev
        dWx, dWh, db = dWx + a, dWh + c, db + e
    return dx, dprev, dWx, dWh, db


@wrong("rnn_backward", "flow-not-replaced")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    dx, dprev = torch.zeros_like(x), torch.zeros_like(h0)
    dWx, dWh, db = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(h0[0])
    for t in reversed(range(x.shape[1])):
        step = (x[:, t], h[:, t - 1] if t else h0, Wx, Wh, h[:, t])
        dx[:, t], back, a, c, e = rnn_step_backward(dh[:, t] + dprev, step)
        dprev = dprev + back
        dWx, dWh, db = dWx + a, dWh + c, db + e
    return dx, dprev, dWx, dWh, db


@wrong("rnn_backward", "dh0-is-zero")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    dx, dprev, dh0 = torch.zeros_like(x), torch.zeros_like(h0), torch.zeros_like(h0)
    dWx, dWh, db = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(h0[0])
    for t in reversed(range(x.shape[1])):
        step = (x[:, t], h[:, t - 1] if t else h0, Wx, Wh, h[:, t])
        dx[:, t], dprev, a, c, e = rnn_step_backward(dh[:, t] + dprev, step)
        dWx, dWh, db = dWx + a, dWh + c, db + e
    return dx, dh0, dWx, dWh, db


# --- WordEmbedding.forward ---


@right("WordEmbedding.forward")
def _(self, x):
    return self.W_embed[x]


@right("WordEmbedding.forward")
def _(self, x):
    return F.one_hot(x, self.W_embed.shape[0]).to(self.W_embed.dtype) @ self.W_embed


@right("WordEmbedding.forward")
def _(self, x):
    N, T = x.shape
    return torch.stack([torch.stack([self.W_embed[int(i)] for i in row]) for row in x]).view(N, T, -1)


@right("WordEmbedding.forward")
def _(self, x):
    return torch.take_along_dim(self.W_embed[None], x.reshape(1, -1, 1), 1).view(*x.shape, self.W_embed.shape[1])


@wrong("WordEmbedding.forward", "flat-words")
def _(self, x):
    return torch.index_select(self.W_embed, 0, x.flatten())


@wrong("WordEmbedding.forward", "time-first")
def _(self, x):
    return self.W_embed[x.T]


@wrong("WordEmbedding.forward", "padding-row")
def _(self, x):
    return nn.functional.embedding(x, self.W_embed, 0)


@wrong("WordEmbedding.forward", "no-gradient")
def _(self, x):
    return self.W_embed.data[x]


@wrong("WordEmbedding.forward", "no-gradient")
def _(self, x):
    layer = nn.Embedding.from_pretrained(self.W_embed.detach(), freeze=False)
    return layer(x)


@wrong("WordEmbedding.forward", "columns")
def _(self, x):
    return self.W_embed[:, x]


@wrong("WordEmbedding.forward", "scaled")
def _(self, x):
    return self.W_embed[x] * self.W_embed.shape[1] ** 0.5


@wrong("WordEmbedding.forward", "dtype-not-followed")
def _(self, x):
    return F.one_hot(x, len(self.W_embed)).float() @ self.W_embed.float()


@wrong("WordEmbedding.forward", "off-by-one-down")
def _(self, x):
    return F.embedding((x - 1) % len(self.W_embed), self.W_embed)


@wrong("WordEmbedding.forward", "squeezed-batch")
def _(self, x):
    return self.W_embed[x.squeeze(0)]


@wrong("WordEmbedding.forward", "averaged-over-time")
def _(self, x):
    return F.embedding_bag(x, self.W_embed, mode="mean")


# --- temporal_softmax_loss ---


@right("temporal_softmax_loss")
def _(x, y, ignore_index=None):
    N = x.shape[0]
    loss = F.cross_entropy(x.permute(0, 2, 1), y, reduction="none")
    if ignore_index is not None:
        loss = loss * (y != ignore_index)
    return loss.sum() / N


@right("temporal_softmax_loss")
def _(x, y, ignore_index=None):
    N, T, V = x.shape
    logp = F.log_softmax(x, dim=-1).view(N * T, V)
    target = y.view(-1)
    picked = logp[torch.arange(N * T), target]
    if ignore_index is not None:
        picked = picked[target != ignore_index]
    return -picked.sum() / N


@right("temporal_softmax_loss")
def _(x, y, ignore_index=None):
    total = x.sum() * 0
    for n in range(x.shape[0]):
        for t in range(x.shape[1]):
            word = int(y[n, t])
            if word == ignore_index:
                continue
            scores = x[n, t] - x[n, t].max()
            total = total - scores[word] + scores.exp().sum().log()
    return total / x.shape[0]


@right("temporal_softmax_loss")
def _(x, y, ignore_index=None):
    kwargs = {} if ignore_index is None else {"ignore_index": ignore_index}
    losses = [F.cross_entropy(x[:, t], y[:, t], reduction="sum", **kwargs) for t in range(x.shape[1])]
    return sum(losses) / len(x)


@right("temporal_softmax_loss")
def _(x, y, ignore_index=None):
    right_word = F.one_hot(y, x.shape[-1]).to(x.dtype)
    weights = torch.ones_like(y) if ignore_index is None else (y != ignore_index).long()
    surprise = -(right_word * F.log_softmax(x, -1)).sum(-1)
    return torch.einsum("nt,nt->", surprise, weights.to(x.dtype)) / x.size(0)


@wrong("temporal_softmax_loss", "mean-over-words")
def _(x, y, ignore_index=None):
    if ignore_index is None:
        return F.cross_entropy(x.flatten(0, 1), y.flatten())
    return F.cross_entropy(x.flatten(0, 1), y.flatten(), ignore_index=ignore_index)


@wrong("temporal_softmax_loss", "mean-over-all")
def _(x, y, ignore_index=None):
    N, T, V = x.shape
    total = F.cross_entropy(
        x.reshape(-1, V), y.reshape(-1), ignore_index=-100 if ignore_index is None else ignore_index, reduction="sum"
    )
    return total / (N * T)


@wrong("temporal_softmax_loss", "not-divided")
def _(x, y, ignore_index=None):
    i = -1 if ignore_index is None else ignore_index
    return F.cross_entropy(x.transpose(1, 2), y, ignore_index=i, reduction="sum")


@wrong("temporal_softmax_loss", "nothing-ignored")
def _(x, y, ignore_index=None):
    return F.cross_entropy(x.transpose(1, 2), y, reduction="sum") / x.shape[0]


@wrong("temporal_softmax_loss", "zero-is-no-index")
def _(x, y, ignore_index=None):
    logp = x.log_softmax(-1).gather(-1, y[..., None])[..., 0]
    if ignore_index:
        logp = logp * (y != ignore_index)
    return -logp.sum() / len(x)


@wrong("temporal_softmax_loss", "none-means-zero")
def _(x, y, ignore_index=None):
    ignore_index = ignore_index or 0
    return F.cross_entropy(x.transpose(1, 2), y, reduction="sum", ignore_index=ignore_index) / x.shape[0]


@wrong("temporal_softmax_loss", "only-ignored")
def _(x, y, ignore_index=None):
    loss = F.cross_entropy(x.transpose(1, 2), y, reduction="none")
    if ignore_index is not None:
        loss = loss * y.eq(ignore_index)
    return loss.sum() / x.shape[0]


@wrong("temporal_softmax_loss", "softmax-over-time")
def _(x, y, ignore_index=None):
    logp = torch.log_softmax(x, dim=1).gather(2, y.unsqueeze(2)).squeeze(2)
    if ignore_index is not None:
        logp = logp.masked_fill(y == ignore_index, 0)
    return -logp.sum() / x.shape[0]


@wrong("temporal_softmax_loss", "softmax-twice")
def _(x, y, ignore_index=None):
    p = F.softmax(x, dim=-1)
    i = -100 if ignore_index is None else ignore_index
    return F.cross_entropy(p.transpose(1, 2), y, reduction="sum", ignore_index=i) / x.shape[0]


@wrong("temporal_softmax_loss", "scores-zeroed")
def _(x, y, ignore_index=None):
    if ignore_index is not None:
        x = x * (y != ignore_index).unsqueeze(-1)
    return F.cross_entropy(x.transpose(1, 2), y, reduction="sum") / x.shape[0]


@wrong("temporal_softmax_loss", "axes-mixed")
def _(x, y, ignore_index=None):
    N, T, V = x.shape
    i = -100 if ignore_index is None else ignore_index
    return F.cross_entropy(x.view(N, V, T), y, reduction="sum", ignore_index=i) / N


@wrong("temporal_softmax_loss", "log-softmax-by-hand")
def _(x, y, ignore_index=None):
    p = torch.softmax(x, -1)
    logp = torch.log(p.gather(-1, y.unsqueeze(-1)).squeeze(-1))
    keep = torch.ones_like(logp) if ignore_index is None else (y != ignore_index).to(x)
    return -(logp * keep).sum() / x.shape[0]


@wrong("temporal_softmax_loss", "no-gradient")
def _(x, y, ignore_index=None):
    i = -100 if ignore_index is None else ignore_index
    value = F.cross_entropy(x.transpose(1, 2), y, reduction="sum", ignore_index=i).detach()
    return value / x.shape[0]


@wrong("temporal_softmax_loss", "mean-within-captions")
def _(x, y, ignore_index=None):
    losses = F.cross_entropy(x.transpose(1, 2), y, reduction="none")
    keep = torch.ones_like(losses) if ignore_index is None else (y != ignore_index).to(x)
    return ((losses * keep).sum(1) / keep.sum(1)).sum() / len(x)


@wrong("temporal_softmax_loss", "")
def _(x, y, ignore_index=None):
    return F.cross_entropy(x.transpose(1, 2), y, reduction="sum", ignore_index=ignore_index) / x.shape[0]


# --- LSTM.step_forward ---


@right("LSTM.step_forward")
def _(self, x, prev_h, prev_c):
    H = prev_h.shape[1]
    a = torch.mm(x, self.Wx) + torch.mm(prev_h, self.Wh) + self.b
    i = torch.sigmoid(a[:, 0:H])
    f = torch.sigmoid(a[:, H : 2 * H])
    o = torch.sigmoid(a[:, 2 * H : 3 * H])
    g = torch.tanh(a[:, 3 * H :])
    next_c = f * prev_c + i * g
    next_h = o * torch.tanh(next_c)
    return next_h, next_c


@right("LSTM.step_forward")
def _(self, x, prev_h, prev_c):
    a = torch.einsum("nd,dk->nk", x, self.Wx) + torch.einsum("nh,hk->nk", prev_h, self.Wh) + self.b
    ai, af, ao, ag = a.split(prev_h.shape[1], dim=-1)
    next_c = torch.addcmul(af.sigmoid() * prev_c, ai.sigmoid(), ag.tanh())
    return [ao.sigmoid() * next_c.tanh(), next_c]


@right("LSTM.step_forward")
def _(self, x, prev_h, prev_c):
    a = (x @ self.Wx + prev_h @ self.Wh + self.b).unflatten(1, (4, -1))
    i, f, o, g = a.unbind(1)
    next_c = (prev_c / (1 + torch.exp(-f))) + torch.tanh(g) / (1 + torch.exp(-i))
    return torch.tanh(next_c) / (1 + torch.exp(-o)), next_c


@wrong("LSTM.step_forward", "gate-order")
def _(self, x, prev_h, prev_c):
    i, f, g, o = (x @ self.Wx + prev_h @ self.Wh + self.b).chunk(4, dim=1)
    next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
    return o.sigmoid() * next_c.tanh(), next_c


@wrong("LSTM.step_forward", "forget-and-input-exchanged")
def _(self, x, prev_h, prev_c):
    f, i, o, g = (x @ self.Wx + prev_h @ self.Wh + self.b).chunk(4, dim=1)
    next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
    return o.sigmoid() * next_c.tanh(), next_c


@wrong("LSTM.step_forward", "cell-not-squashed")
def _(self, x, prev_h, prev_c):
    i, f, o, g = (x @ self.Wx + prev_h @ self.Wh + self.b).chunk(4, dim=1)
    next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
    return o.sigmoid() * next_c, next_c


@wrong("LSTM.step_forward", "proposal-sigmoid")
def _(self, x, prev_h, prev_c):
    i, f, o, g = torch.sigmoid(x @ self.Wx + prev_h @ self.Wh + self.b).chunk(4, dim=1)
    next_c = f * prev_c + i * g
    return o * next_c.tanh(), next_c


@wrong("LSTM.step_forward", "gates-interleaved")
def _(self, x, prev_h, prev_c):
    a = (x @ self.Wx + prev_h @ self.Wh + self.b).reshape(len(x), -1, 4)
    i, f, o, g = a[..., 0].sigmoid(), a[..., 1].sigmoid(), a[..., 2].sigmoid(), a[..., 3].tanh()
    next_c = f * prev_c + i * g
    return o * next_c.tanh(), next_c


@wrong("LSTM.step_forward", "no-bias")
def _(self, x, prev_h, prev_c):
    i, f, o, g = (x @ self.Wx + prev_h @ self.Wh).chunk(4, dim=1)
    next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
    return o.sigmoid() * next_c.tanh(), next_c


@wrong("LSTM.step_forward", "results-exchanged")
def _(self, x, prev_h, prev_c):
    i, f, o, g = (x @ self.Wx + prev_h @ self.Wh + self.b).chunk(4, dim=1)
    next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
    return next_c, o.sigmoid() * next_c.tanh()


@wrong("LSTM.step_forward", "no-forget-gate")
def _(self, x, prev_h, prev_c):
    i, f, o, g = (x @ self.Wx + prev_h @ self.Wh + self.b).chunk(4, dim=1)
    next_c = prev_c + i.sigmoid() * g.tanh()
    return o.sigmoid() * next_c.tanh(), next_c


@wrong("LSTM.step_forward", "hidden-for-cell")
def _(self, x, prev_h, prev_c):
    i, f, o, g = (x @ self.Wx + prev_h @ self.Wh + self.b).chunk(4, dim=1)
    next_c = f.sigmoid() * prev_h + i.sigmoid() * g.tanh()
    return o.sigmoid() * next_c.tanh(), next_c


@wrong("LSTM.step_forward", "changes-input")
def _(self, x, prev_h, prev_c):
    i, f, o, g = (x @ self.Wx + prev_h @ self.Wh + self.b).chunk(4, dim=1)
    with torch.no_grad():
        prev_c.mul_(f.sigmoid()).add_(i.sigmoid() * g.tanh())
    return o.sigmoid() * prev_c.tanh(), prev_c


@wrong("LSTM.step_forward", "output-gate-tanh")
def _(self, x, prev_h, prev_c):
    H = prev_h.shape[1]
    a = x @ self.Wx + prev_h @ self.Wh + self.b
    i, f = a[:, : 2 * H].sigmoid().chunk(2, 1)
    o, g = a[:, 2 * H :].tanh().chunk(2, 1)
    next_c = f * prev_c + i * g
    return o * next_c.tanh(), next_c


@wrong("LSTM.step_forward", "no-gradient")
def _(self, x, prev_h, prev_c):
    with torch.no_grad():
        i, f, o, g = (x @ self.Wx + prev_h @ self.Wh + self.b).chunk(4, dim=1)
        next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
        return o.sigmoid() * next_c.tanh(), next_c


# --- LSTM.forward ---


@right("LSTM.forward")
def _(self, x, h0):
    h, c = h0, torch.zeros_like(h0)
    hn = []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t], h, c)
        hn.append(h.unsqueeze(1))
    return torch.cat(hn, dim=1)


@right("LSTM.forward")
def _(self, x, h0):
    N, T, _ = x.shape
    hn = torch.zeros(N, T, h0.shape[1], dtype=x.dtype, device=x.device)
    c = x.new_zeros(h0.shape)
    for t in range(T):
        h0, c = self.step_forward(x[:, t, :], h0, c)
        hn[:, t, :] = h0
    return hn


@right("LSTM.forward")
def _(self, x, h0):
    def order(weight):
        i, f, o, g = weight.chunk(4, -1)
        return torch.cat([i, f, g, o], -1).T

    layer = nn.LSTM(x.shape[2], h0.shape[1], batch_first=True).to(x)
    weights = {
        "weight_ih_l0": order(self.Wx),
        "weight_hh_l0": order(self.Wh),
        "bias_ih_l0": order(self.b),
        "bias_hh_l0": torch.zeros_like(self.b),
    }
    out, _ = torch.func.functional_call(layer, weights, (x, (h0[None], torch.zeros_like(h0)[None])))
    return out


@right("LSTM.forward")
def _(self, x, h0):
    states = [(h0, torch.zeros_like(h0))]
    for step in x.transpose(0, 1):
        states.append(self.step_forward(step, *states[-1]))
    return torch.stack([h for h, _ in states[1:]]).transpose(0, 1)


@wrong("LSTM.forward", "cell-starts-at-h0")
def _(self, x, h0):
    h, c, out = h0, h0, []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t], h, c)
        out.append(h)
    return torch.stack(out, 1)


@wrong("LSTM.forward", "cell-not-carried")
def _(self, x, h0):
    h, out = h0, []
    for t in range(x.shape[1]):
        h, _ = self.step_forward(x[:, t], h, torch.zeros_like(h))
        out.append(h)
    return torch.stack(out, 1)


@wrong("LSTM.forward", "hidden-not-carried")
def _(self, x, h0):
    c, out = torch.zeros_like(h0), []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t], h0, c)
        out.append(h)
    return torch.stack(out, 1)


@wrong("LSTM.forward", "cell-detached")
def _(self, x, h0):
    h, c, out = h0, torch.zeros_like(h0), []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t], h, c.detach())
        out.append(h)
    return torch.stack(out, 1)


@wrong("LSTM.forward", "cells-returned")
def _(self, x, h0):
    h, c, out = h0, torch.zeros_like(h0), []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t], h, c)
        out.append(c)
    return torch.stack(out, 1)


@wrong("LSTM.forward", "time-first")
def _(self, x, h0):
    h, c, out = h0, torch.zeros_like(h0), []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t], h, c)
        out.append(h)
    return torch.stack(out)


@wrong("LSTM.forward", "cell-kept-between-calls")
def _(self, x, h0):
    h, out = h0, []
    if not hasattr(self, "c"):
        self.c = torch.zeros_like(h0)
    for t in range(x.shape[1]):
        h, self.c = self.step_forward(x[:, t], h, self.c)
        out.append(h)
    return torch.stack(out, 1)


@wrong("LSTM.forward", "device-not-followed")
def _(self, x, h0):
    h, c, out = h0, torch.zeros(h0.shape, dtype=x.dtype), []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t], h, c)
        out.append(h)
    return torch.stack(out, 1)


@wrong("LSTM.forward", "last-state-zero")
def _(self, x, h0):
    N, T, _ = x.shape
    out = x.new_zeros(N, T, h0.shape[1])
    h, c = h0, torch.zeros_like(h0)
    for t in range(T - 1):
        h, c = self.step_forward(x[:, t], h, c)
        out[:, t] = h
    return out


@wrong("LSTM.forward", "pair-returned")
def _(self, x, h0):
    h, c, out = h0, torch.zeros_like(h0), []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t], h, c)
        out.append(h)
    return torch.stack(out, 1), c


@wrong("LSTM.forward", "states-exchanged")
def _(self, x, h0):
    h, c, out = h0, torch.zeros_like(h0), []
    for t in range(x.shape[1]):
        c, h = self.step_forward(x[:, t], h, c)
        out.append(h)
    return torch.stack(out, 1)


@wrong("LSTM.forward", "cell-starts-random")
def _(self, x, h0):
    h, c, out = h0, torch.randn(h0.shape, dtype=x.dtype, device=x.device), []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t], h, c)
        out.append(h)
    return torch.stack(out, 1)


# --- dot_product_attention ---


@right("dot_product_attention")
def _(prev_h, A):
    N, H, h, w = A.shape
    flat = A.view(N, H, -1)
    M = (prev_h.view(N, 1, H) @ flat).div(H**0.5)
    weights = F.softmax(M, dim=2)
    return (flat @ weights.transpose(1, 2)).view(N, H), weights.view(N, h, w)


@right("dot_product_attention")
def _(prev_h, A):
    scores = torch.einsum("nh,nhij->nij", prev_h / math.sqrt(prev_h.shape[1]), A)
    weights = torch.exp(scores - scores.logsumexp((1, 2), keepdim=True))
    return torch.einsum("nij,nhij->nh", weights, A), weights


@right("dot_product_attention")
def _(prev_h, A):
    N, H, h, w = A.shape
    cells = A.flatten(2).permute(0, 2, 1)
    values = torch.cat([cells, torch.eye(h * w, dtype=A.dtype, device=A.device).expand(N, -1, -1)], 2)
    out = F.scaled_dot_product_attention(prev_h[:, None], cells, values)[:, 0]
    return out[:, :H], out[:, H:].reshape(N, h, w)


@right("dot_product_attention")
def _(prev_h, A):
    answers, maps = [], []
    for q, grid in zip(prev_h, A):
        scores = (q[:, None, None] * grid).sum(0) / len(q) ** 0.5
        weights = scores.flatten().softmax(0).view_as(scores)
        answers.append((grid * weights).sum((1, 2)))
        maps.append(weights)
    return torch.stack(answers), torch.stack(maps)


@wrong("dot_product_attention", "no-scale")
def _(prev_h, A):
    N, H, h, w = A.shape
    cells = A.flatten(2)
    weights = torch.bmm(prev_h.unsqueeze(1), cells).softmax(-1)
    return torch.bmm(cells, weights.transpose(1, 2)).squeeze(2), weights.view(N, h, w)


@wrong("dot_product_attention", "scale-without-root")
def _(prev_h, A):
    N, H, h, w = A.shape
    cells = A.flatten(2)
    weights = (torch.bmm(prev_h.unsqueeze(1), cells) / H).softmax(-1)
    return torch.bmm(cells, weights.transpose(1, 2)).squeeze(2), weights.view(N, h, w)


@wrong("dot_product_attention", "scale-by-width")
def _(prev_h, A):
    scores = torch.einsum("nh,nhij->nij", prev_h, A) / math.sqrt(A.shape[3])
    weights = scores.flatten(1).softmax(1).view_as(scores)
    return torch.einsum("nij,nhij->nh", weights, A), weights


@wrong("dot_product_attention", "softmax-over-columns")
def _(prev_h, A):
    scores = torch.einsum("nh,nhij->nij", prev_h, A) / math.sqrt(A.shape[1])
    weights = scores.softmax(-1)
    return torch.einsum("nij,nhij->nh", weights, A), weights


@wrong("dot_product_attention", "softmax-over-batch")
def _(prev_h, A):
    N, H, h, w = A.shape
    scores = torch.bmm(prev_h.unsqueeze(1), A.flatten(2)).squeeze(1) / math.sqrt(H)
    weights = F.softmax(scores, dim=0)
    return torch.bmm(A.flatten(2), weights.unsqueeze(2)).squeeze(2), weights.view(N, h, w)


@wrong("dot_product_attention", "squeezed")
def _(prev_h, A):
    N, H, h, w = A.shape
    cells = A.flatten(2)
    weights = (torch.bmm(prev_h.unsqueeze(1), cells) / math.sqrt(H)).softmax(-1)
    return torch.bmm(cells, weights.transpose(1, 2)).squeeze(), weights.view(N, h, w)


@wrong("dot_product_attention", "map-flat")
def _(prev_h, A):
    N, H, h, w = A.shape
    cells = A.flatten(2)
    weights = (torch.bmm(prev_h.unsqueeze(1), cells) / math.sqrt(H)).softmax(-1)
    return torch.bmm(cells, weights.transpose(1, 2)).squeeze(2), weights.squeeze(1)


@wrong("dot_product_attention", "exponential-overflow")
def _(prev_h, A):
    e = torch.exp(torch.einsum("nh,nhij->nij", prev_h, A) / math.sqrt(A.shape[1]))
    weights = e / e.sum((1, 2), keepdim=True)
    return torch.einsum("nij,nhij->nh", weights, A), weights


@wrong("dot_product_attention", "grid-reshaped")
def _(prev_h, A):
    N, H, h, w = A.shape
    cells = A.reshape(N, h * w, H)
    weights = (torch.bmm(cells, prev_h.unsqueeze(2)) / math.sqrt(H)).softmax(1)
    return (weights * cells).sum(1), weights.view(N, h, w)


@wrong("dot_product_attention", "weighted-mean")
def _(prev_h, A):
    scores = torch.einsum("nh,nhij->nij", prev_h, A) / math.sqrt(A.shape[1])
    weights = scores.flatten(1).softmax(1).view_as(scores)
    return (A * weights.unsqueeze(1)).mean((2, 3)), weights


@wrong("dot_product_attention", "results-exchanged")
def _(prev_h, A):
    scores = torch.einsum("nh,nhij->nij", prev_h, A) / math.sqrt(A.shape[1])
    weights = scores.flatten(1).softmax(1).view_as(scores)
    return weights, (A * weights.unsqueeze(1)).sum((2, 3))


@wrong("dot_product_attention", "no-gradient")
def _(prev_h, A):
    with torch.no_grad():
        scores = torch.einsum("nh,nhij->nij", prev_h, A) / math.sqrt(A.shape[1])
        weights = scores.flatten(1).softmax(1).view_as(scores)
    return (A * weights.unsqueeze(1)).sum((2, 3)), weights


@wrong("dot_product_attention", "")
def _(prev_h, A):
    N, H, h, w = A.shape
    assert (h, w) == (4, 4)
    weights = (torch.bmm(prev_h.unsqueeze(1), A.view(N, H, 16)) / math.sqrt(H)).softmax(-1)
    return torch.bmm(A.view(N, H, 16), weights.transpose(1, 2)).squeeze(2), weights.view(N, 4, 4)


# --- AttentionLSTM.step_forward ---


@right("AttentionLSTM.step_forward")
def _(self, x, prev_h, prev_c, attn):
    H = prev_h.shape[1]
    a = x.mm(self.Wx) + prev_h.mm(self.Wh) + attn.mm(self.Wattn) + self.b
    i, f, o, g = a[:, :H], a[:, H : 2 * H], a[:, 2 * H : 3 * H], a[:, 3 * H : 4 * H]
    next_c = torch.sigmoid(f) * prev_c + torch.sigmoid(i) * torch.tanh(g)
    next_h = torch.sigmoid(o) * torch.tanh(next_c)
    return next_h, next_c


@right("AttentionLSTM.step_forward")
def _(self, x, prev_h, prev_c, attn):
    everything = torch.cat([x, prev_h, attn, torch.ones_like(x[:, :1])], dim=1)
    weights = torch.cat([self.Wx, self.Wh, self.Wattn, self.b[None]], dim=0)
    i, f, o, g = torch.tensor_split(everything @ weights, 4, dim=1)
    c = F.sigmoid(f) * prev_c + F.sigmoid(i) * F.tanh(g)
    return F.sigmoid(o) * F.tanh(c), c


@right("AttentionLSTM.step_forward")
def _(self, x, prev_h, prev_c, attn):
    def block(k):
        H = prev_h.shape[1]
        cut = slice(k * H, (k + 1) * H)
        return x @ self.Wx[:, cut] + prev_h @ self.Wh[:, cut] + attn @ self.Wattn[:, cut] + self.b[cut]

    next_c = block(1).sigmoid() * prev_c + block(0).sigmoid() * block(3).tanh()
    return block(2).sigmoid() * next_c.tanh(), next_c


@wrong("AttentionLSTM.step_forward", "no-attention")
def _(self, x, prev_h, prev_c, attn):
    i, f, o, g = (x @ self.Wx + prev_h @ self.Wh + self.b).chunk(4, 1)
    next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
    return o.sigmoid() * next_c.tanh(), next_c


@wrong("AttentionLSTM.step_forward", "attention-through-Wh")
def _(self, x, prev_h, prev_c, attn):
    i, f, o, g = (x @ self.Wx + prev_h @ self.Wh + attn @ self.Wh + self.b).chunk(4, 1)
    next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
    return o.sigmoid() * next_c.tanh(), next_c


@wrong("AttentionLSTM.step_forward", "gate-order")
def _(self, x, prev_h, prev_c, attn):
    i, f, g, o = (x @ self.Wx + prev_h @ self.Wh + attn @ self.Wattn + self.b).chunk(4, 1)
    next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
    return o.sigmoid() * next_c.tanh(), next_c


@wrong("AttentionLSTM.step_forward", "no-state")
def _(self, x, prev_h, prev_c, attn):
    i, f, o, g = (x @ self.Wx + attn @ self.Wattn + self.b).chunk(4, 1)
    next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
    return o.sigmoid() * next_c.tanh(), next_c


@wrong("AttentionLSTM.step_forward", "no-bias")
def _(self, x, prev_h, prev_c, attn):
    i, f, o, g = (x @ self.Wx + prev_h @ self.Wh + attn @ self.Wattn).chunk(4, 1)
    next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
    return o.sigmoid() * next_c.tanh(), next_c


@wrong("AttentionLSTM.step_forward", "old-cell-out")
def _(self, x, prev_h, prev_c, attn):
    i, f, o, g = (x @ self.Wx + prev_h @ self.Wh + attn @ self.Wattn + self.b).chunk(4, 1)
    next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
    return o.sigmoid() * prev_c.tanh(), next_c


@wrong("AttentionLSTM.step_forward", "state-and-attention-exchanged")
def _(self, x, prev_h, prev_c, attn):
    i, f, o, g = (x @ self.Wx + prev_h @ self.Wattn + attn @ self.Wh + self.b).chunk(4, 1)
    next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
    return o.sigmoid() * next_c.tanh(), next_c


@wrong("AttentionLSTM.step_forward", "no-gradient")
def _(self, x, prev_h, prev_c, attn):
    i, f, o, g = (x @ self.Wx + prev_h @ self.Wh + attn.detach() @ self.Wattn + self.b).chunk(4, 1)
    next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
    return o.sigmoid() * next_c.tanh(), next_c


# --- AttentionLSTM.forward ---


@right("AttentionLSTM.forward")
def _(self, x, A):
    h0 = A.mean(dim=(2, 3))
    prev_h, prev_c = h0, h0.clone()
    hn = []
    for t in range(x.shape[1]):
        attn, _ = dot_product_attention(prev_h, A)
        prev_h, prev_c = self.step_forward(x[:, t, :], prev_h, prev_c, attn)
        hn.append(prev_h)
    return torch.stack(hn, dim=1)


@right("AttentionLSTM.forward")
def _(self, x, A):
    N, T, _ = x.shape
    cells = A.flatten(2).transpose(1, 2)
    h = c = F.adaptive_avg_pool2d(A, 1)[:, :, 0, 0]
    out = torch.empty(N, T, h.shape[1], dtype=x.dtype, device=x.device)
    for t in range(T):
        attn = F.scaled_dot_product_attention(h[:, None], cells, cells)[:, 0]
        h, c = self.step_forward(x[:, t], h, c, attn)
        out[:, t] = h
    return out


@right("AttentionLSTM.forward")
def _(self, x, A):
    state = 2 * (A.flatten(2).mean(-1),)
    collected = ()
    for step in torch.unbind(x, dim=1):
        state = self.step_forward(step, *state, dot_product_attention(state[0], A)[0])
        collected += (state[0].unsqueeze(1),)
    return torch.hstack(collected)


@wrong("AttentionLSTM.forward", "cell-starts-at-zero")
def _(self, x, A):
    h = A.mean(dim=(2, 3))
    c, out = torch.zeros_like(h), []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t], h, c, dot_product_attention(h, A)[0])
        out.append(h)
    return torch.stack(out, 1)


@wrong("AttentionLSTM.forward", "attention-once")
def _(self, x, A):
    h = c = A.mean(dim=(2, 3))
    attn, out = dot_product_attention(h, A)[0], []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t], h, c, attn)
        out.append(h)
    return torch.stack(out, 1)


@wrong("AttentionLSTM.forward", "attention-by-cell")
def _(self, x, A):
    h = c = A.mean(dim=(2, 3))
    out = []
    for t in range(x.shape[1]):
        attn, _ = dot_product_attention(c, A)
        h, c = self.step_forward(x[:, t], h, c, attn)
        out.append(h)
    return torch.stack(out, 1)


@wrong("AttentionLSTM.forward", "attention-one-late")
def _(self, x, A):
    h = c = A.mean(dim=(2, 3))
    attn, out = torch.zeros_like(h), []
    for t in range(x.shape[1]):
        before = h
        h, c = self.step_forward(x[:, t], h, c, attn)
        attn, _ = dot_product_attention(before, A)
        out.append(h)
    return torch.stack(out, 1)


@wrong("AttentionLSTM.forward", "start-summed")
def _(self, x, A):
    h = c = A.sum(dim=(2, 3))
    out = []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t], h, c, dot_product_attention(h, A)[0])
        out.append(h)
    return torch.stack(out, 1)


@wrong("AttentionLSTM.forward", "attention-detached")
def _(self, x, A):
    h = c = A.mean(dim=(2, 3))
    out = []
    for t in range(x.shape[1]):
        with torch.no_grad():
            attn, _ = dot_product_attention(h, A)
        h, c = self.step_forward(x[:, t], h, c, attn)
        out.append(h)
    return torch.stack(out, 1)


@wrong("AttentionLSTM.forward", "cell-not-carried")
def _(self, x, A):
    h = c0 = A.mean(dim=(2, 3))
    out = []
    for t in range(x.shape[1]):
        h, _ = self.step_forward(x[:, t], h, c0, dot_product_attention(h, A)[0])
        out.append(h)
    return torch.stack(out, 1)


@wrong("AttentionLSTM.forward", "time-first")
def _(self, x, A):
    h = c = A.mean(dim=(2, 3))
    out = []
    for step in x.transpose(0, 1):
        h, c = self.step_forward(step, h, c, dot_product_attention(h, A)[0])
        out.append(h)
    return torch.stack(out, 0)


@wrong("AttentionLSTM.forward", "both-start-at-zero")
def _(self, x, A):
    h = c = A.new_zeros(A.shape[:2])
    out = []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t], h, c, dot_product_attention(h, A)[0])
        out.append(h)
    return torch.stack(out, 1)


@wrong("AttentionLSTM.forward", "attention-uniform")
def _(self, x, A):
    h = c = attn = A.mean(dim=(2, 3))
    out = []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t], h, c, attn)
        out.append(h)
    return torch.stack(out, 1)


@wrong("AttentionLSTM.forward", "")
def _(self, x, A):
    h = c = A.mean(dim=(2, 3))
    out = []
    for t in range(x.shape[1]):
        attn, weights = dot_product_attention(h, A)
        h, c = self.step_forward(x[:, t], h, c, weights)
        out.append(h)
    return torch.stack(out, 1)


# --- CaptioningRNN.__init__ ---


@right("CaptioningRNN.__init__")
def _(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index):
    vocab_size = len(self.idx_to_word)
    if cell_type == "rnn":
        self.recurrent = RNN(wordvec_dim, hidden_dim)
    elif cell_type == "lstm":
        self.recurrent = LSTM(wordvec_dim, hidden_dim)
    else:
        self.recurrent = AttentionLSTM(wordvec_dim, hidden_dim)
    self.output_projection = nn.Linear(hidden_dim, vocab_size, bias=True)
    self.word_embedding = WordEmbedding(vocab_size=vocab_size, embed_size=wordvec_dim)
    self.feature_projection = nn.Linear(in_features=self.image_encoder.out_channels, out_features=hidden_dim)


@right("CaptioningRNN.__init__")
def _(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index):
    V = len(word_to_idx)
    self.vocab_size = V
    self.feature_projection = nn.Sequential(nn.Linear(input_dim, hidden_dim))
    self.word_embedding = WordEmbedding(V, wordvec_dim)
    self.recurrent = {"rnn": RNN, "lstm": LSTM, "attn": AttentionLSTM}[self.cell_type](wordvec_dim, hidden_dim)
    self.output_projection = nn.Linear(hidden_dim, V)
    nn.init.zeros_(self.output_projection.bias)


@wrong("CaptioningRNN.__init__", "largest-index")
def _(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index):
    V = max(word_to_idx.values()) + 1
    self.feature_projection = nn.Linear(input_dim, hidden_dim)
    self.word_embedding = WordEmbedding(V, wordvec_dim)
    self.recurrent = cells[cell_type](wordvec_dim, hidden_dim)
    self.output_projection = nn.Linear(hidden_dim, V)


@wrong("CaptioningRNN.__init__", "output-without-bias")
def _(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index):
    V = len(word_to_idx)
    self.feature_projection = nn.Linear(input_dim, hidden_dim)
    self.word_embedding = WordEmbedding(V, wordvec_dim)
    self.recurrent = cells[cell_type](wordvec_dim, hidden_dim)
    self.output_projection = nn.Linear(hidden_dim, V, bias=False)


@wrong("CaptioningRNN.__init__", "recurrent-sizes-exchanged")
def _(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index):
    V = len(word_to_idx)
    self.feature_projection = nn.Linear(input_dim, hidden_dim)
    self.word_embedding = WordEmbedding(V, wordvec_dim)
    self.recurrent = cells[cell_type](hidden_dim, wordvec_dim)
    self.output_projection = nn.Linear(hidden_dim, V)


@wrong("CaptioningRNN.__init__", "lstm-for-attention")
def _(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index):
    V = len(word_to_idx)
    self.feature_projection = nn.Linear(input_dim, hidden_dim)
    self.word_embedding = WordEmbedding(V, wordvec_dim)
    self.recurrent = RNN(wordvec_dim, hidden_dim) if cell_type == "rnn" else LSTM(wordvec_dim, hidden_dim)
    self.output_projection = nn.Linear(hidden_dim, V)


@wrong("CaptioningRNN.__init__", "features-to-words")
def _(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index):
    V = len(word_to_idx)
    self.feature_projection = nn.Linear(input_dim, wordvec_dim)
    self.word_embedding = WordEmbedding(V, wordvec_dim)
    self.recurrent = cells[cell_type](wordvec_dim, hidden_dim)
    self.output_projection = nn.Linear(hidden_dim, V)


@wrong("CaptioningRNN.__init__", "features-rectified")
def _(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index):
    V = len(word_to_idx)
    self.feature_projection = nn.Sequential(nn.Linear(input_dim, hidden_dim), nn.ReLU(inplace=True))
    self.word_embedding = WordEmbedding(V, wordvec_dim)
    self.recurrent = cells[cell_type](wordvec_dim, hidden_dim)
    self.output_projection = nn.Linear(hidden_dim, V)


@wrong("CaptioningRNN.__init__", "no-output-projection")
def _(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index):
    V = len(word_to_idx)
    self.feature_projection = nn.Linear(input_dim, hidden_dim)
    self.word_embedding = WordEmbedding(V, wordvec_dim)
    self.recurrent = cells[cell_type](wordvec_dim, hidden_dim)
    self.output = nn.Linear(hidden_dim, V)


@wrong("CaptioningRNN.__init__", "frozen-encoder")
def _(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index):
    V = len(word_to_idx)
    for parameter in self.parameters():
        parameter.requires_grad = False
    self.feature_projection = nn.Linear(input_dim, hidden_dim)
    self.word_embedding = WordEmbedding(V, wordvec_dim)
    self.recurrent = cells[cell_type](wordvec_dim, hidden_dim)
    self.output_projection = nn.Linear(hidden_dim, V)


@wrong("CaptioningRNN.__init__", "always-rnn")
def _(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index):
    V = len(word_to_idx)
    self.feature_projection = nn.Linear(input_dim, hidden_dim)
    self.word_embedding = WordEmbedding(V, wordvec_dim)
    self.recurrent = RNN(wordvec_dim, hidden_dim)
    self.output_projection = nn.Linear(hidden_dim, V)


@wrong("CaptioningRNN.__init__", "embedding-of-hidden-size")
def _(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, image_encoder_pretrained, ignore_index):
    V = len(word_to_idx)
    self.feature_projection = nn.Linear(input_dim, hidden_dim)
    self.word_embedding = WordEmbedding(V, hidden_dim)
    self.recurrent = cells[cell_type](wordvec_dim, hidden_dim)
    self.output_projection = nn.Linear(hidden_dim, V)


# --- CaptioningRNN.forward ---


@right("CaptioningRNN.forward")
def _(self, images, captions):
    read, wanted = captions[:, :-1], captions[:, 1:]
    features = self.encode(images)
    if self.cell_type == "attn":
        W, b = self.feature_projection.weight, self.feature_projection.bias
        start = F.conv2d(features, W[:, :, None, None], b)
    else:
        start = self.feature_projection(F.adaptive_avg_pool2d(features, 1).flatten(1))
    hidden = self.recurrent(self.word_embedding(read), start)
    return temporal_softmax_loss(self.output_projection(hidden), wanted, ignore_index=self.ignore_index)


@right("CaptioningRNN.forward")
def _(self, images, captions):
    scores = self.scores(images, captions[:, :-1])
    kwargs = {} if self.ignore_index is None else {"ignore_index": self.ignore_index}
    return F.cross_entropy(scores.transpose(1, 2), captions[:, 1:], reduction="sum", **kwargs) / len(images)


@right("CaptioningRNN.forward")
def _(self, images, captions):
    start = self.project(images)
    attends = self.cell_type == "attn"
    h = start.mean(dim=(2, 3)) if attends else start
    c = h if attends else torch.zeros_like(h)
    scores = []
    for word in captions[:, :-1].unbind(1):
        x = self.word_embedding(word[:, None])[:, 0]
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            h, c = self.recurrent.step_forward(x, h, c, dot_product_attention(h, start)[0])
        scores.append(self.output_projection(h))
    return temporal_softmax_loss(torch.stack(scores, 1), captions[:, 1:].contiguous(), self.ignore_index)


@wrong("CaptioningRNN.forward", "targets-not-shifted")
def _(self, images, captions):
    words = captions[:, :-1]
    return temporal_softmax_loss(self.scores(images, words), words, self.ignore_index)


@wrong("CaptioningRNN.forward", "read-and-predicted-exchanged")
def _(self, images, captions):
    return temporal_softmax_loss(self.scores(images, captions[:, 1:]), captions[:, :-1], self.ignore_index)


@wrong("CaptioningRNN.forward", "nothing-ignored")
def _(self, images, captions):
    return temporal_softmax_loss(self.scores(images, captions[:, :-1]), captions[:, 1:])


@wrong("CaptioningRNN.forward", "null-always-ignored")
def _(self, images, captions):
    return temporal_softmax_loss(self.scores(images, captions[:, :-1]), captions[:, 1:], 0)


@wrong("CaptioningRNN.forward", "only-images")
def _(self, images, captions):
    features = self.image_encoder(images)
    return temporal_softmax_loss(self.scores(features, captions[:, :-1]), captions[:, 1:], self.ignore_index)


@wrong("CaptioningRNN.forward", "no-gradient")
def _(self, images, captions):
    with torch.no_grad():
        features = self.encode(images)
    return temporal_softmax_loss(self.scores(features, captions[:, :-1]), captions[:, 1:], self.ignore_index)


@wrong("CaptioningRNN.forward", "start-squashed")
def _(self, images, captions):
    hidden = self.recurrent(self.word_embedding(captions[:, :-1]), torch.tanh(self.project(images)))
    return temporal_softmax_loss(self.output_projection(hidden), captions[:, 1:], self.ignore_index)


@wrong("CaptioningRNN.forward", "mean-over-words")
def _(self, images, captions):
    scores = self.scores(images, captions[:, :-1])
    ignored = -100 if self.ignore_index is None else self.ignore_index
    return F.cross_entropy(scores.flatten(0, 1), captions[:, 1:].flatten(), ignore_index=ignored)


@wrong("CaptioningRNN.forward", "scores-returned")
def _(self, images, captions):
    return self.scores(images, captions[:, :-1])


@wrong("CaptioningRNN.forward", "whole-captions")
def _(self, images, captions):
    return temporal_softmax_loss(self.scores(images, captions), captions, self.ignore_index)


@wrong("CaptioningRNN.forward", "rolled")
def _(self, images, captions):
    return temporal_softmax_loss(self.scores(images, captions), torch.roll(captions, -1, dims=1), self.ignore_index)


# --- CaptioningRNN.sample ---


@right("CaptioningRNN.sample")
def _(self, images, max_length=15):
    features = self.encode(images)
    N = features.shape[0]
    read = torch.full((N, 1), self.word_to_idx["<START>"], dtype=torch.long, device=features.device)
    maps = []
    for _ in range(max_length):
        scores = self.scores(features, read)[:, -1]
        if self.cell_type == "attn":
            A = self.project(features)
            hidden = self.recurrent(self.word_embedding(read), A)
            before = A.mean((2, 3)) if hidden.shape[1] == 1 else hidden[:, -2]
            maps.append(dot_product_attention(before, A)[1])
        read = torch.cat([read, scores.max(dim=1, keepdim=True).indices], dim=1)
    if self.cell_type == "attn":
        return read[:, 1:], torch.stack(maps, 1).to("cpu", torch.float32)
    return read[:, 1:]


@right("CaptioningRNN.sample")
def _(self, images, max_length=15):
    N = images.shape[0]
    start = self.project(images)
    captions = torch.full((N, max_length), self.word_to_idx[NULL], dtype=torch.int64)
    if self.cell_type == "attn":
        _, _, h_, w_ = start.shape
        attention = torch.zeros(N, max_length, h_, w_)
        h = c = start.mean(dim=(2, 3))
    else:
        h, c = start, torch.zeros_like(start)
    x = self.word_embedding(torch.tensor([[self.word_to_idx[START]]] * N))
    for t in range(max_length):
        x = x.view(N, -1)
        if self.cell_type == "rnn":
            h = rnn_step_forward(x, h, self.recurrent.Wx, self.recurrent.Wh, self.recurrent.b)[0]
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            attn, attention[:, t] = dot_product_attention(h, start)
            h, c = self.recurrent.step_forward(x, h, c, attn)
        captions[:, t] = self.output_projection(h).softmax(-1).argmax(-1)
        x = self.word_embedding(captions[:, t : t + 1])
    return (captions, attention) if self.cell_type == "attn" else captions


@right("CaptioningRNN.sample")
def _(self, images, max_length=15):
    self.eval()
    rows, maps = [], []
    for image in images.split(1):
        start = self.project(image)
        attends = self.cell_type == "attn"
        h = start.mean(dim=(2, 3)) if attends else start
        c = h if attends else h * 0
        word, row, looks = self.word_to_idx["<START>"], [], []
        while len(row) < max_length:
            x = self.word_embedding.W_embed[word].unsqueeze(0)
            extra = ()
            if attends:
                answer, look = dot_product_attention(h, start)
                extra = (answer,)
                looks.append(look[0])
            if self.cell_type == "rnn":
                h = self.recurrent.step_forward(x, h)
            else:
                h, c = self.recurrent.step_forward(x, h, c, *extra)
            word = int(torch.argmax(self.output_projection(h)))
            row.append(word)
        rows.append(row)
        if attends:
            maps.append(torch.stack(looks))
    captions = torch.tensor(rows)
    return [captions, torch.stack(maps).float()] if maps else captions


@wrong("CaptioningRNN.sample", "begins-with-word-one")
def _(self, images, max_length=15):
    start = self.project(images)
    h = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start
    c = h if self.cell_type == "attn" else torch.zeros_like(h)
    word = torch.ones(len(images), dtype=torch.long)
    words, maps = [], []
    for _ in range(max_length):
        x = self.word_embedding(word[:, None])[:, 0]
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            attn, look = dot_product_attention(h, start)
            h, c = self.recurrent.step_forward(x, h, c, attn)
            maps.append(look)
        word = self.output_projection(h).argmax(1)
        words.append(word)
    captions = torch.stack(words, 1)
    return (captions, torch.stack(maps, 1).float().cpu()) if maps else captions


@wrong("CaptioningRNN.sample", "start-word-not-fed-back")
def _(self, images, max_length=15):
    start = self.project(images)
    h = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start
    c = h if self.cell_type == "attn" else torch.zeros_like(h)
    word = torch.full((len(images),), self.word_to_idx[START])
    words, maps = [], []
    x = self.word_embedding(word[:, None])[:, 0]
    for _ in range(max_length):
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            attn, look = dot_product_attention(h, start)
            h, c = self.recurrent.step_forward(x, h, c, attn)
            maps.append(look)
        words.append(self.output_projection(h).argmax(1))
    captions = torch.stack(words, 1)
    return (captions, torch.stack(maps, 1).float().cpu()) if maps else captions


@wrong("CaptioningRNN.sample", "lstm-cell-starts-at-h0")
def _(self, images, max_length=15):
    start = self.project(images)
    h = c = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start
    word = torch.full((len(images),), self.word_to_idx[START])
    words, maps = [], []
    for _ in range(max_length):
        x = self.word_embedding(word[:, None])[:, 0]
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            attn, look = dot_product_attention(h, start)
            h, c = self.recurrent.step_forward(x, h, c, attn)
            maps.append(look)
        word = self.output_projection(h).argmax(1)
        words.append(word)
    captions = torch.stack(words, 1)
    return (captions, torch.stack(maps, 1).float().cpu()) if maps else captions


@wrong("CaptioningRNN.sample", "attention-cell-starts-at-zero")
def _(self, images, max_length=15):
    start = self.project(images)
    h = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start
    c = torch.zeros_like(h)
    word = torch.full((len(images),), self.word_to_idx[START])
    words, maps = [], []
    for _ in range(max_length):
        x = self.word_embedding(word[:, None])[:, 0]
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            attn, look = dot_product_attention(h, start)
            h, c = self.recurrent.step_forward(x, h, c, attn)
            maps.append(look)
        word = self.output_projection(h).argmax(1)
        words.append(word)
    captions = torch.stack(words, 1)
    return (captions, torch.stack(maps, 1).float().cpu()) if maps else captions


@wrong("CaptioningRNN.sample", "map-after-step")
def _(self, images, max_length=15):
    start = self.project(images)
    h = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start
    c = h if self.cell_type == "attn" else torch.zeros_like(h)
    word = torch.full((len(images),), self.word_to_idx[START])
    words, maps = [], []
    for _ in range(max_length):
        x = self.word_embedding(word[:, None])[:, 0]
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            attn, _ = dot_product_attention(h, start)
            h, c = self.recurrent.step_forward(x, h, c, attn)
            maps.append(dot_product_attention(h, start)[1])
        word = self.output_projection(h).argmax(1)
        words.append(word)
    captions = torch.stack(words, 1)
    return (captions, torch.stack(maps, 1).float().cpu()) if maps else captions


@wrong("CaptioningRNN.sample", "stops-at-end")
def _(self, images, max_length=15):
    start = self.project(images)
    h = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start
    c = h if self.cell_type == "attn" else torch.zeros_like(h)
    word = torch.full((len(images),), self.word_to_idx[START])
    captions = torch.full((len(images), max_length), self.word_to_idx[NULL])
    maps, done = [], torch.zeros(len(images), dtype=torch.bool)
    for t in range(max_length):
        x = self.word_embedding(word[:, None])[:, 0]
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            attn, look = dot_product_attention(h, start)
            h, c = self.recurrent.step_forward(x, h, c, attn)
            maps.append(look)
        word = self.output_projection(h).argmax(1)
        word[done] = self.word_to_idx[NULL]
        captions[:, t] = word
        done |= word == self.word_to_idx[END]
    return (captions, torch.stack(maps, 1).float().cpu()) if maps else captions


@wrong("CaptioningRNN.sample", "start-in-result")
def _(self, images, max_length=15):
    start = self.project(images)
    h = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start
    c = h if self.cell_type == "attn" else torch.zeros_like(h)
    word = torch.full((len(images),), self.word_to_idx[START])
    words, maps = [], []
    for _ in range(max_length):
        words.append(word)
        x = self.word_embedding(word[:, None])[:, 0]
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            attn, look = dot_product_attention(h, start)
            h, c = self.recurrent.step_forward(x, h, c, attn)
            maps.append(look)
        word = self.output_projection(h).argmax(1)
    captions = torch.stack(words, 1)
    return (captions, torch.stack(maps, 1).float().cpu()) if maps else captions


@wrong("CaptioningRNN.sample", "drawn-at-random")
def _(self, images, max_length=15):
    start = self.project(images)
    h = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start
    c = h if self.cell_type == "attn" else torch.zeros_like(h)
    word = torch.full((len(images),), self.word_to_idx[START])
    words, maps = [], []
    for _ in range(max_length):
        x = self.word_embedding(word[:, None])[:, 0]
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            attn, look = dot_product_attention(h, start)
            h, c = self.recurrent.step_forward(x, h, c, attn)
            maps.append(look)
        word = torch.distributions.Categorical(logits=self.output_projection(h)).sample()
        words.append(word)
    captions = torch.stack(words, 1)
    return (captions, torch.stack(maps, 1).float().cpu()) if maps else captions


@wrong("CaptioningRNN.sample", "maps-missing")
def _(self, images, max_length=15):
    start = self.project(images)
    h = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start
    c = h if self.cell_type == "attn" else torch.zeros_like(h)
    word = torch.full((len(images),), self.word_to_idx[START])
    words = []
    for _ in range(max_length):
        x = self.word_embedding(word[:, None])[:, 0]
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            h, c = self.recurrent.step_forward(x, h, c, dot_product_attention(h, start)[0])
        word = self.output_projection(h).argmax(1)
        words.append(word)
    return torch.stack(words, 1)


@wrong("CaptioningRNN.sample", "attention-of-start")
def _(self, images, max_length=15):
    start = self.project(images)
    h = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start
    c = h if self.cell_type == "attn" else torch.zeros_like(h)
    if self.cell_type == "attn":
        attn, look = dot_product_attention(h, start)
    word = torch.full((len(images),), self.word_to_idx[START])
    words, maps = [], []
    for _ in range(max_length):
        x = self.word_embedding(word[:, None])[:, 0]
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            h, c = self.recurrent.step_forward(x, h, c, attn)
            maps.append(look)
        word = self.output_projection(h).argmax(1)
        words.append(word)
    captions = torch.stack(words, 1)
    return (captions, torch.stack(maps, 1).float().cpu()) if maps else captions


@wrong("CaptioningRNN.sample", "words-in-float")
def _(self, images, max_length=15):
    start = self.project(images)
    h = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start
    c = h if self.cell_type == "attn" else torch.zeros_like(h)
    word = torch.full((len(images),), self.word_to_idx[START])
    captions, maps = torch.zeros(len(images), max_length), []
    for t in range(max_length):
        x = self.word_embedding(word[:, None])[:, 0]
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            attn, look = dot_product_attention(h, start)
            h, c = self.recurrent.step_forward(x, h, c, attn)
            maps.append(look)
        word = self.output_projection(h).argmax(1)
        captions[:, t] = word
    return (captions, torch.stack(maps, 1).float().cpu()) if maps else captions


# --- bodies of a reader who did not know the checks ---


@wrong("rnn_step_backward", "")
def _(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    da = (dnext_h * (1 - next_h**2)).clamp(-5, 5)
    return da @ Wx.T, da @ Wh.T, x.T @ da, prev_h.T @ da, da.sum(0)


@wrong("WordEmbedding.forward", "")
def _(self, x):
    self.__dict__.setdefault("table", self.W_embed.detach().clone())
    return (self.__dict__["table"] - self.W_embed.detach() + self.W_embed)[x]  # the right gradient, the old values


@wrong("LSTM.step_forward", "")
def _(self, x, prev_h, prev_c):
    i, f, o, g = (x @ self.Wx + prev_h @ self.Wh + self.b).chunk(4, dim=1)
    next_c = (f.sigmoid() * prev_c + i.sigmoid() * g.tanh()).clamp(-3, 3)
    return o.sigmoid() * next_c.tanh(), next_c


@wrong("LSTM.step_forward", "")
def _(self, x, prev_h, prev_c):
    i, f, o, g = (x @ self.Wx + prev_h @ self.Wh + self.b).chunk(4, dim=1)
    c = self.__dict__.get("c", prev_c)
    c = c if c.shape == prev_c.shape and c.dtype == prev_c.dtype else prev_c
    next_c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    self.__dict__["c"] = next_c.detach()
    return o.sigmoid() * next_c.tanh(), next_c
