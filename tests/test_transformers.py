"""Checks of transformers.py: the recorded tensors, PyTorch's own layers, properties, gradients, messages."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import transformers as T
from dl.arithmetic import SPECIAL_WORDS, VOCABULARY
from dl.grad import rel_error
from dl.utils import reset_seed

CHECKS = {
    check["name"]: check
    for check in json.loads((Path(T.__file__).parent / "dl/checks/expected/transformers.json").read_text())["checks"]
}
RECORDED_BLOCKS = ("encoder_block_1", "encoder_block_2", "decoder_block_1", "decoder_block_2")


def given(check: dict, name: str) -> torch.Tensor:
    """An input as the JSON describes it."""
    spec = check["inputs"][name]
    if "bool" in spec:
        return torch.tensor(spec["bool"])
    return torch.linspace(*spec["linspace"], math.prod(spec["shape"])).reshape(spec["shape"])


def fill(module: nn.Module) -> nn.Module:
    """Overwrite every parameter with linspace(-1.4, 1.3), as the notebook does."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.linspace(-1.4, 1.3, parameter.numel()).reshape(parameter.shape))
    return module


def built(check: dict) -> nn.Module:
    module = getattr(T, check["function"])(*check["construct"].values())
    return fill(module) if check["setup"] else module


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


class Replay(nn.Module):
    """Stands where a block has its dropout, and keeps what the recorded masks keep."""

    def __init__(self, calls: list[dict]):
        super().__init__()
        self.calls = iter(calls)

    def forward(self, x):
        call = next(self.calls)
        return x * torch.tensor(call["keep_mask"]) * call["scale"]


@pytest.mark.parametrize("name", RECORDED_BLOCKS)
def test_recorded_blocks_with_the_recorded_dropout_masks(name):
    check = CHECKS[name]
    block = built(check)
    block.dropout = Replay(check["dropout_calls"])
    agrees(check, block(*(given(check, argument) for argument in check["inputs"])), "out")
    assert next(block.dropout.calls, None) is None  # all recorded calls were used


def test_recorded_subsequent_mask():
    check = CHECKS["subsequent_mask"]
    mask = T.get_subsequent_mask(given(check, "seq"))
    assert mask.dtype == torch.bool and mask.tolist() == check["expected"]["mask"]


@pytest.mark.parametrize(
    "name", [f"position_{kind}_{size}" for kind in ("simple", "sinusoid") for size in ("4_4", "5_3")]
)
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
        torch.randint(16, shapes["ques_b"]), torch.randn(shapes["ques_pos"]), torch.randint(16, shapes["ans_b"]),
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
    """The next 32-bit output of torch's CPU generator; torch itself shows 31 bits, the remainder by 3 gives the last."""
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
