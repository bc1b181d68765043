"""Masks from the model's grid to the image's pixels: `Sam.postprocess_masks` and its threshold, only where a mask is.

The package resizes a mask to the model's square, cuts the padding off, and resizes it to the image, bilinearly both
times. That is a product with a matrix along the rows and one along the columns; they are read off by resizing the unit
matrix with the same functions, and only what reaches the positive cells is multiplied. Where a pixel comes out so near
to 0 that another order of the sums might change its sign, the mask is made in the package's way.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fewframes.labelling.refinement.sam.views import View

_ROUNDING = 24 * 2**-24
"""Bound on how far two ways to compute a pixel may lie apart, as a share of what the logits around it are in size.

Resizing twice rounds a product and a sum in two directions each time, 8 times; the matrices hold 8 roundings, and two
products with them, of four terms at most that are not 0, add 8. Each is by 2**-24 at most.
"""

_WORTHWHILE = 1 / 4
"""Share of the image above which resizing all of it is as fast."""

_ROWS = 128
"""Rows of the image made at a time: of a width of 1024, half a megabyte."""

_MOST_DOUBTFUL = 256
"""Pixels looked at more closely, at most: as many are a plateau at 0, and no outline that runs near it."""


def upsampled(logits: Tensor, view: View) -> NDArray[np.bool_]:
    """Where one mask, `float32 [s, s]`, is above 0 once resized to the pixels of its view, `bool [height, width]`.

    Equal to the package's result, pixel for pixel.
    """
    if logits.device.type != "cpu":
        return _everywhere(logits, view)
    mask = np.zeros((view.height, view.width), bool)
    positive = logits > 0
    down = _resizing(len(logits), view.side, view.resized[0], view.height)
    across = _resizing(len(logits), view.side, view.resized[1], view.width)
    # All weights are positive: a pixel that no positive cell reaches is not.
    top, bottom = _reached(down[:, slice(*_reached(positive.any(dim=1)))])
    left, right = _reached(across[:, slice(*_reached(positive.any(dim=0)))])
    if top == bottom or left == right:
        return mask
    if (bottom - top) * (right - left) > _WORTHWHILE * mask.size:
        return _everywhere(logits, view)
    columns = slice(*_reached(across[left:right].T))
    across = across[left:right, columns]
    for start in range(top, bottom, _ROWS):
        stop = min(start + _ROWS, bottom)
        rows = slice(*_reached(down[start:stop].T))
        part = logits[rows, columns]
        values = down[start:stop, rows] @ part @ across.T
        if _doubtful(values, down[start:stop, rows], part, across):
            return _everywhere(logits, view)
        mask[start:stop, left:right] = (values > 0).numpy()
    return mask


def _everywhere(logits: Tensor, view: View) -> NDArray[np.bool_]:
    """The package's way."""
    square = F.interpolate(logits[None, None], (view.side, view.side), mode="bilinear", align_corners=False)
    height, width = view.resized
    shown = square[..., :height, :width]
    pixels = F.interpolate(shown, (view.height, view.width), mode="bilinear", align_corners=False)
    return (pixels[0, 0] > 0).cpu().numpy()


def _doubtful(values: Tensor, down: Tensor, logits: Tensor, across: Tensor) -> bool:
    """Whether rounding may decide the sign of any of the `values`, which are `down @ logits @ across.T`."""
    size = logits.abs()
    near = (values.abs() <= _ROUNDING * size.max()).nonzero()
    if not len(near):
        return False
    if len(near) > _MOST_DOUBTFUL:
        return True
    rows, columns = near.T
    around = ((down[rows] @ size) * across[columns]).sum(dim=1)
    return bool((values[rows, columns].abs() <= _ROUNDING * around).any())


@functools.lru_cache(maxsize=16)
def _resizing(cells: int, side: int, shown: int, pixels: int) -> Tensor:
    """The matrix, `float32 [pixels, cells]`, that resizes a column of cells to `side`, cuts it, and resizes again."""
    unit = torch.eye(cells)[None, None]
    square = F.interpolate(unit, (side, cells), mode="bilinear", align_corners=False)[..., :shown, :]
    return F.interpolate(square, (pixels, cells), mode="bilinear", align_corners=False)[0, 0]


def _reached(entries: Tensor) -> tuple[int, int]:
    """The first row or entry that is not 0 and the one after the last; both 0 where all are."""
    places = (entries.any(dim=1) if entries.ndim == 2 else entries).nonzero()
    return (int(places[0, 0]), int(places[-1, 0]) + 1) if len(places) else (0, 0)
