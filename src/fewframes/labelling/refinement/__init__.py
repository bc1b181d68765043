"""Coarse labels made better with the help of the image. A new method is one new file here and one name below."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fewframes.core.labels import ClassTable
from fewframes.labelling.methods import check_method, method_module

PROMPTED = ("sam_points", "sam_points_guarded", "sam_box")
"""The methods that prompt SAM, all built in `sam.refiner`."""

METHODS = (*PROMPTED, "automask", "grabcut", "none")
"""Known methods; each other one is a module of this room with a function `build(settings, classes, housekeeping)`."""

ALL_CLASSES = "_all"
"""How the name of a method's variant ends that refines every class, whatever its settings say of `classes`."""

VARIANTS = tuple(method + ALL_CLASSES for method in (*PROMPTED, "grabcut"))
"""Variants of methods that else refine the class table's `refined` classes: so both serve in one study."""


@dataclass(frozen=True)
class CoarseImage:
    """An image with its coarse label, `uint8 [H, W]` train ids, 255 = ignore.

    `instances` is its instance map, `int32 [H, W]`, where the dataset has one (`labelling.things` says how it is read).
    `name` is for messages, and seeds what is drawn at random.
    """

    name: str
    image: Path
    coarse: NDArray[np.uint8]
    instances: NDArray[np.int32] | None


@dataclass(frozen=True)
class Refined:
    """The label made from one coarse one: `label` is `uint8 [H, W]` train ids, 255 = ignore.

    `maps` are further `[H, W]` arrays by name, `objects` columns of a table of the objects, arrays `[N]` by name.
    `counts` says what became of them, for the log: objects `refined`, with a new mask, or `kept`, with their coarse
    one because the method's result was implausible; masks `accepted` and the like.
    """

    label: NDArray[np.uint8]
    maps: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    objects: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


class Refiner(Protocol):
    """Makes coarse labels better."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides its labels, defaults too: part of what they are known by."""
        ...

    @property
    def notes(self) -> Mapping[str, Any]:
        """What else is worth keeping with the labels, such as the device; nothing is known by it."""
        ...

    @property
    def random_weights(self) -> bool:
        """Whether its labels come from a network with random weights, and mean nothing."""
        ...

    def refine_all(self, images: Iterable[CoarseImage]) -> Iterator[tuple[int, Refined]]:
        """Yield the position of an image among `images`, and what was made of it.

        Images are taken as they are needed, a few at a time where the method works on several at once.
        """
        ...


def build_refiner(
    method: str, settings: Mapping[str, Any], classes: ClassTable, housekeeping: Mapping[str, Any] | None = None
) -> Refiner:
    """The refiner of that name, a method or a variant; raises `UserError` for an unknown method, setting or value.

    `housekeeping` are settings that change how it runs, never what comes out.
    """
    check_method("refinement", method, (*METHODS, *VARIANTS))
    chosen = {**settings, "classes": "all"} if method in VARIANTS else settings
    name = method_of(method)
    given = (chosen, classes, housekeeping or {})
    refiner: Refiner
    if name in PROMPTED:
        refiner = importlib.import_module(f"{__name__}.sam.refiner").build(name, *given)
    else:
        refiner = method_module("refinement", name, METHODS).build(*given)
    return refiner


def method_of(name: str) -> str:
    """The method whose module and settings a method or variant of that name has."""
    return name.removesuffix(ALL_CLASSES)
