"""DINO's recipe against naive loops, and the pieces of the small training: views, matching patches, Sinkhorn."""

import math

import pytest
import torch

from dl.models.dino import DINOHead, dino_loss, make_teacher, teacher_momentum, update_center, update_teacher
from dl.models.vit import VisionTransformer
from dl.training import dino as training


def scores(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("Vs, Vt", [(2, 2), (5, 2), (3, 1)])
def test_loss_is_the_mean_cross_entropy_over_pairs_of_different_crops(Vs, Vt):
    student, teacher, center = scores(Vs, 3, 4), scores(Vt, 3, 4, seed=1), scores(4, seed=2)
    terms = []
    for t in range(Vt):
        for s in range(Vs):
            if s == t:
                continue
            for n in range(3):
                p = [math.exp((teacher[t, n, k] - center[k]) / 0.07) for k in range(4)]
                q = [math.exp(student[s, n, k] / 0.2) for k in range(4)]
                terms.append(-sum(p[k] / sum(p) * math.log(q[k] / sum(q)) for k in range(4)))
    got = dino_loss(student, teacher, center, student_temperature=0.2, teacher_temperature=0.07)
    assert got.item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def test_no_gradient_reaches_the_teacher_and_the_students_is_right():
    student, teacher = scores(3, 2, 4).requires_grad_(), scores(2, 2, 4, seed=1).requires_grad_()
    dino_loss(student, teacher, torch.zeros(4)).backward()
    assert teacher.grad is None
    assert torch.autograd.gradcheck(lambda s: dino_loss(s, teacher.detach(), torch.zeros(4)), student)


def test_center_is_a_moving_average_of_the_teachers_mean():
    teacher, center = scores(2, 3, 4), scores(4, seed=1)
    rows = [teacher[v, n] for v in range(2) for n in range(3)]
    expected = 0.8 * center + 0.2 * sum(rows) / 6
    torch.testing.assert_close(update_center(center, teacher, momentum=0.8), expected)


def test_centring_takes_away_what_is_common_and_sharpening_what_is_even():
    common = scores(2, 3, 4) + torch.tensor([9.0, 0, 0, 0])  # one score wins always
    center = common.mean(dim=(0, 1))
    centred = ((common - center) / 1.0).softmax(dim=-1)
    assert set(centred.argmax(dim=-1).flatten().tolist()) != {0}
    entropies = [-(p * p.log()).sum(-1).mean() for p in ((common - center).div(t).softmax(-1) for t in (1.0, 0.1))]
    assert entropies[1] < entropies[0]


def test_teacher_follows_the_student_and_takes_no_gradient():
    student = torch.nn.Linear(2, 3)
    teacher = make_teacher(student)
    old = teacher.weight.clone()
    with torch.no_grad():
        student.weight.add_(1.0)
    update_teacher(teacher, student, momentum=0.9)
    torch.testing.assert_close(teacher.weight, 0.9 * old + 0.1 * student.weight)
    assert not any(p.requires_grad for p in teacher.parameters()) and student.weight.requires_grad


def test_teacher_momentum_rises_from_its_first_value_to_one():
    values = [teacher_momentum(step, 10, first=0.9) for step in range(11)]
    assert values[0] == pytest.approx(0.9) and values[5] == pytest.approx(0.95) and values[10] == pytest.approx(1.0)
    assert values == sorted(values)


def test_head_gives_cosines_and_a_projection_of_length_one():
    torch.manual_seed(0)
    head = DINOHead(width=6, outputs=5, hidden=8, bottleneck=4)
    tokens = torch.randn(2, 3, 6)
    projected = head.project(tokens)
    torch.testing.assert_close(projected.norm(dim=-1), torch.ones(2, 3))
    expected = torch.cosine_similarity(projected[:, :, None], head.directions, dim=-1)
    torch.testing.assert_close(head(tokens), expected)


def test_matching_patches_show_the_same_place_in_both_views():
    """Pictures whose colour tells the place: what the student sees and what the teacher sees must agree."""
    side = 64
    axis = (torch.arange(side) + 0.5) * 2 / side - 1
    place = torch.stack([axis.expand(side, side), axis[:, None].expand(side, side)])  # (2, H, W): x and y
    rng = torch.Generator().manual_seed(0)
    N, cells = 4, 10
    maps = training.random_map(torch.zeros(2 * N, 2), (0.4, 0.6), 0.05, rng)
    views = training.take_view(place.expand(2 * N, 2, side, side), *maps, cells)  # (2N, 2, cells, cells)
    tokens = views.flatten(2).transpose(1, 2)  # one "patch" a pixel
    all_one = torch.ones(N, dtype=torch.bool)
    seen, taught = training.matching_patches(tokens, tokens, maps, all_one, rng)
    assert len(seen) > 100
    assert (seen - taught).abs().quantile(0.95) < 0.06  # border cells are clamped; a cell is up to 0.12 wide
    shuffled = training.matching_patches(tokens, tokens, (maps[0].flip(0), maps[1].flip(0)), all_one, rng)
    assert (shuffled[0] - shuffled[1]).abs().quantile(0.95) > 0.2


def test_views_of_a_pair_have_no_matching_patches():
    N, rng = 3, torch.Generator().manual_seed(0)
    maps = training.random_map(torch.zeros(2 * N, 2), (0.4, 0.6), 0.05, rng)
    tokens = torch.arange(2.0 * N).view(2 * N, 1, 1).expand(2 * N, 16, 2)  # each token is the number of its view
    one_picture = torch.tensor([True, False, True])
    seen, taught = training.matching_patches(tokens, tokens, maps, one_picture, rng)
    assert set(seen[:, 0].tolist()) == {0.0, 2.0, 3.0, 5.0}
    torch.testing.assert_close((seen + N) % (2 * N), taught)  # the other view of the same picture


def test_pairs_show_the_same_objects_before_other_backgrounds_and_only_cls_uses_them(monkeypatch):
    monkeypatch.setattr(training, "SHARES_WITH_PAIRS", training.SHARES)
    alone, paired = training.draw_pictures(range(24)), training.draw_pictures(range(24), pairs=True)
    assert alone.one_picture.all() and alone.for_cls.all() and torch.equal(alone.first, alone.second)
    assert torch.equal(alone.first, paired.first)  # scenes are the same ones, with or without their pair
    two = ~paired.one_picture
    assert 0 < two.sum() < 24 and paired.for_cls[two].all() and not paired.for_cls.all()
    for n in range(24):
        difference = (paired.first[n] - paired.second[n]).abs().amax(dim=0)  # (H, W)
        assert (difference > 0).float().mean() > 0.9 if two[n] else not difference.any()
    assert torch.equal(paired.middle.isnan().any(dim=1), ~two) and (paired.middle[two].abs() < 0.9).all()


def test_views_turn_mirror_and_scale_as_their_map_says():
    picture = torch.arange(16.0).reshape(1, 1, 4, 4)
    quarter_turn = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])  # view x -> picture y, view y -> picture -x
    view = training.take_view(picture, quarter_turn, torch.zeros(1, 2), 4)
    torch.testing.assert_close(view[0, 0], torch.rot90(picture[0, 0], k=1))
    half = training.take_view(picture, 0.5 * torch.eye(2)[None], torch.tensor([[0.5, 0.5]]), 2)
    torch.testing.assert_close(half[0, 0], picture[0, 0, 2:, 2:])


def test_recolouring_keeps_shape_and_outline_but_not_the_hue():
    views = torch.zeros(64, 3, 8, 8)
    views[:, 0, :, 4:] = 0.8  # right half red
    out = training.recolour(views, torch.zeros(64, dtype=torch.bool), torch.Generator().manual_seed(0))
    std = torch.tensor(training.IMAGENET_STD).view(3, 1, 1)
    difference = (out[..., 4:].mean(dim=(2, 3), keepdim=True) - out[..., :4].mean(dim=(2, 3), keepdim=True)) * std
    assert out.shape == views.shape
    assert len(difference[:, :, 0, 0].argmax(dim=1).unique()) == 3  # red became any colour
    assert (difference.abs().amax(dim=1) > 0.03).all()
    gentle = training.recolour(views, torch.ones(64, dtype=torch.bool), torch.Generator().manual_seed(0))
    difference = (gentle[..., 4:].mean(dim=(2, 3)) - gentle[..., :4].mean(dim=(2, 3))) * std.flatten()
    assert (difference.argmax(dim=1) == 0).all()  # red stays red


def test_position_windows_are_windows_of_the_table():
    model = VisionTransformer(patch_size=8, width=8, depth=1, num_heads=1, image_size=48, stem="conv", fixed_positions=True)
    table = model.pos_embed[0, 1:].reshape(6, 6, 8)
    windows = training.random_windows(model, torch.zeros(50, 3, 32, 32), torch.Generator().manual_seed(0))
    places = set()
    for window in windows.reshape(50, 4, 4, 8):
        found = [(r, c) for r in range(3) for c in range(3) if torch.equal(window, table[r : r + 4, c : c + 4])]
        assert len(found) == 1
        places |= set(found)
    assert len(places) == 9


def test_sinkhorn_uses_all_outputs_equally_and_keeps_rows_whole():
    shares = training.sinkhorn(3 * scores(60, 5) + torch.tensor([4.0, 0, 0, 0, 0]), rounds=50)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(60, dtype=torch.float64))
    torch.testing.assert_close(shares.sum(dim=0), torch.full((5,), 12.0, dtype=torch.float64), rtol=1e-3, atol=1e-3)


def test_contrast_of_views_is_the_mean_cross_entropy_of_finding_the_picture():
    student, teacher = scores(3, 4, 5), scores(2, 4, 5, seed=1)
    terms = []
    for t in range(2):
        for s in (s for s in range(3) if s != t):
            for n in range(4):
                e = [math.exp(float(student[s, n] @ teacher[t, m]) / training.CONTRAST_TEMPERATURE) for m in range(4)]
                terms.append(-math.log(e[n] / sum(e)))
    assert training.contrast_views(student, teacher).item() == pytest.approx(sum(terms) / len(terms), rel=1e-6)


@pytest.mark.parametrize("step, names", [
    (0, {"cls", "patch", "contrast"}), (training.PAIRS_FROM, {"cls", "patch", "contrast", "cls_contrast"}),
])  # fmt: skip
def test_a_step_trains_the_student_by_every_loss_and_never_the_teacher(step, names, monkeypatch):
    monkeypatch.setattr(training, "BATCH", 4)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    student = training.Networks()
    teacher = make_teacher(student)
    losses, center = training.step_losses(student, teacher, torch.zeros(training.CLS_OUTPUTS), step)
    assert losses.keys() == names and center.abs().sum() > 0
    watched = student.backbone.blocks[0].attn.qkv.weight
    for name in names:
        before = 0 if watched.grad is None else watched.grad.clone()
        losses[name].backward(retain_graph=True)
        assert (watched.grad - before).abs().sum() > 0, name
    assert student.cls_head.directions.grad.abs().sum() > 0 and student.patch_head.directions.grad.abs().sum() > 0
    assert all(p.grad is None for p in teacher.parameters())
    again, _ = training.step_losses(student, teacher, torch.zeros(training.CLS_OUTPUTS), step)
    assert all(torch.equal(losses[name], again[name]) for name in names)  # a step is named by its number
