"""Views: which part of an image is seen, how large and how turned."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class View:
    """An affine map: pixel (x, y) of a view, `size` in height and width, shows the source at `matrix @ (x, y, 1)`.

    `matrix` is `float64 [2, 3]`; coordinates are those of pixels' centres. A view is resampled straight from the
    source: what the recipe's steps would make of the rest of the image is never computed.
    """

    matrix: NDArray[np.float64]
    size: tuple[int, int]

    @property
    def rows(self) -> int:
        """How many of an image's rows, from the top, the view depends on (or more than the image has)."""
        height, width = self.size
        across, down, offset = self.matrix[1]
        lowest = max(0, across * (width - 1)) + max(0, down * (height - 1)) + offset
        # The lowest pixel's centre, the row below it to interpolate with, and one for rounding.
        return int(lowest) + 3

    def of(self, image: NDArray[np.uint8], interpolation: int) -> NDArray[np.uint8]:
        """The view of an image of the source's size, `uint8`, by one of OpenCV's interpolations.

        Beyond the image it repeats what is nearest.
        """
        return self._resampled(image, interpolation, cv2.BORDER_REPLICATE)

    def beyond(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Which of its pixels, `bool [*size]`, have their centre beyond an image of that height and width."""
        return self._resampled(np.zeros(shape, np.uint8), cv2.INTER_NEAREST, cv2.BORDER_CONSTANT, 1).view(np.bool_)

    def _resampled(
        self, image: NDArray[np.uint8], interpolation: int, border: int, value: int = 0
    ) -> NDArray[np.uint8]:
        flags = interpolation | cv2.WARP_INVERSE_MAP
        size = self.size[::-1]
        result = cv2.warpAffine(image, self.matrix, size, flags=flags, borderMode=border, borderValue=value)
        return np.asarray(result, np.uint8)
