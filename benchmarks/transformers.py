"""Speed of `transformers.py` against PyTorch's own layers, with the same weights: `python -m benchmarks transformers`.

Sizes of the course's full configuration: batches of 256, 9 and 4 tokens, width 64, 4 heads, 4 + 4 layers. Dropout is 0,
so that both sides compute the same. Forward and backward, where nothing else is said.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import a2_helper
import transformers as lesson
from benchmarks import compare
from dl.settings import project_root

N, K, ANSWER, M, HEADS, HIDDEN, LAYERS, V = 256, 9, 5, 64, 4, 256, 4, 16
IMPORT_LIMIT = 0.050  # seconds beyond `import torch`


def main() -> None:
    torch.manual_seed(0)
    tokens, answers = torch.randint(V, (N, K)), torch.randint(V, (N, ANSWER))
    x, y = torch.randn(N, K, M, requires_grad=True), torch.randn(N, K, M)

    heads = [torch.randn(N, K, M // HEADS, requires_grad=True) for _ in range(3)]
    compare(
        "attention without loops",
        both(lambda: lesson.scaled_dot_product_no_loop_batch(*heads)[0], y[..., :16], heads),
        both(lambda: unfused_attention(*heads), y[..., :16], heads),
        bound=1.05,
    )
    attention = lesson.MultiHeadAttention(HEADS, M, M // HEADS)
    layer = nn.MultiheadAttention(M, HEADS, batch_first=True)
    copy_attention(attention, layer)
    compare("MultiHeadAttention", both(lambda: attention(x, x, x), y, [x]), both(lambda: layer(x, x, x)[0], y, [x]), 1.05)
    norm, torch_norm = lesson.LayerNormalization(M), nn.LayerNorm(M, eps=1e-10)
    compare("LayerNormalization", both(lambda: norm(x), y, [x]), both(lambda: torch_norm(x), y, [x]), 4.5)
    block = lesson.EncoderBlock(HEADS, M, HIDDEN, 0.0)
    torch_block = nn.TransformerEncoderLayer(M, HEADS, HIDDEN, 0.0, batch_first=True, layer_norm_eps=1e-10)
    copy_block(block, torch_block)
    compare("EncoderBlock", both(lambda: block(x), y, [x]), both(lambda: torch_block(x), y, [x]), 1.1)

    model = lesson.Transformer(HEADS, M, HIDDEN, 0.0, LAYERS, LAYERS, V)
    whole = Reference(model)
    batch = (tokens, lesson.position_encoding_paper(K, M), answers, lesson.position_encoding_paper(ANSWER, M))
    compare("training step", training_step(model, batch), training_step(whole, batch), 1.15, rtol=1e-3)
    model, whole = model.eval(), whole.eval()
    copy_model(model, whole)
    compare(
        "greedy decoding of 256 expressions",
        lambda: a2_helper.inference(model, *batch[:2], batch[3], ANSWER)[0],
        lambda: whole.decode(*batch[:2], batch[3], ANSWER),
        1.3,
    )
    seconds = import_seconds()
    print(
        f"import transformers: {1e3 * seconds:.0f} ms beyond torch, bound {1e3 * IMPORT_LIMIT:.0f} ms: "
        f"{'met' if seconds <= IMPORT_LIMIT else 'MISSED'}"
    )


class Reference(nn.Module):
    """`nn.Transformer` without its closing norms, with our model's embedding and projection; weights copied."""

    def __init__(self, model: lesson.Transformer):
        super().__init__()
        self.emb_layer, self.proj_to_vocab = nn.Embedding(V, M), nn.Linear(M, V)
        self.layers = nn.Transformer(M, HEADS, LAYERS, LAYERS, HIDDEN, 0.0, batch_first=True, layer_norm_eps=1e-10)
        self.layers.encoder.norm = self.layers.decoder.norm = None
        copy_model(model, self)

    def forward(self, ques_b: Tensor, ques_pos: Tensor, ans_b: Tensor, ans_pos: Tensor) -> Tensor:
        encoded = self.layers.encoder(self.emb_layer(ques_b) + ques_pos)
        return self.read(ans_b[:, :-1], ans_pos[:, :-1], encoded).flatten(0, 1)

    def read(self, tokens: Tensor, positions: Tensor, encoded: Tensor) -> Tensor:
        mask = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).triu(1)
        return self.proj_to_vocab(self.layers.decoder(self.emb_layer(tokens) + positions, encoded, tgt_mask=mask))

    @torch.no_grad()
    def decode(self, ques_b: Tensor, ques_pos: Tensor, ans_pos: Tensor, length: int) -> Tensor:
        encoded = self.layers.encoder(self.emb_layer(ques_b) + ques_pos)
        written = torch.full((len(ques_b), 1), 14)
        for read in range(1, length):
            logits = self.read(written, ans_pos[:, :read], encoded)
            written = torch.cat([written, logits[:, -1:].argmax(-1)], dim=1)
        return written


def unfused_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What `F.scaled_dot_product_attention` computes, from PyTorch's single operations."""
    return torch.bmm(F.softmax(torch.bmm(query, key.mT) * query.shape[-1] ** -0.5, dim=-1), value)


def both(forward: Callable[[], Tensor], dy: Tensor, inputs: list[Tensor]) -> Callable[[], tuple[Tensor, ...]]:
    """A call that runs forward and backward and returns the output and the inputs' gradients."""

    def call() -> tuple[Tensor, ...]:
        for tensor in inputs:
            tensor.grad = None
        out = forward()
        out.backward(dy)
        return out.detach(), *(tensor.grad for tensor in inputs)

    return call


def training_step(model: nn.Module, batch: tuple[Tensor, ...]) -> Callable[[], Tensor]:
    """Forward, loss, backward and update, as in `a2_helper.train`; returns the loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)

    def call() -> Tensor:
        loss = lesson.CrossEntropyLoss(model(*batch), batch[2][:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return call


def import_seconds(repeats: int = 5) -> float:
    """CPU seconds that `import transformers` adds in a process that has imported torch: the median."""
    code = "import time, torch; start = time.process_time(); import transformers; print(time.process_time() - start)"
    runs = [
        subprocess.run([sys.executable, "-c", code], cwd=project_root(), capture_output=True, text=True, check=True)
        for _ in range(repeats)
    ]
    return statistics.median(float(run.stdout) for run in runs)


@torch.no_grad()
def copy_attention(ours: lesson.MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    """Our heads' weights, stacked, into PyTorch's layer."""
    for part in ("weight", "bias"):
        rows = [getattr(getattr(head, name), part) for name in "qkv" for head in ours.heads]
        getattr(theirs, f"in_proj_{part}").copy_(torch.cat(rows))
        getattr(theirs.out_proj, part).copy_(getattr(ours.merge, part))


@torch.no_grad()
def copy_block(ours: nn.Module, theirs: nn.Module) -> None:
    """The weights of an `EncoderBlock` or `DecoderBlock` into PyTorch's layer."""
    is_decoder = isinstance(ours, lesson.DecoderBlock)
    copy_attention(ours.attention_self if is_decoder else ours.MultiHeadBlock, theirs.self_attn)
    if is_decoder:
        copy_attention(ours.attention_cross, theirs.multihead_attn)
    pairs = [(ours.feed_forward.expand, theirs.linear1), (ours.feed_forward.contract, theirs.linear2)]
    pairs += [(getattr(ours, f"norm{n}"), getattr(theirs, f"norm{n}")) for n in range(1, 4 if is_decoder else 3)]
    for source, target in pairs:
        for parameter, copy in zip(source.parameters(), target.parameters(), strict=True):
            copy.copy_(parameter)


def copy_model(ours: lesson.Transformer, theirs: Reference) -> None:
    """All weights of a `Transformer` into a `Reference` of the same size."""
    for stack, other in ((ours.encoder, theirs.layers.encoder), (ours.decoder, theirs.layers.decoder)):
        for block, layer in zip(stack.layers, other.layers, strict=True):
            copy_block(block, layer)
    theirs.emb_layer.load_state_dict(ours.emb_layer.state_dict())
    theirs.proj_to_vocab.load_state_dict(ours.decoder.proj_to_vocab.state_dict())
