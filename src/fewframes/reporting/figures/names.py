"""Names beside the points of a plot, where they cover nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

_DIRECTIONS = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)])
_DISTANCES = (5, 10)
"""Where a point's name may stand, in points (1/72 inch) away from it: the first place that is free is taken."""

_MARKER, _BAR, _LINE = 8, 4, 3
"""Width of a marker, of the caps of a bar and of a line, in points, with a little room."""

_NONE = np.empty((0, 2))


@dataclass(frozen=True)
class Point:
    """A point of a plot at `x`, `y`, half of whose bar is `sd` high; `needed`: it is named even if it covers others."""

    name: str
    colour: str
    x: float
    y: float
    sd: float = 0.0
    needed: bool = True


def name_points(axes: Axes, points: Sequence[Point], steps: NDArray[np.float64] = _NONE) -> None:
    """Write each point's name beside it, those that are needed first.

    These stand where they cover least of what is there already; of the others those alone that cover nothing. `steps`
    are the corners of a line of steps, `[N, 2]`, which counts as covered too.
    """
    if not points:
        return
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    unit = figure.dpi / 72
    corners = np.asarray(axes.transData.transform(steps))
    runs = np.concatenate([np.minimum(corners[:-1], corners[1:]), np.maximum(corners[:-1], corners[1:])], axis=1)
    line = runs + _LINE * unit / 2 * np.array([-1, -1, 1, 1])
    taken = np.concatenate([line, *(_marks(axes, point, unit) for point in points)])
    frame = np.array(axes.bbox.extents)
    for point in sorted(points, key=lambda p: not p.needed):
        look: Any = {"fontsize": 6.5, "color": point.colour, "ha": "center", "va": "center"}
        text = axes.annotate(point.name, (point.x, point.y), xytext=(0, 0), textcoords="offset points", **look)
        size = np.asarray(text.get_window_extent().size)
        shifts = np.concatenate([_DIRECTIONS * (distance * unit + size / 2) for distance in _DISTANCES])
        centres = axes.transData.transform((point.x, point.y)) + shifts
        boxes = np.concatenate([centres - size / 2, centres + size / 2], axis=1)
        # Rounded, so that what is free but for floating-point noise counts as free.
        covered = np.round(_overlap(boxes, taken).sum(axis=1) + size.prod() - _overlap(boxes, frame[None])[:, 0], 3)
        best = int(covered.argmin())
        if covered[best] and not point.needed:
            text.remove()
            continue
        text.set_position(tuple(shifts[best] / unit))
        taken = np.concatenate([taken, boxes[best : best + 1]])


def _marks(axes: Axes, point: Point, unit: float) -> NDArray[np.float64]:
    """The boxes of a point's marker and of its bar, in pixels, `[2, 4]`: left, bottom, right, top."""
    ends = axes.transData.transform([(point.x, point.y), (point.x, point.y - point.sd), (point.x, point.y + point.sd)])
    half = np.array([(_MARKER, _MARKER), (_BAR, 0), (_BAR, 0)]) * unit / 2
    low, high = ends - half, ends + half
    return np.array([[*low[0], *high[0]], [*low[1], *high[2]]])


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The areas that boxes `[N, 4]` and `[M, 4]` have in common, `[N, M]`."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2))
