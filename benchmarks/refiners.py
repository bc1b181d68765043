"""What each refinement method makes of coarse labels: refined against coarse against fine, class by class.

On toy city, whose coarse labels are drawn with it, and on CamVid's stills, whose coarse ones are made here out of the
fine ones: each region shrunk away from its boundary and drawn as polygons of few corners, the smallest left out. Run it
as

    python benchmarks/refiners.py [--methods NAME ...] [--settings JSON] [--camvid FOLDER] [--every N] [--width W]

where FOLDER holds `train/` and `trainannot/`; the environment variable FEWFRAMES_CAMVID names it too, and `--settings`
has settings by method: those that run a network need weights there. The published figures are of `--every 1`. IoU is
over all true pixels, the unlabelled counted wrong. The means over the classes that are refined are printed last.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewframes.core.clips import PREPARED, Clip, Root, write_clips
from fewframes.core.files import read_csv
from fewframes.core.images import read_label
from fewframes.core.labels import IGNORE, ClassTable, load_class_table
from fewframes.datasets import index
from fewframes.datasets.source import Source
from fewframes.datasets.toycity import ToyCitySettings, write_toycity
from fewframes.labelling.refinement import METHODS
from fewframes.labelling.refinement.driver import refine_shard
from fewframes.labelling.refinementquality import REFINED, write_refinement_quality

CAMVID = Path(os.environ.get("FEWFRAMES_CAMVID", Path(__file__).resolve().parents[2] / "shared" / "data" / "camvid"))
SHOWN = ("coverage", "iou_all", "boundary_iou")
MARGIN = 0.02
"""How far off its boundary a region is drawn, as a share of the image's width, at most half as far as its middle is. So
68 % of CamVid's pixels are labelled; in Cityscapes' coarse labels 67.5 % are (Cordts et al., CVPR 2016, table 1)."""
SMALLEST = 0.0001
"""Regions of which less would be drawn, as a share of the image, are left out: 17 pixels at 480x360."""


def toycity(folder: Path, width: int, seed: int) -> tuple[list[Clip], Root, ClassTable]:
    """Clips of a toy city with fine and coarse labels."""
    write_toycity(folder / "city", ToyCitySettings(24, 8, 0, width // 2, width, seed=seed))
    source = Source(folder / "city", folder / "prepared", load_class_table("cityscapes"))
    return index("cityscapes", source), source.root, source.classes


def camvid(stills: Path, folder: Path, every: int, first: int = 0) -> tuple[list[Clip], Root, ClassTable]:
    """Every n-th of CamVid's stills with its fine label, and a coarse one made of that."""
    classes = load_class_table("camvid")
    clips = []
    for number, image in enumerate(sorted((stills / "train").glob("*.jpg"))[first::every]):
        fine = f"trainannot/{image.stem}.png"
        coarse = folder / "prepared" / f"{image.stem}.png"
        coarse.parent.mkdir(exist_ok=True)
        label = classes.to_train_ids(read_label(stills / fine), fine)
        drawn = coarsened(label, np.random.default_rng(number))
        Image.fromarray(classes.to_native_ids(drawn)).save(coarse)
        clips.append(
            Clip(image.stem, "train", "g", f"train/{image.name}", fine=fine, coarse=f"{PREPARED}{coarse.name}")
        )
    return clips, Root(stills, folder / "prepared"), classes


def coarsened(label: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A coarse label, `uint8 [H, W]` train ids, out of a true one: polygons well inside of each connected region."""
    coarse = np.full_like(label, IGNORE)
    for train_id in np.unique(label[label != IGNORE]).tolist():
        count, regions = cv2.connectedComponents((label == train_id).astype(np.uint8))
        for region in range(1, count):
            inward = cv2.distanceTransform((regions == region).astype(np.uint8), cv2.DIST_L2, 5)
            margin = min(MARGIN * label.shape[1] * rng.uniform(0.8, 1.4), 0.5 * float(inward.max()))
            core = (inward > margin).astype(np.uint8)
            if core.sum() < SMALLEST * label.size:
                continue
            # A corner may be cut by less than the margin, so that polygons stay within; even-odd, holes stay open.
            outlines = cv2.findContours(core, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
            polygons = [cv2.approxPolyDP(outline, 0.7 * margin, True) for outline in outlines]
            cv2.fillPoly(coarse, polygons, train_id)
    return coarse


def measure(
    name: str, clips: list[Clip], root: Root, classes: ClassTable, folder: Path, methods: dict[str, dict[str, Any]]
) -> list[str]:
    """Refine the clips by each method, print IoUs by class, and return a line of means a method."""
    alone = {clip.id: "" for clip in clips}
    write_clips(folder / "shard.csv", clips, {"offsets": alone, "state": alone})
    tables, lines = {}, []
    for method, settings in methods.items():
        labels, table = folder / f"{method}.labels.csv", folder / f"{method}.csv"
        began = time.process_time()
        refine_shard(folder / "shard.csv", method, settings, root, classes, folder / method, labels)
        milliseconds = 1000 * (time.process_time() - began) / len(clips)
        write_refinement_quality(method, labels, clips, root, folder / method, classes, table)
        rows = tables[method] = {row["class"]: row for row in read_csv(table, ("class",))}
        means = ", ".join(
            f"{score} {rows[REFINED][f'{score}_coarse']} to {rows[REFINED][f'{score}_refined']}" for score in SHOWN
        )
        lines.append(f"{name}, {method}: {means}; {milliseconds:.0f} ms of processor time an image")
    print(f"\n{name}: IoU over all true pixels, {len(clips)} images (* refined)")
    print(f"{'class':18}{'coarse':>8}" + "".join(f"{method:>20}" for method in tables))
    first = next(iter(tables.values()))
    for class_ in first:
        mark = "*" if class_ in classes.refined else ""
        figures = "".join(f"{table[class_]['iou_all_refined'] or '-':>20}" for table in tables.values())
        print(f"{class_ + mark:18}{first[class_]['iou_all_coarse'] or '-':>8}{figures}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["grabcut", "none"])
    parser.add_argument("--settings", type=json.loads, default={}, help='such as {"sam_box": {"box_margin": 0.2}}')
    parser.add_argument("--camvid", type=Path, default=CAMVID, help="folder of train/ and trainannot/")
    parser.add_argument("--every", type=int, default=10, help="take every n-th still of CamVid")
    parser.add_argument("--width", type=int, default=256, help="of toy city's images; half as high")
    parser.add_argument("--seed", type=int, default=0, help="of toy city")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    methods = {method: options.settings.get(method, {}) for method in options.methods}
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        lines += measure("toy city", *toycity(Path(folder), options.width, options.seed), Path(folder), methods)
    if (options.camvid / "trainannot").is_dir():
        with tempfile.TemporaryDirectory() as folder:
            lines += measure("CamVid", *camvid(options.camvid, Path(folder), options.every), Path(folder), methods)
    else:
        print(f"\nCamVid's stills are not in {options.camvid}: not measured (--camvid names another folder).")
    print("\nMeans of the refined classes (*), coarse to refined:")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
