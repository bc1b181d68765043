"""Clips: how far they reach and who loses by it, whether key frames are the frames they claim to be, whose ids meet."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fewframes.datasets import WITH_SEQUENCES
from fewframes.doctor.case import Case
from fewframes.doctor.report import FAULT, WARNING, Group, plural
from fewframes.experiments.manifests import ineligible

_SAMPLE = 200
"""Key frames compared, evenly spread over the clips: decoding both pictures of one takes 0.1 s."""
_COMPARED_HEIGHT = 64
"""Least height at which pictures are compared, in pixels."""
_SAME, _OTHER = 1.0, 16.0
"""Mean difference in levels of 255 up to which two pictures are one, and above which they are surely two: between
neighbouring frames of a drive it is 3 to 10, and what remains after JPEG is below 1."""
_LOSING = 5
"""Experiments named for whose sake clips are left out."""
_REACHES = 4
"""Commonest reaches that the report lists."""


@dataclass(frozen=True)
class Pair:
    """A key frame's own image, its place among the frames, and the frames beside that (where there are any)."""

    still: Path
    frame: Path
    beside: tuple[Path, ...]


def examine_clips(case: Case) -> Group:
    """Look at the clips as a whole."""
    group = Group("Clips")
    for first, second in itertools.pairwise(case.clips):
        if first.id == second.id:
            mend = "Rename one of each: a clip is known by its id."
            group.add(FAULT, "ids that two clips share", first.id, mend, f"{first.image} and {second.image}")
    _note_reach(case, group)
    _note_losses(case, group)
    _note_memory(case, group)
    compared = _compare_key_frames(case, group)
    told = f"; {plural(compared, 'key frame')} compared with their sequences" if compared else ""
    group.summary = f"{plural(len(case.clips), 'clip')}{told}"
    return group


def _note_reach(case: Case, group: Group) -> None:
    fine = [clip for clip in case.clips if clip.fine]
    reaches = Counter((clip.first, clip.last) if clip.frames else None for clip in fine)
    parts = []
    for reach, number in reaches.most_common(_REACHES):
        parts.append(f"{number:,} {'without other frames' if reach is None else _span(*reach)}")
    if len(reaches) > _REACHES:
        parts.append(f"{len(fine) - sum(n for _, n in reaches.most_common(_REACHES)):,} otherwise")
    if parts:
        group.facts.append(f"reach: {', '.join(parts)}")
    gapped = {clip.id for clip in case.gapped}
    for clip in case.cut:
        # A hole is the loss of a file, and is said among the files.
        if clip.id not in gapped:
            mend = "Restore the missing frames if there are any; if the video ends there, go on."
            detail = _span(clip.first, clip.last)
            group.add(WARNING, f"clips that do not reach {_span(*case.source.classes.offsets)}", clip.id, mend, detail)


def _note_losses(case: Case, group: Group) -> None:
    """Note the clips of the training split that cannot serve the chosen experiments, and whose fault it is."""
    experiments, past = case.study.experiments, case.study.trainings.past_frames
    lost = [clip for clip in case.clips if case.reasons.get(clip.id)]
    if not experiments or not case.reasons:
        return
    remain = len(case.reasons) - len(lost)
    group.facts.append(f"{remain:,} of {plural(len(case.reasons), 'training clip')} can serve every chosen experiment")
    if not lost:
        return
    costs = {e.id: sum(bool(ineligible(clip, [e], past)) for clip in lost) for e in experiments}
    worst = sorted((e for e in costs if costs[e]), key=lambda e: -costs[e])
    more = f" and {len(worst) - _LOSING} more" if len(worst) > _LOSING else ""
    losing = ", ".join(f"{e} ({costs[e]:,})" for e in worst[:_LOSING]) + more
    severity = WARNING if remain else FAULT
    mend = f"They are left out of all experiments because of: {losing}. Restore what they lack, or drop those."
    for clip in lost:
        group.add(severity, "clips that cannot serve every chosen experiment", clip.id, mend, case.reasons[clip.id])


def _note_memory(case: Case, group: Group) -> None:
    """Note the frames to score that lack the earlier frames which a network reads: each is then its own memory."""
    past, scored = case.study.trainings.past_frames, case.finely(case.evaluated_split)
    if not case.study.experiments or not past:
        return
    alone = [clip for clip in scored if not clip.memory_at(0, past)]
    trained = any(clip.memory_at(0, past) for clip in case.finely(case.train_split))
    lost = len(alone) == len(scored) and trained and case.config["dataset"]["reader"] in WITH_SEQUENCES
    severity = FAULT if lost else WARNING  # elsewhere stills may be scored on purpose
    mend = (
        f"Restore the frames before them (evaluation.split is '{case.evaluated_split}'): each is its own memory now, "
        f"so that the score of {len(alone):,} of {len(scored):,} is that of a network without memory."
    )
    for clip in alone:
        what = "frames to score without the earlier frames that a network reads"
        group.add(severity, what, clip.id, mend, f"no {plural(past, 'frame')} before it")


def _compare_key_frames(case: Case, group: Group) -> int:
    """Compare key frames that lie beside their sequence with the sequence's own; returns how many."""
    apart = [
        c for c in case.clips if c.frames and c.frames.format(frame=c.key) != c.image and c.image not in case.flawed
    ]
    sample = apart[:: max(1, -(-len(apart) // _SAMPLE))]
    pairs = {}
    for clip in sample:
        beside = [clip.image_at(o) for o in (-clip.step, clip.step) if clip.has(o)]
        frame = clip.frames.format(frame=clip.key)
        if not case.flawed.intersection([frame, *beside]) and (case.source.root / frame).is_file():
            root = case.source.root
            pairs[clip.id] = Pair(root / clip.image, root / frame, tuple(root / path for path in beside))
    results = case.shared(compare, list(pairs.values()), "key frames")
    for (clip_id, pair), difference in zip(pairs.items(), results, strict=True):
        if difference:
            mend = "Restore the image and its sequence from the same archive: its label belongs to one of them."
            detail = f"differs from {pair.frame.name} by {difference:.0f} levels of 255"
            group.add(FAULT, "key frames that are not the frame of their number", clip_id, mend, detail)
    return len(pairs)


def compare(pair: Pair) -> float:
    """The mean difference of a key frame from its place in the sequence; 0 where they are the same picture.

    They are not where they differ much, or more than the key frame and the frame before or after do.
    """
    still = _small(pair.still)
    difference = _difference(still, _small(pair.frame))
    if difference <= _SAME:
        return 0.0
    if difference > _OTHER or any(_difference(still, _small(path)) < difference for path in pair.beside):
        return difference
    return 0.0


def _small(path: Path) -> NDArray[np.uint8] | None:
    """The picture in grey, reduced: `uint8 [h, w]`."""
    data = np.frombuffer(path.read_bytes(), np.uint8)
    for reduction in (cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_GRAYSCALE):
        picture: NDArray[np.uint8] | None = cv2.imdecode(data, reduction)  # type: ignore[assignment]
        if picture is None or len(picture) >= _COMPARED_HEIGHT:
            break
    return picture


def _difference(one: NDArray[np.uint8] | None, other: NDArray[np.uint8] | None) -> float:
    if one is None or other is None:
        return 0.0
    if one.shape != other.shape:
        other = np.asarray(cv2.resize(other, one.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    return float(cv2.absdiff(one, other).mean())


def _span(first: int, last: int) -> str:
    return f"from {first:+d} to {last:+d}".replace("+0", "0")
