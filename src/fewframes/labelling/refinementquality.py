"""Refined labels beside the coarse ones they were made from, both against fine labels of the same images.

It needs no training: where an image has a fine annotation too, that says what refinement is worth, class by class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewframes.core import metrics
from fewframes.core.clips import Clip, Folder
from fewframes.core.files import read_csv, write_csv
from fewframes.core.images import check_size, read_label
from fewframes.core.labelfile import read_label_layer
from fewframes.core.labels import ClassTable
from fewframes.core.metrics import boundary_counts, boundary_iou, claimed, confusion_matrix, iou_per_class, mean
from fewframes.core.progress import progress, say
from fewframes.labelling.methods import marked_method

SCORES = ("coverage", "iou_claimed", "iou_all", "boundary_iou")
"""What each of the two labels is scored by: the share of valid pixels that it labels, IoU on those alone, IoU on all
valid pixels, the unlabelled counted wrong, and boundary IoU (`core.metrics`), likewise of all."""

COLUMNS = (
    *("method", "class", "frames", "pixels"),
    *(f"{score}_{what}" for score in SCORES for what in ("coarse", "refined", "gain")),
)
"""Columns of the table: counts, `pixels` those of truth, and scores in percent.

`gain` is refined minus coarse; where it is a mean, over the classes that have both.
"""

REFINED = "mean of refined"
"""The row of means over the classes that refinement works on (`ClassTable.refined`)."""


class _Tally:
    """What is counted of one kind of labels, summed over images."""

    def __init__(self, classes: int) -> None:
        self.confusion = np.zeros((classes, classes + 1), np.int64)
        self.boundaries = np.zeros((2, classes), np.int64)

    def add(self, truth: NDArray[np.uint8], label: NDArray[np.uint8]) -> None:
        classes = len(self.confusion)
        self.confusion += confusion_matrix(truth, label, classes)
        self.boundaries += boundary_counts(truth, label, classes)

    def scores(self, train_ids: Sequence[int]) -> list[NDArray[np.float64]]:
        """The `SCORES` of some classes, one array each; coverage is one number, of all their pixels together."""
        rows, on_claimed = self.confusion[train_ids], claimed(self.confusion)
        covered = rows[:, :-1].sum() / rows.sum() if rows.any() else float("nan")
        by_class = (iou_per_class(on_claimed), iou_per_class(self.confusion), boundary_iou(self.boundaries))
        return [np.array([covered]), *(values[train_ids] for values in by_class)]


def write_refinement_quality(
    method: str, labels: Path, clips: Iterable[Clip], root: Folder, results: Path, classes: ClassTable, out: Path
) -> None:
    """Score coarse labels, and what `method` made of them, on those of the clips that have a fine label too.

    `labels` is the method's collected CSV. Rows: each class, the mean over the refined ones, and `mean`, over all; no
    row where no image has both labels. Raises `UserError` where labels of an image differ in size.
    """
    refined = {row["clip"]: results / row["file"] for row in read_csv(labels, ("clip", "file"))}
    scored = [clip for clip in clips if clip.fine and clip.id in refined]
    if not scored:
        say(f"refinement {method}: no image has a coarse and a fine label, so there is nothing to score against.")
        write_csv(out, COLUMNS, [])
        return
    tallies = {kind: _Tally(len(classes.names)) for kind in ("coarse", "refined")}
    for clip in progress(scored, f"refinement quality {method}"):
        of_clip = labels_of(clip, refined[clip.id], root, classes)
        for kind, tally in tallies.items():
            tally.add(of_clip["fine"], of_clip[kind])
    rows = [(name, [i]) for i, name in enumerate(classes.names)]
    if classes.refined:
        rows.append((REFINED, list(classes.refined_train_ids)))
    rows.append(("mean", list(range(len(classes.names)))))
    pixels = tallies["coarse"].confusion.sum(axis=1)
    method = marked_method(method, refined.values())
    write_csv(
        out,
        COLUMNS,
        ([method, name, len(scored), pixels[ids].sum(), *_scores(tallies, ids)] for name, ids in rows),
    )


def labels_of(clip: Clip, refined: Path, root: Folder, classes: ClassTable) -> dict[str, NDArray[np.uint8]]:
    """The labels of an image, `uint8 [H, W]` train ids, by kind: `coarse`, `refined` and, where it has one, `fine`.

    `refined` is its label file. Raises `UserError` where they differ in size.
    """
    files = {"coarse": root / clip.coarse, "refined": refined} | ({"fine": root / clip.fine} if clip.fine else {})
    found = {
        kind: read_label_layer(file, 0) if kind == "refined" else classes.to_train_ids(read_label(file), file)
        for kind, file in files.items()
    }
    size, mend = found["coarse"].shape, "bring an image's labels to one size, and have it refined again"
    for kind, label in found.items():
        check_size(files[kind], label.shape, size, f"the coarse label {files['coarse']} is", mend)
    return found


def _scores(tallies: Mapping[str, _Tally], train_ids: Sequence[int]) -> Iterable[str]:
    coarse, refined = (tallies[kind].scores(train_ids) for kind in ("coarse", "refined"))
    for before, after in zip(coarse, refined, strict=True):
        # A mean gain is of the classes that both have: else one stray pixel of a class would pass for a loss.
        yield from map(metrics.percent, (mean(before), mean(after), mean(after - before)))
