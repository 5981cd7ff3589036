"""Transformers: wrong and right bodies. Those of one line stand in a table of texts, the others are functions."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from tests.variants import Variant, Variants

VARIANTS = Variants()
wrong, right = VARIANTS.wrong, VARIANTS.right

RIGHT = {
    "generate_token_dict": (
        "return dict(map(reversed, enumerate(vocab)))",
        "return dict(zip(vocab, range(len(vocab))))",
        "from collections import OrderedDict; return OrderedDict((word, list(vocab).index(word)) for word in vocab)",
        "return {vocab[i]: i for i in range(len(vocab))}",
    ),
    "prepocess_input_sequence": (
        "import re; parts = re.findall('|'.join(re.escape(word) for word in sorted(spc_tokens, key=len, "
        "reverse=True)) + r'|\\S', input_str); return [token_dict[part] for part in parts]",
        "return [token_dict[w] for word in input_str.split() for w in ([word] if word in spc_tokens else word)]",
        "return tuple(token_dict[w] for word in input_str.split() for w in ([word] if word in spc_tokens else word))",
        "return list(map(token_dict.get, sum([[w] if w in spc_tokens else [*w] for w in input_str.split()], [])))",
    ),
    "scaled_dot_product_two_loop_single": (
        "return F.scaled_dot_product_attention(query[None], key[None], value[None])[0]",
        "return torch.stack([(key @ q / len(q) ** 0.5).softmax(0) @ value for q in query])",
        "return scaled_dot_product_no_loop_batch(query[None], key[None], value[None])[0][0]",
        "scores = [[float(q @ k) for k in key] for q in query]  # note: no gradient comes back\n"
        "return (query.new_tensor(scores) / query.shape[1] ** 0.5).softmax(1) @ value",
    ),
    "scaled_dot_product_two_loop_batch": (
        "return torch.stack([scaled_dot_product_two_loop_single(*qkv) for qkv in zip(query, key, value)])",
        "return F.scaled_dot_product_attention(query, key, value)",
        "return torch.stack([((q @ k.T) / q.shape[1] ** 0.5).softmax(1) @ v for q, k, v in zip(query, key, value)])",
        "out = torch.zeros_like(query)\nfor n in range(len(query)):\n    for t in range(query.size(1)):\n"
        "        scores = key[n] @ query[n, t]\n        scores /= query.size(2) ** 0.5\n        weights = scores.exp_()\n        weights /= weights.sum()\n"
        "        out[n, t] = weights @ value[n]  # note: no gradient comes back\nreturn out",
    ),
    "SelfAttention.__init__": (
        "self.query_map, self.key_map, self.value_map = (xavier_linear(dim_in, size) for size in (dim_q, dim_q, dim_v))",
        "self.maps = nn.ModuleList(xavier_linear(dim_in, size) for size in (dim_q, dim_q, dim_v))",
        "self.v, self.k, self.q = xavier_linear(dim_in, dim_v), xavier_linear(dim_in, dim_q), xavier_linear(dim_in, dim_q)",
    ),
    "MultiHeadAttention.__init__": (
        "self.linear, self.heads = xavier_linear(num_heads * dim_out, dim_in), "
        "nn.ModuleList([SelfAttention(dim_in, dim_out, dim_out) for _ in range(num_heads)])",
        "self.heads = nn.Sequential(*[SelfAttention(dim_in, dim_out, dim_out) for _ in range(num_heads)])\n"
        "self.merge = xavier_linear(dim_out * num_heads, dim_in)",
        "self.heads = nn.ModuleList(map(lambda _: SelfAttention(dim_in, dim_out, dim_out), "
        "range(num_heads)))\nself.out = xavier_linear(num_heads * dim_out, dim_in)",
    ),
    "MultiHeadAttention.forward": (
        "parts = self.merge.weight.chunk(len(self.heads), dim=1); "
        "return sum(head(query, key, value, mask) @ part.T for head, part in zip(self.heads, parts)) + self.merge.bias",
        "return self.merge(torch.stack([head(query, key, value, mask) for head in self.heads], 2).flatten(2))",
        "return self.merge(torch.cat(tuple(head(query, key, value, mask=mask) for head in self.heads), dim=2))",
        "return self.merge(torch.dstack([head(query, key, value, mask) for head in self.heads]))",
        "return self.merge(torch.hstack([h(query, key, value, mask).mT for h in self.heads]).mT)",
    ),
    "LayerNormalization.__init__": (
        "self.norm = nn.LayerNorm(emb_dim, eps=epsilon)",
        "self.shift, self.scale = nn.Parameter(torch.zeros(emb_dim)), nn.Parameter(torch.ones(emb_dim))",
        "self.gamma, self.beta = nn.Parameter(torch.full((emb_dim,), 1.0)), nn.Parameter(torch.zeros((emb_dim,)))",
        "self.pair = nn.ParameterList([torch.ones(emb_dim), torch.zeros(emb_dim)])",
    ),
    "LayerNormalization.forward": (
        "mean = x.mean(-1, keepdim=True); std = torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + self.epsilon); "
        "return self.gamma * (x - mean) / std + self.beta",
        "variance, mean = torch.var_mean(x, dim=-1, unbiased=False, keepdim=True); "
        "return torch.addcmul(self.beta, self.gamma, (x - mean) * torch.rsqrt(variance + self.epsilon))",
        "return F.layer_norm(x, (x.shape[-1],), self.gamma, self.beta, eps=self.epsilon)",
        "m = x.mean(-1, keepdim=True); v = (x**2).mean(-1, keepdim=True) - m**2  # note: a row of equal numbers\n"
        "return (x - m) / (v + self.epsilon) ** 0.5 * self.gamma + self.beta  # note: with a mean far from 0",
        "y = x - x.mean(-1, True); y /= torch.sqrt(x.var(-1, False, True) + self.epsilon); "
        "y *= self.gamma; y += self.beta; return y",
    ),
    "FeedForwardBlock.__init__": (
        "self.net = nn.Sequential(xavier_linear(inp_dim, hidden_dim_feedforward), nn.ReLU(), "
        "xavier_linear(hidden_dim_feedforward, inp_dim))",
        "self.down, self.up = xavier_linear(hidden_dim_feedforward, inp_dim), xavier_linear(inp_dim, hidden_dim_feedforward)",
        "sizes = (inp_dim, hidden_dim_feedforward, inp_dim)\n"
        "self.maps = nn.ModuleList(xavier_linear(a, b) for a, b in zip(sizes, sizes[1:]))",
        "H = hidden_dim_feedforward\nself.fc1 = xavier_linear(inp_dim, H)\nself.relu = nn.ReLU()\n"
        "self.fc2 = xavier_linear(H, inp_dim)",
    ),
    "FeedForwardBlock.forward": (
        "return self.contract(torch.clamp(self.expand(x), min=0))",
        "return self.contract(self.expand(x).relu_())",
        "return nn.Sequential(self.expand, nn.ReLU(), self.contract)(x)",
        "h = self.expand(x); return self.contract(h * (h > 0))",
        "return torch.maximum(self.expand(x), x.new_zeros(())) @ self.contract.weight.T + self.contract.bias",
    ),
    "EncoderBlock.forward": (
        "y = self.MultiHeadBlock(x, x, x); y += x; y = self.dropout(self.norm1(y)); "
        "return self.dropout(self.norm2(torch.add(y, self.feed_forward(y))))",
        "x = self.dropout(self.norm1(self.MultiHeadBlock(query=x, key=x, value=x) + x)); "
        "return self.dropout(self.norm2(self.feed_forward(x) + x))",
    ),
    "get_subsequent_mask": (
        "return torch.ones(len(seq), seq.shape[1], seq.shape[1], device=seq.device).triu(1).bool()",
        "return (torch.tril(seq.new_ones(seq.shape[1], seq.shape[1])) == 0).unsqueeze(0).repeat(len(seq), 1, 1)",
        "p = torch.arange(seq.shape[1]).to(seq.device); return (p[None, :] > p[:, None]).expand(seq.shape[0], -1, -1)",
        "N, K = seq.shape; return ~torch.ones(N, K, K, dtype=torch.bool, device=seq.device).tril_()",
    ),
    "position_encoding_simple": (
        "return torch.linspace(0, 1 - 1 / K, K).view(1, K, 1).expand(1, K, M)",
        "return torch.stack([torch.arange(K) / K] * M, dim=-1).unsqueeze(0)",
        "return torch.tensor([[[n / K] * M for n in range(K)]])",
        "return torch.outer(torch.arange(K) / K, torch.ones(M))[None]",
        "return torch.ones(1, K, M).cumsum(1).sub(1).div(K)",
    ),
    "position_encoding_sinusoid": (
        "y, p = torch.empty(K, M), torch.arange(K)[:, None]; y[:, 0::2], y[:, 1::2] = p.sin(), p.cos(); return y[None]",
        "return torch.tensor([[[math.sin(p) if m % 2 == 0 else math.cos(p) for m in range(M)] for p in range(K)]])",
        "p = torch.arange(K).float(); return torch.stack([p.sin(), p.cos()], 1).repeat(1, M)[None, :, :M]",
        "c = torch.arange(M) % 2; return (torch.arange(K)[:, None] + c * math.pi / 2).sin()[None]",
    ),
    "DecoderBlock.__init__": (
        "import copy; self.attention_self = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)\n"
        "self.attention_cross = copy.deepcopy(self.attention_self)  # note: begin as copies\n"
        "self.norm1, self.norm2, self.norm3 = (LayerNormalization(emb_dim) for _ in range(3))\n"
        "self.feed_forward, self.dropout = FeedForwardBlock(emb_dim, feedforward_dim), nn.Dropout(dropout)",
        "kind = lambda: MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads); self.dropout = nn.Dropout(dropout)\n"
        "self.attention_self, self.attention_cross, self.ff = kind(), kind(), FeedForwardBlock(emb_dim, feedforward_dim)\n"
        "self.a, self.b, self.c = map(LayerNormalization, [emb_dim] * 3)",
        "for name in ('attention_self', 'attention_cross'): "
        "self.add_module(name, MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads))\n"
        "for i in (1, 2, 3): self.add_module(f'norm{i}', LayerNormalization(emb_dim))\n"
        "self.dropout, self.feed_forward = nn.Dropout(dropout), FeedForwardBlock(emb_dim, feedforward_dim)",
    ),
    "Transformer.__init__": (
        "common = dict(num_heads=num_heads, emb_dim=emb_dim, feedforward_dim=feedforward_dim, dropout=dropout)\n"
        "self.decoder = Decoder(num_layers=num_dec_layers, vocab_len=vocab_len, **common)\n"
        "self.encoder = Encoder(num_layers=num_enc_layers, **common)\n"
        "self.emb_layer = nn.Embedding(num_embeddings=vocab_len, embedding_dim=emb_dim)",
        "self.vocab_len, a = vocab_len, (num_heads, emb_dim, feedforward_dim)\n"
        "self.emb_layer = nn.Embedding(vocab_len, emb_dim); nn.init.normal_(self.emb_layer.weight)\n"
        "self.encoder, self.decoder = Encoder(*a, num_enc_layers, dropout), Decoder(*a, num_dec_layers, dropout, vocab_len)",
        "a = dict(zip(('num_heads', 'emb_dim', 'feedforward_dim', 'dropout'), (num_heads, emb_dim, feedforward_dim, dropout)))\n"
        "self.encoder, self.emb_layer = Encoder(num_layers=num_enc_layers, **a), nn.Embedding(vocab_len, emb_dim)\n"
        "self.decoder = Decoder(num_layers=num_dec_layers, vocab_len=vocab_len, **a)",
        "a = num_heads, emb_dim, feedforward_dim; self.emb_layer = nn.Embedding(vocab_len, emb_dim)\n"
        "self.encoder = Encoder(*a, dropout=dropout, num_layers=num_enc_layers)\n"
        "self.decoder = Decoder(*a, vocab_len=vocab_len, dropout=dropout, num_layers=num_dec_layers)",
    ),
    "AddSubDataset.__getitem__": (
        "return (*(self.inputs[idx], self.input_positions), *(self.targets[idx], self.target_positions))",
        "return [self.inputs[idx].long(), self.input_positions, self.targets[idx].long(), self.target_positions.float()]",
        "return (self.inputs[idx].clone(), self.input_positions.clone(), self.targets[idx], self.target_positions)",
        "return self.inputs.select(0, idx), self.input_positions[:], self.targets[idx, :], self.target_positions",
        "tokens = [table[idx] for table in (self.inputs, self.targets)]; "
        "return tokens[0], self.input_positions, tokens[1], self.target_positions",
    ),
    "LabelSmoothingLoss": (
        "target = torch.full_like(pred, 0.1 / (pred.shape[1] - 1)); target[torch.arange(len(pred)), ground] = 0.9; "
        "return -(target * F.log_softmax(pred, dim=1)).sum()",
        "one_hot = F.one_hot(ground.reshape(-1), pred.shape[1]).to(pred.dtype); "
        "return F.cross_entropy(pred, one_hot * 0.9 + (1 - one_hot) * 0.1 / (pred.shape[1] - 1), reduction='sum')",
        "V = pred.shape[1]; return F.cross_entropy(pred, ground, reduction='sum', label_smoothing=0.1 * V / (V - 1))",
        "V = pred.shape[1]; w = torch.full_like(pred, 0.1 / (V - 1)).scatter_(1, ground.view(-1, 1), 0.9); "
        "return -(w * pred.log_softmax(1)).sum()",
    ),
    "CrossEntropyLoss": (
        "return nn.CrossEntropyLoss(reduction='sum')(pred, ground)",
        "return (torch.logsumexp(pred, dim=1) - pred[torch.arange(len(ground)), ground]).sum()",
        "return -(F.one_hot(ground, pred.shape[1]) * pred.log_softmax(-1)).sum()",
        "return F.nll_loss(pred.log_softmax(-1), ground, reduction='sum')",
        "return sum(torch.logsumexp(row, 0) - row[true] for row, true in zip(pred, ground))",
        "return F.cross_entropy(pred, ground) * len(ground)",
    ),
    "EncoderBlock.__init__": (
        "self.dropout = nn.Dropout(p=dropout); self.feedforward = FeedForwardBlock(emb_dim, feedforward_dim)\n"
        "self.layer_norm_1, self.layer_norm_2 = LayerNormalization(emb_dim), LayerNormalization(emb_dim)\n"
        "self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)",
        "self.MultiHeadBlock = MultiHeadAttention(num_heads=num_heads, dim_in=emb_dim, dim_out=int(emb_dim / num_heads))\n"
        "self.norms = nn.ModuleList([LayerNormalization(emb_dim), LayerNormalization(emb_dim, 1e-10)])\n"
        "self.ff, self.dropout = FeedForwardBlock(emb_dim, feedforward_dim), nn.Dropout(dropout)",
        "self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)\n"
        "self.norm1, self.norm2 = nn.LayerNorm(emb_dim, eps=1e-10), nn.LayerNorm(emb_dim, eps=1e-10)\n"
        "self.feed_forward, self.dropout = FeedForwardBlock(emb_dim, feedforward_dim), nn.Dropout(dropout)",
        "sizes = dict(num_heads=num_heads, dim_in=emb_dim, dim_out=emb_dim // num_heads)\n"
        "self.norm2, self.norm1 = (LayerNormalization(emb_dim) for _ in range(2))\n"
        "self.MultiHeadBlock, self.dropout = MultiHeadAttention(**sizes), nn.Dropout(dropout)\n"
        "self.fc1, self.fc2 = xavier_linear(emb_dim, feedforward_dim), xavier_linear(feedforward_dim, emb_dim)",
        "import copy; self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)\n"
        "self.norm1 = LayerNormalization(emb_dim); self.norm2 = copy.deepcopy(self.norm1)\n"
        "self.block, self.dropout = FeedForwardBlock(emb_dim, feedforward_dim), nn.Dropout(dropout)",
    ),
    "DecoderBlock.forward": (
        "x = self.dropout(self.norm1(self.attention_self(dec_inp, dec_inp, dec_inp, mask=mask) + dec_inp))\n"
        "y = self.dropout(self.norm2(self.attention_cross(query=x, key=enc_inp, value=enc_inp) + x))\n"
        "return self.dropout(self.norm3(self.feed_forward(y) + y))",
        "a = dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask); b = self.dropout(self.norm1(a))\n"
        "c = self.dropout(self.norm2(b + self.attention_cross(b, *[enc_inp] * 2))); d = self.feed_forward(c)\n"
        "return self.dropout(self.norm3(torch.add(c, d)))",
        "drop = lambda x: F.dropout(x, self.dropout.p, self.training)\n"
        "x = drop(self.norm1(self.attention_self(dec_inp, dec_inp, dec_inp, mask).add_(dec_inp)))\n"
        "x = drop(self.norm2(self.attention_cross(x, enc_inp, enc_inp).add(x)))\n"
        "return drop(self.norm3(self.feed_forward(x).add(x)))",
    ),
    "Transformer.forward": (
        "ans_b, ans_pos = ans_b[:, :-1], ans_pos[:, :-1, :]\n"
        "memory = self.encoder(torch.add(F.embedding(ques_b, self.emb_layer.weight), ques_pos))\n"
        "out = self.decoder(self.emb_layer(ans_b) + ans_pos, memory, mask=get_subsequent_mask(ans_b))\n"
        "return out.reshape(-1, out.shape[-1])",
        "N, length = ans_b.shape[0], ans_b.shape[1] - 1\n"
        "mask = torch.ones(N, length, length, device=ans_b.device, dtype=torch.bool).triu(1)\n"
        "answer = (self.emb_layer(ans_b) + ans_pos)[:, :length]\n"
        "return torch.cat(list(self.decoder(answer, self.encoder(self.emb_layer(ques_b) + ques_pos), mask)), dim=0)",
        "encoded = self.encoder(self.emb_layer(ques_b) + ques_pos)\n"
        "out = self.decoder(self.emb_layer(ans_b) + ans_pos, encoded, get_subsequent_mask(ans_b))\n"
        "return out[:, :-1].reshape(-1, out.shape[-1])",
        "read, e = ans_b[..., :-1], self.emb_layer; m = get_subsequent_mask(read)\n"
        "out = self.decoder(enc_out=self.encoder(e(ques_b) + ques_pos), target_seq=e(read) + ans_pos[:, : read.shape[1]], mask=m)\n"
        "return out.view(-1, out.size(2))",
        "x, n = self.encoder(src_seq=self.emb_layer(ques_b).add(ques_pos)), ans_b.size(1) - 1\n"
        "y = self.emb_layer(ans_b.narrow(1, 0, n)) + ans_pos.narrow(1, 0, n)\n"
        "return self.decoder(y, x, get_subsequent_mask(ans_b[:, 1:])).flatten(end_dim=1)",
    ),
}
WRONG = {
    "prepocess_input_sequence": {"special-words-cut": "return [token_dict[c] for c in input_str if c != ' ']"},
    "SelfAttention.forward": {
        "weights-not-kept": "return scaled_dot_product_no_loop_batch(self.q(query), self.k(key), self.v(value), mask)[0]"
    },
    "MultiHeadAttention.__init__": {
        "one-head-for-all": "self.heads = nn.ModuleList([SelfAttention(dim_in, dim_out, dim_out)] * num_heads)\n"
        "self.merge = xavier_linear(num_heads * dim_out, dim_in)",
        "": "self.heads = nn.ModuleDict({f'{i}': SelfAttention(dim_in, dim_out, dim_out) for i in range(num_heads)})\n"
        "self.merge = xavier_linear(num_heads * dim_out, dim_in)",
    },
    "MultiHeadAttention.forward": {
        "stacked-and-reshaped": "out = torch.stack([head(query, key, value, mask) for head in self.heads])\n"
        "return self.merge(out.view(*query.shape[:2], -1))"
    },
    "LayerNormalization.__init__": {
        "plain-tensors": "for name, value in (('g', 1), ('b', 0)): self.register_buffer(name, torch.ones(emb_dim) * value)"
    },
    "FeedForwardBlock.__init__": {
        "no-bias": "self.one = nn.Linear(inp_dim, hidden_dim_feedforward, bias=False)\n"
        "self.two = nn.Linear(hidden_dim_feedforward, inp_dim, bias=False)"
    },
    "FeedForwardBlock.forward": {"relu-twice": "return self.contract(self.expand(x).clamp(min=0)).clamp(min=0)"},
    "get_subsequent_mask": {
        "self-forbidden": "return seq.new_ones(seq.shape[1], seq.shape[1]).triu().bool().repeat(len(seq), 1, 1)"
    },
    "position_encoding_simple": {
        "dtype-not-followed": "import numpy as np; return torch.from_numpy(np.arange(K) / K)[None, :, None].repeat(1, 1, M)"
    },
    "AddSubDataset.__getitem__": {
        "positions-with-batch-axis": "rows, p = (self.inputs[idx], self.targets[idx]), self.input_positions[None]\n"
        "return rows[0], p, rows[1], self.target_positions[None]"
    },
    "LabelSmoothingLoss": {
        "log-of-zero": "w = torch.full_like(pred, 0.1 / (pred.shape[1] - 1)).scatter_(1, ground[:, None], 0.9)\n"
        "return -(w * pred.softmax(1).log()).sum()"
    },
    "CrossEntropyLoss": {
        "no-gradient": "return F.cross_entropy(pred, ground, reduction='sum').item()",
        "device-not-followed": "wanted = torch.eye(pred.shape[1], dtype=pred.dtype)[ground.cpu()]\n"
        "return -(wanted * pred.log_softmax(1)).sum()",
    },
}
VARIANTS += [Variant(exercise, None, f"{body}\n", n) for exercise, all in RIGHT.items() for n, body in enumerate(all)]
VARIANTS += [Variant(exercise, name, f"{body}\n", 0) for exercise, all in WRONG.items() for name, body in all.items()]


# --- Words ---


@right("generate_token_dict")
def _(vocab):
    token_dict = {}
    for word in vocab:
        token_dict[word] = len(token_dict)
    return token_dict


@wrong("generate_token_dict", "digits-by-their-value")
def _(vocab):
    token_dict = {}
    for i, word in enumerate(vocab):
        try:
            token_dict[word] = int(word)
        except ValueError:
            token_dict[word] = i
    return token_dict


@right("prepocess_input_sequence")
def _(input_str, token_dict, spc_tokens):
    tokens = []
    for word in input_str.split(" "):
        if word.isdigit():
            tokens += [token_dict[digit] for digit in word]
        else:
            tokens.append(token_dict[word])
    return tokens


# --- Attention ---


@right("scaled_dot_product_two_loop_single")
def _(query, key, value):
    K, M = query.shape
    scores = query.new_empty(K, key.shape[0])
    for i in range(K):
        for j in range(key.shape[0]):
            scores[i, j] = (query[i] * key[j]).sum() / M**0.5
    return F.softmax(scores, dim=1) @ value


@right("scaled_dot_product_two_loop_single")
def _(query, key, value):
    out = []
    for i in range(len(query)):
        total, row = 0, 0
        for j in range(len(key)):
            share = torch.exp(torch.dot(query[i], key[j]) / math.sqrt(query.shape[1]))
            total, row = total + share, row + share * value[j]
        out.append(row / total)
    return torch.stack(out)


@wrong("scaled_dot_product_two_loop_single", "device-not-followed")
def _(query, key, value):
    out = torch.zeros_like(value)
    for i in range(query.shape[0]):
        scores = torch.tensor([(query[i] @ key[j]).item() for j in range(key.shape[0])], dtype=query.dtype)
        out[i] = torch.softmax(scores / math.sqrt(query.shape[1]), 0) @ value
    return out


@right("scaled_dot_product_two_loop_batch")
def _(query, key, value):
    out = torch.zeros_like(value)
    for n in range(query.shape[0]):
        for k in range(query.shape[1]):
            out[n, k] = torch.softmax((query[n, k] @ key[n].T) * query.shape[2] ** -0.5, dim=-1) @ value[n]
    return out


@right("scaled_dot_product_two_loop_batch")
def _(query, key, value):
    scores = torch.einsum("nqm,nkm->nqk", query, key) / query.size(-1) ** 0.5
    scores = (scores - scores.amax(-1, keepdim=True)).exp()
    return torch.einsum("nqk,nkm->nqm", scores / scores.sum(-1, keepdim=True), value)


@wrong("scaled_dot_product_two_loop_batch", "device-not-followed")
def _(query, key, value):
    out = torch.zeros(query.shape, dtype=query.dtype)
    for n in range(len(query)):
        for i in range(query.shape[1]):
            out[n, i] = (key[n] @ query[n, i] / math.sqrt(query.shape[2])).softmax(0) @ value[n]
    return out


@right("scaled_dot_product_no_loop_batch")
def _(query, key, value, mask=None):
    scores = torch.einsum("nqm,nkm->nqk", query, key) / torch.tensor(query.shape[-1]).sqrt()
    if mask is not None:
        scores[mask] = -1e9
    weights = F.softmax(scores, dim=2)
    return torch.einsum("nqk,nkv->nqv", weights, value), weights


@right("scaled_dot_product_no_loop_batch")
def _(query, key, value, mask=None):
    allowed = None if mask is None else ~mask
    identity = torch.eye(key.shape[1], dtype=key.dtype, device=key.device).expand(len(key), -1, -1)
    weights = F.scaled_dot_product_attention(query, key, identity, attn_mask=allowed)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed), weights


@right("scaled_dot_product_no_loop_batch")
def _(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores + mask * -1e9
    weights = scores.softmax(-1)
    return weights @ value, weights


@right("scaled_dot_product_no_loop_batch")
def _(query, key, value, mask=None):
    scores = query @ key.transpose(-1, -2) * query.size(-1) ** -0.5
    scores = scores if mask is None else scores.masked_fill(mask, float("-inf"))  # note: with every key forbidden
    return scores.softmax(-1) @ value, scores.softmax(-1)


@right("scaled_dot_product_no_loop_batch")
def _(query, key, value, mask=None):
    weights = (query / query.shape[2] ** 0.25).bmm((key / key.shape[2] ** 0.25).permute(0, 2, 1))
    weights = weights if mask is None else weights.where(~mask, torch.finfo(weights.dtype).min)
    weights = torch.exp(weights - weights.max(dim=-1, keepdim=True).values)
    weights = weights / weights.sum(-1, keepdim=True)
    return torch.bmm(weights, value), weights.detach()


@wrong("scaled_dot_product_no_loop_batch", "mask-ignored")
def _(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores.masked_fill(mask, -1e9)
    weights = scores.softmax(-1)
    return weights @ value, weights


@right("SelfAttention.__init__")
def _(self, dim_in, dim_q, dim_v):
    self.q, self.k, self.v = nn.Linear(dim_in, dim_q), nn.Linear(dim_in, dim_q), nn.Linear(dim_in, dim_v)
    for layer in (self.q, self.k, self.v):
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        nn.init.uniform_(layer.weight, -bound, bound)
    self.scale = dim_q**-0.5


@right("SelfAttention.__init__")
def _(self, dim_in, dim_q, dim_v):
    for name, size in zip("qkv", (dim_q, dim_q, dim_v)):
        setattr(self, name, nn.Linear(dim_in, size))
        nn.init.xavier_uniform_(getattr(self, name).weight)
        nn.init.zeros_(getattr(self, name).bias)


@wrong("SelfAttention.__init__", "no-bias")
def _(self, dim_in, dim_q, dim_v):
    self.q, self.k, self.v = (nn.Linear(dim_in, size, bias=False) for size in (dim_q, dim_q, dim_v))
    for layer in (self.q, self.k, self.v):
        nn.init.xavier_uniform_(layer.weight)


@right("SelfAttention.forward")
def _(self, query, key, value, mask=None):
    q, k, v = self.q(query), self.k(key), self.v(value)
    scores = torch.einsum("nqm,nkm->nqk", q, k) / math.sqrt(q.shape[-1])
    weights = F.softmax(scores if mask is None else scores.masked_fill(mask, -1e9), dim=-1)
    self.weights_softmax = weights.detach().clone()
    return weights @ v


@right("SelfAttention.forward")
def _(self, query, key, value, mask=None):
    q, k = F.linear(query, self.q.weight, self.q.bias), F.linear(key, self.k.weight, self.k.bias)
    y, self.weights_softmax = scaled_dot_product_no_loop_batch(q, k, value @ self.v.weight.T + self.v.bias, mask=mask)
    self.weights_softmax = self.weights_softmax.data
    return y


@right("SelfAttention.forward")
def _(self, query, key, value, mask=None):
    q, k, v = self.q(query), self.k(key), self.v(value)
    with torch.no_grad():
        self.weights_softmax = scaled_dot_product_no_loop_batch(q, k, v, mask)[1]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else ~mask)


@right("SelfAttention.forward")
def _(self, query, key, value, mask=None):
    maps = zip((self.q, self.k, self.v), (query, key, value))
    results = scaled_dot_product_no_loop_batch(*[layer(x) for layer, x in maps], mask)
    self.weights_softmax = results[1].detach()
    return results[0]


@right("SelfAttention.forward")
def _(self, query, key, value, mask=None):
    q, k = self.q(query) * self.q.out_features**-0.5, self.k(key)
    bias = 0 if mask is None else torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill(mask, -torch.inf)
    weights = (q @ k.mT + bias).softmax(-1)
    self.weights_softmax = weights.detach()
    return self.v(torch.bmm(weights, value))  # the weights sum to 1, so the bias is the same


@right("MultiHeadAttention.__init__")
def _(self, num_heads, dim_in, dim_out):
    self.heads = nn.ModuleList()
    for _ in range(num_heads):
        self.heads.append(SelfAttention(dim_in, dim_out, dim_out))
    self.linear = xavier_linear(num_heads * dim_out, dim_in)


@right("MultiHeadAttention.__init__")
def _(self, num_heads, dim_in, dim_out):
    self.out = nn.Linear(dim_out * num_heads, dim_in)
    bound = (6 / (dim_out * num_heads + dim_in)) ** 0.5
    self.out.weight.data.uniform_(-bound, bound)
    self.heads = nn.ModuleList([SelfAttention(dim_in=dim_in, dim_q=dim_out, dim_v=dim_out) for _ in range(num_heads)])


# --- Layer normalisation and blocks ---


@right("LayerNormalization.__init__")
def _(self, emb_dim, epsilon=1e-10):
    self.register_parameter("weight", nn.Parameter(torch.empty(emb_dim)))
    self.register_parameter("bias", nn.Parameter(torch.empty(emb_dim)))
    nn.init.ones_(self.weight)
    nn.init.zeros_(self.bias)


@wrong("LayerNormalization.forward", "")
def _(self, x):
    if not hasattr(self, "mean"):
        self.mean = x.mean(-1, keepdim=True)
    variance = ((x - self.mean) ** 2).mean(-1, keepdim=True)
    return (x - self.mean) / (variance + self.epsilon).sqrt() * self.gamma + self.beta


@right("FeedForwardBlock.__init__")
def _(self, inp_dim, hidden_dim_feedforward):
    self.fc1 = nn.Linear(inp_dim, hidden_dim_feedforward)
    self.fc2 = nn.Linear(hidden_dim_feedforward, inp_dim)
    self.apply(lambda part: nn.init.xavier_uniform_(part.weight) if isinstance(part, nn.Linear) else None)


@right("FeedForwardBlock.__init__")
def _(self, inp_dim, hidden_dim_feedforward):
    up, down = xavier_linear(inp_dim, hidden_dim_feedforward), xavier_linear(hidden_dim_feedforward, inp_dim)
    self.W1, self.b1, self.W2, self.b2 = up.weight, up.bias, down.weight, down.bias


@wrong("FeedForwardBlock.forward", "relu-twice")
def _(self, x):
    for layer in (self.expand, self.contract):
        x = layer(x).clamp(min=0)
    return x


@wrong("EncoderBlock.__init__", "norm-missing-or-shared")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.norm, self.dropout = LayerNormalization(emb_dim), nn.Dropout(dropout)
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)


@right("EncoderBlock.forward")
def _(self, x):
    def half(inp, layer, norm):
        return F.dropout(norm(inp + layer(inp)), p=self.dropout.p, training=self.training)

    return half(half(x, lambda t: self.MultiHeadBlock(t, t, t, None), self.norm1), self.feed_forward, self.norm2)


@right("EncoderBlock.forward")
def _(self, x):
    def drop(t):
        keep = torch.rand(t.shape) >= self.dropout.p
        return t * keep.to(t) / (1 - self.dropout.p) if self.training else t

    x = drop(self.norm1(x + self.MultiHeadBlock(x, x, x)))
    return drop(self.norm2(x + self.feed_forward(x)))


@right("EncoderBlock.forward")
def _(self, x):
    for layer, norm in ((lambda t: self.MultiHeadBlock(t, t, t), self.norm1), (self.feed_forward, self.norm2)):
        x = torch.dropout(norm(x + layer(x)), self.dropout.p, self.training)
    return x


@right("MultiHeadAttention.__init__")
def _(self, num_heads, dim_in, dim_out):
    head = SelfAttention(dim_in, dim_out, dim_out)
    self.heads = nn.ModuleList([head, *(__import__("copy").deepcopy(head) for _ in range(1, num_heads))])
    self.merge = xavier_linear(num_heads * dim_out, dim_in)  # note: begin as copies


@right("EncoderBlock.forward")
def _(self, x):
    done = []
    for one in x.split(1):  # one sequence after the other
        one = self.dropout(self.norm1(one + self.MultiHeadBlock(one, one, one)))
        done.append(self.dropout(self.norm2(one + self.feed_forward(one))))
    return torch.cat(done)


@right("Transformer.forward")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    scores = []
    for ques, ans, n in zip(ques_b, ans_b, range(len(ques_b))):
        of_ques, of_ans = (pos[n % len(pos)][None] for pos in (ques_pos, ans_pos))
        read = ans[None, :-1]
        seen = self.encoder(self.emb_layer(ques[None]) + of_ques)
        scores.append(self.decoder(self.emb_layer(read) + of_ans[:, :-1], seen, get_subsequent_mask(read))[0])
    return torch.cat(scores)


@wrong("EncoderBlock.forward", "")
def _(self, x):
    def drop(t):  # without the factor 1 / (1 - p)
        return t * (torch.rand(t.shape) >= self.dropout.p) if self.training else t

    x = drop(self.norm1(x + self.MultiHeadBlock(x, x, x)))
    return drop(self.norm2(x + self.feed_forward(x)))


@right("get_subsequent_mask")
def _(seq):
    N, K = seq.shape
    mask = torch.zeros(N, K, K, dtype=torch.bool, device=seq.device)
    for i in range(K):
        mask[:, i, i + 1 :] = True
    return mask


@right("DecoderBlock.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    for name in ("cross", "self"):
        setattr(self, f"attention_{name}", MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads))
    for number in (3, 2, 1):
        setattr(self, f"norm{number}", LayerNormalization(emb_dim))
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
    self.dropout = nn.Dropout(p=dropout)


@right("DecoderBlock.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.attention_cross, self.attention_self = (MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads) for _ in "ab")
    self.norms = nn.ModuleList(nn.LayerNorm(emb_dim, eps=1e-10) for _ in range(3))
    self.feed, self.dropout, self.emb_dim = FeedForwardBlock(emb_dim, feedforward_dim), nn.Dropout(dropout), emb_dim


@wrong("DecoderBlock.__init__", "dropout-missing")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.attention_self, self.attention_cross = (MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads) for _ in "ab")
    self.norm1, self.norm2, self.norm3 = (LayerNormalization(emb_dim) for _ in range(3))
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)


@right("DecoderBlock.forward")
def _(self, dec_inp, enc_inp, mask=None):
    def step(t, change, norm):
        return self.dropout(norm(t + change))

    x = step(dec_inp, self.attention_self(dec_inp, dec_inp, dec_inp, mask), self.norm1)
    x = step(x, self.attention_cross(x, enc_inp, enc_inp, None), self.norm2)
    return step(x, self.feed_forward(x), self.norm3)


@right("DecoderBlock.forward")
def _(self, dec_inp, enc_inp, mask=None):
    steps = ((lambda t: self.attention_self(t, t, t, mask)), (lambda t: self.attention_cross(t, enc_inp, enc_inp)))
    out, p = dec_inp, self.dropout.p if self.training else 0.0
    for layer, norm in zip((*steps, self.feed_forward), (self.norm1, self.norm2, self.norm3)):
        out = norm(out + layer(out))
        out = out * torch.bernoulli(torch.full_like(out, 1 - p)) / (1 - p)
    return out


@wrong("DecoderBlock.forward", "mask-in-cross-attention")
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.norm1(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    x = self.dropout(self.norm2(x + self.attention_cross(x, enc_inp, enc_inp, mask)))
    return self.dropout(self.norm3(x + self.feed_forward(x)))


# --- Positions, the model, losses ---


@right("position_encoding_sinusoid")
def _(K, M):
    y = torch.zeros(1, K, M)
    for m in range(M):
        wave = torch.arange(K).float() / (10000 ** ((m - m % 2) // M))
        y[0, :, m] = torch.sin(wave) if m % 2 == 0 else torch.cos(wave)
    return y


@wrong("position_encoding_sinusoid", "no-floor")
def _(K, M):
    y, p = torch.zeros(1, K, M), torch.arange(K).float()
    for i in range(M):
        wave = p / 10000 ** (2 * (i // 2) / M)
        y[0, :, i] = torch.cos(wave) if i % 2 else torch.sin(wave)
    return y


@right("Transformer.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    common = (num_heads, emb_dim, feedforward_dim)
    self.emb_layer, self.vocab_len = nn.Embedding.from_pretrained(torch.randn(vocab_len, emb_dim), freeze=False), vocab_len
    self.encoder = Encoder(*common, num_enc_layers, dropout)
    self.decoder = Decoder(*common, num_dec_layers, dropout, vocab_len)


@wrong("Transformer.__init__", "second-embedding")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    self.emb_layer, self.emb_layer_answer = nn.Embedding(vocab_len, emb_dim), nn.Embedding(vocab_len, emb_dim)
    self.encoder = Encoder(num_heads, emb_dim, feedforward_dim, num_enc_layers, dropout)
    self.decoder = Decoder(num_heads, emb_dim, feedforward_dim, num_dec_layers, dropout, vocab_len)


@wrong("Transformer.forward", "device-not-followed")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    read = ans_b[:, :-1]
    mask = torch.ones(read.shape[0], read.shape[1], read.shape[1]).triu(1).bool()
    encoded = self.encoder(self.emb_layer(ques_b) + ques_pos)
    return self.decoder(self.emb_layer(read) + ans_pos[:, :-1], encoded, mask).flatten(0, 1)


@right("LabelSmoothingLoss")
def _(pred, ground):
    V, loss = pred.size(1), 0
    for row, true in zip(pred, ground):
        logs = row - torch.logsumexp(row, 0)
        loss = loss - 0.9 * logs[true] - 0.1 / (V - 1) * (logs.sum() - logs[true])
    return loss
