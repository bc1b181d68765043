"""COCO panoptic: `panoptic.json`, and `panoptic/<name>.png` whose colour is the id of a pixel's segment.

A segment's id is R + 256 G + 65536 B (COCO's data format, "Panoptic Segmentation"); 0 is void, here all that is
ignored. Categories are the evaluated classes under the class table's own ids. `file_name` of an image is its path in
the index: below the dataset's folder, or after `prepared:` below `prepared` of its results.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fewframes.core.clips import Folder
from fewframes.core.files import canonical_json, write_text
from fewframes.core.labels import ClassTable
from fewframes.labelling.exporting import Labelled
from fewframes.labelling.exporting.segments import find_segments

KEY_FRAMES = True
UNSAFE = ""

_LEVEL = "category"
"""The level of groups that gives the supercategories, where a class table has it; else the first level does."""


def write(frames: Iterable[Labelled], classes: ClassTable, root: Folder, out: Path) -> None:
    """Write the frames; see `Form`."""
    folder = out / "panoptic"
    folder.mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (frame, label) in enumerate(frames, 1):
        ids = np.zeros(label.shape, np.uint32)
        infos = []
        for segment_id, segment in enumerate(find_segments(label, classes), 1):
            ids[segment.window][segment.mask] = segment_id
            height, width = segment.mask.shape
            infos.append(
                {
                    "id": segment_id,
                    "category_id": classes.trained[segment.train_id].id,
                    "area": segment.area,
                    "bbox": [segment.left, segment.top, width, height],
                    "iscrowd": 0,
                }
            )
        rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
        Image.fromarray(rgb).save(folder / f"{frame.name}.png")
        images.append({"id": number, "file_name": frame.image, "height": frame.height, "width": frame.width})
        annotations.append({"image_id": number, "file_name": f"{frame.name}.png", "segments_info": infos})
    panoptic = {
        "info": {"description": "Labels made by Fewframes; export.csv beside this file says from what."},
        "images": images,
        "annotations": annotations,
        "categories": _categories(classes),
    }
    write_text(out / "panoptic.json", canonical_json(panoptic))


def _categories(classes: ClassTable) -> list[dict[str, Any]]:
    level = classes.groups.get(_LEVEL) or next(iter(classes.groups.values()), {})
    group_of = {name: group for group, names in level.items() for name in names}
    return [
        {
            "id": c.id,
            "name": c.name,
            "supercategory": group_of.get(c.name, c.name),
            "isthing": int(c.has_instances),
            "color": list(c.rgb),
        }
        for c in classes.trained
    ]
