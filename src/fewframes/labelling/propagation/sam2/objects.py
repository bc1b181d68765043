"""From a key frame's label to the objects that SAM 2 tracks, and back: each object knows its train id.

Whatever is ignored in the label is no object: void is never tracked, and camera-fixed ids (ego vehicle and the
like) are void in every class table.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewframes.core.labels import ClassTable
from fewframes.labelling.things import find_things

MAPPINGS = ("panoptic", "class", "component")
"""What becomes an object: instances of things and classes of stuff, classes, or components of every class."""


@dataclass(frozen=True)
class Objects:
    """The objects of one label; no pixel belongs to two.

    `index` is `int16 [H, W]`, the object's number or -1 for none; `train_ids` are the objects' classes by
    number, ascending, so that the objects of a class are neighbours.
    """

    index: NDArray[np.int16]
    train_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.train_ids)

    def only(self, kept: Sequence[int]) -> Objects:
        """These of the objects, numbered anew in their order."""
        renumbered = np.full(len(self) + 1, -1, np.int16)
        renumbered[list(kept)] = np.arange(len(kept))
        return Objects(renumbered[self.index], tuple(self.train_ids[n] for n in kept))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the label."""
        return self.index.shape[0], self.index.shape[1]


def find_objects(
    label: NDArray[np.uint8],
    instances: NDArray[np.int32] | None,
    classes: ClassTable,
    mapping: str = "panoptic",
    *,
    least_area: int = 64,
    most_things: int = 64,
) -> Objects:
    """The objects of `label`, `uint8 [H, W]` train ids, 255 for ignore.

    `panoptic` tells the things of a class apart (`find_things`: by `instances`, `int32 [H, W]`, where there
    are any, else by connected components) and takes each class of stuff as one object; `class` takes every
    class as one; `component` tells the parts of every class apart. Of what is told apart, pieces of fewer
    than `least_area` pixels, and all but the `most_things` largest, are together one object per class: each
    track costs the same however small it is. (64 pixels are two cells of SAM 2's mask grid, 256 x 256, on
    a frame of 2048 x 1024.)
    """
    train_ids = range(len(classes.trained))
    told_apart: Collection[int] = ()
    if mapping == "component":
        told_apart = train_ids
    elif mapping == "panoptic":
        told_apart = {c.train_id for c in classes.classes if c.has_instances and c.train_id in train_ids}
    things = [thing for thing in find_things(label, instances, told_apart) if thing.area >= least_area]
    largest = sorted(range(len(things)), key=lambda n: -things[n].area)[:most_things]
    things = [things[n] for n in sorted(largest)]

    index = np.full(label.shape, -1, np.int16)
    found: list[int] = []
    for train_id in train_ids:
        for thing in things:
            if thing.train_id == train_id:
                index[thing.window][thing.mask] = len(found)
                found.append(train_id)
        rest = (label == train_id) & (index < 0)
        if rest.any():
            index[rest] = len(found)
            found.append(train_id)
    return Objects(index, tuple(found))
