"""Label maps that do not hold native ids, turned once into PNGs that do: colour pictures, Cityscapes-VPS's encodings.

How a file encodes its classes is told by how its pixels are stored, never by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewframes.core.errors import UserError
from fewframes.core.files import written_whole
from fewframes.core.images import FIRST_INSTANCE, image_mode, read_colours, read_instances, read_label
from fewframes.core.labels import IGNORE, ClassTable, LabelClass
from fewframes.datasets.preparing import Task

_Make = Callable[[Task, Path, Path], Mapping[str, Any]]
_COLOUR_MODES = ("RGB", "RGBA")
_COMPRESSION = 1
"""zlib's level for prepared PNGs: label maps shrink at any, and the lightest writes fastest."""

_VPS_STRAY = 0.5
"""Cityscapes-VPS's own conversion (prepare_data/create_panoptic_labels.py) takes any colour but those of the 19 classes
for void. A picture with more strange pixels than this is none of its labels."""


def label_task(label: str, target: str, classes: ClassTable, stray: float = 0.0) -> Task:
    """The task to turn a label map into a PNG of native ids, `target` below the prepared files.

    An index PNG holds native ids, a colour PNG the colours of `classes`. Pixels of a colour that no class has are a
    fault, unless they are at most the share `stray` of the picture: then they are ignored. Facts: `height`, `width`,
    and `stray`, the number of such pixels.
    """
    return _task(_prepare_label, label, target, classes, {"stray": stray})


def vps_label_task(label: str, target: str, classes: ClassTable) -> Task:
    """The task to turn a label of Cityscapes-VPS into a PNG of native ids of `classes` (the table `cityscapes`).

    The label is a colour PNG (`cls`), an index PNG of train ids (`labelmap`) or a 16-bit PNG of train id * 1000 +
    object (`panoptic_inst`). Facts as `label_task` has them; the strange colours of `cls` are void.
    """
    return _task(_prepare_vps_label, label, target, _by_colour(classes), {})


def vps_instance_task(panoptic: str, target: str, classes: ClassTable) -> Task:
    """The task to turn a 16-bit PNG of Cityscapes-VPS (`panoptic_inst`) into a 16-bit PNG of native instance ids.

    Facts: `height` and `width`.
    """
    return _task(_prepare_vps_instances, panoptic, target, classes, {})


def _task(make: _Make, label: str, target: str, classes: ClassTable, settings: Mapping[str, Any]) -> Task:
    # Only what decides the result is in the recipe: a changed price of annotation makes no label due again.
    rows = [[c.name, c.id, c.train_id, list(c.rgb), c.has_instances] for c in classes.classes]
    recipe = {"table": classes.name, "classes": rows, "void": classes.void, **settings}
    return Task(name=target, make=make, inputs=(label,), outputs=(target,), recipe=recipe)


def _table(recipe: Mapping[str, Any]) -> ClassTable:
    rows = tuple(LabelClass(name, i, train_id, tuple(rgb), own) for name, i, train_id, rgb, own in recipe["classes"])
    return ClassTable(recipe["table"], rows, minutes={}, offsets=(0, 0), refined=(), void=recipe["void"])


def _by_colour(classes: ClassTable) -> ClassTable:
    """The table without ignored classes that are coloured like an evaluated one (Cityscapes' polegroup: pole)."""
    evaluated = {c.rgb for c in classes.trained}
    kept = tuple(c for c in classes.classes if c.train_id != IGNORE or c.rgb not in evaluated)
    return replace(classes, classes=kept)


def _prepare_label(task: Task, folder: Path, prepared: Path) -> Mapping[str, Any]:
    path, classes = folder / task.inputs[0], _table(task.recipe)
    stray = 0
    if image_mode(path) in _COLOUR_MODES:
        native, stray = _from_colours(path, classes, task.recipe["stray"])
    else:
        native = read_label(path)
        classes.to_train_ids(native, path)  # raises where an id is not in the table
        _check_palette(path, native, classes)
    _save(native, prepared / task.outputs[0])
    return {"height": native.shape[0], "width": native.shape[1], "stray": stray}


def _prepare_vps_label(task: Task, folder: Path, prepared: Path) -> Mapping[str, Any]:
    path, classes = folder / task.inputs[0], _table(task.recipe)
    mode = image_mode(path)
    stray = 0
    if mode in _COLOUR_MODES:
        native, stray = _from_colours(path, classes, _VPS_STRAY)
    else:
        values = read_label(path).astype(np.int32) if mode in ("L", "P") else read_instances(path)
        native = classes.to_native_ids(_train_ids(values, path, classes))
    _save(native, prepared / task.outputs[0])
    return {"height": native.shape[0], "width": native.shape[1], "stray": stray}


def _prepare_vps_instances(task: Task, folder: Path, prepared: Path) -> Mapping[str, Any]:
    path, classes = folder / task.inputs[0], _table(task.recipe)
    values = read_instances(path)
    native = classes.to_native_ids(_train_ids(values, path, classes)).astype(np.int32)
    # An object's number may be 0: the value, not the number, tells an object from a mere class.
    objects = native * FIRST_INSTANCE + values % FIRST_INSTANCE
    _save(np.where(values >= FIRST_INSTANCE, objects, native).astype(np.uint16), prepared / task.outputs[0])
    return {"height": values.shape[0], "width": values.shape[1]}


def _check_palette(path: Path, native: NDArray[np.uint8], classes: ClassTable) -> None:
    """Raise `UserError` for a colour picture that was saved with a palette: its values number colours, not classes.

    It is told by colours that are all those of classes, some at other values than their ids. A palette of greys is
    no choice of colours.
    """
    with Image.open(path) as image:
        palette = image.getpalette("RGB") or []
    colours = {value: tuple(palette[3 * value : 3 * value + 3]) for value in np.unique(native).tolist()}
    if all(colour == (value,) * 3 for value, colour in colours.items()):
        return
    ids: dict[tuple[int, ...], set[int]] = {}
    for c in classes.classes:
        ids.setdefault(c.rgb, set()).add(c.id)
    if not ids.keys() >= set(colours.values()):
        return
    if any(value not in ids[colour] for value, colour in colours.items()):
        raise UserError(
            f"{path} holds the colours of '{classes.name}' as a palette, at other values than the classes' ids: "
            "save it as RGB, or write the ids."
        )


def _from_colours(path: Path, classes: ClassTable, allowed: float) -> tuple[NDArray[np.uint8], int]:
    """Native ids, `uint8 [H, W]`, and how many pixels of a strange colour were ignored."""
    rgb = read_colours(path)
    native, strange = classes.match_colours(rgb)
    count = int(np.count_nonzero(strange))
    if count > allowed * strange.size:
        return classes.from_colours(rgb, path), 0  # which names them
    native[strange] = classes.to_native_ids(np.array([IGNORE], np.uint8))[0]
    return native, count


def _train_ids(values: NDArray[np.int32], path: Path, classes: ClassTable) -> NDArray[np.uint8]:
    train = np.where(values >= FIRST_INSTANCE, values // FIRST_INSTANCE, values)
    strange = (train >= len(classes.trained)) & (train != IGNORE) | (train < 0)
    if strange.any():
        raise UserError(
            f"{path} holds {sorted(np.unique(values[strange]).tolist())[:5]}, which are no train ids of "
            f"'{classes.name}': make it again with the dataset's create_panoptic_labels.py."
        )
    return train.astype(np.uint8)


def _save(ids: NDArray[np.uint8] | NDArray[np.uint16], target: Path) -> None:
    with written_whole(target) as aside:
        Image.fromarray(ids).save(aside, compress_level=_COMPRESSION)
