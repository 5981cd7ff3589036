"""All exercises once, in the style of somebody who knows the libraries: einsum, whole tensors, fused layers, tuples."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tests.variants import Variants

VARIANTS = Variants()
right = VARIANTS.right


# --- rnn_lstm_captioning.py ---


@right("rnn_step_forward")
def _(x, prev_h, Wx, Wh, b):
    joined, weights = torch.cat([x, prev_h], 1), torch.cat([Wx, Wh])
    next_h = torch.addmm(b, joined, weights).tanh()
    return next_h, (1 - next_h.square(), joined, weights)


@right("rnn_step_backward")
def _(dnext_h, cache):
    slope, joined, weights = cache
    D = weights.shape[0] - weights.shape[1]
    ds = torch.einsum("nh,nh->nh", dnext_h, slope)
    back, dW = torch.einsum("nh,kh->nk", ds, weights), torch.einsum("nk,nh->kh", joined, ds)
    return back[:, :D], back[:, D:], dW[:D], dW[D:], torch.einsum("nh->h", ds)


@right("rnn_forward")
def _(x, h0, Wx, Wh, b):
    from itertools import accumulate

    inner = torch.einsum("ntd,dh->tnh", x, Wx) + b
    h = torch.stack([*accumulate(inner, lambda h, a: (a + h @ Wh).tanh(), initial=h0)], 1)  # (N, T + 1, H)
    return h[:, 1:], {"states": h, "inputs": x, "weights": (Wx, Wh)}


@right("rnn_backward")
def _(dh, cache):
    h, x, (Wx, Wh) = cache["states"], cache["inputs"], cache["weights"]
    ds, flow = torch.empty_like(dh), 0
    for t in range(dh.shape[1])[::-1]:
        ds[:, t] = (dh[:, t] + flow) * (1 - h[:, t + 1] ** 2)
        flow = ds[:, t] @ Wh.mT
    dWx, dWh = torch.einsum("ntd,nth->dh", x, ds), torch.einsum("ntk,nth->kh", h[:, :-1], ds)
    return torch.einsum("nth,dh->ntd", ds, Wx), flow, dWx, dWh, torch.einsum("nth->h", ds)


@right("WordEmbedding.forward")
def _(self, x):
    return self.W_embed.index_select(0, x.flatten().to(self.W_embed.device)).unflatten(0, x.shape)


@right("temporal_softmax_loss")
def _(x, y, ignore_index=None):
    costs = -x.log_softmax(-1).gather(2, y.unsqueeze(2)).squeeze(2)
    counted = torch.ones_like(costs) if ignore_index is None else y.ne(ignore_index).to(costs.dtype)
    return torch.einsum("nt,nt->", costs, counted) / len(x)


@right("LSTM.step_forward")
def _(self, x, prev_h, prev_c):
    a = torch.einsum("nd,dk->nk", x, self.Wx) + torch.einsum("nh,hk->nk", prev_h, self.Wh) + self.b
    i, f, o, g = a.chunk(4, dim=-1)
    next_c = torch.addcmul(f.sigmoid() * prev_c, i.sigmoid(), g.tanh())
    return next_c.tanh().mul(o.sigmoid()), next_c


@right("LSTM.forward")
def _(self, x, h0):
    state, out = (h0, h0.new_zeros(h0.shape)), x.new_empty(*x.shape[:2], h0.shape[1])
    for t, step in enumerate(x.unbind(1)):
        state = self.step_forward(step, *state)
        out[:, t] = state[0]
    return out


@right("dot_product_attention")
def _(prev_h, A):
    scores = torch.einsum("nh,nhij->nij", prev_h, A) / math.sqrt(A.shape[1])
    weights = scores.flatten(1).softmax(1).view_as(scores)
    return torch.einsum("nij,nhij->nh", weights, A), weights


@right("AttentionLSTM.step_forward")
def _(self, x, prev_h, prev_c, attn):
    a = torch.cat([x, prev_h, attn], 1) @ torch.cat([self.Wx, self.Wh, self.Wattn]) + self.b
    i, f, o, g = a.unflatten(1, (4, -1)).unbind(1)
    next_c = torch.addcmul(f.sigmoid() * prev_c, i.sigmoid(), g.tanh())
    return next_c.tanh() * o.sigmoid(), next_c


@right("AttentionLSTM.forward")
def _(self, x, A):
    h = c = F.adaptive_avg_pool2d(A, 1).flatten(1)
    out = []
    for step in x.unbind(1):
        h, c = self.step_forward(step, h, c, dot_product_attention(h, A)[0])
        out += [h[:, None]]
    return torch.hstack(out)


@right("CaptioningRNN.__init__")
def _(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type):
    self.V = len(word_to_idx)
    self.register_buffer("start", torch.tensor(word_to_idx.get(START, 0)), persistent=False)
    self.feature_projection = nn.Sequential(nn.Linear(input_dim, hidden_dim))
    self.word_embedding = WordEmbedding(self.V, wordvec_dim)
    self.recurrent = cells[cell_type](wordvec_dim, hidden_dim)
    self.output_projection = nn.Sequential(nn.Linear(hidden_dim, self.V))


@right("CaptioningRNN.forward")
def _(self, images, captions):
    start = self.project(images)
    read, wanted = captions.to(start.device)[:, :-1], captions.to(start.device)[:, 1:]
    scores = self.output_projection(self.recurrent(self.word_embedding(read), start))
    ignored = {} if self.ignore_index is None else {"ignore_index": self.ignore_index}
    return F.cross_entropy(scores.mT, wanted, reduction="sum", **ignored) / len(captions)


@right("CaptioningRNN.sample")
def _(self, images, max_length=15):
    start, attends = self.project(images), self.cell_type == "attn"
    h = start.flatten(2).mean(2) if attends else start
    states = {"rnn": [h], "lstm": [h, torch.zeros_like(h)], "attn": [h, h]}[self.cell_type]
    words, looks = [self.start.expand(len(h))], []
    while len(words) <= max_length:
        looked = dot_product_attention(states[0], start) if attends else ()
        looks.extend(looked[1:])
        states = self.recurrent.step_forward(self.word_embedding(words[-1][:, None])[:, 0], *states, *looked[:1])
        states = [states] if self.cell_type == "rnn" else list(states)
        words.append(self.output_projection(states[0]).argmax(-1))
    captions = torch.stack(words[1:], 1)
    return (captions, torch.stack(looks, 1).float().cpu()) if attends else captions


# --- transformers.py ---


@right("generate_token_dict")
def _(vocab):
    return dict(zip(vocab, range(len(vocab))))


@right("prepocess_input_sequence")
def _(input_str, token_dict, spc_tokens):
    return [token_dict[part] for word in input_str.split() for part in ([word] if word in spc_tokens else word)]


@right("scaled_dot_product_two_loop_single")
def _(query, key, value):
    return torch.stack([(key @ q / len(q) ** 0.5).softmax(0) @ value for q in query])


@right("scaled_dot_product_two_loop_batch")
def _(query, key, value):
    return torch.stack([scaled_dot_product_two_loop_single(*parts) for parts in zip(query, key, value)])


@right("scaled_dot_product_no_loop_batch")
def _(query, key, value, mask=None):
    scores = torch.einsum("nqm,nkm->nqk", query, key) * query.shape[-1] ** -0.5
    weights = (scores if mask is None else scores.where(~mask, torch.finfo(scores.dtype).min)).softmax(-1)
    return torch.einsum("nqk,nkv->nqv", weights, value), weights


@right("SelfAttention.__init__")
def _(self, dim_in, dim_q, dim_v):
    self.maps = nn.ModuleList(xavier_linear(dim_in, size) for size in (dim_q, dim_q, dim_v))


@right("SelfAttention.forward")
def _(self, query, key, value, mask=None):
    parts = (part(x) for part, x in zip(self.maps, (query, key, value)))
    y, self.weights_softmax = scaled_dot_product_no_loop_batch(*parts, mask=mask)
    self.weights_softmax = self.weights_softmax.detach()
    return y


@right("MultiHeadAttention.__init__")
def _(self, num_heads, dim_in, dim_out):
    self.heads = nn.ModuleList(SelfAttention(dim_in, dim_out, dim_out) for _ in range(num_heads))
    self.out = xavier_linear(num_heads * dim_out, dim_in)


@right("MultiHeadAttention.forward")
def _(self, query, key, value, mask=None):
    return self.out(torch.stack([head(query, key, value, mask) for head in self.heads], 2).flatten(2))


@right("LayerNormalization.__init__")
def _(self, emb_dim, epsilon=1e-10):
    self.norm = nn.LayerNorm(emb_dim, eps=epsilon)


@right("LayerNormalization.forward")
def _(self, x):
    return self.norm(x)


@right("FeedForwardBlock.__init__")
def _(self, inp_dim, hidden_dim_feedforward):
    self.net = nn.Sequential(
        xavier_linear(inp_dim, hidden_dim_feedforward), nn.ReLU(), xavier_linear(hidden_dim_feedforward, inp_dim)
    )


@right("FeedForwardBlock.forward")
def _(self, x):
    return self.net(x)


@right("EncoderBlock.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.norms = nn.ModuleList(LayerNormalization(emb_dim) for _ in range(2))
    self.think, self.dropout = FeedForwardBlock(emb_dim, feedforward_dim), nn.Dropout(dropout)


@right("EncoderBlock.forward")
def _(self, x):
    for norm, part in zip(self.norms, (lambda x: self.MultiHeadBlock(x, x, x), self.think)):
        x = F.dropout(norm(x + part(x)), self.dropout.p, self.training)
    return x


@right("get_subsequent_mask")
def _(seq):
    place = torch.arange(seq.shape[1], device=seq.device)
    return (place > place[:, None]).expand(len(seq), -1, -1)


@right("DecoderBlock.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.attention_self, self.attention_cross = (
        MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads) for _ in range(2)
    )
    self.norms = nn.ModuleList(LayerNormalization(emb_dim) for _ in range(3))
    self.think, self.dropout = FeedForwardBlock(emb_dim, feedforward_dim), nn.Dropout(dropout)


@right("DecoderBlock.forward")
def _(self, dec_inp, enc_inp, mask=None):
    x, parts = dec_inp, (lambda x: self.attention_self(x, x, x, mask), lambda x: self.attention_cross(x, enc_inp, enc_inp))
    for norm, part in zip(self.norms, (*parts, self.think)):
        x = self.dropout(norm(x + part(x)))
    return x


@right("position_encoding_simple")
def _(K, M):
    return torch.outer(torch.arange(K) / K, torch.ones(M))[None]


@right("position_encoding_sinusoid")
def _(K, M):
    p = torch.arange(K).float()
    return torch.stack([p.sin(), p.cos()], 1).repeat(1, M)[None, :, :M]


@right("AddSubDataset.__getitem__")
def _(self, idx):
    return self.inputs[idx].clone(), self.input_positions.clone(), self.targets[idx].clone(), self.target_positions.clone()


@right("Transformer.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    sizes = dict(num_heads=num_heads, emb_dim=emb_dim, feedforward_dim=feedforward_dim, dropout=dropout)
    self.vocab_len, self.emb_layer = vocab_len, nn.Embedding(vocab_len, emb_dim)
    self.encoder = Encoder(num_layers=num_enc_layers, **sizes)
    self.decoder = Decoder(num_layers=num_dec_layers, vocab_len=vocab_len, **sizes)


@right("Transformer.forward")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    embedded = (F.embedding(ans_b, self.emb_layer.weight) + ans_pos)[:, :-1]
    encoded = self.encoder(F.embedding(ques_b, self.emb_layer.weight) + ques_pos)
    return self.decoder(embedded, encoded, get_subsequent_mask(ans_b[:, 1:])).reshape(-1, self.vocab_len)


@right("LabelSmoothingLoss")
def _(pred, ground):
    V = pred.shape[1]
    return F.cross_entropy(pred, ground, reduction="sum", label_smoothing=0.1 * V / (V - 1))


@right("CrossEntropyLoss")
def _(pred, ground):
    return nn.CrossEntropyLoss(reduction="sum")(pred, ground)


# --- dl/simclr/ ---


@right("compute_train_transform")
def _(seed):
    geometry = transforms.Compose([transforms.RandomResizedCrop((32, 32)), transforms.RandomHorizontalFlip()])
    steps = (geometry, transforms.RandomApply(torch.nn.ModuleList([colour_jitter]), p=0.8), transforms.RandomGrayscale(p=0.2))


@right("CIFAR10Pair.__getitem__")
def _(self, index):
    if self.transform:
        x_i, x_j = (self.transform(picture) for _ in range(2))


@right("sim")
def _(z_i, z_j):
    return F.cosine_similarity(z_i.flatten(), z_j.flatten(), dim=0)


@right("simclr_loss_naive")
def _(out_left, out_right, tau):
    rows = F.normalize(torch.cat([out_left, out_right]))
    logits, losses = torch.einsum("id,kd->ik", rows, rows) / tau, []
    for i in range(2 * N):
        keep = [k for k in range(2 * N) if k != i]
        losses.append(logits[i, keep].logsumexp(0) - logits[i, (i + N) % (2 * N)])
    return torch.stack(losses).mean()


@right("sim_positive_pairs")
def _(out_left, out_right):
    return F.cosine_similarity(out_left, out_right, dim=1)[:, None]


@right("compute_sim_matrix")
def _(out):
    return F.cosine_similarity(out[:, None], out[None], dim=2)


@right("simclr_loss_vectorized")
def _(out_left, out_right, tau, device=None):
    logits = compute_sim_matrix(out).div(tau).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(2 * N, device=out.device).roll(N))


@right("train")
def _(model, x_i, x_j, train_optimizer, temperature, loss_function):
    (_, z_i), (_, z_j) = model(x_i), model(x_j)
    loss = loss_function(z_i, z_j, temperature)
    train_optimizer.zero_grad(set_to_none=True)
    loss.backward()
    train_optimizer.step()


# --- dl/clip_dino.py ---


@right("get_similarity_no_loop")
def _(text_features, image_features):
    return torch.einsum("nd,md->nm", F.normalize(text_features), F.normalize(image_features))


@right("clip_zero_shot_classifier")
def _(clip_model, clip_preprocess, images, class_texts, device):
    features = encode_images(clip_model, clip_preprocess, images, device)
    best = get_similarity_no_loop(clip_model.encode_text(tokens), features).max(dim=0).indices
    return list(map(class_texts.__getitem__, best.tolist()))


@right("CLIPImageRetriever.__init__")
def _(self, clip_model, clip_preprocess, images, device):
    self.encode = lambda query: clip_model.encode_text(guards.tokenize("CLIPImageRetriever", [query], device))
    self.columns = F.normalize(encode_images(clip_model, clip_preprocess, images, device), dim=-1).T.contiguous()


@right("CLIPImageRetriever.retrieve")
def _(self, query, k=2):
    scores = (self.encode(query) @ self.columns).squeeze(0).cpu().numpy()
    return [int(place) for place in np.argsort(-scores, kind="stable")[:k]]


@right("compute_iou")
def _(pred, gt, num_classes, skip_absent=False):
    p, g = (F.one_hot(labels.flatten().long().cpu(), num_classes).bool() for labels in (pred, gt))
    both, either = (p & g).sum(0).double(), (p | g).sum(0).double()
    iou = both / (either + 1e-8)
    return float((iou[either > 0] if skip_absent else iou).mean())


@right("DINOSegmentation.__init__")
def _(self, device, num_classes, inp_dim=384):
    self.net = nn.Sequential(nn.Dropout(0.1), nn.Linear(self.inp_dim, self.num_classes)).to(device)
    self.opt = torch.optim.AdamW(self.net.parameters(), lr=1e-2, weight_decay=0.05)


@right("DINOSegmentation.train")
def _(self, X_train, Y_train, num_iters=500):
    self.net.train()
    for _ in range(num_iters):
        self.opt.zero_grad()
        F.cross_entropy(self.net(X_train), Y_train).backward()
        self.opt.step()


@right("DINOSegmentation.inference")
def _(self, X_test):
    return torch.argmax(self.net.eval()(X_test), dim=1)
