"""The cases of the captioner: its parts, its loss, its captions. Those of what it is made of are in `dl.checks.recurrent`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl.checks.devices import device_case
from dl.checks.exercise import Case, Draw, Values, WrongReturn, describe, unpack, with_gradients
from dl.checks.published import expected
from dl.checks.recurrent import RECURRENT, TOPIC, VANILLA, WORDS, exercise, one_tensor, sizes_of
from dl.guards import check_tensors

CHANNELS = 400
CELLS = {"rnn": "an RNN captioner", "lstm": "an LSTM captioner", "attn": "an attention captioner"}
PARTS = ("feature_projection", "word_embedding", "recurrent", "output_projection")
BEFORE = tuple(e.name for e in (*VANILLA, *WORDS, *RECURRENT) if not e.name.endswith("backward"))
NEEDED = (*BEFORE, "CaptioningRNN.__init__")


class _Encoder(nn.Module):
    """Stands in for `ImageEncoder`, which takes seconds to build: each feature is a mixture of a cell's mean colours."""

    out_channels = CHANNELS

    def __init__(self, pretrained: bool = True, verbose: bool = True) -> None:
        super().__init__()
        self.mixtures = nn.Parameter(_mixtures(torch.get_default_dtype()))
        self.pictures = 0
        for name in ("mean", "std"):
            self.register_buffer(name, torch.ones(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, height, width) -> (N, 400, height / 32, width / 32)."""
        check_tensors("ImageEncoder", images=(images, "any N 3 height width"))
        self.pictures += len(images)
        if images.dtype == torch.uint8:
            images = images.to(self.mixtures.dtype) / 255
        return torch.einsum("nchw,kc->nkhw", F.avg_pool2d(images, 32, ceil_mode=True), self.mixtures)


def _mixtures(dtype: torch.dtype) -> Tensor:
    steps = torch.arange(3 * CHANNELS, dtype=torch.float64).view(CHANNELS, 3)
    return torch.sin(steps**2).to(dtype)


def _vocabulary(size: int, start: int) -> dict[str, int]:
    """Words with their indices; <START> has index `start`."""
    words = ["<NULL>", *(f"word{i}" for i in range(size - 3))]
    words.insert(start, "<START>")
    words.insert(start + 2, "<END>")
    return {word: index for index, word in reversed(list(enumerate(words)))}  # words come in any order


def _captioner(lesson, inputs: Values) -> Any:
    """A model of the given sizes, in float64 and eval mode, with parameters drawn from the given seed, part by part."""
    model: Any = _build(lesson, inputs).double().eval()
    generator = torch.Generator().manual_seed(inputs["seed"])
    for name in PARTS:
        part = getattr(model, name, None)
        if not isinstance(part, nn.Module):
            raise WrongReturn(f"the model has no layer called {name}")
        for parameter in part.parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data = values * _scale(name, parameter.shape)
    if inputs.get("end"):
        list(model.output_projection.parameters())[-1].data[inputs["vocabulary"]["<END>"]] = inputs["end"]
    return model


def _scale(part: str, shape: torch.Size) -> float:
    """Of a parameter's random numbers, such that neither gates nor words are decided by one term alone."""
    if len(shape) < 2:
        return 0.3
    inputs = {"feature_projection": shape[-1], "output_projection": 1, "word_embedding": 1, "recurrent": shape[0]}[part]
    return 1.5 / math.sqrt(inputs)


def _build(lesson, inputs: Values) -> nn.Module:
    sizes = {"input_dim": CHANNELS, "wordvec_dim": inputs["W"], "hidden_dim": inputs["H"]}
    cell_type = "".join(list(inputs["cell_type"]))  # equal to "rnn", but another object
    with lesson.patched({"ImageEncoder": _Encoder}):
        return lesson.CaptioningRNN(
            dict(inputs["vocabulary"]),
            **sizes,
            cell_type=cell_type,
            image_encoder_pretrained=False,
            ignore_index=inputs["ignore_index"],
        )


def _model_inputs(draw: Draw, cell_type: str, V: int | None = None, equal: bool = False) -> Values:
    W, H = draw.sizes(2, 3, 7)
    W = H if equal else W
    V = V or draw.integer(8, 12)
    vocabulary, seed = _vocabulary(V, draw.integer(2, V - 3)), draw.integer(0, 2**31 - 1)
    return {"cell_type": cell_type, "W": W, "H": H, "vocabulary": vocabulary, "ignore_index": None, "seed": seed}


def _shapes(part: object) -> str:
    """The shapes of a part's parameters, as a text, and what is unusual about them."""
    if not isinstance(part, nn.Module):
        return f"no layer, but {describe(part)}"
    told = []
    for p in part.parameters():
        dtype = "" if p.dtype == torch.get_default_dtype() else f" {p.dtype}"
        told.append(f"{tuple(p.shape)}{'' if p.requires_grad else ' frozen'}{dtype}")
    return " ".join(told) or "no parameters"


def _parts(lesson, inputs: Values) -> Values:
    model = _build(lesson, inputs)
    found: Values = {f"parameters of {name}": _shapes(getattr(model, name, None)) for name in PARTS}
    found["image_encoder"] = "kept" if isinstance(getattr(model, "image_encoder", None), nn.Module) else "lost"
    found["class of recurrent"] = type(getattr(model, "recurrent", None)).__name__
    listed = {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    found["learnt numbers"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    found["ignore_index"] = getattr(model, "ignore_index", "lost")
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


def _images(inputs: Values) -> Tensor:
    """Images of these colours, 32 pixels to the cell."""
    return inputs["colours"].repeat_interleave(32, dim=2).repeat_interleave(32, dim=3)


def _forward_inputs(draw: Draw, cell_type: str, ignore: str = "none", **sizes: int) -> Values:
    """T: words of a caption, <START> included. ignore: "none", "null" or "other", a word that is not <NULL>."""
    inputs = _model_inputs(draw, cell_type)
    V = len(inputs["vocabulary"])
    N, T, h, w = sizes_of(draw, sizes, "NThw", 3, 8)
    captions = draw.integers(1, V, N, T)
    captions[:, 0] = inputs["vocabulary"]["<START>"]
    captions[:, -1] = torch.where(torch.arange(N) % 2 == 1, 0, captions[:, -1])  # every other caption is padded
    if ignore == "other" and T > 2:
        captions[0, 1:3] = V - 1
    ignored = {"none": None, "null": 0, "other": V - 1}[ignore]
    return {**inputs, "ignore_index": ignored, "colours": draw.normal(N, 3, h - 1, w - 2), "captions": captions}


def _caption_loss(lesson, inputs: Values) -> Values:
    return {"loss": one_tensor(_captioner(lesson, inputs)(_features(inputs), inputs["captions"]))}


def _loss_twice(lesson, inputs: Values) -> Values:
    """Two calls of one model in train mode, the second with the images in reverse order and the captions of others."""
    model, features, captions = _captioner(lesson, inputs).train(), _features(inputs), inputs["captions"]
    first, second = one_tensor(model(features, captions)), one_tensor(model(features.flip(0), captions.roll(1, dims=0)))
    kept = {"knows its way back": second.requires_grad, "in train mode": all(part.training for part in model.modules())}
    return {"first call": first, "second call": second, **kept}


def _loss_of_bytes(lesson, inputs: Values) -> Values:
    """Of images as files hold them, uint8."""
    images = (_images(inputs) * 60 + 120).clamp(0, 255).to(torch.uint8)
    return {"loss": one_tensor(_captioner(lesson, inputs)(images, inputs["captions"]))}


def _trained_gradients(lesson, inputs: Values) -> Values:
    """Loss of images, with the gradients of all parts, the encoder among them; those of 400 channels in nine or so numbers."""
    model = _captioner(lesson, inputs).train()
    wanted = {}
    for part in ("image_encoder", *PARTS):
        parameters = [p for p in getattr(model, part).parameters() if p.requires_grad]
        wanted.update({f"{part}[{i}]" if len(parameters) > 1 else part: p for i, p in enumerate(parameters)})
    outputs = with_gradients({"loss": model(_images(inputs), inputs["captions"])}, wanted)
    return {name: _brief(value) if isinstance(value, Tensor) else value for name, value in outputs.items()}


def _passes(lesson, inputs: Values) -> Values:
    model = _captioner(lesson, inputs)
    model(_images(inputs), inputs["captions"])
    return {"images encoded": model.image_encoder.pictures}


def _brief(gradient: Tensor) -> Tensor:
    """Axes of 400 channels mixed down to 3."""
    mixtures = _mixtures(torch.float64).to(gradient)
    for axis, size in enumerate(gradient.shape):
        if size == CHANNELS:
            gradient = torch.tensordot(gradient, mixtures, dims=([axis], [0])).movedim(-1, axis)
    return gradient


def _loss_on_meta(lesson, inputs: Values) -> Tensor:
    return _captioner(lesson, inputs).to("meta")(_features(inputs), inputs["captions"])


def _published_loss(cell_type: str) -> Case:
    """The loss of the notebook; it is the same for all features that are large and positive."""
    record = expected(TOPIC)[f"captioning_{cell_type}_loss"]
    settings, sizes, vocabulary = record["construct"]["kwargs"], record["dims"], record["construct"]["args"][0]
    captions = torch.arange(sizes["N"] * sizes["T"]).remainder(sizes["V"]).view(sizes["N"], sizes["T"])
    inputs = {"vocabulary": vocabulary, "cell_type": cell_type, "W": settings["wordvec_dim"], "H": settings["hidden_dim"]}
    inputs |= {"ignore_index": settings["ignore_index"], "captions": captions}

    def run(lesson, inputs: Values) -> Values:
        model = _build(lesson, inputs)
        for parameter in model.parameters():
            parameter.data = torch.linspace(-1.4, 1.3, parameter.numel()).view(parameter.shape)
        features = torch.linspace(0, 10, CHANNELS).view(1, CHANNELS, 1, 1).expand(len(inputs["captions"]), -1, 4, 4)
        return {"loss": one_tensor(model(features, inputs["captions"]))}

    known = {"published": {"loss": torch.tensor(record["expected"]["loss"])}, "limits": record["tolerance"]}
    about = "on the tensors of the notebook"
    return Case(f"loss of the course, {cell_type}", lambda draw: inputs, run, rtol=1e-5, about=about, **known)


def _sample_inputs(
    draw: Draw, cell_type: str, N: int | None = None, length: int = 8, V: int | None = None, end: int = -100
) -> Values:
    """end: bias of <END>; by default it is never the best word, so that all words and maps are compared."""
    inputs = _model_inputs(draw, cell_type, V=V or draw.integer(20, 25))
    pictures, h, w = draw.sizes(3, 2, 5)
    inputs |= {"H": inputs["W"] + 3, "ignore_index": 0, "max_length": length, "end": end}
    return {**inputs, "colours": draw.normal(N or pictures + 2, 3, h, w)}


def _read(returned: object, inputs: Values) -> Values:
    """Captions and maps up to the first <END>; what follows is read by nobody, and -1 and 0 here."""
    if inputs["cell_type"] != "attn":
        if not isinstance(returned, Tensor):
            wanted = f"wanted a tensor of captions for cell_type {inputs['cell_type']!r}"
            raise WrongReturn(f"it returned {describe(returned)}; {wanted}")
        outputs = {"captions": returned}
    else:
        outputs = unpack(returned, "captions", "attention")
    captions, maps = outputs["captions"], outputs.get("attention")
    if isinstance(captions, Tensor) and captions.dim() == 2 and captions.dtype == torch.int64:
        ends = (captions == inputs["vocabulary"]["<END>"]).int()
        after = ends.cumsum(1) - ends > 0
        outputs["captions"] = captions.masked_fill(after, -1)
        if isinstance(maps, Tensor) and maps.shape[:2] == after.shape and maps.is_floating_point():
            outputs["attention"] = maps.masked_fill(after.view(*after.shape, *[1] * (maps.dim() - 2)).to(maps.device), 0)
    if not isinstance(maps, Tensor):
        return outputs
    kind = f"{str(maps.dtype).removeprefix('torch.')} on {maps.device}"
    return {**outputs, "attention": outputs["attention"].float(), "kind of attention": kind}


def _sample(lesson, inputs: Values) -> Values:
    return _read(_captioner(lesson, inputs).sample(_features(inputs), inputs["max_length"]), inputs)


def _sample_by_default(lesson, inputs: Values) -> Values:
    return _read(_captioner(lesson, inputs).sample(_images(inputs)), inputs)


def _sample_twice(lesson, inputs: Values) -> Values:
    model, features = _captioner(lesson, inputs), _features(inputs)
    first = _read(model.sample(features, inputs["max_length"]), inputs)
    again = _read(model.sample(features.flip(0), inputs["max_length"]), inputs)
    return {"first call": first["captions"], "second call": again["captions"], "in train mode": model.training}


def _each(draw: Callable, run: Callable, what="", about="", cells=tuple(CELLS), note="", **how) -> tuple[Case, ...]:
    """One case for each kind of cell."""
    named = ((f"{CELLS[cell]}{what}", partial(draw, cell_type=cell, **how)) for cell in cells)
    return tuple(Case(name, draw_one, run, about=about, note=note) for name, draw_one in named)


TWICE = "the images pass through the encoder twice: that is twice the work, and its batch norm counts the batch twice"
AS_FEATURES = "with features in place of images"
CAPTIONER = (
    exercise(
        "CaptioningRNN.__init__",
        difficulty=1,
        minutes=20,
        cases=(
            *_each(_model_inputs, _parts),
            *_each(_model_inputs, _parts, " with word vectors as wide as the hidden state", equal=True),
            *_each(_gaps, _parts, " for words with gaps in their indices", "three words, the largest index is 3"),
            *_each(_parts_inputs, _parts_work, ": starts and scores", "with parameters of ours"),
        ),
        hints=(
            "which four parts stand between the encoder's features and the scores of the words? The docstring of the "
            "class names them.",
            "for each part: how many numbers go in, how many come out, and is there a bias?",
            "V is the number of words, whatever their indices; the kind of cell decides the class of `recurrent`.",
        ),
    ),
    exercise(
        "CaptioningRNN.forward",
        difficulty=2,
        minutes=45,
        needs=NEEDED,
        cases=(
            *_each(_forward_inputs, _caption_loss, ": loss", AS_FEATURES),
            *_each(_forward_inputs, _caption_loss, ": <NULL> ignored", "with ignore_index 0", ignore="null"),
            *_each(_forward_inputs, _caption_loss, ": another word than <NULL> ignored", cells=("rnn",), ignore="other"),
            *_each(_forward_inputs, _caption_loss, ": one image", "with N = 1", N=1),
            *_each(_forward_inputs, _caption_loss, ": captions of two words", "T + 1 = 2", T=2),
            *_each(_forward_inputs, _caption_loss, ": long captions", "T + 1 = 22", N=2, T=22),
            *_each(_forward_inputs, _loss_twice, ": two calls"),
            *_each(_forward_inputs, _trained_gradients, ": gradients from images", N=2, ignore="null"),
            *_each(_forward_inputs, _loss_of_bytes, ": images of bytes", "images as uint8", cells=("rnn",), N=2),
            *_each(_forward_inputs, _passes, ": images encoded once", note=TWICE, N=2),
            _published_loss("rnn"),
            _published_loss("lstm"),
            device_case(partial(_forward_inputs, cell_type="lstm"), _loss_on_meta),
        ),
        hints=(
            "a caption of T + 1 words: which are read, and which are to be predicted at the same steps?",
            "images, start, words, recurrent layer, scores, loss: which of these does the class do for you already?",
            "which targets count is said by the model's ignore_index.",
        ),
    ),
    exercise(
        "CaptioningRNN.sample",
        difficulty=3,
        minutes=75,
        needs=NEEDED,
        cases=(
            *_each(_sample_inputs, _sample, ": captions", AS_FEATURES),
            *_each(_sample_inputs, _sample, ": captions that end", "<END> may be chosen", N=12, V=9, end=0),
            *_each(_sample_inputs, _sample, ": few words", "six words in all, max_length 14", N=20, length=14, V=6),
            *_each(_sample_inputs, _sample, ": one image", "with N = 1", N=1),
            *_each(_sample_inputs, _sample, ": <END> at once", "all have max_length words all the same", N=1, end=100),
            *_each(_sample_inputs, _sample, ": one word", "with max_length 1", N=5, length=1),
            *_each(_sample_inputs, _sample, ": long captions", "with max_length 34", N=2, length=34),
            *_each(_sample_inputs, _sample_by_default, ": images, max_length left out", N=2),
            *_each(_sample_inputs, _sample_twice, ": two calls", "the second with the images in reverse order"),
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
