"""What a unit of each step takes: from the times of finished runs where there are any, else from `reference.yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fewframes.core.errors import UserError
from fewframes.doctor.report import plural
from fewframes.forecast.measured import Asked, Done, finished

_UNITS = {
    **{"propagate": "frame", "refine": "image", "train": "megapixel of crops"},
    **{"fill": "label", "evaluate": "frame"},
}
"""What a unit of the steps is that are measured, by rule."""
TIMED = tuple(_UNITS)
"""Those rules: a timeline shows them, while the others run beside them on processors."""
_JOBS = {"train": "training"}


@dataclass(frozen=True)
class Pace:
    """Seconds a unit takes, from `low` to `high`; `kind` is `measured`, `published` or `assumed`.

    `megapixels`: a unit is one of the frame's; `whole`: a job's start is in it.
    """

    low: float
    high: float
    unit: str
    kind: str
    source: str
    megapixels: bool = False
    whole: bool = False

    def times(self, factor: float) -> Pace:
        """The pace where a unit is `factor` times as much work."""
        return Pace(self.low * factor, self.high * factor, self.unit, self.kind, self.source)


@cache
def reference() -> Mapping[str, Pace]:
    """The figures that come with the package, by step."""
    entries = yaml.safe_load(Path(__file__).with_name("reference.yaml").read_text(encoding="utf-8"))
    return {
        name: Pace(
            entry["seconds"][0],
            entry["seconds"][1],
            entry["unit"],
            entry["kind"],
            f"{entry['source']}; {entry['hardware']}, {entry['date']}",
            entry.get("megapixels", False),
        )
        for name, entry in entries.items()
    }


def paces(steps: Iterable[str], asked: Asked, results: Sequence[Path]) -> dict[str, Pace]:
    """The pace of each step (`Job.pace`) as a config asks for it.

    `results` are the datasets' folders of results whose times count. Raises `UserError` for a folder without any, and
    for a damaged file in one.
    """
    for folder in results:
        if not folder.is_dir():
            raise UserError(f"{folder} holds no results: name the dataset's folder, such as results/cityscapes.")
    known = {step: _spread(step, done, asked, results) for step, done in finished(asked, results).items()}
    found = {}
    for step in dict.fromkeys(steps):
        if measured := next((known[name] for name in _names(step) if name in known), None):
            found[step] = measured
            continue
        pace = next((reference()[name] for name in _names(step) if name in reference()), None)
        if pace is None:
            raise UserError(f"No figure is known for '{step}': name results that have it by --measured.")
        if pace.megapixels:
            pace = pace.times(asked.pixels / 1e6)
        if step.startswith("train "):
            pace = _fed(pace, asked.training[step.split(" ")[1]])
        found[step] = pace
    return found


def _fed(pace: Pace, settings: Mapping[str, Any]) -> Pace:
    """A training's pace where its processes may wait for the workers that read their samples."""
    processes, samples = settings.get("processes", 1), reference()["samples"]
    readers = max(settings.get("workers", 2), 1) * processes
    pace, reading = pace.times(1 / processes), samples.times(1 / readers)
    if reading.high <= pace.high:
        return pace
    slower = f"but {readers} processes that read samples, a core each, are slower: {samples.source} ({samples.kind})"
    return Pace(max(pace.low, reading.low), reading.high, pace.unit, pace.kind, f"{pace.source}; {slower}")


def _names(step: str) -> tuple[str, ...]:
    """What a step's figure may be called: a variant of a method takes about as long as the method, to fill a label as
    long as to score a frame, a reader that prepares nothing no time."""
    rule, _, what = step.partition(" ")
    return step, step.removesuffix("_all"), *([f"evaluate {what}"] if rule == "fill" else []), rule


def _spread(step: str, done: Sequence[Done], asked: Asked, results: Sequence[Path]) -> Pace:
    """From the 10th to the 90th of a hundred of what was measured, brought to the frames that are planned for.

    What is reckoned by megapixels takes time by them. What runs a network at a size of its own takes the same for it
    and more only for the rest, so somewhere between.
    """
    entry = next((reference()[name] for name in _names(step) if name in reference()), None)
    factors = np.array([asked.pixels / each.pixels if each.pixels else 1.0 for each in done])
    fixed = np.ones(len(done)) if entry is None or not entry.megapixels else factors
    times = np.array([each.each for each in done])
    low = np.quantile(times * np.minimum(factors, fixed), 0.1)
    high = np.quantile(times * np.maximum(factors, fixed), 0.9)
    devices = sorted({each.device for each in done} - {""})
    on = f", on {' and '.join(devices)}" if devices else ""
    sizes = ", brought to this dataset's frames by pixels" if (abs(factors - 1) > 0.01).any() else ""
    told = f"{plural(len(done), _JOBS.get(step.split(' ')[0], 'job'))}{on}, in {', '.join(map(str, results))}{sizes}"
    unit = _UNITS[step.split(" ")[0]]
    return Pace(float(low), float(high), unit, "measured", f"{told}, their starts included", whole=True)
