"""Reading images and index-colour labels from files, with faults named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fewframes.core.errors import UserError


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Decode an image file to RGB, `uint8 [H, W, 3]`; raises `UserError` where it is absent or damaged."""
    with _opened(path) as image:
        if image.mode not in ("RGB", "RGBA", "L", "P"):
            raise UserError(
                f"{path} is an image of mode {image.mode}, not 8-bit colour or grey: convert it to 8-bit RGB."
            )
        return np.asarray(_decoded(image, path).convert("RGB"))


def read_label(path: str | Path) -> NDArray[np.uint8]:
    """Decode an index PNG to native ids, `uint8 [H, W]`; a palette is ignored, its indices are the ids."""
    with _opened(path) as image:
        if image.mode not in ("L", "P"):
            raise UserError(
                f"{path} is an image of mode {image.mode}, not a label map of 8-bit ids: "
                "point to the PNG of label ids, not to its colour picture."
            )
        return np.asarray(_decoded(image, path))


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
        return Image.open(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: restore the file, or index the dataset again.") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise UserError(f"{path} is not a readable image ({error}): replace it with an intact copy.") from error


def _decoded(image: Image.Image, path: str | Path) -> Image.Image:
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): replace it with an intact copy.") from error
    return image
