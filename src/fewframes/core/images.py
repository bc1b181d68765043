"""Reading images and index-colour labels from files, with faults named."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewframes.core.errors import UserError

MAX_PIXELS = 2**26
"""Twice an 8K frame. Larger pictures are refused before they are decoded: such a file is a fault or an attack."""


FIRST_INSTANCE = 1000
"""In a picture of instances class id * 1000 + k is the k-th object of a class, and the mere class id what is not told
apart (cityscapesScripts' convention, which IDD and conversions of CamVid follow)."""

_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow raises on a damaged file, whichever of its parts is."""


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Decode an image file to RGB, `uint8 [H, W, 3]`; raises `UserError` where it is absent or damaged."""
    return np.asarray(read_picture(path))


def read_picture(path: str | Path) -> Image.Image:
    """The same as Pillow's: what only resizes it is spared two copies."""
    with _opened(path) as image:
        if image.mode not in ("RGB", "RGBA", "L", "P"):
            raise UserError(
                f"{path} is an image of mode {image.mode}, not 8-bit colour or grey: convert it to 8-bit RGB."
            )
        return _decoded(image, path).convert("RGB")


def read_label(path: str | Path) -> NDArray[np.uint8]:
    """Decode an index PNG to native ids, `uint8 [H, W]`; a palette is ignored, its indices are the ids."""
    with _opened(path) as image:
        if image.mode not in ("L", "P"):
            raise UserError(
                f"{path} is an image of mode {image.mode}, not a label map of 8-bit ids: "
                "point to the PNG of label ids, not to its colour picture."
            )
        return np.asarray(_decoded(image, path))


def read_colours(path: str | Path) -> NDArray[np.uint8]:
    """Decode a colour picture of labels to RGB, `uint8 [H, W, 3]`; an alpha channel is ignored."""
    with _opened(path) as image:
        if image.mode not in ("RGB", "RGBA"):
            raise UserError(f"{path} is an image of mode {image.mode}, not a colour picture of labels.")
        return np.asarray(_decoded(image, path).convert("RGB"))


def image_mode(path: str | Path) -> str:
    """Pillow's name of how the file's pixels are stored (`L`, `P`, `RGB`, ...), from its header."""
    with _opened(path) as image:
        return image.mode


def read_instances(path: str | Path) -> NDArray[np.int32]:
    """Decode a 16-bit instance PNG, `int32 [H, W]`: class id * 1000 + k for an instance, else class id."""
    with _opened(path) as image:
        if not image.mode.startswith("I") and image.mode != "L":
            raise UserError(f"{path} is an image of mode {image.mode}, not a 16-bit map of instance ids.")
        return np.asarray(_decoded(image, path), dtype=np.int32)


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width from the file's header alone."""
    with _opened(path) as image:
        return image.height, image.width


def _opened(path: str | Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Our own limit, below, speaks in one sentence.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: restore the file, or index the dataset again.") from None
    except _DAMAGED as error:
        reason = "it is empty" if Path(path).is_file() and not Path(path).stat().st_size else error
        raise UserError(f"{path} is not a readable image ({reason}): replace it with an intact copy.") from error
    if image.width * image.height > MAX_PIXELS:
        raise UserError(f"{path} claims to be {image.width}x{image.height} pixels: replace it with a true frame.")
    if (pictures := getattr(image, "n_frames", 1)) > 1:
        raise UserError(f"{path} is animated ({pictures} pictures): replace it with a single one.")
    return image


def _decoded(image: Image.Image, path: str | Path) -> Image.Image:
    try:
        image.load()
    except _DAMAGED as error:
        raise UserError(f"{path} is damaged ({error}): replace it with an intact copy.") from error
    return image
