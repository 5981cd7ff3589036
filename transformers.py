"""A Transformer built from its parts: it reads a signed sum as tokens and writes its result as tokens.

Papers: Vaswani et al. 2017, "Attention Is All You Need" (arXiv:1706.03762): Eq. 1 attention, section 3.2.2 several
heads, Eq. 2 feed-forward block, section 3.1 encoder and decoder, section 3.5 positions; Ba et al. 2016
(arXiv:1607.06450), Eq. 3 layer normalisation; Szegedy et al. 2015 (arXiv:1512.00567), section 7 label smoothing; Glorot
and Bengio 2010, Eq. 16 initialisation.
Axis key: N batch, K tokens (K_Q of queries, K_K of keys and values, when they differ), M features, V vocabulary.
Notebook: notebooks/Transformers.ipynb. Training and decoding: a2_helper.py. The data: dl/data/arithmetic.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from dl.guards import check_index, check_sizes, want_numbers, want_tensors
from dl.guards import transformers as guards

BLOCKED_SCORE = -1e9  # score of a forbidden key: exp() of it is 0, and a row of nothing else stays finite
TRUE_CLASS_SHARE = 0.9  # label smoothing: what the true class keeps; the other classes share the rest


def hello_transformers() -> None:
    """Print a greeting: the notebook's proof that it imports this file."""
    print("Hello from Transformers.py!")


# --- Part I: from words to numbers ---


def generate_token_dict(vocab: Sequence[str]) -> dict[str, int]:
    """Number the words of a vocabulary in their order: {word: position}.

    Args:
        vocab: distinct words, for the notebook "0" … "9", POSITIVE, NEGATIVE, add, subtract, BOS, EOS.
    Raises:
        ValueError: if a word occurs twice (two numbers for one word).
    """
    guards.check_vocabulary(vocab)
    # EXERCISE generate_token_dict, about 1 line. Hint: which built-in counts while it walks along a list?
    # BEGIN SOLUTION generate_token_dict
    return {word: position for position, word in enumerate(vocab)}
    # END SOLUTION generate_token_dict


def prepocess_input_sequence(input_str: str, token_dict: dict[str, int], spc_tokens: Sequence[str]) -> list[int]:
    """Turn a line of text into tokens: a special word is one token, a number one token per digit.

    "BOS POSITIVE 07 EOS" has 5 tokens. The assignment spells the name like this; `preprocess_input_sequence` is the same
    function.

    Args:
        input_str: words separated by blanks.
        token_dict: token of each special word and of each digit.
        spc_tokens: the words that are not cut into characters.
    Returns:
        list of int.
    Raises:
        ValueError: if a word is neither special nor made of known characters.
    """
    guards.check_words(input_str, token_dict, spc_tokens)
    # EXERCISE prepocess_input_sequence, about 7 lines. Hint: which words must stay whole, and what is a word that may
    # be cut?
    # BEGIN SOLUTION prepocess_input_sequence
    tokens: list[int] = []
    for word in input_str.split():
        parts = [word] if word in spc_tokens else word
        tokens.extend(token_dict[part] for part in parts)
    return tokens
    # END SOLUTION prepocess_input_sequence


preprocess_input_sequence = prepocess_input_sequence


# --- Part II: attention, and the blocks around it ---


def scaled_dot_product_two_loop_single(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention for one sequence, query by query and key by key (Vaswani et al. 2017, Eq. 1).

    Every query is compared with every key; a softmax over the keys turns the scores q.k / sqrt(M) into attention weights,
    and the output is the mean of the values, weighted by them.

    Args:
        query, key, value: (K, M) float.
    Returns:
        (K, M).
    Raises:
        ValueError: if the three do not fit each other.
    """
    guards.check_attention("scaled_dot_product_two_loop_single", query, key, value, ndim=2)
    # EXERCISE scaled_dot_product_two_loop_single, about 8 lines. Hint: when can you divide by the sum of a row: inside
    # or after the inner loop?
    # BEGIN SOLUTION scaled_dot_product_two_loop_single
    rows = []
    for q in query:
        scores = torch.stack([q @ k for k in key]) / math.sqrt(query.shape[-1])  # (K,)
        rows.append(scores.softmax(dim=0) @ value)  # (M,)
    return torch.stack(rows)  # (K, M)
    # END SOLUTION scaled_dot_product_two_loop_single


def scaled_dot_product_two_loop_batch(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention for a batch with two loops, over the batch and over the queries (Eq. 1).

    Args:
        query, key, value: (N, K, M) float.
    Returns:
        (N, K, M).
    Raises:
        ValueError: if the three do not fit each other.
    """
    guards.check_attention("scaled_dot_product_two_loop_batch", query, key, value, ndim=3)
    # EXERCISE scaled_dot_product_two_loop_batch, about 8 lines. Hint: one query against all keys is a product of which
    # two shapes?
    # BEGIN SOLUTION scaled_dot_product_two_loop_batch
    batch = []
    for n in range(query.shape[0]):
        rows = []
        for q in query[n]:
            scores = key[n] @ q / math.sqrt(query.shape[-1])  # (K,)
            rows.append(scores.softmax(dim=0) @ value[n])  # (M,)
        batch.append(torch.stack(rows))  # (K, M)
    return torch.stack(batch)  # (N, K, M)
    # END SOLUTION scaled_dot_product_two_loop_batch


def scaled_dot_product_no_loop_batch(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention for a batch, all queries at once: softmax(Q K^T / sqrt(M)) V (Vaswani et al. 2017, Eq. 1).

    Args:
        query: (N, K_Q, M) float. key: (N, K_K, M). value: (N, K_K, M_V).
        mask: (N, K_Q, K_K) bool, True where attention is FORBIDDEN; None forbids nothing. A query with every key
            forbidden attends evenly, so nothing becomes NaN.
    Returns:
        y: (N, K_Q, M_V). weights: (N, K_Q, K_K), each row sums to 1, also for scores of 1e3 and more.
    Raises:
        ValueError: if the shapes do not fit. TypeError: if the mask is not bool.
    """
    guards.check_attention("scaled_dot_product_no_loop_batch", query, key, value, ndim=3)
    if mask is not None:
        guards.check_mask("scaled_dot_product_no_loop_batch", mask, (query.shape[0], query.shape[1], key.shape[1]))
    # EXERCISE scaled_dot_product_no_loop_batch, about 5 lines. Hint: on which side of the softmax must a key be
    # forbidden so that the rest still sums to 1?
    # BEGIN SOLUTION scaled_dot_product_no_loop_batch
    scores = torch.bmm(query, key.transpose(1, 2)) / math.sqrt(query.shape[-1])  # (N, K_Q, K_K)
    if mask is not None:
        scores = scores.masked_fill(mask, max(BLOCKED_SCORE, torch.finfo(scores.dtype).min))  # half precision ends at 65504
    weights = scores.softmax(dim=-1)  # (N, K_Q, K_K)
    return torch.bmm(weights, value), weights
    # END SOLUTION scaled_dot_product_no_loop_batch


def xavier_linear(fan_in: int, fan_out: int) -> nn.Linear:
    """An `nn.Linear` whose weight is sampled anew from uniform [-c, c], c = sqrt(6 / (fan_in + fan_out)).

    Glorot and Bengio 2010, Eq. 16: this spread keeps the size of signals and gradients about equal from layer to layer.
    The bias keeps PyTorch's own initialisation. Uses 2 fan_in fan_out + fan_out random numbers; the notebook's recorded
    gradients rely on that count, so every linear layer of this module is made here.
    """
    check_sizes("xavier_linear", 1, fan_in=fan_in, fan_out=fan_out)
    linear = nn.Linear(fan_in, fan_out)
    nn.init.xavier_uniform_(linear.weight)
    return linear


class SelfAttention(nn.Module):
    """One attention head: three linear layers make queries, keys and values, then Eq. 1.

    The layers are called `q`, `k` and `v`; each has a bias, and is initialised by `xavier_linear`.
    `weights_softmax` holds the attention weights of the latest forward, (N, K_Q, K_K), detached from the graph; None before.

    Args:
        dim_in: features of the inputs. dim_q: features of queries and keys. dim_v: features of values.
    """

    def __init__(self, dim_in: int, dim_q: int, dim_v: int):
        super().__init__()
        check_sizes("SelfAttention", 1, dim_in=dim_in, dim_q=dim_q, dim_v=dim_v)
        self.dim_in = dim_in
        self.weights_softmax: Tensor | None = None
        # EXERCISE SelfAttention.__init__, about 3 lines. Hint: `xavier_linear`, and which two sizes must agree for q.k
        # to exist?
        # BEGIN SOLUTION SelfAttention.__init__
        self.q = xavier_linear(dim_in, dim_q)
        self.k = xavier_linear(dim_in, dim_q)
        self.v = xavier_linear(dim_in, dim_v)
        # END SOLUTION SelfAttention.__init__

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend with one head.

        Args:
            query: (N, K_Q, dim_in) float. key, value: (N, K_K, dim_in). mask: (N, K_Q, K_K) bool, True = forbidden.
        Returns:
            (N, K_Q, dim_v).
        """
        guards.check_features("SelfAttention.forward", self.dim_in, self.parameters(), query=query, key=key, value=value)
        # EXERCISE SelfAttention.forward, about 3 lines. Hint: what keeps the whole graph alive when weights are only
        # looked at?
        # BEGIN SOLUTION SelfAttention.forward
        y, weights = scaled_dot_product_no_loop_batch(self.q(query), self.k(key), self.v(value), mask)
        self.weights_softmax = weights.detach()
        return y
        # END SOLUTION SelfAttention.forward


class MultiHeadAttention(nn.Module):
    """Several heads, concatenated and projected to the input's size (Vaswani et al. 2017, section 3.2.2).

    `heads` holds a `SelfAttention` for each head, known to the optimiser; the projection is a linear layer with a bias,
    initialised by `xavier_linear`.

    Args:
        num_heads: number of heads. dim_in: features of the inputs and of the output. dim_out: features of EACH head.
    """

    def __init__(self, num_heads: int, dim_in: int, dim_out: int):
        super().__init__()
        check_sizes("MultiHeadAttention", 1, num_heads=num_heads, dim_in=dim_in, dim_out=dim_out)
        # EXERCISE MultiHeadAttention.__init__, about 2 lines. Hint: how wide are all heads' outputs next to each other?
        # (`heads` is read by the notebook.)
        # BEGIN SOLUTION MultiHeadAttention.__init__
        self.heads = nn.ModuleList(SelfAttention(dim_in, dim_out, dim_out) for _ in range(num_heads))
        self.merge = xavier_linear(num_heads * dim_out, dim_in)
        # END SOLUTION MultiHeadAttention.__init__

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend with every head. Args: as in `SelfAttention.forward`; every head gets the mask.

        Returns:
            (N, K_Q, dim_in).
        """
        # EXERCISE MultiHeadAttention.forward, about 2 lines. Hint: along which axis do the heads stand side by side?
        # BEGIN SOLUTION MultiHeadAttention.forward
        heads = [head(query, key, value, mask) for head in self.heads]  # each (N, K_Q, dim_out)
        return self.merge(torch.cat(heads, dim=-1))  # (N, K_Q, dim_in)
        # END SOLUTION MultiHeadAttention.forward


class LayerNormalization(nn.Module):
    """Give every token mean 0 and variance 1 over its features, then a learnt scale and shift (Ba et al. 2016, Eq. 3).

    Scale and shift are two parameters of shape (M,), one number per feature each, and change nothing at first.

    Args:
        emb_dim: size M of the last axis.
        epsilon: added to the variance, > 0; kept under this name. So small that it only saves constant rows; the
            notebook's expected gradient needs 1e-7 or less, PyTorch's own 1e-5 is too much for it.
    """

    def __init__(self, emb_dim: int, epsilon: float = 1e-10):
        super().__init__()
        check_sizes("LayerNormalization", 1, emb_dim=emb_dim)
        want_numbers("LayerNormalization", epsilon=epsilon)
        self.emb_dim, self.epsilon = emb_dim, epsilon
        # EXERCISE LayerNormalization.__init__, about 2 lines. Hint: with which values do scale and shift change nothing
        # at first?
        # BEGIN SOLUTION LayerNormalization.__init__
        self.gamma = nn.Parameter(torch.ones(emb_dim))
        self.beta = nn.Parameter(torch.zeros(emb_dim))
        # END SOLUTION LayerNormalization.__init__

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over the last axis, with the biased variance (divided by M).

        Args:
            x: (..., M) float, any number of leading axes.
        Returns:
            same shape.
        """
        guards.check_features("LayerNormalization.forward", self.emb_dim, iter(()), x=x)
        # EXERCISE LayerNormalization.forward, about 4 lines. Hint: `torch.std` divides by M - 1; what must be divided
        # by M here?
        # BEGIN SOLUTION LayerNormalization.forward
        wide = x if x.dtype == torch.float64 else x.float()  # in half precision the square of 256 overflows
        centred = wide - wide.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)  # (..., 1)
        normal = centred * (variance + self.epsilon).rsqrt()
        return normal.to(x.dtype) * self.gamma + self.beta
        # END SOLUTION LayerNormalization.forward


class FeedForwardBlock(nn.Module):
    """Two linear layers with a ReLU between them, applied to each token by itself (Vaswani et al. 2017, Eq. 2).

    Both have a bias and are initialised by `xavier_linear`.

    Args:
        inp_dim: features in and out. hidden_dim_feedforward: features in between.
    """

    def __init__(self, inp_dim: int, hidden_dim_feedforward: int):
        super().__init__()
        check_sizes("FeedForwardBlock", 1, inp_dim=inp_dim, hidden_dim_feedforward=hidden_dim_feedforward)
        self.inp_dim = inp_dim
        # EXERCISE FeedForwardBlock.__init__, about 2 lines. Hint: the block's output is added to its input later; which
        # size must it have?
        # BEGIN SOLUTION FeedForwardBlock.__init__
        self.expand = xavier_linear(inp_dim, hidden_dim_feedforward)
        self.contract = xavier_linear(hidden_dim_feedforward, inp_dim)
        # END SOLUTION FeedForwardBlock.__init__

    def forward(self, x: Tensor) -> Tensor:
        """Args: x (..., inp_dim) float. Returns: same shape."""
        guards.check_features("FeedForwardBlock.forward", self.inp_dim, self.parameters(), x=x)
        # EXERCISE FeedForwardBlock.forward, about 1 line. Hint: without what would two linear layers be one?
        # BEGIN SOLUTION FeedForwardBlock.forward
        return self.contract(F.relu(self.expand(x)))
        # END SOLUTION FeedForwardBlock.forward


class EncoderBlock(nn.Module):
    """Self-attention, then the feed-forward block, each added to its input and normalised (section 3.1).

    Post-norm: drop(norm(x + f(x))). Dropout comes AFTER each normalisation, and the next residual connection starts from
    the dropped tensor; there is none inside attention or feed-forward block. (The paper drops f(x) before the addition;
    the recorded results need it here.) The notebook reads the attention as `MultiHeadBlock`; `dropout` is an
    `nn.Dropout`. The normalisations are `LayerNormalization` with its default epsilon, each with its own scale and shift.

    Args:
        num_heads: must divide emb_dim; a head has emb_dim / num_heads features. emb_dim: M.
        feedforward_dim: hidden features of the feed-forward block. dropout: probability in [0, 1).
    Raises:
        ValueError: if emb_dim is not a multiple of num_heads.
    """

    def __init__(self, num_heads: int, emb_dim: int, feedforward_dim: int, dropout: float):
        super().__init__()
        guards.check_block("EncoderBlock", num_heads, emb_dim, feedforward_dim, dropout)
        # EXERCISE EncoderBlock.__init__, about 5 lines. Hint: call the attention `MultiHeadBlock`, the notebook reads
        # it there; a layer without weights can serve twice.
        # BEGIN SOLUTION EncoderBlock.__init__
        self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
        self.norm1 = LayerNormalization(emb_dim)
        self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
        self.norm2 = LayerNormalization(emb_dim)
        self.dropout = nn.Dropout(dropout)
        # END SOLUTION EncoderBlock.__init__

    def forward(self, x: Tensor) -> Tensor:
        """Args: x (N, K, M) float. Returns: (N, K, M)."""
        # EXERCISE EncoderBlock.forward, about 3 lines. Hint: add, normalise, drop: how often, and from which tensor
        # does the second addition start?
        # BEGIN SOLUTION EncoderBlock.forward
        attended = self.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x)))  # (N, K, M)
        return self.dropout(self.norm2(attended + self.feed_forward(attended)))  # (N, K, M)
        # END SOLUTION EncoderBlock.forward


def get_subsequent_mask(seq: Tensor) -> Tensor:
    """The causal mask: token t may not read the tokens after t.

    Args:
        seq: (N, K), any dtype; only its shape and device are used.
    Returns:
        (N, K, K) bool on seq's device, True (forbidden) strictly above the diagonal.
    Raises:
        ValueError: if seq is not (N, K).
    """
    guards.check_token_sequences(seq)
    # EXERCISE get_subsequent_mask, about 3 lines. Hint: may a token look at itself? On which device must the mask be?
    # BEGIN SOLUTION get_subsequent_mask
    N, K = seq.shape
    forbidden = torch.ones(K, K, dtype=torch.bool, device=seq.device).triu(diagonal=1)  # (K, K)
    return forbidden.expand(N, K, K)
    # END SOLUTION get_subsequent_mask


class DecoderBlock(nn.Module):
    """Masked self-attention, cross-attention to the encoder's output, feed-forward block (section 3.1).

    Each of the three is added to its input, normalised and dropped, as in `EncoderBlock`. The two attentions,
    `attention_self` and `attention_cross`, have weights of their own, and so has each normalisation.

    Args:
        as in `EncoderBlock`.
    Raises:
        ValueError: if emb_dim is not a multiple of num_heads.
    """

    def __init__(self, num_heads: int, emb_dim: int, feedforward_dim: int, dropout: float):
        super().__init__()
        guards.check_block("DecoderBlock", num_heads, emb_dim, feedforward_dim, dropout)
        # EXERCISE DecoderBlock.__init__, about 7 lines. Hint: names: attention_self, attention_cross, feed_forward,
        # norm1, norm2, norm3, dropout. Which of them have weights of their own?
        # BEGIN SOLUTION DecoderBlock.__init__
        self.attention_self = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
        self.norm1 = LayerNormalization(emb_dim)
        self.attention_cross = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
        self.norm2 = LayerNormalization(emb_dim)
        self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
        self.norm3 = LayerNormalization(emb_dim)
        self.dropout = nn.Dropout(dropout)
        # END SOLUTION DecoderBlock.__init__

    def forward(self, dec_inp: Tensor, enc_inp: Tensor, mask: Tensor | None = None) -> Tensor:
        """One decoder layer.

        Args:
            dec_inp: (N, K_Q, M) float, the decoder's tokens. enc_inp: (N, K_K, M), the encoder's output.
            mask: (N, K_Q, K_Q) bool, True = forbidden, for the self-attention only; the other sees all of enc_inp.
        Returns:
            (N, K_Q, M).
        """
        # EXERCISE DecoderBlock.forward, about 4 lines. Hint: in cross-attention, who asks and who is asked?
        # BEGIN SOLUTION DecoderBlock.forward
        x = self.dropout(self.norm1(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask)))  # (N, K_Q, M)
        x = self.dropout(self.norm2(x + self.attention_cross(x, enc_inp, enc_inp)))  # (N, K_Q, M)
        return self.dropout(self.norm3(x + self.feed_forward(x)))  # (N, K_Q, M)
        # END SOLUTION DecoderBlock.forward


class Encoder(nn.Module):
    """A stack of encoder blocks, `layers`. Args: as in `EncoderBlock`; num_layers: number of blocks."""

    def __init__(self, num_heads: int, emb_dim: int, feedforward_dim: int, num_layers: int, dropout: float):
        super().__init__()
        check_sizes("Encoder", num_layers=num_layers)
        self.layers = nn.ModuleList(EncoderBlock(num_heads, emb_dim, feedforward_dim, dropout) for _ in range(num_layers))

    def forward(self, src_seq: Tensor) -> Tensor:
        """Args: src_seq (N, K, M) float, embeddings with positions. Returns: (N, K, M)."""
        want_tensors("Encoder", src_seq=src_seq)
        for layer in self.layers:
            src_seq = layer(src_seq)
        return src_seq


class Decoder(nn.Module):
    """A stack of decoder blocks, `layers`, and a linear layer to the vocabulary, `proj_to_vocab`.

    Args: as in `DecoderBlock`; num_layers: number of blocks; vocab_len: V. Note the order: num_layers before dropout.
    """

    def __init__(self, num_heads: int, emb_dim: int, feedforward_dim: int, num_layers: int, dropout: float, vocab_len: int):
        super().__init__()
        check_sizes("Decoder", num_layers=num_layers)
        self.layers = nn.ModuleList(DecoderBlock(num_heads, emb_dim, feedforward_dim, dropout) for _ in range(num_layers))
        self.proj_to_vocab = xavier_linear(emb_dim, vocab_len)

    def forward(self, target_seq: Tensor, enc_out: Tensor, mask: Tensor | None) -> Tensor:
        """Args: target_seq (N, K_Q, M), enc_out (N, K_K, M), mask (N, K_Q, K_Q) bool or None.

        Returns:
            (N, K_Q, V) logits.
        """
        guards.check_features("Decoder", self.proj_to_vocab.in_features, self.parameters(), target_seq=target_seq)
        for layer in self.layers:
            target_seq = layer(target_seq, enc_out, mask)
        return self.proj_to_vocab(target_seq)


# --- Part III: positions and data ---


def position_encoding_simple(K: int, M: int) -> Tensor:
    """Number the positions: row n holds n / K in every feature.

    Returns:
        (1, K, M) float32, in [0, 1).
    """
    check_sizes("position_encoding_simple", K=K, M=M)
    # EXERCISE position_encoding_simple, about 2 lines. Hint: which K numbers, and how often is each repeated?
    # BEGIN SOLUTION position_encoding_simple
    rows = torch.arange(K, dtype=torch.float32) / K  # (K,)
    return rows[None, :, None].repeat(1, 1, M)
    # END SOLUTION position_encoding_simple


def position_encoding_sinusoid(K: int, M: int) -> Tensor:
    """Sine and cosine of the position, as the assignment grades them: all columns at ONE wavelength.

    Columns 2 i and 2 i + 1 of row p are sine and cosine of p / 10000^a with a = floor(2 i / M). The floor is a known
    deviation from the paper: 2 i is the number of a column, below M, so a is 0 everywhere and the row repeats sin p,
    cos p. `position_encoding_paper` has no floor.

    Returns:
        (1, K, M) float32, in [-1, 1].
    """
    check_sizes("position_encoding_sinusoid", K=K, M=M)
    # EXERCISE position_encoding_sinusoid, about 5 lines. Hint: which columns are sines? What is the floor of a number
    # below 1?
    # BEGIN SOLUTION position_encoding_sinusoid
    column = torch.arange(M)
    exponent = torch.div(2 * (column // 2), M, rounding_mode="floor")  # (M,), 0 everywhere
    angle = torch.arange(K, dtype=torch.float32)[:, None] / 10000.0**exponent  # (K, M)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())[None]
    # END SOLUTION position_encoding_sinusoid


def position_encoding_paper(K: int, M: int) -> Tensor:
    """Sine and cosine of the position at many wavelengths (Vaswani et al. 2017, section 3.5).

    Columns 2 i and 2 i + 1 of row p are sine and cosine of p / 10000^(2 i / M): wavelengths from 2 pi to 10000 * 2 pi,
    so near positions differ in the left columns and far ones in the right.

    Returns:
        (1, K, M) float32, in [-1, 1].
    """
    check_sizes("position_encoding_paper", K=K, M=M)
    wavelengths = 10000.0 ** (torch.arange(0, M, 2) / M)  # (ceil(M / 2),), over 2 pi
    turns = torch.arange(K)[:, None] / wavelengths  # (K, ceil(M / 2))
    return torch.stack([turns.sin(), turns.cos()], dim=-1).flatten(1)[None, :, :M]


class AddSubDataset(Dataset):
    """Expressions and results as tokens with positions. Tokens and positions are made once, at construction.

    Args:
        input_seqs, target_seqs: equally many lines, "BOS POSITIVE 16 add POSITIVE 09 EOS" and "BOS POSITIVE 25 EOS".
        convert_str_to_tokens: token of each word, from `generate_token_dict`.
        special_tokens: words that are one token.
        emb_dim: M. pos_encode: one of the position functions, (K, M) -> (1, K, M).
    Raises:
        ValueError: if there are no rows, unequally many inputs and targets, an unknown word, or unequal lengths.
    """

    def __init__(
        self,
        input_seqs: Sequence[str],
        target_seqs: Sequence[str],
        convert_str_to_tokens: dict[str, int],
        special_tokens: Sequence[str],
        emb_dim: int,
        pos_encode: Callable[[int, int], Tensor],
    ):
        guards.check_pairs(input_seqs, target_seqs, emb_dim, pos_encode)
        self.inputs, self.targets = (  # (rows, K), (rows, O)
            self._tokens(name, lines, convert_str_to_tokens, special_tokens)
            for name, lines in (("input_seqs", input_seqs), ("target_seqs", target_seqs))
        )
        self.input_positions = pos_encode(self.inputs.shape[1], emb_dim)[0]  # (K, M)
        self.target_positions = pos_encode(self.targets.shape[1], emb_dim)[0]  # (O, M)

    @staticmethod
    def _tokens(name: str, lines: Sequence[str], token_dict: dict[str, int], spc_tokens: Sequence[str]) -> Tensor:
        rows = [prepocess_input_sequence(line, token_dict, spc_tokens) for line in lines]
        guards.check_equal_lengths(name, rows, lines)
        return torch.tensor(rows, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, idx: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Row `idx`: input (K,) int64 and its positions (K, M) float32, target (O,) int64 and its positions (O, M)."""
        check_index("AddSubDataset", idx, len(self))
        # EXERCISE AddSubDataset.__getitem__, about 1 line. Hint: which two of the four are the same for every row?
        # BEGIN SOLUTION AddSubDataset.__getitem__
        return self.inputs[idx], self.input_positions, self.targets[idx], self.target_positions
        # END SOLUTION AddSubDataset.__getitem__


# --- Part IV: the whole model and its losses ---


class Transformer(nn.Module):
    """Encoder and decoder over one shared embedding, `emb_layer` (Vaswani et al. 2017, figure 1).

    `encoder` is an `Encoder`, `decoder` a `Decoder`; the embedding has a learnt row for each of the V tokens.
    Embeddings are added to the positions as they are: initialised from N(0, 1), without the paper's factor sqrt(M) and
    without dropout.

    Args:
        num_heads, emb_dim, feedforward_dim, dropout: as in `EncoderBlock`.
        num_enc_layers, num_dec_layers: blocks in encoder and decoder. vocab_len: V.
    Raises:
        ValueError: if emb_dim is not a multiple of num_heads.
    """

    def __init__(
        self,
        num_heads: int,
        emb_dim: int,
        feedforward_dim: int,
        dropout: float,
        num_enc_layers: int,
        num_dec_layers: int,
        vocab_len: int,
    ):
        super().__init__()
        guards.check_block("Transformer", num_heads, emb_dim, feedforward_dim, dropout)
        check_sizes("Transformer", num_enc_layers=num_enc_layers, num_dec_layers=num_dec_layers)
        check_sizes("Transformer", 1, vocab_len=vocab_len)
        self.emb_dim = emb_dim
        # EXERCISE Transformer.__init__, about 3 lines. Hint: names: emb_layer, encoder, decoder; in which order does
        # `Decoder` take layers and dropout?
        # BEGIN SOLUTION Transformer.__init__
        self.emb_layer = nn.Embedding(vocab_len, emb_dim)
        self.encoder = Encoder(num_heads, emb_dim, feedforward_dim, num_enc_layers, dropout)
        self.decoder = Decoder(num_heads, emb_dim, feedforward_dim, num_dec_layers, dropout, vocab_len)
        # END SOLUTION Transformer.__init__

    def forward(self, ques_b: Tensor, ques_pos: Tensor, ans_b: Tensor, ans_pos: Tensor) -> Tensor:
        """Logits of every next token, with the true earlier tokens given ("teacher forcing").

        The decoder reads the target without its last token, under the causal mask; its output at position t is the
        prediction of token t + 1, so the ground truth is the target without its first token.

        Args:
            ques_b: (N, K) int64, in [0, V). ques_pos: (N, K, M) float, or (1, K, M).
            ans_b: (N, O) int64. ans_pos: (N, O, M) float, or (1, O, M).
        Returns:
            (N * (O - 1), V) logits, row n * (O - 1) + t for token t + 1 of sequence n.
        Raises:
            ValueError: if tokens and positions do not fit.
        """
        guards.check_positions("Transformer.forward", "ques", ques_b, ques_pos, self.emb_dim)
        guards.check_positions("Transformer.forward", "ans", ans_b, ans_pos, self.emb_dim)
        # EXERCISE Transformer.forward, about 6 lines. Hint: which token of the answer does the decoder never need to
        # read?
        # BEGIN SOLUTION Transformer.forward
        read = ans_b[:, :-1]  # (N, O-1)
        encoded = self.encoder(self.emb_layer(ques_b) + ques_pos)  # (N, K, M)
        logits = self.decoder(self.emb_layer(read) + ans_pos[:, :-1], encoded, get_subsequent_mask(read))
        return logits.flatten(0, 1)  # (N * (O - 1), V)
        # END SOLUTION Transformer.forward


def LabelSmoothingLoss(pred: Tensor, ground: Tensor) -> Tensor:
    """Cross-entropy against smoothed targets: 0.9 for the true class, 0.1 / (V - 1) for each other one.

    Szegedy et al. 2015, section 7, with the remainder shared by the V - 1 WRONG classes (`F.cross_entropy` shares it
    among all V). Never 0: with V = 16 at least 0.596 nats per token.

    Args:
        pred: (T, V) logits. ground: int64 classes in [0, V), (T,) or, sequence below sequence, (N, T / N).
    Returns:
        scalar: the SUM over the T tokens, in nats; finite for logits of 1e3 as well.
    Raises:
        ValueError: if the shapes do not fit.
    """
    guards.check_loss("LabelSmoothingLoss", pred, ground)
    ground = ground.flatten()  # (T,)
    # EXERCISE LabelSmoothingLoss, about 5 lines. Hint: how large is the loss of a perfect guess, and what must V be
    # read from?
    # BEGIN SOLUTION LabelSmoothingLoss
    V = pred.shape[-1]
    log_probs = pred.log_softmax(dim=-1)  # (T, V)
    true = log_probs.gather(1, ground[:, None])[:, 0]  # (T,)
    wrong = log_probs.sum(dim=-1) - true  # (T,)
    return -(TRUE_CLASS_SHARE * true + (1 - TRUE_CLASS_SHARE) / (V - 1) * wrong).sum()
    # END SOLUTION LabelSmoothingLoss


def CrossEntropyLoss(pred: Tensor, ground: Tensor) -> Tensor:
    """Cross-entropy, SUMMED over the tokens.

    Args:
        pred: (T, V) logits. ground: int64 classes in [0, V), (T,) or, sequence below sequence, (N, T / N).
    Returns:
        scalar, in nats; T ln V for even probabilities, and finite for logits of 1e3 as well.
    Raises:
        ValueError: if the shapes do not fit.
    """
    guards.check_loss("CrossEntropyLoss", pred, ground)
    ground = ground.flatten()  # (T,)
    # EXERCISE CrossEntropyLoss, about 1 line. Hint: which reduction leaves the average to the training loop?
    # BEGIN SOLUTION CrossEntropyLoss
    return F.cross_entropy(pred, ground, reduction="sum")
    # END SOLUTION CrossEntropyLoss


# --- Checks of arguments: shapes and dtypes only ---
