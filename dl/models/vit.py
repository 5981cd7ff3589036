"""A vision transformer (ViT) whose attention and patch tokens can be looked at, with the names of DINO's published weights.

Dosovitskiy et al. 2021 (arXiv:2010.11929), Eqs. 1-4: an image is cut into patches, each becomes a token, a [CLS]
token is put in front, and transformer blocks follow. Caron et al. 2021 (arXiv:2104.14294), DINO, train such networks
without labels; their ViT-S/8 and ViT-S/16 load into this class as they are.

Axis key: N batch, C channels, H and W image height and width in pixels, h and w rows and columns of the patch grid,
P = h*w patches (row-major: index = row*w + column), T = 1 + P tokens, D width, heads of size D/heads.
Notebook: notebooks/CLIP_DINO.ipynb.
"""

from __future__ import annotations

import json
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl import settings, weights

LAYER_NORM_EPS = 1e-6  # of the published DINO weights; PyTorch's default is 1e-5
MLP_RATIO = 4  # hidden features of a block's MLP over its width (ViT, Table 1)
INIT_STD = 0.02  # of fresh weights, a truncated normal (DINO)
SINE_SCALE = 0.3  # of fixed positions, beside tokens of size about 1
LONGEST = 100.0  # wavelength of fixed positions over 2 pi, in patches
GRID_MARGIN = 0.1  # added to the wanted rows and columns when positions are resized (see `VisionTransformer.positions`)

DINO_CONFIGURATIONS: dict[int, dict[str, Any]] = {  # patch size -> ViT-S of the DINO paper (Table 1), 21.7 M parameters
    patch: {"patch_size": patch, "width": 384, "depth": 12, "num_heads": 6} for patch in (8, 16)
}


class PatchEmbedding(nn.Module):
    """Non-overlapping patches, each mapped linearly to a token (ViT, Eq. 1): one convolution whose stride is its size."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)  # (N, 3, H, W) -> (N, D, h, w) -> (N, P, D)


class ConvolutionalStem(nn.Module):
    """The same tokens from a few 3x3 convolutions of stride 2, log2(patch size) of them (Xiao et al. 2021, arXiv:2106.14881).

    A small network on few images learns edges and corners this way in minutes, which one large linear layer does not.
    """

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        halvings = int(math.log2(patch_size))
        layers, channels = [], 3
        for left in reversed(range(halvings)):
            out = max(width >> left, 8)  # ... , width/4, width/2, width
            layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.GroupNorm(4, out), nn.GELU()]
            channels = out
        self.proj = nn.Sequential(*layers, nn.Conv2d(channels, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)  # (N, P, D)


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, Eq. 1 and section 3.2.2); returns its weights too."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, D) -> out (N, T, D) and weights (N, heads, T, T), each row of which sums to 1."""
        N, T, D = x.shape
        qkv = self.qkv(x).reshape(N, T, 3, self.num_heads, D // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (N, heads, T, D/heads)
        scores = (query * (D // self.num_heads) ** -0.5) @ key.transpose(-2, -1)  # (N, heads, T, T)
        attention = scores.softmax(dim=-1)
        mixed = (attention @ value).transpose(1, 2).reshape(N, T, D)
        return self.proj(mixed), attention


class MLP(nn.Module):
    """Two linear layers with a GELU between them, for each token on its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)) (ViT, Eqs. 2-3)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, D) -> tokens (N, T, D) and attention weights (N, heads, T, T)."""
        mixed, attention = self.attn(self.norm1(x))
        x = x + mixed
        return x + self.mlp(self.norm2(x)), attention


class VisionTransformer(nn.Module):
    """A ViT without a classifier. Images of any size that is a multiple of the patch size.

    Args:
        patch_size: side of a patch in pixels; a power of two if stem is "conv".
        width: D, a multiple of num_heads. depth: number of blocks. num_heads: attention heads of each block.
        image_size: side in pixels of the square images whose patch grid has one learnt position per patch.
        stem: "patch" (ViT, and the published weights) or "conv" (our small weights).
        fixed_positions: positions are sines that take no gradient (our small weights) instead of being learnt.
    Raises:
        ValueError: for sizes that do not fit together.
    """

    def __init__(
        self,
        patch_size: int,
        width: int,
        depth: int,
        num_heads: int,
        image_size: int = 224,
        stem: str = "patch",
        fixed_positions: bool = False,
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "patch_size": patch_size,
            "width": width,
            "depth": depth,
            "num_heads": num_heads,
            "image_size": image_size,
            "stem": stem,
            "fixed_positions": fixed_positions,
        }
        _check_configuration(**self.configuration)
        self.patch_size, self.width = patch_size, width
        self.patch_embed = (PatchEmbedding if stem == "patch" else ConvolutionalStem)(patch_size, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image_size // patch_size) ** 2, width))
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self._fresh_weights()

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """The final [CLS] token of each image: (N, 3, H, W) float, normalised -> (N, D). See `tokens`."""
        return self.tokens(x, positions)[:, 0]

    def tokens(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """All final tokens after the last layer norm.

        Args:
            x: (N, 3, H, W) float images, normalised with ImageNet's mean and deviation.
            positions: (1 or N, P, D), used in place of the model's own for the patches; None takes `self.positions`.
        Returns:
            (N, 1 + P, D), the [CLS] token first.
        """
        x = self._embed(x, positions)
        for block in self.blocks:
            x, _ = block(x)
        return self.norm(x)

    def get_last_selfattention(self, x: Tensor) -> Tensor:
        """Attention weights of the last block: (N, 3, H, W) -> (N, heads, 1 + P, 1 + P); row 0 is that of [CLS]."""
        x = self._embed(x)
        for block in self.blocks:
            x, attention = block(x)
        return attention

    def get_intermediate_layers(self, x: Tensor, n: int = 1) -> list[Tensor]:
        """Outputs of the last n blocks, each after the FINAL layer norm: (N, 3, H, W) -> n tensors (N, 1 + P, D).

        Raises:
            ValueError: if n is not between 1 and the number of blocks.
        """
        if not 1 <= n <= len(self.blocks):
            raise ValueError(
                f"get_intermediate_layers: got n={n}, but the model has {len(self.blocks)} blocks. "
                f"Ask for 1 to {len(self.blocks)} layers."
            )
        x, outputs = self._embed(x), []
        for block in self.blocks:
            x, _ = block(x)
            outputs.append(x)
        return [self.norm(output) for output in outputs[-n:]]

    def positions(self, rows: int, columns: int) -> Tensor:
        """Position embeddings of a patch grid: (1, rows*columns, D).

        The learnt square grid is enlarged bicubically by the factors (rows + 0.1) / side and (columns + 0.1) / side,
        the rule of the published code. (The margin kept rounding from losing a row; it also shifts the values a little:
        `size=(rows, columns)` gives others.) The model's own grid is returned as it is.
        """
        learnt = self.pos_embed[:, 1:]  # (1, side*side, D)
        side = math.isqrt(learnt.shape[1])
        if (rows, columns) == (side, side):
            return learnt
        grid = learnt.reshape(1, side, side, self.width).permute(0, 3, 1, 2)  # (1, D, side, side)
        if grid.device.type == "mps":
            grid = grid.cpu()  # older builds of MPS have no bicubic resizing
        factors = ((rows + GRID_MARGIN) / side, (columns + GRID_MARGIN) / side)
        grid = F.interpolate(grid, scale_factor=factors, mode="bicubic")  # (1, D, rows, columns)
        assert grid.shape[-2:] == (rows, columns)
        return grid.flatten(2).transpose(1, 2).to(learnt.device)

    def _embed(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """(N, 3, H, W) -> (N, 1 + P, D): patch tokens behind [CLS], positions added (ViT, Eq. 1)."""
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % self.patch_size or x.shape[3] % self.patch_size:
            raise ValueError(
                f"VisionTransformer: got a batch of shape {tuple(x.shape)}; it takes (N, 3, H, W) with H and W "
                f"multiples of the patch size {self.patch_size}. Resize the images, or unsqueeze a single one."
            )
        patches = self.patch_embed(x)  # (N, P, D)
        if positions is None:
            positions = self.positions(x.shape[2] // self.patch_size, x.shape[3] // self.patch_size)
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)  # (N, 1, D)
        return torch.cat([cls, patches + positions], dim=1)

    def _fresh_weights(self) -> None:
        for tensor in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(tensor, std=INIT_STD)
        if self.configuration["fixed_positions"]:
            self.pos_embed.requires_grad_(False)[0] = sine_positions(math.isqrt(self.pos_embed.shape[1]), self.width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD)
                nn.init.zeros_(module.bias)


def sine_positions(side: int, width: int) -> Tensor:
    """Fixed positions for [CLS], zeros, and for a square patch grid: (1 + side*side, width) float, small.

    A quarter of the features each hold sin and cos of the row, and sin and cos of the column, at wavelengths from 2 pi
    to 200 pi patches (Vaswani et al. 2017, section 3.5, once for each axis; there the longest is 20,000 pi).
    """
    frequencies = LONGEST ** -torch.linspace(0, 1, width // 4)  # (width/4,)
    angles = torch.arange(side)[:, None] * frequencies  # (side, width/4)
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width/2)
    rows, columns = (axis.unsqueeze(dim).expand(side, side, -1) for dim in (1, 0))
    grid = torch.cat([rows, columns], dim=2).flatten(0, 1)  # (side*side, width)
    return SINE_SCALE * torch.cat([torch.zeros(1, width), grid])


def load_dino(device: torch.device | str, patch_size: int = 8) -> VisionTransformer:
    """DINO's network with its trained weights: in eval mode, no parameter requires a gradient.

    With DL_DATA=real the published ViT-S/8 or ViT-S/16, read as plain tensors (no code of the file runs); otherwise
    the project's small one, trained on the sample world, which has patches of 8.

    Raises:
        ValueError: if there are no weights with such patches, or the published ones are damaged.
        FileNotFoundError: if the published weights have not been fetched.
    """
    real = settings.data_mode() == settings.REAL
    if patch_size not in ((8, 16) if real else (8,)):
        raise ValueError(
            f"load_dino: got patch_size={patch_size!r}; there are weights for patches of 8 or, with DL_DATA=real only, "
            "16 pixels. Pass one of these."
        )
    if real:
        from dl.data import read_weights

        model = VisionTransformer(**DINO_CONFIGURATIONS[patch_size])
        state_dict = read_weights(f"dino_vits{patch_size}")
    else:
        model = VisionTransformer(**small_configuration())
        state_dict = weights.load("dino")
    model.load_state_dict(state_dict)
    return _frozen(model).to(device)


def small_configuration() -> dict:
    """Arguments of `VisionTransformer` for the project's small DINO weights, as written in their file."""
    return json.loads(weights.metadata("dino")["configuration"])


def untrained_like(model: VisionTransformer, seed: int) -> VisionTransformer:
    """A model of the same configuration with fresh random weights: what training is to be compared with.

    The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = VisionTransformer(**model.configuration)
    return _frozen(fresh).to(model.pos_embed.device)


def _frozen(model: VisionTransformer) -> VisionTransformer:
    return model.eval().requires_grad_(False)


def _check_configuration(
    patch_size: int, width: int, depth: int, num_heads: int, image_size: int, stem: str, fixed_positions: bool
) -> None:
    problems = []
    if depth < 1:
        problems.append(f"depth {depth} is not positive")
    if fixed_positions and width % 4:
        problems.append(f"width {width} is not a multiple of 4, which fixed positions need")
    if width % num_heads:
        problems.append(f"width {width} is not a multiple of num_heads {num_heads}")
    if image_size % patch_size:
        problems.append(f"image_size {image_size} is not a multiple of patch_size {patch_size}")
    if stem not in ("patch", "conv"):
        problems.append(f"stem {stem!r} is neither 'patch' nor 'conv'")
    elif stem == "conv" and (patch_size < 2 or patch_size & (patch_size - 1)):
        problems.append(f"patch_size {patch_size} is no power of two, which the 'conv' stem needs")
    if problems:
        raise ValueError(f"VisionTransformer: {'; '.join(problems)}. Choose sizes that divide each other.")
