"""A clip's frames as methods read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.images import read_image


def read_frame(path: Path, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """A frame, RGB `uint8 [H, W, 3]`; raises `UserError` where it is not of `size`, its annotation."""
    frame = read_image(path)
    if frame.shape[:2] != tuple(size):
        raise UserError(
            f"{path} is {frame.shape[1]}x{frame.shape[0]} but its clip's annotation is {size[1]}x{size[0]}: "
            "bring a clip's frames and label to one size."
        )
    return frame
