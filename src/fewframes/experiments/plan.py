"""The plan: which clips there are, which can serve, and what must be labelled for the chosen experiments."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fewframes.core.clips import SOURCES, Clip, Folder, Root, shard_of, stamp, write_clips
from fewframes.core.errors import UserError
from fewframes.core.files import ContentHashes, digest, write_csv
from fewframes.core.labels import ClassTable
from fewframes.core.progress import say
from fewframes.experiments.corrected import adopt_corrections
from fewframes.experiments.dealing import Stock, stills_of
from fewframes.experiments.manifests import ineligible, labels_for_all, measured_labels, needed_labels
from fewframes.experiments.schemes import Experiment
from fewframes.experiments.selection import read_measured


@dataclass(frozen=True)
class Request:
    """What the config asks for: experiments in draws, and labels to measure on the clips of `measured` splits.

    `reach` is how far from the key frame those are wanted, in frames. `offsets`, a first and a last one, are labelled
    on every finely annotated clip of `split`, experiments or not. `corrections` is the folder of labels that people
    corrected, `refinement` the method of experiments that name none.
    """

    experiments: Sequence[Experiment]
    draws: Sequence[int]
    past_frames: int
    classes: ClassTable
    split: str = "train"
    measured: Sequence[str] = field(default=())
    reach: int = 0
    offsets: tuple[int, int] | None = None
    corrections: Path | None = None
    refinement: str = ""


def asked_of_stages(
    experiments: Sequence[Experiment], eligible: Sequence[Clip], draws: Sequence[int], stock: Stock, refinement: str
) -> tuple[dict[str, set[int]], dict[str, set[str]]]:
    """What experiments ask of propagation, offsets by clip id, and of refinement, methods by clip id.

    `refinement` is the config's method. What has a fine label too is asked of every method, `*`, of one that is only
    measured as well: so all are measured on the same images.
    """
    pseudo, _ = needed_labels([e for e in experiments if e.family != "refined"], eligible, draws, stock)
    fine = {clip.id for clip in eligible if clip.fine}
    refined: dict[str, set[str]] = {}
    by_method: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        if experiment.family == "refined":
            by_method.setdefault(experiment.refining(refinement), []).append(experiment)
    for method, of_method in by_method.items():
        for clip in needed_labels(of_method, eligible, draws, stock)[1]:
            refined.setdefault(clip, set()).add("*" if clip in fine else method)
    if not any(asked & {"*", refinement} for asked in refined.values()):
        for asked in refined.values():  # the config's own is shown in figures, whether it is trained on or not
            asked.add(refinement)
    return pseudo, refined


def write_plan(clips: Sequence[Clip], root: Root, request: Request, shards: int, out: Path) -> None:
    """Write `index.csv`, `eligible.csv`, `corrected.csv`, `states.csv` and the shards of both stages below `out`.

    What selections rest on, `selection/<name>.csv`, must lie there where an experiment asks for one.
    `states.csv` changes whenever a finely annotated clip's annotations or frames may have: whoever writes
    manifests looks at it.
    """
    eligible = _write_eligible(clips, request, out)
    stock = Stock(stills_of(clips), request.classes.minutes, read_measured(out, request.experiments))
    pseudo, refined = asked_of_stages(request.experiments, eligible, request.draws, stock, request.refinement)
    anyway = [measured_labels(clips, request.measured, request.reach)]
    if request.offsets:
        anyway.append(labels_for_all(clips, request.split, request.offsets))
        if not anyway[-1]:
            raise UserError(
                f"No finely annotated clip of split '{request.split}' has a frame at the offsets "
                f"{list(request.offsets)}: correct propagation.offsets, or get the missing frames."
            )
    for clip_id, offsets in itertools.chain.from_iterable(asked.items() for asked in anyway):
        pseudo.setdefault(clip_id, set()).update(offsets)
    hashes = ContentHashes(out / "hashes", "plan")
    states = _States(root, hashes)
    _write_shards(clips, "propagate", pseudo, "fine", states, shards, out)
    methods = {clip_id: " ".join(sorted(asked)) for clip_id, asked in refined.items()}
    key_frames = {clip_id: {0} for clip_id in refined}
    _write_shards(clips, "refine", key_frames, "coarse", states, shards, out, {"methods": methods})
    write_clips(out / "index.csv", clips)
    known = [(c.id, states.of(c, SOURCES, range(c.first, c.last + 1, c.step))) for c in clips if c.fine]
    write_csv(out / "states.csv", ("clip", "state"), known)
    adopt_corrections(request.corrections, clips, root, request.classes, out)
    hashes.save()
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
            "choose experiments whose offsets the clips reach, get the missing frames, or, where the video goes on, "
            "widen 'offsets' in the class table."
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
    states: _States,
    shards: int,
    out: Path,
    more: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    members: list[list[Clip]] = [[] for _ in range(shards)]
    for clip in clips:
        if clip.id in needed:
            members[shard_of(clip.id, shards)].append(clip)
    for number, chosen in enumerate(members):
        offsets = {clip.id: " ".join(map(str, sorted(needed[clip.id]))) for clip in chosen}
        state = {}
        for clip in chosen:
            frames = {o for far in needed[clip.id] for o in (0, *clip.outward(far))}
            state[clip.id] = states.of(clip, (source,), sorted(frames))
        write_clips(
            out / "shards" / stage / f"{number:04d}.csv", chosen, {"offsets": offsets, **(more or {}), "state": state}
        )
    # Those of a plan with more shards: what lies there is this plan, which `fewframes prune` goes by.
    for file in (out / "shards" / stage).glob("[0-9]*.csv"):
        if int(file.stem) >= shards:
            file.unlink()


class _States:
    """What tells that a clip may have changed: its annotations' content, its frames' size and time.

    Frames are only looked at here: to read them all would cost the head node hours. A shard whose frames were
    merely touched is visited, its clips are found by content, and nothing is computed.
    """

    def __init__(self, root: Folder, hashes: ContentHashes) -> None:
        self._root = root
        self._hashes = hashes

    def of(self, clip: Clip, sources: Iterable[str], offsets: Iterable[int]) -> str:
        labels = [label for source in sources for label in clip.annotated(source)]
        annotations = [self._hashes.of(self._root / label) for label in labels]
        return digest(annotations, stamp(self._root, [clip.image_at(o) for o in offsets]))
