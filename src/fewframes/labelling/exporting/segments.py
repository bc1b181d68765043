"""A label map as segments: every object of a thing class by itself, every stuff class whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fewframes.core.labels import IGNORE, ClassTable
from fewframes.labelling.things import ThingMask, find_things

_WHOLE = 1000
"""An instance id (see `find_things`) that makes all pixels of a class one object."""


def find_segments(label: NDArray[np.uint8], classes: ClassTable, most: int | None = None) -> list[ThingMask]:
    """The segments of `label`, `uint8 [H, W]` train ids: together all its pixels but the ignored, each once.

    The 8-connected components of a thing class are its objects: a label map does not tell touching ones apart.
    Where there are more than `most` segments (at least the number of classes), only the largest objects stay single
    and the others of each class are one segment.
    """
    train_ids = range(len(classes.trained))
    is_thing = np.zeros(256, bool)
    for c in classes.trained:
        is_thing[c.train_id] = c.has_instances
    segments = find_things(label, np.where(is_thing[label], 0, _WHOLE).astype(np.int32), train_ids)
    if most is None or len(segments) <= most:
        return segments
    by_size = sorted((s for s in segments if is_thing[s.train_id]), key=lambda s: -s.area)
    single = by_size[: most - len(train_ids)]
    rest = label.copy()
    for segment in single:
        rest[segment.window][segment.mask] = IGNORE
    return single + find_things(rest, np.full(label.shape, _WHOLE, np.int32), train_ids)
