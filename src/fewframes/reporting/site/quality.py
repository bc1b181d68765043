"""How good the made labels are, in tables short enough to read; the files themselves have every class and offset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewframes.core.errors import UserError
from fewframes.core.files import read_csv
from fewframes.reporting.printing import GAP, Column, signed
from fewframes.reporting.site.pictures import link
from fewframes.reporting.site.tabular import Shown, shown

_SIGNALS = ("confidence", "presence", "steadiness", "cycle", "agreement")


def by_distance(paths: Sequence[Path], results: Path) -> Shown | None:
    """Pseudo-labels against the truth: a row a method and distance; None where none was measured."""
    columns = ("method", "offset", "class", "frames", "coverage", "iou_claimed", "iou_copy", "iou_all")
    rows = [
        [row["method"], row["offset"].lstrip("±"), row["frames"], *(row[column] or GAP for column in columns[4:])]
        for path in paths
        for row in read_csv(path, columns)
        if row["class"] == "mean" and row["offset"].startswith("±")
    ]
    if not rows:
        return None
    headings = [
        Column("Method", words=True),
        *map(Column, ("Frames away", "Frames seen", "Coverage %", "mIoU, claimed")),
    ]
    headings += [Column("of a copied label there"), Column("mIoU, unclaimed wrong")]
    legend = (
        "Against the true labels, both directions together. Coverage is the share of pixels that got a label. mIoU in "
        "percent: on the pixels that the method claims, that of the key frame's label copied to them, and with "
        "unclaimed pixels counted as wrong."
    )
    links = [link(path, results, f"{path.stem}.csv") for path in paths]
    return shown("Pseudo-labels by distance from the key frame", headings, rows, [legend], links)


def by_class(paths: Sequence[Path], results: Path) -> Shown | None:
    """Coarse and refined labels against fine ones: a row a method and class; None where none was measured."""
    measures = {"coverage": "Coverage %", "iou_claimed": "IoU, labelled", "iou_all": "IoU, unlabelled wrong"}
    measures["boundary_iou"] = "Boundary IoU"
    states = ("coarse", "refined")
    columns = [f"{measure}_{state}" for measure in measures for state in (*states, "gain")]
    rows = [
        [
            row["method"],
            row["class"],
            *(_cell(column, row[column]) for column in columns),
        ]
        for path in paths
        for row in read_csv(path, ("method", "class", *columns))
    ]
    if not rows:
        return None
    headings = [Column("Method", words=True), Column("Class", words=True)]
    headings += [Column(state, title) for title in measures.values() for state in (*states, "gain")]
    legend = (
        "Against the fine labels of the same images, in percent; a gain is refined minus coarse, in points. IoU is on "
        "the labelled pixels alone, and with unlabelled ones counted as wrong; boundary IoU looks at outlines only."
    )
    links = [link(path, results, f"{path.stem}.csv") for path in paths]
    return shown("Refined labels by class", headings, rows, [legend], links, head=1)


def signals(paths: Sequence[Path], results: Path) -> Shown | None:
    """The signals that need no truth, as means over the labels measured: a row a method; None where none was."""
    rows = []
    for path in paths:
        labels = read_csv(path, ("method", "coverage", *_SIGNALS, "iou"))
        if labels:
            means = [_mean(path, [row[column] for row in labels]) for column in ("coverage", *_SIGNALS, "iou")]
            rows.append([path.stem, str(len(labels)), *means])
    if not rows:
        return None
    headings = [Column("Method", words=True), *map(Column, ("Labels", "Coverage", *map(str.capitalize, _SIGNALS)))]
    legend = (
        "Means over the labels measured, from 0 to 1. Cycle: how much of the annotation is found again when a label is "
        "carried back to its key frame; agreement: with the labels carried out, on the way. The true mIoU is there "
        "where dense truth is."
    )
    links = [link(path, results, f"{path.stem}.csv") for path in paths]
    links += [
        link(curve, results, f"{curve.stem}, by confidence.csv")
        for path in paths
        if (curve := path.parents[1] / "policy" / path.name).is_file()
    ]
    return shown("Signals that need no truth", [*headings, Column("mIoU, true")], rows, [legend], links)


def _cell(column: str, value: str) -> str:
    """A number as it is printed: gains have their sign."""
    if not value:
        return GAP
    return signed(float(value)) if column.endswith("gain") else value


def _mean(path: Path, values: Sequence[str]) -> str:
    try:
        numbers = [float(value) for value in values if value]
    except ValueError as error:
        raise UserError(f"{path} is no table of signals ({error}): make it again with `snakemake`.") from error
    return f"{np.mean(numbers):.3f}" if numbers else GAP
