"""What is asked of a segmenter, and what it gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Prompts:
    """Prompts for N objects of one image, in its pixels (x to the right, y down).

    `points` is `float32 [N, P, 2]` (x, y), `inside` `bool [N, P]`: whether a point is in the object or not. `boxes` is
    `float32 [N, 4]` (left, top, right, bottom), or None. `masks` is `float32 [N, s, s]` logits, as `Decoded` has them,
    on whatever device, or None. `views`, `intp [N]`, says in which view of the image each object is seen: those of
    the `Decoded` that the masks are from, or of `Segmenter.views`; where None, the segmenter chooses.
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


class Segmenter(Protocol):
    """SAM on its device.

    An image may be seen in several views: 0 is the whole, further ones are crops, where the segmenter works with them.
    Logits are a map of one view, so that an object keeps its view from one decoding to the next.
    """

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> list[Any]:
        """An embedding of each image, RGB `uint8 [H, W, 3]`, for the functions below; encoded in batches."""
        ...

    def views(self, embedding: Any, boxes: NDArray[np.float32]) -> NDArray[np.intp]:
        """The view for each object, `intp [N]`, where boxes `[N, 4]` (left, top, right, bottom) say how far they reach.

        It holds the box whole; what no crop holds is seen in the whole image.
        """
        ...

    def lowered(
        self, embedding: Any, masks: Iterable[NDArray[np.bool_]], views: NDArray[np.intp] | None = None
    ) -> Tensor:
        """Masks of the image's size as maps like `Decoded.logits`: the share of each cell, `float32 [N, s, s]`.

        0 where a view has no image. `views` None is the whole image for all.
        """
        ...

    def decode(self, embedding: Any, prompts: Prompts, multimask: bool) -> Decoded:
        """Masks for all prompts of an image, decoded in batches; equal to `SamPredictor.predict` one by one.

        Raises `ValueError` for masks whose views are not given, where the image has more than one, and `UserError`
        where memory does not suffice or the model's output is not finite.
        """
        ...

    def upsampled(
        self, embedding: Any, logits: Tensor, views: NDArray[np.intp] | None = None
    ) -> Iterator[NDArray[np.bool_]]:
        """Each of the masks `[N, s, s]` at the image's size, `bool [H, W]`, where its logit is above 0.

        Raises `ValueError` where `views` is None and the image has more than one.
        """
        ...
