"""CLIP and DINO: right answers. Lengths, unions and the loss are written out."""

from __future__ import annotations

import inspect

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from dl.checks.references import References

REFERENCES = References()
reference = REFERENCES.add


def _unit_rows(features):
    lengths = features.square().sum(dim=1, keepdim=True).sqrt()
    return features / lengths.clamp(min=1e-30)  # so that a row of zeros stays one


def _pictures(clip_preprocess, images, device):
    pictures = [clip_preprocess(Image.fromarray(image)) for image in images]
    return torch.stack(pictures).to(device)  # (M, 3, h, w)


def _tokenize(texts: list[str]) -> Tensor:
    from dl.models.small_clip import quiet_clip_import

    with quiet_clip_import():
        from clip import tokenize
    return tokenize(texts)


# --- CLIP ---


@reference("get_similarity_no_loop", helpers=(_unit_rows,))
def get_similarity_no_loop(text_features, image_features):
    text = _unit_rows(text_features)
    image = _unit_rows(image_features)
    cosines = torch.einsum("nd,md->nm", text, image)
    return cosines


@reference("clip_zero_shot_classifier", helpers=(_unit_rows, _pictures))
def clip_zero_shot_classifier(clip_model, clip_preprocess, images, class_texts, device):
    texts = list(class_texts)
    with torch.no_grad():
        text_features = clip_model.encode_text(_tokenize(texts).to(device))
        image_features = clip_model.encode_image(_pictures(clip_preprocess, images, device))
    cosines = _unit_rows(image_features) @ _unit_rows(text_features).T  # (M, C)
    best = cosines.argmax(dim=1)
    names = [class_texts[number] for number in best.tolist()]
    return names


@reference("CLIPImageRetriever.__init__", helpers=(_unit_rows, _pictures))
def retriever_init(self, clip_model, clip_preprocess, images, device):
    self.clip_model = clip_model
    self.device = device
    with torch.no_grad():
        features = clip_model.encode_image(_pictures(clip_preprocess, images, device))
    self.image_features = _unit_rows(features)


@reference("CLIPImageRetriever.retrieve", helpers=(_unit_rows,))
def retrieve(self, query, k=2):
    texts = [query]
    with torch.no_grad():
        text_features = self.clip_model.encode_text(_tokenize(texts).to(self.device))
    cosines = _unit_rows(self.image_features) @ _unit_rows(text_features)[0]  # (M,)
    order = cosines.argsort(descending=True, stable=True)
    best = order[:k].tolist()
    return best


# --- DINO ---


@reference("compute_iou")
def compute_iou(pred, gt, num_classes, skip_absent=False):
    pred = torch.as_tensor(pred).long().flatten()
    gt = torch.as_tensor(gt).long().flatten()
    classes = torch.arange(num_classes)
    in_pred = pred == classes[:, None]  # (C, N)
    in_gt = gt == classes[:, None]
    intersection = (in_pred & in_gt).double().sum(dim=1)
    union = (in_pred | in_gt).double().sum(dim=1)
    ious = intersection / (union + 1e-8)
    if skip_absent:
        ious = ious[union > 0]
    return ious.mean().item()


# what the specification names; `skip_absent` is this project's own option
compute_iou.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # typeshed leaves it out
    [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("pred", "gt", "num_classes")]
)


@reference("DINOSegmentation.__init__")
def segmentation_init(self, device, num_classes, inp_dim=384):
    self.device, self.num_classes, self.inp_dim = device, int(num_classes), int(inp_dim)
    self.head = nn.Sequential(nn.Linear(self.inp_dim, self.num_classes, device=device))
    self.optimizer = torch.optim.Adam(self.head.parameters(), lr=0.01, weight_decay=1e-3)
    self.loss = F.cross_entropy


@reference("DINOSegmentation.train")
def segmentation_train(self, X_train, Y_train, num_iters=500):
    tokens = X_train.detach().to(self.device, torch.float32)
    labels = Y_train.to(self.device, torch.int64)
    parameters = list(self.head.parameters())
    self.head.train()
    for _ in range(num_iters):
        log_chances = self.head(tokens).log_softmax(dim=1)
        loss = -log_chances.gather(1, labels[:, None]).mean()
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()


@reference("DINOSegmentation.inference")
def segmentation_inference(self, X_test):
    tokens = X_test.to(self.device, torch.float32)
    with torch.no_grad():
        scores = self.head.eval()(tokens)  # (N, C)
    highest, classes = scores.max(dim=1)
    return classes
