"""The ViT against independent references, and the loading of published and small DINO weights."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dl.models import vit
from dl.models.vit import Attention, VisionTransformer, load_dino, sine_positions, untrained_like

SMALL = {"patch_size": 4, "width": 24, "depth": 3, "num_heads": 3, "image_size": 20}


def small_model(**changes) -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(**{**SMALL, **changes}).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # every tensor random, so that none can be left out unnoticed
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return model


def pictures(rows: int, columns: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 4 * rows, 4 * columns, generator=torch.Generator().manual_seed(rows + columns))


def reference_tokens(state: dict, x: torch.Tensor, positions: torch.Tensor, heads: int, depth: int) -> list[torch.Tensor]:
    """Every block's output after the final norm, written from the names of the weights with PyTorch's own functions."""

    def norm(name, t):
        return F.layer_norm(t, t.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    def linear(name, t):
        return F.linear(t, state[f"{name}.weight"], state[f"{name}.bias"])

    patch = state["patch_embed.proj.weight"].shape[-1]
    N, _, H, W = x.shape
    cut = x.unfold(2, patch, patch).unfold(3, patch, patch)  # (N, 3, h, w, patch, patch)
    cut = cut.permute(0, 2, 3, 1, 4, 5).reshape(N, (H // patch) * (W // patch), -1)
    t = cut @ state["patch_embed.proj.weight"].flatten(1).T + state["patch_embed.proj.bias"] + positions
    t = torch.cat([(state["cls_token"] + state["pos_embed"][:, :1]).expand(N, 1, -1), t], dim=1)
    outputs = []
    for i in range(depth):
        query, key, value = linear(f"blocks.{i}.attn.qkv", norm(f"blocks.{i}.norm1", t)).chunk(3, dim=-1)
        split = [part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, value)]
        mixed = F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)
        t = t + linear(f"blocks.{i}.attn.proj", mixed)
        t = t + linear(f"blocks.{i}.mlp.fc2", F.gelu(linear(f"blocks.{i}.mlp.fc1", norm(f"blocks.{i}.norm2", t))))
        outputs.append(norm("norm", t))
    return outputs


def cubic_resize(grid: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Bicubic interpolation (a = -0.75, edges repeated) of (h, w, D) with factors (rows + 0.1) / h, (columns + 0.1) / w."""

    def weight(distance):
        d, a = abs(distance), -0.75
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0

    def matrix(old, new):
        out = np.zeros((new, old))
        for i in range(new):
            place = (i + 0.5) * old / (new + 0.1) - 0.5
            for k in range(math.floor(place) - 1, math.floor(place) + 3):
                out[i, min(max(k, 0), old - 1)] += weight(place - k)
        return out

    return np.einsum("ih,jw,hwd->ijd", matrix(grid.shape[0], rows), matrix(grid.shape[1], columns), grid)


@pytest.mark.parametrize("rows, columns", [(5, 5), (3, 7), (8, 6)])
def test_tokens_match_a_reference_written_from_the_weights_names(rows, columns):
    model = small_model()
    x = pictures(rows, columns)
    grid = model.pos_embed[0, 1:].reshape(5, 5, 24).detach().double().numpy()
    resized = grid if (rows, columns) == (5, 5) else cubic_resize(grid, rows, columns)
    positions = torch.from_numpy(resized).float().reshape(1, rows * columns, 24)
    expected = reference_tokens(model.state_dict(), x, positions, heads=3, depth=3)
    with torch.no_grad():
        layers = model.get_intermediate_layers(x, n=3)
        assert [layer.shape for layer in layers] == [(2, 1 + rows * columns, 24)] * 3
        for got, wanted in zip(layers, expected):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model(x), expected[-1][:, 0], rtol=1e-4, atol=1e-4)
        assert torch.equal(model.get_intermediate_layers(x)[0], layers[-1])
        assert torch.equal(model.tokens(x), layers[-1])


@pytest.mark.parametrize("rows, columns", [(60, 60), (7, 40)])
def test_positions_of_the_published_grid_are_resized_by_the_published_rule(rows, columns):
    model = VisionTransformer(patch_size=8, width=12, depth=1, num_heads=2)  # 28 x 28 positions
    torch.nn.init.normal_(model.pos_embed, std=0.02, generator=torch.Generator().manual_seed(1))
    grid = model.pos_embed[0, 1:].detach().reshape(28, 28, 12)
    got = model.positions(rows, columns).detach()
    assert got.shape == (1, rows * columns, 12)
    expected = cubic_resize(grid.double().numpy(), rows, columns).reshape(rows * columns, 12)
    assert np.abs(got[0].double().numpy() - expected).max() < 1e-5
    by_size = F.interpolate(grid.permute(2, 0, 1)[None], size=(rows, columns), mode="bicubic").flatten(2).transpose(1, 2)
    assert (got - by_size).abs().max() > 1e-3  # the simpler rule gives other values


def test_a_picture_of_the_native_size_takes_the_learnt_positions_as_they_are():
    model = small_model()
    assert torch.equal(model.positions(5, 5), model.pos_embed[:, 1:])


@pytest.mark.parametrize("heads, T", [(1, 1), (2, 5), (4, 9)])
def test_attention_matches_pytorchs_and_its_rows_sum_to_one(heads, T):
    torch.manual_seed(heads)
    layer = Attention(width=16, num_heads=heads)
    x = torch.randn(3, T, 16)
    out, weights = layer(x)
    assert weights.shape == (3, heads, T, T)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, heads, T))
    query, key, value = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in layer.qkv(x).chunk(3, dim=-1))
    mixed = F.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(weights @ value, mixed, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out, layer.proj(mixed.transpose(1, 2).flatten(2)), rtol=1e-4, atol=1e-5)


def test_last_selfattention_is_that_of_the_last_block():
    model = small_model()
    x = pictures(3, 7)
    with torch.no_grad():
        attention = model.get_last_selfattention(x)
        assert attention.shape == (2, 3, 22, 22)
        before = model._embed(x)
        for block in model.blocks[:-1]:
            before, _ = block(before)
        torch.testing.assert_close(attention, model.blocks[-1].attn(model.blocks[-1].norm1(before))[1])
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 3, 22))


def test_patches_are_numbered_row_by_row():
    model = small_model()
    x = pictures(4, 6, count=1)
    changed = x.clone()
    changed[0, :, 4:8, 12:16] += 1  # row 1, column 3
    difference = (model._embed(changed) - model._embed(x)).abs().sum(dim=-1)[0]
    assert difference.nonzero()[:, 0].tolist() == [1 + 1 * 6 + 3]


def test_positions_given_from_outside_take_the_place_of_the_models_own():
    model = small_model()
    x = pictures(5, 5)
    zeros = torch.zeros(1, 25, 24)
    assert not torch.allclose(model(x), model(x, zeros))
    torch.testing.assert_close(model(x), model(x, model.pos_embed[:, 1:].expand(2, -1, -1)))


def test_convolutional_stem_makes_one_token_per_patch_and_passes_gradients():
    model = VisionTransformer(patch_size=8, width=16, depth=1, num_heads=2, image_size=32, stem="conv", fixed_positions=True)
    model(torch.randn(2, 3, 32, 48)).square().sum().backward()
    assert model.tokens(torch.randn(2, 3, 32, 48)).shape == (2, 1 + 4 * 6, 16)
    missing = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert missing == {"pos_embed"}  # fixed


def test_fixed_positions_tell_every_patch_apart_and_leave_cls_alone():
    table = sine_positions(20, 128)
    assert table.shape == (401, 128) and not table[0].any()
    distances = torch.cdist(table[1:], table[1:]) + 10 * torch.eye(400)
    assert distances.min() > 0.1
    row, column = 7, 11
    angles = torch.tensor([row, column]) * 100 ** (-3 / 31)  # the fourth frequency of 32
    token = table[1 + row * 20 + column] / 0.3
    expected = torch.stack([angles[0].sin(), angles[0].cos(), angles[1].sin(), angles[1].cos()])
    torch.testing.assert_close(token[3::32], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes, message", [
    ({"num_heads": 5}, "width 24 is not a multiple of num_heads 5"),
    ({"image_size": 21}, "image_size 21 is not a multiple of patch_size 4"),
    ({"depth": 0}, "depth 0 is not positive"),
    ({"stem": "cone"}, "stem 'cone' is neither"),
    ({"stem": "conv", "patch_size": 5}, "patch_size 5 is no power of two"),
    ({"width": 6, "fixed_positions": True}, "width 6 is not a multiple of 4"),
])  # fmt: skip
def test_impossible_sizes_are_refused(changes, message):
    with pytest.raises(ValueError, match=f"^VisionTransformer: .*{message}.*Choose sizes"):
        VisionTransformer(**{**SMALL, **changes})


@pytest.mark.parametrize("shape", [(3, 20, 20), (2, 1, 20, 20), (2, 3, 20, 22)])
def test_pictures_of_a_wrong_shape_are_refused(shape):
    model = small_model()
    for call in (model, model.tokens, model.get_last_selfattention, model.get_intermediate_layers):
        with pytest.raises(ValueError, match=r"got a batch of shape .* multiples of the patch size 4\. Resize"):
            call(torch.zeros(shape))


@pytest.mark.parametrize("n", [0, 4])
def test_only_layers_that_exist_can_be_asked_for(n):
    with pytest.raises(ValueError, match=f"got n={n}, but the model has 3 blocks. Ask for 1 to 3"):
        small_model().get_intermediate_layers(pictures(5, 5), n=n)


def published_state_dict(patch: int) -> dict[str, torch.Tensor]:
    """Random tensors under the names and in the shapes of DINO's published ViT-S, written down from the specification."""
    D = 384
    shapes = {
        "cls_token": (1, 1, D),
        "pos_embed": (1, 1 + (224 // patch) ** 2, D),
        "patch_embed.proj.weight": (D, 3, patch, patch),
        "patch_embed.proj.bias": (D,),
        "norm.weight": (D,),
        "norm.bias": (D,),
    }
    for i in range(12):
        block = {
            "norm1.weight": (D,),
            "norm1.bias": (D,),
            "norm2.weight": (D,),
            "norm2.bias": (D,),
            "attn.qkv.weight": (3 * D, D),
            "attn.qkv.bias": (3 * D,),
            "attn.proj.weight": (D, D),
            "attn.proj.bias": (D,),
            "mlp.fc1.weight": (4 * D, D),
            "mlp.fc1.bias": (4 * D,),
            "mlp.fc2.weight": (D, 4 * D),
            "mlp.fc2.bias": (D,),
        }
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in block.items()}
    rng = torch.Generator().manual_seed(patch)
    return {name: 0.02 * torch.randn(shape, generator=rng) for name, shape in shapes.items()}


@pytest.mark.parametrize("patch, file, count", [
    (8, "dino_deitsmall8_pretrain.pth", 21_670_272), (16, "dino_deitsmall16_pretrain.pth", 21_665_664),
])  # fmt: skip
def test_published_checkpoints_load_exactly_and_compute_what_they_say(patch, file, count, tmp_path, monkeypatch):
    state = published_state_dict(patch)
    assert sum(tensor.numel() for tensor in state.values()) == count
    (tmp_path / "pretrained_model").mkdir()
    torch.save(state, tmp_path / "pretrained_model" / file)
    monkeypatch.setenv("DL_DATA", "real")
    monkeypatch.setenv("DL_HOME", str(tmp_path))
    model = load_dino("cpu", patch_size=patch)
    assert (model.patch_size, model.width, len(model.blocks), model.training) == (patch, 384, 12, False)
    loaded = model.state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    x = torch.randn(1, 3, 2 * patch, 3 * patch, generator=torch.Generator().manual_seed(0))
    side = 224 // patch
    grid = state["pos_embed"][0, 1:].reshape(side, side, 384).double().numpy()
    positions = torch.from_numpy(cubic_resize(grid, 2, 3)).float().reshape(1, 6, 384)
    expected = reference_tokens(state, x, positions, heads=6, depth=12)[-1]
    torch.testing.assert_close(model.get_intermediate_layers(x)[0], expected, rtol=1e-3, atol=1e-3)
    assert model.get_last_selfattention(x).shape == (1, 6, 7, 7)


def test_published_weights_that_were_not_fetched_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("DL_DATA", "real")
    monkeypatch.setenv("DL_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="data fetch dino_vits16"):
        load_dino("cpu", patch_size=16)


def test_a_checkpoint_that_holds_code_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "pretrained_model").mkdir()
    torch.save({"cls_token": Planted(tmp_path / "ran")}, tmp_path / "pretrained_model" / "dino_deitsmall8_pretrain.pth")
    monkeypatch.setenv("DL_DATA", "real")
    monkeypatch.setenv("DL_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="holds more than tensors .* Run .*data fetch --again dino_vits8"):
        load_dino("cpu")
    assert not (tmp_path / "ran").exists()


class Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


@pytest.mark.parametrize("mode, patch", [("sample", 16), ("real", 4)])
def test_patches_without_weights_are_refused(mode, patch, monkeypatch):
    monkeypatch.setenv("DL_DATA", mode)
    with pytest.raises(ValueError, match=rf"load_dino: got patch_size={patch}; there are weights for patches of 8"):
        load_dino("cpu", patch_size=patch)


@pytest.mark.parametrize("changes", [{}, {"patch_size": 4, "stem": "conv", "fixed_positions": True}])
def test_untrained_twin_has_the_same_shapes_other_weights_and_leaves_the_global_stream_alone(changes):
    model = small_model(**changes)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    twins = [untrained_like(model, seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    states = [twin.state_dict() for twin in twins]
    assert all(state[name].shape == tensor.shape for state in states for name, tensor in model.state_dict().items())
    name = "blocks.0.attn.qkv.weight"
    assert torch.equal(states[0][name], states[1][name]) and not torch.equal(states[0][name], states[2][name])
    assert not twins[0].training and not any(parameter.requires_grad for parameter in twins[0].parameters())
    assert twins[0].configuration == model.configuration


def test_small_weights_load_ready_for_use(monkeypatch):
    monkeypatch.setenv("DL_DATA", "sample")
    model = load_dino("cpu")
    assert model.patch_size == 8 and not model.training and not any(p.requires_grad for p in model.parameters())
    grid = vit.small_configuration()["image_size"] // 8
    fixed = sine_positions(grid, model.width)
    torch.testing.assert_close(model.pos_embed[0], fixed, rtol=0, atol=1e-3)  # stored in half precision
    assert model(torch.zeros(1, 3, 160, 160)).isfinite().all()
