"""All figures of a scene, moved, projected and painted together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.datasets.toycity.camera import NEAR, Camera, Polygon
from fewframes.datasets.toycity.objects import Figure, Plane
from fewframes.datasets.toycity.textures import Pixels

_FIXED = 16
"""OpenCV's drawing takes points in sixteenths of a pixel here."""
_SPECK = 1.8
"""Pixels; smaller balls (leaves, lamps) are not worth drawing."""


@dataclass
class Shape:
    """An item in the picture, waiting for the pixels it will own; a figure brings its painting along.

    `middle` is its centre (right, ahead) in camera axes.
    """

    item: Figure | Plane
    polygon: Polygon
    middle: tuple[float, float]
    patch: Pixels | None = None
    corner: tuple[int, int] = (0, 0)

    @property
    def order(self) -> tuple[int, float]:
        """Sorts the hidden before what hides it.

        Along one line of sight, what is farther ahead is also farther to the side; and the side decides
        between a long tram and what stands beside it, where the middle's distance would mislead.
        """
        return self.item.layer, -self.middle[1] - 4 * abs(self.middle[0])


class Crowd:
    """The figures' points and strokes in long arrays, so that a frame moves and projects them at once."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        self.figures = list(figures)
        counts = [len(f.points) for f in self.figures]
        whose = np.repeat(np.arange(len(counts)), counts)
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self._points = np.concatenate([f.points for f in self.figures])
        self._swing = np.concatenate([f.swing for f in self.figures])
        self._places = np.array([(f.place[0], 0.0, f.place[1]) for f in self.figures])
        self._paces = np.array([(f.velocity[0], 0.0, f.velocity[1]) for f in self.figures])
        self._velocity = self._paces[whose]
        self._stride = np.array([f.stride for f in self.figures])[whose]
        # Neighbours should not walk in step.
        self._phase = self._points[self._first[whose], 0]
        strokes = [(s, self._first[i]) for i, f in enumerate(self.figures) for s in f.strokes]
        self._first_stroke = np.concatenate([[0], np.cumsum([len(f.strokes) for f in self.figures])])
        self._starts = np.array([s.start + first for s, first in strokes])
        self._outward = np.array([s.outward for s, _ in strokes])
        self._thick = np.array([s.thickness for s, _ in strokes])
        self._ball = np.array([s.stop - s.start == 1 for s, _ in strokes])

    def shapes(self, camera: Camera, time: float) -> Iterator[Shape]:
        """The figures in the picture at a time in frames from the key frame."""
        step = np.sin(self._stride * time + self._phase)[:, None]
        world = self._points + self._velocity * time + self._swing * step
        seen = camera.sees(world)
        # Behind the camera a point is moved ahead along its own line of travel: out of the picture on its side.
        scale = camera.focal / np.maximum(seen[:, 2], NEAR)
        at = seen[:, :2] * scale[:, None] * (1, -1) + (camera.width / 2, camera.horizon)
        thick = self._thick * scale[self._starts]
        towards = (self._outward * (world[self._starts] - camera.place)).sum(1) <= 0
        shown = towards & ((thick >= _SPECK) | ~self._ball)
        size = np.maximum(1, np.rint(thick)).astype(int).tolist()

        first, groups = self._first[:-1], self._first_stroke[:-1]
        margin = np.maximum.reduceat(thick, groups)[:, None] / 2 + 1
        low = np.maximum(np.floor(np.minimum.reduceat(at, first) - margin), 0).astype(int)
        high = np.maximum.reduceat(at, first) + margin + 1
        high = np.minimum(np.ceil(high), (camera.width, camera.height)).astype(int)
        middle = camera.sees(self._places + self._paces * time)[:, [0, 2]]
        inside = ((high - low >= 2).all(1)) & (np.maximum.reduceat(seen[:, 2], first) > 2 * NEAR)
        for i in np.flatnonzero(inside).tolist():
            (left, top), (right, bottom) = low[i].tolist(), high[i].tolist()
            points = slice(self._first[i], self._first[i + 1])
            strokes = slice(self._first_stroke[i], self._first_stroke[i + 1])
            fixed = np.clip((at[points] - (left, top)) * _FIXED, -(1 << 19), 1 << 19).astype(np.int32)
            patch = np.zeros((bottom - top, right - left, 3), np.uint8)
            _paint(self.figures[i], fixed, shown[strokes].tolist(), size[strokes], seen[points, 2], patch)
            outline = _outline(patch)
            if outline:
                polygon = [(x + left, y + top) for x, y in outline]
                yield Shape(self.figures[i], polygon, (middle[i, 0], middle[i, 1]), patch, (left, top))

    def shadows(self, camera: Camera, time: float, dark: NDArray[np.uint8]) -> None:
        """Draw in 255 on `dark` [H, W] where figures keep light from the ground."""
        angles = np.linspace(0, 2 * np.pi, 13)[:-1]
        circle = np.stack([np.cos(angles), 0 * angles, np.sin(angles)], 1) * 1.15
        for f in self.figures:
            half, length = f.shadow
            x, z = f.place[0] + f.velocity[0] * time + 0.15, f.place[1] + f.velocity[1] * time + 0.15
            if half and z - camera.z > length:
                reach = np.array([half, 0, length])
                edge = np.clip(circle * reach, -reach, reach) + np.array([x, 0, z])
                seen = camera.sees(edge)
                if seen[:, 2].min() > NEAR:
                    at = np.clip(camera.pictures(seen) * _FIXED, -(1 << 19), 1 << 19)
                    cv2.fillPoly(dark, [at.astype(np.int32)], 255, cv2.LINE_AA, 4)


def _paint(
    figure: Figure, at: NDArray[np.int32], shown: list[bool], size: list[int],
    ahead: NDArray[np.float64], patch: Pixels,
) -> None:  # fmt: skip
    """Draw the strokes as they were added, groups far to near."""
    order: Sequence[int] = range(len(shown))
    if figure.strokes[-1].group:
        groups = np.array([s.group for s in figure.strokes])
        depth = ahead[[s.start for s in figure.strokes]]
        far = np.array([depth[groups == g].mean() for g in range(groups[-1] + 1)])
        order = np.argsort(-far[groups], kind="stable").tolist()
    for k in order:
        if not shown[k]:
            continue
        stroke = figure.strokes[k]
        points = at[stroke.start : stroke.stop]
        if not stroke.thickness:
            cv2.fillPoly(patch, [points], stroke.colour, cv2.LINE_8, 4)
        elif len(points) == 1:
            cv2.circle(patch, points[0].tolist(), size[k] * _FIXED // 2, stroke.colour, -1, cv2.LINE_8, 4)
        else:
            cv2.polylines(patch, [points], False, stroke.colour, size[k], cv2.LINE_8, 4)


def _outline(patch: Pixels) -> Polygon:
    """The contour of what was painted (its largest part), simplified; empty where nothing was."""
    outlines, _ = cv2.findContours(patch[..., 0], cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return []
    longest = max(outlines, key=lambda o: cv2.arcLength(o, True)) if len(outlines) > 1 else outlines[0]
    corners = cv2.approxPolyDP(longest, 0.6, True)[:, 0]
    if len(corners) < 3:
        x, y, w, h = cv2.boundingRect(longest)
        return [(x, y), (x + w - 1, y), (x + w - 1, y + h - 1), (x, y + h - 1)]
    return [(x, y) for x, y in corners.tolist()]
