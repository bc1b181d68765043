"""Scoring a trained network against the manual labels of an evaluation manifest."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from fewframes.core import metrics
from fewframes.core.clips import Folder
from fewframes.core.device import announced_device, short_of_memory
from fewframes.core.errors import UserError
from fewframes.core.files import content_hash, digest, write_csv, written_whole
from fewframes.core.labels import ClassTable
from fewframes.core.metrics import percent
from fewframes.core.progress import progress, say
from fewframes.core.stages import VERSIONS
from fewframes.learning.augmentation import normalise
from fewframes.learning.counted import Counted, read_counted, write_counted
from fewframes.learning.modelfile import load_model
from fewframes.learning.samples import Sample, SampleReader, read_manifest
from fewframes.learning.training import run_name, seen_by, use_threads

KEPT = "scored.npz"
"""What an evaluation counted, in the run's folder: `confusion.npz` is a copy of it, which Snakemake may delete."""


@dataclass(frozen=True)
class EvaluationSettings:
    """The whole image at once (`whole`), windows of `crop` that are `stride` apart (`slide`), or brought to `crop`.

    All are height and width. `resized` shows the network the image at `crop`, and its logits are brought back to the
    image's own size: TDNet has weights by position, for frames of one size. With `size`, prediction and truth are
    brought to it (nearest neighbour) before pixels are counted: IDD's benchmark counts at 720x1280. The other defaults
    are TMANet's published ones for Cityscapes.
    """

    mode: str = "slide"
    crop: tuple[int, int] = (769, 769)
    stride: tuple[int, int] = (513, 513)
    size: tuple[int, int] | None = None

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> EvaluationSettings:
        """From plain (JSON) settings; raises `UserError` that names an unknown or impossible one."""
        unknown = sorted(settings.keys() - {"mode", "crop", "stride", "size"})
        if unknown:
            raise UserError(f"evaluation.{unknown[0]} is no setting: remove it or mend its spelling.")
        pairs = {key: tuple(settings[key]) for key in ("crop", "stride", "size") if settings.get(key)}
        parsed = cls(**{**settings, **pairs})
        if parsed.mode not in ("whole", "slide", "resized"):
            raise UserError(f"evaluation.mode is '{parsed.mode}': choose whole, slide or resized.")
        for key, pair in pairs.items():
            if len(pair) != 2 or min(pair) < 1:
                raise UserError(f"evaluation.{key} is {list(pair)}: give height and width in pixels.")
        if parsed.mode == "slide" and (parsed.stride[0] > parsed.crop[0] or parsed.stride[1] > parsed.crop[1]):
            raise UserError("evaluation.stride is larger than evaluation.crop: pixels between windows would be missed.")
        return parsed


@dataclass(frozen=True)
class Evaluation:
    """A trained network, the samples of a manifest as it takes them, and how it is shown them."""

    network: nn.Module
    samples: Sequence[Sample]
    reader: SampleReader
    plan: EvaluationSettings
    where: torch.device

    @property
    def paths(self) -> int:
        """How many paths the network has; each gives a prediction of its own."""
        count: int = self.network.paths  # type: ignore[assignment]
        return count

    def predictions(
        self, paths: Sequence[int], label: str
    ) -> Iterator[tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]]:
        """Each sample's true label and what each of `paths` predicts, all `uint8 [H, W]` at the image's own size.

        `label` is what progress is called. Raises `UserError` for a damaged file.
        """
        for sample in progress(self.samples, label):
            frames, truth = self.reader(sample)
            yield truth, [predict(self.network, frames, self.plan, self.where, path) for path in paths]


def load_evaluation(
    model: str | Path,
    manifest: str | Path,
    dataset_root: Folder,
    labels_root: str | Path,
    classes: ClassTable,
    settings: Mapping[str, Any],
    device: str,
    threads: int | None,
) -> Evaluation:
    """What an evaluation needs, its files looked for; raises `UserError` for what does not serve (see `evaluate`)."""
    plan = EvaluationSettings.parse(settings)
    where = announced_device(device, "evaluation")
    use_threads(threads)
    network = load_model(model, classes).to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    samples = seen_by(network, read_manifest(manifest), manifest)
    reader = SampleReader(dataset_root, labels_root, classes)
    reader.check_files(samples)
    return Evaluation(network, samples, reader, plan, where)


def evaluate(
    model: str | Path,
    manifest: str | Path,
    dataset_root: Folder,
    labels_root: str | Path,
    classes: ClassTable,
    out: str | Path,
    settings: Mapping[str, Any],
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Score a model on every sample of a manifest; write `confusion.npz`, `metrics.csv`, `groups.csv`, `paths.csv`.

    `confusion.npz` holds `clips`, their names `[N]`, and `confusion`, `int64 [N, C, C]`: pixels of each by true
    (row) and predicted (column) class, those of ignored truth left out; beside them, for `fewframes verify`, `totals`,
    `int64 [P, C, C]` by path through the network, and the content hashes of `model` and `manifest`. `metrics.csv` has,
    of the matrices' sum, IoU and accuracy in percent and the true pixels by class, and a last row `mean` over the
    classes that are a number (its pixels are all); `groups.csv` the same by the class table's groups of classes. A
    network with several paths is scored on each, every image on all of them: `confusion` is then their sum, scores are
    the means of the paths' own, and `paths.csv` has mIoU and mAcc of each. Of `threads` see `use_threads`. Raises
    `UserError` for a model of other classes and for files that do not serve.

    What was counted is kept in `scored.npz`: where nothing that decides it has changed, nothing is counted anew.
    """
    facts = {"model": content_hash(model), "manifest": content_hash(manifest)}
    plan = EvaluationSettings.parse(settings)
    known_by = digest(VERSIONS["evaluate"], facts, asdict(plan), classes.label_digest)
    kept = Path(out) / KEPT
    counted = _kept(kept, known_by)
    if counted is None:
        what = load_evaluation(model, manifest, dataset_root, labels_root, classes, settings, device, threads)
        confusion = _confusion(what, len(classes.names), f"evaluate {run_name(out)}")
        clips = [sample.clip for sample in what.samples]
        counted = Counted(clips, confusion.sum(axis=0), confusion.sum(axis=1), **facts, known_by=known_by)
        write_counted(kept, counted)
    else:
        say(f"evaluate {run_name(out)}: found as it was.")
    with written_whole(Path(out) / "confusion.npz") as aside:
        shutil.copyfile(kept, aside)
    write_scores(out, counted.totals, classes)


def _kept(kept: Path, known_by: str) -> Counted | None:
    """What was counted before; None where it is not there, damaged, or of something else."""
    try:
        counted = read_counted(kept)
    except (OSError, UserError):
        return None
    return counted if counted.known_by == known_by else None


def _confusion(what: Evaluation, count: int, label: str) -> NDArray[np.int64]:
    """Count the pixels of all samples by path, `[P, N, C, C]`, of `count` classes."""
    size = what.plan.size
    confusion = np.zeros((what.paths, len(what.samples), count, count), np.int64)
    shown = what.predictions(range(what.paths), label)
    for number, (truth, predicted) in enumerate(shown):
        counted = [resized(ids, size) if size else ids for ids in (truth, *predicted)]
        for path, prediction in enumerate(counted[1:]):
            confusion[path, number] = metrics.confusion_matrix(counted[0], prediction, count)[:, :count]
    return confusion


def write_scores(out: str | Path, totals: NDArray[np.int64], classes: ClassTable) -> None:
    """Write `metrics.csv`, `groups.csv` and `paths.csv`, which follow from `totals`, `[P, C, C]`, alone."""
    write_metrics(Path(out) / "metrics.csv", totals, classes)
    write_group_metrics(Path(out) / "groups.csv", totals, classes)
    write_csv(Path(out) / "paths.csv", ("path", "miou", "macc"), [_path_row(*each) for each in enumerate(totals)])


@torch.inference_mode()
def predict(
    network: nn.Module,
    frames: list[NDArray[np.uint8]],
    plan: EvaluationSettings,
    where: torch.device,
    path: int = 0,
) -> NDArray[np.uint8]:
    """Train ids of the last frame, `uint8 [H, W]`, by one of the network's paths.

    `frames` are RGB `uint8 [H, W, 3]`, the oldest first. Raises `UserError` where memory does not suffice.
    """
    size = frames[-1].shape[:2]
    sentence = (
        f"{where} has not enough memory for images of {size[1]}x{size[0]}: choose evaluation.mode slide with a smaller "
        "evaluation.crop, or the device cpu."
    )
    if plan.mode == "resized":
        frames = [np.asarray(cv2.resize(f, plan.crop[::-1], interpolation=cv2.INTER_LINEAR), np.uint8) for f in frames]
    with short_of_memory(sentence):
        clip = torch.from_numpy(np.stack([normalise(f) for f in frames])).to(where).permute(0, 3, 1, 2).unsqueeze(0)
        logits = slide(network, clip, plan.crop, plan.stride, path) if plan.mode == "slide" else network(clip, path)[0]
        if logits.shape[-2:] != size:
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=True)
        best: Tensor = logits[0].argmax(0)
        return best.to(torch.uint8).cpu().numpy()


def slide(network: nn.Module, clip: Tensor, crop: tuple[int, int], stride: tuple[int, int], path: int = 0) -> Tensor:
    """Logits `[B, C, H, W]`, the mean over overlapping windows; each is cut alike from every frame of the clip."""
    height, width = clip.shape[-2:]
    total: Tensor | None = None
    visits = torch.zeros(height, width, device=clip.device)
    for box in windows(height, width, crop, stride):
        logits = network(clip[..., box[0], box[1]], path)[0]
        if total is None:
            total = logits.new_zeros(*logits.shape[:2], height, width)
        total[..., box[0], box[1]] += logits
        visits[box] += 1
    assert total is not None  # there is always a window
    return total / visits


def windows(height: int, width: int, crop: tuple[int, int], stride: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Rows and columns of the windows; one that would overrun is shifted inward, a larger one is cut off."""

    def spans(side: int, size: int, step: int) -> list[slice]:
        size = min(size, side)
        count = -(-(side - size) // step) + 1
        return [slice(start, start + size) for start in (min(i * step, side - size) for i in range(count))]

    return [(y, x) for y in spans(height, crop[0], stride[0]) for x in spans(width, crop[1], stride[1])]


def resized(values: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Train ids brought to another height and width by nearest neighbour, as IDD's evaluation does (Pillow's)."""
    return np.asarray(Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.NEAREST))


def write_metrics(path: str | Path, confusion: NDArray[np.int64], classes: ClassTable) -> None:
    """Write IoU, accuracy (percent) and pixels by class, and their mean; empty where there is no number.

    `confusion` is `[P, C, C]`, by path through the network; scores are the paths' means.
    """
    write_csv(path, ("class", "iou", "accuracy", "pixels"), _scores(confusion, classes.names))


def write_group_metrics(path: str | Path, confusion: NDArray[np.int64], classes: ClassTable) -> None:
    """Write the same for every group of classes, level by level: a confusion within a group is none."""
    rows: list[list[object]] = []
    for level, groups in classes.groups.items():
        rows += [[level, *row] for row in _scores(grouped(confusion, groups, classes), tuple(groups))]
    write_csv(path, ("level", "group", "iou", "accuracy", "pixels"), rows)


def grouped(
    confusion: NDArray[np.int64], groups: Mapping[str, Sequence[str]], classes: ClassTable
) -> NDArray[np.int64]:
    """Matrices `[..., G, G]` of groups of classes, named as in a class table's level, from those of classes."""
    member = np.array([[name in names for name in classes.names] for names in groups.values()], np.int64)
    return np.asarray(member @ confusion @ member.T)


def _scores(confusion: NDArray[np.int64], names: Sequence[str]) -> list[tuple[object, ...]]:
    # A class that is no number is none on every path: whether there are true pixels is the same on all, and what has
    # none and is never predicted on one path alone is the mean of the others.
    iou = np.array([metrics.mean(each) for each in np.stack([metrics.iou_per_class(m) for m in confusion]).T])
    accuracy = metrics.accuracy_per_class(confusion.sum(axis=0))
    pixels = confusion[0].sum(axis=1)
    rows = [(name, percent(iou[i], 4), percent(accuracy[i], 4), int(pixels[i])) for i, name in enumerate(names)]
    mean = np.mean([metrics.mean(metrics.iou_per_class(m)) for m in confusion])
    return [*rows, ("mean", percent(float(mean), 4), percent(metrics.mean(accuracy), 4), int(pixels.sum()))]


def _path_row(path: int, confusion: NDArray[np.int64]) -> tuple[object, ...]:
    scores = (metrics.iou_per_class(confusion), metrics.accuracy_per_class(confusion))
    return (path, *(percent(metrics.mean(score), 4) for score in scores))
