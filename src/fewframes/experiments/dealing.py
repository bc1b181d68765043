"""Dealing: the samples of an experiment, from the clips of a dataset in the order that a draw takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fewframes.core.clips import Clip
from fewframes.core.errors import UserError
from fewframes.experiments.schemes import Experiment
from fewframes.experiments.selection import Measurement, selected_order

STILLS = "train_extra"
"""The split of coarsely annotated images without a sequence (Cityscapes' name for it)."""


@dataclass(frozen=True)
class Pick:
    """A sample before its files are known: `kind` is `fine`, `coarse`, `pseudo` or `refined`.

    A `still` one has its own image in the place of the frames before it.
    """

    clip: Clip
    offset: int
    kind: str
    still: bool = False


@dataclass(frozen=True)
class Stock:
    """What some experiments ask for beside the eligible clips.

    `stills` are coarsely annotated images without a sequence, `minutes` those of work a frame by kind of annotation
    (`ClassTable.minutes`), `measured` what selections rest on, by their name.
    """

    stills: Sequence[Clip] = ()
    minutes: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, Measurement] = field(default_factory=dict)


def stills_of(clips: Iterable[Clip]) -> list[Clip]:
    """The coarsely annotated images of split `train_extra`."""
    return [clip for clip in clips if clip.split == STILLS and clip.coarse]


def picks(experiment: Experiment, eligible: Sequence[Clip], draw: int, stock: Stock | None = None) -> list[Pick]:
    """The samples of an experiment in one draw, in the order of clip and offset.

    Raises `UserError` where the stock lacks what the experiment asks for.
    """
    stock = stock or Stock()
    if experiment.mixture and experiment.control == "fine":
        samples = [pick for pick in picks(experiment.mixture, eligible, draw, stock) if pick.kind == "fine"]
    elif experiment.mixture:
        samples = _at_equal_hours(experiment.mixture, eligible, draw, stock)
    elif experiment.coarse_percent or experiment.still:
        samples = _coarse_and_fine(experiment, eligible, draw, stock)
    else:
        samples = _fine_and_pseudo(experiment, selected_order(experiment.selection, draw, eligible, stock.measured))
    return sorted(samples, key=lambda pick: (pick.clip.id, pick.offset, pick.kind))


def _fine_and_pseudo(experiment: Experiment, order: Sequence[Clip]) -> list[Pick]:
    if experiment.clips == "spread":
        # As many samples of each offset as `matched` has, those of key frames of the very same clips, then each other
        # offset's of the clips that follow; the last begins again with the first clips where N is no multiple.
        per_offset = -(-len(order) // len(experiment.offsets))
        offsets = sorted(experiment.offsets, key=lambda offset: (offset != 0, offset))
        dealt = [offset for offset in offsets for _ in range(per_offset)]
        pairs = [(order[place % len(order)], offset) for place, offset in enumerate(dealt)]
    else:
        taken = order[: experiment.clip_count(len(order))]
        pairs = [(clip, offset) for clip in taken for offset in experiment.offsets]
    return [Pick(clip, offset, "pseudo" if offset else "fine") for clip, offset in pairs]


def _coarse_and_fine(experiment: Experiment, eligible: Sequence[Clip], draw: int, stock: Stock) -> list[Pick]:
    order = selected_order("random", draw, eligible)
    count = experiment.coarse_count(len(order))
    fine = order if experiment.fine == "all" else order[count:]
    coarse = order[:count]
    if experiment.still:
        wanted = experiment.coarse_count(len(stock.stills)) if experiment.clips == "all" else count
        if wanted > len(stock.stills) or (experiment.clips == "all" and not wanted):
            raise UserError(
                f"Experiment '{experiment.id}' takes {max(wanted, 1)} coarsely annotated images of split '{STILLS}', "
                f"and the dataset has {len(stock.stills)}: unpack them, or leave it out."
            )
        coarse = selected_order("random", draw, stock.stills)[:wanted]
    kind = "refined" if experiment.labels == "refined" else "coarse"
    labelled = [*((clip, "fine") for clip in fine), *((clip, kind) for clip in coarse)]
    return [Pick(clip, 0, kind, experiment.still) for clip, kind in labelled]


def _at_equal_hours(mixture: Experiment, eligible: Sequence[Clip], draw: int, stock: Stock) -> list[Pick]:
    """As many fine samples as the mixture's annotation buys, rounded half up: its own, and the clips before those."""
    kinds = [pick.kind for pick in picks(mixture, eligible, draw, stock)]
    fine = kinds.count("fine")
    if not {"fine", "coarse"} <= stock.minutes.keys() or not stock.minutes["fine"]:
        raise UserError(
            f"Experiment '{mixture.id}' counts hours, and the class table has no 'minutes' for both fine and coarse "
            "annotation: add them."
        )
    bought = int(fine + (len(kinds) - fine) * stock.minutes["coarse"] / stock.minutes["fine"] + 0.5)
    if not 1 <= bought <= len(eligible):
        raise UserError(
            f"Experiment '{mixture.id}' takes as many fine frames as its mixture's hours buy, {bought}, and there are "
            f"{len(eligible)}: leave it out."
        )
    order = selected_order("random", draw, eligible)
    return [Pick(clip, 0, "fine", mixture.still) for clip in order[len(order) - bought :]]
