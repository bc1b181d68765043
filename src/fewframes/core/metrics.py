"""Confusion matrices and what is read off them: IoU, accuracy, coverage.

A matrix counts pixels, rows are the truth and columns the prediction. It is counted over a whole dataset and
only then divided; per-image ratios are never averaged. The rules are those of cityscapesScripts'
`evalPixelLevelSemanticLabeling`: pixels whose truth is ignored count nowhere, not as false positives either,
and a valid pixel that the prediction leaves unclaimed is a miss of its true class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.labels import IGNORE


def confusion_matrix(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Count pixels by true and predicted class.

    `truth` and `prediction` are train ids of the same shape; returns `[classes, classes + 1]`, whose last
    column counts the pixels that the prediction leaves unclaimed (255). Add the matrices of images for
    a dataset's. Raises `UserError` where a train id is neither below `classes` nor 255.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape} and prediction {prediction.shape}: they must be of one shape")
    pairs = np.bincount((truth.astype(np.uint16) * 256 + prediction).ravel(), minlength=256 * 256)
    counts = pairs.reshape(256, 256)
    for name, seen in (("true", counts.sum(axis=1)), ("predicted", counts.sum(axis=0))):
        if seen[classes:IGNORE].any():
            stray = classes + int(np.flatnonzero(seen[classes:IGNORE])[0])
            raise UserError(
                f"A {name} label holds train id {stray}, but there are {classes} classes: "
                "choose the class table that it was made with."
            )
    return np.hstack([counts[:classes, :classes], counts[:classes, IGNORE:]]).astype(np.int64)


def iou_per_class(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union by class, `[C]`, from a matrix `[C, C]` or `[C, C + 1]`.

    It is not a number where a class is absent from both truth and prediction.
    """
    hits = np.diagonal(confusion)
    return _ratio(hits, confusion.sum(axis=1) + confusion.sum(axis=0)[: len(confusion)] - hits)


def accuracy_per_class(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Recall by class, `[C]`: the share of its true pixels that are found; not a number where it has none."""
    return _ratio(np.diagonal(confusion), confusion.sum(axis=1))


def mean(values: NDArray[np.float64]) -> float:
    """The mean of what is a number (mIoU of IoUs, mAcc of accuracies); not a number where nothing is."""
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if numbers.size else float("nan")


def coverage(confusion: NDArray[np.int64]) -> float:
    """The share of valid true pixels that the prediction claims; not a number where there are none."""
    total = int(confusion.sum())
    return float(confusion[:, : len(confusion)].sum() / total) if total else float("nan")


def claimed(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """The matrix `[C, C]` of the claimed pixels alone, as if the unclaimed ones had no truth."""
    return confusion[:, : len(confusion)]


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
