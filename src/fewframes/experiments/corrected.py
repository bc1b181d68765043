"""Corrections as an annotation source: which made labels people corrected, where those lie, what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewframes.core.clips import PREPARED, Clip, Root
from fewframes.core.errors import UserError
from fewframes.core.files import read_csv, write_csv, written_whole
from fewframes.core.images import read_image, read_label
from fewframes.core.labelfile import Layer
from fewframes.core.labels import ClassTable
from fewframes.core.progress import progress, say
from fewframes.labelling.correctionfolder import Correction, corrected_label, read_corrections
from fewframes.labelling.exporting import image_hash

COLUMNS = ("clip", "offset", "kind", "minutes", "file", "fingerprint")
"""Columns of `corrected.csv`, one row a label that is used; `minutes` are those of its review."""


@dataclass(frozen=True)
class Corrected:
    """A corrected label in use: its file (native ids, relative to the dataset's `Root`), fingerprint and cost."""

    file: str
    fingerprint: str
    minutes: float


def adopt_corrections(folder: Path | None, clips: Sequence[Clip], root: Root, classes: ClassTable, out: Path) -> None:
    """Copy the corrections in `folder` that fit the dataset to its prepared files; write `corrected.csv` below `out`.

    The copies have the ids of `classes`, whatever the ids were when they were imported. One that does not fit any more
    is left out and named: a corrected label of a frame that has changed is wrong. Raises `UserError` where `classes`
    lacks a class that was corrected.
    """
    rows = _adopted(folder, clips, root, classes) if folder else []
    write_csv(out / "corrected.csv", COLUMNS, sorted(rows))
    if rows:
        say(f"{len(rows)} corrected labels take the place of made ones.")


def _adopted(folder: Path, clips: Sequence[Clip], root: Root, classes: ClassTable) -> list[tuple[object, ...]]:
    by_id = {clip.id: clip for clip in clips}
    rows: list[tuple[object, ...]] = []
    for correction in progress(read_corrections(folder), "corrections"):
        if fault := _fault(correction, by_id, root):
            say(f"correction of {correction.clip} at {correction.offset:+d} left out: {fault}")
            continue
        label = corrected_label(folder, correction, classes)
        target = f"corrected/{correction.clip}_{correction.offset:+d}_{correction.kind}.png"
        _write(root.prepared / target, classes.to_native_ids(label))
        rows.append((*correction.key, correction.minutes, PREPARED + target, Layer(label, "").checksum))
    return rows


def _write(path: Path, native: NDArray[np.uint8]) -> None:
    try:
        # Asked first: within a cluster's job, reading waits for what should be there.
        if path.is_file() and np.array_equal(read_label(path), native):
            return
    except UserError:  # damaged
        pass
    with written_whole(path) as aside:
        Image.fromarray(native).save(aside, "png")


def _fault(correction: Correction, clips: dict[str, Clip], root: Root) -> str:
    clip = clips.get(correction.clip)
    if clip is None or not clip.has(correction.offset):
        return "there is no such frame any more"
    if correction.kind == "pseudo" and not correction.offset:
        return "it is of the annotated frame, so correct the annotation itself"
    if image_hash(read_image(root / clip.image_at(correction.offset))) != correction.image_hash:
        return "its image has changed since"
    return ""


def read_corrected(results: Path) -> dict[tuple[str, int, str], Corrected]:
    """The corrected labels in use by clip, offset and kind; empty where the plan has not been made."""
    path = results / "corrected.csv"
    if not path.is_file():
        return {}
    return {
        (row["clip"], int(row["offset"]), row["kind"]): Corrected(
            row["file"], row["fingerprint"], float(row["minutes"])
        )
        for row in read_csv(path, COLUMNS)
    }
