"""Many objects' mask logits to one label, at the frame's own size, without holding them all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fewframes.core.labels import IGNORE
from fewframes.labelling.propagation.sam2.objects import Objects
from fewframes.labelling.propagation.sam2.tracks import Piece, Run, Tracked


class Merger:
    """The label of one frame, from objects added in the order of their train ids.

    A pixel's label is the class of the object with the highest logit there if that is above 0, else 255. Its
    confidence is 255 * tanh(margin / 2), where the margin is the winning logit less the best one of another
    class, or less 0 if none is positive (the claim of nothing): 0 where two classes are level or nothing is
    claimed, 127 at a margin of 1.1, 255 from about 7.
    """

    def __init__(self, size: tuple[int, int], device: torch.device) -> None:
        self._label = torch.full(size, IGNORE, dtype=torch.uint8, device=device)
        self._best = torch.zeros(size, device=device)
        self._second = torch.zeros(size, device=device)
        self._of_class: Tensor | None = None
        self._train_id = IGNORE

    def add(self, logits: Tensor, train_ids: Sequence[int]) -> None:
        """Take in objects: `float32 [N, h, w]`, upsampled one by one (bilinear, as the predictor does)."""
        claims = (logits.flatten(1).amax(dim=1) > 0).tolist()
        for low, train_id, claiming in zip(logits, train_ids, claims, strict=True):
            if not claiming:  # nowhere above 0 once interpolated either
                continue
            if train_id != self._train_id:
                self._fold()
                self._train_id = train_id
            mask = F.interpolate(low[None, None], self._label.shape, mode="bilinear", align_corners=False)[0, 0]
            self._of_class = mask if self._of_class is None else torch.maximum(self._of_class, mask, out=mask)

    def finish(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Label and confidence, both `uint8 [H, W]`; nothing can be added after."""
        self._fold()
        confidence = self._best.sub_(self._second).mul_(0.5).tanh_().mul_(255.0).round_().to(torch.uint8)
        return self._label.cpu().numpy(), confidence.cpu().numpy()

    def _fold(self) -> None:
        """Let the class that is now complete compete with those before it."""
        logits, self._of_class = self._of_class, None
        if logits is not None:
            self._label.masked_fill_(logits > self._best, self._train_id)
            torch.maximum(self._second, torch.minimum(self._best, logits), out=self._second)
            torch.maximum(self._best, logits, out=self._best)


class FrameResult:
    """One frame's result, while its objects come in, in order."""

    def __init__(self, objects: Objects, device: torch.device, keep_logits: bool) -> None:
        self._train_ids, self._keep_logits = objects.train_ids, keep_logits
        self._merger = Merger(objects.size, device)
        self._presence: list[Tensor] = []
        self._area: list[Tensor] = []
        self._logits: list[Tensor] = []

    def add(self, piece: Piece, out: Mapping[str, Any]) -> None:
        """Take in a piece, given what `track_step` put out for the batch that holds it."""
        logits = out["pred_masks"][piece.rows, 0]
        self._merger.add(logits, self._train_ids[piece.first : piece.last])
        self._presence.append(out["object_score_logits"][piece.rows, 0].float().sigmoid())
        self._area.append((logits > 0).float().mean(dim=(1, 2)))
        if self._keep_logits:
            self._logits.append(logits.clone())

    def finish(self, run: Run) -> Tracked:
        """The result, once the last piece of `run` is in."""
        label, confidence = self._merger.finish()
        presence, area = torch.cat(self._presence).cpu().numpy(), torch.cat(self._area).cpu().numpy()
        logits = torch.cat(self._logits) if self._keep_logits else None
        return Tracked(run.task, run.offset, label, confidence, presence, area, logits)
