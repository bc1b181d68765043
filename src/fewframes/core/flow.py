"""Dense optical flow without weights, and what is built on it: sampling, composing, checking.

A flow from image A to image B is `float32 [H, W, 2]`: pixel (x, y) of A is seen in B at (x + flow[y, x, 0],
y + flow[y, x, 1]), in pixels. It is estimated by dense inverse search (DIS; Kroeger et al., "Fast Optical Flow
using Dense Inverse Search", ECCV 2016) in OpenCV's implementation, whose results do not depend on the number
of threads.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.labels import IGNORE

_SMALLEST_SIDE = 16
"""DIS needs at least one of its 8-pixel patches, with margin, at its finest scale."""


class DenseFlow:
    """Estimates flow between RGB images of one size.

    `finest_scale` is the level of the image pyramid at which it stops: 0 is full resolution, each level above
    is about four times as fast and half as fine. OpenCV's medium preset stops at 1, which loses poles and signs:
    `benchmarks/flow_camvid.py` measures it, and chose the other constants too.
    """

    def __init__(self, finest_scale: int = 0) -> None:
        self._finest_scale = finest_scale
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        dis.setFinestScale(finest_scale)
        # Below, the preset's value is named first. Less smoothing (alpha 20) keeps thin objects' motion apart
        # from the background's; the wider stride (3) and the fewer iterations (25 and 5) lose nothing.
        dis.setVariationalRefinementAlpha(3.0)
        dis.setPatchStride(4)
        dis.setGradientDescentIterations(12)
        dis.setVariationalRefinementIterations(2)
        self._dis = dis

    def between(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Flow from image `a` to image `b`, both RGB `uint8 [H, W, 3]`; see the module for its meaning.

        Raises `UserError` where the sizes differ or are too small for flow.
        """
        if a.shape != b.shape:
            raise UserError(
                f"Optical flow needs frames of one size, not {a.shape[1]}x{a.shape[0]} and {b.shape[1]}x{b.shape[0]}: "
                "mend the clip's frames."
            )
        smallest = _SMALLEST_SIDE << self._finest_scale
        if min(a.shape[:2]) < smallest:
            raise UserError(
                f"Optical flow needs frames of at least {smallest} pixels a side, not {a.shape[1]}x{a.shape[0]}: "
                "use larger frames, or the method 'copy'."
            )
        # None, no flow to begin with, is what the stubs of OpenCV leave out
        return np.asarray(self._dis.calc(_grey(a), _grey(b), None), np.float32)  # type: ignore[call-overload]

    def both_ways(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The flows from `a` to `b` and from `b` to `a`."""
        return self.between(a, b), self.between(b, a)


def sample(values: NDArray[np.float32], flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """Read `values`, `[H, W]` or `[H, W, K]`, bilinearly where `flow` points; outside, its border goes on."""
    read = cv2.remap(values, *_positions(flow), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(read, np.float32)


def sample_labels(labels: NDArray[np.uint8], flow: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Read labels, `uint8 [H, W]`, from the pixel nearest to where `flow` points; 255 outside the frame."""
    read = cv2.remap(labels, *_positions(flow), cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=IGNORE)
    return np.asarray(read, np.uint8)


def compose(first: NDArray[np.float32], then: NDArray[np.float32]) -> NDArray[np.float32]:
    """The flow from A to C, given `first` from A to B and `then` from B to C."""
    return first + sample(then, first)


def disagreement(there: NDArray[np.float32], back: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far, in pixels, each pixel of A misses itself when it goes to B and back: `float32 [H, W]`.

    It is large where something is occluded, and wherever either flow is wrong.
    """
    return magnitude(compose(there, back))


def magnitude(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """Length of each flow vector in pixels, `float32 [H, W]`."""
    return np.hypot(flow[..., 0], flow[..., 1])


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), np.uint8)


def _positions(flow: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The columns and the rows that a flow points to, `float32 [H, W]` each."""
    height, width = flow.shape[:2]
    columns = flow[..., 0] + np.arange(width, dtype=np.float32)
    rows = flow[..., 1] + np.arange(height, dtype=np.float32).reshape(-1, 1)
    return np.asarray(columns, np.float32), np.asarray(rows, np.float32)
