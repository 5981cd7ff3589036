"""CLIP and DINO: similarity, zero-shot, retrieval, videos as tokens, overlays, IoU, the segmentation head, the video."""

import gc
import json
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

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
    DavisDataset,
    DINOSegmentation,
    class_colours,
    clip_zero_shot_classifier,
    compute_iou,
    create_segmentation_overlay,
    frame_tensor,
    get_similarity_no_loop,
    write_video_from_array,
)
from dl.data.davis import in_course_order
from dl.models.small_clip import quiet_clip_import
from dl.models.vit import VisionTransformer
from dl.video import tokens as tokens_of_videos
from dl.world.export import write_davis

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
        features = torch.zeros(len(tokens), 3)
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


def test_zero_shot_names_every_picture_without_gradient(fake):
    texts = ["something blue", "something red", "something green"]
    names = clip_zero_shot_classifier(fake, preprocess, [RED, BLUE, DIM_RED, GREEN], texts, torch.device("cpu"))
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


# --- Videos and their tokens ---


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("davis") / "DAVIS"
    write_davis(folder, easy={"playground": 5}, hard={"regatta": 3})
    return folder


@pytest.fixture
def davis(videos):
    return DavisDataset(videos)


class CountingViT(VisionTransformer):
    """Counts the pictures that pass through it, and the largest batch."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(8, 16, 1, 2, image_size=32)
        self.passed, self.largest = 0, 0
        self.eval()

    def get_intermediate_layers(self, x, n=1):
        self.passed += len(x)
        self.largest = max(self.largest, len(x))
        return super().get_intermediate_layers(x, n)


@pytest.fixture
def vit():
    return CountingViT()


def test_order_of_videos_is_that_of_the_course():
    order = EXPECTED["davis"]["validation_order"]
    assert in_course_order(sorted(order)) == order and order[7] == "soapbox"


def test_sample_video_7_is_the_main_one():
    dataset = DavisDataset()
    assert len(dataset) == 20 and dataset.names[7] == "playground"


def test_samples_by_position_and_name(davis, capsys):
    position = davis.names.index("playground")
    frames, masks = davis.get_sample(position)
    assert capsys.readouterr().out == "video playground  5 frames\n"
    assert frames.shape == (5, 180, 320, 3) and masks.shape == (5, 180, 320, 1)
    assert frames.dtype == masks.dtype == np.uint8 and set(np.unique(masks)) == {0, 1, 2, 3}
    again = davis.get_sample("playground")
    assert np.array_equal(again[0], frames) and np.array_equal(again[1], masks)
    file = davis.root / "JPEGImages/480p/playground/00002.jpg"
    assert np.array_equal(frames[2], cv2.imread(str(file))[..., ::-1])  # RGB


def test_streaming_gives_the_same_moments(davis):
    frames, masks = davis.get_sample("regatta")
    moments = list(davis.stream_sample(np.int64(davis.names.index("regatta"))))
    assert np.array_equal(np.stack([f for f, _ in moments]), frames)
    assert np.array_equal(np.stack([m for _, m in moments]), masks)


def test_videos_that_are_not_there(davis, tmp_path, monkeypatch):
    for index in (-1, 2):
        with pytest.raises(IndexError, match=f"get_sample: got position {index}, wanted 0 to 1"):
            davis.get_sample(index)
    with pytest.raises(KeyError, match="no video 'soapbox'; there are .*playground"):
        davis.get_sample("soapbox")
    with pytest.raises(TypeError, match="wanted a video's position or name, got 1.0"):
        davis.get_sample(1.0)
    with pytest.raises(FileNotFoundError, match=r"DavisDataset: .*val.txt not found.*Delete this folder"):
        DavisDataset(tmp_path)
    monkeypatch.setenv("DL_DATA", "real")
    monkeypatch.setenv("DL_HOME", str(tmp_path))
    monkeypatch.setenv("DL_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=r'DAVIS not found. Run "python -m dl data fetch davis"'):
        DavisDataset()
    with pytest.raises(FileNotFoundError, match=r'Run "python -m dl data fetch davis"'):
        DavisDataset(tmp_path)
    with pytest.raises(Exception, match="DL_OFFLINE forbids the network"):
        DavisDataset(download=True)


@pytest.fixture
def copied(tmp_path):
    """A video of two frames, to be damaged."""
    write_davis(tmp_path, easy={"pond": 2}, hard={})
    return tmp_path, tmp_path / "JPEGImages/480p/pond/00001.jpg", tmp_path / "Annotations/480p/pond/00001.png"


def test_a_list_from_an_editor_and_companions_of_other_systems_change_nothing(copied):
    folder, frame, mask = copied
    frames, masks = DavisDataset(folder).get_sample("pond")
    (folder / "ImageSets/2017/val.txt").write_bytes("\ufeffpond\r\n\r\n".encode())
    for beside in (frame, mask):
        beside.with_name(f"._{beside.name}").write_bytes(b"\0\5\26\7")
        beside.with_name("Thumbs.db").write_bytes(b"x")
    again = DavisDataset(str(folder)).get_sample("pond")
    assert all(np.array_equal(a, b) for a, b in zip((frames, masks), again))


def test_frames_come_in_the_order_of_their_numbers(copied):
    folder, frame, mask = copied
    frames, _ = DavisDataset(folder).get_sample("pond")
    for file in (frame, mask):
        file.with_name(f"00000{file.suffix}").rename(file.with_name(f"9{file.suffix}"))
        file.rename(file.with_name(f"10{file.suffix}"))
    assert np.array_equal(DavisDataset(folder).get_sample("pond")[0], frames)


def test_damaged_videos_are_named(copied):
    folder, frame, mask = copied
    content, mask_content = frame.read_bytes(), mask.read_bytes()

    def fails(words):
        with pytest.raises(ValueError, match=words):
            DavisDataset(folder).get_sample("pond")

    frame.write_bytes(content[: len(content) // 2])
    fails(r"00001.jpg cannot be read \(image file is truncated")
    frame.write_bytes(b"<html>no</html>")
    fails("00001.jpg cannot be read")
    Image.new("RGB", (8, 8)).save(frame)
    fails(r"is \(8, 8\) and its mask \(180, 320\), wanted all of the video at \(180, 320\)")
    frame.write_bytes(content)
    Image.new("RGB", (320, 180)).save(mask)
    fails("00001.png has the mode RGB, wanted P or L, whose pixels are object ids")
    Image.fromarray(np.full((180, 320), 255, np.uint8)).save(mask)
    fails("00001.png has pixels of 255, wanted object ids")
    mask.unlink()
    fails("video 'pond' has 2 frames and 1 masks")
    mask.write_bytes(mask_content)
    assert len(DavisDataset(folder).get_sample("pond")[0]) == 2
    for file in [*frame.parent.iterdir(), *mask.parent.iterdir()]:
        file.unlink()
    fails("video 'pond' has 0 frames and 0 masks, wanted a mask for each of at least one frame")
    (folder / "ImageSets/2017/val.txt").write_text("\n")
    with pytest.raises(ValueError, match="val.txt names no video"):
        DavisDataset(folder)


def test_mask_values_are_indices_not_colours(copied):
    folder, _, mask = copied
    _, masks = DavisDataset(folder).get_sample(0)
    with Image.open(mask) as opened:
        assert opened.mode == "P" and not np.array_equal(np.asarray(opened.convert("L")), masks[1, ..., 0])


def test_frames_are_prepared_as_by_torchvision():
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 256, (60, 107, 3), dtype=np.uint8) for _ in range(3)]
    bare = transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.Resize((48, 48)),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    prepared = frame_tensor(frames, 48)
    assert prepared.is_contiguous() and prepared.dtype == torch.float32
    torch.testing.assert_close(prepared, torch.stack([bare(frame) for frame in frames]), rtol=0, atol=1e-6)


def test_tokens_are_the_last_layers_without_cls(davis, vit):
    frames, _ = davis.get_sample("playground")
    tokens = davis.process_frames(frames, vit, "cpu", size=32)
    assert tokens.shape == (5, 16, 16) and not tokens.requires_grad
    expected = VisionTransformer.get_intermediate_layers(vit, frame_tensor(frames, 32))[0][:, 1:]
    torch.testing.assert_close(tokens, expected)
    one = davis.process_frames(frames[3:4], vit, torch.device("cpu"), size=32)
    assert torch.equal(one[0], tokens[3])


def test_default_size_is_the_published_one(davis):
    class Flat(nn.Module):
        def get_intermediate_layers(self, x, n):
            assert x.shape == (1, 3, 480, 480) and n == 1
            return [torch.arange(3601.0).repeat(6, 1).T[None]]

    tokens = davis.process_frames(np.zeros((1, 480, 854, 3), np.uint8), Flat(), "cpu")
    assert tokens.shape == (1, 3600, 6) and tokens[0, 0, 0] == 1


def test_tokens_of_a_frame_are_computed_once(davis, vit):
    frames, _ = davis.get_sample("playground")
    first = davis.process_frames(frames[2:3], vit, "cpu", size=32)
    davis.process_frames(frames, vit, "cpu", size=32)
    assert vit.passed == 5
    again = davis.process_frames(list(frames[[2, 2, 0]]), vit, "cpu", size=32)
    assert vit.passed == 5 and torch.equal(again[0], first[0]) and torch.equal(again[1], first[0])
    again.zero_()  # what was handed out is the caller's
    assert torch.equal(davis.process_frames(frames[2:3], vit, "cpu", size=32), first)
    davis.process_frames(frames[2:3], vit, "cpu", size=40)  # another size
    assert vit.passed == 6


def test_changed_weights_or_frames_or_models_are_computed_anew(davis, vit):
    frames, _ = davis.get_sample("playground")
    before = davis.process_frames(frames[:1], vit, "cpu", size=32)
    with torch.no_grad():
        vit.norm.bias += 1
    after = davis.process_frames(frames[:1], vit, "cpu", size=32)
    torch.testing.assert_close(after, before + 1)
    vit.norm.bias.data -= 1  # leaves the version counter alone, as DINO's own moving average does
    torch.testing.assert_close(davis.process_frames(frames[:1], vit, "cpu", size=32), before)
    vit.norm.bias.data += 1
    frames[0, 0, :160] = 255  # in place
    assert not torch.equal(davis.process_frames(frames[:1], vit, "cpu", size=32), after)
    passed = vit.passed
    davis.process_frames(frames[1:2], vit.train(), "cpu", size=32)
    davis.process_frames(frames[1:2], vit.eval(), "cpu", size=32)
    assert vit.passed == passed + 2  # dropout, if it had one, would act in one mode only
    other = CountingViT()
    assert (
        torch.equal(
            davis.process_frames(frames[1:2], other, "cpu", size=32),
            davis.process_frames(frames[1:2], CountingViT(), "cpu", size=32),
        )
        and other.passed == 1
    )


def test_the_memory_is_bounded_and_dies_with_the_model(davis, vit, monkeypatch):
    frames, _ = davis.get_sample("playground")
    monkeypatch.setattr(tokens_of_videos, "CACHE_BYTES", 2 * 16 * 16 * 4)  # two frames
    davis.process_frames(frames[:3], vit, "cpu", size=32)
    davis.process_frames(frames[1:3], vit, "cpu", size=32)
    assert vit.passed == 3
    davis.process_frames(frames[:1], vit, "cpu", size=32)
    assert vit.passed == 4
    davis.process_frames(frames[2:3], vit, "cpu", size=32)  # asked for again: now frame 0 is the oldest
    davis.process_frames(frames[3:4], vit, "cpu", size=32)
    davis.process_frames(frames[2:3], vit, "cpu", size=32)
    assert vit.passed == 5
    short_lived = CountingViT()
    davis.process_frames(frames[:1], short_lived, "cpu", size=32)
    assert short_lived in tokens_of_videos._remembered
    gone = weakref.ref(short_lived)
    del short_lived
    gc.collect()
    assert gone() is None and vit in tokens_of_videos._remembered


def test_a_model_that_is_no_module_serves_too(davis):
    frames, _ = davis.get_sample("playground")
    stub = SimpleNamespace(get_intermediate_layers=lambda x, n: [torch.ones(len(x), 17, 3)])
    assert torch.equal(davis.process_frames(frames[:2], stub, "cpu", size=32), torch.ones(2, 16, 3))


def test_long_videos_stream_in_small_batches(davis, vit, monkeypatch):
    monkeypatch.setattr(tokens_of_videos, "ATTENTION_AT_ONCE", 2 * 16**2)  # two frames of 16 patches
    taken = []

    def frames():
        rng = np.random.default_rng(0)
        for number in range(7):
            taken.append(number)
            yield rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)

    tokens = davis.stream_tokens(frames(), vit, "cpu", size=32)
    assert next(tokens).zero_().shape == (16, 16) and taken == [0, 1]
    assert len(list(tokens)) == 6 and vit.passed == 7 and vit.largest == 2
    assert next(davis.stream_tokens(frames(), vit, "cpu", size=32)).abs().min() > 0  # not what the caller made of it


def test_bad_frames_are_refused(davis, vit):
    frames = np.zeros((2, 20, 30, 3), np.uint8)
    for bad, error, words in (
        (frames[:0], ValueError, "got no images, wanted at least one"),
        (frames[..., 0], ValueError, r"number 0 has shape \(20, 30\); number 1"),
        (np.zeros((1, 20, 30, 4), np.uint8), ValueError, r"shape \(20, 30, 4\)"),
        (frames / 255, TypeError, "number 0 is float64"),
        (frames[0], ValueError, "got one image"),
    ):
        with pytest.raises(error, match=f"process_frames: .*{words}"):
            davis.process_frames(bad, vit, "cpu", size=32)
    with pytest.raises(ValueError, match="got size 30, wanted a multiple of the model's patch, 8 pixels"):
        davis.process_frames(frames, vit, "cpu", size=30)


# --- Masks and overlays ---


def drawn_mask():
    mask = np.zeros((480, 854), np.uint8)
    cv2.circle(mask, (300, 200), 120, 3, -1)
    cv2.rectangle(mask, (500, 100), (801, 333), 1, -1)
    return mask


def test_masks_are_resized_by_true_nearest_neighbour(davis):
    mask = drawn_mask()
    labels = davis.process_masks(mask[None, ..., None], "cpu")
    assert labels.shape == (1, 3600) and labels.dtype == torch.int64
    assert set(labels.unique().tolist()) == {0, 1, 3}  # bilinear makes up a 2
    by_opencv = cv2.resize(mask, (60, 60), interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(labels[0].reshape(60, 60), by_opencv)
    by_torch = F.interpolate(torch.from_numpy(mask)[None, None], (60, 60), mode="nearest")[0, 0]
    assert torch.equal(labels[0].reshape(60, 60), by_torch.long())


@pytest.mark.parametrize("shape, side", (((180, 320), 30), ((7, 13), 5), ((5, 5), 60), ((480, 910), 60)))
def test_nearest_neighbour_equals_opencvs_at_any_size(davis, shape, side):
    mask = np.random.default_rng(2).integers(0, 5, shape, dtype=np.uint8)
    labels = davis.process_masks(mask[None], "cpu", size=8 * side)
    assert np.array_equal(labels[0].reshape(side, side), cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST))


def test_grid_follows_size_and_patch(davis):
    masks = drawn_mask()[None, ..., None]
    assert davis.process_masks(masks, "cpu", size=160).shape == (1, 400)
    assert davis.process_masks(masks, "cpu", patch_size=16).shape == (1, 900)


def test_bad_masks_are_refused(davis):
    masks = drawn_mask()[None, ..., None]
    void = masks.copy()
    void[0, 0, 0] = 255
    for bad, error, words in (
        (void, ValueError, "wanted object ids from 0 to 254, got 0 to 255. 255 marks undecided"),
        (masks[:0], ValueError, "wanted at least one mask"),
        (masks[0, ..., 0], ValueError, r"got shape \(480, 854\)"),
        (masks.astype(float), TypeError, "got float64"),
        (masks.astype(np.int64) - 1, ValueError, "got -1 to 2"),
    ):
        with pytest.raises(error, match=f"process_masks: .*{words}"):
            davis.process_masks(bad, "cpu")


def test_overlay_blends_a_colour_for_each_class_and_keeps_the_picture():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    mask = np.arange(48).reshape(6, 8) % 12
    before = image.copy()
    for alpha in (0.0, 0.25, 0.5, 1.0):
        overlay = create_segmentation_overlay(mask, image, alpha)
        expected = image * (1 - alpha) + class_colours(12)[mask] * alpha
        assert overlay.dtype == np.uint8 and np.abs(overlay - expected).max() <= 0.5
    assert np.array_equal(image, before)
    assert np.array_equal(create_segmentation_overlay(mask, image, clear_background=True)[mask == 0], image[mask == 0])
    assert len(np.unique(class_colours(40), axis=0)) == 40


def test_overlay_leaves_numpys_global_stream_alone():
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    create_segmentation_overlay(np.full((2, 2), 20), picture(9, (2, 2)))
    assert np.array_equal(np.random.get_state()[1], state)


def test_frame_overlay_enlarges_patches_by_nearest_neighbour(davis):
    labels, frame = torch.tensor([0, 1, 2, 3]), picture(100, (4, 6))
    overlay = davis.mask_frame_overlay(labels, frame)
    mask = np.array([[0, 0, 0, 1, 1, 1]] * 2 + [[2, 2, 2, 3, 3, 3]] * 2)
    assert np.array_equal(overlay, create_segmentation_overlay(mask, frame)) and (frame == 100).all()
    mask = drawn_mask()
    small = davis.process_masks(mask[None], "cpu")[0]
    large = cv2.resize(small.reshape(60, 60).numpy().astype(np.uint8), (854, 480), interpolation=cv2.INTER_NEAREST)
    frame = picture(50, (480, 854))
    assert np.array_equal(davis.mask_frame_overlay(small, frame), create_segmentation_overlay(large, frame))


def test_bad_overlays_are_refused(davis):
    with pytest.raises(ValueError, match=r"mask of the image's size \(20, 30\), got \(20, 31\)"):
        create_segmentation_overlay(np.zeros((20, 31), int), RED)
    with pytest.raises(TypeError, match="create_segmentation_overlay: .*number 0 is float64"):
        create_segmentation_overlay(np.zeros((20, 30), int), RED / 1.0)
    with pytest.raises(TypeError, match="wanted classes as integers, got float64"):
        create_segmentation_overlay(np.zeros((20, 30)), RED)
    for labels in (torch.zeros(10), torch.zeros(3, 3), torch.zeros(0)):
        with pytest.raises(ValueError, match="mask_frame_overlay: wanted the labels of a square grid"):
            davis.mask_frame_overlay(labels.long(), RED)


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


def test_frames_too_large_for_a_video_are_told(tmp_path):
    with pytest.raises(ValueError, match="got frames of 2 x 8192 pixels, at most 8190"):
        write_video_from_array([np.zeros((2, 8192, 3), np.uint8)], tmp_path / "v.mp4")
    assert list(tmp_path.iterdir()) == []


def test_tokens_of_changed_weights_are_new_also_through_data(davis, vit):
    frames = davis.get_sample(0)[0][:1]
    before = davis.process_frames(frames, vit, "cpu", size=64)
    for parameter in vit.parameters():
        parameter.data.mul_(0.5)  # as DINO's own code updates its teacher
    after = davis.process_frames(frames, vit, "cpu", size=64)
    assert not torch.equal(before, after)
    assert torch.equal(after, davis.process_frames(frames, vit, "cpu", size=64))


def test_tokens_of_a_model_in_half_precision(davis, vit):
    frames = davis.get_sample(0)[0][:1]
    whole = davis.process_frames(frames, vit, "cpu", size=64)
    half = davis.process_frames(frames, vit.bfloat16(), "cpu", size=64)
    assert half.dtype == torch.bfloat16 and F.cosine_similarity(half.float(), whole, dim=-1).mean() > 0.99


def test_a_head_stops_at_nan_and_says_where():
    head, labels = DINOSegmentation("cpu", 3, inp_dim=6), torch.tensor([0, 1, 2, 0])
    tokens = torch.zeros(4, 6)
    tokens[1, 2] = torch.nan
    for call in (lambda: head.train(tokens, labels), lambda: head.inference(tokens)):
        with pytest.raises(ValueError, match="the tokens of 1 of 4 patches are NaN or infinite"):
            call()
    with pytest.raises(ValueError, match="after 3 steps the head's weights are not finite"):
        head.head.weight.data.fill_(torch.inf)
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
    plain = nn.Linear(6, 3)
    plain.load_state_dict(head.head.state_dict())
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


# --- The video file ---


def read_video(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        ok, frame = capture.read()
        if not ok:
            return np.stack(frames)[..., ::-1], capture.get(cv2.CAP_PROP_FPS)
        frames.append(frame)


def test_video_reads_back_in_the_right_colours(tmp_path, capsys):
    path = tmp_path / "new" / "dino_res.mp4"
    colours = [(220, 20, 20), (20, 220, 20), (20, 20, 220)]
    write_video_from_array(np.stack([picture(c, (48, 64)) for c in colours]), path)
    assert capsys.readouterr().out == "Video saved to dino_res.mp4\n"
    frames, fps = read_video(path)
    assert frames.shape == (3, 48, 64, 3) and fps == 12
    for frame, colour in zip(frames, colours, strict=True):
        assert np.abs(frame.mean(axis=(0, 1)) - colour).max() < 12
    assert [file.name for file in path.parent.iterdir()] == ["dino_res.mp4"]


def test_video_is_written_frame_by_frame(tmp_path):
    waiting = []

    def frames():
        for number in range(30):
            frame = picture(number, (16, 32))
            waiting.append(weakref.ref(frame))
            assert sum(ref() is not None for ref in waiting) <= 2
            yield frame
            del frame

    write_video_from_array(frames(), tmp_path / "long.mp4", fps=25)
    frames_read, fps = read_video(tmp_path / "long.mp4")
    assert len(frames_read) == 30 and fps == 25


def test_a_failed_video_leaves_nothing_and_keeps_the_old_one(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"old")
    good = picture(1, (16, 16))
    for bad, error, words in (
        ([], ValueError, "got no frame, wanted at least one"),
        ([good, picture(1, (16, 18))], ValueError, r"wanted frames of one size \(16, 16, 3\), got \(16, 18, 3\)"),
        ([good, good / 1.0], TypeError, "number 0 is float64"),
        ([good, good[..., 0]], ValueError, r"shape \(16, 16\)"),
    ):
        with pytest.raises(error, match=f"write_video_from_array: .*{words}"):
            write_video_from_array(iter(bad), path)
        assert [file.name for file in tmp_path.iterdir()] == ["v.mp4"] and path.read_bytes() == b"old"


def test_a_video_that_opencv_cannot_write_is_an_error(tmp_path, monkeypatch):
    class Closed:
        def __init__(self, *_):
            pass

        def isOpened(self):  # noqa: N802
            return False

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoWriter", Closed)
    with pytest.raises(OSError, match="OpenCV cannot write v.mp4 with the codec mp4v at 16 x 16"):
        write_video_from_array([picture(1, (16, 16))], tmp_path / "v.mp4")


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
