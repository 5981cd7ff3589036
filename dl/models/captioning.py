"""Measurements on recurrent layers and captioners: how far gradients reach, what features know, which words are wrong.

Nothing here is an exercise. Layers and models come in as arguments, so any implementation of the lesson can be measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl.world.captions import PLACES, read, relation_right
from dl.world.scenes import COLOURS, EXTENTS, TEXTURES, Scene, SceneObject


def gradient_by_distance(
    layer: Any, input_dim: int, hidden_dim: int, steps: int = 30, seed: int = 0, along_cell: bool = False
) -> list[float]:
    """Gradient of the last hidden state with respect to each input, by how many steps back that input lies.

    Args:
        layer: a module that maps (N, T, D), (N, H) to (N, T, H).
        steps: T. seed: of the random inputs and of the random direction in which the last state is measured.
        along_cell: of an LSTM, only what comes back along the cell state; hidden states count as given.
    Returns:
        `steps` norms over batch and features, divided by the first: entry k is for the input k steps before the last.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, steps, input_dim, generator=generator).requires_grad_()
    direction = torch.randn(64, hidden_dim, generator=generator)
    last = cell = torch.zeros(64, hidden_dim)
    if along_cell:
        for step in range(steps):
            last, cell = layer.step_forward(x[:, step], last.detach(), cell)
    else:
        last = layer(x, last)[:, -1]
    (gradient,) = torch.autograd.grad((last * direction).sum(), x)
    norms = gradient.norm(dim=(0, 2)).flip(0)
    return (norms / norms[0]).tolist()


def marked_numbers(n: int, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences of +1 and -1, one of which is marked in the first half.

    Returns:
        x: (n, steps, 2) float32, the numbers, and 1 where the mark is, else 0. positive: (n,) bool, whether the marked
        number is +1.
    """
    numbers = torch.randint(0, 2, (n, steps), generator=generator) * 2.0 - 1.0
    at = torch.randint(0, steps // 2, (n,), generator=generator)
    return torch.stack([numbers, F.one_hot(at, steps).float()], dim=2), numbers[torch.arange(n), at] > 0


def learn_to_remember(
    layer: Any, hidden_dim: int, shown: Tensor, after: tuple[int, ...] = (0, 50, 300), seed: int = 0
) -> tuple[float, dict[int, dict[str, Tensor]]]:
    """Train an LSTM, with a linear layer on its last hidden state, to say which number of a sequence was marked.

    Args:
        layer: an `LSTM(2, hidden_dim)` as in the lesson. shown: (1, T, 2), the sequence for which gates are kept.
        after: numbers of updates, ascending; the last is the length of the training. seed: of the sequences.
    Returns:
        accuracy on 1,000 new sequences at the end; for each entry of `after`, the `gates` for `shown`.
    """
    generator = torch.Generator().manual_seed(seed)
    steps, readout = shown.shape[1], nn.Linear(hidden_dim, 1)
    nn.init.normal_(readout.weight, generator=generator)
    nn.init.zeros_(readout.bias)
    optimizer = torch.optim.Adam([*layer.parameters(), *readout.parameters()], lr=0.03)
    kept = {}
    for update in range(after[-1] + 1):
        if update in after:
            kept[update] = gates(layer, shown, hidden_dim)
        x, positive = marked_numbers(64, steps, generator)
        scores = readout(layer(x, torch.zeros(64, hidden_dim))[:, -1])[:, 0]
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(scores, positive.float()).backward()
        optimizer.step()
    x, positive = marked_numbers(1000, steps, generator)
    with torch.no_grad():
        scores = readout(layer(x, torch.zeros(1000, hidden_dim))[:, -1])[:, 0]
    return ((scores > 0) == positive).float().mean().item(), kept


@torch.no_grad()
def gates(layer: Any, x: Tensor, hidden_dim: int) -> dict[str, Tensor]:
    """What an LSTM does with one sequence: its "input gate", "forget gate" and "cell state", each (T, H); x (1, T, D)."""
    h = c = torch.zeros(1, hidden_dim)
    opened: dict[str, list[Tensor]] = {"input gate": [], "forget gate": [], "cell state": []}
    for step in range(x.shape[1]):
        i, f = (x[:, step] @ layer.Wx + h @ layer.Wh + layer.b).sigmoid()[0, : 2 * hidden_dim].split(hidden_dim)
        h, c = layer.step_forward(x[:, step], h, c)
        for name, values in zip(opened, (i, f, c[0])):
            opened[name].append(values)
    return {name: torch.stack(values) for name, values in opened.items()}


def clearest_unit(x: Tensor, kept: Mapping[str, Tensor]) -> tuple[float, int]:
    """The unit, counted from 1, that lets in the marked number, little else, and forgets least: (how clear in [-1, 1], unit).

    Args:
        x: (1, T, 2), the numbers and the mark. kept: what `gates` returns for it.
    """
    mark = x[0, :, 1:]  # (T, 1)
    let_in = (mark * kept["input gate"]).sum(0) - ((1 - mark) * kept["input gate"]).sum(0) / (len(mark) - 1)
    clear, unit = (let_in * kept["forget gate"].min(dim=0).values).max(dim=0)
    return float(clear), int(unit) + 1


def probe_positions(train_features: Tensor, val_features: Tensor, epochs: int = 12, seed: int = 0) -> Tensor:
    """Can a linear classifier tell from ONE cell's features where in the grid that cell lies?

    Args:
        train_features, val_features: (n, C, h, w) grids; the classifier is trained on the cells of the first.
    Returns:
        (h, w) float, accuracy on the validation cells of each position; chance is 1 / (h w).
    """
    h, w = train_features.shape[2:]
    cells, labels = _cells(train_features)
    mean, std = cells.mean(dim=0), cells.std(dim=0) + 1e-6
    generator = torch.Generator().manual_seed(seed)
    probe = nn.Linear(cells.shape[1], h * w)
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    optimizer = torch.optim.Adam(probe.parameters(), lr=3e-3, weight_decay=1e-4)
    for _ in range(epochs):
        for rows in torch.randperm(len(cells), generator=generator).split(256):
            loss = F.cross_entropy(probe((cells[rows] - mean) / std), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    seen, truth = _cells(val_features)
    with torch.no_grad():
        named = probe((seen - mean) / std).argmax(dim=1)
    return (named == truth).float().view(-1, h, w).mean(dim=0)


def _cells(features: Tensor) -> tuple[Tensor, Tensor]:
    """Every cell as a row (n h w, C), with the number of its position."""
    n, C, h, w = features.shape
    return features.flatten(2).transpose(1, 2).reshape(-1, C), torch.arange(h * w).repeat(n)


def grid_code(channels: int, h: int, w: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    """A fixed random vector per row plus one per column, (channels, h, w): added to features, it says where a cell lies."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (torch.randn(channels, *shape, generator=generator) for shape in ((h, 1), (1, w)))
    return scale * (rows + columns)


def mirrored(captions: Tensor, token_to_idx: Mapping[str, int]) -> Tensor:
    """Captions of the images mirrored left to right: the words "left" and "right" change places. int64, any shape."""
    left, right = token_to_idx["left"], token_to_idx["right"]
    return torch.where(captions == left, right, torch.where(captions == right, left, captions))


def wrong_words(sentence: str, scene: Scene) -> list[bool]:
    """For each word of a caption: does it claim something that is not so in the scene?

    Of an object whose class is not there, the class word is wrong, and its colour too unless the scene has that colour.
    Of an object whose class is there, every word that describes another colour, size or texture is wrong. The words of a
    wrong background are wrong, and those of a relation that does not hold.
    """
    words, claims = sentence.split(), read(sentence)
    wrong = [False] * len(words)
    by_class = {item.category: item for item in scene.objects}
    start = 0
    for (_, category), (_, end) in zip(claims.pairs, claims.places):
        item = by_class.get(category)
        for position in range(start, end + 1):
            wrong[position] = _word_is_wrong(words[position], item, scene, category)
        start = end + 1
    phrases = [PLACES[claims.background]] if claims.background not in (None, scene.background) else []
    if claims.relation is not None and not relation_right(claims, scene):
        phrases.append(claims.relation)
    for phrase in phrases:
        parts = phrase.split()
        at = next(i for i in range(len(words)) if words[i : i + len(parts)] == parts)
        wrong[at : at + len(parts)] = [True] * len(parts)
    return wrong


def _word_is_wrong(word: str, item: SceneObject | None, scene: Scene, category: str) -> bool:
    if word == category:
        return item is None
    if word in COLOURS:
        return word != item.colour if item else word not in {other.colour for other in scene.objects}
    if item is None:
        return False
    return word in EXTENTS and word != item.size or word in TEXTURES and word != item.texture
