"""All exercises once, in the style of somebody who writes loops: one step after the other, textbook names, lists."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from tests.variants import Variants

VARIANTS = Variants()
right = VARIANTS.right


# --- rnn_lstm_captioning.py ---


@right("rnn_step_forward")
def _(x, prev_h, Wx, Wh, b):
    h = torch.tanh(torch.mm(x, Wx) + torch.mm(prev_h, Wh) + b)
    return h, {"x": x, "before": prev_h, "Wx": Wx, "Wh": Wh, "h": h}


@right("rnn_step_backward")
def _(dnext_h, cache):
    da = dnext_h * (1 - cache["h"] * cache["h"])
    dx, dh = da.mm(cache["Wx"].t()), da.mm(cache["Wh"].t())
    return [dx, dh, cache["x"].t().mm(da), cache["before"].t().mm(da), da.sum(0)]


@right("rnn_forward")
def _(x, h0, Wx, Wh, b):
    h, states, caches = h0, [], []
    for t in range(x.shape[1]):
        h, cache = rnn_step_forward(x[:, t, :], h, Wx, Wh, b)
        states.append(h)
        caches.append(cache)
    return torch.stack(states, dim=1), caches


@right("rnn_backward")
def _(dh, cache):
    dx, flow, totals = [], torch.zeros_like(dh[:, 0]), None
    for t in range(len(cache) - 1, -1, -1):
        dx_t, flow, *weights = rnn_step_backward(dh[:, t] + flow, cache[t])
        dx.insert(0, dx_t)
        totals = weights if totals is None else [total + more for total, more in zip(totals, weights)]
    return [torch.stack(dx, dim=1), flow, *totals]


@right("WordEmbedding.forward")
def _(self, x):
    return self.W_embed[x.to(self.W_embed.device).long()]


@right("temporal_softmax_loss")
def _(x, y, ignore_index=None):
    total = 0
    for t in range(x.shape[1]):
        losses = F.cross_entropy(x[:, t], y[:, t], reduction="none")
        if ignore_index is not None:
            losses = losses * (y[:, t] != ignore_index)
        total = total + losses.sum()
    return total / x.shape[0]


@right("LSTM.step_forward")
def _(self, x, prev_h, prev_c):
    H = prev_h.shape[1]
    a = x.mm(self.Wx) + prev_h.mm(self.Wh) + self.b
    i, f, o = torch.sigmoid(a[:, :H]), torch.sigmoid(a[:, H : 2 * H]), torch.sigmoid(a[:, 2 * H : 3 * H])
    c = f * prev_c + i * torch.tanh(a[:, 3 * H :])
    return [o * torch.tanh(c), c]


@right("LSTM.forward")
def _(self, x, h0):
    h, c, states = h0, torch.zeros_like(h0), []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t, :], h, c)
        states.append(h)
    return torch.stack(states, dim=1)


@right("dot_product_attention")
def _(prev_h, A):
    N, H, h, w = A.shape
    answers, maps = [], []
    for n in range(N):
        cells = A[n].reshape(H, h * w)
        weights = F.softmax(prev_h[n] @ cells / math.sqrt(H), dim=0)
        answers.append(cells @ weights)
        maps.append(weights.reshape(h, w))
    return [torch.stack(answers), torch.stack(maps)]


@right("AttentionLSTM.step_forward")
def _(self, x, prev_h, prev_c, attn):
    H = prev_h.shape[1]
    a = x.mm(self.Wx) + prev_h.mm(self.Wh) + attn.mm(self.Wattn) + self.b
    i, f, o, g = a[:, :H], a[:, H : 2 * H], a[:, 2 * H : 3 * H], a[:, 3 * H :]
    c = torch.sigmoid(f) * prev_c + torch.sigmoid(i) * torch.tanh(g)
    return [torch.sigmoid(o) * torch.tanh(c), c]


@right("AttentionLSTM.forward")
def _(self, x, A):
    h = A.mean(dim=3).mean(dim=2)
    c, states = h, []
    for t in range(x.shape[1]):
        h, c = self.step_forward(x[:, t, :], h, c, dot_product_attention(h, A)[0])
        states.append(h)
    return torch.stack(states, dim=1)


@right("CaptioningRNN.__init__")
def _(self, word_to_idx, input_dim, wordvec_dim, hidden_dim, cell_type):
    self.output_projection = nn.Linear(hidden_dim, len(word_to_idx))
    if cell_type == "rnn":
        self.recurrent = RNN(wordvec_dim, hidden_dim)
    elif cell_type == "lstm":
        self.recurrent = LSTM(wordvec_dim, hidden_dim)
    else:
        self.recurrent = AttentionLSTM(wordvec_dim, hidden_dim)
    self.word_embedding = WordEmbedding(len(word_to_idx), wordvec_dim)
    self.feature_projection = nn.Linear(input_dim, hidden_dim)


@right("CaptioningRNN.forward")
def _(self, images, captions):
    captions = captions.to(next(self.recurrent.parameters()).device)
    captions_in, captions_out = captions[:, :-1], captions[:, 1:]
    hidden = self.recurrent(self.word_embedding(captions_in), self.project(images))
    return temporal_softmax_loss(self.output_projection(hidden), captions_out, ignore_index=self.ignore_index)


@right("CaptioningRNN.sample")
def _(self, images, max_length=15):
    start = self.project(images)
    captions = torch.full((len(start), max_length), self.word_to_idx[NULL], dtype=torch.long, device=start.device)
    word = torch.full((len(start), 1), self.word_to_idx[START], dtype=torch.long, device=start.device)
    h = start.mean(dim=(2, 3)) if self.cell_type == "attn" else start
    c, looks = (h if self.cell_type == "attn" else torch.zeros_like(h)), []
    for t in range(max_length):
        x = self.word_embedding(word)[:, 0]
        if self.cell_type == "rnn":
            h = self.recurrent.step_forward(x, h)
        elif self.cell_type == "lstm":
            h, c = self.recurrent.step_forward(x, h, c)
        else:
            attn, look = dot_product_attention(h, start)
            h, c = self.recurrent.step_forward(x, h, c, attn)
            looks.append(look)
        word = torch.argmax(self.output_projection(h), dim=1, keepdim=True)
        captions[:, t] = word[:, 0]
    if self.cell_type == "attn":
        return captions, torch.stack(looks, dim=1).cpu().float()
    return captions


# --- transformers.py ---


@right("generate_token_dict")
def _(vocab):
    token_dict = {}
    for word in vocab:
        token_dict[word] = len(token_dict)
    return token_dict


@right("prepocess_input_sequence")
def _(input_str, token_dict, spc_tokens):
    out = []
    for word in input_str.split():
        if word in spc_tokens:
            out.append(token_dict[word])
        else:
            for character in word:
                out.append(token_dict[character])
    return out


@right("scaled_dot_product_two_loop_single")
def _(query, key, value):
    K, M = query.shape
    scores = torch.zeros(K, K, dtype=query.dtype, device=query.device)
    for i in range(K):
        for j in range(K):
            scores[i, j] = torch.dot(query[i], key[j]) / math.sqrt(M)
    return F.softmax(scores, dim=1) @ value


@right("scaled_dot_product_two_loop_batch")
def _(query, key, value):
    rows = []
    for n in range(query.shape[0]):
        for i in range(query.shape[1]):
            weights = F.softmax(key[n] @ query[n, i] / math.sqrt(query.shape[2]), dim=0)
            rows.append(weights @ value[n])
    return torch.stack(rows).reshape(query.shape[0], query.shape[1], -1)


@right("scaled_dot_product_no_loop_batch")
def _(query, key, value, mask=None):
    scores = torch.bmm(query, key.transpose(1, 2)) / math.sqrt(query.shape[2])
    if mask is not None:
        scores = scores.masked_fill(mask, -1e9)
    weights = F.softmax(scores, dim=-1)
    return torch.bmm(weights, value), weights


@right("SelfAttention.__init__")
def _(self, dim_in, dim_q, dim_v):
    self.dim_q = dim_q
    self.w_query = xavier_linear(dim_in, dim_q)
    self.w_key = xavier_linear(dim_in, dim_q)
    self.w_value = xavier_linear(dim_in, dim_v)


@right("SelfAttention.forward")
def _(self, query, key, value, mask=None):
    q, k, v = self.w_query(query), self.w_key(key), self.w_value(value)
    y, weights = scaled_dot_product_no_loop_batch(q, k, v, mask)
    self.weights_softmax = weights.detach()
    return y


@right("MultiHeadAttention.__init__")
def _(self, num_heads, dim_in, dim_out):
    heads = []
    for _ in range(num_heads):
        heads.append(SelfAttention(dim_in, dim_out, dim_out))
    self.heads = nn.ModuleList(heads)
    self.linear = xavier_linear(dim_out * num_heads, dim_in)


@right("MultiHeadAttention.forward")
def _(self, query, key, value, mask=None):
    outputs = []
    for head in self.heads:
        outputs.append(head(query, key, value, mask))
    return self.linear(torch.cat(outputs, dim=2))


@right("LayerNormalization.__init__")
def _(self, emb_dim, epsilon=1e-10):
    self.eps = epsilon
    self.scale = nn.Parameter(torch.ones(emb_dim))
    self.shift = nn.Parameter(torch.zeros(emb_dim))


@right("LayerNormalization.forward")
def _(self, x):
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
    return self.scale * (x - mean) / torch.sqrt(variance + self.eps) + self.shift


@right("FeedForwardBlock.__init__")
def _(self, inp_dim, hidden_dim_feedforward):
    self.fc1 = xavier_linear(inp_dim, hidden_dim_feedforward)
    self.relu = nn.ReLU()
    self.fc2 = xavier_linear(hidden_dim_feedforward, inp_dim)


@right("FeedForwardBlock.forward")
def _(self, x):
    return self.fc2(self.relu(self.fc1(x)))


@right("EncoderBlock.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.MultiHeadBlock = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.layer_norm1 = LayerNormalization(emb_dim)
    self.layer_norm2 = LayerNormalization(emb_dim)
    self.mlp = FeedForwardBlock(emb_dim, feedforward_dim)
    self.dropout = nn.Dropout(dropout)


@right("EncoderBlock.forward")
def _(self, x):
    x = self.dropout(self.layer_norm1(self.MultiHeadBlock(x, x, x) + x))
    return self.dropout(self.layer_norm2(self.mlp(x) + x))


@right("get_subsequent_mask")
def _(seq):
    N, K = seq.shape
    mask = torch.zeros(N, K, K, dtype=torch.bool, device=seq.device)
    for i in range(K):
        mask[:, i, i + 1 :] = True
    return mask


@right("DecoderBlock.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    self.attention_self = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.attention_cross = MultiHeadAttention(num_heads, emb_dim, emb_dim // num_heads)
    self.feed_forward = FeedForwardBlock(emb_dim, feedforward_dim)
    self.layer_norm1 = LayerNormalization(emb_dim)
    self.layer_norm2 = LayerNormalization(emb_dim)
    self.layer_norm3 = LayerNormalization(emb_dim)
    self.dropout = nn.Dropout(dropout)


@right("DecoderBlock.forward")
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.layer_norm1(self.attention_self(dec_inp, dec_inp, dec_inp, mask) + dec_inp))
    x = self.dropout(self.layer_norm2(self.attention_cross(x, enc_inp, enc_inp) + x))
    return self.dropout(self.layer_norm3(self.feed_forward(x) + x))


@right("position_encoding_simple")
def _(K, M):
    y = torch.zeros(1, K, M)
    for n in range(K):
        y[0, n, :] = n / K
    return y


@right("position_encoding_sinusoid")
def _(K, M):
    y = torch.zeros(1, K, M)
    for p in range(K):
        for m in range(M):
            angle = p / 10000 ** math.floor(2 * (m // 2) / M)
            y[0, p, m] = math.sin(angle) if m % 2 == 0 else math.cos(angle)
    return y


@right("AddSubDataset.__getitem__")
def _(self, idx):
    return [self.inputs[idx], self.input_positions, self.targets[idx], self.target_positions]


@right("Transformer.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    self.decoder = Decoder(num_heads, emb_dim, feedforward_dim, num_dec_layers, dropout, vocab_len)
    self.encoder = Encoder(num_heads, emb_dim, feedforward_dim, num_enc_layers, dropout)
    self.emb_layer = nn.Embedding(vocab_len, emb_dim)


@right("Transformer.forward")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    ans_in = ans_b[:, :-1]
    memory = self.encoder(self.emb_layer(ques_b) + ques_pos)
    out = self.decoder(self.emb_layer(ans_in) + ans_pos[:, :-1], memory, get_subsequent_mask(ans_in))
    return out.reshape(-1, out.shape[2])


@right("LabelSmoothingLoss")
def _(pred, ground):
    total = 0
    for row, true in zip(F.log_softmax(pred, dim=1), ground):
        other = (row.sum() - row[true]) / (len(row) - 1)
        total = total - 0.9 * row[true] - 0.1 * other
    return total


@right("CrossEntropyLoss")
def _(pred, ground):
    log_probabilities = F.log_softmax(pred, dim=1)
    return -log_probabilities[torch.arange(len(ground), device=pred.device), ground].sum()


# --- dl/simclr/ ---


@right("compute_train_transform")
def _(seed):
    steps = []
    steps.append(transforms.RandomResizedCrop(32))
    steps.append(transforms.RandomHorizontalFlip(0.5))
    steps.append(transforms.RandomApply([colour_jitter], 0.8))
    steps.append(transforms.RandomGrayscale(0.2))


@right("CIFAR10Pair.__getitem__")
def _(self, index):
    if self.transform is not None:
        x_i = self.transform(picture)
        x_j = self.transform(picture)


@right("sim")
def _(z_i, z_j):
    return (z_i * z_j).sum() / (torch.norm(z_i) * torch.norm(z_j))


@right("simclr_loss_naive")
def _(out_left, out_right, tau):
    out = torch.cat([out_left, out_right], dim=0)
    total = 0
    for i in range(2 * N):
        j = i + N if i < N else i - N
        others = torch.stack([sim(out[i], out[k]) / tau for k in range(2 * N) if k != i])
        total = total + torch.logsumexp(others, dim=0) - sim(out[i], out[j]) / tau
    return total / (2 * N)


@right("sim_positive_pairs")
def _(out_left, out_right):
    rows = []
    for left, right in zip(out_left, out_right):
        rows.append(sim(left, right))
    return torch.stack(rows).reshape(-1, 1)


@right("compute_sim_matrix")
def _(out):
    lengths = torch.linalg.norm(out, dim=1, keepdim=True)
    return torch.mm(out, out.t()) / (lengths @ lengths.t())


@right("simclr_loss_vectorized")
def _(out_left, out_right, tau, device=None):
    logits = compute_sim_matrix(out) / tau
    itself = torch.eye(2 * N, dtype=torch.bool, device=out.device)
    others = logits.masked_fill(itself, float("-inf"))
    positives = torch.cat([logits.diagonal(N), logits.diagonal(-N)])
    return (torch.logsumexp(others, dim=1) - positives).mean()


@right("train")
def _(model, x_i, x_j, train_optimizer, temperature, loss_function):
    train_optimizer.zero_grad()
    outputs = []
    for x in (x_i, x_j):
        outputs.append(model(x)[1])
    loss = loss_function(outputs[0], outputs[1], temperature)
    loss.backward()
    train_optimizer.step()


# --- dl/clip_dino.py ---


@right("get_similarity_no_loop")
def _(text_features, image_features):
    text = text_features / text_features.norm(dim=1, keepdim=True).clamp(min=1e-12)
    image = image_features / image_features.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return torch.mm(text, image.t())


@right("clip_zero_shot_classifier")
def _(clip_model, clip_preprocess, images, class_texts, device):
    text_features = clip_model.encode_text(tokens)
    image_features = encode_images(clip_model, clip_preprocess, images, device)
    names = []
    for row in get_similarity_no_loop(image_features, text_features):
        names.append(class_texts[int(row.argmax())])
    return names


@right("CLIPImageRetriever.__init__")
def _(self, clip_model, clip_preprocess, images, device):
    self.model = clip_model
    self.where = device
    self.features = encode_images(clip_model, clip_preprocess, images, device)


@right("CLIPImageRetriever.retrieve")
def _(self, query, k=2):
    text = self.model.encode_text(guards.tokenize("retrieve", [query], self.where))
    left, found = get_similarity_no_loop(text, self.features)[0].tolist(), []
    while len(found) < min(k, len(left)):
        best = max((score, -place) for place, score in enumerate(left) if place not in found)
        found.append(-best[1])
    return found


@right("compute_iou")
def _(pred, gt, num_classes, skip_absent=False):
    ious = []
    for c in range(num_classes):
        both = ((pred == c) & (gt == c)).sum().item()
        either = ((pred == c) | (gt == c)).sum().item()
        if either > 0 or not skip_absent:
            ious.append(both / (either + 1e-8))
    return sum(ious) / len(ious)


@right("DINOSegmentation.__init__")
def _(self, device, num_classes, inp_dim=384):
    self.model = nn.Linear(self.inp_dim, self.num_classes).to(device)
    self.optim = torch.optim.Adam(self.model.parameters(), lr=5e-3, weight_decay=1e-4)
    self.criterion = nn.CrossEntropyLoss()


@right("DINOSegmentation.train")
def _(self, X_train, Y_train, num_iters=500):
    self.model.train()
    for _ in range(num_iters):
        self.optim.zero_grad()
        loss = self.criterion(self.model(X_train), Y_train)
        loss.backward()
        self.optim.step()


@right("DINOSegmentation.inference")
def _(self, X_test):
    self.model.eval()
    return self.model(X_test).argmax(dim=-1)
