"""What the notebooks cost with the real data: one step at its full size, times how often the notebook takes it.

Inputs are random, of the real shapes; networks are the real ones, freshly initialised. Each row is measured in a process
of its own, for its peak memory: CPU time, one thread, the second call. Reading, validation, figures and exercises are not
counted. The last column is an estimate for a small GPU, Colab's T4: the longer of two times, that of the operations at
FLOPS and that of starting one kernel after the other, CALL each.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

FLOPS = 4e12  # a second: half of a T4's peak in float32
CALL = 1e-5  # seconds
Call = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One kind of step of a notebook: how often it is taken, and a function that prepares it and returns the call."""

    notebook: str
    what: str
    times: int
    prepare: Callable[..., Call]
    arguments: tuple = ()


@dataclass(frozen=True)
class Cost:
    """Of one call: CPU seconds, seconds on the GPU by the estimate, and the peak memory of its process in bytes."""

    seconds: float
    on_gpu: float
    memory: int


# --- The steps ---


def captioner(cell: str):
    import rnn_lstm_captioning as lesson
    from benchmarks.captioning import WORDS, D, H

    return lesson.CaptioningRNN(WORDS, 400, D, H, cell, image_encoder_pretrained=False, ignore_index=0)


def captions(count: int) -> tuple[Tensor, Tensor]:
    from benchmarks.captioning import V

    return torch.zeros(count, 3, 112, 112, dtype=torch.uint8), torch.randint(4, V, (count, 17))


def caption_training(cell: str) -> Call:
    """256 rows, with all rows in memory twice: as they are read, and in the order of the training."""
    model = captioner(cell)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    (images, words), _ = captions(10_000), captions(10_000)
    images[:] = images.random_(0, 256)
    return lambda: stepped(optimizer, model(images[:256], words[:256]))


def transformer_epoch() -> Call:
    """17 batches of 256 rows and the validation of 500, through the notebook's own loop."""
    import a2_helper
    import transformers as lesson

    rows = [f"BOS POSITIVE {n // 90 + 10} add POSITIVE {n % 90 + 10} EOS" for n in range(5000)]
    special = ["POSITIVE", "NEGATIVE", "add", "subtract", "BOS", "EOS"]
    tokens = lesson.generate_token_dict([*"0123456789", *special])
    train, valid = (
        lesson.AddSubDataset(part, ["BOS POSITIVE 25 EOS"] * len(part), tokens, special, 64, lesson.position_encoding_sinusoid)
        for part in (rows[:4500], rows[4500:])
    )
    model = lesson.Transformer(4, 64, 256, 0.1, 4, 4, len(tokens))
    loaders = DataLoader(train, 256, drop_last=True), DataLoader(valid, 256)
    return lambda: a2_helper.train(model, *loaders, lesson.CrossEntropyLoss, 1, print_every=0)


def simclr_training() -> Call:
    """64 pairs of CIFAR-10."""
    from dl.simclr.model import Model
    from dl.simclr.utils import train

    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    pairs = [(torch.randn(64, 3, 32, 32), torch.randn(64, 3, 32, 32), torch.zeros(64))]
    return lambda: train(model, pairs, optimizer, 1, 1, progress=False)


def simclr_features() -> Call:
    """64 images, with the features of all 50,000 in memory twice, while they are put together."""
    from dl.simclr.model import Model

    model, images = Model().eval(), torch.randn(64, 3, 32, 32)
    bank = torch.ones(2, 50_000, 2048)
    return torch.no_grad()(lambda: (model(images), bank))


def simclr_probe() -> Call:
    """128 images: the encoder is frozen, but its batch norm is in train mode."""
    from dl.simclr.model import Classifier
    from dl.simclr.utils import train_val

    model = Classifier(10)
    model.f.requires_grad_(False)
    optimizer = torch.optim.Adam(model.fc.parameters(), lr=1e-3)
    batch = [(torch.randn(128, 3, 32, 32), torch.zeros(128, dtype=torch.int64))]
    return lambda: train_val(model, batch, optimizer, 1, 1, progress=False)


def augmentation() -> Call:
    """1,000 views of PIL images; on a machine with a GPU too, in four workers."""
    from PIL import Image

    from dl.simclr.data_utils import compute_train_transform

    transform, image = compute_train_transform(), Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8))
    return lambda: [transform(image) for _ in range(1000)]


def clip_images() -> Call:
    """50 images through ViT-B/32, from arrays on."""
    from dl.clip_dino import encode_images
    from dl.models import small_clip

    model = small_clip.published_network().eval()
    from clip.clip import _transform

    images, preprocess = np.zeros((50, 160, 160, 3), dtype=np.uint8), _transform(224)
    return torch.no_grad()(lambda: encode_images(model, preprocess, list(images), "cpu"))


def dino_frames(side: int, count: int) -> Call:
    """Tokens of new frames through ViT-S/8: every call sees others, since tokens of a frame seen are kept."""
    from dl.models.vit import DINO_CONFIGURATIONS, VisionTransformer
    from dl.video.tokens import stream_tokens

    model = VisionTransformer(**DINO_CONFIGURATIONS[8]).eval()
    numbers = np.random.default_rng(0)
    return lambda: list(stream_tokens(numbers.integers(0, 256, (count, 480, 854, 3), dtype=np.uint8), model, "cpu", side))


def stepped(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


CELLS = ("rnn", "lstm", "attn")
ROWS = (
    *(Row("rnn_lstm_captioning", f"training step, {cell}", 60 * 39, caption_training, (cell,)) for cell in CELLS),
    Row("Transformers", "epoch", 800, transformer_epoch),
    Row("Self_Supervised_Learning", "training step", 25_000 // 64, simclr_training),
    Row("Self_Supervised_Learning", "features of 64 images", 60_000 // 64 + 1, simclr_features),
    Row("Self_Supervised_Learning", "step of the probes", 2 * 10 * (60_000 // 128 + 1), simclr_probe),
    Row("Self_Supervised_Learning", "1,000 views", 50 + 2 * 10 * 50, augmentation),
    Row("CLIP_DINO", "features of 50 images", 4200 // 50, clip_images),  # three properties of 2 x 500 drawn ones and more
    Row("CLIP_DINO", "two frames at 480 pixels", (99 + 7) // 2, dino_frames, (480, 2)),  # of a video of 99 frames
    Row("CLIP_DINO", "20 frames at 160 pixels", 1200 // 20, dino_frames, (160, 20)),  # the sample world's hard videos
)


# --- The measurement ---


class Kernels(TorchDispatchMode):
    """Counts operations that compute something: each is a kernel at least."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def measured(row: Row) -> Cost:
    import resource  # not on Windows

    torch.set_num_threads(1)
    torch.manual_seed(0)
    call = row.prepare(*row.arguments)
    call()
    seconds = cpu_seconds(call)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    with FlopCounterMode(display=False) as flops, Kernels() as kernels:  # last: both keep tensors alive
        call()
    return Cost(seconds, max(flops.get_total_flops() / FLOPS, kernels.count * CALL), memory)


def cpu_seconds(call: Call) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> None:
    costs: dict[str, list[tuple[int, Cost]]] = {}
    for row in ROWS:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            cost = alone.submit(measured, row).result()
        costs.setdefault(row.notebook, []).append((row.times, cost))
        print(
            f"{row.notebook}, {row.what}: {cost.seconds:.2f} s, {row.times} times: {row.times * cost.seconds / 3600:.2f} h; "
            f"GPU, estimate {row.times * cost.on_gpu / 60:.1f} min; {cost.memory / 1e9:.1f} GB",
            flush=True,
        )
    print("\n| notebook | CPU, hours | memory | GPU, estimate in minutes |\n|---|---|---|---|")
    for notebook, rows in costs.items():
        hours = sum(times * cost.seconds for times, cost in rows) / 3600
        minutes = sum(times * cost.on_gpu for times, cost in rows) / 60
        print(f"| {notebook} | {hours:.1f} | {max(cost.memory for _, cost in rows) / 1e9:.1f} GB | {minutes:.0f} |")
