"""dl.video: the DAVIS videos, DINO tokens of their frames, masks and overlays, and the MP4 writer."""

import gc
import json
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

from dl.clip_dino import DavisDataset, class_colours, create_segmentation_overlay, frame_tensor, write_video_from_array
from dl.data.davis import in_course_order
from dl.models.vit import VisionTransformer
from dl.video import tokens as tokens_of_videos
from dl.world.export import write_davis

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = json.loads((ROOT / "dl/checks/expected/clip_dino.json").read_text())


def picture(colour, shape=(20, 30)):
    return np.full((*shape, 3), colour, dtype=np.uint8)


RED, GREEN, BLUE, DIM_RED = (picture(colour) for colour in ((200, 9, 9), (9, 200, 9), (9, 9, 200), (90, 60, 60)))


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


def test_tokens_are_the_last_layers_without_cls(davis, vit, device):
    frames, _ = davis.get_sample("playground")
    vit.to(device)
    tokens = davis.process_frames(frames, vit, device.type, size=32)
    assert tokens.shape == (5, 16, 16) and not tokens.requires_grad
    expected = VisionTransformer.get_intermediate_layers(vit, frame_tensor(frames, 32).to(device))[0][:, 1:]
    torch.testing.assert_close(tokens, expected)
    one = davis.process_frames(frames[3:4], vit, device, size=32)
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


def test_tokens_in_a_folder_serve_the_next_process(davis, vit, tmp_path, monkeypatch):
    monkeypatch.setattr(tokens_of_videos, "ATTENTION_AT_ONCE", 2 * 16**2)  # two frames of 16 patches
    frames = np.random.default_rng(0).integers(0, 256, (5, 20, 30, 3), dtype=np.uint8)
    folder = tmp_path / "train" / "tokens"

    def tokens(model, shown=frames, size=32):
        return list(davis.stream_tokens(shown, model, "cpu", size=size, folder=folder))

    expected = davis.process_frames(frames, CountingViT(), "cpu", size=32)
    stream = davis.stream_tokens(frames, vit, "cpu", size=32, folder=str(folder))
    for number in range(3):
        assert torch.equal(next(stream), expected[number])
    del stream  # stopped: four frames are done
    files = list(folder.iterdir())
    assert vit.passed == len(files) == 4 and all(file.stat().st_size < 1.5 * 16 * 16 * 4 + 2000 for file in files)
    files[0].write_bytes(files[0].read_bytes()[:700])  # as by a failing disk
    other = CountingViT()
    assert torch.equal(torch.stack(tokens(other)), expected) and other.passed == 2 and len(list(folder.iterdir())) == 5
    other = CountingViT()
    assert torch.equal(torch.stack(tokens(other)), expected) and other.passed == 0
    other.cls_token.data += 1  # other weights, or another size: other tokens
    assert not torch.equal(torch.stack(tokens(other)), expected) and other.passed == 5
    assert len(tokens(CountingViT(), size=16)) == 5 and len(list(folder.iterdir())) == 15
    stub = SimpleNamespace(get_intermediate_layers=lambda x, n: [torch.ones(len(x), 17, 3)])
    assert len(tokens(stub)) == 5 and len(list(folder.iterdir())) == 15  # nothing says which weights it has


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


def test_frames_too_large_for_a_video_are_told(tmp_path):
    with pytest.raises(ValueError, match="got frames of 2 x 8192 pixels, wanted at most 8190"):
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
