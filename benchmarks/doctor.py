"""The doctor on a tree of Cityscapes' size and names: seconds, all told and a group; the promise is about a minute.

The tree is made of hard links to a few pictures of Cityscapes' own size: 3,475 clips of 30 frames with fine and coarse
labels, and 19,998 coarsely annotated stills. `--scale` takes a share of it. Nothing here is as slow as a cold disk:
the files' contents are few, and read from memory.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import yaml

from fewframes.datasets.toycity import ToyCitySettings, write_toycity
from fewframes.doctor import examine

REPOSITORY = Path(__file__).parents[1]
# Clips a city: shared/design/datasets.md, counted on the public split lists.
CITIES = {
    "train": {
        **{"aachen": 174, "bochum": 96, "bremen": 316, "cologne": 154, "darmstadt": 85, "dusseldorf": 221},
        **{"erfurt": 109, "hamburg": 248, "hanover": 196, "jena": 119, "krefeld": 99, "monchengladbach": 94},
        **{"strasbourg": 365, "stuttgart": 196, "tubingen": 144, "ulm": 95, "weimar": 142, "zurich": 122},
    },
    "val": {"frankfurt": 267, "lindau": 59, "munster": 174},
    "train_extra": {f"extra{i}": 870 if i < 22 else 858 for i in range(23)},
}
KEY = 19
KINDS = ("color.png", "instanceIds.png", "labelIds.png", "polygons.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="Share of Cityscapes' clips.")
    parser.add_argument("--workers", type=int, default=0, help="Processes; 0: one a core.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        start = time.perf_counter()
        files = write_tree(Path("city"), options.scale)
        print(f"tree: {files:,} files in {time.perf_counter() - start:.0f} s")
        config = yaml.safe_load((REPOSITORY / "workflow/configs/cityscapes.yaml").read_text())
        config["dataset"]["root"] = "city"
        Path("config.yaml").write_text(yaml.safe_dump(config))
        start = time.perf_counter()
        report = examine(Path("config.yaml"), REPOSITORY, options.workers)
        took = time.perf_counter() - start
        print(report.text())
        print(f"doctor: {took:.1f} s for {files:,} files")


def write_tree(root: Path, scale: float) -> int:
    """Write the tree; returns its number of files."""
    write_toycity("toy", ToyCitySettings(train=1, val=0, train_extra=0, height=1024, width=2048))
    labels = {path.name.rsplit("_", 1)[-1]: path for path in Path("toy/gtFine/train").rglob("*.*")}
    frames = sorted(Path("toy/leftImg8bit_sequence/train").rglob("*.png"))
    made = 0

    def link(source: Path, target: str) -> None:
        nonlocal made
        os.link(source, target)
        made += 1

    for split, cities in CITIES.items():
        for city, clips in cities.items():
            # A filesystem limits the links of a file: each city has copies of its own.
            shown = enumerate(frames) if split != "train_extra" else [(KEY, frames[KEY])]
            own = {}
            for name, path in [*labels.items(), *((str(i), path) for i, path in shown)]:
                own[name] = Path(f"copy_{city}_{name}")
                own[name].write_bytes(path.read_bytes())
            places = {"still": f"{root}/leftImg8bit/{split}/{city}", "gtCoarse": f"{root}/gtCoarse/{split}/{city}"}
            if split != "train_extra":
                places["frames"] = f"{root}/leftImg8bit_sequence/{split}/{city}"
                places["gtFine"] = f"{root}/gtFine/{split}/{city}"
            for place in places.values():
                Path(place).mkdir(parents=True)
            for clip in range(max(1, round(scale * clips))):
                sequence = f"{city}_{clip:06d}"
                link(own[str(KEY)], f"{places['still']}/{sequence}_{KEY:06d}_leftImg8bit.png")
                for kind in ("gtFine", "gtCoarse"):
                    for suffix in KINDS if kind in places else ():
                        source = own.get(suffix, own["polygons.json"])
                        link(source, f"{places[kind]}/{sequence}_{KEY:06d}_{kind}_{suffix}")
                for number in range(len(frames)) if "frames" in places else ():
                    link(own[str(number)], f"{places['frames']}/{sequence}_{number:06d}_leftImg8bit.png")
            for path in own.values():
                path.unlink()
    return made


if __name__ == "__main__":
    main()
