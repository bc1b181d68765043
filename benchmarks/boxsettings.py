"""Which settings of `sam_box`, or of the guard of `sam_points_guarded`, refine coarse labels best: one by one.

Starting from the defaults, each setting is tried at each of the values below, the others as they stand, and the best is
kept before the next is tried. Toy city and CamVid's training stills are those of `refiners.py`, of another seed and
other stills, so that what is chosen here can be confirmed there. Run it as

    python benchmarks/boxsettings.py [--method NAME] [--weights NAME] [--config NAME] [--camvid FOLDER] [--rounds N]

The score is the mean over both of the mean IoU of the refined classes, over all true pixels, the unlabelled counted
wrong. Images are encoded once. What is chosen holds for the weights that it was chosen with.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from refiners import CAMVID, camvid, toycity

from fewframes.core.clips import Clip, Root
from fewframes.core.images import read_instances, read_label
from fewframes.core.labels import ClassTable
from fewframes.core.metrics import confusion_matrix, iou_per_class, mean
from fewframes.labelling.refinement import CoarseImage, build_refiner
from fewframes.labelling.refinement.sam.segmenter import Embedding, SamSegmenter
from fewframes.labelling.refinement.sam.settings import KINDS

GUARD: dict[str, tuple[Any, ...]] = {
    "min_predicted_iou": (0.0, 0.3, 0.5, 0.7),
    "min_overlap": (0.0, 0.3, 0.5, 0.7),
    "max_area_ratio": (3.0, 5.0, 8.0, 20.0),
    "min_area_ratio": (0.0, 0.5, 0.8, 1.0),
}
BOX: dict[str, tuple[Any, ...]] = {
    "iterations": (0, 1, 2, 3),
    "mask_logit": (0.0, 2.0, 4.0, 8.0, 16.0),
    "mask_rim": (1.0, 2.0, 4.0, 8.0),
    "inside_points": (1, 2, 3, 5),
    "outside_points": (0, 1, 2, 4),
    "box_margin": (0.0, 0.1, 0.2, 0.3, 0.5),
    "multimask": ("never", "first"),
    "vacated": ("ignore", "coarse"),
}
TRIED = {"sam_box": {**GUARD, **BOX}, "sam_points_guarded": GUARD}


@dataclass(frozen=True)
class Data:
    """Images to refine, and their fine labels, `uint8 [H, W]` train ids."""

    name: str
    classes: ClassTable
    images: list[CoarseImage]
    truths: list[NDArray[np.uint8]]

    @classmethod
    def of(cls, name: str, clips: Sequence[Clip], root: Root, classes: ClassTable) -> Data:
        def label(file: str) -> NDArray[np.uint8]:
            return classes.to_train_ids(read_label(root / file), root / file)

        images = [
            CoarseImage(
                clip.id,
                root / clip.image,
                label(clip.coarse),
                read_instances(root / clip.coarse_instances) if clip.coarse_instances else None,
            )
            for clip in clips
        ]
        return cls(name, classes, images, [label(clip.fine) for clip in clips])

    def iou(self, method: str, settings: dict[str, Any]) -> NDArray[np.float64]:
        """IoU of each refined class in percent."""
        count = len(self.classes.trained)
        confusion = np.zeros((count, count + 1), np.int64)
        for position, made in build_refiner(method, settings, self.classes).refine_all(self.images):
            confusion += confusion_matrix(self.truths[position], made.label, count)
        return 100 * iou_per_class(confusion)[sorted(self.classes.refined_train_ids)]


def encode_once() -> None:
    """Let all segmenters share the embeddings of an image; they have one model."""
    embed, known = SamSegmenter.embed, dict[bytes, Embedding]()

    def remembered(self: SamSegmenter, images: Sequence[NDArray[np.uint8]]) -> list[Embedding]:
        for image in images:
            key = image.tobytes()
            if key not in known:
                known[key] = embed(self, [image])[0]
        return [known[image.tobytes()] for image in images]

    SamSegmenter.embed = remembered  # type: ignore[method-assign]


def chosen(method: str, fixed: dict[str, Any], data: Sequence[Data], rounds: int) -> dict[str, Any]:
    """Settings found by trying one after another, each line printed as it is known."""
    defaults = asdict(KINDS[method]())
    scores: dict[str, float] = {}
    best: dict[str, Any] = {}

    def score(settings: dict[str, Any]) -> float:
        key = json.dumps({name: value for name, value in sorted(settings.items()) if value != defaults[name]})
        if key not in scores:
            each = [mean(one.iou(method, {**fixed, **settings})) for one in data]
            scores[key] = sum(each) / len(each)
            told = ", ".join(f"{one.name} {value:.2f}" for one, value in zip(data, each, strict=True))
            print(f"{scores[key]:6.2f}  ({told})  {key}", flush=True)
        return scores[key]

    score({})
    for _ in range(rounds):
        before = dict(best)
        for name, values in TRIED[method].items():
            # What makes no difference stays as it is.
            best = max([best, *({**best, name: value} for value in values)], key=score)
        if best == before:
            break
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=TRIED, default="sam_box")
    parser.add_argument("--weights", default="compact", help="a name or a file")
    parser.add_argument("--config", default="", help="of weights in a file")
    parser.add_argument("--camvid", type=Path, default=CAMVID, help="folder of train/ and trainannot/")
    parser.add_argument("--every", type=int, default=30, help="take every n-th still of CamVid")
    parser.add_argument("--seed", type=int, default=1, help="of toy city")
    parser.add_argument("--rounds", type=int, default=1, help="through all settings, at most")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    encode_once()
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        data = [Data.of("toy city", *toycity(Path(first), 256, options.seed))]
        if (options.camvid / "trainannot").is_dir():
            data.append(Data.of("CamVid", *camvid(options.camvid, Path(second), options.every, options.every // 2)))
        found = chosen(options.method, {"weights": options.weights, "config": options.config}, data, options.rounds)
    print(f"\n{options.method}, chosen: {json.dumps(found)}")


if __name__ == "__main__":
    main()
