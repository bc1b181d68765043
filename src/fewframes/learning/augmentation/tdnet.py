"""TDNet's augmentation: turned, recoloured, resized to the crop, mirrored, scaled and cropped.

The steps and their constants are those of its published code and configuration (`td2_fa18_cityscapes`). Where that
resamples three times, this does once, with three differences. Enlarged pictures are sharper than those that were first
made as small as the crop. Reduced ones are interpolated, as TMANet's are, where Pillow averages. And the factor below 1
shows the whole picture as 1 does, without the blur that it has of being made smaller and resized up to the crop again:
a third of the published draws are whole pictures either way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.labels import IGNORE
from fewframes.learning.augmentation.views import View

_DEGREES = 5.0
_SCALES = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
_FACTORS = (0.5, 1.5)
_LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601), as in Pillow and OpenCV."""


@dataclass(frozen=True)
class TDNetRecipe:
    """`crop` is height and width, to which every image is resized, whatever its shape, before it is scaled.

    Of the published factors on that size those within `scale` are drawn, each as often; raises `UserError` where none
    is. Colours are changed alike in all frames of a clip, and always. What the turned image does not fill is black
    before they are.
    """

    crop: tuple[int, int]
    scale: tuple[float, float]
    flip: bool
    photometric: bool

    def __post_init__(self) -> None:
        if not self._scales:
            known = ", ".join(map(str, _SCALES))
            raise UserError(
                f"training.scale is {list(self.scale)}, which holds no factor of TDNet's augmentation: "
                f"widen it to one or more of {known}."
            )

    def view(self, label: NDArray[np.uint8], rng: np.random.Generator) -> View:
        """See `Recipe.view`."""
        angle = math.radians(rng.uniform(-_DEGREES, _DEGREES))
        mirrored = self.flip and rng.random() < 0.5
        factor = max(1.0, self._scales[rng.integers(len(self._scales))])
        scaled = np.array([int(side * factor) for side in self.crop])
        corner = rng.integers(scaled - np.array(self.crop) + 1)
        # From the scaled picture's middle to the source's, pixel centres being at halves; x before y.
        height, width = label.shape
        step = np.array([-width if mirrored else width, height]) / scaled[::-1]
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        linear = turn * step
        offset = linear @ (corner + 0.5 - scaled / 2)[::-1] + np.array([width, height]) / 2 - 0.5
        return View(np.column_stack([linear, offset]), self.crop)

    def render(
        self,
        view: View,
        frames: Sequence[NDArray[np.uint8]],
        label: NDArray[np.uint8],
        rng: np.random.Generator,
        clip: NDArray[np.uint8],
        target: NDArray[np.uint8],
    ) -> None:
        """See `Recipe.render`."""
        factors = rng.uniform(*_FACTORS, size=3).tolist()
        beyond = view.beyond(label.shape)
        target[:] = view.of(label, cv2.INTER_NEAREST)
        target[beyond] = IGNORE
        for canvas, frame in zip(clip, frames, strict=True):
            seen = view.of(frame, cv2.INTER_LINEAR)
            seen[beyond] = 0
            canvas[:] = jitter(seen, *factors) if self.photometric else seen

    @property
    def _scales(self) -> list[float]:
        return [factor for factor in _SCALES if self.scale[0] <= factor <= self.scale[1]]


def jitter(image: NDArray[np.uint8], brightness: float, contrast: float, saturation: float) -> NDArray[np.uint8]:
    """Change an image, RGB `uint8 [H, W, 3]`, by three factors in their order; 1 changes nothing.

    They blend it with black, with its own mean grey, and with itself in grey, as Pillow's enhancements do. The
    published code applies them to whole pictures: the mean is that of what is seen here, the only thing that differs.
    """
    lit = cv2.convertScaleAbs(image, alpha=brightness)
    mean = np.dot(cv2.mean(lit)[:3], _LUMA)
    stretched = cv2.addWeighted(lit, contrast, lit, 0, mean * (1 - contrast))
    grey = cv2.cvtColor(cv2.cvtColor(stretched, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(stretched, saturation, grey, 1 - saturation, 0), np.uint8)
