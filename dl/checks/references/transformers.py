"""Transformers: right answers without loops, and a stack of layers of their own, built of these answers."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from dl.checks.references import References

REFERENCES = References()
reference = REFERENCES.add


@reference("generate_token_dict")
def generate_token_dict(vocab):
    words = list(vocab)
    numbers = range(len(words))
    return dict(zip(words, numbers, strict=True))


@reference("prepocess_input_sequence")
def prepocess_input_sequence(input_str, token_dict, spc_tokens):
    words = input_str.split()
    tokens = []
    for word in words:
        parts = [word] if word in spc_tokens else list(word)
        tokens += [token_dict[part] for part in parts]
    return tokens


# --- Attention ---


@reference("scaled_dot_product_two_loop_single", "scaled_dot_product_two_loop_batch")
def attend_unmasked(query, key, value):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    weights = scores.softmax(-1)
    return weights @ value


@reference("scaled_dot_product_no_loop_batch")
def attend(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -1e9)
    weights = scores.softmax(-1)
    return weights @ value, weights


def xavier(fan_in, fan_out):
    layer = nn.Linear(fan_in, fan_out)
    spread = math.sqrt(6 / (fan_in + fan_out))
    layer.weight.data.uniform_(-spread, spread)
    return layer


def fitting(mask, query, key):
    """The mask; one of another shape is refused in the lesson's words, by which the mistake is known."""
    wanted = (query.shape[0], query.shape[1], key.shape[1])
    if mask is not None and mask.shape != wanted:
        raise ValueError(
            f"scaled_dot_product_no_loop_batch: the mask has shape {tuple(mask.shape)}; wanted (N, K_Q, K_K) = {wanted}. "
            "Make it from the query's tokens with get_subsequent_mask."
        )
    return mask


class SelfAttention(nn.Module):
    @reference("SelfAttention.__init__")
    def __init__(self, dim_in, dim_q, dim_v):
        nn.Module.__init__(self)
        self.weights_softmax = None
        self.q = xavier(dim_in, dim_q)
        self.k = xavier(dim_in, dim_q)
        self.v = xavier(dim_in, dim_v)

    @reference("SelfAttention.forward")
    def forward(self, query, key, value, mask=None):
        q = self.q(query)
        k = self.k(key)
        v = self.v(value)
        y, weights = attend(q, k, v, fitting(mask, q, k))
        self.weights_softmax = weights.detach()
        return y


class MultiHeadAttention(nn.Module):
    @reference("MultiHeadAttention.__init__")
    def __init__(self, num_heads, dim_in, dim_out):
        nn.Module.__init__(self)
        width = num_heads * dim_out
        heads = [SelfAttention(dim_in, dim_out, dim_out) for _ in range(num_heads)]
        self.heads = nn.ModuleList(heads)
        self.merge = xavier(width, dim_in)

    @reference("MultiHeadAttention.forward")
    def forward(self, query, key, value, mask=None):
        heads = [head(query, key, value, mask) for head in self.heads]
        side_by_side = torch.cat(heads, -1)
        return self.merge(side_by_side)


# --- The blocks around it ---


class LayerNormalization(nn.Module):
    @reference("LayerNormalization.__init__")
    def __init__(self, emb_dim, epsilon=1e-10):
        nn.Module.__init__(self)
        self.epsilon = epsilon
        scale = torch.ones(emb_dim)
        shift = torch.zeros(emb_dim)
        self.gamma = nn.Parameter(scale)
        self.beta = nn.Parameter(shift)

    @reference("LayerNormalization.forward")
    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        variance = (x - mean).square().mean(-1, keepdim=True)
        normal = (x - mean) / (variance + self.epsilon).sqrt()
        return normal * self.gamma + self.beta


class FeedForwardBlock(nn.Module):
    @reference("FeedForwardBlock.__init__")
    def __init__(self, inp_dim, hidden_dim_feedforward):
        nn.Module.__init__(self)
        self.expand = xavier(inp_dim, hidden_dim_feedforward)
        self.contract = xavier(hidden_dim_feedforward, inp_dim)

    @reference("FeedForwardBlock.forward")
    def forward(self, x):
        hidden = self.expand(x)
        active = hidden.relu()
        return self.contract(active)


class EncoderBlock(nn.Module):
    @reference("EncoderBlock.__init__")
    def __init__(self, num_heads, emb_dim, feedforward_dim, dropout):
        nn.Module.__init__(self)
        head_size = emb_dim // num_heads
        self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, head_size)
        self.norm1 = LayerNormalization(emb_dim)
        self.norm2 = LayerNormalization(emb_dim)
        self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
        self.dropout = nn.Dropout(dropout)

    @reference("EncoderBlock.forward")
    def forward(self, x):
        attended = self.MultiHeadBlock(x, x, x)
        first = self.dropout(self.norm1(x + attended))
        fed = self.feed_forward(first)
        return self.dropout(self.norm2(first + fed))


@reference("get_subsequent_mask")
def get_subsequent_mask(seq):
    N, K = seq.shape
    place = torch.arange(K, device=seq.device)
    later = place[None, :] > place[:, None]
    return later.repeat(N, 1, 1)


class DecoderBlock(nn.Module):
    @reference("DecoderBlock.__init__")
    def __init__(self, num_heads, emb_dim, feedforward_dim, dropout):
        nn.Module.__init__(self)
        head_size = emb_dim // num_heads
        self.attention_self = MultiHeadAttention(num_heads, emb_dim, head_size)
        self.attention_cross = MultiHeadAttention(num_heads, emb_dim, head_size)
        self.norm1 = LayerNormalization(emb_dim)
        self.norm2 = LayerNormalization(emb_dim)
        self.norm3 = LayerNormalization(emb_dim)
        self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
        self.dropout = nn.Dropout(dropout)

    @reference("DecoderBlock.forward")
    def forward(self, dec_inp, enc_inp, mask=None):
        attended = self.attention_self(dec_inp, dec_inp, dec_inp, mask)
        first = self.dropout(self.norm1(dec_inp + attended))
        crossed = self.attention_cross(first, enc_inp, enc_inp)
        second = self.dropout(self.norm2(first + crossed))
        fed = self.feed_forward(second)
        return self.dropout(self.norm3(second + fed))


# --- Positions and data ---


@reference("position_encoding_simple")
def position_encoding_simple(K, M):
    rows = torch.arange(K) / K
    return rows[None, :, None].repeat(1, 1, M)


@reference("position_encoding_sinusoid")
def position_encoding_sinusoid(K, M):
    column = torch.arange(M, dtype=torch.float64)
    row = torch.arange(K, dtype=torch.float64)[:, None]
    even = column % 2 == 0
    exponent = torch.floor((column - column % 2) / M)
    angle = row / 10000.0**exponent
    waves = torch.where(even, angle.sin(), angle.cos())
    return waves[None].float()


@reference("AddSubDataset.__getitem__")
def get_row(self, idx):
    tokens = self.inputs[idx]
    positions = self.input_positions
    answer = self.targets[idx]
    answer_positions = self.target_positions
    return tokens, positions, answer, answer_positions


# --- The whole model and its losses ---


class Encoder(nn.Module):
    def __init__(self, num_heads, emb_dim, feedforward_dim, num_layers, dropout):
        super().__init__()
        self.layers = nn.ModuleList([EncoderBlock(num_heads, emb_dim, feedforward_dim, dropout) for _ in range(num_layers)])

    def forward(self, x):
        return nn.Sequential(*self.layers)(x)


class Decoder(nn.Module):
    def __init__(self, num_heads, emb_dim, feedforward_dim, num_layers, dropout, vocab_len):
        super().__init__()
        self.layers = nn.ModuleList([DecoderBlock(num_heads, emb_dim, feedforward_dim, dropout) for _ in range(num_layers)])
        self.proj_to_vocab = xavier(emb_dim, vocab_len)

    def forward(self, target_seq, enc_out, mask):
        for layer in self.layers:
            target_seq = layer(target_seq, enc_out, mask)
        return self.proj_to_vocab(target_seq)


@reference("Transformer.__init__")
def build_transformer(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    nn.Module.__init__(self)
    self.emb_layer = nn.Embedding(vocab_len, emb_dim)
    self.encoder = Encoder(num_heads, emb_dim, feedforward_dim, num_enc_layers, dropout)
    self.decoder = Decoder(num_heads, emb_dim, feedforward_dim, num_dec_layers, dropout, vocab_len)


@reference("Transformer.forward")
def use_transformer(self, ques_b, ques_pos, ans_b, ans_pos):
    read = ans_b[:, :-1]
    read_pos = ans_pos[:, :-1]
    mask = get_subsequent_mask(read)
    question = self.emb_layer(ques_b) + ques_pos
    answer = self.emb_layer(read) + read_pos
    logits = self.decoder(answer, self.encoder(question), mask)
    return logits.flatten(0, 1)


@reference("LabelSmoothingLoss")
def LabelSmoothingLoss(pred, ground):
    V = pred.shape[1]
    share = 0.1
    wanted = torch.full_like(pred, share / (V - 1))
    wanted = wanted.scatter(1, ground.flatten()[:, None], 1 - share)
    logs = F.log_softmax(pred, 1)
    losses = -(wanted * logs).sum(1)
    return losses.sum()


@reference("CrossEntropyLoss")
def CrossEntropyLoss(pred, ground):
    logs = F.log_softmax(pred, 1)
    losses = -logs.gather(1, ground.flatten()[:, None])[:, 0]
    return losses.sum()
