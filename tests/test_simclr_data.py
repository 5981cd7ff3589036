"""Data of dl.simclr: pairs of views from CIFAR-10, augmented one by one and in batches."""

import itertools
import json
import math
import pickle
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms
from torchvision.datasets import CIFAR10
from torchvision.transforms import functional as TF

from dl.simclr import batch_augment
from dl.simclr.batch_augment import BatchAugmentation, PairBatches
from dl.simclr.data_utils import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    CIFAR10Pair,
    SampleCIFAR10Pair,
    compute_test_transform,
    compute_train_transform,
    load_cifar10,
    normalise,
    picture_tensors,
    sample_checksums,
    unnormalise,
)
from dl.world.export import write_cifar

EXPECTED = json.loads((Path(__file__).parents[1] / "dl/checks/expected/simclr.json").read_text())
CASES = {case["name"]: case for case in EXPECTED["checks"]}


# --- Augmentation, one picture at a time ---

DRAWS = 2000
STEPS = ("resized_crop", "hflip", "adjust_brightness", "rgb_to_grayscale")


def noise_picture(seed=0, side=32):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def calls():
    """What `compute_train_transform` did to one picture, draw by draw: (function, arguments) in order."""
    log = []

    def spy(name, function):
        def call(picture, *args, **kwargs):
            log[-1].append((name, args))
            return function(picture, *args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in (*STEPS, "adjust_contrast", "adjust_saturation", "adjust_hue"):
            patch.setattr(TF, name, spy(name, getattr(TF, name)))
        transform, picture = compute_train_transform(), noise_picture()
        for _ in range(DRAWS):
            log.append([])
            view = transform(picture)
            assert view.shape == (3, 32, 32) and view.dtype == torch.float32
            assert -2.4292 < view.min() and view.max() < 2.7538
    return log


@pytest.mark.parametrize("name, share", (("hflip", 0.5), ("adjust_brightness", 0.8), ("rgb_to_grayscale", 0.2)))
def test_each_random_step_happens_as_often_as_it_should(calls, name, share):
    seen = sum(any(call == name for call, _ in draw) for draw in calls) / DRAWS
    assert abs(seen - share) < 4 * math.sqrt(share * (1 - share) / DRAWS)


def test_the_four_steps_come_in_their_order_and_every_draw_crops(calls):
    for draw in calls:
        order = [STEPS.index(name) for name, _ in draw if name in STEPS]
        assert order == sorted(order) and order[0] == 0


def test_crops_keep_to_the_bounds_of_area_and_ratio_and_fill_them(calls):
    boxes = np.array([draw[0][1][2:4] for draw in calls], dtype=float)  # height and width
    area, ratio = boxes.prod(axis=1) / 1024, boxes[:, 1] / boxes[:, 0]
    assert draw_size(calls) == {(32, 32)}
    assert 0.06 < area.min() < 0.1 and 0.97 < area.max() <= 1  # 0.08 to 1, sides rounded to pixels
    assert 0.68 < ratio.min() < 0.76 and 1.32 < ratio.max() < 1.48  # 3/4 to 4/3, sides rounded to pixels


def draw_size(calls):
    return {tuple(draw[0][1][4]) for draw in calls}


def test_colour_jitter_stays_within_its_strengths_and_fills_them(calls):
    for name, low, high in (
        ("adjust_brightness", 0.6, 1.4),
        ("adjust_contrast", 0.6, 1.4),
        ("adjust_saturation", 0.6, 1.4),
        ("adjust_hue", -0.1, 0.1),
    ):
        factors = [args[0] for draw in calls for call, args in draw if call == name]
        assert low <= min(factors) < low + 0.02 * (high - low) and high - 0.02 * (high - low) < max(factors) <= high


def test_the_seed_fixes_the_views_and_seeds_torch_and_random():
    picture = noise_picture()
    first = [view(picture) for view in [compute_train_transform(seed=5)] for _ in range(4)]
    after = torch.rand(1), random.random()
    second = [view(picture) for view in [compute_train_transform(seed=5)] for _ in range(4)]
    assert all(map(torch.equal, first, second)) and after == (torch.rand(1), random.random())
    assert not torch.equal(compute_train_transform(seed=6)(picture), first[0])


def test_the_test_transform_only_normalises():
    picture = noise_picture()
    view = compute_test_transform()(picture)
    mean, std = (torch.tensor(value)[:, None, None] for value in (CIFAR10_MEAN, CIFAR10_STD))
    expected = (TF.to_tensor(picture) - mean) / std
    torch.testing.assert_close(view, expected)
    torch.testing.assert_close(normalise(TF.pil_to_tensor(picture)), expected)
    torch.testing.assert_close(unnormalise(view), TF.to_tensor(picture))


# --- CIFAR-10 as pairs ---


@pytest.fixture
def damaged_root(tmp_path):
    """A copy that a test may damage, used once before, so that its checksums are on record."""
    write_cifar(tmp_path / CIFAR10.base_folder, batch=2, test=2)
    sample_checksums(tmp_path / CIFAR10.base_folder)
    return tmp_path


def test_an_item_is_two_different_views_of_one_picture_and_its_label(sample_root):
    pairs = load_cifar10(train=True, transform=compute_train_transform(), pairs=True, root=sample_root)
    assert isinstance(pairs, CIFAR10Pair) and len(pairs) == 100 and pairs.data.shape == (100, 32, 32, 3)
    x_i, x_j, target = pairs[7]
    assert x_i.shape == x_j.shape == (3, 32, 32) and target == pairs.targets[7] and not torch.equal(x_i, x_j)


def test_without_randomness_both_views_are_the_picture(sample_root):
    pairs = load_cifar10(train=False, transform=compute_test_transform(), pairs=True, root=sample_root)
    x_i, x_j, _ = pairs[3]
    assert torch.equal(x_i, x_j)
    torch.testing.assert_close(x_i, normalise(picture_tensors(pairs)[0][3]))
    assert len(pairs) == 40


def test_the_target_is_transformed_and_views_need_a_transform(sample_root):
    pairs = SampleCIFAR10Pair(
        sample_root, True, sample_checksums(sample_root / CIFAR10.base_folder), target_transform=lambda label: label + 100
    )
    assert pairs[0] == (None, None, pairs.targets[0] + 100)


@pytest.mark.parametrize("workers", (0, 2))
def test_batches_repeat_with_the_seed(sample_root, workers):
    def batch():
        pairs = load_cifar10(train=True, transform=compute_train_transform(3), pairs=True, root=sample_root)
        return list(DataLoader(pairs, 20, shuffle=True, num_workers=workers))[0]

    first, second = batch(), batch()
    assert all(map(torch.equal, first, second))
    assert not torch.equal(first[0], first[1])


def test_the_sample_carries_checksums_of_its_own_and_cifar10_keeps_its(sample_root):
    published = CIFAR10.train_list[0][1]
    pairs = load_cifar10(train=True, pairs=True, root=sample_root)
    assert pairs.train_list[0][0] == "data_batch_1" and pairs.train_list[0][1] != published
    assert CIFAR10.train_list[0][1] == CIFAR10Pair.train_list[0][1] == "c99cafc152244af753f735de768cd75f"
    assert pairs.classes[:2] == ["star", "heart"]
    with pytest.raises(RuntimeError, match="corrupted"):  # the real class does not take these files for CIFAR-10
        CIFAR10(sample_root)


def test_damaged_and_missing_sample_files_are_named(damaged_root, monkeypatch):
    folder = damaged_root / CIFAR10.base_folder
    monkeypatch.setattr("dl.simclr.data_utils.locate", lambda name: folder)
    batch = folder / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"^load_cifar10: in .* do not have their recorded MD5: data_batch_3. Delete"):
        load_cifar10(train=True)
    batch.unlink()
    (folder / "test_batch").unlink()
    with pytest.raises(FileNotFoundError, match=r"^load_cifar10: .* lacks data_batch_3, test_batch. Delete this"):
        load_cifar10(train=True)


def test_files_missing_at_the_first_use_are_named(tmp_path, monkeypatch):
    write_cifar(tmp_path / CIFAR10.base_folder, batch=2, test=2)
    (tmp_path / CIFAR10.base_folder / "batches.meta").unlink()
    monkeypatch.setattr("dl.simclr.data_utils.locate", lambda name: tmp_path / CIFAR10.base_folder)
    with pytest.raises(FileNotFoundError, match=r"lacks batches.meta. Delete this folder"):
        load_cifar10(train=True)


def test_a_users_own_folder_is_only_read_and_never_to_be_deleted(tmp_path, monkeypatch):
    folder = tmp_path / CIFAR10.base_folder
    write_cifar(folder, batch=2, test=2)
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_cifar10(train=True, root="~")) == 10
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    (folder / "data_batch_2").write_bytes(b"cut")
    with pytest.raises(
        ValueError, match=r"are damaged, or hold more than arrays and plain values.*: data_batch_2. Copy these"
    ):
        load_cifar10(train=True, root=tmp_path)
    (folder / "data_batch_3").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks data_batch_3. Copy these files there once more, or leave root out"):
        load_cifar10(train=True, root=tmp_path)


def test_a_pickle_of_a_users_own_folder_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    folder = tmp_path / CIFAR10.base_folder
    write_cifar(folder, batch=2, test=2)
    (folder / "data_batch_2").write_bytes(pickle.dumps({"data": Evil()}, protocol=2))
    (folder / "test_batch").write_bytes(b"cut")
    with pytest.raises(ValueError, match="hold more than arrays and plain values, .*: data_batch_2, test_batch. Copy"):
        load_cifar10(train=True, root=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_real_folder_that_is_not_cifar10_is_refused(damaged_root, monkeypatch):
    monkeypatch.setenv("DL_DATA", "real")
    with pytest.raises(ValueError, match=r"data_batch_1, .*batches.meta. Run \"python -m dl data fetch --again cifar10\""):
        load_cifar10(train=True, root=damaged_root)
    (damaged_root / CIFAR10.base_folder / "data_batch_2").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks data_batch_2. Run \"python -m dl data fetch --again cifar10\""):
        load_cifar10(train=True, root=damaged_root)


def test_with_real_data_it_is_the_fetched_folder_and_the_published_checksums(damaged_root, monkeypatch):
    folder = damaged_root / CIFAR10.base_folder
    sums = sample_checksums(folder)  # let these files pass for the published ones
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name, _ in CIFAR10.train_list])
    monkeypatch.setattr(CIFAR10, "test_list", [[name, sums[name]] for name, _ in CIFAR10.test_list])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})
    monkeypatch.setenv("DL_DATA", "real")
    monkeypatch.setenv("DL_HOME", str(damaged_root / "home"))
    with pytest.raises(FileNotFoundError, match="dl data fetch cifar10"):
        load_cifar10(train=True)
    kept = damaged_root / "home" / "datasets"
    kept.mkdir(parents=True)
    folder.rename(kept / folder.name)
    assert type(load_cifar10(train=True)) is CIFAR10 and len(load_cifar10(train=True)) == 10
    assert type(load_cifar10(train=False, pairs=True)) is CIFAR10Pair


def test_pairs_are_loaded_by_workers_that_start_anew(sample_root):
    """As on Windows and macOS: what the loader has must be sent to new processes."""
    pairs = load_cifar10(train=True, pairs=True, transform=compute_train_transform(), root=sample_root)
    loader = DataLoader(pairs, 20, num_workers=2, multiprocessing_context="spawn")
    batches = list(loader)  # to its end: a worker that still sends when it is stopped sometimes aborts (Python before 3.14)
    for x_i, x_j, _ in batches:
        assert x_i.shape == x_j.shape == (20, 3, 32, 32) and not torch.equal(x_i, x_j)
    assert torch.cat([targets for *_, targets in batches]).tolist() == pairs.targets


# --- Augmentation, batch by batch ---


def same_distribution(one, other):
    """Two-sample Kolmogorov-Smirnov test, at a level at which one of ten thousand tests of a right code fails."""
    return ks_2samp(np.asarray(one), np.asarray(other)).pvalue > 1e-4


def view_statistics(views):
    """Numbers that tell the distribution of random views of one picture: name -> (draws,)."""
    pictures = unnormalise(views)
    grey = batch_augment.luminance(pictures)[:, 0]
    statistics = {
        "red": pictures[:, 0].mean((1, 2)),
        "blue": pictures[:, 2].mean((1, 2)),
        "brightness": grey.mean((1, 2)),
        "contrast": grey.std((1, 2)),
        "colourfulness": (pictures.amax(1) - pictures.amin(1)).mean((1, 2)),
        "left minus right": grey[..., :16].mean((1, 2)) - grey[..., 16:].mean((1, 2)),
        "top minus bottom": grey[:, :16].mean((1, 2)) - grey[:, 16:].mean((1, 2)),
        "a pixel's green": pictures[:, 1, 9, 22],
    }
    return {name: values.numpy().round(3) for name, values in statistics.items()}  # PIL works in steps of 1 / 255


@pytest.fixture(scope="module")
def one_picture(sample_root):
    """A picture that differs between left and right, and between top and bottom."""
    picture = load_cifar10(train=True, root=sample_root).data[0] * np.linspace(0.3, 1, 32)[:, None]
    return Image.fromarray((picture * np.linspace(1, 0.6, 32)[:, None, None]).astype(np.uint8))


def batched_statistics(picture, augment):
    batch = TF.pil_to_tensor(picture).expand(DRAWS, -1, -1, -1)
    return view_statistics(augment(batch, torch.Generator().manual_seed(1)))


@pytest.fixture(scope="module")
def single_statistics(one_picture):
    transform = compute_train_transform()
    return view_statistics(torch.stack([transform(one_picture) for _ in range(DRAWS)]))


def test_batched_views_are_distributed_as_the_single_ones(one_picture, single_statistics):
    batched = batched_statistics(one_picture, BatchAugmentation())
    for name, values in single_statistics.items():
        assert same_distribution(values, batched[name]), name


@pytest.mark.parametrize(
    "other",
    (
        {"scale": (0.3, 1.0)},
        {"ratio": (0.5, 2.0)},
        {"flip": 0.4},
        {"jitter": 0.5},
        {"grey": 0.4},
        {"strength": (0.8, 0.4, 0.4, 0.1)},
        {"strength": (0.4, 0.4, 0.8, 0.1)},
        {"strength": (0.4, 0.4, 0.4, 0.3)},
    ),
)
def test_the_comparison_notices_another_distribution(one_picture, single_statistics, other):
    wrong = batched_statistics(one_picture, BatchAugmentation(**other))
    assert not all(same_distribution(single_statistics[name], wrong[name]) for name in wrong)


@pytest.mark.parametrize("height, width", ((32, 32), (20, 60)))
def test_boxes_are_distributed_as_torchvisions(height, width):
    torch.manual_seed(0)
    picture = torch.empty(3, height, width)
    get = transforms.RandomResizedCrop.get_params
    theirs = torch.tensor([get(picture, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3 * DRAWS)])
    u = torch.rand(4, batch_augment.CROP_TRIES, 20 * DRAWS)
    ours = torch.stack(batch_augment.crop_boxes(u, height, width, (0.08, 1.0), (3 / 4, 4 / 3)), dim=1)
    assert (ours[:, :2] >= 0).all() and (ours[:, 2:] > 0).all()
    assert (ours[:, 0] + ours[:, 2] <= height).all() and (ours[:, 1] + ours[:, 3] <= width).all()
    for column in range(4):
        assert same_distribution(ours[:, column], theirs[:, column])
    assert same_distribution(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3])
    assert same_distribution(ours[:, 3] / ours[:, 2], theirs[:, 3] / theirs[:, 2])


def test_where_no_box_fits_it_is_torchvisions_central_one():
    for height, width in ((10, 90), (90, 10), (32, 32)):
        u = torch.full((4, batch_augment.CROP_TRIES, 1), 0.5)
        box = torch.cat(batch_augment.crop_boxes(u, height, width, (9.0, 9.0), (3 / 4, 4 / 3))).tolist()
        picture = torch.empty(3, height, width)
        assert box == list(transforms.RandomResizedCrop.get_params(picture, [9.0, 9.0], [3 / 4, 4 / 3]))


@pytest.mark.parametrize("side", (32, 70))
def test_crop_resize_and_flip_equal_pils_up_to_its_rounding(side):
    pictures = [noise_picture(seed, side) for seed in range(40)]
    boxes = batch_augment.crop_boxes(torch.rand(4, 10, 40), side, side, (0.08, 1.0), (3 / 4, 4 / 3))
    flipped = torch.arange(40) % 2 == 1
    batch = torch.stack([TF.to_tensor(picture) for picture in pictures])
    ours = batch_augment.crop_and_resize(batch, boxes, 32, flipped)
    for n, picture in enumerate(pictures):
        theirs = TF.resized_crop(picture, *(int(part[n]) for part in boxes), [32, 32])
        theirs = TF.to_tensor(TF.hflip(theirs) if flipped[n] else theirs)
        assert (ours[n] - theirs).abs().max() < 1.6 / 255


@pytest.mark.parametrize(
    "name, factors", (("brightness", (0.6, 1.4)), ("contrast", (0.6, 1.4)), ("saturation", (0.0, 1.4)), ("hue", (-0.3, 0.1)))
)
def test_colour_adjustments_equal_torchvisions(name, factors):
    views = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    views[0, :, 0] = 0.5  # grey pixels have no hue
    for factor in factors:
        ours = getattr(batch_augment, f"adjust_{name}")(views, torch.full((8, 1, 1, 1), factor + (name == "hue")))
        torch.testing.assert_close(ours, getattr(TF, f"adjust_{name}")(views, factor), rtol=0, atol=2e-4)


def test_adjustments_are_made_in_each_pictures_own_order():
    views = torch.rand(24, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    orders = torch.tensor(list(itertools.permutations(range(4)))).T  # (4, 24)
    factors = torch.tensor([1.3, 0.7, 1.4, 1.1])[:, None].expand(4, 24)
    ours = views.clone()
    batch_augment.jitter_colours(ours, factors, orders)
    adjust = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, lambda v, f: TF.adjust_hue(v, f - 1))
    for n in range(24):
        expected = views[n]
        for number in orders[:, n].tolist():
            expected = adjust[number](expected, factors[number, n].item())
        torch.testing.assert_close(ours[n], expected, rtol=0, atol=2e-4)
    unchanged = views.clone()
    batch_augment.jitter_colours(unchanged, factors, torch.full((4, 24), -1))
    assert torch.equal(unchanged, views)


def test_every_order_of_the_adjustments_is_equally_likely(monkeypatch):
    seen = []
    monkeypatch.setattr(batch_augment, "jitter_colours", lambda views, factors, order: seen.append((factors, order)))
    BatchAugmentation()(torch.zeros(6000, 3, 2, 2, dtype=torch.uint8), torch.Generator().manual_seed(0))
    factors, order = seen[0]
    jittered = order[:, order[0] >= 0].T.tolist()
    assert abs(len(jittered) / 6000 - 0.8) < 0.02
    counts = Counter(map(tuple, jittered))
    assert len(counts) == 24 and max(abs(count - 200) for count in counts.values()) < 70
    assert (factors[:3] - 1).abs().max() <= 0.4 and (factors[3] - 1).abs().max() <= 0.1 + 1e-6


def test_batched_views_repeat_with_the_generator_and_differ_between_pictures():
    picture = TF.pil_to_tensor(noise_picture()).expand(6, -1, -1, -1)
    augment = BatchAugmentation()
    first, second = (augment(picture, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, second) and first.shape == (6, 3, 32, 32)
    assert not any(torch.equal(first[0], other) for other in first[1:])
    assert -2.4292 < first.min() and first.max() < 2.7538
    assert picture.dtype == torch.uint8 and augment(picture[:0]).shape == (0, 3, 32, 32)


def test_batched_views_do_not_depend_on_the_default_dtype():
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    first = BatchAugmentation()(images, torch.Generator().manual_seed(0))
    torch.set_default_dtype(torch.float64)
    try:
        second = BatchAugmentation()(images, torch.Generator().manual_seed(0))
    finally:
        torch.set_default_dtype(torch.float32)
    assert first.dtype == second.dtype == torch.float32 and torch.equal(first, second)


def test_pair_batches_take_the_place_of_a_loader_of_pairs():
    pictures, targets = torch.randint(0, 256, (10, 3, 32, 32), dtype=torch.uint8), torch.arange(10)
    pairs = PairBatches(DataLoader(TensorDataset(pictures, targets), 4), BatchAugmentation())
    batches = list(pairs)
    assert len(pairs) == len(batches) == 3 and [len(x_i) for x_i, _, _ in batches] == [4, 4, 2]
    assert torch.equal(torch.cat([target for _, _, target in batches]), targets)
    assert not torch.equal(batches[0][0], batches[0][1])


def test_the_batched_augmentation_refuses_what_it_cannot_read():
    with pytest.raises(TypeError, match=r"^BatchAugmentation: wanted uint8 images .*got torch.float32. Pass"):
        BatchAugmentation()(torch.zeros(2, 3, 32, 32))
    with pytest.raises(ValueError, match=r"^BatchAugmentation: .*got \(2, 32, 32, 3\). Move channels first"):
        BatchAugmentation()(torch.zeros(2, 32, 32, 3, dtype=torch.uint8))
