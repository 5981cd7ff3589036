"""Speed of the CLIP and DINO lesson: similarity, IoU, preparing frames, the segmentation head, tokens kept."""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import transforms

from benchmarks import compare
from dl.clip_dino import DavisDataset, DINOSegmentation, compute_iou, frame_tensor, get_similarity_no_loop
from dl.image_utils import IMAGENET_MEAN, IMAGENET_STD
from dl.models.exams import VIDEO_SIDE
from dl.models.vit import VisionTransformer, load_dino
from dl.world.export import HARD_VIDEOS, sample_path

D, CLASSES, SIZE = 384, 4, 480  # of the published DINO, the course's video, its frames
FRAME = (480, 854)


def main() -> None:
    torch.manual_seed(0)
    similarity()
    iou()
    frames()
    head()
    heads()


def similarity() -> None:
    for N, M, width in ((10, 10, 512), (1000, 1000, 512)):
        text, image = torch.randn(N, width), torch.randn(M, width)
        compare(
            f"similarity of {N} texts and {M} pictures of {width} features against the normalised product",
            lambda text=text, image=image: get_similarity_no_loop(text, image),
            lambda text=text, image=image: F.normalize(text, dim=1) @ F.normalize(image, dim=1).T,
            bound=1.1,
        )


def iou() -> None:
    pred, gt = torch.randint(0, CLASSES, (2, *FRAME)).unbind()
    compare(
        f"IoU of {FRAME[0]} x {FRAME[1]} labels, {CLASSES} classes, against one bincount of the pairs of labels",
        lambda: compute_iou(pred, gt, CLASSES),
        lambda: torch.add(pred.flatten(), gt.flatten(), alpha=CLASSES).bincount(minlength=CLASSES**2),
        bound=1.2,
        check=False,
    )  # the reference only counts
    compare(
        "IoU against a loop over the classes",
        lambda: compute_iou(pred, gt, CLASSES),
        lambda: class_by_class(pred, gt),
        check=False,
    )  # a tensor against a float: tests compare them


def heads() -> None:
    """Mean IoU of a linear head and of the lesson's on the hard videos, trained on the middle frame: about a minute."""
    dino, world = load_dino("cpu"), DavisDataset(sample_path("DAVIS"))
    reached: dict[str, list[float]] = {"one linear layer": [], "the lesson's, with a hidden layer": []}
    for name in HARD_VIDEOS:
        pictures, masks = map(np.stack, zip(*world.stream_sample(name)))
        X = world.process_frames(pictures, dino, "cpu", size=VIDEO_SIDE)
        Y = world.process_masks(masks, "cpu", size=VIDEO_SIDE, patch_size=dino.patch_size)
        for kind, values in reached.items():
            torch.manual_seed(231)
            model = DINOSegmentation("cpu", int(Y.max()) + 1, dino.width)
            if kind == "one linear layer":
                torch.manual_seed(231)
                model.head = nn.Linear(dino.width, model.num_classes)
                model.optimizer = torch.optim.AdamW(model.head.parameters(), lr=1e-2, weight_decay=0.1)
            model.train(X[len(Y) // 2], Y[len(Y) // 2], num_iters=500)
            pairs = zip(X, Y, strict=True)
            ious = [compute_iou(model.inference(x), y, model.num_classes, skip_absent=True) for x, y in pairs]
            values.append(float(np.mean(ious)))
    for kind, values in reached.items():
        print(f"{len(values)} hard videos, {kind}: mean IoU {np.mean(values):.3f}", flush=True)


def class_by_class(pred: torch.Tensor, gt: torch.Tensor) -> float:
    values = []
    for c in range(CLASSES):
        intersection = ((pred == c) & (gt == c)).sum()
        values.append(intersection / (((pred == c) | (gt == c)).sum() + 1e-8))
    return torch.stack(values).mean().item()


@torch.no_grad()
def frames(count: int = 4) -> None:
    """Pictures as smooth as photographs; noise would be no harder."""
    coarse = torch.rand(count, 3, 30, 54)
    pictures = (F.interpolate(coarse, FRAME, mode="bicubic").clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1)
    pictures = pictures.contiguous().numpy()
    bare = transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.Resize((SIZE, SIZE)),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    compare(
        f"preparing {count} frames of {FRAME[0]} x {FRAME[1]} against the bare torchvision transforms",
        lambda: frame_tensor(pictures, SIZE),
        lambda: torch.stack([bare(picture) for picture in pictures]),
        bound=1.05,
    )

    videos = DavisDataset()

    class Grey(nn.Module):  # a model that costs nothing, so that everything around it is seen
        def get_intermediate_layers(self, x: torch.Tensor, n: int) -> list[torch.Tensor]:
            return [torch.zeros(len(x), (SIZE // 8) ** 2 + 1, 1)]

    compare(
        f"process_frames without the ViT: {count} frames no one has seen, against the bare transforms",
        lambda: videos.process_frames(pictures, Grey(), "cpu"),
        lambda: torch.stack([bare(picture) for picture in pictures]),
        bound=1.05,
        check=False,
    )  # pictures, not tokens
    small, size = VisionTransformer(8, 128, 4, 4, image_size=64, stem="conv").eval(), 160
    compare(
        f"{count} frames seen before, {size} x {size}, against one pass of the small ViT",
        lambda: videos.process_frames(pictures, small, "cpu", size=size),
        lambda: small.get_intermediate_layers(frame_tensor(pictures, size))[0][:, 1:],
        bound=0.3,
        repeats=7,
    )


def head(N: int = 3600, steps: int = 20) -> None:
    X, Y = torch.randn(N, D), torch.randint(0, CLASSES, (N,))
    ours = DINOSegmentation("cpu", CLASSES, D)
    probe = copy.deepcopy(ours.head)
    settings = {name: ours.optimizer.defaults[name] for name in ("lr", "weight_decay")}
    optimizer = torch.optim.AdamW(probe.parameters(), **settings)

    def train_probe() -> None:
        for _ in range(steps):
            loss = F.cross_entropy(probe(X), Y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    compare(
        f"training the head, {steps} steps on {N} tokens of {D}, against a bare linear probe",
        lambda: ours.train(X, Y, num_iters=steps),
        train_probe,
        bound=1.2,
        check=False,
    )  # both only train
    with torch.no_grad():
        compare(
            "labels by the head against the bare linear layer",
            lambda: ours.inference(X),
            lambda: ours.head(X).argmax(dim=1),
            bound=1.2,
        )
