"""Corrections as an annotation source: which made labels people corrected, where those lie, what they cost."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewframes.core.clips import PREPARED, Clip, Root
from fewframes.core.files import ContentHashes, read_csv, write_csv, written_whole
from fewframes.core.progress import say
from fewframes.labelling.corrections import Correction, read_corrections

COLUMNS = ("clip", "offset", "kind", "minutes", "file", "fingerprint")
"""Columns of `corrected.csv`, one row a label that is used; `minutes` are those of its review."""


@dataclass(frozen=True)
class Corrected:
    """A corrected label in use: its file (native ids, relative to the dataset's `Root`), content hash and cost."""

    file: str
    fingerprint: str
    minutes: float


def adopt_corrections(folder: Path | None, clips: Sequence[Clip], root: Root, hashes: ContentHashes, out: Path) -> None:
    """Copy the corrections in `folder` that fit the dataset to its prepared files; write `corrected.csv` below `out`.

    One that does not fit any more is left out and named: a corrected label of a frame that has changed is wrong.
    """
    rows = _adopted(folder, clips, root, hashes) if folder else []
    write_csv(out / "corrected.csv", COLUMNS, sorted(rows))
    if rows:
        say(f"{len(rows)} corrected labels take the place of made ones.")


def _adopted(folder: Path, clips: Sequence[Clip], root: Root, hashes: ContentHashes) -> list[tuple[object, ...]]:
    by_id = {clip.id: clip for clip in clips}
    rows: list[tuple[object, ...]] = []
    for correction in read_corrections(folder):
        if fault := _fault(correction, by_id, root, hashes):
            say(f"correction of {correction.clip} at {correction.offset:+d} left out: {fault}")
            continue
        target = f"corrected/{correction.clip}_{correction.offset:+d}_{correction.kind}.png"
        copy = root.prepared / target
        if not copy.is_file() or hashes.of(copy) != correction.hash:
            with written_whole(copy) as aside:
                shutil.copyfile(folder / correction.file, aside)
        rows.append((*correction.key, correction.minutes, PREPARED + target, correction.hash))
    return rows


def _fault(correction: Correction, clips: dict[str, Clip], root: Root, hashes: ContentHashes) -> str:
    clip = clips.get(correction.clip)
    if clip is None or not clip.has(correction.offset):
        return "there is no such frame any more"
    if correction.kind == "pseudo" and not correction.offset:
        return "it is of the annotated frame, so correct the annotation itself"
    if hashes.of(root / clip.image_at(correction.offset)) != correction.image_hash:
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
