"""SAM 2 propagation: one clip's labels on disk, by us and by the official video predictor, in the same process.

Same weights (random), same JPEGs, since the predictor takes no PNGs, 10 frames back and 10 on; both give each
direction a memory of its own and write one label PNG a frame, its confidence left aside. The predictor is driven as
its notebook shows, with two favours: the video is loaded once for both directions, and each frame's masks become a
label at once instead of all being held until the end. Peak memory is what the process grew by over the loaded models.
Printed last: the official time and our memory, each over the other's, for the most objects.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import gc
import io
import math
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from PIL import Image

from fewframes.core.images import read_image
from fewframes.labelling.propagation.sam2.engine import Tracker
from fewframes.labelling.propagation.sam2.model import build_model, model_config, squared
from fewframes.labelling.propagation.sam2.objects import Objects
from fewframes.labelling.propagation.sam2.tracks import Task

REACH = 10


@dataclass(frozen=True)
class Spent:
    """Wall seconds, and mebibytes above the loaded models at the peak."""

    seconds: float
    memory: float

    def best(self, other: Spent) -> Spent:
        """The shorter time, and the higher peak: how early it is seen is chance."""
        return Spent(min(self.seconds, other.seconds), max(self.memory, other.memory))


class PeakMemory:
    """The most memory that the process (or its GPU) holds within the block, over what it held before, in MiB."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._done = device, threading.Event()
        self.mebibytes = 0.0

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        else:
            ctypes.CDLL(None).malloc_trim(0)
            self._before = self._peak = resident()
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
        else:
            self._done.set()
            self._thread.join()
            peak = self._peak
        self.mebibytes = (peak - self._before) / 2**20

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self._peak = max(self._peak, resident())


def resident() -> int:
    """Bytes of the process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def write_video(folder: Path, height: int, width: int) -> None:
    """A pattern that moves by two pixels a frame, as numbered JPEGs."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 16, width // 12, 3), dtype=np.uint8)
    scene = cv2.resize(coarse, (width + 4 * REACH, height), interpolation=cv2.INTER_CUBIC)
    for t in range(2 * REACH + 1):
        Image.fromarray(np.ascontiguousarray(scene[:, 2 * t : 2 * t + width])).save(folder / f"{t:05}.jpg")


def rectangles(count: int, height: int, width: int) -> Objects:
    """`count` objects on a grid of five columns, each a class of its own."""
    index = np.full((height, width), -1, np.int16)
    down, across = height // 4, width // 5
    for number in range(count):
        row, column = divmod(number, 5)
        index[row * down : row * down + 2 * down // 3, column * across : column * across + 2 * across // 3] = number
    return Objects(index, tuple(range(count)))


def ours(tracker: Tracker, side: int, video: Path, objects: Objects, out: Path) -> None:
    def read(offset: int) -> NDArray[np.uint8]:
        return squared(read_image(video / f"{REACH + offset:05}.jpg"), side)

    for result in tracker.track([Task("clip", objects, REACH, REACH, read)]):
        Image.fromarray(result.label).save(out / f"{REACH + result.offset:05}.png")


def official(predictor: Any, video: Path, objects: Objects, out: Path) -> None:
    state = predictor.init_state(str(video))
    for reverse in (True, False):
        predictor.reset_state(state)
        for number in range(len(objects)):
            predictor.add_new_mask(state, REACH, number, objects.index == number)
        for t, _, logits in predictor.propagate_in_video(state, start_frame_idx=REACH, reverse=reverse):
            if t != REACH:
                best, winner = logits[:, 0].max(dim=0)
                label = torch.where(best > 0, winner, 255).to(torch.uint8).cpu().numpy()
                Image.fromarray(label).save(out / f"{t:05}.png")


def measured(work: Callable[[], None], device: torch.device) -> Spent:
    with PeakMemory(device) as memory, contextlib.redirect_stderr(io.StringIO()):  # the predictor's progress bars
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
    return Spent(seconds, memory.mebibytes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="small", help="small, or one of the package's, such as sam2.1_hiera_l")
    parser.add_argument("--image-size", type=int, help="the model's image size, where not the configuration's own")
    parser.add_argument("--width", type=int, default=1024, help="of the frames, twice their height")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 5, 19])
    parser.add_argument("--max-batch", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = device.type == "cuda"
    model = build_model(options.config, image_size=options.image_size).to(device)
    arguments = model_config(options.config, options.image_size)
    arguments["_target_"] = "sam2.sam2_video_predictor.SAM2VideoPredictor"
    predictor: Any = instantiate(arguments, _recursive_=True).eval().to(device)
    predictor.load_state_dict(model.state_dict())
    tracker = Tracker(model, max_batch=options.max_batch, bfloat16=half)
    side, height, width = int(arguments["image_size"]), options.width // 2, options.width
    print(f"{options.config} at {side} px, frames of {width}x{height}, {2 * REACH} frames a clip, on {device.type}")
    print(f"{'objects':>7} {'ours s':>8} {'official s':>10} {'ours MiB':>9} {'official MiB':>12}  labels agree")
    with tempfile.TemporaryDirectory() as folder:
        video, mine, theirs = (Path(folder) / name for name in ("video", "mine", "theirs"))
        for path in (video, mine, theirs):
            path.mkdir()
        write_video(video, height, width)
        measured(functools.partial(ours, tracker, side, video, rectangles(1, height, width), mine), device)  # warms up
        for count in options.objects:
            objects = rectangles(count, height, width)
            us, them = Spent(math.inf, 0.0), Spent(math.inf, 0.0)
            for _ in range(options.repeats):
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    them = them.best(measured(functools.partial(official, predictor, video, objects, theirs), device))
                us = us.best(measured(functools.partial(ours, tracker, side, video, objects, mine), device))
            pairs = [(np.asarray(Image.open(f)), np.asarray(Image.open(theirs / f.name))) for f in mine.iterdir()]
            agree = 100 * np.mean([(one == other).mean() for one, other in pairs])
            figures = f"{us.seconds:8.2f} {them.seconds:10.2f} {us.memory:9.0f} {them.memory:12.0f}"
            print(f"{count:7} {figures} {agree:12.2f} %", flush=True)
    print(
        f"official over ours, time: {them.seconds / us.seconds:.2f}; "
        f"ours over official, peak memory: {us.memory / them.memory:.2f}"
    )


if __name__ == "__main__":
    main()
