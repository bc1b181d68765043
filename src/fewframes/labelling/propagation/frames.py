"""A clip's frames as methods read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.images import read_picture


def read_frame(path: Path, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """A frame, RGB `uint8 [H, W, 3]`; raises `UserError` where it is not of `size`, its annotation."""
    return np.asarray(read_frame_picture(path, size))


def read_frame_picture(path: Path, size: tuple[int, ...]) -> Image.Image:
    """The same as Pillow's."""
    frame = read_picture(path)
    if (frame.height, frame.width) != tuple(size):
        raise UserError(
            f"{path} is {frame.width}x{frame.height} but its clip's annotation is {size[1]}x{size[0]}: "
            "bring a clip's frames and label to one size."
        )
    return frame
