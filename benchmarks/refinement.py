"""Refinement's decoder and post-processing: by us and by a loop over `SamPredictor.predict`, in the same process.

One image of 2048x1024 with `--instances` objects, two points each, three decodings each: three masks of which the best
is taken, then twice a mask from the same points and the mask before. The predictor is called object by object, as its
notebook shows, and makes masks of the image's size at every call, which cannot be turned off; ours decodes the objects
in batches and upsamples the last masks only. The predictor runs in float32: under autocast to bfloat16 its `predict`
fails. Weights are random, with which masks lie all over the image: of real ones most are small, and upsampled faster.

Both start from the embedding of one image, encoded once by ours, whose time is given apart, and as a share of the
image's time with our decoder. Seconds are an image's by the clock, the best of the repeats, the two taking turns; alike
is the share of pixels that are alike in both masks. Printed last: the predictor's time over ours.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor

from fewframes.labelling.models.sam import SIZES, build_model
from fewframes.labelling.refinement.sam.contract import Decoded, Prompts
from fewframes.labelling.refinement.sam.segmenter import Embedding, SamSegmenter

HEIGHT, WIDTH = 1024, 2048
ITERATIONS = 2
PRECISIONS = ("float32", "bfloat16")
Masks = list[NDArray[np.bool_]]


@dataclass(frozen=True)
class Spent:
    """Seconds of ours."""

    decode: float = math.inf
    upsample: float = math.inf

    @property
    def all(self) -> float:
        return self.decode + self.upsample


def ours(segmenter: SamSegmenter, embedding: Embedding, points: NDArray[np.float32]) -> tuple[Spent, Masks]:
    decoding, decoded = timed(lambda: decode(segmenter, embedding, points))
    upsampling, masks = timed(lambda: list(segmenter.upsampled(embedding, decoded.logits[:, 0], decoded.views)))
    return Spent(decoding, upsampling), masks


def decode(segmenter: SamSegmenter, embedding: Embedding, points: NDArray[np.float32]) -> Decoded:
    inside = np.ones(points.shape[:2], bool)
    decoded = segmenter.decode(embedding, Prompts(points, inside), multimask=True).best()
    for _ in range(ITERATIONS):
        again = Prompts(points, inside, masks=decoded.logits[:, 0], views=decoded.views)
        decoded = segmenter.decode(embedding, again, multimask=False)
    return decoded


def official(predictor: SamPredictor, points: NDArray[np.float32]) -> Masks:
    results = []
    for places in points:
        inside = np.ones(len(places), int)
        masks, iou, logits = predictor.predict(places, inside, multimask_output=True)
        logits = logits[iou.argmax()][None]
        for _ in range(ITERATIONS):
            masks, _, logits = predictor.predict(places, inside, mask_input=logits, multimask_output=False)
        results.append(masks[0])
    return results


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    synchronise()
    began = time.perf_counter()
    result = work()
    synchronise()
    return time.perf_counter() - began, result


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="vit_b", choices=("small", *SIZES))
    parser.add_argument("--instances", type=int, default=16)
    parser.add_argument("--max-batch", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = build_model(options.config).to(device)
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8), (WIDTH, HEIGHT))
    points = (rng.random((options.instances, 2, 2)) * (WIDTH, HEIGHT)).astype(np.float32)

    print(f"{options.config}, {options.instances} objects of {WIDTH}x{HEIGHT}, {device}, {options.threads} thread(s)")
    ways = {name: SamSegmenter(model, max_batch=options.max_batch, bfloat16=name == "bfloat16") for name in PRECISIONS}
    encoded = {name: timed(functools.partial(way.embed, [image])) for name, way in ways.items()}
    embedding = encoded["float32"][1][0]
    predictor = SamPredictor(model)
    predictor.features, predictor.is_image_set = embedding.features[0], True
    predictor.original_size, predictor.input_size = (HEIGHT, WIDTH), embedding.views[0].resized

    official(predictor, points[:1])  # warms up
    best = {name: Spent() for name in PRECISIONS}
    masks: dict[str, Masks] = {}
    loop = math.inf
    for _ in range(options.repeats):
        for name, way in ways.items():
            ours(way, embedding, points[:4])  # warms up
            spent, masks[name] = ours(way, embedding, points)
            best[name] = min(best[name], spent, key=lambda spent: spent.all)
        seconds, theirs = timed(functools.partial(official, predictor, points))
        loop = min(loop, seconds)
    print("precision    encode     share     decode  upsample    in all  predictor     alike")
    for name, spent in best.items():
        encode = encoded[name][0]
        alike = 100 * np.mean([(a == b).mean() for a, b in zip(masks[name], theirs, strict=True)])
        print(
            f"{name:9} {encode:7.2f} s {100 * encode / (encode + spent.all):7.0f} % {spent.decode:8.2f} s "
            f"{spent.upsample:7.2f} s {spent.all:7.2f} s {loop:8.2f} s {alike:7.2f} %"
        )
    ratios = (f"{loop / spent.all:.2f} in {name}" for name, spent in best.items())
    print(f"\npredictor in float32 over ours, time: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
