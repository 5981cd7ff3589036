"""The cases of `DINOSegmentation`: does a head learn, and is it used rightly, whatever it is and its parts are called?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl.checks.exercise import Case, Draw, Fault, Values
from dl.checks.judge import compare

LOSS_LEFT = 0.6  # most that a head may keep of its loss; 0.35 is the most seen of slow ones, 0.91 the least of idle ones
SAYS = {
    "nothing-to-train": "the object holds no layer with trainable weights",
    "head-of-another-size": "the head does not give one score for each class",
    "activation-at-the-end": "an activation or softmax follows the last layer; the loss expects the plain scores",
    "optimiser-of-other-weights": "the optimiser was not given all weights of the head that is kept",
    "classes-unheard": "the loss leaves out some classes (ignore_index, or a weight of 0)",
    "tokens-not-alone": "tokens act on each other (batch norm in train mode, attention, a mean), or chance acts on them",
    "does-not-learn": "with this head and this optimiser hardly anything is learned (rate, start values?)",
    "gradients-left-off": "gradients are switched off and not switched on again",
    "softmax-before-loss": "a softmax is taken before the cross-entropy, which takes one itself",
    "no-logarithm-before-loss": "this loss expects logarithms of probabilities, and is given something else",
    "no-step": "the optimiser makes no step",
    "step-without-gradients": "the optimiser steps while the gradients of this loss are not there: not computed yet, or "
    "cleared again",
    "part-of-the-tokens": "a step sees a part of the tokens; here every step sees all of them",
    "no-zero-grad": "gradients of earlier steps are still there: each step adds to them",
    "number-of-steps": "the number of steps is not num_iters",
    "eval-mode": "the head is trained in eval mode",
    "loss-does-not-fall": "training leaves the loss as it was, or raises it",
    "not-the-best-class": "another class than the most likely one is returned, or the head is in train mode, where batch "
    "norm and dropout mix the tokens",
    "gradient-recorded": "nothing is trained here, yet a graph for gradients is built",
    "device-not-followed": "something is left on the CPU, or on another device than the one that is given",
}


def fault(*rules: tuple) -> Fault | None:
    """The first rule that holds, of (whether it holds, what came out[, name of the mistake])."""
    for holds, text, *name in rules:
        if holds:
            return Fault(text, *name, *(SAYS[key] for key in name))
    return None


def judge_devices(inputs: Values, got: Values, right: Values) -> Fault | None:
    where = ", ".join(got["devices"])
    return fault(
        (got.get("gradient"), "gradients are recorded while the model works", "gradient-recorded"),
        (not where, "nothing was put on the device: the model is never asked, or there are no weights"),
        (where != "meta", f"device: got {where}, expected the one that was given", "device-not-followed"),
    )


# --- What can be said of any head ---


def _tokens(draw: Draw, N: int = 40, D: int = 48, classes: int = 4, present=(0, 1, 3), dtype=torch.float32) -> Values:
    """Tokens of a few well separated classes, one of which may be absent; and further tokens of the same."""
    centres = draw.normal(classes, D, scale=2.0)
    labels = torch.tensor(present)[draw.integers(0, len(present), 2 * N)]
    labels[: len(present)] = torch.tensor(present)
    tokens = (centres[labels] + draw.normal(2 * N, D, scale=0.5)).to(dtype)
    return {"X_train": tokens[:N], "Y_train": labels[:N], "X_test": tokens[N:], "Y_test": labels[N:], "num_classes": classes}


def _new(lesson, inputs: Values, device: str = "cpu"):
    return lesson.DINOSegmentation(device, inputs["num_classes"], inputs["X_train"].shape[1])


def kept_in(value: object, depth: int = 4) -> Iterator[object]:
    """A value and what it keeps: items, attributes, what a function has closed over. Layers and optimisers stay closed."""
    yield value
    if depth == 0 or isinstance(value, (nn.Module, torch.optim.Optimizer, Tensor, str, type, ModuleType)):
        return
    inside: list = [*value.values()] if isinstance(value, dict) else [*value] if isinstance(value, (list, tuple)) else []
    inside += getattr(value, "__dict__", {}).values()
    for cell in getattr(value, "__closure__", None) or ():
        with suppress(ValueError):  # an empty cell
            inside.append(cell.cell_contents)
    for part in inside:
        yield from kept_in(part, depth - 1)


def _attributes(model: object, kind: type) -> list:
    """What an object keeps of a kind, each once."""
    own = {**vars(model), **(model._modules if isinstance(model, nn.Module) else {})}
    return list({id(v): v for v in kept_in(own) if isinstance(v, kind)}.values())


def _head(model: object, width: int, classes: int) -> nn.Module | None:
    """The module that makes scores from tokens; None if that is not a single attribute."""
    modules = [m for m in _attributes(model, nn.Module) if next(m.parameters(), None) is not None and _can_be_called(m)]
    if len(modules) == 1:
        return modules[0]
    fitting = []
    for module in modules:
        try:
            with torch.no_grad():
                if module(torch.zeros(3, width)).shape == (3, classes):
                    fitting.append(module)
        except (RuntimeError, ValueError, TypeError):
            continue
    return fitting[0] if len(fitting) == 1 else None


def _can_be_called(module: nn.Module) -> bool:
    """Not so a mere container of layers or weights."""
    return type(module).forward is not nn.Module.forward and not isinstance(module, (nn.ParameterList, nn.ParameterDict))


def _parameters(model: object) -> list[Tensor]:
    """All tensors that can be trained."""
    found = [t for t in _attributes(model, Tensor) if isinstance(t, nn.Parameter) or (t.requires_grad and t.is_leaf)]
    found += [p for m in _attributes(model, nn.Module) for p in m.parameters()]
    return list({id(p): p for p in found}.values())


def _optimiser(model: object) -> torch.optim.Optimizer | None:
    return next(iter(_attributes(model, torch.optim.Optimizer)), None)


def _scores(head: nn.Module, X: Tensor) -> Tensor:
    """In eval mode, without gradient; the mode is put back."""
    mode = head.training
    head.eval()
    with torch.no_grad():
        scores = head(X.float())
    head.train(mode)
    return scores


def _classes(model: Any, X: Tensor, classes: int) -> Tensor:
    """By the head if it can be found, else by the student's own `inference`."""
    head = _head(model, X.shape[1], classes)
    return model.inference(X) if head is None else _scores(head, X).max(dim=1)[1]


def _loss(head: nn.Module, X: Tensor, Y: Tensor) -> float:
    return float(F.cross_entropy(_scores(head, X), Y))


def _share(labels: Any, wanted: Tensor) -> float:
    return float((torch.as_tensor(labels).flatten() == wanted).double().mean()) if len(labels) == len(wanted) else 0.0


@torch.enable_grad()
def _learn(head: nn.Module, optimiser: torch.optim.Optimizer, X: Tensor, Y: Tensor, steps: int = 300) -> None:
    """The training loop, with the student's head and optimiser."""

    def loss_and_gradients() -> Tensor:
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        loss = F.cross_entropy(head(X.float()), Y)
        loss.backward()
        return loss

    head.train()
    if head(X[:2].float()).requires_grad:
        for _ in range(steps):
            optimiser.step(loss_and_gradients)  # type: ignore[arg-type]  # torch takes the tensor, its stub says float


# --- __init__ ---


@torch.enable_grad()
def _init(lesson, inputs: Values) -> Values:
    model = _new(lesson, inputs)
    X, classes = inputs["X_train"], inputs["num_classes"]
    parameters, optimiser, head = _parameters(model), _optimiser(model), _head(model, X.shape[1], classes)
    facts: Values = {
        "trainable": any(p.requires_grad for p in parameters),
        "dtypes": sorted({str(p.dtype) for p in parameters}),
        "optimised": "unknown",
        "scores": "unknown",
        "never negative": False,
        "loss left": 0.0,
        "alone": True,
        "unheard": _unheard_classes(model, classes),
    }
    if optimiser is not None:
        held = {id(p) for group in optimiser.param_groups for p in group["params"]}
        own = {id(p) for p in parameters if p.requires_grad}
        facts["optimised"] = "all" if own <= held else "some" if own & held else "none"
    if head is None:
        return facts
    scores = _scores(head, X * 3)
    facts["scores"] = list(scores.shape)
    if facts["scores"] == [len(X), classes]:
        if optimiser is not None:
            new = inputs["X_test"], inputs["Y_test"]
            before = _loss(head, *new)
            _learn(head, optimiser, X, inputs["Y_train"])
            facts["loss left"] = _loss(head, *new) / before
        in_pairs = torch.cat([_scores(head, pair) for pair in X.split(2)])
        facts["alone"] = torch.allclose(_scores(head, X), in_pairs, atol=1e-3 * max(1.0, float(in_pairs.abs().max())))
    scores = torch.cat([scores, _scores(head, torch.cat([X, -X]) * 3)])  # of a linear head some are surely negative
    differ = float(scores.std(dim=0).max()) > 1e-3
    facts["never negative"] = differ and bool(scores.min() >= 0) and bool(scores.max() > 0)
    return facts


def _unheard_classes(model: object, classes: int) -> list[int]:
    """Classes whose tokens cost nothing, however wrong their scores; [] without a cross-entropy among the attributes."""
    wrong = -9 * torch.eye(classes)
    every = range(classes if classes > 1 else 0)
    losses = _attributes(model, nn.CrossEntropyLoss)
    return [c for loss in losses for c in every if not float(loss(wrong[c : c + 1], torch.tensor([c])).mean()) > 0.1]


def _judge_init(inputs: Values, got: Values, right: Values) -> Fault | None:
    scores, wanted, dtypes, held = got["scores"], right["scores"], ", ".join(got["dtypes"]), got["optimised"]
    other_size = scores not in ("unknown", wanted)
    left = (
        f"300 steps on separable tokens leave {got['loss left']:.0%} of the loss on new ones, expected at most {LOSS_LEFT:.0%}"
    )
    unheard = f"tokens of the classes {got['unheard']} cost nothing, however wrong their scores are"
    return fault(
        (not got["trainable"], "no attribute holds weights that can be trained", "nothing-to-train"),
        (other_size, f"scores: got shape {scores}, expected {wanted}", "head-of-another-size"),
        (dtypes != "torch.float32", f"weights: got {dtypes}, expected torch.float32"),
        (got["never negative"], "no score is ever negative", "activation-at-the-end"),
        (held in ("some", "none"), f"of the head's weights, the optimiser holds {held}", "optimiser-of-other-weights"),
        (got["unheard"], unheard, "classes-unheard"),
        (not got["alone"], "in eval mode, two tokens among others get other scores than the two alone", "tokens-not-alone"),
        (not got["loss left"] <= LOSS_LEFT, left, "does-not-learn"),
    )


def _init_by_default(lesson, inputs: Values) -> Values:
    """The width of the published tokens, 384, is the default; a head that is not found is not judged by it."""
    head = _head(lesson.DINOSegmentation("cpu", inputs["num_classes"]), 384, 3)
    return {"scores": [2, 3] if head is None else list(_scores(head, torch.ones(2, 384)).shape)}


def _init_device(lesson, inputs: Values) -> Values:
    return {"devices": sorted({p.device.type for p in _parameters(_new(lesson, inputs, "meta"))})}


# --- train ---


class _Steps:
    """Notes the optimiser's steps, and whether their gradients are fresh."""

    def __init__(self, notes: Values) -> None:
        self.notes = notes
        self._fresh: dict[int, Tensor] = {}

    def keep(self, parameter: Tensor) -> Callable:
        """A hook that keeps the gradients of a parameter since the last step."""
        key = id(parameter)
        return lambda gradient: self._fresh.__setitem__(key, gradient.detach() + self._fresh.get(key, 0))

    def before(self, optimiser, args, kwargs) -> None:
        notes, fresh = self.notes, self._fresh
        notes["steps"] += 1
        notes["rows"].append(0)
        if len(args) > 1 or kwargs.get("closure") is not None:
            return  # the gradients come in the step
        used = [p for group in optimiser.param_groups for p in group["params"]]
        vanished = bool(fresh) and not any(bool(g.any()) for g in fresh.values())  # tokens that are learnt leave none
        if not vanished and all(p.grad is None or not bool(p.grad.any()) for p in used):
            notes["steps without gradients"] += 1
        if notes["freshness"] and not fresh:
            notes["steps without gradients"] += 1  # those of an earlier step are still there, and no others have come
        known = [p for p in used if id(p) in fresh and p.grad is not None]
        if known and notes["steps"] <= 6:
            pair = [p.grad for p in known], [fresh[id(p)] for p in known]
            got, wanted = (torch.cat([t.double().flatten() for t in tensors]) for tensors in pair)
            lengths = float(got.norm() * wanted.norm())
            notes["freshness"].append(float(got @ wanted) / lengths if lengths else 1.0)
        fresh.clear()


def _are_chances(rows: Tensor) -> Tensor:
    return (rows >= 0).all() & ((rows.sum(dim=-1) - 1).abs() < 1e-4).all()


def _are_no_logarithms(rows: Tensor) -> Tensor:
    return ~(rows.logsumexp(dim=-1).abs() < 1e-3).all()


@contextmanager
def _watched(model: object) -> Iterator[Values]:
    """Notes what happens in training, whatever the head: steps, whether their gradients are fresh, what a loss is given."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    notes: Values = {"steps": 0, "steps without gradients": 0, "freshness": [], "rows": [0], "modes": []}
    notes |= {"probabilities": False, "raw scores": False}
    steps, losses = _Steps(notes), (F.cross_entropy, F.nll_loss)

    def mode(module, args) -> None:
        if torch.is_grad_enabled():
            notes["modes"].append(module.training)

    def watched(loss: Callable, key: str, is_odd: Callable[[Tensor], Tensor]) -> Callable:
        def call(input, target, *args, **kwargs):
            notes["rows"][-1] += len(input)
            notes[key] |= bool(is_odd(input.detach()))
            return loss(input, target, *args, **kwargs)

        return call

    handles = [p.register_hook(steps.keep(p)) for p in _parameters(model) if p.requires_grad]
    depend = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)
    within = [part for module in _attributes(model, nn.Module) for part in module.modules()]
    handles += [part.register_forward_pre_hook(mode) for part in within if isinstance(part, depend)]
    handles.append(register_optimizer_step_pre_hook(steps.before))
    F.cross_entropy = watched(F.cross_entropy, "probabilities", _are_chances)
    F.nll_loss = watched(F.nll_loss, "raw scores", _are_no_logarithms)
    try:
        yield notes
    finally:
        F.cross_entropy, F.nll_loss = losses
        for handle in handles:
            handle.remove()


class _Start:
    """A model before it is trained, to see what the same steps would have brought."""

    def __init__(self, model: object, width: int, classes: int) -> None:
        self.head, self.optimiser = _head(model, width, classes), _optimiser(model)
        self._states = [copy.deepcopy(part.state_dict()) for part in (self.head, self.optimiser) if part is not None]

    def loss_within_reach(self, X: Tensor, Y: Tensor, steps: int) -> float | None:
        """Of the same head with the same optimiser, trained here; None if one of the two is unknown. The model is reset."""
        if self.head is None or self.optimiser is None:
            return None
        of_head, of_optimiser = self._states
        self.head.load_state_dict(of_head)
        self.optimiser.load_state_dict(of_optimiser)
        _learn(self.head, self.optimiser, X, Y, steps)
        return _loss(self.head, X, Y)


def _is_slow(got: Values) -> bool:
    """Whether head and optimiser, not the loop, are why tokens do not get their class yet."""
    after, within_reach = got["loss after"], got["loss within reach"]
    return None not in (after, within_reach) and after <= 1.2 * within_reach


@torch.enable_grad()
def _train(lesson, inputs: Values, num_iters: int | None = 300, in_eval_mode: bool = False, again: bool = False) -> Values:
    """`again`: a second call on the same object, with other classes at the same tokens."""
    model = _new(lesson, inputs)
    X, Y, Y_test, classes = (inputs[key] for key in ("X_train", "Y_train", "Y_test", "num_classes"))
    if again:
        model.train(X, Y, 30)
        Y, Y_test = (Y + 1) % classes, (Y_test + 1) % classes
    for module in _attributes(model, nn.Module) if in_eval_mode else ():
        module.eval()
    start = _Start(model, X.shape[1], classes)
    before = None if start.head is None else _loss(start.head, X, Y)
    with _watched(model) as notes:
        model.train(X, Y, *(() if num_iters is None else (num_iters,)))
    head = _head(model, X.shape[1], classes)
    facts: Values = {
        "gradients on afterwards": torch.is_grad_enabled(),
        **{key: notes[key] for key in ("steps", "steps without gradients", "probabilities", "raw scores")},
        "wanted steps": 500 if num_iters is None else num_iters,
        "freshness": min(notes["freshness"], default=1.0),
        "rows": min(filter(None, notes["rows"]), default=len(X)),
        "train mode": all(notes["modes"]),
        "loss before": before,
        "loss after": None if head is None else _loss(head, X, Y),
        "old tokens": _share(_classes(model, X, classes), Y),
        "new tokens": _share(_classes(model, inputs["X_test"], classes), Y_test),
    }
    if min(facts["old tokens"], facts["new tokens"]) < 0.9:
        facts["loss within reach"] = start.loss_within_reach(X, Y, facts["wanted steps"])
    return facts


def _judge_training_steps(inputs: Values, got: Values, right: Values) -> Fault | None:
    """How the steps are made, however well they do; where no optimiser of torch is used, little is known."""
    steps, wanted, rows, N = got["steps"], got["wanted steps"], got["rows"], len(inputs["X_train"])
    still = steps == 0 and got["loss before"] is not None and got["loss before"] == got["loss after"]
    idle = f"{got['steps without gradients']} of {steps} steps are made without gradients"
    number = f"steps of the optimiser: {steps}, expected {wanted}"
    stale = f"gradients at a step and those of its loss: cosine {got['freshness']:.3f}, expected 1"
    logarithms = "the loss is given numbers that are no logarithms of probabilities"
    return fault(
        (not got["gradients on afterwards"], "after the call torch records no gradients any more", "gradients-left-off"),
        (got["probabilities"], "the rows that the cross-entropy is given sum to 1", "softmax-before-loss"),
        (got["raw scores"], logarithms, "no-logarithm-before-loss"),
        (still, f"steps of the optimiser: 0, expected {wanted}; the weights have not moved", "no-step"),
        (steps > wanted and rows == N, number, "number-of-steps"),
        (got["steps without gradients"], idle, "step-without-gradients"),
        (rows < N, f"a step sees {rows} tokens, expected {N}", "part-of-the-tokens"),
        (got["freshness"] < 0.999, stale, "no-zero-grad"),
        (steps not in (0, wanted), number, "number-of-steps"),
        (not got["train mode"], "dropout or batch norm is in eval mode during training", "eval-mode"),
    )


def _judge_train(inputs: Values, got: Values, right: Values) -> Fault | None:
    before, after, old, new = (got[key] for key in ("loss before", "loss after", "old tokens", "new tokens"))
    known = before is not None
    share = (
        f"of separable tokens, {old:.0%} of those trained on and {new:.0%} of new ones get their class, expected at least 90 %"
    )
    return _judge_training_steps(inputs, got, right) or fault(
        (known and not after < before, f"loss: {before} before, {after} after training", "loss-does-not-fall"),
        (min(old, new) < 0.9 and not _is_slow(got), share),
    )


# --- inference ---


def _inference_inputs(draw: Draw, N: int = 11, dtype=torch.float32, far: float = 1.0) -> Values:
    return {
        "X_train": draw.normal(N, 6, scale=2.0, dtype=dtype) * far,
        "weight": draw.normal(4, 6, dtype=torch.float32),
        "bias": draw.normal(4, scale=4.0, dtype=torch.float32),
        "num_classes": 4,
    }


def _prepared(lesson, inputs: Values):
    """An object with known weights if its head can be made linear, otherwise with what its batch norms saw of other tokens."""
    with torch.random.fork_rng(devices=[]):  # as if every head's first weights took equally many random numbers
        model = _new(lesson, inputs)
    width, classes = inputs["X_train"].shape[1], inputs["num_classes"]
    head = _head(model, width, classes)
    linear = head is not None and _made_linear(head, inputs["weight"], inputs["bias"])
    if head is not None:
        head.train()
        for _ in range(0 if linear else 20):
            head(3 * torch.randn(16, width) + 1)
    return model, head, linear


@torch.no_grad()
def _made_linear(head: nn.Module, weight: Tensor, bias: Tensor) -> bool:
    """Set the weights of a head of one or two linear layers so that it returns x @ weight.T + bias, if it is one.

    Between two layers stands a ReLU, GELU or SiLU: act(x) - act(-x) = x. So the first layer copies x and -x.
    """
    classes, width = weight.shape
    containers = [module for module in head.modules() if list(module.children())]
    leaves = [module for module in head.modules() if not list(module.children())]
    match [module for module in leaves if not isinstance(module, (nn.Dropout, nn.Identity))]:
        case [nn.Linear() as last] if last.weight.shape == weight.shape:
            pass
        case [nn.Linear() as first, nn.ReLU() | nn.GELU() | nn.SiLU(), nn.Linear() as last] if (
            first.in_features == width and 2 * width <= first.out_features == last.in_features and last.out_features == classes
        ):
            weight = torch.cat([weight, -weight, weight.new_zeros(classes, first.out_features - 2 * width)], dim=1)
            copies = torch.eye(width)
            first.weight.zero_()[: 2 * width] = torch.cat([copies, -copies])
            if first.bias is not None:
                first.bias.zero_()
        case _:
            return False
    if not all(isinstance(module, nn.Sequential) for module in containers):
        return False
    last.weight.copy_(weight)
    if last.bias is not None:
        last.bias.copy_(bias)
    return True


@torch.enable_grad()
def _inference(lesson, inputs: Values) -> Values:
    """Of all tokens together, and of the first few each alone."""
    X = inputs["X_train"]
    model, head, linear = _prepared(lesson, inputs)
    result = model.inference(X)
    on = torch.is_grad_enabled()
    alone = None
    if isinstance(result, Tensor):
        try:
            alone = torch.cat([model.inference(row).detach().flatten() for row in X[:11].split(1)])
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):  # the words of a batch norm in train mode
                raise
    result = result.detach() if isinstance(result, Tensor) else f"a {type(result).__name__}"
    scores = None if head is None else _scores(head, X)
    return {"classes": result, "scores": scores, "linear": linear, "alone": alone, "gradients on afterwards": on}


def _judge_inference(inputs: Values, got: Values, right: Values) -> Fault | None:
    classes, scores, wanted = got["classes"], got["scores"], right["classes"]
    comparable = isinstance(classes, Tensor) and classes.shape == wanted.shape and classes.dtype == torch.int64
    found = compare("classes", classes, wanted, 0, 0) if got["linear"] or not comparable else None
    if found is not None:
        return found
    rules: list[tuple[Any, ...]] = []
    if not got["linear"] and scores is not None:
        low, high, last = int(classes.min()), int(classes.max()), scores.shape[1] - 1
        chosen = scores.gather(1, classes.clamp(0, last)[:, None])[:, 0]
        missed = int((chosen < scores.amax(dim=1) - 1e-4).sum())
        said = f"{missed} of {len(classes)} tokens do not get the class that their own scores make the most likely"
        rules.append((low < 0 or high > last, f"classes run from {low} to {high}, expected 0 to {last}"))
        rules.append((missed, said, "not-the-best-class"))
    alone = got["alone"] is not None and torch.equal(classes[: len(got["alone"])], got["alone"])
    off = not got["gradients on afterwards"], "after the call torch records no gradients any more", "gradients-left-off"
    return fault(*rules, (not alone, "a token gets another class among others than alone", "tokens-not-alone"), off)


INIT = (
    Case("head and optimiser", _tokens, _init, judge=_judge_init),
    Case("two classes", partial(_tokens, classes=2, present=(0, 1)), _init, judge=_judge_init),
    Case("width by default", lambda draw: {"num_classes": 3}, _init_by_default),
    Case("device followed", _tokens, _init_device, judge=judge_devices),
)
_shortly = partial(_train, num_iters=7)
TRAIN = (
    Case("seven steps", partial(_tokens, N=450, D=12), _shortly, judge=_judge_training_steps),
    Case("separable tokens", partial(_tokens, N=150), _train, judge=_judge_train, about="tokens of three classes, far apart"),
    Case("number of steps by default", _tokens, partial(_train, num_iters=None), judge=_judge_train),
    Case("after inference", _tokens, partial(_train, num_iters=60, in_eval_mode=True), judge=_judge_train),
    Case("a second call", _tokens, partial(_train, num_iters=60, again=True), judge=_judge_train),
    Case("float64 tokens", partial(_tokens, dtype=torch.float64), _shortly, judge=_judge_training_steps),
    Case("float16 tokens", partial(_tokens, dtype=torch.float16), _shortly, judge=_judge_training_steps),
)
_of_tokens: dict[str, dict[str, Any]] = {
    "most likely class": {},
    "as many tokens as classes": {"N": 4},
    "one token": {"N": 1},
    "float64 tokens": {"dtype": torch.float64},
    "tokens of a large frame": {"N": 3700},
    "large tokens": {"far": 300.0},
}
INFERENCE = tuple(
    Case(name, partial(_inference_inputs, **which), _inference, judge=_judge_inference) for name, which in _of_tokens.items()
)
