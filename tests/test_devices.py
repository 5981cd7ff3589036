"""Every lesson function follows its inputs: their device, their dtype, and without making a device wait.

No machine of the tests needs a GPU for this: "meta" is a device without numbers, float64 is refused as on MPS, and a
default device other than the inputs' shows which tensors are made without a word on where. Where there is a GPU, each
function is also compared with itself on the CPU.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

import a2_helper
import rnn_lstm_captioning as R
import transformers as T
from dl import clip_dino
from dl.checks.calls import perform
from dl.checks.course import find
from dl.checks.exercise import Case as Exam
from dl.clip_dino import CLIPImageRetriever, DINOSegmentation, clip_zero_shot_classifier
from dl.guards import clip_dino as guards
from dl.simclr import contrastive_loss as C
from dl.simclr import utils
from dl.simclr.model import Classifier, Model

WORDS = {word: index for index, word in enumerate((R.NULL, R.START, R.END, "red", "blue"))}
N, K, M = 2, 3, 4


@dataclass
class Case:
    """A call on tensors. `module` is what it belongs to; floating inputs and parameters are given gradients."""

    call: Callable
    inputs: list[Tensor] = field(default_factory=list)
    module: nn.Module | None = None

    def run(self, device: str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], list[Tensor]]:
        """Forward and, where something depends on a floating input, backward: (outputs, gradients)."""
        inputs = [given.to(device, dtype if given.is_floating_point() else None) for given in self.inputs]
        leaves = [given.requires_grad_() for given in inputs if given.is_floating_point()]
        if self.module is not None:
            leaves += self.module.to(device, dtype).parameters()
        outputs = tensors_in(self.call(*inputs))
        roots = [output for output in outputs if output.requires_grad]
        if not roots:
            return outputs, []
        gradients = torch.autograd.grad(sum(weighted(root) for root in roots), leaves, allow_unused=True)
        return outputs, [gradient for gradient in gradients if gradient is not None]


def tensors_in(value: object) -> list[Tensor]:
    """The tensors of a tensor, or of tuples and lists of them."""
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in value for tensor in tensors_in(part)] if isinstance(value, (tuple, list)) else []


def weighted(output: Tensor) -> Tensor:
    """Sum of an output's numbers, each with a weight of its own."""
    return (output.flatten() * torch.arange(output.numel(), device=output.device).cos().to(output.dtype)).sum()


def draw(*shape: int) -> Tensor:
    return torch.randn(shape)


def of(module: nn.Module, *inputs: Tensor, method: str = "forward") -> Case:
    return Case(getattr(module, method), list(inputs), module)


def captioner(cell: str) -> R.CaptioningRNN:
    with patch.object(
        R, "ImageEncoder", lambda pretrained, verbose: nn.Identity()
    ):  # features are given; RegNet is torchvision's
        return R.CaptioningRNN(WORDS, R.FEATURE_CHANNELS, 6, M, cell)


def batch_of_transformer() -> tuple[Tensor, ...]:
    return torch.tensor([[1, 2, 3]] * N), draw(1, 3, M), torch.tensor([[4, 5, 0]] * N), draw(1, 3, M)


def transformer() -> T.Transformer:
    return T.Transformer(
        num_heads=2, emb_dim=M, feedforward_dim=8, dropout=0.1, num_enc_layers=1, num_dec_layers=1, vocab_len=6
    )


RNN_INPUTS = ((N, K, 5), (N, M), (5, M), (M, M), (M,))  # x, h0, Wx, Wh, b
STEP_INPUTS = ((N, 5), *RNN_INPUTS[1:])
CASES: dict[str, Callable[[], Case]] = {
    "rnn_step_forward": lambda: Case(R.rnn_step_forward, [draw(*shape) for shape in STEP_INPUTS]),
    "rnn_step_backward": lambda: Case(
        lambda d, *given: R.rnn_step_backward(d, R.rnn_step_forward(*given)[1]),
        [draw(*shape) for shape in ((N, M), *STEP_INPUTS)],
    ),
    "rnn_forward": lambda: Case(R.rnn_forward, [draw(*shape) for shape in RNN_INPUTS]),
    "rnn_backward": lambda: Case(
        lambda d, *given: R.rnn_backward(d, R.rnn_forward(*given)[1]), [draw(*shape) for shape in ((N, K, M), *RNN_INPUTS)]
    ),
    "WordEmbedding.forward": lambda: of(R.WordEmbedding(5, M), torch.tensor([[0, 4, 1]])),
    "temporal_softmax_loss": lambda: Case(
        lambda x, y: R.temporal_softmax_loss(x, y, 0), [draw(N, K, 5), torch.arange(6).view(N, K) % 5]
    ),
    "LSTM.step_forward": lambda: of(R.LSTM(5, M), draw(N, 5), draw(N, M), draw(N, M), method="step_forward"),
    "LSTM.forward": lambda: of(R.LSTM(5, M), draw(N, K, 5), draw(N, M)),
    "dot_product_attention": lambda: Case(R.dot_product_attention, [draw(N, M), draw(N, M, 2, 2)]),
    "AttentionLSTM.step_forward": lambda: of(
        R.AttentionLSTM(5, M), draw(N, 5), draw(N, M), draw(N, M), draw(N, M), method="step_forward"
    ),
    "AttentionLSTM.forward": lambda: of(R.AttentionLSTM(5, M), draw(N, K, 5), draw(N, M, 2, 2)),
    "CaptioningRNN.forward": lambda: of(
        captioner("attn"), draw(N, R.FEATURE_CHANNELS, 2, 2), torch.tensor([[1, 3, 2, 0]] * N)
    ),
    "CaptioningRNN.sample": lambda: of(captioner("lstm"), draw(N, R.FEATURE_CHANNELS, 2, 2), method="sample"),
    "scaled_dot_product_two_loop_single": lambda: Case(T.scaled_dot_product_two_loop_single, [draw(K, M) for _ in "qkv"]),
    "scaled_dot_product_two_loop_batch": lambda: Case(T.scaled_dot_product_two_loop_batch, [draw(N, K, M) for _ in "qkv"]),
    "scaled_dot_product_no_loop_batch": lambda: Case(
        lambda q, k, v: T.scaled_dot_product_no_loop_batch(q, k, v, T.get_subsequent_mask(q[..., 0])),
        [draw(N, K, M) for _ in "qkv"],
    ),
    "SelfAttention.forward": lambda: of(T.SelfAttention(M, 2, 3), *(draw(N, K, M) for _ in "qkv")),
    "MultiHeadAttention.forward": lambda: of(T.MultiHeadAttention(2, M, 3), *(draw(N, K, M) for _ in "qkv")),
    "LayerNormalization.forward": lambda: of(T.LayerNormalization(M), draw(N, K, M)),
    "FeedForwardBlock.forward": lambda: of(T.FeedForwardBlock(M, 8), draw(N, K, M)),
    "EncoderBlock.forward": lambda: of(T.EncoderBlock(2, M, 8, 0.1), draw(N, K, M)),
    "get_subsequent_mask": lambda: Case(T.get_subsequent_mask, [torch.zeros(N, K, dtype=torch.int64)]),
    "DecoderBlock.forward": lambda: of(
        T.DecoderBlock(2, M, 8, 0.1), draw(N, K, M), draw(N, 2, M), torch.ones(N, K, K).triu(1) > 0
    ),
    "Transformer.forward": lambda: of(transformer(), *batch_of_transformer()),
    "LabelSmoothingLoss": lambda: Case(T.LabelSmoothingLoss, [draw(6, 5), torch.arange(6) % 5]),
    "CrossEntropyLoss": lambda: Case(T.CrossEntropyLoss, [draw(6, 5), torch.arange(6) % 5]),
    "sim": lambda: Case(C.sim, [draw(M), draw(M)]),
    "sim_positive_pairs": lambda: Case(C.sim_positive_pairs, [draw(N, M), draw(N, M)]),
    "compute_sim_matrix": lambda: Case(C.compute_sim_matrix, [draw(2 * N, M)]),
    "simclr_loss_naive": lambda: Case(lambda left, right: C.simclr_loss_naive(left, right, 0.5), [draw(N, M), draw(N, M)]),
    "simclr_loss_vectorized": lambda: Case(
        lambda left, right: C.simclr_loss_vectorized(left, right, 0.5), [draw(N, M), draw(N, M)]
    ),
    "Model": lambda: of(Model(8, "small").eval(), draw(N, 3, 16, 16)),
    "Classifier": lambda: of(Classifier(5, "small").eval(), draw(N, 3, 16, 16)),
    "get_similarity_no_loop": lambda: Case(clip_dino.get_similarity_no_loop, [draw(N, M), draw(K, M)]),
}


class TinyCLIP(nn.Module):
    """What the lesson needs of a CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.pixels = nn.Embedding(9, M), nn.Linear(3, M)

    def encode_text(self, tokens: Tensor) -> Tensor:
        return self.words(tokens).mean(dim=1)

    def encode_image(self, images: Tensor) -> Tensor:
        return self.pixels(images.mean(dim=(2, 3)))


def clip_case(use: Callable) -> Case:
    model, images = TinyCLIP(), [np.full((8, 8, 3), grey, np.uint8) for grey in (0, 100, 200)]

    def preprocess(image) -> Tensor:
        return torch.tensor(np.asarray(image), device="cpu").permute(2, 0, 1) / 255

    return Case(lambda: use(model, preprocess, images, torch.device("cpu")), [], model)


def head_case(iterations: int = 4) -> Case:
    head = DINOSegmentation(torch.device("cpu"), 3, M)
    head.optimizer = torch.optim.SGD(head.head.parameters(), lr=0.1)  # AdamW counts its steps on the CPU, whatever the device
    tokens, classes = draw(6, M), torch.arange(6) % 3
    return Case(lambda: (head.train(tokens, classes, iterations), head.inference(tokens))[1])


def simclr_case(steps: int = 2) -> Case:
    model = Model(8, "small")
    batches = [(draw(2, 3, 16, 16), draw(2, 3, 16, 16), torch.zeros(2))] * steps
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    return Case(lambda: utils.train(model, batches, optimizer, 1, 1, device=torch.device("cpu"), progress=False))


READ_NUMBERS: dict[str, Callable[[], Case]] = {  # their result, or a check of their arguments, needs the values
    "compute_iou": lambda: Case(lambda: clip_dino.compute_iou(*(torch.arange(6, device="cpu").view(2, 3) % 2,) * 2, 2)),
    "DINOSegmentation.train": head_case,
    "DINOSegmentation.inference": head_case,
    "train": simclr_case,
    "CaptioningRNN.sample with attention": lambda: of(captioner("attn"), draw(N, R.FEATURE_CHANNELS, 2, 2), method="sample"),
    "clip_zero_shot_classifier": lambda: clip_case(lambda *given: clip_zero_shot_classifier(*given[:3], ["a", "b"], given[3])),
    "CLIPImageRetriever.retrieve": lambda: clip_case(lambda *given: CLIPImageRetriever(*given).retrieve("a")),
}
WITHOUT_TENSORS = {  # texts, images of PIL, and tables that are made once
    *("generate_token_dict", "prepocess_input_sequence", "AddSubDataset.__getitem__", "compute_train_transform"),
    *("CIFAR10Pair.__getitem__", "position_encoding_simple", "position_encoding_sinusoid"),
}


def made(name: str) -> Case:
    torch.manual_seed(0)
    return {**CASES, **READ_NUMBERS}[name]()


@pytest.fixture(autouse=True)
def words_on_the_device(monkeypatch):
    """CLIP's own tokenizer makes its tokens on the CPU and moves them."""
    monkeypatch.setattr(
        guards, "tokenize", lambda name, texts, device: torch.ones(len(texts), 5, dtype=torch.int64, device=device)
    )


def test_every_exercise_with_tensors_is_here():
    names = {exercise.name for exercise in find([]) if not exercise.name.endswith("__init__")}
    assert names - set(CASES) - set(READ_NUMBERS) == WITHOUT_TENSORS


@pytest.mark.parametrize("name", CASES)
def test_on_meta_forward_and_backward_stay_there(name):
    outputs, gradients = made(name).run("meta")
    assert outputs and {tensor.device.type for tensor in outputs + gradients} == {"meta"}


@pytest.mark.parametrize("name", CASES)
def test_results_stay_on_the_device_and_are_those_of_the_cpu(name, device):
    results = []
    for place in ("cpu", device):
        case = made(name)
        if case.module is not None:
            case.module.eval()  # dropout draws other numbers on each device
        results.append([result for part in case.run(place) for result in part])
    assert {result.device.type for result in results[1]} == {device.type}
    torch.testing.assert_close([result.cpu() for result in results[1]], results[0], rtol=1e-3, atol=1e-4)


class Refuse(TorchDispatchMode):
    """Refuses tensors of other devices than the CPU, and tensors of a dtype."""

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_in(result):
            if tensor.device.type != "cpu":
                raise AssertionError(
                    f"{func} made a tensor on {tensor.device}, where only numbers of the inputs' device count"
                )
            if tensor.dtype == self.dtype:
                raise AssertionError(f"{func} made a tensor of {tensor.dtype}")
        return result


@pytest.mark.parametrize("name", [*CASES, *READ_NUMBERS])
def test_no_tensor_is_made_on_another_device_than_the_inputs(name):
    case = made(name)
    with torch.device("meta"), Refuse():  # the device of every tensor that is made without naming one
        case.run("cpu")


@pytest.mark.parametrize("name", [*CASES, *READ_NUMBERS])
def test_float32_is_enough(name):
    """MPS has no float64."""
    case = made(name)
    with Refuse(torch.float64):
        case.run()


@pytest.mark.parametrize("name", CASES)
def test_bfloat16_gives_nearly_the_same(name):
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        case = made(name)
        torch.manual_seed(1)  # of the dropout
        results.append([result for part in case.run(dtype=dtype) for result in part if result.is_floating_point()])
    exact, rough = results
    assert {result.dtype for result in rough} <= {torch.bfloat16}
    if exact:
        right, got = (torch.cat([result.detach().flatten().float() for result in results]) for results in (exact, rough))
        assert got.isfinite().all() and torch.cosine_similarity(got, right, dim=0) > 0.9


def precision() -> tuple[str, bool, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("chosen", [("highest", False, True), ("medium", True, True), ("high", True, False)])
def test_a_check_computes_in_full_float32_and_puts_back_what_was_chosen(chosen):
    def changed(lesson, inputs):
        inside = precision()
        torch.set_float32_matmul_precision("medium")
        return {"inside": inside}

    before = precision()
    try:
        torch.set_float32_matmul_precision(chosen[0])
        torch.backends.cudnn.allow_tf32 = chosen[2]
        record = perform(SimpleNamespace(modules=()), Exam("precision", lambda draw: {}, changed), {}, 0)
        assert record.outputs == {"inside": ("highest", False, False)}, record.error
        assert precision() == chosen
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[2]


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="this PyTorch has one way to set it")
def test_a_check_computes_in_full_float32_whatever_way_it_was_set():
    ask = "import torch; from dl.utils import full_float32; torch.backends.cuda.matmul.fp32_precision = 'tf32'\n"
    ask += "with full_float32(): print(torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    assert done.stdout.split() == ["highest", "False"], done.stderr


# --- How often a step waits for the device ---


class OnDevice(Tensor):
    """A tensor whose numbers pass for being on a device that the program would have to wait for."""


class Waits(TorchFunctionMode):
    """Counts the calls that need numbers of an `OnDevice`; `.to(torch.device)` brings a tensor there.

    Optimisers read their own step counters, which PyTorch keeps on the CPU.
    """

    NEEDS_NUMBERS = {"item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__repr__", "equal"}

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result, name = func(*args, **(kwargs or {})), getattr(func, "__name__", "")
        on_device = any(isinstance(tensor, OnDevice) for tensor in tensors_in(args))
        if name == "to" and any(isinstance(value, torch.device) for value in (*args[1:], *(kwargs or {}).values())):
            return result.as_subclass(OnDevice)
        if on_device and (name in self.NEEDS_NUMBERS or (name == "to" and "cpu" in args[1:])):
            if "torch/optim" not in sys._getframe(1).f_code.co_filename.replace("\\", "/"):
                self.names.append(name)
            return result.as_subclass(Tensor) if isinstance(result, Tensor) else result
        return result


def on_device(*tensors: Tensor) -> list[Tensor]:
    return [tensor.as_subclass(OnDevice) for tensor in tensors]


DEVICE = torch.device("cpu")


def training_of_a_captioner(steps: int) -> Callable:
    model = captioner("attn")
    features, captions = draw(2 * steps, R.FEATURE_CHANNELS, 2, 2), torch.tensor([[1, 3, 2, 0]] * 2 * steps)
    return lambda: a2_helper.train_captioner(model, features, captions, 1, 2, 1e-3, device=DEVICE, plot=False)


def training_of_a_transformer(steps: int) -> Callable:
    model = transformer()
    tokens, positions, targets, target_positions = batch_of_transformer()
    rows = [(tokens[0], positions[0], targets[0], target_positions[0])] * steps
    loader = DataLoader(rows, batch_size=1)
    return lambda: a2_helper.train(model, loader, loader, T.CrossEntropyLoss, 1, device=DEVICE, print_every=0)


def training_of_a_probe(steps: int) -> Callable:
    model, batches = Classifier(5, "small"), [(draw(2, 3, 16, 16), torch.tensor([0, 1]))] * steps
    return lambda: utils.train_probe(model, batches, batches, epochs=1, device=DEVICE, progress=False)


def neighbours(steps: int) -> Callable:
    model, batches = Model(8, "small"), [(draw(2, 3, 16, 16), torch.tensor([0, 1]))] * steps
    return lambda: utils.test(model, batches, batches, 1, 1, c=2, k=2, device=DEVICE, progress=False)


def training_of_a_head(steps: int) -> Callable:
    head, (tokens,) = DINOSegmentation(DEVICE, 3, M), on_device(draw(6, M))
    return lambda: head.train(tokens, torch.arange(6) % 3, steps)


def decoding_of_captions(cell: str) -> Callable[[int], Callable]:
    def make(steps: int) -> Callable:
        (features,) = on_device(draw(N, R.FEATURE_CHANNELS, 2, 2))
        return lambda: captioner(cell).sample(features, max_length=steps)

    return make


def decoding_of_a_transformer(steps: int) -> Callable:
    tokens, positions, places = on_device(torch.tensor([[1, 2, 3]] * N), draw(1, 3, M), draw(1, steps, M))
    return lambda: a2_helper.inference(transformer(), tokens, positions, places, steps + 1, bos_token=0)


LOOPS: dict[str, tuple[Callable[[int], Callable], int]] = {  # name -> (steps -> what runs, steps of both its loops)
    "train_captioner": (training_of_a_captioner, 1),
    "train of the Transformer": (training_of_a_transformer, 1),
    "train of SimCLR": (lambda steps: simclr_case(steps).call, 1),
    "train_probe": (training_of_a_probe, 2),
    "test": (neighbours, 1),
    "DINOSegmentation.train": (training_of_a_head, 1),
    "CaptioningRNN.sample rnn": (decoding_of_captions("rnn"), 1),
    "CaptioningRNN.sample lstm": (decoding_of_captions("lstm"), 1),
    "CaptioningRNN.sample attn": (decoding_of_captions("attn"), 1),
    "inference": (decoding_of_a_transformer, 1),
}


def waits(make: Callable[[int], Callable], steps: int) -> list[str]:
    torch.manual_seed(0)
    run = make(steps)
    with Waits() as counted:
        run()
    return counted.names


@pytest.mark.parametrize("name", LOOPS)
def test_a_step_waits_for_the_device_once_at_most(name):
    """What comes once, whatever the number of steps, is not counted."""
    make, loops = LOOPS[name]
    few, many = waits(make, 2), waits(make, 5)
    assert len(many) - len(few) <= 3 * loops, many


def test_waiting_is_counted():
    def careless(steps: int) -> Callable:
        (x,) = on_device(torch.ones(3))
        return lambda: [(float(y.sum()), bool(y[0] > 2), y.cpu(), y.tolist()) for y in [x * 2] * steps]

    assert len(waits(careless, 5)) - len(waits(careless, 2)) == 3 * 4
