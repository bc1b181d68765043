"""The Cityscapes layout: gtFine, gtCoarse, key images and 30-frame sequences.

Names are `{city}_{seq}_{frame}_{type}`. The key frame's number is the one in the annotation's own name: in
seven cities the annotated frame is not 000019, and a sequence holds many clips. A clip is therefore known by
city, sequence *and* frame. Partial downloads are fine: a clip reaches as far as its frames do without a gap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fewframes.core.clips import PREPARED, Clip, pattern_of
from fewframes.core.errors import UserError
from fewframes.datasets.polygons import polygon_task
from fewframes.datasets.preparing import Task
from fewframes.datasets.source import LeftOut, Source, gap, names, reach
from fewframes.datasets.vps import truth_tasks

OPTIONS = ("labels", "truth")
"""`labels`: `shipped` reads labelIds.png, `polygons` draws them from polygons.json, as after editing those.
`truth`: dataset.truth holds `frames` (a labelIds.png a frame) or is Cityscapes-VPS (`vps`)."""

_ANNOTATED = {"gtFine": ("train", "val"), "gtCoarse": ("train", "val", "train_extra")}
"""The splits of each kind of annotation. Test's gtFine is a dummy (its README): never read."""

_CORRUPT = frozenset({"troisdorf_000000_000073"})
"""A black train_extra image, known to be broken."""

_STILLS, _FRAMES = "leftImg8bit", "leftImg8bit_sequence"
_IMAGE = "_leftImg8bit.png"
_FILES = tuple(
    f"_{name}" for name in ("labelIds.png", "instanceIds.png", "labelTrainIds.png", "instanceTrainIds.png",
                            "color.png", "polygons.json")
)  # fmt: skip
"""What an annotation's files end in, as shipped or made by cityscapesScripts."""

_SNIPPET = (-19, 10)
"""Offsets of the frames that are shipped with an annotated one (the dataset's README: 30, of which it is the 20th)."""

_STEM = re.compile(r"(?P<sequence>.+_\d+)_(?P<frame>\d{6})")


@dataclass
class _City:
    """A city of a split: names of its annotations' files by kind, of its key images and of its sequences' frames."""

    split: str
    name: str
    files: dict[str, frozenset[str]] = field(default_factory=dict)
    stills: frozenset[str] = frozenset()
    frames: frozenset[str] = frozenset()

    def folder(self, kind: str) -> str:
        return f"{kind}/{self.split}/{self.name}"

    def stems(self, ending: str) -> dict[str, set[str]]:
        """The annotations that have a file of this ending, and the kinds of each."""
        found: dict[str, set[str]] = {}
        for kind, listed in self.files.items():
            for name in listed:
                if name.endswith(f"_{kind}{ending}"):
                    found.setdefault(name.removesuffix(f"_{kind}{ending}"), set()).add(kind)
        return found


def prepare(source: Source) -> Iterator[Task]:
    """The labels to draw from polygons, and the dense truth to read from Cityscapes-VPS, where the options ask so."""
    if _drawn(source):
        for city in _cities(source, LeftOut()):  # what is left out is said by `index`
            for stem, kinds in sorted(city.stems("_polygons.json").items()):
                for kind in sorted(kinds):
                    name = f"{city.folder(kind)}/{stem}_{kind}"
                    label, instances = _targets(name)
                    yield polygon_task(f"{name}_polygons.json", label, instances, "cityscapes", source.classes)
    if source.choice("truth", ("frames", "vps")) == "vps":
        if source.truth is None:
            raise UserError("dataset.options.truth is 'vps' but dataset.truth names no folder: name Cityscapes-VPS's.")
        yield from truth_tasks(source.truth)


def index(source: Source) -> Iterator[Clip]:
    """Yield every annotated frame that has an image, city by city."""
    alone: dict[str, list[bool]] = {}
    for city in _cities(source, source.left_out):
        city.stills = frozenset(names(source.folder / city.folder(_STILLS), source.left_out))
        city.frames = frozenset(names(source.folder / city.folder(_FRAMES), source.left_out))
        stems = city.stems(_suffix(source))
        _note_files(source, city, stems)
        _note_images(source, city, stems)
        for stem, kinds in sorted(stems.items()):
            if clip := _clip(source, city, stem, kinds):
                if clip.fine:
                    alone.setdefault(city.split, []).append(not clip.frames)
                yield clip
    for split, each in alone.items():
        if any(each):
            source.left_out.add("annotated frames without a sequence", f"{split}: {sum(each)} of {len(each)}")


def _clip(source: Source, city: _City, stem: str, kinds: set[str]) -> Clip | None:
    """An annotated frame as a clip; none, and noted why, where it cannot be one."""
    left_out, name = source.left_out, f"{stem}{_IMAGE}"
    parts = _STEM.fullmatch(stem)
    if parts is None:
        left_out.add("name that is not {city}_{seq}_{frame}", f"{city.split}/{city.name}/{stem}")
        return None
    if stem in _CORRUPT:
        left_out.add("image known to be corrupt", f"{city.folder(_STILLS)}/{name}")
        return None
    if name not in city.stills and name not in city.frames:
        left_out.add("annotation without image", f"{city.split}/{city.name}/{stem}")
        return None
    sequence, key = parts["sequence"], int(parts["frame"])

    def there(offset: int) -> bool:
        return f"{sequence}_{key + offset:06d}{_IMAGE}" in city.frames

    first, last = (reach(there, limit) for limit in source.classes.offsets) if city.frames else (0, 0)
    if city.frames and gap(there, first, last, source.classes.offsets):
        left_out.add("frames beyond a gap in the sequence, where the clip is cut", f"{city.split}/{city.name}/{stem}")
    fine, fine_instances = _labels(source, city, "gtFine", stem, kinds)
    coarse, coarse_instances = _labels(source, city, "gtCoarse", stem, kinds)
    return Clip(
        id=stem,
        split=city.split,
        group=f"{city.name}_{sequence.rsplit('_', 1)[1]}",
        image=f"{city.folder(_STILLS if name in city.stills else _FRAMES)}/{name}",
        frames=pattern_of(f"{city.folder(_FRAMES)}/{name}", parts["frame"]) if first or last else "",
        key=key,
        first=first,
        last=last,
        fine=fine,
        fine_instances=fine_instances,
        coarse=coarse,
        coarse_instances=coarse_instances,
        truth=_truth(source, city, stem, parts["frame"]),
    )


def _labels(source: Source, city: _City, kind: str, stem: str, kinds: set[str]) -> tuple[str, str]:
    """Label ids and instance ids of an annotation; empty where there is none."""
    if kind not in kinds:
        return "", ""
    name = f"{city.folder(kind)}/{stem}_{kind}"
    if _drawn(source):
        label, instances = _targets(name)
        return PREPARED + label, PREPARED + instances
    has_instances = f"{stem}_{kind}_instanceIds.png" in city.files[kind]
    return f"{name}_labelIds.png", f"{name}_instanceIds.png" if has_instances else ""


def _targets(name: str) -> tuple[str, str]:
    """Where an annotation's label ids and instance ids are drawn, below the prepared files."""
    return f"labels/{name}_labelIds.png", f"labels/{name}_instanceIds.png"


def _truth(source: Source, city: _City, stem: str, number: str) -> str:
    pattern = pattern_of(f"{city.split}/{city.name}/{stem}_labelIds.png", number)
    if source.choice("truth", ("frames", "vps")) == "vps":
        # VPS labels clips of val alone.
        return f"{PREPARED}truth/{pattern}" if city.split == "val" else ""
    return pattern if city.split != "train_extra" else ""


def _drawn(source: Source) -> bool:
    return source.choice("labels", ("shipped", "polygons")) == "polygons"


def _suffix(source: Source) -> str:
    return "_polygons.json" if _drawn(source) else "_labelIds.png"


# --- what is not used -------------------------------------------------------------------------------


def _note_files(source: Source, city: _City, stems: Mapping[str, set[str]]) -> None:
    """Note files that are no annotation's, and annotations without the file that is read.

    Those are of an archive half unpacked, or the wrong option.
    """
    other = "_labelIds.png" if _drawn(source) else "_polygons.json"
    mend = "options.labels: shipped reads them" if _drawn(source) else "options.labels: polygons draws them"
    for stem, kinds in city.stems(other).items():
        for kind in kinds - stems.get(stem, set()):
            source.left_out.add(f"annotation with {other[1:]} alone ({mend})", f"{city.folder(kind)}/{stem}")
    for kind, listed in city.files.items():
        endings = tuple(f"_{kind}{ending}" for ending in _FILES)
        for name in listed:
            if not name.endswith(endings):
                source.left_out.add(f"not named as a file of {kind}", f"{city.folder(kind)}/{name}")


def _note_images(source: Source, city: _City, stems: Mapping[str, set[str]]) -> None:
    """Note key images without annotation, and frames that are near neither; of a city without any, that alone."""
    left_out, stills = source.left_out, {name.removesuffix(_IMAGE) for name in city.stills if name.endswith(_IMAGE)}
    if not any(city.files.values()):
        if images := len(city.stills) + len(city.frames):
            left_out.add("city without any annotation", f"{city.split}/{city.name}: {images} images")
        return
    for name in city.stills:
        if not name.endswith(_IMAGE):
            left_out.add("not named as an image", f"{city.folder(_STILLS)}/{name}")
    for stem in stills - stems.keys() - _CORRUPT:
        left_out.add("image without annotation", f"{city.folder(_STILLS)}/{stem}{_IMAGE}")
    if not city.frames:
        return
    offsets = range(min(_SNIPPET[0], source.classes.offsets[0]), max(_SNIPPET[1], source.classes.offsets[1]) + 1)
    near: set[str] = set()
    for parts in map(_STEM.fullmatch, stills | stems.keys()):
        if parts:
            near.update(f"{parts['sequence']}_{int(parts['frame']) + offset:06d}{_IMAGE}" for offset in offsets)
    if strays := len(city.frames - near):
        left_out.add("frames of no annotated frame's sequence", f"{city.folder(_FRAMES)}: {strays}")


def _cities(source: Source, left_out: LeftOut) -> Iterator[_City]:
    """Every city of which there is anything, with its annotations' files, in order."""
    splits = dict.fromkeys(split for of_kind in _ANNOTATED.values() for split in of_kind)
    for split in splits:
        kinds = [kind for kind, of_kind in _ANNOTATED.items() if split in of_kind]
        places = {name for kind in (*kinds, _STILLS, _FRAMES) for name in names(source.folder / kind / split, left_out)}
        for city in (_City(split, name) for name in sorted(places)):
            city.files = {kind: frozenset(names(source.folder / city.folder(kind), left_out)) for kind in kinds}
            yield city
