"""CLIP and DINO: wrong and right bodies."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.variants import Variants

VARIANTS = Variants()
wrong, right = VARIANTS.wrong, VARIANTS.right


# --- get_similarity_no_loop ---


@right("get_similarity_no_loop")
def _(text_features, image_features):
    text = text_features / text_features.norm(dim=-1, keepdim=True)
    image = image_features / image_features.norm(dim=-1, keepdim=True)
    return text @ image.T


@right("get_similarity_no_loop")
def _(text_features, image_features):
    return F.cosine_similarity(text_features[:, None, :], image_features[None, :, :], dim=2)


@right("get_similarity_no_loop")
def _(text_features, image_features):
    products = torch.einsum("nd,md->nm", text_features, image_features)
    lengths = text_features.norm(dim=1)[:, None] * image_features.norm(dim=1)[None]
    return products / (lengths + 1e-8)


@right("get_similarity_no_loop")
def _(text_features, image_features):
    t = text_features * torch.rsqrt(text_features.pow(2).sum(1, keepdim=True))
    i = image_features * torch.rsqrt(image_features.pow(2).sum(1, keepdim=True))
    return (t.unsqueeze(1) * i.unsqueeze(0)).sum(-1)


@wrong("get_similarity_no_loop", "dot-product")
def _(text_features, image_features):
    return torch.matmul(text_features, image_features.t())


@wrong("get_similarity_no_loop", "python-loop")
def _(text_features, image_features):
    rows = []
    for text in text_features:
        rows.append(F.cosine_similarity(text[None], image_features))
    return torch.stack(rows)


@wrong("get_similarity_no_loop", "texts-not-normalised")
def _(text_features, image_features):
    image = image_features / image_features.norm(dim=1, keepdim=True)
    return text_features @ image.T


@wrong("get_similarity_no_loop", "axis-of-the-batch")
def _(text_features, image_features):
    text = text_features / text_features.norm(dim=0)
    image = image_features / image_features.norm(dim=0)
    return text @ image.T


@wrong("get_similarity_no_loop", "one-length-for-all")
def _(text_features, image_features):
    return text_features @ image_features.T / (text_features.norm() * image_features.norm())


@wrong("get_similarity_no_loop", "transposed")
def _(text_features, image_features):
    return F.normalize(image_features) @ F.normalize(text_features).T


@wrong("get_similarity_no_loop", "softmax-of-scaled")
def _(text_features, image_features):
    return (100.0 * F.normalize(text_features) @ F.normalize(image_features).T).softmax(dim=-1)


@wrong("get_similarity_no_loop", "changes-input")
def _(text_features, image_features):
    text_features /= text_features.norm(dim=1, keepdim=True)
    image_features /= image_features.norm(dim=1, keepdim=True)
    return text_features @ image_features.T


@wrong("get_similarity_no_loop", "no-gradient")
def _(text_features, image_features):
    with torch.no_grad():
        return F.normalize(text_features) @ F.normalize(image_features).T


@wrong("get_similarity_no_loop", "dtype-not-followed")
def _(text_features, image_features):
    return F.normalize(text_features).float() @ F.normalize(image_features).float().T


@wrong("get_similarity_no_loop", "negative-cut-off")
def _(text_features, image_features):
    return torch.clamp(F.normalize(text_features) @ F.normalize(image_features).T, 0, 1)


@wrong("get_similarity_no_loop", "device-not-followed")
def _(text_features, image_features):
    return (F.normalize(text_features) @ F.normalize(image_features).T).cpu()


# --- clip_zero_shot_classifier ---


@right("clip_zero_shot_classifier")
def _(clip_model, clip_preprocess, images, class_texts, device):
    from PIL import Image

    text = clip_model.encode_text(tokens)
    text = text / text.norm(dim=-1, keepdim=True)
    answers = []
    for image in images:
        one = clip_preprocess(Image.fromarray(image).convert("RGB")).unsqueeze(0).to(device)
        feature = clip_model.encode_image(one)
        feature = feature / feature.norm(dim=-1, keepdim=True)
        chances = (100.0 * feature @ text.T).softmax(dim=-1)
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
    best = get_similarity_no_loop(image_features, text_features).max(dim=1)[1]
    return [class_texts[i] for i in best]


@right("clip_zero_shot_classifier")
def _(clip_model, clip_preprocess, images, class_texts, device):
    similarity = get_similarity_no_loop(
        clip_model.encode_text(tokens), encode_images(clip_model, clip_preprocess, images, device)
    )
    return list(map(lambda column: class_texts[int(torch.argmax(column))], similarity.unbind(dim=1)))


@wrong("clip_zero_shot_classifier", "best-picture-of-each-text")
def _(clip_model, clip_preprocess, images, class_texts, device):
    image_features = encode_images(clip_model, clip_preprocess, images, device)
    similarity = get_similarity_no_loop(clip_model.encode_text(tokens), image_features)
    return [class_texts[i] for i in similarity.argmax(dim=1)]


@wrong("clip_zero_shot_classifier", "texts-not-normalised")
def _(clip_model, clip_preprocess, images, class_texts, device):
    image_features = encode_images(clip_model, clip_preprocess, images, device)
    similarity = image_features @ clip_model.encode_text(tokens).T
    return [class_texts[i] for i in similarity.argmax(dim=-1).tolist()]


@wrong("clip_zero_shot_classifier", "numbers")
def _(clip_model, clip_preprocess, images, class_texts, device):
    image_features = encode_images(clip_model, clip_preprocess, images, device)
    return get_similarity_no_loop(clip_model.encode_text(tokens), image_features).argmax(dim=0).tolist()


@wrong("clip_zero_shot_classifier", "prompt-added")
def _(clip_model, clip_preprocess, images, class_texts, device):
    import clip

    tokens = clip.tokenize([f"a photo of a {text}" for text in class_texts]).to(device)
    image_features = encode_images(clip_model, clip_preprocess, images, device)
    best = get_similarity_no_loop(clip_model.encode_text(tokens), image_features).argmax(dim=0)
    return [class_texts[i] for i in best.tolist()]


@wrong("clip_zero_shot_classifier", "least-similar")
def _(clip_model, clip_preprocess, images, class_texts, device):
    image_features = encode_images(clip_model, clip_preprocess, images, device)
    distance = get_similarity_no_loop(image_features, clip_model.encode_text(tokens))
    return [class_texts[i] for i in distance.argsort(dim=1)[:, 0].tolist()]


@wrong("clip_zero_shot_classifier", "softmax-over-pictures")
def _(clip_model, clip_preprocess, images, class_texts, device):
    image_features = encode_images(clip_model, clip_preprocess, images, device)
    logits = 100 * get_similarity_no_loop(image_features, clip_model.encode_text(tokens))
    return [class_texts[i] for i in logits.softmax(dim=0).argmax(dim=1).tolist()]


@wrong("clip_zero_shot_classifier", "preprocessing-of-arrays")
def _(clip_model, clip_preprocess, images, class_texts, device):
    batch = torch.stack([clip_preprocess(image) for image in images]).to(device)
    best = get_similarity_no_loop(clip_model.encode_text(tokens), clip_model.encode_image(batch)).argmax(dim=0)
    return [class_texts[i] for i in best.tolist()]


@wrong("clip_zero_shot_classifier", "gradient-recorded")
def _(clip_model, clip_preprocess, images, class_texts, device):
    with torch.enable_grad():
        text_features = clip_model.encode_text(tokens)
        image_features = encode_images(clip_model, clip_preprocess, images, device)
    best = get_similarity_no_loop(text_features, image_features).argmax(dim=0)
    return [class_texts[i] for i in best.tolist()]


@wrong("clip_zero_shot_classifier", "one-for-all")
def _(clip_model, clip_preprocess, images, class_texts, device):
    image_features = encode_images(clip_model, clip_preprocess, images, device)
    similarity = get_similarity_no_loop(clip_model.encode_text(tokens), image_features)
    best = int(similarity.argmax()) // len(images)
    return [class_texts[best] for _ in images]


@wrong("clip_zero_shot_classifier", "colours-reversed")
def _(clip_model, clip_preprocess, images, class_texts, device):
    swapped = [np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image for image in images]
    image_features = encode_images(clip_model, clip_preprocess, swapped, device)
    best = get_similarity_no_loop(clip_model.encode_text(tokens), image_features).argmax(dim=0)
    return [class_texts[i] for i in best.tolist()]


@wrong("clip_zero_shot_classifier", "device-not-followed")
def _(clip_model, clip_preprocess, images, class_texts, device):
    image_features = encode_images(clip_model, clip_preprocess, images, "cpu")
    best = get_similarity_no_loop(clip_model.encode_text(tokens), image_features).argmax(dim=0)
    return [class_texts[i] for i in best.tolist()]


# --- CLIPImageRetriever.__init__ ---


@right("CLIPImageRetriever.__init__")
def _(self, clip_model, clip_preprocess, images, device):
    self.model, self.where = clip_model, torch.device(device)
    with torch.no_grad():
        self.features = encode_images(clip_model, clip_preprocess, images, device)


@right("CLIPImageRetriever.__init__")
def _(self, clip_model, clip_preprocess, images, device):
    from PIL import Image

    self.clip_model = clip_model
    self.device = device
    vectors = []
    for image in images:
        vector = clip_model.encode_image(clip_preprocess(Image.fromarray(image))[None].to(device)).detach()
        vectors.append(vector / vector.norm())
    self.vectors = vectors


@right("CLIPImageRetriever.__init__")
def _(self, clip_model, clip_preprocess, images, device):
    self.clip_model, self.clip_preprocess, self.images, self.device = clip_model, clip_preprocess, images, device
    features = encode_images(clip_model, clip_preprocess, images, device)
    self.columns = (features / features.norm(dim=-1, keepdim=True)).T.contiguous()


@wrong("CLIPImageRetriever.__init__", "pictures-not-encoded")
def _(self, clip_model, clip_preprocess, images, device):
    self.clip_model, self.clip_preprocess, self.images, self.device = clip_model, clip_preprocess, images, device


@wrong("CLIPImageRetriever.__init__", "gradient-kept")
def _(self, clip_model, clip_preprocess, images, device):
    from PIL import Image

    self.clip_model, self.device = clip_model, device
    batch = torch.stack([clip_preprocess(Image.fromarray(image)) for image in images]).to(device)
    with torch.enable_grad():
        self.image_features = F.normalize(clip_model.encode_image(batch), dim=1)


@wrong("CLIPImageRetriever.__init__", "normalised-over-the-batch")
def _(self, clip_model, clip_preprocess, images, device):
    self.clip_model, self.device = clip_model, device
    features = encode_images(clip_model, clip_preprocess, images, device)
    self.image_features = features / features.norm(dim=0, keepdim=True)


@wrong("CLIPImageRetriever.__init__", "features-not-kept")
def _(self, clip_model, clip_preprocess, images, device):
    self.clip_model, self.device = clip_model, device
    image_features = F.normalize(encode_images(clip_model, clip_preprocess, images, device))


@wrong("CLIPImageRetriever.__init__", "first-picture-only")
def _(self, clip_model, clip_preprocess, images, device):
    self.clip_model, self.device = clip_model, device
    for image in images:
        self.image_features = encode_images(clip_model, clip_preprocess, [image], device)
        break


@wrong("CLIPImageRetriever.__init__", "preprocessing-of-arrays")
def _(self, clip_model, clip_preprocess, images, device):
    self.clip_model, self.device = clip_model, device
    self.image_features = clip_model.encode_image(torch.stack([clip_preprocess(image) for image in images]).to(device))


@wrong("CLIPImageRetriever.__init__", "encoded-twice")
def _(self, clip_model, clip_preprocess, images, device):
    self.clip_model, self.device = clip_model, device
    lengths = encode_images(clip_model, clip_preprocess, images, device).norm(dim=1, keepdim=True)
    self.image_features = encode_images(clip_model, clip_preprocess, images, device) / lengths


@wrong("CLIPImageRetriever.__init__", "device-not-followed")
def _(self, clip_model, clip_preprocess, images, device):
    self.clip_model, self.device = clip_model, device
    self.image_features = F.normalize(encode_images(clip_model, clip_preprocess, images, torch.device("cpu")))


# --- CLIPImageRetriever.retrieve ---


@right("CLIPImageRetriever.retrieve")
def _(self, query, k):
    text = self.clip_model.encode_text(_tokens("retrieve", [query], self.device))
    similarity = (self.image_features @ text.T).squeeze(1)
    return similarity.topk(min(k, len(similarity))).indices.tolist()


@right("CLIPImageRetriever.retrieve")
def _(self, query, k):
    import clip

    with torch.no_grad():
        text_features = self.clip_model.encode_text(clip.tokenize(query).to(self.device))
        scores = get_similarity_no_loop(text_features, self.image_features).flatten()
    order = torch.sort(scores, descending=True)[1]
    return [int(i) for i in order[: min(k, len(order))].cpu()]


@right("CLIPImageRetriever.retrieve")
def _(self, query, k):
    text_features = self.clip_model.encode_text(_tokens("retrieve", [query], self.device))
    scores = get_similarity_no_loop(text_features, self.image_features).squeeze(0).cpu().numpy()
    return list(np.argsort(-scores)[:k])


@wrong("CLIPImageRetriever.retrieve", "worst-first")
def _(self, query, k):
    text_features = self.clip_model.encode_text(_tokens("retrieve", [query], self.device))
    return get_similarity_no_loop(text_features, self.image_features)[0].argsort()[:k].tolist()


@wrong("CLIPImageRetriever.retrieve", "best-last")
def _(self, query, k):
    text_features = self.clip_model.encode_text(_tokens("retrieve", [query], self.device))
    return get_similarity_no_loop(text_features, self.image_features)[0].argsort()[-k:].tolist()


@wrong("CLIPImageRetriever.retrieve", "k-too-large")
def _(self, query, k):
    text_features = self.clip_model.encode_text(_tokens("retrieve", [query], self.device))
    similarity = get_similarity_no_loop(text_features, self.image_features)
    return similarity.topk(k, dim=1).indices.squeeze(0).tolist()


@wrong("CLIPImageRetriever.retrieve", "similarities")
def _(self, query, k):
    text_features = self.clip_model.encode_text(_tokens("retrieve", [query], self.device))
    return get_similarity_no_loop(text_features, self.image_features)[0].topk(min(k, self.image_features.shape[0]))[0].tolist()


@wrong("CLIPImageRetriever.retrieve", "tensor")
def _(self, query, k):
    text_features = self.clip_model.encode_text(_tokens("retrieve", [query], self.device))
    return get_similarity_no_loop(text_features, self.image_features)[0].argsort(descending=True)[:k]


@wrong("CLIPImageRetriever.retrieve", "list-of-tensors")
def _(self, query, k):
    text_features = self.clip_model.encode_text(_tokens("retrieve", [query], self.device))
    return [i for i in get_similarity_no_loop(text_features, self.image_features)[0].argsort(descending=True)[:k]]


@wrong("CLIPImageRetriever.retrieve", "nested")
def _(self, query, k):
    text_features = self.clip_model.encode_text(_tokens("retrieve", [query], self.device))
    return get_similarity_no_loop(text_features, self.image_features).argsort(dim=1, descending=True)[:, :k].tolist()


@wrong("CLIPImageRetriever.retrieve", "k-ignored")
def _(self, query, k):
    text_features = self.clip_model.encode_text(_tokens("retrieve", [query], self.device))
    return get_similarity_no_loop(text_features, self.image_features)[0].argsort(descending=True).tolist()


@wrong("CLIPImageRetriever.retrieve", "sorted-along-the-query")
def _(self, query, k):
    text_features = self.clip_model.encode_text(_tokens("retrieve", [query], self.device))
    similarity = get_similarity_no_loop(self.image_features, text_features)
    return similarity.argsort(dim=-1, descending=True)[:k].flatten().tolist()


@wrong("CLIPImageRetriever.retrieve", "prompt-added")
def _(self, query, k):
    text_features = self.clip_model.encode_text(_tokens("retrieve", ["a photo of a " + query], self.device))
    return get_similarity_no_loop(text_features, self.image_features)[0].argsort(descending=True)[:k].tolist()


@wrong("CLIPImageRetriever.retrieve", "device-not-followed")
def _(self, query, k):
    text_features = self.clip_model.encode_text(_tokens("retrieve", [query], "cpu"))
    return get_similarity_no_loop(text_features, self.image_features)[0].argsort(descending=True)[:k].tolist()


# --- compute_iou ---


@right("compute_iou")
def _(pred, gt, num_classes, skip_absent):
    ious = []
    for c in range(num_classes):
        intersection = ((pred == c) & (gt == c)).sum().float()
        union = ((pred == c) | (gt == c)).sum().float()
        if skip_absent and union == 0:
            continue
        ious.append(intersection / (union + 1e-8))
    return torch.stack(ious).mean()


@right("compute_iou")
def _(pred, gt, num_classes, skip_absent):
    classes = torch.arange(num_classes, device=pred.device)[:, None]
    p, g = pred.reshape(1, -1) == classes, gt.reshape(1, -1) == classes
    inter = torch.logical_and(p, g).sum(1).double()
    union = torch.logical_or(p, g).sum(1).double()
    total = (inter / (union + 1e-8)).sum()
    return float(total / ((union > 0).sum() if skip_absent else num_classes))


@right("compute_iou")
def _(pred, gt, num_classes, skip_absent):
    total, count = 0.0, 0
    for c in range(num_classes):
        in_pred, in_gt = (pred == c).sum().item(), (gt == c).sum().item()
        both = (gt[pred == c] == c).sum().item()
        either = in_pred + in_gt - both
        if either > 0:
            total += both / either
        if either > 0 or not skip_absent:
            count += 1
    return total / count


@wrong("compute_iou", "absent-skipped")
def _(pred, gt, num_classes, skip_absent):
    ious = []
    for c in range(num_classes):
        intersection = ((pred == c) & (gt == c)).sum().item()
        union = ((pred == c) | (gt == c)).sum().item()
        if union > 0:
            ious.append(intersection / union)
    return sum(ious) / len(ious)


@wrong("compute_iou", "absent-as-one")
def _(pred, gt, num_classes, skip_absent):
    ious = []
    for c in range(num_classes):
        intersection = ((pred == c) & (gt == c)).sum().item()
        union = ((pred == c) | (gt == c)).sum().item()
        ious.append((intersection + 1e-8) / (union + 1e-8))
    return sum(ious) / len(ious)


@wrong("compute_iou", "sum-as-union")
def _(pred, gt, num_classes, skip_absent):
    ious = []
    for c in range(num_classes):
        intersection = ((pred == c) & (gt == c)).sum().item()
        ious.append(intersection / ((pred == c).sum().item() + (gt == c).sum().item() + 1e-8))
    return sum(ious) / num_classes


@wrong("compute_iou", "recall")
def _(pred, gt, num_classes, skip_absent):
    total = 0
    for c in range(num_classes):
        total += ((pred == c) & (gt == c)).sum() / ((gt == c).sum() + 1e-8)
    return (total / num_classes).item()


@wrong("compute_iou", "summed-first")
def _(pred, gt, num_classes, skip_absent):
    intersection = union = 0
    for c in range(num_classes):
        intersection += ((pred == c) & (gt == c)).sum().item()
        union += ((pred == c) | (gt == c)).sum().item()
    return intersection / (union + 1e-8)


@wrong("compute_iou", "no-epsilon")
def _(pred, gt, num_classes, skip_absent):
    ious = []
    for c in range(num_classes):
        ious.append(((pred == c) & (gt == c)).sum() / ((pred == c) | (gt == c)).sum())
    return torch.stack(ious).mean().item()


@wrong("compute_iou", "background-left-out")
def _(pred, gt, num_classes, skip_absent):
    if num_classes == 1:
        return float("nan")
    ious = []
    for c in range(1, num_classes):
        ious.append(((pred == c) & (gt == c)).sum() / (((pred == c) | (gt == c)).sum() + 1e-8))
    return torch.stack(ious).mean().item()


@wrong("compute_iou", "last-class-left-out")
def _(pred, gt, num_classes, skip_absent):
    ious = []
    for c in range(num_classes - 1):
        ious.append(((pred == c) & (gt == c)).sum() / (((pred == c) | (gt == c)).sum() + 1e-8))
    return torch.stack(ious).mean().item()


@wrong("compute_iou", "accuracy")
def _(pred, gt, num_classes, skip_absent):
    return (pred == gt).float().mean().item()


@wrong("compute_iou", "true-classes-only")
def _(pred, gt, num_classes, skip_absent):
    ious = []
    for c in gt.unique():
        ious.append(((pred == c) & (gt == c)).sum() / (((pred == c) | (gt == c)).sum() + 1e-8))
    return torch.stack(ious).mean().item()


@wrong("compute_iou", "not-averaged")
def _(pred, gt, num_classes, skip_absent):
    total = 0.0
    for c in range(num_classes):
        total += (((pred == c) & (gt == c)).sum() / (((pred == c) | (gt == c)).sum() + 1e-8)).item()
    return total


@wrong("compute_iou", "whole-numbers")
def _(pred, gt, num_classes, skip_absent):
    ious = [int(((pred == c) & (gt == c)).sum()) // max(1, int(((pred == c) | (gt == c)).sum())) for c in range(num_classes)]
    return sum(ious) / num_classes


@wrong("compute_iou", "option-ignored")
def _(pred, gt, num_classes, skip_absent):
    ious = [((pred == c) & (gt == c)).sum() / (((pred == c) | (gt == c)).sum() + 1e-8) for c in range(num_classes)]
    return torch.stack(ious).mean().item()


# --- DINOSegmentation.__init__ ---


@right("DINOSegmentation.__init__")
def _(self, device, num_classes, inp_dim):
    self.head = nn.Sequential(nn.Linear(inp_dim, 192), nn.BatchNorm1d(192), nn.GELU(), nn.Linear(192, num_classes)).to(device)
    self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=1e-3, weight_decay=0.1)
    self.loss = nn.CrossEntropyLoss()


@right("DINOSegmentation.__init__")
def _(self, device, num_classes, inp_dim):
    self.model = nn.Sequential(nn.Linear(inp_dim, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, num_classes)).to(device)
    self.optim = torch.optim.Adam(self.model.parameters(), lr=1e-3)
    self.criterion = F.cross_entropy


@right("DINOSegmentation.__init__")
def _(self, device, num_classes, inp_dim):
    self.classifier = nn.Linear(inp_dim, num_classes, bias=False, device=device)
    nn.init.zeros_(self.classifier.weight)
    self.loss_fn = nn.CrossEntropyLoss(label_smoothing=0.05)
    self.optimizer = torch.optim.SGD(self.classifier.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)


@wrong("DINOSegmentation.__init__", "head-of-another-size")
def _(self, device, num_classes, inp_dim):
    self.head = nn.Linear(inp_dim, num_classes - 1).to(device)
    self.optimizer = torch.optim.Adam(self.head.parameters(), lr=1e-2)
    self.loss = nn.CrossEntropyLoss()


@wrong("DINOSegmentation.__init__", "")
def _(self, device, num_classes, inp_dim):
    self.head = nn.Linear(384, num_classes).to(device)
    self.optimizer = torch.optim.Adam(self.head.parameters(), lr=1e-2)
    self.loss = nn.CrossEntropyLoss()


@wrong("DINOSegmentation.__init__", "activation-at-the-end")
def _(self, device, num_classes, inp_dim):
    self.head = nn.Sequential(nn.Linear(inp_dim, num_classes), nn.Softmax(dim=1)).to(device)
    self.optimizer = torch.optim.Adam(self.head.parameters(), lr=1e-2)
    self.loss = nn.CrossEntropyLoss()


@wrong("DINOSegmentation.__init__", "activation-at-the-end")
def _(self, device, num_classes, inp_dim):
    self.head = nn.Sequential(nn.Linear(inp_dim, 64), nn.ReLU(), nn.Linear(64, num_classes), nn.ReLU()).to(device)
    self.optimizer = torch.optim.Adam(self.head.parameters(), lr=1e-3)
    self.loss = nn.CrossEntropyLoss()


@wrong("DINOSegmentation.__init__", "optimiser-of-other-weights")
def _(self, device, num_classes, inp_dim):
    self.head = nn.Linear(inp_dim, num_classes).to(device)
    self.optimizer = torch.optim.Adam(nn.Linear(inp_dim, num_classes).parameters(), lr=1e-2)
    self.loss = nn.CrossEntropyLoss()


@wrong("DINOSegmentation.__init__", "optimiser-of-other-weights")
def _(self, device, num_classes, inp_dim):
    self.head = nn.Sequential(nn.Linear(inp_dim, 64), nn.ReLU(), nn.Linear(64, num_classes)).to(device)
    self.optimizer = torch.optim.Adam(self.head[0].parameters(), lr=1e-2)
    self.loss = nn.CrossEntropyLoss()


@wrong("DINOSegmentation.__init__", "does-not-learn")
def _(self, device, num_classes, inp_dim):
    self.head = nn.Linear(inp_dim, num_classes).to(device)
    nn.init.zeros_(self.head.weight)
    self.optimizer = torch.optim.SGD(self.head.parameters(), lr=1e-9)
    self.loss = nn.CrossEntropyLoss()


@wrong("DINOSegmentation.__init__", "does-not-learn")
def _(self, device, num_classes, inp_dim):
    self.head = nn.Sequential(nn.Linear(inp_dim, 32), nn.ReLU(), nn.Linear(32, num_classes)).to(device)
    for parameter in self.head.parameters():
        nn.init.zeros_(parameter)
    self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=1e-3)
    self.loss = nn.CrossEntropyLoss()


@wrong("DINOSegmentation.__init__", "seed-set-inside")
def _(self, device, num_classes, inp_dim):
    torch.manual_seed(231)
    self.head = nn.Linear(inp_dim, num_classes).to(device)
    self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=1e-2)
    self.loss = nn.CrossEntropyLoss()


@wrong("DINOSegmentation.__init__", "nothing-to-train")
def _(self, device, num_classes, inp_dim):
    self.head = nn.Linear(inp_dim, num_classes).to(device).requires_grad_(False)
    self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=1e-2)
    self.loss = nn.CrossEntropyLoss()


@wrong("DINOSegmentation.__init__", "device-not-followed")
def _(self, device, num_classes, inp_dim):
    self.head = nn.Linear(inp_dim, num_classes)
    self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=1e-2)
    self.loss = nn.CrossEntropyLoss()


# --- DINOSegmentation.train ---


@right("DINOSegmentation.train")
def _(self, X_train, Y_train, num_iters):
    self.head.train()
    for step in range(num_iters):
        self.optimizer.zero_grad()
        scores = self.head(X_train)
        loss = F.cross_entropy(scores, Y_train)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
        self.optimizer.step()
        if (step + 1) % 100 == 0:
            print(f"iteration {step + 1}: loss {loss.item():.4f}")


@right("DINOSegmentation.train")
def _(self, X_train, Y_train, num_iters):
    self.head.train()
    losses = []
    for _ in range(num_iters):
        loss = F.nll_loss(F.log_softmax(self.head(X_train), dim=-1), Y_train)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    self.head.eval()
    return losses


@right("DINOSegmentation.train")
def _(self, X_train, Y_train, num_iters):
    optimizer = torch.optim.Adam(self.head.parameters(), lr=5e-3)

    def closure():
        optimizer.zero_grad()
        loss = self.loss(self.head(X_train), Y_train)
        loss.backward()
        return loss

    with torch.enable_grad():
        done = 0
        while done < num_iters:
            closure()
            optimizer.step()
            done += 1


@wrong("DINOSegmentation.train", "no-zero-grad")
def _(self, X_train, Y_train, num_iters):
    for _ in range(num_iters):
        loss = self.loss(self.head(X_train), Y_train)
        loss.backward()
        self.optimizer.step()


@wrong("DINOSegmentation.train", "no-zero-grad")
def _(self, X_train, Y_train, num_iters):
    self.optimizer.zero_grad()
    for _ in range(num_iters):
        loss = self.loss(self.head(X_train), Y_train)
        loss.backward()
        self.optimizer.step()


@wrong("DINOSegmentation.train", "softmax-before-loss")
def _(self, X_train, Y_train, num_iters):
    self.head.train()
    for _ in range(num_iters):
        chances = torch.softmax(self.head(X_train), dim=1)
        loss = self.loss(chances, Y_train)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


@wrong("DINOSegmentation.train", "no-logarithm-before-loss")
def _(self, X_train, Y_train, num_iters):
    for _ in range(num_iters):
        loss = F.nll_loss(self.head(X_train).softmax(dim=1), Y_train)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


@wrong("DINOSegmentation.train", "number-of-steps")
def _(self, X_train, Y_train, num_iters):
    self.head.train()
    loss = self.loss(self.head(X_train), Y_train)
    self.optimizer.zero_grad()
    loss.backward()
    self.optimizer.step()


@wrong("DINOSegmentation.train", "number-of-steps")
def _(self, X_train, Y_train, num_iters):
    for _ in range(500):
        loss = self.loss(self.head(X_train), Y_train)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


@wrong("DINOSegmentation.train", "number-of-steps")
def _(self, X_train, Y_train, num_iters):
    for _ in range(1, num_iters):
        loss = self.loss(self.head(X_train), Y_train)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


@wrong("DINOSegmentation.train", "no-step")
def _(self, X_train, Y_train, num_iters):
    for _ in range(num_iters):
        loss = self.loss(self.head(X_train), Y_train)
        self.optimizer.zero_grad()
        loss.backward()


@wrong("DINOSegmentation.train", "step-without-gradients")
def _(self, X_train, Y_train, num_iters):
    for _ in range(num_iters):
        loss = self.loss(self.head(X_train), Y_train)
        loss.backward()
        self.optimizer.zero_grad()
        self.optimizer.step()


@wrong("DINOSegmentation.train", "loss-does-not-fall")
def _(self, X_train, Y_train, num_iters):
    for _ in range(num_iters):
        loss = -self.loss(self.head(X_train), Y_train)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


@wrong("DINOSegmentation.train", "part-of-the-tokens")
def _(self, X_train, Y_train, num_iters):
    for _ in range(num_iters):
        some = torch.randperm(len(X_train))[:16]
        loss = self.loss(self.head(X_train[some]), Y_train[some])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


@wrong("DINOSegmentation.train", "seed-set-inside")
def _(self, X_train, Y_train, num_iters):
    torch.manual_seed(0)
    for _ in range(num_iters):
        loss = self.loss(self.head(X_train), Y_train)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


@wrong("DINOSegmentation.train", "gradients-left-off")
def _(self, X_train, Y_train, num_iters):
    for _ in range(num_iters):
        loss = self.loss(self.head(X_train), Y_train)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
    torch.set_grad_enabled(False)


@wrong("DINOSegmentation.train", "")
def _(self, X_train, Y_train, num_iters):
    for _ in range(num_iters):
        loss = self.loss(self.head(X_train), Y_train[torch.randperm(len(Y_train))])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


# --- DINOSegmentation.inference ---


@right("DINOSegmentation.inference")
def _(self, X_test):
    self.head.eval()
    with torch.inference_mode():
        scores = self.head(X_test)
    return torch.max(scores, 1)[1]


@right("DINOSegmentation.inference")
def _(self, X_test):
    return torch.argmax(F.softmax(self.head(X_test), dim=-1), dim=-1)


@right("DINOSegmentation.inference")
def _(self, X_test):
    was = self.head.training
    self.head.eval()
    best = self.head(X_test).topk(1, dim=1).indices.squeeze(1)
    self.head.train(was)
    return best


@wrong("DINOSegmentation.inference", "most-likely-token")
def _(self, X_test):
    self.head.eval()
    return self.head(X_test).argmax(0)


@wrong("DINOSegmentation.inference", "scores")
def _(self, X_test):
    self.head.eval()
    return self.head(X_test)


@wrong("DINOSegmentation.inference", "highest-score")
def _(self, X_test):
    self.head.eval()
    scores, _ = self.head(X_test).max(dim=1)
    return scores


@wrong("DINOSegmentation.inference", "chances")
def _(self, X_test):
    self.head.eval()
    return F.softmax(self.head(X_test), dim=1)


@wrong("DINOSegmentation.inference", "axis-kept")
def _(self, X_test):
    self.head.eval()
    return self.head(X_test).topk(1, dim=1).indices


@wrong("DINOSegmentation.inference", "array")
def _(self, X_test):
    self.head.eval()
    return self.head(X_test).argmax(dim=1).cpu().numpy()


@wrong("DINOSegmentation.inference", "floats")
def _(self, X_test):
    self.head.eval()
    classes = torch.zeros(len(X_test))
    classes[:] = self.head(X_test).argmax(dim=1)
    return classes


@wrong("DINOSegmentation.inference", "softmax-over-tokens")
def _(self, X_test):
    self.head.eval()
    return F.softmax(self.head(X_test), dim=0).argmax(dim=1)


@wrong("DINOSegmentation.inference", "background-left-out")
def _(self, X_test):
    scores = self.head(X_test)
    scores[:, 0] = -torch.inf
    return scores.argmax(dim=1)


@wrong("DINOSegmentation.inference", "drawn")
def _(self, X_test):
    return torch.multinomial(self.head(X_test).softmax(dim=1), 1).squeeze(1)


# --- bodies of a reader who did not know the checks ---


@wrong("get_similarity_no_loop", "keeps-state")
def _(text_features, image_features):
    kept = get_similarity_no_loop.__dict__.setdefault("kept", {})
    product = _unit_rows(text_features) @ _unit_rows(image_features).T
    return kept.setdefault((text_features.shape, image_features.shape, text_features.requires_grad), product)


@right("get_similarity_no_loop")
def _(text_features, image_features):
    return torch.vmap(lambda text: _unit_rows(image_features) @ text)(_unit_rows(text_features))


@wrong("clip_zero_shot_classifier", "")
def _(clip_model, clip_preprocess, images, class_texts, device):
    image_features = encode_images(clip_model, clip_preprocess, images[:10], device)
    similarity = get_similarity_no_loop(clip_model.encode_text(tokens), image_features)
    return [class_texts[best] for best in similarity.argmax(dim=0).tolist()]


@wrong("clip_zero_shot_classifier", "keeps-state")
def _(clip_model, clip_preprocess, images, class_texts, device):
    image_features = encode_images(clip_model, clip_preprocess, images, device)
    kept = clip_zero_shot_classifier.__dict__.setdefault("kept", {})
    similarity = kept.setdefault(len(images), get_similarity_no_loop(clip_model.encode_text(tokens), image_features))
    names = kept.setdefault("names", class_texts)
    return [names[best % len(names)] for best in similarity.argmax(dim=0).tolist()]


@wrong("CLIPImageRetriever.__init__", "")
def _(self, clip_model, clip_preprocess, images, device):
    self.clip_model, self.device = clip_model, device
    self.image_features = encode_images(clip_model, clip_preprocess, images[:10], device)


@wrong("CLIPImageRetriever.retrieve", "")
def _(self, query, k=2):
    tokens = clip.tokenize([query], truncate=True).to(self.device)
    similarity = get_similarity_no_loop(self.clip_model.encode_text(tokens), self.image_features)[0]
    return similarity.argsort(descending=True)[:k].tolist()


@wrong("CLIPImageRetriever.retrieve", "")
def _(self, query, k=2):
    self.clip_model.train()
    tokens = _tokens("CLIPImageRetriever.retrieve", [query], self.device)
    similarity = get_similarity_no_loop(self.clip_model.encode_text(tokens), self.image_features)[0]
    return similarity.argsort(descending=True)[:k].tolist()


@wrong("compute_iou", "")
def _(pred, gt, num_classes, skip_absent=False):
    intersection = torch.stack([((pred == c) & (gt == c)).sum() for c in range(num_classes)])
    union = torch.stack([((pred == c) | (gt == c)).sum() for c in range(num_classes)])
    iou = intersection / (union + 1e-8)
    present = torch.stack([(gt == c).any() for c in range(num_classes)])
    return (iou[present] if skip_absent else iou).mean().item()


@wrong("compute_iou", "")
def _(pred, gt, num_classes, skip_absent=False):
    pairs = (gt.flatten().byte() * num_classes + pred.flatten().byte()).long()
    counts = pairs.bincount(minlength=num_classes**2)[: num_classes**2].view(num_classes, num_classes)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    iou = counts.diagonal() / (union + 1e-8)
    return (iou[union > 0] if skip_absent else iou).mean().item()


@wrong("compute_iou", "")
def _(pred, gt, num_classes, skip_absent=False):
    intersection = torch.stack([((pred == c) & (gt == c)).sum(dtype=torch.int16) for c in range(num_classes)])
    union = torch.stack([((pred == c) | (gt == c)).sum(dtype=torch.int16) for c in range(num_classes)])
    iou = intersection / (union + 1e-8)
    return (iou[union > 0] if skip_absent else iou).mean().item()


@wrong("DINOSegmentation.__init__", "classes-unheard")
def _(self, device, num_classes, inp_dim=384):
    self.head = nn.Linear(self.inp_dim, self.num_classes).to(device)
    self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=1e-2)
    self.loss = nn.CrossEntropyLoss(ignore_index=0)


@wrong("DINOSegmentation.__init__", "tokens-not-alone")
def _(self, device, num_classes, inp_dim=384):
    norm = nn.BatchNorm1d(self.inp_dim, track_running_stats=False)
    self.head = nn.Sequential(norm, nn.Linear(self.inp_dim, self.num_classes)).to(device)
    self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=1e-2)
    self.loss = nn.CrossEntropyLoss()


@wrong("DINOSegmentation.train", "part-of-the-tokens")
def _(self, X_train, Y_train, num_iters=500):
    self.head.train()
    for _ in range(num_iters // 3):
        for x, y in zip(X_train.split(64), Y_train.split(64)):
            self.optimizer.zero_grad()
            self.loss(self.head(x), y).backward()
            self.optimizer.step()


@wrong("DINOSegmentation.train", "step-without-gradients")
def _(self, X_train, Y_train, num_iters=500):
    self.optimizer.zero_grad()
    self.loss(self.head(X_train), Y_train).backward()
    for _ in range(num_iters):
        self.optimizer.step()


@right("DINOSegmentation.train")
def _(self, X_train, Y_train, num_iters=500):
    self.head.train()
    for _ in range(num_iters):
        self.optimizer.zero_grad()
        for x, y in zip(X_train.split(16), Y_train.split(16)):
            (self.loss(self.head(x), y) * len(x) / len(X_train)).backward()
        self.optimizer.step()


@right("DINOSegmentation.__init__")
def _(self, device, num_classes, inp_dim=384):
    self.head = nn.Linear(self.inp_dim, self.num_classes).to(device)
    self.optimizer = torch.optim.Adam(self.head.parameters(), lr=1e-4)
    self.loss = nn.CrossEntropyLoss()


@right("DINOSegmentation.__init__")
def _(self, device, num_classes, inp_dim=384):
    hidden = self.inp_dim // 2
    self.head = nn.Sequential(
        nn.Linear(self.inp_dim, hidden), nn.BatchNorm1d(hidden), nn.GELU(), nn.Linear(hidden, self.num_classes)
    ).to(device)
    self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=1e-3, weight_decay=0.1)
    self.loss = nn.CrossEntropyLoss()


@right("CLIPImageRetriever.retrieve")
def _(self, query, k=2):
    tokens = _tokens("CLIPImageRetriever.retrieve", [query], next(self.clip_model.parameters()).device)
    similarity = get_similarity_no_loop(self.clip_model.encode_text(tokens), self.image_features)[0]
    return similarity.argsort(descending=True, stable=True)[:k].tolist()


@right("DINOSegmentation.train")
def _(self, X_train, Y_train, num_iters=500):
    def closure():
        self.optimizer.zero_grad()
        loss = self.loss(self.head(X_train), Y_train)
        loss.backward()
        return loss

    self.head.train()
    for _ in range(num_iters):
        self.optimizer.step(closure)


@wrong("DINOSegmentation.inference", "")
def _(self, X_test):
    self.head.eval()
    whole = max(1, len(X_test) // 32) * 32
    return torch.cat([self.head(X_test[a : a + 32]).argmax(dim=1) for a in range(0, whole, 32)])


@wrong("DINOSegmentation.inference", "")
def _(self, X_test):
    return (X_test @ self.head.weight.T).argmax(dim=1)


@wrong("DINOSegmentation.inference", "")
def _(self, X_test):
    self.head.eval()
    return self.head(X_test).exp().argmax(dim=1)
