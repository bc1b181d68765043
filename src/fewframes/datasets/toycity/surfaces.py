"""Textured planes in the picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np

from fewframes.datasets.toycity.camera import NEAR, Camera, Points
from fewframes.datasets.toycity.figures import Shape
from fewframes.datasets.toycity.objects import Plane
from fewframes.datasets.toycity.textures import Pixels, Texture


class Walls:
    """All planes of a scene."""

    def __init__(self, planes: Sequence[Plane]) -> None:
        self._planes = list(planes)
        self._corners = np.concatenate([p.corners for p in planes])
        self._first = np.concatenate([[0], np.cumsum([len(p.corners) for p in planes])])
        frames = np.stack([p.corners[[0, 1, -1]] for p in planes])
        self._outward = np.cross(frames[:, 2] - frames[:, 0], frames[:, 1] - frames[:, 0])

    def shapes(self, camera: Camera) -> Iterator[Shape]:
        """The planes whose seen side is in the picture."""
        seen, first = camera.sees(self._corners), self._first[:-1]
        facing = (self._outward * (self._corners[first] - camera.place)).sum(1) < 0
        ahead = np.maximum.reduceat(seen[:, 2], first) > NEAR
        for i in np.flatnonzero(facing & ahead).tolist():
            corners = seen[self._first[i] : self._first[i + 1]]
            polygon = camera.framed(corners)
            if polygon:
                middle = float(corners[:, 0].mean()), float(np.maximum(corners[:, 2], NEAR).mean())
                yield Shape(self._planes[i], polygon, middle)


def surface(plane: Plane, camera: Camera, left: int, top: int, right: int, bottom: int) -> Pixels:
    """The plane's texture as seen in a box of the picture, `uint8 [h, w, 3]`."""
    texture: Texture = plane.texture
    origin, across, up = plane.corners[[0, 1, -1]]
    rows, columns = texture.pixels.shape[:2]
    du = (across - origin) / np.linalg.norm(across - origin) * texture.metres[0] / columns
    dv = (up - origin) / np.linalg.norm(up - origin) * texture.metres[1] / rows
    axes = camera.sees(np.stack([origin + du, origin + dv, origin]))
    axes[:2] -= axes[2]
    to_texel: Points = np.linalg.inv(camera.lens @ axes.T).astype(np.float64)
    # Textures are stored top row first; planes count upwards (or ahead) from their first corner.
    to_texel[1] = rows * to_texel[2] - to_texel[1]
    patch = np.empty((bottom - top, right - left, 3), np.uint8)
    level_ground = plane.corners[:, 1].max() == plane.corners[:, 1].min()
    for x0, y0, x1, y1 in _bands(left, top, right, bottom, level_ground, camera):
        small = texture.levels[_level(texture, to_texel, (x0 + x1) / 2, (y0 + y1) / 2)]
        scale = np.diag([small.shape[1] / columns, small.shape[0] / rows, 1.0])
        move = np.array([[1, 0, x0], [0, 1, y0], [0, 0, 1.0]])
        patch[y0 - top : y1 - top, x0 - left : x1 - left] = cv2.warpPerspective(
            small,
            scale @ to_texel @ move,
            (x1 - x0, y1 - y0),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_WRAP,
        )
    return patch


def _level(texture: Texture, to_texel: Points, x: float, y: float) -> int:
    """Which halving of the texture fits, by the area in texels of the pixel at (x, y)."""
    m = to_texel.tolist()

    def texel(column: float, row: float) -> tuple[float, float]:
        s, t, w = (r[0] * column + r[1] * row + r[2] for r in m)
        return s / w, t / w

    (s0, t0), (s1, t1), (s2, t2) = texel(x, y), texel(x + 1, y), texel(x, y + 1)
    area = abs((s1 - s0) * (t2 - t0) - (s2 - s0) * (t1 - t0))
    return min(max(int(0.5 * math.log2(max(area, 1e-9)) + 0.3), 0), len(texture.levels) - 1)


def _bands(
    left: int, top: int, right: int, bottom: int, ground: bool, camera: Camera
) -> list[tuple[int, int, int, int]]:
    """Parts of a box within which distance changes little: rows for the ground, columns for walls."""
    if ground:
        edges = [int(camera.horizon + camera.height / 64 * 2**k) for k in range(8)]
        cuts = [top, *(e for e in edges if top < e < bottom), bottom]
        return [(left, a, right, b) for a, b in pairwise(cuts)]
    step = max(8, camera.width // 8)
    cuts = [*range(left, right - step // 2, step), right] if right - left > step else [left, right]
    return [(a, top, b, bottom) for a, b in pairwise(cuts)]
