"""What selections rest on, measured once of every clip: how much moves in it, and what it looks like."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.core.clips import Clip, Folder
from fewframes.core.files import ContentHashes, digest, read_csv, write_csv
from fewframes.core.flow import DenseFlow, magnitude
from fewframes.core.images import read_image
from fewframes.core.parallel import mapped
from fewframes.core.progress import progress, say
from fewframes.core.stages import VERSIONS
from fewframes.experiments.selection import COLUMNS

_REACH, _PAIRS = 10, 5
"""Frames from the key frame up to which motion is measured, as far as the paper propagates, and pairs of neighbours
among them: decoding ten frames takes most of the time."""

_WIDTH = 512
"""Pixels of width at which flow is estimated; the paper says only that it used optical flow."""

_CELLS, _ORIENTATIONS = (4, 8), 4
"""Rows and columns of the descriptor's cells, and orientations of gradients in each: 224 bytes an image, whose squared
distances stay below 2^24, so that `float32` holds them exactly and the order is the same on every machine."""

_SAVE_SECONDS = 60.0
_WORTH_PROCESSES = 16
"""Clips from which starting other processes (a second) pays."""


def measure_clips(
    name: str, clips: Iterable[Clip], root: Folder, hashes: ContentHashes, kept: Path, out: Path, workers: int = 1
) -> None:
    """Measure every clip for the selection `name` in `workers` processes; write `selection.COLUMNS` to `out`.

    Clips without the frames that it needs are left out. What is found is kept in the CSV `kept`, and measured again
    only where a frame's content has changed. Raises `UserError` where a frame cannot be read.
    """
    frames, measure = _KINDS[name]
    jobs: list[_Job] = []
    for clip in progress(list(clips), f"look for what is measured by {name}"):
        if files := [root / path for path in frames(clip)]:
            contents = [hashes.of(file) for file in files]
            jobs.append(_Job(clip.id, digest(VERSIONS["selection"], name, contents), tuple(files), measure))
    hashes.save()
    rows = read_csv(kept, COLUMNS) if kept.is_file() else []
    known = {(row["clip"], row["fingerprint"]): row["values"] for row in rows}
    due = [job for job in jobs if job.key not in known]
    measured = mapped(_Job.__call__, due, workers if len(due) >= _WORTH_PROCESSES else 1, chunk=4)
    saved = time.monotonic()
    try:
        for job, values in progress(zip(due, measured, strict=True), f"measure {name}", len(due)):
            known[job.key] = " ".join(f"{value:.6g}" for value in values)
            if time.monotonic() - saved > _SAVE_SECONDS:
                _write(kept, known)
                saved = time.monotonic()
    finally:
        _write(kept, known)
    _write(out, {job.key: known[job.key] for job in jobs})
    say(f"{name}: {len(due)} clips measured, {len(jobs) - len(due)} found as they were.")


@dataclass(frozen=True)
class _Job:
    clip: str
    fingerprint: str
    files: tuple[Path, ...]
    measure: Callable[[Sequence[Path]], Sequence[float]]

    @property
    def key(self) -> tuple[str, str]:
        return self.clip, self.fingerprint

    def __call__(self) -> Sequence[float]:
        return self.measure(self.files)


def _write(path: Path, known: Mapping[tuple[str, str], str]) -> None:
    write_csv(path, COLUMNS, ([*key, values] for key, values in sorted(known.items())))


def _flow_frames(clip: Clip) -> list[str]:
    """Pairs of neighbouring frames, spread evenly over the clip; nothing where it has but its key frame."""
    first, last = max(clip.first, -_REACH), min(clip.last, _REACH)
    starts = [offset for offset in range(first, last - clip.step + 1) if offset % clip.step == 0]
    chosen = np.linspace(0, len(starts) - 1, min(_PAIRS, len(starts))).round().astype(int)
    return [clip.image_at(starts[i] + more) for i in chosen for more in (0, clip.step)]


def flow_magnitude(files: Sequence[Path]) -> list[float]:
    """The mean length of the flow between each two of the frames, in percent of their width."""
    flow = DenseFlow()
    lengths = []
    for a, b in zip(files[::2], files[1::2], strict=True):
        pair = [_reduced(read_image(file)) for file in (a, b)]
        lengths.append(float(magnitude(flow.between(*pair)).mean()) / pair[0].shape[1])
    return [100 * float(np.mean(lengths))]


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if width <= _WIDTH:
        return image
    size = _WIDTH, round(height * _WIDTH / width)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def descriptor(files: Sequence[Path]) -> list[float]:
    """What an image looks like in small: bytes, the mean colour (CIELAB) and the gradients by orientation of each cell.

    It tells scenes apart by layout, light and texture, and knows nothing of objects. Gradients count by the square
    root of their share, so that weak ones count too.
    """
    rows, columns = _CELLS
    (file,) = files
    # Cells of 16 x 16 pixels: what is smaller is of no account.
    small = cv2.resize(read_image(file), (16 * columns, 16 * rows), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    grey = lab[..., 0]
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    orientation = np.floor(np.arctan2(down, across) / np.pi * _ORIENTATIONS + 0.5).astype(int) % _ORIENTATIONS
    energy = np.hypot(across, down)[..., None] * (orientation[..., None] == np.arange(_ORIENTATIONS))
    cells = np.concatenate([lab, energy], axis=2).reshape(rows, 16, columns, 16, -1).mean(axis=(1, 3))
    # Sobel's sum of weights is 4 a side, so a step from black to white is 1,020.
    cells[..., 3:] = 255 * np.sqrt(cells[..., 3:] / 1020)
    return [float(value) for value in np.clip(cells.round(), 0, 255).ravel()]


_KINDS: Mapping[str, tuple[Callable[[Clip], list[str]], Callable[[Sequence[Path]], list[float]]]] = {
    "flow": (_flow_frames, flow_magnitude),
    "diversity": (lambda clip: [clip.image], descriptor),
}
"""Which frames of a clip are measured, and how."""
