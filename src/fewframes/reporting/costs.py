"""What an experiment's annotation costs, counted from the annotated frames that its samples rest on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType

import numpy as np

from fewframes.core.errors import UserError
from fewframes.core.files import read_csv
from fewframes.experiments.corrected import Corrected, read_corrected
from fewframes.reporting.statistics import Grid

_PAID = {
    "fine": "fine",
    "pseudo": "fine",
    "filled": "fine",
    "corrected-pseudo": "fine",
    "coarse": "coarse",
    "refined": "coarse",
    "corrected-refined": "coarse",
}
"""The annotation a label source rests on: a pseudo-label needs its clip's fine one, a refined its coarse one."""

_MANUAL = ("fine", "coarse", "corrected-pseudo", "corrected-refined")
"""Sources whose label a person drew, or looked over and corrected."""


@dataclass(frozen=True)
class Cost:
    """Counts of one training set; fractional only as a mean over draws that differ.

    `fine` and `coarse` are distinct annotated frames, `samples` rows of the manifest, `manual` those rows
    whose label a person drew or corrected, `review_minutes` what correcting took.
    """

    fine: float
    coarse: float
    samples: float
    manual: float
    review_minutes: float = 0.0

    @property
    def key_frames(self) -> float:
        """Distinct annotated frames of either kind."""
        return self.fine + self.coarse

    @property
    def manual_percent(self) -> float:
        """The paper's "Manual %": the share of samples, which is not the share of work."""
        return 100 * self.manual / self.samples if self.samples else 0.0

    def hours(self, minutes: Mapping[str, float]) -> float:
        """Hours of annotation; `minutes` are minutes a frame by kind (`ClassTable.minutes`)."""
        total = self.review_minutes / 60
        for kind, frames in (("fine", self.fine), ("coarse", self.coarse)):
            if frames and kind not in minutes:
                raise UserError(f"The class table has no 'minutes' for {kind} annotation: add them to count its cost.")
            total += frames * minutes.get(kind, 0.0) / 60
        return total


def manifest_cost(path: Path, corrected: Mapping[tuple[str, int, str], Corrected] = MappingProxyType({})) -> Cost:
    """Cost of one manifest, of whose labels some were `corrected`.

    Raises `UserError` where it names a label source that nobody can price.
    """
    rows = read_csv(path, ("clip", "offset", "source"))
    frames: dict[str, set[str]] = {"fine": set(), "coarse": set()}
    samples: Counter[str] = Counter()
    review = 0.0
    # Source by source: a paper's grid has a million rows, and few sources.
    for source, count in Counter(row["source"] for row in rows).items():
        kind = source.partition(":")[0]
        if kind not in _PAID:
            raise UserError(f"{path} names the label source '{source}': it must be one of {', '.join(_PAID)}.")
        samples[kind] += count
        mine = [row for row in rows if row["source"] == source]
        frames[_PAID[kind]].update(row["clip"] for row in mine)
        if kind.startswith("corrected-"):
            labels = [(row["clip"], int(row["offset"]), kind.removeprefix("corrected-")) for row in mine]
            if gone := [label for label in labels if label not in corrected]:
                raise UserError(f"{path} names a corrected label of {gone[0][0]} that is gone: run `snakemake` again.")
            review += sum(corrected[label].minutes for label in labels)
    manual = sum(samples[kind] for kind in _MANUAL)
    return Cost(len(frames["fine"]), len(frames["coarse"]), samples.total(), manual, review)


def read_cost(grid: Grid, experiment: str) -> Cost | None:
    """Mean cost over the draws whose manifest is made; None where there is none."""
    paths = [grid.results / "manifests" / experiment / f"draw{draw}.csv" for draw in grid.draws_of(experiment)]
    corrected = read_corrected(grid.results)
    costs = [manifest_cost(path, corrected) for path in paths if path.is_file()]
    if not costs:
        return None
    return Cost(**{f.name: float(np.mean([getattr(cost, f.name) for cost in costs])) for f in fields(Cost)})
