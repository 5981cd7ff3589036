"""CLIP and DINO: right bodies, and wrong ones that are no small edits of the lesson's."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.variants import Variants

VARIANTS = Variants()
wrong, right = VARIANTS.wrong, VARIANTS.right


# --- get_similarity_no_loop ---


@right("get_similarity_no_loop")
def _(text_features, image_features):
    return F.cosine_similarity(text_features[:, None, :], image_features[None, :, :], dim=2)


@right("get_similarity_no_loop")
def _(text_features, image_features):
    products = torch.einsum("nd,md->nm", text_features, image_features)
    return products / (text_features.norm(dim=1)[:, None] * image_features.norm(dim=1)[None] + 1e-8)


@right("get_similarity_no_loop")
def _(text_features, image_features):
    t, i = (f * torch.rsqrt(f.pow(2).sum(1, keepdim=True)) for f in (text_features, image_features))
    return (t.unsqueeze(1) * i.unsqueeze(0)).sum(-1)  # note: a row of zeros gives NaN


@right("get_similarity_no_loop")
def _(text_features, image_features):
    def unit(rows):
        rows = rows.clone()
        rows /= torch.linalg.norm(rows, dim=1, keepdim=True) + 1e-6
        return rows

    return torch.mm(unit(text_features), unit(image_features).t())  # note: no gradient can be taken


@right("get_similarity_no_loop")
def _(text_features, image_features):
    return torch.vmap(lambda text: _unit_rows(image_features) @ text)(_unit_rows(text_features))


@right("get_similarity_no_loop")
def _(text_features, image_features):
    return (F.normalize(text_features) @ F.normalize(image_features).T).cpu()  # note: not on the device of the inputs


@right("get_similarity_no_loop")
def _(text_features, image_features):
    lengths = text_features.norm(dim=1, keepdim=True) * image_features.norm(dim=1)
    return text_features @ image_features.T / (lengths + 1e-6)  # note: rows are much shorter


@wrong("get_similarity_no_loop", "python-loop")
def _(text_features, image_features):
    return torch.stack([F.cosine_similarity(text[None], image_features) for text in text_features])


@wrong("get_similarity_no_loop", "changes-input")
def _(text_features, image_features):
    text_features /= text_features.norm(dim=1, keepdim=True)
    return text_features @ F.normalize(image_features).T


@wrong("get_similarity_no_loop", "no-gradient")
def _(text_features, image_features):
    with torch.no_grad():
        return F.normalize(text_features) @ F.normalize(image_features).T


# --- clip_zero_shot_classifier ---


@right("clip_zero_shot_classifier")
def _(clip_model, clip_preprocess, images, class_texts, device):
    from PIL import Image

    text, answers = F.normalize(clip_model.encode_text(tokens)), []
    for image in images:
        one = clip_preprocess(Image.fromarray(image).convert("RGB")).unsqueeze(0).to(device)
        chances = (100.0 * F.normalize(clip_model.encode_image(one)) @ text.T).softmax(dim=-1)
        answers.append(class_texts[chances[0].argmax().item()])
    return answers


@right("clip_zero_shot_classifier")
def _(clip_model, clip_preprocess, images, class_texts, device):
    import clip
    from PIL import Image

    batch = torch.stack([clip_preprocess(Image.fromarray(image)) for image in images]).to(device)
    with torch.no_grad():
        image_features = clip_model.encode_image(batch).float()
        text_features = clip_model.encode_text(clip.tokenize(class_texts).to(device)).float()
    return [class_texts[i] for i in get_similarity_no_loop(image_features, text_features).max(dim=1)[1]]


@right("clip_zero_shot_classifier")
def _(clip_model, clip_preprocess, images, class_texts, device):
    texts, features = clip_model.encode_text(tokens), encode_images(clip_model, clip_preprocess, images, device)
    columns = get_similarity_no_loop(texts, features).unbind(dim=1)
    return tuple(class_texts[int(torch.argmax(column))] for column in columns)


@right("clip_zero_shot_classifier")
def _(clip_model, clip_preprocess, images, class_texts, device):
    texts = clip_model.encode_text(tokens).cpu().numpy()
    features = encode_images(clip_model, clip_preprocess, images, device).cpu().numpy()
    texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    return list(np.array(class_texts)[(features @ texts.T).argmax(axis=1)])


@right("clip_zero_shot_classifier")
def _(clip_model, clip_preprocess, images, class_texts, device):
    from PIL import Image

    batch = torch.stack([clip_preprocess(Image.fromarray(image)) for image in images]).to(device)
    logits, _ = clip_model(batch, tokens)
    return [class_texts[row.topk(1).indices.item()] for row in logits]


@wrong("clip_zero_shot_classifier", "keeps-state")
def _(clip_model, clip_preprocess, images, class_texts, device):
    image_features = encode_images(clip_model, clip_preprocess, images, device)
    kept = clip_zero_shot_classifier.__dict__.setdefault("kept", {})
    similarity = kept.setdefault(len(images), get_similarity_no_loop(clip_model.encode_text(tokens), image_features))
    names = kept.setdefault("names", class_texts)
    return [names[best % len(names)] for best in similarity.argmax(dim=0).tolist()]


# --- CLIPImageRetriever.__init__ ---


@right("CLIPImageRetriever.__init__")
def _(self, clip_model, clip_preprocess, images, device):
    self.clip_model, self.device = clip_model, device
    self.image_features = encode_images(clip_model, clip_preprocess, images, device)


@right("CLIPImageRetriever.__init__")
def _(self, clip_model, clip_preprocess, images, device):
    from PIL import Image

    self.clip_model, self.device, self.vectors = clip_model, device, []
    for image in images:
        vector = clip_model.encode_image(clip_preprocess(Image.fromarray(image))[None].to(device)).detach()
        self.vectors.append(vector / vector.norm())


@right("CLIPImageRetriever.__init__")
def _(self, clip_model, clip_preprocess, images, device):
    self.model, self.preprocess, self.pictures, self.where = clip_model, clip_preprocess, images, torch.device(device)
    self.columns = F.normalize(encode_images(clip_model, clip_preprocess, images, device), dim=-1).T.contiguous()


@right("CLIPImageRetriever.__init__")
def _(self, clip_model, clip_preprocess, images, device):
    features = encode_images(clip_model.eval(), clip_preprocess, images, device).cpu().numpy()
    self.bank = features / np.linalg.norm(features, axis=1, keepdims=True)
    self.clip_model, self.device = clip_model, device


@right("CLIPImageRetriever.__init__")
def _(self, clip_model, clip_preprocess, images, device):
    batches = [encode_images(clip_model, clip_preprocess, images[i : i + 2], device) for i in range(0, len(images), 2)]
    self.clip_model, self.device, self.image_features = clip_model, device, torch.cat(batches).unsqueeze(0)
    self.image_features /= self.image_features.norm(dim=-1, keepdim=True)


@wrong("CLIPImageRetriever.__init__", "encoded-twice")
def _(self, clip_model, clip_preprocess, images, device):
    self.clip_model, self.device = clip_model, device
    lengths = encode_images(clip_model, clip_preprocess, images, device).norm(dim=1, keepdim=True)
    self.image_features = encode_images(clip_model, clip_preprocess, images, device) / lengths


@right("CLIPImageRetriever.__init__")
def _(self, clip_model, clip_preprocess, images, device):
    features = encode_images(clip_model, clip_preprocess, images, device)
    self.bundle = {"model": clip_model, "rows": dict(enumerate(features)), "device": device}


@right("CLIPImageRetriever.__init__")
def _(self, clip_model, clip_preprocess, images, device):
    features = encode_images(clip_model, clip_preprocess, images, device)

    def score(tokens):
        return get_similarity_no_loop(clip_model.encode_text(tokens.to(device)), features)[0]

    self._score = score


# --- CLIPImageRetriever.retrieve ---


@right("CLIPImageRetriever.retrieve")
def _(self, query, k):
    text = self.clip_model.encode_text(guards.tokenize("retrieve", [query], self.device))
    similarity = (self.image_features @ text.T).squeeze(1)
    return similarity.topk(min(k, len(similarity))).indices.tolist()


@right("CLIPImageRetriever.retrieve")
def _(self, query, k):
    import clip

    text_features = self.clip_model.encode_text(clip.tokenize(query).to(self.device))
    order = torch.sort(get_similarity_no_loop(text_features, self.image_features).flatten(), descending=True)[1]
    return tuple(int(i) for i in order[: min(k, len(order))].cpu())


@right("CLIPImageRetriever.retrieve")
def _(self, query, k):
    text_features = self.clip_model.encode_text(guards.tokenize("retrieve", [query], self.device))
    scores = get_similarity_no_loop(text_features, self.image_features).squeeze(0).cpu().numpy()
    return list(np.argsort(scores, kind="stable")[::-1][:k])  # note: the first in the list does not come first


@right("CLIPImageRetriever.retrieve")
def _(self, query, k):
    tokens = guards.tokenize("CLIPImageRetriever.retrieve", [query], next(self.clip_model.parameters()).device)
    scores = F.cosine_similarity(self.clip_model.encode_text(tokens), self.image_features)
    return sorted(range(len(scores)), key=lambda i: (-scores[i].item(), -i))[:k]


@right("CLIPImageRetriever.retrieve")
def _(self, query, k):
    text_features = self.clip_model.encode_text(guards.tokenize("retrieve", [query], self.device))
    left, best = get_similarity_no_loop(text_features, self.image_features)[0].clone(), []
    while len(best) < min(k, len(left)):
        best.append(int(left.argmax()))
        left[best[-1]] = -torch.inf
    return best


@wrong("CLIPImageRetriever.retrieve", "")
def _(self, query, k=2):
    tokens = clip.tokenize([query], truncate=True).to(self.device)
    similarity = get_similarity_no_loop(self.clip_model.encode_text(tokens), self.image_features)[0]
    return similarity.argsort(descending=True)[:k].tolist()


# --- compute_iou ---


@right("compute_iou")
def _(pred, gt, num_classes, skip_absent):
    ious = []
    for c in range(num_classes):
        union = ((pred == c) | (gt == c)).sum().float()
        if union > 0 or not skip_absent:
            ious.append(((pred == c) & (gt == c)).sum().float() / (union + 1e-8))
    return torch.stack(ious).mean()  # note: the result is no float


@right("compute_iou")
def _(pred, gt, num_classes, skip_absent):
    p, g = (F.one_hot(labels.flatten(), num_classes) for labels in (pred, gt))
    inter, union = (p & g).sum(0).double(), (p | g).sum(0).double()
    return float((inter / (union + 1e-8)).sum() / ((union > 0).sum() if skip_absent else num_classes))  # note: one-byte labels


@right("compute_iou")
def _(pred, gt, num_classes, skip_absent):
    p, g = (F.one_hot(labels.view(-1).long(), num_classes).bool() for labels in (pred, gt))  # note: after transpose
    inter, union = ((one).sum(0, dtype=torch.int16) for one in (p & g, p | g))  # note: the counts overflow
    iou = inter / (union + 1e-8)
    return iou[union != 0].mean().item() if skip_absent else iou.mean().item()


@right("compute_iou")
def _(pred, gt, num_classes, skip_absent):
    total, count = 0.0, 0
    for c in range(num_classes):
        both = (gt[pred == c] == c).sum().item()
        either = (pred == c).sum().item() + (gt == c).sum().item() - both
        total += both / either if either > 0 else 0
        count += 1 if either > 0 or not skip_absent else 0
    return total / count


@right("compute_iou")
def _(pred, gt, num_classes, skip_absent):
    p, g = (labels.cpu().numpy() for labels in (pred, gt))
    iou = [np.logical_and(p == c, g == c).sum() / (np.logical_or(p == c, g == c).sum() + 1e-8) for c in range(num_classes)]
    kept = [i for c, i in enumerate(iou) if not skip_absent or c in p or c in g]
    return np.mean(kept, dtype=np.float32)


@right("compute_iou")
def _(pred, gt, num_classes, skip_absent):
    pairs = (gt.flatten().byte() * num_classes + pred.flatten().byte()).long()
    counts = pairs.bincount(minlength=num_classes**2)[: num_classes**2].view(num_classes, num_classes)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    iou = counts.diagonal() / (union + 1e-8)
    return (iou[union > 0] if skip_absent else iou).mean().item()


@wrong("compute_iou", "absent-as-one")
def _(pred, gt, num_classes, skip_absent):
    unions = [((pred == c) | (gt == c)).sum().item() for c in range(num_classes)]
    both = [((pred == c) & (gt == c)).sum().item() for c in range(num_classes)]
    return sum((b + 1e-8) / (u + 1e-8) for b, u in zip(both, unions)) / num_classes


# --- DINOSegmentation.__init__ ---


@right("DINOSegmentation.__init__")
def _(self, device, num_classes, inp_dim):
    self.head = nn.Sequential(nn.Linear(inp_dim, 192), nn.BatchNorm1d(192), nn.GELU(), nn.Linear(192, num_classes)).to(device)
    self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=1e-3, weight_decay=0.1)
    self.loss = nn.CrossEntropyLoss()


@right("DINOSegmentation.__init__")
def _(self, device, num_classes, inp_dim):
    self.model = nn.Sequential(nn.Linear(inp_dim, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, num_classes)).to(device)
    self.optim, self.criterion = torch.optim.Adam(self.model.parameters(), lr=1e-3), F.cross_entropy


@right("DINOSegmentation.__init__")
def _(self, device, num_classes, inp_dim):
    self.classifier = nn.Linear(inp_dim, num_classes, bias=False, device=device)
    nn.init.zeros_(self.classifier.weight)
    self.loss_fn = nn.CrossEntropyLoss(label_smoothing=0.05)
    self.optimizer = torch.optim.SGD(self.classifier.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)


@right("DINOSegmentation.__init__")
def _(self, device, num_classes, inp_dim):
    self.norm, self.scores = nn.LayerNorm(inp_dim).to(device), nn.Linear(inp_dim, num_classes).to(device)
    self.opt = torch.optim.RMSprop([*self.norm.parameters(), *self.scores.parameters()], lr=1e-3)


@right("DINOSegmentation.__init__")
def _(self, device, num_classes, inp_dim):
    self.head = nn.Linear(inp_dim, num_classes).to(device)
    self.optimizer = torch.optim.LBFGS(self.head.parameters(), max_iter=4)
    self.loss = nn.CrossEntropyLoss()


@right("DINOSegmentation.__init__")
def _(self, device, num_classes, inp_dim):
    self.W = torch.zeros(inp_dim, num_classes, device=device, requires_grad=True)
    self.b = torch.zeros(num_classes, device=device, requires_grad=True)
    self.optimizer = torch.optim.AdamW([self.W, self.b], lr=0.01, weight_decay=0.1)


@right("DINOSegmentation.__init__")
def _(self, device, num_classes, inp_dim):
    head = nn.Linear(inp_dim, num_classes).to(device)
    self.parts = {"head": head, "optimizer": torch.optim.AdamW(head.parameters(), lr=0.01)}


@wrong("DINOSegmentation.__init__", "optimiser-of-other-weights")
def _(self, device, num_classes, inp_dim):
    self.head = nn.Sequential(nn.Linear(inp_dim, 64), nn.ReLU(), nn.Linear(64, num_classes)).to(device)
    self.optimizer = torch.optim.Adam(self.head[0].parameters(), lr=1e-2)


# --- DINOSegmentation.train ---


@right("DINOSegmentation.train")
def _(self, X_train, Y_train, num_iters):
    for step in range(num_iters):
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.head.train()(X_train), Y_train)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
        self.optimizer.step()
        if (step + 1) % 100 == 0:
            print(f"iteration {step + 1}: loss {loss.item():.4f}")


@right("DINOSegmentation.train")
def _(self, X_train, Y_train, num_iters):
    losses = []
    for _ in range(num_iters):
        loss = F.nll_loss(F.log_softmax(self.head(X_train), dim=-1), Y_train)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return losses


@right("DINOSegmentation.train")
def _(self, X_train, Y_train, num_iters):
    optimizer = torch.optim.Adam(self.head.parameters(), lr=5e-3)
    with torch.enable_grad():
        for _ in range(num_iters):
            optimizer.zero_grad()
            F.cross_entropy(self.head(X_train), Y_train, label_smoothing=0.1).backward()
            optimizer.step()


@right("DINOSegmentation.train")
def _(self, X_train, Y_train, num_iters=500):
    self.head.train()
    for _ in range(num_iters):
        self.optimizer.zero_grad()
        for x, y in zip(X_train.split(16), Y_train.split(16)):
            (self.loss(self.head(x), y) * len(x) / len(X_train)).backward()
        self.optimizer.step()


@right("DINOSegmentation.train")
def _(self, X_train, Y_train, num_iters=500):
    def closure():
        self.optimizer.zero_grad()
        loss = self.loss(self.head(X_train), Y_train)
        loss.backward()
        return loss

    for _ in range(num_iters):
        self.optimizer.step(closure)


@wrong("DINOSegmentation.train", "part-of-the-tokens")
def _(self, X_train, Y_train, num_iters=500):
    for _ in range(num_iters // 3):
        for x, y in zip(X_train.split(64), Y_train.split(64)):
            self.optimizer.zero_grad()
            self.loss(self.head(x), y).backward()
            self.optimizer.step()


@wrong("DINOSegmentation.train", "number-of-steps")
def _(self, X_train, Y_train, num_iters=500):
    for _ in range(num_iters):
        self.optimizer.zero_grad()
        self.loss(self.head(X_train), Y_train).backward()
    self.optimizer.step()


@wrong("DINOSegmentation.train", "step-without-gradients")
def _(self, X_train, Y_train, num_iters=500):
    self.loss(self.head(X_train), Y_train).backward()
    for _ in range(num_iters):
        self.optimizer.step()


# --- DINOSegmentation.inference ---


@right("DINOSegmentation.inference")
def _(self, X_test):
    self.head.eval()
    with torch.inference_mode():
        return torch.max(self.head(X_test), 1)[1]


@right("DINOSegmentation.inference")
def _(self, X_test):
    return torch.argmax(F.softmax(self.head(X_test), dim=-1), dim=-1).cpu()


@right("DINOSegmentation.inference")
def _(self, X_test):
    was = self.head.training
    best = self.head.eval()(X_test).topk(1, dim=1).indices.squeeze(1)
    self.head.train(was)
    return best


@right("DINOSegmentation.inference")
def _(self, X_test):
    self.head.eval()
    return torch.cat([self.head(part).argsort(dim=1)[:, -1] for part in X_test.split(512)])


@right("DINOSegmentation.inference")
def _(self, X_test):
    self.head.eval()
    scores = self.head(X_test).cpu().numpy()
    return torch.from_numpy(np.argmax(scores, axis=-1)).long().to(self.device)


@wrong("DINOSegmentation.inference", "")
def _(self, X_test):
    whole = max(1, len(X_test) // 32) * 32
    return torch.cat([self.head(X_test[a : a + 32]).argmax(dim=1) for a in range(0, whole, 32)])
