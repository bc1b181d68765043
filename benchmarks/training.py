"""Training: samples a second from disk to batch, and seconds a step, each beside the plain way in the same process.

The plain way makes a sample with Pillow and NumPy (decode, scale the whole image, crop, mirror, colours, normalise)
and trains in PyTorch's default layout with cross-entropy over maps. Run it with `--threads 1` for the demo's
conditions. The ratio, plain time over ours, is printed last.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from fewframes.core.labels import load_class_table
from fewframes.learning.augmentation import MEAN, STD, Augmentation
from fewframes.learning.networks import build_network
from fewframes.learning.samples import Sample, SampleReader
from fewframes.learning.training import TrainingSettings, total_loss, use_threads

HEIGHT, WIDTH, CROP = 1024, 2048, 769


def write_street(folder: Path) -> Sample:
    """Two frames of Cityscapes' size that compress about like photographs, and a label."""
    rng = np.random.default_rng(0)
    for name in ("past.png", "now.png"):
        coarse = rng.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        noisy = np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / name)
    label = np.kron(rng.integers(7, 34, (16, 32)), np.ones((64, 64))).astype(np.uint8)
    Image.fromarray(label).save(folder / "label.png")
    return Sample("street", 0, "fine", "now.png", ("past.png",), "label.png", "")


def plain_sample(
    folder: Path, sample: Sample, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A sample the straightforward way; its crop is not drawn again, which favours it."""
    factor = rng.uniform(0.5, 2.0)
    size = (int(WIDTH * factor + 0.5), int(HEIGHT * factor + 0.5))
    x, y = (int(rng.integers(max(0, side - CROP) + 1)) for side in size)
    box, mirrored = (x, y, x + min(CROP, size[0]), y + min(CROP, size[1])), rng.random() < 0.5

    def view(image: Image.Image, how: Image.Resampling) -> Image.Image:
        cut = image.resize(size, how).crop(box)
        return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else cut

    clip = np.zeros((2, CROP, CROP, 3), np.float32)
    target = np.full((CROP, CROP), 255, np.uint8)
    shape = (box[3] - box[1], box[2] - box[0])
    target[: shape[0], : shape[1]] = np.asarray(view(Image.open(folder / sample.label), Image.Resampling.NEAREST))
    for slot, path in enumerate((*sample.memory, sample.image)):
        image = view(Image.open(folder / path).convert("RGB"), Image.Resampling.BILINEAR)
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            if rng.random() < 0.5:
                image = enhance(image).enhance(rng.uniform(0.5, 1.5))
        if rng.random() < 0.5:
            hue, saturation, value = image.convert("HSV").split()
            turn = int(rng.integers(-18, 18))
            hue = hue.point([(level + turn) % 256 for level in range(256)])
            image = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
        clip[slot, : shape[0], : shape[1]] = (np.asarray(image) - np.float32(MEAN)) / np.float32(STD)
    return clip, target


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


def compare(name: str, ours: Callable[[], object], plain: Callable[[], object], rounds: int) -> float:
    """Time both by turns, after one round each to warm up; prints the medians and returns plain over ours."""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for turn in range(rounds + 1):
        for key, work in (("ours", ours), ("plain", plain)):
            started = time.perf_counter()
            work()
            if turn:
                seconds[key].append(time.perf_counter() - started)
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    print(f"{name}: ours {medians['ours'] * 1e3:.0f} ms, plain {medians['plain'] * 1e3:.0f} ms")
    return medians["plain"] / medians["ours"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    use_threads(options.threads)
    augment = Augmentation((CROP, CROP), (0.5, 2.0), flip=True, photometric=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample = write_street(folder)
        reader = SampleReader(folder, folder, load_class_table("cityscapes"))
        rng, plain_rng = np.random.default_rng(0), np.random.default_rng(0)
        of_sample = compare(
            "a sample of two 2048x1024 frames, from disk, cropped to 769x769",
            lambda: augment(*reader(sample), rng),
            lambda: plain_sample(folder, sample, plain_rng),
            options.rounds,
        )
    of_step = compare("a step of the demo's network", demo_step(plain=False), demo_step(plain=True), options.rounds)
    print(f"threads {options.threads}; plain over ours: sample {of_sample:.2f}, step {of_step:.2f}")


if __name__ == "__main__":
    main()
