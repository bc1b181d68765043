"""A batch as it travels, and how its pixels are normalised."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

MEAN = (123.675, 116.28, 103.53)
"""Mean of ImageNet's RGB values, on which the backbones' weights were trained."""
STD = (58.395, 57.12, 57.375)
"""Their standard deviation."""

_LEVELS = np.arange(256, dtype=np.float32)
NORMALISED = ((_LEVELS[:, None] - np.array(MEAN)) / np.array(STD)).astype(np.float32)
"""What a network gets for the levels 0 to 255 of red, green and blue: `float32 [256, 3]`."""


class Batch(NamedTuple):
    """A batch as it travels: a quarter of the bytes that the network gets, who makes floats of them where it runs.

    `frames` are RGB `uint8 [B, T + 1, h, w, 3]`, the oldest first, and `labels` `uint8 [B, h, w]`; `filled`,
    `int64 [B, 2]`, are the height and width that the view fills from the top left, beyond which frames are 0 after
    they are normalised.
    """

    frames: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    filled: NDArray[np.int64]

    def normalised(self) -> NDArray[np.float32]:
        """The frames as the network gets them, `float32 [B, T + 1, h, w, 3]`."""
        out = np.empty(self.frames.shape, np.float32)
        for clip, frames, (height, width) in zip(out, self.frames, self.filled, strict=True):
            for image, frame in zip(clip, frames, strict=True):
                normalise(frame, image)
            clip[:, height:] = 0
            clip[:, :, width:] = 0
        return out


def normalise(image: NDArray[np.uint8], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """RGB `uint8 [H, W, 3]` to `float32 [H, W, 3]` of ImageNet's mean and deviation, written to `out` if given."""
    return np.asarray(cv2.LUT(image, NORMALISED[None], out), np.float32)
