"""The single objects in a label map: by instance id where there are any, else by connected components."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.core.images import FIRST_INSTANCE


@dataclass(frozen=True)
class ThingMask:
    """One object: its train id, and its mask `bool [h, w]` within the box whose first pixel is (top, left)."""

    train_id: int
    top: int
    left: int
    mask: NDArray[np.bool_]

    @property
    def area(self) -> int:
        """The number of its pixels."""
        return int(self.mask.sum())

    @property
    def window(self) -> tuple[slice, slice]:
        """Its box as an index into an `[H, W]` array."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def padded(self, by: int, shape: tuple[int, ...]) -> ThingMask:
        """The same object in a box wider by `by` pixels on each side, as far as an image of `shape` goes."""
        rows, columns = self.window
        top, left = max(0, rows.start - by), max(0, columns.start - by)
        bottom, right = min(shape[0], rows.stop + by), min(shape[1], columns.stop + by)
        mask = np.zeros((bottom - top, right - left), bool)
        mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = self.mask
        return ThingMask(self.train_id, top, left, mask)


def find_things(
    label: NDArray[np.uint8], instances: NDArray[np.int32] | None, train_ids: Collection[int]
) -> list[ThingMask]:
    """The objects of the classes `train_ids` in `label`, `uint8 [H, W]`, in a fixed order.

    Pixels of one class and one instance id (`instances`, `int32 [H, W]`, 1000 and above) are one object, in
    as many parts as they may be. What has no such id (poles, signs, groups, any pixel where `instances` is
    None) falls into its 8-connected components.
    """
    things = []
    for train_id in sorted(train_ids):
        of_class = label == train_id
        if not of_class.any():
            continue
        alone = of_class
        if instances is not None:
            told_apart = of_class & (instances >= FIRST_INSTANCE)
            alone = of_class & ~told_apart
            ids, index = np.unique(instances[told_apart], return_inverse=True)
            numbered = np.zeros(label.shape, np.int32)
            numbered[told_apart] = index + 1
            things += [_cut(numbered == n + 1, train_id) for n in range(len(ids))]
        count, components, boxes, _ = cv2.connectedComponentsWithStats(alone.astype(np.uint8), connectivity=8)
        for n in range(1, count):
            left, top, width, height = (int(v) for v in boxes[n, :4])
            mask = components[top : top + height, left : left + width] == n
            things.append(ThingMask(train_id, top, left, mask))
    return things


def _cut(mask: NDArray[np.bool_], train_id: int) -> ThingMask:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return ThingMask(train_id, top, left, mask[top : rows[-1] + 1, left : columns[-1] + 1].copy())
