"""Checks of transformers.py: the recorded tensors, PyTorch's own layers, properties, gradients, messages."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import transformers as T
from benchmarks.transformers import copy_attention, copy_block
from dl.checks.published import expected, fill_with_ramp
from dl.data.arithmetic import SPECIAL_WORDS, VOCABULARY
from dl.grad import rel_error
from dl.utils import replayed_dropout, reset_seed

CHECKS = expected("transformers")
RECORDED_BLOCKS = ("encoder_block_1", "encoder_block_2", "decoder_block_1", "decoder_block_2")


def given(check: dict, name: str) -> torch.Tensor:
    """An input as the JSON describes it."""
    spec = check["inputs"][name]
    if "bool" in spec:
        return torch.tensor(spec["bool"])
    return torch.linspace(*spec["linspace"], math.prod(spec["shape"])).reshape(spec["shape"])


def built(check: dict) -> nn.Module:
    module = getattr(T, check["function"])(*check["construct"].values())
    return fill_with_ramp(module) if check["setup"] else module


def agrees(check: dict, got: torch.Tensor, name: str) -> None:
    expected = torch.tensor(check["expected"][name])
    assert got.shape == expected.shape
    assert rel_error(got, expected) < check["tolerance"]


# --- The 27 recorded checks ---


def test_recorded_token_dict():
    check = CHECKS["token_dict"]
    token_dict = T.generate_token_dict(check["inputs"]["vocab"])
    assert {"0": token_dict["0"], "EOS": token_dict["EOS"], "len": len(token_dict)} == check["expected"]
    assert list(token_dict.values()) == list(range(16))


@pytest.mark.parametrize("name", [f"tokens_{side}_{n}" for side in ("in", "out") for n in range(1, 5)])
def test_recorded_tokens(name):
    inputs = CHECKS[name]["inputs"]
    token_dict = T.generate_token_dict(inputs["vocab"])
    for function in (T.prepocess_input_sequence, T.preprocess_input_sequence):
        tokens = function(inputs["input_str"], token_dict, inputs["spc_tokens"])
        assert tokens == CHECKS[name]["expected"]["out"]
        assert type(tokens) is list and all(type(token) is int for token in tokens)


@pytest.mark.parametrize(
    "name", ["sdp_two_loop_single", "sdp_two_loop_batch", "sdp_no_loop_batch", "sdp_no_loop_batch_masked"]
)
def test_recorded_attention(name):
    check = CHECKS[name]
    y = getattr(T, check["function"])(*(given(check, argument) for argument in check["inputs"]))
    agrees(check, y[0] if "no_loop" in name else y, "y")


@pytest.mark.parametrize("name", ["self_attention", "multi_head_attention", "layer_normalization", "feed_forward"])
def test_recorded_module_and_its_gradient(name):
    """Drawn live: the upstream gradient comes right only if the constructor spends the recorded random numbers."""
    check = CHECKS[name]
    reset_seed(check["seed"])
    module = built(check)
    inputs = [given(check, argument).requires_grad_() for argument in check["inputs"]]
    y = module(*inputs)
    dy = torch.randn(y.shape)
    assert torch.equal(dy, torch.tensor(check["dy"]))
    y.backward(dy)
    agrees(check, y, "y")
    agrees(check, inputs[0].grad, "grad_x" if "x" in check["inputs"] else "grad_query")


@pytest.mark.parametrize("name", RECORDED_BLOCKS)
def test_recorded_blocks_with_the_recorded_dropout_masks(name):
    check = CHECKS[name]
    block = built(check)
    with replayed_dropout(check["dropout_calls"]) as left:
        agrees(check, block(*(given(check, argument) for argument in check["inputs"])), "out")
    assert left == []  # all recorded calls were used


def test_recorded_masks_are_left_where_dropout_asks_for_one_sequence_at_a_time():
    check = CHECKS["encoder_block_1"]
    block, x = built(check), given(check, "x")
    with replayed_dropout(check["dropout_calls"]) as left:
        rows = [block(row) for row in x.split(1)]
    assert left == check["dropout_calls"] and torch.cat(rows).shape == x.shape


def test_recorded_subsequent_mask():
    check = CHECKS["subsequent_mask"]
    mask = T.get_subsequent_mask(given(check, "seq"))
    assert mask.dtype == torch.bool and mask.tolist() == check["expected"]["mask"]


@pytest.mark.parametrize("name", [f"position_{kind}_{size}" for kind in ("simple", "sinusoid") for size in ("4_4", "5_3")])
def test_recorded_positions(name):
    check = CHECKS[name]
    y = getattr(T, check["function"])(check["inputs"]["K"], check["inputs"]["M"])
    assert y.dtype == torch.float32
    agrees(check, y, "y")


def test_recorded_transformer_output_shape():
    check = CHECKS["transformer_output_shape"]
    model = T.Transformer(*check["construct"].values())
    shapes = {name: spec["shape"] for name, spec in check["inputs"].items()}
    logits = model(
        torch.randint(16, shapes["ques_b"]),
        torch.randn(shapes["ques_pos"]),
        torch.randint(16, shapes["ans_b"]),
        torch.randn(shapes["ans_pos"]),
    )
    assert list(logits.shape) == check["expected"]["shape"]


# --- Where the recorded dropout masks come from ---


class OldDropout(nn.Module):
    """Dropout as torch drew it on Linux x86 before 2025: one draw seeds the MCG31m1 stream of Intel's MKL."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x):
        modulus = 2**31 - 1
        state = full_draw() % modulus or 1
        keep = []
        for _ in range(x.numel()):
            keep.append(state / modulus < 1 - self.p)
            state = 1132489760 * state % modulus
        return x * torch.tensor(keep).reshape(x.shape) / (1 - self.p)


def full_draw() -> int:
    """The next 32-bit output of torch's CPU generator; torch shows 31 bits, the remainder by 3 gives the last."""
    before = torch.get_rng_state()
    low = int(torch.empty((), dtype=torch.int32).random_())
    torch.set_rng_state(before)
    remainder = int(torch.randint(0, 3, ()))
    return low if low % 3 == remainder else low + 2**31


@pytest.mark.parametrize("names", [RECORDED_BLOCKS[:2], RECORDED_BLOCKS[2:]], ids=["encoder", "decoder"])
def test_published_blocks_follow_from_the_seed_by_the_old_generator(names):
    """No recorded draw is used: seed 0, constructors, and the old dropout give the published tensors.

    The decoder's need one more feed-forward block's draws a constructor: its authors built that block twice.
    """
    reset_seed(0)
    for name in names:
        check = CHECKS[name]
        block = built(check)
        if name.startswith("decoder"):
            T.FeedForwardBlock(check["construct"]["emb_dim"], check["construct"]["feedforward_dim"])
        block.dropout = OldDropout(check["construct"]["dropout"])
        agrees(check, block(*(given(check, argument) for argument in check["inputs"])), "out")


@pytest.mark.parametrize("name", [name for name in CHECKS if "constructor_draws_32bit" in CHECKS[name]])
def test_constructors_spend_the_recorded_number_of_draws(name):
    check = CHECKS[name]
    draws = check["constructor_draws_32bit"]
    if name.startswith("decoder"):  # less the second feed-forward block, see above
        M, hidden = check["construct"]["emb_dim"], check["construct"]["feedforward_dim"]
        draws -= 2 * 2 * M * hidden + M + hidden
    reset_seed(0)
    getattr(T, check["function"])(*check["construct"].values())
    after = torch.get_rng_state()
    reset_seed(0)
    for _ in range(draws):
        torch.empty((), dtype=torch.int32).random_()
    assert torch.equal(after, torch.get_rng_state())


# --- Independent oracles ---


def qkv(shape_q=(3, 5, 4), length=None, value_size=None, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    N, K, M = shape_q
    K_K = length or K
    draw = [
        torch.randn(size, generator=generator, dtype=dtype) for size in ((N, K, M), (N, K_K, M), (N, K_K, value_size or M))
    ]
    return [tensor.requires_grad_() for tensor in draw]


@pytest.mark.parametrize("length, value_size", [(None, None), (7, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_no_loop_attention_equals_torch_with_gradients(length, value_size, masked):
    tensors = qkv(length=length, value_size=value_size, dtype=torch.float64)
    mask = torch.rand(3, 5, length or 5, generator=torch.Generator().manual_seed(1)) < 0.3 if masked else None
    y, weights = T.scaled_dot_product_no_loop_batch(*tensors, mask)
    wanted = F.scaled_dot_product_attention(*tensors, attn_mask=~mask if masked else None)
    torch.testing.assert_close(y, wanted)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]))
    assert not masked or weights[mask].abs().max() == 0
    dy = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(2))
    for got, gradient in zip(torch.autograd.grad(y, tensors, dy), torch.autograd.grad(wanted, tensors, dy), strict=True):
        torch.testing.assert_close(got, gradient)


@pytest.mark.parametrize("shape", [(2, 5, 4), (1, 1, 3), (3, 4, 4)])
def test_loops_equal_torch(shape):
    tensors = qkv(shape)
    wanted = F.scaled_dot_product_attention(*tensors)
    torch.testing.assert_close(T.scaled_dot_product_two_loop_batch(*tensors), wanted)
    for n in range(shape[0]):
        one = T.scaled_dot_product_two_loop_single(*(tensor[n] for tensor in tensors))
        torch.testing.assert_close(one, wanted[n])


def test_a_query_that_may_see_nothing_stays_finite():
    query, key, value = qkv()
    mask = torch.zeros(3, 5, 5, dtype=torch.bool)
    mask[0, 2] = True
    y, weights = T.scaled_dot_product_no_loop_batch(query, key, value, mask)
    torch.testing.assert_close(weights[0, 2], torch.full((5,), 0.2))
    y.sum().backward()
    assert y.isfinite().all() and query.grad.isfinite().all()


def varied(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random values in every parameter, so that no scale of 1 or shift of 0 hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_multi_head_attention_equals_torch(num_heads):
    ours, theirs = (
        varied(T.MultiHeadAttention(num_heads, 8, 8 // num_heads)),
        nn.MultiheadAttention(8, num_heads, batch_first=True),
    )
    copy_attention(ours, theirs)
    query, key, value = qkv((3, 5, 8), length=6)
    mask = T.get_subsequent_mask(torch.zeros(3, 6))[:, :5]
    wanted, shares = theirs(query, key, value, attn_mask=mask.repeat_interleave(num_heads, 0), average_attn_weights=False)
    torch.testing.assert_close(ours(query, key, value, mask), wanted)
    for number, head in enumerate(ours.heads):
        torch.testing.assert_close(head.weights_softmax, shares[:, number].detach())


def test_heads_may_be_wider_than_their_share():
    assert T.MultiHeadAttention(3, 4, 7)(*qkv((2, 5, 4))).shape == (2, 5, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layer_norm_equals_torch_with_gradients(dtype):
    ours = varied(T.LayerNormalization(6, epsilon=1e-5)).to(dtype)
    theirs = nn.LayerNorm(6, eps=1e-5, dtype=dtype)
    theirs.load_state_dict({"weight": ours.gamma.detach(), "bias": ours.beta.detach()})
    x = torch.randn(3, 5, 6, dtype=dtype, requires_grad=True)
    dy = torch.randn(3, 5, 6, dtype=dtype)
    y, wanted = ours(x), theirs(x)
    torch.testing.assert_close(y, wanted)
    for got, gradient in zip(
        torch.autograd.grad(y, [x, ours.gamma, ours.beta], dy),
        torch.autograd.grad(wanted, [x, theirs.weight, theirs.bias], dy),
        strict=True,
    ):
        torch.testing.assert_close(got, gradient)


HALVES = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", HALVES)
def test_masked_attention_works_in_half_precision(dtype, autocast):
    torch.manual_seed(0)
    x = torch.randn(2, 4, 8)
    mask = T.get_subsequent_mask(torch.zeros(2, 4))
    wanted, shares = T.scaled_dot_product_no_loop_batch(x, x, x, mask)
    given = x if autocast else x.to(dtype)
    with torch.autocast("cpu", dtype, enabled=autocast):
        got, weights = T.scaled_dot_product_no_loop_batch(given, given, given, mask)
    assert (weights[mask] == 0).all() and (weights.float() - shares).abs().max() < 0.02
    assert (got.float() - wanted).abs().max() < 0.05


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", HALVES)
def test_layer_norm_works_in_half_precision(dtype, autocast):
    """Squares beyond 65504, and rows whose variance is below the smallest half."""
    x = torch.tensor([[600.0, -600.0, 200.0, -200.0], [3.0, 3.0, 3.0, 3.0]]).to(dtype)
    norm = T.LayerNormalization(4)
    with torch.autocast("cpu", dtype, enabled=autocast):
        got = (norm if autocast else norm.to(dtype))(x)
    assert (got.float() - F.layer_norm(x.float(), (4,))).abs().max() < 0.02
    assert got.dtype == (torch.float32 if autocast else dtype)


@pytest.mark.parametrize("dtype", HALVES)
def test_the_whole_model_trains_under_autocast(dtype):
    torch.manual_seed(0)
    model = T.Transformer(2, 8, 16, 0.0, 1, 1, 16)
    tokens, positions = torch.randint(16, (1, 5)), torch.zeros(1, 5, 8)  # a batch of one
    with torch.autocast("cpu", dtype):
        loss = T.CrossEntropyLoss(model(tokens, positions, tokens, positions), tokens[:, 1:].flatten())
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in model.parameters())


def test_layer_norm_of_a_constant_row_is_the_shift():
    norm = varied(T.LayerNormalization(4))
    torch.testing.assert_close(norm(torch.full((2, 4), 3.0)), norm.beta.expand(2, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_heads", [1, 2])
def test_encoder_block_equals_torch(num_heads, dtype):
    ours = varied(T.EncoderBlock(num_heads, 8, 16, 0.0)).to(dtype)
    theirs = nn.TransformerEncoderLayer(8, num_heads, 16, 0.0, batch_first=True, layer_norm_eps=1e-10, dtype=dtype)
    copy_block(ours, theirs)
    x = torch.randn(3, 5, 8, dtype=dtype, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(x[:1, :1]), theirs(x[:1, :1]))  # one token


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_heads", [1, 2])
def test_decoder_block_equals_torch(num_heads, dtype):
    ours = varied(T.DecoderBlock(num_heads, 8, 16, 0.0)).to(dtype)
    theirs = nn.TransformerDecoderLayer(8, num_heads, 16, 0.0, batch_first=True, layer_norm_eps=1e-10, dtype=dtype)
    copy_block(ours, theirs)
    generator = torch.Generator().manual_seed(0)
    x, encoded = (torch.randn(3, K, 8, dtype=dtype, generator=generator) for K in (4, 6))
    mask = T.get_subsequent_mask(x[..., 0])
    torch.testing.assert_close(ours(x, encoded, mask), theirs(x, encoded, tgt_mask=mask[0]))


def test_whole_model_equals_torch_with_gradients():
    """Two layers each: `nn.Transformer` without its closing norms, on the same embeddings and positions."""
    ours = small_model(dropout=0.0)
    theirs = nn.Transformer(8, 2, 2, 2, 16, 0.0, batch_first=True, layer_norm_eps=1e-10)
    theirs.encoder.norm = theirs.decoder.norm = None
    for mine, other in ((ours.encoder, theirs.encoder), (ours.decoder, theirs.decoder)):
        for block, layer in zip(mine.layers, other.layers, strict=True):
            copy_block(block, layer)
    ques, ques_pos, ans, ans_pos = batch = small_batch()
    mask = torch.ones(4, 4).triu(1).bool()
    decoded = theirs(ours.emb_layer(ques) + ques_pos, ours.emb_layer(ans[:, :-1]) + ans_pos[:, :-1], tgt_mask=mask)
    wanted = ours.decoder.proj_to_vocab(decoded).reshape(-1, 16)
    logits = ours(*batch)
    torch.testing.assert_close(logits, wanted)
    truth = ans[:, 1:].flatten()
    (got,) = torch.autograd.grad(T.CrossEntropyLoss(logits, truth), ours.emb_layer.weight)
    (gradient,) = torch.autograd.grad(F.cross_entropy(wanted, truth, reduction="sum"), ours.emb_layer.weight)
    torch.testing.assert_close(got, gradient)


@pytest.mark.parametrize("V", [3, 16])
def test_losses_equal_torch(V):
    pred = torch.randn(7, V, dtype=torch.float64, requires_grad=True)
    ground = torch.arange(7) % (V - 1)  # the largest class never occurs
    for loss, smoothing in ((T.CrossEntropyLoss, 0.0), (T.LabelSmoothingLoss, 0.1 * V / (V - 1))):
        got = loss(pred, ground)
        wanted = F.cross_entropy(pred, ground, reduction="sum", label_smoothing=smoothing)
        torch.testing.assert_close(got, wanted)
        torch.testing.assert_close(*(torch.autograd.grad(value, pred)[0] for value in (got, wanted)))


@pytest.mark.parametrize("loss", [T.LabelSmoothingLoss, T.CrossEntropyLoss])
def test_losses_take_targets_flat_or_as_a_batch(loss):
    pred, ground = torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 5
    torch.testing.assert_close(loss(pred, ground.reshape(2, 3)), loss(pred, ground))
    with pytest.raises(ValueError, match="ground"):
        loss(pred, ground[:5])


def test_losses_of_known_guesses():
    ground = torch.tensor([3, 15])
    assert T.CrossEntropyLoss(torch.zeros(2, 16), ground).item() == pytest.approx(2 * math.log(16))
    softened = torch.full((2, 16), 0.1 / 15).scatter(1, ground[:, None], 0.9)
    assert T.LabelSmoothingLoss(softened.log(), ground).item() == pytest.approx(2 * 0.59589, abs=1e-4)
    assert T.LabelSmoothingLoss(50.0 * F.one_hot(ground, 16), ground) > 2 * 0.6  # too sure costs


def test_gradients_agree_with_central_differences():
    ours = small_model(dropout=0.0).double()
    ques, ques_pos, ans, ans_pos = small_batch(N=1, dtype=torch.float64)
    positions = [ques_pos.requires_grad_(), ans_pos.requires_grad_()]

    def loss(ques_pos, ans_pos):
        return T.LabelSmoothingLoss(ours(ques, ques_pos, ans, ans_pos), ans[:, 1:].flatten())

    assert torch.autograd.gradcheck(loss, positions)


# --- Properties ---


def small_model(dropout: float = 0.1) -> T.Transformer:
    return varied(T.Transformer(2, 8, 16, dropout, 2, 2, 16))


def small_batch(N: int = 3, dtype=torch.float32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    ques, ans = (torch.randint(16, (N, K), generator=generator) for K in (6, 5))
    return (
        ques,
        torch.randn(N, 6, 8, dtype=dtype, generator=generator),
        ans,
        torch.randn(N, 5, 8, dtype=dtype, generator=generator),
    )


@pytest.mark.parametrize("position", range(5))
def test_a_later_target_token_changes_no_earlier_output(position):
    model = small_model().eval()
    ques, ques_pos, ans, ans_pos = small_batch()
    changed = ans.clone()
    changed[:, position] = (changed[:, position] + 1) % 16
    before, after = (model(ques, ques_pos, target, ans_pos).view(3, 4, 16) for target in (ans, changed))
    assert torch.equal(before[:, :position], after[:, :position])
    assert position == 4 or not torch.allclose(before[:, position], after[:, position])  # the last token is never read


@pytest.mark.parametrize("position", range(6))
def test_every_question_token_is_used_by_every_output(position):
    model = small_model().eval()
    ques, ques_pos, ans, ans_pos = small_batch()
    changed = ques.clone()
    changed[:, position] = (changed[:, position] + 1) % 16
    difference = (model(ques, ques_pos, ans, ans_pos) - model(changed, ques_pos, ans, ans_pos)).abs().amax(dim=1)
    assert (difference > 1e-6).all()


def test_cross_attention_reads_the_encoder_and_is_not_masked():
    block = varied(T.DecoderBlock(2, 8, 16, 0.0))
    x, encoded = torch.randn(2, 4, 8), torch.randn(2, 4, 8)
    changed = encoded.clone()
    changed[:, -1] += 1.0  # later than every query but the last
    mask = T.get_subsequent_mask(x[..., 0])
    assert (block(x, encoded, mask) - block(x, changed, mask)).abs().amax(dim=-1).min() > 1e-6


def test_rows_of_a_batch_do_not_meet():
    model = small_model().eval()
    batch = small_batch(N=4)
    order = torch.tensor([2, 0, 3, 1])
    logits = model(*batch).view(4, 4, 16)
    torch.testing.assert_close(model(*(tensor[order] for tensor in batch)).view(4, 4, 16), logits[order])
    torch.testing.assert_close(model(*(tensor[:1] for tensor in batch)).view(1, 4, 16), logits[:1])


def test_dropout_acts_in_training_only():
    model, batch = small_model(dropout=0.5), small_batch()
    assert not torch.equal(model(*batch), model(*batch))
    model.eval()
    assert torch.equal(model(*batch), model(*batch))


def test_weights_are_kept_detached():
    model = small_model()
    assert model.encoder.layers[0].MultiHeadBlock.heads[0].weights_softmax is None
    model(*small_batch())
    layer = model.decoder.layers[1]
    for attention, shape in ((layer.attention_self, (3, 4, 4)), (layer.attention_cross, (3, 4, 6))):
        for head in attention.heads:
            assert head.weights_softmax.shape == shape and not head.weights_softmax.requires_grad
    assert not any("weights_softmax" in name for name in model.state_dict())


def test_embedding_is_shared_and_nothing_is_registered_twice():
    model = T.Transformer(4, 64, 256, 0.1, 4, 4, 16)
    assert sum(parameter.numel() for parameter in model.parameters()) == 469_008
    assert sum(parameter.numel() for parameter in T.Transformer(4, 32, 32, 0.2, 1, 1, 16).parameters()) == 18_256
    assert sum(isinstance(module, nn.Embedding) for module in model.modules()) == 1


def test_inputs_stay_as_they_were():
    batch = small_batch()
    copies = [tensor.clone() for tensor in batch]
    small_model()(*batch)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(batch, copies, strict=True))


def test_model_runs_on_another_device():
    """On "meta", anything that a forward pass makes on the CPU fails."""
    model = small_model().to("meta")
    logits = model(*(tensor.to("meta") for tensor in small_batch()))
    logits.sum().backward()
    assert logits.shape == (12, 16) and logits.device.type == "meta"
    assert T.get_subsequent_mask(torch.zeros(2, 3, device="meta")).device.type == "meta"


def test_xavier_linear_keeps_within_its_bound_and_fills_it():
    weight = T.xavier_linear(30, 66).weight
    assert 0.24 < weight.abs().max() <= 0.25  # sqrt(6 / 96)


def test_simple_positions_and_paper_positions():
    assert T.position_encoding_simple(7, 3)[0, :, 0].tolist() == pytest.approx([n / 7 for n in range(7)])
    paper = T.position_encoding_paper(5, 4)
    wanted = [[f(p / 10000 ** (2 * (i // 2) / 4)) for i, f in enumerate([math.sin, math.cos] * 2)] for p in range(5)]
    torch.testing.assert_close(paper, torch.tensor([wanted]))
    assert paper[0, 1, 2:].tolist() == pytest.approx([0.01000, 0.99995], abs=1e-5)
    assert T.position_encoding_paper(5, 3)[0, 1, 2].item() == pytest.approx(0.00215, abs=1e-5)


def test_floored_sinusoid_has_one_wavelength_at_any_width():
    for M in (3, 64, 512):
        rows = T.position_encoding_sinusoid(9, M)[0]
        assert torch.equal(rows, rows[:, :2].repeat(1, (M + 1) // 2)[:, :M])


def test_greeting(capsys):
    T.hello_transformers()
    assert capsys.readouterr().out == "Hello from Transformers.py!\n"


# --- The data set ---

LINES = (
    ["BOS POSITIVE 16 add POSITIVE 09 EOS", "BOS NEGATIVE 30 subtract NEGATIVE 34 EOS"],
    ["BOS POSITIVE 25 EOS", "BOS POSITIVE 04 EOS"],
)


def data_set(inputs=LINES[0], targets=LINES[1], pos_encode=T.position_encoding_simple):
    return T.AddSubDataset(inputs, targets, T.generate_token_dict(VOCABULARY), SPECIAL_WORDS, 32, pos_encode)


def test_data_set_items():
    data = data_set()
    assert len(data) == 2
    inputs, input_positions, targets, target_positions = data[1]
    assert inputs.tolist() == [14, 11, 3, 0, 13, 11, 3, 4, 15] and targets.tolist() == [14, 10, 0, 4, 15]
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(input_positions, T.position_encoding_simple(9, 32)[0])
    assert torch.equal(target_positions, T.position_encoding_simple(5, 32)[0])
    with pytest.raises(IndexError):
        data[2]


def test_data_set_makes_tokens_and_positions_once():
    calls = []

    def counted(K, M):
        calls.append(K)
        return T.position_encoding_simple(K, M)

    data = data_set(pos_encode=counted)
    for _ in range(3):
        data[0], data[1]
    assert calls == [9, 5]
    assert data[0][1].data_ptr() == data[1][1].data_ptr()


# --- Messages ---


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda: T.generate_token_dict(["a", "b", "a"]), ValueError, "generate_token_dict: .'a'. stand more than once"),
        (lambda: T.prepocess_input_sequence("BOS TIMES 07", {"BOS": 0, "0": 1, "7": 2}, ["BOS"]), ValueError,
         "prepocess_input_sequence: .'TIMES'. in .* not in the vocabulary; wanted"),
        (lambda: T.scaled_dot_product_two_loop_single(*qkv((1, 2, 3))), ValueError, "two_loop_single: got query"),
        (lambda: T.scaled_dot_product_two_loop_batch(*(t[0] for t in qkv())), ValueError, "two_loop_batch: got query"),
        (lambda: T.scaled_dot_product_no_loop_batch(torch.ones(1, 2, 3), torch.ones(1, 2, 4), torch.ones(1, 2, 4)),
         ValueError, r"no_loop_batch: got query \(1, 2, 3\), key \(1, 2, 4\)"),
        (lambda: T.scaled_dot_product_no_loop_batch(*qkv(), torch.zeros(3, 5, 5)), TypeError,
         "no_loop_batch: the mask is torch.float32; wanted torch.bool"),
        (lambda: T.scaled_dot_product_no_loop_batch(*qkv(), torch.zeros(5, 5).bool()), ValueError,
         r"the mask has shape \(5, 5\); wanted \(N, K_Q, K_K\) = \(3, 5, 5\)"),
        (lambda: T.EncoderBlock(3, 4, 8, 0.1), ValueError, "EncoderBlock: emb_dim 4 is not a multiple of num_heads 3"),
        (lambda: T.DecoderBlock(3, 4, 8, 0.1), ValueError, "DecoderBlock: emb_dim 4 is not a multiple of num_heads 3"),
        (lambda: T.Transformer(3, 4, 8, 0.1, 1, 1, 16), ValueError, "Transformer: emb_dim 4 is not a multiple"),
        (lambda: T.get_subsequent_mask(torch.zeros(3)), ValueError, r"get_subsequent_mask: wanted .* got shape \(3,\)"),
        (lambda: small_model()(torch.zeros(2, 7).long(), *small_batch(2)[1:]), ValueError,
         "Transformer.forward: ques_b has 7 tokens but ques_pos 6 positions"),
        (lambda: small_model()(torch.zeros(6).long(), *small_batch(2)[1:]), ValueError, "Add a batch axis"),
        (lambda: T.LabelSmoothingLoss(torch.zeros(2, 16), torch.zeros(3).long()), ValueError,
         "LabelSmoothingLoss: got"),
        (lambda: T.CrossEntropyLoss(torch.zeros(2, 5, 16), torch.zeros(2, 5).long()), ValueError,
         "CrossEntropyLoss: got pred"),
        (lambda: data_set(targets=LINES[1][:1]), ValueError, "AddSubDataset: got 2 inputs and 1 targets"),
        (lambda: data_set([], []), ValueError, "AddSubDataset: got 0 inputs"),
        (lambda: data_set(targets=["BOS POSITIVE 25 EOS", "BOS POSITIVE 004 EOS"]), ValueError,
         "AddSubDataset: row 1 of target_seqs, 'BOS POSITIVE 004 EOS', has 6 tokens but row 0 has 5"),
    ],
)  # fmt: skip
def test_mistakes_are_told(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_import_is_light():
    """Nothing heavy comes along: the time itself is measured by `python -m benchmarks transformers`."""
    import subprocess
    import sys

    code = "import sys, torch; before = set(sys.modules); import transformers; print(*set(sys.modules) - before)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(T.__file__).parent, capture_output=True, text=True, check=True
    ).stdout.split()
    own = {"transformers", "dl", "dl.guards", "dl.guards.transformers"}
    assert set(loaded) <= own | {name for name in loaded if name.startswith("torch")}


def test_special_words_that_can_be_read_only_once_are_refused():
    words = (word for word in ["BOS"])
    with pytest.raises(TypeError, match="spc_tokens must be a list of words"):
        T.prepocess_input_sequence("BOS 1", {"BOS": 0, "1": 1}, words)
