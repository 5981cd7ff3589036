"""CLIP and DINO: right answers, written another way than the lesson's, and known mistakes."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl.checks.solutions import Solutions

SOLUTIONS = Solutions()
solution, mistake = SOLUTIONS.solution, SOLUTIONS.mistake


def _tokenize(texts: list[str]) -> Tensor:
    from dl.models.small_clip import quiet_clip_import

    with quiet_clip_import():
        from clip import tokenize
    return tokenize(texts)


def _pictures(clip_preprocess, images, device, change: Callable = lambda image: image) -> Tensor:
    from PIL import Image

    return torch.stack([clip_preprocess(Image.fromarray(change(image))) for image in images]).to(device)


# --- get_similarity_no_loop ---


def _cosines(text: Tensor, image: Tensor) -> Tensor:
    lengths = torch.outer(text.square().sum(dim=1).sqrt(), image.square().sum(dim=1).sqrt())
    return torch.einsum("nd,md->nm", text, image) / lengths


@solution("get_similarity_no_loop")
def get_similarity_no_loop(text_features, image_features):
    return _cosines(text_features, image_features)


def _similarity_mistake(name: str, says: str, hint: str) -> Callable:
    return mistake("get_similarity_no_loop", name, says, hint)


@_similarity_mistake(
    "dot-product",
    "the plain dot product is returned; the cosine divides it by both lengths",
    "What happens to your result if one text's features are doubled?",
)
def _(text_features, image_features):
    return text_features @ image_features.T


@_similarity_mistake(
    "texts-not-normalised",
    "only the pictures are brought to length 1; the texts have lengths of their own",
    "What happens to your result if one text's features are doubled?",
)
def _(text_features, image_features):
    return text_features @ F.normalize(image_features).T


@_similarity_mistake(
    "pictures-not-normalised",
    "only the texts are brought to length 1; the pictures have lengths of their own",
    "What happens to your result if one picture's features are doubled?",
)
def _(text_features, image_features):
    return F.normalize(text_features) @ image_features.T


@_similarity_mistake(
    "axis-of-the-batch", "the lengths are taken along the batch; each row has its own length", "Which axis holds the features?"
)
def _(text_features, image_features):
    return F.normalize(text_features, dim=0) @ F.normalize(image_features, dim=0).T


@_similarity_mistake(
    "one-length-for-all",
    "all rows are divided by one length, that of the whole matrix; each row has its own",
    "Over which axis is the norm taken?",
)
def _(text_features, image_features):
    return (text_features / text_features.norm()) @ (image_features / image_features.norm()).T


@_similarity_mistake(
    "squared-lengths",
    "the dot product is divided by the squares of the lengths",
    "What is the cosine of a vector with itself?",
)
def _(text_features, image_features):
    return _cosines(text_features, image_features) / torch.outer(text_features.norm(dim=1), image_features.norm(dim=1))


@_similarity_mistake(
    "sum-of-absolutes",
    "the length is taken as the sum of absolute values; it is the root of the sum of squares",
    "How long is the vector (3, 4)?",
)
def _(text_features, image_features):
    return F.normalize(text_features, p=1) @ F.normalize(image_features, p=1).T


@_similarity_mistake(
    "transposed",
    "pictures lie along the rows of the result; this course puts the texts there, (N, M)",
    "What is the shape of your result?",
)
def _(text_features, image_features):
    return _cosines(image_features, text_features)


@_similarity_mistake(
    "softmax-over-pictures",
    "a softmax over the pictures is taken; this course wants the cosines themselves",
    "What do your rows sum to?",
)
def _(text_features, image_features):
    return _cosines(text_features, image_features).softmax(dim=1)


@_similarity_mistake(
    "softmax-over-texts",
    "a softmax over the texts is taken; this course wants the cosines themselves",
    "What do your columns sum to?",
)
def _(text_features, image_features):
    return _cosines(text_features, image_features).softmax(dim=0)


@_similarity_mistake(
    "softmax-of-scaled",
    "a softmax of 100 times the cosines is taken; this course wants the cosines themselves",
    "What do your rows sum to?",
)
def _(text_features, image_features):
    return (100 * _cosines(text_features, image_features)).softmax(dim=1)


@_similarity_mistake(
    "scaled",
    "the cosines are multiplied by 100, as in CLIP's logits; this course wants the cosines themselves",
    "Between which numbers does a cosine lie?",
)
def _(text_features, image_features):
    return 100 * _cosines(text_features, image_features)


@_similarity_mistake(
    "absolute-cosine",
    "the sign of the cosine is lost; opposite vectors have cosine -1",
    "What comes out for two opposite vectors?",
)
def _(text_features, image_features):
    return _cosines(text_features, image_features).abs()


@_similarity_mistake(
    "negative-cut-off", "negative cosines are cut off at 0; they run down to -1", "What comes out for two opposite vectors?"
)
def _(text_features, image_features):
    return _cosines(text_features, image_features).clamp(min=0)


@_similarity_mistake(
    "distance",
    "one minus the cosine, a distance, is returned; this course wants the cosine",
    "What comes out for two equal vectors?",
)
def _(text_features, image_features):
    return 1 - _cosines(text_features, image_features)


@_similarity_mistake(
    "mapped-to-0-1",
    "the cosine is mapped to 0 … 1; this course leaves it in -1 … 1",
    "What comes out for two opposite vectors?",
)
def _(text_features, image_features):
    return (1 + _cosines(text_features, image_features)) / 2


@_similarity_mistake(
    "centred",
    "the mean of each row is taken off first, which is the correlation and not the cosine",
    "Is a mean in the formula?",
)
def _(text_features, image_features):
    return _cosines(*(f - f.mean(dim=1, keepdim=True) for f in (text_features, image_features)))


@_similarity_mistake(
    "centred-over-the-batch",
    "the mean of all rows is taken off first; the cosine has no mean in it",
    "Is a mean in the formula?",
)
def _(text_features, image_features):
    return _cosines(*(f - f.mean(dim=0) for f in (text_features, image_features)))


@_similarity_mistake(
    "mean-of-products",
    "the products are averaged over the features; the dot product is their sum",
    "What is the cosine of a vector with itself?",
)
def _(text_features, image_features):
    return _cosines(text_features, image_features) / text_features.shape[1]


@_similarity_mistake(
    "epsilon-too-large", "the number added to the denominator is so large that it shows in the result", "How small may it be?"
)
def _(text_features, image_features):
    lengths = torch.outer(text_features.norm(dim=1), image_features.norm(dim=1))
    return text_features @ image_features.T / (lengths + 1e-4)


@_similarity_mistake(
    "pairs-only", "text k meets picture k only; here every text meets every picture", "What is the shape of your result?"
)
def _(text_features, image_features):
    return F.cosine_similarity(text_features, image_features)


@_similarity_mistake(
    "length-detached",
    "the lengths are treated as constants: no gradient goes through them",
    "What cuts a tensor off from its history?",
)
def _(text_features, image_features):
    return text_features @ image_features.T / torch.outer(text_features.norm(dim=1), image_features.norm(dim=1)).detach()


# --- clip_zero_shot_classifier ---


def _similarities(clip_model, clip_preprocess, images, texts, device) -> Tensor:
    with torch.no_grad():
        text_features = clip_model.encode_text(_tokenize(list(texts)).to(device))
        return _cosines(text_features, clip_model.encode_image(_pictures(clip_preprocess, images, device)))


@solution("clip_zero_shot_classifier")
def clip_zero_shot_classifier(clip_model, clip_preprocess, images, class_texts, device):
    logits = 100 * _similarities(clip_model, clip_preprocess, images, class_texts, device).T  # (M, C)
    return [class_texts[int(row.softmax(dim=0).max(dim=0).indices)] for row in logits]


def _zero_shot_mistake(name: str, says: str, hint: str) -> Callable:
    return mistake("clip_zero_shot_classifier", name, says, hint)


@_zero_shot_mistake(
    "best-picture-of-each-text",
    "for each text a picture is chosen; this course chooses a text for each picture",
    "Along which axis of the similarities do the texts lie?",
)
def _(clip_model, clip_preprocess, images, class_texts, device):
    best = _similarities(clip_model, clip_preprocess, images, class_texts, device).argmax(dim=1)
    return [class_texts[i] for i in best.tolist()]


@_zero_shot_mistake(
    "best-picture-of-each-text-numbers",
    "for each text the number of a picture is returned; this course returns a text for each picture",
    "Along which axis of the similarities do the texts lie?",
)
def _(clip_model, clip_preprocess, images, class_texts, device):
    return _similarities(clip_model, clip_preprocess, images, class_texts, device).argmax(dim=1).tolist()


@_zero_shot_mistake(
    "least-similar", "the text of the lowest cosine is chosen; the highest says what fits", "What does a cosine of 1 mean?"
)
def _(clip_model, clip_preprocess, images, class_texts, device):
    worst = _similarities(clip_model, clip_preprocess, images, class_texts, device).argmin(dim=0)
    return [class_texts[i] for i in worst.tolist()]


@_zero_shot_mistake(
    "texts-not-normalised",
    "the features are compared by dot products, so that a text wins by its length; this course compares cosines",
    "Which exercise before compares texts and pictures?",
)
@torch.no_grad()
def _(clip_model, clip_preprocess, images, class_texts, device):
    text = clip_model.encode_text(_tokenize(list(class_texts)).to(device))
    image = clip_model.encode_image(_pictures(clip_preprocess, images, device))
    return [class_texts[i] for i in (image @ text.T).argmax(dim=1).tolist()]


@_zero_shot_mistake(
    "normalised-over-the-batch",
    "the features are normalised over the batch; each row has its own length",
    "Which axis holds the features?",
)
@torch.no_grad()
def _(clip_model, clip_preprocess, images, class_texts, device):
    text = F.normalize(clip_model.encode_text(_tokenize(list(class_texts)).to(device)), dim=0)
    image = F.normalize(clip_model.encode_image(_pictures(clip_preprocess, images, device)), dim=0)
    return [class_texts[i] for i in (image @ text.T).argmax(dim=1).tolist()]


@_zero_shot_mistake(
    "numbers", "the numbers of the texts are returned; this course returns the texts themselves", "What should a reader see?"
)
def _(clip_model, clip_preprocess, images, class_texts, device):
    return _similarities(clip_model, clip_preprocess, images, class_texts, device).argmax(dim=0).tolist()


@_zero_shot_mistake(
    "tensor-of-numbers",
    "a tensor with the numbers of the texts is returned; this course returns a list of the texts themselves",
    "What should a reader see?",
)
def _(clip_model, clip_preprocess, images, class_texts, device):
    return _similarities(clip_model, clip_preprocess, images, class_texts, device).argmax(dim=0)


def _with_prompt(prompt: str) -> Callable:
    def classify(clip_model, clip_preprocess, images, class_texts, device):
        texts = [prompt.format(text) for text in class_texts]
        best = _similarities(clip_model, clip_preprocess, images, texts, device).argmax(dim=0)
        return [class_texts[i] for i in best.tolist()]

    return classify


_PROMPT_SAYS = "the texts are put into a sentence first; this course takes them as they are given"
for _name, _prompt in (
    ("", "a photo of a {}"),
    ("-with-stop", "a photo of a {}."),
    ("-no-article", "a photo of {}"),
    ("-this-is", "This is a photo of a {}"),
):
    _zero_shot_mistake(f"prompt-added{_name}", _PROMPT_SAYS, "Which words does the model read?")(_with_prompt(_prompt))


@_zero_shot_mistake(
    "softmax-over-pictures",
    "a softmax over the pictures comes before the choice; the choice for a picture is among the texts",
    "Along which axis of the similarities do the texts lie?",
)
def _(clip_model, clip_preprocess, images, class_texts, device):
    chances = (100 * _similarities(clip_model, clip_preprocess, images, class_texts, device)).softmax(dim=1)
    return [class_texts[i] for i in chances.argmax(dim=0).tolist()]


@_zero_shot_mistake("one-for-all", "all pictures get one and the same text", "How many choices are to be made?")
def _(clip_model, clip_preprocess, images, class_texts, device):
    best = _similarities(clip_model, clip_preprocess, images, class_texts, device).max(dim=1).values.argmax()
    return [class_texts[best]] * len(images)


@_zero_shot_mistake(
    "one-answer", "a single text is returned; this course wants one for each picture", "How many choices are to be made?"
)
def _(clip_model, clip_preprocess, images, class_texts, device):
    return clip_zero_shot_classifier(clip_model, clip_preprocess, images, class_texts, device)[:1]


@_zero_shot_mistake(
    "reversed", "the answers come in the reverse order of the pictures", "Which picture does your first answer belong to?"
)
def _(clip_model, clip_preprocess, images, class_texts, device):
    return clip_zero_shot_classifier(clip_model, clip_preprocess, images, class_texts, device)[::-1]


@_zero_shot_mistake("off-by-one", "the text after the best one is returned", "At which number does a list begin?")
def _(clip_model, clip_preprocess, images, class_texts, device):
    best = _similarities(clip_model, clip_preprocess, images, class_texts, device).argmax(dim=0)
    return [class_texts[(i + 1) % len(class_texts)] for i in best.tolist()]


@_zero_shot_mistake(
    "colours-reversed",
    "red and blue of the pictures are exchanged; they are RGB already",
    "In which order do the pictures' channels come?",
)
@torch.no_grad()
def _(clip_model, clip_preprocess, images, class_texts, device):
    text = clip_model.encode_text(_tokenize(list(class_texts)).to(device))
    pictures = _pictures(clip_preprocess, images, device, lambda i: i[..., ::-1].copy() if i.ndim == 3 else i)
    return [class_texts[i] for i in _cosines(text, clip_model.encode_image(pictures)).argmax(dim=0).tolist()]


@_zero_shot_mistake(
    "preprocessing-of-arrays",
    "the preprocessing is given arrays; it wants PIL pictures",
    "Which function makes a PIL picture of an array?",
)
def _(clip_model, clip_preprocess, images, class_texts, device):
    return [clip_preprocess(image) for image in images]


@_zero_shot_mistake(
    "pictures-without-batch",
    "the model is given one picture without a batch axis, (3, h, w); it wants (M, 3, h, w)",
    "What shape does the model want?",
)
def _(clip_model, clip_preprocess, images, class_texts, device):
    return clip_model.encode_image(_pictures(clip_preprocess, images, device)[0])


@_zero_shot_mistake(
    "gradient-recorded",
    "gradients are recorded while the model works; nothing is trained here",
    "What does torch keep for a backward pass that never comes?",
)
def _(clip_model, clip_preprocess, images, class_texts, device):
    text = clip_model.encode_text(_tokenize(list(class_texts)).to(device))
    best = _cosines(text, clip_model.encode_image(_pictures(clip_preprocess, images, device))).argmax(dim=0)
    return [class_texts[i] for i in best.tolist()]


# --- CLIPImageRetriever.__init__ ---


@solution("CLIPImageRetriever.__init__")
def retriever_init(self, clip_model, clip_preprocess, images, device):
    self.clip_model, self.device = clip_model, device
    with torch.no_grad():
        features = [clip_model.encode_image(_pictures(clip_preprocess, [image], device))[0] for image in images]
    self.image_features = torch.stack([f / f.square().sum().sqrt() for f in features])


def _init_mistake(name: str, says: str, hint: str) -> Callable:
    """Decorator: a wrong (model, preprocess, images, device) -> features to keep."""

    def keep(features: Callable) -> Callable:
        def init(self, clip_model, clip_preprocess, images, device):
            self.clip_model, self.device = clip_model, device
            with torch.no_grad():
                self.image_features = features(clip_model, clip_preprocess, images, device)

        return mistake("CLIPImageRetriever.__init__", name, says, hint)(init)

    return keep


@_init_mistake(
    "pictures-not-encoded",
    "nothing is encoded here; this course encodes the pictures once, when they come in",
    "What would each query cost?",
)
def _(model, preprocess, images, device):
    return None


@_init_mistake("first-picture-only", "only one picture is encoded", "How many features does the retriever need?")
def _(model, preprocess, images, device):
    return model.encode_image(_pictures(preprocess, images[:1], device))


@_init_mistake(
    "normalised-over-the-batch",
    "the features are normalised over the batch; each picture's features have their own length",
    "Which axis holds the features?",
)
def _(model, preprocess, images, device):
    return F.normalize(model.encode_image(_pictures(preprocess, images, device)), dim=0)


@_init_mistake(
    "softmax-of-features",
    "a softmax of the features is kept; the cosine needs the features themselves",
    "Does a softmax keep a vector's direction?",
)
def _(model, preprocess, images, device):
    return model.encode_image(_pictures(preprocess, images, device)).softmax(dim=1)


@_init_mistake(
    "centred",
    "the mean over the pictures is taken off the features; the cosine has no mean in it",
    "Is a mean in the formula?",
)
def _(model, preprocess, images, device):
    features = model.encode_image(_pictures(preprocess, images, device))
    return features - features.mean(dim=0)


@_init_mistake("order-reversed", "the features are kept in the reverse order of the pictures", "Which picture is row 0?")
def _(model, preprocess, images, device):
    return model.encode_image(_pictures(preprocess, images, device)).flip(0)


@_init_mistake(
    "encoded-twice", "every picture passes through the model twice; once is enough", "How often is the model called?"
)
def _(model, preprocess, images, device):
    model.encode_image(_pictures(preprocess, images, device))
    return model.encode_image(_pictures(preprocess, images, device))


@_init_mistake(
    "colours-reversed",
    "red and blue of the pictures are exchanged; they are RGB already",
    "In which order do the pictures' channels come?",
)
def _(model, preprocess, images, device):
    return model.encode_image(_pictures(preprocess, images, device, lambda i: i[..., ::-1].copy() if i.ndim == 3 else i))


@_init_mistake("last-picture-left-out", "the last picture is left out", "Where does your loop end?")
def _(model, preprocess, images, device):
    return model.encode_image(_pictures(preprocess, images[:-1] or images, device))


@_init_mistake(
    "preprocessing-of-arrays",
    "the preprocessing is given arrays; it wants PIL pictures",
    "Which function makes a PIL picture of an array?",
)
def _(model, preprocess, images, device):
    return [preprocess(image) for image in images]


@_init_mistake(
    "pictures-without-batch",
    "the model is given one picture without a batch axis, (3, h, w); it wants (M, 3, h, w)",
    "What shape does the model want?",
)
def _(model, preprocess, images, device):
    return model.encode_image(_pictures(preprocess, images, device)[0])


@mistake(
    "CLIPImageRetriever.__init__",
    "gradient-kept",
    "the features are kept with their history for gradients, and with it all that the model computed",
    "What is not needed, since nothing is trained?",
)
def _(self, clip_model, clip_preprocess, images, device):
    self.clip_model, self.device = clip_model, device
    with torch.enable_grad():
        self.image_features = clip_model.encode_image(_pictures(clip_preprocess, images, device))


# --- CLIPImageRetriever.retrieve ---


def _query(self, text: str) -> Tensor:
    """Cosines of a text with all pictures, (M,)."""
    with torch.no_grad():
        return _cosines(self.clip_model.encode_text(_tokenize([text]).to(self.device)), self.image_features)[0]


@solution("CLIPImageRetriever.retrieve")
def retrieve(self, query, k=2):
    similarity = _query(self, query).tolist()
    return sorted(range(len(similarity)), key=lambda i: -similarity[i])[:k]


def _retrieve_mistake(name: str, says: str, hint: str) -> Callable:
    return mistake("CLIPImageRetriever.retrieve", name, says, hint)


@_retrieve_mistake("worst-first", "the pictures that fit least come first", "In which order does your function sort?")
def _(self, query, k=2):
    return _query(self, query).argsort()[:k].tolist()


@_retrieve_mistake(
    "best-last", "the best pictures are found, and returned with the best one last", "In which order does your function sort?"
)
def _(self, query, k=2):
    return retrieve(self, query, k)[::-1]


@_retrieve_mistake(
    "sorted-by-number",
    "the best pictures are returned in the order of their numbers; the best comes first",
    "In which order do the results come?",
)
def _(self, query, k=2):
    return sorted(retrieve(self, query, k))


@_retrieve_mistake("k-ignored", "all pictures are returned; the query asks for k", "Where is k used?")
def _(self, query, k=2):
    return retrieve(self, query, 10**6)


@_retrieve_mistake("always-two", "two pictures are returned whatever k is", "Where is k used?")
def _(self, query, k=2):
    return retrieve(self, query, 2)


@_retrieve_mistake("one-too-many", "one picture too many is returned", "Where does a slice end?")
def _(self, query, k=2):
    return retrieve(self, query, k + 1)


@_retrieve_mistake("one-too-few", "one picture too few is returned", "Where does a slice end?")
def _(self, query, k=2):
    return retrieve(self, query, k - 1)


@_retrieve_mistake("best-left-out", "the best picture is left out", "Where does your slice begin?")
def _(self, query, k=2):
    return retrieve(self, query, k + 1)[1:]


@_retrieve_mistake(
    "counted-from-1", "pictures are counted from 1; their indices begin at 0", "What is the index of the first picture?"
)
def _(self, query, k=2):
    return [i + 1 for i in retrieve(self, query, k)]


@_retrieve_mistake(
    "similarities",
    "the similarities are returned; this course wants the pictures' indices",
    "What does topk or sort return beside the values?",
)
def _(self, query, k=2):
    return _query(self, query).sort(descending=True).values[:k].tolist()


@_retrieve_mistake(
    "tensor", "a tensor is returned; this course wants a list of ints", "Which method makes a list of a tensor?"
)
def _(self, query, k=2):
    return torch.tensor(retrieve(self, query, k))


@_retrieve_mistake(
    "list-of-tensors",
    "a list of tensors is returned; this course wants a list of ints",
    "Which method makes a list of a tensor?",
)
def _(self, query, k=2):
    return list(torch.tensor(retrieve(self, query, k)))


@_retrieve_mistake("nested", "a list in a list is returned", "Which axis does the single query leave behind?")
def _(self, query, k=2):
    return [retrieve(self, query, k)]


@_retrieve_mistake(
    "k-too-large",
    "a k that is larger than the number of pictures is not allowed for; then all are returned",
    "How many pictures can be returned at most?",
)
def _(self, query, k=2):
    return _query(self, query).topk(k).indices.tolist()


@_retrieve_mistake(
    "sorted-along-the-query",
    "the order is found along the axis of the single query, where there is nothing to choose",
    "Along which axis do the pictures lie?",
)
def _(self, query, k=2):
    return _query(self, query)[:, None].argsort(dim=1, descending=True)[:k, 0].tolist()


@_retrieve_mistake(
    "text-in-letters", "the query is taken apart into letters", "What does the tokeniser take: a text, or a list of texts?"
)
def _(self, query, k=2):
    with torch.no_grad():
        text = self.clip_model.encode_text(_tokenize(list(query)).to(self.device))
        return _cosines(text, self.image_features)[0].argsort(descending=True)[:k].tolist()


@_retrieve_mistake(
    "prompt-added",
    "the query is put into a sentence first; this course takes it as it is given",
    "Which words does the model read?",
)
def _(self, query, k=2):
    return retrieve(self, f"a photo of a {query}", k)


@_retrieve_mistake(
    "prompt-added-no-article",
    "the query is put into a sentence first; this course takes it as it is given",
    "Which words does the model read?",
)
def _(self, query, k=2):
    return retrieve(self, f"a photo of {query}", k)


@_retrieve_mistake(
    "distance",
    "the pictures are ordered by a distance that grows with the cosine, or by a cosine of the wrong sign",
    "What does a cosine of 1 mean?",
)
def _(self, query, k=2):
    return _query(self, query).abs().argsort(descending=True)[:k].tolist()


@_retrieve_mistake("pictures-in-order", "the first pictures are returned, whatever the query", "Where is the query used?")
def _(self, query, k=2):
    return list(range(len(_query(self, query))))[:k]


# --- compute_iou ---


def _counts(pred, gt, num_classes) -> tuple[Tensor, Tensor, Tensor]:
    """Intersections, and how often each class is predicted and true: (C,) float64 each."""
    pred, gt = (F.one_hot(torch.as_tensor(labels).long().flatten(), num_classes).double() for labels in (pred, gt))
    return (pred * gt).sum(dim=0), pred.sum(dim=0), gt.sum(dim=0)


@solution("compute_iou")
def compute_iou(pred, gt, num_classes, skip_absent=False):
    inter, in_pred, in_gt = _counts(pred, gt, num_classes)
    union = in_pred + in_gt - inter
    ious = [float(i / (u + 1e-8)) for i, u in zip(inter, union, strict=True) if u > 0 or not skip_absent]
    return sum(ious) / len(ious)


# what the specification names; `skip_absent` is this project's own option
compute_iou.__signature__ = inspect.Signature(
    [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("pred", "gt", "num_classes")]
)


def _iou_mistake(name: str, says: str, hint: str) -> Callable:
    """Decorator: a wrong (intersections, predicted, true) -> IoU, all (C,)."""

    def keep(score: Callable) -> Callable:
        def compute(pred, gt, num_classes, skip_absent=False):
            value = score(*_counts(pred, gt, num_classes))
            return value.item() if isinstance(value, Tensor) and not value.ndim else value

        mistake("compute_iou", name, says, hint)(compute)
        return score

    return keep


@_iou_mistake(
    "dice",
    "twice the intersection is divided by both counts, which is Dice's measure; this course divides the "
    "intersection by the union",
    "How many places are in the union?",
)
def _(inter, pred, gt):
    return (2 * inter / (pred + gt + 1e-8)).mean()


@_iou_mistake(
    "sum-as-union",
    "places that both labellings have are counted twice in the union",
    "How many places are in the union of two equal sets?",
)
def _(inter, pred, gt):
    return (inter / (pred + gt + 1e-8)).mean()


@_iou_mistake(
    "recall",
    "the intersection is divided by the true places only; it is to be divided by the union",
    "Does a false alarm lower your score?",
)
def _(inter, pred, gt):
    return (inter / (gt + 1e-8)).mean()


@_iou_mistake(
    "precision",
    "the intersection is divided by the predicted places only; it is to be divided by the union",
    "Does a missed place lower your score?",
)
def _(inter, pred, gt):
    return (inter / (pred + 1e-8)).mean()


@_iou_mistake(
    "accuracy",
    "the share of equal places is returned; this course wants a mean over classes",
    "What does a small object weigh in your score?",
)
def _(inter, pred, gt):
    return inter.sum() / gt.sum()


@_iou_mistake(
    "summed-first",
    "intersections and unions are summed over the classes before the division; the mean is over the classes' IoU",
    "What does a small object weigh in your score?",
)
def _(inter, pred, gt):
    return inter.sum() / ((pred + gt - inter).sum() + 1e-8)


@_iou_mistake(
    "absent-skipped",
    "a class that neither labelling has is left out of the mean; here it counts as 0",
    "Over how many classes is the mean?",
)
def _(inter, pred, gt):
    union = pred + gt - inter
    return (inter / (union + 1e-8))[union > 0].mean()


@_iou_mistake(
    "absent-as-one", "a class that neither labelling has counts as 1; here it counts as 0", "What is 0 / (0 + 1e-8)?"
)
def _(inter, pred, gt):
    union = pred + gt - inter
    return torch.where(union > 0, inter / (union + 1e-8), 1.0).mean()


@_iou_mistake(
    "no-epsilon",
    "a class that neither labelling has makes 0 / 0; a small number in the denominator prevents it",
    "What is your IoU of a class that nobody has?",
)
def _(inter, pred, gt):
    return (inter / (pred + gt - inter)).mean()


@_iou_mistake(
    "true-classes-only",
    "only classes of the truth are averaged; a class that is only predicted counts as 0",
    "Over how many classes is the mean?",
)
def _(inter, pred, gt):
    return (inter / (pred + gt - inter + 1e-8))[gt > 0].mean()


@_iou_mistake(
    "predicted-classes-only",
    "only classes of the prediction are averaged; a class that is missed counts as 0",
    "Over how many classes is the mean?",
)
def _(inter, pred, gt):
    return (inter / (pred + gt - inter + 1e-8))[pred > 0].mean()


@_iou_mistake(
    "highest-class-as-count", "the number of classes is taken from the labels; it is given", "Where is num_classes used?"
)
def _(inter, pred, gt):
    count = int((pred + gt).nonzero().max()) + 1
    return (inter / (pred + gt - inter + 1e-8))[:count].mean()


@_iou_mistake("background-left-out", "class 0 is left out; here it counts like any other", "At which number do classes begin?")
def _(inter, pred, gt):
    return (inter / (pred + gt - inter + 1e-8))[1:].mean()


@_iou_mistake(
    "background-left-out-full-count",
    "class 0 is left out of the sum, but counted; here it counts like any other",
    "At which number do classes begin?",
)
def _(inter, pred, gt):
    return (inter / (pred + gt - inter + 1e-8))[1:].sum() / len(inter)


@_iou_mistake("last-class-left-out", "the last class is left out", "Where does your loop end?")
def _(inter, pred, gt):
    return (inter / (pred + gt - inter + 1e-8))[:-1].mean()


@_iou_mistake(
    "last-class-left-out-full-count", "the last class is left out of the sum, but counted", "Where does your loop end?"
)
def _(inter, pred, gt):
    return (inter / (pred + gt - inter + 1e-8))[:-1].sum() / len(inter)


@_iou_mistake("one-class-too-many", "one class too many is counted", "Where does your loop end?")
def _(inter, pred, gt):
    return (inter / (pred + gt - inter + 1e-8)).sum() / (len(inter) + 1)


@_iou_mistake(
    "not-averaged", "the sum over the classes is returned; this course wants the mean", "How large can your result become?"
)
def _(inter, pred, gt):
    return (inter / (pred + gt - inter + 1e-8)).sum()


@_iou_mistake("one-a-class", "one number a class is returned; this course wants the mean", "How many numbers are to come out?")
def _(inter, pred, gt):
    return inter / (pred + gt - inter + 1e-8)


@_iou_mistake(
    "list-of-classes", "one number a class is returned; this course wants the mean", "How many numbers are to come out?"
)
def _(inter, pred, gt):
    return (inter / (pred + gt - inter + 1e-8)).tolist()


@_iou_mistake("median", "the median of the classes is returned; this course wants the mean", "Which average is asked for?")
def _(inter, pred, gt):
    return (inter / (pred + gt - inter + 1e-8)).median()


@_iou_mistake(
    "weighted",
    "classes weigh by how many places they have; here each weighs the same",
    "What does a small object weigh in your score?",
)
def _(inter, pred, gt):
    return (gt / gt.sum() * inter / (pred + gt - inter + 1e-8)).sum()


@_iou_mistake("whole-numbers", "the division leaves whole numbers only", "What does // do?")
def _(inter, pred, gt):
    return (inter // (pred + gt - inter).clamp(min=1)).mean()


@_iou_mistake(
    "whole-numbers-below-1",
    "the division leaves whole numbers only, and the small number in the denominator makes them all 0",
    "What does // do?",
)
def _(inter, pred, gt):
    return (inter // (pred + gt - inter + 1e-8)).mean()


@_iou_mistake(
    "over-all-places",
    "the intersection is divided by the number of all places; it is to be divided by the union",
    "How many places are in the union?",
)
def _(inter, pred, gt):
    return (inter / gt.sum()).mean()


@_iou_mistake(
    "symmetric-difference",
    "the intersection is divided by the places where the labellings differ; the union holds the common ones, too",
    "How many places are in the union of two equal sets?",
)
def _(inter, pred, gt):
    return (inter / (pred + gt - 2 * inter + 1e-8)).mean()


@_iou_mistake(
    "over-the-larger",
    "the intersection is divided by the larger of the two counts; it is to be divided by the union",
    "How many places are in the union?",
)
def _(inter, pred, gt):
    return (inter / (torch.maximum(pred, gt) + 1e-8)).mean()


@mistake(
    "compute_iou",
    "option-ignored",
    "`skip_absent` plays no part; with it, absent classes are left out of the mean",
    "What does the docstring say of the option?",
)
def _(pred, gt, num_classes, skip_absent=False):
    return compute_iou(pred, gt, num_classes)


@mistake("compute_iou", "option-reversed", "`skip_absent` is understood the wrong way round", "Which is the default?")
def _(pred, gt, num_classes, skip_absent=False):
    return compute_iou(pred, gt, num_classes, not skip_absent)


# --- DINOSegmentation: what the judges of the probes name is not repeated here ---


@solution("DINOSegmentation.__init__")
def segmentation_init(self, device, num_classes, inp_dim=384):
    self.device, self.num_classes, self.inp_dim = device, int(num_classes), int(inp_dim)
    self.head = nn.Sequential(nn.Linear(self.inp_dim, self.num_classes, device=device))
    self.optimizer = torch.optim.Adam(self.head.parameters(), lr=0.01, weight_decay=1e-3)
    self.loss = F.cross_entropy


@solution("DINOSegmentation.train")
def segmentation_train(self, X_train, Y_train, num_iters=500):
    X_train, Y_train = X_train.detach().to(self.device, torch.float32), Y_train.to(self.device, torch.int64)
    self.head.train()
    parameters = list(self.head.parameters())
    for _ in range(num_iters):
        log_chances = self.head(X_train).log_softmax(dim=1)
        loss = -log_chances[torch.arange(len(Y_train), device=Y_train.device), Y_train].mean()
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        self.optimizer.step()


@solution("DINOSegmentation.inference")
def segmentation_inference(self, X_test):
    with torch.no_grad():
        return self.head.eval()(X_test.to(self.device, torch.float32)).max(dim=1).indices


def _inference_mistake(name: str, says: str, hint: str) -> Callable:
    """Decorator: a wrong choice from the scores (N, C)."""

    def keep(choice: Callable) -> Callable:
        @torch.no_grad()
        def inference(self, X_test):
            return choice(self.head.eval()(X_test.to(self.device, torch.float32)))

        return mistake("DINOSegmentation.inference", name, says, hint)(inference)

    return keep


@_inference_mistake(
    "most-likely-token",
    "for each class a token is chosen; this course chooses a class for each token",
    "Along which axis do the classes lie?",
)
def _(scores):
    return scores.argmax(dim=0)


@_inference_mistake(
    "least-likely", "the class of the lowest score is chosen", "Which score does the training raise for the right class?"
)
def _(scores):
    return scores.argmin(dim=1)


@_inference_mistake(
    "scores", "the scores are returned; this course wants a class for each token", "How many numbers belong to a token?"
)
def _(scores):
    return scores


@_inference_mistake(
    "chances", "probabilities are returned; this course wants a class for each token", "How many numbers belong to a token?"
)
def _(scores):
    return scores.softmax(dim=1)


@_inference_mistake(
    "highest-score",
    "the highest score is returned; this course wants the class that has it",
    "What does max return beside the values?",
)
def _(scores):
    return scores.max(dim=1).values


@_inference_mistake(
    "one-class-for-all",
    "one number for all tokens is returned; this course wants a class for each",
    "Over which axis is the maximum taken?",
)
def _(scores):
    return scores.argmax()


@_inference_mistake("axis-kept", "the result keeps an axis, (N, 1); this course wants (N,)", "What does keepdim do?")
def _(scores):
    return scores.argmax(dim=1, keepdim=True)


@_inference_mistake("floats", "the classes are returned as floats; this course wants int64", "Of which dtype is a class?")
def _(scores):
    return scores.argmax(dim=1).float()


@_inference_mistake(
    "small-integers",
    "the classes are returned in another integer dtype; this course wants int64",
    "Of which dtype is a class?",
)
def _(scores):
    return scores.argmax(dim=1).int()


@_inference_mistake("bytes", "the classes are returned as uint8; this course wants int64", "Of which dtype is a class?")
def _(scores):
    return scores.argmax(dim=1).to(torch.uint8)


@_inference_mistake(
    "counted-from-1", "classes are counted from 1; the background is class 0", "What is the number of the background?"
)
def _(scores):
    return scores.argmax(dim=1) + 1


@_inference_mistake(
    "background-left-out",
    "class 0 is never chosen; the background is a class like any other",
    "Which columns of the scores do you look at?",
)
def _(scores):
    return scores[:, 1:].argmax(dim=1) + 1


@_inference_mistake(
    "background-left-out-shifted",
    "the background's scores are left out, and so all classes are shifted by one",
    "Which columns of the scores do you look at?",
)
def _(scores):
    return scores[:, 1:].argmax(dim=1)


@_inference_mistake(
    "softmax-over-tokens",
    "a softmax over the tokens comes before the choice; the choice is among the classes",
    "Along which axis do the classes lie?",
)
def _(scores):
    return scores.softmax(dim=0).argmax(dim=1)


@_inference_mistake(
    "rounded", "the scores are rounded instead of compared", "How does one choose among the scores of the classes?"
)
def _(scores):
    return scores.round().long().clamp(0, scores.shape[1] - 1).amax(dim=1)


@_inference_mistake(
    "positive",
    "it is returned whether scores are positive; this course wants a class for each token",
    "How does one choose among the scores of the classes?",
)
def _(scores):
    return (scores > 0).long()


@_inference_mistake(
    "one-hot", "a row with a single 1 is returned; this course wants the class's number", "How many numbers belong to a token?"
)
def _(scores):
    return F.one_hot(scores.argmax(dim=1), scores.shape[1])


@_inference_mistake("list", "a list is returned; this course wants a tensor", "Of which type is the result?")
def _(scores):
    return scores.argmax(dim=1).tolist()


@_inference_mistake("array", "a numpy array is returned; this course wants a tensor", "Of which type is the result?")
def _(scores):
    return scores.argmax(dim=1).numpy()


@_inference_mistake(
    "drawn",
    "classes are drawn by their probability; this course takes the most likely one",
    "Would you get the same classes again?",
)
def _(scores):
    return scores.softmax(dim=1).multinomial(1)[:, 0]


@_inference_mistake(
    "order-reversed", "the classes come in the reverse order of the tokens", "Which token does the first class belong to?"
)
def _(scores):
    return scores.argmax(dim=1).flip(0)
