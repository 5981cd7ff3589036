"""Training loops and helpers of the first two notebooks: image captioning, and arithmetic with a Transformer."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from dl import weights
from dl.data import arithmetic
from rnn_lstm_captioning import END, NULL, CaptioningRNN
from transformers import AddSubDataset, generate_token_dict, get_subsequent_mask

# --- Image captioning ---


def load_coco_captions(path: str | Path | None = None, verbose: bool = True) -> dict:
    """Read the captioning data: pictures, captions as word indices, and the vocabulary.

    Args:
        path: a `coco.pt` file; None takes the sample world's with DL_DATA=sample, the fetched one with DL_DATA=real.
        verbose: print what was read.
    Returns:
        `train_images`, `val_images` uint8 (n, 3, 112, 112); `train_captions`, `val_captions` int64 (n, 17); `vocab` with
        `idx_to_token` (list) and `token_to_idx` (dict). The sample world adds `held_out_images`, `held_out_captions`.
    Raises:
        FileNotFoundError: if the file is absent. ValueError: if it is cut, foreign, lacks a key, or contradicts itself;
            every problem is named.
    """
    from dl.data import content
    from dl.data.coco import coco_file, coco_problems

    path = coco_file() if path is None else Path(path)
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
    if verbose:
        for key, value in data.items():
            if isinstance(value, Tensor):
                print(f"{key}: {type(value).__name__} {tuple(value.shape)} {value.dtype}")
            else:
                print(f"{key}: {type(value).__name__} with {', '.join(value)}")
        words = data["vocab"]["idx_to_token"]
        print(f"vocabulary: {len(words)} words, beginning with {' '.join(words[:12])}")
    return data


def decode_captions(captions: Tensor | list, idx_to_word: list[str] | dict[int, str]) -> str | list[str]:
    """Word indices as text: words joined by single blanks, `<NULL>` dropped, nothing after the first `<END>`.

    Args:
        captions: integers (T,) or (N, T), on any device. idx_to_word: word of every index.
    Returns:
        one string for (T,), a list of N strings for (N, T). `<START>`, `<UNK>` and the closing `<END>` stay.
    Raises:
        ValueError: if an index has no word, or captions are not 1-D or 2-D.
    """
    captions = torch.as_tensor(captions).cpu()
    if captions.ndim not in (1, 2):
        raise ValueError(
            f"decode_captions: captions must be (T,) or (N, T), got {tuple(captions.shape)}. "
            "Pass one caption or a batch of them."
        )
    if captions.ndim == 2:
        return [decode_captions(row, idx_to_word) for row in captions]
    kept = []
    for index in captions.tolist():
        try:
            word = idx_to_word[index] if index >= 0 else None
        except (IndexError, KeyError):
            word = None
        if word is None:
            raise ValueError(
                f"decode_captions: index {index} has no word among {len(idx_to_word)}. "
                "Decode with the vocabulary that the captions were made with."
            )
        if word != NULL:
            kept.append(word)
        if word == END:
            break
    return " ".join(kept)


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
    checkpoint: Path | None = None,
    plot: bool = True,
) -> tuple[CaptioningRNN, list[float]]:
    """Train a captioner with AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101; PyTorch's defaults, weight decay 0.01).

    The learning rate at epoch e is learning_rate * lr_decay**e. Ctrl-C stops early and keeps what was learnt.

    Args:
        model: changed in place, left in train mode on `device`.
        image_data: (n, 3, H, W) images, or (n, 400, h, w) features made by the model's own encoder.
        caption_data: (n, T + 1) int64 word indices.
        num_epochs, batch_size: >= 1. learning_rate: > 0. lr_decay: factor per epoch.
        device: where to train, batch by batch; None is where the model is.
        drop_last: the course's published runs leave out the remainder of n / batch_size in every epoch (the same rows
            each time), and so does True; False trains on it too. Fewer rows than a batch always make one batch.
        shuffle: CPU generator that orders the rows anew in every epoch; None keeps their order, as the published runs do.
        checkpoint: file written after each epoch, from which the next call with the same settings resumes.
        plot: draw the loss history at the end.
    Returns:
        model, and the loss of every step as Python floats.
    Raises:
        ValueError: for data that do not fit together, an index outside the vocabulary, a setting out of its range, or a
            checkpoint of other settings.
    """
    from tqdm.auto import tqdm

    _check_captioner_data(model, image_data, caption_data, num_epochs, batch_size, learning_rate)
    device = next(model.parameters()).device if device is None else torch.device(device)
    model.to(device).train()
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=learning_rate)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=lr_decay)
    n = len(image_data)
    settings = {"n": n, "batch_size": batch_size, "learning_rate": learning_rate, "lr_decay": lr_decay}
    history, first_epoch = _resume_captioner(checkpoint, settings, model, optimizer, scheduler, shuffle)
    epochs = tqdm(range(first_epoch, num_epochs), initial=first_epoch, total=num_epochs, desc="Epochs", leave=False)
    print_every = -(-num_epochs // 8)
    try:
        for epoch in epochs:
            started = time.perf_counter()
            order = torch.arange(n) if shuffle is None else torch.randperm(n, generator=shuffle)
            batches = list(order.split(batch_size))
            if drop_last and len(batches) > 1 and len(batches[-1]) < batch_size:
                batches.pop()
            for rows in batches:
                loss = model(image_data[rows].to(device), caption_data[rows].to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                history.append(loss.item())
            scheduler.step()
            seconds = time.perf_counter() - started
            epochs.set_postfix(loss=f"{history[-1]:.3f}")
            if epoch % print_every == 0 or epoch == num_epochs - 1:
                print(f"(Epoch {epoch} / {num_epochs}) loss: {history[-1]:.4f} time per epoch: {seconds:.1f}s")
            if checkpoint is not None:
                state = {
                    part: module.state_dict()
                    for part, module in (("model", model), ("optimizer", optimizer), ("scheduler", scheduler))
                }
                order_state = None if shuffle is None else shuffle.get_state()
                weights.save_checkpoint(
                    checkpoint, {**state, "settings": settings, "epoch": epoch + 1, "history": history, "shuffle": order_state}
                )
    except KeyboardInterrupt:
        print(f"Stopped after {len(history)} steps; the model keeps what it has learnt.")
    if plot:
        plot_loss_history(history)
    return model, history


def plot_loss_history(history: list[float], title: str = "Training loss history"):
    """Loss against step, on a figure of its own, which is returned."""
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots()
    axis.plot(history, linewidth=1)
    axis.set(xlabel="Iteration", ylabel="Loss (nats per caption)", title=title)
    return figure


@torch.no_grad()
def encode_images(model: CaptioningRNN, images: Tensor, batch_size: int = 100) -> Tensor:
    """Features of all images from the model's encoder in eval mode, once and for all: (n, 3, H, W) -> (n, 400, h, w).

    A captioner takes them in place of images; its encoder then stays as it is. The model's mode is put back.
    """
    from tqdm.auto import tqdm

    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    chunks = tqdm(images.split(batch_size), desc="Encoding images", leave=False)
    features = torch.cat([model.encode(chunk.to(device)).cpu() for chunk in chunks])
    model.train(was_training)
    return features


@torch.no_grad()
def caption_images(model: CaptioningRNN, images: Tensor, max_length: int = 15, batch_size: int = 250):
    """`sample` on any number of images in eval mode: list of sentences, and the attention maps (None unless "attn").

    Args:
        images: (n, 3, H, W) images or (n, 400, h, w) features.
    Returns:
        sentences without `<END>`, and float32 (n, max_length, h, w) or None.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    sentences, maps = [], []
    for chunk in images.split(batch_size):
        sampled = model.sample(chunk.to(device), max_length)
        captions, attention = sampled if isinstance(sampled, tuple) else (sampled, None)
        decoded = decode_captions(captions, model.idx_to_word)
        sentences += [sentence.removesuffix(END).rstrip() for sentence in decoded]
        maps.append(attention)
    model.train(was_training)
    return sentences, None if maps[0] is None else torch.cat(maps)


def _check_captioner_data(model, image_data, caption_data, num_epochs, batch_size, learning_rate) -> None:
    V, problems = len(model.word_to_idx), []
    if len(image_data) != len(caption_data):
        problems.append(f"{len(image_data)} images but {len(caption_data)} captions")
    if len(image_data) == 0:
        problems.append("no images at all")
    elif not 0 <= int(caption_data.min()) <= int(caption_data.max()) < V:
        problems.append(
            f"captions hold indices from {int(caption_data.min())} to {int(caption_data.max())}, "
            f"the vocabulary has 0 to {V - 1}"
        )
    if num_epochs < 1 or batch_size < 1 or learning_rate <= 0:
        problems.append(f"num_epochs {num_epochs}, batch_size {batch_size}, learning_rate {learning_rate}")
    if problems:
        raise ValueError(
            f"train_captioner: {'; '.join(problems)}. Pass one caption for each image, indices of the model's "
            "vocabulary, and positive settings."
        )


def _resume_captioner(checkpoint, settings, model, optimizer, scheduler, shuffle) -> tuple[list[float], int]:
    state = None if checkpoint is None else weights.load_checkpoint(checkpoint)
    if state is None:
        return [], 0
    if state["settings"] != settings:
        raise ValueError(
            f"train_captioner: {checkpoint} was written with {state['settings']}, this call has {settings}. "
            "Delete the file, or use the same settings to resume."
        )
    for part, module in (("model", model), ("optimizer", optimizer), ("scheduler", scheduler)):
        module.load_state_dict(state[part])
    if shuffle is not None and state["shuffle"] is not None:
        shuffle.set_state(state["shuffle"])
    return state["history"], state["epoch"]


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
            f"get_toy_data: {path} not found; wanted the course's arithmetic data. "
            "Run 'python -m dl.data.arithmetic', which writes datasets/two_digit_op.json in two seconds."
        )
    remedy = "Run 'python -m dl.data.arithmetic' to write the file anew."
    try:
        data = json.loads(path.read_text())
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise ValueError(f"get_toy_data: {path} is not JSON ({error}); it is cut or another file. {remedy}") from error
    columns = [data.get(key) if isinstance(data, dict) else None for key in ("inp_expression", "out_expression")]
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
    """
    from sklearn.model_selection import train_test_split

    return tuple(train_test_split(data["inp_expression"], data["out_expression"], test_size=0.1, random_state=0))


def expression_dataset(
    expressions: Iterable[arithmetic.Expression], emb_dim: int, pos_encode: Callable[[int, int], Tensor]
) -> AddSubDataset:
    """Expressions (a, op, b) with their exact results, as tokens of the course's vocabulary."""
    expressions = list(expressions)
    return AddSubDataset(
        [arithmetic.input_text(expression) for expression in expressions],
        [arithmetic.output_text(expression) for expression in expressions],
        generate_token_dict(arithmetic.VOCABULARY),
        arithmetic.SPECIAL_WORDS,
        emb_dim,
        pos_encode,
    )


def step_schedule(warmup_lr: float, warmup_interval: int | None, lr: float) -> Callable[[int], float]:
    """The course's rate of update t = 0, 1, …: `warmup_lr` for the first `warmup_interval` updates, then `lr`."""
    return lambda update: warmup_lr if warmup_interval is not None and update < warmup_interval else lr


def cosine_schedule(lr: float, warmup: int, total: int) -> Callable[[int], float]:
    """Rate of update t = 0, 1, …: straight up to `lr` in `warmup` updates, then half a cosine down to 0 at `total`."""

    def rate(update: int) -> float:
        if update < warmup:
            return lr * (update + 1) / warmup
        return lr * 0.5 * (1 + math.cos(math.pi * (update - warmup) / (total - warmup)))

    return rate


def train(
    model: nn.Module,
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
    on_epoch: Callable[[nn.Module, dict], None] | None = None,
    checkpoint: Path | None = None,
    print_every: int = 1,
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
            "epoch": epoch,
            "train_loss": total.item() / tokens,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
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
    model: nn.Module, dataloader: DataLoader, loss_func: Callable, batch_size: int = 32, device: torch.device | str = "cpu"
) -> tuple[float, float]:
    """Loss and accuracy with true earlier tokens given, over ALL rows of the loader.

    Args:
        as in `train`; batch_size is not used.
    Returns:
        loss in nats a token, and the share of right tokens, in [0, 1]. Four tokens a row count: sign, two digits and
        EOS; the last is always the same, so a quarter is nearly free. `right_answers` asks for whole results.
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
            f"inference: {tokens.shape[1]} input tokens with {inp_exp_pos.shape[-2]} positions, {out_seq_len} output "
            f"tokens with {out_pos_exp.shape[-2]} positions; wanted one position for each input token and each output "
            "token but the last. Write numbers with two digits, or make longer positions."
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


def right_tokens(
    model: nn.Module, dataset: AddSubDataset, device: torch.device | str = "cpu", batch_size: int = 1024
) -> Tensor:
    """Which tokens of each row's result the model writes right, by greedy decoding.

    Args:
        dataset: an `AddSubDataset`.
    Returns:
        (rows, tokens) bool on the CPU, BOS first.
    """
    model.to(device)
    right = []
    for inputs, input_positions, targets, target_positions in DataLoader(dataset, batch_size):
        batch = (tensor.to(device) for tensor in (inputs, input_positions, target_positions))
        written, _ = inference(model, *batch, out_seq_len=targets.shape[1])
        right.append(written.cpu() == targets)
    return torch.cat(right)


def right_answers(
    model: nn.Module, dataset: AddSubDataset, device: torch.device | str = "cpu", batch_size: int = 1024
) -> Tensor:
    """Whether the model writes the whole result of each row: `right_tokens` for all tokens at once.

    Returns:
        (rows,) bool on the CPU; its mean is the exact match.
    """
    return right_tokens(model, dataset, device, batch_size).all(dim=1)


def draw(data, x: list[str], y: list[str], ax) -> None:
    """Draw attention weights as a heat map on `ax`.

    Args:
        data: (K_Q, K_K) array in [0, 1]. x: labels of the keys. y: labels of the queries. [] for none.
    """
    import seaborn

    seaborn.heatmap(data, xticklabels=x, yticklabels=y, square=True, vmin=0.0, vmax=1.0, cbar=False, cmap="viridis", ax=ax)


def watch_exact_match(
    sets: dict[str, AddSubDataset], every: int, device: torch.device | str = "cpu"
) -> Callable[[nn.Module, dict], None]:
    """An `on_epoch` for `train`: every `every` epochs, the entry gets each data set's exact match, under its name."""

    def on_epoch(model: nn.Module, entry: dict) -> None:
        if entry["epoch"] % every == 0:
            for name, rows in sets.items():
                entry[name] = right_answers(model, rows, device).double().mean().item()

    return on_epoch


@torch.no_grad()
def shrink_weights(model: nn.Module, matrices: float, embedding: float) -> nn.Module:
    """Scale a fresh `Transformer`: its weight matrices and its embedding by these factors, in place; returns it.

    Biases and norms stay. Small weights at the start favour rules that many rows share over one special case a row.
    """
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.mul_(embedding if parameter is model.emb_layer.weight else matrices)
    return model


def time_call(call: Callable[[], object], repeats: int = 3) -> float:
    """Seconds that one call takes: the fastest of `repeats`, after one to warm up."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # kernels run on after the call has returned
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _batch_loss(
    model: nn.Module, batch: list[Tensor], loss_func: Callable, device: torch.device | str
) -> tuple[Tensor, int, Tensor]:
    """Summed loss, number of predicted tokens, number of right ones."""
    inputs, input_positions, targets, target_positions = (tensor.to(device) for tensor in batch)
    logits = model(inputs, input_positions, targets, target_positions)  # (N * (O-1), V)
    truth = targets[:, 1:].flatten()  # the next token at every position
    return loss_func(logits, truth), truth.numel(), (logits.argmax(dim=-1) == truth).sum()


def _save_checkpoint(path: Path, model: nn.Module, optimizer: Optimizer, loader: DataLoader, history: list[dict]) -> None:
    loader_state = loader.generator.get_state() if loader.generator else None
    weights.save_checkpoint(
        path,
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "history": history,
            "random": torch.get_rng_state(),
            "loader": loader_state,
        },
    )


def _load_checkpoint(path: Path, model: nn.Module, optimizer: Optimizer, loader: DataLoader) -> list[dict]:
    state = weights.load_checkpoint(path)
    if state is None:
        return []
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    if loader.generator:
        loader.generator.set_state(state["loader"])
    return state["history"]
