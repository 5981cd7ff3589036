"""Recurrent networks by hand, and what they are good for: describing images in words.

The module goes from one tanh step to a captioner that shows where it looks:

* `rnn_step_forward` … `rnn_backward`: a vanilla RNN, forward and back-propagation through time by hand;
* `LSTM`: Hochreiter and Schmidhuber 1997 (doi:10.1162/neco.1997.9.8.1735), with the forget gate of Gers et al. 2000;
* `dot_product_attention`, `AttentionLSTM`: attention over the image's grid, Xu et al. 2015 (arXiv:1502.03044) with
  the scaled dot product of Vaswani et al. 2017 (arXiv:1706.03762, Eq. 1);
* `ImageEncoder`, `CaptioningRNN`: a convolutional encoder and a recurrent decoder, Vinyals et al. 2015 (arXiv:1411.4555).

Axes: N batch, T time, D input features, H hidden size, V vocabulary, W word-vector size; h, w rows and columns of the
encoder's feature grid. Weight matrices of the recurrent layers are stored (in, out): a step computes x Wx, not Wx x.
Device and dtype follow the inputs. Notebook: notebooks/rnn_lstm_captioning.ipynb.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl.guards import captioning as guards
from dl.guards import check_sizes, check_tensors, want_tensors
from dl.image_utils import IMAGENET_MEAN, IMAGENET_STD
from dl.utils import eval_mode, no_grad

NULL, START, END = "<NULL>", "<START>", "<END>"
FEATURE_CHANNELS = 400  # of the last stage of RegNetX-400MF


def hello_rnn_lstm_captioning() -> None:
    """Print a greeting, to see that the notebook uses this file."""
    print("Hello from rnn_lstm_captioning.py!")


# --- A vanilla RNN by hand ---


def rnn_step_forward(x: Tensor, prev_h: Tensor, Wx: Tensor, Wh: Tensor, b: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step of a vanilla RNN: next_h = tanh(x Wx + prev_h Wh + b).

    Args:
        x: (N, D) float, the input of this step. prev_h: (N, H) float, the hidden state before it.
        Wx: (D, H). Wh: (H, H). b: (H,).
    Returns:
        next_h: (N, H), in (-1, 1). cache: whatever `rnn_step_backward` needs.
    Raises:
        ValueError: if the shapes do not fit each other.
    """
    check_tensors("rnn_step_forward", x=(x, "N D"), prev_h=(prev_h, "N H"), Wx=(Wx, "D H"), Wh=(Wh, "H H"), b=(b, "H"))
    # EXERCISE rnn_step_forward, about 3 lines. Hint: which of the five tensors and the result does the gradient need?
    # BEGIN SOLUTION rnn_step_forward
    next_h = torch.tanh(x @ Wx + prev_h @ Wh + b)  # (N, H)
    cache = (x, prev_h, Wx, Wh, next_h)
    return next_h, cache
    # END SOLUTION rnn_step_forward


def rnn_step_backward(dnext_h: Tensor, cache: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of one RNN step.

    Args:
        dnext_h: (N, H) float, gradient of the loss with respect to next_h. cache: from `rnn_step_forward`.
    Returns:
        dx (N, D), dprev_h (N, H), dWx (D, H), dWh (H, H), db (H,).
    """
    guards.check_cache("rnn_step_backward", "rnn_step_forward", "dnext_h", dnext_h, "N H", cache)
    # EXERCISE rnn_step_backward, about 5 lines. Hint: write the derivative of tanh with the value of tanh itself.
    # BEGIN SOLUTION rnn_step_backward
    x, prev_h, Wx, Wh, next_h = cache
    ds = dnext_h * (1 - next_h**2)  # (N, H), gradient at the argument of tanh
    return ds @ Wx.T, ds @ Wh.T, x.T @ ds, prev_h.T @ ds, ds.sum(dim=0)
    # END SOLUTION rnn_step_backward


def rnn_forward(x: Tensor, h0: Tensor, Wx: Tensor, Wh: Tensor, b: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A vanilla RNN over a whole sequence: the same step, T times, from the state h0.

    Args:
        x: (N, T, D) float. h0: (N, H). Wx: (D, H). Wh: (H, H). b: (H,).
    Returns:
        h: (N, T, H), the hidden states after each step (h0 is not among them). cache: for `rnn_backward`.
    Raises:
        ValueError: if the shapes do not fit each other.
    """
    check_tensors("rnn_forward", x=(x, "N T D"), h0=(h0, "N H"), Wx=(Wx, "D H"), Wh=(Wh, "H H"), b=(b, "H"))
    # EXERCISE rnn_forward, about 7 lines. Hint: `rnn_step_forward` makes one step; from which state does the next
    # one start, and what will `rnn_backward` need?
    # BEGIN SOLUTION rnn_forward
    h, states = h0, []
    for step in x.unbind(dim=1):  # (N, D) each
        h, _ = rnn_step_forward(step, h, Wx, Wh, b)
        states.append(h)
    h = torch.stack(states, dim=1)  # (N, T, H)
    return h, (x, h0, Wx, Wh, h)
    # END SOLUTION rnn_forward


def rnn_backward(dh: Tensor, cache: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Back-propagation through time.

    Each hidden state affects the loss twice: through its own output, whose gradient is dh[:, t], and as input to step t + 1.

    Args:
        dh: (N, T, H) float, the direct gradients of the loss at every hidden state. cache: from `rnn_forward`.
    Returns:
        dx (N, T, D), dh0 (N, H), dWx (D, H), dWh (H, H), db (H,); the last three summed over time.
    """
    guards.check_cache("rnn_backward", "rnn_forward", "dh", dh, "N T H", cache)
    # EXERCISE rnn_backward, about 11 lines. Hint: walk from the last step to the first; what arrives at step t?
    # BEGIN SOLUTION rnn_backward
    x, h0, Wx, Wh, h = cache
    N, T, H = dh.shape
    before = torch.cat([h0.unsqueeze(1), h[:, :-1]], dim=1)  # (N, T, H), the state each step started from
    slope = 1 - h**2  # (N, T, H), derivative of tanh
    from_next, ds = torch.zeros_like(h0), []
    for t in reversed(range(T)):
        ds.append((dh[:, t] + from_next) * slope[:, t])  # (N, H)
        from_next = ds[-1] @ Wh.T
    at_tanh = torch.stack(ds[::-1], dim=1)  # (N, T, H)
    flat = at_tanh.reshape(N * T, H)
    dWx, dWh = x.reshape(N * T, -1).T @ flat, before.reshape(N * T, H).T @ flat
    return at_tanh @ Wx.T, from_next, dWx, dWh, flat.sum(dim=0)
    # END SOLUTION rnn_backward


# BEGIN SOLUTION-ONLY
def project_inputs(x: Tensor, Wx: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """x Wx + b of all steps in one product: (N, T, D), (D, K), (K,) -> T tensors (N, K)."""
    N, T, _ = x.shape
    by_time = x.transpose(0, 1).flatten(0, 1)  # (T N, D), steps outermost, so that every step's slice lies in one piece
    return torch.addmm(b, by_time, Wx).view(T, N, -1).unbind(0)


# END SOLUTION-ONLY


class RNN(nn.Module):
    """The vanilla RNN as a layer that learns: `rnn_forward` with its own Wx (D, H), Wh (H, H), b (H,)."""

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        check_sizes("RNN", 1, input_dim=input_dim, hidden_dim=hidden_dim)
        self.Wx = nn.Parameter(scaled_normal(input_dim, hidden_dim))
        self.Wh = nn.Parameter(scaled_normal(hidden_dim, hidden_dim))
        self.b = nn.Parameter(torch.zeros(hidden_dim))

    def forward(self, x: Tensor, h0: Tensor) -> Tensor:
        """(N, T, D), (N, H) -> hidden states (N, T, H)."""
        return rnn_forward(x, h0, self.Wx, self.Wh, self.b)[0]

    def step_forward(self, x: Tensor, prev_h: Tensor) -> Tensor:
        """(N, D), (N, H) -> next hidden state (N, H)."""
        return rnn_step_forward(x, prev_h, self.Wx, self.Wh, self.b)[0]


def scaled_normal(rows: int, columns: int) -> Tensor:
    """Initial weights (rows, columns): standard normal over the square root of the number of rows."""
    check_sizes("scaled_normal", 1, rows=rows, columns=columns)
    return torch.randn(rows, columns) / math.sqrt(rows)


# --- Images and words as vectors, and the loss ---


class ImageEncoder(nn.Module):
    """RegNetX-400MF (Radosavovic et al. 2020, arXiv:2003.13678) up to its last stage: a grid of 400 features.

    All its weights train; nothing is frozen.

    Args:
        pretrained: load weights. The embedded sample world comes with weights trained on it; with DL_DATA=real the
            ImageNet weights (torchvision's IMAGENET1K_V1) are read from the project's weight folder.
        verbose: print which weights were loaded and the shape of the features for an image of 224 x 224.
    Raises:
        FileNotFoundError: with DL_DATA=real, if the ImageNet weights have not been fetched; names the command.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, pretrained: bool = True, verbose: bool = True) -> None:
        super().__init__()
        from torchvision.models import regnet_x_400mf  # 2 s to import, so only where it is used

        network = regnet_x_400mf(weights=None)
        self.backbone = nn.Sequential()
        self.backbone.add_module("stem", network.stem)
        self.backbone.add_module("trunk_output", network.trunk_output)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        if pretrained:
            state, source = pretrained_regnet()
            self.backbone.load_state_dict(state)
            if verbose:
                print(f"Encoder weights: {source}")
        if verbose:
            self._print_shapes()

    @property
    def out_channels(self) -> int:
        """Channels of the feature grid: 400."""
        return FEATURE_CHANNELS

    def forward(self, images: Tensor) -> Tensor:
        """Features of images.

        Args:
            images: (N, 3, H, W), uint8 in [0, 255] or float in [0, 1], RGB.
        Returns:
            (N, 400, ceil(H / 32), ceil(W / 32)) float; 4 x 4 for images of 112 x 112.
        Raises:
            ValueError: if images is not (N, 3, H, W).
        """
        guards.check_pictures("ImageEncoder", images, self.mean.dtype)
        if images.dtype == torch.uint8:
            images = images.to(self.mean.dtype) / 255
        return self.backbone((images - self.mean) / self.std)

    def _print_shapes(self) -> None:
        with eval_mode(self), torch.no_grad():  # the pass must not move the running statistics of batch normalisation
            features = self(torch.zeros(2, 3, 224, 224, device=self.mean.device))
        print("For input images in NCHW format, shape (2, 3, 224, 224)")
        print(f"Shape of output c5 features: {features.shape}")


def pretrained_regnet() -> tuple[dict[str, Tensor], str]:
    """State dict of the encoder for the data in use, and where it is from."""
    from dl import settings, weights

    if settings.data_mode() == settings.SAMPLE:
        return weights.load("regnet"), "trained by this project on its sample world"
    from dl.data import read_weights

    state = read_weights("regnet")
    return {key: value for key, value in state.items() if not key.startswith("fc.")}, "ImageNet (IMAGENET1K_V1)"


class WordEmbedding(nn.Module):
    """A table of word vectors, `W_embed` (V, W): word i is row i."""

    def __init__(self, vocab_size: int, embed_size: int) -> None:
        super().__init__()
        check_sizes("WordEmbedding", 1, vocab_size=vocab_size, embed_size=embed_size)
        self.W_embed = nn.Parameter(scaled_normal(vocab_size, embed_size))

    def forward(self, x: Tensor) -> Tensor:
        """Look up the vectors of words.

        Args:
            x: (N, T) integer, word indices in [0, V), on any device.
        Returns:
            (N, T, W) float on the table's device.
        Raises:
            TypeError: if x does not hold integers.
        """
        want_tensors("WordEmbedding", floating=False, x=x)
        if x.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"WordEmbedding: x must hold word indices, got {x.dtype}. Convert them with x.long().")
        # EXERCISE WordEmbedding.forward, 1 line. Hint: the indices may lie on another device than the table.
        # BEGIN SOLUTION WordEmbedding.forward
        return F.embedding(x.to(self.W_embed.device), self.W_embed)
        # END SOLUTION WordEmbedding.forward


def temporal_softmax_loss(x: Tensor, y: Tensor, ignore_index: int | None = None) -> Tensor:
    """Cross entropy of the right word at every step: summed over batch and time, divided by N.

    Args:
        x: (N, T, V) float, scores (before the softmax). y: (N, T) int64, right words in [0, V).
        ignore_index: targets with this value are ignored, in the loss and in its gradient; None ignores no target. A
            caption without any counted word is still one of the N; if no target counts at all, the loss is 0.
    Returns:
        scalar, in nats per caption (not per word), finite for scores of any size.
    Raises:
        ValueError: if x and y disagree on N or T, or N is 0. TypeError: if y is not int64.
    """
    guards.check_ignored("temporal_softmax_loss", ignore_index)
    N, _, V = check_tensors("temporal_softmax_loss", x=(x, "N T V"), y=(y, "any N T")).values()
    if y.dtype != torch.int64:
        raise TypeError(f"temporal_softmax_loss: y must hold int64 word indices, got {y.dtype}. Convert with y.long().")
    if N == 0:
        raise ValueError(
            "temporal_softmax_loss: got an empty batch (N = 0); the mean over it is undefined. Pass at least one caption."
        )
    if V == 0:
        raise ValueError("temporal_softmax_loss: got no scores (V = 0), wanted one for each word. Pass them as (N, T, V).")
    # EXERCISE temporal_softmax_loss, about 4 lines. Hint: what would the mean over all targets divide by?
    # BEGIN SOLUTION temporal_softmax_loss
    ignored = -100 if ignore_index is None else ignore_index  # no target is negative, so -100 ignores nothing
    total = F.cross_entropy(x.reshape(-1, x.shape[-1]), y.reshape(-1), ignore_index=ignored, reduction="sum")
    return total / N
    # END SOLUTION temporal_softmax_loss


# --- LSTM and attention ---


class LSTM(nn.Module):
    """A long short-term memory layer, with Wx (D, 4H), Wh (H, 4H), b (4H,).

    a = x Wx + prev_h Wh + b is cut into four equal blocks in the order i, f, o, g (PyTorch's own layer has i, f, g, o):
    i, f, o = sigmoid, g = tanh; next_c = f * prev_c + i * g; next_h = o * tanh(next_c).
    """

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        check_sizes("LSTM", 1, input_dim=input_dim, hidden_dim=hidden_dim)
        self.Wx = nn.Parameter(scaled_normal(input_dim, 4 * hidden_dim))
        self.Wh = nn.Parameter(scaled_normal(hidden_dim, 4 * hidden_dim))
        self.b = nn.Parameter(torch.zeros(4 * hidden_dim))

    def step_forward(self, x: Tensor, prev_h: Tensor, prev_c: Tensor) -> tuple[Tensor, Tensor]:
        """One step.

        Args:
            x: (N, D) float. prev_h, prev_c: (N, H), hidden and cell state before the step.
        Returns:
            next_h, next_c: (N, H) each.
        """
        check_tensors(
            "LSTM.step_forward",
            x=(x, "N D"),
            prev_h=(prev_h, "N H"),
            prev_c=(prev_c, "N H"),
            Wx=(self.Wx, "D 4H"),
            Wh=(self.Wh, "H 4H"),
        )
        # EXERCISE LSTM.step_forward, about 6 lines. Hint: the docstring of the class gives the order of the blocks.
        # BEGIN SOLUTION LSTM.step_forward
        return lstm_gates(x @ self.Wx + prev_h @ self.Wh + self.b, prev_c)
        # END SOLUTION LSTM.step_forward

    def forward(self, x: Tensor, h0: Tensor) -> Tensor:
        """A whole sequence, from hidden state h0 and a cell state of zeros.

        Args:
            x: (N, T, D) float. h0: (N, H).
        Returns:
            (N, T, H) hidden states; cell states are not returned.
        """
        check_tensors("LSTM.forward", x=(x, "N T D"), h0=(h0, "N H"), Wx=(self.Wx, "D 4H"), Wh=(self.Wh, "H 4H"))
        # EXERCISE LSTM.forward, about 7 lines. Hint: as in rnn_forward, with a second state that is carried along.
        # BEGIN SOLUTION LSTM.forward
        h, c, states = h0, torch.zeros_like(h0), []
        for projected in project_inputs(x, self.Wx, self.b):  # (N, 4H) each
            h, c = lstm_gates(torch.addmm(projected, h, self.Wh), c)
            states.append(h)
        return torch.stack(states, dim=1)  # (N, T, H)
        # END SOLUTION LSTM.forward


# BEGIN SOLUTION-ONLY
def lstm_gates(a: Tensor, prev_c: Tensor) -> tuple[Tensor, Tensor]:
    """Gates and state update: (N, 4H) in the order i, f, o, g and (N, H) -> next_h, next_c, (N, H) each."""
    H = prev_c.shape[1]
    i, f, o = a[:, : 3 * H].sigmoid().chunk(3, dim=1)  # (N, H) each
    g = a[:, 3 * H :].tanh()
    next_c = f * prev_c + i * g
    return o * next_c.tanh(), next_c


# END SOLUTION-ONLY


def dot_product_attention(prev_h: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
    """Attend to an image's feature grid with the query prev_h.

    With the grid flattened to K = h w cells: scores M = prev_h A / sqrt(H), weights = softmax of M over the K cells,
    and the result is the weighted sum of the cells' features (Vaswani et al. 2017, Eq. 1, with one query).

    Args:
        prev_h: (N, H) float. A: (N, H, h, w) float, a grid of any size.
    Returns:
        attn: (N, H). attn_weights: (N, h, w); each image's weights sum to 1.
    Raises:
        ValueError: if the two disagree on N or H.
    """
    check_tensors("dot_product_attention", prev_h=(prev_h, "N H"), A=(A, "N H h w"))
    # EXERCISE dot_product_attention, about 6 lines. Hint: a batch of one image must stay a batch.
    # BEGIN SOLUTION dot_product_attention
    N, H, h, w = A.shape
    cells = A.reshape(N, H, h * w)
    scores = torch.bmm(prev_h.unsqueeze(1), cells) / math.sqrt(H)  # (N, 1, h w)
    weights = scores.softmax(dim=-1)
    attn = torch.bmm(cells, weights.transpose(1, 2)).squeeze(2)  # (N, H)
    return attn, weights.view(N, h, w)
    # END SOLUTION dot_product_attention


class AttentionLSTM(nn.Module):
    """An LSTM that attends to the image before each step: a gains the term attn Wattn, Wattn (H, 4H)."""

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        check_sizes("AttentionLSTM", 1, input_dim=input_dim, hidden_dim=hidden_dim)
        self.Wx = nn.Parameter(scaled_normal(input_dim, 4 * hidden_dim))
        self.Wh = nn.Parameter(scaled_normal(hidden_dim, 4 * hidden_dim))
        self.Wattn = nn.Parameter(scaled_normal(hidden_dim, 4 * hidden_dim))
        self.b = nn.Parameter(torch.zeros(4 * hidden_dim))

    def step_forward(self, x: Tensor, prev_h: Tensor, prev_c: Tensor, attn: Tensor) -> tuple[Tensor, Tensor]:
        """One step.

        Args:
            x: (N, D) float. prev_h, prev_c, attn: (N, H); attn from `dot_product_attention(prev_h, A)`.
        Returns:
            next_h, next_c: (N, H) each.
        """
        check_tensors(
            "AttentionLSTM.step_forward",
            x=(x, "N D"),
            prev_h=(prev_h, "N H"),
            prev_c=(prev_c, "N H"),
            attn=(attn, "N H"),
            Wx=(self.Wx, "D 4H"),
            Wh=(self.Wh, "H 4H"),
        )
        # EXERCISE AttentionLSTM.step_forward, about 6 lines. Hint: one more term than in LSTM.step_forward.
        # BEGIN SOLUTION AttentionLSTM.step_forward
        return lstm_gates(x @ self.Wx + prev_h @ self.Wh + attn @ self.Wattn + self.b, prev_c)
        # END SOLUTION AttentionLSTM.step_forward

    def forward(self, x: Tensor, A: Tensor) -> Tensor:
        """A whole sequence; hidden and cell state start as the mean of A over its cells.

        Args:
            x: (N, T, D) float. A: (N, H, h, w), the image's projected features.
        Returns:
            (N, T, H) hidden states.
        """
        check_tensors("AttentionLSTM.forward", x=(x, "N T D"), A=(A, "N H h w"), Wx=(self.Wx, "D 4H"), Wh=(self.Wh, "H 4H"))
        # EXERCISE AttentionLSTM.forward, about 9 lines. Hint: which hidden state is the query of step t?
        # BEGIN SOLUTION AttentionLSTM.forward
        h = c = A.mean(dim=(2, 3))  # (N, H)
        states = []
        for projected in project_inputs(x, self.Wx, self.b):  # (N, 4H) each
            attn, _ = dot_product_attention(h, A)
            h, c = lstm_gates(projected + h @ self.Wh + attn @ self.Wattn, c)
            states.append(h)
        return torch.stack(states, dim=1)  # (N, T, H)
        # END SOLUTION AttentionLSTM.forward


# --- The captioner ---


class CaptioningRNN(nn.Module):
    """Encoder, projection, word vectors, recurrent layer and output scores: image in, caption out.

    For "rnn" and "lstm" the projected mean of the features is the initial hidden state; for "attn" the same projection
    is applied to every cell of the grid. The parts that train: `image_encoder`; `feature_projection`, a linear layer
    input_dim -> H with bias; `word_embedding`, a WordEmbedding (V, W); `recurrent`, an RNN, LSTM or AttentionLSTM (W, H);
    `output_projection`, a linear layer H -> V with bias. No nonlinearity stands before or after the two projections.

    Args:
        word_to_idx: word -> index; `<NULL>` must be there. V is its length, not its largest index + 1.
        input_dim: channels of the encoder's features, 400 for the encoder used here.
        wordvec_dim, hidden_dim: sizes W and H. cell_type: "rnn", "lstm" or "attn".
        image_encoder_pretrained: as `ImageEncoder(pretrained=…)`. ignore_index: target that is ignored in the loss.
    Raises:
        ValueError: for an unknown cell_type, a vocabulary without `<NULL>`, or an input_dim other than the encoder's.
    """

    def __init__(
        self,
        word_to_idx: dict[str, int],
        input_dim: int = 512,
        wordvec_dim: int = 128,
        hidden_dim: int = 128,
        cell_type: str = "rnn",
        image_encoder_pretrained: bool = True,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        guards.check_captioner(word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type, ignore_index)
        cells = {"rnn": RNN, "lstm": LSTM, "attn": AttentionLSTM}
        problems = []
        if cell_type not in cells:
            problems.append(f"cell_type is {cell_type!r}, not one of {', '.join(cells)}")
        if NULL not in word_to_idx:
            problems.append(f"word_to_idx has {len(word_to_idx)} words but no {NULL}")
        if input_dim != FEATURE_CHANNELS:
            problems.append(f"input_dim is {input_dim}, but the encoder makes {FEATURE_CHANNELS} channels")
        if problems:
            raise ValueError(
                f"CaptioningRNN: {'; '.join(problems)}. Pass a vocabulary with {NULL}, "
                f"input_dim={FEATURE_CHANNELS} and a known cell_type."
            )
        self.cell_type = cell_type
        self.word_to_idx = word_to_idx
        self.idx_to_word = {index: word for word, index in word_to_idx.items()}
        self.ignore_index = ignore_index
        self.image_encoder = ImageEncoder(pretrained=image_encoder_pretrained, verbose=False)
        # EXERCISE CaptioningRNN.__init__, about 4 lines. Hint: V comes from word_to_idx; the output layer has a bias.
        # BEGIN SOLUTION CaptioningRNN.__init__
        V = len(word_to_idx)
        self.feature_projection = nn.Linear(input_dim, hidden_dim)
        self.word_embedding = WordEmbedding(V, wordvec_dim)
        self.recurrent: Any = cells[cell_type](wordvec_dim, hidden_dim)
        self.output_projection = nn.Linear(hidden_dim, V)
        # END SOLUTION CaptioningRNN.__init__

    def encode(self, images: Tensor) -> Tensor:
        """Feature grid (N, 400, h, w) of images (N, 3, H, W); features that the encoder made are returned unchanged."""
        want_tensors("CaptioningRNN", floating=False, images=images)
        if images.ndim != 4 or images.shape[1] != FEATURE_CHANNELS:
            return self.image_encoder(images)
        dtype = next(self.feature_projection.parameters()).dtype
        guards.check_pictures("CaptioningRNN", images, dtype, str(FEATURE_CHANNELS))
        return images

    def project(self, images: Tensor) -> Tensor:
        """What the recurrent layer starts from: h0 (N, H) for "rnn" and "lstm", the grid A (N, H, h, w) for "attn"."""
        features = self.encode(images)  # (N, 400, h, w)
        if self.cell_type == "attn":
            return self.feature_projection(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.feature_projection(features.mean(dim=(2, 3)))

    # BEGIN SOLUTION-ONLY
    def scores(self, images: Tensor, words: Tensor) -> Tensor:
        """Scores (N, T, V) of the word that follows each of `words` (N, T)."""
        hidden = self.recurrent(self.word_embedding(words), self.project(images))  # (N, T, H)
        return self.output_projection(hidden)

    # END SOLUTION-ONLY

    def forward(self, images: Tensor, captions: Tensor) -> Tensor:
        """Loss of the right captions: the words before the last are read, the words after the first predicted.

        Args:
            images: (N, 3, H, W) as `ImageEncoder` takes them, or features (N, 400, h, w) made by it.
            captions: (N, T + 1) int64, `<START>` first, padded with `<NULL>`.
        Returns:
            scalar loss, in nats per caption; targets equal to the model's ignore_index are ignored, whichever word that is.
        Raises:
            ValueError: if images and captions differ in number, or captions are shorter than two words.
        """
        check_tensors("CaptioningRNN", images=(images, "any N C height width"), captions=(captions, "any N T"))
        if captions.shape[1] < 2:
            raise ValueError(
                f"CaptioningRNN: captions of {captions.shape[1]} words leave nothing to predict. "
                "Pass captions that begin with <START> and hold at least one more word."
            )
        # EXERCISE CaptioningRNN.forward, about 8 lines. Hint: `project` gives what the recurrent layer starts from; a caption
        # of T + 1 words makes T steps.
        # BEGIN SOLUTION CaptioningRNN.forward
        words = captions.to(self.output_projection.weight.device)
        scores = self.scores(images, words[:, :-1])  # (N, T, V)
        return temporal_softmax_loss(scores, words[:, 1:], self.ignore_index)
        # END SOLUTION CaptioningRNN.forward

    @no_grad
    def sample(self, images: Tensor, max_length: int = 15) -> Tensor | tuple[Tensor, Tensor]:
        """Describe images, one word at a time, always taking the word with the highest score (greedy decoding).

        Put the model in `eval()` first. Every caption has max_length words, whatever follows `<END>`.

        Args:
            images: as for `forward`. max_length: words to generate, >= 1.
        Returns:
            captions: (N, max_length) int64, without `<START>`. For "attn" a pair: captions, and the attention weights of
            each word (those used in its step) as float32 on the CPU, (N, max_length, h, w).
        Raises:
            ValueError: if the vocabulary has no `<START>`, or max_length < 1.
        """
        check_sizes("CaptioningRNN.sample", max_length=max_length)
        if START not in self.word_to_idx or max_length < 1:
            raise ValueError(
                f"CaptioningRNN.sample: got max_length={max_length} and a vocabulary of {len(self.word_to_idx)} words "
                f"{'with' if START in self.word_to_idx else 'without'} {START}. Captions begin with {START}: build the "
                "model with a vocabulary that has it, and ask for at least one word."
            )
        # EXERCISE CaptioningRNN.sample, about 20 lines. Hint: which states does each kind of cell carry along?
        # BEGIN SOLUTION CaptioningRNN.sample
        start = self.project(images)
        h = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start  # (N, H)
        c = h if self.cell_type == "attn" else torch.zeros_like(h)
        word = torch.full((len(images),), self.word_to_idx[START], device=h.device)
        words, maps = [], []
        for _ in range(max_length):
            x = self.word_embedding(word.unsqueeze(1)).squeeze(1)  # (N, W)
            if self.cell_type == "rnn":
                h = self.recurrent.step_forward(x, h)
            elif self.cell_type == "lstm":
                h, c = self.recurrent.step_forward(x, h, c)
            else:
                attn, weights = dot_product_attention(h, start)
                h, c = self.recurrent.step_forward(x, h, c, attn)
                maps.append(weights)
            word = self.output_projection(h).argmax(dim=1)  # (N,)
            words.append(word)
        captions = torch.stack(words, dim=1)  # (N, max_length)
        return (captions, torch.stack(maps, dim=1).float().cpu()) if maps else captions
        # END SOLUTION CaptioningRNN.sample
