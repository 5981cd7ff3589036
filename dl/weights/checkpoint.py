"""A training that can be stopped at any time: what it needs to go on, in one file that is always whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dl.console import write_whole


class Checkpoint:
    """The state of a training in a file.

    Args:
        path: the file; None keeps nothing, and there is never anything to resume.
        settings: what must be the same when a run goes on, as plain numbers and strings.
        parts: what changes in training: objects with state_dict and load_state_dict (models, optimizers, schedules),
            CPU generators, or None for a part that this run does not have.
    """

    def __init__(self, path: str | Path | None, settings: Mapping[str, Any], **parts: Any) -> None:
        self.path = None if path is None else Path(path)
        self.settings = dict(settings)
        self.parts = {name: part for name, part in parts.items() if part is not None}

    def resume(self) -> dict[str, Any]:
        """Put every part back and return what `save` was given; an empty dict if there is no file yet.

        Raises:
            ValueError: if the file was written with other settings.
        """
        return self.restore(self.read())

    def read(self) -> dict[str, Any] | None:
        """The file's content on the CPU, None if there is none."""
        if self.path is None or not self.path.exists():
            return None
        state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        return state

    def restore(self, state: dict[str, Any] | None) -> dict[str, Any]:
        """As `resume`, with a content that `read` gave, perhaps in another process."""
        if state is None:
            return {}
        if state["settings"] != self.settings:
            names = sorted(state["settings"].keys() | self.settings.keys())
            old, new = ({name: where.get(name) for name in names} for where in (state["settings"], self.settings))
            differing = ", ".join(f"{name} {old[name]} (now {new[name]})" for name in names if old[name] != new[name])
            raise ValueError(
                f"{self.path} was written with other settings: {differing}. Use the same settings to go on, delete the "
                "file to start anew, or name another one."
            )
        for name, part in self.parts.items():
            saved = state["parts"].get(name)
            if saved is not None:
                part.set_state(saved) if isinstance(part, torch.Generator) else part.load_state_dict(saved)
        torch.set_rng_state(state["random"])
        progress: dict[str, Any] = state["progress"]
        return progress

    def save(self, **progress: Any) -> None:
        """Write everything, and `progress` (such as the number of epochs done), in one step."""
        if self.path is None:
            return
        state = {
            "settings": self.settings,
            "parts": {
                name: part.get_state() if isinstance(part, torch.Generator) else part.state_dict()
                for name, part in self.parts.items()
            },
            "random": torch.get_rng_state(),
            "progress": progress,
        }
        write_whole(self.path, lambda file: torch.save(state, file))
