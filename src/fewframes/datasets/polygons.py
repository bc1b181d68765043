"""Labels and instances drawn from annotations that are shipped as polygons: Cityscapes' JSON, and IDD's variant of it.

An annotation's polygons are filled in list order, later over earlier, each with its ordinal; the label and the
instances are looked up in that one picture. Which polygons count, and with which values, follows the dataset's own
tool: for "cityscapes" the 'ids' encoding of cityscapesScripts 2.3.0 (json2labelImg, json2instanceImg), for "idd" the
'id' encoding of AutoNUE's public code. The latter fills polygons of two points (as lines) in the instances only, so
there its label and its instances differ; all other polygons are in both or in neither.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fewframes.core.errors import UserError
from fewframes.core.files import written_whole
from fewframes.core.images import FIRST_INSTANCE, MAX_PIXELS
from fewframes.core.labels import ClassTable, LabelClass, load_class_table
from fewframes.datasets.preparing import Task

LAYOUTS = ("cityscapes", "idd")
"""Whose rules polygons can be drawn by."""

BACKGROUND = "unlabeled"
"""The class, in both datasets' tables, of a pixel that no polygon covers."""

_LARGEST_ID = (2**16 - FIRST_INSTANCE) // FIRST_INSTANCE
"""The largest class id whose instances all fit 16 bits."""
_OBJECTS = 2**16 - 1
"""Ordinals in a 16-bit picture, 0 being the background."""
_SIDE = 1_000_000
"""Pixels: libpng's limit for a width or height."""
_FAR = 2**30
"""Pillow counts in 32 bits, differences of coordinates included: beyond this it is undefined what it draws."""
_PNG = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
"""A third of the time of Pillow's default and of about its size, on label maps (`benchmarks/polygons.py`)."""


@dataclass(frozen=True)
class _Drawn:
    """A polygon to fill: its corners `x, y, x, y, ...` in whole pixels, and its values in the two pictures."""

    corners: list[int]
    label: int
    instance: int


def polygon_task(annotation: str, label: str, instances: str, layout: str, classes: ClassTable) -> Task:
    """Draw the polygons of the JSON `annotation` (relative to the dataset's folder) by the rules of `layout`.

    Writes `label`, a `uint8` PNG of native ids, and `instances`, a `uint16` PNG of id * 1000 + k where the class
    has instances, else of native ids, both relative to the folder of prepared files. Its facts:
    `{"height", "width", "dropped": {reason: count}, "unknown": {label name: count}}`: `dropped` counts every polygon
    that is not in the label, `unknown` names those of them whose label the table does not have (IDD; where Cityscapes'
    rules hold, doing the task raises `UserError` for them as for a damaged annotation). Raises `UserError` for a
    class table that cannot be drawn with.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r}: one of {LAYOUTS}")
    ids = {c.name: c.id for c in classes.classes}
    if ids.get(BACKGROUND, -1) < 0:
        raise UserError(f"The class table '{classes.name}' has no class '{BACKGROUND}' with an id: polygons need it.")
    if wide := [c.name for c in classes.classes if c.has_instances and c.id > _LARGEST_ID]:
        raise UserError(
            f"In the class table '{classes.name}' the class '{wide[0]}' has instances and an id above {_LARGEST_ID}, "
            "which 16-bit instance pictures cannot hold: give it a smaller id."
        )
    recipe = _recipe(layout, classes.classes)
    return Task(name=annotation, make=_make, inputs=(annotation,), outputs=(label, instances), recipe=recipe)


@functools.lru_cache(maxsize=8)  # one for all of a dataset's tasks
def _recipe(layout: str, classes: tuple[LabelClass, ...]) -> Mapping[str, Any]:
    """Each label's id, and for those with instances the counter that numbers them: IDD shares one per level-3 id."""
    level3 = {c.name: f"level 3: {c.train_id}" for c in load_class_table("idd").classes} if layout == "idd" else {}
    return {
        "layout": layout,
        "ids": {c.name: c.id for c in classes},
        "counters": {c.name: level3.get(c.name, c.name) for c in classes if c.has_instances},
    }


def _make(task: Task, folder: Path, prepared: Path) -> dict[str, Any]:
    path = folder / task.inputs[0]
    height, width, objects = _read(path)
    drawn, dropped, unknown = _chosen(path, objects, (height, width), task.recipe)
    if len(drawn) > _OBJECTS:
        raise UserError(
            f"{path} holds {len(drawn)} polygons, more than {_OBJECTS}: that is no true annotation; replace it."
        )
    background = task.recipe["ids"][BACKGROUND]
    of_label = drawn
    if task.recipe["layout"] == "idd":
        of_label = [d for d in drawn if len(d.corners) >= 6]
        if lines := len(drawn) - len(of_label):
            dropped["two points: a line in the instances only"] = lines
    ordinals = _filled(of_label, height, width)
    label = _looked_up(ordinals, np.array([background, *(d.label for d in of_label)], np.uint8))
    if len(of_label) < len(drawn):
        ordinals = _filled(drawn, height, width)
    instances = _looked_up(ordinals, np.array([background, *(d.instance for d in drawn)], np.uint16))
    for target, pixels in zip(task.outputs, (label, instances), strict=True):
        with written_whole(prepared / target) as aside:
            aside.write_bytes(cv2.imencode(".png", pixels, _PNG)[1].tobytes())
    return {"height": height, "width": width, "dropped": dict(dropped), "unknown": dict(unknown)}


def _read(path: Path) -> tuple[int, int, list[Any]]:
    """An annotation's height, width and objects; raises `UserError` where it is damaged."""
    try:
        annotation = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): restore it or mend its permissions.") from error
    except (ValueError, RecursionError) as error:
        reason = "it is empty" if not path.stat().st_size else error
        raise UserError(f"{path} is not readable JSON ({reason}): replace it with an intact copy.") from error
    if not isinstance(annotation, dict) or not isinstance(annotation.get("objects"), list):
        raise UserError(f"{path} is JSON but no annotation with a list of 'objects': replace it with an intact copy.")
    size = []
    for key in ("imgHeight", "imgWidth"):
        value = annotation.get(key)
        if type(value) is not int or value < 1:
            raise UserError(f"{path}: '{key}' is {value!r}, not a number of pixels: write the image's own.")
        size.append(value)
    if size[0] * size[1] > MAX_PIXELS or max(size) > _SIDE:
        raise UserError(f"{path} claims an image of {size[1]}x{size[0]} pixels: write the image's own size.")
    return size[0], size[1], annotation["objects"]


def _chosen(
    path: Path, objects: Sequence[Any], size: tuple[int, int], recipe: Mapping[str, Any]
) -> tuple[list[_Drawn], Counter[str], Counter[str]]:
    """The objects to draw, in draw order; how many are not, by reason; and labels that are unknown."""
    ids, counters = recipe["ids"], recipe["counters"]
    drawn: list[_Drawn] = []
    dropped: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for number, item in enumerate(objects):
        if not isinstance(item, dict):
            raise UserError(f"{path}: object {number} is {item!r}, not an object with a label: correct or remove it.")
        if item.get("deleted"):
            dropped["deleted"] += 1
            continue
        label = item.get("label")
        where = f"{path}: object {number} ({label!r})"
        if not isinstance(label, str):
            raise UserError(f"{where} has no label: name its class or remove it.")
        # A crowd whose members cannot be told apart: 'cargroup' is a car without a number.
        name = label.removesuffix("group") if label not in ids else label
        if name not in ids:
            if recipe["layout"] == "cityscapes":
                raise UserError(f"{where} has a label that the class table does not know: correct it or the table.")
            dropped["unknown label"] += 1
            # JSON can spell half a character, which no file can.
            unknown[label.encode(errors="backslashreplace").decode()] += 1
            continue
        if ids[name] < 0:
            dropped["negative id"] += 1
            continue
        corners = _corners(item.get("polygon"), where)
        if len(corners) < 2:
            dropped["fewer than two points"] += 1
            continue
        instance = ids[name]
        if name == label and name in counters:
            counter = counters[name]
            if seen[counter] == FIRST_INSTANCE:
                raise UserError(
                    f"{where} is more than the {FIRST_INSTANCE}th of its kind: label some as '{name}group'."
                )
            instance = instance * FIRST_INSTANCE + seen[counter]
            seen[counter] += 1
        if (corners.max(axis=0) < 0).any() or (corners.min(axis=0) >= (size[1], size[0])).any():
            dropped["outside the image"] += 1
            continue
        drawn.append(_Drawn(corners.ravel().tolist(), ids[name], instance))
    return drawn, dropped, unknown


def _corners(polygon: Any, where: str) -> NDArray[np.int64]:
    """Corners as `[P, 2]` whole x and y, cut towards zero as Pillow does; raises `UserError` for no such points."""
    if not isinstance(polygon, list):
        raise UserError(f"{where} has no polygon: give it one or remove it.")
    if not polygon:
        return np.empty((0, 2), np.int64)
    try:
        points = np.asarray(polygon)
    except (ValueError, OverflowError):  # points of different lengths
        points = np.empty(0)
    if points.dtype.kind not in "if" or points.ndim != 2 or points.shape[1] != 2:
        raise UserError(f"{where} has a polygon that is not a list of [x, y] numbers: correct or remove it.")
    if not ((points > -_FAR) & (points < _FAR)).all():  # not a number is neither
        raise UserError(f"{where} has a corner that is not a number or beyond {_FAR} pixels: correct or remove it.")
    return points.astype(np.int64)


def _filled(polygons: Sequence[_Drawn], height: int, width: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Each polygon's ordinal from 1 where it is on top, `[H, W]`; 8 bits, several times as fast, where they do."""
    picture = Image.new("L" if len(polygons) < 256 else "I;16", (width, height))
    pen = ImageDraw.Draw(picture)
    for ordinal, polygon in enumerate(polygons, 1):
        pen.polygon(polygon.corners, fill=ordinal)
    return np.asarray(picture)


def _looked_up(ordinals: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """The value at each ordinal, of the values' dtype."""
    if ordinals.dtype == np.uint8:  # OpenCV's look-up takes a third of NumPy's time
        return np.asarray(cv2.LUT(ordinals, np.pad(values, (0, 256 - len(values)))))
    return values[ordinals]
