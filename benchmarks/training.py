"""Training and evaluation: each figure beside the plain way's, in the same process.

- Samples a second, from disk to batch, of two frames of 2048x1024 cropped to 769x769, by two workers each. The plain
  way is Pillow and torchvision's transforms on its images: decode, convert ids, scale the whole frame, crop (again
  while one class covers nearly all), mirror, change colours, convert, normalise, pad. Ours is measured twice: as a GPU
  is fed, which normalises the batch itself, and with all done on the processor.
- Milliseconds to count an image's pixels by true and predicted class. The plain way is what cityscapesScripts'
  evaluator does where its Cython part is not compiled: one number a pixel for the pair of ids, `np.unique` over them,
  a loop over the distinct ones. How long NumPy takes to sort depends on its version and on the processor.
- Milliseconds a step of the demo's network, against PyTorch's default layout and cross-entropy over maps.

Run it with `--threads 1` for the demo's conditions. The ratios, plain time over ours, are printed last.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from fewframes.core.labels import load_class_table
from fewframes.core.metrics import confusion_matrix
from fewframes.learning.augmentation import MEAN, STD, recipe
from fewframes.learning.feeding import feed, sent
from fewframes.learning.losses import total_loss
from fewframes.learning.networks import build_network
from fewframes.learning.samples import Batches, Sample, SampleReader
from fewframes.learning.settings import TrainingSettings
from fewframes.learning.training import use_threads

HEIGHT, WIDTH, CROP = 1024, 2048, 769
BATCH, BATCHES, WORKERS = 8, 4, 2


def write_street(folder: Path) -> Sample:
    """Two frames of Cityscapes' size that compress as its photographs do (2.1 MB of PNG), and a label."""
    rng = np.random.default_rng(0)
    for name in ("past.png", "now.png"):
        image = np.full((HEIGHT, WIDTH, 3), 110, np.float32)
        for cell in (256, 64, 16, 4):  # structure of every size, the larger the stronger
            coarse = rng.normal(0, 2.2 * cell**0.5, (HEIGHT // cell, WIDTH // cell, 3)).astype(np.float32)
            image += cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        image += 3 * cv2.GaussianBlur(rng.normal(0, 1, image.shape).astype(np.float32), (0, 0), 1)
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / name)
    label = np.kron(rng.integers(7, 34, (16, 32)), np.ones((64, 64))).astype(np.uint8)
    Image.fromarray(label).save(folder / "label.png")
    return Sample("street", 0, "fine", "now.png", ("past.png",), "label.png", "")


class PlainSamples(Dataset[tuple[Tensor, Tensor]]):
    """Samples the straightforward way, of the same scales as ours."""

    def __init__(self, folder: Path, sample: Sample, count: int) -> None:
        self._folder, self._sample, self._count = folder, sample, count
        ids = np.arange(256, dtype=np.uint8)
        ids[:34] = load_class_table("cityscapes").to_train_ids(ids[:34], "")
        self._train_ids = ids

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((0, 1, *divmod(index, BATCH)))
        factor = rng.uniform(0.5, 2.0)
        whole = [int(side * factor + 0.5) for side in (HEIGHT, WIDTH)]
        size = [min(CROP, side) for side in whole]
        mirrored = rng.random() < 0.5

        def finished(pixels: Tensor, fill: int) -> Tensor:
            turned = tv.hflip(pixels) if mirrored else pixels
            return tv.pad(turned, [0, 0, CROP - size[1], CROP - size[0]], fill)

        native = np.asarray(Image.open(self._folder / self._sample.label))
        label = tv.resize(Image.fromarray(self._train_ids[native]), whole, InterpolationMode.NEAREST)
        for _ in range(10):
            corner = [int(rng.integers(side - part + 1)) for side, part in zip(whole, size, strict=True)]
            target = tv.pil_to_tensor(tv.crop(label, *corner, *size))
            counts = torch.bincount(target.flatten(), minlength=256)[:255]
            if (counts > 0).sum() > 1 and counts.max() < 0.75 * counts.sum():
                break
        frames = []
        for path in (*self._sample.memory, self._sample.image):
            image = tv.resize(Image.open(self._folder / path).convert("RGB"), whole, InterpolationMode.BILINEAR)
            image = self._recoloured(tv.crop(image, *corner, *size), rng)
            pixels = tv.to_dtype(tv.pil_to_tensor(image), torch.float32, scale=True)
            frames.append(finished(tv.normalize(pixels, [m / 255 for m in MEAN], [s / 255 for s in STD]), 0))
        return torch.stack(frames), finished(target, 255)[0]

    def _recoloured(self, image: Any, rng: np.random.Generator) -> Any:
        brightness, contrast, saturation, hue, contrast_first = rng.random(5) < 0.5
        if brightness:
            image = tv.adjust_brightness(image, rng.uniform(1 - 32 / 255, 1 + 32 / 255))
        if contrast and contrast_first:
            image = tv.adjust_contrast(image, rng.uniform(0.5, 1.5))
        if saturation:
            image = tv.adjust_saturation(image, rng.uniform(0.5, 1.5))
        if hue:
            image = tv.adjust_hue(image, rng.uniform(-0.1, 0.1))
        if contrast and not contrast_first:
            image = tv.adjust_contrast(image, rng.uniform(0.5, 1.5))
        return image


def taken(loader: Iterable[Any]) -> None:
    """Take all batches of a loader, as a training does that waits for nothing else."""
    for frames, labels, *_ in loader:
        assert frames.shape[:2] == (BATCH, 2) and len(labels) == BATCH


def loaders(folder: Path) -> dict[str, Callable[[], None]]:
    """From a manifest's samples to batches, our ways and the plain one."""
    sample = write_street(folder)
    augment = recipe("tmanet", (CROP, CROP), (0.5, 2.0), flip=True, photometric=True)
    reader = SampleReader(folder, folder, load_class_table("cityscapes"))
    batches = Batches([sample], reader, augment, BATCH, seed=0)
    plain = PlainSamples(folder, sample, BATCH * BATCHES)
    return {
        "for a GPU": lambda: taken(sent(batches, range(BATCHES), WORKERS)),
        "for a processor": lambda: taken(feed(batches, range(BATCHES), WORKERS, torch.device("cpu"))),
        "plain": lambda: taken(DataLoader(plain, batch_size=BATCH, num_workers=WORKERS)),
    }


def counters() -> dict[str, Callable[[], object]]:
    """Ours and the plain way of counting a prediction that is wrong in 5 % of pixels, strewn."""
    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(0, 19, (16, 32)), np.ones((64, 64))).astype(np.uint8)
    prediction = np.where(rng.random(truth.shape) < 0.05, rng.integers(0, 19, truth.shape), truth).astype(np.uint8)

    def plain() -> NDArray[np.int64]:
        confusion = np.zeros((19, 19), np.int64)
        base = int(max(truth.max(), prediction.max())) + 1
        pairs, counts = np.unique(truth.astype(np.int32) * base + prediction, return_counts=True)
        for pair, count in zip(pairs, counts, strict=True):
            confusion[int(pair) // base, int(pair) % base] += count
        return confusion

    np.testing.assert_array_equal(confusion_matrix(truth, prediction, 19)[:, :19], plain())
    return {"ours": lambda: confusion_matrix(truth, prediction, 19), "plain": plain}


def demo_step(plain: bool) -> Callable[[], None]:
    """A training step of the demo's network on one batch."""
    torch.manual_seed(0)
    network = build_network({"name": "tmanet", "backbone": "mobilenetv3_small_100", "output_stride": 16}, 19).train()
    plan = TrainingSettings(network={})
    labels = torch.randint(0, 19, (4, 128, 256), dtype=torch.uint8)
    frames = torch.rand(4, 2, 128, 256, 3).permute(0, 1, 4, 2, 3)
    if plain:
        frames = frames.contiguous()
    else:
        network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, fused=not plain)

    def step() -> None:
        logits = network(frames)
        if plain:
            main, auxiliary = (F.cross_entropy(x, labels.long(), ignore_index=255) for x in logits)
            loss = main + 0.4 * auxiliary
        else:
            loss = total_loss(logits, labels, plan)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def processor_seconds() -> float:
    """Processor time of this process and of those that it started and that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def compare(name: str, works: dict[str, Callable[[], object]], rounds: int, items: int = 1) -> str:
    """Time them by turns, after one round to warm up, and print the medians an item.

    Returns the plain way's time over each other's by the clock and, for machines with other work, by the
    processors' time.
    """
    taken: dict[str, list[tuple[float, float]]] = {key: [] for key in works}
    for turn in range(rounds + 1):
        for key, work in works.items():
            clock, processor = time.perf_counter(), processor_seconds()
            work()
            if turn:
                taken[key].append((time.perf_counter() - clock, processor_seconds() - processor))
    medians = {
        key: [statistics.median(column) / items for column in zip(*pairs, strict=True)] for key, pairs in taken.items()
    }
    for key, (clock, processor) in medians.items():
        print(
            f"{name}, {key}: {clock * 1e3:.1f} ms ({1 / clock:.1f} a second), {processor * 1e3:.1f} ms of a processor"
        )
    plain = medians.pop("plain")
    ratios = (f"{key} {plain[0] / m[0]:.2f} ({plain[1] / m[1]:.2f})" for key, m in medians.items())
    return f"{name}: {', '.join(ratios)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    use_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        ratios = [compare("a sample", loaders(Path(name)), max(1, options.rounds // 4), BATCH * BATCHES)]
    ratios.append(compare(f"counting an image with NumPy {np.__version__}", counters(), options.rounds))
    steps = {"ours": demo_step(plain=False), "plain": demo_step(plain=True)}
    ratios.append(compare("a step of the demo's network", steps, options.rounds))
    print(f"threads {options.threads}; the plain way's time over ours by the clock (by processor time)")
    print("\n".join(ratios))


if __name__ == "__main__":
    main()
