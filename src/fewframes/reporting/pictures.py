"""Pictures of labels: an annotated frame with its pseudo-labels, coarse labels beside refined and fine ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewframes.core.clips import Clip, Folder
from fewframes.core.errors import UserError
from fewframes.core.files import read_csv
from fewframes.core.images import read_image, read_label
from fewframes.core.labelfile import read_label_layer
from fewframes.core.labels import ClassTable
from fewframes.reporting.figures import Picture, write_contact_sheet

_ROWS = 4
"""Clips a sheet shows, spread evenly over those that could be."""

_FRACTIONS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Offsets shown, as shares of how far the labels reach: the paper's figure 2 with a step between."""


def write_propagation_sheet(
    clips: Iterable[Clip],
    labels: Path,
    root: Folder,
    results: Path,
    classes: ClassTable,
    out: Path,
    note: str,
) -> None:
    """Key frames and their propagated labels in both directions (the paper's figure 2), `<out>.png` and `.pdf`."""
    made: dict[str, dict[int, str]] = {}
    for row in read_csv(labels, ("clip", "offset", "file")):
        made.setdefault(row["clip"], {})[int(row["offset"])] = row["file"]
    reach = max((abs(o) for offsets in made.values() for o in offsets), default=0)
    # Clips labelled all the way in both directions show most; others serve where there are none.
    whole = [c for c in clips if {-reach, reach} <= made.get(c.id, {}).keys()]
    shown = whole or [c for c in clips if len(made.get(c.id, {})) > 1]
    if not shown:
        raise UserError("No clip has propagated labels to show: name an experiment that uses them, or measure quality.")
    rows = []
    for clip in _spread(shown):
        files = made[clip.id]
        offsets = sorted({min(files, key=lambda o: (abs(o - f * reach), o)) for f in _FRACTIONS})
        pictures = [
            Picture(
                f"{offset:+d}" if offset else "annotated",
                read_image(root / clip.image_at(offset)),
                read_label_layer(results / files[offset], offset),
            )
            for offset in offsets
        ]
        rows.append((clip.id, pictures))
    write_contact_sheet(rows, classes, out, note)


def write_refinement_sheet(
    clips: Iterable[Clip],
    labels: Path,
    root: Folder,
    results: Path,
    classes: ClassTable,
    out: Path,
    note: str,
) -> None:
    """Images with their coarse, refined and fine labels (the paper's figure 3), `<out>.png` and `.pdf`."""
    made = {row["clip"]: row["file"] for row in read_csv(labels, ("clip", "file"))}
    shown = [clip for clip in clips if clip.id in made]
    if not shown:
        raise UserError("No refined label is there to show: name an experiment that uses refined labels.")

    def native(path: str) -> NDArray[np.uint8]:
        return classes.to_train_ids(read_label(root / path), root / path)

    rows = []
    for clip in _spread(shown):
        image = read_image(root / clip.image)
        pictures = [
            Picture("image", image),
            Picture("coarse", image, native(clip.coarse)),
            Picture("refined", image, read_label_layer(results / made[clip.id], 0)),
        ]
        if clip.fine:
            pictures.append(Picture("fine", image, native(clip.fine)))
        rows.append((clip.id, pictures))
    write_contact_sheet(rows, classes, out, note)


def _spread(clips: list[Clip]) -> list[Clip]:
    picks = np.linspace(0, len(clips) - 1, min(_ROWS, len(clips))).round().astype(int)
    return [clips[i] for i in picks]
