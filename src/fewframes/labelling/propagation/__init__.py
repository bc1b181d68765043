"""One annotated frame's label to its neighbours. A new method is one new file here and one name below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fewframes.core.labels import ClassTable
from fewframes.labelling.methods import method_module

METHODS = ("sam2", "flow", "copy")
"""Known methods; each is a module of this room with a function `build(settings, classes, housekeeping)`."""


@dataclass(frozen=True)
class KeyFrame:
    """A frame whose label is known, and the frames that it is to be carried to.

    `label` is `uint8 [H, W]` train ids, `instances` its instance map, `int32 [H, W]`, where there is one
    (`labelling.things` says how it is read). `images` are files by offset in frames, the key frame's own at 0, without
    a gap between the frames that exist; `wanted` are the offsets whose labels are asked for. `name` is for messages.
    """

    name: str
    label: NDArray[np.uint8]
    instances: NDArray[np.int32] | None
    images: Mapping[int, Path]
    wanted: frozenset[int]

    def outward(self, side: int) -> list[int]:
        """The offsets from the key frame's neighbour out to the farthest wanted one, past (-1) or future (1)."""
        far = max((o * side for o in self.wanted), default=0)
        return sorted((o for o in self.images if 0 < o * side <= far), key=abs)


@dataclass(frozen=True)
class Propagated:
    """The label made for one neighbour: `label` is `uint8 [H, W]` train ids, 255 where nothing is claimed.

    `maps` are further `[H, W]` arrays by name: `confidence`, `uint8`, where 255 is certain; `object`, `int16`,
    the number of the object that a pixel belongs to before any is left unclaimed, -1 for none. `objects` are columns
    of the table of these objects, arrays `[N]` by name, `train_id` among them.
    """

    label: NDArray[np.uint8]
    maps: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    objects: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Propagator(Protocol):
    """Carries key frames' labels to their neighbours, each direction by itself."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides what it finds, defaults too: part of what its labels are known by."""
        ...

    @property
    def policy(self) -> Mapping[str, Any]:
        """What decides which of it is claimed: changing it needs no new propagation, only `reclaim`."""
        ...

    @property
    def notes(self) -> Mapping[str, Any]:
        """What else is worth keeping with the labels, such as the device; nothing is known by it."""
        ...

    @property
    def random_weights(self) -> bool:
        """Whether its labels come from a network with random weights, and mean nothing."""
        ...

    @property
    def uses_instances(self) -> bool:
        """Whether its labels depend on the key frames' instances."""
        ...

    def propagate(self, keys: Iterable[KeyFrame]) -> Iterator[tuple[int, int, Propagated]]:
        """Yield the position of a key frame among `keys`, an offset and what was made, for all that is wanted.

        Key frames are taken from `keys` as they are needed; which result comes first is the method's affair.
        """
        ...

    def reclaim(self, made: Propagated) -> NDArray[np.uint8]:
        """The label of what was made under another policy, `uint8 [H, W]` train ids."""
        ...


def build_propagator(
    method: str, settings: Mapping[str, Any], classes: ClassTable, housekeeping: Mapping[str, Any] | None = None
) -> Propagator:
    """The propagator of that name; raises `UserError` for an unknown method, setting or value.

    `housekeeping` are settings that change how it runs, never what comes out.
    """
    propagator: Propagator = method_module("propagation", method, METHODS).build(settings, classes, housekeeping or {})
    return propagator
