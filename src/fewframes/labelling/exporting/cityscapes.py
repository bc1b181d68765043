"""Cityscapes' layout, which most trainers read: `gtFine/<split>/<city>/<name>_gtFine_*.png`.

Three PNGs a frame: `labelIds` (the class table's own ids), `labelTrainIds` (255 is ignored) and `color`. The city is
the folder that the image lies in, so that labels and images fit together as Cityscapes' own do.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from fewframes.core.clips import Folder
from fewframes.core.labels import ClassTable
from fewframes.labelling.exporting import Labelled
from fewframes.labelling.exporting.names import component, folder_of

KEY_FRAMES = True
UNSAFE = ""


def write(frames: Iterable[Labelled], classes: ClassTable, root: Folder, out: Path) -> None:
    """Write the frames; see `Form`."""
    for frame, label in frames:
        folder = out / "gtFine" / component(frame.split, "unsplit") / folder_of(frame.image, frame.clip)
        folder.mkdir(parents=True, exist_ok=True)
        for kind, pixels in (
            ("labelIds", classes.to_native_ids(label)),
            ("labelTrainIds", label),
            ("color", classes.colour(label)),
        ):
            Image.fromarray(pixels).save(folder / f"{frame.name}_gtFine_{kind}.png")
