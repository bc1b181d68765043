"""Export of made labels: which of them, under which names, into a folder that is whole or not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from fewframes.core.clips import LABEL_COLUMNS, Clip, Folder, read_clips
from fewframes.core.errors import UserError
from fewframes.core.files import folder_written_whole, read_csv
from fewframes.core.images import read_image
from fewframes.core.labelfile import read_layer
from fewframes.core.labels import ClassTable
from fewframes.core.progress import progress, say
from fewframes.labelling.exporting import LISTING, Frame, Labelled, form_module, image_hash, write_frames
from fewframes.labelling.exporting.classes import CLASSES, write_classes
from fewframes.labelling.exporting.names import frame_names
from fewframes.labelling.methods import made_at_random

KINDS = ("pseudo", "refined")
"""Kinds of made labels: the folders below a dataset's results that hold them."""

_MEND = "run `snakemake -- labels` to bring labels and index together"


def export(
    form: str,
    labels: Path,
    results: Path,
    root: Folder,
    classes: ClassTable,
    out: Path,
    splits: Sequence[str] = (),
    offsets: Sequence[int] = (),
    clips: Sequence[str] = (),
) -> int:
    """Write the labels that the CSV `labels` lists to the folder `out` in the given form; returns how many.

    `results` is the dataset's results folder, with its index; `splits`, `offsets` and `clips` keep only what they
    name. Where no offset is named, a form for review leaves out the key frames of pseudo-labels: their label is the
    annotation itself. Raises `UserError` where a label or image does not fit the index, nothing is left, or `out`
    holds anything already: an earlier export too, whose review may be out and is read by what lies there.
    """
    module = form_module(form)
    _check_free(out)
    chosen = _chosen(labels, results, splits, offsets, clips)
    if not offsets and not module.KEY_FRAMES:
        kept = [(clip, row) for clip, row in chosen if row["kind"] != "pseudo" or row["offset"] != "0"]
        if len(kept) < len(chosen):
            say(f"export: {len(chosen) - len(kept)} key frames left out: their label is the annotation itself.")
        chosen = kept
    if not chosen:
        raise UserError(f"{labels} lists no label to export with these options: name other splits, offsets or clips.")
    names = frame_names(((clip, int(row["offset"])) for clip, row in chosen), module.UNSAFE)
    frames: list[Frame] = []

    def labelled() -> Iterator[Labelled]:
        for name, (clip, row) in zip(names, progress(chosen, f"export {form}"), strict=True):
            frame, label = _labelled(name, clip, row, results, root)
            frames.append(frame)
            yield frame, label

    with folder_written_whole(out) as aside:
        module.write(labelled(), classes, root, aside)
        write_frames(aside, frames)
        write_classes(aside / CLASSES, classes)
    say(f"export {form}: {len(frames)} labels in {out}.")
    return len(frames)


def _chosen(
    labels: Path, results: Path, splits: Sequence[str], offsets: Sequence[int], clips: Sequence[str]
) -> list[tuple[Clip, dict[str, str]]]:
    """The rows asked for, each with its clip, `kind` and `method`."""
    by_id = {clip.id: clip for clip in read_clips(results / "index.csv")}
    chosen = []
    found: dict[str, set[str]] = {"split": set(), "offset": set(), "clip": set()}
    for row in read_csv(labels, LABEL_COLUMNS):
        clip = by_id.get(row["clip"])
        kind, method, *_ = (*PurePosixPath(row["file"]).parts, "", "")
        if clip is None or not clip.has(int(row["offset"])):
            raise UserError(f"{labels} lists {row['clip']} at offset {row['offset']}, which the index lacks: {_MEND}.")
        if kind not in KINDS:
            raise UserError(f"{labels} names the label file {row['file']}: it must lie in {' or '.join(KINDS)}.")
        facts = {"split": clip.split, "offset": row["offset"], "clip": clip.id}
        for key, value in facts.items():
            found[key].add(value)
        wanted = {"split": splits, "offset": [str(o) for o in offsets], "clip": clips}
        if all(not wanted[key] or value in wanted[key] for key, value in facts.items()):
            chosen.append((clip, {**row, "kind": kind, "method": method}))
    for key, values in (("split", splits), ("offset", [str(o) for o in offsets]), ("clip", clips)):
        if unknown := [value for value in values if value not in found[key]]:
            raise UserError(f"{labels} has no label of {key} '{unknown[0]}': correct --{key}.")
    return chosen


def _labelled(name: str, clip: Clip, row: dict[str, str], results: Path, root: Folder) -> Labelled:
    offset = int(row["offset"])
    image = clip.image_at(offset)
    if made_at_random(PurePosixPath(row["file"])):
        stage = {"pseudo": "propagation", "refined": "refinement"}[row["kind"]]
        raise UserError(
            f"{results / row['file']} was made with random weights and means nothing: name weights in "
            f"{stage}.{row['method']}.weights, and export what comes of them."
        )
    layer = read_layer(results / row["file"], offset, maps=())
    if (layer.fingerprint, layer.checksum) != (row["fingerprint"], row["checksum"]):
        raise UserError(f"{results / row['file']} holds another label at offset {offset} than the CSV says: {_MEND}.")
    height, width = layer.label.shape
    pixels = read_image(root / image)
    if pixels.shape[:2] != (height, width):
        raise UserError(f"{root / image} is not of its label's size, {width}x{height}: {_MEND}.")
    frame = Frame(
        name=name,
        clip=clip.id,
        offset=offset,
        kind=row["kind"],
        method=row["method"],
        fingerprint=layer.fingerprint,
        checksum=layer.checksum,
        image=image,
        image_hash=image_hash(pixels),
        height=height,
        width=width,
        split=clip.split,
    )
    return frame, layer.label


def _check_free(out: Path) -> None:
    """Raise `UserError` where `out` is there and not an empty folder."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: name a folder to export to.")
    if (out / LISTING).is_file():
        raise UserError(
            f"{out} holds an earlier export, whose review may be out: name another folder, or delete this one "
            "if nothing exported from it will come back."
        )
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty: name another folder.")
