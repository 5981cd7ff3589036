"""Training loops and helpers of the first two notebooks: image captioning, and arithmetic with a Transformer."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from dl import arithmetic, weights
from transformers import get_subsequent_mask


# --- Transformers: arithmetic ---


def get_toy_data(path: str | Path) -> dict[str, list[str]]:
    """Read `two_digit_op.json`: {"inp_expression": [...], "out_expression": [...]}, two parallel lists of text.

    Raises:
        FileNotFoundError: if there is no such file. ValueError: if it is not JSON, not these two lists, or holds rows
            that are not spelt as the course's expressions (all problems are counted, the first ones shown).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"get_toy_data: {path} not found; wanted the course's arithmetic data. Run 'python -m dl.arithmetic', which "
            "writes datasets/two_digit_op.json in two seconds."
        )
    remedy = "Run 'python -m dl.arithmetic' to write the file anew."
    try:
        data = json.loads(path.read_text())
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise ValueError(f"get_toy_data: {path} is not JSON ({error}); it is cut or another file. {remedy}") from error
    columns = [data.get(key) if isinstance(data, dict) else None for key in ("inp_expression", "out_expression")]
    if not all(isinstance(column, list) for column in columns) or len(columns[0]) != len(columns[1]):
        found = {key: type(value).__name__ for key, value in data.items()} if isinstance(data, dict) else type(data).__name__
        raise ValueError(
            f"get_toy_data: {path} holds {found}; wanted two lists of equal length, inp_expression and out_expression. {remedy}"
        )
    problems = []
    for row, (line, result) in enumerate(zip(*columns)):
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


def step_schedule(warmup_lr: float, warmup_interval: int | None, lr: float) -> Callable[[int], float]:
    """The course's rate of update t = 0, 1, …: `warmup_lr` for the first `warmup_interval` updates, then `lr`."""
    return lambda update: warmup_lr if warmup_interval is not None and update < warmup_interval else lr


def cosine_schedule(lr: float, warmup: int, total: int) -> Callable[[int], float]:
    """Rate of update t = 0, 1, …: a straight rise to `lr` over `warmup` updates, then half a cosine down to 0 at `total`."""

    def rate(update: int) -> float:
        if update < warmup:
            return lr * (update + 1) / warmup
        return lr * 0.5 * (1 + math.cos(math.pi * (update - warmup) / (total - warmup)))

    return rate


def train(
    model: nn.Module, train_dataloader: DataLoader, val_dataloader: DataLoader, loss_func: Callable, num_epochs: int,
    batch_size: int = 32, warmup_lr: float = 6e-6, warmup_interval: int | None = 1000, lr: float = 6e-4,
    device: torch.device | str = "cpu", *, optimizer: Optimizer | None = None,
    schedule: Callable[[int], float] | None = None, history: list[dict] | None = None,
    on_epoch: Callable[[nn.Module, dict], None] | None = None, checkpoint: Path | None = None, print_every: int = 1,
) -> nn.Module:
    """Train a `Transformer` with true earlier tokens given, and validate after each epoch.

    Args:
        model: moved to `device`, trained in place. train_dataloader, val_dataloader: batches of `AddSubDataset`.
        loss_func: (logits (T, V), classes (T,)) -> the SUM over T tokens.
        num_epochs: passes over the training loader. batch_size: not used, losses are divided by the tokens counted; it
            stays because the notebook's calls pass it.
        warmup_lr, warmup_interval, lr: see `step_schedule`; None starts at `lr`.
        optimizer: default Adam, betas (0.9, 0.995), eps 1e-9. schedule: rate of each update, instead of the step.
        history: a list; one dict an epoch is appended: epoch, train_loss, val_loss (nats a token), val_accuracy (of
            tokens), seconds since the start.
        on_epoch: called as on_epoch(model, entry) after each epoch; may add scores to the entry.
        checkpoint: file written after each epoch; if it exists, training goes on from it, as if it had not stopped
            (random states included; on a GPU up to its own randomness).
        print_every: epochs between printed lines; 0 prints nothing.
    Returns:
        `model`.
    Raises:
        ValueError: if the training loader has no batch.
    """
    if len(train_dataloader) == 0:
        raise ValueError(
            "train: the training loader gives no batch; wanted at least one. Choose a batch size no larger than the "
            "data set, or drop_last=False."
        )
    model.to(device)
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=lr, betas=(0.9, 0.995), eps=1e-9, fused=True)
    announce = warmup_interval if schedule is None and print_every else None
    schedule = schedule or step_schedule(warmup_lr, warmup_interval, lr)
    history = [] if history is None else history
    if checkpoint is not None:
        history[:] = _load_checkpoint(checkpoint, model, optimizer, train_dataloader)
    started = time.perf_counter() - (history[-1]["seconds"] if history else 0.0)
    update = len(history) * len(train_dataloader)
    for epoch in range(len(history) + 1, num_epochs + 1):
        model.train()
        total, tokens = torch.zeros((), device=device), 0
        for batch in train_dataloader:
            if update == announce:
                print(f"update {update}: the rate goes from {warmup_lr:g} to {lr:g}")
            for group in optimizer.param_groups:
                group["lr"] = schedule(update)
            loss, count, _ = _batch_loss(model, batch, loss_func, device)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, tokens, update = total + loss.detach(), tokens + count, update + 1
        val_loss, val_accuracy = val(model, val_dataloader, loss_func, batch_size, device)
        entry = {
            "epoch": epoch, "train_loss": total.item() / tokens, "val_loss": val_loss, "val_accuracy": val_accuracy,
            "seconds": time.perf_counter() - started,
        }
        if on_epoch is not None:
            on_epoch(model, entry)
        history.append(entry)
        if checkpoint is not None:
            _save_checkpoint(checkpoint, model, optimizer, train_dataloader, history)
        if print_every and (epoch % print_every == 0 or epoch == num_epochs):
            print(
                f"epoch {epoch:3d}: loss a token {entry['train_loss']:.4f} training, {val_loss:.4f} validation; "
                f"validation accuracy of tokens {val_accuracy:.4f}"
            )
    return model


@torch.no_grad()
def val(
    model: nn.Module, dataloader: DataLoader, loss_func: Callable, batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> tuple[float, float]:
    """Loss and accuracy with true earlier tokens given, over ALL rows of the loader.

    Args:
        as in `train`; batch_size is not used.
    Returns:
        loss in nats a token, and the share of right tokens, in [0, 1]. Four tokens a row count: sign, two digits and EOS;
        the last is always the same, so a quarter is nearly free. `right_answers` asks for whole results.
    """
    model.to(device).eval()
    total, right, tokens = torch.zeros((), device=device), torch.zeros((), device=device), 0
    for batch in dataloader:
        loss, count, batch_right = _batch_loss(model, batch, loss_func, device)
        total, right, tokens = total + loss, right + batch_right, tokens + count
    return total.item() / tokens, right.item() / tokens


@torch.no_grad()
def inference(
    model: nn.Module, inp_exp: Tensor, inp_exp_pos: Tensor, out_pos_exp: Tensor, out_seq_len: int, *, bos_token: int = 14
) -> tuple[Tensor, nn.Module]:
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
    tokens = inp_exp if inp_exp.ndim == 2 else inp_exp[None]  # (N, K)
    if tokens.shape[1] != inp_exp_pos.shape[-2] or out_seq_len - 1 > out_pos_exp.shape[-2]:
        raise ValueError(
            f"inference: {tokens.shape[1]} input tokens with {inp_exp_pos.shape[-2]} positions, {out_seq_len} output tokens "
            f"with {out_pos_exp.shape[-2]} positions; wanted one position for each input token and for each output token but "
            "the last. Write numbers with two digits, or make longer positions."
        )
    was_training = model.training
    model.eval()
    encoded = model.encoder(model.emb_layer(tokens) + inp_exp_pos)  # (N, K, M)
    written = tokens.new_full((len(tokens), 1), bos_token)  # (N, 1)
    for length in range(1, out_seq_len):
        read = model.emb_layer(written) + out_pos_exp[..., :length, :]  # (N, length, M)
        logits = model.decoder(read, encoded, get_subsequent_mask(written))  # (N, length, V)
        written = torch.cat([written, logits[:, -1:].argmax(dim=-1)], dim=1)
    model.train(was_training)
    return written, model


def right_answers(
    model: nn.Module, dataset: Dataset, device: torch.device | str = "cpu", batch_size: int = 1024
) -> Tensor:
    """Whether the model writes the whole result of each row, token for token, by greedy decoding.

    Args:
        dataset: an `AddSubDataset`.
    Returns:
        (rows,) bool on the CPU; its mean is the exact match.
    """
    model.to(device)
    right = []
    for inputs, input_positions, targets, target_positions in DataLoader(dataset, batch_size):
        batch = (tensor.to(device) for tensor in (inputs, input_positions, target_positions))
        written, _ = inference(model, *batch, out_seq_len=targets.shape[1])
        right.append((written.cpu() == targets).all(dim=1))
    return torch.cat(right)


def draw(data, x: list[str], y: list[str], ax) -> None:
    """Draw attention weights as a heat map on `ax`.

    Args:
        data: (K_Q, K_K) array in [0, 1]. x: labels of the keys. y: labels of the queries, [] for none.
    """
    import seaborn

    seaborn.heatmap(
        data, xticklabels=x, yticklabels=y, square=True, vmin=0.0, vmax=1.0, cbar=False, cmap="viridis", ax=ax
    )


def _batch_loss(
    model: nn.Module, batch: list[Tensor], loss_func: Callable, device: torch.device | str
) -> tuple[Tensor, int, Tensor]:
    """Summed loss, number of predicted tokens, number of right ones."""
    inputs, input_positions, targets, target_positions = (tensor.to(device) for tensor in batch)
    logits = model(inputs, input_positions, targets, target_positions)  # (N * (O-1), V)
    truth = targets[:, 1:].flatten()  # the next token at every position
    return loss_func(logits, truth), truth.numel(), (logits.argmax(dim=-1) == truth).sum()


def _save_checkpoint(
    path: Path, model: nn.Module, optimizer: Optimizer, loader: DataLoader, history: list[dict]
) -> None:
    loader_state = loader.generator.get_state() if loader.generator else None
    weights.save_checkpoint(path, {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "history": history,
        "random": torch.get_rng_state(), "loader": loader_state,
    })


def _load_checkpoint(
    path: Path, model: nn.Module, optimizer: Optimizer, loader: DataLoader
) -> list[dict]:
    state = weights.load_checkpoint(path)
    if state is None:
        return []
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    if loader.generator:
        loader.generator.set_state(state["loader"])
    return state["history"]
