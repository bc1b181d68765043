"""The rectangles in which an image is shown to SAM: the whole image, or crops that leave less to pad.

SAM sees a square into which the longer side of a rectangle is resized, and the rest is padding: half of it for an image
of 2:1. Two crops, one at either end, are padded little: each is as long as the image is high, or 17/32 of its length
where that is more, so that crops overlap by a sixteenth of the length at least, and what lies across the middle is
whole in one of them unless it is large. At 2048x1024 crops are of 1088x1024, seen at 1.88 times the linear resolution
for twice the encodings. Crops of a tall image lie one above the other, a square image has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

OVERLAP = 1 / 16
"""Of the longer side, at least: 128 px of 2048, more than most objects at a distance are wide."""


@dataclass(frozen=True)
class View:
    """A rectangle of an image, from its pixel (`top`, `left`) on, as a model of `side` pixels sees it."""

    top: int
    left: int
    height: int
    width: int
    side: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The rectangle as an index into an `[H, W]` array."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def resized(self) -> tuple[int, int]:
        """The size (height, width) that it has for the model, which pads it to a square."""
        scale = self.side / max(self.height, self.width)
        return max(1, int(self.height * scale + 0.5)), max(1, int(self.width * scale + 0.5))

    def pixels(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The rectangle of `image`, `uint8 [H, W, 3]`, resized as `SamPredictor` does it."""
        height, width = self.resized
        shown = Image.fromarray(np.ascontiguousarray(image[self.window]))
        return np.asarray(shown.resize((width, height), Image.Resampling.BILINEAR))

    def places(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points `[..., 2]` (x, y) of the image as places in what the model sees."""
        height, width = self.resized
        scale = np.array([width / self.width, height / self.height])
        return ((points - np.array([self.left, self.top], np.float64)) * scale).astype(np.float32)


def views_of(size: tuple[int, int], side: int, crops: bool) -> list[View]:
    """The views of an image of `size` (height, width): the whole, then its crops from the left or the top on."""
    height, width = size
    views = [View(0, 0, height, width, side)]
    if crops and height != width:
        length, across = max(size), min(size)
        crop = min(length, max(across, math.ceil(length * (1 + OVERLAP) / 2)))
        for start in (0, length - crop):
            views.append(View(0, start, height, crop, side) if width > height else View(start, 0, crop, width, side))
    return views


def chosen_views(views: Sequence[View], boxes: NDArray[np.float32]) -> NDArray[np.intp]:
    """The view for each of the boxes `[N, 4]` (left, top, right, bottom; inclusive pixels), `intp [N]`.

    Of the crops that hold a box whole, it is the one whose centre is nearest to that of the box, of equally near ones
    the first; where none does, it is the whole image.
    """
    chosen = np.zeros(len(boxes), np.intp)
    nearest = np.full(len(boxes), np.inf)
    for number, view in enumerate(views[1:], start=1):
        left, top, right, bottom = np.asarray(boxes, np.float64).reshape(-1, 4).T
        down, across = view.top + view.height, view.left + view.width
        holds = (left >= view.left) & (top >= view.top) & (right <= across - 1) & (bottom <= down - 1)
        distance = np.hypot(left + right - view.left - across + 1, top + bottom - view.top - down + 1)
        better = holds & (distance < nearest)
        chosen[better], nearest[better] = number, distance[better]
    return chosen


def reach(points: NDArray[np.float32], boxes: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """The boxes `[N, 4]` that hold all of each object's points `[N, P, 2]`, and its own box where there is one."""
    corners = points if boxes is None else np.concatenate([points, boxes.reshape(-1, 2, 2)], axis=1)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
