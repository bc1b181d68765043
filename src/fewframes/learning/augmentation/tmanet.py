"""TMANet's augmentation: scaled, cropped, mirrored, recoloured and padded.

The steps and their constants are those of its published configuration (`cityscapes_video_769x769`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.core.labels import IGNORE
from fewframes.learning.augmentation.views import View

_CROP_DRAWS = 10
_LARGEST_SHARE = 0.75
"""A crop is drawn again while one class covers this share of its labelled pixels."""
_BRIGHTNESS = 32.0
_FACTORS = (0.5, 1.5)
_HUE = 18
"""In OpenCV's steps of two degrees."""

_LEVELS = np.arange(256, dtype=np.float32)


@dataclass(frozen=True)
class TMANetRecipe:
    """`crop` is height and width, `scale` the range of the factor on the image's own size.

    Colours are drawn for each frame by itself. What the image does not fill of the crop is black, and 0 once it is
    normalised.
    """

    crop: tuple[int, int]
    scale: tuple[float, float]
    flip: bool
    photometric: bool

    def view(self, label: NDArray[np.uint8], rng: np.random.Generator) -> View:
        """See `Recipe.view`."""
        factor = rng.uniform(*self.scale)
        scaled = (max(1, int(label.shape[0] * factor + 0.5)), max(1, int(label.shape[1] * factor + 0.5)))
        size = (min(scaled[0], self.crop[0]), min(scaled[1], self.crop[1]))
        mirrored = self.flip and rng.random() < 0.5
        for _ in range(_CROP_DRAWS):
            corner = (int(rng.integers(scaled[0] - size[0] + 1)), int(rng.integers(scaled[1] - size[1] + 1)))
            view = _box(label.shape, scaled, corner, size, mirrored)
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
        """See `Recipe.render`."""
        _fill(target, view.of(label, cv2.INTER_NEAREST), IGNORE)
        for canvas, frame in zip(clip, frames, strict=True):
            seen = view.of(frame, cv2.INTER_LINEAR)
            _fill(canvas, distort(seen, rng) if self.photometric else seen, 0)


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


def _box(
    shape: tuple[int, ...], scaled: tuple[int, int], corner: tuple[int, int], size: tuple[int, int], mirrored: bool
) -> View:
    """The view of a box, corner and size, in an image of a shape that is scaled to another."""
    # Pixel centres lie at halves, as in cv2.resize: source = (scaled + 0.5) * step - 0.5.
    (y, x), (down, across) = corner, (shape[0] / scaled[0], shape[1] / scaled[1])
    if mirrored:
        across, x = -across, -(x + size[1])
    return View(np.array([[across, 0, (x + 0.5) * across - 0.5], [0, down, (y + 0.5) * down - 0.5]]), size)


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
