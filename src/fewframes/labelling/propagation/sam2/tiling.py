"""The frame as tiles side by side, each tracked by itself at the model's size, and their results as one frame's.

SAM 2 squashes a frame to a square: of a 2048x1024 frame every second column is lost, and with it thin poles. Tiles
overlap, so that what moves a little across a seam is followed on both sides of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewframes.labelling.propagation.sam2.tracks import Merged

_OVERLAP = 1 / 16
"""Of the frame's width, that two neighbouring tiles share: what moves by less than half of it leaves no gap."""


def tile_columns(width: int, tiles: int) -> list[slice]:
    """The columns of each tile, from left to right: equally wide, and together the whole `width`."""
    shared = round(width * _OVERLAP) if tiles > 1 else 0
    wide = -(-(width + (tiles - 1) * shared) // tiles)
    lefts = [round(n * (width - wide) / max(1, tiles - 1)) for n in range(tiles)]
    return [slice(left, left + wide) for left in lefts]


def own_share(columns: Sequence[slice], tile: int) -> tuple[float, float]:
    """The part of a tile, as shares of its width, that is its own: what it shares is parted in the middle."""
    own = columns[tile]
    left = (own.start + columns[tile - 1].stop) / 2 if tile else own.start
    right = (own.stop + columns[tile + 1].start) / 2 if tile + 1 < len(columns) else own.stop
    wide = own.stop - own.start
    return (left - own.start) / wide, (right - own.start) / wide


def stitched(parts: Sequence[Merged], columns: Sequence[slice], numbers: Sequence[Sequence[int]]) -> Merged:
    """One frame from its tiles; `numbers` are the frame's numbers of each tile's objects.

    Where tiles overlap, the surer one is right; what only one claims is its.
    """
    size = parts[0].index.shape[0], columns[-1].stop
    whole = Merged.nothing(size)
    for part, across, of_frame in zip(parts, columns, numbers, strict=True):
        index = np.array([*of_frame, -1], np.int16)[part.index]
        there = whole.index[:, across]
        ahead = (index >= 0) & ((there < 0) | (part.confidence > whole.confidence[:, across]))
        there[ahead] = index[ahead]
        whole.confidence[:, across][ahead] = part.confidence[ahead]
    return whole
