"""What a trained network says of every frame of a clip: PNGs of ids, and the clip with the classes laid over it."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from fewframes.core.device import announced_device
from fewframes.core.errors import UserError
from fewframes.core.files import content_hash, write_text, written_whole
from fewframes.core.images import image_size, read_image
from fewframes.core.labels import ClassTable
from fewframes.core.progress import progress, say
from fewframes.core.videos import open_video
from fewframes.datasets.frames import VIDEOS, counted, frame_count, frame_names
from fewframes.learning.evaluation import EvaluationSettings, predict, resized
from fewframes.learning.modelfile import load_model
from fewframes.learning.training import use_threads

OVERLAY = "overlay.mp4"
RECORD = "prediction.json"
"""Says what made a folder's predictions; without it a folder is taken for somebody else's."""

_FPS = 17.0
"""Frames a second of Cityscapes' video (Cordts et al., "The Cityscapes Dataset", CVPR 2016)."""
_STRENGTH = 0.5
"""The colours' share in the overlay; the frame has the rest."""
_MEND = "copy it again, or re-encode it to a new mp4"


def predict_clip(
    model: str | Path,
    clip: str | Path,
    out: str | Path,
    classes: ClassTable,
    settings: Mapping[str, Any],
    *,
    device: str = "auto",
    threads: int | None = None,
    overlay: bool = True,
    fps: float | None = None,
    native_ids: bool = True,
) -> int:
    """Predict every frame of a clip, a folder of pictures or a video; returns how many there are.

    Writes to the folder `out`, for each frame, `<name>.png` (of a video `000000.png` and so on): native or train ids,
    with the classes' colours as its palette. With `overlay` also `overlay.mp4`, by default at the video's own rate,
    or at Cityscapes' 17 frames a second. `prediction.json` says what made them; it has no `frames` until all are there.
    `settings` are those of `EvaluationSettings`; with its `size` the PNGs are of that size.

    A network reads the frames before, in the clip's order (or, by its `memory_frame`, the frame itself instead);
    before the clip's beginning its first frame stands in for them. A network with a method `step` is streamed
    instead: it keeps a memory of its own from frame to frame, and its paths take turns. Raises `UserError` for a
    model, frames or a folder that do not serve: `out` may hold earlier predictions of these frames, which are
    replaced, and nothing else.
    """
    plan = EvaluationSettings.parse(settings)
    where = announced_device(device, "prediction")
    use_threads(threads)
    network = load_model(model, classes).to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    footage = open_footage(Path(clip))
    folder = Path(out)
    _check_free(folder, footage.names)
    rate = fps or footage.fps or _FPS
    predicted = _predictions(network, footage, plan, where)
    facts = {
        "model": str(model),
        "model_hash": content_hash(model),
        "clip": str(clip),
        "classes": classes.name,
        "ids": "native" if native_ids else "train",
        "evaluation": dataclasses.asdict(plan),
    }
    write_text(folder / RECORD, _json(facts))
    (folder / OVERLAY).unlink(missing_ok=True)  # an earlier one would not be of these predictions
    count = 0
    with film(folder / OVERLAY, footage.size, rate) if overlay else contextlib.nullcontext() as show:
        for name, frame, label in progress(predicted, f"predict {footage.path.name}", len(footage.names)):
            ids = resized(label, plan.size) if plan.size else label
            write_ids(folder / f"{name}.png", ids, classes, native_ids)
            if show:
                blend = cv2.addWeighted(frame, 1 - _STRENGTH, classes.colour(label), _STRENGTH, 0)
                show(np.asarray(blend, np.uint8))
            count += 1
    short = min(count, network.past_frames)
    write_text(folder / RECORD, _json({**facts, "frames": count, "frames_short_of_memory": short}))
    instead = "the network's memory was still filling" if hasattr(network, "step") else "the first frame stood in"
    say(f"predict: {count} frames in {folder}; {short} of them have too few frames before them: {instead}.")
    return count


def write_ids(path: Path, label: NDArray[np.uint8], classes: ClassTable, native_ids: bool) -> None:
    """Write train ids `[H, W]` as an index PNG of native or train ids; its palette has the classes' colours."""
    palette = classes.palette
    if native_ids:
        palette = np.zeros_like(palette)
        for c in classes.trained:
            palette[c.id] = c.rgb
    image = Image.fromarray(classes.to_native_ids(label) if native_ids else label)
    image.putpalette(palette.tobytes())
    with written_whole(path) as aside:
        image.save(aside, format="PNG")


@contextlib.contextmanager
def film(path: Path, size: tuple[int, int], fps: float) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """An mp4 (MPEG-4 Part 2) of pictures of `size` (height, width), put in its place when it is whole.

    Gives a function that appends a picture, RGB `uint8 [H, W, 3]`. The codec needs even sides: an odd one has its last
    row or column twice. Raises `UserError` where no such video can be written.
    """
    height, width = size
    refusal = UserError(
        f"{path} cannot be written as a video of {width}x{height} at {fps:g} frames a second: free space, correct "
        "--fps, or leave it out by --no-overlay, which still writes the PNGs."
    )
    pictures = 0
    with written_whole(path) as aside:
        sides = (width + width % 2, height + height % 2)
        # A whole path: a colon in a relative one would mean a protocol to FFmpeg.
        writer = cv2.VideoWriter(os.path.abspath(aside), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, sides)
        if not writer.isOpened():
            raise refusal

        def append(picture: NDArray[np.uint8]) -> None:
            nonlocal pictures
            even = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))
            pictures += 1

        try:
            yield append
        finally:
            writer.release()
        # OpenCV says nothing of a full disk.
        try:
            whole = frame_count(aside) == pictures
        except UserError:
            whole = False
        if not whole:
            raise refusal


@dataclasses.dataclass(frozen=True)
class Footage:
    """A clip's frames in order: their `names` without suffix, their `size` (height, width), frames a second if known.

    `files` are empty for a video, whose header has promised as many frames as there are names.
    """

    path: Path
    names: Sequence[str]
    size: tuple[int, int]
    files: Sequence[Path] = ()
    fps: float | None = None

    def frames(self) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Each frame's name and picture, RGB `uint8 [H, W, 3]`, decoded once; raises `UserError` for a damaged one."""
        if self.files:
            yield from ((name, read_image(path)) for name, path in zip(self.names, self.files, strict=True))
            return
        capture = open_video(self.path)
        seen = 0
        try:
            while capture.grab():
                whole, frame = capture.retrieve()
                if not whole or frame.shape[:2] != self.size:
                    raise UserError(f"{self.path} is damaged at frame {seen}: {_MEND}.")
                yield f"{seen:06d}", np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
                seen += 1
        finally:
            capture.release()
        if seen < len(self.names):
            raise UserError(
                f"{self.path} is truncated or damaged (it promises {len(self.names)} frames, {seen} can be decoded): "
                f"{_MEND}."
            )


def open_footage(path: Path) -> Footage:
    """A folder of pictures, in natural order, or a video; headers alone are read.

    Raises `UserError` where there is no such thing, no frame in it, or frames differ in size.
    """
    if path.is_dir():
        names, others = frame_names(path)
        if others:
            say(f"{path}: {len(others)} entries that are no picture are left out, such as {others[0]!r}.")
        if jumps := [b for a, b in itertools.pairwise(names) if counted((a, b), 0) is None]:
            say(
                f"{path}: the numbers of {len(jumps)} frames do not follow those before, first of all {jumps[0]!r}; "
                "all are taken as one clip: if they are several, give each a folder of its own."
            )
        files = [path / name for name in names]
        size = image_size(files[0])
        for file in files:
            if (found := image_size(file)) != size:
                raise UserError(
                    f"{file} is {found[1]}x{found[0]} and {names[0]} of the same clip {size[1]}x{size[0]}: scale them "
                    "to one size."
                )
        return Footage(path, [file.stem for file in files], size, files)
    if not path.is_file() or path.suffix.lower() not in VIDEOS:
        raise UserError(f"{path} is no folder of pictures and no video ({', '.join(VIDEOS)}): correct or convert it.")
    count = frame_count(path)
    capture = open_video(path)
    size = (int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)))
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return Footage(path, [f"{number:06d}" for number in range(count)], size, fps=fps if fps > 0 else None)


def _predictions(
    network: nn.Module, footage: Footage, plan: EvaluationSettings, where: torch.device
) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Each frame's name, picture and train ids `[H, W]`; no more than the frames it reads are held."""
    stream = _Streamed(network) if hasattr(network, "step") else None
    past: Any = 0 if stream else network.past_frames
    window: deque[NDArray[np.uint8]] = deque(maxlen=past + 1)
    for name, frame in footage.frames():
        alone = not window or network.memory_frame == "self"
        window.extend([frame] * (past + 1 if alone else 1))
        if stream:
            stream.next_frame()
        yield name, frame, predict(stream or network, list(window), plan, where)


class _Streamed(nn.Module):
    """A streaming network that is called like any other, for one frame; each window of it has a memory of its own."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self._step, self._paths = network.step, network.paths
        self._path = -1
        self._before: list[Any] = []
        self._after: list[Any] = []

    def next_frame(self) -> None:
        """Before the first frame and each further one: the next path's turn, which reads what the last one left."""
        self._path = (self._path + 1) % self._paths
        self._before, self._after = self._after, []

    def forward(self, clip: Tensor, path: int = 0) -> tuple[Tensor]:
        """Logits `[B, C, H, W]` of the last frame of `[B, T, 3, H, W]`, by the path whose turn it is, not by `path`.

        Windows come in one order each time.
        """
        memory = self._before[len(self._after)] if self._before else None
        logits, left = self._step(clip[:, -1], memory, self._path)
        self._after.append(left)
        return (logits,)


def _check_free(out: Path, names: Collection[str]) -> None:
    """Raise `UserError` where `out` holds what is no prediction of these frames."""
    try:
        found = sorted(name for name in os.listdir(out) if not name.startswith("."))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{out} cannot be written to ({error.strerror}): name another folder.") from error
    ours = {RECORD, OVERLAY, *(f"{name}.png" for name in names)}
    others = [name for name in found if name not in ours] if RECORD in found else found
    if others:
        raise UserError(f"{out} holds {others[0]!r}, which is no prediction of this clip: name another folder.")


def _json(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, indent=2) + "\n"
