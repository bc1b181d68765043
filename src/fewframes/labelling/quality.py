"""Pseudo-labels against dense truth: by distance from the key frame and by class, with coverage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewframes.core import metrics
from fewframes.core.clips import Clip, Folder
from fewframes.core.errors import UserError
from fewframes.core.files import read_csv, write_csv
from fewframes.core.images import read_label
from fewframes.core.labelfile import Layer, read_label_layer, read_layer
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.core.metrics import confusion_matrix, coverage, iou_per_class, mean
from fewframes.core.progress import progress
from fewframes.labelling.methods import marked_method
from fewframes.labelling.propagation.layers import has_policy, unfiltered

_FACTS = ("method", "offset", "class", "frames", "pixels")
_SCORES = ("coverage", "iou_claimed", "iou_copy", "iou_all", "coverage_unfiltered", "iou_unfiltered")
COLUMNS = (*_FACTS, *_SCORES)
"""Columns of the quality table: counts, `pixels` those of truth, and scores in percent.

`iou_claimed` scores the pixels that the method claimed, `iou_copy` the key frame's label copied to the same
pixels, and `iou_all` every pixel, with the unclaimed counted wrong. `coverage_unfiltered` and `iou_unfiltered` are
`coverage` and `iou_claimed` before the method's ignore policy, where it has one. The row `mean` has the mIoU.
"""


class _Tally:
    """Confusions summed over the frames at one offset: the method's, the same before its ignore policy, and copying's
    on the pixels it claimed."""

    def __init__(self, classes: int) -> None:
        self.frames = 0
        self.method = np.zeros((classes, classes + 1), np.int64)
        self.unfiltered = np.zeros((classes, classes + 1), np.int64)
        self.copy = np.zeros((classes, classes + 1), np.int64)

    def add(self, truth: NDArray[np.uint8], layer: Layer, key: NDArray[np.uint8]) -> None:
        classes = len(self.method)
        self.frames += 1
        self.method += confusion_matrix(truth, layer.label, classes)
        if has_policy(layer):
            self.unfiltered += confusion_matrix(truth, unfiltered(layer), classes)
        claimed = np.where(layer.label == IGNORE, np.uint8(IGNORE), truth)
        self.copy += confusion_matrix(claimed, key, classes)

    def __add__(self, other: _Tally) -> _Tally:
        both = _Tally(len(self.method))
        both.frames = self.frames + other.frames
        both.method = self.method + other.method
        both.unfiltered = self.unfiltered + other.unfiltered
        both.copy = self.copy + other.copy
        return both


def write_quality(
    method: str,
    labels: Path,
    clips: Iterable[Clip],
    reach: int,
    results: Path,
    truth_root: Folder,
    classes: ClassTable,
    out: Path,
) -> None:
    """Score the labels of `method` on frames of the given clips that have dense truth, and write the table.

    Labels farther than `reach` from the key frame are left out: only some experiments ask for them, of some clips.

    Rows: each signed offset, then `±d` for both directions at distance d together, each by class and `mean`.
    """
    by_id = {clip.id: clip for clip in clips if clip.truth}
    rows = [row for row in read_csv(labels, ("clip", "offset", "file")) if row["clip"] in by_id]
    tallies: dict[int, _Tally] = defaultdict(lambda: _Tally(len(classes.names)))
    for row in progress(rows, f"quality {method}"):
        offset = int(row["offset"])
        clip = by_id[row["clip"]]
        truth_file = truth_root / clip.truth_at(offset)
        if not 0 < abs(offset) <= reach or not truth_file.is_file():
            continue
        truth = classes.to_train_ids(read_label(truth_file), truth_file)
        file = results / row["file"]
        tallies[offset].add(truth, read_layer(file, offset, maps=("object",)), read_label_layer(file, 0))
    if not tallies:
        raise UserError(
            f"No label of '{method}' lies on a frame with dense truth below {truth_root}: "
            "correct dataset.truth in the config, or leave 'quality' without methods."
        )
    method = marked_method(method, (results / row["file"] for row in rows))
    tables: list[tuple[str, _Tally]] = [(str(offset), tallies[offset]) for offset in sorted(tallies)]
    for distance in sorted({abs(o) for o in tallies}):
        if distance in tallies and -distance in tallies:
            tables.append((f"±{distance}", tallies[distance] + tallies[-distance]))
    write_csv(out, COLUMNS, (line for name, tally in tables for line in _lines(method, name, tally, classes.names)))


def _lines(method: str, offset: str, tally: _Tally, names: Sequence[str]) -> list[list[object]]:
    claimed = iou_per_class(metrics.claimed(tally.method))
    copied = iou_per_class(tally.copy)
    whole = iou_per_class(tally.method)
    before = iou_per_class(metrics.claimed(tally.unfiltered))
    pixels = tally.method.sum(axis=1)
    head = [method, offset]
    lines: list[list[object]] = [
        [
            *head,
            name,
            tally.frames,
            pixels[i],
            *map(metrics.percent, (_share(tally.method, i), claimed[i], copied[i], whole[i])),
            *map(metrics.percent, (_share(tally.unfiltered, i), before[i])),
        ]
        for i, name in enumerate(names)
    ]
    means = (coverage(tally.method), *map(mean, (claimed, copied, whole)), coverage(tally.unfiltered), mean(before))
    return [*lines, [*head, "mean", tally.frames, pixels.sum(), *map(metrics.percent, means)]]


def _share(confusion: NDArray[np.int64], row: int) -> float:
    pixels = confusion[row].sum()
    return float(confusion[row, :-1].sum() / pixels) if pixels else float("nan")
