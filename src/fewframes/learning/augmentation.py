"""What training sees of a sample: scaled, cropped, flipped, recoloured, normalised and padded.

The steps and their constants are those of TMANet's published configuration (`cityscapes_video_769x769`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
_NORMALISED = ((_LEVELS[:, None] - np.array(MEAN)) / np.array(STD)).astype(np.float32).reshape(1, 256, 3)


@dataclass(frozen=True)
class Augmentation:
    """A recipe: `crop` is height and width, `scale` the range of the factor on the image's own size."""

    crop: tuple[int, int]
    scale: tuple[float, float]
    flip: bool
    photometric: bool

    def __call__(
        self, frames: Sequence[NDArray[np.uint8]], label: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Augment the frames of a sample, `uint8 [H, W, 3]` each, and its label, `uint8 [H, W]`.

        Returns `float32 [frames, *crop, 3]`, normalised, and `uint8 [*crop]`. Geometry is shared by the
        frames, colours are drawn for each by itself. What the image does not fill is 0 and ignored.
        """
        view = self._view(label, rng)
        height, width = view.size
        clip = np.zeros((len(frames), *self.crop, 3), np.float32)
        target = np.full(self.crop, IGNORE, np.uint8)
        target[:height, :width] = view.of(label, cv2.INTER_NEAREST)
        for slot, frame in enumerate(frames):
            image = view.of(frame, cv2.INTER_LINEAR)
            clip[slot, :height, :width] = normalise(distort(image, rng) if self.photometric else image)
        return clip, target

    def _view(self, label: NDArray[np.uint8], rng: np.random.Generator) -> _View:
        factor = rng.uniform(*self.scale)
        scaled = tuple(max(1, int(side * factor + 0.5)) for side in label.shape)
        size = (min(scaled[0], self.crop[0]), min(scaled[1], self.crop[1]))
        step = (label.shape[0] / scaled[0], label.shape[1] / scaled[1])
        mirrored = self.flip and rng.random() < 0.5
        for _ in range(_CROP_DRAWS):
            corner = (int(rng.integers(scaled[0] - size[0] + 1)), int(rng.integers(scaled[1] - size[1] + 1)))
            view = _View(corner, size, step, mirrored)
            if _is_varied(view.of(label, cv2.INTER_NEAREST)):
                break
        return view


@dataclass(frozen=True)
class _View:
    """A box (corner and size) in the scaled image, each of whose pixels is `step` source pixels, perhaps mirrored.

    It is resampled straight from the source: the rest of the scaled image is never computed.
    """

    corner: tuple[int, int]
    size: tuple[int, int]
    step: tuple[float, float]
    mirrored: bool

    def of(self, image: NDArray[np.uint8], interpolation: int) -> NDArray[np.uint8]:
        # Pixel centres lie at halves, as in cv2.resize: source = (scaled + 0.5) * step - 0.5.
        (y, x), (height, width), (down, across) = self.corner, self.size, self.step
        if self.mirrored:
            across, x = -across, -(x + width)
        matrix = np.array([[across, 0, (x + 0.5) * across - 0.5], [0, down, (y + 0.5) * down - 0.5]])
        flags = interpolation | cv2.WARP_INVERSE_MAP
        result = cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(result, np.uint8)


def normalise(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """RGB `uint8 [H, W, 3]` to `float32 [H, W, 3]` of ImageNet's mean and deviation."""
    return np.asarray(cv2.LUT(image, _NORMALISED), np.float32)


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


def _is_varied(label: NDArray[np.uint8]) -> bool:
    """Whether a crop has more than one class, and none covers nearly all that is labelled."""
    counts = np.bincount(label.ravel(), minlength=IGNORE + 1)[:IGNORE]
    return bool(np.count_nonzero(counts) > 1 and counts.max() < _LARGEST_SHARE * counts.sum())
