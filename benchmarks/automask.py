"""SAM 2's automatic masks of an image, by us and by the official generator, in the same process.

Same model (random weights), same image, same points and thresholds. Of random weights no mask passes the filters, so
that both are given others in place of what the decoder made, after it has made it: ellipses of three sizes at every
point, those of neighbouring points nearly the same where they are of one object, with a predicted IoU and a steepness
drawn such that each of the default thresholds lets about half pass. How many do is printed. The official generator is
spared the bit maps of all masks (its `uncompressed_rle`); ours are as the workflow has them, and the label made from
them follows apart.

Seconds are an image's once the model is built, the best of the repeats; memory is what the process grew by over that,
the worst of them. Printed last: the official time over ours, and our memory over the official.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from propagation import PeakMemory, Spent
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.utils.amg import rle_to_mask
from torch import Tensor

from fewframes.core.labels import IGNORE
from fewframes.labelling.models.sam2 import build_model
from fewframes.labelling.refinement.automask import refined_by
from fewframes.labelling.refinement.automasks import filters
from fewframes.labelling.refinement.automasks.generator import MaskGenerator
from fewframes.labelling.refinement.automasks.settings import AutomaskSettings


class Ellipses:
    """A hook on the decoder: masks and predicted IoU of each point, in the order of the points."""

    def __init__(self, per_side: int, side: int) -> None:
        down, across = np.mgrid[:side, :side].astype(np.float32) / side
        logits, iou = [], []
        for number in range(per_side**2):
            of_point = np.random.default_rng(number)
            y, x = (np.array(divmod(number, per_side)) + 0.5) / per_side
            for cells in (16, 6, 2):  # objects a side
                row, column = int(y * cells), int(x * cells)
                of_object = np.random.default_rng((row, column, cells))
                top, left = (np.array([row, column]) + of_object.random(2)) / cells
                radii = of_object.uniform(0.2, 0.9, 2) / cells * (1 + 0.03 * of_point.normal(size=2))
                distance = np.hypot((down - top) / radii[0], (across - left) / radii[1])
                logits.append(np.clip(of_point.lognormal(4.5, 1) * (1 - distance), -32, 32).astype(np.float32))
                iou.append(of_point.normal(0.8, 0.12))
        self._logits = torch.from_numpy(np.stack(logits)).view(-1, 3, side, side)
        self._iou = torch.tensor(iou, dtype=torch.float32).view(-1, 3)
        self._next = 0

    def __call__(self, _module: Any, _positional: Any, made: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        points = slice(self._next, self._next + len(made[0]))
        self._next = points.stop % len(self._logits)
        return self._logits[points], self._iou[points], *made[2:]


def spent_on(work: Callable[[], Any], before: Spent) -> tuple[Any, Spent]:
    """What `work` made, and what it took: the best of this and what was spent `before`."""
    with PeakMemory(torch.device("cpu")) as memory:
        began, worked = time.perf_counter(), time.process_time()
        made = work()
        seconds, processor = time.perf_counter() - began, time.process_time() - worked
    return made, before.best(Spent(seconds, processor, memory.mebibytes))


def counted(generator: MaskGenerator, image: NDArray[np.uint8], settings: AutomaskSettings) -> str:
    """How many masks there are after each step."""
    size = image.shape[:2]
    decoded, likely, possible = 0, 0, []
    with torch.inference_mode():
        for logits, iou in generator._decoded(image):
            chosen = iou > settings.pred_iou_thresh
            decoded, likely = decoded + len(iou), likely + int(chosen.sum())
            possible += filters.candidates(logits[chosen], iou[chosen], size, settings)
        stable = sum(one.settled(settings) is not None for one in possible)
        kept = len(filters.distinct(possible, settings))
    return f"{decoded} masks, {likely} of a sufficient predicted IoU, {stable} of them stable, {kept} distinct"


def most_different(ours: list[Any], official: list[dict[str, Any]], size: tuple[int, int]) -> int:
    """Pixels in which two masks of the same place in both lists differ, at most."""
    worst = 0
    for mine, other in zip(ours, official, strict=True):
        whole = np.zeros(size, bool)
        whole[mine.window] = mine.pixels()
        worst = max(worst, int((whole != rle_to_mask(other["segmentation"])).sum()))
    return worst


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="small", help="small, or one of the package's, such as sam2.1_hiera_l")
    parser.add_argument("--image-size", type=int, default=256, help="the model's side")
    parser.add_argument("--width", type=int, default=2048, help="of the image, twice its height")
    parser.add_argument("--points-per-side", type=int, default=16)
    parser.add_argument("--max-batch", type=int, default=0, help="ours; the official generator decodes 64 at once")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    warnings.simplefilter("ignore", FutureWarning)  # torch's, of what the official generator calls
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    side, size = options.image_size, (options.width // 2, options.width)
    model: Any = build_model(options.config, image_size=side)
    model.sam_mask_decoder.register_forward_hook(Ellipses(options.points_per_side, side // 4))
    coarse = np.random.default_rng(0).integers(0, 256, (size[0] // 16, size[1] // 12, 3), dtype=np.uint8)
    image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)

    settings = AutomaskSettings(points_per_side=options.points_per_side)
    generator = MaskGenerator(model, settings, max_batch=options.max_batch)
    official = SAM2AutomaticMaskGenerator(
        model, points_per_side=options.points_per_side, output_mode="uncompressed_rle"
    )
    # It knows the sizes of a model of 1024 pixels only.
    official.predictor._bb_feat_sizes = [(side // part, side // part) for part in (4, 8, 16)]

    print(f"{options.config} at {side} px, image of {size[1]}x{size[0]}, {options.threads} thread(s)")
    print(counted(generator, image, settings), flush=True)
    us, them = Spent(), Spent()
    for _ in range(options.repeats):
        mine, us = spent_on(lambda: generator.generate(image), us)
        other, them = spent_on(lambda: official.generate(image), them)
    label = np.full(size, IGNORE, np.uint8)
    label[size[0] // 4 :, :: options.width // 8] = 3
    refined, after = spent_on(lambda: refined_by(mine, label, settings), Spent())
    print(f"{'':20} {'by the clock':>12} {'processor':>10} {'memory':>11}")
    for name, spent in (("ours", us), ("official", them), ("the label, after", after)):
        print(f"{name:20} {spent.seconds:10.2f} s {spent.processor:8.2f} s {spent.memory:7.0f} MiB")
    worst = most_different(mine, other, size)
    print(f"{refined.counts['accepted']} masks accepted; masks differ from the official in {worst} pixels at most")
    print(
        f"\nofficial over ours, time: {them.seconds / us.seconds:.2f}, of the processor "
        f"{them.processor / us.processor:.2f}; ours over official, peak memory: {us.memory / them.memory:.3f}"
    )


if __name__ == "__main__":
    main()
