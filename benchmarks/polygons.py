"""IDD annotations to labels and instances: two processes of ours against polygons drawn and saved one at a time by PIL.

The annotations are IDD's in size and number of polygons, made up. PIL's way is that of the datasets' public tools:
the JSON is read for each of the two pictures, each is drawn and saved. Ours includes the start of its processes.
The ratio, 2 or more by promise, is printed last.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fewframes.core.files import ContentHashes
from fewframes.core.images import read_instances, read_label
from fewframes.core.labels import load_class_table
from fewframes.datasets.polygons import BACKGROUND, polygon_task
from fewframes.datasets.preparing import prepare

CLASSES = load_class_table("idd")
IDS = {c.name: c.id for c in CLASSES.classes}
COUNTERS = {c.name: c.train_id for c in CLASSES.classes if c.has_instances}
SIZE = (1920, 1080)


def annotation(rng: np.random.Generator) -> str:
    """60 to 150 polygons with float corners, the first of them large, as stuff is."""
    objects = []
    for i in range(int(rng.integers(60, 151))):
        corners = int(rng.integers(4, 60))
        radius = np.exp(rng.uniform(np.log(8), np.log(1200 if i < 10 else 300)))
        angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
        away = radius * rng.uniform(0.6, 1, corners)
        points = rng.uniform(0, 1, 2) * SIZE + np.stack([away * np.cos(angle), away * np.sin(angle)], 1)
        objects.append({"deleted": 0, "draw": True, "label": str(rng.choice(list(IDS))), "polygon": points.tolist()})
    return json.dumps({"imgHeight": SIZE[1], "imgWidth": SIZE[0], "objects": objects})


def plain(path: Path, target: Path, instances: bool) -> None:
    """One picture the plain way: read, draw, save."""
    read = json.loads(path.read_text())
    picture = Image.new("I" if instances else "L", (read["imgWidth"], read["imgHeight"]), IDS[BACKGROUND])
    pen = ImageDraw.Draw(picture)
    seen = dict.fromkeys(COUNTERS.values(), 0)
    for item in read["objects"]:
        value = IDS[item["label"]]
        if instances and item["label"] in COUNTERS:
            counter = COUNTERS[item["label"]]
            value = value * 1000 + seen[counter]
            seen[counter] += 1
        pen.polygon([(x, y) for x, y in item["polygon"]], fill=value)
    if instances:  # Pillow 13 saves mode I no longer
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16))
    picture.save(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=160)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source, theirs, ours = (Path(scratch) / name for name in ("source", "theirs", "ours"))
        for folder in (source, theirs, ours):
            folder.mkdir()
        rng = np.random.default_rng(0)
        names = [f"{i:06d}" for i in range(options.files)]
        for name in names:
            (source / f"{name}.json").write_text(annotation(rng))

        alone = time.perf_counter()
        for name in names:
            plain(source / f"{name}.json", theirs / f"{name}_label.png", instances=False)
            plain(source / f"{name}.json", theirs / f"{name}_instances.png", instances=True)
        alone = time.perf_counter() - alone

        together = time.perf_counter()
        tasks = (polygon_task(f"{n}.json", f"{n}_label.png", f"{n}_instances.png", "idd", CLASSES) for n in names)
        prepare(tasks, source, ours, ContentHashes(Path(scratch) / "hashes", "bench"), options.workers)
        together = time.perf_counter() - together

        for name in names:
            for kind, read in (("label", read_label), ("instances", read_instances)):
                a, b = read(theirs / f"{name}_{kind}.png"), read(ours / f"{name}_{kind}.png")
                assert np.array_equal(a, b), f"{name}: the {kind} differ"
        sizes = [sum(p.stat().st_size for p in folder.glob("*.png")) / options.files for folder in (theirs, ours)]
    print(f"{options.files} annotations of {SIZE[0]}x{SIZE[1]}, equal pixel for pixel")
    print(f"PIL, one at a time: {1000 * alone / options.files:.1f} ms each, {sizes[0] / 1000:.0f} kB")
    print(f"ours, {options.workers} processes: {1000 * together / options.files:.1f} ms each, {sizes[1] / 1000:.0f} kB")
    print(f"{alone / together:.1f} times as fast")


if __name__ == "__main__":
    main()
