"""What methods share that carry one label in one direction at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewframes.labelling.propagation import KeyFrame, Propagated
from fewframes.labelling.propagation.frames import read_frame


class OneByOne(ABC):
    """A `Propagator` out of a method `carry` that knows one label and one direction; it claims what it finds."""

    policy: Mapping[str, Any] = {}
    notes: Mapping[str, Any] = {}
    random_weights = False
    uses_instances = False

    @abstractmethod
    def carry(self, label: NDArray[np.uint8], frames: Iterator[NDArray[np.uint8]]) -> Iterator[Propagated]:
        """Yield one result a neighbour, in order, reading a frame only when its result is asked for.

        `label` is the key frame's, `uint8 [H, W]` train ids; `frames` are RGB `uint8 [H, W, 3]`: the key
        frame first, then its neighbours outward in one direction, past or future.
        """

    def propagate(self, keys: Iterable[KeyFrame]) -> Iterator[tuple[int, int, Propagated]]:
        """See `Propagator`."""
        for position, key in enumerate(keys):
            for side in (-1, 1):
                outward = key.outward(side)
                if not outward:
                    continue
                frames = (read_frame(key.images[offset], key.label.shape) for offset in (0, *outward))
                for offset, made in zip(outward, self.carry(key.label, frames), strict=True):
                    if offset in key.wanted:
                        yield position, offset, made

    def reclaim(self, made: Propagated) -> NDArray[np.uint8]:
        """The label as it was made: there is no policy."""
        return made.label
