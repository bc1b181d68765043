"""SAM 2 propagation: a clip's labels on disk, by us and by the official video predictor, in the same process.

Same weights (random, but every object counts as present), same JPEGs, since the predictor takes no PNGs, 10 frames
back and 10 on. Ours is what the workflow runs, `propagate_shard`: it hashes what it reads, makes the objects out of
the key frame's label, and writes a label file with labels, confidence and objects. The predictor is driven as its
notebook shows, with `apply_postprocessing=False`, a memory for each direction, and one label PNG a frame; three
favours: the objects are given, the video is loaded once for both directions, and a frame's masks become a label at
once instead of all being held until the end. Seconds are a clip's once the models are built, the best of the repeats,
also as the processor's time where others share it; memory is what the process (on a GPU: its tensors) grew by over
the loaded models, the worst of the repeats. `claimed` is the share of the pixels that the predictor gives to an object,
`alike` the share that both label the same.

Seconds by stage follow, ours for the last number of objects. What goes on in threads beside the rest is no part of
the sum; on a GPU the stages are measured with a wait after each, and frames are decoded in processes, which is not
measured: what counts is how long they were waited for. Printed last, for the same objects: the official time and our
memory, each over the other's. On a GPU give several clips and threads (`--clips 8 --threads 8`), and its peak.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import gc
import io
import math
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fewframes.core.clips import Clip, write_clips
from fewframes.core.files import ContentHashes, read_csv
from fewframes.core.labelfile import read_label_layer
from fewframes.core.labels import IGNORE, load_class_table
from fewframes.labelling.models.chosen import ChosenModel
from fewframes.labelling.models.sam2 import model_config
from fewframes.labelling.propagation import driver
from fewframes.labelling.propagation.sam2 import clipwork, groups, merging, reading, settings, setup
from fewframes.labelling.propagation.sam2.objects import Objects, find_objects

CITYSCAPES = load_class_table("cityscapes")


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock and of the processor, a clip, and mebibytes above the loaded models at the peak."""

    seconds: float = math.inf
    processor: float = math.inf
    memory: float = 0.0

    def best(self, other: Spent) -> Spent:
        """The shorter times, and the higher peak."""
        times = min(self.seconds, other.seconds), min(self.processor, other.processor)
        return Spent(*times, max(self.memory, other.memory))


class PeakMemory:
    """The most memory that the process (or its GPU) holds within the block, over what it held before, in MiB."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.mebibytes = 0.0

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        else:
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
            self._before = peak_resident()
        return self

    def __exit__(self, *_: object) -> None:
        peak = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else peak_resident()
        self.mebibytes = (peak - self._before) / 2**20


def peak_resident() -> int:
    """Bytes of the process that were in memory at most."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@dataclass(frozen=True)
class Case:
    """`clips` clips of the same frames in `folder`, `reach` frames each way, and their objects."""

    folder: Path
    reach: int
    clips: int
    objects: Objects

    @property
    def video(self) -> Path:
        return self.folder / "video"

    @property
    def label_files(self) -> Path:
        return self.folder / "ours"

    @property
    def label_pictures(self) -> Path:
        return self.folder / "official"

    @property
    def shard(self) -> Path:
        return self.folder / "shard.csv"


def make_case(folder: Path, width: int, count: int, reach: int, clips: int) -> Case:
    """Numbered JPEGs of a pattern that moves by two pixels a frame, and `count` rectangles for the key frame's label.

    Each rectangle is an object; up to 19 are classes of their own.
    """
    folder.mkdir()
    height = width // 2
    coarse = np.random.default_rng(0).integers(0, 256, (height // 16, width // 12, 3), dtype=np.uint8)
    scene = cv2.resize(coarse, (width + 4 * reach, height), interpolation=cv2.INTER_CUBIC)
    (folder / "video").mkdir()
    for t in range(2 * reach + 1):
        frame = np.ascontiguousarray(scene[:, 2 * t : 2 * t + width])
        Image.fromarray(frame).save(folder / "video" / f"{t:05}.jpg")

    label = np.full((height, width), IGNORE, np.uint8)
    rows = max(4, math.ceil(math.sqrt(count)))
    columns = max(5, math.ceil(count / rows))
    down, across = height // rows, width // columns
    for number in range(count):
        row, column = divmod(number, columns)
        place = np.s_[row * down : row * down + 2 * down // 3, column * across : column * across + 2 * across // 3]
        label[place] = number % len(CITYSCAPES.names)
    Image.fromarray(CITYSCAPES.to_native_ids(label)).save(folder / "label.png")
    objects = find_objects(label, None, CITYSCAPES, "component", most_things=count)

    name = "video/{frame:05}.jpg"
    write_clips(
        folder / "shard.csv",
        (
            Clip(f"clip{n}", "train", "city", name.format(frame=reach), name, reach, 1, -reach, reach, "label.png")
            for n in range(clips)
        ),
        {"offsets": {f"clip{n}": " ".join(str(o) for o in range(-reach, reach + 1) if o) for n in range(clips)}},
    )
    return Case(folder, reach, clips, objects)


def ours(case: Case, chosen: dict[str, Any], run: dict[str, Any]) -> None:
    out = case.label_files
    driver.propagate_shard(case.shard, "sam2", chosen, case.folder, CITYSCAPES, out, out / "labels.csv", run)


def official(case: Case, predictor: Any, bfloat16: bool) -> None:
    key = case.reach
    train_ids = torch.tensor([*case.objects.train_ids, IGNORE], dtype=torch.uint8, device=predictor.device)
    for n in range(case.clips):
        folder = case.label_pictures / f"clip{n}"
        folder.mkdir(parents=True)
        with torch.autocast(predictor.device.type, torch.bfloat16, enabled=bfloat16):
            state = predictor.init_state(str(case.video))
            for reverse in (True, False):
                predictor.reset_state(state)
                for number in range(len(case.objects)):
                    predictor.add_new_mask(state, key, number, case.objects.index == number)
                for t, _, logits in predictor.propagate_in_video(state, start_frame_idx=key, reverse=reverse):
                    if t != key:
                        best, winner = logits[:, 0].max(dim=0)
                        label = train_ids[torch.where(best > 0, winner, -1)].cpu().numpy()
                        Image.fromarray(label).save(folder / f"{t - key}.png")


def measured(work: Callable[[], None], case: Case, device: torch.device) -> Spent:
    for folder in (case.label_files, case.label_pictures):
        shutil.rmtree(folder, ignore_errors=True)
    with PeakMemory(device) as memory, contextlib.redirect_stderr(io.StringIO()):  # what the two say as they go
        began, worked = time.perf_counter(), time.process_time()
        work()
        seconds, processor = time.perf_counter() - began, time.process_time() - worked
    return Spent(seconds / case.clips, processor / case.clips, memory.mebibytes)


def our_labels(case: Case) -> dict[tuple[str, int], NDArray[np.uint8]]:
    rows = read_csv(case.label_files / "labels.csv", ())
    return {
        (row["clip"], int(row["offset"])): read_label_layer(case.label_files / row["file"], int(row["offset"]))
        for row in rows
        if row["offset"] != "0"
    }


def compared(mine: dict[tuple[str, int], NDArray[np.uint8]], case: Case) -> tuple[float, float]:
    """Per cent of the pixels that some object claims by the predictor's account, and that both label alike."""
    claimed, alike = [], []
    for (clip, offset), label in mine.items():
        other = np.asarray(Image.open(case.label_pictures / clip / f"{offset}.png"))
        claimed.append((other != IGNORE).mean())
        alike.append((other == label).mean())
    return 100 * float(np.mean(claimed)), 100 * float(np.mean(alike))


def compare(
    case: Case, our_way: Callable[[], None], their_way: Callable[[], None] | None, repeats: int, device: torch.device
) -> tuple[Spent, Spent]:
    """Measure the two in turn and print a line of the table."""
    us, them, likeness = Spent(), Spent(), ""
    for _ in range(repeats):
        us = us.best(measured(our_way, case, device))
        if their_way:
            mine = our_labels(case)
            them = them.best(measured(their_way, case, device))
            likeness = "{:7.1f} % {:6.2f} %".format(*compared(mine, case))
            del mine
    if not their_way:
        print(f"{len(case.objects):7} {us.seconds:8.2f} s {us.processor:17.2f} s {us.memory:13.0f} MiB", flush=True)
        return us, them
    times = f"{us.seconds:8.2f} s {them.seconds:7.2f} s {us.processor:6.2f} {them.processor:6.2f} s"
    print(f"{len(case.objects):7} {times} {us.memory:5.0f} {them.memory:5.0f} MiB {likeness}", flush=True)
    return us, them


class Stages:
    """Seconds by stage: of a call within another, the outer one's stage has none."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._beside = device, threading.local()
        self.seconds: Counter[str] = Counter()

    def timed(self, stage: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        def outer(*args: Any, **kwargs: Any) -> Any:
            stack = self._beside.__dict__.setdefault("stack", [])
            self._settle(stack)
            stack.append(stage)
            try:
                return inner(*args, **kwargs)
            finally:
                self._settle(stack)
                stack.pop()

        return outer

    def _settle(self, stack: list[str]) -> None:
        """Put down the time since the last call for the stage that was at work."""
        if self._device.type == "cuda" and threading.current_thread() is threading.main_thread():
            torch.cuda.synchronize()
        now = time.perf_counter()
        if stack:
            self.seconds[stack[-1]] += now - self._beside.since
        self._beside.since = now

    @contextlib.contextmanager
    def of(self, model: nn.Module) -> Iterator[None]:
        """Time the parts of our way through a shard."""
        ahead = reading.Reader.ahead

        def waited(*args: Any) -> Callable[..., Any]:
            return self.timed("waiting for frames", ahead(*args))

        with contextlib.ExitStack() as stack:
            for stage, owner, name in (
                ("hash frames and label", ContentHashes, "of"),
                ("read label, make objects", driver.Work, "_key_frame"),
                ("read label, make objects", driver.Work, "_begin"),
                ("read label, make objects", groups, "find_objects"),
                ("read label, make objects", groups, "ClipWork"),
                ("encode", model, "forward_image"),
                ("memory attention", model, "_prepare_memory_conditioned_features"),
                ("heads", model, "_forward_sam_heads"),
                ("memory encoder", model, "_encode_new_memory"),
                ("merge", merging.FrameResult, "add"),
                ("merge", merging.FrameResult, "finish"),
                ("merge", clipwork.ClipWork, "add"),
                ("hash and deflate (beside)", driver, "pack"),
                ("write", driver.Work, "_write"),
            ):
                stack.enter_context(mock.patch.object(owner, name, self.timed(stage, getattr(owner, name))))
            stack.enter_context(mock.patch.object(reading.Reader, "ahead", waited))
            if self._device.type == "cpu":
                decode = self.timed("decode and square (beside)", reading.read_part)
                stack.enter_context(mock.patch.object(reading, "read_part", decode))
            yield

    def print(self, case: Case, total: float) -> None:
        print(f"\nours, {len(case.objects)} objects: seconds a clip by stage, and their share")
        apart = {stage: spent / case.clips for stage, spent in self.seconds.items()}
        rest = total - sum(spent for stage, spent in apart.items() if "beside" not in stage)
        for stage, spent in [*sorted(apart.items(), key=lambda item: -item[1]), ("the rest", rest)]:
            print(f"  {stage:28} {spent:8.2f} {100 * spent / total:5.1f} %")
        print(f"  {'all':28} {total:8.2f}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="small", help="small, or one of the package's, such as sam2.1_hiera_l")
    parser.add_argument("--image-size", type=int, default=0, help="the model's, where not the configuration's own")
    parser.add_argument("--width", type=int, default=2048, help="of the frames, twice their height")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 5, 19])
    parser.add_argument("--reach", type=int, default=10, help="frames each way; below 8 the official labels differ")
    parser.add_argument("--clips", type=int, default=1, help="in a shard: a GPU takes several at once")
    parser.add_argument("--max-batch", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="on a GPU, of our processes that decode frames")
    parser.add_argument("--ours-only", action="store_true", help="for more objects than the predictor has time for")
    parser.add_argument("--peak", type=float, help="of the device, in TFLOP/s: prints the share of it that is reached")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    chosen = {
        "weights": "random",
        "config": options.config,
        "image_size": options.image_size,
        "objects": "component",
        "most_things": max(options.objects),
    }
    run = {"threads": options.threads, "max_batch": options.max_batch}
    of_method, _, housekeeping = settings.parse(chosen, run)
    with contextlib.redirect_stderr(io.StringIO()):
        built = setup.set_up(of_method, housekeeping, ChosenModel("random", None, options.config))
    model: Any = built.tracker._model
    device, bfloat16 = next(model.parameters()).device, built.notes["precision"] == "bfloat16"
    # Of an object that counts as absent nothing is merged or claimed.
    model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias += 10
    predictor: Any = None
    if not options.ours_only:
        arguments = model_config(options.config, options.image_size or None)
        arguments["_target_"] = "sam2.sam2_video_predictor.SAM2VideoPredictor"
        predictor = instantiate(arguments, _recursive_=True).eval().to(device)
        predictor.load_state_dict(model.state_dict())

    print(
        f"{options.config} at {built.side} px, {options.clips} clip(s) of {2 * options.reach} frames of "
        f"{options.width}x{options.width // 2}, {built.notes['device']}, {built.notes['precision']}"
    )
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(setup, "set_up", lambda *_: built):
        first = make_case(Path(folder, "first"), options.width, 1, 1, 1)
        measured(functools.partial(ours, first, chosen, run), first, device)  # warms up
        print("objects      ours  official   of processor      ours official   claimed   alike")
        for count in options.objects:
            case = make_case(Path(folder, str(count)), options.width, count, options.reach, options.clips)
            our_way = functools.partial(ours, case, chosen, run)
            their_way = functools.partial(official, case, predictor, bfloat16) if predictor else None
            us, them = compare(case, our_way, their_way, options.repeats, device)
        stages = Stages(device)
        with stages.of(model):
            spent = measured(our_way, case, device)
        stages.print(case, spent.seconds)
        if options.peak:
            with FlopCounterMode(display=False) as flops:
                measured(our_way, case, device)
            done = flops.get_total_flops() / case.clips / us.seconds / 1e12
            print(f"\n{done:.2f} TFLOP/s from file to file: {100 * done / options.peak:.1f} % of the peak")
    if predictor:
        print(
            f"\n{len(case.objects)} objects: official over ours, time: {them.seconds / us.seconds:.2f}; "
            f"ours over official, peak memory: {us.memory / them.memory:.2f}"
        )


if __name__ == "__main__":
    main()
