"""The camera, and polygons in its picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]
Polygon = list[tuple[int, int]]

NEAR = 0.8
"""Metres before the camera where surfaces are cut off."""
EYE = 1.45
"""Metres from the road to the camera."""


@dataclass(frozen=True)
class Camera:
    """A pinhole at (x, `EYE`, z); `yaw` to the right and `pitch` down in radians."""

    x: float
    z: float
    yaw: float
    pitch: float
    height: int
    width: int

    @property
    def focal(self) -> float:
        """Pixels; 1.05 widths is a view of 51 degrees across, near Cityscapes' 49."""
        return 1.05 * self.width

    @property
    def horizon(self) -> float:
        """The horizon's row."""
        return 0.46 * self.height - self.pitch * self.focal

    @property
    def place(self) -> tuple[float, float, float]:
        """Where it is in the world."""
        return self.x, EYE, self.z

    def sees(self, points: Points) -> Points:
        """World points `[P, 3]` in camera axes: right, up, ahead."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return (points - self.place) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])

    @property
    def lens(self) -> Points:
        """`[3, 3]`: camera axes to homogeneous pixels (column, row, 1)."""
        return np.array([[self.focal, 0, self.width / 2], [0, -self.focal, self.horizon], [0, 0, 1]])

    def pictures(self, seen: Points) -> Points:
        """Points ahead in camera axes `[P, 3]` to pixels `[P, 2]`."""
        at = seen @ self.lens.T
        return at[:, :2] / at[:, 2:]

    def framed(self, seen: Points) -> Polygon:
        """The part of a polygon in camera axes `[P, 3]` that is ahead and in the picture; empty where none is."""
        seen = _cut(seen, seen[:, 2] - NEAR)
        if len(seen) < 3:
            return []
        at = self.pictures(seen)
        for axis, limit in ((0, self.width - 1), (1, self.height - 1)):
            for sign, shift in ((1, 0), (-1, limit)):
                at = _cut(at, sign * at[:, axis] + shift)
                if len(at) < 3:
                    return []
        return [(int(x), int(y)) for x, y in np.rint(at).tolist()]


def _cut(polygon: Points, distance: Points) -> Points:
    """The part of a polygon `[P, D]` where the signed distance `[P]` of its corners is not negative."""
    far = distance.tolist()
    if min(far) >= 0:
        return polygon
    out = []
    for i, b in enumerate(far):
        a = far[i - 1]
        if (a < 0) != (b < 0):
            out.append(polygon[i - 1] + (polygon[i] - polygon[i - 1]) * (a / (a - b)))
        if b >= 0:
            out.append(polygon[i])
    return np.array(out).reshape(-1, polygon.shape[1])


def rasterised(polygons: list[Polygon], values: list[int], height: int, width: int) -> NDArray[np.int32]:
    """The one way labels are drawn: in list order, later over earlier, filled without outline; 0 elsewhere."""
    canvas = Image.new("I", (width, height))
    pen = ImageDraw.Draw(canvas)
    for polygon, value in zip(polygons, values, strict=True):
        pen.polygon(polygon, fill=value)
    return np.asarray(canvas)
