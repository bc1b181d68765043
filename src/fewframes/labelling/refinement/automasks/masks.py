"""A mask held as compressed bits, so that thousands fit in memory."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mask:
    """A mask of an image, and what SAM 2 says of it.

    `top`, `left`, `height`, `width`: the box of its pixels, in pixels of the image; all 0 where there are none. `area`:
    the number of its pixels. `predicted_iou`: SAM 2's own estimate of the mask's IoU. `bits`: the pixels within
    the box, packed and compressed.
    """

    top: int
    left: int
    height: int
    width: int
    area: int
    predicted_iou: float
    bits: bytes

    @classmethod
    def cut(cls, pixels: NDArray[np.bool_], top: int, left: int, predicted_iou: float) -> Mask:
        """The mask out of `pixels`, `bool [h, w]`, whose first is the image's pixel (`top`, `left`)."""
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        if not len(rows):
            return cls(0, 0, 0, 0, 0, predicted_iou, zlib.compress(b""))
        first, start = int(rows[0]), int(columns[0])
        inner = pixels[first : rows[-1] + 1, start : columns[-1] + 1]
        bits = zlib.compress(np.packbits(inner).tobytes(), level=1)
        (height, width), area = inner.shape, int(np.count_nonzero(inner))
        return cls(top + first, left + start, height, width, area, predicted_iou, bits)

    @property
    def window(self) -> tuple[slice, slice]:
        """Its box as an index into an `[H, W]` array."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def box(self) -> NDArray[np.float32]:
        """Its first and last columns and rows, `float32 [4]`: left, top, right, bottom; all 0 where it is empty."""
        right, bottom = self.left + self.width - 1, self.top + self.height - 1
        return np.array([self.left, self.top, max(0, right), max(0, bottom)], np.float32)

    def pixels(self) -> NDArray[np.bool_]:
        """Its pixels within `window`, `bool [height, width]`."""
        packed = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        flat = np.unpackbits(packed, count=self.height * self.width)
        return flat.reshape(self.height, self.width).view(bool)
