"""A trained network's predictions as the files that a benchmark's own evaluator reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewframes.core.clips import PREPARED, Folder
from fewframes.core.errors import UserError
from fewframes.core.files import folder_written_whole
from fewframes.core.labels import ClassTable, load_class_table
from fewframes.core.progress import say
from fewframes.learning.evaluation import load_evaluation
from fewframes.learning.samples import Sample

FORMS = ("cityscapes", "idd", "native")
"""What predictions can be written as; see `export_predictions`."""

_CITYSCAPES = re.compile(r"([^_]+_[0-9]{6}_[0-9]{6})_leftImg8bit\.png")
"""An image's name as cityscapesScripts' evaluator takes it apart (evalPixelLevelSemanticLabeling, getPrediction)."""
_IDD = re.compile(r"(.+)_leftImg8bit\.(?:png|jpe?g)")


def export_predictions(
    model: str | Path,
    form: str,
    manifest: str | Path,
    dataset_root: Folder,
    labels_root: str | Path,
    classes: ClassTable,
    out: str | Path,
    settings: Mapping[str, Any],
    *,
    path: int = 0,
    device: str = "auto",
    threads: int | None = None,
) -> int:
    """Predict every image of an evaluation manifest as `evaluate` does, one 8-bit PNG each; returns how many.

    By `form` the folder `out` has

    - `cityscapes`: `<city>_<sequence>_<frame>_labelIds.png`, Cityscapes' label ids, for cityscapesScripts'
      evalPixelLevelSemanticLabeling and the benchmark's server;
    - `idd`: `<drive>/<image>_gtFine_labellevel3Ids.png`, ids of level 3, for AutoNUE's evaluate_mIoU.py;
    - `native`: the image's own relative path, ending in `.png`, and the ids of the class table.

    Every PNG has its image's own size: with the `size` of `settings`, which are those of `EvaluationSettings`, pixels
    are only counted, and IDD's evaluator scales by itself. A network with several paths (TDNet has two) predicts by one
    of them, `path`; its scores are that row of `paths.csv`. `out` appears when it is whole. Raises `UserError` where
    `evaluate` does, for classes or names of images that the form does not have, and where `out` holds anything.
    """
    _check_form(form, classes)
    _check_free(Path(out))
    what = load_evaluation(model, manifest, dataset_root, labels_root, classes, settings, device, threads)
    if not 0 <= path < what.paths:
        raise UserError(f"{model} has {what.paths} paths, counted from 0, and none of number {path}: correct --path.")
    names = _file_names(form, what.samples)
    with folder_written_whole(Path(out)) as folder:
        shown = what.predictions([path], "export-predictions")
        for name, (_, (prediction,)) in zip(names, shown, strict=True):
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_ids(form, prediction, classes)).save(file)
    say(f"export-predictions: {len(names)} images in {out}.")
    return len(names)


def _ids(form: str, prediction: NDArray[np.uint8], classes: ClassTable) -> NDArray[np.uint8]:
    """What the form's files hold for train ids `[H, W]`."""
    native = classes.to_native_ids(prediction)
    # A level-3 id is a train id of the table 'idd', whatever classes of IDD a network tells apart.
    return load_class_table("idd").to_train_ids(native, "a prediction") if form == "idd" else native


def _check_form(form: str, classes: ClassTable) -> None:
    """Raise `UserError` for an unknown form, and for an evaluated class that its benchmark has not by name and id."""
    if form not in FORMS:
        raise UserError(f"There is no form '{form}' of predictions: choose {', '.join(FORMS)}.")
    if form == "native":
        return
    known = {(c.name, c.id) for c in load_class_table(form).classes}
    for c in classes.trained:
        if (c.name, c.id) not in known:
            raise UserError(
                f"The class table '{classes.name}' has '{c.name}' with id {c.id}, which is no label of the form "
                f"'{form}': choose the form native."
            )


def _file_names(form: str, samples: Sequence[Sample]) -> list[str]:
    """The PNG of each sample, relative to the folder; raises `UserError` for an image that has none of its own."""
    images: dict[str, str] = {}
    for sample in samples:
        name = _file_name(form, PurePosixPath(sample.image.removeprefix(PREPARED)))
        if not name:
            raise UserError(
                f"{sample.image} is not named as images are in the form '{form}': choose the form native, or rename it."
            )
        if name in images:
            raise UserError(f"{images[name]} and {sample.image} would both be exported as {name}: rename one.")
        images[name] = sample.image
    return list(images)


def _file_name(form: str, image: PurePosixPath) -> str:
    """Nothing where the image cannot have one, or it would lie outside the folder."""
    if image.is_absolute() or ".." in image.parts:
        return ""
    if form == "cityscapes":
        match = _CITYSCAPES.fullmatch(image.name)
        return f"{match[1]}_labelIds.png" if match else ""
    if form == "idd":
        match = _IDD.fullmatch(image.name)
        return f"{image.parent.name}/{match[1]}_gtFine_labellevel3Ids.png" if match and image.parent.name else ""
    return str(image.with_suffix(".png"))


def _check_free(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} is a file or not empty: name another folder.")
