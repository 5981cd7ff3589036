"""What large pretrained image models are good for: CLIP compares images with words, DINO finds the parts of an image.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision" (arXiv:2103.00020), section
2.3 and figure 3: text and image features of a pair point the same way, so their cosine says how well they fit.
Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers" (arXiv:2104.14294): the tokens of a ViT
trained without labels know which patches belong together. A small head, trained on a single frame, then follows objects
through a video.

Axes: N texts, M images, D features, P patches of a frame (row by row), C classes.
Notebook: notebooks/CLIP_DINO.ipynb. Videos, tokens and overlays: dl/video/. Checks of arguments: dl/guards/clip_dino.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl.guards import check_sizes
from dl.guards import clip_dino as guards
from dl.guards.images import check_images
from dl.utils import no_grad
from dl.video import DavisDataset, class_colours, create_segmentation_overlay, frame_tensor, write_video_from_array

if TYPE_CHECKING:
    from dl.models.small_clip import ImageTextModel

__all__ = [
    "CLIPImageRetriever",
    "DINOSegmentation",
    "DavisDataset",
    "class_colours",
    "clip_zero_shot_classifier",
    "compute_iou",
    "create_segmentation_overlay",
    "encode_images",
    "frame_tensor",
    "get_similarity_no_loop",
    "write_video_from_array",
]

IMAGES_AT_ONCE = 128  # through CLIP


# --- CLIP ---


def get_similarity_no_loop(text_features: Tensor, image_features: Tensor) -> Tensor:
    """Cosine similarity of every text with every image, without a loop.

    Radford et al. 2021, figure 3: cos(t, i) = t . i / (|t| |i|).

    Args:
        text_features: (N, D) float. image_features: (M, D) float of the same dtype, on the same device. Rows need not have
            unit length; both are left as they are.
    Returns:
        (N, M) in [-1, 1], on the inputs' device; 0 where a row is zero.
    Raises:
        ValueError: if the shapes do not fit. TypeError: if the inputs are no floating tensors of one dtype.
    """
    guards.check_features(text_features, image_features)
    # EXERCISE get_similarity_no_loop, about 3 lines. Hint: which product of two matrices holds the dot product of every
    # row of one with every row of the other, and what must the length of the rows be to make it a cosine?
    # BEGIN SOLUTION get_similarity_no_loop
    return _unit_rows(text_features) @ _unit_rows(image_features).T  # (N, M)
    # END SOLUTION get_similarity_no_loop


@no_grad
def clip_zero_shot_classifier(
    clip_model: ImageTextModel,
    clip_preprocess: Callable,
    images: Sequence[np.ndarray],
    class_texts: Sequence[str],
    device: torch.device | str,
) -> list[str]:
    """Name each image by the class text that fits it best. Nothing is trained.

    Radford et al. 2021, section 3.1.2; the texts are taken as they are given, without the paper's prompt templates.

    Args:
        clip_model: has encode_text and encode_image. clip_preprocess: PIL image -> tensor (3, h, w).
        images: M uint8 arrays (H, W, 3), RGB, or (H, W), grey. class_texts: C texts of at most 75 tokens.
        device: where the model is.
    Returns:
        M of the class texts.
    Raises:
        ValueError: without images or texts, for images of other shapes, texts that are too long.
        TypeError: for images that are not uint8, texts that are no strings.
    """
    guards.check_model("clip_zero_shot_classifier", clip_model, clip_preprocess, device)
    images = check_images("clip_zero_shot_classifier", images)
    tokens = guards.tokenize("clip_zero_shot_classifier", class_texts, device)  # (C, 77)
    # EXERCISE clip_zero_shot_classifier, about 4 lines. Hint: `encode_images` below gives the images' features. Of the
    # similarity matrix of texts and images, along which axis lies the choice for one image?
    # BEGIN SOLUTION clip_zero_shot_classifier
    class_features = clip_model.encode_text(tokens)  # (C, D)
    image_features = encode_images(clip_model, clip_preprocess, images, device)  # (M, D)
    similarity = get_similarity_no_loop(class_features, image_features)  # (C, M)
    return [class_texts[best] for best in similarity.argmax(dim=0).tolist()]
    # END SOLUTION clip_zero_shot_classifier


class CLIPImageRetriever:
    """Find images by a description. The images are encoded once; a query costs one pass of the text encoder.

    Args:
        clip_model: has encode_text and encode_image. clip_preprocess: PIL image -> tensor (3, h, w).
        images: M uint8 arrays (H, W, 3), RGB, or (H, W), grey. device: where the model is.
    Raises:
        ValueError: without images, or for images of other shapes. TypeError: for images that are not uint8.
    """

    @no_grad
    def __init__(
        self, clip_model: ImageTextModel, clip_preprocess: Callable, images: Sequence[np.ndarray], device: torch.device | str
    ) -> None:
        guards.check_model("CLIPImageRetriever", clip_model, clip_preprocess, device)
        images = check_images("CLIPImageRetriever", images)
        # EXERCISE CLIPImageRetriever.__init__, about 4 lines. Hint: what will `retrieve` need for every query, and what
        # of it can be done here, once?
        # BEGIN SOLUTION CLIPImageRetriever.__init__
        self.clip_model, self.device = clip_model, device
        self.image_features = _unit_rows(encode_images(clip_model, clip_preprocess, images, device))  # (M, D)
        # END SOLUTION CLIPImageRetriever.__init__

    @no_grad
    def retrieve(self, query: str, k: int = 2) -> list[int]:
        """Indices of the images that fit the query best, best first; images that fit equally in their own order.

        Args:
            query: one text of at most 75 tokens. k: how many, >= 1; all images are returned if there are fewer.
        Returns:
            min(k, M) ints.
        Raises:
            ValueError: if k < 1 or the query is too long. TypeError: if k is no int or the query no string.
        """
        k = guards.check_query(query, k)
        # EXERCISE CLIPImageRetriever.retrieve, about 5 lines. Hint: `guards.tokenize`, used above, makes a text fit for the
        # model. Which function of this module compares one text with all images, and what if k exceeds their number?
        # BEGIN SOLUTION CLIPImageRetriever.retrieve
        tokens = guards.tokenize("CLIPImageRetriever.retrieve", [query], self.device)  # (1, 77)
        text_features = self.clip_model.encode_text(tokens)  # (1, D)
        similarity = get_similarity_no_loop(text_features, self.image_features)[0]  # (M,)
        return similarity.argsort(descending=True, stable=True)[:k].tolist()
        # END SOLUTION CLIPImageRetriever.retrieve


@no_grad
def encode_images(
    clip_model: ImageTextModel, clip_preprocess: Callable, images: Sequence[np.ndarray], device: torch.device | str
) -> Tensor:
    """CLIP's features of images: (M, D), not normalised, without gradient.

    Args:
        images: M uint8 arrays (H, W, 3), RGB, or (H, W), grey; `IMAGES_AT_ONCE` go through the model together, more show
            a progress bar.
    """
    from PIL import Image
    from tqdm.auto import tqdm

    guards.check_model("encode_images", clip_model, clip_preprocess, device)
    images = check_images("encode_images", images)
    features = []
    starts = range(0, len(images), IMAGES_AT_ONCE)
    for start in tqdm(starts, desc="Encoding images", leave=False, disable=len(starts) < 2):
        batch = [clip_preprocess(Image.fromarray(image)) for image in images[start : start + IMAGES_AT_ONCE]]
        features.append(clip_model.encode_image(torch.stack(batch).to(device)))  # (up to IMAGES_AT_ONCE, D)
    return torch.cat(features)


# BEGIN SOLUTION-ONLY
def _unit_rows(features: Tensor) -> Tensor:
    """Rows at length 1; a zero row stays zero, also in half precision."""
    return F.normalize(features, dim=1, eps=max(1e-12, torch.finfo(features.dtype).tiny))


# END SOLUTION-ONLY


# --- DINO: a head on the tokens of a frame ---


def compute_iou(pred: Tensor | np.ndarray, gt: Tensor | np.ndarray, num_classes: int, skip_absent: bool = False) -> float:
    """Mean over classes of intersection / (union + 1e-8): how well a labelling fits the true one.

    A class that neither labelling has counts as 0 here, as in the reference setting: the truth against itself then stays
    below 1. With `skip_absent` such classes are left out.

    Args:
        pred, gt: integers of one shape, classes from 0 to num_classes - 1. num_classes: at least 1.
        skip_absent: average over the classes that occur in `pred` or `gt`.
    Returns:
        a float in [0, 1].
    Raises:
        ValueError: if shapes differ or are empty, or a class lies outside. TypeError: for other dtypes.
    """
    pred, gt = guards.integer_labels(pred), guards.integer_labels(gt)
    num_classes = guards.check_labels(pred, gt, num_classes)
    # EXERCISE compute_iou, about 7 lines. Hint: give each pair (true class, predicted class) a number of its own and count
    # how often each occurs. Where in that table are the intersections, and what do its rows and columns sum to?
    # BEGIN SOLUTION compute_iou
    small = torch.uint8 if num_classes <= 16 else torch.int64  # pairs of up to 16 classes fit in a byte, which is faster
    pairs = torch.add(pred.flatten().to(small), gt.flatten().to(pred.device, small), alpha=num_classes)
    counts = pairs.bincount(minlength=num_classes**2).view(num_classes, num_classes)  # [true class, predicted class]
    intersection = counts.diagonal()  # (C,)
    union = counts.sum(dim=0) + counts.sum(dim=1) - intersection  # (C,)
    iou = intersection / (union + 1e-8)  # (C,)
    return (iou[union > 0] if skip_absent else iou).mean().item()
    # END SOLUTION compute_iou


class DINOSegmentation:
    """A small classifier of single patch tokens: which object does a patch belong to?

    Little is needed if the tokens are good: then patches of one object lie together, and apart from the others.

    Args:
        device: where to compute. num_classes: at least 1, with the background. inp_dim: D of the tokens.
    Raises:
        ValueError: if num_classes < 1.
    """

    def __init__(self, device: torch.device | str, num_classes: int, inp_dim: int = 384) -> None:
        guards.check_head_size(device, num_classes, inp_dim)
        self.device, self.num_classes, self.inp_dim = device, int(num_classes), int(inp_dim)
        # EXERCISE DINOSegmentation.__init__, about 5 lines. Hint: one or two linear layers that give each token a score for
        # each class. What keeps them from fitting a single frame too closely?
        # BEGIN SOLUTION DINOSegmentation.__init__
        hidden = 128
        layers = nn.Linear(self.inp_dim, hidden), nn.ReLU(), nn.Linear(hidden, self.num_classes)
        self.head = nn.Sequential(*layers).to(device)
        self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=1e-3, weight_decay=0.1)
        self.loss = nn.CrossEntropyLoss()
        # END SOLUTION DINOSegmentation.__init__

    def train(self, X_train: Tensor, Y_train: Tensor, num_iters: int = 500) -> None:
        """Train the head; every step sees all patches. Seeds are the caller's.

        Args:
            X_train: (N, D) float, tokens. Y_train: integer (N,), classes. num_iters: steps.
        Raises:
            ValueError: if shapes do not fit, or a class lies outside. TypeError: for other dtypes.
        """
        check_sizes("DINOSegmentation.train", num_iters=num_iters)
        X_train = guards.check_tokens(self, "train", X_train)
        Y_train = guards.check_patch_labels(self, "train", Y_train, len(X_train))
        # EXERCISE DINOSegmentation.train, about 6 lines. Hint: the five steps of every training loop, on the whole of
        # X_train at once. In which mode must the head be?
        # BEGIN SOLUTION DINOSegmentation.train
        self.head.train()
        for _ in range(num_iters):
            loss = self.loss(self.head(X_train), Y_train)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        # END SOLUTION DINOSegmentation.train
        guards.check_finite_head(self, X_train, num_iters)

    @no_grad
    def inference(self, X_test: Tensor) -> Tensor:
        """The most likely class of every token.

        Args:
            X_test: (N, D) float, tokens.
        Returns:
            int64 (N,), on the head's device, without gradient. Each row's class depends on that row alone.
        Raises:
            ValueError: if the shape does not fit. TypeError: if the tokens are no floats.
        """
        X_test = guards.check_tokens(self, "inference", X_test)
        # EXERCISE DINOSegmentation.inference, about 2 lines. Hint: in which mode must the head be, so that a patch's class
        # does not depend on the other patches?
        # BEGIN SOLUTION DINOSegmentation.inference
        self.head.eval()
        return self.head(X_test).argmax(dim=1)  # (N,)
        # END SOLUTION DINOSegmentation.inference
