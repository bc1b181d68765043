"""What leaving unsure pixels unclaimed costs and gains: pixels counted by confidence, and the curve over its limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewframes.core import metrics
from fewframes.core.files import write_csv
from fewframes.core.metrics import confusion_matrix, coverage, iou_per_class, mean
from fewframes.core.progress import say

STEPS = 20
"""Steps of the limit: 0.00, 0.05 ... 0.95. A step's bin holds the pixels from its limit up to the next."""

SOURCES = ("cycle", "truth")
"""What labels are compared with: the annotation that they were carried back to, or dense truth."""

CURVE_COLUMNS = ("method", "source", "min_confidence", "coverage", "accuracy", "miou", "right_here")
"""Columns of the policy curve: a row a source and limit, shares of 1, empty where no pixel tells.

Of the pixels with a true class, `coverage` is the share claimed at this limit, `accuracy` the share of these that are
right, `miou` their mIoU, and `right_here` the share that is right in this step's bin alone.
"""


def count_by_confidence(
    truth: NDArray[np.uint8], label: NDArray[np.uint8], confidence: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """A `confusion_matrix` for each step's bin of `confidence`, `[STEPS, classes, classes + 1]`; all are `[H, W]`."""
    # In whole numbers: a pixel is in bin k or above just where confidence / 255 >= k / STEPS.
    steps = np.minimum(confidence.astype(np.uint16) * STEPS // 255, STEPS - 1)
    within = (steps == k for k in range(STEPS))
    return np.stack([confusion_matrix(truth[here], label[here], classes) for here in within])


def write_curve(method: str, counts: Mapping[str, NDArray[np.int64]], out: Path, suggest: bool = True) -> None:
    """Write the policy curve of `counts` by source, as `count_by_confidence` makes and adding pools them.

    Says which limit they suggest, by cycle, where `suggest` is set: the method has one to set. Where there are no
    counts, the file is its header alone.
    """
    rows = [row for source in SOURCES if source in counts for row in _rows(method, source, counts[source])]
    write_csv(out, CURVE_COLUMNS, rows)
    if "cycle" in counts and suggest:
        say(f"signals {method}: {suggestion(counts['cycle'])}.")


def suggestion(counts: NDArray[np.int64]) -> str:
    """The least limit from which on every bin's pixels are right more often than wrong, in words."""
    claimed, right = _claimed_and_right(counts)
    if not claimed.any():
        return "nothing returns to the key frame, so that no min_confidence can be told by cycle"
    wrong_at = np.flatnonzero((claimed > 0) & (2 * right <= claimed))
    step = int(wrong_at[-1]) + 1 if wrong_at.size else 0
    if not claimed[step:].sum():
        return "by cycle, even the surest pixels are no more often right than wrong: no min_confidence helps"
    total = counts.sum()
    share, accuracy = claimed[step:].sum() / total, right[step:].sum() / claimed[step:].sum()
    limit = f"{step / STEPS:.2f}" if step else "0, nothing to leave unclaimed"
    return f"min_confidence by cycle: {limit} (claims {share:.1%} of the pixels, of which {accuracy:.1%} are right)"


def _rows(method: str, source: str, counts: NDArray[np.int64]) -> Iterator[list[str]]:
    claimed, right = _claimed_and_right(counts)
    for step in range(STEPS):
        # What lies below the limit is as good as unclaimed.
        kept = counts[step:].sum(axis=0)
        kept[:, -1] += counts[:step].sum(axis=(0, 2))
        values = (
            coverage(kept),
            _share(right[step:].sum(), claimed[step:].sum()),
            mean(iou_per_class(metrics.claimed(kept))),
            _share(right[step], claimed[step]),
        )
        yield [method, source, f"{step / STEPS:.2f}", *map(decimal, values)]


def _claimed_and_right(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels by bin: those claimed, and those of them that are right."""
    return counts[:, :, :-1].sum(axis=(1, 2)), np.trace(counts, axis1=1, axis2=2)


def _share(part: np.int64, whole: np.int64) -> float:
    return float(part / whole) if whole else float("nan")


def decimal(value: float) -> str:
    """A share as it stands in the tables: four decimals, nothing for what is not a number."""
    return "" if np.isnan(value) else f"{value:.4f}"
