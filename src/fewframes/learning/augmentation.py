"""What training sees of a sample: scaled, cropped, flipped, recoloured and padded; and how pixels are normalised.

The steps and their constants are those of TMANet's published configuration (`cityscapes_video_769x769`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.core.labels import IGNORE

MEAN = (123.675, 116.28, 103.53)
"""Mean of ImageNet's RGB values, on which the backbones' weights were trained."""
STD = (58.395, 57.12, 57.375)
"""Their standard deviation."""

_CROP_DRAWS = 10
_LARGEST_SHARE = 0.75
"""A crop is drawn again while one class covers this share of its labelled pixels."""
_BRIGHTNESS = 32.0
_FACTORS = (0.5, 1.5)
_HUE = 18
"""In OpenCV's steps of two degrees."""

_LEVELS = np.arange(256, dtype=np.float32)
NORMALISED = ((_LEVELS[:, None] - np.array(MEAN)) / np.array(STD)).astype(np.float32)
"""What a network gets for the levels 0 to 255 of red, green and blue: `float32 [256, 3]`."""


@dataclass(frozen=True)
class Augmentation:
    """A recipe: `crop` is height and width, `scale` the range of the factor on the image's own size."""

    crop: tuple[int, int]
    scale: tuple[float, float]
    flip: bool
    photometric: bool

    def view(self, label: NDArray[np.uint8], rng: np.random.Generator) -> View:
        """Draw what is seen of a sample, whose label alone, `uint8 [H, W]`, has a say in it."""
        factor = rng.uniform(*self.scale)
        scaled = tuple(max(1, int(side * factor + 0.5)) for side in label.shape)
        size = (min(scaled[0], self.crop[0]), min(scaled[1], self.crop[1]))
        step = (label.shape[0] / scaled[0], label.shape[1] / scaled[1])
        mirrored = self.flip and rng.random() < 0.5
        for _ in range(_CROP_DRAWS):
            corner = (int(rng.integers(scaled[0] - size[0] + 1)), int(rng.integers(scaled[1] - size[1] + 1)))
            view = View(corner, size, step, mirrored)
            if _is_varied(view.of(label, cv2.INTER_NEAREST)):
                break
        return view

    def render(
        self,
        view: View,
        frames: Sequence[NDArray[np.uint8]],
        label: NDArray[np.uint8],
        rng: np.random.Generator,
        clip: NDArray[np.uint8],
        target: NDArray[np.uint8],
    ) -> None:
        """Write what a view shows of the frames, RGB `[H, W, 3]` each, and of the label `[H, W]`; all `uint8`.

        The frames go to `clip`, `[frames, *crop, 3]`, the label to `target`, `[*crop]`. Geometry is shared by the
        frames, of which the view's `rows` alone are looked at; colours are drawn for each by itself. What the image
        does not fill is ignored, and black.
        """
        _fill(target, view.of(label, cv2.INTER_NEAREST), IGNORE)
        for canvas, frame in zip(clip, frames, strict=True):
            seen = view.of(frame, cv2.INTER_LINEAR)
            _fill(canvas, distort(seen, rng) if self.photometric else seen, 0)


@dataclass(frozen=True)
class View:
    """A box (corner and size) in the scaled image, each of whose pixels is `step` source pixels, perhaps mirrored.

    It is resampled straight from the source: the rest of the scaled image is never computed.
    """

    corner: tuple[int, int]
    size: tuple[int, int]
    step: tuple[float, float]
    mirrored: bool

    @property
    def rows(self) -> int:
        """How many of an image's rows, from the top, the view depends on (or more than the image has)."""
        (y, _), (height, _), (down, _) = self.corner, self.size, self.step
        # The last pixel's centre, the row below it to interpolate with, and one for rounding.
        return int((y + height - 0.5) * down - 0.5) + 3

    def of(self, image: NDArray[np.uint8], interpolation: int) -> NDArray[np.uint8]:
        """The view of an image of the source's size, `uint8`, by one of OpenCV's interpolations."""
        # Pixel centres lie at halves, as in cv2.resize: source = (scaled + 0.5) * step - 0.5.
        (y, x), (height, width), (down, across) = self.corner, self.size, self.step
        if self.mirrored:
            across, x = -across, -(x + width)
        matrix = np.array([[across, 0, (x + 0.5) * across - 0.5], [0, down, (y + 0.5) * down - 0.5]])
        flags = interpolation | cv2.WARP_INVERSE_MAP
        result = cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(result, np.uint8)


def distort(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change brightness, contrast, saturation and hue, each with even odds; RGB `uint8 [H, W, 3]` both.

    Contrast comes before or after the colours by another even chance. Every step is a table of 256 values.
    """
    brightness, contrast, saturation, hue, contrast_first = rng.random(5) < 0.5
    light = _table(_LEVELS + (rng.uniform(-_BRIGHTNESS, _BRIGHTNESS) if brightness else 0))
    stretch = _table(_LEVELS * (rng.uniform(*_FACTORS) if contrast else 1))
    richness = _table(_LEVELS * (rng.uniform(*_FACTORS) if saturation else 1))
    turn = (_LEVELS.astype(np.int64) + (int(rng.integers(-_HUE, _HUE)) if hue else 0)) % 180
    changed = cv2.LUT(image, stretch[light] if contrast_first else light)
    if saturation or hue:
        tables = np.stack([turn.astype(np.uint8), richness, _LEVELS.astype(np.uint8)], axis=1)
        hsv = cv2.LUT(cv2.cvtColor(changed, cv2.COLOR_RGB2HSV), tables.reshape(1, 256, 3))
        changed = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return np.asarray(changed if contrast_first else cv2.LUT(changed, stretch), np.uint8)


def _table(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(values, 0, 255).astype(np.uint8)


def _fill(canvas: NDArray[np.uint8], seen: NDArray[np.uint8], beyond: int) -> None:
    height, width = seen.shape[:2]
    canvas[:height, :width] = seen
    canvas[height:] = beyond
    canvas[:height, width:] = beyond


def _is_varied(label: NDArray[np.uint8]) -> bool:
    """Whether a crop has more than one class, and none covers nearly all that is labelled."""
    counts = cv2.calcHist([label], [0], None, [IGNORE], [0, IGNORE]).astype(np.int64)
    return bool(np.count_nonzero(counts) > 1 and counts.max() < _LARGEST_SHARE * counts.sum())


class Batch(NamedTuple):
    """A batch as it travels: a quarter of the bytes that the network gets, who makes floats of them where it runs.

    `frames` are RGB `uint8 [B, T + 1, h, w, 3]`, the oldest first, and `labels` `uint8 [B, h, w]`; `filled`,
    `int64 [B, 2]`, are the height and width that the image fills from the top left, beyond which frames are 0 after
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
