"""The cases of the captioning exercises (`rnn_lstm_captioning.py`).

Axes as in the lesson: N batch, T time, D input features, H hidden size, V vocabulary, W word-vector size; h, w rows and
columns of the feature grid. The course's own tensors come last: they are so even that different mistakes look alike on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl.arguments import check_tensors
from dl.checks.devices import device_case
from dl.checks.exercise import Case, Draw, Exercise, Values, WrongReturn, describe, published, track, unpack, with_gradients
from dl.checks.published import expected

TOPIC = "captioning"
SINGLE = {"rtol": 1e-4, "atol": 1e-5}  # tolerances where everything is float32


def _single(draw: Callable[[Draw], Values]) -> Callable[[Draw], Values]:
    """The same inputs in float32."""

    def single(d: Draw) -> Values:
        return {key: v.float() if isinstance(v, Tensor) and v.is_floating_point() else v for key, v in draw(d).items()}

    return single


def _first(run: Callable[..., Values], name: str) -> Callable[..., object]:
    """One of the outputs, for the question where it lies."""
    return lambda lesson, inputs: run(lesson, inputs)[name]


def _layers(draw: Callable[..., Values], run: Callable, gradients: Callable, output: str, *more: Case) -> tuple[Case, ...]:
    """Probes that every differentiable exercise gets; `draw` takes sizes by keyword."""
    return (
        Case("values on random inputs", draw, run),
        Case("batch of one", lambda d: draw(d, N=1), run, about="with N = 1"),
        *more,
        Case("gradients", draw, gradients),
        Case("float32", _single(draw), run, about="in float32", **SINGLE),
        device_case(draw, _first(run, output)),
    )


def _one(returned: object) -> Tensor:
    """What was returned, if it is one tensor."""
    if not isinstance(returned, Tensor):
        raise WrongReturn(f"it returned {describe(returned)}; wanted one tensor")
    return returned


# --- Vanilla RNN ---

RNN_STEP = ("x", "prev_h", "Wx", "Wh", "b")
RNN_ALL = ("x", "h0", "Wx", "Wh", "b")


def _step_inputs(draw: Draw, N: int | None = None, D: int | None = None, H: int | None = None, scale: float = 1.0) -> Values:
    sizes = draw.sizes(3)
    N, D, H = N or sizes[0], D or sizes[1], H or sizes[2]
    return {
        "x": draw.normal(N, D, scale=scale),
        "prev_h": draw.normal(N, H),
        "Wx": draw.normal(D, H, scale=0.6),
        "Wh": draw.normal(H, H, scale=0.6),
        "b": draw.normal(H),
    }


def _step_forward(lesson, inputs: Values) -> Values:
    returned = unpack(lesson.rnn_step_forward(*(inputs[name] for name in RNN_STEP)), "next_h", "cache")
    return {"next_h": returned["next_h"]}


def _step_gradients(lesson, inputs: Values) -> Values:
    wanted = track(inputs, *RNN_STEP)
    return with_gradients(_step_forward(lesson, inputs), wanted)


def _step_backward_inputs(draw: Draw, upstream: float = 1.0, **sizes) -> Values:
    """upstream: size of the gradient that arrives."""
    inputs = _step_inputs(draw, **sizes)
    return {**inputs, "dnext_h": draw.normal(*inputs["prev_h"].shape, scale=upstream)}


def _step_backward(lesson, inputs: Values) -> Values:
    _, cache = lesson.rnn_step_forward(*(inputs[name] for name in RNN_STEP))
    return unpack(lesson.rnn_step_backward(inputs["dnext_h"], cache), "dx", "dprev_h", "dWx", "dWh", "db")


def _rnn_inputs(
    draw: Draw, N: int | None = None, T: int | None = None, D: int | None = None, H: int | None = None, scale: float = 1.0
) -> Values:
    sizes = draw.sizes(4)
    N, T, D, H = N or sizes[0], T or sizes[1], D or sizes[2], H or sizes[3]
    return {
        "x": draw.normal(N, T, D, scale=scale),
        "h0": draw.normal(N, H),
        "Wx": draw.normal(D, H, scale=0.6),
        "Wh": draw.normal(H, H, scale=0.8 / math.sqrt(H)),
        "b": draw.normal(H, scale=0.5),
    }


def _rnn_forward(lesson, inputs: Values) -> Values:
    returned = unpack(lesson.rnn_forward(*(inputs[name] for name in RNN_ALL)), "h", "cache")
    return {"h": returned["h"]}


def _rnn_gradients(lesson, inputs: Values) -> Values:
    wanted = track(inputs, *RNN_ALL)
    return with_gradients(_rnn_forward(lesson, inputs), wanted)


def _rnn_backward_inputs(draw: Draw, steps: slice | None = None, upstream: float = 1.0, **sizes) -> Values:
    """steps: those whose hidden state reaches the loss directly (default: all). upstream: size of the arriving gradient."""
    inputs = _rnn_inputs(draw, **sizes)
    N, T, _ = inputs["x"].shape
    dh = draw.normal(N, T, inputs["h0"].shape[1], scale=upstream)
    if steps is not None:
        kept = torch.zeros_like(dh)
        kept[:, steps] = dh[:, steps]
        dh = kept
    return {**inputs, "dh": dh}


def _rnn_backward(lesson, inputs: Values) -> Values:
    _, cache = lesson.rnn_forward(*(inputs[name] for name in RNN_ALL))
    return unpack(lesson.rnn_backward(inputs["dh"], cache), "dx", "dh0", "dWx", "dWh", "db")


BY_AUTOGRAD = "autograd finds the same gradients; this exercise is about deriving them by hand"
VANILLA = (
    Exercise(
        "rnn_step_forward",
        TOPIC,
        cases=(
            *_layers(
                _step_inputs,
                _step_forward,
                _step_gradients,
                "next_h",
                Case(
                    "as many pictures as sizes",
                    lambda d: _step_inputs(d, N=3, D=3, H=3),
                    _step_forward,
                    about="with N = D = H",
                ),
                Case("large values", lambda d: _step_inputs(d, scale=1e3), _step_forward),
            ),
            published(TOPIC, "rnn_step_forward", _step_forward),
        ),
        hints=(
            "which three terms are added before the tanh?",
            "each row of x meets Wx, each row of prev_h meets Wh, and b is the same for all rows.",
            "write the shape behind each term: which products give (N, H)?",
        ),
        whole_calls={"nn.RNNCell": "nn.RNNCell does the whole step; writing the equation shows what is inside"},
    ),
    Exercise(
        "rnn_step_backward",
        TOPIC,
        partner="rnn_step_forward",
        cases=(
            Case("values on random inputs", _step_backward_inputs, _step_backward),
            Case("batch of one", lambda d: _step_backward_inputs(d, N=1), _step_backward, about="with N = 1"),
            Case(
                "as many pictures as sizes",
                lambda d: _step_backward_inputs(d, N=3, D=3, H=3),
                _step_backward,
                about="with N = D = H",
            ),
            Case("large values", lambda d: _step_backward_inputs(d, scale=1e3), _step_backward),
            Case("a large gradient", lambda d: _step_backward_inputs(d, upstream=1e3), _step_backward),
            Case("float32", _single(_step_backward_inputs), _step_backward, about="in float32", **SINGLE),
            device_case(_step_backward_inputs, _first(_step_backward, "dWx")),
        ),
        hints=(
            "go backwards through the equation: what is the gradient at the argument of the tanh?",
            "each factor of a product gets the arriving gradient times the other factor: which transposes fit?",
            "b was added to every row of the batch: what does that mean for its gradient?",
        ),
        whole_calls={"torch.autograd.grad": BY_AUTOGRAD},
    ),
    Exercise(
        "rnn_forward",
        TOPIC,
        needs=("rnn_step_forward",),
        cases=(
            *_layers(
                _rnn_inputs,
                _rnn_forward,
                _rnn_gradients,
                "h",
                Case("one step", lambda d: _rnn_inputs(d, T=1), _rnn_forward, about="with T = 1"),
                Case("square sizes", lambda d: _rnn_inputs(d, N=3, T=3, D=3, H=3), _rnn_forward, about="with N = T = D = H"),
                Case("a long sequence", lambda d: _rnn_inputs(d, N=2, T=30, D=2, H=3), _rnn_forward, about="with T = 30"),
                Case(
                    "gradients of a long sequence",
                    lambda d: _rnn_inputs(d, N=2, T=20, D=2, H=3),
                    _rnn_gradients,
                    about="with T = 20",
                ),
                Case("large values", lambda d: _rnn_inputs(d, scale=1e3), _rnn_forward),
            ),
            published(TOPIC, "rnn_forward", _rnn_forward),
        ),
        hints=(
            "which state does the first step start from, and which the second?",
            "collect the state after each step; which axis of the result counts the steps?",
            "(N, T, H): x[:, t] is the input of step t, h[:, t] the state after it.",
        ),
        whole_calls={
            "nn.RNN": "nn.RNN does the whole sequence; writing the loop shows what is inside",
            "torch.rnn_tanh": "torch.rnn_tanh does the whole sequence; writing the loop shows what is inside",
        },
    ),
    Exercise(
        "rnn_backward",
        TOPIC,
        needs=("rnn_step_forward", "rnn_step_backward"),
        partner="rnn_forward",
        cases=(
            Case("values on random inputs", _rnn_backward_inputs, _rnn_backward),
            Case("one step", lambda d: _rnn_backward_inputs(d, T=1), _rnn_backward, about="with T = 1"),
            Case(
                "loss of the last state only",
                lambda d: _rnn_backward_inputs(d, slice(-1, None), T=4),
                _rnn_backward,
                about="dh is zero but for the last step",
            ),
            Case(
                "loss of the first state only",
                lambda d: _rnn_backward_inputs(d, slice(0, 1), T=4),
                _rnn_backward,
                about="dh is zero but for the first step",
            ),
            Case("batch of one", lambda d: _rnn_backward_inputs(d, N=1), _rnn_backward, about="with N = 1"),
            Case(
                "square sizes",
                lambda d: _rnn_backward_inputs(d, N=3, T=3, D=3, H=3),
                _rnn_backward,
                about="with N = T = D = H",
            ),
            Case(
                "a long sequence", lambda d: _rnn_backward_inputs(d, N=2, T=30, D=2, H=3), _rnn_backward, about="with T = 30"
            ),
            Case("a large gradient", lambda d: _rnn_backward_inputs(d, upstream=1e3), _rnn_backward),
            Case("float32", _single(_rnn_backward_inputs), _rnn_backward, about="in float32", **SINGLE),
            device_case(_rnn_backward_inputs, _first(_rnn_backward, "dWx")),
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


def _embedding_inputs(draw: Draw, N: int | None = None, T: int | None = None, V: int | None = None) -> Values:
    sizes = draw.sizes(4)
    N, T, W = N or sizes[0], T or sizes[1], sizes[2]
    V = V or sizes[3] + 4
    x = draw.integers(0, V, N, T)
    x.view(-1)[0] = 0  # the first and the last row of the table are asked for
    x.view(-1)[-1] = V - 1
    return {"x": x, "W_embed": draw.normal(V, W)}


def _embedding(lesson, inputs: Values) -> nn.Module:
    parameters = inputs.get("parameters", inputs)
    return _fill(lesson.WordEmbedding(*parameters["W_embed"].shape), W_embed=parameters["W_embed"])


def _fill(layer: nn.Module, **values: Tensor) -> nn.Module:
    """The layer with these parameters, on their device and in their dtype."""
    layer.to(next(iter(values.values())))
    for name, value in values.items():
        getattr(layer, name).data.copy_(value)
    return layer


def _embedding_forward(lesson, inputs: Values) -> Values:
    return {"out": _one(_embedding(lesson, inputs)(inputs["x"]))}


def _embedding_after_step(lesson, inputs: Values) -> Values:
    """Before and after the table has changed, as in training."""
    layer = _embedding(lesson, inputs)
    before = _one(layer(inputs["x"])).detach().clone()
    layer.W_embed.data.mul_(-2)
    return {"before": before, "after": _one(layer(inputs["x"]))}


def _embedding_gradients(lesson, inputs: Values) -> Values:
    layer = _embedding(lesson, inputs)
    return with_gradients({"out": layer(inputs["x"])}, {"W_embed": layer.W_embed})


def _long_words(draw: Draw) -> Values:
    """Words with vectors of every length, from nearly nothing to thousands."""
    inputs = _embedding_inputs(draw, V=6)
    return {**inputs, "W_embed": inputs["W_embed"] * 10.0 ** torch.arange(-2, 4, dtype=torch.float64).unsqueeze(1)}


def _loss_inputs(
    draw: Draw, N: int | None = None, T: int | None = None, V: int | None = None, scale: float = 1.0, ignore: str = "some"
) -> Values:
    """ignore: "some" targets are the ignored word, "all" are, "row": all of the first caption, or "none": None is given."""
    sizes = draw.sizes(3, 3, 8)
    N, T, V = N or sizes[0], T or sizes[1], V or sizes[2]
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
    return {"loss": lesson.temporal_softmax_loss(inputs["x"], inputs["y"], inputs["ignore_index"])}


def _loss_by_default(lesson, inputs: Values) -> Values:
    return {"loss": lesson.temporal_softmax_loss(inputs["x"], inputs["y"])}


def _loss_gradients(lesson, inputs: Values) -> Values:
    wanted = track(inputs, "x")
    return with_gradients(_loss(lesson, inputs), wanted)


def _far_off(draw: Draw) -> Values:
    inputs = _loss_inputs(draw, scale=1e3)
    return {**inputs, "x": inputs["x"].scatter(2, inputs["y"].clamp(min=0)[..., None], -1e4)}


def _null_ignored(draw: Draw) -> Values:
    inputs = _loss_inputs(draw)
    inputs["y"][:, -1] = 0
    return {**inputs, "ignore_index": 0}


WORDS = (
    Exercise(
        "WordEmbedding.forward",
        TOPIC,
        cases=(
            *_layers(
                _embedding_inputs,
                _embedding_forward,
                _embedding_gradients,
                "out",
                Case("one step", lambda d: _embedding_inputs(d, T=1), _embedding_forward, about="with T = 1"),
                Case(
                    "as many captions as words",
                    lambda d: _embedding_inputs(d, N=4, T=4),
                    _embedding_forward,
                    about="with N = T",
                ),
                Case("vectors of all lengths", _long_words, _embedding_forward),
                Case(
                    "many words", lambda d: _embedding_inputs(d, N=20, T=20, V=400), _embedding_forward, about="with V = 400"
                ),
                Case("a changed table", _embedding_inputs, _embedding_after_step),
            ),
            published(TOPIC, "word_embedding_forward", _embedding_forward),
        ),
        hints=(
            "word 3 is which row of the table?",
            "what does a table do when it is indexed with a whole tensor of numbers?",
            "does the gradient of the result still reach W_embed, each row as often as its word was read?",
        ),
    ),
    Exercise(
        "temporal_softmax_loss",
        TOPIC,
        cases=(
            Case("values on random inputs", _loss_inputs, _loss),
            Case("nothing ignored", lambda d: _loss_inputs(d, ignore="none"), _loss, about="with ignore_index None"),
            Case("ignore_index left out", lambda d: _loss_inputs(d, ignore="none"), _loss_by_default),
            Case("word 0 ignored", _null_ignored, _loss, about="with ignore_index 0"),
            Case(
                "a caption that is ignored altogether",
                lambda d: _loss_inputs(d, ignore="row"),
                _loss,
                about="all targets of caption 0 are the ignored word",
            ),
            Case(
                "everything ignored", lambda d: _loss_inputs(d, ignore="all"), _loss, about="all targets are the ignored word"
            ),
            Case("batch of one", lambda d: _loss_inputs(d, N=1), _loss, about="with N = 1"),
            Case("one step", lambda d: _loss_inputs(d, T=1), _loss, about="with T = 1"),
            Case("square sizes", lambda d: _loss_inputs(d, N=4, T=4, V=4), _loss, about="with N = T = V"),
            Case("long captions", lambda d: _loss_inputs(d, T=20), _loss, about="with T = 20"),
            Case("large scores", _far_off, _loss, about="that of each true word far below the others"),
            Case("gradients", _loss_inputs, _loss_gradients),
            Case(
                "gradients, nothing ignored",
                lambda d: _loss_inputs(d, ignore="none"),
                _loss_gradients,
                about="with ignore_index None",
            ),
            Case("float32", _single(_loss_inputs), _loss, about="in float32", **SINGLE),
            device_case(_loss_inputs, _first(_loss, "loss")),
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


def _lstm_parameters(draw: Draw, D: int, H: int, attends: bool = False) -> Values:
    values = {"Wx": draw.normal(D, 4 * H, scale=0.7), "Wh": draw.normal(H, 4 * H, scale=0.7)}
    if attends:
        values["Wattn"] = draw.normal(H, 4 * H, scale=0.7)
    return {**values, "b": draw.normal(4 * H)}


def _lstm(lesson, inputs: Values) -> nn.Module:
    """The layer with the given parameters; with Wattn among them it is the one that attends."""
    known = inputs.get("parameters", inputs)
    values = {name: known[name] for name in ("Wx", "Wh", "Wattn", "b") if name in known}
    kind = lesson.AttentionLSTM if "Wattn" in values else lesson.LSTM
    return _fill(kind(values["Wx"].shape[0], values["Wh"].shape[0]), **values)


def _lstm_step_inputs(
    draw: Draw, N: int | None = None, D: int | None = None, H: int | None = None, scale: float = 1.0, attends: bool = False
) -> Values:
    sizes = draw.sizes(3)
    N, D, H = N or sizes[0], D or sizes[1], H or sizes[2]
    inputs = {"x": draw.normal(N, D, scale=scale), "prev_h": draw.normal(N, H), "prev_c": draw.normal(N, H)}
    if attends:
        inputs["attn"] = draw.normal(N, H)
    return {**inputs, **_lstm_parameters(draw, D, H, attends)}


def _full_cell(draw: Callable[..., Values]) -> Callable[[Draw], Values]:
    """A step's inputs with a cell state that has grown over many steps."""

    def full(d: Draw) -> Values:
        inputs = draw(d)
        return {**inputs, "prev_c": inputs["prev_c"] * 20}

    return full


def _lstm_step_arguments(inputs: Values) -> tuple[str, ...]:
    return ("x", "prev_h", "prev_c", "attn") if "attn" in inputs else ("x", "prev_h", "prev_c")


def _lstm_step(lesson, inputs: Values) -> Values:
    arguments = [inputs[name] for name in _lstm_step_arguments(inputs)]
    return unpack(_lstm(lesson, inputs).step_forward(*arguments), "next_h", "next_c")


def _lstm_step_twice(lesson, inputs: Values) -> Values:
    """Two steps of one layer, the second from other states than the first has reached."""
    layer, arguments = _lstm(lesson, inputs), [inputs[name] for name in _lstm_step_arguments(inputs)]
    first = unpack(layer.step_forward(*arguments), "next_h", "next_c")
    second = unpack(layer.step_forward(*(-value for value in arguments)), "next_h of the second", "next_c of the second")
    return {**first, **second}


def _lstm_step_gradients(lesson, inputs: Values) -> Values:
    layer, names = _lstm(lesson, inputs), _lstm_step_arguments(inputs)
    wanted = track(inputs, *names)
    outputs = unpack(layer.step_forward(*(inputs[name] for name in names)), "next_h", "next_c")
    return with_gradients(outputs, {**wanted, **dict(layer.named_parameters())})


def _attending_step_inputs(draw: Draw, **sizes) -> Values:
    return _lstm_step_inputs(draw, attends=True, **sizes)


def _lstm_inputs(
    draw: Draw, N: int | None = None, T: int | None = None, D: int | None = None, H: int | None = None, scale: float = 1.0
) -> Values:
    sizes = draw.sizes(4)
    N, T, D, H = N or sizes[0], T or sizes[1], D or sizes[2], H or sizes[3]
    return {"x": draw.normal(N, T, D, scale=scale), "h0": draw.normal(N, H), **_lstm_parameters(draw, D, H)}


def _attending_inputs(
    draw: Draw,
    N: int | None = None,
    T: int | None = None,
    D: int | None = None,
    H: int | None = None,
    h: int | None = None,
    w: int | None = None,
    scale: float = 1.0,
) -> Values:
    sizes = draw.sizes(6, 2, 8)
    N, T, D, H, h, w = (given or size for given, size in zip((N, T, D, H, h, w), sizes, strict=True))
    return {"x": draw.normal(N, T, D, scale=scale), "A": draw.normal(N, H, h, w), **_lstm_parameters(draw, D, H, True)}


def _lstm_start(inputs: Values) -> str:
    return "A" if "A" in inputs else "h0"


def _lstm_forward(lesson, inputs: Values) -> Values:
    return {"hn": _one(_lstm(lesson, inputs)(inputs["x"], inputs[_lstm_start(inputs)]))}


def _lstm_gradients(lesson, inputs: Values) -> Values:
    layer = _lstm(lesson, inputs)
    wanted = track(inputs, "x", _lstm_start(inputs))
    return with_gradients({"hn": layer(*wanted.values())}, {**wanted, **dict(layer.named_parameters())})


def _twice(draw: Callable[..., Values]) -> Callable[[Draw], Values]:
    """A layer's inputs, and a second sequence of the same sizes."""

    def both(d: Draw) -> Values:
        inputs = draw(d)
        return {**inputs, "second": d.normal(*inputs["x"].shape)}

    return both


def _lstm_twice(lesson, inputs: Values) -> Values:
    layer, start = _lstm(lesson, inputs), inputs[_lstm_start(inputs)]
    return {
        "first call": layer(inputs["x"], start),
        "second call": layer(inputs["second"], start),
        "third call, another start": layer(inputs["second"], -start),
    }


def _open_gates(draw: Callable[..., Values]) -> Callable[[Draw], Values]:
    """A layer's inputs with a bias that opens all gates, so that the cell grows from step to step."""

    def open_(d: Draw) -> Values:
        inputs = draw(d)
        return {**inputs, "b": inputs["b"] + 5}

    return open_


def _attention_inputs(
    draw: Draw, N: int | None = None, H: int | None = None, h: int | None = None, w: int | None = None, scale: float = 1.0
) -> Values:
    sizes = draw.sizes(4)
    N, H, h, w = N or sizes[0], H or sizes[1], h or sizes[2], w or sizes[3]
    return {"prev_h": draw.normal(N, H, scale=scale), "A": draw.normal(N, H, h, w, scale=scale)}


def _attention(lesson, inputs: Values) -> Values:
    return unpack(lesson.dot_product_attention(inputs["prev_h"], inputs["A"]), "attn", "attn_weights")


def _attention_gradients(lesson, inputs: Values) -> Values:
    wanted = track(inputs, "prev_h", "A")
    return with_gradients(_attention(lesson, inputs), wanted)


STEP_HINTS = (
    "which block of a belongs to which gate? The docstring of the class has the order.",
    "three gates lie between 0 and 1, the proposal g between -1 and 1: which functions do that?",
    "the cell keeps a part of itself and takes in a part of g: which gates decide about the two?",
    "what leaves the cell is squeezed before the output gate lets it pass.",
)
LIBRARY_LSTM = "does the whole exercise; writing the gates shows what is inside"
RECURRENT = (
    Exercise(
        "LSTM.step_forward",
        TOPIC,
        cases=(
            *_layers(
                _lstm_step_inputs,
                _lstm_step,
                _lstm_step_gradients,
                "next_c",
                Case(
                    "as many pictures as sizes",
                    lambda d: _lstm_step_inputs(d, N=4, D=4, H=4),
                    _lstm_step,
                    about="with N = D = H",
                ),
                Case("two steps of one layer", _lstm_step_inputs, _lstm_step_twice),
                Case("a full cell", _full_cell(_lstm_step_inputs), _lstm_step),
                Case("large values", lambda d: _lstm_step_inputs(d, scale=1e3), _lstm_step),
            ),
            published(TOPIC, "lstm_step_forward", _lstm_step),
        ),
        hints=STEP_HINTS,
        whole_calls={"nn.LSTMCell": f"nn.LSTMCell {LIBRARY_LSTM}", "torch.lstm_cell": f"torch.lstm_cell {LIBRARY_LSTM}"},
    ),
    Exercise(
        "LSTM.forward",
        TOPIC,
        needs=("LSTM.step_forward",),
        cases=(
            *_layers(
                _lstm_inputs,
                _lstm_forward,
                _lstm_gradients,
                "hn",
                Case("one step", lambda d: _lstm_inputs(d, T=1), _lstm_forward, about="with T = 1"),
                Case("square sizes", lambda d: _lstm_inputs(d, N=3, T=3, D=3, H=3), _lstm_forward, about="with N = T = D = H"),
                Case("two calls of one layer", _twice(_lstm_inputs), _lstm_twice),
                Case("a cell that grows", _open_gates(lambda d: _lstm_inputs(d, T=9)), _lstm_forward),
                Case("a long sequence", lambda d: _lstm_inputs(d, N=2, T=30, D=2, H=2), _lstm_forward, about="with T = 30"),
                Case(
                    "gradients of a long sequence",
                    lambda d: _lstm_inputs(d, N=2, T=20, D=2, H=2),
                    _lstm_gradients,
                    about="with T = 20",
                ),
                Case("large values", lambda d: _lstm_inputs(d, scale=1e3), _lstm_forward),
            ),
            published(TOPIC, "lstm_forward", _lstm_forward),
        ),
        hints=(
            "two states travel from step to step: which one is given, which one starts from nothing?",
            "collect the hidden state after each step; which axis of the result counts the steps?",
            "what does the next call of the same layer start from?",
        ),
        whole_calls={"nn.LSTM": f"nn.LSTM {LIBRARY_LSTM}", "torch.lstm": f"torch.lstm {LIBRARY_LSTM}"},
    ),
    Exercise(
        "dot_product_attention",
        TOPIC,
        cases=(
            *_layers(
                _attention_inputs,
                _attention,
                _attention_gradients,
                "attn",
                Case("a grid of one cell", lambda d: _attention_inputs(d, h=1, w=1), _attention, about="with h = w = 1"),
                Case(
                    "one picture, one cell",
                    lambda d: _attention_inputs(d, N=1, h=1, w=1),
                    _attention,
                    about="with N = h = w = 1",
                ),
                Case("one hidden unit", lambda d: _attention_inputs(d, H=1), _attention, about="with H = 1"),
                Case(
                    "square sizes", lambda d: _attention_inputs(d, N=4, H=4, h=4, w=4), _attention, about="with N = H = h = w"
                ),
                Case("large values", lambda d: _attention_inputs(d, scale=1e3), _attention),
            ),
            published(TOPIC, "dot_product_attention", _attention),
        ),
        hints=(
            "flatten the grid to cells: what are the shapes of the scores and of the weights?",
            "over which axis do the weights sum to 1, and by what are the scores divided before?",
            "the answer is a sum over the cells, each with its weight; a batch of one stays a batch.",
        ),
    ),
    Exercise(
        "AttentionLSTM.step_forward",
        TOPIC,
        cases=(
            *_layers(
                _attending_step_inputs,
                _lstm_step,
                _lstm_step_gradients,
                "next_c",
                Case(
                    "as many pictures as sizes",
                    lambda d: _attending_step_inputs(d, N=4, D=4, H=4),
                    _lstm_step,
                    about="with N = D = H",
                ),
                Case("two steps of one layer", _attending_step_inputs, _lstm_step_twice),
                Case("a full cell", _full_cell(_attending_step_inputs), _lstm_step),
                Case("large values", lambda d: _attending_step_inputs(d, scale=1e3), _lstm_step),
            ),
            published(TOPIC, "attention_lstm_step_forward", _lstm_step),
        ),
        hints=("a has four terms here: which one is new?", *STEP_HINTS[:2]),
    ),
    Exercise(
        "AttentionLSTM.forward",
        TOPIC,
        needs=("dot_product_attention", "AttentionLSTM.step_forward"),
        cases=(
            *_layers(
                _attending_inputs,
                _lstm_forward,
                _lstm_gradients,
                "hn",
                Case("one step", lambda d: _attending_inputs(d, T=1), _lstm_forward, about="with T = 1"),
                Case("a grid of one cell", lambda d: _attending_inputs(d, h=1, w=1), _lstm_forward, about="with h = w = 1"),
                Case("a large grid", lambda d: _attending_inputs(d, h=6, w=7), _lstm_forward, about="6 by 7 cells"),
                Case(
                    "square sizes",
                    lambda d: _attending_inputs(d, N=3, T=3, D=3, H=3, h=3, w=3),
                    _lstm_forward,
                    about="with all sizes equal",
                ),
                Case("two calls of one layer", _twice(_attending_inputs), _lstm_twice),
                Case("a cell that grows", _open_gates(lambda d: _attending_inputs(d, T=9)), _lstm_forward),
                Case(
                    "a long sequence",
                    lambda d: _attending_inputs(d, N=2, T=30, D=2, H=2, h=2, w=1),
                    _lstm_forward,
                    about="with T = 30",
                ),
                Case(
                    "gradients of a long sequence",
                    lambda d: _attending_inputs(d, N=2, T=20, D=2, H=2, h=2, w=1),
                    _lstm_gradients,
                    about="with T = 20",
                ),
                Case("large values", lambda d: _attending_inputs(d, scale=1e3), _lstm_forward),
            ),
            published(TOPIC, "attention_lstm_forward", _lstm_forward),
        ),
        hints=(
            "what do both states start from?",
            "the picture is asked anew before every step: with which state?",
            "after T steps, how often was the attention computed, and what had it seen each time?",
        ),
    ),
)


# --- The captioner ---

CHANNELS = 400
CELLS = {"rnn": "an RNN captioner", "lstm": "an LSTM captioner", "attn": "an attention captioner"}
PARTS = ("feature_projection", "word_embedding", "recurrent", "output_projection")
NEEDED = (
    "rnn_step_forward",
    "rnn_forward",
    "WordEmbedding.forward",
    "temporal_softmax_loss",
    "LSTM.step_forward",
    "LSTM.forward",
    "dot_product_attention",
    "AttentionLSTM.step_forward",
    "AttentionLSTM.forward",
    "CaptioningRNN.__init__",
)


class _Encoder(nn.Module):
    """Stands in for `ImageEncoder`, which takes seconds to build: each feature is a mixture of a cell's mean colours."""

    out_channels = CHANNELS

    def __init__(self, pretrained: bool = True, verbose: bool = True) -> None:
        super().__init__()
        self.mixtures = nn.Parameter(_mixtures(torch.get_default_dtype()))
        for name in ("mean", "std"):
            self.register_buffer(name, torch.ones(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, height, width) -> (N, 400, height / 32, width / 32)."""
        check_tensors("ImageEncoder", images=(images, "N 3 height width"))
        if images.dtype == torch.uint8:
            images = images.to(self.mixtures.dtype) / 255
        return torch.einsum("nchw,kc->nkhw", F.avg_pool2d(images, 32, ceil_mode=True), self.mixtures)


def _mixtures(dtype: torch.dtype) -> Tensor:
    steps = torch.arange(3 * CHANNELS, dtype=torch.float64).view(CHANNELS, 3)
    return torch.sin(steps**2).to(dtype)


def _vocabulary(size: int, start: int) -> dict[str, int]:
    """Words with their indices; <START> has index `start`."""
    words = [f"word{i}" for i in range(size - 3)]
    words.insert(0, "<NULL>")
    words.insert(start, "<START>")
    words.insert(start + 2, "<END>")
    return {word: index for index, word in reversed(list(enumerate(words)))}  # words come in any order


def _captioner(lesson, inputs: Values) -> nn.Module:
    """A model of the given sizes, in float64 and eval mode, with parameters drawn from the given seed, part by part."""
    model = _build(lesson, inputs).double().eval()
    generator = torch.Generator().manual_seed(inputs["seed"])
    for name in PARTS:
        part = getattr(model, name, None)
        if not isinstance(part, nn.Module):
            raise WrongReturn(f"the model has no layer called {name}")
        for parameter in part.parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data = values * _scale(name, parameter.shape)
    return model


def _scale(part: str, shape: torch.Size) -> float:
    """Of a parameter's random numbers, such that neither gates nor words are decided by one term alone."""
    if len(shape) < 2:
        return 0.3
    inputs = {"feature_projection": shape[-1], "output_projection": 1, "word_embedding": 1, "recurrent": shape[0]}[part]
    return 1.5 / math.sqrt(inputs)


def _build(lesson, inputs: Values) -> nn.Module:
    with lesson.patched({"ImageEncoder": _Encoder}):
        return lesson.CaptioningRNN(
            dict(inputs["vocabulary"]),
            CHANNELS,
            inputs["W"],
            inputs["H"],
            "".join(list(inputs["cell_type"])),
            image_encoder_pretrained=False,
            ignore_index=inputs["ignore_index"],
        )


def _model_inputs(draw: Draw, cell_type: str, V: int | None = None) -> Values:
    W, H = draw.sizes(2, 3, 7)
    V = V or draw.integer(8, 12)
    return {
        "cell_type": cell_type,
        "W": W,
        "H": H,
        "vocabulary": _vocabulary(V, draw.integer(2, V - 3)),
        "ignore_index": None,
        "seed": draw.integer(0, 2**31 - 1),
    }


def _shapes(part: object) -> str:
    """The shapes of a part's parameters, as a text, and what is unusual about them."""
    if not isinstance(part, nn.Module):
        return f"no layer, but {describe(part)}"
    return (
        " ".join(
            f"{tuple(p.shape)}{'' if p.requires_grad else ' frozen'}"
            f"{'' if p.dtype == torch.get_default_dtype() else f' {p.dtype}'}"
            for p in part.parameters()
        )
        or "no parameters"
    )


def _parts(lesson, inputs: Values) -> Values:
    model = _build(lesson, inputs)
    found: Values = {f"parameters of {name}": _shapes(getattr(model, name, None)) for name in PARTS}
    found["image_encoder"] = "kept" if isinstance(getattr(model, "image_encoder", None), nn.Module) else "lost"
    found["class of recurrent"] = type(getattr(model, "recurrent", None)).__name__
    listed = {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    found["in train mode"] = model.training and all(part.training for part in model.children())
    found["parts that train"] = ", ".join(name for name in ("image_encoder", *PARTS) if name in listed)
    return found


def _parts_work(lesson, inputs: Values) -> Values:
    """What the two maps do: the start that the class's own `project` makes, the scores of given hidden states."""
    model = _captioner(lesson, inputs).train()
    return {"start": model.project(_features(inputs)), "scores": model.output_projection(inputs["states"])}


def _parts_inputs(draw: Draw, cell_type: str) -> Values:
    inputs = _model_inputs(draw, cell_type)
    return {**inputs, "colours": draw.normal(2, 3, 2, 3), "states": draw.normal(2, inputs["H"])}


def _gaps(draw: Draw, cell_type: str) -> Values:
    """The vocabulary of the notebook: three words, the largest index is 3."""
    return {**_model_inputs(draw, cell_type), "vocabulary": {"<NULL>": 0, "cat": 2, "dog": 3}}


def _features(inputs: Values) -> Tensor:
    """(N, 3, h, w) colours of the cells -> (N, 400, h, w) features as the stand-in makes them."""
    colours = inputs["colours"]
    return torch.einsum("nchw,kc->nkhw", colours, _mixtures(torch.float64).to(colours))


def _forward_inputs(draw: Draw, cell_type: str, N: int | None = None, T: int | None = None, ignore: str = "none") -> Values:
    """T: words of a caption, <START> included. ignore: "none", "null" or "other", a word that is not <NULL>."""
    inputs = _model_inputs(draw, cell_type)
    V = len(inputs["vocabulary"])
    sizes = draw.sizes(4, 3, 8)
    N, T = N or sizes[0], T or sizes[1]
    captions = draw.integers(1, V, N, T)
    captions[:, 0] = inputs["vocabulary"]["<START>"]
    captions[:, -1] = torch.where(torch.arange(N) % 2 == 1, 0, captions[:, -1])  # every other caption is padded
    if ignore == "other" and T > 2:
        captions[0, 1:3] = V - 1
    return {
        **inputs,
        "ignore_index": {"none": None, "null": 0, "other": V - 1}[ignore],
        "colours": draw.normal(N, 3, sizes[2] - 1, sizes[3] - 2),
        "captions": captions,
    }


def _caption_loss(lesson, inputs: Values) -> Values:
    return {"loss": _one(_captioner(lesson, inputs)(_features(inputs), inputs["captions"]))}


def _loss_twice(lesson, inputs: Values) -> Values:
    """Two calls of one model in train mode, the second with the pictures in reverse order and the captions of others."""
    model, features, captions = _captioner(lesson, inputs).train(), _features(inputs), inputs["captions"]
    first, second = model(features, captions), model(features.flip(0), captions.roll(1, dims=0))
    return {
        "first call": _one(first),
        "second call": _one(second),
        "knows its way back": second.requires_grad,
        "in train mode": model.training,
    }


def _trained_gradients(lesson, inputs: Values) -> Values:
    """Loss of images, with the gradients of all parts, the encoder among them; those of 400 channels in nine or so numbers."""
    model = _captioner(lesson, inputs).train()
    images = inputs["colours"].repeat_interleave(32, dim=2).repeat_interleave(32, dim=3)
    wanted = {}
    for part in ("image_encoder", *PARTS):
        parameters = [p for p in getattr(model, part).parameters() if p.requires_grad]
        wanted.update({f"{part}[{i}]" if len(parameters) > 1 else part: p for i, p in enumerate(parameters)})
    outputs = with_gradients({"loss": model(images, inputs["captions"])}, wanted)
    return {name: _brief(value) if isinstance(value, Tensor) else value for name, value in outputs.items()}


def _brief(gradient: Tensor) -> Tensor:
    """Axes of 400 channels mixed down to 3."""
    mixtures = _mixtures(torch.float64).to(gradient)
    for axis, size in enumerate(gradient.shape):
        if size == CHANNELS:
            gradient = torch.tensordot(gradient, mixtures, dims=([axis], [0])).movedim(-1, axis)
    return gradient


def _published_loss(cell_type: str) -> Case:
    """The loss of the notebook; it is the same for all features that are large and positive."""
    record = expected(TOPIC)[f"captioning_{cell_type}_loss"]
    settings, sizes = record["construct"]["kwargs"], record["dims"]

    def draw(_: Draw) -> Values:
        captions = torch.arange(sizes["N"] * sizes["T"]).remainder(sizes["V"]).view(sizes["N"], sizes["T"])
        return {
            "vocabulary": record["construct"]["args"][0],
            "cell_type": cell_type,
            "W": settings["wordvec_dim"],
            "H": settings["hidden_dim"],
            "ignore_index": settings["ignore_index"],
            "captions": captions,
        }

    def run(lesson, inputs: Values) -> Values:
        model = _build(lesson, inputs)
        for parameter in model.parameters():
            parameter.data = torch.linspace(-1.4, 1.3, parameter.numel()).view(parameter.shape)
        features = torch.linspace(0, 10, CHANNELS).view(1, CHANNELS, 1, 1).expand(len(inputs["captions"]), -1, 4, 4)
        return {"loss": _one(model(features, inputs["captions"]))}

    return Case(
        f"loss of the course, {cell_type}",
        draw,
        run,
        rtol=1e-5,
        about="on the tensors of the notebook",
        published={"loss": torch.tensor(record["expected"]["loss"])},
        limits=record["tolerance"],
    )


def _sample_inputs(draw: Draw, cell_type: str, N: int | None = None, length: int = 8, V: int | None = None) -> Values:
    inputs = _model_inputs(draw, cell_type, V=V or draw.integer(20, 25))
    sizes = draw.sizes(3, 2, 5)
    return {
        **inputs,
        "H": inputs["W"] + 3,
        "ignore_index": 0,
        "colours": draw.normal(N or sizes[0] + 2, 3, *sizes[1:]),
        "max_length": length,
    }


def _captions_and_maps(returned: object, cell_type: str) -> Values:
    if cell_type == "attn":
        return unpack(returned, "captions", "attention")
    if not isinstance(returned, Tensor):
        raise WrongReturn(f"it returned {describe(returned)}; wanted a tensor of captions for cell_type {cell_type!r}")
    return {"captions": returned}


def _where(outputs: Values) -> Values:
    """The outputs, and on which device the attention is."""
    maps = outputs.get("attention")
    return {**outputs, "device of attention": str(maps.device)} if isinstance(maps, Tensor) else outputs


def _sample(lesson, inputs: Values) -> Values:
    returned = _captioner(lesson, inputs).sample(_features(inputs), inputs["max_length"])
    return _where(_captions_and_maps(returned, inputs["cell_type"]))


def _sample_by_default(lesson, inputs: Values) -> Values:
    images = inputs["colours"].repeat_interleave(32, dim=2).repeat_interleave(32, dim=3)
    return _captions_and_maps(_captioner(lesson, inputs).sample(images), inputs["cell_type"])


def _sample_twice(lesson, inputs: Values) -> Values:
    model, features = _captioner(lesson, inputs), _features(inputs)
    first = _captions_and_maps(model.sample(features, inputs["max_length"]), inputs["cell_type"])
    again = _captions_and_maps(model.sample(features.flip(0), inputs["max_length"]), inputs["cell_type"])
    return {"first call": first["captions"], "second call": again["captions"], "in train mode": model.training}


def _each(
    draw: Callable[..., Values], run: Callable, what: str = "", cells: Mapping[str, str] = CELLS, about: str = "", **options
) -> tuple[Case, ...]:
    """One case a kind of cell."""
    return tuple(
        Case(f"{title}{what}", lambda d, cell=cell: draw(d, cell, **options), run, about=about)
        for cell, title in cells.items()
    )


CAPTIONER = (
    Exercise(
        "CaptioningRNN.__init__",
        TOPIC,
        cases=(
            *_each(_model_inputs, _parts),
            *_each(_gaps, _parts, " for words with gaps in their indices", about="three words, the largest index is 3"),
            *_each(_parts_inputs, _parts_work, ": starts and scores", about="with parameters of ours"),
        ),
        hints=(
            "which four parts stand between the encoder's features and the scores of the words? `project` and `scores` "
            "below name them.",
            "for each part: how many numbers go in, how many come out, and is there a bias?",
            "V is the number of words, whatever their indices; the kind of cell decides the class of `recurrent`.",
        ),
    ),
    Exercise(
        "CaptioningRNN.forward",
        TOPIC,
        needs=NEEDED,
        cases=(
            *_each(_forward_inputs, _caption_loss, ": loss", about="with features in place of images"),
            *_each(_forward_inputs, _caption_loss, ": <NULL> ignored", about="with ignore_index 0", ignore="null"),
            *_each(
                _forward_inputs,
                _caption_loss,
                ": another word ignored",
                {"rnn": CELLS["rnn"]},
                about="with an ignore_index that is not that of <NULL>",
                ignore="other",
            ),
            *_each(_forward_inputs, _caption_loss, ": one picture", about="with N = 1", N=1),
            *_each(_forward_inputs, _caption_loss, ": captions of two words", about="T + 1 = 2", T=2),
            *_each(_forward_inputs, _caption_loss, ": long captions", about="T + 1 = 22", N=2, T=22),
            *_each(_forward_inputs, _loss_twice, ": two calls"),
            *_each(_forward_inputs, _trained_gradients, ": gradients from images", N=2, ignore="null"),
            _published_loss("rnn"),
            _published_loss("lstm"),
            device_case(
                lambda d: _forward_inputs(d, "lstm"),
                lambda lesson, inputs: _captioner(lesson, inputs).to("meta")(_features(inputs), inputs["captions"]),
            ),
        ),
        hints=(
            "a caption of T + 1 words: which are read, and which are to be predicted at the same steps?",
            "images, start, words, recurrent layer, scores, loss: which of these does the class do for you already?",
            "which targets count is said by the model's ignore_index.",
        ),
    ),
    Exercise(
        "CaptioningRNN.sample",
        TOPIC,
        needs=NEEDED,
        cases=(
            *_each(_sample_inputs, _sample, ": captions", about="with features in place of images"),
            *_each(_sample_inputs, _sample, ": few words", about="six words in all, max_length 14", N=20, length=14, V=6),
            *_each(_sample_inputs, _sample, ": one picture", about="with N = 1", N=1),
            *_each(_sample_inputs, _sample, ": one word", about="with max_length 1", N=5, length=1),
            *_each(_sample_inputs, _sample, ": long captions", about="with max_length 34", N=2, length=34),
            *_each(_sample_inputs, _sample_by_default, ": images, max_length left out", N=2),
            *_each(_sample_inputs, _sample_twice, ": two calls", about="the second with the pictures in reverse order"),
        ),
        hints=(
            "which word does every caption start from, and is it part of the result?",
            "what does the step for word t need from the step before: which states, which word?",
            "the first states are those that `forward` starts from; for attention look at AttentionLSTM.forward.",
            "the map of a word shows where the model looked to choose it: before or after its step?",
        ),
    ),
)

EXERCISES = (*VANILLA, *WORDS, *RECURRENT, *CAPTIONER)
