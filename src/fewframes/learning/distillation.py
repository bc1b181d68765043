"""Learning from a teacher: a trained network whose logits a training follows beside the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewframes.core.errors import UserError
from fewframes.core.labels import ClassTable
from fewframes.learning.modelfile import load_model

_STRIDE = 8
"""The teacher is followed at every eighth pixel of each row and column: TDNet's published code compares logits at the
networks' output stride (8), before they are enlarged."""


class Teacher:
    """A trained model that is asked, never changed.

    TDNet's published teacher, PSPNet-101, tells logits of groups of its channels too, one for each sub-network; ours
    is any network of this package, and has one opinion for all of the student's logits.
    """

    def __init__(
        self, path: str | Path, classes: ClassTable, pupil: nn.Module, frames: int, where: torch.device
    ) -> None:
        """Load a teacher of a pupil's samples, of so many `frames`; raises `UserError` where it needs others."""
        self._network = load_model(path, classes).to(where).requires_grad_(False)
        self._past = int(self._network.past_frames)  # type: ignore[arg-type]
        past = frames - 1 if pupil.memory_frame != "self" else 0
        if self._network.memory_frame != "self" and self._past > past:
            raise UserError(
                f"The teacher {path} reads {self._past} past frames, and its pupil sees {past}: choose another "
                "training.teacher."
            )

    def loss(self, clip: Tensor, logits: Sequence[Tensor], aux_weight: float) -> Tensor:
        """How far the logits `[B, C, H, W]`, the main ones first, are from the teacher's of the clip.

        The clip is `float32 [B, T + 1, 3, H, W]`. The Kullback-Leibler divergence of the teacher's shares of the
        classes from the student's, its mean over pixels, ignored ones too; logits after the first count by
        `aux_weight`.
        """
        if self._network.memory_frame == "self":
            clip = clip[:, -1:].expand(-1, self._past + 1, -1, -1, -1)
        with torch.no_grad():
            told = _shares(self._network(clip[:, -1 - self._past :])[0])
        total = clip.new_zeros(())
        for position, each in enumerate(logits):
            far = F.kl_div(_shares(each), told, reduction="none", log_target=True).sum(1).mean()
            total = total + far * (aux_weight if position else 1.0)
        return total


def _shares(logits: Tensor) -> Tensor:
    return F.log_softmax(logits[:, :, ::_STRIDE, ::_STRIDE].float(), 1)
