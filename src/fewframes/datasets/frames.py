"""A clip's frames where they are no files of one name pattern: folders in natural order, links, videos.

Videos are decoded once, from the first frame to the last, because a seek lands on a frame near the one that was
asked for; frame numbers count from 0.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from fewframes.core.clips import PREPARED, literal, natural, pattern_of
from fewframes.core.errors import UserError
from fewframes.core.files import written_whole
from fewframes.core.videos import open_video
from fewframes.datasets.preparing import Task
from fewframes.datasets.source import LeftOut, names

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
"""Suffixes of pictures, in either case."""

VIDEOS = (".mp4", ".m4v", ".mov", ".avi")
"""Suffixes of videos, in either case: containers whose header counts the frames."""

_SAME_KIND = {".jpeg": ".jpg", ".tiff": ".tif"}
_DECIMAL = re.compile(r"\d+\.\d+")
_PNG_COMPRESSION = 1
"""Of 0 to 9: decoding videos is bound by this, and the files are ours to make again."""


def frame_names(folder: Path) -> tuple[list[str], list[str]]:
    """Names of a folder's frames in natural order, and of what else lies there; hidden files are neither.

    Raises `UserError` where it is not certain which pictures are frames (of several kinds, or of one name), or in which
    order they are.
    """
    frames: dict[str, str] = {}
    others: list[str] = []
    kinds: set[str] = set()
    unusable = LeftOut()
    for entry in names(folder, unusable):
        stem, kind = Path(entry).stem, Path(entry).suffix.lower()
        if kind not in IMAGES:
            others.append(entry)
            continue
        if not os.path.isfile(folder / entry):
            raise UserError(f"{folder / entry} is a dead link or no file: restore or remove it.")
        if stem in frames:
            raise UserError(f"{folder} holds both {frames[stem]!r} and {entry!r}: keep one of them.")
        frames[stem] = entry
        kinds.add(_SAME_KIND.get(kind, kind))
    for reason, path in unusable.rows:
        # Without it the frames behind would move up by one.
        if Path(path).suffix.lower() in IMAGES:
            raise UserError(f"{path} is a {reason}, among frames: rename it.")
        others.append(Path(path).name)
    if len(kinds) > 1:
        found = ", ".join(sorted(kinds))
        raise UserError(f"{folder} holds pictures of several kinds ({found}): keep only the frames there, of one kind.")
    if not frames:
        raise UserError(f"{folder} holds no picture ({', '.join(IMAGES)}): correct the folder, or fill it.")
    ordered = sorted(frames, key=natural)
    # Are these 1.9, 1.10 or times written without their last noughts, 0.132, 0.9? The names do not say.
    if all(_DECIMAL.fullmatch(stem) for stem in ordered) and ordered != sorted(ordered, key=float):
        raise UserError(
            f"{folder} has names such as {frames[ordered[0]]!r} whose order is not certain: they sort differently as "
            "numbers with fractions; give all the same number of digits behind the point."
        )
    return [frames[stem] for stem in ordered], sorted(others)


def counted(names: Sequence[str], key: int) -> tuple[str, int] | None:
    """The pattern of names that differ in one number which counts up by 1, and that number at position `key`.

    None where the names are no such series: then only links make one.
    """
    for digits in reversed(list(re.finditer(r"\d+", names[key]))):
        number = int(digits[0])
        pattern = pattern_of(names[key][: digits.end()], digits[0]) + literal(names[key][digits.end() :])
        if all(pattern.format(frame=number + i - key) == name for i, name in enumerate(names)):
            return pattern, number
    return None


def linked(clip: str, suffix: str, kind: str = "frames") -> str:
    """The pattern of a clip's linked or decoded files, for `Clip.frames` (or, of kind `truth`, for `Clip.truth`)."""
    return f"{PREPARED}{kind}/{clip}/{{frame:06d}}{suffix}"


def link_task(clip: str, files: Mapping[int, str], kind: str = "frames") -> Task:
    """The task of linking a clip's files under their numbers: what `linked` is the pattern of.

    `files` are paths by number; absolute ones are linked anew where the dataset has moved. All links have the
    suffix of the first file, so the files should be of one kind. Only names matter: no file is read.
    """
    numbers = sorted(files)
    suffix = Path(files[numbers[0]]).suffix
    return Task(
        name=f"{kind}/{clip}",
        make=_link,
        outputs=tuple(f"{kind}/{clip}/{number:06d}{suffix}" for number in numbers),
        recipe={"files": [files[number] for number in numbers]},
    )


def video_task(video: str, wanted: Mapping[str, Sequence[int]]) -> Task:
    """The task of decoding a video: of each clip the wanted frames, as `frames/<clip>/{number:06d}.png`.

    Its facts are `frames` (how many the video has), `fps`, `height` and `width`.
    """
    numbers = {clip: sorted(set(wanted[clip])) for clip in sorted(wanted)}
    return Task(
        name=f"video:{video}",
        make=_decode,
        inputs=(video,),
        outputs=tuple(_decoded(clip, number) for clip in numbers for number in numbers[clip]),
        recipe={"wanted": numbers},
    )


def frame_count(video: Path) -> int:
    """How many frames a video's header promises; raises `UserError` where the file is no video, or does not say."""
    capture = _opened(video)
    try:
        return _promised(capture, video)
    finally:
        capture.release()


def _link(task: Task, folder: Path, prepared: Path) -> dict[str, Any]:
    for output, file in zip(task.outputs, task.recipe["files"], strict=True):
        target = folder / file
        if not target.is_file():
            raise UserError(f"{target} does not exist: restore the file, or index the dataset again.")
        link = prepared / output
        # From where the link really lies: `..` leads out of a linked results folder otherwise.
        there = os.path.relpath(os.path.abspath(target), link.parent.resolve())
        if link.is_symlink() and str(link.readlink()) == there:
            continue
        with written_whole(link) as aside:
            aside.unlink()
            aside.symlink_to(there)
    _remove_others(prepared, task.outputs)
    return {"files": len(task.outputs)}


def _decode(task: Task, folder: Path, prepared: Path) -> dict[str, Any]:
    video = folder / task.inputs[0]
    takers: dict[int, list[str]] = {}
    for clip, numbers in task.recipe["wanted"].items():
        for number in numbers:
            takers.setdefault(number, []).append(clip)
    capture = _opened(video)
    try:
        promised = _promised(capture, video)
        facts = {
            "fps": capture.get(cv2.CAP_PROP_FPS),
            "height": int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            "width": int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        }
        seen = 0
        while capture.grab():
            if seen in takers:
                png = _frame_as_png(capture, video, seen)
                for clip in takers[seen]:
                    with written_whole(prepared / _decoded(clip, seen)) as aside:
                        aside.write_bytes(png)
            seen += 1
    finally:
        capture.release()
    # Frames that are lost on the way shift the numbers of those behind: to the end, even where none is wanted.
    if seen < promised:
        raise UserError(
            f"{video} is truncated, damaged or cut without re-encoding (it promises {promised} frames, {seen} can be "
            "decoded): copy it again, or re-encode it to a new mp4."
        )
    if takers and seen <= max(takers):
        raise UserError(
            f"{video} has {seen} frames, but frame {max(takers)} (from 0) is wanted: correct the key frame's number."
        )
    _remove_others(prepared, task.outputs)
    return {"frames": seen, **facts}


def _opened(video: Path) -> Any:
    if not video.is_file():
        raise UserError(f"{video} does not exist: restore the file, or index the dataset again.")
    return open_video(video)


def _promised(capture: Any, video: Path) -> int:
    if (count := int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) < 1:
        raise UserError(f"{video} does not say how many frames it has: re-encode it to an mp4.")
    return count


def _frame_as_png(capture: Any, video: Path, number: int) -> bytes:
    whole, frame = capture.retrieve()
    if not whole:
        raise UserError(f"{video} is damaged at frame {number}: copy it again, or re-encode it to a new mp4.")
    return cv2.imencode(".png", frame, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION])[1].tobytes()


def _decoded(clip: str, number: int) -> str:
    return f"frames/{clip}/{number:06d}.png"


def _remove_others(prepared: Path, outputs: Collection[str]) -> None:
    """Remove what an earlier recipe left in the outputs' folders."""
    kept = {prepared / output for output in outputs}
    for folder in {path.parent for path in kept}:
        for path in folder.iterdir():
            if path not in kept:
                path.unlink()
