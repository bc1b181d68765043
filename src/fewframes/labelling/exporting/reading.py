"""Reviewed labels as they come back: a CVAT "Segmentation mask 1.1" package or Cityscapes-style PNGs, folder or zip."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.images import MAX_PIXELS, check_size, image_mode, read_colours, read_image, read_label
from fewframes.core.labels import IGNORE, ClassTable, LabelClass
from fewframes.labelling.exporting import LISTING
from fewframes.labelling.exporting.classes import CLASSES
from fewframes.labelling.exporting.cvat import BACKGROUND, IGNORED, task_labels
from fewframes.labelling.exporting.names import one_name

Label = NDArray[np.uint8]

_MASKS, _OBJECTS = "SegmentationClass", "SegmentationObject"
_CVAT_PARTS = (_MASKS, _OBJECTS, "Segmentation", "JPEGImages", "Annotations")
"""Folders of CVAT's format; all but the first two tell nothing that is needed here."""
_PNG = re.compile(r"(?P<name>.+?)(_gtFine)?_(?P<kind>labelIds|labelTrainIds|color)\.png", re.DOTALL)
_KINDS = ("labelIds", "labelTrainIds", "color")
_LARGEST = 4 * MAX_PIXELS
"""Bytes of the largest file read from a zip: four a pixel, uncompressed."""


class Package:
    """Label pictures by the name of their frame; use it as a context, and `labels` to read them.

    `tool` is `cvat` or `cityscapes`; `names` are the frames' names, `others` the files that are no part of either.
    """

    def __init__(self, path: Path, classes: ClassTable) -> None:
        self._path, self._classes = path, classes
        self._zip = _opened_zip(path)
        files = sorted(self._listed())
        self._present = frozenset(files)
        seen = [file for file in files if not _hidden(file)]
        self.others = [file for file in files if _hidden(file)]
        self._files: dict[str, list[tuple[str, str]]] = {}
        if any(PurePosixPath(file).parent.name == _MASKS for file in seen):
            self.tool = "cvat"
            self._read_label_map([file for file in seen if PurePosixPath(file).name == "labelmap.txt"])
        else:
            self.tool = "cityscapes"
        for file in seen:
            self._sort_in(file)
        if not self._files:
            raise UserError(
                f"{path} holds no label pictures: give a CVAT export in the format 'Segmentation mask 1.1', or "
                "PNGs called *_labelIds.png, *_labelTrainIds.png or *_color.png."
            )

    def __enter__(self) -> Package:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the zip."""
        if self._zip:
            self._zip.close()

    @property
    def names(self) -> list[str]:
        """Frames that have a label picture, sorted."""
        return sorted(self._files)

    def file_of(self, name: str) -> str:
        """One file of a frame, to name it by."""
        return self._files[name][0][1]

    def labels(self, name: str, shape: tuple[int, int]) -> list[Label]:
        """What the pictures of a frame say, `uint8 [H, W]` train ids; several where they do not say the same.

        Raises `UserError` for a picture of another shape, and for an id, colour or label that no class has.
        """
        by_kind = dict(self._files[name])
        if len(by_kind) < len(self._files[name]):
            raise UserError(f"{self._shown(self.file_of(name))} is there twice: keep one.")
        found: list[Label] = []
        for kind, file in sorted(by_kind.items(), key=lambda item: _KINDS.index(item[0]) if item[0] in _KINDS else 0):
            for label in self._decoded(kind, file, found):
                check_size(self._shown(file), label.shape, shape, "its frame is", "save it at the frame's size")
                if not any(np.array_equal(label, other) for other in found):
                    found.append(label)
        return found

    def _listed(self) -> list[str]:
        if self._zip:
            return [info.filename for info in self._zip.infolist() if not info.is_dir()]
        return [path.relative_to(self._path).as_posix() for path in self._path.rglob("*") if path.is_file()]

    def _sort_in(self, file: str) -> None:
        path = PurePosixPath(file)
        name, kind = "", ""
        if self.tool == "cvat" and path.parent.name == _MASKS and path.suffix == ".png":
            name, kind = path.name.removesuffix(".png"), "mask"
        elif self.tool == "cityscapes" and (match := _PNG.fullmatch(path.name)):
            name, kind = match["name"], match["kind"]
        if name:
            self._files.setdefault(one_name(name), []).append((kind, file))
        elif not (path.parent.name in _CVAT_PARTS and self.tool == "cvat") and path.name not in (
            "labelmap.txt",
            LISTING,
            CLASSES,
        ):
            self.others.append(file)

    def _decoded(self, kind: str, file: str, found: list[Label]) -> Iterator[Label]:
        with self._local(file) as path:
            if kind == "mask":
                rows = self._rows(path)
                self._check_annotated(rows, file)
                yield self._from_rows(rows, path)
            elif kind == "labelIds":
                yield self._classes.to_train_ids(read_label(path), path)
            elif kind == "labelTrainIds":
                yield self._from_train_ids(path)
            else:
                rgb = read_colours(path)
                # Nothing new, as a rule; and not every class table's colours can be read back.
                if not any(np.array_equal(self._classes.colour(label), rgb) for label in found):
                    yield self._own_colours().from_colours(rgb, path)

    def _from_train_ids(self, path: Path) -> Label:
        label = read_label(path)
        unknown = [int(i) for i in np.unique(label) if i != IGNORE and i >= len(self._classes.trained)]
        if unknown:
            raise UserError(f"{path} holds train ids {unknown} that '{self._classes.name}' does not have: mend it.")
        return label

    def _own_colours(self) -> ClassTable:
        """A table by which `from_colours` turns what `ClassTable.colour` painted into train ids."""
        rows = [LabelClass(c.name, c.train_id, c.train_id, c.rgb) for c in self._classes.trained]
        return dataclasses.replace(self._classes, classes=(*rows, LabelClass("ignored", IGNORE, IGNORE, (0, 0, 0))))

    def _rows(self, path: Path) -> Label:
        """The rows of the label map that a picture of classes shows."""
        # A grey picture holds positions in the label map; one with a palette shows colours, as Pascal VOC's do.
        return read_label(path) if image_mode(path) == "L" else self._label_map.from_colours(read_image(path), path)

    def _check_annotated(self, rows: Label, file: str) -> None:
        """Raise `UserError` where the label map's first row may stand for pixels without any label (see `IGNORED`).

        The picture of objects is black there; but it also is where that row's label truly is.
        """
        objects = str(PurePosixPath(file).parent.parent / _OBJECTS / PurePosixPath(file).name)
        if self._train_ids[0] == IGNORE or objects not in self._present or rows.all():
            return
        with self._local(objects) as path:
            black = ~read_image(path).any(axis=2)
        if black.shape == rows.shape and (black & (rows == 0)).any():
            first = self._label_map.classes[0].name
            raise UserError(
                f"{self._shown(file)} does not tell '{first}' from pixels without a label, since labelmap.txt begins "
                f"with it: create CVAT's task with labels.json, whose label '{IGNORED}' is for that."
            )

    def _from_rows(self, rows: Label, path: Path) -> Label:
        label = self._train_ids[rows]
        if label.min(initial=0) < 0:
            strange = [self._label_map.classes[i].name for i in np.unique(rows[label < 0]) if i < self._labels]
            said = f"the labels {strange}" if strange else f"numbers beyond the {self._labels} labels of labelmap.txt"
            raise UserError(
                f"{path} has pixels of {said}, which '{self._classes.name}' does not know: "
                "give them a class's name in labelmap.txt, or add the class."
            )
        return label.astype(np.uint8)

    def _read_label_map(self, files: list[str]) -> None:
        if len(files) != 1:
            raise UserError(f"{self._path} holds {len(files)} files labelmap.txt: it must be one, of all its labels.")
        shown = self._shown(files[0])
        known = {c.name.strip(): c.train_id for c in self._classes.classes}
        known |= {name: train_id for train_id, name in enumerate(list(task_labels(self._classes))[1:])}
        known |= {BACKGROUND: IGNORE, IGNORED: IGNORE}
        with self._local(files[0]) as path:
            text = path.read_bytes().decode("utf-8-sig", errors="replace")
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        rows, train_ids = [], np.full(256, -1, np.int16)
        for number, line in enumerate(lines[:256]):
            try:
                name, colour, _, _ = line.strip().rsplit(":", 3)
                red, green, blue = (int(v) for v in colour.split(","))
                bytes((red, green, blue))  # refuses what is no colour
            except ValueError:
                raise UserError(f"{shown}: the line '{line}' is not name:r,g,b:parts:actions: correct it.") from None
            # Labels that are not known differ from all others, and from each other, by a train id of their own.
            train_ids[number] = known.get(name.strip(), -1)
            own = known.get(name.strip(), 1000 + number)
            rows.append(LabelClass(name.strip(), number, own, (red, green, blue)))
        if not rows:
            raise UserError(f"{shown} names no label: export the package again.")
        self._labels, self._train_ids = len(rows), train_ids
        self._label_map = dataclasses.replace(self._classes, name=shown, classes=tuple(rows))
        # Labels of one colour are one fault, not one a picture.
        self._label_map.from_colours(np.zeros((0, 0, 3), np.uint8), shown)

    def _shown(self, file: str) -> str:
        return f"{self._path}/{file}"

    @contextlib.contextmanager
    def _local(self, file: str) -> Iterator[Path]:
        """A path to read a file from; in an error it is called by its place in the package."""
        if not self._zip:
            yield self._path / file
            return
        try:
            info = self._zip.getinfo(file)
            if info.file_size > _LARGEST:
                raise UserError(f"{self._shown(file)} unpacks to {info.file_size} bytes: replace it with a true label.")
            content = self._zip.read(info)
        except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{self._shown(file)} cannot be unpacked ({error}): export the package again.") from error
        with tempfile.NamedTemporaryFile(suffix=".png") as copy:
            copy.write(content)
            copy.flush()
            try:
                yield Path(copy.name)
            except UserError as error:
                raise UserError(str(error).replace(copy.name, self._shown(file))) from error


def _opened_zip(path: Path) -> zipfile.ZipFile | None:
    if path.is_dir():
        return None
    if not path.is_file():
        raise UserError(f"{path} does not exist: name the zip or folder with the reviewed labels.")
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no intact zip ({error}): fetch it again.") from error


def _hidden(file: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(file).parts)
