"""Surfaces for drawn scenes: patterns from noise and simple geometry, coloured at random."""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Pattern = NDArray[np.float32]
"""Values from 0 to 1, `float32 [SIDE, SIDE]`."""

SIDE = 384
"""Pixels of a pattern's side: larger than what is seen of it."""
_PATTERNS = 96


def noise(rng: Generator, side: int, coarsest: float, roughness: float) -> Pattern:
    """Smooth noise `float32 [side, side]`, 0 to 1: octaves from `coarsest` cells on, each weaker by `roughness`."""
    field = np.zeros((side, side), np.float32)
    cells, weight = coarsest, 1.0
    while cells < side / 2 and weight > 0.02:
        count = max(2, round(cells))
        octave = rng.standard_normal((count + 1, count + 1), np.float32)
        field += weight * np.asarray(cv2.resize(octave, (side, side), interpolation=cv2.INTER_CUBIC))
        cells, weight = cells * 2, weight * roughness
    low, high = np.percentile(field[::7, ::7], [2, 98])
    return np.clip((field - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)


def _waves(rng: Generator) -> Pattern:
    """Stripes, straight or bent."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    angle, length = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(5), np.log(60)))
    phase = (x * np.cos(angle) + y * np.sin(angle)) / length
    phase += noise(rng, SIDE, 3, 0.5) * rng.uniform(0, 3)
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * phase)
    return (wave > 0.5).astype(np.float32) if rng.random() < 0.5 else wave.astype(np.float32)


def _blocks(rng: Generator) -> Pattern:
    """Bricks, tiles or windows: a grid of blocks, each with its own tone."""
    wide, high = (int(np.exp(rng.uniform(np.log(8), np.log(56)))) for _ in range(2))
    joint, shift = rng.uniform(0.06, 0.4), int(rng.integers(0, 2)) * wide // 2
    y, x = np.mgrid[:SIDE, :SIDE]
    row = y // high
    across = x + shift * (row % 2)
    column = across // wide
    tones = rng.uniform(0.45, 1, (row.max() + 1, column.max() + 1)).astype(np.float32)
    inside = (across % wide >= joint * wide) & (y % high >= joint * high)
    return np.where(inside, tones[row, column], np.float32(rng.uniform(0, 0.4))).astype(np.float32)


def _spots(rng: Generator) -> Pattern:
    """Speckles, leaves, gravel: fine noise cut at a level."""
    field = noise(rng, SIDE, np.exp(rng.uniform(np.log(20), np.log(90))), 0.6)
    edge = rng.uniform(0.3, 0.7)
    return np.clip((field - edge) * rng.uniform(2, 12) + 0.5, 0, 1).astype(np.float32)


def _cloudy(rng: Generator) -> Pattern:
    return noise(rng, SIDE, rng.uniform(1.5, 8), rng.uniform(0.35, 0.9))


def _strokes(rng: Generator) -> Pattern:
    """Scribbles: writing, cables, cracks."""
    field = np.full((SIDE, SIDE), rng.uniform(0.2, 0.8), np.float32)
    for _ in range(int(rng.integers(20, 90))):
        at = rng.integers(0, SIDE, 2)
        along = at + rng.normal(0, rng.uniform(8, 60), 2).astype(int)
        start, stop = (int(at[0]), int(at[1])), (int(along[0]), int(along[1]))
        cv2.line(field, start, stop, float(rng.uniform(0, 1)), int(rng.integers(1, 6)), cv2.LINE_AA)
    return field


_KINDS: tuple[Callable[[Generator], Pattern], ...] = (_cloudy, _cloudy, _spots, _waves, _blocks, _blocks, _strokes)


@functools.cache
def patterns() -> tuple[Pattern, ...]:
    """The patterns that all surfaces are made of, always the same."""
    rng = default_rng(20261122)
    return tuple(_KINDS[n % len(_KINDS)](rng) for n in range(_PATTERNS))


def colour(rng: Generator) -> NDArray[np.float32]:
    """A colour, `float32 [3]`, 0 to 255: mostly dull, as streets are."""
    grey, strength = rng.uniform(15, 245), rng.choice([6.0, 20.0, 70.0], p=[0.4, 0.4, 0.2])
    return np.clip(grey + rng.normal(0, strength, 3), 0, 255).astype(np.float32)


def surface(rng: Generator, height: int, width: int) -> Pixels:
    """A picture of a surface, `uint8 [height, width, 3]`."""
    pattern = patterns()[int(rng.integers(_PATTERNS))]
    first = colour(rng)
    # Neighbours of one tone are as common as strong contrast.
    second = colour(rng) if rng.random() < 0.5 else np.clip(first + rng.normal(0, 28, 3), 0, 255).astype(np.float32)
    scale, angle = np.exp(rng.uniform(np.log(0.5), np.log(2.0))), rng.choice([0.0, rng.uniform(0, 360)])
    turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), float(angle), float(scale))
    turn[:, 2] = turn[:, 2] + np.array([width, height]) / 2 - SIDE / 2 + rng.uniform(-60, 60, 2)
    field = cv2.warpAffine(pattern, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    ramp = np.linspace(-1, 1, 256, dtype=np.float32)[:, None] * 0.5 + 0.5
    lut = np.clip(first + (second - first) * ramp, 0, 255).astype(np.uint8)
    index = (np.asarray(field, np.float32) * 255).astype(np.uint8)
    picture = np.asarray(cv2.LUT(cv2.merge([index] * 3), lut[None]), np.uint8)
    if rng.random() < 0.6:  # light that falls off
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        light = 1 + rng.uniform(-0.3, 0.3) * x + rng.uniform(-0.4, 0.4) * y
        picture = np.clip(picture * light[..., None], 0, 255).astype(np.uint8)
    return picture
