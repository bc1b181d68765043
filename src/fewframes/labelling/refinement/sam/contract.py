"""What is asked of a segmenter, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Prompts:
    """Prompts for N objects of one image, in its pixels (x to the right, y down).

    `points` is `float32 [N, P, 2]` (x, y), `inside` `bool [N, P]`: whether a point is in the object or not. `boxes` is
    `float32 [N, 4]` (left, top, right, bottom), or None. `masks` is `float32 [N, s, s]` logits, as `Decoded` has them,
    on whatever device, or None. `views`, `intp [N]`, says in which view of the image each object is seen: those of
    the `Decoded` that the masks are from, or of `SamSegmenter.views`; where None, the segmenter chooses.
    """

    points: NDArray[np.float32]
    inside: NDArray[np.bool_]
    boxes: NDArray[np.float32] | None = None
    masks: Tensor | None = None
    views: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class Decoded:
    """Masks for N objects: `logits` `float32 [N, C, s, s]`, s a quarter of the model's side, C 1 or 3 (multimask).

    `iou` is SAM's own estimate of each mask's IoU, `float32 [N, C]`. `views`, `intp [N]`, says which view of the image
    the logits of each object are a map of, and goes wherever they go; None where an image has one view only.
    """

    logits: Tensor
    iou: Tensor
    views: NDArray[np.intp] | None = None

    def best(self) -> Decoded:
        """The mask of the highest estimated IoU of each object: C is 1."""
        chosen = self.iou.argmax(dim=1, keepdim=True)
        index = chosen[..., None, None].expand(-1, -1, *self.logits.shape[2:])
        return Decoded(self.logits.gather(1, index), self.iou.gather(1, chosen), self.views)
