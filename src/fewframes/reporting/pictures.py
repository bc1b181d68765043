"""Pictures of labels: fine and coarse annotations, an annotated frame with its pseudo-labels, refined labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fewframes.core.clips import Clip, Folder
from fewframes.core.errors import UserError
from fewframes.core.files import read_csv
from fewframes.core.images import read_label
from fewframes.core.labelfile import read_layer
from fewframes.core.labels import ClassTable
from fewframes.labelling.methods import made_at_random
from fewframes.labelling.propagation.frames import read_frame
from fewframes.labelling.refinement.onebyone import read_of_size
from fewframes.labelling.refinementquality import labels_of
from fewframes.reporting.figures.sheets import Picture, write_contact_sheet
from fewframes.reporting.marks import MEANINGLESS

_ROWS = 4
"""Clips a sheet shows, spread evenly over those that could be."""

_FRACTIONS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Offsets shown, as shares of how far the labels reach: the paper's figure 2 with a step between."""

NOTHING_TO_SHOW = "No clip has propagated labels to show: name an experiment that uses them, or measure quality."


def write_annotation_sheet(
    clips: Iterable[Clip], root: Folder, classes: ClassTable, out: Path, note: str, only: Sequence[str] = ()
) -> None:
    """Images with their fine and coarse annotations, and the minutes that one takes (the paper's figure 1).

    Written as `<out>.png` and `.pdf`. `only` are ids of the clips to show, in that order; without, a few are shown, of
    those with both annotations where there are any. Raises `UserError` where one of them, or every clip, has none.
    """
    annotated = {clip.id: clip for clip in clips if clip.fine or clip.coarse}
    if absent := [id_ for id_ in only if id_ not in annotated]:
        raise UserError(f"Clip '{absent[0]}' has no annotation: name an annotated clip of index.csv.")
    if not annotated:
        raise UserError("No clip is annotated: correct dataset.root in the config.")
    training = [clip for clip in annotated.values() if clip.split.startswith("train")] or list(annotated.values())
    both = [clip for clip in training if clip.fine and clip.coarse]
    rows = []
    for clip in [annotated[id_] for id_ in only] or _spread(both or training):
        labels = {
            kind: classes.to_train_ids(read_label(root / path), root / path)
            for kind, path in (("fine", clip.fine), ("coarse", clip.coarse))
            if path
        }
        # Read for each, so that a label of another size is named.
        pictures = [
            Picture(_annotation(kind, classes), read_frame(root / clip.image, label.shape), label)
            for kind, label in labels.items()
        ]
        rows.append((clip.id, [Picture("image", pictures[0].image), *pictures]))
    write_contact_sheet(rows, classes, out, note)


def _annotation(kind: str, classes: ClassTable) -> str:
    minutes = classes.minutes.get(kind)
    return f"{kind} annotation" if minutes is None else f"{kind} annotation ({minutes:g} minutes)"


def write_propagation_sheet(
    clips: Iterable[Clip],
    labels: Path,
    root: Folder,
    results: Path,
    classes: ClassTable,
    out: Path,
    note: str,
    only: Sequence[str] = (),
) -> None:
    """Key frames and their propagated labels in both directions (the paper's figure 2), `<out>.png` and `.pdf`.

    Below the labels stands their confidence, where the method has one. `only` are ids of the clips to show, in that
    order; without, a few are shown. Raises `UserError` where one of them, or every clip, has no labels.
    """
    made = labels_by_clip(labels, results)
    labelled = {clip.id: clip for clip in clips if clip.id in made}
    if absent := [id_ for id_ in only if id_ not in labelled]:
        raise UserError(f"Clip '{absent[0]}' has no propagated labels: name a clip of {labels}.")
    if not labelled:
        raise UserError(NOTHING_TO_SHOW)
    shown = [labelled[id_] for id_ in only] or _spread(_whole(list(labelled.values()), made))
    rows = [(clip.id, [_picture(clip, made[clip.id], o, root) for o in _offsets(made[clip.id])]) for clip in shown]
    if any(made_at_random(file) for clip in shown for file in made[clip.id].values()):
        note = f"{MEANINGLESS} {note}".rstrip()
    write_contact_sheet(rows, classes, out, note)


def labels_by_clip(labels: Path, results: Path) -> dict[str, dict[int, Path]]:
    """Label files by clip and offset, from a method's CSV of labels; clips without a labelled neighbour are left out.

    `results` is the dataset's results folder, which the CSV's paths are relative to.
    """
    made: dict[str, dict[int, Path]] = {}
    for row in read_csv(labels, ("clip", "offset", "file")):
        made.setdefault(row["clip"], {})[int(row["offset"])] = results / row["file"]
    return {clip: files for clip, files in made.items() if files.keys() - {0}}


def _whole(clips: list[Clip], made: Mapping[str, Mapping[int, Path]]) -> list[Clip]:
    """Clips labelled all the way in both directions, which show most; all of them where there is none."""
    reach = max(abs(o) for clip in clips for o in made[clip.id])
    return [clip for clip in clips if {-reach, reach} <= made[clip.id].keys()] or clips


def _offsets(files: Mapping[int, Path]) -> list[int]:
    reach = max(map(abs, files))
    return sorted({min(files, key=lambda o: (abs(o - f * reach), o)) for f in _FRACTIONS})


def _picture(clip: Clip, files: Mapping[int, Path], offset: int, root: Folder) -> Picture:
    layer = read_layer(files[offset], offset, maps=("confidence",))
    image = read_frame(root / clip.image_at(offset), layer.label.shape)
    return Picture(f"{offset:+d}" if offset else "annotated", image, layer.label, layer.maps.get("confidence"))


def write_refinement_sheet(
    clips: Iterable[Clip],
    labels: Path,
    root: Folder,
    results: Path,
    classes: ClassTable,
    out: Path,
    note: str,
    only: Sequence[str] = (),
) -> None:
    """Images with their coarse, refined and fine labels (the paper's figure 3), `<out>.png` and `.pdf`.

    `only` are ids of the clips to show, in that order; without, a few are shown, of those with a fine label where there
    are any. Raises `UserError` where one of them, or every clip, has no refined label.
    """
    made = {row["clip"]: results / row["file"] for row in read_csv(labels, ("clip", "file"))}
    refined = {clip.id: clip for clip in clips if clip.id in made}
    if absent := [id_ for id_ in only if id_ not in refined]:
        raise UserError(f"Clip '{absent[0]}' has no refined label: name a clip of {labels}.")
    if not refined:
        raise UserError("No refined label is there to show: name an experiment that uses refined labels.")
    comparable = [clip for clip in refined.values() if clip.fine]
    shown = [refined[id_] for id_ in only] or _spread(comparable or list(refined.values()))
    rows = []
    for clip in shown:
        found = labels_of(clip, made[clip.id], root, classes)
        image = read_of_size(root / clip.image, found["coarse"].shape)
        labelled = (Picture(kind, image, label) for kind, label in found.items())
        rows.append((clip.id, [Picture("image", image), *labelled]))
    if any(made_at_random(made[clip.id]) for clip in shown):
        note = f"{MEANINGLESS} {note}".rstrip()
    write_contact_sheet(rows, classes, out, note)


def _spread(clips: list[Clip]) -> list[Clip]:
    picks = np.linspace(0, len(clips) - 1, min(_ROWS, len(clips))).round().astype(int)
    return [clips[i] for i in picks]
