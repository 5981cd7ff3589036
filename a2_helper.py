"""Training loops and helpers of the first two notebooks: image captioning, and arithmetic with a Transformer."""

from __future__ import annotations

# Before torch, which loads OpenMP: it says how threads wait.
import dl as dl  # isort: split

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, Subset

from dl import settings
from dl.coco_utils import decode_captions
from dl.data import arithmetic
from dl.files import read_text, user_path
from dl.guards import (
    check_sizes,
    check_tensors,
    want_device,
    want_function,
    want_indices,
    want_iterable,
    want_kind,
    want_methods,
    want_numbers,
    want_tensors,
)
from dl.utils import cosine_schedule as cosine_schedule  # for the notebook
from dl.utils import eval_mode
from dl.weights.checkpoint import Checkpoint
from rnn_lstm_captioning import END, CaptioningRNN
from transformers import AddSubDataset, Transformer, generate_token_dict, get_subsequent_mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# --- Image captioning ---


def load_coco_captions(path: str | Path | None = None, verbose: bool = True) -> dict:
    """Read the captioning data: images, captions as word indices, and the vocabulary.

    Args:
        path: a `coco.pt` file; None takes the sample world's with DL_DATA=sample, the fetched one with DL_DATA=real.
        verbose: print what was read.
    Returns:
        `train_images`, `val_images` uint8 (n, 3, 112, 112); `train_captions`, `val_captions` int64 (n, 17); `vocab` with
        `idx_to_token` (list) and `token_to_idx` (dict). The sample world adds `held_out_images`, `held_out_captions`. With
        DL_QUICK, n is at most 150.
    Raises:
        FileNotFoundError: if the file is absent. ValueError: if it is cut, foreign, lacks a key, or contradicts itself;
            every problem is named.
    """
    from dl.data import content, locate
    from dl.data.coco import coco_problems

    path = locate("coco") if path is None else user_path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'load_coco_captions: {path} not found. Run "python -m dl data fetch coco", or leave the path out for the sample.'
        )
    remedy = "Fetch it again with python -m dl data fetch --again coco, or leave the path out for the sample."
    data, problems = content.load_saved(path)
    if problems:
        raise ValueError(f"load_coco_captions: {path} is no readable coco.pt: {'; '.join(problems)}. {remedy}")
    problems = coco_problems(data)
    if problems:
        raise ValueError(f"load_coco_captions: {path} is not what it should be: {'; '.join(problems)}. {remedy}")
    data |= {key: value[: settings.shortened(len(value), 150)] for key, value in data.items() if isinstance(value, Tensor)}
    if verbose:
        for key, value in data.items():
            if isinstance(value, Tensor):
                print(f"{key}: {type(value).__name__} {tuple(value.shape)} {value.dtype}")
            else:
                print(f"{key}: {type(value).__name__} with {', '.join(value)}")
        words = data["vocab"]["idx_to_token"]
        print(f"vocabulary: {len(words)} words, beginning with {' '.join(words[:12])}")
    return data


def train_captioner(
    model: CaptioningRNN,
    image_data: Tensor,
    caption_data: Tensor,
    num_epochs: int,
    batch_size: int,
    learning_rate: float,
    lr_decay: float = 1,
    device: torch.device | str | None = None,
    *,
    drop_last: bool = True,
    shuffle: torch.Generator | None = None,
    checkpoint: str | Path | None = None,
    plot: bool = True,
    after_epoch: Callable[[CaptioningRNN], float] | None = None,
    measured: list[float] | None = None,
) -> tuple[CaptioningRNN, list[float]]:
    """Train a captioner with AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101; PyTorch's defaults, weight decay 0.01).

    The learning rate at epoch e is learning_rate * lr_decay**e. Ctrl-C stops early and keeps what the model has learned.

    Args:
        model: changed in place, left in train mode on `device`.
        image_data: (n, 3, H, W) images, or (n, 400, h, w) features made by the model's own encoder.
        caption_data: (n, T + 1) int64 word indices.
        num_epochs, batch_size: >= 1. learning_rate: > 0. lr_decay: factor per epoch. With DL_QUICK, at most 2 epochs of 4
            batches.
        device: where to train, batch by batch; None is where the model is.
        drop_last: True, the reference setting, leaves out the last partial batch of every epoch (the same rows each time,
            unless they are shuffled); False trains on it too. Fewer rows than a batch always make one batch.
        shuffle: CPU generator that puts the rows into a new order in every epoch; None, the reference setting, keeps theirs.
        checkpoint: file written after each epoch, from which the next call with the same settings resumes.
        plot: draw the loss history at the end.
        after_epoch: called with the model after each epoch, to measure for example the validation loss.
        measured: a list for what `after_epoch` returns, emptied first; a checkpoint gives back that of epochs before a stop.
    Returns:
        model, and the loss of every step as Python floats.
    Raises:
        ValueError: for data that do not fit together, an index outside the vocabulary, a setting out of its range, a
            checkpoint of other settings, or as soon as the loss is not finite.
    """
    from tqdm.auto import tqdm

    check_sizes("train_captioner", num_epochs=num_epochs, batch_size=batch_size)
    want_numbers("train_captioner", learning_rate=learning_rate, lr_decay=lr_decay)
    device = None if device is None else want_device("train_captioner", device)
    odd = (
        []
        if num_epochs and batch_size and learning_rate > 0
        else [f"num_epochs {num_epochs}, batch_size {batch_size}, learning_rate {learning_rate}, wanted more than 0"]
    )
    _check_captions("train_captioner", model, image_data, caption_data, odd)
    device = next(model.parameters()).device if device is None else device
    model.to(device).train()
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=learning_rate)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=lr_decay)
    n = len(image_data)
    chosen = {"n": n, "batch_size": batch_size, "learning_rate": learning_rate, "lr_decay": lr_decay}
    saved = Checkpoint(checkpoint, chosen, model=model, optimizer=optimizer, scheduler=scheduler, shuffle=shuffle)
    progress = saved.resume()
    history, first_epoch = progress.get("history", []), progress.get("epoch", 0)
    measured = [] if measured is None else measured
    measured[:] = progress.get("measured", [])  # a cell that is run again begins anew
    num_epochs = settings.shortened(num_epochs, 2)
    epochs = tqdm(range(first_epoch, num_epochs), initial=first_epoch, total=num_epochs, desc="Epochs", leave=False)
    print_every = -(-num_epochs // 8)
    try:
        for epoch in epochs:
            started = time.perf_counter()
            for rows in _batches(n, batch_size, drop_last, shuffle):
                loss = model(image_data[rows].to(device), caption_data[rows].to(device))
                history.append(loss.item())
                _want_finite("train_captioner", history[-1:], epoch, len(history) - 1)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            scheduler.step()
            epochs.set_postfix(loss=f"{history[-1]:.3f}")
            if epoch % print_every == 0 or epoch == num_epochs - 1:
                seconds = time.perf_counter() - started
                print(f"(Epoch {epoch} / {num_epochs}) loss: {history[-1]:.4f} time per epoch: {seconds:.1f}s")
            if after_epoch is not None:
                measured.append(after_epoch(model))
            saved.save(epoch=epoch + 1, history=history, measured=measured)
    except KeyboardInterrupt:
        print(f"Stopped after {len(history)} steps; the model keeps what it has learned.")
    if plot:
        plot_loss_history(history)
    return model, history


def plot_loss_history(history: list[float], title: str = "Training loss history") -> Figure:
    """Loss against step, on a figure of its own, which is returned."""
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots()
    axis.plot(history, linewidth=1)
    axis.set(xlabel="Iteration", ylabel="Loss (nats per caption)", title=title)
    return figure


@torch.no_grad()
def caption_loss(model: CaptioningRNN, images: Tensor, captions: Tensor, batch_size: int = 250) -> float:
    """Mean loss per caption in eval mode, in nats: of a validation split, for example. The model's mode is put back.

    Args:
        images: (n, 3, H, W) images or (n, 400, h, w) features. captions: (n, T + 1) int64.
    """
    _check_captions("caption_loss", model, images, captions)
    check_sizes("caption_loss", 1, batch_size=batch_size)
    device = next(model.parameters()).device
    total = 0.0
    with eval_mode(model):
        for part, words in zip(images.split(batch_size), captions.split(batch_size)):
            total += model(part.to(device), words.to(device)).item() * len(part)
    return total / len(images)


@torch.no_grad()
def encode_images(model: CaptioningRNN, images: Tensor, batch_size: int = 100) -> Tensor:
    """Features of all images from the model's encoder in eval mode, once and for all: (n, 3, H, W) -> (n, 400, h, w).

    A captioner takes them in place of images; its encoder then stays as it is. The model's mode is put back.
    """
    from tqdm.auto import tqdm

    want_methods("encode_images", "encode parameters", model=model)
    check_sizes("encode_images", 1, batch_size=batch_size)
    check_tensors("encode_images", images=(images, "any n C H W"))
    device = next(model.parameters()).device
    chunks = tqdm(images.split(batch_size), desc="Encoding images", leave=False)
    with eval_mode(model):
        return torch.cat([model.encode(chunk.to(device)).cpu() for chunk in chunks])


@torch.no_grad()
def caption_images(
    model: CaptioningRNN, images: Tensor, max_length: int = 15, batch_size: int = 250
) -> tuple[list[str], Tensor | None]:
    """`sample` on any number of images in eval mode: list of sentences, and the attention maps (None unless "attn").

    Args:
        images: (n, 3, H, W) images or (n, 400, h, w) features.
    Returns:
        sentences without `<END>`, and float32 (n, max_length, h, w) or None.
    """
    want_methods("caption_images", "sample parameters", model=model)
    check_sizes("caption_images", 1, batch_size=batch_size, max_length=max_length)
    check_tensors("caption_images", images=(images, "any n C H W"))
    device = next(model.parameters()).device
    sentences: list[str] = []
    maps: list[Tensor] = []
    with eval_mode(model):
        for chunk in images.split(batch_size):
            sampled = model.sample(chunk.to(device), max_length)
            captions, attention = sampled if isinstance(sampled, tuple) else (sampled, None)
            decoded = decode_captions(captions, model.idx_to_word)
            sentences += [sentence.removesuffix(END).rstrip() for sentence in decoded]
            if attention is not None:
                maps.append(attention)
    return sentences, torch.cat(maps) if maps else None


def _check_captions(function: str, model: CaptioningRNN, images: Tensor, captions: Tensor, others: Sequence[str] = ()) -> None:
    """Images and captions that fit each other and the model; `others` are problems found before."""
    want_kind(function, "a model with a vocabulary", nn.Module, model=model)
    V = len(getattr(model, "word_to_idx", ()))
    want_tensors(function, floating=False, images=images, captions=captions)
    problems = list(others)
    if images.shape[:1] != captions.shape[:1] or not images.ndim:
        problems.append(f"{len(images) if images.ndim else 0} images but {len(captions) if captions.ndim else 0} captions")
    elif len(images) == 0:
        problems.append("no images at all")
    elif images.ndim != 4 or captions.ndim != 2 or captions.shape[1] < 2:
        problems.append(f"images have shape {tuple(images.shape)} and captions {tuple(captions.shape)}")
    elif captions.is_floating_point() or captions.dtype == torch.bool:
        problems.append(f"captions hold {captions.dtype}")
    elif not 0 <= int(captions.min()) <= int(captions.max()) < V:
        problems.append(
            f"captions hold indices from {int(captions.min())} to {int(captions.max())}, the vocabulary has 0 to {V - 1}"
        )
    if problems:
        raise ValueError(
            f"{function}: {'; '.join(problems)}. Pass one caption for each image, (n, T + 1) indices of the model's "
            "vocabulary for (n, 3, H, W) images or features."
        )


def _batches(n: int, batch_size: int, drop_last: bool, shuffle: torch.Generator | None) -> list[Tensor]:
    """Row numbers of each batch of an epoch."""
    order = torch.arange(n) if shuffle is None else torch.randperm(n, generator=shuffle)
    batches = list(order.split(batch_size))
    if drop_last and len(batches) > 1 and len(batches[-1]) < batch_size:
        batches.pop()
    return batches[: settings.shortened(len(batches), 4)]


# --- Transformers: arithmetic ---


def get_toy_data(path: str | Path) -> dict[str, list[str]]:
    """Read `two_digit_op.json`: {"inp_expression": [...], "out_expression": [...]}, two parallel lists of text.

    Raises:
        FileNotFoundError: if there is no such file. ValueError: if it is not JSON, not these two lists, or holds rows
            that are not spelt as the course's expressions (all problems are counted, the first ones shown).
    """
    path = user_path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"get_toy_data: {path} not found; wanted the course's arithmetic data. "
            "Run 'python -m dl.data.arithmetic', which writes datasets/two_digit_op.json in two seconds."
        )
    remedy = "Run 'python -m dl.data.arithmetic' to write the file anew."
    try:
        data = json.loads(read_text(path))
    except ValueError as error:
        raise ValueError(f"get_toy_data: {path} is not JSON ({error}); it is cut or another file. {remedy}") from error
    columns: list[Any] = [data.get(key) if isinstance(data, dict) else None for key in ("inp_expression", "out_expression")]
    if not all(isinstance(column, list) for column in columns) or len(columns[0]) != len(columns[1]):
        found = list(data) if isinstance(data, dict) else type(data).__name__
        raise ValueError(
            f"get_toy_data: {path} holds {found}; wanted two lists of equal length, inp_expression and "
            f"out_expression. {remedy}"
        )
    problems = []
    for row, (line, result) in enumerate(zip(*columns, strict=True)):
        try:
            if arithmetic.output_text(arithmetic.parse(line)) != result:
                problems.append(f"row {row}: {line!r} = {result!r}")
        except (ValueError, TypeError):
            problems.append(f"row {row}: {line!r}")
    if problems:
        raise ValueError(
            f"get_toy_data: {len(problems)} rows of {path} are wrong or not spelt 'BOS SIGN dd OP SIGN dd EOS' = "
            f"'BOS SIGN dd EOS': {'; '.join(problems[:3])}. {remedy}"
        )
    return data


def split_rows(data: dict[str, list[str]]) -> tuple[list[str], list[str], list[str], list[str]]:
    """The course's split: inputs for training and validation, results for training and validation.

    9 to 1, shuffled by scikit-learn with seed 0; which rows go where depends only on their number.
    Raises:
        TypeError, ValueError: for other data than `get_toy_data` returns.
    """
    want_kind("split_rows", "the dictionary of get_toy_data", Mapping, data=data)
    columns = [data.get(key, ()) for key in ("inp_expression", "out_expression")]
    if len(columns[0]) != len(columns[1]) or len(columns[0]) < 2:
        raise ValueError(
            f"split_rows: got {len(columns[0])} inputs and {len(columns[1])} results, wanted equally many, at least two. Pass "
            "what get_toy_data returns."
        )
    from sklearn.model_selection import train_test_split

    return tuple(train_test_split(*columns, test_size=0.1, random_state=0))


def expression_dataset(
    expressions: Iterable[arithmetic.Expression], emb_dim: int, pos_encode: Callable[[int, int], Tensor]
) -> AddSubDataset:
    """Expressions (a, op, b) with their exact results, as tokens of the course's vocabulary."""
    expressions = _expressions("expression_dataset", expressions)
    return AddSubDataset(
        [arithmetic.input_text(expression) for expression in expressions],
        [arithmetic.output_text(expression) for expression in expressions],
        generate_token_dict(arithmetic.VOCABULARY),
        arithmetic.SPECIAL_WORDS,
        emb_dim,
        pos_encode,
    )


def _expressions(function: str, expressions: Iterable[arithmetic.Expression]) -> list[arithmetic.Expression]:
    want_iterable(function, "a list of expressions", expressions=expressions)
    found = list(expressions)
    for one in found:
        fits = isinstance(one, tuple) and len(one) == 3 and one[1] in arithmetic.OPERATIONS
        if not fits or not all(isinstance(n, int) and abs(n) <= arithmetic.LIMIT for n in one[::2]):
            raise ValueError(
                f"{function}: got {one!r:.60}, wanted an expression such as (2, 'subtract', 15), numbers of at most "
                f"{arithmetic.LIMIT}. Take them from all_expressions."
            )
    return found


def step_schedule(warmup_lr: float, warmup_interval: int | None, lr: float) -> Callable[[int], float]:
    """The reference learning rate of update t = 0, 1, …: `warmup_lr` for the first `warmup_interval`, then `lr`."""
    want_numbers("step_schedule", warmup_lr=warmup_lr, lr=lr)
    if warmup_interval is not None:
        want_numbers("step_schedule", warmup_interval=warmup_interval)
    return lambda update: warmup_lr if warmup_interval is not None and update < warmup_interval else lr


def train(
    model: Transformer,
    train_dataloader: DataLoader,
    val_dataloader: DataLoader,
    loss_func: Callable,
    num_epochs: int,
    batch_size: int = 32,
    warmup_lr: float = 6e-6,
    warmup_interval: int | None = 1000,
    lr: float = 6e-4,
    device: torch.device | str = "cpu",
    *,
    optimizer: Optimizer | None = None,
    schedule: Callable[[int], float] | None = None,
    history: list[dict] | None = None,
    on_epoch: Callable[[Transformer, dict], None] | None = None,
    checkpoint: str | Path | None = None,
    print_every: int = 1,
) -> Transformer:
    """Train a `Transformer` with true earlier tokens given, and validate after each epoch.

    Args:
        model: moved to `device`, trained in place. train_dataloader, val_dataloader: batches of `AddSubDataset`.
        loss_func: (logits (T, V), classes (T,)) -> the SUM over T tokens.
        num_epochs: passes over the training loader; with DL_QUICK, at most 10 of one batch, each validated on another.
        batch_size: not used, losses are divided by the tokens counted; it stays because the notebook's calls pass it.
        warmup_lr, warmup_interval, lr: see `step_schedule`; None starts at `lr`.
        optimizer: default Adam, betas (0.9, 0.995), eps 1e-9. schedule: learning rate of each update, instead of the step.
        history: a list; one dict per epoch is appended: epoch, train_loss, val_loss (nats per token), val_accuracy (of
            tokens), seconds since the start.
        on_epoch: called as on_epoch(model, entry) after each epoch; may add scores to the entry.
        checkpoint: file written after each epoch; if it exists, training goes on from it, as if it had not stopped
            (random states included; on a GPU up to its own randomness).
        print_every: epochs between printed lines; 0 prints nothing, and shows no progress bar.
    Returns:
        `model`.
    Raises:
        ValueError: if the training loader has no batch, the checkpoint is that of another architecture, or the loss of an
            epoch is not finite.
    """
    from tqdm.auto import tqdm

    want_kind("train", "a DataLoader", DataLoader, train_dataloader=train_dataloader)
    check_sizes("train", num_epochs=num_epochs, print_every=print_every)
    want_numbers("train", lr=lr, warmup_lr=warmup_lr)
    if lr < 0 or warmup_lr < 0:
        raise ValueError(f"train: lr is {lr} and warmup_lr {warmup_lr}, wanted 0 or more. Leave them out for the course's.")
    if warmup_interval is not None:
        check_sizes("train", warmup_interval=warmup_interval)
    _check_evaluation("train", model, loss_func, device)
    if len(train_dataloader) == 0:
        raise ValueError(
            "train: the training loader gives no batch; wanted at least one. Choose a batch size no larger than the "
            "data set, or drop_last=False."
        )
    want_iterable("train", "a DataLoader", val_dataloader=val_dataloader)
    model.to(device)
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=lr, betas=(0.9, 0.995), eps=1e-9, fused=True)
    if schedule is None:
        schedule = step_schedule(warmup_lr, warmup_interval, lr)
        if print_every and warmup_interval is not None:
            print(f"learning rate {warmup_lr:g} for the first {warmup_interval} updates, then {lr:g}")
    num_epochs = settings.shortened(num_epochs, 10)
    history = [] if history is None else history
    saved = Checkpoint(checkpoint, {}, model=model, optimizer=optimizer, order=train_dataloader.generator)
    history[:] = saved.resume().get("history", [] if checkpoint else history)
    started = time.perf_counter() - (history[-1]["seconds"] if history else 0.0)
    left, options = range(len(history) + 1, num_epochs + 1), {"initial": len(history), "total": num_epochs}
    epochs = tqdm(left, desc="Epochs", leave=False, disable=not print_every, **options)
    for epoch in epochs:
        train_loss = _train_epoch(model, train_dataloader, loss_func, optimizer, schedule, epoch, device)
        looked_at = islice(val_dataloader, settings.shortened(sys.maxsize, 1))
        val_loss, val_accuracy = val(model, looked_at, loss_func, batch_size, device)
        seconds = time.perf_counter() - started
        entry = {
            "epoch": epoch,
            "train_loss": train_loss,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "seconds": seconds,
        }
        if on_epoch is not None:
            on_epoch(model, entry)
        history.append(entry)
        saved.save(history=history)
        epochs.set_postfix(loss=f"{train_loss:.3f}")
        if print_every and (epoch % print_every == 0 or epoch == num_epochs):
            print(
                f"epoch {epoch:3d}: loss per token {train_loss:.4f} training, {val_loss:.4f} validation; "
                f"token accuracy on validation {val_accuracy:.4f}"
            )
    return model


def _train_epoch(
    model: Transformer,
    loader: DataLoader,
    loss_func: Callable,
    optimizer: Optimizer,
    schedule: Callable[[int], float],
    epoch: int,
    device: torch.device | str,
) -> float:
    """One pass over the training data; the mean loss per token."""
    model.train()
    losses, tokens, first = [], 0, (epoch - 1) * len(loader)
    for update, batch in enumerate(islice(loader, settings.shortened(len(loader), 1)), start=first):
        for group in optimizer.param_groups:
            group["lr"] = schedule(update)
        loss, count, _ = _batch_loss(model, batch, loss_func, device)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        tokens += count
    summed = torch.stack(losses).tolist()  # read once per epoch: on a GPU every reading waits
    _want_finite("train", summed, epoch, first)
    return math.fsum(summed) / tokens


@torch.no_grad()
def val(
    model: Transformer, dataloader: Iterable, loss_func: Callable, batch_size: int = 32, device: torch.device | str = "cpu"
) -> tuple[float, float]:
    """Loss and accuracy with true earlier tokens given, over ALL rows of the loader.

    Args:
        as in `train`; batch_size is not used.
    Returns:
        loss in nats per token, and the fraction of right tokens, in [0, 1]. Four tokens per row count: sign, two digits and
        EOS; the last is always the same, so a quarter is nearly free. `right_answers` asks for whole results.
    """
    _check_evaluation("val", model, loss_func, device)
    want_iterable("val", "a DataLoader", dataloader=dataloader)
    model.to(device)
    total, right, tokens = torch.zeros((), device=device), torch.zeros((), device=device), 0
    with eval_mode(model):
        for batch in dataloader:
            loss, count, batch_right = _batch_loss(model, batch, loss_func, device)
            total, right, tokens = total + loss, right + batch_right, tokens + count
    if not tokens:
        raise ValueError("val: the loader gave no tokens; wanted at least one batch. Pass a DataLoader over an AddSubDataset.")
    return total.item() / tokens, right.item() / tokens


@torch.no_grad()
def inference(
    model: Transformer, inp_exp: Tensor, inp_exp_pos: Tensor, out_pos_exp: Tensor, out_seq_len: int, *, bos_token: int = 14
) -> tuple[Tensor, Transformer]:
    """Write results token by token, each time the likeliest one (greedy decoding), for all rows of a batch at once.

    One pass of the encoder, then `out_seq_len` - 1 of the decoder over the growing prefix, under the causal mask of
    training. The model is in eval mode meanwhile.

    Args:
        model: a `Transformer`, on the inputs' device.
        inp_exp: (N, K) int64 tokens, or (K,) for one row. inp_exp_pos: (N, K, M) or (1, K, M) positions.
        out_pos_exp: (N, O, M) or (1, O, M), O at least out_seq_len - 1. out_seq_len: tokens to write, BOS included.
        bos_token: the first token of every result; 14 in the course's vocabulary.
    Returns:
        (N, out_seq_len) int64 beginning with BOS, and the model.
    Raises:
        ValueError: if tokens and positions do not fit.
    """
    want_methods("inference", "encoder decoder emb_layer", model=model)
    want_tensors("inference", inp_exp_pos=inp_exp_pos, out_pos_exp=out_pos_exp)
    V, M = model.emb_layer.weight.shape
    want_indices("inference", V, inp_exp=inp_exp)
    check_sizes("inference", 1, out_seq_len=out_seq_len)
    check_sizes("inference", bos_token=bos_token)
    tokens = inp_exp if inp_exp.ndim == 2 else inp_exp[None]  # (N, K)
    positions = {"inp_exp_pos": inp_exp_pos, "out_pos_exp": out_pos_exp}
    odd = [f"{name} {tuple(p.shape)}" for name, p in positions.items() if not _are_positions(p, len(tokens), M)]
    if tokens.ndim != 2 or odd or bos_token >= V:
        raise ValueError(
            f"inference: got tokens {tuple(inp_exp.shape)}, bos_token {bos_token} of {V} and {', '.join(odd) or 'positions'}; "
            f"wanted tokens (N, K) or (K,), and positions (N, K, {M}) or (1, K, {M}). Take them from an AddSubDataset."
        )
    if tokens.shape[1] != inp_exp_pos.shape[-2] or out_seq_len - 1 > out_pos_exp.shape[-2]:
        raise ValueError(
            f"inference: {tokens.shape[1]} input tokens with {inp_exp_pos.shape[-2]} positions, {out_seq_len} output "
            f"tokens with {out_pos_exp.shape[-2]} positions; wanted one position for each input token and each output "
            "token but the last. Write numbers with two digits, or make longer positions."
        )
    with eval_mode(model):
        encoded = model.encoder(model.emb_layer(tokens) + inp_exp_pos)  # (N, K, M)
        written = tokens.new_full((len(tokens), 1), bos_token)  # (N, 1)
        for length in range(1, out_seq_len):
            read = model.emb_layer(written) + out_pos_exp[..., :length, :]  # (N, length, M)
            logits = model.decoder(read, encoded, get_subsequent_mask(written))  # (N, length, V)
            written = torch.cat([written, logits[:, -1:].argmax(dim=-1)], dim=1)
    return written, model


def _are_positions(positions: Tensor, N: int, M: int) -> bool:
    return positions.ndim in (2, 3) and positions.shape[-1] == M and (positions.ndim == 2 or positions.shape[0] in (1, N))


def right_tokens(
    model: Transformer, dataset: AddSubDataset, device: torch.device | str = "cpu", batch_size: int = 1024
) -> Tensor:
    """Which tokens of each row's result the model writes right, by greedy decoding.

    Args:
        dataset: an `AddSubDataset`; with DL_QUICK, its first 200 rows are asked.
    Returns:
        (rows, tokens) bool on the CPU, BOS first.
    """
    want_kind("right_tokens", "a Transformer", nn.Module, model=model)
    want_kind("right_tokens", "an AddSubDataset", Dataset, dataset=dataset)
    want_device("right_tokens", device)
    check_sizes("right_tokens", 1, batch_size=batch_size)
    model.to(device)
    asked = Subset(dataset, range(settings.shortened(len(dataset), 100)))
    right = []
    for batch in DataLoader(asked, batch_size):
        inputs, input_positions, targets, target_positions = _parts_of(batch)
        tokens, places, out_places = (tensor.to(device) for tensor in (inputs, input_positions, target_positions))
        written, _ = inference(model, tokens, places, out_places, targets.shape[1])
        right.append(written.cpu() == targets)
    return torch.cat(right)


def right_answers(
    model: Transformer, dataset: AddSubDataset, device: torch.device | str = "cpu", batch_size: int = 1024
) -> Tensor:
    """Whether the model writes the whole result of each row: `right_tokens` for all tokens at once.

    Returns:
        (rows,) bool on the CPU; its mean is the exact match.
    """
    return right_tokens(model, dataset, device, batch_size).all(dim=1)


def ask(
    model: Transformer,
    expressions: Iterable[arithmetic.Expression],
    pos_encode: Callable[[int, int], Tensor],
    device: torch.device | str = "cpu",
) -> dict[arithmetic.Expression, list[bool]]:
    """Ask a model many questions: for each expression, which tokens of the result it writes right (greedy decoding).

    Args:
        expressions: distinct; with DL_QUICK, the first 200 are asked. pos_encode: as the model was trained with.
    Returns:
        expression -> five booleans: BOS, sign, tens, ones, EOS.
    """
    want_methods("ask", "emb_layer encoder decoder", model=model)
    expressions = _expressions("ask", expressions)
    rows = expression_dataset(expressions, model.emb_layer.weight.shape[1], pos_encode)
    return dict(zip(expressions, right_tokens(model, rows, device).tolist(), strict=False))


def exact_match(answers: dict[arithmetic.Expression, list[bool]], expressions: Iterable[arithmetic.Expression]) -> float:
    """Share of the expressions whose whole result is right, of those that were asked; each counts as often as it is given."""
    want_kind("exact_match", "the dictionary of ask", Mapping, answers=answers)
    expressions = _expressions("exact_match", expressions)
    whole = [all(answers[expression]) for expression in expressions if expression in answers]
    return sum(whole) / max(len(whole), 1)


def draw(data: Tensor, x: list[str], y: list[str], ax: Axes) -> None:
    """Draw attention weights as a heat map on `ax`.

    Args:
        data: (K_Q, K_K) array in [0, 1]. x: labels of the keys. y: labels of the queries. [] for none.
    """
    ax.pcolormesh(data, vmin=0.0, vmax=1.0, cmap="viridis")  # seaborn's heatmap would draw the whole figure for each map
    ax.set(aspect="equal", ylim=(len(data), 0))
    for axis, words in ((ax.xaxis, x), (ax.yaxis, y)):
        axis.set_ticks([place + 0.5 for place in range(len(words))], words)
    ax.grid(False)


def watch_exact_match(
    sets: dict[str, AddSubDataset], every: int, device: torch.device | str = "cpu"
) -> Callable[[Transformer, dict], None]:
    """An `on_epoch` for `train`: every `every` epochs, the entry gets each data set's exact match, under its name."""

    want_kind("watch_exact_match", "a dictionary of data sets", Mapping, sets=sets)
    check_sizes("watch_exact_match", 1, every=every)
    want_device("watch_exact_match", device)

    def on_epoch(model: Transformer, entry: dict) -> None:
        if entry["epoch"] % every == 0:
            for name, rows in sets.items():
                entry[name] = right_answers(model, rows, device).double().mean().item()

    return on_epoch


@torch.no_grad()
def shrink_weights(model: Transformer, matrices: float, embedding: float) -> Transformer:
    """Scale a fresh `Transformer`: its weight matrices and its embedding by these factors, in place; returns it.

    Biases and norms stay. It is an experiment: the notebook's table shows whether smaller weights at the start helped.
    """
    want_methods("shrink_weights", "parameters emb_layer", model=model)
    want_numbers("shrink_weights", matrices=matrices, embedding=embedding)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.mul_(float(embedding if parameter is model.emb_layer.weight else matrices))
    return model


def time_call(call: Callable[[], object], repeats: int = 3) -> float:
    """Seconds that one call takes: the fastest of `repeats`, after one to warm up."""
    want_function("time_call", "a function without arguments", call=call)
    check_sizes("time_call", 1, repeats=repeats)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # kernels run on after the call has returned
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _check_evaluation(function: str, model: Transformer, loss_func: Callable, device: torch.device | str) -> None:
    want_kind(function, "a Transformer", nn.Module, model=model)
    want_function(function, "a function of logits and classes", loss_func=loss_func)
    want_device(function, device)


def _want_finite(function: str, losses: list[float], epoch: int, first_step: int) -> None:
    """Stop a training whose loss is NaN or infinite: nothing after it would be worth its time."""
    for step, loss in enumerate(losses, start=first_step):
        if not math.isfinite(loss):
            raise ValueError(
                f"{function}: the loss is {loss} at step {step}, in epoch {epoch}; wanted a finite one. Look for NaN in the "
                "data, or start again with a lower learning rate."
            )


def _parts_of(batch: object) -> list[Tensor]:
    """The four tensors of a batch of `AddSubDataset`."""
    if not isinstance(batch, (list, tuple)) or len(batch) != 4 or not all(isinstance(part, Tensor) for part in batch):
        raise TypeError(
            f"AddSubDataset: a loader gave {batch!r:.60}, wanted four tensors a batch: inputs, positions, targets, positions. "
            "Pass a DataLoader over an AddSubDataset."
        )
    return list(batch)


def _batch_loss(
    model: nn.Module, batch: list[Tensor], loss_func: Callable, device: torch.device | str
) -> tuple[Tensor, int, Tensor]:
    """Summed loss, number of predicted tokens, number of right ones."""
    inputs, input_positions, targets, target_positions = (tensor.to(device) for tensor in _parts_of(batch))
    logits = model(inputs, input_positions, targets, target_positions)  # (N * (O-1), V)
    truth = targets[:, 1:].flatten()  # the next token at every position
    return loss_func(logits, truth), truth.numel(), (logits.argmax(dim=-1) == truth).sum()
