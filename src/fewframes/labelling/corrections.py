"""Corrections: reviewed labels, taken back as annotation with what they cost and what they were made from.

Importing adds to the folder of corrections and updates what is there of the same frames; it never loses one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.files import content_hash, written_whole
from fewframes.core.labelfile import Layer
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.core.progress import progress, say
from fewframes.datasets.source import LeftOut
from fewframes.labelling.correctionfolder import Correction, beside, keep, label_file, made_classes
from fewframes.labelling.exporting import Frame, read_frames
from fewframes.labelling.exporting.classes import CLASSES, read_classes
from fewframes.labelling.exporting.names import one_name
from fewframes.labelling.exporting.reading import Label, Package


@dataclass
class Imported:
    """What an import did: frames `changed`, frames reviewed and `unchanged`, and what it did not use."""

    changed: int = 0
    unchanged: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)


def import_corrections(
    package: Path,
    exported: Path,
    out: Path,
    classes: ClassTable,
    minutes: float,
    by: str,
    keep_unchanged: bool = True,
    imported: date | None = None,
) -> Imported:
    """Take the reviewed labels of `package` (see `Package`) into the folder of corrections `out`.

    `exported` is the folder that the labels were exported to. Every frame in the package counts as reviewed and costs
    `minutes`, also one that was right as it was: without `keep_unchanged` such frames are left out, unpaid (a package
    of which only some frames were looked at). An unchanged frame never replaces an earlier correction. `imported`
    is today. Raises `UserError` with all faults found in the package, and where `classes` has others than were
    exported; nothing is imported then.
    """
    if not (math.isfinite(minutes) and minutes >= 0):
        raise UserError(f"--minutes is {minutes}: give the minutes of work a frame, 0 or more.")
    if not by.strip():
        raise UserError("--by is empty: say who reviewed the labels.")
    frames = {one_name(frame.name): frame for frame in read_frames(exported)}
    classes = _classes_of(exported, classes)
    done = Imported()
    faults: list[str] = []
    taken: dict[str, Correction] = {}
    with beside(out) as aside, Package(package, classes) as came, _Made(exported, classes) as made:
        meaning = made_classes(classes, aside)
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
                if reason := _reason(frame, changed, keep_unchanged):
                    done.left_out.add(reason, name)
                    continue
            except UserError as error:
                faults.append(str(error))
                continue
            with written_whole(aside / "label.png") as path:
                Image.fromarray(classes.to_native_ids(label)).save(path, "png")
            known_by = content_hash(aside / "label.png")
            file = label_file(frame.clip, frame.offset, known_by)
            (aside / file).parent.mkdir(exist_ok=True)
            (aside / "label.png").rename(aside / file)
            taken[name] = Correction(
                clip=frame.clip,
                offset=frame.offset,
                kind=frame.kind,
                method=frame.method,
                fingerprint=frame.fingerprint,
                file=file,
                hash=known_by,
                classes=meaning,
                image_hash=frame.image_hash,
                minutes=minutes,
                by=by.strip(),
                tool=came.tool,
                imported=(imported or date.today()).isoformat(),
                changed=made.share(frame, label) if changed else 0.0,
            )
        for file in came.others:
            done.left_out.add("no label picture", file)
        for name in sorted(frames.keys() - set(came.names)):
            done.left_out.add("exported, but not in the package", name)
        _raise(faults, package)
        for name in keep(taken, aside, out):
            done.left_out.add("unchanged, and an earlier correction stays", name)
            del taken[name]
    done.unchanged = sum(correction.changed == 0 for correction in taken.values())
    done.changed = len(taken) - done.unchanged
    for line in done.left_out.lines():
        say(line)
    say(
        f"import: {len(taken)} frames reviewed by {by} into {out}, {done.changed} of them changed, "
        f"at {minutes:g} minutes each."
    )
    return done


def _classes_of(exported: Path, classes: ClassTable) -> ClassTable:
    """The class table with the ids and colours that were exported, by which the package is to be read.

    Raises `UserError` where the evaluated classes are not those of `classes`.
    """
    rows = read_classes(exported / CLASSES)
    void = any(c.name == classes.void and c.id >= 0 and c.train_id == IGNORE for c in rows)
    own = dataclasses.replace(classes, classes=rows, void=classes.void if void else "")
    if own.names != classes.names:
        train_id, was, now = next(
            (i, was, now)
            for i, (was, now) in enumerate(itertools.zip_longest(own.names, classes.names, fillvalue="no class"))
            if was != now
        )
        raise UserError(
            f"{exported} was exported with another class table than '{classes.name}': its train id {train_id} is "
            f"'{was}', not '{now}'. Name by --classes the table it was exported with."
        )
    return own


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


def _reason(frame: Frame, changed: bool, keep_unchanged: bool) -> str:
    """Why a frame is left out; empty where it is not. Raises `UserError` for a change that has no place here."""
    if frame.kind == "pseudo" and frame.offset == 0:
        if changed:
            raise UserError(
                f"{frame.name} is a key frame and its label the annotation itself: correct it in the dataset, "
                "and leave it out of the package."
            )
        return "a key frame, whose label is the annotation itself"
    return "" if changed or keep_unchanged else "unchanged"


def _raise(faults: list[str], package: Path) -> None:
    for fault in faults:
        say(f"fault: {fault}")
    if faults:
        raise UserError(
            f"{package} has {len(faults)} faulty label pictures, the first: {faults[0]} "
            "All are listed above; nothing was imported."
        )


def _checksum(label: Label) -> str:
    return Layer(label, "").checksum
