"""The small weights that the project ships, and how they are read and written.

`files/<name>.safetensors` holds the tensors, half precision where that loses nothing that matters;
`files/<name>.md` is the card: data, settings, seed, scores, limits. Each is written by the script of the
same name in `dl/training/`, run by `python -m dl train-weights <name>`.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from dl.console import write_whole

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

    path = FILES / f"{name}.safetensors"
    tensors = {
        key: (value.half() if half and value.is_floating_point() else value).detach().cpu().contiguous()
        for key, value in state_dict.items()
    }
    write_whole(path, lambda file: save_file(tensors, file, metadata=metadata))
    return path


def write_card(name: str, text: str) -> Path:
    """Write the card `files/<name>.md`; returns its path."""
    path = FILES / f"{name}.md"
    write_whole(path, lambda file: file.write_text(text.strip() + "\n", encoding="utf-8"))
    return path


def _existing(name: str) -> Path:
    path = FILES / f"{name}.safetensors"
    if not path.is_file():
        present = ", ".join(sorted(p.stem for p in FILES.glob("*.safetensors"))) or "none"
        raise FileNotFoundError(
            f"weights: the project ships no {name!r} ({path.name}); present: {present}. "
            f'Train it with "python -m dl train-weights {name}".'
        )
    return path
