"""The sample world: what scenes hold, that pictures match their truth, captions, files in the real formats, same bytes."""

import hashlib
import json
import pickle
import subprocess
import sys
import weakref
from collections import Counter
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from dl import settings
from dl.world import export
from dl.world.captions import PLACES, RARE_WORDS, content_right, describe, read, relation_right
from dl.world.render import pattern_at, render
from dl.world.scenes import BACKGROUNDS, CLASSES, COLOURS, HELD_OUT_PAIRS, RELATIONS, TEXTURES, generator, sample_scene
from dl.world.scoring import attention_gain, constant_relation, covered_shares, score_captions
from dl.world.videos import HARD_PATTERNS, easy_video, hard_video, turn_hue

SCENES = [sample_scene(generator(99, index)) for index in range(600)]


def test_scenes_use_the_whole_world_and_keep_the_held_out_pairs_out():
    objects = [item for scene in SCENES for item in scene.objects]
    assert {o.category for o in objects} == set(CLASSES) and len(CLASSES) == 10
    assert {o.colour for o in objects} == set(COLOURS) and len(COLOURS) == 8
    assert {o.texture for o in objects} == set(TEXTURES) and len(TEXTURES) == 3
    assert {o.size for o in objects} == {"large", "small"}
    assert {scene.background for scene in SCENES} == set(BACKGROUNDS) and len(BACKGROUNDS) >= 6
    assert {scene.relation() for scene in SCENES} == {None, *RELATIONS}
    assert {len(scene.objects) for scene in SCENES} == {1, 2, 3}
    assert not {(o.colour, o.category) for o in objects} & HELD_OUT_PAIRS
    kept_out = [sample_scene(generator(98, index), held_out=True) for index in range(50)]
    assert all((o.colour, o.category) in HELD_OUT_PAIRS for scene in kept_out for o in scene.objects)


@pytest.mark.parametrize("size", [32, 64, 112])
def test_masks_lie_where_the_objects_are(size):
    for scene in SCENES[:40]:
        picture, mask = render(scene, size)
        assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
        assert set(np.unique(mask)) == set(range(len(scene.objects) + 1))
        for label, item in enumerate(scene.objects, start=1):
            rows, columns = np.nonzero(mask == label)
            assert abs(columns.mean() / size - item.x) < 0.3 * item.extent
            assert abs(rows.mean() / size - item.y) < 0.3 * item.extent
            assert 0.15 < (mask == label).mean() / item.extent**2 < 1


def test_the_same_scene_gives_the_same_picture_and_another_appearance_another():
    scene = SCENES[0]
    assert np.array_equal(render(scene, 64)[0], render(scene, 64)[0])
    other = next(name for name in CLASSES if name != scene.objects[0].category)
    changed = replace(scene, objects=(replace(scene.objects[0], category=other), *scene.objects[1:]))
    assert not np.array_equal(render(scene, 64)[1], render(changed, 64)[1])


def test_mean_colour_does_not_give_class_or_colour_away():
    scenes = [sample_scene(generator(97, index), count=1) for index in range(900)]
    means = np.stack([render(scene, 32)[0].reshape(-1, 3).mean(axis=0) for scene in scenes]) / 255
    for names, limit in (([s.objects[0].category for s in scenes], 0.2), ([s.objects[0].colour for s in scenes], 0.4)):
        model = LogisticRegression(C=100, max_iter=2000).fit(means[:600], names[:600])
        assert model.score(means[600:], names[600:]) < limit


def test_a_size_or_count_that_does_not_exist_is_told():
    with pytest.raises(ValueError, match="sample_scene: got count=4.*1 to 3 objects"):
        sample_scene(generator(1), count=4)
    with pytest.raises(ValueError, match="pattern_at: got kind 'plaid'"):
        pattern_at("plaid", np.zeros(1), np.zeros(1))


# --- Captions ---


def test_captions_are_true_short_and_varied():
    sentences = [describe(scene, generator(96, index)) for index, scene in enumerate(SCENES)]
    assert all(5 <= len(sentence.split()) <= 15 for sentence in sentences)
    assert all(content_right(sentence, scene) for sentence, scene in zip(sentences, SCENES))
    skeletons = {
        " ".join(w for w in s.split() if w not in {*COLOURS, *TEXTURES, *CLASSES, "large", "small", *RARE_WORDS})
        for s, scene in zip(sentences, SCENES)
        if len(scene.objects) == 1
    }
    for place in PLACES.values():
        skeletons = {skeleton.replace(place, "PLACE").replace("an ", "a ") for skeleton in skeletons}
    assert len(skeletons) == 5
    assert any(word in RARE_WORDS for sentence in sentences for word in sentence.split())


def test_reading_a_caption():
    claims = read("<START> a large red striped star is left of an <UNK> blue fish in the snow <END>")
    assert claims.pairs == (("red", "star"), ("blue", "fish")) and claims.sizes == ("large", None)
    assert claims.textures == ("striped", None) and (claims.relation, claims.background) == ("left of", "snow")
    assert read("a star and a blue").pairs == ()


@pytest.fixture(scope="module")
def pair_scene():
    return next(scene for scene in SCENES if scene.relation() == "left of")


def test_every_false_claim_is_noticed(pair_scene):
    a, b = pair_scene.objects
    first, second = f"{a.colour} {a.category}", f"{b.colour} {b.category}"
    place = PLACES[pair_scene.background]
    assert content_right(f"a {first} left of a {second} {place}", pair_scene)
    assert content_right(f"a {second} right of a {first}", pair_scene)
    other = next(c for c in COLOURS if c not in (a.colour, b.colour))
    elsewhere = next(p for p in PLACES.values() if p != place)
    texture = next(t for t in TEXTURES if t != a.texture)
    for wrong in (
        f"a {first} right of a {second}",
        f"a {second} left of a {first}",
        f"a {other} {a.category}",
        "a thing",
        f"a {first} {elsewhere}",
        f"a {first} and a {first}",
        f"a {a.colour} {texture} {a.category}",
        f"a {'small' if a.size == 'large' else 'large'} {first}",
    ):
        assert not content_right(wrong, pair_scene), wrong
    assert not relation_right(read(f"a {first}"), pair_scene)


def test_scores_of_captions(pair_scene):
    one = next(scene for scene in SCENES if len(scene.objects) == 1)
    (item,), (a, b) = one.objects, pair_scene.objects
    right_one, swapped = f"a {item.colour} {item.category}", f"a {b.colour} {a.category} and a {a.colour} {b.category}"
    scores = score_captions([right_one, swapped], [one, pair_scene], [right_one, "something else"])
    assert scores["one_pair"] == scores["one_content"] == 1 and scores["exact"] == scores["content"] == 0.5
    if a.colour != b.colour:
        assert scores["two_misbound"] == 1 and scores["two_first"] == scores["two_both"] == 0
        assert scores["two_scenes"] == 1 and scores["two_claimed"] == 0
        assert scores["two_named"] == (a.category != b.category) and scores.get("two_bound", 0) == 0
    with pytest.raises(ValueError, match="1 sentences for 2 scenes"):
        score_captions(["a"], [one, pair_scene])


def test_a_constant_relation_is_counted_in_the_order_in_which_a_caption_names_the_objects(pair_scene):
    first, second = (f"a {o.colour} {o.category}" for o in pair_scene.objects)
    truth, lines = pair_scene.relation(), ["{} {} {}", "there is something"]
    told = [line.format(first, truth, second) for line in lines]
    assert constant_relation(told, [pair_scene] * 2) == (truth, 1.0)
    turned, share = constant_relation([f"{second} {truth} {first}"], [pair_scene])
    assert share == 1.0 and {turned, truth} in ({"left of", "right of"}, {"above", "below"})
    assert constant_relation(["there is something"], [pair_scene])[1] == 0


def test_attention_gain_is_one_for_attention_spread_like_the_area_and_more_on_the_object():
    one = next(scene for scene in SCENES if len(scene.objects) == 1)
    (item,) = one.objects
    sentence = f"a {item.colour} {item.category}"
    mask = render(one, 112)[1] == 1
    area = torch.tensor(covered_shares(np.ones((112, 112)), (4, 4)))
    assert torch.equal(area, torch.ones(4, 4, dtype=area.dtype))
    pixels = np.array([16, 32, 32, 32]) / 112  # pixels nearest to the cells' centres 0, 32, 64, 96
    like_area = torch.tensor(np.outer(pixels, pixels)).expand(1, 3, 4, 4)
    assert attention_gain([sentence], like_area, [one], 1) == pytest.approx(1, abs=0.03)
    covered = covered_shares(mask, (4, 4))
    focused = torch.tensor(covered == covered.max(), dtype=torch.float64).expand(1, 3, 4, 4)
    assert attention_gain([sentence], focused, [one], 1) > 2


# --- Videos ---


def test_hard_videos_share_one_palette_and_move():
    video = hard_video(generator(5), 90, 160)
    frames = [video.frame(moment) for moment in (-1, 0, 1)]
    picture, mask = frames[1]
    assert picture.shape == (90, 160, 3) and mask.max() >= 2
    labels = [track for track in video.tracks if track.label]
    assert {track.item.category for track in labels} <= set(HARD_PATTERNS)
    tables = np.concatenate([track.colours[0][:2] for track in labels])
    assert len(np.unique(tables.round(), axis=0)) <= 3  # two colours and their mean
    assert not np.array_equal(frames[0][1], frames[2][1])


def test_hue_drifts_through_a_hard_video_and_luminance_stays():
    video = hard_video(generator(5), 60, 107)
    to_iq = np.array([[0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])

    def hue(moment):
        i, q = to_iq @ video.frame(moment)[0].reshape(-1, 3).mean(axis=0)
        return np.degrees(np.arctan2(q, i))

    turned = (hue(1) - hue(-1) + 180) % 360 - 180
    assert 30 < abs(turned) < 90
    colours = np.random.default_rng(0).uniform(80, 170, (4, 5, 3)).astype(np.float32)
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(turn_hue(colours, 50) @ luma, colours @ luma, rtol=1e-3)
    np.testing.assert_allclose(turn_hue(turn_hue(colours, 50), -50), colours, rtol=1e-3)


def test_colour_and_place_tell_objects_apart_in_easy_videos_only():
    from sklearn.neighbors import KNeighborsClassifier

    def accuracy(make, seed):
        video = make(generator(seed), 90, 160)
        grid = np.stack(np.mgrid[0:1:90j, 0:1:160j], axis=-1)
        (train_x, train_y), (test_x, test_y) = (
            (np.concatenate([picture / 255, grid], axis=2).reshape(-1, 5), mask.ravel())
            for picture, mask in (video.frame(0), video.frame(0.9))
        )
        predicted = KNeighborsClassifier(5).fit(train_x[::7], train_y[::7]).predict(test_x[::7])
        return np.mean([np.mean(predicted[test_y[::7] == k] == k) for k in np.unique(test_y[::7]) if k])

    easy = np.mean([accuracy(easy_video, seed) for seed in range(4)])
    hard = np.mean([accuracy(hard_video, seed) for seed in range(6)])
    assert easy > 0.6 and hard < easy - 0.25


# --- Files ---

COUNTS = {"train": 60, "val": 10, "held_out": 6}
WRITE_SMALL = """
import sys
from pathlib import Path
from dl.world import export
folder = Path(sys.argv[1])
export.MIN_COUNT = 2
export.write_coco_pt(folder / "coco.pt", {"train": 60, "val": 10, "held_out": 6})
export.write_cifar(folder / "cifar-10-batches-py", batch=8, test=6)
export.write_coco_captioning(folder / "coco_captioning", {"train": 5, "val": 4})
export.write_davis(folder / "DAVIS", easy={"playground": 3}, hard={"regatta": 2})
"""


@pytest.fixture(scope="module")
def small_world(tmp_path_factory):
    """The four data sets, small, written by two separate processes."""
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    running = [
        subprocess.Popen([sys.executable, "-c", WRITE_SMALL, folder], stderr=subprocess.DEVNULL, cwd=settings.project_root())
        for folder in folders
    ]
    assert [process.wait() for process in running] == [0, 0]
    return folders


def test_two_processes_write_identical_bytes(small_world):
    def hashes(folder):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    first, second = map(hashes, small_world)
    assert len(first) > 25 and first == second


def test_pictures_have_their_recorded_bytes():
    """The same picture on every machine of one kind; a changed number here means a new `export.VERSION`."""
    digest = hashlib.sha256(b"".join(render(scene, 48)[0].tobytes() for scene in export.scenes("train", 20))).hexdigest()
    assert digest[:16] == "91730456a0b01c0c"


def test_coco_file(small_world):
    import a2_helper

    data = a2_helper.load_coco_captions(small_world[0] / "coco.pt", verbose=False)
    for split, count in COUNTS.items():
        assert data[f"{split}_images"].shape == (count, 3, 112, 112) and data[f"{split}_captions"].shape == (count, 17)
    assert data["vocab"]["idx_to_token"][:4] == ["<NULL>", "<START>", "<END>", "<UNK>"]
    captions = data["train_captions"]
    assert (captions[:, 0] == 1).all() and ((captions == 2).sum(dim=1) == 1).all()
    picture = render(next(export.scenes("val", 1)), 112)[0]
    assert np.array_equal(data["val_images"][0].permute(1, 2, 0).numpy(), picture)
    said = a2_helper.decode_captions(data["val_captions"], data["vocab"]["idx_to_token"])
    for sentence, whole in zip(said, export.sentences("val", 10)):
        assert len(sentence.split()) == len(whole.split()) + 2


def test_full_vocabulary_makes_rare_words_unknown():
    captions = list(export.sentences("train", export.COCO_COUNTS["train"]))
    words = export.build_vocabulary(captions)
    assert not set(words) & set(RARE_WORDS)
    assert {*CLASSES, *COLOURS, *TEXTURES} - set(words) == {"plain"}  # a plain texture goes without saying
    counts = Counter(word for caption in captions for word in caption.split())
    assert [counts[word] for word in words[4:]] == sorted((counts[word] for word in words[4:]), reverse=True)


def test_cifar_batches(small_world):
    folder = small_world[0] / "cifar-10-batches-py"
    batch = pickle.loads((folder / "data_batch_2").read_bytes())
    assert batch["data"].shape == (8, 3072) and batch["data"].dtype == np.uint8 and len(batch["labels"]) == 8
    scene = sample_scene(generator(export.SPLIT_KEYS["cifar_train"], 8), close_up=True)
    assert np.array_equal(batch["data"][0].reshape(3, 32, 32).transpose(1, 2, 0), render(scene, 32)[0])
    assert CLASSES[batch["labels"][0]] == scene.objects[0].category
    assert pickle.loads((folder / "batches.meta").read_bytes())["label_names"] == list(CLASSES)


def test_coco_captioning_folder(small_world):
    folder = small_world[0] / "coco_captioning"
    vocabulary = json.loads((folder / "coco2014_vocab.json").read_text())
    with h5py.File(folder / "coco2014_captions.h5") as file:
        assert file["val_captions"].shape == (4, 17) and file["val_captions"].dtype == np.int32
        assert file["train_image_idxs"][:].tolist() == [0, 1, 2, 3, 4]
        assert file["val_captions"][0, 0] == vocabulary["word_to_idx"]["<START>"]
    for name, width in (("fc7_pca", 512), ("fc7", 4096)):
        with h5py.File(folder / f"val2014_vgg16_{name}.h5") as file:
            assert file["features"].shape == (4, width) and file["features"].dtype == np.float32
    lines = (folder / "val2014_urls.txt").read_text().splitlines()
    assert len(lines) == 4 and all(Image.open(folder / line).size == (112, 112) for line in lines)


def test_no_image_of_the_captioning_folder_is_kept_until_the_end(tmp_path, monkeypatch):
    made, kept = [], []

    class Watched(np.ndarray):
        def __array_finalize__(self, _):
            made.append(weakref.ref(self))

    def watched(scene, side):
        kept.append(sum(image() is not None for image in made))
        picture, mask = render(scene, side)
        return picture.view(Watched), mask

    monkeypatch.setattr(export, "COCO_COUNTS", {"train": 9})
    monkeypatch.setattr(export, "render", watched)
    export.write_coco_captioning(tmp_path / "folder", {"train": 6, "val": 6})
    assert len(made) > len(kept) == 12 and max(kept) == kept[1]


def test_davis_folder(small_world):
    folder = small_world[0] / "DAVIS"
    assert (folder / "ImageSets/2017/val.txt").read_text() == "playground\nregatta\n"
    mask = Image.open(folder / "Annotations/480p/playground/00002.png")
    assert mask.mode == "P" and mask.getpalette()[3:6] == [128, 0, 0] and set(np.unique(mask)) == {0, 1, 2, 3}
    frame = np.asarray(Image.open(folder / "JPEGImages/480p/playground/00002.jpg"))
    video = easy_video(generator(export.SPLIT_KEYS["easy"], 0), *export.VIDEO_SIZE)
    assert np.abs(frame.astype(int) - video.frame(1.0)[0]).mean() < 6  # JPEG


def test_the_main_video_is_the_eighth():
    names = [*export.EASY_VIDEOS, *export.HARD_VIDEOS]
    names.sort(key=lambda name: hashlib.md5(f"validation{name}480p".encode()).hexdigest())
    assert names[7] == "playground" and "playground" in export.EASY_VIDEOS and len(export.HARD_VIDEOS) >= 12


def test_sample_data_are_made_once(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(settings, "sample_home", lambda: tmp_path)
    monkeypatch.setitem(export.WRITERS, "coco.pt", lambda path: (made.append(1), path.write_text("x")))
    first = export.sample_path("coco.pt")
    assert first == export.sample_path("coco.pt") == tmp_path / f"v{export.VERSION}" / "coco.pt" and made == [1]
    assert [path.name for path in first.parent.iterdir()] == ["coco.pt"]  # no workspace left
    with pytest.raises(ValueError, match="sample_path: the sample world has no 'mnist'"):
        export.sample_path("mnist")


def test_an_interrupted_export_leaves_nothing(monkeypatch, tmp_path):
    def broken(path):
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(settings, "sample_home", lambda: tmp_path)
    monkeypatch.setitem(export.WRITERS, "coco.pt", broken)
    with pytest.raises(KeyboardInterrupt):
        export.sample_path("coco.pt")
    assert list((tmp_path / f"v{export.VERSION}").iterdir()) == []
