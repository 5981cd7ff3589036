"""What large pretrained models of pictures are good for: CLIP compares pictures with words, DINO finds their parts.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision" (arXiv:2103.00020), section
2.3 and figure 3: text and image features of a pair point the same way, so their cosine says how well they fit.
Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers" (arXiv:2104.14294): the tokens of a ViT
trained without labels know which patches belong together. A head of a few thousand weights, trained on a single frame,
then follows objects through a video.

Axes: N texts, M pictures, D features, T frames, H x W pixels, P patches of a frame (rows one after the other), C classes.
Notebook: notebooks/CLIP_DINO.ipynb

Importing this module needs torch and numpy only; CLIP, OpenCV and PIL are imported by the functions that use them.
"""

from __future__ import annotations

import hashlib
import operator
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl import settings
from dl.arguments import check_tensors
from dl.console import write_whole

FRAME_SIZE = 480  # published: frames are resized to 480 x 480, whatever their aspect ratio
PATCH = 8  # pixels a side of a patch of the published ViT-S/8
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of DINO's training pictures
PICTURES_AT_ONCE = 128  # through CLIP
ATTENTION_AT_ONCE = 13_000_000  # entries of a head's attention matrices through DINO at once: one frame of 3601 tokens
CACHE_BYTES = 700_000_000  # tokens kept for one model: 126 frames of 3600 x 384 in float32
COLOURS = (  # of classes 0, 1, …: black dims the background, then Okabe and Ito's colours
    (0, 0, 0),
    (213, 94, 0),
    (0, 114, 178),
    (240, 228, 66),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
)

# --- CLIP ---


def get_similarity_no_loop(text_features: Tensor, image_features: Tensor) -> Tensor:
    """Cosine similarity of every text with every picture, without a loop.

    Radford et al. 2021, figure 3: cos(t, i) = t . i / (|t| |i|).

    Args:
        text_features: (N, D) float. image_features: (M, D) float of the same dtype, on the same device. Rows need not have
            unit length; both are left as they are.
    Returns:
        (N, M) in [-1, 1], on the inputs' device; 0 where a row is zero.
    Raises:
        ValueError: if the shapes do not fit. TypeError: if the inputs are no floating tensors of one dtype.
    """
    _check_features(text_features, image_features)
    # EXERCISE get_similarity_no_loop, about 3 lines. Hint: which product of two matrices holds the dot product of every
    # row of one with every row of the other, and what must the length of the rows be to make it a cosine?
    # BEGIN SOLUTION get_similarity_no_loop
    return _unit_rows(text_features) @ _unit_rows(image_features).T  # (N, M)
    # END SOLUTION get_similarity_no_loop


@torch.no_grad()
def clip_zero_shot_classifier(
    clip_model: nn.Module,
    clip_preprocess: Callable,
    images: Sequence[np.ndarray],
    class_texts: Sequence[str],
    device: torch.device | str,
) -> list[str]:
    """Name each picture by the class text that fits it best. Nothing is trained.

    Radford et al. 2021, section 3.1.2; the texts are taken as they are given, without the paper's prompt templates.

    Args:
        clip_model: has encode_text and encode_image. clip_preprocess: PIL picture -> tensor (3, h, w).
        images: M uint8 arrays (H, W, 3), RGB, or (H, W), grey. class_texts: C texts of at most 75 tokens.
        device: where the model is.
    Returns:
        M of the class texts.
    Raises:
        ValueError: without images or texts, for images of other shapes, texts that are too long.
        TypeError: for images that are not uint8, texts that are no strings.
    """
    images = _checked_images("clip_zero_shot_classifier", images)
    tokens = _tokens("clip_zero_shot_classifier", class_texts, device)  # (C, 77)
    # EXERCISE clip_zero_shot_classifier, about 4 lines. Hint: `encode_images` below gives the pictures' features. Of the
    # similarity matrix of texts and pictures, along which axis lies the choice for one picture?
    # BEGIN SOLUTION clip_zero_shot_classifier
    class_features = clip_model.encode_text(tokens)  # (C, D)
    image_features = encode_images(clip_model, clip_preprocess, images, device)  # (M, D)
    similarity = get_similarity_no_loop(class_features, image_features)  # (C, M)
    return [class_texts[best] for best in similarity.argmax(dim=0).tolist()]
    # END SOLUTION clip_zero_shot_classifier


class CLIPImageRetriever:
    """Find pictures by a description. The pictures are encoded once; a query costs one pass of the text encoder.

    Args:
        clip_model: has encode_text and encode_image. clip_preprocess: PIL picture -> tensor (3, h, w).
        images: M uint8 arrays (H, W, 3), RGB, or (H, W), grey. device: where the model is.
    Raises:
        ValueError: without images, or for images of other shapes. TypeError: for images that are not uint8.
    """

    @torch.no_grad()
    def __init__(
        self, clip_model: nn.Module, clip_preprocess: Callable, images: Sequence[np.ndarray], device: torch.device | str
    ) -> None:
        images = _checked_images("CLIPImageRetriever", images)
        # EXERCISE CLIPImageRetriever.__init__, about 4 lines. Hint: what will `retrieve` need for every query, and what
        # of it can be done here, once?
        # BEGIN SOLUTION CLIPImageRetriever.__init__
        self.clip_model, self.device = clip_model, device
        self.image_features = _unit_rows(encode_images(clip_model, clip_preprocess, images, device))  # (M, D)
        # END SOLUTION CLIPImageRetriever.__init__

    @torch.no_grad()
    def retrieve(self, query: str, k: int = 2) -> list[int]:
        """Indices of the pictures that fit the query best, best first; pictures that fit equally in their own order.

        Args:
            query: one text of at most 75 tokens. k: how many, >= 1; all pictures are returned if there are fewer.
        Returns:
            min(k, M) ints.
        Raises:
            ValueError: if k < 1 or the query is too long. TypeError: if k is no int or the query no string.
        """
        if not isinstance(query, str):
            raise TypeError(f"CLIPImageRetriever.retrieve: wanted one text, got {type(query).__name__}. Pass a string.")
        if isinstance(k, bool) or not hasattr(k, "__index__"):
            raise TypeError(f"CLIPImageRetriever.retrieve: wanted a whole number k, got {k!r}. Pass an int.")
        k = operator.index(k)
        if k < 1:
            raise ValueError(f"CLIPImageRetriever.retrieve: wanted k >= 1, got {k}. Ask for at least one picture.")
        # EXERCISE CLIPImageRetriever.retrieve, about 5 lines. Hint: which function of this module compares one text with
        # all pictures? What should happen if k is larger than their number?
        # BEGIN SOLUTION CLIPImageRetriever.retrieve
        tokens = _tokens("CLIPImageRetriever.retrieve", [query], self.device)  # (1, 77)
        text_features = self.clip_model.encode_text(tokens)  # (1, D)
        similarity = get_similarity_no_loop(text_features, self.image_features)[0]  # (M,)
        return similarity.argsort(descending=True, stable=True)[:k].tolist()
        # END SOLUTION CLIPImageRetriever.retrieve


# --- DINO: videos, their tokens, and a head on the tokens ---


class DavisDataset:
    """Validation videos of DAVIS 2017, or those of the sample world, as DL_DATA says; and their frames as DINO tokens.

    Args:
        root: a folder in DAVIS's layout; None takes the fetched one, or the sample world's.
        download: with DL_DATA=real and no root, fetch the videos (about 800 MB) if they are absent; otherwise their
            absence is an error that names the command.
    Raises:
        FileNotFoundError: if there are no videos.
    """

    # model -> its tokens of frames, the latest used last; shared by all data sets, and gone with the model
    _tokens: ClassVar[weakref.WeakKeyDictionary[nn.Module, OrderedDict[tuple, Tensor]]] = weakref.WeakKeyDictionary()

    def __init__(self, root: str | Path | None = None, download: bool = False) -> None:
        from dl.data.davis import davis_folder, video_names

        if download and root is None and settings.data_mode() == settings.REAL:
            from dl.data.fetch import fetch
            from dl.data.registry import ENTRIES

            fetch(ENTRIES["davis"])
        self.root = davis_folder() if root is None else Path(root)
        self.names = video_names(self.root)

    def __len__(self) -> int:
        return len(self.names)

    def get_sample(self, index: int | str) -> tuple[np.ndarray, np.ndarray]:
        """One whole video; prints its name and length.

        Args:
            index: position in the course's order (`names`), 0 <= index < len(self), or a video's name.
        Returns:
            frames: uint8 (T, H, W, 3), RGB. masks: uint8 (T, H, W, 1), object ids, 0 background.
        Raises:
            IndexError, KeyError: if there is no such video. ValueError: if a file of it is damaged.
        """
        name = self._name(index)
        frames, masks = (np.stack(column) for column in zip(*self.stream_sample(name)))
        print(f"video {name}  {len(frames)} frames")
        return frames, masks

    def stream_sample(self, index: int | str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same video moment by moment, one in memory at a time: frame (H, W, 3) and mask (H, W, 1), uint8."""
        from dl.data.davis import read_moments

        return read_moments(self.root, self._name(index))

    def process_frames(
        self,
        frames: np.ndarray | Sequence[np.ndarray],
        dino_model: nn.Module,
        device: torch.device | str,
        size: int = FRAME_SIZE,
    ) -> Tensor:
        """Patch tokens of every frame: the output of the ViT's last block behind its layer norm, without [CLS].

        A frame that this model has seen before costs no pass: its tokens are kept, up to `CACHE_BYTES`.

        Args:
            frames: uint8 (T, H, W, 3), RGB, or a list of such frames.
            dino_model: has get_intermediate_layers, as `dl.models.vit.VisionTransformer`. It is not changed; put it in
                eval mode.
            device: where the model is. size: frames are resized to size x size, a multiple of the patch.
        Returns:
            (T, P, D) on that device, without gradient; P = (size / 8)^2 for patches of 8 pixels, row by row.
        Raises:
            ValueError: without frames, for frames of other shapes or a size that patches do not divide.
            TypeError: for frames that are not uint8.
        """
        frames = _checked_images("process_frames", frames, grey=False)
        tokens = None
        for number, of_frame in enumerate(self.stream_tokens(frames, dino_model, device, size)):
            if tokens is None:
                tokens = of_frame.new_empty(len(frames), *of_frame.shape)  # (T, P, D)
            tokens[number] = of_frame
        return tokens

    def stream_tokens(
        self, frames: Iterable[np.ndarray], dino_model: nn.Module, device: torch.device | str, size: int = FRAME_SIZE
    ) -> Iterator[Tensor]:
        """The same tokens, (P, D) of one frame after the other, in constant memory: `frames` may be a generator."""
        if size < PATCH or size % getattr(dino_model, "patch_size", PATCH):
            raise ValueError(
                f"process_frames: got size {size}, wanted a multiple of the model's patch, "
                f"{getattr(dino_model, 'patch_size', PATCH)} pixels. The course uses {FRAME_SIZE}."
            )
        at_once = max(1, ATTENTION_AT_ONCE // (size // PATCH) ** 4)
        batch: list[np.ndarray] = []
        for frame in frames:
            batch.append(frame)
            if len(batch) == min(at_once, 32):
                yield from self._tokens_of_batch(batch, dino_model, device, size)
                batch = []
        if batch:
            yield from self._tokens_of_batch(batch, dino_model, device, size)

    def process_masks(
        self, masks: np.ndarray, device: torch.device | str, size: int = FRAME_SIZE, patch_size: int = PATCH
    ) -> Tensor:
        """Masks at one label a patch, by nearest neighbour: no label is made up between two others.

        Args:
            masks: integer (T, H, W, 1) or (T, H, W), object ids. device: where the result goes.
            size: that of the frames in `process_frames`. patch_size: of the model.
        Returns:
            int64 (T, P), P = (size / patch_size)^2, row by row.
        Raises:
            ValueError: without masks, for other shapes, or if a mask holds 255. TypeError: for floats.
        """
        masks = np.asarray(masks)
        if masks.ndim == 4 and masks.shape[-1] == 1:
            masks = masks[..., 0]
        if masks.ndim != 3 or 0 in masks.shape:
            raise ValueError(
                f"process_masks: wanted at least one mask, (T, H, W, 1), got shape {masks.shape}. "
                "Pass a slice such as masks[40:41], not one mask."
            )
        if masks.dtype.kind not in "iu":
            raise TypeError(f"process_masks: wanted object ids as integers, got {masks.dtype}. Read the palette's indices.")
        if masks.max() >= 255 or masks.min() < 0:
            raise ValueError(
                f"process_masks: wanted object ids from 0 to 254, got {masks.min()} to {masks.max()}. "
                "255 marks undecided pixels in some data sets: set them to 0."
            )
        side = size // patch_size
        labels = np.stack([_nearest(mask, side, side) for mask in masks])  # (T, side, side)
        return torch.from_numpy(labels.reshape(len(labels), -1).astype(np.int64)).to(device)  # (T, P)

    def mask_frame_overlay(
        self, processed_mask: Tensor | np.ndarray, frame: np.ndarray, clear_background: bool = False
    ) -> np.ndarray:
        """A frame under the labels of its patches, blended half and half; the frame itself stays as it is.

        Args:
            processed_mask: integer (P,), labels of a square grid of patches, row by row.
            frame: uint8 (H, W, 3), RGB. clear_background: leave class 0 as it is.
        Returns:
            uint8 (H, W, 3).
        Raises:
            ValueError: if P is no square, or the frame has another shape. TypeError: for other dtypes.
        """
        (frame,) = _checked_images("mask_frame_overlay", [frame], grey=False)
        labels = np.asarray(processed_mask.cpu() if isinstance(processed_mask, Tensor) else processed_mask)
        side = round(labels.size**0.5)
        if labels.ndim != 1 or side * side != labels.size or not labels.size:
            raise ValueError(
                f"mask_frame_overlay: wanted the labels of a square grid, (P,), got shape {labels.shape}. "
                "Pass one row of process_masks, or the result of DINOSegmentation.inference."
            )
        mask = _nearest(labels.reshape(side, side), *frame.shape[:2])  # (H, W)
        return create_segmentation_overlay(mask, frame, clear_background=clear_background)

    def _name(self, index: int | str) -> str:
        if isinstance(index, str):
            if index not in self.names:
                raise KeyError(
                    f"get_sample: there is no video {index!r}; there are {', '.join(self.names)}. "
                    "Pass one of these names, or a position."
                )
            return index
        if isinstance(index, bool) or not hasattr(index, "__index__"):
            raise TypeError(f"get_sample: wanted a video's position or name, got {index!r}. Pass an int or a string.")
        index = operator.index(index)
        if not 0 <= index < len(self.names):
            raise IndexError(
                f"get_sample: got position {index}, wanted 0 to {len(self.names) - 1}. "
                "`names` lists the videos in their order."
            )
        return self.names[index]

    @torch.no_grad()
    def _tokens_of_batch(
        self, frames: list[np.ndarray], model: nn.Module, device: torch.device | str, size: int
    ) -> list[Tensor]:
        """(P, D) of each frame, from the memory or from one pass of the model for all that are new."""
        resized = [_resize(frame, size) for frame in _checked_images("process_frames", frames, grey=False)]
        known = self._tokens_of(model)
        parameters = model.parameters() if isinstance(model, nn.Module) else ()
        state = (getattr(model, "training", False), *(p._version for p in parameters if not p.is_inference()))
        keys = [(hashlib.sha256(picture).digest(), *picture.shape, *state) for picture in resized]
        new = {key: picture for key, picture in zip(keys, resized) if key not in known}
        if new:
            pictures = _normalised(list(new.values())).to(device)  # (B, 3, size, size)
            tokens = model.get_intermediate_layers(pictures, n=1)[0][:, 1:]  # (B, P, D)
            known.update(zip(new, tokens.cpu().unbind()))
        found = []
        for key in keys:
            known.move_to_end(key)
            found.append(known[key].to(device, copy=True))
        while sum(tokens.nbytes for tokens in known.values()) > CACHE_BYTES:
            known.popitem(last=False)  # the one not asked for the longest
        return found

    def _tokens_of(self, model: nn.Module) -> OrderedDict[tuple, Tensor]:
        try:
            return self._tokens.setdefault(model, OrderedDict())
        except TypeError:  # an object without a hash or weak references: nothing is kept for it
            return OrderedDict()


def create_segmentation_overlay(
    segmentation_mask: np.ndarray, image: np.ndarray, alpha: float = 0.5, clear_background: bool = False
) -> np.ndarray:
    """A picture under a colour for each class: image * (1 - alpha) + colour * alpha.

    The colours are the same in every call. Class 0, the background, is black: it dims the picture.

    Args:
        segmentation_mask: integer (H, W), classes from 0. image: uint8 (H, W, 3), RGB; not changed.
        alpha: weight of the colour, 0 to 1. clear_background: leave class 0 as it is.
    Returns:
        uint8 (H, W, 3).
    Raises:
        ValueError: if sizes differ. TypeError: if the image is not uint8 or the mask holds no integers.
    """
    (image,) = _checked_images("create_segmentation_overlay", [image], grey=False)
    segmentation_mask = np.asarray(segmentation_mask)
    if segmentation_mask.shape != image.shape[:2]:
        raise ValueError(
            f"create_segmentation_overlay: wanted a mask of the picture's size {image.shape[:2]}, got "
            f"{segmentation_mask.shape}. Resize the mask by nearest neighbour."
        )
    if segmentation_mask.dtype.kind not in "iu":
        raise TypeError(
            f"create_segmentation_overlay: wanted classes as integers, got {segmentation_mask.dtype}. "
            "Pass class numbers, not scores."
        )
    colours = class_colours(int(segmentation_mask.max()) + 1)[segmentation_mask]  # (H, W, 3)
    blended = (image * (1 - alpha) + colours * alpha).round().astype(np.uint8)
    if clear_background:
        blended[segmentation_mask == 0] = image[segmentation_mask == 0]
    return blended


def class_colours(count: int) -> np.ndarray:
    """uint8 (count, 3), RGB: `COLOURS`, and behind them colours of a fixed random stream of its own."""
    more = np.random.default_rng(0).integers(40, 256, size=(max(0, count - len(COLOURS)), 3))
    return np.array([*COLOURS, *more.tolist()], dtype=np.uint8)[:count]


def compute_iou(pred: Tensor | np.ndarray, gt: Tensor | np.ndarray, num_classes: int, skip_absent: bool = False) -> float:
    """Mean over classes of intersection / (union + 1e-8): how well a labelling fits the true one.

    A class that neither labelling has counts as 0 here, as in the course's grading: the truth against itself then stays
    below 1. With `skip_absent` such classes are left out.

    Args:
        pred, gt: integers of one shape, classes from 0 to num_classes - 1. num_classes: at least 1.
        skip_absent: average over the classes that occur in `pred` or `gt`.
    Returns:
        a float in [0, 1].
    Raises:
        ValueError: if shapes differ or are empty, or a class lies outside. TypeError: for other dtypes.
    """
    pred, gt = (torch.as_tensor(labels) for labels in (pred, gt))
    num_classes = _checked_labels(pred, gt, num_classes)
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
    """A linear classifier of single patch tokens: which object does a patch belong to?

    One layer is enough if the tokens are good: then patches of one object lie together, and apart from the others.

    Args:
        device: where to compute. num_classes: at least 1, with the background. inp_dim: D of the tokens.
    Raises:
        ValueError: if num_classes < 1.
    """

    def __init__(self, device: torch.device | str, num_classes: int, inp_dim: int = 384) -> None:
        self.device, self.num_classes, self.inp_dim = device, int(num_classes), int(inp_dim)
        if self.num_classes < 1 or self.inp_dim < 1:
            raise ValueError(
                f"DINOSegmentation: wanted num_classes and inp_dim of at least 1, got {num_classes} and {inp_dim}. "
                "masks.max() + 1 wraps to 0 in uint8 if a mask holds 255: write int(masks.max()) + 1."
            )
        # EXERCISE DINOSegmentation.__init__, about 3 lines. Hint: what is the smallest layer that gives each token a score
        # for each class, and what keeps it from fitting a single frame too closely?
        # BEGIN SOLUTION DINOSegmentation.__init__
        self.head = nn.Linear(self.inp_dim, self.num_classes).to(device)
        self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=1e-2, weight_decay=0.1)
        self.loss = nn.CrossEntropyLoss()
        # END SOLUTION DINOSegmentation.__init__

    def train(self, X_train: Tensor, Y_train: Tensor, num_iters: int = 500) -> None:
        """Train the head; every step sees all patches. Seeds are the caller's.

        Args:
            X_train: (N, D) float, tokens. Y_train: integer (N,), classes. num_iters: steps.
        Raises:
            ValueError: if shapes do not fit, or a class lies outside. TypeError: for other dtypes.
        """
        X_train, Y_train = self._checked("train", X_train, Y_train)
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

    @torch.no_grad()
    def inference(self, X_test: Tensor) -> Tensor:
        """The most likely class of every token.

        Args:
            X_test: (N, D) float, tokens.
        Returns:
            int64 (N,), on the head's device, without gradient. Each row's class depends on that row alone.
        Raises:
            ValueError: if the shape does not fit. TypeError: if the tokens are no floats.
        """
        X_test, _ = self._checked("inference", X_test)
        # EXERCISE DINOSegmentation.inference, about 2 lines. Hint: in which mode must the head be, so that a patch's class
        # does not depend on the other patches?
        # BEGIN SOLUTION DINOSegmentation.inference
        self.head.eval()
        return self.head(X_test).argmax(dim=1)  # (N,)
        # END SOLUTION DINOSegmentation.inference

    def _checked(self, method: str, X: Tensor, Y: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Tokens as float32 and labels as int64 on the head's device."""
        function = f"DINOSegmentation.{method}"
        labels = {} if Y is None else {"Y_train": (Y, "N")}
        check_tensors(function, X=(X, f"N {self.inp_dim}"), **labels)
        if not X.is_floating_point() or (Y is not None and (Y.is_floating_point() or Y.dtype == torch.bool)):
            raise TypeError(
                f"{function}: wanted tokens as floats and classes as integers, got {X.dtype}"
                f"{'' if Y is None else f' and {Y.dtype}'}. Convert them with .float() and .long()."
            )
        if Y is None:
            return X.detach().to(self.device, torch.float32), None
        if not len(Y) or Y.min() < 0 or Y.max() >= self.num_classes:
            span = f"{int(Y.min())} to {int(Y.max())}" if len(Y) else "none"
            raise ValueError(
                f"{function}: wanted classes from 0 to {self.num_classes - 1}, got {span}. "
                "Count the classes over all masks, and set undecided pixels (255) to 0."
            )
        return X.detach().to(self.device, torch.float32), Y.to(self.device, torch.int64)


def write_video_from_array(array: Iterable[np.ndarray], output_path: str | Path, fps: float = 12) -> None:
    """Write frames as an MP4 (codec mp4v), one after the other: `array` may be a generator, and is never held as a whole.

    The file gets its name when it is complete; a failure leaves what was there before. Prints where it is.

    Args:
        array: uint8 frames (H, W, 3), RGB, all of one size. output_path: ends with .mp4. fps: frames a second.
    Raises:
        ValueError: without frames, for frames of other shapes or sizes. TypeError: for frames that are not uint8.
        OSError: if OpenCV cannot write such a file.
    """
    output_path = Path(output_path)
    write_whole(output_path, lambda file: _write_frames(array, file, fps))
    print(f"Video saved to {output_path.name}")


def _write_frames(array: Iterable[np.ndarray], file: Path, fps: float) -> None:
    import cv2

    writer, size = None, None
    try:
        for frame in array:
            (frame,) = _checked_images("write_video_from_array", [frame], grey=False)
            if writer is None:
                size = frame.shape
                writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), fps, (size[1], size[0]))
                if not writer.isOpened():
                    raise OSError(
                        f"write_video_from_array: OpenCV cannot write {file.name} with the codec mp4v at "
                        f"{size[1]} x {size[0]}. Choose a name that ends with .mp4, in a folder you can write to."
                    )
            if frame.shape != size:
                raise ValueError(
                    f"write_video_from_array: wanted frames of one size {size}, got {frame.shape}. Resize them before."
                )
            writer.write(np.ascontiguousarray(frame[..., ::-1]))  # OpenCV wants blue first
        if writer is None:
            raise ValueError("write_video_from_array: got no frame, wanted at least one. Is the generator used up?")
    finally:
        if writer is not None:
            writer.release()


# --- Pictures and words on their way into the models ---


def frame_tensor(frames: Sequence[np.ndarray], size: int = FRAME_SIZE) -> Tensor:
    """Frames as DINO wants them: resized to size x size (bilinear), in [0, 1], less ImageNet's mean, over its deviation.

    Args:
        frames: T uint8 arrays (H, W, 3), RGB. Returns:
        (T, 3, size, size) float32, on the CPU; within 1e-6 of torchvision's transforms on PIL pictures.
    """
    return _normalised([_resize(frame, size) for frame in _checked_images("frame_tensor", frames, grey=False)])


def _resize(frame: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image

    return np.array(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR))


def _normalised(pictures: list[np.ndarray]) -> Tensor:
    """uint8 pictures (H, W, 3) of one size as (B, 3, H, W), by one multiplication and one subtraction a value."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    out = torch.empty(len(pictures), 3, *pictures[0].shape[:2])
    for place, picture in zip(out, pictures):
        place.copy_(torch.from_numpy(picture).permute(2, 0, 1))
    return out.mul_(1 / (255 * std)).sub_(mean / std)


def _nearest(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture (H, W) at another size by nearest neighbour: pixel (row, column) is that of (row H / height, …), floored."""
    rows, columns = (np.arange(new) * old // new for old, new in zip(picture.shape, (height, width)))
    return picture[rows[:, None], columns]


@torch.no_grad()
def encode_images(
    clip_model: nn.Module, clip_preprocess: Callable, images: Sequence[np.ndarray], device: torch.device | str
) -> Tensor:
    """CLIP's features of pictures: (M, D), not normalised, without gradient.

    Args:
        images: M uint8 arrays (H, W, 3), RGB, or (H, W), grey; `PICTURES_AT_ONCE` go through the model together.
    """
    from PIL import Image

    images = _checked_images("encode_images", images)
    features = []
    for start in range(0, len(images), PICTURES_AT_ONCE):
        pictures = [clip_preprocess(Image.fromarray(image)) for image in images[start : start + PICTURES_AT_ONCE]]
        features.append(clip_model.encode_image(torch.stack(pictures).to(device)))  # (up to PICTURES_AT_ONCE, D)
    return torch.cat(features)


def _tokens(function: str, texts: Sequence[str], device: torch.device | str) -> Tensor:
    """`clip.tokenize`, (N, 77) on the device, with errors in words."""
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{function}: wanted a list of texts, got {texts!r:.60}. Pass strings in a list.")
    if not len(texts):
        raise ValueError(f"{function}: wanted at least one text, got none. Pass the classes to choose from.")
    tokenize = _clip_tokenize()
    try:
        return tokenize(list(texts)).to(device)
    except RuntimeError as error:
        raise ValueError(
            f"{function}: a text has more than CLIP's 77 tokens (75 and the two of begin and end): "
            f"{str(error):.90}…. Shorten it."
        ) from error


def _clip_tokenize() -> Callable:
    """`clip.tokenize`, or an error that says which package it is in and what that needs."""
    from dl.models.small_clip import quiet_clip_import

    try:
        with quiet_clip_import():
            from clip import tokenize
    except ImportError as error:
        raise ImportError(
            f"clip_dino: the package clip cannot be used ({error}). Install it with "
            'python -m pip install "clip-anytorch>=2.6" "setuptools>=77.0.3,<82" (the package called clip is another one).'
        ) from error
    return tokenize


def _unit_rows(features: Tensor) -> Tensor:
    """Rows at length 1; a zero row stays zero, also in half precision."""
    return F.normalize(features, dim=1, eps=max(1e-12, torch.finfo(features.dtype).tiny))


# --- Checks at the public doors ---


def _check_features(text: Tensor, image: Tensor) -> None:
    """A product of small matrices takes microseconds, so what fits is let through without a detailed look."""
    name = "get_similarity_no_loop"
    if not (
        isinstance(text, Tensor)
        and isinstance(image, Tensor)
        and text.ndim == image.ndim == 2
        and text.shape[1] == image.shape[1]
        and text.dtype == image.dtype
    ):
        check_tensors(name, text_features=(text, "N D"), image_features=(image, "M D"))
    if not (text.is_floating_point() and image.is_floating_point()):
        raise TypeError(
            f"{name}: wanted floating features, got {text.dtype} and {image.dtype}. "
            "Pass what encode_text and encode_image return."
        )


def _checked_images(function: str, images: Sequence[np.ndarray], grey: bool = True) -> list[np.ndarray]:
    """Images as a list of uint8 arrays (H, W, 3), or (H, W) where `grey`; an error lists all that do not fit."""
    wanted = "uint8 arrays (H, W, 3)" + (" or (H, W)" if grey else "")
    if isinstance(images, np.ndarray) and images.ndim == 3 and images.shape[-1] == 3:
        raise ValueError(f"{function}: wanted a list of {wanted}, got one picture {images.shape}. Put it in a list.")
    images = list(images)
    if not images:
        raise ValueError(f"{function}: got no images, wanted at least one: {wanted}. Pass a list with pictures in it.")
    shapes, types = [], []
    for number, image in enumerate(images):
        if not isinstance(image, np.ndarray):
            types.append(f"number {number} is a {type(image).__name__}")
        elif image.dtype != np.uint8:
            types.append(f"number {number} is {image.dtype}")
        elif not (image.ndim == 3 and image.shape[2] == 3 or grey and image.ndim == 2) or not image.size:
            shapes.append(f"number {number} has shape {image.shape}")
    if types or shapes:
        raise (TypeError if types else ValueError)(
            f"{function}: wanted {wanted}, RGB, in 0..255; {'; '.join((types + shapes)[:5])}. "
            "Convert with np.asarray(Image.open(file).convert('RGB'))."
        )
    return images


def _checked_labels(pred: Tensor, gt: Tensor, num_classes: int) -> int:
    """The number of classes as an int, or an error in words."""
    num_classes = int(num_classes)
    if pred.is_floating_point() or gt.is_floating_point():
        raise TypeError(
            f"compute_iou: wanted classes as integers, got {pred.dtype} and {gt.dtype}. "
            "Pass class numbers, such as scores.argmax(dim=-1)."
        )
    if pred.shape != gt.shape or not pred.numel():
        raise ValueError(
            f"compute_iou: wanted two labellings of one shape, got {tuple(pred.shape)} and {tuple(gt.shape)}. "
            "Bring both to one size by nearest neighbour."
        )
    ends = [int(end) for labels in (pred, gt) for end in labels.aminmax()]
    if num_classes < 1 or min(ends) < 0 or max(ends) >= num_classes:
        raise ValueError(
            f"compute_iou: wanted classes from 0 to num_classes - 1, got {min(ends)} to {max(ends)} and "
            f"num_classes {num_classes}. Count the classes over all masks, int(masks.max()) + 1, and set "
            "undecided pixels (255) to 0."
        )
    return num_classes
