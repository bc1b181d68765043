"""The jobs of a study and what each waits for: what the rules will make of the config, known before any of them runs.

Steps that run beside Snakemake itself in seconds are here only where others wait for them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fewframes.core.clips import Clip, shard_of
from fewframes.doctor.case import Case
from fewframes.doctor.disk import filled_labels, needed
from fewframes.experiments.methods import STAGES
from fewframes.experiments.study import Study
from fewframes.forecast.schedule import Job


def jobs_of(case: Case) -> list[Job]:
    """All jobs of the case's config, each behind those that it waits for."""
    study = case.study
    pseudo, refined = needed(case)
    jobs = _preparation(case)
    for method in study.labelled["pseudo"]:
        jobs += _labels(case, "pseudo", method, pseudo)
    for method, clips in refined.items():
        jobs += _labels(case, "refined", method, dict.fromkeys(clips, (0,)))
    if study.experiments:
        jobs += _manifests(study)
        jobs += _trainings(case)
    jobs += _measurements(case, pseudo, refined)
    return jobs


def reach(clip: Clip, offsets: Collection[int]) -> int:
    """Frames that a method runs through to label these offsets of a clip: all of those between, in both directions."""
    return sum(len(clip.outward(end)) for end in {min(*offsets, 0), max(*offsets, 0)})


def crops(settings: Mapping[str, Any], iterations: int | None = None) -> float:
    """Megapixels of training crops in so many iterations of these settings; in all of theirs where it is not given."""
    height, width = settings["crop"]
    count = settings["iterations"] if iterations is None else iterations
    return float(count * settings["batch_size"] * height * width / 1e6)


def _preparation(case: Case) -> list[Job]:
    study, reader = case.study, case.config["dataset"]["reader"]
    first = [Job("toycity", "toycity", "toycity", len(case.clips))] if study.generated else []
    annotated = sum(bool(clip.fine) for clip in case.clips)
    prepare = Job("prepare", "prepare", f"prepare {reader}", annotated, tuple(job.name for job in first))
    clips = len(case.finely(case.train_split))
    measured = [Job(f"selection {n}", "selection", f"selection {n}", clips, ("prepare",)) for n in study.selections]
    plan = Job("plan", "plan", after=("prepare", *(job.name for job in measured)), submitted=False)
    return [*first, prepare, *measured, plan]


def _labels(case: Case, kind: str, method: str, wanted: Mapping[str, Collection[int]]) -> list[Job]:
    """A job a shard of a method, and where their labels are gathered."""
    study = case.study
    rule, block = STAGES[kind]
    units = [0] * len(study.shards)
    for clip in case.clips:
        if clip.id in wanted:
            frames = reach(clip, wanted[clip.id]) if kind == "pseudo" else 1
            units[shard_of(clip.id, len(units))] += frames
    gpus = int(study.methods.needs_gpu(block, method))
    pace = f"{rule} {method}"
    shards = [Job(f"{pace} {s}", rule, pace, n, ("plan",), gpus) for s, n in zip(study.shards, units, strict=True)]
    return [*shards, Job(f"{kind} {method}", "collect", after=tuple(j.name for j in shards), submitted=False)]


def _manifests(study: Study) -> list[Job]:
    """Where each family of experiments waits for its labels; those that are filled stand among the trainings."""
    after = {
        "annotated": ("plan",),
        "propagated": (f"pseudo {study.propagation}",),
        "refined": tuple(f"refined {method}" for method in study.refined_by),
    }
    families = [family for family in after if study.families[family] or family == "annotated"]
    return [Job(f"manifests {f}", "manifests", after=after[f], submitted=False) for f in families]


def _trainings(case: Case) -> list[Job]:
    """Trainings, what fills labels between them, and evaluations: a job for all runs of an experiment and network."""
    study = case.study
    scored = len(case.finely(case.evaluated_split))
    gpus = int(study.evaluation_device != "cpu")
    filled = filled_labels(case)
    jobs: dict[str, Job] = {}

    def train(run: str) -> str:
        if (name := f"train {run}") in jobs:
            return name
        network, experiment, place = run.split("/")
        draw = place.split("-")[0].removeprefix("draw")
        manifest = f"manifests {study.family(experiment)}"
        if study.family(experiment) == "filled":
            manifest = f"fill {experiment}/draw{draw}"
            if manifest not in jobs:
                before = train(study.rounds.run(experiment, draw))
                pace, units = f"fill {study.rounds.network}", filled[experiment, int(draw)]
                jobs[manifest] = Job(manifest, "fill", pace, units, (before,), gpus)
        block = case.config["training"][network]
        teacher = str(block.get("teacher") or "")
        others = [train(f"{teacher}/{experiment}/{place}")] if teacher in study.networks else []
        asked = study.trainings.gpus(network)
        jobs[name] = Job(name, "train", f"train {network}", crops(block), (manifest, *others), asked)
        return name

    together: dict[str, list[str]] = {}
    for run in study.runs:
        together.setdefault(run.rpartition("/")[0], []).append(train(run))
    for experiment, trained in together.items():
        name, pace = f"evaluate {experiment}", f"evaluate {experiment.split('/')[0]}"
        jobs[name] = Job(name, "evaluate", pace, scored * len(trained), (*trained, "manifests annotated"), gpus)
    return list(jobs.values())


def _measurements(
    case: Case, pseudo: Mapping[str, Collection[int]], refined: Mapping[str, Collection[str]]
) -> list[Job]:
    study = case.study
    jobs = []
    for method in study.measured:
        measured = sum(len(o) for clip, o in pseudo.items())
        jobs.append(Job(f"quality {method}", "label_quality", "quality", measured, (f"pseudo {method}",)))
    for method in study.signalled:
        # Carried to the end of the clip and back again, in both directions.
        lengths = [clip.last - clip.first for clip in case.eligible or case.clips]
        frames = 2 * study.signals * (sum(lengths) / max(len(lengths), 1))
        gpus = int(study.methods.needs_gpu("propagation", method))
        jobs.append(Job(f"signals {method}", "signals", f"propagate {method}", frames, (f"pseudo {method}",), gpus))
    fine = {clip.id for clip in case.clips if clip.fine}
    for method, clips in refined.items():
        units = len(fine.intersection(clips))
        jobs.append(Job(f"refinement_quality {method}", "refinement_quality", "quality", units, (f"refined {method}",)))
    for method in study.labelled["pseudo"]:
        jobs.append(Job(f"gallery {method}", "gallery", "gallery", 1, (f"pseudo {method}",)))
    return jobs
