"""What a street is made of: figures of strokes in 3-D, and textured planes.

Local axes: x to the right, y up, z ahead, in metres; a figure stands at its origin and faces +z.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fewframes.datasets.toycity.camera import Points
from fewframes.datasets.toycity.textures import Colour, Texture, tinted

Point = tuple[float, float, float]
ANY: Point = (0.0, 0.0, 0.0)
SUN = np.array([-0.45, 0.75, -0.48])
"""Where the light comes from: left, above, behind the camera; facades on the right are the bright ones."""
UPRIGHT = 6
"""The lowest layer of what stands on the ground; layers below it are the ground's."""


@dataclass(frozen=True)
class Stroke:
    """A filled polygon (`thickness` 0) or a line as thick as given in metres, over points `start:stop`.

    A polygon with an `outward` normal is seen from that side only. Groups are drawn far to near.
    """

    start: int
    stop: int
    colour: Colour
    thickness: float
    outward: Point
    group: int


@dataclass(frozen=True)
class Figure:
    """One labelled object, its points in the world at the key frame.

    It moves by `velocity` (x, z metres a frame) and its points by `swing` times the sine of its `stride`
    (radians a frame). `shadow` is half its breadth and half its length on the ground, 0 for none.
    """

    label: str
    points: Points
    swing: Points
    strokes: tuple[Stroke, ...]
    place: tuple[float, float]
    velocity: tuple[float, float]
    stride: float
    layer: int
    shadow: tuple[float, float]


@dataclass(frozen=True)
class Plane:
    """One labelled convex polygon in space, seen from the side where its corners run anticlockwise.

    Its texture starts at the first corner, runs across to the second and up (or ahead) to the last.
    """

    label: str
    corners: Points
    texture: Texture
    layer: int
    gain: float = 1.0


class Model:
    """A kind of figure, stroke by stroke; `placed` turns it into a figure, lit from above and from `SUN`'s side."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.group = 0
        self._points: list[Point] = []
        self._swing: list[Point] = []
        self._strokes: list[Stroke] = []

    def _add(self, points: Sequence[Point], colour: Colour, thickness: float, outward: Point, swing: Point) -> None:
        start = len(self._points)
        self._points += points
        self._swing += [ANY] * (len(points) - 1) + [swing]
        self._strokes.append(Stroke(start, len(self._points), colour, thickness, outward, self.group))

    def face(self, points: Sequence[Point], colour: Colour, outward: Point = ANY) -> None:
        """A polygon; with an `outward` normal it is seen from that side only, and shaded."""
        self._add(points, colour, 0.0, outward, ANY)

    def line(self, points: Sequence[Point], colour: Colour, thickness: float, swing: Point = ANY) -> None:
        """A line, or with one point a ball, `thickness` metres across; `swing` moves its last point."""
        self._add(points, colour, thickness, ANY, swing)

    def prism(self, profile: Sequence[tuple[float, float]], half: float, colour: Colour, top: float = -1) -> None:
        """A profile of (z, y) points spread to x = ±`half`, or ±`top` at its highest points."""
        high = max(y for _, y in profile)
        middle = np.mean(profile, axis=0)
        wide = [top if top >= 0 and y == high else half for _, y in profile]
        for side in (-1.0, 1.0):
            self.face([(side * w, y, z) for (z, y), w in zip(profile, wide, strict=True)], colour, (side, 0.1, 0))
        for i in range(len(profile)):
            (z0, y0), (z1, y1), w0, w1 = profile[i - 1], profile[i], wide[i - 1], wide[i]
            normal = np.array([y0 - y1, z1 - z0])
            if normal @ (np.array([z0 + z1, y0 + y1]) / 2 - middle) < 0:
                normal = -normal
            out = (0.0, float(normal[1]), float(normal[0]))
            self.face([(-w0, y0, z0), (w0, y0, z0), (w1, y1, z1), (-w1, y1, z1)], colour, out)

    def sides(self, panel: Sequence[tuple[float, float]], half: float, colour: Colour) -> None:
        """A (z, y) polygon on both sides, at x = ±`half`."""
        for side in (-1.0, 1.0):
            self.face([(side * half, y, z) for z, y in panel], colour, (side, 0, 0))

    def end(self, x0: float, y0: float, x1: float, y1: float, z: float, colour: Colour) -> None:
        """A rectangle on the front (z > 0) or the rear end."""
        self.face([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], colour, (0, 0, 1.0 if z > 0 else -1.0))

    def wheels(self, half: float, positions: Iterable[float], radius: float) -> None:
        """Discs on both sides."""
        for z in positions:
            for r, colour in ((radius, (24, 24, 26)), (radius * 0.55, (120, 122, 126))):
                ring = [(z + r * np.cos(a), radius + r * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 11)[:-1]]
                self.sides(ring, half, colour)

    def placed(
        self,
        x: float,
        z: float,
        heading: float = 0.0,
        velocity: tuple[float, float] = (0.0, 0.0),
        stride: float = 0.0,
        layer: int = 0,
        shadow: tuple[float, float] = (0.0, 0.0),
    ) -> Figure:
        """The figure at (x, z), its front turned by `heading` (radians, 0 = away from the camera, to the right)."""
        c, s = np.cos(heading), np.sin(heading)
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        strokes = []
        for stroke in self._strokes:
            if stroke.outward != ANY:
                normal = turn @ np.array(stroke.outward)
                light = 0.86 + 0.24 * float(normal @ SUN) / float(np.linalg.norm(normal))
                outward = float(normal[0]), float(normal[1]), float(normal[2])
                stroke = replace(stroke, colour=tinted(stroke.colour, light), outward=outward)
            strokes.append(stroke)
        points = np.array(self._points) @ turn.T + (x, 0, z)
        swing = np.array(self._swing) @ turn.T
        if abs(s) > 0.7:
            shadow = (shadow[1], shadow[0])
        return Figure(self.label, points, swing, tuple(strokes), (x, z), velocity, stride, layer, shadow)
