"""Many objects' mask logits to one map of objects, at the frame's own size, without holding them all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewframes.labelling.propagation.sam2.tracks import Merged, Piece, Run, Task, Tracked


class Merger:
    """Whose each pixel of one frame is, from objects added in the order of their train ids.

    A pixel is the object's with the highest logit there if that is above 0, else nobody's. Its confidence is
    255 * tanh(margin / 2), where the margin is the winning logit less the best one of another class, or less 0 if
    none is positive (the claim of nothing): 0 where two classes are level or nothing is claimed, 127 at a margin of
    1.1, 255 from about 7.
    """

    def __init__(self, size: tuple[int, int], device: torch.device) -> None:
        self._winner = torch.full(size, -1, dtype=torch.int16, device=device)
        self._best = torch.zeros(size, device=device)
        self._second = torch.zeros(size, device=device)
        self._train_id = -1
        self._of_class: Tensor | None = None
        self._whose = self._winner.new_tensor(-1)

    def add(self, logits: Tensor, first: int, train_ids: Sequence[int]) -> None:
        """Take in objects, `first` the number of the first one.

        `logits` are `float32 [N, h, w]`, upsampled one by one (bilinear, as the predictor does).
        """
        claims = (logits.flatten(1).amax(dim=1) > 0).tolist()
        for number, (low, train_id, claiming) in enumerate(zip(logits, train_ids, claims, strict=True), first):
            if not claiming:  # nowhere above 0 once interpolated either
                continue
            mask = F.interpolate(low[None, None], self._best.shape, mode="bilinear", align_corners=False)[0, 0]
            if train_id != self._train_id or self._of_class is None:
                self._fold()
                self._train_id, self._of_class, self._whose = train_id, mask, self._winner.new_tensor(number)
            else:
                ahead = mask > self._of_class
                self._whose = torch.where(ahead, self._winner.new_tensor(number), self._whose)
                torch.maximum(self._of_class, mask, out=self._of_class)

    def finish(self) -> Merged:
        """The frame's objects and their confidence; nothing can be added after."""
        self._fold()
        confidence = self._best.sub_(self._second).mul_(0.5).tanh_().mul_(255.0).round_().to(torch.uint8)
        return Merged(self._winner.cpu().numpy(), confidence.cpu().numpy())

    def _fold(self) -> None:
        """Let the class that is now complete compete with those before it."""
        logits, self._of_class = self._of_class, None
        if logits is not None:
            self._winner = torch.where(logits > self._best, self._whose, self._winner)
            torch.maximum(self._second, torch.minimum(self._best, logits), out=self._second)
            torch.maximum(self._best, logits, out=self._best)


class FrameResult:
    """One frame's result, while its objects come in, in order."""

    def __init__(self, task: Task, run: Run, device: torch.device, keep_logits: bool) -> None:
        self._train_ids, self._run, self._keep_logits = task.objects.train_ids, run, keep_logits
        self._merger = Merger(task.objects.size, device) if task.wants(run.offset) else None
        self._presence: list[Tensor] = []
        self._area: list[Tensor] = []
        self._logits: list[Tensor] = []

    def add(self, piece: Piece, out: Mapping[str, Any]) -> None:
        """Take in a piece, given what `track_step` put out for the batch that holds it."""
        logits = out["pred_masks"][piece.rows, 0]
        if self._merger:
            self._merger.add(logits.float(), piece.first, self._train_ids[piece.first : piece.last])
        self._presence.append(out["object_score_logits"][piece.rows, 0].float().sigmoid())
        self._area.append((logits > 0).float().mean(dim=(1, 2)))
        if self._keep_logits:
            self._logits.append(logits.clone())

    def finish(self) -> Tracked:
        """The result, once the last piece is in."""
        presence, area = (torch.cat(parts).cpu().numpy().astype(np.float32) for parts in (self._presence, self._area))
        merged = self._merger.finish() if self._merger else None
        logits = torch.cat(self._logits) if self._keep_logits else None
        return Tracked(self._run.task, self._run.offset, presence, area, merged, logits)
