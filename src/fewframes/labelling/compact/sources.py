"""The clips that the compact models learn from, each drawn anew from (seed, number), so that a run can be resumed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from fewframes.core.errors import UserError
from fewframes.core.images import read_image, read_label
from fewframes.datasets.toycity.objects import Figure, Plane
from fewframes.datasets.toycity.scene import Scene, build_scene
from fewframes.labelling.compact.scenes import TrainingClip, drawn_clip
from fewframes.labelling.compact.textures import Pixels

TOY_SEED = 77_000
"""Toy cities drawn for training have this seed and later ones; those that anything is measured on have smaller ones."""
_TOY_STREETS = 512
"""Few enough to be kept once built: 3 MB each."""
_TOY_REACH = 10
"""Frames of a toy clip to either side of its key frame."""


@dataclass(frozen=True)
class Sources:
    """What clips are drawn from: `toy` and `photographs` are shares of 1, the rest are drawn scenes.

    `squashed`: the share of toy clips whose whole frames fill the square, as SAM 2 sees them; others are crops.
    `smallest`: how small drawn objects get, see `drawn_clip`.

    `camvid` is a folder with `train/` and `trainannot/`; without it there are no photographs.
    """

    toy: float = 0.4
    squashed: float = 0.5
    smallest: float = 0.12
    photographs: float = 0.0
    camvid: Path | None = None
    seed: int = 0
    _files: list[Path] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.photographs and self.camvid is None:
            raise UserError("Photographs were asked for, and no folder of CamVid is named: name it with --camvid.")
        if self.camvid is not None:
            self._files.extend(camvid_files(self.camvid))

    def clip(self, number: int, length: int, side: int) -> TrainingClip:
        """Clip `number`, `length` frames of `side` x `side` pixels; the same for the same numbers."""
        rng = default_rng(SeedSequence((self.seed, number)))
        kind, motion = rng.random(), float(np.exp(rng.uniform(np.log(0.4), np.log(1.6))))
        if kind < self.toy:
            clip = toy_clip(rng, length, side, self.squashed)
        elif kind < self.toy + self.photographs:
            ground = photograph(rng, self._files, 2 * side)
            clip = drawn_clip(rng, length, side, motion, ground, self.smallest)
        else:
            clip = drawn_clip(rng, length, side, motion, smallest=self.smallest)
        if rng.random() < 0.5:
            clip = TrainingClip(clip.frames[::-1], clip.ids[::-1], clip.pieces[::-1])
        if rng.random() < 0.5:
            clip = TrainingClip(clip.frames[:, :, ::-1], clip.ids[:, :, ::-1], clip.pieces[:, :, ::-1])
        if rng.random() < 0.5:
            clip = replace(clip, frames=clip.frames[..., rng.permutation(3)])
        return clip


def camvid_files(folder: Path) -> list[Path]:
    """The training photographs of CamVid that are no part of what is measured.

    Quality is measured on 0016E5_07959 to 0016E5_08041: of that video only frames half a minute and more before
    are taken. Raises `UserError` where there are none.
    """
    files = sorted((folder / "train").glob("*.jpg"))
    taken = [f for f in files if not f.stem.startswith("0016E5") or int(f.stem.split("_")[1]) < 7000]
    if not taken:
        raise UserError(f"{folder} has no photographs train/*.jpg: name CamVid's folder.")
    return taken


@functools.lru_cache(maxsize=_TOY_STREETS)
def _scene(number: int, high: int, wide: int) -> Scene:
    return build_scene(TOY_SEED + number // 8, 0, number % 8, 1.0, high, wide)


def toy_clip(rng: Generator, length: int, side: int, squashed: float = 0.5) -> TrainingClip:
    """Frames of a toy city that nothing is measured on, squashed to a square or cropped to one."""
    street = int(rng.integers(_TOY_STREETS))
    high = (96, 128, 128, 192)[street % 4]
    scene = _scene(street, high, 2 * high)
    step = int(rng.integers(1, max(2, _TOY_REACH // max(1, length - 1)) + 1))
    step = min(step, 2 * _TOY_REACH // max(1, length - 1)) or 1
    first = int(rng.integers(-_TOY_REACH, _TOY_REACH - step * (length - 1) + 1))
    times = [first + step * t for t in range(length)][:: int(rng.choice([-1, 1]))]
    frames, ids = toy_frames(scene, times)
    if rng.random() < squashed:  # as SAM 2 sees a whole frame
        box = (0, 0, 2 * high, high)
    else:
        wide = int(rng.integers(high // 2, high + 1))
        box = (int(rng.integers(0, 2 * high - wide + 1)), int(rng.integers(0, high - wide + 1)), wide, wide)
    shown, whose = _resized(frames, ids, box, side)
    return TrainingClip(shown, whose, whose.astype(np.uint16))


def toy_frames(scene: Scene, times: Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Frames `uint8 [T, H, W, 3]` of a scene and their ids `uint8 [T, H, W]`, the same for an object in all of them.

    Every figure is an object; of what is plane, all of one label are. The own car is none (0), and neither is
    the 256th object and those after it.
    """
    known: dict[object, int] = {}
    frames, ids = [], []
    for time in times:
        frame = scene.frame(time)
        lut = [0]
        for (label, _), item in zip(frame.objects, frame.items, strict=True):
            # An item is what it is, not what it equals; the scene holds on to its figures.
            whose = id(item) if isinstance(item, Figure) else label
            assert isinstance(item, Figure | Plane) or item is None
            number = known.setdefault(whose, len(known) + 1)
            lut.append(0 if label == "ego vehicle" or number > 255 else number)
        frames.append(frame.image)
        ids.append(np.array(lut, np.uint8)[frame.owner])
    return np.stack(frames), np.stack(ids)


def photograph(rng: Generator, files: Sequence[Path], side: int) -> tuple[Pixels, NDArray[np.uint8]]:
    """A labelled photograph of CamVid and its ids, `uint8 [side, side, ...]`, turned and scaled a little.

    Every connected part of a class is an object, but for specks; unlabelled pixels are 0.
    """
    picture, ids = _annotated(files[int(rng.integers(len(files)))])
    high, wide = ids.shape
    scale = np.exp(rng.uniform(np.log(0.9), np.log(2.0)))
    angle = rng.normal(0, 0.06)
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    # As SAM 2 sees a frame, a picture fills the square and its proportions are not kept.
    matrix = np.array([[c * side / wide, -s * side / high, 0.0], [s * side / wide, c * side / high, 0.0]])
    centre = np.array([wide, high]) * rng.uniform(0.3, 0.7, 2)
    matrix[:, 2] = side / 2 - matrix[:, :2] @ centre
    size, edge = (side, side), cv2.BORDER_REFLECT
    shown = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=edge)
    whose = cv2.warpAffine(ids, matrix, size, flags=cv2.INTER_NEAREST, borderMode=edge)
    return np.asarray(shown, np.uint8), np.asarray(whose, np.uint8)


@functools.lru_cache(maxsize=512)
def _annotated(file: Path) -> tuple[Pixels, NDArray[np.uint8]]:
    label = read_label(file.parent.parent / "trainannot" / f"{file.stem}.png")
    ids, number = np.zeros(label.shape, np.uint8), 0
    for value in np.unique(label[label < 11]):
        _, parts, stats, _ = cv2.connectedComponentsWithStats((label == value).view(np.uint8))
        for part in 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA]):
            if stats[part, cv2.CC_STAT_AREA] >= 40 and number < 250:
                number += 1
                ids[parts == part] = number
    return read_image(file), ids


def _resized(
    frames: NDArray[np.uint8], ids: NDArray[np.uint8], box: tuple[int, int, int, int], side: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    left, top, wide, high = box
    part = (slice(top, top + high), slice(left, left + wide))
    shown = [cv2.resize(frame[part], (side, side), interpolation=cv2.INTER_CUBIC) for frame in frames]
    whose = [cv2.resize(each[part], (side, side), interpolation=cv2.INTER_NEAREST) for each in ids]
    return np.asarray(np.stack(shown), np.uint8), np.asarray(np.stack(whose), np.uint8)
