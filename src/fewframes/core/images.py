"""Reading images and index-colour labels from files, with faults named."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from fewframes.core.errors import UserError
from fewframes.core.files import is_there

MAX_PIXELS = 2**26
"""Twice an 8K frame. Larger pictures are refused before they are decoded: such a file is a fault or an attack."""


FIRST_INSTANCE = 1000
"""In a picture of instances class id * 1000 + k is the k-th object of a class, and the mere class id what is not told
apart (cityscapesScripts' convention, which IDD and conversions of CamVid follow)."""

_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow raises on a damaged file, whichever of its parts is."""

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
"""What a picture's content may be, whatever it is called: others of Pillow's readers run programs (PostScript)."""

_PLAIN_PNG = {b"\x08\x00\x00\x00\x00": "L", b"\x08\x02\x00\x00\x00": "RGB"}
"""How a PNG's header (its bytes 24 to 28: W3C's PNG specification, IHDR) says 8 bits a sample, grey or colour, not
interlaced, and Pillow's mode for it."""


def read_image(path: str | Path, rows: int | None = None) -> NDArray[np.uint8]:
    """Decode an image file to RGB, `uint8 [H, W, 3]`; raises `UserError` where it is absent or damaged.

    With `rows`, what lies below so many of them may be 0: a PNG's come in order from the top, and to leave off early
    saves the rest of the time.
    """
    with _opened(path) as image:
        _check_colours(image, path)
        pixels = _quickly_decoded(image, rows) if image.mode == "RGB" else None
        return np.asarray(_decoded(image, path).convert("RGB")) if pixels is None else pixels


def read_picture(path: str | Path) -> Image.Image:
    """The same as Pillow's: what only resizes it is spared two copies."""
    with _opened(path) as image:
        _check_colours(image, path)
        return _decoded(image, path).convert("RGB")


def read_label(path: str | Path) -> NDArray[np.uint8]:
    """Decode an index PNG to native ids, `uint8 [H, W]`; a palette is ignored, its indices are the ids."""
    with _opened(path) as image:
        if image.mode not in ("L", "P"):
            raise UserError(
                f"{path} is an image of mode {image.mode}, not a label map of 8-bit ids: "
                "point to the PNG of label ids, not to its colour picture."
            )
        ids = _quickly_decoded(image) if image.mode == "L" else None
        return np.asarray(_decoded(image, path)) if ids is None else ids


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


def check_size(path: str | Path, size: Sequence[int], wanted: Sequence[int], whose: str, mend: str) -> None:
    """Raise `UserError` where a picture's `size` (height, width, ...) is not the one `wanted`, which is `whose`."""
    if tuple(size[:2]) != tuple(wanted):
        raise UserError(f"{path} is {size[1]}x{size[0]} but {whose} {wanted[1]}x{wanted[0]}: {mend}.")


def _opened(path: str | Path) -> ImageFile.ImageFile:
    try:
        with warnings.catch_warnings():
            # Our own limit, below, speaks in one sentence.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=_FORMATS)
    except FileNotFoundError:
        if is_there(path):
            return _opened(path)
        raise UserError(f"{path} does not exist: restore the file, or index the dataset again.") from None
    except _DAMAGED as error:
        reason = "it is empty" if Path(path).is_file() and not Path(path).stat().st_size else error
        raise UserError(f"{path} is not a readable image ({reason}): replace it with an intact copy.") from error
    if image.width * image.height > MAX_PIXELS:
        raise UserError(f"{path} claims to be {image.width}x{image.height} pixels: replace it with a true frame.")
    if (pictures := getattr(image, "n_frames", 1)) > 1:
        raise UserError(f"{path} is animated ({pictures} pictures): replace it with a single one.")
    return image


def _check_colours(image: Image.Image, path: str | Path) -> None:
    if image.mode not in ("RGB", "RGBA", "L", "P"):
        raise UserError(f"{path} is an image of mode {image.mode}, not 8-bit colour or grey: convert it to 8-bit RGB.")


def _quickly_decoded(image: ImageFile.ImageFile, rows: int | None = None) -> NDArray[np.uint8] | None:
    """The pixels of the commonest kind of PNG as Pillow has them, in a third of its time; of others nothing.

    Nor of a damaged file: what the quick decoder does not like, Pillow decides. With `rows`, the lower ones may be 0.
    """
    if image.format != "PNG" or image.fp is None:
        return None
    image.fp.seek(0)
    data = image.fp.read()
    if _PLAIN_PNG.get(data[24:29]) != image.mode:
        return None
    shown = image.height if rows is None else min(rows, image.height)
    if shown < image.height:
        # The file as if it ended there: the decoder inflates no further than the header says.
        header = data[12:20] + shown.to_bytes(4, "big") + data[24:29]
        data = b"".join([data[:12], header, zlib.crc32(header).to_bytes(4, "big"), memoryview(data)[33:]])
    from kornia_rs import io  # not with the module: many commands decode nothing

    try:
        decoded = io.decode_image_png_u8(data, (shown, image.width), "rgb" if image.mode == "RGB" else "mono")
    except Exception:  # kornia_rs raises no narrower ones
        image.fp.seek(0)
        return None
    if image.mode == "L":
        decoded = decoded[..., 0]
    if shown == image.height:
        return decoded
    pixels = np.empty((image.height, *decoded.shape[1:]), np.uint8)
    pixels[:shown] = decoded
    pixels[shown:] = 0
    return pixels


def _decoded(image: Image.Image, path: str | Path) -> Image.Image:
    try:
        image.load()
    except _DAMAGED as error:
        raise UserError(f"{path} is damaged ({error}): replace it with an intact copy.") from error
    return image
