"""A training that can be stopped at any time: what it needs to go on, in one file that is always whole."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dl.console import write_whole
from dl.files import save_tensors, user_path


class Checkpoint:
    """The state of a training in a file.

    Args:
        path: the file; None keeps nothing, and there is never anything to resume.
        settings: what must be the same when a run goes on, as plain numbers and strings.
        parts: what changes in training: objects with state_dict and load_state_dict (models, optimizers, schedules),
            CPU generators, or None for a part that this run does not have.
    """

    def __init__(self, path: str | Path | None, settings: Mapping[str, Any], **parts: Any) -> None:
        self.path = None if path is None else user_path(path)
        self.settings = dict(settings)
        self.parts = {name: part for name, part in parts.items() if part is not None}

    def resume(self) -> dict[str, Any]:
        """Put every part back and return what `save` was given; an empty dict if there is no file yet.

        Raises:
            ValueError: if the file was written with other settings.
        """
        state = self.read()
        if state is not None:
            print(f"The training goes on from {self.path}. Delete that file to begin anew, as after a change of code.")
        return self.restore(state)

    def read(self) -> dict[str, Any] | None:
        """The file's content on the CPU; None if there is none.

        A file that is damaged, or no checkpoint of this class, is set aside under another name, which is printed.
        """
        if self.path is None or not self.path.exists():
            return None
        from dl.data.content import load_saved

        self.path.open("rb").close()  # one that may not be read is not set aside: the system's error names it
        state, problems = load_saved(self.path)
        if isinstance(state, dict) and state.keys() == {"settings", "parts", "random", "progress"}:
            return state
        names = (self.path.with_name(f"{self.path.name}.other{number or ''}") for number in itertools.count())
        aside = next(name for name in names if not name.exists())
        os.replace(self.path, aside)
        why = f"cannot be used ({problems[0]})" if problems else "belongs to another training"
        print(f"{self.path.name} {why}: it is now called {aside.name}, and this training begins anew.")
        return None

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
            self._put_back(name, part, state["parts"].get(name))
        torch.set_rng_state(state["random"])
        progress: dict[str, Any] = state["progress"]
        return progress

    def _put_back(self, name: str, part: Any, saved: Any) -> None:
        if isinstance(part, torch.Generator) and saved is not None:
            part.set_state(saved)
        elif saved is not None:
            try:
                part.load_state_dict(saved)
            except (RuntimeError, ValueError) as error:
                reason = str(error).strip().splitlines()[-1].strip()
                raise ValueError(
                    f"{self.path} holds the {name} of another architecture ({reason:.90}…). Delete the file to start anew, or "
                    "name another one."
                ) from error

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
        write_whole(self.path, lambda file: save_tensors(state, file))
