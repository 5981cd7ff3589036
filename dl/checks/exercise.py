"""What a check is made of.

An exercise is a function or method that a student fills in. It is checked by cases. A case has three parts that never
mix, so that a grader can run the middle one in a process of its own and keep the other two to itself:

    draw   seed -> inputs           random inputs, drawn anew for each run
    run    code, inputs -> outputs  the student's code at work; returns raw tensors, numbers and texts
    judge  inputs, outputs -> verdict   compared with the right answers, which live in `dl.checks.answers`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dl.checks.published import load_case

Values = dict[str, Any]  # tensors, numbers, texts, or lists of them, by name

# Tolerances. EXACT, in float64, leaves room for an epsilon of 1e-6 in a denominator, not for 1e-4; an epsilon shows more in
# a GRADIENT, where terms cancel. SINGLE is for float32.
EXACT: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-7}
GRADIENT: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
SINGLE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
COSINE = "torch's cosine_similarity does the whole exercise, and does it well; write the formula once yourself as well."

MODULES = {  # the modules that hold the exercises of a topic, in the order in which they import each other
    "captioning": ("rnn_lstm_captioning",),
    "transformers": ("transformers",),
    "simclr": ("dl.simclr.contrastive_loss", "dl.simclr.data_utils", "dl.simclr.utils"),
    "clip_dino": ("dl.clip_dino",),
}


class WrongReturn(Exception):
    """The student's function returned something of another form than its docstring says."""


@dataclass(frozen=True)
class Fault:
    """Something that a judge found wrong.

    Args:
        text: one or two lines: where, what came out, what was expected.
        diagnosis: short identifier of the mistake, if its kind is certain. says: the mistake in words.
        details: makes what is shown on demand, whole tensors: most faults only tell that two outputs differ.
    """

    text: str
    diagnosis: str | None = None
    says: str | None = None
    details: Callable[[], str] = str


@dataclass(frozen=True)
class Case:
    """One question to an exercise.

    Args:
        name: what is looked at, in a few words: "values", "gradient", "batch of one".
        draw: takes a `Draw`, returns the inputs. Sizes that should differ are drawn unequal.
        run: takes the lesson's code as a `Library` and a private copy of the inputs, returns the outputs. It only calls
            and collects: it compares nothing.
        rtol, atol: a float x agrees with the right one y if |x - y| <= atol + rtol * max(1e-30, |y|).
        same_dtype: whether dtypes must agree with those of the right outputs.
        published: outputs recorded in the specification; they are compared beside the right answers.
        limits: for published outputs, the largest `rel_error` of each.
        judge: replaces the comparison with the right outputs: (inputs, outputs, right) -> Fault or None.
        compares: whether the comparison, or `judge`, looks at the right outputs.
        about: what the message says of the inputs.
        note: for inputs beyond what the course uses: what to say if they go wrong. That costs no pass; such cases come last.
    """

    name: str
    draw: Callable[[Draw], Values]
    run: Callable[..., Values]
    rtol: float = 1e-6
    atol: float = 1e-6
    same_dtype: bool = True
    published: Mapping[str, Tensor] | None = None
    limits: Mapping[str, float] | None = None
    judge: Callable[[Values, Values, Values], Fault | None] | None = None
    compares: bool = True
    about: str = ""
    note: str = ""


@dataclass(frozen=True)
class Exercise:
    """A function or method to fill in, with its cases, simplest first.

    Args:
        name: as in the code: "LSTM.step_forward". topic: a key of MODULES.
        difficulty: 1 (a line or two), 2 or 3 (the hardest of its notebook). minutes: for a student, reading included.
        needs: exercises that this one may call, all earlier in the course. Where one is missing, the full edition puts its
            solution in its place.
        partner: an exercise that shares private data with this one, such as a cache: this one cannot be checked without
            it, and where this one is replaced by its solution, so is the partner.
        hints: steps from a first question to the point, never the solution.
        no_loop: a Python loop, also in a helper that is called, is refused. Such an exercise must be pure.
        whole_calls: library calls that do the whole exercise, with a note on each; they are accepted.
        aliases: other names by which the exercise is found.
        pure: calling it twice with equal inputs gives equal outputs and leaves the inputs as they were.
        seeds: it is asked to set the global seed of torch; any other exercise must leave it alone.
    """

    name: str
    topic: str
    cases: tuple[Case, ...]
    difficulty: int
    minutes: int
    needs: tuple[str, ...] = ()
    partner: str | None = None
    hints: tuple[str, ...] = ()
    no_loop: bool = False
    whole_calls: Mapping[str, str] | None = None
    aliases: tuple[str, ...] = ()
    pure: bool = True
    seeds: bool = False


class Draw:
    """Random inputs from a seed; floats are float64 unless asked otherwise.

    Single numbers, such as sizes, come from half the seed: the seeds 2 n and 2 n + 1 give other tensors of the same sizes.
    """

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.of_numbers = torch.Generator().manual_seed(seed // 2)

    def normal(self, *shape: int, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64).mul(scale).to(dtype)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
        values = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return (low + (high - low) * values).to(dtype)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """int64 in low … high - 1."""
        return torch.randint(low, high, shape, generator=self.generator)

    def integer(self, low: int, high: int) -> int:
        """One number in low … high - 1."""
        return int(torch.randint(low, high, (), generator=self.of_numbers))

    def choice(self, options):
        return options[self.integer(0, len(options))]

    def sizes(self, count: int, low: int = 2, high: int = 7) -> list[int]:
        """Different numbers in low … high - 1, so that exchanged axes cannot agree by chance."""
        return (low + torch.randperm(high - low, generator=self.of_numbers)[:count]).tolist()

    def permutation(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self.generator)


def published(topic: str, case: str, run: Callable[..., Values], name: str = "values of the course", **options) -> Case:
    """A case on recorded tensors of the specification; the module's parameters come in `inputs["parameters"]`."""
    record = load_case(topic, case)
    inputs = {**record.inputs, **({"parameters": record.parameters} if record.parameters else {})}
    return Case(
        name,
        lambda draw: inputs,
        run,
        published=record.expected,
        limits=record.tolerance,
        about="on the tensors of the notebook",
        **options,
    )


def unpack(result: object, *names: str) -> Values:
    """The values of a returned tuple (or of one value), by name; the wrong count is said in words."""
    values = result if len(names) > 1 else (result,)
    if not isinstance(values, (tuple, list)):
        raise WrongReturn(f"it returned {describe(result)}; wanted {len(names)} values: {', '.join(names)}")
    if len(values) != len(names):
        raise WrongReturn(f"it returned {len(values)} values; wanted {len(names)}: {', '.join(names)}")
    return dict(zip(names, values, strict=True))


def with_gradients(outputs: Values, wanted: Mapping[str, Tensor], seed: int = 0) -> Values:
    """The outputs, and the gradient that a random weighted sum of them sends to each wanted tensor.

    Args:
        outputs: floating tensors made from `wanted`. wanted: tensors with requires_grad, by name.
    Returns:
        outputs, detached, and "d" + name for each wanted tensor: its gradient, or None where none arrives.
    """
    generator = torch.Generator().manual_seed(seed)
    total = None
    for value in outputs.values():
        if isinstance(value, Tensor) and value.requires_grad:
            weights = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)
            total = (value * weights).sum() if total is None else total + (value * weights).sum()
    names, tensors = list(wanted), list(wanted.values())
    gradients: Sequence[Tensor | None] = [None] * len(tensors)
    if total is not None:
        gradients = torch.autograd.grad(total, tensors, allow_unused=True)
    plain = {name: value.detach() if isinstance(value, Tensor) else value for name, value in outputs.items()}
    return {**plain, **{f"d{name}": gradient for name, gradient in zip(names, gradients, strict=True)}}


def track(values: Values, *names: str) -> dict[str, Tensor]:
    """The named floating tensors, by default all there are, made to require a gradient (in place), by name."""
    floats = [name for name, value in values.items() if isinstance(value, Tensor) and value.is_floating_point()]
    return {name: values[name].requires_grad_() for name in names or floats}


def gradients_of(run: Callable[..., Values]) -> Callable[..., Values]:
    """What a run returns, and the gradients of all its floating inputs."""

    def gradients(lesson, inputs: Values) -> Values:
        wanted = track(inputs)
        return with_gradients(run(lesson, inputs), wanted)

    return gradients


def describe(value: object) -> str:
    """A value in a few words: `Tensor (3, 4) float64`, `list of 5`, `None`."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, (int, float, str, bool, type(None))):
        text = repr(value)
        return text if len(text) < 60 else f"{text[:57]}…"
    return f"a {type(value).__name__}"
