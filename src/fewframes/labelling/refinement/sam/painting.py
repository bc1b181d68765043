"""How refined masks become a label again. The paper does not say it, and its table 3 depends on it.

An object is what is refined: an instance, or a connected part, of a refined class. A class is a thing where it is
refined by default (`ClassTable.refined`: also pole, traffic light and sign, which have no instance ids) or has
instances (also truck, bus and train, which are not refined). All other classes are stuff, whether they are refined
(`classes: all`) or not.

- `overwrites`: which coarse pixels an object's mask may take beside its own: `stuff_and_unlabelled`, and none of
  another thing; `unlabelled` alone; `everything`. What it may not take stays as it is.
- `vacated`: what becomes of an object's coarse pixels that its refined mask leaves: `ignore`, or they keep their class
  (`coarse`). That does not keep another object from taking them, where it may.
- `overlaps`: to whom a pixel goes that several refined masks claim: to the mask of the highest IoU that SAM predicts
  (`predicted_iou`), or to the object of the `smallest` coarse mask, since the smaller of two overlapping objects is
  the one that would be hidden, were it not in front.

An object whose coarse mask was kept has all its coarse pixels, whatever other objects claim.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.labelling.refinement.sam.prompts import place_of
from fewframes.labelling.refinement.sam.settings import SamSettings
from fewframes.labelling.things import ThingMask

MOST_OBJECTS = int(np.iinfo(np.int16).max)
"""As many as the map of objects can number."""


def thing_train_ids(classes: ClassTable) -> tuple[int, ...]:
    """Train ids of the classes that are things, in the sense above."""
    counted = {c.train_id for c in classes.trained if c.has_instances}
    return tuple(sorted(counted.union(classes.refined_train_ids)))


def paint_order(overlaps: str, objects: Sequence[ThingMask], predicted_iou: Sequence[float]) -> list[int]:
    """The objects' numbers in the order in which they are painted, the later over the earlier.

    Where two are equal in what `overlaps` goes by, area and place decide: it does not matter how they are numbered.
    """

    def precedence(number: int) -> tuple[float, int, tuple[int, int]]:
        iou = predicted_iou[number] if overlaps == "predicted_iou" else 0.0
        return iou, -objects[number].area, place_of(objects[number])

    return sorted(range(len(objects)), key=precedence)


class Canvas:
    """A label that refined masks are painted on, starting from the coarse one, `uint8 [H, W]`.

    `objects` are its objects by number, no pixel belonging to two. First every object whose mask is replaced is
    painted, in `paint_order`, then those that keep their coarse mask. `name` is for the error: raises `UserError` for
    more objects than can be numbered.
    """

    def __init__(
        self,
        name: str,
        coarse: NDArray[np.uint8],
        objects: Sequence[ThingMask],
        things: Sequence[int],
        settings: SamSettings,
    ) -> None:
        if len(objects) > MOST_OBJECTS:
            raise UserError(
                f"The coarse label of {name} has {len(objects)} objects, more than the {MOST_OBJECTS} that are "
                "supported: check that it is an annotation."
            )
        self._objects = objects
        self._coarse_owner = np.full(coarse.shape, -1, np.int16)
        for number, one in enumerate(objects):
            self._coarse_owner[one.window][one.mask] = number
        self._open = _may_be_taken(settings.overwrites, things)[coarse]
        keeps = settings.vacated == "coarse"
        self.label = coarse.copy() if keeps else np.where(self._coarse_owner >= 0, np.uint8(IGNORE), coarse)
        self.owner = self._coarse_owner.copy() if keeps else np.full(coarse.shape, -1, np.int16)

    def paint(self, number: int, refined: NDArray[np.bool_]) -> None:
        """Give an object the pixels of its refined mask, `bool [H, W]`, that it may take."""
        left, top, width, height = cv2.boundingRect(refined.view(np.uint8))
        window = slice(top, top + height), slice(left, left + width)
        taken = refined[window] & (self._open[window] | (self._coarse_owner[window] == number))
        self._give(number, window, taken)

    def keep(self, number: int) -> None:
        """Give an object the pixels of its coarse mask."""
        self._give(number, self._objects[number].window, self._objects[number].mask)

    def _give(self, number: int, window: tuple[slice, slice], mask: NDArray[np.bool_]) -> None:
        self.label[window][mask] = self._objects[number].train_id
        self.owner[window][mask] = number


def _may_be_taken(overwrites: str, things: Sequence[int]) -> NDArray[np.bool_]:
    """Whether objects may take pixels of a class that are not their own, `bool [256]` by train id."""
    if overwrites == "unlabelled":
        return np.arange(256) == IGNORE
    by_train_id = np.ones(256, bool)
    if overwrites == "stuff_and_unlabelled":
        by_train_id[list(things)] = False
    return by_train_id
