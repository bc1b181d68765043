"""What a unit of each step takes: from the times of finished runs where there are any, else from `reference.yaml`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fewframes.core.clips import LABEL_COLUMNS, Clip, read_clips
from fewframes.core.errors import UserError
from fewframes.core.files import read_csv
from fewframes.forecast.jobs import crops, reach

_STRUCTURE = ("batch_size", "crop", "accumulate", "precision", "compile", "processes")
"""What a training's pace hangs on, beside its network."""
_RESUMED = re.compile(r"resuming at iteration (\d+)")
_DEVICE = re.compile(r"training on (.+?), in \w+\.")
_SLACK = 2.0
"""Seconds by which a file's time and the job's may differ."""


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


def paces(
    steps: Iterable[str], training: Mapping[str, Mapping[str, Any]], pixels: int, results: Sequence[Path]
) -> dict[str, Pace]:
    """The pace of each step (`Job.pace`) for frames of so many pixels.

    `training` has the settings of each network, `results` the datasets' folders of results whose times count: those of
    their labels, and of their trainings with the same structure. Raises `UserError` for a folder without any.
    """
    known = {**_labels(results), **_trainings(training, results)}
    for folder in results:
        if not folder.is_dir():
            raise UserError(f"{folder} holds no results: name the dataset's folder, such as results/cityscapes.")
    found = {}
    for step in dict.fromkeys(steps):
        if step in known:
            found[step] = known[step]
            continue
        # A variant of a method takes about as long as the method, a reader that prepares nothing no time.
        names = (step, step.removesuffix("_all"), step.split(" ")[0])
        pace = next((reference()[name] for name in names if name in reference()), None)
        if pace is None:
            raise UserError(f"No figure is known for '{step}': name results that have it by --measured.")
        if pace.megapixels:
            pace = pace.times(pixels / 1e6)
        if step.startswith("train "):
            pace = _fed(pace, training[step.split(" ")[1]])
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


def _labels(results: Sequence[Path]) -> dict[str, Pace]:
    """Paces of methods, from their shards' times and the labels that were made in them."""
    found: dict[str, list[float]] = {}
    for folder in results:
        for rule, kind in (("propagate", "pseudo"), ("refine", "refined")):
            for times in sorted((folder / "benchmarks" / rule).glob("*/*.tsv")):
                if units := _made(folder, kind, times):
                    found.setdefault(f"{rule} {times.parent.name}", []).append(_seconds(times) / units)
    units_of = {"propagate": "frame", "refine": "image"}
    return {step: _spread(values, units_of[step.split(" ")[0]], "jobs", results) for step, values in found.items()}


def _made(folder: Path, kind: str, times: Path) -> int:
    """Units of work of a shard's job: of labels that it found, made before, none."""
    made = folder / kind / times.parent.name / f"{times.stem}.csv"
    if not made.is_file():
        return 0
    began = times.stat().st_mtime - _seconds(times) - _SLACK
    offsets: dict[str, list[int]] = {}
    for row in read_csv(made, LABEL_COLUMNS):
        file = folder / row["file"]
        if file.is_file() and file.stat().st_mtime >= began:
            offsets.setdefault(row["clip"], []).append(int(row["offset"]))
    if kind == "refined":
        return len(offsets)
    clips = _index(folder)
    return sum(reach(clips[clip], wanted) for clip, wanted in offsets.items() if clip in clips)


@cache
def _index(folder: Path) -> Mapping[str, Clip]:
    return {clip.id: clip for clip in read_clips(folder / "index.csv")}


def _trainings(training: Mapping[str, Mapping[str, Any]], results: Sequence[Path]) -> dict[str, Pace]:
    """Paces of networks, from the trainings with the same structure."""
    found: dict[str, list[float]] = {}
    devices: set[str] = set()
    for folder in results:
        for network, settings in training.items():
            for times in sorted((folder / "benchmarks" / "train" / network).glob("*/*.tsv")):
                run = folder / "runs" / network / times.parent.name / times.stem
                log = folder / "logs" / "train" / network / times.parent.name / f"{times.stem}.log"
                if (told := _facts(run)) and _alike(told["settings"], settings):
                    words = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
                    devices.update(_DEVICE.findall(words))
                    resumed = max(map(int, _RESUMED.findall(words)), default=0)
                    if done := crops(told["settings"], told["iterations"] - resumed):
                        found.setdefault(f"train {network}", []).append(_seconds(times) / done)
    where = f", on {' and '.join(sorted(devices))}" if devices else ""
    return {step: _spread(values, "megapixel of crops", f"trainings{where}", results) for step, values in found.items()}


def _facts(run: Path) -> Mapping[str, Any]:
    try:
        facts: Mapping[str, Any] = json.loads((run / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if {"settings", "iterations"} <= facts.keys() else {}


def _alike(told: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a training that was measured is of the structure that is wanted, where both name it."""
    network, others = told.get("network", {}), wanted.get("network", {})
    same = all(told[key] == wanted[key] for key in _STRUCTURE if key in told and key in wanted)
    return same and all(network[key] == others[key] for key in others if key in network and key != "pretrained")


def _seconds(times: Path) -> float:
    """The job's time, of the last row of what Snakemake noted."""
    try:
        head, *rows = (line.split("\t") for line in times.read_text(encoding="utf-8").splitlines())
        return float(rows[-1][head.index("s")])
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"{times} is no table of times by Snakemake ({error}): delete it.") from error


def _spread(values: Sequence[float], unit: str, what: str, results: Sequence[Path]) -> Pace:
    """From the 10th to the 90th of a hundred of what was measured."""
    low, high = np.quantile(values, (0.1, 0.9))
    where = ", ".join(map(str, results))
    told = f"{len(values)} {what}, in {where}, their starts included"
    return Pace(float(low), float(high), unit, "measured", told, whole=True)
