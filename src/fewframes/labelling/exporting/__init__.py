"""Made labels out to other tools. A new form is one new file here and one name below."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fewframes.core.clips import CLIP_ID, Folder
from fewframes.core.errors import UserError
from fewframes.core.files import read_csv, write_csv
from fewframes.core.labels import ClassTable
from fewframes.labelling.methods import method_module

FORMS = ("cityscapes", "coco", "cvat")
"""Known forms; each is a module of this room that is a `Form`."""

LISTING = "export.csv"
"""The file in every exported folder that says what each label is: one row a `Frame`."""


@dataclass(frozen=True)
class Frame:
    """One exported label; the fields are the columns of `export.csv`.

    `name` is the label's in the exported files, unique among them. `kind` is `pseudo` or `refined`; `fingerprint`
    and `checksum` are those of its layer in the label file, `image_hash` is of the image's pixels (see `image_hash`),
    `image` as in the index.
    """

    name: str
    clip: str
    offset: int
    kind: str
    method: str
    fingerprint: str
    checksum: str
    image: str
    image_hash: str
    height: int
    width: int
    split: str


Labelled = tuple[Frame, NDArray[np.uint8]]
"""A frame and its label, `uint8 [H, W]` train ids."""


def image_hash(image: NDArray[np.uint8]) -> str:
    """blake2b of an image's shape and pixels, `uint8 [H, W, 3]`; 16 hex digits.

    Of the pixels, not of the file: a video's frame that another version of the decoder writes is the same frame.
    """
    h = hashlib.blake2b(repr(image.shape).encode(), digest_size=8)
    h.update(np.ascontiguousarray(image).tobytes())
    return h.hexdigest()


class Form(Protocol):
    """What a form's module must have."""

    KEY_FRAMES: bool
    """Whether pseudo-labels at offset 0, which are the annotation itself, are exported when no offset is named."""
    UNSAFE: str
    """A regular expression of the characters that this form cannot carry in a frame's name; empty: it can carry all."""

    def write(self, frames: Iterable[Labelled], classes: ClassTable, root: Folder, out: Path) -> None:
        """Write the frames, taken one by one, into the empty folder `out`; `root` leads to their images."""
        ...


def form_module(form: str) -> Form:
    """The form of that name; raises `UserError` for an unknown one."""
    return cast(Form, method_module("exporting", form, FORMS))


_COLUMNS = tuple(field.name for field in fields(Frame))


def write_frames(folder: Path, frames: Iterable[Frame]) -> None:
    """Write a folder's `export.csv`."""
    write_csv(folder / LISTING, _COLUMNS, (astuple(frame) for frame in frames))


def read_frames(folder: Path) -> list[Frame]:
    """What was exported to a folder; raises `UserError` where it is no export, or its listing is damaged."""
    path = folder / LISTING
    if not path.is_file():
        raise UserError(f"{folder} has no {LISTING}: name the folder that `fewframes export` wrote.")
    frames = []
    for row in read_csv(path, _COLUMNS):
        try:
            numbers = {key: int(row[key]) for key in ("offset", "height", "width")}
            if not CLIP_ID.fullmatch(row["clip"]):  # files are called by it
                raise ValueError
        except (TypeError, ValueError):
            raise UserError(f"{path}: the row of '{row['name']}' is damaged: export again.") from None
        frames.append(Frame(**{**{key: row[key] for key in _COLUMNS}, **numbers}))  # type: ignore[arg-type]
    return frames
