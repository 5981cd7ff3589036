"""The cases of what a captioner is made of (`rnn_lstm_captioning.py`): recurrent layers, word vectors, loss, attention.

Axes as in the lesson: N batch, T time, D input features, H hidden size, V vocabulary, W word-vector size; h, w rows and
columns of the feature grid. The course's own tensors come last: they are so even that different mistakes look alike on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dl.checks.devices import device_case
from dl.checks.exercise import (
    SINGLE,
    Case,
    Draw,
    Exercise,
    Values,
    WrongReturn,
    describe,
    gradients_of,
    published,
    track,
    unpack,
    with_gradients,
)

TOPIC = "captioning"
exercise = partial(Exercise, topic=TOPIC)
OVERFLOW = (
    "where a tanh or sigmoid is taken of hundreds or thousands, values or gradients are not right: an exponential written by "
    "hand overflows there (in float32 from 88 on). torch.tanh and torch.sigmoid do not"
)
ELSEWHERE = (
    "with the table on a GPU and the words still on the CPU this ends in an error; indexing the table takes both: W_embed[x]"
)
STRIDES = (
    "a grid whose memory lies in another order (after transpose or permute) is refused by .view; .reshape and .flatten take it"
)


def sizes_of(draw: Draw, given: Mapping[str, int], names: str, *limits: int) -> list[int]:
    """A size for each letter of `names`: the given one, or one drawn unequal to the others."""
    return [given.get(name, size) for name, size in zip(names, draw.sizes(len(names), *limits), strict=True)]


def _table(draw: Callable[..., Values], run: Callable, rows: Mapping[str, Values], **options) -> tuple[Case, ...]:
    """One case for each row: what `draw` gets by keyword, and which of that are sizes to be told."""
    return tuple(Case(name, partial(draw, **how), run, about=_told(how), **options) for name, how in rows.items())


def _told(how: Values) -> str:
    sizes = {name: size for name, size in how.items() if len(name) == 1}
    if len(set(sizes.values())) == 1 and sizes:
        return f"with {' = '.join(sizes)} = {next(iter(sizes.values()))}"
    return f"with {', '.join(f'{name} = {size}' for name, size in sizes.items())}" if sizes else ""


def _single(draw: Callable[..., Values]) -> Callable[..., Values]:
    """The same inputs in float32."""

    def single(d: Draw, **how) -> Values:
        return {key: v.float() if isinstance(v, Tensor) and v.is_floating_point() else v for key, v in draw(d, **how).items()}

    return single


def _scaled(draw: Callable[..., Values], name: str, times: float = 1.0, plus: float = 0.0) -> Callable[..., Values]:
    """The same inputs, one of them times and plus a number."""

    def scaled(d: Draw, **how) -> Values:
        inputs = draw(d, **how)
        return {**inputs, name: inputs[name] * times + plus}

    return scaled


def _layers(
    draw, run, output: str, course: str, rows: Mapping[str, Values], *more: Case, gradients: Callable | None = None
) -> tuple[Case, ...]:
    """The cases of a differentiable exercise: those that all have, its own as rows and in full, the course's own tensors."""
    return (
        *_table(draw, run, {"values on random inputs": {}, "batch of one": {"N": 1}, **rows}),
        *more,
        Case("gradients", draw, gradients or gradients_of(run)),
        Case("float32", _single(draw), run, about="in float32", **SINGLE),
        device_case(draw, lambda lesson, inputs: run(lesson, inputs)[output]),
        published(TOPIC, course, run),
    )


def _huge(draw: Callable[..., Values], gradients: Callable) -> Case:
    """Values and gradients where an exponential written by hand overflows."""
    return Case("huge values", partial(draw, scale=1e4), gradients, note=OVERFLOW)


def one_tensor(returned: object) -> Tensor:
    """What was returned, if it is one tensor."""
    if not isinstance(returned, Tensor):
        raise WrongReturn(f"it returned {describe(returned)}; wanted one tensor")
    return returned


# --- Vanilla RNN ---

RNN_STEP, RNN_ALL = ("x", "prev_h", "Wx", "Wh", "b"), ("x", "h0", "Wx", "Wh", "b")


def _step_inputs(draw: Draw, scale: float = 1.0, upstream: float | None = None, **sizes: int) -> Values:
    """upstream: size of the gradient that arrives, None for none."""
    N, D, H = sizes_of(draw, sizes, "NDH")
    inputs = {
        "x": draw.normal(N, D, scale=scale),
        "prev_h": draw.normal(N, H),
        "Wx": draw.normal(D, H, scale=0.6),
        "Wh": draw.normal(H, H, scale=0.6),
        "b": draw.normal(H),
    }
    return inputs if upstream is None else {**inputs, "dnext_h": draw.normal(N, H, scale=upstream)}


def _step_forward(lesson, inputs: Values) -> Values:
    returned = unpack(lesson.rnn_step_forward(*(inputs[name] for name in RNN_STEP)), "next_h", "cache")
    return {"next_h": returned["next_h"]}


def _step_backward(lesson, inputs: Values) -> Values:
    _, cache = lesson.rnn_step_forward(*(inputs[name] for name in RNN_STEP))
    return unpack(lesson.rnn_step_backward(inputs["dnext_h"], cache), "dx", "dprev_h", "dWx", "dWh", "db")


def _state_after_backward(lesson, inputs: Values) -> Values:
    """The state that the forward step gave, after the step back."""
    next_h, cache = lesson.rnn_step_forward(*(inputs[name] for name in RNN_STEP))
    lesson.rnn_step_backward(inputs["dnext_h"], cache)
    return {"next_h": next_h.detach()}


def _rnn_inputs(draw: Draw, scale=1.0, steps=slice(None), upstream: float | None = None, **sizes: int) -> Values:
    """upstream: size of the gradient that arrives, None for none; steps: those whose state reaches the loss directly."""
    N, T, D, H = sizes_of(draw, sizes, "NTDH")
    inputs = {
        "x": draw.normal(N, T, D, scale=scale),
        "h0": draw.normal(N, H),
        "Wx": draw.normal(D, H, scale=0.6),
        "Wh": draw.normal(H, H, scale=0.8 / math.sqrt(H)),
        "b": draw.normal(H, scale=0.5),
    }
    if upstream is None:
        return inputs
    dh, every = torch.zeros(N, T, H, dtype=torch.float64), draw.normal(N, T, H, scale=upstream)
    dh[:, steps] = every[:, steps]
    return {**inputs, "dh": dh}


def _rnn_forward(lesson, inputs: Values) -> Values:
    returned = unpack(lesson.rnn_forward(*(inputs[name] for name in RNN_ALL)), "h", "cache")
    return {"h": returned["h"]}


def _rnn_backward(lesson, inputs: Values) -> Values:
    _, cache = lesson.rnn_forward(*(inputs[name] for name in RNN_ALL))
    return unpack(lesson.rnn_backward(inputs["dh"], cache), "dx", "dh0", "dWx", "dWh", "db")


def _backwards(draw: Callable[..., Values], run: Callable, rows: Mapping[str, Values], *more: Case) -> tuple[Case, ...]:
    """The cases of a function that computes gradients, for a gradient that arrives."""
    arriving = partial(draw, upstream=1.0)
    return (
        *_table(arriving, run, {"values on random inputs": {}, "batch of one": {"N": 1}, **rows}),
        *more,
        Case("float32", _single(arriving), run, about="in float32", **SINGLE),
        device_case(arriving, lambda lesson, inputs: run(lesson, inputs)["dWx"]),
    )


EQUAL: dict[str, Any] = {"N": 3, "D": 3, "H": 3}
LONG: dict[str, Any] = {"N": 2, "T": 30, "D": 2, "H": 3}
BY_AUTOGRAD = "autograd finds the same gradients; this exercise is about deriving them by hand"
INSIDE = "does the whole {}; writing the {} shows what is inside"
VANILLA = (
    exercise(
        "rnn_step_forward",
        difficulty=1,
        minutes=20,
        cases=(
            *_layers(
                _step_inputs,
                _step_forward,
                "next_h",
                "rnn_step_forward",
                {"as many images as sizes": EQUAL, "large values": {"scale": 10.0}},
            ),
            _huge(_step_inputs, gradients_of(_step_forward)),
        ),
        hints=(
            "which three terms are added before the tanh?",
            "each row of x meets Wx, each row of prev_h meets Wh, and b is the same for all rows.",
            "write the shape behind each term: which products give (N, H)?",
        ),
        whole_calls={"nn.RNNCell": f"nn.RNNCell {INSIDE.format('step', 'equation')}"},
    ),
    exercise(
        "rnn_step_backward",
        difficulty=2,
        minutes=40,
        partner="rnn_step_forward",
        cases=_backwards(
            _step_inputs,
            _step_backward,
            {"as many images as sizes": EQUAL, "large values": {"scale": 10.0}, "a large gradient": {"upstream": 1e3}},
            Case("the state is left as it was", partial(_step_inputs, upstream=1.0), _state_after_backward),
        ),
        hints=(
            "go backwards through the equation: what is the gradient at the argument of the tanh?",
            "each factor of a product gets the arriving gradient times the other factor: which transposes fit?",
            "b was added to every row of the batch: what does that mean for its gradient?",
        ),
        whole_calls={"torch.autograd.grad": BY_AUTOGRAD},
    ),
    exercise(
        "rnn_forward",
        difficulty=1,
        minutes=20,
        needs=("rnn_step_forward",),
        cases=(
            *_layers(
                _rnn_inputs,
                _rnn_forward,
                "h",
                "rnn_forward",
                {
                    "one step": {"T": 1},
                    "square sizes": {**EQUAL, "T": 3},
                    "a long sequence": LONG,
                    "large values": {"scale": 10.0},
                },
                *_table(_rnn_inputs, gradients_of(_rnn_forward), {"gradients of a long sequence": {**LONG, "T": 20}}),
            ),
            _huge(_rnn_inputs, gradients_of(_rnn_forward)),
        ),
        hints=(
            "which state does the first step start from, and which the second?",
            "collect the state after each step; which axis of the result counts the steps?",
            "(N, T, H): x[:, t] is the input of step t, h[:, t] the state after it.",
        ),
        whole_calls={name: f"{name} {INSIDE.format('sequence', 'loop')}" for name in ("nn.RNN", "torch.rnn_tanh")},
    ),
    exercise(
        "rnn_backward",
        difficulty=3,
        minutes=60,
        needs=("rnn_step_forward", "rnn_step_backward"),
        partner="rnn_forward",
        cases=_backwards(
            _rnn_inputs,
            _rnn_backward,
            {
                "one step": {"T": 1},
                "loss of the last state only": {"steps": slice(-1, None), "T": 4},
                "loss of the first state only": {"steps": slice(0, 1), "T": 4},
                "square sizes": {**EQUAL, "T": 3},
                "a long sequence": LONG,
                "a large gradient": {"upstream": 1e3},
            },
        ),
        hints=(
            "on which two ways does the state of step t reach the loss?",
            "walk from the last step to the first, and carry along what the later step sends back.",
            "Wx, Wh and b are the same tensors at every step: what does that mean for their gradients?",
            "what is left over when the walk arrives at the start?",
        ),
        whole_calls={"torch.autograd.grad": BY_AUTOGRAD},
    ),
)


# --- Words and loss ---


def _embedding_inputs(draw: Draw, **sizes: int) -> Values:
    N, T, W, V = sizes_of(draw, sizes, "NTWV")
    V = V if "V" in sizes else V + 4
    x = draw.integers(0, V, N, T)
    x.view(-1)[0] = 0  # the first and the last row of the table are asked for
    x.view(-1)[-1] = V - 1
    return {"x": x, "W_embed": draw.normal(V, W)}


def _shorter(draw: Callable[..., Values], name: str, part: slice) -> Callable[[Draw], Values]:
    """The same inputs, one of them cut out of a longer one along time, as captions are in the captioner."""

    def shorter(d: Draw) -> Values:
        inputs = draw(d)
        longer = torch.cat([inputs[name], inputs[name][:, :1]], dim=1).roll(part.start or 0, dims=1)
        return {**inputs, name: longer[:, part]}

    return shorter


def _embedding(lesson, inputs: Values) -> Any:
    parameters = inputs.get("parameters", inputs)
    return _fill(lesson.WordEmbedding(*parameters["W_embed"].shape), W_embed=parameters["W_embed"])


def _fill(layer: nn.Module, **values: Tensor) -> Any:
    """The layer with these parameters, on their device and in their dtype."""
    layer.to(next(iter(values.values())))
    for name, value in values.items():
        getattr(layer, name).data.copy_(value)
    return layer


def _embedding_forward(lesson, inputs: Values) -> Values:
    return {"out": one_tensor(_embedding(lesson, inputs)(inputs["x"]))}


def _embedding_after_step(lesson, inputs: Values) -> Values:
    """Before and after the table has changed, as in training."""
    layer = _embedding(lesson, inputs)
    before = one_tensor(layer(inputs["x"])).detach().clone()
    layer.W_embed.data.mul_(-2)
    return {"before": before, "after": one_tensor(layer(inputs["x"]))}


def _words_on_the_cpu(lesson, inputs: Values) -> Tensor:
    return _embedding_forward(lesson, {**inputs, "x": inputs["x"].held})["out"]


def _embedding_gradients(lesson, inputs: Values) -> Values:
    layer = _embedding(lesson, inputs)
    return with_gradients({"out": layer(inputs["x"])}, {"W_embed": layer.W_embed})


def _long_words(draw: Draw) -> Values:
    """Words with vectors of every length, from nearly nothing to thousands."""
    inputs = _embedding_inputs(draw, V=6)
    return {**inputs, "W_embed": inputs["W_embed"] * 10.0 ** torch.arange(-2, 4, dtype=torch.float64).unsqueeze(1)}


def _loss_inputs(draw: Draw, scale: float = 1.0, ignore: str = "some", **sizes: int) -> Values:
    """ignore: "some" targets are the ignored word, "all" are, "row": all of the first caption, or "none": None is given."""
    N, T, V = sizes_of(draw, sizes, "NTV", 3, 8)
    x, y = draw.normal(N, T, V, scale=scale), draw.integers(0, V, N, T)
    ignored = draw.integer(1, V)
    if ignore == "all":
        y[:] = ignored
    elif ignore == "row":
        y[0] = ignored
        y[1:, 0] = 0
    y.view(-1)[-1] = 0 if ignore == "none" else ignored  # at least one; 0 is a word like any other where none is ignored
    return {"x": x, "y": y, "ignore_index": None if ignore == "none" else ignored}


def _loss(lesson, inputs: Values) -> Values:
    return {"loss": one_tensor(lesson.temporal_softmax_loss(inputs["x"], inputs["y"], inputs["ignore_index"]))}


def _loss_by_default(lesson, inputs: Values) -> Values:
    return {"loss": lesson.temporal_softmax_loss(inputs["x"], inputs["y"])}


def _far_off(draw: Draw) -> Values:
    inputs = _loss_inputs(draw, scale=1e3)
    return {**inputs, "x": inputs["x"].scatter(2, inputs["y"].clamp(min=0)[..., None], -1e4)}


def _null_ignored(draw: Draw) -> Values:
    inputs = _loss_inputs(draw)
    inputs["y"][:, -1] = 0
    return {**inputs, "ignore_index": 0}


UNIGNORED: dict[str, Any] = {"ignore": "none"}
WORDS = (
    exercise(
        "WordEmbedding.forward",
        difficulty=1,
        minutes=10,
        cases=(
            *_layers(
                _embedding_inputs,
                _embedding_forward,
                "out",
                "word_embedding_forward",
                {
                    "one step": {"T": 1},
                    "as many captions as words": {"N": 4, "T": 4},
                    "many words": {"N": 20, "T": 20, "V": 400},
                },
                Case("vectors of all lengths", _long_words, _embedding_forward),
                Case("a changed table", _embedding_inputs, _embedding_after_step),
                Case(
                    "captions without their last word", _shorter(_embedding_inputs, "x", slice(None, -1)), _embedding_forward
                ),
                gradients=_embedding_gradients,
            ),
            replace(
                device_case(_embedding_inputs, _words_on_the_cpu, "words on the CPU, the table elsewhere"), note=ELSEWHERE
            ),
        ),
        hints=(
            "word 3 is which row of the table?",
            "what does a table do when it is indexed with a whole tensor of numbers?",
            "does the gradient of the result still reach W_embed, each row as often as its word was read?",
        ),
    ),
    exercise(
        "temporal_softmax_loss",
        difficulty=2,
        minutes=35,
        cases=(
            *_table(_loss_inputs, _loss, {"values on random inputs": {}, "nothing ignored": UNIGNORED}),
            Case("ignore_index left out", partial(_loss_inputs, **UNIGNORED), _loss_by_default),
            Case("word 0 ignored", _null_ignored, _loss, about="with ignore_index 0"),
            Case("captions without their first word", _shorter(_loss_inputs, "y", slice(1, None)), _loss),
            *_table(
                _loss_inputs,
                _loss,
                {
                    "a caption that is ignored altogether": {"ignore": "row"},
                    "everything ignored": {"ignore": "all"},
                    "batch of one": {"N": 1},
                    "one step": {"T": 1},
                    "square sizes": {"N": 4, "T": 4, "V": 4},
                    "long captions": {"T": 20},
                },
            ),
            Case("large scores", _far_off, _loss, about="that of each true word far below the others"),
            *_table(_loss_inputs, gradients_of(_loss), {"gradients": {}, "gradients, nothing ignored": UNIGNORED}),
            Case("float32", _single(_loss_inputs), _loss, about="in float32", **SINGLE),
            device_case(_loss_inputs, lambda lesson, inputs: _loss(lesson, inputs)["loss"]),
        ),
        hints=(
            "over which axis do the scores compete?",
            "which targets count, and by what is their sum divided?",
            "a loss per caption: a longer caption may cost more.",
            "ignore_index may also be None; then every target counts.",
        ),
    ),
)


# --- LSTM and attention ---


def _lstm_parameters(draw: Draw, D: int, H: int, attends: bool) -> Values:
    values = {"Wx": draw.normal(D, 4 * H, scale=0.7), "Wh": draw.normal(H, 4 * H, scale=0.7)}
    if attends:
        values["Wattn"] = draw.normal(H, 4 * H, scale=0.7)
    return {**values, "b": draw.normal(4 * H)}


def _lstm(lesson, inputs: Values) -> Any:
    """The layer with the given parameters; with Wattn among them it is the one that attends."""
    known = inputs.get("parameters", inputs)
    values = {name: known[name] for name in ("Wx", "Wh", "Wattn", "b") if name in known}
    kind = lesson.AttentionLSTM if "Wattn" in values else lesson.LSTM
    return _fill(kind(values["Wx"].shape[0], values["Wh"].shape[0]), **values)


def _lstm_step_inputs(draw: Draw, scale: float = 1.0, attends: bool = False, **sizes: int) -> Values:
    N, D, H = sizes_of(draw, sizes, "NDH")
    inputs = {"x": draw.normal(N, D, scale=scale), "prev_h": draw.normal(N, H), "prev_c": draw.normal(N, H)}
    if attends:
        inputs["attn"] = draw.normal(N, H)
    return {**inputs, **_lstm_parameters(draw, D, H, attends)}


def _lstm_arguments(inputs: Values) -> list[str]:
    return [name for name in ("x", "prev_h", "prev_c", "attn") if name in inputs]


def _lstm_step(lesson, inputs: Values) -> Values:
    arguments = [inputs[name] for name in _lstm_arguments(inputs)]
    return unpack(_lstm(lesson, inputs).step_forward(*arguments), "next_h", "next_c")


def _lstm_step_twice(lesson, inputs: Values) -> Values:
    """Two steps of one layer, the second from other states than the first has reached."""
    layer, arguments = _lstm(lesson, inputs), [inputs[name] for name in _lstm_arguments(inputs)]
    first = unpack(layer.step_forward(*arguments), "next_h", "next_c")
    second = unpack(layer.step_forward(*(-value for value in arguments)), "next_h of the second", "next_c of the second")
    return {**first, **second}


def _lstm_step_gradients(lesson, inputs: Values) -> Values:
    layer = _lstm(lesson, inputs)
    wanted = track(inputs, *_lstm_arguments(inputs))
    outputs = unpack(layer.step_forward(*wanted.values()), "next_h", "next_c")
    return with_gradients(outputs, {**wanted, **dict(layer.named_parameters())})


def _lstm_inputs(draw: Draw, scale: float = 1.0, **sizes: int) -> Values:
    N, T, D, H = sizes_of(draw, sizes, "NTDH")
    return {"x": draw.normal(N, T, D, scale=scale), "h0": draw.normal(N, H), **_lstm_parameters(draw, D, H, False)}


def _attending_inputs(draw: Draw, scale: float = 1.0, **sizes: int) -> Values:
    N, T, D, H, h, w = sizes_of(draw, sizes, "NTDHhw", 2, 8)
    return {"x": draw.normal(N, T, D, scale=scale), "A": draw.normal(N, H, h, w), **_lstm_parameters(draw, D, H, True)}


def _start(inputs: Values) -> str:
    return "A" if "A" in inputs else "h0"


def _lstm_forward(lesson, inputs: Values) -> Values:
    return {"hn": one_tensor(_lstm(lesson, inputs)(inputs["x"], inputs[_start(inputs)]))}


def _lstm_gradients(lesson, inputs: Values) -> Values:
    layer = _lstm(lesson, inputs)
    wanted = track(inputs, "x", _start(inputs))
    return with_gradients({"hn": layer(*wanted.values())}, {**wanted, **dict(layer.named_parameters())})


def _lstm_twice(lesson, inputs: Values) -> Values:
    layer, start, second = _lstm(lesson, inputs), inputs[_start(inputs)], inputs["x"].flip(0).roll(1, 2)
    return {
        "first call": layer(inputs["x"], start),
        "second call": layer(second, start),
        "third call, another start": layer(second, -start),
    }


def _attention_inputs(draw: Draw, scale: float = 1.0, **sizes: int) -> Values:
    N, H, h, w = sizes_of(draw, sizes, "NHhw")
    return {"prev_h": draw.normal(N, H, scale=scale), "A": draw.normal(N, H, h, w, scale=scale)}


def _attention(lesson, inputs: Values) -> Values:
    return unpack(lesson.dot_product_attention(inputs["prev_h"], inputs["A"]), "attn", "attn_weights")


def _attention_of_transposed(lesson, inputs: Values) -> Values:
    """Of a grid with its rows and columns exchanged in memory."""
    return _attention(lesson, {**inputs, "A": inputs["A"].transpose(2, 3)})


def _step_cases(draw: Callable[..., Values], course: str) -> tuple[Case, ...]:
    """The cases of one step, of both LSTMs."""
    return (
        *_layers(
            draw,
            _lstm_step,
            "next_c",
            course,
            {"as many images as sizes": {"N": 4, "D": 4, "H": 4}, "large values": {"scale": 10.0}},
            Case("two steps of one layer", draw, _lstm_step_twice),
            Case("a full cell", _scaled(draw, "prev_c", times=20), _lstm_step, about="grown over many steps"),
            gradients=_lstm_step_gradients,
        ),
        _huge(draw, _lstm_step_gradients),
    )


def _sequence_cases(draw: Callable[..., Values], course: str, grid: Values, rows: Mapping[str, Values]) -> tuple[Case, ...]:
    """The cases of a whole sequence, of both LSTMs. grid: of long sequences."""
    long = {"N": 2, "T": 30, "D": 2, "H": 2, **grid}
    return (
        *_layers(
            draw,
            _lstm_forward,
            "hn",
            course,
            {"one step": {"T": 1}, "a long sequence": long, "large values": {"scale": 10.0}, **rows},
            Case("two calls of one layer", draw, _lstm_twice),
            Case("a cell that grows", partial(_scaled(draw, "b", plus=5), T=9), _lstm_forward, about="all gates open, T = 9"),
            *_table(draw, _lstm_gradients, {"gradients of a long sequence": {**long, "T": 20}}),
            gradients=_lstm_gradients,
        ),
        _huge(draw, _lstm_gradients),
    )


STEP_HINTS = (
    "which block of a belongs to which gate? The docstring of the class has the order.",
    "three gates lie between 0 and 1, the proposal g between -1 and 1: which functions do that?",
    "the cell keeps a part of itself and takes in a part of g: which gates decide about the two?",
    "what leaves the cell is squeezed before the output gate lets it pass.",
)
RECURRENT = (
    exercise(
        "LSTM.step_forward",
        difficulty=2,
        minutes=40,
        cases=_step_cases(_lstm_step_inputs, "lstm_step_forward"),
        hints=STEP_HINTS,
        whole_calls={name: f"{name} {INSIDE.format('exercise', 'gates')}" for name in ("nn.LSTMCell", "torch.lstm_cell")},
    ),
    exercise(
        "LSTM.forward",
        difficulty=1,
        minutes=20,
        needs=("LSTM.step_forward",),
        cases=_sequence_cases(_lstm_inputs, "lstm_forward", {}, {"square sizes": {**EQUAL, "T": 3}}),
        hints=(
            "two states travel from step to step: which one is given, which one starts from nothing?",
            "collect the hidden state after each step; which axis of the result counts the steps?",
            "what does the next call of the same layer start from?",
        ),
        whole_calls={name: f"{name} {INSIDE.format('exercise', 'gates')}" for name in ("nn.LSTM", "torch.lstm")},
    ),
    exercise(
        "dot_product_attention",
        difficulty=2,
        minutes=40,
        cases=(
            *_layers(
                _attention_inputs,
                _attention,
                "attn",
                "dot_product_attention",
                {
                    "a grid of one cell": {"h": 1, "w": 1},
                    "one image, one cell": {"N": 1, "h": 1, "w": 1},
                    "one hidden unit": {"H": 1},
                    "square sizes": {"N": 4, "H": 4, "h": 4, "w": 4},
                },
                Case(  # the course's captioner has scores of 700
                    "large values",
                    partial(_single(_attention_inputs), scale=25.0),
                    _attention,
                    about="scores in the hundreds, float32",
                    rtol=1e-2,
                    atol=1e-2,
                ),
            ),
            Case("a transposed grid", _attention_inputs, _attention_of_transposed, note=STRIDES),
        ),
        hints=(
            "flatten the grid to cells: what are the shapes of the scores and of the weights?",
            "over which axis do the weights sum to 1, and by what are the scores divided before?",
            "the answer is a sum over the cells, each with its weight; a batch of one stays a batch.",
        ),
    ),
    exercise(
        "AttentionLSTM.step_forward",
        difficulty=1,
        minutes=20,
        cases=_step_cases(partial(_lstm_step_inputs, attends=True), "attention_lstm_step_forward"),
        hints=("a has four terms here: which one is new?", *STEP_HINTS[:2]),
    ),
    exercise(
        "AttentionLSTM.forward",
        difficulty=2,
        minutes=35,
        needs=("dot_product_attention", "AttentionLSTM.step_forward"),
        cases=_sequence_cases(
            _attending_inputs,
            "attention_lstm_forward",
            {"h": 2, "w": 1},
            {
                "a grid of one cell": {"h": 1, "w": 1},
                "a large grid": {"h": 6, "w": 7},
                "square sizes": {**EQUAL, "T": 3, "h": 3, "w": 3},
            },
        ),
        hints=(
            "what do both states start from?",
            "the image is asked anew before every step: with which state?",
            "after T steps, how often was the attention computed, and what had it seen each time?",
        ),
    ),
)
