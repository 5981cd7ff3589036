"""CLIP and DINO: similarity, zero-shot, retrieval, videos as tokens, overlays, IoU, the segmentation head, the video."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision import transforms

from dl import clip_dino
from dl.clip_dino import (
    CLIPImageRetriever,
    DINOSegmentation,
    clip_zero_shot_classifier,
    compute_iou,
    get_similarity_no_loop,
    write_video_from_array,
)
from dl.models.small_clip import quiet_clip_import

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = json.loads((ROOT / "dl/checks/expected/clip_dino.json").read_text())


def picture(colour, shape=(20, 30)):
    return np.full((*shape, 3), colour, dtype=np.uint8)


RED, GREEN, BLUE, DIM_RED = (picture(colour) for colour in ((200, 9, 9), (9, 200, 9), (9, 9, 200), (90, 60, 60)))


class FakeCLIP(nn.Module):
    """Pictures by their mean colour, texts by the colour words in them; features of any length."""

    def __init__(self):
        super().__init__()
        with quiet_clip_import():
            from clip import tokenize
        self.words = {int(tokenize(word)[0, 1]): row for word, row in (("red", 0), ("green", 1), ("blue", 2))}
        self.pictures_seen, self.texts_seen = 0, 0
        self.weight = nn.Parameter(torch.ones(()))

    def encode_image(self, images):
        self.pictures_seen += len(images)
        return self.weight * images.mean(dim=(2, 3)) * 7

    def encode_text(self, tokens):
        self.texts_seen += len(tokens)
        features = torch.zeros(len(tokens), 3, device=tokens.device)
        for row, text in zip(features, tokens.tolist(), strict=True):
            for token in text:
                if token in self.words:
                    row[self.words[token]] = 3.0
        return self.weight * features


def preprocess(image):
    return transforms.ToTensor()(image.convert("RGB").resize((8, 8)))


@pytest.fixture(scope="module")
def fake():
    return FakeCLIP()


# --- Similarity ---


@pytest.fixture
def features():
    check = EXPECTED["similarity_check"]
    return torch.tensor(check["text_features_float32"]), torch.tensor(check["image_features_float32"])


def relative_error(x, y):
    return ((x - y).abs() / (x.abs() + y.abs()).clamp(min=1e-10)).max().item()


def test_similarity_equals_the_published_table(features):
    check = EXPECTED["similarity_check"]
    similarity = get_similarity_no_loop(*features)
    assert similarity.shape == (6, 5)
    assert relative_error(similarity, torch.tensor(check["expected_out_float32"])) < check["tolerance"]
    in_double = get_similarity_no_loop(*(f.double() for f in features))
    reference = torch.tensor(check["float64_reference"], dtype=torch.float64)
    torch.testing.assert_close(in_double, reference, rtol=0, atol=1e-14)


def test_similarity_inputs_come_from_the_seed_in_the_stated_order(features):
    torch.manual_seed(231)
    assert torch.equal(torch.randn(6, 10), features[0]) and torch.equal(torch.randn(5, 10), features[1])


def test_similarity_equals_torchs_own_cosine_and_leaves_its_inputs_alone(features):
    text, image = (f.clone().requires_grad_() for f in features)
    similarity = get_similarity_no_loop(text, image)
    torch.testing.assert_close(similarity, F.cosine_similarity(text[:, None], image[None], dim=2), rtol=1e-5, atol=1e-7)
    similarity.sum().backward()
    assert text.grad is not None and torch.equal(text, features[0]) and torch.equal(image, features[1])


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16, torch.float32, torch.float64))
def test_similarity_is_finite_and_ignores_length_in_every_precision(dtype):
    text = torch.tensor([[0, 0], [3, 4], [300, 400]], dtype=dtype)
    similarity = get_similarity_no_loop(text, text)
    assert similarity.dtype == dtype and similarity.isfinite().all()
    assert similarity[0].abs().max() == 0
    torch.testing.assert_close(similarity[1:, 1:], torch.ones(2, 2, dtype=dtype))


def test_similarity_stays_on_the_inputs_device():
    similarity = get_similarity_no_loop(torch.ones(2, 3, device="meta"), torch.ones(4, 3, device="meta"))
    assert similarity.shape == (2, 4) and similarity.device.type == "meta"


def test_similarity_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"get_similarity_no_loop: .*image_features has shape \(2, 4\).*D = 3"):
        get_similarity_no_loop(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(TypeError, match="must share one dtype"):
        get_similarity_no_loop(torch.ones(2, 3), torch.ones(2, 3).half())
    with pytest.raises(TypeError, match="floating features, got torch.int64"):
        get_similarity_no_loop(torch.ones(2, 3).long(), torch.ones(2, 3).long())
    with pytest.raises(TypeError, match="must be a torch tensor"):
        get_similarity_no_loop(np.ones((2, 3)), torch.ones(2, 3))


# --- Zero-shot and retrieval ---


def test_zero_shot_names_every_picture_without_gradient(fake, device):
    texts = ["something blue", "something red", "something green"]
    names = clip_zero_shot_classifier(fake.to(device), preprocess, [RED, BLUE, DIM_RED, GREEN], texts, device)
    assert names == [texts[1], texts[0], texts[1], texts[2]]
    assert fake.weight.grad is None and all(type(name) is str for name in names)


def test_zero_shot_normalises_the_texts(fake, monkeypatch):
    """A longer text feature must not win by its length."""
    encode = fake.encode_text
    monkeypatch.setattr(fake, "encode_text", lambda tokens: encode(tokens) * torch.tensor([[1.0], [50.0]]))
    assert clip_zero_shot_classifier(fake, preprocess, [RED], ["red", "blue"], "cpu") == ["red"]


def test_zero_shot_equals_one_picture_at_a_time_in_several_batches(fake, monkeypatch):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (5 + n, 9, 3), dtype=np.uint8) for n in range(7)]
    one_by_one = [clip_zero_shot_classifier(fake, preprocess, [i], ["red", "green", "blue"], "cpu")[0] for i in images]
    monkeypatch.setattr(clip_dino, "IMAGES_AT_ONCE", 3)
    assert clip_zero_shot_classifier(fake, preprocess, images, ["red", "green", "blue"], "cpu") == one_by_one
    assert len(set(one_by_one)) > 1


def test_more_pictures_than_go_through_clip_at_once_show_a_bar(fake, monkeypatch, capsys):
    monkeypatch.setattr(clip_dino, "IMAGES_AT_ONCE", 3)
    for count, shown in ((3, False), (4, True)):
        clip_dino.encode_images(fake, preprocess, [RED] * count, "cpu")
        assert ("Encoding images:   0%" in capsys.readouterr().err) == shown


def test_grey_pictures_are_welcome(fake):
    grey = np.full((6, 7), 80, dtype=np.uint8)
    assert clip_zero_shot_classifier(fake, preprocess, [grey, RED], ["red", "green red blue"], "cpu") == [
        "green red blue",
        "red",
    ]


def test_retriever_encodes_pictures_once_and_returns_the_best_first(fake):
    before = fake.pictures_seen
    retriever = CLIPImageRetriever(fake, preprocess, [GREEN, DIM_RED, RED, BLUE], "cpu")
    assert retriever.retrieve("something red") == [2, 1]
    assert retriever.retrieve("green", k=1) == [0]
    assert retriever.retrieve("red", k=np.int64(9))[:2] == [2, 1] and len(retriever.retrieve("red", k=9)) == 4
    assert fake.pictures_seen - before == 4
    assert all(type(index) is int for index in retriever.retrieve("blue", k=4))


def test_equal_pictures_are_retrieved_in_their_order(fake):
    retriever = CLIPImageRetriever(fake, preprocess, [BLUE, *[RED] * 20], "cpu")
    assert retriever.retrieve("red", k=20) == list(range(1, 21))


@pytest.mark.parametrize(
    "make",
    (
        lambda fake, images: clip_zero_shot_classifier(fake, preprocess, images, ["red"], "cpu"),
        lambda fake, images: CLIPImageRetriever(fake, preprocess, images, "cpu"),
    ),
    ids=("classifier", "retriever"),
)
def test_bad_pictures_are_named(fake, make):
    for images, error, words in (
        ([], ValueError, "got no images"),
        ([RED, np.dstack([RED, RED[..., :1]])], ValueError, r"number 1 has shape \(20, 30, 4\)"),
        ([RED / 255, RED, RED.astype(np.float32)], TypeError, "number 0 is float64; number 2 is float32"),
        ([Image.fromarray(RED)], TypeError, "number 0 is a Image"),
        ([np.zeros((0, 4, 3), np.uint8)], ValueError, r"number 0 has shape \(0, 4, 3\)"),
        (RED, ValueError, r"got one image \(20, 30, 3\)"),
    ):
        with pytest.raises(error, match=words) as caught:
            make(fake, images)
        assert "uint8 arrays (H, W, 3)" in str(caught.value)


def test_bad_texts_are_named(fake):
    retriever = CLIPImageRetriever(fake, preprocess, [RED], "cpu")
    long = "red " * 76
    with pytest.raises(ValueError, match=r"retrieve: a text has more than CLIP's 77 tokens .*red red.*Shorten it"):
        retriever.retrieve(long)
    assert retriever.retrieve("red " * 75) == [0]
    with pytest.raises(ValueError, match="clip_zero_shot_classifier: a text has more than CLIP's 77 tokens"):
        clip_zero_shot_classifier(fake, preprocess, [RED], ["red", long], "cpu")
    with pytest.raises(ValueError, match="wanted at least one text, got none"):
        clip_zero_shot_classifier(fake, preprocess, [RED], [], "cpu")
    with pytest.raises(TypeError, match="wanted a list of texts, got 'red'"):
        clip_zero_shot_classifier(fake, preprocess, [RED], "red", "cpu")
    with pytest.raises(TypeError, match="wanted one text, got list"):
        retriever.retrieve(["red"])
    for k, error in ((0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match=r"CLIPImageRetriever.retrieve: wanted .*k"):
            retriever.retrieve("red", k=k)


def test_missing_or_wrong_clip_package_is_explained(monkeypatch):
    retriever = CLIPImageRetriever(FakeCLIP(), preprocess, [RED], "cpu")
    for module in (None, type(sys)("clip")):  # absent; the clipboard tool of that name
        monkeypatch.setitem(sys.modules, "clip", module)
        with pytest.raises(ImportError, match=r"clip-anytorch>=2.6.*setuptools>=77.0.3,<82"):
            retriever.retrieve("red")


# --- IoU ---


def iou_by_definition(pred, gt, classes):
    values = []
    for c in range(classes):
        a, b = {i for i, p in enumerate(pred) if p == c}, {i for i, g in enumerate(gt) if g == c}
        values.append(len(a & b) / (len(a | b) + 1e-8))
    return sum(values) / classes


def test_iou_equals_the_published_facts():
    facts = EXPECTED["segmentation"]["iou_facts"]
    pred, gt = torch.tensor(facts["pred"]), torch.tensor(facts["gt"])
    assert compute_iou(pred, gt, 3) == pytest.approx(facts["3_classes"], abs=1e-6)
    assert compute_iou(pred, gt, 4) == pytest.approx(facts["4_classes_one_absent"], abs=1e-6)
    assert compute_iou(gt, gt, 4) == pytest.approx(facts["gt_against_itself_4_classes_one_absent"], abs=1e-6)
    sharp = facts["sharp_example"]
    value = compute_iou(torch.tensor(sharp["pred"]), torch.tensor(sharp["gt"]), sharp["num_classes"])
    assert type(value) is float and value == pytest.approx(sharp["value"], abs=1e-6)


@pytest.mark.parametrize("classes", (1, 2, 5, 16, 17, 40))
def test_iou_equals_its_definition_over_sets(classes):
    rng = np.random.default_rng(classes)
    pred, gt = rng.integers(0, max(1, classes - 1), (2, 300))
    assert compute_iou(pred, gt, classes) == pytest.approx(iou_by_definition(pred, gt, classes), abs=1e-6)
    shaped = torch.from_numpy(pred).reshape(3, 10, 10).to(torch.uint8), torch.from_numpy(gt).reshape(3, 10, 10)
    assert compute_iou(*shaped, np.uint8(classes)) == compute_iou(pred, gt, classes)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.int16, np.uint32, np.uint64, np.dtype(">i4")])
def test_iou_takes_integers_of_any_kind_and_order(dtype):
    pred, gt = np.array([0, 0, 1, 1, 2, 2], dtype), np.array([0, 1, 1, 1, 2, 0], dtype)
    wanted = compute_iou(torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 1, 1, 2, 0]), np.int64(3))
    assert compute_iou(pred, gt, 3) == compute_iou(pred[::-1], gt[::-1], 3) == pytest.approx(wanted)
    gt.flags.writeable = False
    assert compute_iou(pred, gt, 3) == pytest.approx(wanted)


@pytest.mark.parametrize("size", [(25, 33), (1, 1), (16, 17), (17, 16)])
def test_videos_of_odd_sizes_are_whole(tmp_path, size):
    height, width = size
    ramp = np.linspace(0, 255, height * width).reshape(height, width, 1).repeat(3, axis=2).astype(np.uint8)
    write_video_from_array([ramp] * 3, str(tmp_path / "v.mp4"), fps=np.float32(7))
    video = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    frames = [frame for ok, frame in (video.read() for _ in range(4)) if ok]
    assert len(frames) == 3 and all(frame.shape == (height, width, 3) for frame in frames)
    assert np.abs(frames[0].astype(int) - ramp).mean() < 8 and video.get(cv2.CAP_PROP_FPS) == pytest.approx(7)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), "12", None, True, 1e9])
def test_a_rate_that_no_video_has_is_told(tmp_path, fps):
    with pytest.raises(ValueError, match="wanted fps from 1 to 240"):
        write_video_from_array([picture(1, (8, 8))], tmp_path / "v.mp4", fps=fps)


def test_a_head_stops_at_nan_and_says_where():
    head, labels = DINOSegmentation("cpu", 3, inp_dim=6), torch.tensor([0, 1, 2, 0])
    tokens = torch.zeros(4, 6)
    tokens[1, 2] = torch.nan
    for call in (lambda: head.train(tokens, labels), lambda: head.inference(tokens)):
        with pytest.raises(ValueError, match="the tokens of 1 of 4 patches are NaN or infinite"):
            call()
    with pytest.raises(ValueError, match="after 3 steps the head's weights are not finite"):
        next(head.head.parameters()).data.fill_(torch.inf)
        head.train(torch.ones(4, 6), labels, num_iters=3)


def test_iou_can_skip_absent_classes():
    pred, gt = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 1, 1, 2, 0])
    assert compute_iou(pred, gt, 9, skip_absent=True) == pytest.approx(compute_iou(pred, gt, 3), abs=1e-7)
    assert compute_iou(gt, gt, 9, skip_absent=True) == pytest.approx(1.0)
    assert compute_iou(torch.tensor([1]), torch.tensor([0]), 9, skip_absent=True) == 0


def test_bad_labels_are_refused():
    labels = torch.tensor([0, 1, 2])
    for pred, gt, classes, error, words in (
        (labels, labels[:2], 3, ValueError, r"one shape, got \(3,\) and \(2,\)"),
        (labels[:0], labels[:0], 3, ValueError, r"got \(0,\) and \(0,\)"),
        (labels, labels, 2, ValueError, "got 0 to 2 and num_classes 2"),
        (labels, torch.tensor([0, 1, 255]), 3, ValueError, r"got 0 to 255 .*undecided pixels \(255\)"),
        (labels - 1, labels, 3, ValueError, "got -1 to 2"),
        (labels, labels, np.uint8(0), ValueError, r"num_classes 0. .*int\(masks.max\(\)\) \+ 1"),
        (labels.float(), labels, 3, TypeError, "got torch.float32 and torch.int64"),
    ):
        with pytest.raises(error, match=f"compute_iou: .*{words}"):
            compute_iou(pred, gt, classes)


# --- The segmentation head ---


def blobs(n=90, classes=3, dim=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centres = 3 * torch.eye(dim)[:classes]
    return centres[labels] + 0.3 * torch.randn(n, dim, generator=generator), labels


def test_head_learns_and_generalises():
    torch.manual_seed(0)
    head = DINOSegmentation("cpu", np.uint8(3), inp_dim=6)
    X, Y = blobs()
    assert head.train(X, Y, num_iters=100) is None
    X_new, Y_new = blobs(seed=1)
    prediction = head.inference(X_new)
    assert prediction.dtype == torch.int64 and prediction.shape == (90,) and not prediction.requires_grad
    assert torch.equal(prediction, Y_new)


def test_head_repeats_under_the_same_seed_and_steps_as_often_as_told():
    X, Y = blobs()
    weights = []
    for steps in (5, 5, 6):
        torch.manual_seed(3)
        head = DINOSegmentation("cpu", 3, inp_dim=6)
        head.train(X, Y, num_iters=steps)
        weights.append(torch.cat([p.detach().flatten() for p in head.head.parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_training_takes_the_steps_of_a_plain_loop():
    torch.manual_seed(0)
    head = DINOSegmentation("cpu", 3, inp_dim=6)
    plain = copy.deepcopy(head.head)
    defaults = head.optimizer.defaults
    optimizer = torch.optim.AdamW(plain.parameters(), lr=defaults["lr"], weight_decay=defaults["weight_decay"])
    X, Y = blobs()
    head.train(X, Y, num_iters=4)
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(plain(X), Y).backward()
        optimizer.step()
    for got, expected in zip(head.head.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(got, expected)


def test_head_judges_each_row_alone_and_takes_half_precision():
    torch.manual_seed(0)
    head = DINOSegmentation("cpu", 3, inp_dim=6)
    X, Y = blobs()
    head.train(X.half(), Y.to(torch.uint8), num_iters=20)
    one_by_one = torch.cat([head.inference(row[None]) for row in X])
    assert torch.equal(head.inference(X), one_by_one)
    assert torch.equal(head.inference(X.requires_grad_()), one_by_one)
    assert head.inference(X[:0]).shape == (0,)


def test_bad_heads_and_tokens_are_refused():
    with pytest.raises(ValueError, match="wanted num_classes and inp_dim of at least 1, got 0 and 384. .*wraps to 0"):
        DINOSegmentation("cpu", np.uint8(0))
    head = DINOSegmentation("cpu", 3, inp_dim=6)
    X, Y = blobs()
    with pytest.raises(ValueError, match=r"DINOSegmentation.train: .*X has shape \(90, 5\), wanted \(N, 6\)"):
        head.train(X[:, :5], Y)
    with pytest.raises(ValueError, match=r"Y_train has shape \(89,\)"):
        head.train(X, Y[:89])
    with pytest.raises(TypeError, match="classes as integers, got torch.float32"):
        head.train(X, Y.float())
    for labels in (Y + 1, Y - 1, Y + 253):
        with pytest.raises(ValueError, match="DINOSegmentation.train: wanted classes from 0 to 2, got"):
            head.train(X, labels)
    with pytest.raises(ValueError, match=r"DINOSegmentation.inference: .*wanted \(N, 6\)"):
        head.inference(X[0])
    with pytest.raises(TypeError, match="wanted tokens as floats"):
        head.inference(X.long())


# --- The module ---


def test_import_needs_torch_and_numpy_alone():
    code = (
        "import torch, sys; import dl.clip_dino; "
        "print([name for name in ('clip', 'cv2', 'PIL', 'torchvision', 'matplotlib', 'h5py') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"


def test_every_exercise_has_its_marks_once():
    source = (ROOT / "dl" / "clip_dino.py").read_text()
    for name in (
        "get_similarity_no_loop",
        "clip_zero_shot_classifier",
        "CLIPImageRetriever.__init__",
        "CLIPImageRetriever.retrieve",
        "compute_iou",
        "DINOSegmentation.__init__",
        "DINOSegmentation.train",
        "DINOSegmentation.inference",
    ):
        for mark in (f"# EXERCISE {name},", f"# BEGIN SOLUTION {name}\n", f"# END SOLUTION {name}\n"):
            assert source.count(mark) == 1, mark
