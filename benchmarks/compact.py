"""What a SAM 2's propagation is worth on held-out data, beside copying the label and optical flow.

On CamVid's 15 Hz sequence labels are carried ten video frames to both sides; mIoU is over all true pixels, unclaimed
ones counted wrong, or filled by the nearest label. On toy city, streets that nothing was trained on, J&F is of all
objects, ten frames to both sides. Run it as

    python benchmarks/compact.py [--weights FILE --config NAME] [--sizes 256 512] [--tiles 1 2] [--camvid FOLDER]

Without weights, copying and flow alone are measured. mIoU over that of flow, filled, is printed last.
"""

from __future__ import annotations

import argparse
import itertools
import os
from pathlib import Path
from typing import Any

import cv2
import torch
from helpers.compact_scores import OBJECTS, by_propagator, follow_toy_city, propagate_camvid

from fewframes.core.labels import load_class_table
from fewframes.labelling.propagation import build_propagator

CAMVID = Path(os.environ.get("FEWFRAMES_CAMVID", Path(__file__).resolve().parents[2] / "shared" / "data" / "camvid"))
REACH = 5
"""Files: every second video frame is one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="a file of weights of SAM 2")
    parser.add_argument("--config", default="compact", help="their configuration")
    parser.add_argument("--sizes", nargs="+", type=int, default=[256], help="the model's side in pixels")
    parser.add_argument("--tiles", nargs="+", type=int, default=[1], help="into which frames are cut, side by side")
    parser.add_argument("--camvid", type=Path, default=CAMVID, help="folder of val15hz/ and val15hzannot/")
    parser.add_argument("--every", type=int, default=12, help="take every n-th frame as key frame")
    parser.add_argument("--streets", type=int, default=2, help="of toy city")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    methods: dict[str, tuple[str, dict[str, Any]]] = {"copy": ("copy", {}), "flow": ("flow", {})}
    model = {"weights": options.weights, "config": options.config}
    for size, tiles in itertools.product(options.sizes, options.tiles) if options.weights else []:
        methods[f"sam2, {size} px, tiles: {tiles}"] = ("sam2", {**model, "image_size": size, "tiles": tiles})
    on_cpu = {"device": "cpu", "threads": 1}
    for name, (method, settings) in methods.items():
        run, told = (on_cpu, {"objects": "class"}) if method == "sam2" else ({}, {})
        follow = by_propagator(build_propagator(method, {**settings, **told}, OBJECTS, run))
        found = follow_toy_city(follow, 0, range(options.streets))
        print(f"toy city, {name}: J {found.region:.1f}, F {found.boundary:.1f}, J&F {found.both:.1f}", flush=True)
    if not (options.camvid / "val15hz").is_dir():
        print(f"CamVid's 15 Hz frames are not in {options.camvid}: not measured (--camvid names another folder).")
        return
    classes = load_class_table("camvid")
    filled = {}
    for name, (method, settings) in methods.items():
        run = on_cpu if method == "sam2" else {}
        score = propagate_camvid(
            build_propagator(method, settings, classes, run), options.camvid, classes, options.every, REACH
        )
        filled[name] = score.filled
        print(f"CamVid, {name}: mIoU {score.miou:.1f}, filled {score.filled:.1f}, claimed {score.coverage:.1f} %")
    print("over flow: " + ", ".join(f"{name} {value / filled['flow']:.2f}" for name, value in filled.items()))


if __name__ == "__main__":
    main()
