"""Toy city: frames a second on one core, files included, at 512x256 or another size; the promise is 20 or more.

Beside it, in the same process, the least that any writer must do: encode and write one such image and its labels
from memory. The frames a second are printed last.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2

from fewframes.core.images import read_image, read_label
from fewframes.core.labels import load_class_table
from fewframes.datasets.toycity import ToyCitySettings, write_toycity
from fewframes.datasets.toycity.layouts import encoded, put


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--clips", type=int, default=6)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    settings = ToyCitySettings(options.clips, 0, 0, options.width // 2, options.width)
    first, last = load_class_table("cityscapes").offsets
    frames = options.clips * (last - first + 1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "city"
        wall, used = time.perf_counter(), time.process_time()
        write_toycity(root, settings)
        wall, used = time.perf_counter() - wall, time.process_time() - used

        pictures = [read_image(p) for p in sorted(root.glob("leftImg8bit_sequence/*/*/*.png"))[:30]]
        labels = [read_label(p) for p in sorted(Path(f"{root}-truth").glob("*/*/*.png"))[:30]]
        least = time.perf_counter()
        for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            put(Path(folder) / f"{i}.png", encoded(picture, ".png"))
            put(Path(folder) / f"{i}_labelIds.png", encoded(label, ".png"))
        least = (time.perf_counter() - least) / len(pictures)
    print(f"{frames} frames of {settings.width}x{settings.height}, one process")
    print(f"encoding and writing alone: {1000 * least:.1f} ms a frame")
    print(f"toy city: {1000 * wall / frames:.1f} ms a frame ({1000 * used / frames:.1f} ms of processor time)")
    print(f"{frames / wall:.1f} frames/s, {frames / used:.1f} a second of processor time")


if __name__ == "__main__":
    main()
