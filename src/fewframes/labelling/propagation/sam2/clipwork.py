"""One clip on its way through the tracker: its tiles as tasks, their results as labels with what vouches for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewframes.labelling.propagation import KeyFrame, Propagated
from fewframes.labelling.propagation.sam2.engine import seen_at
from fewframes.labelling.propagation.sam2.objects import Objects
from fewframes.labelling.propagation.sam2.policy import Policy, claimed
from fewframes.labelling.propagation.sam2.reading import FramePart
from fewframes.labelling.propagation.sam2.tiling import own_share, stitched, tile_columns
from fewframes.labelling.propagation.sam2.tracks import Task, Tracked

_NOISE = 4
"""Cells of the mask grid (a quarter of the model's side) added to areas that are compared: fewer are all noise."""


@dataclass(frozen=True)
class Tile:
    """Columns of the frame, and the objects that show in them at the model's size: `numbers` are the clip's.

    `own` is the part of its width, as shares, that no other tile counts.
    """

    columns: slice
    own: tuple[float, float]
    objects: Objects
    numbers: tuple[int, ...]


class ClipWork:
    """A clip to track: `position` is its key frame's among all, `side` the model's image size.

    Steps count frames outward from the key frame, as the tracker's offsets do, whatever the clip's own step is.
    """

    def __init__(self, position: int, key: KeyFrame, objects: Objects, tiles: int, side: int, policy: Policy) -> None:
        self.position, self._key, self._objects, self._side, self._policy = position, key, objects, side, policy
        self._outward = {-1: key.outward(-1), 1: key.outward(1)}
        columns = tile_columns(objects.size[1], tiles)
        self.tiles = [_tile(objects, c, own_share(columns, n), side) for n, c in enumerate(columns)]
        self._waiting: dict[int, dict[int, Tracked]] = {}
        area = np.bincount(objects.index[objects.index >= 0], minlength=len(objects)) / objects.index.size
        noise = _NOISE / (len(self.tiles) * (side // 4) ** 2)
        self._jumps = {way: Jumps(area, noise) for way in (-1, 1)}

    @property
    def tracks(self) -> int:
        """How many tracks it is: objects, in each tile and direction."""
        ways = sum(bool(outward) for outward in self._outward.values())
        return ways * sum(len(tile.objects) for tile in self.tiles)

    @property
    def bytes_held(self) -> int:
        """Host memory that its results take until the group is through: label, confidence, object by pixel."""
        return 4 * self._objects.index.size * len(self._key.wanted)

    @property
    def unseen(self) -> int:
        """How many of its objects are in no tile, as they vanish at the model's size."""
        return len(self._objects) - len({number for tile in self.tiles for number in tile.numbers})

    def steps(self) -> list[int]:
        """Its steps in the order in which the tracker comes to them, 0 first."""
        return sorted(range(-len(self._outward[-1]), len(self._outward[1]) + 1), key=abs)

    def part(self, tile: Tile, step: int) -> FramePart:
        """What to read for a tile at a step."""
        return FramePart(self._key.images[self._offset(step)], self._objects.size, tile.columns, self._side)

    def task(self, tile: Tile, read: Callable[[int], NDArray[np.uint8]]) -> Task:
        """A tile's part of the tracking; `read` gives its frame at a step."""
        wanted = frozenset(step for step in self.steps() if self._offset(step) in self._key.wanted)
        past, future = len(self._outward[-1]), len(self._outward[1])
        return Task(self._key.name, tile.objects, past, future, read, wanted, tile.own)

    def add(self, tile: int, tracked: Tracked) -> tuple[int, Propagated] | None:
        """Take in what came of a tile; offset and label once a wanted frame's tiles are all in."""
        step = tracked.offset
        parts = self._waiting.setdefault(step, {})
        parts[tile] = tracked
        if len(parts) < len(self.tiles):
            return None
        del self._waiting[step]
        presence, area = (np.zeros(len(self._objects), np.float32) for _ in range(2))
        for n, part in parts.items():
            numbers, share = list(self.tiles[n].numbers), self._share(self.tiles[n])
            presence[numbers] = np.maximum(presence[numbers], part.presence)
            area[numbers] += part.area * share
        jump = self._jumps[1 if step > 0 else -1].largest(area)
        merged = [parts[n].merged for n in range(len(self.tiles))]
        masks = [m for m in merged if m is not None]
        if not masks:
            return None
        if len(masks) == 1 and not self.unseen:
            whole = masks[0]  # as stitching would leave it
        else:
            whole = stitched(masks, [t.columns for t in self.tiles], [t.numbers for t in self.tiles])
        train_id = np.array(self._objects.train_ids, np.uint8)
        objects: dict[str, NDArray[Any]] = {"train_id": train_id, "presence": presence, "area": area, "jump": jump}
        made = Propagated(self._key.label, {"object": whole.index, "confidence": whole.confidence}, objects)
        return self._offset(step), Propagated(claimed(made, self._policy), made.maps, made.objects)

    def _offset(self, step: int) -> int:
        return self._outward[1 if step > 0 else -1][abs(step) - 1] if step else 0

    def _share(self, tile: Tile) -> float:
        return (tile.columns.stop - tile.columns.start) / self._objects.size[1]


class Jumps:
    """The largest factor by which each object's area has changed between neighbouring frames, on one way out.

    Areas are shares of the frame, `[N]`; `noise` is added to each. An object that is gone for some frames is compared
    with what it was when last seen.
    """

    def __init__(self, area: NDArray[np.floating], noise: float) -> None:
        self._last, self._noise = area.astype(np.float32) + noise, noise
        self._largest = np.ones(len(area), np.float32)

    def largest(self, area: NDArray[np.floating]) -> NDArray[np.float32]:
        """The largest factors, 1 or more, now that the next frame's areas are known."""
        there = area > 0
        now = area.astype(np.float32)[there] + self._noise
        factor = np.maximum(now / self._last[there], self._last[there] / now)
        self._largest[there] = np.maximum(self._largest[there], factor)
        self._last[there] = now
        return self._largest.copy()


def _tile(objects: Objects, columns: slice, own: tuple[float, float], side: int) -> Tile:
    part = Objects(objects.index[:, columns], objects.train_ids)
    numbers = seen_at(part, side)
    return Tile(columns, own, part.only(numbers), tuple(numbers))
