"""A clip's frames as methods read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewframes.core.images import check_size, read_picture


def read_frame(path: Path, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """A frame, RGB `uint8 [H, W, 3]`; raises `UserError` where it is not of `size`, its annotation."""
    return np.asarray(read_frame_picture(path, size))


def read_frame_picture(path: Path, size: tuple[int, ...]) -> Image.Image:
    """The same as Pillow's."""
    frame = read_picture(path)
    mend = "bring a clip's frames and label to one size"
    check_size(path, (frame.height, frame.width), size, "its clip's annotation is", mend)
    return frame
