"""CLIP, ready to use: the published ViT-B/32, or a small model of the same classes trained on the sample world.

Radford et al. 2021 (arXiv:2103.00020). Both encode what `clip.tokenize` returns and what their `preprocess` makes of a
PIL image. The package `clip` takes seconds to import, so it is imported where it is used.

Axis key: N texts or images, T tokens of a text (77 from `clip.tokenize`), V words of the small vocabulary, D width.
Notebook: notebooks/CLIP_DINO.ipynb.
"""

from __future__ import annotations

import json
import warnings
from typing import Protocol

import torch
from torch import Tensor, nn

from dl import settings, weights
from dl.guards.clip_dino import quiet_clip_import

PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's own preprocessing
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageTextModel(Protocol):
    """What the lesson needs of a CLIP: `clip.model.CLIP` and `SmallCLIP` both have it."""

    def encode_text(self, text: Tensor, /) -> Tensor:
        """(N, 77) tokens -> (N, D)."""

    def encode_image(self, image: Tensor, /) -> Tensor:
        """(M, 3, h, w) -> (M, D)."""


class SmallCLIP(nn.Module):
    """A CLIP whose vocabulary is cut to a few words, behind the interface of the full one.

    Token ids of `clip.tokenize` are replaced by their rank in `token_ids`, which keeps their order: the end token, the
    highest id of CLIP, stays the highest, as CLIP finds the end of a text by argmax.

    Args:
        configuration: arguments of `clip.model.CLIP` but for `vocab_size`.
        token_ids: ids of the words the model knows, ascending, int64 (V,); with 0 (padding), start and end of text.
    """

    token_ids: Tensor

    def __init__(self, configuration: dict, token_ids: list[int]) -> None:
        super().__init__()
        with quiet_clip_import():
            from clip.model import CLIP
        self.configuration = configuration
        self.clip = CLIP(**configuration, vocab_size=len(token_ids))
        self.register_buffer("token_ids", torch.tensor(token_ids, dtype=torch.int64))

    @property
    def image_resolution(self) -> int:
        """Side of the images that `encode_image` takes, in pixels."""
        return self.configuration["image_resolution"]

    def encode_image(self, images: Tensor) -> Tensor:
        """Images from `preprocess`, float (N, 3, R, R) -> features (N, E), not normalised."""
        return self.clip.encode_image(images)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Texts from `clip.tokenize`, integer (N, 77) -> features (N, E), not normalised.

        Computed up to the last end token of the batch only: the attention is causal, so what comes after cannot
        change the end token's feature.

        Raises:
            ValueError: if a text holds a word that the small vocabulary lacks.
        """
        ids = self._small_ids(tokens)  # (N, 77)
        ends = ids.argmax(dim=-1)  # (N,), place of the end token
        T = int(ends.max()) + 1
        x = self.clip.token_embedding(ids[:, :T]) + self.clip.positional_embedding[:T]  # (N, T, D)
        x = x.transpose(0, 1)  # (T, N, D), the order of clip's blocks
        forbidden = torch.full((T, T), -torch.inf, dtype=x.dtype, device=x.device).triu(1)
        for block in self.clip.transformer.resblocks:
            y = block.ln_1(x)
            x = x + block.attn(y, y, y, need_weights=False, attn_mask=forbidden.to(y.dtype))[0]
            x = x + block.mlp(block.ln_2(x))
        x = self.clip.ln_final(x[ends, torch.arange(len(ends), device=x.device)])  # (N, D), the end tokens
        return x @ self.clip.text_projection

    def _small_ids(self, tokens: Tensor) -> Tensor:
        tokens = tokens.to(self.token_ids.device, torch.int64)
        ranks = torch.searchsorted(self.token_ids, tokens).clamp(max=len(self.token_ids) - 1)
        unknown = self.token_ids[ranks] != tokens
        if unknown.any():
            raise ValueError(
                f"encode_text: the small CLIP does not know {', '.join(map(repr, _words(tokens[unknown])))}; it was "
                "trained on the words of the sample world only. Use its classes, colours, textures, sizes, places and "
                "relations (dl/weights/files/clip.md lists the words), or DL_DATA=real for the published model."
            )
        return ranks


def load_clip(device: torch.device | str) -> tuple[nn.Module, object]:
    """CLIP in eval mode and its preprocessing, as `clip.load` returns them.

    With DL_DATA=real the published ViT-B/32 from the file that was fetched; otherwise the project's small model.
    `model.encode_text(clip.tokenize(texts))` and `model.encode_image(batch)` give features, not normalised;
    `preprocess` maps a PIL image to a float tensor (3, R, R). The published model computes in float16 on any
    device but the CPU.

    Raises:
        FileNotFoundError: if the published weights have not been fetched.
    """
    if settings.data_mode() == settings.REAL:
        return _load_published(str(device))
    facts = weights.metadata("clip")
    state_dict = weights.load("clip")
    model = SmallCLIP(json.loads(facts["configuration"]), state_dict["token_ids"].tolist())
    model.load_state_dict(state_dict)
    return model.eval().requires_grad_(False).to(device), preprocessing(model.image_resolution)


def preprocessing(side: int):
    """CLIP's preprocessing for another image size: short side to `side`, centre crop, RGB, tensor, normalised."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

    return Compose(
        [
            Resize(side, interpolation=InterpolationMode.BICUBIC),
            CenterCrop(side),
            _to_rgb,
            ToTensor(),
            Normalize(PIXEL_MEAN, PIXEL_STD),
        ]
    )


def published_network() -> nn.Module:
    """An untrained network of the shape of ViT-B/32 (Radford et al. 2021, tables 19 and 20)."""
    with quiet_clip_import():
        from clip.model import CLIP
    return CLIP(512, 224, 12, 768, 32, 77, 49408, 512, 8, 12)


def _load_published(device: str) -> tuple[nn.Module, object]:
    """ViT-B/32 from the fetched file: the TorchScript archive of OpenAI if its hash is right, else a plain state dict.

    Only a file with the published hash is opened as an archive, which may hold code; anything else as tensors alone.
    `clip.load` itself cannot read a plain state dict, and torch may drop the archives one day.
    """
    from dl.data import ENTRIES, content, read_weights, require

    path = require("clip")
    with quiet_clip_import():
        from clip.model import build_model
    if content.published(path, ENTRIES["clip"].digest) and content.is_torchscript(path):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.*")
            state_dict = torch.jit.load(path, map_location="cpu").state_dict()
    else:
        state_dict = read_weights("clip")
    model = build_model(state_dict).to(device)  # eval mode; float16 where CLIP keeps it
    if device == "cpu":
        model.float()
    return model.requires_grad_(False), preprocessing(model.visual.input_resolution)


def _to_rgb(image):
    return image.convert("RGB")


def _words(token_ids: Tensor) -> list[str]:
    """The words, or pieces of words, that ids of `clip.tokenize` stand for; each once, in order."""
    with quiet_clip_import():
        from clip.simple_tokenizer import SimpleTokenizer
    decode = SimpleTokenizer().decode
    return list(dict.fromkeys(decode([token]).strip() for token in token_ids.tolist()))
