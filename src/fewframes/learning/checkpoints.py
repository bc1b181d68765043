"""The state of an unfinished training, kept whole on disk and taken up only by the same training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fewframes.core.files import written_whole
from fewframes.core.progress import say

_NAME = "last.pt"
BAD_BATCH = "bad-batch-"
"""How files of batches begin whose loss was no number."""


class CheckpointFile:
    """The one checkpoint in a training's own folder; a newer one replaces it whole.

    `fingerprint` is that of all the result depends on: the state of another training is not taken up.
    """

    def __init__(self, folder: str | Path, fingerprint: str) -> None:
        self.path = Path(folder) / _NAME
        self._fingerprint = fingerprint

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state (tensors, numbers, texts and containers of them) in place of the one before."""
        save_state(self.path, {"fingerprint": self._fingerprint, **state})

    def load(self) -> dict[str, Any] | None:
        """The saved state, on the CPU; nothing where there is none, or one that is damaged or another's."""
        if not self.path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            fingerprint = state["fingerprint"]
        except Exception as error:  # a file cut short fails in too many ways to list
            say(f"{self.path} is damaged ({type(error).__name__}): training starts anew.")
            return None
        if fingerprint != self._fingerprint:
            say(f"{self.path} belongs to other samples or settings: training starts anew.")
            return None
        return state

    def remove(self) -> None:
        """Delete the checkpoint, what killed processes left half-written beside it, and kept batches."""
        folder = self.path.parent
        for file in (self.path, *folder.glob(f".{_NAME}.*"), *folder.glob(f"{BAD_BATCH}*")):
            file.unlink(missing_ok=True)


def save_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write what `torch.load` reads, whole; raises `UserError` where the disk is full."""
    # A file of Python's: of what it writes itself torch does not say why it failed.
    with written_whole(path) as aside, aside.open("wb") as file:
        torch.save(dict(state), file)
