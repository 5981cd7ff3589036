"""Captioning: right answers, step by step as in a textbook, without the library's own recurrent layers."""

from __future__ import annotations

import math

import torch
from torch import nn

from dl.checks.references import References

REFERENCES = References()
reference = REFERENCES.add


# --- A vanilla RNN by hand ---


@reference("rnn_step_forward")
def rnn_step_forward(x, prev_h, Wx, Wh, b):
    total = x @ Wx + prev_h @ Wh + b
    next_h = torch.tanh(total)
    return next_h, (x, prev_h, Wx, Wh, next_h)


@reference("rnn_step_backward")
def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    slope = 1 - next_h**2
    ds = dnext_h * slope
    dx = ds @ Wx.T
    dprev_h = ds @ Wh.T
    dWx = x.T @ ds
    dWh = prev_h.T @ ds
    db = ds.sum(dim=0)
    return dx, dprev_h, dWx, dWh, db


@reference("rnn_forward")
def rnn_forward(x, h0, Wx, Wh, b):
    h, states = h0, []
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] @ Wx + h @ Wh + b)
        states.append(h)
    all_h = torch.stack(states, dim=1)
    return all_h, (x, h0, Wx, Wh, all_h)


@reference("rnn_backward")
def rnn_backward(dh, cache):
    x, h0, Wx, Wh, h = cache
    dx, dWx, dWh, db = [torch.zeros_like(of) for of in (x, Wx, Wh, h0[0])]
    back = torch.zeros_like(h0)
    for t in reversed(range(x.shape[1])):
        before = h[:, t - 1] if t > 0 else h0
        arriving = dh[:, t] + back
        ds = arriving * (1 - h[:, t] ** 2)
        dx[:, t] = ds @ Wx.T
        dWx += x[:, t].T @ ds
        dWh += before.T @ ds
        db += ds.sum(dim=0)
        back = ds @ Wh.T
    dh0 = back
    return dx, dh0, dWx, dWh, db


# --- Words and loss ---


@reference("WordEmbedding.forward")
def word_embedding_forward(self, x):
    table = self.W_embed
    words = x.to(table.device)
    vectors = table[words]
    return vectors


@reference("temporal_softmax_loss")
def temporal_softmax_loss(x, y, ignore_index=None):
    logs = x.log_softmax(dim=2)
    surprise = -logs.gather(2, y.unsqueeze(2)).squeeze(2)
    ignored = torch.zeros_like(y, dtype=torch.bool) if ignore_index is None else y == ignore_index
    surprise = surprise.masked_fill(ignored, 0)
    return surprise.sum() / len(x)


# --- LSTM and attention ---


def update(a, prev_c):
    i, f, o, g = a.chunk(4, dim=1)
    next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()
    next_h = o.sigmoid() * next_c.tanh()
    return next_h, next_c


@reference("LSTM.step_forward", helpers=(update,))
def lstm_step(self, x, prev_h, prev_c):
    a = x @ self.Wx + prev_h @ self.Wh + self.b
    return update(a, prev_c)


@reference("AttentionLSTM.step_forward", helpers=(update,))
def attention_lstm_step(self, x, prev_h, prev_c, attn):
    a = x @ self.Wx + prev_h @ self.Wh + attn @ self.Wattn + self.b
    return update(a, prev_c)


@reference("LSTM.forward", helpers=(update, lstm_step))
def lstm_forward(self, x, h0):
    h, c = h0, torch.zeros_like(h0)
    states = []
    for t in range(x.shape[1]):
        h, c = lstm_step(self, x[:, t], h, c)
        states.append(h)
    return torch.stack(states, dim=1)


@reference("dot_product_attention")
def dot_product_attention(prev_h, A):
    N, H, h, w = A.shape
    cells = A.flatten(2).transpose(1, 2)
    scores = (cells * prev_h.unsqueeze(1)).sum(dim=2) / math.sqrt(H)
    weights = scores.softmax(dim=1)
    attn = (cells * weights.unsqueeze(2)).sum(dim=1)
    return attn, weights.reshape(N, h, w)


@reference("AttentionLSTM.forward", helpers=(update, attention_lstm_step))
def attention_lstm_forward(self, x, A):
    start = A.mean(dim=(2, 3))
    h, c = start, start
    states = []
    for t in range(x.shape[1]):
        attn, _ = dot_product_attention(h, A)
        h, c = attention_lstm_step(self, x[:, t], h, c, attn)
        states.append(h)
    return torch.stack(states, dim=1)


# --- The captioner ---


def lesson_of(model):
    """The names of the lesson that the model's class belongs to."""
    return type(model).encode.__globals__


def begin(self, word_to_idx, input_dim, cell_type, image_encoder_pretrained, ignore_index):
    """What surrounds the exercise."""
    lesson = lesson_of(self)
    known = cell_type in ("rnn", "lstm", "attn") and input_dim == lesson["FEATURE_CHANNELS"]
    if not known or lesson["NULL"] not in word_to_idx:
        raise ValueError(f"CaptioningRNN: cell_type {cell_type!r}, input_dim {input_dim}, {len(word_to_idx)} words")
    nn.Module.__init__(self)
    self.cell_type, self.word_to_idx, self.ignore_index = cell_type, word_to_idx, ignore_index
    self.idx_to_word = {index: word for word, index in word_to_idx.items()}
    self.image_encoder = lesson["ImageEncoder"](pretrained=image_encoder_pretrained)


@reference("CaptioningRNN.__init__")
def captioning_init(
    self,
    word_to_idx,
    input_dim=512,
    wordvec_dim=128,
    hidden_dim=128,
    cell_type="rnn",
    image_encoder_pretrained=True,
    ignore_index=None,
):
    begin(self, word_to_idx, input_dim, cell_type, image_encoder_pretrained, ignore_index)
    lesson = lesson_of(self)
    layers = {"rnn": lesson["RNN"], "lstm": lesson["LSTM"], "attn": lesson["AttentionLSTM"]}
    D, W, H, V = input_dim, wordvec_dim, hidden_dim, len(word_to_idx)
    self.feature_projection = nn.Linear(D, H)
    self.word_embedding = lesson["WordEmbedding"](V, W)
    self.recurrent = layers[cell_type](W, H)
    self.output_projection = nn.Linear(H, V)


@reference("CaptioningRNN.forward")
def captioning_forward(self, images, captions):
    captions = captions.to(self.output_projection.weight.device)
    read = captions[:, :-1]
    wanted = captions[:, 1:]
    features = self.encode(images)
    start = self.project(features)
    vectors = self.word_embedding(read)
    hidden = self.recurrent(vectors, start)
    scores = self.output_projection(hidden)
    return temporal_softmax_loss(scores, wanted, self.ignore_index)


@reference("CaptioningRNN.sample")
@torch.no_grad()
def captioning_sample(self, images, max_length=15):
    cell, layer = self.cell_type, self.recurrent
    start = self.project(self.encode(images))
    h = start.mean(dim=(2, 3)) if cell == "attn" else start
    c = h if cell == "attn" else torch.zeros_like(h)
    first = self.word_to_idx["<START>"]
    word = torch.full((len(h),), first, device=h.device)
    words, maps = [], []
    for _ in range(max_length):
        x = self.word_embedding(word.unsqueeze(1)).squeeze(1)
        if cell == "attn":
            attn, weights = dot_product_attention(h, start)
            h, c = layer.step_forward(x, h, c, attn)
            maps.append(weights.detach())
        elif cell == "lstm":
            h, c = layer.step_forward(x, h, c)
        else:
            h = layer.step_forward(x, h)
        scores = self.output_projection(h)
        word = scores.argmax(dim=1)
        words.append(word)
    captions = torch.stack(words, dim=1)
    if cell == "attn":
        return captions, torch.stack(maps, dim=1).float().cpu()
    return captions
