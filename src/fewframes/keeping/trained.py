"""Runs: what a training recorded against manifest and config, its model against that, scores against the counts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors

from fewframes.core.errors import UserError
from fewframes.doctor.report import FAULT, WARNING, Group, plural
from fewframes.keeping.inspection import Inspection
from fewframes.learning.counted import Counted, read_counted
from fewframes.learning.evaluation import write_scores
from fewframes.learning.settings import TrainingSettings
from fewframes.learning.training import training_fingerprint

SCORES = ("metrics.csv", "groups.csv", "paths.csv")
"""What follows from a run's confusion matrices alone."""
_RESCORED = "`fewframes verify --mend` writes them anew from the run's confusion matrices."
_DUE = "Run the same `snakemake` command: it trains again what is due."


def begun_runs(it: Inspection) -> list[Path]:
    """The folders of the config's runs in which something was finished."""
    folders = (it.results / "runs" / run for run in it.study.runs)
    names = ("model.safetensors", "confusion.npz", *SCORES)
    return [folder for folder in folders if any((folder / name).is_file() for name in names)]


def inspect_trainings(it: Inspection, runs: list[Path], group: Group) -> None:
    """Each run's record against its manifest and the config, and its model against the record."""
    for run in runs:
        facts, model = record(run), run / "model.safetensors"
        if facts is None:
            _untold(group, "trainings without a whole training.json", it.shown(run))
        else:
            _inspect_fingerprint(it, run, facts, group)
        if not model.is_file():
            it.remake(group, "missing models", model)
        elif not _opens(model):
            it.remake(group, "models that are damaged", model)
        elif facts is not None and facts["model"] != it.contents.of(model):
            it.remake(group, "models that are not what was trained", model)
    group.summary = f"{plural(len(runs), 'run')} of {len(it.study.runs)}"


def inspect_scores(it: Inspection, runs: list[Path], frames: list[str] | None, group: Group) -> None:
    """Each run's confusion matrices against model and evaluation manifest, and its scores against them.

    `frames` are the clips of the evaluation's manifest; None where that cannot be read.
    """
    manifest = it.results / "manifests" / "evaluation.csv"
    for run in runs:
        file = run / "confusion.npz"
        if not file.is_file():
            if any((run / name).is_file() for name in SCORES):
                it.remake(group, "missing confusion matrices", file)
            else:
                group.facts.append(f"{it.shown(run)}: trained, not scored yet")
            continue
        try:
            counted = read_counted(file)
        except UserError:
            it.remake(group, "confusion matrices that are damaged", file)
            continue
        model = run / "model.safetensors"
        now = it.contents.of(model) if model.is_file() and model not in it.broken else counted.model
        if counted.model != now:
            it.remake(group, "confusion matrices of another model", file)
        elif frames is not None and (counted.clips != frames or counted.manifest != it.contents.of(manifest)):
            it.remake(group, "confusion matrices of other frames", file)
        else:
            _inspect_written(it, run, counted, group)
    group.summary = plural(len(runs), "run")


def record(run: Path) -> dict[str, Any] | None:
    """What a training wrote down of itself; None where that is not legible, or not whole."""
    try:
        facts = json.loads((run / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and {"fingerprint", "model"} <= facts.keys() else None


def fingerprint_now(it: Inspection, run: Path) -> str:
    """The fingerprint of the training that the config asks for in this folder; raises `UserError` where it has none."""
    network, name = run.parts[-3], "/".join(run.parts[-2:])
    trainings = it.study.trainings
    settings = json.loads(trainings.settings(network, name)) | json.loads(trainings.housekeeping(network))
    return _fingerprint_of(it, run, settings)


def _fingerprint_of(it: Inspection, run: Path, settings: Mapping[str, Any]) -> str:
    draw, seed = run.name.split("-seed")
    manifest = it.results / "manifests" / run.parent.name / f"{draw}.csv"
    return training_fingerprint(manifest, it.classes, TrainingSettings.parse(settings), int(seed))


def _inspect_fingerprint(it: Inspection, run: Path, facts: Mapping[str, Any], group: Group) -> None:
    try:
        if facts["fingerprint"] == fingerprint_now(it, run):
            return
        if facts["fingerprint"] == _fingerprint_of(it, run, facts["settings"]):
            group.add(FAULT, "trainings by other settings than the config has", it.shown(run), _DUE)
            return
    except (UserError, TypeError, KeyError) as error:  # its manifest, weights or teacher are gone, or its settings old
        if isinstance(error, UserError):
            _untold(group, "trainings whose manifest, weights or teacher are not at hand", it.shown(run), str(error))
            return
    what = "trainings on other samples, or by an older version"
    group.add(FAULT, what, it.shown(run), f"With `fewframes verify --mend` their manifests are made again. {_DUE}")
    # Made again, it is as it was where somebody edited it by hand; else the training is due anyway.
    it.broken[it.results / "manifests" / run.parent.name / f"{run.name.partition('-')[0]}.csv"] = None


def _inspect_written(it: Inspection, run: Path, counted: Counted, group: Group) -> None:
    """Write the scores again, aside, and compare bytes."""
    with tempfile.TemporaryDirectory() as aside:
        write_scores(aside, counted.totals, it.classes)
        for name in SCORES:
            file = run / name
            if not file.is_file() or file.read_bytes() != (Path(aside) / name).read_bytes():
                there = "that do not follow from the confusion matrices" if file.is_file() else "that are missing"
                group.add(FAULT, f"scores {there}", it.shown(file), _RESCORED)
                if run not in it.rescored:
                    it.rescored.append(run)


def _opens(model: Path) -> bool:
    try:
        with safetensors.safe_open(model, framework="np") as stored:
            return "fewframes" in (stored.metadata() or {})
    except safetensors.SafetensorError:
        return False


def _untold(group: Group, what: str, name: str, detail: str = "") -> None:
    mend = "Nothing is known to be wrong; to be certain, delete them and run the same `snakemake` command."
    group.add(WARNING, what, name, mend, detail)
