"""The folder of corrections: reviewed labels, what their ids mean, and what is known of each.

It lies with the user's data: `labels/<clip>_<offset>-<hash>.png` (native ids), `classes/<hash>.csv` (what these mean:
a class table may be edited later) and `corrections.csv`, one row a frame.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.files import content_hash, disk_faults_named, read_csv, write_csv
from fewframes.core.images import read_label
from fewframes.core.labels import IGNORE, ClassTable
from fewframes.core.progress import say
from fewframes.labelling.exporting.classes import read_classes, write_classes

LISTING = "corrections.csv"


@dataclass(frozen=True)
class Correction:
    """A reviewed label; the fields are the columns of `corrections.csv`.

    It stands for the label of `kind` (`pseudo` or `refined`) at `offset` of `clip`. `method` and `fingerprint` are
    those of the made label that was reviewed. `file` is a PNG of native ids below the folder and `hash` its content's,
    `classes` a CSV below the folder of what those ids mean; `image_hash` is of the pixels of the image it was drawn on
    (see `exporting.image_hash`). `minutes` is the work on this frame, `imported` an ISO date, `changed` the percentage
    of pixels that differ from the made label (0 where none does, None where that label is not at hand).
    """

    clip: str
    offset: int
    kind: str
    method: str
    fingerprint: str
    file: str
    hash: str
    classes: str
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


def label_file(clip: str, offset: int, known_by: str) -> str:
    """Where a corrected label of this content hash lies in the folder.

    A later one gets another name: until it is listed, a killed import has taken nothing away.
    """
    return f"labels/{clip}_{offset}-{known_by}.png"


def read_corrections(folder: Path) -> list[Correction]:
    """The corrections in a folder, sorted; raises `UserError` where a file of theirs is not as it was imported."""
    corrections = _read_rows(folder)
    for file, known in {c.file: c.hash for c in corrections}.items():
        _check(folder, file, known)
    for file in {c.classes for c in corrections}:
        _check(folder, file, PurePosixPath(file).stem)
    return corrections


def corrected_label(folder: Path, correction: Correction, classes: ClassTable) -> NDArray[np.uint8]:
    """A corrected label, `uint8 [H, W]` train ids of `classes`: a class is the one of the same name there.

    What was ignored when it was imported is ignored. Raises `UserError` where a class in it is not in `classes`.
    """
    here = {c.name: c.train_id for c in classes.classes}
    train_ids, names = np.full(256, -1, np.int16), {}
    train_ids[IGNORE] = IGNORE
    for c in read_classes(folder / correction.classes):
        if c.id >= 0:
            train_ids[c.id] = IGNORE if c.train_id == IGNORE else here.get(c.name, -1)
            names[c.id] = c.name
    native = read_label(folder / correction.file)
    label = train_ids[native]
    if label.min(initial=0) < 0:
        unknown = [names.get(int(i), f"id {i}") for i in np.unique(native[label < 0])]
        raise UserError(
            f"{folder / correction.file} has pixels of {unknown}, which the class table '{classes.name}' lacks: "
            f"give it the class by that name, or delete the correction's row from {folder / LISTING}."
        )
    return label.astype(np.uint8)


@contextlib.contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """A new folder in the folder of corrections to make files in, for `keep`.

    It is removed at the end; that of a killed import stays, is never read, and may be deleted (`.import-*`).
    """
    with disk_faults_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".import-", dir=folder, ignore_cleanup_errors=True) as aside:
            yield Path(aside)


def made_classes(classes: ClassTable, aside: Path) -> str:
    """Write what the ids of `classes` mean to `aside`, for `keep`; returns the file, called by its content."""
    write_classes(aside / "classes.csv", classes)
    file = f"classes/{content_hash(aside / 'classes.csv')}.csv"
    (aside / file).parent.mkdir()
    (aside / "classes.csv").rename(aside / file)
    return file


def keep(taken: Mapping[str, Correction], aside: Path, folder: Path) -> list[str]:
    """Add corrections, given by name, whose files lie in `aside`; returns the names not kept.

    A frame's correction takes the place of an earlier one, but where the made label came back unchanged: then an
    earlier change stays. Others that import at the same time wait.
    """
    if not taken:
        return []
    staying = []
    with _locked(folder):
        rows = {c.key: c for c in _read_rows(folder)} if (folder / LISTING).is_file() else {}
        before = {c.file for c in rows.values()}
        for file in {c.classes for c in taken.values()}:
            _move(file, aside, folder)
        for name, new in taken.items():
            old = rows.get(new.key)
            if old and new.changed == 0 and old.changed != 0:
                staying.append(name)
                continue
            _move(new.file, aside, folder)
            # The same again is no news.
            same = old is not None and dataclasses.replace(old, imported=new.imported) == new
            rows[new.key] = old if old is not None and same else new
        # csv writes None as an empty field.
        write_csv(folder / LISTING, _COLUMNS, (dataclasses.astuple(rows[key]) for key in sorted(rows)))
        for file in before - {c.file for c in rows.values()}:
            (folder / file).unlink(missing_ok=True)
    return staying


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone in the folder, among all that ask for it this way."""
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # a file system without locks
            say(f"{folder} cannot be locked ({error.strerror}): let no two imports into it run at once.")
        yield


def _move(file: str, aside: Path, folder: Path) -> None:
    (folder / file).parent.mkdir(exist_ok=True)
    (aside / file).replace(folder / file)


def _check(folder: Path, file: str, known: str) -> None:
    mend = f"restore it, import its package again, or delete its row from {folder / LISTING}"
    if not (folder / file).is_file():
        raise UserError(f"{folder / file} does not exist: {mend}.")
    if content_hash(folder / file) != known:
        raise UserError(f"{folder / file} is not as it was imported: {mend}.")


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
            for file in map(PurePosixPath, (row["file"], row["classes"])):
                if file.is_absolute() or ".." in file.parts:
                    raise ValueError("its file lies elsewhere")
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: the row of clip '{row['clip']}' is damaged ({error}): mend it.") from None
        corrections.append(Correction(**values))
    keys = Counter(c.key for c in corrections)
    if twice := [key for key, count in keys.items() if count > 1]:
        raise UserError(f"{path} has two rows of clip '{twice[0][0]}' at offset {twice[0][1]}: delete one.")
    return sorted(corrections, key=lambda c: c.key)
