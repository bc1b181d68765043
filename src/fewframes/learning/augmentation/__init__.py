"""What training sees of a sample, by one of the published recipes; and how pixels are normalised.

A recipe draws a view first, from the label alone, and then renders it: frames are decoded no further than the view
reaches, resampled once, straight from the source, and recoloured no larger than they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.learning.augmentation.batch import MEAN, NORMALISED, STD, Batch, normalise
from fewframes.learning.augmentation.tdnet import TDNetRecipe
from fewframes.learning.augmentation.tmanet import TMANetRecipe
from fewframes.learning.augmentation.views import View

__all__ = ["MEAN", "NORMALISED", "RECIPES", "STD", "Batch", "Recipe", "View", "normalise", "recipe"]


class Recipe(Protocol):
    """How samples are augmented."""

    @property
    def crop(self) -> tuple[int, int]:
        """Height and width of what a network gets."""
        ...

    def view(self, label: NDArray[np.uint8], rng: np.random.Generator) -> View:
        """Draw what is seen of a sample, whose label alone, `uint8 [H, W]`, has a say in it."""
        ...

    def render(
        self,
        view: View,
        frames: Sequence[NDArray[np.uint8]],
        label: NDArray[np.uint8],
        rng: np.random.Generator,
        clip: NDArray[np.uint8],
        target: NDArray[np.uint8],
    ) -> None:
        """Write what a view shows of the frames, RGB `[H, W, 3]` each, and of the label `[H, W]`; all `uint8`.

        The frames go to `clip`, `[frames, *crop, 3]`, the label to `target`, `[*crop]`. Geometry is shared by the
        frames, of which the view's `rows` alone are looked at. What no image fills is ignored in the label.
        """
        ...


RECIPES: dict[str, Callable[[tuple[int, int], tuple[float, float], bool, bool], Recipe]] = {
    "tdnet": TDNetRecipe,
    "tmanet": TMANetRecipe,
}


def recipe(name: str, crop: tuple[int, int], scale: tuple[float, float], flip: bool, photometric: bool) -> Recipe:
    """The recipe of that name: `crop` is height and width, `scale` the range of the random factor on an image's size.

    `flip` is whether half of the views are mirrored, `photometric` whether colours change. Raises `UserError` for an
    unknown name and a range that the recipe cannot draw from.
    """
    if name not in RECIPES:
        raise UserError(f"training.augmentation is '{name}': choose {' or '.join(sorted(RECIPES))}.")
    return RECIPES[name](crop, scale, flip, photometric)
