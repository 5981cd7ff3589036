"""The captioning lesson: recorded tensors, gradients, independent oracles, properties, messages."""

import copy
import math

import pytest
import torch
from torch import nn

import rnn_lstm_captioning as R
from dl.checks.published import expected, load_case
from dl.grad import compute_numeric_gradient, rel_error
from dl.utils import reset_seed

DOUBLE = {"dtype": torch.float64}
VALUE_CHECKS = [name for name, check in expected("captioning").items() if check["kind"] == "values"]
LOSS_CHECKS = ["captioning_rnn_loss", "captioning_lstm_loss", "captioning_attn_loss"]
VOCABULARY = {word: index for index, word in enumerate(["<NULL>", "<START>", "<END>", "<UNK>", "a", "cat", "dog"])}


@pytest.fixture(autouse=True)
def seeded():
    reset_seed(0)


def call_recorded(name: str):
    """The function or filled module method of a recorded check, and its case."""
    case, check = load_case("captioning", name), expected("captioning")[name]
    function = check["function"].removeprefix("rnn_lstm_captioning.")
    if "construct" not in check:
        return getattr(R, function), case
    owner, method = function.split(".")
    module = case.fill(getattr(R, owner)(*check["construct"]["args"]))
    return getattr(module, method), case


@pytest.mark.parametrize("name", VALUE_CHECKS)
def test_recorded_values(name):
    function, case = call_recorded(name)
    got = function(*case.inputs.values())
    got = got if isinstance(got, tuple) else (got,)
    assert len(case.expected) >= 1
    for value, (key, wanted) in zip(got, case.expected.items()):
        assert value.shape == wanted.shape, key
        assert rel_error(value, wanted) < case.tolerance[key], key


@pytest.mark.parametrize("name", ["rnn_step_backward_gradcheck", "rnn_backward_gradcheck"])
def test_recorded_numeric_gradients(name):
    check = expected("captioning")[name]
    forward = getattr(R, check["forward"].split(".")[1])
    backward = getattr(R, check["function"].split(".")[1])
    names = check["forward_arg_order"]
    values = {key: torch.randn(check["inputs"][key]["shape"], **DOUBLE) for key in names}
    _, cache = forward(*values.values())
    upstream = torch.randn(check["inputs"][check["upstream"]]["shape"], **DOUBLE)
    for key, gradient in zip(check["outputs"], backward(upstream, cache)):
        wrt = check["wrt"][key]
        numeric = compute_numeric_gradient(
            lambda v: forward(*[v if n == wrt else values[n] for n in names])[0],  # noqa: B023
            values[wrt],
            upstream,
        )
        assert rel_error(gradient, numeric) < check["tolerance"], key


def random_sequence(N=2, T=10, D=3, H=5):
    shapes = [(N, T, D), (N, H), (D, H), (H, H), (H,)]
    return [torch.randn(shape, **DOUBLE, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("sizes", [(2, 10, 3, 5), (1, 1, 1, 1), (3, 1, 4, 2), (1, 40, 2, 3)])
def test_manual_backward_equals_autograd(sizes):
    inputs = random_sequence(*sizes)
    h, cache = R.rnn_forward(*inputs)
    upstream = torch.randn_like(h)
    with torch.no_grad():
        manual = R.rnn_backward(upstream, cache)
    for got, wanted in zip(manual, torch.autograd.grad(h, inputs, upstream)):
        assert got.shape == wanted.shape and rel_error(got, wanted) < 1e-10


def test_rnn_backward_uses_the_gradient_of_every_step():
    """An upstream gradient at the first step only must not reach later inputs, and one at the last must reach all."""
    _, cache = R.rnn_forward(*random_sequence(T=4))
    only_first = torch.zeros(2, 4, 5, **DOUBLE)
    only_first[:, 0] = 1
    only_last = only_first.flip(1)
    assert R.rnn_backward(only_first, cache)[0][:, 1:].abs().max() == 0
    assert R.rnn_backward(only_last, cache)[0].abs().amin(dim=(0, 2)).min() > 0


def test_rnn_module_is_rnn_forward():
    module = R.RNN(3, 5).double()
    x, h0 = torch.randn(2, 10, 3, **DOUBLE), torch.randn(2, 5, **DOUBLE)
    assert rel_error(module(x, h0), R.rnn_forward(x, h0, module.Wx, module.Wh, module.b)[0]) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rnn_equals_pytorch_layer(dtype):
    ours, theirs = R.RNN(4, 6).to(dtype), nn.RNN(4, 6, batch_first=True, dtype=dtype)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(ours.Wx.T)
        theirs.weight_hh_l0.copy_(ours.Wh.T)
        theirs.bias_ih_l0.copy_(ours.b)
        theirs.bias_hh_l0.zero_()
    x, h0 = torch.randn(3, 7, 4, dtype=dtype), torch.randn(3, 6, dtype=dtype)
    torch.testing.assert_close(ours(x, h0), theirs(x, h0.unsqueeze(0))[0])


def test_lstm_equals_pytorch_layer_with_its_gates_reordered():
    ours, theirs = R.LSTM(4, 6).double(), nn.LSTM(4, 6, batch_first=True, dtype=torch.float64)

    def reorder(weight):  # ours i, f, o, g -> theirs i, f, g, o
        i, f, o, g = weight.chunk(4, dim=-1)
        return torch.cat([i, f, g, o], dim=-1)

    with torch.no_grad():
        ours.b.normal_()
        theirs.weight_ih_l0.copy_(reorder(ours.Wx).T)
        theirs.weight_hh_l0.copy_(reorder(ours.Wh).T)
        theirs.bias_ih_l0.copy_(reorder(ours.b))
        theirs.bias_hh_l0.zero_()
    x, h0 = torch.randn(3, 7, 4, **DOUBLE), torch.randn(3, 6, **DOUBLE)
    wanted = theirs(x, (h0.unsqueeze(0), torch.zeros(1, 3, 6, **DOUBLE)))[0]
    torch.testing.assert_close(ours(x, h0), wanted)


def test_closed_input_gate_and_open_forget_gate_keep_the_cell():
    lstm = R.LSTM(2, 3).double()
    with torch.no_grad():
        lstm.Wx.zero_(), lstm.Wh.zero_()
        lstm.b.copy_(torch.tensor([-50.0] * 3 + [50.0] * 3 + [0.0] * 6))
    c = torch.randn(4, 3, **DOUBLE)
    _, next_c = lstm.step_forward(torch.randn(4, 2, **DOUBLE), torch.randn(4, 3, **DOUBLE), c)
    torch.testing.assert_close(next_c, c)


@pytest.mark.parametrize("make", [lambda: R.LSTM(3, 4), lambda: R.AttentionLSTM(3, 4)])
def test_sequence_equals_steps(make):
    layer = make().double()
    x, A = torch.randn(2, 5, 3, **DOUBLE), torch.randn(2, 4, 2, 3, **DOUBLE)
    attends = isinstance(layer, R.AttentionLSTM)
    h = A.mean(dim=(2, 3))
    c = h if attends else torch.zeros_like(h)
    steps = []
    for t in range(5):
        extra = (R.dot_product_attention(h, A)[0],) if attends else ()
        h, c = layer.step_forward(x[:, t], h, c, *extra)
        steps.append(h)
    torch.testing.assert_close(layer(x, A if attends else A.mean(dim=(2, 3))), torch.stack(steps, dim=1))


@pytest.mark.parametrize("N", [1, 2])
@pytest.mark.parametrize("grid", [(4, 4), (1, 1), (2, 5)])
def test_attention_equals_pytorch_and_keeps_its_shapes(N, grid):
    prev_h, A = torch.randn(N, 8, **DOUBLE), torch.randn(N, 8, *grid, **DOUBLE)
    attn, weights = R.dot_product_attention(prev_h, A)
    cells = A.flatten(2).transpose(1, 2)  # (N, K, H)
    wanted = nn.functional.scaled_dot_product_attention(prev_h.unsqueeze(1), cells, cells).squeeze(1)
    assert attn.shape == (N, 8) and weights.shape == (N, *grid)
    torch.testing.assert_close(attn, wanted)
    torch.testing.assert_close(weights.sum(dim=(1, 2)), torch.ones(N, **DOUBLE))


def test_attention_survives_large_scores():
    attn, weights = R.dot_product_attention(torch.full((1, 4), 1e4), torch.full((1, 4, 4, 4), 1e4))
    assert torch.isfinite(attn).all() and torch.isfinite(weights).all()


@pytest.mark.parametrize("layer", [R.RNN(3, 4), R.LSTM(3, 4), R.AttentionLSTM(3, 4)])
def test_gradients_of_layers(layer):
    layer = copy.deepcopy(layer).double()
    x = torch.randn(2, 3, 3, **DOUBLE, requires_grad=True)
    start = torch.randn(*((2, 4, 2, 2) if isinstance(layer, R.AttentionLSTM) else (2, 4)), **DOUBLE, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x, start, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters)), (x, start))

    assert torch.autograd.gradcheck(run, (x, start, *layer.parameters()))


@pytest.mark.parametrize("layer", [R.RNN(3, 4), R.LSTM(3, 4), R.AttentionLSTM(3, 4)])
def test_layers_are_causal_stateless_and_leave_inputs_alone(layer):
    x = torch.randn(2, 6, 3)
    start = torch.randn(2, 4, 2, 2) if isinstance(layer, R.AttentionLSTM) else torch.randn(2, 4)
    kept = x.clone(), start.clone()
    first = layer(x, start)
    assert torch.equal(first, layer(x, start))
    assert torch.equal(x, kept[0]) and torch.equal(start, kept[1])
    later = x.clone()
    later[:, 3:] += 1
    changed = layer(later, start)
    assert torch.equal(changed[:, :3], first[:, :3]) and not torch.allclose(changed[:, 3:], first[:, 3:])


def test_long_sequences_stay_finite():
    x = 10 * torch.randn(2, 300, 3)
    for layer in (R.RNN(3, 4), R.LSTM(3, 4)):
        h = layer(x, torch.zeros(2, 4))
        h.sum().backward()
        assert torch.isfinite(h).all() and torch.isfinite(layer.Wh.grad).all()


# --- Words and loss ---


def test_embedding_takes_indices_and_passes_gradients_to_their_rows_only():
    embedding = R.WordEmbedding(5, 3)
    embedding(torch.tensor([[1, 1, 4]], dtype=torch.int32)).sum().backward()
    assert embedding.W_embed.grad.sum(dim=1).tolist() == [0, 6, 0, 0, 3]
    with pytest.raises(TypeError, match="WordEmbedding: x must hold word indices.*long"):
        embedding(torch.ones(1, 2))


@pytest.mark.parametrize("name", ["temporal_softmax_loss_a", "temporal_softmax_loss_b", "temporal_softmax_loss_c"])
def test_recorded_temporal_losses(name):
    check = expected("captioning")[name]
    N, T, V, p = (check["dims"][key] for key in ("N", "T", "V", "p"))
    x, y = 0.001 * torch.randn(N, T, V), torch.randint(V, size=(N, T))
    y[torch.rand(N, T) > p] = 0
    loss = R.temporal_softmax_loss(x, y, 0).item()
    low, high = check["robust_band"]
    assert low < loss < high
    assert loss == pytest.approx(check["reference_seed0_cpu"], abs=1e-4)
    assert abs(loss * N / (y != 0).sum().item() - math.log(V)) < 1e-3


def test_temporal_loss_against_a_loop():
    x, y = torch.randn(3, 4, 5, **DOUBLE), torch.randint(5, (3, 4))
    for ignored in (None, 0, 2):
        total = sum(
            -x[n, t].log_softmax(0)[y[n, t]] for n in range(3) for t in range(4) if ignored is None or y[n, t] != ignored
        )
        torch.testing.assert_close(R.temporal_softmax_loss(x, y, ignored), total / 3)


def test_ignored_words_get_no_gradient():
    x, y = torch.randn(2, 3, 4, requires_grad=True), torch.tensor([[1, 0, 0], [2, 3, 0]])
    R.temporal_softmax_loss(x, y, 0).backward()
    assert x.grad[y == 0].abs().max() == 0 and x.grad[y != 0].abs().min() > 0


# --- Encoder and captioner ---


@pytest.mark.parametrize("name", LOSS_CHECKS)
def test_recorded_captioning_losses(name, capsys):
    check = expected("captioning")[name]
    model = R.CaptioningRNN(*check["construct"]["args"], **check["construct"]["kwargs"], image_encoder_pretrained=False)
    for parameter in model.parameters():
        parameter.data.copy_(torch.linspace(-1.4, 1.3, parameter.numel()).reshape(parameter.shape))
    N, T, V = (check["dims"][key] for key in ("N", "T", "V"))
    recipe = check["inputs"]["images"]
    shape = recipe["shape"]
    images = torch.randn(shape) if "randn" in recipe else torch.linspace(-3, 3, math.prod(shape)).reshape(shape)
    loss = model(images, (torch.arange(N * T) % V).view(N, T))
    assert rel_error(loss, torch.tensor(check["expected"]["loss"])) < check["tolerance"]["loss"]
    shapes = sorted(list(p.shape) for n, p in model.named_parameters() if not n.startswith("image_encoder"))
    wanted = sorted([size for size in s if isinstance(size, int)] for _, s in check["required_non_encoder_parameter_shapes"])
    assert shapes == wanted
    assert capsys.readouterr().out == ""  # the encoder reports its shapes where it is made by itself, not in every model


@pytest.fixture(scope="module")
def encoder():
    return R.ImageEncoder(pretrained=False, verbose=False).eval()


def test_encoder_shapes_scaling_and_single_registration(encoder):
    images = torch.randint(256, (2, 3, 100, 112), dtype=torch.uint8)
    with torch.no_grad():
        features = encoder(images)
        torch.testing.assert_close(features, encoder(images.float() / 255))
    assert features.shape == (2, 400, 4, 4) and encoder.out_channels == 400
    tensors = [value.data_ptr() for value in encoder.state_dict().values() if value.numel() > 1]
    assert len(tensors) == len(set(tensors))
    assert sum(p.numel() for p in encoder.parameters()) == 5_495_976 - 400 * 1000 - 1000  # without the classifier


def test_construction_report_draws_nothing_and_moves_no_statistics(capsys):
    reset_seed(3)
    quiet = R.ImageEncoder(pretrained=False, verbose=False)
    after_quiet = torch.rand(1)
    reset_seed(3)
    loud = R.ImageEncoder(pretrained=False, verbose=True)
    assert torch.equal(after_quiet, torch.rand(1))
    for (key, value), other in zip(quiet.state_dict().items(), loud.state_dict().values()):
        assert torch.equal(value, other), key
    assert loud.training and "[2, 400, 7, 7]" in capsys.readouterr().out


@pytest.fixture(scope="module", params=["rnn", "lstm", "attn"])
def captioner(request):
    torch.manual_seed(1)
    cell_type = "".join(request.param)  # made at run time: an `is` comparison would fail
    return R.CaptioningRNN(VOCABULARY, 400, 16, 24, cell_type, image_encoder_pretrained=False, ignore_index=0).eval()


def test_features_stand_in_for_images(captioner):
    images, captions = torch.rand(2, 3, 64, 96), torch.randint(7, (2, 6))
    with torch.no_grad():
        torch.testing.assert_close(captioner(captioner.encode(images), captions), captioner(images, captions))


def test_projection_of_the_mean_and_of_every_cell(captioner):
    features = torch.randn(2, 400, 2, 3)
    start, mapped = captioner.project(features), captioner.feature_projection
    if captioner.cell_type == "attn":
        torch.testing.assert_close(start[:, :, 1, 2], mapped(features[:, :, 1, 2]))
    else:
        torch.testing.assert_close(start, mapped(features.flatten(2).mean(dim=2)))


def test_sampled_words_are_what_forward_scores_highest(captioner):
    features = 30 * torch.randn(3, 400, 2, 3)  # strong enough that a wrong first state changes words
    sampled = captioner.sample(features, 7)
    captions, maps = sampled if captioner.cell_type == "attn" else (sampled, None)
    assert captions.shape == (3, 7) and captions.dtype == torch.int64
    read = torch.cat([torch.full((3, 1), VOCABULARY["<START>"]), captions[:, :-1]], dim=1)
    with torch.no_grad():
        assert torch.equal(captioner.scores(features, read).argmax(dim=2), captions)
    if maps is not None:
        assert maps.shape == (3, 7, 2, 3) and maps.dtype == torch.float32 and not maps.requires_grad
        torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.ones(3, 7))


def test_sampling_one_picture_equals_sampling_it_in_a_batch(captioner):
    features = torch.randn(3, 400, 4, 4)
    first = lambda sampled: sampled[0] if isinstance(sampled, tuple) else sampled  # noqa: E731
    assert torch.equal(first(captioner.sample(features[:1], 5)), first(captioner.sample(features, 5))[:1])


def test_later_words_change_no_earlier_score(captioner):
    features, words = torch.randn(1, 400, 2, 2), torch.randint(7, (1, 6))
    changed = words.clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % 7
    with torch.no_grad():
        a, b = captioner.scores(features, words), captioner.scores(features, changed)
    assert torch.equal(a[:, :3], b[:, :3]) and not torch.equal(a[:, 3:], b[:, 3:])


def test_every_part_gets_a_gradient(captioner):
    captioner.zero_grad()
    captioner(torch.rand(2, 3, 64, 64), torch.randint(1, 7, (2, 5))).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in captioner.parameters())
    captioner.zero_grad()


# --- Messages ---

X, PREV, WX, WH, B = torch.zeros(3, 4), torch.zeros(3, 5), torch.zeros(4, 5), torch.zeros(5, 5), torch.zeros(5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: R.rnn_step_forward(X, PREV[:2], WX, WH, B), ValueError, r"rnn_step_forward: .*prev_h has shape \(2, 5\)"),
        (lambda: R.rnn_step_forward(X, PREV, WX.T, WH, B), ValueError, r"Wx has shape \(5, 4\), wanted \(D, H\) with D = 4"),
        (lambda: R.rnn_forward(X, PREV, WX, WH, B), ValueError, r"rnn_forward: .*x has shape \(3, 4\), wanted \(N, T, D\)"),
        (lambda: R.rnn_step_forward(X.double(), PREV, WX, WH, B), TypeError, "must share one dtype.*float64"),
        (lambda: R.rnn_step_forward([1.0], PREV, WX, WH, B), TypeError, "x must be a torch tensor.*got list"),
        (lambda: R.LSTM(4, 5)(X, PREV), ValueError, r"LSTM.forward: .*wanted \(N, T, D\)"),
        (lambda: R.LSTM(4, 5).step_forward(X, PREV[:, :4], PREV[:, :4]), ValueError, r"Wx has .*wanted \(D, 4H\) with H = 4"),
        (lambda: R.dot_product_attention(PREV, torch.zeros(3, 6, 2, 2)), ValueError, "dot_product_attention: .*H = 5"),
        (lambda: R.temporal_softmax_loss(torch.zeros(2, 3, 4), torch.zeros(2, 4).long()), ValueError, "T = 3 from x"),
        (lambda: R.temporal_softmax_loss(torch.zeros(2, 3, 4), torch.zeros(2, 3)), TypeError, "int64 word indices"),
        (lambda: R.temporal_softmax_loss(torch.zeros(0, 3, 4), torch.zeros(0, 3).long()), ValueError, "empty batch"),
        (
            lambda: R.CaptioningRNN({"a": 0}, 512, cell_type="gru"),
            ValueError,
            "cell_type is 'gru'.*no <NULL>.*input_dim is 512",
        ),
        (lambda: R.ImageEncoder(False, False)(torch.zeros(1, 1, 32, 32)), ValueError, "wanted .N, 3, height, width"),
    ],
)
def test_wrong_calls_are_told_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_captioner_messages(captioner):
    with pytest.raises(ValueError, match="CaptioningRNN: .*captions has shape .3, 5.*N = 2 from images"):
        captioner(torch.zeros(2, 400, 4, 4), torch.zeros(3, 5).long())
    with pytest.raises(ValueError, match="leave nothing to predict"):
        captioner(torch.zeros(2, 400, 4, 4), torch.zeros(2, 1).long())
    with pytest.raises(ValueError, match="at least one word"):
        captioner.sample(torch.zeros(2, 400, 4, 4), 0)


def test_sampling_without_start_is_told():
    model = R.CaptioningRNN({"<NULL>": 0, "cat": 2}, 400, 4, 4, "lstm", image_encoder_pretrained=False)
    with pytest.raises(ValueError, match="CaptioningRNN.sample: .*without <START>"):
        model.sample(torch.zeros(1, 400, 4, 4))


def test_device_follows_the_inputs_on_meta():
    """A tensor made on another device than the inputs' would fail here."""
    captions = torch.zeros(2, 5, dtype=torch.int64, device="meta")
    for cell_type in ("rnn", "lstm", "attn"):
        model = R.CaptioningRNN(VOCABULARY, 400, 8, 8, cell_type, image_encoder_pretrained=False).to("meta")
        model(torch.zeros(2, 3, 112, 112, device="meta"), captions).backward()


def test_greeting(capsys):
    R.hello_rnn_lstm_captioning()
    assert capsys.readouterr().out == "Hello from rnn_lstm_captioning.py!\n"
