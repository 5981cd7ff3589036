"""The probes of the captioning exercises (`rnn_lstm_captioning.py`)."""

from __future__ import annotations

import torch

from dl.checks.exercise import Draw, Exercise, Probe, Values, published, track, unpack, with_gradients

TOPIC = "captioning"


# --- Vanilla RNN ---


def _step_inputs(draw: Draw, N: int | None = None, scale: float = 1.0, dtype=None) -> Values:
    size, D, H = draw.sizes(3)
    N = size if N is None else N
    inputs = {"x": draw.normal(N, D, scale=scale), "prev_h": draw.normal(N, H), "Wx": draw.normal(D, H),
              "Wh": draw.normal(H, H), "b": draw.normal(H)}
    return inputs if dtype is None else {name: value.to(dtype) for name, value in inputs.items()}


def _step_forward(lesson, inputs: Values) -> Values:
    returned = unpack(lesson.rnn_step_forward(*(inputs[name] for name in ("x", "prev_h", "Wx", "Wh", "b"))), "next_h", "cache")
    return {"next_h": returned["next_h"]}


def _step_gradients(lesson, inputs: Values) -> Values:
    wanted = track(inputs, "x", "prev_h", "Wx", "Wh", "b")
    return with_gradients(_step_forward(lesson, inputs), wanted)


def _step_backward(lesson, inputs: Values) -> Values:
    _, cache = lesson.rnn_step_forward(*(inputs[name] for name in ("x", "prev_h", "Wx", "Wh", "b")))
    return unpack(lesson.rnn_step_backward(inputs["dnext_h"], cache), "dx", "dprev_h", "dWx", "dWh", "db")


def _step_backward_inputs(draw: Draw, **options) -> Values:
    inputs = _step_inputs(draw, **options)
    return {**inputs, "dnext_h": draw.normal(*inputs["prev_h"].shape).to(inputs["x"].dtype)}


EXERCISES = (
    Exercise(
        "rnn_step_forward", TOPIC,
        probes=(
            published(TOPIC, "rnn_step_forward", _step_forward),
            Probe("values on random inputs", _step_inputs, _step_forward),
            Probe("gradients", _step_inputs, _step_gradients),
            Probe("batch of one", lambda draw: _step_inputs(draw, N=1), _step_forward),
            Probe("large values", lambda draw: _step_inputs(draw, scale=1e3), _step_forward),
            Probe("float32", lambda draw: _step_inputs(draw, dtype=torch.float32), _step_forward, rtol=1e-4, atol=1e-5),
        ),
        hints=("which three terms are added before the tanh?", "the products are x with Wx and prev_h with Wh; b is added to each row."),
    ),
    Exercise(
        "rnn_step_backward", TOPIC, partner="rnn_step_forward",
        probes=(
            Probe("values on random inputs", _step_backward_inputs, _step_backward),
            Probe("batch of one", lambda draw: _step_backward_inputs(draw, N=1), _step_backward),
        ),
    ),
)
