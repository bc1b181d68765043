"""The plan: which clips there are, which can serve, and what must be labelled for the chosen experiments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fewframes.core.clips import Clip, shard_of, stamp, write_clips
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, digest, write_csv
from fewframes.core.progress import say
from fewframes.experiments.manifests import ineligible, needed_labels
from fewframes.experiments.schemes import Experiment


@dataclass(frozen=True)
class Request:
    """What the config asks for: experiments in draws, and labels to measure on the clips of `measured` splits.

    `reach` is how far from the key frame those are wanted, in frames.
    """

    experiments: Sequence[Experiment]
    draws: Sequence[int]
    past_frames: int
    split: str = "train"
    measured: Sequence[str] = field(default=())
    reach: int = 0


def write_plan(clips: Sequence[Clip], root: str | Path, request: Request, shards: int, out: Path) -> None:
    """Write `index.csv`, `eligible.csv` and the shards of propagation and refinement below `out`."""
    eligible = _write_eligible(clips, request, out)
    pseudo, refined = needed_labels(request.experiments, eligible, request.draws)
    for clip in clips:
        if clip.truth and clip.fine and clip.split in request.measured:
            wanted = {o for o in range(-request.reach, request.reach + 1) if o and clip.has(o)}
            if wanted:
                pseudo.setdefault(clip.id, set()).update(wanted)
    hashes = ContentHashes(out / "hashes", "plan")
    _write_shards(clips, "propagate", pseudo, "fine", root, hashes, shards, out)
    _write_shards(clips, "refine", {i: {0} for i in refined}, "coarse", root, hashes, shards, out)
    hashes.save()
    write_clips(out / "index.csv", clips)
    frames = sum(map(len, pseudo.values()))
    say(
        f"{len(clips)} annotated frames; to propagate: {len(pseudo)} of them, to {frames} frames; "
        f"to refine: {len(refined)}."
    )


def _write_eligible(clips: Sequence[Clip], request: Request, out: Path) -> list[Clip]:
    reasons = {
        clip.id: ineligible(clip, request.experiments, request.past_frames)
        for clip in clips
        if clip.split == request.split
    }
    eligible = [clip for clip in clips if reasons.get(clip.id) == ""]
    why = "; ".join(f"{n} have {reason}" for reason, n in Counter(filter(None, reasons.values())).most_common())
    if request.experiments and not eligible:
        raise UserError(
            f"None of the {len(reasons)} clips of split '{request.split}' can serve the chosen experiments ({why}): "
            "choose experiments whose offsets the clips reach, or get the missing frames."
        )
    if why:
        say(f"{len(eligible)} of {len(reasons)} clips can serve every chosen experiment: {why}.")
    write_csv(out / "eligible.csv", ("clip", "reason"), sorted(reasons.items()))
    return eligible


def _write_shards(
    clips: Sequence[Clip],
    stage: str,
    needed: Mapping[str, set[int]],
    source: str,
    root: str | Path,
    hashes: ContentHashes,
    shards: int,
    out: Path,
) -> None:
    members: list[list[Clip]] = [[] for _ in range(shards)]
    for clip in clips:
        if clip.id in needed:
            members[shard_of(clip.id, shards)].append(clip)
    for number, chosen in enumerate(members):
        offsets = {clip.id: " ".join(map(str, sorted(needed[clip.id]))) for clip in chosen}
        state = {clip.id: _state(clip, needed[clip.id], source, root, hashes) for clip in chosen}
        write_clips(out / "shards" / stage / f"{number:04d}.csv", chosen, {"offsets": offsets, "state": state})


def _state(clip: Clip, offsets: set[int], source: str, root: str | Path, hashes: ContentHashes) -> str:
    """What tells that a clip may have to be labelled again: its annotation's content, its frames' size and time.

    Frames are only looked at here: to read them all would cost the head node hours. A shard whose frames were
    merely touched is visited, its clips are found by content, and nothing is computed.
    """
    labels = [clip.annotation(source), clip.fine_instances if source == "fine" else clip.coarse_instances]
    frames = {clip.image_at(o) for far in offsets for o in (0, *clip.outward(far))}
    return digest([hashes.of(Path(root, label)) for label in labels if label], stamp(root, sorted(frames)))
