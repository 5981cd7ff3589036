"""CLIP ready to use, real and small; the training of the small CLIP and DINO; and what the shipped weights can do."""

import copy
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dl import weights
from dl.data import ENTRIES, content
from dl.data.manifest import digest
from dl.models import small_clip
from dl.models.scores import attention_scores, patch_coverage
from dl.models.small_clip import SmallCLIP, load_clip, preprocessing, quiet_clip_import
from dl.training import clip as training
from dl.training import dino as dino_training
from dl.training import networks
from dl.world.captions import describe
from dl.world.render import render
from dl.world.scenes import CLASSES, COLOURS, generator, sample_scene

with quiet_clip_import():
    import clip
    from clip.clip import _transform
    from clip.model import CLIP

TINY = {
    "embed_dim": 16,
    "image_resolution": 32,
    "vision_layers": 1,
    "vision_width": 64,
    "vision_patch_size": 16,
    "context_length": 77,
    "transformer_width": 64,
    "transformer_heads": 1,
    "transformer_layers": 2,
}
TEXTS = ["a red star", "something blue", "there is a small green umbrella on a brick wall."]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def tiny_clip() -> SmallCLIP:
    torch.manual_seed(0)
    return SmallCLIP(TINY, training.vocabulary()).eval().requires_grad_(False)


# --- The small model's interface ---


def test_text_features_are_those_of_clips_own_encoder_over_all_77_places():
    model = tiny_clip()
    tokens = clip.tokenize(TEXTS)
    table = {token: rank for rank, token in enumerate(training.vocabulary())}
    ranks = torch.tensor([[table[token] for token in row] for row in tokens.tolist()])
    torch.testing.assert_close(model.encode_text(tokens), model.clip.encode_text(ranks), rtol=1e-4, atol=1e-5)
    assert model.encode_text(tokens).shape == (3, 16)


def test_a_text_has_the_same_feature_beside_longer_ones():
    model = tiny_clip()
    together = model.encode_text(clip.tokenize(TEXTS))
    alone = torch.cat([model.encode_text(clip.tokenize(text)) for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_end_token_stays_the_highest_and_in_its_place():
    model, tokens = tiny_clip(), clip.tokenize(TEXTS)
    assert torch.equal(model._small_ids(tokens).argmax(dim=1), tokens.argmax(dim=1))
    assert model.token_ids[-1] == clip.tokenize("").max() and model.token_ids[0] == 0
    assert torch.equal(model._small_ids(tokens.int()), model._small_ids(tokens))  # other distributions give int32


def test_words_outside_the_vocabulary_are_named():
    with pytest.raises(ValueError, match="^encode_text: the small CLIP does not know 'zebra', 'quickly'; .*Use its classes"):
        tiny_clip().encode_text(clip.tokenize(["a red zebra", "a red star", "a zebra quickly"]))


def test_every_word_of_the_worlds_captions_and_of_the_training_texts_is_known():
    model = tiny_clip()
    rng = np.random.default_rng(0)
    texts = [describe(sample_scene(rng), rng) for _ in range(300)] + training.all_sentences()
    for values, phrasings in training.PROPERTY_TEXTS.values():
        texts += [training.with_article(phrasing.format(value)) for phrasing in phrasings for value in values]
    assert model.encode_text(clip.tokenize(texts)).isfinite().all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "RGB"])
def test_preprocessing_is_clips_own_for_any_kind_of_picture(mode):
    pixels = np.random.default_rng(0).integers(0, 256, size=(70, 112, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).convert(mode)
    out = preprocessing(48)(picture)
    assert out.shape == (3, 48, 48)
    if mode != "P":  # clip resizes before it converts, as we do: palette pictures are resized by nearest neighbour
        torch.testing.assert_close(out, _transform(48)(picture))


def test_training_prepares_pictures_as_preprocessing_does():
    picture = render(sample_scene(np.random.default_rng(1)), 112)[0]
    for_training = training.prepare(torch.from_numpy(picture).permute(2, 0, 1)[None])[0]
    difference = (for_training - preprocessing(training.SIDE)(Image.fromarray(picture))).abs()
    assert difference.mean() < 0.008 and difference.quantile(0.99) < 0.04  # one grey level is 0.015; PIL rounds twice


# --- The published model ---


def published_like() -> CLIP:
    """A CLIP of the published kind, but tiny: whole vocabulary, heads of 64."""
    torch.manual_seed(1)
    return CLIP(**TINY, vocab_size=49408).eval().requires_grad_(False)


@pytest.fixture
def real_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DL_DATA", "real")
    monkeypatch.setenv("DL_HOME", str(tmp_path))
    monkeypatch.setattr(small_clip, "published_network", published_like)
    monkeypatch.setattr(content, "network_tensors", networks.state_of)
    (tmp_path / "pretrained_model").mkdir()
    return tmp_path / "pretrained_model" / "ViT-B-32.pt"


def check_published(model, preprocess, original):
    tokens, image = clip.tokenize(TEXTS), preprocess(Image.new("L", (40, 50), 90))[None]
    assert image.shape == (1, 3, 32, 32) and not model.training and model.dtype == torch.float32
    torch.testing.assert_close(model.encode_text(tokens), original.encode_text(tokens), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(model.encode_image(image), original.encode_image(image), rtol=1e-2, atol=1e-2)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_plain_state_dict_of_clip_loads(real_home):
    original = published_like()
    torch.save(original.state_dict(), real_home)
    check_published(*load_clip("cpu"), original)


@pytest.mark.filterwarnings("ignore")
def test_openais_archive_is_opened_only_if_its_hash_is_right(real_home, monkeypatch):
    original = published_like()
    torch.jit.save(torch.jit.trace(original, (torch.zeros(1, 3, 32, 32), clip.tokenize("a star"))), real_home)
    with pytest.raises(ValueError, match="not the published hash.*archive, which holds code .*data fetch --again clip"):
        load_clip("cpu")
    published = replace(ENTRIES["clip"], digest=f"sha256:{digest(real_home, 'sha256')}")
    monkeypatch.setitem(ENTRIES, "clip", published)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_published(*load_clip("cpu"), original)


def test_a_damaged_or_missing_file_of_clip_names_the_command(real_home):
    with pytest.raises(FileNotFoundError, match="data fetch clip"):
        load_clip("cpu")
    real_home.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="it is a web page.*python -m dl data fetch --again clip"):
        load_clip("cpu")


# --- Training ---


def test_property_targets_share_themselves_among_what_a_scene_shows():
    scenes = [sample_scene(generator(90, n), count=count) for n, count in enumerate((1, 2, 3))]
    for name, values in (("class", CLASSES), ("colour", list(COLOURS))):
        targets = training.property_targets(scenes, name)
        assert targets.shape == (3, len(values))
        for scene, row in zip(scenes, targets):
            shown = {o.category if name == "class" else o.colour for o in scene.objects}
            assert {values[i] for i in row.nonzero()[:, 0]} == shown
            assert row.sum().item() == pytest.approx(1) and row.max().item() == pytest.approx(1 / len(shown))


def test_articles_fit_the_word_behind():
    assert training.with_article("a umbrella is a orange thing, a star") == "an umbrella is an orange thing, a star"


def test_losses_of_a_clip_step_are_those_of_the_paper(monkeypatch):
    """The contrastive part against a loop over the pairs."""
    monkeypatch.setattr(training, "SIDE", 32)
    model = tiny_clip()
    got = training.step_losses(model, range(3))
    rng = generator(training.SEED, 0, 2)
    scenes = [sample_scene(generator(training.SEED, n)) for n in range(3)]
    images = training.encode_pictures(model, scenes)
    for values, texts in training.PROPERTY_TEXTS.values():
        training.phrase(values, texts, rng)
    texts = model.encode_text(clip.tokenize([training.caption(scene, rng) for scene in scenes]))
    scale = model.clip.logit_scale.exp()
    cosine = torch.tensor([[float(torch.cosine_similarity(i, t, dim=0)) for t in texts] for i in images]) * scale
    terms = [-cosine[n].log_softmax(0)[n] - cosine[:, n].log_softmax(0)[n] for n in range(3)]
    assert got["contrastive"].item() == pytest.approx(sum(terms).item() / 6, rel=1e-3)


@pytest.mark.parametrize("script", [training, dino_training])
def test_a_stopped_training_goes_on_as_if_it_had_not_been(script, tmp_path, monkeypatch):
    ends = []
    monkeypatch.setattr(script, "BATCH", 4)
    monkeypatch.setattr(script.settings, "project_root", lambda: tmp_path / str(len(ends)))
    monkeypatch.setattr(script, "finish", lambda model, steps, seconds: ends.append(copy.deepcopy(model.state_dict())))
    if script is dino_training:
        monkeypatch.setattr(script, "teacher_momentum", lambda step, steps, first: 0.5)  # is to depend on `steps`
    script.train(steps=3)
    stopped = tmp_path / "stopped"
    monkeypatch.setattr(script.settings, "project_root", lambda: stopped)
    script.train(steps=2)
    script.train(steps=3)
    whole, _, resumed = ends
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


# --- What is shipped ---


@pytest.mark.parametrize("name, limit", [("clip", 6e6), ("dino", 4e6)])
def test_shipped_files_are_small_half_precision_and_have_a_card(name, limit):
    from safetensors.torch import load_file

    path = weights.FILES / f"{name}.safetensors"
    assert path.stat().st_size <= limit
    floating = [t for t in load_file(path).values() if t.is_floating_point()]
    assert floating and all(t.dtype == torch.float16 and t.isfinite().all() for t in floating)
    script = {"clip": training, "dino": dino_training}[name]
    facts = weights.metadata(name)
    assert json.loads(facts["configuration"]) == json.loads(json.dumps(script.CONFIGURATION))
    card = (weights.FILES / f"{name}.md").read_text(encoding="utf-8")
    assert f"| seed | {script.SEED} |" in card and f"{int(facts['steps']):,} steps" in card and "Limits:" in card


def test_small_clip_tells_classes_colours_and_whole_captions(monkeypatch):
    monkeypatch.setenv("DL_DATA", "sample")
    model, preprocess = load_clip("cpu")
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    scenes = [sample_scene(generator(91, n), count=1) for n in range(150)]
    images = model.encode_image(torch.stack([preprocess(Image.fromarray(render(s, 112)[0])) for s in scenes]))
    shares = training.zero_shot(model, scenes, images)
    assert shares["class"] > 0.72 and shares["colour"] > 0.88, shares


def test_small_dino_looks_at_objects(monkeypatch):
    monkeypatch.setenv("DL_DATA", "sample")
    from dl.models.vit import load_dino, untrained_like

    model = load_dino("cpu")
    pictures, masks = zip(*[render(sample_scene(generator(92, n)), 160) for n in range(25)])
    coverage = patch_coverage(torch.from_numpy(np.stack(masks)), 8)
    learnt, fresh = (
        attention_scores(dino_training.look(net, pictures)[0], coverage) for net in (model, untrained_like(model, 0))
    )
    assert learnt["gain"] > 2.5 and learnt["gain"] > 1.6 * fresh["gain"] and learnt["iou"] > 0.4, (learnt, fresh)


def test_a_device_and_its_name_are_one(monkeypatch, device):
    monkeypatch.setenv("DL_DATA", "sample")
    for given in (device.type, device):
        model, _ = small_clip.load_clip(given)
        assert model.encode_text(clip.tokenize("a star").to(device)).device.type == device.type
