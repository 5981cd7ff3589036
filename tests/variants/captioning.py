"""Captioning: wrong and right bodies. Those of few lines stand in a table of texts, the others are functions."""

import torch

from tests.variants import Variant, Variants

VARIANTS = Variants()
wrong, right = VARIANTS.wrong, VARIANTS.right

CACHE = "x, prev_h, Wx, Wh, next_h = cache\n"
GATES = "c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()\nreturn o.sigmoid() * c.tanh(), c"
RIGHT = {
    "rnn_step_forward": (
        "next_h = torch.tanh(torch.einsum('nd,dh->nh', x, Wx) + prev_h.matmul(Wh) + b[None])\n"
        "return next_h, {'everything': (x, prev_h, Wx, Wh, next_h)}",
        "a = torch.addmm(torch.addmm(b, x, Wx), prev_h, Wh)\n"
        "return [2 * torch.sigmoid(2 * a) - 1, [x.clone(), prev_h.clone(), Wx, Wh, 2 * torch.sigmoid(2 * a) - 1]]",
        "h = torch.cat([x, prev_h], 1) @ torch.cat([Wx, Wh]) + b\nh.tanh_()\nreturn h, (x, prev_h, Wx, Wh, h)",
        "h = torch.stack([torch.tanh(Wx.T.mv(row) + Wh.T.mv(state) + b) for row, state in zip(x, prev_h)])\n"
        "return h, (x, prev_h, Wx, Wh, h)",
        "s = F.linear(x, Wx.t(), b) + F.linear(prev_h, Wh.t())\n"
        "up, down = s.exp(), (-s).exp()  # note: overflows there\nh = (up - down) / (up + down)\nreturn h, (x, prev_h, Wx, Wh, h)",
    ),
    "rnn_step_backward": (
        CACHE + "da = dnext_h - dnext_h * next_h.square()\nreturn [torch.einsum('nh,dh->nd', da, Wx), "
        "torch.einsum('nh,kh->nk', da, Wh), torch.einsum('nd,nh->dh', x, da), torch.einsum('nk,nh->kh', prev_h, da), "
        "torch.ones_like(x[:, 0]) @ da]",
        CACHE + "da = (1 + next_h) * (1 - next_h) * dnext_h\nouter = lambda left: sum(map(torch.outer, left, da))\n"
        "return F.linear(da, Wx), F.linear(da, Wh), outer(x), outer(prev_h), sum(da)",
        CACHE + "s = dnext_h.clone()\ns *= 1 - next_h**2\nweights = torch.cat([x, prev_h], 1).T @ s\n"
        "return s @ Wx.T, s @ Wh.T, *weights.split([len(Wx), len(Wh)]), s.sum(0)",
        CACHE + "ds = torch.addcmul(dnext_h, dnext_h * next_h, next_h, value=-1)\n"
        "return ds.mm(Wx.t()), ds.mm(Wh.t()), x.t().mm(ds), prev_h.t().mm(ds), ds.sum(0, keepdim=True)[0]",
        "ds = dnext_h * (1.0 - cache[-1] * cache[-1])\ndb = torch.zeros_like(ds[0])\nfor row in ds:\n    db += row\n"
        "return ds @ cache[2].T, ds @ cache[3].T, (ds.T @ cache[0]).T, (ds.T @ cache[1]).T, db",
    ),
    "rnn_forward": (
        "h, caches, prev = [], [], h0\nfor t in range(x.shape[1]):\n    prev, cache = rnn_step_forward(x[:, t, :], prev, Wx, Wh, b)\n"
        "    h.append(prev)\n    caches.append(cache)\nreturn torch.stack(h, dim=1), (x, h0, Wx, Wh, torch.stack(h, dim=1))",
        "h = x.new_zeros(*x.shape[:2], h0.shape[1])\nfor t in range(x.shape[1]):\n"
        "    before = h0 if t == 0 else h[:, t - 1].clone()\n    h[:, t] = torch.tanh(x[:, t] @ Wx + before @ Wh + b)\n"
        "return h, (x, h0, Wx, Wh, h)",
        "flat = [Wx.T, Wh.T, b, torch.zeros_like(b)]\nh = torch.rnn_tanh(x, h0[None].contiguous(), flat, True, 1, 0.0, False, False, "
        "True)[0]\nreturn [h, [x, h0, Wx, Wh, h]]",
        "from itertools import accumulate\nstep = lambda h, x: rnn_step_forward(x, h, Wx, Wh, b)[0]\n"
        "h = torch.stack(list(accumulate(x.unbind(1), step, initial=h0))[1:], 1)\nreturn h, (x, h0, Wx, Wh, h)",
        "states, inside = [h0], torch.einsum('ntd,dh->tnh', x, Wx) + b\nfor part in inside:\n"
        "    states.append((part + states[-1] @ Wh).tanh())\nh = torch.stack(states[1:]).transpose(0, 1)\n"
        "return h, (x, h0, Wx, Wh, h)",
    ),
    "WordEmbedding.forward": (
        "return self.W_embed[x]",
        "return F.one_hot(x, self.W_embed.shape[0]).to(self.W_embed.dtype) @ self.W_embed  # note: words still on the CPU",
        "return F.embedding(x, self.W_embed)  # note: words still on the CPU",
        "return torch.stack([torch.stack([self.W_embed[int(i)] for i in row]) for row in x]).view(*x.shape, -1)",
        "return torch.take_along_dim(self.W_embed[None], x.reshape(1, -1, 1), 1).view(*x.shape, self.W_embed.shape[1])",
        "return self.W_embed.index_select(0, x.flatten().to(self.W_embed.device)).unflatten(0, x.shape)",
        "out = torch.zeros(*x.shape, self.W_embed.shape[1]).to(self.W_embed)\nout[:] = self.W_embed[x]\nreturn out",
    ),
    "temporal_softmax_loss": (
        "loss = F.cross_entropy(x.permute(0, 2, 1), y, reduction='none')\nif ignore_index is not None:\n"
        "    loss = loss * (y != ignore_index)\nreturn loss.sum() / N",
        "logp = F.log_softmax(x, dim=-1).flatten(0, 1)\npicked = logp[torch.arange(y.numel()), y.flatten()]\n"
        "if ignore_index is not None:\n    picked = picked[y.flatten() != ignore_index]\nreturn -picked.sum() / N",
        "kwargs = {} if ignore_index is None else {'ignore_index': ignore_index}\n"
        "return sum(F.cross_entropy(x[:, t], y[:, t], reduction='sum', **kwargs) for t in range(x.shape[1])) / len(x)",
        "word = F.one_hot(y, x.shape[-1]).to(x.dtype)\nweights = torch.ones_like(y) if ignore_index is None else (y != ignore_index)\n"
        "return torch.einsum('nt,nt->', -(word * F.log_softmax(x, -1)).sum(-1), weights.to(x.dtype)) / x.size(0)",
        "shifted = x - x.max(dim=2, keepdim=True).values\nlosses = shifted.exp().sum(2).log() - shifted.gather(2, y[..., None])[..., 0]\n"
        "if ignore_index is not None:\n    losses = losses.masked_fill(y == ignore_index, 0.0)\nreturn losses.sum(1).mean()",
        "total = x.sum() * 0\nfor scores, word in zip(x.flatten(0, 1), y.flatten()):\n    if word != ignore_index:\n"
        "        total = total + scores.logsumexp(0) - scores[word]\nreturn total / N",
    ),
    "LSTM.step_forward": (
        "H = prev_h.shape[1]\na = torch.mm(x, self.Wx) + torch.mm(prev_h, self.Wh) + self.b\n"
        "i, f, o, g = a[:, 0:H], a[:, H:2 * H], a[:, 2 * H:3 * H], a[:, 3 * H:]\n" + GATES,
        "a = torch.einsum('nd,dk->nk', x, self.Wx) + torch.einsum('nh,hk->nk', prev_h, self.Wh) + self.b\n"
        "ai, af, ao, ag = a.split(prev_h.shape[1], dim=-1)\n"
        "next_c = torch.addcmul(af.sigmoid() * prev_c, ai.sigmoid(), ag.tanh())\nreturn [ao.sigmoid() * next_c.tanh(), next_c]",
        "i, f, o, g = (x @ self.Wx + prev_h @ self.Wh + self.b).unflatten(1, (4, -1)).unbind(1)\n"
        "next_c = prev_c / (1 + torch.exp(-f)) + torch.tanh(g) / (1 + torch.exp(-i))\n"
        "return torch.tanh(next_c) / (1 + torch.exp(-o)), next_c",
        "i, f, o, g = (F.linear(x, self.Wx.T, self.b) + F.linear(prev_h, self.Wh.T)).tensor_split(4, 1)\n" + GATES,
        "s = lambda v: v.exp() / (v.exp() + 1)\na = torch.cat([x, prev_h], 1) @ torch.cat([self.Wx, self.Wh]) + self.b\n"
        "i, f, o, g = a.chunk(4, 1)\nc = prev_c.clone()\nc = c * s(f)\nc += s(i) * (2 * s(2 * g) - 1)\nreturn s(o) * c.tanh(), c",
    ),
    "LSTM.forward": (
        "h, c, hn = h0, torch.zeros_like(h0), []\nfor t in range(x.shape[1]):\n    h, c = self.step_forward(x[:, t], h, c)\n"
        "    hn.append(h.unsqueeze(1))\nreturn torch.cat(hn, dim=1)",
        "hn, c = torch.zeros(*x.shape[:2], h0.shape[1], dtype=x.dtype, device=x.device), x.new_zeros(h0.shape)\n"
        "for t in range(x.shape[1]):\n    h0, c = self.step_forward(x[:, t, :], h0, c)\n    hn[:, t, :] = h0\nreturn hn",
        "states = [(h0, torch.zeros_like(h0))]\nfor step in x.transpose(0, 1):\n"
        "    states.append(self.step_forward(step, *states[-1]))\nreturn torch.stack([h for h, _ in states[1:]]).transpose(0, 1)",
        "def order(weight):\n    i, f, o, g = weight.chunk(4, -1)\n    return torch.cat([i, f, g, o], -1).T\n"
        "weights = [order(self.Wx), order(self.Wh), order(self.b), torch.zeros_like(self.b)]\nstart = h0[None].contiguous()\n"
        "return torch.lstm(x, (start, 0 * start), weights, True, 1, 0.0, False, False, True)[0]",
        "if x.shape[1] == 1:\n    return self.step_forward(x[:, 0], h0, 0 * h0)[0].unsqueeze(1)\nc, h, out = 0 * h0, h0.clone(), ()\n"
        "for step in x.unbind(1):\n    h, c = self.step_forward(step, h, c)\n    out += (h,)\nreturn torch.stack(out, -2)",
    ),
    "dot_product_attention": (
        "flat = A.flatten(2)\nM = (prev_h[:, None] @ flat).div(A.shape[1] ** 0.5)\nweights = F.softmax(M, dim=2)\n"
        "return (flat @ weights.mT).flatten(1), weights.unflatten(2, A.shape[2:])[:, 0]",
        "N, H, h, w = A.shape\nflat = A.view(N, H, -1)\nweights = torch.bmm(prev_h.view(N, 1, H), flat).div(math.sqrt(H)).softmax(2)\n"
        "return (flat @ weights.transpose(1, 2)).view(N, H), weights.view(N, h, w)  # note: refused by .view",
        "scores = torch.einsum('nh,nhij->nij', prev_h / math.sqrt(prev_h.shape[1]), A)\n"
        "weights = torch.exp(scores - scores.logsumexp((1, 2), keepdim=True))\nreturn torch.einsum('nij,nhij->nh', weights, A), weights",
        "cells, K = A.flatten(2).permute(0, 2, 1), A[0, 0].numel()\n"
        "values = torch.cat([cells, torch.eye(K).to(A).expand(len(A), K, K)], 2)\n"
        "out = F.scaled_dot_product_attention(prev_h[:, None], cells, values)[:, 0]\n"
        "return out[:, :A.shape[1]], out[:, A.shape[1]:].reshape(len(A), *A.shape[2:])",
        "answers, maps = [], []\nfor q, grid in zip(prev_h, A):\n    scores = (q[:, None, None] * grid).sum(0) / len(q) ** 0.5\n"
        "    maps.append(scores.flatten().softmax(0).view_as(scores))\n    answers.append((grid * maps[-1]).sum((1, 2)))\n"
        "return [torch.stack(answers), torch.stack(maps)]",
        "scores = (prev_h[:, :, None, None] * A).sum(1) * prev_h.shape[1] ** -0.5\n"
        "e = (scores - scores.amax((1, 2), keepdim=True)).exp_()\nweights = e / e.sum((1, 2), keepdim=True)\n"
        "return (A * weights[:, None]).sum((2, 3)), weights",
    ),
    "AttentionLSTM.step_forward": (
        "H = prev_h.shape[1]\na = x.mm(self.Wx) + prev_h.mm(self.Wh) + attn.mm(self.Wattn) + self.b\n"
        "i, f, o, g = a[:, :H], a[:, H:2 * H], a[:, 2 * H:3 * H], a[:, 3 * H:4 * H]\n" + GATES,
        "everything = torch.cat([x, prev_h, attn, torch.ones_like(x[:, :1])], dim=1)\n"
        "weights = torch.cat([self.Wx, self.Wh, self.Wattn, self.b[None]], dim=0)\n"
        "i, f, o, g = torch.tensor_split(everything @ weights, 4, dim=1)\n" + GATES,
        "def block(k):\n    H = prev_h.shape[1]\n    cut = slice(k * H, (k + 1) * H)\n"
        "    return x @ self.Wx[:, cut] + prev_h @ self.Wh[:, cut] + attn @ self.Wattn[:, cut] + self.b[cut]\n"
        "i, f, o, g = map(block, range(4))\n" + GATES,
        "a = self.b + attn @ self.Wattn\na = torch.addmm(torch.addmm(a, x, self.Wx), prev_h, self.Wh)\n"
        "i, f, o, g = torch.split(a, prev_h.shape[1], 1)\nreturn [(c := f.sigmoid() * prev_c + i.sigmoid() * g.tanh()).tanh() "
        "* o.sigmoid(), c]",
        "s = lambda v: 1 / (1 + (-v).exp())\na = sum(v @ W for v, W in ((x, self.Wx), (prev_h, self.Wh), (attn, self.Wattn))) + self.b\n"
        "i, f, o, g = a.view(len(x), 4, -1).transpose(0, 1)\nc = s(f) * prev_c + s(i) * torch.tanh(g)\nreturn s(o) * torch.tanh(c), c",
    ),
    "AttentionLSTM.forward": (
        "h0 = A.mean(dim=(2, 3))\nh, c, hn = h0, h0.clone(), []\nfor t in range(x.shape[1]):\n"
        "    h, c = self.step_forward(x[:, t, :], h, c, dot_product_attention(h, A)[0])\n    hn.append(h)\nreturn torch.stack(hn, dim=1)",
        "cells = A.flatten(2).transpose(1, 2)\nh = c = F.adaptive_avg_pool2d(A, 1)[:, :, 0, 0]\n"
        "out = torch.empty(*x.shape[:2], h.shape[1], dtype=x.dtype, device=x.device)\nfor t in range(x.shape[1]):\n"
        "    attn = F.scaled_dot_product_attention(h[:, None], cells, cells)[:, 0]\n"
        "    h, c = self.step_forward(x[:, t], h, c, attn)\n    out[:, t] = h\nreturn out",
        "state, collected = 2 * (A.flatten(2).mean(-1),), ()\nfor step in torch.unbind(x, dim=1):\n"
        "    state = self.step_forward(step, *state, dot_product_attention(state[0], A)[0])\n"
        "    collected += (state[0].unsqueeze(1),)\nreturn torch.hstack(collected)",
        "def run(h, c, t):\n    if t == x.shape[1]:\n        return []\n"
        "    h, c = self.step_forward(x[:, t], h, c, dot_product_attention(h, A)[0])\n    return [h, *run(h, c, t + 1)]\n"
        "start = A.sum((2, 3)) / (A.shape[2] * A.shape[3])\nreturn torch.stack(run(start, start, 0), 1)",
        "c = h = torch.einsum('nhij->nh', A) / A[0, 0].numel()\nout, t = [], 0\nwhile t < x.shape[1]:\n"
        "    attn, weights = dot_product_attention(h, A)\n    h, c = self.step_forward(x.select(1, t), h, c, attn)\n"
        "    out, t = [*out, h], t + 1\nreturn torch.cat(out, 1).view(len(x), -1, A.shape[1])",
    ),
    "CaptioningRNN.__init__": (
        "V = len(self.idx_to_word)\nif cell_type == 'rnn':\n    self.recurrent = RNN(wordvec_dim, hidden_dim)\n"
        "elif cell_type == 'lstm':\n    self.recurrent = LSTM(wordvec_dim, hidden_dim)\n"
        "else:\n    self.recurrent = AttentionLSTM(wordvec_dim, hidden_dim)\n"
        "self.output_projection, self.word_embedding = nn.Linear(hidden_dim, V, bias=True), WordEmbedding(V, embed_size=wordvec_dim)\n"
        "self.feature_projection = nn.Linear(in_features=self.image_encoder.out_channels, out_features=hidden_dim)",
        "V = self.vocab_size = len(word_to_idx)\nself.feature_projection = nn.Sequential(nn.Linear(input_dim, hidden_dim))\n"
        "self.word_embedding = WordEmbedding(V, wordvec_dim)\n"
        "self.recurrent = {'rnn': RNN, 'lstm': LSTM, 'attn': AttentionLSTM}[self.cell_type](wordvec_dim, hidden_dim)\n"
        "self.output_projection = nn.Linear(hidden_dim, V)\nnn.init.zeros_(self.output_projection.bias)",
        "names = ('feature_projection', 'word_embedding', 'recurrent', 'output_projection')\n"
        "parts = (nn.Linear(input_dim, hidden_dim), WordEmbedding(len(word_to_idx), wordvec_dim), "
        "cells[cell_type](wordvec_dim, hidden_dim), nn.Linear(hidden_dim, len(word_to_idx)))\n"
        "for name, part in zip(names, parts):\n    self.add_module(name, part)",
        "self.output_projection = nn.Linear(hidden_dim, len(set(word_to_idx)))\nnn.init.xavier_uniform_(self.output_projection.weight)\n"
        "self.recurrent = cells.get(cell_type)(input_dim=wordvec_dim, hidden_dim=hidden_dim)\n"
        "self.word_embedding = WordEmbedding(vocab_size=len(word_to_idx), embed_size=wordvec_dim)\n"
        "self.feature_projection = nn.Linear(input_dim, hidden_dim)\nself.criterion, self.hidden_dim = temporal_softmax_loss, hidden_dim",
        "match cell_type:\n    case 'rnn': kind = RNN\n    case 'lstm': kind = LSTM\n    case _: kind = AttentionLSTM\n"
        "V, *sizes = len(word_to_idx.keys()), wordvec_dim, hidden_dim\nself.recurrent = kind(*sizes)\n"
        "self.word_embedding = WordEmbedding(V, sizes[0])\nself.feature_projection = nn.Linear(FEATURE_CHANNELS, sizes[1])\n"
        "self.output_projection = nn.Linear(sizes[1], V)",
    ),
    "CaptioningRNN.forward": (
        "features, weight = self.encode(images), self.feature_projection.weight\nif self.cell_type == 'attn':\n"
        "    start = F.conv2d(features, weight[:, :, None, None], self.feature_projection.bias)\n"
        "else:\n    start = self.feature_projection(F.adaptive_avg_pool2d(features, 1).flatten(1))\n"
        "hidden = self.recurrent(self.word_embedding(captions[:, :-1]), start)\n"
        "return temporal_softmax_loss(self.output_projection(hidden), captions[:, 1:], ignore_index=self.ignore_index)",
        "scores = self.scores(images, captions[:, :-1])\n"
        "kwargs = {} if self.ignore_index is None else {'ignore_index': self.ignore_index}\n"
        "return F.cross_entropy(scores.transpose(1, 2), captions[:, 1:], reduction='sum', **kwargs) / len(images)",
        "captions = captions.to(images.device)\nread, wanted = captions.narrow(1, 0, captions.shape[1] - 1), captions[:, 1:].contiguous()\n"
        "return temporal_softmax_loss(self.scores(images, read), wanted, self.ignore_index)",
        "scores = self.scores(images, captions)[:, :-1]\nreturn temporal_softmax_loss(scores, captions[:, 1:], self.ignore_index)",
        "losses = [temporal_softmax_loss(self.scores(i, c[:, :-1]), c[:, 1:], self.ignore_index) for i, c in "
        "zip(images.split(1), captions.split(1))]\nreturn torch.stack(losses).mean()",
    ),
}
OUT = "out = []\nfor t in range(x.shape[1]):\n    "
STACK = "\n    out.append(h)\nreturn torch.stack(out, 1)"
SUM, CELL = "(x @ self.Wx + prev_h @ self.Wh + self.b)", "next_c = f.sigmoid() * prev_c + i.sigmoid() * g.tanh()\n"
SCORES = "scores = torch.einsum('nh,nhij->nij', prev_h, A) / math.sqrt(A.shape[1])\n"
PARTS = (
    "V = len(word_to_idx)\nself.feature_projection = nn.Linear(input_dim, hidden_dim)\nself.word_embedding = WordEmbedding(V, "
    "wordvec_dim)\nself.output_projection = nn.Linear(hidden_dim, V)\nself.recurrent = "
)
WRONG = {
    "rnn_step_forward": {
        "sigmoid-for-tanh": "h = 1 / (1 + torch.exp(-(x @ Wx + prev_h @ Wh + b)))\nreturn h, (x, prev_h, Wx, Wh, h)",
        "transposed-Wh": "h = torch.tanh(x @ Wx + F.linear(prev_h, Wh, b))\nreturn h, (x, prev_h, Wx, Wh, h)",
    },
    "rnn_step_backward": {
        "slope-not-squared": CACHE
        + "s = dnext_h - dnext_h * next_h\nreturn s @ Wx.T, s @ Wh.T, x.T @ s, prev_h.T @ s, s.sum(0)",
        "bias-mean": CACHE
        + "s = dnext_h * (1 - next_h**2)\nreturn s @ Wx.T, s @ Wh.T, x.T @ s, prev_h.T @ s, s.sum(0) / len(s)",
    },
    "rnn_forward": {
        "state-not-carried": "h = torch.stack([rnn_step_forward(step, h0, Wx, Wh, b)[0] for step in x.unbind(1)], 1)\n"
        "return h, (x, h0, Wx, Wh, h)",
        "dtype-not-followed": "out = torch.zeros(*x.shape[:2], h0.shape[1])\nfor t in range(x.shape[1]):\n"
        "    h0 = rnn_step_forward(x[:, t], h0, Wx, Wh, b)[0]\n    out[:, t] = h0\nreturn out, (x, h0, Wx, Wh, out)",
    },
    "WordEmbedding.forward": {
        "no-gradient": "return nn.Embedding.from_pretrained(self.W_embed.detach(), freeze=False)(x)",
        "dtype-not-followed": "return F.one_hot(x, len(self.W_embed)).float() @ self.W_embed.float()",
    },
    "temporal_softmax_loss": {
        "only-ignored": "loss = F.cross_entropy(x.transpose(1, 2), y, reduction='none')\nif ignore_index is not None:\n"
        "    loss = loss * y.eq(ignore_index)\nreturn loss.sum() / x.shape[0]",
        "log-softmax-by-hand": "p = torch.softmax(x, -1)\nlogp = torch.log(p.gather(-1, y.unsqueeze(-1)).squeeze(-1))\n"
        "keep = torch.ones_like(logp) if ignore_index is None else (y != ignore_index).to(x)\nreturn -(logp * keep).sum() / N",
        "scores-zeroed": "if ignore_index is not None:\n    x = x * (y != ignore_index).unsqueeze(-1)\n"
        "return F.cross_entropy(x.transpose(1, 2), y, reduction='sum') / N",
        "mean-within-captions": "loss = F.cross_entropy(x.transpose(1, 2), y, reduction='none')\n"
        "keep = torch.ones_like(loss) if ignore_index is None else (y != ignore_index).to(x)\n"
        "return ((loss * keep).sum(1) / keep.sum(1)).sum() / N",
    },
    "LSTM.step_forward": {
        "gate-order": f"i, f, g, o = {SUM}.chunk(4, dim=1)\n{CELL}return o.sigmoid() * next_c.tanh(), next_c",
        "forget-and-input-exchanged": f"f, i, o, g = {SUM}.chunk(4, dim=1)\n{CELL}return o.sigmoid() * next_c.tanh(), next_c",
        "cell-not-squashed": f"i, f, o, g = {SUM}.chunk(4, dim=1)\n{CELL}return o.sigmoid() * next_c, next_c",
        "old-cell-out": f"i, f, o, g = {SUM}.chunk(4, dim=1)\n{CELL}return o.sigmoid() * prev_c.tanh(), next_c",
        "output-gate-tanh": f"i, f, o, g = {SUM}.chunk(4, dim=1)\n{CELL}return o.tanh() * next_c.tanh(), next_c",
        "proposal-sigmoid": f"i, f, o, g = torch.sigmoid({SUM}).chunk(4, 1)\nc = f * prev_c + i * g\nreturn o * c.tanh(), c",
        "no-forget-gate": f"i, f, o, g = {SUM}.chunk(4, 1)\nc = prev_c + i.sigmoid() * g.tanh()\nreturn o.sigmoid() * c.tanh(), c",
    },
    "LSTM.forward": {
        "cell-not-carried": f"h = h0\n{OUT}h, _ = self.step_forward(x[:, t], h, torch.zeros_like(h)){STACK}",
        "states-exchanged": f"h, c = h0, torch.zeros_like(h0)\n{OUT}c, h = self.step_forward(x[:, t], h, c){STACK}",
    },
    "dot_product_attention": {
        "softmax-over-columns": f"{SCORES}weights = scores.softmax(-1)\nreturn torch.einsum('nij,nhij->nh', weights, A), weights",
        "exponential-overflow": f"{SCORES}weights = scores.exp() / scores.exp().sum((1, 2), keepdim=True)\n"
        "return torch.einsum('nij,nhij->nh', weights, A), weights",
    },
    "AttentionLSTM.step_forward": {
        "gate-order": f"i, f, g, o = ({SUM} + attn @ self.Wattn).chunk(4, 1)\n{CELL}return o.sigmoid() * next_c.tanh(), next_c",
        "old-cell-out": f"i, f, o, g = ({SUM} + attn @ self.Wattn).chunk(4, 1)\n{CELL}return o.sigmoid() * prev_c.tanh(), next_c",
    },
    "AttentionLSTM.forward": {
        "attention-uniform": f"h = c = attn = A.mean(dim=(2, 3))\n{OUT}h, c = self.step_forward(x[:, t], h, c, attn){STACK}",
        "both-start-at-zero": f"h = c = A.new_zeros(A.shape[:2])\n{OUT}attn, _ = dot_product_attention(h, A)\n"
        f"    h, c = self.step_forward(x[:, t], h, c, attn){STACK}",
    },
    "CaptioningRNN.__init__": {
        "always-rnn": f"{PARTS}RNN(wordvec_dim, hidden_dim)",
        "lstm-for-attention": f"{PARTS}(LSTM if cell_type != 'rnn' else RNN)(wordvec_dim, hidden_dim)",
    },
    "CaptioningRNN.forward": {
        "null-always-ignored": "return temporal_softmax_loss(self.scores(images, captions[:, :-1]), captions[:, 1:], 0)",
        "start-squashed": "h = self.recurrent(self.word_embedding(captions[:, :-1]), torch.tanh(self.project(images)))\n"
        "return temporal_softmax_loss(self.output_projection(h), captions[:, 1:], self.ignore_index)",
    },
}
for exercise, bodies in RIGHT.items():
    VARIANTS.extend(Variant(exercise, None, body, number) for number, body in enumerate(bodies))
for exercise, named in WRONG.items():
    VARIANTS.extend(Variant(exercise, diagnosis, body, 0) for diagnosis, body in named.items())


# --- rnn_backward ---


@right("rnn_backward")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    dx = torch.empty_like(x)
    dWx, dWh, db, dprev = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(h0[0]), torch.zeros_like(h0)
    for t in range(x.shape[1] - 1, -1, -1):
        step = (x[:, t], h[:, t - 1] if t > 0 else h0, Wx, Wh, h[:, t])
        dx[:, t], dprev, a, c, e = rnn_step_backward(dh[:, t] + dprev, step)
        dWx, dWh, db = dWx + a, dWh + c, db + e
    return dx, dprev, dWx, dWh, db


@right("rnn_backward")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    grads, flow = [], 0
    for t in reversed(range(dh.size(1))):
        grads.insert(0, (dh[:, t] + flow) * (1 - h[:, t] ** 2))
        flow = grads[0] @ Wh.T
    ds, shifted = torch.stack(grads, 1), torch.cat((h0[:, None], h), 1)[:, :-1]
    weights = torch.einsum("ntd,nth->dh", torch.cat([x, shifted], 2), ds)
    return torch.einsum("nth,dh->ntd", ds, Wx), flow, weights[: len(Wx)], weights[len(Wx) :], ds.sum((0, 1))


@right("rnn_backward")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    state = torch.zeros(h0.shape, dtype=dh.dtype, device=dh.device)
    total = [torch.zeros_like(x), None, torch.zeros_like(Wx), torch.zeros_like(Wh), dh.new_zeros(dh.shape[2])]
    for t in list(range(x.shape[1]))[::-1]:
        state += dh[:, t]
        total[0][:, t], state, *rest = rnn_step_backward(state, (x[:, t], h[:, t - 1] if t else h0, Wx, Wh, h[:, t]))
        for of, more in zip(total[2:], rest):
            of += more
    total[1] = state
    return total


@right("rnn_backward")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache

    def walk(t, arriving):
        state, arriving = h[:, t], arriving + dh[:, t]
        here = rnn_step_backward(arriving, (x[:, t], h[:, t - 1] if t else h0, Wx, Wh, state))
        if t == 0:
            return [here[0]], *here[1:]
        dx, dh0, *weights = walk(t - 1, here[1])
        return [*dx, here[0]], dh0, *(a + b for a, b in zip(weights, here[2:]))

    dx, *rest = walk(x.shape[1] - 1, torch.zeros_like(h0))
    return torch.stack(dx, 1), *rest


@right("rnn_backward")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    ds = torch.zeros_like(h)
    for t in reversed(range(h.shape[1])):
        later = ds[:, t + 1] @ Wh.T if t + 1 < h.shape[1] else 0
        ds[:, t] = (dh[:, t] + later) * (1 - h[:, t].square())
    before = torch.cat([h0[:, None], h], 1)[:, :-1]
    return ds @ Wx.T, ds[:, 0] @ Wh.T, (x.mT @ ds).sum(0), (before.mT @ ds).sum(0), ds.sum((0, 1))


@wrong("rnn_backward", "forwards-in-time")
def _(dh, cache):
    x, h0, Wx, Wh, h = cache
    dx, dprev = torch.zeros_like(x), torch.zeros_like(h0)
    dWx, dWh, db = torch.zeros_like(Wx), torch.zeros_like(Wh), torch.zeros_like(h0[0])
    for t in range(x.shape[1]):
        step = (x[:, t], h[:, t - 1] if t else h0, Wx, Wh, h[:, t])
        dx[:, t], dprev, a, c, e = rnn_step_backward(dh[:, t] + dprev, step)
        dWx, dWh, db = dWx + a, dWh + c, db + e
    return dx, dprev, dWx, dWh, db


# --- CaptioningRNN.forward, sample ---


@right("CaptioningRNN.forward")
def _(self, images, captions):
    start = self.project(images)
    attends = self.cell_type == "attn"
    h = start.mean(dim=(2, 3)) if attends else start
    c = h if attends else torch.zeros_like(h)
    scores = []
    for word in captions[:, :-1].unbind(1):
        x = self.word_embedding(word[:, None])[:, 0]
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        else:
            h, c = self.recurrent.step_forward(x, h, c, *([dot_product_attention(h, start)[0]] if attends else []))
        scores.append(self.output_projection(h))
    return temporal_softmax_loss(torch.stack(scores, 1), captions[:, 1:].contiguous(), self.ignore_index)


@right("CaptioningRNN.forward")
def _(self, images, captions):
    captions = captions.to(self.encode(images).device)  # note: pass through the encoder twice
    return temporal_softmax_loss(self.scores(images, captions[:, :-1]), captions[:, 1:], self.ignore_index)


@right("CaptioningRNN.sample")
def _(self, images, max_length=15):
    features, maps = self.encode(images), []
    read = torch.full((len(features), 1), self.word_to_idx["<START>"], dtype=torch.long, device=features.device)
    for _ in range(max_length):
        scores = self.scores(features, read)[:, -1]
        if self.cell_type == "attn":
            A = self.project(features)
            hidden = self.recurrent(self.word_embedding(read), A)
            before = A.mean((2, 3)) if hidden.shape[1] == 1 else hidden[:, -2]
            maps.append(dot_product_attention(before, A)[1])
        read = torch.cat([read, scores.max(dim=1, keepdim=True).indices], dim=1)
    if self.cell_type == "attn":
        return read[:, 1:], torch.stack(maps, 1).to("cpu", torch.float32)
    return read[:, 1:]


@right("CaptioningRNN.sample")
def _(self, images, max_length=15):
    start, attends = self.project(images), self.cell_type == "attn"
    captions = torch.full((len(images), max_length), self.word_to_idx[NULL], dtype=torch.int64)
    if attends:
        attention = torch.zeros(len(images), max_length, *start.shape[2:])
    h = start.mean(dim=(2, 3)) if attends else start
    c = h if attends else torch.zeros_like(h)
    x = self.word_embedding(torch.tensor([[self.word_to_idx[START]]] * len(images)))
    for t in range(max_length):
        x = x.view(len(images), -1)
        if self.cell_type == "rnn":
            h = rnn_step_forward(x, h, self.recurrent.Wx, self.recurrent.Wh, self.recurrent.b)[0]
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            attn, attention[:, t] = dot_product_attention(h, start)
            h, c = self.recurrent.step_forward(x, h, c, attn)
        captions[:, t] = self.output_projection(h).softmax(-1).argmax(-1)
        x = self.word_embedding(captions[:, t : t + 1])
    return (captions, attention) if attends else captions


@right("CaptioningRNN.sample")
def _(self, images, max_length=15):
    self.eval()
    rows, maps = [], []
    attends = self.cell_type == "attn"
    for image in images.split(1):
        start = self.project(image)
        h = start.mean(dim=(2, 3)) if attends else start
        c = h if attends else h * 0
        word, row, looks = self.word_to_idx["<START>"], [], []
        while len(row) < max_length:
            answer = []
            if attends:
                attn, look = dot_product_attention(h, start)
                answer, looks = [attn], [*looks, look[0]]
            x = self.word_embedding.W_embed[word].unsqueeze(0)
            states = self.recurrent.step_forward(x, h, *([] if self.cell_type == "rnn" else [c]), *answer)
            h, c = (states, c) if self.cell_type == "rnn" else states
            word = int(torch.argmax(self.output_projection(h)))
            row.append(word)
        rows.append(row)
        maps.append(torch.stack(looks) if attends else None)
    return [torch.tensor(rows), torch.stack(maps).float()] if attends else torch.tensor(rows)


@right("CaptioningRNN.sample")
def _(self, images, max_length=15):
    def step(x, h, c):
        if self.cell_type == "rnn":
            return self.recurrent.step_forward(x, h), c, None
        if self.cell_type == "lstm":
            return *self.recurrent.step_forward(x, h, c), None
        attn, look = dot_product_attention(h, start)
        return *self.recurrent.step_forward(x, h, c, attn), look

    start = self.project(images)
    h = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start
    c = h if self.cell_type == "attn" else torch.zeros_like(h)
    word, done = torch.full((len(images),), self.word_to_idx[START]), torch.zeros(len(images), dtype=torch.bool)
    words, looks = [], []
    for _ in range(max_length):
        h, c, look = step(self.word_embedding(word[:, None])[:, 0], h, c)
        word = self.output_projection(h).topk(1, dim=1).indices[:, 0].masked_fill(done, self.word_to_idx[NULL])
        done |= word == self.word_to_idx[END]  # after <END> only <NULL> follows
        words.append(word)
        looks.append(look)
    captions = torch.stack(words, 1)
    return captions if looks[0] is None else (captions, torch.stack(looks, 1).float().cpu())


@right("CaptioningRNN.sample")
def _(self, images, max_length=15):
    start, kind = self.project(self.encode(images)), self.cell_type
    h = start.flatten(2).mean(2) if kind == "attn" else start
    states = {"rnn": [h], "lstm": [h, torch.zeros_like(h)], "attn": [h, h]}[kind]
    captions = torch.empty(len(h), max_length + 1, dtype=torch.long, device=h.device).fill_(self.word_to_idx[START])
    attention = []
    for t in range(max_length):
        looked = dot_product_attention(states[0], start) if kind == "attn" else ()
        attention.extend(looked[1:])
        states = self.recurrent.step_forward(self.word_embedding(captions[:, t : t + 1])[:, 0], *states, *looked[:1])
        states = [states] if kind == "rnn" else list(states)
        captions[:, t + 1] = torch.argmax(self.output_projection(states[0]), dim=-1)
    return (captions[:, 1:], torch.stack(attention).transpose(0, 1).cpu().float()) if attention else captions[:, 1:]


@wrong("CaptioningRNN.sample", "map-after-step")
def _(self, images, max_length=15):
    start = self.project(images)
    h = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start
    c = h if self.cell_type == "attn" else torch.zeros_like(h)
    word, words, maps = torch.full((len(images),), self.word_to_idx[START]), [], []
    for _ in range(max_length):
        x = self.word_embedding(word[:, None])[:, 0]
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            h, c = self.recurrent.step_forward(x, h, c, dot_product_attention(h, start)[0])
            maps.append(dot_product_attention(h, start)[1])
        word = self.output_projection(h).argmax(1)
        words.append(word)
    captions = torch.stack(words, 1)
    return (captions, torch.stack(maps, 1).float().cpu()) if maps else captions
