"""Confusion matrices and what is read off them: IoU, accuracy, coverage; and the IoU of boundaries.

A matrix counts pixels, rows are the truth and columns the prediction. It is counted over a whole dataset and
only then divided; per-image ratios are never averaged. The rules are those of cityscapesScripts'
`evalPixelLevelSemanticLabeling`: pixels whose truth is ignored count nowhere, not as false positives either,
and a valid pixel that the prediction leaves unclaimed is a miss of its true class.

IoU hardly sees the outlines of large objects. Boundary IoU (Cheng et al., "Boundary IoU: Improving Object-Centric Image
Segmentation Evaluation", CVPR 2021) is the IoU of two bands alone: the true pixels of a class near its own contour, and
the predicted ones near theirs. Its counts add up over a dataset as confusion matrices do.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.labels import IGNORE

BOUNDARY_SHARE = 0.005
"""How far from a contour its band goes, as a share of the image's diagonal: what Cheng et al.'s published evaluation
takes for Cityscapes, 11 pixels at 2048x1024 (for COCO's smaller pictures, 0.02)."""

_COUNTED_AT_ONCE = 2**24
"""Pixels: OpenCV hands its counts out in float32, which tells whole numbers apart up to here."""


def percent(share: float, places: int = 2) -> str:
    """A share as a table has it, in percent; nothing where it is no number."""
    return "" if np.isnan(share) else f"{100 * share:.{places}f}"


def confusion_matrix(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Count pixels by true and predicted class.

    `truth` and `prediction` are train ids of the same shape; returns `[classes, classes + 1]`, whose last
    column counts the pixels that the prediction leaves unclaimed (255). Add the matrices of images for
    a dataset's. Raises `UserError` where a train id is neither below `classes` nor 255.
    """
    _check_shapes(truth, prediction)
    flat = [truth.reshape(1, -1), prediction.reshape(1, -1)]
    counts = np.zeros((256, 256), np.int64)
    for first in range(0, truth.size, _COUNTED_AT_ONCE):
        part = [np.ascontiguousarray(ids[:, first : first + _COUNTED_AT_ONCE]) for ids in flat]
        counts += cv2.calcHist(part, [0, 1], None, [256, 256], [0, 256, 0, 256]).astype(np.int64)
    _check_ids(counts.sum(axis=1), counts.sum(axis=0), classes)
    return np.hstack([counts[:classes, :classes], counts[:classes, IGNORE:]])


def iou_per_class(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union by class, `[C]`, from a matrix `[C, C]` or `[C, C + 1]`.

    It is not a number where a class is absent from both truth and prediction.
    """
    hits = np.diagonal(confusion)
    return _ratio(hits, confusion.sum(axis=1) + confusion.sum(axis=0)[: len(confusion)] - hits)


def accuracy_per_class(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Recall by class, `[C]`: the share of its true pixels that are found; not a number where it has none."""
    return _ratio(np.diagonal(confusion), confusion.sum(axis=1))


def boundary_counts(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int, share: float = BOUNDARY_SHARE
) -> NDArray[np.int64]:
    """Count the pixels by class that lie in both bands, true and predicted, and those that lie in either.

    `truth` and `prediction` are train ids of the same shape; returns `[2, classes]`, intersections above unions. Add
    those of images for a dataset's. The band of a class are those of its pixels that have the image's edge, or a pixel
    not of the class, in the square that goes `share` of the diagonal (at least a pixel) to each side: Cheng et al.'s
    erosion. Pixels whose truth is ignored are outside the image for both; unclaimed ones are of no class. Raises
    `UserError` where a train id is neither below `classes` nor 255.
    """
    _check_shapes(truth, prediction)
    _check_ids(_histogram(truth), _histogram(prediction), classes)
    reach = max(1, round(share * float(np.hypot(*truth.shape))))
    judged = np.where(truth == IGNORE, np.uint8(IGNORE), prediction)
    true, predicted = _band(truth, reach), _band(judged, reach)
    both = _histogram(truth[true & predicted & (truth == judged)])
    either = _histogram(truth[true]) + _histogram(judged[predicted]) - both
    return np.stack([both, either])[:, :classes].astype(np.int64)


def boundary_iou(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Boundary IoU by class, `[C]`, from `boundary_counts`; not a number where both lack the class."""
    return _ratio(counts[0], counts[1])


def mean(values: NDArray[np.float64]) -> float:
    """The mean of what is a number (mIoU of IoUs, mAcc of accuracies); not a number where nothing is."""
    numbers = values[~np.isnan(values)]
    # One by one, as cityscapesScripts adds them: NumPy's own sum goes pairwise and may differ in the last bit.
    return float(np.cumsum(numbers)[-1] / numbers.size) if numbers.size else float("nan")


def coverage(confusion: NDArray[np.int64]) -> float:
    """The share of valid true pixels that the prediction claims; not a number where there are none."""
    total = int(confusion.sum())
    return float(confusion[:, : len(confusion)].sum() / total) if total else float("nan")


def claimed(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """The matrix `[C, C]` of the claimed pixels alone, as if the unclaimed ones had no truth."""
    return confusion[:, : len(confusion)]


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _check_shapes(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape} and prediction {prediction.shape}: they must be of one shape")


def _check_ids(true: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> None:
    """Raise `UserError` where pixels are counted, `[256]` by train id, that have no class."""
    for name, seen in (("true", true), ("predicted", predicted)):
        if seen[classes:IGNORE].any():
            stray = classes + int(np.flatnonzero(seen[classes:IGNORE])[0])
            raise UserError(
                f"A {name} label holds train id {stray}, but there are {classes} classes: "
                "choose the class table that it was made with."
            )


def _histogram(ids: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.bincount(ids.ravel(), minlength=256)


def _band(label: NDArray[np.uint8], reach: int) -> NDArray[np.bool_]:
    """The pixels within `reach` of another label or of the image's edge, of all classes at once.

    A pixel is none of them where the least and the greatest train id around it are its own.
    """
    near = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    greatest = cv2.dilate(label, near, borderType=cv2.BORDER_CONSTANT, borderValue=IGNORE)
    least = cv2.erode(label, near)
    return np.asarray((greatest != label) | (least != label))
