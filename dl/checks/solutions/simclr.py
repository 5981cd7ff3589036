"""SimCLR: right answers, written another way than the lesson's, and known mistakes.

The loss is computed from logits and targets by einsum and logsumexp; the augmentation by torchvision's functions, draw by
draw; the epoch with `torch.autograd.grad`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import functional as TF

from dl.checks.solutions import Solutions

SOLUTIONS = Solutions()
solution, mistake = SOLUTIONS.solution, SOLUTIONS.mistake

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


# --- compute_train_transform ---


def _jitter() -> transforms.ColorJitter:
    return transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)


@solution("compute_train_transform")
def compute_train_transform(seed=123456):
    random.seed(seed)
    torch.manual_seed(seed)
    jitter = _jitter()

    def view(picture):
        box = transforms.RandomResizedCrop.get_params(picture, scale=[0.08, 1.0], ratio=[3 / 4, 4 / 3])
        picture = TF.resized_crop(picture, *box, size=[32, 32], antialias=True)
        if torch.rand(1) < 0.5:
            picture = TF.hflip(picture)
        if not torch.rand(1) > 0.8:
            picture = jitter(picture)
        if torch.rand(1) < 0.2:
            picture = TF.rgb_to_grayscale(picture, 3)
        mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        return (TF.pil_to_tensor(picture) / 255 - mean) / std

    return view


def _transform_mistake(name: str, says: str, hint: str = "") -> Callable:
    """Decorator: a function that makes the list of random steps from the colour jitter, with a mistake in it."""

    def keep(steps: Callable) -> Callable:
        def compute(seed=123456):
            random.seed(seed)
            torch.manual_seed(seed)
            return transforms.Compose([*steps(_jitter()), transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

        return mistake("compute_train_transform", name, says, hint)(compute)

    return keep


def _steps(crop=None, flip=None, jitter=None, grey=None, colour=None) -> list:
    """The four steps; each may be replaced."""
    return [
        crop or transforms.RandomResizedCrop(32),
        flip or transforms.RandomHorizontalFlip(0.5),
        jitter or transforms.RandomApply([colour or _jitter()], p=0.8),
        grey or transforms.RandomGrayscale(0.2),
    ]


@_transform_mistake(
    "jitter-always",
    "the colours of every picture are jittered; this course does so with probability 0.8",
    "Which transform makes another one happen only now and then?",
)
def _(colour):
    return _steps(jitter=colour)


@_transform_mistake(
    "no-jitter",
    "the colours are never jittered; this course does so with probability 0.8",
    "`colour_jitter` is ready above. Is it in your list?",
)
def _(colour):
    crop, flip, _, grey = _steps()
    return [crop, flip, grey]


@_transform_mistake(
    "no-grey", "no view becomes grey; this course makes one in five grey", "Count the random steps in the docstring."
)
def _(colour):
    return _steps()[:3]


@_transform_mistake(
    "no-flip", "no view is mirrored; this course mirrors half of them", "Count the random steps in the docstring."
)
def _(colour):
    crop, _, jitter, grey = _steps()
    return [crop, jitter, grey]


@_transform_mistake(
    "no-crop",
    "the whole picture is resized to 32 x 32; this course crops a random part of it first",
    "Which transform crops and resizes in one step?",
)
def _(colour):
    return _steps(crop=transforms.Resize((32, 32)))


@_transform_mistake(
    "crop-without-resizing",
    "a window of 32 x 32 pixels is cut out; this course crops a part of random size and shape, and resizes it",
    "Is each view a part of another size?",
)
def _(colour):
    return _steps(crop=transforms.RandomCrop(32, pad_if_needed=True))


@_transform_mistake(
    "crop-with-padding",
    "the picture is padded and a window of 32 x 32 pixels cut out; this course crops a "
    "part of random size and shape, and resizes it",
    "Is each view a part of another size?",
)
def _(colour):
    return _steps(crop=transforms.RandomCrop(32, padding=4, pad_if_needed=True))


@_transform_mistake(
    "crop-in-the-centre",
    "the centre is cut out each time; this course crops a random part and resizes it",
    "What is random in your first step?",
)
def _(colour):
    return _steps(crop=transforms.CenterCrop(32))


@_transform_mistake(
    "crop-too-large-parts",
    "the crops keep at least a fifth of the picture; this course keeps torchvision's own bounds, from 0.08 of it",
    "Which arguments beside the size did you give?",
)
def _(colour):
    return _steps(crop=transforms.RandomResizedCrop(32, scale=(0.2, 1.0)))


@_transform_mistake(
    "crop-of-another-size",
    "the crops are resized to 224 x 224, as for ImageNet; CIFAR's views are 32 x 32",
    "How large are the pictures of CIFAR-10?",
)
def _(colour):
    return _steps(crop=transforms.RandomResizedCrop(224))


@_transform_mistake(
    "crop-of-size-28", "the crops are resized to 28 x 28; CIFAR's views are 32 x 32", "How large are the pictures of CIFAR-10?"
)
def _(colour):
    return _steps(crop=transforms.RandomResizedCrop(28))


@_transform_mistake(
    "flip-upside-down",
    "half of the views stand on their heads; this course mirrors them left to right",
    "Which flip leaves the sky above?",
)
def _(colour):
    return _steps(flip=transforms.RandomVerticalFlip(0.5))


@_transform_mistake("flip-always", "every view is mirrored; this course mirrors half of them", "With what probability?")
def _(colour):
    return _steps(flip=transforms.RandomHorizontalFlip(1.0))


@_transform_mistake("flip-share", "one view in five is mirrored; this course mirrors half of them", "With what probability?")
def _(colour):
    return _steps(flip=transforms.RandomHorizontalFlip(0.2))


@_transform_mistake(
    "jitter-half",
    "the colours are jittered with probability 0.5, the default of the transform around it; this course wants 0.8",
    "Which probability stands in the docstring?",
)
def _(colour):
    return _steps(jitter=transforms.RandomApply([colour]))


@_transform_mistake(
    "jitter-seldom",
    "the colours are jittered with probability 0.2; this course wants 0.8, and 0.2 for grey",
    "Which of the two probabilities belongs to which step?",
)
def _(colour):
    return _steps(jitter=transforms.RandomApply([colour], p=0.2))


@_transform_mistake(
    "probabilities-exchanged",
    "colours are jittered with probability 0.2 and grey comes with 0.8; this course has them the other way round",
    "Which of the two probabilities belongs to which step?",
)
def _(colour):
    return _steps(jitter=transforms.RandomApply([colour], p=0.2), grey=transforms.RandomGrayscale(0.8))


@_transform_mistake("grey-always", "every view becomes grey; this course makes one in five grey", "With what probability?")
def _(colour):
    return _steps(grey=transforms.Grayscale(3))


@_transform_mistake(
    "grey-often", "eight views of ten become grey; this course makes one in five grey", "With what probability?"
)
def _(colour):
    return _steps(grey=transforms.RandomGrayscale(0.8))


@_transform_mistake(
    "grey-default",
    "one view in ten becomes grey, torchvision's default; this course makes one in five grey",
    "With what probability?",
)
def _(colour):
    return _steps(grey=transforms.RandomGrayscale())


@_transform_mistake("grey-half", "half of the views become grey; this course makes one in five grey", "With what probability?")
def _(colour):
    return _steps(grey=transforms.RandomGrayscale(0.5))


@_transform_mistake(
    "own-jitter",
    "a colour jitter of other strengths is used than the one handed out (brightness, contrast and saturation 0.4, hue 0.1)",
    "`colour_jitter` is ready above.",
)
def _(colour):
    return _steps(colour=transforms.ColorJitter(0.8, 0.8, 0.8, 0.2))


@_transform_mistake(
    "jitter-of-hue",
    "a colour jitter with hue up to 0.4 is used; the one handed out has 0.1 there",
    "`colour_jitter` is ready above.",
)
def _(colour):
    return _steps(colour=transforms.ColorJitter(0.4, 0.4, 0.4, 0.4))


@_transform_mistake(
    "jitter-around-grey",
    "jitter and grey happen together or not at all; in this course each has its own chance",
    "What stands in the list inside the transform that applies it?",
)
def _(colour):
    crop, flip, _, grey = _steps()
    return [crop, flip, transforms.RandomApply([colour, grey], p=0.8)]


@_transform_mistake(
    "jitter-and-grey-exchanged",
    "grey comes before the jitter; this course jitters the colours first",
    "Compare the order of your list with the docstring's.",
)
def _(colour):
    crop, flip, jitter, grey = _steps()
    return [crop, flip, grey, jitter]


@_transform_mistake(
    "flip-first",
    "the picture is mirrored before the crop; this course crops first",
    "Compare the order of your list with the docstring's.",
)
def _(colour):
    crop, flip, jitter, grey = _steps()
    return [flip, crop, jitter, grey]


@_transform_mistake(
    "jitter-before-flip",
    "the jitter comes before the mirroring; this course mirrors first",
    "Compare the order of your list with the docstring's.",
)
def _(colour):
    crop, flip, jitter, grey = _steps()
    return [crop, jitter, flip, grey]


@_transform_mistake(
    "flip-last",
    "the mirroring comes last; in this course it follows the crop",
    "Compare the order of your list with the docstring's.",
)
def _(colour):
    crop, flip, jitter, grey = _steps()
    return [crop, jitter, grey, flip]


@_transform_mistake(
    "colours-first",
    "the colours are changed before the crop; this course crops and mirrors first",
    "Compare the order of your list with the docstring's.",
)
def _(colour):
    crop, flip, jitter, grey = _steps()
    return [jitter, grey, crop, flip]


@_transform_mistake(
    "crop-last", "the crop comes last; this course crops first", "Compare the order of your list with the docstring's."
)
def _(colour):
    crop, flip, jitter, grey = _steps()
    return [flip, jitter, grey, crop]


@_transform_mistake(
    "order-reversed", "the four steps stand in the reverse order", "Compare the order of your list with the docstring's."
)
def _(colour):
    return _steps()[::-1]


@_transform_mistake(
    "random-order",
    "the steps come in an order drawn anew for each view; in this course the order is fixed",
    "Does the docstring name an order?",
)
def _(colour):
    return [transforms.RandomOrder(_steps())]


@_transform_mistake(
    "one-of-four",
    "one of the steps is chosen for each view; in this course all four take part",
    "May a view be mirrored and grey?",
)
def _(colour):
    crop, flip, jitter, grey = _steps()
    return [crop, transforms.RandomChoice([flip, jitter, grey])]


@_transform_mistake(
    "blur-added", "a blur is added; this course leaves it out at 32 x 32", "Count the random steps in the docstring."
)
def _(colour):
    return [*_steps(), transforms.GaussianBlur(3)]


@_transform_mistake("no-random-step", "nothing random happens to the picture", "Is your list empty?")
def _(colour):
    return []


# --- CIFAR10Pair.__getitem__ ---


def _label(dataset, index: int):
    target = dataset.targets[index]
    return target if dataset.target_transform is None else dataset.target_transform(target)


@solution("CIFAR10Pair.__getitem__")
def getitem(self, index):
    view = self.transform or (lambda picture: None)
    return *(view(Image.fromarray(self.data[index])) for _ in range(2)), _label(self, index)


@mistake(
    "CIFAR10Pair.__getitem__",
    "one-view-twice",
    "both views are one and the same random draw; this course draws each view by itself",
    "How often is the random transform called?",
)
def _(self, index):
    x = None if self.transform is None else self.transform(Image.fromarray(self.data[index]))
    return x, x, _label(self, index)


@mistake(
    "CIFAR10Pair.__getitem__",
    "no-transform-not-allowed",
    "the transform is called although there is none; then both views are to be None",
    "What does `self.transform` hold when the data set was made without one?",
)
def _(self, index):
    picture = Image.fromarray(self.data[index])
    return self.transform(picture), self.transform(picture), _label(self, index)


@mistake(
    "CIFAR10Pair.__getitem__",
    "picture-without-a-transform",
    "without a transform the plain picture is returned; this course returns None for both views",
    "What does the docstring say of a data set without a transform?",
)
def _(self, index):
    if self.transform is None:
        return Image.fromarray(self.data[index]), Image.fromarray(self.data[index]), _label(self, index)
    return getitem(self, index)


@mistake(
    "CIFAR10Pair.__getitem__",
    "array-transformed",
    "the transform is given the array; torchvision's transforms want the PIL picture",
    "Which variable above holds the picture?",
)
def _(self, index):
    return self.transform(self.data[index]), self.transform(self.data[index]), _label(self, index)


@mistake(
    "CIFAR10Pair.__getitem__",
    "view-of-a-view",
    "the second view is made from the first one; both are to be made from the picture",
    "What does the second call of the transform start from?",
)
def _(self, index):
    x_i = self.transform(Image.fromarray(self.data[index]))
    return x_i, self.transform(x_i), _label(self, index)


@mistake(
    "CIFAR10Pair.__getitem__",
    "one-view-only",
    "only one view is made, the other stays None",
    "How many views does a pair have?",
)
def _(self, index):
    return None if self.transform is None else self.transform(Image.fromarray(self.data[index])), None, _label(self, index)


@mistake(
    "CIFAR10Pair.__getitem__",
    "second-view-only",
    "only the second view is made, the first stays None",
    "How many views does a pair have?",
)
def _(self, index):
    return None, None if self.transform is None else self.transform(Image.fromarray(self.data[index])), _label(self, index)


@mistake(
    "CIFAR10Pair.__getitem__",
    "plain-second-view",
    "one of the two is the picture itself, without the transform; both are to be random views",
    "Do both views pass through the transform?",
)
def _(self, index):
    picture = Image.fromarray(self.data[index])
    return self.transform(picture) if self.transform else None, picture, _label(self, index)


@mistake(
    "CIFAR10Pair.__getitem__",
    "plain-first-view",
    "the first view is the picture itself, without the transform; both are to be random views",
    "Do both views pass through the transform?",
)
def _(self, index):
    picture = Image.fromarray(self.data[index])
    return picture, self.transform(picture) if self.transform else None, _label(self, index)


@mistake(
    "CIFAR10Pair.__getitem__",
    "next-picture",
    "the second view is one of the next picture; a positive pair shows one picture twice",
    "Which index do the two views come from?",
)
def _(self, index):
    x_j = Image.fromarray(self.data[(index + 1) % len(self.data)])
    return (
        *((self.transform(x) if self.transform else None) for x in (Image.fromarray(self.data[index]), x_j)),
        _label(self, index),
    )


@mistake(
    "CIFAR10Pair.__getitem__",
    "target-transform-twice",
    "the label passes through `target_transform` twice; below your lines that is done already",
    "What happens to `target` after your block?",
)
def _(self, index):
    x_i, x_j, target = getitem(self, index)
    return x_i, x_j, target if self.target_transform is None else self.target_transform(target)


@mistake(
    "CIFAR10Pair.__getitem__",
    "target-transform-skipped",
    "the label is returned without passing through `target_transform`",
    "What happens to `target` after your block, if you return before?",
)
def _(self, index):
    return *getitem(self, index)[:2], self.targets[index]


# --- cosines ---


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    """(N, D), (M, D) -> (N, M)."""
    lengths = torch.outer(a.square().sum(dim=1).sqrt(), b.square().sum(dim=1).sqrt())
    return torch.einsum("nd,md->nm", a, b) / lengths


def _cosine_mistakes(exercise: str, cosines_of: Callable[[Callable], Callable]) -> None:
    """Mistakes in the cosine itself. cosines_of: makes the exercise's function from one of two matrices of rows."""

    def wrong(name: str, function: Callable, says: str, hint: str) -> None:
        mistake(exercise, name, says, hint)(cosines_of(function))

    def over(a, b, axis=1, order=2, both=True, power=1):
        a_length = torch.linalg.vector_norm(a, ord=order, dim=axis, keepdim=True) ** power
        b_length = torch.linalg.vector_norm(b, ord=order, dim=axis, keepdim=True) ** power if both else 1
        return (a / a_length) @ (b / b_length).T

    wrong(
        "dot-product",
        lambda a, b: a @ b.T,
        "the plain dot product is returned; the cosine divides it by both lengths",
        "What happens to your result if one vector is made ten times as long?",
    )
    wrong(
        "one-length-missing",
        lambda a, b: over(a, b, both=False),
        "only one of the two vectors is brought to length 1",
        "What happens to your result if the other vector is made ten times as long?",
    )
    wrong(
        "other-length-missing",
        lambda a, b: over(b, a, both=False).T,
        "only one of the two vectors is brought to length 1",
        "What happens to your result if the other vector is made ten times as long?",
    )
    wrong(
        "squared-lengths",
        lambda a, b: over(a, b, power=2),
        "the dot product is divided by the squares of the lengths",
        "What is the cosine of a vector with itself?",
    )
    wrong(
        "root-of-lengths",
        lambda a, b: over(a, b, power=0.5),
        "the dot product is divided by the root of the product of the lengths",
        "What is the cosine of a vector with itself?",
    )
    wrong(
        "sum-of-absolutes",
        lambda a, b: over(a, b, order=1),
        "the length is taken as the sum of absolute values; it is the root of the sum of squares",
        "How long is the vector (3, 4)?",
    )
    wrong(
        "largest-element",
        lambda a, b: over(a, b, order=torch.inf),
        "each vector is divided by its largest element; its length is the root of the sum of squares",
        "How long is the vector (3, 4)?",
    )
    wrong(
        "absolute-cosine",
        lambda a, b: _cosines(a, b).abs(),
        "the sign of the cosine is lost; opposite vectors have cosine -1",
        "What comes out for two opposite vectors?",
    )
    wrong(
        "negative-cut-off",
        lambda a, b: _cosines(a, b).clamp(min=0),
        "negative cosines are cut off at 0; they run down to -1",
        "What comes out for two opposite vectors?",
    )
    wrong(
        "distance",
        lambda a, b: 1 - _cosines(a, b),
        "one minus the cosine, a distance, is returned; this course wants the cosine",
        "What comes out for two equal vectors?",
    )
    wrong(
        "minus-cosine", lambda a, b: -_cosines(a, b), "the cosine has the wrong sign", "What comes out for two equal vectors?"
    )
    wrong(
        "mapped-to-0-1",
        lambda a, b: (_cosines(a, b) + 1) / 2,
        "the cosine is mapped to 0 … 1; this course leaves it in -1 … 1",
        "What comes out for two opposite vectors?",
    )
    wrong(
        "centred",
        lambda a, b: _cosines(a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)),
        "the mean of each vector is taken off first, which is the correlation and not the cosine",
        "Is a mean in the formula?",
    )
    wrong(
        "angle",
        lambda a, b: _cosines(a, b).clamp(-1, 1).acos(),
        "the angle is returned; this course wants its cosine",
        "What comes out for two equal vectors?",
    )
    wrong(
        "mean-of-products",
        lambda a, b: _cosines(a, b) / a.shape[1],
        "the products are averaged over the features; the dot product is their sum",
        "What is the cosine of a vector with itself?",
    )
    wrong(
        "sum-of-lengths",
        lambda a, b: a @ b.T / (a.norm(dim=1)[:, None] + b.norm(dim=1)),
        "the dot product is divided by the sum of the lengths; the formula has their product",
        "What is the cosine of a vector with itself?",
    )
    wrong(
        "epsilon-too-large",
        lambda a, b: a @ b.T / (torch.outer(a.norm(dim=1), b.norm(dim=1)) + 1e-4),
        "the number added to the denominator is so large that it shows in the result",
        "How small may it be in float64?",
    )
    if exercise == "sim":
        return
    wrong(
        "axis-of-the-batch",
        lambda a, b: over(a, b, axis=0),
        "the lengths are taken along the batch; each row has its own length",
        "Which axis holds the features?",
    )
    wrong(
        "one-length-for-all",
        lambda a, b: (a / a.norm()) @ (b / b.norm()).T,
        "all rows are divided by one length, that of the whole matrix; each row has its own",
        "Over which axis is the norm taken?",
    )


@solution("sim")
def sim(z_i, z_j):
    return _cosines(z_i.reshape(1, -1), z_j.reshape(1, -1))[0, 0]


_cosine_mistakes("sim", lambda cosines: lambda z_i, z_j: cosines(z_i.reshape(1, -1), z_j.reshape(1, -1))[0, 0])


@mistake(
    "sim",
    "python-number",
    "the result is a Python number (float(), .item(), math): wanted is a tensor, which knows its way back to the inputs",
    "What turns a tensor into a Python number?",
)
def _(z_i, z_j):
    return float(sim(z_i, z_j))


@mistake(
    "sim",
    "row-axis-kept",
    "for vectors in a row, (1, D), the result keeps an axis; it is to be a single number, a tensor of shape ()",
    "What is the shape of your result for z_i and z_j of shape (1, D)?",
)
def _(z_i, z_j):
    return F.cosine_similarity(z_i, z_j, dim=-1)


@mistake(
    "sim",
    "both-axes-kept",
    "for vectors in a row, (1, D), the result keeps its axes; it is to be a single number, a tensor of shape ()",
    "What is the shape of your result for z_i and z_j of shape (1, D)?",
)
def _(z_i, z_j):
    return sim(z_i, z_j).reshape((1,) * (2 * (z_i.ndim - 1)))


@mistake(
    "sim", "axis-kept", "the result has shape (1,); it is to be a single number, a tensor of shape ()", "What does keepdim do?"
)
def _(z_i, z_j):
    return sim(z_i, z_j).reshape(1)


@mistake(
    "sim",
    "rows-not-multiplied",
    "the product is made for vectors (D,) only; the docstring allows rows (1, D) as well",
    "What does @ do with two tensors of shape (1, D)?",
)
def _(z_i, z_j):
    return z_i @ z_j / (z_i.norm() * z_j.norm())


@mistake(
    "sim",
    "rows-not-in-dot",
    "the dot product is made for vectors (D,) only; the docstring allows rows (1, D) as well",
    "How can a tensor (1, D) be given as a vector (D,)?",
)
def _(z_i, z_j):
    return torch.dot(z_i, z_j) / (z_i.norm() * z_j.norm())


@mistake("sim", "not-summed", "the products of the elements are not summed", "How many numbers is a cosine?")
def _(z_i, z_j):
    return z_i * z_j / (z_i.norm() * z_j.norm())


@mistake(
    "sim",
    "length-detached",
    "the lengths are treated as constants: no gradient goes through them",
    "What cuts a tensor off from its history?",
)
def _(z_i, z_j):
    return (z_i * z_j).sum() / (z_i.norm() * z_j.norm()).detach()


@solution("sim_positive_pairs")
def sim_positive_pairs(out_left, out_right):
    return _cosines(out_left, out_right).diagonal()[:, None]


_cosine_mistakes(
    "sim_positive_pairs", lambda cosines: lambda out_left, out_right: cosines(out_left, out_right).diagonal()[:, None]
)


def _pair_mistake(name: str, says: str, hint: str) -> Callable:
    return mistake("sim_positive_pairs", name, says, hint)


@_pair_mistake("flat", "the result has shape (N,); this course wants a column, (N, 1)", "What does keepdim do?")
def _(out_left, out_right):
    return _cosines(out_left, out_right).diagonal()


@_pair_mistake(
    "row-instead-of-column", "the result is a row, (1, N); this course wants a column, (N, 1)", "Which axis was kept?"
)
def _(out_left, out_right):
    return _cosines(out_left, out_right).diagonal()[None]


@_pair_mistake(
    "every-pair",
    "every row is compared with every row, (N, N); a positive pair has one row of each branch",
    "Which products does the positive pair of row k need?",
)
def _(out_left, out_right):
    return _cosines(out_left, out_right)


@_pair_mistake(
    "summed-over-the-batch",
    "the products are summed over the batch; a cosine sums over the features",
    "Which axis holds the features?",
)
def _(out_left, out_right):
    return (F.normalize(out_left) * F.normalize(out_right)).sum(dim=0)[:, None]


@_pair_mistake(
    "features-compared",
    "columns are compared, one cosine a feature; this course compares rows",
    "Which axis holds the features?",
)
def _(out_left, out_right):
    return F.cosine_similarity(out_left, out_right, dim=0)[:, None]


@_pair_mistake(
    "summed-over-the-batch-as-row",
    "the products are summed over the batch; a cosine sums over the features",
    "Which axis holds the features?",
)
def _(out_left, out_right):
    return (F.normalize(out_left) * F.normalize(out_right)).sum(dim=0, keepdim=True)


@_pair_mistake(
    "mean-of-all", "one mean over all pairs is returned; this course wants one cosine a pair", "How many pairs are there?"
)
def _(out_left, out_right):
    return _cosines(out_left, out_right).diagonal().mean()


@_pair_mistake(
    "shifted-pairs", "row k meets row k + 1; a positive pair is row k of both branches", "Which row shows the same picture?"
)
def _(out_left, out_right):
    return sim_positive_pairs(out_left, out_right.roll(-1, 0))


@_pair_mistake("first-pair-for-all", "all rows meet the first row of the other branch", "Which row shows the same picture?")
def _(out_left, out_right):
    return _cosines(out_left, out_right)[:, :1]


@_pair_mistake("branch-with-itself", "the left branch is compared with itself", "Which two branches are compared?")
def _(out_left, out_right):
    return sim_positive_pairs(out_left, out_left) + 0 * out_right.sum()


@_pair_mistake(
    "length-detached",
    "the lengths are treated as constants: no gradient goes through them",
    "What cuts a tensor off from its history?",
)
def _(out_left, out_right):
    lengths = (out_left.norm(dim=1) * out_right.norm(dim=1)).detach()
    return ((out_left * out_right).sum(dim=1) / lengths)[:, None]


@solution("compute_sim_matrix")
def compute_sim_matrix(out):
    return _cosines(out, out)


_cosine_mistakes("compute_sim_matrix", lambda cosines: lambda out: cosines(out, out))


def _matrix_mistake(name: str, says: str, hint: str) -> Callable:
    return mistake("compute_sim_matrix", name, says, hint)


@_matrix_mistake(
    "features-compared",
    "columns are compared, (D, D); this course compares rows, (2N, 2N)",
    "Which of the two factors is transposed?",
)
def _(out):
    unit = F.normalize(out)
    return unit.T @ unit


@_matrix_mistake(
    "features-normalised-and-compared",
    "columns are compared, (D, D); this course compares rows, (2N, 2N)",
    "Which of the two factors is transposed?",
)
def _(out):
    return _cosines(out.T, out.T)


@_matrix_mistake(
    "diagonal-zero",
    "the diagonal is set to 0; here it holds the cosine of each row with itself",
    "What is the cosine of a row with itself? Who leaves it out of the sum?",
)
def _(out):
    return _cosines(out, out).fill_diagonal_(0)


@_matrix_mistake(
    "diagonal-minus-infinity",
    "the diagonal is set to minus infinity; here it holds the cosine of each row with itself",
    "What is the cosine of a row with itself? Who leaves it out of the sum?",
)
def _(out):
    return _cosines(out, out).fill_diagonal_(-torch.inf)


@_matrix_mistake(
    "branches-only",
    "only the left rows meet the right ones, (N, N); this course compares all 2N rows",
    "How many rows has `out`?",
)
def _(out):
    N = len(out) // 2
    return _cosines(out[:N], out[N:])


@_matrix_mistake(
    "triangle", "one half of the matrix is left empty; it is symmetric", "What is the cosine of row 3 with row 1?"
)
def _(out):
    return _cosines(out, out).triu()


@_matrix_mistake("softmax", "a softmax is taken; this course wants the cosines themselves", "What do the rows sum to?")
def _(out):
    return _cosines(out, out).softmax(dim=1)


@_matrix_mistake(
    "exponential",
    "the exponential of the cosines is returned; this course wants the cosines themselves",
    "What stands on the diagonal?",
)
def _(out):
    return _cosines(out, out).exp()


@_matrix_mistake(
    "other-factor-detached", "gradients flow through one of the two factors only", "What cuts a tensor off from its history?"
)
def _(out):
    return _cosines(out, out.detach())


@_matrix_mistake(
    "length-detached",
    "the lengths are treated as constants: no gradient goes through them",
    "What cuts a tensor off from its history?",
)
def _(out):
    length = out.norm(dim=1).detach()
    return out @ out.T / torch.outer(length, length)


# --- the loss, in both forms ---


def _nt_xent(left: Tensor, right: Tensor, tau: float) -> Tensor:
    out = torch.cat([left, right])
    return _each(_cosines(out, out) / tau).mean()


def _each(logits: Tensor) -> Tensor:
    """l of each of the 2N rows."""
    return _denominators(logits) - _positives(logits)


def _positives(logits: Tensor) -> Tensor:
    N = len(logits) // 2
    return torch.cat([logits.diagonal(N), logits.diagonal(-N)])


def _denominators(logits: Tensor) -> Tensor:
    others = torch.diag(torch.full((len(logits),), -torch.inf, dtype=logits.dtype, device=logits.device))
    return (logits + others).logsumexp(dim=1)


def _all_cosines(left: Tensor, right: Tensor) -> Tensor:
    out = torch.cat([left, right])
    return _cosines(out, out)


@solution("simclr_loss_naive")
def simclr_loss_naive(out_left, out_right, tau):
    return _nt_xent(out_left, out_right, tau)


@solution("simclr_loss_vectorized")
def simclr_loss_vectorized(out_left, out_right, tau, device=None):
    return _nt_xent(out_left.to(device), out_right.to(device), tau)


def _loss_mistake(name: str, says: str, hint: str = "") -> Callable:
    """Decorator: a wrong (left, right, tau) -> loss, as a mistake of both forms."""

    def keep(loss: Callable) -> Callable:
        def naive(out_left, out_right, tau):
            return loss(out_left, out_right, tau)

        def vectorized(out_left, out_right, tau, device=None):
            return loss(out_left.to(device), out_right.to(device), tau)

        mistake("simclr_loss_naive", name, says, hint)(naive)
        mistake("simclr_loss_vectorized", name, says, hint)(vectorized)
        return loss

    return keep


@_loss_mistake(
    "not-normalised",
    "plain dot products are compared; this course compares cosines",
    "Does your loss change if one vector is made longer?",
)
def _(left, right, tau):
    out = torch.cat([left, right])
    return _each(out @ out.T / tau).mean()


@_loss_mistake(
    "axis-of-the-batch", "the lengths are taken along the batch; each row has its own length", "Which axis holds the features?"
)
def _(left, right, tau):
    out = F.normalize(torch.cat([left, right]), dim=0)
    return _each(out @ out.T / tau).mean()


@_loss_mistake(
    "python-number",
    "the result is a Python number (float(), .item(), math): wanted is a tensor, which knows its way back to the inputs",
    "What turns a tensor into a Python number?",
)
def _(left, right, tau):
    return float(_each(_all_cosines(left, right) / tau).mean())


@_loss_mistake(
    "one-length-for-all", "all rows are divided by one length; each row has its own", "Over which axis is the norm taken?"
)
def _(left, right, tau):
    out = torch.cat([left, right])
    return _each(out @ out.T / out.square().sum() / tau).mean()


@_loss_mistake(
    "self-kept",
    "k = i stays in the sum under the logarithm; a row is not compared with itself",
    "How many terms has the sum for one anchor?",
)
def _(left, right, tau):
    logits = _all_cosines(left, right) / tau
    return (logits.logsumexp(dim=1) - _positives(logits)).mean()


@_loss_mistake(
    "self-as-zero",
    "the entry of k = i is set to 0 before the exponential, so that it still adds exp(0) = 1",
    "What is the exponential of the number that you put there?",
)
def _(left, right, tau):
    logits = (_all_cosines(left, right) / tau).fill_diagonal_(0)
    return (logits.logsumexp(dim=1) - _positives(logits)).mean()


@_loss_mistake(
    "self-as-minus-one",
    "the entry of k = i is set to -1, a cosine like any other, and still adds to the sum",
    "What is the exponential of the number that you put there?",
)
def _(left, right, tau):
    logits = _all_cosines(left, right).fill_diagonal_(-1) / tau
    return (logits.logsumexp(dim=1) - _positives(logits)).mean()


@_loss_mistake(
    "positive-left-out",
    "the partner is left out of the sum under the logarithm; only k = i is left out there",
    "Which rows k does equation 1 leave out?",
)
def _(left, right, tau):
    N = len(left)
    logits = _all_cosines(left, right) / tau
    numbers = torch.arange(2 * N, device=logits.device)
    partner = (numbers[:, None] - numbers).remainder(N) == 0
    return (logits.masked_fill(partner, -torch.inf).logsumexp(dim=1) - _positives(logits)).mean()


@_loss_mistake(
    "positive-left-out-self-kept",
    "the partner is left out of the sum and the row itself is kept; it is the other way round",
    "Which rows k does equation 1 leave out?",
)
def _(left, right, tau):
    N = len(left)
    logits = _all_cosines(left, right) / tau
    numbers = torch.arange(2 * N, device=logits.device)
    partner = (numbers[:, None] - numbers).abs() == N
    return (logits.masked_fill(partner, -torch.inf).logsumexp(dim=1) - _positives(logits)).mean()


@_loss_mistake(
    "mean-over-n", "the sum over 2N anchors is divided by N; it is a mean over 2N", "How often is a row the anchor?"
)
def _(left, right, tau):
    return 2 * _nt_xent(left, right, tau)


@_loss_mistake(
    "not-averaged", "the sum over the anchors is returned; the loss is their mean", "What happens for twice as many pairs?"
)
def _(left, right, tau):
    return _each(_all_cosines(left, right) / tau).sum()


@_loss_mistake(
    "half-of-the-mean", "the mean is halved once more; 2N anchors are divided by 2N", "How often is a row the anchor?"
)
def _(left, right, tau):
    return _nt_xent(left, right, tau) / 2


@_loss_mistake(
    "fixed-count", "the sum is divided by a fixed number; the mean is over 2N anchors", "What happens for another batch size?"
)
def _(left, right, tau):
    return _each(_all_cosines(left, right) / tau).sum() / 4


@_loss_mistake(
    "one-direction",
    "only rows of the left branch are anchors; this course takes both directions of each pair",
    "Is l(i, j) the same as l(j, i)?",
)
def _(left, right, tau):
    return _each(_all_cosines(left, right) / tau)[: len(left)].mean()


@_loss_mistake(
    "one-direction-over-2n",
    "only rows of the left branch are anchors, though 2N are counted; this course takes both directions of each pair",
    "Is l(i, j) the same as l(j, i)?",
)
def _(left, right, tau):
    return _each(_all_cosines(left, right) / tau)[: len(left)].mean() / 2


@_loss_mistake(
    "right-anchors-only",
    "only rows of the right branch are anchors; this course takes both directions of each pair",
    "Is l(i, j) the same as l(j, i)?",
)
def _(left, right, tau):
    return _each(_all_cosines(left, right) / tau)[len(left) :].mean()


@_loss_mistake(
    "other-branch-only",
    "the sum runs over rows of the other branch alone; this course has all 2N - 1 other rows in it",
    "How many terms has the sum for one anchor?",
)
def _(left, right, tau):
    logits = _cosines(left, right) / tau
    return ((logits.logsumexp(dim=1) + logits.logsumexp(dim=0)) / 2 - logits.diagonal()).mean()


@_loss_mistake(
    "other-branch-one-direction",
    "the sum runs over rows of the other branch alone and the left rows alone are "
    "anchors; this course has all 2N - 1 other rows in it, both ways",
    "How many terms has the sum for one anchor?",
)
def _(left, right, tau):
    logits = _cosines(left, right) / tau
    return (logits.logsumexp(dim=1) - logits.diagonal()).mean()


@_loss_mistake(
    "own-branch-only",
    "the sum runs over the partner and rows of the anchor's own branch; this course has all 2N - 1 other rows in it",
    "How many terms has the sum for one anchor?",
)
def _(left, right, tau):
    N = len(left)
    logits = _all_cosines(left, right) / tau
    numbers = torch.arange(2 * N, device=logits.device)
    own = (numbers[:, None] >= N) == (numbers >= N)
    kept = (own & (numbers[:, None] != numbers)) | ((numbers[:, None] - numbers).abs() == N)
    return (logits.masked_fill(~kept, -torch.inf).logsumexp(dim=1) - _positives(logits)).mean()


@_loss_mistake(
    "last-row-left-out",
    "the last row is missing from the sum under the logarithm, or as an anchor",
    "Where does your loop end?",
)
def _(left, right, tau):
    return _each(_all_cosines(left, right) / tau)[:-1].sum() / (2 * len(left))


@_loss_mistake("tau-ignored", "the temperature plays no part", "Where does tau stand in equation 1?")
def _(left, right, tau):
    return _nt_xent(left, right, 1.0)


@_loss_mistake("tau-fixed", "the temperature is fixed at 0.5 instead of tau", "Where does tau stand in equation 1?")
def _(left, right, tau):
    return _nt_xent(left, right, 0.5)


@_loss_mistake(
    "tau-multiplied", "cosines are multiplied by the temperature; they are divided by it", "Does a small tau sharpen or blur?"
)
def _(left, right, tau):
    return _nt_xent(left, right, 1 / tau)


@_loss_mistake("tau-squared", "cosines are divided by the temperature twice", "Where does tau stand in equation 1?")
def _(left, right, tau):
    return _nt_xent(left, right, tau**2)


@_loss_mistake(
    "tau-missing-at-the-positive",
    "the partner's cosine is not divided by tau",
    "In how many places of equation 1 does tau stand?",
)
def _(left, right, tau):
    logits = _all_cosines(left, right) / tau
    return (_denominators(logits) - _positives(logits) * tau).mean()


@_loss_mistake(
    "tau-missing-in-the-sum", "cosines in the sum are not divided by tau", "In how many places of equation 1 does tau stand?"
)
def _(left, right, tau):
    cosines = _all_cosines(left, right)
    return (_denominators(cosines) - _positives(cosines) / tau).mean()


@_loss_mistake(
    "tau-on-the-loss", "the loss is divided by tau instead of the cosines", "What does tau do inside the exponential?"
)
def _(left, right, tau):
    return _nt_xent(left, right, 1.0) / tau


@_loss_mistake(
    "neighbours-as-pairs",
    "rows 2k and 2k + 1 are taken as pairs; stacked as [left; right] they are k and k + N",
    "Which row shows the same picture as row 0?",
)
def _(left, right, tau):
    logits = _all_cosines(left, right) / tau
    partner = torch.arange(len(logits), device=logits.device) ^ 1
    return (_denominators(logits) - logits.gather(1, partner[:, None])[:, 0]).mean()


@_loss_mistake(
    "next-row-as-partner",
    "row i + 1 is taken as the partner of row i; it is row i + N, or i - N",
    "Which row shows the same picture as row 0?",
)
def _(left, right, tau):
    logits = _all_cosines(left, right) / tau
    partner = torch.arange(len(logits), device=logits.device).roll(-1)
    return (_denominators(logits) - logits.gather(1, partner[:, None])[:, 0]).mean()


@_loss_mistake(
    "mirrored-partner",
    "row 2N - 1 - i is taken as the partner of row i; it is row i + N, or i - N",
    "Which row shows the same picture as row 0?",
)
def _(left, right, tau):
    logits = _all_cosines(left, right) / tau
    return (_denominators(logits) - logits.flip(1).diagonal()).mean()


@_loss_mistake(
    "itself-as-partner",
    "each row is its own partner; the partner is the other view of the picture",
    "Which row shows the same picture as row 0?",
)
def _(left, right, tau):
    logits = _all_cosines(left, right) / tau
    return (_denominators(logits) - logits.diagonal()).mean()


@_loss_mistake(
    "half-without-partner",
    "for half of the rows the row itself is taken as its partner; row i belongs to i + N or i - N",
    "Which row is the partner of row N?",
)
def _(left, right, tau):
    N = len(left)
    logits = _all_cosines(left, right) / tau
    return (_denominators(logits) - torch.cat([logits.diagonal(N), logits.diagonal()[N:]])).mean()


@_loss_mistake(
    "sign", "the loss has the wrong sign: it falls where the views of a picture move apart", "Should the loss be negative?"
)
def _(left, right, tau):
    return -_nt_xent(left, right, tau)


@_loss_mistake(
    "positive-added", "the partner's cosine is added; it lowers the loss", "Should two equal views have a high loss?"
)
def _(left, right, tau):
    logits = _all_cosines(left, right) / tau
    return (_denominators(logits) + _positives(logits)).mean()


@_loss_mistake(
    "no-logarithm", "the share of the partner is averaged without the logarithm", "What makes a product of chances a sum?"
)
def _(left, right, tau):
    return -(-_each(_all_cosines(left, right) / tau)).exp().mean()


@_loss_mistake(
    "logarithm-of-the-mean",
    "the logarithm is taken of the mean share; the loss is the mean of logarithms",
    "Which comes first in equation 1?",
)
def _(left, right, tau):
    return -(-_each(_all_cosines(left, right) / tau)).exp().mean().log()


@_loss_mistake("logarithm-of-base-2", "the logarithm has base 2; this course counts in nats", "Which logarithm undoes exp?")
def _(left, right, tau):
    return _nt_xent(left, right, tau) / math.log(2)


@_loss_mistake("logarithm-of-base-10", "the logarithm has base 10; this course counts in nats", "Which logarithm undoes exp?")
def _(left, right, tau):
    return _nt_xent(left, right, tau) / math.log(10)


@_loss_mistake("mean-in-the-sum", "the exponentials are averaged; equation 1 sums them", "What stands under the logarithm?")
def _(left, right, tau):
    return _nt_xent(left, right, tau) - math.log(max(1, 2 * len(left) - 1))


@_loss_mistake(
    "no-exponential",
    "the cosines themselves are summed under the logarithm; equation 1 sums their exponentials",
    "What stands under the logarithm?",
)
def _(left, right, tau):
    logits = _all_cosines(left, right) / tau
    return ((logits.sum(dim=1) - logits.diagonal()).log() - _positives(logits)).mean()


@_loss_mistake(
    "sum-over-all-anchors",
    "one sum over all anchors stands under the logarithm; each anchor has a sum of its own",
    "How many denominators are there?",
)
def _(left, right, tau):
    logits = _all_cosines(left, right) / tau
    return (_denominators(logits).logsumexp(dim=0) - _positives(logits)).mean()


@_loss_mistake(
    "shift-not-put-back",
    "the largest exponent is taken out of the sum and not put back",
    "What does exp(a - m) change, and where is it undone?",
)
def _(left, right, tau):
    logits = _all_cosines(left, right) / tau
    return (_denominators(logits) - logits.amax(dim=1) - _positives(logits)).mean()


@_loss_mistake(
    "softmax-twice",
    "a softmax is taken before the cross entropy, which takes one itself",
    "What does cross entropy do with its first argument?",
)
def _(left, right, tau):
    logits = (_all_cosines(left, right) / tau).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits.softmax(dim=1), torch.arange(len(logits), device=logits.device).roll(len(left)))


@_loss_mistake(
    "absolute-cosine",
    "the sign of the cosine is lost; opposite vectors have cosine -1",
    "What comes out for opposite vectors?",
)
def _(left, right, tau):
    return _each(_all_cosines(left, right).abs() / tau).mean()


@_loss_mistake(
    "negative-cut-off", "negative cosines are cut off at 0; they run down to -1", "What comes out for opposite vectors?"
)
def _(left, right, tau):
    return _each(_all_cosines(left, right).clamp(min=0) / tau).mean()


@_loss_mistake(
    "left-out-by-value",
    "rows are left out of the sum by their cosine of 1; only the row itself is to be left "
    "out, also where another one equals it",
    "Are there other pairs with cosine 1?",
)
def _(left, right, tau):
    cosines = _all_cosines(left, right)
    logits = (cosines / tau).masked_fill(cosines > 1 - 1e-9, -torch.inf)
    return (logits.logsumexp(dim=1) - _positives(cosines / tau)).mean()


@_loss_mistake(
    "sum-detached",
    "no gradient goes through the sum under the logarithm, so nothing pushes other pictures away",
    "What cuts a tensor off from its history (.item(), torch.tensor(…), detach)?",
)
def _(left, right, tau):
    logits = _all_cosines(left, right) / tau
    return (_denominators(logits).detach() - _positives(logits)).mean()


@_loss_mistake(
    "positive-detached",
    "no gradient goes through the partner's cosine, so nothing pulls the views together",
    "What cuts a tensor off from its history (.item(), torch.tensor(…), detach)?",
)
def _(left, right, tau):
    logits = _all_cosines(left, right) / tau
    return (_denominators(logits) - _positives(logits).detach()).mean()


@_loss_mistake(
    "one-number-an-anchor", "one number an anchor is returned; the loss is their mean", "What is the shape of the loss?"
)
def _(left, right, tau):
    return _each(_all_cosines(left, right) / tau)


@_loss_mistake(
    "axis-kept", "the loss has shape (1,); it is to be a single number, a tensor of shape ()", "What is the shape of the loss?"
)
def _(left, right, tau):
    return _nt_xent(left, right, tau).reshape(1)


@_loss_mistake(
    "both-axes-kept",
    "the loss has shape (1, 1); it is to be a single number, a tensor of shape ()",
    "What is the shape of the loss?",
)
def _(left, right, tau):
    return _nt_xent(left, right, tau).reshape(1, 1)


# --- train ---


def _epoch(model, loader, optimizer, temperature, step: Callable) -> float:
    """Mean over pairs of what `step` returns, in train mode."""
    model.train()
    weighted = [(float(step(model, x_i, x_j, optimizer, temperature)), len(x_i)) for x_i, x_j, _ in loader]
    if not all(math.isfinite(loss) for loss, _ in weighted):
        raise ValueError("the loss is not finite")
    return sum(loss * count for loss, count in weighted) / sum(count for _, count in weighted)


@solution("train")
def train(model, data_loader, train_optimizer, epoch, epochs, batch_size=32, temperature=0.5, device=None):
    def step(model, x_i, x_j, optimizer, tau):
        loss = _nt_xent(*(model(x.to(device or x.device))[1] for x in (x_i, x_j)), tau)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        optimizer.step()
        return loss

    return _epoch(model, data_loader, train_optimizer, temperature, step)


def _train_mistake(name: str, says: str, hint: str = "") -> Callable:
    """Decorator: a wrong step (model, x_i, x_j, optimizer, tau) -> loss."""

    def keep(step: Callable) -> Callable:
        def wrong(model, data_loader, train_optimizer, epoch, epochs, batch_size=32, temperature=0.5, device=None):
            return _epoch(model, data_loader, train_optimizer, temperature, step)

        return mistake("train", name, says, hint)(wrong)

    return keep


def _projections(model, x_i, x_j) -> tuple[Tensor, Tensor]:
    return model(x_i)[1], model(x_j)[1]


def _descend(optimizer, loss: Tensor) -> Tensor:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


@_train_mistake(
    "features-compared",
    "the loss compares the first of the model's outputs, the features; it is to see the second, the projections",
    "What does the model return, and in which order?",
)
def _(model, x_i, x_j, optimizer, tau):
    return _descend(optimizer, _nt_xent(model(x_i)[0], model(x_j)[0], tau))


@_train_mistake(
    "one-view-twice", "the same view passes through the model twice; the loss compares two views", "Where is x_j used?"
)
def _(model, x_i, x_j, optimizer, tau):
    return _descend(optimizer, _nt_xent(*_projections(model, x_i, x_i), tau))


@_train_mistake(
    "second-view-twice", "the same view passes through the model twice; the loss compares two views", "Where is x_i used?"
)
def _(model, x_i, x_j, optimizer, tau):
    return _descend(optimizer, _nt_xent(*_projections(model, x_j, x_j), tau))


@_train_mistake(
    "one-pass-for-both",
    "both views pass through the model together; this course passes each branch by itself, "
    "so that batch norm sees one view of every picture",
    "How often is the model called for a batch?",
)
def _(model, x_i, x_j, optimizer, tau):
    return _descend(optimizer, _nt_xent(*model(torch.cat([x_i, x_j]))[1].chunk(2), tau))


@_train_mistake(
    "no-zero-grad",
    "gradients of earlier steps are still there: each step adds to them",
    "What does backward do with a gradient that is already there?",
)
def _(model, x_i, x_j, optimizer, tau):
    loss = _nt_xent(*_projections(model, x_i, x_j), tau)
    loss.backward()
    optimizer.step()
    return loss


@_train_mistake(
    "step-without-gradients",
    "the optimiser steps while the gradients of this loss are not there: not computed yet, or cleared again",
    "In which order do the three calls stand?",
)
def _(model, x_i, x_j, optimizer, tau):
    loss = _nt_xent(*_projections(model, x_i, x_j), tau)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss


@_train_mistake("no-step", "the optimiser makes no step: the weights stay as they were", "Who changes the weights?")
def _(model, x_i, x_j, optimizer, tau):
    loss = _nt_xent(*_projections(model, x_i, x_j), tau)
    optimizer.zero_grad()
    loss.backward()
    return loss


@_train_mistake(
    "no-backward", "no gradient of the loss is computed, so the optimiser has nothing to go by", "Who fills the gradients?"
)
def _(model, x_i, x_j, optimizer, tau):
    loss = _nt_xent(*_projections(model, x_i, x_j), tau)
    optimizer.step()
    return loss


@_train_mistake(
    "step-before-backward",
    "the optimiser steps before the gradients of this loss are there, with those of the batch before",
    "In which order do the three calls stand?",
)
def _(model, x_i, x_j, optimizer, tau):
    loss = _nt_xent(*_projections(model, x_i, x_j), tau)
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()
    return loss


@_train_mistake("two-steps", "the optimiser steps twice a batch", "How often does a batch move the weights?")
def _(model, x_i, x_j, optimizer, tau):
    loss = _descend(optimizer, _nt_xent(*_projections(model, x_i, x_j), tau))
    optimizer.step()
    return loss


@_train_mistake(
    "temperature-fixed",
    "the loss is computed at 0.5 instead of the temperature that was given",
    "Where is `temperature` used?",
)
def _(model, x_i, x_j, optimizer, tau):
    return _descend(optimizer, _nt_xent(*_projections(model, x_i, x_j), 0.5))


@_train_mistake(
    "temperature-one",
    "the loss is computed at temperature 1 instead of the one that was given",
    "Where is `temperature` used?",
)
def _(model, x_i, x_j, optimizer, tau):
    return _descend(optimizer, _nt_xent(*_projections(model, x_i, x_j), 1.0))


@_train_mistake(
    "temperature-not-given", "the loss is called without the temperature", "Which three arguments does the loss take?"
)
def _(model, x_i, x_j, optimizer, tau):
    raise TypeError("simclr_loss_vectorized() missing 1 required positional argument: 'tau'")


@_train_mistake(
    "eval-mode",
    "the model is in eval mode while it trains: batch norm then uses its running averages",
    "In which mode does the function put the model before your lines?",
)
def _(model, x_i, x_j, optimizer, tau):
    model.eval()
    return _descend(optimizer, _nt_xent(*_projections(model, x_i, x_j), tau))


@_train_mistake(
    "second-view-without-gradient",
    "no gradient goes through the second view; in SimCLR both branches learn",
    "What cuts a tensor off from its history (no_grad, detach)?",
)
def _(model, x_i, x_j, optimizer, tau):
    left, right = _projections(model, x_i, x_j)
    return _descend(optimizer, _nt_xent(left, right.detach(), tau))


@_train_mistake(
    "first-view-without-gradient",
    "no gradient goes through the first view; in SimCLR both branches learn",
    "What cuts a tensor off from its history (no_grad, detach)?",
)
def _(model, x_i, x_j, optimizer, tau):
    left, right = _projections(model, x_i, x_j)
    return _descend(optimizer, _nt_xent(left.detach(), right, tau))


@_train_mistake("loss-rising", "the weights move so that the loss rises", "Which way do you want the loss to go?")
def _(model, x_i, x_j, optimizer, tau):
    loss = _nt_xent(*_projections(model, x_i, x_j), tau)
    _descend(optimizer, -loss)
    return loss


@_train_mistake("loss-negated", "the loss has the wrong sign", "Which way do you want the loss to go?")
def _(model, x_i, x_j, optimizer, tau):
    return _descend(optimizer, -_nt_xent(*_projections(model, x_i, x_j), tau))


@_train_mistake(
    "loss-divided",
    "the loss is divided by the number of pictures once more; it is a mean already",
    "What does the loss function return?",
)
def _(model, x_i, x_j, optimizer, tau):
    return _descend(optimizer, _nt_xent(*_projections(model, x_i, x_j), tau) / len(x_i))


@_train_mistake(
    "loss-times-batch",
    "the loss is multiplied by the number of pictures; its mean is what is to fall",
    "Who weighs the batches for the epoch's mean?",
)
def _(model, x_i, x_j, optimizer, tau):
    return _descend(optimizer, _nt_xent(*_projections(model, x_i, x_j), tau) * len(x_i))


@_train_mistake(
    "model-and-projection-mixed",
    "a feature is compared with a projection",
    "Which of the two outputs do you keep, for each view?",
)
def _(model, x_i, x_j, optimizer, tau):
    left, right = model(x_i)[0], model(x_j)[1]
    torch.cat([left, right])
    return left.sum()


@mistake(
    "train",
    "one-step-an-epoch",
    "the weights move once, at the end of the epoch; this course makes a step for each batch",
    "Inside or behind the loop?",
)
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size=32, temperature=0.5, device=None):
    train_optimizer.zero_grad()

    def step(model, x_i, x_j, optimizer, tau):
        loss = _nt_xent(*_projections(model, x_i, x_j), tau)
        loss.backward()
        return loss

    mean = _epoch(model, data_loader, train_optimizer, temperature, step)
    train_optimizer.step()
    return mean


@mistake("train", "first-batch-only", "only the first batch is trained on", "Does something leave the loop early?")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size=32, temperature=0.5, device=None):
    return train(model, data_loader[:1], train_optimizer, epoch, epochs, batch_size, temperature, device)


@mistake(
    "train",
    "mean-over-batches",
    "the mean is over batches; a shorter last batch then weighs too much",
    "What does each batch weigh?",
)
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size=32, temperature=0.5, device=None):
    losses = []

    def step(model, x_i, x_j, optimizer, tau):
        losses.append(float(_descend(optimizer, _nt_xent(*_projections(model, x_i, x_j), tau))))
        return losses[-1]

    _epoch(model, data_loader, train_optimizer, temperature, step)
    return sum(losses) / len(losses)


@mistake(
    "train",
    "sum-of-losses",
    "the losses of the batches are added up; the result is their mean over pairs",
    "How many pairs are there?",
)
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size=32, temperature=0.5, device=None):
    pairs = sum(len(x_i) for x_i, _, _ in data_loader)
    return train(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device) * pairs


@mistake(
    "train",
    "other-loss-function",
    "the loss that was handed in as `loss_function` is not the one that is used",
    "Which of the function's parameters names the loss?",
)
def _(
    model,
    data_loader,
    train_optimizer,
    epoch,
    epochs,
    batch_size=32,
    temperature=0.5,
    device=None,
    *,
    loss_function=None,
    on_batch=lambda step, mean: None,
):
    mean = train(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device)
    for step in range(len(data_loader)):
        on_batch(step + 1, mean)
    return mean
