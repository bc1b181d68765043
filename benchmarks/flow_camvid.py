"""What the flow propagator's choices are worth on CamVid, against copying the label.

Frames of the 15 Hz sequence in turn are the key frame; labels are propagated both ways and scored, at each
offset, against the human labels, summed over all keys and both directions. Run it as

    python benchmarks/flow_camvid.py [--camvid FOLDER] [--every N]

where FOLDER holds `val15hz/` and `val15hzannot/`. The published figures are of `--every 1` (all frames, some
minutes). Printed last: the errors (100 minus mIoU on claimed pixels) of copying over those of `flow`, and the time
of `flow` over that at half resolution.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.core.images import read_image, read_label
from fewframes.core.labels import IGNORE, load_class_table
from fewframes.core.metrics import claimed, confusion_matrix, coverage, iou_per_class, mean
from fewframes.core.progress import progress
from fewframes.labelling.propagation import Propagator, build_propagator

CAMVID = Path(__file__).resolve().parents[2] / "shared" / "data" / "camvid"
FILES = (5, 9)  # distances scored, in files: every second video frame is one
METHODS = {
    "copy": ("copy", {}),
    "flow": ("flow", {}),
    "flow, no check": ("flow", {"max_disagreement": 1e9}),
    "flow, surer": ("flow", {"colour_tolerance": 7.5}),
    "flow, bolder": ("flow", {"colour_tolerance": 30.0}),
    "flow, half resolution": ("flow", {"finest_scale": 1}),
}


class Score:
    """Confusions at one distance: the method's, and copying's on the pixels that the method claimed."""

    def __init__(self, classes: int) -> None:
        self.method = np.zeros((classes, classes + 1), np.int64)
        self.copy = np.zeros((classes, classes + 1), np.int64)

    def add(self, truth: NDArray[np.uint8], label: NDArray[np.uint8], key: NDArray[np.uint8]) -> None:
        classes = len(self.method)
        self.method += confusion_matrix(truth, label, classes)
        self.copy += confusion_matrix(np.where(label == IGNORE, np.uint8(IGNORE), truth), key, classes)

    @property
    def error(self) -> float:
        """100 minus the mIoU on claimed pixels, in percent."""
        return 100 * (1 - mean(iou_per_class(claimed(self.method))))

    def row(self) -> str:
        figures = (
            mean(iou_per_class(claimed(self.method))),
            coverage(self.method),
            mean(iou_per_class(claimed(self.copy))),
            mean(iou_per_class(self.method)),
        )
        return " ".join(f"{100 * figure:8.1f}" for figure in figures)


def score(
    propagator: Propagator,
    frames: list[NDArray[np.uint8]],
    labels: list[NDArray[np.uint8]],
    every: int,
    classes: int,
) -> tuple[dict[int, Score], float]:
    """The scores by distance in files, and milliseconds of processor time a propagated frame."""
    scores = {distance: Score(classes) for distance in FILES}
    made, began = 0, time.process_time()
    for key in progress(range(0, len(frames), every), "key frames"):
        for direction in (-1, 1):
            last = key + direction * max(FILES)
            outward = [i for i in range(key, last + direction, direction) if 0 <= i < len(frames)]
            results = propagator.propagate(labels[key], _each(frames, outward))
            for distance, (i, result) in enumerate(zip(outward[1:], results, strict=True), start=1):
                made += 1
                if distance in scores:
                    scores[distance].add(labels[i], result.label, labels[key])
    return scores, 1000 * (time.process_time() - began) / made


def _each(frames: list[NDArray[np.uint8]], order: list[int]) -> Iterator[NDArray[np.uint8]]:
    return (frames[i] for i in order)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, default=CAMVID, help="folder of val15hz/ and val15hzannot/")
    parser.add_argument("--every", type=int, default=5, help="take every n-th frame as key frame")
    options = parser.parse_args()
    if not (options.camvid / "val15hz").is_dir():
        print(f"CamVid's 15 Hz frames are not in {options.camvid}: nothing measured (--camvid names another folder).")
        return
    cv2.setNumThreads(1)
    table = load_class_table("camvid")
    files = sorted((options.camvid / "val15hz").glob("*.png"))
    frames = [read_image(file) for file in files]
    annotations = [options.camvid / "val15hzannot" / file.name for file in files]
    labels = [table.to_train_ids(read_label(file), file) for file in annotations]
    print(f"{'method':26}{'offset':>6}  claimed coverage  copy on   all px  ms/frame")
    print(f"{'':32}     mIoU        %  same px     mIoU")
    errors, times = {}, {}
    for name, (method, settings) in METHODS.items():
        propagator = build_propagator(method, settings)
        scores, milliseconds = score(propagator, frames, labels, options.every, len(table.names))
        errors[name], times[name] = scores[FILES[0]].error, milliseconds
        for distance, result in scores.items():
            print(f"{name:26}{'±' + str(2 * distance):>6} {result.row()}  {milliseconds:8.1f}", flush=True)
    print(
        f"copy over flow, errors at ±{2 * FILES[0]}: {errors['copy'] / errors['flow']:.1f}; "
        f"flow over half resolution, time: {times['flow'] / times['flow, half resolution']:.1f}"
    )


if __name__ == "__main__":
    main()
