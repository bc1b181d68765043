"""Indexing a tree of Cityscapes' true size and names: 3,475 clips of 30 frames, 23,473 coarse annotations.

The files are hard links to a few PNGs of 2048x1024. Shown: seconds and memory of the first index, after the kernel's
caches were dropped where that is allowed, and of the second; and, in the same process, those of the plain way to know
as much: pathlib over the tree, a question about each expected frame, Pillow for the sizes. The bounds are 15 s cold
and 5 s warm on one core.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fewframes.core.clips import scan, write_clips
from fewframes.core.labels import load_class_table
from fewframes.datasets import index
from fewframes.datasets.source import Source

TRAIN = {
    "aachen": 174, "bochum": 96, "bremen": 316, "cologne": 154, "darmstadt": 85, "dusseldorf": 221, "erfurt": 109,
    "hamburg": 248, "hanover": 196, "jena": 119, "krefeld": 99, "monchengladbach": 94, "strasbourg": 365,
    "stuttgart": 196, "tubingen": 144, "ulm": 95, "weimar": 142, "zurich": 122,
}  # fmt: skip
VAL = {"frankfurt": 267, "lindau": 59, "munster": 174}
LONG = {"bochum", "hamburg", "hanover", "krefeld", "monchengladbach", "strasbourg", "frankfurt"}
EXTRA, EXTRA_CITIES = 19_998, 23
LINKS = 50_000
"""Links to one file before a new copy is made: ext4 allows 65,000."""


class Linker:
    """Hard links to a PNG, from a fresh copy of it every so often."""

    def __init__(self, folder: Path, name: str, pixels: np.ndarray) -> None:
        self._folder, self._name, self._pixels = folder, name, Image.fromarray(pixels)
        self._made = itertools.count()

    def __call__(self, path: str) -> None:
        number = next(self._made)
        source = self._folder / f"{self._name}-{number // LINKS}.png"
        if number % LINKS == 0:
            self._pixels.save(source)
        os.link(source, path)


def write_tree(
    root: Path, share: float, train: dict[str, int] = TRAIN, val: dict[str, int] = VAL, extra: int = EXTRA
) -> None:
    models = root.parent / f"models-{root.name}"
    models.mkdir()
    rng = np.random.default_rng(0)
    blocks = rng.integers(7, 34, (16, 32)).astype(np.uint8)
    labels = np.kron(blocks, np.ones((64, 64), np.uint8))
    frame = Linker(models, "frame", np.stack([labels * 7] * 3, axis=-1))
    label, instances = Linker(models, "label", labels), Linker(models, "instances", labels.astype(np.uint16))

    def folder(*parts: str) -> str:
        path = root.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return str(path)

    def annotate(kind: str, split: str, city: str, stem: str) -> None:
        name = f"{folder(kind, split, city)}/{stem}_{kind}"
        label(f"{name}_labelIds.png")
        instances(f"{name}_instanceIds.png")

    for split, cities in (("train", train), ("val", val)):
        for city, count in cities.items():
            for clip in range(round(count * share)):
                sequence, key = (0, 19 + 40 * clip) if city in LONG else (clip, 19)
                for number in range(key - 19, key + 11):
                    path = folder("leftImg8bit_sequence", split, city)
                    frame(f"{path}/{city}_{sequence:06d}_{number:06d}_leftImg8bit.png")
                stem = f"{city}_{sequence:06d}_{key:06d}"
                frame(f"{folder('leftImg8bit', split, city)}/{stem}_leftImg8bit.png")
                annotate("gtFine", split, city, stem)
                annotate("gtCoarse", split, city, stem)
    for number in range(round(extra * share)):
        city = f"extra-{number % EXTRA_CITIES}"
        stem = f"{city}_000000_{number // EXTRA_CITIES:06d}"
        frame(f"{folder('leftImg8bit', 'train_extra', city)}/{stem}_leftImg8bit.png")
        annotate("gtCoarse", "train_extra", city, stem)


def drop_caches() -> bool:
    try:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the true size")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp())
    try:
        root, prepared = work / "cityscapes", work / "prepared"
        root.mkdir()
        made = seconds(lambda: write_tree(root, options.share))
        source = Source(root, prepared, load_class_table("cityscapes"))

        def ours() -> None:
            scan(root)
            write_clips(work / "index.csv", index("cityscapes", source))

        def plain() -> None:
            for path in root.rglob("*"):
                path.stat()
            for path in root.glob("gtFine/*/*/*_labelIds.png"):
                city, sequence, key = path.name.removesuffix("_gtFine_labelIds.png").rsplit("_", 2)
                folder = root / "leftImg8bit_sequence" / path.parent.parent.name / city
                for number in range(int(key) - 19, int(key) + 11):
                    assert (folder / f"{city}_{sequence}_{number:06d}_leftImg8bit.png").is_file()
                with (
                    Image.open(path) as label,
                    Image.open(folder / f"{city}_{sequence}_{key}_leftImg8bit.png") as image,
                ):
                    assert label.size == image.size

        dropped = drop_caches()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        cold, warm = seconds(ours), seconds(ours)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        clips = (work / "index.csv").read_text().count("\n") - 1
        alternative = seconds(plain)
    finally:
        shutil.rmtree(work)
    print(f"tree of {clips} annotated frames written in {made:.0f} s")
    print(f"caches {'dropped' if dropped else 'not dropped (not allowed)'}; memory grew by {grown / 1024:.0f} MB")
    print(f"scan and index: first {cold:.2f} s, again {warm:.2f} s; the plain way {alternative:.2f} s")
    print(f"ratio {alternative / warm:.2f}")


if __name__ == "__main__":
    main()
