"""The files of toy city, in Cityscapes' and in IDD's folders and names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import SeedSequence, default_rng
from numpy.typing import NDArray

from fewframes.core.labels import load_class_table
from fewframes.datasets.toycity.camera import Polygon, rasterised
from fewframes.datasets.toycity.coarse import coarse_objects
from fewframes.datasets.toycity.draw import Frame
from fewframes.datasets.toycity.scene import Scene, build_scene

SPLITS = ("train", "val", "train_extra")
"""The order is part of the seeds: add at the end."""
TABLES = {layout: load_class_table(layout) for layout in ("cityscapes", "idd")}
"""The class table of each layout: ids, and the offsets from a clip's first frame to its last."""
_CLASSES = {c.name: c for c in TABLES["cityscapes"].classes}
_THINGS = frozenset(name for name, c in _CLASSES.items() if c.has_instances)


@dataclass(frozen=True)
class Clip:
    """One clip to write: `folder` and `name` as its layout calls them, the number of its key frame, its look."""

    layout: str
    split: str
    number: int
    folder: str
    name: str
    key: int
    seed: int
    variety: float
    height: int
    width: int

    def scene(self) -> Scene:
        """Its street."""
        split = SPLITS.index(self.split)
        idd = self.layout == "idd"
        return build_scene(self.seed, split, self.number, self.variety, self.height, self.width, idd)


def clip_names(layout: str, split: str, count: int, seed: int) -> list[tuple[str, str, int]]:
    """Folder, name and key frame of every clip of a split."""
    return (_idd_clips if layout == "idd" else _cityscapes_clips)(split, count, seed)


def write_clip(clip: Clip, root: Path, truth: Path) -> int:
    """Draw a clip and write its files under `root`, every frame's label ids under `truth`; frames drawn."""
    return (_write_idd if clip.layout == "idd" else _write_cityscapes)(clip, root, truth)


# --- Cityscapes -------------------------------------------------------------------------------------

_CITIES = {
    "train": ("ashford", "brookham", "cedarby", "longbridge"),
    "val": ("eastmoor", "longreach"),
    "train_extra": ("fenwick", "gale-upon-tyde"),
}
_PER_SEQUENCE = 12
"""Clips in one long sequence; their key frames are at least 31 frames apart, as in Cityscapes."""


def _cityscapes_clips(split: str, count: int, seed: int) -> list[tuple[str, str, int]]:
    """City, `{city}_{seq}` and key frame of every clip; the cities `long...` hold long sequences."""
    cities, rng = _CITIES[split], default_rng(SeedSequence((seed, 3, SPLITS.index(split))))
    held = dict.fromkeys(cities, 0)
    key, clips = 0, []
    for i in range(count):
        city = cities[i % len(cities)]
        k = held[city]
        held[city] += 1
        if not city.startswith("long"):
            clips.append((city, f"{city}_{k:06d}", 19))
            continue
        # The second clip of a sequence begins right where the first one ends.
        first, second = k % _PER_SEQUENCE == 0, k % _PER_SEQUENCE == 1
        key = int(rng.integers(20, 300)) if first else key + (31 if second else int(rng.integers(31, 120)))
        clips.append((city, f"{city}_{k // _PER_SEQUENCE:06d}", key))
    return clips


def _write_cityscapes(clip: Clip, root: Path, truth: Path) -> int:
    scene = clip.scene()
    sequence = clip.split != "train_extra"
    times = _times(clip) if sequence else range(1)
    for time in times:
        frame = scene.frame(time)
        stem = f"{clip.split}/{clip.folder}/{clip.name}_{clip.key + time:06d}"
        picture = encoded(frame.image, ".png")
        labels = _label_ids(frame)
        if sequence:
            put(root / f"leftImg8bit_sequence/{stem}_leftImg8bit.png", picture)
        put(truth / f"{stem}_labelIds.png", encoded(labels, ".png"))
        if time == 0:
            put(root / f"leftImg8bit/{stem}_leftImg8bit.png", picture)
            if sequence:
                _annotate(root / f"gtFine/{stem}_gtFine", frame.objects, clip)
            rng = default_rng(SeedSequence((clip.seed, 4, SPLITS.index(clip.split), clip.number)))
            _annotate(root / f"gtCoarse/{stem}_gtCoarse", coarse_objects(frame, _THINGS, rng), clip)
    return len(times)


def _label_ids(frame: Frame) -> NDArray[np.uint8]:
    lut = np.array([0, *(_CLASSES[label].id for label, _ in frame.objects)], np.uint8)
    return lut[frame.owner]


def _annotate(stem: Path, objects: Sequence[tuple[str, Polygon]], clip: Clip) -> None:
    """`_polygons.json`, and drawn from the same polygons `_labelIds.png` and `_instanceIds.png`."""
    labels, instances = [], []
    counts = dict.fromkeys(_THINGS, 0)
    for name, _ in objects:
        label = _CLASSES[name.removesuffix("group")].id
        labels.append(label)
        instances.append(label)
        if name in counts:
            instances[-1] = label * 1000 + counts[name]
            counts[name] += 1
    polygons = [polygon for _, polygon in objects]
    drawn = rasterised(polygons, labels, clip.height, clip.width).astype(np.uint8)
    things = rasterised(polygons, instances, clip.height, clip.width).astype(np.uint16)
    put(Path(f"{stem}_labelIds.png"), encoded(drawn, ".png"))
    put(Path(f"{stem}_instanceIds.png"), encoded(things, ".png"))
    put(Path(f"{stem}_polygons.json"), _polygons_json(objects, clip))


# --- IDD --------------------------------------------------------------------------------------------

# What the street calls otherwise than IDD.
_IDD_NAMES = {"terrain": "non-drivable fallback", "static": "obs-str-bar-fallback"}
_IDD_IDS = {c.name: c.id for c in TABLES["idd"].classes}

# Drives of Part I (PNG) and of Part II (JPEG), and how each numbers its images.
_DRIVES = {
    "train": (
        ("0", "{:06d}", ".png"),
        ("203", "frame{:d}", ".jpg"),
        ("24", "{:06d}", ".png"),
        ("403", "{:07d}", ".jpg"),
    ),
    "val": (("66", "{:06d}", ".png"), ("215", "frame{:d}", ".jpg")),
}


def _idd_clips(split: str, count: int, seed: int) -> list[tuple[str, str, int]]:
    """Drive, image (with its suffix) and the key frame's number in IDD Temporal; IDD has no train_extra."""
    drives, rng = _DRIVES.get(split, ()), default_rng(SeedSequence((seed, 3, SPLITS.index(split))))
    clips = []
    for i in range(count if drives else 0):
        drive, pattern, suffix = drives[i % len(drives)]
        # Numbers ascend within a drive, so that no two images share a name.
        image = 1000 + 37 * i + int(rng.integers(0, 30))
        clips.append((drive, pattern.format(image) + suffix, int(rng.integers(20, 5000))))
    return clips


def _write_idd(clip: Clip, root: Path, truth: Path) -> int:
    scene, suffix = clip.scene(), Path(clip.name).suffix
    image = Path(clip.name).stem
    temporal = root / f"idd_temporal_{clip.split}_1/{int(clip.folder):05d}/{image}_leftImg8bit"
    times = _times(clip)
    for time in times:
        frame, number = scene.frame(time), f"{clip.key + time:07d}"
        put(temporal / f"{number}.jpeg", encoded(frame.image, ".jpg"))
        named = [(_IDD_NAMES.get(label, label), polygon) for label, polygon in frame.objects]
        lut = np.array([_IDD_IDS["unlabeled"], *(_IDD_IDS[label] for label, _ in named)], np.uint8)
        put(truth / f"{clip.split}/{clip.folder}/{image}_{number}_labelIds.png", encoded(lut[frame.owner], ".png"))
        if time == 0:
            stem = f"{clip.split}/{clip.folder}/{image}"
            put(root / f"leftImg8bit/{stem}_leftImg8bit{suffix}", encoded(frame.image, suffix))
            put(root / f"gtFine/{stem}_gtFine_polygons.json", _polygons_json(named, clip))
    return len(times)


# --- any layout -------------------------------------------------------------------------------------


def _times(clip: Clip) -> range:
    """The offsets of all its frames."""
    first, last = TABLES[clip.layout].offsets
    return range(first, last + 1)


def _polygons_json(objects: Sequence[tuple[str, Polygon]], clip: Clip) -> bytes:
    listed = [{"label": name, "polygon": [list(p) for p in polygon], "deleted": 0} for name, polygon in objects]
    return json.dumps({"imgHeight": clip.height, "imgWidth": clip.width, "objects": listed}).encode()


def encoded(pixels: NDArray[np.uint8] | NDArray[np.uint16], kind: str) -> bytes:
    """An image file's bytes: `.png` (8-bit RGB or grey, 16-bit grey; lightly compressed) or `.jpg`."""
    if pixels.ndim == 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), np.uint8)
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1] if kind == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 95]
    if kind == ".png" and pixels.ndim == 3:  # quicker and, with a sensor's noise, no larger
        options += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, data = cv2.imencode(kind, pixels, options)
    if not done:
        raise RuntimeError(f"OpenCV cannot encode {kind}")
    return bytes(data)


def put(path: Path, data: bytes) -> None:
    """Write a file, its folder made where absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
