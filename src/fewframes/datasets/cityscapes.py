"""The Cityscapes layout: gtFine, gtCoarse, key images and 30-frame sequences.

Names are `{city}_{seq}_{frame}_{type}`. The key frame's number is the one in the annotation's own name: in
seven cities the annotated frame is not 000019, and a sequence holds many clips. A clip is therefore known by
city, sequence *and* frame. Partial downloads are fine: a clip reaches as far as its frames do without a gap.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from fewframes.core.clips import PREPARED, Clip, pattern_of
from fewframes.core.errors import UserError
from fewframes.datasets.polygons import polygon_task
from fewframes.datasets.preparing import Task
from fewframes.datasets.source import Source, reach
from fewframes.datasets.vps import truth_tasks

OPTIONS = ("labels", "truth")
"""`labels`: `shipped` reads labelIds.png, `polygons` draws them from polygons.json, as after editing those.
`truth`: dataset.truth holds `frames` (a labelIds.png a frame) or is Cityscapes-VPS (`vps`)."""

_ANNOTATED = {"gtFine": ("train", "val"), "gtCoarse": ("train", "val", "train_extra")}
"""The splits of each kind of annotation. Test's gtFine is a dummy (its README): never read."""

_CORRUPT = frozenset({"troisdorf_000000_000073"})
"""A black train_extra image, known to be broken."""

_IMAGE = "_leftImg8bit.png"
_STEM = re.compile(r"(?P<sequence>.+_\d+)_(?P<frame>\d{6})")


def prepare(source: Source) -> Iterator[Task]:
    """The labels to draw from polygons, and the dense truth to read from Cityscapes-VPS, where the options ask so."""
    if _drawn(source):
        for kind, split, city, stem in _annotations(source.folder, "_polygons.json"):
            name = f"{kind}/{split}/{city}/{stem}_{kind}"
            label, instances = _targets(name)
            yield polygon_task(f"{name}_polygons.json", label, instances, "cityscapes", source.classes)
    if source.choice("truth", ("frames", "vps")) == "vps":
        if source.truth is None:
            raise UserError("dataset.options.truth is 'vps' but dataset.truth names no folder: name Cityscapes-VPS's.")
        yield from truth_tasks(source.truth)


def index(source: Source) -> Iterator[Clip]:
    """Yield every annotated frame that has an image, city by city."""
    found: dict[tuple[str, str], dict[str, set[str]]] = {}
    for kind, split, city, stem in _annotations(source.folder, _suffix(source)):
        found.setdefault((split, city), {}).setdefault(stem, set()).add(kind)
    _note_undrawn(source, found)
    for (split, city), stems in sorted(found.items()):
        yield from _city(source, split, city, stems)


def _city(source: Source, split: str, city: str, stems: dict[str, set[str]]) -> Iterator[Clip]:
    still_folder, frame_folder = f"leftImg8bit/{split}/{city}", f"leftImg8bit_sequence/{split}/{city}"
    stills, frames = _names(source.folder / still_folder), _names(source.folder / frame_folder)
    beside = {kind: _names(source.folder / kind / split / city) for kind in _ANNOTATED}
    for name in sorted(stills - {f"{stem}{_IMAGE}" for stem in stems}):
        if name.endswith(_IMAGE) and name.removesuffix(_IMAGE) not in _CORRUPT:
            source.left_out.add("image without annotation", f"{still_folder}/{name}")
    for stem, kinds in sorted(stems.items()):
        parts = _STEM.fullmatch(stem)
        if parts is None:
            source.left_out.add("name that is not {city}_{seq}_{frame}", f"{split}/{city}/{stem}")
            continue
        name = f"{stem}{_IMAGE}"
        if stem in _CORRUPT:
            source.left_out.add("image known to be corrupt", f"{still_folder}/{name}")
            continue
        if name not in stills and name not in frames:
            source.left_out.add("annotation without image", f"{split}/{city}/{stem}")
            continue
        sequence, key = parts["sequence"], int(parts["frame"])

        def there(offset: int, sequence: str = sequence, key: int = key) -> bool:
            return f"{sequence}_{key + offset:06d}{_IMAGE}" in frames

        first, last = (reach(there, limit) for limit in source.classes.offsets)
        fine, fine_instances = _labels(source, "gtFine", split, city, stem, kinds, beside)
        coarse, coarse_instances = _labels(source, "gtCoarse", split, city, stem, kinds, beside)
        yield Clip(
            id=stem,
            split=split,
            group=f"{city}_{sequence.rsplit('_', 1)[1]}",
            image=f"{still_folder if name in stills else frame_folder}/{name}",
            frames=pattern_of(f"{frame_folder}/{name}", parts["frame"]) if first or last else "",
            key=key,
            first=first,
            last=last,
            fine=fine,
            fine_instances=fine_instances,
            coarse=coarse,
            coarse_instances=coarse_instances,
            truth=_truth(source, split, city, stem, parts["frame"]),
        )


def _labels(
    source: Source, kind: str, split: str, city: str, stem: str, kinds: set[str], beside: dict[str, frozenset[str]]
) -> tuple[str, str]:
    """Label ids and instance ids of an annotation; empty where there is none."""
    if kind not in kinds:
        return "", ""
    name = f"{kind}/{split}/{city}/{stem}_{kind}"
    if _drawn(source):
        label, instances = _targets(name)
        return PREPARED + label, PREPARED + instances
    instances = f"{name}_instanceIds.png"
    return f"{name}_labelIds.png", instances if Path(instances).name in beside[kind] else ""


def _targets(name: str) -> tuple[str, str]:
    """Where an annotation's label ids and instance ids are drawn, below the prepared files."""
    return f"labels/{name}_labelIds.png", f"labels/{name}_instanceIds.png"


def _truth(source: Source, split: str, city: str, stem: str, number: str) -> str:
    pattern = pattern_of(f"{split}/{city}/{stem}_labelIds.png", number)
    if source.choice("truth", ("frames", "vps")) == "vps":
        # VPS labels clips of val alone.
        return f"{PREPARED}truth/{pattern}" if split == "val" else ""
    return pattern if split != "train_extra" else ""


def _drawn(source: Source) -> bool:
    return source.choice("labels", ("shipped", "polygons")) == "polygons"


def _suffix(source: Source) -> str:
    return "_polygons.json" if _drawn(source) else "_labelIds.png"


def _note_undrawn(source: Source, found: dict[tuple[str, str], dict[str, set[str]]]) -> None:
    """Note the annotations that lack the file which is read: an archive half unpacked, or the wrong option."""
    other = "_labelIds.png" if _drawn(source) else "_polygons.json"
    mend = "options.labels: shipped reads them" if _drawn(source) else "options.labels: polygons draws them"
    for kind, split, city, stem in _annotations(source.folder, other):
        if kind not in found.get((split, city), {}).get(stem, ()):
            source.left_out.add(f"annotation with {other[1:]} alone ({mend})", f"{kind}/{split}/{city}/{stem}")


def _annotations(root: Path, suffix: str) -> Iterator[tuple[str, str, str, str]]:
    """Kind, split, city and stem of every annotation that has a file of this suffix."""
    for kind, splits in _ANNOTATED.items():
        for split in splits:
            for city in sorted(_names(root / kind / split)):
                for name in _names(root / kind / split / city):
                    if name.endswith(f"_{kind}{suffix}") and not name.startswith("."):
                        yield kind, split, city, name.removesuffix(f"_{kind}{suffix}")


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}): mend the link or its permissions.") from error
