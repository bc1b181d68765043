"""Outlines for drawn scenes: what an object may look like, as parts of one mask."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fewframes.labelling.compact.textures import noise

Part = NDArray[np.uint8]
"""A mask `uint8 [side, side]`, 0 or 255, antialiased at its edge."""
_FINE = 4
"""Bits of a pixel's fraction in OpenCV's coordinates."""


def _polygon(part: Part, points: NDArray[np.float64]) -> None:
    """Fill a polygon, its points in shares of the side."""
    fixed = np.rint(points * part.shape[0] * (1 << _FINE)).astype(np.int32)
    cv2.fillPoly(part, [fixed], 255, cv2.LINE_AA, _FINE)


def _ellipse(part: Part, x: float, y: float, wide: float, high: float, turn: float = 0.0) -> None:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    around = np.stack([wide * np.cos(angles), high * np.sin(angles)], 1)
    c, s = np.cos(turn), np.sin(turn)
    _polygon(part, around @ np.array([[c, s], [-s, c]]) + (x, y))


def _box(part: Part, left: float, top: float, right: float, bottom: float) -> None:
    _polygon(part, np.array([(left, top), (right, top), (right, bottom), (left, bottom)]))


def _blank(side: int) -> Part:
    return np.zeros((side, side), np.uint8)


def _star(rng: Generator, side: int) -> list[Part]:
    """A closed curve around a centre, round or jagged."""
    count = int(rng.integers(24, 60))
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    radius = np.full(count, 0.32)
    for wave in range(1, int(rng.integers(3, 9))):
        radius += rng.normal(0, 0.14 / wave) * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.06, 0.48)
    squeeze = np.array([1.0, rng.uniform(0.35, 1)])[:: rng.choice([-1, 1])]
    part = _blank(side)
    _polygon(part, 0.5 + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None] * squeeze)
    return [part]


def _corners(rng: Generator, side: int) -> list[Part]:
    """A convex or concave polygon of few corners."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
    radius = rng.uniform(0.18, 0.48, len(angles))
    part = _blank(side)
    _polygon(part, 0.5 + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None])
    return [part]


def _slab(rng: Generator, side: int) -> list[Part]:
    """A rectangle of any proportions: door, house, lorry."""
    half_wide, half_high = rng.uniform(0.08, 0.48, 2)
    part = _blank(side)
    _box(part, 0.5 - half_wide, 0.5 - half_high, 0.5 + half_wide, 0.5 + half_high)
    return [part]


def _pole(rng: Generator, side: int) -> list[Part]:
    """Something thin and long."""
    half = np.exp(rng.uniform(np.log(1.5), np.log(7))) / side / 2
    part = _blank(side)
    _box(part, 0.5 - half, 0.02, 0.5 + half, 0.98)
    if rng.random() < 0.3:
        _box(part, 0.5 - half, 0.03, rng.uniform(0.6, 0.9), 0.03 + 2 * half)
    return [part]


def _sign(rng: Generator, side: int) -> list[Part]:
    """A plate, round or with corners, and often a thin post below it."""
    half = rng.uniform(0.1, 0.24)
    plate, post = _blank(side), _blank(side)
    if rng.random() < 0.5:
        _ellipse(plate, 0.5, 0.26, half, half)
    else:
        angles = np.linspace(0, 2 * np.pi, int(rng.integers(3, 9)), endpoint=False) + rng.choice([0, np.pi / 4])
        _polygon(plate, np.stack([0.5 + half * np.sin(angles), 0.26 - half * np.cos(angles)], 1))
    if rng.random() < 0.6:
        _box(post, 0.5 - 1.5 / side, 0.26, 0.5 + 1.5 / side, 0.98)
    return [post, plate]


def _person(rng: Generator, side: int) -> list[Part]:
    """Legs, trunk with arms, head."""
    legs, trunk, head = _blank(side), _blank(side), _blank(side)
    slim, stride = rng.uniform(0.7, 1.3), rng.uniform(-0.1, 0.1)
    for foot in (0.5 - stride, 0.5 + stride):
        hip = np.array([(0.5 - 0.05 * slim, 0.52), (0.5 + 0.05 * slim, 0.52)])
        _polygon(legs, np.concatenate([hip, [(foot + 0.035, 0.97), (foot - 0.035, 0.97)]]))
    _ellipse(trunk, 0.5, 0.38, 0.095 * slim, 0.2)
    for side_ in (-1, 1):
        _ellipse(trunk, 0.5 + side_ * 0.1 * slim, 0.4, 0.03, 0.16, side_ * rng.uniform(-0.3, 0.5))
    _ellipse(head, 0.5, 0.12, 0.055, 0.075)
    return [legs, trunk, head]


def _vehicle(rng: Generator, side: int) -> list[Part]:
    """Wheels, a body, a cabin with panes."""
    wheels, body, panes = _blank(side), _blank(side), _blank(side)
    roof, waist, floor = rng.uniform(0.25, 0.42), rng.uniform(0.45, 0.55), rng.uniform(0.66, 0.76)
    slant = rng.uniform(0, 0.14)
    for x in (0.24, 0.76):
        _ellipse(wheels, x, floor, 0.075, 0.075)
    _polygon(body, np.array([(0.05, waist), (0.2, waist), (0.2 + slant, roof), (0.8 - slant, roof), (0.8, waist),
                             (0.95, waist + 0.03), (0.95, floor), (0.05, floor)]))  # fmt: skip
    _polygon(panes, np.array([(0.24, waist), (0.24 + slant, roof + 0.03), (0.76 - slant, roof + 0.03), (0.76, waist)]))
    return [wheels, body, panes]


def _crown(rng: Generator, side: int) -> list[Part]:
    """A crown of leaves, with or without a trunk: a rough edge, perhaps holes."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    level = noise(rng, side, rng.uniform(4, 10), 0.6) - 1.1 * np.hypot(x, y * rng.uniform(0.8, 1.4)) + 0.35
    leaves = (np.clip(level * 40 + 0.5, 0, 1) * 255).astype(np.uint8)
    trunk = _blank(side)
    if rng.random() < 0.4:
        _box(trunk, 0.47, 0.5, 0.53, 0.98)
    return [trunk, leaves]


def _bicycle(rng: Generator, side: int) -> list[Part]:
    """Rings and bars, with much to see through."""
    part = _blank(side)
    thick = max(2, round(side * rng.uniform(0.02, 0.05)))
    for x in (0.25, 0.75):
        cv2.circle(part, (round(x * side), round(0.65 * side)), round(0.2 * side), 255, thick, cv2.LINE_AA)
    corners = np.array([(0.25, 0.65), (0.42, 0.35), (0.66, 0.35), (0.5, 0.65), (0.25, 0.65), (0.5, 0.65), (0.75, 0.65)])
    cv2.polylines(part, [np.rint(corners * side).astype(np.int32)], False, 255, thick, cv2.LINE_AA)
    return [part]


_KINDS: tuple[Callable[[Generator, int], list[Part]], ...] = (
    _star, _star, _corners, _slab, _pole, _pole, _sign, _person, _person, _vehicle, _vehicle, _crown, _bicycle,
)  # fmt: skip


def outline(rng: Generator, side: int) -> list[Part]:
    """The parts of one object, the lowest first, each `uint8 [side, side]`; the object is their union."""
    return _KINDS[int(rng.integers(len(_KINDS)))](rng, side)
