"""The small weights that the project ships, and how they are read and written.

`files/<name>.safetensors` holds the tensors, half precision where that loses nothing that matters;
`files/<name>.md` is the card: data, settings, seed, scores, limits. Each is written by the script of the
same name in `dl/training/`, run by `python -m dl train-weights <name>`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from dl.files import user_path

FILES = Path(__file__).parent / "files"


def load(name: str) -> dict[str, Tensor]:
    """State dict of a shipped model: floating tensors as float32, on the CPU.

    Raises:
        FileNotFoundError: if the project ships no weights of that name.
    """
    from safetensors.torch import load_file

    tensors = load_file(_existing(name))
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def metadata(name: str) -> dict[str, str]:
    """The few facts stored inside the weight file (configuration, seed, scores), all as strings."""
    from safetensors import safe_open

    with safe_open(_existing(name), framework="pt") as file:
        return file.metadata() or {}


def save(name: str, state_dict: dict[str, Tensor], metadata: dict[str, str], half: bool = True) -> Path:
    """Write `files/<name>.safetensors` in one step (a killed run leaves the old file); returns its path."""
    from safetensors.torch import save_file

    FILES.mkdir(exist_ok=True)
    path = FILES / f"{name}.safetensors"
    tensors = {
        key: (value.half() if half and value.is_floating_point() else value).detach().cpu().contiguous()
        for key, value in state_dict.items()
    }
    temporary = path.with_suffix(".part")
    save_file(tensors, temporary, metadata=metadata)
    os.replace(temporary, path)
    return path


def write_card(name: str, text: str) -> Path:
    """Write the card `files/<name>.md`; returns its path."""
    FILES.mkdir(exist_ok=True)
    path = FILES / f"{name}.md"
    path.write_text(text.strip() + "\n", encoding="utf-8")
    return path


def save_checkpoint(path: str | Path, state: dict) -> None:
    """Write a training checkpoint in one step, so that a training can be stopped at any time."""
    path = user_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: str | Path, keys: Collection[str] = ()) -> dict | None:
    """The checkpoint at `path`, or None if there is none yet.

    A file that lacks some of `keys` is the checkpoint of another kind of training: it is set aside under another name,
    which is printed.
    """
    path = user_path(path)
    if not path.exists():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(state, dict) and state.keys() >= set(keys):
        return state
    names = (path.with_name(f"{path.name}.other{number or ''}") for number in itertools.count())
    aside = next(name for name in names if not name.exists())
    os.replace(path, aside)
    print(f"{path.name} belongs to another training: it is now called {aside.name}, and this training begins anew.")
    return None


def _existing(name: str) -> Path:
    path = FILES / f"{name}.safetensors"
    if not path.is_file():
        present = ", ".join(sorted(p.stem for p in FILES.glob("*.safetensors"))) or "none"
        raise FileNotFoundError(
            f"weights: the project ships no {name!r} ({path.name}); present: {present}. "
            f'Train it with "python -m dl train-weights {name}".'
        )
    return path
