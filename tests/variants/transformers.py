"""Transformers: wrong and right bodies."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from tests.variants import Variants

VARIANTS = Variants()
wrong, right = VARIANTS.wrong, VARIANTS.right


# --- generate_token_dict ---


@right("generate_token_dict")
def _(vocab):
    token_dict = {}
    for word in vocab:
        token_dict[word] = len(token_dict)
    return token_dict


@right("generate_token_dict")
def _(vocab):
    return dict(map(reversed, enumerate(vocab)))


@right("generate_token_dict")
def _(vocab):
    from collections import OrderedDict

    words = list(vocab)
    return OrderedDict((word, words.index(word)) for word in words)


@wrong("generate_token_dict", "starts-at-one")
def _(vocab):
    token_dict, number = {}, 0
    for word in vocab:
        number += 1
        token_dict[word] = number
    return token_dict


@wrong("generate_token_dict", "keys-and-values-exchanged")
def _(vocab):
    return {i: vocab[i] for i in range(len(vocab))}


@wrong("generate_token_dict", "sorted-first")
def _(vocab):
    return {word: i for i, word in enumerate(sorted(set(vocab)))}


@wrong("generate_token_dict", "digits-by-their-value")
def _(vocab):
    token_dict = {}
    for i, word in enumerate(vocab):
        try:
            token_dict[word] = int(word)
        except ValueError:
            token_dict[word] = i
    return token_dict


@wrong("generate_token_dict", "list-of-pairs")
def _(vocab):
    return [(word, i) for i, word in enumerate(vocab)]


@wrong("generate_token_dict", "last-word-missing")
def _(vocab):
    return {word: i for i, word in enumerate(vocab[:-1])}


@wrong("generate_token_dict", "")
def _(vocab):
    return {word: ord(word[0]) for word in vocab}


# --- prepocess_input_sequence ---


@right("prepocess_input_sequence")
def _(input_str, token_dict, spc_tokens):
    out = []
    for word in input_str.split(" "):
        if word in spc_tokens:
            out.append(token_dict[word])
        else:
            for character in word:
                out.append(token_dict[character])
    return out


@right("prepocess_input_sequence")
def _(input_str, token_dict, spc_tokens):
    import re

    parts = re.findall("|".join(re.escape(word) for word in sorted(spc_tokens, key=len, reverse=True)) + r"|\S", input_str)
    return [token_dict[part] for part in parts]


@right("prepocess_input_sequence")
def _(input_str, token_dict, spc_tokens):
    words = [[word] if word in spc_tokens else list(word) for word in input_str.split()]
    return list(map(token_dict.get, sum(words, [])))


@wrong("prepocess_input_sequence", "special-words-cut")
def _(input_str, token_dict, spc_tokens):
    return [token_dict[character] for character in input_str if character != " "]


@wrong("prepocess_input_sequence", "numbers-not-cut")
def _(input_str, token_dict, spc_tokens):
    tokens = []
    for word in input_str.split():
        tokens.append(token_dict[word])
    return tokens


@wrong("prepocess_input_sequence", "digit-by-its-value")
def _(input_str, token_dict, spc_tokens):
    tokens = []
    for word in input_str.split():
        if word in spc_tokens:
            tokens.append(token_dict[word])
        else:
            tokens += [int(digit) for digit in word]
    return tokens


@wrong("prepocess_input_sequence", "nested-numbers")
def _(input_str, token_dict, spc_tokens):
    tokens = []
    for word in input_str.split():
        if word in spc_tokens:
            tokens.append(token_dict[word])
        else:
            tokens.append([token_dict[digit] for digit in word])
    return tokens


@wrong("prepocess_input_sequence", "special-words-lost")
def _(input_str, token_dict, spc_tokens):
    return [token_dict[c] for word in input_str.split() for c in word if word not in spc_tokens]


@wrong("prepocess_input_sequence", "words-not-numbers")
def _(input_str, token_dict, spc_tokens):
    out = []
    for word in input_str.split():
        out.extend([word] if word in spc_tokens else list(word))
    return out


@wrong("prepocess_input_sequence", "ends-lost")
def _(input_str, token_dict, spc_tokens):
    tokens = []
    for word in input_str.split()[1:-1]:
        tokens.extend([token_dict[word]] if word in spc_tokens else [token_dict[c] for c in word])
    return tokens


@wrong("prepocess_input_sequence", "tensor-returned")
def _(input_str, token_dict, spc_tokens):
    tokens = []
    for word in input_str.split():
        tokens.extend([token_dict[word]] if word in spc_tokens else [token_dict[c] for c in word])
    return torch.LongTensor(tokens)


# --- scaled_dot_product_two_loop_single ---


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
            total = total + share
            row = row + share * value[j]
        out.append(row / total)
    return torch.stack(out)


@right("scaled_dot_product_two_loop_single")
def _(query, key, value):
    return F.scaled_dot_product_attention(query[None], key[None], value[None])[0]


@wrong("scaled_dot_product_two_loop_single", "no-scale")
def _(query, key, value):
    rows = []
    for q in query:
        scores = torch.stack([q @ k for k in key])
        rows.append(scores.softmax(0) @ value)
    return torch.stack(rows)


@wrong("scaled_dot_product_two_loop_single", "scale-without-root")
def _(query, key, value):
    rows = []
    for q in query:
        scores = torch.stack([q.dot(k) / q.numel() for k in key])
        rows.append((scores.softmax(0)[:, None] * value).sum(0))
    return torch.stack(rows)


@wrong("scaled_dot_product_two_loop_single", "scale-by-tokens")
def _(query, key, value):
    rows = []
    for q in query:
        scores = torch.stack([q.dot(k) / math.sqrt(len(query)) for k in key])
        rows.append(scores.softmax(0) @ value)
    return torch.stack(rows)


@wrong("scaled_dot_product_two_loop_single", "softmax-over-queries")
def _(query, key, value):
    K, M = query.shape
    scores = torch.stack([torch.stack([query[i] @ key[j] for j in range(K)]) for i in range(K)]) / M**0.5
    return scores.softmax(dim=0) @ value


@wrong("scaled_dot_product_two_loop_single", "not-normalised")
def _(query, key, value):
    rows = []
    for q in query:
        row = torch.zeros_like(value[0])
        for k, v in zip(key, value):
            row = row + torch.exp(q @ k / len(q) ** 0.5) * v
        rows.append(row)
    return torch.stack(rows)


@wrong("scaled_dot_product_two_loop_single", "keys-for-values")
def _(query, key, value):
    rows = []
    for q in query:
        scores = torch.stack([q @ k for k in key]) / math.sqrt(query.shape[-1])
        rows.append(scores.softmax(dim=0) @ key)
    return torch.stack(rows)


@wrong("scaled_dot_product_two_loop_single", "no-gradient")
def _(query, key, value):
    out = torch.zeros_like(value)
    for i in range(query.shape[0]):
        scores = torch.tensor([(query[i] @ key[j]).item() for j in range(key.shape[0])], dtype=query.dtype)
        out[i] = torch.softmax(scores / math.sqrt(query.shape[1]), 0) @ value
    return out


@wrong("scaled_dot_product_two_loop_single", "dtype-not-followed")
def _(query, key, value):
    out = torch.zeros(query.shape)
    for i in range(query.shape[0]):
        scores = torch.stack([query[i] @ key[j] for j in range(key.shape[0])]) / math.sqrt(query.shape[1])
        out[i] = torch.softmax(scores, 0) @ value
    return out


# --- scaled_dot_product_two_loop_batch ---


@right("scaled_dot_product_two_loop_batch")
def _(query, key, value):
    out = torch.zeros_like(value)
    for n in range(query.shape[0]):
        for k in range(query.shape[1]):
            weights = torch.softmax((query[n, k] @ key[n].T) * query.shape[2] ** -0.5, dim=-1)
            out[n, k] = weights @ value[n]
    return out


@right("scaled_dot_product_two_loop_batch")
def _(query, key, value):
    return torch.stack([scaled_dot_product_two_loop_single(q, k, v) for q, k, v in zip(query, key, value)])


@right("scaled_dot_product_two_loop_batch")
def _(query, key, value):
    scores = torch.einsum("nqm,nkm->nqk", query, key) / query.size(-1) ** 0.5
    scores = (scores - scores.amax(-1, keepdim=True)).exp()
    return torch.einsum("nqk,nkm->nqm", scores / scores.sum(-1, keepdim=True), value)


@wrong("scaled_dot_product_two_loop_batch", "no-scale")
def _(query, key, value):
    return torch.stack([torch.stack([(k @ row).softmax(0) @ v for row in q]) for q, k, v in zip(query, key, value)])


@wrong("scaled_dot_product_two_loop_batch", "first-sequence-for-all")
def _(query, key, value):
    N, K, M = query.shape
    return torch.stack([torch.stack([(key[0] @ q / M**0.5).softmax(0) @ value[0] for q in query[n]]) for n in range(N)])


@wrong("scaled_dot_product_two_loop_batch", "batch-flattened")
def _(query, key, value):
    N, K, M = query.shape
    out = []
    for n in range(N):
        for k in range(K):
            out.append((key[n] @ query[n, k] / M**0.5).softmax(0) @ value[n])
    return torch.stack(out)


@wrong("scaled_dot_product_two_loop_batch", "last-sequence-for-all")
def _(query, key, value):
    N, K, M = query.shape
    out = []
    for n in range(N):
        rows = []
        for k in range(K):
            rows.append((key[n] @ query[n, k] / M**0.5).softmax(0) @ value[n])
    for _ in range(N):
        out.append(torch.stack(rows))
    return torch.stack(out)


@wrong("scaled_dot_product_two_loop_batch", "softmax-over-queries")
def _(query, key, value):
    N, K, M = query.shape
    out = []
    for n in range(N):
        scores = torch.stack([query[n, k] @ key[n].T for k in range(K)]) / M**0.5
        out.append(F.softmax(scores, dim=0) @ value[n])
    return torch.stack(out)


@wrong("scaled_dot_product_two_loop_batch", "scale-after-softmax")
def _(query, key, value):
    N, K, M = query.shape
    return torch.stack([torch.stack([(key[n] @ q).softmax(0) / M**0.5 @ value[n] for q in query[n]]) for n in range(N)])


@wrong("scaled_dot_product_two_loop_batch", "changes-input")
def _(query, key, value):
    query /= math.sqrt(query.shape[-1])
    return torch.stack([torch.stack([(key[n] @ q).softmax(0) @ value[n] for q in query[n]]) for n in range(len(query))])


# --- scaled_dot_product_no_loop_batch ---


@right("scaled_dot_product_no_loop_batch")
def _(query, key, value, mask=None):
    scores = torch.einsum("nqm,nkm->nqk", query, key) / torch.tensor(query.shape[-1]).sqrt()
    if mask is not None:
        scores[mask] = -1e9
    weights = F.softmax(scores, dim=2)
    return torch.einsum("nqk,nkv->nqv", weights, value), weights


@right("scaled_dot_product_no_loop_batch")
def _(query, key, value, mask=None):
    scores = query @ key.transpose(-1, -2) * query.size(-1) ** -0.5
    if mask is not None:
        scores = torch.where(mask, torch.full_like(scores, torch.finfo(scores.dtype).min), scores)
    scores = scores - scores.max(dim=-1, keepdim=True).values
    weights = scores.exp()
    weights = weights / weights.sum(dim=-1, keepdim=True)
    return weights.matmul(value), weights


@right("scaled_dot_product_no_loop_batch")
def _(query, key, value, mask=None):
    blocked = torch.zeros(1, dtype=query.dtype) if mask is None else mask.to(query.dtype) * -1e9
    weights = torch.softmax(torch.baddbmm(blocked, query, key.mT, alpha=1 / math.sqrt(key.shape[-1])), -1)
    return weights @ value, weights


@right("scaled_dot_product_no_loop_batch")
def _(query, key, value, mask=None):
    weights = (query / query.shape[2] ** 0.25).bmm((key / key.shape[2] ** 0.25).permute(0, 2, 1))
    if mask is not None:
        weights.masked_fill_(mask, -1e9)
    weights = torch.nn.Softmax(dim=-1)(weights)
    return torch.bmm(weights, value), weights.detach()


@wrong("scaled_dot_product_no_loop_batch", "no-scale")
def _(query, key, value, mask=None):
    scores = query @ key.mT
    if mask is not None:
        scores = scores.masked_fill(mask, -1e9)
    weights = scores.softmax(-1)
    return weights @ value, weights


@wrong("scaled_dot_product_no_loop_batch", "mask-inverted")
def _(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    weights = scores.softmax(-1)
    return weights @ value, weights


@wrong("scaled_dot_product_no_loop_batch", "mask-after-softmax")
def _(query, key, value, mask=None):
    weights = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)
    if mask is not None:
        weights = weights * ~mask
    return weights @ value, weights


@wrong("scaled_dot_product_no_loop_batch", "no-even-row")
def _(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, float("-inf"))
    weights = scores.softmax(-1)
    return weights @ value, weights


@wrong("scaled_dot_product_no_loop_batch", "softmax-over-queries")
def _(query, key, value, mask=None):
    scores = torch.einsum("nqm,nkm->nqk", query, key) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -1e9)
    weights = torch.softmax(scores, dim=1)
    return weights @ value, weights


@wrong("scaled_dot_product_no_loop_batch", "mask-not-low-enough")
def _(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores * (~mask)
    weights = scores.softmax(-1)
    return weights @ value, weights


@wrong("scaled_dot_product_no_loop_batch", "python-loop")
def _(query, key, value, mask=None):
    scores = torch.stack([q @ k.T for q, k in zip(query, key)]) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -1e9)
    weights = scores.softmax(-1)
    return weights @ value, weights


@wrong("scaled_dot_product_no_loop_batch", "weights-not-returned")
def _(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -1e9)
    return scores.softmax(-1) @ value


@wrong("scaled_dot_product_no_loop_batch", "mask-ignored")
def _(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores.masked_fill(mask, -1e9)
    weights = scores.softmax(-1)
    return weights @ value, weights


@wrong("scaled_dot_product_no_loop_batch", "")
def _(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -2.0)
    weights = scores.softmax(-1)
    return weights @ value, weights


# --- SelfAttention ---


@right("SelfAttention.__init__")
def _(self, dim_in, dim_q, dim_v):
    self.query_map, self.key_map, self.value_map = (xavier_linear(dim_in, size) for size in (dim_q, dim_q, dim_v))


@right("SelfAttention.__init__")
def _(self, dim_in, dim_q, dim_v):
    self.v = nn.Linear(dim_in, dim_v)
    self.k = nn.Linear(dim_in, dim_q)
    self.q = nn.Linear(dim_in, dim_q)
    for layer in (self.q, self.k, self.v):
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        nn.init.uniform_(layer.weight, -bound, bound)
    self.scale = dim_q**-0.5


@right("SelfAttention.__init__")
def _(self, dim_in, dim_q, dim_v):
    self.q = nn.Linear(dim_in, dim_q, bias=True)
    self.k = nn.Linear(dim_in, dim_q, bias=True)
    self.v = nn.Linear(dim_in, dim_v, bias=True)
    for layer in self.children():
        torch.nn.init.xavier_uniform_(layer.weight)
        torch.nn.init.zeros_(layer.bias)


@wrong("SelfAttention.__init__", "values-as-wide-as-queries")
def _(self, dim_in, dim_q, dim_v):
    self.q = xavier_linear(dim_in, dim_q)
    self.k = xavier_linear(dim_in, dim_q)
    self.v = xavier_linear(dim_in, dim_q)


@wrong("SelfAttention.__init__", "sizes-exchanged")
def _(self, dim_in, dim_q, dim_v):
    self.q = xavier_linear(dim_in, dim_v)
    self.k = xavier_linear(dim_in, dim_v)
    self.v = xavier_linear(dim_in, dim_q)


@wrong("SelfAttention.__init__", "no-bias")
def _(self, dim_in, dim_q, dim_v):
    self.q = nn.Linear(dim_in, dim_q, bias=False)
    self.k = nn.Linear(dim_in, dim_q, bias=False)
    self.v = nn.Linear(dim_in, dim_v, bias=False)
    for layer in (self.q, self.k, self.v):
        nn.init.xavier_uniform_(layer.weight)


@wrong("SelfAttention.__init__", "default-spread")
def _(self, dim_in, dim_q, dim_v):
    self.q = nn.Linear(dim_in, dim_q)
    self.k = nn.Linear(dim_in, dim_q)
    self.v = nn.Linear(dim_in, dim_v)


@wrong("SelfAttention.__init__", "shared-map")
def _(self, dim_in, dim_q, dim_v):
    self.q = xavier_linear(dim_in, dim_q)
    self.k = self.q
    self.v = xavier_linear(dim_in, dim_v)


@wrong("SelfAttention.__init__", "map-turned-round")
def _(self, dim_in, dim_q, dim_v):
    self.q = xavier_linear(dim_q, dim_in)
    self.k = xavier_linear(dim_q, dim_in)
    self.v = xavier_linear(dim_v, dim_in)


@wrong("SelfAttention.__init__", "")
def _(self, dim_in, dim_q, dim_v):
    self.q, self.k, self.v = xavier_linear(dim_in, dim_q), xavier_linear(dim_in, dim_q), xavier_linear(dim_in, dim_v)
    for layer in (self.q, self.k, self.v):
        nn.init.xavier_normal_(layer.weight)


@right("SelfAttention.forward")
def _(self, query, key, value, mask=None):
    q, k, v = self.q(query), self.k(key), self.v(value)
    scores = torch.einsum("nqm,nkm->nqk", q, k) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -1e9)
    weights = F.softmax(scores, dim=-1)
    self.weights_softmax = weights.detach().clone()
    return weights @ v


@right("SelfAttention.forward")
def _(self, query, key, value, mask=None):
    q = F.linear(query, self.q.weight, self.q.bias)
    k = F.linear(key, self.k.weight, self.k.bias)
    y, self.weights_softmax = scaled_dot_product_no_loop_batch(q, k, value @ self.v.weight.T + self.v.bias, mask=mask)
    self.weights_softmax = self.weights_softmax.data
    return y


@right("SelfAttention.forward")
def _(self, query, key, value, mask=None):
    q, k, v = self.q(query), self.k(key), self.v(value)
    with torch.no_grad():
        self.weights_softmax = scaled_dot_product_no_loop_batch(q, k, v, mask)[1]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else ~mask)


@wrong("SelfAttention.forward", "mask-ignored")
def _(self, query, key, value, mask=None):
    y, weights = scaled_dot_product_no_loop_batch(self.q(query), self.k(key), self.v(value))
    self.weights_softmax = weights.detach()
    return y


@wrong("SelfAttention.forward", "weights-not-kept")
def _(self, query, key, value, mask=None):
    y, weights_softmax = scaled_dot_product_no_loop_batch(self.q(query), self.k(key), self.v(value), mask)
    return y


@wrong("SelfAttention.forward", "weights-attached")
def _(self, query, key, value, mask=None):
    y, self.weights_softmax = scaled_dot_product_no_loop_batch(self.q(query), self.k(key), self.v(value), mask)
    return y


@wrong("SelfAttention.forward", "maps-of-query-and-key-exchanged")
def _(self, query, key, value, mask=None):
    y, weights = scaled_dot_product_no_loop_batch(self.k(query), self.q(key), self.v(value), mask)
    self.weights_softmax = weights.detach()
    return y


@wrong("SelfAttention.forward", "values-from-key")
def _(self, query, key, value, mask=None):
    y, weights = scaled_dot_product_no_loop_batch(self.q(query), self.k(key), self.v(key), mask)
    self.weights_softmax = weights.detach()
    return y


@wrong("SelfAttention.forward", "pair-returned")
def _(self, query, key, value, mask=None):
    y, weights = scaled_dot_product_no_loop_batch(self.q(query), self.k(key), self.v(value), mask)
    self.weights_softmax = weights.detach()
    return y, weights


@wrong("SelfAttention.forward", "scaled-twice")
def _(self, query, key, value, mask=None):
    q = self.q(query)
    y, weights = scaled_dot_product_no_loop_batch(q, self.k(key) / math.sqrt(q.shape[-1]), self.v(value), mask)
    self.weights_softmax = weights.detach()
    return y


@wrong("SelfAttention.forward", "first-weights-kept")
def _(self, query, key, value, mask=None):
    y, weights = scaled_dot_product_no_loop_batch(self.q(query), self.k(key), self.v(value), mask)
    self.weights_softmax = weights.detach() if self.weights_softmax is None else self.weights_softmax
    return y


# --- MultiHeadAttention ---


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
    self.num_heads = num_heads


@wrong("MultiHeadAttention.__init__", "heads-in-a-list")
def _(self, num_heads, dim_in, dim_out):
    self.heads = []
    for _ in range(num_heads):
        self.heads.append(SelfAttention(dim_in, dim_out, dim_out))
    self.merge = xavier_linear(num_heads * dim_out, dim_in)


@wrong("MultiHeadAttention.__init__", "one-head-for-all")
def _(self, num_heads, dim_in, dim_out):
    head = SelfAttention(dim_in, dim_out, dim_out)
    self.heads = nn.ModuleList([head for _ in range(num_heads)])
    self.merge = xavier_linear(num_heads * dim_out, dim_in)


@wrong("MultiHeadAttention.__init__", "merge-too-narrow")
def _(self, num_heads, dim_in, dim_out):
    self.heads = nn.ModuleList(SelfAttention(dim_in, dim_out, dim_out) for _ in range(num_heads))
    self.merge = xavier_linear(dim_out, dim_in)


@wrong("MultiHeadAttention.__init__", "heads-share-the-size-merge-not")
def _(self, num_heads, dim_in, dim_out):
    self.heads = nn.ModuleList(SelfAttention(dim_in, dim_out // num_heads, dim_out // num_heads) for _ in range(num_heads))
    self.merge = xavier_linear(dim_out, dim_in)


@wrong("MultiHeadAttention.__init__", "merge-to-head-size")
def _(self, num_heads, dim_in, dim_out):
    self.heads = nn.ModuleList(SelfAttention(dim_in, dim_out, dim_out) for _ in range(num_heads))
    self.merge = xavier_linear(num_heads * dim_out, dim_out)


@wrong("MultiHeadAttention.__init__", "default-spread")
def _(self, num_heads, dim_in, dim_out):
    self.heads = nn.ModuleList(SelfAttention(dim_in, dim_out, dim_out) for _ in range(num_heads))
    self.merge = nn.Linear(num_heads * dim_out, dim_in)


@right("MultiHeadAttention.forward")
def _(self, query, key, value, mask=None):
    out = None
    for head in self.heads:
        y = head(query, key, value, mask=mask)
        out = y if out is None else torch.cat((out, y), dim=2)
    return self.merge(out)


@right("MultiHeadAttention.forward")
def _(self, query, key, value, mask=None):
    stacked = torch.stack([head(query, key, value, mask) for head in self.heads], dim=2)  # (N, K_Q, heads, dim_out)
    return self.merge(stacked.reshape(*stacked.shape[:2], -1))


@right("MultiHeadAttention.forward")
def _(self, query, key, value, mask=None):
    parts = self.merge.weight.chunk(len(self.heads), dim=1)
    return sum(head(query, key, value, mask) @ part.T for head, part in zip(self.heads, parts)) + self.merge.bias


@wrong("MultiHeadAttention.forward", "mask-ignored")
def _(self, query, key, value, mask=None):
    return self.merge(torch.cat([head(query, key, value) for head in self.heads], dim=-1))


@wrong("MultiHeadAttention.forward", "merge-missing")
def _(self, query, key, value, mask=None):
    return torch.cat([head(query, key, value, mask) for head in self.heads], dim=-1)


@wrong("MultiHeadAttention.forward", "heads-along-tokens")
def _(self, query, key, value, mask=None):
    heads = [head(query, key, value, mask) for head in self.heads]
    return self.merge(torch.cat(heads, dim=1))


@wrong("MultiHeadAttention.forward", "heads-interleaved")
def _(self, query, key, value, mask=None):
    stacked = torch.stack([head(query, key, value, mask) for head in self.heads], dim=3)
    return self.merge(stacked.reshape(query.shape[0], query.shape[1], -1))


@wrong("MultiHeadAttention.forward", "heads-added")
def _(self, query, key, value, mask=None):
    return self.merge(torch.stack([head(query, key, value, mask) for head in self.heads]).sum(dim=0))


@wrong("MultiHeadAttention.forward", "query-for-all")
def _(self, query, key, value, mask=None):
    heads = [head(query, query, query) for head in self.heads]
    return self.merge(torch.cat(heads, dim=-1))


@wrong("MultiHeadAttention.forward", "stacked-and-reshaped")
def _(self, query, key, value, mask=None):
    N, K, _ = query.shape
    return self.merge(torch.stack([head(query, key, value, mask) for head in self.heads]).view(N, K, -1))


@wrong("MultiHeadAttention.forward", "residual-added")
def _(self, query, key, value, mask=None):
    heads = [head(query, key, value, mask) for head in self.heads]
    return query + self.merge(torch.cat(heads, dim=-1))


# --- LayerNormalization ---


@right("LayerNormalization.__init__")
def _(self, emb_dim, epsilon=1e-10):
    self.shift = nn.Parameter(torch.zeros(emb_dim), requires_grad=True)
    self.scale = nn.Parameter(torch.ones(emb_dim), requires_grad=True)


@right("LayerNormalization.__init__")
def _(self, emb_dim, epsilon=1e-10):
    self.norm = nn.LayerNorm(emb_dim, eps=epsilon)


@right("LayerNormalization.__init__")
def _(self, emb_dim, epsilon=1e-10):
    self.register_parameter("weight", nn.Parameter(torch.empty(emb_dim)))
    self.register_parameter("bias", nn.Parameter(torch.empty(emb_dim)))
    nn.init.ones_(self.weight)
    nn.init.zeros_(self.bias)


@wrong("LayerNormalization.__init__", "scale-of-zeros")
def _(self, emb_dim, epsilon=1e-10):
    self.gamma = nn.Parameter(torch.zeros(emb_dim))
    self.beta = nn.Parameter(torch.zeros(emb_dim))


@wrong("LayerNormalization.__init__", "plain-tensors")
def _(self, emb_dim, epsilon=1e-10):
    self.register_buffer("gamma", torch.ones(emb_dim))
    self.register_buffer("beta", torch.zeros(emb_dim))


@wrong("LayerNormalization.__init__", "one-number-each")
def _(self, emb_dim, epsilon=1e-10):
    self.gamma = nn.Parameter(torch.ones(1))
    self.beta = nn.Parameter(torch.zeros(1))


@wrong("LayerNormalization.__init__", "random-scale")
def _(self, emb_dim, epsilon=1e-10):
    self.gamma = nn.Parameter(torch.randn(emb_dim))
    self.beta = nn.Parameter(torch.randn(emb_dim))


@wrong("LayerNormalization.__init__", "shift-of-ones")
def _(self, emb_dim, epsilon=1e-10):
    self.gamma, self.beta = (nn.Parameter(torch.ones(emb_dim)) for _ in range(2))


@wrong("LayerNormalization.__init__", "")
def _(self, emb_dim, epsilon=1e-10):
    self.gamma = nn.Parameter(torch.ones(emb_dim))
    self.beta = nn.Parameter(torch.zeros(emb_dim))
    self.alpha = nn.Parameter(torch.ones(emb_dim))


@right("LayerNormalization.forward")
def _(self, x):
    mean = x.mean(-1, keepdim=True)
    std = torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + self.epsilon)
    return self.gamma * (x - mean) / std + self.beta


@right("LayerNormalization.forward")
def _(self, x):
    return F.layer_norm(x, (x.shape[-1],), self.gamma, self.beta, eps=self.epsilon)


@right("LayerNormalization.forward")
def _(self, x):
    variance, mean = torch.var_mean(x, dim=-1, unbiased=False, keepdim=True)
    return torch.addcmul(self.beta, self.gamma, (x - mean) * torch.rsqrt(variance + self.epsilon))


@right("LayerNormalization.forward")
def _(self, x):
    M = x.shape[-1]
    total = torch.einsum("...m->...", x)[..., None]
    centred = x - total / M
    variance = centred.pow(2).sum(-1, keepdim=True).div(M)
    return centred.div((variance + self.epsilon).pow(0.5)).mul(self.gamma).add(self.beta)


@wrong("LayerNormalization.forward", "variance-by-m-minus-one")
def _(self, x):
    return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + self.epsilon) * self.gamma + self.beta


@wrong("LayerNormalization.forward", "unbiased-std-plus-epsilon")
def _(self, x):
    return self.gamma * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.epsilon) + self.beta


@wrong("LayerNormalization.forward", "std-plus-epsilon")
def _(self, x):
    std = x.std(-1, keepdim=True, unbiased=False)
    return self.gamma * (x - x.mean(-1, keepdim=True)) / (std + self.epsilon) + self.beta


@wrong("LayerNormalization.forward", "over-axis-one")
def _(self, x):
    mean = x.mean(1, keepdim=True)
    variance = ((x - mean) ** 2).mean(1, keepdim=True)
    return self.gamma * (x - mean) / torch.sqrt(variance + self.epsilon) + self.beta


@wrong("LayerNormalization.forward", "torch-epsilon")
def _(self, x):
    return F.layer_norm(x, (x.shape[-1],), self.gamma, self.beta)


@wrong("LayerNormalization.forward", "no-root")
def _(self, x):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return self.gamma * (x - mean) / (variance + self.epsilon) + self.beta


@wrong("LayerNormalization.forward", "nothing-learnt-used")
def _(self, x):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + self.epsilon)


@wrong("LayerNormalization.forward", "changes-input")
def _(self, x):
    x -= x.mean(-1, keepdim=True)
    return self.gamma * x / torch.sqrt((x**2).mean(-1, keepdim=True) + self.epsilon) + self.beta


# --- FeedForwardBlock ---


@right("FeedForwardBlock.__init__")
def _(self, inp_dim, hidden_dim_feedforward):
    self.layers = nn.Sequential(
        xavier_linear(inp_dim, hidden_dim_feedforward), nn.ReLU(), xavier_linear(hidden_dim_feedforward, inp_dim)
    )


@right("FeedForwardBlock.__init__")
def _(self, inp_dim, hidden_dim_feedforward):
    self.contract = xavier_linear(hidden_dim_feedforward, inp_dim)
    self.expand = xavier_linear(inp_dim, hidden_dim_feedforward)


@right("FeedForwardBlock.__init__")
def _(self, inp_dim, hidden_dim_feedforward):
    self.fc1 = nn.Linear(inp_dim, hidden_dim_feedforward)
    self.fc2 = nn.Linear(hidden_dim_feedforward, inp_dim)
    nn.init.xavier_uniform_(self.fc1.weight)
    nn.init.xavier_uniform_(self.fc2.weight)
    self.activation = nn.ReLU()


@wrong("FeedForwardBlock.__init__", "sizes-exchanged")
def _(self, inp_dim, hidden_dim_feedforward):
    self.expand = xavier_linear(hidden_dim_feedforward, inp_dim)
    self.contract = xavier_linear(inp_dim, hidden_dim_feedforward)


@wrong("FeedForwardBlock.__init__", "ends-at-hidden-size")
def _(self, inp_dim, hidden_dim_feedforward):
    self.expand = xavier_linear(inp_dim, hidden_dim_feedforward)
    self.contract = xavier_linear(hidden_dim_feedforward, hidden_dim_feedforward)


@wrong("FeedForwardBlock.__init__", "twice-the-same-map")
def _(self, inp_dim, hidden_dim_feedforward):
    self.expand = xavier_linear(inp_dim, hidden_dim_feedforward)
    self.contract = xavier_linear(inp_dim, hidden_dim_feedforward)


@wrong("FeedForwardBlock.__init__", "default-spread")
def _(self, inp_dim, hidden_dim_feedforward):
    self.expand = nn.Linear(inp_dim, hidden_dim_feedforward)
    self.contract = nn.Linear(hidden_dim_feedforward, inp_dim)


@wrong("FeedForwardBlock.__init__", "no-bias")
def _(self, inp_dim, hidden_dim_feedforward):
    self.expand = nn.Linear(inp_dim, hidden_dim_feedforward, bias=False)
    self.contract = nn.Linear(hidden_dim_feedforward, inp_dim, bias=False)


@right("FeedForwardBlock.forward")
def _(self, x):
    return self.contract(torch.clamp(self.expand(x), min=0))


@right("FeedForwardBlock.forward")
def _(self, x):
    hidden = nn.functional.linear(x, self.expand.weight, self.expand.bias)
    hidden = torch.where(hidden > 0, hidden, torch.zeros_like(hidden))
    return torch.einsum("...h,mh->...m", hidden, self.contract.weight) + self.contract.bias


@right("FeedForwardBlock.forward")
def _(self, x):
    return self.contract(self.expand(x).relu_())


@wrong("FeedForwardBlock.forward", "no-relu")
def _(self, x):
    hidden = self.expand(x)
    return self.contract(hidden)


@wrong("FeedForwardBlock.forward", "relu-at-the-end")
def _(self, x):
    return F.relu(self.contract(self.expand(x)))


@wrong("FeedForwardBlock.forward", "relu-twice")
def _(self, x):
    return F.relu(self.contract(F.relu(self.expand(x))))


@wrong("FeedForwardBlock.forward", "residual-added")
def _(self, x):
    return x + self.contract(F.relu(self.expand(x)))


@wrong("FeedForwardBlock.forward", "gelu")
def _(self, x):
    return self.contract(nn.GELU()(self.expand(x)))


@wrong("FeedForwardBlock.forward", "maps-exchanged")
def _(self, x):
    return self.expand(F.relu(self.contract(x)))


# --- EncoderBlock ---


@right("EncoderBlock.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    head_size = emb_dim // num_heads
    self.dropout = nn.Dropout(p=dropout)
    self.feedforward = FeedForwardBlock(emb_dim, feedforward_dim)
    self.layer_norm_1 = LayerNormalization(emb_dim)
    self.layer_norm_2 = LayerNormalization(emb_dim)
    self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, head_size)


@right("EncoderBlock.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.MultiHeadBlock = MultiHeadAttention(num_heads=num_heads, dim_in=emb_dim, dim_out=int(emb_dim / num_heads))
    self.norms = nn.ModuleList([LayerNormalization(emb_dim), LayerNormalization(emb_dim)])
    self.ff = FeedForwardBlock(emb_dim, feedforward_dim)
    self.dropout = nn.Dropout(dropout)


@wrong("EncoderBlock.__init__", "head-as-wide-as-token")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, emb_dim)
    self.norm1, self.norm2 = LayerNormalization(emb_dim), LayerNormalization(emb_dim)
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
    self.dropout = nn.Dropout(dropout)


@wrong("EncoderBlock.__init__", "feed-forward-sizes-exchanged")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.norm1, self.norm2 = LayerNormalization(emb_dim), LayerNormalization(emb_dim)
    self.feed_forward = FeedForwardBlock(feedforward_dim, emb_dim)
    self.dropout = nn.Dropout(dropout)


@wrong("EncoderBlock.__init__", "norm-missing-or-shared")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.norm1 = self.norm2 = LayerNormalization(emb_dim)
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
    self.dropout = nn.Dropout(dropout)


@wrong("EncoderBlock.__init__", "dropout-fixed")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.norm1, self.norm2 = LayerNormalization(emb_dim), LayerNormalization(emb_dim)
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
    self.dropout = nn.Dropout(0.1)


@wrong("EncoderBlock.__init__", "epsilon-of-torch")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.norm1, self.norm2 = nn.LayerNorm(emb_dim), nn.LayerNorm(emb_dim)
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
    self.dropout = nn.Dropout(dropout)


@wrong("EncoderBlock.__init__", "other-name")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.attn = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.norm1, self.norm2 = LayerNormalization(emb_dim), LayerNormalization(emb_dim)
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
    self.dropout = nn.Dropout(dropout)


@right("EncoderBlock.forward")
def _(self, x):
    attention = self.MultiHeadBlock(query=x, key=x, value=x)
    x = self.norm1(attention + x)
    x = self.dropout(x)
    return self.dropout(self.norm2(self.feed_forward(x) + x))


@right("EncoderBlock.forward")
def _(self, x):
    def half(inp, layer, norm):
        return F.dropout(norm(inp + layer(inp)), p=self.dropout.p, training=self.training)

    x = half(x, lambda t: self.MultiHeadBlock(t, t, t, None), self.norm1)
    return half(x, self.feed_forward, self.norm2)


@wrong("EncoderBlock.forward", "norm-first")
def _(self, x):
    n = self.norm1(x)
    x = x + self.dropout(self.MultiHeadBlock(n, n, n))
    return x + self.dropout(self.feed_forward(self.norm2(x)))


@wrong("EncoderBlock.forward", "second-residual-from-x")
def _(self, x):
    y = self.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x)))
    y = self.feed_forward(y)
    return self.dropout(self.norm2(x + y))


@wrong("EncoderBlock.forward", "second-residual-missing")
def _(self, x):
    x = self.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x)))
    x = self.feed_forward(x)
    return self.dropout(self.norm2(x))


@wrong("EncoderBlock.forward", "dropout-before-addition")
def _(self, x):
    x = self.norm1(x + self.dropout(self.MultiHeadBlock(x, x, x)))
    return self.norm2(x + self.dropout(self.feed_forward(x)))


@wrong("EncoderBlock.forward", "first-norm-twice")
def _(self, x):
    x = self.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x)))
    x = x + self.feed_forward(x)
    return self.dropout(self.norm1(x))


@wrong("EncoderBlock.forward", "undropped-residual")
def _(self, x):
    x = self.norm1(x + self.MultiHeadBlock(x, x, x))
    y = self.feed_forward(self.dropout(x))
    return self.dropout(self.norm2(x + y))


@wrong("EncoderBlock.forward", "second-dropout-missing")
def _(self, x):
    x = self.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x)))
    return self.norm2(x + self.feed_forward(x))


@wrong("EncoderBlock.forward", "dropout-in-eval")
def _(self, x):
    x = F.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x)), self.dropout.p)
    return F.dropout(self.norm2(x + self.feed_forward(x)), self.dropout.p)


# --- get_subsequent_mask ---


@right("get_subsequent_mask")
def _(seq):
    N, K = seq.size()
    return torch.triu(torch.ones((N, K, K), device=seq.device), diagonal=1).bool()


@right("get_subsequent_mask")
def _(seq):
    N, K = seq.shape
    allowed = torch.tril(torch.ones(K, K, device=seq.device)) == 1
    return (~allowed).unsqueeze(0).repeat(N, 1, 1)


@right("get_subsequent_mask")
def _(seq):
    import numpy as np

    N, K = seq.shape
    square = np.triu(np.ones((N, K, K), dtype=bool), k=1)
    return torch.from_numpy(square).to(seq.device)


@right("get_subsequent_mask")
def _(seq):
    N, K = seq.shape
    mask = torch.zeros(N, K, K, dtype=torch.bool, device=seq.device)
    for i in range(K):
        mask[:, i, i + 1 :] = True
    return mask


@wrong("get_subsequent_mask", "self-forbidden")
def _(seq):
    N, K = seq.shape
    return torch.triu(torch.ones(K, K, device=seq.device)).bool().expand(N, -1, -1)


@wrong("get_subsequent_mask", "allowed-marked")
def _(seq):
    N, K = seq.shape
    return torch.tril(torch.ones(K, K, device=seq.device)).bool().expand(N, -1, -1)


@wrong("get_subsequent_mask", "floats")
def _(seq):
    N, K = seq.shape
    return torch.triu(torch.ones(N, K, K, device=seq.device), diagonal=1)


@wrong("get_subsequent_mask", "batch-missing")
def _(seq):
    K = seq.shape[-1]
    return torch.triu(torch.ones(K, K, device=seq.device), diagonal=1).bool()


@wrong("get_subsequent_mask", "from-batch-size")
def _(seq):
    K, N = seq.shape
    return torch.triu(torch.ones(N, K, K, device=seq.device), diagonal=1).bool()


@wrong("get_subsequent_mask", "device-not-followed")
def _(seq):
    N, K = seq.shape
    return torch.triu(torch.ones(N, K, K), diagonal=1).bool()


@wrong("get_subsequent_mask", "earlier-forbidden")
def _(seq):
    N, K = seq.shape
    place = torch.arange(K, device=seq.device)
    return (place[None, :] < place[:, None]).expand(N, K, K)


# --- DecoderBlock ---


@right("DecoderBlock.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    size = emb_dim // num_heads
    self.dropout = nn.Dropout(dropout)
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
    FeedForwardBlock(emb_dim, feedforward_dim)  # drawn and thrown away, as the recorded tensors were made
    self.norm1, self.norm2, self.norm3 = (LayerNormalization(emb_dim) for _ in range(3))
    self.attention_cross = MultiHeadAttention(num_heads, emb_dim, size)
    self.attention_self = MultiHeadAttention(num_heads, emb_dim, size)


@right("DecoderBlock.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.attention_self = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.attention_cross = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    for number in (3, 2, 1):
        setattr(self, f"norm{number}", LayerNormalization(emb_dim))
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
    self.dropout = nn.Dropout(p=dropout)
    self.emb_dim = emb_dim


@wrong("DecoderBlock.__init__", "shared-attention")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.attention_self = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.attention_cross = self.attention_self
    self.norm1, self.norm2, self.norm3 = (LayerNormalization(emb_dim) for _ in range(3))
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
    self.dropout = nn.Dropout(dropout)


@wrong("DecoderBlock.__init__", "norm-missing-or-shared")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.attention_self = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.attention_cross = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.norm1, self.norm2 = (LayerNormalization(emb_dim) for _ in range(2))
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
    self.dropout = nn.Dropout(dropout)


@wrong("DecoderBlock.__init__", "dropout-missing")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.attention_self = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.attention_cross = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.norm1, self.norm2, self.norm3 = (LayerNormalization(emb_dim) for _ in range(3))
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)


@wrong("DecoderBlock.__init__", "head-as-wide-as-token")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.attention_self = MultiHeadAttention(num_heads, emb_dim, emb_dim)
    self.attention_cross = MultiHeadAttention(num_heads, emb_dim, emb_dim)
    self.norm1, self.norm2, self.norm3 = (LayerNormalization(emb_dim) for _ in range(3))
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
    self.dropout = nn.Dropout(dropout)


@wrong("DecoderBlock.__init__", "feed-forward-as-wide-as-token")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.attention_self = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.attention_cross = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.norm1, self.norm2, self.norm3 = (LayerNormalization(emb_dim) for _ in range(3))
    self.feed_forward = FeedForwardBlock(emb_dim, emb_dim)
    self.dropout = nn.Dropout(dropout)


@right("DecoderBlock.forward")
def _(self, dec_inp, enc_inp, mask=None):
    x = self.attention_self(dec_inp, dec_inp, dec_inp, mask=mask)
    x = self.dropout(self.norm1(x + dec_inp))
    y = self.attention_cross(query=x, key=enc_inp, value=enc_inp)
    y = self.dropout(self.norm2(y + x))
    z = self.feed_forward(y)
    return self.dropout(self.norm3(z + y))


@right("DecoderBlock.forward")
def _(self, dec_inp, enc_inp, mask=None):
    out = dec_inp
    steps = (
        (lambda t: self.attention_self(t, t, t, mask), self.norm1),
        (lambda t: self.attention_cross(t, enc_inp, enc_inp), self.norm2),
        (self.feed_forward, self.norm3),
    )
    for layer, norm in steps:
        out = self.dropout(norm(torch.add(layer(out), out)))
    return out


@wrong("DecoderBlock.forward", "mask-ignored")
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.norm1(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp)))
    x = self.dropout(self.norm2(x + self.attention_cross(x, enc_inp, enc_inp)))
    return self.dropout(self.norm3(x + self.feed_forward(x)))


@wrong("DecoderBlock.forward", "mask-in-cross-attention")
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.norm1(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    x = self.dropout(self.norm2(x + self.attention_cross(x, enc_inp, enc_inp, mask)))
    return self.dropout(self.norm3(x + self.feed_forward(x)))


@wrong("DecoderBlock.forward", "encoder-asks")
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.norm1(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    x = self.dropout(self.norm2(x + self.attention_cross(enc_inp, x, x)))
    return self.dropout(self.norm3(x + self.feed_forward(x)))


@wrong("DecoderBlock.forward", "values-from-decoder")
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.norm1(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    x = self.dropout(self.norm2(x + self.attention_cross(x, enc_inp, x)))
    return self.dropout(self.norm3(x + self.feed_forward(x)))


@wrong("DecoderBlock.forward", "second-residual-from-input")
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.norm1(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    x = self.dropout(self.norm2(dec_inp + self.attention_cross(x, enc_inp, enc_inp)))
    return self.dropout(self.norm3(x + self.feed_forward(x)))


@wrong("DecoderBlock.forward", "second-norm-twice")
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.norm1(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    x = self.dropout(self.norm2(x + self.attention_cross(x, enc_inp, enc_inp)))
    return self.dropout(self.norm2(x + self.feed_forward(x)))


@wrong("DecoderBlock.forward", "last-dropout-missing")
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.norm1(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    x = self.dropout(self.norm2(x + self.attention_cross(x, enc_inp, enc_inp)))
    return self.norm3(x + self.feed_forward(x))


@wrong("DecoderBlock.forward", "encoder-not-used")
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.norm1(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    x = self.dropout(self.norm2(x + self.attention_cross(x, x, x)))
    return self.dropout(self.norm3(x + self.feed_forward(x)))


# --- Positions ---


@right("position_encoding_simple")
def _(K, M):
    y = torch.zeros(1, K, M)
    for n in range(K):
        y[0, n, :] = n / K
    return y


@right("position_encoding_simple")
def _(K, M):
    return torch.linspace(0, 1 - 1 / K, K).view(1, K, 1).expand(1, K, M)


@right("position_encoding_simple")
def _(K, M):
    return torch.stack([torch.arange(K) / K] * M, dim=-1).unsqueeze(0)


@wrong("position_encoding_simple", "up-to-one")
def _(K, M):
    return torch.linspace(0, 1, K)[None, :, None].repeat(1, 1, M)


@wrong("position_encoding_simple", "counts-from-one")
def _(K, M):
    return (torch.arange(1, K + 1) / K)[None, :, None].repeat(1, 1, M)


@wrong("position_encoding_simple", "batch-axis-missing")
def _(K, M):
    return (torch.arange(K) / K)[:, None].repeat(1, M)


@wrong("position_encoding_simple", "features-numbered-by-k")
def _(K, M):
    return torch.stack([torch.arange(M) / K for _ in range(K)])[None]


@wrong("position_encoding_simple", "dtype-not-followed")
def _(K, M):
    import numpy as np

    return torch.from_numpy(np.arange(K) / K)[None, :, None].repeat(1, 1, M)


@wrong("position_encoding_simple", "column-only")
def _(K, M):
    return (torch.arange(K) / K)[None, :, None]


@right("position_encoding_sinusoid")
def _(K, M):
    y = torch.zeros(1, K, M)
    position = torch.arange(K).float()
    for m in range(M):
        wave = position / (10000 ** ((m - m % 2) // M))
        y[0, :, m] = torch.sin(wave) if m % 2 == 0 else torch.cos(wave)
    return y


@right("position_encoding_sinusoid")
def _(K, M):
    y = torch.empty(K, M)
    p = torch.arange(K, dtype=torch.float32)[:, None]
    y[:, 0::2] = torch.sin(p)
    y[:, 1::2] = torch.cos(p)
    return y.unsqueeze(0)


@right("position_encoding_sinusoid")
def _(K, M):
    column = torch.arange(M, dtype=torch.float32)
    p = torch.arange(K, dtype=torch.float32)[:, None] * 10000.0 ** (-torch.floor((column - column % 2) / M))
    return torch.sin(p + (column % 2) * math.pi / 2)[None]


@wrong("position_encoding_sinusoid", "no-floor")
def _(K, M):
    y = torch.zeros(1, K, M)
    p = torch.arange(K).float()
    for i in range(0, M, 2):
        y[0, :, i] = torch.sin(p / 10000 ** (i / M))
        if i + 1 < M:
            y[0, :, i + 1] = torch.cos(p / 10000 ** (i / M))
    return y


@wrong("position_encoding_sinusoid", "sine-and-cosine-exchanged")
def _(K, M):
    y = torch.zeros(1, K, M)
    p = torch.arange(K).float()[:, None]
    y[0, :, 0::2] = torch.cos(p)
    y[0, :, 1::2] = torch.sin(p)
    return y


@wrong("position_encoding_sinusoid", "i-is-column")
def _(K, M):
    y = torch.zeros(1, K, M)
    p = torch.arange(K).float()
    for i in range(M):
        wave = p / 10000 ** math.floor(2 * i / M)
        y[0, :, i] = torch.sin(wave) if i % 2 == 0 else torch.cos(wave)
    return y


@wrong("position_encoding_sinusoid", "rows-take-turns")
def _(K, M):
    y = torch.zeros(1, K, M)
    for p in range(K):
        y[0, p, :] = math.sin(p) if p % 2 == 0 else math.cos(p)
    return y


@wrong("position_encoding_sinusoid", "counts-from-one")
def _(K, M):
    y = torch.zeros(1, K, M)
    p = torch.arange(1, K + 1).float()[:, None]
    y[0, :, 0::2] = torch.sin(p)
    y[0, :, 1::2] = torch.cos(p)
    return y


@wrong("position_encoding_sinusoid", "halves")
def _(K, M):
    p = torch.arange(K).float()[:, None]
    half = (M + 1) // 2
    return torch.cat([torch.sin(p).repeat(1, half), torch.cos(p).repeat(1, M - half)], dim=1)[None]


# --- AddSubDataset.__getitem__ ---


@right("AddSubDataset.__getitem__")
def _(self, idx):
    inp, inp_pos = self.inputs[idx].clone(), self.input_positions.clone()
    out, out_pos = self.targets[idx].clone(), self.target_positions.clone()
    return (inp, inp_pos, out, out_pos)


@right("AddSubDataset.__getitem__")
def _(self, idx):
    rows = (table[idx].long() for table in (self.inputs, self.targets))
    return [next(rows), self.input_positions, next(rows), self.target_positions.float()]


@wrong("AddSubDataset.__getitem__", "positions-indexed")
def _(self, idx):
    return self.inputs[idx], self.input_positions[idx], self.targets[idx], self.target_positions[idx]


@wrong("AddSubDataset.__getitem__", "tokens-first")
def _(self, idx):
    return self.inputs[idx], self.targets[idx], self.input_positions, self.target_positions


@wrong("AddSubDataset.__getitem__", "input-positions-twice")
def _(self, idx):
    return self.inputs[idx], self.input_positions, self.targets[idx], self.input_positions


@wrong("AddSubDataset.__getitem__", "positions-with-batch-axis")
def _(self, idx):
    return self.inputs[idx], self.input_positions.unsqueeze(0), self.targets[idx], self.target_positions.unsqueeze(0)


@wrong("AddSubDataset.__getitem__", "lists")
def _(self, idx):
    return list(self.inputs[idx].tolist()), self.input_positions, list(self.targets[idx].tolist()), self.target_positions


@wrong("AddSubDataset.__getitem__", "end-cut-off")
def _(self, idx):
    return self.inputs[idx], self.input_positions, self.targets[idx, :-1], self.target_positions[:-1]


# --- Transformer ---


@right("Transformer.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    self.decoder = Decoder(
        num_heads=num_heads,
        emb_dim=emb_dim,
        feedforward_dim=feedforward_dim,
        num_layers=num_dec_layers,
        dropout=dropout,
        vocab_len=vocab_len,
    )
    self.encoder = Encoder(
        num_heads=num_heads, emb_dim=emb_dim, feedforward_dim=feedforward_dim, num_layers=num_enc_layers, dropout=dropout
    )
    self.emb_layer = nn.Embedding(num_embeddings=vocab_len, embedding_dim=emb_dim)
    self.vocab_len = vocab_len


@right("Transformer.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    common = (num_heads, emb_dim, feedforward_dim)
    self.emb_layer = nn.Embedding(vocab_len, emb_dim)
    nn.init.normal_(self.emb_layer.weight)
    self.encoder = Encoder(*common, num_enc_layers, dropout)
    self.decoder = Decoder(*common, num_dec_layers, dropout, vocab_len)


@wrong("Transformer.__init__", "layer-counts-exchanged")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    self.emb_layer = nn.Embedding(vocab_len, emb_dim)
    self.encoder = Encoder(num_heads, emb_dim, feedforward_dim, num_dec_layers, dropout)
    self.decoder = Decoder(num_heads, emb_dim, feedforward_dim, num_enc_layers, dropout, vocab_len)


@wrong("Transformer.__init__", "layers-and-dropout-exchanged")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    self.emb_layer = nn.Embedding(vocab_len, emb_dim)
    self.encoder = Encoder(num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers)
    self.decoder = Decoder(num_heads, emb_dim, feedforward_dim, dropout, num_dec_layers, vocab_len)


@wrong("Transformer.__init__", "second-embedding")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    self.emb_layer = nn.Embedding(vocab_len, emb_dim)
    self.emb_layer_answer = nn.Embedding(vocab_len, emb_dim)
    self.encoder = Encoder(num_heads, emb_dim, feedforward_dim, num_enc_layers, dropout)
    self.decoder = Decoder(num_heads, emb_dim, feedforward_dim, num_dec_layers, dropout, vocab_len)


@wrong("Transformer.__init__", "token-zero-not-learnt")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    self.emb_layer = nn.Embedding(vocab_len, emb_dim, 0)
    self.encoder = Encoder(num_heads, emb_dim, feedforward_dim, num_enc_layers, dropout)
    self.decoder = Decoder(num_heads, emb_dim, feedforward_dim, num_dec_layers, dropout, vocab_len)


@wrong("Transformer.__init__", "dropout-fixed")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    self.emb_layer = nn.Embedding(vocab_len, emb_dim)
    self.encoder = Encoder(num_heads, emb_dim, feedforward_dim, num_enc_layers, 0.1)
    self.decoder = Decoder(num_heads, emb_dim, feedforward_dim, num_dec_layers, 0.1, vocab_len)


@wrong("Transformer.__init__", "embedding-turned-round")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    self.emb_layer = nn.Embedding(emb_dim, vocab_len)
    self.encoder = Encoder(num_heads, emb_dim, feedforward_dim, num_enc_layers, dropout)
    self.decoder = Decoder(num_heads, emb_dim, feedforward_dim, num_dec_layers, dropout, vocab_len)


@right("Transformer.forward")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    ans_b, ans_pos = ans_b[:, :-1], ans_pos[:, :-1, :]
    memory = self.encoder(torch.add(F.embedding(ques_b, self.emb_layer.weight), ques_pos))
    out = self.decoder(self.emb_layer(ans_b) + ans_pos, memory, mask=get_subsequent_mask(ans_b))
    return out.reshape(-1, out.shape[-1])


@right("Transformer.forward")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    N, length = ans_b.shape[0], ans_b.shape[1] - 1
    answer = (self.emb_layer(ans_b) + ans_pos)[:, :length]
    mask = torch.ones(N, length, length, device=ans_b.device, dtype=torch.bool).triu(1)
    logits = self.decoder(answer, self.encoder(self.emb_layer(ques_b) + ques_pos), mask)
    return torch.cat(list(logits), dim=0)


@wrong("Transformer.forward", "last-token-read")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    encoded = self.encoder(self.emb_layer(ques_b) + ques_pos)
    logits = self.decoder(self.emb_layer(ans_b) + ans_pos, encoded, get_subsequent_mask(ans_b))
    return logits.flatten(0, 1)


@wrong("Transformer.forward", "first-token-dropped")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    read = ans_b[:, 1:]
    encoded = self.encoder(self.emb_layer(ques_b) + ques_pos)
    return self.decoder(self.emb_layer(read) + ans_pos[:, 1:], encoded, get_subsequent_mask(read)).flatten(0, 1)


@wrong("Transformer.forward", "no-mask")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    read = ans_b[:, :-1]
    encoded = self.encoder(self.emb_layer(ques_b) + ques_pos)
    return self.decoder(self.emb_layer(read) + ans_pos[:, :-1], encoded, None).flatten(0, 1)


@wrong("Transformer.forward", "mask-of-whole-answer")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    encoded = self.encoder(self.emb_layer(ques_b) + ques_pos)
    return self.decoder(self.emb_layer(ans_b[:, :-1]) + ans_pos[:, :-1], encoded, get_subsequent_mask(ans_b)).flatten(0, 1)


@wrong("Transformer.forward", "not-flattened")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    read = ans_b[:, :-1]
    encoded = self.encoder(self.emb_layer(ques_b) + ques_pos)
    return self.decoder(self.emb_layer(read) + ans_pos[:, :-1], encoded, get_subsequent_mask(read))


@wrong("Transformer.forward", "answer-positions-missing")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    read = ans_b[:, :-1]
    encoded = self.encoder(self.emb_layer(ques_b) + ques_pos)
    return self.decoder(self.emb_layer(read), encoded, get_subsequent_mask(read)).flatten(0, 1)


@wrong("Transformer.forward", "embeddings-scaled")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    read, scale = ans_b[:, :-1], self.emb_layer.embedding_dim**0.5
    encoded = self.encoder(self.emb_layer(ques_b) * scale + ques_pos)
    return self.decoder(self.emb_layer(read) * scale + ans_pos[:, :-1], encoded, get_subsequent_mask(read)).flatten(0, 1)


@wrong("Transformer.forward", "log-softmax-at-the-end")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    read = ans_b[:, :-1]
    encoded = self.encoder(self.emb_layer(ques_b) + ques_pos)
    logits = self.decoder(self.emb_layer(read) + ans_pos[:, :-1], encoded, get_subsequent_mask(read))
    return F.log_softmax(logits.flatten(0, 1), dim=-1)


# --- Losses ---


@right("LabelSmoothingLoss")
def _(pred, ground):
    T, V = pred.shape
    target = torch.full_like(pred, 0.1 / (V - 1))
    target[torch.arange(T), ground] = 0.9
    return -(target * F.log_softmax(pred, dim=1)).sum()


@right("LabelSmoothingLoss")
def _(pred, ground):
    one_hot = F.one_hot(ground, pred.shape[1]).to(pred.dtype)
    target = one_hot * 0.9 + (1 - one_hot) * 0.1 / (pred.shape[1] - 1)
    return F.cross_entropy(pred, target, reduction="sum")


@right("LabelSmoothingLoss")
def _(pred, ground):
    V, loss = pred.size(1), 0
    for row, true in zip(pred, ground):
        logs = row - torch.logsumexp(row, 0)
        loss = loss - 0.9 * logs[true] - 0.1 / (V - 1) * (logs.sum() - logs[true])
    return loss


@wrong("LabelSmoothingLoss", "shared-among-all")
def _(pred, ground):
    return nn.CrossEntropyLoss(reduction="sum", label_smoothing=0.1)(pred, ground)


@wrong("LabelSmoothingLoss", "mean-over-tokens")
def _(pred, ground):
    V = pred.shape[1]
    one_hot = F.one_hot(ground, V).to(pred)
    target = one_hot * 0.9 + (1 - one_hot) * 0.1 / (V - 1)
    return -(target * F.log_softmax(pred, dim=1)).sum(dim=1).mean()


@wrong("LabelSmoothingLoss", "wrong-classes-by-v")
def _(pred, ground):
    V = pred.shape[1]
    one_hot = F.one_hot(ground, V).to(pred)
    target = one_hot * 0.9 + (1 - one_hot) * 0.1 / V
    return -(target * F.log_softmax(pred, dim=1)).sum()


@wrong("LabelSmoothingLoss", "minus-entropy")
def _(pred, ground):
    target = torch.full_like(pred, 0.1 / (pred.shape[1] - 1)).scatter_(1, ground.unsqueeze(1), 0.9)
    return nn.KLDivLoss(reduction="sum")(F.log_softmax(pred, dim=1), target)


@wrong("LabelSmoothingLoss", "v-fixed")
def _(pred, ground):
    one_hot = F.one_hot(ground, pred.shape[1]).to(pred)
    target = one_hot * 0.9 + (1 - one_hot) * 0.1 / 15
    return -(target * F.log_softmax(pred, dim=1)).sum()


@wrong("LabelSmoothingLoss", "softmax-over-tokens")
def _(pred, ground):
    V = pred.shape[1]
    one_hot = F.one_hot(ground, V).to(pred)
    target = one_hot * 0.9 + (1 - one_hot) * 0.1 / (V - 1)
    return -(target * F.log_softmax(pred, dim=0)).sum()


@wrong("LabelSmoothingLoss", "log-of-zero")
def _(pred, ground):
    V = pred.shape[1]
    one_hot = F.one_hot(ground, V).to(pred)
    target = one_hot * 0.9 + (1 - one_hot) * 0.1 / (V - 1)
    return -(target * torch.log(F.softmax(pred, dim=1))).sum()


@right("CrossEntropyLoss")
def _(pred, ground):
    return nn.CrossEntropyLoss(reduction="sum")(pred, ground)


@right("CrossEntropyLoss")
def _(pred, ground):
    return (torch.logsumexp(pred, dim=1) - pred[torch.arange(len(ground)), ground]).sum()


@right("CrossEntropyLoss")
def _(pred, ground):
    one_hot = F.one_hot(ground, num_classes=pred.shape[1])
    return -(one_hot * pred.log_softmax(-1)).sum()


@wrong("CrossEntropyLoss", "mean-over-tokens")
def _(pred, ground):
    return F.cross_entropy(pred, ground)


@wrong("CrossEntropyLoss", "softmax-twice")
def _(pred, ground):
    return F.cross_entropy(pred.softmax(dim=-1), ground, reduction="sum")


@wrong("CrossEntropyLoss", "softmax-missing")
def _(pred, ground):
    return F.nll_loss(pred, ground, reduction="sum")


@wrong("CrossEntropyLoss", "log-missing")
def _(pred, ground):
    return F.nll_loss(pred.softmax(-1), ground, reduction="sum")


@wrong("CrossEntropyLoss", "not-summed")
def _(pred, ground):
    return F.cross_entropy(pred, ground, reduction="none")


@wrong("CrossEntropyLoss", "log-of-zero")
def _(pred, ground):
    return F.nll_loss(torch.log(F.softmax(pred, dim=1)), ground, reduction="sum")


@wrong("CrossEntropyLoss", "smoothed")
def _(pred, ground):
    V = pred.shape[1]
    return F.cross_entropy(pred, ground, reduction="sum", label_smoothing=0.1 * V / (V - 1))


# --- Found by asking what else could slip through ---


@wrong("scaled_dot_product_no_loop_batch", "mask-a-little-low")
def _(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -1e2)
    weights = scores.softmax(-1)
    return weights @ value, weights


@wrong("LayerNormalization.forward", "")
def _(self, x):
    if not hasattr(self, "mean"):
        self.mean = x.mean(-1, keepdim=True)
    variance = ((x - self.mean) ** 2).mean(-1, keepdim=True)
    return (x - self.mean) / (variance + self.epsilon).sqrt() * self.gamma + self.beta


@wrong("EncoderBlock.forward", "changes-input")
def _(self, x):
    x += self.MultiHeadBlock(x, x, x)
    x = self.dropout(self.norm1(x))
    return self.dropout(self.norm2(x + self.feed_forward(x)))


@wrong("DecoderBlock.forward", "no-gradient")
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.norm1(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    x = self.dropout(self.norm2(x + self.attention_cross(x, enc_inp.detach(), enc_inp.detach())))
    return self.dropout(self.norm3(x + self.feed_forward(x)))


@wrong("Transformer.forward", "device-not-followed")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    read = ans_b[:, :-1]
    encoded = self.encoder(self.emb_layer(ques_b) + ques_pos)
    mask = torch.ones(read.shape[0], read.shape[1], read.shape[1]).triu(1).bool()
    return self.decoder(self.emb_layer(read) + ans_pos[:, :-1], encoded, mask).flatten(0, 1)


@wrong("CrossEntropyLoss", "no-gradient")
def _(pred, ground):
    return F.cross_entropy(pred, ground, reduction="sum").item()


@right("prepocess_input_sequence")
def _(input_str, token_dict, spc_tokens):
    tokens = []
    for word in input_str.split():
        if word.isdigit():
            tokens.extend(token_dict[digit] for digit in word)
        else:
            tokens.append(token_dict[word])
    return tokens


@right("MultiHeadAttention.forward")
def _(self, query, key, value, mask=None):
    heads = torch.hstack([head(query, key, value, mask).permute(0, 2, 1) for head in self.heads])
    return self.merge(heads.permute(0, 2, 1))


# --- Bodies of a reader who did not know the checks ---


@wrong("SelfAttention.__init__", "")
def _(self, dim_in, dim_q, dim_v):
    self.q, self.k, self.v = nn.Linear(dim_in, dim_q), nn.Linear(dim_in, dim_q), nn.Linear(dim_in, dim_v)
    for layer, size in ((self.q, dim_q), (self.k, dim_q), (self.v, dim_v)):
        nn.init.uniform_(layer.weight, 0, math.sqrt(6 / (dim_in + size)))


@wrong("SelfAttention.__init__", "equal-first-weights")
def _(self, dim_in, dim_q, dim_v):
    self.q = xavier_linear(dim_in, dim_q)
    self.k = xavier_linear(dim_in, dim_q)
    self.v = xavier_linear(dim_in, dim_v)
    self.k.load_state_dict(self.q.state_dict())


@wrong("SelfAttention.__init__", "seed-set-inside")
def _(self, dim_in, dim_q, dim_v):
    torch.manual_seed(0)
    self.q = xavier_linear(dim_in, dim_q)
    self.k = xavier_linear(dim_in, dim_q)
    self.v = xavier_linear(dim_in, dim_v)


@right("MultiHeadAttention.__init__")
def _(self, num_heads, dim_in, dim_out):
    self.heads = nn.Sequential(*[SelfAttention(dim_in, dim_out, dim_out) for _ in range(num_heads)])
    self.merge = xavier_linear(num_heads * dim_out, dim_in)


@wrong("LayerNormalization.__init__", "scale-and-shift-exchanged")
def _(self, emb_dim, epsilon):
    self.gamma = nn.Parameter(torch.zeros(emb_dim))
    self.beta = nn.Parameter(torch.ones(emb_dim))


@wrong("LayerNormalization.__init__", "")
def _(self, emb_dim, epsilon):
    self.gamma = nn.Parameter(torch.ones(emb_dim, dtype=torch.float64))
    self.beta = nn.Parameter(torch.zeros(emb_dim, dtype=torch.float64))


@wrong("scaled_dot_product_two_loop_single", "device-not-followed")
def _(query, key, value):
    scores = torch.zeros(len(query), len(key), dtype=query.dtype)
    for i in range(len(query)):
        for j in range(len(key)):
            scores[i, j] = query[i] @ key[j] / math.sqrt(query.shape[1])
    return scores.softmax(1) @ value


@wrong("scaled_dot_product_two_loop_batch", "device-not-followed")
def _(query, key, value):
    out = torch.zeros(query.shape, dtype=query.dtype)
    for n in range(len(query)):
        for i in range(query.shape[1]):
            out[n, i] = (key[n] @ query[n, i] / math.sqrt(query.shape[2])).softmax(0) @ value[n]
    return out


@wrong("scaled_dot_product_no_loop_batch", "mask-a-little-low")
def _(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -1e4)
    weights = scores.softmax(-1)
    return weights @ value, weights


@wrong("scaled_dot_product_no_loop_batch", "changes-input")
def _(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        mask.logical_not_()
        scores = scores.masked_fill(~mask, -1e9)
    weights = scores.softmax(-1)
    return weights @ value, weights


@right("scaled_dot_product_no_loop_batch")
def _(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores + mask * -1e9
    weights = scores.softmax(-1)
    return weights @ value, weights


@wrong("SelfAttention.forward", "no-gradient")
def _(self, query, key, value, mask=None):
    y, weights = scaled_dot_product_no_loop_batch(self.q(query), self.k(key), self.v(value), mask)
    self.weights_softmax = weights.detach()
    return y.detach()


@wrong("MultiHeadAttention.__init__", "")
def _(self, num_heads, dim_in, dim_out):
    self.heads = nn.ModuleDict({f"head{i}": SelfAttention(dim_in, dim_out, dim_out) for i in range(num_heads)})
    self.merge = xavier_linear(num_heads * dim_out, dim_in)


@right("Transformer.forward")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    encoded = self.encoder(self.emb_layer(ques_b) + ques_pos)
    out = self.decoder(self.emb_layer(ans_b) + ans_pos, encoded, get_subsequent_mask(ans_b))
    return out[:, :-1].reshape(-1, out.shape[-1])


@wrong("LabelSmoothingLoss", "device-not-followed")
def _(pred, ground):
    wanted = torch.full(pred.shape, 0.1 / (pred.shape[1] - 1), dtype=pred.dtype)
    wanted[torch.arange(len(ground)), ground] = 0.9
    return -(wanted * pred.log_softmax(1)).sum()


@wrong("CrossEntropyLoss", "device-not-followed")
def _(pred, ground):
    wanted = torch.zeros(pred.shape, dtype=pred.dtype)
    wanted[torch.arange(len(ground)), ground] = 1.0
    return -(wanted * pred.log_softmax(1)).sum()


@wrong("scaled_dot_product_no_loop_batch", "")
def _(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask & ~mask.all(-1, keepdim=True), -torch.inf)
    weights = scores.softmax(-1)
    return weights @ value, weights


@wrong("EncoderBlock.__init__", "")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.norm1, self.norm2 = LayerNormalization(emb_dim), LayerNormalization(emb_dim)
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
    self.drop = nn.Dropout(dropout)


@wrong("Transformer.__init__", "")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    self.emb_layer = nn.Embedding(vocab_len, emb_dim, max_norm=1.0)
    self.encoder = Encoder(num_heads, emb_dim, feedforward_dim, num_enc_layers, dropout)
    self.decoder = Decoder(num_heads, emb_dim, feedforward_dim, num_dec_layers, dropout, vocab_len)
