"""One annotated frame's label to its neighbours. A new method is one new file here and one name below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fewframes.labelling.methods import method_module

METHODS = ("flow", "copy")
"""Known methods; each is a module of this room with a function `build(settings)`."""


@dataclass(frozen=True)
class Propagated:
    """The label made for one neighbour: `label` is `uint8 [H, W]` train ids, 255 where nothing is claimed.

    `maps` are further `[H, W]` arrays by name, such as `confidence`, `uint8`, where 255 is certain.
    """

    label: NDArray[np.uint8]
    maps: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Propagator(Protocol):
    """Carries a key frame's label to neighbours on one side of it."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """All its settings, defaults too: part of what its labels are known by."""
        ...

    def propagate(self, label: NDArray[np.uint8], frames: Iterator[NDArray[np.uint8]]) -> Iterator[Propagated]:
        """Yield one result a neighbour, in order, reading a frame only when its result is asked for.

        `label` is the key frame's, `uint8 [H, W]` train ids; `frames` are RGB `uint8 [H, W, 3]`: the key
        frame first, then its neighbours outward in one direction, past or future.
        """
        ...


def build_propagator(method: str, settings: Mapping[str, Any]) -> Propagator:
    """The propagator of that name; raises `UserError` for an unknown method, setting or value."""
    return method_module("propagation", method, METHODS).build(settings)
