"""Which frame of a sequence is the annotated one, told by pixels: for datasets whose names do not say it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.core.clips import stamp
from fewframes.core.errors import UserError
from fewframes.core.images import image_size
from fewframes.datasets.preparing import Task

_SHORT_SIDE = 48
"""Pixels that a picture's short side keeps, where it has twice as many, when two are compared (1080 become 135)."""

_SAME = 0.05
"""Mean absolute difference, in standard deviations of the picture, up to which a frame can be the annotated image.

Measured: an image and its own JPEG of quality 75 to 95 differ by 0.005 to 0.011 (CamVid at 15 Hz, 480x360 and three
times that; 0.015 at quality 50), by 0.014 to 0.019 in toy city (96x48 to 256x128 at quality 95). An image and its
neighbour's JPEG differ by 0.08 to 0.15 (CamVid), 0.19 to 0.31 (toy city), images ten frames apart by 0.24 and more.
"""

_ALIKE = 0.01
"""Differences this close do not tell frames apart: then the one nearest to the middle is taken.

Before a still camera a neighbour differs by 0.001 to 0.005 more than the key frame does (a CamVid image, another
sensor noise of 4 levels in each frame, JPEG as above).
"""

_REDUCED = {
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
"""OpenCV's flags that decode a JPEG at a fraction of its size, each pixel the mean of those it stands for."""


class _OtherSizeError(Exception):
    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size


def key_task(name: str, folder: Path, image: str, sequence: str, frames: Mapping[int, str]) -> Task:
    """Find the annotated `image` among the `frames` (file names by number, in order) of the folder `sequence`.

    Paths are relative to the dataset's `folder`. The files are known by size and time, not by content: sequences
    hold a dataset's bulk. The task writes nothing; its facts:

    - `how`: `position` (it is the middle frame: pixels agree), `search` (it is another), `none` (no frame is it), or
      `size` (the frames are of another size, so they are not compared);
    - `key` and `position`: the frame's number and its place among the frames (`position`, `search`);
    - `difference`: how far it, or for `none` the nearest frame, is from the image (see `_SAME`);
    - `image` and `frame`: the two sizes, height and width (`size`).
    """
    files = stamp(folder, (image, *(f"{sequence}/{file}" for file in frames.values())))
    recipe = {"image": image, "sequence": sequence, "frames": list(frames.items()), "files": files}
    return Task(name, _find, recipe=recipe)


def _find(task: Task, folder: Path, prepared: Path) -> dict[str, Any]:
    image, sequence = folder / task.recipe["image"], folder / task.recipe["sequence"]
    frames = task.recipe["frames"]
    size = image_size(image)
    wanted = _standardised(image, size)

    @functools.cache
    def difference(position: int) -> float:
        path = sequence / frames[position][1]
        if (found := image_size(path)) != size:
            raise _OtherSizeError(found)
        return float(np.abs(_standardised(path, size) - wanted).mean())

    how, position = "position", len(frames) // 2
    try:
        # The neighbours are looked at too: in slow traffic the wrong frame is not far from the image either.
        near = [difference(p) for p in range(max(position - 1, 0), min(position + 2, len(frames)))]
        if difference(position) > min(_SAME, min(near) + _ALIKE):
            found = [difference(p) for p in range(len(frames))]
            nearest = [p for p, d in enumerate(found) if d <= min(found) + _ALIKE]
            how, position = "search", min(nearest, key=lambda p: abs(p - len(frames) // 2))
    except _OtherSizeError as error:
        return {"how": "size", "image": size, "frame": error.size}
    facts = {"difference": round(difference(position), 4)}
    if difference(position) > _SAME:
        return {"how": "none", **facts}
    return {"how": how, "key": frames[position][0], "position": position, **facts}


def _standardised(path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    """The picture in grey, reduced, of mean 0 and standard deviation 1: brightness and contrast do not count."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): mend its permissions.") from error
    factor = max(f for f in _REDUCED if f == min(_REDUCED) or min(size) // f >= _SHORT_SIDE)
    height, width = (max(side // factor, 1) for side in size)
    jpeg = data[:2].tobytes() == b"\xff\xd8"
    grey = cv2.imdecode(data, (_REDUCED[factor] if jpeg else cv2.IMREAD_GRAYSCALE) | cv2.IMREAD_IGNORE_ORIENTATION)
    if grey is None:
        raise UserError(f"{path} is damaged: replace it with an intact copy.")
    if not jpeg:
        # Cut to whole blocks, so that each pixel is the mean of just those that it is in a JPEG.
        grey = cv2.resize(grey[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA)
    picture = np.asarray(grey[:height, :width], np.float32)
    return (picture - picture.mean()) / max(float(picture.std()), 1.0)
