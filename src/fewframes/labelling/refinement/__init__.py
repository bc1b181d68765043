"""Coarse labels made better with the help of the image. A new method is one new file here and one name below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fewframes.core.labels import ClassTable
from fewframes.labelling.methods import method_module

METHODS = ("grabcut", "none")
"""Known methods; each is a module of this room with a function `build(settings, classes)`."""


@dataclass(frozen=True)
class Refined:
    """The label made from one coarse one: `label` is `uint8 [H, W]` train ids, 255 = ignore.

    `maps` are further `[H, W]` arrays by name. `counts` says what became of the objects: `refined` of them
    have a new mask, `kept` their coarse one because the method's result was implausible.
    """

    label: NDArray[np.uint8]
    maps: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


class Refiner(Protocol):
    """Makes a coarse label better."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """All its settings, defaults too: part of what its labels are known by."""
        ...

    def refine(
        self, image: NDArray[np.uint8], coarse: NDArray[np.uint8], instances: NDArray[np.int32] | None
    ) -> Refined:
        """Refine one label.

        `image` is RGB `uint8 [H, W, 3]`, `coarse` its label, `uint8 [H, W]` train ids, `instances` its
        instance map, `int32 [H, W]`, where the dataset has one (`labelling.things` says how it is read).
        """
        ...


def build_refiner(method: str, settings: Mapping[str, Any], classes: ClassTable) -> Refiner:
    """The refiner of that name; raises `UserError` for an unknown method, setting or value."""
    return method_module("refinement", method, METHODS).build(settings, classes)
