"""Speed of the captioning lesson, forward and backward, beside PyTorch's own layers (N 256, T 16, D 256, H 512).

The last three lines time a whole training step at batch 32 on pictures against a step of the encoder alone.
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rnn_lstm_captioning as lesson
from benchmarks import compare

N, T, D, H, V = 256, 16, 256, 512, 864
WORDS = {"<NULL>": 0, "<START>": 1, "<END>": 2, "<UNK>": 3, **{f"word{i}": i for i in range(4, V)}}


def main() -> None:
    torch.manual_seed(0)
    recurrent_layers()
    loss_and_embedding()
    captioners()


def recurrent_layers() -> None:
    """Forward and backward of our layers beside PyTorch's with the same weights."""
    x, h0, upstream = torch.randn(N, T, D), torch.randn(N, H), torch.randn(N, T, H)
    start = h0.unsqueeze(0)
    rnn, rnn_reference = lesson.RNN(D, H), nn.RNN(D, H, batch_first=True)
    copy_weights(rnn, rnn_reference, order=(0,))
    lstm, lstm_reference = lesson.LSTM(D, H), nn.LSTM(D, H, batch_first=True)
    copy_weights(lstm, lstm_reference, order=(0, 1, 3, 2))  # i, f, o, g -> i, f, g, o

    def step(layer: nn.Module, *state) -> Tensor:
        """Returns the gradient at x, which has passed through everything."""
        inputs = x.clone().requires_grad_()
        layer.zero_grad()
        out = layer(inputs, *state)
        (out[0] if isinstance(out, tuple) else out).backward(upstream)
        return inputs.grad

    def manual() -> Tensor:
        with torch.no_grad():
            _, cache = lesson.rnn_forward(x, h0, rnn.Wx, rnn.Wh, rnn.b)
            return lesson.rnn_backward(upstream, cache)[0]

    compare("RNN", lambda: step(rnn, h0), lambda: step(rnn_reference, start), bound=1.05)
    compare("RNN by hand", manual, lambda: step(rnn_reference, start), bound=1.05)
    state = (start, torch.zeros_like(start))
    compare("LSTM", lambda: step(lstm, h0), lambda: step(lstm_reference, state), bound=1.25)
    # On a CPU, nn.LSTM runs as one oneDNN kernel, whose matrix products are about twice as fast as the ones that `@` gets
    # from MKL on AMD processors. Without oneDNN it makes the same products as we do.
    warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")  # said by `flags`, and not our case
    with torch.backends.mkldnn.flags(enabled=False):
        compare("LSTM, nn.LSTM without oneDNN", lambda: step(lstm, h0), lambda: step(lstm_reference, state), bound=1.25)


def loss_and_embedding() -> None:
    scores, words, upstream = torch.randn(N, T, V), torch.randint(V, (N, T)), torch.randn(N, T, D)

    def loss_step(loss) -> Tensor:
        inputs = scores.clone().requires_grad_()
        loss(inputs).backward()
        return inputs.grad

    compare(
        "temporal loss",
        lambda: loss_step(lambda s: lesson.temporal_softmax_loss(s, words, 0)),
        lambda: loss_step(lambda s: F.cross_entropy(s.view(-1, V), words.view(-1), ignore_index=0, reduction="sum") / N),
        bound=1.1,
    )
    embedding, embedding_reference = lesson.WordEmbedding(V, D), nn.Embedding(V, D)
    embedding_reference.weight.data.copy_(embedding.W_embed.data)

    def embed_step(layer: nn.Module) -> Tensor:
        layer.zero_grad()
        layer(words).backward(upstream)
        return next(layer.parameters()).grad

    compare("embedding", lambda: embed_step(embedding), lambda: embed_step(embedding_reference), bound=1.15)


def captioners() -> None:
    """A training step beside its encoder's: one contains the other, and the ratio says what the decoder adds."""
    images, captions = torch.rand(32, 3, 112, 112), torch.randint(4, V, (32, 17))
    for cell_type, bound in (("rnn", 1.12), ("lstm", 1.25), ("attn", 1.5)):
        model = lesson.CaptioningRNN(WORDS, 400, D, H, cell_type, image_encoder_pretrained=False, ignore_index=0)

        def train_step(model=model) -> None:
            model.zero_grad()
            model(images, captions).backward()

        def encoder_step(model=model) -> None:
            model.zero_grad()
            model.image_encoder(images).sum().backward()

        compare(f"training step, {cell_type}", train_step, encoder_step, bound=bound, check=False, repeats=7)


def copy_weights(ours: nn.Module, reference: nn.Module, order: tuple[int, ...]) -> None:
    """Give PyTorch's layer our weights, its blocks of rows in the given order of our blocks of columns."""

    def moved(weight: Tensor) -> Tensor:
        blocks = weight.chunk(len(order), dim=-1)
        return torch.cat([blocks[block] for block in order], dim=-1)

    with torch.no_grad():
        reference.weight_ih_l0.copy_(moved(ours.Wx).T)
        reference.weight_hh_l0.copy_(moved(ours.Wh).T)
        reference.bias_ih_l0.copy_(moved(ours.b))
        reference.bias_hh_l0.zero_()
