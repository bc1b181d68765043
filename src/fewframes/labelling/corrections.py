"""Corrections: reviewed labels, taken back as annotation with what they cost and what they were made from.

They live in a folder that the user keeps with his data: `labels/<clip>_<offset>.png` (native ids) and
`corrections.csv`, one row a frame. Importing adds rows and updates those of the same frame; it never loses one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
from collections import Counter
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.files import content_hash, read_csv, write_csv, written_whole
from fewframes.core.labelfile import Layer
from fewframes.core.labels import ClassTable
from fewframes.core.progress import progress, say
from fewframes.datasets.source import LeftOut
from fewframes.labelling.exporting import Frame, read_frames
from fewframes.labelling.exporting.reading import Label, Package, one_name

LISTING = "corrections.csv"
_FOLDER = "labels"


@dataclass(frozen=True)
class Correction:
    """A reviewed label; the fields are the columns of `corrections.csv`.

    It stands for the label of `kind` (`pseudo` or `refined`) at `offset` of `clip`. `method` and `fingerprint` are
    those of the made label that was reviewed. `file` is a PNG of native ids below the folder and `hash` its content's,
    `image_hash` that of the image it was drawn on; `minutes` is the work on this frame, `imported` an ISO date,
    `changed` the percentage of pixels that differ from the made label (None where that label is not at hand).
    """

    clip: str
    offset: int
    kind: str
    method: str
    fingerprint: str
    file: str
    hash: str
    image_hash: str
    minutes: float
    by: str
    tool: str
    imported: str
    changed: float | None

    @property
    def key(self) -> tuple[str, int, str]:
        """What it stands for; no two corrections share it."""
        return self.clip, self.offset, self.kind


_COLUMNS = tuple(f.name for f in fields(Correction))


@dataclass
class Imported:
    """What an import did: frames `changed`, frames reviewed and `unchanged`, and what it did not use."""

    changed: int = 0
    unchanged: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)


def read_corrections(folder: Path) -> list[Correction]:
    """The corrections in a folder, sorted; raises `UserError` where a label is missing or not as it was imported."""
    corrections = _read_rows(folder)
    for correction in corrections:
        path = folder / correction.file
        mend = f"restore it, import its package again, or delete its row from {folder / LISTING}"
        if not path.is_file():
            raise UserError(f"{path} does not exist: {mend}.")
        if content_hash(path) != correction.hash:
            raise UserError(f"{path} is not as it was imported: {mend}.")
    return corrections


def import_corrections(
    package: Path,
    exported: Path,
    out: Path,
    classes: ClassTable,
    minutes: float,
    by: str,
    keep_unchanged: bool = True,
    tool: str = "",
    imported: date | None = None,
) -> Imported:
    """Take the reviewed labels of `package` (see `Package`) into the folder of corrections `out`.

    `exported` is the folder that the labels were exported to. Every frame in the package counts as reviewed and costs
    `minutes`, also one that was right as it was: without `keep_unchanged` such frames are left out, unpaid (a package
    of which only some frames were looked at). An unchanged frame never replaces an earlier correction. `tool` is
    guessed from the package where it is empty, `imported` is today. Raises `UserError` with all faults found in the
    package; nothing is imported then.
    """
    if not (math.isfinite(minutes) and minutes >= 0):
        raise UserError(f"--minutes is {minutes}: give the minutes of work a frame, 0 or more.")
    if not by.strip():
        raise UserError("--by is empty: say who reviewed the labels.")
    frames = {one_name(frame.name): frame for frame in read_frames(exported)}
    known = {c.key: c for c in _read_rows(out)} if (out / LISTING).is_file() else {}
    done = Imported()
    faults: list[str] = []
    taken: list[Correction] = []
    aside = out / ".import"
    try:
        with Package(package, classes) as came, _Made(exported, classes) as made:
            if not frames.keys() & set(came.names):
                raise UserError(f"No frame in {package} was exported to {exported}: name the folder it came from.")
            for name in progress(came.names, "import"):
                frame = frames.get(name)
                if frame is None:
                    done.left_out.add("not in export.csv", came.file_of(name))
                    continue
                try:
                    label = _reviewed(frame, came)
                    changed = _checksum(label) != frame.checksum
                    before = known.get((frame.clip, frame.offset, frame.kind))
                    if reason := _reason(frame, changed, before, keep_unchanged):
                        done.left_out.add(reason, name)
                        continue
                except UserError as error:
                    faults.append(str(error))
                    continue
                file = f"{_FOLDER}/{frame.clip}_{frame.offset}.png"
                with written_whole(aside / file) as path:
                    Image.fromarray(classes.to_native_ids(label)).save(path, "png")
                taken.append(
                    Correction(
                        clip=frame.clip,
                        offset=frame.offset,
                        kind=frame.kind,
                        method=frame.method,
                        fingerprint=frame.fingerprint,
                        file=file,
                        hash=content_hash(aside / file),
                        image_hash=frame.image_hash,
                        minutes=minutes,
                        by=by.strip(),
                        tool=tool or came.tool,
                        imported=(imported or date.today()).isoformat(),
                        changed=made.share(frame, label) if changed else 0.0,
                    )
                )
                done.changed += changed
                done.unchanged += not changed
            for file in came.others:
                done.left_out.add("no label picture", file)
            for name in sorted(frames.keys() - set(came.names)):
                done.left_out.add("exported, but not in the package", name)
        _raise(faults, package)
        _keep(taken, known, aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for line in done.left_out.lines():
        say(line)
    say(
        f"import: {len(taken)} frames reviewed by {by} into {out}, {done.changed} of them changed, "
        f"at {minutes:g} minutes each."
    )
    return done


class _Made:
    """The labels as they were exported, as far as the folder still holds them."""

    def __init__(self, exported: Path, classes: ClassTable) -> None:
        masks = exported / "annotations.zip"
        try:
            self._package: Package | None = Package(masks if masks.is_file() else exported, classes)
        except UserError:  # a form whose pictures do not come back, or the zip is gone
            self._package = None

    def __enter__(self) -> _Made:
        return self

    def __exit__(self, *details: object) -> None:
        if self._package:
            self._package.close()

    def share(self, frame: Frame, label: Label) -> float | None:
        """The percentage of pixels of `label` that are not as they were exported; None where that cannot be told."""
        name = one_name(frame.name)
        if self._package and name in self._package.names:
            with contextlib.suppress(UserError):
                for made in self._package.labels(name, label.shape):
                    # The pictures may have been edited where they lie.
                    if _checksum(made) == frame.checksum:
                        return round(100 * float(np.mean(made != label)), 6)
        return None


def _reviewed(frame: Frame, came: Package) -> Label:
    """The label of a frame in the package; of pictures that differ, the one that is not as it was exported."""
    name = one_name(frame.name)
    labels = came.labels(name, (frame.height, frame.width))
    changed = [label for label in labels if _checksum(label) != frame.checksum]
    if len(changed) > 1:
        raise UserError(f"{came.file_of(name)} and its sisters were changed and differ: keep the one that is right.")
    return changed[0] if changed else labels[0]


def _reason(frame: Frame, changed: bool, before: Correction | None, keep_unchanged: bool) -> str:
    """Why a frame is left out; empty where it is not. Raises `UserError` for a change that has no place here."""
    if frame.kind == "pseudo" and frame.offset == 0:
        if changed:
            raise UserError(
                f"{frame.name} is a key frame and its label the annotation itself: correct it in the dataset, "
                "and leave it out of the package."
            )
        return "a key frame, whose label is the annotation itself"
    if not changed and before and before.changed != 0:
        return "unchanged, and an earlier correction stays"
    if not changed and not keep_unchanged:
        return "unchanged"
    return ""


def _raise(faults: list[str], package: Path) -> None:
    for fault in faults:
        say(f"fault: {fault}")
    if faults:
        raise UserError(
            f"{package} has {len(faults)} faulty label pictures, the first: {faults[0]} "
            "All are listed above; nothing was imported."
        )


def _keep(taken: list[Correction], known: dict[tuple[str, int, str], Correction], aside: Path, out: Path) -> None:
    rows = dict(known)
    for new in taken:
        (out / _FOLDER).mkdir(parents=True, exist_ok=True)
        (aside / new.file).replace(out / new.file)
        old = known.get(new.key)
        # The same again is no news.
        same = old is not None and dataclasses.replace(old, imported=new.imported) == new
        rows[new.key] = old if old is not None and same else new
    # csv writes None as an empty field.
    write_csv(out / LISTING, _COLUMNS, (dataclasses.astuple(rows[key]) for key in sorted(rows)))


def _read_rows(folder: Path) -> list[Correction]:
    path = folder / LISTING
    if not path.is_file():
        raise UserError(f"{folder} has no {LISTING}: name the folder that `fewframes import` writes.")
    corrections = []
    for row in read_csv(path, _COLUMNS):
        try:
            values: dict[str, Any] = {column: row[column] for column in _COLUMNS}
            values["offset"] = int(row["offset"])
            values["minutes"] = float(row["minutes"])
            values["changed"] = float(row["changed"]) if row["changed"] else None
            file = PurePosixPath(row["file"])
            if file.is_absolute() or ".." in file.parts:
                raise ValueError("its file lies elsewhere")
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: the row of clip '{row['clip']}' is damaged ({error}): mend it.") from None
        corrections.append(Correction(**values))
    keys = Counter(c.key for c in corrections)
    if twice := [key for key, count in keys.items() if count > 1]:
        raise UserError(f"{path} has two rows of clip '{twice[0][0]}' at offset {twice[0][1]}: delete one.")
    return sorted(corrections, key=lambda c: c.key)


def _checksum(label: Label) -> str:
    return Layer(label, "").checksum
