"""Prompts out of coarse masks: points, boxes and soft masks. Pixels are (x, y), x to the right and y down."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.core.files import digest
from fewframes.core.labels import IGNORE
from fewframes.labelling.refinement.sam.settings import BoxSettings
from fewframes.labelling.things import ThingMask

Points = NDArray[np.float32]
"""Pixels as SAM takes them, `float32 [P, 2]` (x, y)."""


def place_of(one: ThingMask) -> tuple[int, int]:
    """The topmost of an object's pixels (of several the leftmost) as (y, x): no two objects have the same."""
    return one.top, one.left + int(one.mask[0].argmax())


def random_points(one: ThingMask, count: int, seed: int, image: str) -> Points:
    """`count` different pixels of an object, drawn at random; repeated where it has fewer.

    They depend on `seed`, the name of the image, and the object's class, place and pixels: not on what else there is.
    """
    rng = np.random.default_rng(int(digest(seed, image, one.train_id, place_of(one)), 16))
    y, x = np.nonzero(one.mask)
    drawn = np.resize(rng.choice(len(y), min(count, len(y)), replace=False), count)
    return np.stack([x[drawn] + one.left, y[drawn] + one.top], axis=1).astype(np.float32)


def spread_points(depth: NDArray[np.float32], count: int) -> Points:
    """`count` pixels of the region where `depth`, `float32 [h, w]`, is above 0, deep and far from each other.

    The first is the deepest, each further one the farthest from those before it among all that are at least half as
    deep; pixels are repeated where there are fewer.
    """
    y, x = np.nonzero(depth >= depth.max() / 2)
    chosen = [int(depth[y, x].argmax())]
    nearest = np.full(len(y), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, np.hypot(x - x[chosen[-1]], y - y[chosen[-1]]))
        chosen.append(int(nearest.argmax()))
    return np.stack([x[chosen], y[chosen]], axis=1).astype(np.float32)


def points_in_and_around(
    coarse: NDArray[np.uint8], one: ThingMask, settings: BoxSettings
) -> tuple[Points, NDArray[np.bool_]]:
    """Points in an object and around it, and which of them are in it, `bool [P]`.

    Those in it are deep in its mask. Those around it lie in its `surroundings`: deep in what bears another label in
    `coarse`, `uint8 [H, W]`, or, where nothing there does, far from its mask. Where there is nothing but the object,
    further points in it stand in for those.
    """
    around = surroundings(one, coarse.shape, settings)
    points = spread_points(_depth(around.mask), settings.inside_points + settings.outside_points)
    inside = np.ones(len(points), bool)
    if settings.outside_points and not around.mask.all():
        other = ~around.mask & (coarse[around.window] != IGNORE)
        depth = _depth(other) if other.any() else _distance(~around.mask)
        points[settings.inside_points :] = spread_points(depth, settings.outside_points)
        inside[settings.inside_points :] = False
    return points + np.array([around.left, around.top], np.float32), inside


def surroundings(one: ThingMask, size: tuple[int, ...], settings: BoxSettings) -> ThingMask:
    """An object in a box that is widened by twice the margin."""
    return one.padded(2 * _margin(one, settings), size)


def widened_box(one: ThingMask, size: tuple[int, ...], settings: BoxSettings) -> NDArray[np.float32]:
    """An object's box, widened by the margin within an image of `size`; see `box_of`."""
    return box_of(one.padded(_margin(one, settings), size))


def box_of(one: ThingMask) -> NDArray[np.float32]:
    """The first and last pixels of an object's box (left, top, right, bottom), `float32 [4]`."""
    rows, columns = one.window
    return np.array([columns.start, rows.start, columns.stop - 1, rows.stop - 1], np.float32)


def soft_mask(cells: NDArray[np.bool_], settings: BoxSettings) -> NDArray[np.float32]:
    """Logits of a mask prompt, `float32 [s, s]`, from the cells of the mask grid that an object touches.

    They rise across the mask's outline from the negative of `mask_logit` to that within `mask_rim` cells on each side,
    and are above 0 in every cell of the mask, however thin it is.
    """
    rise = (_distance(cells) - _distance(~cells)) / settings.mask_rim
    return np.float32(settings.mask_logit) * rise.clip(-1, 1)


def _margin(one: ThingMask, settings: BoxSettings) -> int:
    """By how many pixels an object's box is widened."""
    return max(1, round(settings.box_margin * math.sqrt(one.mask.size)))


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The distance of each pixel to what is not in the mask, or out of the picture; 0 out of the mask."""
    return _distance(np.pad(mask, 1))[1:-1, 1:-1]


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The distance of each pixel to what is not in the mask; 0 out of it, and large where it is all."""
    return np.asarray(cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5), np.float32)
