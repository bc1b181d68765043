"""Choosing clips: the order in which a draw takes them. A new way is one branch here and one name in `schemes.KEYS`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewframes.core.clips import Clip
from fewframes.core.errors import UserError
from fewframes.core.files import read_csv
from fewframes.experiments.schemes import MEASURED, Experiment

Measurement = Mapping[str, Sequence[float]]
"""What was measured of each clip, by its id: one value for `flow`, a vector for `diversity`."""

COLUMNS = ("clip", "fingerprint", "values")
"""Columns of `selection/<name>.csv`; the values stand apart by blanks."""


def selected_order(
    selection: str, draw: int, clips: Iterable[Clip], measured: Mapping[str, Measurement] | None = None
) -> list[Clip]:
    """The clips in the order that a selection takes them; any first n of them are its choice of n.

    `random` goes by the draw, all others leave nothing to it. `uniform`: evenly over the time of all sequences, one
    sequence after the other. `flow`: those of most motion first. `diversity`: each as unlike all before it as can be.
    Raises `UserError` where a clip was not measured by a selection that rests on that.
    """
    by_id = {clip.id: clip for clip in sorted(clips, key=lambda clip: clip.id)}
    if selection == "uniform":
        return _evenly(sorted(by_id.values(), key=lambda clip: (clip.group, clip.key)))
    if selection not in MEASURED:
        return [by_id[clip_id] for clip_id in drawn_order(draw, by_id)]
    values = (measured or {}).get(selection, {})
    if absent := next((clip_id for clip_id in by_id if clip_id not in values), None):
        raise UserError(f"The {selection} of {absent} was not measured: run `snakemake` again.")
    if selection == "flow":
        return sorted(by_id.values(), key=lambda clip: (-values[clip.id][0], clip.id))
    ordered = list(by_id.values())
    return [ordered[i] for i in farthest_first(np.array([values[clip_id] for clip_id in by_id], np.float32))]


def drawn_order(draw: int, ids: Iterable[str]) -> list[str]:
    """The ids in the order a draw takes them: by a hash of draw and id.

    Taking the first n nests every smaller choice of the draw in the larger ones, and a new clip displaces at
    most one other.
    """
    return list(_by_hash(draw, tuple(ids)))


@lru_cache(maxsize=16)  # a plan asks for the same few orders over and over
def _by_hash(draw: int, ids: tuple[str, ...]) -> list[str]:
    def keyed(clip_id: str) -> bytes:
        return hashlib.blake2b(clip_id.encode(), key=f"draw {draw}".encode(), digest_size=16).digest()

    return sorted(ids, key=keyed)


def _evenly(line: Sequence[Clip]) -> list[Clip]:
    """The line's clips by their bit-reversed places: any first n of N leave gaps of less than 2 N / n.

    The sequence is van der Corput's ("Verteilungsfunktionen", Proceedings of the KNAW 38, 1935).
    """
    bits = max(len(line) - 1, 0).bit_length()
    return [line[i] for i in sorted(range(len(line)), key=lambda i: int(f"{i:0{bits}b}"[::-1], 2))]


def farthest_first(vectors: NDArray[np.float32]) -> list[int]:
    """Places of the vectors, `[N, D]`, each the farthest from all before it; the first is the nearest to the mean.

    The first n are centres from which no vector is more than twice as far as from the best n (Gonzalez, "Clustering to
    minimize the maximum intercluster distance", Theoretical Computer Science 38, 1985). Of equals the first counts.
    """
    squares = (vectors**2).sum(axis=1)
    distance = np.full(len(vectors), np.inf, np.float32)
    order: list[int] = []
    place = int(((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).argmin()) if len(vectors) else 0
    while len(order) < len(vectors):
        order.append(place)
        distance = np.minimum(distance, squares - 2 * vectors @ vectors[place] + squares[place])
        distance[order] = -np.inf
        place = int(distance.argmax())
    return order


def read_measured(results: Path, experiments: Iterable[Experiment]) -> dict[str, Measurement]:
    """What was measured for the selections of these experiments, by their name."""
    names = {(experiment.mixture or experiment).selection for experiment in experiments}
    return {
        name: {
            row["clip"]: tuple(map(float, row["values"].split()))
            for row in read_csv(results / "selection" / f"{name}.csv", COLUMNS)
        }
        for name in MEASURED
        if name in names
    }
