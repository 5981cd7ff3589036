"""Whatever a public function is given: a right call gives a result, a wrong one is explained, and inputs stay as they are.

A call that fits is changed in one or two arguments: another type, shape or dtype, nothing in it, NaN, huge numbers. What
comes is a result, or a ValueError or TypeError of ours: raised in our own code, beginning with a name, with what was given,
what was wanted, and how to put it right. `EXAMPLES=200 python -m pytest tests/test_properties.py` changes each call two
hundred times.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import os
import re
import tempfile
import traceback
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stand_ins import coco_data
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms as pixels

import a2_helper
import rnn_lstm_captioning as captioning
import transformers
from dl import clip_dino, coco_utils, grad, image_utils, utils
from dl import settings as places
from dl.__main__ import main, parser
from dl.checks import course
from dl.simclr import batch_augment, data_utils, distributed, model, pretrain
from dl.simclr import contrastive_loss as simclr
from dl.simclr import utils as training
from dl.video import dataset, overlay, reader, tokens, writer
from dl.world.export import write_cifar, write_coco_captioning, write_davis

EXAMPLES = int(os.environ.get("EXAMPLES", 10))  # of each call
ROOT = Path(__file__).resolve().parent.parent
THREE_PARTS = re.compile(r"^[\w.]+: .{9,}\. \S.{5,}[.)]$", re.S)  # "name: given and wanted. What to do."
DTYPES = (torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool)
often = settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)


def f(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def i(high: int, *shape: int) -> torch.Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(0))


def frames(count: int, *shape: int) -> np.ndarray:
    return i(256, count, *shape, 3).numpy().astype(np.uint8)


# --- What the calls are made with: files in small, networks that cost nothing ---

FOLDER = tempfile.TemporaryDirectory()
HERE = Path(FOLDER.name)
WORDS = ["<NULL>", "<START>", "<END>", "<UNK>", "cat", "dog"]
INDEX = {word: number for number, word in enumerate(WORDS)}
TOKENS = {word: number for number, word in enumerate(["0", "1", "add", "BOS", "EOS"])}
SPECIAL = ["add", "BOS", "EOS"]
SUMS = [(16, "add", 9), (-30, "subtract", -34), (0, "subtract", 17)]


@pytest.fixture(scope="module", autouse=True)
def files():
    torch.save(coco_data(), HERE / "coco.pt")
    (HERE / "arithmetic.json").write_text('{"inp_expression": [], "out_expression": []}', encoding="utf-8")
    write_cifar(HERE / "cifar-10-batches-py", batch=2, test=2)
    write_coco_captioning(HERE / "captioning", {"train": 2, "val": 3})
    write_davis(HERE / "davis", easy={"playground": 3}, hard={})
    writer.write_video_from_array(frames(2, 16, 16), HERE / "video.mp4")
    yield
    FOLDER.cleanup()


class Clip(nn.Module):
    """As much of CLIP as compares images with texts."""

    def encode_text(self, texts):
        return texts[:, :5].float()

    def encode_image(self, images):
        return images.flatten(1)[:, :5]


class Dino(nn.Module):
    patch_size = 8

    def get_intermediate_layers(self, images, n):
        return [nn.functional.avg_pool2d(images, 8).flatten(2).mT.repeat(1, 2, 1)]


class TinyEncoder(captioning.ImageEncoder):
    def __init__(self):
        super(captioning.ImageEncoder, self).__init__()
        self.backbone = nn.Conv2d(3, 400, 1)
        self.mean, self.std = torch.zeros(1), torch.ones(1)


class Pooled(nn.Module):
    """A model of SimCLR: feature and projection from the mean colour."""

    def __init__(self):
        super().__init__()
        self.g = nn.Linear(3, 4)

    def forward(self, x):
        h = x.mean(dim=(2, 3))
        return nn.functional.normalize(h), self.g(h)


@cache
def captioner(cell_type: str) -> captioning.CaptioningRNN:
    made = captioning.CaptioningRNN(INDEX, 400, 3, 4, cell_type, image_encoder_pretrained=False).eval()
    made.image_encoder = TinyEncoder()
    return made


def afresh(function, made, *arguments, **options):
    """A function on a copy of its first argument, where that is a model that it changes."""
    made = copy.deepcopy(made) if isinstance(made, nn.Module) else made
    return function(made, *arguments, **options)


def optimised(function, made, loader, *arguments, **options):
    made = copy.deepcopy(made) if isinstance(made, nn.Module) else made
    moved = made.parameters() if isinstance(made, nn.Module) else [nn.Parameter(f(1))]
    return function(made, loader, torch.optim.SGD(moved, 0.1), *arguments, progress=False, **options)


def drained(function):
    return lambda *arguments: list(function(*arguments))


ROWS = a2_helper.expression_dataset(SUMS, 4, transformers.position_encoding_simple)
PAIRS = transformers.AddSubDataset(["BOS 01 EOS"], ["BOS EOS"], TOKENS, SPECIAL, 4, transformers.position_encoding_simple)
LOADER = DataLoader(ROWS, 2)
LABELLED = DataLoader(TensorDataset(f(4, 3, 8, 8), i(3, 4)), 2)
VIEWS = DataLoader(TensorDataset(f(4, 3, 8, 8), f(4, 3, 8, 8), i(3, 4)), 2)
CLASSIFIER = model.Classifier(3, "small").eval()
SMALL = model.Model(4, "small").eval()
IMAGE = pixels.Compose([pixels.Resize((4, 4)), pixels.ToTensor()])
ADDER, TINY = transformers.Transformer(2, 4, 6, 0.0, 1, 1, 16), captioner("attn")
CAPTIONED = {"train_captions": i(6, 4, 5).numpy(), "train_features": f(3, 2).numpy()}
CAPTIONED |= {"train_image_idxs": i(3, 4).numpy(), "train_urls": np.array(["a", "b", "c"])}
BYTES = DataLoader(TensorDataset(i(256, 4, 3, 8, 8).to(torch.uint8), i(3, 4)), 2)
RNN_STEP = (f(3, 4), f(3, 5), f(4, 5), f(5, 5), f(5))
RNN_ALL = (f(3, 2, 4), *RNN_STEP[1:])
BLOCK = (2, 4, 6, 0.0)
GREY, COLOUR = [frames(1, 6, 6)[0, ..., 0], frames(1, 6, 6)[0]], list(frames(2, 16, 16))


@cache
def videos() -> dataset.DavisDataset:
    return dataset.DavisDataset(HERE / "davis")


def of_videos(name: str):
    return lambda *arguments: getattr(videos(), name)(*arguments)


@cache
def retriever() -> clip_dino.CLIPImageRetriever:
    return clip_dino.CLIPImageRetriever(Clip(), IMAGE, COLOUR, "cpu")


@cache
def pair() -> data_utils.CIFAR10Pair:
    return data_utils.load_cifar10(True, pixels.ToTensor(), True, HERE)


# A name as in its module, with the module's where two modules have it: the function, and arguments that fit
CALLS = {
    # rnn_lstm_captioning
    "rnn_step_forward": (captioning.rnn_step_forward, RNN_STEP),
    "rnn_step_backward": (captioning.rnn_step_backward, (f(3, 5), captioning.rnn_step_forward(*RNN_STEP)[1])),
    "rnn_forward": (captioning.rnn_forward, RNN_ALL),
    "rnn_backward": (captioning.rnn_backward, (f(3, 2, 5), captioning.rnn_forward(*RNN_ALL)[1])),
    "scaled_normal": (captioning.scaled_normal, (3, 4)),
    "RNN.__init__": (captioning.RNN, (4, 5)),
    "RNN.forward": (captioning.RNN(4, 5), (f(3, 2, 4), f(3, 5))),
    "RNN.step_forward": (captioning.RNN(4, 5).step_forward, (f(3, 4), f(3, 5))),
    "LSTM.__init__": (captioning.LSTM, (4, 5)),
    "LSTM.step_forward": (captioning.LSTM(4, 5).step_forward, (f(3, 4), f(3, 5), f(3, 5))),
    "LSTM.forward": (captioning.LSTM(4, 5), (f(3, 2, 4), f(3, 5))),
    "AttentionLSTM.__init__": (captioning.AttentionLSTM, (4, 5)),
    "AttentionLSTM.step_forward": (captioning.AttentionLSTM(4, 5).step_forward, (f(3, 4), f(3, 5), f(3, 5), f(3, 5))),
    "AttentionLSTM.forward": (captioning.AttentionLSTM(4, 5), (f(3, 2, 4), f(3, 5, 4, 4))),
    "dot_product_attention": (captioning.dot_product_attention, (f(2, 3), f(2, 3, 4, 4))),
    "WordEmbedding.__init__": (captioning.WordEmbedding, (5, 3)),
    "WordEmbedding.forward": (captioning.WordEmbedding(5, 3), (i(5, 2, 3),)),
    "temporal_softmax_loss": (captioning.temporal_softmax_loss, (f(2, 3, 4), i(4, 2, 3), 0)),
    "ImageEncoder.forward": (TINY.image_encoder, (f(2, 3, 8, 8).abs(),)),
    "CaptioningRNN.__init__": (partial(captioning.CaptioningRNN, image_encoder_pretrained=False), (INDEX, 400, 3, 4, "rnn")),
    "CaptioningRNN.encode": (TINY.encode, (f(2, 400, 2, 2),)),
    "CaptioningRNN.project": (captioner("rnn").project, (f(2, 400, 2, 2),)),
    "CaptioningRNN.forward": (captioner("lstm"), (f(2, 400, 2, 2), i(6, 2, 4))),
    "CaptioningRNN.sample": (TINY.sample, (f(2, 400, 2, 2), 3)),
    # transformers
    "generate_token_dict": (transformers.generate_token_dict, (["0", "1", "add"],)),
    "prepocess_input_sequence": (transformers.prepocess_input_sequence, ("BOS 01 add 11 EOS", TOKENS, SPECIAL)),
    "scaled_dot_product_two_loop_single": (transformers.scaled_dot_product_two_loop_single, (f(3, 4), f(3, 4), f(3, 4))),
    "scaled_dot_product_two_loop_batch": (transformers.scaled_dot_product_two_loop_batch, (f(2, 3, 4),) * 3),
    "scaled_dot_product_no_loop_batch": (
        transformers.scaled_dot_product_no_loop_batch,
        (f(2, 3, 4), f(2, 3, 4), f(2, 3, 4), torch.ones(2, 3, 3).triu(1).bool()),
    ),
    "xavier_linear": (transformers.xavier_linear, (3, 4)),
    "SelfAttention.__init__": (transformers.SelfAttention, (4, 2, 3)),
    "SelfAttention.forward": (transformers.SelfAttention(4, 2, 3), (f(2, 3, 4), f(2, 3, 4), f(2, 3, 4))),
    "MultiHeadAttention.__init__": (transformers.MultiHeadAttention, (2, 4, 2)),
    "MultiHeadAttention.forward": (transformers.MultiHeadAttention(2, 4, 2), (f(2, 3, 4), f(2, 3, 4), f(2, 3, 4))),
    "LayerNormalization.__init__": (transformers.LayerNormalization, (4, 1e-10)),
    "LayerNormalization.forward": (transformers.LayerNormalization(4), (f(2, 3, 4),)),
    "FeedForwardBlock.__init__": (transformers.FeedForwardBlock, (4, 6)),
    "FeedForwardBlock.forward": (transformers.FeedForwardBlock(4, 6), (f(2, 3, 4),)),
    "EncoderBlock.__init__": (transformers.EncoderBlock, BLOCK),
    "EncoderBlock.forward": (transformers.EncoderBlock(*BLOCK), (f(2, 3, 4),)),
    "get_subsequent_mask": (transformers.get_subsequent_mask, (i(4, 2, 3),)),
    "DecoderBlock.__init__": (transformers.DecoderBlock, BLOCK),
    "DecoderBlock.forward": (transformers.DecoderBlock(*BLOCK), (f(2, 3, 4), f(2, 3, 4))),
    "Encoder.__init__": (transformers.Encoder, (2, 4, 6, 1, 0.0)),
    "Encoder.forward": (transformers.Encoder(2, 4, 6, 1, 0.0), (f(2, 3, 4),)),
    "Decoder.__init__": (transformers.Decoder, (2, 4, 6, 1, 0.0, 5)),
    "Decoder.forward": (transformers.Decoder(2, 4, 6, 1, 0.0, 5), (f(2, 3, 4), f(2, 3, 4), None)),
    "position_encoding_simple": (transformers.position_encoding_simple, (3, 4)),
    "position_encoding_sinusoid": (transformers.position_encoding_sinusoid, (3, 4)),
    "position_encoding_paper": (transformers.position_encoding_paper, (3, 4)),
    "AddSubDataset.__init__": (
        transformers.AddSubDataset,
        (["BOS 01 EOS"], ["BOS EOS"], TOKENS, SPECIAL, 4, transformers.position_encoding_simple),
    ),
    "AddSubDataset.__getitem__": (PAIRS.__getitem__, (0,)),
    "Transformer.__init__": (transformers.Transformer, (*BLOCK, 1, 1, 16)),
    "Transformer.forward": (ADDER, (i(16, 2, 3), f(2, 3, 4), i(16, 2, 3), f(1, 3, 4))),
    "LabelSmoothingLoss": (transformers.LabelSmoothingLoss, (f(6, 5), i(5, 6))),
    "CrossEntropyLoss": (transformers.CrossEntropyLoss, (f(6, 5), i(5, 6))),
    # a2_helper
    "load_coco_captions": (partial(a2_helper.load_coco_captions, verbose=False), (HERE / "coco.pt",)),
    "train_captioner": (
        lambda *given: afresh(partial(a2_helper.train_captioner, plot=False), *given),
        (TINY, f(2, 400, 2, 2), i(6, 2, 4), 1, 2, 0.1, 1.0, "cpu"),
    ),
    "caption_loss": (a2_helper.caption_loss, (TINY, f(2, 400, 2, 2), i(6, 2, 4), 2)),
    "a2_helper.encode_images": (a2_helper.encode_images, (TINY, f(2, 400, 2, 2), 2)),
    "caption_images": (a2_helper.caption_images, (TINY, f(2, 400, 2, 2), 3, 2)),
    "get_toy_data": (a2_helper.get_toy_data, (HERE / "arithmetic.json",)),
    "split_rows": (a2_helper.split_rows, ({"inp_expression": ["a", "b"], "out_expression": ["c", "d"]},)),
    "expression_dataset": (a2_helper.expression_dataset, (SUMS, 4, transformers.position_encoding_simple)),
    "step_schedule": (a2_helper.step_schedule, (1e-6, 10, 1e-3)),
    "a2_helper.train": (
        lambda *given: afresh(partial(a2_helper.train, print_every=0), *given),
        (ADDER, LOADER, LOADER, transformers.CrossEntropyLoss, 1, 2, 1e-6, 10, 1e-3, "cpu"),
    ),
    "val": (a2_helper.val, (ADDER, LOADER, transformers.CrossEntropyLoss, 2, "cpu")),
    "inference": (a2_helper.inference, (ADDER, i(16, 2, 3), f(2, 3, 4), f(1, 3, 4), 3)),
    "right_tokens": (a2_helper.right_tokens, (ADDER, ROWS, "cpu", 2)),
    "right_answers": (a2_helper.right_answers, (ADDER, ROWS, "cpu", 2)),
    "ask": (a2_helper.ask, (ADDER, SUMS, transformers.position_encoding_simple, "cpu")),
    "exact_match": (a2_helper.exact_match, ({SUMS[0]: [True] * 5}, SUMS)),
    "watch_exact_match": (a2_helper.watch_exact_match, ({"rows": ROWS}, 2, "cpu")),
    "shrink_weights": (partial(afresh, a2_helper.shrink_weights), (ADDER, 0.5, 0.5)),
    "time_call": (a2_helper.time_call, (float, 1)),
    # dl.simclr
    "BatchAugmentation.__call__": (batch_augment.BatchAugmentation(8), (i(256, 2, 3, 8, 8).to(torch.uint8),)),
    "PairBatches.__init__": (drained(batch_augment.PairBatches), (BYTES, batch_augment.BatchAugmentation(8), "cpu")),
    "sim": (simclr.sim, (f(4), f(4))),
    "sim_positive_pairs": (simclr.sim_positive_pairs, (f(3, 4), f(3, 4))),
    "compute_sim_matrix": (simclr.compute_sim_matrix, (f(3, 4),)),
    "simclr_loss_naive": (simclr.simclr_loss_naive, (f(3, 4), f(3, 4), 0.5)),
    "simclr_loss_vectorized": (simclr.simclr_loss_vectorized, (f(3, 4), f(3, 4), 0.5, "cpu")),
    "simclr.contrastive_loss.rel_error": (simclr.rel_error, (f(3, 4), f(3, 4).numpy())),
    "gather_rows": (distributed.gather_rows, (f(3, 4),)),
    "global_loss": (distributed.global_loss, (f(3, 4), f(3, 4), 0.5)),
    "synchronise_batch_norm": (partial(afresh, distributed.synchronise_batch_norm), (Pooled(),)),
    "compute_train_transform": (data_utils.compute_train_transform, (3,)),
    "CIFAR10Pair.__getitem__": (lambda index: pair()[index], (0,)),
    "load_cifar10": (lambda *given: data_utils.load_cifar10(True, given[0], False, given[1]), (IMAGE, HERE)),
    "picture_tensors": (
        lambda *given: data_utils.picture_tensors(pair() if given[0] is None else given[0], given[1]),
        (None, 2),
    ),
    "normalise": (data_utils.normalise, (f(2, 3, 4, 4),)),
    "unnormalise": (data_utils.unnormalise, (f(2, 3, 4, 4),)),
    "Model.__init__": (model.Model, (4, "small")),
    "Model.forward": (SMALL, (f(2, 3, 8, 8),)),
    "Classifier.__init__": (model.Classifier, (4, "small")),
    "Classifier.forward": (CLASSIFIER, (f(2, 3, 8, 8),)),
    "starting_weights": (model.starting_weights, ("small",)),
    "load_pretrained": (model.load_pretrained, (SMALL, copy.deepcopy(SMALL.state_dict()))),
    "simclr.utils.train": (partial(optimised, training.train), (Pooled(), VIEWS, 1, 1, 2, 0.5, "cpu")),
    "train_val": (partial(optimised, training.train_val), (CLASSIFIER, LABELLED, 1, 1, "cpu")),
    "train_probe": (
        lambda *given: afresh(partial(training.train_probe, progress=False), *given),
        (CLASSIFIER, LABELLED, LABELLED, 1, 1e-3, 1e-6, "cpu"),
    ),
    "test": (partial(training.test, progress=False), (Pooled(), LABELLED, LABELLED, 1, 1, 3, 0.5, 2, "cpu")),
    "knn_scores": (training.knn_scores, (f(2, 4), f(5, 4), i(3, 5), 3, 2, 0.5)),
    # dl.clip_dino
    "get_similarity_no_loop": (clip_dino.get_similarity_no_loop, (f(3, 4), f(2, 4))),
    "clip_zero_shot_classifier": (clip_dino.clip_zero_shot_classifier, (Clip(), IMAGE, COLOUR, ["a cat", "a dog"], "cpu")),
    "CLIPImageRetriever.__init__": (clip_dino.CLIPImageRetriever, (Clip(), IMAGE, GREY[1:], "cpu")),
    "CLIPImageRetriever.retrieve": (lambda *given: retriever().retrieve(*given), ("a cat", 2)),
    "clip_dino.encode_images": (clip_dino.encode_images, (Clip(), IMAGE, COLOUR, "cpu")),
    "compute_iou": (clip_dino.compute_iou, (i(3, 5), i(3, 5), 3)),
    "DINOSegmentation.__init__": (clip_dino.DINOSegmentation, ("cpu", 2, 4)),
    "DINOSegmentation.train": (lambda *given: clip_dino.DINOSegmentation("cpu", 2, 4).train(*given), (f(3, 4), i(2, 3), 1)),
    "DINOSegmentation.inference": (clip_dino.DINOSegmentation("cpu", 2, 4).inference, (f(3, 4),)),
    # dl.coco_utils, dl.image_utils, dl.grad, dl.utils, dl.settings
    "load_coco_data": (coco_utils.load_coco_data, (HERE / "captioning", 2)),
    "decode_captions": (coco_utils.decode_captions, (i(6, 2, 3), WORDS)),
    "sample_coco_minibatch": (coco_utils.sample_coco_minibatch, (CAPTIONED, 2, "train")),
    "image_from_url": (image_utils.image_from_url, ("images/none.png",)),
    "compute_numeric_gradient": (grad.compute_numeric_gradient, (torch.sin, f(3).double(), f(3).double(), 1e-7)),
    "grad.rel_error": (grad.rel_error, (f(3, 4), f(3, 4), 1e-10)),
    "reset_seed": (utils.reset_seed, (3,)),
    "eval_mode": (lambda module: contextlib.ExitStack().enter_context(utils.eval_mode(module)), (SMALL,)),
    "cosine_schedule": (utils.cosine_schedule, (1e-3, 2, 10)),
    "tensor_to_image": (utils.tensor_to_image, (f(3, 4, 4),)),
    "nearest_cell": (utils.nearest_cell, (8, 2)),
    "attention_visualizer": (utils.attention_visualizer, (f(3, 40, 40), f(2, 2).sigmoid(), "cat")),
    "get_device": (places.get_device, ("cpu",)),
    # dl.video
    "DavisDataset.__init__": (dataset.DavisDataset, (HERE / "davis",)),
    "DavisDataset.get_sample": (of_videos("get_sample"), (0,)),
    "DavisDataset.stream_sample": (drained(of_videos("stream_sample")), ("playground",)),
    "DavisDataset.process_frames": (of_videos("process_frames"), (COLOUR, Dino(), "cpu", 16)),
    "DavisDataset.stream_tokens": (drained(of_videos("stream_tokens")), (COLOUR, Dino(), "cpu", 16)),
    "DavisDataset.process_masks": (of_videos("process_masks"), (i(3, 2, 8, 8, 1).numpy(), "cpu", 16, 8)),
    "DavisDataset.mask_frame_overlay": (of_videos("mask_frame_overlay"), (i(3, 4), COLOUR[0])),
    "DavisDataset.outline_frame": (of_videos("outline_frame"), (i(3, 4), COLOUR[0])),
    "create_segmentation_overlay": (overlay.create_segmentation_overlay, (i(3, 16, 16).numpy(), COLOUR[0], 0.5)),
    "outline_objects": (overlay.outline_objects, (i(3, 16, 16).numpy(), COLOUR[0], 2)),
    "class_colours": (overlay.class_colours, (3,)),
    "open_video": (lambda path: next(reader.open_video(path).frames), (HERE / "video.mp4",)),
    "frame_tensor": (tokens.frame_tensor, (COLOUR, 16)),
    "stream_tokens": (drained(tokens.stream_tokens), (COLOUR, Dino(), "cpu", 16)),
    "write_video_from_array": (writer.write_video_from_array, (COLOUR, HERE / "made.mp4", 12)),
}
DOORS = (  # where values are checked as well: readers and helpers. A lesson's function looks at shapes and dtypes only
    "train_captioner",
    "caption_loss",
    "inference",
    "decode_captions",
    "compute_iou",
    "DINOSegmentation.train",
    "DavisDataset.process_masks",
    "create_segmentation_overlay",
    "outline_objects",
)
MODULES = (  # those that a notebook imports for what they do; not those that draw, measure, train weights or make the sample
    *(captioning, transformers, a2_helper, batch_augment, simclr, data_utils, distributed, model, pretrain, training),
    *(clip_dino, coco_utils, image_utils, grad, utils, places, dataset, overlay, reader, tokens, writer),
)
LEFT_OUT = {  # reason: names
    "takes no argument, or flags alone": """hello_rnn_lstm_captioning hello_transformers pretrained_regnet
        ImageEncoder.__init__ compute_test_transform published_checksums is_distributed has_decord project_root work_root
        other_copy data_mode data_home weights_home sample_home offline quick unattended mirror""",
    "another name of prepocess_input_sequence": "preprocess_input_sequence",
    "a step of a function above, which checks": """project_inputs lstm_gates CaptioningRNN.scores crop_boxes crop_and_resize
        fingerprint jitter_colours adjust_brightness adjust_contrast adjust_saturation adjust_hue luminance
        sample_checksums own_checksums
        SampleFiles.__init__ LeanSequential.__init__ LeanSequential.forward SyncBatchNorm.forward resize_nearest
        Video.__init__ float_kwargs double_kwargs shortened""",
    "draws: any numbers will do": "plot_loss_history draw",
    "is given functions, and calls them": "no_grad one_thread full_float32 dropout_as keep_to_own_objects",
    "is given what the project has recorded": "replayed_dropout",
    "settings, each with a default; augmentation": "BatchAugmentation.__init__",
    "the command pretrain, below": """Recipe.__init__ pretrain start_process_group MixedPrecision.__init__
        MixedPrecision.forward main""",
    "commands, below, with paths that they have checked": "shown practice_copy solutions_shown note_practice use_lessons",
}


def other_tensors(like, door: bool) -> st.SearchStrategy:
    """Tensors of other shapes and dtypes, of nothing, NaN and huge numbers; at a door, indices outside their range, too."""
    shapes = st.lists(st.integers(0, 5), max_size=4)
    made = st.builds(lambda shape, dtype: f(*shape).mul(3).to(dtype), shapes, st.sampled_from(DTYPES))
    if not isinstance(like, torch.Tensor):
        return made
    if not like.is_floating_point() and not door:
        most = int(like.max()) + 1
        made = made.map(lambda one: one if one.is_floating_point() else (one.long().abs() % most).to(one.dtype))
    same = [like.to(dtype) for dtype in DTYPES]
    values = [torch.full_like(like.double(), value) for value in (float("nan"), float("inf"), 1e300)]
    if like.is_floating_point() or door:
        values += [like.roll(1).neg(), torch.full_like(like, 127)]
    views = [like[:0], like[..., :0], like[None], like.flatten(), like.t() if like.ndim == 2 else like[..., 0]]
    return st.one_of(made, st.sampled_from([*same, *values, *views]))


def anything(like, door: bool = False) -> st.SearchStrategy:
    plain = [
        None,
        True,
        -1,
        0,
        10**30,
        1.5,
        float("nan"),
        "",
        "x",
        b"x",
        [],
        [1, "a"],
        {},
        object(),
        np.zeros(3),
        np.array("a"),
    ]
    if isinstance(like, np.ndarray):
        arrays = other_tensors(torch.from_numpy(like), door).map(torch.Tensor.numpy)
        return st.one_of(st.sampled_from(plain), arrays)
    if isinstance(like, list):
        plain += [like[:0], [None, *like], [f(2, 3)]]
    return st.one_of(st.sampled_from(plain), other_tensors(like, door))


def copied(value):
    if isinstance(value, (list, tuple)):
        return type(value)(map(copied, value))
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    return value.clone() if isinstance(value, torch.Tensor) else value.copy() if isinstance(value, np.ndarray) else value


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(7), b.nan_to_num(7))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a is b


def explained(error: Exception) -> str:
    """ "" if an error is one of ours, else what is wrong with it."""
    place = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    if not place.is_relative_to(ROOT) or place.is_relative_to(ROOT / "tests"):
        return f"raised in {place}"
    return "" if THREE_PARTS.search(str(error.args[0])) else "not in three parts"


@pytest.mark.parametrize("name", CALLS)
@often
@given(data=st.data())
def test_a_result_or_an_explanation(name, data):
    function, right = CALLS[name]
    changed = data.draw(st.sets(st.integers(0, len(right) - 1), min_size=1, max_size=2), "changed")
    door = name in DOORS
    arguments = [data.draw(anything(value, door)) if n in changed else value for n, value in enumerate(right)]
    before = [copied(value) for value in arguments]
    try:
        function(*arguments)
    except (ValueError, TypeError, LookupError, OSError) as error:
        assert not explained(error), f"{explained(error)}: {type(error).__name__}: {error}"
    assert all(same(a, b) for a, b in zip(arguments, before, strict=True)), "an input was changed"


@pytest.mark.parametrize("name", CALLS)
def test_a_right_call_gives_a_result(name):
    function, right = CALLS[name]
    if name == "image_from_url":
        with pytest.raises(FileNotFoundError):
            function(*right)
    else:
        function(*right)


SETTINGS = {"DL_MIRROR": places.mirror, "DL_DATA": places.data_mode, "DL_DEVICE": places.get_device}


@pytest.mark.parametrize("variable", SETTINGS)
@often
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.sampled_from(["ftp://x", "0"]))
def test_a_setting_is_taken_or_explained(variable, text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, text)
        try:
            SETTINGS[variable]()
        except ValueError as error:
            assert not explained(error), f"{explained(error)}: {error}"


# --- All of them ---


def public_names() -> set[str]:
    """Functions and methods of MODULES, with the module's name before one that several have."""
    found: dict[str, dict] = {}  # name -> function -> module
    for module in MODULES:
        for name, value in vars(module).items():
            own = getattr(value, "__module__", "") == module.__name__ or name in getattr(module, "__all__", ())
            if name.startswith("_") or not own:
                continue
            if inspect.isclass(value):
                for part, function in vars(value).items():
                    if inspect.isfunction(function) and (part[0] != "_" or part in ("__init__", "__call__", "__getitem__")):
                        found.setdefault(f"{name}.{part}", {})[function] = module
            elif inspect.isfunction(value):
                found.setdefault(name, {})[value] = module
    return {
        name if len(functions) == 1 else f"{module.__name__.removeprefix('dl.')}.{name}"
        for name, functions in found.items()
        for module in functions.values()
    }


def test_every_public_function_and_every_exercise_is_called_or_left_out_with_a_reason():
    names, excused = public_names(), {name for listed in LEFT_OUT.values() for name in listed.split()}
    assert names == CALLS.keys() | excused and not CALLS.keys() & excused
    exercises = {exercise.name for exercise in course.find(())} - {"train"} | {"simclr.utils.train"}  # a2_helper has one, too
    assert exercises <= CALLS.keys()


# --- Commands ---

VERBS = [
    *("doctor", "run", "build", "check", "status", "solution", "grade", "similar", "submit", "train-weights", "pretrain"),
    *("practise taken", "student taken"),  # what is there stays as it is
    *("data", "data list", "data fetch", "data adopt", "data verify"),
]


NONSENSE = st.text(max_size=8).map("no-such-{}".format) | st.sampled_from(["--jobs", "--bad", "--root", "-1"])


@often
@given(verb=st.sampled_from(VERBS), words=st.lists(NONSENSE, min_size=1, max_size=3))
def test_commands_refuse_nonsense_in_words(verb, words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    (folder / "taken").write_text("mine", encoding="utf-8")
    words = words[1:] if "taken" in verb else words
    program, said = pretrain.main if verb == "pretrain" else main, io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                status = program([*verb.split(), *words][program is pretrain.main :])
            except SystemExit as end:
                status = end.code
    assert status == 2 and said.getvalue().strip(), (verb, words)
    assert (folder / "taken").read_text(encoding="utf-8") == "mine" and len([*folder.iterdir()]) == 1


def test_every_command_is_asked():
    def verbs_of(one) -> set[str]:
        return {verb for action in one._actions if isinstance(action.choices, dict) for verb in action.choices}

    top = next(action for action in parser()._actions if isinstance(action.choices, dict))
    known = verbs_of(parser()) | {f"data {verb}" for verb in verbs_of(top.choices["data"])}
    assert known == {verb.removesuffix(" taken") for verb in VERBS} - {"pretrain"}
