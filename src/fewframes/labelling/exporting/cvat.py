"""A task for review in CVAT: its labels, its images, and annotations in the format "Segmentation mask 1.1".

That format (CVAT's documentation, "Segmentation mask"; read and written by Datumaro's VOC plug-in) is a zip of
`labelmap.txt` (`name:r,g,b:parts:actions`), a list of frames, and two pictures a frame: colours of the label map for
the classes, and Pascal VOC's palette for the segments. Black is background there, and here what is ignored.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewframes.core.clips import Folder
from fewframes.core.errors import UserError
from fewframes.core.files import write_text
from fewframes.core.labels import ClassTable
from fewframes.labelling.exporting import Labelled
from fewframes.labelling.exporting.segments import find_segments

KEY_FRAMES = False
UNSAFE = r"[\x00-\x1f\x7f.#\\]|^\s+|\s+$"
"""What would break the list of frames, or how CVAT finds an annotation's image: by its name up to the last dot."""

BACKGROUND = "background"
"""What CVAT calls pixels without annotation."""

IGNORED = "(ignored)"
"""The label of pixels that are to be ignored; the same as none at all.

CVAT's packages are written by Datumaro, which sorts the labels and paints what has none in the first one's colour
(seen with 0.3.1 and 1.13.12): so there must be one that means this and comes before all others.
"""

RGB = tuple[int, int, int]
_BLACK = (0, 0, 0)
_GREY = (64, 64, 64)
"""The colour of `IGNORED`, where no class has it."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""A zip's earliest date, on all members: equal labels make equal zips."""


def task_labels(classes: ClassTable) -> dict[str, RGB]:
    """The labels of the task with their colours: `IGNORED`, then the evaluated classes by train id.

    A colour is the class's own, another where that is black or an earlier class's. A label map cannot hold ':' or a
    line end in a name, nor '#' in front; `background` is no class there, and nothing may come before `IGNORED`.
    """
    names = [re.sub(r"[:\r\n]|^[!-(]", "_", c.name).strip() for c in classes.trained]
    names = [f"{name} class" if name == BACKGROUND else name for name in names]
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{count} classes of '{classes.name}' would be called '{name}' in CVAT: rename them.")
    used = {_BLACK}
    own = {_GREY, *(c.rgb for c in classes.trained)}
    spare = [c for c in map(_rgb, voc_palette()) if c not in own]
    colours = []
    for rgb in (*(c.rgb for c in classes.trained), _GREY):
        colours.append(next(c for c in spare if c not in used) if rgb in used else rgb)
        used.add(colours[-1])
    return {IGNORED: colours[-1], **dict(zip(names, colours[:-1], strict=True))}


def write(frames: Iterable[Labelled], classes: ClassTable, root: Folder, out: Path) -> None:
    """Write the frames; see `Form`."""
    labels, palette = task_labels(classes), voc_palette()
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(classes.trained)] = [rgb for name, rgb in labels.items() if name != IGNORED]
    listed = []
    with zipfile.ZipFile(out / "images.zip", "w") as images, zipfile.ZipFile(out / "annotations.zip", "w") as masks:
        for frame, label in frames:
            suffix = PurePosixPath(frame.image).suffix
            with (root / frame.image).open("rb") as source, images.open(_member(frame.name + suffix), "w") as target:
                shutil.copyfileobj(source, target)
            segments = np.zeros(label.shape, np.uint8)
            for number, segment in enumerate(find_segments(label, classes, most=len(palette) - 1), 1):
                segments[segment.window][segment.mask] = number
            masks.writestr(_member(f"SegmentationClass/{frame.name}.png"), _png(colours[label]))
            masks.writestr(_member(f"SegmentationObject/{frame.name}.png"), _png(palette[segments]))
            listed.append(frame.name)
        lines = [f"{name}:{','.join(map(str, rgb))}::" for name, rgb in {BACKGROUND: _BLACK, **labels}.items()]
        _write_lines(masks, "labelmap.txt", ["# label:color_rgb:parts:actions", *lines])
        _write_lines(masks, "ImageSets/Segmentation/default.txt", listed)
    raw = [
        {"name": name, "color": "#" + bytes(rgb).hex(), "type": "any", "attributes": []} for name, rgb in labels.items()
    ]
    write_text(out / "labels.json", json.dumps(raw, indent=2, ensure_ascii=False) + "\n")


def voc_palette() -> NDArray[np.uint8]:
    """Pascal VOC's colours, `uint8 [256, 3]`: bits 3i, 3i + 1, 3i + 2 of a number are bit 7 - i of R, G and B."""
    number = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = number >> (3 * place + channel) & 1
            palette[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return palette


def _rgb(row: NDArray[np.uint8]) -> RGB:
    red, green, blue = row.tolist()
    return red, green, blue


def _png(rgb: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "png")
    return stream.getvalue()


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, _EPOCH)


def _write_lines(archive: zipfile.ZipFile, name: str, lines: Iterable[str]) -> None:
    archive.writestr(_member(name), "".join(f"{line}\n" for line in lines).encode())
