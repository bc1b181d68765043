"""What finished jobs took: the times that Snakemake noted, beside what was made in them, and of what."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fewframes.core.clips import LABEL_COLUMNS, Clip, read_clips
from fewframes.core.errors import UserError
from fewframes.core.files import read_csv
from fewframes.core.labelfile import Layer, read_fingerprints, read_layer, read_provenance
from fewframes.forecast.jobs import crops, reach

_STRUCTURE = ("batch_size", "crop", "accumulate", "precision", "compile", "processes")
"""What a training's pace hangs on, beside its network."""
_RESUMED = re.compile(r"resuming at iteration (\d+)")
_DEVICE = re.compile(r"(?:training|evaluation|filling) on (.+?)(?:, in \w+)?\.$", re.MULTILINE)
_MODEL = re.compile(r"([^/]+)/([^/]+)/([^/]+)/[^/]+$")
"""Network, experiment and run in the path of a model."""
_PROCESSORS = ("processor", "cpu")
"""What a device that is no GPU is called in logs and notes."""
_SLACK = 2.0
"""Seconds by which a file's time and the job's may differ."""


@dataclass(frozen=True)
class Asked:
    """What a config asks of its steps: a job that ran otherwise says nothing of them.

    `training` has the settings of each network, `labelling` those of each method by its step (`refine grabcut`). Steps
    in `on_gpu` are to run on one. `own` is the study's folder of results, with frames of `pixels`.
    """

    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    labelling: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    on_gpu: Collection[str] = ()
    own: Path | None = None
    pixels: int = 1


@dataclass(frozen=True)
class Done:
    """A finished job: seconds a unit of its work, the pixels of its frames (0: its unit is no frame), its device."""

    each: float
    pixels: int = 0
    device: str = ""


def finished(asked: Asked, results: Sequence[Path]) -> dict[str, list[Done]]:
    """The jobs that ran as they are asked for, by step.

    Labelling counts where what was made has the config's settings and weights, all else where the network's structure
    is the same; what is to run on a GPU, and did not, counts only as a training. Raises `UserError` for a table of
    times that is none.
    """
    found: dict[str, list[Done]] = {}
    for folder in results:
        for step, done in (*_labels(asked, folder), *_fills(asked, folder), *_runs(asked, folder)):
            found.setdefault(step, []).append(done)
    return found


def _labels(asked: Asked, folder: Path) -> Iterator[tuple[str, Done]]:
    """Shards of methods, by the labels that were made in them."""
    for rule, kind in (("propagate", "pseudo"), ("refine", "refined")):
        for times in sorted((folder / "benchmarks" / rule).glob("*/*.tsv")):
            method = times.parent.name
            step = f"{rule} {method}"
            made = _made(folder, folder / kind / method / f"{times.stem}.csv", times)
            if step not in asked.labelling or not made:
                continue
            if kind == "refined":
                units = len(made)
            else:
                clips = _index(folder)
                units = sum(reach(clips[clip], labels) for clip, labels in made.items() if clip in clips)
            provenance, layer = _one(made)
            ran = {**provenance.get("settings", {}), **layer.notes}
            if units and _same(ran, asked.labelling[step]) and _where(asked, step, layer.notes.get("device", "")):
                yield step, Done(seconds(times) / units, layer.label.size, layer.notes.get("device", ""))


def _fills(asked: Asked, folder: Path) -> Iterator[tuple[str, Done]]:
    """Drawn experiments whose labels were filled, by the labels that were."""
    for times in sorted((folder / "benchmarks" / "fill").glob("*/*.tsv")):
        made = _made(folder, folder / "filled" / times.parent.name / f"{times.stem}.csv", times)
        if not made:
            continue
        provenance, layer = _one(made)
        network, experiment, run = (_MODEL.findall(provenance.get("model", "")) or [("", "", "")])[0]
        step, device = f"fill {network}", layer.notes.get("device", "")
        alike = network in asked.training and _alike_run(folder, network, experiment, run, asked.training[network])
        if alike and _where(asked, step, device):
            yield step, Done(seconds(times) / sum(map(len, made.values())), layer.label.size, device)


def _made(folder: Path, listed: Path, times: Path) -> dict[str, dict[int, Path]]:
    """The files of labels that a job listed, by clip and offset; not of those that it found, made before."""
    made: dict[str, dict[int, Path]] = {}
    if not listed.is_file():
        return made
    began = times.stat().st_mtime - seconds(times) - _SLACK
    for row in read_csv(listed, LABEL_COLUMNS):
        file = folder / row["file"]
        if file.is_file() and file.stat().st_mtime >= began:
            made.setdefault(row["clip"], {})[int(row["offset"])] = file
    return made


def _one(made: Mapping[str, Mapping[int, Path]]) -> tuple[Mapping[str, Any], Layer]:
    """What one of the labels was made from, and itself: a job's are all alike. Raises `UserError` if it is damaged."""
    offset, file = next(iter(next(iter(made.values())).items()))
    return read_provenance(file), read_layer(file, offset, maps=())


def _same(ran: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a method ran with the settings that are wanted, where both name them; empty is what the weights imply."""
    return all(ran[key] == value for key, value in wanted.items() if key in ran and value != "")


def _where(asked: Asked, step: str, device: str) -> bool:
    """Whether a job ran where its step is to, as far as it is known."""
    return not (step in asked.on_gpu and device in _PROCESSORS)


@cache
def _index(folder: Path) -> Mapping[str, Clip]:
    return {clip.id: clip for clip in read_clips(folder / "index.csv")}


def _runs(asked: Asked, folder: Path) -> Iterator[tuple[str, Done]]:
    """Trainings, and evaluations by the runs that were scored in them, of networks with the same structure."""
    for network, settings in asked.training.items():
        for times in sorted((folder / "benchmarks" / "train" / network).glob("*/*.tsv")):
            if told := _alike_run(folder, network, times.parent.name, times.stem, settings):
                words = _log(folder / "logs" / "train" / network / times.parent.name / f"{times.stem}.log")
                resumed = max(map(int, _RESUMED.findall(words)), default=0)
                if done := crops(told["settings"], told["iterations"] - resumed):
                    yield f"train {network}", Done(seconds(times) / done, device=_device(words))
        for times in sorted((folder / "benchmarks" / "evaluate" / network).glob("*.tsv")):
            began = times.stat().st_mtime - seconds(times) - _SLACK
            kept = (folder / "runs" / network / times.stem).glob("*/scored.npz")
            runs = [file.parent.name for file in kept if file.stat().st_mtime >= began]
            manifest, pixels = folder / "manifests" / "evaluation.csv", _pixels(asked, folder)
            step = f"evaluate {network}"
            device = _device(_log(folder / "logs" / "evaluate" / network / f"{times.stem}.log"))
            alike = all(_alike_run(folder, network, times.stem, run, settings) for run in runs)
            if runs and alike and pixels and manifest.is_file() and _where(asked, step, device):
                frames = len(runs) * len(read_csv(manifest, ("clip",)))
                yield step, Done(seconds(times) / frames, pixels, device)


def _alike_run(folder: Path, network: str, experiment: str, run: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    told = _facts(folder / "runs" / network / experiment / run)
    return told if told and _alike(told["settings"], settings) else {}


def _pixels(asked: Asked, folder: Path) -> int:
    """Pixels of a folder's frames: in the study's own as they are planned, else of a label there; 0 where none is."""
    if asked.own and folder.resolve() == asked.own.resolve():
        return asked.pixels
    for file in folder.glob("*/*/labels/**/[!.]*.h5"):
        return next((read_layer(file, offset, maps=()).label.size for offset in read_fingerprints(file)), 0)
    return 0


def _log(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _device(words: str) -> str:
    return next(iter(_DEVICE.findall(words)), "")


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


def seconds(times: Path) -> float:
    """The job's time, of the last row of what Snakemake noted; raises `UserError` where there is none."""
    try:
        head, *rows = (line.split("\t") for line in times.read_text(encoding="utf-8").splitlines())
        return float(rows[-1][head.index("s")])
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"{times} is no table of times by Snakemake ({error}): delete it.") from error
